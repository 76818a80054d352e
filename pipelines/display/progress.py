"""What a long run shows while it works: a live display, plain lines, or JSON lines."""

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, TextIO

WINDOW_SECONDS = 30.0
LINE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is; an item is either done, failed, skipped, or still to come."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    total: int = 0
    note: str = ""
    part: float = 0.0  # of the next item, where it takes long

    @property
    def finished(self) -> int:
        """Items that need no more work."""
        return self.done + self.failed + self.skipped

    @property
    def worked(self) -> int:
        """Items that took work in this run; what was skipped took none."""
        return self.done + self.failed


OnProgress = Callable[[Progress], None]


class Screen(Protocol):
    """Something that shows progress."""

    def show(self, progress: Progress, speed: "Speed") -> None:
        """Show one state of the run."""

    def close(self, progress: Progress, speed: "Speed") -> None:
        """Show the last state and let go of the screen."""


@dataclass(slots=True)
class Speed:
    """Items a second over the last half minute, so that a slow start does not spoil the ETA."""

    window: float = WINDOW_SECONDS
    _marks: deque[tuple[float, float]] = field(default_factory=deque)

    def mark(self, now: float, worked: float) -> None:
        """Note how many items were worked off by now; fewer than before means a new start."""
        if self._marks and worked < self._marks[-1][1]:
            self._marks.clear()
        self._marks.append((now, worked))
        while len(self._marks) > 2 and now - self._marks[1][0] >= self.window:
            self._marks.popleft()

    @property
    def per_second(self) -> float | None:
        """Items a second, or None before there is anything to tell from."""
        if len(self._marks) < 2:
            return None
        (start, before), (end, after) = self._marks[0], self._marks[-1]
        return (after - before) / (end - start) if end > start else None

    def seconds_left(self, progress: Progress) -> float | None:
        """Seconds that the rest will take at this speed, or None while nobody can tell."""
        if not self.per_second or not progress.total:
            return None
        return (progress.total - progress.finished - progress.part) / self.per_second


@contextmanager
def progress_display(
    title: str,
    *,
    unit: str = "videos",
    json_lines: bool = False,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[OnProgress]:
    """Yield the callback that a pipeline reports to; the display is gone after the block.

    Args:
        title: what is going on, in a word or two.
        unit: what is counted, in the plural.
        json_lines: one JSON object a line, for machines.
        stream: where to show it; None takes stderr, since stdout is for results.
        clock: seconds that only grow.
    """
    stream = stream or sys.stderr
    screen = _screen(title, unit, stream, clock, json_lines=json_lines)
    speed = Speed()
    speed.mark(clock(), 0)
    latest: Progress | None = None

    def on_progress(progress: Progress) -> None:
        nonlocal latest
        latest = progress
        speed.mark(clock(), progress.worked + progress.part)
        screen.show(progress, speed)

    try:
        yield on_progress
    finally:
        screen.close(latest or Progress(), speed)


def progress_line(title: str, unit: str, progress: Progress, speed: Speed) -> str:
    """One line that says it all: `extract  12/40 videos  1 failed  5.1 videos/s  ETA 0:00:06`."""
    parts = [f"{title} "]
    if progress.total or not progress.note:  # before anything is counted, the note says it all
        parts += [f"{progress.finished:,}/{progress.total:,} {unit}"]
    parts += [f"{progress.failed:,} failed"] if progress.failed else []
    parts += [f"{progress.skipped:,} skipped"] if progress.skipped else []
    parts += [_pace(speed.per_second, unit)] if speed.per_second else []
    left = speed.seconds_left(progress)
    parts += [f"ETA {clock_text(left)}"] if left else []
    parts += [progress.note] if progress.note else []
    return "  ".join(parts).replace("   ", "  ")


def _pace(per_second: float, unit: str) -> str:
    """Items a second, or what one takes where that is longer."""
    one = unit.removesuffix("s")
    return (
        f"{per_second:.1f} {unit}/s" if per_second >= 0.1 else f"{clock_text(1 / per_second)}/{one}"
    )


def clock_text(seconds: float) -> str:
    """Seconds as hours, minutes and seconds: `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


@dataclass(slots=True)
class _Lines:
    """Plain lines, one every few seconds, for logs and pipes."""

    title: str
    unit: str
    stream: TextIO
    clock: Callable[[], float]
    last_time: float | None = None
    last_line: str = ""

    def show(self, progress: Progress, speed: Speed) -> None:
        """Write a line unless the last one is recent."""
        now = self.clock()
        if self.last_time is None or now - self.last_time >= LINE_SECONDS:
            self.last_time = now
            self._write(progress, speed)

    def close(self, progress: Progress, speed: Speed) -> None:
        """Write the last state, unless it stands there already or nothing ever happened."""
        if self.last_time is not None:
            self._write(progress, speed)

    def _write(self, progress: Progress, speed: Speed) -> None:
        line = progress_line(self.title, self.unit, progress, speed)
        if line != self.last_line:
            self.last_line = line
            self.stream.write(f"{line}\n")
            self.stream.flush()


@dataclass(slots=True)
class _JsonLines:
    """One JSON object for every state, for machines."""

    title: str
    unit: str
    stream: TextIO

    def show(self, progress: Progress, speed: Speed) -> None:
        """Write one object."""
        state: dict[str, Any] = {
            "what": self.title,
            "unit": self.unit,
            **asdict(progress),
            "per_second": speed.per_second,
            "seconds_left": speed.seconds_left(progress),
        }
        self.stream.write(f"{json.dumps(state)}\n")
        self.stream.flush()

    def close(self, progress: Progress, speed: Speed) -> None:
        """Everything has been said."""


class _Live:
    """A bar that redraws itself, for people at a terminal."""

    def __init__(self, title: str, unit: str, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars
        from rich.table import Column

        self.unit = unit
        self.bars = Bars(
            TextColumn("{task.description}", table_column=Column(min_width=len(title))),
            BarColumn(bar_width=12),  # leaves 80 columns room for the facts
            TextColumn("{task.fields[facts]}", markup=False),
            console=Console(file=stream),
        )
        self.task = self.bars.add_task(title, total=None, facts="")
        self.is_empty = True  # a run that reports nothing shows nothing

    def show(self, progress: Progress, speed: Speed) -> None:
        """Redraw the bar; rich does so a few times a second at most."""
        if self.is_empty:
            self.is_empty = False
            self.bars.start()
        self.bars.update(
            self.task,
            total=progress.total or None,
            completed=progress.finished + progress.part,
            facts=progress_line("", self.unit, progress, speed).strip(),
        )

    def close(self, progress: Progress, speed: Speed) -> None:
        """Leave the last state on the screen."""
        if not self.is_empty:
            self.show(progress, speed)
            self.bars.stop()


def _screen(
    title: str, unit: str, stream: TextIO, clock: Callable[[], float], *, json_lines: bool
) -> Screen:
    if json_lines:
        return _JsonLines(title, unit, stream)
    return _Live(title, unit, stream) if stream.isatty() else _Lines(title, unit, stream, clock)
