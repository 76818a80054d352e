"""From a video file to sampled frames at native size and its sound: the one face of all decoders.

`av` and `ffmpeg` give the same frames, times and sound, to the byte. The known exceptions:

* Damage where no wanted frame needs it: `av` does not decode that part, so it counts the frames
  that the file lists, and `ffmpeg` those that come out of a full decode.
* Sound that changes its rate or number of channels midway: `av` takes each part as it is,
  `ffmpeg` converts all of it to the form of the first part.
* AAC and MP3 in MP4: FFmpeg before 9 keeps what the encoder added to fill the last block, 0.03 s
  at most. `av` cuts it whichever FFmpeg it carries, `ffmpeg` only where the binary does.
* `partial` says what each tool complained of, and a damaged picture may come out without complaint.

`ffmpeg` decodes all pictures of a file to list them, and again for every 1,500 chosen frames or
part of that: an hour at one frame a second takes four passes. `av` reads its packets once, and then
decodes what the chosen frames need.

`torchcodec` and `nvdec` give the same frames, times and sound; their colours differ where
`decoding/with_torchcodec.py` says so.

A process that decodes with `av` imports little: neither torch nor the other decoders.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidret.data.errors import ConfigError
from vidret.data.samples import AudioState, DecodedVideo
from vidret.extract.decoding.events import Again, Ended, Event, Picture, SoundPart
from vidret.extract.decoding.files import check_file
from vidret.extract.decoding.sampling import Sampling
from vidret.extract.decoding.sound import SAMPLE_RATE

__all__ = [
    "DECODERS",
    "SAMPLE_RATE",
    "Sampling",
    "decode_events",
    "decode_video",
    "decoder_version",
    "ffmpeg_binary",
]


def decode_events(path: Path, *, sampling: Sampling, decoder: str = "av") -> Iterator[Event]:
    """Tell of a file piece by piece, in bounded memory whatever its length.

    Raises:
        DecodeError: the file gives no frames; a damaged sound alone is only a state. It may come
            at any step.
        MissingError: what the decoder needs is not installed.
    """
    _check_decoder(decoder)
    check_file(path)
    return DECODERS[decoder](path, sampling)


def decode_video(
    path: Path, *, frames: int, decoder: str = "av", sampling: Sampling | None = None
) -> DecodedVideo:
    """Decode the frames that a sampling takes, or `frames` evenly spread ones, and the sound.

    All of it is held at once: `decode_events` is there for videos of any length.

    Raises:
        DecodeError: the file gives no frames; a damaged sound alone is only a state.
        MissingError: what the decoder needs is not installed.
    """
    return _collect(decode_events(path, sampling=sampling or Sampling(frames), decoder=decoder))


def decoder_version(decoder: str) -> str:
    """What a cache's fingerprint says of the decoder: its name and the FFmpeg it runs."""
    _check_decoder(decoder)
    return VERSIONS[decoder]()


def ffmpeg_binary() -> Path:
    """The ffmpeg that decodes.

    Raises:
        MissingError: there is none.
    """
    from vidret.extract.decoding import with_ffmpeg

    return with_ffmpeg.ffmpeg_binary()


def _with_av(path: Path, sampling: Sampling) -> Iterator[Event]:
    from vidret.extract.decoding.with_av import events_of_av

    return events_of_av(path, sampling)


def _with_ffmpeg(path: Path, sampling: Sampling) -> Iterator[Event]:
    from vidret.extract.decoding.with_ffmpeg import events_of_ffmpeg

    return events_of_ffmpeg(path, sampling)


def _with_torchcodec(path: Path, sampling: Sampling) -> Iterator[Event]:
    from vidret.extract.decoding.with_torchcodec import events_of_torchcodec

    return events_of_torchcodec(path, sampling, "cpu")


def _with_nvdec(path: Path, sampling: Sampling) -> Iterator[Event]:
    from vidret.extract.decoding.with_torchcodec import events_of_torchcodec

    return events_of_torchcodec(path, sampling, "cuda")


def _av_version() -> str:
    from vidret.extract.decoding.with_av import av_version

    return av_version()


def _ffmpeg_version() -> str:
    from vidret.extract.decoding.with_ffmpeg import ffmpeg_version

    return ffmpeg_version()


def _torchcodec_version() -> str:
    from vidret.extract.decoding.with_torchcodec import torchcodec_version

    return torchcodec_version("cpu")


def _nvdec_version() -> str:
    from vidret.extract.decoding.with_torchcodec import torchcodec_version

    return torchcodec_version("cuda")


DECODERS: dict[str, Callable[[Path, Sampling], Iterator[Event]]] = {
    "av": _with_av,
    "ffmpeg": _with_ffmpeg,
    "torchcodec": _with_torchcodec,
    "nvdec": _with_nvdec,
}

VERSIONS: dict[str, Callable[[], str]] = {
    "av": _av_version,
    "ffmpeg": _ffmpeg_version,
    "torchcodec": _torchcodec_version,
    "nvdec": _nvdec_version,
}


def _check_decoder(decoder: str) -> None:
    if decoder not in DECODERS:
        raise ConfigError(f"decoder is {decoder!r}: choose one of {', '.join(DECODERS)}")


def _collect(events: Iterable[Event]) -> DecodedVideo:
    """All that was told, in one piece."""
    pictures: list[NDArray[np.uint8]] = []
    heard: list[NDArray[np.float32]] = []
    for event in events:
        match event:
            case SoundPart(samples):
                heard.append(samples)
            case Picture(image):
                pictures.append(image)
            case Again():
                pictures.clear()
            case Ended(facts):
                has_sound = facts.audio_state is AudioState.OK
                return DecodedVideo(
                    frames=tuple(pictures),
                    times=facts.times,
                    indices=facts.indices,
                    num_frames=facts.num_frames,
                    duration=facts.duration,
                    waveform=np.concatenate(heard) if has_sound else None,
                    audio_state=facts.audio_state,
                    partial=facts.partial,
                )
    raise AssertionError("a decoder told no end")
