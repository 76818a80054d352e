import os
import subprocess
import sys

import pytest
from making.annotations import FORMS, paths_of, real_annotations, told_of, write_files

from vidret.data.datasets.assembling import Count, Published, Split, assemble
from vidret.data.datasets.files import DatasetFolder
from vidret.data.datasets.msvd import load_msvd
from vidret.data.datasets.reading import Source
from vidret.data.errors import ConfigError

PUBLISHED = Published(
    title="a toy",
    protocol="toy",
    splits={"train": Count(videos=2, captions=3), "test": Count(videos=None, captions=1)},
    layouts=("lists",),
    videos="ID.mp4",
    sound="some",
    gaps=(),
    terms="none",
    source="nowhere",
)
CAPTIONS = {"a": ["one", "two"], "b": ["three"], "c": ["four"]}
PEAK = """
import atexit, sys
from pathlib import Path
def tell():  # not ru_maxrss: that begins with what the process had that started this one
    status = Path("/proc/self/status").read_text()
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    print(peak, "torch" in sys.modules, file=sys.stderr)
atexit.register(tell)
"""
LOADED = """
from vidret.data.catalog import load_dataset
print(len(load_dataset("msrvtt-full", Path(sys.argv[1])).captions))
"""
COMMAND = "from vidret.pipelines.program import main; main()"


def toy(root, captions=None, train=("a", "b"), test=("c",)):
    return assemble(
        "toy",
        PUBLISHED,
        DatasetFolder(root),
        splits=[
            Split(name="train", ids=train, source=Source(root / "train.txt")),
            Split(name="test", ids=test, source=Source(root / "test.txt")),
        ],
        captions=CAPTIONS if captions is None else captions,
        place=lambda id_: f"videos/{id_}.mp4",
        notes=["first"],
    )


def test_a_dataset_as_published_has_no_notes_but_its_own_and_what_is_missing(tmp_path):
    write_files(tmp_path, {f"{id_}.mp4": b"" for id_ in CAPTIONS})
    assert toy(tmp_path).notes == ("first",)
    (tmp_path / "b.mp4").unlink()
    assert toy(tmp_path).notes == ("first", "1 video not found (b)")


def test_three_of_many_names_are_told(tmp_path):
    dataset = toy(tmp_path, {id_: ["x"] for id_ in "abcdefg"}, train="abcdef", test="g")
    assert "7 videos not found (a, b, c ...)" in dataset.notes


def test_other_numbers_than_the_published_ones_are_told(tmp_path):
    assert "train has 1 video here, and 2 as published" in told_of(toy(tmp_path, train=("a",)))
    more = {**CAPTIONS, "b": ["x"] * 2, "c": ["y"] * 3}
    told = told_of(toy(tmp_path, more))
    assert "train has 4 captions here, and 3 as published" in told
    assert "test has 3 captions here, and 1 as published" in told


def test_blank_captions_are_left_out_with_a_note_and_the_others_keep_their_places(tmp_path):
    dataset = toy(tmp_path, {**CAPTIONS, "a": ["one", " ", "two"]})
    assert [caption.id for caption in dataset.captions] == ["a#0", "a#2", "b#0", "c#0"]
    assert "1 blank caption left out (a)" in dataset.notes


def test_a_caption_that_no_file_can_hold_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"caption 2 of a holds half a character"):
        toy(tmp_path, {**CAPTIONS, "a": ["one", "smile \ud83d"]})


def test_a_split_without_videos_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"test\.txt: it names no video"):
        toy(tmp_path, test=())


def test_names_that_would_break_a_line_are_spelt_out(tmp_path):
    dataset = toy(tmp_path, {**CAPTIONS, "b\n\x1b": ["x"]}, train=("a", "b\n\x1b"))
    assert r"(a, b\n\x1b, c)" in told_of(dataset)


def test_a_choice_between_files_is_told(tmp_path):
    write_files(tmp_path, {"x/a.mp4": b"1", "y/a.mp4": b"2"})
    dataset = toy(tmp_path)
    assert paths_of(dataset)["a"] == tmp_path / "x" / "a.mp4"
    told = "1 video with more than one file, the first named taken (a: x/a.mp4, y/a.mp4)"
    assert told in dataset.notes


def test_a_choice_between_annotation_files_is_told(tmp_path):
    form = FORMS["msvd of X-Pool"]
    root = form.write(tmp_path, **{"old/val_list.txt": "x"})
    told = "val_list.txt is read, and old/val_list.txt, which differs, is not"
    assert told in load_msvd(root).notes


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_listed_is_told(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    told = f"1 place that cannot be read, left out ({tmp_path / 'closed'}: Permission denied)"
    assert told in toy(tmp_path).notes


def run_watched(code, *arguments, folder):
    """What a process printed, its peak of memory in KB, and whether it imported torch."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK + code, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    *_, last = done.stderr.splitlines()
    peak, has_torch = last.split()
    return done, int(peak), has_torch == "True"


# How long it takes is measured by benchmarks/annotations.py.
@pytest.mark.xdist_group("msrvtt")
def test_all_of_msr_vtt_loads_in_under_500_mb_and_without_torch(tmp_path):
    done, peak, has_torch = run_watched(LOADED, real_annotations("msrvtt"), folder=tmp_path)
    assert done.stdout == "200000\n"
    assert peak < 500_000
    assert not has_torch


@pytest.mark.xdist_group("msrvtt")
def test_the_command_with_its_start_reads_msr_vtt_in_under_500_mb(tmp_path):
    arguments = ("datasets", "verify", "msrvtt-9k", "--no-look", "--root")
    real = real_annotations("msrvtt")
    done, peak, has_torch = run_watched(COMMAND, *arguments, real, folder=tmp_path)
    assert done.returncode == 4, "no videos"
    assert "180,000" in done.stdout
    assert peak < 500_000
    assert not has_torch
