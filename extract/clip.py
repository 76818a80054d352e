"""open_clip: frames, words and sentences of one model, and what tells its weights apart."""

import hashlib
import json
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn

from vidret.data.errors import ConfigError, MissingError
from vidret.extract.backends import require_torchvision
from vidret.extract.tiny.weights import TINY_FOLDER, verify_weights

TINY = "tiny"
TINY_MODEL = "vidret-tiny"
_NO_WEIGHTS = (  # what reading a file raises that holds no weights, or another model's
    OSError,
    EOFError,
    RuntimeError,
    SafetensorError,
    pickle.UnpicklingError,
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    AttributeError,
    AssertionError,
    StopIteration,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedText:
    """One caption: its sentence, its words, and whether the model saw it whole."""

    sentence: NDArray[np.float32]
    words: NDArray[np.float32]
    tokens: NDArray[np.int64]
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """How the model wants its pictures."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def description(self) -> str:
        """One line for the fingerprint."""
        return f"rgb24 bicubic-antialias {self.size} centre-crop mean {self.mean} std {self.std}"


class ClipEncoder(nn.Module):
    """A CLIP model with its tokenizer and its preprocessing."""

    def __init__(self, name: str, model: nn.Module, tokenizer: Any, weights: str) -> None:  # noqa: ANN401 - open_clip names no type for it
        super().__init__()
        self.name = name
        self.model: Any = model
        self.tokenizer: Any = tokenizer
        self.weights = weights
        self.pixels = _pixels(name, model)
        _check_text_tower(name, model, tokenizer)
        self.eval()  # open_clip gives models in training mode

    @cached_property
    def config(self) -> str:
        """The model's configuration as JSON, with the activation that open_clip leaves out."""
        import open_clip

        config = dict(open_clip.get_model_config(_model_name(self.name)) or {})
        config["quick_gelu"] = bool(config.get("quick_gelu", False))
        return json.dumps(config, sort_keys=True)

    @property
    def dim(self) -> int:
        """Width of frames, words and sentences."""
        return int(_projection_width(self.model))

    @property
    def logit_scale(self) -> float:
        """exp(tau) that the model was trained to."""
        return float(self.model.logit_scale.detach().exp())

    def prepare(self, frame: NDArray[np.uint8]) -> Tensor:
        """One native frame as the model's uint8 picture `(3, size, size)`."""
        from torchvision.transforms.v2 import functional as pixels

        picture = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)
        small = pixels.resize(
            picture,
            [self.pixels.size],
            interpolation=pixels.InterpolationMode.BICUBIC,
            antialias=True,
        )
        return pixels.center_crop(small, [self.pixels.size, self.pixels.size])

    def encode_frames(self, pictures: Tensor) -> Tensor:
        """Embed prepared pictures `(frame, 3, size, size)`; not normalised."""
        mean = torch.tensor(self.pixels.mean, device=pictures.device)[:, None, None]
        std = torch.tensor(self.pixels.std, device=pictures.device)[:, None, None]
        return self.model.encode_image((pictures.float() / 255 - mean) / std)

    def encode_tokens(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Sentences and the projected embedding of every token, from one forward."""
        tower = _text_tower(self.model)
        output = self.model.forward_intermediates(
            text=tokens,
            text_indices=1,
            normalize_intermediates=True,
            normalize=False,
            text_output_fmt="NLC",
        )
        projection = tower.text_projection
        hidden = output["text_intermediates"][-1]
        words = projection(hidden) if isinstance(projection, nn.Module) else hidden @ projection
        return output["text_features"], words

    def encode_texts(self, texts: Sequence[str], device: torch.device | str) -> list[EncodedText]:
        """Embed captions; words are the tokens strictly between start and end."""
        ids = [self._token_ids(text) for text in texts]
        most = self.tokenizer.context_length - 2
        tokens = self.mark_tokens(ids)
        sentences, words = self.encode_tokens(tokens.to(device))
        sentences, words = sentences.float().cpu(), words.float().cpu()
        encoded = []
        for row, own in enumerate(ids):
            end = 1 + min(len(own), most)
            encoded.append(
                EncodedText(
                    sentence=sentences[row].numpy(),
                    words=words[row, 1:end].numpy().copy(),
                    tokens=tokens[row, 1:end].numpy().copy(),
                    truncated=len(own) > most,
                )
            )
        return encoded

    def mark_tokens(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Captions as `encode_tokens` wants them: cut, between their two marks, padded."""
        most = self.tokenizer.context_length - 2
        tokens = torch.zeros(len(ids), most + 2, dtype=torch.long)
        for row, own in enumerate(ids):
            marked = [self.tokenizer.sot_token_id, *own[:most], self.tokenizer.eot_token_id]
            tokens[row, : len(marked)] = torch.tensor(marked)
        return tokens

    def _token_ids(self, text: str) -> list[int]:
        """Tokens of one caption, all of them; the two marks are no words that it may hold.

        They are taken out of the tokens, since `&lt;END_OF_TEXT>` turns into a mark as well.
        """
        marks = (self.tokenizer.sot_token_id, self.tokenizer.eot_token_id)
        return [token for token in self.tokenizer.encode(text) if token not in marks]


def load_clip(
    spec: str, *, device: torch.device | str = "cpu", offline: bool = True
) -> ClipEncoder:
    """Load `tiny`, `NAME@PATH` or `NAME@TAG` (from the hub, unless offline); NAME may be `tiny`.

    Raises:
        ConfigError: open_clip knows no such model, or its preprocessing is not ours.
        MissingError: the weights are not there.
    """
    require_torchvision()
    import open_clip

    open_clip.add_model_config(TINY_FOLDER / f"{TINY_MODEL}.json")
    if spec == TINY:
        verify_weights()
        name, weights = TINY_MODEL, str(TINY_FOLDER / "clip.safetensors")
    else:
        name, _, weights = spec.partition("@")
        name = _model_name(name)
        _check_name(name, weights, open_clip.list_models())
    is_file = Path(weights).exists()
    if not is_file:
        _check_tag(name, weights, offline=offline)
    try:
        model = open_clip.create_model(
            name, pretrained=weights, require_pretrained=True, device=device
        )
    except _NO_WEIGHTS as error:
        raise MissingError(
            f"{weights} cannot be loaded as weights of {name} ({first_words(error)}): "
            "give the file that belongs to this model, as safetensors or a plain state dict"
        ) from error
    digest = hash_file(Path(weights)) if is_file else f"hub:{weights}"
    return ClipEncoder(spec.partition("@")[0], model, open_clip.get_tokenizer(name), digest)


def hash_file(path: Path) -> str:
    """sha256 of a file, in short."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def first_words(error: BaseException) -> str:
    """The beginning of an error's own words, which may run over many lines."""
    if isinstance(error, pickle.UnpicklingError):  # torch's advice is to let the file run code
        return "it asks to run code" if wants_to_run_code(error) else "it is no file of tensors"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:200] or type(error).__name__


