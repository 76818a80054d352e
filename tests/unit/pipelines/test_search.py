import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import av
import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from making.caches import a_failure
from making.searchable import SENTENCES, encode_query, write_searchable_cache
from safetensors.numpy import load_file

from vidret.data.batches import Texts
from vidret.data.cache import FeatureCache
from vidret.data.errors import ConfigError, MismatchError, MissingError
from vidret.data.manifest import read_manifest, write_manifest
from vidret.data.storage.projections import PROJECTIONS
from vidret.data.synth.dataset import load_synth_mini
from vidret.pipelines.cli import cli
from vidret.pipelines.config.fitting import TrainConfig
from vidret.pipelines.config.searching import SearchConfig
from vidret.pipelines.config.serving import ServeConfig
from vidret.pipelines.display.edl import timecode
from vidret.pipelines.display.found import render_search
from vidret.pipelines.display.tables import show
from vidret.pipelines.search import run_search
from vidret.pipelines.searching.choosing import refuse_encoders
from vidret.pipelines.searching.moments import span_of_moment
from vidret.pipelines.train_heads import run_train
from vidret.pipelines.training.runs import WEIGHTS, load_weights, read_run


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return write_searchable_cache(tmp_path_factory.mktemp("work") / "cache" / "searchable")


@pytest.fixture(scope="module")
def work(cache):
    """A work folder with one run, whose sound has its say."""
    work = cache.parents[1]
    config = TrainConfig(work=work, cache=cache, epochs=1, audio_epochs=1, batch_size=2, name="run")
    run_train(config, on_progress=lambda _: None)
    return work


def search(work, query=SENTENCES[1], **settings):
    return run_search(SearchConfig(work=work, query=query, device="cpu", **settings))


@pytest.mark.parametrize("number", range(4))
def test_a_sentence_finds_the_video_that_shows_it(cache, number, tmp_path):
    report = search(tmp_path, SENTENCES[number], cache=cache)
    assert report.hits[0].id == f"v{number}"
    assert report.hits[0].path == f"/films/clips/v{number}.mp4"


@pytest.mark.parametrize("number", range(4))
def test_the_moment_is_where_the_sentence_is_shown(work, number):
    hit = search(work, SENTENCES[number]).hits[0]
    assert (hit.start, hit.peak, hit.end) == (2.0 * number, 2.0 * number + 1, 2.0 * number + 2)


def test_the_mean_of_the_frames_finds_its_moment_by_likeness(cache, tmp_path):
    hit = search(tmp_path, cache=cache).hits[0]
    assert (hit.start, hit.end) == (2.0, 4.0)


def test_hits_come_best_first_and_are_numbered(work):
    hits = search(work).hits
    assert [hit.rank for hit in hits] == [1, 2, 3, 4]
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)


def test_the_parts_add_up_to_the_score_of_the_head(work, cache):
    run = work / "runs" / "run"
    retriever = load_weights(run, read_run(run)).eval()
    for hit in search(work).hits:
        assert set(hit.parts) == {"sentence", "words", "audio"}
        assert sum(hit.parts.values()) == pytest.approx(hit.score)
    encoded = encode_query(SENTENCES[1])
    split = FeatureCache.open(cache).load("val")
    texts = Texts(
        sentence=torch.from_numpy(encoded.sentence)[None],
        words=torch.from_numpy(encoded.words)[None],
        word_mask=torch.ones(1, len(encoded.words), dtype=torch.bool),
    )
    with torch.inference_mode():
        expected = retriever(texts, split.videos_tensors()).item()
    (of_val,) = [hit for hit in search(work).hits if hit.id == "v2"]
    assert of_val.score == pytest.approx(expected, abs=1e-5)


