import json
from io import StringIO

import pytest

from vidret.pipelines.display.progress import Progress, Speed, clock_text, progress_display


class Clock:
    """Seconds that a test moves by hand."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def test_every_item_is_counted_once():
    progress = Progress(done=3, failed=2, skipped=4, total=10)
    assert (progress.finished, progress.worked) == (9, 5)


def test_speed_is_what_was_worked_off_in_the_window():
    speed = Speed(window=10.0)
    for now, worked in ((0.0, 0), (20.0, 2), (25.0, 12), (30.0, 22)):
        speed.mark(now, worked)
    assert speed.per_second == pytest.approx(20 / 10)


def test_nobody_knows_the_speed_before_a_second_mark():
    speed = Speed()
    speed.mark(5.0, 0)
    assert speed.per_second is None
    assert speed.seconds_left(Progress(total=4)) is None


def test_the_rest_takes_what_the_speed_says():
    speed = Speed()
    speed.mark(0.0, 0)
    speed.mark(4.0, 2)
    assert speed.seconds_left(Progress(done=2, skipped=5, total=10)) == pytest.approx(3 / 0.5)


def test_what_is_done_of_an_item_counts_too():
    clock, stream = Clock(), StringIO()
    with progress_display("train", unit="epochs", stream=stream, clock=clock) as on_progress:
        clock.now += 100.0
        on_progress(Progress(part=0.25, total=2, note="step 5 of 20"))
    assert stream.getvalue() == "train  0/2 epochs  0:06:40/epoch  ETA 0:11:40  step 5 of 20\n"


def test_a_second_phase_that_counts_from_nothing_has_a_speed_of_its_own():
    speed = Speed()
    for now, worked in ((0.0, 0), (1.0, 60), (2.0, 0), (4.0, 6)):
        speed.mark(now, worked)
    assert speed.per_second == pytest.approx(3.0)


def test_a_run_that_stands_still_has_no_end():
    speed = Speed()
    speed.mark(0.0, 0)
    speed.mark(9.0, 0)
    assert speed.seconds_left(Progress(total=10)) is None


def test_skipped_items_do_not_make_it_fast():
    clock, stream = Clock(), StringIO()
    with progress_display("extract", json_lines=True, stream=stream, clock=clock) as on_progress:
        clock.now += 10.0
        on_progress(Progress(done=5, skipped=1000, total=2000))
    assert json.loads(stream.getvalue())["per_second"] == pytest.approx(0.5)


def test_off_a_terminal_there_is_a_line_every_five_seconds_and_one_at_the_end():
    clock, stream = Clock(), StringIO()
    with progress_display("extract", stream=stream, clock=clock) as on_progress:
        for done in range(13):
            on_progress(Progress(done=done, total=12))
            clock.now += 1.0
    counts = [line.split()[1] for line in stream.getvalue().splitlines()]
    assert counts == ["0/12", "5/12", "10/12", "12/12"]


def test_the_last_line_is_not_said_twice():
    stream = StringIO()
    with progress_display("extract", stream=stream, clock=Clock()) as on_progress:
        on_progress(Progress(done=1, total=1))
    assert stream.getvalue() == "extract  1/1 videos\n"


def test_a_line_says_what_there_is_to_say():
    clock, stream = Clock(), StringIO()
    with progress_display("extract", stream=stream, clock=clock) as on_progress:
        clock.now += 2.0
        on_progress(Progress(done=7, failed=1, skipped=1200, total=2000, note="decode-bound"))
    assert stream.getvalue() == (
        "extract  1,208/2,000 videos  1 failed  1,200 skipped  4.0 videos/s  ETA 0:03:18  "
        "decode-bound\n"
    )


@pytest.mark.parametrize("stream", [StringIO(), Terminal()], ids=["pipe", "terminal"])
def test_a_run_without_progress_says_nothing(stream):
    with progress_display("extract", stream=stream, clock=Clock()):
        pass
    assert stream.getvalue() == ""


def test_json_lines_hold_every_state():
    stream = StringIO()
    with progress_display("train", unit="epochs", json_lines=True, stream=stream) as on_progress:
        on_progress(Progress(total=2))
        on_progress(Progress(done=1, total=2, note="loss 3.2"))
    states = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [state["done"] for state in states] == [0, 1]
    assert (states[1]["what"], states[1]["unit"]) == ("train", "epochs")
    assert (states[1]["total"], states[1]["note"]) == (2, "loss 3.2")


def test_a_terminal_shows_a_bar_and_keeps_the_last_state():
    stream = Terminal()
    with progress_display("extract", stream=stream, clock=Clock()) as on_progress:
        on_progress(Progress(done=1, total=3))
        on_progress(Progress(done=2, failed=1, total=3, note="[not] markup"))
    last = stream.getvalue().rpartition("extract")[2]
    assert "3/3 videos  1 failed  [not] markup" in last


def test_a_run_that_is_stopped_leaves_its_last_state():
    stream = StringIO()

    def stop_after_two():
        with progress_display("extract", stream=stream, clock=Clock()) as on_progress:
            on_progress(Progress(done=1, total=3))
            on_progress(Progress(done=2, total=3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_after_two()
    assert stream.getvalue().splitlines()[-1] == "extract  2/3 videos"


def test_progress_goes_to_stderr(capsys):
    with progress_display("extract") as on_progress:
        on_progress(Progress(done=1, total=1))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00:00"), (59.6, "0:01:00"), (3723, "1:02:03"), (90_000, "25:00:00")],
)
def test_time_is_told_in_hours_minutes_and_seconds(seconds, text):
    assert clock_text(seconds) == text
