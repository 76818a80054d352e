import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from making.planted import CAPTIONS_PER_VIDEO, write_planted_cache
from making.tuned import whole_epochs
from safetensors.torch import load_file

from vidret.data.cache import FeatureCache
from vidret.data.errors import ConfigError, DamagedError, MismatchError, MissingError
from vidret.data.manifest import read_manifest, write_manifest
from vidret.data.storage.hdf5 import read_shard_entry
from vidret.data.storage.locks import LOCK, folder_lock
from vidret.pipelines.config.fitting import TrainConfig
from vidret.pipelines.config.settings import EvaluateConfig
from vidret.pipelines.evaluate import run_evaluate
from vidret.pipelines.train_heads import run_train
from vidret.pipelines.training.checkpoints import STATE
from vidret.pipelines.training.costs import MEMORY
from vidret.pipelines.training.fitting import best_epoch, stages_of
from vidret.pipelines.training.journal import LOG, read_log
from vidret.pipelines.training.runs import RUN, WEIGHTS, read_run, write_run


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return write_planted_cache(tmp_path_factory.mktemp("planted"), splits=SMALL)


SMALL = {"train": 16, "val": 8, "test": 8}


def settle(work, cache, **changes):
    settings = {"epochs": 2, "audio_epochs": 2, "batch_size": 8, "lr": 1e-2, "device": "cpu"}
    return TrainConfig(work=work, cache=cache, **settings | changes)


def train(work, cache, *, on_progress=lambda _: None, **changes):
    return run_train(settle(work, cache, **changes), on_progress=on_progress)


def stop_after(epochs):
    """What an on_progress does to a run that is stopped there."""

    def on_progress(progress):
        if progress.done == epochs:
            raise KeyboardInterrupt

    return on_progress


def weights(report):
    return load_file(report.folder / WEIGHTS)


def same_bits(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def test_a_fit_leaves_a_run_with_its_numbers_and_weights(tmp_path, cache):
    report = train(tmp_path, cache)
    run = read_run(report.folder)
    assert (run, run.complete, run.cache) == (report.run, True, cache)
    assert {stage: len(epochs) for stage, epochs in run.history.items()} == {
        "video-text": 2,
        "audio": 2,
    }
    assert sorted(path.name for path in report.folder.iterdir()) == [
        LOCK,
        WEIGHTS,
        LOG,
        MEMORY,
        RUN,
    ]


def test_the_report_says_what_was_fitted_on_what(tmp_path, cache):
    report = train(tmp_path, cache)
    split = FeatureCache.open(cache).load("train")
    assert (report.captions, report.videos) == (len(split.caption_ids), len(split.video_ids))
    assert report.with_sound == sum(state == "ok" for state in split.audio_state)
    told = json.loads(json.dumps(report.as_json()))
    assert told["train"] == {"captions": 32, "videos": 16, "with_sound": 14}
    assert told["best"]["audio"] in told["history"]["audio"]


@pytest.mark.parametrize("head", ["mgfi", "mgfi+cmfi"])
def test_the_same_command_twice_gives_the_same_bits(tmp_path, cache, head):
    first = train(tmp_path / "a", cache, head=head)
    second = train(tmp_path / "b", cache, head=head)
    assert (first.folder / WEIGHTS).read_bytes() == (second.folder / WEIGHTS).read_bytes()
    assert (first.folder / RUN).read_text() == (second.folder / RUN).read_text()


def test_a_finished_run_is_reported_and_not_trained_again(tmp_path, cache):
    first = train(tmp_path, cache)
    before = (first.folder / WEIGHTS).stat().st_mtime_ns
    epochs = []
    second = train(tmp_path, cache, on_progress=epochs.append)
    assert (second, epochs) == (replace(first, was_done=True), [])
    assert (first.folder / WEIGHTS).stat().st_mtime_ns == before


def test_a_finished_run_whose_weights_are_cut_short_is_not_taken_for_done(tmp_path, cache):
    weights = train(tmp_path, cache).folder / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(DamagedError, match=r"cannot be read .* remove .* and train again"):
        train(tmp_path, cache)


def test_a_run_that_another_process_fits_is_left_to_it(tmp_path, cache):
    folder = train(tmp_path, cache).folder
    with folder_lock(folder), pytest.raises(MissingError, match="is being written by process"):
        train(tmp_path, cache)


def test_a_state_that_is_gone_is_told(tmp_path, cache, caplog):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, cache, on_progress=stop_after(1))
    (state,) = tmp_path.rglob(STATE)
    state.unlink()
    train(tmp_path, cache)
    assert "is gone: the run begins anew" in caplog.text


