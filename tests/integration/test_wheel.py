"""An installed wheel does what the checkout does."""

import subprocess
import zipfile
from pathlib import Path

import pytest
from making.processes import clean_environment
from making.wheels import ROOT, build_wheel, install_wheel

pytestmark = pytest.mark.xdist_group("wheel")

FOLDERS = ("data", "extract", "heads", "pipelines")
CODE = ("*.py", "*.toml", "*.html", "*.css", "*.js", "*.svg", "py.typed")
SHIPPED = (*CODE, "*.json", "*.safetensors", "*.log", "*.jsonl", "*.mp4")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def shipped_files() -> set[str]:
    return {
        f"vidret/{path.relative_to(ROOT)}"
        for folder in FOLDERS
        for pattern in SHIPPED
        for path in (ROOT / folder).rglob(pattern)
    }


def test_everything_that_vidret_needs_is_in_the_wheel_and_nothing_else(wheel):
    assert names_in(wheel) == shipped_files()


def test_the_bundled_clips_and_weights_are_in_the_wheel(wheel):
    names = names_in(wheel)
    assert "vidret/data/synth/mini/captions.jsonl" in names
    assert sum(name.startswith("vidret/data/synth/mini/videos/") for name in names) == 18
    assert {"vidret/extract/tiny/clip.safetensors", "vidret/extract/tiny/sound.safetensors"} < names
    assert "vidret/extract/tiny/vidret-tiny.json" in names


def test_the_wheel_keeps_below_its_size(wheel):
    assert wheel.stat().st_size < 20e6


def test_a_namespace_has_no_init(wheel):
    assert "vidret/__init__.py" not in names_in(wheel)


@pytest.mark.slow
def test_an_installed_wheel_runs_the_demo_far_from_the_checkout(wheel, tmp_path):
    programs = install_wheel(wheel, tmp_path / "fresh")
    here, home = tmp_path / "here", tmp_path / "home"
    here.mkdir()
    home.mkdir()
    environment = clean_environment(HOME=str(home))
    where = "import vidret.data.errors as one; print(one.__file__)"
    imported = subprocess.run(
        [programs / "python", "-c", where], cwd=here, env=environment, text=True,
        check=True, capture_output=True,
    ).stdout.strip()  # fmt: skip
    assert Path(imported).is_relative_to(tmp_path / "fresh")
    demo = subprocess.run(
        [programs / "vidret", "demo", "--clips", "54", "--seeds", "0"],
        cwd=here, env=environment, text=True, capture_output=True, timeout=600,
    )  # fmt: skip
    assert demo.returncode == 0, demo.stderr
    assert "s-f + w-f + a-s" in demo.stdout
    assert list(home.iterdir()) == []
