import io
from pathlib import Path

import pytest
from making.caches import a_failure, a_fingerprint

from vidret.data.cache import Coverage
from vidret.data.manifest import Manifest, SplitCount
from vidret.data.samples import AudioState
from vidret.data.storage.hdf5 import ShardEntry
from vidret.data.upkeep.check import Problem
from vidret.pipelines.cache import CacheCheckReport, CacheInfoReport
from vidret.pipelines.display.found import render_search
from vidret.pipelines.display.render import (
    render_cache_info,
    render_cache_repair,
    render_cache_verify,
    render_evaluate,
    render_extract,
    render_train,
    setting_caption,
    setting_line,
)
from vidret.pipelines.display.tables import show
from vidret.pipelines.evaluate import EvaluateReport, Scores, Setting
from vidret.pipelines.extraction.estimate import Estimate
from vidret.pipelines.extraction.report import ExtractReport
from vidret.pipelines.reranking import Reranked, RerankedScores
from vidret.pipelines.search import Hit, SearchReport
from vidret.pipelines.train_heads import TrainReport
from vidret.pipelines.training.runs import Run

FOLDER = Path("work/cache/toy")
GONE = {"videos": 3, "captions": 1}
SOUND = {"ok": 5, "silent": 1, "no-stream": 2, "failed": 0}


def shown(rendered):
    out = io.StringIO()
    show(rendered, file=out)
    return " ".join(out.getvalue().split())  # wherever the lines break


def an_extract_report(**changes):
    values = {
        "folder": FOLDER,
        "dataset": "toy",
        "videos": 8,
        "captions": 1200,
        "to_do": 8,
        "encoded": 8,
        "failures": (),
        "allowed": 0,
        "sound": SOUND,
        "partial": (),
        "removed": {"videos": 0, "captions": 0},
        "bytes": 1_250_000,
        "dry_run": False,
        "notes": (),
    }
    return ExtractReport(**values | changes)


def a_setting(**changes):
    values = {
        "dataset": "toy",
        "split": "test",
        "protocol": "toy-multi",
        "videos": 40,
        "captions": 1600,
        "dropped_captions": 0,
        "coverage": Coverage(expected=41, found=40, failed=1, sound=dict.fromkeys(AudioState, 10)),
        "select_on": "val",
        "notes": (),
    }
    return Setting(**values | changes)


def some_scores(recall, *, kinds=None):
    numbers = {"R@1": recall, "R@5": 60.0, "R@10": 80.0, "R@50": 95.0, "MdR": 3.0, "MnR": 7.5}
    numbers |= {"ties": 2, "queries": 1600}
    return Scores(t2v=numbers, v2t=numbers | {"queries": 40}, kinds=kinds or {})


def a_run(**changes):
    values = {
        "name": "mine",
        "head": "mgfi+cmfi",
        "seed": 3,
        "cache": FOLDER,
        "fingerprint": a_fingerprint(),
        "settings": {"select_on": "val"},
        "history": {"video-text": [{}, {}, {}], "audio": [{}]},
        "complete": True,
    }
    return Run(**values | changes)


def a_hit(**changes):
    values = {
        "rank": 1,
        "id": "v1",
        "path": "/films/v1.mp4",
        "score": 0.5,
        "probability": None,
        "weaker": False,
        "parts": {"frames": 0.4, "audio": 0.1},
        "start": 0.0,
        "end": 3.96,
        "peak": 1.0,
        "duration": 8.0,
        "sound": "ok",
        "rank_without_sound": 1,
    }
    return Hit(**values | changes)


def a_search_report(*hits, **changes):
    values = {
        "query": "a dog",
        "head": "mean",
        "cache": FOLDER,
        "searched": 1234,
        "failed": 0,
        "truncated": False,
        "hits": hits,
    }
    return SearchReport(**values | changes)


def test_an_extraction_says_what_is_where():
    text = shown(render_extract(an_extract_report()))
    assert "toy: 8 videos, 1,200 captions" in text
    assert "in the cache: 8 videos (8 tried in this run), 0 failed, 1.2 MB" in text
    assert f"-> {FOLDER}" in text
    assert "sound: 5 ok, 1 silent, 2 no-stream, 0 failed" in text


def test_an_extraction_names_what_is_there_in_part_and_what_was_only_recognised():
    report = an_extract_report(encoded=5, partial=("a\x1b.mp4",), removed=GONE, advice="slow disk")
    text = shown(render_extract(report))
    assert "(5 tried in this run, 3 recognised)" in text
    assert r"in part: 1 damaged file gave what there was: a\x1b.mp4" in text
    assert "gone or renamed: 3 videos and 1 caption; what the cache has of them" in text
    assert "slow disk" in text


def test_pixels_alone_say_how_to_go_on():
    text = shown(render_extract(an_extract_report(only="pixels")))
    assert "in the cache: pixels of 8 videos (8 tried in this run)" in text
    assert "encode them with the same command without --only" in text


