import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from making.caches import a_failure
from making.heads import shake
from making.planted import load_split, planted_fingerprint, write_planted_cache

from vidret.data.batches import Texts, Videos
from vidret.data.cache import FeatureCache
from vidret.data.errors import (
    BelowThresholdError,
    ConfigError,
    DamagedError,
    MismatchError,
    MissingError,
)
from vidret.heads.catalog import build_retriever
from vidret.pipelines.config.fitting import TrainConfig
from vidret.pipelines.config.settings import EvaluateConfig
from vidret.pipelines.evaluate import require_same_features, run_evaluate, score_split
from vidret.pipelines.train_heads import run_train
from vidret.pipelines.training.runs import WEIGHTS, load_weights, read_run
from vidret.pipelines.training.splits import Split

SMALL = {"train": 16, "val": 8, "test": 12}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return write_planted_cache(tmp_path_factory.mktemp("planted"), splits=SMALL)


@pytest.fixture(scope="module")
def work(tmp_path_factory, cache):
    """Two runs: `untrained`, the mean of the frames, and `trained`."""
    work = tmp_path_factory.mktemp("work")
    for name, head in (("untrained", "mean"), ("trained", "mgfi+cmfi")):
        config = TrainConfig(
            work=work, cache=cache, head=head, name=name, epochs=2, audio_epochs=1, batch_size=8
        )
        run_train(config, on_progress=lambda _: None)
    return work


def evaluate(work, run="untrained", **settings):
    return run_evaluate(EvaluateConfig(work=work, run=run, device="cpu", **settings))


def similarity_by_hand(features):
    """Cosine of the sentence with the mean of the frames at unit length, in float64."""
    sentences = np.asarray(features.sentence, np.float64)
    frames = np.asarray(features.frames, np.float64)
    frames = frames / np.linalg.norm(frames, axis=-1, keepdims=True)
    videos = (frames * features.frame_mask[..., None]).sum(1)
    videos = videos / np.linalg.norm(videos, axis=-1, keepdims=True)
    sentences = sentences / np.linalg.norm(sentences, axis=-1, keepdims=True)
    return sentences @ videos.T


def ranks_by_hand(similarity, owners):
    """Text to video, and video to the best caption of every video, one query at a time.

    Twins look the same, so a rank is a list: the places that chance may give to the right answer.
    """
    similarity = similarity.round(5)  # twins are the same but for the last bits
    t2v = [places(row, own) for row, own in zip(similarity, owners, strict=True)]
    videos = range(similarity.shape[1])
    v2t = []
    for query in videos:
        best = np.array([similarity[owners == video, query].max() for video in videos])
        v2t.append(places(best, query))
    return t2v, v2t


def places(scores, own):
    first = 1 + sum(scores > scores[own])
    return np.arange(first, first + sum(scores == scores[own]))


def assert_numbers_are(found, ranks):
    recalls = [100 * np.mean([np.mean(one <= k) for one in ranks]) for k in (1, 5, 10, 50)]
    expected = dict(zip(("R@1", "R@5", "R@10", "R@50"), recalls, strict=True))
    expected["geometric mean"] = np.prod(recalls[:3]) ** (1 / 3)
    means = [one.mean() for one in ranks]
    expected |= {"MdR": np.median(means), "MnR": np.mean(means), "queries": len(ranks)}
    assert found == pytest.approx(expected | {"ties": sum(len(one) > 1 for one in ranks)})


def test_the_numbers_are_those_of_a_computation_by_hand(work, cache):
    features = FeatureCache.open(cache).load("test")
    t2v, v2t = ranks_by_hand(similarity_by_hand(features), features.owners)
    scores = evaluate(work).scores
    assert_numbers_are(scores.t2v, t2v)
    assert_numbers_are(scores.v2t, v2t)
    kinds = np.array(features.kind)
    assert scores.kinds == pytest.approx(
        {
            kind: 100 * np.mean([np.mean(t2v[row] == 1) for row in np.flatnonzero(kinds == kind)])
            for kind in ("event", "sound")
        }
    )


def test_a_trained_run_is_scored_as_its_own_forward_does(work, cache):
    features = FeatureCache.open(cache).load("test")
    split = load_split(cache, "test")
    run = work / "runs" / "trained"
    retriever = load_weights(run, read_run(run)).eval()
    with torch.inference_mode():
        similarity = retriever(split.texts[:], split.videos).numpy()
    t2v, v2t = ranks_by_hand(similarity, features.owners)
    scores = evaluate(work, "trained").scores
    assert_numbers_are(scores.t2v, t2v)
    assert_numbers_are(scores.v2t, v2t)


@pytest.mark.parametrize("mem_budget", [1, 64])
def test_any_memory_gives_the_same_numbers(work, mem_budget):
    usual = evaluate(work, "trained")
    assert evaluate(work, "trained", mem_budget=mem_budget).scores == usual.scores


