"""How long exact scoring with MGFI takes, beside the equations as printed and X-Pool's pooling.

python benchmarks/score.py
"""

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from report import mebibytes, number, show, show_machine, table, verdict
from timing import Seconds, median, take_turns, times_slower
from torch import Tensor, nn
from torch.nn.functional import normalize

from vidret.data.batches import Texts, Videos
from vidret.heads.catalog import build_retriever
from vidret.heads.folded import PAIRS as PAIRS_AT_ONCE
from vidret.heads.mgfi import MGFI, quick_gelu
from vidret.heads.products import quick_products, quicker_is_exact
from vidret.heads.retriever import Retriever
from vidret.heads.scoring import score_in_blocks, usual_memory
from vidret.pipelines.training.peak import peak_memory

DIM, FRAMES, PAIRS = 512, 12, 1000
LITERAL_PAIRS = 100  # texts and videos each: the word axis takes its memory and its time
MSVD = (27_763, 670, 7)  # captions, videos, and words of a caption on average
OURS, LITERAL, ROWS, XPOOL, PRODUCT = (
    "vidret (`score_in_blocks`)",
    "the equations as printed, all pairs at once",
    "the equations as printed, a text at a time",
    "X-Pool's pooling of all pairs at once (one branch)",
    "one product of hidden layer and C alone",
)
ASKED = {  # by words: times as fast as literal and X-Pool, at most times as slow as the product
    12: {LITERAL: 35.0, XPOOL: 4.0, PRODUCT: 1.8},
    32: {LITERAL: 50.0, XPOOL: 4.0, PRODUCT: 2.5},
}
BUDGET = 2 << 30
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What came out with so many words: seconds scaled to all pairs; error and memory of ours."""

    words: int
    seconds: Seconds
    error: float
    peak: int


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
    retriever = make_head()
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


def make_head() -> Retriever:
    """MGFI with weights of no start: with zeros in its second layer there would be less to do."""
    retriever = build_retriever("mgfi", dim=DIM, audio_dim=1, logit_scale=100.0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in retriever.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=generator)
    return retriever.eval()


def make_texts(count: int, words: int, seed: int = 1) -> Texts:
    """Random captions, all of the same length."""
    generator = torch.Generator().manual_seed(seed)
    return Texts(
        sentence=torch.randn(count, DIM, generator=generator),
        words=torch.randn(count, words, DIM, generator=generator),
        word_mask=torch.ones(count, words, dtype=torch.bool),
    )


def make_videos(count: int) -> Videos:
    """Random videos without sound."""
    generator = torch.Generator().manual_seed(2)
    return Videos(
        frames=torch.randn(count, FRAMES, DIM, generator=generator),
        frame_mask=torch.ones(count, FRAMES, dtype=torch.bool),
        audio=torch.zeros(count, 1),
        audio_mask=torch.zeros(count, dtype=torch.bool),
    )


def _measure(retriever: Retriever, words: int, options: argparse.Namespace) -> Measured:
    texts, videos = make_texts(options.pairs, words), make_videos(options.pairs)
    some = slice(options.literal)
    head, pooling = retriever.video_head, XPoolPooling(DIM).eval()
    quick = quicker_is_exact(lambda: score_in_blocks(retriever, texts[:16], videos[:16]))
    assert isinstance(head, MGFI)
    ways: dict[str, Callable[[], object]] = {
        OURS: partial(score_in_blocks, retriever, texts, videos),
        LITERAL: partial(literal, head, texts[some], videos[some]),
        ROWS: partial(a_text_at_a_time, head, texts[some], videos[some]),
        XPOOL: partial(pooling, texts, videos),
        PRODUCT: partial(_product, head, options.pairs**2, quick=quick),
    }
    with torch.inference_mode():
        with peak_memory(CPU) as peak:
            score_in_blocks(retriever, texts, videos)
        seconds = take_turns(ways, options.rounds)
        ours = score_in_blocks(retriever, texts[some], videos[some])
        double = retriever.double()
        exact = double(_double(texts[some]), _double(videos[some]))
        retriever.float()
    scale = (options.pairs / options.literal) ** 2
    for name in (LITERAL, ROWS):
        seconds[name] = [one * scale for one in seconds[name]]
    return Measured(
        words=words, seconds=seconds, error=float((ours - exact).abs().max()), peak=peak[0]
    )


def literal(head: MGFI, texts: Texts, videos: Videos) -> Tensor:
    """Equations 1 to 10 as they are printed: `z` has a row for every word of every pair."""
    assert head.norm is not None
    assert head.key is not None
    assert head.query is not None
    assert head.word_query is not None
    root, x_v = math.sqrt(DIM), head.norm(videos.frames)
    k, v = head.key(x_v), head.value(x_v)
    q = head.query(head.norm(texts.sentence))  # (1)
    weights = (torch.einsum("tc,vnc->tvn", q, k) / root).softmax(-1)
    z = head.out(torch.einsum("tvn,vnc->tvc", weights, v))  # (2)
    o_1 = z + _feed_forward(head, z)  # (3)
    q_words = head.word_query(head.norm(texts.words))  # (4)
    a = torch.einsum("twc,vnc->tvwn", q_words, k)  # (5)
    z_words = head.out(torch.einsum("tvwn,vnc->tvwc", (a / root).softmax(-1), v))  # (6)
    o_words = torch.einsum("tvw,tvwc->tvc", a.amax(-1).softmax(-1), z_words)  # (7)
    o = (o_1 + o_words + _feed_forward(head, o_words)) / 2  # (8), (9)
    return torch.cosine_similarity(o, texts.sentence[:, None], dim=-1)  # (10)


def a_text_at_a_time(head: MGFI, texts: Texts, videos: Videos) -> Tensor:
    """The same with less memory, which suits a processor's cache better."""
    rows = [literal(head, texts[row : row + 1], videos) for row in range(len(texts))]
    return torch.cat(rows)


