"""What a file of weights is: its form, its model, its activation, and whether it is whole."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from vidret.data.errors import ConfigError, MissingError
from vidret.extract.clip import load_clip
from vidret.extract.panns import CNN14, cnn14, load_sound
from vidret.extract.tiny.sound import TinySound
from vidret.extract.weights.activation import (
    ACTIVATIONS,
    Activation,
    find_activation,
)
from vidret.extract.weights.backbones import TINY, TINY_MODEL, register_tiny, registered
from vidret.extract.weights.cnn14 import Published
from vidret.extract.weights.deltas import base_of, state_with_base
from vidret.extract.weights.files import (
    PREPROCESS_KEY,
    UNREADABLE,
    Form,
    WeightsFile,
    digest_of,
    first_words,
    read_weights,
    wants_to_run_code,
)
from vidret.extract.weights.fitting import Fit, as_open_clip, compare, shape_of_clip
from vidret.extract.weights.published import find_by_digest, find_by_name

MODEL_KEY = "vidret.model"
TINY_SOUND = "tiny-sound"  # the bundled network of sound; TINY is that of pictures and words
SIZES = ("input_resolution", "context_length", "vocab_size")  # OpenAI keeps them among the weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was found out about a file.

    Args:
        model: the one that was named, or the only one that fits; empty where none does.
        candidates: models that fit exactly; two where only the activation tells them apart.
        fit: how the tensors differ from those of the named model.
        named: the published file that this one is called after.
        published: the published file that this one is, to the byte.
        activation: None where nobody says.
        not_finite: tensors with a NaN or an infinity.
    """

    file: WeightsFile
    size: int
    digests: Mapping[str, str]
    model: str
    candidates: tuple[str, ...]
    fit: Fit | None
    named: Published | None
    published: Published | None
    activation: Activation | None
    not_finite: tuple[str, ...]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The weights alone."""
        return weights_of(self.file)

    @property
    def problem(self) -> str:
        """What speaks against using the file, or nothing."""
        if self.named is not None and self.published is None:
            return (
                f"is called {self.named.file}, and its {self.named.algorithm} is not the published "
                f"one ({self.named.digest}): get it again, or rename it if it is your own"
            )
        if self.fit is not None and not self.fit.exact:
            return (
                f"does not fit {self.model} ({self.fit.first}): name the model that it belongs to"
            )
        if not self.model and not self.candidates:
            return "fits no model that vidret knows: name one with --model to see what differs"
        if self.not_finite:
            return (
                f"holds numbers that are not finite (first in {self.not_finite[0]}): get it again"
            )
        computed = computes_quick_gelu(self.model)
        if self.activation is not None and computed not in (None, self.activation.quick_gelu):
            return (
                f"was trained with {self.activation.name} ({self.activation.source}), and "
                f"{self.model} computes {ACTIVATIONS[bool(computed)]}: name its twin"
            )
        return ""


def inspect_weights(path: Path, model: str | None = None) -> Inspection:
    """Look at a file of weights; nothing in it is run, and nothing is fetched.

    A file that holds a difference is looked at together with its base.

    Args:
        path: of the file.
        model: whose weights it should hold; None tries those that vidret knows.

    Raises:
        ConfigError: there is no such model.
        MissingError: the file is not there, or holds no weights that can be read safely.
        MismatchError: it is a difference from other weights than there are now.
    """
    register_tiny()
    _check_model(model)
    file = _with_base(_read(path))
    digests = {name: digest_of(path, name) for name in ("sha256", "md5")}
    published = find_by_digest(digests)
    activation = find_activation(path, file.form, dict(file.metadata), published)
    tensors = weights_of(file)
    fitting = tuple(_candidates(tensors)) if model is None else ()
    candidates = _with_activation(fitting, activation)
    named = model or (candidates[0] if len(candidates) == 1 else "")
    return Inspection(
        file=file,
        size=path.stat().st_size,
        digests=digests,
        model=named,
        candidates=candidates,
        fit=_fit(model, tensors) if model is not None else None,
        named=find_by_name(path),
        published=published,
        activation=activation,
        not_finite=tuple(name for name, one in tensors.items() if not _finite(one)),
    )


def weights_of(file: WeightsFile) -> dict[str, Tensor]:
    """The tensors of a file that are weights."""
    if file.form is not Form.TORCHSCRIPT:
        return file.tensors
    return {name: tensor for name, tensor in file.tensors.items() if name not in SIZES}


def computes_quick_gelu(model: str) -> bool | None:
    """Which activation a name stands for; None where there is no choice."""
    if not model or model in (CNN14, TINY_SOUND):
        return None
    return bool(registered(model).get("quick_gelu", False))


def _check_model(model: str | None) -> None:
    if model is None or model in (CNN14, TINY, TINY_SOUND):
        return
    architecture = registered(model)
    if not architecture or not _can_be_built(architecture):
        raise ConfigError(
            f"no model {model!r} whose weights vidret could check: give {CNN14}, {TINY}, "
            f"{TINY_SOUND} or a name of open_clip.list_models() with a text tower of its own"
        )


def _read(path: Path) -> WeightsFile:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise MissingError(f"{path} {what}: give a file of weights")
    if not path.stat().st_size:
        raise MissingError(f"{path} is empty: get it again")
    try:
        return read_weights(path)
    except UNREADABLE as error:
        if wants_to_run_code(error):
            raise MissingError(
                f"{path} asks to run code while it is read, so it is not read: get the published "
                "file, or have whoever made it save plain tensors"
            ) from error
        raise MissingError(
            f"{path} holds no weights that can be read ({first_words(error)}): get it again"
        ) from error


def _with_base(file: WeightsFile) -> WeightsFile:
    """The same with the tensors that it leaves to its base."""
    base = base_of(file.metadata)
    if base is None:
        return file
    load = _load_clip if PREPROCESS_KEY in file.metadata else _load_sound
    try:
        return replace(file, tensors=state_with_base(file, base, load))
    except ValueError as error:
        raise MissingError(
            f"{file.path} does not fit {base.spec}, of which it is a difference ({error}): "
            "get it again"
        ) from error


def _load_clip(spec: str) -> tuple[nn.Module, str]:
    clip = load_clip(spec)
    return clip.model, clip.weights


def _load_sound(spec: str) -> tuple[nn.Module, str]:
    sound = load_sound(spec)
    assert sound is not None  # only what learned has a difference
    return sound.model, sound.weights


def _candidates(tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """The models whose names and shapes are exactly these."""
    if "fc_audioset.weight" in tensors:
        if _fit(CNN14, tensors).exact:
            yield CNN14
        return
    if "embed.weight" in tensors:
        if _fit(TINY_SOUND, tensors).exact:
            yield TINY_SOUND
        return
    sizes = _text_sizes(tensors)
    for name in open_clip.list_models():
        architecture = registered(name)
        if sizes and sizes == _sizes_of(architecture) and _can_be_built(architecture):
            model = shape_of_clip(architecture)
            if _compare_clip(model, tensors).exact:
                yield TINY if name == TINY_MODEL else name


def _with_activation(names: tuple[str, ...], known: Activation | None) -> tuple[str, ...]:
    """Where two models differ in their activation alone, the one that the weights belong to."""
    if known is None:
        return names
    return (
        tuple(name for name in names if computes_quick_gelu(name) in (None, known.quick_gelu))
        or names
    )


def _fit(model: str, tensors: Mapping[str, Tensor]) -> Fit:
    if model == CNN14:
        return compare(cnn14().state_dict(), tensors)
    if model == TINY_SOUND:
        return compare(TinySound(len(tensors.get("tag.bias", ()))).state_dict(), tensors)
    return _compare_clip(shape_of_clip(registered(model)), tensors)


def _compare_clip(model: nn.Module, tensors: Mapping[str, Tensor]) -> Fit:
    return compare(model.state_dict(), as_open_clip(model, tensors))


def _text_sizes(tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Vocabulary, context and width of the text tower: what rules most models out at once."""
    for prefix in ("", "text."):
        tokens = tensors.get(f"{prefix}token_embedding.weight")
        places = tensors.get(f"{prefix}positional_embedding")
        if tokens is not None and places is not None and tokens.ndim == places.ndim == 2:
            return (*tokens.shape, places.shape[0])
    return ()


def _sizes_of(architecture: Mapping[str, Any]) -> tuple[int, ...]:
    text = open_clip.CLIPTextCfg()
    own = architecture["text_cfg"]
    return tuple(
        int(own.get(key, getattr(text, key))) for key in ("vocab_size", "width", "context_length")
    )


def _can_be_built(architecture: Mapping[str, Any]) -> bool:
    return "hf_model_name" not in architecture["text_cfg"] and "multimodal_cfg" not in architecture


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
