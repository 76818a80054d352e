"""Which weights of the encoders learn, and at which rates."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from vidret.data.errors import ConfigError
from vidret.extract.encoders import Encoders
from vidret.extract.models.adapters import LowRank
from vidret.extract.models.towers import (
    Tower,
    norm_weights,
    sound_tower,
    text_tower,
    visual_tower,
    weights_in,
)
from vidret.extract.panns import SHORTEST
from vidret.pipelines.config.unfreezing import ENCODERS, Unfrozen
from vidret.pipelines.training.optimizing import MATRICES, Groups

VISUAL, TEXT, SOUND = ENCODERS


class LearnedWeights(nn.Module):
    """Some weights of a network, by their names there: what a checkpoint keeps of it.

    Args:
        network: that they belong to, and go on to.
        weights: those that learn.
        buffers: numbers that change with them.
    """

    def __init__(
        self,
        network: nn.Module,
        weights: Iterable[nn.Parameter],
        buffers: Iterable[Tensor] = (),
    ) -> None:
        super().__init__()
        wanted, changing = set(weights), {id(buffer) for buffer in buffers}
        for name, weight in network.named_parameters():
            if weight in wanted:
                self.register_parameter(name.replace(".", "/"), weight)  # torch refuses dots
        for name, buffer in network.named_buffers():
            if id(buffer) in changing:
                self.register_buffer(name.replace(".", "/"), buffer)


def unfreeze(encoders: Encoders, weights: Iterable[nn.Parameter]) -> None:
    """Let gradients reach some weights of the encoders, and nothing else in them."""
    for module in (encoders.clip, encoders.sound):
        if module is not None:
            module.requires_grad_(False)  # noqa: FBT003 (torch's own signature)
    for weight in weights:
        weight.requires_grad_()


def weights_of(encoders: Encoders, part: str) -> list[nn.Parameter]:
    """What can learn in an encoder: the weights that its output depends on, as loaded.

    CLIP's own temperature and the tags of the sound network reach no output, and what an author
    froze (Cnn14's filters) stays frozen.
    """
    clip, sound = encoders.clip, encoders.sound
    module: nn.Module = clip
    if part == VISUAL:
        side = clip.pixels.size
        output = clip.encode_frames(torch.zeros(1, 3, side, side, device=encoders.device)).sum()
    elif part == TEXT:
        sentence, words = clip.encode_tokens(clip.mark_tokens([[]]).to(encoders.device))
        output = sentence.sum() + words.sum()
    elif sound is not None:
        module, output = sound, sound.encode(torch.zeros(SHORTEST, device=encoders.device)).sum()
    else:
        return []
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(output, weights, allow_unused=True)
    return [weight for weight, got in zip(weights, gradients, strict=True) if got is not None]


def chosen_weights(encoders: Encoders, part: str, unfrozen: Unfrozen) -> list[nn.Parameter]:
    """The weights of an encoder that `--unfreeze` names.

    Raises:
        ConfigError: the encoder has fewer blocks than it asks for, or none that vidret could tell.
    """
    weights = weights_of(encoders, part)
    if unfrozen.whole:
        return weights
    chosen: set[nn.Parameter] = set()
    if unfrozen.norms:
        chosen |= set(norm_weights(_network(encoders, part)))
    if unfrozen.last is not None:
        chosen |= set(_last_layers(tower_of(encoders, part), unfrozen.last))
    return [weight for weight in weights if weight in chosen]


def tower_of(encoders: Encoders, part: str) -> Tower:
    """The layers of an encoder.

    Raises:
        ConfigError: it has no blocks that vidret could tell.
    """
    if part == SOUND:
        assert encoders.sound is not None
        return sound_tower(encoders.sound)
    return visual_tower(encoders.clip) if part == VISUAL else text_tower(encoders.clip)


def adaptable(encoders: Encoders, part: str, chosen: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """Those of some weights that an adapter can stand for: matrices, but for the last projection.

    Raises:
        ConfigError: there are none.
    """
    tower = tower_of(encoders, part)
    projection = set() if tower.projection is None else set(weights_in((tower.projection,)))
    inside = {weight for weight, depth in tower.depths().items() if depth > 0}
    possible = (_matrices(tower.module) & inside) - projection - _by_channel(tower.module)
    found = [weight for weight in chosen if weight in possible]
    if not found:
        raise ConfigError(
            f"--lora finds no matrix among the weights of {part} that --unfreeze names: name more "
            "of them, or leave --lora out"
        )
    return found


def encoder_groups(
    encoders: Encoders,
    part: str,
    weights: Sequence[nn.Parameter],
    *,
    lr: float,
    weight_decay: float,
    layer_decay: float = 1.0,
) -> Groups:
    """What learns in an encoder, with its rates: matrices decay; norms, biases, embeddings do not.

    Args:
        encoders: that it is one of.
        part: which one.
        weights: of it that learn.
        lr: of what comes after the blocks; without `layer_decay` of all.
        weight_decay: of the matrices.
        layer_decay: each block has the rate of what lies above it times this.
    """
    matrices = _matrices(_network(encoders, part))
    if layer_decay == 1.0:
        layers = [(part, lr, list(weights))]
    else:
        layers = _by_layer(tower_of(encoders, part), weights, lr, layer_decay)
    groups: Groups = []
    for name, rate, own in layers:
        for decay, belongs in ((weight_decay, True), (0.0, False)):
            params = [weight for weight in own if (weight in matrices) is belongs]
            if params:
                groups.append({"params": params, "lr": rate, "weight_decay": decay, "name": name})
    return groups


def _by_layer(
    tower: Tower, weights: Sequence[nn.Parameter], lr: float, layer_decay: float
) -> list[tuple[str, float, list[nn.Parameter]]]:
    """Names, rates and weights of the layers, from the input to the output."""
    top, depths = len(tower.blocks) + 1, tower.depths()
    names = {0: f"{tower.name}, before the blocks", top: f"{tower.name}, after the blocks"}
    return [
        (
            names.get(depth, f"{tower.name}, block {depth} of {top - 1}"),
            lr * layer_decay ** (top - depth),
            [weight for weight in weights if depths.get(weight, 0) == depth],
        )
        for depth in range(top + 1)
    ]


def _last_layers(tower: Tower, last: int) -> Iterable[nn.Parameter]:
    """The weights of the last blocks, and of what comes after them."""
    blocks = len(tower.blocks)
    if last > blocks:
        raise ConfigError(
            f"unfreeze asks for last:{last}, and {tower.name} has {blocks} blocks: give "
            f"last:{blocks} or less, or name the encoders that have as many"
        )
    depths = tower.depths()
    return (weight for weight, depth in depths.items() if depth > blocks - last)


def _network(encoders: Encoders, part: str) -> nn.Module:
    if part == SOUND:
        assert encoders.sound is not None
        return encoders.sound.model
    network: nn.Module = encoders.clip.model
    return network


def _by_channel(network: nn.Module) -> set[nn.Parameter]:
    """Convolutions that mix no channels, or few of them: they are thin already."""
    return {
        weight
        for module in network.modules()
        if isinstance(module, nn.Conv2d) and module.groups > 1
        for weight in module.parameters(recurse=False)
    }


def _matrices(network: nn.Module) -> set[nn.Parameter]:
    """Weights that multiply: of linear layers, convolutions and attention, and projections."""
    from open_clip.transformer import Attention

    kinds = (*MATRICES, Attention, LowRank)
    found = {
        weight
        for module in network.modules()
        if isinstance(module, kinds)
        for weight in module.parameters(recurse=False)
        if weight.ndim > 1
    }
    bare = ("proj", "text_projection")  # matrices that open_clip keeps without a layer of their own
    return found | {
        weight
        for name, weight in network.named_parameters()
        if name.rpartition(".")[2] in bare and weight.ndim == 2
    }
