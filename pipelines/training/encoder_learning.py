"""An encoder that learns in a stage: what of it learns, and how that is written and read again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vidret.data.errors import DamagedError
from vidret.data.storage.publish import publish
from vidret.extract.clip import load_clip
from vidret.extract.encoders import Encoders
from vidret.extract.models.adapters import (
    Adapter,
    add_adapters,
    factors_of,
    merge_adapters,
    merged_state,
)
from vidret.extract.panns import load_sound
from vidret.extract.weights.deltas import Base, base_of_file, with_delta, write_delta
from vidret.extract.weights.files import picture_metadata, write_tensors
from vidret.pipelines.config.unfreezing import Unfrozen
from vidret.pipelines.training.optimizing import Groups
from vidret.pipelines.training.unfreezing import (
    SOUND,
    LearnedWeights,
    adaptable,
    chosen_weights,
    encoder_groups,
)

FULL, DELTA = "full", "delta"
BATCH_NORM = nn.modules.batchnorm._BatchNorm  # noqa: SLF001 - torch has no other name for all


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningEncoder:
    """A network that learns, whole or in part.

    Args:
        encoders: that it is one of.
        network: CLIP, or the sound network.
        weights: what learns in each tower.
        base: whose weights it began with.
        changed: it differs from its base before it has learned anything.
        adapters: what learns in the place of its matrices.
        trains_norms: its BatchNorm goes by each batch, and its running numbers move.
        offline: forbid the hub.
    """

    encoders: Encoders
    network: nn.Module
    weights: dict[str, list[nn.Parameter]]
    base: Base
    changed: bool = False
    adapters: list[Adapter] = field(default_factory=list)
    trains_norms: bool = False
    offline: bool = True

    @property
    def learning(self) -> list[nn.Parameter]:
        """All weights that learn."""
        return [weight for own in self.weights.values() for weight in own]

    def groups(self, *, lr: float, weight_decay: float, layer_decay: float) -> Groups:
        """The same as the optimizer takes them, each tower by itself."""
        return [
            group | {"part": part}
            for part, own in self.weights.items()
            for group in encoder_groups(
                self.encoders, part, own, lr=lr, weight_decay=weight_decay, layer_decay=layer_decay
            )
        ]

    def kept(self) -> LearnedWeights:
        """What a checkpoint holds of it: all that changes, and nothing else."""
        buffers = (buffer for norm in self._norms() for buffer in norm.buffers(recurse=False))
        return LearnedWeights(self.network, self.learning, buffers)

    @contextmanager
    def stepping(self) -> Iterator[None]:
        """Let BatchNorm go by the batch inside the block, if it is to learn."""
        norms = list(self._norms())
        for norm in norms:
            norm.train()
        try:
            yield
        finally:
            for norm in norms:
                norm.eval()

    def settle(self) -> None:
        """After its stage: adapters become part of the matrices."""
        merge_adapters(self.adapters)
        self.adapters.clear()

    def _norms(self) -> Iterator[nn.Module]:
        """Every BatchNorm that learns; in a frozen block they keep still."""
        learning = set(self.learning) if self.trains_norms else set()
        for module in self.network.modules():
            if isinstance(module, BATCH_NORM) and module.weight in learning:
                yield module


def make_learning(
    encoders: Encoders,
    parts: tuple[str, ...],
    unfrozen: Unfrozen,
    *,
    base: str,
    lora: int = 0,
    batchnorm: str = "eval",
    changed: bool = False,
    seed: int = 0,
    offline: bool = True,
) -> LearningEncoder:
    """Choose what learns in some towers of one network, and give it its adapters.

    Args:
        encoders: that the network is one of.
        parts: its towers.
        unfrozen: what learns in each of them.
        base: the encoder as `--backbone` or `--audio` names it.
        lora: rank of the adapters; 0 is for none.
        batchnorm: `train` lets BatchNorm go by each batch.
        changed: the network is no longer as its base is.
        seed: of the adapters.
        offline: forbid the hub.

    Raises:
        ConfigError: an encoder has not what `--unfreeze` or `--lora` asks for.
    """
    owner = encoders.sound if SOUND in parts and encoders.sound is not None else encoders.clip
    network: nn.Module = owner.model
    weights = {part: chosen_weights(encoders, part, unfrozen) for part in parts}
    adapters: list[Adapter] = []
    if lora:
        weights = {part: adaptable(encoders, part, own) for part, own in weights.items()}
        adapters, weights = _with_adapters(network, weights, rank=lora, seed=seed)
    return LearningEncoder(
        encoders=encoders,
        network=network,
        weights=weights,
        base=Base(spec=base, digest=owner.weights),
        changed=changed,
        adapters=adapters,
        trains_norms=batchnorm == "train" and SOUND in parts,
        offline=offline,
    )


def _with_adapters(
    network: nn.Module, weights: dict[str, list[nn.Parameter]], *, rank: int, seed: int
) -> tuple[list[Adapter], dict[str, list[nn.Parameter]]]:
    """An adapter for each of some matrices, and what learns in each tower in their place."""
    tower_of = {weight: part for part, own in weights.items() for weight in own}
    matrices = dict(network.named_parameters())
    adapters = add_adapters(network, tower_of, rank=rank, seed=seed)
    learning: dict[str, list[nn.Parameter]] = {part: [] for part in weights}
    for adapter in adapters:
        part = tower_of[matrices[adapter.name]]
        learning[part] += [adapter.factors.down, adapter.factors.up]
    return adapters, learning


def write_encoder(path: Path, encoder: LearningEncoder, *, save: str) -> None:
    """Write an encoder's weights in float32, where steps of 1e-6 do not vanish.

    Args:
        path: of the file.
        encoder: it goes on as it is, its adapters still apart.
        save: `full`, or `delta` for what differs from its base.
    """
    now = merged_state(encoder.network, encoder.adapters)
    metadata = picture_metadata(encoder.network)
    if save == DELTA:
        before, factors = _weights_of_base(encoder), factors_of(encoder.adapters)
        write_delta(path, now, before, encoder.base, factors=factors, metadata=metadata)
        return
    with publish(path) as part:
        write_tensors(part, now, metadata)


def read_encoder(path: Path, encoder: LearningEncoder) -> None:
    """Give an encoder the weights that were written.

    Raises:
        DamagedError: they cannot be read.
    """
    encoder.settle()
    try:
        tensors = load_file(path)
        if base_of_file(path) is not None:
            before = _weights_of_base(encoder)
            tensors = with_delta(before, tensors)
        encoder.network.load_state_dict(tensors)
    except (SafetensorError, RuntimeError, OSError, ValueError) as error:
        raise DamagedError(
            f"{path} cannot be read ({str(error).splitlines()[0]}): "
            f"remove {path.parent} and fine-tune again"
        ) from error


def _weights_of_base(encoder: LearningEncoder) -> dict[str, Tensor]:
    """What the network held before it learned, from where it came."""
    if SOUND in encoder.weights:
        sound = load_sound(encoder.base.spec)
        assert sound is not None
        return dict(sound.model.state_dict())
    return dict(load_clip(encoder.base.spec, offline=encoder.offline).model.state_dict())
