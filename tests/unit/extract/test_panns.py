import os
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vidret.data.errors import ConfigError, MissingError
from vidret.data.synth.sounds import make_sound
from vidret.extract.panns import SHORTEST, WINDOW, cnn14, cut_windows, load_sound, missing_weights
from vidret.extract.weights.files import hash_file, read_weights


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Random weights in the form that PANN's checkpoints have."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("panns") / "Cnn14.pth"
    sampler = {"indexes_per_class": [np.arange(5)], "queue": [1], "pointers_of_classes": [0]}
    content = {"iteration": 600_000, "model": cnn14().state_dict(), "sampler": sampler}
    torch.save(content, path, _use_new_zipfile_serialization=False)  # of 2020
    return path


@pytest.fixture(scope="module")
def tiny():
    return load_sound("tiny")


def a_sound(source="bell", seconds=3.0):
    wave = make_sound(source, seconds, 32_000, np.random.default_rng(0))
    return torch.from_numpy(wave).float()


# Windows


@pytest.mark.parametrize(
    ("samples", "lengths"),
    [
        (0, [SHORTEST]),
        (1, [SHORTEST]),
        (SHORTEST - 1, [SHORTEST]),
        (SHORTEST, [SHORTEST]),
        (100_000, [100_000]),
        (WINDOW, [WINDOW]),
        (WINDOW + 1, [WINDOW + 1]),
        (WINDOW + SHORTEST - 1, [WINDOW + SHORTEST - 1]),
        (WINDOW + SHORTEST, [WINDOW, SHORTEST]),
        (3 * WINDOW, [WINDOW] * 3),
        (2 * WINDOW + 5, [WINDOW, WINDOW + 5]),
    ],
)
def test_windows_last_ten_seconds_and_a_short_rest_stays_with_the_one_before(samples, lengths):
    wave = torch.arange(samples, dtype=torch.float32) + 1
    windows = cut_windows(wave)
    assert [len(window) for window in windows] == lengths
    assert torch.equal(torch.cat(windows)[:samples], wave)
    assert not torch.cat(windows)[samples:].any()


@pytest.mark.slow
def test_the_shortest_window_is_what_cnn14_takes():
    model = cnn14().eval()
    with torch.inference_mode():
        assert model(torch.zeros(1, SHORTEST))["embedding"].shape == (1, 2048)
        with pytest.raises(RuntimeError, match="too small"):
            model(torch.zeros(1, SHORTEST - 1))


def test_a_long_sound_is_the_mean_of_its_windows(tiny):
    first, second = a_sound("bell", 10.0), a_sound("rain", 4.0)
    with torch.inference_mode():
        both = tiny.encode(torch.cat([first, second]))
        mean = (tiny.encode(first) + tiny.encode(second)) / 2
    torch.testing.assert_close(both, mean)


def test_windows_of_one_length_go_through_together_as_each_alone(tiny):
    windows = torch.stack([a_sound("bell"), a_sound("rain"), a_sound("drum")])
    with torch.inference_mode():
        together = tiny.encode_windows(windows)
        alone = torch.stack([tiny.encode(window) for window in windows])
    assert together.shape == (3, tiny.dim)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_windows_can_be_encoded_in_half_precision(tiny):
    windows = a_sound()[None]
    with torch.inference_mode():
        full = tiny.encode_windows(windows)
        with torch.autocast("cpu", torch.bfloat16):
            half = tiny.encode_windows(windows).float()
    assert float(torch.cosine_similarity(full, half)) > 0.99


# The bundled network


def test_the_bundled_network_gives_one_embedding_of_128(tiny):
    with torch.inference_mode():
        embedding = tiny.encode(a_sound())
        assert torch.equal(embedding, tiny.encode(a_sound()))
    assert embedding.shape == (tiny.dim,) == (128,)
    assert torch.isfinite(embedding).all()
    assert tiny.name == "tiny"
    assert not any(module.training for module in tiny.modules())


def test_the_network_takes_other_weights_of_its_own_from_a_file(tiny, tmp_path):
    state = {name: tensor.contiguous() for name, tensor in tiny.model.state_dict().items()}
    state["embed.bias"] = state["embed.bias"] + 1
    save_file(state, tmp_path / "tuned.safetensors")
    tuned = load_sound(f"tiny@{tmp_path / 'tuned.safetensors'}")
    with torch.inference_mode():
        assert not torch.equal(tuned.encode(a_sound()), tiny.encode(a_sound()))
    assert tuned.weights != tiny.weights


@pytest.mark.parametrize("content", [None, "no weights", b""])
def test_a_file_without_weights_of_the_network_is_named(tmp_path, content):
    path = tmp_path / "tuned.safetensors"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(MissingError, match=r"tuned\.safetensors cannot be loaded"):
        load_sound(f"tiny@{path}")


def test_a_sound_shorter_than_the_shortest_window_can_be_embedded(tiny):
    with torch.inference_mode():
        assert torch.isfinite(tiny.encode(a_sound(seconds=0.05))).all()


# Cnn14


@pytest.mark.slow
def test_published_weights_are_loaded_and_do_not_change_from_call_to_call(published):
    encoder = load_sound(f"Cnn14@{published}")
    expected = read_weights(published).tensors
    for name, tensor in encoder.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    with torch.inference_mode():
        first, second = encoder.encode(a_sound()), encoder.encode(a_sound())
    assert torch.equal(first, second)
    assert first.shape == (encoder.dim,) == (2048,)
    assert (first >= 0).all()
    assert encoder.weights == hash_file(published)


