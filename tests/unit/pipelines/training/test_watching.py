from vidret.pipelines.training import watching
from vidret.pipelines.training.watching import Watch


def test_a_stage_tells_its_epochs_behind_those_of_the_stages_before():
    told = []
    watch = Watch(tell=lambda *words: told.append(words), before=5)
    watch.measuring(0, 0.0)
    watch.step(1, 300, 1200, 2.345)
    watch.measuring(1, 1.0)
    assert told == [
        (5, 0.0, "measuring"),
        (6, 0.25, "step 300 of 1,200, loss 2.35"),
        (6, 1.0, "measuring"),
    ]


def test_steps_are_told_no_more_often_than_somebody_could_read(monkeypatch):
    now = iter([10.0, 10.0, 10.1, 10.2, 10.3, 10.3])
    monkeypatch.setattr(watching, "perf_counter", lambda: next(now))
    told = []
    watch = Watch(tell=lambda *words: told.append(words))
    for number in range(1, 5):
        watch.step(0, number, 4, 1.0)
    assert [part for _, part, _ in told] == [0.25, 1.0]
