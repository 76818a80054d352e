"""Small pictures of videos: a few of the cached frames side by side, as one JPEG."""

import io
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vidret.data.cache import FeatureCache
from vidret.data.errors import MismatchError, MissingError, VidretError
from vidret.data.features import SplitFeatures
from vidret.data.pixels.index import PixelIndex
from vidret.data.pixels.reader import PixelReader
from vidret.data.pixels.writer import KIND
from vidret.extract.decode import decode_events
from vidret.extract.decoding.events import Again, Ended, Picture
from vidret.extract.decoding.sampling import Sampling, parse_sampling
from vidret.extract.planning.content import look_at_content

SHOWN = 4  # frames of a video
WIDTH, HEIGHT = 120, 90  # what each of them fits into
GAP = 2  # pixels between two of them
QUALITIES = (78, 66, 54, 42, 30, 20)  # of a JPEG, until it is small enough
MOST_BYTES = 16_000  # of a strip: forty queries with two videos each stay below 2 MB in base64
MOST_THREADS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """The pictures of one video, or why there are none.

    Args:
        jpeg: the frames from left to right; empty where there are none.
        times: seconds at which they are shown.
        absent: the reason, in words.
    """

    jpeg: bytes = b""
    width: int = 0
    height: int = 0
    times: tuple[float, ...] = ()
    absent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Where the pictures of a cache come from."""

    root: Path
    decoder: str
    sampling: Sampling
    stored: PixelIndex


def draw_strips(cache: FeatureCache, features: SplitFeatures, rows: Iterable[int]) -> list[Strip]:
    """A strip for each of some videos, from the cache's pixels or else from the video file.

    A video that is gone, was replaced or no longer decodes has a strip that says so.
    """
    settings, facts = cache.manifest.settings, cache.fingerprint
    source = _Source(
        root=Path(settings["root"]),
        decoder="ffmpeg" if settings["decoder"] == "ffmpeg" else "av",  # both are always there
        sampling=parse_sampling(facts.frame_policy, facts.frames),
        stored=_stored_pixels(cache),
    )
    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as threads:
        return list(threads.map(lambda row: _strip(features, row, source), rows))


def shown_frames(count: int) -> list[int]:
    """Which of `count` frames are shown: at most four, the middles of equal parts."""
    number = min(count, SHOWN)
    return [(2 * place + 1) * count // (2 * number) for place in range(number)]


def shrink(picture: NDArray[np.uint8]) -> Image.Image:
    """A picture `(height, width, 3)` as large as a strip can take; none is made larger."""
    image = Image.fromarray(picture)
    image.thumbnail((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    return image


def join_pictures(images: Sequence[Image.Image]) -> tuple[bytes, int, int]:
    """Pictures side by side: a JPEG, its width and its height."""
    width = sum(image.width for image in images) + GAP * (len(images) - 1)
    height = max(image.height for image in images)
    sheet = Image.new("RGB", (width, height), (128, 128, 128))
    left = 0
    for image in images:
        sheet.paste(image, (left, (height - image.height) // 2))
        left += image.width + GAP
    return _as_jpeg(sheet), width, height


def _as_jpeg(image: Image.Image) -> bytes:
    """The best quality that is small enough, or the lowest."""
    jpeg = b""
    for quality in QUALITIES:
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality, optimize=True)
        jpeg = out.getvalue()
        if len(jpeg) <= MOST_BYTES:
            break
    return jpeg


def _strip(features: SplitFeatures, row: int, source: _Source) -> Strip:
    cached = features.indices[row][features.frame_mask[row]]
    places = shown_frames(len(cached))
    wanted = cached[places].tolist()
    try:
        images = _from_pixels(features, row, wanted, source)
        if images is None:
            images = _from_file(features, row, wanted, source)
    except VidretError as error:
        return Strip(absent=str(error))
    jpeg, width, height = join_pictures(images)
    times = features.times[row][features.frame_mask[row]][places]
    return Strip(jpeg=jpeg, width=width, height=height, times=tuple(times.tolist()))


def _from_pixels(
    features: SplitFeatures, row: int, wanted: list[int], source: _Source
) -> list[Image.Image] | None:
    """The stored crops of a video, or None where they are not there or cannot be read."""
    place = source.stored.find(features.content_hashes[row], int(features.sizes[row]))
    if place is None:
        return None
    try:
        with PixelReader(place.path) as reader:
            found = reader.indices(place.row).tolist()
            if not set(wanted) <= set(found):
                return None
            crops = [reader.pictures(place.row, at, at + 1)[0] for at in map(found.index, wanted)]
    except VidretError:
        return None
    return [shrink(np.ascontiguousarray(crop.transpose(1, 2, 0))) for crop in crops]


def _from_file(
    features: SplitFeatures, row: int, wanted: list[int], source: _Source
) -> list[Image.Image]:
    """The same frames of the video file.

    Raises:
        MissingError: the file is not there.
        MismatchError: it is another file by now.
        DecodeError: it can no longer be decoded.
    """
    path = source.root / features.paths[row]
    if not path.is_file():
        raise MissingError("The video file is no longer there.")
    if look_at_content(path) != (int(features.sizes[row]), features.content_hashes[row]):
        raise MismatchError("The video file was replaced after its features were cached.")
    found = _decode(path, source)
    if not set(wanted) <= found.keys():
        raise MismatchError("The video file now decodes to other frames than those cached.")
    return [found[index] for index in wanted]


def _decode(path: Path, source: _Source) -> dict[int, Image.Image]:
    """The chosen frames of a file by their position; each is made small as it comes."""
    images: list[Image.Image] = []
    for event in decode_events(path, sampling=source.sampling, decoder=source.decoder):
        match event:
            case Picture(image):
                images.append(shrink(image))
            case Again():
                images.clear()
            case Ended(facts):
                return dict(zip(facts.indices.tolist(), images, strict=True))
    raise AssertionError("a decoder told no end")


def _stored_pixels(cache: FeatureCache) -> PixelIndex:
    """The pixels that a cache lists; a shard that cannot be read is passed over."""
    index = PixelIndex()
    for entry in cache.manifest.shards:
        if entry.kind == KIND:
            try:
                index.add(cache.folder / entry.file, entry.fingerprint)
            except VidretError:
                continue
    return index
