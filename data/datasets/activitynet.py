"""ActivityNet Captions: long YouTube videos, whose sentences are one paragraph."""

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
    read_captions_by_id,
    read_ids,
    read_json,
    text_of,
    wrong,
)
from vidret.data.samples import Dataset

FILES = {  # of each split: the captions, and the lists in use
    "train": ("train.json", ("train_ids.json", "train_list.txt")),
    "test": ("val_1.json", ("val_ids.json", "val_1_list.txt")),
}
TOKENS = "raw-captions-train-val_1.pkl"
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
        f"the two lists and {TOKENS} (Collaborative Experts)",
    ),
    videos="v_ID.mp4 or ID.mp4, in any folder",
    sound="most carry sound; nobody published how many",
    gaps=(
        "the test split is val_1; val_2 has other sentences on videos of val_1, and is not used",
        "959 of 4,917 test paragraphs exceed 62 words, and CLIP reads 75 tokens: ends are cut",
        "many videos have left YouTube: papers use what they found",
        "there is no validation split that is not also test",
    ),
    terms="no licence in the files; the videos belong to those who uploaded them",
    source="captions: the captioning task of activity-net.org; videos: its request form",
)
NO_VAL = (
    "there is no validation split apart from test: papers pick the epoch on the test split; vidret "
    "holds a part of train out instead"
)
TOKENS_NOTE = f"the captions are the words of {TOKENS}, whose signs and capitals may differ"


def load_activitynet(root: Path) -> Dataset:
    """Read the captions, and the lists where there are any.

    Raises:
        MissingError: the captions are not there.
        ConfigError: a file is malformed.
    """
    folder = DatasetFolder(root)
    tokens = None if any(folder.find(name) for name, _ in FILES.values()) else folder.find(TOKENS)
    captions, notes = {}, [NO_VAL]
    if tokens:
        captions, notes = read_captions_by_id(tokens), [NO_VAL, TOKENS_NOTE]
    splits = []
    for split, (name, lists) in FILES.items():
        if tokens:
            listing = folder.require(*lists, holds=ACTIVITYNET.layouts[-1])
            splits.append(Split(name=split, ids=_ids(listing), source=listing))
            continue
        source = folder.require(name, holds=ACTIVITYNET.holds)
        paragraphs = _paragraphs(source)
        listed = folder.find(*lists)
        ids = _ids(listed) if listed else list(paragraphs)
        splits.append(Split(name=split, ids=ids, source=listed or source))
        add_captions(captions, paragraphs, source)
    return assemble(
        "activitynet",
        ACTIVITYNET,
        folder,
        splits=splits,
        captions={id_: [" ".join(texts)] for id_, texts in captions.items()},
        place=lambda id_: f"videos/{id_}.mp4",
        notes=notes,
    )


def _paragraphs(source: Source) -> dict[str, list[str]]:
    """The sentences of each video, most of which begin with a blank."""
    values = read_json(source)
    if not isinstance(values, dict):
        raise wrong(source, f"it is {kind_of(values)}", "it maps each video to its sentences")
    return {id_: _sentences(told, source, id_) for id_, told in values.items()}


def _sentences(told: object, source: Source, id_: str) -> list[str]:
    what = f"sentences of {id_!r:.60}"
    sentences = list_of(field_of(told, "sentences", source, repr(id_)), source, what)
    return [
        text_of(sentence, source, f"entry {number} of the {what}")
        for number, sentence in enumerate(sentences, start=1)
    ]


def _ids(listing: Source) -> list[str]:
    if listing.suffix != ".json":
        return read_ids(listing)
    entries = enumerate(list_of(read_json(listing), listing, "it"), start=1)
    ids = ((number, id_of(id_, listing, f"entry {number}")) for number, id_ in entries)
    return once_each(ids, listing, "entry")
