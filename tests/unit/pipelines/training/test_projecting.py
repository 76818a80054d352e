from dataclasses import replace

import numpy as np
import pytest
import torch
from making.planted import write_planted_cache
from safetensors.numpy import load_file, save_file

from vidret.data.cache import FeatureCache
from vidret.data.errors import ConfigError, DamagedError, MismatchError
from vidret.data.storage.projections import PROJECTIONS
from vidret.heads.scoring import score_in_blocks
from vidret.pipelines.config.fitting import AblateConfig, TrainConfig
from vidret.pipelines.config.settings import EvaluateConfig
from vidret.pipelines.evaluate import run_evaluate
from vidret.pipelines.train_heads import run_train
from vidret.pipelines.training.fitting import as_split, fit_run, load_data, new_run
from vidret.pipelines.training.learners import measure
from vidret.pipelines.training.projecting import (
    LastProjections,
    features_of_run,
    project_split,
    projection_groups,
    without_projections,
)
from vidret.pipelines.training.runs import load_weights, read_run

SPLITS = {"train": 32, "val": 12, "test": 12}
CPU = torch.device("cpu")
RATES = {"lr": 1e-2, "projection_lr": 1e-2}


@pytest.fixture(scope="module")
def hidden(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hidden")
    return write_planted_cache(folder, splits=SPLITS, hidden=True, dense=True, off=0.6)


def config_of(work, cache, **changes):
    settings = {"epochs": 2, "audio_epochs": 2, "batch_size": 8, "device": "cpu", **RATES}
    return TrainConfig(work=work, cache=cache, **settings | {"train_projection": True} | changes)


def train(work, cache, *, on_progress=lambda _: None, **changes):
    return run_train(config_of(work, cache, **changes), on_progress=on_progress)


@pytest.fixture(scope="module")
def trained(hidden, tmp_path_factory):
    """A run whose projections learned: only to look at."""
    return train(tmp_path_factory.mktemp("trained"), hidden)


def stop_after(epochs):
    def on_progress(progress):
        if progress.done == epochs:
            raise KeyboardInterrupt

    return on_progress


def files(report):
    return {path.name: path.read_bytes() for path in report.folder.glob("*.safetensors")}


def test_projections_learn_in_the_first_stage_and_lie_in_the_run(hidden, trained):
    stored, learned = load_file(hidden / PROJECTIONS), load_file(trained.folder / PROJECTIONS)
    assert stored.keys() == learned.keys()
    for name, tensor in stored.items():
        assert tensor.shape == learned[name].shape
        assert not np.array_equal(tensor, learned[name])


def test_training_them_learns_more_than_the_heads_alone(hidden, tmp_path, trained):
    plain = train(tmp_path, hidden, train_projection=False)
    assert not (plain.folder / PROJECTIONS).exists()
    losses = [run.run.history["video-text"][-1]["loss"] for run in (trained, plain)]
    assert losses[0] < 0.9 * losses[1]


@pytest.mark.parametrize("jitter", [False, True])
def test_the_second_stage_leaves_projections_and_the_video_head_to_the_bit(
    hidden, tmp_path, jitter
):
    seen = train(tmp_path, hidden, head="mgfi", jitter=jitter)
    heard = train(tmp_path, hidden, head="mgfi+cmfi", jitter=jitter, ema=0.0)
    assert files(seen)[PROJECTIONS] == files(heard)[PROJECTIONS]
    first, second = (load_weights(one.folder, one.run).state_dict() for one in (seen, heard))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("stopped_after", [1, 2, 3, 4])
@pytest.mark.parametrize("change", [{}, {"jitter": True, "ema": 0.9, "audio_weight": "val"}])
def test_a_run_stopped_anywhere_goes_on_to_the_same_bits(hidden, tmp_path, change, stopped_after):
    whole = train(tmp_path / "whole", hidden, **change)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, hidden, on_progress=stop_after(stopped_after), **change)
    resumed = train(tmp_path, hidden, **change)
    assert files(resumed) == files(whole)
    assert resumed.run == whole.run


def test_what_is_scored_is_what_training_computes(hidden, trained):
    """The hidden features through the trained weights, and the split of the run in its blocks."""
    features = FeatureCache.open(hidden).load("val")
    retriever = load_weights(trained.folder, trained.run).eval()
    projections = LastProjections(load_file(trained.folder / PROJECTIONS))
    raw = as_split(without_projections(features), CPU)
    rows = torch.arange(len(raw))
    with torch.inference_mode():
        texts, videos = projections.texts(raw.texts[rows]), projections.videos(raw.videos)
        forward = retriever(texts, videos)
    split = as_split(features_of_run(trained.folder, trained.run, features), CPU)
    scored = score_in_blocks(retriever, split.texts, split.videos)
    torch.testing.assert_close(scored, forward, rtol=0, atol=1e-5)


def test_evaluate_scores_a_run_with_its_own_projections(hidden, trained):
    work = trained.folder.parents[1]
    config = EvaluateConfig(work=work, run=trained.run.name, split="val", device="cpu")
    best = trained.best["audio"]
    assert run_evaluate(config).scores.t2v["R@1"] == pytest.approx(best["R@1"])
    assert run_evaluate(config).scores.t2v["MnR"] == pytest.approx(best["MnR"])
    features = FeatureCache.open(hidden).load("val")
    untrained = measure(load_weights(trained.folder, trained.run), as_split(features, CPU))
    assert untrained["MnR"] != pytest.approx(best["MnR"])


