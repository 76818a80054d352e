import numpy as np
import pytest
import torch
from making.planted import write_planted_cache

from vidret.pipelines.config.fitting import TrainConfig
from vidret.pipelines.searching.calibrating import Pairs, calibration_of, pairs_of
from vidret.pipelines.searching.corpus import open_corpus
from vidret.pipelines.searching.ranker import make_ranker
from vidret.pipelines.train_heads import run_train


def drawn_pairs(*, apart, captions=400, others=40, videos=101, seed=0):
    """Scores whose right logistic curve is known: normal, equally wide, `apart` from each other."""
    rng = np.random.default_rng(seed)
    own = np.stack([apart + rng.normal(size=captions), np.zeros(captions)], 1)
    wrong = np.stack([rng.normal(size=captions * others), np.zeros(captions * others)], 1)
    return Pairs(
        own=tuple(map(tuple, own.tolist())), others=tuple(map(tuple, wrong.tolist())), videos=videos
    )


@pytest.mark.parametrize("apart", [1.0, 2.0])
def test_the_curve_is_that_of_two_normal_distributions(apart):
    """Of N(apart, 1) against N(0, 1) the log odds are apart * s - apart^2 / 2, less log(V - 1)."""
    found = calibration_of(drawn_pairs(apart=apart), 1.0)
    assert found.slope == pytest.approx(apart, rel=0.1)
    assert found.bias == pytest.approx(-(apart**2) / 2 - np.log(100), abs=0.25)


def test_a_chance_is_as_often_right_as_it_says():
    """Of pairs drawn anew, one right among 100 wrong."""
    calibration, rng = (
        calibration_of(drawn_pairs(apart=3.0, captions=3000), 1.0),
        np.random.default_rng(9),
    )
    scores = np.concatenate([3 + rng.normal(size=20_000), rng.normal(size=2_000_000)])
    right = np.arange(len(scores)) < 20_000
    chances = calibration.probability(scores, 101)
    for low in (0.1, 0.3, 0.5, 0.7):
        inside = (chances >= low) & (chances < low + 0.2)
        assert right[inside].mean() == pytest.approx(chances[inside].mean(), abs=0.06)


def test_the_same_score_is_worth_less_where_more_compete():
    calibration = calibration_of(drawn_pairs(apart=2.0), 1.0)
    few, same, many = (calibration.probability(np.array([3.0]), n)[0] for n in (10, 101, 10_000))
    assert few > same > many
    odds = many / (1 - many) / (same / (1 - same))
    assert odds == pytest.approx(100 / 9_999, rel=1e-6)


def test_the_threshold_has_the_best_f1():
    pairs = drawn_pairs(apart=3.0, captions=60, others=100, videos=101)
    calibration = calibration_of(pairs, 1.0)
    own, others = (np.array(scores)[:, 0] for scores in (pairs.own, pairs.others))

    def f1(threshold):
        kept = [(calibration.probability(one, 101) >= threshold).sum() for one in (own, others)]
        return 2 * kept[0] / (sum(kept) + len(own))

    best = max(f1(one) for one in np.linspace(0, 1, 2001))
    assert f1(calibration.threshold) >= best - 1e-9


def test_pairs_that_are_told_apart_perfectly_have_a_curve_all_the_same():
    found = calibration_of(Pairs(((5.0, 0.0),) * 9, ((1.0, 0.0),) * 30, 10), 1.0)
    chances = found.probability(np.array([5.0, 1.0]), 10)
    assert chances[0] > 0.9 > 0.1 > chances[1]
    assert chances[0] > found.threshold > chances[1]


def test_scores_all_alike_have_one_too():
    found = calibration_of(Pairs(((1.0, 0.0),) * 9, ((1.0, 0.0),) * 30, 10), 1.0)
    assert found.probability(np.array([1.0]), 10)[0] == pytest.approx(0.1, abs=0.01)


def test_each_weight_of_the_sound_has_a_curve_of_its_own():
    """Where the picture tells nothing and the sound all, the chance follows the sound."""
    rng = np.random.default_rng(0)
    own = tuple((float(picture), 1.0) for picture in rng.normal(size=50))
    others = tuple((float(picture), 0.0) for picture in rng.normal(size=500))
    pairs = Pairs(own, others, 11)
    assert abs(calibration_of(pairs, 0.0).slope) < 0.5
    assert calibration_of(pairs, 20.0).slope > 0.1
    assert calibration_of(pairs, 20.0).probability(np.array([20.0]), 11)[0] > 0.9


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    cache = write_planted_cache(work / "cache" / "planted")
    config = TrainConfig(
        work=work, cache=cache, epochs=6, audio_epochs=2, batch_size=16, name="run"
    )
    run_train(config, on_progress=lambda _: None)
    return work


def planted_ranker(work, name="run"):
    folder = None if name == "mean" else work / "runs" / name
    corpus = open_corpus(work / "cache" / "planted")
    return make_ranker(name, folder, corpus, torch.device("cpu"))


def test_the_pairs_are_those_of_val_and_are_kept(work):
    pairs = pairs_of(planted_ranker(work), work)
    (kept,) = (work / "index" / "calibrations").glob("*.json")
    written = kept.stat().st_mtime_ns
    assert (pairs.videos, len(pairs.own), len(pairs.others)) == (12, 24, 24 * 11)
    assert np.mean(pairs.own) > np.mean(pairs.others)
    assert pairs_of(planted_ranker(work), work) == pairs
    assert kept.stat().st_mtime_ns == written
    kept.write_text("{}")
    assert pairs_of(planted_ranker(work), work) == pairs


def test_a_head_with_better_scores_is_surer(work):
    trained, mean = (
        calibration_of(pairs_of(planted_ranker(work, name), work), 1.0) for name in ("run", "mean")
    )
    assert trained.threshold != mean.threshold


def test_without_captions_to_learn_from_there_is_no_chance(tmp_path):
    write_planted_cache(tmp_path / "cache" / "planted", with_captions=False)
    assert pairs_of(planted_ranker(tmp_path, "mean"), tmp_path) is None
