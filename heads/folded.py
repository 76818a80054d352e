"""MGFI for scoring alone: the same similarity, with nothing as wide as C left for each pair.

`heads/mgfi.py` already moves FF's first layer to the side of the videos. Here follows what only
holds when nothing is to be learned. With `w` the mean weights of a pair, `H` the hidden layer that
is left of both branches, `W` and `b` FF's second layer, and `x` the sentence, equations 3, 8, 9 and
10 ask for

    o = w U + H W + b        s = o x / |o|

- `b` is one more row of `U`, and its weight is always 1. So `o = w U + H W`.
- `o x = w (U x) + H (W x)`: the products in brackets belong to one side each.
- `|o|^2 = w (U U^T) w + 2 w (U W^T) H + |H W|^2`: tables again, but for `|H W|`. Of it only the
  length is needed, and `W W^T = R^T R` with R triangular (QR of `W^T`), so `|H W| = |H R^T|`, and
  half of R are zeros.
- Branches that share FF add their hidden layers up, and `W` takes the half of equation 9. Branches
  with an FF each put them side by side, and `W` has the rows of both.
- All that is made of a frame is linear in its LN: one matrix gives keys, `U` and the tables.
- QuickGELU is `silu(1.702 x) / 1.702`: the factor goes into the tables before it and the layer
  behind, and one pass is left.
- Frames lie outside videos in memory, so what a softmax sums over is not the innermost axis.
- All blocks work in the same memory: a system hands out fresh memory page by page, and slowly.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize, silu

from vidret.data.batches import Texts, Videos
from vidret.heads.frames import inert_frames
from vidret.heads.mgfi import MGFI
from vidret.heads.options import Activation

COLUMNS = 8  # blocks of the triangular factor: with more there are fewer zeros and smaller products
NARROWEST = 64
QUERIES = 256  # and
PAIRS = 2048  # at once, so that what is made of them stays within a core's cache


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedTexts:
    """What a block of pairs asks of its texts.

    Args:
        queries: of the sentences, then of all words, text by text, divided by √C; without those
            of a branch that is off.
        words: how many each text has, padding included; 0 where the branch is off.
        word_bias: 0 for a word and minus infinity for padding; None where there is no padding.
        sentence: at unit length.
        second: `Q^T x`, where `W^T = Q R`: `H W x = (H R^T) (Q^T x)`.
    """

    queries: Float[Tensor, "query dim"]
    words: int
    word_bias: Float[Tensor, "text word 1"] | None
    sentence: Float[Tensor, "text dim"]
    second: Float[Tensor, "text rank"]

    def __len__(self) -> int:
        return len(self.sentence)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedVideos:
    """What a block of pairs asks of its videos; the letters are those of the module's docstring.

    Args:
        keys: frames outside videos; None where both branches are off.
        frame_bias: 0 for a frame and minus infinity for padding; None where there is no padding.
        uniform: the weight of each frame where no text decides it.
        u: U, with b as its last row.
        u_u: `U U^T`.
        centred: the Gram matrix of the frames' `U` without its mean, for the variance inside LN.
        hidden: of each branch FF's first layer on the same, with its bias as the last row.
        back: `2 (U W^T)^T`; it and `hidden` are as coarse as the products.
    """

    keys: Float[Tensor, "frame video dim"] | None
    frame_bias: Float[Tensor, "frame video"] | None
    uniform: Float[Tensor, "video frame"]
    u: Float[Tensor, "video row dim"]
    u_u: Float[Tensor, "video row row"]
    centred: Float[Tensor, "video frame frame"]
    hidden: tuple[Float[Tensor, "video row hidden"], ...]
    back: Float[Tensor, "video left row"]

    def __len__(self) -> int:
        return len(self.u)


class FoldedMGFI:
    """A head made ready to score; to be made anew once the head has learned more.

    Args:
        head: as it is now.
        products: what hidden layers are multiplied in; their sums stay as fine as the features.
            The scores of equations 2 and 5 do too: a softmax that is not scaled forgives nothing.
    """

    def __init__(self, head: MGFI, products: torch.dtype | None = None) -> None:
        parts = list(head.feed_forwards().values())
        self.head = head
        self.branches, self.different = len(parts), list(dict.fromkeys(parts))
        self.activate, self.scale = IN_PLACE[head.activation]
        share = 1 / (self.scale * len(parts))
        self.second = torch.cat([part.second.weight.T for part in self.different]) * share
        self.second_bias = torch.stack([part.second.bias for part in parts]).mean(0)
        self.eps = head.feed_forward.norm.eps
        self.word_scale = head.word_log_scale.exp() * math.sqrt(len(self.second_bias))
        self.products = products or self.second.dtype
        self.rotation, triangle = _rotated(self.second)
        self.step = max(NARROWEST, -(-triangle.shape[1] // COLUMNS))
        self.factors = [  # the columns from `start` on have nothing but zeros above that row
            (start, triangle[start:, start : start + self.step].to(self.products).contiguous())
            for start in range(0, triangle.shape[1], self.step)
        ]
        self.of_frames = self._maps_of_frames()
        self.scratch = Scratch()

    def prepare_texts(self, texts: Texts) -> FoldedTexts:
        """Do what depends on the texts alone; it holds until other texts are prepared."""
        head, sentence = self.head, texts.sentence
        words, mask = head.some_words(texts)
        asked = []
        if head.query is not None:
            asked.append((head.query, head.normed(sentence)))
        if head.word_query is not None:
            asked.append((head.word_query, head.normed(words.flatten(0, 1), head.norm_words)))
        rows = sum(len(x) for _, x in asked)
        queries = self.scratch("queries", (rows, sentence.shape[1]), sentence)
        for (linear, x), mine in zip(asked, queries.split([len(x) for _, x in asked]), strict=True):
            torch.mm(x, linear.weight.T, out=mine)
            if linear.bias is not None:
                mine += linear.bias
        unit = normalize(sentence, dim=-1)
        return FoldedTexts(
            queries=queries.mul_(1 / math.sqrt(sentence.shape[1])),
            words=0 if head.word_query is None else words.shape[1],
            word_bias=_bias_of(mask[..., None], sentence),
            sentence=unit,
            second=unit @ self.rotation,
        )

    def prepare_videos(self, videos: Videos) -> FoldedVideos:
        """Do what depends on the videos alone."""
        x_v = self.head.normed(inert_frames(videos), self.head.norm_frames)
        rows = _with_row_for_b(x_v)
        made = {name: rows @ one for name, one in self.of_frames.items()}
        frame_bias = _bias_of(videos.frame_mask, x_v)
        real = videos.frame_mask.to(x_v.dtype)
        u, keys = made["u"], made.get("keys")
        u_c = u[:, :-1] - u[:, :-1].mean(-1, keepdim=True)
        tables = [
            made[f"hidden {number}"].to(self.products) for number in range(len(self.different))
        ]
        return FoldedVideos(
            keys=None if keys is None else keys[:, :-1].transpose(0, 1).contiguous(),
            frame_bias=None if frame_bias is None else frame_bias.T.contiguous(),
            uniform=real / real.sum(-1, keepdim=True),
            u=u,
            u_u=u @ u.mT,
            centred=u_c @ u_c.mT / u.shape[-1],
            hidden=tuple(tables) if len(tables) > 1 else (tables[0],) * self.branches,
            back=made["back"].mT.contiguous().to(self.products),
        )

    def _maps_of_frames(self) -> dict[str, Float[Tensor, "dim_and_two width"]]:
        """What makes keys, `U` and the tables of LN of a frame.

        The last two rows of each are what is added to every frame, and what stands in the row of b.
        """
        b, second = self.second_bias.double(), self.second.double()
        u = _as_map(self.head.value) @ self.head.out.weight.T.double()
        if self.head.out.bias is not None:
            u[-1] += self.head.out.bias.double()
        u_c = u - u.mean(1, keepdim=True)
        maps = {"u": (u, b), "back": (2 * u @ second.T, 2 * second @ b)}
        for number, part in enumerate(self.different):
            first = part.norm.weight.double()[:, None] * part.first.weight.T.double()
            bias = part.first_bias().double() * self.scale
            maps[f"hidden {number}"] = (self.scale * u_c @ first, bias)
        if self.head.key is not None:
            maps["keys"] = (_as_map(self.head.key), torch.zeros_like(b))
        return {
            name: torch.cat([one, last[None]]).to(self.second.dtype)
            for name, (one, last) in maps.items()
        }

    def floats_per_pair(self, words: int, frames: int) -> int:
        """How many numbers scoring holds at once for a pair of a text and a video.

        Word against frame: a, and one more while it is used up. The weights of both branches, the
        layers made from them, and one block of columns of what they come to.
        """
        layers = self.branches * self.different[0].first.out_features
        return 2 * (words + 1) * frames + 8 * frames + 2 * layers + self.step + 32

    def floats_per_video(self, frames: int, dim: int) -> int:
        """How many numbers a prepared video takes."""
        return (frames + 1) * (2 * dim + 2 * frames + 2 * len(self.second))

    def score(self, texts: FoldedTexts, videos: FoldedVideos) -> Float[Tensor, "text video"]:
        """Return equation 10 for every text and every video."""
        branches = self._weights(texts, videos)
        weights = [self._rows(f"rows {number}", one) for number, one in enumerate(branches)]
        divided = [self._divided(rows, videos) for rows in weights]
        mean = _sum(weights).div_(len(weights))
        inner = mean @ videos.u_u
        u_x = texts.sentence @ videos.u.flatten(0, 1).T
        along = (mean * u_x.view(len(texts), *mean.shape[::2]).transpose(0, 1)).sum(-1)
        squared = torch.empty_like(along)
        for some in _slices(len(videos), _at_once(PAIRS, len(texts), along)):
            hidden = [
                self._hidden(branch, rows[some], videos.hidden[branch][some])
                for branch, rows in enumerate(divided)
            ]
            left = _sum(hidden) if len(self.different) == 1 else torch.cat(hidden, dim=-1)
            inner[some] += left @ videos.back[some]
            squared[some] = (mean[some] * inner[some]).sum(-1)
            self._add_second(along[some], squared[some], left, texts)
        return (along / squared.clamp_min(1e-24).sqrt()).T

    def _weights(
        self, texts: FoldedTexts, videos: FoldedVideos
    ) -> list[Float[Tensor, "text frame video"]]:
        """Equations 2, 6 and 7: the weight of each frame in each branch."""
        num_texts, words = len(texts), texts.words
        if videos.keys is None:
            return [videos.uniform.T.expand(num_texts, -1, -1)]
        weights, sentences = [], len(texts.queries) - num_texts * words
        if sentences:
            weights.append(self._scores(texts.queries[:sentences], videos).softmax(1))  # (2)
        if words:
            for_words = self.scratch(
                "word weights", (num_texts, *videos.keys.shape[:2]), texts.queries
            )
            for some in _slices(num_texts, _at_once(QUERIES, words, for_words)):
                rows = slice(sentences + some.start * words, sentences + some.stop * words)
                a = self._scores(texts.queries[rows], videos).unflatten(0, (-1, words))
                bias = None if texts.word_bias is None else texts.word_bias[some]
                torch.sum(self._word_weights(a, bias), 1, out=for_words[some])
            weights.append(for_words)
        return weights

    def _scores(
        self, queries: Float[Tensor, "query dim"], videos: FoldedVideos
    ) -> Float[Tensor, "query frame video"]:
        """Queries against frames, divided by √C."""
        assert videos.keys is not None
        frames, num_videos, dim = videos.keys.shape
        keys = videos.keys.view(frames * num_videos, dim)
        room = self.scratch("scores", (len(queries), len(keys)), queries)
        scores = torch.mm(queries, keys.T, out=room).view(-1, frames, num_videos)
        return scores if videos.frame_bias is None else scores.add_(videos.frame_bias)

    def _word_weights(
        self,
        a: Float[Tensor, "text word frame video"],
        word_bias: Float[Tensor, "text word 1"] | None,
    ) -> Float[Tensor, "text word frame video"]:
        """Equations 6 and 7 before the sum over words; `a` is used up."""
        best = a.amax(2).mul_(self.word_scale)
        if word_bias is not None:
            best += word_bias
        per_word = torch.softmax(a, 2, out=self.scratch("per word", tuple(a.shape), a))  # (6)
        return per_word.mul_(best.softmax(1)[:, :, None])  # (7)

    def _rows(
        self, name: str, weights: Float[Tensor, "text frame video"]
    ) -> Float[Tensor, "video text row"]:
        """The weights video by video, and behind them a 1 for b."""
        num_texts, frames, num_videos = weights.shape
        rows = self.scratch(name, (num_videos, num_texts, frames + 1), weights)
        rows[..., :frames] = weights.permute(2, 0, 1)
        rows[..., frames] = 1
        return rows

    def _divided(
        self, rows: Float[Tensor, "video text row"], videos: FoldedVideos
    ) -> Float[Tensor, "video text row"]:
        """The weights that make LN(z) out of the frames, and the 1 for the bias."""
        weights, divided = rows[..., :-1], rows.clone()
        variance = ((weights @ videos.centred) * weights).sum(-1, keepdim=True)
        divided[..., :-1] *= (variance.clamp_min_(0) + self.eps).rsqrt_()
        return divided.to(self.products)

    def _hidden(
        self,
        branch: int,
        divided: Float[Tensor, "video text row"],
        table: Float[Tensor, "video row hidden"],
    ) -> Float[Tensor, "video text hidden"]:
        """FF's hidden layer on LN(z), equations 3 and 8."""
        shape = (*divided.shape[:2], table.shape[-1])
        room = self.scratch(f"hidden {branch}", shape, table)
        return self.activate(torch.bmm(divided, table, out=room))

    def _add_second(
        self,
        along: Float[Tensor, "video text"],
        squared: Float[Tensor, "video text"],
        hidden: Float[Tensor, "video text left"],
        texts: FoldedTexts,
    ) -> None:
        """Add `H W x` and `|H W|^2`, both from `H R^T`, a block of its columns at a time."""
        rows, pairs = hidden.flatten(0, 1), tuple(squared.shape)
        lengths = self.scratch("lengths", (len(self.factors), *pairs), along)
        products = self.scratch("along", (len(self.factors), *pairs), along)
        for number, (start, factor) in enumerate(self.factors):
            room = self.scratch("columns", (len(rows), factor.shape[1]), rows)
            block = torch.mm(rows[:, start:], factor, out=room).to(along.dtype).view(*pairs, -1)
            torch.linalg.vector_norm(block, dim=-1, out=lengths[number])
            block *= texts.second[:, start : start + factor.shape[1]]
            torch.sum(block, -1, out=products[number])
        squared += lengths.square_().sum(0)
        along += products.sum(0)