def test_a_run_without_them_gives_what_it_gives_on_projected_features(tmp_path):
    """With right projections a hidden cache is a projected one, but for the rounding to float16."""
    plain = write_planted_cache(tmp_path / "plain", splits=SPLITS)
    deep = write_planted_cache(tmp_path / "deep", splits=SPLITS, hidden=True, bias=False)
    one, other = (
        train(tmp_path, cache, head="mgfi", train_projection=False, epochs=1).run.history
        for cache in (plain, deep)
    )
    losses = [history["video-text"][0]["loss"] for history in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=5e-3)


def test_the_mean_of_the_frames_has_something_to_learn_then(hidden, tmp_path):
    report = train(tmp_path, hidden, head="mean")
    epochs = report.run.history["video-text"]
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    assert train(tmp_path, hidden, head="mean", train_projection=False).run.history == {}


def test_a_head_that_shares_the_first_stage_shares_its_projections(hidden, tmp_path):
    cache = FeatureCache.open(hidden)
    config = AblateConfig(
        work=tmp_path, cache=hidden, epochs=1, audio_epochs=1, train_projection=True, **RATES
    )
    data = load_data(cache, "val", CPU)
    seen, heard = (new_run(cache, head, 0, config) for head in ("mgfi", "mgfi+cmfi"))
    fit_run(tmp_path / "seen", seen, data)
    fit_run(tmp_path / "heard", heard, data, after=tmp_path / "seen")
    alone = fit_run(tmp_path / "alone", heard, data)
    shared = read_run(tmp_path / "heard")
    assert shared.history["audio"] == alone.history["audio"]
    one, other = ((tmp_path / name / PROJECTIONS).read_bytes() for name in ("seen", "heard"))
    assert one == other


def test_their_decay_pulls_to_what_the_cache_holds(hidden, tmp_path):
    stored = load_file(hidden / PROJECTIONS)
    near, far = (
        load_file(
            train(
                tmp_path, hidden, head="mean", weight_decay=decay, decay_to="start", epochs=3
            ).folder
            / PROJECTIONS
        )
        for decay in (50.0, 0.0)
    )
    moved = [np.abs(one["text.weight"] - stored["text.weight"]).mean() for one in (near, far)]
    assert moved[0] < 0.6 * moved[1]


def test_projections_have_groups_of_their_own():
    tensors = {"text.weight": np.ones((3, 2), np.float32), "text.bias": np.ones(2, np.float32)}
    projections = LastProjections(tensors)
    matrices, biases = projection_groups(projections, lr=0.5, weight_decay=0.1)
    assert [w.shape for w in matrices["params"]] == [(3, 2)]
    assert [w.shape for w in biases["params"]] == [(2,)]
    assert (matrices["lr"], matrices["weight_decay"]) == (0.5, 0.1)
    assert (biases["lr"], biases["weight_decay"]) == (0.5, 0.0)


def test_a_side_without_a_projection_stays_as_it_is(hidden):
    split = as_split(without_projections(FeatureCache.open(hidden).load("val")), CPU)
    stored = load_file(hidden / PROJECTIONS)
    only_text = {name: tensor for name, tensor in stored.items() if name.startswith("text")}
    projected = project_split(split, LastProjections(only_text))
    assert torch.equal(projected.videos.frames, split.videos.frames)
    assert projected.texts.values.shape[1] < split.texts.values.shape[1]


def test_the_weights_come_out_as_they_went_in(hidden):
    stored = load_file(hidden / PROJECTIONS)
    found = LastProjections(stored).tensors()
    assert found.keys() == stored.keys()
    assert all(np.array_equal(found[name], stored[name]) for name in stored)


def test_projected_features_have_none_to_train(tmp_path):
    cache = write_planted_cache(tmp_path / "planted", splits=SPLITS)
    with pytest.raises(ConfigError, match=r"planted holds projected ones: .*--features hidden"):
        train(tmp_path, cache)
    assert not (tmp_path / "runs").exists()


def test_jitter_needs_dense_frames(tmp_path):
    cache = write_planted_cache(tmp_path / "planted", splits=SPLITS)
    with pytest.raises(ConfigError, match=r"planted holds 4 a video: .*--sampling fps:1"):
        train(tmp_path, cache, train_projection=False, jitter=True)
    assert not (tmp_path / "runs").exists()


def test_a_run_that_lost_its_projections_is_damaged(hidden, tmp_path):
    report = train(tmp_path, hidden, head="mean")
    features = FeatureCache.open(hidden).load("val")
    (report.folder / PROJECTIONS).unlink()
    with pytest.raises(DamagedError, match=r"projections\.safetensors cannot be read"):
        features_of_run(report.folder, report.run, features)
    (report.folder / PROJECTIONS).write_bytes(b"cut")
    with pytest.raises(DamagedError, match=r"projections\.safetensors cannot be read"):
        features_of_run(report.folder, report.run, features)


def test_projections_of_another_backbone_are_refused_by_their_sizes(hidden, tmp_path):
    report = train(tmp_path, hidden, head="mean")
    path = report.folder / PROJECTIONS
    tensors = load_file(path)
    save_file(tensors | {"text.weight": np.ones((5, 3), np.float32)}, path)
    features = FeatureCache.open(hidden).load("val")
    with pytest.raises(MismatchError, match=r"text\.weight is 5 x 3 in the file, and 20 x 16 in"):
        features_of_run(report.folder, report.run, features)


def test_projected_features_do_not_fit_a_run_that_trained_its_own(tmp_path, trained):
    other = write_planted_cache(tmp_path / "planted", splits=SPLITS)
    features = FeatureCache.open(other).load("val")
    with pytest.raises(ConfigError, match="holds projected ones"):
        features_of_run(trained.folder, trained.run, features)
    plain = replace(trained.run, settings=trained.run.settings | {"train_projection": False})
    assert features_of_run(trained.folder, plain, features) is features
