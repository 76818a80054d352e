"""How fast a step of end-to-end fine-tuning is, and what memory each way of it takes.

    python benchmarks/finetune.py

Needs a GPU that CUDA can reach, and says so where there is none. `--device cpu` tries the program
itself out, on few pictures.
"""

import argparse
import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from time import perf_counter
from typing import Any

import torch
from models import BACKBONE, TINY, real_encoders
from report import BUILD, mebibytes, number, show, show_machine, table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vidret.data.batches import PackedTexts, Videos
from vidret.extract.clip import load_clip
from vidret.extract.encoders import Encoders, EncoderSpec
from vidret.extract.panns import WINDOW, load_sound
from vidret.heads.catalog import build_retriever
from vidret.heads.retriever import Retriever
from vidret.pipelines.training.footage import Shot
from vidret.pipelines.training.learners import encoding_learner, ready_for_stage
from vidret.pipelines.training.live import LiveSplit, Source
from vidret.pipelines.training.loop import AUDIO, VIDEO_TEXT, Learner, Stage, backward
from vidret.pipelines.training.optimizing import AdamW, weight_groups
from vidret.pipelines.training.peak import peak_memory
from vidret.pipelines.training.recomputing import recompute_blocks
from vidret.pipelines.training.splits import Split
from vidret.pipelines.training.unfreezing import SOUND, TEXT, VISUAL, tower_of, unfreeze, weights_of

WORDS = 7  # of a caption
LEARNS = {VIDEO_TEXT: (VISUAL, TEXT), AUDIO: (SOUND,)}
COUNTED = 2  # captions in the batch whose operations are counted
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What is measured on a kind of device."""

    batches: tuple[int, ...]
    frames: int
    chunk: int
    precision: str


ON_GPU = Sizes(batches=(32, 128), frames=12, chunk=16, precision="bfloat16")
ON_CPU = Sizes(batches=(4,), frames=4, chunk=2, precision="float32")


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a step is taken."""

    checkpointing: bool
    chunk: int

    @property
    def name(self) -> str:
        """As the options of the command say it."""
        words = ["--checkpointing"] if self.checkpointing else []
        return " ".join(words + ([f"--chunk {self.chunk}"] if self.chunk else [])) or "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a way came to; no seconds where memory did not suffice."""

    stage: str
    batch: int
    way: Way
    seconds: float | None
    peak: int


class DrawnFootage:
    """Random pictures and sounds, in memory."""

    def __init__(self, videos: int, frames: int, side: int) -> None:
        generator = torch.Generator().manual_seed(0)
        size = (videos, frames, 3, side, side)
        self.pictures = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
        self.sounds = torch.randn(videos, WINDOW, generator=generator) / 10

    def fetch(self, _features: object, rows: Iterable[int]) -> list[Shot]:
        """Some of them."""
        return [Shot(pictures=self.pictures[row], waveform=self.sounds[row]) for row in rows]

    @contextmanager
    def holding(self, _features: object, _rows: Iterable[int]) -> Iterator[None]:
        """All are there already."""
        yield


def main() -> None:
    """Every stage, size of batch and way."""
    options = _parse()
    if options.device == "cuda" and not torch.cuda.is_available():
        show("There is no GPU that CUDA can reach here, so nothing was measured.")
        return
    device = torch.device(options.device)
    sizes = ON_GPU if device.type == "cuda" else ON_CPU
    spec = TINY if options.backbone == "tiny" else real_encoders(BUILD / "models", options.backbone)
    rate = _matmul_rate(device, DTYPES[sizes.precision])
    ways = [Way(checkpointing=again, chunk=n) for again in (False, True) for n in (0, sizes.chunk)]
    flops = {stage: _operations(spec, stage, sizes, device) for stage in LEARNS}
    measured = [
        _measure(spec, stage, batch, way, sizes, device, options.steps)
        for stage, batch, way in product(LEARNS, sizes.batches, ways)
    ]
    _show(measured, flops, rate, sizes, options)
    show_machine()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--backbone", default=BACKBONE, help="a model of open_clip, or tiny")
    parser.add_argument("--steps", type=int, default=5, help="measured, behind a first one")
    return parser.parse_args()


def _operations(spec: EncoderSpec, stage: str, sizes: Sizes, device: torch.device) -> float:
    """What a plain step computes for each caption and its video; the encoders are nearly all."""
    learner = _learner(spec, stage, COUNTED, Way(checkpointing=False, chunk=0), sizes, device)
    with FlopCounterMode(display=False) as counter:
        learner.loss(_batch(learner, COUNTED)).backward()
    return counter.get_total_flops() / COUNTED


def _batch(learner: Learner, size: int) -> object:
    return learner.begin_epoch(torch.Generator())(torch.arange(size))


