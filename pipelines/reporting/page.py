"""A report as one HTML file that needs nothing else: no host, no script, no other file."""

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from vidret.pipelines.display.ranked import METRICS
from vidret.pipelines.display.render import setting_caption, setting_line
from vidret.pipelines.reporting.charts import (
    bin_name,
    histogram_chart,
    recall_chart,
    stage_charts,
)
from vidret.pipelines.reporting.contents import Contents
from vidret.pipelines.reporting.filmstrips import Strip
from vidret.pipelines.reporting.published import METRICS as PAPER_METRICS
from vidret.pipelines.training.loop import VIDEO_TEXT
from vidret.pipelines.training.runs import SOUND

HERE = Path(__file__).parent


def draw_page(
    contents: Contents, strips: Mapping[int, Strip], *, seed: int, wants_hardest: bool = True
) -> str:
    """The page as text.

    Args:
        contents: what it says.
        strips: the pictures of each video that is shown, by its row; empty shows none.
        seed: that the random queries were drawn with.
        wants_hardest: whether the hardest queries were asked for.
    """
    select_on = contents.setting.select_on
    return _template().render(
        told=contents,
        strips=strips,
        seed=seed,
        wants_hardest=wants_hardest,
        css=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        setting_line=setting_line(contents.setting),
        setting_caption=setting_caption(contents.setting, seeds=1),
        metrics=METRICS,
        paper_metrics=PAPER_METRICS,
        stages=[(stage, stage_charts(stage, select_on)) for stage in contents.stages],
        first_stage_elsewhere=_begins_elsewhere(contents),
        rank_charts=[
            histogram_chart(contents.histogram),
            recall_chart(contents.recall, contents.setting.videos),
        ],
        coverage=_coverage(contents),
        fingerprint=contents.fingerprint.to_json(),
    )


def readable(text: object) -> str:
    """Any text as a page can hold it: halves of characters and control signs are spelt out."""
    whole = str(text).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(map(_shown, whole))


def told(value: object) -> str:
    """A setting or fact as one would say it."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(told, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def rank_text(rank: float) -> str:
    """`3`, or `3.5` where ties make it so."""
    return f"{rank:,.1f}".removesuffix(".0")


def gap_text(gap: float) -> str:
    """`+1.4`, and `0.0` for what rounds to it."""
    return f"{gap:+.1f}" if abs(gap) >= 0.05 else "0.0"


@cache
def _template() -> Any:  # noqa: ANN401 - a template's own type says no more
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "readable": readable,
        "told": told,
        "rank": rank_text,
        "bin": bin_name,
        "base64": lambda data: base64.b64encode(data).decode("ascii"),
        "count": lambda value: f"{value:,.0f}",
        "number": lambda value: f"{value:.1f}",
        "small": lambda value: f"{value:.2f}",
        "part": lambda value: f"{value:+.3f}",
        "gap": gap_text,
        "seconds": _seconds,
    }
    return environment.from_string((HERE / "page.html").read_text(encoding="utf-8"))


def _seconds(times: Sequence[float]) -> str:
    return ", ".join(f"{time:.1f}" for time in times)


def _shown(sign: str) -> str:
    """A sign; those below the space are none that HTML can hold, but for the breaks of a line."""
    return f"\\x{ord(sign):02x}" if ord(sign) < 32 and sign not in "\t\n" else sign


def _begins_elsewhere(contents: Contents) -> bool:
    """Whether a head with sound shares the first stage of another run, as `ablate` has it."""
    names = [stage.name for stage in contents.stages]
    head = contents.head
    return head.endswith(SOUND) and bool(names) and VIDEO_TEXT not in names and head != "mean+cmfi"


def _coverage(contents: Contents) -> dict[str, int]:
    coverage, setting = contents.setting.coverage, contents.setting
    return {
        "expected": coverage.expected,
        "found": coverage.found,
        "found in part": coverage.partial,
        "failed or missing": coverage.failed,
        **{f"sound {state}": count for state, count in coverage.sound.items()},
        "captions": setting.captions,
        "captions of missing videos, left out": setting.dropped_captions,
    }
