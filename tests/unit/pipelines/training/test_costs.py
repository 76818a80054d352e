import json

import pytest
import torch

from vidret.pipelines.training.costs import (
    MEMORY,
    FitCost,
    both,
    cost_of_fit,
    memory_noted,
    read_memory,
)
from vidret.pipelines.training.journal import LOG


def line(stage, epoch, seconds, kind="epoch"):
    return json.dumps({"kind": kind, "stage": stage, "epoch": epoch, "seconds": seconds})


def test_seconds_are_those_of_every_epoch_of_every_stage(tmp_path):
    lines = [line("video-text", 1, 2.5), line("video-text", 2, 1.5), line("audio", 1, 0.25)]
    (tmp_path / LOG).write_text("\n".join(lines))
    assert cost_of_fit(tmp_path).seconds == 4.25


def test_steps_and_lines_that_were_cut_are_not_counted(tmp_path):
    lines = [line("video-text", 1, 9.0, kind="step"), line("video-text", 1, 2.0), '{"kind": "ep']
    (tmp_path / LOG).write_text("\n".join(lines))
    assert cost_of_fit(tmp_path) == FitCost(seconds=2.0, peak_bytes=None)


def test_an_epoch_written_twice_counts_once(tmp_path):
    (tmp_path / LOG).write_text("\n".join([line("audio", 1, 7.0), line("audio", 1, 2.0)]))
    assert cost_of_fit(tmp_path).seconds == 2.0


def test_what_learns_nothing_takes_no_time(tmp_path):
    assert cost_of_fit(tmp_path) == FitCost(seconds=0.0, peak_bytes=None)


def test_the_most_memory_of_a_fit_is_noted(tmp_path):
    with memory_noted(tmp_path, torch.device("cpu")):
        taken = torch.ones(64 * 2**20 // 4)
        for _ in range(20):
            taken.add_(1)
    assert cost_of_fit(tmp_path).peak_bytes >= 60 * 2**20


def test_a_fit_that_was_interrupted_notes_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), memory_noted(tmp_path, torch.device("cpu")):
        raise KeyboardInterrupt
    assert read_memory(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"peak_bytes": "much"}'])
def test_a_damaged_note_is_no_note(tmp_path, text):
    (tmp_path / MEMORY).write_text(text)
    assert read_memory(tmp_path) is None


def test_two_stages_add_their_seconds_and_share_the_higher_peak():
    first, second = FitCost(seconds=3.0, peak_bytes=5), FitCost(seconds=1.0, peak_bytes=None)
    assert both(first, second) == FitCost(seconds=4.0, peak_bytes=5)
    assert both(None, second) == second
