"""What the paper leaves open about its heads, as settings of a fit."""

# ruff: noqa: RUF009 - setting() is dataclasses.field with more metadata

from dataclasses import dataclass
from typing import ClassVar, get_args

from vidret.heads.options import (
    Activation,
    MissingAudio,
    Sharing,
    Start,
    WordSet,
    WordWeightScale,
)
from vidret.pipelines.config.declaring import ReportConfig, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadConfig(ReportConfig):
    """What the paper leaves open about its heads; the names are those of `HeadOptions`."""

    group: ClassVar[str] = "What the paper leaves open about its heads"

    hidden: int | None = setting(
        None, help="Width of the feed-forward layers; unset fits cache and head."
    )
    dropout: float = setting(0.3, help="Dropout behind the feed-forward layers.")
    activation: Activation = setting(
        "quick_gelu", help="Between the feed-forward layers.", choices=get_args(Activation)
    )
    feed_forward: Sharing = setting(
        "shared",
        help="One feed-forward for both branches, or each its own.",
        choices=get_args(Sharing),
    )
    norms: Sharing = setting(
        "shared",
        help="One norm for sentences, words and frames, or each its own.",
        choices=get_args(Sharing),
    )
    start: Start = setting(
        "clip", help="Begin as CLIP alone, or with random weights.", choices=get_args(Start)
    )
    projection_bias: bool = setting(
        default=False, help="Give the projections of equations 1 to 6 a bias."
    )
    word_set: WordSet = setting(
        "words",
        help="What the word branch sees; the end is the sentence.",
        choices=get_args(WordSet),
    )
    word_weight_scale: WordWeightScale = setting(
        "literal",
        help="Scale of the softmax over words (equation 7).",
        choices=get_args(WordWeightScale),
    )
    missing_audio: MissingAudio = setting(
        "learned",
        help="What stands for no sound: a learned vector, or the mean of the others.",
        choices=get_args(MissingAudio),
    )
    layers: int = setting(4, help="Layers of a transformer over frames, in heads with one.")
