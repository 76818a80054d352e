"""From a run and a cache to everything that a fine-tuning learns, and what it learns from."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from vidret.data.cache import FeatureCache
from vidret.data.errors import MismatchError
from vidret.data.features import SplitFeatures
from vidret.data.fingerprint import require_fingerprint
from vidret.data.storage.projections import Projections
from vidret.extract.clip import load_clip
from vidret.extract.decode import decoder_version
from vidret.extract.decoding.sampling import parse_sampling
from vidret.extract.encoders import Encoders, pick_device
from vidret.extract.panns import load_sound
from vidret.extract.weights.files import hash_file
from vidret.heads.retriever import Retriever
from vidret.pipelines.config.declaring import require
from vidret.pipelines.config.fitting import FinetuneConfig
from vidret.pipelines.config.unfreezing import read_unfreeze
from vidret.pipelines.training.encoder_learning import LearningEncoder, make_learning
from vidret.pipelines.training.fitting import as_split
from vidret.pipelines.training.footage import Footage
from vidret.pipelines.training.halting import less_memory
from vidret.pipelines.training.live import LiveSplit, Source
from vidret.pipelines.training.loop import AUDIO
from vidret.pipelines.training.planning import (
    augment_of,
    learning_encoders,
    origin_of,
    plan_stages,
)
from vidret.pipelines.training.processes import place
from vidret.pipelines.training.projecting import features_of_run
from vidret.pipelines.training.recomputing import recompute_blocks
from vidret.pipelines.training.runs import (
    WEIGHTS,
    Run,
    build_head,
    find_run,
    load_weights,
    read_run,
)
from vidret.pipelines.training.unfreezing import SOUND, TEXT, VISUAL, tower_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Everything that learns, and what it learns from.

    Args:
        retriever: the heads of the run to start from.
        train: where batches come from.
        select: what picks the epoch.
        encoders: None where no encoder learns.
        learning: the encoder that learns in each stage, if one does.
        hears: whether the head for sound has learned anything before, and so counts from the start.
        start: the folder of the run to start from, where its projections go on to be used.
        chunk: captions or videos encoded at once; 0 encodes a whole batch.
        remedy: what to do where memory does not suffice.
    """

    retriever: Retriever
    train: LiveSplit
    select: LiveSplit
    encoders: Encoders | None
    learning: dict[str, LearningEncoder]
    hears: bool = True
    start: Path | None = None
    chunk: int = 0
    remedy: str = ""


def prepare(
    config: FinetuneConfig,
    run: Run,
    cache: FeatureCache,
    train: SplitFeatures,
    select: SplitFeatures,
) -> Tuning:
    """Load the heads to start from and, where they learn, the encoders and the videos."""
    device, origin = pick_device(config.device), origin_of(run)
    whole = not (config.chunk or config.checkpointing or place().size > 1)
    require(
        whole or origin.batchnorm == "eval",
        "--batchnorm train shows the sound network whole batches, once: leave out --chunk and "
        "--checkpointing, and start one process",
    )
    start = find_run(config.work, origin.run)
    init = read_run(start)
    retriever = load_weights(start, init).to(device)
    if hash_file(start / WEIGHTS) != origin.heads:
        raise MismatchError(
            f"run {origin.run} was trained again since {run.name} began with it: "
            f"begin anew with --init {origin.run} and another --name"
        )
    train, select = (features_of_run(start, init, one) for one in (train, select))
    stages = [stage.name for stage in plan_stages(run)]
    live = {part for stage in stages for part in learning_encoders(run, stage)}
    live |= {VISUAL for stage in stages if augment_of(run, stage)}
    encoders = _load_encoders(config, cache, sound=SOUND in live) if live else None
    footage = None
    if encoders is not None:
        if init.settings["train_projection"]:
            encoders.clip.set_projections(_as_tensors(train.projections or {}))
        settings = cache.manifest.settings
        footage = Footage(
            encoders.clip,
            root=Path(settings["root"]),
            sampling=parse_sampling(cache.fingerprint.frame_policy, cache.fingerprint.frames),
            decoder=settings["decoder"],
            with_sound=encoders.sound is not None,
            memory=config.pixel_memory * 2**20,
        )
    learning = _learning(config, run, cache, encoders, changed=init.settings["train_projection"])
    if encoders is not None and config.checkpointing:
        for part in (part for encoder in learning.values() for part in encoder.weights):
            recompute_blocks(tower_of(encoders, part))
    return Tuning(
        retriever=retriever,
        train=_live_split(
            train,
            device,
            encoders,
            footage,
            needs_files=live != {TEXT},
            jitter=run.settings["jitter"],
        ),
        select=_live_split(select, device, encoders, footage, needs_files=live != {TEXT}),
        encoders=encoders,
        learning=learning,
        hears=_sound_has_learned(init, retriever),
        start=start,
        chunk=config.chunk,
        remedy=less_memory(
            chunk=config.chunk,
            checkpointing=config.checkpointing,
            batch_size=run.settings["batch_size"],
            precision=run.settings["precision"],
            encodes=bool(live),
        ),
    )


