import json
import math
import shutil
import time

import numpy as np
import pytest
import torch
from making.ablated import SMALL, small_cache, small_config
from making.planted import write_planted_cache
from safetensors.torch import load_file

from vidret.data.errors import ConfigError, DamagedError, MissingError
from vidret.pipelines.ablate import TABLE_1, AblateReport, Row, plan_ablate, run_ablate
from vidret.pipelines.config.settings import EvaluateConfig
from vidret.pipelines.evaluate import run_evaluate
from vidret.pipelines.training.runs import WEIGHTS, read_run

pytestmark = pytest.mark.xdist_group("table")  # one worker makes what they share

HEADS = ("mean", "mgfi", "mgfi+cmfi")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return small_cache(tmp_path_factory.mktemp("planted"))


def ablate(work, cache, *, on_progress=lambda _: None, **changes):
    return run_ablate(small_config(work, cache, **changes), on_progress=on_progress)


def plan(work, cache, **changes):
    return plan_ablate(small_config(work, cache, **changes))


@pytest.fixture(scope="module")
def table(tmp_path_factory, cache):
    """A work folder with a table, and the table."""
    work = tmp_path_factory.mktemp("work")
    return work, ablate(work, cache)


def run_of(work, head, seed):
    (found,) = (work / "runs").glob(f"{head}-seed{seed}-*")
    return found


def test_rows_come_in_the_order_asked_for_each_with_every_seed(table):
    _, report = table
    assert [row.head for row in report.rows] == list(HEADS)
    assert [len(row.scores) for row in report.rows] == [3, 3, 3]


def test_the_rows_of_the_paper_have_its_names():
    labels = {
        "mean": "base",
        "mean-ff": "base + FF (control)",
        "s-f": "s-f",
        "w-f": "w-f",
        "mgfi": "s-f + w-f",
        "mean+cmfi": "base + a-s",
        "s-f+cmfi": "s-f + a-s",
        "w-f+cmfi": "w-f + a-s",
        "mgfi+cmfi": "s-f + w-f + a-s",
    }
    assert {head: Row(head=head, scores=()).label for head in labels} == labels
    assert labels.keys() >= {*TABLE_1}


def test_each_number_names_the_run_that_it_is_of(table):
    work, report = table
    for row, told in zip(report.rows, report.as_json()["rows"], strict=True):
        assert told["runs"] == [run_of(work, row.head, seed).name for seed in row.seeds]


def test_mean_and_spread_are_those_of_a_computation_by_hand(table):
    _, report = table
    told = json.loads(json.dumps(report.as_json()))
    for row, spread in zip(report.rows, told["rows"], strict=True):
        for way in ("t2v", "v2t"):
            values = row.values(way, "MnR")
            middle = (values[0] + values[1] + values[2]) / 3
            square = sum((value - middle) ** 2 for value in values) / 2
            assert spread[way]["MnR"]["mean"] == pytest.approx(middle)
            assert spread[way]["MnR"]["std"] == pytest.approx(math.sqrt(square), abs=1e-9)
    assert told["rows"][1]["t2v"]["MnR"]["std"] > 0


def test_one_seed_has_no_spread(tmp_path, cache):
    report = ablate(tmp_path, cache, heads=("mean",), seeds=(4,))
    assert report.as_json()["rows"][0]["t2v"]["R@1"]["std"] is None


def test_what_learns_nothing_is_the_same_with_every_seed(table):
    _, report = table
    assert len({json.dumps(scores.t2v) for scores in report.rows[0].scores}) == 1


def test_a_cell_is_what_evaluate_says_of_its_run(table):
    work, report = table
    run = run_of(work, "mgfi+cmfi", 1).name
    scored = run_evaluate(EvaluateConfig(work=work, run=run, device="cpu"))
    assert report.rows[2].scores[1] == scored.scores
    assert report.setting == scored.setting