def test_the_second_stage_leaves_what_the_picture_says_as_it_was(work, cache, tmp_path):
    config = TrainConfig(
        work=tmp_path, cache=cache, head="mgfi", name="seen", epochs=2, batch_size=8
    )
    run_train(config, on_progress=lambda _: None)
    without_sound = evaluate(work, "trained", audio_weight=0.0)
    assert without_sound.scores == evaluate(tmp_path, "seen").scores
    assert without_sound.scores != evaluate(work, "trained").scores
    assert "the sound counts 0 times, as was asked for" in without_sound.setting.notes


def test_a_head_without_sound_cannot_weigh_it(work):
    with pytest.raises(ConfigError, match="the head hears no sound"):
        evaluate(work, "untrained", audio_weight=1.0)


def test_coarser_scores_say_so(work):
    report = evaluate(work, "trained", precision="bfloat16")
    (note,) = set(report.setting.notes) - set(evaluate(work, "trained").setting.notes)
    assert "bfloat16" in note
    exact = evaluate(work, "trained").scores.t2v["MnR"]
    assert report.scores.t2v["MnR"] == pytest.approx(exact, abs=0.2)


def test_two_texts_and_two_videos_by_hand(cache):
    """Both texts are nearer to the first video: one of two is right, either way round."""
    features = FeatureCache.open(cache).load("test")
    frames = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    texts = torch.tensor([[1.0, 0.2], [0.9, 0.8]])
    split = Split(
        texts=Texts(
            sentence=texts, words=texts[:, None], word_mask=torch.ones(2, 1, dtype=torch.bool)
        ),
        videos=Videos(
            frames=frames,
            frame_mask=torch.ones(2, 1, dtype=torch.bool),
            audio=torch.zeros(2, 3),
            audio_mask=torch.zeros(2, dtype=torch.bool),
        ),
        owners=torch.tensor([0, 1]),
    )
    mean = build_retriever("mean", dim=2, audio_dim=3, logit_scale=1.0)
    scores = score_split(mean, split, replace(features, kind=["look", "sound"]))
    assert (scores.t2v["R@1"], scores.t2v["R@5"], scores.t2v["MnR"]) == (50.0, 100.0, 1.5)
    assert (scores.v2t["R@1"], scores.v2t["MnR"]) == (100.0, 1.0)
    assert scores.kinds == {"look": 100.0, "sound": 0.0}


