"""From a cache to a fitted run: which stages there are, what they learn from, where they go on."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vidret.data.cache import FeatureCache
from vidret.data.errors import MissingError
from vidret.data.features import HELD_OUT, SplitFeatures
from vidret.data.samples import AudioState
from vidret.data.storage.locks import folder_lock
from vidret.data.words import counted
from vidret.extract.decoding.sampling import UNIFORM
from vidret.extract.task import HIDDEN
from vidret.heads.retriever import Retriever
from vidret.pipelines.config.declaring import require
from vidret.pipelines.config.fitting import FIT_SETTINGS, FitConfig
from vidret.pipelines.training.checkpoints import (
    STATE,
    load_state,
    save_state,
    state_of_stage,
    steps_done,
)
from vidret.pipelines.training.costs import memory_noted
from vidret.pipelines.training.journal import EPOCH, USUAL_LOG, Journal, LogSettings, read_log
from vidret.pipelines.training.learners import head_learner, projecting_learner
from vidret.pipelines.training.loop import (
    AUDIO,
    VIDEO_TEXT,
    Fit,
    Learner,
    OnEpoch,
    Stage,
    fit_learner,
)
from vidret.pipelines.training.projecting import (
    LastProjections,
    WithProjections,
    copy_projections,
    features_of_run,
    require_hidden,
    save_projections,
    without_projections,
)
from vidret.pipelines.training.runs import (
    SOUND,
    WEIGHTS,
    Run,
    build_head,
    load_weights,
    read_run,
    run_name,
    save_weights,
    write_run,
)
from vidret.pipelines.training.splits import Split, dense_frames
from vidret.pipelines.training.watching import Tell, Watch
from vidret.pipelines.training.weighing import FROM_VAL, choose_audio_weight

log = logging.getLogger(__name__)

UNTRAINED = "mean"  # has no weights to fit
VAL, PART_OF_TRAIN = "val", "part-of-train"
SHARED_BY_STAGES = (
    "decay_to",
    "schedule",
    "warm_up",
    "clip_norm",
    "ema",
    "patience",
    "pairs",
    "same_video",
    "directions",
    "loss_dual_softmax",
    "loss_distillation",
    "loss_distillation_by",
    "loss_distillation_scale",
    "temperature",
    "precision",
    "projection_lr",
)
FEW = 20  # videos among which an epoch is picked by little more than chance


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The two splits of a fit on their device, and the part of the cache that they came from."""

    train: Split
    select: Split
    train_features: SplitFeatures
    select_features: SplitFeatures

    @property
    def device(self) -> torch.device:
        """Where the fit computes."""
        return self.train.owners.device

    def changed_by(
        self, change: Callable[[SplitFeatures], SplitFeatures], *, jitter: bool
    ) -> "Data":
        """The same splits of changed features, with frames to draw from where there is jitter."""
        train, select = change(self.train_features), change(self.select_features)
        return Data(
            train=as_split(train, self.device, jitter=jitter),
            select=as_split(select, self.device),
            train_features=train,
            select_features=select,
        )


def fit_run(
    folder: Path,
    run: Run,
    data: Data,
    *,
    on_epoch: Callable[[int], None] = lambda _: None,
    after: Path | None = None,
    log_settings: LogSettings = USUAL_LOG,
    tell: Tell | None = None,
) -> Run:
    """Fit a run to its end and return it with its numbers.

    Args:
        folder: of the run.
        run: what to fit; one that is complete comes back as it is.
        data: what to fit it on.
        on_epoch: told how many epochs are done.
        after: a finished run of the same head without sound, whose first stage this one shares.
        log_settings: how much goes into the log beside it.
        tell: told how far an epoch is.

    Raises:
        ConfigError: the cache does not hold what the settings ask for.
        DamagedError: a loss is not finite, or what was saved before cannot be read.
        MismatchError: what was saved before is made for another head.
        MissingError: TensorBoard is asked for and not installed, or another process fits the run.
    """
    with folder_lock(folder):
        return _fit_alone(folder, run, data, on_epoch, after, log_settings, tell)


