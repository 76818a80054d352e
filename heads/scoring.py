"""Scoring without training: all texts against all videos, in blocks, within a budget of memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from vidret.data.batches import AnyTexts, Texts, Videos
from vidret.heads.folded import FoldedMGFI
from vidret.heads.mgfi import MGFI
from vidret.heads.products import quick_products, quicker_is_exact
from vidret.heads.retriever import ReadyTexts, ReadyVideos, Retriever
from vidret.heads.streaming import Rows, Scorer
from vidret.heads.xpool import FoldedXPool, XPool

CPU_MEMORY = 512 * 2**20
Precision = Literal["float32", "bfloat16", "float16"]
COARSE = {"bfloat16": torch.bfloat16, "float16": torch.float16}
FEW = 16  # texts and videos, to see whether the quicker products are exact
TEXTS_PER_BLOCK = 256
VIDEOS_PER_CPU_BLOCK = 64
VECTOR = 16  # numbers


@runtime_checkable
class Scored(Protocol):
    """What says how much memory its scoring takes."""

    def floats_per_pair(self, words: int, frames: int) -> int:
        """How many numbers scoring holds at once for a pair of a text and a video."""

    def floats_per_video(self, frames: int, dim: int) -> int:
        """How many numbers a prepared video takes while it is prepared and after."""


@runtime_checkable
class PreparesTexts(Protocol):
    """What takes more for its texts than three vectors a word, and says how much."""

    def floats_per_text(self, words: int, dim: int) -> int:
        """How many numbers a prepared text takes while it is prepared and after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSizes:
    """How many texts and videos meet at once, and how many videos stay prepared meanwhile."""

    texts: int
    videos: int
    panel: int


class ReadyRetriever:
    """Both heads, made ready to score; to be made anew once they have learned more.

    Args:
        retriever: the heads.
        videos: all that compete.
        precision: what the products of the hidden layers are multiplied in.
        fold: whether the head's score is all that is wanted of it, and not its parts.
    """

    def __init__(
        self,
        retriever: Retriever,
        videos: Videos,
        *,
        precision: Precision = "float32",
        fold: bool = True,
    ) -> None:
        head, audio_head = retriever.video_head, retriever.audio_head
        self.retriever = retriever
        self.head: Any = head
        if fold and isinstance(head, MGFI):
            self.head = FoldedMGFI(head, COARSE.get(precision))
        elif fold and isinstance(head, XPool):
            self.head = FoldedXPool(head)
        self.stand_in = None if audio_head is None else audio_head.stand_in(videos)
        self.quick: bool | None = None  # whether oneDNN may multiply; found out by the first block

    def prepare_texts(self, texts: Texts) -> ReadyTexts:
        """Do what depends on the texts alone."""
        return ReadyTexts(
            for_frames=self.head.prepare_texts(texts),
            sentence=normalize(texts.sentence, dim=-1),
        )

    def prepare_videos(self, videos: Videos) -> ReadyVideos:
        """Do what depends on the videos alone."""
        return ReadyVideos(
            for_frames=self.head.prepare_videos(videos),
            audio=self.retriever.embed_sound(videos, self.stand_in),
        )

    def score(self, texts: ReadyTexts, videos: ReadyVideos) -> Float[Tensor, "text video"]:
        """Return the similarity of prepared texts and videos."""
        similarity = self.head.score(texts.for_frames, videos.for_frames)
        return similarity if videos.audio is None else similarity + texts.sentence @ videos.audio.T

    @contextmanager
    def products(self, texts: Texts, videos: Videos) -> Iterator[None]:
        """Multiply by the quicker code in this block, if it is as exact on these."""
        if self.quick is None:
            self.quick = quicker_is_exact(
                lambda: self.score(self.prepare_texts(texts), self.prepare_videos(videos))
            )
        with quick_products(wanted=self.quick):
            yield

    def fill(
        self, texts: AnyTexts, videos: Videos, memory: int | None
    ) -> Float[Tensor, "text video"]:
        """Return the similarity of some texts to some of the videos."""
        with torch.inference_mode(mode=False):  # what comes out may enter a loss
            similarity = texts.sentence.new_empty(len(texts), len(videos))
        if not similarity.numel():
            return similarity
        sizes = block_sizes(
            self.head, texts, videos, memory=memory or usual_memory(similarity.device)
        )
        with self.products(texts[: min(FEW, sizes.texts)], videos[: min(FEW, sizes.videos)]):
            for rows, columns, ready_texts, ready_videos in _blocks(self, texts, videos, sizes):
                similarity[rows, columns] = self.score(ready_texts, ready_videos)
        return similarity


