"""MSR-VTT: 10,000 clips with 20 captions each, and the four ways in which the field splits them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
    read_pickle,
    read_table,
    text_of,
    wrong,
)
from vidret.data.errors import MissingError
from vidret.data.samples import Dataset

JOINED = "MSRVTT_data.json"
OFFICIAL = (
    ("train_val_videodatainfo.json", "train_val_annotation.zip/train_val_videodatainfo.json"),
    ("test_videodatainfo.json", "test_videodatainfo.json.zip/test_videodatainfo.json"),
)
FROZEN = "MSR_VTT.json"  # of Frozen in Time
TEST_TABLE = "MSRVTT_JSFUSION_test.csv"
TEST_LIST, TEST_INDEX = "val_list_jsfusion.txt", "jsfusion_val_caption_idx.pkl"
NO_VAL = (
    "1k-A has no validation split: papers pick the epoch on the test split; vidret holds a part "
    "of train out instead"
)

_CAPTIONS = (
    "MSRVTT_data.json; or train_val_videodatainfo.json and test_videodatainfo.json; or MSR_VTT.json"
)
_SOUND = "about 1,200 of the 10,000 clips have no sound, more in some copies"
_TERMS = "none stated in the files; for research; the videos belong to those who uploaded them"
_SOURCE = (
    "captions and lists: msrvtt_data.zip of CLIP4Clip; videos: MSRVTT.zip of Frozen in Time (some "
    "other copies lack the sound of about 1,200 videos)"
)
_VIDEOS = "videos/all/videoN.mp4"
_REPEATS = "captions repeat within a video and between videos, so ties are real"


def _published(
    what: str, protocol: str, splits: Mapping[str, Count], lists: str, *gaps: str
) -> Published:
    return Published(
        title=f"10,000 clips of 10 to 30 s, 20 captions each; {what}",
        protocol=protocol,
        splits=splits,
        layouts=(f"{lists}, and the captions ({_CAPTIONS})",),
        videos=_VIDEOS,
        sound=_SOUND,
        gaps=(*gaps, _REPEATS),
        terms=_TERMS,
        source=_SOURCE,
    )


_1KA = (
    "four of the 1,000 test sentences occur more than once, so videos tie",
    "372 test clips are of a YouTube video that also gives a 9k training clip (0 for 7k)",
    "107 test sentences are training captions of 9k, word for word",
    "there is no validation split",
)
MSRVTT_9K = _published(
    "9k to train, 1k-A to test (JSFusion)",
    "msrvtt-1ka",
    {"train": Count(videos=9000, captions=180_000), "test": Count(videos=1000, captions=1000)},
    "MSRVTT_train.9k.csv and MSRVTT_JSFUSION_test.csv; or train_list_jsfusion.txt, "
    "val_list_jsfusion.txt and jsfusion_val_caption_idx.pkl",
    *_1KA,
)
MSRVTT_7K = _published(
    "7k to train, 1k-A to test",
    "msrvtt-1ka",
    {"train": Count(videos=7010, captions=140_200), "test": Count(videos=1000, captions=1000)},
    "MSRVTT_train.7k.csv (or the official train and validate splits) and MSRVTT_JSFUSION_test.csv",
    *_1KA,
)
MSRVTT_FULL = _published(
    "the official splits, every test caption a query",
    "msrvtt-full",
    {
        "train": Count(videos=6513, captions=130_260),
        "val": Count(videos=497, captions=9_940),
        "test": Count(videos=2990, captions=59_800),
    },
    "train_list_full.txt, val_list_full.txt, test_list_full.txt, or no lists: the captions' own "
    "file says the split",
)
MSRVTT_1KB = _published(
    "1k-B (Miech), the first caption of each test video is its query",
    "msrvtt-1kb",
    {"train": Count(videos=6656, captions=133_120), "test": Count(videos=1000, captions=1000)},
    "train_list_miech.txt and test_list_miech.txt",
    "296 of its test videos are test videos of 1k-A, too",
    "there is no validation split",
)


class _Annotations:
    """The captions of all videos in the order of their sentences, and the official splits."""

    def __init__(self, folder: DatasetFolder) -> None:
        self.captions: dict[str, list[str]] = {}
        self.split_of: dict[str, str] = {}
        self.sources: list[Source] = []
        found = folder.find(JOINED)
        parts = [found] if found else [folder.find(*names) for names in OFFICIAL]
        if frozen := (None if any(parts) else folder.find(FROZEN)):
            self._read_frozen(frozen)
            return
        if not all(parts):
            absent = [names[0] for names, part in zip(OFFICIAL, parts, strict=False) if not part]
            raise MissingError(
                f"{folder.root} holds no {JOINED}"
                + (f", and no {absent[0]}" if any(parts) else f" or {OFFICIAL[0][0]} or {FROZEN}")
                + f": it should hold one of the captions' files, {_CAPTIONS}"
            )
        for part in parts:
            if part is not None:
                self._read(part)

    def of(self, ids: Sequence[str], source: Source) -> dict[str, list[str]]:
        """The captions of the videos of a list, all of which must be known."""
        strange = [id_ for id_ in ids if id_ not in self.captions]
        if strange:
            raise wrong(
                source,
                f"{strange[0]} (and {len(strange) - 1:,} more) has no caption",
                f"each id is a video of {self.sources[0]}",
            )
        return {id_: self.captions[id_] for id_ in ids}

    def _read(self, source: Source) -> None:
        self.sources.append(source)
        values = read_json(source)
        for number, video in enumerate(list_of(field_of(values, "videos", source, "it"), source, "videos")):
            id_ = text_of(field_of(video, "video_id", source, f"video {number}"), source, "video_id")
            if id_ in self.split_of:
                raise wrong(source, f"the video {id_} is there twice", "get the file again")
            self.split_of[id_] = str(field_of(video, "split", source, id_))
            self.captions[id_] = []
        sentences = list_of(field_of(values, "sentences", source, "it"), source, "sentences")
        self._add(sentences, "video_id", source, known=True)

    def _read_frozen(self, source: Source) -> None:
        self.sources.append(source)
        values = read_json(source)
        sentences = list_of(field_of(values, "annotations", source, "it"), source, "annotations")
        self._add(sentences, "image_id", source, known=False)

    def _add(self, sentences: Sequence[Any], key: str, source: Source, *, known: bool) -> None:
        for number, sentence in enumerate(sentences):
            try:
                id_, caption = sentence[key], sentence["caption"]
                own = self.captions[id_] if known else self.captions.setdefault(id_, [])
            except (KeyError, TypeError) as error:
                raise wrong(
                    source,
                    f"sentence {number} is {sentence!r:.100}",
                    f'it has a "caption" and the "{key}" of one of the videos',
                ) from error
            if type(caption) is not str or not caption.strip():
                raise wrong(source, f"sentence {number} says {caption!r:.60}", "write a text")
            own.append(caption)


def _load_1ka(name: str, published: Published, train: Callable[..., Split], root: Path) -> Dataset:
    folder = DatasetFolder(root)
    annotations = _Annotations(folder)
    training = train(folder, annotations)
    test, source = _test_of_1ka(folder, annotations, published)
    return assemble(
        name,
        published,
        folder,
        splits=[training, Split(name="test", ids=list(test), source=source)],
        captions=annotations.of(training.ids, training.source) | test,
        place=lambda id_: f"videos/all/{id_}.mp4",
        notes=[NO_VAL],
    )


def _train_9k(folder: DatasetFolder, _: _Annotations) -> Split:
    return _listed(folder, "train", MSRVTT_9K, "MSRVTT_train.9k.csv", "train_list_jsfusion.txt")


def _train_7k(folder: DatasetFolder, annotations: _Annotations) -> Split:
    if folder.find("MSRVTT_train.7k.csv") is None and annotations.split_of:
        ids = [id_ for id_, split in annotations.split_of.items() if split != "test"]
        return Split(name="train", ids=ids, source=annotations.sources[0])
    return _listed(folder, "train", MSRVTT_7K, "MSRVTT_train.7k.csv")


def _listed(folder: DatasetFolder, split: str, published: Published, *names: str) -> Split:
    """A split from a list: a table of one column, or an id a line."""
    source = folder.require(*names, holds=published.holds)
    if source.suffix != ".csv":
        return Split(name=split, ids=read_ids(source), source=source)
    seen: dict[str, int] = {}
    for line, (id_,) in read_table(source, ["video_id"]):
        _take_once(seen, id_.strip(), source, line)
    return Split(name=split, ids=list(seen), source=source)


def _test_of_1ka(
    folder: DatasetFolder, annotations: _Annotations, published: Published
) -> tuple[dict[str, list[str]], Source]:
    """The query of each test video: as the table has it, or by its number among the captions.

    A sentence of the table is never looked up among the captions: 12 are not there.
    """
    if table := folder.find(TEST_TABLE):
        seen: dict[str, int] = {}
        queries: dict[str, list[str]] = {}
        for line, fields in read_table(table, ["key", "vid_key", "video_id", "sentence"]):
            id_, sentence = fields[2].strip(), fields[3]
            _take_once(seen, id_, table, line)
            if not sentence.strip():
                raise wrong(table, "its sentence is empty", "each row has one", line=line)
            queries[id_] = [sentence]
        return queries, table
    source = folder.require(TEST_TABLE, TEST_LIST, holds=published.holds)
    index = folder.require(TEST_TABLE, TEST_INDEX, holds=published.holds)
    numbers, ids = read_pickle(index), read_ids(source)
    captions = annotations.of(ids, source)
    return {id_: [_numbered(captions[id_], numbers, id_, index)] for id_ in ids}, source


def _numbered(captions: Sequence[str], numbers: Any, id_: str, index: Source) -> str:  # noqa: ANN401
    number = field_of(numbers, id_, index, "it")
    if type(number) is not int or not 0 <= number < len(captions):
        raise wrong(index, f"{id_} is {number!r:.60}", f"a number below {len(captions)}")
    return captions[number]


def _take_once(seen: dict[str, int], id_: str, source: Source, line: int) -> None:
    if id_ in seen:
        raise wrong(
            source,
            f"{id_} is in line {seen[id_]} already",
            "each video is in a list once; get the list again",
            line=line,
        )
    seen[id_] = line


def load_msrvtt_full(root: Path) -> Dataset:
    """The official splits; every caption of val and test is a query.

    Raises:
        MissingError: the captions are not there.
        ConfigError: a file is malformed.
    """
    folder = DatasetFolder(root)
    annotations = _Annotations(folder)
    splits = [
        Split(name=name, ids=read_ids(source), source=source)
        for name in MSRVTT_FULL.splits
        if (source := folder.find(f"{name}_list_full.txt"))
    ]
    if len(splits) < len(MSRVTT_FULL.splits):
        official = {"train": "train", "val": "validate", "test": "test"}
        splits = [
            Split(
                name=name,
                ids=[id_ for id_, its in annotations.split_of.items() if its == said],
                source=annotations.sources[0],
            )
            for name, said in official.items()
        ]
        if not all(split.ids for split in splits):
            raise MissingError(
                f"{annotations.sources[0]} does not say which videos are in which split: it should "
                f"hold {MSRVTT_FULL.holds}"
            )
    captions = {
        id_: texts
        for split in splits
        for id_, texts in annotations.of(split.ids, split.source).items()
    }
    return assemble(
        "msrvtt-full",
        MSRVTT_FULL,
        folder,
        splits=splits,
        captions=captions,
        place=lambda id_: f"videos/all/{id_}.mp4",
    )


def load_msrvtt_1kb(root: Path) -> Dataset:
    """The splits of Miech; the first caption of a test video, in the order of sentences, is its query.

    Raises:
        MissingError: a file is not there.
        ConfigError: a file is malformed.
    """
    folder = DatasetFolder(root)
    annotations = _Annotations(folder)
    train = _listed(folder, "train", MSRVTT_1KB, "train_list_miech.txt")
    test = _listed(folder, "test", MSRVTT_1KB, "test_list_miech.txt")
    queries = {id_: texts[:1] for id_, texts in annotations.of(test.ids, test.source).items()}
    return assemble(
        "msrvtt-1kb",
        MSRVTT_1KB,
        folder,
        splits=[train, test],
        captions=annotations.of(train.ids, train.source) | queries,
        place=lambda id_: f"videos/all/{id_}.mp4",
        notes=[NO_VAL.replace("1k-A", "1k-B")],
    )


load_msrvtt_9k = partial(_load_1ka, "msrvtt-9k", MSRVTT_9K, _train_9k)
load_msrvtt_7k = partial(_load_1ka, "msrvtt-7k", MSRVTT_7K, _train_7k)
