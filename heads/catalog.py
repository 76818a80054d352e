"""Every head by name: the rows of the paper's Table 1 and their controls."""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial

import torch

from vidret.data.errors import ConfigError
from vidret.heads.cmfi import CMFI
from vidret.heads.mean import MeanPooling
from vidret.heads.mgfi import MGFI
from vidret.heads.options import DEFAULT_OPTIONS, HeadOptions
from vidret.heads.retriever import Retriever


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What the features say of a head."""

    dim: int
    audio_dim: int
    logit_scale: float


def build_mean(sizes: Sizes, options: HeadOptions, *, sound: bool = False) -> Retriever:
    """The row "base" of Table 1."""
    return _with_sound(MeanPooling(), sizes, options, sound=sound)


def build_mgfi(
    sizes: Sizes,
    options: HeadOptions,
    *,
    sentence_frame: bool = False,
    word_frame: bool = False,
    sound: bool = False,
) -> Retriever:
    """The rows "s-f", "w-f" and "a-s" of Table 1, or the control without any."""
    head = MGFI(sizes.dim, sentence_frame=sentence_frame, word_frame=word_frame, options=options)
    return _with_sound(head, sizes, options, sound=sound)


HEADS: dict[str, Callable[[Sizes, HeadOptions], Retriever]] = {
    "mean": build_mean,
    "mean-ff": build_mgfi,
    "s-f": partial(build_mgfi, sentence_frame=True),
    "w-f": partial(build_mgfi, word_frame=True),
    "mgfi": partial(build_mgfi, sentence_frame=True, word_frame=True),
    "mean+cmfi": partial(build_mean, sound=True),
    "mean-ff+cmfi": partial(build_mgfi, sound=True),
    "s-f+cmfi": partial(build_mgfi, sentence_frame=True, sound=True),
    "w-f+cmfi": partial(build_mgfi, word_frame=True, sound=True),
    "mgfi+cmfi": partial(build_mgfi, sentence_frame=True, word_frame=True, sound=True),
}


def head_names() -> list[str]:
    """Every name that `build_retriever` knows."""
    return list(HEADS)


def build_retriever(
    name: str,
    *,
    dim: int,
    audio_dim: int,
    logit_scale: float,
    options: HeadOptions = DEFAULT_OPTIONS,
    seed: int = 0,
) -> Retriever:
    """Build a head by name; the same seed gives the same weights, and no other draw is disturbed.

    Raises:
        ConfigError: there is no head of that name, or an option is none of its choices.
    """
    if name not in HEADS:
        raise ConfigError(_unknown(name))
    sizes = Sizes(dim=dim, audio_dim=audio_dim, logit_scale=logit_scale)
    with torch.random.fork_rng(devices=[]):  # the CPU's draws alone: weights are made there
        torch.default_generator.manual_seed(seed)
        return HEADS[name](sizes, options)


def _with_sound(
    head: MeanPooling | MGFI, sizes: Sizes, options: HeadOptions, *, sound: bool
) -> Retriever:
    audio_head = CMFI(sizes.audio_dim, sizes.dim, missing=options.missing_audio) if sound else None
    return Retriever(head, audio_head, logit_scale=sizes.logit_scale)


def _unknown(name: str) -> str:
    close = get_close_matches(name, HEADS, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"there is no head {name!r}: {hint}The heads are {', '.join(HEADS)}"
