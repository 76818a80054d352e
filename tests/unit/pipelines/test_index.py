import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from making.planted import SPLITS, write_planted_cache

from vidret.data.errors import ConfigError, DamagedError, MismatchError, MissingError
from vidret.data.index.store import INDEX
from vidret.data.manifest import read_manifest, write_manifest
from vidret.pipelines.config.fitting import TrainConfig
from vidret.pipelines.config.searching import IndexConfig
from vidret.pipelines.display.indexed import (
    render_index,
    render_index_check,
    render_index_status,
)
from vidret.pipelines.index import (
    run_index_build,
    run_index_check,
    run_index_status,
    run_index_update,
)
from vidret.pipelines.indexing.building import Changes
from vidret.pipelines.indexing.checking import share_of_best
from vidret.pipelines.searching import folders
from vidret.pipelines.train_heads import run_train

VIDEOS = sum(SPLITS.values())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    cache = write_planted_cache(work / "cache" / "planted")
    config = TrainConfig(
        work=work, cache=cache, epochs=3, audio_epochs=1, batch_size=16, name="run"
    )
    run_train(config, on_progress=lambda _: None)
    return work


@pytest.fixture
def work(trained, tmp_path):
    """A work folder of one's own with a run."""
    shutil.copytree(trained, tmp_path / "work")
    return tmp_path / "work"


def update(work, **changes):
    return IndexConfig(work=work, device="cpu", **changes)


def look(work, **changes):
    return IndexConfig(work=work, device="cpu", **changes)


def test_an_index_is_built_kept_and_told_about(work):
    built = run_index_build(update(work, every_frame=True))
    videos = built.header.videos
    assert (built.built, built.header.head, built.header.every_frame) == (True, "run", True)
    assert render_index(built).startswith(
        f"indexed {videos} videos\nplanted, head run\npooled vectors compared one"
    )
    again = run_index_update(update(work))
    assert (again.built, again.changes, again.header) == (False, Changes(), built.header)
    assert f"{videos} videos: nothing new" in render_index(again)
    status = run_index_status(look(work))
    assert (status.videos, status.header, status.behind) == (videos, built.header, Changes())
    assert "in the cache since: nothing new" in render_index_status(status)
    assert "`vidret index check` reads them whole" in render_index_status(status)
    assert "up to 10,000 videos are all scored" in render_index_status(status)
    json.dumps([report.as_json() for report in (built, again, status)], default=str)


def test_an_update_builds_what_is_not_there(work):
    report = run_index_update(update(work))
    assert report.built
    assert report.changes.added == report.header.videos


def test_before_it_is_built_the_status_says_so(work):
    status = run_index_status(look(work))
    assert (status.header, status.verdict) == (None, None)
    assert "no index: every video is scored" in render_index_status(status)


def test_a_long_shortlist_agrees_and_a_short_one_does_not(work):
    videos = run_index_build(update(work)).header.videos
    full = run_index_check(look(work, questions=20, shortlist=videos))
    assert full.agreement.rerank == full.agreement.shortlist == {1: 1.0, 10: 1.0, 100: 1.0}
    assert (full.agreement.questions, full.agreement.asked) == (20, "captions")
    short = run_index_check(look(work, questions=20, shortlist=5))
    assert 0.3 < short.agreement.shortlist[1] <= 1
    assert short.agreement.shortlist[100] == pytest.approx(0.05)
    for depth in (1, 10, 100):
        assert short.agreement.rerank[depth] <= short.agreement.shortlist[depth]
    table, *problems = render_index_check(short)
    assert [row[0] for row in table.rows] == ["the best 1", "the best 10", "the best 100"]
    assert problems == []
    assert "20 captions of the cache, a shortlist of 5 of" in table.caption
    assert "agrees whatever" not in table.caption
    (full_table,) = render_index_check(full)
    assert f"agrees whatever the index is worth: give --shortlist below {videos}" in (
        full_table.caption
    )


def test_without_captions_frames_are_asked(tmp_path):
    write_planted_cache(tmp_path / "cache" / "planted", with_captions=False)
    run_index_build(update(tmp_path))
    report = run_index_check(look(tmp_path, questions=7))
    assert (report.agreement.questions, report.agreement.asked) == (7, "frames")
    assert report.agreement.rerank[1] == 1.0


def test_a_changed_byte_is_told_with_the_way_out(work):
    report = run_index_build(update(work))
    path = report.folder / report.header.files["pooled"]["name"]
    content = bytearray(path.read_bytes())
    content[-40] ^= 1  # of a vector, so that the file can be read all the same
    path.write_bytes(content)
    verdict = run_index_check(look(work, questions=1)).verdict
    assert isinstance(verdict, DamagedError)
    assert f"{path.name} has other bytes" in str(verdict)
    command = f"vidret index build --cache {work}/cache/planted --work {work}"
    assert f"make it again with `{command}`" in str(verdict)
    path.unlink()
    status = run_index_status(look(work))
    assert f"`{command}`" in str(status.verdict)
    told = render_index_status(status)
    assert "there is an index, and it cannot be used" in told
    assert "every video is scored" not in told


