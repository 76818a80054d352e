import pytest
from making.annotations import (
    ACTIVITYNET,
    ACTIVITYNET_TEST,
    ACTIVITYNET_TRAIN,
    FORMS,
    paths_of,
    splits_of,
    texts_of,
    told_of,
    write_files,
)

from vidret.data.datasets.activitynet import load_activitynet
from vidret.data.errors import ConfigError, MissingError

IDS = {"train": ["v_-aa", "v_bb"], "test": ["v_cc"]}
LISTS = {
    "CLIP4Clip": {"train_ids.json": IDS["train"], "val_ids.json": IDS["test"]},
    "Collaborative Experts": {
        "train_list.txt": "\n".join(IDS["train"]),
        "val_1_list.txt": "v_cc\n",
        "val_2_list.txt": "v_cc\n",
    },
    "nobody": {},
}


@pytest.fixture
def root(tmp_path):
    return FORMS["activitynet of CLIP4Clip"].write(tmp_path)


@pytest.mark.parametrize("lists", LISTS)
def test_videos_come_from_the_lists_or_from_the_captions(tmp_path, lists):
    dataset = load_activitynet(write_files(tmp_path, {**ACTIVITYNET, **LISTS[lists]}))
    assert splits_of(dataset) == IDS
    assert dataset.protocol == "activitynet-paragraph"


def test_sentences_are_joined_as_they_are_with_a_blank(root):
    assert texts_of(load_activitynet(root)) == {
        "v_-aa": ["A man.  He sings."],
        "v_bb": ["Snow."],
        "v_cc": ["A dog."],
    }


def test_times_that_are_reversed_or_after_the_end_are_not_read(root):
    strange = {"v_cc": {"duration": 1, "timestamps": "none", "sentences": ["A dog."]}}
    write_files(root, {"val_1.json": strange})
    assert texts_of(load_activitynet(root))["v_cc"] == ["A dog."]


@pytest.mark.parametrize("file", ["v_-aa.mp4", "-aa.mp4", "videos/train/v_-aa.mkv", "a/-aa.webm"])
def test_videos_are_found_with_and_without_the_first_two_letters(root, file):
    write_files(root, {file: b""})
    assert paths_of(load_activitynet(root))["v_-aa"] == root / file


def test_only_listed_videos_count_and_the_others_are_noted(root):
    write_files(root, {"train_ids.json": ["v_bb"]})
    dataset = load_activitynet(root)
    assert splits_of(dataset)["train"] == ["v_bb"]
    assert "1 video with captions and in no list, left out (v_-aa)" in dataset.notes


def test_the_second_validation_file_is_not_read(root):
    other = {"v_cc": {"sentences": ["Something else."]}, "v_bb": {"sentences": ["More."]}}
    write_files(root, {"val_2.json": other})
    assert texts_of(load_activitynet(root))["v_cc"] == ["A dog."]


def test_that_there_is_no_validation_split_is_told(root):
    assert "no validation split apart from test" in told_of(load_activitynet(root))


def test_the_words_of_collaborative_experts_are_read_where_there_are_no_sentences(tmp_path):
    words = {"v_-aa": [["a", "man"], ["he", "sings"]], "v_bb": [["snow"]], "v_cc": [["a", "dog"]]}
    lists = LISTS["Collaborative Experts"]
    root = write_files(tmp_path, {**lists, "raw-captions-train-val_1.pkl": words})
    dataset = load_activitynet(root)
    assert texts_of(dataset)["v_-aa"] == ["a man he sings"]
    assert "the words of raw-captions-train-val_1.pkl" in told_of(dataset)


def test_a_file_that_is_not_there_is_named(root):
    (root / "val_1.json").unlink()
    with pytest.raises(MissingError, match=r"holds no val_1\.json: it should hold train\.json and"):
        load_activitynet(root)


def test_a_video_in_both_files_is_refused(root):
    write_files(root, {"val_1.json": ACTIVITYNET_TEST | ACTIVITYNET_TRAIN})
    with pytest.raises(ConfigError, match=r"val_1\.json: v_-aa has its captions in the file of an"):
        load_activitynet(root)


def test_a_blank_sentence_is_no_fault_and_a_blank_paragraph_is_left_out_with_a_note(root):
    train = {"v_-aa": {"sentences": ["", "He sings."]}, "v_bb": {"sentences": [" "]}}
    dataset = load_activitynet(write_files(root, {"train.json": train}))
    assert texts_of(dataset) == {"v_-aa": [" He sings."], "v_cc": ["A dog."]}
    assert "1 blank caption left out (v_bb)" in dataset.notes
