import gzip
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from making.annotations import write_files

from vidret.data.datasets.reading import (
    Source,
    read_captions_by_id,
    read_ids,
    read_json,
    read_lines,
    read_pickle,
    read_table,
    read_text,
)
from vidret.data.errors import ConfigError, MissingError

BOM = b"\xef\xbb\xbf"
PACKED = gzip.compress(b"{}" * 99, mtime=0)  # with a time, each worker would name tests anew


def source(folder: Path, name: str, content: object) -> Source:
    return Source(write_files(folder, {name: content}) / name)


def refused(read, source, *arguments):
    """The words of the error that reading ends with."""
    with pytest.raises(ConfigError) as caught:
        list(read(source, *arguments))
    return str(caught.value).removeprefix(str(source))


class Evil:
    """A pickle of this would make a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("start", [b"", BOM])
def test_lines_of_any_system_are_read_with_and_without_a_byte_order_mark(
    tmp_path, end, last, start
):
    content = start + b"a" + end + b" b " + end + end + b"c" + (end if last else b"")
    lines = list(read_lines(source(tmp_path, "x.txt", content)))
    assert [(line.number, line.text) for line in lines] == [(1, "a"), (2, " b "), (4, "c")]
    assert read_ids(source(tmp_path, "x.txt", content)) == ["a", "b", "c"]


def test_signs_that_only_python_takes_for_a_line_end_are_none(tmp_path):
    content = "a\u2028b\x0bc\x85d\x1ce\n"
    assert [line.text for line in read_lines(source(tmp_path, "x.txt", content))] == [content[:-1]]


@pytest.mark.parametrize("content", [b"a\r\nb\ncaf\xe9\n", b"a\rbc\rcaf\xe9\r"])
def test_bytes_that_are_no_utf_8_are_told_with_their_line(tmp_path, content):
    told = refused(read_lines, source(tmp_path, "x.txt", content))
    assert told == ", line 3: byte 8 of the file is not UTF-8: save it as UTF-8, or get it again"


def test_utf_16_is_refused(tmp_path):
    assert "byte 0 of the file is not UTF-8" in refused(
        read_ids, source(tmp_path, "x.txt", "abc".encode("utf-16"))
    )


def test_an_id_that_is_there_twice_is_told_with_both_lines(tmp_path):
    told = refused(read_ids, source(tmp_path, "x.txt", "a\nb\n\n a \n"))
    assert (
        told
        == ": line 4 is a, as line 1 is already: each video is in there once; get the file again"
    )


@pytest.mark.parametrize("content", ["", "\n \n", BOM])
def test_an_empty_list_is_refused(tmp_path, content):
    told = refused(read_ids, source(tmp_path, "x.txt", content))
    assert told == ": it is empty: it should name one video or more"


def test_a_packed_file_is_read_through(tmp_path):
    assert read_text(source(tmp_path, "x.json.gz", {"a": 1})) == '{"a": 1}'


def test_a_member_of_an_archive_is_read_through_and_named(tmp_path):
    packed = source(tmp_path, "x.zip", {"in/y.json": {"a": 1}})
    member = Source(packed.path, "in/y.json")
    assert read_json(member) == {"a": 1}
    assert member.suffix == ".json"
    assert str(member).endswith("x.zip (in/y.json)")


@pytest.mark.parametrize(
    ("name", "member", "content", "words"),
    [
        ("x.json.gz", "", b"{}", "Not a gzipped file"),
        ("x.json.gz", "", PACKED[:-9], "ended before"),
        ("x.json.gz", "", PACKED[:-5] + b"12345", "CRC check failed"),
        ("x.zip", "y.json", b"PK no zip", "File is not a zip file"),
        ("x.zip", "y.json", {"z.json": {}}, "There is no item named 'y.json'"),
    ],
)
def test_an_archive_that_is_damaged_is_refused(tmp_path, name, member, content, words):
    packed = Source(source(tmp_path, name, content).path, member)
    told = refused(read_text, packed)
    assert told.startswith(" cannot be unpacked (")
    assert words in told
    assert told.endswith("get it again")


@pytest.mark.parametrize("kind", ["nothing", "folder", "pipe"])
def test_what_is_no_file_is_missing_and_keeps_nobody_waiting(tmp_path, kind):
    path = tmp_path / "x.txt"
    if kind == "folder":
        path.mkdir()
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(MissingError, match=r"x\.txt is no file that can be read"):
        read_ids(Source(path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_missing(tmp_path):
    (tmp_path / "x.txt").touch(mode=0)
    with pytest.raises(MissingError, match=r"x\.txt cannot be read \(Permission denied\)"):
        read_ids(Source(tmp_path / "x.txt"))


def test_a_table_is_read_by_lines_with_its_quotes(tmp_path):
    table = source(tmp_path, "x.csv", '\ufeffa, b \r\n1,"x, ""y"""\r\n\r\n2,\r\n')
    assert list(read_table(table, ["a", "b"])) == [(2, ["1", 'x, "y"']), (4, ["2", ""])]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", ", line 1: the header is '': it should be 'a,b'"),
        ("b,a\n1,2\n", ", line 1: the header is 'b,a': it should be 'a,b'"),
        ("a\n1\n", ", line 1: the header is 'a': it should be 'a,b'"),
        ("a;b\n1;2\n", ", line 1: the header is 'a;b': it should be 'a,b'"),
        ("\na,b\n1\n", ", line 3: it has 1 field: each line has 2: a,b"),
        ("a,b\n1,2\n1,2,3\n", ", line 3: it has 3 fields: each line has 2: a,b"),
        ('a,b\n1,"2\n', ", line 2: its quotes go wrong (unexpected end of data): get it again"),
    ],
)
def test_other_columns_are_told_with_their_line(tmp_path, content, told):
    assert refused(read_table, source(tmp_path, "x.csv", content), ["a", "b"]) == told


