"""One task: encode the videos or the captions of one shard and write it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidret.data.errors import EncodeError, ItemError
from vidret.data.samples import (
    AudioState,
    Caption,
    Failure,
    TextEmbeddings,
    Video,
    VideoEmbeddings,
)
from vidret.data.shards import ShardEntry, to_float16, write_caption_shard, write_video_shard
from vidret.extract.content import look_at_content
from vidret.extract.decode import decode_video
from vidret.extract.encoders import Encoders, EncoderSpec, load_encoders
from vidret.extract.panns import SoundEncoder
from vidret.extract.plan import CaptionShard, VideoShard

log = logging.getLogger(__name__)

FRAMES_PER_BATCH = 128
TEXTS_PER_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSettings:
    """What all tasks of a run share."""

    folder: Path
    root: Path
    frames: int
    decoder: str
    encoders: EncoderSpec
    features_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedItem:
    """A video on its way to the encoder: pictures of the model's size, sound already embedded.

    The frames at native size stay behind: those of a batch of films would fill the memory.
    """

    video: Video
    size: int
    content_hash: str
    duration: float
    times: NDArray[np.float64]
    indices: NDArray[np.int64]
    pictures: Tensor
    audio: NDArray[np.float32] | None
    audio_state: AudioState


def extract_videos(shard: VideoShard, settings: TaskSettings) -> ShardEntry:
    """Encode the videos of one shard; those that cannot be are written down as failures."""
    encoders = load_encoders(settings.encoders)
    embeddings: list[VideoEmbeddings] = []
    failures: list[Failure] = []
    waiting: list[DecodedItem] = []
    for video in shard.videos:
        try:
            waiting.append(_decode(video, settings, encoders))
        except ItemError as error:
            failures.append(_failure(video, error, settings.root))
        if sum(len(item.pictures) for item in waiting) >= FRAMES_PER_BATCH:
            _encode(waiting, encoders, settings.root, embeddings, failures)
            waiting = []
    _encode(waiting, encoders, settings.root, embeddings, failures)
    return write_video_shard(
        settings.folder / shard.file, embeddings, failures, settings.features_digest
    )


def extract_captions(shard: CaptionShard, settings: TaskSettings) -> ShardEntry:
    """Encode the captions of one shard."""
    encoders = load_encoders(settings.encoders)
    embeddings: list[TextEmbeddings] = []
    with torch.inference_mode():
        for start in range(0, len(shard.captions), TEXTS_PER_BATCH):
            batch = shard.captions[start : start + TEXTS_PER_BATCH]
            embeddings += encode_captions(batch, encoders)
    return write_caption_shard(settings.folder / shard.file, embeddings, settings.features_digest)


def encode_captions(captions: Sequence[Caption], encoders: Encoders) -> list[TextEmbeddings]:
    """Embed captions as a cache keeps them."""
    encoded = encoders.clip.encode_texts([caption.text for caption in captions], encoders.device)
    return [
        TextEmbeddings(
            id=caption.id,
            video_id=caption.video_id,
            text=caption.text,
            kind=caption.kind,
            sentence=text.sentence,
            words=text.words,
            tokens=text.tokens,
            truncated=text.truncated,
        )
        for caption, text in zip(captions, encoded, strict=True)
    ]


def _decode(video: Video, settings: TaskSettings, encoders: Encoders) -> DecodedItem:
    decoded = decode_video(video.path, frames=settings.frames, decoder=settings.decoder)
    size, content_hash = look_at_content(video.path)
    audio, state = None, decoded.audio_state
    if encoders.sound is not None and decoded.waveform is not None and state is AudioState.OK:
        audio = _encode_sound(decoded.waveform, video.path, encoders.sound, encoders.device)
        state = AudioState.FAILED if audio is None else state
    return DecodedItem(
        video=video,
        size=size,
        content_hash=content_hash,
        duration=decoded.duration,
        times=decoded.times,
        indices=decoded.indices,
        pictures=torch.stack([encoders.clip.prepare(frame) for frame in decoded.frames]),
        audio=audio,
        audio_state=state,
    )


def _encode_sound(
    waveform: NDArray[np.float32], path: Path, sound: SoundEncoder, device: torch.device
) -> NDArray[np.float32] | None:
    """The embedding of a sound, or None where float16 cannot hold it: the frames are kept then."""
    with torch.inference_mode():
        audio = sound.encode(torch.from_numpy(waveform).to(device)).float().cpu().numpy()
    try:
        to_float16(audio, str(path), "audio")
    except EncodeError as error:
        log.warning("%s", error)
        return None
    return audio


def _encode(
    items: Sequence[DecodedItem],
    encoders: Encoders,
    root: Path,
    embeddings: list[VideoEmbeddings],
    failures: list[Failure],
) -> None:
    """Frames of several videos share a batch; each video then stands or falls alone."""
    if not items:
        return
    pictures = torch.cat([item.pictures for item in items]).to(encoders.device)
    with torch.inference_mode():
        frames = [encoders.clip.encode_frames(part) for part in pictures.split(FRAMES_PER_BATCH)]
    of_items = torch.cat(frames).float().cpu().split([len(item.pictures) for item in items])
    for item, own in zip(items, of_items, strict=True):
        try:
            to_float16(own.numpy(), str(item.video.path), "frames")
        except EncodeError as error:
            failures.append(_failure(item.video, error, root))
        else:
            embeddings.append(_embeddings(item, own.numpy(), root))


def _embeddings(item: DecodedItem, frames: NDArray[np.float32], root: Path) -> VideoEmbeddings:
    return VideoEmbeddings(
        id=item.video.id,
        split=item.video.split,
        path=_relative(item.video.path, root),
        size=item.size,
        content_hash=item.content_hash,
        duration=item.duration,
        frames=frames,
        times=item.times,
        indices=item.indices,
        audio=item.audio,
        audio_state=item.audio_state,
    )


def _failure(video: Video, error: ItemError, root: Path) -> Failure:
    return Failure(
        id=video.id, path=_relative(video.path, root), stage=error.stage, reason=str(error)
    )


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
