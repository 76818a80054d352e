"""What is open about HCMI, as choices: our reconstruction has to settle all of it.

The paper's formulas are not public. docs/hcmi.md says what is known, and why each default.
Nothing here needs torch, so a command line can name the choices at once.
"""

from dataclasses import dataclass
from typing import Literal

from vidret.data.errors import ConfigError

Clustering = Literal["density", "soft", "even"]
Levels = Literal["all", "frame", "clip", "video", "frame+clip", "frame+video", "clip+video"]
Contrast = Literal["levels", "sum"]

FRAME_WORD, CLIP_PHRASE, VIDEO_SENTENCE = "frame-word", "clip-phrase", "video-sentence"
NAMES = {"frame": FRAME_WORD, "clip": CLIP_PHRASE, "video": VIDEO_SENTENCE}


@dataclass(frozen=True, slots=True, kw_only=True)
class HierarchyOptions:
    """How the head `hcmi` is built and what its loss asks for; a reconstruction.

    Args:
        hcmi_frame_attention: frames look at one another first, in as many blocks as `layers` says.
        hcmi_word_layers: blocks in which words do; 0 is off.
        hcmi_clustering: `density` finds groups in each video and caption anew, `soft` shares tokens
            out among learned prototypes, `even` cuts equal stretches, so clusters nothing.
        hcmi_clips: of a video at most.
        hcmi_phrases: of a caption at most.
        hcmi_levels: that a score is the mean of.
        hcmi_contrast: every level has a loss of its own, `levels`, or their `sum` has one.
        hcmi_denoise: count as right what is likelier the same video than two halves of one are.
        hcmi_positives: videos beside its own that a caption may have so; with more it has none.
        hcmi_margin: by which the right pair should be ahead of the hardest wrong one.
        hcmi_margin_weight: of that term in the loss; 0 is off.
    """

    hcmi_frame_attention: bool = True
    hcmi_word_layers: int = 1
    hcmi_clustering: Clustering = "density"
    hcmi_clips: int = 3
    hcmi_phrases: int = 3
    hcmi_levels: Levels = "all"
    hcmi_contrast: Contrast = "levels"
    hcmi_denoise: bool = True
    hcmi_positives: int = 3
    hcmi_margin: float = 0.1
    hcmi_margin_weight: float = 1.0

    def __post_init__(self) -> None:
        for name in ("hcmi_word_layers", "hcmi_positives", "hcmi_margin", "hcmi_margin_weight"):
            _require_from(name, getattr(self, name), 0)
        for name in ("hcmi_clips", "hcmi_phrases"):
            _require_from(name, getattr(self, name), 1)


def named_levels(levels: Levels) -> tuple[str, ...]:
    """The levels of a score, from the finest on."""
    wanted = NAMES if levels == "all" else levels.split("+")
    return tuple(NAMES[one] for one in NAMES if one in wanted)


def _require_from(name: str, value: int | float, least: int) -> None:
    if not value >= least:
        raise ConfigError(f"{name} is {value}: give {least} or more")
