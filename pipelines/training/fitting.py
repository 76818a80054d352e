"""From a cache to a fitted run: which stages there are, what they learn from, where they go on."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vidret.data.cache import FeatureCache
from vidret.data.errors import MissingError
from vidret.data.features import HELD_OUT, SplitFeatures
from vidret.data.samples import AudioState
from vidret.data.words import counted
from vidret.pipelines.config.fitting import FitConfig
from vidret.pipelines.training.loop import AUDIO, VIDEO_TEXT, Fit, OnEpoch, Split, Stage, fit_stage
from vidret.pipelines.training.runs import (
    FIT_SETTINGS,
    SOUND,
    STATE,
    WEIGHTS,
    Run,
    build_head,
    load_state,
    load_weights,
    read_run,
    run_name,
    save_state,
    save_weights,
    write_run,
)

log = logging.getLogger(__name__)

UNTRAINED = "mean"  # has no weights to fit
VAL, PART_OF_TRAIN = "val", "part-of-train"
FEW = 20  # videos among which an epoch is picked by little more than chance


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The two splits of a fit on their device."""

    train: Split
    select: Split


def fit_run(
    folder: Path,
    run: Run,
    data: Data,
    *,
    on_epoch: Callable[[int], None] = lambda _: None,
    after: Path | None = None,
) -> Run:
    """Fit a run to its end and return it with its numbers.

    Args:
        folder: of the run.
        run: what to fit; one that is complete comes back as it is.
        data: what to fit it on.
        on_epoch: told how many epochs are done.
        after: a finished run of the same head without sound, whose first stage this one shares.
    """
    if (folder / WEIGHTS).exists() and (before := read_run(folder)).complete:
        return before
    write_run(folder, run)
    device = data.train.owners.device
    stages = stages_of(run, shares_first_stage=after is not None)
    retriever = load_weights(after, read_run(after)) if after else build_head(run, sound=False)
    state = load_state(folder) or {"stage": None, "finished": {}}
    history: dict[str, Any] = dict(state["finished"])
    for stage in stages:
        if stage.name in history:
            continue
        learned = retriever.state_dict()
        retriever = build_head(run, sound=stage.name == AUDIO).to(device)
        retriever.load_state_dict(learned, strict=False)  # the sound's head has yet to learn
        fit = fit_stage(
            retriever,
            stage,
            data.train,
            data.select,
            seed=run.seed,
            on_epoch=_keeper(folder, stage, history, on_epoch),
            resume=state if state["stage"] == stage.name else None,
        )
        history[stage.name] = fit.history
    save_weights(folder, retriever)
    run = replace(run, history=history, complete=True)
    write_run(folder, run)
    (folder / STATE).unlink(missing_ok=True)
    return run


def stages_of(run: Run, *, shares_first_stage: bool = False) -> list[Stage]:
    """The stages of a run; a head without weights needs none, one without sound only the first."""
    settings = run.settings
    stages = []
    if not shares_first_stage and run.head.removesuffix(SOUND) != UNTRAINED:
        stages.append(
            Stage(
                name=VIDEO_TEXT,
                epochs=settings["epochs"],
                batch_size=settings["batch_size"],
                lr=settings["lr"],
                weight_decay=settings["weight_decay"],
            )
        )
    if run.head.endswith(SOUND):
        stages.append(
            Stage(
                name=AUDIO,
                epochs=settings["audio_epochs"],
                batch_size=settings["batch_size"],
                lr=settings["audio_lr"],
                weight_decay=settings["weight_decay"],
            )
        )
    return stages


def new_run(cache: FeatureCache, head: str, seed: int, config: FitConfig) -> Run:
    """A run that has yet to be fitted.

    Raises:
        ConfigError: there is no such head, or the cache lacks a split.
        MissingError: the head listens, and the cache holds no sound.
    """
    settings = {name: getattr(config, name) for name in FIT_SETTINGS}
    settings["select_on"] = selection_of(cache, config.select_on)
    run = Run(
        name=run_name(head, seed, settings, cache.fingerprint),
        head=head,
        seed=seed,
        cache=cache.folder.absolute(),
        fingerprint=cache.fingerprint,
        settings=settings,
        history={},
        complete=False,
    )
    build_head(run, sound=False)
    if head.endswith(SOUND) and not run.fingerprint.audio_dim:
        raise MissingError(
            f"{cache.folder} was made with --audio none, so {head} has nothing to hear: "
            f"extract with an encoder of sound, or train {head.removesuffix(SOUND)}"
        )
    if head.endswith(SOUND) and not hears(cache):
        raise MissingError(
            f"no video of the train split in {cache.folder} has sound, so {head} has nothing to "
            f"learn from: train {head.removesuffix(SOUND)}"
        )
    return run


def hears(cache: FeatureCache) -> bool:
    """Whether a head for sound has anything to learn from."""
    return cache.fingerprint.audio_dim > 0 and cache.coverage("train").sound[AudioState.OK] > 0


def selection_of(cache: FeatureCache, select_on: str) -> str:
    """The split that picks the epoch: where a dataset has no val, a part of train is held out."""
    return PART_OF_TRAIN if select_on == VAL and VAL not in cache.splits else select_on


def load_features(cache: FeatureCache, select_on: str) -> tuple[SplitFeatures, SplitFeatures]:
    """What a fit learns from, and what picks its epoch."""
    if select_on == PART_OF_TRAIN:
        log.info(
            "%s has no validation split: %s of its training videos are held out to pick the epoch; "
            "--select-on test would pick it by the answers",
            cache.fingerprint.dataset,
            f"{HELD_OUT:.0%}",
        )
        train, select = cache.load("train", part="rest"), cache.load("train", part="held-out")
        if len(select.video_ids) < FEW:
            log.warning(
                "only %s held out: too few to tell one epoch from another",
                counted(len(select.video_ids), "video is", "videos are"),
            )
        return train, select
    return cache.load("train"), cache.load(select_on)


def load_data(cache: FeatureCache, select_on: str, device: torch.device) -> Data:
    """The splits that a fit needs."""
    train, select = load_features(cache, select_on)
    return Data(train=as_split(train, device), select=as_split(select, device))


def as_split(features: SplitFeatures, device: torch.device) -> Split:
    """A split of a cache on a device.

    Raises:
        MissingError: it has no captions.
    """
    if not features.caption_ids:
        raise MissingError(
            f"split {features.split!r} of {features.folder} has no captions: "
            "training and evaluation need a dataset that has some"
        )
    return Split(
        texts=features.texts_tensors().to(device),
        videos=features.videos_tensors().to(device),
        owners=torch.from_numpy(features.owners).to(device),
    )


def best_epoch(epochs: list[dict[str, float]]) -> dict[str, float]:
    """The epoch whose weights were kept."""
    return max(epochs, key=lambda numbers: (numbers["R@1"], -numbers["MnR"]))


def _keeper(
    folder: Path, stage: Stage, finished: dict[str, Any], on_epoch: Callable[[int], None]
) -> OnEpoch:
    """What saves a run after each epoch of a stage and counts the epochs."""
    before = sum(len(epochs) for epochs in finished.values())
    already = dict(finished)

    def keep(fit: Fit, state: dict[str, Any]) -> None:
        save_state(folder, {"stage": stage.name, "finished": already, **state})
        on_epoch(before + fit.epoch)

    return keep
