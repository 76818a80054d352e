"""DiDeMo: Flickr videos whose descriptions, put together, are one paragraph a video."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidret.data.datasets.assembling import Count, Published, Split, add_captions, assemble
from vidret.data.datasets.files import DatasetFolder, asked_names
from vidret.data.datasets.reading import (
    Source,
    field_of,
    id_of,
    list_of,
    once_each,
    read_captions_by_id,
    read_ids,
    read_json,
    text_of,
    wrong,
)
from vidret.data.samples import Dataset

DATA = "{}_data.json"
LIST = "{}_list.txt"
WORDS = "raw-captions.pkl"
PREPARED = "didemo_ret_{}.json"

DIDEMO = Published(
    title="10,461 Flickr videos cut at 30 s, one paragraph of descriptions each",
    protocol="didemo-paragraph",
    splits={
        "train": Count(videos=8392, captions=8392),
        "val": Count(videos=1065, captions=1065),
        "test": Count(videos=1004, captions=1004),
    },
    layouts=(
        "train_data.json, val_data.json, test_data.json (LocalizingMoments) and train_list.txt, "
        "val_list.txt, test_list.txt (Collaborative Experts)",
        "the three JSON files alone: then all of their videos count",
        f"the three lists and {WORDS} (Collaborative Experts)",
    ),
    videos="as Flickr calls them, 12345@N00_678_9ab.mov, or the same with another ending; in any "
    "folder",
    sound="most carry sound; nobody published how many",
    gaps=(
        "papers report 1,004, 1,003, 979 or 1,036 test videos: compare like with like",
        "paragraphs have two orders, and three in four of the test read otherwise in the other: "
        "didemo takes the order of the file, as CLIP4Clip does, didemo-by-time that of the video",
        "papers watch the first 30 s of a video: vidret watches all of a file, so cut longer ones",
        "13 videos are lost to everybody",
        "193 file names end in a bare dot",
    ),
    terms="annotations BSD 2-Clause; each video has a Creative Commons licence of its own "
    "(video_licenses.txt)",
    source="annotations: LisaAnne/LocalizingMoments; videos: YFCC100M on AWS, or the copy linked "
    "there",
)
DIDEMO_BY_TIME = replace(
    DIDEMO,
    title="10,461 Flickr videos cut at 30 s, one paragraph each, in the order of the video",
    layouts=(
        *DIDEMO.layouts[:2],
        "didemo_ret_train.json, didemo_ret_test.json and perhaps didemo_ret_val.json (Singularity, "
        "VindLU): paragraphs as they stand there",
    ),
)
NO_LISTS = (
    "without lists all videos of the JSON files count; the published lists leave out 29 of val and "
    "33 of test"
)
WORDS_NOTE = f"the captions are the words of {WORDS}, whose signs, capitals and order may differ"
NO_VAL = "there is no didemo_ret_val.json: vidret holds a part of train out to pick the epoch"


@dataclass(frozen=True, slots=True)
class Description:
    """What one person wrote of a part of a video, and where others then saw it.

    Args:
        number: of its entry in the file, from 1.
        times: first and last part of each who looked, in parts of 5 s; not yet looked at.
    """

    number: int
    text: str
    times: object


Order = Callable[[Sequence[Description], Source], Sequence[Description]]


def load_didemo(root: Path) -> Dataset:
    """Descriptions in the order of the file, as CLIP4Clip, HBI and others join them.

    Raises:
        MissingError: a file is not there.
        ConfigError: one is malformed.
    """
    folder = DatasetFolder(root)
    described = any(folder.find(DATA.format(split)) for split in DIDEMO.splits)
    words = None if described else folder.find(WORDS)
    if words is None:
        return _load_descriptions("didemo", DIDEMO, folder, _in_file_order)
    splits = []
    for split in DIDEMO.splits:
        source = folder.require(LIST.format(split), holds=DIDEMO.layouts[-1])
        splits.append(Split(name=split, ids=read_ids(source), source=source))
    found = {id_: [" ".join(texts)] for id_, texts in read_captions_by_id(words).items()}
    captions = _as_listed(found, [id_ for split in splits for id_ in split.ids])
    return _assemble("didemo", DIDEMO, folder, splits, captions, [WORDS_NOTE])


def load_didemo_by_time(root: Path) -> Dataset:
    """Descriptions in the order of the video, from prepared files where they are there.

    Raises:
        MissingError: a file is not there.
        ConfigError: one is malformed.
    """
    folder = DatasetFolder(root)
    prepared = {split: folder.find(PREPARED.format(split)) for split in DIDEMO.splits}
    if not any(prepared.values()):
        return _load_descriptions("didemo-by-time", DIDEMO_BY_TIME, folder, _by_time)
    splits: list[Split] = []
    captions: dict[str, list[str]] = {}
    for split, source in prepared.items():
        if source is None and split == "val":
            continue
        source = folder.require(PREPARED.format(split), holds=DIDEMO_BY_TIME.layouts[-1])
        paragraphs = _read_prepared(source)
        splits.append(Split(name=split, ids=list(paragraphs), source=source))
        add_captions(captions, paragraphs, source)
    notes = [] if prepared["val"] else [NO_VAL]
    return _assemble("didemo-by-time", DIDEMO_BY_TIME, folder, splits, captions, notes)


def _load_descriptions(
    name: str, published: Published, folder: DatasetFolder, order: Order
) -> Dataset:
    splits: list[Split] = []
    captions: dict[str, list[str]] = {}
    notes: list[str] = []
    for split in DIDEMO.splits:
        data = folder.require(DATA.format(split), holds=published.holds)
        found = {
            id_: [" ".join(one.text for one in order(several, data))]
            for id_, several in _read_descriptions(data).items()
        }
        if listing := folder.find(LIST.format(split)):
            ids = read_ids(listing)
            found = _as_listed(found, ids)
            splits.append(Split(name=split, ids=ids, source=listing))
        else:
            notes = [NO_LISTS]
            splits.append(Split(name=split, ids=list(found), source=data))
        add_captions(captions, found, data)
    return _assemble(name, published, folder, splits, captions, notes)


def _assemble(
    name: str,
    published: Published,
    folder: DatasetFolder,
    splits: Sequence[Split],
    captions: Mapping[str, list[str]],
    notes: Sequence[str],
) -> Dataset:
    return assemble(
        name,
        published,
        folder,
        splits=splits,
        captions=captions,
        place=lambda id_: f"videos/{id_}",
        notes=notes,
    )


def _read_descriptions(source: Source) -> dict[str, list[Description]]:
    """The descriptions of each video in the order of the file, where they lie apart."""
    described: dict[str, list[Description]] = {}
    annotations: dict[int, int] = {}
    for number, entry in enumerate(list_of(read_json(source), source, "it"), start=1):
        what = f"entry {number}"
        id_ = id_of(field_of(entry, "video", source, what), source, f"video of {what}")
        text = text_of(
            field_of(entry, "description", source, what), source, f"description of {what}"
        )
        annotation = entry.get("annotation_id")
        if type(annotation) is int and annotations.setdefault(annotation, number) != number:
            raise wrong(
                source,
                f"{what} has the annotation_id {annotation}, as entry {annotations[annotation]} "
                "already",
                "each description is in there once; get the file again",
            )
        described.setdefault(id_, []).append(Description(number, text, entry.get("times")))
    return described


def _read_prepared(source: Source) -> dict[str, list[str]]:
    """A list of videos, each with a paragraph or with its descriptions in their order."""
    entries = list_of(read_json(source), source, "it")
    ids = [
        id_of(field_of(entry, "video", source, f"entry {number}"), source, "video")
        for number, entry in enumerate(entries, start=1)
    ]
    paragraphs = {}
    for number, id_ in enumerate(once_each(enumerate(ids, start=1), source, "entry"), start=1):
        what = f"caption of entry {number}"
        told = field_of(entries[number - 1], "caption", source, f"entry {number}")
        texts = [told] if isinstance(told, str) else list_of(told, source, f"the {what}")
        paragraphs[id_] = [
            " ".join(text_of(text, source, f"a part of the {what}") for text in texts)
        ]
    return paragraphs


def _in_file_order(descriptions: Sequence[Description], _: Source) -> Sequence[Description]:
    return descriptions


def _by_time(descriptions: Sequence[Description], source: Source) -> Sequence[Description]:
    """By the span that most who looked named, first its start, then its end.

    Where spans were named as often, the one named first counts. Descriptions of one span stay in
    the order of the file. The prepared files are in this order.
    """
    return sorted(descriptions, key=lambda one: _span(one, source))


def _span(description: Description, source: Source) -> tuple[float, float]:
    try:
        spans = Counter(
            (float(start), float(end))
            for start, end in description.times  # type: ignore[attr-defined]
        )
        return spans.most_common(1)[0][0]  # of equal ones the first
    except (TypeError, ValueError, IndexError) as error:
        raise wrong(
            source,
            f"times of entry {description.number} is {description.times!r:.60}",
            "it should be a list of pairs of numbers",
        ) from error


def _as_listed(captions: Mapping[str, list[str]], ids: Sequence[str]) -> dict[str, list[str]]:
    """The same captions under the names of a list, which may have other endings."""
    listed = set(ids)
    by_stem = {asked_names(id_)[-1]: id_ for id_ in ids}
    return {
        id_ if id_ in listed else by_stem.get(asked_names(id_)[-1], id_): texts
        for id_, texts in captions.items()
    }