def test_a_query_goes_through_the_projections_that_a_run_trained(tmp_path):
    cache = write_searchable_cache(tmp_path / "cache" / "hidden", hidden=True)
    config = TrainConfig(
        work=tmp_path,
        cache=cache,
        head="mgfi",
        epochs=2,
        batch_size=2,
        projection_lr=0.1,
        train_projection=True,
    )
    report = run_train(config, on_progress=lambda _: None)
    trained, stored = (load_file(place / PROJECTIONS) for place in (report.folder, cache))
    assert not np.array_equal(trained["text.weight"], stored["text.weight"])
    encoded = encode_query(SENTENCES[1], hidden=True)
    words = encoded.words @ trained["text.weight"]
    texts = Texts(
        sentence=torch.from_numpy(encoded.sentence @ trained["text.weight"])[None],
        words=torch.from_numpy(words)[None],
        word_mask=torch.ones(1, len(words), dtype=torch.bool),
    )
    retriever = load_weights(report.folder, report.run).eval()
    videos = FeatureCache.open(cache).load("val").videos_tensors()  # their side has no projection
    with torch.inference_mode():
        expected = retriever(texts, videos).item()
    (of_val,) = [hit for hit in search(tmp_path).hits if hit.id == "v2"]
    assert of_val.score == pytest.approx(expected, abs=1e-5)


def test_every_split_is_searched(work):
    report = search(work)
    assert (report.searched, {hit.id for hit in report.hits}) == (4, {"v0", "v1", "v2", "v3"})


def test_no_more_is_shown_than_was_asked_for(work):
    report = search(work, top=2)
    assert ([hit.rank for hit in report.hits], report.searched) == ([1, 2], 4)


def test_equal_scores_come_in_the_order_of_their_names(tmp_path):
    cache = write_searchable_cache(tmp_path / "searchable")
    with h5py.File(cache / "videos-00000.h5", "a") as shard:
        shard["frames"][:] = 0  # a cosine of 0 for all, to the bit
    assert [hit.id for hit in search(tmp_path, cache=cache).hits] == ["v0", "v1", "v2", "v3"]


def test_without_a_run_the_mean_of_the_frames_ranks(cache, tmp_path):
    report = search(tmp_path, cache=cache)
    assert (report.head, set(report.hits[0].parts)) == ("mean", {"frames"})


def test_without_a_run_the_score_is_clips_own_cosine(cache, tmp_path):
    hit = search(tmp_path, cache=cache).hits[0]
    features = FeatureCache.open(cache).load("train")
    frames = np.asarray(features.frames[1], np.float64)
    mean = (frames / np.linalg.norm(frames, axis=1, keepdims=True)).mean(0)
    sentence = encode_query(SENTENCES[1]).sentence
    cosine = sentence @ mean / np.linalg.norm(sentence) / np.linalg.norm(mean)
    assert hit.score == pytest.approx(cosine, abs=1e-3)


def test_a_run_that_has_not_finished_does_not_rank(cache, tmp_path):
    config = TrainConfig(work=tmp_path, cache=cache, head="mean", name="begun")
    (run_train(config, on_progress=lambda _: None).folder / WEIGHTS).unlink()
    assert search(tmp_path, cache=cache).head == "mean"
    with pytest.raises(MissingError, match="run begun has not finished"):
        search(tmp_path, run="begun")


def test_the_newest_run_ranks_on_its_own_cache(work):
    report = search(work)
    assert (report.head, report.cache) == ("mgfi+cmfi", work / "cache" / "searchable")


def test_an_unknown_run_names_the_known_ones(work):
    with pytest.raises(MissingError, match=r"no run 'walk' .* there are run"):
        search(work, run="walk")


def test_a_cache_of_other_features_is_refused(work, tmp_path):
    other = write_searchable_cache(tmp_path / "other", decoder="ffmpeg 7")
    with pytest.raises(MismatchError, match=r"decoder is ffmpeg 7 there and av 18\.1\.0 here"):
        search(work, cache=other)


def test_without_any_cache_the_error_says_how_to_make_one(tmp_path):
    with pytest.raises(MissingError, match=r"no cache below .* `vidret extract"):
        search(tmp_path)


def test_a_folder_that_is_not_there_is_named(work, tmp_path):
    with pytest.raises(MissingError, match="nowhere is no folder"):
        search(work, path=tmp_path / "nowhere")


