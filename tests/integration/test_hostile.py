"""`vidret extract` over a folder of everything: each file ends in the state that it deserves."""

import json
import os
import subprocess
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from making.hostile import HOSTILE, State, make_hostile_folder
from making.processes import PATIENCE, PROGRAM, clean_environment, run_vidret

from vidret.data.errors import DecodeError
from vidret.data.samples import AudioState
from vidret.data.shards import read_video_table
from vidret.data.upkeep.check import verify_cache
from vidret.extract.decode import Sampling, decode_events

FRAMES = 4
SECONDS_TO_END = 10  # for a process that nobody needs any more
MARK = "HOSTILE_RUN"  # in the environment of every process that a run starts
COMMAND = ["vidret", "probe", "--frames", str(FRAMES), "--decoder", "av"]
UTF_8 = "utf-8:strict"  # what the terminal takes where people have a language set
FACTS = ["- file", "- stage", "- reason", "- reproduce"]  # of each failure, for people

pytestmark = pytest.mark.xdist_group("hostile")


def of_state(*states):
    """One test for each kind of file in one of these states, by its name."""
    kinds = [one for one in HOSTILE if one.expected.state in states]
    return pytest.mark.parametrize("one", kinds, ids=lambda one: one.kind)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the cache says of one video."""

    num_frames: int
    indices: list[int]
    sound: AudioState
    seconds: float
    size: tuple[int, int]
    partial: bool


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """How the one run over the folder ended, and what it left."""

    result: subprocess.CompletedProcess[str]
    arguments: tuple[str, ...]
    environment: dict[str, str]
    videos: Path
    listing: list[tuple[str, int, int]]
    cache: Path
    rows: dict[str, Row]
    failures: dict[str, dict[str, str]]
    page: str


@pytest.fixture(scope="module")
def extraction(tmp_path_factory):
    home = tmp_path_factory.mktemp("hostile")
    videos = home / "videos"
    make_hostile_folder(videos, home / "clips")
    listing = list_folder(videos)
    environment = clean_environment(**{MARK: uuid4().hex}, PYTHONIOENCODING=UTF_8)
    arguments = (
        *("extract", "--dataset", f"folder:{videos}", "--work", str(home / "work")),
        *("--backbone", "tiny", "--audio", "tiny", "--frames", str(FRAMES), "--workers", "2"),
    )
    result = run_vidret(*arguments, cwd=home, env=environment, errors="surrogateescape")
    (cache,) = (home / "work" / "cache").iterdir()
    rows = dict(row for path in sorted(cache.glob("videos-*.h5")) for row in read_rows(path))
    failures = [json.loads(line) for line in (cache / "failures.jsonl").read_text().splitlines()]
    return Extraction(
        result=result,
        arguments=arguments,
        environment=environment,
        videos=videos,
        listing=listing,
        cache=cache,
        rows=rows,
        failures={failure["id"]: failure for failure in failures},
        page=(cache / "failures.md").read_text(),
    )


def list_folder(folder):
    """Everything in a folder, and when it was last changed; no link is followed."""
    return sorted(
        (str(path), path.lstat().st_size, path.lstat().st_mtime_ns)
        for where, folders, files in os.walk(folder)
        for path in (Path(where, name) for name in folders + files)
    )


def read_rows(shard):
    table = read_video_table(shard)
    for number, id_ in enumerate(table.ids):
        yield (
            id_,
            Row(
                num_frames=int(table.num_frames[number]),
                indices=table.indices[number][table.frame_mask[number]].tolist(),
                sound=table.audio_state[number],
                seconds=float(table.duration[number]),
                size=(int(table.width[number]), int(table.height[number])),
                partial=bool(table.partial[number]),
            ),
        )


def middles(num_frames):
    """The middle of each of four equal parts of a video, or all frames of a shorter one."""
    bounds = np.linspace(0, num_frames, min(num_frames, FRAMES) + 1).astype(int)
    return [int(first + last - 1) // 2 for first, last in pairwise(bounds)]


# Each kind


@of_state(State.OK, State.PARTIAL)
def test_a_file_that_can_be_shown_is_in_the_cache_as_it_is(extraction, one):
    assert one.place not in extraction.failures
    assert_as_expected(extraction.rows[one.place], one.expected)


def assert_as_expected(row, expected):
    assert row.partial == (expected.state is State.PARTIAL)
    assert expected.least <= row.num_frames <= expected.most
    assert row.indices == middles(row.num_frames)
    assert row.sound is expected.sound
    if expected.seconds is not None:
        assert row.seconds == pytest.approx(expected.seconds, abs=0.1)
    if expected.size is not None:
        assert row.size == expected.size


@of_state(State.FAILED)
def test_a_file_that_cannot_be_used_is_named_with_its_reason(extraction, one):
    assert one.place not in extraction.rows
    failure = extraction.failures[one.place]
    assert failure["path"] == one.place
    assert failure["stage"] == "decode"
    assert one.expected.reason in failure["reason"]
    assert failure["reason"].isprintable(), "one line, and nothing that colours a terminal"
    assert failure["reason"] in extraction.page


@of_state(State.FAILED)
def test_a_shell_reads_the_command_that_reproduces_a_failure_as_it_is_meant(extraction, one):
    command = extraction.failures[one.place]["reproduce"]
    assert command in extraction.page
    assert command.isprintable()
    words = in_a_shell(f"set -- {command}; printf '%s\\0' \"$@\"", extraction)
    *words, end = words.stdout.split(b"\0")
    path = os.fsencode(extraction.videos / one.place)
    assert end == b""
    assert sorted(words) == sorted([path, *map(os.fsencode, COMMAND)])


@pytest.mark.slow
@of_state(State.OK, State.PARTIAL)
def test_the_decoder_ffmpeg_makes_the_same_of_it(extraction, one):
    *_, ended = told_by_ffmpeg(extraction.videos / one.place)
    facts = ended.facts
    row = Row(
        num_frames=facts.num_frames,
        indices=facts.indices.tolist(),
        sound=facts.audio_state,
        seconds=facts.duration,
        size=(facts.width, facts.height),
        partial=facts.partial,
    )
    assert_as_expected(row, one.expected)


@pytest.mark.slow
@of_state(State.FAILED)
def test_the_decoder_ffmpeg_refuses_it_too(extraction, one):
    with pytest.raises(DecodeError, match=one.expected.reason):
        list(told_by_ffmpeg(extraction.videos / one.place))


def told_by_ffmpeg(path):
    return decode_events(path, sampling=Sampling(FRAMES), decoder="ffmpeg")


@of_state(State.IGNORED)
def test_what_nobody_calls_a_video_is_passed_over(extraction, one):
    found = (*extraction.rows, *extraction.failures)
    assert [id_ for id_ in found if id_.startswith(one.place)] == []


@pytest.mark.parametrize("kind", ["a-pipe", "bad-with-a-newline", "bad-not-in-utf-8"])
def test_the_command_reproduces_the_failure(extraction, kind):
    (one,) = (one for one in HOSTILE if one.kind == kind)
    failure = extraction.failures[one.place]
    finished = in_a_shell(failure["reproduce"], extraction)
    assert finished.returncode == 3
    assert failure["reason"] in finished.stderr.decode()


def in_a_shell(command, extraction):
    """Run a line as somebody would who pastes it."""
    environment = clean_environment(PATH=f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}")
    return subprocess.run(
        ["bash", "-c", command],
        cwd=extraction.cache.parents[2],
        env=environment,
        capture_output=True,
        timeout=PATIENCE,
    )


# The whole


def test_there_are_more_than_forty_kinds():
    assert len(HOSTILE) > 100
    assert len({one.kind for one in HOSTILE}) == len({one.place for one in HOSTILE}) == len(HOSTILE)


def test_the_run_ends_with_code_3_and_counts_the_bad_ones(extraction):
    bad = sum(one.expected.state is State.FAILED for one in HOSTILE)
    videos = sum(one.expected.state is not State.IGNORED for one in HOSTILE)
    assert extraction.result.returncode == 3
    assert f"{bad} of {videos} videos failed, 0 allowed" in extraction.result.stderr
    assert "Traceback" not in extraction.result.stderr


def test_nothing_else_is_in_the_cache(extraction):
    expected = {one.place for one in HOSTILE if one.expected.state is not State.IGNORED}
    assert extraction.rows.keys() | extraction.failures.keys() == expected
    assert verify_cache(extraction.cache) == []


def test_a_name_does_nothing_to_the_terminal(extraction):
    talk = extraction.result.stdout + extraction.result.stderr
    assert [sign for sign in set(talk) - {"\n"} if not sign.isprintable()] == []


def test_the_page_of_failures_has_the_same_lines_for_each(extraction):
    sections = extraction.page.split("\n## ")[1:]
    assert len(sections) == len(extraction.failures)
    for section in sections:
        name, empty, *facts = section.splitlines()
        assert name.isprintable()
        assert empty == ""
        assert [fact.partition(":")[0] for fact in facts if fact] == FACTS


def test_a_second_run_does_nothing(extraction):
    before = list_folder(extraction.cache)
    home = extraction.cache.parents[2]
    again = run_vidret(*extraction.arguments, "--json", cwd=home, env=extraction.environment)
    assert again.returncode == 3
    assert json.loads(again.stdout)["to_do"] == 0
    kept = [entry for entry in list_folder(extraction.cache) if entry[0].endswith(".h5")]
    assert kept == [entry for entry in before if entry[0].endswith(".h5")]


def test_the_videos_stay_as_they_were(extraction):
    assert list_folder(extraction.videos) == extraction.listing


def test_no_process_is_left_over(extraction):
    mark = f"{MARK}={extraction.environment[MARK]}".encode()
    end = time.monotonic() + SECONDS_TO_END
    while left := [process for process in Path("/proc").glob("[0-9]*") if carries(process, mark)]:
        assert time.monotonic() < end, left
        time.sleep(0.05)


def carries(process, mark):
    """Whether a process was started with a mark in its environment; the dead have none."""
    try:
        return mark in (process / "environ").read_bytes()
    except OSError:
        return False
