"""Any folder of videos as a dataset, with captions where the folder has them."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

from vidret.data.errors import ConfigError, MissingError
from vidret.data.folders.captions import CAPTION_FORMS, CaptionLine, read_captions, read_sidecar
from vidret.data.folders.listing import (
    TEXT,
    VIDEO_EXTENSIONS,
    Listing,
    extension_of,
    list_folder,
)
from vidret.data.printable import printable
from vidret.data.samples import Caption, Dataset, Video
from vidret.data.words import counted

SPLIT = "all"
FOLDER_NAME = "folder"  # of every dataset that this reads

_MOST_NAMED = 20  # of what cannot be read, in notes


class NoVideosError(MissingError):
    """A folder holds no video."""


class NoFolderError(MissingError):
    """There is no such folder."""


def load_folder(root: Path) -> Dataset:
    """Every video below a folder, by content or by name, hidden files and folders left out.

    Captions come from one `captions.jsonl`, `.json`, `.csv` or `.tsv` in the folder, or else from
    texts beside the videos. `video` is a path relative to the folder, `caption` a sentence,
    `split`, where given, takes the video out of the split `all`, and `kind` says what decides the
    caption.

    Raises:
        NoFolderError: there is no such folder.
        NoVideosError: there is no video in it.
        MissingError: it cannot be listed, or lacks the video of a caption.
        ConfigError: the captions are malformed, or it is not clear whose they are.
    """
    root = root_of(root)
    if not root.is_dir():
        raise NoFolderError(f"{printable(root)} is no folder: give one that holds videos")
    listing = list_folder(root)
    if not listing.videos and listing.unreadable:
        raise MissingError(
            f"cannot list {listing.unreadable[0]}: get the right to read it, and try again"
        )
    if not listing.videos:
        raise NoVideosError(_without_videos(root, listing))
    sidecars = _sidecars(listing)
    source = _caption_file(root, listing.others)
    lines = read_captions(source) if source else _read_sidecars(root, sidecars)
    owners = _owners(lines, listing, root)
    splits = _splits(lines, owners)
    return Dataset(
        name=FOLDER_NAME,
        root=root,
        videos=tuple(
            Video(id=name, path=root / name, split=splits.get(name, SPLIT))
            for name in listing.videos
        ),
        captions=_captions(lines, owners),
        protocol="pairs",
        notes=tuple(_notes(listing, sidecars, source)),
    )


def root_of(path: Path) -> Path:
    """A folder by the one name that caches know it by: absolute, without `..`.

    A link stays as it was named, for people mean it; only where `..` stands behind one, and so
    leads out of the folder that it points to, it is followed.
    """
    whole = path.expanduser().absolute()
    plain = Path(os.path.normpath(whole))
    if plain == whole or not whole.exists():
        return plain
    return plain if plain.exists() and plain.samefile(whole) else whole.resolve()


def _without_videos(root: Path, listing: Listing) -> str:
    others = len(listing.others) + len(listing.texts) + len(listing.unfinished)
    if not others:
        return f"{printable(root)} holds no file: give the folder above the videos"
    return (
        f"{printable(root)} holds no video, neither by content nor by name (.mkv, .mov, .mp4 and "
        f"so on), only {counted(others, 'other file')}: give the folder above the videos"
    )


def _caption_file(root: Path, names: Iterable[str]) -> Path | None:
    """The one file of captions, or None."""
    found = [name for name in names if name.lower() in CAPTION_FORMS]
    if len(found) > 1:
        raise ConfigError(
            f"{printable(root)} holds {' and '.join(found)}: keep one file of captions"
        )
    return root / found[0] if found else None


def _sidecars(listing: Listing) -> dict[str, list[str]]:
    """The texts that lie beside each video: `a.txt` or `a.mp4.txt` beside `a.mp4`."""
    texts = {name[: -len(TEXT)]: name for name in listing.texts}
    found: dict[str, list[str]] = {}
    for video in listing.videos if texts else ():
        stems = dict.fromkeys((os.path.splitext(video)[0], video))  # noqa: PTH122
        if own := [texts[stem] for stem in stems if stem in texts]:
            found[video] = own
    return found


def _read_sidecars(root: Path, sidecars: Mapping[str, list[str]]) -> list[CaptionLine]:
    """The captions beside videos; a text that could belong to two of them belongs to none."""
    owner: dict[str, str] = {}
    for video, texts in sidecars.items():
        if len(texts) > 1:
            raise ConfigError(
                f"{printable(root / video)} has its captions in {printable(texts[0])} and in "
                f"{printable(texts[1])}: keep one of them"
            )
        if (other := owner.setdefault(texts[0], video)) != video:
            raise ConfigError(
                f"{printable(root / texts[0])} may belong to {printable(other)} or to "
                f"{printable(video)}: name it {printable(Path(video).name)}{TEXT}, for example"
            )
    return [line for text, video in owner.items() for line in read_sidecar(root / text, video)]


def _owners(lines: list[CaptionLine], listing: Listing, root: Path) -> dict[str, str]:
    """The video that each name in the captions stands for."""
    owners = {name: name for name in listing.videos}
    places: dict[str, list[str]] | None = None
    for line in lines:
        if line.video not in owners:
            places = places if places is not None else _by_stem(listing.videos)
            owners[line.video] = _find(line, places, listing, root)
    return owners


def _by_stem(videos: Iterable[str]) -> dict[str, list[str]]:
    """Videos by their whole name and by their name without extension, as it would be typed."""
    places = defaultdict(list)
    for video in videos:
        stem = os.path.splitext(video)[0]  # noqa: PTH122
        for name in {_typed(video), _typed(stem)}:
            places[name].append(video)
    return places


def _typed(name: str) -> str:
    """A name in the form that keyboards give it: some systems store letters and accents apart."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _find(line: CaptionLine, places: Mapping[str, list[str]], listing: Listing, root: Path) -> str:
    """The one video that is meant by a name which is not exactly that of any."""
    names = [_relative(line.video, root), _relative(line.video.replace("\\", "/"), root)]
    names += [os.path.splitext(name)[0] for name in names if extension_of(name) in VIDEO_EXTENSIONS]  # noqa: PTH122
    found = next((places[name] for name in names if name in places), [])
    if len(found) > 1:
        raise ConfigError(
            f"{line.place('video')}: {printable(line.video)} may be "
            f"{' or '.join(map(printable, found))}: write the whole name"
        )
    if not found:
        raise MissingError(
            f"{line.place('video')}: no video {printable(line.video)} below {printable(root)}: "
            f"{_hint(names[0], listing)}"
        )
    return found[0]