def test_a_dry_run_says_how_much_it_would_take():
    told = Estimate(disk=2_500_000, seconds=90.0, workers=2, tried=4, decoding=0.25)
    text = shown(render_extract(an_extract_report(dry_run=True, estimate=told)))
    assert "disk: about 2.5 MB" in text
    assert "time: about 0:01:30 with 2 workers, 25% of it decoding (measured on 4" in text


def test_a_dry_run_tells_files_to_encode_from_files_to_look_at():
    text = shown(render_extract(an_extract_report(dry_run=True, to_do=1, looked_at=2)))
    assert f"to do: 1 video -> {FOLDER}" in text
    assert "to look at: 2 files touched or moved" in text
    assert "to look at" not in shown(render_extract(an_extract_report(dry_run=True)))


def test_a_dry_run_over_files_that_cannot_be_decoded_knows_no_time():
    told = Estimate(disk=0, seconds=None, workers=1, tried=0, decoding=0.0)
    text = shown(render_extract(an_extract_report(dry_run=True, estimate=told)))
    assert "time: unknown" in text


def test_an_extraction_names_what_failed():
    failures = (a_failure(1), a_failure(2))
    text = shown(render_extract(an_extract_report(failures=failures)))
    assert "in the cache: 6 videos" in text
    assert "failed: v1: no frame failed: v2: no frame" in text


def test_a_long_list_of_failures_is_cut_and_leads_to_the_rest():
    failures = tuple(a_failure(number) for number in range(25))
    text = shown(render_extract(an_extract_report(videos=30, failures=failures)))
    assert "failed: v9: " in text
    assert "failed: v10: " not in text
    assert f"and 15 more in {FOLDER / 'failures.md'}" in text


def test_a_dry_run_says_what_would_be_done():
    text = shown(render_extract(an_extract_report(dry_run=True, to_do=3)))
    assert f"to do: 3 videos -> {FOLDER}" in text
    assert "in the cache" not in text


def test_a_set_without_any_sound_is_warned_of():
    silent = {"ok": 0, "silent": 0, "no-stream": 8, "failed": 0}
    warning = "! no video carries sound"
    assert warning in shown(render_extract(an_extract_report(sound=silent)))
    assert warning not in shown(render_extract(an_extract_report()))


def test_notes_of_a_dataset_are_passed_on():
    assert "note: 3 gaps" in shown(render_extract(an_extract_report(notes=("3 gaps",))))


def test_failures_up_to_the_allowed_ones_are_no_verdict():
    failures = (a_failure(1), a_failure(2))
    assert an_extract_report(failures=failures, allowed=2).verdict is None
    verdict = an_extract_report(failures=failures, allowed=1).verdict
    assert verdict.exit_code == 3
    assert "2 of 8 videos failed, 1 allowed" in str(verdict)
    assert "--allow-failures 2" in str(verdict)


def test_cache_info_shows_splits_and_fingerprint():
    shard = ShardEntry(
        file="videos-00000.h5",
        kind="video",
        items=8,
        failed=1,
        bytes=2_000_000,
        checksum="c",
        fingerprint="f",
    )
    manifest = Manifest(
        fingerprint=a_fingerprint(),
        settings={},
        splits={"train": SplitCount(videos=9, captions=18)},
        shards=(shard,),
        complete=False,
    )
    coverage = Coverage(expected=9, found=8, failed=1, sound=dict.fromkeys(AudioState, 2))
    report = CacheInfoReport(
        folder=FOLDER, manifest=manifest, coverage={"train": coverage}, failures=1
    )
    text = shown(render_cache_info(report))
    assert "not finished, 1 shard, 2.0 MB" in text
    assert "train 9 8 0 1 2 2 2 2" in text
    assert "frame_policy uniform" in text


def test_checks_of_a_cache_name_file_and_damage():
    problem = Problem(file="videos-00000.h5", what="is not there")
    report = CacheCheckReport(folder=FOLDER, problems=(problem,), repaired=False)
    assert "videos-00000.h5 is not there" in shown(render_cache_verify(report))
    repaired = CacheCheckReport(folder=FOLDER, problems=(problem,), repaired=True)
    assert "what was damaged is removed" in shown(render_cache_repair(repaired))


def test_checks_of_a_whole_cache_say_so():
    report = CacheCheckReport(folder=FOLDER, problems=(), repaired=False)
    assert f"{FOLDER} is whole" in shown(render_cache_verify(report))
    assert "nothing to repair" in shown(render_cache_repair(report))


def test_a_fit_names_the_kept_epochs_and_the_next_command():
    best = {"video-text": {"epoch": 2, "R@1": 41.66, "queries": 24}}
    report = TrainReport(
        folder=Path("work/runs/mine"), run=a_run(), captions=1200, videos=300, with_sound=26,
        best=best,
    )  # fmt: skip
    text = shown(render_train(report))
    assert "mgfi+cmfi, seed 3: 1,200 captions of 300 videos, 26 with sound" in text
    assert "stage video-text: kept epoch 2 of 3, R@1 41.7 on val" in text
    assert "score it: vidret evaluate --run mine" in text


