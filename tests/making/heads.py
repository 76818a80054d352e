"""Captions, videos and heads drawn at random; the padding always holds noise."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vidret.data.batches import Texts, Videos

NOISE = 1e3


def draw_texts(
    lengths: Sequence[int], dim: int, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Texts:
    """One caption a length, padded with noise to the longest."""
    draw = torch.Generator().manual_seed(seed)
    mask = _mask(lengths)
    words = torch.randn(*mask.shape, dim, generator=draw, dtype=dtype)
    return Texts(
        sentence=torch.randn(len(lengths), dim, generator=draw, dtype=dtype),
        words=noisy(words, mask),
        word_mask=mask,
    )


def draw_videos(
    lengths: Sequence[int],
    dim: int,
    audio_dim: int,
    *,
    heard: Sequence[bool] | None = None,
    seed: int = 1,
    dtype: torch.dtype = torch.float64,
) -> Videos:
    """One video a number of frames, padded with noise to the most; noise for the unheard sound."""
    draw = torch.Generator().manual_seed(seed)
    mask = _mask(lengths)
    audio_mask = torch.tensor(heard if heard is not None else [True] * len(lengths))
    frames = torch.randn(*mask.shape, dim, generator=draw, dtype=dtype)
    audio = torch.randn(len(lengths), audio_dim, generator=draw, dtype=dtype)
    return Videos(
        frames=noisy(frames, mask),
        frame_mask=mask,
        audio=noisy(audio, audio_mask),
        audio_mask=audio_mask,
    )


def noisy(values: Tensor, mask: Tensor) -> Tensor:
    """The values, with noise where the mask is False."""
    return values.where(mask[..., None], values * NOISE)


def shake(module: nn.Module, *, seed: int = 2, scale: float = 0.4) -> nn.Module:
    """Give every weight of a module a drawn value, so that none is an identity or zero any more."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            noise = torch.randn(weight.shape, generator=draw, dtype=weight.dtype)
            weight.add_(scale * noise)
    return module


def _mask(lengths: Sequence[int]) -> Tensor:
    return torch.arange(max(1, *lengths)) < torch.tensor(lengths)[:, None]