def test_an_empty_query_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="query is empty"):
        search(tmp_path, "  ")


def test_a_query_too_long_for_the_model_is_cut_and_said_to_be(work):
    report = search(work, f"{SENTENCES[1]}, " * 20)
    assert report.truncated
    assert "its end was cut" in render_search(report).caption
    assert not search(work).truncated


def test_a_query_of_no_words_still_ranks(work):
    report = search(work, "<start_of_text>")
    assert len(report.hits) == 4
    assert all(np.isfinite(hit.score) for hit in report.hits)


def test_videos_that_could_not_be_read_are_mentioned(tmp_path):
    folder = write_searchable_cache(tmp_path / "searchable", failures=[a_failure(7), a_failure(8)])
    report = search(tmp_path, cache=folder)
    assert report.failed == 2
    assert f"2 could not be read: see {folder / 'failures.md'}" in render_search(report).caption


def test_the_table_shows_clip_moment_score_and_parts(work):
    table = render_search(search(work))
    assert table.columns == ("", "clip", "moment", "score", "sentence", "words", "audio")
    assert table.rows[0][1:3] == ("v1", "0:02.0-0:04.0")
    assert table.caption == "4 clips searched with mgfi+cmfi; the parts add up to the score"
    assert any(row[1] == "v3 (silent)" for row in table.rows)


def test_paths_are_paths_and_nothing_else(work):
    lines = render_search(search(work), "paths").splitlines()
    assert lines[0] == "/films/clips/v1.mp4"
    assert len(lines) == 4


def test_csv_reads_back(work):
    report = search(work)
    rows = list(csv.DictReader(io.StringIO(render_search(report, "csv"))))
    assert [row["id"] for row in rows] == [hit.id for hit in report.hits]
    for row, hit in zip(rows, report.hits, strict=True):
        assert float(row["score"]) == pytest.approx(hit.score, abs=1e-5)
        assert float(row["audio"]) == pytest.approx(hit.parts["audio"], abs=1e-5)
        assert (float(row["start"]), float(row["end"])) == (hit.start, hit.end)


def test_json_holds_every_number(work):
    report = search(work)
    told = json.loads(json.dumps(report.as_json(), default=str))
    assert told["hits"][0]["parts"] == report.hits[0].parts
    assert (told["query"], told["searched"]) == (SENTENCES[1], 4)


@pytest.mark.parametrize("form", ["table", "csv", "paths"])
def test_nothing_found_is_shown_as_nothing(tmp_path, form):
    cache = write_searchable_cache(tmp_path / "searchable")
    report = replace(search(tmp_path, cache=cache), hits=(), searched=0)
    out = io.StringIO()
    show(render_search(report, form), file=out)
    assert "v0" not in out.getvalue()


TIMES = np.array([1.0, 3.0, 5.0, 7.0])


@pytest.mark.parametrize(
    ("weights", "span"),
    [
        ([0.7, 0.1, 0.1, 0.1], (0.0, 2.0, 1.0)),
        ([0.1, 0.7, 0.1, 0.1], (2.0, 4.0, 3.0)),
        ([0.1, 0.1, 0.1, 0.7], (6.0, 8.0, 7.0)),
        ([0.1, 0.5, 0.4, 0.0], (2.0, 6.0, 3.0)),
        ([0.4, 0.1, 0.5, 0.0], (4.0, 6.0, 5.0)),  # the tall frame beyond a gap is another moment
        ([0.25, 0.25, 0.25, 0.25], (0.0, 8.0, 1.0)),
        ([0.2, 0.3, 0.4, 0.1], (2.0, 6.0, 5.0)),  # half the height is 0.25
    ],
)
def test_a_moment_reaches_down_to_half_the_height(weights, span):
    assert span_of_moment(np.array(weights), TIMES, 8.0) == span


def test_one_frame_is_the_whole_video():
    assert span_of_moment(np.array([1.0]), np.array([2.0]), 4.0) == (0.0, 4.0, 2.0)


