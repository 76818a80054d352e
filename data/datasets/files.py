"""What lies below the folder of a published dataset: its annotation files, and its videos by id.

People keep the files of a dataset in folders of any name, and rename and re-encode the videos:
`x.mov` becomes `x.mp4`, `v_x.mp4` becomes `x.mkv`. So annotation files are found by their name
wherever they lie, the nearest to the root first. And a video belongs to an id by its full name, by
its name without the ending, and by that without a leading `v_`; of an id that ends in a video's
ending, or in a bare dot, the part before it counts as well.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from vidret.data.datasets.reading import GZIP, Source
from vidret.data.errors import ConfigError, MissingError
from vidret.data.folders.listing import UNFINISHED, VIDEO_EXTENSIONS, extension_of, walk
from vidret.data.folders.signatures import holds_video
from vidret.data.printable import printable

PREFIX = "v_"

_ANNOTATIONS = frozenset((".json", ".csv", ".txt", ".pkl", GZIP, ".zip"))
_TEXTS = _ANNOTATIONS | {".tsv", ".srt", ".vtt", ".md", ".h5", ".npy", ".npz", ".pth", ".jpg", ".py"}


class DatasetFolder:
    """All files below a folder, by every name that they may be asked for.

    Attributes:
        root: the folder.
        unreadable: what could not be looked at, with the system's reason.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.unreadable: list[str] = []
        self._annotations: dict[str, list[str]] = defaultdict(list)
        self._videos: tuple[dict[str, list[str]], ...] = tuple(defaultdict(list) for _ in range(3))
        if not self.root.is_dir():
            raise MissingError(f"{printable(self.root)} is no folder: give that of the dataset")
        for name, entry in walk(self.root, self.unreadable):
            extension = extension_of(name)
            if extension in _ANNOTATIONS:
                self._annotations[entry.name].append(name)
            if extension not in UNFINISHED and extension not in _TEXTS:
                for names, key in zip(self._videos, _keys(entry.name), strict=True):
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
                    return Source(self.root / self._nearest(found), member)
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
        asked = list(_asked(id_))
        for names in self._videos:
            for name in asked:
                for file in sorted(names.get(name, ()), key=_nearness):
                    if self._is_video(file):
                        return self.root / file
        return None

    def _nearest(self, names: Sequence[str]) -> str:
        first, *others = sorted(names, key=_nearness)
        for other in others:
            if other.count("/") > first.count("/"):
                break
            if (self.root / other).read_bytes() != (self.root / first).read_bytes():
                raise ConfigError(
                    f"{printable(self.root)} holds {printable(first)} and another "
                    f"{printable(other)}: name the folder of the one dataset with --root"
                )
        return first

    def _is_video(self, file: str) -> bool:
        """By its ending, or by its content where the name says nothing."""
        if extension_of(file) in VIDEO_EXTENSIONS:
            return True
        try:
            return holds_video(self.root / file)
        except OSError as error:
            self.unreadable.append(f"{printable(self.root / file)}: {error.strerror}")
            return False


def _keys(name: str) -> tuple[str, str, str]:
    """The full name, that without its ending, and that without a leading `v_`."""
    stem = os.path.splitext(name)[0]  # noqa: PTH122  (a Path for each name takes seconds)
    return name, stem, stem.removeprefix(PREFIX)


def _asked(id_: str) -> Iterator[str]:
    """What the file of an id may be called, its ending aside."""
    yield id_
    if id_.endswith("."):
        yield id_[:-1]
    elif extension_of(id_) in VIDEO_EXTENSIONS:
        yield PurePosixPath(id_).stem
    if id_.startswith(PREFIX):
        yield id_.removeprefix(PREFIX)


def _nearness(name: str) -> tuple[int, str]:
    return name.count("/"), name
