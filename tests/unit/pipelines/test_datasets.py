import json
import shutil
from dataclasses import replace

import pytest
from click.testing import CliRunner
from making.clips import draw_clip

from vidret.data.catalog import DATASETS
from vidret.data.datasets.assembling import Count
from vidret.data.datasets.msvd import MSVD
from vidret.extract.decoding import process
from vidret.pipelines.cli import cli

CRASHING = """
import os, signal
from vidret.extract.decoding import child
whole = child.look_with_av
def look(path):
    if path.name.startswith("-test_0"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return whole(path)
child.look_with_av = look
child.main()
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """One with sound, one without, one that is no video."""
    folder = tmp_path_factory.mktemp("clips")
    draw_clip(folder / "loud.avi", seconds=0.2, codec="mpeg4")
    draw_clip(folder / "mute.avi", seconds=0.2, levels=(), codec="mpeg4")
    (folder / "text.avi").write_text("this is no video")
    return folder


@pytest.fixture
def root(tmp_path, clips, monkeypatch):
    """MSVD of nine clips: in each split one is without sound, one is no video, one is missing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    root = tmp_path / "msvd"
    (root / "YouTubeClips").mkdir(parents=True)
    captions = {}
    for split in ("train", "val", "test"):
        ids = [f"-{split}_{number}_9" for number in range(4)]
        (root / f"{split}_list.txt").write_text("\n".join(ids))
        captions |= {id_: ["a dog barks", "a dog"] for id_ in ids}
        for id_, name in zip(ids, ("loud", "mute", "text"), strict=False):
            (root / "YouTubeClips" / f"{id_}.avi").symlink_to(clips / f"{name}.avi")
    (root / "captions_msvd.json").write_text(json.dumps(captions))
    return root


def run(*arguments):
    return CliRunner().invoke(cli, ["datasets", *map(str, arguments)], prog_name="vidret")


def verify(root, *arguments):
    return run("verify", "msvd", "--root", root, "--workers", 1, *arguments)


def test_the_list_names_every_dataset_and_its_protocol():
    result = run("list")
    assert result.exit_code == 0
    for name, entry in DATASETS.items():
        assert name in result.stdout
        assert entry.published is None or entry.published.protocol in result.stdout
    assert set(json.loads(run("list", "--json").stdout)) == set(DATASETS)


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_is_told_with_all_that_a_user_must_know(name):
    result = run("show", name)
    assert result.exit_code == 0
    published = DATASETS[name].published
    if published is None:
        return
    text = " ".join(result.stdout.split())
    told = (published.title, published.sound, published.terms, published.source)
    for words in (*told, *published.gaps, *published.layouts):
        assert " ".join(words.split()) in text
    for count in published.splits.values():
        assert f"{count.captions:,} captions" in text
    assert json.loads(run("show", name, "--json").stdout)["protocol"] == published.protocol


def test_a_name_that_no_dataset_has_is_a_usage_error_with_a_guess():
    result = run("show", "lsmcd")
    assert result.exit_code == 2
    assert "did you mean 'lsmdc'?" in result.stderr


def test_what_is_missing_unreadable_or_without_sound_is_named_by_split(root):
    result = verify(root)
    assert result.exit_code == 4, "the test split is not all there"
    lines = result.stdout.splitlines()
    row = next(line.split() for line in lines if line.startswith("test"))
    assert row == ["test", "4", "670", "8", "27,763", "3", "1", "1", "1"]
    assert "missing in test: -test_3_9" in lines
    assert "no sound in test: -test_1_9" in lines
    assert any(line.startswith("unreadable in test: -test_2_9: ") for line in lines)
    assert "2 of 670 videos of test" in lines[-1], "as published, whatever the list says"
    assert "does not compare" in lines[-1]
    assert "--allow-missing 668" in result.stderr


def test_a_dataset_without_sound_says_so(root):
    assert "sound: none: the clips come without a sound track" in verify(root).stdout


def test_counts_other_than_the_published_ones_are_noted(root):
    assert "note: test has 4 videos here, and 670 as published" in verify(root).stdout


@pytest.mark.parametrize("given", ["668", "100%"])
def test_gaps_may_be_accepted(root, given):
    assert verify(root, "--allow-missing", given).exit_code == 0
    assert verify(root, "--allow-missing", "667").exit_code == 4


def test_a_share_that_makes_no_sense_is_a_usage_error(root):
    result = verify(root, "--allow-missing", "many")
    assert result.exit_code == 2
    assert "allow_missing is 'many'" in result.stderr


def test_without_looking_into_the_files_only_names_are_compared(root):
    result = verify(root, "--no-look", "--json")
    test = json.loads(result.stdout)["splits"]["test"]
    assert (test["missing"], test["unreadable"], test["silent"]) == (["-test_3_9"], {}, [])


def test_machines_get_the_whole_lists(root):
    report = json.loads(verify(root, "--json").stdout)
    assert report["ok"] is False
    assert report["protocol"] == "msvd-multi"
    assert report["copies"] == {"captions_msvd.json": ""}
    assert list(report["splits"]["val"]["unreadable"]) == ["-val_2_9"]


def test_a_complete_test_split_is_good(root, monkeypatch):
    published = replace(MSVD, splits=MSVD.splits | {"test": Count(videos=2, captions=4)})
    monkeypatch.setitem(DATASETS, "msvd", replace(DATASETS["msvd"], published=published))
    (root / "test_list.txt").write_text("-test_0_9\n-test_1_9")
    result = verify(root)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].startswith("test is complete: a result is over 2 videos")


def test_a_list_that_was_cut_short_is_not_complete(root):
    (root / "test_list.txt").write_text("-test_0_9\n-test_1_9")
    result = verify(root)
    assert result.exit_code == 4
    assert "2 of 670 videos of test can be used" in result.stderr


def test_a_test_split_of_which_nothing_is_there_measures_nothing_whatever_is_accepted(root):
    (root / "test_list.txt").write_text("-test_3_9")
    result = verify(root, "--allow-missing", "100%")
    assert result.exit_code == 4
    assert "nothing can be measured" in result.stdout
    assert "--allow-missing" not in result.stderr


def test_the_files_that_were_read_are_named_and_no_others(root):
    shutil.copy(root / "captions_msvd.json", root / "raw-captions.pkl")
    line = next(line for line in verify(root).stdout.splitlines() if line.startswith("read: "))
    assert line == (
        "read: train_list.txt, val_list.txt, test_list.txt, "
        "captions_msvd.json (no copy that vidret knows)"
    )


def test_the_drawn_set_has_nothing_to_look_at():
    assert "is drawn by `vidret extract` itself" in run("show", "synth").stderr
    assert "did you mean 'msvd'?" in run("show", "MSVD").stderr


def test_a_folder_of_ones_own_is_looked_through_as_well(root):
    result = run("verify", f"folder:{root / 'YouTubeClips'}", "--workers", 1, "--json")
    (split,) = json.loads(result.stdout)["splits"].values()
    assert (split["videos"], len(split["unreadable"]), len(split["silent"])) == (9, 3, 3)


def test_a_file_that_takes_its_decoder_down_is_unreadable_and_the_next_one_is_not(
    root, monkeypatch
):
    monkeypatch.setattr(process, "COMMAND", ("-P", "-c", CRASHING))
    test = json.loads(verify(root, "--json").stdout)["splits"]["test"]
    assert list(test["unreadable"]) == ["-test_0_9", "-test_2_9"]
    assert "takes its decoder down" in test["unreadable"]["-test_0_9"]
    assert test["silent"] == ["-test_1_9"]
