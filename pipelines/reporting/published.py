"""Numbers that others published, each with the table it was read in."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("published.toml")
PAPER = "mgfi"  # the source whose heads these are
METRICS = ("R@1", "R@5", "R@10", "MdR", "MnR")
FINE_TUNED, FROZEN = "fine-tuned", "frozen"  # what was done to CLIP
SPLIT = "test"  # the one that all of them are of
SAME_VIDEOS = {"didemo-by-time": "didemo"}  # another order of the descriptions, nothing else


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where numbers were read; `short` is what a table calls it."""

    short: str
    title: str
    link: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """One row of a published table, text to video.

    Args:
        source: a name of `sources`.
        table: which table of it.
        row: what the table calls it.
        head: the head of vidret that this is; empty where it is another method.
        encoders: `fine-tuned`, or `frozen`.
        backbone: open_clip's name of what saw the pictures.
        numbers: those that the source prints.
        note: what has to be known to compare it.
    """

    source: str
    table: str
    dataset: str
    row: str
    encoders: str
    backbone: str
    numbers: dict[str, float]
    head: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    sources: dict[str, Source]
    rows: tuple[PublishedRow, ...]
    remarks: tuple[tuple[tuple[str, ...], str], ...]


def published_rows(dataset: str) -> tuple[PublishedRow, ...]:
    """Every row that is known of a dataset, those of the paper first."""
    named = SAME_VIDEOS.get(dataset, dataset)
    rows = [row for row in _read().rows if row.dataset == named]
    return tuple(sorted(rows, key=lambda row: row.source != PAPER))


def datasets_of_paper() -> tuple[str, ...]:
    """The datasets that the paper has numbers of."""
    return tuple(dict.fromkeys(row.dataset for row in _read().rows if row.source == PAPER))


def source_of(row: PublishedRow) -> Source:
    """Where a row was read."""
    return _read().sources[row.source]


def remarks_on(dataset: str) -> tuple[str, ...]:
    """What is odd about the paper's own numbers and statements, as far as it touches a dataset."""
    return tuple(text for datasets, text in _read().remarks if not datasets or dataset in datasets)


@cache
def _read() -> _File:
    content: dict[str, Any] = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return _File(
        sources={name: Source(**one) for name, one in content["sources"].items()},
        rows=tuple(PublishedRow(**one) for one in content["rows"]),
        remarks=tuple((tuple(one["datasets"]), one["text"]) for one in content["remarks"]),
    )
