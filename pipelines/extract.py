"""`vidret extract`: videos and captions in, a cache of embeddings out."""

import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidret.data.cache import cache_lock
from vidret.data.catalog import dataset_hash, load_dataset
from vidret.data.errors import ItemsFailedError, VidretError
from vidret.data.fingerprint import Fingerprint
from vidret.data.manifest import MANIFEST, Manifest, SplitCount, read_manifest, write_manifest
from vidret.data.publish import publish
from vidret.data.samples import AudioState, Dataset, Failure
from vidret.data.shards import ShardEntry, read_failures, read_video_table
from vidret.data.synth.dataset import (
    CAPTIONS_FILE,
    draw_clips,
    load_synth,
    synth_folder,
    write_captions,
)
from vidret.data.synth.script import Clip
from vidret.extract.clip import missing_weights
from vidret.extract.decode import decoder_version
from vidret.extract.encoders import Encoders, EncoderSpec, load_encoders
from vidret.extract.panns import NONE, POLICY
from vidret.extract.plan import Plan, plan_shards
from vidret.extract.schedule import dask_client, run_tasks
from vidret.extract.task import TaskSettings, extract_captions, extract_videos
from vidret.pipelines.config.settings import SYNTH, ExtractConfig
from vidret.pipelines.display.progress import OnProgress, Progress
from vidret.pipelines.training.runs import encoders_of_run

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

CLIPS_PER_TASK = 8
RUN_PREFIX = "run:"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractReport:
    """What an extraction did, or would do."""

    folder: Path
    dataset: str
    videos: int
    captions: int
    to_do: int
    failures: tuple[Failure, ...]
    allowed: int
    sound: dict[str, int]
    bytes: int
    dry_run: bool
    notes: tuple[str, ...]

    @property
    def verdict(self) -> VidretError | None:
        """More videos failed than were allowed."""
        if len(self.failures) <= self.allowed:
            return None
        return ItemsFailedError(
            f"{len(self.failures)} of {self.videos} videos failed, {self.allowed} were allowed: "
            f"see {self.folder / 'failures.md'}, or accept them with "
            f"--allow-failures {len(self.failures)}"
        )

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return asdict(self)


def run_extract(config: ExtractConfig, *, on_progress: OnProgress) -> ExtractReport:
    """Encode what the cache lacks; what is there already stays as it is."""
    config = with_encoders_of_run(config)
    dataset, undrawn = open_dataset(config)
    encoders = load_encoders(encoder_spec(config))
    fingerprint = describe(dataset, config, encoders)
    folder = config.work / "cache" / f"{_slug(dataset.name)}-f{config.frames}-{fingerprint.digest}"
    config = _keep_shard_size(config, folder)
    if config.dry_run:
        return _report(config, dataset, folder, _plan(config, dataset, folder, fingerprint), ())
    with cache_lock(folder):
        plan = _plan(config, dataset, folder, fingerprint)
        entries = list(plan.done)
        if plan.videos or plan.captions or undrawn:
            begun = _manifest(config, dataset, fingerprint, entries, complete=False)
            write_manifest(folder, begun)
            entries += _extract(config, dataset, undrawn, folder, fingerprint, plan, on_progress)
        write_manifest(folder, _manifest(config, dataset, fingerprint, entries, complete=True))
        report = _report(config, dataset, folder, plan, entries)
        _write_failures(folder, report.failures, dataset)
    return report


def open_dataset(config: ExtractConfig) -> tuple[Dataset, list[Clip]]:
    """The dataset, and the scripts of the clips that are still to be drawn for it."""
    if config.dataset == SYNTH:
        folder = synth_folder(config.work.absolute(), config.num_clips, config.seed)
        return load_synth(folder, config.num_clips, config.seed)
    return _without(load_dataset(config.dataset, config.root), config.work.absolute()), []


