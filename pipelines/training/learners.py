"""What the stages of a fit train: heads alone, or with CLIP's last projections, or encoders."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vidret.data.batches import Texts, Videos
from vidret.heads.hierarchical import hierarchical_loss, level_similarities, objective_of
from vidret.heads.loss import info_nce
from vidret.heads.metrics import summarize, text_to_video_ranks
from vidret.heads.retriever import Retriever
from vidret.heads.scoring import score_in_blocks
from vidret.heads.teaching import ask_teacher
from vidret.pipelines.training.journal import Journal
from vidret.pipelines.training.live import LiveSplit
from vidret.pipelines.training.loop import (
    AUDIO,
    Fit,
    Learner,
    OnEpoch,
    Stage,
    fit_learner,
)
from vidret.pipelines.training.optimizing import Groups, learning_weights, weight_groups
from vidret.pipelines.training.processes import agree, place, share_gradients
from vidret.pipelines.training.projecting import (
    LastProjections,
    WithProjections,
    project_split,
    projection_groups,
)
from vidret.pipelines.training.splits import Batch, Split, begin_epoch
from vidret.pipelines.training.stepping import backward_in_parts

FIXED = "fixed"
FLOAT32, BFLOAT16 = "float32", "bfloat16"

LiveBatch = tuple[LiveSplit, Tensor]  # as the epoch shows it, and some of its captions


def fit_stage(
    retriever: Retriever,
    stage: Stage,
    train: Split,
    select: Split,
    *,
    seed: int,
    on_epoch: OnEpoch,
    resume: dict[str, Any] | None = None,
    journal: Journal | None = None,
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
        journal: where the log goes.
    """
    learner = head_learner(retriever, stage, train, select)
    return fit_learner(learner, stage, seed=seed, on_epoch=on_epoch, resume=resume, journal=journal)


def head_learner(retriever: Retriever, stage: Stage, train: Split, select: Split) -> Learner:
    """The heads on features that stay as they are.

    Raises:
        ConfigError: the second stage of a head that hears no sound.
    """
    ready_for_stage(retriever, stage)

    def loss(batch: Batch) -> Tensor:
        return batch_loss(retriever, stage, batch.texts, batch.videos, batch.owners)

    return Learner(
        model=retriever,
        retriever=retriever,
        groups=weight_groups(retriever, lr=stage.lr, weight_decay=stage.weight_decay),
        loss=loss,
        measure=lambda: measure(retriever, select),
        **_batches_of(train, stage),
    )


def projecting_learner(
    retriever: Retriever,
    projections: LastProjections,
    stage: Stage,
    train: Split,
    select: Split,
) -> Learner:
    """The heads and the last projections below them, on features from before these.

    Args:
        retriever: the heads.
        projections: of frames, and of sentences and words.
        stage: the first one; in the second the projections keep still.
        train: where batches come from, its features not projected.
        select: what picks the epoch, likewise.
    """
    ready_for_stage(retriever, stage)

    def loss(batch: Batch) -> Tensor:
        with computing_in(stage.precision, batch.owners.device):
            texts, videos = projections.texts(batch.texts), projections.videos(batch.videos)
        return batch_loss(retriever, stage, texts, videos, batch.owners)

    return Learner(
        model=WithProjections(retriever, projections),
        retriever=retriever,
        groups=[
            *weight_groups(retriever, lr=stage.lr, weight_decay=stage.weight_decay),
            *projection_groups(
                projections, lr=stage.projection_lr, weight_decay=stage.weight_decay
            ),
        ],
        loss=loss,
        measure=lambda: measure(retriever, project_split(select, projections)),
        **_batches_of(train, stage),
    )


