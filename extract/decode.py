"""From a video file to sampled frames at native size and its sound: the one face of all decoders.

Both decoders give the same frames, times and sound, to the byte. The known exceptions:

* Damage where no wanted frame needs it: `av` does not decode that part, so it counts the frames
  that the file lists, and `ffmpeg` those that come out of a full decode.
* Sound that changes its rate or number of channels midway: `av` takes each part as it is,
  `ffmpeg` converts all of it to the form of the first part.
* AAC and MP3 in MP4: FFmpeg before 9 keeps what the encoder added to fill the last block, 0.03 s
  at most. `av` cuts it whichever FFmpeg it carries, `ffmpeg` only where the binary does.
* `partial` says what each tool complained of, and a damaged picture may come out without complaint.
"""

from collections.abc import Callable
from pathlib import Path

from vidret.data.errors import ConfigError
from vidret.data.samples import DecodedVideo
from vidret.extract.decoding.files import check_file
from vidret.extract.decoding.sound import SAMPLE_RATE
from vidret.extract.decoding.with_av import av_version, decode_with_av
from vidret.extract.decoding.with_ffmpeg import decode_with_ffmpeg, ffmpeg_binary, ffmpeg_version

__all__ = [
    "DECODERS",
    "SAMPLE_RATE",
    "decode_video",
    "decoder_version",
    "ffmpeg_binary",
]

DECODERS: dict[str, Callable[[Path, int], DecodedVideo]] = {
    "av": decode_with_av,
    "ffmpeg": decode_with_ffmpeg,
}

VERSIONS: dict[str, Callable[[], str]] = {
    "av": av_version,
    "ffmpeg": ffmpeg_version,
}


def decode_video(path: Path, *, frames: int, decoder: str = "av") -> DecodedVideo:
    """Decode at most `frames` frames, spread evenly over the file, and its sound.

    Raises:
        DecodeError: the file gives no frames; a damaged sound alone is only a state.
        MissingError: the decoder `ffmpeg` is asked for and there is no binary to run.
    """
    _check_decoder(decoder)
    if frames < 1:
        raise ConfigError(f"frames is {frames}: ask for 1 or more frames of each video")
    check_file(path)
    return DECODERS[decoder](path, frames)


def decoder_version(decoder: str) -> str:
    """What a cache's fingerprint says of the decoder: its name and the FFmpeg it runs."""
    _check_decoder(decoder)
    return VERSIONS[decoder]()


def _check_decoder(decoder: str) -> None:
    if decoder not in DECODERS:
        raise ConfigError(f"decoder is {decoder!r}: choose one of {', '.join(DECODERS)}")
