"""Cached features in, float32 tensors and masks out: a split packed, a batch padded."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """A batch of captions; padding is False in the mask and may hold anything."""

    sentence: Float[Tensor, "text dim"]
    words: Float[Tensor, "text word dim"]
    word_mask: Bool[Tensor, "text word"]

    def __len__(self) -> int:
        return len(self.sentence)

    @property
    def lengths(self) -> Int[Tensor, " text"]:
        """How many words each caption has."""
        return self.word_mask.sum(-1)

    def __getitem__(self, rows: slice | Int[Tensor, " row"]) -> "Texts":
        """Some of the captions, with no more padding than they need."""
        mask = self.word_mask[rows]
        longest = max(1, int(mask.sum(-1).max())) if len(mask) else 1
        return Texts(
            sentence=self.sentence[rows],
            words=self.words[rows, :longest],
            word_mask=mask[:, :longest],
        )

    def to(self, device: torch.device | str) -> "Texts":
        """The same batch on another device."""
        return Texts(
            sentence=self.sentence.to(device),
            words=self.words.to(device),
            word_mask=self.word_mask.to(device),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedTexts:
    """Any number of captions without padding; some rows of it are a batch of `Texts`.

    Args:
        sentence: one row a caption.
        values: the words of all captions, one caption behind the other.
        offsets: caption `n` has the words `offsets[n]` to `offsets[n + 1]`.
    """

    sentence: Float[Tensor, "text dim"]
    values: Float[Tensor, "token dim"]
    offsets: Int[Tensor, " bound"]

    def __len__(self) -> int:
        return len(self.sentence)

    @property
    def lengths(self) -> Int[Tensor, " text"]:
        """How many words each caption has."""
        return self.offsets.diff()

    def __getitem__(self, rows: slice | Int[Tensor, " row"]) -> Texts:
        """Some of the captions as a batch, padded to the longest of them."""
        lengths = self.lengths[rows]
        longest = max(1, int(lengths.max())) if len(lengths) else 1
        places = torch.arange(longest, device=lengths.device)
        mask = places < lengths[:, None]
        sources = (self.offsets[:-1][rows, None] + places).where(mask, 0)
        if len(self.values):
            words = self.values[sources]
        else:  # then there is no row that padding could show
            words = self.values.new_zeros(*mask.shape, self.values.shape[-1])
        return Texts(sentence=self.sentence[rows], words=words, word_mask=mask)

    def to(self, device: torch.device | str) -> "PackedTexts":
        """The same captions on another device."""
        return PackedTexts(
            sentence=self.sentence.to(device),
            values=self.values.to(device),
            offsets=self.offsets.to(device),
        )


AnyTexts = Texts | PackedTexts  # what scoring takes: `texts[rows]`, `.sentence`, `.lengths`


@dataclass(frozen=True, slots=True, kw_only=True)
class Videos:
    """A batch of videos; `audio_mask` is False where there is no sound to speak of."""

    frames: Float[Tensor, "video frame dim"]
    frame_mask: Bool[Tensor, "video frame"]
    audio: Float[Tensor, "video audio_dim"]
    audio_mask: Bool[Tensor, " video"]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, rows: slice | Int[Tensor, " row"]) -> "Videos":
        """Some of the videos."""
        return Videos(
            frames=self.frames[rows],
            frame_mask=self.frame_mask[rows],
            audio=self.audio[rows],
            audio_mask=self.audio_mask[rows],
        )

    def to(self, device: torch.device | str) -> "Videos":
        """The same batch on another device."""
        return Videos(
            frames=self.frames.to(device),
            frame_mask=self.frame_mask.to(device),
            audio=self.audio.to(device),
            audio_mask=self.audio_mask.to(device),
        )


def pad_words(
    values: Float[Tensor, "token dim"], offsets: Int[Tensor, " bound"]
) -> tuple[Float[Tensor, "text word dim"], Bool[Tensor, "text word"]]:
    """Ragged words (values and offsets) as one padded tensor and its mask."""
    lengths = offsets.diff()
    longest = max(1, int(lengths.max())) if len(lengths) else 1
    mask = torch.arange(longest, device=values.device) < lengths[:, None]
    words = values.new_zeros(len(lengths), longest, values.shape[-1])
    words[mask] = values[int(offsets[0]) : int(offsets[-1])]
    return words, mask
