"""How the layers of an encoder lie: what comes first, its blocks, what comes after them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from vidret.data.errors import ConfigError
from vidret.extract.clip import ClipEncoder
from vidret.extract.models.projection import visual_projection
from vidret.extract.panns import SoundEncoder
from vidret.extract.tiny.sound import TinySound

NORMS = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.modules.batchnorm._BatchNorm,  # noqa: SLF001 - torch has no other name for all of them
)

Layer = nn.Module | nn.Parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Tower:
    """One encoder, in layers; what is in none of them comes before the blocks.

    Args:
        name: as `--unfreeze` has it.
        module: the network that it is, or a part of.
        blocks: from the input to the output; a block may be several modules.
        tail: what comes after the blocks: the last norm, a pooling, the projection.
        projection: the last linear map, where there is one.
    """

    name: str
    module: nn.Module
    blocks: tuple[tuple[nn.Module, ...], ...]
    tail: tuple[Layer, ...]
    projection: Layer | None = None

    def depths(self) -> dict[nn.Parameter, int]:
        """How deep each weight lies: 1 in the first block, one more than there are in the tail.

        Weights that are not named lie before the blocks, at 0.
        """
        layers: tuple[tuple[Layer, ...], ...] = (*self.blocks, self.tail)
        return {weight: n for n, layer in enumerate(layers, 1) for weight in weights_in(layer)}


def visual_tower(clip: ClipEncoder) -> Tower:
    """CLIP's image tower.

    Raises:
        ConfigError: it has no blocks that vidret could tell.
    """
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    visual = clip.model.visual
    if isinstance(visual, VisionTransformer):
        blocks = _one_each(visual.transformer.resblocks)
        tail = _some(visual.attn_pool, _own(visual, "attn_pool_contrastive"), visual.ln_post)
        tail = (*tail, *_some(visual.proj))
    elif isinstance(visual, ModifiedResNet):
        stages = (visual.layer1, visual.layer2, visual.layer3, visual.layer4)
        blocks, tail = _one_each(block for stage in stages for block in stage), (visual.attnpool,)
    elif isinstance(visual, TimmModel):
        blocks, tail = _timm_layers(clip.name, visual.trunk)
        tail = (*tail, visual.head)
    else:
        raise _no_blocks(clip.name, visual)
    return Tower(
        name="visual",
        module=clip.model,
        blocks=blocks,
        tail=tail,
        projection=visual_projection(visual),
    )


def text_tower(clip: ClipEncoder) -> Tower:
    """CLIP's text tower: a part of the model, or a model of its own."""
    text: Any = _own(clip.model, "text") or clip.model
    return Tower(
        name="text",
        module=clip.model,
        blocks=_one_each(text.transformer.resblocks),
        tail=_some(text.ln_final, text.text_projection),
        projection=text.text_projection,
    )


def sound_tower(sound: SoundEncoder) -> Tower:
    """Cnn14, or the bundled toy in its place."""
    model: Any = sound.model
    if isinstance(model, TinySound):
        blocks, tail = _one_each(model.blocks), (model.embed,)
    else:
        parts = dict(model.named_children())
        blocks = _one_each(parts[f"conv_block{number}"] for number in range(1, 7))
        tail = (model.fc1,)
    return Tower(name="audio", module=model, blocks=blocks, tail=tail)


def weights_in(layers: Iterable[Layer]) -> Iterator[nn.Parameter]:
    """Every weight of some layers."""
    for layer in layers:
        if isinstance(layer, nn.Parameter):
            yield layer
        else:
            yield from layer.parameters()


def norm_weights(module: nn.Module) -> Iterator[nn.Parameter]:
    """The weights and biases of every norm in a network."""
    for part in module.modules():
        if isinstance(part, NORMS):
            yield from part.parameters(recurse=False)


def _timm_layers(
    name: str, trunk: nn.Module
) -> tuple[tuple[tuple[nn.Module, ...], ...], tuple[Layer, ...]]:
    """The blocks of a timm model, and its children behind them."""
    children = dict(trunk.named_children())
    place = next((one for one in ("blocks", "stages", "layers", "layer4") if one in children), None)
    if place is None:
        raise _no_blocks(name, trunk)
    if place == "layer4":  # a ResNet keeps its stages under names of their own
        stages = [children[f"layer{number}"] for number in range(1, 5)]
    else:
        stages = list(children[place].children())
    blocks = [block for stage in stages for block in _blocks_of_stage(stage, place)]
    behind = list(children)[list(children).index(place) + 1 :]
    return tuple(blocks), tuple(children[child] for child in behind)


def _blocks_of_stage(stage: nn.Module, place: str) -> list[tuple[nn.Module, ...]]:
    """The blocks of a stage; what joins it to the one before belongs to its first block."""
    if place == "blocks":
        return [(stage,)]
    own = _own(stage, "blocks")
    blocks = list((stage if own is None else own).children())
    others = [] if own is None else [one for one in stage.children() if one is not own]
    return [(*others, blocks[0]), *((block,) for block in blocks[1:])] if blocks else []


def _one_each(modules: Iterable[nn.Module]) -> tuple[tuple[nn.Module, ...], ...]:
    return tuple((module,) for module in modules)


def _some(*layers: Layer | None) -> tuple[Layer, ...]:
    return tuple(layer for layer in layers if layer is not None)


def _own(module: nn.Module, name: str) -> nn.Module | None:
    """A child that not every network of its class has."""
    return dict(module.named_children()).get(name)


def _no_blocks(name: str, network: nn.Module) -> ConfigError:
    return ConfigError(
        f"vidret cannot tell the blocks of {name} ({type(network).__name__}), which last:N, "
        "--layer-decay, --lora and --checkpointing need: leave them out, or choose another model"
    )
