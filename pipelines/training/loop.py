"""The training loop: a stage, an epoch at a time, stopped and continued anywhere."""

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vidret.data.batches import Texts, Videos
from vidret.data.errors import DamagedError
from vidret.heads.loss import info_nce
from vidret.heads.metrics import summarize, text_to_video_ranks
from vidret.heads.retriever import Retriever, score_in_blocks

log = logging.getLogger(__name__)

VIDEO_TEXT, AUDIO = "video-text", "audio"
WARM_UP = 0.1  # of all steps
MAX_GRADIENT = 1.0
MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.MultiheadAttention)  # what holds weights that decay


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A split on the device: every caption, every video, and whose caption each is."""

    texts: Texts
    videos: Videos
    owners: Tensor

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of the fit: what is trained, and how."""

    name: str
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """What a stage trains, on what, and what picks the best epoch.

    Args:
        model: every weight to keep and to restore, the retriever's among them.
        retriever: the heads and the temperature.
        groups: the weights that learn, as the optimizer takes them.
        captions: how many of them an epoch has.
        loss: of a batch of captions, by their rows.
        measure: text-to-video numbers of the weights as they are.
    """

    model: nn.Module
    retriever: Retriever
    groups: list[dict[str, Any]]
    captions: int
    loss: Callable[[Tensor], Tensor]
    measure: Callable[[], dict[str, float]]


@dataclass(slots=True, kw_only=True)
class Fit:
    """Everything that a fit needs to go on as if it had never stopped."""

    epoch: int = 0
    best: tuple[float, float] | None = None
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)


OnEpoch = Callable[[Fit, dict[str, Any]], None]


def fit_stage(
    retriever: Retriever,
    stage: Stage,
    train: Split,
    select: Split,
    *,
    seed: int,
    on_epoch: OnEpoch,
    resume: dict[str, Any] | None = None,
) -> Fit:
    """Train one stage, keep the weights of its best epoch, and leave them in the retriever.

    Args:
        retriever: changed in place; with a head for sound in the second stage alone.
        stage: `VIDEO_TEXT` trains the head of the frames and the temperature, `AUDIO` the head of
            the sound with all else frozen.
        train: where batches come from.
        select: the best epoch has the highest R@1 here, text to video; then the lowest mean rank.
        seed: of batches and dropout.
        on_epoch: called after each epoch with the progress and the state to save.
        resume: such a state.
    """
    if stage.name == AUDIO:
        retriever.freeze_video_head()

    def loss(rows: Tensor) -> Tensor:
        rows = rows.to(train.owners.device)
        owners = train.owners[rows]
        return info_nce(retriever.logits(train.texts[rows], train.videos[owners]), owners)

    learner = Learner(
        model=retriever,
        retriever=retriever,
        groups=weight_groups(retriever, lr=stage.lr, weight_decay=stage.weight_decay),
        captions=len(train),
        loss=loss,
        measure=lambda: measure(retriever, select),
    )
    return fit_learner(learner, stage, seed=seed, on_epoch=on_epoch, resume=resume)


def fit_learner(
    learner: Learner,
    stage: Stage,
    *,
    seed: int,
    on_epoch: OnEpoch,
    resume: dict[str, Any] | None = None,
    from_start: bool = False,
) -> Fit:
    """Train whatever a stage trains, and leave the weights of its best epoch in the model.

    Args:
        learner: changed in place.
        stage: how many epochs, how large the batches.
        seed: of batches and dropout.
        on_epoch: called after each epoch with the progress and the state to save.
        resume: such a state.
        from_start: count the weights as they come as epoch 0, which may stay the best.
    """
    optimizer = torch.optim.AdamW(learner.groups, lr=stage.lr)
    steps = stage.epochs * math.ceil(learner.captions / stage.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share(step, steps))
    batches = torch.Generator().manual_seed(seed)
    progress = Fit()
    with torch.random.fork_rng():  # dropout draws from the global generator, and only here
        torch.manual_seed(seed)
        if resume is not None:
            progress = _restore(resume, learner.model, optimizer, schedule, batches)
        elif from_start:
            _note(progress, learner, stage)
        while progress.epoch < stage.epochs:
            loss = _train_epoch(learner, stage, optimizer, schedule, batches)
            progress.epoch += 1
            _note(progress, learner, stage, loss)
            on_epoch(progress, _state(progress, learner.model, optimizer, schedule, batches))
    if progress.best_weights:
        learner.model.load_state_dict(progress.best_weights)
    return progress


