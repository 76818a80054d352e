"""`vidret search`: a sentence in, ranked clips with their moments and parts of their scores out."""

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vidret.data.batches import Texts, pad_words
from vidret.data.cache import FeatureCache, newest_cache
from vidret.data.errors import MissingError, VidretError
from vidret.data.features import SplitFeatures
from vidret.data.storage.projections import project
from vidret.extract.clip import EncodedText
from vidret.extract.embedding import computing
from vidret.extract.encoders import EncoderSpec, load_encoders
from vidret.heads.catalog import build_retriever
from vidret.heads.retriever import Retriever
from vidret.heads.scoring import parts_in_blocks, scoring
from vidret.pipelines.config.settings import ExtractConfig, SearchConfig
from vidret.pipelines.display.progress import OnProgress
from vidret.pipelines.evaluate import require_same_features
from vidret.pipelines.extract import run_extract
from vidret.pipelines.training.projecting import features_of_run
from vidret.pipelines.training.runs import (
    cache_of_run,
    encoders_of_run,
    find_run,
    load_weights,
    newest_run,
    read_run,
    trained_on,
)

ZERO_SHOT = "mean"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One clip that was found, the moment that answers, and what its score is made of."""

    rank: int
    id: str
    path: str
    score: float
    parts: dict[str, float]
    start: float
    end: float
    peak: float
    sound: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchReport:
    """The clips that fit a sentence best."""

    query: str
    head: str
    cache: Path
    searched: int
    failed: int
    truncated: bool
    hits: tuple[Hit, ...]

    @property
    def verdict(self) -> VidretError | None:
        """Something is always found."""
        return None

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return asdict(self)


def run_search(
    config: SearchConfig,
    *,
    extract: ExtractConfig | None = None,
    on_progress: OnProgress = lambda _: None,
) -> SearchReport:
    """Rank all clips of a cache or of a folder; a folder is cached first.

    Without a run the untrained mean of the frames ranks, as CLIP itself would.

    Args:
        config: what to look for, and where.
        extract: how to cache a folder where there is no run that says it.
        on_progress: told how far the caching is.
    """
    run_folder = _choose_run(config)
    cache = FeatureCache.open(
        _choose_cache(config, run_folder, extract or ExtractConfig(), on_progress)
    )
    splits, hidden = [cache.load(split) for split in cache.splits], False
    if run_folder is None:
        name, retriever = ZERO_SHOT, _zero_shot(cache)
    else:
        run = read_run(run_folder)
        require_same_features(cache.fingerprint, run.fingerprint, str(cache.folder))
        name, retriever = run.head, load_weights(run_folder, run)
        splits = [features_of_run(run_folder, run, features) for features in splits]
        hidden = run.settings["train_projection"]  # then the query takes the run's, too
    encoders = load_encoders(_encoders_of(cache, config))
    with computing(encoders.device, encoders.precision):
        query = encoders.clip.encode_texts([config.query], encoders.device, hidden=hidden)[0]
    root = Path(cache.manifest.settings["root"])
    found = [
        hit
        for features in splits
        for hit in _hits(retriever, _as_texts(query, features, hidden=hidden), features, root)
    ]
    best = sorted(found, key=lambda hit: (-hit.score, hit.id))[: config.top]
    return SearchReport(
        query=config.query,
        head=name,
        cache=cache.folder,
        searched=len(found),
        failed=len(cache.failures()),
        truncated=query.truncated,
        hits=tuple(replace(hit, rank=rank) for rank, hit in enumerate(best, 1)),
    )


def span_of_moment(
    weights: NDArray[np.float64], times: NDArray[np.float64], duration: float
) -> tuple[float, float, float]:
    """Start, end and peak of the stretch about the heaviest frame, down to half its height.

    Height counts from the lightest frame; a frame reaches half-way to its neighbours, the first
    one back to the beginning, the last one to the end.
    """
    peak = int(weights.argmax())
    low, high = float(weights.min()), float(weights.max())
    tall = weights >= (low + high) / 2
    first = last = peak
    while first > 0 and tall[first - 1]:
        first -= 1
    while last + 1 < len(weights) and tall[last + 1]:
        last += 1
    edges = [0.0, *((times[:-1] + times[1:]) / 2), max(duration, float(times[-1]))]
    return float(edges[first]), float(edges[last + 1]), float(times[peak])


def _hits(retriever: Retriever, texts: Texts, features: SplitFeatures, root: Path) -> list[Hit]:
    """Every video of a split, scored."""
    if not features.video_ids:
        return []
    videos = features.videos_tensors()
    parts = {
        name: part[0].tolist() for name, part in parts_in_blocks(retriever, texts, videos).items()
    }
    with scoring(retriever):
        weights = retriever.frame_weights(texts, videos)[0].double().numpy()
    hits = []
    for row, (name, path) in enumerate(zip(features.video_ids, features.paths, strict=True)):
        shown = features.frame_mask[row]
        start, end, peak = span_of_moment(
            weights[row][shown], features.times[row][shown], float(features.durations[row])
        )
        own = {part: values[row] for part, values in parts.items()}
        hits.append(
            Hit(
                rank=0,
                id=name,
                path=str(root / path),
                score=sum(own.values()),
                parts=own,
                start=start,
                end=end,
                peak=peak,
                sound=features.audio_state[row],
            )
        )
    return hits


def _as_texts(query: EncodedText, features: SplitFeatures, *, hidden: bool) -> Texts:
    """The query as the heads take it; a hidden one is projected as the captions of a split are."""
    values, sentence = torch.from_numpy(query.words), torch.from_numpy(query.sentence)[None]
    if hidden and features.projections is not None:
        values = project(values, features.projections, "text")
        sentence = project(sentence, features.projections, "text")
    words, mask = pad_words(values, torch.tensor([0, len(values)]))
    return Texts(sentence=sentence, words=words, word_mask=mask)


def _choose_run(config: SearchConfig) -> Path | None:
    if config.run is not None:
        return find_run(config.work, config.run)
    try:
        return newest_run(config.work)
    except MissingError:
        return None


def _choose_cache(
    config: SearchConfig, run_folder: Path | None, extract: ExtractConfig, on_progress: OnProgress
) -> Path:
    run = None if run_folder is None else read_run(run_folder)
    if config.path is None:
        of_run = None if run is None else partial(cache_of_run, config.work, run)
        return config.cache or (newest_cache(config.work) if of_run is None else of_run())
    wanted: dict[str, Any] = {}
    if run is not None:
        made = FeatureCache.open(trained_on(config.work, run), partial=True)
        facts = made.fingerprint
        wanted = {name: made.manifest.settings[name] for name in ("backbone", "audio", "decoder")}
        wanted |= {"frames": facts.frames, "sampling": facts.frame_policy}
        wanted |= {"features": facts.features, "precision": facts.precision}
        if run.has_own_encoders:  # also where nothing is cached with them yet
            wanted["backbone"], wanted["audio"] = encoders_of_run(config.work, run.name)
    extract = replace(
        extract,
        work=config.work,
        offline=config.offline,
        device=config.device,
        dataset=f"folder:{config.path}",
        root=None,
        clips=None,
        dry_run=False,
        **wanted,
    )
    return run_extract(extract, on_progress=on_progress).folder


def _encoders_of(cache: FeatureCache, config: SearchConfig) -> EncoderSpec:
    """What the cache was made with, so that a query meets the features of its own model."""
    return EncoderSpec(
        backbone=cache.manifest.settings["backbone"],
        audio="none",
        device=config.device,
        offline=config.offline,
        precision=cache.fingerprint.precision,
    )


def _zero_shot(cache: FeatureCache) -> Retriever:
    facts = cache.fingerprint
    return build_retriever(
        ZERO_SHOT, dim=facts.dim, audio_dim=facts.audio_dim, logit_scale=facts.logit_scale
    )
