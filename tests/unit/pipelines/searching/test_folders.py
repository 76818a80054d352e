import json
import os
import shutil

import pytest

from vidret.data.cache import FeatureCache
from vidret.data.errors import MissingError
from vidret.data.synth.dataset import load_synth_mini
from vidret.pipelines.config.settings import ExtractConfig
from vidret.pipelines.searching import folders
from vidret.pipelines.searching.folders import cache_of_folder

EXTRACT = ExtractConfig(backbone="tiny", audio="none", frames=2, workers=1)


@pytest.fixture
def films(tmp_path):
    """A folder with two clips and a letter."""
    films = tmp_path / "films"
    films.mkdir()
    for video in load_synth_mini().videos[:2]:
        shutil.copy(video.path, films)
    (films / "letter").write_text("dear all")
    return films


def cached(films, **changes):
    return cache_of_folder(
        films,
        work=films.parent / "work",
        run_folder=None,
        extract=EXTRACT,
        device="cpu",
        offline=True,
        **changes,
    )


@pytest.mark.slow
def test_a_folder_is_extracted_once_and_not_looked_at_again(films, monkeypatch):
    first = cached(films)
    assert FeatureCache.open(first).splits["all"].videos == 2
    monkeypatch.setattr(folders, "extracting", pytest.fail)
    assert cached(films) == first


@pytest.mark.parametrize(
    "change",
    [
        lambda films: (films / "new.mp4").write_bytes(b"x"),
        lambda films: (films / "letter").unlink(),
        lambda films: (films / "letter").rename(films / "card"),
        lambda films: (films / "letter").write_text("dear one and all"),
        lambda films: os.utime(films / "letter", (1, 1)),
        lambda films: (films / "captions.csv").write_text("video,caption\n"),
    ],
)
def test_whatever_changes_is_seen_without_opening_a_file(films, change):
    before = folders.look_of(films)
    assert folders.look_of(films) == before
    change(films)
    assert folders.look_of(films) != before


def test_what_is_hidden_does_not_count(films):
    before = folders.look_of(films)
    (films / ".hidden").touch()
    assert folders.look_of(films) == before


@pytest.fixture
def remembered(monkeypatch):
    """A folder whose extraction is a stand-in that counts, as what follows is not about it."""
    made = []

    def extract(config, _on_progress):
        made.append(config)
        folder = config.work / "cache" / "folder-x"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_text(json.dumps(len(made)))
        return folder

    monkeypatch.setattr(folders, "extracting", extract)
    monkeypatch.setattr(FeatureCache, "open", lambda _: None)
    return made


def test_a_cache_that_is_gone_or_was_written_since_is_made_again(films, remembered):
    folder = cached(films)
    cached(films)
    assert len(remembered) == 1
    (folder / "manifest.json").write_text("written by another command")
    cached(films)
    assert len(remembered) == 2
    shutil.rmtree(folder)
    cached(films)
    assert len(remembered) == 3


def test_other_settings_ask_for_another_extraction(films, remembered):
    cached(films)
    cache_of_folder(
        films,
        work=films.parent / "work",
        run_folder=None,
        extract=ExtractConfig(backbone="tiny", audio="none", frames=3),
        offline=True,
    )
    assert [config.frames for config in remembered] == [2, 3]


def test_a_file_that_changes_meanwhile_is_looked_at_next_time(films, remembered, monkeypatch):
    extract = folders.extracting

    def change_and_extract(config, on_progress):
        (films / "late.mp4").write_bytes(b"x")
        return extract(config, on_progress)

    monkeypatch.setattr(folders, "extracting", change_and_extract)
    cached(films)
    monkeypatch.setattr(folders, "extracting", extract)
    cached(films)
    assert len(remembered) == 2


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MissingError, match="nowhere is no folder"):
        cached(tmp_path / "nowhere")
