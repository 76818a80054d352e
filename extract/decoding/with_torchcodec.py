"""torchcodec, on the CPU or with NVDEC: the pictures of files whose packets can be trusted.

PyAV goes over the packets first: it lists the frames and decodes the sound. torchcodec is asked in
its exact mode alone, and each frame that it gives is checked by its time. Everything else is left
to PyAV, which decodes it from start to end: AVI, where torchcodec takes wrong B-frames, streams
that start midway, damage, sizes that change, pictures to be mirrored. So the frames, their times
and the sound are those of `av`. The pictures are too where the CPU decodes them; on a GPU the
conversion to RGB is NVDEC's own, and codecs that it does not know are decoded on the CPU.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from vidret.data.errors import MissingError
from vidret.extract.decoding.events import Event
from vidret.extract.decoding.frame_index import BrokenIndexError
from vidret.extract.decoding.sampling import Sampling
from vidret.extract.decoding.with_av import (
    Contents,
    Images,
    av_version,
    events_by_index,
    is_mirrored,
)

if TYPE_CHECKING:
    from torchcodec.decoders import VideoDecoder

BYTES_AT_ONCE = 64 << 20


def events_of_torchcodec(path: Path, sampling: Sampling, device: str) -> Iterator[Event]:
    """Tell of a file with torchcodec on a device: "cpu" or "cuda".

    Raises:
        MissingError: torchcodec is not installed, or there is no such device.
    """
    _check_installed(device)
    return events_by_index(path, sampling, partial(_show_by_index, device))


def torchcodec_version(device: str) -> str:
    """The versions of torchcodec, of the FFmpeg that it found, and of PyAV, and the device."""
    _check_installed(device)
    import torchcodec
    from torchcodec._core import get_ffmpeg_library_versions

    codec = ".".join(map(str, get_ffmpeg_library_versions()["libavcodec"]))
    return f"torchcodec {torchcodec.__version__}, libavcodec {codec}, {device}, {av_version()}"


def _check_installed(device: str) -> None:
    try:
        import torch
        import torchcodec.decoders  # noqa: F401 - only here does it look for FFmpeg
    except (ImportError, OSError, RuntimeError) as error:
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        raise MissingError(
            f"torchcodec cannot be used ({reason}): install the torchcodec that fits this torch,"
            " and FFmpeg's shared libraries, or use the decoder av, which needs neither"
        ) from error
    if device != "cpu" and not torch.cuda.is_available():
        raise MissingError(
            "the decoder nvdec needs a GPU that CUDA can reach, and there is none: use the"
            " decoder av or torchcodec"
        )


def _show_by_index(
    device: str,
    path: Path,
    _container: InputContainer,
    contents: Contents,
    indices: NDArray[np.int64],
) -> Images:
    """Take the frames by number, a few at a time, each checked by its time."""
    expected = contents.packets.shown_pts()[indices] * np.float64(contents.time_base)
    if is_mirrored(path):
        raise BrokenIndexError("torchcodec turns pictures, but does not mirror them")
    # Opened by number: a name would go through torch's strings, which have to be UTF-8.
    with path.open("rb") as file:
        try:
            decoder = _decoder(f"/dev/fd/{file.fileno()}", device)
            if len(decoder) != len(contents.packets.shown_pts()):
                raise BrokenIndexError(f"torchcodec lists {len(decoder)} frames")
            step = max(1, BYTES_AT_ONCE // _bytes_of_frame(decoder))
            for first in range(0, len(indices), step):
                part = slice(first, first + step)
                yield from _frames_at(decoder, indices[part], expected[part])
        except (RuntimeError, ValueError, IndexError) as error:
            raise BrokenIndexError(f"torchcodec says: {error}") from error


def _decoder(name: str, device: str) -> "VideoDecoder":
    from torchcodec.decoders import VideoDecoder

    return VideoDecoder(
        name, seek_mode="exact", num_ffmpeg_threads=1, dimension_order="NHWC", device=device
    )


def _bytes_of_frame(decoder: "VideoDecoder") -> int:
    size = decoder.metadata
    return 3 * (size.width or 1) * (size.height or 1)


def _frames_at(
    decoder: "VideoDecoder", indices: NDArray[np.int64], expected: NDArray[np.float64]
) -> Images:
    batch = decoder.get_frames_at(indices.tolist())
    if not np.allclose(batch.pts_seconds.cpu().numpy(), expected, rtol=0, atol=1e-6):
        raise BrokenIndexError("torchcodec gave frames of other times")
    yield from batch.data.cpu().numpy()
