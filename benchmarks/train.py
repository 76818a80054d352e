"""How long an epoch of training takes, what share of it is no training, and what a loader takes.

python benchmarks/train.py
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from report import mebibytes, number, show, show_machine, table, verdict
from timing import Seconds, median, take_turns, times_slower
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vidret.data.batches import PackedTexts, Texts, Videos, pad_words
from vidret.heads.catalog import build_retriever
from vidret.pipelines.training.journal import EPOCH, STEP, Journal, LogSettings, read_log
from vidret.pipelines.training.learners import head_learner
from vidret.pipelines.training.loop import VIDEO_TEXT, Learner, Stage, fit_learner
from vidret.pipelines.training.peak import peak_memory
from vidret.pipelines.training.splits import Batch, Split

CAPTIONS, VIDEOS = 48_774, 1_200  # of MSVD's training split
SHORTEST, LONGEST, WORDS = 3, 20, 7.0  # words of a caption, the last on average
DIM, FRAMES = 512, 12
BATCHES = (32, 128)
OUTSIDE = 0.1  # of the time, at most
OURS, LOADER = "vidret, features on the device", "a DataLoader of torch, 2 processes, padded rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What came out with batches of one size; seconds are those of the measured steps."""

    size: int
    seconds: Seconds
    outside: dict[str, float]
    peak: int


class PaddedRows(Dataset[tuple[Tensor, ...]]):
    """One caption with its video, words as many as the longest caption of the split has."""

    def __init__(self, split: Split) -> None:
        texts = split.texts.to("cpu")
        assert isinstance(texts, PackedTexts)
        self.words, self.mask = pad_words(texts.values, texts.offsets)
        self.sentence, self.owners = texts.sentence, split.owners.cpu()
        self.frames = split.videos.frames.cpu()

    def __len__(self) -> int:
        return len(self.sentence)

    def __getitem__(self, row: int) -> tuple[Tensor, ...]:
        """The caption, its words, their mask, the frames, and whose caption it is."""
        owner = self.owners[row]
        return self.sentence[row], self.words[row], self.mask[row], self.frames[owner], owner


def main() -> None:
    """Every size of batch, both ways in turns."""
    options = _parse()
    split = _split(options.captions, torch.device(options.device))
    rows = PaddedRows(split)
    _show(split, [_measure(split, rows, size, options) for size in BATCHES], options)
    show_machine()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=int, default=CAPTIONS)
    parser.add_argument("--steps", type=int, default=20, help="measured; an epoch is scaled")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def _split(captions: int, device: torch.device) -> Split:
    """Random features of MSVD's sizes: ragged captions, and videos without sound."""
    generator = torch.Generator().manual_seed(0)
    share = torch.full((captions, LONGEST - SHORTEST), (WORDS - SHORTEST) / (LONGEST - SHORTEST))
    lengths = SHORTEST + share.bernoulli(generator=generator).sum(1).long()
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
    return Split(
        texts=PackedTexts(
            sentence=torch.randn(captions, DIM, generator=generator),
            values=torch.randn(int(offsets[-1]), DIM, generator=generator),
            offsets=offsets,
        ).to(device),
        videos=_videos(torch.randn(VIDEOS, FRAMES, DIM, generator=generator).to(device)),
        owners=(torch.randperm(captions, generator=generator) % VIDEOS).to(device),
    )


def _videos(frames: Tensor) -> Videos:
    count = len(frames)
    return Videos(
        frames=frames,
        frame_mask=torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device),
        audio=frames.new_zeros(count, 1),
        audio_mask=torch.zeros(count, dtype=torch.bool, device=frames.device),
    )


def _measure(split: Split, rows: PaddedRows, size: int, options: argparse.Namespace) -> Measured:
    """Train with the loop of `vidret train-heads` on either source of batches."""
    stage = Stage(name=VIDEO_TEXT, epochs=1, batch_size=size, lr=1e-4, weight_decay=0.01)
    retriever = build_retriever("mgfi", dim=DIM, audio_dim=1, logit_scale=100.0)
    ours = head_learner(retriever.to(split.owners.device), stage, split, split)
    ours = replace(
        ours,
        owners=ours.owners[: options.steps * size],  # so many steps are an epoch here
        measure=lambda: {"R@1": 0.0, "MnR": 0.0},
    )
    spent, outside = [0.0], dict[str, float]()

    def train(name: str, begin: Callable[[], Learner]) -> None:
        learner = begin()
        seconds, outside[name] = _train(learner, stage, options.steps)
        spent[0] += seconds

    ways = {
        OURS: partial(train, OURS, lambda: ours),
        LOADER: partial(train, LOADER, lambda: _loading(ours, rows, size, options.steps)),
    }
    with peak_memory(split.owners.device) as peak:
        ways[OURS]()
    seconds = take_turns(ways, options.rounds, clock=lambda: spent[0])
    return Measured(size=size, seconds=seconds, outside=outside, peak=peak[0])


