from dataclasses import replace

import pytest
import torch
from making.ablated import small_config

from vidret.data.cache import FeatureCache
from vidret.data.errors import DamagedError, MismatchError
from vidret.pipelines.ablation.fits import plan_fits, state_of
from vidret.pipelines.ablation.rows import kinds_of_rows
from vidret.pipelines.ablation.working import Bench, Queue, fit_in_turn, torch_threads
from vidret.pipelines.training.checkpoints import STATE
from vidret.pipelines.training.journal import LogSettings
from vidret.pipelines.training.runs import WEIGHTS, read_run, write_run

HEADS = ("mean", "s-f+cmfi", "w-f")


def planned(work, cache, **changes):
    config = small_config(work, cache, **{"heads": HEADS, "seeds": (0,)} | changes)
    features = FeatureCache.open(cache)
    return plan_fits(config, features, kinds_of_rows(config, features)), features


def names(fits):
    return [fit.name for fit in fits]


def worked(fits, cache):
    """What became of some fits, in order: their names and errors."""
    bench = Bench(cache=cache, device="cpu", v2t_by="group", log_settings=LogSettings())
    events = []
    fit_in_turn(bench, fits, events.append, threads=1)
    return {event.fit.name: event.error for event in events if event.ended}


def test_a_first_stage_that_is_no_row_stands_before_the_row_that_needs_it(tmp_path, cache):
    plan, _ = planned(tmp_path, cache)
    fits = list(plan.fits.values())
    assert names(fits) == ["base, seed 0", "s-f, seed 0", "s-f + a-s, seed 0", "w-f, seed 0"]
    assert [fit.in_table for fit in fits] == [True, False, True, True]
    assert fits[2].after == fits[1].folder


def test_a_first_stage_that_is_a_row_is_fitted_once(tmp_path, cache):
    plan, _ = planned(tmp_path, cache, heads=("s-f+cmfi", "s-f"))
    assert names(plan.fits.values()) == ["s-f, seed 0", "s-f + a-s, seed 0"]
    assert all(fit.in_table for fit in plan.fits.values())


def test_rows_that_differ_in_their_sound_alone_share_their_first_stage(tmp_path, cache):
    plan, _ = planned(tmp_path, cache, heads=("s-f+cmfi",), vary=("audio_lr=0.1,0.2",))
    first, *rows = plan.fits.values()
    assert [row.after for row in rows] == [first.folder, first.folder]


def test_rows_that_differ_in_their_first_stage_do_not_share_it(tmp_path, cache):
    plan, _ = planned(tmp_path, cache, heads=("s-f+cmfi",), vary=("lr=0.1,0.2",))
    assert len({fit.after for fit in plan.fits.values() if fit.after}) == 2


def test_a_queue_gives_what_needs_nothing_unfinished(tmp_path, cache):
    plan, _ = planned(tmp_path, cache)
    base, first, sound, other = plan.fits.values()
    queue = Queue([base, first, sound, other])
    assert [queue.next(), queue.next(), queue.next(), queue.next()] == [base, first, other, None]
    assert [event.fit for event in queue.ended(first, None)] == [first]
    assert (queue.next(), queue.next(), len(queue)) == (sound, None, 0)


def test_a_fit_that_fails_takes_along_what_needs_it_and_no_more(tmp_path, cache):
    plan, _ = planned(tmp_path, cache)
    _, first, sound, other = plan.fits.values()
    queue = Queue([first, sound, other])
    assert queue.next() is first
    ended = list(queue.ended(first, DamagedError("the loss is nan")))
    assert [event.fit for event in ended] == [first, sound]
    assert isinstance(ended[1].error, DamagedError)
    assert str(ended[1].error) == "its first stage is that of s-f, seed 0, which failed"
    assert queue.next() is other


def test_a_loss_that_is_not_finite_fails_its_row_and_leaves_the_others(tmp_path, cache):
    plan, _ = planned(tmp_path, cache, heads=("s-f", "mean"), vary=("lr=1e30,0.01",))
    ended = worked(list(plan.fits.values()), cache)
    assert isinstance(ended.pop("s-f, lr=1e+30, seed 0"), DamagedError)
    assert ended == {"s-f, lr=0.01, seed 0": None, "base (any lr), seed 0": None}


def test_the_state_of_a_fit_follows_what_lies_in_its_folder(tmp_path, cache):
    plan, features = planned(tmp_path, cache, heads=("s-f",))
    (fit,) = plan.fits.values()
    states = [state_of(fit, features, "group")[0]]
    fit.folder.mkdir(parents=True)
    write_run(fit.folder, fit.run)
    (fit.folder / STATE).touch()
    states.append(state_of(fit, features, "group")[0])
    (fit.folder / STATE).unlink()
    worked([fit], cache)
    states.append(state_of(fit, features, "group")[0])
    (fit.folder / "ranks-test.npz").unlink()
    states.append(state_of(fit, features, "group")[0])
    assert states == ["to fit", "begun", "done", "to score"]
    assert state_of(replace(fit, in_table=False), features, "group") == ("done", None)


def test_a_folder_with_another_run_is_refused(tmp_path, cache):
    plan, features = planned(tmp_path, cache, heads=("s-f",))
    (fit,) = plan.fits.values()
    fit.folder.mkdir(parents=True)
    write_run(fit.folder, replace(fit.run, settings=fit.run.settings | {"epochs": 77}))
    with pytest.raises(MismatchError, match="other settings than s-f, seed 0"):
        state_of(fit, features, "group")


def test_a_first_stage_alone_is_fitted_and_not_ranked(tmp_path, cache):
    plan, _ = planned(tmp_path, cache, heads=("s-f+cmfi",))
    worked(list(plan.fits.values()), cache)
    first, row = plan.fits
    assert read_run(first).complete
    assert (first / WEIGHTS).exists()
    assert not list(first.glob("ranks-*"))
    assert list(row.glob("ranks-*"))


def test_threads_are_as_before_behind_the_block():
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    with torch_threads(0):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


def test_what_a_killed_process_left_half_written_goes_with_the_next_fit(tmp_path, cache):
    plan, _ = planned(tmp_path, cache, heads=("s-f",))
    (fit,) = plan.fits.values()
    fit.folder.mkdir(parents=True)
    (fit.folder / "state.pt.1234.part").write_bytes(b"half")
    worked([fit], cache)
    assert not list(fit.folder.glob("*.part"))
