import errno
import json

import numpy as np
import pytest
from making.hubs import banks_of, without_hubs
from making.planted import load_split, write_planted_cache
from oracles import rerankers as papers

from vidret.data.errors import ConfigError, MissingError
from vidret.heads.metrics import summarize, text_to_video_ranks, video_to_text_ranks
from vidret.heads.reranking.options import RERANKERS, RerankOptions
from vidret.heads.reranking.pairs import pairs_of
from vidret.heads.scoring import score_in_blocks
from vidret.heads.similarities import as_array
from vidret.pipelines import scored as scored_module
from vidret.pipelines.config.fitting import TrainConfig
from vidret.pipelines.config.settings import EvaluateConfig
from vidret.pipelines.evaluate import run_evaluate
from vidret.pipelines.rerank_tuning import TRIED, pick_settings
from vidret.pipelines.run_banks import drawn
from vidret.pipelines.scored import pairs_of_scored, score_pairs, to_read_again
from vidret.pipelines.train_heads import run_train
from vidret.pipelines.training.runs import load_weights, read_run

SMALL = {"train": 16, "val": 8, "test": 12}
ALL = tuple(RERANKERS)
SETTINGS = {
    "qb_beta": 5.0,
    "qb_top": 2,
    "nnn_weight": 0.5,
    "nnn_neighbours": 4,
    "dsl_scale": 8.0,
    "sinkhorn_temperature": 0.2,
    "sinkhorn_iterations": 3,
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return write_planted_cache(tmp_path_factory.mktemp("planted"), splits=SMALL)


@pytest.fixture(scope="module")
def work(tmp_path_factory, cache):
    work = tmp_path_factory.mktemp("work")
    config = TrainConfig(
        work=work,
        cache=cache,
        head="mgfi+cmfi",
        name="trained",
        epochs=2,
        audio_epochs=1,
        batch_size=8,
    )
    run_train(config, on_progress=lambda _: None)
    return work


def evaluate(work, **settings):
    return run_evaluate(EvaluateConfig(work=work, run="trained", device="cpu", **settings))


@pytest.fixture(scope="module")
def matrices(work, cache):
    """Similarities of the test split and of both banks, and the owners."""
    retriever = load_weights(work / "runs" / "trained", read_run(work / "runs" / "trained"))
    train, test = load_split(cache, "train"), load_split(cache, "test")
    scored = [
        as_array(score_in_blocks(retriever, texts, videos)).astype(np.float64)
        for texts, videos in (
            (test.texts, test.videos),
            (train.texts, test.videos),
            (test.texts, train.videos),
        )
    ]
    return (*scored, test.owners.numpy())


def by_the_papers(name, s, bank):
    balancing = SETTINGS["sinkhorn_temperature"], SETTINGS["sinkhorn_iterations"]
    return {
        "qb-norm": lambda: papers.qb_norm(s, bank, SETTINGS["qb_beta"], SETTINGS["qb_top"]),
        "nnn": lambda: papers.nnn(s, bank, SETTINGS["nnn_weight"], SETTINGS["nnn_neighbours"]),
        "sinkhorn-bank": lambda: papers.sinkhorn_bank(s, bank, *balancing),
        "dsl": lambda: papers.dsl(s, SETTINGS["dsl_scale"]),
        "sinkhorn-full": lambda: papers.sinkhorn_plan(s, *balancing),
    }[name]()


def test_the_rows_of_a_run_are_those_of_the_papers_with_banks_of_its_train_split(work, matrices):
    scores, texts, videos, owners = matrices
    found = evaluate(work, rerank=ALL, **SETTINGS)
    assert [one.name for one in found.reranked.scores] == list(ALL)
    for one in found.reranked.scores:
        t2v = by_the_papers(one.name, scores, texts)
        flipped = one.name != "sinkhorn-full"
        v2t = by_the_papers(one.name, scores.T, videos.T).T if flipped else t2v
        assert one.t2v == summarize(text_to_video_ranks(t2v, owners)), one.name
        assert one.v2t == summarize(video_to_text_ranks(v2t, owners)), one.name
        assert one.settings.items() <= SETTINGS.items()
    bank = found.reranked.bank
    assert (bank.captions, bank.videos) == (32, 16)
    assert bank.source.startswith("split train of planted")


def test_nothing_is_re_ranked_unless_asked_for_and_the_plain_numbers_stay_what_they_were(work):
    plain = evaluate(work)
    assert plain.reranked is None
    assert plain.as_json()["reranked"] is None
    found = evaluate(work, rerank=("dsl",))
    assert found.scores == plain.scores
    assert found.reranked.scores[0].t2v != plain.scores.t2v


def test_a_bank_is_as_large_as_was_asked_for(work):
    few = evaluate(work, rerank=("sinkhorn-bank",), bank_size=5).reranked
    assert (few.bank.captions, few.bank.videos) == (5, 5)
    every = evaluate(work, rerank=("sinkhorn-bank",), bank_size=0).reranked
    assert (every.bank.captions, every.bank.videos) == (32, 16)
    assert evaluate(work, rerank=("sinkhorn-bank",), bank_size=5).reranked == few


def test_a_draw_is_in_order_and_always_the_same():
    rows = drawn(1000, 30)
    assert len(set(rows.tolist())) == 30
    assert (np.diff(rows) > 0).all()
    assert (rows == drawn(1000, 30)).all()
    assert drawn(7, 0).tolist() == drawn(7, 9).tolist() == list(range(7))


def test_a_bank_with_fewer_queries_than_neighbours_is_noted(work):
    notes = evaluate(work, rerank=("nnn",)).reranked.notes
    assert notes == (
        "nnn takes the mean of all 32 captions of the bank, which are fewer than 128",
        "nnn takes the mean of all 16 videos of the bank, which are fewer than 128",
    )


def test_what_cannot_be_re_ranked_is_refused_before_anything_is_scored(tmp_path, work, monkeypatch):
    monkeypatch.setattr("vidret.pipelines.run_banks.score_pairs", None)
    folder = write_planted_cache(tmp_path / "planted", splits={"test": 8})
    for asked in ({"rerank": ("nnn",)}, {"rerank": ("dsl",), "rerank_tune": "val"}):
        with pytest.raises(ConfigError, match="has no split"):
            evaluate(work, cache=folder, **asked)


def test_a_bank_of_nothing_ends_with_4(tmp_path, work):
    folder = write_planted_cache(tmp_path / "planted", splits={"test": 8, "train": 0})
    with pytest.raises(MissingError, match=r"split train of .* has no captions, of which the bank"):
        evaluate(work, cache=folder, rerank=("nnn",))


def test_without_a_train_split_only_what_looks_at_test_queries_is_left(tmp_path, work):
    folder = write_planted_cache(tmp_path / "planted", splits={"test": 8})
    words = "has no split train, of which the bank would be: .* re-rank by dsl or sinkhorn-full"
    with pytest.raises(ConfigError, match=words):
        evaluate(work, cache=folder, rerank=("nnn",))
    found = evaluate(work, cache=folder, rerank=("dsl", "sinkhorn-full")).reranked
    assert found.bank is None
    assert {one.tag for one in found.scores} == {"transductive"}


def test_the_split_of_the_bank_is_not_scored_with_it(work):
    with pytest.raises(ConfigError, match="rerank is nnn, whose bank is the split train"):
        evaluate(work, split="train", rerank=("dsl", "nnn"))
    assert evaluate(work, split="train", rerank=("dsl",)).reranked
    assert evaluate(work, split="val", rerank=("nnn",)).reranked


def by_hand_on_val(work, cache, name, values):
    """R@1 and MnR of each value on the split val, with its bank, as the papers have it."""
    run = work / "runs" / "trained"
    retriever = load_weights(run, read_run(run))
    train, val = load_split(cache, "train"), load_split(cache, "val")
    s, bank = (
        as_array(score_in_blocks(retriever, texts, val.videos)).astype(np.float64)
        for texts in (val.texts, train.texts)
    )
    found = {}
    for value in values:
        again = papers.nnn(s, bank, value, 4) if name == "nnn" else papers.dsl(s, value)
        numbers = summarize(text_to_video_ranks(again, val.owners.numpy()))
        found[value] = numbers["R@1"], -numbers["MnR"]
    return found


@pytest.mark.parametrize(
    ("name", "setting", "given"), [("nnn", "nnn_weight", 0.3), ("dsl", "dsl_scale", 3.0)]
)
def test_another_split_may_pick_a_setting_of_each_re_ranker(work, cache, name, setting, given):
    values = (given, *TRIED[name][1])
    worth = by_hand_on_val(work, cache, name, values)
    best = max(values, key=lambda value: worth[value])
    found = evaluate(
        work, rerank=(name,), rerank_tune="val", nnn_neighbours=4, **{setting: given}
    ).reranked
    assert found.scores[0].settings[setting] == best
    assert found.tuned_on == "val"
    same = evaluate(work, rerank=(name,), nnn_neighbours=4, **{setting: best}).reranked
    assert (same.scores, same.tuned_on) == (found.scores, None)


def test_settings_are_not_picked_by_the_answers_that_are_reported(work):
    for tune, split in (("test", "test"), ("val", "val"), ("train", "test")):
        with pytest.raises(ConfigError, match=f"rerank_tune is {tune}, which is scored or the"):
            evaluate(work, rerank=("dsl",), rerank_tune=tune, split=split)
    with pytest.raises(ConfigError, match="no split 'dev' to pick settings on: leave out"):
        evaluate(work, rerank=("dsl",), rerank_tune="dev")


def test_where_all_settings_find_as_many_the_given_ones_stay():
    owners, *world = without_hubs()
    pairs, options = pairs_of(world[0]), RerankOptions(**SETTINGS)
    picked = pick_settings(ALL, pairs, owners, banks=banks_of(world[1], None), options=options)
    assert picked == dict.fromkeys(ALL, options)


@pytest.mark.parametrize("name", ALL)
def test_what_is_tried_is_a_setting_of_the_re_ranker_and_holds_the_published_value(name):
    setting, values = TRIED[name]
    assert setting in RERANKERS[name].settings
    assert getattr(RerankOptions(), setting) in values
    assert list(values) == sorted(values)


def test_similarities_that_would_not_fit_are_re_ranked_from_a_file_alike(work, monkeypatch):
    """Heads round in another way in other blocks, by 1e-5 at most: no two scores are as near."""
    whole = evaluate(work, rerank=ALL, **SETTINGS)
    monkeypatch.setattr(scored_module, "MATRIX_MEMORY", 0)
    monkeypatch.setattr(scored_module, "STRIP_MEMORY", 100)
    found = evaluate(work, rerank=ALL, **SETTINGS)
    assert found.reranked == whole.reranked
    assert found.scores == whole.scores


def test_what_is_written_to_a_file_reads_as_it_was_scored(tmp_path, monkeypatch):
    monkeypatch.setattr(scored_module, "STRIP_MEMORY", 60)
    matrix = np.random.default_rng(0).normal(size=(31, 7)).astype(np.float32)
    asked = []

    def score(rows, columns):
        asked.append(rows)
        return matrix[rows, columns]

    kept = to_read_again(score, 31, 7, tmp_path)
    scored_once = len(asked)
    pairs = pairs_of_scored(kept, 31, 7, what="all", memory=2**20)
    np.testing.assert_array_equal(pairs.read(np.array([30, 2]), slice(1, 7)), matrix[[30, 2], 1:7])
    np.testing.assert_array_equal(pairs.read(slice(0, 31), slice(0, 7)), matrix)
    assert len(asked) == scored_once == 16
    assert not list(tmp_path.iterdir()), "the file has no name"


def test_a_matrix_that_fits_is_no_file(work, cache):
    retriever = load_weights(work / "runs" / "trained", read_run(work / "runs" / "trained"))
    test = load_split(cache, "test")
    scored = score_pairs(retriever, test.texts, test.videos)
    assert to_read_again(scored, 24, 12, work / "gone") is scored


def test_no_room_for_the_file_ends_with_4(tmp_path, monkeypatch):
    def score(rows, columns):
        return np.zeros((rows.stop - rows.start, columns.stop))

    with pytest.raises(MissingError, match=r"cannot write to .*gone: No such file or directory"):
        to_read_again(score, 3, 3, tmp_path / "gone")

    def full(**_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(scored_module, "TemporaryFile", full)
    with pytest.raises(MissingError, match="no room for") as refused:
        to_read_again(score, 3, 3, tmp_path)
    assert refused.value.exit_code == 4


def test_a_report_is_json(work):
    told = json.loads(json.dumps(evaluate(work, rerank=("qb-norm", "dsl")).as_json()))["reranked"]
    assert [(one["name"], one["tag"]) for one in told["scores"]] == [
        ("qb-norm", "train-bank"),
        ("dsl", "transductive"),
    ]
    assert told["scores"][0]["settings"] == {"qb_beta": 20.0, "qb_top": 1}
    assert told["scores"][1]["v2t"]["queries"] == 12
    assert told["bank"]["captions"] == 32


def test_a_recall_that_was_asked_for_is_a_plain_one(work):
    found = evaluate(work, rerank=("dsl",), fail_under="R@1=100")
    assert found.verdict.exit_code == 6
    assert f"is {found.scores.t2v['R@1']:.1f} on test" in str(found.verdict)
