"""A cache of many videos to be found in, which may come, change and go."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from making.searchable import (
    AUDIO_DIM,
    FRAMES,
    SENTENCES,
    encode_query,
    searchable_fingerprint,
    tiny_encoders,
)

from vidret.data.manifest import Manifest, SplitCount, write_manifest
from vidret.data.samples import AudioState, Caption, VideoEmbeddings
from vidret.data.shards import write_caption_shard, write_video_shard
from vidret.extract.task import encode_captions
from vidret.pipelines.searching.searcher import Searcher

CROWD = 320
SHOWN = {17: 0, 118: 1, 219: 2, 310: 3}  # videos that show a sentence in one frame


def numbered(count: int = CROWD) -> dict[int, int]:
    """The numbers of videos, each in its first version."""
    return dict.fromkeys(range(count), 0)


def write_crowded_cache(
    folder: Path,
    versions: Mapping[int, int] | None = None,
    *,
    per_shard: int = 1024,
    captions: Mapping[int, str] | None = None,
) -> Path:
    """Video `N` in version V always is the same, whatever else the cache holds.

    Every other one lies in `even/`, every eighth one is silent, and four show a sentence.

    Args:
        folder: of the cache.
        versions: of each video.
        per_shard: videos.
        captions: of some videos; without any there is no shard of them.
    """
    versions = numbered() if versions is None else versions
    folder.mkdir(parents=True, exist_ok=True)
    fingerprint = searchable_fingerprint(dataset="crowd")
    videos = [_video(number, version) for number, version in sorted(versions.items())]
    entries = [
        write_video_shard(
            folder / f"videos-{number:05d}.h5",
            videos[start : start + per_shard],
            [],
            fingerprint.features_digest,
        )
        for number, start in enumerate(range(0, len(videos), per_shard))
    ]
    if captions:
        said = [
            Caption(id=f"v{number:04d}#0", video_id=f"v{number:04d}", text=text, kind="event")
            for number, text in captions.items()
        ]
        with torch.inference_mode():
            texts = encode_captions(said, tiny_encoders())
        path = folder / "captions-00000.h5"
        entries.append(write_caption_shard(path, texts, fingerprint.features_digest))
    write_manifest(
        folder,
        Manifest(
            fingerprint=fingerprint,
            settings={
                "root": str(folder.parent / "films"),
                "protocol": "pairs",
                "notes": [],
                "backbone": "tiny",
                "audio": "tiny",
                "decoder": "av",
                "shard_size": 1024,
            },
            splits={"all": SplitCount(videos=len(videos), captions=len(captions or ()))},
            shards=tuple(entries),
            complete=True,
        ),
    )
    return folder


def open_crowd(work: Path, **settings) -> Searcher:
    """A searcher of the crowd below a work folder, by CLIP's mean."""
    return Searcher(
        work=work,
        cache=work / "cache" / "crowd",
        runs={"mean": None},
        device="cpu",
        offline=True,
        **settings,
    )


def _video(number: int, version: int) -> VideoEmbeddings:
    rng = np.random.default_rng([number, version])
    clip = tiny_encoders().clip
    frames = rng.normal(size=(FRAMES, clip.dim)).astype(np.float32)
    if number in SHOWN:
        frames[number % FRAMES] = 40 * encode_query(SENTENCES[SHOWN[number]]).sentence
    heard = number % 8 != 0
    return VideoEmbeddings(
        id=f"v{number:04d}",
        split="all",
        path=f"{'odd' if number % 2 else 'even'}/v{number:04d}.mp4",
        size=1000,
        content_hash=f"{number}-{version}",
        duration=8.0,
        frames=frames,
        times=np.arange(FRAMES) * 2 + 1.0,
        indices=np.arange(FRAMES) * 50,
        audio=rng.normal(size=AUDIO_DIM).astype(np.float32) if heard else None,
        audio_state=AudioState.OK if heard else AudioState.SILENT,
    )
