"""How busy extract keeps one GPU, fed from stored pixels and from files.

    python benchmarks/gpu.py

Needs a GPU that CUDA can reach, and says so where there is none. `--device cpu` tries the program
itself out.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from clips import FRAMES, Form, draw
from models import BACKBONE, TINY, real_encoders
from report import BUILD, CLIPS, number, show, show_machine, table, verdict
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vidret.data.samples import Video
from vidret.extract.clip import load_clip
from vidret.extract.embedding import batch_sizes, computing
from vidret.extract.encoders import Encoders, EncoderSpec, load_encoders
from vidret.extract.plan import VideoShard
from vidret.extract.task import TaskSettings, extract_videos, store_pixels

FORM = Form(name="240p", width=320, height=240, rate=25, seconds=10, film="bikes.mp4")
FILES = 8  # drawn; the others are links to them
PRECISIONS = "float32", "bfloat16", "float16"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ASKED = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One way through the encoder: frames a second, and the share of time that it was busy."""

    name: str
    precision: str
    frames: float
    busy: float | None = None


def main() -> None:
    """Measure the chip, the encoder alone, and the tasks of extract."""
    options = _parse()
    if options.device == "cuda" and not torch.cuda.is_available():
        show("There is no GPU that CUDA can reach here, so nothing was measured.")
        return
    device = torch.device(options.device)
    spec = TINY if options.backbone == "tiny" else real_encoders(BUILD / "models", options.backbone)
    spec = replace(spec, device=options.device)
    chip = {precision: _matmul_rate(device, DTYPES[precision]) for precision in PRECISIONS}
    flops = _flops_per_frame(load_encoders(spec))
    alone = list(_encoder_alone(spec, options.seconds))
    fed = _fed(spec, options)
    _show(options, chip, flops, alone, fed)
    show_machine()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--backbone", default=BACKBONE, help="a model of open_clip, or tiny")
    parser.add_argument("--videos", type=int, default=2048)
    parser.add_argument("--shard-size", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=3.0, help="of the encoder alone, each way")
    parser.add_argument("--clips", type=Path, default=CLIPS, help="where the files are drawn")
    return parser.parse_args()


# The chip and the encoder alone


def _matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large product of matrices."""
    side = 8192 if device.type == "cuda" else 256
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds = _seconds_of(lambda: left @ right, device, at_least=0.5)
    return 2 * side**3 / seconds


def _flops_per_frame(encoders: Encoders) -> float:
    size = encoders.clip.pixels.size
    crop = torch.zeros(1, 3, size, size, dtype=torch.uint8, device=encoders.device)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        encoders.clip.encode_frames(crop)
    return float(counter.get_total_flops())


def _encoder_alone(spec: EncoderSpec, seconds: float) -> Iterator[Run]:
    """Full batches that lie on the device already."""
    forms: dict[str, Callable[[nn.Module], nn.Module]] = {
        "as it is": lambda tower: tower,
        "channels_last": lambda tower: tower.to(memory_format=torch.channels_last),
        "torch.compile": torch.compile,
    }
    for precision in PRECISIONS:
        for name, change in forms.items():
            clip = load_clip(spec.backbone, device=spec.device)  # anew: the change stays with it
            clip.model.visual = change(clip.model.visual)
            device = torch.device(spec.device)
            encoders = Encoders(clip=clip, sound=None, device=device, precision=precision)
            yield Run(name=name, precision=precision, frames=_frames_a_second(encoders, seconds))


def _frames_a_second(encoders: Encoders, seconds: float) -> float:
    count, size = batch_sizes(encoders.device).pictures, encoders.clip.pixels.size
    crops = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8).to(encoders.device)

    def encode() -> Tensor:
        with computing(encoders.device, encoders.precision):
            return encoders.clip.encode_frames(crops)

    return count / _seconds_of(encode, encoders.device, at_least=seconds)


def _seconds_of(work: Callable[[], object], device: torch.device, *, at_least: float) -> float:
    """Seconds of one call, over as many as fill some time, when it has been warmed up."""
    for _ in range(3):
        work()
    _wait(device)
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < at_least:
        for _ in range(5):
            work()
        _wait(device)
        calls += 5
    return (time.perf_counter() - began) / calls


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# The tasks of extract


def _fed(spec: EncoderSpec, options: argparse.Namespace) -> list[Run]:
    """Whole tasks, from stored pixels and from files, in the precision that extract takes."""
    precision = "bfloat16" if options.device == "cuda" else "float32"
    with tempfile.TemporaryDirectory(prefix="vidret-") as folder:
        shards = _shards(Path(folder), options)
        settings = TaskSettings(
            folder=Path(folder),
            root=Path(folder),
            frames=FRAMES,
            decoder="av",
            encoders=replace(spec, precision=precision),
            features_digest="benchmark",
            lanes=0,
        )
        pixels = [_store(shard, settings) for shard in shards]
        _run_tasks(shards[:1], settings, pixels[:1])  # warms up the encoders and the page cache
        return [
            _run_tasks(shards, settings, pixels, "fed from stored pixels"),
            _run_tasks(shards, settings, [()] * len(shards), "fed from files"),
        ]


def _shards(folder: Path, options: argparse.Namespace) -> list[VideoShard]:
    drawn = [draw(FORM, options.clips, number) for number in range(FILES)]
    videos = []
    for position in range(options.videos):
        link = folder / f"{position:06}.mp4"
        link.symlink_to(drawn[position % FILES].absolute())
        videos.append(Video(id=link.stem, path=link, split="all"))
    size = options.shard_size
    return [
        VideoShard(file=f"video-{start:06}.h5", videos=tuple(videos[start : start + size]))
        for start in range(0, len(videos), size)
    ]


def _store(shard: VideoShard, settings: TaskSettings) -> tuple[Path, ...]:
    stored = replace(shard, file=shard.file.replace("video", "pixel"))
    entry = store_pixels(stored, replace(settings, pixels_digest="benchmark")).entry
    return (settings.folder / entry.file,)


def _run_tasks(
    shards: Sequence[VideoShard],
    settings: TaskSettings,
    pixels: Sequence[Sequence[Path]],
    name: str = "",
) -> Run:
    encoders = load_encoders(settings.encoders)
    began = time.perf_counter()
    with _watching(encoders) as watched:
        for shard, sources in zip(shards, pixels, strict=True):
            result = extract_videos(shard, settings, sources)
            if result.entry.failed:
                raise SystemExit(f"{result.entry.failed} videos failed")
        _wait(encoders.device)
    seconds = time.perf_counter() - began
    frames = FRAMES * sum(len(shard.videos) for shard in shards)
    return Run(
        name=name,
        precision=settings.encoders.precision,
        frames=frames / seconds,
        busy=watched.seconds() / seconds,
    )


class _Watch:
    """The seconds that the device spends inside the encoders, from the first kernel to the last."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.spans: list[tuple[object, object]] = []

    def mark(self) -> object:
        """A moment in the device's own stream of work."""
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self) -> float:
        """All spans together; the device must have come to their ends."""
        return sum(_between(start, end) for start, end in self.spans)


