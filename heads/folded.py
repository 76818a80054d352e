"""MGFI for scoring alone: the same similarity, with nothing as wide as C left for each pair.

`heads/mgfi.py` already moves FF's first layer to the side of the videos. Here follows what only
holds when nothing is to be learned. With `w` the mean weights of a pair, `H` the mean hidden layer,
`W` and `b` FF's second layer, and `x` the sentence, equations 3, 8, 9 and 10 ask for

    o = w U + H W + b        s = o x / |o|

- `o x = w (U x) + H (W x) + b x`: the products in brackets belong to one side each.
- `|o|^2 = w (U U^T) w + 2 w (U W^T) H + |H W|^2 + 2 w (U b) + 2 H (W b) + b b`: tables again, but
  for `|H W|`. Of it only the length is needed, and `W W^T = R^T R` with R triangular (QR of `W^T`),
  so `|H W| = |H R^T|`, and half of R are zeros.
- Frames lie outside videos in memory, so what a softmax sums over is not the innermost axis.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vidret.data.batches import Texts, Videos
from vidret.heads.mgfi import MGFI

COLUMNS = 8  # blocks of the triangular factor: with more there are fewer zeros and smaller products
NARROWEST = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedTexts:
    """What a block of pairs asks of its texts.

    Args:
        queries: of the sentences, then of all words, text by text; without those of a branch that
            is off.
        words: how many each text has, padding included; 0 where the branch is off.
        word_bias: 0 for a word and minus infinity for padding; None where there is no padding.
        sentence: at unit length.
        second: the sentence times FF's second layer.
        bias: the sentence times that layer's bias.
    """

    queries: Float[Tensor, "query dim"]
    words: int
    word_bias: Float[Tensor, "text word 1"] | None
    sentence: Float[Tensor, "text dim"]
    second: Float[Tensor, "text hidden"]
    bias: Float[Tensor, " text"]

    def __len__(self) -> int:
        return len(self.sentence)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedVideos:
    """What a block of pairs asks of its videos; the letters are those of the module's docstring.

    Args:
        keys: frames outside videos; None where both branches are off.
        frame_bias: 0 for a frame and minus infinity for padding; None where there is no padding.
        uniform: the weight of each frame where no text decides it.
        u: U.
        u_u: `U U^T`.
        u_b: `U b`.
        centred: the Gram matrix of `U` without its mean, for the variance inside LN.
        hidden: FF's first layer on `U` without its mean.
        back: `(U W^T)^T`, and `W b` behind it.
    """

    keys: Float[Tensor, "frame video dim"] | None
    frame_bias: Float[Tensor, "frame video"] | None
    uniform: Float[Tensor, "video frame"]
    u: Float[Tensor, "video frame dim"]
    u_u: Float[Tensor, "video frame frame"]
    u_b: Float[Tensor, "video frame"]
    centred: Float[Tensor, "video frame frame"]
    hidden: Float[Tensor, "video frame hidden"]
    back: Float[Tensor, "video hidden frame_and_one"]

    def __len__(self) -> int:
        return len(self.u)


class FoldedMGFI:
    """A head made ready to score; to be made anew once the head has learned more."""

    def __init__(self, head: MGFI) -> None:
        self.head = head
        self.second = head.second.weight.T.contiguous()
        self.second_bias = head.second.bias
        self.first_bias = head.norm2.bias @ head.first.weight.T + head.first.bias
        self.eps = head.norm2.eps
        self.word_scale = head.word_log_scale.exp()
        self.triangle = _triangle(self.second)
        self.step = max(NARROWEST, -(-self.triangle.shape[1] // COLUMNS))

    def prepare_texts(self, texts: Texts) -> FoldedTexts:
        """Do what depends on the texts alone."""
        side = self.head.prepare_texts(texts)
        parts, words, word_bias = [], 0, None
        if side.q is not None:
            parts.append(side.q)
        if side.q_words is not None:
            words = side.q_words.shape[1]
            parts.append(side.q_words.flatten(0, 1))
            word_bias = _bias_of(side.word_mask, side.sentence)
        queries = torch.cat(parts) if parts else side.sentence[:0]
        return FoldedTexts(
            queries=queries,
            words=words,
            word_bias=None if word_bias is None else word_bias[..., None],
            sentence=side.sentence,
            second=side.sentence @ self.second.T,
            bias=side.sentence @ self.second_bias,
        )

    def prepare_videos(self, videos: Videos) -> FoldedVideos:
        """Do what depends on the videos alone."""
        side = self.head.prepare_videos(videos)
        frame_bias = _bias_of(side.frame_mask, side.u)
        real = side.frame_mask.to(side.u.dtype)
        through = side.u @ self.second.T
        last = (self.second @ self.second_bias).expand(len(through), 1, -1)
        return FoldedVideos(
            keys=None if side.k is None else side.k.transpose(0, 1).contiguous(),
            frame_bias=None if frame_bias is None else frame_bias.T.contiguous(),
            uniform=real / real.sum(-1, keepdim=True),
            u=side.u,
            u_u=side.u @ side.u.mT,
            u_b=side.u @ self.second_bias,
            centred=side.gram,
            hidden=side.hidden,
            back=torch.cat([through, last], dim=1).mT.contiguous(),
        )

    def score(self, texts: FoldedTexts, videos: FoldedVideos) -> Float[Tensor, "text video"]:
        """Return equation 10 for every text and every video."""
        weights = self._weights(texts, videos)
        branches = len(weights) // len(texts)
        by_video = weights.permute(2, 0, 1).contiguous()
        hidden = self._hidden(by_video, videos)
        mean_weights = _mean_of_branches(by_video, branches)
        mean_hidden = _mean_of_branches(hidden, branches)
        return self._cosine(mean_weights, mean_hidden, texts, videos).T

    def _weights(
        self, texts: FoldedTexts, videos: FoldedVideos
    ) -> Float[Tensor, "branch_and_text frame video"]:
        """Equations 2, 6 and 7: the weight of each frame, the branches one after the other."""
        num_texts = len(texts)
        if videos.keys is None:
            return videos.uniform.T.expand(num_texts, -1, -1)
        frames, num_videos, dim = videos.keys.shape
        scores = texts.queries @ videos.keys.reshape(frames * num_videos, dim).T
        scores = scores.view(-1, frames, num_videos)
        if videos.frame_bias is not None:
            scores += videos.frame_bias
        scale, branches = 1 / math.sqrt(dim), []
        if len(scores) > num_texts * texts.words:
            branches.append(_softmax(scores[:num_texts], scale))  # (2)
        if texts.words:
            per_word = scores[-num_texts * texts.words :]
            branches.append(
                self._word_weights(
                    per_word.view(num_texts, texts.words, frames, num_videos), texts, scale
                )
            )
        return torch.cat(branches) if len(branches) > 1 else branches[0]

    def _word_weights(
        self, a: Float[Tensor, "text word frame video"], texts: FoldedTexts, scale: float
    ) -> Float[Tensor, "text frame video"]:
        """Equations 6 and 7; `a` is used up."""
        best = a.amax(2)
        per_word = a.sub_(best[:, :, None]).mul_(scale).exp_()  # (6), not yet divided by its sum
        best = best * self.word_scale
        if texts.word_bias is not None:
            best += texts.word_bias
        shares = best.softmax(1) / per_word.sum(2)  # (7), and what (6) is still to be divided by
        return per_word.mul_(shares[:, :, None]).sum(1)

    def _hidden(
        self, weights: Float[Tensor, "video row frame"], videos: FoldedVideos
    ) -> Float[Tensor, "video row hidden"]:
        """FF's hidden layer on LN(z), equations 3 and 8."""
        variance = ((weights @ videos.centred) * weights).sum(-1, keepdim=True)
        factor = (variance.clamp_min_(0) + self.eps).rsqrt_()
        bias = self.first_bias.expand(*weights.shape[:2], -1)
        return _quick_gelu_(torch.baddbmm(bias, weights * factor, videos.hidden))

    def _cosine(
        self,
        weights: Float[Tensor, "video text frame"],
        hidden: Float[Tensor, "video text hidden"],
        texts: FoldedTexts,
        videos: FoldedVideos,
    ) -> Float[Tensor, "video text"]:
        frames = weights.shape[-1]
        from_hidden = hidden @ videos.back  # H (U W^T)^T, and H (W b)
        inner = weights @ videos.u_u
        inner += 2 * (from_hidden[..., :frames] + videos.u_b[:, None])
        squared = (weights * inner).sum(-1) + self._length_of_second(hidden)
        squared += 2 * from_hidden[..., frames] + self.second_bias @ self.second_bias
        along = (weights * (videos.u @ texts.sentence.T).mT).sum(-1) + texts.bias
        along += torch.bmm(hidden.transpose(0, 1), texts.second[..., None])[..., 0].T
        return along / squared.clamp_min(1e-24).sqrt()

    def _length_of_second(
        self, hidden: Float[Tensor, "video text hidden"]
    ) -> Float[Tensor, "video text"]:
        """`|H W|^2`; the block of columns from `start` has nothing but zeros above that row."""
        rows = hidden.flatten(0, 1)
        total = rows.new_zeros(len(rows))
        for start in range(0, self.triangle.shape[1], self.step):
            block = rows[:, start:] @ self.triangle[start:, start : start + self.step]
            total += block.square_().sum(-1)
        return total.view(hidden.shape[:2])


def _triangle(second: Float[Tensor, "hidden dim"]) -> Float[Tensor, "hidden rank"]:
    """R^T of the QR of `W^T`, in double precision: `|H W| = |H R^T|`."""
    return torch.linalg.qr(second.T.double(), mode="r")[1].T.to(second.dtype).contiguous()


def _quick_gelu_(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """`quick_gelu` of `heads/mgfi.py`, in the place of what it is given."""
    return x.mul_((1.702 * x).sigmoid_())


def _softmax(
    scores: Float[Tensor, "text frame video"], scale: float
) -> Float[Tensor, "text frame video"]:
    return (scores * scale).softmax(1)


def _bias_of(mask: Tensor, like: Tensor) -> Float[Tensor, "*shape"] | None:
    """What turns padding into minus infinity when it is added; None where there is no padding."""
    if mask.all():
        return None
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(~mask, -torch.inf)


def _mean_of_branches(
    values: Float[Tensor, "video branch_and_text width"], branches: int
) -> Float[Tensor, "video text width"]:
    if branches == 1:
        return values
    half = values.shape[1] // 2
    return (values[:, :half] + values[:, half:]).mul_(0.5)
