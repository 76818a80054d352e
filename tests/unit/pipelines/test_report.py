import json
import shutil

import numpy as np
import pytest
from making.caches import a_failure
from making.planted import write_planted_cache

from vidret.data.errors import ConfigError, MismatchError, MissingError
from vidret.data.manifest import read_manifest, write_manifest
from vidret.pipelines.config.fitting import TrainConfig
from vidret.pipelines.config.reporting import PageConfig
from vidret.pipelines.config.settings import EvaluateConfig
from vidret.pipelines.evaluate import run_evaluate
from vidret.pipelines.report import run_report
from vidret.pipelines.train_heads import run_train
from vidret.pipelines.training.runs import RUN, WEIGHTS

SPLITS = {"train": 16, "val": 8, "test": 12}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    return write_planted_cache(folder, splits=SPLITS, failures=[a_failure(1), a_failure(2)])


@pytest.fixture(scope="module")
def work(tmp_path_factory, cache):
    """Three runs: `base` learns nothing, `both` learns in two stages, `other` is of another set."""
    work = tmp_path_factory.mktemp("work")
    elsewhere = write_planted_cache(work / "cache" / "elsewhere", splits=SPLITS, seed=1, frames=2)
    for name, head, made_of in (
        ("base", "mean", cache),
        ("both", "mgfi+cmfi", cache),
        ("other", "mean", elsewhere),
    ):
        train(work, name=name, head=head, cache=made_of)
    return work


def train(work, **settings):
    config = TrainConfig(work=work, epochs=2, audio_epochs=1, batch_size=8, **settings)
    run_train(config, on_progress=lambda _: None)


def report(work, tmp_path, run="both", **settings):
    return run_report(
        PageConfig(work=work, run=run, out=tmp_path / "page.html", device="cpu", **settings)
    )


def test_the_numbers_are_those_that_evaluate_prints(work, tmp_path):
    told = report(work, tmp_path).contents
    scores = run_evaluate(EvaluateConfig(work=work, run="both", device="cpu")).scores
    assert told.numbers.t2v == scores.t2v
    assert told.numbers.v2t == scores.v2t
    by_kind = {kind: its["R@1"] for kind, its in told.numbers.kinds.items()}
    assert by_kind == pytest.approx(scores.kinds)


def test_the_setting_is_the_one_that_evaluate_prints(work, tmp_path):
    setting = run_evaluate(EvaluateConfig(work=work, run="both", device="cpu")).setting
    assert report(work, tmp_path).contents.setting == setting


def test_captions_compete_one_by_one_where_that_is_asked_for(work, tmp_path):
    asked = EvaluateConfig(work=work, run="both", device="cpu", v2t="caption")
    told = report(work, tmp_path, v2t="caption").contents
    assert told.numbers.v2t == run_evaluate(asked).scores.v2t
    assert told.numbers.v2t != report(work, tmp_path).contents.numbers.v2t


def test_histogram_and_curve_agree_with_the_numbers(work, tmp_path):
    told = report(work, tmp_path).contents
    assert sum(one.t2v for one in told.histogram) == pytest.approx(100)
    assert told.histogram[0].t2v <= told.numbers.t2v["R@1"] + 1e-9
    at = {one.k: one for one in told.recall}
    for k in (1, 5, 10):
        assert at[k].t2v == pytest.approx(told.numbers.t2v[f"R@{k}"])
        assert at[k].v2t == pytest.approx(told.numbers.v2t[f"R@{k}"])


def test_the_hardest_queries_come_worst_first_and_some_are_drawn(work, tmp_path):
    told = report(work, tmp_path, hardest=5, random=4).contents
    hard = [query.rank for query in told.hardest]
    assert len(hard) == 5
    assert hard == sorted(hard, reverse=True)
    assert hard[0] > told.numbers.t2v["MnR"]
    assert len({query.caption for query in told.random}) == 4


def test_the_stages_are_those_of_the_run_with_the_epoch_that_was_kept(work, tmp_path):
    told = report(work, tmp_path).contents
    written = json.loads((work / "runs" / "both" / RUN).read_text())["history"]
    assert [stage.name for stage in told.stages] == ["video-text", "audio"]
    for stage in told.stages:
        best = max(written[stage.name], key=lambda one: (one["R@1"], -one["MnR"]))
        assert stage.kept == best["epoch"]
        assert list(stage.epochs) == written[stage.name]


def test_the_page_is_written_whole_where_it_was_asked_for(work, tmp_path):
    found = report(work, tmp_path)
    text = (tmp_path / "page.html").read_text("utf-8")
    assert found.page == tmp_path / "page.html"
    assert found.bytes == len(text.encode())
    assert text.rstrip().endswith("</html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html"]


def test_without_out_the_page_lies_with_its_run(work):
    found = run_report(PageConfig(work=work, run="base", split="val", device="cpu"))
    assert found.page == work / "runs" / "base" / "report-val.html"
    assert found.page.exists()
    found.page.unlink()


def test_for_machines_there_is_all_but_the_pictures(work, tmp_path):
    values = json.loads(json.dumps(report(work, tmp_path, against="paper").as_json(), default=str))
    assert values["numbers"]["t2v"]["queries"] == 24
    assert values["setting"]["chance"] == pytest.approx(100 / 12)
    assert values["fingerprint"]["dataset"] == "planted"
    assert values["hardest"][0]["right"]["parts"].keys() == {"sentence", "words", "audio"}
    assert values["paper"]["same_head"] == []
    assert "jpeg" not in json.dumps(values)


