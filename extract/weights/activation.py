"""GELU or QuickGELU: what a file says of it, and a refusal where the model computes the other.

Nothing fails when they differ: the embeddings are wrong but plausible (open_clip issue 771).
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidret.data.errors import ConfigError
from vidret.extract.weights.cnn14 import Published
from vidret.extract.weights.files import Form
from vidret.extract.weights.published import tags_in_name, twin_of
from vidret.extract.weights.torchscript import uses_quick_gelu

log = logging.getLogger(__name__)

CONFIG_FILE = "open_clip_config.json"  # as the hub's repositories of open_clip have it
METADATA_KEY = "vidret.quick_gelu"
ACTIVATIONS = {True: "QuickGELU", False: "GELU"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """What weights were trained with, and who says so."""

    quick_gelu: bool
    source: str

    @property
    def name(self) -> str:
        """The activation's name."""
        return ACTIVATIONS[self.quick_gelu]


def find_activation(
    path: Path, form: Form | None, metadata: dict[str, str], published: Published | None
) -> Activation | None:
    """What is known of the activation of a file; its name alone is no knowledge.

    Args:
        path: the file of weights.
        form: of the file; None where nobody looked.
        metadata: what the file says about itself.
        published: the publisher's entry for exactly this file.
    """
    if metadata.get(METADATA_KEY) in ("true", "false"):
        return Activation(quick_gelu=metadata[METADATA_KEY] == "true", source="its own metadata")
    if published is not None and published.quick_gelu is not None:
        return Activation(quick_gelu=published.quick_gelu, source=f"checksum of {published.title}")
    beside = read_config(path.parent)
    if beside is not None:
        uses = bool(beside["model_cfg"].get("quick_gelu", False))
        return Activation(quick_gelu=uses, source=f"{CONFIG_FILE} beside it")
    computed = uses_quick_gelu(path) if form is Form.TORCHSCRIPT else None
    if computed is None:
        return None
    return Activation(quick_gelu=computed, source="the archive's own code")


def require_activation(
    name: str, path: Path, known: Activation | None, *, computed: bool, twins: list[str]
) -> None:
    """Refuse weights that were trained with the other activation than the model computes.

    Args:
        name: of the model, as the user asked for it.
        path: of the weights.
        known: what is known of the file.
        computed: whether the model computes QuickGELU.
        twins: the names that open_clip knows.

    Raises:
        ConfigError: they differ for certain; a doubt is only logged.
    """
    if known is None:
        _log_doubt(name, path, computed=computed)
    elif known.quick_gelu != computed:
        twin = twin_of(name, quick_gelu=known.quick_gelu)
        advice = f"ask for {twin}@{path}" if twin in twins else "ask for another model"
        raise ConfigError(
            f"{path} was trained with {known.name} ({known.source}), and {name} computes "
            f"{ACTIVATIONS[computed]}: {advice}"
        )


def read_config(folder: Path) -> dict[str, Any] | None:
    """The configuration that a folder of the hub holds, or None.

    Raises:
        ConfigError: the file is there and says nothing about a model.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        _ = [dict(config["model_cfg"][key]) for key in _TOWERS]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is no configuration of open_clip ({error}): get it again, or take it away"
        ) from error
    return dict(config)


_TOWERS = ("vision_cfg", "text_cfg")


def _log_doubt(name: str, path: Path, *, computed: bool) -> None:
    others = [tag for tag, uses in tags_in_name(path).items() if uses != computed]
    if others:
        log.warning(
            "%s is named like weights of %s, which were trained with %s, and %s computes %s: "
            "with the wrong activation the embeddings are wrong but plausible",
            path,
            others[0],
            ACTIVATIONS[not computed],
            name,
            ACTIVATIONS[computed],
        )
    else:
        log.info(
            "%s does not say its activation: %s stands for %s", path, name, ACTIVATIONS[computed]
        )
