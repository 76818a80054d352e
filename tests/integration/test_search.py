"""`vidret search` over a cache and over a folder of clips that nobody has cached yet."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from making.opened import watching
from making.processes import run_vidret, succeed

from vidret.data.cache import FeatureCache
from vidret.data.synth.dataset import load_synth_mini

pytestmark = pytest.mark.xdist_group("search")


@pytest.fixture
def here(tmp_path, trained):
    """A folder of one's own with a cache and a run."""
    shutil.copytree(trained / "vidret-work", tmp_path / "vidret-work")
    return tmp_path


@pytest.fixture
def films(tmp_path, trained):
    """Some of the drawn clips, in folders, and a letter that calls itself a film."""
    films = tmp_path / "films"
    drawn = sorted((trained / "vidret-work" / "synth").glob("*/videos/*.mp4"))
    for place, path in (("summer", drawn[0]), ("summer/beach", drawn[9]), ("winter", drawn[20])):
        (films / place).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, films / place)
    (films / "winter" / "letter.mp4").write_text("dear all")
    return films


def test_a_cache_is_searched_with_the_newest_run(trained):
    report = json.loads(succeed("search", "a bell rings", "--json", cwd=trained))
    assert (report["searched"], report["head"], len(report["hits"])) == (54, "mgfi+cmfi", 10)
    for hit in report["hits"]:
        assert sum(hit["parts"].values()) == pytest.approx(hit["score"])
        assert 0 <= hit["start"] <= hit["peak"] <= hit["end"]
        assert Path(hit["path"]).is_file()


def test_paths_go_into_a_pipe_as_they_are(trained):
    printed = succeed("search", "a bell", "--format", "paths", "--top", "3", cwd=trained)
    assert [Path(line).suffix for line in printed.splitlines()] == [".mp4"] * 3


def test_a_folder_is_cached_first_and_then_searched(here, films):
    first = run_vidret("search", "a red star", films, "--format", "csv", cwd=here)
    assert first.returncode == 0, first.stderr
    rows = list(csv.DictReader(io.StringIO(first.stdout)))
    assert {row["path"] for row in rows} == {
        str(path) for path in films.rglob("*.mp4") if path.name != "letter.mp4"
    }
    (folder,) = (here / "vidret-work" / "cache").glob("folder-*")
    cache = FeatureCache.open(folder)
    assert cache.fingerprint.backbone == "tiny"
    assert cache.fingerprint.frames == 12
    assert [failure.id for failure in cache.failures()] == ["winter/letter.mp4"]

    with watching(films) as opened:
        again = run_vidret("search", "a red star", films, cwd=here)
    assert again.returncode == 0
    assert "3 clips searched with mgfi+cmfi" in " ".join(again.stdout.split())
    assert "1 could not be read" in " ".join(again.stdout.split())
    assert "videos/s" not in again.stderr
    assert opened == []
    with watching(films) as opened:
        (films / "winter" / "letter.mp4").read_text()
    assert opened == ["letter.mp4"], "the watch is blind"


@pytest.mark.slow
def test_a_folder_is_cached_as_the_settings_of_extract_say(tmp_path):
    (tmp_path / "clips").mkdir()
    for video in load_synth_mini().videos[:2]:
        shutil.copy(video.path, tmp_path / "clips")
    (tmp_path / "vidret.toml").write_text(
        '[extract]\nbackbone = "tiny"\naudio = "none"\nframes = 3\n'
    )
    found = json.loads(succeed("search", "a star", "clips", "--json", cwd=tmp_path))
    assert (found["head"], found["searched"]) == ("mean", 2)
    (cache,) = (tmp_path / "vidret-work" / "cache").glob("folder-f3-*")
    assert json.loads((cache / "manifest.json").read_text())["fingerprint"]["audio_dim"] == 0
