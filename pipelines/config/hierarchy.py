"""The settings of the head `hcmi`, under a heading of their own."""

# ruff: noqa: RUF009 - setting() is dataclasses.field with more metadata

from dataclasses import dataclass, fields
from typing import ClassVar, get_args

from vidret.heads.hierarchy import Clustering, Contrast, HierarchyOptions, Levels
from vidret.pipelines.config.declaring import setting
from vidret.pipelines.config.heads import HeadConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class HierarchyConfig(HeadConfig):
    """What is open about HCMI; the names are those of `HierarchyOptions`."""

    group: ClassVar[str] = "HCMI, a reconstruction"

    hcmi_frame_attention: bool = setting(
        default=True, help="Let frames look at one another first, in --layers blocks."
    )
    hcmi_word_layers: int = setting(1, help="Blocks in which words do; 0 is off.")
    hcmi_clustering: Clustering = setting(
        "density",
        help="How frames become clips and words phrases; even clusters nothing.",
        choices=get_args(Clustering),
    )
    hcmi_clips: int = setting(3, help="Clips of a video, at most.")
    hcmi_phrases: int = setting(3, help="Phrases of a caption, at most.")
    hcmi_levels: Levels = setting(
        "all", help="Levels that a score is the mean of.", choices=get_args(Levels)
    )
    hcmi_contrast: Contrast = setting(
        "levels", help="A loss for each level, or one for their sum.", choices=get_args(Contrast)
    )
    hcmi_denoise: bool = setting(
        default=True, help="Count videos as right, too, that look like a caption's own."
    )
    hcmi_positives: int = setting(
        3, help="Such videos for a caption; where more would be, none are."
    )
    hcmi_margin: float = setting(0.1, help="Lead of a right pair over the hardest wrong one.")
    hcmi_margin_weight: float = setting(1.0, help="Weight of that in the loss; 0 is off.")


def check_hierarchy(config: HierarchyConfig) -> None:
    """Refuse numbers that make no sense.

    Raises:
        ConfigError: one is too small.
    """
    HierarchyOptions(**{one.name: getattr(config, one.name) for one in fields(HierarchyOptions)})
