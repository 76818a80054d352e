"""`vidret finetune`: a finished run in, a better one out; with `--e2e` the encoders learn too."""

from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vidret.data.cache import FeatureCache
from vidret.data.errors import MismatchError, VidretError
from vidret.data.fingerprint import require_fingerprint
from vidret.data.storage.locks import folder_lock
from vidret.extract.encoders import pick_device
from vidret.extract.weights.files import hash_file
from vidret.pipelines.config.declaring import require
from vidret.pipelines.config.fitting import FinetuneConfig
from vidret.pipelines.config.unfreezing import ENCODERS, read_unfreeze
from vidret.pipelines.display.progress import OnProgress, Progress
from vidret.pipelines.extraction.again import extract_again
from vidret.pipelines.training.continuing import refuse_other_settings
from vidret.pipelines.training.fitting import best_epoch, load_features, selection_of
from vidret.pipelines.training.halting import naming_the_room
from vidret.pipelines.training.journal import LogSettings
from vidret.pipelines.training.planning import origin_of, plan_stages
from vidret.pipelines.training.preparing import Tuning, prepare
from vidret.pipelines.training.processes import is_first, joined, wait_for_all
from vidret.pipelines.training.runs import (
    RUN,
    SOUND,
    WEIGHTS,
    Origin,
    Run,
    cache_of_run,
    check_run_name,
    find_run,
    load_weights,
    newest_run,
    read_run,
    run_name,
    trained_on,
)
from vidret.pipelines.training.tuning import fit_tuning


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneReport:
    """What a fine-tuning came to.

    Args:
        before: text-to-video numbers on the split that picks the epoch, at the start.
        after: the same for the weights that were kept.
        extract: the command that makes a cache for a run that changed an encoder, else None.
    """

    folder: Path
    run: Run
    captions: int
    videos: int
    before: dict[str, float]
    after: dict[str, float]
    kept: dict[str, int]
    extract: str | None

    @property
    def verdict(self) -> VidretError | None:
        """A fit that ended is a fit."""
        return None

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return {
            "run": self.run.name,
            "folder": str(self.folder),
            "origin": asdict(origin_of(self.run)),
            "head": self.run.head,
            "seed": self.run.seed,
            "cache": str(self.run.cache),
            "settings": self.run.settings,
            "train": {"captions": self.captions, "videos": self.videos},
            "before": self.before,
            "after": self.after,
            "kept": self.kept,
            "history": self.run.history,
            "extract": self.extract,
        }


def run_finetune(config: FinetuneConfig, *, on_progress: OnProgress) -> FinetuneReport:
    """Go on from a finished run, or with a fine-tuning that was stopped.

    Under torchrun the processes fit together: each encodes a share of every batch.
    """
    with joined(config.device):
        return _finetune(config, on_progress)


def _finetune(config: FinetuneConfig, on_progress: OnProgress) -> FinetuneReport:
    folder, run = _choose_run(config)
    cache = FeatureCache.open(trained_on(config.work, run))
    require_fingerprint(cache.fingerprint, origin_of(run).fingerprint, str(cache.folder))
    train, select = load_features(cache, run.settings["select_on"])
    if not ((folder / WEIGHTS).exists() and run.complete):
        if is_first():
            epochs = sum(stage.epochs for stage in plan_stages(run))
            on_progress(Progress(total=epochs, note="loading"))
        with naming_the_room("to load the encoders", "use --device cpu, or another machine"):
            tuning = prepare(config, run, cache, train, select)
        wait_for_all()  # until each has looked for the folder of the run
        with folder_lock(folder) if is_first() else nullcontext():
            run = _fit(config, on_progress, folder, run, tuning)
    stages = list(run.history.values())
    return FinetuneReport(
        folder=folder,
        run=run,
        captions=len(train.caption_ids),
        videos=len(train.video_ids),
        before=stages[0][0] if stages else {},
        after=best_epoch(stages[-1]) if stages else {},
        kept={name: int(best_epoch(epochs)["epoch"]) for name, epochs in run.history.items()},
        extract=_extract_command(config.work, run, cache) if run.has_own_encoders else None,
    )


def _fit(
    config: FinetuneConfig,
    on_progress: OnProgress,
    folder: Path,
    run: Run,
    tuning: Tuning,
) -> Run:
    so_far = partial(Progress, total=sum(stage.epochs for stage in plan_stages(run)))
    return fit_tuning(
        folder,
        run,
        tuning,
        lambda done: on_progress(so_far(done)),
        LogSettings(every=config.log_every, tensorboard=config.tensorboard),
        save_every=config.save_every,
        tell=lambda done, part, note: on_progress(so_far(done, part=part, note=note)),
    )


