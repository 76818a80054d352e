"""HCMI as we reconstruct it, in loops, so that the head is checked against something else.

Written from the formulas of docs/hcmi.md and not from the head: one caption and one video at a
time, float64, no batch and no padding. Weights go by the names that the head gives them; a matrix
`w` is applied as `w @ x`, as it lies in a file of weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from oracles.paper import activate, layer_norm, softmax

Array = NDArray[np.float64]
Weights = Mapping[str, Array]

NEIGHBOURS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """How a head is built; the names are those of its options."""

    heads: int
    frame_layers: int
    word_layers: int
    clustering: str = "density"
    clips: int = 3
    phrases: int = 3
    levels: tuple[str, ...] = ("frame-word", "clip-phrase", "video-sentence")
    activation: str = "quick_gelu"
    with_end: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """One side of a pair: tokens, groups and the whole, all at unit length, and their weights."""

    fine: list
    fine_weights: list
    coarse: list
    coarse_weights: list
    whole: Array


def similarities(
    sentences: Sequence[Array],
    words: Sequence[Array],
    frames: Sequence[Array],
    weights: Weights,
    variant: Variant,
) -> dict[str, Array]:
    """Each level for every caption and every video; the score is their mean."""
    texts = [
        text_side(x_t, x_w, weights, variant) for x_t, x_w in zip(sentences, words, strict=True)
    ]
    videos = [video_side(x_v, weights, variant) for x_v in frames]
    found = {name: np.empty((len(texts), len(videos))) for name in variant.levels}
    for row, text in enumerate(texts):
        for column, video in enumerate(videos):
            for name in variant.levels:
                found[name][row, column] = level(name, text, video)
    return found


def level(name: str, text: Sides, video: Sides) -> float:
    """One level of one pair."""
    if name == "frame-word":
        return interaction(text.fine, text.fine_weights, video.fine, video.fine_weights)
    if name == "clip-phrase":
        return interaction(text.coarse, text.coarse_weights, video.coarse, video.coarse_weights)
    return float(text.whole @ video.whole)


def interaction(words: list, of_words: list, frames: list, of_frames: list) -> float:
    """Half of what words find among frames, half of what frames find among words."""
    total = 0.0
    for word, weight in zip(words, of_words, strict=True):
        total += weight * max(float(word @ frame) for frame in frames)
    for frame, weight in zip(frames, of_frames, strict=True):
        total += weight * max(float(word @ frame) for word in words)
    return total / 2


def video_side(x_v: Array, weights: Weights, variant: Variant) -> Sides:
    """Frames, clips and the whole of one video."""
    mean = np.zeros(x_v.shape[1])
    places = None
    if variant.frame_layers:
        places = weights["frames.attention.positions.table"][: len(x_v)]
    tokens = attended(x_v, places, weights, "frames", variant.frame_layers, variant)
    for frame in tokens:
        mean += unit(frame) / len(tokens)
    return side(tokens, mean, weights, "frames", variant.clips, variant)


def text_side(x_t: Array, x_w: Array, weights: Weights, variant: Variant) -> Sides:
    """Words, phrases and the whole of one caption."""
    given = np.vstack([x_t, x_w]) if variant.with_end else x_w
    tokens = attended(given, None, weights, "words", variant.word_layers, variant)
    return side(tokens, unit(x_t), weights, "words", variant.phrases, variant)


def side(
    tokens: Array, base: Array, weights: Weights, name: str, most: int, variant: Variant
) -> Sides:
    """Tokens, groups and the whole at unit length; what no level asks for is left empty."""
    fine = fine_weights = coarse = coarse_weights = []
    whole = base
    if "frame-word" in variant.levels:
        fine = [unit(token) for token in tokens]
        fine_weights = token_weights(tokens, weights, f"{name}.weights")
    if variant.levels != ("frame-word",):
        groups = grouped(tokens, weights, f"{name}.aggregation", most, variant)
    if "clip-phrase" in variant.levels:
        coarse = [unit(group) for group in groups]
        coarse_weights = token_weights(groups, weights, f"{name}.group_weights")
    if "video-sentence" in variant.levels:
        shares = token_weights(groups, weights, f"{name}.summary.weights")
        pooled = sum(share * unit(group) for share, group in zip(shares, groups, strict=True))
        whole = base + affine(pooled, weights, f"{name}.summary.out")
    return Sides(
        fine=fine,
        fine_weights=fine_weights,
        coarse=coarse,
        coarse_weights=coarse_weights,
        whole=unit(whole),
    )


def attended(
    tokens: Array,
    places: Array | None,
    weights: Weights,
    name: str,
    layers: int,
    variant: Variant,
) -> Array:
    """The tokens and what their blocks add; places are looked at and not handed on."""
    placed = tokens if places is None else tokens + places
    x = placed
    for number in range(layers):
        x = block(x, len(x), weights, f"{name}.attention.layers.{number}", variant)
    return tokens + x - placed


def block(x: Array, asking: int, weights: Weights, name: str, variant: Variant) -> Array:
    """The first tokens of some, after they have looked at all and gone through a feed-forward."""
    dim = x.shape[1]
    width = dim // variant.heads
    normed = normal(x, weights, f"{name}.norm")
    projected = np.array([affine(row, weights, f"{name}.projections") for row in normed])
    q, k, v = projected[:, :dim], projected[:, dim : 2 * dim], projected[:, 2 * dim :]
    result = []
    for row in range(asking):
        seen = np.zeros(dim)
        for head in range(variant.heads):
            part = slice(head * width, (head + 1) * width)
            scores = np.array([q[row, part] @ k[other, part] for other in range(len(x))])
            for share, other in zip(softmax(scores / np.sqrt(width)), range(len(x)), strict=True):
                seen[part] += share * v[other, part]
        y = x[row] + affine(seen, weights, f"{name}.out")
        inner = affine(
            normal(y, weights, f"{name}.feed_forward.norm"), weights, f"{name}.feed_forward.first"
        )
        active = activate(inner, variant.activation)
        result.append(y + affine(active, weights, f"{name}.feed_forward.second"))
    return np.array(result)


def grouped(tokens: Array, weights: Weights, name: str, most: int, variant: Variant) -> Array:
    """Groups of tokens, after they have looked at one another and at the tokens."""
    says, shares = says_of(tokens, weights, f"{name}.grouping"), []
    if variant.clustering == "soft":
        prototypes = weights[f"{name}.grouping.prototypes"]
        normed = normal(tokens, weights, f"{name}.grouping.norm")
        share = softmax(normed @ prototypes.T / np.sqrt(tokens.shape[1]))  # [token, group]
        for group in range(most):
            wanted = share[:, group] * np.exp(says)
            shares.append(wanted / wanted.sum())
    else:
        find = density_groups if variant.clustering == "density" else even_groups
        for members in find(tokens, most):
            wanted = np.array([np.exp(says[n]) if n in members else 0 for n in range(len(tokens))])
            shares.append(wanted / wanted.sum())
    merged = np.array(shares) @ tokens
    return block(np.vstack([merged, tokens]), len(merged), weights, f"{name}.layer", variant)


def says_of(tokens: Array, weights: Weights, name: str) -> Array:
    """What a token says of its own weight in its group."""
    normed = normal(tokens, weights, f"{name}.norm")
    return np.array([affine(row, weights, f"{name}.weight")[0] for row in normed])


def even_groups(tokens: Array, most: int) -> list[set[int]]:
    """Equal stretches."""
    number = min(most, len(tokens))
    return [
        {n for n in range(len(tokens)) if n * number // len(tokens) == group}
        for group in range(number)
    ]


def density_groups(tokens: Array, most: int) -> list[set[int]]:
    """Density peaks: the densest tokens far from denser ones, and who is nearest to each."""
    count = len(tokens)
    apart = [[float(np.linalg.norm(unit(one) - unit(other))) for other in tokens] for one in tokens]
    density = []
    for one in range(count):
        others = sorted(apart[one][other] for other in range(count) if other != one)
        nearest = [distance**2 for distance in others[:NEIGHBOURS]]
        density.append(float(np.exp(-np.mean(nearest))) if nearest else 1.0)
    peaks = []
    for one in range(count):
        denser = [
            apart[one][other]
            for other in range(count)
            if (density[other], -other) > (density[one], -one)
        ]
        peaks.append(density[one] * (min(denser) if denser else max(apart[one])))
    centres = sorted(range(count), key=lambda one: (-peaks[one], one))[:most]
    groups: list[set[int]] = [{centre} for centre in centres]
    for one in set(range(count)) - set(centres):
        distances = [apart[one][centre] for centre in centres]
        groups[distances.index(min(distances))].add(one)
    return groups


def token_weights(tokens: Array, weights: Weights, name: str) -> list[float]:
    """A softmax over what two layers say of each token."""
    says = []
    for token in tokens:
        inner = np.maximum(affine(token, weights, f"{name}.first"), 0)
        says.append(affine(inner, weights, f"{name}.second")[0])
    return [float(one) for one in softmax(np.array(says))]


def look_alikes(frames: Sequence[Array], numbers: Sequence[int], most: int) -> list[set[int]]:
    """For each pair those other videos that are more like it than its two halves are."""
    found = []
    for row, x_v in enumerate(frames):
        if len(x_v) < 2:
            found.append(set())
            continue
        own = float(direction(x_v[0::2]) @ direction(x_v[1::2]))
        alike = {
            other: float(direction(x_v) @ direction(frames[other]))
            for other in range(len(frames))
            if numbers[other] != numbers[row]
        }
        above = {other for other in alike if alike[other] > own}
        found.append(above if len(above) <= most else set())
    return found


def direction(frames: Array) -> Array:
    """The mean of frames at unit length, itself at unit length."""
    return unit(sum(unit(frame) for frame in frames))


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What the loss asks for."""

    contrast: str = "levels"
    denoise: bool = True
    positives: int = 3
    margin: float = 0.1
    margin_weight: float = 1.0
    same_video: str = "mask"


