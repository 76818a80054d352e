"""Small models of every class that open_clip has, and their weights as publishers write them."""

import json
import warnings
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vidret.extract.weights.fitting import build_clip

VISION = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 1}
SMALL = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT}
MODELS = {
    "small": SMALL,
    "small-quickgelu": {**SMALL, "quick_gelu": True},
    "small-resnet": {
        **SMALL,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
    },
    "small-tower": {**SMALL, "custom_text": True},
    "small-eva": {  # as EVA02: the classifier of a timm model projects
        **SMALL,
        "custom_text": True,
        "vision_cfg": {
            "image_size": 160,
            "timm_model_name": "test_vit",
            "timm_pool": "token",
            "timm_proj": None,
        },
    },
    "small-convnext": {
        **SMALL,
        "vision_cfg": {
            "image_size": 160,
            "timm_model_name": "test_convnext",
            "timm_pool": "",
            "timm_proj": "mlp",
        },
    },
    "small-siglip": {  # no projection of frames, one with a bias of texts, no causal mask
        "embed_dim": 64,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": 160,
            "timm_model_name": "test_vit",
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "text_cfg": {
            **TEXT,
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": 1e-6},
        },
    },
    "small-unprojected": {
        **SMALL,
        "custom_text": True,
        "text_cfg": {**TEXT, "width": 16, "proj_type": "none"},
    },
}
SQUASHED = {
    "mean": [0.5] * 3,
    "std": [0.5] * 3,
    "interpolation": "bicubic",
    "resize_mode": "squash",
}


def register_models(folder: Path) -> None:
    """Let open_clip know the small models by name."""
    for name, architecture in MODELS.items():
        (folder / f"{name}.json").write_text(json.dumps(architecture))
    open_clip.add_model_config(folder)


def random_model(name: str, seed: int = 0) -> nn.Module:
    """A small model whose weights are all far from zero, so that each of them counts."""
    torch.manual_seed(seed)
    model = build_clip(MODELS[name]).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=weight.shape[-1] ** -0.5)
            elif weight.ndim == 1:
                weight.add_(torch.randn_like(weight) * 0.1)
    return model


def save_safetensors(model: nn.Module, path: Path, metadata: dict[str, str] | None = None) -> Path:
    """The weights as the hub has them."""
    save_file(contiguous(model), path, metadata=metadata)
    return path


def save_checkpoint(model: nn.Module, path: Path) -> Path:
    """A checkpoint as open_clip's own training writes it, on several GPUs."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    sum(weight.sum() for weight in model.parameters()).backward()
    optimizer.step()
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save(
        {"epoch": 3, "name": "a run", "state_dict": state, "optimizer": optimizer.state_dict()},
        path,
    )
    return path


def save_folder(
    model: nn.Module, folder: Path, architecture: dict, preprocess: dict | None = None
) -> Path:
    """A folder as a repository of the hub is laid out."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": architecture, "preprocess_cfg": preprocess or {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_safetensors(model, folder / "open_clip_model.safetensors")
    return folder


class Traced(nn.Module):
    """A CLIP model as OpenAI traced it: with its sizes among the weights."""

    def __init__(self, model: open_clip.CLIP) -> None:
        super().__init__()
        for name, child in model.named_children():
            self.add_module(name, child)
        for name, weight in model.named_parameters(recurse=False):
            self.register_parameter(name, weight)
        self.model_forward = type(model).encode_text
        sizes = {"input_resolution": 32, "context_length": 12, "vocab_size": 49408}
        for name, size in sizes.items():
            self.register_buffer(name, torch.tensor(size))
        self.attn_mask = model.attn_mask
        self.text_pool_type, self.text_eos_id = model.text_pool_type, model.text_eos_id
        self.sizes = tuple(sizes)

    def forward(self, tokens: Tensor, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Both towers, and every weight of them."""
        sizes = sum(getattr(self, name) for name in self.sizes)
        texts = self.model_forward(self, tokens) * self.logit_scale.exp() + 0 * sizes
        return texts, self.visual(pictures)


def save_archive(model: open_clip.CLIP, path: Path) -> dict[str, Tensor]:
    """A TorchScript archive as OpenAI published CLIP, and what torch itself reads from it."""
    tokens = torch.zeros(1, 12, dtype=torch.long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and tracing has its doubts
        inputs = (tokens, torch.zeros(1, 3, 32, 32))
        torch.jit.trace(Traced(model).eval(), inputs, check_trace=False).save(path)
        return dict(torch.jit.load(path).state_dict())


def contiguous(model: nn.Module) -> dict[str, Tensor]:
    """A state dict that safetensors takes."""
    return {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}
