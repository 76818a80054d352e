"""Every head by name: the rows of the paper's Table 1, their controls, and the heads of others.

A head of the frames stands here once; `+cmfi` behind its name adds the head of the sound.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

import torch

from vidret.data.errors import ConfigError
from vidret.heads.clip2video import CLIP2Video
from vidret.heads.cmfi import CMFI
from vidret.heads.hcmi import HCMI
from vidret.heads.hierarchy import HierarchyOptions
from vidret.heads.mean import MeanPooling
from vidret.heads.mgfi import MGFI
from vidret.heads.options import DEFAULT_OPTIONS, HeadOptions
from vidret.heads.pooling import ExcitedFrames, FrameScorer, PooledFrames
from vidret.heads.retriever import Retriever, VideoHead
from vidret.heads.temporal import FrameLSTM, FrameTransformer
from vidret.heads.tight import TightTransformer
from vidret.heads.tokenwise import TokenWise
from vidret.heads.xpool import XPool

SOUND = "+cmfi"  # how the name of a head with sound ends
OF_SOUND = frozenset({"missing_audio"})  # the options that the head of the sound reads
OF_FEED_FORWARD = frozenset({"hidden", "dropout", "activation", "start"})
OF_MGFI = OF_FEED_FORWARD | {"projection_bias"}
OF_WORDS = frozenset({"word_set", "word_weight_scale"})
OF_HCMI = frozenset(one.name for one in fields(HierarchyOptions))
RECONSTRUCTED = frozenset({"hcmi", "ea-clip4clip"})  # by formulas of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoHeadEntry:
    """A head of the frames.

    Args:
        build: makes it for features of a width.
        options: names of the `HeadOptions` that it reads; with any others it comes out the same.
    """

    build: Callable[[int, HeadOptions], VideoHead[Any, Any]]
    options: frozenset[str]


def build_mgfi(
    *, sentence_frame: bool = False, word_frame: bool = False
) -> Callable[[int, HeadOptions], MGFI]:
    """What makes the rows "s-f" and "w-f" of Table 1, both, or the control without any."""

    def build(dim: int, options: HeadOptions) -> MGFI:
        return MGFI(dim, sentence_frame=sentence_frame, word_frame=word_frame, options=options)

    return build


VIDEO_HEADS: dict[str, VideoHeadEntry] = {
    "mean": VideoHeadEntry(build=lambda *_: MeanPooling(), options=frozenset()),
    "mean-ff": VideoHeadEntry(build=build_mgfi(), options=OF_MGFI),
    "s-f": VideoHeadEntry(build=build_mgfi(sentence_frame=True), options=OF_MGFI | {"norms"}),
    "w-f": VideoHeadEntry(
        build=build_mgfi(word_frame=True), options=OF_MGFI | {"norms"} | OF_WORDS
    ),
    "mgfi": VideoHeadEntry(
        build=build_mgfi(sentence_frame=True, word_frame=True),
        options=OF_MGFI | {"norms", "feed_forward"} | OF_WORDS,
    ),
    "seq-transf": VideoHeadEntry(
        build=lambda dim, options: PooledFrames(along=FrameTransformer(dim, options)),
        options=OF_FEED_FORWARD | {"layers"},
    ),
    "seq-lstm": VideoHeadEntry(
        build=lambda dim, options: PooledFrames(along=FrameLSTM(dim, options)),
        options=frozenset({"start"}),
    ),
    "tight-transf": VideoHeadEntry(
        build=TightTransformer, options=OF_FEED_FORWARD - {"start"} | {"layers"}
    ),
    "xpool": VideoHeadEntry(build=XPool, options=frozenset({"dropout", "start"})),
    "wti": VideoHeadEntry(build=TokenWise, options=frozenset({"hidden", "start", "word_set"})),
    "clip2video": VideoHeadEntry(
        build=CLIP2Video, options=OF_FEED_FORWARD | {"layers", "word_set"}
    ),
    "adaclip": VideoHeadEntry(
        build=lambda dim, options: PooledFrames(weigh=FrameScorer(dim, options), unit=False),
        options=frozenset({"hidden", "activation", "start"}),
    ),
    "ea-clip4clip": VideoHeadEntry(
        build=lambda _, options: PooledFrames(weigh=ExcitedFrames(options)),
        options=frozenset({"start"}),
    ),
    "hcmi": VideoHeadEntry(
        build=lambda dim, options: HCMI(dim, options=options),
        options=OF_FEED_FORWARD | {"layers", "word_set"} | OF_HCMI,
    ),
}
HEADS = (*VIDEO_HEADS, *(name + SOUND for name in VIDEO_HEADS))


def head_names() -> list[str]:
    """Every name that `build_retriever` knows."""
    return list(HEADS)


def options_of(name: str) -> frozenset[str]:
    """The `HeadOptions` that a head reads; all others leave it as it is.

    Raises:
        ConfigError: there is no head of that name.
    """
    entry = _entry_of(name)
    return entry.options | OF_SOUND if name.endswith(SOUND) else entry.options


def is_reconstructed(name: str) -> bool:
    """Whether the formulas of a head are ours, since those of its paper are not public."""
    return name.removesuffix(SOUND) in RECONSTRUCTED


def told_name(name: str) -> str:
    """What tables and messages call a head."""
    return f"{name} (reconstruction)" if is_reconstructed(name) else name


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
    entry = _entry_of(name)
    with torch.random.fork_rng(devices=[]):  # the CPU's draws alone: weights are made there
        torch.default_generator.manual_seed(seed)
        head, audio_head = entry.build(dim, options), None
        if name.endswith(SOUND):
            audio_head = CMFI(audio_dim, dim, missing=options.missing_audio)
        return Retriever(head, audio_head, logit_scale=logit_scale)


def _entry_of(name: str) -> VideoHeadEntry:
    if name not in HEADS:
        raise ConfigError(_unknown(name))
    return VIDEO_HEADS[name.removesuffix(SOUND)]


def _unknown(name: str) -> str:
    close = get_close_matches(name, HEADS, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    known = ", ".join(VIDEO_HEADS)
    return f"there is no head {name!r}: {hint}The heads are {known}, each of them with {SOUND} too"
