import pytest
from making.annotations import (
    DIDEMO_DATA,
    DIDEMO_ENTRIES,
    DIDEMO_IDS,
    DIDEMO_LISTS,
    FORMS,
    PREPARED,
    didemo_entry,
    paths_of,
    splits_of,
    texts_of,
    told_of,
    write_files,
)

from vidret.data.datasets.didemo import load_didemo, load_didemo_by_time
from vidret.data.errors import ConfigError, MissingError

VIDEO = "4@N00_4_d.avi"


@pytest.fixture
def root(tmp_path):
    return FORMS["didemo of CLIP4Clip"].write(tmp_path)


def ordered(root, *descriptions):
    """The paragraph by time of one video with these descriptions."""
    entries = [
        didemo_entry(number, VIDEO, text, *times)
        for number, (text, times) in enumerate(descriptions, start=1)
    ]
    others = DIDEMO_ENTRIES["test"][1:2]
    write_files(root, {"test_data.json": [*entries, *others]})
    return texts_of(load_didemo_by_time(root))[VIDEO]


def test_the_listed_videos_count_under_the_names_of_the_lists(root):
    dataset = load_didemo(root)
    assert splits_of(dataset) == DIDEMO_IDS
    assert dataset.protocol == "didemo-paragraph"


def test_a_paragraph_is_the_descriptions_in_the_order_of_the_file(root):
    assert texts_of(load_didemo(root)) == {
        "1@N00_1_a.mov": ["a dog"],
        "2@N00_2_b.": ["a cat"],
        "3@N00_3_c.3gp": ["a boat"],
        VIDEO: ["the end first between"],
        "5@N00_5_e.null": ["a Tree\n"],
    }


def test_by_time_the_span_that_most_have_marked_decides(root):
    assert texts_of(load_didemo_by_time(root))[VIDEO] == ["first between the end"]


def test_by_time_start_comes_before_end_and_equal_spans_stay_in_the_order_of_the_file(root):
    assert ordered(
        root,
        ("c", [(1, 2), (1, 2)]),
        ("d", [(1, 2), (1, 2)]),
        ("b", [(1, 1), (1, 1)]),
        ("a", [(0, 5), (0, 5)]),
    ) == ["a b c d"]


def test_by_time_of_spans_that_are_marked_as_often_the_first_counts(root):
    assert ordered(
        root,
        ("late", [(4, 4), (0, 0), (0, 0), (4, 4)]),
        ("middle", [(2, 2), (2, 2), (2, 2), (0, 0)]),
        ("early", [(1, 1), (5, 5), (3, 3), (4, 4)]),
    ) == ["early middle late"]


def test_a_few_entries_have_five_or_seven_marks(root):
    marks = [(4, 4), (4, 4), (0, 0), (4, 4), (0, 0), (0, 0), (4, 4)]
    assert ordered(root, ("late", marks), ("early", [(1, 1)] * 5)) == ["early late"]


@pytest.mark.parametrize("times", [None, [], 3, [[1]], [["a", "b"]], [[1, 2, 3]], {"a": 1}])
def test_by_time_marks_that_are_none_are_refused_and_in_the_order_of_the_file_not_read(root, times):
    entries = [entry | {"times": times} for entry in DIDEMO_ENTRIES["test"]]
    write_files(root, {"test_data.json": entries})
    assert texts_of(load_didemo(root))[VIDEO] == ["the end first between"]
    with pytest.raises(
        ConfigError, match=r"test_data\.json: times of entry \d is .*: it should be"
    ):
        load_didemo_by_time(root)


def test_videos_of_the_json_that_no_list_has_are_left_out_with_a_note(root):
    dataset = load_didemo(root)
    assert "6@N00_6_f.mov" not in paths_of(dataset)
    assert "1 video with captions and in no list, left out (6@N00_6_f.mov)" in dataset.notes


@pytest.mark.parametrize("load", [load_didemo, load_didemo_by_time])
def test_without_lists_all_videos_count_and_a_note_says_so(tmp_path, load):
    dataset = load(write_files(tmp_path, DIDEMO_DATA))
    assert splits_of(dataset)["test"] == [VIDEO, "5@N00_5_e.null", "6@N00_6_f.mov"]
    assert "without lists all videos of the JSON files count" in told_of(dataset)


