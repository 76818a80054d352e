"""MSR-VTT: 10,000 clips with 20 captions each, and the four ways in which the field splits them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from vidret.data.datasets.assembling import Count, Published, Split, assemble
from vidret.data.datasets.files import DatasetFolder
from vidret.data.datasets.msrvtt_annotations import FORMS, Annotations, read_annotations
from vidret.data.datasets.reading import (
    Source,
    field_of,
    once_each,
    read_ids,
    read_pickle,
    read_table,
    wrong,
)
from vidret.data.errors import MissingError
from vidret.data.printable import printable
from vidret.data.samples import Dataset

TEST_TABLE = "MSRVTT_JSFUSION_test.csv"
FULL = ("{}_list_full.txt", "MSRVTT_{}.full.csv")
TEST_LIST, TEST_INDEX = "val_list_jsfusion.txt", "jsfusion_val_caption_idx.pkl"
NO_VAL = (
    "1k-A has no validation split: papers pick the epoch on the test split; vidret holds a part "
    "of train out instead"
)

_SOUND = "about 1,200 of the 10,000 clips have no sound, more in some copies"
_TERMS = "none stated in the files; for research; the videos belong to those who uploaded them"
_SOURCE = (
    "captions and lists: msrvtt_data.zip of CLIP4Clip; videos: MSRVTT.zip of Frozen in Time (some "
    "other copies lack the sound of about 1,200 videos)"
)
_VIDEOS = "videos/all/videoN.mp4"
_REPEATS = "captions repeat within a video and between videos, so ties are real"


OTHER_QUERIES = (
    f"the test sentences are those that {TEST_INDEX} numbers, which are not all those of "
    f"{TEST_TABLE}: papers use the table"
)


def _published(
    what: str, protocol: str, splits: Mapping[str, Count], lists: str, *gaps: str
) -> Published:
    return Published(
        title=f"10,000 clips of 10 to 30 s, 20 captions each; {what}",
        protocol=protocol,
        splits=splits,
        layouts=(f"{lists}, and the captions: {FORMS}",),
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
    "MSRVTT_train.7k.csv (or the official train and validation splits) and "
    "MSRVTT_JSFUSION_test.csv",
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
    "train_list_full.txt, val_list_full.txt, test_list_full.txt (Collaborative Experts), or "
    "MSRVTT_{train,val,test}.full.csv (EMCL), or no lists: most captions' files say the split",
)
MSRVTT_1KB = _published(
    "1k-B (Miech), the first caption of each test video is its query",
    "msrvtt-1kb",
    {"train": Count(videos=6656, captions=133_120), "test": Count(videos=1000, captions=1000)},
    "train_list_miech.txt and test_list_miech.txt",
    "296 of its test videos are test videos of 1k-A, too",
    "there is no validation split",
)


def _load_1ka(name: str, published: Published, train: Callable[..., Split], root: Path) -> Dataset:
    folder = DatasetFolder(root)
    annotations = read_annotations(folder)
    training = train(folder, annotations)
    test, source = _test_of_1ka(folder, annotations, published)
    return assemble(
        name,
        published,
        folder,
        splits=[training, Split(name="test", ids=list(test), source=source)],
        captions=annotations.of(training.ids, training.source) | test,
        place=lambda id_: f"videos/all/{id_}.mp4",
        notes=[NO_VAL] if source.path.name.startswith(TEST_TABLE) else [NO_VAL, OTHER_QUERIES],
    )


def _train_9k(folder: DatasetFolder, _: Annotations) -> Split:
    return _listed(folder, "train", MSRVTT_9K, "MSRVTT_train.9k.csv", "train_list_jsfusion.txt")


def _train_7k(folder: DatasetFolder, annotations: Annotations) -> Split:
    """The list, or else the official train and validation splits, which are the same videos."""
    if folder.find("MSRVTT_train.7k.csv"):
        return _listed(folder, "train", MSRVTT_7K, "MSRVTT_train.7k.csv")
    train, val, _ = _official(folder, annotations, MSRVTT_7K)
    return Split(name="train", ids=[*train.ids, *val.ids], source=train.source)


def _official(folder: DatasetFolder, annotations: Annotations, published: Published) -> list[Split]:
    """The official splits: from lists, or as the captions' file has them."""
    lists = {
        split: folder.find(*(name.format(split) for name in FULL)) for split in MSRVTT_FULL.splits
    }
    if not all(lists.values()) and any(annotations.official.values()):
        return [
            Split(name=split, ids=ids, source=annotations.source)
            for split, ids in annotations.official.items()
        ]
    for split, source in lists.items():
        if source is None:
            raise MissingError(
                f"{printable(folder.root)} holds no {FULL[0].format(split)}, and "
                f"{annotations.source} does not say which videos are in which split: it should "
                f"hold {published.holds}"
            )
    return [
        _listed(folder, split, published, *(name.format(split) for name in FULL)) for split in lists
    ]


def _listed(folder: DatasetFolder, split: str, published: Published, *names: str) -> Split:
    """A split from a list: a table of one column, or an id a line."""
    source = folder.require(*names, holds=published.holds)
    if source.suffix != ".csv":
        return Split(name=split, ids=read_ids(source), source=source)
    rows = read_table(source, ["video_id"])
    ids = once_each(((line, id_.strip()) for line, (id_,) in rows), source)
    return Split(name=split, ids=ids, source=source)


def _test_of_1ka(
    folder: DatasetFolder, annotations: Annotations, published: Published
) -> tuple[dict[str, list[str]], Source]:
    """The query of each test video: as the table has it, or by its number among the captions.

    A sentence of the table is never looked up among the captions: 12 are not there.
    """
    if table := folder.find(TEST_TABLE):
        rows = list(read_table(table, ["key", "vid_key", "video_id", "sentence"]))
        for line, (*_, id_, sentence) in rows:
            if not id_.strip() or not sentence.strip():
                raise wrong(
                    table, "its video_id or sentence is blank", "each row has both", line=line
                )
        ids = once_each(((line, id_.strip()) for line, (*_, id_, _s) in rows), table)
        queries = [sentence for _, (*_, sentence) in rows]
        return {id_: [query] for id_, query in zip(ids, queries, strict=True)}, table
    source = folder.require(TEST_TABLE, TEST_LIST, holds=published.holds)
    index = folder.require(TEST_TABLE, TEST_INDEX, holds=published.holds)
    numbers, ids = read_pickle(index), read_ids(source)
    captions = annotations.of(ids, source)
    return {id_: [_numbered(captions[id_], numbers, id_, index)] for id_ in ids}, source


def _numbered(captions: Sequence[str], numbers: object, id_: str, index: Source) -> str:
    number = field_of(numbers, id_, index, "it")
    if type(number) is not int or not 0 <= number < len(captions):
        raise wrong(
            index,
            f"the caption of {id_!r} is number {number!r:.60}",
            f"it should be a whole number from 0 to {len(captions) - 1}",
        )
    return captions[number]


def load_msrvtt_full(root: Path) -> Dataset:
    """The official splits; every caption of val and test is a query.

    Raises:
        MissingError: the captions are not there.
        ConfigError: a file is malformed.
    """
    folder = DatasetFolder(root)
    annotations = read_annotations(folder)
    splits = _official(folder, annotations, MSRVTT_FULL)
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
    """The splits of Miech; the first caption of a test video is its query.

    Raises:
        MissingError: a file is not there.
        ConfigError: a file is malformed.
    """
    folder = DatasetFolder(root)
    annotations = read_annotations(folder)
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
