"""Messages of vidret's own, for somebody who need not know where things lie here."""

import re
from collections.abc import Iterable
from pathlib import Path

from vidret.data.printable import printable

ABSOLUTE = re.compile(r"(?<![\w.~])[/~](?:[^/\s:'\"`]*/)+")  # the folders of a path, not its name
FOLDERS = re.compile(r"(?<![\w./-])(?:[^/\s:'\"`()]+/)+(?=[^/\s])")  # of one that starts anywhere


class Wording:
    """Takes folders out of sentences.

    Args:
        places: folders that must not be told, as they are written in messages; whatever lies below
            them is told by its last name.
    """

    def __init__(self, places: Iterable[Path] = ()) -> None:
        told = {form for place in places for form in _forms_of(place)} - {".", "/"}
        longest_first = sorted(told, key=len, reverse=True)
        self._known = [re.compile(rf"(?<![\w./]){re.escape(one)}/") for one in longest_first]

    def plain(self, sentence: str) -> str:
        """A sentence about what somebody asked; what looks like a path in it may be his own."""
        for known in self._known:
            sentence = known.sub("", sentence)
        return ABSOLUTE.sub("", sentence)

    def bare(self, sentence: str) -> str:
        """A sentence about what lies here: of every path in it the last name is left."""
        return FOLDERS.sub("", self.plain(sentence))


def _forms_of(place: Path) -> set[str]:
    """How a folder may be written."""
    forms = {place, place.expanduser(), place.expanduser().absolute(), place.resolve()}
    return {printable(one) for one in forms}
