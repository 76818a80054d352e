import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest
from making.caches import a_failure, a_fingerprint, a_video

from vidret.data.manifest import Removed
from vidret.data.samples import Dataset, Failure, Video
from vidret.data.shards import write_video_shard
from vidret.pipelines.config.settings import ExtractConfig
from vidret.pipelines.extraction.report import (
    how_to_reproduce,
    make_report,
    shell_word,
    write_failures,
)

NAMES = (
    "plain.mp4",
    "two words.mp4",
    'it\'s "quoted".mp4',
    "$HOME `x` \\n.mp4",
    "-dash.mp4",
    "two\nlines.mp4",
    "colour\x1b[31m.mp4",
    "back\u202ewards.mp4",
    "ünïcode 犬.mp4",
    os.fsdecode(b"bytes \xff\xfe'.mp4"),
)


@pytest.mark.parametrize("name", NAMES)
def test_bash_reads_every_name_as_it_is(name):
    said = subprocess.run(
        ["bash", "-c", f"printf %s {shell_word(name)}"], capture_output=True, check=True
    ).stdout
    assert said.removeprefix(b"./") == os.fsencode(name)


@pytest.mark.parametrize("name", NAMES)
def test_no_name_shows_what_a_screen_could_misread(name):
    assert shell_word(name).isprintable()


def a_dataset(*numbers):
    videos = tuple(Video(id=f"v{n}", path=Path(f"/films/v{n}.mp4"), split="train") for n in numbers)
    return Dataset(name="toy", root=Path("/films"), videos=videos, captions=(), protocol="pairs")


@pytest.fixture
def cache(tmp_path):
    """v0 is whole, v1 is there in part, v2 has failed, v3 is no longer in the dataset."""
    digest = a_fingerprint().features_digest
    videos = [a_video(0), a_video(1), a_video(3)]
    videos[1] = type(videos[1])(
        **{name: getattr(videos[1], name) for name in videos[1].__slots__} | {"partial": True}
    )
    entry = write_video_shard(tmp_path / "videos-00000.h5", videos, [a_failure(2)], digest)
    return tmp_path, entry


def report_of(cache, **changes):
    folder, entry = cache
    given = {"to_do": 3, "removed": Removed(videos=("v3",))} | changes
    return make_report(ExtractConfig(), a_dataset(0, 1, 2), folder, [entry], **given)


def test_a_report_counts_what_became_of_each_video_of_the_dataset(cache):
    report = report_of(cache)
    assert [failure.id for failure in report.failures] == ["v2"]
    assert report.partial == ("v1",)
    assert report.removed == {"videos": 1, "captions": 0}
    assert sum(report.sound.values()) == 2  # v3 is not counted


def test_failures_are_listed_for_machines_and_people_with_a_command_each(cache):
    folder, _ = cache
    report = report_of(cache)
    write_failures(report, a_dataset(0, 1, 2), ExtractConfig(frames=7, sampling="fps:1"))
    (row,) = map(json.loads, (folder / "failures.jsonl").read_text().splitlines())
    words = shlex.split(row["reproduce"])
    assert words[:3] == ["vidret", "probe", "/films/clips/v2.mp4"]
    assert words[3:] == ["--frames", "7", "--decoder", "av", "--sampling", "fps:1"]
    page = (folder / "failures.md").read_text()
    assert "# 1 video of toy failed" in page
    assert row["reproduce"] in page


def test_lists_of_failures_go_when_nothing_fails_any_more(cache):
    folder, entry = cache
    write_failures(report_of(cache), a_dataset(0, 1, 2), ExtractConfig())
    whole = make_report(ExtractConfig(), a_dataset(0, 1), folder, [entry], to_do=0)
    write_failures(whole, a_dataset(0, 1), ExtractConfig())
    assert not list(folder.glob("failures.*"))


def test_a_path_outside_the_root_is_reproduced_as_it_is():
    failure = Failure(id="x", path="/elsewhere/x.mp4", stage="decode", reason="no")
    command = how_to_reproduce(failure, Path("/films"), ExtractConfig())
    assert command.startswith("vidret probe /elsewhere/x.mp4 ")