def test_a_head_with_nothing_to_learn_says_so():
    report = TrainReport(
        folder=FOLDER, run=a_run(head="mean"), captions=1, videos=1, with_sound=0, best={}
    )
    assert "this head has nothing to learn" in shown(render_train(report))


def an_evaluate_report(**changes):
    values = {
        "run": "mine",
        "head": "mgfi",
        "seed": 0,
        "scores": some_scores(41.66),
        "setting": a_setting(),
        "threshold": None,
    }
    return EvaluateReport(**values | changes)


def test_an_evaluation_shows_both_directions_and_its_ground():
    text = shown(render_evaluate(an_evaluate_report()))
    assert "mine: toy, split test, 40 videos, 1,600 captions, protocol toy-multi" in text
    assert "text to video 41.7 60.0 80.0 95.0 3.0 7.5 1,600 2" in text
    assert "video to text 41.7 60.0 80.0 95.0 3.0 7.5 40 2" in text
    assert "Video to text: a video's best caption against the best caption of each other" in text
    assert "Chance R@1 is 2.50." in text
    assert "Videos found 40 of 41; sound: 10 ok" in text


def test_kinds_stand_in_a_table_of_their_own_where_there_are_some():
    kinds = {"event": 50.0, "sound": 12.5}
    report = an_evaluate_report(scores=some_scores(40.0, kinds=kinds))
    assert "what decides the caption event sound ----- ----- 50.0 12.5" in shown(
        render_evaluate(report)
    )
    assert "what decides" not in shown(render_evaluate(an_evaluate_report()))


def test_what_is_re_ranked_stands_below_in_a_table_of_its_own():
    numbers = some_scores(50.0).t2v
    one = RerankedScores(
        name="dsl", tag="transductive", settings={"dsl_scale": 9.0}, t2v=numbers, v2t=None
    )
    reranked = Reranked(scores=(one,), bank=None, tuned_on="val", notes=("a note",))
    plain = shown(render_evaluate(an_evaluate_report()))
    text = shown(render_evaluate(an_evaluate_report(reranked=reranked)))
    assert text.startswith(plain)
    assert "dsl transductive t2v 50.0 60.0 80.0 95.0 3.0 7.5 2" in text
    assert "dsl transductive v2t - - - - - - -" in text
    assert "picked on val by R@1 text to video: dsl dsl_scale 9 (published 100)." in text
    assert "Note: a note." in text
    kinds = an_evaluate_report(reranked=reranked, scores=some_scores(40.0, kinds={"event": 1.0}))
    assert "Re-ranked: not the numbers" in shown(render_evaluate(kinds))


def test_a_table_picked_on_the_split_it_reports_is_an_oracle():
    assert "oracle" in setting_caption(a_setting(select_on="test"), seeds=1)
    assert "oracle" not in setting_caption(a_setting(), seeds=1)


def test_captions_of_missing_videos_are_counted():
    caption = setting_caption(a_setting(dropped_captions=1234), seeds=1)
    assert "1,234 captions of missing videos left out." in caption


def test_the_notes_of_a_dataset_stand_below_its_numbers():
    assert "Note: a toy." in setting_caption(a_setting(notes=("a toy",)), seeds=1)


def test_a_table_says_whom_a_videos_captions_compete_with():
    caption = setting_caption(a_setting(v2t_by="caption"), seeds=1)
    assert "a video's best caption against every caption of every other video." in caption


def test_a_setting_is_one_line():
    assert setting_line(a_setting()) == (
        "toy, split test, 40 videos, 1,600 captions, protocol toy-multi"
    )


@pytest.mark.parametrize(
    ("sound", "name"),
    [
        ("ok", "v1"),
        ("silent", "v1 (silent)"),
        ("no-stream", "v1 (no sound)"),
        ("failed", "v1 (sound unreadable)"),
    ],
)
def test_a_hit_without_sound_says_so(sound, name):
    table = render_search(a_search_report(a_hit(sound=sound)))
    assert table.rows[0][1] == name


@pytest.mark.parametrize(
    ("start", "end", "moment"),
    [
        (0.0, 3.96, "0:00.0-0:04.0"),
        (59.96, 61.04, "1:00.0-1:01.0"),
        (599.94, 600.0, "9:59.9-10:00.0"),
        (3661.0, 7322.5, "1:01:01.0-2:02:02.5"),
    ],
)
def test_a_moment_is_a_stretch_of_a_clock(start, end, moment):
    table = render_search(a_search_report(a_hit(start=start, end=end)))
    assert table.rows[0][2] == moment


def test_parts_have_a_sign_and_their_own_columns():
    hit = a_hit(parts={"frames": 0.4, "audio": -0.1})
    table = render_search(a_search_report(hit))
    assert table.columns[-2:] == ("frames", "audio")
    assert table.rows[0][-2:] == ("+0.400", "-0.100")


def test_nothing_found_is_an_empty_table():
    text = shown(render_search(a_search_report()))
    assert "1,234 clips searched with mean" in text
