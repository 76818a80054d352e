"""One reader for every form in which weights are published; nothing in a file is ever run."""

import hashlib
import json
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vidret.extract.weights.torchscript import is_torchscript, read_torchscript

UNREADABLE = (  # what reading a file raises that holds no weights, or another model's
    OSError,
    EOFError,
    RuntimeError,
    SafetensorError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    AttributeError,
    AssertionError,
    StopIteration,
)
PREPROCESS_KEY = "vidret.preprocess"  # in the metadata: how the model wants its pictures
_WRAPPERS = ("state_dict", "model")  # where open_clip and PANN keep the weights among other things
_PARALLEL = "module."  # what training on several GPUs puts before every name


class Form(StrEnum):
    """How a file of weights is written."""

    SAFETENSORS = "safetensors"
    STATE_DICT = "pickled state dict"
    OPEN_CLIP = "training checkpoint of open_clip"
    PANN = "checkpoint of PANN"
    TORCHSCRIPT = "TorchScript archive"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """The tensors of a file by their names, and what it says about itself."""

    path: Path
    form: Form
    tensors: dict[str, Tensor]
    metadata: Mapping[str, str]


def read_weights(path: Path) -> WeightsFile:
    """Read a file of weights by its content, whatever its name ends in.

    Raises:
        Exception: one of `UNREADABLE`, with the reading library's own words.
    """
    if is_torchscript(path):
        return _file(path, Form.TORCHSCRIPT, read_torchscript(path))
    if _is_safetensors(path):
        return _file(path, Form.SAFETENSORS, load_file(path), read_metadata(path))
    content = _unpickle(path)
    for key, form in zip(_WRAPPERS, (Form.OPEN_CLIP, Form.PANN), strict=True):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            return _file(path, form, content[key])
    return _file(path, Form.STATE_DICT, content)


def read_metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says about itself; other files say nothing."""
    if not _is_safetensors(path):
        return {}
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, the same bytes for the same content.

    safetensors writes metadata in any order, and a hash of the file has to tell its weights apart.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, path, metadata=dict(metadata))
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        content = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(content) <= length, "another order is not longer"
        file.seek(8)
        file.write(content.ljust(length))


def picture_metadata(model: nn.Module) -> dict[str, str]:
    """What a file with the weights of a CLIP model should say of the pictures that they want."""
    wanted = getattr(getattr(model, "visual", None), "preprocess_cfg", None)
    return {} if wanted is None else {PREPROCESS_KEY: json.dumps(wanted)}


def hash_file(path: Path) -> str:
    """sha256 of a file, in short."""
    return digest_of(path)[:16]


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    """Checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def first_words(error: BaseException) -> str:
    """The beginning of an error's own words, which may run over many lines."""
    if isinstance(error, pickle.UnpicklingError):  # torch's advice is to let the file run code
        return "it asks to run code" if wants_to_run_code(error) else "it is no file of tensors"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:200] or type(error).__name__


def wants_to_run_code(error: BaseException) -> bool:
    """Whether a checkpoint was refused over the functions that it names."""
    return isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error)


def _file(
    path: Path, form: Form, content: object, metadata: Mapping[str, str] | None = None
) -> WeightsFile:
    if not isinstance(content, dict) or not content:
        raise ValueError("it holds no tensors by name")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{name!r} in it is no tensor")  # noqa: TRY004 - it is a value here
    tensors: dict[str, Tensor] = content
    if all(name.startswith(_PARALLEL) for name in tensors):
        tensors = {name.removeprefix(_PARALLEL): tensor for name, tensor in tensors.items()}
    return WeightsFile(path=path, form=form, tensors=tensors, metadata=metadata or {})


def _is_safetensors(path: Path) -> bool:
    """A safetensors file begins with the length of its header, and the header is JSON."""
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" or (path.suffix == ".safetensors" and not zipfile.is_zipfile(path))


def _unpickle(path: Path) -> Any:  # noqa: ANN401 - a file may hold anything
    """Plain things and tensors; a big file is mapped, since an optimizer may lie in it too."""
    with _numbers_of_numpy(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of files that are refused in a moment
        return torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )


def _numbers_of_numpy() -> AbstractContextManager[None]:
    """Let torch's safe reader make arrays of numbers: PANN's checkpoints keep their sampler.

    The names are those that numpy had when the files were written, and those of today.
    """
    rebuild, scalar = np.empty(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(code)) for code in "?bBhHiIlLqQefd"]
    named: list[Any] = [np.ndarray, np.dtype, *dict.fromkeys(kinds)]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        named += [(rebuild, f"{module}._reconstruct"), (scalar, f"{module}.scalar")]
    return torch.serialization.safe_globals(named)
