"""A table as a process: fits side by side, stopped or killed anywhere, refused before it begins."""

import json
import os
import signal

import pytest
from making.planted import write_planted_cache
from making.processes import (
    PATIENCE,
    continuing_command,
    interrupt,
    kill_group,
    run_vidret,
    started,
    succeed,
    wait_for_orphans,
    wait_until,
)

from vidret.pipelines.training.runs import WEIGHTS, read_run

FITS = ("--epochs", "12", "--audio-epochs", "12", "--seeds", "0,1", "--resamples", "200")
ABLATE = ("ablate", "--cache", "planted", "--heads", "mean,s-f,s-f+cmfi", *FITS, "--jobs", "2")
ABLATE = (*ABLATE, "--vary", "word_weight_scale=literal,sqrt_c", "--json")

pytestmark = pytest.mark.xdist_group("ablate")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What an uninterrupted table says."""
    folder = tmp_path_factory.mktemp("whole")
    write_planted_cache(folder / "planted")
    return json.loads(succeed(*ABLATE, cwd=folder))


@pytest.fixture
def here(tmp_path):
    write_planted_cache(tmp_path / "planted")
    return tmp_path


def finished_in(folder):
    """The weights of the runs that are complete, and when they were written."""
    weights = (folder / "vidret-work" / "runs").glob(f"*/{WEIGHTS}")
    return {path: path.stat().st_mtime_ns for path in weights if read_run(path.parent).complete}


def some_are_done(folder):
    return len(finished_in(folder)) >= 3


@pytest.mark.slow
def test_ctrl_c_ends_every_process_at_once_and_the_same_command_goes_on(here, whole):
    with started(*ABLATE, cwd=here) as process:
        wait_until(lambda: some_are_done(here), process)
        code, printed, talk = interrupt(process)
        wait_for_orphans(process.pid)
    assert (code, printed) == (130, "")
    assert "Traceback" not in talk
    finished = finished_in(here)
    assert finished
    assert not list(here.rglob("*.part"))
    again = json.loads(succeed(*continuing_command(talk), cwd=here))
    assert again == whole
    assert finished_in(here).items() >= finished.items()


@pytest.mark.slow
@pytest.mark.parametrize("victims", ["all processes", "the parent alone"])
def test_kill_9_in_the_middle_and_the_same_command_give_the_same_table(here, whole, victims):
    with started(*ABLATE, cwd=here, leave_orphans=True) as process:
        wait_until(lambda: some_are_done(here), process)
        if victims == "all processes":
            kill_group(process)
        else:
            os.kill(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
    wait_for_orphans(process.pid)  # nobody works on whom nobody waits for
    assert json.loads(succeed(*ABLATE, cwd=here)) == whole


@pytest.mark.slow
def test_a_row_that_fails_is_told_below_the_table_of_the_others_with_its_exit_code(here):
    table = ("ablate", "--cache", "planted", "--heads", "s-f", "--seeds", "0", "--epochs", "1")
    result = run_vidret(*table, "--vary", "lr=1e30,0.001", "--out", "t.md", cwd=here)
    assert result.returncode == 5
    assert "s-f, lr = 0.001" in result.stdout
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("vidret: s-f, lr=1e+30, seed 0: the loss")
    assert last.endswith("the other rows are kept, and the same command tries these again")
    assert "s-f, lr=0.001" in (here / "t.md").read_text()


MISTAKES = [
    (("--heads", "s-f,mgfy"), 2, "there is no head 'mgfy': did you mean 'mgfi'?"),
    (("--base", "w-g"), 2, "base is 'w-g', and no row is called so: did you mean 'w-f'?"),
    (("--heads", "mgfi+cmfi"), 4, "so mgfi+cmfi has nothing to learn from"),
    (("--out", "gone/table.md"), 4, "gone is no folder: make it, or write table.md elsewhere"),
    (("--vary", "select_on=val,vall"), 2, "no split 'vall'"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("options", "code", "message"), MISTAKES, ids=lambda one: str(one))
def test_a_mistake_is_told_before_anything_is_fitted(tmp_path, options, code, message):
    write_planted_cache(tmp_path / "planted", with_sound=False)
    result = run_vidret("ablate", "--cache", "planted", *options, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (code, "")
    assert message in result.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "vidret-work" / "runs").exists()


@pytest.mark.slow
def test_more_jobs_than_cores_are_fewer_and_an_empty_home_stays_empty(here):
    home = here / "home"
    home.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "OMP_NUM_THREADS": "1"}
    table = ("ablate", "--cache", "planted", "--heads", "mean,s-f", "--seeds", "0", "--epochs", "1")
    result = run_vidret(*table, "--jobs", "999", "--plot", "t.svg", cwd=here, env=environment)
    assert result.returncode == 0, result.stderr
    assert "--jobs 999 is more than this machine has cores and memory for" in result.stderr
    assert (here / "t.svg").read_text().count("s-f") >= 1
    assert list(home.iterdir()) == []
