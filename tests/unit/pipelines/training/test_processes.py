import os
import signal
import subprocess
import sys
from ast import literal_eval
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from making.together import free_port

from vidret.data.errors import ConfigError, MissingError
from vidret.pipelines.training import processes
from vidret.pipelines.training.processes import (
    add_up,
    agree,
    by_first,
    deal,
    is_first,
    joined,
    place,
    share,
    share_gradients,
    wait_for_all,
)

TESTS = Path(__file__).parents[3]
PATIENCE = 120.0
LAUNCHED = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1"}


def start(way, size):
    """So many processes that each call a function of `making.parted`."""
    common = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    started = []
    for rank in range(size):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": str(TESTS)}
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "making.parted", way],
                env=os.environ | common | own | {"OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
    return started


def outcome(started):
    """Exit codes, and what was printed and said, of all of them."""
    told = [process.communicate(timeout=PATIENCE) for process in started]
    said = [line for _, talk in told for line in talk.splitlines() if " says: " in line]
    return [process.returncode for process in started], [printed for printed, _ in told], said


def run(way, size=2):
    with ExitStack() as stack:
        started = [stack.enter_context(process) for process in start(way, size)]
        return outcome(started)


def test_processes_share_what_there_is_to_do():
    codes, printed, _ = run("work", 3)
    assert codes == [0, 0, 0]
    first, second, third = (literal_eval(one) for one in printed)
    assert first == [[0, 1], ["a", "d"], 6.0, ["run.json"], {"R@1": 0.0}, True]
    assert second == [[2, 3], ["b", "e"], 6.0, [], {"R@1": 0.0}, False]
    assert third == [[4], ["c"], 6.0, [], {"R@1": 0.0}, False]


def test_an_error_of_all_is_said_once():
    codes, _, said = run("all_refuse")
    assert codes == [5, 5]
    assert len(said) == 1
    assert said[0].endswith("says: the loss is nan")


def test_an_error_of_one_ends_all_and_is_the_one_that_is_said():
    codes, _, said = run("second_refuses")
    assert codes == [4, 5]
    assert said == ["process 1 says: a video cannot be read"]


def test_a_process_that_is_killed_ends_all_with_one_sentence():
    codes, _, said = run("last_is_killed", 3)
    assert codes == [4, 4, -signal.SIGKILL]
    assert len(said) == 1
    assert "says: another of the 3 processes of this fit is gone (" in said[0]
    assert said[0].endswith("the same command goes on after them")


def test_ctrl_c_is_answered_once():
    with ExitStack() as stack:
        started = [stack.enter_context(process) for process in start("all_are_interrupted", 2)]
        for process in started:
            assert process.stdout.readline() == "ready\n"
        for process in started:
            process.send_signal(signal.SIGINT)
        codes, _, said = outcome(started)
    assert codes == [130, 130]
    assert len(said) == 1


def test_one_process_alone_shares_with_nobody():
    weight, total, done = torch.nn.Parameter(torch.ones(2)), torch.ones(2), []
    weight.grad = torch.full((2,), 3.0)
    with joined("cpu"):
        assert (place().rank, place().size, is_first()) == (0, 1, True)
        assert share(torch.arange(3)).tolist() == [0, 1, 2]
        assert list(deal("ab")) == ["a", "b"]
        add_up(total)
        share_gradients([weight], alike=[weight])
        by_first(lambda: done.append("written"))
        wait_for_all()
        assert agree({"R@1": 1.0}) == {"R@1": 1.0}
    assert total.tolist() == [1.0, 1.0]
    assert weight.grad.tolist() == [3.0, 3.0]
    assert done == ["written"]


@pytest.mark.parametrize(
    ("device", "gpus", "error", "words"),
    [
        ("cuda:0", 4, ConfigError, r"device is cuda:0, and 4 processes would share that GPU"),
        ("cuda", 1, MissingError, r"4 processes were started here, and torch finds 1 GPUs"),
    ],
)
def test_each_process_needs_a_gpu_of_its_own(monkeypatch, device, gpus, error, words):
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(error, match=words), joined(device):
        pass


def test_processes_that_do_not_meet_are_told_where_they_waited(monkeypatch):
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", "no port")
    words = r"the 4 processes cannot reach each other at 127\.0\.0\.1, port no port .*torchrun"
    with pytest.raises(MissingError, match=words), joined("cpu"):
        pass


def test_waiting_never_times_out():
    assert processes.PATIENCE.days >= 7
