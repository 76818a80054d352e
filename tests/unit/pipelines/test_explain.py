import json
import shutil
from dataclasses import replace
from xml.etree import ElementTree as ET

import h5py
import pytest
from making.searchable import SENTENCES, write_searchable_cache

from vidret.data.errors import ConfigError, MissingError
from vidret.data.manifest import read_manifest, write_manifest
from vidret.pipelines.config.fitting import TrainConfig
from vidret.pipelines.config.searching import ExplainConfig, SearchConfig
from vidret.pipelines.display.explained import render_explanation, strip
from vidret.pipelines.explain import find_video, run_explain, write_explanation
from vidret.pipelines.search import run_search
from vidret.pipelines.searching.corpus import opaque_id
from vidret.pipelines.train_heads import run_train

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    cache = write_searchable_cache(work / "cache" / "searchable")
    config = TrainConfig(work=work, cache=cache, epochs=1, audio_epochs=3, batch_size=2, name="run")
    run_train(config, on_progress=lambda _: None)
    return work


def explain(work, video="v1", query=SENTENCES[1], **changes):
    return run_explain(ExplainConfig(work=work, query=query, video=video, device="cpu", **changes))


def test_the_reasons_have_the_numbers_of_the_search(work):
    found = run_search(SearchConfig(work=work, query=SENTENCES[1], device="cpu"))
    for hit in found.hits:
        told = explain(work, hit.id).as_json()
        assert told["score"] == pytest.approx(hit.score, abs=1e-6)
        assert told["parts"] == pytest.approx(hit.parts, abs=1e-6)
        assert (told["start"], told["end"], told["path"]) == (hit.start, hit.end, hit.path)


def test_json_holds_a_row_a_word_and_a_column_a_frame(work):
    told = json.loads(json.dumps(explain(work).as_json(), default=str))
    assert told["words"] == SENTENCES[1].split()
    assert len(told["grid"]) == len(told["word_shares"]) == 6
    assert {len(row) for row in told["grid"]} == {len(told["times"])} == {4}
    assert told["grid_is"] == "of the head"


def test_the_terminal_shows_a_strip_a_word_and_a_bar_a_part(work):
    lines = render_explanation(explain(work)).splitlines()
    assert lines[0] == f'"{SENTENCES[1]}"'
    assert lines[1].startswith("clips/v1.mp4  0:02.0-0:04.0  score ")
    strips = [line for line in lines if line.endswith("|")]
    assert [line.split()[0] for line in strips] == ["sentence", *SENTENCES[1].split()]
    assert strips[0].endswith("| █  |")
    bars = [line.split() for line in lines if line.split(" ")[0] in ("words", "audio")]
    assert [bar[0] for bar in bars] == ["words", "audio", "words"]  # the last is the note
    assert any(line.startswith("the sound has ") for line in lines)
    assert lines[-1] == "words and frames as the head weighs them"


def test_a_head_that_sees_no_words_says_what_the_grid_is(work):
    lines = render_explanation(explain(work, head="mean")).splitlines()
    assert lines[-1].startswith("words and frames by their likeness in CLIP's space")
    assert not any("the sound has" in line for line in lines)


def test_the_drawing_is_whole_and_needs_nothing_else(work):
    drawing = render_explanation(explain(work, query='<b>"a" & b</b>'), "svg")
    tree = ET.fromstring(drawing)
    assert tree.tag == f"{SVG}svg"
    assert tree.attrib["role"] == "img"
    titles = [one.text for one in tree.iter(f"{SVG}title")]
    assert titles[0] == 'Why v1.mp4 answers: <b>"a" & b</b>'
    words = explain(work, query='<b>"a" & b</b>').explanation.words
    assert len(titles[1:]) == 4 * (1 + len(words))
    assert "http" not in drawing.replace("http://www.w3.org/2000/svg", "")


def test_no_weight_leaves_the_drawing(work):
    """Every bar of a cell stays in its cell, and every cell in the drawing."""
    tree = ET.fromstring(render_explanation(explain(work), "svg"))
    width, height = float(tree.attrib["width"]), float(tree.attrib["height"])
    for one in tree.iter(f"{SVG}rect"):
        box = {name: float(one.attrib.get(name, 0)) for name in ("x", "y", "width", "height")}
        assert 0 <= box["x"] <= box["x"] + box["width"] <= width
        assert 0 <= box["y"] <= box["y"] + box["height"] <= height


@pytest.mark.parametrize(
    ("weights", "shown"),
    [([0.0, 0.5, 1.0], " ▄█"), ([0, 0], "  "), ([0.25] * 2, "██"), ([], "")],
)
def test_a_strip_is_as_high_as_its_weights(weights, shown):
    assert strip(weights) == shown