@pytest.mark.parametrize("given", [{"head": "s-f"}, {"seed": 4}, {"cache": Path("another")}])
def test_what_contradicts_a_run_beside_resume_is_refused(tmp_path, cache, given):
    name = train(tmp_path, cache).run.name
    (setting,) = given
    with pytest.raises(ConfigError, match=f"^{setting} is .*leave"):
        run_train(TrainConfig(work=tmp_path, resume=name, **given), on_progress=lambda _: None)


@pytest.mark.parametrize("stopped_after", [1, 2, 3, 4])
def test_a_run_stopped_anywhere_goes_on_to_the_same_bits(tmp_path, cache, stopped_after):
    whole = train(tmp_path / "whole", cache)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", cache, on_progress=stop_after(stopped_after))
    epochs = []
    resumed = train(tmp_path / "stopped", cache, on_progress=whole_epochs(epochs))
    assert epochs == list(range(stopped_after + 1, 5))
    assert same_bits(weights(resumed), weights(whole))
    assert resumed.run == whole.run


def test_a_run_goes_on_by_its_name(tmp_path, cache):
    whole = train(tmp_path / "whole", cache)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, cache, on_progress=stop_after(3))
    resumed = train(tmp_path, None, resume=whole.run.name)
    assert same_bits(weights(resumed), weights(whole))


def test_a_run_killed_between_its_weights_and_its_numbers_keeps_both(tmp_path, cache):
    whole = train(tmp_path / "whole", cache)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, cache, on_progress=stop_after(4))
    folder = tmp_path / "runs" / whole.run.name
    (folder / WEIGHTS).write_bytes((whole.folder / WEIGHTS).read_bytes())
    assert not read_run(folder).complete
    assert train(tmp_path, cache).run == whole.run


def test_a_run_whose_weights_were_removed_is_fitted_again(tmp_path, cache):
    first = train(tmp_path, cache)
    expected = weights(first)
    (first.folder / WEIGHTS).unlink()
    assert same_bits(weights(train(tmp_path, cache)), expected)


def test_a_run_may_have_a_name(tmp_path, cache):
    report = train(tmp_path, cache, name="first-try")
    assert (report.folder.name, read_run(report.folder).name) == ("first-try", "first-try")


@pytest.mark.parametrize("change", [{"epochs": 3}, {"seed": 1}, {"head": "s-f"}])
def test_a_name_that_other_settings_have_is_refused(tmp_path, cache, change):
    train(tmp_path, cache, head="mgfi", name="mine")
    with pytest.raises(MismatchError, match=r"run mine was begun with other settings.*--name"):
        train(tmp_path, cache, **{"head": "mgfi"} | change, name="mine")


def test_a_name_that_another_cache_has_is_refused(tmp_path, cache):
    train(tmp_path, cache, head="mean", name="mine")
    other = write_planted_cache(tmp_path / "other", splits=SMALL, frames=9)
    with pytest.raises(MismatchError, match=r"run mine .* frames is 4 there and 9 here"):
        train(tmp_path, other, head="mean", name="mine")


def test_a_name_that_leads_elsewhere_is_refused(tmp_path, cache):
    with pytest.raises(ConfigError, match="plain name"):
        train(tmp_path, cache, name="../mine")


def test_a_run_does_not_go_on_with_another_cache_in_the_place_of_its_own(tmp_path):
    folder = write_planted_cache(tmp_path / "planted", splits=SMALL)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, folder, name="mine", on_progress=stop_after(1))
    manifest = read_manifest(folder)
    write_manifest(
        folder, replace(manifest, fingerprint=replace(manifest.fingerprint, decoder="ffmpeg 7"))
    )
    with pytest.raises(MismatchError, match="decoder is ffmpeg 7 there and av"):
        train(tmp_path, None, resume="mine")


