"""What scoring in coarser numbers gains and costs: time, errors, and ranks that change.

    python benchmarks/precision.py
    python benchmarks/precision.py --device cuda

On a GPU it also scores the whole of MSVD's test, and says how much of the card's rate that took.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from report import BUILD, number, show, show_machine, table
from score import DIM, FRAMES, MSVD, make_head, make_texts, make_videos
from torch import Tensor

from vidret.data.batches import AnyTexts, Texts, Videos
from vidret.data.cache import FeatureCache
from vidret.heads.metrics import text_to_video_ranks
from vidret.heads.retriever import Retriever
from vidret.heads.scoring import Precision, score_in_blocks, scoring
from vidret.pipelines.config.fitting import TrainConfig
from vidret.pipelines.config.settings import ExtractConfig
from vidret.pipelines.extract import run_extract
from vidret.pipelines.train_heads import run_train
from vidret.pipelines.training.fitting import as_split
from vidret.pipelines.training.runs import load_weights

Batch = TypeVar("Batch", Texts, Videos)
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "float16")
ROUNDS = 3
PLAIN_AT_ONCE = 16  # texts, of the float64 head that blocks nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Some texts and videos, the head that scores them, and each text's own video."""

    name: str
    retriever: Retriever
    texts: AnyTexts
    videos: Videos
    owners: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One precision on one case, beside the plain head in float64."""

    case: str
    precision: Precision
    seconds: float
    error: float
    moved: int
    queries: int
    recall: float


def main() -> None:
    """Random features and the bundled set, then the size of MSVD's test where there is a GPU."""
    options = _parse()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        show("There is no GPU that CUDA can reach here, so nothing was measured.")
        return
    torch.set_num_threads(1)
    cases = [_random_case(options.pairs), _bundled_case(options.work, options.clips)]
    _show([one for case in cases for one in _measure(case, device)], device)
    if device.type == "cuda":
        _show_rates(device, options.captions)
    show_machine()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pairs", type=int, default=500, help="random texts and videos, each")
    parser.add_argument("--clips", type=int, default=540, help="of the bundled set")
    parser.add_argument("--work", type=Path, default=BUILD / "precision")
    parser.add_argument("--captions", type=int, default=MSVD[0])
    return parser.parse_args()


def _random_case(pairs: int) -> Case:
    return Case(
        name=f"random features, {pairs} x {pairs}, width {DIM}",
        retriever=make_head(),
        texts=make_texts(pairs, 12),
        videos=make_videos(pairs),
        owners=np.arange(pairs),
    )


def _bundled_case(work: Path, clips: int) -> Case:
    config = ExtractConfig(work=work, offline=True, clips=clips)
    cache = FeatureCache.open(run_extract(config, on_progress=_say_nothing).folder)
    trained = TrainConfig(work=work, offline=True, cache=cache.folder, head="mgfi+cmfi")
    report = run_train(trained, on_progress=_say_nothing)
    features = cache.load("test")
    split = as_split(features, torch.device("cpu"))
    return Case(
        name=f"bundled set, {len(split.texts)} captions x {len(split.videos)} videos, "
        "mgfi+cmfi trained",
        retriever=load_weights(report.folder, report.run),
        texts=split.texts,
        videos=split.videos,
        owners=features.owners,
    )


def _measure(case: Case, device: torch.device) -> list[Found]:
    exact = _plain(case)
    before = text_to_video_ranks(exact, case.owners).values
    retriever, videos = case.retriever.float().to(device), case.videos.to(device)
    texts, found = case.texts.to(device), []
    for precision in PRECISIONS:
        similarity, seconds = _timed(retriever, texts, videos, precision)
        ranks = text_to_video_ranks(similarity.cpu(), case.owners)
        found.append(
            Found(
                case=case.name,
                precision=precision,
                seconds=seconds,
                error=float((similarity.cpu().double() - exact).abs().max()),
                moved=int((ranks.values != before).sum()),
                queries=len(before),
                recall=100 * float(ranks.hits(1).mean()),
            )
        )
    return found


def _plain(case: Case) -> Tensor:
    """The head as training runs it, in float64."""
    double = case.retriever.double()
    rows = []
    with scoring(double):
        videos = _in_double(case.videos)
        for start in range(0, len(case.texts), PLAIN_AT_ONCE):
            texts = case.texts[slice(start, start + PLAIN_AT_ONCE)]
            rows.append(double(_in_double(texts), videos))
    return torch.cat(rows)


def _in_double(batch: Batch) -> Batch:
    values = {name: getattr(batch, name) for name in batch.__slots__}
    return type(batch)(
        **{name: one.double() if one.is_floating_point() else one for name, one in values.items()}
    )


def _timed(
    retriever: Retriever, texts: AnyTexts, videos: Videos, precision: Precision
) -> tuple[Tensor, float]:
    """The similarities, and the least of some times."""
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        similarity = score_in_blocks(retriever, texts, videos, precision=precision)
        if similarity.is_cuda:
            torch.cuda.synchronize()
        took.append(time.perf_counter() - began)
    return similarity, min(took)


def _show(found: Sequence[Found], device: torch.device) -> None:
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "one thread of a CPU"
    show("## Precision of scoring")
    show(
        f"Scored on {where} by `score_in_blocks`, beside the plain head in float64: the largest "
        "error of a similarity, and how many queries (text to video) have another rank."
    )
    heads = ["", "products in", "seconds", "largest error", "other ranks", "R@1"]
    rows = [
        [
            one.case,
            one.precision,
            number(one.seconds),
            f"{one.error:.1e}",
            f"{one.moved} of {one.queries}",
            f"{one.recall:.2f}",
        ]
        for one in found
    ]
    show(table(heads, rows))


def _show_rates(device: torch.device, captions: int) -> None:
    """The whole of MSVD's test on a GPU, beside the rate of its largest products alone."""
    retriever = make_head().to(device)
    texts, videos = make_texts(captions, MSVD[2]).to(device), make_videos(MSVD[1]).to(device)
    rate = _bfloat16_rate(device)
    flops = captions * MSVD[1] * _flops_per_pair(MSVD[2])
    show(
        f"MSVD's test, {captions:,} captions of {MSVD[2]} words x {MSVD[1]} videos. The card "
        f"multiplies large bfloat16 matrices at {rate / 1e12:.0f} TFLOP/s:"
    )
    rows = []
    for precision in PRECISIONS:
        torch.cuda.reset_peak_memory_stats(device)
        _, seconds = _timed(retriever, texts, videos, precision)
        peak = torch.cuda.max_memory_allocated(device) / 2**30
        rows.append(
            [precision, number(seconds), f"{flops / seconds / rate:.1%}", f"{peak:.1f} GiB"]
        )
    show(table(["products in", "seconds", "of that rate", "most memory"], rows))


def _flops_per_pair(words: int) -> float:
    """What the folded form multiplies; the triangular factor counts half."""
    scores = 2 * (words + 1) * FRAMES * DIM
    hidden = 2 * 2 * (FRAMES + 1) * DIM
    return scores + hidden + DIM * DIM + 4 * (FRAMES + 1) * DIM


def _bfloat16_rate(device: torch.device, size: int = 8192) -> float:
    """Operations a second of one large product."""
    matrix = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    took = []
    for _ in range(10):
        torch.cuda.synchronize()
        began = time.perf_counter()
        matrix @ matrix
        torch.cuda.synchronize()
        took.append(time.perf_counter() - began)
    return 2 * size**3 / min(took)


def _say_nothing(_progress: object) -> None:
    pass


if __name__ == "__main__":
    main()