def _measure(
    spec: EncoderSpec,
    stage: str,
    batch: int,
    way: Way,
    sizes: Sizes,
    device: torch.device,
    steps: int,
) -> Measured:
    """Steps of the loop's own learner, with its optimizer, on a batch that is in memory."""
    gc.collect()
    learner = _learner(spec, stage, batch, way, sizes, device)
    optimizer = AdamW(learner.groups, lr=1e-6, decay_to="start")
    learner.retriever.train()
    rows = _batch(learner, batch)
    seconds: float | None = None
    peak = 0
    try:
        _step(learner, optimizer, rows)  # the optimizer takes its memory
        _wait(device)
        began = perf_counter()
        with peak_memory(device) as found:
            for _ in range(steps):
                _step(learner, optimizer, rows)
            _wait(device)
        seconds, peak = (perf_counter() - began) / steps, found[0]
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
    return Measured(stage=stage, batch=batch, way=way, seconds=seconds, peak=peak)


def _step(learner: Learner, optimizer: AdamW, rows: object) -> None:
    optimizer.zero_grad()
    backward(learner, rows)
    optimizer.pull_to_start()
    optimizer.step()


def _learner(
    spec: EncoderSpec, stage: str, batch: int, way: Way, sizes: Sizes, device: torch.device
) -> Learner:
    clip, sound = load_clip(spec.backbone, device=device), load_sound(spec.audio, device=device)
    assert sound is not None
    encoders = Encoders(clip=clip, sound=sound, device=device)
    weights = [weight for part in LEARNS[stage] for weight in weights_of(encoders, part)]
    unfreeze(encoders, weights)
    if way.checkpointing:
        for part in LEARNS[stage]:
            recompute_blocks(tower_of(encoders, part))
    settings = Stage(
        name=stage,
        epochs=1,
        batch_size=batch,
        lr=1e-4,
        weight_decay=0.01,
        precision=sizes.precision,
    )
    retriever = build_retriever(
        "mgfi+cmfi" if stage == AUDIO else "mgfi",
        dim=clip.dim,
        audio_dim=sound.dim,
        logit_scale=100.0,
    ).to(device)
    ready_for_stage(retriever, settings)
    split = _split(encoders, stage, batch, sizes.frames, device)
    return encoding_learner(
        retriever,
        retriever,
        settings,
        split,
        split,
        model=retriever,
        groups=_groups(retriever, weights),
        chunk=way.chunk,
    )


def _groups(retriever: Retriever, weights: list[nn.Parameter]) -> list[dict[str, Any]]:
    heads = weight_groups(retriever, lr=1e-4, weight_decay=0.01)
    return [*heads, {"params": weights, "lr": 1e-6, "weight_decay": 0.01}]


def _split(
    encoders: Encoders, stage: str, videos: int, frames: int, device: torch.device
) -> LiveSplit:
    """A caption and a video for each place of the batch, with sound of ten seconds."""
    clip, sound = encoders.clip, encoders.sound
    assert sound is not None
    tokens = clip.mark_tokens([list(range(1, WORDS + 1))] * videos)
    drawn: Any = DrawnFootage(videos, frames, clip.pixels.size)
    nothing: Any = None  # no shard, no file
    cached = Split(
        texts=PackedTexts(
            sentence=torch.randn(videos, clip.dim),
            values=torch.randn(videos * WORDS, clip.dim),
            offsets=torch.arange(videos + 1) * WORDS,
        ).to(device),
        videos=Videos(
            frames=torch.randn(videos, frames, clip.dim),
            frame_mask=torch.ones(videos, frames, dtype=torch.bool),
            audio=torch.randn(videos, sound.dim),
            audio_mask=torch.ones(videos, dtype=torch.bool),
        ).to(device),
        owners=torch.arange(videos, device=device),
    )
    source = Source(features=nothing, tokens=tokens, footage=drawn, encoders=encoders)
    return LiveSplit(cached=cached, source=source, live=frozenset(LEARNS[stage]))


def _matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large product of matrices."""
    side = 8192 if device.type == "cuda" else 1024
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    for _ in range(3):
        product_ = left @ right
    _wait(device)
    began = perf_counter()
    for _ in range(10):
        product_ = left @ right
    _wait(device)
    del product_
    return 2 * side**3 * 10 / (perf_counter() - began)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _show(
    measured: Sequence[Measured],
    flops: Mapping[str, float],
    rate: float,
    sizes: Sizes,
    options: argparse.Namespace,
) -> None:
    show("## Fine-tuning end to end")
    on = torch.cuda.get_device_name() if options.device == "cuda" else "the CPU (a trial)"
    show(
        f"{on}: {options.backbone} and its sound network with random weights, {sizes.frames} "
        f"frames and ten seconds of sound a video, one caption each, encoders in "
        f"{sizes.precision}. A step is forward, backward and AdamW over all weights of the stage, "
        f"from pictures in memory; the mean of {options.steps}. The peak is that above weights and "
        "optimizer. The share is that of the rate of a large product of matrices, "
        f"{rate / 1e12:.3g} TFLOP/s here, in the operations of the plain step: what is computed "
        "twice counts once."
    )
    rows = [
        [
            one.stage,
            str(one.batch),
            one.way.name,
            "does not fit" if one.seconds is None else number(one.batch / one.seconds),
            "" if one.seconds is None else mebibytes(one.peak),
            ""
            if one.seconds is None
            else f"{flops[one.stage] * one.batch / one.seconds / rate:.1%}",
        ]
        for one in measured
    ]
    show(table(["stage", "batch", "way", "videos a second", "peak", "share"], rows))


if __name__ == "__main__":
    main()
