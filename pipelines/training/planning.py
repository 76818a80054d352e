"""What a fine-tuning is to do: its stages, and what of the encoders learns in each."""

from vidret.data.errors import MismatchError
from vidret.pipelines.training.fitting import UNTRAINED, make_stage, stages_of
from vidret.pipelines.training.loop import AUDIO, VIDEO_TEXT, Stage
from vidret.pipelines.training.runs import SOUND as SOUND_HEAD
from vidret.pipelines.training.runs import Origin, Run
from vidret.pipelines.training.unfreezing import SOUND, TEXT, VISUAL

ENCODERS_OF = {VIDEO_TEXT: (VISUAL, TEXT), AUDIO: (SOUND,)}  # what may learn in each stage


def plan_stages(run: Run) -> list[Stage]:
    """As `vidret train-heads` has them; CLIP may learn below a head that cannot."""
    stages = {stage.name: stage for stage in stages_of(run)}
    if learning_encoders(run, VIDEO_TEXT):
        stages = {VIDEO_TEXT: make_stage(VIDEO_TEXT, run.settings)} | stages
    elif run.head.removesuffix(SOUND_HEAD) == UNTRAINED:  # its projections keep still here
        stages.pop(VIDEO_TEXT, None)
    return list(stages.values())


def learning_encoders(run: Run, stage: str) -> list[str]:
    """The encoders that learn in a stage of a fine-tuning."""
    return [part for part in ENCODERS_OF[stage] if part in origin_of(run).unfreeze]


def rate_of_encoder(origin: Origin, stage: str) -> float:
    """The learning rate of the encoder that learns in a stage."""
    if origin.lora:
        return origin.lr_lora
    return origin.lr_audio if stage == AUDIO else origin.lr_clip


def augment_of(run: Run, stage: str) -> tuple[str, ...]:
    """How pictures differ from epoch to epoch; the stage of the sound sees them as they are."""
    return tuple(origin_of(run).augment) if stage == VIDEO_TEXT else ()


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
