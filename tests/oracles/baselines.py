"""The heads of other papers, a pair of a text and a video at a time, in float64.

Written from the papers' descriptions as docs/baselines.md has them, with plain loops. Real words
and real frames only; weights by the names under which a head saves them, a matrix as (out, in).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from oracles.paper import Array, activate, cosine, layer_norm, softmax

ROWS_OF_POSITIONS = 77
SLOTS = 64

Weights = Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What was chosen beside the weights."""

    activation: str = "quick_gelu"
    with_end: bool = False
    attention_heads: int = 1


def linear(x: Array, weights: Weights, name: str) -> Array:
    """A layer with its bias."""
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def norm(x: Array, weights: Weights, name: str) -> Array:
    """A layer norm."""
    return layer_norm(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def unit(x: Array) -> Array:
    """A vector of length 1."""
    return x / np.linalg.norm(x)


def positions(table: Array, count: int) -> Array:
    """The vectors of the first places, or where there are too many places a stretched table."""
    if count <= ROWS_OF_POSITIONS:
        return table[:count]
    places = np.linspace(0, ROWS_OF_POSITIONS - 1, count)
    columns = [np.interp(places, np.arange(len(table)), column) for column in table.T]
    return np.stack(columns, axis=1)


def transformer_layer(x: Array, weights: Weights, name: str, choices: Choices) -> Array:
    """Pre-norm attention and feed-forward, each added to what went in."""
    count, dim = x.shape
    width = dim // choices.attention_heads
    projected = linear(norm(x, weights, f"{name}.norm"), weights, f"{name}.projections")
    q, k, v = projected[:, :dim], projected[:, dim : 2 * dim], projected[:, 2 * dim :]
    seen = np.empty((count, dim))
    for head in range(choices.attention_heads):
        mine = slice(head * width, (head + 1) * width)
        for token in range(count):
            looks = softmax(
                np.array([q[token, mine] @ k[o, mine] for o in range(count)]) / width**0.5
            )
            seen[token, mine] = sum(look * v[o, mine] for o, look in enumerate(looks))
    x = x + linear(seen, weights, f"{name}.out")
    part = f"{name}.feed_forward"
    inner = activate(
        linear(norm(x, weights, f"{part}.norm"), weights, f"{part}.first"), choices.activation
    )
    return x + linear(inner, weights, f"{part}.second")


def stack(x: Array, weights: Weights, name: str, choices: Choices) -> Array:
    """As many layers as there are weights for."""
    number = 0
    while f"{name}.{number}.norm.weight" in weights:
        x = transformer_layer(x, weights, f"{name}.{number}", choices)
        number += 1
    return x


def mean_of_units(frames: Array) -> Array:
    """The mean of frames, each of length 1."""
    return np.mean([unit(frame) for frame in frames], axis=0)


def seq_transf(x_t: Array, _: Array, x_v: Array, weights: Weights, choices: Choices) -> float:
    """CLIP4Clip: frames and positions through the layers, the frames once more, their mean."""
    x = x_v + positions(weights["along.positions.table"], len(x_v))
    return cosine(mean_of_units(stack(x, weights, "along.layers", choices) + x_v), x_t)


def seq_lstm(x_t: Array, _: Array, x_v: Array, weights: Weights, choices: Choices) -> float:  # noqa: ARG001
    """CLIP4Clip: the states of an LSTM and the frames, their mean."""
    dim = len(x_t)
    h, c, out = np.zeros(dim), np.zeros(dim), []
    for frame in x_v:
        gates = (
            weights["along.lstm.weight_ih_l0"] @ frame
            + weights["along.lstm.bias_ih_l0"]
            + weights["along.lstm.weight_hh_l0"] @ h
            + weights["along.lstm.bias_hh_l0"]
        )
        i, f, g, o = gates[:dim], gates[dim : 2 * dim], gates[2 * dim : 3 * dim], gates[3 * dim :]
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h + frame)
    return cosine(mean_of_units(np.array(out)), x_t)


def tight_transf(x_t: Array, _: Array, x_v: Array, weights: Weights, choices: Choices) -> float:
    """CLIP4Clip: sentence and frames in one transformer, a score of the first token, over 100."""
    x = np.vstack([x_t, x_v])
    x = x + positions(weights["positions.table"], len(x))
    first = stack(x, weights, "layers", choices)[0]
    pooled = activate(linear(norm(first, weights, "norm"), weights, "pooler"), choices.activation)
    return float(linear(pooled, weights, "scorer")[0] / 100)


def xpool(x_t: Array, _: Array, x_v: Array, weights: Weights, choices: Choices) -> float:  # noqa: ARG001
    """X-Pool: the frames that the sentence asks for, a norm, a linear layer beside it, a norm."""
    frames = norm(x_v, weights, "norm")
    q = linear(norm(x_t, weights, "norm"), weights, "query")
    k, v = linear(frames, weights, "key"), linear(frames, weights, "value")
    attended = linear(softmax(k @ q / np.sqrt(len(x_t))) @ v, weights, "out")
    z = norm(attended, weights, "norm_pooled")
    o = norm(z + linear(z, weights, "linear"), weights, "norm_out")
    return cosine(o, x_t)


