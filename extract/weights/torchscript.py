"""TorchScript archives, as OpenAI published CLIP: their tensors are read, their code is not.

`torch.jit.load` would take the code too, and torch no longer keeps it up. The archive is a zip: the
tree of modules is a pickle of plain attributes, the code says which of them are weights.
"""

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_LISTS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")
_CLASS = re.compile(r"^class (\w+)\((?:Module|torch\.nn\.Module)\):$")
_SAVED = re.compile(r"^  __(?:parameters|buffers)__ = \[(.*)\]$")


class _Node:
    """A module of the archive: its attributes, and nothing that can be called."""

    kind = ""


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive: a zip that holds code and constants."""
    if not zipfile.is_zipfile(path):
        return False
    names = [name.partition("/")[2] for name in zipfile.ZipFile(path).namelist()]
    return "constants.pkl" in names and any(name.startswith("code/") for name in names)


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """The parameters and buffers of an archive by their names, as its `state_dict` would have them.

    Raises:
        pickle.UnpicklingError: the archive names something that is no part of a tree of weights.
    """
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].partition("/")[0]
        saved = _saved_names(archive, root)
        with archive.open(f"{root}/data.pkl") as file:
            tree = _Tree(file, lambda key: archive.read(f"{root}/data/{key}")).load()
    if not isinstance(tree, _Node):
        raise pickle.UnpicklingError("it holds no tree of modules")
    return dict(_weights(tree, "", saved))


def uses_quick_gelu(path: Path) -> bool | None:
    """Which activation the code of an archive computes, or None where it does not say.

    QuickGELU is `x * sigmoid(1.702 * x)`; the number itself stands among the constants.
    """
    with zipfile.ZipFile(path) as archive:
        code = "".join(text for _, text in _sources(archive))
    if "torch.gelu(" in code:
        return None if "torch.sigmoid(" in code else False
    return True if "torch.sigmoid(" in code else None


def _sources(archive: zipfile.ZipFile) -> Iterator[tuple[str, str]]:
    """The module path of each file of code, and its text."""
    for name in archive.namelist():
        inside = name.partition("/")[2]
        if inside.startswith("code/") and inside.endswith(".py"):
            module = inside.removeprefix("code/").removesuffix(".py").replace("/", ".")
            yield module, archive.read(name).decode()


def _saved_names(archive: zipfile.ZipFile, root: str) -> dict[str, set[str]]:
    """Of each class of modules, the attributes that are parameters or buffers."""
    saved: dict[str, set[str]] = {}
    for module, text in _sources(archive):
        kind = ""
        for line in text.splitlines():
            if found := _CLASS.match(line):
                kind = f"{module}.{found[1]}"
                saved[kind] = set()
            elif (found := _SAVED.match(line)) and kind:
                saved[kind] |= set(re.findall(r'"([^"]+)"', found[1]))
    if not saved:
        raise pickle.UnpicklingError(f"the code of {root} names no modules")
    return saved


class _Tree(pickle.Unpickler):
    """Reads the tree of modules; whatever it names becomes data, or the file is refused."""

    def __init__(self, file: Any, read: Callable[[str], bytes]) -> None:  # noqa: ANN401 - a stream
        super().__init__(file)
        self._read = read
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - pickle's signature
        """A stand-in for what a TorchScript pickle may name."""
        if module.startswith("__torch__"):
            return type(name, (_Node,), {"kind": f"{module}.{name}"})
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch.jit._pickle" and name in _LISTS:
            return list
        raise pickle.UnpicklingError(f"GLOBAL {module}.{name} is no part of a tree of weights")

    def persistent_load(self, pid: Any) -> Tensor:  # noqa: ANN401 - pickle's signature
        """The numbers of one storage, flat."""
        _, dtype, key, _, count = pid
        if key not in self._storages:
            content = bytearray(self._read(key))
            self._storages[key] = (
                torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
            )
        return self._storages[key][:count]


def _rebuild(storage: Tensor, offset: int, size: Any, stride: Any, *_: object) -> Tensor:  # noqa: ANN401 - lengths of any tensor
    return torch.as_strided(storage, tuple(size), tuple(stride), offset)


def _weights(node: _Node, prefix: str, saved: dict[str, set[str]]) -> Iterator[tuple[str, Tensor]]:
    for name, value in vars(node).items():
        if isinstance(value, _Node):
            yield from _weights(value, f"{prefix}{name}.", saved)
        elif isinstance(value, Tensor) and name in saved.get(node.kind, ()):
            yield f"{prefix}{name}", value
