"""What a fine-tuning trains, from what, and how it is written: heads, encoders, live features."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vidret.data.cache import FeatureCache
from vidret.data.errors import DamagedError, MismatchError
from vidret.data.features import SplitFeatures
from vidret.data.fingerprint import require_fingerprint
from vidret.data.storage.publish import publish
from vidret.extract.clip import load_clip
from vidret.extract.decode import decoder_version
from vidret.extract.decoding.sampling import parse_sampling
from vidret.extract.encoders import Encoders, pick_device
from vidret.extract.panns import load_sound
from vidret.extract.weights.files import hash_file, picture_metadata
from vidret.heads.retriever import Retriever
from vidret.pipelines.config.fitting import FinetuneConfig
from vidret.pipelines.training.checkpoints import (
    STATE,
    epochs_done,
    load_state,
    save_state,
    state_of_stage,
)
from vidret.pipelines.training.fitting import as_split, best_epoch, make_stage, stages_of
from vidret.pipelines.training.footage import Footage
from vidret.pipelines.training.journal import USUAL_LOG, Journal
from vidret.pipelines.training.learners import (
    batch_loss,
    computing_in,
    measure,
    ready_for_stage,
)
from vidret.pipelines.training.live import (
    SOUND,
    TEXT,
    VISUAL,
    LiveSplit,
    Source,
    unfreeze,
    weights_of,
)
from vidret.pipelines.training.loop import (
    AUDIO,
    VIDEO_TEXT,
    Fit,
    Learner,
    OnEpoch,
    Stage,
    fit_learner,
)
from vidret.pipelines.training.optimizing import weight_groups
from vidret.pipelines.training.runs import (
    CLIP_WEIGHTS,
    SOUND_WEIGHTS,
    WEIGHTS,
    Origin,
    Run,
    find_run,
    load_weights,
    read_run,
    save_weights,
    write_run,
)
from vidret.pipelines.training.weighing import FROM_VAL, choose_audio_weight

ENCODERS_OF = {VIDEO_TEXT: (VISUAL, TEXT), AUDIO: (SOUND,)}  # what may learn in each stage


WEIGHTS_OF = {VIDEO_TEXT: CLIP_WEIGHTS, AUDIO: SOUND_WEIGHTS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Everything that learns, and what it learns from.

    Args:
        retriever: the heads of the run to start from.
        train: where batches come from.
        select: what picks the epoch.
        encoders: None where no encoder learns.
        weights: what can learn in each encoder that is unfrozen.
    """

    retriever: Retriever
    train: LiveSplit
    select: LiveSplit
    encoders: Encoders | None
    weights: dict[str, list[nn.Parameter]]


def plan_stages(run: Run) -> list[Stage]:
    """As `vidret train-heads` has them; CLIP may learn below a head that cannot."""
    stages = stages_of(run)
    if learning_encoders(run, VIDEO_TEXT) and VIDEO_TEXT not in [stage.name for stage in stages]:
        return [make_stage(VIDEO_TEXT, run.settings), *stages]
    return stages


def learning_encoders(run: Run, stage: str) -> list[str]:
    """The encoders that learn in a stage of a fine-tuning."""
    return [part for part in ENCODERS_OF[stage] if part in origin_of(run).unfreeze]


