"""Files that are not as their form has them: no load in part, and words that help.

Every file of every form is spoilt in every way that fits it. The table adds what only one form has.
"""

import json
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from making.annotations import (
    ACTIVITYNET_TEST,
    DIDEMO_ENTRIES,
    FORMS,
    MSRVTT_JSON,
    MSVD_TEXTS,
    VATEX_IDS,
    encoded,
    lsmdc_row,
    real_annotations,
    splits_of,
    texts_of,
)

from vidret.data.catalog import load_dataset
from vidret.data.errors import ConfigError, MissingError, VidretError
from vidret.pipelines.cli import cli

BOM = b"\xef\xbb\xbf"
FILES = [(form, file) for form, made in FORMS.items() for file in made.files]
TEXTS = [(form, file) for form, file in FILES if file.endswith((".txt", ".csv", ".json"))]
DATA = [(form, file) for form, file in FILES if file.endswith((".json", ".pkl", ".zip"))]


class Evil:
    """A pickle of this makes a file where it is read."""

    def __reduce__(self):
        return Path.touch, (Path("owned"),)


def load(form, root):
    return load_dataset(FORMS[form].dataset, root)


def refused(form, root):
    """The words that the dataset is refused with, on one line and without the folder."""
    with pytest.raises(VidretError) as caught:
        load(form, root)
    assert caught.value.exit_code in (2, 4)
    words = str(caught.value)
    assert "\n" not in words
    assert len(words) < 900
    return words.replace(f"{root}/", "")


def content_of(form, file):
    """The bytes of a file, JSON with a line for every value."""
    content = FORMS[form].files[file]
    if file.endswith(".json"):
        return json.dumps(content, indent=1).encode()
    return encoded(file, content)


@pytest.mark.parametrize(("form", "file"), TEXTS)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: content.replace(b"\n", b"\r"),
        lambda content: BOM + content,
        lambda content: BOM + content.replace(b"\n", b"\r\n") + b"\r\n\r\n",
        lambda content: content.rstrip(b"\n"),
    ],
    ids=["CRLF", "CR", "BOM", "BOM and CRLF", "no last line end"],
)
def test_line_ends_of_any_system_and_a_byte_order_mark_are_no_fault(tmp_path, form, file, spoil):
    expected = load(form, FORMS[form].write(tmp_path / "a"))
    spoilt = {file: spoil(content_of(form, file))}
    dataset = load(form, FORMS[form].write(tmp_path / "b", **spoilt))
    assert texts_of(dataset) == texts_of(expected)
    assert splits_of(dataset) == splits_of(expected)
    assert dataset.notes == expected.notes


@pytest.mark.parametrize(("form", "file"), TEXTS)
def test_a_byte_that_is_no_utf_8_is_told_with_file_and_line(tmp_path, form, file):
    content = content_of(form, file)
    half = len(content) // 2
    spoilt = content[:half] + b"\xff" + content[half:]
    words = refused(form, FORMS[form].write(tmp_path, **{file: spoilt}))
    line = content.count(b"\n", 0, half) + 1
    assert words.startswith(
        f"{file}, line {line}: byte {half} of the file is not UTF-8: save it as"
    )


@pytest.mark.parametrize(("form", "file"), FILES)
def test_an_empty_file_is_refused_by_name(tmp_path, form, file):
    assert refused(form, FORMS[form].write(tmp_path, **{file: b""})).startswith(file)


@pytest.mark.parametrize(("form", "file"), DATA)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_that_is_cut_off_is_refused_by_name(tmp_path, form, file, share):
    content = content_of(form, file)
    words = refused(
        form, FORMS[form].write(tmp_path, **{file: content[: int(share * len(content))]})
    )
    assert words.startswith(file)
    assert "get it again" in words


@pytest.mark.parametrize(("form", "file"), [case for case in DATA if not case[1].endswith(".zip")])
@pytest.mark.parametrize("value", [7, True, None, [3], [[]], [{}], {"a": 3}, {"videos": 3}])
def test_a_value_of_another_type_is_refused_by_name(tmp_path, form, file, value):
    content = pickle.dumps(value) if file.endswith(".pkl") else json.dumps(value)
    assert refused(form, FORMS[form].write(tmp_path, **{file: content})).startswith(file)