def encoding_learner(
    retriever: Retriever,
    trained: Retriever,
    stage: Stage,
    train: LiveSplit,
    select: LiveSplit,
    *,
    model: nn.Module,
    groups: Groups,
    chunk: int = 0,
    stepping: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Learner:
    """The heads, and the encoders below them where some of a split is live.

    Args:
        retriever: the heads that are measured.
        trained: the same weights without those heads that the stage leaves out.
        stage: whose precision is that of the encoders.
        train: where batches come from.
        select: what picks the epoch.
        model: every weight to keep and to restore.
        groups: the weights that learn.
        chunk: captions or videos encoded at once; 0 encodes a whole batch.
        stepping: what the encoders need around them while they learn.
    """
    device, live = train.cached.owners.device, bool(train.live_texts or train.live_videos)
    # The heads cost little beside the encoders, and their softmax over words is steep.
    of_heads = replace(stage, precision=FLOAT32) if live else stage

    def begin(generator: torch.Generator) -> Callable[[Tensor], LiveBatch]:
        epoch = train.begin_epoch(generator)
        return lambda rows: (epoch, rows.to(device))

    @contextmanager
    def encoding() -> Iterator[None]:
        with stepping(), computing_in(stage.precision, device):
            yield

    def loss_of(texts: Texts, videos: Videos, owners: Tensor) -> Tensor:
        return batch_loss(trained, of_heads, texts, videos, owners)

    def loss(batch: LiveBatch) -> Tensor:
        epoch, rows = batch
        with encoding():
            texts, videos = epoch.batch(rows)
        return loss_of(texts, videos, epoch.cached.owners[rows])

    def backward(batch: LiveBatch) -> Tensor:
        found = backward_in_parts(*batch, loss_of, chunk=chunk, computing=encoding)
        share_gradients(learning_weights(groups), alike=retriever.parameters())
        return found

    return Learner(
        model=model,
        retriever=trained,
        groups=groups,
        owners=train.cached.owners.cpu(),
        caption_ids=train.cached.caption_ids,
        video_ids=train.cached.video_ids,
        begin_epoch=begin,
        loss=loss,
        backward=backward if chunk or place().size > 1 else None,
        measure=lambda: agree(measure(retriever, select.encode())),
        num_frames=train.cached.videos.frame_mask.sum(1).cpu() if train.live_videos else None,
        astray=(lambda batch: batch[0].astray(batch[1])) if live else None,
        advice=_advice_on_encoders(stage) if live else _advice_on_heads("--lr"),
    )


def ready_for_stage(retriever: Retriever, stage: Stage) -> None:
    """Freeze what a stage does not train.

    Raises:
        ConfigError: the second stage of a head that hears no sound.
    """
    if stage.name == AUDIO:
        retriever.freeze_video_head()
    elif stage.temperature == FIXED:
        retriever.tau.requires_grad_(False)  # noqa: FBT003 (torch's own signature)


def batch_loss(
    retriever: Retriever, stage: Stage, texts: Texts, videos: Videos, owners: Tensor
) -> Tensor:
    """The loss of a batch: the forward pass in the stage's precision, the loss in float32."""
    objective = objective_of(retriever)
    if objective is not None:
        with computing_in(stage.precision, owners.device):
            levels = level_similarities(retriever, texts, videos)
        return hierarchical_loss(
            {name: level.float() for name, level in levels.items()},
            retriever.tau.exp(),
            videos,
            owners,
            objective,
            same_video=stage.same_video,
            directions=stage.directions,
        )
    with computing_in(stage.precision, owners.device):
        logits = retriever.logits(texts, videos)
    teacher = ask_teacher(
        texts,
        videos,
        by=stage.loss_distillation_by,
        share=stage.loss_distillation,
        scale=stage.loss_distillation_scale,
    )
    return info_nce(
        logits.float(),
        owners,
        same_video=stage.same_video,
        directions=stage.directions,
        dual_softmax=stage.loss_dual_softmax,
        teacher=teacher,
    )


def computing_in(precision: str, device: torch.device) -> torch.autocast:
    """Products in bfloat16 inside the block, where that is asked for."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == BFLOAT16)


def measure(retriever: Retriever, split: Split) -> dict[str, float]:
    """Text-to-video numbers of a split."""
    similarity = score_in_blocks(retriever, split.texts, split.videos)
    return summarize(text_to_video_ranks(similarity, split.owners))


def _batches_of(train: Split, stage: Stage) -> dict[str, Any]:
    """Where the batches of a learner come from, and what to do about one that gives no number."""

    def begin(generator: torch.Generator) -> Callable[[Tensor], Batch]:
        return begin_epoch(train, generator)

    return {
        "owners": train.owners.cpu(),
        "caption_ids": train.caption_ids,
        "video_ids": train.video_ids,
        "begin_epoch": begin,
        "advice": _advice_on_heads("--audio-lr" if stage.name == AUDIO else "--lr"),
    }


def _advice_on_heads(rate: str) -> str:
    """What to do about a loss that is not finite."""
    return (
        f"check their features with vidret cache verify, or begin another run with a lower {rate}"
    )


def _advice_on_encoders(stage: Stage) -> str:
    rate = "--lr-audio" if stage.name == AUDIO else "--lr-clip"
    return f"look at the videos with vidret probe, or begin another run with a lower {rate}"
