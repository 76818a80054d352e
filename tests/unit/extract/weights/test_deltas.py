import shutil

import pytest
import torch
from making.backbones import random_model, register_models, save_safetensors
from safetensors.torch import load_file, save_file

from vidret.data.errors import MismatchError, MissingError
from vidret.extract.clip import load_clip
from vidret.extract.models.adapters import add_adapters, factors_of, merge_adapters
from vidret.extract.panns import load_sound
from vidret.extract.tiny.weights import TINY_FOLDER
from vidret.extract.weights.deltas import (
    Base,
    base_of_file,
    with_absolute_path,
    with_delta,
    write_delta,
)
from vidret.extract.weights.files import hash_file, picture_metadata
from vidret.pipelines.config.settings import ConvertConfig, WeightsConfig
from vidret.pipelines.display.render import render_weights_verify
from vidret.pipelines.weights import run_weights_convert, run_weights_verify

CHANGED = "visual.ln_post.weight"


@pytest.fixture
def base(tmp_path):
    """A model with weights in a file."""
    register_models(tmp_path)
    return f"small@{save_safetensors(random_model('small'), tmp_path / 'base.safetensors')}"


def write(path, network, before, base, factors=None):
    write_delta(
        path,
        network.state_dict(),
        before,
        base,
        factors=factors or {},
        metadata=picture_metadata(network),
    )


def write_changed(path, spec, *, load=load_clip, name=CHANGED, by=0.5):
    """A difference in one tensor."""
    encoder = load(spec)
    network = encoder.model
    before = {one: tensor.clone() for one, tensor in network.state_dict().items()}
    with torch.no_grad():
        network.get_parameter(name).add_(by)
    write(path, network, before, Base(spec=spec, digest=encoder.weights))
    return network


def test_only_what_changed_is_written_and_all_of_it_is_read(base, tmp_path):
    path = tmp_path / "delta.safetensors"
    network = write_changed(path, base)
    assert list(load_file(path)) == [CHANGED]
    again = load_clip(f"small@{path}")
    assert again.weights == hash_file(path)
    for name, tensor in network.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor), name


def test_a_difference_of_a_difference_is_read_through_both(base, tmp_path):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    write_changed(first, base)
    network = write_changed(second, f"small@{first}", name="visual.proj")
    assert list(load_file(second)) == ["visual.proj"]
    again = load_clip(f"small@{second}").model.state_dict()
    assert all(torch.equal(again[name], one) for name, one in network.state_dict().items())


def test_pictures_are_prepared_as_the_base_wants_them(base, tmp_path):
    write_changed(tmp_path / "delta.safetensors", base)
    again = load_clip(f"small@{tmp_path / 'delta.safetensors'}")
    assert again.pixels == load_clip(base).pixels


def test_factors_of_adapters_are_written_in_the_place_of_their_matrices(base, tmp_path):
    path, clip = tmp_path / "delta.safetensors", load_clip(base)
    before = {name: one.clone() for name, one in clip.model.state_dict().items()}
    block = clip.model.visual.transformer.resblocks[0]
    adapters = add_adapters(clip.model, [block.attn.in_proj_weight], rank=2, seed=0)
    with torch.no_grad():
        adapters[0].factors.up.normal_()
    factors = {name: one.clone() for name, one in factors_of(adapters).items()}
    merge_adapters(adapters)
    write(path, clip.model, before, Base(spec=base, digest=clip.weights), factors)
    name = "visual.transformer.resblocks.0.attn.in_proj_weight"
    assert set(load_file(path)) == {f"{name}.lora_down", f"{name}.lora_up"}
    again = load_clip(f"small@{path}").model.state_dict()
    assert not torch.equal(again[name], before[name])
    assert all(torch.equal(again[name], one) for name, one in clip.model.state_dict().items())


def test_a_base_with_other_weights_is_refused_with_both_hashes(base, tmp_path):
    path, was = tmp_path / "delta.safetensors", load_clip(base).weights
    write_changed(path, base)
    save_safetensors(random_model("small", seed=1), tmp_path / "base.safetensors")
    now = load_clip(base).weights
    with pytest.raises(MismatchError, match=f"weights {was}, and small@.* holds {now}") as error:
        load_clip(f"small@{path}")
    assert error.value.exit_code == 5


