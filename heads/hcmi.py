"""HCMI: frames against words, clips against phrases, video against sentence. A reconstruction.

Hierarchical Cross-Modal Interaction (arXiv 2204.03382, first called HunYuan_tvr) has no public
code, and its formulas were not to be had. What its abstract and its authors say of it is kept;
every formula here is ours, built of published parts: CLIP4Clip's transformer over frames, HBI's
clustering by density peaks, DRL's weighted token interaction. docs/hcmi.md has the formulas and
what each rests on. How it learns is in `heads/hierarchical.py`.

    tokens   F = x_v + what self-attention adds         E = x_w + what self-attention adds
    groups   K = clips of F, which look at F            P = phrases of E, which look at E
    whole    v = mean of F at unit length + W K         t = x_t at unit length + W P
    score    the mean of three levels: F against E and K against P by weighted token interaction,
             v against t by their cosine

All but the last line depends on one side alone, and is done once for each video and text.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, einsum, nn
from torch.nn.functional import normalize

from vidret.data.batches import Texts, Videos
from vidret.heads.clustering import Grouping
from vidret.heads.frames import uniform_weights
from vidret.heads.hierarchy import CLIP_PHRASE, FRAME_WORD, VIDEO_SENTENCE, named_levels
from vidret.heads.interaction import (
    FramesOutside,
    frames_outside,
    interaction,
    shares_of_frames,
)
from vidret.heads.options import DEFAULT_OPTIONS, HeadOptions
from vidret.heads.pooling import silence
from vidret.heads.temporal import Positions, TransformerLayer, in_order
from vidret.heads.tokens import TokenWeights, WeightedTokens
from vidret.heads.words import inert_words


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Clips of videos or phrases of captions.

    Args:
        shares: of the frames or words in each group.
        mask: False for a group that is none.
    """

    tokens: Float[Tensor, "row group dim"]
    shares: Float[Tensor, "row group token"]
    mask: Bool[Tensor, "row group"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HierarchyOfTexts:
    """Words, phrases and sentences at unit length; None where their level is off."""

    words: WeightedTokens | None
    phrases: WeightedTokens | None
    sentence: Float[Tensor, "text dim"] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HierarchyOfVideos:
    """Frames, clips and videos at unit length; None where their level is off.

    Args:
        shares: of the frames in each clip, for `frame_weights`.
    """

    frames: FramesOutside | None
    clips: FramesOutside | None
    video: Float[Tensor, "video dim"] | None
    shares: Float[Tensor, "video clip frame"] | None


class SelfAttention(nn.Module):
    """What tokens have to say once they have looked at one another, on top of what they are.

    Args:
        dim: width C.
        layers: blocks; without any the tokens stay as they are.
        options: of the blocks.
        ordered: whether the place of a token counts. Places are looked at and not handed on.
    """

    def __init__(self, dim: int, layers: int, options: HeadOptions, *, ordered: bool) -> None:
        super().__init__()
        self.positions = Positions(dim, options.start) if ordered and layers else None
        self.layers = nn.ModuleList(TransformerLayer(dim, options) for _ in range(layers))

    def forward(
        self, tokens: Float[Tensor, "row token dim"], mask: Bool[Tensor, "row token"]
    ) -> Float[Tensor, "row token dim"]:
        """Return the tokens with what the blocks add to them; zeros for padding."""
        placed = tokens if self.positions is None else tokens + self.positions(mask)
        x = placed
        for layer in self.layers:
            x = layer(x, mask)
        return (tokens + (x - placed)).masked_fill(~mask[..., None], 0)


class Aggregation(nn.Module):
    """Tokens merged into groups, which then look at one another and at all tokens.

    Args:
        dim: width C.
        most: groups of a row at most.
        options: how tokens are clustered, and how the block behind that is built.
    """

    def __init__(self, dim: int, most: int, options: HeadOptions) -> None:
        super().__init__()
        self.grouping = Grouping(dim, most, options.hcmi_clustering, start=options.start)
        self.layer = TransformerLayer(dim, options)

    def forward(
        self, tokens: Float[Tensor, "row token dim"], mask: Bool[Tensor, "row token"]
    ) -> Groups:
        """Return the groups of each row."""
        shares = self.grouping(tokens, mask)
        there = shares.detach().any(-1)
        x = torch.cat([shares.to(tokens.dtype) @ tokens, tokens], dim=1)
        seen = torch.cat([there, mask], dim=1)
        merged = self.layer.after_projections(
            x, self.layer.project(x), seen, asking=shares.shape[1]
        )
        return Groups(tokens=merged, shares=shares, mask=there)


class Summary(nn.Module):
    """What groups add to the mean of the frames, or to the sentence; with `start = clip` nothing.

    Args:
        dim: width C.
        options: of the weights of the groups.
    """

    def __init__(self, dim: int, options: HeadOptions) -> None:
        super().__init__()
        self.weights = TokenWeights(dim, options)
        self.out = nn.Linear(dim, dim)
        if options.start == "clip":
            silence(self.out)

    def forward(self, groups: Groups) -> Float[Tensor, "row dim"]:
        """Return one vector a row, made of its groups at unit length."""
        weighted = self.weights(groups.tokens, groups.mask)
        return self.out(einsum("rg,rgc->rc", weighted.weights, weighted.tokens))


class Side(nn.Module):
    """What one side, videos or texts, goes through before it meets the other.

    Args:
        dim: width C.
        layers: blocks of self-attention.
        most: groups of a row at most.
        options: of the head.
        ordered: whether self-attention knows the places of tokens.
    """

    def __init__(
        self, dim: int, layers: int, most: int, options: HeadOptions, *, ordered: bool
    ) -> None:
        super().__init__()
        levels = named_levels(options.hcmi_levels)
        coarse, whole = CLIP_PHRASE in levels, VIDEO_SENTENCE in levels
        self.attention = SelfAttention(dim, layers, options, ordered=ordered)
        self.weights = TokenWeights(dim, options) if FRAME_WORD in levels else None
        self.aggregation = Aggregation(dim, most, options) if coarse or whole else None
        self.group_weights = TokenWeights(dim, options) if coarse else None
        self.summary = Summary(dim, options) if whole else None

    def fine(
        self, tokens: Float[Tensor, "row token dim"], mask: Bool[Tensor, "row token"]
    ) -> WeightedTokens | None:
        """The tokens as they enter the finest level."""
        return None if self.weights is None else self.weights(tokens, mask)

    def groups(
        self, tokens: Float[Tensor, "row token dim"], mask: Bool[Tensor, "row token"]
    ) -> Groups | None:
        """The groups of the tokens, where a level asks for them."""
        return None if self.aggregation is None else self.aggregation(tokens, mask)

    def coarse(self, groups: Groups | None) -> WeightedTokens | None:
        """The groups as they enter the middle level."""
        if self.group_weights is None or groups is None:
            return None
        return self.group_weights(groups.tokens, groups.mask)

    def whole(
        self, base: Float[Tensor, "row dim"], groups: Groups | None
    ) -> Float[Tensor, "row dim"] | None:
        """The whole video or text at unit length."""
        if self.summary is None or groups is None:
            return None
        return normalize(base + self.summary(groups), dim=-1)


class HCMI(nn.Module):
    """Three levels of a video against three levels of a text; a reconstruction, see above.

    With `start = clip` everything that is learned is silent and all tokens count the same. The
    level video-sentence then is mean pooling, as `MeanPooling` has it, and the other two compare
    CLIP's own frames and words.

    Args:
        dim: width C of frames, words and sentences.
        options: what is open, see `HierarchyOptions`.
    """

    def __init__(self, dim: int, *, options: HeadOptions = DEFAULT_OPTIONS) -> None:
        super().__init__()
        self.options = options
        self.levels = named_levels(options.hcmi_levels)
        layers = options.layers if options.hcmi_frame_attention else 0
        self.frames = Side(dim, layers, options.hcmi_clips, options, ordered=True)
        self.words = Side(
            dim, options.hcmi_word_layers, options.hcmi_phrases, options, ordered=False
        )
        self.sees_end = options.word_set == "words+end"

    def forward(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video"]:
        """Return the similarity of every text to every video."""
        return self.score(self.prepare_texts(texts), self.prepare_videos(videos))

    def parts(self, texts: Texts, videos: Videos) -> dict[str, Float[Tensor, "text video"]]:
        """Return what each level adds to the similarity."""
        return self.score_parts(self.prepare_texts(texts), self.prepare_videos(videos))

    def prepare_texts(self, texts: Texts) -> HierarchyOfTexts:
        """Words, phrases and sentences of some texts."""
        given, mask = inert_words(texts, with_end=self.sees_end)
        words = self.words.attention(given, mask)
        phrases = self.words.groups(words, mask)
        return HierarchyOfTexts(
            words=self.words.fine(words, mask),
            phrases=self.words.coarse(phrases),
            sentence=self.words.whole(normalize(texts.sentence, dim=-1), phrases),
        )

    def prepare_videos(self, videos: Videos) -> HierarchyOfVideos:
        """Frames, clips and the whole of some videos."""
        ordered = in_order(videos)
        frames = self.frames.attention(ordered.frames, ordered.mask)
        clips = self.frames.groups(frames, ordered.mask)
        mean = normalize(frames, dim=-1).sum(1) / ordered.mask.sum(-1, keepdim=True)
        fine, coarse = self.frames.fine(frames, ordered.mask), self.frames.coarse(clips)
        return HierarchyOfVideos(
            frames=None if fine is None else frames_outside(fine),
            clips=None if coarse is None else frames_outside(coarse),
            video=self.frames.whole(mean, clips),
            shares=None if clips is None else clips.shares,
        )

    def score(
        self, texts: HierarchyOfTexts, videos: HierarchyOfVideos
    ) -> Float[Tensor, "text video"]:
        """Return the mean of the levels for prepared texts and videos."""
        first, *others = self.score_parts(texts, videos).values()
        return sum(others, first)

    def score_parts(
        self, texts: HierarchyOfTexts, videos: HierarchyOfVideos
    ) -> dict[str, Float[Tensor, "text video"]]:
        """Return the similarity of each level, divided by how many there are."""
        parts = {}
        if texts.words is not None and videos.frames is not None:
            parts[FRAME_WORD] = interaction(texts.words, videos.frames)
        if texts.phrases is not None and videos.clips is not None:
            parts[CLIP_PHRASE] = interaction(texts.phrases, videos.clips)
        if texts.sentence is not None and videos.video is not None:
            parts[VIDEO_SENTENCE] = texts.sentence @ videos.video.T
        return {name: part / len(parts) for name, part in parts.items()}

    weighs_by_text = True
    weighs_by_words = True

    def frame_weights(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video frame"]:
        """Return how much each frame counts for each text, the mean of the levels.

        In the finest level a frame counts by its own weight, and by that of the words that it is
        the best frame of. A clip likewise, and hands that on to its frames. To the whole video all
        frames give the same, but for what its clips add.
        """
        ordered, ready = in_order(videos), self.prepare_texts(texts)
        seen = self.prepare_videos(videos)
        found = []
        if ready.words is not None and seen.frames is not None:
            found.append(shares_of_frames(ready.words, seen.frames))
        if ready.phrases is not None and seen.clips is not None and seen.shares is not None:
            clips = shares_of_frames(ready.phrases, seen.clips)
            found.append(einsum("tvm,vmn->tvn", clips, seen.shares))
        if VIDEO_SENTENCE in self.levels:
            found.append(uniform_weights(ordered.mask, texts.sentence))
        weights = torch.stack(found).mean(0)
        places = ordered.places.expand(len(texts), -1, -1)
        return torch.zeros_like(weights).scatter(2, places, weights)

    def floats_per_pair(self, words: int, frames: int) -> int:
        """How many numbers scoring holds at once for a pair of a text and a video.

        Cosines of a level, twice more while padding is masked; what is best of each row and column;
        the levels and their sum.
        """
        words = max(words + 1, self.options.hcmi_phrases)
        frames = max(frames, self.options.hcmi_clips)
        return 3 * words * frames + 2 * (words + frames) + 8

    def floats_per_video(self, frames: int, dim: int) -> int:
        """How many numbers preparing a video takes, most of them in a block."""
        return self._floats(self.frames, frames, self.options.hcmi_clips, dim)

    def floats_per_text(self, words: int, dim: int) -> int:
        """How many numbers preparing a text takes, likewise."""
        return self._floats(self.words, words + 1, self.options.hcmi_phrases, dim)

    def _floats(self, side: Side, tokens: int, groups: int, dim: int) -> int:
        layers = list(side.attention.layers)
        if side.aggregation is not None:
            layers.append(side.aggregation.layer)
            tokens += groups
        inside = [
            layer.floats(tokens, dim) for layer in layers if isinstance(layer, TransformerLayer)
        ]
        return 6 * tokens * dim + 2 * tokens * tokens + max(inside, default=0)
