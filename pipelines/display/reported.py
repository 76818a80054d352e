"""A written page, told at the terminal in a few lines."""

from vidret.data.words import counted, size_text
from vidret.pipelines.display.ranked import ranks_table
from vidret.pipelines.display.render import setting_caption, setting_line
from vidret.pipelines.display.tables import Rendered
from vidret.pipelines.report import PageReport
from vidret.pipelines.reporting.against_paper import PaperComparison
from vidret.pipelines.reporting.against_run import RunComparison
from vidret.pipelines.reporting.page import gap_text


def render_page(report: PageReport) -> Rendered:
    """The numbers, what they were set beside, and where the page is."""
    told = report.contents
    table = ranks_table(
        f"{told.run}: {setting_line(told.setting)}",
        told.numbers.t2v,
        told.numbers.v2t,
        caption=setting_caption(told.setting, seeds=1),
    )
    lines = [f"! {warning}" for warning in told.warnings]
    if told.paper is not None:
        lines += _paper_lines(told.paper)
    if told.other is not None:
        lines.append(_other_line(told.other))
    if told.absent:
        lines.append(f"no pictures of {counted(len(told.absent), 'video')}: the page says why")
    lines.append(f"page -> {report.page} ({size_text(report.bytes)})")
    return [table, "", "\n".join(lines)]


def _paper_lines(paper: PaperComparison) -> list[str]:
    lines = [paper.reason] if paper.reason else []
    for one in paper.same_head:
        row = one.published
        gap = gap_text(one.gap["R@1"])
        lines.append(
            f"R@1 {gap} against {row.numbers['R@1']:.1f} "
            f"({row.row}, {row.table}, {row.backbone} {row.encoders})"
        )
    differs = sum(one.kind == "differs" for one in paper.deviations)
    return [*lines, f"this run differs from the paper's setting in {counted(differs, 'point')}"]


def _other_line(other: RunComparison) -> str:
    first = other.t2v.metrics[0]
    ends = " to ".join(map(gap_text, first.interval or ()))
    return (
        f"R@1 {gap_text(first.difference)} against {other.run} ({other.level:.0f} % interval "
        f"{ends}): {counted(other.t2v.won, 'query', 'queries')} found by this run alone, "
        f"{other.t2v.lost:,} by the other alone"
    )
