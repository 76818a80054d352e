"""Encoders of the true architectures with random weights, saved as their publishers save theirs."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from vidret.extract.encoders import EncoderSpec
from vidret.extract.panns import cnn14
from vidret.extract.weights.fitting import build_clip

BACKBONE = "ViT-B-32-quickgelu"
TINY = EncoderSpec(backbone="tiny", audio="tiny", device="cpu", offline=True)


def real_encoders(folder: Path, backbone: str = BACKBONE) -> EncoderSpec:
    """ViT-B-32 and Cnn14, or another backbone of open_clip, from files that are made once."""
    folder.mkdir(parents=True, exist_ok=True)
    clip, sound = folder / f"{backbone}.safetensors", folder / "Cnn14.pth"
    torch.manual_seed(0)
    if not clip.exists():
        model = _new_clip(backbone)
        state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        save_file(state, clip)
    if not sound.exists():
        torch.save({"iteration": 600_000, "model": cnn14().state_dict()}, sound)
    return EncoderSpec(
        backbone=f"{backbone}@{clip}", audio=f"Cnn14@{sound}", device="cpu", offline=True
    )


def _new_clip(backbone: str) -> torch.nn.Module:
    import open_clip

    config = open_clip.get_model_config(backbone)
    if config is None:
        raise SystemExit(f"open_clip knows no model {backbone}")
    return build_clip(config)