@pytest.mark.slow  # matplotlib lists all fonts when its folder is new
def test_cnn14_runs_without_its_package_and_leaves_the_home_folder_empty(tmp_path):
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    code = (
        "import sys; from pathlib import Path; from vidret.extract.backends import quiet_home;"
        f"quiet_home(Path({str(work)!r}));"
        "from vidret.extract.panns import cnn14; cnn14();"
        "print([name for name in sys.modules if name.startswith('panns_inference')])"
    )
    kept = {
        name: value for name, value in os.environ.items() if name in ("PATH", "LD_LIBRARY_PATH")
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""
    assert not list(home.iterdir())


@pytest.mark.slow
def test_weights_may_come_as_safetensors(published, tmp_path):
    state = read_weights(published).tensors
    save_file({name: one.contiguous() for name, one in state.items()}, tmp_path / "c.safetensors")
    encoder = load_sound(f"Cnn14@{tmp_path / 'c.safetensors'}")
    for name, tensor in encoder.model.state_dict().items():
        assert torch.equal(tensor, state[name]), name


@pytest.mark.slow
def test_cnn14_embeds_windows_together_as_each_alone(published):
    encoder = load_sound(f"Cnn14@{published}")
    windows = torch.stack([a_sound("bell"), a_sound("rain")])
    with torch.inference_mode():
        together = encoder.encode_windows(windows)
        alone = torch.stack([encoder.encode(window) for window in windows])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_a_file_that_is_only_called_like_the_published_one_is_refused(tmp_path):
    path = tmp_path / "Cnn14_mAP=0.431.pth"
    torch.save({"model": {"fc1.weight": torch.ones(3)}}, path)
    with pytest.raises(MissingError) as caught:
        load_sound(f"Cnn14@{path}")
    message = str(caught.value)
    assert "is not the published file of that name (md5 is " in message
    assert "published is 541141fa2ee191a88f24a3219fff024e): get it again" in message


class Code:
    def __reduce__(self):
        return print, ("this must never be printed",)


def test_a_checkpoint_that_carries_code_is_refused_and_not_run(tmp_path, capsys):
    path = tmp_path / "evil.pth"
    torch.save({"model": Code()}, path)
    with pytest.raises(MissingError, match=r"evil\.pth asks to run code .*, so it is not read"):
        load_sound(f"Cnn14@{path}")
    assert capsys.readouterr().out == ""


def test_a_truncated_checkpoint_is_refused(tmp_path):
    path = tmp_path / "cut.pth"
    torch.save({"model": {"weight": torch.ones(10_000)}}, path)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(MissingError, match=r"cut\.pth is no checkpoint of Cnn14 .*: get it again"):
        load_sound(f"Cnn14@{path}")


def without(state, name):
    return OrderedDict((key, value) for key, value in state.items() if key != name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda state: without(state, "fc1.weight"), r"it lacks fc1\.weight"),
        (lambda state: {**state, "new": torch.ones(1)}, "it has the unknown new"),
        (lambda state: {**state, "fc1.bias": torch.ones(3)}, r"another shape in fc1\.bias"),
    ],
    ids=["lacks one", "has one more", "has another shape"],
)
def test_weights_that_do_not_fit_are_refused_by_their_first_name(published, tmp_path, change, name):
    path = tmp_path / "other.pth"
    torch.save({"model": change(read_weights(published).tensors)}, path)
    with pytest.raises(MissingError, match=rf"does not fit Cnn14 \(.*{name}\): get it again"):
        load_sound(f"Cnn14@{path}")


@pytest.mark.parametrize(
    "content",
    [{"weight": torch.ones(2)}, {"model": [1, 2]}, {"model": {"weight": 1}}, [1, 2], 3],
    ids=["bare", "list", "numbers", "no dict", "number"],
)
def test_a_checkpoint_of_another_form_is_refused(tmp_path, content):
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(MissingError, match=r"other\.pth is no checkpoint of Cnn14 \(.+\): get it"):
        load_sound(f"Cnn14@{path}")


@pytest.mark.parametrize("content", ["<html>not found</html>", "words of a text", ""])
def test_a_file_that_is_no_checkpoint_at_all_is_refused_in_one_sentence(tmp_path, content):
    path = tmp_path / "page.pth"
    path.write_text(content)
    with pytest.raises(MissingError, match=r"page\.pth is no checkpoint of Cnn14") as caught:
        load_sound(f"Cnn14@{path}")
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)


def test_a_missing_checkpoint_is_named():
    with pytest.raises(MissingError, match=r"/absent/Cnn14\.pth is not there"):
        load_sound("Cnn14@/absent/Cnn14.pth")


def test_cnn14_without_a_file_gets_the_lines_for_the_settings():
    with pytest.raises(MissingError) as caught:
        load_sound("Cnn14")
    assert '\n[extract]\naudio = "Cnn14@/path/to/' in str(caught.value)
    assert str(caught.value) == str(missing_weights())


def test_none_leaves_sound_out():
    assert load_sound("none") is None


@pytest.mark.parametrize("spec", ["Cnn41@x.pth", "", "cnn14@x.pth", "none@x.pth"])
def test_an_unknown_encoder_is_refused_with_the_known_ones(spec):
    with pytest.raises(ConfigError, match="give tiny, none or Cnn14@PATH"):
        load_sound(spec)
