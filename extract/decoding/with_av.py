"""PyAV: index a file in one pass, decode only the frames that are needed, check each of them."""

import logging
from array import array
from collections.abc import Callable, Generator, Iterator, Mapping
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
from numpy.typing import DTypeLike, NDArray

from vidret.data.printable import printable
from vidret.data.samples import VideoFacts
from vidret.extract.decoding.events import Again, Ended, Event, Opened, Picture, SoundPart
from vidret.extract.decoding.files import (
    FORMATS,
    MAX_PIXELS,
    PROTOCOLS,
    address,
    encrypted,
    too_large,
    unreadable,
    without_video,
)
from vidret.extract.decoding.frame_index import (
    CORRUPT,
    DISCARD,
    INDEXED_CODECS,
    KEY,
    SEEKABLE_FORMATS,
    BrokenIndexError,
    PacketIndex,
    PacketNotes,
    Run,
    is_trusted,
    plan_runs,
)
from vidret.extract.decoding.headers import breaks_off, encrypted_tracks
from vidret.extract.decoding.messages import Looked
from vidret.extract.decoding.sampling import NO_PTS, Sampling, frame_times, shown_seconds
from vidret.extract.decoding.sound import ENCRYPTED, NO_STREAM, Channels, Listener, Sound

log = logging.getLogger(__name__)

PADDED_CODECS = frozenset({"aac", "mp3", "mp3float"})
KINDS: dict[str, DTypeLike] = {  # of samples, by FFmpeg's names
    "u8": np.uint8,
    "s16": np.int16,
    "s32": np.int32,
    "s64": np.int64,
    "flt": np.float32,
    "dbl": np.float64,
}
MICROSECONDS = 1_000_000

