"""The banks of a run: what its head says of the train split and of the videos that are searched."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vidret.data.batches import AnyTexts, Videos
from vidret.data.cache import FeatureCache
from vidret.data.errors import ConfigError, MissingError
from vidret.data.features import SplitFeatures
from vidret.heads.reranking.options import RerankOptions, needing_a_bank
from vidret.heads.reranking.pairs import Pairs
from vidret.heads.reranking.ranking import NO_BANKS, Banks
from vidret.heads.retriever import Retriever
from vidret.heads.streaming import DEFAULT_MEMORY
from vidret.pipelines.config.reranking import TRAIN
from vidret.pipelines.config.settings import EvaluateConfig
from vidret.pipelines.rerank_tuning import pick_settings
from vidret.pipelines.scored import Scored, pairs_of_scored, score_pairs, to_read_again
from vidret.pipelines.training.fitting import as_split
from vidret.pipelines.training.projecting import features_of_run
from vidret.pipelines.training.runs import Run
from vidret.pipelines.training.splits import Split

SEED = 0  # of the draw, so that a bank is always the same of the same split


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A run that is scored on a split of a cache."""

    folder: Path
    run: Run
    cache: FeatureCache
    retriever: Retriever
    split: Split


def require_splits(cache: FeatureCache, config: EvaluateConfig) -> None:
    """Refuse a cache without the splits that re-ranking takes, before anything is scored.

    Raises:
        ConfigError: one is not there.
    """
    if needing_a_bank(config.rerank or ()) and TRAIN not in cache.splits:
        raise ConfigError(
            f"{cache.folder} has no split {TRAIN}, of which the bank would be: score a cache that "
            "has one, or re-rank by dsl or sinkhorn-full, which look at test queries instead"
        )
    if config.rerank_tune is not None and config.rerank_tune not in cache.splits:
        others = [name for name in cache.splits if name not in (config.split, TRAIN)]
        choice = f", or choose {' or '.join(others)}" if others else ": there is no other one"
        raise ConfigError(
            f"{cache.folder} has no split {config.rerank_tune!r} to pick settings on: leave out "
            f"--rerank-tune{choice}"
        )


def score_scene(scene: Scene, texts: AnyTexts, videos: Videos, config: EvaluateConfig) -> Scored:
    """What the head says of texts and videos; once and for all, where they are to be re-ranked."""
    scored = score_pairs(
        scene.retriever, texts, videos, memory=config.memory, precision=config.precision
    )
    if config.rerank is None:
        return scored
    return to_read_again(scored, len(texts), len(videos), config.work)


def pairs_of_run(
    scored: Scored, texts: AnyTexts, videos: Videos, config: EvaluateConfig, *, what: str
) -> Pairs:
    """What has been scored, as re-rankers read it."""
    memory = min(config.memory or DEFAULT_MEMORY, DEFAULT_MEMORY)
    return pairs_of_scored(scored, len(texts), len(videos), what=what, memory=memory)


def banks_of_run(scene: Scene, config: EvaluateConfig) -> Banks:
    """Captions of the train split against the split's videos, its captions against train's videos.

    Raises:
        MissingError: that split has no videos or no captions.
    """
    if not needing_a_bank(config.rerank or ()):
        return NO_BANKS
    train = _train_of(scene)
    device = scene.split.owners.device
    texts = train.packed_texts(drawn(len(train.caption_ids), config.bank_size)).to(device)
    rows = torch.from_numpy(drawn(len(train.video_ids), config.bank_size))
    videos = train.videos_tensors()[rows].to(device)

    def scored(texts: AnyTexts, videos: Videos, what: str) -> Pairs:
        found = score_scene(scene, texts, videos, config)
        return pairs_of_run(found, texts, videos, config, what=what)

    return Banks(
        texts=scored(texts, scene.split.videos, "the bank"),
        videos=scored(scene.split.texts, videos, "the bank of videos"),
    )


def options_of_run(scene: Scene, config: EvaluateConfig) -> dict[str, RerankOptions]:
    """The settings of each re-ranker, as given or as another split of the cache picks them.

    Raises:
        MissingError: that split, or the one of the bank, has no captions.
    """
    names = config.rerank or ()
    if config.rerank_tune is None:
        return dict.fromkeys(names, config.rerank_options)
    features = features_of_run(scene.folder, scene.run, scene.cache.load(config.rerank_tune))
    split = as_split(features, scene.split.owners.device)
    other = replace(scene, split=split)
    scored = score_scene(other, split.texts, split.videos, config)
    what = f"the similarities of split {config.rerank_tune}"
    return pick_settings(
        names,
        pairs_of_run(scored, split.texts, split.videos, config, what=what),
        split.owners,
        banks=banks_of_run(other, config),
        options=config.rerank_options,
    )


def drawn(count: int, most: int) -> NDArray[np.int64]:
    """Some rows of many, in order; always the same ones, and all of them where `most` is 0."""
    if most == 0 or most >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(SEED).choice(count, most, replace=False))


def source_of_run(scene: Scene) -> str:
    """Where the banks are from, for the table."""
    return f"split {TRAIN} of {scene.cache.folder.name}"


def _train_of(scene: Scene) -> SplitFeatures:
    train = features_of_run(scene.folder, scene.run, scene.cache.load(TRAIN))
    if not train.caption_ids or not train.video_ids:
        raise MissingError(
            f"split {TRAIN} of {scene.cache.folder} has no captions, of which the bank would be: "
            "extract it with captions, or re-rank by dsl or sinkhorn-full"
        )
    return train
