"""PyAV: index a file in one pass, decode only the frames that are needed, and check each of them."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.filter import Graph
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vidret.data.samples import DecodedVideo
from vidret.extract.files import (
    FORMATS,
    MAX_PIXELS,
    PROTOCOLS,
    address,
    too_large,
    unreadable,
    without_video,
)
from vidret.extract.sampling import frame_times, shown_seconds, uniform_indices
from vidret.extract.sound import NO_STREAM, Sound, SoundBlock, mono, report_failure, sound_of

log = logging.getLogger(__name__)

# One packet is one frame in these. VP8 has hidden frames, MPEG-4 has empty ones.
INDEXED_CODECS = frozenset({"h264", "hevc", "vp9", "av1", "libdav1d"})
UNINDEXED_FORMATS = frozenset({"avi", "h264", "hevc"})  # the demuxer has to guess time stamps


@dataclass(frozen=True, slots=True)
class _VideoPacket:
    """What the demuxer says of one packet of the video stream."""

    pts: int | None
    key: bool
    discard: bool
    corrupt: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contents:
    """What one pass over all packets finds: where the frames are, and the sound."""

    container: str
    codec: str
    time_base: Fraction
    rate: Fraction | None
    packets: tuple[_VideoPacket, ...]
    sound: Sound
    damaged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """The chosen frames, and the time stamps of all frames."""

    frames: tuple[NDArray[np.uint8], ...]
    indices: NDArray[np.int64]
    pts: Sequence[int | None]
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class _Run:
    """Frames, by pts, that are decoded in one go from the key packet at `start`."""

    start: int
    wanted: list[int]


class _BrokenIndexError(Exception):
    """The packets promised something that the decoder did not keep."""


def decode_with_av(path: Path, frames: int) -> DecodedVideo:
    """Decode with PyAV, whose wheel carries FFmpeg."""
    try:
        contents = _read_contents(path)
        chosen = _choose_frames(path, contents, frames)
    except av.FFmpegError as error:
        raise unreadable(path, _words(error)) from error
    times = frame_times(chosen.pts, contents.time_base, contents.rate)
    return DecodedVideo(
        frames=chosen.frames,
        times=times[chosen.indices],
        indices=chosen.indices,
        num_frames=len(times),
        duration=max(shown_seconds(times), contents.sound.seconds),
        waveform=contents.sound.waveform,
        audio_state=contents.sound.state,
        partial=contents.damaged or chosen.damaged,
    )


def av_version() -> str:
    """PyAV's version, and that of the decoders in it."""
    codec = ".".join(str(part) for part in av.library_versions["libavcodec"])
    return f"av {av.__version__}, libavcodec {codec}"


def _read_contents(path: Path) -> _Contents:
    """Go over all packets once: decode the sound, note where the frames are."""
    with _open(path) as container:
        video = _video_stream(path, container)
        ear = _Ear(container)
        packets, damaged = [], False
        for packet in _demux(container, video, *container.streams.audio[:1]):
            if packet is None:
                damaged = True
            elif packet.stream_index != video.index:
                ear.hear(packet)
            elif not _is_last(packet):
                packets.append(_note(packet))
        return _Contents(
            container=container.format.name,
            codec=video.codec_context.name,
            time_base=video.time_base or Fraction(1, 1000),
            rate=video.guessed_rate or video.average_rate,
            packets=tuple(packets),
            sound=ear.sound(path),
            damaged=damaged,
        )


def _note(packet: Packet[Stream]) -> _VideoPacket:
    return _VideoPacket(packet.pts, packet.is_keyframe, packet.is_discard, packet.is_corrupt)


class _Ear:
    """Decodes the packets of the first sound stream, and never fails a file over them."""

    def __init__(self, container: InputContainer) -> None:
        self.stream = next(iter(container.streams.audio), None)
        self.blocks: list[SoundBlock] = []
        self.complaint = ""
        self.padded = container.format.name.startswith("mov")
        self.last_ticks: int | None = None
        if self.stream is not None and self.stream.codec_context is None:
            self.complaint = "no decoder for its codec"

    def hear(self, packet: Packet[Stream]) -> None:
        """Keep what one packet sounds like, as one channel."""
        assert self.stream is not None
        if self.stream.codec_context is None:
            return
        if not _is_last(packet):
            self.last_ticks = packet.duration
        try:
            heard = packet.decode()
        except av.FFmpegError as error:
            self.complaint = _words(error)
            return
        frames = [frame for frame in heard if isinstance(frame, AudioFrame)]
        self.blocks += [SoundBlock(frame.sample_rate, mono(_channels(frame))) for frame in frames]

    def sound(self, path: Path) -> Sound:
        """Everything that was heard."""
        if self.stream is None:
            return NO_STREAM
        self._cut_padding()
        return sound_of(path, self.blocks, complaint=self.complaint)

    def _cut_padding(self) -> None:
        """End with the last packet's own duration, as FFmpeg 9 does: AAC fills its last block."""
