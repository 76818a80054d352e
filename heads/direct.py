"""MGFI for a question at a time: a video does nothing but what this text asks of it.

`MGFI` prepares each video once, at three products of C x C a frame, for many texts to come. Where
one text meets videos that no other text will, it is the text's side that moves: its queries go
through the key's matrix backwards, and frames are summed before value, output and FF see them. That
is exact, as all of these are linear and weights sum to 1, and leaves three products a video and
branch: value and output are one matrix, made once.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, einsum, nn
from torch.nn.functional import linear

from vidret.data.batches import Texts, Videos
from vidret.heads.frames import inert_frames, uniform_weights
from vidret.heads.mgfi import ACTIVATIONS, FRAMES, MGFI, SENTENCE, WORDS, TextSide


@dataclass(frozen=True)
class DirectMGFI:
    """A head that will not learn any more, for one text and many videos at a time.

    Args:
        head: in eval mode.
    """

    head: MGFI

    @cached_property
    def _value_and_out(self) -> tuple[Tensor, Tensor | None]:
        """The matrix of both, one after the other, and the bias."""
        value, out = self.head.value, self.head.out
        weight = out.weight @ value.weight
        return weight, None if value.bias is None else out(value.bias)

    def parts(self, texts: Texts, videos: Videos) -> dict[str, Float[Tensor, "text video"]]:
        """Return what `MGFI.parts` does, of videos that were not prepared; dropout is off."""
        head = self.head
        x_v = head.normed(inert_frames(videos), head.norm_frames)
        sides = head.prepare_texts(texts)
        weights = _weights(head, sides, videos, x_v)
        summed = einsum("btvn,vnc->btvc", torch.stack(list(weights.values())), x_v)
        z = dict(zip(weights, linear(summed, *self._value_and_out), strict=True))  # (2), (7)
        hidden = _hidden(head, z)
        o = sum(z.values(), torch.zeros(())) / len(z) + _second(head, hidden)  # (3), (8), (9)
        divisor = len(z) * o.norm(dim=-1).clamp_min(1e-12)
        parts = {}
        for name, pooled in z.items():
            second = head.feed_forward_of(name).second
            from_hidden = einsum("tvh,th->tv", hidden[name], sides.sentence @ second.weight)
            from_bias = (sides.sentence @ second.bias)[:, None]
            from_frames = einsum("tvc,tc->tv", pooled, sides.sentence)
            parts[name] = (from_frames + from_hidden + from_bias) / divisor  # (10)
        return parts


def _hidden(
    head: MGFI, z: dict[str, Float[Tensor, "text video dim"]]
) -> dict[str, Float[Tensor, "text video hidden"]]:
    """The first layer of FF and what follows it; where branches share it, of both at once."""
    act = ACTIVATIONS[head.activation]
    if head.word_feed_forward is None:
        part = head.feed_forward
        both = act(part.first(part.norm(torch.stack(list(z.values())))))
        return dict(zip(z, both, strict=True))
    parts = {name: head.feed_forward_of(name) for name in z}
    return {name: act(part.first(part.norm(z[name]))) for name, part in parts.items()}


def _weights(
    head: MGFI, sides: TextSide, videos: Videos, x_v: Float[Tensor, "video frame dim"]
) -> dict[str, Float[Tensor, "text video frame"]]:
    """What each frame counts in each branch, as `MGFI` has it."""
    weights = {}
    if sides.q is not None:
        scores = _asked(head, sides.q[:, None], x_v)[:, :, 0] / math.sqrt(x_v.shape[-1])
        weights[SENTENCE] = scores.masked_fill(~videos.frame_mask, -torch.inf).softmax(-1)  # (2)
    if sides.q_words is not None:
        a = _asked(head, sides.q_words, x_v)  # (5)
        a = a.masked_fill(~videos.frame_mask[:, None], -torch.inf)
        best = a.amax(-1) * head.word_log_scale.exp()
        shares = best.masked_fill(~sides.word_mask[:, None], -torch.inf).softmax(-1)
        per_word = (a / math.sqrt(x_v.shape[-1])).softmax(-1)  # (6)
        weights[WORDS] = einsum("tvw,tvwn->tvn", shares, per_word)  # (7)
    return weights or {FRAMES: uniform_weights(videos.frame_mask, sides.sentence)}


def _asked(
    head: MGFI,
    queries: Float[Tensor, "text query dim"],
    x_v: Float[Tensor, "video frame dim"],
) -> Float[Tensor, "text video query frame"]:
    """Products of queries and keys, without making the keys."""
    assert isinstance(head.key, nn.Linear)
    products = einsum("tqc,vnc->tvqn", queries @ head.key.weight, x_v)
    if head.key.bias is None:
        return products
    return products + (queries @ head.key.bias)[:, None, :, None]


def _second(
    head: MGFI, hidden: dict[str, Float[Tensor, "text video hidden"]]
) -> Float[Tensor, "text video dim"]:
    """The second layer of FF, after the mean of both branches where they share it."""
    if head.word_feed_forward is None:
        mean = sum(hidden.values(), torch.zeros(())) / len(hidden)
        return head.feed_forward.second(mean)
    outputs = [head.feed_forward_of(name).second(each) for name, each in hidden.items()]
    return sum(outputs, torch.zeros(())) / len(outputs)
