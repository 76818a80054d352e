"""How a decoding process and the one that started it talk: whole messages through a pipe.

A message is a pickled head and, for pictures and sound, the bytes of an array behind it. Both ends
are this program, so a pickle is as good as its sender.
"""

import os
import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidret.extract.decoding.sampling import Sampling

LENGTHS = struct.Struct("<QQ")  # of the head, and of the bytes behind it

Read = Callable[[memoryview], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One file to decode; its path as bytes, since a name need not be UTF-8."""

    path: bytes
    sampling: Sampling
    decoder: str
    timeout: float
    only_headers: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """What tells a file when its name stays the same."""

    size: int
    hash: str


@dataclass(frozen=True, slots=True)
class Looked:
    """What the headers of a file say: it holds a video stream, and perhaps sound."""

    seconds: float
    has_sound: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The file could not be decoded, in one sentence; `missing` says that it is not its fault."""

    reason: str
    missing: bool = False


@dataclass(frozen=True, slots=True)
class ArrayHead:
    """An array follows; `kind` is the event that carries it."""

    kind: type
    dtype: str
    shape: tuple[int, ...]


def write_message(handle: int, head: object, values: NDArray[Any] | None = None) -> None:
    """Write one message to a file descriptor."""
    pickled = pickle.dumps(head, pickle.HIGHEST_PROTOCOL)
    body = memoryview(b"") if values is None else values.reshape(-1).view(np.uint8).data
    _write_all(handle, memoryview(LENGTHS.pack(len(pickled), len(body)) + pickled))
    _write_all(handle, body)


def read_message(read: Read) -> Any:  # noqa: ANN401 - whatever was written
    """Read one message; `read` fills a buffer, or raises.

    An array comes as the event that its head names.
    """
    lengths = bytearray(LENGTHS.size)
    read(memoryview(lengths))
    of_head, of_body = LENGTHS.unpack(lengths)
    pickled = bytearray(of_head)
    read(memoryview(pickled))
    head = pickle.loads(pickled)
    if not isinstance(head, ArrayHead):
        return head
    values = np.empty(head.shape, head.dtype)
    if of_body:
        read(values.reshape(-1).view(np.uint8).data)
    return head.kind(values)


def _write_all(handle: int, view: memoryview) -> None:
    while view:
        view = view[os.write(handle, view) :]
