"""torchcodec against PyAV: the same frames, and the files that it is not trusted with."""

import logging
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from making.clips import behead_stream, convert_clip, cut_clip, draw_clip, thin_clip, turn_clip

from vidret.data.errors import MissingError
from vidret.extract.decode import decode_video, decoder_version
from vidret.extract.decoding import with_torchcodec


@pytest.fixture(scope="module")
def torchcodec():
    reason = "torchcodec is not installed; install it and FFmpeg's shared libraries to run this"
    try:
        return pytest.importorskip("torchcodec.decoders", reason=reason)
    except (OSError, RuntimeError):  # it is there, but finds no FFmpeg that it knows
        pytest.skip(reason)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return draw_clip(tmp_path_factory.mktemp("torchcodec") / "base.mp4")


MAKERS = {
    "same.mkv": lambda base, path: convert_clip(base, path, "-c", "copy"),
    "five.mp4": lambda _, path: draw_clip(path, seconds=0.2),
    "edit-list.mp4": lambda base, path: cut_clip(base, path, 0.9),
    "rate-varies.mp4": thin_clip,
    "turned.mp4": lambda base, path: turn_clip(base, path, 90),
    "ten-bit.mp4": lambda base, path: convert_clip(
        base, path, "-c:v", "libx264", "-pix_fmt", "yuv420p10le", "-an"
    ),
}
LEFT_TO_AV = {
    "b-frames.avi": lambda base, path: convert_clip(base, path, "-c:v", "mpeg4", "-bf", "2"),
    "mid-group.ts": behead_stream,
    "mirrored.mp4": lambda base, path: turn_clip(base, path, 90, mirrored=True),
}


def assert_equal(video, other):
    np.testing.assert_array_equal(video.indices, other.indices)
    np.testing.assert_array_equal(video.times, other.times)
    np.testing.assert_array_equal(video.waveform, other.waveform)
    for frame, same in zip(video.frames, other.frames, strict=True):
        np.testing.assert_array_equal(frame, same)


@pytest.mark.usefixtures("torchcodec")
@pytest.mark.parametrize("name", list(MAKERS))
def test_it_gives_what_pyav_gives(base, tmp_path, caplog, name):
    path = MAKERS[name](base, tmp_path / name)
    with caplog.at_level(logging.DEBUG):
        video = decode_video(path, frames=7, decoder="torchcodec")
    assert "decoded from start to end" not in caplog.text
    assert_equal(video, decode_video(path, frames=7))


@pytest.mark.usefixtures("torchcodec")
@pytest.mark.parametrize("name", list(LEFT_TO_AV))
def test_what_it_would_get_wrong_is_left_to_pyav(base, tmp_path, name):
    path = LEFT_TO_AV[name](base, tmp_path / name)
    assert_equal(decode_video(path, frames=7, decoder="torchcodec"), decode_video(path, frames=7))


@pytest.mark.usefixtures("torchcodec")
def test_frames_come_a_few_at_a_time(base, monkeypatch):
    whole = decode_video(base, frames=7)
    monkeypatch.setattr(with_torchcodec, "BYTES_AT_ONCE", 2 * 96 * 64 * 3)
    assert_equal(decode_video(base, frames=7, decoder="torchcodec"), whole)


@pytest.mark.usefixtures("torchcodec")
def test_a_name_that_is_no_text_is_only_a_name(base, tmp_path):
    path = tmp_path / os.fsdecode(b"a:\xff.mp4")
    path.write_bytes(base.read_bytes())
    assert decode_video(path, frames=2, decoder="torchcodec").num_frames == 50


@pytest.mark.usefixtures("torchcodec")
def test_the_version_names_the_library_its_ffmpeg_and_the_device():
    version = decoder_version("torchcodec")
    assert version.startswith("torchcodec ")
    assert ", libavcodec " in version
    assert ", cpu, av " in version


@pytest.mark.usefixtures("torchcodec")
def test_nvdec_without_a_gpu_is_missing_and_says_what_to_do():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(MissingError, match="nvdec needs a GPU that CUDA can reach"):
        decoder_version("nvdec")


@pytest.mark.gpu
@pytest.mark.usefixtures("torchcodec")
def test_nvdec_takes_the_same_frames_in_nearly_the_same_colours(base):
    video, exact = decode_video(base, frames=7, decoder="nvdec"), decode_video(base, frames=7)
    np.testing.assert_array_equal(video.indices, exact.indices)
    distances = [
        np.abs(frame.astype(float) - other).mean()
        for frame, other in zip(video.frames, exact.frames, strict=True)
    ]
    assert max(distances) < 4


@pytest.mark.parametrize("decoder", ["torchcodec", "nvdec"])
def test_not_installed_is_missing_and_says_what_to_do(monkeypatch, decoder):
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    with pytest.raises(MissingError, match="install the torchcodec that fits this torch"):
        decode_video(Path(__file__), frames=2, decoder=decoder)
