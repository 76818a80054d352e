import csv
import io
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidret.data.errors import ConfigError, MissingError
from vidret.data.folders.captions import CAPTION_FORMS, read_captions, read_sidecar

FORMS = ["captions.jsonl", "captions.json", "captions.csv", "captions.tsv"]


def told(lines):
    return [(line.video, line.caption, line.split, line.kind) for line in lines]


def read(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_captions(path)


def refused(folder, name, content, error=ConfigError):
    """The sentence that a malformed file gets, after the path of the file."""
    with pytest.raises(error) as caught:
        read(folder, name, content)
    sentence = str(caught.value)
    assert sentence.startswith(str(folder / name))
    return sentence.removeprefix(str(folder / name))


def test_the_forms_are_those_that_the_tests_know():
    assert list(CAPTION_FORMS) == FORMS


def test_json_lines_are_objects_with_or_without_split_and_kind(tmp_path):
    content = '{"video": "b.mp4", "caption": "x", "split": "val", "kind": "sound"}\n\n'
    content += '{"video": "a.mp4", "caption": "y"}'
    assert told(read(tmp_path, "captions.jsonl", content)) == [
        ("b.mp4", "x", "val", "sound"),
        ("a.mp4", "y", None, ""),
    ]


def test_json_is_a_list_of_the_same_objects(tmp_path):
    content = (
        '[ {"video": "b.mp4", "caption": "x", "split": "val"},\n{"caption":"y","video":"a"} ]\n'
    )
    assert told(read(tmp_path, "captions.json", content)) == [
        ("b.mp4", "x", "val", ""),
        ("a", "y", None, ""),
    ]


def test_json_is_an_object_from_videos_to_a_caption_or_several(tmp_path):
    content = '{"b.mp4": ["x", "y"],\n "a.mp4" : "z", "c.mp4": [ ]}'
    lines = read(tmp_path, "captions.json", content)
    assert told(lines) == [
        ("b.mp4", "x", None, ""),
        ("b.mp4", "y", None, ""),
        ("a.mp4", "z", None, ""),
    ]
    assert lines[2].place("caption") == f"{tmp_path / 'captions.json'}, line 2, column 12"


def test_a_table_has_its_columns_in_any_order(tmp_path):
    content = "Caption, video ,kind,split\na dog,a.mp4,,val\na cat,a.mp4,sound,\n"
    assert told(read(tmp_path, "captions.csv", content)) == [
        ("a.mp4", "a dog", "val", ""),
        ("a.mp4", "a cat", None, "sound"),
    ]


def test_a_field_between_quotes_may_hold_anything(tmp_path):
    content = 'video,caption\n"a,b.mp4","he says ""no"",\nand goes"\nc.mp4,it\'s 5" wide\n'
    lines = read(tmp_path, "captions.csv", content)
    assert [line.video for line in lines] == ["a,b.mp4", "c.mp4"]
    assert [line.caption for line in lines] == ['he says "no",\nand goes', "it's 5\" wide"]
    assert lines[1].where.endswith("line 4")


def test_a_table_may_be_divided_by_tabs(tmp_path):
    lines = read(tmp_path, "captions.tsv", 'video\tcaption\na.mp4\ta dog, "barking"\n')
    assert told(lines) == [("a.mp4", 'a dog, "barking"', None, "")]


def test_lines_beside_a_video_are_its_captions(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfa dog\r\n\r\n  a cat \n \xe2\x80\xa8\nthe end")
    lines = list(read_sidecar(tmp_path / "a.txt", "a.mp4"))
    assert told(lines) == [("a.mp4", text, None, "") for text in ("a dog", "a cat", "the end")]
    assert [line.where[-1] for line in lines] == ["1", "3", "5"]


SMALL = {
    "captions.jsonl": '{"video": "a.mp4", "caption": "ein Hund"}\n' * 2,
    "captions.json": '{"a.mp4": ["ein Hund",\n"ein Hund"]}',
    "captions.csv": "video,caption\na.mp4,ein Hund\na.mp4,ein Hund\n",
    "captions.tsv": "video\tcaption\na.mp4\tein Hund\na.mp4\tein Hund\n",
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path, name, end):
    content = ("\ufeff" + SMALL[name]).replace("\n", end)
    assert told(read(tmp_path, name, content)) == [("a.mp4", "ein Hund", None, "")] * 2


def as_json_lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def as_json(rows):
    return json.dumps(rows, ensure_ascii=False, indent=1)


def as_table(rows, divider):
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, ["video", "caption", "split", "kind"], delimiter=divider)
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue()


LETTER = st.characters(codec="utf-8", exclude_characters="\0")
TEXT = st.text(LETTER, min_size=1, max_size=12).filter(str.strip)
ROW = st.fixed_dictionaries(
    {"video": TEXT, "caption": TEXT}, optional={"split": TEXT, "kind": TEXT}
)


@settings(deadline=None, max_examples=50)
@given(rows=st.lists(ROW, max_size=5))
def test_the_same_captions_are_the_same_in_every_form(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("forms")
    wanted = [(r["video"], r["caption"], r.get("split"), r.get("kind", "")) for r in rows]
    assert told(read(folder, "captions.jsonl", as_json_lines(rows))) == wanted
    assert told(read(folder, "captions.json", as_json(rows))) == wanted
    assert told(read(folder, "captions.csv", as_table(rows, ","))) == wanted
    assert told(read(folder, "captions.tsv", as_table(rows, "\t"))) == wanted


LINE = (
    st.text(LETTER.filter(lambda sign: sign not in "\r\n"), min_size=1).map(str.strip).filter(bool)
)


@settings(deadline=None, max_examples=50)
@given(captions=st.lists(LINE, max_size=5))
def test_captions_of_one_line_are_the_same_beside_the_video(tmp_path_factory, captions):
    folder = tmp_path_factory.mktemp("forms")
    (folder / "a.txt").write_text("\n\n".join(captions), "utf-8", newline="")
    beside = [line.caption for line in read_sidecar(folder / "a.txt", "a.mp4")]
    mapped = read(folder, "captions.json", json.dumps({"a.mp4": captions}))
    assert beside == [line.caption for line in mapped] == captions


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"video": "a.mp4", "caption": }', ", line 1, column 31 is no JSON (Expecting value)"),
        (
            '{"video": "a", "caption": "x"}\n {"video": "a"} {}',
            ", line 2, column 17 is no JSON (Extra data)",
        ),
        (
            '{"video": "a", "caption": "x", "video": "b"}',
            ", line 1, column 1 is no JSON (the key 'video' stands twice)",
        ),
        pytest.param("[" * 100_000, ", line 1, column 1 is no JSON (too many brackets", id="deep"),
        ('{"video": "a", "caption": "x", "splt": "y"}', ": it has 'splt', did you mean 'split'?"),
        ('{"video": "a", "caption": "x", "id": "y"}', ": it has 'id', take it out"),
        ('{"video": "a", "text": "x"}', ": it has no caption"),
        (
            '{"video": "a", "caption": "a \\u0000 dog"}',
            ", line 1: caption is 'a \\x00 dog': take out",
        ),
        ('{"video": "a", "caption": 7}', ", line 1: caption is 7: write a string"),
    ],
)
def test_a_malformed_line_of_json_is_named_with_its_place(tmp_path, content, sentence):
    assert sentence in refused(tmp_path, "captions.jsonl", content)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", ", line 1, column 1 goes wrong (Expecting '{')"),
        ('"a.mp4"', ", line 1, column 1 goes wrong (Expecting '{')"),
        ('[\n{"video": "a", "caption": "x"}', ", line 2, column 31 goes wrong (Expecting ',')"),
        ('[{"video": "a", "caption": "x"},]', ", line 1, column 33 goes wrong (Expecting value)"),
        ('[{"video": "a", "caption": "x"}]\n\n[', ", line 3, column 1 goes wrong (Extra data)"),
        ('{"a": "x",\n "b" "y"}', ", line 2, column 6 goes wrong (Expecting ':')"),
        ('{"a": "x", b: "y"}', ", line 1, column 12 goes wrong (Expecting a key in quotes)"),
        ('{"a": "x",\n  "a": "y"}', ", line 2, column 3 goes wrong (the key 'a' stands twice)"),
        ('{"a": ["x", "y"', ", line 1, column 16 goes wrong (Expecting ',')"),
        ('{"a":\n["x",\n"bad \\q"]}', ", line 3, column 6 goes wrong (Invalid \\escape)"),
        pytest.param("[" * 100_000, "goes wrong (too many brackets within one", id="deep"),
        pytest.param(f"[{'9' * 5000}]", ", line 1, column 2 goes wrong (Exceeds the", id="digits"),
        ('{"a": ["x",\n [1]]}', ", line 2, column 2: caption is [1]: write a string"),
        ('{"a": ["x",\n " "]}', ", line 2, column 2: caption is ' ': write a string"),
        ('{"a": {"caption": "x"}}', ", line 1, column 7: caption is {'caption': 'x'}: write"),
        ('[\n\n  ["a", "x"]]', ", line 3, column 3 is not of the form"),
        ('[{"video": "a", "caption": "x"},\n{"video": "b"}]', ", line 2, column 1 is not of the"),
        ('{"video": "a", "caption": "x"}', "(a single object wants a list around it)"),
        (
            '{"video": "a", "caption": "x"}\n{"video": "b", "caption": "y"}',
            ", line 2, column 1 goes wrong (one object a line belongs into captions.jsonl)",
        ),
    ],
)
def test_malformed_json_is_named_with_its_place(tmp_path, content, sentence):
    assert sentence in refused(tmp_path, "captions.json", content)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", ", line 1: no column video: the file is empty, so begin it with the header"),
        ("name,caption\n", "no column video: the columns are 'name', 'caption', so begin with"),
        (
            "video,captions\n",
            "no column caption: the columns are 'video', 'captions', did you mean",
        ),
        ("video;caption\n", "divided by ';', so save it with ','"),
        ("video\tcaption\n", "divided by '\\t', so save it with ','"),
        ("\nvideo,caption,splt\n", ", line 2, column 3 is named 'splt', not video, caption, split"),
        (
            "video,caption,length\n",
            "column 3 is named 'length', not video, caption, split, kind: take",
        ),
        ("video,caption,Video\n", ", line 1, column 3 is named video like another before it"),
        ("video,caption\na,x\nb\n", ", line 3 has 1 field, and the header has 2"),
        ("video,caption\na,x\n\nb,one, two\n", ", line 4 has 3 fields, and the header has 2"),
        ('video,caption\n"a\nb",x\nc,y,z\n', ", line 4 has 3 fields"),
        ("video,caption\na,\n", ", line 2, column 2: caption is '': write a string"),
        ("caption,video\nx,  \n", ", line 2, column 2: video is '  ': write a string"),
        ("video,caption,split\na,x, \n", ", line 2, column 3: split is ' ': write a string"),
        ("video,caption\na,x\0y\n", ", line 2, column 2: caption is 'x\\x00y': take out"),
        (
            'video,caption\na,x\nb,"y\nc,z\n',
            ", line 3 is no row of a table (unexpected end of data)",
        ),
        ('video,caption\na,"x" y\n', ", line 2 is no row of a table (',' expected after"),
        pytest.param(
            f'video,caption\na,"{"x" * 200_000}"\n', ", line 2 is no row of a table", id="long"
        ),
    ],
)
def test_a_malformed_table_is_named_with_its_place(tmp_path, content, sentence):
    assert sentence in refused(tmp_path, "captions.csv", content)


