"""An explanation as strips in a terminal, and as a drawing that needs nothing beside it."""

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from vidret.data.printable import printable
from vidret.heads.catalog import told_name
from vidret.pipelines.display.found import SOUNDS, moment_text, number_text, percent_text
from vidret.pipelines.display.tables import Rendered
from vidret.pipelines.explain import ExplainReport

LEVELS = " ▁▂▃▄▅▆▇█"
BAR = 20  # signs of the longest bar
LONGEST_WORD = 16  # signs of a word in front of its strip
CELL, ROW, LEFT, TOP, SIGN = 44, 24, 150, 96, 7.0  # of the drawing, in pixels
NARROWEST, LONGEST_BAR = 420, 200
INK, PAPER, FILL, LOSS = "#1b1f24", "#ffffff", "#0b57a4", "#b3541e"
NOTE_OF_HEAD = "words and frames as the head weighs them"
NOTE_OF_LIKENESS = (
    "words and frames by their likeness in CLIP's space: this head looks at the sentence as a whole"
)


def render_explanation(report: ExplainReport, form: str = "term") -> Rendered:
    """The reasons as lines for a terminal, or as SVG."""
    return draw_explanation(report) if form == "svg" else "\n".join(_lines(report))


def strip(weights: Sequence[float]) -> str:
    """Weights as a row of blocks; the tallest is the heaviest."""
    top = max(weights, default=0.0)
    if top <= 0:
        return LEVELS[0] * len(weights)
    return "".join(LEVELS[round(weight / top * (len(LEVELS) - 1))] for weight in weights)


def draw_explanation(report: ExplainReport) -> str:
    """A grid of words and frames below the strip of the sentence, with the parts of the score.

    Height and shade say the same, so that no colour is needed to read it; each cell has a title.
    """
    told = report.explanation
    times, hit = told.times, told.hit
    rows = [("the sentence", None, hit.strip)] + [
        (word, share, weights)
        for word, share, weights in zip(told.words, told.word_shares, told.grid, strict=True)
    ]
    width = LEFT + max(CELL * len(times), NARROWEST) + 24
    parts_top = TOP + ROW * len(rows) + 30
    height = parts_top + ROW * (len(told.parts) + 1) + 16
    longest = max((len(_second(time)) for time in times), default=1)
    apart = 1 + int(longest * SIGN / CELL)  # frames from one label to the next
    title = f"Why {printable(hit.name)} answers: {printable(told.question.text)}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label={quoteattr(title)} '
        'font-family="system-ui, sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="{PAPER}"/>',
        _text(12, 22, printable(told.question.text)[:90], size=15),
        _text(12, 42, f"{printable(hit.path)}  {moment_text(hit.start, hit.end)}"),
        _text(12, 60, f"{told_name(report.head)}, {_note(report)}"),
        *(
            _text(LEFT + CELL * place + CELL / 2, TOP - 6, _second(time), anchor="middle")
            for place, time in enumerate(times)
            if place % apart == 0
        ),
    ]
    for number, (word, share, weights) in enumerate(rows):
        y = TOP + ROW * number
        name = _shortened(word) + ("" if share is None else f"  {share:.2f}")
        lines.append(_text(LEFT - 8, y + ROW - 8, name, anchor="end"))
        lines += _cells(y, word, weights, times)
    return "\n".join([*lines, *_drawn_parts(report, parts_top), "</svg>"])