def test_a_moment_does_not_end_before_its_last_frame():
    """Some containers say that they are shorter than they are."""
    weights = np.array([0.1, 0.9])
    assert span_of_moment(weights, np.array([1.0, 3.0]), 2.5) == (2.0, 3.0, 3.0)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A work folder whose videos are all in val, so that scores have a worth."""
    work = tmp_path_factory.mktemp("judged")
    write_searchable_cache(work / "cache" / "searchable", splits=("val",) * 4)
    return work


def test_scores_are_calibrated_on_val_and_weaker_matches_stand_below_a_line(judged):
    report = search(judged)
    assert (report.matches, report.weaker) == (1, 3)
    assert [hit.weaker for hit in report.hits] == [False, True, True, True]
    assert report.hits[0].probability > 0.5 > report.hits[1].probability
    table = render_search(report)
    assert table.columns[:4] == ("", "clip", "moment", "chance")
    assert table.rows[1] == "--- weaker matches below (3) ---"
    assert [row[0] for row in table.rows if row is not table.rows[1]] == [1, 2, 3, 4]
    rows = list(csv.DictReader(io.StringIO(render_search(report, "csv"))))
    assert [row["weaker"] for row in rows] == ["false", "true", "true", "true"]
    assert float(rows[0]["probability"]) == pytest.approx(report.hits[0].probability, abs=1e-6)


def test_what_is_weaker_is_never_dropped(judged):
    assert len(search(judged, "nothing of the kind").hits) == 4


def test_a_head_is_named_instead_of_a_run(work):
    assert search(work, head="mean").head == "mean"
    assert search(work, head="mgfi+cmfi").head == "mgfi+cmfi"
    with pytest.raises(ConfigError, match=r"there is no head 'mgfy': did you mean \"mgfi\"\?"):
        search(work, head="mgfy")
    with pytest.raises(MissingError, match=r"no finished run of head xpool .* --head xpool"):
        search(work, head="xpool")
    with pytest.raises(ConfigError, match="run is run and head is mean"):
        search(work, run="run", head="mean")


def test_the_sound_counts_what_is_asked_for(work):
    plain, silent = search(work), search(work, audio_weight=0)
    assert all(hit.parts["audio"] == 0 for hit in silent.hits)
    assert [hit.rank_without_sound for hit in silent.hits] == [1, 2, 3, 4]
    by_picture = sorted(plain.hits, key=lambda hit: hit.parts["audio"] - hit.score)
    assert [hit.id for hit in silent.hits] == [hit.id for hit in by_picture]


def test_one_clip_is_no_clips(work):
    assert render_search(search(work, where=("v1.mp4",))).caption.startswith("1 clip searched")


def test_a_name_that_is_no_cache_was_never_one(work, tmp_path):
    with pytest.raises(MissingError, match=r"nope holds no manifest\.json, so it is no cache"):
        search(work, cache=tmp_path / "nope")


def test_paths_end_in_a_line_or_in_a_nul_and_keep_their_bytes(work):
    report = search(work, top=2)
    odd = replace(report, hits=tuple(replace(hit, path="/a\n\udcff") for hit in report.hits))
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    show(render_search(odd, "paths0"), file=out)
    show(render_search(odd, "paths"), file=out)
    assert out.buffer.getvalue() == b"/a\n\xff\0" * 2 + b"/a\n\xff\n" * 2


def test_what_is_rounded_to_nothing_is_not_below_it(work):
    report = search(work, top=1)
    hit = replace(report.hits[0], score=-1e-9, parts={"words": -1e-9, "audio": 2.0})
    none = replace(report, hits=(hit,))
    assert render_search(none).rows[0][-3:] == ("0.000", "+0.000", "+2.000")
    assert "-0.000" not in render_search(none, "csv")


def test_the_moment_of_a_hit_is_opened(work, filmed, monkeypatch):
    played = []
    monkeypatch.setattr(
        "vidret.pipelines.search.play", lambda *what: played.append(what) or "mpv it"
    )
    report = search(filmed / "work", open=2)
    assert (report.opened, report.verdict) == ("mpv it", None)
    assert played == [(Path(report.hits[1].path), report.hits[1].start)]
    none = search(filmed / "work", where=("v1.mp4",), open=2)
    assert (none.verdict.exit_code, len(none.hits)) == (4, 1)
    assert str(none.verdict) == "there is no clip 2 to open: 1 clip found"
    with pytest.raises(ConfigError, match="open is 3: give 1 to 2, as many clips as are shown"):
        search(work, top=2, open=3)


def test_a_clip_to_open_that_is_gone_is_told_below_the_others(filmed):
    report = search(filmed / "work", where=("v3.mp4",), open=1)
    assert len(report.hits) == 1
    assert "is not there any more, so it cannot be opened" in str(report.verdict)


def test_encoders_are_refused_where_a_run_has_its_own(work):
    asked = {"work": work, "query": "a star", "path": work}
    with pytest.raises(ConfigError, match=r"run run ranks .* or add --head mean"):
        refuse_encoders(SearchConfig(**asked))
    refuse_encoders(SearchConfig(**asked, head="mean"))
    with pytest.raises(ConfigError, match=r"run run ranks .* or add --heads mean"):
        refuse_encoders(ServeConfig(work=work, path=work))
    refuse_encoders(ServeConfig(work=work, path=work, heads=("mean",)))


def test_a_glob_a_day_and_a_sound_narrow_the_search(work):
    assert {hit.id for hit in search(work, where=("clips/v[12].*",)).hits} == {"v1", "v2"}
    assert {hit.id for hit in search(work, with_sound=True).hits} == {"v0", "v1", "v2"}
    nothing = search(work, since="2026-01-01")  # none of these files is there
    assert (nothing.hits, nothing.searched) == ((), 0)
    assert "no clip was read that fits --where, --since" in render_search(nothing).caption


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"since": "yesterday"}, "since is 'yesterday': give a day, as in 2026-11-22"),
        ({"audio_weight": -1.0}, "audio_weight is -1.0: give 0 to 10"),
        ({"audio_weight": float("inf")}, "audio_weight is inf"),
        ({"pad": -1.0}, "pad is -1.0: give seconds from 0 on"),
        ({"rate": 0.0}, "rate is 0.0: give frames a second from 1 to 99"),
        ({"rate": float("nan")}, "rate is nan: give frames a second"),
        ({"where": ("",)}, "where is ''"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(work, settings, words):
    with pytest.raises(ConfigError, match=words):
        search(work, **settings)


def test_an_edit_list_cuts_each_moment_to_the_frame(work):
    report = search(work, SENTENCES[1], top=2)
    first = replace(report.hits[0], start=3725.48, end=3727.0, sound="ok")
    second = replace(report.hits[1], path="/films/a\nb.mp4", start=0.0, end=0.01, sound="no-stream")
    told = render_search(replace(report, hits=(first, second)), "edl", rate=25)
    assert told.splitlines() == [
        f"TITLE: {SENTENCES[1]}",
        "FCM: NON-DROP FRAME",
        "",
        "001  AX       B     C        01:02:05:12 01:02:07:00 01:00:00:00 01:00:01:13",
        f"* FROM CLIP NAME: {Path(first.path).name}",
        f"* SOURCE FILE: {first.path}",
        "",
        "002  AX       V     C        00:00:00:00 00:00:00:01 01:00:01:13 01:00:01:14",
        "* FROM CLIP NAME: a\\nb.mp4",
        "* SOURCE FILE: /films/a\\nb.mp4",
    ]


@pytest.mark.parametrize(
    ("frame", "rate", "code"),
    [
        (0, 25, "00:00:00:00"),
        (24, 25, "00:00:00:24"),
        (25 * 3600 * 25, 25, "25:00:00:00"),
        (24, 23.976, "00:00:01:00"),  # of one thousand and one, as film runs on television
        (29, 29.97, "00:00:00:29"),
        (30, 29.97, "00:00:01:00"),
    ],
)
def test_a_timecode_counts_frames_and_drops_none(frame, rate, code):
    assert timecode(frame, rate) == code


def asked_by_lines(work, lines, *options):
    asked = ["search", "-", "--work", str(work), "--device", "cpu", "--top", "2", *options]
    return CliRunner().invoke(cli, asked, prog_name="vidret", input=lines)


def test_a_query_a_line_is_answered_as_each_is_alone(work):
    asked = [SENTENCES[2], SENTENCES[0], "\N{BELL} λ"]
    result = asked_by_lines(work, "\n".join([asked[0], "  ", *asked[1:]]), "--json")
    assert result.exit_code == 0, result.output
    for (number, query), line in zip(
        ((1, asked[0]), (3, asked[1]), (4, asked[2])), result.stdout.splitlines(), strict=True
    ):
        told, alone = json.loads(line), search(work, query, top=2)
        assert (told["line"], told["query"]) == (number, query)
        assert [hit["id"] for hit in told["hits"]] == [hit.id for hit in alone.hits]
        assert told["hits"][0]["score"] == pytest.approx(alone.hits[0].score, abs=1e-6)


def test_a_line_that_makes_no_sense_stops_no_other(work):
    lines = f"\ufeff{SENTENCES[0]}\n\n\x01\n{SENTENCES[1]}\n".encode() + b"\xff dog"
    result = asked_by_lines(work, lines)
    assert result.exit_code == 3
    assert result.stdout.count("4 clips searched") == 2
    assert f'"{SENTENCES[0]}"' in result.stdout
    told = r'2 queries could not be answered: line 3, "\x01": query is empty: say what to look for'
    assert told in result.stderr
    assert "line 5, " in result.stderr
    assert "the line is no UTF-8" in result.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--format", "csv"), "whose answers are no csv: give --format table or json"),
        (("--open", "1"), "leave out --open and --export-clips"),
        (("--export-clips", "out"), "leave out --open and --export-clips"),
    ],
)
def test_answers_to_lines_are_for_reading(work, options, words):
    result = asked_by_lines(work, "dog", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


@pytest.fixture
def filmed(tmp_path):
    """A work folder with two of the drawn clips as films, one of them gone since."""
    films = load_synth_mini().videos[:2]
    cache = write_searchable_cache(tmp_path / "work" / "cache" / "searchable")
    page = read_manifest(cache)
    write_manifest(cache, replace(page, settings={**page.settings, "root": str(tmp_path)}))
    (tmp_path / "clips").mkdir()
    for number, film in enumerate(films):
        shutil.copy(film.path, tmp_path / "clips" / f"v{number}.mp4")
    return tmp_path


def test_the_moment_of_each_hit_is_exported_with_what_surrounds_it(filmed):
    out = filmed / "out"
    report = search(filmed / "work", where=("v[01].mp4",), export_clips=out, pad=0.5)
    assert report.verdict is None
    assert [hit.clip for hit in report.hits] == sorted(out.iterdir())
    assert [hit.clip.name[:5] for hit in report.hits] == ["01-v1", "02-v0"]
    for hit in report.hits:
        with av.open(str(hit.clip)) as clip:
            assert {stream.codec_context.name for stream in clip.streams.video} == {"h264"}
            assert 0 < clip.duration / av.time_base <= hit.end - hit.start + 1.2
    assert f"2 clips written to {out}" in render_search(report).caption


def test_a_clip_that_cannot_be_written_is_told_and_stops_no_other(filmed):
    report = search(filmed / "work", export_clips=filmed / "out")
    assert len(report.not_exported) == 2
    assert [hit.clip is None for hit in report.hits].count(False) == 2
    assert report.verdict.exit_code == 3
    assert "2 clips could not be written" in str(report.verdict)


def test_names_that_would_break_a_line_are_spelt_out(work):
    report = search(work)
    odd = replace(report, query="a\x1b[31m\u202e", hits=(replace(report.hits[0], id="v\n1"),))
    table = render_search(odd)
    assert table.title == r'"a\x1b[31m\u202e"'
    assert table.rows[0][1] == r"v\n1"
