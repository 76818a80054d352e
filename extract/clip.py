"""open_clip: frames, words and sentences of one model, and what tells its weights apart."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vidret.data.errors import ConfigError, MissingError
from vidret.extract.backends import require_torchvision
from vidret.extract.models.pictures import SHORTEST, pixels_of
from vidret.extract.models.projection import (
    Projection,
    as_matrix,
    project,
    visual_projection,
    without_projection,
)
from vidret.extract.models.tokens import Marks, load_tokenizer, marks_of, word_ids
from vidret.extract.weights.deltas import base_of, state_with_base
from vidret.extract.weights.files import UNREADABLE, first_words, read_weights
from vidret.extract.weights.fitting import as_open_clip, build_clip, fill

if TYPE_CHECKING:
    from vidret.extract.weights.backbones import Backbone


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedText:
    """One caption: its sentence, its words, and whether the model saw it whole."""

    sentence: NDArray[np.float32]
    words: NDArray[np.float32]
    tokens: NDArray[np.int64]
    truncated: bool


class ClipEncoder(nn.Module):
    """A CLIP model with its tokenizer and its preprocessing.

    Args:
        architecture: the model's configuration as open_clip has it.
        weights: what tells the weights apart from others.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        model: nn.Module,
        tokenizer: Any,  # noqa: ANN401 - open_clip names no type for it
        weights: str,
        architecture: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.name = name
        self.model: Any = model
        self.tokenizer: Any = tokenizer
        self.weights = weights
        self.architecture = architecture
        self.pixels = pixels_of(name, _preprocess_of(model))
        self.marks = marks_of(name, tokenizer)
        _check_text_tower(name, model, self.marks)
        place = next(model.parameters()).device
        for kind in ("mean", "std"):
            value = torch.tensor(getattr(self.pixels, kind), device=place)[:, None, None]
            self.register_buffer(kind, value, persistent=False)
        self.eval()  # open_clip gives models in training mode

    @cached_property
    def config(self) -> str:
        """The model's configuration as JSON, with the activation that open_clip leaves out."""
        config = dict(self.architecture)
        config["quick_gelu"] = bool(config.get("quick_gelu", False))
        return json.dumps(config, sort_keys=True)

    @property
    def dim(self) -> int:
        """Width of frames, words and sentences."""
        matrix = as_matrix(self._text_projection)
        return self._text_width if matrix is None else matrix[0].shape[1]

    def frame_dim(self, hidden: bool) -> int:  # noqa: FBT001 - one question, one answer
        """Width of a frame, behind the last projection or before it."""
        return self._entering("visual.weight") if hidden else self.dim

    def text_dim(self, hidden: bool) -> int:  # noqa: FBT001 - as above
        """Width of a sentence or a word, behind the last projection or before it."""
        return self._entering("text.weight") if hidden else self.dim

    @property
    def logit_scale(self) -> float:
        """exp(tau) that the model was trained to."""
        return float(self.model.logit_scale.detach().exp())

    @property
    def first_word(self) -> int:
        """Where the words of a caption begin among its tokens."""
        return len(self.marks.before)

    def projections(self) -> dict[str, Tensor]:
        """The last linear maps, in float32 on the CPU: `hidden @ weight + bias` is the embedding.

        The keys are `visual.weight` and `text.weight`, both `(in, out)`, and `visual.bias` and
        `text.bias` where there are some. A tower without a projection has no keys.
        """
        maps = {
            "visual": visual_projection(self.model.visual),
            "text": self._text_projection,
        }
        matrices = {tower: as_matrix(one) for tower, one in maps.items()}
        return {
            f"{tower}.{part}": tensor.detach().float().cpu().clone()
            for tower, matrix in matrices.items()
            if matrix is not None
            for part, tensor in zip(("weight", "bias"), matrix, strict=True)
            if tensor is not None
        }

    @torch.no_grad()
    def set_projections(self, tensors: Mapping[str, Tensor]) -> None:
        """Take other last linear maps, under the names and in the shapes of `projections`."""
        maps = {
            "visual": visual_projection(self.model.visual),
            "text": self._text_projection,
        }
        for tower, own in maps.items():
            if isinstance(own, nn.Linear):
                own.weight.copy_(tensors[f"{tower}.weight"].T)
                if own.bias is not None:
                    own.bias.copy_(tensors[f"{tower}.bias"])
            elif own is not None:
                own.copy_(tensors[f"{tower}.weight"])

    def prepare(self, frame: NDArray[np.uint8]) -> Tensor:
        """One native frame as the model's uint8 picture `(3, size, size)`; safe in threads."""
        from torchvision.transforms.v2 import functional as pixels

        picture = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)
        side = [self.pixels.size]
        small = pixels.resize(
            picture,
            side if self.pixels.resize == SHORTEST else side * 2,
            interpolation=pixels.InterpolationMode.BICUBIC,
            antialias=True,
        )
        return pixels.center_crop(small, side * 2)

    def encode_frames(self, pictures: Tensor, *, hidden: bool = False) -> Tensor:
        """Embed prepared pictures `(frame, 3, size, size)`; not normalised.

        Args:
            pictures: uint8, on the device of the model.
            hidden: what enters the last projection, where it leaves it otherwise.
        """
        tower = without_projection(self.model.visual) if hidden else self.model.visual
        return tower((pictures.float() / 255 - self.mean) / self.std)

    def encode_tokens(self, tokens: Tensor, *, hidden: bool = False) -> tuple[Tensor, Tensor]:
        """Sentences and the embedding of every token, from one forward.

        Args:
            tokens: as `mark_tokens` gives them, on the device of the model.
            hidden: both before the last projection, where they are behind it otherwise.
        """
        from open_clip.transformer import text_global_pool

        output = self.model.forward_intermediates(
            text=tokens,
            text_indices=1,
            normalize_intermediates=True,
            intermediates_only=True,  # not the projection of the sentence
            text_output_fmt="NLC",
        )
        words = output["text_intermediates"][-1]
        pool, end = _pooling(self.model)
        sentences = text_global_pool(words, tokens, pool, eos_token_id=end)
        if hidden:
            return sentences, words
        projection = self._text_projection
        return project(sentences, projection), project(words, projection)

    def encode_texts(
        self, texts: Sequence[str], device: torch.device | str, *, hidden: bool = False
    ) -> list[EncodedText]:
        """Embed captions; words are the tokens strictly between start and end."""
        ids = [word_ids(self.tokenizer, self.marks, text) for text in texts]
        tokens = self.mark_tokens(ids)
        sentences, words = self.encode_tokens(tokens.to(device), hidden=hidden)
        sentences, words = sentences.float().cpu(), words.float().cpu()
        encoded = []
        for row, own in enumerate(ids):
            end = self.first_word + min(len(own), self.marks.most)
            encoded.append(
                EncodedText(
                    sentence=sentences[row].numpy(),
                    words=words[row, self.first_word : end].numpy().copy(),
                    tokens=tokens[row, self.first_word : end].numpy().copy(),
                    truncated=len(own) > self.marks.most,
                )
            )
        return encoded

    def mark_tokens(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Captions as `encode_tokens` wants them: cut, between their two marks, padded."""
        return self.marks.around(ids)

    @property
    def _text_projection(self) -> Projection:
        return _text_tower(self.model).text_projection

    @property
    def _text_width(self) -> int:
        return int(_text_tower(self.model).positional_embedding.shape[1])

    def _entering(self, name: str) -> int:
        maps = {
            "visual.weight": lambda: visual_projection(self.model.visual),
            "text.weight": lambda: self._text_projection,
        }
        matrix = as_matrix(maps[name]())
        return self.dim if matrix is None else matrix[0].shape[0]


def load_clip(
    spec: str, *, device: torch.device | str = "cpu", offline: bool = True
) -> ClipEncoder:
    """Load a model and its weights; docs/backbones.md lists what a spec may be.

    Args:
        spec: `tiny`, `NAME@FILE`, `NAME@FOLDER`, `local-dir:FOLDER`, and from the hub `NAME@TAG` or
            `hf-hub:ORG/REPO`; NAME may be `tiny`.
        device: where the model is to run.
        offline: forbid the hub.

    Raises:
        ConfigError: open_clip knows no such model, or vidret cannot use it as it is meant.
        MissingError: the weights are not there, or do not fit.
        MismatchError: they are a difference from other weights than there are now.
    """
    require_torchvision()
    from vidret.extract.weights.backbones import find_backbone

    backbone = find_backbone(spec, offline=offline)
    _check_architecture(backbone)
    tokenizer = load_tokenizer(
        backbone.name, backbone.architecture["text_cfg"], backbone.tokenizer, offline=offline
    )
    model = (
        _from_hub(backbone)
        if backbone.file is None
        else _from_file(backbone, backbone.file, offline=offline)
    )
    return ClipEncoder(
        backbone.name, model.to(device), tokenizer, backbone.digest, backbone.architecture
    )


def _from_file(backbone: "Backbone", path: Path, *, offline: bool) -> nn.Module:
    """The architecture with exactly the tensors of a file, or of a file and its base."""

    def load_base(spec: str) -> tuple[nn.Module, str]:
        clip = load_clip(spec, offline=offline)
        return clip.model, clip.weights

    try:
        model, file = _build(backbone), read_weights(path)
        base = base_of(file.metadata)
        if base is None:
            fill(model, as_open_clip(model, file.tensors))
        else:
            fill(model, state_with_base(file, base, load_base))
    except UNREADABLE as error:
        raise MissingError(
            f"{path} cannot be loaded as weights of {backbone.name} ({first_words(error)}): "
            "give the file that belongs to this model, as safetensors or a plain state dict"
        ) from error
    return model


def _from_hub(backbone: "Backbone") -> nn.Module:
    """What open_clip fetches for a tag or a repository."""
    import open_clip

    try:
        return open_clip.create_model(
            backbone.model, pretrained=backbone.tag or None, require_pretrained=True
        )
    except UNREADABLE as error:
        raise MissingError(
            f"the hub gives no weights of {backbone.name} that fit ({first_words(error)}): try "
            "again, or get the files by hand and give their folder"
        ) from error


def _build(backbone: "Backbone") -> nn.Module:
    """The model with random weights, which knows how it wants its pictures."""
    import open_clip
    from open_clip.transform import PreprocessCfg

    model: Any = build_clip(backbone.architecture)
    wanted = asdict(PreprocessCfg()) | {"size": model.visual.image_size} | backbone.preprocess
    open_clip.factory.set_model_preprocess_cfg(model, wanted)
    return model


def _check_architecture(backbone: "Backbone") -> None:
    """Refuse text towers whose words cannot be told, before anything is read."""
    text = backbone.architecture["text_cfg"]
    if text.get("hf_model_name") or "multimodal_cfg" in backbone.architecture:
        raise _unknown_words(backbone.name)


def _unknown_words(name: str) -> ConfigError:
    return ConfigError(
        f"{name} reads text in another way than CLIP, and vidret could not tell its words: "
        "choose another model"
    )


def _preprocess_of(model: Any) -> Mapping[str, Any]:  # noqa: ANN401 - a CLIP of open_clip
    preprocess: Mapping[str, Any] = model.visual.preprocess_cfg
    return preprocess


def _text_tower(model: Any) -> Any:  # noqa: ANN401 - a CLIP of open_clip
    """The part that holds the projection of texts: the model itself, or a tower of its own."""
    return getattr(model, "text", model)


def _pooling(model: Any) -> tuple[str, int | None]:  # noqa: ANN401 - a CLIP of open_clip
    """Which token becomes the sentence, and the end token where it is asked for by its number."""
    tower = _text_tower(model)
    if tower is model:
        return model.text_pool_type, model.text_eos_id
    return tower.pool_type, tower.eos_id


def _check_text_tower(name: str, model: Any, marks: Marks) -> None:  # noqa: ANN401 - as above
    """The sentence must come from where the tower takes it: its end token, or the last place."""
    from open_clip.transformer import TextTransformer

    tower = _text_tower(model)
    own_class = getattr(tower, "cls_emb", None) is not None  # as CoCa's have it
    if own_class or (tower is not model and not isinstance(tower, TextTransformer)):
        raise _unknown_words(name)
    pool, end = _pooling(model)
    known = {
        "argmax": marks.after[:1] == (model.vocab_size - 1,),  # the end token is the highest
        "eos": marks.after[:1] == (end,),
        "last": True,
    }
    if not known.get(pool, False):
        raise _unknown_words(name)
