import json
import math

import pytest
import torch
from making.planted import write_planted_cache
from safetensors.torch import load_file

from vidret.data.errors import ConfigError, MissingError
from vidret.pipelines.ablate import TABLE_1, AblateReport, Row, run_ablate
from vidret.pipelines.config.fitting import AblateConfig
from vidret.pipelines.config.settings import EvaluateConfig
from vidret.pipelines.evaluate import run_evaluate
from vidret.pipelines.training.runs import WEIGHTS, read_run

SMALL = {"train": 16, "val": 8, "test": 12}
HEADS = ("mean", "mgfi", "mgfi+cmfi")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return write_planted_cache(tmp_path_factory.mktemp("planted"), splits=SMALL)


def settle(work, cache, **changes):
    settings = {
        "heads": HEADS,
        "seeds": (0, 1, 2),
        "epochs": 2,
        "audio_epochs": 2,
        "batch_size": 8,
        "lr": 1e-2,
        "audio_lr": 1e-2,
        "device": "cpu",
    }
    return AblateConfig(work=work, cache=cache, **settings | changes)


def ablate(work, cache, *, on_progress=lambda _: None, **changes):
    return run_ablate(settle(work, cache, **changes), on_progress=on_progress)


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
    assert report.as_json()["rows"][0]["t2v"]["R@1"]["std"] == 0.0


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


def test_progress_counts_rows_times_seeds(tmp_path, cache):
    seen = []
    ablate(tmp_path, cache, heads=("mean", "s-f"), seeds=(0, 1), on_progress=seen.append)
    assert [one.done for one in seen] == [0, 1, 2, 3, 4]
    assert {one.total for one in seen} == {4}
    assert seen[-1].note == "s-f, seed 1"


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
