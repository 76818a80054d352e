"""Any folder of videos as a dataset, with captions where a `captions.jsonl` lies in it."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from vidret.data.errors import ConfigError, MissingError
from vidret.data.samples import Caption, Dataset, Video

CAPTIONS = "captions.jsonl"
SPLIT = "all"
FOLDER_NAME = "folder"  # of every dataset that this reads
VIDEO_EXTENSIONS = frozenset(
    (
        ".3g2", ".3gp", ".3gpp", ".asf", ".avi", ".divx", ".flv",
        ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
        ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """One line of `captions.jsonl`; `where` names it in errors."""

    video: str
    caption: str
    split: str | None
    kind: str
    where: str


def load_folder(root: Path) -> Dataset:
    """Every video below a folder, hidden files and folders left out.

    Each line of `captions.jsonl` is an object: `video` is a path relative to the folder, `caption`
    a sentence, `split`, where given, takes the video out of the split `all`, and `kind` says what
    decides the caption.

    Raises:
        MissingError: there is no such folder, no video in it, or not the video of a caption.
        ConfigError: `captions.jsonl` is malformed.
    """
    root = root.expanduser().absolute()
    if not root.is_dir():
        raise MissingError(f"{root} is no folder: give one that holds videos, as folder:PATH")
    unreadable: list[str] = []
    paths = {path.relative_to(root).as_posix(): path for path in video_files(root, unreadable)}
    if not paths:
        raise MissingError(
            f"{root} holds no video (a file ending in {', '.join(sorted(VIDEO_EXTENSIONS))}): "
            "give the folder above the videos"
        )
    lines = list(_read_captions(root / CAPTIONS))
    splits = _splits(lines, paths, root)
    ids = sorted(paths)
    return Dataset(
        name=FOLDER_NAME,
        root=root,
        videos=tuple(Video(id=id_, path=paths[id_], split=splits.get(id_, SPLIT)) for id_ in ids),
        captions=_captions(lines),
        protocol="pairs",
        notes=tuple(f"left out, because it cannot be read: {name}" for name in unreadable),
    )


def video_files(root: Path, unreadable: list[str]) -> Iterator[Path]:
    """Every video below a folder, by its extension; links are followed, but never in a circle.

    Args:
        root: the folder.
        unreadable: gets the folders that cannot be listed.
    """
    seen = {os.path.realpath(root)}

    def skip(error: OSError) -> None:
        unreadable.append(f"{error.filename}: {error.strerror}")

    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=skip):
        subfolders[:] = [name for name in sorted(subfolders) if _is_new(folder, name, seen)]
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_EXTENSIONS:
                yield Path(folder, name)


def _is_new(folder: str, name: str, seen: set[str]) -> bool:
    place = os.path.realpath(Path(folder, name))
    if name.startswith(".") or place in seen:
        return False
    seen.add(place)
    return True


def _read_captions(path: Path) -> Iterator[_Line]:
    try:
        content = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 ({error}): save it as UTF-8") from error
    except OSError as error:
        raise MissingError(f"{path} cannot be read: {error.strerror}") from error
    # Not splitlines(): JSON allows characters inside a string that it takes for a line's end.
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            yield _parse(line, f"{path}, line {number}")


def _parse(line: str, where: str) -> _Line:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{where} is no JSON ({error}): write one object a line") from error
    keys = {"video", "caption", "split", "kind"}
    if not isinstance(values, dict) or not {"video", "caption"} <= values.keys() <= keys:
        raise ConfigError(
            f'{where} is not of the form {{"video": "a.mp4", "caption": "a dog barks"}}, '
            'with or without "split" and "kind"'
        )
    for key, value in values.items():
        if not isinstance(value, str) or not value.strip():
            raise ConfigError(f"{where}: {key} is {value!r}: write a string that is not empty")
        if not value.isprintable() and any("\ud800" <= sign <= "\udfff" for sign in value):
            raise ConfigError(f"{where}: {key} is {value!r}: half a character is no text")
    return _Line(
        video=values["video"],
        caption=values["caption"],
        split=values.get("split"),
        kind=values.get("kind", ""),
        where=where,
    )


def _splits(lines: list[_Line], paths: dict[str, Path], root: Path) -> dict[str, str]:
    """The split that the lines give to each video; they must be there, and agree."""
    splits: dict[str, str] = {}
    for line in lines:
        if line.video not in paths:
            close = get_close_matches(line.video, paths, n=1)
            hint = f"did you mean {close[0]}?" if close else "paths are relative to the folder"
            raise MissingError(f"{line.where}: no video {line.video} below {root}: {hint}")
        if line.split and splits.setdefault(line.video, line.split) != line.split:
            raise ConfigError(
                f"{line.where}: {line.video} is in split {line.split} here and in "
                f"{splits[line.video]} above: give a video one split"
            )
    return splits


def _captions(lines: list[_Line]) -> tuple[Caption, ...]:
    """Captions named after their video and their place among its captions."""
    counts: dict[str, int] = {}
    captions = []
    for line in lines:
        counts[line.video] = number = counts.get(line.video, -1) + 1
        id_ = f"{line.video}#{number}"
        captions.append(Caption(id=id_, video_id=line.video, text=line.caption, kind=line.kind))
    return tuple(captions)
