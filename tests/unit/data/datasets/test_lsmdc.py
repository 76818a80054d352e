import pytest
from making.annotations import (
    FORMS,
    LSMDC_LISTS,
    LSMDC_TEST,
    LSMDC_TRAIN,
    LSMDC_VAL,
    LSMDC_WORDS,
    lsmdc_row,
    paths_of,
    splits_of,
    texts_of,
    told_of,
    write_files,
)

from vidret.data.datasets.lsmdc import load_lsmdc
from vidret.data.errors import ConfigError, MissingError


@pytest.fixture
def root(tmp_path):
    return FORMS["lsmdc of MPII"].write(tmp_path)


def test_the_tables_are_the_splits(root):
    dataset = load_lsmdc(root)
    assert splits_of(dataset) == {"train": [LSMDC_TRAIN], "val": [LSMDC_VAL], "test": [LSMDC_TEST]}
    assert dataset.protocol == "lsmdc-1k"


def test_all_sentences_of_a_clip_are_kept_with_their_quotes_and_commas(root):
    assert texts_of(load_lsmdc(root))[LSMDC_TRAIN] == [
        'SOMEONE says "no, never',
        "He leaves, slowly.",
    ]


def test_a_clip_without_a_file_would_lie_in_the_folder_of_its_film(root):
    expected = root / "1012_Unbreakable" / f"{LSMDC_TEST}.avi"
    assert paths_of(load_lsmdc(root))[LSMDC_TEST] == expected


@pytest.mark.parametrize("ending", [".avi", ".mp4"])
@pytest.mark.parametrize("folder", ["", "1012_Unbreakable/", "videos/1012_Unbreakable/"])
def test_only_the_last_ending_of_a_name_full_of_dots_is_stripped(root, folder, ending):
    file = f"{folder}{LSMDC_TEST}{ending}"
    write_files(root, {file: b"", f"{folder}{LSMDC_TEST[:-4]}{ending}": b""})
    assert paths_of(load_lsmdc(root))[LSMDC_TEST] == root / file


@pytest.mark.parametrize("several", [False, True])
def test_lists_with_the_words_of_one_caption_or_of_several_are_read(tmp_path, several):
    words = {id_: [one] if several else one for id_, one in LSMDC_WORDS.items()}
    dataset = load_lsmdc(write_files(tmp_path, {**LSMDC_LISTS, "raw-captions.pkl": words}))
    assert texts_of(dataset) == {
        LSMDC_TRAIN: ["he leaves slowly"],
        LSMDC_VAL: ["a door"],
        LSMDC_TEST: ["a train stops"],
    }


def test_the_size_of_the_test_split_is_compared_and_that_of_training_by_its_sentences(root):
    told = told_of(load_lsmdc(root))
    assert "test has 1 video here, and 1,000 as published" in told
    assert "train has 2 captions here, and 101,079 as published" in told


def test_a_test_clip_with_two_sentences_is_told(root):
    table = root / "LSMDC16_challenge_1000_publictect.csv"
    table.write_text(table.read_text().rstrip("\n") + "\n" + table.read_text())
    told = "1 video of test with more than its one caption as published"
    assert told in told_of(load_lsmdc(root))


def test_a_table_that_is_not_there_is_named_with_all_that_should_be(root):
    (root / "LSMDC16_annos_val.csv").unlink()
    with pytest.raises(
        MissingError, match=r"no LSMDC16_annos_val\.csv: it should hold LSMDC16_ann"
    ):
        load_lsmdc(root)


def test_a_clip_of_two_tables_is_refused(root):
    write_files(root, {"LSMDC16_annos_val.csv": [lsmdc_row(LSMDC_TRAIN, "A door.")]})
    with pytest.raises(
        ConfigError, match=r"val\.csv: 0001_A_Film.* has its captions in the file of"
    ):
        load_lsmdc(root)


@pytest.mark.parametrize(
    "row",
    [
        lsmdc_row(LSMDC_TEST, ""),
        lsmdc_row("", "A train."),
        lsmdc_row(LSMDC_TEST, "A\ttrain."),
        f"{LSMDC_TEST},1,2,3,4,A train.",
    ],
)
def test_rows_of_other_columns_are_refused_with_their_line(root, row):
    name = "LSMDC16_challenge_1000_publictect.csv"
    write_files(root, {name: [lsmdc_row("a_00.1", "x"), row]})
    with pytest.raises(
        ConfigError, match=r"publictect\.csv, line 2: it has \d fields?, .* six, di"
    ):
        load_lsmdc(root)
