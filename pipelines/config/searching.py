"""Every setting of `vidret search`, `vidret explain` and `vidret index`."""

# ruff: noqa: RUF009 - setting() is dataclasses.field with more metadata

import math
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import ClassVar

from vidret.data.errors import ConfigError
from vidret.extract.schedule import Place
from vidret.pipelines.config.declaring import (
    DEVICES,
    OPTIONS,
    Config,
    ReportConfig,
    check_device,
    require,
    setting,
)

MOST_AUDIO = 10.0
MOST_RATE = 99.0  # frames a second: a timecode has two digits for them


@dataclass(frozen=True, slots=True, kw_only=True)
class RankConfig(ReportConfig):
    """What ranks, and what it ranks."""

    group: ClassVar[str] = OPTIONS

    run: str | None = setting(None, help="Name of the run to rank with; unset takes the newest.")
    head: str | None = setting(
        None, help="Rank with the newest run of this head; mean needs no run.", metavar="NAME"
    )
    cache: Path | None = setting(None, help="Cache to search; unset takes the run's own.")
    device: str = setting("auto", help="Where to rank.", metavar=DEVICES, shared=True)

    def __post_init__(self) -> None:
        Config.__post_init__(self)
        require(
            self.run is None or self.head is None,
            f"run is {self.run} and head is {self.head}: give one or the other",
        )
        check_device(self.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig(RankConfig):
    """What ranks, and a cluster whose workers may do it."""

    scheduler: str | None = setting(
        None, help="Address of a Dask cluster whose workers answer together.", metavar="ADDR"
    )
    scheduler_file: Path | None = setting(None, help="File that names the address of a cluster.")

    def __post_init__(self) -> None:
        RankConfig.__post_init__(self)
        check_one_cluster(self.scheduler, self.scheduler_file)

    @property
    def place(self) -> Place | None:
        """The cluster; None without one."""
        return cluster_at(self.scheduler, self.scheduler_file, self.work)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig(ClusterConfig):
    """Settings of `vidret search`."""

    table: ClassVar[str] = "search"
    group: ClassVar[str] = OPTIONS

    query: str = setting(
        help="What to look for, in your own words; - reads a query a line.", argument=True
    )
    path: Path | None = setting(
        None, help="Folder of videos; unset searches what is cached.", argument=True
    )
    also: tuple[Path, ...] = setting(
        (),
        help="Another cache for the cluster to search as one with it; may be given again.",
        metavar="CACHE",
        repeatable=True,
    )
    top: int = setting(10, help="How many clips to show.")
    audio_weight: float = setting(
        1.0, help="What the sound counts: 1 as the run has it, 0 leaves it out."
    )
    where: tuple[str, ...] = setting(
        (),
        help="Only paths that fit this glob, as in 'trips/**'; of several any may fit.",
        metavar="GLOB",
        repeatable=True,
    )
    since: str | None = setting(
        None, help="Only files last modified on this day or later.", metavar="YYYY-MM-DD"
    )
    with_sound: bool = setting(default=False, help="Only clips whose sound is known.")
    exhaustive: bool = setting(default=False, help="Score every clip, without a shortlist.")
    format: str = setting(
        "table",
        help="How to print the clips; paths0 puts a NUL behind each path, edl is an edit list.",
        choices=("table", "json", "csv", "edl", "paths", "paths0"),
    )
    rate: float = setting(25.0, help="Frames a second that an edit list counts in.")
    export_clips: Path | None = setting(
        None, help="Folder to write the moment of each hit to, as a clip of its own."
    )
    pad: float = setting(2.0, help="Seconds that such a clip has before and behind its moment.")
    open: int | None = setting(
        None, help="Start a player at the moment of this hit, 1 for the first.", metavar="N"
    )

    def __post_init__(self) -> None:
        ClusterConfig.__post_init__(self)
        require(bool(self.query.strip()), "query is empty: say what to look for")
        require(self.top >= 1, f"top is {self.top}: give 1 or more")
        require(
            self.path is None or self.cache is None,
            f"path is {self.path} and cache is {self.cache}: search one or the other",
        )
        check_audio_weight(self.audio_weight)
        check_also(self.also, self.place)
        require(
            math.isfinite(self.pad) and self.pad >= 0, f"pad is {self.pad}: give seconds from 0 on"
        )
        require(
            math.isfinite(self.rate) and 1 <= self.rate <= MOST_RATE,
            f"rate is {self.rate}: give frames a second from 1 to {MOST_RATE:g}, as 25 or 23.976",
        )
        require(
            self.open is None or 1 <= self.open <= self.top,
            f"open is {self.open}: give 1 to {self.top}, as many clips as are shown",
        )
        require(
            not self.reads_queries or self.format in ("table", "json"),
            f"query is -, whose answers are no {self.format}: give --format table or json",
        )
        require(
            not self.reads_queries or (self.open is None and self.export_clips is None),
            "query is -, and its answers are for reading: leave out --open and --export-clips",
        )
        _ = self.since_day

    @property
    def reads_queries(self) -> bool:
        """Whether there is no query, but lines to read them from."""
        return self.query == "-"

    @property
    def since_day(self) -> date | None:
        """`since` as a day."""
        return day_of(self.since)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainConfig(RankConfig):
    """Settings of `vidret explain`."""

    table: ClassVar[str] = "explain"
    group: ClassVar[str] = OPTIONS

    query: str = setting(help="What was looked for.", argument=True)
    video: str = setting(help="The clip: its id, its path, or the end of its path.", argument=True)
    audio_weight: float = setting(
        1.0, help="What the sound counts: 1 as the run has it, 0 leaves it out."
    )
    format: str = setting("term", help="How to print the reasons.", choices=("term", "svg", "json"))
    out: Path | None = setting(None, help="File to write them to; unset prints them.")

    def __post_init__(self) -> None:
        RankConfig.__post_init__(self)
        require(bool(self.query.strip()), "query is empty: say what was looked for")
        require(bool(self.video.strip()), "video is empty: name a clip as a search shows it")
        check_audio_weight(self.audio_weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexConfig(ClusterConfig):
    """Settings of `vidret index build`, `update`, `status` and `check`, as far as each has them."""

    table: ClassVar[str] = "index"
    group: ClassVar[str] = OPTIONS

    path: Path | None = setting(
        None, help="Folder of videos; unset takes what is cached.", argument=True
    )
    every_frame: bool = setting(
        default=False, help="Hold every frame beside one vector a video, in an index made anew."
    )
    shares: int | None = setting(
        None, help="Shares to cut the cache into for a cluster; unset takes one a worker."
    )
    questions: int = setting(100, help="Captions to ask by way of trial.")
    shortlist: int = setting(200, help="Videos of a shortlist in that trial.")

    def __post_init__(self) -> None:
        ClusterConfig.__post_init__(self)
        require(self.shares is None or self.shares >= 1, f"shares is {self.shares}: give 1 or more")
        require(self.questions >= 1, f"questions is {self.questions}: give 1 or more")
        require(self.shortlist >= 1, f"shortlist is {self.shortlist}: give 1 or more")
        require(
            self.path is None or self.cache is None,
            f"path is {self.path} and cache is {self.cache}: index one or the other",
        )


def check_one_cluster(scheduler: str | None, scheduler_file: Path | None) -> None:
    """Refuse two names for one cluster."""
    require(
        scheduler is None or scheduler_file is None,
        "scheduler and scheduler_file are both given: one of them names the cluster",
    )


def cluster_at(scheduler: str | None, scheduler_file: Path | None, work: Path) -> Place | None:
    """A cluster that is there already; None where none is named."""
    if scheduler is None and scheduler_file is None:
        return None
    return Place(scheduler=scheduler, scheduler_file=scheduler_file, tools=work / "tools")


def check_also(also: tuple[Path, ...], place: Place | None) -> None:
    """Refuse more than one cache where no cluster searches them."""
    require(
        not also or place is not None,
        "also names a cache for a cluster: add --scheduler or --scheduler-file",
    )


def check_audio_weight(weight: float) -> None:
    """Refuse what is no weight of the sound."""
    require(
        math.isfinite(weight) and 0 <= weight <= MOST_AUDIO,
        f"audio_weight is {weight}: give 0 to {MOST_AUDIO:g}",
    )


def day_of(text: str | None) -> date | None:
    """A day written as 2026-11-22.

    Raises:
        ConfigError: it is none.
    """
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"since is {text!r}: give a day, as in 2026-11-22") from error
