"""The searcher of a server: being made, there, or refused; and kept up with what is on the disk."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from vidret.data.errors import DamagedError, MismatchError, MissingError, VidretError
from vidret.pipelines.display.progress import OnProgress, Progress
from vidret.pipelines.searching.answers import Answer, Question, Status
from vidret.pipelines.searching.anywhere import AnySearcher
from vidret.pipelines.searching.known import BUILD

log = logging.getLogger(__name__)

State = Literal["building", "ready", "refused"]
STATUS_SECONDS = 5.0  # that a status holds, or twenty times what it took to look at all files
REFRESH_SECONDS = 2.0  # between two looks at what `index update` may have made


class NotReadyError(VidretError):
    """The searcher is still being made."""


class RefusedError(VidretError):
    """What is on the disk does not fit together any more."""

    exit_code = 5


@dataclass(frozen=True, slots=True)
class Standing:
    """How a server stands: its state, how far the making is, and why it refuses."""

    state: State
    progress: Progress
    reason: str = ""


class Opening:
    """A searcher that is made in the background, so that the page can say how far it is.

    Args:
        make: makes the searcher, and tells how far it is.
    """

    def __init__(self, make: Callable[[OnProgress], AnySearcher]) -> None:
        self._make = make
        self._searcher: AnySearcher | None = None
        self._progress = Progress()
        self._refused = ""
        self._looked = 0.0
        self._looking = threading.Lock()
        self._status: Status | None = None
        self._status_until = 0.0
        self._asking = threading.Lock()

    def open(self) -> None:
        """Make the searcher; what this raises ends the server.

        Raises:
            VidretError: something is missing, damaged, or does not fit.
        """
        self._searcher = self._make(self._note)
        self._looked = time.monotonic()

    @property
    def standing(self) -> Standing:
        """How it stands now."""
        if self._searcher is None:
            return Standing("building", self._progress)
        done = replace(self._progress, note="")  # what it waited for is over
        return Standing("refused" if self._refused else "ready", done, self._refused)

    def searcher(self) -> AnySearcher:
        """The searcher as it is now.

        Raises:
            NotReadyError: it is still being made.
            RefusedError: what was made since it was opened does not fit.
        """
        if self._searcher is None:
            raise NotReadyError("the index is being made: ask again in a moment")
        self._keep_up(self._searcher)
        if self._refused:
            raise RefusedError(self._refused)
        return self._searcher

    def search(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions in one pass, with all that the index holds by now."""
        return self.searcher().search(questions)

    def status(self) -> Status:
        """What is searched; looking at every file takes its time, so it is kept for a while."""
        searcher = self.searcher()
        with self._asking:
            if self._status is None or time.monotonic() > self._status_until:
                began = time.monotonic()
                self._status = searcher.status()
                took = time.monotonic() - began
                self._status_until = time.monotonic() + max(STATUS_SECONDS, 20 * took)
            return self._status

    def _keep_up(self, searcher: AnySearcher) -> None:
        """Take up what was indexed meanwhile; looked at now and then, by one thread at a time."""
        if time.monotonic() - self._looked < REFRESH_SECONDS or not self._looking.acquire(False):  # noqa: FBT003 - the lock's signature
            return
        try:
            if searcher.refresh():
                log.info("The index has changed: it is searched as it is now")
                self._status = None
            self._refused = ""
        except (MismatchError, DamagedError) as error:
            if not self._refused:
                log.warning("The searching stops: %s", error)
            self._refused = str(error).replace(f"`{BUILD}`", f"`{BUILD} FOLDER`")
        except MissingError as error:  # it is being made anew: what was read goes on serving
            log.warning("The index could not be looked at again: %s", error)
        finally:
            self._looked = time.monotonic()
            self._looking.release()

    def _note(self, progress: Progress) -> None:
        self._progress = progress
