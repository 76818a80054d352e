"""What publishers say of their files of weights: checksums, activation, preprocessing."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from open_clip.pretrained import (
    get_pretrained_cfg,
    list_pretrained,
    list_pretrained_tags_by_model,
)

from vidret.extract.weights.cnn14 import CNN14_FILE, Published

_OPENAI = re.compile(r"/clip/models/([0-9a-f]{64})/")
_RELEASED = re.compile(r"-([0-9a-f]{8})\.pth?$")  # open_clip's own releases end so


@cache
def published_files() -> tuple[Published, ...]:
    """Every file whose checksum its publisher gives, from open_clip's own table and from PANN."""
    return (*dict.fromkeys(_of_open_clip()), CNN14_FILE)


def find_by_digest(digests: Mapping[str, str]) -> Published | None:
    """The published file with these checksums, by algorithm."""
    for one in published_files():
        if digests.get(one.algorithm, "").startswith(one.digest):
            return one
    return None


def find_by_name(path: Path) -> Published | None:
    """The published file that a file is called after."""
    return next((one for one in published_files() if one.file == path.name), None)


def twin_of(model: str, *, quick_gelu: bool) -> str:
    """open_clip's name of the same model with an activation."""
    base = model.removesuffix("-quickgelu")
    return f"{base}-quickgelu" if quick_gelu else base


def preprocessing_of(model: str, tags: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The ways in which published weights of a model want their pictures, without repetition."""
    ways: list[dict[str, Any]] = []
    for tag in tags or list_pretrained_tags_by_model(model):
        published = get_pretrained_cfg(model, tag)
        way = {key: published[key] for key in ("mean", "std", "interpolation", "resize_mode")}
        if way not in ways:
            ways.append(way)
    return ways


def tags_in_name(path: Path) -> dict[str, bool]:
    """The tags that a file's name holds, and whether their weights were trained with QuickGELU.

    Only the longest of them count (`metaclip_fullcc` holds no `fullcc`), and only those that say
    the same for every model.
    """
    name = path.name.lower().replace("-", "_")
    held = {tag: said for tag, said in _tags().items() if tag in name}
    return {
        tag: said.pop()
        for tag, said in held.items()
        if len(said) == 1 and not any(tag != other and tag in other for other in held)
    }


def _tags() -> dict[str, set[bool]]:
    """Of every tag, and of the families that people shorten them to: with QuickGELU or not."""
    families = {"metaclip": "metaclip_", "dfn": "dfn"}
    said: dict[str, set[bool]] = {}
    for model, tag in list_pretrained():
        uses = bool(get_pretrained_cfg(model, tag).get("quick_gelu", False))
        said.setdefault(tag, set()).add(uses)
        for family, start in families.items():
            if tag.startswith(start) and uses:
                said.setdefault(family, set()).add(uses)
    return said


def _of_open_clip() -> Iterator[Published]:
    for model, tag in list_pretrained():
        entry = get_pretrained_cfg(model, tag)
        url = str(entry.get("url", ""))
        digest = _OPENAI.search(url) or _RELEASED.search(url)
        if digest is None:
            continue
        uses = bool(entry.get("quick_gelu", False))
        yield Published(
            model=twin_of(model, quick_gelu=uses),
            tag=tag,
            file=unquote(Path(urlsplit(url).path).name),
            algorithm="sha256",
            digest=digest[1],
            quick_gelu=uses,
        )
