import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from making.caches import a_caption, a_dense_video, a_fingerprint, a_video, flip_a_bit

from vidret.data.cache import FeatureCache
from vidret.data.errors import DamagedError, MissingError
from vidret.data.manifest import MANIFEST, Manifest, SplitCount, read_manifest, write_manifest
from vidret.data.shards import write_caption_shard, write_video_shard
from vidret.data.storage.projections import PROJECTIONS, read_projections, write_projections
from vidret.data.upkeep.check import repair_cache, verify_cache

WIDE, NARROW = 4, 3  # before the projection, behind it
BOTH = ("visual.weight", "visual.bias", "text.weight", "text.bias")


def some_projections(*names):
    rng = np.random.default_rng(0)
    shapes = {"weight": (WIDE, NARROW), "bias": (NARROW,)}
    drawn = {name: rng.normal(size=shapes[name.partition(".")[2]]) for name in BOTH}
    return {name: drawn[name].astype(np.float32) for name in names or BOTH}


def write_hidden_cache(folder, tensors, *, dim=NARROW):
    folder.mkdir()
    made = a_fingerprint(features="hidden", dim=dim, frame_dim=WIDE, text_dim=WIDE)
    videos = [a_video(0), a_dense_video(1), a_video(2, num_frames=1)]
    captions = [a_caption(0, 0), a_caption(1, 2, num_words=3), a_caption(2, 1, num_words=0)]
    digest = made.features_digest
    shards = (
        write_video_shard(folder / "videos-00000.h5", videos, [], digest),
        write_caption_shard(folder / "captions-00000.h5", captions, digest),
    )
    manifest = Manifest(
        fingerprint=made,
        settings={},
        splits={"train": SplitCount(videos=3, captions=3)},
        shards=shards,
        complete=True,
        files=write_projections(folder, tensors),
    )
    write_manifest(folder, manifest)
    return videos, captions


@pytest.fixture
def folder(tmp_path):
    write_hidden_cache(tmp_path / "hidden", some_projections())
    return tmp_path / "hidden"


def by_numpy(values, tensors, side):
    """The projection in double precision, apart from torch."""
    weight = tensors.get(f"{side}.weight", np.eye(WIDE)).astype(np.float64)
    return values.astype(np.float64) @ weight + tensors.get(f"{side}.bias", 0)


@pytest.mark.parametrize("view", ["ram", "mapped", "lazy"])
@pytest.mark.parametrize(
    "names",
    [BOTH, ("visual.weight", "text.weight"), ("text.weight", "text.bias"), ("visual.bias",), ()],
)
def test_hidden_features_reach_the_heads_projected(tmp_path, names, view):
    tensors = {name: some_projections()[name] for name in names}
    if names in ((), ("visual.bias",)):  # then nothing becomes narrower
        tensors = {name: np.ones(WIDE, np.float32) for name in names}
    videos, captions = write_hidden_cache(tmp_path / "hidden", tensors)
    split = FeatureCache.open(tmp_path / "hidden").load("train", view=view)
    frames, texts = split.videos_tensors(), split.texts_tensors()
    assert frames.frames.dtype == texts.words.dtype == torch.float32
    for row, video in enumerate(videos):
        length = len(video.frames)
        expected = by_numpy(video.frames, tensors, "visual")
        np.testing.assert_allclose(frames.frames[row, :length], expected, rtol=1e-5, atol=1e-5)
        assert not frames.frames[row, length:].any()
    for row, caption in enumerate(captions):
        length = len(caption.words)
        sentence = by_numpy(caption.sentence, tensors, "text")
        np.testing.assert_allclose(texts.sentence[row], sentence, rtol=1e-5, atol=1e-5)
        words = by_numpy(caption.words, tensors, "text")
        np.testing.assert_allclose(texts.words[row, :length], words, rtol=1e-5, atol=1e-5)
        assert not texts.words[row, length:].any()


