"""`ablate --cost` and `ablate --rerank` on heads that are really fitted."""

import csv
import io
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from making.ablated import small_cache, small_config

from vidret.data.errors import ConfigError
from vidret.heads.reranking.options import RERANKERS
from vidret.pipelines.ablate import plan_ablate, run_ablate
from vidret.pipelines.config.settings import EvaluateConfig
from vidret.pipelines.display.ablated import render_plan
from vidret.pipelines.display.ablation_files import write_ablation
from vidret.pipelines.display.ablation_forms import csv_text, latex_text, markdown_text
from vidret.pipelines.display.ablation_words import caption_of, cost_sentences
from vidret.pipelines.display.cost_plot import ABOUT, frontier
from vidret.pipelines.evaluate import run_evaluate

pytestmark = pytest.mark.xdist_group("costs")  # one worker makes what they share

HEADS = ("mean", "mgfi", "mgfi+cmfi")
RERANK = tuple(RERANKERS)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return small_cache(tmp_path_factory.mktemp("planted"))


def ablate(work, cache, **changes):
    settings = {"heads": HEADS, "seeds": (0, 1)} | changes
    return run_ablate(small_config(work, cache, **settings), on_progress=lambda _: None)


@pytest.fixture(scope="module")
def table(tmp_path_factory, cache):
    work = tmp_path_factory.mktemp("work")
    return work, ablate(work, cache, cost=True, rerank=RERANK)


def test_every_row_is_followed_by_its_re_ranked_rows_each_with_its_tag(table):
    _, report = table
    labels = [row.label for row in report.rows]
    assert labels[: len(RERANK) + 1] == [
        "base",
        "base, qb-norm [train-bank]",
        "base, nnn [train-bank]",
        "base, sinkhorn-bank (reconstruction) [train-bank]",
        "base, dsl [transductive]",
        "base, sinkhorn-full [transductive]",
    ]
    assert len(labels) == len(HEADS) * (len(RERANK) + 1)


def test_plain_rows_are_those_of_a_table_without_re_ranking(table, cache):
    work, report = table
    plain = ablate(work, cache)
    assert [row.scores for row in report.rows if row.rerank is None] == [
        row.scores for row in plain.rows
    ]


def test_re_ranked_numbers_are_those_of_evaluate(table):
    work, report = table
    found = {(row.head, row.rerank.name): row for row in report.rows if row.rerank}
    for seed, run in enumerate(report.rows[-1].runs):
        told = run_evaluate(EvaluateConfig(work=work, run=run, rerank=RERANK, device="cpu"))
        for one in told.reranked.scores:
            scores = found["mgfi+cmfi", one.name].scores[seed]
            assert (scores.t2v, scores.v2t) == (one.t2v, one.v2t)


def test_the_base_row_ranked_again_is_compared_with_the_base_row(table):
    _, report = table
    again = report.rows[1]
    difference = again.against_base["t2v"]["R@1"].difference
    means = [sum(row.values("t2v", "R@1")) / 2 for row in report.rows[:2]]
    assert difference == pytest.approx(means[1] - means[0])


def test_what_was_ranked_and_measured_before_is_only_read(table, cache, monkeypatch):
    work, report = table
    for name in ("ablation.reranked.rerank", "ablation.costs.measure_cost"):
        monkeypatch.delattr(f"vidret.pipelines.{name}")
    assert ablate(work, cache, cost=True, rerank=RERANK).as_json() == report.as_json()


def test_other_settings_of_a_bank_are_ranked_anew(table, cache):
    work, report = table
    smaller = ablate(work, cache, heads=("mgfi",), rerank=("nnn",), bank_size=3)
    whole = next(row for row in report.rows if row.label.startswith("s-f + w-f, nnn"))
    assert smaller.rows[1].scores != whole.scores
    assert "Banks: 3 captions and 3 videos of split train." in smaller.reranking


