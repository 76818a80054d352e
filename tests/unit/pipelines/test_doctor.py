import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vidret.data.errors import MissingError
from vidret.pipelines.config.settings import ExtractConfig
from vidret.pipelines.doctor import (
    CHECKS,
    Check,
    DoctorReport,
    State,
    check_audio,
    check_backbone,
    check_dataset,
    check_device,
    check_ffmpeg_python,
    check_panns,
    check_python,
    check_torch,
    check_work,
)


@pytest.fixture
def module_that_says(tmp_path, monkeypatch):
    """Put a module of a few lines before the real one of that name."""

    def put(name, code):
        folder = tmp_path / "modules" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(code)
        monkeypatch.syspath_prepend(folder.parent)
        for loaded in [one for one in sys.modules if one.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, loaded)

    return put


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """`vidret doctor --json` as a process, with a home and a folder of its own."""
    home, here = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("here")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    process = subprocess.run(
        [sys.executable, "-m", "vidret.pipelines.cli", "doctor", "--json"],
        capture_output=True,
        text=True,
        cwd=here,
        env=environ | {"HOME": str(home)},
    )
    return process, home, here


def test_the_command_prints_every_check(finished):
    process, _, _ = finished
    checks = json.loads(process.stdout)["checks"]
    assert len(checks) == len(CHECKS)
    assert all(set(check) == {"state", "what", "found", "fix"} for check in checks)


def test_the_command_ends_with_what_it_found(finished):
    process, _, _ = finished
    states = [check["state"] for check in json.loads(process.stdout)["checks"]]
    assert process.returncode == (4 if "miss" in states else 0)
    assert json.loads(process.stdout)["missing"] == states.count("miss")


def test_what_the_tests_need_is_here(finished):
    process, _, _ = finished
    states = {check["what"]: check["state"] for check in json.loads(process.stdout)["checks"]}
    needed = ("python", "torch", "open_clip", "PyAV", "ffmpeg-python", "ffmpeg", "panns_inference")
    assert {name: states[name] for name in needed} == dict.fromkeys(needed, "ok")


def test_looking_leaves_nothing_behind(finished):
    _, home, here = finished
    assert list(home.iterdir()) == []
    assert list(here.iterdir()) == []


def test_whatever_is_missing_comes_with_a_fix(finished):
    process, _, _ = finished
    for check in json.loads(process.stdout)["checks"]:
        assert check["state"] != "miss" or check["fix"]


def test_a_miss_decides_the_verdict_and_a_warning_does_not():
    warn = Check(state=State.WARN, what="a", found="b")
    miss = Check(state=State.MISS, what="a", found="b", fix="c")
    assert DoctorReport(checks=(warn,)).verdict is None
    assert isinstance(DoctorReport(checks=(warn, miss)).verdict, MissingError)


def test_the_interpreter_is_named():
    assert check_python(ExtractConfig()).found == ".".join(map(str, sys.version_info[:3]))


def test_a_torchvision_that_does_not_fit_is_a_miss_with_the_pins(module_that_says):
    module_that_says(
        "torchvision", "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    check = check_torch(ExtractConfig())
    assert check.state is State.MISS
    assert "operator torchvision::nms does not exist" in check.found
    assert "torch==" in check.fix
    assert "torchvision==" in check.fix


@pytest.mark.parametrize(("decoder", "state"), [("ffmpeg", State.MISS), ("av", State.WARN)])
def test_another_package_named_ffmpeg_is_found_out(module_that_says, decoder, state):
    module_that_says("ffmpeg", "class FFmpeg: ...")
    check = check_ffmpeg_python(ExtractConfig(decoder=decoder))
    assert check.state is state
    assert "another package took its name" in check.found
    assert check.fix.startswith("pip uninstall")


def test_panns_is_found_without_being_imported(module_that_says):
    module_that_says("panns_inference", "raise SystemExit('this would run wget')")
    check = check_panns(ExtractConfig())
    assert (check.state, check.found) == (State.MISS, "models.py not found")


def test_the_real_weights_are_no_miss_where_nobody_needs_them():
    for check in (check_backbone(ExtractConfig()), check_audio(ExtractConfig())):
        assert check.state is State.WARN
        assert check.found.endswith("not set: only needed for real datasets")


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({"backbone": "ViT-B-32-quickgelu@{file}"}, State.OK),
        ({"backbone": "ViT-B-32-quickgelu@{file}.gone"}, State.MISS),
        ({"backbone": "ViT-B-32-quickgelu@openai"}, State.WARN),
        ({"backbone": "ViT-B-32-quickgelu@openai", "offline": True}, State.MISS),
        ({"backbone": "ViT-B-32-quickgelu"}, State.MISS),
        ({"backbone": "ViT-B-33@openai"}, State.MISS),
        ({"dataset": "msvd"}, State.MISS),
    ],
)
def test_a_backbone_is_a_file_or_a_tag_that_may_be_fetched(values, state, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    (tmp_path / "weights.pt").write_bytes(b"weights")
    if "backbone" in values:
        values = values | {"backbone": values["backbone"].format(file=tmp_path / "weights.pt")}
    assert check_backbone(ExtractConfig(**values)).state is state


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({"dataset": "msvd"}, State.MISS),
        ({"audio": "Cnn14@{file}.gone"}, State.MISS),
        ({"audio": "Cnn14@{file}"}, State.OK),
        ({"audio": "none"}, State.OK),
    ],
)
def test_sound_needs_a_file_or_a_no(values, state, tmp_path):
    (tmp_path / "cnn14.pth").write_bytes(b"weights")
    given = {name: value.format(file=tmp_path / "cnn14.pth") for name, value in values.items()}
    assert check_audio(ExtractConfig(**given)).state is state


def test_a_dataset_needs_a_folder(tmp_path):
    assert check_dataset(ExtractConfig()).state is State.OK
    assert check_dataset(ExtractConfig(dataset="msvd", root=tmp_path)).state is State.OK
    assert check_dataset(ExtractConfig(dataset=f"folder:{tmp_path}")).state is State.OK
    assert check_dataset(ExtractConfig(dataset=f"folder:{tmp_path}/gone")).state is State.MISS
    assert "[datasets.msvd]" in check_dataset(ExtractConfig(dataset="msvd")).fix


def test_a_gpu_is_needed_only_when_it_was_asked_for():
    assert check_device(ExtractConfig(device="cpu")).state is State.OK
    assert check_device(ExtractConfig(device="cuda:99")).state is State.MISS


def test_the_work_folder_is_looked_at_and_not_made(tmp_path):
    check = check_work(ExtractConfig(work=tmp_path / "a" / "b"))
    assert check.state in (State.OK, State.WARN)  # a disk may be nearly full
    assert "GB free" in check.found
    assert list(tmp_path.iterdir()) == []


def test_a_work_folder_that_cannot_be_written_to_is_a_miss():
    check = check_work(ExtractConfig(work=Path("/proc/vidret-work")))
    assert check.state is State.MISS
    assert "--work" in check.fix
