"""CLIP's last projections, learned with a head: as weights, as a file, and under what is scored."""

from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load
from torch import Tensor, nn

from vidret.data.batches import PackedTexts, Texts, Videos
from vidret.data.errors import ConfigError, DamagedError
from vidret.data.features import SplitFeatures
from vidret.data.storage.projections import PROJECTIONS, Projections, Side, write_projections
from vidret.data.storage.publish import publish
from vidret.pipelines.training.checkpoints import require_same_shapes
from vidret.pipelines.training.optimizing import Groups
from vidret.pipelines.training.runs import Run
from vidret.pipelines.training.splits import Split


class LastProjections(nn.Module):
    """The projections of frames, and of sentences and words alike, as weights.

    Args:
        tensors: what a cache of hidden features holds; a side that is not there changes nothing.
    """

    def __init__(self, tensors: Projections) -> None:
        super().__init__()
        self.sides = nn.ModuleDict()
        for name, tensor in sorted(tensors.items()):
            side, _, part = name.partition(".")
            if side not in self.sides:
                self.sides[side] = nn.Module()
            weight = nn.Parameter(torch.from_numpy(tensor.copy()))
            self.sides[side].register_parameter(part, weight)

    def project(self, values: Float[Tensor, "*shape"], side: Side) -> Float[Tensor, "*other"]:
        """What the backbone makes of hidden features."""
        if side not in self.sides:
            return values
        maps, kind = dict(self.sides[side].named_parameters()), values.dtype
        values = values @ maps["weight"] if "weight" in maps else values
        return (values + maps["bias"] if "bias" in maps else values).to(kind)

    def texts(self, texts: Texts) -> Texts:
        """A batch of captions, projected."""
        return replace(
            texts,
            sentence=self.project(texts.sentence, "text"),
            words=self.project(texts.words, "text"),
        )

    def videos(self, videos: Videos) -> Videos:
        """A batch of videos, projected; padding stays without a say."""
        return replace(videos, frames=self.project(videos.frames, "visual"))

    def tensors(self) -> Projections:
        """The weights as they are now, by the names that a cache has for them."""
        return {
            name.removeprefix("sides."): weight.detach().float().cpu().numpy()
            for name, weight in self.state_dict().items()
        }


class WithProjections(nn.Module):
    """Heads and the projections below them, to keep and to restore together."""

    def __init__(self, heads: nn.Module, projections: LastProjections) -> None:
        super().__init__()
        self.heads = heads
        self.projections = projections


def projection_groups(projections: LastProjections, *, lr: float, weight_decay: float) -> Groups:
    """What learns: matrices decay, biases do not."""
    weights = list(projections.parameters())
    return [
        {"params": [w for w in weights if w.ndim > 1], "lr": lr, "weight_decay": weight_decay},
        {"params": [w for w in weights if w.ndim == 1], "lr": lr, "weight_decay": 0.0},
    ]


@torch.no_grad()
def project_split(split: Split, projections: LastProjections) -> Split:
    """A whole split, projected by the weights as they are now."""
    texts = split.texts
    assert isinstance(texts, PackedTexts)
    return replace(
        split,
        texts=replace(
            texts,
            sentence=projections.project(texts.sentence, "text"),
            values=projections.project(texts.values, "text"),
        ),
        videos=projections.videos(split.videos),
        dense=None,
    )


def require_hidden(features: SplitFeatures) -> Projections:
    """The projections that a cache holds apart from its features.

    Raises:
        ConfigError: its features are projected already, or its backbone projects nothing.
    """
    if features.projections is None:
        raise ConfigError(
            f"--train-projection needs features from before the last projections, and "
            f"{features.folder} holds projected ones: extract with --features hidden, or leave it "
            "out"
        )
    if not features.projections:
        raise ConfigError(
            f"the backbone of {features.folder} ends without projections, so there is nothing for "
            "--train-projection to train: leave it out"
        )
    return features.projections


def without_projections(features: SplitFeatures) -> SplitFeatures:
    """The same split, whose tensors are what enters the projections."""
    return replace(features, projections=None)


def save_projections(folder: Path, projections: LastProjections) -> None:
    """Write the projections of a run."""
    write_projections(folder, projections.tensors())


def copy_projections(start: Path, folder: Path) -> None:
    """Give a run the projections of the one that it goes on from."""
    with publish(folder / PROJECTIONS) as part:
        part.write_bytes((start / PROJECTIONS).read_bytes())


def features_of_run(folder: Path, run: Run, features: SplitFeatures) -> SplitFeatures:
    """A split as a run scores it: with the projections that it trained, if it did.

    Args:
        folder: of the run.
        run: finished, or with its first stage done.
        features: a split of the run's cache, or of one with the same kind of features.

    Raises:
        ConfigError: the features of the cache are projected already.
        DamagedError: the run's projections cannot be read.
        MismatchError: they are of other sizes than those of the cache.
    """
    if not run.settings["train_projection"]:
        return features
    its = require_hidden(features)
    path = folder / PROJECTIONS
    try:
        trained = load(path.read_bytes())
    except (OSError, SafetensorError, ValueError) as error:
        raise DamagedError(
            f"{path} cannot be read ({error}): remove {folder} and train again"
        ) from error
    require_same_shapes(
        {name: tensor.shape for name, tensor in trained.items()},
        {name: tensor.shape for name, tensor in its.items()},
        where=str(path),
        what=f"the projections of {features.folder}",
    )
    return replace(features, projections=trained)
