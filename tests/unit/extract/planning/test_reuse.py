import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
from making.caches import flip_a_bit
from making.growing import Growing

from vidret.data.storage.stored import read_captions, read_videos
from vidret.extract.planning.reuse import outlook, reuse_captions, reuse_videos


@pytest.fixture
def growing(tmp_path):
    """Four videos and two captions in a cache, and a generation later."""
    made = Growing(tmp_path / "videos", tmp_path / "cache", shard_size=4)
    made.put(v0="first", v1="second", v2="third", v3="bad")
    made.captions = {"c0": ("v0", "a dog"), "c1": ("v1", "a cat")}
    made.extract()
    made.generation = 1
    return made


def stored(growing, name="videos-00000.h5"):
    return {video.id: video for video in read_videos(growing.cache / name)}


def same_features(one, other):
    """Whether all that was computed is the same to the bit."""
    for field in fields(one):
        before, after = getattr(one, field.name), getattr(other, field.name)
        if isinstance(before, np.ndarray):
            assert before.tobytes() == after.tobytes(), field.name
        elif field.name == "dense":
            same_features(before, after)
        elif field.name not in ("id", "split", "path", "video_id", "kind"):
            assert before == after, field.name


def test_what_is_read_back_is_what_was_written(growing):
    growing.generation = 0
    written = {video.id: growing.encode_video(video) for video in growing.dataset().videos[:3]}
    for id_, video in stored(growing).items():
        same_features(written[id_], video)
        assert (video.id, video.split, video.path) == (id_, "all", id_)
    caption = growing.encode_caption(growing.dataset().captions[1])
    same_features(caption, read_captions(growing.cache / "captions-00000.h5", [1])[0])


def test_some_rows_are_read_in_the_order_asked_for(growing):
    videos = read_videos(growing.cache / "videos-00000.h5", [2, 0])
    assert [video.id for video in videos] == ["v2", "v0"]
    same_features(videos[1], stored(growing)["v0"])
    assert read_videos(growing.cache / "videos-00000.h5", []) == []
    assert read_captions(growing.cache / "captions-00000.h5", []) == []


def test_neighbours_of_a_replaced_file_are_taken_over_to_the_bit(growing):
    before = stored(growing)
    growing.put(v1="another one")
    (shard,) = growing.plan().videos
    known, failed, rest = reuse_videos(shard, growing.root)
    assert [video.id for video in known] == ["v0", "v2"]
    assert [failure.id for failure in failed] == ["v3"]
    assert [video.id for video in rest] == ["v1"]
    growing.extract()
    after = stored(growing)
    for id_ in ("v0", "v2"):
        same_features(before[id_], after[id_])
    assert not np.array_equal(before["v1"].frames, after["v1"].frames)


def test_a_renamed_file_is_known_by_its_content(growing):
    before = stored(growing)["v0"]
    (growing.root / "v0").rename(growing.root / "w0")
    growing.splits["w0"] = "test"
    (shard,) = growing.plan().videos
    ((moved,), _, rest) = reuse_videos(shard, growing.root)
    assert (moved.id, moved.path, moved.split, rest) == ("w0", "w0", "test", [])
    same_features(before, moved)
    assert growing.extract() == []


def test_a_new_file_of_the_same_size_is_no_renamed_one(growing):
    (growing.root / "v0").unlink()
    growing.put(w0="FIRST")
    assert growing.extract() == ["w0"]


def test_a_file_that_was_put_in_the_place_of_another_is_known_by_its_content(growing):
    before = stored(growing)["v1"]
    (growing.root / "v1").rename(growing.root / "v0")
    assert growing.extract() == []
    same_features(before, stored(growing)["v0"])


def test_rows_that_left_the_dataset_outlive_a_shard_that_is_made_again(growing):
    before = stored(growing)["v0"]
    (growing.root / "v0").rename(growing.root.parent / "aside")
    growing.put(v1="another one")
    assert growing.extract() == ["v1"]
    same_features(before, stored(growing)["v0"])
    (growing.root.parent / "aside").rename(growing.root / "v0")
    assert growing.extract() == []


