import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from making.crowded import open_crowd, write_crowded_cache
from making.searchable import encode_query, searchable_fingerprint

from vidret.data.manifest import Removed, read_manifest, write_manifest
from vidret.data.samples import TextEmbeddings
from vidret.data.shards import write_caption_shard
from vidret.pipelines.searching import truth
from vidret.pipelines.searching.answers import Question

CAPTIONS = (
    ("v0017", "a red star on a beach"),
    ("v0200", "A dog  barks"),
    ("v0040", "a dog barks"),
    ("v0041", "a dog barks"),
    ("v0041", "A DOG barks "),
    ("v0300", "Eine Straße\tim Regen"),
    ("v0005", "removed since"),
    ("nowhere", "of a video that is not there"),
)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """The crowd, of which some videos have captions in two shards."""
    work = tmp_path_factory.mktemp("truth")
    folder = write_crowded_cache(work / "cache" / "crowd")
    digest = searchable_fingerprint(dataset="crowd").features_digest
    numbered = list(enumerate(CAPTIONS))
    shards = tuple(
        write_caption_shard(folder / f"captions-0000{at}.h5", list(map(a_caption, some)), digest)
        for at, some in enumerate((numbered[:3], numbered[3:]))
    )
    manifest = read_manifest(folder)
    removed = Removed(captions=("c6",))
    write_manifest(folder, replace(manifest, shards=manifest.shards + shards, removed=removed))
    return work


def a_caption(numbered):
    number, (video, text) = numbered
    zeros = np.zeros((1, searchable_fingerprint().dim), np.float32)
    return TextEmbeddings(
        id=f"c{number}",
        video_id=video,
        text=text,
        kind="event",
        sentence=zeros[0],
        words=zeros,
        tokens=np.arange(1),
    )


@pytest.fixture(scope="module")
def searcher(work):
    return open_crowd(work)


def counted_ranks(searcher, text, names):
    """The rank of some videos in plain numpy: one more than there are better ones."""
    features = searcher.corpus.features
    frames = np.asarray(features.frames[:], np.float64)
    frames /= np.linalg.norm(frames, axis=2, keepdims=True)
    means = frames.sum(1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    scores = dict(zip(features.video_ids, means @ encode_query(text).sentence, strict=True))
    return {name: 1 + sum(other > scores[name] for other in scores.values()) for name in names}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a red star on a beach", ["v0017"]),
        ("a dog barks", ["v0040", "v0041", "v0200"]),
        ("eine STRASSE im regen", ["v0300"]),
    ],
)
def test_the_rank_is_counted_over_the_scores_of_all(searcher, text, names):
    found = searcher.truth(Question(text=text, top=10))
    assert {hit.video_id: hit.rank for hit in found.hits} == counted_ranks(searcher, text, names)
    assert (found.videos, found.left_out, found.searched) == (len(names), 0, 320)
    assert [hit.rank for hit in found.hits] == sorted(hit.rank for hit in found.hits)


def test_the_right_video_is_the_hit_that_a_search_shows(searcher):
    question = Question(text="a dog barks", top=320)
    (answer,) = searcher.search([question])
    shown = {hit.id: hit for hit in answer.hits}
    found = searcher.truth(question)
    assert [shown[hit.id] for hit in found.hits] == list(found.hits)
    assert found.hits[-1].rank > 20


def test_case_and_white_space_do_not_matter_and_all_else_does(searcher):
    assert searcher.truth(Question(text="  A\tDog\n barks")).videos == 3
    for other in ("a dog bark", "a dog barks.", "dog barks", "adogbarks"):
        assert searcher.truth(Question(text=other)).videos == 0


def test_a_text_that_is_no_caption_has_no_right_video(searcher):
    found = searcher.truth(Question(text="a cat sleeps"))
    assert (found.videos, found.left_out, found.hits) == (0, 0, ())


def test_captions_and_videos_that_left_the_dataset_count_no_more(searcher):
    for text in ("removed since", "of a video that is not there"):
        assert searcher.truth(Question(text=text)).videos == 0


def test_the_rank_is_that_among_what_the_filters_let_in(searcher):
    text = "a dog barks"
    found = searcher.truth(Question(text=text, where=("odd/**",)))
    (hit,) = found.hits
    assert (hit.video_id, found.videos, found.left_out, found.searched) == ("v0041", 3, 2, 160)
    (answer,) = searcher.search([Question(text=text, where=("odd/**",), top=160)])
    (rank,) = [one.rank for one in answer.hits if one.video_id == "v0041"]
    assert hit.rank == rank


def test_no_more_right_videos_are_shown_than_were_asked_for(searcher):
    found = searcher.truth(Question(text="a dog barks", top=2))
    assert (found.videos, len(found.hits)) == (3, 2)
    all_of_them = searcher.truth(Question(text="a dog barks")).hits
    assert found.hits == all_of_them[:2]


def test_an_index_does_not_shorten_what_is_ranked(work, searcher):
    looked_up = open_crowd(work, exhaustive_below=0)
    question = Question(text="a dog barks")
    assert looked_up.truth(question).hits == searcher.truth(question).hits


def test_no_caption_is_read_before_somebody_asks_and_then_once(work, monkeypatch):
    read = []
    usual = truth.read_caption_texts

    def reading(path):
        read.append(Path(path).name)
        return usual(path)

    monkeypatch.setattr(truth, "read_caption_texts", reading)
    fresh = open_crowd(work)
    fresh.search([Question(text="a dog barks")])
    assert read == []
    for _ in range(2):
        fresh.truth(Question(text="a dog barks"))
    assert read == ["captions-00000.h5", "captions-00001.h5"]


def test_the_captions_of_a_changed_cache_are_read_anew(tmp_path, work):
    changing = tmp_path / "work"
    shutil.copytree(work, changing)
    fresh = open_crowd(changing)
    assert fresh.truth(Question(text="removed since")).videos == 0
    folder = changing / "cache" / "crowd"
    write_manifest(folder, replace(read_manifest(folder), removed=Removed()))
    assert fresh.refresh()
    assert fresh.truth(Question(text="removed since")).videos == 1