def test_going_on_with_an_unknown_run_names_the_known_ones(tmp_path, cache):
    train(tmp_path, cache, head="mean", name="mine")
    with pytest.raises(MissingError, match=r"no run 'yours' .* there are mine"):
        train(tmp_path, cache, resume="yours")


def test_a_damaged_state_is_named(tmp_path, cache):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, cache, name="mine", on_progress=stop_after(1))
    (tmp_path / "runs" / "mine" / STATE).write_bytes(b"cut")
    with pytest.raises(DamagedError, match=r"state\.pt cannot be read"):
        train(tmp_path, cache, resume="mine")


def test_an_unknown_head_names_the_one_that_was_meant(tmp_path, cache):
    with pytest.raises(ConfigError, match="did you mean 'mgfi'"):
        train(tmp_path, cache, head="mgfl")
    assert not (tmp_path / "runs").exists()


def test_without_any_cache_the_error_says_how_to_make_one(tmp_path):
    with pytest.raises(MissingError, match="vidret extract"):
        train(tmp_path, None)


def test_without_a_named_cache_the_newest_is_taken(tmp_path):
    folder = write_planted_cache(tmp_path / "cache" / "planted", splits=SMALL)
    assert train(tmp_path, None, head="mean").run.cache == folder


def test_a_cache_is_found_from_any_folder_later(tmp_path, monkeypatch):
    write_planted_cache(tmp_path / "planted", splits=SMALL)
    monkeypatch.chdir(tmp_path)
    report = train(Path("work"), Path("planted"), head="mean")
    assert report.run.cache == tmp_path / "planted"


def test_a_missing_split_names_those_that_there_are(tmp_path, cache):
    with pytest.raises(ConfigError, match="no split 'valid': choose one of test, train, val"):
        train(tmp_path, cache, select_on="valid")


@pytest.mark.parametrize("choice", [{}, {"head": "mgfi"}])
def test_a_cache_without_a_train_split_is_not_said_to_lack_anything_else(tmp_path, caplog, choice):
    caplog.set_level("INFO")
    folder = write_planted_cache(tmp_path / "planted", splits={"all": 8})
    with pytest.raises(ConfigError, match="no split 'train': choose one of all"):
        train(tmp_path, folder, **choice)
    for word in ("sound", "held out"):
        assert word not in caplog.text


def test_a_cache_without_captions_is_refused(tmp_path):
    folder = write_planted_cache(tmp_path / "planted", splits=SMALL, with_captions=False)
    with pytest.raises(MissingError, match=r"split 'train' .* has no captions"):
        train(tmp_path, folder)


def test_a_head_for_sound_needs_videos_with_sound(tmp_path):
    folder = write_planted_cache(tmp_path / "planted", splits=SMALL, with_sound=False)
    with pytest.raises(MissingError, match=r"no video of the train split .* has sound.*train mgfi"):
        train(tmp_path, folder, head="mgfi+cmfi")


def test_a_head_for_sound_needs_sound_that_was_encoded(tmp_path):
    folder = write_planted_cache(tmp_path / "planted", splits=SMALL)
    unheard(folder)
    with pytest.raises(MissingError, match=r"made with --audio none.*train mgfi"):
        train(tmp_path, folder, head="mgfi+cmfi")
    assert train(tmp_path, folder, head="mgfi").run.complete


def unheard(folder):
    """Make of a cache what `--audio none` gives: states of the sound, and no embedding."""
    manifest = read_manifest(folder)
    fingerprint = replace(manifest.fingerprint, audio_model="none", audio_dim=0)
    entries = []
    for entry in manifest.shards:
        if entry.kind == "video":
            with h5py.File(folder / entry.file, "a") as shard:
                rows = len(shard["ids"])
                del shard["audio"]
                shard.create_dataset("audio", data=np.zeros((rows, 0), np.float16))
        entries.append(read_shard_entry(folder / entry.file))
    write_manifest(folder, replace(manifest, fingerprint=fingerprint, shards=tuple(entries)))