Matrix = tuple[int, int, int, int]  # the a, b, c, d of x' = a x + c y, y' = b x + d y
UPRIGHT: Matrix = (1, 0, 0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What one pass over all packets finds: where the frames are, and the sound."""

    container: str
    codec: str
    time_base: Fraction
    rate: Fraction | None
    packets: PacketIndex
    sound: Sound
    damaged: bool

    @property
    def times(self) -> NDArray[np.float64]:
        """Seconds of every frame, if each packet is one."""
        return frame_times(self.packets.shown_pts(), self.time_base, self.rate)


Images = Iterator[NDArray[np.uint8]]
# Shows the frames at some positions, and raises BrokenIndexError rather than show a wrong one.
ShowByIndex = Callable[[Path, InputContainer, Contents, NDArray[np.int64]], Images]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """Which frames were shown, the size of the first, and the seconds of all frames."""

    indices: NDArray[np.int64]
    times: NDArray[np.float64]
    width: int
    height: int
    damaged: bool = False


def events_of_av(path: Path, sampling: Sampling) -> Iterator[Event]:
    """Tell of a file with PyAV, whose wheel carries FFmpeg."""
    return events_by_index(path, sampling, _show_by_index)


def events_by_index(path: Path, sampling: Sampling, show: ShowByIndex) -> Iterator[Event]:
    """Tell of a file; `show` brings the pictures where the packets can be trusted."""
    try:
        yield from _tell(path, sampling, show)
    except av.FFmpegError as error:
        raise unreadable(path, _words(error)) from error


def av_version() -> str:
    """PyAV's version, and that of the decoders in it."""
    codec = ".".join(str(part) for part in av.library_versions["libavcodec"])
    return f"av {av.__version__}, libavcodec {codec}"


def look_with_av(path: Path) -> Looked:
    """What the headers of a file say.

    Raises:
        DecodeError: it is none that FFmpeg opens, or holds no video.
    """
    try:
        with _open(path) as container:
            _video_stream(path, container)
            seconds = max(container.duration or 0, 0) / MICROSECONDS
            return Looked(seconds, has_sound=bool(container.streams.audio))
    except av.FFmpegError as error:
        raise unreadable(path, _words(error)) from error


def is_mirrored(path: Path) -> bool:
    """Whether the first frame says that it is to be shown as in a mirror."""
    with _open(path) as container:
        for frame in container.decode(_video_stream(path, container)):
            a, b, c, d = _display_matrix(frame)
            return a * d - b * c < 0
    return False


def _tell(path: Path, sampling: Sampling, show: ShowByIndex) -> Iterator[Event]:
    with _open(path) as container:
        stream = _video_stream(path, container)
        yield Opened(max(container.duration or 0, 0) / MICROSECONDS)
        contents = yield from _read_packets(path, container, stream)
        chosen = yield from _choose_frames(path, container, contents, sampling, show)
    yield Ended(
        VideoFacts(
            times=chosen.times[chosen.indices],
            indices=chosen.indices,
            num_frames=len(chosen.times),
            duration=max(shown_seconds(chosen.times), contents.sound.seconds),
            audio_state=contents.sound.state,
            width=chosen.width,
            height=chosen.height,
            codec=contents.codec,
            partial=contents.damaged or chosen.damaged or contents.sound.damaged,
            container=contents.container,
        )
    )


def _read_packets(
    path: Path, container: InputContainer, video: VideoStream
) -> Generator[SoundPart, None, Contents]:
    """Go over all packets once: note where the frames are, and decode the sound."""
    name, locked = container.format.name, frozenset[int]()
    if name.startswith("mov"):
        locked = encrypted_tracks(path)
    if video.index in locked:
        raise encrypted(path)
    ear = _Ear(path, container.streams.audio[0], locked) if container.streams.audio else None
    notes = PacketNotes()
    damaged = name.startswith("matroska") and breaks_off(path)
    for packet in _demux(container, video, *(ear.streams if ear else [])):
        damaged |= packet is None or packet.is_corrupt
        if packet is None:
            break
        if ear is not None and packet.stream_index != video.index:
            yield from ear.hear(packet)
        elif not _is_last(packet):
            flags = KEY * packet.is_keyframe | DISCARD * packet.is_discard
            notes.add(packet.pts, flags | CORRUPT * packet.is_corrupt)
    sound = NO_STREAM
    if ear is not None:
        yield from ear.listener.rest()
        sound = ear.listener.verdict()
    return Contents(
        container=name,
        codec=video.codec_context.codec.canonical_name,
        time_base=video.time_base or Fraction(1, 1000),
        rate=video.guessed_rate or video.average_rate,
        packets=notes.index(),
        sound=sound,
        damaged=damaged,
    )


class _Ear:
    """Decodes the packets of the sound, and never fails the file over them."""

    def __init__(self, path: Path, stream: AudioStream, locked: frozenset[int]) -> None:
        self.listener = Listener(path)
        self.streams: list[AudioStream] = []
        if stream.codec_context is None:
            self.listener.complaint = "FFmpeg has no decoder for it"
        elif stream.index in locked:
            self.listener.complaint = ENCRYPTED
        else:
            self.streams = [stream]
            self._end = _named_end(stream)

    def hear(self, packet: "Packet[Stream]") -> Iterator[SoundPart]:
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            self.listener.complaint = _words(error)
            return
        for frame in frames:
            if isinstance(frame, AudioFrame):
                yield from self.listener.hear(self._channels(frame), frame.sample_rate)

    def _channels(self, frame: AudioFrame) -> Channels:
        """The samples of each channel that come before the end that the file names."""
        count = frame.samples
        if self._end is not None and frame.pts is not None and frame.pts < self._end:
            count = min(count, self._end - frame.pts)
        # Without a copy, which would take a fifth of the time: the frames are small and many.
        kind = KINDS[frame.format.name.removesuffix("p")]
        if frame.format.is_planar:
            return [np.frombuffer(cast(bytes, plane), kind, count) for plane in frame.planes]
        num_channels = frame.layout.nb_channels
        samples = np.frombuffer(cast(bytes, frame.planes[0]), kind, count * num_channels)
        return list(samples.reshape(-1, num_channels).T)


def _named_end(stream: AudioStream) -> int | None:
    """The number of samples that an MP4 file names, where its codec fills the last block.

    Encoders of AAC and MP3 do so, and FFmpeg leaves the filling out from version 9 on. Only MP4
    counts in samples and says where to stop.
    """
    padded = stream.codec_context.name in PADDED_CODECS and stream.start_time == 0
    counted = stream.time_base == Fraction(1, stream.codec_context.sample_rate or 1)
    return stream.duration or None if padded and counted else None


def _choose_frames(
    path: Path,
    container: InputContainer,
    contents: Contents,
    sampling: Sampling,
    show: ShowByIndex,
) -> Generator[Picture | Again, None, _Chosen]:
    """Show the frames by the index where it can be trusted, else by decoding everything."""
    size: tuple[int, ...] = ()
    if not contents.damaged and is_trusted(contents.packets, contents.codec, contents.container):
        times = contents.times
        indices = sampling.indices(times)
        try:
            for image in show(path, container, contents, indices):
                size = size or image.shape
                yield Picture(image)
            return _Chosen(indices=indices, times=times, width=size[1], height=size[0])
        except (BrokenIndexError, av.FFmpegError) as error:
            log.debug("%s is decoded from start to end: %s", printable(path), error)
    if size:
        yield Again()
    return (yield from _choose_from_all(path, contents, sampling))


def _show_by_index(
    path: Path, container: InputContainer, contents: Contents, indices: NDArray[np.int64]
) -> Images:
    """Decode only what the wanted frames build on."""
    wanted = contents.packets.shown_pts()[indices]
    runs = plan_runs(contents.packets, wanted, contents.container)
    painter = _Painter()
    if contents.container.startswith(SEEKABLE_FORMATS):
        stream = _video_stream(path, container)
        for run in runs:
            container.seek(run.start, stream=stream)
            yield from _show_run(container, stream, run, painter)
        return
    with _open(path) as again:
        stream = _video_stream(path, again)
        for run in runs:
            yield from _show_run(again, stream, run, painter)


def _show_run(
    container: InputContainer, stream: VideoStream, run: Run, painter: "_Painter"
) -> Images:
    """Decode the wanted frames of one run, each checked by its pts."""
    wanted, number = frozenset(run.wanted), 0
    for frame in _frames_of_run(container, stream, run, wanted):
        if frame.is_corrupt and frame.pts in (*wanted, run.last):
            raise BrokenIndexError(f"the frame at pts {frame.pts} is damaged")
        if frame.pts in wanted:
            if number == len(wanted) or frame.pts != run.wanted[number]:
                raise BrokenIndexError(f"the frame at pts {frame.pts} came out of turn")
            yield painter.paint(frame)
            number += 1
    if number < len(wanted):
        raise BrokenIndexError(f"{number} of {len(wanted)} frames came")


def _frames_of_run(
    container: InputContainer, stream: VideoStream, run: Run, wanted: frozenset[int]
) -> Iterator[VideoFrame]:
    """What comes of the packets from the key packet of the run, or an earlier one, to its last."""
    decoder = stream.codec_context
    skips = decoder.name == "h264"  # elsewhere "non-reference" has layers
    for number, packet in enumerate(container.demux(stream)):
        if number == 0 and not (packet.is_keyframe and _is_at_or_before(packet, run.start)):
            raise BrokenIndexError(f"the seek to pts {run.start} went to {packet.pts}")
        if skips:
            # All wanted ones, not only the next: the decoder is ahead of what it has shown.
            is_shown = packet.pts in wanted or packet.pts == run.last
            decoder.skip_frame = "DEFAULT" if is_shown else "NONREF"
        yield from decoder.decode(packet)
        if packet.pts == run.last:
            break
    yield from decoder.decode(None)  # what it holds back to bring the frames into order


def _is_at_or_before(packet: "Packet[VideoStream]", pts: int) -> bool:
    return packet.pts is not None and packet.pts <= pts


def _choose_from_all(
    path: Path, contents: Contents, sampling: Sampling
) -> Generator[Picture | Again, None, _Chosen]:
    """Decode everything: once if the packets name the right frames, else again with those."""
    guess = sampling.indices(contents.times)
    taken, painter = frozenset(guess.tolist()), _Painter()
    pts, size, damaged = array("q"), tuple[int, ...](), False
    for frame in _all_frames(path):
        damaged |= frame is None or frame.is_corrupt
        if frame is None:
            continue
        if len(pts) in taken:
            image = painter.paint(frame)
            size = size or image.shape
            yield Picture(image)
        pts.append(NO_PTS if frame.pts is None else frame.pts)
    if not pts:
        raise unreadable(path, "no frame came out of its packets")
    if contents.codec in INDEXED_CODECS:
        damaged |= len(pts) < len(contents.packets.shown_pts())
    times = frame_times(np.array(pts, np.int64), contents.time_base, contents.rate)
    indices = sampling.indices(times)
    if not np.array_equal(indices, guess):
        if size:
            yield Again()
        size = yield from _show_positions(path, indices, painter)
    return _Chosen(indices=indices, times=times, width=size[1], height=size[0], damaged=damaged)


def _show_positions(
    path: Path, indices: NDArray[np.int64], painter: "_Painter"
) -> Generator[Picture, None, tuple[int, ...]]:
    """Show the frames at some positions of a full decode; return the shape of the first."""
    taken, size = frozenset(indices.tolist()), tuple[int, ...]()
    shown = (frame for frame in _all_frames(path) if frame is not None)
    for position, frame in zip(range(indices[-1] + 1), shown, strict=False):
        if position in taken:
            image = painter.paint(frame)
            size = size or image.shape
            yield Picture(image)
    return size


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


class _Painter:
    """Makes upright RGB pictures of frames, as FFmpeg's command line would.

    A filter graph converts them, since `VideoFrame.reformat` treats 10-bit and interlaced pictures
    in another way than the command line does. A graph serves as long as the frames stay alike.
    """

    def __init__(self) -> None:
        self._graph = Graph()
        self._matrix = UPRIGHT
        self._form: tuple[object, ...] = ()

    def paint(self, frame: VideoFrame) -> NDArray[np.uint8]:
        form = (
            frame.width,
            frame.height,
            frame.format.name,
            frame.colorspace,
            frame.color_range,
            frame.interlaced_frame,
            frame.rotation,
        )
        if form != self._form:
            self._graph, self._form = _graph_to_rgb(frame), form
            # Not for every frame: one whose side data was looked at stays until a collection.
            self._matrix = _display_matrix(frame)
        self._graph.vpush(frame)
        image = self._graph.vpull().to_ndarray().astype(np.uint8, copy=False)
        return np.ascontiguousarray(_upright(image, self._matrix))


def _graph_to_rgb(frame: VideoFrame) -> Graph:
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
    return graph


def _upright(image: NDArray[np.uint8], matrix: Matrix) -> NDArray[np.uint8]:
    """Turn and mirror as the display matrix says.

    `VideoFrame.rotation` alone would turn a mirrored picture the wrong way.
    """
    a, b, c, d = matrix
    if abs(a) < abs(b):
        image, a, d = image.swapaxes(0, 1), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _display_matrix(frame: VideoFrame) -> Matrix:
    matrix = cast(Mapping[str, Buffer], frame.side_data).get("DISPLAYMATRIX")
    if matrix is None:
        return UPRIGHT
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return a, b, c, d


def _words(error: av.FFmpegError) -> str:
    return error.strerror or str(error)
