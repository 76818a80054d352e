"""Where the pictures and the sound of a video come from: stored pixels, or else its file."""

from collections.abc import Iterator

import torch

from vidret.data.pixels.index import PixelPlace
from vidret.data.pixels.reader import PixelReader, PixelTable
from vidret.data.samples import Video
from vidret.extract.decoding.events import SoundPart
from vidret.extract.decoding.messages import Content
from vidret.extract.decoding.process import DecodingProcess
from vidret.extract.decoding.sampling import Sampling
from vidret.extract.lanes import Crops, Done, Piece, Prepare, Source, Start, decode_in
from vidret.extract.planning.pixel_plan import KnownPixels

PIXELS_AT_ONCE = 64


def source_of_videos(
    prepare: Prepare,
    pixels: KnownPixels,
    *,
    sampling: Sampling,
    decoder: str,
    timeout: float,
) -> Source:
    """What a lane does with a video.

    Args:
        prepare: a native frame as the model takes it.
        pixels: the videos that need not be decoded.
        sampling: which frames of the others.
        decoder: what reads them.
        timeout: seconds that one may take beside its own duration.
    """

    def source(video: Video, process: DecodingProcess) -> Iterator[Piece]:
        if place := pixels.places.get(video.id):
            return _pieces_of_pixels(place, pixels.tables[place.path])
        return decode_in(
            process, video, prepare, sampling=sampling, decoder=decoder, timeout=timeout
        )

    return source


def _pieces_of_pixels(place: PixelPlace, table: PixelTable) -> Iterator[Piece]:
    row = place.row
    yield Start()
    with PixelReader(place.path) as reader:
        for samples in reader.iter_sound(row):
            yield SoundPart(samples)
        for crops in reader.iter_pictures(row, at_once=PIXELS_AT_ONCE):
            yield Crops(torch.from_numpy(crops))
    yield Done(table.facts[row], Content(int(table.size[row]), table.content_hash[row]))