def test_features_that_are_not_finite_are_refused_before_the_fit(tmp_path):
    folder = write_planted_cache(tmp_path / "planted", splits=SMALL)
    with h5py.File(folder / "videos-00000.h5", "a") as shard:
        shard["frames"][3, 1, 2] = np.inf
    with pytest.raises(DamagedError, match="features of train-3 are not finite"):
        train(tmp_path, folder)


def test_a_head_with_nothing_to_learn_is_ready_at_once(tmp_path, cache):
    report = train(tmp_path, cache, head="mean")
    assert (report.best, report.run.history, report.run.complete) == ({}, {}, True)


def test_the_mean_can_learn_to_listen(tmp_path, cache):
    report = train(tmp_path, cache, head="mean+cmfi")
    assert list(report.run.history) == ["audio"]
    assert any(name.startswith("audio_head.") for name in weights(report))


def test_without_epochs_a_stage_is_passed_over(tmp_path, cache):
    report = train(tmp_path, cache, audio_epochs=0)
    assert report.run.history["audio"] == []
    assert "audio" not in report.best


def test_stages_follow_from_the_head(tmp_path, cache):
    run = train(tmp_path, cache).run
    names = {
        head: [stage.name for stage in stages_of(replace(run, head=head))]
        for head in ("mean", "mean+cmfi", "mgfi", "mgfi+cmfi")
    }
    assert names == {
        "mean": [],
        "mean+cmfi": ["audio"],
        "mgfi": ["video-text"],
        "mgfi+cmfi": ["video-text", "audio"],
    }
    shared = stages_of(run, shares_first_stage=True)
    assert [stage.name for stage in shared] == ["audio"]


def test_each_stage_has_its_own_epochs_and_learning_rate(tmp_path, cache):
    run = train(tmp_path, cache, audio_epochs=1, audio_lr=0.5).run
    stages = {stage.name: (stage.epochs, stage.lr) for stage in stages_of(run)}
    assert stages == {"video-text": (2, 1e-2), "audio": (1, 0.5)}


def test_the_second_stage_takes_from_the_first_what_it_has_not_of_its_own(tmp_path, cache):
    run = train(tmp_path, cache, audio_epochs=1).run
    own = {"audio_batch_size": 4, "audio_weight_decay": 0.5, "ema": 0.9, "pairs": "distinct"}
    for settings, expected in ((run.settings, (8, 0.01)), (run.settings | own, (4, 0.5))):
        first, second = stages_of(replace(run, settings=settings))
        assert (first.batch_size, first.weight_decay) == (8, 0.01)
        assert (second.batch_size, second.weight_decay) == expected
        assert (first.ema, first.pairs) == (second.ema, second.pairs)
        assert second.pairs == settings["pairs"]


def test_the_weight_of_the_sound_is_found_written_and_used(tmp_path, cache):
    report = train(tmp_path, cache, audio_weight="val", audio_lr=1e-1)
    run = read_run(report.folder)
    best = max(run.audio_weight.tried, key=lambda one: (one["R@1"], -one["MnR"]))
    its = next(one for one in run.audio_weight.tried if one["weight"] == run.audio_weight.chosen)
    assert (its["R@1"], its["MnR"]) == (best["R@1"], best["MnR"])
    assert weights(report)["audio_weight"].item() == run.audio_weight.chosen
    config = EvaluateConfig(work=tmp_path, split="val", device="cpu")
    scored = run_evaluate(config).scores.t2v
    assert (scored["R@1"], scored["MnR"]) == pytest.approx((best["R@1"], best["MnR"]))


def test_the_weight_of_the_sound_is_found_again_when_a_run_goes_on(tmp_path, cache):
    whole = train(tmp_path / "whole", cache, audio_weight="val")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, cache, audio_weight="val", on_progress=stop_after(4))
    resumed = train(tmp_path, cache, audio_weight="val")
    assert (resumed.run, same_bits(weights(resumed), weights(whole))) == (whole.run, True)


def test_a_head_without_sound_has_no_weight_of_it_to_find(tmp_path, cache):
    assert train(tmp_path, cache, head="mgfi", audio_weight="val").run.audio_weight is None