@pytest.mark.parametrize(("form", "file"), [case for case in DATA if not case[1].endswith(".zip")])
@pytest.mark.parametrize("value", [[], {}])
def test_a_file_of_nothing_is_refused(tmp_path, form, file, value):
    content = pickle.dumps(value) if file.endswith(".pkl") else json.dumps(value)
    refused(form, FORMS[form].write(tmp_path, **{file: content}))


@pytest.mark.parametrize(("form", "file"), [case for case in FILES if case[1].endswith(".pkl")])
def test_a_pickle_that_carries_code_is_refused_by_name_and_nothing_runs(
    tmp_path, monkeypatch, form, file
):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({**FORMS[form].files[file], "evil": Evil()})
    words = refused(form, FORMS[form].write(tmp_path / "root", **{file: content}))
    assert words.startswith(f"{file} is no pickle of plain lists and strings (it asks for ")
    assert not (tmp_path / "owned").exists()
    pickle.loads(content)
    assert (tmp_path / "owned").exists(), "else the test proves nothing"


SPARED = {  # something else says the same, or it is not needed to test
    "msrvtt-7k of CLIP4Clip": ["MSRVTT_train.7k.csv"],
    "msrvtt-full of EMCL": [f"MSRVTT_{split}.full.csv" for split in ("train", "val", "test")],
    "didemo of CLIP4Clip": [f"{split}_list.txt" for split in ("train", "val", "test")],
    "didemo by time": [f"{split}_list.txt" for split in ("train", "val", "test")],
    "didemo of VindLU": ["didemo_ret_val.json"],
    "activitynet of CLIP4Clip": ["train_ids.json", "val_ids.json"],
    **{form: ["val_list.txt"] for form in FORMS if form.startswith("vatex")},
}


@pytest.mark.parametrize(
    ("form", "file"), [(form, file) for form, file in FILES if file not in SPARED.get(form, ())]
)
def test_a_file_that_is_not_there_is_named(tmp_path, form, file):
    root = FORMS[form].write(tmp_path, **{file: None})
    name = Path(file).name
    if name.endswith(".zip"):
        name = next(iter(FORMS[form].files[file]))
    with pytest.raises(MissingError, match=re.escape(name)):
        load(form, root)


@pytest.mark.parametrize(
    ("form", "file"), [(form, file) for form, files in SPARED.items() for file in files]
)
def test_without_a_file_that_is_not_needed_a_dataset_loads(tmp_path, form, file):
    root = FORMS[form].write(tmp_path, **{file: None})
    assert "test" in splits_of(load(form, root))


def two_of(values, key):
    """A list whose first entry is there twice under one key."""
    return [*values, {**values[-1], key: values[0][key]}]


