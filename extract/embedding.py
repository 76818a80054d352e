"""Pictures and sounds of many videos through the encoders in full batches.

A batch is filled in the order in which things come, and cut at the same places however they come:
the same videos give the same bits, read from files or from stored pixels.
"""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidret.extract.encoders import Encoders
from vidret.extract.models.windows import WindowCutter
from vidret.extract.panns import WINDOW

BATCHES_BEHIND = 2
AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSizes:
    """How much goes through an encoder at once: what fills it, and no more."""

    pictures: int
    windows: int
    texts: int


ON_CPU = BatchSizes(pictures=64, windows=4, texts=64)
ON_GPU = BatchSizes(pictures=512, windows=32, texts=512)


@dataclass(slots=True, eq=False)
class Take:
    """The embeddings of one video, as they come in; `drop` makes it forget its pictures."""

    pictures: list[Tensor] = field(default_factory=list)
    windows: list[Tensor] = field(default_factory=list)
    cutter: WindowCutter = field(default_factory=WindowCutter)
    round: int = 0

    def drop_pictures(self) -> None:
        """What was given so far is void, also what still waits for its batch."""
        self.pictures.clear()
        self.round += 1


class Embedder:
    """Gathers pictures and windows of sound, and encodes them when a batch is full.

    Call `flush` at the end: until then the takes are not complete.
    """

    def __init__(self, encoders: Encoders, *, hidden: bool) -> None:
        self.encoders = encoders
        self.hidden = hidden
        self.sizes = batch_sizes(encoders.device)
        self.busy = 0.0  # seconds inside the encoders
        self._pictures: deque[tuple[Take, int, Tensor]] = deque()
        self._waiting = 0
        self._windows: list[tuple[Take, NDArray[np.float32]]] = []
        self._launched: deque[torch.cuda.Event] = deque()

    def add_pictures(self, take: Take, crops: Tensor) -> None:
        """Add pictures `(picture, 3, side, side)` of a video."""
        self._pictures.append((take, take.round, crops))
        self._waiting += len(crops)
        while self._waiting >= self.sizes.pictures:
            self._encode_pictures(self.sizes.pictures)

    def add_sound(self, take: Take, samples: NDArray[np.float32]) -> None:
        """Add the next samples of a video's sound."""
        if self.encoders.sound is not None:
            for window in take.cutter.feed(samples):
                self._add_window(take, window)

    def end_sound(self, take: Take) -> None:
        """The sound of a video has been given to its end."""
        if self.encoders.sound is not None:
            for window in take.cutter.finish():
                self._add_window(take, window)

    def flush(self) -> None:
        """Encode what has not filled a batch."""
        if self._waiting:
            self._encode_pictures(self._waiting)
        self._encode_windows()

    def _add_window(self, take: Take, window: NDArray[np.float32]) -> None:
        if len(window) != WINDOW:  # a network cannot take sounds of two lengths at once
            self._listen([(take, window)])
            return
        self._windows.append((take, window))
        if len(self._windows) == self.sizes.windows:
            self._encode_windows()

    def _encode_windows(self) -> None:
        waiting, self._windows = self._windows, []
        if waiting:
            self._listen(waiting)

    def _listen(self, waiting: list[tuple[Take, NDArray[np.float32]]]) -> None:
        assert self.encoders.sound is not None
        with self._encoding("float32"):  # a spectrogram would suffer from less
            batch = torch.from_numpy(np.stack([window for _, window in waiting]))
            embedded = self.encoders.sound.encode_windows(self._to_device(batch))
        for (take, _), row in zip(waiting, embedded.float(), strict=True):
            take.windows.append(row)

    def _encode_pictures(self, number: int) -> None:
        parts = list(self._first_pictures(number))
        with self._encoding(self.encoders.precision):
            batch = torch.cat([crops for _, _, crops in parts])
            rows = self.encoders.clip.encode_frames(self._to_device(batch), hidden=self.hidden)
        of_parts = rows.float().split([len(crops) for _, _, crops in parts])
        for (take, its_round, _), own in zip(parts, of_parts, strict=True):
            if take.round == its_round:
                take.pictures.append(own)

    def _first_pictures(self, number: int) -> Iterator[tuple[Take, int, Tensor]]:
        """Take so many pictures from the front, and leave the rest of the last video's behind."""
        self._waiting -= number
        while number:
            take, its_round, crops = self._pictures.popleft()
            if len(crops) > number:
                self._pictures.appendleft((take, its_round, crops[number:]))
                crops = crops[:number]
            number -= len(crops)
            yield take, its_round, crops

    def _to_device(self, batch: Tensor) -> Tensor:
        return to_device(batch, self.encoders.device)

    @contextmanager
    def _encoding(self, precision: str) -> Iterator[None]:
        began = time.monotonic()
        with computing(self.encoders.device, precision):
            yield
        self._keep_pace()
        self.busy += time.monotonic() - began

    def _keep_pace(self) -> None:
        """A GPU works on its own: let it be a few batches behind, not a whole film."""
        if self.encoders.device.type != "cuda":
            return
        self._launched.append(torch.cuda.Event())
        self._launched[-1].record()
        if len(self._launched) > BATCHES_BEHIND:
            self._launched.popleft().synchronize()


def batch_sizes(device: torch.device) -> BatchSizes:
    """What fills a device."""
    return ON_GPU if device.type == "cuda" else ON_CPU


def to_device(batch: Tensor, device: torch.device) -> Tensor:
    """A batch where it is encoded; the copy to a GPU goes on while this process does other work."""
    if device.type != "cuda":
        return batch
    return batch.pin_memory().to(device, non_blocking=True)


@contextmanager
def computing(device: torch.device, precision: str) -> Iterator[None]:
    """No gradients, and the precision that was asked for."""
    dtype = AUTOCAST.get(precision)
    cast: AbstractContextManager[object] = (
        nullcontext() if dtype is None else torch.autocast(device.type, dtype)
    )
    with torch.inference_mode(), cast:
        yield
