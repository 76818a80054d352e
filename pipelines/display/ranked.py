"""Ranks as the table that people read; torch stays out of it."""

from collections.abc import Mapping
from dataclasses import asdict

from vidret.data.printable import printable
from vidret.data.words import counted
from vidret.heads.metrics import Competition
from vidret.heads.reranking.options import DEFAULT_RERANK
from vidret.pipelines.display.tables import Rendered, Table
from vidret.pipelines.evaluate_sims import SimsReport
from vidret.pipelines.reranking import BankSize, Reranked, RerankedScores

LOOKS_AT = {
    "train-bank": (
        "train-bank: each query is scored by itself, against training that is fixed beforehand."
    ),
    "transductive": (
        "transductive: each query is scored by means of all the other test queries, which no "
        "search has; not to be compared with numbers that do without."
    ),
}
METRICS = ("R@1", "R@5", "R@10", "R@50", "MdR", "MnR")
DIRECTIONS = {"t2v": "text to video", "v2t": "video to text"}
COMPETITORS = {
    "group": "the best caption of each other video",
    "caption": "every caption of every other video",
}


def render_sims(report: SimsReport) -> Rendered:
    """Both directions of a matrix."""
    scores = report.scores
    sentences = [
        f"Chance R@1 is {report.chance:.2f}.",
        competition_sentence(scores.v2t_by),
        *(f"Note: {note}." for note in scores.notes),
    ]
    title = (
        f"{printable(report.sims.name)}: {counted(scores.videos, 'video')}, "
        f"{counted(scores.captions, 'caption')}, protocol {scores.protocol}"
    )
    table = ranks_table(title, scores.t2v, scores.v2t, caption=" ".join(sentences))
    return [table, *reranked_tables(report.reranked)]


def ranks_table(
    title: str, t2v: Mapping[str, float], v2t: Mapping[str, float], *, caption: str
) -> Table:
    """A row a direction, with how many asked, and how many of their right answers tied."""
    return Table(
        title=title,
        columns=("", *METRICS, "queries", "tied"),
        rows=tuple(
            (
                DIRECTIONS[way],
                *(numbers[metric] for metric in METRICS),
                int(numbers["queries"]),
                int(numbers["ties"]),
            )
            for way, numbers in {"t2v": t2v, "v2t": v2t}.items()
        ),
        caption=caption,
    )


def competition_sentence(by: Competition) -> str:
    """Whom a video's captions compete with."""
    return f"Video to text: a video's best caption against {COMPETITORS[by]}."


def reranked_tables(reranked: Reranked | None) -> list[str | Table]:
    """A table of its own for what is re-ranked, each row with what it has looked at; or nothing."""
    if reranked is None:
        return []
    tags = {one.tag for one in reranked.scores}
    sentences = [
        *(sentence for tag, sentence in LOOKS_AT.items() if tag in tags),
        *_bank_sentences(reranked.bank),
        *_setting_sentences(reranked),
        *(f"Note: {note}." for note in reranked.notes),
    ]
    table = Table(
        title="Re-ranked: not the numbers of the head alone",
        columns=("re-ranker", "looks at", "", *METRICS, "tied"),
        rows=tuple(_reranked_row(one, way) for one in reranked.scores for way in DIRECTIONS),
        caption=" ".join(sentences),
    )
    return ["", table]


def _reranked_row(one: RerankedScores, way: str) -> tuple[str | int | float | None, ...]:
    numbers = one.t2v if way == "t2v" else one.v2t
    if numbers is None:
        return (one.name, one.tag, way, *(None for _ in (*METRICS, "tied")))
    return (one.name, one.tag, way, *(numbers[its] for its in METRICS), int(numbers["ties"]))


def _bank_sentences(bank: BankSize | None) -> list[str]:
    """What the bank holds, and which direction has none."""
    if bank is None:
        return []
    holds = [
        counted(count, what)
        for count, what in ((bank.captions, "caption"), (bank.videos, "video"))
        if count is not None
    ]
    missing = {
        "text to video": bank.captions is None,
        "video to text": bank.videos is None,
    }
    return [
        f"Bank: {' and '.join(holds)}, {bank.source}.",
        *(f"No bank was given for {way}." for way, lacks in missing.items() if lacks),
    ]


def _setting_sentences(reranked: Reranked) -> list[str]:
    """The settings that are not the published ones, and what picked them."""
    published = asdict(DEFAULT_RERANK)
    others = [
        f"{one.name} {name} {value:g} (published {published[name]:g})"
        for one in reranked.scores
        for name, value in one.settings.items()
        if value != published[name]
    ]
    if reranked.tuned_on is not None:
        picked = ", ".join(others) or "all of them the published ones"
        return [f"Settings picked on {reranked.tuned_on} by R@1 text to video: {picked}."]
    return [f"Settings: {', '.join(others)}."] if others else []
