"""The training loop: a stage, an epoch at a time, stopped and continued anywhere."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from itertools import islice
from math import isfinite
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from vidret.heads.loss import Directions, SameVideo
from vidret.heads.retriever import Retriever
from vidret.heads.teaching import Taught
from vidret.pipelines.training.averaging import Averages
from vidret.pipelines.training.drawing import ALL, count_batches, draw_batches
from vidret.pipelines.training.halting import Place, refuse_numbers
from vidret.pipelines.training.journal import EPOCH, STEP, Journal, Window
from vidret.pipelines.training.optimizing import (
    START,
    AdamW,
    Groups,
    learning_weights,
    limit_gradient,
    rate_schedule,
)
from vidret.pipelines.training.watching import Watch

log = logging.getLogger(__name__)

VIDEO_TEXT, AUDIO = "video-text", "audio"
LATE = "late"


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
    loss_dual_softmax: float = 0.0
    loss_distillation: float = 0.0
    loss_distillation_by: Taught = "videos"
    loss_distillation_scale: float = 20.0
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
        advice: what to do about a loss that is not finite.
        backward: leaves the gradients of a batch in the weights and returns its loss; None goes
            backward from `loss`.
        video_ids: what a message calls the videos.
        num_frames: of each video, where a batch encodes them.
        astray: the captions of a batch whose own features, or those of their video, are not finite.
    """

    model: nn.Module
    retriever: Retriever
    groups: Groups
    owners: Tensor
    caption_ids: Sequence[str]
    begin_epoch: Callable[[torch.Generator], Callable[[Tensor], Any]]
    loss: Callable[[Any], Tensor]
    measure: Callable[[], dict[str, float]]
    advice: str
    backward: Callable[[Any], Tensor] | None = None
    video_ids: Sequence[str] = ()
    num_frames: Tensor | None = None
    astray: Callable[[Any], list[int]] | None = None

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.retriever.tau.device


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


@dataclass(slots=True, kw_only=True)
class Amid:
    """How far an epoch has come.

    Args:
        batches: that are done.
        captions: in them.
        videos: that were encoded for them, and their frames.
        loss: of these, added up.
        seconds: that they took.
    """

    batches: int = 0
    captions: int = 0
    videos: int = 0
    frames: int = 0
    loss: float = 0.0
    seconds: float = 0.0