def test_before_any_file_is_read_it_is_known_which_ones_have_to_be(growing):
    growing.extract()
    (growing.root / "v0").rename(growing.root / "w0")
    growing.put(v1=(growing.root / "v1").read_text(), v2="quite another content", v9="new")
    looked = [outlook(shard) for shard in growing.plan().videos]
    new = sorted(video.id for videos, _ in looked for video in videos)
    maybe = sorted(video.id for _, videos in looked for video in videos)
    assert (new, maybe) == (["v2", "v9"], ["v1", "w0"])
    assert growing.extract() == ["v2", "v9"], "those to look at turned out to be known"


def test_a_caption_is_known_by_its_text(growing):
    (growing.root / "v0").rename(growing.root / "w0")
    growing.captions = {"d0": ("w0", "a dog"), "c1": ("v1", "a cat")}
    (shard,) = growing.plan().captions
    ((known,), rest) = reuse_captions(shard)
    assert (known.id, known.video_id, known.text, rest) == ("d0", "w0", "a dog", [])
    same_features(read_captions(growing.cache / "captions-00000.h5", [0])[0], known)


def test_a_shard_that_was_damaged_since_is_encoded_again(growing, caplog):
    growing.put(v1="another one")
    growing.captions["c1"] = ("v1", "a cat that sleeps")
    plan = growing.plan()
    for name in ("videos-00000.h5", "captions-00000.h5"):
        (growing.cache / name).write_bytes(b"no shard")
    known, failed, rest = reuse_videos(plan.videos[0], growing.root)
    assert (known, [video.id for video in rest]) == ([], ["v0", "v1", "v2"])
    assert [failure.id for failure in failed] == ["v3"]
    texts, captions = reuse_captions(plan.captions[0])
    assert (texts, [caption.id for caption in captions]) == ([], ["c0", "c1"])
    assert "is encoded again" in caplog.text


def test_a_task_that_runs_twice_ends_as_if_it_had_run_once(growing):
    growing.put(v1="another one")
    (shard,) = growing.plan().videos
    growing.write(shard)
    once = growing.shards()
    growing.write(shard)
    assert growing.shards() == once


def test_a_file_that_changes_between_plan_and_task_is_encoded(growing):
    growing.put(v1="another one")
    (shard,) = growing.plan().videos
    growing.put(v0="FIRST")
    _, _, rest = reuse_videos(shard, growing.root)
    assert [video.id for video in rest] == ["v0", "v1"]


def test_a_file_that_is_gone_keeps_what_is_known_of_it(growing):
    growing.put(v1="another one")
    (shard,) = growing.plan().videos
    (growing.root / "v0").unlink()
    known, _, _ = reuse_videos(shard, growing.root)
    assert [video.id for video in known] == ["v0", "v2"]


def test_a_plan_travels(growing):
    growing.put(v1="another one", x="new")
    growing.captions["c1"] = ("v1", "else")
    plan = growing.plan()
    assert pickle.loads(pickle.dumps(plan)) == plan
    shard = replace(plan.videos[0], stored=())
    assert [video.id for video in reuse_videos(shard, growing.root)[2]] == ["v0", "v1", "v2"]


def test_a_shard_with_another_row_of_the_same_id_is_not_trusted(growing):
    growing.put(v1="another one")
    (shard,) = growing.plan().videos
    other = [replace(one, content_hash="0" * 32) for one in shard.stored]
    _, _, rest = reuse_videos(replace(shard, stored=tuple(other)), growing.root)
    assert [video.id for video in rest] == ["v0", "v1", "v2"]


def test_damage_that_only_a_checksum_shows_is_not_taken_over(growing):
    before = growing.shards()
    flip_a_bit(growing.cache / "videos-00000.h5", -3)
    growing.generation = 0
    assert growing.extract() == ["v0", "v1", "v2", "v3"]
    assert growing.shards() == before
