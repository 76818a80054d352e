"""MGFI, equations 1 to 10: the video as the sentence sees it, and as the words see it.

The equations make one embedding of the video for every text (and, between, for every word). All of
them are weighted sums of the same projected frames `u`, so this module computes the weights, and
puts off everything wide until the words are gone. The algebra is exact:

- The weights of a softmax sum to 1, so `v W_o` is done once per video: `z = weights @ u`.
- Equation 7 sums over words what equation 6 sums over frames. The sums swap: one weight per frame.
- `LN(z)` needs mean and variance of `weights @ u`. With `u_c`, the rows of `u` less their means,
  `z` less its mean is `weights @ u_c`, and its variance is `weights @ G @ weights` for the small
  matrix `G = u_c u_c^T / C`. FF's first layer is linear, too, so it moves to the video's side.
- Where equations 3 and 8 share FF, equation 9 takes the mean before FF's second layer.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, einsum, nn
from torch.nn.functional import gelu, normalize, relu

from vidret.data.batches import Texts, Videos
from vidret.heads.frames import inert_frames, uniform_weights
from vidret.heads.options import DEFAULT_OPTIONS, Activation, HeadOptions, Start
from vidret.heads.words import inert_words

SENTENCE, WORDS, FRAMES = "sentence", "words", "frames"  # the branches; the last is the control


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
        hidden: for each branch its FF's first layer on `u_c`, still without LN's division and
            without its bias.
    """

    k: Float[Tensor, "video frame dim"] | None
    u: Float[Tensor, "video frame dim"]
    gram: Float[Tensor, "video frame frame"]
    hidden: dict[str, Float[Tensor, "video frame hidden"]]
    frame_mask: Bool[Tensor, "video frame"]


class FeedForward(nn.Module):
    """LN and FF of equations 3 and 8; their first layers are taken apart by `MGFI`.

    Args:
        dim: width C of what goes in and comes out.
        hidden: width between the layers.
        start: `clip` makes the second layer silent, so that o = z at the start.
    """

    def __init__(self, dim: int, hidden: int, start: Start) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.first = nn.Linear(dim, hidden)
        self.second = nn.Linear(hidden, dim)
        if start == "clip":
            nn.init.zeros_(self.second.weight)
            nn.init.zeros_(self.second.bias)

    def before_the_norm(
        self, centred: Float[Tensor, "video frame dim"]
    ) -> Float[Tensor, "video frame hidden"]:
        """The first layer on frames without their means: linear, so it may come before LN."""
        return (centred * self.norm.weight) @ self.first.weight.T

    def first_bias(self) -> Float[Tensor, " hidden"]:
        """What LN's bias and the first layer's come to."""
        return self.norm.bias @ self.first.weight.T + self.first.bias


