"""What a row costs: the time and memory of its fits, and what scoring a pair takes."""

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

import numpy as np
import torch

from vidret.data.cache import FeatureCache
from vidret.data.features import SplitFeatures
from vidret.data.storage.publish import publish
from vidret.extract.backends import installed
from vidret.heads.costs import Cost, Shape, measure_cost
from vidret.pipelines.ablation.fits import Fit
from vidret.pipelines.ablation.working import torch_threads
from vidret.pipelines.training.costs import both, cost_of_fit
from vidret.pipelines.training.runs import load_weights, read_run

KEPT = "cost.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCost:
    """The cost of one row.

    Args:
        train_seconds: of a seed, on average, the first stage included.
        train_peak_bytes: the most that training held above the features; None if not known.
        score: what scoring takes, on one thread.
    """

    train_seconds: float
    train_peak_bytes: int | None
    score: Cost


def shape_of(cache: FeatureCache, features: SplitFeatures) -> Shape:
    """The shape of a split's texts and videos: the words of a caption are their mean."""
    facts = cache.fingerprint
    counts = np.diff(features.word_offsets)
    return Shape(
        words=max(1, round(float(counts.mean()))),
        frames=features.frame_mask.shape[1],
        dim=facts.dim,
        audio_dim=facts.audio_dim,
    )


def cost_of_row(fits: Sequence[Fit], shape: Shape, device: torch.device) -> RowCost:
    """What the fits of a row have taken, and what their head takes to score.

    Args:
        fits: one a seed, each of them complete.
        shape: of what is scored.
        device: where.
    """
    trained = [
        both(None if fit.after is None else cost_of_fit(fit.after), cost_of_fit(fit.folder))
        for fit in fits
    ]
    peaks = [one.peak_bytes for one in trained if one.peak_bytes is not None]
    return RowCost(
        train_seconds=mean(one.seconds for one in trained),
        train_peak_bytes=max(peaks) if peaks else None,
        score=_score_cost(fits[0], shape, device),
    )


def _score_cost(fit: Fit, shape: Shape, device: torch.device) -> Cost:
    """Measured once for a machine, and kept beside the run."""
    made_of, path = _made_of(shape, device), fit.folder / KEPT
    try:
        kept = json.loads(path.read_text())
        if kept["made_of"] == made_of:
            return Cost(**kept["cost"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # what is not there, or damaged, is measured again
    with torch_threads(1):
        cost = measure_cost(load_weights(fit.folder, read_run(fit.folder)).to(device), shape)
    _keep(path, made_of, cost)
    return cost


def _keep(path: Path, made_of: str, cost: Cost) -> None:
    with publish(path) as part:
        part.write_text(f"{json.dumps({'made_of': made_of, 'cost': asdict(cost)}, indent=2)}\n")


def _made_of(shape: Shape, device: torch.device) -> str:
    """A hash of what decides how long scoring takes, but for the head and its settings."""
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    told = [
        {"vidret": installed("vidret"), "torch": torch.__version__, **asdict(shape)},
        [device.type, card, platform.machine(), platform.node()],
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
