"""HOME stays as it is: nothing that vidret uses may leave a file there."""

import subprocess
import sys

import pytest
from making.processes import PATIENCE, clean_environment, run_vidret

pytestmark = pytest.mark.xdist_group("home")

FIT = ("--epochs", "1", "--audio-epochs", "1")
IMPORT = """
import importlib, sys
from pathlib import Path
from vidret.extract.backends import quiet_home
quiet_home(Path(sys.argv[1]))
importlib.import_module(sys.argv[2])
"""


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.mark.slow
def test_an_empty_home_stays_empty_through_every_command(home, encoded):
    environment = clean_environment(HOME=str(home))
    (cache,) = (encoded / "vidret-work" / "cache").iterdir()
    for command in (
        ("doctor",),
        ("extract", "--dataset", "synth-mini", "--frames", "2"),
        ("train-heads", "--cache", cache, *FIT),
        ("evaluate",),
        ("search", "a bell rings"),
    ):
        result = run_vidret(*command, cwd=encoded, env=environment)
        assert result.returncode == 0, result.stderr + result.stdout
        assert list(home.iterdir()) == [], command
    written = {path.name for path in encoded.iterdir()} - {"home"}
    assert written == {"vidret-work"}


@pytest.mark.parametrize("module", ["matplotlib.pyplot", "dask.distributed", "open_clip"])
def test_libraries_that_write_into_home_are_sent_elsewhere(home, tmp_path, module):
    """Cnn14's own code imports matplotlib, so that counts although no command above needs it."""
    subprocess.run(
        [sys.executable, "-c", IMPORT, tmp_path / "tools", module],
        env=clean_environment(HOME=str(home)),
        check=True,
        timeout=PATIENCE,
    )
    assert list(home.iterdir()) == []


def test_a_settings_file_of_the_user_is_looked_for_and_never_made(home, tmp_path):
    result = run_vidret(
        "config", "show", "--origin", cwd=tmp_path, env=clean_environment(HOME=str(home))
    )
    assert result.returncode == 0
    assert list(home.iterdir()) == []
    folder = home / ".config" / "vidret"
    folder.mkdir(parents=True)
    (folder / "vidret.toml").write_text("[extract]\nframes = 7\n")
    shown = run_vidret(
        "config", "show", "extract", cwd=tmp_path, env=clean_environment(HOME=str(home))
    )
    assert "frames = 7" in shown.stdout
