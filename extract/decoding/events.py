"""What a decoder tells of one file, piece by piece, so that no file needs memory for all of it.

The order is `Opened`, `SoundPart`s, `Picture`s, `Ended`. An `Again` among the pictures takes back
those before it: the decoder had to begin anew.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vidret.data.samples import VideoFacts


@dataclass(frozen=True, slots=True)
class Opened:
    """The file could be opened; `seconds` is how long it claims to be, 0 where it does not say."""

    seconds: float


@dataclass(frozen=True, slots=True)
class SoundPart:
    """The next samples of the sound: mono float32 at `SAMPLE_RATE`."""

    samples: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Picture:
    """The next chosen frame, uint8 `(height, width, 3)`, upright and at native size."""

    image: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Again:
    """The pictures so far are void."""


@dataclass(frozen=True, slots=True)
class Ended:
    """All has been told; only now is it known what the sound is worth."""

    facts: VideoFacts


Event = Opened | SoundPart | Picture | Again | Ended