def test_captions_without_a_kind_are_in_no_kind(cache):
    features = FeatureCache.open(cache).load("test")
    mean = build_retriever("mean", dim=16, audio_dim=8, logit_scale=1.0)
    kinds = ["", "event"] * (len(features.kind) // 2)
    assert set(
        score_split(mean, load_split(cache, "test"), replace(features, kind=kinds)).kinds
    ) == {"event"}
    plain = replace(features, kind=[""] * len(kinds))
    assert score_split(mean, load_split(cache, "test"), plain).kinds == {}


def by_captions(similarity, owners):
    """Video to text, every caption of the other videos a candidate, one query at a time."""
    similarity = similarity.round(5)
    ranks = []
    for query in range(similarity.shape[1]):
        mine = similarity[owners == query, query].max()
        ranks.append(places(np.append(similarity[owners != query, query], mine), -1))
    return ranks


def test_captions_compete_each_alone_where_that_is_asked_for(work, cache):
    features = FeatureCache.open(cache).load("test")
    report = evaluate(work, v2t="caption")
    assert_numbers_are(
        report.scores.v2t, by_captions(similarity_by_hand(features), features.owners)
    )
    assert report.scores.t2v == evaluate(work).scores.t2v
    assert (report.setting.v2t_by, evaluate(work).setting.v2t_by) == ("caption", "group")
    assert report.scores.v2t["MnR"] > evaluate(work).scores.v2t["MnR"]


@pytest.mark.parametrize("head", ["mean", "mgfi+cmfi"])
@pytest.mark.parametrize("v2t_by", ["group", "caption"])
def test_similarities_that_would_not_fit_are_ranked_in_blocks_alike(cache, head, v2t_by):
    """Heads round in another way in other blocks, by 1e-5 at most: no two scores are as near."""
    features, split = FeatureCache.open(cache).load("test"), load_split(cache, "test")
    retriever = shake(build_retriever(head, dim=16, audio_dim=8, logit_scale=1.0))
    whole = score_split(retriever, split, features, v2t_by=v2t_by)
    assert score_split(retriever, split, features, v2t_by=v2t_by, memory=0) == whole


def test_a_similarity_that_is_no_number_is_named(cache):
    features, split = FeatureCache.open(cache).load("test"), load_split(cache, "test")
    frames = split.videos.frames.clone()
    frames[3] = torch.nan
    broken = replace(split, videos=replace(split.videos, frames=frames))
    mean = build_retriever("mean", dim=16, audio_dim=8, logit_scale=1.0)
    words = f"text {features.caption_ids[0]} and video {features.video_ids[3]} is nan"
    for memory in (0, 2**20):
        with pytest.raises(DamagedError, match=words):
            score_split(mean, broken, features, memory=memory)


def test_a_table_says_what_it_is_measured_on(work):
    setting = evaluate(work).setting
    assert (setting.dataset, setting.split, setting.protocol) == (
        "planted",
        "test",
        "planted-multi",
    )
    assert (setting.videos, setting.captions, setting.chance) == (12, 24, 100 / 12)
    assert (setting.select_on, setting.notes) == ("val", ("planted",))
    assert (setting.coverage.expected, setting.coverage.found) == (12, 12)
    assert setting.coverage.sound["silent"] == 2


def test_videos_that_failed_lower_the_coverage(tmp_path, work):
    folder = write_planted_cache(
        tmp_path / "planted", splits={"test": 8}, failures=[a_failure(0), a_failure(1)]
    )
    setting = evaluate(work, cache=folder).setting
    assert (setting.coverage.expected, setting.coverage.found, setting.videos) == (10, 8, 8)


def test_a_report_is_json(work):
    told = json.loads(json.dumps(evaluate(work).as_json()))
    assert told["scores"]["t2v"]["queries"] == 24
    assert told["setting"]["coverage"]["sound"] == {
        "ok": 10, "silent": 2, "no-stream": 0, "failed": 0
    }  # fmt: skip
    assert told["chance"] == pytest.approx(100 / 12)


def test_another_split_is_scored_on_demand(work):
    assert evaluate(work, split="val").setting.videos == 8


def test_an_unknown_split_names_the_known_ones(work):
    with pytest.raises(ConfigError, match="no split 'dev': choose one of test, train, val"):
        evaluate(work, split="dev")


def test_without_a_name_the_newest_run_is_scored(work):
    assert evaluate(work, None).run == "trained"


def test_another_cache_of_the_same_features_may_be_scored(tmp_path, work):
    folder = write_planted_cache(
        tmp_path / "planted", splits={"test": 4}, seed=1, dataset="other", dataset_hash="beef"
    )
    setting = evaluate(work, cache=folder).setting
    assert (setting.dataset, setting.videos) == ("other", 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames": 12}, "frames is 12 there and 4 here"),
        ({"backbone_weights": "bbbb"}, "backbone_weights is bbbb there and aaaa here"),
        ({"decoder": "ffmpeg 7"}, "decoder is ffmpeg 7 there and av 18.1.0 here"),
    ],
)
def test_a_cache_of_other_features_is_refused_by_name(tmp_path, work, change, words):
    folder = write_planted_cache(tmp_path / "planted", splits={"test": 4}, **change)
    with pytest.raises(MismatchError, match=words) as refused:
        evaluate(work, cache=folder)
    assert refused.value.exit_code == 5
    assert str(folder) in str(refused.value)


def test_the_same_features_are_the_same_whatever_the_dataset():
    made = planted_fingerprint()
    require_same_features(replace(made, dataset="x", dataset_hash="y", vidret="9"), made, "there")


def test_a_recall_that_was_reached_is_no_error(work):
    report = evaluate(work, "trained", fail_under="R@10=1")
    assert report.verdict is None


def test_a_recall_that_was_just_reached_is_no_error(work):
    found = evaluate(work).scores.t2v["R@10"]
    report = replace(evaluate(work), threshold=("R@10", found))
    assert report.verdict is None


def test_a_recall_that_was_missed_ends_with_6(work):
    verdict = evaluate(work, fail_under="R@1=100").verdict
    assert isinstance(verdict, BelowThresholdError)
    assert verdict.exit_code == 6
    found = evaluate(work).scores.t2v["R@1"]
    assert str(verdict) == f"R@1 text to video of untrained is {found:.1f} on test, below 100.0"


def test_a_limit_on_what_nobody_measures_is_refused_before_anything_is_scored(tmp_path):
    with pytest.raises(ConfigError, match="fail_under asks for R@3, and measured are R@1, R@5"):
        evaluate(tmp_path, fail_under="R@3=10")


def test_a_run_that_has_not_finished_is_not_scored(tmp_path, cache):
    config = TrainConfig(work=tmp_path, cache=cache, head="mean", name="mine")
    folder = run_train(config, on_progress=lambda _: None).folder
    (folder / WEIGHTS).unlink()
    with pytest.raises(MissingError, match="has not finished: go on with"):
        evaluate(tmp_path, "mine")


def test_a_damaged_cache_says_how_to_repair_it(tmp_path, work):
    folder = write_planted_cache(tmp_path / "planted", splits={"test": 4})
    (folder / "videos-00000.h5").write_bytes(b"cut")
    with pytest.raises(DamagedError, match=f"vidret cache repair --cache {folder}"):
        evaluate(work, cache=folder)
