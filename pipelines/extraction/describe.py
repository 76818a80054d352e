"""What an extraction is about: its videos, its encoders, and all that decides the cache."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version

from vidret.data.catalog import dataset_hash, load_dataset
from vidret.data.errors import MissingError
from vidret.data.fingerprint import Fingerprint
from vidret.data.printable import printable
from vidret.data.samples import Dataset
from vidret.data.synth.dataset import load_synth, synth_folder
from vidret.data.synth.script import Clip
from vidret.extract.decode import decoder_version
from vidret.extract.encoders import Encoders, EncoderSpec
from vidret.extract.panns import NONE, POLICY
from vidret.extract.schedule import dask_client, visible_gpus, workers_have_gpu
from vidret.extract.weights.missing import missing_weights
from vidret.pipelines.config.settings import SYNTH, ExtractConfig
from vidret.pipelines.extraction.place import is_local, place_of
from vidret.pipelines.training.runs import encoders_of_run

RUN_PREFIX = "run:"
HIDDEN = "hidden"


def open_dataset(config: ExtractConfig) -> tuple[Dataset, list[Clip]]:
    """The dataset, and the scripts of the clips that are still to be drawn for it."""
    if config.dataset == SYNTH:
        folder = synth_folder(config.work.absolute(), config.num_clips, config.seed)
        return load_synth(folder, config.num_clips, config.seed)
    dataset = load_dataset(config.dataset, config.root)
    work = config.work.absolute()
    if dataset.root.absolute().is_relative_to(work):
        return dataset, []  # asked for by name
    own = {video.id for video in dataset.videos if video.path.is_relative_to(work)}
    if own and len(own) == len(dataset.videos):
        raise MissingError(
            f"all videos below {printable(dataset.root)} lie in vidret's own work folder {work}: "
            "name a folder with others, or one inside the work folder"
        )
    return _without(dataset, own) if own else dataset, []


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


def with_precision(config: ExtractConfig) -> ExtractConfig:
    """The same, with the precision that `auto` stands for where the encoders will run.

    It is part of what a cache is: features of two precisions are never mixed.
    """
    if config.precision != "auto":
        return config
    if not is_local(config):
        with dask_client(place_of(config)) as client:
            on_gpu = config.device.startswith("cuda") or workers_have_gpu(client)
    else:
        on_gpu = config.device != "cpu" and bool(visible_gpus(config.gpus))
    return replace(config, precision="bfloat16" if on_gpu else "float32")


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
        precision="float32" if config.precision == "auto" else config.precision,
    )


def describe(dataset: Dataset, config: ExtractConfig, encoders: Encoders) -> Fingerprint:
    """Everything that decides what the cache will hold."""
    clip, sound = encoders.clip, encoders.sound
    hidden = config.features == HIDDEN
    return Fingerprint(
        vidret=version("vidret"),
        dataset=dataset.name,
        dataset_hash=dataset_hash(dataset),
        frame_policy=config.sampling,
        frames=config.frames,
        decoder=_decoder_version(config.decoder),
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
        features=config.features,
        precision="float32" if config.precision == "auto" else config.precision,
        frame_dim=clip.frame_dim(hidden),
        text_dim=clip.text_dim(hidden),
    )


def pixels_digest(fingerprint: Fingerprint, geometry: str) -> str:
    """What decides stored pixels: how frames are chosen, decoded and cut, and nothing of the model.

    Two models that want the same crops share them.
    """
    told: Sequence[object] = (
        fingerprint.format,
        fingerprint.frame_policy,
        fingerprint.frames if fingerprint.frame_policy == "uniform" else 0,
        fingerprint.decoder,
        geometry,
    )
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]


@lru_cache
def _decoder_version(decoder: str) -> str:
    return decoder_version(decoder)


def _without(dataset: Dataset, own: set[str]) -> Dataset:
    """The dataset without what vidret itself has put there: a work folder may lie inside."""
    return replace(
        dataset,
        videos=tuple(video for video in dataset.videos if video.id not in own),
        captions=tuple(caption for caption in dataset.captions if caption.video_id not in own),
    )