def make_learner(run: Run, stage: Stage, tuning: Tuning) -> Learner:
    """What a stage trains: the heads, and the encoders that the run unfreezes for it."""
    retriever, live = tuning.retriever, learning_encoders(run, stage.name)
    ready_for_stage(retriever, stage)
    if stage.name != AUDIO and retriever.audio_head is not None:
        retriever.audio_head.requires_grad_(False)  # noqa: FBT003 (torch's own signature)
    trained = retriever if stage.name == AUDIO else without_sound(retriever)
    groups = weight_groups(retriever, lr=stage.lr, weight_decay=stage.weight_decay)
    model = nn.ModuleDict({"heads": retriever})
    if tuning.encoders is not None:
        unfreeze(tuning.encoders, [weight for part in live for weight in tuning.weights[part]])
    encoder = _learning_encoder(run, stage, tuning)
    if encoder is not None:
        model["encoder"] = encoder
        lr = origin_of(run).lr_audio if stage.name == AUDIO else origin_of(run).lr_clip
        groups += weight_groups(encoder, lr=lr, weight_decay=stage.weight_decay)
    train, select = (
        replace(split, live=frozenset(live)) for split in (tuning.train, tuning.select)
    )

    def loss(rows: Tensor) -> Tensor:
        rows = rows.to(train.cached.owners.device)
        with computing_in(stage.precision, rows.device):
            texts, videos = train.batch(rows)
        return batch_loss(trained, stage, texts, videos, train.cached.owners[rows])

    return Learner(
        model=model,
        retriever=trained,
        groups=groups,
        owners=train.cached.owners.cpu(),
        caption_ids=train.cached.caption_ids,
        begin_epoch=lambda _: lambda rows: rows,
        loss=loss,
        measure=lambda: measure(retriever, select.encode()),
    )


def without_sound(retriever: Retriever) -> Retriever:
    """The same weights without the head for sound, which the first stage leaves out of its loss."""
    seeing = Retriever(retriever.video_head, None, logit_scale=1.0)
    seeing.tau = retriever.tau
    return seeing


def origin_of(run: Run) -> Origin:
    """What a fine-tuning came from.

    Raises:
        MismatchError: the run is none.
    """
    if run.origin is None:
        raise MismatchError(
            f"run {run.name} is no fine-tuning: go on with `vidret train-heads --resume "
            f"{run.name}`, or start from it with --init {run.name}"
        )
    return run.origin


def prepare(
    config: FinetuneConfig,
    run: Run,
    cache: FeatureCache,
    train: SplitFeatures,
    select: SplitFeatures,
) -> Tuning:
    """Load the heads to start from and, where they learn, the encoders and the videos."""
    device, origin = pick_device(config.device), origin_of(run)
    start = find_run(config.work, origin.run)
    retriever = load_weights(start, read_run(start)).to(device)
    if hash_file(start / WEIGHTS) != origin.heads:
        raise MismatchError(
            f"run {origin.run} was trained again since {run.name} began with it: "
            f"begin anew with --init {origin.run} and another --name"
        )
    live = {part for stage in plan_stages(run) for part in learning_encoders(run, stage.name)}
    encoders = _load_encoders(config, cache, sound=SOUND in live) if live else None
    footage = None
    if encoders is not None:
        settings = cache.manifest.settings
        footage = Footage(
            encoders.clip,
            root=Path(settings["root"]),
            sampling=parse_sampling(cache.fingerprint.frame_policy, cache.fingerprint.frames),
            decoder=settings["decoder"],
            with_sound=encoders.sound is not None,
            memory=config.pixel_memory * 2**20,
        )
    return Tuning(
        retriever=retriever,
        train=_live_split(train, device, encoders, footage, needs_files=live != {TEXT}),
        select=_live_split(select, device, encoders, footage, needs_files=live != {TEXT}),
        encoders=encoders,
        weights={part: weights_of(encoders, part) for part in live} if encoders else {},
    )


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
    return Encoders(clip=clip, sound=hears, device=device)


def _live_split(
    features: SplitFeatures,
    device: torch.device,
    encoders: Encoders | None,
    footage: Footage | None,
    *,
    needs_files: bool,
) -> LiveSplit:
    cached = as_split(features, device)
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
    )
    return LiveSplit(cached=cached, source=source, live=frozenset())


