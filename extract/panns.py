"""PANN's Cnn14 (or the bundled toy in its place): one embedding of a video's sound."""

import importlib
import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from vidret.data.errors import ConfigError, MissingError
from vidret.extract.decoding.sound import SAMPLE_RATE
from vidret.extract.tiny.sound import EMBEDDING, TinySound
from vidret.extract.tiny.weights import TINY_FOLDER, verify_weights
from vidret.extract.weights.cnn14 import CNN14_FILE
from vidret.extract.weights.deltas import base_of, state_with_base
from vidret.extract.weights.files import (
    UNREADABLE,
    Form,
    WeightsFile,
    digest_of,
    first_words,
    hash_file,
    read_weights,
    wants_to_run_code,
)
from vidret.extract.weights.fitting import fill

TINY, NONE, CNN14 = "tiny", "none", "Cnn14"
WINDOW = 10 * SAMPLE_RATE
SHORTEST = 9_920  # samples: Cnn14 halves the time axis five times
POLICY = "32 kHz mean of channels, windows of 10 s, mean"


class SoundEncoder(nn.Module):
    """A network with Cnn14's outputs, and how long sounds are cut for it."""

    def __init__(self, name: str, model: nn.Module, dim: int, weights: str) -> None:
        super().__init__()
        self.name = name
        self.model = model
        self.dim = dim
        self.weights = weights
        self.eval()  # in training mode Cnn14 masks its spectrogram at random

    def encode(self, waveform: Tensor) -> Tensor:
        """Embed a waveform `(sample,)` at 32 kHz: the mean over its windows."""
        windows = [self.encode_windows(window[None])[0] for window in cut_windows(waveform)]
        return torch.stack(windows).mean(0)

    def encode_windows(self, windows: Tensor) -> Tensor:
        """Embed windows of equal length `(window, sample)`."""
        return self.model(windows)["embedding"]


def cut_windows(waveform: Tensor) -> list[Tensor]:
    """Windows of ten seconds; a last one too short for Cnn14 stays with the one before."""
    if len(waveform) < SHORTEST:
        return [nn.functional.pad(waveform, (0, SHORTEST - len(waveform)))]
    starts = list(range(0, len(waveform), WINDOW))
    if len(starts) > 1 and len(waveform) - starts[-1] < SHORTEST:
        starts.pop()
    ends = [*starts[1:], len(waveform)]
    return [waveform[start:end] for start, end in zip(starts, ends, strict=True)]


def load_sound(spec: str, *, device: torch.device | str = "cpu") -> SoundEncoder | None:
    """Load `tiny`, `tiny@PATH` or `Cnn14@PATH`; `none` gives None.

    Raises:
        ConfigError: there is no such encoder.
        MissingError: the weights are not there, or are not Cnn14's.
        MismatchError: they are a difference from other weights than there are now.
    """
    name, _, weights = spec.partition("@")
    if spec == NONE:
        return None
    if name == TINY:
        return _load_tiny(Path(weights) if weights else None, device)
    if name != CNN14:
        raise ConfigError(f"no sound encoder {spec!r}: give tiny, none or {CNN14}@PATH")
    if not weights:
        raise missing_weights()
    checkpoint = _read_checkpoint(Path(weights))  # before the model, which takes seconds
    model = cnn14()
    _fill(model, checkpoint, Path(weights))
    return SoundEncoder(CNN14, model.to(device), 2048, hash_file(Path(weights)))


def cnn14() -> nn.Module:
    """An untrained Cnn14 as PANN published it: 32 kHz, 64 mels, 527 tags."""
    model = _pann_models().Cnn14(SAMPLE_RATE, 1024, 320, 64, 50, 14_000, 527)
    for part in (model.spectrogram_extractor, model.logmel_extractor):
        _compute_in_float32(part)  # soft sounds would be lost in the error of loud ones
    return model


def missing_weights() -> MissingError:
    """The error for Cnn14 without a file of weights."""
    return MissingError(
        "no weights known for Cnn14: get Cnn14_mAP=0.431.pth (PANNs, "
        "Zenodo record 3987831), put\n\n"
        '[extract]\naudio = "Cnn14@/path/to/Cnn14_mAP=0.431.pth"\n\n'
        "into ./vidret.toml, or pass --audio none to leave sound out"
    )


def _load_tiny(path: Path | None, device: torch.device | str) -> SoundEncoder:
    """The bundled network with its own weights, or with those that a fine-tuning made of them."""
    if path is None:
        verify_weights()
        path = TINY_FOLDER / "sound.safetensors"
    try:
        weights = _with_base(read_weights(path))
        model = TinySound(len(weights["tag.bias"]))
        model.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    except UNREADABLE as error:
        raise MissingError(
            f"{path} cannot be loaded as weights of the sound encoder tiny ({first_words(error)}): "
            "give a file that vidret finetune wrote"
        ) from error
    return SoundEncoder(TINY, model.to(device), EMBEDDING, hash_file(path))


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The weights in a file of a form that Cnn14's come in, whichever model's they are."""
    _check_published(path)
    try:
        file = read_weights(path)
    except FileNotFoundError as error:
        raise MissingError(f"{path} is not there: give the file of Cnn14's weights") from error
    except UNREADABLE as error:
        raise MissingError(_refusal(path, error)) from error
    if file.form not in (Form.PANN, Form.SAFETENSORS):
        raise MissingError(f"{path} is no checkpoint of Cnn14 (it is a {file.form}): get it again")
    try:
        return _with_base(file)
    except ValueError as error:
        raise MissingError(f"{path} does not fit Cnn14 ({error}): get it again") from error


def _with_base(file: WeightsFile) -> dict[str, Tensor]:
    """The tensors of a file, those included that it leaves to its base."""
    base = base_of(file.metadata)
    return file.tensors if base is None else state_with_base(file, base, _load_base)


def _load_base(spec: str) -> tuple[nn.Module, str]:
    sound = load_sound(spec)
    assert sound is not None  # only what learned has a difference
    return sound.model, sound.weights


def _check_published(path: Path) -> None:
    """A file that is called like the published one must be it, to the byte."""
    published = CNN14_FILE
    if path.name == published.file and path.is_file():
        digest = digest_of(path, published.algorithm)
        if digest != published.digest:
            raise MissingError(
                f"{path} is not the published file of that name ({published.algorithm} is "
                f"{digest}, published is {published.digest}): get it again, or rename your own"
            )


def _fill(model: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    try:
        fill(model, weights)
    except ValueError as error:
        raise MissingError(f"{path} does not fit Cnn14 ({error}): get it again") from error


def _refusal(path: Path, error: BaseException) -> str:
    if wants_to_run_code(error):
        return (
            f"{path} asks to run code while it is read, so it is not read: get the published file, "
            "or have whoever made it save plain tensors"
        )
    return f"{path} is no checkpoint of Cnn14 ({first_words(error)}): get it again"


def _compute_in_float32(part: nn.Module) -> None:
    """Leave a part of a network out of any autocast around it."""
    forward = part.forward

    def in_float32(values: Tensor) -> Tensor:
        with torch.autocast(values.device.type, enabled=False):
            return forward(values.float())

    part.forward = in_float32


@cache
def _pann_models() -> ModuleType:
    """`panns_inference.models` without its package, which shells out and writes into HOME."""
    spec = importlib.util.find_spec("panns_inference")
    if spec is None or not spec.submodule_search_locations:
        raise MissingError("panns_inference is not installed: pip install panns_inference")
    alias = "vidret_panns_inference"
    package = ModuleType(alias)
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules[alias] = package
    return importlib.import_module(f"{alias}.models")
