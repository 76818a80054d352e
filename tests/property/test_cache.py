"""What is written is what is read, for any shapes and any text."""

import tempfile
from dataclasses import fields
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from making.caches import AUDIO_DIM, DIM, a_fingerprint

from vidret.data.cache import FeatureCache
from vidret.data.manifest import Manifest, SplitCount, write_manifest
from vidret.data.samples import AudioState, Failure, TextEmbeddings, VideoEmbeddings
from vidret.data.shards import write_caption_shard, write_video_shard
from vidret.data.storage.hdf5 import read_shard_entry
from vidret.data.upkeep.check import verify_cache

SPLITS = ("train", "val", "test")
FEW = settings(max_examples=10, deadline=None)

# What HDF5 gives back: anything that UTF-8 can carry, and no NUL.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
halves = st.floats(-60_000, 60_000, width=16)


def features(*shape):
    """Numbers that float16 holds, so that nothing is lost on the way."""
    return arrays(np.float32, shape, elements=halves.map(np.float32))


@st.composite
def videos(draw, *, id_):
    length = draw(st.integers(1, 4))
    state = draw(st.sampled_from(AudioState))
    return VideoEmbeddings(
        id=id_,
        split=draw(st.sampled_from(SPLITS)),
        path=draw(texts),
        size=draw(st.integers(0, 2**62)),
        content_hash=draw(texts),
        duration=draw(st.floats(0, 1e6)),
        frames=draw(features(length, DIM)),
        times=draw(arrays(np.float64, length, elements=st.floats(0, 1e6))),
        indices=draw(arrays(np.int64, length, elements=st.integers(0, 2**62))),
        audio=draw(features(AUDIO_DIM)) if state is AudioState.OK else None,
        audio_state=state,
    )


@st.composite
def captions(draw, *, id_, video_id):
    num_words, num_tokens = draw(st.integers(0, 4)), draw(st.integers(0, 6))
    return TextEmbeddings(
        id=id_,
        video_id=video_id,
        text=draw(texts),
        kind=draw(texts),
        sentence=draw(features(DIM)),
        words=draw(features(num_words, DIM)),
        tokens=draw(arrays(np.int64, num_tokens, elements=st.integers(0, 49_407))),
        truncated=draw(st.booleans()),
    )


@st.composite
def contents(draw):
    """Videos and captions of a cache, each cut into shards of some size, perhaps of none."""
    names = [f"{draw(texts)}/{number}" for number in range(draw(st.integers(0, 5)))]
    all_videos = [draw(videos(id_=name)) for name in names]
    owners = draw(st.lists(st.sampled_from([*names, "failed"]), max_size=6))
    all_captions = [
        draw(captions(id_=f"c{number}", video_id=owner)) for number, owner in enumerate(owners)
    ]
    return cut(all_videos, draw(st.integers(1, 3))), cut(all_captions, draw(st.integers(1, 3)))


def cut(items, size):
    return [items[start : start + size] for start in range(0, len(items), size)] or [[]]


def write(folder, video_shards, caption_shards):
    """Write a whole cache; it says of itself what it holds."""
    flat = [video for shard in video_shards for video in shard]
    counts = {s: SplitCount(videos=sum(v.split == s for v in flat), captions=0) for s in SPLITS}
    entries = [
        write_video_shard(folder / f"videos-{number}.h5", shard, [], "abc")
        for number, shard in enumerate(video_shards)
    ] + [
        write_caption_shard(folder / f"captions-{number}.h5", shard, "abc")
        for number, shard in enumerate(caption_shards)
    ]
    manifest = Manifest(
        fingerprint=a_fingerprint(),
        settings={},
        splits=counts,
        shards=tuple(entries),
        complete=True,
    )
    write_manifest(folder, manifest)


def read_videos(split, name):
    """The videos of a split as they were before they were written, but for what is not kept."""
    for row, id_ in enumerate(split.video_ids):
        length = int(split.frame_mask[row].sum())
        yield {
            "id": id_,
            "split": name,
            "path": split.paths[row],
            "duration": split.durations[row],
            "frames": split.frames[row][:length].tolist(),
            "times": split.times[row, :length].tolist(),
            "indices": split.indices[row, :length].tolist(),
            "audio_state": split.audio_state[row],
            "audio": split.audio[row].tolist(),
        }


def read_captions(split):
    for row, id_ in enumerate(split.caption_ids):
        words = slice(*split.word_offsets[row : row + 2])
        tokens = slice(*split.token_offsets[row : row + 2])
        yield {
            "id": id_,
            "video_id": split.video_ids[split.owners[row]],
            "text": split.text[row],
            "kind": split.kind[row],
            "sentence": split.sentence[row].tolist(),
            "words": split.words[words].tolist(),
            "tokens": split.tokens[tokens].tolist(),
            "truncated": split.truncated[row],
        }


def plain(item, names):
    values = {field.name: getattr(item, field.name) for field in fields(item)}
    lists = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in values.items()}
    if "audio" in lists and lists["audio"] is None:
        lists["audio"] = [0.0] * AUDIO_DIM  # behind a mask: see audio_state
    return {name: lists[name] for name in names}


def by_id(items):
    return sorted(items, key=lambda item: item["id"])


@FEW
@given(contents(), st.sampled_from(["ram", "mapped", "lazy"]))
def test_write_then_read_is_identity(content, view):
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), *content)
        cache = FeatureCache.open(Path(name))
        splits = {split: cache.load(split, view=view) for split in SPLITS}
        found_videos = by_id(v for name, split in splits.items() for v in read_videos(split, name))
        found_captions = by_id(c for split in splits.values() for c in read_captions(split))
    flat_videos = [video for shard in content[0] for video in shard]
    ids = {video.id for video in flat_videos}
    flat_captions = [c for shard in content[1] for c in shard if c.video_id in ids]
    assert found_videos == by_id(plain(v, found_videos[0]) for v in flat_videos)
    assert found_captions == by_id(plain(c, found_captions[0]) for c in flat_captions)


@FEW
@given(contents())
def test_the_same_content_gives_the_same_bytes(content):
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        write(Path(one), *content)
        write(Path(two), *content)
        first, second = (
            {path.name: path.read_bytes() for path in Path(name).iterdir()} for name in (one, two)
        )
    assert first == second


@FEW
@given(contents(), st.data())
def test_any_changed_byte_of_a_shard_is_found(content, data):
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), *content)
        path = data.draw(st.sampled_from(sorted(Path(name).glob("*.h5"))))
        bytes_ = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(bytes_) - 1))
        bytes_[place] ^= data.draw(st.integers(1, 255))
        path.write_bytes(bytes_)
        assert [problem.file for problem in verify_cache(Path(name))] == [path.name]


@FEW
@given(st.lists(st.tuples(texts, texts, texts, texts), max_size=4))
def test_failures_need_nothing_but_the_shard(rows):
    failures = [Failure(id=a, path=b, stage=c, reason=d) for a, b, c, d in rows]
    with tempfile.TemporaryDirectory() as name:
        entry = write_video_shard(Path(name) / "videos.h5", [], failures, "abc")
        cache = FeatureCache(
            folder=Path(name),
            manifest=Manifest(
                fingerprint=a_fingerprint(), settings={}, splits={}, shards=(entry,), complete=True
            ),
        )
        assert cache.failures() == failures
        assert read_shard_entry(Path(name) / "videos.h5").failed == len(rows)
