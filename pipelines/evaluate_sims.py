"""`vidret evaluate --sims`: a matrix in a file and a protocol in, ranks out; no torch, no cache."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidret.data.errors import ConfigError, DamagedError, MissingError, VidretError
from vidret.data.printable import printable
from vidret.heads.protocols import ProtocolScores, find_protocol, score_protocol
from vidret.heads.reranking.options import needing_a_bank
from vidret.heads.reranking.pairs import Pairs, pairs_of
from vidret.heads.reranking.ranking import NO_BANKS, Banks
from vidret.heads.similarities import require_fine, size_of
from vidret.heads.streaming import DEFAULT_MEMORY
from vidret.pipelines.config.settings import EvaluateConfig
from vidret.pipelines.reranking import Reranked, rerank_all
from vidret.pipelines.thresholds import require_measured, shortfall

MAGIC = b"\x93NUMPY"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimsReport:
    """The numbers of a matrix, and which files they are of."""

    sims: Path
    owners: Path | None
    scores: ProtocolScores
    threshold: tuple[str, float] | None
    reranked: Reranked | None = None

    @property
    def chance(self) -> float:
        """R@1 in percent of guessing, text to video."""
        return 100 / self.scores.videos

    @property
    def verdict(self) -> VidretError | None:
        """A recall stayed below what was asked for."""
        name = printable(self.sims.name)
        return shortfall(self.threshold, self.scores.t2v, of=name, on=self.scores.protocol)

    def as_json(self) -> dict[str, Any]:
        """The report for machines; `t2v` and `v2t` hold the plain numbers."""
        files = {"sims": str(self.sims), "owners": str(self.owners) if self.owners else None}
        reranked = None if self.reranked is None else asdict(self.reranked)
        return files | asdict(self.scores) | {"chance": self.chance, "reranked": reranked}


def run_evaluate_sims(config: EvaluateConfig) -> SimsReport:
    """Score a matrix that a file holds; it is mapped, and read a block at a time."""
    assert config.sims is not None
    assert config.protocol is not None
    require_measured(config.threshold)
    protocol = find_protocol(config.protocol)
    similarity = open_matrix(config.sims)
    owners = None if config.owners is None else open_owners(config.owners)
    banks = _open_banks(config)
    scores = score_protocol(
        similarity,
        owners,
        protocol.name,
        config.competition,
        memory=config.memory or DEFAULT_MEMORY,
    )
    return SimsReport(
        sims=config.sims,
        owners=config.owners,
        scores=scores,
        threshold=config.threshold,
        reranked=None
        if config.rerank is None
        else rerank_all(
            dict.fromkeys(config.rerank, config.rerank_options),
            _pairs(similarity, config.sims, config),
            np.arange(len(similarity)) if owners is None else owners,
            banks=banks,
            source=_names_of(config.bank, config.bank_videos),
            v2t_by=scores.v2t_by,
        ),
    )


def open_matrix(path: Path) -> NDArray[np.floating]:
    """The matrix of a file of `numpy.save`, mapped and not read.

    Raises:
        ConfigError: the file holds something else.
        DamagedError: the file ends too early.
        MissingError: there is no such file.
    """
    matrix = _map(path)
    require_fine(matrix.dtype, f"the similarities of {printable(path)}")
    size_of(matrix)
    return matrix


def open_owners(path: Path) -> NDArray[np.integer]:
    """The column of each text's own video, from a file of `numpy.save`.

    Raises:
        ConfigError: the file holds something else.
        DamagedError: the file ends too early.
        MissingError: there is no such file.
    """
    owners = _map(path)
    if owners.ndim != 1 or owners.dtype.kind not in "iu":
        raise ConfigError(
            f"{printable(path)} holds {owners.dtype} of shape {owners.shape}: owners are one whole "
            "number a text, the column of its video"
        )
    return np.array(owners)


def _open_banks(config: EvaluateConfig) -> Banks:
    """The banks of the files that were given, as far as a re-ranker looks at them."""
    if not needing_a_bank(config.rerank or ()):
        return NO_BANKS
    texts, videos = config.bank, config.bank_videos
    return Banks(
        texts=None if texts is None else _pairs(open_matrix(texts), texts, config),
        videos=None if videos is None else _pairs(open_matrix(videos), videos, config),
    )


def _pairs(matrix: NDArray[np.floating], path: Path, config: EvaluateConfig) -> Pairs:
    return pairs_of(matrix, what=printable(path), memory=config.memory or DEFAULT_MEMORY)


def _names_of(*paths: Path | None) -> str:
    return " and ".join(printable(path.name) for path in paths if path is not None)


def _map(path: Path) -> NDArray[Any]:
    """An array as it lies in a file; objects stay unread, since reading them could run anything."""
    _require_npy(path)
    try:
        with np.errstate(over="ignore"):  # of a header that claims more than there can be
            return np.lib.format.open_memmap(path, mode="r").view(np.ndarray)
    except (ValueError, OverflowError, OSError) as error:
        if "Python objects" in str(error):
            raise ConfigError(
                f"{printable(path)} holds Python objects, which could run code when they are read: "
                "save plain numbers with numpy.save"
            ) from error
        raise DamagedError(
            f"{printable(path)} cannot be read ({error}): save it again with numpy.save"
        ) from error


def _require_npy(path: Path) -> None:
    try:
        with path.open("rb") as file:
            begins_with = file.read(len(MAGIC))
    except FileNotFoundError as error:
        raise MissingError(
            f"there is no file {printable(path)}: give the path of a .npy"
        ) from error
    except OSError as error:
        raise MissingError(
            f"{printable(path)} cannot be opened ({error.strerror}): give the path of a .npy"
        ) from error
    if begins_with != MAGIC:
        raise ConfigError(
            f"{printable(path)} is no .npy file: write the array with numpy.save, alone and not as "
            ".npz"
        )
