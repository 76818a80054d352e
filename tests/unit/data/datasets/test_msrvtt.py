import gzip
import json
import shutil
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from making.annotations import (
    FORMS,
    FROZEN_JSON,
    FROZEN_LISTS,
    MSRVTT_JSON,
    MSRVTT_TABLES,
    MSRVTT_TEXTS,
    in_words,
    paths_of,
    real_annotations,
    splits_of,
    texts_of,
    told_of,
    write_files,
)

from vidret.data.datasets.msrvtt import (
    load_msrvtt_1kb,
    load_msrvtt_7k,
    load_msrvtt_9k,
    load_msrvtt_full,
)
from vidret.data.errors import ConfigError, MissingError

pytestmark = pytest.mark.xdist_group("msrvtt")  # the real files are read once

CAPTIONS = {
    "the joined file": {"MSRVTT_data.json": MSRVTT_JSON},
    "the joined file, packed": {"MSRVTT_data.json.gz": MSRVTT_JSON},
    "the official zips": FORMS["msrvtt-full as published"].files,
    "the official files": {
        member: content
        for archive in FORMS["msrvtt-full as published"].files.values()
        for member, content in archive.items()
    },
    "Frozen in Time": {"annotation/MSR_VTT.json": FROZEN_JSON},
    "Collaborative Experts": {"structured-symlinks/raw-captions.pkl": in_words(MSRVTT_TEXTS)},
}
LOADERS = {"9k": load_msrvtt_9k, "7k": load_msrvtt_7k, "full": load_msrvtt_full}


@cache
def real(name):
    return LOADERS[name](real_annotations("msrvtt"))


@cache
def real_json():
    packed = real_annotations("msrvtt") / "MSRVTT_data.json.gz"
    return json.loads(gzip.decompress(packed.read_bytes()))


def real_test():
    """The query of each video of the real 1k-A."""
    texts = texts_of(real("9k"))
    return {id_: texts[id_][0] for id_ in splits_of(real("9k"))["test"]}


@pytest.mark.parametrize("form", CAPTIONS)
def test_every_form_of_the_captions_gives_the_same_dataset(tmp_path, form):
    root = write_files(tmp_path, {**MSRVTT_TABLES, **CAPTIONS[form]})
    dataset = load_msrvtt_9k(root)
    assert splits_of(dataset) == {"train": ["video0", "video1", "video2"], "test": ["video3"]}
    assert texts_of(dataset) == {
        "video0": ["a man sings", "a man sings"],
        "video1": ["a boat"],
        "video2": ["a car", " a red car "],
        "video3": ["it is raining outside"],
    }
    assert dataset.protocol == "msrvtt-1ka"


@pytest.mark.parametrize("form", CAPTIONS)
def test_the_query_of_a_list_is_the_caption_that_the_index_names(tmp_path, form):
    root = write_files(tmp_path, {**FROZEN_LISTS, **CAPTIONS[form]})
    assert texts_of(load_msrvtt_9k(root))["video3"] == ["it rains"]


def test_queries_that_papers_do_not_use_are_told(tmp_path):
    usual = write_files(tmp_path / "usual", {**MSRVTT_TABLES, "MSRVTT_data.json": MSRVTT_JSON})
    assert "papers use the table" not in told_of(load_msrvtt_9k(usual))
    other = write_files(tmp_path / "other", {**FROZEN_LISTS, "MSRVTT_data.json": MSRVTT_JSON})
    assert "papers use the table" in told_of(load_msrvtt_9k(other))


def test_the_files_that_were_read_are_told_and_no_others(tmp_path):
    root = write_files(tmp_path, {**FROZEN_LISTS, **MSRVTT_TABLES, "MSRVTT_data.json": MSRVTT_JSON})
    assert {Path(name).name for name in load_msrvtt_9k(root).sources} == {
        "MSRVTT_data.json",
        *MSRVTT_TABLES,
    }


def test_where_there_are_tables_and_lists_the_tables_count(tmp_path):
    root = write_files(tmp_path, {**FROZEN_LISTS, **MSRVTT_TABLES, "MSRVTT_data.json": MSRVTT_JSON})
    assert texts_of(load_msrvtt_9k(root))["video3"] == ["it is raining outside"]


def test_a_list_without_its_index_is_not_enough(tmp_path):
    lists = {name: content for name, content in FROZEN_LISTS.items() if not name.endswith(".pkl")}
    root = write_files(tmp_path, {**lists, "MSRVTT_data.json": MSRVTT_JSON})
    with pytest.raises(MissingError, match=r"no MSRVTT_JSFUSION_test\.csv or jsfusion_val_caption"):
        load_msrvtt_9k(root)


@pytest.mark.parametrize("number", [3, -1, True, "1", None, 1.0])
def test_an_index_beyond_the_captions_is_refused(tmp_path, number):
    name = "high-quality/structured-symlinks/jsfusion_val_caption_idx.pkl"
    root = FORMS["msrvtt-9k of Frozen in Time"].write(tmp_path, **{name: {"video3": number}})
    with pytest.raises(ConfigError, match=r"caption_idx\.pkl.*'video3' is number .*from 0 to 2"):
        load_msrvtt_9k(root)


