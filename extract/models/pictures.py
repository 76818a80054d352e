"""How a model wants its pictures; a way that is not ours is refused, not guessed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vidret.data.errors import ConfigError

SHORTEST, SQUASH = "shortest", "squash"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """How the model wants its pictures.

    Args:
        resize: `shortest` scales the shorter side and cuts the middle out; `squash` scales both
            sides, whatever becomes of the proportions.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: str = SHORTEST

    @property
    def geometry(self) -> str:
        """One line on what decides the bytes of a prepared picture."""
        way = "centre-crop" if self.resize == SHORTEST else self.resize
        return f"rgb24 bicubic-antialias {self.size} {way}"

    @property
    def description(self) -> str:
        """One line for the fingerprint."""
        return f"{self.geometry} mean {self.mean} std {self.std}"


def pixels_of(name: str, preprocess: Mapping[str, Any]) -> Pixels:
    """The pictures that a model wants; a way that is not ours is refused, not guessed.

    Raises:
        ConfigError: it wants them in a way that vidret does not have.
    """
    size, resize = preprocess["size"], preprocess["resize_mode"]
    sides = (size, size) if isinstance(size, int) else tuple(size)
    interpolation, mode = preprocess["interpolation"], preprocess.get("mode", "RGB")
    odd = {
        f"interpolation {interpolation}": interpolation != "bicubic",
        f"resize mode {resize}": resize not in (SHORTEST, SQUASH),
        f"size {sides}": len(set(sides)) > 1,
        f"colours {mode}": mode != "RGB",
    }
    if any(odd.values()):
        raise ConfigError(
            f"{name} wants pictures with {', '.join(one for one, is_odd in odd.items() if is_odd)},"
            f" and vidret prepares them bicubic, {SHORTEST} or {SQUASH}, square: choose another "
            "model"
        )
    return Pixels(
        size=int(sides[0]),
        mean=tuple(preprocess["mean"]),
        std=tuple(preprocess["std"]),
        resize=resize,
    )