@dataclass(slots=True, kw_only=True)
class Saves:
    """What hands out the state of a fit amid its epochs.

    Args:
        every: seconds from one to the next.
        keep: takes the state.
    """

    every: float
    keep: Callable[[dict[str, Any]], None]
    last: float = field(default_factory=perf_counter)

    @property
    def due(self) -> bool:
        """Whether so much time has passed."""
        return perf_counter() - self.last >= self.every


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
    on_last: Callable[[Fit], object] | None = None,
    saves: Saves | None = None,
    watch: Watch | None = None,
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
        on_last: called while the model still holds the weights of the last epoch.
        saves: what takes the state amid an epoch.
        watch: what is told how far an epoch is.

    Raises:
        DamagedError: a loss or a gradient is not finite; the weights are as before that batch.
    """
    engine, progress, amid = _start(learner, stage, seed), Fit(), Amid()
    with torch.random.fork_rng(_own_gpu(learner)):  # dropout draws from the global generator
        torch.manual_seed(seed)
        if resume is not None:
            progress, amid = _restore(resume, learner, engine)
        elif from_start:
            _look_on(watch, progress, 0.0)
            _note(progress, learner, stage, engine)
        while progress.epoch < stage.epochs and not _without_progress(progress, stage):
            amid = _train_epoch(learner, stage, engine, progress, amid, journal, saves, watch)
            _look_on(watch, progress, 1.0)
            progress.epoch += 1
            _note(progress, learner, stage, engine, amid.loss / max(1, amid.captions))
            if journal is not None:
                journal.write(_epoch_line(progress, stage, engine, amid) | _gpu_peak(learner))
            amid = Amid()
            on_epoch(progress, _state(progress, learner, engine))
    if on_last is not None:
        with _measured_weights(engine):
            on_last(progress)
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
    learner: Learner,
    stage: Stage,
    engine: Engine,
    progress: Fit,
    amid: Amid,
    journal: Journal | None,
    saves: Saves | None,
    watch: Watch | None,
) -> Amid:
    """Train on those batches of an epoch that are left; return what all of them came to."""
    learner.retriever.train()  # and nothing else: encoders stay as they were trained to be used
    epoch = progress.epoch + 1
    _hold_temperature(learner, stage, epoch)
    for gpu in _own_gpu(learner):
        torch.cuda.reset_peak_memory_stats(gpu)
    window, before, mark = Window(), amid.seconds, perf_counter()
    began, at_start = mark, engine.draws.get_state()
    gather = learner.begin_epoch(engine.draws)
    batches = draw_batches(
        learner.owners, size=stage.batch_size, pairs=stage.pairs, generator=engine.draws
    )
    total = count_batches(learner.owners, size=stage.batch_size, pairs=stage.pairs)
    for rows in islice(batches, amid.batches, None):
        batch = gather(rows)
        gathered = perf_counter()
        loss, norm = _gradients(learner, stage, engine, batch)
        if not (isfinite(loss) and isfinite(norm)):
            place = Place(stage=stage.name, epoch=epoch, step=engine.step + 1)
            raise refuse_numbers(learner, place, rows, batch, (loss, norm), journal)
        _move(learner, engine)
        stepped = perf_counter()
        window.add(len(rows), loss, norm, inside=stepped - gathered, outside=gathered - mark)
        frames = torch.empty(0)
        if learner.num_frames is not None:
            frames = learner.num_frames[learner.owners[rows].unique()]
            window.add_frames(len(frames), int(frames.sum()))
        mark = stepped
        amid = Amid(
            batches=amid.batches + 1,
            captions=amid.captions + len(rows),
            videos=amid.videos + len(frames),
            frames=amid.frames + int(frames.sum()),
            loss=amid.loss + loss * len(rows),
            seconds=before + stepped - began,
        )
        if journal is not None and amid.batches % journal.every == 0:
            journal.write(_step_line(learner, stage, engine, epoch, window))
            window = Window()
        if watch is not None:
            watch.step(progress.epoch, amid.batches, total, amid.loss / amid.captions)
        if saves is not None and saves.due:
            state = _state(progress, learner, engine)
            # Batches are drawn anew from where the epoch began, and those done are left out.
            saves.keep(state | {"draws": at_start, "amid": asdict(amid)})
            saves.last = mark = perf_counter()
    return amid


def _look_on(watch: Watch | None, progress: Fit, part: float) -> None:
    if watch is not None:
        watch.measuring(progress.epoch, part)


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
    loss = backward(learner, batch)
    norm = limit_gradient(learning_weights(learner.groups), stage.clip_norm)
    both: list[float] = torch.stack([loss.detach().float(), norm.float()]).tolist()  # one wait
    return both[0], both[1]


def backward(learner: Learner, batch: object) -> Tensor:
    """Leave the gradients of a batch in the weights that learn, and return its loss."""
    if learner.backward is not None:
        return learner.backward(batch)
    loss = learner.loss(batch)
    loss.backward()
    return loss


def _move(learner: Learner, engine: Engine) -> None:
    """Take one step along the gradients."""
    engine.optimizer.pull_to_start()
    engine.optimizer.step()
    engine.schedule.step()
    learner.retriever.clamp_temperature()
    if engine.averages is not None:
        engine.averages.update(engine.step)


def _step_line(
    learner: Learner, stage: Stage, engine: Engine, epoch: int, window: Window
) -> dict[str, Any]:
    return {
        "kind": STEP,
        "stage": stage.name,
        "epoch": epoch,
        "step": engine.step,
        **_rates(engine.optimizer),
        "tau": learner.retriever.tau.item(),
        **window.numbers(),
        **_gpu_peak(learner),
    }


def _rates(optimizer: AdamW) -> dict[str, float]:
    """The rate of the heads, and of each encoder that of its uppermost and of its lowest layer."""
    rates = {"lr": optimizer.param_groups[0]["lr"]}
    parts = dict.fromkeys(group["part"] for group in optimizer.param_groups if "part" in group)
    for part in parts:
        its = [group["lr"] for group in optimizer.param_groups if group.get("part") == part]
        rates[f"lr_{part}"] = max(its)
        if min(its) < max(its):
            rates[f"lr_{part}_lowest"] = min(its)
    return rates


def _epoch_line(progress: Fit, stage: Stage, engine: Engine, amid: Amid) -> dict[str, Any]:
    """The numbers of an epoch, and what it took without its measurement."""
    seconds = max(amid.seconds, 1e-9)
    encoded = {
        "videos_per_second": round(amid.videos / seconds, 2),
        "frames_per_second": round(amid.frames / seconds, 1),
    }
    return {
        "kind": EPOCH,
        "stage": stage.name,
        "step": engine.step,
        **progress.history[-1],
        "seconds": round(amid.seconds, 3),
        "captions_per_second": round(amid.captions / seconds, 1),
        **(encoded if amid.videos else {}),
    }


def _gpu_peak(learner: Learner) -> dict[str, int]:
    """The most memory that torch held on the GPU since the epoch began."""
    if learner.device.type != "cuda":
        return {}
    return {"gpu_peak_mib": round(torch.cuda.max_memory_allocated(learner.device) / 2**20)}


def _note(
    progress: Fit, learner: Learner, stage: Stage, engine: Engine, loss: float | None = None
) -> None:
    """Measure an epoch, and keep its weights if it is the best so far."""
    with _measured_weights(engine):
        numbers = learner.measure()
        losses = {} if loss is None else {"loss": loss}  # before the first epoch there is none
        tau = learner.retriever.tau.item()
        progress.history.append({"epoch": progress.epoch, **losses, "tau": tau, **numbers})
        score = (numbers["R@1"], -numbers["MnR"])
        if progress.best is None or score > progress.best:
            progress.best, progress.best_epoch = score, progress.epoch
            progress.best_weights = _copy(learner.model.state_dict())
    log.debug("%s epoch %d: R@1 %.2f, loss %s", stage.name, progress.epoch, score[0], loss)


def _measured_weights(engine: Engine) -> AbstractContextManager[None]:
    """The averages stand where the weights do, if there are some."""
    return nullcontext() if engine.averages is None else engine.averages.in_place()


def _own_gpu(learner: Learner) -> list[torch.device]:
    return [learner.device] if learner.device.type == "cuda" else []


def _state(progress: Fit, learner: Learner, engine: Engine) -> dict[str, Any]:
    return {
        "epoch": progress.epoch,
        "best": progress.best,
        "best_epoch": progress.best_epoch,
        "best_weights": progress.best_weights,
        "history": progress.history,
        "weights": learner.model.state_dict(),
        "averages": [] if engine.averages is None else engine.averages.values,
        "optimizer": engine.optimizer.state_dict(),
        "schedule": engine.schedule.state_dict(),
        "draws": engine.draws.get_state(),
        "dropout": torch.get_rng_state(),
        "dropout_on_gpu": [torch.cuda.get_rng_state(gpu) for gpu in _own_gpu(learner)],
    }


def _restore(state: dict[str, Any], learner: Learner, engine: Engine) -> tuple[Fit, Amid]:
    learner.model.load_state_dict(state["weights"])
    engine.optimizer.load_state_dict(state["optimizer"])
    engine.schedule.load_state_dict(state["schedule"])
    engine.draws.set_state(state["draws"])
    torch.set_rng_state(state["dropout"])
    # On another kind of device than before nothing fits, and no bits are promised.
    for saved, gpu in zip(state["dropout_on_gpu"], _own_gpu(learner), strict=False):
        torch.cuda.set_rng_state(saved, gpu)
    if engine.averages is not None:
        engine.averages.load(state["averages"])
    progress = Fit(
        epoch=state["epoch"],
        best=state["best"],
        best_epoch=state["best_epoch"],
        best_weights=state["best_weights"],
        history=state["history"],
    )
    return progress, Amid(**state.get("amid", {}))


def _copy(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in weights.items()}
