"""Rows of a table that re-ranking adds: the same runs, ranked anew, and kept like plain ranks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from vidret.data.cache import FeatureCache
from vidret.data.features import SplitFeatures
from vidret.data.words import counted
from vidret.heads.metrics import Competition
from vidret.heads.reranking.options import Tag, find_reranker
from vidret.heads.reranking.ranking import NO_BANKS, rerank
from vidret.heads.streaming import BothRanks
from vidret.pipelines.ablation.fits import SPLIT, Fit
from vidret.pipelines.ablation.ranks import keep_ranks, kept_ranks, note_of_ranks
from vidret.pipelines.config.fitting import AblateConfig
from vidret.pipelines.config.reranking import TRAIN
from vidret.pipelines.config.settings import EvaluateConfig
from vidret.pipelines.reranking import notes_on
from vidret.pipelines.run_banks import (
    Scene,
    banks_of_run,
    options_of_run,
    pairs_of_run,
    require_splits,
    score_scene,
)
from vidret.pipelines.training.fitting import as_split
from vidret.pipelines.training.projecting import features_of_run
from vidret.pipelines.training.runs import load_weights, read_run

ByName = dict[str, "Reranked"]
MEANING: dict[Tag, str] = {
    "train-bank": "has looked at queries of training, fixed beforehand",
    "transductive": "has looked at all test queries at once, which a search does not have",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reranked:
    """What one re-ranker makes of one run.

    Args:
        ranks: both ways.
        settings: of the re-ranker, as given or picked.
        captions: in the bank; None where none is looked at.
        videos: in the bank, likewise.
        notes: what else is to be known.
    """

    ranks: BothRanks
    settings: dict[str, float]
    captions: int | None
    videos: int | None
    notes: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """What is ranked again, and how.

    Args:
        cache: that the runs are of.
        features: of the split that is reported.
        config: names and settings of the re-rankers, and where to score.
        v2t_by: whom a video's captions compete with.
        device: where to score.
    """

    cache: FeatureCache
    features: SplitFeatures
    config: EvaluateConfig
    v2t_by: Competition
    device: torch.device


def reranking_of(config: AblateConfig, cache: FeatureCache) -> EvaluateConfig | None:
    """What is ranked again by what; None where that was not asked for.

    Raises:
        ConfigError: there is no such re-ranker, or no split that it takes.
    """
    asked = {name: getattr(config, name) for name in ("rerank", "rerank_tune", "bank_size")}
    evaluate = EvaluateConfig(work=config.work, device=config.device, split=SPLIT, **asked)
    if config.rerank is None:
        return None
    require_splits(cache, evaluate)
    return evaluate


def said_of_reranking(config: EvaluateConfig, found: Sequence[Reranked]) -> tuple[str, ...]:
    """What must stand below a table with rows that are ranked again."""
    tags = {find_reranker(name).tag for name in config.rerank or ()}
    sentences = [f"[{tag}] {MEANING[tag]}." for tag in MEANING if tag in tags]
    for captions, videos in dict.fromkeys((one.captions, one.videos) for one in found):
        if captions is not None and videos is not None:
            both = f"{counted(captions, 'caption')} and {counted(videos, 'video')}"
            sentences.append(f"Banks: {both} of split {TRAIN}.")
    if config.rerank_tune is not None:
        sentences.append(f"Settings of re-rankers picked on {config.rerank_tune}, run by run.")
    notes = dict.fromkeys(note for one in found for note in one.notes)
    return (*sentences, *(f"Note: {note}." for note in notes))


def rank_again(again: Again, fit: Fit, tell: Callable[[str], None]) -> ByName:
    """The ranks of a finished run by each re-ranker; what was kept before is only read.

    Args:
        again: how.
        fit: whose run is complete.
        tell: told what is worked on.
    """
    names = again.config.rerank or ()
    found = {name: _kept(again, fit, name) for name in names}
    missing = [name for name in names if found[name] is None]
    if missing:
        tell(f"{fit.name}, {', '.join(missing)}")
        found |= _made(again, fit, missing)
    return {name: one for name, one in found.items() if one is not None}


def is_kept(again: Again, fit: Fit, name: str) -> bool:
    """Whether the ranks of a run by a re-ranker need only be read."""
    return _kept(again, fit, name) is not None


def _kept(again: Again, fit: Fit, name: str) -> Reranked | None:
    told = _told(again, name)
    ranks = kept_ranks(fit.folder, fit.run, again.cache, SPLIT, again.v2t_by, rerank=told)
    if ranks is None:
        return None
    return Reranked(ranks=ranks, **note_of_ranks(fit.folder, SPLIT, told))


def _made(again: Again, fit: Fit, names: Sequence[str]) -> ByName:
    run = read_run(fit.folder)
    features = features_of_run(fit.folder, run, again.features)
    scene = Scene(
        folder=fit.folder,
        run=run,
        cache=again.cache,
        retriever=load_weights(fit.folder, run).to(again.device),
        split=as_split(features, again.device),
    )
    split, found = scene.split, ByName()
    scored = score_scene(scene, split.texts, split.videos, again.config)
    what = f"the similarities of {run.name}"
    pairs = pairs_of_run(scored, split.texts, split.videos, again.config, what=what)
    banks, options = banks_of_run(scene, again.config), options_of_run(scene, again.config)
    for name in names:
        ranks = rerank(
            name, pairs, split.owners, banks=banks, options=options[name], by=again.v2t_by
        )
        assert ranks.t2v is not None  # a run has banks of both kinds
        assert ranks.v2t is not None
        one = find_reranker(name)
        bank = banks if one.tag == "train-bank" else NO_BANKS
        note: dict[str, Any] = {
            "settings": options[name].of(one),
            "captions": None if bank.texts is None else bank.texts.num_texts,
            "videos": None if bank.videos is None else bank.videos.num_videos,
            "notes": list(notes_on({name: options[name]}, pairs, banks)),
        }
        both = BothRanks(t2v=ranks.t2v, v2t=ranks.v2t)
        found[name] = Reranked(ranks=both, **note)
        keep_ranks(
            fit.folder,
            run,
            again.cache,
            SPLIT,
            again.v2t_by,
            both,
            rerank=_told(again, name),
            note=note,
        )
    return found


def _told(again: Again, name: str) -> list[str | int]:
    """What decides the ranks of a re-ranker beside the run; its name comes first."""
    config, one = again.config, find_reranker(name)
    settings = [f"{key}={value}" for key, value in config.rerank_options.of(one).items()]
    return [name, config.rerank_tune or "as given", config.bank_size, *settings]
