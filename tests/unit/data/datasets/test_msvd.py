import json
import re
import shutil
from collections import Counter, defaultdict

import pytest
from making.annotations import (
    FORMS,
    MSVD_IDS,
    MSVD_TEXTS,
    in_words,
    paths_of,
    real_annotations,
    splits_of,
    texts_of,
    told_of,
    write_files,
)

from vidret.data.datasets.msvd import load_msvd
from vidret.data.errors import MissingError

pytestmark = pytest.mark.xdist_group("msvd")  # the real files are read once

FORM_NAMES = ["msvd of X-Pool", "msvd of CLIP4Clip", "msvd in lines"]


@pytest.fixture
def root(tmp_path):
    return FORMS["msvd of X-Pool"].write(tmp_path)


@pytest.fixture(scope="module")
def real():
    return load_msvd(real_annotations("msvd"))


@pytest.fixture
def copy(tmp_path):
    """The real lists, and no captions."""
    real = real_annotations("msvd")
    for path in real.glob("*_list.txt"):
        shutil.copyfile(path, tmp_path / path.name)
    return tmp_path


def real_captions():
    return json.loads((real_annotations("msvd") / "captions_msvd.json").read_text())


@pytest.mark.parametrize("form", FORM_NAMES)
def test_every_form_gives_the_videos_by_split_in_the_order_of_the_lists(tmp_path, form):
    dataset = load_msvd(FORMS[form].write(tmp_path))
    assert splits_of(dataset) == MSVD_IDS
    assert dataset.protocol == "msvd-multi"


@pytest.mark.parametrize("form", FORM_NAMES)
def test_every_form_gives_all_captions_and_those_that_repeat_too(tmp_path, form):
    assert texts_of(load_msvd(FORMS[form].write(tmp_path))) == MSVD_TEXTS


def test_captions_are_named_after_their_video_and_their_place(root):
    assert [caption.id for caption in load_msvd(root).captions] == [
        "-4wsuPCjDBc_5_15#0",
        "_7KMZQEsJW4_205_208#0",
        "bQJQGoJF7_k_162_169#0",
        "bQJQGoJF7_k_162_169#1",
        "eyhzdC936uk_15_27#0",
        "eyhzdC936uk_15_27#1",
    ]


def test_a_pickle_of_python_2_is_read(root):
    (root / "captions_msvd.json").unlink()
    pairs = "".join(f"S'{id_}'\n(l(lS'a'\naS'dog'\naas" for ids in MSVD_IDS.values() for id_ in ids)
    (root / "raw-captions.pkl").write_bytes(f"(d{pairs}.".encode())
    assert {text for texts in texts_of(load_msvd(root)).values() for text in texts} == {"a dog"}


def test_it_is_said_that_there_is_no_sound_before_anything_is_decoded(root):
    assert "without a sound track" in told_of(load_msvd(root))


def test_captions_in_lines_need_the_mapping_and_every_split(tmp_path):
    form = FORMS["msvd in lines"]
    root = form.write(tmp_path / "a", **{"youtube_mapping.txt": None})
    with pytest.raises(MissingError, match=r"holds no youtube_mapping\.txt"):
        load_msvd(root)
    root = form.write(tmp_path / "b", **{"sents_val_lc_nopunc.txt": None})
    with pytest.raises(MissingError, match=r"holds no sents_val_lc_nopunc\.txt"):
        load_msvd(root)


def test_without_captions_their_files_are_named(tmp_path):
    root = FORMS["msvd of X-Pool"].write(tmp_path, **{"captions_msvd.json": None})
    with pytest.raises(MissingError, match=r"no captions_msvd\.json or raw-captions\.pkl: it sho"):
        load_msvd(root)


