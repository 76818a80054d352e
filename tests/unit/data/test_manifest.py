import json
from dataclasses import replace

import pytest
from making.caches import a_fingerprint

from vidret.data.errors import DamagedError, MismatchError, MissingError
from vidret.data.fingerprint import FORMAT
from vidret.data.manifest import (
    MANIFEST,
    Manifest,
    Removed,
    SplitCount,
    read_manifest,
    write_manifest,
)
from vidret.data.storage.hdf5 import ShardEntry


def an_entry(file: str) -> ShardEntry:
    return ShardEntry(
        file=file, kind="video", items=2, failed=1, bytes=99, checksum="ab", fingerprint="cd"
    )


def a_manifest(**changes) -> Manifest:
    made = Manifest(
        fingerprint=a_fingerprint(),
        settings={"root": "/ünit", "frames": 12, "pixels": False},
        splits={"train": SplitCount(videos=3, captions=5), "val": SplitCount(videos=0, captions=0)},
        shards=(an_entry("a.h5"), an_entry("b.h5")),
        complete=True,
    )
    return replace(made, **changes)


def test_a_manifest_comes_back_as_it_was(tmp_path):
    write_manifest(tmp_path, a_manifest())
    assert read_manifest(tmp_path) == a_manifest()


def test_a_manifest_without_shards_comes_back(tmp_path):
    write_manifest(tmp_path, a_manifest(shards=(), complete=False))
    assert read_manifest(tmp_path) == a_manifest(shards=(), complete=False)


def test_the_same_manifest_gives_the_same_bytes_whatever_the_order(tmp_path):
    other = a_manifest(
        settings={"pixels": False, "frames": 12, "root": "/ünit"},
        shards=(an_entry("b.h5"), an_entry("a.h5")),
    )
    write_manifest(tmp_path, a_manifest())
    first = (tmp_path / MANIFEST).read_bytes()
    write_manifest(tmp_path, other)
    assert (tmp_path / MANIFEST).read_bytes() == first


def test_what_left_the_dataset_and_other_files_come_back(tmp_path):
    odd = "v\udcff"  # a file name that is no UTF-8
    made = a_manifest(removed=Removed(videos=("v1", odd), captions=("c1",)), files={"a.bin": "ab"})
    write_manifest(tmp_path, made)
    assert read_manifest(tmp_path) == made


def test_the_order_of_what_left_the_dataset_does_not_show(tmp_path):
    write_manifest(tmp_path, a_manifest(removed=Removed(videos=("v2", "v1"))))
    assert read_manifest(tmp_path).removed.videos == ("v1", "v2")


def test_a_manifest_of_format_1_is_written_as_it_was_read(tmp_path):
    old = a_manifest(fingerprint=a_fingerprint(format=1))
    write_manifest(tmp_path, old)
    values = json.loads((tmp_path / MANIFEST).read_text())
    assert not {"removed", "files"} & values.keys()
    assert read_manifest(tmp_path) == old


def test_each_shard_has_one_line(tmp_path):
    write_manifest(tmp_path, a_manifest())
    lines = (tmp_path / MANIFEST).read_text().splitlines()
    assert [json.loads(line.rstrip(","))["file"] for line in lines if '"file"' in line] == [
        "a.h5",
        "b.h5",
    ]


def test_writing_leaves_nothing_but_the_manifest(tmp_path):
    write_manifest(tmp_path, a_manifest())
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST]


@pytest.mark.parametrize("name", ["", "absent", f"{MANIFEST}/below"])
def test_a_folder_without_a_manifest_is_no_cache(tmp_path, name):
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(MissingError, match=r"holds no manifest\.json.*vidret extract"):
        read_manifest(tmp_path / "a" / name)


def test_a_manifest_of_a_newer_format_is_refused_as_such(tmp_path):
    newer = {"format": FORMAT + 1, "colour": "red"}
    (tmp_path / MANIFEST).write_text(json.dumps(newer))
    with pytest.raises(MismatchError, match=rf"manifest\.json has format {FORMAT + 1}"):
        read_manifest(tmp_path)


def change(values, *keys, to):
    """The same JSON with one value replaced, or removed where `to` is None."""
    *outer, last = keys
    inner = values
    for key in outer:
        inner = inner[key]
    if to is None:
        del inner[last]
    else:
        inner[last] = to


@pytest.mark.parametrize(
    ("keys", "to"),
    [
        (["format"], None),
        (["splits"], None),
        (["splits"], ["train"]),
        (["splits", "train", "videos"], "3"),
        (["splits", "train", "captions"], None),
        (["settings"], []),
        (["complete"], 1),
        (["shards"], 5),
        (["shards", 0], "a.h5"),
        (["shards", 0, "bytes"], None),
        (["shards", 0, "colour"], "red"),
        (["shards", 0, "kind"], "sound"),
        (["shards", 0, "file"], "../a.h5"),
        (["fingerprint", "frames"], None),
        (["fingerprint"], None),
        (["removed"], None),
        (["removed", "videos"], "v1"),
        (["removed", "captions"], [1]),
        (["files"], None),
        (["files"], {"../projections.safetensors": "ab"}),
        (["files"], {"projections.safetensors": 1}),
    ],
)
def test_a_malformed_manifest_is_damage(tmp_path, keys, to):
    write_manifest(tmp_path, a_manifest())
    path = tmp_path / MANIFEST
    values = json.loads(path.read_text())
    change(values, *keys, to=to)
    path.write_text(json.dumps(values))
    with pytest.raises(DamagedError, match=str(path)):
        read_manifest(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe"])
def test_what_is_no_json_object_is_damage(tmp_path, content):
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(DamagedError, match=str(tmp_path / MANIFEST)):
        read_manifest(tmp_path)
