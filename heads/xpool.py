"""X-Pool (Gorti et al., CVPR 2022): the sentence weighs the frames, then norms and a linear layer.

With `alpha` the weights of a pair, all of it is

    z = LN_2(alpha U)        o = LN_3(z + W z + b)        s = cos(o, x)

where `U` are the frames on their way through value and output layer, whose biases stay as the
weights sum to 1. No step but the norms' divisions is anything else than linear, so scoring, which
drops nothing, needs no vector as wide as C for a pair (`FoldedXPool`):

- `z` less its mean and its bias is `alpha U_c` times `gamma_2`, over its deviation `d`, whose
  square is `alpha (U_c U_c^T / C) alpha`. With `a = alpha / d`, what enters LN_3 is `a P + c` when
  its mean is off: `P` is `(I + W)(gamma_2 U_c)` of the frames and `c` is `(I + W) beta_2 + b`, both
  without their means.
- Its variance, the length of `o` and its product with `x` are quadratic forms of `a` whose tables
  belong to the video: frames times frames, or one number for each frame.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, einsum, nn
from torch.nn.functional import normalize

from vidret.data.batches import Texts, Videos
from vidret.heads.frames import inert_frames
from vidret.heads.options import HeadOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class AskingSentences:
    """Sentences at unit length, and what they ask of the frames, divided by √C."""

    sentence: Float[Tensor, "text dim"]
    q: Float[Tensor, "text dim"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweringFrames:
    """Keys, and the frames as the weights sum them."""

    k: Float[Tensor, "video frame dim"]
    u: Float[Tensor, "video frame dim"]
    frame_mask: Bool[Tensor, "video frame"]


class XPool(nn.Module):
    """Cosine of the sentence with the frames that it asks for.

    Args:
        dim: width C of frames and sentences.
        options: dropout behind the linear layer; `clip` starts all linear layers as identities.
    """

    def __init__(self, dim: int, options: HeadOptions) -> None:
        super().__init__()
        self.norm, self.norm_pooled, self.norm_out = (nn.LayerNorm(dim) for _ in range(3))
        self.query, self.key, self.value, self.out, self.linear = (
            nn.Linear(dim, dim) for _ in range(5)
        )
        self.dropout = nn.Dropout(options.dropout)
        if options.start == "clip":
            for layer in (self.query, self.key, self.value, self.out, self.linear):
                nn.init.eye_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video"]:
        """Return the similarity of every text to every video."""
        return self.score(self.prepare_texts(texts), self.prepare_videos(videos))

    def parts(self, texts: Texts, videos: Videos) -> dict[str, Float[Tensor, "text video"]]:
        """Return the similarity as its one part, `sentence`."""
        return self.score_parts(self.prepare_texts(texts), self.prepare_videos(videos))

    weighs_by_text = True
    weighs_by_words = False

    def frame_weights(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video frame"]:
        """Return how much each frame counts for each text."""
        return self._weights(self.prepare_texts(texts), self.prepare_videos(videos))

    def prepare_texts(self, texts: Texts) -> AskingSentences:
        """Do what depends on the texts alone."""
        q = self.query(self.norm(texts.sentence)) / math.sqrt(texts.sentence.shape[1])
        return AskingSentences(sentence=normalize(texts.sentence, dim=-1), q=q)

    def prepare_videos(self, videos: Videos) -> AnsweringFrames:
        """Do what depends on the videos alone."""
        frames = self.norm(inert_frames(videos))
        return AnsweringFrames(
            k=self.key(frames), u=self.out(self.value(frames)), frame_mask=videos.frame_mask
        )

    def score(self, texts: AskingSentences, videos: AnsweringFrames) -> Float[Tensor, "text video"]:
        """Return the similarity of prepared texts and videos."""
        pooled = einsum("tvn,vnc->tvc", self._weights(texts, videos), videos.u)
        z = self.norm_pooled(pooled)
        o = self.norm_out(z + self.dropout(self.linear(z)))
        return einsum("tvc,tc->tv", normalize(o, dim=-1), texts.sentence)

    def score_parts(
        self, texts: AskingSentences, videos: AnsweringFrames
    ) -> dict[str, Float[Tensor, "text video"]]:
        """Return the one part of the similarity of prepared texts and videos."""
        return {"sentence": self.score(texts, videos)}

    def floats_per_pair(self, words: int, frames: int) -> int:  # noqa: ARG002 (every head's shape)
        """How many numbers scoring holds at once for a pair of a text and a video."""
        return 3 * frames + 5 * self.norm.normalized_shape[0]

    def floats_per_video(self, frames: int, dim: int) -> int:
        """How many numbers a prepared video takes, with what is made on the way."""
        return 5 * frames * dim

    def _weights(
        self, texts: AskingSentences, videos: AnsweringFrames
    ) -> Float[Tensor, "text video frame"]:
        scores = einsum("tc,vnc->tvn", texts.q, videos.k)
        return scores.masked_fill(~videos.frame_mask, -torch.inf).softmax(-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedFrames:
    """The tables of some videos; the letters are those of the module's docstring.

    Args:
        keys: one frame behind the other.
        frame_bias: 0 for a frame and minus infinity for padding.
        p: `P` times `gamma_3`, one frame behind the other.
        forms: three tables for each video, one beside the other: for the square of `d`, for the
            variance in LN_3, for the square of `o`.
        linear: of each frame what is linear in `a` in the last two, and in the product of `o` and
            `beta_3`.
    """

    keys: Float[Tensor, "video frame dim"]
    frame_bias: Float[Tensor, "video frame 1"]
    p: Float[Tensor, "video frame dim"]
    forms: Float[Tensor, "video three_frames frame"]
    linear: Float[Tensor, "video 3 frame"]


class FoldedXPool:
    """A head made ready to score; to be made anew once the head has learned more."""

    def __init__(self, head: XPool) -> None:
        self.head = head
        dim = head.linear.in_features
        one = torch.eye(dim, dtype=head.linear.weight.dtype, device=head.linear.weight.device)
        self.onward = (one + head.linear.weight).T
        c = head.norm_pooled.bias @ self.onward + head.linear.bias
        self.c = c - c.mean()
        self.gamma, self.beta = head.norm_out.weight, head.norm_out.bias
        self.eps = (head.norm_pooled.eps, head.norm_out.eps)

    def prepare_texts(self, texts: Texts) -> AskingSentences:
        """Do what depends on the texts alone."""
        return self.head.prepare_texts(texts)

    def prepare_videos(self, videos: Videos) -> FoldedFrames:
        """Do what depends on the videos alone."""
        ready, dim = self.head.prepare_videos(videos), len(self.c)
        u_c = ready.u - ready.u.mean(-1, keepdim=True)
        p = (u_c * self.head.norm_pooled.weight) @ self.onward
        p = p - p.mean(-1, keepdim=True)
        scaled = p * self.gamma
        linear = [2 * p @ self.c / dim, 2 * scaled @ (self.c * self.gamma), 2 * scaled @ self.beta]
        bias = torch.zeros_like(ready.frame_mask, dtype=p.dtype)
        return FoldedFrames(
            keys=ready.k,
            frame_bias=bias.masked_fill_(~ready.frame_mask, -torch.inf)[..., None],
            p=scaled,
            forms=torch.cat([u_c @ u_c.mT / dim, p @ p.mT / dim, scaled @ scaled.mT], dim=1),
            linear=torch.stack(linear, dim=1),
        )

    def score(self, texts: AskingSentences, videos: FoldedFrames) -> Float[Tensor, "text video"]:
        """Return the similarity of prepared texts and videos."""
        frames, c, gamma, beta = videos.keys.shape[1], self.c, self.gamma, self.beta
        alpha = (videos.keys @ texts.q.T).add_(videos.frame_bias).softmax(1)
        spread = ((videos.forms[:, :frames] @ alpha) * alpha).sum(1, keepdim=True)
        a = alpha.mul_((spread.clamp_min_(0) + self.eps[0]).rsqrt_())
        of_norm, of_o = (
            ((videos.forms[:, frames:] @ a).unflatten(1, (2, -1)) * a[:, None]).sum(2).unbind(1)
        )  # [video, text] each
        linear = videos.linear @ a
        deviation = (
            (of_norm + linear[:, 0] + c @ c / len(c)).clamp_min_(0).add_(self.eps[1]).sqrt_()
        )
        along = ((videos.p @ texts.sentence.T) * a).sum(1) + texts.sentence @ (c * gamma)
        squared = (of_o + linear[:, 1] + (c * gamma).square().sum()) / deviation.square()
        squared += (linear[:, 2] + 2 * (c * gamma) @ beta) / deviation + beta @ beta
        along = along / deviation + texts.sentence @ beta
        return (along / squared.clamp_min_(1e-24).sqrt_()).T

    def floats_per_pair(self, words: int, frames: int) -> int:  # noqa: ARG002 (every head's shape)
        """How many numbers scoring holds at once for a pair of a text and a video."""
        return 7 * frames + 10

    def floats_per_video(self, frames: int, dim: int) -> int:
        """How many numbers a prepared video takes, with what is made on the way."""
        return frames * (7 * dim + 3 * frames + 4)
