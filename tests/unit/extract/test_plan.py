import os
from dataclasses import replace

import pytest
from making.caches import a_fingerprint, flip_a_bit
from making.growing import Growing

from vidret.data.cache import FeatureCache
from vidret.data.manifest import MANIFEST, Manifest, Removed, read_manifest, write_manifest
from vidret.data.upkeep.check import verify_cache
from vidret.extract.plan import CAPTIONS_PER_SHARD, VideoShard

VIDEOS = ["videos-00000.h5", "videos-00001.h5", "videos-00002.h5"]
CAPTIONS = "captions-00000.h5"


@pytest.fixture
def growing(tmp_path):
    """Five videos, of which v3 fails, and three captions."""
    made = Growing(tmp_path / "videos", tmp_path / "cache")
    made.put(v0="first", v1="second", v2="third", v3="bad", v4="fifth")
    made.captions = {"c0": ("v0", "a dog"), "c1": ("v0", "a cat"), "c2": ("v1", "rain")}
    return made


def to_do(plan):
    return [shard.file for shard in (*plan.videos, *plan.captions)]


def ids(shard):
    return [item.id for item in (shard.videos if isinstance(shard, VideoShard) else shard.captions)]


def test_nothing_done_is_everything_to_do_in_a_fixed_grid(growing):
    plan = growing.plan()
    assert [ids(shard) for shard in plan.videos] == [["v0", "v1"], ["v2", "v3"], ["v4"]]
    assert to_do(plan) == [*VIDEOS, CAPTIONS]
    assert plan.done == ()
    assert growing.plan() == plan


def test_captions_have_shards_of_their_own_size(growing):
    growing.captions = {f"c{n:04}": ("v0", "x") for n in range(CAPTIONS_PER_SHARD + 1)}
    assert [len(shard.captions) for shard in growing.plan().captions] == [CAPTIONS_PER_SHARD, 1]


def test_a_dataset_without_captions_has_no_caption_shard(growing):
    growing.captions = {}
    assert growing.plan().captions == ()


def test_what_is_done_is_left_out_and_handed_on(growing):
    growing.extract()
    plan = growing.plan()
    assert to_do(plan) == []
    assert [entry.file for entry in plan.done] == [*VIDEOS, CAPTIONS]
    assert plan.removed == Removed()


def test_the_grid_stays_when_a_shard_in_the_middle_is_missing(growing):
    growing.extract()
    (growing.cache / VIDEOS[1]).unlink()
    plan = growing.plan()
    assert to_do(plan) == [VIDEOS[1]]
    assert ids(plan.videos[0]) == ["v2", "v3"]
    assert [entry.file for entry in plan.done] == [VIDEOS[0], VIDEOS[2], CAPTIONS]


def test_shards_of_other_settings_are_made_again(growing):
    growing.extract()
    assert to_do(growing.plan(features_digest="ba9876543210")) == [*VIDEOS, CAPTIONS]


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "folder"])
def test_a_shard_that_cannot_be_read_is_made_again(growing, damage):
    growing.extract()
    path = growing.cache / VIDEOS[0]
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        content = path.read_bytes()
        path.write_bytes({"empty": b"", "text": b"text", "cut": content[:-100]}[damage])
    assert to_do(growing.plan()) == [VIDEOS[0]]


def test_a_flipped_bit_is_found_by_the_checksum_of_the_manifest(growing):
    growing.extract()
    flip_a_bit(growing.cache / VIDEOS[2], -3)
    assert to_do(growing.plan()) == [VIDEOS[2]]


def test_a_shard_that_no_manifest_names_yet_is_done_all_the_same(growing):
    growing.extract()
    empty = Manifest(fingerprint=a_fingerprint(), settings={}, splits={}, shards=(), complete=False)
    write_manifest(growing.cache, empty)
    assert [entry.file for entry in growing.plan().done] == [*VIDEOS, CAPTIONS]


def test_without_a_manifest_a_flipped_bit_is_found_by_the_seal_of_the_shard(growing):
    growing.extract()
    (growing.cache / MANIFEST).unlink()
    content = (growing.cache / VIDEOS[1]).read_bytes()
    flip_a_bit(growing.cache / VIDEOS[1], content.index(b"h264"))
    assert to_do(growing.plan()) == [VIDEOS[1]]


def test_a_part_of_a_killed_run_is_no_shard(growing):
    growing.extract()
    (growing.cache / VIDEOS[0]).rename(growing.cache / f"{VIDEOS[0]}.0123.part")
    assert to_do(growing.plan()) == [VIDEOS[0]]


def test_the_order_of_a_dataset_does_not_matter_to_what_is_done(growing):
    growing.extract()
    for name in ("v0", "v1"):  # the id sorts behind the others now, the content is the same
        (growing.root / name).rename(growing.root / f"w{name}")
    assert growing.extract() == []


def test_new_videos_get_new_shards_and_nothing_old_is_touched(growing):
    growing.extract()
    before = growing.shards()
    growing.put(u="before all others", v41="between", x="behind")
    plan = growing.plan()
    assert [(shard.file, ids(shard)) for shard in plan.videos] == [
        ("videos-00003.h5", ["u", "v41"]),
        ("videos-00004.h5", ["x"]),
    ]
    assert growing.extract() == ["u", "v41", "x"]
    assert {name: growing.shards()[name] for name in before} == before


