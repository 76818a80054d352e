"""Runs of the head `hcmi`: from its training to its tables, as those of any other head."""

import json

import pytest
import torch
from making.planted import write_planted_cache
from making.searchable import SENTENCES, write_searchable_cache
from safetensors.torch import load_file

from vidret.pipelines.ablate import run_ablate
from vidret.pipelines.config.fitting import AblateConfig, TrainConfig
from vidret.pipelines.config.reporting import PageConfig
from vidret.pipelines.config.searching import SearchConfig
from vidret.pipelines.config.settings import EvaluateConfig
from vidret.pipelines.display.ablated import render_ablate
from vidret.pipelines.display.found import render_search
from vidret.pipelines.display.render import render_evaluate, render_train
from vidret.pipelines.display.tables import show
from vidret.pipelines.evaluate import run_evaluate
from vidret.pipelines.report import run_report
from vidret.pipelines.search import run_search
from vidret.pipelines.train_heads import run_train
from vidret.pipelines.training.runs import RUN, WEIGHTS

SMALL = {"train": 16, "val": 8, "test": 8}
SWITCHES = {
    "hcmi_frame_attention": "true,false",
    "hcmi_clustering": "density,even",
    "hcmi_contrast": "levels,sum",
    "hcmi_denoise": "true,false",
    "hcmi_margin_weight": "1,0",
}
NOTE = "hcmi is a reconstruction: its formulas are ours, as those of its paper are not public"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return write_planted_cache(tmp_path_factory.mktemp("planted"), splits=SMALL, dense=True)


@pytest.fixture(scope="module")
def work(tmp_path_factory, cache):
    """One run, in both stages."""
    work = tmp_path_factory.mktemp("work")
    train(work, cache, name="mine", head="hcmi+cmfi")
    return work


@pytest.fixture
def printed(capsys):
    """What a report looks like when it is printed, on one line."""

    def print_and_read(rendered):
        show(rendered)
        return " ".join(capsys.readouterr().out.split())

    return print_and_read


def train(work, cache, *, on_progress=lambda _: None, **changes):
    usual = {"head": "hcmi", "epochs": 2, "audio_epochs": 1, "batch_size": 8, "layers": 1}
    config = TrainConfig(work=work, cache=cache, device="cpu", **usual | changes)
    return run_train(config, on_progress=on_progress)


def stop_after(epochs):
    """What an on_progress does to a run that is stopped there."""

    def on_progress(progress):
        if progress.done == epochs:
            raise KeyboardInterrupt

    return on_progress


def test_the_loss_falls_and_the_sound_leaves_the_first_stage_alone(work, cache):
    seen = train(work, cache, name="seen")
    first, last = seen.run.history["video-text"]
    assert last["loss"] < first["loss"]
    both, alone = (load_file(work / "runs" / name / WEIGHTS) for name in ("mine", "seen"))
    assert {name for name in both if name not in alone} == {
        f"audio_head.{name}"
        for name in ("norm.weight", "norm.bias", "linear.weight", "linear.bias", "null")
    }
    assert all(torch.equal(both[name], alone[name]) for name in alone)


@pytest.mark.parametrize("changes", [{}, {"jitter": True, "ema": 0.9}], ids=str)
@pytest.mark.parametrize("stopped_after", [1, 2])
def test_a_run_stopped_anywhere_goes_on_to_the_same_bits(tmp_path, cache, changes, stopped_after):
    how = {"head": "hcmi+cmfi", **changes}
    whole = train(tmp_path / "whole", cache, **how)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", cache, on_progress=stop_after(stopped_after), **how)
    resumed = train(tmp_path / "stopped", cache, **how)
    for name in (WEIGHTS, RUN):
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_every_switch_makes_another_run_and_a_row_of_its_own(tmp_path, cache):
    weights = set()
    for name, values in SWITCHES.items():
        report = ablate(tmp_path, cache, vary=(f"{name}={values}",), heads=("mean", "hcmi"))
        on, off = values.split(",")
        assert [row.label for row in report.rows] == [
            f"base (any {name})",
            f"hcmi (reconstruction), {name}={float(on) if on == '1' else on}",
            f"hcmi (reconstruction), {name}={float(off) if off == '0' else off}",
        ]
        for row in report.rows[1:]:
            weights.add((tmp_path / "runs" / row.runs[0] / WEIGHTS).read_bytes())
    assert len(weights) == 1 + len(SWITCHES), "all on is one run, and each switch off another"


def test_a_table_says_what_is_a_reconstruction(tmp_path, cache, printed):
    text = printed(render_ablate(ablate(tmp_path, cache, heads=("mean", "hcmi+cmfi"))))
    assert "hcmi (reconstruction) + a-s" in text
    assert f"Note: {NOTE}." in text


def test_a_table_of_other_heads_says_nothing_of_it(tmp_path, cache, printed):
    table = ablate(tmp_path, cache, heads=("mean", "s-f"))
    assert "reconstruction" not in printed(render_ablate(table))


def test_evaluate_scores_it_and_says_what_it_is(work, printed):
    report = run_evaluate(EvaluateConfig(work=work, run="mine", device="cpu"))
    assert report.scores.t2v["queries"] == 16
    assert NOTE in printed(render_evaluate(report))
    assert NOTE in json.loads(json.dumps(report.as_json()))["setting"]["notes"]


def test_less_memory_ranks_alike(work):
    whole, little = (
        run_evaluate(EvaluateConfig(work=work, run="mine", device="cpu", mem_budget=memory)).scores
        for memory in (None, 1)
    )
    assert whole == little


def test_what_was_fitted_says_what_it_is(work, cache, printed):
    text = printed(render_train(train(work, cache, name="mine", head="hcmi+cmfi")))
    assert "hcmi+cmfi (reconstruction), seed 0: " in text


def test_a_report_takes_it(work, tmp_path):
    page = PageConfig(work=work, run="mine", out=tmp_path / "page.html", device="cpu")
    told = run_report(page)
    assert NOTE in told.contents.setting.notes
    assert NOTE in told.page.read_text(encoding="utf-8")
    assert {"frame-word", "clip-phrase", "video-sentence", "audio"} <= set(
        told.contents.hardest[0].right.parts
    )


def test_a_search_shows_its_levels(tmp_path, printed):
    cache = write_searchable_cache(tmp_path / "cache" / "searchable")
    train(tmp_path, cache, batch_size=2, epochs=1)
    report = run_search(SearchConfig(work=tmp_path, query=SENTENCES[1], device="cpu"))
    assert (report.head, report.searched) == ("hcmi", 4)
    assert set(report.hits[0].parts) == {"frame-word", "clip-phrase", "video-sentence"}
    assert report.hits[0].id == "v1"
    assert (report.hits[0].start, report.hits[0].end) == (2.0, 4.0)
    assert "searched with hcmi (reconstruction)" in printed(render_search(report))


def ablate(work, cache, **changes):
    usual = {"seeds": (0,), "epochs": 1, "audio_epochs": 1, "batch_size": 8, "layers": 1}
    config = AblateConfig(
        work=work, cache=cache, device="cpu", jobs=1, resamples=100, **usual | changes
    )
    return run_ablate(config, on_progress=lambda _: None)
