"""VATEX: clips of Kinetics-600 with ten English captions each."""

from pathlib import Path
from typing import Any

from vidret.data.datasets.assembling import Count, Published, Split, assemble
from vidret.data.datasets.files import DatasetFolder
from vidret.data.datasets.reading import (
    Source,
    field_of,
    list_of,
    read_ids,
    read_json,
    text_of,
    wrong,
)
from vidret.data.errors import MissingError
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
        "many videos have left YouTube: 1,335 of the 1,500 of test is usual",
    ),
    terms="annotations CC BY 4.0; the videos belong to those who uploaded them",
    source="eric-xw.github.io/vatex-website; videos: YouTube",
)
SECOND_NOTE = f"test is {SECOND_TEST}, the second half-split, which shares 724 ids with the first"


def load_vatex(root: Path) -> Dataset:
    """Read the lists and the English captions.

    Raises:
        MissingError: a list or the captions are not there.
        ConfigError: one of them is malformed.
    """
    folder = DatasetFolder(root)
    sources = {
        "train": folder.require("train_list.txt", holds=VATEX.holds),
        "val": folder.require("val_list.txt", holds=VATEX.holds),
        "test": folder.require("test_list.txt", SECOND_TEST, holds=VATEX.holds),
    }
    second = sources["test"].path.name == SECOND_TEST
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
        notes=[SECOND_NOTE] if second else [],
    )


def _captions(folder: DatasetFolder) -> dict[str, list[str]]:
    official = [folder.find(name) for name in OFFICIAL]
    if all(official):
        captions: dict[str, list[str]] = {}
        for source in official:
            if source is not None:
                _add_official(source, captions)
        return captions
    made = folder.find(*MADE)
    if made is None:
        absent = [name for name, one in zip(OFFICIAL, official, strict=True) if one is None]
        raise MissingError(
            f"{folder.root} holds no {' and no '.join(absent)}, nor {' or '.join(MADE)}: it should "
            f"hold {VATEX.holds}"
        )
    values = read_json(made)
    if not isinstance(values, dict):
        raise wrong(made, "it is no object", "it maps each clip to its captions")
    return {
        id_: _texts(told["enCap"] if isinstance(told, dict) and "enCap" in told else told, made, id_)
        for id_, told in values.items()
    }


def _add_official(source: Source, captions: dict[str, list[str]]) -> None:
    for number, clip in enumerate(list_of(read_json(source), source, "it")):
        id_ = text_of(field_of(clip, "videoID", source, f"clip {number}"), source, "videoID")
        if id_ in captions:
            raise wrong(source, f"{id_} is there twice", "each clip is there once; get it again")
        captions[id_] = _texts(field_of(clip, "enCap", source, id_), source, id_)


def _texts(told: Any, source: Source, id_: str) -> list[str]:  # noqa: ANN401
    found = list_of(told, source, f"the captions of {id_}")
    return [text_of(text, source, f"a caption of {id_}") for text in found]