def _lines(report: ExplainReport) -> list[str]:
    told = report.explanation
    hit = told.hit
    chance = "" if hit.probability is None else f", chance {percent_text(hit.probability)}"
    span = max(len(_shortened(word)) for word in ("sentence", *told.words))
    lines = [
        f'"{printable(told.question.text)}"',
        f"{printable(hit.path)}{SOUNDS.get(hit.sound, '')}  {moment_text(hit.start, hit.end)}  "
        f"score {number_text(hit.score)}{chance}  ({told_name(report.head)})",
        "",
        f"{'sentence':<{span}}        |{strip(hit.strip)}|",
    ]
    lines += [
        f"{_shortened(word):<{span}}  {share:>4.0%}  |{strip(weights)}|"
        for word, share, weights in zip(told.words, told.word_shares, told.grid, strict=True)
    ]
    first, last = (_second(time) for time in (told.times[0], told.times[-1]))
    gap = max(1, len(told.times) - len(first) - len(last) + 2)
    lines += [" " * (span + 8) + first + " " * gap + last, ""]
    lines += _bars(told.parts)
    lines.append(f"{_of_sound(report)} of it" if "audio" in told.parts else "")
    return [*lines, _note(report)] if lines[-1] else [*lines[:-1], _note(report)]


def _bars(parts: dict[str, float]) -> list[str]:
    """One bar a part; a part that takes away is drawn in lighter signs."""
    most = max((abs(part) for part in parts.values()), default=0.0) or 1.0
    span = max((len(name) for name in parts), default=0)
    signs = {name: "█" if part >= 0 else "░" for name, part in parts.items()}
    long = {name: round(abs(part) / most * BAR) for name, part in parts.items()}
    return [
        f"{name:<{span}}  {number_text(part, sign='+')}  {signs[name] * long[name]}"
        for name, part in parts.items()
    ]


def _of_sound(report: ExplainReport) -> str:
    """What the sound has of the score, or what stands in for one that is not there."""
    told = report.explanation
    heard = told.hit.sound == "ok"
    what = "the sound" if heard else "what the head puts in the place of a missing sound"
    return f"{what} has {told.sound_share:.0%}"


def _note(report: ExplainReport) -> str:
    return NOTE_OF_HEAD if report.explanation.of_head else NOTE_OF_LIKENESS


def _cells(y: int, word: str, weights: Sequence[float], times: Sequence[float]) -> list[str]:
    top = max(weights, default=0.0) or 1.0
    cells = []
    for place, (weight, time) in enumerate(zip(weights, times, strict=True)):
        tall = round((ROW - 6) * weight / top, 1)
        told = f"{printable(word)} at {_second(time)}: {weight:.3f}"
        x = LEFT + CELL * place
        cells.append(
            f'<g><title>{escape(told)}</title><rect x="{x}" y="{y + 2}" width="{CELL - 3}" '
            f'height="{ROW - 5}" fill="{FILL}" fill-opacity="0.06"/><rect x="{x}" '
            f'y="{y + ROW - 3 - tall:.1f}" width="{CELL - 3}" height="{tall}" fill="{FILL}" '
            f'fill-opacity="{0.35 + 0.65 * weight / top:.2f}"/></g>'
        )
    return cells


def _drawn_parts(report: ExplainReport, top: int) -> list[str]:
    told = report.explanation
    most = max((abs(part) for part in told.parts.values()), default=0.0) or 1.0
    lines = []
    for number, (name, part) in enumerate(told.parts.items()):
        y, long = top + ROW * number, LONGEST_BAR * abs(part) / most
        dashes = "" if part >= 0 else ' stroke-dasharray="3 2"'
        inside, line = (FILL, FILL) if part >= 0 else (PAPER, LOSS)
        lines += [
            _text(LEFT - 8, y + 14, f"{name} {number_text(part, sign='+')}", anchor="end"),
            f'<rect x="{LEFT}" y="{y + 3}" width="{long:.1f}" height="{ROW - 10}" '
            f'fill="{inside}" stroke="{line}"{dashes}/>',
        ]
    total = f"score {number_text(told.hit.score)}, of which {_of_sound(report)}"
    return [*lines, _text(12, top + ROW * len(told.parts) + 16, total)]


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" fill="{INK}">'
        f"{escape(text)}</text>"
    )


def _shortened(word: str) -> str:
    shown = printable(word)
    return shown if len(shown) <= LONGEST_WORD else f"{shown[: LONGEST_WORD - 1]}…"


def _second(time: float) -> str:
    return moment_text(time, time).partition("-")[0]
