"""The captions of MSR-VTT's videos, from whichever of their files is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vidret.data.datasets.files import DatasetFolder
from vidret.data.datasets.reading import (
    Source,
    field_of,
    id_of,
    list_of,
    once_each,
    read_captions_by_id,
    read_json,
    wrong,
)
from vidret.data.errors import MissingError
from vidret.data.printable import printable
from vidret.data.words import counted

JOINED = "MSRVTT_data.json"
OFFICIAL = (
    ("train_val_videodatainfo.json", "train_val_annotation.zip/train_val_videodatainfo.json"),
    ("test_videodatainfo.json", "test_videodatainfo.json.zip/test_videodatainfo.json"),
)
FROZEN = "MSR_VTT.json"  # of Frozen in Time
WORDS = "raw-captions.pkl"  # of Collaborative Experts
FORMS = (
    f"{JOINED} (CLIP4Clip), or {OFFICIAL[0][0]} and {OFFICIAL[1][0]} (also in the official zips), "
    f"or {FROZEN} (Frozen in Time), or {WORDS} (Collaborative Experts)"
)
OFFICIAL_SPLITS = {"train": "train", "validate": "val", "test": "test"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """All videos with their captions in the order of the sentences.

    Args:
        captions: by video.
        source: the file, or the first of two.
        official: the videos of the official splits, none where the file does not say.
    """

    captions: Mapping[str, list[str]]
    source: Source
    official: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def of(self, ids: Sequence[str], source: Source) -> dict[str, list[str]]:
        """The captions of the videos of a list.

        Raises:
            ConfigError: one of the videos is not known.
        """
        strange = [id_ for id_ in ids if id_ not in self.captions]
        if strange:
            raise wrong(
                source,
                f"it names {printable(strange[0])}, which {self.source} does not have "
                f"({len(strange):,} of its {counted(len(ids), 'id')} in all)",
                "the list and the captions should be of the same dataset",
            )
        return {id_: self.captions[id_] for id_ in ids}


def read_annotations(folder: DatasetFolder) -> Annotations:
    """The captions of all videos.

    Raises:
        MissingError: none of the files is there, or one of two.
        ConfigError: one is malformed.
    """
    if joined := folder.find(JOINED):
        return _read_parts([joined])
    parts = [folder.find(*names) for names in OFFICIAL]
    if all(parts):
        return _read_parts([part for part in parts if part])
    if frozen := folder.find(FROZEN):
        return Annotations(captions=_read_frozen(frozen), source=frozen)
    if words := folder.find(WORDS):
        return Annotations(captions=read_captions_by_id(words), source=words)
    there = [f"{part} without its other half" for part in parts if part]
    raise MissingError(
        f"{printable(folder.root)} holds {there[0] if there else 'no captions'}: it should hold "
        f"{FORMS}"
    )


def _read_parts(sources: Sequence[Source]) -> Annotations:
    """The official form, in one file or in two."""
    captions: dict[str, list[str]] = {}
    official: dict[str, list[str]] = {split: [] for split in OFFICIAL_SPLITS.values()}
    for source in sources:
        values = read_json(source)
        videos = list_of(field_of(values, "videos", source, "it"), source, "videos")
        for id_, video in zip(_ids(videos, source), videos, strict=True):
            if id_ in captions:
                raise wrong(source, f"{printable(id_)} is in {sources[0]} as well", "get it again")
            captions[id_] = []
            official[_split(video, source, id_)].append(id_)
        sentences = list_of(field_of(values, "sentences", source, "it"), source, "sentences")
        for number, sentence in enumerate(sentences, start=1):
            try:
                captions[sentence["video_id"]].append(_text(sentence["caption"]))
            except (KeyError, TypeError) as error:
                raise _strange(number, sentence, "video_id", source) from error
    return Annotations(captions=captions, source=sources[0], official=official)


def _ids(videos: Sequence[object], source: Source) -> list[str]:
    what = "entry {} of videos"
    ids = (
        id_of(
            field_of(video, "video_id", source, what.format(number)),
            source,
            f"video_id of {what.format(number)}",
        )
        for number, video in enumerate(videos, start=1)
    )
    return once_each(enumerate(ids, start=1), source, "entry")


def _split(video: object, source: Source, id_: str) -> str:
    said = field_of(video, "split", source, repr(id_))
    if not isinstance(said, str) or said not in OFFICIAL_SPLITS:
        known = ", ".join(OFFICIAL_SPLITS)
        raise wrong(source, f"the split of {id_!r} is {said!r:.60}", f"it is one of {known}")
    return OFFICIAL_SPLITS[said]


def _read_frozen(source: Source) -> dict[str, list[str]]:
    values = read_json(source)
    captions: dict[str, list[str]] = {}
    told = list_of(field_of(values, "annotations", source, "it"), source, "annotations")
    for number, sentence in enumerate(told, start=1):
        try:
            captions.setdefault(_text(sentence["image_id"]), []).append(_text(sentence["caption"]))
        except (KeyError, TypeError) as error:
            raise _strange(number, sentence, "image_id", source) from error
    return captions


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise TypeError


def _strange(number: int, sentence: object, key: str, source: Source) -> Exception:
    return wrong(
        source,
        f"sentence {number} is {sentence!r:.100}",
        f'it should have a text as "caption", and as "{key}" one of the videos',
    )
