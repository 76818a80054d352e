import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from making.planted import DIM, planted_fingerprint
from safetensors.torch import load_file, save_file

from vidret.data.errors import ConfigError, DamagedError, MismatchError, MissingError
from vidret.pipelines.config.fitting import FIT_SETTINGS, FitConfig
from vidret.pipelines.training.checkpoints import STATE, load_state, save_state
from vidret.pipelines.training.runs import (
    RUN,
    WEIGHTS,
    AudioWeight,
    Origin,
    Run,
    build_head,
    check_run_name,
    find_run,
    load_weights,
    newest_run,
    read_run,
    run_name,
    save_weights,
    write_run,
)

BEFORE = {  # all that the first vidret could set
    "epochs": 2,
    "audio_epochs": 1,
    "batch_size": 8,
    "lr": 1e-3,
    "audio_lr": 1e-3,
    "weight_decay": 0.01,
    "dropout": 0.3,
    "hidden": None,
    "word_weight_scale": "literal",
    "select_on": "val",
}
SETTINGS = {name: getattr(FitConfig(), name) for name in FIT_SETTINGS} | BEFORE


def a_run(**changes):
    made = Run(
        name="mine",
        head="mgfi+cmfi",
        seed=3,
        cache=Path("cache"),
        fingerprint=planted_fingerprint(),
        settings=SETTINGS,
        history={"video-text": [{"epoch": 1, "R@1": 50.0}]},
        complete=True,
    )
    return replace(made, **changes)


@pytest.fixture
def run(tmp_path):
    return a_run(cache=tmp_path / "cache")


@pytest.fixture
def folder(tmp_path, run):
    """A finished run."""
    folder = tmp_path / "work" / "runs" / "mine"
    write_run(folder, run)
    save_weights(folder, build_head(run))
    return folder


def test_many_runs_are_listed_with_those_that_sound_alike_first(tmp_path):
    for number in range(20):
        (tmp_path / "runs" / f"run-{number:02}").mkdir(parents=True)
        (tmp_path / "runs" / f"run-{number:02}" / RUN).touch()
    with pytest.raises(MissingError, match=r"there are run-19, .*run-00, .* and 10 more$") as told:
        find_run(tmp_path, "rum-19")
    assert str(told.value).count("run-") == 10


def test_a_run_reads_back_as_it_was_written(folder, run):
    assert read_run(folder) == run


def test_a_name_tells_head_and_seed(run):
    name = run_name("mgfi+cmfi", 3, SETTINGS, run.fingerprint)
    assert name.startswith("mgfi+cmfi-seed3-")


@pytest.mark.parametrize(
    ("settings", "frames"), [({"epochs": 3}, 4), ({"select_on": "test"}, 4), ({}, 5)]
)
def test_other_settings_or_features_give_another_name(settings, frames):
    name = run_name("mgfi", 0, SETTINGS, planted_fingerprint())
    other = run_name("mgfi", 0, SETTINGS | settings, planted_fingerprint(frames=frames))
    assert other != name


def test_the_order_of_settings_changes_no_name():
    turned = dict(reversed(SETTINGS.items()))
    names = {run_name("mgfi", 0, one, planted_fingerprint()) for one in (SETTINGS, turned)}
    assert len(names) == 1


@pytest.mark.parametrize("name", ["", ".hidden", "..", "a/b", "/root", "nul\0byte"])
def test_a_name_that_is_no_folder_is_refused(name):
    with pytest.raises(ConfigError, match="plain name"):
        check_run_name(name)


def test_plain_names_are_taken():
    check_run_name("mgfi+cmfi-seed0-2b9bbf")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b"null",
        b"\xff\xfe",
        b"{}",
        b'{"format": "1"}',
        b'{"format": 1, "settings": null}',
        b'{"format": 1, "settings": {}}',
    ],
)
def test_a_damaged_run_is_named(folder, content):
    (folder / RUN).write_bytes(content)
    with pytest.raises(DamagedError, match=r"run\.json cannot be read .* train again"):
        read_run(folder)


def test_what_an_older_vidret_could_not_set_is_what_it_worked_by(folder):
    values = json.loads((folder / RUN).read_text())
    (folder / RUN).write_text(json.dumps(values | {"settings": BEFORE}))
    settings = read_run(folder).settings
    assert settings == SETTINGS | {"decay_to": "zero"}


