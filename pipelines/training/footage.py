"""The videos of a cache once more: pictures and sound, stored or decoded, kept while they fit."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vidret.data.errors import DamagedError, MismatchError, MissingError
from vidret.data.features import SplitFeatures
from vidret.data.manifest import read_manifest
from vidret.data.pixels.index import PixelIndex, PixelPlace
from vidret.data.pixels.reader import PixelReader
from vidret.data.pixels.writer import KIND
from vidret.data.printable import printable
from vidret.data.samples import AudioState
from vidret.data.storage.hdf5 import checksum
from vidret.extract.clip import ClipEncoder
from vidret.extract.decode import Sampling, decode_video
from vidret.extract.planning.content import look_at_content
from vidret.pipelines.extraction.again import extract_again

MOST_THREADS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """What an encoder takes of one video; the sound is None where nobody asks for it."""

    pictures: Tensor
    waveform: Tensor | None

    @property
    def bytes(self) -> int:
        """What it takes to keep it."""
        return self.pictures.nbytes + (0 if self.waveform is None else self.waveform.nbytes)


class Footage:
    """Gives the pictures and sound of a dataset's videos, and keeps what fits into memory.

    They come from the pixel shards of the cache (`vidret extract --pixels`) where these hold them,
    else the videos are decoded as `vidret extract` did: the same to the bit either way.

    Args:
        clip: says how pictures are prepared.
        root: the dataset's folder.
        sampling: how the frames of the cache were chosen, or those that theirs are among.
        decoder: what reads the files.
        with_sound: keep the sound too.
        memory: bytes to keep in all; what comes after them is read every time.
    """

    def __init__(
        self,
        clip: ClipEncoder,
        *,
        root: Path,
        sampling: Sampling,
        decoder: str,
        with_sound: bool,
        memory: int,
    ) -> None:
        self.clip = clip
        self.root = root
        self.sampling = sampling
        self.decoder = decoder
        self.with_sound = with_sound
        self.room = memory
        self.kept: dict[str, Shot] = {}
        self.held: dict[str, Shot] = {}
        self.stored: dict[Path, PixelIndex] = {}
        self.known: set[str] = set()  # files that are as they were

    def fetch(self, features: SplitFeatures, rows: Iterable[int]) -> list[Shot]:
        """The shots of some videos of a split, in their order.

        Raises:
            DamagedError: a pixel shard of the cache is not there, or cannot be read.
            DecodeError: a file can no longer be decoded.
            MismatchError: a file holds other frames or sound than when it was cached.
        """
        wanted, stored = list(rows), self._stored_of(features.folder)
        there = self.kept | self.held
        absent = [row for row in dict.fromkeys(wanted) if features.paths[row] not in there]
        with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as threads:
            shots = threads.map(lambda row: self._shot(features, row, stored), absent)
            fresh = dict(zip((features.paths[row] for row in absent), shots, strict=True))
        for path, shot in fresh.items():
            if shot.bytes <= self.room:
                self.kept[path] = shot
                self.room -= shot.bytes
        return [fresh.get(path) or there[path] for path in map(features.paths.__getitem__, wanted)]

    @contextmanager
    def holding(self, features: SplitFeatures, rows: Iterable[int]) -> Iterator[None]:
        """Keep some videos until the block ends, whatever room there is."""
        wanted = list(rows)
        shots = self.fetch(features, wanted)
        self.held = dict(zip((features.paths[row] for row in wanted), shots, strict=True))
        try:
            yield
        finally:
            self.held = {}

    def require_files(self, features: SplitFeatures) -> None:
        """Look whether every video is stored, or still where it was and as long.

        Raises:
            DamagedError: a pixel shard of the cache is not there, or cannot be read.
            MismatchError: a video that is not stored is another file now.
            MissingError: a video is neither stored nor where it was.
        """
        stored = self._stored_of(features.folder)
        for row, path in enumerate(features.paths):
            if _place(features, row, stored) is not None:
                continue
            file = self.root / path
            if file.is_file() and file.stat().st_size != features.sizes[row]:
                raise _is_another(file)
            if not file.is_file():
                raise MissingError(
                    f"the video {printable(self.root / path)} is not there, and the encoders learn "
                    f"from the videos themselves: put it back below the dataset's folder "
                    f"{printable(self.root)}, or leave out --e2e"
                )

    def _require_same_file(self, features: SplitFeatures, row: int) -> None:
        """Look once whether a file is the one that the cache was made from."""
        path = features.paths[row]
        if path in self.known:
            return
        facts = (int(features.sizes[row]), features.content_hashes[row])
        if look_at_content(self.root / path) != facts:
            raise _is_another(self.root / path)
        self.known.add(path)

    def _stored_of(self, folder: Path) -> PixelIndex:
        """The pixels that a cache lists, compared with their checksums once."""
        if folder not in self.stored:
            index = PixelIndex()
            for entry in read_manifest(folder).shards:
                if entry.kind == KIND:
                    with _naming_the_remedy(folder / entry.file):
                        index.add(folder / entry.file, entry.fingerprint)
                        _require_same_bytes(folder / entry.file, entry.checksum)
            self.stored[folder] = index
        return self.stored[folder]

    def _shot(self, features: SplitFeatures, row: int, stored: PixelIndex) -> Shot:
        place = _place(features, row, stored)
        shot = None if place is None else self._read(features, row, place)
        return self._decode(features, row) if shot is None else shot

    def _read(self, features: SplitFeatures, row: int, place: PixelPlace) -> Shot | None:
        """A shot from a pixel shard, or None where that holds other frames, or no sound."""
        wanted = features.indices[row][features.frame_mask[row]]
        keep_sound = self.with_sound and features.audio_state[row] is AudioState.OK
        with _naming_the_remedy(place.path), PixelReader(place.path) as reader:
            found = reader.indices(place.row)
            if reader.side != self.clip.pixels.size or not np.isin(wanted, found).all():
                return None
            if keep_sound and not reader.num_samples(place.row):
                return None
            places = np.searchsorted(found, wanted).tolist()
            # Of an hour with a picture a second no more is read than is wanted.
            pictures = [reader.pictures(place.row, each, each + 1) for each in places]
            sound = torch.from_numpy(reader.sound(place.row)) if keep_sound else None
        return Shot(pictures=torch.from_numpy(np.concatenate(pictures)), waveform=sound)

    def _decode(self, features: SplitFeatures, row: int) -> Shot:
        path = self.root / features.paths[row]
        self._require_same_file(features, row)
        decoded = decode_video(
            path, frames=self.sampling.frames, decoder=self.decoder, sampling=self.sampling
        )
        wanted = features.indices[row][features.frame_mask[row]]
        heard = features.audio_state[row] is AudioState.OK
        if not np.isin(wanted, decoded.indices).all() or (heard and decoded.waveform is None):
            raise MismatchError(
                f"{printable(path)} holds other frames or sound than when it was cached: "
                "put the old file back, or extract again"
            )
        keep_sound = self.with_sound and heard and decoded.waveform is not None
        return Shot(
            pictures=torch.stack(
                [
                    self.clip.prepare(decoded.frames[place])
                    for place in np.searchsorted(decoded.indices, wanted)
                ]
            ),
            waveform=torch.from_numpy(decoded.waveform) if keep_sound else None,
        )


def _is_another(path: Path) -> MismatchError:
    return MismatchError(
        f"{printable(path)} is another file than when it was cached: put the old one back, or "
        "extract again"
    )


def _place(features: SplitFeatures, row: int, stored: PixelIndex) -> PixelPlace | None:
    return stored.find(features.content_hashes[row], int(features.sizes[row]))


def _require_same_bytes(path: Path, written: str) -> None:
    """Refuse a shard in which a byte has changed: the picture would only be a little wrong."""
    if checksum(path) != written:
        raise DamagedError(f"{path} has other bytes than were written")


@contextmanager
def _naming_the_remedy(path: Path) -> Iterator[None]:
    """Say which command makes a pixel shard again that cannot be used."""
    try:
        yield
    except DamagedError as error:
        what = "is damaged" if path.exists() else "is not there"
        command = extract_again(path.parent, read_manifest(path.parent), "--pixels")
        raise DamagedError(f"{path} {what}: make it again with `{command}`") from error
