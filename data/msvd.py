"""MSVD: 1,970 short YouTube clips, 18 to 81 captions each, no sound."""

import json
import pickle
from pathlib import Path
from typing import NoReturn

from vidret.data.errors import ConfigError, MissingError
from vidret.data.folders.listing import video_files
from vidret.data.samples import Caption, Dataset, Video

SPLITS = {"train": 1200, "val": 100, "test": 670}  # videos of the published lists

_CAPTION_FILES = ("captions_msvd.json", "raw-captions.pkl")
_FOLDERS = ("", "annotations", "msvd_data", "structured-symlinks")  # as published archives unpack
_VIDEO_FOLDER = "YouTubeClips"


def load_msvd(root: Path) -> Dataset:
    """Read the split lists and captions, and look for each clip anywhere below `root`.

    A clip that is not there stays in the dataset, and its extraction fails by name.

    Raises:
        MissingError: a list or the captions are not there.
        ConfigError: one of them is malformed.
    """
    root = root.expanduser().absolute()
    lists = {split: _read_list(_find(root, f"{split}_list.txt")) for split in SPLITS}
    split_of = _split_of_each(lists, root)
    captions = _read_captions(_find(root, *_CAPTION_FILES))
    unreadable: list[str] = []
    files = _clips(root, unreadable)
    videos = [
        Video(id=id_, path=files.get(id_, root / _VIDEO_FOLDER / f"{id_}.avi"), split=split)
        for id_, split in split_of.items()
    ]
    return Dataset(
        name="msvd",
        root=root,
        videos=tuple(videos),
        captions=tuple(
            Caption(id=f"{id_}#{number}", video_id=id_, text=text)
            for id_ in split_of
            for number, text in enumerate(captions.get(id_, ()))
        ),
        protocol="msvd-multi",
        notes=(
            *_unusual_lists(lists),
            *(f"left out, because it cannot be read: {name}" for name in unreadable),
            *_first_of([id_ for id_ in split_of if id_ not in captions], "without a caption"),
            *_first_of([id_ for id_ in split_of if id_ not in files], f"not found below {root}"),
        ),
    )


class _PlainUnpickler(pickle.Unpickler):
    """Reads lists, dicts, strings and numbers; whatever would run code is refused."""

    def find_class(self, module_name: str, global_name: str, /) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")


def _find(root: Path, *names: str) -> Path:
    for name in names:
        for folder in _FOLDERS:
            if (path := root / folder / name).is_file():
                return path
    raise MissingError(
        f"{root} holds no {' or '.join(names)}: "
        "the folder holds train_list.txt, val_list.txt, test_list.txt, one of the caption files, "
        "and the clips; CLIP4Clip's msvd_data.zip has all but the clips"
    )


def _read_list(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): get the list again") from error
    return [line.strip() for line in lines if line.strip()]


def _split_of_each(lists: dict[str, list[str]], root: Path) -> dict[str, str]:
    split_of: dict[str, str] = {}
    for split, ids in lists.items():
        for id_ in ids:
            if id_ in split_of:
                raise ConfigError(
                    f"{root}: {id_} is in {split_of[id_]}_list.txt and again in {split}_list.txt: "
                    "get the lists again"
                )
            split_of[id_] = split
    return split_of


def _read_captions(path: Path) -> dict[str, list[str]]:
    try:
        with path.open("rb") as file:
            if path.suffix == ".pkl":
                values = _PlainUnpickler(file, encoding="utf-8").load()
            else:
                values = json.load(file)
    except Exception as error:  # a broken pickle can raise anything
        raise ConfigError(
            f"{path} cannot be read as captions ({error}): get it again, or {_CAPTION_FILES[0]}"
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} maps no clip to its captions: get it again")
    return {id_: [_sentence(text, id_, path) for text in texts] for id_, texts in values.items()}


def _sentence(text: object, id_: str, path: Path) -> str:
    """A caption as it stands, or put together from its words."""
    if isinstance(text, list) and all(isinstance(word, str) for word in text):
        return " ".join(text)
    if isinstance(text, str):
        return text
    raise ConfigError(f"{path}: a caption of {id_} is {text!r}, no sentence: get the file again")


def _clips(root: Path, unreadable: list[str]) -> dict[str, Path]:
    """Every video file by its name without extension; the one nearest to the root counts."""
    files = sorted(video_files(root, unreadable), key=lambda path: (len(path.parts), path))
    return {path.stem: path for path in reversed(files)}


def _unusual_lists(lists: dict[str, list[str]]) -> list[str]:
    return [
        f"{split} has {len(ids):,} videos here, and {SPLITS[split]:,} in the published list"
        for split, ids in lists.items()
        if len(ids) != SPLITS[split]
    ]


def _first_of(ids: list[str], what: str) -> list[str]:
    names = f"{', '.join(ids[:3])}{' ...' if len(ids) > 3 else ''}"
    return [f"videos {what}: {len(ids):,} ({names})"] if ids else []