def test_the_second_stage_starts_from_the_run_without_sound_and_leaves_it_alone(table):
    work, _ = table
    for seed in (0, 1, 2):
        first = load_file(run_of(work, "mgfi", seed) / WEIGHTS)
        second = load_file(run_of(work, "mgfi+cmfi", seed) / WEIGHTS)
        assert first.keys() < second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_only_the_sound_is_trained_on_top_of_a_row_without_it(table):
    work, _ = table
    assert list(read_run(run_of(work, "mgfi+cmfi", 0)).history) == ["audio"]
    assert list(read_run(run_of(work, "mgfi", 0)).history) == ["video-text"]


def test_a_row_with_sound_alone_trains_the_one_without_too(tmp_path, cache):
    ablate(tmp_path, cache, heads=("s-f+cmfi",), seeds=(0,))
    assert read_run(run_of(tmp_path, "s-f", 0)).complete


def test_a_table_asked_for_again_trains_nothing(table, cache):
    work, report = table
    before = {path: path.stat().st_mtime_ns for path in (work / "runs").rglob("*")}
    assert ablate(work, cache) == report
    assert {path: path.stat().st_mtime_ns for path in (work / "runs").rglob("*")} == before


def test_more_seeds_train_only_what_is_missing(table, cache):
    work, report = table
    before = run_of(work, "mgfi", 0).stat().st_mtime_ns
    more = ablate(work, cache, seeds=(0, 1, 2, 3))
    assert [row.scores[:3] for row in more.rows] == [row.scores for row in report.rows]
    assert run_of(work, "mgfi", 0).stat().st_mtime_ns == before


@pytest.mark.parametrize("stopped_after", [1, 2, 3, 5])
def test_a_table_stopped_anywhere_goes_on_to_the_same_numbers(
    tmp_path, cache, table, stopped_after
):
    def stop(progress):
        if progress.done == stopped_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ablate(tmp_path, cache, on_progress=stop)
    assert ablate(tmp_path, cache) == table[1]


def test_other_settings_are_other_runs(tmp_path, cache):
    ablate(tmp_path, cache, heads=("s-f",), seeds=(0,))
    ablate(tmp_path, cache, heads=("s-f",), seeds=(0,), epochs=1)
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_progress_counts_rows_times_seeds_and_tells_epochs(tmp_path, cache):
    seen = []
    ablate(tmp_path, cache, heads=("mean", "s-f"), seeds=(0, 1), on_progress=seen.append)
    assert list(dict.fromkeys(one.done for one in seen)) == [0, 1, 2, 3, 4]
    assert {one.total for one in seen} == {4}
    assert [one.note for one in seen[-3:]] == [
        "s-f, seed 1, epoch 1",
        "s-f, seed 1, epoch 2",
        "s-f, seed 1",
    ]


def test_what_was_done_before_is_skipped(tmp_path, cache):
    ablate(tmp_path, cache, heads=("s-f",), seeds=(0,))
    seen = []
    ablate(tmp_path, cache, heads=("s-f", "mean"), seeds=(0,), on_progress=seen.append)
    assert [(one.done, one.skipped, one.total) for one in seen] == [(0, 1, 2), (1, 1, 2)]


def test_a_head_that_cannot_be_trained_is_refused_before_the_others_are(tmp_path):
    folder = write_planted_cache(tmp_path / "planted", splits=SMALL, with_sound=False)
    with pytest.raises(MissingError, match="has sound, so mgfi\\+cmfi has nothing to learn"):
        ablate(tmp_path, folder)
    assert not (tmp_path / "runs").exists()


def test_an_unknown_head_is_refused_before_the_others_are_trained(tmp_path, cache):
    with pytest.raises(ConfigError, match="there is no head 'mgfy'"):
        ablate(tmp_path, cache, heads=("s-f", "mgfy"))
    assert not (tmp_path / "runs").exists()


def test_a_cache_without_a_test_split_is_refused_before_anything_is_trained(tmp_path):
    folder = write_planted_cache(tmp_path / "planted", splits={"train": 8, "val": 4})
    with pytest.raises(ConfigError, match="no split 'test': choose one of train, val"):
        ablate(tmp_path, folder)
    assert not (tmp_path / "runs").exists()


