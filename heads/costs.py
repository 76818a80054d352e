"""What a head costs: the matrix products of a pair by count, and its seconds by the clock.

Both are those of the scoring path, on prepared texts and videos of random numbers. What depends on
one side alone is not in them, and has seconds of its own: it is done once for each text and video,
however many pairs there are.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from vidret.data.batches import Texts, Videos
from vidret.heads.retriever import Retriever
from vidret.heads.scoring import FEW, ReadyRetriever, block_sizes, scoring, usual_memory

FIRST = 8  # texts and videos of the first block; each next one has twice as many
LONG_ENOUGH = 0.1  # seconds of a block, beside which a clock and a call are nothing
ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What texts and videos are like that the cost is measured on."""

    words: int
    frames: int
    dim: int
    audio_dim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What scoring takes.

    Args:
        flops: of the matrix products of a pair, a multiplication and an addition being two.
        pair_seconds: of a pair whose sides are prepared.
        text_seconds: of preparing a text.
        video_seconds: of preparing a video.
        texts: in the block that was measured.
        videos: in the block that was measured.
    """

    flops: float
    pair_seconds: float
    text_seconds: float
    video_seconds: float
    texts: int
    videos: int


def measure_cost(retriever: Retriever, shape: Shape, *, memory: int | None = None) -> Cost:
    """Score blocks of random features, larger and larger, until the clock can tell.

    Args:
        retriever: what scores, on its device.
        shape: of texts and videos.
        memory: bytes that a block may take; None leaves it to `usual_memory`.
    """
    device = retriever.tau.device
    size = FIRST
    with scoring(retriever):
        while True:
            texts, videos = random_texts(size, shape, device), random_videos(size, shape, device)
            ready = ReadyRetriever(retriever, videos)
            most = block_sizes(ready.head, texts, videos, memory=memory or usual_memory(device))
            texts, videos = texts[: most.texts], videos[: most.videos]
            with ready.products(texts[:FEW], videos[:FEW]):
                cost = _measured(ready, texts, videos)
            whole = len(texts) * len(videos) * cost.pair_seconds
            if whole >= LONG_ENOUGH or max(len(texts), len(videos)) < size:
                return cost
            size *= 2


def random_texts(count: int, shape: Shape, device: torch.device) -> Texts:
    """Captions of random numbers, all of the same length."""
    draws = torch.Generator().manual_seed(1)
    return Texts(
        sentence=torch.randn(count, shape.dim, generator=draws),
        words=torch.randn(count, shape.words, shape.dim, generator=draws),
        word_mask=torch.ones(count, shape.words, dtype=torch.bool),
    ).to(device)


def random_videos(count: int, shape: Shape, device: torch.device) -> Videos:
    """Videos of random numbers, all with sound."""
    draws = torch.Generator().manual_seed(2)
    return Videos(
        frames=torch.randn(count, shape.frames, shape.dim, generator=draws),
        frame_mask=torch.ones(count, shape.frames, dtype=torch.bool),
        audio=torch.randn(count, shape.audio_dim, generator=draws),
        audio_mask=torch.ones(count, dtype=torch.bool),
    ).to(device)


def _measured(ready: ReadyRetriever, texts: Texts, videos: Videos) -> Cost:
    ready_texts, ready_videos = ready.prepare_texts(texts), ready.prepare_videos(videos)
    pairs = len(texts) * len(videos)
    with FlopCounterMode(display=False) as counter:
        ready.score(ready_texts, ready_videos)
    device = texts.sentence.device
    return Cost(
        flops=counter.get_total_flops() / pairs,
        pair_seconds=_seconds(lambda: ready.score(ready_texts, ready_videos), device) / pairs,
        text_seconds=_seconds(lambda: ready.prepare_texts(texts), device) / len(texts),
        video_seconds=_seconds(lambda: ready.prepare_videos(videos), device) / len(videos),
        texts=len(texts),
        videos=len(videos),
    )


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """What some work takes: the quickest of a few rounds, as other work can only make it slower."""
    found: list[float] = []
    while not found or (len(found) < ROUNDS and sum(found) < ROUNDS * LONG_ENOUGH):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - began)
    return min(found)
