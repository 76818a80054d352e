"""What every test needs before the first import of torch, dask or matplotlib."""

import os


def pytest_sessionstart() -> None:
    """One thread for each process, since tests run side by side; nothing is written into HOME."""
    from vidret.extract.backends import quiet_home

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    quiet_home(offline=True)
