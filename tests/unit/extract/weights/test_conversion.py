import json

import pytest
import torch
from making.backbones import (
    MODELS,
    SQUASHED,
    random_model,
    register_models,
    save_archive,
    save_checkpoint,
    save_folder,
    save_safetensors,
)
from safetensors.torch import load_file

from vidret.data.errors import ConfigError, MissingError
from vidret.extract.clip import load_clip
from vidret.extract.weights.activation import METADATA_KEY
from vidret.extract.weights.conversion import SOURCE_KEY, convert_weights
from vidret.extract.weights.files import PREPROCESS_KEY, digest_of, read_metadata
from vidret.extract.weights.inspection import MODEL_KEY


@pytest.fixture(scope="module", autouse=True)
def configs(tmp_path_factory):
    register_models(tmp_path_factory.mktemp("configs"))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.safetensors"


def test_an_archive_of_openai_becomes_a_file_that_says_what_it_is(tmp_path, out):
    model = random_model("small-quickgelu")
    expected = save_archive(model, tmp_path / "ViT-small.pt")
    done = convert_weights(tmp_path / "ViT-small.pt", out)
    found = load_file(out)
    assert expected.keys() - found.keys() == {"input_resolution", "context_length", "vocab_size"}
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())
    assert (
        read_metadata(out)
        == done.metadata
        == {
            "format": "pt",
            MODEL_KEY: "small-quickgelu",
            METADATA_KEY: "true",
            SOURCE_KEY: digest_of(tmp_path / "ViT-small.pt"),
        }
    )
    assert [path.name for path in tmp_path.iterdir() if ".part" in path.name] == []


def test_what_was_converted_loads_as_its_model_and_as_no_other(tmp_path, out):
    model = random_model("small-quickgelu")
    save_archive(model, tmp_path / "ViT-small.pt")
    convert_weights(tmp_path / "ViT-small.pt", out)
    encoder = load_clip(f"small-quickgelu@{out}")
    tokens = encoder.tokenizer(["a bell rings"])
    with torch.inference_mode():
        torch.testing.assert_close(encoder.encode_tokens(tokens)[0], model.encode_text(tokens))
    with pytest.raises(ConfigError, match="was trained with QuickGELU"):
        load_clip(f"small@{out}")


def test_a_checkpoint_of_a_training_loses_everything_but_its_weights(tmp_path, out):
    model = random_model("small")
    path = save_checkpoint(model, tmp_path / "epoch_3.pt")
    done = convert_weights(path, out, model="small-quickgelu")
    assert out.stat().st_size < path.stat().st_size / 2
    assert load_file(out).keys() == model.state_dict().keys()
    assert done.metadata[METADATA_KEY] == "true"  # the one who named the model said so


def test_what_nobody_says_is_not_written_down(tmp_path, out):
    path = save_safetensors(random_model("small"), tmp_path / "w.safetensors")
    metadata = convert_weights(path, out).metadata
    assert MODEL_KEY not in metadata
    assert METADATA_KEY not in metadata


def test_numbers_keep_their_kind(tmp_path, out):
    torch.save(random_model("small").half().state_dict(), tmp_path / "w.pt")
    convert_weights(tmp_path / "w.pt", out)
    assert {tensor.dtype for tensor in load_file(out).values()} == {torch.float16}


def test_tensors_that_share_their_memory_are_written_apart(tmp_path, out):
    state = random_model("small").state_dict()
    state["ln_final.bias"] = state["ln_final.weight"]
    torch.save(state, tmp_path / "w.pt")
    convert_weights(tmp_path / "w.pt", out, model="small")
    assert torch.equal(load_file(out)["ln_final.bias"], state["ln_final.weight"])


def test_the_wishes_for_pictures_beside_a_file_go_into_the_new_one(tmp_path, out):
    folder = save_folder(random_model("small"), tmp_path / "repo", MODELS["small"], SQUASHED)
    convert_weights(folder / "open_clip_model.safetensors", out, model="small")
    assert json.loads(read_metadata(out)[PREPROCESS_KEY]) == SQUASHED
    again = tmp_path / "again.safetensors"
    convert_weights(out, again, model="small")
    assert json.loads(read_metadata(again)[PREPROCESS_KEY]) == SQUASHED
    assert load_clip(f"small@{again}").pixels.resize == "squash"


def test_a_file_that_is_there_is_not_overwritten(tmp_path, out):
    path = save_safetensors(random_model("small"), tmp_path / "w.safetensors")
    out.write_text("mine")
    with pytest.raises(ConfigError, match=r"out\.safetensors is there already"):
        convert_weights(path, out)
    assert out.read_text() == "mine"


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"let it end in \.safetensors"):
        convert_weights(tmp_path / "w.pt", tmp_path / "out.pt")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    path = save_safetensors(random_model("small"), tmp_path / "w.safetensors")
    with pytest.raises(MissingError, match=r"the folder .*/gone is not there"):
        convert_weights(path, tmp_path / "gone" / "out.safetensors")


@pytest.mark.parametrize("model", [None, "small-convnext"])
def test_weights_that_fit_nothing_are_not_converted(tmp_path, out, model):
    torch.save({"weight": torch.ones(3)}, tmp_path / "w.pt")
    with pytest.raises(MissingError, match=r"w\.pt (fits no model|does not fit small-convnext)"):
        convert_weights(tmp_path / "w.pt", out, model=model)
    assert not out.exists()


@pytest.mark.slow
def test_cnn14_becomes_safetensors_that_load_as_cnn14(tmp_path, out):
    from vidret.extract.panns import cnn14, load_sound

    model = cnn14()
    torch.save({"iteration": 1, "model": model.state_dict()}, tmp_path / "c.pth")
    assert convert_weights(tmp_path / "c.pth", out).metadata[MODEL_KEY] == "Cnn14"
    loaded = load_sound(f"Cnn14@{out}").model.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded[name], tensor), name