def _feed_forward(head: MGFI, z: Tensor) -> Tensor:
    part = head.feed_forward
    return part.second(quick_gelu(part.first(part.norm(z))))


def _product(head: MGFI, pairs: int, *, quick: bool) -> None:
    """The one product that no algebra takes away, by the same library and in pieces like ours."""
    weight = head.feed_forward.second.weight.T
    rows = torch.randn(PAIRS_AT_ONCE, len(weight))
    room = torch.empty(len(rows), weight.shape[1])
    with quick_products(wanted=quick):
        for _ in range(pairs // len(rows)):
            torch.mm(rows, weight, out=room)


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
    for name in (OURS, LITERAL, ROWS, XPOOL, PRODUCT):
        cells = [
            f"{number(median(one.seconds, name))} s ({times_slower(one.seconds, name, OURS):.2f})"
            for one in measured
        ]
        rows.append([name, *cells])
    rows.append(["largest error of ours against float64", *(f"{m.error:.1e}" for m in measured)])
    show(table(heads, rows))
    show("vidret is so many times as fast, or as slow:")
    found = [line for one in measured for line in _verdicts(one, options.pairs)]
    show(table(["", "words", "measured", "asked for", ""], found))


def _verdicts(measured: Measured, pairs: int) -> Iterator[list[str]]:
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
    most = usual_memory(CPU) + 4 * pairs**2
    yield [
        "memory beside the features, budget and result",
        str(measured.words),
        mebibytes(measured.peak),
        f"at most {mebibytes(most)}",
        verdict(most, measured.peak),
    ]
    yield ["error", str(measured.words), f"{measured.error:.1e}", "below 1e-5",
           verdict(1e-5, measured.error)]  # fmt: skip


def _show_msvd(retriever: Retriever, options: argparse.Namespace) -> None:
    videos = make_videos(MSVD[1])
    texts = make_texts(options.captions, MSVD[2])
    began = time.perf_counter()
    with peak_memory(CPU) as peak:
        score_in_blocks(retriever, texts, videos)
    took = time.perf_counter() - began
    show(
        f"MSVD's test, {options.captions:,} captions of {MSVD[2]} words x {MSVD[1]} videos, one "
        f"thread: {took:.0f} s, and {mebibytes(peak[0])} at the most above what the features take "
        f"(asked for: below {mebibytes(BUDGET)}, {verdict(BUDGET, peak[0])})."
    )


if __name__ == "__main__":
    main()