def wants_to_run_code(error: pickle.UnpicklingError) -> bool:
    """Whether torch refused a checkpoint over the functions that it names."""
    return "GLOBAL" in str(error)


def missing_weights(name: str) -> MissingError:
    """The error for a backbone that was asked for without saying where its weights are."""
    return MissingError(
        f"no weights known for {name}: put\n\n"
        f'[extract]\nbackbone = "{name}@/path/to/weights.safetensors"\n\n'
        f"into ./vidret.toml, or pass --backbone {name}@openai to fetch OpenAI's from the hub, "
        "or --backbone tiny to try the way with the bundled toy"
    )


def _model_name(name: str) -> str:
    return TINY_MODEL if name == TINY else name


def _check_name(name: str, weights: str, known: list[str]) -> None:
    from difflib import get_close_matches

    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f": did you mean {close[0]}?" if close else ", see open_clip.list_models()"
        raise ConfigError(f"open_clip has no model {name!r}{hint}")
    if not weights:
        raise missing_weights(name)


def _check_tag(name: str, tag: str, *, offline: bool) -> None:
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag not in tags:
        what = f"or one of the tags {', '.join(tags)}" if tags else "it has no tags"
        raise MissingError(f"{tag} is no file with weights of {name}: give a path, {what}")
    _check_activation(name, tag)
    if offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise MissingError(
            f"the weights {tag} of {name} lie on the hub, and this run is offline: "
            f"allow the network, or give a file as {name}@PATH"
        )


def _check_activation(name: str, tag: str) -> None:
    """open_clip only warns of it, and the embeddings would be wrong but plausible."""
    import open_clip

    trained = bool(open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False))
    computed = bool((open_clip.get_model_config(name) or {}).get("quick_gelu", False))
    if trained == computed:
        return
    twin = f"{name}-quickgelu" if trained else name.removesuffix("-quickgelu")
    known = twin != name and tag in open_clip.list_pretrained_tags_by_model(twin)
    activations = ("GELU", "QuickGELU")
    raise ConfigError(
        f"the weights {tag} were trained with {activations[trained]}, and {name} computes "
        f"{activations[computed]}: ask for {f'{twin}@{tag}' if known else 'other weights'}"
    )


def _pixels(name: str, model: Any) -> Pixels:  # noqa: ANN401 - a CLIP of open_clip
    """The model's preprocessing; anything but CLIP's own way is refused, not guessed."""
    config: dict[str, Any] = model.visual.preprocess_cfg
    size = config["size"]
    side = size if isinstance(size, int) else size[0]
    square = isinstance(size, int) or size[0] == size[1]
    if not square or config["interpolation"] != "bicubic" or config["resize_mode"] != "shortest":
        raise ConfigError(
            f"{name} wants pictures as {config}, and vidret prepares them bicubic, by the shorter "
            "side, square: choose another model"
        )
    return Pixels(size=side, mean=tuple(config["mean"]), std=tuple(config["std"]))


def _text_tower(model: Any) -> Any:  # noqa: ANN401 - a CLIP of open_clip
    """The part that holds the projection of texts: the model itself, or a tower of its own."""
    return getattr(model, "text", model)


def _check_text_tower(name: str, model: Any, tokenizer: Any) -> None:  # noqa: ANN401 - as above
    """Words are known only where a causal tower ends every sentence in its end token."""
    import open_clip

    tower = _text_tower(model)
    pool = getattr(tower, "pool_type", None) or getattr(tower, "text_pool_type", None)
    plain = (
        isinstance(tokenizer, open_clip.SimpleTokenizer)
        and pool in ("argmax", "eos")
        and getattr(tower, "cls_emb", None) is None
        and getattr(tower, "text_projection", None) is not None
    )
    if not plain:
        raise ConfigError(
            f"{name} reads text in another way than CLIP, and vidret could not tell its words: "
            "choose another model"
        )


def _projection_width(model: Any) -> int:  # noqa: ANN401 - a CLIP of open_clip
    projection = _text_tower(model).text_projection
    if isinstance(projection, nn.Linear):
        return projection.out_features
    return projection.shape[1]
