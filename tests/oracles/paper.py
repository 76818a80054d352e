"""Equations 1 to 14 of the paper as printed, so that the heads are checked against something else.

One pair of a text and a video at a time, float64, no batch and no padding: the arrays hold real
words and real frames only. A matrix `w` is applied as `x @ w`, hence has the shape (in, out).
Score matrices are [text, video]. Names are the paper's: `x_t` sentence, `x_w` words, `x_v` frames,
`x_a` audio. What the paper leaves open is settled in the docstring of the function concerned.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NORMAL = NormalDist()  # GELU is x times its share below x


def absent() -> Array:
    """What is not there."""
    return np.empty(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MGFIWeights:
    """What equations 1 to 8 learn: LN and FF are written the same in 3 and 8, so they are one.

    What is empty is not there: a bias that nobody prints, and the layers of the words and the
    frames alone, for which then those above them serve.
    """

    norm1_weight: Array
    norm1_bias: Array
    w_q: Array
    w_q_words: Array
    w_k: Array
    w_v: Array
    w_o: Array
    norm2_weight: Array
    norm2_bias: Array
    ff_w1: Array
    ff_b1: Array
    ff_w2: Array
    ff_b2: Array
    b_q: Array = field(default_factory=absent)
    b_q_words: Array = field(default_factory=absent)
    b_k: Array = field(default_factory=absent)
    b_v: Array = field(default_factory=absent)
    b_o: Array = field(default_factory=absent)
    norm_words_weight: Array = field(default_factory=absent)
    norm_words_bias: Array = field(default_factory=absent)
    norm_frames_weight: Array = field(default_factory=absent)
    norm_frames_bias: Array = field(default_factory=absent)
    word_norm2_weight: Array = field(default_factory=absent)
    word_norm2_bias: Array = field(default_factory=absent)
    word_ff_w1: Array = field(default_factory=absent)
    word_ff_b1: Array = field(default_factory=absent)
    word_ff_w2: Array = field(default_factory=absent)
    word_ff_b2: Array = field(default_factory=absent)


@dataclass(frozen=True, slots=True, kw_only=True)
class CMFIWeights:
    """What equation 11 learns, and the vector that stands in for a missing sound.

    Where that is empty, the mean over the videos that have sound stands in.
    """

    norm_weight: Array
    norm_bias: Array
    linear_w: Array
    linear_b: Array
    null: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The rows "s-f" and "w-f" of Table 1, the scale that `word_frame` takes, what else is open.

    `with_end` counts the end token, which is the sentence, among the words. Without both of the
    first it is the control, which is not the paper's: equation 3 on the plain mean.
    """

    sentence_frame: bool = True
    word_frame: bool = True
    word_scale: float = 1.0
    activation: str = "quick_gelu"
    with_end: bool = False


def layer_norm(x: Array, weight: Array, bias: Array) -> Array:
    """LN of equations 1, 3, 4, 8 and 11, over the last axis."""
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias


def activate(x: Array, name: str) -> Array:
    """The activation inside FF of equations 3 and 8; the paper names none."""
    if name == "relu":
        return np.maximum(x, 0)
    if name == "gelu":
        return x * np.array([NORMAL.cdf(float(one)) for one in x.flat]).reshape(x.shape)
    return x / (1 + np.exp(-1.702 * x))


def softmax(x: Array) -> Array:
    """The softmax of equations 2, 6 and 7, over the last axis."""
    exponentials = np.exp(x - x.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def cosine(x: Array, y: Array) -> float:
    """The right-hand side of equations 10 and 11."""
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))


def projected(x: Array, matrix: Array, bias: Array) -> Array:
    """A C x C matrix of equations 1 to 6, and its bias where there is one."""
    return x @ matrix + (bias if bias.size else 0)


def norm_frames(x_v: Array, weights: MGFIWeights) -> Array:
    """LN of the frames in equation 1."""
    if weights.norm_frames_weight.size:
        return layer_norm(x_v, weights.norm_frames_weight, weights.norm_frames_bias)
    return layer_norm(x_v, weights.norm1_weight, weights.norm1_bias)


