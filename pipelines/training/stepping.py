"""The gradients of a batch whose encoders' graph is too large for one pass, or for one process.

The loss needs the features of the whole batch at once; the encoders need no more than one video.
So the features are made part by part, the loss gives its gradients at the features, and each part
is encoded again to carry its own gradients on into the weights. What comes out is the gradient of
the whole batch, not an average over small ones: every caption has all the others as negatives.
(Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup".)
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from vidret.data.batches import Texts, Videos
from vidret.pipelines.training.processes import add_up, share
from vidret.pipelines.training.splits import Split

LossOf = Callable[[Texts, Videos, Tensor], Tensor]


class Encodes(Protocol):
    """What is used of a split whose features are encoded anew, and with gradients."""

    @property
    def cached(self) -> Split:
        """The same split as a cache holds it."""

    @property
    def live_texts(self) -> Sequence[str]:
        """The features of captions that are encoded anew, by the names in `Texts`."""

    @property
    def live_videos(self) -> Sequence[str]:
        """The features of videos that are encoded anew, by the names in `Videos`."""

    def texts(self, rows: Tensor) -> Texts:
        """Some captions."""

    def videos(self, rows: Tensor) -> Videos:
        """Some videos."""

    def holding(self, rows: Tensor) -> AbstractContextManager[None]:
        """Read some videos once, however often they are encoded in the block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """The captions of a batch, or its videos, each of them once.

    Args:
        rows: of the split.
        features: of all of them, as leaves to find gradients at; those that no encoder changes are
            not among them.
        encode: gives the features of some rows.
    """

    rows: Tensor
    features: dict[str, Tensor]
    encode: Callable[[Tensor], Texts | Videos]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some places of a side, with their graph where that was kept."""

    places: Tensor
    graph: Texts | Videos | None


def backward_in_parts(
    split: Encodes,
    rows: Tensor,
    loss_of: LossOf,
    *,
    chunk: int,
    computing: Callable[[], AbstractContextManager[object]],
) -> Tensor:
    """Leave the gradients of a batch in the weights, and return its loss.

    In several processes each encodes a share of the batch, all compute the loss over all of it, and
    the gradients of the encoders are those of the share: they are still to be added up.

    Args:
        split: what encodes.
        rows: the captions of the batch.
        loss_of: captions, the video of each, and which these are.
        chunk: captions or videos encoded at once; 0 encodes all at once.
        computing: what encoding takes place in.
    """
    owners = split.cached.owners[rows]
    shown, places = owners.unique(return_inverse=True)
    texts, videos = split.cached.texts[rows], split.cached.videos[shown]

    def encoding(encode: Callable[[Tensor], Texts | Videos]) -> Callable[[Tensor], Texts | Videos]:
        def encode_some(some: Tensor) -> Texts | Videos:
            with computing():  # anew each time: autocast keeps its copies of weights until the end
                return encode(some)

        return encode_some

    captions = Side(
        rows=rows,
        features=_blank(texts, split.live_texts),
        encode=encoding(split.texts),
    )
    clips = Side(
        rows=shown,
        features=_blank(videos, split.live_videos),
        encode=encoding(split.videos),
    )
    with split.holding(share(shown)):
        parts = [(side, part) for side in (captions, clips) for part in _encode(side, chunk)]
        add_up(*captions.features.values(), *clips.features.values())
        for leaf in (*captions.features.values(), *clips.features.values()):
            leaf.requires_grad_()
        seen = replace(videos, **clips.features)[places]
        loss = loss_of(replace(texts, **captions.features), seen, owners)
        loss.backward()
        while parts:  # each graph is gone before the next is made
            _carry_on(*parts.pop())
    return loss.detach()


def _blank(cached: Texts | Videos, names: Sequence[str]) -> dict[str, Tensor]:
    return {name: torch.zeros_like(getattr(cached, name)) for name in names}


def _encode(side: Side, chunk: int) -> list[Part]:
    """Fill in the features of this process's share; one part alone may keep its graph."""
    own = share(torch.arange(len(side.rows), device=side.rows.device))
    if not side.features or not len(own):
        return []
    parts = own.split(chunk) if chunk else (own,)
    graphs: list[Texts | Videos | None] = []
    for places in parts:
        with torch.set_grad_enabled(len(parts) == 1):
            some = side.encode(side.rows[places])
        for name, whole in side.features.items():
            values = getattr(some, name).detach()
            whole[places, : values.shape[1]] = values  # words are padded to the longest of a part
        graphs.append(some if len(parts) == 1 else None)
    return [Part(places=own, graph=graph) for own, graph in zip(parts, graphs, strict=True)]


def _carry_on(side: Side, part: Part) -> None:
    """Go backward from the features of a part into the weights that made them."""
    wanted = {
        name: leaf.grad for name, leaf in side.features.items() if leaf.grad is not None
    }  # a head may not look at the words, for instance
    if not wanted:
        return
    some = side.encode(side.rows[part.places]) if part.graph is None else part.graph
    reached = [
        (values, gradient[part.places, : values.shape[1]])
        for name, gradient in wanted.items()
        if (values := getattr(some, name)).requires_grad  # a part may be without sound
    ]
    if reached:
        values, gradients = zip(*reached, strict=True)
        torch.autograd.backward(values, gradients)