def test_a_list_may_have_other_endings_than_the_json(root):
    write_files(root, {"test_list.txt": "4@N00_4_d.mp4\n5@N00_5_e\n"})
    dataset = load_didemo(root)
    assert splits_of(dataset)["test"] == ["4@N00_4_d.mp4", "5@N00_5_e"]
    assert texts_of(dataset)["4@N00_4_d.mp4"] == ["the end first between"]
    assert texts_of(dataset)["5@N00_5_e"] == ["a Tree\n"]


@pytest.mark.parametrize(
    ("id_", "file"),
    [
        ("1@N00_1_a.mov", "1@N00_1_a.mov"),
        ("1@N00_1_a.mov", "1@N00_1_a.mp4"),
        ("1@N00_1_a.mov", "1@N00_1_a.mov.mp4"),
        ("2@N00_2_b.", "2@N00_2_b..mp4"),
        ("2@N00_2_b.", "2@N00_2_b.mp4"),
        ("5@N00_5_e.null", "5@N00_5_e.mp4"),
        ("5@N00_5_e.null", "5@N00_5_e.null.mp4"),
    ],
)
def test_videos_are_found_whatever_they_were_converted_to(root, id_, file):
    write_files(root, {f"videos/{file}": b""})
    assert paths_of(load_didemo(root))[id_] == root / "videos" / file


def test_a_video_that_is_not_there_would_lie_under_its_own_name(root):
    assert paths_of(load_didemo(root))["2@N00_2_b."] == root / "videos" / "2@N00_2_b."


def test_the_words_of_collaborative_experts_are_read_where_there_is_no_json(tmp_path):
    words = {
        "1@N00_1_a.mov": [["a", "dog"], ["it", "runs"]],
        "2@N00_2_b.": [["a", "cat"]],
        "3@N00_3_c.3gp": [["a", "boat"]],
        VIDEO: [["the", "end"]],
        "5@N00_5_e.null": [["a", "tree"]],
    }
    dataset = load_didemo(write_files(tmp_path, {**DIDEMO_LISTS, "raw-captions.pkl": words}))
    assert texts_of(dataset)["1@N00_1_a.mov"] == ["a dog it runs"]
    assert "the words of raw-captions.pkl" in told_of(dataset)


def test_prepared_files_are_taken_in_their_own_order(tmp_path):
    dataset = load_didemo_by_time(write_files(tmp_path, PREPARED))
    assert splits_of(dataset)["test"] == ["4@N00_4_d.avi.mp4"]
    assert texts_of(dataset) == {
        "1@N00_1_a.mov.mp4": ["a dog it runs"],
        "3@N00_3_c.3gp.mp4": ["a boat"],
        "4@N00_4_d.avi.mp4": ["first the end"],
    }


@pytest.mark.parametrize("file", ["4@N00_4_d.avi.mp4", "4@N00_4_d.avi", "4@N00_4_d.mov"])
def test_the_videos_of_prepared_files_are_found_under_their_first_names(tmp_path, file):
    root = write_files(tmp_path, {**PREPARED, file: b""})
    assert paths_of(load_didemo_by_time(root))["4@N00_4_d.avi.mp4"] == root / file


def test_a_prepared_validation_file_may_be_missing_and_a_test_file_may_not(tmp_path):
    root = write_files(tmp_path, {**PREPARED, "didemo_ret_val.json": None})
    dataset = load_didemo_by_time(root)
    assert list(splits_of(dataset)) == ["train", "test"]
    assert "there is no didemo_ret_val.json" in told_of(dataset)
    (root / "didemo_ret_test.json").unlink()
    with pytest.raises(MissingError, match=r"holds no didemo_ret_test\.json"):
        load_didemo_by_time(root)


def test_a_video_in_the_json_of_two_splits_is_refused(root):
    write_files(root, {"val_data.json": [*DIDEMO_ENTRIES["val"], DIDEMO_ENTRIES["train"][0]]})
    with pytest.raises(ConfigError, match=r"val_data\.json: 1@N00_1_a\.mov has its captions in"):
        load_didemo(root)


def test_a_listed_video_without_a_description_stays_and_is_noted(root):
    write_files(root, {"val_list.txt": "3@N00_3_c.3gp\n7@N00_7_g.mov"})
    dataset = load_didemo(root)
    assert "7@N00_7_g.mov" in paths_of(dataset)
    assert "1 video without a caption (7@N00_7_g.mov)" in dataset.notes
