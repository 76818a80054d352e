"""Decoding runs ahead of the encoder: several videos at once, handed over in their order.

Each lane is a thread with a decoding process of its own. What a lane has ready waits in memory, up
to `BUFFER` bytes in all lanes together; the video whose turn it is may always hand over its next
piece, so a full buffer stops no one for good.
"""

import atexit
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vidret.data.errors import DecodeError, ItemError, MissingError, VidretError
from vidret.data.printable import printable
from vidret.data.samples import Video, VideoFacts
from vidret.extract.decoding.events import Again, Ended, Event, Opened, Picture, SoundPart
from vidret.extract.decoding.messages import Content, Refused
from vidret.extract.decoding.process import DecodingProcess, ProcessDiedError
from vidret.extract.decoding.sampling import Sampling

BUFFER = 256 << 20
VIDEOS_AHEAD = 4  # of each lane
TRIES = 2

Prepare = Callable[[NDArray[np.uint8]], Tensor]


class QuarantineError(ItemError):
    """A file took its decoder down, twice."""

    stage = "quarantine"


@dataclass(frozen=True, slots=True)
class Start:
    """A video begins; whatever came of it before is void."""


@dataclass(frozen=True, slots=True)
class Crops:
    """The next pictures of a video as the model takes them, uint8 `(picture, 3, side, side)`."""

    values: Tensor


@dataclass(frozen=True, slots=True)
class Done:
    """A video has ended well."""

    facts: VideoFacts
    content: Content


@dataclass(frozen=True, slots=True)
class Failed:
    """A video could not be decoded."""

    error: ItemError


Piece = Start | Crops | SoundPart | Again | Done | Failed
Source = Callable[[Video, DecodingProcess], Iterator[Piece]]


@dataclass(slots=True)
class _Order:
    """What one video waits for: its pieces, in order, and the error that ends everything."""

    pieces: deque[Piece] = field(default_factory=deque)
    error: BaseException | None = None