def wti(x_t: Array, x_w: Array, x_v: Array, weights: Weights, choices: Choices) -> float:
    """DRL: each word with its best frame and each frame with its best word, weighed."""
    x_w = np.vstack([x_w, x_t]) if choices.with_end else x_w
    of_words, of_frames = (
        token_weights(x_w, weights, "of_words"),
        token_weights(x_v, weights, "of_frames"),
    )
    cosines = np.array([[cosine(word, frame) for frame in x_v] for word in x_w])
    by_words = sum(of_words[w] * cosines[w].max() for w in range(len(x_w)))
    by_frames = sum(of_frames[n] * cosines[:, n].max() for n in range(len(x_v)))
    return float((by_words + by_frames) / 2)


def token_weights(tokens: Array, weights: Weights, name: str) -> Array:
    """The softmax over a row of what two layers make of each token."""
    inner = np.maximum(linear(tokens, weights, f"{name}.first"), 0)
    return softmax(linear(inner, weights, f"{name}.second")[:, 0])


def clip2video(x_t: Array, x_w: Array, x_v: Array, weights: Weights, choices: Choices) -> float:
    """CLIP2Video: the mean of what frames with differences say, and of what centres gather."""
    x_w = np.vstack([x_w, x_t]) if choices.with_end else x_w
    pooled = mean_of_units(with_differences(x_v, weights, choices))
    sparse = x_v[::2]
    places = positions(weights["positions.table"], len(sparse))
    once_more = transformer_layer(sparse + places, weights, "sparse_layer", choices) + sparse
    aligned = gathered(np.vstack([x_v, once_more]), weights) @ gathered(x_w, weights)
    return float((cosine(pooled, x_t) + aligned) / 2)


def with_differences(x_v: Array, weights: Weights, choices: Choices) -> Array:
    """The frames after a transformer over frames and, between them, what changes."""
    places = positions(weights["positions.table"], len(x_v))
    of_changes, of_frames = weights["differences.kinds"]
    tokens = [x_v[0] + places[0] + of_frames]
    if len(x_v) > 1:
        changes = x_v[1:] - x_v[:-1] + places[1:]
        changes = transformer_layer(changes, weights, "differences.layer", choices)
        changes = 2 * sigmoid(norm(changes, weights, "differences.norm")) - 1
        for number, change in enumerate(changes):
            tokens.append(change + places[number] + of_changes)
            tokens.append(x_v[number + 1] + places[number + 1] + of_frames)
    return stack(np.array(tokens), weights, "layers", choices)[::2] + x_v


def gathered(tokens: Array, weights: Weights) -> Array:
    """What a video or a text comes to at the centres: unit residuals, their mean, unit again."""
    drawing, places = weights["centres.drawing"], weights["centres.places"]
    at_centres = np.zeros_like(places)
    for token in tokens:
        shares = softmax(drawing @ token)
        for centre, share in enumerate(shares):
            at_centres[centre] += share * (token - places[centre])
    return unit(np.mean([unit(one) for one in at_centres], axis=0))


def adaclip(x_t: Array, _: Array, x_v: Array, weights: Weights, choices: Choices) -> float:
    """AdaCLIP: three layers score each frame, a softmax weighs them."""
    scores = []
    for frame in x_v:
        inner = activate(linear(frame, weights, "weigh.first"), choices.activation)
        inner = activate(linear(inner, weights, "weigh.second"), choices.activation)
        scores.append(linear(inner, weights, "weigh.last")[0])
    return cosine(softmax(np.array(scores)) @ x_v, x_t)


def ea_clip4clip(x_t: Array, _: Array, x_v: Array, weights: Weights, choices: Choices) -> float:  # noqa: ARG001
    """EA-CLIP4Clip, as reconstructed: excitation of the frames by their places, aggregation."""
    frames = np.array([unit(frame) for frame in x_v])
    slots = [n if len(x_v) <= SLOTS else n * SLOTS // len(x_v) for n in range(len(x_v))]
    excited = sigmoid(squeeze(frames.mean(1), slots, weights, "weigh.excite"))
    frames = frames * excited[:, None]
    shares = softmax(squeeze(frames.mean(1), slots, weights, "weigh.aggregate"))
    return cosine(shares @ frames, x_t)


def squeeze(values: Array, slots: list[int], weights: Weights, name: str) -> Array:
    """One number a frame through two layers that have a place for each slot."""
    means = np.zeros(SLOTS)
    for slot in set(slots):
        means[slot] = np.mean(
            [value for value, own in zip(values, slots, strict=True) if own == slot]
        )
    inner = np.maximum(linear(means, weights, f"{name}.0"), 0)
    return linear(inner, weights, f"{name}.2")[slots]


def sigmoid(x: Array) -> Array:
    """The logistic function."""
    return 1 / (1 + np.exp(-x))


SCORES: dict[str, Callable[[Array, Array, Array, Weights, Choices], float]] = {
    "seq-transf": seq_transf,
    "seq-lstm": seq_lstm,
    "tight-transf": tight_transf,
    "xpool": xpool,
    "wti": wti,
    "clip2video": clip2video,
    "adaclip": adaclip,
    "ea-clip4clip": ea_clip4clip,
}