@pytest.mark.parametrize("name", FORMS)
def test_what_is_not_utf8_is_named_with_its_byte(tmp_path, name):
    content = SMALL[name].encode().replace(b"ein Hund", b"caf\xe9", 1)
    at = content.index(b"\xe9")
    line = content[:at].count(b"\n") + 1
    sentence = refused(tmp_path, name, content)
    assert sentence.startswith(f", line {line} is not UTF-8 (byte {at} of the file, invalid ")


def test_a_table_as_spreadsheets_save_unicode_is_not_utf8(tmp_path):
    content = SMALL["captions.tsv"].encode("utf-16")
    assert "line 1 is not UTF-8 (byte 0 of the file" in refused(tmp_path, "captions.tsv", content)


def test_a_text_beside_a_video_is_named_where_it_is_malformed(tmp_path):
    for content, sentence in {
        b"a\nb\xff": "line 2 is not UTF-8",
        b"a\n\0": "line 2: caption",
    }.items():
        (tmp_path / "a.txt").write_bytes(content)
        with pytest.raises(ConfigError, match=rf"a\.txt, {sentence}"):
            list(read_sidecar(tmp_path / "a.txt", "a.mp4"))


def test_a_name_that_is_not_utf8_can_be_written_in_json(tmp_path):
    name = os.fsdecode(b"caf\xe9.mp4")
    content = json.dumps({"video": name, "caption": "x"})
    assert told(read(tmp_path, "captions.jsonl", content)) == [(name, "x", None, "")]


def test_captions_that_are_no_file_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "captions.csv")
    (tmp_path / "captions.json").symlink_to("absent")
    for name in ("captions.csv", "captions.json"):
        with pytest.raises(MissingError, match=rf"{name} is no file"):
            read_captions(tmp_path / name)


def test_a_long_value_does_not_fill_the_screen(tmp_path):
    content = json.dumps({"video": "a", "caption": ["x" * 10_000]})
    assert len(refused(tmp_path, "captions.jsonl", content)) < 250
