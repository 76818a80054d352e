"""How long exact scoring with MGFI takes, beside the equations as printed and X-Pool's pooling.

python benchmarks/score.py
"""

import argparse
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import psutil
import torch
from report import mebibytes, number, show, show_machine, table, verdict
from timing import Seconds, median, take_turns, times_slower
from torch import Tensor, nn
from torch.nn.functional import normalize

from vidret.data.batches import Texts, Videos
from vidret.heads.catalog import build_retriever
from vidret.heads.mgfi import MGFI, quick_gelu
from vidret.heads.retriever import Retriever, score_in_blocks

DIM, FRAMES, PAIRS = 512, 12, 1000
LITERAL_PAIRS = 100  # texts and videos each: the word axis takes its memory and its time
MSVD = (27_763, 670, 7)  # captions, videos, and words of a caption on average
OURS, LITERAL, XPOOL, PRODUCT = (
    "vidret (`score_in_blocks`)",
    "the equations as printed, word axis kept",
    "X-Pool's pooling of all pairs at once (one branch)",
    "one product of hidden layer and C alone",
)
ASKED = {  # by words: times as fast as literal and X-Pool, at most times as slow as the product
    12: {LITERAL: 35.0, XPOOL: 4.0, PRODUCT: 1.8},
    32: {LITERAL: 50.0, XPOOL: 4.0, PRODUCT: 2.5},
}
BUDGET = 2 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What came out with so many words: seconds scaled to all pairs, and the error of ours."""

    words: int
    seconds: Seconds
    error: float


class XPoolPooling(nn.Module):
    """One head of attention from the sentence to the frames, and a linear layer, norms between."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out, self.linear = (
            nn.Linear(dim, dim) for _ in range(5)
        )
        self.first, self.second, self.third = (nn.LayerNorm(dim) for _ in range(3))

    def forward(self, texts: Texts, videos: Videos) -> Tensor:
        """Return the similarity of every text and every video."""
        frames = self.first(videos.frames)
        q, k, v = self.query(self.first(texts.sentence)), self.key(frames), self.value(frames)
        weights = (torch.einsum("tc,vnc->vtn", q, k) / math.sqrt(q.shape[-1])).softmax(-1)
        z = self.second(self.out(weights @ v))
        o = self.third(z + self.linear(z))
        return torch.einsum("vtc,tc->tv", normalize(o, dim=-1), normalize(texts.sentence, dim=-1))


def main() -> None:
    """One thread, all ways in turns."""
    options = _parse()
    torch.set_num_threads(1)
    retriever = _head()
    measured = [_measure(retriever, words, options) for words in ASKED]
    _show(measured, options)
    _show_msvd(retriever, options)
    show_machine()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="texts and videos, each")
    parser.add_argument("--literal", type=int, default=LITERAL_PAIRS, help="of them for literal")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--captions", type=int, default=MSVD[0], help="of the second table")
    return parser.parse_args()


def _head() -> Retriever:
    """MGFI with weights of no start: with zeros in its second layer there would be less to do."""
    retriever = build_retriever("mgfi", dim=DIM, audio_dim=1, logit_scale=100.0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in retriever.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=generator)
    return retriever.eval()


def _texts(count: int, words: int, seed: int = 1) -> Texts:
    generator = torch.Generator().manual_seed(seed)
    return Texts(
        sentence=torch.randn(count, DIM, generator=generator),
        words=torch.randn(count, words, DIM, generator=generator),
        word_mask=torch.ones(count, words, dtype=torch.bool),
    )


def _videos(count: int) -> Videos:
    generator = torch.Generator().manual_seed(2)
    return Videos(
        frames=torch.randn(count, FRAMES, DIM, generator=generator),
        frame_mask=torch.ones(count, FRAMES, dtype=torch.bool),
        audio=torch.zeros(count, 1),
        audio_mask=torch.zeros(count, dtype=torch.bool),
    )


def _measure(retriever: Retriever, words: int, options: argparse.Namespace) -> Measured:
    texts, videos = _texts(options.pairs, words), _videos(options.pairs)
    some = slice(options.literal)
    head, pooling = retriever.video_head, XPoolPooling(DIM).eval()
    assert isinstance(head, MGFI)
    ways: dict[str, Callable[[], object]] = {
        OURS: partial(score_in_blocks, retriever, texts, videos),
        LITERAL: partial(literal, head, texts[some], videos[some]),
        XPOOL: partial(pooling, texts, videos),
        PRODUCT: partial(_product, head, options.pairs**2),
    }
    with torch.inference_mode():
        seconds = take_turns(ways, options.rounds)
        ours = score_in_blocks(retriever, texts[some], videos[some])
        double = retriever.double()
        exact = double(_double(texts[some]), _double(videos[some]))
        retriever.float()
    scale = (options.pairs / options.literal) ** 2
    seconds[LITERAL] = [one * scale for one in seconds[LITERAL]]
    return Measured(words=words, seconds=seconds, error=float((ours - exact).abs().max()))