def test_a_state_of_another_width_is_refused_tensor_by_tensor(tmp_path, cache):
    for name, hidden in (("narrow", 8), ("wide", 24)):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, cache, name=name, hidden=hidden, on_progress=stop_after(1))
    state = (tmp_path / "runs" / "narrow" / STATE).read_bytes()
    (tmp_path / "runs" / "wide" / STATE).write_bytes(state)
    told = r"state\.pt is made .*\.feed_forward\S*\.weight is 8 x 16 in the file, and 24 x 16 in t"
    with pytest.raises(MismatchError, match=told):
        train(tmp_path, cache, resume="wide", hidden=24)


def test_a_loss_that_is_not_finite_is_told_and_logged_with_its_captions(tmp_path, cache):
    with pytest.raises(DamagedError, match=r"stage video-text is (nan|inf) in epoch \d.*--lr"):
        train(tmp_path, cache, name="mine", lr=1e30, epochs=4)
    last = read_log(tmp_path / "runs" / "mine")[-1]
    assert last["kind"] == "stopped"
    assert all(caption.startswith("train-") for caption in last["captions"])
    assert not (tmp_path / "runs" / "mine" / WEIGHTS).exists()


def test_the_best_epoch_is_that_of_the_highest_recall_then_of_the_lowest_rank():
    epochs = [
        {"epoch": 1, "R@1": 30.0, "MnR": 5.0},
        {"epoch": 2, "R@1": 40.0, "MnR": 4.0},
        {"epoch": 3, "R@1": 40.0, "MnR": 3.0},
        {"epoch": 4, "R@1": 40.0, "MnR": 3.0},
    ]
    assert best_epoch(epochs)["epoch"] == 3


def test_the_split_that_picks_the_epoch_is_the_one_that_was_asked_for(tmp_path, cache):
    on_val = train(tmp_path, cache, head="mgfi", select_on="val").run.history["video-text"]
    on_test = train(tmp_path, cache, head="mgfi", select_on="test").run.history["video-text"]
    assert [one["loss"] for one in on_val] == [one["loss"] for one in on_test]
    assert [one["MnR"] for one in on_val] != [one["MnR"] for one in on_test]


def test_without_a_validation_split_a_part_of_train_picks_the_epoch(tmp_path, caplog):
    cache = write_planted_cache(tmp_path / "cache", splits={"train": 40, "test": 8})
    with caplog.at_level("INFO"):
        report = train(tmp_path, cache)
    whole = FeatureCache.open(cache).load("train")
    assert report.videos == len(whole.video_ids) - 2, "a twentieth of 40"
    assert report.run.settings["select_on"] == "part-of-train"
    assert report.best["video-text"]["queries"] == 2 * CAPTIONS_PER_VIDEO
    assert "planted has no validation split: 5% of its training videos" in caplog.text
    again = train(tmp_path / "again", cache)
    assert same_bits(weights(report), weights(again)), "the same videos are held out every time"


def test_a_part_of_train_may_be_asked_for(tmp_path, cache):
    report = train(tmp_path, cache, select_on="part-of-train")
    assert report.videos == SMALL["train"] - 1


def test_a_run_that_was_begun_by_hand_is_fitted_to_its_end(tmp_path, cache):
    """A kill right after run.json was written leaves nothing else."""
    whole = train(tmp_path / "whole", cache)
    folder = tmp_path / "runs" / whole.run.name
    write_run(folder, replace(whole.run, complete=False, history={}))
    assert same_bits(weights(train(tmp_path, cache)), weights(whole))


def test_settings_that_play_no_part_in_a_head_are_named(tmp_path, cache, caplog):
    caplog.set_level("INFO")
    train(tmp_path, cache, head="hcmi", epochs=0, loss_distillation=0.2, hcmi_clips=2)
    assert "audio_epochs, loss_distillation play no part in hcmi (reconstruction)" in caplog.text
    caplog.clear()
    train(tmp_path, cache, head="s-f+cmfi", epochs=0, loss_distillation=0.2)
    assert "no part" not in caplog.text
