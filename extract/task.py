"""One Dask task: decode, encode and write the videos or the captions of one shard."""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from vidret.data.errors import EncodeError, ItemError
from vidret.data.pixels.writer import new_pixel_shard
from vidret.data.samples import (
    AudioState,
    Caption,
    DenseFrames,
    Failure,
    TextEmbeddings,
    Video,
    VideoEmbeddings,
)
from vidret.data.shards import to_float16, write_caption_shard, write_video_shard
from vidret.data.storage.hdf5 import ShardEntry
from vidret.extract.decoding.events import Again, SoundPart
from vidret.extract.decoding.sampling import centres, parse_sampling
from vidret.extract.embedding import Embedder, Take, batch_sizes, computing
from vidret.extract.encoders import Encoders, EncoderSpec, load_encoders
from vidret.extract.lanes import (
    Crops,
    Done,
    Failed,
    Piece,
    Source,
    Start,
    borrowed_lanes,
)
from vidret.extract.plan import CaptionShard, VideoShard
from vidret.extract.planning.content import path_below
from vidret.extract.planning.pixel_plan import KnownPixels, look_up
from vidret.extract.planning.reuse import reuse_captions, reuse_videos
from vidret.extract.sources import source_of_videos
from vidret.extract.telling import Telling

log = logging.getLogger(__name__)

Item = TypeVar("Item", VideoEmbeddings, Failure, TextEmbeddings)

HIDDEN = "hidden"
UNIFORM = "uniform"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSettings:
    """What all tasks of a run share.

    Args:
        folder: the cache.
        root: the dataset's folder, which paths in the cache start from.
        frames: of each video, as the heads see them.
        frame_policy: `uniform`, or `fps:1` for dense frames.
        features: `projected`, or `hidden` for what enters the last projections.
        pixels_digest: of the pixel shards, where pixels are to be kept; else empty.
        lanes: videos that one worker decodes at the same time; 0 is one, on a GPU one per core.
        timeout: seconds that a video may take beside its own duration.
    """

    folder: Path
    root: Path
    frames: int
    decoder: str
    encoders: EncoderSpec
    features_digest: str
    frame_policy: str = "uniform"
    features: str = "projected"
    pixels_digest: str = ""
    lanes: int = 1
    timeout: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """One shard is done.

    Args:
        videos: of the dataset that are done with it, in one way or another.
        encoded: videos that were decoded and encoded; the others were there already.
        waited: seconds that the encoder waited for the decoders.
        busy: seconds that the encoder worked.
    """

    entry: ShardEntry
    videos: int = 0
    encoded: int = 0
    waited: float = 0.0
    busy: float = 0.0


@dataclass(slots=True, kw_only=True)
class _Shot:
    """A video that was decoded to its end, its embeddings still on the device."""

    video: Video
    take: Take
    done: Done


@dataclass(slots=True)
class _Catch:
    """What became of the videos of a shard, in the order in which they came."""

    shots: list[_Shot] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    waited: float = 0.0


def extract_videos(
    shard: VideoShard, settings: TaskSettings, pixels: Sequence[Path] = ()
) -> TaskResult:
    """Encode the videos of one shard; those that cannot be are written down as failures.

    Args:
        shard: the videos, and what an older shard knows of them.
        settings: what all tasks share.
        pixels: pixel shards in which some of the videos may be found decoded.
    """
    encoders = load_encoders(settings.encoders)
    known, failures, rest = reuse_videos(shard, settings.root)
    stored = look_up(rest, pixels)
    if settings.pixels_digest:  # where pixels are kept, decoding has had its tries
        failures += stored.failures
        failed = {failure.id for failure in stored.failures}
        rest = [video for video in rest if video.id not in failed]
    embedder = Embedder(encoders, hidden=settings.features == HIDDEN)
    telling = Telling(settings.folder / shard.file)
    catch = _catch_all(rest, _source(settings, encoders, stored), settings, embedder, telling)
    catch.failures += failures
    embedder.flush()
    embeddings = [*known]
    for shot in catch.shots:
        try:
            embeddings.append(_embeddings(shot, encoders, settings))
        except EncodeError as error:
            catch.failures.append(_failure(shot.video, error, settings.root))
    entry = write_video_shard(
        settings.folder / shard.file,
        _in_order(embeddings, shard.videos),
        _in_order(catch.failures, shard.videos),
        settings.features_digest,
    )
    return TaskResult(
        entry=entry,
        videos=len(shard.videos),
        encoded=len(rest),
        waited=catch.waited,
        busy=embedder.busy,
    )


def store_pixels(
    shard: VideoShard, settings: TaskSettings, pixels: Sequence[Path] = ()
) -> TaskResult:
    """Decode the videos of one shard, and keep what an encoder would take of them."""
    encoders = load_encoders(settings.encoders)
    known = look_up(shard.videos, pixels)
    source = _source(settings, encoders, known)
    path, side = settings.folder / shard.file, encoders.clip.pixels.size
    with (
        new_pixel_shard(path, settings.pixels_digest, side) as writer,
        borrowed_lanes(_lanes(settings, encoders)) as lanes,
    ):
        for video, pieces in lanes.run(shard.videos, source):
            for piece in pieces:
                match piece:
                    case Start():
                        writer.begin(video)
                    case Crops(values):
                        for crop in values.numpy():
                            writer.add_picture(crop)
                    case SoundPart(samples):
                        writer.add_sound(samples)
                    case Again():
                        writer.restart()
                    case Done(facts, content):
                        writer.finish(
                            facts,
                            path=path_below(settings.root, video.path),
                            size=content.size,
                            content_hash=content.hash,
                        )
                    case Failed(error):
                        writer.fail(_failure(video, error, settings.root))
    return TaskResult(
        entry=writer.entry,
        videos=len(shard.videos),
        encoded=len(shard.videos) - len(known.places),
    )


