"""Which paths a pattern such as `trips/**/*.mov` lets in; no pattern takes long."""

import re
from collections.abc import Sequence
from fnmatch import translate
from functools import lru_cache

from vidret.data.errors import ConfigError
from vidret.data.printable import printable

LONGEST_GLOB = 1_000  # characters
ANY_DEPTH = "**"


def check_globs(globs: Sequence[str]) -> None:
    """Refuse a glob that nothing can fit.

    Raises:
        ConfigError: it is empty or far too long.
    """
    for glob in globs:
        if not glob.strip() or len(glob) > LONGEST_GLOB:
            raise ConfigError(
                f"where is {printable(glob[:40])!r}: give a glob of 1 to {LONGEST_GLOB:,} "
                "characters, as in 'trips/**' or '*.mov'"
            )


class Glob:
    """A pattern of paths: `**` is any number of folders, a glob without / is of the file's name.

    Small and capital letters are told apart, as file systems do.
    """

    def __init__(self, glob: str) -> None:
        check_globs([glob])
        parts = [part for part in glob.split("/") if part not in ("", ".")]
        self.parts = parts if len(parts) > 1 or "/" in glob else [ANY_DEPTH, *parts]

    def fits(self, path: str) -> bool:
        """Whether a path fits, found part by part: the places in the glob that it may be at."""
        reached = self._with_empty({0})
        for name in path.split("/"):
            stays = {place for place in reached if self._part(place) == ANY_DEPTH}
            moves = {
                place + 1
                for place in reached
                if self._part(place) not in ("", ANY_DEPTH) and _fits(self._part(place), name)
            }
            reached = self._with_empty(stays | moves)
        return len(self.parts) in reached

    def _part(self, place: int) -> str:
        return self.parts[place] if place < len(self.parts) else ""

    def _with_empty(self, reached: set[int]) -> set[int]:
        """With the places behind a `**`, which may be no folder at all."""
        found = set(reached)
        for place in sorted(reached):
            while self._part(place) == ANY_DEPTH:
                place += 1
                found.add(place)
        return found


def _fits(pattern: str, name: str) -> bool:
    return _compiled(pattern).match(name) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))