def test_new_captions_get_new_shards(growing):
    growing.extract()
    growing.captions["b"] = ("v4", "snow")
    assert [(shard.file, ids(shard)) for shard in growing.plan().captions] == [
        ("captions-00001.h5", ["b"])
    ]
    assert growing.extract() == ["b"]


def test_new_shards_take_the_free_numbers_in_rising_order(growing):
    growing.extract()
    (growing.cache / VIDEOS[1]).unlink()
    growing.put(x="new", y="newer")
    assert [(shard.file, ids(shard)) for shard in growing.plan().videos] == [
        ("videos-00001.h5", ["v2", "v3"]),
        ("videos-00003.h5", ["x", "y"]),
    ]


def test_what_left_the_dataset_is_marked_and_comes_back(growing):
    growing.extract()
    before = growing.shards()
    kept = (growing.root / "v0").rename(growing.root.parent / "aside")
    assert growing.plan().removed == Removed(videos=("v0",), captions=("c0", "c1"))
    assert growing.extract() == []
    features = FeatureCache.open(growing.cache).load("all")
    assert (features.video_ids, features.caption_ids) == (["v1", "v2", "v4"], ["c2"])
    kept.rename(growing.root / "v0")
    assert growing.extract() == []
    assert FeatureCache.open(growing.cache).load("all").video_ids == ["v0", "v1", "v2", "v4"]
    assert growing.shards() == before


def test_failures_that_left_the_dataset_are_no_longer_told(growing):
    growing.extract()
    (growing.root / "v3").unlink()
    growing.extract()
    assert FeatureCache.open(growing.cache).failures() == []
    assert read_manifest(growing.cache).removed.videos == ("v3",)


def test_failed_videos_are_tried_again_only_when_asked_for_and_alone(growing):
    growing.extract()
    assert growing.extract() == []
    assert to_do(growing.plan(retry_failed=True)) == [VIDEOS[1]]
    assert growing.extract(retry_failed=True) == ["v3"]


def test_a_failed_video_whose_file_is_another_one_is_tried_again(growing):
    growing.extract()
    growing.put(v3="mended")
    assert growing.extract() == ["v3"]
    assert FeatureCache.open(growing.cache).failures() == []


def test_force_makes_everything_again(growing):
    growing.extract()
    assert to_do(growing.plan(force=True)) == [*VIDEOS, CAPTIONS]
    assert len(growing.extract(force=True)) == 8


@pytest.mark.parametrize("content", ["a longer file", "FIRST"])
def test_a_replaced_file_is_encoded_again_and_its_neighbour_is_not(growing, content):
    growing.extract()
    growing.put(v0=content)
    assert to_do(growing.plan()) == [VIDEOS[0]]
    assert growing.extract() == ["v0"]
    assert growing.extract() == []


def test_a_file_that_was_only_touched_is_not_encoded_again(growing):
    growing.extract()
    before = growing.shards()
    os.utime(growing.root / "v0", (2e9, 2e9))
    assert growing.extract() == []
    assert growing.shards() == before


def test_a_file_that_is_gone_while_its_dataset_still_has_it_changes_nothing(growing):
    growing.extract()
    dataset = growing.dataset()
    (growing.root / "v0").unlink()
    growing.dataset = lambda: dataset
    assert to_do(growing.plan()) == []


def test_another_split_is_written_down_without_encoding(growing):
    growing.extract()
    growing.splits["v0"] = "test"
    assert growing.extract() == []
    assert FeatureCache.open(growing.cache).load("test").video_ids == ["v0"]


def test_a_caption_that_reads_otherwise_is_encoded_again_alone(growing):
    growing.extract()
    growing.captions["c1"] = ("v0", "a cat that sleeps")
    assert growing.extract() == ["c1"]
    growing.captions["c1"] = ("v1", "a cat that sleeps")
    assert growing.extract() == []
    features = FeatureCache.open(growing.cache).load("all")
    assert [features.video_ids[row] for row in features.owners] == ["v0", "v1", "v1"]


def test_a_video_in_two_shards_counts_in_the_one_that_the_manifest_names(growing):
    growing.extract()
    copy = (growing.cache / VIDEOS[0]).read_bytes()
    manifest = read_manifest(growing.cache)
    (growing.cache / "videos-00007.h5").write_bytes(copy)
    assert to_do(growing.plan()) == []
    last = replace(manifest.shards[1], file="videos-00007.h5")
    others = tuple(entry for entry in manifest.shards if entry.file != VIDEOS[0])
    write_manifest(growing.cache, replace(manifest, shards=(last, *others)))
    assert "videos-00007.h5" in [entry.file for entry in growing.plan().done]
    assert VIDEOS[0] not in [entry.file for entry in growing.plan().done]


def test_a_cache_that_has_grown_is_whole(growing):
    growing.extract()
    growing.put(x="new", v1="another")
    (growing.root / "v4").unlink()
    growing.extract()
    assert verify_cache(growing.cache) == []
    (growing.cache / MANIFEST).unlink()
    assert growing.extract() == []
    assert verify_cache(growing.cache) == []
