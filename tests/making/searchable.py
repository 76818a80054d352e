"""A cache to search in, made of the bundled encoder's own words instead of pictures."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from making.caches import a_fingerprint

from vidret.data.fingerprint import Fingerprint
from vidret.data.manifest import Manifest, SplitCount, write_manifest
from vidret.data.samples import AudioState, Caption, Failure, VideoEmbeddings
from vidret.data.shards import write_caption_shard, write_video_shard
from vidret.data.storage.projections import write_projections
from vidret.extract.clip import EncodedText
from vidret.extract.encoders import Encoders, EncoderSpec, load_encoders
from vidret.extract.task import encode_captions

SENTENCES = (
    "a red star on a beach",
    "a blue cross in a kitchen",
    "a green ring above a lake",
    "a yellow square in a forest",
)
FRAMES, AUDIO_DIM = 4, 6
SECONDS = 8.0


def tiny_encoders() -> Encoders:
    return load_encoders(EncoderSpec(backbone="tiny", audio="none", device="cpu", offline=True))


def encode_query(text: str, *, hidden: bool = False) -> EncodedText:
    with torch.inference_mode():
        return tiny_encoders().clip.encode_texts([text], "cpu", hidden=hidden)[0]


def searchable_fingerprint(**changes) -> Fingerprint:
    clip = tiny_encoders().clip
    made = a_fingerprint(
        dataset="searchable",
        frames=FRAMES,
        dim=clip.dim,
        audio_dim=AUDIO_DIM,
        backbone=clip.name,
        backbone_weights=clip.weights,
        logit_scale=clip.logit_scale,
    )
    return replace(made, **changes)


def write_searchable_cache(
    folder: Path,
    *,
    splits: Sequence[str] = ("train", "train", "val", "test"),
    failures: Sequence[Failure] = (),
    hidden: bool = False,
    **changes,
) -> Path:
    """Video `vN` shows sentence N in its frame N and nothing much in the others; v3 is silent.

    Args:
        folder: of the cache.
        splits: of each video.
        failures: videos that could not be read.
        hidden: store captions as they enter the text tower's last projection.
        changes: to the fingerprint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clip, files = tiny_encoders().clip, {}
    if hidden:
        changes = {"features": "hidden", "text_dim": clip.text_dim(hidden), **changes}
        maps = {name: tensor.numpy() for name, tensor in clip.projections().items()}
        files = write_projections(folder, {n: t for n, t in maps.items() if n.startswith("text.")})
    fingerprint = searchable_fingerprint(**changes)
    captions = [
        Caption(id=f"v{number}#0", video_id=f"v{number}", text=text, kind="event")
        for number, text in enumerate(SENTENCES)
    ]
    with torch.inference_mode():
        texts = encode_captions(captions, tiny_encoders())
        said = encode_captions(captions, tiny_encoders(), hidden=hidden)
    rng = np.random.default_rng(0)
    videos = []
    for number, (text, split) in enumerate(zip(texts, splits, strict=True)):
        frames = rng.normal(size=(FRAMES, len(text.sentence))).astype(np.float32)
        frames *= np.linalg.norm(text.sentence) / np.linalg.norm(frames, axis=1, keepdims=True)
        frames[number] = text.sentence
        state = AudioState.SILENT if number == 3 else AudioState.OK
        videos.append(
            VideoEmbeddings(
                id=f"v{number}",
                split=split,
                path=f"clips/v{number}.mp4",
                size=1000,
                content_hash=f"hash{number}",
                duration=SECONDS,
                frames=frames,
                times=np.arange(FRAMES) * 2 + 1.0,
                indices=np.arange(FRAMES) * 50 + 25,
                audio=rng.normal(size=AUDIO_DIM).astype(np.float32) if number < 3 else None,
                audio_state=state,
            )
        )
    digest = fingerprint.features_digest
    shards = (
        write_video_shard(folder / "videos-00000.h5", videos, list(failures), digest),
        write_caption_shard(folder / "captions-00000.h5", said, digest),
    )
    manifest = Manifest(
        fingerprint=fingerprint,
        settings={
            "root": "/films",
            "protocol": "pairs",
            "notes": [],
            "backbone": "tiny",
            "audio": "tiny",
            "decoder": "av",
            "shard_size": 16,
        },
        splits={
            split: SplitCount(videos=splits.count(split), captions=splits.count(split))
            for split in splits
        },
        shards=shards,
        complete=True,
        files=files,
    )
    write_manifest(folder, manifest)
    return folder
