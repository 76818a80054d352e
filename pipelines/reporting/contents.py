"""Everything that a report says, as plain values; pictures apart."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vidret.data.features import SplitFeatures
from vidret.data.fingerprint import Fingerprint
from vidret.data.samples import Failure
from vidret.heads.metrics import Ranks, summarize
from vidret.pipelines.evaluate import Setting
from vidret.pipelines.reporting.against_paper import PaperComparison
from vidret.pipelines.reporting.against_run import RunComparison
from vidret.pipelines.reporting.distributions import RankBin, RecallPoint
from vidret.pipelines.reporting.queries import Query
from vidret.pipelines.training.fitting import best_epoch
from vidret.pipelines.training.runs import AudioWeight, Run

SYNTHETIC = "synth"  # how the names of drawn datasets begin


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """Both directions, and text to video by what decides a caption, where a dataset knows that."""

    t2v: dict[str, float]
    v2t: dict[str, float]
    kinds: dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageHistory:
    """A stage of the fit: its epochs as the run keeps them, and the one whose weights it has."""

    name: str
    kept: int
    epochs: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """A whole report.

    Args:
        run: its name, and so on.
        encoders: `fine-tuned`, or `frozen`.
        trained: when its weights were written, in UTC; `written` is when this report was.
        cache: the folder of the cache that it was scored on.
        warnings: what a reader must know before the first number.
        failures: the first of them; `num_failures` counts all.
        audio_weight: what the sound counts, where that was found and not given.
        absent: why a video has no pictures, by its id.
    """

    run: str
    head: str
    encoders: str
    seed: int
    trained: str
    written: str
    cache: str
    setting: Setting
    warnings: tuple[str, ...]
    numbers: Numbers
    stages: tuple[StageHistory, ...]
    histogram: tuple[RankBin, ...]
    recall: tuple[RecallPoint, ...]
    hardest: tuple[Query, ...]
    random: tuple[Query, ...]
    failures: tuple[Failure, ...]
    num_failures: int
    settings: dict[str, Any]
    audio_weight: AudioWeight | None
    origin: dict[str, Any]
    fingerprint: Fingerprint
    versions: dict[str, str]
    paper: PaperComparison | None
    other: RunComparison | None
    absent: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """The same for machines."""
        values = asdict(self)
        values["setting"]["chance"] = self.setting.chance
        values["fingerprint"] = self.fingerprint.to_json()
        return values


def count_numbers(t2v: Ranks, v2t: Ranks, features: SplitFeatures) -> Numbers:
    """The field's numbers of both directions and of each kind of caption."""
    kinds = np.array(features.kind)
    return Numbers(
        t2v=summarize(t2v),
        v2t=summarize(v2t),
        kinds={
            str(name): summarize(Ranks(better=t2v.better[its], tied=t2v.tied[its]))
            for name in np.unique(kinds)
            if name
            for its in [kinds == name]
        },
    )


def stages_of_history(run: Run) -> tuple[StageHistory, ...]:
    """The stages that have epochs to show."""
    return tuple(
        StageHistory(name=name, kept=int(best_epoch(epochs)["epoch"]), epochs=tuple(epochs))
        for name, epochs in run.history.items()
        if epochs
    )


def find_warnings(run: Run, setting: Setting) -> tuple[str, ...]:
    """What would mislead a reader who only looks at the numbers."""
    coverage, found = setting.coverage, []
    if setting.dataset.startswith(SYNTHETIC):
        found.append(
            "This set is synthetic, a test bed and no benchmark: the numbers show that the "
            "machinery works, and say nothing about real videos."
        )
    if setting.select_on == setting.split and run.history:
        found.append(
            f"Oracle: the epoch was picked on the {setting.split} split, the one that is reported "
            "here, so the numbers are too good."
        )
    if setting.split == "train":
        found.append("These are the videos that the head learned from: the numbers are too good.")
    if coverage.found < coverage.expected:
        found.append(
            f"{coverage.expected - coverage.found:,} of {coverage.expected:,} videos of this split "
            "are not in the cache, and fewer videos are easier to tell apart."
        )
    if run.fingerprint.dataset != setting.dataset:
        found.append(
            f"The head was trained on {run.fingerprint.dataset} and is scored on {setting.dataset}."
        )
    return tuple(found)
