"""ActivityNet Captions: long YouTube videos, whose sentences are one paragraph."""

from pathlib import Path

from vidret.data.datasets.assembling import Count, Published, Split, assemble
from vidret.data.datasets.files import DatasetFolder
from vidret.data.datasets.reading import (
    Source,
    field_of,
    kind_of,
    list_of,
    read_ids,
    read_json,
    text_of,
    wrong,
)
from vidret.data.samples import Dataset

ACTIVITYNET = Published(
    title="14,926 YouTube videos of 117 s on average, one paragraph each",
    protocol="activitynet-paragraph",
    splits={
        "train": Count(videos=10_009, captions=10_009),
        "test": Count(videos=4917, captions=4917),
    },
    layouts=(
        "train.json and val_1.json, with or without train_ids.json and val_ids.json (CLIP4Clip) or "
        "train_list.txt and val_1_list.txt (Collaborative Experts)",
    ),
    videos="v_ID.mp4 or ID.mp4, in any folder",
    sound="most carry sound; nobody published how many",
    gaps=(
        "the test split is val_1; val_2 has other sentences on videos of val_1, and is not used",
        "959 of 4,917 test paragraphs exceed 62 words, and CLIP reads 75 tokens: their ends are cut",
        "many videos have left YouTube: papers use what they found",
        "there is no validation split that is not also test",
    ),
    terms="no licence in the files; the videos belong to those who uploaded them",
    source="captions: the captioning task of activity-net.org; videos: its request form",
)
FILES = {  # of each split: the captions, and the lists in use
    "train": ("train.json", ("train_ids.json", "train_list.txt")),
    "test": ("val_1.json", ("val_ids.json", "val_1_list.txt")),
}
NO_VAL = (
    "there is no validation split apart from test: papers pick the epoch on the test split; vidret "
    "holds a part of train out instead"
)


def load_activitynet(root: Path) -> Dataset:
    """Read the captions, and the lists where there are any.

    Raises:
        MissingError: the captions are not there.
        ConfigError: a file is malformed.
    """
    folder = DatasetFolder(root)
    splits, captions = [], {}
    for split, (name, lists) in FILES.items():
        source = folder.require(name, holds=ACTIVITYNET.holds)
        paragraphs = _paragraphs(source)
        listing = folder.find(*lists)
        ids = list(paragraphs) if listing is None else _ids(listing)
        splits.append(Split(name=split, ids=ids, source=listing or source))
        captions |= {id_: [text] for id_, text in paragraphs.items() if text.strip()}
    return assemble(
        "activitynet",
        ACTIVITYNET,
        folder,
        splits=splits,
        captions=captions,
        place=lambda id_: f"videos/{id_}.mp4",
        notes=[NO_VAL],
    )


def _paragraphs(source: Source) -> dict[str, str]:
    """The sentences of each video joined with a blank; most begin with one of their own."""
    values = read_json(source)
    if not isinstance(values, dict):
        raise wrong(source, f"it is a {kind_of(values)}", "it maps each video to its sentences")
    return {
        id_: " ".join(
            text_of(sentence, source, f"a sentence of {id_}")
            for sentence in list_of(
                field_of(told, "sentences", source, id_), source, f"sentences of {id_}"
            )
        )
        for id_, told in values.items()
    }


def _ids(listing: Source) -> list[str]:
    if listing.suffix != ".json":
        return read_ids(listing)
    ids = [text_of(id_, listing, "an id") for id_ in list_of(read_json(listing), listing, "it")]
    if len(set(ids)) < len(ids):
        twice = next(id_ for id_ in ids if ids.count(id_) > 1)
        raise wrong(listing, f"{twice} is there twice", "each video is in a list once")
    return ids