def literal(head: MGFI, texts: Texts, videos: Videos) -> Tensor:
    """Equations 1 to 10 as they are printed, for a text at a time: `z` has a row for every word."""
    x_v = head.norm1(videos.frames)
    assert head.key is not None
    assert head.query is not None
    assert head.word_query is not None
    k, v = head.key(x_v), head.value(x_v)
    rows = []
    for text in range(len(texts)):
        x_t, x_w = texts.sentence[text], texts.words[text]
        q = head.query(head.norm1(x_t))  # (1)
        weights = (k @ q / math.sqrt(DIM)).softmax(-1)
        z = head.out(torch.einsum("vn,vnc->vc", weights, v))  # (2)
        o_1 = z + _feed_forward(head, z)  # (3)
        a = head.word_query(head.norm1(x_w)) @ k.mT  # (4), (5)
        z_words = head.out((a / math.sqrt(DIM)).softmax(-1) @ v)  # (6)
        shares = a.amax(-1).softmax(-1)
        o_words = torch.einsum("vw,vwc->vc", shares, z_words)  # (7)
        o_2 = o_words + _feed_forward(head, o_words)  # (8)
        o = (o_1 + o_2) / 2  # (9)
        rows.append(torch.cosine_similarity(o, x_t[None], dim=-1))  # (10)
    return torch.stack(rows)


def _feed_forward(head: MGFI, z: Tensor) -> Tensor:
    return head.second(quick_gelu(head.first(head.norm2(z))))


def _product(head: MGFI, pairs: int) -> None:
    """The one product that no algebra takes away, in blocks as large as ours."""
    weight = head.second.weight.T
    rows = torch.randn(64 * 32, len(weight))
    for _ in range(pairs // len(rows)):
        rows @ weight


def _double(batch: Texts | Videos) -> Texts | Videos:  # type: ignore[type-var]
    return type(batch)(
        **{
            name: value.double() if value.is_floating_point() else value
            for name, value in ((name, getattr(batch, name)) for name in batch.__slots__)
        }
    )


def _show(measured: list[Measured], options: argparse.Namespace) -> None:
    show("## Exact scoring with MGFI")
    show(
        f"{options.pairs:,} captions x {options.pairs:,} videos of {FRAMES} frames, width and "
        f"hidden layer {DIM}, float32, one thread, random features, all ways in turns in one run; "
        f"the median of {options.rounds} rounds. The equations as printed are measured on "
        f"{options.literal} x {options.literal} pairs and scaled."
    )
    heads = ["", *(f"{one.words} words" for one in measured)]
    rows = []
    for name in (OURS, LITERAL, XPOOL, PRODUCT):
        cells = [
            f"{number(median(one.seconds, name))} s ({times_slower(one.seconds, name, OURS):.2f})"
            for one in measured
        ]
        rows.append([name, *cells])
    rows.append(["largest error of ours against float64", *(f"{m.error:.1e}" for m in measured)])
    show(table(heads, rows))
    show("vidret is so many times as fast, or as slow:")
    found = [line for one in measured for line in _verdicts(one)]
    show(table(["", "words", "measured", "asked for", ""], found))


def _verdicts(measured: Measured) -> Iterator[list[str]]:
    for name, asked in ASKED[measured.words].items():
        if name == PRODUCT:
            found = times_slower(measured.seconds, OURS, PRODUCT)
            told = ["times the product alone", f"{found:.2f}", f"at most {asked:g}"]
            held = verdict(asked, found)
        else:
            found = times_slower(measured.seconds, name, OURS)
            told = [f"times as fast as {name}", f"{found:.1f}", f"at least {asked:g}"]
            held = verdict(found, asked)
        yield [told[0], str(measured.words), *told[1:], held]
    yield ["error", str(measured.words), f"{measured.error:.1e}", "below 1e-5",
           verdict(1e-5, measured.error)]  # fmt: skip


def _show_msvd(retriever: Retriever, options: argparse.Namespace) -> None:
    videos = _videos(MSVD[1])
    texts = _texts(options.captions, MSVD[2])
    began = time.perf_counter()
    with _peak() as peak:
        score_in_blocks(retriever, texts, videos)
    took = time.perf_counter() - began
    show(
        f"MSVD's test, {options.captions:,} captions of {MSVD[2]} words x {MSVD[1]} videos, one "
        f"thread: {took:.0f} s, and {mebibytes(peak[0])} at the most above what the features take "
        f"(asked for: below {mebibytes(BUDGET)}, {verdict(BUDGET, peak[0])})."
    )


@contextmanager
def _peak() -> Iterator[list[int]]:
    """The most memory that this process takes in the block, above what it has at its start."""
    process, found, done = psutil.Process(), [0], threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        while not done.wait(0.02):
            found[0] = max(found[0], process.memory_info().rss - before)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    main()
