"""What a table of heads says in words and cells, whatever form it is shown in."""

import math
from collections.abc import Sequence
from datetime import timedelta

from vidret.pipelines.ablation.comparing import Comparison
from vidret.pipelines.ablation.report import AblateReport, Row
from vidret.pipelines.ablation.rows import PAPER_NAMES
from vidret.pipelines.display.ranked import DIRECTIONS, competition_sentence
from vidret.pipelines.display.render import found_sentences, setting_line
from vidret.pipelines.display.tables import mean_std
from vidret.pipelines.training.runs import SOUND

METRICS = ("R@1", "R@5", "R@10", "MdR", "MnR")  # with their spread, what a line has room for
LEAD = "R@1"  # the number whose distance from the base row is shown beside the table
COSTS = (
    *("R@1 t2v", "R@1 v2t", "kFLOP a pair", "µs a pair", "µs a text", "µs a video"),
    *("training s", "peak MiB"),
)
AT_ONCE = timedelta(hours=1)
COMPARISON = ("difference", "95 % interval", "favoured in", "seeds ahead")


def protocol_line(report: AblateReport) -> str:
    """What the numbers are measured on, and with what, in a line."""
    setting, seeds = report.setting, ", ".join(map(str, report.seeds))
    oracle = " (oracle)" if setting.split in setting.select_on.split(" and ") else ""
    return (
        f"{setting_line(setting)}; {'seeds' if len(report.seeds) > 1 else 'seed'} {seeds}; "
        f"epochs picked on {setting.select_on}{oracle}; chance R@1 {setting.chance:.2f}"
    )


def caption_of(report: AblateReport) -> str:
    """What the numbers must say about themselves, and what they do not tell."""
    seeds = max(len(row.scores) for row in report.rows)
    sentences = [
        f"Mean ± standard deviation over {seeds} seeds."
        if seeds > 1
        else "One seed: no spread, so nothing tells how much training varies.",
        *(_interval_sentences(report) if any(row.against_base for row in report.rows) else ()),
        competition_sentence(report.setting.v2t_by),
        *found_sentences(report.setting),
    ]
    if "(oracle)" in protocol_line(report):
        sentences.append("Oracle: epochs were picked on the split that is reported.")
    if told := ", ".join(_names_of_heads(report)):
        sentences.append(f"Heads: {told}.")
    if any(row.rerank for row in report.rows):
        sentences.append("Where numbers are in bold, rows compete that have looked at as much.")
    if any(row.ignored for row in report.rows):
        sentences.append("A row with (any NAME) does not depend on that setting: it is made once.")
    sentences += report.reranking
    sentences += _picked_settings(report)
    fewer = [row for row in report.rows if len(row.scores) < len(report.seeds)]
    sentences += [f"{row.label}: {_seeds_of(row)} alone, the others failed." for row in fewer]
    return " ".join(sentences)


def _picked_settings(report: AblateReport) -> list[str]:
    """The settings of each re-ranked row, where they are not those of all others."""
    told: dict[str, dict[str, str]] = {}
    for row in report.rows:
        if row.rerank is not None:
            texts = [
                ", ".join(f"{name} {value:g}" for name, value in one.items())
                for one in row.rerank_settings
            ]
            told.setdefault(row.rerank.name, {})[row.label] = "; ".join(dict.fromkeys(texts))
    return [
        f"{label}: {text}."
        for rows in told.values()
        if len(set(rows.values())) > 1
        for label, text in rows.items()
    ] + [
        f"{name}: {next(iter(rows.values()))}."
        for name, rows in told.items()
        if len(set(rows.values())) == 1
    ]


def _names_of_heads(report: AblateReport) -> list[str]:
    """Which head a row is that has the paper's name."""
    plain = dict.fromkeys(row.head.removesuffix(SOUND) for row in report.rows)
    hears = any(row.head.endswith(SOUND) for row in report.rows)
    named = [f"{PAPER_NAMES[one]} is {one}" for one in plain if PAPER_NAMES.get(one, one) != one]
    return [*named, *(["+ a-s is +cmfi"] if hears else [])]


