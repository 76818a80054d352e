"""Which CLIP model a spec asks for: its architecture, its weights and how it wants its pictures."""

import json
import logging
import os
from dataclasses import MISSING, dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import open_clip
from open_clip.pretrained import download_pretrained_from_hf
from open_clip.transform import PreprocessCfg

from vidret.data.errors import ConfigError, MissingError
from vidret.extract.tiny.weights import TINY_FOLDER, verify_weights
from vidret.extract.weights.activation import (
    ACTIVATIONS,
    CONFIG_FILE,
    Activation,
    find_activation,
    read_config,
    require_activation,
)
from vidret.extract.weights.cnn14 import Published
from vidret.extract.weights.files import (
    PREPROCESS_KEY,
    UNREADABLE,
    digest_of,
    first_words,
    read_metadata,
)
from vidret.extract.weights.missing import HUB_FILE, missing_weights
from vidret.extract.weights.published import (
    find_by_digest,
    find_by_name,
    preprocessing_of,
    tags_in_name,
    twin_of,
)
from vidret.extract.weights.torchscript import is_torchscript

log = logging.getLogger(__name__)

TINY = "tiny"
TINY_MODEL = "vidret-tiny"
FOLDER_PREFIX, HUB_PREFIX = "local-dir:", "hf-hub:"
_ENDINGS = (".safetensors", ".bin", ".pth", ".pt")
_HUB_FILES = (  # what the hub's repositories of open_clip call their weights, best first
    HUB_FILE,
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """A CLIP model and where it comes from.

    Args:
        name: as the user asked for it, without its weights.
        architecture: its configuration as open_clip has it.
        preprocess: how it wants its pictures, with the keys that open_clip uses.
        file: the weights, or None where they come from the hub.
        digest: what tells the weights apart from others.
        tokenizer: the folder or the repository that a tokenizer of the hub is read from.
        model: what open_clip calls a model of the hub; so is `tag`, empty for a repository.
    """

    name: str
    architecture: dict[str, Any]
    preprocess: dict[str, Any]
    file: Path | None
    digest: str
    tokenizer: str
    model: str = ""
    tag: str = ""


def find_backbone(spec: str, *, offline: bool) -> Backbone:
    """Find what a spec names, without reading any tensors.

    Raises:
        ConfigError: there is no such model, or the weights belong to another.
        MissingError: the weights are not there, or they lie on a hub that may not be asked.
    """
    register_tiny()
    if spec == TINY:
        verify_weights()
        return _from_file(TINY, TINY_FOLDER / "clip.safetensors")
    if spec.startswith(FOLDER_PREFIX):
        folder, weights = _split_place(spec.removeprefix(FOLDER_PREFIX))
        return _from_folder(f"{FOLDER_PREFIX}{Path(folder).name}", Path(folder), weights)
    if spec.startswith(HUB_PREFIX):
        return _from_repository(spec, offline=offline)
    name, _, place = spec.partition("@")
    _check_name(name, place)
    weights = Path(place).expanduser()
    if weights.is_dir():
        return _from_named_folder(name, weights)
    if weights.exists():
        return _from_file(name, weights)
    return _from_tag(name, place, offline=offline)


def with_other_weights(spec: str, path: Path) -> str:
    """The same model with the weights of a file: `NAME@FILE`, or `local-dir:FOLDER@FILE`."""
    if spec.startswith((FOLDER_PREFIX, HUB_PREFIX)):
        prefix = next(one for one in (FOLDER_PREFIX, HUB_PREFIX) if spec.startswith(one))
        return f"{prefix}{_split_place(spec.removeprefix(prefix))[0]}@{path}"
    name, _, place = spec.partition("@")
    if place and Path(place).expanduser().is_dir():
        return f"{FOLDER_PREFIX}{place}@{path}"
    return f"{name}@{path}"


def register_tiny() -> None:
    """Let open_clip know the bundled model by its name."""
    open_clip.add_model_config(TINY_FOLDER / f"{TINY_MODEL}.json")


def registered(name: str) -> dict[str, Any]:
    """The architecture that open_clip knows by a name; `tiny` is short for ours."""
    return dict(open_clip.get_model_config(TINY_MODEL if name == TINY else name) or {})


def _split_place(place: str) -> tuple[str, Path | None]:
    """`FOLDER` or `FOLDER@FILE`; a folder's own name may hold an @."""
    whole = str(Path(place).expanduser())
    if Path(whole).is_dir() or "@" not in whole:
        return whole, None
    folder, _, file = whole.rpartition("@")
    return folder, Path(file)


def _from_file(name: str, path: Path) -> Backbone:
    """A registered model with weights from a file."""
    _refuse_torchscript(name, path)
    architecture, beside = registered(name), read_config(path.parent)
    if beside is not None and name != TINY:
        _require_same(name, architecture, beside["model_cfg"], path.parent)
    published, digest = _identify(path)
    preprocess = _file_preprocess(name, path, beside, published)
    _check_activation(name, path, published, architecture)
    return Backbone(
        name=name,
        architecture=architecture,
        preprocess=preprocess,
        file=path,
        digest=digest[:16],
        tokenizer=_tokenizer_place(architecture, path.parent),
    )


def _from_named_folder(name: str, folder: Path) -> Backbone:
    """`NAME@FOLDER`: what the folder says holds, and NAME must mean the same model."""
    config = _folder_config(folder)
    said = bool(config["model_cfg"].get("quick_gelu", False))
    require_activation(
        name,
        folder,
        Activation(quick_gelu=said, source=CONFIG_FILE),
        computed=bool(registered(name).get("quick_gelu", False)),
        twins=open_clip.list_models(),
    )
    _require_same(name, registered(name), config["model_cfg"], folder)
    return _from_folder(name, folder, None)


def _from_folder(name: str, folder: Path, weights: Path | None) -> Backbone:
    """A folder as the hub's repositories are laid out, or its model with other weights."""
    config = _folder_config(folder)
    path = weights or _weights_in(folder)
    if not path.is_file():
        raise MissingError(f"{path} is not there: give a file with weights of {name}")
    _refuse_torchscript(name, path)
    published, digest = _identify(path)
    _check_activation(name, path, published, config["model_cfg"])
    return Backbone(
        name=name,
        architecture=config["model_cfg"],
        preprocess=_own_preprocess(path) or _known_keys(config.get("preprocess_cfg", {})),
        file=path,
        digest=digest[:16],
        tokenizer=str(folder),
    )


def _from_tag(name: str, tag: str, *, offline: bool) -> Backbone:
    """A registered model with published weights of the hub."""
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag not in tags:
        if Path(tag).name != tag or Path(tag).suffix in _ENDINGS:
            others = f", or give one of the tags {', '.join(tags)}" if tags else ""
            raise MissingError(
                f"{tag} is not there, where the weights of {name} should be: put the file back, "
                f"or give the path of another{others}"
            )
        what = f"or one of the tags {', '.join(tags)}" if tags else "it has no tags"
        raise MissingError(f"{tag} is no file with weights of {name}: give a path, {what}")
    _check_tag_activation(name, tag)
    _require_network(f"the weights {tag} of {name} lie", f"{name}@PATH", offline=offline)
    architecture = registered(name)
    return Backbone(
        name=name,
        architecture=architecture,
        preprocess=preprocessing_of(name, (tag,))[0],
        file=None,
        digest=f"hub:{tag}",
        tokenizer=_tokenizer_place(architecture, None),
        model=name,
        tag=tag,
    )


def _from_repository(spec: str, *, offline: bool) -> Backbone:
    """`hf-hub:ORG/REPO`: a repository of the hub that open_clip can read."""
    repository, weights = _split_place(spec.removeprefix(HUB_PREFIX))
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise ConfigError(f"{spec!r} names no repository: give {HUB_PREFIX}ORG/REPO")
    _require_network(
        f"the model of {repository} lies", f"{FOLDER_PREFIX}FOLDER with its files", offline=offline
    )
    try:
        path = download_pretrained_from_hf(repository, filename=CONFIG_FILE)
    except (OSError, RuntimeError, ValueError) as error:
        raise MissingError(
            f"the hub gives no {CONFIG_FILE} of {repository} ({first_words(error)}): check the "
            "name, or get the files by hand and give their folder"
        ) from error
    if weights is not None:
        found = _from_folder(f"{HUB_PREFIX}{repository}", Path(path).parent, weights)
        return replace(found, tokenizer=repository)
    config = _folder_config(Path(path).parent)
    return Backbone(
        name=spec,
        architecture=config["model_cfg"],
        preprocess=_known_keys(config.get("preprocess_cfg", {})),
        file=None,
        digest=f"hub:{repository}",
        tokenizer=repository,
        model=spec,
    )


def _check_name(name: str, weights: str) -> None:
    known = open_clip.list_models()
    if name != TINY and name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f": did you mean {close[0]}?" if close else ", see open_clip.list_models()"
        raise ConfigError(f"open_clip has no model {name!r}{hint}")
    if not weights:
        raise missing_weights(name)


def _require_network(what: str, instead: str, *, offline: bool) -> None:
    if offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise MissingError(
            f"{what} on the hub, and this run is offline: "
            f"allow the network, or give a file as {instead}"
        )


def _refuse_torchscript(name: str, path: Path) -> None:
    if path.is_file() and is_torchscript(path):
        out = path.with_suffix(".safetensors").name
        raise MissingError(
            f"{path} is a TorchScript archive, as OpenAI published CLIP, and holds code beside its "
            f"weights: run vidret weights convert {path} {out}, then give {name}@{out}"
        )


def _identify(path: Path) -> tuple[Published | None, str]:
    """The publisher's entry for exactly this file, and its checksum.

    Raises:
        MissingError: the file is called after a published one and is not it.
    """
    if not path.is_file():
        return None, ""
    digest = digest_of(path)
    named = find_by_name(path)
    if named is not None and named.algorithm == "sha256" and not digest.startswith(named.digest):
        raise MissingError(
            f"{path} is called {named.file}, and its checksum is not the published one "
            f"({named.digest[:16]}): get it again, or rename it if it is your own"
        )
    return find_by_digest({"sha256": digest}), digest


def _check_activation(
    name: str, path: Path, published: Published | None, architecture: dict[str, Any]
) -> None:
    if name == TINY or not path.is_file():
        return
    known = find_activation(path, None, _metadata_of(path), published)
    computed = bool(architecture.get("quick_gelu", False))
    require_activation(name, path, known, computed=computed, twins=open_clip.list_models())


def _check_tag_activation(name: str, tag: str) -> None:
    """open_clip only warns of it, and the embeddings would be wrong but plausible."""
    trained = bool(open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False))
    computed = bool(registered(name).get("quick_gelu", False))
    if trained == computed:
        return
    twin = twin_of(name, quick_gelu=trained)
    known = twin != name and tag in open_clip.list_pretrained_tags_by_model(twin)
    raise ConfigError(
        f"the weights {tag} were trained with {ACTIVATIONS[trained]}, and {name} computes "
        f"{ACTIVATIONS[computed]}: ask for {f'{twin}@{tag}' if known else 'other weights'}"
    )