CASES = {
    "a clip twice in a list": (
        "msvd of X-Pool",
        {"train_list.txt": "a\nb\n\na\n"},
        r"train_list\.txt: line 4 is a, as line 1 is already: each video is in there once",
    ),
    "a clip in two lists": (
        "msvd of X-Pool",
        {"val_list.txt": "bQJQGoJF7_k_162_169\neyhzdC936uk_15_27"},
        r"test_list\.txt: eyhzdC936uk_15_27 is in .*val_list\.txt as well, and so in val and test",
    ),
    "a list of another dataset": (
        "msvd of X-Pool",
        {"test_list.txt": "video1\nvideo2\n"},
        r"test_list\.txt: none of its 2 videos has a caption \(the first is video1\): the list and",
    ),
    "captions of another dataset": (
        "msvd of X-Pool",
        {"captions_msvd.json": {"video1": ["a dog"]}},
        r"train_list\.txt: none of its 2 videos has a caption .* not of the same dataset",
    ),
    "a video twice in an object": (
        "msvd of X-Pool",
        {"captions_msvd.json": json.dumps(MSVD_TEXTS, indent=1)[:-2] + ',\n "a": [],\n "a": []}'},
        r"captions_msvd\.json, line 17: column 2 goes wrong \(the key 'a' stands twice\)",
    ),
    "a number for a caption": (
        "msvd of X-Pool",
        {"captions_msvd.json": {**MSVD_TEXTS, "a": ["b", 3]}},
        r"captions_msvd\.json: caption 2 of 'a' is 3: it should be a text",
    ),
    "a sentence without a tab": (
        "msvd in lines",
        {"sents_val_lc_nopunc.txt": "vid4\ta cat\nvid4 a cat"},
        r"nopunc\.txt, line 2: it is 'vid4 a cat': each line is a vidN of youtube_mapping\.txt, a",
    ),
    "a sentence of a number that is not mapped": (
        "msvd in lines",
        {"sents_val_lc_nopunc.txt": "vid9\ta cat"},
        r"nopunc\.txt, line 1: it is 'vid9\\ta cat': each line is a vidN of youtube_mapping",
    ),
    "a mapping the other way round": (
        "msvd in lines",
        {"youtube_mapping.txt": "vid1 eyhzdC936uk_15_27"},
        r"youtube_mapping\.txt, line 1: it is 'vid1 eyhz.*: each line is a clip's id, a blank and",
    ),
    "a number mapped twice": (
        "msvd in lines",
        {"youtube_mapping.txt": "a vid1\nb vid2\nc vid1"},
        r"youtube_mapping\.txt: line 3 is vid1, as line 1 is already",
    ),
    "a clip mapped twice": (
        "msvd in lines",
        {"youtube_mapping.txt": "a vid1\nb vid2\na vid3"},
        r"youtube_mapping\.txt: line 3 is a, as line 1 is already",
    ),
    "a pickle with numbers of numpy": (
        "msrvtt-9k of Frozen in Time",
        {
            "high-quality/structured-symlinks/jsfusion_val_caption_idx.pkl": pickle.dumps(
                {"video3": np.int64(1)}
            )
        },
        r"idx\.pkl holds numbers or arrays of numpy \(.*\), which only code could make: save it ag",
    ),
    "an official video twice": (
        "msrvtt-9k of CLIP4Clip",
        {"MSRVTT_data.json": {**MSRVTT_JSON, "videos": two_of(MSRVTT_JSON["videos"], "video_id")}},
        r"MSRVTT_data\.json: entry 5 is video0, as entry 1 is already",
    ),
    "an official video in both files": (
        "msrvtt-full as published",
        {"test_videodatainfo.json": MSRVTT_JSON, "test_videodatainfo.json.zip": None},
        r"test_videodatainfo\.json: video0 is in .*train_val_annotation\.zip \(train_val_videodat",
    ),
    "an official split of another name": (
        "msrvtt-9k of CLIP4Clip",
        {"MSRVTT_data.json": {**MSRVTT_JSON, "videos": [{"video_id": "video0", "split": "val"}]}},
        r"MSRVTT_data\.json: the split of 'video0' is 'val': it is one of train, validate, test",
    ),
    "a sentence of a video that is not there": (
        "msrvtt-9k of CLIP4Clip",
        {
            "MSRVTT_data.json": {
                **MSRVTT_JSON,
                "sentences": [*MSRVTT_JSON["sentences"], {"video_id": "video9", "caption": "a"}],
            }
        },
        r"MSRVTT_data\.json: sentence 9 is \{'video_id': 'video9', .*\"video_id\" one of the vide",
    ),
    "a sentence without a caption": (
        "msrvtt-9k of CLIP4Clip",
        {"MSRVTT_data.json": {**MSRVTT_JSON, "sentences": [{"video_id": "video0"}]}},
        r"MSRVTT_data\.json: sentence 1 is \{'video_id': 'video0'\}: it should have a text as \"c",
    ),
    "a sentence whose caption is no text": (
        "msrvtt-9k of CLIP4Clip",
        {"MSRVTT_data.json": {**MSRVTT_JSON, "sentences": [{"video_id": "video0", "caption": 3}]}},
        r"MSRVTT_data\.json: sentence 1 is .*'caption': 3\}: it should have a text as \"caption\"",
    ),
    "a sentence of a list of videos": (
        "msrvtt-9k of Frozen in Time",
        {"annotation/MSR_VTT.json": {"annotations": [{"image_id": ["video0"], "caption": "a"}]}},
        r"MSR_VTT\.json: sentence 1 is \{'image_id': \['video0'\], .*as \"image_id\" one of the vi",
    ),
    "a list under the name of a table": (
        "msrvtt-9k of CLIP4Clip",
        {"MSRVTT_train.9k.csv": "video0\nvideo1\n"},
        r"MSRVTT_train\.9k\.csv, line 1: the header is 'video0': it should be 'video_id'",
    ),
    "a table without a column": (
        "msrvtt-9k of CLIP4Clip",
        {"MSRVTT_JSFUSION_test.csv": "key,video_id,sentence\nret0,video3,it rains\n"},
        r"JSFUSION_test\.csv, line 1: the header is 'key,video_id,sentence': it should be 'key,vi",
    ),
    "a row without a field": (
        "msrvtt-9k of CLIP4Clip",
        {"MSRVTT_JSFUSION_test.csv": "key,vid_key,video_id,sentence\nret0,msr3,video3\n"},
        r"JSFUSION_test\.csv, line 2: it has 3 fields: each line has 4: key,vid_key,video_id,sent",
    ),
    "a sentence with a comma and no quotes": (
        "msrvtt-9k of CLIP4Clip",
        {"MSRVTT_JSFUSION_test.csv": "key,vid_key,video_id,sentence\nret0,msr3,video3,oh, rain\n"},
        r"JSFUSION_test\.csv, line 2: it has 5 fields",
    ),
    "a query that is blank": (
        "msrvtt-9k of CLIP4Clip",
        {"MSRVTT_JSFUSION_test.csv": "key,vid_key,video_id,sentence\nret0,msr3,video3, \n"},
        r"JSFUSION_test\.csv, line 2: its video_id or sentence is blank: each row has both",
    ),
    "a query twice": (
        "msrvtt-9k of CLIP4Clip",
        {"MSRVTT_JSFUSION_test.csv": "key,vid_key,video_id,sentence\n1,2,video3,a\n2,3,video3,b\n"},
        r"JSFUSION_test\.csv: line 3 is video3, as line 2 is already",
    ),
    "a table without rows": (
        "msrvtt-9k of CLIP4Clip",
        {"MSRVTT_train.9k.csv": "video_id\n"},
        r"MSRVTT_train\.9k\.csv: it is empty: it should name one video or more",
    ),
    "a video to train on and to test": (
        "msrvtt-9k of CLIP4Clip",
        {"MSRVTT_train.9k.csv": ["video_id", "video0", "video3"]},
        r"JSFUSION_test\.csv: video3 is in .*MSRVTT_train\.9k\.csv as well, and so in train and t",
    ),
    "a description twice": (
        "didemo of CLIP4Clip",
        {"test_data.json": two_of(DIDEMO_ENTRIES["test"], "annotation_id")},
        r"test_data\.json: entry 6 has the annotation_id 4, as entry 1 already",
    ),
    "a description without a video": (
        "didemo of CLIP4Clip",
        {"test_data.json": [*DIDEMO_ENTRIES["test"], {"description": "a dog"}]},
        r"test_data\.json: entry 6 has no 'video': it has description",
    ),
    "a description that is a list": (
        "didemo of CLIP4Clip",
        {"test_data.json": [{**DIDEMO_ENTRIES["test"][0], "description": ["a"]}]},
        r"test_data\.json: description of entry 1 is \['a'\]: it should be a text",
    ),
    "a prepared video twice": (
        "didemo of VindLU",
        {"didemo_ret_val.json": [{"video": "a", "caption": "b"}] * 2},
        r"didemo_ret_val\.json: entry 2 is a, as entry 1 is already",
    ),
    "a prepared caption that is a number": (
        "didemo of VindLU",
        {"didemo_ret_val.json": [{"video": "a", "caption": ["b", 3]}]},
        r"didemo_ret_val\.json: a part of the caption of entry 1 is 3: it should be a text",
    ),
    "a table divided by commas": (
        "lsmdc of MPII",
        {"LSMDC16_annos_val.csv": lsmdc_row("a_00.1", "A door.").replace("\t", ",")},
        r"LSMDC16_annos_val\.csv, line 1: it has 1 field, .* each line has six, divided by tabs: ",
    ),
    "a video twice in an array of ids": (
        "activitynet of CLIP4Clip",
        {"train_ids.json": ["v_-aa", "v_bb", "v_-aa"]},
        r"train_ids\.json: entry 3 is v_-aa, as entry 1 is already",
    ),
    "an id that is a number": (
        "activitynet of CLIP4Clip",
        {"train_ids.json": ["v_-aa", 7]},
        r"train_ids\.json: entry 2 is 7: it should be a text",
    ),
    "a video without sentences": (
        "activitynet of CLIP4Clip",
        {"val_1.json": {**ACTIVITYNET_TEST, "v_dd": {"duration": 3}}},
        r"val_1\.json: 'v_dd' has no 'sentences': it has duration",
    ),
    "a sentence that is a number": (
        "activitynet of CLIP4Clip",
        {"val_1.json": {"v_cc": {"sentences": ["A dog.", 4]}}},
        r"val_1\.json: entry 2 of the sentences of 'v_cc' is 4: it should be a text",
    ),
    "a clip twice in an official file": (
        "vatex as published",
        {
            "vatex_training_v1.0.json": [
                {"videoID": VATEX_IDS["train"][0], "enCap": ["a"]},
                {"videoID": VATEX_IDS["train"][0], "enCap": ["b"]},
            ]
        },
        r"vatex_training_v1\.0\.json: entry 2 is Ptf_2VRj-V0_000122_000132, as entry 1 is already",
    ),
    "a clip without English captions": (
        "vatex as published",
        {"vatex_training_v1.0.json": [{"videoID": "a", "chCap": ["b"]}]},
        r"vatex_training_v1\.0\.json: 'a' has no 'enCap': it has videoID, chCap",
    ),
    "two lists of one name": (
        "msvd of X-Pool",
        {"train_list.txt": None, "a/train_list.txt": "a", "b/train_list.txt": "b"},
        r"holds a/train_list\.txt and another b/train_list\.txt: name the folder of the one datas",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_told_with_its_file_and_place_and_what_was_expected(tmp_path, case):
    form, changed, words = CASES[case]
    with pytest.raises(ConfigError, match=words) as caught:
        load(form, FORMS[form].write(tmp_path, **changed))
    assert caught.value.exit_code == 2


STRANGE = {
    "msvd of X-Pool": {"captions_msvd.json": {"x": ["a"], "y": ["b"]}},
    "msvd of CLIP4Clip": {"raw-captions.pkl": {"x": [["a"]], "y": [["b"]]}},
    "lsmdc of Collaborative Experts": {"raw-captions.pkl": {"x": ["a"], "y": ["b"]}},
    "activitynet of CLIP4Clip": {
        "val_1.json": {"x": {"sentences": ["a"]}, "y": {"sentences": ["b"]}}
    },
    "vatex of EMCL": {"vatex_data.json": {"x": {"enCap": ["a"]}, "y": {"enCap": ["b"]}}},
    "vatex of TS2-Net": {"ref_captions.json": {"x": ["a"], "y": ["b"]}},
}


@pytest.mark.parametrize("form", STRANGE)
def test_captions_of_videos_in_no_list_are_left_out_with_their_number(tmp_path, form):
    changed = {file: {**FORMS[form].files[file], **more} for file, more in STRANGE[form].items()}
    dataset = load(form, FORMS[form].write(tmp_path / "a", **changed))
    assert "2 videos with captions and in no list, left out (x, y)" in dataset.notes
    assert texts_of(dataset) == texts_of(load(form, FORMS[form].write(tmp_path / "b")))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    return tmp_path


def extract(root):
    arguments = ["extract", "--dataset", "msvd", "--dry-run", "--root", str(root)]
    return CliRunner().invoke(cli, arguments, prog_name="vidret")


def test_the_command_ends_with_exit_code_2_and_one_line_that_names_file_and_line(here):
    root = FORMS["msvd of X-Pool"].write(here / "msvd", **{"val_list.txt": "a\nb\na\n"})
    result = extract(root)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"vidret: {root}/val_list.txt: line 3 is a, as line 1 is already: each video is in there "
        "once; get the file again"
    ]
    assert not (here / "vidret-work").exists()


def test_the_command_ends_with_exit_code_4_where_a_file_is_missing(here):
    root = FORMS["msvd of X-Pool"].write(here / "msvd", **{"val_list.txt": None})
    result = extract(root)
    assert result.exit_code == 4
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"vidret: {root} holds no val_list.txt: it should hold train_list.txt,")


@pytest.mark.xdist_group("msvd")
def test_the_real_files_spoilt_in_one_byte_are_refused_with_the_line(tmp_path):
    for path in real_annotations("msvd").iterdir():
        shutil.copyfile(path, tmp_path / path.name)
    content = bytearray((tmp_path / "captions_msvd.json").read_bytes())
    content[2_000_000] = 0xFF
    (tmp_path / "captions_msvd.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"captions_msvd\.json, line 1: byte 2000000 of the file"):
        load_dataset("msvd", tmp_path)
    os.truncate(tmp_path / "captions_msvd.json", 1_000_000)
    with pytest.raises(ConfigError, match=r"msvd\.json, line 1: column \d+ goes wrong .* cut off"):
        load_dataset("msvd", tmp_path)
