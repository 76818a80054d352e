"""MSVD: 1,970 short YouTube clips, 18 to 81 captions each, no sound."""

from pathlib import Path

from vidret.data.datasets.assembling import Count, Published, Split, assemble
from vidret.data.datasets.files import DatasetFolder
from vidret.data.datasets.reading import (
    Source,
    once_each,
    read_captions_by_id,
    read_ids,
    read_lines,
    wrong,
)
from vidret.data.errors import MissingError
from vidret.data.printable import printable
from vidret.data.samples import Dataset

MSVD = Published(
    title="1,970 YouTube clips of 2 to 60 s, 18 to 81 captions each",
    protocol="msvd-multi",
    splits={
        "train": Count(videos=1200, captions=48_774),
        "val": Count(videos=100, captions=4_290),
        "test": Count(videos=670, captions=27_763),
    },
    layouts=(
        "train_list.txt, val_list.txt, test_list.txt and captions_msvd.json (X-Pool)",
        "the three lists and raw-captions.pkl (CLIP4Clip, Collaborative Experts)",
        "the three lists, sents_{train,val,test}_lc_nopunc.txt and youtube_mapping.txt",
    ),
    videos="YouTubeClips/ID.avi; 46 ids begin with a dash",
    sound="none: the clips come without a sound track, so a head for sound learns nothing here",
    gaps=(
        "10,845 captions repeat another one of their own video; everyone keeps them",
        "one YouTube source is shared by train and val, none by train and test",
    ),
    terms="a research corpus of Microsoft; the videos belong to those who uploaded them",
    source="captions: Microsoft Research Video Description Corpus, or msvd_data.zip of CLIP4Clip; "
    "clips: YouTubeClips.tar of UT Austin",
)
SILENT = "the clips come without a sound track, so a head for sound has nothing to learn from them"
_SENTENCES = "sents_{}_lc_nopunc.txt"
_MAPPING = "youtube_mapping.txt"


def load_msvd(root: Path) -> Dataset:
    """Read the split lists and the captions, and look for each clip.

    Raises:
        MissingError: a list or the captions are not there.
        ConfigError: one of them is malformed.
    """
    folder = DatasetFolder(root)
    sources = {
        split: folder.require(f"{split}_list.txt", holds=MSVD.holds) for split in MSVD.splits
    }
    splits = [
        Split(name=name, ids=read_ids(source), source=source) for name, source in sources.items()
    ]
    return assemble(
        "msvd",
        MSVD,
        folder,
        splits=splits,
        captions=_captions(folder),
        place=lambda id_: f"YouTubeClips/{id_}.avi",
        notes=[SILENT],
    )


def _captions(folder: DatasetFolder) -> dict[str, list[str]]:
    names = ("captions_msvd.json", "raw-captions.pkl")
    if source := folder.find(*names):
        return read_captions_by_id(source)
    texts = {name: folder.find(name) for name in map(_SENTENCES.format, MSVD.splits)}
    if not any(texts.values()):
        raise MissingError(
            f"{printable(folder.root)} holds no {' or '.join(names)}: it should hold {MSVD.holds}"
        )
    ids = _ids_by_number(folder.require(_MAPPING, holds=MSVD.layouts[-1]))
    captions: dict[str, list[str]] = {}
    for name in texts:
        _add_sentences(folder.require(name, holds=MSVD.layouts[-1]), ids, captions)
    return captions


def _ids_by_number(mapping: Source) -> dict[str, str]:
    """`-4wsuPCjDBc_5_15 vid1`, a line."""
    pairs = [(line, line.text.split()) for line in read_lines(mapping)]
    for line, fields in pairs:
        if len(fields) != 2 or not fields[1].startswith("vid"):
            raise wrong(
                mapping,
                f"it is {line.text.strip()!r:.60}",
                "each line is a clip's id, a blank and its vidN",
                line=line.number,
            )
    clips = once_each(((line.number, clip) for line, (clip, _) in pairs), mapping)
    numbers = once_each(((line.number, number) for line, (_, number) in pairs), mapping)
    return dict(zip(numbers, clips, strict=True))


def _add_sentences(text: Source, ids: dict[str, str], captions: dict[str, list[str]]) -> None:
    """`vid1<TAB>a man is playing a flute`, a line."""
    lines = list(read_lines(text))
    if not lines:
        raise wrong(text, "it is empty", "it should have a line for each caption")
    for line in lines:
        number, tab, caption = line.text.partition("\t")
        if not tab or number not in ids:
            raise wrong(
                text,
                f"it is {line.text.strip()!r:.60}",
                f"each line is a vidN of {_MAPPING}, a tab and a caption",
                line=line.number,
            )
        captions.setdefault(ids[number], []).append(caption.strip())
