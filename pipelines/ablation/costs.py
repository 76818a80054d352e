"""What a row costs: the time and memory of its fits, and what scoring a pair takes."""

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from statistics import mean
from typing import Any

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
        score: what scoring takes.
        measured: when that was.
        place: where it was: one thread of a processor, or a card by its name.
    """

    train_seconds: float
    train_peak_bytes: int | None
    score: Cost
    measured: datetime
    place: str

    def as_json(self) -> dict[str, Any]:
        """The cost for machines."""
        return asdict(self) | {"measured": self.measured.isoformat()}


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


def cost_of_row(
    fits: Sequence[Fit], shape: Shape, device: torch.device, *, anew: bool = False
) -> RowCost:
    """What the fits of a row have taken, and what their head takes to score.

    Args:
        fits: one a seed, each of them complete.
        shape: of what is scored.
        device: where.
        anew: pass over what was measured before.
    """
    score, measured = _score_cost(fits[0], shape, device, anew=anew)
    trained = [
        both(None if fit.after is None else cost_of_fit(fit.after), cost_of_fit(fit.folder))
        for fit in fits
    ]
    peaks = [one.peak_bytes for one in trained if one.peak_bytes is not None]
    return RowCost(
        train_seconds=mean(one.seconds for one in trained),
        train_peak_bytes=max(peaks) if peaks else None,
        score=score,
        measured=measured,
        place=_place(device),
    )


def is_timed(fit: Fit, shape: Shape, device: torch.device) -> bool:
    """Whether what scoring with a run takes is known on this machine."""
    kept = _read(fit.folder / KEPT)
    return kept is not None and kept[0] == _made_of(shape, device)


def _score_cost(
    fit: Fit, shape: Shape, device: torch.device, *, anew: bool
) -> tuple[Cost, datetime]:
    """Measured once for a machine, and kept beside the run."""
    made_of, path = _made_of(shape, device), fit.folder / KEPT
    kept = None if anew else _read(path)
    if kept is not None and kept[0] == made_of:
        return kept[1], kept[2]
    with torch_threads(1):
        cost = measure_cost(load_weights(fit.folder, read_run(fit.folder)).to(device), shape)
    measured = datetime.now(UTC).replace(microsecond=0)
    _keep(path, made_of, cost, measured)
    return cost, measured


def _read(path: Path) -> tuple[str, Cost, datetime] | None:
    """What is kept, or None where that is nothing or damaged."""
    try:
        kept = json.loads(path.read_text())
        cost = Cost(**kept["cost"])
        sound = all(isfinite(one) and one > 0 for one in astuple(cost))
        found = str(kept["made_of"]), cost, datetime.fromisoformat(kept["measured"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if sound else None


def _keep(path: Path, made_of: str, cost: Cost, measured: datetime) -> None:
    told = {"made_of": made_of, "measured": measured.isoformat(), "cost": asdict(cost)}
    with publish(path) as part:
        part.write_text(f"{json.dumps(told, indent=2)}\n")


def _place(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "one thread"


def _made_of(shape: Shape, device: torch.device) -> str:
    """A hash of what decides how long scoring takes, but for the head and its settings."""
    told = [
        {"vidret": installed("vidret"), "torch": torch.__version__, **asdict(shape)},
        [device.type, _place(device), platform.machine(), platform.node()],
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