def _relative(name: str, root: Path) -> str:
    """A name as the listing has it, from one that may be absolute or begin with a dot."""
    path = os.path.normpath(os.path.join(root, name.strip()))  # noqa: PTH118
    return _typed(path.removeprefix(f"{root}/"))


def _hint(name: str, listing: Listing) -> str:
    if name in listing.others or name in listing.texts:
        return "the file is there, but neither by its content nor by its name a video"
    if name in listing.unfinished:
        return "the file is there, but unfinished"
    base = f"/{os.path.basename(name)}"  # noqa: PTH119
    elsewhere = [video for video in listing.videos if f"/{video}".endswith(base)]
    close = elsewhere or get_close_matches(name, listing.videos, n=1)
    return f"did you mean {printable(close[0])}?" if close else "paths are relative to the folder"


def _splits(lines: Iterable[CaptionLine], owners: Mapping[str, str]) -> dict[str, str]:
    """The split that the lines give to each video; they must agree."""
    first: dict[str, CaptionLine] = {}
    for line in lines:
        if line.split is None:
            continue
        video = owners[line.video]
        before = first.setdefault(video, line)
        if before.split != line.split:
            raise ConfigError(
                f"{line.place('split')}: {printable(video)} is in split {line.split} here and in "
                f"{before.split} above ({before.place('split')}): give a video one split"
            )
    return {video: line.split for video, line in first.items() if line.split is not None}


def _captions(lines: Iterable[CaptionLine], owners: Mapping[str, str]) -> tuple[Caption, ...]:
    """Captions named after their video and their place among its captions."""
    counts: dict[str, int] = {}
    captions = []
    for line in lines:
        video = owners[line.video]
        counts[video] = number = counts.get(video, -1) + 1
        id_ = f"{video}#{number}"
        captions.append(Caption(id=id_, video_id=video, text=line.caption, kind=line.kind))
    return tuple(captions)


def _notes(
    listing: Listing, sidecars: Mapping[str, list[str]], source: Path | None
) -> Iterable[str]:
    """What a user should know of the files that are not in the dataset."""
    beside = {text for texts in sidecars.values() for text in texts}
    others = len(listing.others) + len(listing.texts) - len(beside) - (source is not None)
    yield from (
        f"left out, because it cannot be read: {name}" for name in listing.unreadable[:_MOST_NAMED]
    )
    if more := len(listing.unreadable[_MOST_NAMED:]):
        yield f"left out, because it cannot be read: {more:,} more"
    if others:
        files = counted(others, "file that is no video", "files that are no videos")
        yield f"passed over: {files}"
    if count := len(listing.unfinished):
        files = counted(count, "unfinished download")
        first = printable(listing.unfinished[0]) + (" ..." if count > 1 else "")
        yield f"passed over: {files} ({first})"
    if beside and source:
        texts = counted(len(beside), "text beside a video", "texts beside videos")
        yield f"passed over: {texts}, because {printable(source.name)} holds the captions"