def test_a_hidden_cache_gives_what_a_projected_one_gives_but_for_rounding(tmp_path, folder):
    tensors, projected = some_projections(), tmp_path / "projected"
    projected.mkdir()
    hidden = FeatureCache.open(folder)
    made = a_fingerprint(dim=NARROW)
    videos = [a_video(0), a_dense_video(1), a_video(2, num_frames=1)]
    narrow = [
        replace(v, dense=None, frames=by_numpy(v.frames, tensors, "visual").astype(np.float32))
        for v in videos
    ]
    captions = [a_caption(0, 0), a_caption(1, 2, num_words=3), a_caption(2, 1, num_words=0)]
    said = [
        replace(
            caption,
            sentence=by_numpy(caption.sentence, tensors, "text").astype(np.float32),
            words=by_numpy(caption.words, tensors, "text").astype(np.float32),
        )
        for caption in captions
    ]
    shards = (
        write_video_shard(projected / "videos-00000.h5", narrow, [], "abc"),
        write_caption_shard(projected / "captions-00000.h5", said, "abc"),
    )
    plain = replace(hidden.manifest, fingerprint=made, shards=shards, files={})
    write_manifest(projected, plain)
    one, other = hidden.load("train"), FeatureCache.open(projected).load("train")
    half = 2**-11  # float16 keeps eleven digits
    for first, second in (
        (one.videos_tensors().frames, other.videos_tensors().frames),
        (one.texts_tensors().words, other.texts_tensors().words),
        (one.texts_tensors().sentence, other.texts_tensors().sentence),
    ):
        assert first.shape == second.shape
        torch.testing.assert_close(first, second, rtol=half, atol=1e-5)


def test_what_is_stored_stays_as_it_is(folder):
    train = FeatureCache.open(folder).load("train")
    assert (train.frames.shape[-1], train.sentence.shape[-1], train.words.shape[-1]) == (4, 4, 4)
    np.testing.assert_array_equal(train.frames[0], a_video(0).frames)


def test_a_split_without_videos_is_as_wide_as_the_projection(folder):
    manifest = read_manifest(folder)
    empty = {"val": SplitCount(videos=0, captions=0)}
    write_manifest(folder, replace(manifest, splits=manifest.splits | empty))
    val = FeatureCache.open(folder).load("val")
    assert val.videos_tensors().frames.shape == (0, 3, NARROW)
    assert val.texts_tensors().words.shape == (0, 1, NARROW)


def test_projections_come_back_as_they_were(tmp_path):
    files = write_projections(tmp_path, some_projections())
    found = read_projections(tmp_path, files)
    assert found.keys() == set(BOTH)
    for name, tensor in some_projections().items():
        np.testing.assert_array_equal(found[name], tensor)
    assert write_projections(tmp_path, some_projections()) == files, "the same bytes"


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(MissingError, match=r"projections.*--work"):
        write_projections(tmp_path / "absent", some_projections())
    assert list(tmp_path.iterdir()) == []


def test_a_flipped_bit_is_found_wherever_it_matters_and_repaired(folder):
    flip_a_bit(folder / PROJECTIONS, -1)
    (problem,) = verify_cache(folder)
    assert (problem.file, problem.what) == (PROJECTIONS, "has other bytes than were written")
    with pytest.raises(DamagedError, match=r"projections.*vidret cache repair"):
        FeatureCache.open(folder).load("train")
    repair_cache(folder)
    assert not (folder / PROJECTIONS).exists()
    manifest = read_manifest(folder)
    assert (manifest.files, manifest.complete) == ({}, False)
    write_manifest(
        folder,
        replace(manifest, files=write_projections(folder, some_projections()), complete=True),
    )
    assert verify_cache(folder) == []


@pytest.mark.parametrize("damage", ["gone", "text"])
def test_projections_that_cannot_be_read_are_named(folder, damage):
    path = folder / PROJECTIONS
    path.unlink()
    if damage == "text":
        path.write_text("text")
    assert [problem.file for problem in verify_cache(folder)] == [PROJECTIONS]
    with pytest.raises(DamagedError, match=r"projections.*vidret cache repair"):
        FeatureCache.open(folder).load("train")


def test_projections_that_the_manifest_forgot_are_a_problem(folder):
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"files": {}}))
    (problem,) = verify_cache(folder)
    assert (problem.file, problem.what) == (PROJECTIONS, "is not in the manifest")