def extract_captions(shard: CaptionShard, settings: TaskSettings) -> TaskResult:
    """Encode the captions of one shard."""
    encoders = load_encoders(settings.encoders)
    known, rest = reuse_captions(shard)
    at_once, hidden = batch_sizes(encoders.device).texts, settings.features == HIDDEN
    began, embeddings = time.monotonic(), [*known]
    for start in range(0, len(rest), at_once):
        with computing(encoders.device, encoders.precision):
            batch = rest[start : start + at_once]
            embeddings += encode_captions(batch, encoders, hidden=hidden)
    entry = write_caption_shard(
        settings.folder / shard.file,
        _in_order(embeddings, shard.captions),
        settings.features_digest,
    )
    return TaskResult(entry=entry, encoded=len(rest), busy=time.monotonic() - began)


def encode_captions(
    captions: Sequence[Caption], encoders: Encoders, *, hidden: bool = False
) -> list[TextEmbeddings]:
    """Embed captions as a cache keeps them."""
    texts = [caption.text for caption in captions]
    encoded = encoders.clip.encode_texts(texts, encoders.device, hidden=hidden)
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


def _catch_all(
    videos: Sequence[Video],
    source: Source,
    settings: TaskSettings,
    embedder: Embedder,
    telling: Telling,
) -> _Catch:
    """Decode ahead, encode behind, until every video of the shard has ended in one way."""
    catch = _Catch()
    with borrowed_lanes(_lanes(settings, embedder.encoders)) as lanes:
        for video, pieces in lanes.run(videos, source):
            take = Take()
            for piece in _timed(pieces, catch):
                match piece:
                    case Start():
                        take = Take()
                    case Crops(values):
                        embedder.add_pictures(take, values)
                    case SoundPart(samples):
                        embedder.add_sound(take, samples)
                    case Again():
                        take.drop_pictures()
                    case Done(facts):
                        if facts.audio_state is AudioState.OK:
                            embedder.end_sound(take)
                        catch.shots.append(_Shot(video=video, take=take, done=piece))
                    case Failed(error):
                        catch.failures.append(_failure(video, error, settings.root))
            telling.video_ended()
    return catch


def _lanes(settings: TaskSettings, encoders: Encoders) -> int:
    """How many videos to decode at once; a GPU takes what all cores of its machine can give."""
    if settings.lanes:
        return settings.lanes
    return len(os.sched_getaffinity(0)) if encoders.device.type == "cuda" else 1


def _timed(pieces: Iterator[Piece], catch: _Catch) -> Iterator[Piece]:
    """The same pieces, and the time that was spent waiting for them."""
    while True:
        began = time.monotonic()
        piece = next(pieces, None)
        catch.waited += time.monotonic() - began
        if piece is None:
            return
        yield piece


def _source(settings: TaskSettings, encoders: Encoders, pixels: KnownPixels) -> Source:
    return source_of_videos(
        encoders.clip.prepare,
        pixels,
        sampling=parse_sampling(settings.frame_policy, settings.frames),
        decoder=settings.decoder,
        timeout=settings.timeout,
    )


def _embeddings(shot: _Shot, encoders: Encoders, settings: TaskSettings) -> VideoEmbeddings:
    """What the cache keeps of a video.

    Raises:
        EncodeError: float16 cannot hold its frames.
    """
    facts, content = shot.done.facts, shot.done.content
    frames = torch.cat(shot.take.pictures).cpu().numpy()
    to_float16(frames, str(shot.video.path), "frames")
    audio, state = _sound(shot, encoders)
    chosen, dense = np.arange(len(frames)), None
    if settings.frame_policy != UNIFORM:
        chosen = centres(len(frames), settings.frames)
        dense = DenseFrames(frames=frames, times=facts.times, indices=facts.indices)
    return VideoEmbeddings(
        id=shot.video.id,
        split=shot.video.split,
        path=path_below(settings.root, shot.video.path),
        size=content.size,
        content_hash=content.hash,
        duration=facts.duration,
        frames=frames[chosen],
        times=facts.times[chosen],
        indices=facts.indices[chosen],
        audio=audio,
        audio_state=state,
        num_frames=facts.num_frames,
        width=facts.width,
        height=facts.height,
        codec=facts.codec,
        partial=facts.partial,
        dense=dense,
    )


def _sound(shot: _Shot, encoders: Encoders) -> tuple[NDArray[np.float32] | None, AudioState]:
    """The embedding of a sound: the mean of its windows; None where there is none to keep."""
    state = shot.done.facts.audio_state
    if encoders.sound is None or state is not AudioState.OK:
        return None, state
    audio = torch.stack(shot.take.windows).mean(0).cpu().numpy()
    try:
        to_float16(audio, str(shot.video.path), "audio")
    except EncodeError as error:
        log.warning("%s", error)  # the frames are kept
        return None, AudioState.FAILED
    return audio, state


def _in_order(items: Sequence[Item], wanted: Sequence[Video] | Sequence[Caption]) -> list[Item]:
    """Items in the order of the shard; behind them what it holds beyond the dataset."""
    ids = [one.id for one in wanted]
    position = {id_: number for number, id_ in enumerate(ids)}
    return sorted(items, key=lambda item: position.get(item.id, len(ids)))


def _failure(video: Video, error: ItemError, root: Path) -> Failure:
    return Failure(
        id=video.id, path=path_below(root, video.path), stage=error.stage, reason=str(error)
    )
