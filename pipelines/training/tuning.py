"""A fine-tuning from stage to stage: what each trains, and what is written of it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from vidret.extract.weights.files import hash_file
from vidret.heads.retriever import Retriever
from vidret.pipelines.training.checkpoints import (
    STATE,
    load_state,
    save_state,
    state_of_stage,
    steps_done,
    sweep,
)
from vidret.pipelines.training.encoder_learning import (
    LearningEncoder,
    read_encoder,
    write_encoder,
)
from vidret.pipelines.training.fitting import best_epoch
from vidret.pipelines.training.halting import naming_the_room
from vidret.pipelines.training.journal import USUAL_LOG, Journal, LogSettings
from vidret.pipelines.training.lasting import write_last
from vidret.pipelines.training.learners import encoding_learner, ready_for_stage
from vidret.pipelines.training.loop import (
    AUDIO,
    VIDEO_TEXT,
    Fit,
    Learner,
    OnEpoch,
    Saves,
    Stage,
    fit_learner,
)
from vidret.pipelines.training.optimizing import weight_groups
from vidret.pipelines.training.planning import (
    augment_of,
    learning_encoders,
    origin_of,
    plan_stages,
    rate_of_encoder,
)
from vidret.pipelines.training.preparing import Tuning
from vidret.pipelines.training.processes import by_first, is_first, wait_for_all
from vidret.pipelines.training.projecting import copy_projections
from vidret.pipelines.training.runs import (
    CLIP_WEIGHTS,
    SOUND_WEIGHTS,
    Run,
    save_weights,
    write_run,
)
from vidret.pipelines.training.unfreezing import VISUAL, unfreeze
from vidret.pipelines.training.watching import Tell, Watch
from vidret.pipelines.training.weighing import FROM_VAL, choose_audio_weight

SAVE_EVERY = 10.0  # minutes
WEIGHTS_OF = {VIDEO_TEXT: CLIP_WEIGHTS, AUDIO: SOUND_WEIGHTS}


def make_learner(run: Run, stage: Stage, tuning: Tuning) -> Learner:
    """What a stage trains: the heads, and the encoders that the run unfreezes for it."""
    retriever, origin = tuning.retriever, origin_of(run)
    encoder = tuning.learning.get(stage.name)
    ready_for_stage(retriever, stage)
    if stage.name != AUDIO and retriever.audio_head is not None:
        retriever.audio_head.requires_grad_(False)  # noqa: FBT003 (torch's own signature)
    trained = retriever if stage.name == AUDIO else without_sound(retriever)
    measured = retriever if tuning.hears else trained
    groups = weight_groups(retriever, lr=stage.lr, weight_decay=stage.weight_decay)
    model = nn.ModuleDict({"heads": retriever})
    if tuning.encoders is not None:
        unfreeze(tuning.encoders, [] if encoder is None else encoder.learning)
    if encoder is not None:
        model["encoder"] = encoder.kept()
        groups += encoder.groups(
            lr=rate_of_encoder(origin, stage.name),
            weight_decay=stage.weight_decay,
            layer_decay=origin.layer_decay,
        )
    live = frozenset(learning_encoders(run, stage.name))
    augment = augment_of(run, stage.name)
    shown = live | {VISUAL} if augment else live
    return encoding_learner(
        measured,
        trained,
        stage,
        replace(tuning.train, live=shown, augment=augment),
        replace(tuning.select, live=live),
        model=model,
        groups=groups,
        chunk=tuning.chunk,
        stepping=nullcontext if encoder is None else encoder.stepping,
    )


def without_sound(retriever: Retriever) -> Retriever:
    """The same weights without the head for sound, which the first stage leaves out of its loss."""
    seeing = Retriever(retriever.video_head, None, logit_scale=1.0)
    seeing.tau = retriever.tau
    return seeing


def fit_tuning(
    folder: Path,
    run: Run,
    tuning: Tuning,
    on_epoch: Callable[[int], None],
    log_settings: LogSettings = USUAL_LOG,
    save_every: float = SAVE_EVERY,
    tell: Tell | None = None,
) -> Run:
    """Train every stage that is left, and write what came out.

    Where several processes fit together all compute, and the first writes.

    Args:
        folder: of the run.
        run: what to fit.
        tuning: what it is fitted with.
        on_epoch: told how many epochs are done.
        log_settings: how much goes into the log beside it.
        save_every: minutes between two saves amid an epoch; 0 saves after epochs alone.
        tell: told how far an epoch is.
    """
    run = replace(run, fingerprint=origin_of(run).fingerprint, history={}, complete=False)

    def begin() -> None:
        sweep(folder)
        write_run(folder, run)

    by_first(begin)
    state = load_state(folder) or {"stage": None, "finished": {}}
    history: dict[str, Any] = dict(state["finished"])
    stages = plan_stages(run)
    with _open_journal(folder, log_settings, steps_done(state)) as journal:
        for stage in stages:
            learner = make_learner(run, stage, tuning)
            encoder = tuning.learning.get(stage.name)
            path = folder / WEIGHTS_OF[stage.name]
            if stage.name in history:
                _read_again(path, encoder, history[stage.name])
            else:
                with naming_the_room(f"in stage {stage.name}", tuning.remedy):
                    fit = fit_learner(
                        learner,
                        stage,
                        seed=run.seed,
                        on_epoch=_keeper(folder, stage, history, on_epoch),
                        resume=state_of_stage(state, stage.name, learner.model, folder),
                        from_start=True,
                        journal=journal,
                        on_last=_last_keeper(folder, run, stage, tuning, history),
                        saves=_saves(folder, stage, history, save_every),
                        watch=_watch(tell, history),
                    )
                history[stage.name] = fit.history
                _write(path, encoder, fit.history, save=origin_of(run).save)
            if encoder is not None and _is_better(history[stage.name]) and stage is not stages[-1]:
                with naming_the_room(f"in stage {stage.name}", tuning.remedy):
                    tuning = _settle(run, stage, tuning)
    return _finish(folder, run, tuning, history)


def _open_journal(
    folder: Path, settings: LogSettings, done: dict[str, float]
) -> AbstractContextManager[Journal | None]:
    return Journal(folder, settings, done) if is_first() else nullcontext()


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
    if run.settings["train_projection"] and tuning.start is not None:
        start = tuning.start
        by_first(lambda: copy_projections(start, folder))
    if (folder / CLIP_WEIGHTS).exists():
        fingerprint = replace(fingerprint, backbone_weights=hash_file(folder / CLIP_WEIGHTS))
    if (folder / SOUND_WEIGHTS).exists():
        fingerprint = replace(fingerprint, audio_weights=hash_file(folder / SOUND_WEIGHTS))
    run = replace(run, history=history, fingerprint=fingerprint, complete=True)

    def write() -> None:
        write_run(folder, run)
        save_weights(folder, retriever)
        (folder / STATE).unlink(missing_ok=True)

    by_first(write)
    return run


def _keeper(
    folder: Path, stage: Stage, finished: dict[str, Any], on_epoch: Callable[[int], None]
) -> OnEpoch:
    """What saves a run after each epoch of a stage and counts the epochs."""
    before = _count_epochs(finished)
    save = _saver(folder, stage, finished)

    def keep(fit: Fit, state: dict[str, Any]) -> None:
        if is_first():
            save(state)
            on_epoch(before + fit.epoch)

    return keep


def _count_epochs(finished: dict[str, Any]) -> int:
    return sum(len(epochs) - 1 for epochs in finished.values())  # the start is no epoch


def _watch(tell: Tell | None, finished: dict[str, Any]) -> Watch | None:
    if tell is None or not is_first():
        return None
    return Watch(tell=tell, before=_count_epochs(finished))


def _saves(folder: Path, stage: Stage, finished: dict[str, Any], minutes: float) -> Saves | None:
    """What saves a run amid the epochs of a stage, by the clock of the process that writes."""
    if not (minutes and is_first()):
        return None
    return Saves(every=minutes * 60, keep=_saver(folder, stage, finished))


def _saver(
    folder: Path, stage: Stage, finished: dict[str, Any]
) -> Callable[[dict[str, Any]], None]:
    already = dict(finished)
    return lambda state: save_state(folder, {"stage": stage.name, "finished": already, **state})


def _last_keeper(
    folder: Path, run: Run, stage: Stage, tuning: Tuning, finished: dict[str, Any]
) -> Callable[[Fit], None]:
    """What writes the weights of a stage's last epoch, if it had one."""
    encoder = tuning.learning.get(stage.name)
    projected = run.settings["train_projection"]

    def keep(fit: Fit) -> None:
        if fit.epoch and is_first():
            write_last(
                folder,
                replace(run, history=dict(finished)),
                stage.name,
                fit.history,
                retriever=tuning.retriever,
                encoder=encoder,
                weights=WEIGHTS_OF[stage.name],
                save=origin_of(run).save,
                projections=tuning.start if projected else None,
            )

    return keep


def _is_better(epochs: list[dict[str, float]]) -> bool:
    """Whether any epoch of a stage was better than its start."""
    return best_epoch(epochs)["epoch"] > 0


def _write(
    path: Path, encoder: LearningEncoder | None, epochs: list[dict[str, float]], *, save: str
) -> None:
    """Write an encoder that is another one now."""
    if is_first():
        if encoder is not None and _is_another(encoder, epochs):
            write_encoder(path, encoder, save=save)
        else:
            path.unlink(missing_ok=True)
    wait_for_all()
    if encoder is not None:
        encoder.settle()


def _read_again(
    path: Path, encoder: LearningEncoder | None, epochs: list[dict[str, float]]
) -> None:
    """Leave an encoder as the stage did that it learned in."""
    if encoder is None:
        return
    if _is_another(encoder, epochs):
        read_encoder(path, encoder)
    else:
        encoder.settle()


def _is_another(encoder: LearningEncoder, epochs: list[dict[str, float]]) -> bool:
    return encoder.changed or _is_better(epochs)
