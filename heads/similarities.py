"""What similarities and owners have to be before anything is ranked, and what is said otherwise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Integer, Shaped
from numpy.typing import NDArray

from vidret.data.errors import ConfigError, DamagedError, MismatchError, MissingError
from vidret.data.printable import printable

if TYPE_CHECKING:
    from torch import Tensor

    Array = Tensor | np.ndarray[Any, Any]
else:
    Array = Any  # ranking a file is done before torch would have been imported

Similarity = Float[Array, "text video"]
Owners = Sequence[int] | Integer[Array, " owner"]  # as many as texts, or they are refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What texts and videos are called, in the order of the similarities, for messages alone."""

    texts: Sequence[str]
    videos: Sequence[str]


def as_array(values: Array) -> NDArray[Any]:
    """The numbers of a tensor, or an array as it is."""
    return values if isinstance(values, np.ndarray) else values.detach().cpu().numpy()


def require_fine(dtype: Any, what: str = "the similarities") -> None:  # noqa: ANN401 (numpy's or torch's)
    """Refuse numbers whose rounding makes ties that are not there.

    Raises:
        ConfigError: they are neither float32 nor float64.
    """
    name = getattr(dtype, "name", str(dtype).removeprefix("torch."))
    if name in ("float16", "bfloat16"):
        raise ConfigError(
            f"{what} are {name}, whose rounding makes ties that are not there: score in float32"
        )
    if name not in ("float32", "float64"):
        raise ConfigError(f"{what} are {name}: give float32 or float64")


def size_of(similarity: Array) -> tuple[int, int]:
    """How many texts and videos a matrix has.

    Raises:
        ConfigError: it is no matrix.
        MissingError: there is no text or no video.
    """
    if len(similarity.shape) != 2:
        raise ConfigError(
            f"the similarities have the shape {tuple(similarity.shape)}: give a matrix, a row a "
            "text and a column a video"
        )
    num_texts, num_videos = similarity.shape
    require_some(num_texts, num_videos)
    return num_texts, num_videos


def require_some(num_texts: int, num_videos: int) -> None:
    """Refuse to rank nothing.

    Raises:
        MissingError: there is no text or no video.
    """
    if not num_texts or not num_videos:
        raise MissingError(f"nothing to rank: {num_texts:,} texts, {num_videos:,} videos")


def columns_of(owners: Sequence[int] | Shaped[Array, "..."], num_videos: int) -> NDArray[np.int64]:
    """The column of each text's own video.

    Raises:
        MismatchError: there is no such column, or the owners are not one whole number a text.
    """
    given = np.asarray(owners) if isinstance(owners, Sequence) else as_array(owners)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise MismatchError(
            f"the owners are {given.dtype} of shape {given.shape}: give the column of each text's "
            "video, one whole number a text"
        )
    strangers = np.flatnonzero((given < 0) | (given >= num_videos))
    if len(strangers):
        raise MismatchError(
            f"text {strangers[0]} belongs to video {given[strangers[0]]}, but the similarities "
            f"have videos 0 to {num_videos - 1}: rank texts among the videos they belong to"
        )
    return given.astype(np.int64)


def require_as_many(num_owners: int, num_texts: int) -> None:
    """Refuse the owners of other texts.

    Raises:
        MismatchError: there are more or fewer of them than texts.
    """
    if num_owners != num_texts:
        raise MismatchError(
            f"{num_owners:,} owners for {num_texts:,} texts: give the column of each text's video"
        )


def not_finite(
    text: int, video: int, value: float, how_many: str, names: Names | None
) -> DamagedError:
    """The error that names the first similarity that is no number, and says how many there are."""
    place = f"in row {text} (text) and column {video} (video)"
    if names is not None:
        query, candidate = printable(names.texts[text]), printable(names.videos[video])
        place = f"of text {query} and video {candidate}"
    return DamagedError(
        f"the similarity {place} is {value}, and {how_many} are not finite: check the checkpoint "
        "and the features that it comes from"
    )
