"""The training loop: a stage, an epoch at a time, stopped and continued anywhere."""

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from math import isfinite
from time import perf_counter
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from vidret.data.errors import DamagedError
from vidret.heads.loss import Directions, SameVideo
from vidret.heads.retriever import Retriever
from vidret.pipelines.training.averaging import Averages
from vidret.pipelines.training.drawing import ALL, count_batches, draw_batches
from vidret.pipelines.training.journal import EPOCH, STEP, STOPPED, Journal, Window
from vidret.pipelines.training.optimizing import (
    START,
    AdamW,
    Groups,
    learning_weights,
    limit_gradient,
    rate_schedule,
)

log = logging.getLogger(__name__)

VIDEO_TEXT, AUDIO = "video-text", "audio"
LATE = "late"
NAMED = 5  # captions in a message; the log names all


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of the fit: what is trained, and how; docs/training.md explains each setting."""

    name: str
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    decay_to: str = START
    schedule: str = "cosine"
    warm_up: float = 0.1
    clip_norm: float = 1.0
    ema: float = 0.0
    patience: int = 0
    pairs: str = ALL
    same_video: SameVideo = "mask"
    directions: Directions = "mean"
    temperature: str = "learned"
    precision: str = "float32"
    projection_lr: float = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """What a stage trains, on what, and what picks the best epoch.

    Args:
        model: every weight to keep and to restore, the retriever's among them.
        retriever: the heads and the temperature.
        groups: the weights that learn, as the optimizer takes them.
        owners: the video of each caption, on the CPU.
        caption_ids: what a message calls the captions; their numbers if there are none.
        begin_epoch: draws what an epoch sees, and returns what gathers a batch by its rows.
        loss: of such a batch.
        measure: text-to-video numbers of the weights as they are.
    """

    model: nn.Module
    retriever: Retriever
    groups: Groups
    owners: Tensor
    caption_ids: Sequence[str]
    begin_epoch: Callable[[torch.Generator], Callable[[Tensor], Any]]
    loss: Callable[[Any], Tensor]
    measure: Callable[[], dict[str, float]]


@dataclass(slots=True, kw_only=True)
class Fit:
    """Everything that a fit needs to go on as if it had never stopped.

    Args:
        epoch: how many are done.
        best: recall and mean rank of the best one, such that more is better.
        best_epoch: which it was.
        best_weights: what the model held then.
        history: the numbers of each.
    """

    epoch: int = 0
    best: tuple[float, float] | None = None
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What moves the weights of a stage, and the draws of its batches and frames."""

    optimizer: AdamW
    schedule: torch.optim.lr_scheduler.LRScheduler
    averages: Averages | None
    draws: torch.Generator

    @property
    def step(self) -> int:
        """How many steps the stage has taken."""
        return int(self.schedule.last_epoch)


OnEpoch = Callable[[Fit, dict[str, Any]], None]


def fit_learner(
    learner: Learner,
    stage: Stage,
    *,
    seed: int,
    on_epoch: OnEpoch,
    resume: dict[str, Any] | None = None,
    from_start: bool = False,
    journal: Journal | None = None,
) -> Fit:
    """Train whatever a stage trains, and leave the weights of its best epoch in the model.

    Args:
        learner: changed in place.
        stage: how many epochs, how large the batches, and the rest of its settings.
        seed: of batches, frames and dropout.
        on_epoch: called after each epoch with the progress and the state to save.
        resume: such a state.
        from_start: count the weights as they come as epoch 0, which may stay the best.
        journal: where the log goes.

    Raises:
        DamagedError: a loss or a gradient is not finite; the weights are as before that batch.
    """
    engine, progress = _start(learner, stage, seed), Fit()
    with torch.random.fork_rng():  # dropout draws from the global generator, and only here
        torch.manual_seed(seed)
        if resume is not None:
            progress = _restore(resume, learner.model, engine)
        elif from_start:
            _note(progress, learner, stage, engine)
        while progress.epoch < stage.epochs and not _without_progress(progress, stage):
            began = perf_counter()
            loss, captions = _train_epoch(learner, stage, engine, progress.epoch + 1, journal)
            seconds = perf_counter() - began
            progress.epoch += 1
            _note(progress, learner, stage, engine, loss)
            if journal is not None:
                journal.write(_epoch_line(progress, stage, engine, seconds, captions))
            on_epoch(progress, _state(progress, learner.model, engine))
    if progress.best_weights:
        learner.model.load_state_dict(progress.best_weights)
    return progress


