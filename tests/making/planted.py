"""Caches of a small invented world, in which it is known what decides a caption."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from making.caches import a_fingerprint
from making.rich import WIDE, Hiding, densify

from vidret.data.cache import FeatureCache
from vidret.data.fingerprint import Fingerprint
from vidret.data.manifest import Manifest, SplitCount, write_manifest
from vidret.data.samples import AudioState, Failure, TextEmbeddings, VideoEmbeddings
from vidret.data.shards import write_caption_shard, write_video_shard
from vidret.data.storage.projections import write_projections
from vidret.pipelines.training.fitting import as_split
from vidret.pipelines.training.splits import Split

DIM, AUDIO_DIM, FRAMES = 16, 8, 4
EVENT = slice(0, 8)  # what happens; the other places hold only what distracts
SPLITS = {"train": 96, "val": 12, "test": 16}
CAPTIONS_PER_VIDEO = 2


def planted_fingerprint(**changes) -> Fingerprint:
    planted = a_fingerprint(
        dataset="planted",
        frames=FRAMES,
        dim=DIM,
        audio_dim=AUDIO_DIM,
        logit_scale=20.0,
        audio_model="planted",
    )
    return replace(planted, **changes)


def write_planted_cache(
    folder: Path,
    *,
    splits: Mapping[str, int] = SPLITS,
    seed: int = 0,
    with_sound: bool = True,
    with_captions: bool = True,
    failures: Sequence[Failure] = (),
    dense: bool = False,
    hidden: bool = False,
    off: float = 0.0,
    bias: bool = True,
    **changes,
) -> Path:
    """A cache with videos of two kinds, in turn.

    `event`: one frame of four shows what the caption says; loud distraction, different in every
    frame and every caption, fills half of the dimensions, and the mean cannot get rid of it.
    `sound`: twins with the same frames, which only their sound tells apart.

    Args:
        folder: of the cache.
        splits: how many videos each has.
        seed: of the world.
        with_sound: give the videos sound, but for every eighth one.
        with_captions: write captions.
        failures: videos that could not be read, beyond those.
        dense: store frames at a fixed rate, too, as `--sampling fps:1` does.
        hidden: store what enters the last projections, as `--features hidden` does.
        off: how far these projections are from right ones.
        bias: give them one.
        changes: to the fingerprint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if dense:
        changes = {"frame_policy": "fps:1"} | changes
    if hidden:
        changes = {"features": "hidden", "frame_dim": WIDE, "text_dim": WIDE} | changes
    hiding = Hiding(DIM, off=off, bias=bias, seed=seed + 1)
    more = np.random.default_rng(seed + 2)
    fingerprint = planted_fingerprint(**changes)
    digest = fingerprint.features_digest
    rng = np.random.default_rng(seed)
    heard_as = rng.normal(size=(DIM, AUDIO_DIM))  # the same for all: it can be learned
    shards = []
    for number, (split, count) in enumerate(splits.items()):
        videos, captions = _draw_split(split, count, rng, heard_as, with_sound=with_sound)
        videos = [densify(video, more) for video in videos] if dense else videos
        if hidden:
            videos = [hiding.video(video) for video in videos]
            captions = [hiding.text(caption) for caption in captions]
        path = folder / f"videos-{number:05d}.h5"
        shards.append(write_video_shard(path, videos, list(failures) if not number else [], digest))
        if with_captions:
            path = folder / f"captions-{number:05d}.h5"
            shards.append(write_caption_shard(path, captions, digest))
    per_video = CAPTIONS_PER_VIDEO if with_captions else 0
    manifest = Manifest(
        fingerprint=fingerprint,
        settings={
            "root": "clips of planted",
            "protocol": "planted-multi",
            "notes": ["planted"],
            "backbone": "tiny",
            "audio": "tiny",
            "decoder": "av",
            "shard_size": 16,
        },
        splits={
            split: SplitCount(
                videos=count + (0 if number else len(failures)), captions=per_video * count
            )
            for number, (split, count) in enumerate(splits.items())
        },
        shards=tuple(shards),
        complete=True,
        files=write_projections(folder, hiding.tensors) if hidden else {},
    )
    write_manifest(folder, manifest)
    return folder


def load_split(folder: Path, split: str) -> Split:
    """A split of a cache as the loop takes it."""
    import torch

    return as_split(FeatureCache.open(folder).load(split), torch.device("cpu"))


def _draw_split(
    split: str,
    count: int,
    rng: np.random.Generator,
    heard_as: np.ndarray,
    *,
    with_sound: bool,
) -> tuple[list[VideoEmbeddings], list[TextEmbeddings]]:
    videos: list[VideoEmbeddings] = []
    captions: list[TextEmbeddings] = []
    twin_frames: np.ndarray | None = None
    for number in range(count):
        kind = ("event", "event", "sound", "sound")[number % 4]
        event, noise = _draw_event(rng), rng.normal(size=AUDIO_DIM)
        frames = _distraction(rng, FRAMES)
        if kind == "event":
            frames[rng.integers(FRAMES), EVENT] = event[EVENT]
        elif number % 4 == 2:
            twin_frames = frames
        elif twin_frames is not None:
            frames = twin_frames
        sound = event @ heard_as if kind == "sound" else 3 * noise
        heard = with_sound and number % 8
        videos.append(
            VideoEmbeddings(
                id=f"{split}-{number}",
                split=split,
                path=f"{split}/{number}.mp4",
                size=1000 + number,
                content_hash=f"{split}{number}",
                duration=4.0,
                frames=frames.astype(np.float32),
                times=np.arange(FRAMES) + 0.5,
                indices=np.arange(FRAMES) * 25 + 12,
                audio=sound.astype(np.float32) if heard else None,
                audio_state=AudioState.OK if heard else AudioState.SILENT,
            )
        )
        captions += [
            _draw_caption(videos[-1].id, turn, kind, event, rng)
            for turn in range(CAPTIONS_PER_VIDEO)
        ]
    return videos, captions


def _draw_caption(
    video: str, turn: int, kind: str, event: np.ndarray, rng: np.random.Generator
) -> TextEmbeddings:
    sentence = event + 0.5 * _distraction(rng, 1)[0]
    words = _distraction(rng, 2 + turn)
    words[turn] = event
    return TextEmbeddings(
        id=f"{video}#{turn}",
        video_id=video,
        text=f"caption {turn} of {video}",
        kind=kind,
        sentence=sentence.astype(np.float32),
        words=words.astype(np.float32),
        tokens=np.arange(len(words)),
    )


def _draw_event(rng: np.random.Generator) -> np.ndarray:
    event = np.zeros(DIM)
    event[EVENT] = rng.normal(size=EVENT.stop)
    return event * np.sqrt(EVENT.stop) / np.linalg.norm(event)


def _distraction(rng: np.random.Generator, rows: int) -> np.ndarray:
    values = 0.1 * rng.normal(size=(rows, DIM))
    values[:, EVENT.stop :] = 1.5 * rng.normal(size=(rows, DIM - EVENT.stop))
    return values