def _file_preprocess(
    name: str, path: Path, beside: dict[str, Any] | None, published: Published | None
) -> dict[str, Any]:
    """How the weights of a file want their pictures, from who knows it best.

    The file itself, the configuration beside it, the publisher of exactly this file, and last what
    the published weights of this model have in common.
    """
    if own := _own_preprocess(path):
        return own
    if beside is not None:
        return _known_keys(beside.get("preprocess_cfg", {}))
    if published is not None:
        return preprocessing_of(published.model, (published.tag,))[0]
    ways = preprocessing_of(name)
    named = [
        tag for tag in tags_in_name(path) if tag in open_clip.list_pretrained_tags_by_model(name)
    ]
    if len(ways) > 1 and len(named) == 1:
        return preprocessing_of(name, (named[0],))[0]
    if len(ways) > 1:
        log.warning(
            "published weights of %s want their pictures in %d ways, and %s does not say which: "
            "taken is %s; put its %s beside it if that is wrong",
            name,
            len(ways),
            path,
            ways[0],
            CONFIG_FILE,
        )
    return ways[0] if ways else {}


def _own_preprocess(path: Path) -> dict[str, Any]:
    """How the weights of a file want their pictures, as far as the file says it itself."""
    return _known_keys(json.loads(_metadata_of(path).get(PREPROCESS_KEY, "{}")))


