"""The three commands as they are typed, on the real annotation files of MSVD and small clips."""

import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from making.annotations import real_annotations
from making.clips import draw_clip

from vidret.data.cache import FeatureCache
from vidret.data.samples import AudioState
from vidret.pipelines.cache import find_caches
from vidret.pipelines.cli import cli

SETTINGS = """
[datasets.msvd]
root = "msvd"

[extract]
backbone = "tiny"
audio = "tiny"
workers = 2

[train-heads]
epochs = 1

[finetune]
epochs = 1
"""
FEW = {"train": 6, "val": 3, "test": 4}  # of the real lists
VARIABLES = ("DASK_CONFIG", "MPLCONFIGDIR", "NUMBA_CACHE_DIR")

pytestmark = pytest.mark.xdist_group("extract")


@pytest.fixture
def here(tmp_path, monkeypatch):
    real_annotations("msvd")  # or the test is skipped
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    for name in VARIABLES:
        monkeypatch.setenv(name, "set")
        monkeypatch.delenv(name)
    (tmp_path / "vidret.toml").write_text(SETTINGS)
    return tmp_path


def make_root(root: Path, counts: dict[str, int | None]) -> None:
    """The real files, the lists cut short, and clips under the names of the lists."""
    shutil.copytree(real_annotations("msvd"), root)
    (root / "YouTubeClips").mkdir()
    kinds = [
        draw_clip(
            root / f"kind-{number}.avi", seconds=0.6 + number / 5, levels=(), codec="mpeg4", fps=10
        )
        for number in range(6)
    ]
    for split, count in counts.items():
        listed = root / f"{split}_list.txt"
        ids = listed.read_text().split()[:count]
        listed.write_text("\n".join(ids))
        for number, id_ in enumerate(ids):
            os.link(kinds[number % len(kinds)], root / "YouTubeClips" / f"{id_}.avi")


def run(*command):
    result = CliRunner().invoke(cli, command, prog_name="vidret")
    assert result.exit_code == 0, result.output
    return result


def follow_the_card():
    extracted = run("extract", "--dataset", "msvd", "--frames", "12")
    trained = run("train-heads")
    return extracted, trained, FeatureCache.open(find_caches(Path("vidret-work"))[0])


@pytest.mark.slow
def test_the_commands_run_through_and_the_missing_sound_is_told_before_any_training(here):
    make_root(here / "msvd", FEW)
    extracted, trained, cache = follow_the_card()
    assert "msvd: 13 videos, " in extracted.stdout
    assert "sound: 0 ok, 0 silent, 13 no-stream, 0 failed" in extracted.stdout
    assert "! no video carries sound" in extracted.stdout
    assert "note: the clips come without a sound track" in extracted.stdout
    assert "No video of the train split has sound: training mgfi alone" in trained.stderr
    assert "mgfi, seed 0: " in trained.stdout
    assert cache.coverage("test").sound[AudioState.NO_STREAM] == FEW["test"]
    finetuned = run("finetune", "--e2e")
    assert "stage video-text: " in finetuned.stdout


@pytest.mark.slow
def test_they_run_through_with_every_clip_and_caption(here):
    make_root(here / "msvd", dict.fromkeys(FEW))
    extracted, trained, cache = follow_the_card()
    assert "msvd: 1,970 videos, 80,827 captions" in extracted.stdout
    assert "mgfi, seed 0: 48,774 captions of 1,200 videos, 0 with sound" in trained.stdout
    assert "(text to video, 4290 queries)" in trained.stdout
    assert len(cache.load("test").caption_ids) == 27_763