def test_tensors_that_had_other_names_in_format_1_are_read(folder, run):
    today = load_file(folder / WEIGHTS)
    before = {
        name.replace("video_head.norm.", "video_head.norm1.")
        .replace("feed_forward.norm.", "norm2.")
        .replace("feed_forward.", ""): tensor
        for name, tensor in today.items()
    }
    assert {"video_head.norm1.weight", "video_head.norm2.bias", "video_head.first.weight"} <= set(
        before
    )
    save_file(before, folder / WEIGHTS)
    for name, tensor in load_weights(folder, run).state_dict().items():
        assert torch.equal(tensor, today[name]), name


def test_weights_of_an_older_vidret_are_read(folder, run):
    """They have no weight of the sound, which always was 1."""
    older = load_file(folder / WEIGHTS)
    del older["audio_weight"]
    save_file(older, folder / WEIGHTS)
    expected, found = build_head(run).state_dict(), load_weights(folder, run).state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize(("setting", "expected"), [(0.25, 0.25), ("val", 1.0)])
def test_a_head_counts_the_sound_as_its_run_says(run, setting, expected):
    run = replace(run, settings=run.settings | {"audio_weight": setting})
    assert build_head(run).audio_weight.item() == expected


def test_the_weight_that_was_found_for_the_sound_reads_back(tmp_path, run):
    found = AudioWeight(chosen=0.5, tried=[{"weight": 0.5, "R@1": 30.0, "MnR": 4.0}])
    write_run(tmp_path / "weighed", replace(run, audio_weight=found))
    assert read_run(tmp_path / "weighed").audio_weight == found


def test_a_run_of_a_newer_vidret_is_refused(folder):
    values = json.loads((folder / RUN).read_text())
    (folder / RUN).write_text(json.dumps(values | {"format": 3}))
    with pytest.raises(MismatchError, match="format 3, and this vidret reads up to 2"):
        read_run(folder)


def test_a_folder_without_a_run_is_no_run(tmp_path):
    with pytest.raises(MissingError, match="is no run: make one with `vidret train-heads`"):
        read_run(tmp_path)


def test_a_run_where_a_file_stands_cannot_be_written(tmp_path, run):
    (tmp_path / "runs").touch()
    with pytest.raises(MissingError, match=r"cannot write to .*choose another with --work"):
        write_run(tmp_path / "runs" / "mine", run)


def test_a_missing_run_names_those_that_there_are(folder):
    with pytest.raises(MissingError, match=r"no run 'yours' in .*runs: there are mine"):
        find_run(folder.parents[1], "yours")


def test_a_missing_run_says_when_there_are_none(tmp_path):
    with pytest.raises(MissingError, match="there are none yet"):
        find_run(tmp_path, "yours")


def test_a_run_is_found_by_its_name(folder, tmp_path):
    assert find_run(tmp_path / "work", "mine") == folder


def test_without_a_name_the_run_that_ended_last_is_taken(folder, run, tmp_path):
    other = folder.with_name("another")
    write_run(other, run)
    save_weights(other, build_head(run))
    os.utime(other / WEIGHTS, ns=(1, 1))
    assert find_run(tmp_path / "work", None) == folder
    os.utime(folder / WEIGHTS, ns=(0, 0))
    assert newest_run(tmp_path / "work") == other


def test_a_run_that_has_not_finished_is_not_the_newest(folder, run, tmp_path):
    begun = folder.with_name("begun")
    write_run(begun, replace(run, complete=False))
    save_state(begun, {"stage": None})
    assert newest_run(tmp_path / "work") == folder


def test_a_damaged_run_does_not_stand_before_the_newest_whole_one(folder, run, tmp_path, caplog):
    for name, written in {"torn": "{", "newer": '{"format": 99}'}.items():
        other = folder.with_name(name)
        write_run(other, run)
        save_weights(other, build_head(run))
        (other / RUN).write_text(written)
    assert newest_run(tmp_path / "work") == folder
    assert "Leaving out run torn: " in caplog.text
    assert "Leaving out run newer: " in caplog.text


