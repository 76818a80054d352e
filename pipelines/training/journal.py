"""The log of a fit: a line of JSON every few steps and every epoch, and for TensorBoard too."""

import importlib.util
import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

from vidret.data.errors import MissingError
from vidret.data.storage.publish import cannot_write, publish

LOG, BOARD = "log.jsonl", "tensorboard"
STEP, EPOCH, STOPPED = "step", "epoch", "stopped"
PLACE = ("kind", "stage", "epoch", "step")  # what is no number to draw

Line = dict[str, Any]


class Board(Protocol):
    """What is used of TensorBoard's writer."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Draw one point."""

    def close(self) -> None:
        """Write what is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """How much is logged.

    Args:
        every: steps from one line to the next.
        tensorboard: write the same for TensorBoard.
    """

    every: int = 50
    tensorboard: bool = False


USUAL_LOG = LogSettings()


class Journal:
    """The open log of a run; close it, or use it in a `with`.

    Args:
        folder: of the run.
        settings: how much is logged.
        done: the last step of each stage that is kept; a run that goes on writes what followed
            anew, so the old lines of that are dropped.
    """

    def __init__(self, folder: Path, settings: LogSettings, done: dict[str, float]) -> None:
        if settings.tensorboard:
            require_tensorboard()
        kept = [line for line in read_log(folder) if _is_kept(line, done)]
        with publish(folder / LOG) as part:
            part.write_text("".join(f"{json.dumps(line)}\n" for line in kept), encoding="utf-8")
        self.every = settings.every
        self.path = folder / LOG
        self._file: IO[str] = self.path.open("a", encoding="utf-8")
        self._board = _open_board(folder / BOARD, kept) if settings.tensorboard else None

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, line: Line) -> None:
        """Add a line, which a kill can no longer take back when this returns.

        Raises:
            MissingError: there is no room for it.
        """
        try:
            self._file.write(f"{json.dumps(line)}\n")
            self._file.flush()
        except OSError as error:
            raise cannot_write(self.path, error) from error
        if self._board is not None:
            _draw(self._board, line)

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()


@dataclass(slots=True, kw_only=True)
class Window:
    """What happened since the last line of the log.

    Args:
        captions: that were trained on.
        losses: of the batches.
        norms: of their gradients, before they were cut.
        inside: seconds of forward, backward and the optimizer.
        outside: seconds of everything else.
        videos: that were encoded.
        frames: of them.
    """

    captions: int = 0
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    inside: float = 0.0
    outside: float = 0.0
    videos: int = 0
    frames: int = 0

    def add(
        self, captions: int, loss: float, norm: float, *, inside: float, outside: float
    ) -> None:
        """Take in a batch."""
        self.captions += captions
        self.losses.append(loss)
        self.norms.append(norm)
        self.inside += inside
        self.outside += outside

    def add_frames(self, videos: int, frames: int) -> None:
        """Take in what a batch encoded."""
        self.videos += videos
        self.frames += frames

    def numbers(self) -> dict[str, float]:
        """The means, the pace, and the share of the time that went elsewhere."""
        seconds = max(self.inside + self.outside, 1e-9)
        numbers = {
            "loss": _mean(self.losses),
            "grad_norm": _mean(self.norms),
            "captions_per_second": round(self.captions / seconds, 1),
            "outside": round(self.outside / seconds, 4),
        }
        if self.videos:
            numbers["videos_per_second"] = round(self.videos / seconds, 2)
            numbers["frames_per_second"] = round(self.frames / seconds, 1)
        return numbers


def read_log(folder: Path) -> list[Line]:
    """The lines of a run's log; one that a kill cut short is left out."""
    lines = []
    with suppress(FileNotFoundError):
        for text in (folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):
                lines.append(json.loads(text))
    return [line for line in lines if isinstance(line, dict)]


def require_tensorboard() -> None:
    """Refuse to begin what could not be written.

    Raises:
        MissingError: TensorBoard is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise MissingError(
            "--tensorboard needs TensorBoard, which is not installed: "
            "pip install 'vidret[tensorboard]', or leave it out and read the run's log.jsonl"
        )


def _is_kept(line: Line, done: dict[str, float]) -> bool:
    return line.get("kind") in (STEP, EPOCH) and line["step"] <= done.get(line["stage"], 0)


def _open_board(folder: Path, kept: Sequence[Line]) -> Board:
    """TensorBoard's files, begun anew with what the log has: so they hold nothing twice."""
    from torch.utils.tensorboard import SummaryWriter

    shutil.rmtree(folder, ignore_errors=True)
    board: Board = SummaryWriter(str(folder))
    for line in kept:
        _draw(board, line)
    return board


def _draw(board: Board, line: Line) -> None:
    """The numbers of a line, those of an epoch beside those of the steps."""
    place = line.get("step" if line["kind"] == STEP else "epoch", 0)
    for name, value in line.items():
        if name not in PLACE and isinstance(value, int | float):
            board.add_scalar(f"{line['stage']}/{line['kind']}/{name}", value, place)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))