class Scratch:
    """Memory that one block after the other works in, a piece for each name."""

    def __init__(self) -> None:
        self.held: dict[str, Tensor] = {}

    def __call__(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor of that shape, whatever it holds, of the kind of another."""
        size, held = math.prod(shape), self.held.get(name)
        if held is None or len(held) < size or held.dtype != like.dtype:
            held = self.held[name] = like.new_empty(size)
        return held[:size].view(shape)


def _at_once(rows: int, each: int, like: Tensor) -> int:
    """How many things of so many rows a processor takes at once; a GPU takes all there are."""
    return max(1, rows // each) if like.device.type == "cpu" else sys.maxsize


def _slices(count: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def _sum(
    branches: Sequence[Float[Tensor, "video text width"]],
) -> Float[Tensor, "video text width"]:
    """The sum of the branches, in the place of the first."""
    for other in branches[1:]:
        branches[0].add_(other)
    return branches[0]


def _rotated(
    second: Float[Tensor, "left dim"],
) -> tuple[Float[Tensor, "dim rank"], Float[Tensor, "left rank"]]:
    """Q and R^T of the QR of `W^T`, in double precision: `H W = H R^T Q^T`."""
    q, r = torch.linalg.qr(second.T.double())
    return q.to(second.dtype).contiguous(), r.T.to(second.dtype).contiguous()


def _as_map(linear: nn.Linear) -> Float[Tensor, "dim_and_one width"]:
    """A layer's matrix with its bias as the last row, in double precision."""
    bias = linear.weight.new_zeros(len(linear.weight)) if linear.bias is None else linear.bias
    return torch.cat([linear.weight.T, bias[None]]).double()


def _with_row_for_b(
    x_v: Float[Tensor, "video frame dim"],
) -> Float[Tensor, "video row dim_and_two"]:
    """Every video's frames and a row for b below them; the last two numbers say which is which."""
    num_videos, frames, dim = x_v.shape
    rows = x_v.new_zeros(num_videos, frames + 1, dim + 2)
    rows[:, :frames, :dim] = x_v
    rows[:, :frames, dim] = 1
    rows[:, frames, dim + 1] = 1
    return rows


def _bias_of(mask: Tensor, like: Tensor) -> Float[Tensor, "*shape"] | None:
    """What turns padding into minus infinity when it is added; None where there is no padding."""
    if mask.all():
        return None
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(~mask, -torch.inf)


IN_PLACE: dict[Activation, tuple[Callable[[Tensor], Tensor], float]] = {
    "quick_gelu": (lambda x: silu(x, inplace=True), 1.702),
    "gelu": (gelu, 1.0),
    "relu": (torch.relu_, 1.0),
}  # what is done to a hidden layer, and by how much that is too large before and after
