"""Small caches, made from numbers that a test can write down again."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from vidret.data.fingerprint import Fingerprint
from vidret.data.manifest import Manifest, SplitCount, write_manifest
from vidret.data.samples import (
    AudioState,
    DenseFrames,
    Failure,
    TextEmbeddings,
    VideoEmbeddings,
)
from vidret.data.shards import write_caption_shard, write_video_shard

DIM, AUDIO_DIM = 4, 3


def a_fingerprint(**changes) -> Fingerprint:
    values = {
        "vidret": "0.1.0",
        "dataset": "toy",
        "dataset_hash": "0123456789abcdef",
        "frame_policy": "uniform",
        "frames": 3,
        "decoder": "av 18.1.0",
        "preprocess": "bicubic 224 crop",
        "backbone": "tiny",
        "backbone_config": '{"quick_gelu": true, "vision_cfg": {"width": 64}}',
        "backbone_weights": "aaaa",
        "audio_model": "none",
        "audio_weights": "",
        "audio_policy": "10 s windows, mean",
        "dtype": "float16",
        "dim": DIM,
        "audio_dim": AUDIO_DIM,
        "logit_scale": 100.0,
    }
    return Fingerprint(**values | changes)


def a_video(number: int, *, split="train", num_frames=3, state=AudioState.OK) -> VideoEmbeddings:
    """Video `vN`, whose features are multiples of 1/64 and so the same in float16."""
    frames = np.arange(num_frames * DIM, dtype=np.float32).reshape(num_frames, DIM)
    audio = np.arange(AUDIO_DIM, dtype=np.float32)
    return VideoEmbeddings(
        id=f"v{number}",
        split=split,
        path=f"clips/v{number}.mp4",
        size=1000 + number,
        content_hash=f"hash{number}",
        duration=2.5 + number,
        frames=number + frames / 64,
        times=np.arange(num_frames) / 4,
        indices=np.arange(num_frames) * 6,
        audio=-number - audio / 64 if state is AudioState.OK else None,
        audio_state=state,
    )


def a_caption(number: int, video: int, *, num_words=2, truncated=False) -> TextEmbeddings:
    """Caption `cN` of video `vM`; likewise."""
    words = np.arange(num_words * DIM, dtype=np.float32).reshape(num_words, DIM)
    return TextEmbeddings(
        id=f"c{number}",
        video_id=f"v{video}",
        text=f"caption {number} of ünit {video}",
        kind="sound" if number % 2 else "",
        sentence=np.full(DIM, number / 8, np.float32),
        words=number + words / 64,
        tokens=np.arange(num_words) + 10 * number,
        truncated=truncated,
    )


def a_failure(number: int) -> Failure:
    return Failure(id=f"v{number}", path=f"clips/v{number}.mp4", stage="decode", reason="no frame")


def write_toy_cache(folder: Path, *, complete=True) -> Path:
    """Two video shards and two caption shards: 3 train videos, 2 test, and v5 (train) failed.

    Captions: two of v0, one of v1, v2, v3 each, one of the failed v5.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digest = a_fingerprint().features_digest
    first = [a_video(0), a_video(1, num_frames=1, state=AudioState.SILENT)]
    second = [
        a_video(2, num_frames=2, state=AudioState.NO_STREAM),
        a_video(3, split="test", num_frames=2),
        a_video(4, split="test", num_frames=1, state=AudioState.FAILED),
    ]
    captions = [a_caption(0, 0), a_caption(1, 3, num_words=3), a_caption(2, 5)]
    more = [a_caption(3, 1, num_words=1), a_caption(4, 0, num_words=0), a_caption(5, 2)]
    shards = (
        write_video_shard(folder / "videos-00000.h5", first, [], digest),
        write_video_shard(folder / "videos-00001.h5", second, [a_failure(5)], digest),
        write_caption_shard(folder / "captions-00000.h5", captions, digest),
        write_caption_shard(folder / "captions-00001.h5", more, digest),
    )
    manifest = Manifest(
        fingerprint=a_fingerprint(),
        settings={"dataset": "toy", "frames": 3},
        splits={
            "train": SplitCount(videos=4, captions=5),
            "test": SplitCount(videos=2, captions=1),
        },
        shards=shards,
        complete=complete,
    )
    write_manifest(folder, manifest)
    return folder


def flip_a_bit(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def a_dense_video(number: int, *, num_dense=5, split="train") -> VideoEmbeddings:
    """Video `vN` with frames at a fixed rate beside the three that the heads see."""
    frames = np.arange(num_dense * DIM, dtype=np.float32).reshape(num_dense, DIM) / 32 + number
    dense = DenseFrames(
        frames=frames, times=np.arange(num_dense) + 0.5, indices=np.arange(num_dense) * 25
    )
    return replace(
        a_video(number, split=split),
        dense=dense,
        num_frames=125,
        width=320,
        height=240,
        codec="h264",
        partial=number % 2 == 1,
    )
