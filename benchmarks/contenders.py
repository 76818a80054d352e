"""Ways to read twelve frames and the sound of a file: vidret's and those of others.

Each is written anew from what its source does, with one thread, and gives the pictures at native
size first, so that it can be checked that all give the same ones. What follows is its own way of
making them small. What is not everywhere installed is imported where it is used.
"""

import atexit
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import av
import ffmpeg
import imageio_ffmpeg
import numpy as np
import torch
from av.audio.resampler import AudioResampler
from clips import FRAMES
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as pixels

from vidret.extract.decode import SAMPLE_RATE, Sampling, decode_events
from vidret.extract.decoding.events import Picture, SoundPart
from vidret.extract.decoding.process import DecodingProcess
from vidret.extract.decoding.sampling import uniform_indices

SIDE = 224
SECOND_TRIES = 5  # of X-Pool's loader, each of which takes a later frame

Piece = NDArray[Any]  # a picture uint8 (height, width, 3), or samples of the sound (sample,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way.

    Args:
        read: pictures and sound of a file, as they come.
        shrink: what it makes of one picture.
        finish: what it makes of all of them, where that is left to the end.
    """

    name: str
    read: Callable[[Path], Iterator[Piece]]
    shrink: Callable[[Piece], Any]
    finish: Callable[[Sequence[Any]], object] = list


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a way made of a file."""

    crops: object
    sound: NDArray[np.float32]


def take(contender: Contender, path: Path) -> Taken:
    """Read one file in one way."""
    crops, heard = [], []
    for piece in contender.read(path):
        if piece.ndim == 1:
            heard.append(piece)
        else:
            crops.append(contender.shrink(piece))
    sound = np.concatenate(heard) if heard else np.zeros(0, np.float32)
    return Taken(crops=contender.finish(crops), sound=sound)


def native_pictures(contender: Contender, path: Path) -> list[NDArray[np.uint8]]:
    """The pictures that it reads, before it makes them small."""
    return [piece.copy() for piece in contender.read(path) if piece.ndim == 3]


# vidret


def _read_with_vidret(decoder: str) -> Callable[[Path], Iterator[Piece]]:
    def read(path: Path) -> Iterator[Piece]:
        return _pieces(decode_events(path, sampling=Sampling(FRAMES), decoder=decoder))

    return read


def _read_in_process(path: Path) -> Iterator[Piece]:
    return _pieces(_decoding_process().decode(path, sampling=Sampling(FRAMES), decoder="av"))


def _pieces(events: Iterable[object]) -> Iterator[Piece]:
    for event in events:
        match event:
            case Picture(image):
                yield image
            case SoundPart(samples):
                yield samples


@cache
def _decoding_process() -> DecodingProcess:
    process = DecodingProcess()
    atexit.register(process.close)
    return process


def crop(picture: Piece) -> torch.Tensor:
    """Small as extract makes it: bicubic with antialias on bytes, then the middle."""
    image = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)
    bicubic = pixels.InterpolationMode.BICUBIC
    return pixels.center_crop(pixels.resize(image, [SIDE], bicubic, antialias=True), [SIDE, SIDE])


# OpenCV


def _read_by_seeking(path: Path) -> Iterator[Piece]:
    """X-Pool's loader: a seek for each frame, and a later one where that cannot be read."""
    import cv2

    with closing(_Capture(path)) as film:
        for index in uniform_indices(film.num_frames, FRAMES).tolist():
            film.capture.set(cv2.CAP_PROP_POS_FRAMES, index)
            read, picture = film.capture.read()
            for _ in range(SECOND_TRIES):
                if read:
                    break
                read, picture = film.capture.read()
            if not read:
                raise ValueError(f"{path} has no frame {index}")
            yield cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _read_by_grabbing(path: Path) -> Iterator[Piece]:
    """clip-video-encode: every frame is decoded, and those that are wanted are converted."""
    with closing(_Capture(path)) as film:
        wanted = frozenset(uniform_indices(film.num_frames, FRAMES).tolist())
        number = 0
        while film.capture.grab():  # to the end, as it does
            if number in wanted:
                yield film.capture.retrieve()[1][:, :, ::-1]
            number += 1


class _Capture:
    """An open file, decoded by one thread."""

    def __init__(self, path: Path) -> None:
        import cv2

        self.capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not self.capture.isOpened():
            raise ValueError(f"{path} cannot be opened by OpenCV")
        self.num_frames = int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT))

    def close(self) -> None:
        """Let go of the file."""
        self.capture.release()


def _as_xpool_keeps(picture: Piece) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)


def _as_xpool_ends(pictures: Sequence[torch.Tensor]) -> torch.Tensor:
    """All native pictures as float32, then small: bicubic, no antialias as in its torchvision."""
    images = torch.stack(list(pictures)).float() / 255
    bicubic = pixels.InterpolationMode.BICUBIC
    return pixels.center_crop(pixels.resize(images, [SIDE], bicubic, antialias=False), [SIDE, SIDE])


def _crop_with_opencv(picture: Piece) -> Piece:
    """clip-video-encode: OpenCV's bicubic, which has no antialias, then the middle."""
    import cv2

    height, width = picture.shape[:2]
    scale = min(height, width) / SIDE
    size = (max(int(width / scale), SIDE), max(int(height / scale), SIDE))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
    top, left = (size[1] - SIDE) // 2, (size[0] - SIDE) // 2
    return small[top : top + SIDE, left : left + SIDE]


# ffmpeg-python


