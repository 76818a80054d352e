"""CLIP4Clip's tightTransf: one transformer over the sentence and the frames of every pair.

Only what enters the first layer belongs to one side: positions, norm and projections are done once
for each text and each video. All else is done for every pair, which is why this head is slow: a
layer takes 24 C^2 operations for each token of a pair, and all of it 250 million for 12 frames and
four layers of width 512. Of the last layer only the sentence's token is computed: no other is read.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vidret.data.batches import Texts, Videos
from vidret.heads.mgfi import ACTIVATIONS
from vidret.heads.options import HeadOptions
from vidret.heads.retriever import MAX_LOGIT_SCALE
from vidret.heads.temporal import Positions, TransformerLayer, in_order, layers_of

PAIRS_HELD = 1024  # of which a backward pass keeps everything: 1.8 GiB at four layers of width 512


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstTokens:
    """Tokens of texts or videos as they enter the first layer, and its projections of them."""

    tokens: Float[Tensor, "row token dim"]
    projected: Float[Tensor, "row token three_dim"]
    mask: Bool[Tensor, "row token"]

    def __getitem__(self, rows: slice) -> "FirstTokens":
        """Some of the texts or videos."""
        return FirstTokens(
            tokens=self.tokens[rows], projected=self.projected[rows], mask=self.mask[rows]
        )


class TightTransformer(nn.Module):
    """A score read off the sentence's token after it has looked at the frames.

    The published loss takes these scores without a temperature. Here every head has one, at most
    100, so the scores are divided by 100: at that temperature the loss sees what theirs does.

    Args:
        dim: width C of frames and sentences.
        options: of the layers. They start at random whatever `start` says: a score that a layer
            reads off a token cannot start as CLIP's.
    """

    def __init__(self, dim: int, options: HeadOptions) -> None:
        super().__init__()
        self.positions = Positions(dim, "random")
        self.layers = nn.ModuleList(
            TransformerLayer(dim, options, start="random") for _ in range(options.layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.pooler = nn.Linear(dim, dim)
        self.scorer = nn.Linear(dim, 1)
        self.activation = options.activation

    def forward(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video"]:
        """Return the similarity of every text to every video."""
        return self.score(self.prepare_texts(texts), self.prepare_videos(videos))

    def parts(self, texts: Texts, videos: Videos) -> dict[str, Float[Tensor, "text video"]]:
        """Return the similarity as its one part, `pair`."""
        return self.score_parts(self.prepare_texts(texts), self.prepare_videos(videos))

    weighs_by_text = True
    weighs_by_words = False

    def frame_weights(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video frame"]:
        """Return how much the sentence looks at each frame in the last layer, of all it looks at.

        The mean over the attention heads; what it gives itself is left out.
        """
        ready_texts, ready_videos = self.prepare_texts(texts), self.prepare_videos(videos)
        _, projected, mask = self._entering_last(ready_texts, ready_videos)
        last = layers_of(self.layers)[-1]
        q, k, _ = projected.unflatten(-1, (3, last.heads, -1)).unbind(2)
        looks = last.weigh(q[:, :1], k, mask)[:, :, 0, 1:].mean(1)
        ordered, weights = in_order(videos), looks / looks.sum(-1, keepdim=True)
        rows = weights.unflatten(0, (len(texts), len(videos)))
        return torch.stack([ordered.put_back(row) for row in rows])

    def prepare_texts(self, texts: Texts) -> FirstTokens:
        """What enters the first layer of the sentences, which stand at the first place."""
        tokens = texts.sentence[:, None] + self.positions.table[:1]
        mask = torch.ones_like(tokens[..., 0], dtype=torch.bool)
        return FirstTokens(
            tokens=tokens, projected=layers_of(self.layers)[0].project(tokens), mask=mask
        )

    def prepare_videos(self, videos: Videos) -> FirstTokens:
        """What enters the first layer of the frames, which stand behind the sentence."""
        ordered = in_order(videos)
        with_sentence = nn.functional.pad(ordered.mask, (1, 0), value=True)
        tokens = ordered.frames + self.positions(with_sentence)[:, 1:]
        return FirstTokens(
            tokens=tokens, projected=layers_of(self.layers)[0].project(tokens), mask=ordered.mask
        )

    def score(self, texts: FirstTokens, videos: FirstTokens) -> Float[Tensor, "text video"]:
        """Return the similarity of prepared texts and videos.

        Where gradients are wanted of more pairs than `PAIRS_HELD`, what is inside the layers is
        computed again on the way back, some texts at a time.
        """
        step = max(1, PAIRS_HELD // len(videos.tokens))
        if not torch.is_grad_enabled() or len(texts.tokens) <= step:
            return self._score(texts, videos)
        rows = [
            checkpoint(self._score, texts[start : start + step], videos, use_reentrant=False)
            for start in range(0, len(texts.tokens), step)
        ]
        return torch.cat(rows)

    def _score(self, texts: FirstTokens, videos: FirstTokens) -> Float[Tensor, "text video"]:
        x, projected, mask = self._entering_last(texts, videos)
        x = layers_of(self.layers)[-1].after_projections(x, projected, mask, asking=1)
        pooled = ACTIVATIONS[self.activation](self.pooler(self.norm(x[:, 0])))
        scores = self.scorer(pooled).view(len(texts.tokens), len(videos.tokens))
        return scores / MAX_LOGIT_SCALE

    def score_parts(
        self, texts: FirstTokens, videos: FirstTokens
    ) -> dict[str, Float[Tensor, "text video"]]:
        """Return the one part of the similarity of prepared texts and videos."""
        return {"pair": self.score(texts, videos)}

    def floats_per_pair(self, words: int, frames: int) -> int:  # noqa: ARG002 (every head's shape)
        """How many numbers scoring holds at once for a pair: those of a layer, and what enters."""
        dim = self.norm.normalized_shape[0]
        return 4 * (frames + 1) * dim + layers_of(self.layers)[0].floats(frames + 1, dim)

    def floats_per_video(self, frames: int, dim: int) -> int:
        """How many numbers a prepared video takes, with what is made on the way."""
        return 8 * frames * dim

    def _entering_last(
        self, texts: FirstTokens, videos: FirstTokens
    ) -> tuple[
        Float[Tensor, "pair token dim"],
        Float[Tensor, "pair token three_dim"],
        Bool[Tensor, "pair token"],
    ]:
        """The tokens of every pair as they enter the last layer, and its projections of them."""
        x = _of_pairs(texts.tokens, videos.tokens)
        projected = _of_pairs(texts.projected, videos.projected)
        mask = _of_pairs(texts.mask[..., None], videos.mask[..., None])[..., 0]
        for layer, following in pairwise(layers_of(self.layers)):
            x = layer.after_projections(x, projected, mask)
            projected = following.project(x)
        return x, projected, mask


def _of_pairs(
    texts: Float[Tensor, "text one dim"] | Bool[Tensor, "text one 1"],
    videos: Float[Tensor, "video frame dim"] | Bool[Tensor, "video frame 1"],
) -> Tensor:
    """The token of every text before those of every video, a row a pair."""
    num_texts, num_videos = len(texts), len(videos)
    both = (
        texts[:, None].expand(-1, num_videos, -1, -1),
        videos[None].expand(num_texts, -1, -1, -1),
    )
    return torch.cat(both, dim=2).flatten(0, 1)
