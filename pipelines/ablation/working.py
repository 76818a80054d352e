"""Fits, one after the other or side by side in processes; one that fails does not stop the rest."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from vidret.data.cache import FeatureCache
from vidret.data.errors import VidretError
from vidret.data.features import SplitFeatures
from vidret.heads.metrics import Competition
from vidret.pipelines.ablation.fits import SPLIT, Fit
from vidret.pipelines.ablation.ranks import keep_ranks
from vidret.pipelines.evaluate import rank_split
from vidret.pipelines.training.fitting import Data, as_split, fit_run, load_data
from vidret.pipelines.training.journal import LogSettings
from vidret.pipelines.training.projecting import features_of_run
from vidret.pipelines.training.runs import Run, load_weights, read_run
from vidret.pipelines.training.splits import Split

log = logging.getLogger(__name__)

OnEpoch = Callable[[int], None]
Fitter = Callable[[Fit, OnEpoch], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where fits happen; small enough to travel to another process."""

    cache: Path
    device: str
    v2t_by: Competition
    log_settings: LogSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What became of a fit: another epoch, or its end, in an error perhaps."""

    fit: Fit
    epoch: int = 0
    ended: bool = False
    error: VidretError | None = None


OnEvent = Callable[[Event], None]


def fitter_at(bench: Bench) -> Fitter:
    """What fits a run and ranks the test split with it; features are loaded once, when needed."""
    features_of, device = FeatureCache.open(bench.cache), torch.device(bench.device)

    @cache
    def data_of(select_on: str) -> Data:
        return load_data(features_of, select_on, device)

    @cache
    def test() -> tuple[SplitFeatures, Split]:
        features = features_of.load(SPLIT)
        return features, as_split(features, device)

    def test_of(fit: Fit, run: Run) -> tuple[SplitFeatures, Split]:
        features, split = test()
        its = features_of_run(fit.folder, run, features)
        return (features, split) if its is features else (its, as_split(its, device))

    def fit_and_rank(fit: Fit, on_epoch: OnEpoch) -> None:
        remove_parts(fit.folder)
        data = data_of(fit.run.settings["select_on"])
        fit_run(
            fit.folder,
            fit.run,
            data,
            on_epoch=on_epoch,
            after=fit.after,
            log_settings=bench.log_settings,
        )
        if fit.in_table:
            run = read_run(fit.folder)
            features, split = test_of(fit, run)
            retriever = load_weights(fit.folder, run).to(device)
            ranks = rank_split(retriever, split, features, v2t_by=bench.v2t_by)
            keep_ranks(fit.folder, run, features_of, SPLIT, bench.v2t_by, ranks)

    return fit_and_rank


def fit_in_turn(bench: Bench, fits: Sequence[Fit], on_event: OnEvent, *, threads: int) -> None:
    """Fit one run after the other in this process.

    Args:
        bench: where.
        fits: each behind the one that it needs; those needed that are not listed are done.
        on_event: told of every epoch and of every end.
        threads: of torch; 0 leaves them as they are.
    """
    queue, fitter = Queue(fits), fitter_at(bench)
    with torch_threads(threads):
        while fit := queue.next():
            error = attempt(fitter, fit, epochs_of(fit, on_event))
            for event in queue.ended(fit, error):
                on_event(event)


def attempt(fitter: Fitter, fit: Fit, on_epoch: OnEpoch) -> VidretError | None:
    """Fit a run, and give the error that stopped it; a bug is left to raise."""
    try:
        fitter(fit, on_epoch)
    except VidretError as error:
        return error
    return None


def epochs_of(fit: Fit, on_event: OnEvent) -> OnEpoch:
    """What tells of every epoch of a fit."""
    return lambda epoch: on_event(Event(fit=fit, epoch=epoch))


class Queue:
    """The fits still to begin; one waits for the run that it needs, and fails with it."""

    def __init__(self, fits: Sequence[Fit]) -> None:
        self._waiting = list(fits)
        self._unfinished = {fit.folder for fit in fits}

    def __len__(self) -> int:
        return len(self._waiting)

    def next(self) -> Fit | None:
        """The first fit that needs nothing unfinished, or None if all of them have to wait."""
        for fit in self._waiting:
            if fit.after not in self._unfinished:
                self._waiting.remove(fit)
                return fit
        return None

    def ended(self, fit: Fit, error: VidretError | None) -> Iterator[Event]:
        """The end of a fit, and with an error that of the fits which need it."""
        self._unfinished.discard(fit.folder)
        yield Event(fit=fit, ended=True, error=error)
        for other in [one for one in self._waiting if error and one.after == fit.folder]:
            self._waiting.remove(other)
            yield from self.ended(other, needs_another(fit, error))


def needs_another(fit: Fit, error: VidretError | None) -> VidretError:
    """The error of a fit whose first stage failed."""
    kind = VidretError if error is None else type(error)
    return kind(f"its first stage is that of {fit.name}, which failed")


def remove_parts(folder: Path) -> None:
    """Remove what a process that was killed left half-written in the folder of its run."""
    for part in folder.glob("*.part"):
        part.unlink(missing_ok=True)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """So many threads of torch in the block; 0 leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
