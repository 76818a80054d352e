"""What the stages of a fit train: the heads alone, or CLIP's last projections with them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vidret.data.batches import Texts, Videos
from vidret.heads.loss import info_nce
from vidret.heads.metrics import summarize, text_to_video_ranks
from vidret.heads.retriever import Retriever
from vidret.heads.scoring import score_in_blocks
from vidret.pipelines.training.journal import Journal
from vidret.pipelines.training.loop import (
    AUDIO,
    Fit,
    Learner,
    OnEpoch,
    Stage,
    fit_learner,
)
from vidret.pipelines.training.optimizing import weight_groups
from vidret.pipelines.training.projecting import (
    LastProjections,
    WithProjections,
    project_split,
    projection_groups,
)
from vidret.pipelines.training.splits import Batch, Split, begin_epoch

FIXED = "fixed"
BFLOAT16 = "bfloat16"


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
        **_batches_of(train),
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
        **_batches_of(train),
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
    with computing_in(stage.precision, owners.device):
        logits = retriever.logits(texts, videos)
    return info_nce(
        logits.float(), owners, same_video=stage.same_video, directions=stage.directions
    )


def computing_in(precision: str, device: torch.device) -> torch.autocast:
    """Products in bfloat16 inside the block, where that is asked for."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == BFLOAT16)


def measure(retriever: Retriever, split: Split) -> dict[str, float]:
    """Text-to-video numbers of a split."""
    similarity = score_in_blocks(retriever, split.texts, split.videos)
    return summarize(text_to_video_ranks(similarity, split.owners))


def _batches_of(train: Split) -> dict[str, Any]:
    """Where the batches of a learner come from."""

    def begin(generator: torch.Generator) -> Callable[[Tensor], Batch]:
        return begin_epoch(train, generator)

    return {
        "owners": train.owners.cpu(),
        "caption_ids": train.caption_ids,
        "begin_epoch": begin,
    }
