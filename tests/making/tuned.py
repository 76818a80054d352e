"""Fine-tunings on a few of the bundled clips: a work folder to start from, and short ways to go."""

from pathlib import Path

import torch
from making.filmed import copy_clips, write_filmed_cache

from vidret.data.cache import FeatureCache
from vidret.extract.weights.files import hash_file
from vidret.pipelines.config.fitting import FinetuneConfig, TrainConfig
from vidret.pipelines.finetune import _new_run, run_finetune
from vidret.pipelines.train_heads import run_train
from vidret.pipelines.training.planning import plan_stages
from vidret.pipelines.training.preparing import prepare

INIT = "heads"
QUIET = {"device": "cpu", "batch_size": 8}
CAPTIONS = 44  # of the training split
FOUR_EPOCHS = {"epochs": 2, "audio_epochs": 2}


def quiet(_):
    """No progress to show."""


def make_work(folder: Path, *, train=(), **extract) -> Path:
    """Videos, their cache, and a run on it that leaves much to learn."""
    cache = write_filmed_cache(folder / "work", copy_clips(folder / "clips"), **extract)
    train_heads(folder / "work", cache=cache, **dict(train))
    return folder / "work"


def train_heads(work: Path, **changes):
    """One epoch of heads."""
    settings = {"name": INIT, "head": "mgfi+cmfi", "epochs": 1, "audio_epochs": 0, "lr": 1e-4}
    config = TrainConfig(work=work, **settings | QUIET | changes)
    return run_train(config, on_progress=quiet)


def settle(work, **changes):
    """One epoch each, at rates that show at once, picked where they are sure to show."""
    settings = {"e2e": True, "epochs": 1, "audio_epochs": 1, "lr": 1e-3, "lr_clip": 1e-4}
    return FinetuneConfig(
        work=work, **settings | {"lr_audio": 1e-3, "select_on": "train"} | QUIET | changes
    )


def finetune(work, *, on_progress=quiet, **changes):
    return run_finetune(settle(work, **changes), on_progress=on_progress)


def start(work, **changes):
    """A fine-tuning before its first epoch: its run, and all that it would train."""
    config = settle(work, **changes)
    run = _new_run(config)
    cache = FeatureCache.open(run.cache)
    return run, prepare(config, run, cache, cache.load("train"), cache.load("train"))


def stage_of(run, name):
    return next(stage for stage in plan_stages(run) if stage.name == name)


def batch_of(learner, rows=CAPTIONS):
    """The first captions of the training split, as a step takes them."""
    return learner.begin_epoch(torch.Generator().manual_seed(0))(torch.arange(rows))


def files(folder):
    """The weights of a run, by their checksums."""
    return {path.name: hash_file(path) for path in folder.glob("*.safetensors")}


def whole_epochs(epochs):
    """What keeps the number of each epoch that ends."""
    return lambda progress: None if progress.note else epochs.append(progress.done)


def stop_after(epochs):
    """What ends a fit after some epochs as Ctrl-C would."""

    def on_progress(progress):
        if progress.done == epochs:
            raise KeyboardInterrupt

    return on_progress
