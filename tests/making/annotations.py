"""Small annotation files in the forms in which the published datasets come, and the real ones.

A `Form` is a folder that loads: tests change one of its files to see what a change does.
"""

import gzip
import io
import json
import os
import pickle
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vidret.data.samples import Dataset

ANNOTATIONS = Path(
    os.environ.get("VIDRET_ANNOTATIONS", Path(__file__).parents[3] / "shared" / "annotations")
)


@dataclass(frozen=True)
class Form:
    """What a repository keeps of a dataset.

    Args:
        dataset: its name in the catalog.
        files: by name: bytes and texts as they are, everything else as JSON or pickle by the name.
    """

    dataset: str
    files: dict[str, Any]

    def write(self, root: Path, **changed: Any) -> Path:
        """All files into a folder; `changed` has others in their place, or None for none."""
        return write_files(root, {**self.files, **changed})


def write_files(root: Path, files: dict[str, Any]) -> Path:
    """Files by their relative names."""
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if content is not None:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(name, content))
    return root


def encoded(name: str, content: Any) -> bytes:
    """The bytes of a file: its name says the form of what is no text yet."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return content.encode()
    if name.endswith(".pkl"):
        return pickle.dumps(content)
    if name.endswith(".gz"):
        return gzip.compress(encoded(name[:-3], content))
    if name.endswith(".zip"):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for member, inner in content.items():
                archive.writestr(member, encoded(member, inner))
        return packed.getvalue()
    if name.endswith((".txt", ".csv")):
        return "".join(f"{line}\n" for line in content).encode()
    return json.dumps(content).encode()


def real_annotations(name: str) -> Path:
    """The folder of the real files of a dataset; the test is skipped where they are not at hand."""
    if not (ANNOTATIONS / name).is_dir():
        pytest.skip(f"the annotation files of {name} are not in {ANNOTATIONS / name}")
    return ANNOTATIONS / name


def texts_of(dataset: Dataset) -> dict[str, list[str]]:
    """The captions of each video that has any."""
    texts = defaultdict(list)
    for caption in dataset.captions:
        texts[caption.video_id].append(caption.text)
    return dict(texts)


def splits_of(dataset: Dataset) -> dict[str, list[str]]:
    """The ids of each split, in their order."""
    ids = defaultdict(list)
    for video in dataset.videos:
        ids[video.split].append(video.id)
    return dict(ids)


def paths_of(dataset: Dataset) -> dict[str, Path]:
    """Where each video lies."""
    return {video.id: video.path for video in dataset.videos}


def told_of(dataset: Dataset) -> str:
    """All notes."""
    return "\n".join(dataset.notes)


MSVD_IDS = {
    "train": ["-4wsuPCjDBc_5_15", "_7KMZQEsJW4_205_208"],
    "val": ["bQJQGoJF7_k_162_169"],
    "test": ["eyhzdC936uk_15_27"],
}
MSVD_TEXTS = {
    "eyhzdC936uk_15_27": ["a dog barks", "a dog barks"],
    "-4wsuPCjDBc_5_15": ["it s a shell"],
    "_7KMZQEsJW4_205_208": ["na"],
    "bQJQGoJF7_k_162_169": ["a cat runs", "a cat is running"],
}
MSVD_LISTS = {f"{split}_list.txt": "\n".join(ids) for split, ids in MSVD_IDS.items()}
MSVD_NUMBERS = {id_: f"vid{number}" for number, id_ in enumerate(MSVD_TEXTS, start=1)}


def msvd_sentences(split: str) -> list[str]:
    """`sents_{split}_lc_nopunc.txt`."""
    return [f"{MSVD_NUMBERS[id_]}\t{text}" for id_ in MSVD_IDS[split] for text in MSVD_TEXTS[id_]]


def in_words(texts: dict[str, list[str]]) -> dict[str, list[list[str]]]:
    """As Collaborative Experts keep captions."""
    return {id_: [text.split(" ") for text in several] for id_, several in texts.items()}


MSRVTT_OFFICIAL = {"train": ["video0", "video1"], "validate": ["video2"], "test": ["video3"]}
MSRVTT_TEXTS = {
    "video2": ["a car", " a red car "],
    "video0": ["a man sings", "a man sings"],
    "video3": ["rain", "it rains", "вeautiful"],
    "video1": ["a boat"],
}


def msrvtt_json(*splits: str) -> dict[str, Any]:
    """The videos of some official splits with their sentences, in another order than theirs."""
    ids = [id_ for split in splits for id_ in MSRVTT_OFFICIAL[split]]
    sentences = [(id_, text) for id_, texts in MSRVTT_TEXTS.items() for text in texts]
    return {
        "info": {"year": "2016"},
        "videos": [
            {
                "category": 9,
                "url": f"https://www.youtube.com/watch?v={id_}",
                "video_id": id_,
                "start time": 137.72,
                "end time": 149.44,
                "split": split,
                "id": int(id_.removeprefix("video")),
            }
            for split in splits
            for id_ in MSRVTT_OFFICIAL[split]
        ],
        "sentences": [
            {"caption": text, "video_id": id_, "sen_id": number}
            for number, (id_, text) in enumerate(sentences)
            if id_ in ids
        ],
    }


MSRVTT_JSON = msrvtt_json("train", "validate", "test")
MSRVTT_TEST = [
    "key,vid_key,video_id,sentence",
    "ret0,msr3,video3,it is raining outside",
]
MSRVTT_TABLES = {
    "MSRVTT_train.9k.csv": ["video_id", "video0", "video1", "video2"],
    "MSRVTT_JSFUSION_test.csv": MSRVTT_TEST,
}
FROZEN_JSON = {
    "images": [{"id": id_} for id_ in MSRVTT_TEXTS],
    "annotations": [
        {"caption": sentence["caption"], "id": number, "image_id": sentence["video_id"]}
        for number, sentence in enumerate(MSRVTT_JSON["sentences"])
    ],
}
FROZEN_LISTS = {
    "high-quality/structured-symlinks/train_list_jsfusion.txt": "video0\nvideo1\nvideo2",
    "high-quality/structured-symlinks/val_list_jsfusion.txt": "video3",
    "high-quality/structured-symlinks/jsfusion_val_caption_idx.pkl": {"video3": 1},
}

DIDEMO_IDS = {
    "train": ["1@N00_1_a.mov", "2@N00_2_b."],
    "val": ["3@N00_3_c.3gp"],
    "test": ["4@N00_4_d.avi", "5@N00_5_e.null"],
}


def didemo_entry(number: int, video: str, text: str, *times: tuple[int, int]) -> dict[str, Any]:
    """One row of `{split}_data.json`."""
    return {
        "num_segments": 6,
        "description": text,
        "dl_link": f"https://www.flickr.com/video_download.gne?id={number}",
        "times": [list(span) for span in times or [(0, 0)] * 4],
        "video": video,
        "annotation_id": number,
    }


DIDEMO_ENTRIES = {
    "train": [didemo_entry(1, "1@N00_1_a.mov", "a dog"), didemo_entry(2, "2@N00_2_b.", "a cat")],
    "val": [didemo_entry(3, "3@N00_3_c.3gp", "a boat")],
    "test": [
        didemo_entry(4, "4@N00_4_d.avi", "the end", (4, 5), (4, 5), (0, 0), (1, 1)),
        didemo_entry(5, "5@N00_5_e.null", "a Tree\n"),
        didemo_entry(6, "4@N00_4_d.avi", "first", (0, 1), (1, 1), (0, 1), (5, 5)),
        didemo_entry(7, "6@N00_6_f.mov", "in no list"),
        didemo_entry(8, "4@N00_4_d.avi", "between", (2, 2), (0, 0), (2, 2), (0, 0)),
    ],
}
DIDEMO_DATA = {f"{split}_data.json": entries for split, entries in DIDEMO_ENTRIES.items()}
DIDEMO_LISTS = {f"{split}_list.txt": "\n".join(ids) for split, ids in DIDEMO_IDS.items()}
PREPARED = {
    "didemo_ret_train.json": [{"video": "1@N00_1_a.mov.mp4", "caption": ["a dog", "it runs"]}],
    "didemo_ret_val.json": [{"video": "3@N00_3_c.3gp.mp4", "caption": ["a boat"]}],
    "didemo_ret_test.json": [{"video": "4@N00_4_d.avi.mp4", "caption": "first the end"}],
}

LSMDC_TRAIN = "0001_A_Film_00.00.51.926-00.00.54.129"
LSMDC_VAL = "0002_Other_00.01.00.000-00.01.02.500"
LSMDC_TEST = "1012_Unbreakable_00.05.16.065-00.05.21.941"


def lsmdc_row(clip: str, sentence: str) -> str:
    """One row of the six columns."""
    return "\t".join((clip, "00:00:51.9", "00:00:54.1", "00:00:51.9", "00:00:54.1", sentence))


LSMDC_TABLES = {
    "LSMDC16_annos_training.csv": [
        lsmdc_row(LSMDC_TRAIN, 'SOMEONE says "no, never'),
        lsmdc_row(LSMDC_TRAIN, "He leaves, slowly."),
    ],
    "LSMDC16_annos_val.csv": [lsmdc_row(LSMDC_VAL, "A door.")],
    "LSMDC16_challenge_1000_publictect.csv": [lsmdc_row(LSMDC_TEST, "A train stops.")],
}
LSMDC_LISTS = {
    "train_list.txt": LSMDC_TRAIN,
    "val_list.txt": LSMDC_VAL,
    "test_list.txt": LSMDC_TEST,
}
LSMDC_WORDS = {
    LSMDC_TRAIN: ["he", "leaves", "slowly"],
    LSMDC_VAL: ["a", "door"],
    LSMDC_TEST: ["a", "train", "stops"],
}

ACTIVITYNET_TRAIN = {
    "v_-aa": {"duration": 82.7, "timestamps": [[0, 3]], "sentences": ["A man.", " He sings."]},
    "v_bb": {"duration": 9, "timestamps": [[5, 3]], "sentences": ["Snow."]},
}
ACTIVITYNET_TEST = {"v_cc": {"duration": 9, "timestamps": [[0, 3]], "sentences": ["A dog."]}}
ACTIVITYNET = {"train.json": ACTIVITYNET_TRAIN, "val_1.json": ACTIVITYNET_TEST}

VATEX_IDS = {
    "train": ["Ptf_2VRj-V0_000122_000132"],
    "val": ["3c0hLqxvSSI_000000_000010"],
    "test": ["-f2PPeXQrUA_000000_000010"],
}
VATEX_LISTS = {f"{split}_list.txt": ids for split, ids in VATEX_IDS.items()}
VATEX_TEXTS = {ids[0]: [f"{split} one", f"{split} two"] for split, ids in VATEX_IDS.items()}


def vatex_official(*splits: str) -> list[dict[str, Any]]:
    """An official file with the clips of some splits."""
    return [
        {"videoID": id_, "enCap": VATEX_TEXTS[id_], "chCap": ["一只狗"]}
        for split in splits
        for id_ in VATEX_IDS[split]
    ]


VATEX_OFFICIAL = {
    "vatex_training_v1.0.json": vatex_official("train"),
    "vatex_validation_v1.0.json": vatex_official("test", "val"),
}

FORMS = {
    "msvd of X-Pool": Form("msvd", {**MSVD_LISTS, "captions_msvd.json": MSVD_TEXTS}),
    "msvd of CLIP4Clip": Form("msvd", {**MSVD_LISTS, "raw-captions.pkl": in_words(MSVD_TEXTS)}),
    "msvd in lines": Form(
        "msvd",
        {
            **MSVD_LISTS,
            **{f"sents_{split}_lc_nopunc.txt": msvd_sentences(split) for split in MSVD_IDS},
            "youtube_mapping.txt": [f"{id_} {number}" for id_, number in MSVD_NUMBERS.items()],
        },
    ),
    "msrvtt-9k of CLIP4Clip": Form("msrvtt-9k", {**MSRVTT_TABLES, "MSRVTT_data.json": MSRVTT_JSON}),
    "msrvtt-7k of CLIP4Clip": Form(
        "msrvtt-7k",
        {
            "MSRVTT_train.7k.csv": ["video_id", "video0", "video1"],
            "MSRVTT_JSFUSION_test.csv": MSRVTT_TEST,
            "MSRVTT_data.json": MSRVTT_JSON,
        },
    ),
    "msrvtt-9k of Frozen in Time": Form(
        "msrvtt-9k", {**FROZEN_LISTS, "annotation/MSR_VTT.json": FROZEN_JSON}
    ),
    "msrvtt-full as published": Form(
        "msrvtt-full",
        {
            "train_val_annotation.zip": {
                "train_val_videodatainfo.json": msrvtt_json("train", "validate")
            },
            "test_videodatainfo.json.zip": {"test_videodatainfo.json": msrvtt_json("test")},
        },
    ),
    "msrvtt-full of EMCL": Form(
        "msrvtt-full",
        {
            "MSRVTT_data.json": MSRVTT_JSON,
            "MSRVTT_train.full.csv": ["video_id", "video0", "video1"],
            "MSRVTT_val.full.csv": ["video_id", "video2"],
            "MSRVTT_test.full.csv": ["video_id", "video3"],
        },
    ),
    "msrvtt-1kb of Collaborative Experts": Form(
        "msrvtt-1kb",
        {
            "raw-captions.pkl": in_words(MSRVTT_TEXTS),
            "train_list_miech.txt": "video0\nvideo1",
            "test_list_miech.txt": "video3\n",
        },
    ),
    "didemo of CLIP4Clip": Form("didemo", {**DIDEMO_LISTS, **DIDEMO_DATA}),
    "didemo by time": Form("didemo-by-time", {**DIDEMO_LISTS, **DIDEMO_DATA}),
    "didemo of VindLU": Form("didemo-by-time", PREPARED),
    "lsmdc of MPII": Form("lsmdc", LSMDC_TABLES),
    "lsmdc of Collaborative Experts": Form(
        "lsmdc", {**LSMDC_LISTS, "raw-captions.pkl": LSMDC_WORDS}
    ),
    "activitynet of CLIP4Clip": Form(
        "activitynet",
        {
            **ACTIVITYNET,
            "train_ids.json": list(ACTIVITYNET_TRAIN),
            "val_ids.json": list(ACTIVITYNET_TEST),
        },
    ),
    "vatex as published": Form("vatex", {**VATEX_LISTS, **VATEX_OFFICIAL}),
    "vatex of EMCL": Form(
        "vatex",
        {
            **VATEX_LISTS,
            "vatex_data.json": {id_: {"enCap": texts} for id_, texts in VATEX_TEXTS.items()},
        },
    ),
    "vatex of TS2-Net": Form("vatex", {**VATEX_LISTS, "ref_captions.json": VATEX_TEXTS}),
}