def _start(learner: Learner, stage: Stage, seed: int) -> Engine:
    optimizer = AdamW(learner.groups, lr=stage.lr, decay_to=stage.decay_to)
    batches = count_batches(learner.owners, size=stage.batch_size, pairs=stage.pairs)
    schedule = rate_schedule(
        optimizer, kind=stage.schedule, steps=stage.epochs * batches, warm_up=stage.warm_up
    )
    averages = Averages(learning_weights(learner.groups), stage.ema) if stage.ema else None
    draws = torch.Generator().manual_seed(seed)
    return Engine(optimizer=optimizer, schedule=schedule, averages=averages, draws=draws)


def _without_progress(progress: Fit, stage: Stage) -> bool:
    return 0 < stage.patience <= progress.epoch - progress.best_epoch


def _train_epoch(
    learner: Learner, stage: Stage, engine: Engine, epoch: int, journal: Journal | None
) -> tuple[float, int]:
    """Train on every batch of an epoch; return the mean loss and how many captions it saw."""
    learner.retriever.train()  # and nothing else: encoders stay as they were trained to be used
    _hold_temperature(learner, stage, epoch)
    total, captions, window, mark = 0.0, 0, Window(), perf_counter()
    gather = learner.begin_epoch(engine.draws)
    batches = draw_batches(
        learner.owners, size=stage.batch_size, pairs=stage.pairs, generator=engine.draws
    )
    for number, rows in enumerate(batches, 1):
        batch = gather(rows)
        gathered = perf_counter()
        loss, norm = _gradients(learner, stage, engine, batch)
        if not (isfinite(loss) and isfinite(norm)):
            _stop(learner, stage, (epoch, engine.step + 1), rows, (loss, norm), journal)
        _move(learner, engine)
        stepped = perf_counter()
        window.add(len(rows), loss, norm, inside=stepped - gathered, outside=gathered - mark)
        mark = stepped
        if journal is not None and number % journal.every == 0:
            journal.write(_step_line(learner, stage, engine, epoch, window))
            window = Window()
        total, captions = total + loss * len(rows), captions + len(rows)
    return total / max(1, captions), captions


def _hold_temperature(learner: Learner, stage: Stage, epoch: int) -> None:
    """With `late` the temperature learns from the second epoch on, where it learns at all."""
    tau = learner.retriever.tau
    if stage.temperature == LATE and any(one is tau for one in learning_weights(learner.groups)):
        tau.requires_grad_(epoch > 1)


def _gradients(
    learner: Learner, stage: Stage, engine: Engine, batch: object
) -> tuple[float, float]:
    """Compute the gradients of a batch; return its loss and their norm before it was cut."""
    engine.optimizer.zero_grad()
    loss = learner.loss(batch)
    loss.backward()
    norm = limit_gradient(learning_weights(learner.groups), stage.clip_norm)
    both: list[float] = torch.stack([loss.detach().float(), norm.float()]).tolist()  # one wait
    return both[0], both[1]


def _move(learner: Learner, engine: Engine) -> None:
    """Take one step along the gradients."""
    engine.optimizer.pull_to_start()
    engine.optimizer.step()
    engine.schedule.step()
    learner.retriever.clamp_temperature()
    if engine.averages is not None:
        engine.averages.update(engine.step)


