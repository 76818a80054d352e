"""MGFI, equations 1 to 10: the video as the sentence sees it, and as the words see it.

The equations make one embedding of the video for every text (and, between, for every word). All of
them are weighted sums of the same projected frames `u`, so this module computes the weights, and
puts off everything wide until the words are gone. The algebra is exact:

- The weights of a softmax sum to 1, so `v W_o` is done once per video: `z = weights @ u`.
- Equation 7 sums over words what equation 6 sums over frames. The sums swap: one weight per frame.
- `LN(z)` needs mean and variance of `weights @ u`. With `u_c`, the rows of `u` less their means,
  `z` less its mean is `weights @ u_c`, and its variance is `weights @ G @ weights` for the small
  matrix `G = u_c u_c^T / C`. FF's first layer is linear, too, so it moves to the video's side.
- Equations 3 and 8 share FF, so equation 9 takes the mean before FF's second layer.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor, einsum, nn
from torch.nn.functional import normalize

from vidret.data.batches import Texts, Videos
from vidret.data.errors import ConfigError
from vidret.heads.frames import inert_frames, uniform_weights

WordWeightScale = Literal["literal", "sqrt_c", "learnable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSide:
    """What equations 1 and 4 make of the texts alone; None where a branch is off."""

    sentence: Float[Tensor, "text dim"]
    q: Float[Tensor, "text dim"] | None
    q_words: Float[Tensor, "text word dim"] | None
    word_mask: Bool[Tensor, "text word"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSide:
    """What depends on the videos alone: keys, and the frames on their way through LN and FF.

    Args:
        k: None where both branches are off.
        u: `v W_o`, what the weights of equations 2 and 7 sum.
        gram: the matrix G of the module's docstring.
        hidden: FF's first layer on `u_c`, still without LN's division and without its bias.
    """

    k: Float[Tensor, "video frame dim"] | None
    u: Float[Tensor, "video frame dim"]
    gram: Float[Tensor, "video frame frame"]
    hidden: Float[Tensor, "video frame hidden"]
    frame_mask: Bool[Tensor, "video frame"]


class MGFI(nn.Module):
    """Weigh frames by the sentence and by the words, and compare their sums with the sentence.

    With both branches off this is `mean-ff`, the trained control: equation 3 on the plain mean of
    the frames, so that it differs from `s-f` in the weights alone.

    Args:
        dim: width C of frames, words and sentences.
        sentence_frame: equations 1 to 3, the row "s-f" of Table 1.
        word_frame: equations 4 to 8, the row "w-f" of Table 1.
        hidden: width of FF's hidden layer; C if None.
        dropout: share of FF's output that training drops.
        word_weight_scale: factor inside the softmax of equation 7. `literal` is the printed one, 1,
            which lets one word decide; `sqrt_c` is equation 6's 1/√C, near the mean of the words;
            `learnable` starts there.
    """

    word_log_scale: Tensor

    def __init__(
        self,
        dim: int,
        *,
        sentence_frame: bool = True,
        word_frame: bool = True,
        hidden: int | None = None,
        dropout: float = 0.3,
        word_weight_scale: WordWeightScale = "literal",
    ) -> None:
        super().__init__()
        if word_weight_scale not in get_args(WordWeightScale):
            raise ConfigError(
                f"word_weight_scale is {word_weight_scale!r}: it can be "
                f"{', '.join(get_args(WordWeightScale))}"
            )
        # LN is written alike in (1) and (4), LN and FF in (3) and (8): one module each.
        self.norm1 = nn.LayerNorm(dim)
        self.query = _identity(dim) if sentence_frame else None
        self.word_query = _identity(dim) if word_frame else None
        self.key = _identity(dim) if sentence_frame or word_frame else None
        self.value = _identity(dim)
        self.out = _identity(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.first = nn.Linear(dim, hidden or dim)
        self.second = nn.Linear(hidden or dim, dim)
        nn.init.zeros_(self.second.weight)  # o = z at the start: CLIP's own geometry
        nn.init.zeros_(self.second.bias)
        self.dropout = nn.Dropout(dropout)
        log_scale = torch.tensor(0.0 if word_weight_scale == "literal" else -0.5 * math.log(dim))
        if word_frame and word_weight_scale == "learnable":
            self.word_log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("word_log_scale", log_scale)

    def forward(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video"]:
        """Return s(v, t) of equation 10 for every text and every video."""
        return self.score(self.prepare_texts(texts), self.prepare_videos(videos))

    def parts(self, texts: Texts, videos: Videos) -> dict[str, Float[Tensor, "text video"]]:
        """Return what `sentence` and `words` (or `frames`) add to the similarity.

        o is a mean of o1 and o2, and its product with the sentence is a sum of theirs; both are
        divided by the length of o. Dropout never touches the parts.
        """
        return self.score_parts(self.prepare_texts(texts), self.prepare_videos(videos))

    def frame_weights(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video frame"]:
        """Return how much each frame counts for each text; the mean of both branches."""
        return _mean(self._weights(self.prepare_texts(texts), self.prepare_videos(videos)))

    def prepare_texts(self, texts: Texts) -> TextSide:
        """Do what equations 1 and 4 ask of the texts."""
        words, word_mask = _some_words(texts)
        return TextSide(
            sentence=normalize(texts.sentence, dim=-1),
            q=None if self.query is None else self.query(self.norm1(texts.sentence)),  # (1)
            q_words=None if self.word_query is None else self.word_query(self.norm1(words)),  # (4)
            word_mask=word_mask,
        )

    def prepare_videos(self, videos: Videos) -> VideoSide:
        """Do what equations 1 to 3 ask of the frames before there is a text."""
        x_v = self.norm1(inert_frames(videos))
        u = self.out(self.value(x_v))  # v of (1), W_o of (2) and (6)
        u_c = u - u.mean(-1, keepdim=True)
        return VideoSide(
            k=None if self.key is None else self.key(x_v),  # (1)
            u=u,
            gram=u_c @ u_c.mT / u.shape[-1],
            hidden=(u_c * self.norm2.weight) @ self.first.weight.T,
            frame_mask=videos.frame_mask,
        )

    def score(self, texts: TextSide, videos: VideoSide) -> Float[Tensor, "text video"]:
        """Return equation 10 for prepared texts and videos."""
        weights = self._weights(texts, videos)
        hidden = _mean({name: self._hidden(w, videos) for name, w in weights.items()})
        o = self._embedding(_mean(weights), hidden, videos)
        return einsum("tvc,tc->tv", o, texts.sentence) / _length(o)  # (10)

    def score_parts(
        self, texts: TextSide, videos: VideoSide
    ) -> dict[str, Float[Tensor, "text video"]]:
        """Return the parts of equation 10 for prepared texts and videos."""
        weights = self._weights(texts, videos)
        hidden = {name: self._hidden(w, videos) for name, w in weights.items()}
        o = self._embedding(_mean(weights), _mean(hidden), videos, drop=False)
        divisor = len(weights) * _length(o)
        u_x = einsum("vnc,tc->tvn", videos.u, texts.sentence)
        second_x = texts.sentence @ self.second.weight
        bias_x = (texts.sentence @ self.second.bias)[:, None]
        return {
            name: ((w * u_x).sum(-1) + einsum("tvh,th->tv", hidden[name], second_x) + bias_x)
            / divisor
            for name, w in weights.items()
        }

    def floats_per_pair(self, words: int, frames: int) -> int:
        """How many numbers scoring holds at once for a pair of a text and a video.

        Word against frame: a, a/√C, its softmax, and one more while they are made. The weights and
        their mean. FF's hidden layer of both branches, with what its activation needs, and o.
        """
        hidden, dim = self.first.out_features, self.first.in_features
        return 4 * words * frames + 8 * frames + 6 * hidden + 4 * dim

    def floats_per_video(self, frames: int, dim: int) -> int:
        """How many numbers a prepared video takes, and as many again while it is prepared."""
        return 2 * (frames + 1) * (2 * dim + 2 * frames + 2 * self.first.out_features)

    def _weights(
        self, texts: TextSide, videos: VideoSide
    ) -> dict[str, Float[Tensor, "text video frame"]]:
        """The weight of each frame in z of equation 2 and in õ of equation 7."""
        weights = {}
        if texts.q is not None:
            weights["sentence"] = self._sentence_weights(texts.q, videos)
        if texts.q_words is not None:
            weights["words"] = self._word_weights(texts.q_words, texts.word_mask, videos)
        return weights or {"frames": uniform_weights(videos.frame_mask, texts.sentence)}

    def _sentence_weights(
        self, q: Float[Tensor, "text dim"], videos: VideoSide
    ) -> Float[Tensor, "text video frame"]:
        scores = einsum("tc,vnc->tvn", q, videos.k) / math.sqrt(q.shape[-1])
        return scores.masked_fill(~videos.frame_mask, -torch.inf).softmax(-1)  # (2)

    def _word_weights(
        self,
        q_words: Float[Tensor, "text word dim"],
        word_mask: Bool[Tensor, "text word"],
        videos: VideoSide,
    ) -> Float[Tensor, "text video frame"]:
        a = einsum("twc,vnc->tvwn", q_words, videos.k)  # (5)
        a = a.masked_fill(~videos.frame_mask[:, None, :], -torch.inf)
        best = a.amax(-1) * self.word_log_scale.exp()  # (7), max over the frames
        shares = best.masked_fill(~word_mask[:, None, :], -torch.inf).softmax(-1)  # (7)
        per_word = (a / math.sqrt(q_words.shape[-1])).softmax(-1)  # (6)
        return einsum("tvw,tvwn->tvn", shares, per_word)  # (7), summed over the words first

    def _hidden(
        self, weights: Float[Tensor, "text video frame"], videos: VideoSide
    ) -> Float[Tensor, "text video hidden"]:
        """FF's hidden layer on LN(z), equations 3 and 8, without making z."""
        variance = (einsum("tvn,vnm->tvm", weights, videos.gram) * weights).sum(-1, keepdim=True)
        deviation = (variance.clamp_min(0) + self.norm2.eps).sqrt()  # rounding may go below zero
        bias = self.norm2.bias @ self.first.weight.T + self.first.bias
        return quick_gelu(einsum("tvn,vnh->tvh", weights, videos.hidden) / deviation + bias)

    def _embedding(
        self,
        weights: Float[Tensor, "text video frame"],
        hidden: Float[Tensor, "text video hidden"],
        videos: VideoSide,
        *,
        drop: bool = True,
    ) -> Float[Tensor, "text video dim"]:
        """Equation 9, from the mean weights and the mean hidden layer of both branches."""
        output = self.second(hidden)
        if drop:
            output = self.dropout(output)
        return einsum("tvn,vnc->tvc", weights, videos.u) + output  # (3), (8), (9)


