"""Outside libraries that misbehave at import: checked, named and kept out of HOME."""

import atexit
import os
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

from vidret.data.errors import MissingError

FITTING_PAIR = ("torch==2.14.1", "torchvision==0.29.1")

HOME_VARIABLES = {
    "DASK_CONFIG": "dask",  # dask keeps its settings in ~/.config/dask
    "MPLCONFIGDIR": "matplotlib",  # panns_inference.models imports it, and it caches fonts
    "NUMBA_CACHE_DIR": "numba",  # librosa, under torchlibrosa
}
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY")


def quiet_home(folder: Path | None = None, *, offline: bool = False) -> Path:
    """Point the libraries that write into HOME elsewhere; call it before they are imported.

    Nothing is created here: each library makes its own folder when it has something to write.
    Variables that are set already stay, so a user's choice wins.

    Args:
        folder: where they may write; None takes a temporary folder that goes with the process.
        offline: forbid the hub as well, also where the user's environment allows it.

    Returns:
        The folder that the libraries were given.
    """
    home = (folder or _temporary_folder()).absolute()
    for variable, name in HOME_VARIABLES.items():
        os.environ.setdefault(variable, str(home / name))
    if offline:
        os.environ.update(dict.fromkeys(OFFLINE_VARIABLES, "1"))
    return home


def require_torchvision() -> ModuleType:
    """Import torchvision, or say which pair of versions would fit.

    Raises:
        MissingError: torchvision is not installed, or it was built for another torch.
    """
    try:
        import torchvision
    except ModuleNotFoundError as error:
        raise MissingError(f"{error.name} is not installed: {_fitting_install()}") from error
    except (ImportError, OSError, RuntimeError) as error:
        raise MissingError(
            f"torchvision {installed('torchvision')} does not fit torch {installed('torch')} "
            f"({_first_line(error)}): {_fitting_install()}"
        ) from error
    return torchvision


def installed(package: str) -> str:
    """The version of a package, without importing it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"


def _fitting_install() -> str:
    return f"install a pair that fits, for instance pip install {' '.join(FITTING_PAIR)}"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="vidret-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
