"""The encoders of one run: loaded once in each process, described in its fingerprint."""

from dataclasses import dataclass, replace
from functools import cache

import torch

from vidret.data.errors import MissingError
from vidret.extract.clip import ClipEncoder, load_clip
from vidret.extract.panns import SoundEncoder, load_sound


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec:
    """Which encoders to load, and where they run; small enough to travel with every task."""

    backbone: str
    audio: str
    device: str
    offline: bool
    precision: str = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoders:
    """The loaded encoders; `sound` is None where sound is left out."""

    clip: ClipEncoder
    sound: SoundEncoder | None
    device: torch.device
    precision: str = "float32"


def load_encoders(spec: EncoderSpec) -> Encoders:
    """Load what a spec names; a process that asks again gets the same."""
    return _load(replace(spec, device=str(pick_device(spec.device))))


@cache
def _load(spec: EncoderSpec) -> Encoders:
    device = torch.device(spec.device)
    return Encoders(
        clip=load_clip(spec.backbone, device=device, offline=spec.offline),
        sound=load_sound(spec.audio, device=device),
        device=device,
        precision=spec.precision,
    )


def pick_device(name: str) -> torch.device:
    """The device of a name; `auto` is the first GPU, or the CPU.

    Raises:
        MissingError: a GPU is asked for and there is none.
    """
    found = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if found else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (not found or (device.index or 0) >= torch.cuda.device_count()):
        raise MissingError(
            f"device is {name}, and torch finds {torch.cuda.device_count()} GPUs here: "
            "use --device cpu, or a torch that was built for CUDA"
        )
    return device
