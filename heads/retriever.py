"""The heads together: similarity of texts and videos, for training and in blocks for ranking."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vidret.data.batches import Texts, Videos
from vidret.data.errors import ConfigError
from vidret.heads.cmfi import CMFI
from vidret.heads.folded import FoldedMGFI
from vidret.heads.mgfi import MGFI
from vidret.heads.products import quickest_products
from vidret.heads.streaming import Rows, Scorer

MAX_LOGIT_SCALE = 100.0
DEFAULT_MEMORY = 512 * 2**20
TEXTS_PER_BLOCK = 64
VIDEOS_PER_CPU_BLOCK = 32  # with 64 texts near the size of a core's cache

TextSideT = TypeVar("TextSideT")
VideoSideT = TypeVar("VideoSideT")


@runtime_checkable
class VideoHead(Protocol[TextSideT, VideoSideT]):
    """What a head for frames offers; only the head itself looks inside what it prepared."""

    def prepare_texts(self, texts: Texts) -> TextSideT:
        """Do what depends on the texts alone."""

    def prepare_videos(self, videos: Videos) -> VideoSideT:
        """Do what depends on the videos alone."""

    def score(self, texts: TextSideT, videos: VideoSideT) -> Float[Tensor, "text video"]:
        """Return the similarity of prepared texts and videos."""

    def score_parts(
        self, texts: TextSideT, videos: VideoSideT
    ) -> dict[str, Float[Tensor, "text video"]]:
        """Return the named parts whose sum is the similarity, dropout aside."""

    def frame_weights(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video frame"]:
        """Return how much each frame counts for each text."""

    def floats_per_pair(self, words: int, frames: int) -> int:
        """How many numbers scoring holds at once for a pair of a text and a video."""

    def floats_per_video(self, frames: int, dim: int) -> int:
        """How many numbers a prepared video takes while it is prepared and after."""

    def eval(self) -> object:
        """Drop nothing from here on; every `nn.Module` has this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyTexts:
    """Texts as the video head and equation 11 want them."""

    for_frames: Any
    sentence: Float[Tensor, "text dim"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyVideos:
    """Videos as the video head and equation 11 want them."""

    for_frames: Any
    audio: Float[Tensor, "video dim"] | None


class Retriever(nn.Module):
    """A head for frames, perhaps one for sound, and the temperature of the loss.

    Args:
        video_head: gives s(v, t), such as `MGFI` or `MeanPooling`.
        audio_head: gives s(a, t), which is added.
        logit_scale: exp(tau) to start from, CLIP's own; what lies above 100 starts at 100.
    """

    def __init__(
        self, video_head: VideoHead[Any, Any], audio_head: CMFI | None, *, logit_scale: float
    ) -> None:
        super().__init__()
        if not logit_scale > 0:
            raise ConfigError(f"logit_scale is {logit_scale}: it must be above 0, as CLIP's 100 is")
        self.video_head = video_head
        self.audio_head = audio_head
        self.tau = nn.Parameter(torch.tensor(math.log(min(logit_scale, MAX_LOGIT_SCALE))))
        self.only_sound_learns = False

    def forward(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video"]:
        """Return s(v, t) + s(a, t) for every text and every video."""
        return self.score(self.prepare_texts(texts), self.prepare_videos(videos))

    def logits(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video"]:
        """Return the exponents of equations 12 and 13.

        The paper prints no temperature; without one a sum of cosines is too flat to learn from.
        """
        return self.tau.exp() * self(texts, videos)

    def parts(self, texts: Texts, videos: Videos) -> dict[str, Float[Tensor, "text video"]]:
        """Return the video head's parts and `audio`; their sum is the similarity."""
        return self.score_parts(self.prepare_texts(texts), self.prepare_videos(videos))

    def frame_weights(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video frame"]:
        """Return how much each frame counts for each text."""
        return self.video_head.frame_weights(texts, videos)

    @torch.no_grad()
    def clamp_temperature(self) -> None:
        """Keep exp(tau) at most 100, as CLIP's training did; call it after each optimizer step."""
        self.tau.clamp_(max=math.log(MAX_LOGIT_SCALE))

    def freeze_video_head(self) -> None:
        """Begin the paper's second stage: the sound learns, all else keeps still, dropout included.

        Raises:
            ConfigError: there is no head for sound.
        """
        if self.audio_head is None:
            raise ConfigError("only heads with +cmfi have a second stage: this one hears no sound")
        self.requires_grad_(False)  # noqa: FBT003 (torch's own signature)
        self.audio_head.requires_grad_()
        self.only_sound_learns = True
        self.video_head.eval()

    def train(self, mode: bool = True) -> "Retriever":  # noqa: FBT001, FBT002 (torch's own signature)
        """As every module's; only a frozen video head stays in eval mode."""
        super().train(mode)
        if self.only_sound_learns:
            self.video_head.eval()
        return self

    def prepare_texts(self, texts: Texts) -> ReadyTexts:
        """Do what depends on the texts alone."""
        return ReadyTexts(
            for_frames=self.video_head.prepare_texts(texts),
            sentence=nn.functional.normalize(texts.sentence, dim=-1),
        )

    def prepare_videos(self, videos: Videos) -> ReadyVideos:
        """Do what depends on the videos alone."""
        return ReadyVideos(
            for_frames=self.video_head.prepare_videos(videos),
            audio=None if self.audio_head is None else self.audio_head.embed(videos),
        )

    def score(self, texts: ReadyTexts, videos: ReadyVideos) -> Float[Tensor, "text video"]:
        """Return the similarity of prepared texts and videos."""
        similarity = self.video_head.score(texts.for_frames, videos.for_frames)
        return similarity if videos.audio is None else similarity + texts.sentence @ videos.audio.T

    def score_parts(
        self, texts: ReadyTexts, videos: ReadyVideos
    ) -> dict[str, Float[Tensor, "text video"]]:
        """Return the parts of the similarity of prepared texts and videos."""
        parts = self.video_head.score_parts(texts.for_frames, videos.for_frames)
        return parts if videos.audio is None else parts | {"audio": texts.sentence @ videos.audio.T}


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSizes:
    """How many texts and videos meet at once, and how many videos stay prepared meanwhile."""

    texts: int
    videos: int
    panel: int


def score_in_blocks(
    retriever: Retriever, texts: Texts, videos: Videos, *, memory: int = DEFAULT_MEMORY
) -> Float[Tensor, "text video"]:
    """Return the similarity of all texts to all videos within `memory` bytes besides the result."""
    similarity = texts.sentence.new_empty(len(texts), len(videos))
    if not similarity.numel():
        return similarity
    with scoring(retriever):
        scorer, sizes = _folded(retriever), block_sizes(retriever, texts, videos, memory=memory)
        first = texts[: sizes.texts], videos[: sizes.videos]

        def first_block() -> Float[Tensor, "some few"]:
            return scorer.score(scorer.prepare_texts(first[0]), scorer.prepare_videos(first[1]))

        with quickest_products(first_block):
            for rows, columns, ready_texts, ready_videos in _blocks(scorer, texts, videos, sizes):
                similarity[rows, columns] = scorer.score(ready_texts, ready_videos)
    return similarity


def block_scorer(
    retriever: Retriever, texts: Texts, videos: Videos, *, memory: int = DEFAULT_MEMORY
) -> Scorer:
    """Return what `ranks_in_blocks` asks for one block of similarities after the other.

    Each block takes `memory` bytes besides its result, and prepares its texts and videos anew:
    against the scoring of a thousand by a thousand pairs that is little. Its scores are those of
    `score_in_blocks` to 1e-5; other blocks round in another way.
    """

    def score(rows: Rows, columns: slice) -> Float[Tensor, "text video"]:
        chosen = torch.from_numpy(rows) if isinstance(rows, np.ndarray) else rows
        return score_in_blocks(retriever, texts[chosen], videos[columns], memory=memory)

    return score


def parts_in_blocks(
    retriever: Retriever, texts: Texts, videos: Videos, *, memory: int = DEFAULT_MEMORY
) -> dict[str, Float[Tensor, "text video"]]:
    """Return the parts of `score_in_blocks`, each for all texts and all videos."""
    parts: dict[str, Tensor] = {}
    with scoring(retriever):
        sizes = block_sizes(retriever, texts, videos, memory=memory)
        for rows, columns, ready_texts, ready_videos in _blocks(retriever, texts, videos, sizes):
            for name, part in retriever.score_parts(ready_texts, ready_videos).items():
                if name not in parts:
                    parts[name] = texts.sentence.new_empty(len(texts), len(videos))
                parts[name][rows, columns] = part
    return parts


def block_sizes(
    retriever: Retriever, texts: Texts, videos: Videos, *, memory: int = DEFAULT_MEMORY
) -> BlockSizes:
    """Share `memory` bytes: half for a block of pairs, a quarter each for either side.

    A block of pairs takes texts x videos x `floats_per_pair` numbers, a panel of prepared videos
    `floats_per_video` each, prepared texts three vectors a word. Too little memory gives 1 x 1.
    """
    size = texts.sentence.element_size()
    words, frames, dim = texts.words.shape[1] + 1, *videos.frames.shape[1:]
    pairs = memory // 2 // (size * retriever.video_head.floats_per_pair(words, frames))
    rows = min(TEXTS_PER_BLOCK, memory // 4 // (size * 3 * (words + 1) * dim), max(1, pairs))
    on_cpu = texts.sentence.device.type == "cpu"
    columns = min(pairs // max(1, rows), VIDEOS_PER_CPU_BLOCK if on_cpu else len(videos))
    panel = memory // 4 // (size * retriever.video_head.floats_per_video(frames, dim))
    return BlockSizes(texts=max(1, rows), videos=max(1, min(columns, panel)), panel=max(1, panel))


@contextmanager
def scoring(retriever: nn.Module) -> Iterator[None]:
    """Without gradients and dropout; each module's own mode comes back afterwards.

    Each its own, since a frozen video head is in eval mode while the audio head trains.
    """
    modes = {module: module.training for module in retriever.modules()}
    retriever.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


class _Folded:
    """A retriever as it is now, ready to score and no more."""

    def __init__(self, head: FoldedMGFI, audio_head: CMFI | None) -> None:
        self.head = head
        self.audio_head = audio_head

    def prepare_texts(self, texts: Texts) -> ReadyTexts:
        """As `Retriever.prepare_texts`."""
        for_frames = self.head.prepare_texts(texts)
        return ReadyTexts(for_frames=for_frames, sentence=for_frames.sentence)

    def prepare_videos(self, videos: Videos) -> ReadyVideos:
        """As `Retriever.prepare_videos`."""
        return ReadyVideos(
            for_frames=self.head.prepare_videos(videos),
            audio=None if self.audio_head is None else self.audio_head.embed(videos),
        )

    def score(self, texts: ReadyTexts, videos: ReadyVideos) -> Float[Tensor, "text video"]:
        """As `Retriever.score`."""
        similarity = self.head.score(texts.for_frames, videos.for_frames)
        return similarity if videos.audio is None else similarity + texts.sentence @ videos.audio.T


def _folded(retriever: Retriever) -> "Retriever | _Folded":
    """The quickest way to score with a head, as long as it does not change."""
    head = retriever.video_head
    return _Folded(FoldedMGFI(head), retriever.audio_head) if isinstance(head, MGFI) else retriever


def _blocks(
    retriever: "Retriever | _Folded", texts: Texts, videos: Videos, sizes: BlockSizes
) -> Iterator[tuple[Int[Tensor, " row"], slice, ReadyTexts, ReadyVideos]]:
    """Every text against every video, block by block; each side is prepared as rarely as it may.

    Captions of like length share a block, as a block is padded to its longest.
    """
    by_length = texts.word_mask.sum(-1).argsort(stable=True)
    for start in range(0, len(videos), sizes.panel):
        stop = min(start + sizes.panel, len(videos))
        panel = [
            (columns, retriever.prepare_videos(videos[columns]))
            for columns in _slices(start, stop, sizes.videos)
        ]
        for block in _slices(0, len(texts), sizes.texts):
            rows = by_length[block]
            ready_texts = retriever.prepare_texts(texts[rows])
            for columns, ready_videos in panel:
                yield rows, columns, ready_texts, ready_videos


def _slices(start: int, stop: int, step: int) -> Iterator[slice]:
    """Consecutive slices from start to stop, `step` long each but the last."""
    for begin in range(start, stop, step):
        yield slice(begin, min(begin + step, stop))