class MGFI(nn.Module):
    """Weigh frames by the sentence and by the words, and compare their sums with the sentence.

    With both branches off this is `mean-ff`, the trained control: equation 3 on the plain mean of
    the frames, so that it differs from `s-f` in the weights alone.

    Args:
        dim: width C of frames, words and sentences.
        sentence_frame: equations 1 to 3, the row "s-f" of Table 1.
        word_frame: equations 4 to 8, the row "w-f" of Table 1.
        options: what the equations leave open.
    """

    word_log_scale: Tensor

    def __init__(
        self,
        dim: int,
        *,
        sentence_frame: bool = True,
        word_frame: bool = True,
        options: HeadOptions = DEFAULT_OPTIONS,
    ) -> None:
        super().__init__()
        both, hidden = sentence_frame and word_frame, options.hidden or dim

        def projection() -> nn.Linear:
            return _projection(dim, options)

        # LN is written alike in (1) and (4), LN and FF in (3) and (8): one module each by default.
        own_norms = options.norms == "own"
        self.norm = nn.LayerNorm(dim) if sentence_frame or not own_norms else None
        self.norm_words = nn.LayerNorm(dim) if own_norms and word_frame else None
        self.norm_frames = nn.LayerNorm(dim) if own_norms else None
        self.query = projection() if sentence_frame else None
        self.word_query = projection() if word_frame else None
        self.key = projection() if sentence_frame or word_frame else None
        self.value = projection()
        self.out = projection()
        self.feed_forward = FeedForward(dim, hidden, options.start)
        self.word_feed_forward = (
            FeedForward(dim, hidden, options.start)
            if options.feed_forward == "own" and both
            else None
        )
        self.activation = options.activation
        self.dropout = nn.Dropout(options.dropout)
        self.sees_end = options.word_set == "words+end"
        literal = options.word_weight_scale == "literal"
        log_scale = torch.tensor(0.0 if literal else -0.5 * math.log(dim))
        if word_frame and options.word_weight_scale == "learnable":
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

    @property
    def weighs_by_text(self) -> bool:
        """Whether a branch is on."""
        return self.key is not None

    @property
    def weighs_by_words(self) -> bool:
        """Whether that of the words is."""
        return self.word_query is not None

    def frame_weights(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video frame"]:
        """Return how much each frame counts for each text; the mean of both branches."""
        return _mean(self._weights(self.prepare_texts(texts), self.prepare_videos(videos)))

    def prepare_texts(self, texts: Texts) -> TextSide:
        """Do what equations 1 and 4 ask of the texts."""
        words, word_mask = self.some_words(texts)
        q = q_words = None
        if self.query is not None:
            q = self.query(self.normed(texts.sentence))  # (1)
        if self.word_query is not None:
            q_words = self.word_query(self.normed(words, self.norm_words))  # (4)
        return TextSide(
            sentence=normalize(texts.sentence, dim=-1), q=q, q_words=q_words, word_mask=word_mask
        )

    def prepare_videos(self, videos: Videos) -> VideoSide:
        """Do what equations 1 to 3 ask of the frames before there is a text."""
        x_v = self.normed(inert_frames(videos), self.norm_frames)
        u = self.out(self.value(x_v))  # v of (1), W_o of (2) and (6)
        u_c = u - u.mean(-1, keepdim=True)
        before = {part: part.before_the_norm(u_c) for part in set(self.feed_forwards().values())}
        return VideoSide(
            k=None if self.key is None else self.key(x_v),  # (1)
            u=u,
            gram=u_c @ u_c.mT / u.shape[-1],
            hidden={name: before[part] for name, part in self.feed_forwards().items()},
            frame_mask=videos.frame_mask,
        )

    def score(self, texts: TextSide, videos: VideoSide) -> Float[Tensor, "text video"]:
        """Return equation 10 for prepared texts and videos."""
        weights = self._weights(texts, videos)
        hidden = {name: self._hidden(name, w, videos) for name, w in weights.items()}
        o = self._embedding(_mean(weights), hidden, videos)
        return einsum("tvc,tc->tv", o, texts.sentence) / _length(o)  # (10)

    def score_parts(
        self, texts: TextSide, videos: VideoSide
    ) -> dict[str, Float[Tensor, "text video"]]:
        """Return the parts of equation 10 for prepared texts and videos."""
        weights = self._weights(texts, videos)
        hidden = {name: self._hidden(name, w, videos) for name, w in weights.items()}
        divisor = len(weights) * _length(
            self._embedding(_mean(weights), hidden, videos, drop=False)
        )
        u_x = einsum("vnc,tc->tvn", videos.u, texts.sentence)
        parts = {}
        for name, w in weights.items():
            second = self.feed_forward_of(name).second
            from_hidden = einsum("tvh,th->tv", hidden[name], texts.sentence @ second.weight)
            from_bias = (texts.sentence @ second.bias)[:, None]
            parts[name] = ((w * u_x).sum(-1) + from_hidden + from_bias) / divisor
        return parts

    def floats_per_pair(self, words: int, frames: int) -> int:
        """How many numbers scoring holds at once for a pair of a text and a video.

        Word against frame: a, a/√C, its softmax, and one more while they are made. The weights and
        their mean. FF's hidden layer of both branches, with what its activation needs, and o.
        """
        hidden, dim = self.feed_forward.first.out_features, self.feed_forward.first.in_features
        return 4 * (words + 1) * frames + 8 * frames + 6 * hidden + 4 * dim

    def floats_per_video(self, frames: int, dim: int) -> int:
        """How many numbers a prepared video takes, and as many again while it is prepared."""
        hidden = self.feed_forward.first.out_features * len(set(self.feed_forwards().values()))
        return 2 * (frames + 1) * (2 * dim + 2 * frames + 2 * hidden)

    def branches(self) -> tuple[str, ...]:
        """The branches that are on; the control where none is."""
        named = ((SENTENCE, self.query), (WORDS, self.word_query))
        return tuple(name for name, query in named if query is not None) or (FRAMES,)

    def feed_forward_of(self, branch: str) -> FeedForward:
        """LN and FF of a branch."""
        own = self.word_feed_forward if branch == WORDS else None
        return self.feed_forward if own is None else own

    def feed_forwards(self) -> dict[str, FeedForward]:
        """LN and FF of every branch."""
        return {name: self.feed_forward_of(name) for name in self.branches()}

    def some_words(
        self, texts: Texts
    ) -> tuple[Float[Tensor, "text some dim"], Bool[Tensor, "text some"]]:
        """What the word branch sees: equation 7 needs a word, so an empty caption has its end.

        With equal projections the o2 of such a caption is its o1.
        """
        return inert_words(texts, with_end=self.sees_end)

    def normed(
        self, x: Float[Tensor, "*row dim"], own: nn.LayerNorm | None = None
    ) -> Float[Tensor, "*row dim"]:
        """LN of equations 1 and 4; the one of all where there is none of its own."""
        norm = self.norm if own is None else own
        assert norm is not None
        return norm(x)

    def _weights(
        self, texts: TextSide, videos: VideoSide
    ) -> dict[str, Float[Tensor, "text video frame"]]:
        """The weight of each frame in z of equation 2 and in õ of equation 7."""
        weights = {}
        if texts.q is not None:
            weights[SENTENCE] = self._sentence_weights(texts.q, videos)
        if texts.q_words is not None:
            weights[WORDS] = self._word_weights(texts.q_words, texts.word_mask, videos)
        return weights or {FRAMES: uniform_weights(videos.frame_mask, texts.sentence)}

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
        self, branch: str, weights: Float[Tensor, "text video frame"], videos: VideoSide
    ) -> Float[Tensor, "text video hidden"]:
        """FF's hidden layer on LN(z), equations 3 and 8, without making z."""
        part = self.feed_forward_of(branch)
        variance = (einsum("tvn,vnm->tvm", weights, videos.gram) * weights).sum(-1, keepdim=True)
        deviation = (variance.clamp_min(0) + part.norm.eps).sqrt()  # rounding may go below zero
        linear = einsum("tvn,vnh->tvh", weights, videos.hidden[branch]) / deviation
        return ACTIVATIONS[self.activation](linear + part.first_bias())

    def _embedding(
        self,
        weights: Float[Tensor, "text video frame"],
        hidden: dict[str, Float[Tensor, "text video hidden"]],
        videos: VideoSide,
        *,
        drop: bool = True,
    ) -> Float[Tensor, "text video dim"]:
        """Equation 9, from the mean weights and the hidden layers of both branches."""
        if self.word_feed_forward is None:
            output = self.feed_forward.second(_mean(hidden))
        else:
            output = _mean(
                {name: self.feed_forward_of(name).second(each) for name, each in hidden.items()}
            )
        if drop:
            output = self.dropout(output)
        return einsum("tvn,vnc->tvc", weights, videos.u) + output  # (3), (8), (9)


def quick_gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """CLIP's activation; the paper names none."""
    return x * (1.702 * x).sigmoid()


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "quick_gelu": quick_gelu,
    "gelu": gelu,
    "relu": relu,
}


def _projection(dim: int, options: HeadOptions) -> nn.Linear:
    """A C x C matrix of equations 1, 2 and 4; as the identity it starts in CLIP's space."""
    linear = nn.Linear(dim, dim, bias=options.projection_bias)
    if options.start == "clip":
        nn.init.eye_(linear.weight)
        if options.projection_bias:
            nn.init.zeros_(linear.bias)
    return linear


def _mean(branches: dict[str, Float[Tensor, "*shape"]]) -> Float[Tensor, "*shape"]:
    first, *others = branches.values()
    return sum(others, first) / len(branches)


def _length(o: Float[Tensor, "text video dim"]) -> Float[Tensor, "text video"]:
    return o.norm(dim=-1).clamp_min(1e-12)
