"""Rows of an array that lies in many shards, read or mapped when they are asked for."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vidret.data.errors import DamagedError
from vidret.data.storage.hdf5 import ArrayPlace, how_to_repair, open_shard

View = Literal["ram", "mapped", "lazy"]


class LazyArray:
    """Opens the shard for each read: nothing is held, so forks and spawned readers are safe."""

    def __init__(self, place: ArrayPlace) -> None:
        self.place = place

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """A copy of some rows, one slice for each run of neighbours."""
        values = np.empty((len(rows), *self.place.shape[1:]), self.place.dtype)
        if not values.size:  # no rows, or no columns, as of a sound that nobody encoded
            return values
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        with open_shard(self.place.path) as shard:
            stored = shard[self.place.name]
            for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
                values[start:stop] = stored[rows[start] : rows[stop - 1] + 1]
        return values


class MappedArray:
    """Maps the array's bytes once, at the first read in each process."""

    def __init__(self, place: ArrayPlace) -> None:
        self.place = place

    @cached_property
    def _values(self) -> NDArray[Any]:
        path, shape = self.place.path, self.place.shape
        try:
            return np.memmap(path, self.place.dtype, "r", self.place.offset or 0, shape)
        except (OSError, ValueError) as error:
            message = f"{path} cannot be mapped ({error}): {how_to_repair(path.parent)}"
            raise DamagedError(message) from error

    def __reduce__(self) -> tuple[Any, ...]:
        return MappedArray, (self.place,)  # a pickled memmap would be a copy of all its bytes

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """A copy of some rows."""
        return np.asarray(self._values[rows])


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
        wanted = self.rows[key]
        found = self._read(np.atleast_1d(wanted))
        return found if np.ndim(wanted) else found[0]

    def _read(self, wanted: NDArray[np.int64]) -> NDArray[Any]:
        values = np.zeros((len(wanted), *self.shape[1:]), self.dtype)
        owner = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(owner):
            array, places = self._arrays[number], np.flatnonzero(owner == number)
            corner: tuple[Any, ...] = tuple(slice(size) for size in array.place.shape[1:])
            values[(places, *corner)] = array.read(wanted[places] - self._starts[number])
        return values


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