def _sound_has_learned(init: Run, retriever: Retriever) -> bool:
    """Whether the head for sound is another than when it was built; without one there is none."""
    head, fresh = retriever.audio_head, build_head(init).audio_head
    if head is None or fresh is None:
        return False
    now = head.state_dict()
    return any(not torch.equal(one, now[name].cpu()) for name, one in fresh.state_dict().items())


def _learning(
    config: FinetuneConfig,
    run: Run,
    cache: FeatureCache,
    encoders: Encoders | None,
    *,
    changed: bool,
) -> dict[str, LearningEncoder]:
    """What learns of the encoders in each stage; `changed` says that CLIP's projections did."""
    origin, specs = origin_of(run), cache.manifest.settings
    stages = [stage.name for stage in plan_stages(run)]
    return {
        stage: make_learning(
            encoders,
            tuple(learning_encoders(run, stage)),
            read_unfreeze([*learning_encoders(run, stage), *origin.limits]),
            base=specs["audio" if stage == AUDIO else "backbone"],
            lora=origin.lora,
            batchnorm=origin.batchnorm,
            changed=changed and stage != AUDIO,
            seed=run.seed,
            offline=config.offline,
        )
        for stage in stages
        if encoders is not None and learning_encoders(run, stage)
    }


def _load_encoders(config: FinetuneConfig, cache: FeatureCache, *, sound: bool) -> Encoders:
    """The encoders that made a cache, for this fit alone: its weights are to change.

    Raises:
        MismatchError: they, or the decoder, are no longer what the cache was made with.
    """
    device, settings = pick_device(config.device), cache.manifest.settings
    clip = load_clip(settings["backbone"], device=device, offline=config.offline)
    hears = load_sound(settings["audio"], device=device) if sound else None
    today = replace(
        cache.fingerprint,
        decoder=decoder_version(settings["decoder"]),
        preprocess=clip.pixels.description,
        backbone_config=clip.config,
        backbone_weights=clip.weights,
        audio_weights=cache.fingerprint.audio_weights if hears is None else hears.weights,
    )
    require_fingerprint(cache.fingerprint, today, str(cache.folder))
    return Encoders(clip=clip, sound=hears, device=device, precision=cache.fingerprint.precision)


def _as_tensors(projections: Projections) -> dict[str, Tensor]:
    return {name: torch.from_numpy(tensor) for name, tensor in projections.items()}


def _live_split(
    features: SplitFeatures,
    device: torch.device,
    encoders: Encoders | None,
    footage: Footage | None,
    *,
    needs_files: bool,
    jitter: bool = False,
) -> LiveSplit:
    cached = as_split(features, device, jitter=jitter)
    if encoders is None or footage is None:
        return LiveSplit(cached=cached, source=None, live=frozenset())
    if needs_files:
        footage.require_files(features)
    bounds = features.token_offsets
    ids = [features.tokens[bounds[row] : bounds[row + 1]].tolist() for row in range(len(cached))]
    source = Source(
        features=features,
        tokens=encoders.clip.mark_tokens(ids),
        footage=footage,
        encoders=encoders,
        hidden=features.projections is not None,
    )
    return LiveSplit(cached=cached, source=source, live=frozenset())