def test_a_field_too_long_for_any_caption_is_no_crash(tmp_path):
    table = source(tmp_path, "x.csv", f"a\n{'x' * 200_000}\n")
    assert "its quotes go wrong (field larger than field limit" in refused(read_table, table, ["a"])


@pytest.mark.parametrize(
    "content", [b'{"a": ["b\xc3\xa9"]}', BOM + b'{\r\n"a":\r["b\xc3\xa9"]}\r\n']
)
def test_json_of_any_system_is_read(tmp_path, content):
    assert read_json(source(tmp_path, "x.json", content)) == {"a": ["bé"]}


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("", "line 1: column 1 goes wrong"),
        ('{"a": [1,\n 2', "line 2: column 3 goes wrong"),
        ('{"a": 1}\n{"b": 2}', "line 2: column 1 goes wrong (Extra data)"),
        ('{"a": 1,\n "b": 2,\n "a": 3}', "line 3: column 2 goes wrong (the key 'a' stands twice)"),
        (
            '[{"a": 1},\n {"b": 2, "b": 2}]',
            "line 2: column 2 goes wrong (the key 'b' stands twice)",
        ),
        (
            '{"s": [\n {"a": 1},\n  {"b": 2, "b": 3}]}',
            "line 3: column 3 goes wrong (the key 'b' stands twice)",
        ),
        ("[" * 100_000, "too many brackets within one another"),
        ("{'a': 1}", "line 1: column 2 goes wrong"),
    ],
)
def test_json_that_is_none_is_told_with_line_and_column(tmp_path, content, place):
    told = refused(read_json, source(tmp_path, "x.json", content))
    assert place in told
    assert told.endswith("it is cut off or was changed; get it again")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_of_every_protocol_are_read(tmp_path, protocol):
    values = {"a": [["b", "é"], ["c"]], "n": 3, "f": 0.5, "none": None, "t": (True,)}
    content = pickle.dumps(values, protocol=protocol)
    if protocol < 2:  # these write a tuple and a list as marks, and text by a global in Python 2
        assert b"c__builtin__" not in content
    assert read_pickle(source(tmp_path, "x.pkl", content)) == values


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_carries_code_is_refused_and_nothing_runs(tmp_path, protocol):
    folder = tmp_path / "made"
    content = pickle.dumps({"a": Evil(folder)}, protocol=protocol)
    told = refused(read_pickle, source(tmp_path, "x.pkl", content))
    assert "is no pickle of plain lists and strings (it asks for posix.mkdir)" in told
    assert not folder.exists()
    pickle.loads(content)
    assert folder.exists(), "else the test proves nothing"


