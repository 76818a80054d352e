"""What the paper leaves open about its heads, as choices; docs/heads.md says why each default.

Nothing here needs torch, so a command line can name the choices at once.
"""

from dataclasses import dataclass, fields
from typing import Literal, get_args

from vidret.data.errors import ConfigError
from vidret.heads.hierarchy import Clustering, Contrast, HierarchyOptions, Levels

WordWeightScale = Literal["literal", "sqrt_c", "learnable"]
Activation = Literal["quick_gelu", "gelu", "relu"]
Sharing = Literal["shared", "own"]
Start = Literal["clip", "random"]
WordSet = Literal["words", "words+end"]
MissingAudio = Literal["learned", "text-mean"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadOptions(HierarchyOptions):
    """How a head is built where the equations say nothing; HCMI has more, see its own options.

    Args:
        hidden: width of FF's hidden layer; if None what the head's paper says, C for MGFI.
        dropout: share of FF's output that training drops.
        activation: between FF's layers.
        feed_forward: `shared` by both branches as it is printed, or each branch its `own`.
        norms: one LN for sentences, words and frames as it is printed, or each its `own`.
        start: `clip` begins with identities and a silent FF, so in CLIP's own space; `random` as
            torch begins any layer.
        projection_bias: gives the C x C projections a bias.
        word_set: what the word branch sees; `words+end` adds the end token, the sentence itself.
        word_weight_scale: factor inside the softmax of equation 7. `literal` is the printed one, 1,
            which lets one word decide; `sqrt_c` is equation 6's 1/√C, near the mean of the words;
            `learnable` starts there.
        missing_audio: what a video without sound gets in equation 11: a `learned` vector, or for
            each text the mean over the videos that have sound, `text-mean`.
        layers: of a transformer over the frames, where a head has one.
    """

    hidden: int | None = None
    dropout: float = 0.3
    activation: Activation = "quick_gelu"
    feed_forward: Sharing = "shared"
    norms: Sharing = "shared"
    start: Start = "clip"
    projection_bias: bool = False
    word_set: WordSet = "words"
    word_weight_scale: WordWeightScale = "literal"
    missing_audio: MissingAudio = "learned"
    layers: int = 4

    def __post_init__(self) -> None:
        HierarchyOptions.__post_init__(self)
        for one in fields(self):
            choices = CHOICES.get(one.name)
            if choices and getattr(self, one.name) not in choices:
                raise ConfigError(
                    f"{one.name} is {getattr(self, one.name)!r}: it can be {', '.join(choices)}"
                )


CHOICES: dict[str, tuple[str, ...]] = {
    "activation": get_args(Activation),
    "feed_forward": get_args(Sharing),
    "norms": get_args(Sharing),
    "start": get_args(Start),
    "word_set": get_args(WordSet),
    "word_weight_scale": get_args(WordWeightScale),
    "missing_audio": get_args(MissingAudio),
    "hcmi_clustering": get_args(Clustering),
    "hcmi_levels": get_args(Levels),
    "hcmi_contrast": get_args(Contrast),
}
DEFAULT_OPTIONS = HeadOptions()
