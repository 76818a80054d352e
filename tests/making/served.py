"""A work folder to serve: real clips of several kinds, their cache, and a run on it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from time import monotonic, sleep

import numpy as np
import torch
from making.clips import draw_clip, run_ffmpeg
from making.searchable import AUDIO_DIM, searchable_fingerprint, tiny_encoders

from vidret.data.manifest import Manifest, SplitCount, write_manifest
from vidret.data.samples import AudioState, Caption, VideoEmbeddings
from vidret.data.shards import write_caption_shard, write_video_shard
from vidret.extract.task import encode_captions
from vidret.pipelines.config.fitting import TrainConfig
from vidret.pipelines.config.serving import ServeConfig
from vidret.pipelines.config.settings import ExtractConfig
from vidret.pipelines.serve import run_serve
from vidret.pipelines.train_heads import run_train

SECONDS, FRAMES = 4.0, 4
COLOURS = ("red", "blue", "green", "yellow", "purple")
SHAPES = ("star", "cross", "ring", "square")
NAMES = (
    "plain.mp4",
    "näme with space.webm",
    "old.avi",
    "hevc.mp4",
    "<img src=x onerror=alert(1)>.mp4",
    "'; DROP TABLE videos; --.mp4",
    "\u05d0\u202egnp.mp4",
)
SENTENCE = "a red star"  # what the first video shows in its second frame
LOST = "a film that nobody finds"  # the caption of the last of many videos, which does not show it


@dataclass(frozen=True)
class World:
    """What is served: the work folder, the folder of clips, and each video's sentence."""

    work: Path
    root: Path
    sentences: tuple[str, ...]

    def file(self, number: int) -> Path:
        return self.root / name_of(number)


def name_of(number: int) -> str:
    return f"clips/{NAMES[number] if number < len(NAMES) else f'{number}.mp4'}"


def make_world(folder: Path, *, videos: int = 20, train: bool = True) -> World:
    """Video N shows sentence N in its frame N % 4; every fifth one has no sound stream.

    Args:
        folder: to make it in.
        videos: how many; those behind the first twenty show nothing that has a name.
        train: fit a run, beside which `mean` is there in any case.
    """
    work, root = folder / "work", folder / "films"
    sentences = tuple(f"a {COLOURS[n % 5]} {SHAPES[n // 5]}" for n in range(min(videos, 20)))
    _draw_clips(root, videos)
    cache = _write_cache(work / "cache" / "served", root, sentences, videos)
    if train:
        config = TrainConfig(
            work=work, cache=cache, epochs=1, audio_epochs=1, batch_size=4, name="run"
        )
        run_train(config, on_progress=lambda _: None)
    return World(work=work, root=root, sentences=sentences)


def _draw_clips(root: Path, videos: int) -> None:
    """A few clips are drawn, and have many names."""
    (root / "clips").mkdir(parents=True)
    plain = draw_clip(root / "plain.mp4", seconds=SECONDS, fps=10)
    mute = draw_clip(root / "mute.mp4", seconds=SECONDS, fps=10, levels=())
    others = {
        "näme with space.webm": ("-c:v", "libvpx", "-c:a", "libopus"),
        "old.avi": ("-c:v", "mpeg4", "-c:a", "libmp3lame"),
        "hevc.mp4": ("-c:v", "libx265", "-tag:v", "hvc1", "-x265-params", "log-level=none"),
    }
    for number in range(videos):
        path = root / name_of(number)
        if path.name in others:
            run_ffmpeg("-i", plain, *others[path.name], path)
        else:
            os.link(mute if number % 5 == 4 else plain, path)
    plain.unlink()
    mute.unlink()


def _write_cache(folder: Path, root: Path, sentences: tuple[str, ...], videos: int) -> Path:
    folder.mkdir(parents=True)
    fingerprint = replace(searchable_fingerprint(), dataset="served", frames=FRAMES)
    captions = [
        Caption(id=f"v{number}#0", video_id=f"v{number}", text=text, kind="event")
        for number, text in enumerate(sentences)
    ]
    if videos > len(sentences):
        last = f"v{videos - 1}"
        captions.append(Caption(id=f"{last}#0", video_id=last, text=LOST, kind="event"))
    with torch.inference_mode():
        texts = encode_captions(captions, tiny_encoders())
    rng = np.random.default_rng(0)
    length = float(np.linalg.norm(texts[0].sentence))
    shown = []
    for number in range(videos):
        frames = rng.normal(size=(FRAMES, len(texts[0].sentence))).astype(np.float32)
        frames *= length / np.linalg.norm(frames, axis=1, keepdims=True)
        if number < len(sentences):
            frames[number % FRAMES] = texts[number].sentence
        sounds = number % 5 != 4
        shown.append(
            VideoEmbeddings(
                id=f"v{number}",
                split=("train", "train", "val", "test")[number % 4],
                path=name_of(number),
                size=(root / name_of(number)).stat().st_size,
                content_hash=f"hash{number}",
                duration=SECONDS,
                frames=frames,
                times=np.arange(FRAMES) + 0.5,
                indices=np.arange(FRAMES) * 10 + 5,
                audio=rng.normal(size=AUDIO_DIM).astype(np.float32) if sounds else None,
                audio_state=AudioState.OK if sounds else AudioState.NO_STREAM,
            )
        )
    digest = fingerprint.features_digest
    shards = (
        write_video_shard(folder / "videos-00000.h5", shown, [], digest),
        write_caption_shard(folder / "captions-00000.h5", texts, digest),
    )
    counts = {
        split: SplitCount(
            videos=sum(one.split == split for one in shown),
            captions=sum(
                one.split == split and any(text.video_id == one.id for text in captions)
                for one in shown
            ),
        )
        for split in ("train", "val", "test")
    }
    settings = {
        "root": str(root),
        "protocol": "pairs",
        "notes": [],
        "backbone": "tiny",
        "audio": "tiny",
        "decoder": "av",
        "shard_size": 16,
    }
    manifest = Manifest(
        fingerprint=fingerprint,
        settings=settings,
        splits=counts,
        shards=shards,
        complete=True,
        files={},
    )
    write_manifest(folder, manifest)
    return folder


@contextmanager
def serving(world: World, extract: ExtractConfig | None = None, **settings) -> Iterator[str]:
    """A real server on a free port, in a thread of its own; yields its address."""
    import uvicorn

    told: list[str] = []
    servers: list[uvicorn.Server] = []
    usual = uvicorn.Server.run

    def run_and_keep(server: uvicorn.Server, sockets=None) -> None:
        servers.append(server)
        usual(server, sockets)

    config = ServeConfig(work=world.work, offline=True, device="cpu", port=0, **settings)
    uvicorn.Server.run = run_and_keep  # type: ignore[method-assign]
    thread = Thread(
        target=run_serve,
        args=(config,),
        kwargs={"extract": extract, "on_ready": lambda one: told.append(one.address)},
    )
    thread.start()
    try:
        ends = monotonic() + 30
        while not (told and servers and servers[0].started) and monotonic() < ends:
            sleep(0.02)
        yield told[0].rstrip("/")
    finally:
        uvicorn.Server.run = usual  # type: ignore[method-assign]
        if servers:
            servers[0].should_exit = True
        thread.join(15)
