"""What a publisher says of a file, and the one file of Cnn14."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A file as its publisher describes it.

    Args:
        model: the name to ask for: with the activation that the weights were trained with.
        file: what the publisher calls it.
        algorithm: of the checksum; so is `digest`, whole or only its beginning.
        quick_gelu: None where the model has no such choice.
    """

    model: str
    tag: str
    file: str
    algorithm: str
    digest: str
    quick_gelu: bool | None

    @property
    def title(self) -> str:
        """The publisher and the file, in a few words."""
        return f"{self.file} ({self.tag})"


# The checksum is the one that Zenodo lists for the file in PANNs' record 3987831 (327,428,481
# bytes); docs/backbones.md names who else checks against it.
CNN14_FILE = Published(
    model="Cnn14",
    tag="PANNs, Zenodo record 3987831",
    file="Cnn14_mAP=0.431.pth",
    algorithm="md5",
    digest="541141fa2ee191a88f24a3219fff024e",
    quick_gelu=None,
)