def score_in_blocks(
    retriever: Retriever,
    texts: AnyTexts,
    videos: Videos,
    *,
    memory: int | None = None,
    precision: Precision = "float32",
) -> Float[Tensor, "text video"]:
    """Return the similarity of all texts to all videos.

    Args:
        retriever: as it is now; dropout is off.
        texts: on the device of the videos.
        videos: all that compete.
        memory: bytes to take beside the result; None leaves it to `usual_memory`.
        precision: what the products of the hidden layers are multiplied in. `float32` is exact to
            1e-5; the coarser ones are quicker where the processor has units for them.
    """
    with scoring(retriever):
        return ReadyRetriever(retriever, videos, precision=precision).fill(texts, videos, memory)


def block_scorer(
    retriever: Retriever,
    texts: AnyTexts,
    videos: Videos,
    *,
    memory: int | None = None,
    precision: Precision = "float32",
) -> Scorer:
    """Return what `ranks_in_blocks` asks for one block of similarities after the other.

    Each block takes `memory` bytes besides its result, and prepares its texts and videos anew:
    against the scoring of a thousand by a thousand pairs that is little. Its scores are those of
    `score_in_blocks` to 1e-5; other blocks round in another way.
    """
    with scoring(retriever):
        ready = ReadyRetriever(retriever, videos, precision=precision)

    def score(rows: Rows, columns: slice) -> Float[Tensor, "text video"]:
        chosen = torch.from_numpy(rows) if isinstance(rows, np.ndarray) else rows
        with scoring(retriever):
            return ready.fill(texts[chosen], videos[columns], memory)

    return score


def parts_in_blocks(
    retriever: Retriever, texts: AnyTexts, videos: Videos, *, memory: int | None = None
) -> dict[str, Float[Tensor, "text video"]]:
    """Return the parts of `score_in_blocks`, each for all texts and all videos."""
    parts: dict[str, Tensor] = {}
    with scoring(retriever):
        ready = ReadyRetriever(retriever, videos, fold=False)
        memory = memory or usual_memory(texts.sentence.device)
        sizes = block_sizes(retriever.video_head, texts, videos, memory=memory)
        for rows, columns, ready_texts, ready_videos in _blocks(ready, texts, videos, sizes):
            for name, part in retriever.score_parts(ready_texts, ready_videos).items():
                if name not in parts:
                    parts[name] = texts.sentence.new_empty(len(texts), len(videos))
                parts[name][rows, columns] = part
    return parts


def usual_memory(device: torch.device) -> int:
    """Bytes that scoring takes if nobody says: of a GPU half of what is free."""
    if device.type != "cuda":
        return CPU_MEMORY
    free, _ = torch.cuda.mem_get_info(device)
    return free // 2


def block_sizes(head: Scored, texts: AnyTexts, videos: Videos, *, memory: int) -> BlockSizes:
    """Share `memory` bytes: half for a block of pairs, a quarter each for either side.

    A block of pairs takes texts x videos x `floats_per_pair` numbers, a panel of prepared videos
    `floats_per_video` each, prepared texts three vectors a word or what the head says. Too little
    memory gives 1 x 1.
    """
    size = texts.sentence.element_size()
    words, frames, dim = int(texts.lengths.max()) + 1, *videos.frames.shape[1:]
    pairs = memory // 2 // (size * head.floats_per_pair(words, frames))
    text = 3 * (words + 1) * dim
    if isinstance(head, PreparesTexts):
        text = head.floats_per_text(words, dim)
    rows = min(TEXTS_PER_BLOCK, memory // 4 // (size * text), max(1, pairs))
    on_cpu = texts.sentence.device.type == "cpu"
    columns = min(pairs // max(1, rows), VIDEOS_PER_CPU_BLOCK if on_cpu else len(videos))
    panel = memory // 4 // (size * head.floats_per_video(frames, dim))
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


def _blocks(
    ready: ReadyRetriever, texts: AnyTexts, videos: Videos, sizes: BlockSizes
) -> Iterator[tuple[Int[Tensor, " row"], slice, ReadyTexts, ReadyVideos]]:
    """Every text against every video, block by block; each side is prepared as rarely as it may.

    Captions of like length share a block, as a block is padded to its longest.
    """
    by_length = texts.lengths.argsort(stable=True)
    for start in range(0, len(videos), sizes.panel):
        stop = min(start + sizes.panel, len(videos))
        panel = [
            (columns, ready.prepare_videos(videos[columns]))
            for columns in _slices(start, stop, sizes.videos)
        ]
        for block in _slices(0, len(texts), sizes.texts):
            rows = by_length[block]
            ready_texts = ready.prepare_texts(texts[rows])
            for columns, ready_videos in panel:
                yield rows, columns, ready_texts, ready_videos


def _slices(start: int, stop: int, step: int) -> Iterator[slice]:
    """Consecutive slices from start to stop, as few as may be of at most `step`, about alike long.

    Whole vectors of a processor where there is room: rows that begin between them are slower.
    """
    count = max(1, -(-(stop - start) // step))
    alike = -(-(stop - start) // count)
    size = min(step, -(-alike // VECTOR) * VECTOR)
    for first in range(start, stop, max(1, size)):
        yield slice(first, min(first + size, stop))
