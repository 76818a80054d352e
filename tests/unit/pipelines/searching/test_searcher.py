import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, datetime

import numpy as np
import pytest
from making.crowded import CROWD, SHOWN, numbered, open_crowd, write_crowded_cache
from making.planted import write_planted_cache
from making.searchable import FRAMES, SENTENCES, encode_query, write_searchable_cache

from vidret.data.errors import ConfigError, MismatchError, MissingError
from vidret.data.index.store import INDEX
from vidret.pipelines.config.fitting import TrainConfig
from vidret.pipelines.indexing.building import build_index, update_index
from vidret.pipelines.indexing.places import index_folder
from vidret.pipelines.searching.answers import Question, UnknownVideoError
from vidret.pipelines.searching.searcher import Searcher, open_searcher
from vidret.pipelines.train_heads import run_train


def ask(searcher, text=SENTENCES[0], **changes):
    (answer,) = searcher.search([Question(text=text, **changes)])
    return answer


def told(answer):
    return [(hit.video_id, pytest.approx(hit.score, abs=1e-6)) for hit in answer.hits]


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    """A searcher with a head that hears."""
    work = tmp_path_factory.mktemp("heard")
    cache = write_searchable_cache(work / "cache" / "searchable")
    config = TrainConfig(work=work, cache=cache, epochs=1, audio_epochs=3, batch_size=2, name="run")
    run_train(config, on_progress=lambda _: None)
    return open_searcher(work=work, device="cpu", offline=True)


@pytest.mark.parametrize(("number", "sentence"), SHOWN.items())
def test_a_shortlist_finds_what_shows_the_sentence(indexed, everyone, number, sentence):
    short, full = ask(indexed, SENTENCES[sentence]), ask(everyone, SENTENCES[sentence])
    assert (short.exhaustive, full.exhaustive) == (False, True)
    assert short.hits[0].video_id == full.hits[0].video_id == f"v{number:04d}"
    assert told(short) == told(full)
    assert short.searched == full.searched == CROWD


@pytest.mark.parametrize(("number", "sentence"), SHOWN.items())
def test_a_head_that_weighs_frames_alike_finds_the_moment_by_likeness(everyone, number, sentence):
    hit = ask(everyone, SENTENCES[sentence], top=1).hits[0]
    second = 2.0 * (number % FRAMES)
    assert (hit.start, hit.peak, hit.end) == (second, second + 1, second + 2)
    frames = everyone.corpus.features.frames[number].astype(float)
    frames /= np.linalg.norm(frames, axis=1, keepdims=True)
    asked = encode_query(SENTENCES[sentence]).sentence
    heights = np.exp(
        everyone.corpus.cache.fingerprint.logit_scale * frames @ asked / np.linalg.norm(asked)
    )
    assert hit.strip == pytest.approx(heights / heights.sum(), abs=1e-6)


def test_an_exhaustive_question_needs_no_index(indexed, everyone):
    answer = ask(indexed, exhaustive=True, top=CROWD)
    assert answer.exhaustive
    assert told(answer) == told(ask(everyone, top=CROWD))


def test_a_huge_top_shows_every_video_once(indexed):
    answer = ask(indexed, top=10**9)
    assert len({hit.id for hit in answer.hits}) == CROWD
    assert [hit.rank for hit in answer.hits] == list(range(1, CROWD + 1))


def test_asked_together_or_alone_the_answers_are_the_same(heard):
    questions = [Question(text=text, top=3) for text in (*SENTENCES, SENTENCES[0])]
    together = heard.search(questions)
    for question, answer in zip(questions, together, strict=True):
        assert told(answer) == told(heard.search([question])[0])
    assert heard.search([]) == []


def test_many_threads_get_the_answers_that_one_does(heard):
    expected = {text: told(ask(heard, text)) for text in SENTENCES}
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda text: (text, ask(heard, text)), SENTENCES * 8))
    assert all(told(answer) == expected[text] for text, answer in found)


