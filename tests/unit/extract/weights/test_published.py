from pathlib import Path

import open_clip
import pytest

from vidret.extract.weights.cnn14 import CNN14_FILE
from vidret.extract.weights.published import (
    find_by_digest,
    find_by_name,
    preprocessing_of,
    published_files,
    tags_in_name,
    twin_of,
)

# Written on OpenAI's own list of models (clip/clip.py of openai/CLIP).
VIT_B_32 = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"


def test_openais_checksum_names_the_model_with_its_activation():
    found = find_by_digest({"sha256": VIT_B_32})
    assert (found.model, found.tag, found.file) == ("ViT-B-32-quickgelu", "openai", "ViT-B-32.pt")
    assert found.quick_gelu is True
    assert find_by_name(Path("/somewhere/ViT-B-32.pt")) == found


def test_the_checksum_of_cnn14_is_the_one_of_zenodo():
    assert find_by_digest({"md5": "541141fa2ee191a88f24a3219fff024e"}) is CNN14_FILE
    assert find_by_name(Path("Cnn14_mAP=0.431.pth")) is CNN14_FILE


def test_a_release_of_open_clip_is_known_by_the_beginning_of_its_checksum():
    found = find_by_name(Path("vit_b_16-laion400m_e32-55e67d44.pt"))
    assert find_by_digest({"sha256": "55e67d44" + "0" * 56}) == found
    assert (found.model, found.quick_gelu) == ("ViT-B-16", False)


@pytest.mark.parametrize("digests", [{}, {"sha256": "0" * 64}, {"sha1": VIT_B_32}])
def test_an_unknown_file_is_nobodys(digests):
    assert find_by_digest(digests) is None


def test_every_published_model_has_the_activation_of_its_name():
    for one in published_files():
        if one is not CNN14_FILE:
            config = open_clip.get_model_config(one.model)
            assert bool(config.get("quick_gelu", False)) == one.quick_gelu, one


def test_checksums_are_whole_or_eight_digits_and_name_one_file_each():
    files = published_files()
    assert {len(one.digest) for one in files} == {8, 32, 64}
    assert len({one.digest for one in files}) == len({one.file for one in files}) == len(files)
    assert len(files) >= 15


@pytest.mark.parametrize(
    ("name", "quick_gelu", "twin"),
    [
        ("ViT-B-32", True, "ViT-B-32-quickgelu"),
        ("ViT-B-32-quickgelu", True, "ViT-B-32-quickgelu"),
        ("ViT-B-32-quickgelu", False, "ViT-B-32"),
    ],
)
def test_a_twin_differs_in_its_activation_alone(name, quick_gelu, twin):
    assert twin_of(name, quick_gelu=quick_gelu) == twin


@pytest.mark.parametrize(
    ("name", "tags"),
    [
        ("vit_b_32-laion2b_s34b_b79k.pt", {"laion2b_s34b_b79k": False}),
        ("ViT-B-32-openai.safetensors", {"openai": True}),
        ("l14_metaclip-400m.bin", {"metaclip_400m": True}),
        ("my-metaclip.pt", {"metaclip": True}),
        ("apple-dfn-l14.pt", {"dfn": True}),
        ("weights.safetensors", {}),
    ],
)
def test_a_files_name_may_hold_a_tag(name, tags):
    assert tags_in_name(Path("/laion2b/openai") / name) == tags


def test_a_tag_that_says_different_things_of_different_models_says_nothing():
    assert "laion400m_e32" not in tags_in_name(Path("laion400m_e32.pt"))  # B-32 and B-16 differ


def test_preprocessing_is_said_once_for_each_way():
    (siglip,) = preprocessing_of("ViT-B-16-SigLIP")
    assert (siglip["resize_mode"], siglip["mean"]) == ("squash", (0.5, 0.5, 0.5))
    assert len(preprocessing_of("ViT-B-32")) == 1
    assert len(preprocessing_of("ViT-L-14")) == 2
    (one,) = preprocessing_of("ViT-L-14", ("laion2b_s32b_b82k",))
    assert one["mean"] == (0.5, 0.5, 0.5)
    assert preprocessing_of("ViT-S-16") == []
