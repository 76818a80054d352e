"""What a cache may hold beyond the features of the heads: dense frames, hidden features."""

from dataclasses import replace

import numpy as np

from vidret.data.samples import DenseFrames, TextEmbeddings, VideoEmbeddings
from vidret.extract.decoding.sampling import centres

WIDE = 20  # of hidden features


def densify(video: VideoEmbeddings, rng: np.random.Generator) -> VideoEmbeddings:
    """A video with three to five noisy copies of each of its frames, of which it keeps the middle.

    Every seventh one is too short: it has fewer dense frames than frames are asked for.
    """
    wanted = len(video.frames)
    short = video.size % 7 == 0
    copies = np.ones(2, int) if short else rng.integers(3, 6, size=wanted)
    frames = np.repeat(video.frames[: len(copies)], copies, axis=0)
    frames = (frames + 0.1 * rng.normal(size=frames.shape)).astype(np.float32)
    kept = centres(len(frames), wanted)
    times, indices = np.arange(len(frames)) + 0.5, np.arange(len(frames)) * 25
    return replace(
        video,
        frames=frames[kept],
        times=times[kept],
        indices=indices[kept],
        dense=DenseFrames(frames=frames, times=times, indices=indices),
    )


class Hiding:
    """Hidden features from which projections, a little off, give the features they stand for."""

    def __init__(self, dim: int, *, off: float, bias: bool, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.turn = np.linalg.qr(rng.normal(size=(WIDE, WIDE)))[0]
        self.dim, self.rng = dim, rng
        self.tensors = {}
        for side in ("visual", "text"):
            weight = self.turn.T[:, :dim] + off * rng.normal(size=(WIDE, dim)) / np.sqrt(WIDE)
            self.tensors[f"{side}.weight"] = weight.astype(np.float32)
            if bias:
                drawn = 0.1 * rng.normal(size=dim)
                self.tensors[f"{side}.bias"] = drawn.astype(np.float32)

    def video(self, video: VideoEmbeddings) -> VideoEmbeddings:
        """A video with hidden frames."""
        dense = video.dense
        return replace(
            video,
            frames=self._hidden(video.frames),
            dense=None if dense is None else replace(dense, frames=self._hidden(dense.frames)),
        )

    def text(self, text: TextEmbeddings) -> TextEmbeddings:
        """A caption with a hidden sentence and hidden words."""
        return replace(
            text, sentence=self._hidden(text.sentence[None])[0], words=self._hidden(text.words)
        )

    def _hidden(self, values: np.ndarray) -> np.ndarray:
        """The features beside noise that only a wrong projection lets through, and turned."""
        noise = self.rng.normal(size=(len(values), WIDE - self.dim))
        return (np.hstack([values, noise]) @ self.turn).astype(np.float32)