def test_settings_picked_on_val_are_told_and_may_differ(table, cache):
    work, _ = table
    tuned = ablate(work, cache, heads=("mgfi",), rerank=("dsl",), rerank_tune="val")
    assert any("picked on val" in one for one in tuned.reranking)
    picked = [one["dsl_scale"] for one in tuned.rows[1].rerank_settings]
    assert f"dsl: {'; '.join(dict.fromkeys(f'dsl_scale {one:g}' for one in picked))}" in caption_of(
        tuned
    )
    found = [
        run_evaluate(
            EvaluateConfig(work=work, run=run, rerank=("dsl",), rerank_tune="val", device="cpu")
        )
        for run in tuned.rows[1].runs
    ]
    assert [one.reranked.scores[0].t2v for one in found] == [
        scores.t2v for scores in tuned.rows[1].scores
    ]
    assert [one.reranked.scores[0].settings["dsl_scale"] for one in found] == picked


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rerank": ("qbnorm",)}, "qb-norm"),
        ({"rerank_tune": "val"}, "--rerank"),
        ({"rerank": ("dsl",), "rerank_tune": "test"}, "another split"),
        ({"rerank": ("dsl",), "rerank_tune": "vall"}, "'vall' to pick .* or choose val"),
        ({"rerank": ("dsl", "dsl")}, "rerank has dsl more than once"),
        ({"rerank": ("nnn",), "bank_size": -1}, "bank_size"),
    ],
)
def test_what_cannot_be_ranked_again_is_refused_before_a_fit(tmp_path, cache, changes, told):
    with pytest.raises(ConfigError, match=told):
        ablate(tmp_path, cache, **changes)
    assert not (tmp_path / "runs").exists()


def test_each_plain_row_says_what_it_costs(table):
    _, report = table
    costs = {row.head: row.cost for row in report.rows if row.rerank is None}
    assert all(row.cost is None for row in report.rows if row.rerank)
    assert costs["mean"].train_seconds == 0
    assert costs["mean"].score.flops == 2 * report.shape.dim
    assert costs["mgfi"].train_seconds > 0
    assert costs["mgfi"].train_peak_bytes is not None
    assert costs["mgfi+cmfi"].train_seconds > costs["mgfi"].train_seconds
    assert costs["mgfi+cmfi"].score.flops > costs["mgfi"].score.flops > costs["mean"].score.flops


def test_a_table_without_costs_is_as_it_was(table, cache):
    work, _ = table
    report = ablate(work, cache)
    assert report.shape is None
    assert "costs" not in markdown_text(report) + latex_text(report)


def test_costs_stand_beside_accuracy_in_every_form(table):
    _, report = table
    mean = report.rows[0].cost.score
    assert "| head | R@1 t2v | R@1 v2t | kFLOP a pair |" in markdown_text(report)
    assert r"\label{tab:ablation-cost}" in latex_text(report)
    rows = list(csv.DictReader(io.StringIO(csv_text(report))))
    flops = [row for row in rows if (row["direction"], row["metric"]) == ("cost", "flops")]
    assert [row["row"] for row in flops] == [row.label for row in report.rows if not row.rerank]
    assert float(flops[0]["mean"]) == mean.flops
    told = json.loads(json.dumps(report.as_json()))["rows"][0]
    assert told["cost"]["score"]["pair_seconds"] == mean.pair_seconds


@pytest.mark.parametrize(
    "damage",
    [
        lambda told: told["cost"].update(flops=None),
        lambda told: told["cost"].update(pair_seconds=float("nan")),
        lambda told: told["cost"].update(pair_seconds="x"),
        lambda told: told["cost"].update(pair_seconds=0.0),
        lambda told: told.update(measured="yesterday"),
        lambda told: told.pop("cost"),
    ],
)
def test_a_damaged_cost_is_measured_again(table, cache, damage):
    work, report = table
    (path,) = work.glob("runs/mgfi-seed0-*/cost.json")
    told = json.loads(path.read_text())
    damage(told)
    path.write_text(json.dumps(told))
    again = ablate(work, cache, heads=("mgfi",), cost=True).rows[0].cost.score
    assert again.flops == next(row for row in report.rows if row.head == "mgfi").cost.score.flops
    assert again.pair_seconds > 0