def test_videos_that_are_gone_never_stop_the_report(work, tmp_path):
    found = report(work, tmp_path)
    shown = {
        one.video
        for query in (*found.contents.hardest, *found.contents.random)
        for one in (query.right, query.rival)
    }
    assert found.contents.absent == dict.fromkeys(shown, "The video file is no longer there.")
    assert "No pictures." in found.page.read_text("utf-8")


def test_pictures_can_be_left_out(work, tmp_path):
    found = report(work, tmp_path, pictures=False)
    assert found.contents.absent == {}
    assert "No pictures." not in found.page.read_text("utf-8")


def test_failures_of_the_dataset_are_listed(work, tmp_path):
    told = report(work, tmp_path).contents
    assert told.num_failures == 2
    assert [one.id for one in told.failures] == [a_failure(1).id, a_failure(2).id]


def test_against_another_run_the_differences_are_those_of_the_two_reports(work, tmp_path):
    ours, theirs = (report(work, tmp_path, run=name).contents.numbers for name in ("both", "base"))
    found = report(work, tmp_path, against="base").contents.other
    assert (found.run, found.head) == ("base", "mean")
    for way, mine, others in (("t2v", ours.t2v, theirs.t2v), ("v2t", ours.v2t, theirs.v2t)):
        for one in getattr(found, way).metrics:
            assert one.difference == pytest.approx(mine[one.metric] - others[one.metric])
    low, high = found.t2v.metrics[0].interval
    assert low <= found.t2v.metrics[0].difference <= high


def test_against_a_run_of_other_features_each_is_scored_on_its_own_cache(work, tmp_path):
    with_two = write_planted_cache(work / "cache" / "two", splits=SPLITS, audio_policy="other")
    train(work, name="two", head="mean", cache=with_two)
    found = report(work, tmp_path, against="two").contents.other
    assert found.run == "two"
    assert found.differs["audio_policy"][1] == "other"


def test_a_run_on_other_queries_is_refused(work, tmp_path):
    longer = write_planted_cache(
        work / "cache" / "longer", splits=SPLITS | {"test": 14}, audio_policy="longer"
    )
    train(work, name="longer", head="mean", cache=longer)
    with pytest.raises(
        MismatchError, match=r"run longer is scored on .* has other videos"
    ) as error:
        report(work, tmp_path, against="longer")
    assert error.value.exit_code == 5
    assert not (tmp_path / "page.html").exists()


def test_a_run_that_is_not_there_is_missing(work, tmp_path):
    for settings in ({"run": "nobody"}, {"against": "nobody"}):
        with pytest.raises(MissingError, match="no run 'nobody'") as error:
            report(work, tmp_path, **settings)
        assert error.value.exit_code == 4


def test_a_run_that_has_not_finished_is_missing(work, tmp_path):
    shutil.copytree(work / "runs" / "both", work / "runs" / "half")
    (work / "runs" / "half" / WEIGHTS).unlink()
    try:
        with pytest.raises(MissingError, match="has not finished") as error:
            report(work, tmp_path, run="half")
    finally:
        shutil.rmtree(work / "runs" / "half")
    assert error.value.exit_code == 4


def test_a_cache_of_other_features_is_refused(work, tmp_path):
    with pytest.raises(MismatchError, match="frames is 2") as error:
        report(work, tmp_path, cache=work / "cache" / "elsewhere")
    assert error.value.exit_code == 5


def test_a_split_that_is_not_there_names_those_that_are(work, tmp_path):
    with pytest.raises(ConfigError, match="test, train, val"):
        report(work, tmp_path, split="exam")


@pytest.mark.parametrize("where", ["nowhere/page.html", "."])
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_scored(work, tmp_path, where):
    with pytest.raises(MissingError, match="--out") as error:
        run_report(PageConfig(work=work, run="both", split="exam", out=tmp_path / where))
    assert error.value.exit_code == 4


def test_a_disk_that_refuses_the_page_is_told_with_the_option(work, tmp_path, monkeypatch):
    def refuse(_path, _data):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("pathlib.Path.write_bytes", refuse)
    with pytest.raises(MissingError, match="Read-only file system; name another file with --out"):
        report(work, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_epoch_picked_on_the_reported_split_is_warned_of(work, tmp_path, cache):
    train(work, name="oracle", head="s-f", cache=cache, select_on="test")
    found = report(work, tmp_path, run="oracle")
    assert any(one.startswith("Oracle") for one in found.contents.warnings)
    assert "Oracle" in found.page.read_text("utf-8")


def test_the_paper_is_compared_with_on_its_own_datasets(work, tmp_path, cache):
    folder = shutil.copytree(cache, work / "cache" / "msvd-like")
    manifest = read_manifest(folder)
    facts = {**manifest.fingerprint.to_json(), "dataset": "msvd"}
    write_manifest(
        folder,
        type(manifest)(
            fingerprint=type(manifest.fingerprint).from_json(facts, "here"),
            settings=manifest.settings,
            splits=manifest.splits,
            shards=manifest.shards,
            complete=True,
        ),
    )
    found = report(work, tmp_path, cache=folder, against="paper").contents
    (row,) = found.paper.same_head
    assert row.gap["R@1"] == pytest.approx(found.numbers.t2v["R@1"] - 53.5)
    assert "frozen: only the heads learned" in [one.here for one in found.paper.deviations]
    assert any("trained on planted" in one for one in found.warnings)


def test_the_same_run_gives_the_same_report(work, tmp_path):
    first, second = (report(work, tmp_path, against="base").as_json() for _ in range(2))
    for values in (first, second):
        del values["written"]
    assert json.dumps(first, default=str) == json.dumps(second, default=str)
    assert np.isfinite([one["rank"] for one in first["hardest"]]).all()
