"""What lies below the folder of a published dataset: its annotation files, and its videos by id.

People keep the files of a dataset in folders of any name, and rename and re-encode the videos:
`x.mov` becomes `x.mp4`, `v_x.mp4` becomes `x.mkv`. So annotation files are found by their name
wherever they lie, the nearest to the root first. And a video belongs to an id by its full name, by
its name without the ending, and by that without a leading `v_`; of an id that ends in a video's
ending, or in a bare dot, the part before it counts as well. A choice between two is told.
"""

import filecmp
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from vidret.data.datasets.reading import GZIP, Source
from vidret.data.errors import ConfigError, MissingError
from vidret.data.folders.listing import UNFINISHED, VIDEO_EXTENSIONS, extension_of, walk
from vidret.data.folders.signatures import holds_video
from vidret.data.printable import printable

PREFIX = "v_"
STRIPPED = VIDEO_EXTENSIONS | {".null"}  # DiDeMo has a video of that name

_ANNOTATIONS = frozenset((".json", ".csv", ".txt", ".pkl", GZIP, ".zip"))
_TEXTS = _ANNOTATIONS | {
    ".tsv",
    ".srt",
    ".vtt",
    ".md",
    ".h5",
    ".npy",
    ".npz",
    ".pth",
    ".jpg",
    ".py",
}


class DatasetFolder:
    """All files below a folder, by every name that they may be asked for.

    Attributes:
        root: the folder.
        unreadable: what could not be looked at, with the system's reason.
        read: the annotation files that were read so far.
        choices: annotation files that were taken before others of their name, in words.
        doubled: ids that more than one file could belong to, with the files.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.unreadable: list[str] = []
        self.read: list[Source] = []
        self.choices: list[str] = []
        self.doubled: list[str] = []
        self._annotations: dict[str, list[str]] = defaultdict(list)
        self._videos: tuple[dict[str, list[str]], ...] = tuple(defaultdict(list) for _ in range(3))
        if not self.root.is_dir():
            raise MissingError(f"{printable(self.root)} is no folder: give that of the dataset")
        for name, entry in walk(self.root, self.unreadable):
            extension = extension_of(name)
            if extension in _ANNOTATIONS:
                self._annotations[entry.name].append(name)
            if extension not in UNFINISHED and extension not in _TEXTS:
                for names, key in zip(self._videos, _keys(entry.name), strict=False):
                    names[key].append(name)

    def find(self, *names: str) -> Source | None:
        """The first of some annotation files, also packed; None where none is there.

        A name such as `archive.zip/member.json` is that of a file in an archive.

        Raises:
            ConfigError: two files of the name are equally near to the root, and differ.
        """
        for name in names:
            archive, _, member = name.partition(".zip/")
            wanted = [f"{archive}.zip"] if member else [name, f"{name}{GZIP}"]
            for one in wanted:
                if found := self._annotations.get(one):
                    return Source(self.root / self._nearest(found), member, self.read)
        return None

    def require(self, *names: str, holds: str) -> Source:
        """As `find`; `holds` is what the folder should hold, for the message.

        Raises:
            MissingError: none of the files is there.
            ConfigError: as `find`.
        """
        found = self.find(*names)
        if found is None:
            raise MissingError(
                f"{printable(self.root)} holds no {' or '.join(names)}: it should hold {holds}"
            )
        return found

    def video(self, id_: str) -> Path | None:
        """The file of a video: of several the one with the fullest name, nearest to the root."""
        asked = asked_names(id_)
        found = [
            file
            for names in self._videos
            for name in asked
            for file in sorted(names.get(name, ()), key=_nearness)
            if self._is_video(file)
        ]
        if not found:
            return None
        path = self.root / found[0]
        if any(file != found[0] and not _same(path, self.root / file) for file in found):
            self.doubled.append(f"{id_}: {', '.join(found)}")
        return path

    def _nearest(self, names: Sequence[str]) -> str:
        first, *others = sorted(names, key=_nearness)
        for other in others:
            if not self._differ(first, other):
                continue
            if other.count("/") == first.count("/"):
                raise ConfigError(
                    f"{printable(self.root)} holds {printable(first)} and another "
                    f"{printable(other)}: name the folder of the one dataset with --root"
                )
            choice = f"{printable(first)} is read, and {printable(other)}, which differs, is not"
            if choice not in self.choices:
                self.choices.append(choice)
        return first

    def _differ(self, one: str, other: str) -> bool:
        try:
            return not filecmp.cmp(self.root / one, self.root / other, shallow=False)
        except OSError as error:
            raise MissingError(
                f"{printable(self.root)} holds {printable(one)} and {printable(other)}, and one of "
                f"them cannot be read ({error.strerror}): remove the one that is not meant"
            ) from error

    def _is_video(self, file: str) -> bool:
        """By its ending, or by its content where the name says nothing."""
        if extension_of(file) in VIDEO_EXTENSIONS:
            return True
        try:
            return holds_video(self.root / file)
        except OSError as error:
            self.unreadable.append(f"{self.root / file}: {error.strerror}")
            return False


def _keys(name: str) -> list[str]:
    """The full name, that without its ending, and, where it has one, without a leading `v_`."""
    stem = os.path.splitext(name)[0]  # noqa: PTH122  (a Path for each name takes seconds)
    keys = [name] if stem == name else [name, stem]
    return [*keys, stem.removeprefix(PREFIX)] if stem.startswith(PREFIX) else keys


def asked_names(id_: str) -> list[str]:
    """What the file of an id may be called, its ending aside; the id itself first."""
    names = [id_]
    while (stem := _without_ending(names[-1])) != names[-1]:
        names.append(stem)
    if id_.startswith(PREFIX):
        names += [name.removeprefix(PREFIX) for name in names]
    return names


def _without_ending(name: str) -> str:
    if name.endswith("."):
        return name[:-1]
    return os.path.splitext(name)[0] if extension_of(name) in STRIPPED else name  # noqa: PTH122


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # a link to nothing
        return False


def _nearness(name: str) -> tuple[int, str]:
    return name.count("/"), name
