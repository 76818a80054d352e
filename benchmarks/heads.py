"""What it takes to score with every head, beside X-Pool's pooling as its code does it.

python benchmarks/heads.py
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from report import mebibytes, number, show, show_machine, table, verdict
from score import DIM, FRAMES, XPoolPooling, make_texts, make_videos
from timing import median, take_turns, times_slower

from vidret.heads.catalog import VIDEO_HEADS, build_retriever
from vidret.heads.costs import Shape, measure_cost
from vidret.heads.retriever import Retriever
from vidret.heads.scoring import score_in_blocks, usual_memory
from vidret.pipelines.training.peak import peak_memory

PAIRS, WORDS = 1000, 12
SLOW = {"tight-transf": 50}  # texts and videos each, and scaled: a thousand take an hour
XPOOL = "X-Pool's pooling, all pairs at once"
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A head: its memory above the features, and the products of a pair."""

    peak: int
    flops: float
    pairs: int


def main() -> None:
    """One thread, all heads in turns."""
    options = _parse()
    torch.set_num_threads(1)
    heads = {name: make_head(name) for name in options.heads or VIDEO_HEADS}
    counts = {name: min(SLOW.get(name, options.pairs), options.pairs) for name in heads}
    ways: dict[str, Callable[[], object]] = {
        name: partial(_score, retriever, counts[name]) for name, retriever in heads.items()
    }
    found = {name: _look(heads[name], counts[name]) for name in heads}
    with torch.inference_mode():
        pooling = XPoolPooling(DIM).eval()
        texts, videos = make_texts(options.pairs, WORDS), make_videos(options.pairs)
        ways[XPOOL] = partial(pooling, texts, videos)
        seconds = take_turns(ways, options.rounds, warm=True)
    for name, count in counts.items():
        seconds[name] = [one * (options.pairs / count) ** 2 for one in seconds[name]]
    _show(seconds, found, options)
    show_machine()


def make_head(name: str) -> Retriever:
    """A head with weights of no start: one that begins silent would have less to do."""
    retriever = build_retriever(name, dim=DIM, audio_dim=1, logit_scale=100.0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in retriever.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=generator)
    return retriever.eval()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="texts and videos, each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--heads", nargs="*", help="instead of all")
    return parser.parse_args()


def _score(retriever: Retriever, count: int) -> None:
    score_in_blocks(retriever, make_texts(count, WORDS), make_videos(count))


def _look(retriever: Retriever, count: int) -> Measured:
    texts, videos = make_texts(count, WORDS), make_videos(count)
    with peak_memory(CPU) as peak:
        score_in_blocks(retriever, texts, videos)
    cost = measure_cost(retriever, Shape(words=WORDS, frames=FRAMES, dim=DIM, audio_dim=1))
    return Measured(peak=peak[0], flops=cost.flops, pairs=count)


def _show(
    seconds: dict[str, list[float]], found: dict[str, Measured], options: argparse.Namespace
) -> None:
    show("## Exact scoring with every head")
    show(
        f"{options.pairs:,} captions of {WORDS} words x {options.pairs:,} videos of {FRAMES} "
        f"frames, width {DIM}, float32, one thread, random features, preparation included, all "
        f"heads in turns in one run; the median of {options.rounds} rounds. In brackets, how many "
        "times as long as X-Pool's pooling. FLOPs of matrix products are those of a pair whose "
        "sides are prepared."
    )
    most = usual_memory(CPU) + 4 * options.pairs**2
    rows = [[XPOOL, f"{number(median(seconds, XPOOL))} s (1.00)", "", "", ""]]
    for name, one in sorted(found.items(), key=lambda item: median(seconds, item[0])):
        slower = times_slower(seconds, name, XPOOL)
        scaled = "" if one.pairs == options.pairs else f", scaled from {one.pairs} x {one.pairs}"
        rows.append(
            [
                f"`{name}`{scaled}",
                f"{number(median(seconds, name))} s ({slower:.3f})",
                verdict(1.0, slower),
                f"{one.flops / 1e3:,.0f} thousand",
                f"{mebibytes(one.peak)} ({verdict(most, one.peak)})",
            ]
        )
    heads = ["", "time", "no slower", "FLOPs a pair", f"memory (at most {mebibytes(most)})"]
    show(table(heads, rows))


if __name__ == "__main__":
    main()