def test_a_table_that_picks_on_what_it_reports_can_be_told_from_others(tmp_path, cache):
    report = ablate(tmp_path, cache, heads=("s-f",), seeds=(0,), select_on="test")
    assert isinstance(report, AblateReport)
    assert report.setting.select_on == report.setting.split == "test"


def test_a_table_asked_for_again_reads_no_feature_and_takes_no_time(table, cache, monkeypatch):
    work, report = table

    def refuse(*_):
        raise AssertionError("features were loaded")

    monkeypatch.setattr("vidret.pipelines.ablation.working.load_data", refuse)
    monkeypatch.setattr("vidret.pipelines.ablation.working.as_split", refuse)
    began = time.perf_counter()
    assert ablate(work, cache) == report
    assert time.perf_counter() - began < 5  # under half a second on a calm machine


def test_ranks_that_are_gone_are_made_again_without_a_fit(tmp_path, table, cache):
    work, report = table
    shutil.copytree(work, tmp_path / "work")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.safetensors")}
    for kept in (tmp_path / "work").rglob("ranks-test.npz"):
        kept.unlink()
    assert ablate(tmp_path / "work", cache) == report
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert len(list((tmp_path / "work").rglob("ranks-test.npz"))) == 9


def test_variations_are_rows_of_their_own_that_share_what_they_can(tmp_path, cache):
    report = ablate(
        tmp_path,
        cache,
        heads=("mean", "w-f", "w-f+cmfi"),
        seeds=(0,),
        vary=("word_weight_scale=literal,sqrt_c", "audio_epochs=1,2"),
    )
    assert [row.label for row in report.rows] == [
        "base (any word_weight_scale, any audio_epochs)",
        "w-f, word_weight_scale=literal (any audio_epochs)",
        "w-f, word_weight_scale=sqrt_c (any audio_epochs)",
        "w-f + a-s, word_weight_scale=literal, audio_epochs=1",
        "w-f + a-s, word_weight_scale=literal, audio_epochs=2",
        "w-f + a-s, word_weight_scale=sqrt_c, audio_epochs=1",
        "w-f + a-s, word_weight_scale=sqrt_c, audio_epochs=2",
    ]
    assert len(list((tmp_path / "runs").iterdir())) == 7
    scales = {
        read_run(folder).settings["word_weight_scale"]
        for folder in (tmp_path / "runs").glob("w-f-*")
    }
    assert scales == {"literal", "sqrt_c"}


def test_a_row_varied_to_what_is_usual_is_the_usual_run(tmp_path, cache):
    ablate(tmp_path, cache, heads=("s-f",), seeds=(0,))
    before = {path.name for path in (tmp_path / "runs").iterdir()}
    varied = ablate(tmp_path, cache, heads=("s-f",), seeds=(0,), vary=("activation=quick_gelu",))
    assert varied.rows[0].label == "s-f, activation=quick_gelu"
    assert {path.name for path in (tmp_path / "runs").iterdir()} == before


def test_differences_are_those_of_the_means_and_lie_in_their_intervals(table):
    _, report = table
    base = report.rows[0]
    assert report.base == "base"
    assert base.against_base == {}
    for row in report.rows[1:]:
        for way in ("t2v", "v2t"):
            for metric, its in row.against_base[way].items():
                means = (np.mean(one.values(way, metric)) for one in (row, base))
                assert its.difference == pytest.approx(np.subtract(*means), abs=1e-8)
                assert its.low <= its.difference <= its.high
                assert 0 <= its.favour <= 1
                assert its.seeds == 3


def test_another_base_turns_the_differences_around(table, cache):
    work, report = table
    turned = ablate(work, cache, base="mgfi")
    assert [bool(row.against_base) for row in turned.rows] == [True, False, True]
    there = report.rows[1].against_base["t2v"]["R@1"]
    back = turned.rows[0].against_base["t2v"]["R@1"]
    assert back.difference == -there.difference
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))