def test_no_finished_run_says_how_to_make_one(tmp_path):
    with pytest.raises(MissingError, match=r"no finished run .* `vidret train-heads`"):
        newest_run(tmp_path)


def test_weights_read_back_to_the_bit(folder, run):
    expected, found = build_head(run).state_dict(), load_weights(folder, run).state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_weights_of_an_unfinished_run_say_how_to_go_on(folder, run):
    (folder / WEIGHTS).unlink()
    with pytest.raises(MissingError, match="go on with `vidret train-heads --resume mine`"):
        load_weights(folder, run)


def test_damaged_weights_are_named(folder, run):
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])
    with pytest.raises(DamagedError, match=r"heads\.safetensors cannot be read .* train again"):
        load_weights(folder, run)


def test_weights_of_another_head_are_refused_part_by_part(folder, run):
    save_weights(folder, build_head(replace(run, head="s-f")))
    with pytest.raises(MismatchError) as raised:
        load_weights(folder, run)
    told = str(raised.value)
    assert f"{folder / WEIGHTS} is made for another model: " in told
    assert "video_head.word_query.weight is not in the file" in told
    assert "audio_head.null is not in the file" in told


def test_weights_with_more_than_the_head_has_are_refused(folder, run):
    with pytest.raises(MismatchError, match=r"audio_head\.null is in the file, and not in this h"):
        load_weights(folder, replace(run, head="mgfi"))


def test_weights_of_another_width_are_refused_tensor_by_tensor(folder, run):
    wider = replace(run, fingerprint=planted_fingerprint(dim=2 * DIM))
    told = rf"video_head\.query\.weight is {DIM} x {DIM} in the file, and {2 * DIM} x {2 * DIM} in"
    with pytest.raises(MismatchError, match=rf"{told} this head.*; and \d+ more: "):
        load_weights(folder, wider)


def test_a_state_reads_back(folder):
    save_state(folder, {"stage": "audio", "weights": {"tau": torch.tensor(4.6)}})
    state = load_state(folder)
    assert (state["stage"], state["weights"]["tau"].item()) == ("audio", pytest.approx(4.6))


def test_without_a_state_there_is_none(folder):
    assert load_state(folder) is None


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_a_damaged_state_is_named(folder, content):
    (folder / STATE).write_bytes(content)
    with pytest.raises(DamagedError, match=r"state\.pt cannot be read .* train again"):
        load_state(folder)


@pytest.mark.parametrize(("written", "age"), [(1, "older"), (3, "newer")])
def test_a_state_of_another_vidret_is_refused(folder, written, age):
    torch.save({"stage": None} | ({"format": written} if written > 1 else {}), folder / STATE)
    with pytest.raises(MismatchError, match=rf"format {written}, of an? {age} vidret.*format 2 al"):
        load_state(folder)


def test_a_state_that_is_no_table_is_damaged(folder):
    torch.save([1, 2], folder / STATE)
    with pytest.raises(DamagedError, match=r"state\.pt cannot be read"):
        load_state(folder)


def test_a_state_that_asks_to_run_code_is_refused(folder):
    torch.save({"stage": os.system}, folder / STATE)
    with pytest.raises(DamagedError, match=r"state\.pt cannot be read"):
        load_state(folder)


def test_a_run_without_sound_has_no_head_for_it(run):
    assert build_head(run).audio_head is not None
    assert build_head(run, sound=False).audio_head is None


def test_a_newer_run_whose_features_nobody_cached_is_passed_over(tmp_path, run, folder, caplog):
    own = planted_fingerprint(backbone_weights="tuned")
    origin = Origin(
        run="mine",
        heads="",
        fingerprint=run.fingerprint,
        backbone="tiny",
        audio="tiny",
        e2e=True,
        unfreeze=["text"],
        lr_clip=1e-6,
        lr_audio=5e-5,
    )
    tuned = folder.with_name("tuned")
    write_run(tuned, replace(run, name="tuned", fingerprint=own, origin=origin))
    save_weights(tuned, build_head(run))
    os.utime(tuned / WEIGHTS, (2e9, 2e9))
    with caplog.at_level("INFO"):
        assert newest_run(tmp_path / "work") == folder
    assert "vidret extract --backbone run:tuned" in caplog.text
