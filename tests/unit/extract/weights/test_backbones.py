import json
import logging
import shutil
import socket

import open_clip
import pytest
import torch
from making.backbones import (
    MODELS,
    SQUASHED,
    random_model,
    register_models,
    save_folder,
    save_safetensors,
)

from vidret.data.errors import ConfigError, MissingError
from vidret.extract.clip import load_clip
from vidret.extract.weights import published
from vidret.extract.weights.activation import METADATA_KEY
from vidret.extract.weights.backbones import find_backbone, with_other_weights
from vidret.extract.weights.cnn14 import Published
from vidret.extract.weights.files import PREPROCESS_KEY, digest_of, picture_metadata


@pytest.fixture(scope="module", autouse=True)
def configs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("configs")
    register_models(folder)
    return folder


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*arguments):
        raise AssertionError(f"somebody used the network: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def small():
    return random_model("small")


@pytest.fixture
def file(small, tmp_path):
    return save_safetensors(small, tmp_path / "w.safetensors")


@pytest.fixture
def folder(small, tmp_path):
    return save_folder(small, tmp_path / "repository", MODELS["small"], SQUASHED)


# Folders as the hub has them


def test_a_folder_brings_its_model_its_weights_and_its_preprocessing(small, folder):
    encoder = load_clip(f"local-dir:{folder}")
    for name, tensor in encoder.model.state_dict().items():
        assert torch.equal(tensor, small.state_dict()[name]), name
    assert (encoder.pixels.resize, encoder.pixels.mean) == ("squash", (0.5, 0.5, 0.5))
    assert encoder.name == "local-dir:repository"
    assert json.loads(encoder.config)["embed_dim"] == 16


def test_a_folder_may_be_asked_for_by_the_models_name(folder):
    encoder = load_clip(f"small@{folder}")
    assert (encoder.name, encoder.pixels.resize) == ("small", "squash")
    assert encoder.weights == load_clip(f"local-dir:{folder}").weights


def test_a_folder_is_found_below_the_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert find_backbone("local-dir:~/repository", offline=True).file.is_file()
    assert find_backbone("small@~/repository", offline=True).file.is_file()


def test_a_folder_with_an_at_in_its_name_is_a_folder(folder):
    other = folder.rename(folder.with_name("a@b"))
    assert find_backbone(f"local-dir:{other}", offline=True).file.parent == other


def test_the_model_of_a_folder_takes_other_weights(folder, tmp_path):
    tuned = save_safetensors(random_model("small", seed=5), tmp_path / "tuned.safetensors")
    encoder = load_clip(f"local-dir:{folder}@{tuned}")
    assert encoder.pixels.resize == "squash"
    assert encoder.weights == digest_of(tuned)[:16]


@pytest.mark.parametrize(
    "name", ["open_clip_pytorch_model.bin", "pytorch_model.bin", "model.safetensors", "mine.pt"]
)
def test_the_weights_of_a_folder_may_have_another_of_the_usual_names(small, folder, name):
    (folder / "open_clip_model.safetensors").unlink()
    if name.endswith("safetensors"):
        save_safetensors(small, folder / name)
    else:
        torch.save(small.state_dict(), folder / name)
    assert find_backbone(f"local-dir:{folder}", offline=True).file == folder / name


def test_a_folder_that_leaves_open_which_file_counts_is_refused(folder):
    (folder / "open_clip_model.safetensors").rename(folder / "a.pt")
    shutil.copy(folder / "a.pt", folder / "b.bin")
    with pytest.raises(MissingError, match=r"no single file of weights \(a\.pt, b\.bin\)"):
        find_backbone(f"local-dir:{folder}", offline=True)


def test_weights_that_a_training_changed_stay_with_their_model_and_its_pictures(
    folder, file, monkeypatch
):
    monkeypatch.chdir(folder.parent)
    encoder = load_clip(f"small@{folder}")
    save_safetensors(encoder.model, file, picture_metadata(encoder.model))
    for spec in (f"small@{folder}", f"local-dir:{folder}", f"small@{file}"):
        tuned = load_clip(with_other_weights(spec, file))
        assert (tuned.pixels, tuned.config) == (encoder.pixels, encoder.config)
    assert with_other_weights("tiny", file) == f"tiny@{file}"
    assert with_other_weights("ViT-B-32@openai", file) == f"ViT-B-32@{file}"
    assert with_other_weights("hf-hub:a/b@old.pt", file) == f"hf-hub:a/b@{file}"
    assert picture_metadata(torch.nn.Linear(1, 1)) == {}


def test_an_empty_folder_lacks_its_configuration(tmp_path):
    with pytest.raises(MissingError, match=r"holds no open_clip_config\.json: give a folder as"):
        find_backbone(f"small@{tmp_path}", offline=True)


@pytest.mark.parametrize("text", ["{", "[]", '{"model_cfg": {}}', '{"model_cfg": {"text_cfg": 1}}'])
def test_a_broken_configuration_is_named(folder, text):
    (folder / "open_clip_config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"open_clip_config\.json is no configuration"):
        find_backbone(f"local-dir:{folder}", offline=True)


def test_a_folder_of_another_model_than_the_name_says_is_refused(small, tmp_path):
    other = MODELS["small"] | {"text_cfg": MODELS["small"]["text_cfg"] | {"heads": 4}}
    folder = save_folder(small, tmp_path / "other", other)
    with pytest.raises(ConfigError, match=r"another model than small \(first in text_cfg\.heads\)"):
        find_backbone(f"small@{folder}", offline=True)
    with pytest.raises(ConfigError, match="ask for local-dir:"):
        find_backbone(f"small@{folder / 'open_clip_model.safetensors'}", offline=True)


# Activation


def quick(small, path, **metadata):
    return save_safetensors(small, path, {METADATA_KEY: "true", **metadata})


def test_weights_that_say_another_activation_are_refused_with_the_name_to_ask_for(small, tmp_path):
    path = quick(small, tmp_path / "w.safetensors")
    with pytest.raises(ConfigError) as caught:
        load_clip(f"small@{path}")
    assert str(caught.value) == (
        f"{path} was trained with QuickGELU (its own metadata), and small computes GELU: "
        f"ask for small-quickgelu@{path}"
    )
    assert json.loads(load_clip(f"small-quickgelu@{path}").config)["quick_gelu"] is True


def test_a_model_without_a_twin_is_refused_as_well(small, tmp_path):
    path = quick(small, tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match="small-tower computes GELU: ask for another model"):
        load_clip(f"small-tower@{path}")


def test_the_configuration_beside_a_file_says_its_activation(small, tmp_path):
    folder = save_folder(small, tmp_path / "quick", MODELS["small-quickgelu"])
    for place in (folder, folder / "open_clip_model.safetensors"):
        with pytest.raises(ConfigError, match=r"QuickGELU \(open_clip_config\.json"):
            load_clip(f"small@{place}")
        assert load_clip(f"small-quickgelu@{place}").name == "small-quickgelu"


def test_a_file_in_a_folder_must_not_contradict_its_configuration(small, folder):
    quick(small, folder / "open_clip_model.safetensors")
    with pytest.raises(ConfigError, match="its own metadata"):
        load_clip(f"local-dir:{folder}")


def published_as(monkeypatch, path, **changes):
    entry = {
        "model": "ViT-H-14-quickgelu",
        "tag": "dfn5b",
        "file": "published.bin",
        "algorithm": "sha256",
        "digest": digest_of(path),
        "quick_gelu": True,
    }
    one = Published(**entry | changes)
    monkeypatch.setattr(published, "published_files", lambda: (one,))


def test_a_published_file_is_known_by_its_checksum(file, monkeypatch):
    published_as(monkeypatch, file)
    with pytest.raises(ConfigError, match=r"QuickGELU \(checksum of published\.bin \(dfn5b\)\)"):
        find_backbone(f"small@{file}", offline=True)
    known = find_backbone(f"small-quickgelu@{file}", offline=True)
    assert known.preprocess["resize_mode"] == "squash"  # as dfn5b wants it


def test_a_file_that_is_only_called_like_a_published_one_is_refused(file, monkeypatch):
    published_as(monkeypatch, file, file=file.name, digest="0" * 64)
    with pytest.raises(MissingError, match=r"its checksum is not the published one \(0{16}\)"):
        find_backbone(f"small@{file}", offline=True)


def test_a_file_that_says_nothing_is_taken_at_its_word_and_logged(file, caplog):
    with caplog.at_level(logging.INFO, "vidret"):
        find_backbone(f"small-quickgelu@{file}", offline=True)
    (record,) = [one for one in caplog.records if one.name.startswith("vidret")]
    assert record.levelno == logging.INFO
    assert "does not say its activation: small-quickgelu stands for QuickGELU" in record.message


@pytest.mark.parametrize(
    ("file_name", "model", "said"),
    [
        (
            "b32-openai.safetensors",
            "small",
            "of openai, which were trained with Quick",
        ),
        ("laion2b_s34b_b79k.pt", "small-quickgelu", "trained with GELU, and small-quickgelu"),
    ],
)
def test_a_name_that_holds_a_tag_of_the_other_activation_is_a_warning(
    file, caplog, file_name, model, said
):
    with caplog.at_level(logging.INFO, "vidret"):
        find_backbone(f"{model}@{file.rename(file.with_name(file_name))}", offline=True)
    (record,) = [one for one in caplog.records if one.name.startswith("vidret")]
    assert record.levelno == logging.WARNING
    assert said in record.message


# Preprocessing


def test_weights_may_say_themselves_how_they_want_their_pictures(small, tmp_path):
    path = save_safetensors(
        small, tmp_path / "w.safetensors", {PREPROCESS_KEY: json.dumps(SQUASHED)}
    )
    assert find_backbone(f"small@{path}", offline=True).preprocess == SQUASHED


@pytest.mark.parametrize(
    ("model", "resize", "mean"),
    [
        ("ViT-B-16-SigLIP", "squash", 0.5),
        ("ViT-B-32-quickgelu", "shortest", 0.48145466),
        ("EVA02-B-16", "shortest", 0.48145466),
    ],
)
def test_a_plain_file_gets_what_the_published_weights_of_its_model_want(file, model, resize, mean):
    found = find_backbone(f"{model}@{file}", offline=True).preprocess
    assert (found["resize_mode"], found["mean"][0]) == (resize, mean)


def test_where_published_weights_want_different_things_it_is_said_and_a_tag_in_the_name_decides(
    file, caplog
):
    with caplog.at_level(logging.WARNING, "vidret"):
        plain = find_backbone(f"ViT-L-14@{file}", offline=True)
    assert plain.preprocess["mean"][0] == 0.48145466
    (record,) = [one for one in caplog.records if one.name.startswith("vidret")]
    assert "published weights of ViT-L-14 want their pictures in 2 ways" in record.message
    named = file.rename(file.with_name("laion2b_s32b_b82k.safetensors"))
    assert find_backbone(f"ViT-L-14@{named}", offline=True).preprocess["mean"][0] == 0.5


@pytest.mark.parametrize("name", ["PE-Core-B-16", "MobileCLIP-B"])
def test_a_model_whose_published_weights_want_bilinear_pictures_wants_them_from_a_file_too(
    file, name
):
    assert find_backbone(f"{name}@{file}", offline=True).preprocess["interpolation"] == "bilinear"


# The hub


@pytest.mark.parametrize("value", ["1", "true"])
def test_a_repository_is_refused_offline_and_where_the_environment_forbids_the_hub(
    monkeypatch, value
):
    with pytest.raises(MissingError, match=r"this run is offline: .* as local-dir:FOLDER"):
        find_backbone("hf-hub:org/repo", offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    with pytest.raises(MissingError, match="the model of org/repo lies on the hub"):
        find_backbone("hf-hub:org/repo", offline=False)


@pytest.mark.parametrize("spec", ["hf-hub:", "hf-hub:org", "hf-hub:a/b/c", "hf-hub:a/"])
def test_what_names_no_repository_is_refused(spec):
    with pytest.raises(ConfigError, match="names no repository: give hf-hub:ORG/REPO"):
        find_backbone(spec, offline=False)


def test_every_name_of_open_clip_that_is_usable_has_a_described_architecture(file):
    for name in ("ViT-B-32", "EVA02-B-16", "ViT-B-16-SigLIP", "RN50", "convnext_base"):
        assert find_backbone(f"{name}@{file}", offline=True).architecture == dict(
            open_clip.get_model_config(name)
        )
