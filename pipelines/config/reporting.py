"""Every setting of `vidret report`."""

# ruff: noqa: RUF009 - setting() is dataclasses.field with more metadata

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, cast, get_args

from vidret.pipelines.config.declaring import (
    DEVICES,
    Config,
    ReportConfig,
    check_device,
    require,
    setting,
)

Competition = Literal["group", "caption"]  # of a video's captions in video to text
PAPER = "paper"
MOST_QUERIES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PageConfig(ReportConfig):
    """Settings of `vidret report`."""

    table: ClassVar[str] = "report"

    run: str | None = setting(None, help="Name of the run to report on; unset takes the newest.")
    split: str = setting("test", help="Split to score.")
    cache: Path | None = setting(None, help="Cache to score on; unset takes the run's own.")
    against: str | None = setting(
        None, help="What to set beside it: paper, or the name of another run.", metavar="paper|RUN"
    )
    out: Path | None = setting(
        None, help="Page to write; unset is report-SPLIT.html in the folder of the run."
    )
    v2t: str | None = setting(
        None,
        help="Rank captions by video, or each alone; unset leaves it to the protocol.",
        choices=get_args(Competition),
    )
    hardest: int = setting(
        MOST_QUERIES, help=f"Queries to show that did worst, {MOST_QUERIES} at most."
    )
    random: int = setting(
        6, help=f"Queries to show that are drawn at random, {MOST_QUERIES} at most."
    )
    seed: int = setting(0, help="Seed of the queries drawn at random.")
    pictures: bool = setting(default=True, help="Show frames of the videos on the page.")
    device: str = setting("auto", help="Where to score.", metavar=DEVICES, shared=True)

    def __post_init__(self) -> None:
        Config.__post_init__(self)
        for name in ("hardest", "random"):
            its = getattr(self, name)
            require(
                0 <= its <= MOST_QUERIES, f"{name} is {its}: give a number from 0 to {MOST_QUERIES}"
            )
        require(
            self.against is None or self.against != self.run,
            f"against is {self.against}, the run itself: name another run, or {PAPER}",
        )
        check_device(self.device)

    @property
    def competition(self) -> Competition | None:
        """Whom a video's captions compete with, None where the protocol says it."""
        return cast(Competition | None, self.v2t)
