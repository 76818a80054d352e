import json
import pickle
import socket
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner
from making.backbones import random_model, register_models, save_archive, save_safetensors

from vidret.extract.clip import load_clip
from vidret.extract.panns import load_sound
from vidret.extract.tiny.weights import TINY_FOLDER
from vidret.extract.weights.files import digest_of
from vidret.pipelines.cli import cli


@pytest.fixture(scope="module", autouse=True)
def configs(tmp_path_factory):
    register_models(tmp_path_factory.mktemp("configs"))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder without settings, and no network."""

    def refuse(*arguments):
        raise AssertionError(f"somebody used the network: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def archive(here):
    save_archive(random_model("small-quickgelu"), here / "ViT-small.pt")
    return here / "ViT-small.pt"


def run(*arguments):
    return CliRunner().invoke(cli, ["weights", *map(str, arguments)], prog_name="vidret")


def test_a_good_file_is_described_a_fact_a_line(archive):
    result = run("verify", archive)
    assert result.exit_code == 0
    facts = dict(line.split(maxsplit=1) for line in result.stdout.splitlines()[1:-1])
    assert facts["form"].startswith("TorchScript archive, ")
    assert facts["model"] == "small-quickgelu"
    assert facts["activation"] == "QuickGELU, by the archive's own code"
    assert facts["sha256"] == digest_of(archive)
    assert facts["checksum"] == "of the publisher unknown to us"
    assert result.stdout.splitlines()[-1] == "this file is good"


def test_the_report_is_json_for_machines(archive):
    report = json.loads(run("verify", archive, "--json").stdout)
    assert (report["model"], report["checksum"], report["problem"]) == (
        "small-quickgelu",
        "unknown",
        "",
    )
    model = random_model("small-quickgelu")
    assert report["parameters"] == sum(weight.numel() for weight in model.parameters())
    assert report["dtypes"] == {"float32": report["tensors"]}


def test_a_file_that_does_not_fit_is_described_and_ends_in_exit_4(here):
    state = random_model("small").state_dict()
    names = [name for name in state if "resblocks" in name]
    torch.save({name: tensor for name, tensor in state.items() if name not in names}, here / "w.pt")
    result = run("verify", "w.pt", "--model", "small")
    assert result.exit_code == 4
    assert f" and {len(names) - 5} more" in result.stdout
    assert result.stdout.splitlines()[-1] == "! this file is not good"
    assert result.stderr.startswith("vidret: w.pt does not fit small (it lacks ")


def test_a_file_that_wants_to_run_code_is_exit_4_and_one_sentence(here):
    class Code:
        def __reduce__(self):
            return print, ("this must never be printed",)

    torch.save({"state_dict": [1]}, here / "list.pt")
    (here / "evil.pt").write_bytes(pickle.dumps({"a": print}, protocol=2))
    for name in ("evil.pt", "list.pt"):
        result = run("verify", name)
        assert (result.exit_code, result.stdout) == (4, "")
        assert result.stderr.count("\n") == 1


def test_what_is_no_file_with_something_in_it_is_said_so(here):
    (here / "empty.pt").touch()
    for name, words in ((".", "is a folder"), ("empty.pt", "is empty"), ("none.pt", "not there")):
        result = run("verify", name)
        assert result.exit_code == 4
        assert words in result.stderr
        assert "Errno" not in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_a_pickle_of_anything_is_refused_in_one_sentence(here):
    (here / "things.pkl").write_bytes(pickle.dumps({"a": {1, 2}}, protocol=4))
    result = subprocess.run(
        [sys.executable, "-m", "vidret.pipelines.cli", "weights", "verify", "things.pkl"],
        capture_output=True,
        text=True,
        cwd=here,
        check=False,
    )
    assert result.returncode == 4
    assert len(result.stderr.splitlines()) == 1, "and no warning of torch beside it"


@pytest.mark.slow
def test_the_bundled_network_of_sound_is_known_and_used_as_the_last_line_says(here):
    bundled = TINY_FOLDER / "sound.safetensors"
    result = run("verify", bundled)
    assert result.exit_code == 0
    assert "tiny-sound" in result.stdout
    assert run("verify", bundled, "--model", "tiny-sound").exit_code == 0
    assert run("verify", bundled, "--model", "Cnn14").exit_code == 4
    last = run("convert", bundled, here / "own.safetensors").stdout.splitlines()[-1]
    sound = load_sound(last.removeprefix("use it as "))
    sine = torch.sin(torch.arange(32_000) / 20)
    assert torch.equal(sound.encode(sine), load_sound("tiny").encode(sine))


def test_a_converted_file_is_used_as_the_last_line_says(archive):
    result = run("convert", archive, "small.safetensors")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "use it as small-quickgelu@small.safetensors"
    assert load_clip("small-quickgelu@small.safetensors").name == "small-quickgelu"
    verified = run("verify", "small.safetensors")
    assert verified.exit_code == 0
    assert "QuickGELU, by its own metadata" in verified.stdout


def test_a_file_whose_activation_nobody_says_asks_for_the_model(here):
    save_safetensors(random_model("small"), here / "w.safetensors")
    result = run("convert", "w.safetensors", "out.safetensors", "--json")
    assert json.loads(result.stdout)["spec"] == ""
    again = run("convert", "w.safetensors", "out2.safetensors")
    assert "give --model to write down which model it is of" in again.stdout


def test_nothing_is_overwritten(archive, here):
    (here / "out.safetensors").write_text("mine")
    result = run("convert", archive, "out.safetensors")
    assert result.exit_code == 2
    assert result.stderr == (
        "vidret: out.safetensors is there already: choose another name, or take it away\n"
    )
