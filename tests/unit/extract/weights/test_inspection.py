import pickle

import pytest
import torch
from making.backbones import (
    MODELS,
    random_model,
    register_models,
    save_archive,
    save_checkpoint,
    save_safetensors,
)

from vidret.data.errors import ConfigError, MissingError
from vidret.extract.tiny.weights import TINY_FOLDER
from vidret.extract.weights.activation import METADATA_KEY
from vidret.extract.weights.files import Form, digest_of
from vidret.extract.weights.inspection import inspect_weights


@pytest.fixture(scope="module", autouse=True)
def configs(tmp_path_factory):
    register_models(tmp_path_factory.mktemp("configs"))


@pytest.fixture
def file(tmp_path):
    return save_safetensors(random_model("small"), tmp_path / "w.safetensors")


def test_twins_that_differ_in_their_activation_alone_are_both_named(file):
    found = inspect_weights(file)
    assert set(found.candidates) == {"small", "small-quickgelu", "small-tower"}
    assert (found.model, found.problem, found.activation) == ("", "", None)
    assert found.digests["sha256"] == digest_of(file)


def test_what_is_known_of_the_activation_leaves_the_right_twin(tmp_path):
    path = save_safetensors(
        random_model("small-convnext"), tmp_path / "c.safetensors", {METADATA_KEY: "false"}
    )
    found = inspect_weights(path)
    assert (found.model, found.candidates) == ("small-convnext", ("small-convnext",))
    assert (found.activation.name, found.activation.source) == ("GELU", "its own metadata")


@pytest.mark.parametrize("name", [name for name in MODELS if name != "small-quickgelu"])
def test_every_class_of_models_is_told_from_its_tensors(tmp_path, name):
    path = save_safetensors(random_model(name), tmp_path / "w.safetensors")
    assert name in inspect_weights(path).candidates
    assert inspect_weights(path, name).problem == ""


def test_the_bundled_model_is_told_from_its_tensors():
    found = inspect_weights(TINY_FOLDER / "clip.safetensors")
    assert found.model == "tiny"
    assert found.file.form is Form.SAFETENSORS


def test_an_archive_is_told_without_the_sizes_that_lie_among_its_weights(tmp_path):
    state = save_archive(random_model("small-quickgelu"), tmp_path / "ViT-small.pt")
    found = inspect_weights(tmp_path / "ViT-small.pt")
    assert (found.model, found.file.form) == ("small-quickgelu", Form.TORCHSCRIPT)
    assert found.activation.source == "the archive's own code"
    assert found.tensors.keys() == state.keys() - {
        "input_resolution",
        "context_length",
        "vocab_size",
    }


def test_a_named_model_is_compared_tensor_by_tensor(tmp_path):
    state = random_model("small").state_dict()
    del state["ln_final.bias"]
    state |= {"more": torch.ones(1), "text_projection": torch.ones(3, 3)}
    torch.save(state, tmp_path / "w.pt")
    found = inspect_weights(tmp_path / "w.pt", "small")
    assert found.fit.missing == ("ln_final.bias",)
    assert found.fit.unexpected == ("more",)
    assert found.fit.other_shape == ("text_projection",)
    assert found.problem == (
        "does not fit small (it lacks ln_final.bias): name the model that it belongs to"
    )


def test_weights_of_nobody_fit_no_model(tmp_path):
    torch.save({"weight": torch.ones(3)}, tmp_path / "w.pt")
    found = inspect_weights(tmp_path / "w.pt")
    assert (found.candidates, found.model) == ((), "")
    assert found.problem.startswith("fits no model that vidret knows: name one with --model")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_named(tmp_path, number):
    model = random_model("small")
    with torch.no_grad():
        model.ln_final.bias[2] = number
    found = inspect_weights(save_checkpoint(model, tmp_path / "epoch.pt"), "small")
    assert "ln_final.bias" in found.not_finite
    assert "holds numbers that are not finite" in found.problem


def test_weights_of_the_other_activation_than_the_named_model_computes_are_a_problem(tmp_path):
    path = save_safetensors(
        random_model("small"), tmp_path / "w.safetensors", {METADATA_KEY: "true"}
    )
    assert inspect_weights(path, "small").problem == (
        "was trained with QuickGELU (its own metadata), and small computes GELU: name its twin"
    )
    assert inspect_weights(path).model == "small-quickgelu"


def test_a_file_called_like_a_published_one_must_be_it(file):
    found = inspect_weights(file.rename(file.with_name("ViT-B-32.pt")))
    assert found.problem.startswith("is called ViT-B-32.pt, and its sha256 is not the published")


class Code:
    def __reduce__(self):
        return print, ("this must never be printed",)


def test_a_file_that_wants_to_run_code_is_not_read(tmp_path, capsys):
    (tmp_path / "w.pt").write_bytes(pickle.dumps({"model": Code()}, protocol=2))
    with pytest.raises(MissingError, match=r"w\.pt asks to run code .*, so it is not read: "):
        inspect_weights(tmp_path / "w.pt")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [None, b"", b"<html>"])
def test_what_is_no_file_of_weights_is_named(tmp_path, content):
    path = tmp_path / "w.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MissingError, match=r"w\.pt (is not there|is empty|holds no weights)"):
        inspect_weights(path)


@pytest.mark.parametrize("name", ["ViT-B-23", "coca_ViT-B-32", "roberta-ViT-B-32"])
def test_a_model_that_cannot_be_checked_is_refused(file, name):
    with pytest.raises(ConfigError, match=f"no model '{name}' whose weights vidret could check"):
        inspect_weights(file, name)


@pytest.mark.slow
def test_the_published_shapes_of_vit_b_32_are_told_from_all_models_of_open_clip(tmp_path):
    from vidret.extract.weights.backbones import registered
    from vidret.extract.weights.fitting import build_clip

    model = build_clip(registered("ViT-B-32")).half()
    found = inspect_weights(save_safetensors(model, tmp_path / "w.safetensors"))
    assert set(found.candidates) == {"ViT-B-32", "ViT-B-32-quickgelu"}


@pytest.mark.slow
def test_cnn14_is_told_in_the_published_form(tmp_path):
    from vidret.extract.panns import cnn14

    torch.save({"iteration": 1, "model": cnn14().state_dict()}, tmp_path / "c.pth")
    found = inspect_weights(tmp_path / "c.pth")
    assert (found.model, found.file.form, found.problem) == ("Cnn14", Form.PANN, "")
    assert inspect_weights(tmp_path / "c.pth", "small").fit.missing
