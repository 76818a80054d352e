"""A table of heads as Markdown, LaTeX, CSV or JSON, for papers, pages and other programs."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import product
from statistics import mean
from typing import Any

from vidret.extract.backends import installed
from vidret.pipelines.ablation.comparing import LOWER_IS_BETTER
from vidret.pipelines.ablation.report import AblateReport, Row, spread_of
from vidret.pipelines.display.ablation_words import (
    COMPARISON,
    COSTS,
    LEAD,
    METRICS,
    caption_of,
    comparison_cells,
    cost_cells,
    cost_sentences,
    costed,
    protocol_line,
)
from vidret.pipelines.display.ranked import DIRECTIONS
from vidret.pipelines.display.tables import mean_std

LOWER = ("MdR", LOWER_IS_BETTER)
CSV_COLUMNS = (
    *("dataset", "split", "protocol", "videos", "captions", "select_on", "chance"),
    *("head", "row", "direction", "metric", "mean", "std", "seeds", "runs", "values"),
    *("base", "difference", "low", "high", "favour", "seeds_ahead"),
)
TEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": r"$<$",
    ">": r"$>$",
    "µ": r"$\mu$",
}


def ablation_text(report: AblateReport, form: str) -> str:
    """The whole table in one of the forms of `FORMS`."""
    return FORMS[form](report)


def json_text(report: AblateReport) -> str:
    """What `--json` prints."""
    return json.dumps(report.as_json(), indent=2, default=str) + "\n"


def markdown_text(report: AblateReport) -> str:
    """Tables as GitHub shows them, the best of each column in bold."""
    lines = [_escape_markdown(protocol_line(report)), ""]
    for way, name in DIRECTIONS.items():
        columns = [*(f"{metric} {_arrow(metric)}" for metric in METRICS), *_compared(report)]
        lines += [f"**{name}**", "", _markdown_line(["head", *columns])]
        lines.append("|:---|" + "---:|" * len(columns))
        best = _best_rows(report, way)
        for row in report.rows:
            spread = [
                _bold(mean_std(row.values(way, metric)), "**{}**", row in best[metric])
                for metric in METRICS
            ]
            compared = comparison_cells(row, way) if _compared(report) else ()
            lines.append(_markdown_line([_escape_markdown(row.label), *spread, *compared]))
        lines.append("")
    return "\n".join([*lines, _escape_markdown(caption_of(report)), "", *_markdown_costs(report)])


def latex_text(report: AblateReport) -> str:
    """A table environment for each direction, with the rules of booktabs, the best in bold."""
    lines = [
        f"% Made by vidret {installed('vidret')}. Put \\usepackage{{booktabs}} into the preamble.",
        f"% {' '.join(protocol_line(report).split())}",
    ]
    for way, name in DIRECTIONS.items():
        columns = [*(f"{metric} ${_tex_arrow(metric)}$" for metric in METRICS)]
        columns += [_escape_latex(one) for one in _compared(report)]
        more = caption_of(report) if way == "t2v" else "More beside the other direction."
        caption = f"{name}: {protocol_line(report)}. {more}"
        lines += [
            r"\begin{table*}",  # beside a column of text there is no room for so many numbers
            r"  \centering",
            r"  \footnotesize",
            rf"  \caption{{{_escape_latex(caption[:1].upper() + caption[1:])}}}",
            rf"  \label{{tab:ablation-{way}}}",
            rf"  \begin{{tabular}}{{l{'r' * len(columns)}}}",
            r"    \toprule",
            _latex_line(["head", *columns]),
            r"    \midrule",
            *_latex_rows(report, way),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table*}",
        ]
    return "\n".join([*lines, *_latex_costs(report), ""])


def csv_text(report: AblateReport) -> str:
    """One line for each row, direction and metric; the setting stands in every line."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    setting = report.setting
    shared = {
        "dataset": setting.dataset,
        "split": setting.split,
        "protocol": setting.protocol,
        "videos": setting.videos,
        "captions": setting.captions,
        "select_on": setting.select_on,
        "chance": setting.chance,
        "base": report.base,
    }
    for row in report.rows:
        for numbers in _csv_rows(row):
            writer.writerow(shared | numbers)
    return out.getvalue()


FORMS: dict[str, Callable[[AblateReport], str]] = {
    "json": json_text,
    "markdown": markdown_text,
    "latex": latex_text,
    "csv": csv_text,
}


def _compared(report: AblateReport) -> tuple[str, ...]:
    """The columns that compare with the base row, where there is something to compare."""
    if not any(row.against_base for row in report.rows):
        return ()
    return (f"{LEAD} {COMPARISON[0]}", *COMPARISON[1:])