def signed(points: float) -> str:
    """A difference with its sign; what rounds to nothing has none of its own."""
    return f"{round(points, 1) + 0.0:+.1f}"


def comparison_cells(row: Row, direction: str) -> tuple[str, ...]:
    """Distance from the base row, its interval, and who is ahead how often; dashes for itself."""
    if not row.against_base:
        return ("-",) * len(COMPARISON)
    its = row.against_base[direction][LEAD]
    return (
        signed(its.difference),
        f"{signed(its.low)} to {signed(its.high)}",
        share_text(its.favour),
        f"{its.seeds_ahead} of {its.seeds}",
    )


def costed(report: AblateReport) -> list[Row]:
    """The rows whose cost is known."""
    return [row for row in report.rows if row.cost is not None]


def cost_cells(row: Row) -> tuple[str, ...]:
    """Accuracy and what it costs, side by side."""
    assert row.cost is not None
    score, peak = row.cost.score, row.cost.train_peak_bytes
    return (
        *(mean_std(row.values(way, LEAD)) for way in DIRECTIONS),
        _three_digits(score.flops / 1e3),
        *(
            _three_digits(1e6 * seconds)
            for seconds in (score.pair_seconds, score.text_seconds, score.video_seconds)
        ),
        _three_digits(row.cost.train_seconds),
        "-" if peak is None else f"{peak / 2**20:,.0f}",
    )


def cost_sentences(report: AblateReport) -> str:
    """What the columns of a table of costs are."""
    shape = report.shape
    assert shape is not None
    return (
        f"Scoring on {_place(report)}{_when(report)}: pairs of prepared texts of {shape.words} "
        f"words and videos of {shape.frames} frames, width {shape.dim}, random numbers. FLOPs are "
        "those of matrix products, two for a multiplication and an addition; a text and a video "
        "are prepared once, however many pairs there are. Training: seconds of all batches of a "
        "seed, without the measurements between epochs; the most memory above the features. Fits "
        "side by side and other work on the machine make both slower, so seconds compare only "
        "within a table."
    )


def _place(report: AblateReport) -> str:
    return ", ".join(dict.fromkeys(row.cost.place for row in report.rows if row.cost is not None))


def _when(report: AblateReport) -> str:
    """When scoring was timed, where that was not all at once."""
    times = sorted(row.cost.measured for row in report.rows if row.cost is not None)
    if times[-1] - times[0] <= AT_ONCE:
        return ""
    first, last = (f"{one:%Y-%m-%d %H:%M}" for one in (times[0], times[-1]))
    return f" (timed between {first} and {last} UTC: --remeasure times all rows together)"


def _three_digits(number: float) -> str:
    """Three digits that count, and no exponent."""
    if number == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(number)))
    return f"{number:,.{digits}f}"


def share_text(share: float) -> str:
    """A share in percent; what is nearly all or nothing is not called all or nothing."""
    if 0 < share < 0.005:
        return "<1%"
    return ">99%" if 0.995 <= share < 1 else f"{share:.0%}"


def comparisons(row: Row) -> Sequence[tuple[str, str, Comparison]]:
    """Direction, metric and distance from the base row, one after the other."""
    return [
        (way, metric, one) for way, its in row.against_base.items() for metric, one in its.items()
    ]


def _interval_sentences(report: AblateReport) -> list[str]:
    return [
        f"Differences to {report.base}: 95 % intervals of a paired bootstrap over test videos, "
        f"each with all its captions ({report.resamples:,} draws, the seeds averaged first), the "
        "share of draws that favour the row, and the seeds in which it is ahead.",
        "The intervals cover which videos were asked about; "
        "they do not cover the seeds, for which see the standard deviations.",
    ]


def _seeds_of(row: Row) -> str:
    return f"{'seeds' if len(row.seeds) > 1 else 'seed'} {', '.join(map(str, row.seeds))}"
