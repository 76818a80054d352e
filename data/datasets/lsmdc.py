"""LSMDC: short clips of films with the sentences that describe them to the blind."""

from pathlib import Path

from vidret.data.datasets.assembling import (
    Count,
    Published,
    Split,
    add_captions,
    assemble,
)
from vidret.data.datasets.files import DatasetFolder
from vidret.data.datasets.reading import Source, read_captions_by_id, read_ids, read_lines, wrong
from vidret.data.samples import Dataset
from vidret.data.words import counted

TABLES = {
    "train": "LSMDC16_annos_training.csv",
    "val": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",  # so it is called
}
COLUMNS = "clip, start and end aligned, start and end extracted, sentence"
LSMDC = Published(
    title="118,081 clips of 202 films, most with one sentence",
    protocol="lsmdc-1k",
    splits={
        "train": Count(videos=None, captions=101_079),
        "val": Count(videos=None, captions=7_408),
        "test": Count(videos=1000, captions=1000),
    },
    layouts=(
        f"{', '.join(TABLES.values())} (MPII)",
        "train_list.txt, val_list.txt, test_list.txt and raw-captions.pkl (Collaborative Experts)",
    ),
    videos="FILM/FILM_HH.MM.SS.mmm-HH.MM.SS.mmm.avi",
    sound="films have sound; nobody published how many clips keep it",
    gaps=(
        "a clip may have several sentences: all are kept, as CLIP4Clip does",
        "papers train on 101,079 sentences, or on 101,046 where clips were missing; X-Pool leaves "
        "out 1012_Unbreakable_00.05.16.065-00.05.21.941, and EMCL three other clips",
        "files with the suffix _someone have SOMEONE for every name: retrieval papers read those "
        "without",
    ),
    terms="personal permission of MPII; neither clips nor sentences may be passed on",
    source="the LSMDC page of MPII, on request",
)


def load_lsmdc(root: Path) -> Dataset:
    """Read the three tables, or lists and captions.

    Raises:
        MissingError: a table is not there.
        ConfigError: one of them is malformed.
    """
    folder = DatasetFolder(root)
    captions: dict[str, list[str]] = {}
    splits = []
    if folder.find(TABLES["test"]) is None and (texts := folder.find("raw-captions.pkl")):
        captions = read_captions_by_id(texts)
        for split in TABLES:
            source = folder.require(f"{split}_list.txt", holds=LSMDC.layouts[-1])
            splits.append(Split(name=split, ids=read_ids(source), source=source))
    else:
        for split, table in TABLES.items():
            source = folder.require(table, holds="; or ".join(LSMDC.layouts))
            found = _sentences(source)
            splits.append(Split(name=split, ids=list(found), source=source))
            add_captions(captions, found, source)
    return assemble("lsmdc", LSMDC, folder, splits=splits, captions=captions, place=_place_of)


def _sentences(source: Source) -> dict[str, list[str]]:
    """The sentences of each clip; quotes are quotes here, and only a tab divides fields."""
    sentences: dict[str, list[str]] = {}
    for line in read_lines(source):
        fields = line.text.split("\t")
        if len(fields) != 6 or not fields[0].strip() or not fields[5].strip():
            raise wrong(
                source,
                f"it has {counted(len(fields), 'field')}, the first of them {fields[0]!r:.60}",
                f"each line has six, divided by tabs: {COLUMNS}",
                line=line.number,
            )
        sentences.setdefault(fields[0].strip(), []).append(fields[5].strip())
    return sentences


def _place_of(id_: str) -> str:
    """`1012_Unbreakable_00.05.16.065-...` lies in `1012_Unbreakable`."""
    return f"{id_.partition('.')[0][:-3]}/{id_}.avi"
