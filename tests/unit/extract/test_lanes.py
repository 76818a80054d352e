import shutil
import threading
import time
from pathlib import Path

import pytest
import torch
from making.clips import draw_clip
from making.decoders import spoil_decoders

from vidret.data.errors import MissingError
from vidret.data.samples import Video
from vidret.extract import lanes as module
from vidret.extract.decode import decode_video
from vidret.extract.decoding.events import SoundPart
from vidret.extract.decoding.sampling import Sampling
from vidret.extract.lanes import (
    BUFFER,
    VIDEOS_AHEAD,
    Crops,
    Done,
    Failed,
    Lanes,
    QuarantineError,
    Start,
    borrowed_lanes,
    decode_in,
)

FRAMES = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for number, seconds in enumerate((1.0, 0.4, 0.8, 0.2, 0.6)):
        draw_clip(folder / f"{number}.mp4", seconds=seconds)
    (folder / "text.mp4").write_text("this is no video")
    return folder


@pytest.fixture
def lanes():
    lanes = Lanes(2)
    yield lanes
    lanes.close()


def as_tensor(frame):
    return torch.from_numpy(frame.copy())


def from_files(video, process):
    return decode_in(
        process, video, as_tensor, sampling=Sampling(FRAMES), decoder="av", timeout=30.0
    )


def videos_of(folder, *names):
    return [Video(id=name, path=folder / f"{name}.mp4", split="all") for name in names]


def all_pieces(lanes, videos, source=from_files):
    return {video.id: list(pieces) for video, pieces in lanes.run(videos, source)}


def test_videos_come_in_their_order_with_all_their_pieces(lanes, folder):
    videos = videos_of(folder, "0", "1", "text", "2", "3", "4")
    told = all_pieces(lanes, videos)
    assert list(told) == [video.id for video in videos]
    assert isinstance(told.pop("text")[-1], Failed)
    for id_, pieces in told.items():
        whole = decode_video(folder / f"{id_}.mp4", frames=FRAMES)
        crops = [piece.values[0] for piece in pieces if isinstance(piece, Crops)]
        assert isinstance(pieces[0], Start)
        assert isinstance(pieces[-1], Done)
        assert all(torch.equal(a, as_tensor(b)) for a, b in zip(crops, whole.frames, strict=True))


def test_the_first_video_may_pass_a_full_buffer(lanes, folder, monkeypatch):
    monkeypatch.setattr(module, "BUFFER", 0)
    told = all_pieces(lanes, videos_of(folder, "0", "1", "2", "3", "4"))
    assert [len([p for p in pieces if isinstance(p, Crops)]) for pieces in told.values()] == [4] * 5


def test_no_more_waits_in_memory_than_the_buffer_holds(lanes, monkeypatch):
    """Both lanes run ahead as far as they may, while nobody takes what they have."""
    monkeypatch.setattr(module, "BUFFER", 5_000)
    held, most = 0, 0

    def source(_video, _process):
        nonlocal held, most
        yield Start()
        for _ in range(20):
            held += 1_000
            most = max(most, held)
            yield Crops(torch.zeros(1, 1_000, dtype=torch.uint8))
        yield Failed(QuarantineError("enough"))

    for _, pieces in lanes.run(videos_of(Path("/"), *"abcdef"), source):
        time.sleep(0.05)
        for piece in pieces:
            held -= piece.values.nbytes if isinstance(piece, Crops) else 0
    # the buffer, what the first video may add to it, and what each lane and the reader hold
    assert most <= 5_000 + 1_000 + 2_000 + 1_000
    assert BUFFER > 5_000


def test_lanes_are_only_so_many_videos_ahead(lanes):
    begun = []

    def source(video, _process):
        begun.append(video.id)
        yield Failed(QuarantineError("none"))

    videos = videos_of(Path("/"), *map(str, range(50)))
    for position, (_, pieces) in enumerate(lanes.run(videos, source)):
        list(pieces)
        assert len(begun) <= position + 1 + 2 * VIDEOS_AHEAD
    assert len(begun) == 50


def test_a_file_that_takes_its_decoder_down_twice_is_put_aside(
    lanes, folder, tmp_path, monkeypatch
):
    spoil_decoders(monkeypatch, tmp_path)
    shutil.copy(folder / "0.mp4", tmp_path / "crash.mp4")
    shutil.copy(folder / "1.mp4", tmp_path / "good.mp4")
    told = all_pieces(lanes, videos_of(tmp_path, "crash", "good"))
    error = told["crash"][-1].error
    assert error.stage == "quarantine"
    assert "took its decoder down 2 times" in str(error)
    assert "SIGSEGV" in str(error)
    assert isinstance(told["good"][-1], Done)


def test_a_decoder_that_dies_once_is_given_a_second_try(lanes, folder, tmp_path, monkeypatch):
    spoil_decoders(monkeypatch, tmp_path)
    shutil.copy(folder / "0.mp4", tmp_path / "once.mp4")
    pieces = all_pieces(lanes, videos_of(tmp_path, "once"))["once"]
    starts = [number for number, piece in enumerate(pieces) if isinstance(piece, Start)]
    assert len(starts) == 2
    whole = decode_video(folder / "0.mp4", frames=FRAMES)
    after = pieces[starts[1] :]
    crops = [piece for piece in after if isinstance(piece, Crops)]
    sound = torch.cat([torch.from_numpy(p.samples) for p in after if isinstance(p, SoundPart)])
    assert len(crops) == len(whole.frames)
    assert torch.equal(sound, torch.from_numpy(whole.waveform))


def test_an_error_that_is_no_files_fault_ends_the_task(lanes, folder):
    def source(_video, _process):
        yield Start()
        raise MissingError("no decoder here")

    with pytest.raises(MissingError, match="no decoder here"):
        all_pieces(lanes, videos_of(folder, "0", "1"), source)
    assert not [thread for thread in threading.enumerate() if "_work" in thread.name]


def test_two_tasks_at_once_have_lanes_of_their_own():
    with borrowed_lanes(1) as first, borrowed_lanes(1) as second:
        assert first is not second
    with borrowed_lanes(1) as third:
        assert third in (first, second)


def test_lanes_leave_no_thread_behind_when_their_reader_leaves(lanes, folder):
    before = threading.active_count()
    run = lanes.run(videos_of(folder, "0", "1", "2", "3"), from_files)
    _, pieces = next(run)
    next(pieces)
    run.close()
    assert threading.active_count() == before
