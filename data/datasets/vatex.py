"""VATEX: clips of Kinetics-600 with ten English captions each."""

from pathlib import Path

from vidret.data.datasets.assembling import (
    Count,
    Published,
    Split,
    add_captions,
    assemble,
)
from vidret.data.datasets.files import DatasetFolder
from vidret.data.datasets.reading import (
    Source,
    field_of,
    id_of,
    kind_of,
    list_of,
    once_each,
    read_ids,
    read_json,
    text_of,
    wrong,
)
from vidret.data.errors import MissingError
from vidret.data.printable import printable
from vidret.data.samples import Dataset

OFFICIAL = ("vatex_training_v1.0.json", "vatex_validation_v1.0.json")
MADE = ("vatex_data.json", "ref_captions.json")
SECOND_TEST = "test1k5_sec_list.txt"
VATEX = Published(
    title="28,991 YouTube clips of 10 s, ten English captions each",
    protocol="vatex-multi",
    splits={
        "train": Count(videos=25_991, captions=259_910),
        "val": Count(videos=1500, captions=15_000),
        "test": Count(videos=1500, captions=15_000),
    },
    layouts=(
        "train_list.txt, val_list.txt, test_list.txt (HGR) and vatex_training_v1.0.json, "
        "vatex_validation_v1.0.json (official)",
        "the lists and vatex_data.json (EMCL, Cap4Video) or ref_captions.json (TS2-Net)",
    ),
    videos="ID_000010_000020.mp4, in any folder",
    sound="most carry sound; nobody published how many",
    gaps=(
        "val and test are halves of the official validation split, and a second way to halve it is "
        f"in use ({SECOND_TEST} of EMCL, 724 of its ids in common): compare like with like",
        "TS2-Net picks the epoch on test",
        "many videos have left YouTube: one user had 1,335 of the 1,500 of test",
    ),
    terms="annotations CC BY 4.0; the videos belong to those who uploaded them",
    source="eric-xw.github.io/vatex-website; videos: YouTube",
)
SECOND_NOTE = (
    f"test is {SECOND_TEST}, the second way to halve, which shares 724 ids with the first; "
    "val_list.txt is a half of the first and is left out"
)
NO_VAL = "there is no val_list.txt, so vidret holds a part of train out to pick the epoch"


def load_vatex(root: Path) -> Dataset:
    """Read the lists and the English captions.

    Raises:
        MissingError: a list or the captions are not there.
        ConfigError: one of them is malformed.
    """
    folder = DatasetFolder(root)
    test = folder.require("test_list.txt", SECOND_TEST, holds=VATEX.holds)
    second = test.path.name.startswith(SECOND_TEST)
    val = None if second else folder.find("val_list.txt")
    sources = {
        "train": folder.require("train_list.txt", holds=VATEX.holds),
        **({"val": val} if val else {}),
        "test": test,
    }
    return assemble(
        "vatex",
        VATEX,
        folder,
        splits=[
            Split(name=name, ids=read_ids(source), source=source)
            for name, source in sources.items()
        ],
        captions=_captions(folder),
        place=lambda id_: f"videos/{id_}.mp4",
        notes=[SECOND_NOTE] if second else [] if val else [NO_VAL],
    )


def _captions(folder: DatasetFolder) -> dict[str, list[str]]:
    official = [folder.find(name) for name in OFFICIAL]
    made = None if all(official) else folder.find(*MADE)
    if made:
        return _read_made(made)
    captions: dict[str, list[str]] = {}
    for source in official:
        if source is None:
            absent = [name for name, one in zip(OFFICIAL, official, strict=True) if not one]
            raise MissingError(
                f"{printable(folder.root)} holds no {' and no '.join(absent)}, nor "
                f"{' or '.join(MADE)}: it should hold {VATEX.holds}"
            )
        add_captions(captions, _read_official(source), source)
    return captions


def _read_made(source: Source) -> dict[str, list[str]]:
    """An object from ids to captions, or to an object that has them as the official files do."""
    values = read_json(source)
    if not isinstance(values, dict):
        raise wrong(source, f"it is {kind_of(values)}", "it maps each clip to its captions")
    return {
        id_: _texts(
            told["enCap"] if isinstance(told, dict) and "enCap" in told else told, source, id_
        )
        for id_, told in values.items()
    }


def _read_official(source: Source) -> dict[str, list[str]]:
    clips = list_of(read_json(source), source, "it")
    ids = [
        id_of(field_of(clip, "videoID", source, f"entry {number}"), source, "videoID")
        for number, clip in enumerate(clips, start=1)
    ]
    return {
        id_: _texts(field_of(clip, "enCap", source, repr(id_)), source, id_)
        for id_, clip in zip(
            once_each(enumerate(ids, start=1), source, "entry"), clips, strict=True
        )
    }


def _texts(told: object, source: Source, id_: str) -> list[str]:
    found = list_of(told, source, f"what stands for {id_!r:.60}")
    return [
        text_of(text, source, f"caption {number} of {id_!r:.60}")
        for number, text in enumerate(found, start=1)
    ]
