import errno
import json
import os
import re
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
from making.searchable import FRAMES, write_searchable_cache

from vidret.data.cache import FeatureCache
from vidret.data.errors import MissingError
from vidret.data.manifest import read_manifest, write_manifest
from vidret.data.storage.locks import LOCK, folder_lock
from vidret.data.storage.publish import CannotWriteError
from vidret.data.synth.dataset import load_synth_mini
from vidret.pipelines.commands.finding import build_index, search, serve
from vidret.pipelines.config.settings import ExtractConfig
from vidret.pipelines.searching import folders
from vidret.pipelines.searching.answers import Differences
from vidret.pipelines.searching.corpus import Corpus, open_corpus
from vidret.pipelines.searching.folders import cache_of_folder, refreshed

COMMANDS = (build_index, search, serve)
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


def cached(films, path=None, extract=EXTRACT, **changes):
    return cache_of_folder(
        path or films,
        work=films.parent / "work",
        run_folder=None,
        extract=extract,
        device="cpu",
        offline=True,
        **changes,
    )


@pytest.fixture
def planted(films):
    """A cache of the films that the tiny encoder seems to have made, with a clip that is gone."""
    work = films.parent / "work"
    cache = write_searchable_cache(work / "cache" / "folder-x", dataset="folder")
    page = read_manifest(cache)
    write_manifest(cache, replace(page, settings={**page.settings, "root": str(films)}))
    return cache


def test_a_folder_is_the_same_by_whatever_path(films, remembered):
    (films.parent / "link").symlink_to(films)
    for path in (films, films.parent / "else" / ".." / "films", films / "."):
        cached(films, path)
    assert [config.dataset for config in remembered] == [f"folder:{films}"]
    cached(films, films.parent / "link")
    assert remembered[-1].dataset == f"folder:{films.parent / 'link'}"


def test_without_an_encoder_the_folder_is_cached_as_the_last_time(films, planted, monkeypatch):
    asked = []
    monkeypatch.setattr(folders, "extracting", lambda config, _: asked.append(config) or planted)
    folders.cache_of_folder(
        films, work=films.parent / "work", run_folder=None, extract=ExtractConfig(workers=1)
    )
    (config,) = asked
    assert (config.backbone, config.audio, config.frames) == ("tiny", "tiny", FRAMES)
    assert config.workers == 1


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({}, r"add --backbone \S+@openai --audio none to fetch .*--backbone tiny to try"),
        ({"offline": True}, r"add --backbone ViT-B-32-quickgelu@FILE with weights that are here"),
        ({"backbone": "ViT-B-32@openai"}, r"add --audio Cnn14@FILE, or --audio none to leave"),
    ],
)
def test_where_no_weights_are_known_a_sentence_names_options_that_exist(films, settings, advice):
    offline = settings.pop("offline", False)
    with pytest.raises(MissingError, match=advice) as caught:
        cache_of_folder(
            films,
            work=films.parent / "work",
            run_folder=None,
            extract=ExtractConfig(**settings),
            offline=offline,
        )
    assert "\n" not in str(caught.value)
    for option in re.findall(r"(--\w+)", str(caught.value)):
        for command in COMMANDS:
            assert option in {name for one in command.params for name in one.opts}


def test_what_was_taken_up_is_said(films, planted, monkeypatch, caplog):
    caplog.set_level("INFO")

    def extract(_config, _on_progress):
        with h5py.File(planted / "videos-00000.h5", "a") as shard:
            shard["ids"][:2] = ["new1", "new2"]
            shard["source/content_hash"][2] = "another"
        return planted

    monkeypatch.setattr(folders, "extracting", extract)
    cached(films)
    assert f"{films}: 4 videos (2 new, 1 changed, 2 gone)" in caplog.text


def test_a_file_that_was_written_to_since_has_changed_whatever_its_size(films, planted):
    clips, written = films / "clips", (planted / "manifest.json").stat().st_mtime
    clips.mkdir()
    for number, seconds in enumerate((-5, -1, 5)):
        clip = clips / f"v{number}.mp4"
        clip.write_bytes(bytes(1000))  # the size of all of them
        os.utime(clip, (written + seconds,) * 2)
    (clips / "v0.mp4").write_bytes(bytes(999))
    os.utime(clips / "v0.mp4", (written - 5,) * 2)
    told = open_corpus(planted).differences()
    assert (told.changed, told.gone) == (("v0", "v2"), ("v3",))
    (clips / "v3.mp4").write_bytes(bytes(1000))
    page = read_manifest(planted)
    write_manifest(planted, page)  # as every update does, after it has looked
    os.utime(planted / "manifest.json", (written + 1e6,) * 2)
    assert open_corpus(planted).differences().changed == ("v0",)


