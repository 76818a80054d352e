"""PyAV: index a file in one pass, decode only the frames that are needed, check each of them."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.buffer import Buffer
from av.container import InputContainer
from av.filter import Graph
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vidret.data.samples import DecodedVideo
from vidret.extract.decoding.files import (
    FORMATS,
    MAX_PIXELS,
    PROTOCOLS,
    address,
    printable,
    too_large,
    unreadable,
    without_video,
)
from vidret.extract.decoding.frame_index import (
    INDEXED_CODECS,
    BrokenIndexError,
    Run,
    VideoPacket,
    count_shown,
    is_trusted,
    plan_runs,
    shown_stamps,
)
from vidret.extract.decoding.sampling import frame_times, shown_seconds, uniform_indices
from vidret.extract.decoding.sound import NO_STREAM, Sound, SoundBlock, mono, sound_of

log = logging.getLogger(__name__)

PADDED_CODECS = frozenset({"aac", "mp3", "mp3float"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contents:
    """What one pass over all packets finds: where the frames are, and the sound."""

    container: str
    codec: str
    time_base: Fraction
    rate: Fraction | None
    packets: tuple[VideoPacket, ...]
    sound: Sound
    damaged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """The chosen frames, and the time stamps of all frames."""

    frames: tuple[NDArray[np.uint8], ...]
    indices: NDArray[np.int64]
    pts: Sequence[int | None]
    damaged: bool = False


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
    """Go over all packets once: note where the frames are, and decode the sound."""
    with _open(path) as container:
        video = _video_stream(path, container)
        audio = container.streams.audio[:1]
        notes: list[VideoPacket] = []
        heard: list[Packet[Stream]] = []
        damaged = False
        for packet in _demux(container, video, *audio):
            damaged |= packet is None or packet.is_corrupt
            if packet is None:
                break
            if packet.stream.index != video.index:
                heard.append(packet)
            elif not _is_last(packet):
                notes.append(_note(packet))
        return _Contents(
            container=container.format.name,
            codec=video.codec_context.name,
            time_base=video.time_base or Fraction(1, 1000),
            rate=video.guessed_rate or video.average_rate,
            packets=tuple(notes),
            sound=_listen(path, audio[0], heard) if audio else NO_STREAM,
            damaged=damaged,
        )


def _listen(path: Path, stream: AudioStream, packets: "Sequence[Packet[Stream]]") -> Sound:
    """Decode the packets of the sound, and never fail the file over them."""
    if stream.codec_context is None:
        return sound_of(path, [], complaint="FFmpeg has no decoder for it")
    blocks, complaint = [], ""
    for packet in packets:
        try:
            frames = [frame for frame in packet.decode() if isinstance(frame, AudioFrame)]
        except av.FFmpegError as error:
            complaint = _words(error)
        else:
            blocks += [_sound_block(stream, frame) for frame in frames]
    return sound_of(path, blocks, complaint=complaint)


def _sound_block(stream: AudioStream, frame: AudioFrame) -> SoundBlock:
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    return SoundBlock(frame.sample_rate, mono(samples[:, : _samples_left(stream, frame)]))


def _samples_left(stream: AudioStream, frame: AudioFrame) -> int:
    """How many samples of a frame come before the end that an MP4 file names.

    Encoders of AAC and MP3 fill the last block, and FFmpeg leaves that out from version 9 on. Only
    MP4 counts in samples and says where to stop.
    """
    if (
        stream.codec_context.name not in PADDED_CODECS
        or stream.time_base != Fraction(1, frame.sample_rate)
        or stream.start_time != 0
        or not stream.duration
        or frame.pts is None
        or frame.pts >= stream.duration
    ):
        return frame.samples
    return min(frame.samples, stream.duration - frame.pts)


def _choose_frames(path: Path, contents: _Contents, wanted: int) -> _Chosen:
    """Take the frames by the index where it can be trusted, else by decoding everything."""
    if not contents.damaged and is_trusted(contents.packets, contents.codec, contents.container):
        try:
            return _choose_by_index(path, contents, wanted)
        except (BrokenIndexError, av.FFmpegError) as error:
            log.debug("%s is decoded from start to end: %s", printable(path), error)
    return _choose_from_all(path, contents, wanted)


def _choose_by_index(path: Path, contents: _Contents, wanted: int) -> _Chosen:
    """Decode only what the wanted frames build on."""
    packets, pts = contents.packets, shown_stamps(contents.packets)
    indices = uniform_indices(len(pts), wanted)
    runs = plan_runs(packets, [pts[index] for index in indices], contents.container)
    with _open(path) as container:
        stream = _video_stream(path, container)
        frames = [frame for run in runs for frame in _decode_run(container, stream, packets, run)]
    return _Chosen(frames=tuple(frames), indices=indices, pts=pts)


def _decode_run(
    container: InputContainer, stream: VideoStream, packets: Sequence[VideoPacket], run: Run
) -> list[NDArray[np.uint8]]:
    """Decode the wanted frames of one run, each checked by its pts."""
    frames: dict[int, NDArray[np.uint8]] = {}
    for packet in _packets_of_run(container, stream, packets, run):
        if stream.codec_context.name == "h264":  # elsewhere "non-reference" has layers
            # All wanted ones, not only the next: the decoder is ahead of what it has shown.
            wanted = packet.pts in run.wanted
            stream.codec_context.skip_frame = "DEFAULT" if wanted else "NONREF"
        for frame in packet.decode():
            if frame.pts in run.wanted:
                if frame.is_corrupt or frame.pts in frames:
                    raise BrokenIndexError(f"the frame at pts {frame.pts} is damaged")
                frames[frame.pts] = _upright_rgb(frame)
        if len(frames) == len(run.wanted):
            return [frames[pts] for pts in run.wanted]
    raise BrokenIndexError(f"{len(frames)} of {len(run.wanted)} frames came")


def _packets_of_run(
    container: InputContainer, stream: VideoStream, packets: Sequence[VideoPacket], run: Run
) -> "Iterator[Packet[VideoStream]]":
    """The packets from the key packet of the run on, or from an earlier one."""
    start = packets[run.start].pts
    if run.start > 0 and start is not None:
        container.seek(start, stream=stream)
    before = {packet.pts for packet in packets[: run.start + 1] if packet.key}
    for number, packet in enumerate(container.demux(stream)):
        if number == 0 and packet.pts not in before:
            raise BrokenIndexError(f"the seek to pts {start} went to {packet.pts}")
        yield packet


def _choose_from_all(path: Path, contents: _Contents, wanted: int) -> _Chosen:
    """Decode everything twice: to count, and to take."""
    pts, damaged = [], False
    for frame in _all_frames(path):
        if frame is None or frame.is_corrupt:
            damaged = True
        if frame is not None:
            pts.append(frame.pts)
    if not pts:
        raise unreadable(path, "no frame came out of its packets")
    if contents.codec in INDEXED_CODECS:
        damaged |= len(pts) < count_shown(contents.packets)
    indices = uniform_indices(len(pts), wanted)
    shown = (frame for frame in _all_frames(path) if frame is not None)
    frames = tuple(
        _upright_rgb(frame)
        for position, frame in zip(range(indices[-1] + 1), shown, strict=False)
        if position in indices
    )
    return _Chosen(frames=frames, indices=indices, pts=pts, damaged=damaged)


def _all_frames(path: Path) -> Iterator[VideoFrame | None]:
    """Every frame in the order of showing, and None for a packet that could not be decoded."""
    with _open(path) as container:
        for packet in _demux(container, _video_stream(path, container)):
            if packet is None:
                yield None
                continue
            try:
                frames = packet.decode()
            except av.FFmpegError:
                yield None
            else:
                yield from (frame for frame in frames if isinstance(frame, VideoFrame))


def _open(path: Path) -> InputContainer:
    return av.open(
        address(path),
        mode="r",
        options={"format_whitelist": FORMATS, "protocol_whitelist": PROTOCOLS},
        metadata_errors="replace",
    )


def _video_stream(path: Path, container: InputContainer) -> VideoStream:
    """The first stream that is not a cover picture."""
    pictures = Disposition.attached_pic
    streams = [video for video in container.streams.video if not video.disposition & pictures]
    if not streams:
        raise without_video(path)
    stream = streams[0]
    if stream.codec_context is None:
        raise unreadable(path, "FFmpeg has no decoder for its video codec")
    if stream.width * stream.height > MAX_PIXELS:
        raise too_large(path, stream.width, stream.height)
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # it may grow on the way
    stream.thread_count = 1  # a process a core decodes already
    return stream


def _demux(container: InputContainer, *streams: Stream) -> "Iterator[Packet[Stream] | None]":
    """All packets of some streams; None at the end says that the file breaks off."""
    try:
        yield from container.demux(*streams)
    except av.FFmpegError:
        yield None


def _is_last(packet: "Packet[Stream]") -> bool:
    """Whether it is the empty packet with which PyAV ends a stream, to flush the decoder."""
    return packet.size == 0 and packet.pts is None and packet.dts is None


def _note(packet: "Packet[Stream]") -> VideoPacket:
    return VideoPacket(packet.pts, packet.is_keyframe, packet.is_discard, packet.is_corrupt)


def _upright_rgb(frame: VideoFrame) -> NDArray[np.uint8]:
    """The picture as FFmpeg's command line would give it.

    A filter graph converts it, since `VideoFrame.reformat` treats 10-bit and interlaced pictures
    in another way than the command line does.
    """
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=Fraction(1, 1000),
    )
    graph.link_nodes(source, graph.add("format", "pix_fmts=rgb24"), graph.add("buffersink"))
    graph.configure()
    graph.vpush(frame)
    image = graph.vpull().to_ndarray().astype(np.uint8, copy=False)
    return np.ascontiguousarray(_upright(image, frame))


def _upright(image: NDArray[np.uint8], frame: VideoFrame) -> NDArray[np.uint8]:
    """Turn and mirror as the display matrix says: x' = a x + c y, y' = b x + d y.

    `VideoFrame.rotation` alone would turn a mirrored picture the wrong way.
    """
    matrix = cast(Mapping[str, Buffer], frame.side_data).get("DISPLAYMATRIX")
    if matrix is None:
        return image
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5]
    if abs(a) < abs(b):
        image, a, d = image.swapaxes(0, 1), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _words(error: av.FFmpegError) -> str:
    return error.strerror or str(error)
