"""The videos of a cache once more, from their files: pictures and sound, kept while they fit."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vidret.data.errors import MismatchError, MissingError
from vidret.data.features import SplitFeatures
from vidret.data.samples import AudioState
from vidret.extract.clip import ClipEncoder
from vidret.extract.decode import decode_video
from vidret.extract.decoding.files import printable

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
    """Decodes the videos of a dataset as `vidret extract` did, and keeps what fits into memory.

    Args:
        clip: says how pictures are prepared.
        root: the dataset's folder.
        frames: of each video, at most.
        decoder: what reads the files.
        with_sound: keep the sound too.
        memory: bytes to keep in all; what comes after them is decoded every time.
    """

    def __init__(
        self,
        clip: ClipEncoder,
        *,
        root: Path,
        frames: int,
        decoder: str,
        with_sound: bool,
        memory: int,
    ) -> None:
        self.clip = clip
        self.root = root
        self.frames = frames
        self.decoder = decoder
        self.with_sound = with_sound
        self.room = memory
        self.kept: dict[str, Shot] = {}

    def fetch(self, features: SplitFeatures, rows: Iterable[int]) -> list[Shot]:
        """The shots of some videos of a split, in their order.

        Raises:
            DecodeError: a file can no longer be decoded.
            MismatchError: a file holds other frames or sound than when it was cached.
        """
        wanted = list(rows)
        absent = [row for row in dict.fromkeys(wanted) if features.paths[row] not in self.kept]
        with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as threads:
            shots = threads.map(lambda row: self._decode(features, row), absent)
            fresh = dict(zip((features.paths[row] for row in absent), shots, strict=True))
        for path, shot in fresh.items():
            if shot.bytes <= self.room:
                self.kept[path] = shot
                self.room -= shot.bytes
        return [
            fresh.get(path) or self.kept[path] for path in map(features.paths.__getitem__, wanted)
        ]

    def require_files(self, features: SplitFeatures) -> None:
        """Look whether every video is still where it was.

        Raises:
            MissingError: one is not.
        """
        for path in features.paths:
            if not (self.root / path).is_file():
                raise MissingError(
                    f"the video {printable(self.root / path)} is not there, and the encoders learn "
                    f"from the videos themselves: put it back below the dataset's folder "
                    f"{printable(self.root)}, or leave out --e2e"
                )

    def _decode(self, features: SplitFeatures, row: int) -> Shot:
        path = self.root / features.paths[row]
        decoded = decode_video(path, frames=self.frames, decoder=self.decoder)
        cached = features.indices[row][features.frame_mask[row]]
        heard = features.audio_state[row] is AudioState.OK
        if not np.array_equal(decoded.indices, cached) or (heard and decoded.waveform is None):
            raise MismatchError(
                f"{printable(path)} holds other frames or sound than when it was cached: "
                "put the old file back, or extract again"
            )
        keep_sound = self.with_sound and heard and decoded.waveform is not None
        return Shot(
            pictures=torch.stack([self.clip.prepare(frame) for frame in decoded.frames]),
            waveform=torch.from_numpy(decoded.waveform) if keep_sound else None,
        )
