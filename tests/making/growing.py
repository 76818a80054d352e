"""A dataset that changes, and an extraction of it whose encoder takes no time.

What the encoder makes of a file depends on its bytes and on the generation in which it was asked:
so it shows in the cache whether a file was encoded again.
"""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from making.caches import AUDIO_DIM, DIM, a_fingerprint
from xxhash import xxh3_128_digest, xxh3_128_hexdigest

from vidret.data.manifest import Manifest, SplitCount, write_manifest
from vidret.data.samples import (
    AudioState,
    Caption,
    Dataset,
    DenseFrames,
    Failure,
    TextEmbeddings,
    Video,
    VideoEmbeddings,
)
from vidret.data.shards import write_caption_shard, write_video_shard
from vidret.data.storage.hdf5 import ShardEntry
from vidret.extract.plan import CaptionShard, Plan, VideoShard, plan_shards
from vidret.extract.planning.reuse import reuse_captions, reuse_videos

FRAMES = 2
DIGEST = a_fingerprint().features_digest


@dataclass
class Growing:
    """A folder of videos, whose ids are their names, and the cache of it.

    A video whose content begins with `bad` cannot be decoded.
    """

    root: Path
    cache: Path
    shard_size: int = 2
    generation: int = 0
    captions: dict[str, tuple[str, str]] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    encoded: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.root.mkdir(parents=True, exist_ok=True)
        self.cache.mkdir(parents=True, exist_ok=True)

    def put(self, **contents: str):
        for name, content in contents.items():
            (self.root / name).write_text(content)
            now = time.time_ns()  # the clock of the file system is too coarse for a test
            os.utime(self.root / name, ns=(now, now))

    def dataset(self) -> Dataset:
        names = sorted(path.name for path in self.root.iterdir())
        return Dataset(
            name="folder",
            root=self.root,
            videos=tuple(
                Video(id=name, path=self.root / name, split=self.splits.get(name, "all"))
                for name in names
            ),
            captions=tuple(
                Caption(id=id_, video_id=video, text=text)
                for id_, (video, text) in sorted(self.captions.items())
                if video in names
            ),
            protocol="pairs",
        )

    def plan(self, **options) -> Plan:
        asked = {"shard_size": self.shard_size, "features_digest": DIGEST}
        return plan_shards(self.dataset(), self.cache, **asked | options)

    def extract(self, finished=None, **options) -> list[str]:
        """Run an extraction to its end, or until some of its shards are `finished`.

        Gives what was encoded. With `finished`, the numbers of the shards that the killed run had
        written; the others are as they were.
        """
        self.encoded, plan, dataset = [], self.plan(**options), self.dataset()
        shards = [*plan.videos, *plan.captions]
        self.write_manifest(plan, plan.done, dataset, complete=False)
        entries = [*plan.done]
        for number, shard in enumerate(shards):
            if finished is None or number in finished:
                entries.append(self.write(shard))
        if finished is None:
            self.write_manifest(plan, entries, dataset, complete=True)
        time.sleep(0.01)  # what happens next is younger, also by a coarse clock
        return self.encoded

    def write(self, shard: VideoShard | CaptionShard) -> ShardEntry:
        path = self.cache / shard.file
        if isinstance(shard, CaptionShard):
            known, rest = reuse_captions(shard)
            texts = known + [self.encode_caption(caption) for caption in rest]
            return write_caption_shard(path, in_order(texts, shard.captions), DIGEST)
        known, failures, rest = reuse_videos(shard, self.root)
        for video in rest:
            self.encoded.append(video.id)
            if video.path.read_bytes().startswith(b"bad"):
                failures.append(
                    Failure(id=video.id, path=video.path.name, stage="decode", reason="bad")
                )
            else:
                known.append(self.encode_video(video))
        videos = in_order(known, shard.videos)
        return write_video_shard(path, videos, in_order(failures, shard.videos), DIGEST)

    def encode_video(self, video: Video) -> VideoEmbeddings:
        content = video.path.read_bytes()
        frames = numbers_of(content, 3 * FRAMES * DIM).reshape(-1, DIM) + self.generation
        return VideoEmbeddings(
            id=video.id,
            split=video.split,
            path=video.path.name,
            size=len(content),
            content_hash=xxh3_128_hexdigest(content),
            duration=1.5,
            frames=frames[:FRAMES],
            times=np.arange(FRAMES) / 2,
            indices=np.arange(FRAMES),
            audio=numbers_of(content, AUDIO_DIM) if len(content) % 2 else None,
            audio_state=AudioState.OK if len(content) % 2 else AudioState.SILENT,
            num_frames=25,
            width=320,
            height=240,
            codec="h264",
            partial=len(content) % 3 == 0,
            dense=DenseFrames(
                frames=frames, times=np.arange(3 * FRAMES) / 4, indices=np.arange(3 * FRAMES)
            ),
        )

    def encode_caption(self, caption: Caption) -> TextEmbeddings:
        self.encoded.append(caption.id)
        words = numbers_of(caption.text.encode(), 2 * DIM).reshape(2, DIM)
        return TextEmbeddings(
            id=caption.id,
            video_id=caption.video_id,
            text=caption.text,
            kind=caption.kind,
            sentence=words[0] + self.generation,
            words=words,
            tokens=np.arange(2),
        )

    def write_manifest(self, plan, entries, dataset, *, complete):
        splits = {video.split for video in dataset.videos}
        manifest = Manifest(
            fingerprint=a_fingerprint(frames=FRAMES),
            settings={},
            splits={
                split: SplitCount(
                    videos=sum(video.split == split for video in dataset.videos), captions=0
                )
                for split in sorted(splits)
            },
            shards=tuple(entries),
            complete=complete,
            removed=plan.removed,
        )
        write_manifest(self.cache, manifest)

    def shards(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.cache.glob("*.h5")}


def numbers_of(content: bytes, count: int) -> np.ndarray:
    """Numbers that float16 holds, another row of them for each content."""
    seed = int.from_bytes(xxh3_128_digest(content), "big")
    drawn = np.random.default_rng(seed).integers(-512, 512, count)
    return drawn.astype(np.float32) / 64


def in_order(items, wanted):
    position = {one.id: number for number, one in enumerate(wanted)}
    return sorted(items, key=lambda item: position.get(item.id, len(position)))
