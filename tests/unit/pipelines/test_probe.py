"""One file decoded as extract would, and what is said of it."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from making.clips import behead_stream, draw_clip
from making.processes import clean_environment, run_vidret

from vidret.data.errors import DecodeError
from vidret.data.samples import AudioState
from vidret.extract.decoding.sampling import uniform_indices
from vidret.pipelines.cli import cli
from vidret.pipelines.config.settings import ProbeConfig
from vidret.pipelines.probe import run_probe


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return draw_clip(tmp_path_factory.mktemp("probe") / "clip.mp4", seconds=1.2)


def probe(*arguments):
    return CliRunner().invoke(cli, ["probe", *map(str, arguments)], prog_name="vidret")


def test_what_came_of_a_file_is_told(clip):
    report = run_probe(ProbeConfig(path=clip, frames=3))
    assert (report.state, report.reason, report.verdict) == ("ok", "", None)
    assert (report.bytes, report.claimed, report.sound) == (clip.stat().st_size, 1.2, 1.2)
    assert (report.facts.num_frames, report.facts.codec) == (30, "h264")
    assert report.facts.indices.tolist() == uniform_indices(30, 3).tolist()
    assert report.facts.audio_state is AudioState.OK
    assert 0 < report.seconds < 30


def test_the_report_is_a_few_plain_lines(clip):
    finished = probe(clip, "--frames", 2)
    assert finished.exit_code == 0
    lines = finished.stdout.splitlines()
    assert lines[0] == f"file      {clip} ({clip.stat().st_size:,} bytes)"
    assert lines[1].startswith("decoder   av ")
    assert lines[2].startswith("state     ok, after ")
    assert lines[3:] == [
        "container mov,mp4,m4a,3gp,3g2,mj2",
        "pictures  h264, 96 x 64 pixels",
        "duration  1.20 s (the file says 1.20 s), 30 frames",
        "sound     ok, 1.20 s",
        "taken     2 frames, uniform",
        "          7 at 0.280 s, 22 at 0.880 s",
    ]


def test_a_glance_at_a_file_waits_for_no_torch(clip):
    program = (
        "import sys; from vidret.pipelines.cli import cli;"
        f"cli(['probe', {str(clip)!r}], standalone_mode=False);"
        "print({'torch', 'dask', 'h5py', 'rich'} & set(sys.modules))"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert finished.stdout.splitlines()[-1] == "set()"


def test_a_rate_and_another_decoder_may_be_asked_for(clip):
    finished = probe(clip, "--sampling", "fps:5", "--decoder", "ffmpeg", "--json")
    told = json.loads(finished.stdout)
    assert told["decoder"].startswith("ffmpeg ")
    assert told["facts"]["indices"] == [2, 7, 12, 17, 22, 27]
    assert told["facts"]["times"] == pytest.approx([0.08, 0.28, 0.48, 0.68, 0.88, 1.08])


def test_a_damaged_file_is_partial(clip, tmp_path):
    report = run_probe(ProbeConfig(path=behead_stream(clip, tmp_path / "cut.ts")))
    assert (report.state, report.verdict) == ("partial", None)


def test_a_bad_file_ends_with_the_reason_and_code_3(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_text("This is no film.\n" * 40)
    finished = probe(path, "--json")
    assert finished.exit_code == DecodeError.exit_code == 3
    told = json.loads(finished.stdout)
    assert (told["state"], told["facts"]) == ("failed", None)
    assert told["reason"].startswith(f"{path} cannot be decoded (Invalid data found")
    assert finished.stderr == f"vidret: {told['reason']}\n"


def test_a_file_that_hangs_ends_with_the_reason(clip, tmp_path, monkeypatch):
    hanging = tmp_path / "ffmpeg"
    script = 'case "$*" in *-version*) echo ffmpeg version 9.0;; *) sleep 60;; esac'
    hanging.write_text(f"#!/bin/sh\n{script}\n")
    hanging.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    report = run_probe(ProbeConfig(path=clip, decoder="ffmpeg", timeout=0.7))
    assert report.state == "failed"
    assert str(report.verdict).startswith(f"{clip} cannot be decoded (")


@pytest.mark.parametrize("name", ["-i.mp4", "a:b.mp4", "two\nlines.mp4", os.fsdecode(b"\xff.mp4")])
def test_a_hostile_name_is_only_a_name(clip, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(clip.read_bytes())
    report = run_probe(ProbeConfig(path=path))
    assert report.state == "ok"
    report.path.encode()


def test_a_name_that_the_terminal_cannot_show_is_spelt_out(clip, tmp_path):
    (tmp_path / "été.mp4").write_bytes(clip.read_bytes())
    terminal = clean_environment(PYTHONIOENCODING="ascii")
    finished = run_vidret("probe", "été.mp4", cwd=tmp_path, env=terminal)
    assert finished.returncode == 0
    assert finished.stdout.startswith(r"file      \xe9t\xe9.mp4 (")


@pytest.mark.parametrize(
    "make", [Path.mkdir, os.mkfifo, os.fspath], ids=["a-folder", "a-pipe", "nothing"]
)
def test_what_is_no_file_ends_in_one_sentence_and_code_3(tmp_path, make):
    path = tmp_path / "clip.mp4"
    make(path)
    finished = probe(path)
    assert finished.exit_code == 3
    assert finished.stdout.splitlines()[0] == f"file      {path}"
    assert finished.stderr.startswith(f"vidret: {path} ")
    assert finished.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    ["", "x.mp4 --frames 0", "x.mp4 --sampling often", "x.mp4 --timeout 0", "x.mp4 --decoder vlc"],
)
def test_a_senseless_question_is_a_usage_error(arguments):
    assert probe(*shlex.split(arguments)).exit_code == 2
