"""Where an extraction runs: on this machine, with or without GPUs, or on a cluster."""

from dataclasses import replace

from vidret.extract.encoders import Encoders, EncoderSpec
from vidret.extract.schedule import Place, core_count, visible_gpus
from vidret.pipelines.config.settings import SYNTH, ExtractConfig

ROOM_TO_WORK = 3 << 29  # bytes beside the weights: batches, what decoders have ready, libraries
SHARD_ON_CPU, SHARD_ON_GPU = 16, 256  # so that a task takes some 30 seconds


def is_local(config: ExtractConfig) -> bool:
    """Whether the workers are started here."""
    return config.scheduler is None and config.scheduler_file is None


def gpus_of(config: ExtractConfig) -> tuple[int, ...]:
    """The GPUs of this machine that get a worker each."""
    if not is_local(config) or config.device == "cpu":
        return ()
    _, _, number = config.device.partition(":")
    found = visible_gpus((int(number),) if number else config.gpus)
    return found[:1] if config.device == "cuda" and config.gpus is None else found


def place_of(config: ExtractConfig, encoders: Encoders | None = None) -> Place:
    """The cluster to start, or to go to."""
    gpus = gpus_of(config)
    others = config.workers
    if gpus and not others and (config.pixels or config.dataset == SYNTH):
        others = core_count()  # to decode and to draw, while the GPUs encode
    return Place(
        workers=others,
        gpus=gpus,
        footprint=ROOM_TO_WORK + (0 if encoders is None else _bytes_of(encoders)),
        scheduler=config.scheduler,
        scheduler_file=config.scheduler_file,
        tools=(config.work / "tools").absolute(),
    )


def spec_on_workers(spec: EncoderSpec, place: Place) -> EncoderSpec:
    """The same encoders where the tasks run: a worker of ours sees one GPU, or none."""
    if not place.is_local:
        return spec
    return replace(spec, device="auto")


def lanes_of(config: ExtractConfig, place: Place) -> int:
    """How many videos a worker decodes at once; 0 leaves it to each worker of a foreign cluster."""
    if config.decoders or not place.is_local:
        return config.decoders
    return max(1, core_count() // len(place.gpus)) if place.gpus else 1


def shard_size_of(config: ExtractConfig, *, on_gpu: bool) -> int:
    """Videos in one shard."""
    return config.shard_size or (SHARD_ON_GPU if on_gpu else SHARD_ON_CPU)


def _bytes_of(encoders: Encoders) -> int:
    models = [encoders.clip, *([] if encoders.sound is None else [encoders.sound])]
    return sum(weight.nbytes for model in models for weight in model.parameters())