def _fit_alone(
    folder: Path,
    run: Run,
    data: Data,
    on_epoch: Callable[[int], None],
    after: Path | None,
    log_settings: LogSettings,
    tell: Tell | None,
) -> Run:
    if (folder / WEIGHTS).exists() and (before := read_run(folder)).complete:
        load_weights(folder, before)  # what is damaged is not done
        features_of_run(folder, before, data.train_features)
        return before
    _warn_of_a_lost_state(folder)
    write_run(folder, run)
    retriever = _first_stage_of(after, folder) if after else build_head(run, sound=False)
    state = load_state(folder) or {"stage": None, "finished": {}}
    history: dict[str, Any] = dict(state["finished"])
    to_log = Journal(folder, log_settings, steps_done(state))
    with to_log as journal, memory_noted(folder, data.device):
        for stage in stages_of(run, shares_first_stage=after is not None):
            if stage.name in history:
                continue
            retriever = _with_sound(run, retriever) if stage.name == AUDIO else retriever
            learner = make_learner(folder, run, stage, retriever.to(data.device), data)
            fit = fit_learner(
                learner,
                stage,
                seed=run.seed,
                on_epoch=_keeper(folder, stage, history, on_epoch),
                resume=state_of_stage(state, stage.name, learner.model, folder),
                journal=journal,
                watch=None if tell is None else Watch(tell=tell, before=_count_epochs(history)),
            )
            history[stage.name] = fit.history
            if isinstance(learner.model, WithProjections):
                save_projections(folder, learner.model.projections)
    return _finish(folder, replace(run, history=history, complete=True), retriever, data)


def _warn_of_a_lost_state(folder: Path) -> None:
    """An epoch that was logged was saved, too; where the file is gone, the fit begins anew."""
    if not (folder / STATE).exists() and any(line["kind"] == EPOCH for line in read_log(folder)):
        log.warning("%s is gone: the run begins anew", folder / STATE)


def make_learner(folder: Path, run: Run, stage: Stage, retriever: Retriever, data: Data) -> Learner:
    """What a stage of a run trains, on the features that its settings ask for."""
    settings = run.settings
    if stage.name == VIDEO_TEXT and settings["train_projection"]:
        projections = LastProjections(require_hidden(data.train_features)).to(data.device)
        hidden = data.changed_by(without_projections, jitter=settings["jitter"])
        return projecting_learner(retriever, projections, stage, hidden.train, hidden.select)
    own = data_of_run(folder, run, data, jitter=settings["jitter"])
    return head_learner(retriever, stage, own.train, own.select)


def data_of_run(folder: Path, run: Run, data: Data, *, jitter: bool = False) -> Data:
    """The splits as a run sees them once its projections have learned what they can."""
    if not (jitter or run.settings["train_projection"]):
        return data
    return data.changed_by(partial(features_of_run, folder, run), jitter=jitter)


def stages_of(run: Run, *, shares_first_stage: bool = False) -> list[Stage]:
    """The stages of a run; a head without weights needs none, one without sound only the first."""
    learns = run.head.removesuffix(SOUND) != UNTRAINED or run.settings["train_projection"]
    stages = [make_stage(VIDEO_TEXT, run.settings)] if learns and not shares_first_stage else []
    return [*stages, make_stage(AUDIO, run.settings)] if run.head.endswith(SOUND) else stages


def make_stage(name: str, settings: Mapping[str, Any]) -> Stage:
    """A stage as the settings of a run describe it; what the sound has no own of, it shares."""

    def its(setting: str) -> Any:  # noqa: ANN401 - a setting is of any type
        own = settings[f"audio_{setting}"] if name == AUDIO else None
        return settings[setting] if own is None else own

    shared = {one: settings[one] for one in SHARED_BY_STAGES}
    return Stage(
        name=name,
        epochs=its("epochs"),
        batch_size=its("batch_size"),
        lr=its("lr"),
        weight_decay=its("weight_decay"),
        **shared,
    )


