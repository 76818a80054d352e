"""An export says, to numpy and pyarrow alone, just what the cache says."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from making.caches import a_caption, a_dense_video, a_fingerprint, a_video, write_toy_cache

from vidret.data.cache import FeatureCache
from vidret.data.errors import ConfigError, DamagedError, MissingError
from vidret.data.manifest import Removed, SplitCount, read_manifest, write_manifest
from vidret.data.samples import AudioState
from vidret.data.shards import write_caption_shard, write_video_shard
from vidret.data.storage.projections import PROJECTIONS, write_projections
from vidret.data.upkeep.export import export_cache
from vidret.data.upkeep.npz import new_npz

SPLITS = ("train", "test")

READ_WITH_NUMPY = """
import json, sys
import numpy as np
with np.load(sys.argv[1]) as file:
    print(json.dumps({name: [str(file[name].dtype), file[name].tolist()] for name in file.files}))
assert "vidret" not in sys.modules
"""


@pytest.fixture
def folder(tmp_path):
    return write_toy_cache(tmp_path / "toy")


def export(folder, to, file_format="npz", splits=SPLITS):
    return export_cache(FeatureCache.open(folder), to, file_format=file_format, splits=splits)


def arrays(path):
    """What numpy reads from a file, in a process that knows nothing of vidret."""
    told = subprocess.run(
        [sys.executable, "-I", "-c", READ_WITH_NUMPY, path],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(told.stdout)


def table(path):
    return pq.read_table(path).to_pydict()


def plain(values):
    return np.asarray(values).tolist()


def test_the_videos_of_a_split_are_arrays_of_numpy(folder, tmp_path):
    export(folder, tmp_path / "out")
    found = arrays(tmp_path / "out" / "videos-train.npz")
    train = FeatureCache.open(folder).load("train")
    assert found["ids"][1] == ["v0", "v1", "v2"]
    assert found["path"][1] == train.paths
    assert found["frames"] == ["float16", plain(train.frames)]
    assert found["frame_mask"] == ["bool", plain(train.frame_mask)]
    assert found["times"] == ["float64", plain(train.times)]
    assert found["indices"] == ["int64", plain(train.indices)]
    assert found["duration"] == ["float64", [2.5, 3.5, 4.5]]
    assert found["audio"] == ["float16", plain(train.audio)]
    assert found["audio_state"][1] == ["ok", "silent", "no-stream"]
    assert "dense" not in found


def test_the_captions_of_a_split_are_arrays_of_numpy(folder, tmp_path):
    export(folder, tmp_path / "out")
    found = arrays(tmp_path / "out" / "captions-train.npz")
    train = FeatureCache.open(folder).load("train")
    assert found["ids"][1] == ["c0", "c3", "c4", "c5"]
    assert found["video_ids"][1] == ["v0", "v1", "v0", "v2"]
    assert (found["text"][1], found["kind"][1]) == (train.text, train.kind)
    assert found["sentence"] == ["float16", plain(train.sentence)]
    assert found["words"] == ["float16", plain(train.words)]
    assert found["word_offsets"] == ["int64", plain(train.word_offsets)]
    assert found["tokens"] == ["int64", plain(train.tokens)]
    assert found["token_offsets"] == ["int64", plain(train.token_offsets)]
    assert found["truncated"] == ["bool", [False] * 4]


def test_a_split_is_a_table_of_parquet(folder, tmp_path):
    export(folder, tmp_path / "out", "parquet")
    found = table(tmp_path / "out" / "videos-train.parquet")
    videos = [
        a_video(0),
        a_video(1, num_frames=1, state=AudioState.SILENT),
        a_video(2, num_frames=2, state=AudioState.NO_STREAM),
    ]
    assert found["id"] == ["v0", "v1", "v2"]
    assert found["path"] == [video.path for video in videos]
    assert found["duration"] == [2.5, 3.5, 4.5]
    assert found["frames"] == [plain(video.frames) for video in videos]
    assert found["times"] == [plain(video.times) for video in videos]
    assert found["indices"] == [plain(video.indices) for video in videos]
    assert found["audio"] == [plain(videos[0].audio), None, None]
    assert found["audio_state"] == ["ok", "silent", "no-stream"]
    said = table(tmp_path / "out" / "captions-train.parquet")
    captions = [
        a_caption(0, 0), a_caption(3, 1, num_words=1), a_caption(4, 0, num_words=0), a_caption(5, 2)
    ]  # fmt: skip
    assert said["id"] == [caption.id for caption in captions]
    assert said["video_id"] == [caption.video_id for caption in captions]
    assert said["text"] == [caption.text for caption in captions]
    assert said["kind"] == [caption.kind for caption in captions]
    assert said["sentence"] == [plain(caption.sentence) for caption in captions]
    assert said["words"] == [plain(caption.words) for caption in captions]
    assert said["tokens"] == [plain(caption.tokens) for caption in captions]
    assert said["truncated"] == [False] * 4


def test_a_table_keeps_the_types_of_the_cache(folder, tmp_path):
    export(folder, tmp_path / "out", "parquet")
    schema = pq.read_schema(tmp_path / "out" / "videos-test.parquet")
    assert str(schema.field("frames").type.value_type).startswith("fixed_size_list")
    assert str(schema.field("frames").type.value_type.value_type) == "halffloat"
    assert str(schema.field("indices").type.value_type) == "int64"


def write_hidden_cache(folder):
    """Dense frames, hidden features, a split of an odd name, a path that is no UTF-8."""
    folder.mkdir()
    odd = replace(a_dense_video(1, split="a/b"), path=os.fsdecode(b"clips/\xff.mp4"))
    videos = [a_dense_video(0, split="a/b", num_dense=2), odd, a_video(2, split="a/b")]
    shards = (
        write_video_shard(folder / "videos-00000.h5", videos[:1], [], "abc"),
        write_video_shard(folder / "videos-00001.h5", videos[1:], [], "abc"),
        write_caption_shard(folder / "captions-00000.h5", [a_caption(0, 1)], "abc"),
    )
    tensors = {"visual.weight": np.ones((4, 4), np.float32)}
    manifest = replace(
        read_manifest(write_toy_cache(folder.parent / "other")),
        fingerprint=a_fingerprint(features="hidden"),
        shards=shards,
        splits={"a/b": SplitCount(videos=3, captions=1)},
        files=write_projections(folder, tensors),
    )
    write_manifest(folder, manifest)
    return videos


def test_dense_and_hidden_features_are_written_raw_with_the_projections_beside(tmp_path):
    videos, out = write_hidden_cache(tmp_path / "hidden"), tmp_path / "out"
    written = export(tmp_path / "hidden", out, splits=["a/b"])
    assert [path.name for path in written] == [
        "videos-a%2Fb.npz",
        "captions-a%2Fb.npz",
        PROJECTIONS,
        "fingerprint.json",
    ]
    found = arrays(out / "videos-a%2Fb.npz")
    assert found["frames"][1] == [plain(video.frames) for video in videos]
    dense = [*plain(videos[0].dense.frames), *plain(videos[1].dense.frames)]
    assert found["dense"] == ["float16", dense]
    assert found["dense_offsets"][1] == [0, 2, 7, 7]
    assert found["dense_times"][1] == [0.5, 1.5, 0.5, 1.5, 2.5, 3.5, 4.5]
    assert found["dense_indices"][1] == [0, 25, 0, 25, 50, 75, 100]
    assert found["path"][1] == [video.path for video in videos]
    assert (out / PROJECTIONS).read_bytes() == (tmp_path / "hidden" / PROJECTIONS).read_bytes()
    told = json.loads((out / "fingerprint.json").read_text())
    assert (told["features"], told["frame_dim"]) == ("hidden", 4)


def test_dense_frames_are_a_column_of_parquet_and_odd_bytes_are_spelt_out(tmp_path):
    videos = write_hidden_cache(tmp_path / "hidden")
    export(tmp_path / "hidden", tmp_path / "out", "parquet", splits=["a/b"])
    found = table(tmp_path / "out" / "videos-a%2Fb.parquet")
    assert found["dense"] == [plain(videos[0].dense.frames), plain(videos[1].dense.frames), []]
    assert found["dense_times"][0] == [0.5, 1.5]
    assert found["path"][1] == r"clips/\xff.mp4"


@pytest.mark.parametrize("file_format", ["npz", "parquet"])
def test_without_a_sound_encoder_there_is_no_sound(tmp_path, file_format):
    folder = write_toy_cache(tmp_path / "toy")
    deaf = [replace(a_video(number), audio=None) for number in range(2)]
    entry = write_video_shard(folder / "videos-00000.h5", deaf, [], "abc")
    manifest = read_manifest(folder)
    made = a_fingerprint(audio_dim=0)
    write_manifest(folder, replace(manifest, shards=(entry,), fingerprint=made))
    export(folder, tmp_path / "out", file_format)
    if file_format == "npz":
        assert arrays(tmp_path / "out" / "videos-train.npz")["audio"] == ["float16", [[], []]]
    else:
        assert table(tmp_path / "out" / "videos-train.parquet")["audio"] == [None, None]


@pytest.mark.parametrize("file_format", ["npz", "parquet"])
def test_a_split_without_anything_is_written_with_its_columns(folder, tmp_path, file_format):
    manifest = read_manifest(folder)
    empty = {"val": SplitCount(videos=0, captions=0)}
    write_manifest(folder, replace(manifest, splits=manifest.splits | empty))
    videos, captions, _ = export(folder, tmp_path / "out", file_format, splits=["val"])
    if file_format == "npz":
        assert arrays(videos)["ids"][1] == []
        with np.load(videos) as file:
            assert file["frames"].shape == (0, 3, 4)
    else:
        assert pq.read_table(videos).num_rows == pq.read_table(captions).num_rows == 0
        assert "frames" in pq.read_schema(videos).names


@pytest.mark.parametrize("file_format", ["npz", "parquet"])
def test_what_left_the_dataset_is_not_exported(folder, tmp_path, file_format):
    removed = Removed(videos=("v0",), captions=("c5",))
    write_manifest(folder, replace(read_manifest(folder), removed=removed))
    videos, captions, *_ = export(folder, tmp_path / "out", file_format)
    if file_format == "npz":
        assert (arrays(videos)["ids"][1], arrays(captions)["ids"][1]) == (["v1", "v2"], ["c3"])
    else:
        assert (table(videos)["id"], table(captions)["id"]) == (["v1", "v2"], ["c3"])


@pytest.mark.parametrize("file_format", ["npz", "parquet"])
def test_many_rows_are_written_in_blocks_and_read_as_one(tmp_path, file_format, monkeypatch):
    monkeypatch.setattr("vidret.data.upkeep.export.ROWS", 2)
    monkeypatch.setattr("vidret.data.upkeep.parquet.ROWS", 2)
    folder = write_toy_cache(tmp_path / "toy")
    train = FeatureCache.open(folder).load("train")
    videos, captions, *_ = export(folder, tmp_path / "out", file_format)
    if file_format == "npz":
        assert arrays(videos)["frames"][1] == plain(train.frames)
        assert arrays(captions)["words"][1] == plain(train.words)
    else:
        assert pq.ParquetFile(videos).num_row_groups == 2
        assert table(videos)["id"] == train.video_ids
        assert [row for words in table(captions)["words"] for row in words] == plain(train.words)


def test_the_same_cache_gives_the_same_bytes(folder, tmp_path):
    one, other = (export(folder, tmp_path / name) for name in ("one", "other"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_strings_of_any_length_come_back(tmp_path):
    values = ["", "é" * 5000, "\udcff", *map(str, range(3000))]
    with new_npz(tmp_path / "a.npz") as file:
        file.strings("text", values)
    with np.load(io.BytesIO((tmp_path / "a.npz").read_bytes())) as found:
        assert found["text"].tolist() == values
    assert (tmp_path / "a.npz").stat().st_size < 1_000_000, "the padding takes no room"


def test_a_folder_that_is_not_empty_is_refused(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("")
    with pytest.raises(ConfigError, match=r"is not empty \(it holds thesis\.txt\).*--to"):
        export(folder, tmp_path / "out")


def test_a_file_in_the_place_of_the_folder_is_refused(folder, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(MissingError, match="cannot write to"):
        export(folder, tmp_path / "out")


def test_an_unknown_split_is_refused_before_anything_is_written(folder, tmp_path):
    with pytest.raises(ConfigError, match="no split 'dev'"):
        export(folder, tmp_path / "out", splits=["dev"])
    assert list((tmp_path / "out").iterdir()) == []


def test_without_pyarrow_the_way_to_get_it_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingError, match="pip install pyarrow"):
        export(folder, tmp_path / "out", "parquet")
    assert not (tmp_path / "out").exists()


def test_damaged_projections_are_not_passed_on(tmp_path):
    write_hidden_cache(tmp_path / "hidden")
    (tmp_path / "hidden" / PROJECTIONS).write_bytes(b"no tensors")
    with pytest.raises(DamagedError, match="projections"):
        export(tmp_path / "hidden", tmp_path / "out", splits=["a/b"])
    assert not (tmp_path / "out" / "fingerprint.json").exists()