def test_an_index_of_other_weights_is_told_and_built_again(work):
    report = run_index_build(update(work))
    page = report.folder / INDEX
    page.write_text(page.read_text().replace(report.header.head_digest, "0" * 12))
    status = run_index_status(look(work))
    assert isinstance(status.verdict, MismatchError)
    assert "nothing new" not in render_index_status(status)
    with pytest.raises(MismatchError, match="made for other weights"):
        run_index_update(update(work))
    run_index_build(update(work))
    assert run_index_status(look(work)).verdict is None


def test_the_head_is_chosen_as_for_a_search(work):
    assert run_index_build(update(work, head="mean")).header.head == "mean"
    assert run_index_build(update(work, head="mgfi+cmfi")).header.head == "run"
    with pytest.raises(MissingError, match=r"no finished run of head xpool .* runs of: mgfi\+cmfi"):
        run_index_build(update(work, head="xpool"))


def test_the_check_of_no_index_says_how_to_make_one(work):
    with pytest.raises(MissingError, match=r"`vidret index build --cache \S+/planted --work \S+`"):
        run_index_check(look(work))


def test_an_index_in_the_place_of_another_cache_is_told_as_such(work):
    report = run_index_build(update(work))
    shutil.copytree(work / "cache" / "planted", work / "cache" / "twin")
    shutil.copytree(report.folder, work / "index" / "twin" / "run")
    problem = run_index_status(look(work, cache=work / "cache" / "twin")).problem
    assert "the index of planted for run lies where that of twin belongs" in problem


def test_shares_need_a_cluster(work):
    with pytest.raises(ConfigError, match="shares are made by a cluster: add --scheduler"):
        run_index_build(update(work, shares=2))


@pytest.fixture
def films(work, tmp_path):
    """A folder whose name needs quotes, and its cache, as the run of the work folder wants it."""
    root = tmp_path / "my films"
    (root / "clips").mkdir(parents=True)
    (root / "clips" / "new.mp4").touch()
    cache = write_planted_cache(work / "cache" / "folder", dataset="folder")
    page = read_manifest(cache)
    write_manifest(cache, replace(page, settings={**page.settings, "root": str(root)}))
    return root


def test_a_folder_is_looked_at_and_checked_without_being_extracted(
    work, films, monkeypatch, caplog
):
    monkeypatch.setattr(folders, "extracting", pytest.fail)
    status = run_index_status(look(work, path=films.parent / "x" / ".." / "my films"))
    assert (status.cache.name, status.head, status.videos) == ("folder", "run", VIDEOS)
    assert f"take it up with `vidret index update '{films}' --work {work}`" in (
        render_index_status(status)
    )
    with pytest.raises(MissingError, match=f"`vidret index build '{films}' --work {work}`"):
        run_index_check(look(work, path=films))
    run_index_build(update(work, cache=status.cache))
    assert "folder is taken as it is" in caplog.text  # no encoder of today makes the planted ones
    assert run_index_check(look(work, path=films, questions=2)).header.cache == "folder"


def test_a_folder_that_was_never_cached_gets_the_command_that_does_it(work, films):
    other = films / "clips"
    with pytest.raises(MissingError, match=f"`vidret index build '{other}' --work {work}` does it"):
        run_index_status(look(work, path=other))
    with pytest.raises(MissingError, match="nowhere is no folder"):
        run_index_status(look(work, path=films / "nowhere"))


def test_who_names_nothing_is_told_of_folders_that_have_a_name(work, films, caplog):
    caplog.set_level("INFO")
    run_index_update(update(work))
    assert f"brought up to date by its name: '{films}'" in caplog.text


def test_what_changed_in_another_dataset_is_extracted_first(work):
    status = run_index_status(look(work))
    assert status.to_update.startswith("vidret extract ")
    assert status.to_update.endswith(f"&& vidret index update --cache {status.cache} --work {work}")


def test_a_head_that_does_not_fit_is_refused_before_anything_is_extracted(work, films, monkeypatch):
    monkeypatch.setattr(folders, "extracting", pytest.fail)
    stranger = write_planted_cache(work / "cache" / "stranger", dataset="folder", decoder="other 1")
    page = read_manifest(stranger)
    write_manifest(stranger, replace(page, settings={**page.settings, "root": str(films)}))
    with pytest.raises(MismatchError, match="decoder"):
        run_index_build(update(work, cache=stranger))


def test_of_videos_that_are_alike_either_is_as_good():
    worth = np.array([0.5, 0.9, 0.9 - 1e-8, 0.9, 0.1])
    assert share_of_best(worth, np.array([3]), 1) == 1
    assert share_of_best(worth, np.array([3, 0]), 2) == 0.5
    assert share_of_best(worth, np.array([2, 3]), 2) == 1
    assert share_of_best(worth, np.array([1, 2, 3]), 2) == 1
    assert share_of_best(worth, np.array([0, 1, 4]), 4) == 0.5
    assert share_of_best(worth, np.arange(5), 100) == 1
    assert share_of_best(worth, np.array([], np.int64), 1) == 0


def test_a_check_of_shares_says_that_each_is_searched_by_itself(work):
    run_index_build(update(work))
    report = run_index_check(look(work, questions=20, shortlist=5))
    (table,) = render_index_check(replace(report, shares=4))
    each = report.header.videos // 4
    assert table.caption.startswith(
        "each of 4 shares searched by itself, with 20 captions in all: a shortlist of 5 of about "
        f"{each} videos; every file is as it was written"
    )
