"""MSVD: 1,970 short YouTube clips, 18 to 81 captions each, no sound."""

from pathlib import Path

from vidret.data.datasets.assembling import Count, Published, Split, assemble
from vidret.data.datasets.files import DatasetFolder
from vidret.data.datasets.reading import (
    Source,
    read_captions_by_id,
    read_ids,
    read_lines,
    wrong,
)
from vidret.data.errors import MissingError
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
    splits = [Split(name=name, ids=read_ids(source), source=source) for name, source in sources.items()]
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
    texts = [folder.find(_SENTENCES.format(split)) for split in MSVD.splits]
    mapping = folder.find(_MAPPING)
    if mapping is None or not all(texts):
        raise MissingError(
            f"{folder.root} holds no {' or '.join(names)}: it should hold {MSVD.holds}"
        )
    ids = _ids_by_number(mapping)
    captions: dict[str, list[str]] = {}
    for text in texts:
        if text is not None:
            _add_sentences(text, ids, captions)
    return captions


def _ids_by_number(mapping: Source) -> dict[str, str]:
    """`-4wsuPCjDBc_5_15 vid1`, a line."""
    ids: dict[str, str] = {}
    for line in read_lines(mapping):
        fields = line.text.split()
        if len(fields) != 2 or fields[1] in ids:
            raise wrong(
                mapping,
                f"it is {line.text.strip()!r:.100}",
                "each line is a clip's id, a blank and its own vidN",
                line=line.number,
            )
        ids[fields[1]] = fields[0]
    return ids


def _add_sentences(text: Source, ids: dict[str, str], captions: dict[str, list[str]]) -> None:
    """`vid1<TAB>a man is playing a flute`, a line."""
    for line in read_lines(text):
        number, tab, caption = line.text.partition("\t")
        if not tab or number not in ids:
            raise wrong(
                text,
                f"it begins with {line.text.strip()!r:.60}",
                f"each line is a vidN of {_MAPPING}, a tab and a caption",
                line=line.number,
            )
        captions.setdefault(ids[number], []).append(caption.strip())