@pytest.mark.parametrize(
    "content",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"(S'1'\nibuiltins\neval\n.",
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.",
        b"\x80\x02\x82\x01.",
        b"Pa persistent id\n.",
    ],
)
def test_no_way_to_name_code_in_a_pickle_leads_to_it(tmp_path, content):
    assert "is no pickle of plain" in refused(read_pickle, source(tmp_path, "x.pkl", content))


@pytest.mark.parametrize("value", [np.int64(3), np.arange(3), np.float32(1)])
def test_numbers_of_numpy_are_refused_with_what_to_do(tmp_path, value):
    told = refused(read_pickle, source(tmp_path, "x.pkl", pickle.dumps({"a": value})))
    assert told.startswith(" holds numbers or arrays of numpy (numpy.")
    assert told.endswith(
        "save it again with plain numbers, int(x), or use another form of the same data"
    )


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps(["a"] * 9)[:-5], b"\x80\x63."])
def test_a_broken_pickle_is_refused(tmp_path, content):
    told = refused(read_pickle, source(tmp_path, "x.pkl", content))
    assert told.endswith("get it again, or use another form of the same data")


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("x.json", {"a": ["b c", "d"]}, {"a": ["b c", "d"]}),
        ("x.json", {"a": ["b", "c"]}, {"a": ["b", "c"]}),
        ("x.json", {"a": "b c"}, {"a": ["b c"]}),
        ("x.json", {"a": [["b", "c"], ["d"]]}, {"a": ["b c", "d"]}),
        ("x.json", {"a": []}, {"a": []}),
        ("x.json", {"a": [["b", "c"], "d e"]}, {"a": ["b c", "d e"]}),
        ("x.pkl", {"a": [["b", "c"], ["d"]], "e": []}, {"a": ["b c", "d"], "e": []}),
        ("x.pkl", {"a": ["b", "c"], "e": []}, {"a": ["b c"], "e": []}),
        ("x.pkl", {"a": ["b c", "d"], "e": ["f"]}, {"a": ["b c", "d"], "e": ["f"]}),
    ],
)
def test_captions_are_texts_or_lists_of_words(tmp_path, name, values, expected):
    assert read_captions_by_id(source(tmp_path, name, values)) == expected


@pytest.mark.parametrize("name", ["x.json", "x.pkl"])
@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([["a"]], "it is a list: it maps each video to its captions"),
        (3, "it is a number: it maps each video to its captions"),
        ({" ": ["a"]}, "a key is ' ': it should not be blank"),
        ({"a": 3}, "what stands for 'a' is a number: it should be a list"),
        ({"a": {"b": "c"}}, "what stands for 'a' is an object: it should be a list"),
        ({"a": ["b", 3]}, "caption 2 of 'a' is 3: it should be a text"),
        ({"a": [["b", 3]]}, "caption 1 of 'a' is ['b', 3]: it should be a text"),
        ({"a": [None]}, "caption 1 of 'a' is None: it should be a text"),
    ],
)
def test_captions_of_other_types_are_refused_at_every_level(tmp_path, name, values, told):
    assert refused(read_captions_by_id, source(tmp_path, name, values)) == f": {told}"


def test_a_key_of_a_pickle_that_is_no_text_is_refused(tmp_path):
    told = refused(read_captions_by_id, source(tmp_path, "x.pkl", {7: ["a"]}))
    assert told == ": a key is 7: it should be a text"
