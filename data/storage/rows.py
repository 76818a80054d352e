"""Rows of an array that lies in many shards, read or mapped when they are asked for."""

import math
import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vidret.data.errors import DamagedError
from vidret.data.storage.hdf5 import ArrayPlace, how_to_repair, open_shard

HELD_AT_ONCE = 4096  # rows

View = Literal["ram", "mapped", "lazy"]


class LazyArray:
    """Opens the shard for each read: nothing is held, so forks and spawned readers are safe."""

    def __init__(self, place: ArrayPlace) -> None:
        self.place = place

    def expect(self, first: int, stop: int) -> None:
        """Nothing can be done before."""

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """What slices are read from."""
        with open_shard(self.place.path) as shard:
            yield shard[self.place.name]


class MappedArray:
    """Maps the array's bytes once, at the first read in each process."""

    def __init__(self, place: ArrayPlace) -> None:
        self.place = place

    @cached_property
    def _bytes(self) -> mmap.mmap:
        try:
            with self.place.path.open("rb") as file:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise self._no_map(error) from error

    @cached_property
    def _values(self) -> NDArray[Any]:
        shape = self.place.shape
        try:
            flat = np.frombuffer(
                self._bytes, self.place.dtype, math.prod(shape), self.place.offset or 0
            )
        except ValueError as error:
            raise self._no_map(error) from error
        return flat.reshape(shape)

    def __reduce__(self) -> tuple[Any, ...]:
        return MappedArray, (self.place,)  # a pickled map would be a copy of all its bytes

    def expect(self, first: int, stop: int) -> None:
        """Have the system fetch some rows; it fetches many at once sooner than one by one."""
        size = self._values.strides[0]
        begin = (self.place.offset or 0) + first * size
        page = begin - begin % mmap.PAGESIZE
        self._bytes.madvise(mmap.MADV_WILLNEED, page, begin + (stop - first) * size - page)

    @contextmanager
    def opened(self) -> Iterator[NDArray[Any]]:
        """What slices are copied from."""
        yield self._values

    def _no_map(self, error: Exception) -> DamagedError:
        path = self.place.path
        return DamagedError(f"{path} cannot be mapped ({error}): {how_to_repair(path.parent)}")


class ShardRows:
    """Chosen rows of many shards as one array; narrower shards read as if padded with zeros.

    Index it as an array along its first axis; `numpy.asarray` reads it whole.
    """

    def __init__(
        self,
        places: Sequence[ArrayPlace],
        rows: NDArray[np.int64],
        item_shape: tuple[int, ...],
        view: View,
    ) -> None:
        self.rows = rows
        self.shape = (len(rows), *item_shape)
        self.dtype = np.dtype(np.float16)
        self._held: NDArray[Any] | None = None
        self._arrays = [_stored(place, mapped=view == "mapped") for place in places]
        self._starts = np.cumsum([0, *(place.shape[0] for place in places)], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def __array__(
        self, dtype: np.dtype[Any] | None = None, *, copy: bool | None = None
    ) -> NDArray[Any]:
        if copy is False:
            raise ValueError("rows in files cannot be had without a copy")
        return self[:] if dtype is None else self[:].astype(dtype)

    def __getitem__(self, key: int | slice | NDArray[Any] | Sequence[int]) -> NDArray[Any]:
        if self._held is not None:
            return self._held[key]
        wanted = self.rows[key]
        found = self._read(np.atleast_1d(wanted))
        return found if np.ndim(wanted) else found[0]

    @property
    def nbytes(self) -> int:
        """What it would take in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def hold(self) -> None:
        """Read all of it into memory, and answer from there; it may be read from meanwhile."""
        held = np.empty(self.shape, self.dtype)
        for start in range(0, len(self), HELD_AT_ONCE):
            held[start : start + HELD_AT_ONCE] = self[start : start + HELD_AT_ONCE]
        self._held = held

    def _read(self, wanted: NDArray[np.int64]) -> NDArray[Any]:
        values = np.zeros((len(wanted), *self.shape[1:]), self.dtype)
        if not values.size:  # no rows, or no columns, as of a sound that nobody encoded
            return values
        runs = self._runs(wanted)
        for number, first, stop, _ in runs:
            self._arrays[number].expect(first, stop)
        for number, some in groupby(runs, key=itemgetter(0)):
            corner = tuple(slice(size) for size in self._arrays[number].place.shape[1:])
            with self._arrays[number].opened() as stored:
                for _, first, stop, place in some:
                    values[(slice(place, place + stop - first), *corner)] = stored[first:stop]
        return values

    def _runs(self, wanted: NDArray[np.int64]) -> list[tuple[int, int, int, int]]:
        """Neighbours among rows: their array, the first in it, behind the last, where they go."""
        owner = np.searchsorted(self._starts, wanted, side="right") - 1
        first = wanted - self._starts[owner]
        new = (np.diff(wanted, prepend=-2) != 1) | (np.diff(owner, prepend=-1) != 0)
        begins = np.flatnonzero(new)
        stops = first[begins] + np.diff(begins, append=len(wanted))
        runs = zip(
            owner[begins].tolist(),
            first[begins].tolist(),
            stops.tolist(),
            begins.tolist(),
            strict=True,
        )
        return sorted(runs)


def chosen_rows(
    places: Sequence[ArrayPlace],
    rows: NDArray[np.int64],
    item_shape: tuple[int, ...],
    view: View,
) -> NDArray[Any] | ShardRows:
    """Some rows of the shards put end to end: read now (`ram`), or left where they are.

    Args:
        places: one array of each shard.
        rows: counted over all of them.
        item_shape: shape of one row; the rows of no shard are larger.
        view: `ram`, `mapped` or `lazy`.
    """
    stored = ShardRows(places, rows, item_shape, view)
    return np.asarray(stored) if view == "ram" else stored


def ragged_rows(
    offsets: NDArray[np.int64], items: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of some ragged items, item after item, and the offsets of these items."""
    lengths = np.diff(offsets)[items]
    new_offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    shift = offsets[:-1][items] - new_offsets[:-1]
    return np.arange(new_offsets[-1]) + np.repeat(shift, lengths), new_offsets


def _stored(place: ArrayPlace, *, mapped: bool) -> LazyArray | MappedArray:
    can_be_mapped = place.offset is not None and 0 not in place.shape
    return MappedArray(place) if mapped and can_be_mapped else LazyArray(place)
