import pytest
from making.annotations import (
    FORMS,
    VATEX_IDS,
    VATEX_LISTS,
    VATEX_OFFICIAL,
    VATEX_TEXTS,
    paths_of,
    splits_of,
    texts_of,
    told_of,
    write_files,
)

from vidret.data.datasets.vatex import load_vatex
from vidret.data.errors import ConfigError, MissingError

FORM_NAMES = [name for name, form in FORMS.items() if form.dataset == "vatex"]


@pytest.fixture
def root(tmp_path):
    return FORMS["vatex as published"].write(tmp_path)


@pytest.mark.parametrize("form", FORM_NAMES)
def test_every_form_gives_the_english_captions_of_the_listed_clips(tmp_path, form):
    dataset = load_vatex(FORMS[form].write(tmp_path))
    assert splits_of(dataset) == VATEX_IDS
    assert texts_of(dataset) == VATEX_TEXTS
    assert dataset.protocol == "vatex-multi"


def test_the_first_way_to_halve_counts_where_both_are_there(root):
    write_files(root, {"test1k5_sec_list.txt": VATEX_IDS["val"]})
    assert splits_of(load_vatex(root)) == VATEX_IDS


def test_the_second_way_to_halve_is_taken_alone_and_told(root):
    (root / "test_list.txt").unlink()
    write_files(root, {"test1k5_sec_list.txt": [*VATEX_IDS["test"], *VATEX_IDS["val"]]})
    dataset = load_vatex(root)
    assert splits_of(dataset) == {
        "train": VATEX_IDS["train"],
        "test": [*VATEX_IDS["test"], *VATEX_IDS["val"]],
    }
    assert "test is test1k5_sec_list.txt, the second way to halve" in told_of(dataset)


def test_without_a_validation_list_a_note_says_what_is_done(root):
    (root / "val_list.txt").unlink()
    dataset = load_vatex(root)
    assert list(splits_of(dataset)) == ["train", "test"]
    assert "there is no val_list.txt, so vidret holds a part of train out" in told_of(dataset)


def test_one_official_file_alone_is_not_enough(root):
    (root / "vatex_validation_v1.0.json").unlink()
    with pytest.raises(
        MissingError, match=r"no vatex_validation_v1\.0\.json, nor vatex_data\.json"
    ):
        load_vatex(root)


def test_a_clip_in_both_official_files_is_refused(root):
    write_files(root, {"vatex_validation_v1.0.json": VATEX_OFFICIAL["vatex_training_v1.0.json"]})
    with pytest.raises(ConfigError, match=r"validation_v1\.0\.json: Ptf_2VRj-V0_000122_000132 has"):
        load_vatex(root)


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_clips_are_found_wherever_they_lie(root, ending):
    file = f"val/-f2PPeXQrUA_000000_000010{ending}"
    write_files(root, {file: b""})
    assert paths_of(load_vatex(root))["-f2PPeXQrUA_000000_000010"] == root / file


def test_an_object_without_english_captions_is_refused(tmp_path):
    made = {id_: {"chCap": texts} for id_, texts in VATEX_TEXTS.items()}
    root = write_files(tmp_path, {**VATEX_LISTS, "vatex_data.json": made})
    with pytest.raises(
        ConfigError,
        match=r"vatex_data\.json: what stands for 'Ptf_.* is an object: it should be a l",
    ):
        load_vatex(root)
