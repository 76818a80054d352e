"""`vidret evaluate`: a run and a split in, ranks under the dataset's protocol out."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from vidret.data.cache import Coverage, FeatureCache
from vidret.data.errors import BelowThresholdError, ConfigError, VidretError
from vidret.data.features import SplitFeatures
from vidret.data.fingerprint import Fingerprint, require_fingerprint
from vidret.extract.encoders import pick_device
from vidret.heads.metrics import (
    RECALLS,
    Ranks,
    summarize,
    text_to_video_ranks,
    video_to_text_ranks,
)
from vidret.heads.retriever import Retriever, score_in_blocks
from vidret.pipelines.config.settings import EvaluateConfig
from vidret.pipelines.training.fitting import as_split
from vidret.pipelines.training.loop import Split
from vidret.pipelines.training.runs import cache_of_run, find_run, load_weights, read_run


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The numbers of one head on one split; `kinds` is R@1 by what decides a caption."""

    t2v: dict[str, float]
    v2t: dict[str, float]
    kinds: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a table of numbers must say about itself."""

    dataset: str
    split: str
    protocol: str
    videos: int
    captions: int
    dropped_captions: int
    coverage: Coverage
    select_on: str
    notes: tuple[str, ...]

    @property
    def chance(self) -> float:
        """R@1 in percent of guessing, text to video."""
        return 100 / self.videos


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateReport:
    """The numbers of a run and what they are measured on."""

    run: str
    head: str
    seed: int
    scores: Scores
    setting: Setting
    threshold: tuple[str, float] | None

    @property
    def verdict(self) -> VidretError | None:
        """A recall stayed below what was asked for."""
        if self.threshold is None:
            return None
        metric, wanted = self.threshold
        found = self.scores.t2v[metric]
        if found >= wanted:
            return None
        return BelowThresholdError(
            f"{metric} of {self.run} is {found:.1f} on {self.setting.split}, below {wanted:.1f}"
        )

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return asdict(self) | {"chance": self.setting.chance}


def run_evaluate(config: EvaluateConfig) -> EvaluateReport:
    """Score a run on a split of its cache, or of another cache of the same features."""
    _require_measured(config.threshold)
    folder = find_run(config.work, config.run)
    run = read_run(folder)
    cache = FeatureCache.open(config.cache or cache_of_run(config.work, run))
    require_same_features(cache.fingerprint, run.fingerprint, str(cache.folder))
    device = pick_device(config.device)
    features = cache.load(config.split)
    retriever = load_weights(folder, run).to(device)
    return EvaluateReport(
        run=run.name,
        head=run.head,
        seed=run.seed,
        scores=score_split(retriever, as_split(features, device), features),
        setting=describe_setting(cache, features, run.settings["select_on"]),
        threshold=config.threshold,
    )


def score_split(retriever: Retriever, split: Split, features: SplitFeatures) -> Scores:
    """Rank a split in both directions."""
    similarity = score_in_blocks(retriever, split.texts, split.videos)
    t2v = text_to_video_ranks(similarity, split.owners)
    return Scores(
        t2v=summarize(t2v),
        v2t=summarize(video_to_text_ranks(similarity, split.owners)),
        kinds=_by_kind(t2v, features.kind),
    )


def describe_setting(cache: FeatureCache, features: SplitFeatures, select_on: str) -> Setting:
    """What stands beside the numbers of a split."""
    return Setting(
        dataset=cache.fingerprint.dataset,
        split=features.split,
        protocol=cache.manifest.settings["protocol"],
        videos=len(features.video_ids),
        captions=len(features.caption_ids),
        dropped_captions=features.dropped_captions,
        coverage=cache.coverage(features.split),
        select_on=select_on,
        notes=tuple(cache.manifest.settings["notes"]),
    )


def require_same_features(found: Fingerprint, expected: Fingerprint, where: str) -> None:
    """Refuse features that a head was not trained on; the dataset may be another.

    Raises:
        MismatchError: something that decides the features differs.
    """
    same_dataset = replace(found, dataset=expected.dataset, dataset_hash=expected.dataset_hash)
    require_fingerprint(same_dataset, expected, where)


def _require_measured(threshold: tuple[str, float] | None) -> None:
    """Refuse a limit on a number that nobody measures."""
    known = [f"R@{k}" for k in RECALLS]
    if threshold is not None and threshold[0] not in known:
        raise ConfigError(
            f"fail_under asks for {threshold[0]}, and measured are {', '.join(known)}: "
            "choose one of them"
        )


def _by_kind(ranks: Ranks, kinds: list[str]) -> dict[str, float]:
    """R@1 in percent of the captions of each kind, where the dataset knows kinds."""
    hits, names = ranks.hits(1), np.array(kinds)
    return {str(name): 100 * float(hits[names == name].mean()) for name in np.unique(names) if name}
