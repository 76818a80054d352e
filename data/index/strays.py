"""How the frames of each video stray from their mean, roughly: enough to guess what a head sees.

A head that weighs frames by the question finds videos of which one frame fits, though their mean
does not. One vector a video cannot tell. What is kept here can, at 32 bytes a frame: the place of
each frame beside the mean, along those few directions in which frames stray most.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

DIRECTIONS = 32
STEPS = 127  # to either side of the mean, of which
REACH = 4.0  # standard deviations take all
SHARPNESS = 2 / 3  # of weights by likeness, times the root of the width, which is MGFI's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """The directions in which frames stray most, and how fine their places are told.

    Args:
        directions: a column each, at right angles.
        step: what a place of 1 stands for along each.
    """

    directions: Float[np.ndarray, "dim direction"]
    step: Float[np.ndarray, " direction"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strays:
    """Of each video, where its frames lie beside their mean.

    Args:
        basis: common to all.
        places: in whole steps; zeros where a video has no frame.
        shown: which frames a video has.
        lengths: of the mean of its frames, each at unit length before.
    """

    basis: Basis
    places: Int[np.ndarray, "video frame direction"]
    shown: Bool[np.ndarray, "video frame"]
    lengths: Float[np.ndarray, " video"]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, rows: NDArray[np.int64]) -> "Strays":
        return Strays(
            basis=self.basis,
            places=self.places[rows],
            shown=self.shown[rows],
            lengths=self.lengths[rows],
        )

    def put(self, rows: NDArray[np.int64], those: "Strays") -> None:
        """Write those of other videos over some rows."""
        self.places[rows], self.shown[rows] = those.places, those.shown
        self.lengths[rows] = those.lengths

    def sharpened(
        self,
        products: Float[np.ndarray, " video"],
        sentence: Float[np.ndarray, " dim"],
        words: Float[np.ndarray, "word dim"],
    ) -> Float[np.ndarray, " video"]:
        """The products of a sentence with means in which frames weigh the more the more they fit.

        Args:
            products: with the vectors of the videos, in which all frames weigh alike.
            sentence: at unit length.
            words: likewise; where there are any, half of the weights are those of their mean.
        """
        sharpness = SHARPNESS * len(sentence) ** 0.5
        places = self.places.astype(np.float32)
        beside = self._beside(places, sentence)
        weights = _shares(sharpness * beside, self.shown)
        if len(words):
            by_words = _shares(sharpness * self._beside(places, words.mean(0)), self.shown)
            weights = (weights + by_words) / 2
        moved = np.matmul(weights[:, None], places)[:, 0] * self.basis.step
        lengths = np.maximum(self.lengths, 1e-6)
        longer = np.sqrt(lengths**2 + (moved**2).sum(1))
        return (products * lengths + (weights * beside).sum(1)) / longer

    def _beside(
        self, places: Float[np.ndarray, "video frame direction"], asked: Float[np.ndarray, " dim"]
    ) -> Float[np.ndarray, "video frame"]:
        """By how much what is asked fits each frame better than the mean."""
        return places @ ((asked @ self.basis.directions) * self.basis.step).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write it to a file."""
        with path.open("wb") as file:
            np.savez(
                file,
                directions=self.basis.directions,
                step=self.basis.step,
                places=self.places,
                shown=self.shown,
                lengths=self.lengths,
            )


def load_strays(path: Path, *, videos: int) -> Strays:
    """Read what `save` wrote of so many videos.

    Raises:
        OSError, ValueError, KeyError: it cannot be read, or is of others.
    """
    with np.load(path, allow_pickle=False) as stored:
        strays = Strays(
            basis=Basis(directions=stored["directions"], step=stored["step"]),
            places=stored["places"],
            shown=stored["shown"],
            lengths=stored["lengths"],
        )
    if not len(strays.places) == len(strays.shown) == len(strays) == videos:
        raise ValueError(f"{len(strays)} strays of {videos} videos")
    return strays


def empty_strays(basis: Basis, videos: int, frames: int) -> Strays:
    """Room for those of some videos."""
    return Strays(
        basis=basis,
        places=np.zeros((videos, frames, len(basis.step)), np.int8),
        shown=np.zeros((videos, frames), bool),
        lengths=np.zeros(videos, np.float32),
    )


def find_basis(
    frames: Float[np.ndarray, "video frame dim"], shown: Bool[np.ndarray, "video frame"]
) -> Basis:
    """The directions in which the frames of some videos stray most: principal components."""
    strayed = _beside_the_mean(frames, shown)[0][shown]
    number = min(DIRECTIONS, frames.shape[2])
    spread, directions = np.linalg.eigh(strayed.T @ strayed / max(1, len(strayed)))
    most = spread[::-1][:number].clip(0)
    step = (REACH / STEPS * np.sqrt(most)).clip(1e-9)
    return Basis(
        directions=np.ascontiguousarray(directions[:, ::-1][:, :number], np.float32),
        step=step.astype(np.float32),
    )


def make_strays(
    basis: Basis,
    frames: Float[np.ndarray, "video frame dim"],
    shown: Bool[np.ndarray, "video frame"],
) -> Strays:
    """Where the frames of some videos lie, in steps of a basis."""
    strayed, lengths = _beside_the_mean(frames, shown)
    places = np.rint(strayed @ basis.directions / basis.step).clip(-STEPS, STEPS)
    return Strays(basis=basis, places=places.astype(np.int8), shown=shown.copy(), lengths=lengths)


def _shares(
    fits: Float[np.ndarray, "video frame"], shown: Bool[np.ndarray, "video frame"]
) -> Float[np.ndarray, "video frame"]:
    """A softmax over the frames that there are."""
    shares = np.exp(fits) * shown
    return shares / np.maximum(shares.sum(1, keepdims=True), 1e-30)


def _beside_the_mean(
    frames: Float[np.ndarray, "video frame dim"], shown: Bool[np.ndarray, "video frame"]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Frames at unit length less their mean, and how long that is."""
    lengths = np.linalg.norm(frames, axis=-1, keepdims=True)
    units = np.where(shown[..., None], frames / np.maximum(lengths, 1e-12), 0)
    means = units.sum(1) / np.maximum(shown.sum(1, keepdims=True), 1)
    strayed = np.where(shown[..., None], units - means[:, None], 0)
    return strayed.astype(np.float32), np.linalg.norm(means, axis=-1).astype(np.float32)
