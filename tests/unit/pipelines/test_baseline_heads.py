"""The heads of other papers through the commands: fitted, measured, searched with, reported."""

import pytest
from making.ablated import small_cache, small_config
from making.searchable import SECONDS, SENTENCES, write_searchable_cache

from vidret.heads.catalog import VIDEO_HEADS
from vidret.pipelines.ablate import run_ablate
from vidret.pipelines.config.fitting import TrainConfig
from vidret.pipelines.config.reporting import PageConfig
from vidret.pipelines.config.searching import SearchConfig
from vidret.pipelines.config.settings import EvaluateConfig
from vidret.pipelines.evaluate import run_evaluate
from vidret.pipelines.report import run_report
from vidret.pipelines.search import run_search
from vidret.pipelines.train_heads import run_train

pytestmark = pytest.mark.xdist_group("baselines")  # one worker makes what they share

ASKED = ("mean", "seq-transf", "xpool", "mgfi")
LEARNING = sorted(VIDEO_HEADS.keys() - {"mean"})


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A work folder with a table of four heads, and the table."""
    work = tmp_path_factory.mktemp("work")
    config = small_config(work, small_cache(work / "planted"), heads=ASKED, seeds=(0, 1))
    return work, run_ablate(config, on_progress=lambda _: None)


@pytest.fixture(scope="module")
def searchable(tmp_path_factory):
    """A work folder with a run of every head that learns, the sound included."""
    cache = write_searchable_cache(tmp_path_factory.mktemp("work") / "cache" / "searchable")
    for head in LEARNING:
        config = TrainConfig(
            work=cache.parents[1],
            cache=cache,
            head=f"{head}+cmfi",
            name=head,
            epochs=1,
            audio_epochs=1,
            batch_size=2,
            layers=1,
        )
        run_train(config, on_progress=lambda _: None)
    return cache.parents[1]


def run_of(work, head):
    (found,) = (work / "runs").glob(f"{head}-seed0-*")
    return found


def test_a_table_has_a_row_for_each_and_the_numbers_that_evaluate_finds(table):
    work, report = table
    assert [row.head for row in report.rows] == list(ASKED)
    for row in report.rows:
        found = run_evaluate(
            EvaluateConfig(work=work, run=run_of(work, row.head).name, device="cpu")
        )
        assert found.scores.t2v == row.scores[0].t2v
        assert found.scores.v2t == row.scores[0].v2t


def test_a_head_with_layers_has_a_row_for_each_number_of_them_and_others_one(table, tmp_path):
    config = small_config(
        tmp_path,
        table[0] / "planted",
        heads=("xpool", "seq-transf"),
        seeds=(0,),
        epochs=1,
        vary=("layers=1,2",),
    )
    rows = run_ablate(config, on_progress=lambda _: None).rows
    assert [row.label for row in rows] == [
        "xpool (any layers)",
        "seq-transf, layers=1",
        "seq-transf, layers=2",
    ]


def test_a_page_of_such_a_run_says_how_it_was_fitted(table, tmp_path):
    work, _ = table
    page = PageConfig(
        work=work, run=run_of(work, "xpool").name, out=tmp_path / "page.html", device="cpu"
    )
    told = run_report(page).contents
    assert told.numbers.t2v == table[1].rows[2].scores[0].t2v
    assert (tmp_path / "page.html").stat().st_size > 10_000


@pytest.mark.parametrize("head", LEARNING)
def test_a_search_tells_what_each_part_says_and_where_the_moment_is(searchable, head):
    query = SearchConfig(work=searchable, run=head, query=SENTENCES[1], device="cpu")
    hits = run_search(query).hits
    assert len(hits) == 4
    for hit in hits:
        assert "audio" in hit.parts
        assert sum(hit.parts.values()) == pytest.approx(hit.score)
        assert 0 <= hit.start <= hit.peak <= hit.end <= SECONDS
