import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("data", "extract", "heads", "pipelines")


def test_every_folder_of_code_is_packaged():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = {
        ".".join(["vidret", *file.parent.relative_to(ROOT).parts])
        for room in ROOMS
        for file in (ROOT / room).rglob("*.py")
    }
    assert set(settings["tool"]["setuptools"]["packages"]) == found