def _train(learner: Learner, stage: Stage, steps: int) -> tuple[float, float]:
    """Seconds of the steps, and the share of them outside of forward, backward and optimizer."""
    with TemporaryDirectory(prefix="vidret-") as folder:
        with Journal(Path(folder), LogSettings(every=steps), {}) as journal:
            fit_learner(learner, stage, seed=0, on_epoch=lambda *_: None, journal=journal)
        lines = {line["kind"]: line for line in read_log(Path(folder))}
    return lines[EPOCH]["seconds"], lines[STEP]["outside"]


def _loading(learner: Learner, rows: PaddedRows, size: int, steps: int) -> Learner:
    """The same weights, fed by worker processes that are up and have begun."""
    device = learner.retriever.tau.device
    loader = DataLoader(
        rows,
        batch_size=size,
        sampler=torch.randperm(len(rows))[: (steps + 1) * size].tolist(),
        num_workers=2,
        pin_memory=device.type == "cuda",
    )
    batches = iter(loader)
    next(batches)

    def gather(_: Tensor) -> Batch:
        sentence, words, mask, frames, owners = (
            part.to(device, non_blocking=True) for part in next(batches)
        )
        texts = Texts(sentence=sentence, words=words, word_mask=mask)
        return Batch(texts=texts, videos=_videos(frames), owners=owners)

    def begin_epoch(_: torch.Generator) -> Callable[[Tensor], Any]:
        return gather

    return replace(learner, begin_epoch=begin_epoch)


def _show(split: Split, measured: list[Measured], options: argparse.Namespace) -> None:
    device, captions = split.owners.device.type, len(split)
    count = torch.get_num_threads()
    threads = f", {count} thread{'s' * (count > 1)}" if device == "cpu" else ""
    show("## Training of MGFI")
    show(
        f"An epoch of {captions:,} captions of {WORDS:g} words on average ({SHORTEST} to "
        f"{LONGEST}) and {VIDEOS:,} videos of {FRAMES} frames, width and hidden layer {DIM}, "
        f"float32, random features, on the {device}{threads}. {options.steps} steps are measured "
        f"in turns, {options.rounds} rounds, and the median is scaled to the epoch. Both ways run "
        "the loop of `vidret train-heads` on the same weights; they differ in where batches come "
        "from. The workers of the loader are up and have begun before the clock starts. Outside "
        "is what passes between one optimizer step and the next forward pass."
    )
    lines = []
    for one in measured:
        scale = captions / (one.size * options.steps)
        for name in (OURS, LOADER):
            epoch = median(one.seconds, name) * scale
            slower = times_slower(one.seconds, name, OURS)
            lines.append(
                [
                    f"{name}, batch {one.size}",
                    f"{number(epoch)} s ({slower:.2f})",
                    f"{captions / epoch:,.0f}",
                    f"{one.outside[name]:.1%}",
                ]
            )
    show(table(["", "an epoch", "captions/s", "outside"], lines))
    texts = split.texts
    assert isinstance(texts, PackedTexts)
    packed = texts.values.nbytes + texts.sentence.nbytes + split.videos.frames.nbytes
    asked = [
        [
            f"batch {one.size}",
            f"{one.outside[OURS]:.1%}",
            f"below {OUTSIDE:.0%}",
            verdict(OUTSIDE, one.outside[OURS]),
            mebibytes(one.peak),
        ]
        for one in measured
    ]
    show(table(["", "outside", "asked for", "", "peak above the features"], asked))
    padded = packed + (LONGEST * captions - len(texts.values)) * DIM * texts.values.itemsize
    show(
        f"The features take {mebibytes(packed)}; with padded words they would {mebibytes(padded)}."
    )


if __name__ == "__main__":
    main()