def test_costs_are_timed_again_where_that_is_asked_for(table, cache, monkeypatch):
    work, _ = table
    before = ablate(work, cache, heads=("mean",), cost=True).rows[0].cost
    other = replace(before.score, pair_seconds=123.0)
    monkeypatch.setattr("vidret.pipelines.ablation.costs.measure_cost", lambda *_: other)
    assert ablate(work, cache, heads=("mean",), cost=True).rows[0].cost == before
    again = ablate(work, cache, heads=("mean",), cost=True, remeasure=True)
    assert again.rows[0].cost.score == other


def test_costs_of_different_days_are_told_as_such(table):
    _, report = table
    assert "--remeasure" not in cost_sentences(report)
    first = report.rows[0]
    older = replace(first.cost, measured=first.cost.measured - timedelta(days=1))
    mixed = replace(report, rows=(replace(first, cost=older), *report.rows[1:]))
    assert "--remeasure times all rows together" in cost_sentences(mixed)


def test_bold_numbers_compete_with_those_that_have_looked_at_as_much(table):
    _, report = table
    lines = markdown_text(report).split("**video to text**")[0].splitlines()
    for tag in ("train-bank", "transductive", None):
        its = [
            line
            for line in lines
            if line.startswith("| ")
            and not line.startswith("| head")
            and (tag in line if tag else "[" not in line)
        ]
        assert any(line.split(" | ")[1].startswith("**") for line in its)


def test_the_rows_of_the_paper_say_which_heads_they_are(table):
    _, report = table
    told = "Heads: base is mean, s-f + w-f is mgfi, + a-s is +cmfi."
    assert told in caption_of(report)


def test_the_picture_of_accuracy_against_cost_names_every_head(table, tmp_path):
    _, report = table
    paths = [tmp_path / "cost.svg", tmp_path / "cost.png", tmp_path / "cost.pdf"]
    assert write_ablation(report, out=None, plot=None, plot_cost=paths) == paths
    drawn = paths[0].read_text()
    assert all(row.label in drawn for row in report.rows if row.rerank is None)
    assert "time of a prepared pair, one thread" in drawn
    assert "mathdefault" not in drawn


def test_a_picture_alone_makes_costs_known(table, cache, tmp_path):
    work, _ = table
    report = ablate(work, cache, heads=("mean",), plot_cost=(tmp_path / "cost.svg",))
    assert report.rows[0].cost is not None


def test_the_line_joins_the_heads_that_none_beats_at_their_time(table):
    _, report = table
    rows = [row for row in report.rows if row.cost is not None]
    best = frontier(rows)

    def place(row):
        return row.cost.score.pair_seconds, sum(row.values("t2v", "R@1"))

    def reached(row, by):
        return place(by)[0] <= ABOUT * place(row)[0] and place(by)[1] >= place(row)[1]

    assert all(any(reached(row, by=one) for one in best) for row in rows)
    recalls = [place(row)[1] for row in best]
    assert recalls == sorted(set(recalls))


def test_rows_with_a_reconstructed_loss_say_so(tmp_path, cache):
    plain = ablate(tmp_path, cache, heads=("s-f",), seeds=(0,), epochs=1)
    assert not any("reconstruction" in note for note in plain.setting.notes)
    shared = {"heads": ("mean", "s-f"), "seeds": (0,), "epochs": 1, "loss_distillation": 0.2}
    distilled = ablate(tmp_path, cache, **shared)
    assert any("similarity distillation is a reconstr" in note for note in distilled.setting.notes)
    by_tokens = ablate(tmp_path, cache, **shared, loss_distillation_by="tokens")
    assert not any("reconstruction" in note for note in by_tokens.setting.notes)


def test_a_dry_run_counts_what_is_still_to_be_ranked_and_timed(tmp_path, table, cache):
    def planned(work):
        settings = {"heads": HEADS, "seeds": (0, 1), "cost": True, "rerank": ("nnn", "dsl")}
        return plan_ablate(small_config(work, cache, **settings))

    done, new = planned(table[0]), planned(tmp_path)
    assert (done.to_rank_again, done.to_time) == (0, 0)
    assert (new.to_rank_again, new.to_time) == (12, 3)
    assert "Still to be re-ranked: 12 times." in render_plan(new)
    assert "Still to be timed: 3 rows." in render_plan(new)
    assert not any("Still" in str(line) for line in render_plan(done))