def _stop(
    learner: Learner,
    stage: Stage,
    place: tuple[int, int],
    rows: Tensor,
    found: tuple[float, float],
    journal: Journal | None,
) -> NoReturn:
    """End a fit before numbers that are not finite reach its weights."""
    epoch, step = place
    ids = [learner.caption_ids[row] if learner.caption_ids else str(row) for row in rows.tolist()]
    loss, norm = found
    what = "norm of the gradient" if isfinite(loss) else "loss"
    value = norm if isfinite(loss) else loss
    if journal is not None:
        told = {"kind": STOPPED, "stage": stage.name, "epoch": epoch, "step": step}
        journal.write(told | {"loss": str(loss), "grad_norm": str(norm), "captions": ids})
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    raise DamagedError(
        f"the {what} of stage {stage.name} is {value} in epoch {epoch}, step {step}, on captions "
        f"{', '.join(ids[:NAMED])}{more}: check their features with vidret cache verify, or begin "
        f"another run with a lower {'--audio-lr' if stage.name == AUDIO else '--lr'}; the epochs "
        "before this one are kept"
    )


def _step_line(
    learner: Learner, stage: Stage, engine: Engine, epoch: int, window: Window
) -> dict[str, Any]:
    return {
        "kind": STEP,
        "stage": stage.name,
        "epoch": epoch,
        "step": engine.step,
        "lr": engine.optimizer.param_groups[0]["lr"],
        "tau": learner.retriever.tau.item(),
        **window.numbers(),
    }


def _epoch_line(
    progress: Fit, stage: Stage, engine: Engine, seconds: float, captions: int
) -> dict[str, Any]:
    """The numbers of an epoch, and what it took without its measurement."""
    return {
        "kind": EPOCH,
        "stage": stage.name,
        "step": engine.step,
        **progress.history[-1],
        "seconds": round(seconds, 3),
        "captions_per_second": round(captions / max(seconds, 1e-9), 1),
    }


def _note(
    progress: Fit, learner: Learner, stage: Stage, engine: Engine, loss: float | None = None
) -> None:
    """Measure an epoch, and keep its weights if it is the best so far."""
    with nullcontext() if engine.averages is None else engine.averages.in_place():
        numbers = learner.measure()
        losses = {} if loss is None else {"loss": loss}  # before the first epoch there is none
        tau = learner.retriever.tau.item()
        progress.history.append({"epoch": progress.epoch, **losses, "tau": tau, **numbers})
        score = (numbers["R@1"], -numbers["MnR"])
        if progress.best is None or score > progress.best:
            progress.best, progress.best_epoch = score, progress.epoch
            progress.best_weights = _copy(learner.model.state_dict())
    log.debug("%s epoch %d: R@1 %.2f, loss %s", stage.name, progress.epoch, score[0], loss)


def _state(progress: Fit, model: nn.Module, engine: Engine) -> dict[str, Any]:
    return {
        "epoch": progress.epoch,
        "best": progress.best,
        "best_epoch": progress.best_epoch,
        "best_weights": progress.best_weights,
        "history": progress.history,
        "weights": model.state_dict(),
        "averages": [] if engine.averages is None else engine.averages.values,
        "optimizer": engine.optimizer.state_dict(),
        "schedule": engine.schedule.state_dict(),
        "draws": engine.draws.get_state(),
        "dropout": torch.get_rng_state(),
        "dropout_on_gpu": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def _restore(state: dict[str, Any], model: nn.Module, engine: Engine) -> Fit:
    model.load_state_dict(state["weights"])
    engine.optimizer.load_state_dict(state["optimizer"])
    engine.schedule.load_state_dict(state["schedule"])
    engine.draws.set_state(state["draws"])
    torch.set_rng_state(state["dropout"])
    if len(state["dropout_on_gpu"]) == torch.cuda.device_count():  # else on other devices: no bits
        torch.cuda.set_rng_state_all(state["dropout_on_gpu"])
    if engine.averages is not None:
        engine.averages.load(state["averages"])
    return Fit(
        epoch=state["epoch"],
        best=state["best"],
        best_epoch=state["best_epoch"],
        best_weights=state["best_weights"],
        history=state["history"],
    )


def _copy(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in weights.items()}
