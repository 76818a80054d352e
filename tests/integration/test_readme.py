"""Every command and example of README.md and docs/ is run as it stands there."""

import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from making.msvd import make_msvd

from vidret.pipelines.cli import cli
from vidret.pipelines.config.resolve import resolve
from vidret.pipelines.config.settings import ExtractConfig
from vidret.pipelines.config.show import check_settings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)

SETTINGS = """
[extract]
backbone = "tiny"
audio = "tiny"
workers = 1
pixels = true

[datasets-verify]
allow_missing = "100%"  # the lists here are short ones

[datasets.msvd]
root = "msvd"

[train-heads]
epochs = 1
audio_epochs = 1

[ablate]
epochs = 1
audio_epochs = 1

[finetune]
epochs = 1
audio_epochs = 1
"""


NOTHING_ELSE = {"config_files": [], "environ": {}, "cwd": Path("/"), "user_file": None}


def needs_more_than_this_machine(text: str) -> bool:
    return any(word in text for word in ("/shared", "/films", "tcp://", "dask_jobqueue", "dask_k"))


def blocks(language: str, pages: list[Path] = PAGES) -> list[str]:
    return [
        body
        for page in pages
        for name, body in FENCE.findall(page.read_text("utf-8"))
        if name == language
    ]


def commands(program: str, pages: list[Path] = PAGES) -> list[str]:
    bodies = blocks("", pages)
    lines = [line.split(" #")[0].strip() for body in bodies for line in body.splitlines()]
    return list(dict.fromkeys(line for line in lines if line.startswith(f"{program} ")))


def test_the_three_commands_stand_in_the_readme_as_promised():
    wanted = [
        "vidret extract --dataset msvd --frames 12",
        "vidret train-heads",
        "vidret finetune --e2e",
    ]
    assert [line for line in commands("vidret") if line in wanted] == wanted


@pytest.mark.parametrize(
    "pages",
    [
        pytest.param(PAGES[:1], id="README"),
        pytest.param(PAGES, id="README and docs", marks=pytest.mark.slow),
    ],
)
@pytest.mark.xdist_group("readme")
def test_every_vidret_command_of_the_docs_runs_as_typed(tmp_path, monkeypatch, pages):
    monkeypatch.chdir(tmp_path)
    make_msvd(tmp_path / "msvd")
    np.save("scores.npy", np.eye(5, dtype=np.float32)[[0, 0, 1, 2, 3, 4, 4]])
    np.save("owners.npy", np.array([0, 0, 1, 2, 3, 4, 4]))
    np.save("bank.npy", np.ones((6, 5), np.float32))
    np.save("bank-videos.npy", np.ones((7, 3), np.float32))
    (tmp_path / "vidret.toml").write_text(SETTINGS)
    for line in commands("vidret", pages):
        if not needs_more_than_this_machine(line):
            result = CliRunner().invoke(cli, shlex.split(line)[1:])
            assert result.exit_code == 0, f"{line}\n{result.output}"
    for example in blocks("python", pages):
        code = compile(example, "docs", "exec")
        if not needs_more_than_this_machine(example):
            exec(code, {})


def test_commands_for_other_machines_name_settings_that_there_are():
    """They cannot run here; `test_cluster.py` gives the same options with clusters of its own."""
    lines = [line for line in commands("vidret") if needs_more_than_this_machine(line)]
    assert lines
    for line in lines:
        name, *arguments = shlex.split(line)[1:]
        context = cli.commands[name].make_context(name, arguments)
        given = {key: value for key, value in context.params.items() if value is not None}
        assert resolve(ExtractConfig, given, **NOTHING_ELSE).config.dataset


def test_every_make_command_of_the_docs_is_in_the_makefile():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert commands("make")
    assert {line.split()[1] for line in commands("make")} <= {*targets}


def test_ci_runs_the_test_command_of_the_readme():
    assert "make test" in commands("make")
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_the_settings_in_the_docs_are_settings(tmp_path):
    assert blocks("toml")
    for number, text in enumerate(blocks("toml")):
        tomllib.loads(text)
        file = tmp_path / f"{number}.toml"
        file.write_text(text)
        assert check_settings((file,), [])


def test_every_link_of_the_docs_leads_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), (page, target)
