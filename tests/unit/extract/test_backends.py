import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from vidret.data.errors import MissingError
from vidret.extract.backends import (
    FITTING_PAIR,
    HOME_VARIABLES,
    OFFLINE_VARIABLES,
    installed,
    quiet_home,
    require_torchvision,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    """The variables as they are by default; those that a test sets are taken back."""
    for name in (*HOME_VARIABLES, *OFFLINE_VARIABLES):
        monkeypatch.setenv(name, "set")
        monkeypatch.delenv(name)


@pytest.fixture
def torchvision_that_says(tmp_path, monkeypatch):
    """Put a torchvision of a few lines before the real one."""

    def put(code):
        (tmp_path / "torchvision").mkdir()
        (tmp_path / "torchvision" / "__init__.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            monkeypatch.delitem(sys.modules, name)

    return put


def test_the_fitting_pair_is_the_one_that_the_constraints_pin():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {line.partition("#")[0].strip() for line in lines}
    assert set(FITTING_PAIR) <= pins


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("RuntimeError('operator torchvision::nms does not exist')", "nms does not exist"),
        ("OSError('_C.so: undefined symbol: _ZN3c10')", "undefined symbol"),
        ("ImportError('_C.so: undefined symbol: _ZN3c10')", "undefined symbol"),
    ],
)
def test_a_pair_that_does_not_fit_is_named_with_one_that_does(torchvision_that_says, error, reason):
    torchvision_that_says(f"raise {error}")
    with pytest.raises(MissingError, match=reason) as caught:
        require_torchvision()
    message = str(caught.value)
    assert f"torchvision {version('torchvision')} does not fit torch {version('torch')}" in message
    assert message.endswith(f"pip install {' '.join(FITTING_PAIR)}")
    assert caught.value.exit_code == 4


def test_a_torchvision_that_is_not_there_is_missing(torchvision_that_says):
    torchvision_that_says("raise ModuleNotFoundError(name='torchvision')")
    with pytest.raises(MissingError, match=r"^torchvision is not installed: install a pair"):
        require_torchvision()


def test_quiet_home_points_below_the_folder_and_makes_nothing(tmp_path):
    quiet_home(tmp_path / "tools")
    for variable, name in HOME_VARIABLES.items():
        assert os.environ[variable] == str(tmp_path / "tools" / name)
    assert list(tmp_path.iterdir()) == []


def test_quiet_home_gives_full_paths_since_workers_may_run_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quiet_home(Path("tools"))
    assert os.environ["DASK_CONFIG"] == str(tmp_path / "tools" / "dask")


def test_what_the_user_has_set_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("DASK_CONFIG", "/etc/my-dask")
    quiet_home(tmp_path)
    assert os.environ["DASK_CONFIG"] == "/etc/my-dask"


def test_offline_forbids_the_hub_whatever_the_user_has_set(tmp_path, monkeypatch):
    quiet_home(tmp_path)
    assert "HF_HUB_OFFLINE" not in os.environ
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    quiet_home(tmp_path, offline=True)
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_a_temporary_folder_goes_with_the_process():
    finished = run_python(
        "from vidret.extract.backends import quiet_home; folder = quiet_home();"
        "assert folder.is_dir(); print(folder)"
    )
    assert not Path(finished.stdout.strip()).exists()


def test_dask_and_matplotlib_leave_home_alone(tmp_path):
    home, tools = tmp_path / "home", tmp_path / "tools"
    home.mkdir()
    finished = run_python(
        "from pathlib import Path; from vidret.extract.backends import quiet_home;"
        f"quiet_home(Path({str(tools)!r})); import distributed, matplotlib.font_manager;"
        "import dask; print(dask.config.PATH)",
        HOME=str(home),
        XDG_CONFIG_HOME="",
        XDG_CACHE_HOME="",
    )
    assert finished.returncode == 0, finished.stderr
    assert list(home.iterdir()) == []
    assert finished.stdout.strip() == str(tools / "dask")
    assert list((tools / "matplotlib").iterdir()), "the list of fonts has to be somewhere"


def test_a_package_that_is_not_installed_has_no_version():
    assert installed("vidret-no-such-package") == "(not installed)"


def run_python(code, **environ):
    """A fresh interpreter, since importing happens once."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environ
    )
