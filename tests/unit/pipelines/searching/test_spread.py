"""Workers of a real cluster answer together as one process does."""

import os
import signal
from contextlib import contextmanager
from dataclasses import replace
from datetime import date

import pytest
from making.crowded import CROWD, numbered, write_crowded_cache
from making.searchable import SENTENCES, write_searchable_cache

from vidret.data.errors import ConfigError, MismatchError, MissingError
from vidret.extract.schedule import Place, dask_client
from vidret.pipelines.config.fitting import TrainConfig
from vidret.pipelines.indexing.building import Changes
from vidret.pipelines.indexing.places import shares_indexed
from vidret.pipelines.indexing.shares import SharedIndex
from vidret.pipelines.searching.answers import Question, UnknownVideoError
from vidret.pipelines.searching.cutting import parts_of
from vidret.pipelines.searching.searcher import Searcher
from vidret.pipelines.searching.spread import SpreadSearcher
from vidret.pipelines.train_heads import run_train

pytestmark = pytest.mark.xdist_group("spread")  # one worker has the cluster

PER_SHARD = 40  # 8 shards
RUN = {"epochs": 1, "audio_epochs": 2, "batch_size": 2, "missing_audio": "text-mean"}


@pytest.fixture(scope="module")
def client():
    with dask_client(Place(workers=3)) as client:
        yield client


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A crowd in eight shards, and a head that hears and has not learned what silence is."""
    work = tmp_path_factory.mktemp("spread")
    trained_on = write_searchable_cache(work / "cache" / "searchable")
    config = TrainConfig(work=work, cache=trained_on, name="run", **RUN)
    run_train(config, on_progress=lambda _: None)
    write_crowded_cache(work / "cache" / "crowd", per_shard=PER_SHARD)
    return work


def opened(work, kind=Searcher, *given, **changes):
    runs = {"run": work / "runs" / "run", "mean": None}
    where = {"cache": work / "cache" / "crowd"} if kind is Searcher else {}
    return kind(*given, work=work, runs=runs, device="cpu", offline=True, **where | changes)


@pytest.fixture(scope="module")
def alone(work):
    return opened(work)


@pytest.fixture(scope="module")
def spread(work, client):
    return opened(work, SpreadSearcher, client, caches=[work / "cache" / "crowd"])


def ask(searcher, text=SENTENCES[0], **changes):
    (answer,) = searcher.search([Question(text=text, **changes)])
    return answer


def assert_alike(found, expected):
    """Equal in all but the time, and the last bits of what was summed in another order."""
    shown = [hit.video_id for hit in expected.hits]
    assert [hit.video_id for hit in found.hits] == shown
    for one, other in zip(found.hits, expected.hits, strict=True):
        numbers = ("score", "probability", "sound_alone")
        for name in numbers:
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-5)
        assert one.parts == pytest.approx(other.parts, abs=1e-5)
        assert one.strip == pytest.approx(other.strip, abs=1e-5)
        same = dict.fromkeys(numbers, 0.0) | {"parts": {}, "strip": ()}
        assert replace(one, **same) == replace(other, **same)
    rest = {"hits": (), "seconds": 0.0}
    assert replace(found, **rest) == replace(expected, **rest)


def test_the_shards_of_a_cache_are_dealt_to_all_workers(spread, client):
    parts = spread._spread.parts
    assert [(part.number, part.of) for part in parts] == [(0, 3), (1, 3), (2, 3)]
    assert sorted(look.videos for look in spread._spread.looks) == [80, 120, 120]
    owners = set(spread.crew._owners.values())
    assert owners == set(client.nthreads())


@pytest.mark.parametrize("head", ["run", "mean"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"top": 3},
        {"top": 10**9},
        {"audio_weight": 0.0},
        {"audio_weight": 7.5, "top": 40},
        {"where": ("even/**",), "top": 25},
        {"where": ("nowhere/**",)},
        {"only_with_sound": True, "top": 5},
        {"since": date(2001, 1, 1)},
        {"exhaustive": True},
    ],
)
def test_workers_answer_as_one_process_does(spread, alone, head, changes):
    assert_alike(ask(spread, head=head, **changes), ask(alone, head=head, **changes))


def test_several_questions_are_answered_at_once(spread, alone):
    questions = [
        Question(text=text, head=head, audio_weight=weight)
        for text in SENTENCES[:2]
        for head, weight in (("run", 1.0), ("mean", 1.0), ("run", 0.0))
    ]
    for found, expected in zip(spread.search(questions), alone.search(questions), strict=True):
        assert_alike(found, expected)


def test_an_explanation_comes_from_the_worker_that_has_the_video(spread, alone):
    question = Question(text="a red star on a lake")
    for hit in ask(alone, question.text, top=6).hits:
        found, expected = spread.explain(question, hit.id), alone.explain(question, hit.id)
        assert (found.words, found.of_head) == (expected.words, expected.of_head)
        assert found.hit.video_id == expected.hit.video_id
        assert found.hit.probability == pytest.approx(expected.hit.probability)
        assert found.parts == pytest.approx(expected.parts, abs=1e-5)
        for row, other in zip(found.grid, expected.grid, strict=True):
            assert row == pytest.approx(other, abs=1e-5)


def test_neighbours_are_those_of_all_parts(spread, alone):
    hit = ask(alone).hits[0]
    found, expected = spread.neighbours(hit.id, 12), alone.neighbours(hit.id, 12)
    assert [one.video_id for one in found] == [one.video_id for one in expected]
    assert [one.rank for one in found] == list(range(1, 13))
    assert hit.video_id not in {one.video_id for one in found}


def test_a_status_adds_up(spread, alone):
    found, expected = spread.status(), alone.status()
    for name in ("videos", "failed", "with_sound", "fingerprint", "heads"):
        assert getattr(found, name) == getattr(expected, name)
    assert sorted(found.changed.gone) == sorted(expected.changed.gone)
    assert found.index["run"] == "3 parts: exhaustive"


def test_what_no_part_has_is_unknown(spread):
    with pytest.raises(UnknownVideoError, match="no video has the id '0000'"):
        spread.explain(Question(text="x"), "0000")
    with pytest.raises(UnknownVideoError):
        spread.file_of("../../etc/passwd")


def test_questions_that_make_no_sense_are_refused_before_a_worker_is_asked(spread):
    with pytest.raises(ConfigError, match="query is empty"):
        ask(spread, "  ")
    with pytest.raises(ConfigError, match="no head 'other' is loaded"):
        ask(spread, head="other")


@contextmanager
def one_worker_killed(client):
    """The process of a worker is killed, and another one takes its place later."""
    before = set(client.nthreads())
    pids = client.run(os.getpid)
    os.kill(pids[min(pids)], signal.SIGKILL)
    yield
    client.wait_for_workers(len(before))


def test_a_worker_that_dies_is_replaced_amid_the_questions(spread, alone, client):
    expected = ask(alone, SENTENCES[1], top=20)
    for _ in range(2):
        with one_worker_killed(client):
            assert_alike(ask(spread, SENTENCES[1], top=20), expected)


def test_two_caches_are_searched_as_if_they_were_one(work, client, tmp_path, alone):
    halves = []
    for number, half in enumerate((range(100), range(100, CROWD))):
        versions = dict.fromkeys(half, 0)
        halves.append(write_crowded_cache(tmp_path / f"half-{number}", versions, per_shard=30))
    both = opened(work, SpreadSearcher, client, caches=halves)
    found, expected = ask(both, top=50), ask(alone, top=50)
    assert [hit.video_id for hit in found.hits] == [hit.video_id for hit in expected.hits]
    assert [hit.score for hit in found.hits] == pytest.approx(
        [hit.score for hit in expected.hits], abs=1e-5
    )
    assert (found.searched, found.matches) == (expected.searched, expected.matches)
    assert {hit.file.parent.parent for hit in found.hits} == {tmp_path / "films"}


def test_caches_of_different_features_are_not_searched_together(work, tmp_path):
    other = write_searchable_cache(tmp_path / "other", decoder="another")
    with pytest.raises(MismatchError, match="other has other features than crowd"):
        parts_of(work, [work / "cache" / "crowd", other], {"mean": None}, workers=2)


def test_a_changed_cache_is_taken_up(work, client, tmp_path):
    cache = write_crowded_cache(tmp_path / "crowd", numbered(100), per_shard=PER_SHARD)
    searcher = opened(work, SpreadSearcher, client, caches=[cache])
    assert ask(searcher, top=1).hits[0].video_id == "v0017"
    assert not searcher.refresh()
    left = {number: 0 for number in range(CROWD) if number != 17}
    write_crowded_cache(cache, left, per_shard=PER_SHARD)
    assert searcher.refresh()
    answer = ask(searcher, top=400)
    assert answer.searched == CROWD - 1
    assert "v0017" not in {hit.video_id for hit in answer.hits}


CAPTIONED = {17: SENTENCES[0], 118: "Not  WHAT it shows", 300: "not what it shows"}


@pytest.mark.parametrize("text", ["not what it shows", SENTENCES[0], "no caption"])
def test_the_truth_is_ranked_among_all_parts(work, client, tmp_path, text):
    cache = write_crowded_cache(tmp_path / "said", per_shard=PER_SHARD, captions=CAPTIONED)
    alone, spread = opened(work, cache=cache), opened(work, SpreadSearcher, client, caches=[cache])
    question = Question(text=text, top=5, where=("even/**",))
    found, expected = spread.truth(question), alone.truth(question)
    assert (found.videos, found.left_out, found.searched) == (
        expected.videos,
        expected.left_out,
        expected.searched,
    )
    shown = ("video_id", "rank", "rank_without_sound", "weaker")
    assert [[getattr(hit, name) for name in shown] for hit in found.hits] == [
        [getattr(hit, name) for name in shown] for hit in expected.hits
    ]


def indexed(work, client, tmp_path, videos=CROWD):
    cache = write_crowded_cache(tmp_path / tmp_path.name, numbered(videos), per_shard=PER_SHARD)
    run = work / "runs" / "run"
    return SharedIndex(client, work=work, cache=cache, head="run", run_folder=run, device="cpu")


def test_every_worker_looks_up_its_share_in_an_index_of_its_own(work, client, tmp_path):
    shared = indexed(work, client, tmp_path, videos=900)  # a shortlist has 200 of each 300
    report = shared.build(every_frame=True)
    assert (report.shares, report.header.videos, report.header.every_frame) == (3, 900, True)
    searcher = opened(work, SpreadSearcher, client, caches=[shared.cache], exhaustive_below=0)
    alone = opened(work, cache=shared.cache)
    short, full = ask(searcher, top=20), ask(alone, top=20)
    assert (short.exhaustive, full.exhaustive) == (False, True)
    assert short.searched == full.searched
    assert [hit.video_id for hit in short.hits[:1]] == [hit.video_id for hit in full.hits[:1]]
    assert ask(searcher, exhaustive=True).exhaustive
    status = shared.status()
    assert (status.shares, status.videos, status.behind) == (3, 900, Changes())
    checked = shared.check(questions=5, shortlist=60)
    assert checked.agreement.shortlist[1] > 0.9
    assert checked.agreement.questions == 15


def test_an_update_reaches_the_share_that_changed_and_no_other(work, client, tmp_path):
    shared = indexed(work, client, tmp_path)
    shared.build(every_frame=False)
    versions = numbered()
    versions[5] = 1
    write_crowded_cache(shared.cache, versions, per_shard=PER_SHARD)
    again = indexed_again(shared, client)
    assert again.status().behind == Changes(changed=1)
    before = {path: path.stat().st_mtime_ns for path in files_of(shared)}
    report = again.update(every_frame=False)
    assert (report.changes, report.built) == (Changes(changed=1), False)
    touched = {path.parent.name for path in files_of(shared) if path not in before}
    assert touched == {"share-0-of-3"}


def test_other_shares_are_removed_when_the_new_ones_are_there(work, client, tmp_path):
    shared = indexed(work, client, tmp_path)
    shared.build(every_frame=False)
    fewer = indexed_again(shared, client, shares=2)
    fewer.build(every_frame=False)
    folder = work / "index" / shared.cache.name / "run"
    assert sorted(path.name for path in folder.iterdir()) == ["share-0-of-2", "share-1-of-2"]
    assert shares_indexed(work, shared.cache, "run") == 2
    assert len(indexed_again(shared, client).parts) == 2  # whatever the number of workers


def test_an_index_that_a_share_lacks_cannot_be_checked(work, client, tmp_path):
    with pytest.raises(MissingError, match="holds no index of shares"):
        indexed(work, client, tmp_path).check(questions=1, shortlist=1)


def indexed_again(shared, client, **changes):
    run = shared.work / "runs" / "run"
    where = {"work": shared.work, "cache": shared.cache, "head": "run", "run_folder": run}
    return SharedIndex(client, **where, device="cpu", **changes)


def files_of(shared):
    folder = shared.work / "index" / shared.cache.name / "run"
    return [path for path in folder.rglob("*") if path.is_file()]
