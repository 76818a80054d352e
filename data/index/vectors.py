"""Vectors by number, and the nearest of them: all that knows faiss.

Few vectors are compared one by one, as float16. Many are put into lists by the nearest of some
centres, a byte a number, and a question looks into those lists whose centres are nearest. How many
it looks into is found by trying: as few as find what a look into all lists finds.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from vidret.data.errors import DamagedError

FLAT, LISTS = "flat", "lists"
LISTS_FROM = 20_000  # vectors
PER_CENTRE = 40  # vectors that each centre is found from, on average
ROUNDS = 10  # of k-means
MARGIN = 0.2  # of the range of each number, to either side, for vectors that come later
TRIED_AT = 100  # the nearest, of which so many as GOOD must be found
GOOD = 0.995
OVER_LISTS = 1  # faiss's way to let one question keep several cores busy
NOTHING = -1  # the key of a place that nothing was found for

Keys = NDArray[np.int64]
Block = tuple[Keys, NDArray[np.float32]]


@dataclass(frozen=True)
class VectorIndex:
    """Vectors with a key each; several may share one, and are then removed together.

    Args:
        made: what faiss made.
        kind: `flat` or `lists`.
    """

    made: Any
    kind: str

    def __len__(self) -> int:
        return int(self.made.ntotal)

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self.made.d)

    @property
    def looks_into(self) -> str:
        """How many lists a question looks into, of how many."""
        return "all" if self.kind == FLAT else f"{self.made.nprobe} of {self.made.nlist} lists"

    def add(self, blocks: Iterable[Block]) -> None:
        """Take in vectors."""
        for keys, vectors in blocks:
            self.made.add_with_ids(np.ascontiguousarray(vectors, np.float32), keys)

    def remove(self, keys: Keys) -> int:
        """Forget all vectors of some keys, and say how many there were."""
        return int(self.made.remove_ids(np.ascontiguousarray(keys))) if len(keys) else 0

    def nearest(
        self,
        queries: Float[np.ndarray, "text dim"],
        number: int,
        *,
        allowed: Keys | None = None,
        everywhere: bool = False,
    ) -> tuple[Int[np.ndarray, "text place"], Float[np.ndarray, "text place"]]:
        """The keys of the vectors with the largest products, and these; -1 where there are fewer.

        Args:
            queries: a row a question.
            number: how many to find for each.
            allowed: the keys to choose from; None lets all in.
            everywhere: look into every list.
        """
        number = max(1, min(number, len(self) or 1))
        parameters = self._parameters(allowed, everywhere=everywhere)
        wanted = np.ascontiguousarray(queries, np.float32)
        products, keys = self.made.search(wanted, number, params=parameters)
        return keys, products

    def save(self, path: Path) -> None:
        """Write it to a file."""
        _faiss().write_index(self.made, str(path))

    def tune(self, queries: Float[np.ndarray, "text dim"]) -> float:
        """Look into as few lists as find what all would; return the share that is found.

        Args:
            queries: such as people will ask.
        """
        if self.kind == FLAT or not len(queries):
            return 1.0
        truth, _ = self.nearest(queries, TRIED_AT, everywhere=True)
        few, enough = 0, int(self.made.nlist)
        while enough - few > max(1, few // 16):
            between = min(2 * few, (few + enough) // 2) if few else min(1 + few, enough)
            if self._found(queries, truth, between) >= GOOD:
                enough = between
            else:
                few = between
        return self._found(queries, truth, enough)

    def _found(
        self,
        queries: Float[np.ndarray, "text dim"],
        truth: Int[np.ndarray, "text place"],
        probes: int,
    ) -> float:
        """The share of the nearest that a look into so many lists finds; it stays so from here."""
        self.made.nprobe = probes
        return overlap(truth, self.nearest(queries, TRIED_AT)[0])

    def _parameters(self, allowed: Keys | None, *, everywhere: bool) -> Any:  # noqa: ANN401 - faiss has no types
        library = _faiss()
        chosen = None if allowed is None else library.IDSelectorBatch(np.ascontiguousarray(allowed))
        if self.kind == FLAT:
            return library.SearchParameters(sel=chosen) if chosen is not None else None
        probes = self.made.nlist if everywhere else self.made.nprobe
        return library.SearchParametersIVF(sel=chosen, nprobe=probes)


def build_vectors(
    sample: Float[np.ndarray, "row dim"], blocks: Iterable[Block], *, total: int
) -> VectorIndex:
    """Make an index.

    Args:
        sample: some of the vectors, from which the centres are found; `sample_size` says how many.
        blocks: keys and vectors.
        total: how many vectors there will be.
    """
    index = _empty(sample, total=total)
    index.add(blocks)
    return index


def sample_size(total: int) -> int:
    """How many vectors `build_vectors` wants to see before."""
    return min(total, PER_CENTRE * centres(total)) if total >= LISTS_FROM else min(total, 1)


def centres(total: int) -> int:
    """How many lists so many vectors are put into: the more, the fewer vectors a look compares."""
    return round(4 * total**0.5)


def load_vectors(path: Path, kind: str, *, mapped: bool = False) -> VectorIndex:
    """Read what `save` wrote.

    Args:
        path: the file.
        kind: as it was when it was saved.
        mapped: leave the lists on the disk; such an index can be asked, not changed.

    Raises:
        DamagedError: the file is not there, or is no such index.
    """
    library = _faiss()
    flags = (
        library.IO_FLAG_MMAP_IFC if mapped and kind == LISTS else 0
    )  # takes half the time of _MMAP
    try:
        made = library.read_index(str(path), flags)
    except RuntimeError as error:
        reason = (str(error).strip() or "no reason given").splitlines()[-1]
        raise DamagedError(
            f"{path} cannot be read ({reason}): make the index again with `vidret index build`"
        ) from error
    if kind == LISTS:
        made.parallel_mode = OVER_LISTS
    return VectorIndex(made=made, kind=kind)


def overlap(truth: Int[np.ndarray, "text place"], found: Int[np.ndarray, "text other"]) -> float:
    """The share of the keys of each row that the same row of another table has, too."""
    shares = [
        len(np.intersect1d(right[right != NOTHING], got)) / max(1, int((right != NOTHING).sum()))
        for right, got in zip(truth, found, strict=True)
    ]
    return float(np.mean(shares)) if shares else 1.0


def _empty(sample: Float[np.ndarray, "row dim"], *, total: int) -> VectorIndex:
    library = _faiss()
    dim, by_residual = sample.shape[1], False
    if total < LISTS_FROM:
        half = library.ScalarQuantizer.QT_fp16
        inner = library.IndexScalarQuantizer(dim, half, library.METRIC_INNER_PRODUCT)
        return VectorIndex(made=library.IndexIDMap(inner), kind=FLAT)
    index = library.IndexIVFScalarQuantizer(
        library.IndexFlatIP(dim),
        dim,
        centres(total),
        library.ScalarQuantizer.QT_8bit,
        library.METRIC_INNER_PRODUCT,
        by_residual,
    )
    index.cp.niter, index.cp.max_points_per_centroid = ROUNDS, PER_CENTRE
    index.cp.min_points_per_centroid = 1
    index.sq.rangestat_arg = MARGIN
    index.train(np.ascontiguousarray(sample, np.float32))
    return VectorIndex(made=index, kind=LISTS)


def _faiss() -> Any:  # noqa: ANN401 - its types leave out half of its options
    """The library, which takes a while to import."""
    import faiss

    return faiss
