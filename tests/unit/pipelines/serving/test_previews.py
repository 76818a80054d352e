import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import pytest

from vidret.pipelines.serving.previews import Previews


@pytest.fixture
def executor():
    with ThreadPoolExecutor(1) as one:
        yield one


@pytest.fixture
def made(tmp_path, executor):
    return Previews(tmp_path / "previews", most_bytes=1 << 30, executor=executor)


def wait(executor):
    executor.submit(lambda: None).result(60)


@pytest.mark.parametrize(
    ("number", "state"), [(0, "native"), (1, "native"), (2, "absent"), (3, "absent")]
)
def test_only_what_browsers_do_not_play_wants_a_preview(made, world, number, state):
    assert made.look(world.file(number)).state == state


def test_a_preview_is_made_once_and_plays_everywhere(made, executor, world, tmp_path):
    old = world.file(2)
    assert made.file(old) is None
    assert made.ask(old).state == "preparing"
    wait(executor)
    assert made.ask(old).state == "ready"
    with av.open(str(made.file(old))) as container:
        kinds = [stream.codec_context.name for stream in container.streams]
        assert kinds == ["h264", "aac"]
        assert container.duration / av.time_base == pytest.approx(4.0, abs=0.2)
    assert len(list((tmp_path / "previews").iterdir())) == 1


def test_a_changed_file_is_converted_again(made, executor, world, tmp_path):
    copy = tmp_path / "copy.avi"
    shutil.copy(world.file(2), copy)
    made.ask(copy)
    wait(executor)
    os.utime(copy, ns=(1, 1))
    assert made.look(copy).state == "absent"


def test_a_file_that_broke_since_it_was_indexed_fails_in_words(made, executor, world, tmp_path):
    half = tmp_path / "half.avi"
    half.write_bytes(world.file(2).read_bytes()[:3000])
    made.ask(half)
    wait(executor)
    seen = made.look(half)
    assert (seen.state, seen.reason) == ("failed", "this file cannot be read as a video")
    assert not list((tmp_path / "previews").glob("*"))


def test_the_longest_unwatched_go_when_there_is_no_room(executor, world, tmp_path):
    folder = tmp_path / "previews"
    made = Previews(folder, most_bytes=1, executor=executor)
    for number in (2, 3):
        made.ask(world.file(number))
        wait(executor)
    assert made.file(world.file(2)) is None
    assert made.file(world.file(3)) is not None


def test_what_a_killed_server_left_is_cleared(executor, world, tmp_path):
    folder = tmp_path / "previews"
    folder.mkdir()
    left = folder / "one.mp4.part"
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    made = Previews(folder, most_bytes=1 << 30, executor=executor)
    made.ask(world.file(2))
    wait(executor)
    assert not left.exists()


def test_a_server_that_only_reads_makes_none(executor, world, tmp_path):
    made = Previews(tmp_path / "none", most_bytes=1, executor=executor, writes=False)
    assert made.ask(world.file(2)).state == "off"
    assert not Path(tmp_path / "none").exists()


def test_over_the_api_a_preview_becomes_playable(ask, id_of):
    address = f"/api/videos/{id_of(2)}/preview"
    assert ask(f"{address}/media").status_code == 404
    assert ask(address).json()["state"] == "absent"
    assert ask(address, "POST").json()["state"] == "preparing"
    ask.library._converting.submit(lambda: None).result(60)
    told = ask(address).json()
    assert (told["state"], told["address"]) == ("ready", f"{address}/media")
    part = ask(told["address"], headers={"range": "bytes=0-99"})
    assert (part.status_code, len(part.content)) == (206, 100)