@pytest.mark.slow
def test_a_cache_in_another_work_folder_is_brought_up_to_date_where_it_lies(films):
    first = cached(films)
    shutil.copy(films / "letter", films / "more.txt")
    shutil.copy(next(films.glob("*.mp4")), films / "new.mp4")
    found = refreshed(FeatureCache.open(first), ExtractConfig(work=films / "w", workers=1))
    assert found == first
    assert FeatureCache.open(first).splits["all"].videos == 3
    assert not (films / "w").exists()


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
def locking(planted, monkeypatch):
    """An extraction that becomes the one writer of the planted cache, and does nothing then."""

    def extract(_config, _on_progress):
        with folder_lock(planted):
            return planted

    monkeypatch.setattr(folders, "extracting", extract)
    monkeypatch.setattr(folders, "LOOK_SECONDS", 0.01)


@pytest.fixture
def unwritable(monkeypatch):
    """Locks as somebody meets them who may read alone; root may write everywhere."""
    usual = os.open

    def refuse(path, *arguments, **options):
        if Path(path).name == LOCK:
            raise PermissionError(errno.EACCES, "Permission denied")
        return usual(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)


@pytest.mark.usefixtures("locking")
def test_what_another_command_caches_is_waited_for(films, planted):
    let_go, locked, notes = threading.Event(), threading.Event(), []

    def hold():
        with folder_lock(planted):
            locked.set()
            let_go.wait(20)

    def note(progress):
        notes.append(progress.note)
        let_go.set()

    other = threading.Thread(target=hold)
    other.start()
    locked.wait(20)
    assert cached(films, on_progress=note) == planted
    other.join()
    assert len(notes) == 1
    assert notes[0].startswith(f"waiting: {planted} is being written by process {os.getpid()} on")


@pytest.mark.usefixtures("locking", "unwritable")
def test_who_may_not_write_searches_what_was_cached_and_hears_what_changed(films, planted, caplog):
    assert cached(films) == planted
    told = f"{films} is taken as it was cached, and not as it is (2 new, 4 gone since): cannot"
    assert told in caplog.text


@pytest.mark.usefixtures("locking", "unwritable")
def test_who_may_not_write_hears_nothing_where_nothing_changed(films, planted, caplog, monkeypatch):
    monkeypatch.setattr(Corpus, "differences", lambda _: Differences())
    assert cached(films) == planted
    assert caplog.text == ""


@pytest.mark.usefixtures("locking", "unwritable")
@pytest.mark.parametrize("how", [{"force": True}, {"retry_failed": True}])
def test_who_may_not_write_is_refused_what_he_asks_for_in_words(films, how):
    with pytest.raises(CannotWriteError, match="Permission denied"):
        cached(films, extract=replace(EXTRACT, **how))


@pytest.mark.usefixtures("locking", "unwritable")
def test_a_cache_that_was_not_finished_is_not_searched_instead(films, planted):
    write_manifest(planted, replace(read_manifest(planted), complete=False))
    with pytest.raises(MissingError, match="has not finished"):
        cached(films)


def test_an_emptied_folder_is_told_from_one_that_never_held_a_video(films, planted):
    for film in films.glob("*.mp4"):
        film.unlink()
    with pytest.raises(
        MissingError, match=r"no video any more, and \d+ videos of it are cached"
    ) as it:
        cached(films)
    assert f"`rm -r {planted}`" in str(it.value)
    away = films.rename(films.with_name("unplugged"))
    with pytest.raises(MissingError, match=r"films is not there any more, and 4 videos of it"):
        cached(films)
    away.rename(films)
    shutil.rmtree(planted)
    with pytest.raises(MissingError, match="holds no video, neither by content nor by name"):
        cached(films)


@pytest.fixture
def unlistable(monkeypatch):
    """Folders as somebody meets them who may not list them."""
    shut, usual = [], os.scandir

    def refuse(path):
        if Path(path) in shut:
            raise PermissionError(errno.EACCES, "Permission denied")
        return usual(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return shut


def test_a_folder_that_may_not_be_listed_is_not_called_empty(films, planted, unlistable):
    unlistable.append(films)
    with pytest.raises(MissingError, match=r"cannot list .*films.*: Permission denied") as it:
        cached(films)
    assert "rm -r" not in str(it.value)
    assert planted.is_dir()


def test_caches_that_may_not_be_listed_are_not_called_missing(films, planted, unlistable):
    unlistable.append(planted.parent)
    with pytest.raises(
        MissingError, match=r"cannot list .*cache: Permission denied; get the right"
    ):
        cached(films, extract=ExtractConfig())


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
