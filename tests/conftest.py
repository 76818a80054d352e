"""What every test needs before the first import of torch, dask or matplotlib."""

import os
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest


def pytest_sessionstart() -> None:
    """One thread a process, nothing written into HOME, and the FFmpeg that the wheel brings.

    Ctrl-C is heard, too, where whoever runs the tests has it ignored.

    Tests run side by side. A system's FFmpeg may be older: before 9 it keeps the padding at the end
    of AAC (see extract/decode.py), and has not all that draws the test clips.
    """
    import imageio_ffmpeg

    from vidret.extract.backends import quiet_home

    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts a background job
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    quiet_home(offline=True)
    first = Path(tempfile.gettempdir()) / f"vidret-tests-{os.getuid()}"
    first.mkdir(exist_ok=True)
    ours = first / "ffmpeg"
    if not ours.exists():
        ours.unlink(missing_ok=True)  # it may point into an environment that is gone
        with suppress(FileExistsError):  # another worker was quicker
            ours.symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    os.environ["PATH"] = f"{first}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(autouse=True)
def ctrl_c_as_it_was():
    """A command that was interrupted ignores Ctrl-C from then on; in a test that is one process."""
    before = signal.getsignal(signal.SIGINT)
    yield
    if signal.getsignal(signal.SIGINT) is not before:
        signal.signal(signal.SIGINT, before)
