"""Loaded encoders around the small models of every class, and what goes into them."""

import torch
from making.backbones import MODELS, random_model
from open_clip.factory import set_model_preprocess_cfg
from open_clip.transform import PreprocessCfg

from vidret.extract.clip import ClipEncoder
from vidret.extract.encoders import Encoders
from vidret.extract.models.tokens import load_tokenizer
from vidret.extract.panns import SoundEncoder
from vidret.extract.tiny.sound import EMBEDDING, TinySound


def a_clip(name="small", *, seed=0, layers=None) -> ClipEncoder:
    """A small model of open_clip with random weights, as `load_clip` gives one."""
    architecture = MODELS[name]
    model = random_model(name, seed) if layers is None else _deeper(name, layers, seed)
    size = model.visual.image_size
    set_model_preprocess_cfg(model, vars(PreprocessCfg()) | {"size": size})
    tokenizer = load_tokenizer(name, architecture["text_cfg"], "", offline=True)
    return ClipEncoder(name, model, tokenizer, "random", architecture)


def a_sound(*, seed=0) -> SoundEncoder:
    """The small network for sound with random weights."""
    torch.manual_seed(seed)
    return SoundEncoder("tiny", TinySound(3), EMBEDDING, "random")


def some_encoders(name="small", **more) -> Encoders:
    """Both."""
    return Encoders(clip=a_clip(name, **more), sound=a_sound(), device=torch.device("cpu"))


def pictures_for(clip: ClipEncoder, *, number=2, seed=3):
    """Random prepared pictures."""
    side, draw = clip.pixels.size, torch.Generator().manual_seed(seed)
    return torch.randint(256, (number, 3, side, side), generator=draw, dtype=torch.uint8)


def _deeper(name, layers, seed):
    """The same model with more blocks in both towers."""
    MODELS["deeper"] = MODELS[name] | {
        "vision_cfg": MODELS[name]["vision_cfg"] | {"layers": layers},
        "text_cfg": MODELS[name]["text_cfg"] | {"layers": layers},
    }
    try:
        return random_model("deeper", seed)
    finally:
        del MODELS["deeper"]
