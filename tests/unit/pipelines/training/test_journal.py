import json
import sys
from math import inf

import pytest
from making.planted import write_planted_cache

from vidret.data.errors import MissingError
from vidret.pipelines.config.fitting import TrainConfig
from vidret.pipelines.train_heads import run_train
from vidret.pipelines.training.checkpoints import steps_done
from vidret.pipelines.training.journal import (
    BOARD,
    LOG,
    Journal,
    LogSettings,
    Window,
    read_log,
    require_tensorboard,
)

SPLITS = {"train": 20, "val": 8}
TIMES = ("captions_per_second", "outside", "seconds")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return write_planted_cache(tmp_path_factory.mktemp("planted"), splits=SPLITS)


def train(work, cache, *, on_progress=lambda _: None, **changes):
    settings = {"epochs": 2, "audio_epochs": 2, "batch_size": 8, "log_every": 2, "device": "cpu"}
    config = TrainConfig(work=work, cache=cache, name="run", **settings | changes)
    return run_train(config, on_progress=on_progress)


def stop_after(epochs):
    def on_progress(progress):
        if progress.done == epochs:
            raise KeyboardInterrupt

    return on_progress


def lines(work):
    """The log of a run without what a clock says, and whole lines only."""
    text = (work / "runs" / "run" / LOG).read_text()
    assert text.endswith("\n")
    return [
        {name: value for name, value in json.loads(line).items() if name not in TIMES}
        for line in text.splitlines()
    ]


def test_a_log_has_a_line_every_few_steps_and_one_an_epoch(tmp_path, cache):
    report = train(tmp_path, cache)
    places = [(one["kind"], one["stage"], one["epoch"], one["step"]) for one in lines(tmp_path)]
    expected = []
    for stage in ("video-text", "audio"):
        for epoch in (1, 2):  # 40 captions in batches of 8 are 5 steps
            first = 5 * (epoch - 1)
            expected += [("step", stage, epoch, first + 2), ("step", stage, epoch, first + 4)]
            expected.append(("epoch", stage, epoch, first + 5))
    assert places == expected
    epochs = [one for one in lines(tmp_path) if one["kind"] == "epoch"]
    history = [one for numbers in report.run.history.values() for one in numbers]
    assert all(one.items() >= numbers.items() for one, numbers in zip(epochs, history, strict=True))


def test_a_line_of_steps_says_how_training_goes(tmp_path, cache):
    train(tmp_path, cache, audio_epochs=0, epochs=1)
    first = read_log(tmp_path / "runs" / "run")[0]
    assert first["lr"] > 0
    assert first["tau"] > 0
    assert first["loss"] > 0
    assert first["grad_norm"] > 0
    assert first["captions_per_second"] > 0
    assert 0 < first["outside"] < 1


@pytest.mark.parametrize("stopped_after", [1, 2, 3, 4])
def test_a_run_that_goes_on_has_the_log_of_one_that_never_stopped(tmp_path, cache, stopped_after):
    train(tmp_path / "whole", cache)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, cache, on_progress=stop_after(stopped_after))
    with (tmp_path / "runs" / "run" / LOG).open("a") as log:
        log.write('{"kind": "step", "stage": "audio", "epoch": 9, "step": 99}\n{"kind": "st')
    train(tmp_path, cache)
    assert lines(tmp_path) == lines(tmp_path / "whole")


def test_the_pace_and_the_share_outside_are_those_of_the_window():
    window = Window()
    window.add(30, 2.0, 1.0, inside=0.6, outside=0.15)
    window.add(10, 4.0, 3.0, inside=0.2, outside=0.05)
    assert window.numbers() == {
        "loss": 3.0,
        "grad_norm": 2.0,
        "captions_per_second": 40.0,
        "outside": 0.2,
    }


def test_a_log_is_kept_up_to_the_step_that_was_saved(tmp_path):
    told = [
        {"kind": "step", "stage": "video-text", "epoch": 1, "step": 2},
        {"kind": "epoch", "stage": "video-text", "epoch": 1, "step": 3},
        {"kind": "step", "stage": "video-text", "epoch": 2, "step": 4},
        {"kind": "step", "stage": "video-text", "epoch": 2, "step": 6},
        {"kind": "step", "stage": "audio", "epoch": 1, "step": 2},
    ]
    with Journal(tmp_path, LogSettings(), {}) as journal:
        for line in told:
            journal.write(line)
    state = {"stage": "video-text", "finished": {}, "schedule": {"last_epoch": 4}}
    with Journal(tmp_path, LogSettings(), steps_done(state)):
        assert read_log(tmp_path) == told[:3]
    state = {"stage": "audio", "finished": {"video-text": []}, "schedule": {"last_epoch": 1}}
    assert steps_done(state)["video-text"] == inf
    with Journal(tmp_path, LogSettings(), steps_done(state)):
        assert read_log(tmp_path) == told[:3]


def test_a_batch_that_cannot_be_learned_from_is_in_the_log_with_every_caption(tmp_path):
    with Journal(tmp_path, LogSettings(), {}) as journal:
        journal.write({"kind": "stopped", "stage": "audio", "loss": "nan", "captions": ["a", "b"]})
    assert read_log(tmp_path)[-1]["captions"] == ["a", "b"]
    with Journal(tmp_path, LogSettings(), {"audio": 99}):
        assert read_log(tmp_path) == []


def points(folder):
    """What TensorBoard reads: (tag, step) and value, and how often each is there."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / BOARD), size_guidance={"scalars": 0})
    events.Reload()
    return [
        ((tag, event.step), event.value)
        for tag in events.Tags()["scalars"]
        for event in events.Scalars(tag)
    ]


def logged(folder):
    """The same from the log."""
    return [
        (
            (
                f"{one['stage']}/{one['kind']}/{name}",
                one["step" if one["kind"] == "step" else "epoch"],
            ),
            value,
        )
        for one in read_log(folder)
        for name, value in one.items()
        if name not in ("kind", "stage", "epoch", "step")
    ]


@pytest.mark.parametrize("stopped_after", [None, 1, 3])
def test_tensorboard_shows_what_the_log_says_once(tmp_path, cache, stopped_after):
    if stopped_after:
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, cache, tensorboard=True, on_progress=stop_after(stopped_after))
    train(tmp_path, cache, tensorboard=True)
    folder = tmp_path / "runs" / "run"
    found, expected = points(folder), logged(folder)
    assert len(found) == len(expected)
    assert dict(found) == {place: pytest.approx(value, rel=1e-6) for place, value in expected}


def test_tensorboard_may_be_asked_for_when_a_run_goes_on(tmp_path, cache):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, cache, on_progress=stop_after(3))
    train(tmp_path, cache, tensorboard=True)
    folder = tmp_path / "runs" / "run"
    assert len(points(folder)) == len(logged(folder))


def test_tensorboard_that_is_not_installed_is_named_before_anything_begins(
    tmp_path, cache, monkeypatch
):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingError, match=r"pip install 'vidret\[tensorboard\]'"):
        train(tmp_path, cache, tensorboard=True)
    assert not (tmp_path / "runs").exists()


def test_tensorboard_that_is_installed_is_no_error():
    require_tensorboard()