def fit_tuning(folder: Path, run: Run, tuning: Tuning, on_epoch: Callable[[int], None]) -> Run:
    """Train every stage that is left, and write what came out."""
    run = replace(run, fingerprint=origin_of(run).fingerprint, history={}, complete=False)
    write_run(folder, run)
    state = load_state(folder) or {"stage": None, "finished": {}}
    history: dict[str, Any] = dict(state["finished"])
    stages = plan_stages(run)
    with Journal(folder, USUAL_LOG, epochs_done(state)) as journal:
        for stage in stages:
            learner = make_learner(run, stage, tuning)
            encoder = _learning_encoder(run, stage, tuning)
            path = folder / WEIGHTS_OF[stage.name]
            if stage.name in history:
                if encoder is not None and _is_better(history[stage.name]):
                    _read_encoder(path, encoder)
            else:
                fit = fit_learner(
                    learner,
                    stage,
                    seed=run.seed,
                    on_epoch=_keeper(folder, stage, history, on_epoch),
                    resume=state_of_stage(state, stage.name, learner.model, folder),
                    from_start=True,
                    journal=journal,
                )
                history[stage.name] = fit.history
                _write_encoder(path, encoder if _is_better(fit.history) else None)
            if encoder is not None and _is_better(history[stage.name]) and stage is not stages[-1]:
                tuning = _settle(run, stage, tuning)
    return _finish(folder, run, tuning, history)


def _settle(run: Run, stage: Stage, tuning: Tuning) -> Tuning:
    """After a stage its encoders keep still, so what they give is encoded once for the next."""
    live = frozenset(learning_encoders(run, stage.name))
    return replace(
        tuning,
        train=replace(tuning.train, cached=replace(tuning.train, live=live).encode()),
        select=replace(tuning.select, cached=replace(tuning.select, live=live).encode()),
    )


def _finish(folder: Path, run: Run, tuning: Tuning, history: dict[str, Any]) -> Run:
    """Write the numbers, and last the heads: without them a run counts as not finished."""
    fingerprint, retriever = run.fingerprint, tuning.retriever
    if run.settings["audio_weight"] == FROM_VAL and retriever.audio_head is not None:
        live = frozenset(learning_encoders(run, AUDIO))
        select = replace(tuning.select, live=live).encode()
        run = replace(run, audio_weight=choose_audio_weight(retriever, select))
    if (folder / CLIP_WEIGHTS).exists():
        fingerprint = replace(fingerprint, backbone_weights=hash_file(folder / CLIP_WEIGHTS))
    if (folder / SOUND_WEIGHTS).exists():
        fingerprint = replace(fingerprint, audio_weights=hash_file(folder / SOUND_WEIGHTS))
    run = replace(run, history=history, fingerprint=fingerprint, complete=True)
    write_run(folder, run)
    save_weights(folder, retriever)
    (folder / STATE).unlink(missing_ok=True)
    return run


def _keeper(
    folder: Path, stage: Stage, finished: dict[str, Any], on_epoch: Callable[[int], None]
) -> OnEpoch:
    """What saves a run after each epoch of a stage and counts the epochs."""
    before = sum(len(epochs) - 1 for epochs in finished.values())  # the start is no epoch
    already = dict(finished)

    def keep(fit: Fit, state: dict[str, Any]) -> None:
        save_state(folder, {"stage": stage.name, "finished": already, **state})
        on_epoch(before + fit.epoch)

    return keep


def _is_better(epochs: list[dict[str, float]]) -> bool:
    """Whether any epoch of a stage was better than its start."""
    return best_epoch(epochs)["epoch"] > 0


def _learning_encoder(run: Run, stage: Stage, tuning: Tuning) -> nn.Module | None:
    """The network whose weights a stage changes."""
    if tuning.encoders is None or not learning_encoders(run, stage.name):
        return None
    if stage.name == VIDEO_TEXT:
        return tuning.encoders.clip.model
    return None if tuning.encoders.sound is None else tuning.encoders.sound.model


def _write_encoder(path: Path, encoder: nn.Module | None) -> None:
    """Write an encoder's weights in float32, where steps of 1e-6 do not vanish."""
    if encoder is None:
        path.unlink(missing_ok=True)
        return
    with publish(path) as part:
        state = {name: weight.contiguous() for name, weight in encoder.state_dict().items()}
        save_file(state, part, metadata=picture_metadata(encoder))


def _read_encoder(path: Path, encoder: nn.Module) -> None:
    try:
        encoder.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise DamagedError(
            f"{path} cannot be read ({str(error).splitlines()[0]}): "
            f"remove {path.parent} and fine-tune again"
        ) from error