def weight_groups(module: nn.Module, *, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """What learns in a module: matrices decay; norms, biases, embeddings and stand-ins do not."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for part in module.modules():
        for weight in part.parameters(recurse=False):
            is_matrix = isinstance(part, MATRICES) and weight.ndim > 1
            if weight.requires_grad:
                (matrices if is_matrix else others).append(weight)
    return [
        {"params": matrices, "lr": lr, "weight_decay": weight_decay},
        {"params": others, "lr": lr, "weight_decay": 0.0},
    ]


def _train_epoch(
    learner: Learner,
    stage: Stage,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    batches: torch.Generator,
) -> float:
    learner.retriever.train()  # and nothing else: encoders stay as they were trained to be used
    total, count = 0.0, 0
    for rows in _draw(learner.captions, stage.batch_size, batches):
        loss = learner.loss(rows)
        if not loss.isfinite():
            raise DamagedError(
                f"the loss of stage {stage.name} is {loss.item()} on captions "
                f"{rows.tolist()[:5]} ...: lower --lr, or check the cache with vidret cache verify"
            )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(
            [weight for group in optimizer.param_groups for weight in group["params"]], MAX_GRADIENT
        )
        optimizer.step()
        schedule.step()
        learner.retriever.clamp_temperature()
        total, count = total + loss.item() * len(rows), count + len(rows)
    return total / max(1, count)


def _draw(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Every caption once, in random order; a last batch of one has no negatives and waits."""
    for rows in torch.randperm(count, generator=generator).split(size):
        if len(rows) > 1:
            yield rows


def _share(step: int, steps: int) -> float:
    """The learning rate's share: up over the first tenth, then down a cosine to zero."""
    warm_up = max(1, round(WARM_UP * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def _note(progress: Fit, learner: Learner, stage: Stage, loss: float | None = None) -> None:
    """Measure an epoch, and keep its weights if it is the best so far."""
    numbers = learner.measure()
    losses = {} if loss is None else {"loss": loss}  # before the first epoch there is none
    progress.history.append(
        {"epoch": progress.epoch, **losses, "tau": learner.retriever.tau.item(), **numbers}
    )
    score = (numbers["R@1"], -numbers["MnR"])
    if progress.best is None or score > progress.best:
        progress.best = score
        progress.best_weights = _copy(learner.model.state_dict())
    log.debug("%s epoch %d: R@1 %.2f, loss %s", stage.name, progress.epoch, score[0], loss)


def measure(retriever: Retriever, split: Split) -> dict[str, float]:
    """Text-to-video numbers of a split."""
    similarity = score_in_blocks(retriever, split.texts, split.videos)
    return summarize(text_to_video_ranks(similarity, split.owners))


def _state(
    progress: Fit,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    batches: torch.Generator,
) -> dict[str, Any]:
    return {
        "epoch": progress.epoch,
        "best": progress.best,
        "best_weights": progress.best_weights,
        "history": progress.history,
        "weights": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "batches": batches.get_state(),
        "dropout": torch.get_rng_state(),
    }


def _restore(
    state: dict[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    batches: torch.Generator,
) -> Fit:
    model.load_state_dict(state["weights"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    batches.set_state(state["batches"])
    torch.set_rng_state(state["dropout"])
    return Fit(
        epoch=state["epoch"],
        best=state["best"],
        best_weights=state["best_weights"],
        history=state["history"],
    )


def _copy(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in weights.items()}
