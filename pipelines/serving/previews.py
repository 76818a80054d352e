"""What a browser cannot play, once more in a form that it can: made once, kept within limits."""

import hashlib
import logging
import os
import threading
import time
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vidret.data.errors import DecodeError, VidretError
from vidret.data.storage.publish import publish
from vidret.extract.playable import browsers_play, write_playable
from vidret.pipelines.serving.gathering import BusyError

log = logging.getLogger(__name__)

State = Literal["native", "absent", "preparing", "ready", "failed", "off"]
HEIGHT = 480
MOST_SECONDS = 3_600.0  # of a video that a preview shows
MOST_WORK = 1_800.0  # seconds that one preview may take
MOST_WAITING = 8
MOST_REMEMBERED = 10_000
STALE_SECONDS = 2 * MOST_WORK  # after which a half-written preview is nobody's
ENDING = ".mp4"
BROKEN = "this file cannot be read as a video"


@dataclass(frozen=True, slots=True)
class Preview:
    """How the preview of a video stands.

    Args:
        state: `native` needs none; `off` where this server writes nothing.
        seconds: of it that are written.
        reason: why it failed.
    """

    state: State
    seconds: float = 0.0
    reason: str = ""


class Previews:
    """A folder of previews, each named by the file it was made of, and when that was written.

    Args:
        folder: where they lie; made when the first is.
        most_bytes: of all together; those that were not watched for longest go first.
        executor: where they are made.
        writes: whether new ones are made.
    """

    def __init__(
        self, folder: Path, *, most_bytes: int, executor: Executor, writes: bool = True
    ) -> None:
        self._folder, self._most_bytes = folder, most_bytes
        self._executor, self._writes = executor, writes
        self._lock = threading.Lock()
        self._making: dict[str, Preview] = {}
        self._native: dict[str, bool] = {}

    def look(self, path: Path) -> Preview:
        """How the preview of a file stands.

        Raises:
            OSError: the file is gone.
        """
        key = _key(path)
        try:
            if self._plays(key, path):
                return Preview("native")
        except DecodeError as error:
            log.warning("No preview: %s", error)
            return Preview("failed", reason=BROKEN)
        with self._lock:
            known = self._making.get(key)
        if known is not None and known.state != "ready":
            return known
        if self._place(key).is_file():
            return Preview("ready")
        return Preview("absent" if self._writes else "off")

    def ask(self, path: Path) -> Preview:
        """Have a preview made where there is none; a failed one is tried again.

        Raises:
            BusyError: others wait already.
            OSError: the file is gone.
        """
        seen = self.look(path)
        if seen.state not in ("absent", "failed") or not self._writes:
            return seen
        key = _key(path)
        with self._lock:
            waiting = [one for one in self._making.values() if one.state == "preparing"]
            if key in self._making and self._making[key].state == "preparing":
                return self._making[key]
            if len(waiting) >= MOST_WAITING:
                raise BusyError("other previews are being prepared: ask again in a minute")
            self._making[key] = Preview("preparing")
        self._executor.submit(self._make, key, path)
        return Preview("preparing")

    def file(self, path: Path) -> Path | None:
        """The preview of a file, None where it is not ready; being watched keeps it."""
        place = self._place(_key(path))
        with suppress(OSError):
            os.utime(place)
            return place
        return None

    def _make(self, key: str, path: Path) -> None:
        place = self._place(key)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with publish(place, "make room there") as part:
                write_playable(
                    path,
                    part,
                    end=MOST_SECONDS,
                    most_height=HEIGHT,
                    timeout=MOST_WORK,
                    on_second=lambda second: self._note(key, Preview("preparing", second)),
                )
            self._note(key, Preview("ready"))
            self._clean(keep=place)
        except DecodeError as error:
            log.warning("No preview: %s", error)
            self._note(key, Preview("failed", reason=BROKEN))
        except (VidretError, OSError) as error:
            log.warning("No preview: %s", error)
            self._note(key, Preview("failed", reason="the server has no room for a preview"))
        except Exception:
            log.exception("No preview")
            self._note(key, Preview("failed", reason="something went wrong on the server"))

    def _clean(self, *, keep: Path) -> None:
        """Let go of what was not watched for longest, and of what a killed server left."""
        now = time.time()
        for part in self._folder.glob("*.part"):
            with suppress(OSError):
                if now - part.stat().st_mtime > STALE_SECONDS:
                    part.unlink()
        found = []
        for file in self._folder.glob(f"*{ENDING}"):
            with suppress(OSError):
                status = file.stat()
                found.append((status.st_mtime, status.st_size, file))
        total = sum(size for _, size, _ in found)
        for _, size, file in sorted(found):
            if total <= self._most_bytes:
                break
            if file != keep:
                with suppress(OSError):
                    file.unlink()
                    total -= size

    def _plays(self, key: str, path: Path) -> bool:
        if key not in self._native:
            if len(self._native) >= MOST_REMEMBERED:
                self._native.clear()
            self._native[key] = browsers_play(path)
        return self._native[key]

    def _place(self, key: str) -> Path:
        return self._folder / f"{key}{ENDING}"

    def _note(self, key: str, preview: Preview) -> None:
        with self._lock:
            self._making[key] = preview


def _key(path: Path) -> str:
    """A name for a file as it is now: another one in its place has another."""
    status = path.stat()
    facts = f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0{HEIGHT}"
    return hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()[:32]
