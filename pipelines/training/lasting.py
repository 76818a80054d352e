"""The weights of the last epoch, beside those of the best: a run of its own in the run's folder."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from vidret.data.storage.publish import publish
from vidret.extract.weights.files import hash_file
from vidret.heads.retriever import Retriever
from vidret.pipelines.training.encoder_learning import LearningEncoder, write_encoder
from vidret.pipelines.training.projecting import copy_projections
from vidret.pipelines.training.runs import (
    CLIP_WEIGHTS,
    LAST,
    SOUND_WEIGHTS,
    Run,
    save_weights,
    write_run,
)


def write_last(
    folder: Path,
    run: Run,
    stage: str,
    epochs: list[dict[str, float]],
    *,
    retriever: Retriever,
    encoder: LearningEncoder | None,
    weights: str,
    save: str,
    projections: Path | None,
) -> None:
    """Write the weights as a stage leaves them, before the best ones take their place.

    `vidret evaluate --run NAME/last-STAGE` and all else that takes a run take it by that name.

    Args:
        folder: of the run.
        run: with the stages before this one in its history.
        stage: that has ended.
        epochs: its numbers, the last of which are those of these weights.
        retriever: the heads.
        encoder: the encoder that learned in this stage.
        weights: the name of its file.
        save: `full`, or `delta`.
        projections: the folder of a run whose projections this one goes on with.
    """
    last = folder / f"{LAST}{stage}"
    history: dict[str, Any] = run.history | {stage: epochs[-1:]}
    shutil.rmtree(last, ignore_errors=True)  # what an older attempt may have left
    last.mkdir(parents=True)
    for name in {CLIP_WEIGHTS, SOUND_WEIGHTS} - {weights}:
        if (folder / name).exists():  # of an earlier stage
            _link(folder / name, last / name)
    if encoder is not None:
        write_encoder(last / weights, encoder, save=save)
    if projections is not None:
        copy_projections(projections, last)
    fingerprint = run.fingerprint
    if (last / CLIP_WEIGHTS).exists():
        fingerprint = replace(fingerprint, backbone_weights=hash_file(last / CLIP_WEIGHTS))
    if (last / SOUND_WEIGHTS).exists():
        fingerprint = replace(fingerprint, audio_weights=hash_file(last / SOUND_WEIGHTS))
    name = f"{run.name}/{last.name}"
    write_run(
        last, replace(run, name=name, history=history, fingerprint=fingerprint, complete=True)
    )
    save_weights(last, retriever)


def _link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        with publish(target) as part:
            shutil.copyfile(source, part)