def _choose_run(config: FinetuneConfig) -> tuple[Path, Run]:
    """The fine-tuning to go on with, or the new one that the settings describe."""
    if config.resume is not None:
        folder = find_run(config.work, config.resume)
        run = read_run(folder)
        refuse_other_settings(config, _settings_of(run, config), run.name)
        return folder, run
    run = _new_run(config)
    folder = config.work / "runs" / run.name
    if not (folder / RUN).exists():
        return folder, run
    before = read_run(folder)
    if before.settings != run.settings or before.seed != run.seed or before.origin != run.origin:
        raise MismatchError(
            f"run {run.name} was begun with other settings or from another run: choose another "
            f"--name, or remove {folder}"
        )
    return folder, before


def _settings_of(run: Run, config: FinetuneConfig) -> dict[str, Any]:
    """What belongs to a fine-tuning, by the names of its options and the words of a config."""
    origin = origin_of(run)
    learns = tuple(origin.unfreeze or ("none",))
    words = (*(("all",) if learns == ENCODERS else learns), *origin.limits)
    same = read_unfreeze(config.unfreeze) == read_unfreeze(words)
    of_run = ("epochs", "audio_epochs", "batch_size", "lr", "weight_decay", "select_on")
    of_origin = (
        "e2e",
        "lora",
        "batchnorm",
        "save",
        "lr_clip",
        "lr_audio",
        "lr_lora",
        "layer_decay",
    )
    return {
        **{name: run.settings[name] for name in of_run},
        **{name: getattr(origin, name) for name in of_origin},
        "unfreeze": config.unfreeze if same else words,
        "augment": tuple(origin.augment) or None,
        "precision": run.settings["precision"],
        "seed": run.seed,
    }


def _new_run(config: FinetuneConfig) -> Run:
    """A fine-tuning that has yet to begin."""
    start = (
        newest_run(config.work, fine_tuned=False)
        if config.init is None
        else find_run(config.work, config.init)
    )
    init = read_run(start)
    load_weights(start, init)
    _require_ears(config, init)
    cache = FeatureCache.open(cache_of_run(config.work, init))
    require_fingerprint(cache.fingerprint, init.fingerprint, str(cache.folder))
    seed, unfrozen = init.seed if config.seed is None else config.seed, config.unfrozen
    clip_learns = bool({"visual", "text"} & set(unfrozen.encoders))
    settings = init.settings | {
        "epochs": config.epochs,
        "audio_epochs": config.audio_epochs,
        "batch_size": config.batch_size,
        "lr": config.lr,
        "audio_lr": config.lr,
        "weight_decay": config.weight_decay,
        "precision": _precision(config, init),
        "audio_batch_size": None,
        "audio_weight_decay": None,
        # Projections become CLIP's own where CLIP learns, and stay the run's where it does not.
        "train_projection": init.settings["train_projection"] and not clip_learns,
        # Where pictures are encoded, they are those that evaluation sees.
        "jitter": init.settings["jitter"] and not ("visual" in unfrozen.encoders or config.augment),
        "select_on": selection_of(cache, config.select_on or init.settings["select_on"]),
    }
    if config.name is not None:
        check_run_name(config.name)
    origin = Origin(
        run=init.name,
        heads=hash_file(start / WEIGHTS),
        fingerprint=cache.fingerprint,
        backbone=cache.manifest.settings["backbone"],
        audio=cache.manifest.settings["audio"],
        e2e=config.e2e,
        unfreeze=list(unfrozen.encoders),
        lr_clip=config.lr_clip,
        lr_audio=config.lr_audio,
        limits=list(unfrozen.words),
        layer_decay=config.layer_decay,
        lora=config.lora,
        lr_lora=config.lr_lora,
        batchnorm=config.batchnorm,
        augment=list(config.augment or ()),
        save=config.save,
    )
    made = run_name(init.head, seed, settings | asdict(origin), cache.fingerprint)
    return Run(
        name=config.name or f"{'e2e' if config.e2e else 'more'}-{made}",
        head=init.head,
        seed=seed,
        cache=cache.folder.absolute(),
        fingerprint=cache.fingerprint,
        settings=settings,
        history={},
        complete=False,
        origin=origin,
    )


def _require_ears(config: FinetuneConfig, init: Run) -> None:
    """Refuse what only a sound network could follow, where no head listens to one."""
    asked = {
        "unfreeze is audio": config.unfrozen.encoders == ("audio",),
        "batchnorm is train": config.batchnorm == "train",
    }
    for what, is_asked in asked.items():
        require(
            not is_asked or init.head.endswith(SOUND),
            f"{what}, and run {init.name} has no head for sound ({init.head}): leave it out, or "
            f"start from a run of {init.head}{SOUND}",
        )


def _precision(config: FinetuneConfig, init: Run) -> str:
    """What the encoders compute in, or the heads where no encoder does anything."""
    if config.precision != "auto":
        return config.precision
    if not (config.unfrozen.encoders or config.augment):
        return str(init.settings["precision"])
    return "bfloat16" if pick_device(config.device).type == "cuda" else "float32"


def _extract_command(work: Path, run: Run, cache: FeatureCache) -> str:
    """The command that encodes the same videos with a run's own encoders."""
    encoders = ["--backbone", f"run:{run.name}"]
    return extract_again(cache.folder, cache.manifest, encoders=encoders, work=work)
