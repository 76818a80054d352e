"""`--rerank`: a matrix and its banks in, rows for below the plain numbers out; no torch, no cache.

What is re-ranked never takes the place of a plain number: it has rows of its own, and each says
what it has looked at.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vidret.data.words import counted
from vidret.heads.metrics import Competition, Ranks, summarize
from vidret.heads.reranking.options import RerankOptions, Tag, find_reranker, needing_a_bank
from vidret.heads.reranking.pairs import Asked, Pairs, nearest
from vidret.heads.reranking.ranking import Banks, rerank
from vidret.heads.similarities import Owners

COSINES = 10.0  # a head adds up a few of them; similarities beyond are no cosines but logits


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankedScores:
    """The numbers of one re-ranker; a direction without a bank has none."""

    name: str
    tag: Tag
    settings: dict[str, float]
    t2v: dict[str, float] | None
    v2t: dict[str, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BankSize:
    """How much training a bank holds, and where that is from."""

    source: str
    captions: int | None
    videos: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reranked:
    """Every re-ranker that was asked for, in that order.

    Args:
        scores: a re-ranker's each.
        bank: None where no re-ranker looks at one.
        tuned_on: the split that picked settings; None where they are as given.
        notes: what else is to be known.
    """

    scores: tuple[RerankedScores, ...]
    bank: BankSize | None
    tuned_on: str | None
    notes: tuple[str, ...]


def rerank_all(
    options: Mapping[str, RerankOptions],
    pairs: Pairs,
    owners: Owners,
    *,
    banks: Banks,
    source: str,
    v2t_by: Competition,
    tuned_on: str | None = None,
) -> Reranked:
    """Rank by one re-ranker after the other.

    Args:
        options: the re-rankers by name, each with its settings.
        pairs: what is ranked.
        owners: the column of each text's own video.
        banks: what training knows; empty where no re-ranker looks at it.
        source: where the banks are from.
        v2t_by: whom a video's captions compete with.
        tuned_on: the split that picked the settings.
    """
    return Reranked(
        scores=tuple(
            _scores(name, its, pairs, owners, banks, v2t_by) for name, its in options.items()
        ),
        bank=_size(banks, source) if needing_a_bank(list(options)) else None,
        tuned_on=tuned_on,
        notes=tuple(notes_on(options, pairs, banks)),
    )


def _scores(
    name: str,
    options: RerankOptions,
    pairs: Pairs,
    owners: Owners,
    banks: Banks,
    v2t_by: Competition,
) -> RerankedScores:
    ranks = rerank(name, pairs, owners, banks=banks, options=options, by=v2t_by)
    return RerankedScores(
        name=name,
        tag=find_reranker(name).tag,
        settings=options.of(find_reranker(name)),
        t2v=_numbers(ranks.t2v),
        v2t=_numbers(ranks.v2t),
    )


def _numbers(ranks: Ranks | None) -> dict[str, float] | None:
    return None if ranks is None else summarize(ranks)


def _size(banks: Banks, source: str) -> BankSize:
    return BankSize(
        source=source,
        captions=None if banks.texts is None else banks.texts.num_texts,
        videos=None if banks.videos is None else banks.videos.num_videos,
    )


def notes_on(options: Mapping[str, RerankOptions], pairs: Pairs, banks: Banks) -> Iterator[str]:
    """What makes these numbers other than the settings say, or than one would expect."""
    for name in options:
        if find_reranker(name).reconstructed:
            yield f"{name} is a reconstruction: the formula of its paper was not at hand"
    captions = None if banks.texts is None else banks.texts.num_texts
    videos = None if banks.videos is None else banks.videos.num_videos
    for count, what in ((captions, "caption"), (videos, "video")):
        if "nnn" in options and count is not None and count < options["nnn"].nnn_neighbours:
            yield (
                f"nnn takes the mean of all {counted(count, what)} of the bank, which are fewer "
                f"than {options['nnn'].nnn_neighbours}"
            )
    highest = float(nearest(Asked(pairs=pairs, way="t2v"), 1).max())
    if highest > COSINES:
        yield (
            f"similarities reach {highest:,.1f}, and the settings of re-rankers are published for "
            "cosines: divide them by their scale, or give settings for it"
        )
