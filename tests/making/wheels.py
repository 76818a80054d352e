"""A wheel of this checkout, and a fresh environment that has it and nothing of the checkout."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT = 300.0


def build_wheel(folder: Path) -> Path:
    """Build from a copy of what git would take along: a build/ that is left over tells lies."""
    source = folder / "source"
    for name in _files_of_the_checkout():
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    command = ["-m", "build", "--no-isolation", "--wheel", "--outdir", folder, source]
    subprocess.run(
        [sys.executable, *command], check=True, capture_output=True, text=True, timeout=TIMEOUT
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def install_wheel(wheel: Path, folder: Path) -> Path:
    """Install it into a fresh environment, and return the environment's programs.

    The dependencies are those of this interpreter. A `.pth` file that names its packages is read
    without the `.pth` files that lie among them, so the editable install stays out.
    """
    venv.create(folder, with_pip=False)
    programs = folder / "bin"
    (packages,) = (folder / "lib").glob("python*/site-packages")
    pip = [sys.executable, "-m", "pip", "--isolated", "--python", programs / "python"]
    command = [*pip, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(command, check=True, timeout=TIMEOUT)
    (packages / "dependencies.pth").write_text(f"{_own_packages()}\n")
    return programs


def _files_of_the_checkout() -> list[str]:
    """What git tracks, and what it would: no build output, and no file that is gone."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def _own_packages() -> Path:
    return Path(pytest.__file__).parents[1]
