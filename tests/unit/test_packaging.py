import tomllib
from fnmatch import fnmatch
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


def test_every_file_that_lies_beside_the_code_is_packaged():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]
    packages = sorted(settings["tool"]["setuptools"]["packages"], key=len, reverse=True)
    for room in ROOMS:
        for file in (ROOT / room).rglob("*"):
            if file.is_dir() or file.suffix in (".py", ".pyc"):
                continue
            dotted = ".".join(["vidret", *file.parent.relative_to(ROOT).parts])
            package = next(one for one in packages if f"{dotted}.".startswith(f"{one}."))
            inside = ROOT.joinpath(*package.split(".")[1:])
            name = str(file.relative_to(inside))
            its = patterns["*"] + patterns.get(package, [])
            assert any(fnmatch(name, pattern) for pattern in its), f"{package}: {name}"
