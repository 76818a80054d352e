"""The last linear map of a tower, and the tower without it: what `--features hidden` stores."""

from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from vidret.data.errors import ConfigError

Projection = nn.Linear | nn.Parameter | None


def project(hidden: Tensor, projection: Projection) -> Tensor:
    """What leaves a projection; a tower without one gives what would have entered it."""
    if projection is None:
        return hidden
    return projection(hidden) if isinstance(projection, nn.Linear) else hidden @ projection


def as_matrix(projection: Projection) -> tuple[Tensor, Tensor | None] | None:
    """Weight `(in, out)` and bias: `hidden @ weight + bias` is what leaves the projection."""
    if projection is None:
        return None
    if isinstance(projection, nn.Linear):
        return projection.weight.T, projection.bias
    return projection, None


def visual_projection(visual: nn.Module) -> Projection:
    """The last linear map of an image tower, or None where it ends in its pooling."""
    place = _place(visual)
    return None if place is None else _at(visual, place)


def without_projection(visual: nn.Module) -> nn.Module:
    """The same tower with the same weights, but for its last linear map.

    Only the modules on the way to that map are copied, and they share their weights with the
    original, so this costs nothing, and gradients reach the original.
    """
    place = _place(visual)
    return visual if place is None else _without(visual, place)


def _place(visual: nn.Module) -> tuple[str, ...] | None:
    """The names that lead to the last linear map."""
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    if isinstance(visual, VisionTransformer):
        return None if visual.proj is None else ("proj",)
    if isinstance(visual, ModifiedResNet):
        return ("attnpool", "c_proj")
    if isinstance(visual, TimmModel):
        return _place_in_timm(visual)
    raise _unknown(visual)


def _place_in_timm(visual: Any) -> tuple[str, ...] | None:  # noqa: ANN401 - a TimmModel
    """open_clip adds a head to a trunk of timm, or uses the trunk's own classifier as one."""
    names = [name for name, _ in visual.head.named_children()]
    if names:
        last = {"proj": ("head", "proj"), "mlp": ("head", "mlp", "fc2")}.get(names[-1])
        if last is None:
            raise _unknown(visual)
        return last
    classifier = visual.trunk.get_classifier()
    if isinstance(classifier, nn.Identity):
        return None
    for name, module in visual.named_modules():
        if module is classifier and isinstance(module, nn.Linear):
            return tuple(name.split("."))
    raise _unknown(visual)


def _unknown(visual: nn.Module) -> ConfigError:
    return ConfigError(
        f"vidret does not know what enters the last projection of {type(visual).__name__}: "
        "use --features projected, or choose another model"
    )


def _at(module: nn.Module, place: tuple[str, ...]) -> nn.Linear | nn.Parameter:
    found: nn.Module | nn.Parameter = module
    for name in place:
        found = getattr(found, name)
    assert isinstance(found, nn.Linear | nn.Parameter)
    return found


def _without(module: nn.Module, place: tuple[str, ...]) -> nn.Module:
    twin = copy(module)
    for kind in ("_parameters", "_modules"):  # a copy shares these tables, and one entry changes
        twin.__dict__[kind] = dict(module.__dict__[kind])
    name, rest = place[0], place[1:]
    child = getattr(module, name)
    if rest:
        setattr(twin, name, _without(child, rest))
    elif isinstance(child, nn.Parameter):
        setattr(twin, name, None)
    else:
        setattr(twin, name, _nothing(child) if name == "c_proj" else nn.Identity())
    return twin


def _nothing(linear: nn.Linear) -> nn.Linear:
    """A map that changes nothing: torch's attention takes the weights of its last one itself."""
    size, like = linear.in_features, linear.weight
    nothing = nn.Linear(size, size, bias=False, device=like.device, dtype=like.dtype)
    nothing.weight = nn.Parameter(
        torch.eye(size, device=like.device, dtype=like.dtype), requires_grad=False
    )
    return nothing
