"""Whether tensors are those of a model: names and shapes, without stretching anything."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


def build_clip(architecture: Mapping[str, Any]) -> nn.Module:
    """A model of open_clip with random weights; nothing is fetched for its towers."""
    import open_clip

    parts = deepcopy(dict(architecture))
    parts["vision_cfg"]["timm_model_pretrained"] = False
    custom = parts.pop("custom_text", False)
    model: nn.Module = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**parts)
    return model


def shape_of_clip(architecture: Mapping[str, Any]) -> nn.Module:
    """The same without any numbers, for its names and shapes: no time and no memory."""
    with torch.device("meta"):
        return build_clip(architecture)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How tensors differ from those of a model: their names."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    other_shape: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether nothing differs."""
        return not (self.missing or self.unexpected or self.other_shape)

    @property
    def first(self) -> str:
        """What differs first, in words."""
        kinds = (
            ("lacks", self.missing),
            ("has the unknown", self.unexpected),
            ("has another shape in", self.other_shape),
        )
        return next((f"it {what} {names[0]}" for what, names in kinds if names), "nothing differs")


def compare(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Fit:
    """Compare the names and shapes of tensors."""
    both = [name for name in expected if name in found]
    return Fit(
        missing=tuple(name for name in expected if name not in found),
        unexpected=tuple(name for name in found if name not in expected),
        other_shape=tuple(name for name in both if expected[name].shape != found[name].shape),
    )


def as_open_clip(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under the names that open_clip's model has now; older files use older ones.

    open_clip would also stretch the positions of another picture size or context to fit. That makes
    another model in silence, so nothing of it here.
    """
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    state: dict[str, Tensor] = dict(convert_state_dict(model, dict(tensors)))
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = dict(convert_to_custom_text_state_dict(state))
    for name in ("logit_scale", "logit_bias"):  # a number, or a list of one
        own = getattr(model, name, None)
        if name in state and isinstance(own, Tensor) and state[name].numel() == 1:
            state[name] = state[name].reshape(own.shape)
    bias = getattr(model, "logit_bias", None)
    if isinstance(bias, Tensor) and "logit_bias" not in state:  # it reaches no embedding
        state["logit_bias"] = torch.zeros_like(bias)
    return state


def fill(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load tensors into a model that they fit exactly.

    Raises:
        ValueError: they do not; the message names the first difference.
    """
    fit = compare(model.state_dict(), tensors)
    if not fit.exact:
        raise ValueError(fit.first)
    model.load_state_dict(dict(tensors))
