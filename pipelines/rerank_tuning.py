"""`--rerank-tune`: one setting of each re-ranker, picked on a split that is not reported."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

from vidret.heads.metrics import summarize
from vidret.heads.reranking.options import RerankOptions
from vidret.heads.reranking.pairs import Pairs
from vidret.heads.reranking.ranking import Banks, rerank
from vidret.heads.similarities import Owners

TRIED: dict[str, tuple[str, tuple[float, ...]]] = {
    "qb-norm": ("qb_beta", (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)),
    "nnn": ("nnn_weight", (0.1, 0.25, 0.5, 0.75, 1.0)),
    "sinkhorn-bank": ("sinkhorn_temperature", (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)),
    "dsl": ("dsl_scale", (1.0, 5.0, 10.0, 20.0, 50.0, 100.0)),
    "sinkhorn-full": ("sinkhorn_temperature", (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)),
}


def pick_settings(
    names: Sequence[str], pairs: Pairs, owners: Owners, *, banks: Banks, options: RerankOptions
) -> dict[str, RerankOptions]:
    """The settings of each re-ranker that find the most, R@1 text to video.

    Where several find as many, the lower MnR decides, and then what comes first: the settings that
    were given come before all others.

    Args:
        names: of the re-rankers.
        pairs: the similarities of a split that is not reported.
        owners: the column of each of its texts' own video.
        banks: against that split; those of videos are not looked at.
        options: the settings that were given.
    """
    found = {}
    for name in names:
        setting, values = TRIED[name]
        given = asdict(options)
        tried = [options, *(RerankOptions(**given | {setting: value}) for value in values)]
        found[name] = max(tried, key=partial(_worth, name, pairs, owners, Banks(texts=banks.texts)))
    return found


def _worth(
    name: str, pairs: Pairs, owners: Owners, banks: Banks, options: RerankOptions
) -> tuple[float, float]:
    ranks = rerank(name, pairs, owners, banks=banks, options=options).t2v
    assert ranks is not None
    numbers = summarize(ranks)
    return numbers["R@1"], -numbers["MnR"]