def test_a_head_is_asked_by_its_name(heard):
    assert heard.heads == ("run", "mean")
    assert ask(heard).head == "run"
    assert set(ask(heard, head="mean").hits[0].parts) == {"frames"}
    with pytest.raises(ConfigError, match="no head 'other' is loaded: choose run or mean"):
        ask(heard, head="other")


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 2.0])
def test_parts_add_up_whatever_the_sound_counts(heard, weight):
    plain = {hit.video_id: hit for hit in ask(heard).hits}
    for hit in ask(heard, audio_weight=weight).hits:
        assert sum(hit.parts.values()) == hit.score
        its = plain[hit.video_id]
        assert hit.sound_alone == pytest.approx(its.parts["audio"])
        assert hit.parts["audio"] == pytest.approx(weight * its.parts["audio"])


def test_a_sound_that_counts_nothing_leaves_the_ranking_of_the_picture(heard):
    silent = ask(heard, audio_weight=0)
    assert [hit.rank_without_sound for hit in silent.hits] == [hit.rank for hit in silent.hits]
    ranks = {hit.video_id: hit.rank for hit in silent.hits}
    for hit in ask(heard, audio_weight=10).hits:
        assert hit.rank_without_sound == ranks[hit.video_id]


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({"where": ("even/*",)}, lambda number: number % 2 == 0),
        ({"where": ("v0*1.mp4", "nowhere/**")}, lambda number: number % 10 == 1),
        ({"only_with_sound": True}, lambda number: number % 8 != 0),
        ({"where": ("odd/**",), "only_with_sound": True}, lambda number: number % 2 == 1),
        ({"where": ("nowhere/*",)}, lambda _: False),
    ],
)
def test_only_what_a_question_lets_in_is_searched(indexed, everyone, changes, fits):
    wanted = {f"v{number:04d}" for number in range(CROWD) if fits(number)}
    for searcher in (indexed, everyone):
        answer = ask(searcher, top=CROWD, **changes)
        assert (answer.searched, {hit.video_id for hit in answer.hits}) == (len(wanted), wanted)


