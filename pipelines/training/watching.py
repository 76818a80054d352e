"""What a fit tells of itself between two epochs."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

PAUSE = 0.25  # seconds, in which nobody reads more than one of these

Tell = Callable[[int, float, str], None]


@dataclass(slots=True, kw_only=True)
class Watch:
    """What tells how far a stage is, a few times a second.

    Args:
        tell: takes how many epochs are done, the share of the next one, and what happens.
        before: epochs of earlier stages.
    """

    tell: Tell
    before: int = 0
    last: float = 0.0

    def step(self, epochs: int, batches: int, total: int, loss: float) -> None:
        """A step of an epoch is done.

        Args:
            epochs: of this stage, that are done.
            batches: of the one that is running, that are done.
            total: how many it has.
            loss: their mean so far.
        """
        if perf_counter() - self.last >= PAUSE:
            self.last = perf_counter()
            note = f"step {batches:,} of {total:,}, loss {loss:.2f}"
            self.tell(self.before + epochs, batches / max(batches, total), note)

    def measuring(self, epochs: int, part: float) -> None:
        """The weights are being measured."""
        self.tell(self.before + epochs, part, "measuring")
