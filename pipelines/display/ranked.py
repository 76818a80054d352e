"""Ranks as the table that people read; torch stays out of it."""

from collections.abc import Mapping

from vidret.data.printable import printable
from vidret.data.words import counted
from vidret.heads.metrics import Competition
from vidret.pipelines.display.tables import Rendered, Table
from vidret.pipelines.evaluate_sims import SimsReport

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
    return ranks_table(title, scores.t2v, scores.v2t, caption=" ".join(sentences))


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