def test_clips_lie_where_the_archive_puts_them_until_they_are_found_elsewhere(root):
    usual = root / "YouTubeClips" / "-4wsuPCjDBc_5_15.avi"
    assert paths_of(load_msvd(root))["-4wsuPCjDBc_5_15"] == usual
    found = root / "videos" / "all" / "-4wsuPCjDBc_5_15.mp4"
    write_files(root, {str(found.relative_to(root)): b""})
    assert paths_of(load_msvd(root))["-4wsuPCjDBc_5_15"] == found


def test_the_real_files_give_the_published_counts_and_nothing_unusual(real):
    assert {split: len(ids) for split, ids in splits_of(real).items()} == {
        "train": 1200,
        "val": 100,
        "test": 670,
    }
    texts = texts_of(real)
    captions = {
        split: sum(len(texts[id_]) for id_ in ids) for split, ids in splits_of(real).items()
    }
    assert captions == {"train": 48_774, "val": 4_290, "test": 27_763}
    assert (min(map(len, texts.values())), max(map(len, texts.values()))) == (18, 81)
    assert len({caption.id for caption in real.captions}) == 80_827
    others = [note for note in real.notes if "not found" not in note and "sound" not in note]
    assert others == []


def test_the_real_captions_repeat_within_a_video_as_often_as_published(real):
    texts = texts_of(real)
    repeated = {
        split: sum(len(texts[id_]) - len(set(texts[id_])) for id_ in ids)
        for split, ids in splits_of(real).items()
    }
    assert repeated == {"train": 6_468, "val": 647, "test": 3_730}


def test_the_real_captions_are_plain_words(real):
    signs = set("".join(caption.text for caption in real.captions))
    assert signs <= set("abcdefghijklmnopqrstuvwxyz0123456789 ")
    lengths = Counter(len(caption.text.split()) for caption in real.captions)
    assert lengths[1] == 60
    assert max(lengths) == 45
    found = {caption.text for caption in real.captions}
    assert {"na", "disable by request", "a squirrel is eating a peanut in it s shell"} <= found


def test_the_real_ids_are_sources_with_seconds_and_many_begin_with_a_dash(real):
    ids = [video.id for video in real.videos]
    assert sum(id_.startswith("-") for id_ in ids) == 46
    assert sum(id_.startswith("_") for id_ in ids) == 33
    assert all(re.fullmatch(r".{11}_\d+_\d+", id_) for id_ in ids)


def test_one_real_source_is_shared_by_train_and_val_and_none_with_test(real):
    splits = defaultdict(set)
    for video in real.videos:
        splits[video.id.rsplit("_", 2)[0]].add(video.split)
    shared = [frozenset(several) for several in splits.values() if len(several) > 1]
    assert shared == [{"train", "val"}]


def test_the_real_captions_as_a_pickle_of_words_give_the_same_dataset(real, copy):
    write_files(copy, {"raw-captions.pkl": in_words(real_captions())})
    assert texts_of(load_msvd(copy)) == texts_of(real)


def test_the_real_captions_in_lines_give_the_same_ones_as_multisets(real, copy):
    mapping = (real_annotations("msvd") / "youtube_mapping.txt").read_text()
    numbers = dict(line.split() for line in mapping.splitlines())
    captions = real_captions()
    sentences = {
        f"sents_{split}_lc_nopunc.txt": [
            f"{numbers[id_]}\t{text}" for id_ in ids for text in sorted(captions[id_])
        ]
        for split, ids in splits_of(real).items()
    }
    write_files(copy, {**sentences, "youtube_mapping.txt": mapping})
    found, expected = texts_of(load_msvd(copy)), texts_of(real)
    assert {id_: Counter(texts) for id_, texts in found.items()} == {
        id_: Counter(texts) for id_, texts in expected.items()
    }


def test_the_lists_of_x_pool_which_end_in_a_line_end_are_the_same(real, copy):
    for path in copy.glob("*_list.txt"):
        path.write_text(f"{path.read_text()}\n")
    write_files(copy, {"captions_msvd.json": real_captions()})
    assert splits_of(load_msvd(copy)) == splits_of(real)