def test_a_row_that_fails_ends_the_command_once_the_others_are_kept(tmp_path, cache):
    report = ablate(tmp_path, cache, heads=("s-f", "w-f"), seeds=(0,), vary=("lr=1e30,0.01",))
    assert [row.label for row in report.rows] == ["s-f, lr=0.01", "w-f, lr=0.01"]
    assert isinstance(report.verdict, DamagedError)
    assert "s-f, lr=1e+30, seed 0: the loss" in str(report.verdict)
    assert "(1 more failed)" in str(report.verdict)


def test_a_table_of_failures_alone_is_their_error(tmp_path, cache):
    with pytest.raises(DamagedError, match=r"s-f, seed 0: .*loss"):
        ablate(tmp_path, cache, heads=("s-f",), seeds=(0,), lr=1e30)


def test_a_dry_run_says_what_is_done_and_what_would_be_fitted_and_does_nothing(table, cache):
    work, _ = table
    before = sorted((work / "runs").rglob("*"))
    found = plan(work, cache, heads=("mgfi", "w-f+cmfi"), seeds=(0, 9))
    assert [(one.label, one.seed, one.state, one.in_table) for one in found.fits] == [
        ("s-f + w-f", 0, "done", True),
        ("w-f", 0, "to fit", False),
        ("w-f + a-s", 0, "to fit", True),
        ("s-f + w-f", 9, "to fit", True),
        ("w-f", 9, "to fit", False),
        ("w-f + a-s", 9, "to fit", True),
    ]
    assert sorted((work / "runs").rglob("*")) == before
    assert found.verdict is None
    assert json.loads(json.dumps(found.as_json()))["fits"][0]["state"] == "done"


def test_files_that_could_not_be_written_are_refused_before_anything_is_fitted(tmp_path, cache):
    for wrong in ({"out": (tmp_path / "gone" / "t.md",)}, {"plot": (tmp_path / "gone" / "t.svg",)}):
        with pytest.raises(MissingError, match="gone is no folder: make it, or write t"):
            ablate(tmp_path, cache, **wrong)
    assert not (tmp_path / "runs").exists()


def test_epochs_picked_on_several_splits_are_all_told(tmp_path, cache):
    report = ablate(tmp_path, cache, heads=("s-f",), seeds=(0,), vary=("select_on=val,test",))
    assert report.setting.select_on == "val and test"
    assert [row.label for row in report.rows] == ["s-f, select_on=val", "s-f, select_on=test"]


def test_a_split_that_is_not_there_cannot_pick_epochs(tmp_path, cache):
    with pytest.raises(ConfigError, match="no split 'vall': choose one of test, train, val"):
        ablate(tmp_path, cache, vary=("select_on=val,vall",))
    assert not (tmp_path / "runs").exists()


def test_what_the_cache_allows_beyond_fixed_features_makes_rows_as_well(tmp_path):
    folder = write_planted_cache(
        tmp_path / "planted", splits=SMALL, dense=True, hidden=True, off=0.3
    )
    report = ablate(
        tmp_path,
        folder,
        heads=("mean", "mean+cmfi", "s-f"),
        seeds=(0,),
        vary=("train_projection=false,true", "jitter=false,true"),
    )
    assert [row.label for row in report.rows] == [
        "base, train_projection=false (any jitter)",
        "base, train_projection=true, jitter=false",
        "base, train_projection=true, jitter=true",
        *(
            f"{head}, train_projection={learns}, jitter={draws}"
            for head in ("base + a-s", "s-f")
            for learns in ("false", "true")
            for draws in ("false", "true")
        ),
    ]
    for row in report.rows:
        (run,) = (
            read_run(path)
            for path in (tmp_path / "runs").glob(f"{row.head}-seed0-*")
            if all(read_run(path).settings[name] == value for name, value in row.changes)
        )
        scored = run_evaluate(EvaluateConfig(work=tmp_path, run=run.name, device="cpu"))
        assert row.scores == (scored.scores,)
    assert len({row.scores[0].t2v["MnR"] for row in report.rows}) > 5
