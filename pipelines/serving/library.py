"""All that a server answers with: the searcher, pictures, previews and clips, and their threads."""

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from vidret.data.errors import DecodeError, MissingError, VidretError
from vidret.data.printable import printable
from vidret.extract.playable import write_playable
from vidret.pipelines.searching.answers import Answer, Question, UnknownVideoError
from vidret.pipelines.serving.gathering import BusyError, Gathering
from vidret.pipelines.serving.opening import Opening
from vidret.pipelines.serving.previews import Previews
from vidret.pipelines.serving.stills import Stills
from vidret.pipelines.serving.wording import Wording

ANSWER_SECONDS = 30.0
CLIP_SECONDS = 90.0
LOOKS, DRAWS, CUTS = 2, 3, 2  # threads for explaining, for pictures, for clips
MOST_WAITING = {"look": 128, "draw": 600, "cut": 6}

T = TypeVar("T")


class GoneError(VidretError):
    """A video was indexed, and its file is not there any more."""

    exit_code = 4


class Library:
    """What the addresses of the API are made of.

    Args:
        opening: the searcher, once it is there.
        previews: folder for what browsers cannot play.
        preview_bytes: how large that folder may become.
        read_only: whether nothing is written into it.
        places: folders that nobody is told of.
    """

    def __init__(
        self,
        opening: Opening,
        *,
        previews: Path,
        preview_bytes: int,
        read_only: bool = False,
        places: Iterable[Path] = (),
    ) -> None:
        self.opening, self.read_only = opening, read_only
        self.wording = Wording(places)
        self._searching = ThreadPoolExecutor(1, "search")
        self._pools = {
            "look": ThreadPoolExecutor(LOOKS, "look"),
            "draw": ThreadPoolExecutor(DRAWS, "draw"),
            "cut": ThreadPoolExecutor(CUTS, "cut"),
        }
        self._busy = dict.fromkeys(self._pools, 0)
        self._converting = ThreadPoolExecutor(1, "preview")
        self._gathering = Gathering[Question, Answer](opening.search, self._searching)
        self.stills = Stills()
        self.previews = Previews(
            previews,
            most_bytes=preview_bytes,
            executor=self._converting,
            writes=not read_only,
        )

    def close(self) -> None:
        """Let go of the threads; what waits is given up."""
        for pool in (self._searching, self._converting, *self._pools.values()):
            pool.shutdown(wait=False, cancel_futures=True)

    async def search(self, question: Question) -> Answer:
        """The answer to a question; those that come at once share one pass."""
        return await self._gathering.ask(question, timeout=ANSWER_SECONDS)

    async def run(self, pool: str, work: Callable[[], T], seconds: float = ANSWER_SECONDS) -> T:
        """Do something in the threads for it.

        Raises:
            BusyError: too much waits there, or it took too long.
        """
        if self._busy[pool] >= MOST_WAITING[pool]:
            raise BusyError("too much is asked at once: ask again in a few seconds")
        self._busy[pool] += 1
        try:
            loop = asyncio.get_running_loop()
            return await asyncio.wait_for(loop.run_in_executor(self._pools[pool], work), seconds)
        except TimeoutError:
            raise BusyError(f"no answer within {seconds:g} s: ask again later") from None
        finally:
            self._busy[pool] -= 1

    def file_of(self, video: str) -> Path:
        """The file of a video.

        Raises:
            UnknownVideoError: no video has this id.
            GoneError: its file is not there.
        """
        try:
            path = self.opening.searcher().file_of(video)
        except UnknownVideoError:
            raise
        except MissingError as error:
            raise gone() from error
        if not path.is_file():
            raise gone()
        return path

    def draw(self, video: str, second: float, width: int) -> bytes:
        """A JPEG of what a video shows at a second.

        Raises:
            NothingThereError: it has ended before.
            DecodeError: the file shows nothing.
        """
        path = self.file_of(video)
        with _called_this_video(path):
            return self.stills.draw(path, second, width)

    def cut(self, path: Path, start: float, end: float) -> Path:
        """A stretch of a video as a file of its own, which the caller removes.

        Raises:
            NothingThereError: the video shows nothing there.
            DecodeError: it cannot be cut.
        """
        handle, name = tempfile.mkstemp(prefix="vidret-clip-", suffix=".mp4")
        os.close(handle)
        try:
            with _called_this_video(path):
                write_playable(path, Path(name), start=start, end=end, timeout=CLIP_SECONDS)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return Path(name)


@contextmanager
def _called_this_video(path: Path) -> Iterator[None]:
    """In errors about a file its path is told to nobody."""
    try:
        yield
    except DecodeError as error:
        raise type(error)(str(error).replace(printable(path), "this video")) from error


def gone() -> GoneError:
    """What to say of a file that is not there."""
    return GoneError(
        "this video is no longer on the disk: put it back, or run vidret index update FOLDER"
    )


__all__ = ["DecodeError", "GoneError", "Library", "gone"]