def test_a_filter_reaches_into_the_index(indexed, everyone):
    """More videos fit than a shortlist holds, so that the index itself must leave others out."""
    question = {"text": SENTENCES[1], "only_with_sound": True}
    short, full = ask(indexed, **question), ask(everyone, **question)
    assert (short.exhaustive, short.searched) == (False, CROWD - CROWD // 8)
    assert told(short) == told(full)


def test_files_since_a_day_are_those_modified_on_it_or_later(tmp_path):
    write_crowded_cache(tmp_path / "cache" / "crowd", numbered(6))
    for number, day in ((1, 9), (2, 10), (3, 11)):
        path = tmp_path / "cache" / "films" / f"{'odd' if number % 2 else 'even'}/v{number:04d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        noon = datetime(2026, 5, day, 12).timestamp()
        os.utime(path, (noon, noon))
    answer = ask(open_crowd(tmp_path), since=date(2026, 5, 10))
    assert {hit.video_id for hit in answer.hits} == {"v0002", "v0003"}


HOSTILE = (
    "a" * 10_000,
    "word " * 2_000,
    "🦊" * 500,
    "\u202eright to left\u202c",
    "مرحبا بالعالم",
    "'; DROP TABLE videos; --",
    "<script>alert(1)</script>",
    "\x00\x1b[31m",
    "\ud800 half a sign",
    "<start_of_text><end_of_text>",
    "&lt;end_of_text&gt;",
)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_is_typed_is_ranked(heard, text):
    answer = ask(heard, text)
    assert len(answer.hits) == 4
    assert all(np.isfinite(hit.score) for hit in answer.hits)
    assert answer.question.text == text
    explained = heard.explain(Question(text=text), answer.hits[0].id)
    assert "".join(explained.words).encode("utf-8") is not None
    assert len(explained.grid) == len(explained.words) == len(explained.word_shares)


def test_a_text_that_is_cut_says_so(heard):
    assert ask(heard, "a" * 10_000).truncated
    assert ask(heard, "word " * 2_000).truncated
    assert not ask(heard).truncated


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"text": " \n\t"}, "query is empty"),
        ({"top": 0}, "top is 0"),
        ({"audio_weight": float("nan")}, "audio_weight is nan"),
        ({"audio_weight": -1.0}, "audio_weight is -1"),
        ({"audio_weight": 1e9}, "audio_weight is 1000000000"),
        ({"where": ("",)}, "where is ''"),
        ({"where": ("*" * 2_000,)}, "1 to 1,000 characters"),
        ({"where": ("*",) * 21}, "where has 21 globs"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(everyone, changes, words):
    question = replace(Question(text="a dog"), **changes)
    with pytest.raises(ConfigError, match=words):
        everyone.search([question])


@pytest.mark.parametrize("name", ["", "nobody", "../../etc/passwd", "%2e%2e%2f", "v0001", "\x00"])
def test_an_id_that_no_video_has_is_unknown(everyone, name):
    for use in (
        lambda: everyone.explain(Question(text="a"), name),
        lambda: everyone.neighbours(name, 3),
        lambda: everyone.file_of(name),
    ):
        with pytest.raises(UnknownVideoError, match="no video has the id"):
            use()


def test_an_id_tells_nothing_and_stays(everyone, tmp_path):
    ids = {hit.video_id: hit.id for hit in ask(everyone, top=CROWD).hits}
    assert all(len(one) == 32 and set(one) <= set("0123456789abcdef") for one in ids.values())
    write_crowded_cache(tmp_path / "cache" / "crowd", {5: 1, 400: 0})
    found = {hit.video_id: hit.id for hit in ask(open_crowd(tmp_path)).hits}
    assert found["v0005"] == ids["v0005"]


def test_a_cache_without_a_video_has_no_hits(tmp_path):
    write_crowded_cache(tmp_path / "cache" / "crowd", {})
    searcher = open_crowd(tmp_path)
    answer = ask(searcher, exhaustive=True)
    assert (answer.hits, answer.searched, searcher.status().videos) == ((), 0, 0)


def test_a_file_is_found_or_said_to_be_gone(tmp_path):
    write_crowded_cache(tmp_path / "cache" / "crowd", numbered(2))
    searcher = open_crowd(tmp_path)
    hit = ask(searcher).hits[0]
    with pytest.raises(
        MissingError, match=r"is not there any more: .* `vidret index update FOLDER`"
    ) as gone:
        searcher.file_of(hit.id)
    assert not isinstance(gone.value, UnknownVideoError)
    path = tmp_path / "cache" / "films" / hit.path
    path.parent.mkdir(parents=True)
    path.touch()
    assert searcher.file_of(hit.id) == path
    changed = searcher.status().changed
    assert (len(changed.gone), len(changed.changed)) == (1, 1)  # an empty file is another one


def test_neighbours_look_alike(everyone):
    first = ask(everyone).hits[0]
    row = everyone.corpus.row(first.id)
    frames = np.asarray(everyone.corpus.features.frames[:], np.float64)
    means = (frames / np.linalg.norm(frames, axis=-1, keepdims=True)).mean(1)
    means /= np.linalg.norm(means, axis=-1, keepdims=True)
    cosines = means @ means[row]
    found = everyone.neighbours(first.id, 3)
    assert [one.rank for one in found] == [1, 2, 3]
    expected = np.argsort(-cosines)[1:4]
    assert [one.video_id for one in found] == [f"v{number:04d}" for number in expected]
    assert [one.similarity for one in found] == pytest.approx(cosines[expected], abs=1e-3)


def test_words_and_frames_of_mgfi_are_those_of_its_equations(heard):
    """What the words weigh, summed over them, is what the word branch gives each frame."""
    import torch

    from vidret.heads.scoring import scoring

    hit = ask(heard).hits[0]
    why = heard.explain(Question(text=SENTENCES[0]), hit.id)
    assert why.words == tuple(SENTENCES[0].split())
    assert sum(why.word_shares) == pytest.approx(1)
    assert why.of_head
    ranker = heard.ranker()
    texts = ranker.texts(heard._reader.read([SENTENCES[0]], hidden=False)[SENTENCES[0]].encoded)
    videos = heard.corpus.videos(np.array([heard.corpus.row(hit.id)]))
    head = ranker.retriever.video_head
    with scoring(ranker.retriever):
        weights = head._weights(head.prepare_texts(texts), head.prepare_videos(videos))["words"]
    grid = torch.tensor(why.grid)
    assert (torch.tensor(why.word_shares) @ grid).tolist() == pytest.approx(
        weights[0, 0].tolist(), abs=1e-5
    )
    assert grid.sum(1).tolist() == pytest.approx([1.0] * len(why.words), abs=1e-5)


def test_an_explanation_has_the_numbers_of_the_search(heard):
    for weight in (1.0, 0.0):
        for hit in ask(heard, audio_weight=weight).hits:
            why = heard.explain(Question(text=SENTENCES[0], audio_weight=weight), hit.id)
            assert why.parts == pytest.approx(hit.parts, abs=1e-6)
            assert why.hit.strip == pytest.approx(hit.strip, abs=1e-6)
            total = sum(abs(part) for part in hit.parts.values())
            assert why.sound_share == pytest.approx(abs(hit.parts["audio"]) / total, abs=1e-6)


def test_a_head_without_words_is_explained_by_likeness(heard):
    hit = ask(heard, SENTENCES[2], head="mean").hits[0]
    why = heard.explain(Question(text=SENTENCES[2], head="mean"), hit.id)
    assert not why.of_head
    assert np.argmax(np.array(why.word_shares) @ np.array(why.grid)) == 2  # the frame that shows it
    assert why.sound_share == 0


def test_what_an_update_made_is_taken_up_while_searching(tmp_path):
    write_crowded_cache(tmp_path / "cache" / "crowd")
    searcher = open_crowd(tmp_path)
    folder = index_folder(tmp_path, searcher.ranker())
    build_index(folder, searcher.ranker(), every_frame=False)
    searcher = open_crowd(tmp_path, exhaustive_below=0)
    assert not searcher.refresh()
    after = numbered()
    del after[17]
    after |= {118: 1, 500: 0}
    write_crowded_cache(tmp_path / "cache" / "crowd", after)
    assert ask(searcher).hits[0].video_id == "v0017"  # the old scene, whole
    assert searcher.refresh()
    assert len(searcher.corpus) == CROWD
    answer = ask(searcher)  # the index knows nothing of it yet, and yet it is right
    assert told(answer) == told(ask(searcher, exhaustive=True))
    assert "v0017" not in {hit.video_id for hit in ask(searcher, top=CROWD).hits}
    update_index(folder, searcher.ranker())
    assert searcher.refresh()
    assert told(ask(searcher)) == told(ask(searcher, exhaustive=True))
    assert not searcher.refresh()


def test_an_index_of_another_cache_is_refused_where_it_is_needed(crowd, indexed, tmp_path):
    shutil.copytree(crowd, tmp_path / "work")
    place = index_folder(tmp_path / "work", indexed.ranker())
    text = (place / INDEX).read_text().replace(indexed.ranker().digest, "0" * 12)
    (place / INDEX).write_text(text)
    with pytest.raises(MismatchError, match="made for other weights of mean"):
        open_crowd(tmp_path / "work", exhaustive_below=0)
    assert ask(open_crowd(tmp_path / "work")).exhaustive


def test_a_cache_that_a_head_was_not_trained_on_is_refused(heard, tmp_path):
    other = write_planted_cache(tmp_path / "cache" / "planted")
    with pytest.raises(MismatchError, match="was made with other settings"):
        Searcher(
            work=heard.work,
            cache=other,
            runs={"run": heard.runs["run"]},
            device="cpu",
            offline=True,
        )


def test_the_status_says_what_is_searched(heard, indexed):
    status = heard.status()
    assert (status.videos, status.with_sound, status.failed) == (4, 3, 0)
    assert status.heads.keys() == {"run", "mean"}
    assert status.examples == (SENTENCES[2],)
    assert set(status.index.values()) == {"exhaustive"}
    assert "pooled flat, frames flat, 320 videos" in indexed.status().index["mean"]