def loss(
    levels: Sequence[Array],
    scale: float,
    frames: Sequence[Array],
    numbers: Sequence[int],
    objective: Objective,
) -> float:
    """The loss of a batch whose diagonal holds the pairs that belong together."""
    size = len(numbers)
    alike = look_alikes(frames, numbers, objective.positives if objective.denoise else 0)
    right = [{row} | alike[row] for row in range(size)]
    left_out = [set() for _ in range(size)]
    for row in range(size):
        for other in range(size):
            if other != row and numbers[other] == numbers[row]:
                if objective.same_video == "positive":
                    right[row].add(other)
                elif objective.same_video == "mask":
                    left_out[row].add(other)
    similarity = np.mean(levels, axis=0)
    contrasted = levels if objective.contrast == "levels" else [similarity]
    total = sum(contrast(scale * one, right, left_out) for one in contrasted)
    wrong = [
        [other for other in range(size) if other not in right[row] | left_out[row]]
        for row in range(size)
    ]
    return total + objective.margin_weight * shortfall(similarity, wrong, objective.margin)


def contrast(logits: Array, right: list[set[int]], left_out: list[set[int]]) -> float:
    """Mean of both directions: cross entropy with a target that all right answers share alike."""
    size, both = len(logits), 0.0
    for row in range(size):
        counted = [column for column in range(size) if column not in left_out[row]]
        whole = np.log(sum(np.exp(logits[row, column]) for column in counted))
        both += sum(whole - logits[row, column] for column in right[row]) / len(right[row])
    for column in range(size):
        hits = [row for row in range(size) if column in right[row]]
        counted = [row for row in range(size) if column not in left_out[row]]
        whole = np.log(sum(np.exp(logits[row, column]) for row in counted))
        both += sum(whole - logits[row, column] for row in hits) / len(hits)
    return float(both / size / 2)


def shortfall(similarity: Array, wrong: list[list[int]], margin: float) -> float:
    """What right pairs miss to a margin over the hardest wrong ones of their row and column."""
    size, total = len(similarity), 0.0
    for pair in range(size):
        own = similarity[pair, pair]
        rivals = [similarity[pair, column] for column in wrong[pair]]
        total += max(0.0, margin + max(rivals) - own) if rivals else 0.0
        rivals = [similarity[row, pair] for row in range(size) if pair in wrong[row]]
        total += max(0.0, margin + max(rivals) - own) if rivals else 0.0
    return float(total / size)


def unit(x: Array) -> Array:
    """At unit length."""
    return x / np.linalg.norm(x)


def normal(x: Array, weights: Weights, name: str) -> Array:
    """A layer norm."""
    return layer_norm(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def affine(x: Array, weights: Weights, name: str) -> Array:
    """A linear layer on one vector."""
    return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]