def new_run(cache: FeatureCache, head: str, seed: int, config: FitConfig) -> Run:
    """A run that has yet to be fitted.

    Raises:
        ConfigError: there is no such head, or the cache lacks a split, or what a setting needs.
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
    _refuse_other_features(cache, config)
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


def _refuse_other_features(cache: FeatureCache, config: FitConfig) -> None:
    """Say at once what would be found out when the features are read."""
    facts = cache.fingerprint
    require(
        not config.train_projection or facts.features == HIDDEN,
        f"--train-projection needs features from before the last projections, and {cache.folder} "
        "holds projected ones: extract with --features hidden, or leave it out",
    )
    require(
        not config.jitter or facts.frame_policy != UNIFORM,
        f"--jitter draws from frames at a fixed rate, and {cache.folder} holds {facts.frames} a "
        "video: extract with --sampling fps:1, or leave it out",
    )


def hears(cache: FeatureCache) -> bool:
    """Whether a head for sound has anything to learn from."""
    heard = cache.coverage("train").sound[AudioState.OK]
    return cache.fingerprint.audio_dim > 0 and heard > 0


def selection_of(cache: FeatureCache, select_on: str) -> str:
    """The split that picks the epoch: where a dataset has no val, a part of train is held out."""
    return PART_OF_TRAIN if select_on == VAL and VAL not in cache.splits else select_on


def load_features(cache: FeatureCache, select_on: str) -> tuple[SplitFeatures, SplitFeatures]:
    """What a fit learns from, and what picks its epoch."""
    if select_on == PART_OF_TRAIN:
        train, select = cache.load("train", part="rest"), cache.load("train", part="held-out")
        log.info(
            "%s has no validation split: %s of its training videos are held out to pick the epoch; "
            "--select-on test would pick it by the answers",
            cache.fingerprint.dataset,
            f"{HELD_OUT:.0%}",
        )
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
    return Data(
        train=as_split(train, device),
        select=as_split(select, device),
        train_features=train,
        select_features=select,
    )


def as_split(features: SplitFeatures, device: torch.device, *, jitter: bool = False) -> Split:
    """A split of a cache on a device.

    Args:
        features: of the cache.
        device: where to put them.
        jitter: with all frames that the cache has, for training to draw from.

    Raises:
        ConfigError: there is nothing to draw from.
        MissingError: it has no captions.
    """
    if not features.caption_ids:
        raise MissingError(
            f"split {features.split!r} of {features.folder} has no captions: "
            "training and evaluation need a dataset that has some"
        )
    return Split(
        texts=features.packed_texts().to(device),
        videos=features.videos_tensors().to(device),
        owners=torch.from_numpy(features.owners).to(device),
        caption_ids=features.caption_ids,
        video_ids=features.video_ids,
        dense=dense_frames(features, device) if jitter else None,
    )


def best_epoch(epochs: list[dict[str, float]]) -> dict[str, float]:
    """The epoch whose weights were kept."""
    return max(epochs, key=lambda numbers: (numbers["R@1"], -numbers["MnR"]))


def _first_stage_of(after: Path, folder: Path) -> Retriever:
    """The head of a finished run without sound, and its projections into the run that goes on."""
    run = read_run(after)
    retriever = load_weights(after, run)
    if run.settings["train_projection"]:
        copy_projections(after, folder)
    return retriever


def _with_sound(run: Run, seen: Retriever) -> Retriever:
    """A head that hears, has yet to learn what it hears, and sees as another one does."""
    retriever = build_head(run)
    retriever.load_state_dict(seen.state_dict(), strict=False)
    return retriever


def _finish(folder: Path, run: Run, retriever: Retriever, data: Data) -> Run:
    """Write the weights, then the numbers: a run with both is complete."""
    if run.head.endswith(SOUND) and run.settings["audio_weight"] == FROM_VAL:
        select = data_of_run(folder, run, data).select
        run = replace(run, audio_weight=choose_audio_weight(retriever.to(data.device), select))
    save_weights(folder, retriever)
    write_run(folder, run)
    (folder / STATE).unlink(missing_ok=True)
    return run


def _count_epochs(finished: Mapping[str, Any]) -> int:
    return sum(len(epochs) for epochs in finished.values())


def _keeper(
    folder: Path, stage: Stage, finished: dict[str, Any], on_epoch: Callable[[int], None]
) -> OnEpoch:
    """What saves a run after each epoch of a stage and counts the epochs."""
    before = _count_epochs(finished)
    already = dict(finished)

    def keep(fit: Fit, state: dict[str, Any]) -> None:
        save_state(folder, {"stage": stage.name, "finished": already, **state})
        on_epoch(before + fit.epoch)

    return keep