def _without(dataset: Dataset, work: Path) -> Dataset:
    """The dataset without what vidret itself has put there: a work folder may lie inside."""
    own = {video.id for video in dataset.videos if video.path.is_relative_to(work)}
    return replace(
        dataset,
        videos=tuple(video for video in dataset.videos if video.id not in own),
        captions=tuple(caption for caption in dataset.captions if caption.video_id not in own),
    )


def with_encoders_of_run(config: ExtractConfig) -> ExtractConfig:
    """The same, with the files that `run:NAME` stands for: a fine-tuned run has its own weights.

    They go together: features of its pictures and of another sound encoder would fit no head.

    Raises:
        MissingError: there is no such run, or it changed no encoder.
    """
    backbone = config.backbone or ""
    if not backbone.startswith(RUN_PREFIX):
        return config
    clip, sound = encoders_of_run(config.work, backbone.removeprefix(RUN_PREFIX))
    return replace(config, backbone=clip, audio=NONE if config.audio == NONE else sound)


def encoder_spec(config: ExtractConfig) -> EncoderSpec:
    """The encoders that a config asks for.

    Raises:
        MissingError: a real dataset wants real weights, and no file of them is named.
    """
    if config.backbone is None and config.backbone_name != "tiny":
        raise missing_weights(config.backbone_name.partition("@")[0])
    return EncoderSpec(
        backbone=config.backbone_name,
        audio=config.audio_name,
        device=config.device,
        offline=config.offline,
    )


def describe(dataset: Dataset, config: ExtractConfig, encoders: Encoders) -> Fingerprint:
    """Everything that decides what the cache will hold."""
    clip, sound = encoders.clip, encoders.sound
    return Fingerprint(
        vidret=version("vidret"),
        dataset=dataset.name,
        dataset_hash=dataset_hash(dataset),
        frame_policy="uniform",
        frames=config.frames,
        decoder=decoder_version(config.decoder),
        preprocess=clip.pixels.description,
        backbone=clip.name,
        backbone_config=clip.config,
        backbone_weights=clip.weights,
        audio_model="none" if sound is None else sound.name,
        audio_weights="none" if sound is None else sound.weights,
        audio_policy="none" if sound is None else POLICY,
        dtype="float16",
        dim=clip.dim,
        audio_dim=0 if sound is None else sound.dim,
        logit_scale=clip.logit_scale,
    )


def _plan(config: ExtractConfig, dataset: Dataset, folder: Path, fingerprint: Fingerprint) -> Plan:
    return plan_shards(
        dataset,
        folder,
        shard_size=config.shard_size,
        features_digest=fingerprint.features_digest,
        retry_failed=config.retry_failed,
    )


def _extract(
    config: ExtractConfig,
    dataset: Dataset,
    undrawn: Sequence[Clip],
    folder: Path,
    fingerprint: Fingerprint,
    plan: Plan,
    on_progress: OnProgress,
) -> list[ShardEntry]:
    settings = TaskSettings(
        folder=folder.absolute(),
        root=dataset.root.absolute(),
        frames=config.frames,
        decoder=config.decoder,
        encoders=encoder_spec(config),
        features_digest=fingerprint.features_digest,
    )
    with dask_client(config.workers) as client:
        if config.dataset == SYNTH:
            _draw(client, dataset, undrawn, on_progress)
        entries = []
        skipped = len(dataset.videos) - sum(len(shard.videos) for shard in plan.videos)
        progress = Progress(skipped=skipped, total=len(dataset.videos))
        on_progress(progress)
        for entry in run_tasks(client, extract_videos, plan.videos, settings):
            entries.append(entry)
            done, failed = progress.done + entry.items, progress.failed + entry.failed
            progress = replace(progress, done=done, failed=failed)
            on_progress(progress)
        entries += run_tasks(client, extract_captions, plan.captions, settings)
    return entries