def norm_words(x_w: Array, weights: MGFIWeights) -> Array:
    """LN of the words in equation 4."""
    if weights.norm_words_weight.size:
        return layer_norm(x_w, weights.norm_words_weight, weights.norm_words_bias)
    return layer_norm(x_w, weights.norm1_weight, weights.norm1_bias)


def with_feed_forward(z: Array, weights: MGFIWeights, activation: str) -> Array:
    """z + FF(LN(z)) of equation 3: two linear layers, between them a nonlinear activation."""
    x = layer_norm(z, weights.norm2_weight, weights.norm2_bias)
    inner = activate(x @ weights.ff_w1 + weights.ff_b1, activation)
    return z + inner @ weights.ff_w2 + weights.ff_b2


def with_word_feed_forward(z: Array, weights: MGFIWeights, activation: str) -> Array:
    """z + FF(LN(z)) of equation 8, where that has weights of its own."""
    if not weights.word_ff_w1.size:
        return with_feed_forward(z, weights, activation)
    x = layer_norm(z, weights.word_norm2_weight, weights.word_norm2_bias)
    inner = activate(x @ weights.word_ff_w1 + weights.word_ff_b1, activation)
    return z + inner @ weights.word_ff_w2 + weights.word_ff_b2


def sentence_frame(x_t: Array, x_v: Array, weights: MGFIWeights, variant: Variant) -> Array:
    """Equations 1 to 3: o1, the video as the sentence sees it."""
    dim = len(x_t)
    normed = layer_norm(x_t, weights.norm1_weight, weights.norm1_bias)
    q = projected(normed, weights.w_q, weights.b_q)  # (1)
    k = projected(norm_frames(x_v, weights), weights.w_k, weights.b_k)  # (1)
    v = projected(norm_frames(x_v, weights), weights.w_v, weights.b_v)  # (1)
    z = projected(softmax(q @ k.T / np.sqrt(dim)) @ v, weights.w_o, weights.b_o)  # (2)
    return with_feed_forward(z, weights, variant.activation)  # (3)


def word_frame(x_t: Array, x_w: Array, x_v: Array, weights: MGFIWeights, variant: Variant) -> Array:
    """Equations 4 to 8: o2, the video as the words see it.

    `word_scale` is a factor inside the softmax of equation 7, which prints none; 1/√C makes it
    like equation 6. The maximum there is over the frames, as the sentence before equation 4 says.
    """
    dim = x_w.shape[-1]
    x_w = np.vstack([x_w, x_t]) if variant.with_end else x_w
    k = projected(norm_frames(x_v, weights), weights.w_k, weights.b_k)  # (1)
    v = projected(norm_frames(x_v, weights), weights.w_v, weights.b_v)  # (1)
    q = projected(norm_words(x_w, weights), weights.w_q_words, weights.b_q_words)  # (4)
    a = q @ k.T  # (5) [word, frame]
    z = projected(softmax(a / np.sqrt(dim)) @ v, weights.w_o, weights.b_o)  # (6) [word, dim]
    o = softmax(variant.word_scale * a.max(axis=1)) @ z  # (7)
    return with_word_feed_forward(o, weights, variant.activation)  # (8)


def plain_mean(x_v: Array, weights: MGFIWeights, variant: Variant) -> Array:
    """The control: equations 1 to 3 with 1/N in place of the softmax."""
    v = projected(norm_frames(x_v, weights), weights.w_v, weights.b_v)
    z = np.mean(projected(v, weights.w_o, weights.b_o), axis=0)
    return with_feed_forward(z, weights, variant.activation)


def video_embedding(
    x_t: Array, x_w: Array, x_v: Array, weights: MGFIWeights, variant: Variant
) -> Array:
    """Equation 9: o; o1 or o2 alone where the variant has one of them."""
    granularities = []
    if variant.sentence_frame:
        granularities.append(sentence_frame(x_t, x_v, weights, variant))
    if variant.word_frame:
        granularities.append(word_frame(x_t, x_w, x_v, weights, variant))
    if not granularities:
        return plain_mean(x_v, weights, variant)
    return np.sum(granularities, axis=0) / len(granularities)  # (9)