def _metadata_of(path: Path) -> dict[str, str]:
    """What a file says about itself; one that cannot be read is reported when it is loaded."""
    try:
        return read_metadata(path)
    except UNREADABLE:
        return {}


def _known_keys(preprocess: dict[str, Any]) -> dict[str, Any]:
    known = {one.name for one in fields(PreprocessCfg)}
    return {key: value for key, value in preprocess.items() if key in known and value is not None}


def _folder_config(folder: Path) -> dict[str, Any]:
    config = read_config(folder)
    if config is None:
        raise MissingError(
            f"{folder} holds no {CONFIG_FILE}: give a folder as the hub has it, or the file of "
            "weights itself as NAME@FILE"
        )
    return config


def _weights_in(folder: Path) -> Path:
    """The one file of weights that counts in a folder of the hub."""
    for name in _HUB_FILES:
        if (folder / name).is_file():
            return folder / name
    found = sorted(path for path in folder.iterdir() if path.suffix in _ENDINGS)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise MissingError(
            f"{folder} holds no single file of weights ({names}): put {HUB_FILE} there"
        )
    return found[0]


def _tokenizer_place(architecture: dict[str, Any], folder: Path | None) -> str:
    """Where a tokenizer of the hub is read from: a folder that holds it, or its repository."""
    if folder is not None and (folder / "tokenizer_config.json").is_file():
        return str(folder)
    return str(architecture["text_cfg"].get("hf_tokenizer_name") or "")


def _require_same(name: str, known: dict[str, Any], said: dict[str, Any], folder: Path) -> None:
    """Refuse a folder whose configuration describes another model than the name does."""
    first, second = _described(known), _described(said)
    differing = sorted(key for key in first if first[key] != second[key])
    if differing:
        raise ConfigError(
            f"{folder / CONFIG_FILE} describes another model than {name} (first in "
            f"{differing[0]}): ask for {FOLDER_PREFIX}{folder}"
        )


def _described(architecture: dict[str, Any]) -> dict[str, Any]:
    """What an architecture computes, with open_clip's defaults; not where it gets its parts."""
    towers: tuple[tuple[str, Any], ...] = (
        ("vision_cfg", open_clip.CLIPVisionCfg),
        ("text_cfg", open_clip.CLIPTextCfg),
    )
    described = {"embed_dim": architecture.get("embed_dim")}
    for key, kind in towers:
        for one in fields(kind):
            if one.name in _SOURCES:
                continue
            default = None if one.default is MISSING else one.default
            described[f"{key}.{one.name}"] = architecture[key].get(one.name, default)
    return described


_SOURCES = (
    "timm_model_pretrained",
    "hf_model_pretrained",
    "hf_tokenizer_name",
    "tokenizer_kwargs",
    "tokenizer_mode",
    "output_tokens",
    "patch_dropout",
)