def quick_gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """CLIP's activation; the paper names none."""
    return x * (1.702 * x).sigmoid()


def _some_words(
    texts: Texts,
) -> tuple[Float[Tensor, "text some dim"], Bool[Tensor, "text some"]]:
    """The words with zeros for padding; the sentence stands in as the word of an empty caption.

    Equation 7 needs a word. What is left of an empty caption is the end token, and its embedding
    is the sentence's, so with equal projections its o2 is o1.
    """
    words = texts.words.masked_fill(~texts.word_mask[..., None], 0)
    empty = ~texts.word_mask.any(-1, keepdim=True)
    if not empty.any():
        return words, texts.word_mask
    words = torch.cat([texts.sentence[:, None], words], dim=1)
    return words, torch.cat([empty, texts.word_mask], dim=1)


def _identity(dim: int) -> nn.Linear:
    """A C x C matrix of equations 1, 2 and 4; it starts as the identity, and so in CLIP's space."""
    linear = nn.Linear(dim, dim, bias=False)
    nn.init.eye_(linear.weight)
    return linear


def _mean(branches: dict[str, Float[Tensor, "*shape"]]) -> Float[Tensor, "*shape"]:
    first, *others = branches.values()
    return sum(others, first) / len(branches)


def _length(o: Float[Tensor, "text video dim"]) -> Float[Tensor, "text video"]:
    return o.norm(dim=-1).clamp_min(1e-12)