@pytest.mark.parametrize(
    "name",
    ["v1", "clips/v1.mp4", "v1.mp4", "./v1.mp4", "/films/clips/v1.mp4", "/x/../films/clips/v1.mp4"],
)
def test_a_video_is_found_by_id_path_or_the_end_of_it(work, name):
    cache = work / "cache" / "searchable"
    assert find_video([cache], name) == (cache, 1)
    assert find_video([cache], opaque_id("v2")) == (cache, 2)


def test_a_video_that_is_not_there_is_told_with_one_that_is(work):
    with pytest.raises(MissingError, match=r"no video 'v11' in .* did you mean v1\?"):
        explain(work, "v11")


def test_a_video_of_another_cache_of_the_same_features_is_found(work, tmp_path):
    """As after a search in a folder, whose cache is not the one that the run was trained on."""
    shutil.copytree(work, tmp_path / "work")
    shown = explain(work).explanation
    write_searchable_cache(tmp_path / "work" / "cache" / "folder", dataset="folder")
    training = tmp_path / "work" / "cache" / "searchable"
    with h5py.File(training / "videos-00000.h5", "a") as shard:
        shard["ids"][:] = [f"other{number}" for number in range(4)]
        shard["source/path"][:] = [f"other{number}.mp4" for number in range(4)]
    found = explain(tmp_path / "work")
    assert found.explanation.parts == pytest.approx(shown.parts, abs=1e-6)
    assert explain(tmp_path / "work", "other1").explanation.hit.path == "other1.mp4"
    with pytest.raises(
        MissingError, match=r"no video 'x' in .* or the 1 other cache that the head"
    ):
        explain(tmp_path / "work", "x")


def test_an_ending_that_several_have_is_refused(tmp_path):
    cache = write_searchable_cache(tmp_path / "cache")
    with h5py.File(cache / "videos-00000.h5", "a") as shard:
        shard["source/path"][:] = [f"v{number}/a.mp4" for number in range(4)]
    with pytest.raises(
        ConfigError, match=r"4 are called so \(/films/v0/a\.mp4, .*\): give more of the path$"
    ):
        find_video([cache], "a.mp4")
    assert find_video([cache], "v2/a.mp4") == (cache, 2)


@pytest.fixture
def two_folders(tmp_path):
    """Caches of two folders that hold files of the same names, of which one is there."""
    caches = []
    for name in ("north", "south"):
        cache = write_searchable_cache(tmp_path / "work" / "cache" / name, dataset="folder")
        page = read_manifest(cache)
        write_manifest(
            cache, replace(page, settings={**page.settings, "root": str(tmp_path / name)})
        )
        caches.append(cache)
    (tmp_path / "south" / "clips").mkdir(parents=True)
    (tmp_path / "south" / "clips" / "v1.mp4").touch()
    return caches


def test_a_name_that_two_folders_have_is_never_guessed(two_folders, tmp_path, monkeypatch):
    north, south = two_folders
    for name in ("v1", "clips/v1.mp4"):
        with pytest.raises(ConfigError, match=r"2 are called so \(.*north.*, .*south.*--cache"):
            find_video(two_folders, name)
    work = tmp_path / "work"
    assert explain(work, cache=north).path == tmp_path / "north/clips/v1.mp4"
    assert explain(work, f"{tmp_path}/south/clips/v1.mp4").path.parts[-3] == "south"
    monkeypatch.chdir(tmp_path / "south")
    assert find_video(two_folders, "clips/v1.mp4") == (south, 1)
    (tmp_path / "south" / "new.mp4").touch()
    with pytest.raises(MissingError, match="the file is there, so search its folder first"):
        find_video(two_folders, "new.mp4")


def test_a_chance_that_is_small_is_not_none_at_all(work):
    report = explain(work)
    hit = replace(report.explanation.hit, probability=0.001)
    shown = render_explanation(replace(report, explanation=replace(report.explanation, hit=hit)))
    assert ", chance <1%" in shown


def test_a_file_is_written_whole(tmp_path):
    write_explanation("why", tmp_path / "why.svg")
    assert (tmp_path / "why.svg").read_text() == "why\n"
    with pytest.raises(MissingError, match="choose another file with --out"):
        write_explanation("why", tmp_path / "nowhere" / "why.svg")


@pytest.mark.parametrize("changes", [{"query": " "}, {"video": ""}, {"audio_weight": -1.0}])
def test_what_makes_no_sense_is_refused(changes, tmp_path):
    with pytest.raises(ConfigError):
        ExplainConfig(**{"work": tmp_path, "query": "a", "video": "v"} | changes)
