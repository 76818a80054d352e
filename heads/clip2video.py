"""CLIP2Video (Fang et al. 2021) on frame features: temporal differences, temporal alignment.

Both of its blocks work on one vector a frame and a word, so frozen features carry them:

- The difference block puts between two frames what has changed from one to the next, and lets the
  temporal transformer of CLIP4Clip look at both kinds of tokens. The frames are then pooled.
- The alignment block shares words and frames out to a few centres that both have in common, and
  compares what has gathered there. Every second frame is seen once more, through one layer.

The score is the mean of the two similarities, as the released code ranks.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from vidret.data.batches import Texts, Videos
from vidret.heads.frames import uniform_weights
from vidret.heads.options import HeadOptions, Start
from vidret.heads.temporal import Positions, TransformerLayer, in_order, starting_table
from vidret.heads.words import inert_words

CENTRES = 5
SPREAD = 1 / 8  # deviation of the centres' entries, as in the released code


@dataclass(frozen=True, slots=True, kw_only=True)
class BothVectors:
    """Texts or videos as both blocks see them, at unit length."""

    pooled: Float[Tensor, "row dim"]
    aligned: Float[Tensor, "row dim"]


class CLIP2Video(nn.Module):
    """Mean of two cosines: sentence with pooled frames, and gathered words with gathered frames.

    Args:
        dim: width C of frames, words and sentences.
        options: of the transformer layers. Where a head starts as CLIP, the layers, positions and
            what the centres subtract are silent; which centre a token goes to is drawn, since equal
            centres would learn alike.
    """

    def __init__(self, dim: int, options: HeadOptions) -> None:
        super().__init__()
        self.positions = Positions(dim, options.start)
        self.differences = DifferenceTokens(dim, options)
        self.layers = nn.ModuleList(TransformerLayer(dim, options) for _ in range(options.layers))
        self.sparse_layer = TransformerLayer(dim, options)
        self.centres = Centres(dim, options.start)
        self.sees_end = options.word_set == "words+end"

    def forward(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video"]:
        """Return the similarity of every text to every video."""
        return self.score(self.prepare_texts(texts), self.prepare_videos(videos))

    def parts(self, texts: Texts, videos: Videos) -> dict[str, Float[Tensor, "text video"]]:
        """Return what the pooled `frames` and what the `aligned` tokens add."""
        return self.score_parts(self.prepare_texts(texts), self.prepare_videos(videos))

    weighs_by_text = False
    weighs_by_words = False

    def frame_weights(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video frame"]:
        """Return how much each frame counts: all the same, as pooling has it."""
        return uniform_weights(videos.frame_mask, texts.sentence)

    def prepare_texts(self, texts: Texts) -> BothVectors:
        """What depends on the texts alone."""
        words, mask = inert_words(texts, with_end=self.sees_end)
        return BothVectors(
            pooled=normalize(texts.sentence, dim=-1), aligned=self.centres(words, mask)
        )

    def prepare_videos(self, videos: Videos) -> BothVectors:
        """What depends on the videos alone."""
        ordered = in_order(videos)
        frames, mask = ordered.frames, ordered.mask
        return BothVectors(pooled=self._pooled(frames, mask), aligned=self._aligned(frames, mask))

    def score(self, texts: BothVectors, videos: BothVectors) -> Float[Tensor, "text video"]:
        """Return the similarity of prepared texts and videos."""
        return (texts.pooled @ videos.pooled.T + texts.aligned @ videos.aligned.T) / 2

    def score_parts(
        self, texts: BothVectors, videos: BothVectors
    ) -> dict[str, Float[Tensor, "text video"]]:
        """Return the two parts of the similarity of prepared texts and videos."""
        return {
            "frames": texts.pooled @ videos.pooled.T / 2,
            "aligned": texts.aligned @ videos.aligned.T / 2,
        }

    def floats_per_pair(self, words: int, frames: int) -> int:  # noqa: ARG002 (every head's shape)
        """How many numbers scoring holds at once for a pair of a text and a video."""
        return 3

    def floats_per_video(self, frames: int, dim: int) -> int:
        """How many numbers preparing a video takes; two vectors of them are kept."""
        layer = self.sparse_layer.floats(2 * frames, dim)
        return 10 * frames * dim + layer + 3 * CENTRES * dim

    def _pooled(
        self, frames: Float[Tensor, "video frame dim"], mask: Bool[Tensor, "video frame"]
    ) -> Float[Tensor, "video dim"]:
        """The mean of the frames after they have seen one another and what changes between them."""
        x, seen = self.differences(frames, mask, self.positions(mask))
        for layer in self.layers:
            x = layer(x, seen)
        unit = normalize(x[:, ::2] + frames, dim=-1)
        return normalize((unit * mask[..., None]).sum(1), dim=-1)

    def _aligned(
        self, frames: Float[Tensor, "video frame dim"], mask: Bool[Tensor, "video frame"]
    ) -> Float[Tensor, "video dim"]:
        """What gathers of the frames, and of every second one beside what it sees of its like."""
        sparse, seen = frames[:, ::2], mask[:, ::2]
        sparse = self.sparse_layer(sparse + self.positions(seen), seen) + sparse
        return self.centres(torch.cat([frames, sparse], dim=1), torch.cat([mask, seen], dim=1))


class DifferenceTokens(nn.Module):
    """The temporal difference block: a token between two frames for what changes between them."""

    def __init__(self, dim: int, options: HeadOptions) -> None:
        super().__init__()
        self.layer = TransformerLayer(dim, options)
        self.norm = nn.LayerNorm(dim)
        self.kinds = nn.Parameter(starting_table(2, dim, options.start))  # of changes, of frames

    def forward(
        self,
        frames: Float[Tensor, "video frame dim"],
        mask: Bool[Tensor, "video frame"],
        positions: Float[Tensor, "rows frame dim"],
    ) -> tuple[Float[Tensor, "video token dim"], Bool[Tensor, "video token"]]:
        """Return frames and changes in turn, a frame first and last, and which of them are real."""
        changes, real = frames.diff(dim=1) + positions[:, 1:], mask[:, 1:]
        if changes.shape[1]:
            changes = 2 * self.norm(self.layer(changes, real)).sigmoid() - 1
        tokens = frames.new_empty(len(frames), 2 * frames.shape[1] - 1, frames.shape[2])
        seen = torch.empty_like(tokens[..., 0], dtype=torch.bool)
        tokens[:, ::2] = frames + positions + self.kinds[1]
        tokens[:, 1::2] = changes + positions[:, :-1] + self.kinds[0]
        seen[:, ::2], seen[:, 1::2] = mask, real
        return tokens, seen


class Centres(nn.Module):
    """The temporal alignment block: what gathers of some tokens at centres that all share."""

    def __init__(self, dim: int, start: Start) -> None:
        super().__init__()
        self.drawing = nn.Parameter(SPREAD * torch.randn(CENTRES, dim))
        at_random = SPREAD * torch.randn(CENTRES, dim)
        self.places = nn.Parameter(torch.zeros(CENTRES, dim) if start == "clip" else at_random)

    def forward(
        self, tokens: Float[Tensor, "row token dim"], mask: Bool[Tensor, "row token"]
    ) -> Float[Tensor, "row dim"]:
        """Return the mean over the centres of what the tokens come to there, at unit length."""
        shares = (tokens @ self.drawing.T).softmax(-1) * mask[..., None]
        gathered = shares.mT @ tokens - shares.sum(1)[..., None] * self.places
        return normalize(normalize(gathered, dim=-1).mean(1), dim=-1)
