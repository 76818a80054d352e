import pytest

from vidret.pipelines.launched import Launched, command_line, launched

STARTED = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "10.0.0.1",
}


@pytest.fixture(autouse=True)
def _nobody_started_several(monkeypatch):
    for name in STARTED:
        monkeypatch.delenv(name, raising=False)


def put(monkeypatch, **values):
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_without_torchrun_a_process_is_alone():
    assert launched() == Launched(rank=0, size=1, local=0, on_machine=1)


def test_torchrun_says_which_process_this_is(monkeypatch):
    put(monkeypatch, **STARTED)
    assert launched() == Launched(rank=5, size=8, local=1, on_machine=4)


def test_without_a_number_for_the_machine_all_are_on_this_one(monkeypatch):
    put(monkeypatch, **STARTED)
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    assert launched().on_machine == 8


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"])
def test_what_another_launcher_leaves_is_no_torchrun(monkeypatch, name):
    """Schedulers set some of these for what is no fit of several processes."""
    put(monkeypatch, **STARTED)
    monkeypatch.delenv(name)
    assert launched() == Launched()


def test_the_command_that_continues_starts_as_many_processes(monkeypatch):
    arguments = ["finetune", "--name", "my run"]
    assert command_line(arguments) == "vidret finetune --name 'my run'"
    put(monkeypatch, **STARTED)
    expected = "torchrun --nnodes 2 --nproc-per-node 4 --no-python vidret finetune --name 'my run'"
    assert command_line(arguments) == expected
    put(monkeypatch, WORLD_SIZE="4", RANK="3")
    expected = "torchrun --nproc-per-node 4 --no-python vidret finetune --name 'my run'"
    assert command_line(arguments) == expected