def _best_rows(report: AblateReport, way: str) -> dict[str, list[Row]]:
    """The rows with the best mean of each metric, as it is shown: several where they look alike.

    Rows compete with those that have looked at as much: a query alone, a bank, all test queries.
    """
    groups: dict[str | None, list[Row]] = {}
    for row in report.rows:
        groups.setdefault(row.rerank.tag if row.rerank else None, []).append(row)
    found: dict[str, list[Row]] = {metric: [] for metric in METRICS}
    for metric, rows in product(METRICS, groups.values()):
        means = [round(mean(row.values(way, metric)), 1) for row in rows]
        best = min(means) if metric in LOWER else max(means)
        found[metric] += [row for row, its in zip(rows, means, strict=True) if its == best]
    return found


def _bold(cell: str, form: str, best: bool) -> str:  # noqa: FBT001 - the cell's own property
    """A cell whose mean is in bold if it is the best; the spread stays as it is."""
    middle, sign, spread = cell.partition(" ± ")
    return f"{form.format(middle) if best else middle}{sign}{spread}"


def _arrow(metric: str) -> str:
    return "↓" if metric in LOWER else "↑"


def _tex_arrow(metric: str) -> str:
    return r"\downarrow" if metric in LOWER else r"\uparrow"


def _markdown_costs(report: AblateReport) -> Iterator[str]:
    if not costed(report):
        return
    yield from ("**What each head costs**", "", _markdown_line(["head", *COSTS]))
    yield "|:---|" + "---:|" * len(COSTS)
    for row in costed(report):
        yield _markdown_line([_escape_markdown(row.label), *cost_cells(row)])
    yield from ("", _escape_markdown(cost_sentences(report)), "")


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape_markdown(text: str) -> str:
    for sign in "\\|*_`<":
        text = text.replace(sign, f"\\{sign}")
    return text


def _latex_rows(report: AblateReport, way: str) -> Iterator[str]:
    best = _best_rows(report, way)
    for row in report.rows:
        spread = [
            _bold(mean_std(row.values(way, metric)), r"\textbf{{{}}}", row in best[metric])
            for metric in METRICS
        ]
        compared = comparison_cells(row, way) if _compared(report) else ()
        cells = [one.replace("±", r"$\pm$") for one in spread]
        yield _latex_line([_escape_latex(row.label), *cells, *map(_latex_number, compared)])


def _latex_costs(report: AblateReport) -> Iterator[str]:
    if not costed(report):
        return
    yield from (r"\begin{table*}", r"  \centering", r"  \footnotesize")
    yield rf"  \caption{{{_escape_latex(cost_sentences(report))}}}"
    yield r"  \label{tab:ablation-cost}"
    yield rf"  \begin{{tabular}}{{l{'r' * len(COSTS)}}}"
    yield from (r"    \toprule", _latex_line(["head", *map(_escape_latex, COSTS)]), r"    \midrule")
    for row in costed(report):
        yield _latex_line(list(map(_escape_latex, [row.label, *cost_cells(row)])))
    yield from (r"    \bottomrule", r"  \end{tabular}", r"\end{table*}")


def _latex_line(cells: Sequence[str]) -> str:
    return f"    {' & '.join(cells)} \\\\"


def _latex_number(cell: str) -> str:
    """A cell with signed numbers, whose minus would be a hyphen outside of math."""
    low, to, high = cell.partition(" to ")
    if cell == "-":
        return "--"
    if cell[:1] not in "+-":
        return _escape_latex(cell)
    return f"${low}$ to ${high}$" if to else f"${low}$"


def _escape_latex(text: str) -> str:
    return "".join(TEX.get(sign, sign) for sign in text)


def _csv_rows(row: Row) -> Iterator[dict[str, Any]]:
    for way in (*DIRECTIONS, "kinds"):
        compared = row.against_base.get(way, {})
        for metric, spread in spread_of(row, way).items():
            numbers: dict[str, Any] = {
                "head": row.head,
                "row": row.label,
                "direction": "t2v" if way == "kinds" else way,
                "metric": f"R@1 of {metric}" if way == "kinds" else metric,
                "mean": spread["mean"],
                "std": "" if spread["std"] is None else spread["std"],
                "seeds": " ".join(map(str, row.seeds)),
                "runs": " ".join(row.runs),
                "values": " ".join(map(str, row.values(way, metric))),
            }
            if metric in compared:
                its = compared[metric]
                numbers |= {
                    "difference": its.difference,
                    "low": its.low,
                    "high": its.high,
                    "favour": its.favour,
                    "seeds_ahead": its.seeds_ahead,
                }
            yield numbers
    if row.cost is not None:
        yield from _csv_costs(row)


def _csv_costs(row: Row) -> Iterator[dict[str, Any]]:
    """What a row costs, a line a number."""
    assert row.cost is not None
    found = {
        "train_seconds": row.cost.train_seconds,
        "train_peak_bytes": row.cost.train_peak_bytes,
        **asdict(row.cost.score),
    }
    for metric, number in found.items():
        yield {
            "head": row.head,
            "row": row.label,
            "direction": "cost",
            "metric": metric,
            "mean": "" if number is None else number,
            "seeds": " ".join(map(str, row.seeds)),
            "runs": " ".join(row.runs),
        }
