"""Tables of heads with numbers that were made up, and small ones that are really fitted."""

from pathlib import Path

from making.planted import write_planted_cache

from vidret.data.cache import Coverage
from vidret.data.samples import AudioState
from vidret.pipelines.ablation.comparing import COMPARED, Comparison
from vidret.pipelines.ablation.report import AblateReport, Row
from vidret.pipelines.config.fitting import AblateConfig
from vidret.pipelines.evaluate import Scores, Setting

SMALL = {"train": 16, "val": 8, "test": 12}


def small_cache(folder: Path) -> Path:
    """A cache whose heads are fitted in a moment."""
    return write_planted_cache(folder, splits=SMALL)


def small_config(work: Path, cache: Path, **changes) -> AblateConfig:
    """A table of one process that takes a few seconds."""
    settings = {
        "heads": ("mean", "mgfi", "mgfi+cmfi"),
        "seeds": (0, 1, 2),
        "epochs": 2,
        "audio_epochs": 2,
        "batch_size": 8,
        "lr": 1e-2,
        "audio_lr": 1e-2,
        "device": "cpu",
        "jobs": 1,
        "resamples": 200,
    }
    return AblateConfig(work=work, cache=cache, **settings | changes)


def a_setting(**changes) -> Setting:
    values = {
        "dataset": "toy",
        "split": "test",
        "protocol": "toy-multi",
        "videos": 40,
        "captions": 1600,
        "dropped_captions": 0,
        "coverage": Coverage(expected=41, found=40, failed=1, sound=dict.fromkeys(AudioState, 10)),
        "select_on": "val",
        "notes": (),
    }
    return Setting(**values | changes)


def some_scores(recall: float, *, rank: float = 7.5, kinds=None) -> Scores:
    numbers = {"R@1": recall, "R@5": 60.0, "R@10": 80.0, "R@50": 95.0, "MdR": 3.0, "MnR": rank}
    numbers |= {"ties": 2, "queries": 1600}
    return Scores(t2v=numbers, v2t=numbers | {"queries": 40}, kinds=kinds or {})


def a_comparison(**changes) -> Comparison:
    values = {
        "difference": 22.04,
        "low": -1.26,
        "high": 40.0,
        "favour": 0.9312,
        "seeds_ahead": 1,
        "seeds": 2,
    }
    return Comparison(**values | changes)


def a_table(**changes) -> AblateReport:
    """Two seeds of the base row, of a row that varies, and of one that is the best."""
    against = {way: dict.fromkeys(COMPARED, a_comparison()) for way in ("t2v", "v2t")}
    rows = (
        Row(
            head="mean",
            scores=(some_scores(20.0, kinds={"sound": 5.0}),) * 2,
            seeds=(0, 1),
            ignored=("word_weight_scale",),
        ),
        Row(
            head="w-f",
            scores=(
                some_scores(40.0, rank=3.0, kinds={"sound": 10.0}),
                some_scores(44.0, rank=2.0, kinds={"sound": 20.0}),
            ),
            seeds=(0, 1),
            changes=(("word_weight_scale", "sqrt_c"),),
            against_base=against,
        ),
    )
    values = {
        "rows": rows,
        "seeds": (0, 1),
        "setting": a_setting(),
        "base": rows[0].label,
        "resamples": 10_000,
    }
    return AblateReport(**values | changes)
