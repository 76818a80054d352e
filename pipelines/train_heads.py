"""`vidret train-heads`: a cache in, fitted heads out, in two stages as in the paper."""

import logging
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from vidret.data.cache import FeatureCache, newest_cache
from vidret.data.errors import ConfigError, MismatchError, VidretError
from vidret.data.fingerprint import require_fingerprint
from vidret.extract.encoders import pick_device
from vidret.heads.catalog import told_name
from vidret.pipelines.ablation.rows import is_ignored
from vidret.pipelines.config.fitting import FIT_SETTINGS, TrainConfig
from vidret.pipelines.display.progress import OnProgress, Progress
from vidret.pipelines.training.continuing import refuse_other_settings
from vidret.pipelines.training.fitting import (
    best_epoch,
    fit_run,
    hears,
    load_data,
    new_run,
    stages_of,
)
from vidret.pipelines.training.journal import LogSettings, require_tensorboard
from vidret.pipelines.training.runs import (
    RUN,
    SOUND,
    WEIGHTS,
    Run,
    check_run_name,
    find_run,
    read_run,
    trained_on,
)

log = logging.getLogger(__name__)

DEFAULT_HEAD = "mgfi"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainReport:
    """What a fit came to."""

    folder: Path
    run: Run
    captions: int
    videos: int
    with_sound: int
    best: dict[str, dict[str, float]]
    was_done: bool = False

    @property
    def audio_weight(self) -> float:
        """What s(a, t) counts in a score."""
        found = self.run.audio_weight
        return float(self.run.settings.get("audio_weight", 1)) if found is None else found.chosen

    @property
    def verdict(self) -> VidretError | None:
        """A fit that ended is a fit."""
        return None

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return {
            "run": self.run.name,
            "folder": str(self.folder),
            "head": self.run.head,
            "seed": self.run.seed,
            "cache": str(self.run.cache),
            "select_on": self.run.settings["select_on"],
            "train": {
                "captions": self.captions,
                "videos": self.videos,
                "with_sound": self.with_sound,
            },
            "best": self.best,
            "history": self.run.history,
            "was_done": self.was_done,
            "audio_weight": None
            if self.run.audio_weight is None
            else asdict(self.run.audio_weight),
        }


def run_train(config: TrainConfig, *, on_progress: OnProgress) -> TrainReport:
    """Fit a head, or go on with one that was stopped; a finished one is only reported."""
    if config.tensorboard:
        require_tensorboard()
    folder, run = _choose_run(config)
    cache = FeatureCache.open(trained_on(config.work, run))
    require_fingerprint(cache.fingerprint, run.fingerprint, str(cache.folder))
    data = load_data(cache, run.settings["select_on"], pick_device(config.device))
    total = sum(stage.epochs for stage in stages_of(run))
    was_done = (folder / WEIGHTS).exists() and read_run(folder).complete
    run = fit_run(
        folder,
        run,
        data,
        on_epoch=lambda done: on_progress(Progress(done=done, total=total)),
        log_settings=LogSettings(every=config.log_every, tensorboard=config.tensorboard),
        tell=lambda done, part, note: on_progress(
            Progress(done, part=part, total=total, note=note)
        ),
    )
    return TrainReport(
        folder=folder,
        run=run,
        captions=len(data.train),
        videos=len(data.train.videos),
        with_sound=int(data.train.videos.audio_mask.sum()),
        best={stage: best_epoch(epochs) for stage, epochs in run.history.items() if epochs},
        was_done=was_done,
    )


def _choose_run(config: TrainConfig) -> tuple[Path, Run]:
    """The run to go on with, or the new one that the settings describe."""
    if config.resume is not None:
        folder = find_run(config.work, config.resume)
        run = read_run(folder)
        if run.origin is not None:
            raise MismatchError(
                f"run {run.name} is a fine-tuning: go on with `vidret finetune --resume {run.name}`"
            )
        _refuse_other_settings(config, run)
        return folder, run
    cache = FeatureCache.open(config.cache or newest_cache(config.work))
    run = new_run(cache, config.head or _default_head(cache), config.seed, config)
    _tell_what_plays_no_part(config, run.head)
    if config.name is not None:
        check_run_name(config.name)
        run = replace(run, name=config.name)
    folder = config.work / "runs" / run.name
    if (folder / RUN).exists():
        before = read_run(folder)
        if before.settings != run.settings or before.head != run.head or before.seed != run.seed:
            raise MismatchError(
                f"run {run.name} was begun with other settings: choose another --name, "
                f"or go on with --resume {run.name}"
            )
        require_fingerprint(before.fingerprint, run.fingerprint, f"run {run.name}")
    return folder, run


def _tell_what_plays_no_part(config: TrainConfig, head: str) -> None:
    """Name the settings that were chosen and that this head comes out the same without."""
    usual = {one.name: one.default for one in fields(TrainConfig)}
    chosen = (name for name in FIT_SETTINGS if getattr(config, name) != usual[name])
    if idle := [name for name in chosen if is_ignored(name, head, config)]:
        verb = "plays" if len(idle) == 1 else "play"
        log.info("%s %s no part in %s", ", ".join(idle), verb, told_name(head))


def _refuse_other_settings(config: TrainConfig, run: Run) -> None:
    """A run that continues keeps its settings and its cache."""
    its_own = {name: run.settings[name] for name in FIT_SETTINGS}
    refuse_other_settings(config, its_own | {"head": run.head, "seed": run.seed}, run.name)
    if config.cache is not None and config.cache.absolute().name != run.cache.name:
        raise ConfigError(
            f"cache is {config.cache}, and run {run.name} learns from {run.cache.name}: leave it "
            "out to continue, or leave out --resume for a new run"
        )


def _default_head(cache: FeatureCache) -> str:
    if hears(cache):
        return DEFAULT_HEAD + SOUND
    log.info("No video of the train split has sound: training %s alone", DEFAULT_HEAD)
    return DEFAULT_HEAD
