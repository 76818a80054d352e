"""What lies in a folder of one's own: its videos, its texts, and what is neither."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vidret.data.folders.signatures import holds_text, holds_video
from vidret.data.printable import printable

VIDEO_EXTENSIONS = frozenset(
    (
        ".264", ".265", ".3g2", ".3gp", ".3gpp", ".asf", ".avi", ".divx", ".dv", ".dvr-ms",
        ".f4v", ".flv", ".h264", ".h265", ".hevc", ".ivf", ".m1v", ".m2t", ".m2ts", ".m2v",
        ".m4v", ".mj2", ".mk3d", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mpv",
        ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob",
        ".webm", ".wmv", ".wtv",
    )
)  # fmt: skip
SHARED_EXTENSIONS = frozenset((".mts", ".ts"))  # TypeScript has them too
UNFINISHED = frozenset((".crdownload", ".download", ".part", ".partial", ".tmp"))
TEXT = ".txt"
# Thumbnails, bins and remains that other systems keep among one's files, and vidret's own work.
FOREIGN_FOLDERS = frozenset(
    (
        "#recycle", "$RECYCLE.BIN", "@eaDir", "System Volume Information", "__MACOSX",
        "lost+found", "vidret-work",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Listing:
    """The files below a folder, by their names relative to it.

    Args:
        texts: files that may hold captions of a video beside them.
        unfinished: downloads and copies still under way, by their names.
        others: whatever is no video.
        unreadable: what could not be looked at, with the system's reason.
    """

    videos: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def list_folder(root: Path) -> Listing:
    """Sort every file below a folder, hidden ones left out; each list is in order of names."""
    listing = Listing()
    for name, entry in walk(root, listing.unreadable):
        try:
            _list_of(entry, listing).append(name)
        except OSError as error:
            listing.unreadable.append(f"{printable(entry.path)}: {error.strerror}")
    for names in (listing.videos, listing.texts, listing.unfinished, listing.others):
        names.sort()
    return listing


def video_files(root: Path, unreadable: list[str]) -> Iterator[Path]:
    """Every file below a folder whose name says video, as in a published dataset.

    Args:
        root: the folder.
        unreadable: gets the folders that cannot be listed.
    """
    for name, _ in walk(root, unreadable):
        if extension_of(name) in VIDEO_EXTENSIONS:
            yield root / name


def walk(root: Path, unreadable: list[str]) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    """Every file below a folder with its relative name, in no order; hidden ones are left out.

    Links are followed, after all real folders: a link gives a file another name only where it has
    none below the root, and never leads in a circle.
    """
    seen: set[str] = set()
    folders = [("", os.path.realpath(root))]
    links: list[tuple[str, str]] = []
    while folders or links:
        links.sort()
        folder, place = folders.pop() if folders else links.pop(0)
        if place in seen:
            continue
        seen.add(place)
        for entry in _entries(os.path.join(root, folder), unreadable):  # noqa: PTH118  (100,000 times)
            name = folder + entry.name
            if not _is_folder(entry):
                yield name, entry
            elif entry.name in FOREIGN_FOLDERS:
                continue
            elif entry.is_symlink():
                links.append((f"{name}/", os.path.realpath(entry.path)))
            else:
                folders.append((f"{name}/", f"{place}/{entry.name}"))


def extension_of(name: str) -> str:
    """The ending of a name in small letters, `.mp4`."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122  (a Path for each name takes seconds)


def _entries(folder: str, unreadable: list[str]) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        unreadable.append(f"{printable(folder)}: {error.strerror}")
        return []


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: "os.DirEntry[str]") -> bool:
    """Whether it may be opened: a pipe would keep us waiting, a device may do anything."""
    try:
        return entry.is_file()
    except OSError:
        return False


def _is_source(entry: "os.DirEntry[str]") -> bool:
    """Whether a name that programs share with videos is that of a program."""
    try:
        return _is_file(entry) and holds_text(entry.path)
    except OSError:
        return False


def _list_of(entry: "os.DirEntry[str]", listing: Listing) -> list[str]:
    """The list that a file belongs to; only one whose name leaves it open is looked into."""
    extension = extension_of(entry.name)
    if extension in VIDEO_EXTENSIONS:
        is_source = extension in SHARED_EXTENSIONS and _is_source(entry)
        return listing.others if is_source else listing.videos
    if extension == TEXT:
        return listing.texts
    if not _is_file(entry):
        return listing.others
    if extension not in UNFINISHED:
        return listing.videos if holds_video(entry.path) else listing.others
    meant = extension_of(entry.name[: -len(extension)]) in VIDEO_EXTENSIONS
    return listing.unfinished if meant or holds_video(entry.path) else listing.others