def _draw(
    client: "Client", dataset: Dataset, clips: Sequence[Clip], on_progress: OnProgress
) -> None:
    """Draw the clips of the synthetic set that are not there yet."""
    folder = dataset.root
    if not clips and (folder / CAPTIONS_FILE).exists():
        return
    portions = [
        clips[start : start + CLIPS_PER_TASK] for start in range(0, len(clips), CLIPS_PER_TASK)
    ]
    total, drawn = len(dataset.videos), len(dataset.videos) - len(clips)
    on_progress(Progress(done=drawn, total=total, note="drawing the clips"))
    with cache_lock(folder), cache_lock(folder / "videos"):  # other frame counts share the clips
        for number in run_tasks(client, draw_clips, portions, folder):
            drawn += number
            on_progress(Progress(done=drawn, total=total, note="drawing the clips"))
        write_captions(folder, dataset)


def _keep_shard_size(config: ExtractConfig, folder: Path) -> ExtractConfig:
    """A cache that was begun keeps the shards that it was begun with."""
    if not (folder / MANIFEST).exists():
        return config
    begun_with = read_manifest(folder).settings["shard_size"]
    if begun_with != config.shard_size:
        log.info("this cache was begun with %d videos in a shard: keeping that", begun_with)
    return replace(config, shard_size=begun_with)


def _manifest(
    config: ExtractConfig,
    dataset: Dataset,
    fingerprint: Fingerprint,
    entries: Iterable[ShardEntry],
    *,
    complete: bool,
) -> Manifest:
    split_of = {video.id: video.split for video in dataset.videos}
    videos = Counter(split_of.values())
    captions = Counter(split_of[caption.video_id] for caption in dataset.captions)
    return Manifest(
        fingerprint=fingerprint,
        settings={
            "root": str(dataset.root.absolute()),
            "protocol": dataset.protocol,
            "notes": list(dataset.notes),
            "backbone": config.backbone_name,
            "audio": config.audio_name,
            "decoder": config.decoder,
            "shard_size": config.shard_size,
        },
        splits={
            split: SplitCount(videos=videos[split], captions=captions[split]) for split in videos
        },
        shards=tuple(entries),
        complete=complete,
    )


def _report(
    config: ExtractConfig,
    dataset: Dataset,
    folder: Path,
    plan: Plan,
    entries: Sequence[ShardEntry],
) -> ExtractReport:
    shards = [folder / entry.file for entry in entries if entry.kind == "video"]
    sound = Counter(state for path in shards for state in read_video_table(path).audio_state)
    to_do = sum(len(shard.videos) for shard in plan.videos)
    return ExtractReport(
        folder=folder,
        dataset=dataset.name,
        videos=len(dataset.videos),
        captions=len(dataset.captions),
        to_do=to_do,
        failures=tuple(failure for path in shards for failure in read_failures(path)),
        allowed=config.failures_allowed(len(dataset.videos)),
        sound={str(state): sound[state] for state in AudioState},
        bytes=sum(entry.bytes for entry in entries),
        dry_run=config.dry_run,
        notes=dataset.notes,
    )


def _write_failures(folder: Path, failures: Sequence[Failure], dataset: Dataset) -> None:
    """The list for machines and the list for people; neither is there when nothing failed."""
    rows = [json.dumps(asdict(failure)) + "\n" for failure in failures]
    sections = [
        f"\n## {failure.id}\n\n- file: `{failure.path}`\n- stage: {failure.stage}\n"
        f"- reason: {failure.reason}\n"
        for failure in failures
    ]
    title = f"# {len(failures)} videos of {dataset.name} failed\n\n"
    again = "Repair or replace the files, then give the same command with `--retry-failed`.\n"
    texts = {"failures.jsonl": "".join(rows), "failures.md": title + again + "".join(sections)}
    for name, text in texts.items():
        if not failures:
            (folder / name).unlink(missing_ok=True)
            continue
        with publish(folder / name) as part:
            part.write_text(text, encoding="utf-8", errors="backslashreplace")


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name)
