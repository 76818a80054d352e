import fcntl
import shutil

import pytest
from making.processes import succeed

EXTRACT = ("extract", "--clips", "54")


def once_a_session(tmp_path_factory, name, make):
    """A folder that the first of all workers makes; the others wait for it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if base.name.startswith("popen-") else base  # pytest-xdist's workers
    folder = base / name
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / "made").touch()
    return folder


@pytest.fixture(scope="session")
def extracted(tmp_path_factory):
    """A folder with an uninterrupted extraction of the smallest synth: only to look at."""
    return once_a_session(
        tmp_path_factory, "extracted", lambda folder: succeed(*EXTRACT, cwd=folder)
    )


@pytest.fixture(scope="session")
def trained(tmp_path_factory, extracted):
    """The same, with a run `picture-and-sound` on top: only to look at."""

    def make(folder):
        shutil.copytree(extracted / "vidret-work", folder / "vidret-work")
        options = ("--epochs", "4", "--audio-epochs", "3", "--name", "picture-and-sound")
        succeed("train-heads", *options, cwd=folder)

    return once_a_session(tmp_path_factory, "trained", make)


@pytest.fixture
def drawn(tmp_path, extracted):
    """A folder of one's own in which the clips are drawn, and nothing is encoded."""
    shutil.copytree(extracted / "vidret-work" / "synth", tmp_path / "vidret-work" / "synth")
    return tmp_path


@pytest.fixture
def encoded(tmp_path, extracted):
    """A folder of one's own with a complete cache."""
    shutil.copytree(extracted / "vidret-work", tmp_path / "vidret-work")
    return tmp_path
