"""A re-ranker by name: similarities and banks in, ranks of both directions out."""

from collections.abc import Mapping
from dataclasses import dataclass

from vidret.data.errors import ConfigError, MismatchError
from vidret.data.words import counted
from vidret.heads.metrics import Competition, Ranks
from vidret.heads.reranking.correcting import Correct, corrected
from vidret.heads.reranking.dual_softmax import dual_softmax
from vidret.heads.reranking.nnn import nearest_neighbour_normalization
from vidret.heads.reranking.options import DEFAULT_RERANK, RerankOptions, find_reranker
from vidret.heads.reranking.pairs import Asked, Pairs, Way
from vidret.heads.reranking.qb_norm import qb_norm
from vidret.heads.reranking.sinkhorn import sinkhorn_bank, sinkhorn_full
from vidret.heads.similarities import Owners, require_as_many
from vidret.heads.streaming import BothRanks, ranks_in_blocks

SHARE_OF_RANKING = 3  # a block is held as it was, as it became, and while it is compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Banks:
    """What training knows, against what is searched now.

    Args:
        texts: other texts against the same videos, for text to video.
        videos: the same texts against other videos, for video to text.
    """

    texts: Pairs | None = None
    videos: Pairs | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankedRanks:
    """The ranks of both directions; None where the bank of one was not given."""

    t2v: Ranks | None
    v2t: Ranks | None


NO_BANKS = Banks()


def rerank(
    name: str,
    pairs: Pairs,
    owners: Owners,
    *,
    banks: Banks = NO_BANKS,
    options: RerankOptions = DEFAULT_RERANK,
    by: Competition = "group",
) -> RerankedRanks:
    """Rank similarities as a re-ranker corrects them, a block at a time.

    Args:
        name: one of `RERANKERS`.
        pairs: all texts and all videos that compete.
        owners: the column of each text's own video.
        banks: for the re-rankers that are tagged `train-bank`.
        options: their settings.
        by: whom a video's captions compete with, as in `video_to_text_ranks`.

    Raises:
        ConfigError: there is no such re-ranker, it needs a bank, or similarities are too coarse.
        DamagedError: a similarity is not finite.
        MismatchError: a bank has other videos or texts, or the owners do not fit.
    """
    require_as_many(len(owners), pairs.num_texts)
    corrections: Mapping[Way, Correct]
    if find_reranker(name).tag == "train-bank":
        asked = _with_banks(name, pairs, banks)
        corrections = {way: _by_bank(name, *both, options) for way, both in asked.items()}
    else:
        corrections = _by_all_queries(name, pairs, options)
    ranked = {
        way: _rank(Asked(pairs=pairs, way=way), correct, owners, by)
        for way, correct in corrections.items()
    }
    return RerankedRanks(
        t2v=ranked["t2v"].t2v if "t2v" in ranked else None,
        v2t=ranked["v2t"].v2t if "v2t" in ranked else None,
    )


def _rank(asked: Asked, correct: Correct, owners: Owners, by: Competition) -> BothRanks:
    pairs = asked.pairs
    return ranks_in_blocks(
        corrected(asked, correct),
        owners,
        pairs.num_videos,
        by=by,
        memory=pairs.memory // SHARE_OF_RANKING,
    )


def _with_banks(name: str, pairs: Pairs, banks: Banks) -> dict[Way, tuple[Asked, Asked]]:
    """What asks, and the bank that belongs to it, of each direction that has one."""
    asked: dict[Way, tuple[Asked, Asked]] = {}
    if banks.texts is not None:
        _require_alike("video", banks.texts.num_videos, pairs.num_videos, banks.texts.what)
        asked["t2v"] = Asked(pairs=pairs, way="t2v"), Asked(pairs=banks.texts, way="t2v")
    if banks.videos is not None:
        _require_alike("text", banks.videos.num_texts, pairs.num_texts, banks.videos.what)
        asked["v2t"] = Asked(pairs=pairs, way="v2t"), Asked(pairs=banks.videos, way="v2t")
    if not asked:
        raise ConfigError(
            f"{name} needs a bank of training queries: give texts of training against these "
            "videos, or these texts against videos of training"
        )
    return asked


def _require_alike(kind: str, in_bank: int, wanted: int, what: str) -> None:
    if in_bank != wanted:
        side = "columns" if kind == "video" else "rows"
        raise MismatchError(
            f"{what} has {counted(in_bank, kind)} in its {side}, and {counted(wanted, kind)} are "
            f"ranked: a bank holds the same {kind}s, in the same order"
        )


def _by_bank(name: str, asked: Asked, bank: Asked, options: RerankOptions) -> Correct:
    if name == "qb-norm":
        return qb_norm(asked, bank, beta=options.qb_beta, top=options.qb_top)
    if name == "nnn":
        return nearest_neighbour_normalization(
            bank, weight=options.nnn_weight, neighbours=options.nnn_neighbours
        )
    return sinkhorn_bank(
        bank,
        temperature=options.sinkhorn_temperature,
        iterations=options.sinkhorn_iterations,
    )


def _by_all_queries(name: str, pairs: Pairs, options: RerankOptions) -> Mapping[Way, Correct]:
    texts, videos = Asked(pairs=pairs, way="t2v"), Asked(pairs=pairs, way="v2t")
    if name == "dsl":
        return {
            "t2v": dual_softmax(texts, scale=options.dsl_scale),
            "v2t": dual_softmax(videos, scale=options.dsl_scale),
        }
    t2v, v2t = sinkhorn_full(
        texts,
        temperature=options.sinkhorn_temperature,
        iterations=options.sinkhorn_iterations,
    )
    return {"t2v": t2v, "v2t": v2t}