def test_an_index_without_a_video_of_the_list_is_refused(tmp_path):
    name = "high-quality/structured-symlinks/jsfusion_val_caption_idx.pkl"
    root = FORMS["msrvtt-9k of Frozen in Time"].write(tmp_path, **{name: {"video4": 0}})
    with pytest.raises(ConfigError, match=r"caption_idx\.pkl.*has no 'video3'"):
        load_msrvtt_9k(root)


def test_7k_is_its_list_or_the_official_train_and_validation_splits(tmp_path):
    form = FORMS["msrvtt-7k of CLIP4Clip"]
    assert splits_of(load_msrvtt_7k(form.write(tmp_path / "a")))["train"] == ["video0", "video1"]
    root = form.write(tmp_path / "b", **{"MSRVTT_train.7k.csv": None})
    assert splits_of(load_msrvtt_7k(root))["train"] == ["video0", "video1", "video2"]


@pytest.mark.parametrize("form", CAPTIONS)
@pytest.mark.parametrize("lists", ["{}_list_full.txt", "MSRVTT_{}.full.csv"])
def test_the_full_splits_come_from_lists(tmp_path, form, lists):
    ids = {"train": ["video1", "video0"], "val": ["video2"], "test": ["video3"]}
    header = ["video_id"] if lists.endswith(".csv") else []
    files = {lists.format(split): [*header, *several] for split, several in ids.items()}
    dataset = load_msrvtt_full(write_files(tmp_path, {**CAPTIONS[form], **files}))
    assert splits_of(dataset) == ids
    assert texts_of(dataset) == MSRVTT_TEXTS
    assert dataset.protocol == "msrvtt-full"


@pytest.mark.parametrize("form", list(CAPTIONS)[:4])
def test_without_lists_the_official_files_say_the_split(tmp_path, form):
    assert splits_of(load_msrvtt_full(write_files(tmp_path, CAPTIONS[form]))) == {
        "train": ["video0", "video1"],
        "val": ["video2"],
        "test": ["video3"],
    }


@pytest.mark.parametrize("form", list(CAPTIONS)[4:])
def test_captions_that_do_not_say_the_split_need_lists(tmp_path, form):
    root = write_files(tmp_path, CAPTIONS[form])
    with pytest.raises(MissingError, match=r"no train_list_full\.txt, and .* does not say which"):
        load_msrvtt_full(root)


def test_the_query_of_1k_b_is_the_first_caption(tmp_path):
    root = FORMS["msrvtt-1kb of Collaborative Experts"].write(tmp_path)
    dataset = load_msrvtt_1kb(root)
    assert splits_of(dataset) == {"train": ["video0", "video1"], "test": ["video3"]}
    assert texts_of(dataset)["video3"] == ["rain"]
    assert dataset.protocol == "msrvtt-1kb"


@pytest.mark.parametrize("name", ["9k of CLIP4Clip", "1kb of Collaborative Experts"])
def test_that_there_is_no_validation_split_is_told(tmp_path, name):
    form = FORMS[f"msrvtt-{name}"]
    loader = load_msrvtt_9k if "9k" in name else load_msrvtt_1kb
    assert "has no validation split: papers pick" in told_of(loader(form.write(tmp_path)))


def test_one_of_the_two_official_files_is_not_enough(tmp_path):
    root = write_files(tmp_path, {**MSRVTT_TABLES, "test_videodatainfo.json": MSRVTT_JSON})
    with pytest.raises(MissingError, match=r"test_videodatainfo\.json without its other half"):
        load_msrvtt_9k(root)


def test_a_table_without_any_captions_is_told_what_is_wanted(tmp_path):
    with pytest.raises(MissingError, match=r"holds no captions: it should hold MSRVTT_data\.json"):
        load_msrvtt_9k(write_files(tmp_path, MSRVTT_TABLES))


def test_a_list_of_another_dataset_is_refused(tmp_path):
    table = ["video_id", "video0", "bQJQGoJF7_k_162_169", "eyhzdC936uk_15_27"]
    root = FORMS["msrvtt-9k of CLIP4Clip"].write(tmp_path, **{"MSRVTT_train.9k.csv": table})
    with pytest.raises(ConfigError, match=r"names bQJQGoJF7_k_162_169, .* \(2 of its 3 ids in"):
        load_msrvtt_9k(root)


def test_videos_lie_in_the_usual_folder(tmp_path):
    root = FORMS["msrvtt-9k of CLIP4Clip"].write(tmp_path)
    assert paths_of(load_msrvtt_9k(root))["video3"] == root / "videos" / "all" / "video3.mp4"


