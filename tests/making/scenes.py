"""Videos made of scenes, where it is known which frames belong together, and which videos do."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vidret.data.batches import Videos


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Videos, and the scene that each frame shows; -1 for padding."""

    videos: Videos
    scene: Tensor


def draw_scenes(
    number: int,
    *,
    scenes: int = 3,
    shortest: int,
    longest: int,
    noise: float,
    seed: int,
    dim: int = 32,
) -> Scenes:
    """Videos that cut between scenes, each shown for some frames; a scene may come back.

    All frames share one direction, as those of CLIP do, and differ by their scene and by noise;
    scene and common direction are alike strong, and noise is so much weaker than either.
    """
    draw = torch.Generator().manual_seed(seed)
    most = scenes * longest
    labels = torch.full((number, most), -1)
    for row in range(number):
        lengths = torch.randint(shortest, longest + 1, (scenes,), generator=draw)
        shown = torch.repeat_interleave(torch.arange(scenes), lengths)
        cut = int(torch.randint(len(shown), (1,), generator=draw))
        labels[row, : len(shown)] = shown.roll(cut)  # so the first scene may be the last, too
    looks = unit_rows(draw, number, scenes, dim)
    frames = looks[torch.arange(number)[:, None], labels.clamp_min(0)] + unit_rows(draw, dim)
    frames = frames + noise * unit_rows(draw, number, most, dim)
    return Scenes(videos=silent(frames, labels >= 0), scene=labels)


@dataclass(frozen=True, kw_only=True)
class Doubles:
    """Videos, and for each pair whether they show the same though nobody says so."""

    videos: Videos
    same: Tensor


def draw_doubles(
    number: int,
    *,
    alike: float,
    noise: float,
    drift: float,
    seed: int,
    frames: int = 12,
    dim: int = 64,
) -> Doubles:
    """Videos in four kinds, in turn: two of one scene, one that only resembles it, one of its own.

    Args:
        number: a multiple of four.
        alike: cosine of a scene with the one that resembles it.
        noise: of each frame against the scene.
        drift: by which each of the two shows its scene in its own way, throughout.
        seed: of the draws.
        frames: of each video.
        dim: of each frame.
    """
    draw = torch.Generator().manual_seed(seed)
    scene, other, own = (unit_rows(draw, number // 4, dim) for _ in range(3))
    resembling = alike * scene + (1 - alike**2) ** 0.5 * other
    looks = torch.stack([scene, scene, resembling, own], dim=1).flatten(0, 1)
    looks = looks + drift * unit_rows(draw, number, dim)
    shown = looks[:, None] + noise * unit_rows(draw, number, frames, dim)
    place = torch.arange(number)
    same = (place[:, None] // 4 == place // 4) & (place % 4 < 2)[:, None] & (place % 4 < 2)
    return Doubles(
        videos=silent(shown, torch.ones(number, frames, dtype=torch.bool)),
        same=same & ~torch.eye(number, dtype=torch.bool),
    )


def unit_rows(draw: torch.Generator, *shape: int) -> Tensor:
    """Random directions."""
    return torch.nn.functional.normalize(torch.randn(*shape, generator=draw), dim=-1)


def silent(frames: Tensor, mask: Tensor) -> Videos:
    """Frames as a batch of videos without sound."""
    return Videos(
        frames=frames,
        frame_mask=mask,
        audio=frames.new_zeros(len(frames), 2),
        audio_mask=torch.zeros(len(frames), dtype=torch.bool),
    )