def _between(start: object, end: object) -> float:
    if isinstance(start, float) and isinstance(end, float):
        return end - start
    return start.elapsed_time(end) / 1000  # type: ignore[attr-defined]  # CUDA events


@contextmanager
def _watching(encoders: Encoders) -> Iterator[_Watch]:
    """Time the towers of both encoders while the block runs."""
    watch = _Watch(encoders.device)
    starts: list[object] = []

    def begin(*_: object) -> None:
        starts.append(watch.mark())

    def end(*_: object) -> None:
        watch.spans.append((starts.pop(), watch.mark()))

    towers = [encoders.clip.model.visual]
    towers += [] if encoders.sound is None else [encoders.sound.model]
    handles = [
        handle
        for tower in towers
        for handle in (tower.register_forward_pre_hook(begin), tower.register_forward_hook(end))
    ]
    try:
        yield watch
    finally:
        for handle in handles:
            handle.remove()


# The tables


def _show(
    options: argparse.Namespace,
    chip: dict[str, float],
    flops: float,
    alone: Sequence[Run],
    fed: Sequence[Run],
) -> None:
    show("## One GPU")
    show(
        f"{_device_name(options.device)}, {len(os.sched_getaffinity(0))} cores, {options.backbone},"
        f" {flops / 1e9:.1f} GFLOP a frame. A large product of matrices came to "
        + ", ".join(f"{rate / 1e12:.3g} TFLOP/s in {name}" for name, rate in chip.items())
        + ". The share is that of the bfloat16 rate, in the encoder's own operations."
    )
    rows = [
        [
            run.precision,
            run.name,
            number(run.frames),
            f"{run.frames * flops / chip['bfloat16']:.1%}",
        ]
        for run in alone
    ]
    show(table(["the encoder alone", "", "frames a second", "share"], rows))
    rows = [
        [
            run.name,
            number(run.frames / FRAMES),
            number(run.frames),
            f"{run.busy or 0:.0%}",
            f"{run.frames * flops / chip['bfloat16']:.1%}",
        ]
        for run in fed
    ]
    heads = ["tasks of extract", "videos a second", "frames a second", "encoders busy", "share"]
    show(table(heads, rows))
    busy = fed[0].busy or 0
    show(
        f"{options.videos} videos of 10 s with sound. Asked for is {ASKED:.0%} busy when fed from"
        f" stored pixels: {verdict(busy, ASKED)}. Busy is the time between the first and the last"
        " kernel of each forward, CUDA's own events, so gaps inside a forward count as busy; the"
        " share of the chip's rate shows those."
    )


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "the CPU (a trial, no result)"


if __name__ == "__main__":
    main()
