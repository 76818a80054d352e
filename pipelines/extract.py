"""`vidret extract`: videos and captions in, a cache of embeddings out."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidret.data.catalog import cache_name
from vidret.data.fingerprint import Fingerprint
from vidret.data.manifest import MANIFEST, Manifest, SplitCount, read_manifest, write_manifest
from vidret.data.pixels.index import PixelIndex, find_pixels
from vidret.data.samples import Dataset, Video
from vidret.data.storage.hdf5 import ShardEntry
from vidret.data.storage.locks import folder_lock
from vidret.data.storage.projections import write_projections
from vidret.data.synth.script import Clip
from vidret.data.upkeep.check import damaged_shards
from vidret.data.upkeep.sweep import remove_stray
from vidret.extract.encoders import Encoders, load_encoders
from vidret.extract.plan import Plan, plan_shards
from vidret.extract.planning.pixel_plan import PIXELS, VIDEOS, PixelPlan, plan_pixels
from vidret.extract.planning.reuse import outlook
from vidret.extract.schedule import count_workers, dask_client, require_shared
from vidret.extract.task import HIDDEN, TaskResult, TaskSettings
from vidret.pipelines.config.settings import SYNTH, ExtractConfig
from vidret.pipelines.display.progress import OnProgress, Progress
from vidret.pipelines.extraction.describe import (
    describe,
    encoder_spec,
    open_dataset,
    pixels_digest,
    with_encoders_of_run,
    with_precision,
)
from vidret.pipelines.extraction.estimate import Estimate, estimate
from vidret.pipelines.extraction.place import (
    lanes_of,
    place_of,
    shard_size_of,
    spec_on_workers,
)
from vidret.pipelines.extraction.report import ExtractReport, make_report, write_failures
from vidret.pipelines.extraction.work import Pace, draw, run_tasks

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """One extraction, settled: what goes in, by what, and where it comes out."""

    config: ExtractConfig
    dataset: Dataset
    undrawn: tuple[Clip, ...]
    encoders: Encoders
    fingerprint: Fingerprint
    folder: Path

    @property
    def pixels_digest(self) -> str:
        """Of its pixel shards, whether or not it keeps any."""
        return pixels_digest(self.fingerprint, self.encoders.clip.pixels.geometry)

    @property
    def on_gpu(self) -> bool:
        """Whether the encoders are meant to run on GPUs."""
        return self.config.precision != "float32"


def run_extract(config: ExtractConfig, *, on_progress: OnProgress) -> ExtractReport:
    """Encode what the cache lacks; what is there already stays as it is."""
    extraction = settle(config)
    if config.dry_run:
        return _preview(extraction)
    with folder_lock(extraction.folder):
        return _extract(extraction, on_progress)


def settle(config: ExtractConfig) -> Extraction:
    """Open the dataset, load the encoders, and find the folder of the cache."""
    config = with_precision(with_encoders_of_run(config))
    dataset, undrawn = open_dataset(config)
    encoders = load_encoders(replace(encoder_spec(config), device="cpu"))
    fingerprint = describe(dataset, config, encoders)
    folder = config.work / "cache" / cache_name(dataset, fingerprint)
    return Extraction(
        config=config,
        dataset=dataset,
        undrawn=tuple(undrawn),
        encoders=encoders,
        fingerprint=fingerprint,
        folder=folder,
    )


def plan_of(extraction: Extraction) -> tuple[Plan, PixelPlan]:
    """What is still to be made, of embeddings and of pixels."""
    config, dataset, folder = extraction.config, extraction.dataset, extraction.folder
    plan = plan_shards(
        dataset,
        folder,
        shard_size=_shard_size(extraction),
        features_digest=extraction.fingerprint.features_digest,
        retry_failed=config.retry_failed,
        force=config.force,
    )
    digest = extraction.pixels_digest
    pixels = plan_pixels(
        dataset,
        folder,
        plan,
        digest=digest,
        index=PixelIndex() if config.force else find_pixels(config.work, digest),
        keep=config.pixels,
        retry_failed=config.retry_failed,
        force=config.force,
    )
    return plan, pixels


def task_settings(extraction: Extraction) -> TaskSettings:
    """What every task of an extraction is told."""
    config = extraction.config
    place = place_of(config)
    return TaskSettings(
        folder=extraction.folder.absolute(),
        root=extraction.dataset.root.absolute(),
        frames=config.frames,
        decoder=config.decoder,
        encoders=spec_on_workers(encoder_spec(config), place),
        features_digest=extraction.fingerprint.features_digest,
        frame_policy=config.sampling,
        features=config.features,
        pixels_digest=extraction.pixels_digest if config.pixels else "",
        lanes=lanes_of(config, place),
        timeout=config.timeout,
    )


def manifest_of(
    extraction: Extraction, plan: Plan, entries: Iterable[ShardEntry], *, complete: bool
) -> Manifest:
    """The contents page of the cache as it is now."""
    config, dataset = extraction.config, extraction.dataset
    split_of = {video.id: video.split for video in dataset.videos}
    videos = Counter(split_of.values())
    captions = Counter(split_of[caption.video_id] for caption in dataset.captions)
    folder = extraction.folder
    return Manifest(
        fingerprint=extraction.fingerprint,
        settings={
            "root": str(dataset.root.absolute()),
            "protocol": dataset.protocol,
            "notes": list(dataset.notes),
            "backbone": config.backbone_name,
            "audio": config.audio_name,
            "decoder": config.decoder,
            "sampling": config.sampling,
            "features": config.features,
            "precision": config.precision,
            "shard_size": _shard_size(extraction),
        },
        splits={
            split: SplitCount(videos=videos[split], captions=captions[split]) for split in videos
        },
        shards=tuple(entries),
        complete=complete,
        removed=plan.removed,
        files=_other_files(extraction, folder),
    )


def _extract(extraction: Extraction, on_progress: OnProgress) -> ExtractReport:
    config, folder = extraction.config, extraction.folder
    plan, pixels = plan_of(extraction)
    entries = [*plan.done, *pixels.done]
    for problem in damaged_shards(folder, {entry.file for entry in entries}):
        log.warning("%s %s: it is made again", folder / problem.file, problem.what)
    results: list[TaskResult] = []
    pace = Pace(on_gpu=extraction.on_gpu)
    if plan.videos or plan.captions or pixels.todo or extraction.undrawn:
        write_manifest(folder, manifest_of(extraction, plan, entries, complete=False))
        results = _work(extraction, plan, pixels, pace, on_progress)
        entries += [result.entry for result in results]
    complete = config.only is None
    write_manifest(folder, manifest_of(extraction, plan, entries, complete=complete))
    remove_stray(folder)
    report = make_report(
        config,
        extraction.dataset,
        folder,
        entries,
        to_do=_to_do(plan, pixels, config),
        encoded=_tried(results),
        removed=plan.removed,
        advice=pace.note(),
    )
    write_failures(report, extraction.dataset, config)
    return report


def _work(
    extraction: Extraction, plan: Plan, pixels: PixelPlan, pace: Pace, on_progress: OnProgress
) -> list[TaskResult]:
    config, dataset = extraction.config, extraction.dataset
    place = place_of(config, extraction.encoders)
    with dask_client(place) as client:
        if not place.is_local:
            require_shared(client, extraction.folder.absolute())
        if config.dataset == SYNTH:
            draw(client, dataset, extraction.undrawn, on_progress)
        skipped = len(dataset.videos) - _to_do(plan, pixels, config)
        return list(
            run_tasks(
                client,
                plan,
                pixels,
                task_settings(extraction),
                progress=Progress(skipped=skipped, total=len(dataset.videos)),
                pace=pace,
                only_pixels=config.only is not None,
                on_progress=on_progress,
            )
        )


def _preview(extraction: Extraction) -> ExtractReport:
    config, dataset = extraction.config, extraction.dataset
    plan, pixels = plan_of(extraction)
    outlooks = [outlook(shard) for shard in ([] if config.only else plan.videos)]
    maybe = {video.id for _, videos in outlooks for video in videos}
    new = {video.id: video for videos, _ in outlooks for video in videos}
    new |= {video.id: video for shard in pixels.todo for video in shard.videos}
    to_do = [video for video in new.values() if video.id not in maybe]
    return make_report(
        config,
        dataset,
        extraction.folder,
        [*plan.done, *pixels.done],
        to_do=len(dataset.videos) if extraction.undrawn else len(to_do),
        looked_at=len(maybe),
        removed=plan.removed,
        estimate=None if extraction.undrawn else _estimate(extraction, plan, to_do),
    )


def _estimate(extraction: Extraction, plan: Plan, videos: Sequence[Video]) -> Estimate:
    config = extraction.config
    place = place_of(config, extraction.encoders)
    return estimate(
        videos,
        [caption for shard in plan.captions for caption in shard.captions],
        config=config,
        fingerprint=extraction.fingerprint,
        encoders=load_encoders(encoder_spec(config)),
        workers=len(place.gpus) or count_workers(place),
    )


def _to_do(plan: Plan, pixels: PixelPlan, config: ExtractConfig) -> int:
    """Videos of the shards to make, those once of which pixels and embeddings are to be made."""
    shards = [*([] if config.only else plan.videos), *pixels.todo]
    return len({video.id for shard in shards for video in shard.videos})


def _tried(results: Iterable[TaskResult]) -> int:
    """Videos that were decoded or encoded; pixels and embeddings of the same shard count once."""
    by_shard: dict[str, int] = {}
    for result in results:
        if result.entry.kind != "caption":
            shard = result.entry.file.replace(PIXELS, VIDEOS)
            by_shard[shard] = max(by_shard.get(shard, 0), result.encoded)
    return sum(by_shard.values())


def _shard_size(extraction: Extraction) -> int:
    """A cache that was begun keeps the shards that it was begun with."""
    wanted = shard_size_of(extraction.config, on_gpu=extraction.on_gpu)
    if not (extraction.folder / MANIFEST).exists():
        return wanted
    begun_with = int(read_manifest(extraction.folder).settings["shard_size"])
    if extraction.config.shard_size not in (None, begun_with):
        log.info("this cache was begun with %d videos in a shard: keeping that", begun_with)
    return begun_with


def _other_files(extraction: Extraction, folder: Path) -> dict[str, str]:
    """What a cache of hidden states needs beside its shards: the projections behind them."""
    if extraction.config.features != HIDDEN:
        return {}
    tensors = extraction.encoders.clip.projections()
    return write_projections(folder, {name: each.numpy() for name, each in tensors.items()})