def video_text_similarity(
    x_t: Array, x_w: Array, x_v: Array, weights: MGFIWeights, variant: Variant
) -> float:
    """Equation 10: s(v, t) of one pair; x_t is the sentence itself, without LN or projection."""
    return cosine(video_embedding(x_t, x_w, x_v, weights, variant), x_t)  # (10)


def mean_pooling_similarity(x_t: Array, x_v: Array) -> float:
    """The row "base" of Table 1, CLIP4Clip's meanP: unit frames, their mean, its cosine."""
    return cosine(np.mean([frame / np.linalg.norm(frame) for frame in x_v], axis=0), x_t)


def audio_text_similarity(x_t: Array, x_a: Array | None, weights: CMFIWeights) -> float:
    """Equation 11: s(a, t) of one pair; without sound the null vector replaces L(LN(x_a))."""
    if x_a is None:
        return cosine(weights.null, x_t)
    normed = layer_norm(x_a, weights.norm_weight, weights.norm_bias)
    return cosine(normed @ weights.linear_w + weights.linear_b, x_t)  # (11)


def video_text_similarities(
    sentences: Sequence[Array],
    words: Sequence[Array],
    frames: Sequence[Array],
    weights: MGFIWeights,
    variant: Variant,
) -> Array:
    """Equation 10 for every text and every video."""
    scores = np.empty((len(sentences), len(frames)))
    for text, (x_t, x_w) in enumerate(zip(sentences, words, strict=True)):
        for video, x_v in enumerate(frames):
            scores[text, video] = video_text_similarity(x_t, x_w, x_v, weights, variant)
    return scores


def audio_text_similarities(
    sentences: Sequence[Array], audio: Sequence[Array | None], weights: CMFIWeights
) -> Array:
    """Equation 11 for every text and every video."""
    scores = np.empty((len(sentences), len(audio)))
    for text, x_t in enumerate(sentences):
        for video, x_a in enumerate(audio):
            if x_a is not None or weights.null.size:
                scores[text, video] = audio_text_similarity(x_t, x_a, weights)
    if not weights.null.size:
        heard = [x_a is not None for x_a in audio]
        for row in scores:
            row[np.logical_not(heard)] = np.mean(row[heard])
    return scores


def video_to_text_loss(s_vt: Array, s_at: Array, tau: float, videos: Sequence[int]) -> float:
    """Equation 12, over the texts of each video, with the temperature that the paper leaves out.

    A text j of the same video as i (equal numbers in `videos`) is no negative, so it is left out.

    The printed denominator has s(a_i, t_i) in every term, where it would cancel; equation 13 shows
    that the sum is meant to run over its text, too.
    """
    logits = np.exp(tau) * (s_vt + s_at)
    batch = len(logits)
    total = 0.0
    for i in range(batch):
        denominator = sum(np.exp(logits[j, i]) for j in rivals(i, videos))
        total += np.log(np.exp(logits[i, i]) / denominator)
    return float(-total / batch)  # (12)


def text_to_video_loss(s_vt: Array, s_at: Array, tau: float, videos: Sequence[int]) -> float:
    """Equation 13, over the videos of each text."""
    logits = np.exp(tau) * (s_vt + s_at)
    batch = len(logits)
    total = 0.0
    for i in range(batch):
        denominator = sum(np.exp(logits[i, j]) for j in rivals(i, videos))
        total += np.log(np.exp(logits[i, i]) / denominator)
    return float(-total / batch)  # (13)


def rivals(i: int, videos: Sequence[int]) -> list[int]:
    """The pairs over which the denominators of equations 12 and 13 run for pair i."""
    return [j for j, video in enumerate(videos) if j == i or video != videos[i]]


def loss(s_vt: Array, s_at: Array, tau: float, videos: Sequence[int]) -> float:
    """Equation 14, as the mean of the two directions, not the printed sum: half of it."""
    text_to_video = text_to_video_loss(s_vt, s_at, tau, videos)
    return (text_to_video + video_to_text_loss(s_vt, s_at, tau, videos)) / 2  # (14)