class Lanes:
    """Some decoding processes, kept from one shard to the next."""

    def __init__(self, number: int) -> None:
        self.processes = [DecodingProcess() for _ in range(number)]

    def run(
        self, videos: Sequence[Video], source: Source
    ) -> Iterator[tuple[Video, Iterator[Piece]]]:
        """Every video with its pieces; take all pieces of one before you ask for the next."""
        state = _State(len(videos), ahead=VIDEOS_AHEAD * len(self.processes))
        threads = [
            threading.Thread(target=_work, args=(state, videos, source, process), daemon=True)
            for process in self.processes[: len(videos)]
        ]
        for thread in threads:
            thread.start()
        try:
            for position, video in enumerate(videos):
                yield video, state.take(position)
        finally:
            state.stop()
            for thread in threads:
                thread.join()

    def close(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.close()


class _State:
    """What the lanes and their reader share."""

    def __init__(self, total: int, *, ahead: int) -> None:
        self.total = total
        self.ahead = ahead
        self.turn = 0
        self.held = 0
        self.stopped = False
        self.orders: dict[int, _Order] = {}
        self.numbers = count()
        self.changed = threading.Condition()

    def next_position(self) -> int | None:
        """The next video for a lane, once it is not too far ahead; None when there is none."""
        with self.changed:
            position = next(self.numbers)
            self.changed.wait_for(lambda: self.stopped or position < self.turn + self.ahead)
            if self.stopped or position >= self.total:
                return None
            self.orders[position] = _Order()
            return position

    def put(self, position: int, piece: Piece) -> bool:
        """Hand over a piece once there is room; False says that nobody wants it any more."""
        size = _bytes_of(piece)
        with self.changed:
            self.changed.wait_for(lambda: self.stopped or self._has_room(position, size))
            self.held += size
            self.orders[position].pieces.append(piece)
            self.changed.notify_all()
            return not self.stopped

    def fail(self, position: int, error: BaseException) -> None:
        """Hand over an error that ends the task."""
        with self.changed:
            self.orders[position].error = error
            self.changed.notify_all()

    def take(self, position: int) -> Iterator[Piece]:
        """The pieces of one video, as they come."""
        while True:
            with self.changed:
                self.turn = position
                self.changed.notify_all()
                self.changed.wait_for(lambda: self._is_ready(position))
                order = self.orders[position]
                if not order.pieces:
                    assert order.error is not None
                    raise order.error
                piece = order.pieces.popleft()
                self.held -= _bytes_of(piece)
                if isinstance(piece, Done | Failed):
                    del self.orders[position]
                    self.turn = position + 1
                self.changed.notify_all()
            yield piece
            if isinstance(piece, Done | Failed):
                return

    def stop(self) -> None:
        """Let the lanes go home."""
        with self.changed:
            self.stopped = True
            self.changed.notify_all()

    def _has_room(self, position: int, size: int) -> bool:
        """The video whose turn it is may have one piece waiting, however full the buffer is."""
        is_missed = position == self.turn and not self.orders[position].pieces
        return is_missed or self.held + size <= BUFFER

    def _is_ready(self, position: int) -> bool:
        order = self.orders.get(position)
        return order is not None and (bool(order.pieces) or order.error is not None)


@contextmanager
def borrowed_lanes(number: int) -> Iterator[Lanes]:
    """Lanes for one task; its process keeps them for the next one.

    Two tasks in one process never share lanes: each could wait for the other.
    """
    key = max(1, number)
    try:
        lanes = _idle.setdefault(key, []).pop()
    except IndexError:
        lanes = Lanes(key)
    try:
        yield lanes
    finally:
        _idle[key].append(lanes)


def decode_in(
    process: DecodingProcess,
    video: Video,
    prepare: Prepare,
    *,
    sampling: Sampling,
    decoder: str,
    timeout: float,
) -> Iterator[Piece]:
    """The pieces of a video from its file.

    A decoder that dies over it may have been unlucky, so a new one tries once more. After that the
    file is left alone.

    Raises:
        MissingError: the decoder itself is not there.
    """
    deaths: list[str] = []
    while len(deaths) < TRIES:
        yield Start()
        told = process.decode(video.path, sampling=sampling, decoder=decoder, timeout=timeout)
        try:
            yield from _pieces(told, prepare)
        except ProcessDiedError as death:
            deaths.append(str(death))
        else:
            return
    yield Failed(
        QuarantineError(
            f"{printable(video.path)} took its decoder down {TRIES} times "
            f"({'; '.join(dict.fromkeys(deaths))}): see whether it plays elsewhere, then copy, "
            "download or convert it again"
        )
    )


def _pieces(told: Iterator[Content | Event | Refused], prepare: Prepare) -> Iterator[Piece]:
    content = Content(size=0, hash="")
    for message in told:
        match message:
            case Content():
                content = message
            case Opened():
                pass
            case Picture(image):
                yield Crops(prepare(image)[None])
            case SoundPart() | Again():
                yield message
            case Ended(facts):
                yield Done(facts, content)
            case Refused(reason, missing):
                if missing:
                    raise MissingError(reason)
                yield Failed(DecodeError(reason))


def _work(state: _State, videos: Sequence[Video], source: Source, process: DecodingProcess) -> None:
    """One lane: a video after the other, until there are no more."""
    while (position := state.next_position()) is not None:
        pieces = source(videos[position], process)
        try:
            for piece in pieces:
                if not state.put(position, piece):
                    return
        except BaseException as error:  # noqa: BLE001 - it is raised where the pieces are taken
            state.fail(position, error)
            return
        finally:
            with suppress(VidretError):
                pieces.close()  # type: ignore[attr-defined]  # sources are generators


def _bytes_of(piece: Piece) -> int:
    match piece:
        case Crops(values):
            return values.nbytes
        case SoundPart(samples):
            return samples.nbytes
    return 0


_idle: dict[int, list[Lanes]] = {}


@atexit.register
def _close_idle() -> None:
    for waiting in _idle.values():
        for lanes in waiting:
            lanes.close()
