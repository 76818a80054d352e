"""What goes wrong at a desk: one clear sentence, the right exit code, nothing lost."""

import json
import os
import shutil
import subprocess

import pytest
from click.testing import CliRunner
from making.caches import flip_a_bit
from making.clips import draw_clip
from making.msvd import make_msvd
from making.planted import write_planted_cache
from making.processes import PATIENCE, PROGRAM, clean_environment

from vidret.data.cache import FeatureCache
from vidret.data.samples import AudioState
from vidret.pipelines.cli import cli

TINY = ("--backbone", "tiny", "--audio", "tiny", "--workers", "1")
VARIABLES = ("DASK_CONFIG", "MPLCONFIGDIR", "NUMBA_CACHE_DIR")
FIT = ("--epochs", "1", "--audio-epochs", "1")
RIGHTS = "-dac_override,-dac_read_search"  # by which root writes and reads anywhere

pytestmark = pytest.mark.xdist_group("mistakes")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nothing"))
    for name in VARIABLES:  # what a command sets is taken back
        monkeypatch.setenv(name, "set")
        monkeypatch.delenv(name)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(cli, [str(one) for one in arguments], prog_name="vidret")


def refused(code, *arguments):
    """The one sentence that a command ends with."""
    result = run(*arguments)
    assert result.exit_code == code, result.output
    last = [line for line in result.stderr.splitlines() if line.startswith("vidret: ")]
    assert len(last) == 1, result.stderr
    assert "Traceback" not in result.output
    return result.stderr[result.stderr.index("vidret: ") :].removeprefix("vidret: ").strip()


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A folder with three clips, of which one has no sound."""
    films = tmp_path_factory.mktemp("films")
    draw_clip(films / "a.mp4", seconds=0.6)
    draw_clip(films / "mute.mp4", seconds=0.6, levels=())
    draw_clip(films / "z.mp4", seconds=0.8)
    return films


@pytest.fixture(scope="module")
def of_good(good, tmp_path_factory):
    """A work folder with the cache of these clips alone: only to look at."""
    work = tmp_path_factory.mktemp("work")
    assert run("extract", "--dataset", f"folder:{good}", "--work", work, *TINY).exit_code == 0
    return work


def test_bad_files_are_named_and_the_good_ones_are_kept(good, of_good, here):
    films, work = here / "films", here / "work"
    shutil.copytree(good, films)
    broken = {"mute.mp4": films / "mute.mp4", "z.mp4": films / "z.mp4"}
    broken["mute.mp4"].write_text("this is a letter, not a film\n" * 50)
    broken["z.mp4"].write_bytes(b"")
    command = ("extract", "--dataset", f"folder:{films}", "--work", work, *TINY)

    first = run(*command)
    (folder,) = (work / "cache").iterdir()
    assert first.exit_code == 3
    assert "2 of 3 videos failed, 0 allowed" in first.stderr
    assert f"see {folder / 'failures.md'}" in first.stderr
    listed = [json.loads(line) for line in (folder / "failures.jsonl").read_text().splitlines()]
    reasons = {one["id"]: one["reason"] for one in listed}
    assert set(reasons) == set(broken)
    assert "is empty" in reasons["z.mp4"]
    assert "cannot be decoded" in reasons["mute.mp4"]
    page = (folder / "failures.md").read_text()
    for name, reason in reasons.items():
        assert f"failed: {name}: {reason}" in first.stdout
        assert f"## {name}" in page
        assert reason in page
    features = FeatureCache.open(folder).load("all")
    assert features.video_ids == ["a.mp4"]

    written = (folder / "videos-00000.h5").stat().st_mtime_ns
    again = run(*command, "--allow-failures", 2)
    assert again.exit_code == 0
    assert "(0 tried in this run), 2 failed" in again.stdout
    assert run(*command).exit_code == 3
    assert (folder / "videos-00000.h5").stat().st_mtime_ns == written

    once_more = run(*command, "--retry-failed", "--allow-failures", 2)
    assert "(2 tried in this run, 1 recognised), 2 failed" in once_more.stdout

    for name, path in broken.items():
        shutil.copy(good / name, path)
    mending = run(*command)
    assert mending.exit_code == 0, "a file that was replaced is tried again without being asked"
    assert "(2 tried in this run, 1 recognised), 0 failed" in mending.stdout
    assert not (folder / "failures.md").exists()
    assert not (folder / "failures.jsonl").exists()
    (unharmed,) = (of_good / "cache").iterdir()
    assert unharmed.name != folder.name, "two folders are two datasets, whatever is in them"
    for path in unharmed.glob("*.h5"):
        assert (folder / path.name).read_bytes() == path.read_bytes()
    mended, never_broken = (
        json.loads((one / "manifest.json").read_text()) for one in (folder, unharmed)
    )
    for facts in (mended, never_broken):
        del facts["fingerprint"]["dataset_hash"], facts["settings"]["root"]
    assert mended == never_broken


def test_a_clip_without_sound_is_no_mistake(of_good):
    (folder,) = (of_good / "cache").iterdir()
    features = FeatureCache.open(folder).load("all")
    states = dict(zip(features.video_ids, features.audio_state, strict=True))
    assert states["mute.mp4"] is AudioState.NO_STREAM
    assert states["a.mp4"] is AudioState.OK


def test_a_folder_with_nothing_but_bad_files_can_still_be_told_of(here):
    films = here / "films"
    films.mkdir()
    (films / "a.mp4").write_text("a letter")
    result = run("extract", "--dataset", f"folder:{films}", *TINY)
    assert result.exit_code == 3
    assert "in the cache: 0 videos" in result.stdout
    found = run("search", "a letter")
    assert found.exit_code == 0
    assert "0 clips searched" in found.stdout
    assert "1 could not be read" in found.stdout


def test_a_caption_of_a_missing_video_is_named_with_its_line(good, here):
    films = here / "films"
    shutil.copytree(good, films)
    (films / "captions.jsonl").write_text(
        '{"video": "a.mp4", "caption": "one"}\n{"video": "mutt.mp4", "caption": "two"}\n'
    )
    sentence = refused(4, "extract", "--dataset", f"folder:{films}", *TINY)
    assert sentence == (
        f"{films / 'captions.jsonl'}, line 2: no video mutt.mp4 below {films}: "
        "did you mean mute.mp4?"
    )
    assert not (here / "vidret-work" / "cache").exists()


def test_a_folder_that_is_not_there_is_named(here):
    sentence = refused(4, "extract", "--dataset", "folder:nowhere", *TINY)
    assert sentence.startswith(f"{here / 'nowhere'} is no folder")


def test_a_dataset_without_a_folder_says_what_to_write():
    sentence = refused(4, "extract", "--dataset", "msvd")
    assert 'no folder known for dataset "msvd"' in sentence
    assert '[datasets.msvd]\nroot = "/path/to/msvd"' in sentence


def test_the_command_of_the_card_without_weights_says_what_to_get(here):
    make_msvd(here / "msvd")
    (here / "vidret.toml").write_text('[datasets.msvd]\nroot = "msvd"\n')
    sentence = refused(4, "extract", "--dataset", "msvd", "--frames", 12)
    assert "ViT-B-32-quickgelu" in sentence
    assert "[extract]\nbackbone =" in sentence


def test_an_unknown_key_in_a_file_of_settings_is_named(here):
    (here / "vidret.toml").write_text("[extract]\nframe = 12\n")
    assert refused(2, "extract") == (
        'vidret.toml: [extract] has an unknown key "frame": did you mean "frames"?'
    )


def test_an_unknown_option_is_named():
    assert refused(2, "train-heads", "--epoch", "3").startswith(
        'no option "--epoch": did you mean "--epochs"?'
    )


def test_a_cache_of_another_frame_count_is_refused_by_name(here):
    splits = {"train": 8, "val": 4, "test": 4}
    write_planted_cache(here / "made", splits=splits)
    write_planted_cache(here / "other", splits=splits, frames=12)
    assert run("train-heads", "--cache", "made", *FIT).exit_code == 0
    sentence = refused(5, "evaluate", "--cache", "other")
    assert "frames is 12 there and 4 here" in sentence
    assert sentence.startswith("other was made with other settings")


def test_a_damaged_shard_is_refused_repaired_and_made_again(good, of_good, here):
    shutil.copytree(of_good, here / "work")
    (folder,) = (here / "work" / "cache").iterdir()
    (whole,) = (of_good / "cache").iterdir()
    flip_a_bit(folder / "videos-00000.h5", 4000)
    sentence = refused(5, "cache", "verify", "--work", "work")
    repair = sentence.partition("vidret cache repair")[2]
    assert run("cache", "repair", *repair.split()).exit_code == 0
    source = ("--dataset", f"folder:{good}", "--work", "work")
    assert run("extract", *source, *TINY).exit_code == 0
    assert run("cache", "verify", "--work", "work").exit_code == 0
    for path in whole.glob("*.h5"):
        assert (folder / path.name).read_bytes() == path.read_bytes()


def test_a_shard_cut_short_is_refused_where_it_is_used(of_good, here):
    shutil.copytree(of_good, here / "work")
    (folder,) = (here / "work" / "cache").iterdir()
    shard = folder / "videos-00000.h5"
    shard.write_bytes(shard.read_bytes()[:-100])
    sentence = refused(5, "search", "a tone", "--work", "work")
    assert f"vidret cache repair --cache {folder.relative_to(here)}" in sentence


@pytest.mark.parametrize(
    "arguments",
    [
        ("extract", "--dataset", "folder:films", *TINY),
        ("train-heads", "--cache", "planted", *FIT),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_work_folder_that_cannot_be_written_to_is_named(good, here, arguments):
    """And neither can the home folder be looked into."""
    shutil.copytree(good, here / "films")
    write_planted_cache(here / "planted", splits={"train": 8, "val": 4, "test": 4})
    work, home = here / "locked", here / "home"
    work.mkdir(mode=0o555)
    home.mkdir(mode=0)
    result = run_without_rights(*arguments, "--work", work, home=home)
    home.chmod(0o755)
    assert result.returncode == 4, result.stderr
    assert result.stdout == ""
    (sentence,) = result.stderr.splitlines()
    assert sentence.startswith(f"vidret: cannot write to {work}")
    assert "--work" in sentence
    assert list(work.iterdir()) == []


def run_without_rights(*arguments, home):
    drop = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root writes anywhere, and there is no setpriv to take that right away")
        drop = ["setpriv", f"--bounding-set={RIGHTS}", f"--inh-caps={RIGHTS}"]
    return subprocess.run(
        [*drop, PROGRAM, *map(str, arguments)],
        env=clean_environment(HOME=str(home)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
