"""HOME stays as it is: nothing that vidret uses may leave a file there."""

import os
from pathlib import Path

import pytest
from making.processes import clean_environment, run_vidret

pytestmark = pytest.mark.xdist_group("home")

FIT = ("--epochs", "1", "--audio-epochs", "1")


def everything_below(folder: Path) -> list[str]:
    return [str(Path(place, name)) for place, *names in os.walk(folder) for name in sum(names, [])]


def test_an_empty_home_stays_empty_through_every_command(tmp_path):
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    environment = clean_environment(HOME=str(home), TMPDIR=str(tmp_path))
    for command in (
        ("doctor",),
        ("extract", "--dataset", "synth", "--clips", "54", "--frames", "2"),
        ("train-heads", *FIT),
        ("evaluate",),
        ("search", "a bell rings"),
        ("config", "show"),
    ):
        result = run_vidret(*command, cwd=here, env=environment)
        assert result.returncode in ((0, 4) if command == ("doctor",) else (0,)), result.stderr
        assert everything_below(home) == [], command
    assert [path.name for path in here.iterdir()] == ["vidret-work"]


@pytest.mark.parametrize("module", ["matplotlib.pyplot", "dask.distributed", "open_clip"])
def test_libraries_that_write_into_home_are_sent_elsewhere(tmp_path, module):
    """Cnn14's own code imports matplotlib, so it counts although no command above needs it."""
    import subprocess
    import sys

    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import importlib, sys\n"
        "from pathlib import Path\n"
        "from vidret.extract.backends import quiet_home\n"
        "quiet_home(Path(sys.argv[1]))\n"
        f"importlib.import_module({module!r})\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, tmp_path / "tools"],
        env=clean_environment(HOME=str(home)),
        check=True,
        timeout=120,
    )
    assert everything_below(home) == []
