import os
from dataclasses import replace
from pathlib import Path

import pytest
from making.caches import a_caption, a_failure, a_fingerprint, a_video, flip_a_bit
from xxhash import xxh3_128_hexdigest

from vidret.data.manifest import Manifest, SplitCount, write_manifest
from vidret.data.samples import Caption, Dataset, Video
from vidret.data.shards import write_caption_shard, write_video_shard
from vidret.extract.plan import CAPTIONS_PER_SHARD, plan_shards

DIGEST = "0123456789ab"


def a_dataset(videos=5, captions=3):
    return Dataset(
        name="toy",
        root=Path("root"),
        videos=tuple(
            Video(id=f"v{number}", path=Path(f"v{number}.mp4"), split="train")
            for number in range(videos)
        ),
        captions=tuple(
            Caption(id=f"c{number}", video_id="v0", text="x") for number in range(captions)
        ),
        protocol="pairs",
    )


def plan(folder, dataset=None, *, retry_failed=False, digest=DIGEST, shard_size=2):
    return plan_shards(
        dataset or a_dataset(),
        folder,
        shard_size=shard_size,
        features_digest=digest,
        retry_failed=retry_failed,
    )


def to_do(found):
    return [shard.file for shard in (*found.videos, *found.captions)]


def write_all(folder, *, digest=DIGEST):
    """All shards of the dataset; v3 failed."""
    return [
        write_video_shard(folder / "videos-00000.h5", [a_video(0), a_video(1)], [], digest),
        write_video_shard(folder / "videos-00001.h5", [a_video(2)], [a_failure(3)], digest),
        write_video_shard(folder / "videos-00002.h5", [a_video(4)], [], digest),
        write_caption_shard(
            folder / "captions-00000.h5", [a_caption(number, 0) for number in range(3)], digest
        ),
    ]


def test_nothing_done_is_everything_to_do_in_a_fixed_grid(tmp_path):
    found = plan(tmp_path)
    assert [[video.id for video in shard.videos] for shard in found.videos] == [
        ["v0", "v1"],
        ["v2", "v3"],
        ["v4"],
    ]
    assert to_do(found) == [
        "videos-00000.h5",
        "videos-00001.h5",
        "videos-00002.h5",
        "captions-00000.h5",
    ]
    assert found.done == ()
    assert plan(tmp_path) == found


def test_captions_have_shards_of_their_own_size(tmp_path):
    found = plan(tmp_path, a_dataset(captions=CAPTIONS_PER_SHARD + 1))
    assert [len(shard.captions) for shard in found.captions] == [CAPTIONS_PER_SHARD, 1]


def test_a_dataset_without_captions_has_no_caption_shard(tmp_path):
    assert plan(tmp_path, a_dataset(captions=0)).captions == ()


def test_what_is_done_is_left_out_and_handed_on(tmp_path):
    entries = write_all(tmp_path)
    found = plan(tmp_path)
    assert to_do(found) == []
    assert list(found.done) == entries


def test_the_grid_stays_when_a_shard_in_the_middle_is_missing(tmp_path):
    entries = write_all(tmp_path)
    (tmp_path / "videos-00001.h5").unlink()
    found = plan(tmp_path)
    assert to_do(found) == ["videos-00001.h5"]
    assert [video.id for video in found.videos[0].videos] == ["v2", "v3"]
    assert list(found.done) == [entries[0], *entries[2:]]


def test_shards_of_other_settings_are_made_again(tmp_path):
    write_all(tmp_path)
    assert len(to_do(plan(tmp_path, digest="ba9876543210"))) == 4


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "folder"])
def test_a_shard_that_cannot_be_read_is_made_again(tmp_path, damage):
    write_all(tmp_path)
    path = tmp_path / "videos-00000.h5"
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        content = path.read_bytes()
        path.write_bytes({"empty": b"", "text": b"text", "cut": content[:-100]}[damage])
    assert to_do(plan(tmp_path)) == ["videos-00000.h5"]


def test_a_flipped_bit_is_found_by_the_checksum_of_the_manifest(tmp_path):
    entries = write_all(tmp_path)
    flip_a_bit(tmp_path / "videos-00002.h5", -3)
    manifest = Manifest(
        fingerprint=a_fingerprint(),
        settings={},
        splits={"train": SplitCount(videos=5, captions=3)},
        shards=tuple(entries),
        complete=True,
    )
    write_manifest(tmp_path, manifest)
    assert to_do(plan(tmp_path)) == ["videos-00002.h5"]


def test_a_shard_that_no_manifest_names_yet_is_done_all_the_same(tmp_path):
    entries = write_all(tmp_path)
    write_manifest(
        tmp_path,
        Manifest(fingerprint=a_fingerprint(), settings={}, splits={}, shards=(), complete=False),
    )
    assert list(plan(tmp_path).done) == entries


def test_failed_videos_are_tried_again_only_when_asked_for(tmp_path):
    write_all(tmp_path)
    assert to_do(plan(tmp_path)) == []
    assert to_do(plan(tmp_path, retry_failed=True)) == ["videos-00001.h5"]


def test_a_dataset_in_another_order_is_another_grid(tmp_path):
    write_all(tmp_path)
    dataset = a_dataset()
    swapped = replace(
        dataset,
        videos=(*dataset.videos[:1], *dataset.videos[2:], dataset.videos[1]),
        captions=tuple(reversed(dataset.captions)),
    )
    assert to_do(plan(tmp_path, swapped)) == [
        "videos-00000.h5",
        "videos-00001.h5",
        "videos-00002.h5",
        "captions-00000.h5",
    ]


def test_a_part_of_a_killed_run_is_no_shard(tmp_path):
    write_all(tmp_path)
    (tmp_path / "videos-00000.h5").rename(tmp_path / "videos-00000.h5.0123.part")
    assert to_do(plan(tmp_path)) == ["videos-00000.h5"]


@pytest.mark.parametrize("content", [b"a longer file", b"same size!!!"])
def test_a_replaced_file_is_done_again(tmp_path, content):
    before, file = b"old content.", tmp_path / "v0.mp4"
    file.write_bytes(before)
    video = replace(a_video(0), size=len(before), content_hash=xxh3_128_hexdigest(before))
    write_video_shard(tmp_path / "videos-00000.h5", [video], [], DIGEST)
    one = Video(id="v0", path=file, split="train")
    dataset = replace(a_dataset(captions=0), videos=(one,))
    assert to_do(plan(tmp_path, dataset)) == []
    file.write_bytes(content)
    os.utime(file, (2e9, 2e9))
    assert to_do(plan(tmp_path, dataset)) == ["videos-00000.h5"]
    file.unlink()
    assert to_do(plan(tmp_path, dataset)) == []
