"""`vidret evaluate`: a run and a split in, ranks under the dataset's protocol out."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from vidret.data.cache import Coverage, FeatureCache
from vidret.data.errors import ConfigError, VidretError
from vidret.data.features import SplitFeatures
from vidret.data.fingerprint import Fingerprint, require_fingerprint
from vidret.extract.encoders import pick_device
from vidret.heads.catalog import SOUND, is_reconstructed
from vidret.heads.metrics import (
    Competition,
    Ranks,
    summarize,
    text_to_video_ranks,
    video_to_text_ranks,
)
from vidret.heads.protocols import PROTOCOLS
from vidret.heads.retriever import Retriever
from vidret.heads.scoring import Precision
from vidret.heads.similarities import Names
from vidret.heads.streaming import BothRanks, ranks_in_blocks
from vidret.pipelines.config.settings import EvaluateConfig
from vidret.pipelines.reranking import Reranked, rerank_all
from vidret.pipelines.run_banks import (
    Scene,
    banks_of_run,
    options_of_run,
    pairs_of_run,
    require_splits,
    score_scene,
    source_of_run,
)
from vidret.pipelines.scored import Scored, score_pairs
from vidret.pipelines.thresholds import require_measured, shortfall
from vidret.pipelines.training.fitting import as_split
from vidret.pipelines.training.projecting import features_of_run
from vidret.pipelines.training.runs import Run, cache_of_run, find_run, load_weights, read_run
from vidret.pipelines.training.splits import Split

WITHOUT_INFO_NCE = ("mean", "hcmi")  # learns nothing, and by a loss of its own


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
    v2t_by: Competition = "group"

    @property
    def chance(self) -> float:
        """R@1 in percent of guessing, text to video."""
        return 100 / self.videos


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateReport:
    """The numbers of a run and what they are measured on; `reranked` ones have asked for more."""

    run: str
    head: str
    seed: int
    scores: Scores
    setting: Setting
    threshold: tuple[str, float] | None
    reranked: Reranked | None = None

    @property
    def verdict(self) -> VidretError | None:
        """A recall stayed below what was asked for."""
        return shortfall(self.threshold, self.scores.t2v, of=self.run, on=self.setting.split)

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return asdict(self) | {"chance": self.setting.chance}


def run_evaluate(config: EvaluateConfig) -> EvaluateReport:
    """Score a run on a split of its cache, or of another cache of the same features."""
    require_measured(config.threshold)
    folder = find_run(config.work, config.run)
    run = read_run(folder)
    cache = FeatureCache.open(config.cache or cache_of_run(config.work, run))
    require_same_features(cache.fingerprint, run.fingerprint, str(cache.folder))
    require_splits(cache, config)
    device = pick_device(config.device)
    features = features_of_run(folder, run, cache.load(config.split))
    retriever = load_weights(folder, run).to(device)
    weigh_sound(retriever, config.audio_weight)
    protocol = PROTOCOLS.get(cache.manifest.settings["protocol"])
    v2t_by = config.competition or (protocol.v2t if protocol else "group")
    split = as_split(features, device)
    scene = Scene(folder=folder, run=run, cache=cache, retriever=retriever, split=split)
    scored = score_scene(scene, split.texts, split.videos, config)
    return EvaluateReport(
        run=run.name,
        head=run.head,
        seed=run.seed,
        scores=scores_of(rank_scored(scored, split, features, v2t_by=v2t_by), features),
        setting=_with_notes(
            describe_setting(cache, features, run.settings["select_on"], v2t_by=v2t_by, runs=[run]),
            config,
        ),
        threshold=config.threshold,
        reranked=_rerank(scene, scored, config, v2t_by),
    )


def score_split(
    retriever: Retriever,
    split: Split,
    features: SplitFeatures,
    *,
    v2t_by: Competition = "group",
    memory: int | None = None,
    precision: Precision = "float32",
) -> Scores:
    """The numbers of a split in both directions."""
    ranks = rank_split(
        retriever, split, features, v2t_by=v2t_by, memory=memory, precision=precision
    )
    return scores_of(ranks, features)


def scores_of(ranks: BothRanks, features: SplitFeatures) -> Scores:
    """The numbers of a split that has been ranked."""
    return Scores(
        t2v=summarize(ranks.t2v),
        v2t=summarize(ranks.v2t),
        kinds=_by_kind(ranks.t2v, features.kind),
    )


def rank_split(
    retriever: Retriever,
    split: Split,
    features: SplitFeatures,
    *,
    v2t_by: Competition = "group",
    memory: int | None = None,
    precision: Precision = "float32",
) -> BothRanks:
    """Rank a split in both directions.

    Args:
        retriever: what scores.
        split: the features on their device.
        features: of the same split, for names.
        v2t_by: whom a video's captions compete with.
        memory: bytes to take; half of them may go to the similarities, and where these are more,
            they are ranked in blocks. None takes 512 MiB for them, and what is usual beside it.
        precision: what the products of hidden layers are multiplied in.
    """
    scored = score_pairs(retriever, split.texts, split.videos, memory=memory, precision=precision)
    return rank_scored(scored, split, features, v2t_by=v2t_by)


def rank_scored(
    scored: Scored,
    split: Split,
    features: SplitFeatures,
    *,
    v2t_by: Competition = "group",
) -> BothRanks:
    """Rank a split that has been scored, or is to be scored block by block."""
    names = Names(texts=features.caption_ids, videos=features.video_ids)
    if not isinstance(scored, Tensor):
        return ranks_in_blocks(scored, split.owners, len(split.videos), by=v2t_by, names=names)
    return BothRanks(
        t2v=text_to_video_ranks(scored, split.owners, names=names),
        v2t=video_to_text_ranks(scored, split.owners, v2t_by, names=names),
    )


def describe_setting(
    cache: FeatureCache,
    features: SplitFeatures,
    select_on: str,
    *,
    v2t_by: Competition = "group",
    runs: Sequence[Run] = (),
) -> Setting:
    """What stands beside the numbers of a split; some runs have something to say of theirs."""
    return Setting(
        dataset=cache.fingerprint.dataset,
        split=features.split,
        protocol=cache.manifest.settings["protocol"],
        videos=len(features.video_ids),
        captions=len(features.caption_ids),
        dropped_captions=features.dropped_captions,
        coverage=cache.coverage(features.split),
        select_on=select_on,
        notes=(*cache.manifest.settings["notes"], *_notes_on(runs)),
        v2t_by=v2t_by,
    )


def require_same_features(found: Fingerprint, expected: Fingerprint, where: str) -> None:
    """Refuse features that a head was not trained on; the dataset may be another.

    Raises:
        MismatchError: something that decides the features differs.
    """
    same_dataset = replace(found, dataset=expected.dataset, dataset_hash=expected.dataset_hash)
    require_fingerprint(same_dataset, expected, where)


def weigh_sound(retriever: Retriever, weight: float | None) -> None:
    """Let the sound count something else in scores than the run says.

    Raises:
        ConfigError: the head hears no sound.
    """
    if weight is None:
        return
    if retriever.audio_head is None:
        raise ConfigError(
            f"audio_weight is {weight:g}, and the head hears no sound: leave it out, or take a run "
            "of a head with +cmfi"
        )
    retriever.audio_weight.fill_(weight)


def _rerank(
    scene: Scene, scored: Scored, config: EvaluateConfig, v2t_by: Competition
) -> Reranked | None:
    """The rows below the plain numbers, where they were asked for."""
    if config.rerank is None:
        return None
    what = f"the similarities of {scene.run.name}"
    pairs = pairs_of_run(scored, scene.split.texts, scene.split.videos, config, what=what)
    return rerank_all(
        options_of_run(scene, config),
        pairs,
        scene.split.owners,
        banks=banks_of_run(scene, config),
        source=source_of_run(scene),
        v2t_by=v2t_by,
        tuned_on=config.rerank_tune,
    )


def _notes_on(runs: Sequence[Run]) -> list[str]:
    """What must be said of some heads and losses wherever their numbers stand."""
    heads = [run.head.removesuffix(SOUND) for run in runs if is_reconstructed(run.head)]
    reason = "its formulas are ours, as those of its paper are not public"
    notes = [f"{head} is a reconstruction: {reason}" for head in dict.fromkeys(heads)]
    if any(_distils(run) for run in runs):
        notes.append(f"the loss with similarity distillation is a reconstruction: {reason}")
    return notes


def _distils(run: Run) -> bool:
    """Whether a run learned from soft targets as CLIP2TV's, whose formula was not to be found."""
    settings = run.settings
    asked = settings["loss_distillation"] > 0 and settings["loss_distillation_by"] != "tokens"
    return asked and run.head not in WITHOUT_INFO_NCE


def _with_notes(setting: Setting, config: EvaluateConfig) -> Setting:
    """What was asked for and makes other scores than the run's own is no secret."""
    notes = setting.notes
    if config.precision != "float32":
        what = f"hidden layers were multiplied in {config.precision}"
        notes = (*notes, f"{what}: scores are coarse, and ranks may differ")
    if config.audio_weight is not None:
        notes = (*notes, f"the sound counts {config.audio_weight:g} times, as was asked for")
    return replace(setting, notes=notes)


def _by_kind(ranks: Ranks, kinds: list[str]) -> dict[str, float]:
    """R@1 in percent of the captions of each kind, where the dataset knows kinds."""
    hits, names = ranks.hits(1), np.array(kinds)
    return {str(name): 100 * float(hits[names == name].mean()) for name in np.unique(names) if name}