@pytest.mark.parametrize(
    ("name", "videos", "captions"),
    [
        ("9k", {"train": 9_000, "test": 1_000}, {"train": 180_000, "test": 1_000}),
        ("7k", {"train": 7_010, "test": 1_000}, {"train": 140_200, "test": 1_000}),
        (
            "full",
            {"train": 6_513, "val": 497, "test": 2_990},
            {"train": 130_260, "val": 9_940, "test": 59_800},
        ),
    ],
)
def test_the_real_files_give_the_published_counts(name, videos, captions):
    dataset = real(name)
    texts = texts_of(dataset)
    splits = splits_of(dataset)
    assert {split: len(ids) for split, ids in splits.items()} == videos
    assert {split: sum(len(texts[id_]) for id_ in ids) for split, ids in splits.items()} == captions
    unusual = [note for note in dataset.notes if "not found" not in note]
    assert all("no validation split" in note for note in unusual)


def test_every_real_video_has_twenty_captions():
    assert Counter(map(len, texts_of(real("full")).values())) == {20: 10_000}


def test_the_real_captions_come_in_the_order_of_the_sentences_which_is_not_that_of_the_videos():
    sentences = real_json()["sentences"]
    assert sentences[0]["video_id"] == "video2960"
    runs = [sentence["video_id"] for sentence in sentences[::20]]
    assert len(set(runs)) == 10_000
    assert all(sentences[at]["video_id"] == runs[at // 20] for at in range(len(sentences)))
    texts = texts_of(real("full"))
    for id_ in ("video2960", "video0", "video9999"):
        assert texts[id_] == [one["caption"] for one in sentences if one["video_id"] == id_]


def test_the_official_zips_and_the_joined_file_are_the_same_dataset(tmp_path):
    for path in real_annotations("msrvtt").glob("*.zip"):
        shutil.copyfile(path, tmp_path / path.name)
    official = load_msrvtt_full(tmp_path)
    assert texts_of(official) == texts_of(real("full"))
    assert splits_of(official) == splits_of(real("full"))


def test_9k_is_all_but_the_test_and_7k_is_the_official_train_and_validation():
    full, nine, seven = (splits_of(real(name)) for name in ("full", "9k", "7k"))
    everything = {id_ for ids in full.values() for id_ in ids}
    assert set(nine["train"]) == everything - set(nine["test"])
    assert set(seven["train"]) == {*full["train"], *full["val"]}
    assert seven["test"] == nine["test"]


def test_the_lists_of_collaborative_experts_are_the_same_sets_as_the_tables():
    real_files = real_annotations("msrvtt")
    nine = splits_of(real("9k"))
    train = (real_files / "train_list_jsfusion.txt").read_text().split()
    test = (real_files / "val_list_jsfusion.txt").read_text().split()
    assert set(train) == set(nine["train"])
    assert set(test) == set(nine["test"])
    assert test != nine["test"]


def test_real_captions_that_occur_more_than_once_in_their_own_video():
    texts = texts_of(real("full"))
    repeated = {
        split: sum(count > 1 for id_ in ids for count in Counter(texts[id_]).values())
        for split, ids in splits_of(real("full")).items()
    }
    assert repeated["train"] + repeated["val"] == 9_639
    assert repeated["test"] == 3_969


def test_real_captions_keep_their_blanks_and_their_letters():
    texts = [caption.text for caption in real("full").captions]
    assert sum(text != text.strip() for text in texts) == 1_266
    other = [text for text in texts if not text.isascii()]
    assert len(other) == 10
    assert sum(text[0] == "\N{CYRILLIC SMALL LETTER VE}" for text in other) == 1


def test_the_real_queries_of_1k_a_repeat_which_makes_ties():
    counts = Counter(real_test().values())
    assert len(counts) == 995
    assert sorted(count for count in counts.values() if count > 1) == [2, 2, 2, 3]


def test_the_real_queries_of_1k_a_are_not_all_among_the_captions():
    def plain(text):
        return " ".join(text.split())

    texts = texts_of(real("full"))
    queries = real_test()
    verbatim = [id_ for id_, query in queries.items() if query in texts[id_]]
    collapsed = [id_ for id_, query in queries.items() if plain(query) in map(plain, texts[id_])]
    assert (len(verbatim), len(collapsed), len(queries) - len(collapsed)) == (965, 988, 12)


def test_real_queries_of_1k_a_are_captions_of_the_9k_training():
    texts = texts_of(real("9k"))
    trained = {text for id_ in splits_of(real("9k"))["train"] for text in texts[id_]}
    assert sum(query in trained for query in real_test().values()) == 107


@pytest.mark.parametrize(("name", "shared"), [("9k", 372), ("7k", 0)])
def test_real_test_clips_share_their_source_with_training_clips(name, shared):
    sources = {video["video_id"]: video["url"] for video in real_json()["videos"]}
    splits = splits_of(real(name))
    trained = {sources[id_] for id_ in splits["train"]}
    assert sum(sources[id_] in trained for id_ in splits["test"]) == shared
