"""DiDeMo: Flickr videos whose descriptions, put together, are one paragraph a video."""

from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from statistics import fmean
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
from vidret.data.samples import Dataset

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
    ),
    videos="as Flickr calls them, 12345@N00_678_9ab.mov, or the same with another ending; in any "
    "folder",
    sound="most carry sound; nobody published how many",
    gaps=(
        "papers report 1,004, 1,003, 979 or 1,036 test videos: compare like with like",
        "paragraphs have two orders, and only 240 of 1,003 of the test read the same in both: "
        "didemo takes the order of the file, as CLIP4Clip does, didemo-by-time that of the video",
        "13 videos are lost to everybody",
        "193 file names end in a bare dot",
    ),
    terms="annotations BSD 2-Clause; each video has a Creative Commons licence of its own "
    "(video_licenses.txt)",
    source="annotations: LisaAnne/LocalizingMoments; videos: YFCC100M on AWS, or the copy linked "
    "there",
)
NO_LISTS = (
    "without lists all videos of the JSON files count; the published lists leave out 29 of val and "
    "33 of test"
)


def _load(name: str, root: Path, *, by_time: bool) -> Dataset:
    folder = DatasetFolder(root)
    splits, paragraphs, notes = [], {}, []
    for split in DIDEMO.splits:
        data = folder.require(f"{split}_data.json", holds=DIDEMO.holds)
        found = _paragraphs(data, by_time=by_time)
        source = folder.find(f"{split}_list.txt")
        if source is None:
            notes = [NO_LISTS]
            splits.append(Split(name=split, ids=list(found), source=data))
        else:
            ids = read_ids(source)
            splits.append(Split(name=split, ids=ids, source=source))
            found = _as_listed(ids, found)
        paragraphs |= found
    return assemble(
        name,
        DIDEMO,
        folder,
        splits=splits,
        captions={id_: [text] for id_, text in paragraphs.items()},
        place=lambda id_: f"videos/{id_}",
        notes=notes,
    )


def _paragraphs(source: Source, *, by_time: bool) -> dict[str, str]:
    """The descriptions of each video, joined with a blank.

    In the order of the file, or by the mean of what their annotators marked, first the start.
    """
    described: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for number, entry in enumerate(list_of(read_json(source), source, "it")):
        what = f"entry {number}"
        video = text_of(field_of(entry, "video", source, what), source, f"video of {what}")
        text = text_of(
            field_of(entry, "description", source, what), source, f"description of {what}"
        )
        place = _place(field_of(entry, "times", source, what), source, what) if by_time else (0, 0)
        described[video].append((*place, text))
    if by_time:
        for entries in described.values():
            entries.sort(key=lambda entry: entry[:2])
    return {video: " ".join(text for *_, text in entries) for video, entries in described.items()}


def _place(times: Any, source: Source, what: str) -> tuple[float, float]:  # noqa: ANN401
    """Where the annotators of a description saw it, on the whole."""
    try:
        starts, ends = zip(*((float(start), float(end)) for start, end in times), strict=True)
    except (TypeError, ValueError) as error:
        raise wrong(source, f"times of {what} are {times!r:.60}", "pairs of numbers") from error
    return fmean(starts), fmean(ends)


def _as_listed(ids: list[str], paragraphs: Mapping[str, str]) -> dict[str, str]:
    """The same paragraphs under the names of a list, which may have other endings."""
    listed = set(ids)
    by_stem = {_stem(id_): id_ for id_ in ids}
    return {
        video if video in listed else by_stem.get(_stem(video), video): text
        for video, text in paragraphs.items()
    }


def _stem(name: str) -> str:
    return name[:-1] if name.endswith(".") else PurePosixPath(name).stem


load_didemo = partial(_load, "didemo", by_time=False)
load_didemo_by_time = partial(_load, "didemo-by-time", by_time=True)
