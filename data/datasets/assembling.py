"""From lists and captions, as any annotation file has them, to a dataset that knows its gaps."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from vidret.data.datasets.files import DatasetFolder
from vidret.data.datasets.reading import Source
from vidret.data.errors import ConfigError
from vidret.data.printable import printable
from vidret.data.samples import Caption, Dataset, Video
from vidret.data.words import counted

NAMED = 3  # ids in a note

_HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How much a published split has, None where nobody says; a paragraph is one caption."""

    videos: int | None
    captions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What is known of a dataset before its folder is looked at.

    Args:
        title: what it is, in a line.
        protocol: how its test split is scored.
        splits: as published.
        layouts: sets of annotation files, each of which is enough; the usual one first.
        videos: how its video files are called, and where they usually lie.
        sound: what is to be expected of its sound.
        gaps: what is known to be missing, or to differ between copies.
        terms: what its owners allow.
        source: where to ask for it.
    """

    title: str
    protocol: str
    splits: Mapping[str, Count]
    layouts: tuple[str, ...]
    videos: str
    sound: str
    gaps: tuple[str, ...]
    terms: str
    source: str

    @property
    def holds(self) -> str:
        """What belongs into its folder, for a message."""
        return f"{self.layouts[0]}, and the videos ({self.videos})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The videos of one split, and the file that lists them."""

    name: str
    ids: Sequence[str]
    source: Source


def assemble(
    name: str,
    published: Published,
    folder: DatasetFolder,
    *,
    splits: Iterable[Split],
    captions: Mapping[str, Sequence[str]],
    place: Callable[[str], str],
    notes: Iterable[str] = (),
) -> Dataset:
    """Put a dataset together, videos by split in the order of the lists.

    A video that is not there stays in it, and its extraction fails by name. A blank caption is left
    out with a note: nothing can be found by it.

    Args:
        name: of the dataset.
        published: what is known of it.
        folder: its files.
        splits: in the order in which the dataset is to have them.
        captions: of each video, by id; those of a video in no split are left out with a note.
        place: where the file of an id would lie that is not there, below the root.
        notes: what else a user must know.

    Raises:
        ConfigError: a video is in two splits, or a split has no caption at all.
    """
    splits = tuple(splits)
    split_of = _split_of_each(splits)
    _require_captions(splits, captions)
    _require_whole_characters(split_of, captions)
    files = {id_: folder.video(id_) for id_ in split_of}
    unlisted = [id_ for id_ in captions if id_ not in split_of]
    blank = [id_ for id_ in split_of for text in captions.get(id_, ()) if not text.strip()]
    return Dataset(
        name=name,
        root=folder.root,
        videos=tuple(
            Video(id=id_, path=files[id_] or folder.root / place(id_), split=split)
            for id_, split in split_of.items()
        ),
        captions=tuple(
            Caption(id=f"{id_}#{number}", video_id=id_, text=text)
            for id_ in split_of
            for number, text in enumerate(captions.get(id_, ()))
            if text.strip()
        ),
        protocol=published.protocol,
        notes=(
            *notes,
            *_unusual(splits, captions, published),
            *_some(folder.unreadable, "place", "that cannot be read, left out"),
            *folder.choices,
            *_some(unlisted, "video", "with captions and in no list, left out"),
            *_some(blank, "blank caption", "left out"),
            *_some(
                [id_ for id_ in split_of if not captions.get(id_)], "video", "without a caption"
            ),
            *_some(folder.doubled, "video", "with more than one file, the first named taken"),
            *_some([id_ for id_, file in files.items() if file is None], "video", "not found"),
        ),
        sources=tuple(
            dict.fromkeys(source.path.relative_to(folder.root).as_posix() for source in folder.read)
        ),
    )


def add_captions(
    captions: dict[str, list[str]], found: Mapping[str, list[str]], source: Source
) -> None:
    """Add what a file of one split has to what the files of others had.

    Raises:
        ConfigError: one of its videos has captions already.
    """
    for id_, texts in found.items():
        if id_ in captions:
            raise ConfigError(
                f"{source}: {printable(id_)} has its captions in the file of another split "
                "already: each video is in one of them; get the files again"
            )
        captions[id_] = texts


def _require_captions(splits: Iterable[Split], captions: Mapping[str, Sequence[str]]) -> None:
    for split in splits:
        if not split.ids:
            raise ConfigError(f"{split.source}: it names no video: get it again")
        if not any(captions.get(id_) for id_ in split.ids):
            raise ConfigError(
                f"{split.source}: none of its {counted(len(split.ids), 'video')} has a caption "
                f"(the first is {printable(split.ids[0])}): the list and the captions are not of "
                "the same dataset"
            )


def _require_whole_characters(ids: Iterable[str], captions: Mapping[str, Sequence[str]]) -> None:
    r"""JSON can spell out half of a character, `\ud83d`, which no other file can hold."""
    for id_ in ids:
        for number, text in enumerate(captions.get(id_, ()), start=1):
            if not text.isascii() and _HALF_A_CHARACTER.search(text):
                raise ConfigError(
                    f"caption {number} of {printable(id_)} holds half a character ({text!r:.60}): "
                    "get the captions again"
                )


def _split_of_each(splits: Iterable[Split]) -> dict[str, str]:
    first: dict[str, Split] = {}
    for split in splits:
        for id_ in split.ids:
            if id_ in first:
                raise ConfigError(
                    f"{split.source}: {printable(id_)} is in {first[id_].source} as well, and so in"
                    f" {first[id_].name} and {split.name}: get the lists again"
                )
            first[id_] = split
    return {id_: split.name for id_, split in first.items()}


def _unusual(
    splits: Iterable[Split], captions: Mapping[str, Sequence[str]], published: Published
) -> Iterable[str]:
    """Where a split has another size than it was published with: tables then cannot be compared."""
    for split in splits:
        expected = published.splits[split.name]
        videos, texts = len(split.ids), sum(len(captions.get(id_, ())) for id_ in split.ids)
        if expected.videos is not None and videos != expected.videos:
            yield (
                f"{split.name} has {counted(videos, 'video')} here, and "
                f"{expected.videos:,} as published"
            )
        if texts != expected.captions and videos == (expected.videos or videos):
            yield (
                f"{split.name} has {counted(texts, 'caption')} here, and "
                f"{expected.captions:,} as published"
            )
        many = [id_ for id_ in split.ids if len(captions.get(id_, ())) > 1]
        if many and expected.captions == expected.videos:
            yield from _some(
                many, "video", f"of {split.name} with more than its one caption as published"
            )


def _some(names: Sequence[str], one: str, what: str) -> Iterable[str]:
    if names:
        first = ", ".join(map(printable, names[:NAMED])) + (" ..." if len(names) > NAMED else "")
        yield f"{counted(len(names), one)} {what} ({first})"