def test_a_base_that_is_gone_is_named(base, tmp_path):
    path = tmp_path / "delta.safetensors"
    write_changed(path, base)
    (tmp_path / "base.safetensors").unlink()
    with pytest.raises(
        MissingError, match=r"delta\.safetensors holds only what .* of small@.*base"
    ):
        load_clip(f"small@{path}")


def test_a_base_is_found_from_another_folder(base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_changed(tmp_path / "delta.safetensors", "small@base.safetensors")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert base_of_file(tmp_path / "delta.safetensors").spec == base
    load_clip("small@../delta.safetensors")


@pytest.mark.parametrize("spec", ["tiny", "ViT-B-32@openai", "hf-hub:org/repo"])
def test_what_is_no_path_stays_as_it_is(spec):
    assert with_absolute_path(spec) == spec


def test_a_folder_of_the_hub_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    assert with_absolute_path("local-dir:model") == f"local-dir:{tmp_path / 'model'}"
    assert with_absolute_path("small@model") == f"small@{tmp_path / 'model'}"


def test_the_sound_network_has_differences_too(tmp_path):
    path = tmp_path / "sound.safetensors"
    network = write_changed(path, "tiny", load=load_sound, name="embed.bias")
    assert list(load_file(path)) == ["embed.bias"]
    again = load_sound(f"tiny@{path}")
    assert again.weights == hash_file(path)
    assert all(
        torch.equal(again.model.state_dict()[name], one)
        for name, one in network.state_dict().items()
    )


def test_a_sound_network_on_other_weights_is_refused_with_both_hashes(tmp_path):
    own = shutil.copy(TINY_FOLDER / "sound.safetensors", tmp_path / "own.safetensors")
    path, was = tmp_path / "delta.safetensors", hash_file(own)
    write_changed(path, f"tiny@{own}", load=load_sound, name="embed.bias")
    tensors = load_file(own)
    save_file(tensors | {"embed.bias": tensors["embed.bias"] + 1}, own)
    with pytest.raises(MismatchError, match=f"weights {was}, and tiny@.* holds {hash_file(own)}"):
        load_sound(f"tiny@{path}")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"odd": torch.zeros(2)}, "it has the unknown odd"),
        ({"matrix": torch.zeros(2)}, "it has another shape in matrix"),
        ({"odd.lora_up": torch.zeros(2, 1)}, "it has no matrix for odd"),
        ({"matrix.lora_up": torch.zeros(3, 1)}, "it has no matrix for matrix"),
    ],
)
def test_what_has_no_place_in_the_base_is_refused(tensors, message):
    with pytest.raises(ValueError, match=message):
        with_delta({"matrix": torch.zeros(3, 4)}, tensors)


def test_a_difference_that_does_not_fit_names_the_file(base, tmp_path):
    path = tmp_path / "delta.safetensors"
    write_changed(path, base)
    metadata = {"vidret.base": base, "vidret.base_weights": load_clip(base).weights}
    save_file({"odd": torch.zeros(2)}, path, metadata=metadata)
    with pytest.raises(MissingError, match=r"delta\.safetensors cannot be loaded .*unknown odd"):
        load_clip(f"small@{path}")


@pytest.mark.parametrize(
    ("spec", "load", "name"), [("small", load_clip, CHANGED), ("tiny", load_sound, "embed.bias")]
)
def test_a_difference_is_verified_and_converted_together_with_its_base(
    base, tmp_path, spec, load, name
):
    path, out = tmp_path / "delta.safetensors", tmp_path / "whole.safetensors"
    network = write_changed(path, base if spec == "small" else spec, load=load, name=name)
    report = run_weights_verify(WeightsConfig(file=path))
    assert (report.problem, report.missing) == ("", ())
    assert report.tensors == len(network.state_dict())
    assert "base        " in render_weights_verify(report)
    run_weights_convert(ConvertConfig(file=path, out=out))
    assert base_of_file(out) is None
    assert all(torch.equal(load_file(out)[one], it) for one, it in network.state_dict().items())