def _read_with_ffmpeg_of_path(path: Path) -> Iterator[Piece]:
    """Probe, decode everything and keep what is wanted, and once more for the sound."""
    found = ffmpeg.probe(str(path), select_streams="v:0")["streams"][0]
    size = int(found["width"]), int(found["height"])
    yield from _selected(path, *size, int(found["nb_frames"]), "ffmpeg")
    yield _sound_through_pipe(path, "ffmpeg")


def _read_with_static_ffmpeg(path: Path) -> Iterator[Piece]:
    """The same with a binary that starts at once, and size and number of frames for nothing."""
    yield from _selected(path, *_known(path), _static_ffmpeg())
    yield _sound_through_pipe(path, _static_ffmpeg())


def _selected(path: Path, width: int, height: int, count: int, binary: str) -> Iterator[Piece]:
    wanted = "+".join(f"eq(n,{index})" for index in uniform_indices(count, FRAMES))
    shown = ffmpeg.input(str(path), threads=1).filter("select", wanted)
    raw = shown.output("pipe:", format="rawvideo", pix_fmt="rgb24", fps_mode="passthrough")
    output, _ = raw.run(capture_stdout=True, quiet=True, cmd=binary)
    yield from np.frombuffer(output, np.uint8).reshape(-1, height, width, 3)


def _sound_through_pipe(path: Path, binary: str) -> NDArray[np.float32]:
    played = ffmpeg.input(str(path), threads=1)["a:0"]
    raw = played.output("pipe:", format="f32le", ac=1, ar=SAMPLE_RATE)
    output, _ = raw.run(capture_stdout=True, quiet=True, cmd=binary)
    return np.frombuffer(output, np.float32)


@cache
def _static_ffmpeg() -> str:
    return str(imageio_ffmpeg.get_ffmpeg_exe())


@cache
def _known(path: Path) -> tuple[int, int, int]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.width, stream.height, stream.frames


# PyAV, decord, torchcodec


def _read_everything_with_av(path: Path) -> Iterator[Piece]:
    """One pass that decodes every frame and all of the sound."""
    to_mono = AudioResampler("fltp", "mono", SAMPLE_RATE)
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        video.thread_count = 1
        wanted = frozenset(uniform_indices(video.frames, FRAMES).tolist())
        number = 0
        for frame in container.decode(video, audio):
            if isinstance(frame, av.AudioFrame):
                yield from (part.to_ndarray()[0] for part in to_mono.resample(frame))
                continue
            if number in wanted:
                yield frame.to_ndarray(format="rgb24")
            number += 1


def _read_with_decord(path: Path) -> Iterator[Piece]:
    import decord

    reader = decord.VideoReader(str(path), num_threads=1)
    yield from reader.get_batch(uniform_indices(len(reader), FRAMES).tolist()).asnumpy()


def _read_with_torchcodec(path: Path) -> Iterator[Piece]:
    from torchcodec.decoders import AudioDecoder, VideoDecoder

    video = VideoDecoder(str(path), seek_mode="exact", num_ffmpeg_threads=1, dimension_order="NHWC")
    indices = uniform_indices(len(video), FRAMES).tolist()
    yield from video.get_frames_at(indices).data.numpy()
    sound = AudioDecoder(str(path), sample_rate=SAMPLE_RATE).get_all_samples()
    yield sound.data.mean(0).numpy()


def _with_sound(read: Callable[[Path], Iterator[Piece]]) -> Callable[[Path], Iterator[Piece]]:
    """A reader of pictures alone, and the quickest ffmpeg pipe for the sound."""

    def both(path: Path) -> Iterator[Piece]:
        yield from read(path)
        yield _sound_through_pipe(path, _static_ffmpeg())

    return both


AV = Contender(name="vidret, `av`", read=_read_with_vidret("av"), shrink=crop)
AV_IN_PROCESS = Contender(
    name="vidret, `av` in a process of its own, as extract runs it",
    read=_read_in_process,
    shrink=crop,
)
FFMPEG = Contender(name="vidret, `ffmpeg`", read=_read_with_vidret("ffmpeg"), shrink=crop)
XPOOL = Contender(
    name="X-Pool's loader, sound by an ffmpeg pipe",
    read=_with_sound(_read_by_seeking),
    shrink=_as_xpool_keeps,
    finish=_as_xpool_ends,
)
XPOOL_SILENT = Contender(
    name="X-Pool's loader as it is, without sound",
    read=_read_by_seeking,
    shrink=_as_xpool_keeps,
    finish=_as_xpool_ends,
)
GRABBING = Contender(
    name="clip-video-encode's way, sound by an ffmpeg pipe",
    read=_with_sound(_read_by_grabbing),
    shrink=_crop_with_opencv,
)
LOOP = Contender(
    name="ffmpeg-python loop, `ffmpeg` and `ffprobe` of the system",
    read=_read_with_ffmpeg_of_path,
    shrink=crop,
)
STATIC_LOOP = Contender(
    name="ffmpeg-python loop, static binary, number of frames given",
    read=_read_with_static_ffmpeg,
    shrink=crop,
)
ALL_WITH_AV = Contender(name="PyAV, full decode", read=_read_everything_with_av, shrink=crop)
DECORD = Contender(
    name="decord, sound by an ffmpeg pipe", read=_with_sound(_read_with_decord), shrink=crop
)
TORCHCODEC = Contender(name="torchcodec, exact", read=_read_with_torchcodec, shrink=crop)

OURS = (AV, AV_IN_PROCESS, FFMPEG)
OTHERS = (XPOOL, XPOOL_SILENT, GRABBING, LOOP, STATIC_LOOP, ALL_WITH_AV, DECORD, TORCHCODEC)
