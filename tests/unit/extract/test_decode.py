"""Both decoders on real clips, against each other and against a full decode of the file."""

import gc
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soxr
from making.clips import (
    behead_stream,
    blank_packet,
    blank_sound,
    convert_clip,
    cut_clip,
    draw_clip,
    draw_long_clip,
    draw_picture,
    thin_clip,
    turn_clip,
)
from oracles.full_decode import all_frames, all_samples

from vidret.data.errors import ConfigError, DecodeError, MissingError
from vidret.data.samples import AudioState
from vidret.extract.decode import (
    SAMPLE_RATE,
    Sampling,
    decode_events,
    decode_video,
    decoder_version,
    ffmpeg_binary,
)
from vidret.extract.decoding import files, with_av, with_ffmpeg
from vidret.extract.decoding.events import Again, Ended, Opened, Picture, SoundPart
from vidret.extract.decoding.sampling import uniform_indices

FRAMES = 7

MAKERS = {
    "base.mp4": lambda _, path: draw_clip(path),
    "quiet.mp4": lambda _, path: draw_clip(path, levels=()),
    "mono-8k.mp4": lambda _, path: draw_clip(path, levels=(0.5,), rate=8000, sound_seconds=1.3),
    "stereo-48k.mp4": lambda _, path: draw_clip(path, levels=(0.8, 0.2), rate=48_000),
    "surround.mp4": lambda _, path: draw_clip(path, levels=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)),
    "silent.mp4": lambda _, path: draw_clip(path, levels=(0.0, 0.0)),
    "one.mp4": lambda _, path: draw_clip(path, seconds=0.04, levels=()),
    "five.mp4": lambda _, path: draw_clip(path, seconds=0.2),
    "all-key.mp4": lambda _, path: draw_clip(path, gop=1, b_frames=0, levels=()),
    "base.mkv": lambda base, path: convert_clip(base, path, "-c", "copy"),
    "base.ts": lambda base, path: convert_clip(base, path, "-c", "copy"),
    "offset.mkv": lambda base, path: convert_clip(
        base, path, "-c", "copy", "-output_ts_offset", "1000"
    ),
    "raw.h264": lambda base, path: convert_clip(base, path, "-an", "-c", "copy"),
    "b-frames.avi": lambda base, path: convert_clip(
        base, path, "-c:v", "mpeg4", "-bf", "2", "-g", "12", "-c:a", "mp3"
    ),
    "edit-list.mp4": lambda base, path: cut_clip(base, path, 0.9),
    "rate-varies.mp4": thin_clip,
    "mid-group.ts": behead_stream,
    "turned-90.mp4": lambda base, path: turn_clip(base, path, 90),
    "turned-180.mp4": lambda base, path: turn_clip(base, path, 180),
    "turned-270.mp4": lambda base, path: turn_clip(base, path, 270),
    "mirrored.mp4": lambda base, path: turn_clip(base, path, 90, mirrored=True),
    "odd-size.mp4": lambda base, path: convert_clip(
        base, path, "-vf", "scale=81:63", "-c:v", "mpeg4", "-c:a", "copy"
    ),
    "ten-bit.mp4": lambda base, path: convert_clip(
        base, path, "-c:v", "libx264", "-pix_fmt", "yuv420p10le", "-c:a", "copy"
    ),
    "interlaced.mp4": lambda base, path: convert_clip(
        base, path, "-c:v", "libx264", "-flags", "+ildct+ilme", "-c:a", "copy"
    ),
    "full-range.mp4": lambda base, path: convert_clip(
        base, path, "-c:v", "libx264", "-pix_fmt", "yuvj420p", "-colorspace", "bt709"
    ),
    "hidden-frames.webm": lambda base, path: convert_clip(
        base, path, "-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "9", "-an"
    ),
    "hevc.mp4": lambda base, path: convert_clip(
        base, path, "-c:v", "libx265", "-x265-params", "log-level=none:keyint=10", "-an"
    ),
    "integers.mkv": lambda base, path: convert_clip(
        base, path, "-c:v", "copy", "-c:a", "pcm_s16le"
    ),
    "long-group.mp4": lambda _, path: draw_clip(path, seconds=5.0, gop=600),
    "open-groups.mp4": lambda base, path: convert_clip(
        base, path, "-c:v", "libx264", "-x264-params", "open-gop=1:keyint=10:bframes=3", "-an"
    ),
    "open-groups.mkv": lambda _, path: convert_clip(path.with_suffix(".mp4"), path, "-c", "copy"),
    "no-duration.mkv": lambda base, path: convert_clip(base, path, "-c", "copy", "-live", "1"),
    "vp9.webm": lambda base, path: convert_clip(
        base, path, "-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime", "-an"
    ),
    "av1.mkv": lambda base, path: convert_clip(base, path, *AV1, "-an"),
    "moving.gif": lambda base, path: convert_clip(base, path, "-an"),
    "long-sound.mp4": lambda _, path: draw_clip(path, seconds=0.4, sound_seconds=1.5),
    "two-videos.mp4": lambda base, path: convert_clip(
        base, path, *TWICE, "-c:v:1", "mpeg4", "-filter:v:1", "negate", "-c:v:0", "copy"
    ),
}
AV1 = ("-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-g", "20")
TWICE = ("-map", "0:v", "-map", "0:v", "-map", "0:a")
MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
SHAPES = {"odd-size.mp4": (63, 81)} | dict.fromkeys(
    ("turned-90.mp4", "turned-270.mp4", "mirrored.mp4"), (96, 64)
)
CHANNELS = {"mono-8k.mp4": 1, "surround.mp4": 6}
RATES = {"mono-8k.mp4": 8000, "stereo-48k.mp4": 48_000}
SOUNDLESS = [
    "quiet.mp4",
    "one.mp4",
    "all-key.mp4",
    "raw.h264",
    "rate-varies.mp4",
    "hidden-frames.webm",
    "hevc.mp4",
    "open-groups.mp4",
    "open-groups.mkv",
    "vp9.webm",
    "av1.mkv",
    "moving.gif",
]
HEARD = [name for name in MAKERS if name not in (*SOUNDLESS, "silent.mp4")]

each_kind = pytest.mark.parametrize("kind", list(MAKERS))
each_decoder = pytest.mark.parametrize("decoder", ["av", "ffmpeg"])


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    base = folder / "base.mp4"
    for name, make in MAKERS.items():
        make(base, folder / name)
    return folder


@pytest.fixture(scope="session")
def decoded(clips):
    """Each clip by each decoder, once."""
    made = {}

    def decode(kind, decoder):
        if (kind, decoder) not in made:
            made[kind, decoder] = decode_video(clips / kind, frames=FRAMES, decoder=decoder)
        return made[kind, decoder]

    return decode


# Equality


@each_kind
def test_both_decoders_give_the_same_bytes(decoded, kind):
    one, other = decoded(kind, "av"), decoded(kind, "ffmpeg")
    assert one.num_frames == other.num_frames
    assert one.duration == other.duration
    assert one.audio_state is other.audio_state
    np.testing.assert_array_equal(one.indices, other.indices)
    np.testing.assert_array_equal(one.times, other.times)
    for frame, same in zip(one.frames, other.frames, strict=True):
        np.testing.assert_array_equal(frame, same)
    np.testing.assert_array_equal(one.waveform, other.waveform)


@each_kind
def test_the_frames_are_those_of_a_full_decode(clips, decoded, kind):
    video = decoded(kind, "av")
    everything = all_frames(clips / kind, *SHAPES.get(kind, (64, 96)))
    indices = uniform_indices(len(everything), FRAMES)
    assert video.num_frames == len(everything)
    np.testing.assert_array_equal(video.indices, indices)
    np.testing.assert_array_equal(np.stack(video.frames), everything[indices])


@pytest.mark.parametrize("kind", HEARD)
def test_the_sound_is_the_mean_of_the_channels_at_32_khz(clips, decoded, kind):
    video = decoded(kind, "av")
    samples = all_samples(clips / kind, CHANNELS.get(kind, 2))
    mean = samples.T.copy().mean(axis=0, dtype=np.float32)
    expected = soxr.resample(mean, RATES.get(kind, 44_100), SAMPLE_RATE, quality="HQ")
    np.testing.assert_array_equal(video.waveform, expected)


# Piece by piece


def told_of(path, *, frames=FRAMES, rate=None, decoder="av"):
    return list(decode_events(path, sampling=Sampling(frames, rate), decoder=decoder))


def of_kind(events, kind):
    return [event for event in events if isinstance(event, kind)]


def valid_pictures(events):
    voids = [place for place, event in enumerate(events) if isinstance(event, Again)]
    return of_kind(events[max(voids, default=0) :], Picture)


@each_decoder
def test_sound_comes_before_the_pictures_and_what_it_is_worth_at_the_end(clips, decoder):
    kinds = [type(event) for event in told_of(clips / "base.mp4", decoder=decoder)]
    assert kinds == [Opened, SoundPart, *[Picture] * FRAMES, Ended]


@each_decoder
def test_long_sound_comes_in_parts(tmp_path, decoder):
    clip = draw_clip(tmp_path / "clip.mp4", seconds=0.2, sound_seconds=24.0)
    parts = of_kind(told_of(clip, decoder=decoder), SoundPart)
    assert len(parts) == 3
    assert max(len(part.samples) for part in parts) < 10.5 * SAMPLE_RATE
    assert sum(len(part.samples) for part in parts) == 24 * SAMPLE_RATE


@each_decoder
def test_the_pieces_are_those_of_the_whole(clips, decoded, decoder):
    events = told_of(clips / "offset.mkv", decoder=decoder)
    whole = decoded("offset.mkv", decoder)
    for picture, frame in zip(of_kind(events, Picture), whole.frames, strict=True):
        np.testing.assert_array_equal(picture.image, frame)
    heard = [part.samples for part in of_kind(events, SoundPart)]
    np.testing.assert_array_equal(np.concatenate(heard), whole.waveform)


@each_decoder
@pytest.mark.parametrize(
    ("kind", "container", "codec", "size"),
    [
        ("base.mp4", MP4, "h264", (96, 64)),
        ("turned-90.mp4", MP4, "h264", (64, 96)),
        ("odd-size.mp4", MP4, "mpeg4", (81, 63)),
        ("hevc.mp4", MP4, "hevc", (96, 64)),
        ("hidden-frames.webm", "matroska,webm", "vp8", (96, 64)),
        ("av1.mkv", "matroska,webm", "av1", (96, 64)),
        ("base.ts", "mpegts", "h264", (96, 64)),
    ],
)
def test_the_facts_name_container_and_codec_and_the_size_as_shown(
    clips, decoder, kind, container, codec, size
):
    facts = told_of(clips / kind, frames=1, decoder=decoder)[-1].facts
    assert (facts.container, facts.codec) == (container, codec)
    assert (facts.width, facts.height) == size


@each_decoder
def test_the_file_says_how_long_it_claims_to_be(clips, decoder):
    claims = [
        told_of(clips / name, frames=1, decoder=decoder)[0].seconds
        for name in ("base.mp4", "no-duration.mkv")
    ]
    assert claims == [2.0, 0.0]


@each_decoder
def test_a_rate_takes_frames_by_their_time(clips, decoder):
    """Frames 0 to 8, then those divisible by 3 or 7, are shown until the next one comes."""
    kept = [n for n in range(50) if n < 9 or n % 3 == 0 or n % 7 == 0]
    facts = told_of(clips / "rate-varies.mp4", rate=5.0, decoder=decoder)[-1].facts
    moments = [0.1 + 0.2 * step for step in range(10)]
    expected = [max(n for n in kept if n / 25 <= moment + 1e-9) for moment in moments]
    assert [kept[index] for index in facts.indices] == expected


@pytest.mark.parametrize("kind", ["base.mp4", "b-frames.avi", "edit-list.mp4", "rate-varies.mp4"])
def test_both_decoders_take_the_same_frames_at_a_rate(clips, kind):
    one, other = (told_of(clips / kind, rate=7.0, decoder=name) for name in ("av", "ffmpeg"))
    for picture, same in zip(of_kind(one, Picture), of_kind(other, Picture), strict=True):
        np.testing.assert_array_equal(picture.image, same.image)
    np.testing.assert_array_equal(one[-1].facts.times, other[-1].facts.times)


def test_many_chosen_frames_take_several_processes(clips, decoded, monkeypatch):
    monkeypatch.setattr(with_ffmpeg, "MOST_CHOSEN", 3)
    again = decode_video(clips / "base.mp4", frames=FRAMES, decoder="ffmpeg")
    np.testing.assert_array_equal(again.frames, decoded("base.mp4", "av").frames)


@pytest.mark.parametrize("kind", ["hidden-frames.webm", "b-frames.avi", "mid-group.ts"])
def test_pictures_that_were_void_are_taken_back(clips, kind):
    """The packets are not the frames here, which is only seen once all of it is decoded."""
    events = told_of(clips / kind)
    valid = [picture.image for picture in valid_pictures(events)]
    everything = all_frames(clips / kind, 64, 96)
    np.testing.assert_array_equal(valid, everything[events[-1].facts.indices])


def test_a_damaged_picture_midway_takes_the_others_back(clips, tmp_path):
    path = blank_packet(clips / "long-group.mp4", tmp_path / "clip.mp4", seconds=2.5)
    events = told_of(path)
    assert of_kind(events[: events.index(Again())], Picture)
    everything, facts = all_frames(path, 64, 96), events[-1].facts
    assert facts.partial
    assert facts.num_frames == len(everything) == 124
    valid = [picture.image for picture in valid_pictures(events)]
    np.testing.assert_array_equal(valid, everything[facts.indices])


def test_whoever_stops_listening_leaves_no_process_behind(clips, tmp_path, monkeypatch):
    recorder = tmp_path / "ffmpeg"
    recorder.write_text(f'#!/bin/sh\necho $$ >> {tmp_path}/started\nexec {ffmpeg_binary()} "$@"\n')
    recorder.chmod(0o755)
    monkeypatch.setattr(with_ffmpeg, "ffmpeg_binary", lambda: recorder)
    events = decode_events(clips / "base.mp4", sampling=Sampling(5), decoder="ffmpeg")
    while not isinstance(next(events), Picture):
        pass
    events.close()
    started = (tmp_path / "started").read_text().split()
    assert len(started) == 4
    assert all(_is_soon_gone(int(process)) for process in started)


def test_no_picture_waits_for_the_garbage_collector(clips):
    """A frame of PyAV whose side data was looked at would, with all its pixels."""
    gc.collect()
    gc.disable()
    try:
        pictures = of_kind(told_of(clips / "base.mp4", frames=50), Picture)
        left = gc.collect()
    finally:
        gc.enable()
    assert len(pictures) == 50
    assert left < 50


@pytest.fixture(scope="session")
def hour(tmp_path_factory):
    return draw_long_clip(tmp_path_factory.mktemp("long") / "hour.mp4", minutes=60)


@pytest.mark.slow
@each_decoder
@pytest.mark.parametrize(("rate", "number"), [(None, 12), (1.0, 3600)])
def test_an_hour_takes_no_more_memory_than_a_minute(hour, decoder, rate, number):
    program = (
        "from pathlib import Path;"
        "from vidret.extract.decode import Sampling, decode_events;"
        f"events = decode_events(Path({str(hour)!r}), sampling=Sampling(12, {rate}),"
        f" decoder={decoder!r});"
        "kinds = [type(event).__name__ for event in events];"
        "print(kinds.count('Picture'), kinds.count('SoundPart'));"
        "print(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    pictures, parts, kilobytes = map(int, finished.stdout.split())
    # The sound of each minute is a little longer than its pictures, and so is the hour.
    assert number <= pictures <= number * 1.002
    assert parts > 350
    assert kilobytes < 110_000  # of which python, numpy and PyAV take half


# Frames, times, sound: what is known of a drawn clip


@each_decoder
def test_frames_show_what_was_drawn(decoded, decoder):
    video = decoded("all-key.mp4", decoder)
    drawn = np.stack([draw_picture(number, (96, 64)) for number in range(video.num_frames)])
    for frame, index in zip(video.frames, video.indices, strict=True):
        distances = np.abs(drawn.astype(float) - frame).mean(axis=(1, 2, 3))
        assert distances.argmin() == index


@each_decoder
def test_times_are_those_of_the_indices(decoded, decoder):
    video = decoded("offset.mkv", decoder)
    assert video.indices.tolist() == [3, 10, 17, 24, 31, 38, 45]
    np.testing.assert_allclose(video.times, video.indices / 25, atol=5e-4)  # Matroska: milliseconds


@each_decoder
def test_times_follow_a_frame_rate_that_varies(decoded, decoder):
    kept = [n for n in range(50) if n < 9 or n % 3 == 0 or n % 7 == 0]
    video = decoded("rate-varies.mp4", decoder)
    assert video.num_frames == len(kept)
    np.testing.assert_allclose(video.times, np.array(kept)[video.indices] / 25, atol=1e-9)


@each_decoder
def test_a_short_clip_gives_the_frames_that_it_has(decoded, decoder):
    video = decoded("five.mp4", decoder)
    assert video.indices.tolist() == [0, 1, 2, 3, 4]
    assert len(video.frames) == video.num_frames == 5


@each_decoder
def test_the_duration_is_that_of_the_longer_of_pictures_and_sound(tmp_path, decoder):
    long_pictures = draw_clip(tmp_path / "a.mp4", seconds=1.0, sound_seconds=0.5)
    long_sound = draw_clip(tmp_path / "b.mp4", seconds=0.4, sound_seconds=1.5)
    lengths = [
        decode_video(p, frames=2, decoder=decoder).duration for p in (long_pictures, long_sound)
    ]
    assert lengths == [1.0, 1.5]


@each_decoder
def test_a_tone_keeps_its_level(decoded, decoder):
    """FFmpeg's own downmix of two equal channels would give 0.71."""
    waveform = decoded("base.mp4", decoder).waveform
    assert waveform.dtype == np.float32
    assert len(waveform) == 2 * SAMPLE_RATE
    middle = waveform[4000:-4000]
    assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(0.5, rel=0.01)


@each_decoder
def test_a_tone_on_unequal_channels_comes_out_at_their_mean(decoded, decoder):
    middle = decoded("stereo-48k.mp4", decoder).waveform[4000:-4000]
    assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx((0.8 + 0.2) / 2, rel=0.02)


@each_decoder
@pytest.mark.parametrize("kind", SOUNDLESS)
def test_no_sound_stream_is_a_state(decoded, decoder, kind):
    video = decoded(kind, decoder)
    assert (video.audio_state, video.waveform) == (AudioState.NO_STREAM, None)


@each_decoder
def test_silence_is_a_state(decoded, decoder):
    video = decoded("silent.mp4", decoder)
    assert (video.audio_state, video.waveform) == (AudioState.SILENT, None)


@each_decoder
def test_sound_that_cannot_be_decoded_leaves_the_frames(clips, tmp_path, decoder):
    path = convert_clip(clips / "base.mp4", tmp_path / "broken.mkv", "-c", "copy")
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_QQQ"))
    video = decode_video(path, frames=FRAMES, decoder=decoder)
    assert (video.audio_state, video.waveform) == (AudioState.FAILED, None)
    assert len(video.frames) == FRAMES


# Damage


@each_decoder
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clip.mp4", ("-movflags", "+faststart")),
        ("clip.mkv", ()),
        ("live.mkv", ("-live", "1")),
        ("clip.ts", ()),
    ],
)
def test_a_file_that_breaks_off_is_partial(clips, tmp_path, decoder, name, options):
    whole = convert_clip(clips / "base.mp4", tmp_path / name, "-c", "copy", *options)
    path = tmp_path / f"cut-{name}"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    video = decode_video(path, frames=FRAMES, decoder=decoder)
    assert video.partial
    assert 20 < video.num_frames < 50
    everything = all_frames(path, 64, 96)
    np.testing.assert_array_equal(np.stack(video.frames), everything[video.indices])


@each_decoder
def test_sound_of_which_some_is_lost_makes_a_file_partial(clips, tmp_path, decoder):
    path = blank_sound(clips / "base.mp4", tmp_path / "clip.mp4", every=3)
    video = decode_video(path, frames=FRAMES, decoder=decoder)
    assert (video.audio_state, video.partial) == (AudioState.OK, True)


@each_decoder
def test_a_stream_that_starts_within_a_group_is_partial(decoded, decoder):
    assert decoded("mid-group.ts", decoder).partial


@each_decoder
@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind != "mid-group.ts"])
def test_a_whole_file_is_not_partial(decoded, decoder, kind):
    assert not decoded(kind, decoder).partial


@each_decoder
def test_frames_of_a_size_that_changes_keep_their_own(tmp_path, decoder):
    parts = [
        convert_clip(
            draw_clip(tmp_path / f"{width}.mp4", seconds=0.4, size=(width, 64), levels=()),
            tmp_path / f"{width}.h264",
            "-c",
            "copy",
        )
        for width in (96, 128)
    ]
    path = tmp_path / "both.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    video = decode_video(path, frames=4, decoder=decoder)
    assert [frame.shape for frame in video.frames] == 2 * [(64, 96, 3)] + 2 * [(64, 128, 3)]


@each_decoder
def test_sound_that_is_encrypted_alone_leaves_the_frames(clips, tmp_path, decoder):
    path = tmp_path / "clip.mp4"
    path.write_bytes((clips / "base.mp4").read_bytes().replace(b"mp4a", b"enca"))
    video = decode_video(path, frames=FRAMES, decoder=decoder)
    assert (video.audio_state, video.waveform) == (AudioState.FAILED, None)
    assert (len(video.frames), video.partial) == (FRAMES, False)


# Files that are refused


def a_folder(path, _clips):
    path.mkdir()


def a_pipe(path, _clips):
    os.mkfifo(path)


def a_dangling_link(path, _clips):
    path.symlink_to(path.with_name("gone.mp4"))


def nothing(_path, _clips):
    pass


def an_empty_file(path, _clips):
    path.touch()


def a_text(path, _clips):
    path.write_text("This is not a film.\n" * 50)


def a_web_page(path, _clips):
    path.write_text("<!DOCTYPE html>\n<html><body><h1>404 Not Found</h1></body></html>\n" * 20)


def a_playlist(path, clips):
    target = f"#EXTINF:2,\n{clips / 'base.ts'}\n"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n{target}#EXT-X-ENDLIST\n")


def a_concat_script(path, clips):
    path.write_text(f"ffconcat version 1.0\nfile '{clips / 'base.mp4'}'\n")


def random_bytes(path, _clips):
    path.write_bytes(np.random.default_rng(1).bytes(20_000))


def a_header_without_its_index(path, clips):
    path.write_bytes((clips / "base.mp4").read_bytes()[:20_000])


def a_sound_file(path, clips):
    convert_clip(clips / "base.mp4", path, "-vn", "-c", "copy")


def subtitles_alone(path, _clips):
    lines = path.with_suffix(".srt")
    lines.write_text("1\n00:00:00,000 --> 00:00:02,000\nNobody is there.\n")
    convert_clip(lines, path, "-c:s", "mov_text")


def an_encrypted_film(path, clips):
    scheme = ("-encryption_scheme", "cenc-aes-ctr")
    key = ("-encryption_key", f"{5:032}", "-encryption_kid", f"{5:032}")
    convert_clip(clips / "base.mp4", path, "-c", "copy", *scheme, *key)


REFUSED = {
    a_folder: "is not a regular file",
    a_pipe: "is not a regular file",
    a_dangling_link: "cannot be reached (No such file or directory)",
    nothing: "cannot be reached (No such file or directory)",
    an_empty_file: "is empty",
    a_text: "Invalid data found when processing input",
    a_web_page: "Invalid data found when processing input",
    a_playlist: "Invalid",
    a_concat_script: "Invalid argument",
    random_bytes: "Invalid data found when processing input",
    a_header_without_its_index: "Invalid data found when processing input",
    a_sound_file: "holds no video stream",
    subtitles_alone: "holds no video stream",
    an_encrypted_film: "cannot be decoded, since it is encrypted",
}


@each_decoder
@pytest.mark.parametrize("make", list(REFUSED))
def test_what_is_no_video_is_refused_by_name(clips, tmp_path, decoder, make):
    path = tmp_path / "clip.mp4"
    make(path, clips)
    with pytest.raises(DecodeError) as refusal:
        decode_video(path, frames=FRAMES, decoder=decoder)
    message = str(refusal.value)
    assert message.startswith(f"{path} ")
    assert REFUSED[make] in message
    assert "\n" not in message
    assert "configuration:" not in message
    assert "Copyright" not in message


@each_decoder
def test_a_cover_picture_is_no_video(clips, tmp_path, decoder):
    cover = convert_clip(clips / "base.mp4", tmp_path / "cover.png", "-frames:v", "1")
    path = tmp_path / "song.mp4"
    inputs = ["-i", str(cover), "-map", "0:a", "-map", "1:v", "-c", "copy"]
    convert_clip(clips / "base.mp4", path, *inputs, "-disposition:v", "attached_pic")
    with pytest.raises(DecodeError, match="holds no video stream"):
        decode_video(path, frames=FRAMES, decoder=decoder)


@each_decoder
def test_pictures_that_are_too_large_are_refused(clips, decoder, monkeypatch):
    for module in (files, with_av, with_ffmpeg):
        monkeypatch.setattr(module, "MAX_PIXELS", 96 * 64 - 1)
    with pytest.raises(DecodeError, match="shows 96 x 64 pixels, more than 6,143 in all"):
        decode_video(clips / "base.mp4", frames=FRAMES, decoder=decoder)


@each_decoder
@pytest.mark.parametrize(
    "name",
    [
        "-i.mp4",
        "a:b.mp4",
        "http:x.mp4",
        "%03d.mp4",
        "two words.mp4",
        'it\'s "quoted".mp4',
        "été 日本.mp4",
        "two\nlines.mp4",
        "a,b;[c]|d.mp4",
        os.fsdecode(b"\xff\xfe.mp4"),
    ],
    ids=ascii,
)
def test_hostile_names_are_only_names(clips, tmp_path, monkeypatch, decoder, name):
    (tmp_path / name).write_bytes((clips / "five.mp4").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert decode_video(Path(name), frames=2, decoder=decoder).num_frames == 5
    assert [path.name for path in tmp_path.iterdir()] == [name]


@each_decoder
def test_a_refusal_can_be_printed_whatever_the_name(tmp_path, decoder):
    path = tmp_path / os.fsdecode(b"\xff.mp4")
    path.write_text("not a film")
    with pytest.raises(DecodeError) as refusal:
        decode_video(path, frames=FRAMES, decoder=decoder)
    assert b"\\udcff.mp4" in str(refusal.value).encode()


@pytest.mark.parametrize(("frames", "decoder"), [(0, "av"), (3, "opencv")])
def test_a_senseless_question_is_a_mistake_in_the_settings(clips, frames, decoder):
    with pytest.raises(ConfigError, match=r"frames is 0|choose one of av, ffmpeg"):
        decode_video(clips / "base.mp4", frames=frames, decoder=decoder)


# Processes


def test_a_process_that_hangs_is_killed_at_its_deadline(clips, tmp_path, monkeypatch):
    hanging = tmp_path / "ffmpeg"
    hanging.write_text("#!/bin/sh\nsleep 60 &\necho $! > child\nwait\n")
    hanging.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(with_ffmpeg, "ffmpeg_binary", lambda: hanging)
    monkeypatch.setattr(with_ffmpeg, "START_SECONDS", 0.5)
    started = time.monotonic()
    with pytest.raises(DecodeError, match=r"base\.mp4 cannot be decoded \(no end after 0.5 s"):
        decode_video(clips / "base.mp4", frames=FRAMES, decoder="ffmpeg")
    assert time.monotonic() - started < 5
    assert _is_soon_gone(int(Path("child").read_text()))


def a_deadline(header):
    seconds = with_ffmpeg._seconds(header)
    return with_ffmpeg._Probe(container="avi", codec="h264", sound=None, seconds=seconds).limit


def test_the_deadline_grows_with_the_video():
    header = "[info]   Duration: 01:00:10.50, start: 0.000000, bitrate: 288 kb/s"
    assert a_deadline(header) == pytest.approx(30 + 0.2 * 3610.5)


def test_the_deadline_of_an_unknown_or_absurd_length_is_bounded():
    absurd = "[info]   Duration: 99999:00:00.00, start: 0.000000"
    assert a_deadline("[info]   Duration: N/A") == a_deadline(absurd) == 4350


def test_ffmpeg_reads_nothing_from_our_standard_input(clips):
    program = (
        "from pathlib import Path; from vidret.extract.decode import decode_video;"
        f"decode_video(Path({str(clips / 'five.mp4')!r}), frames=2, decoder='ffmpeg');"
        "print(input())"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], input="still here\n", capture_output=True, text=True
    )
    assert finished.stdout == "still here\n"


def test_a_process_that_decodes_imports_only_what_that_takes(clips):
    program = (
        "import sys, time; from pathlib import Path;"
        "from vidret.extract.decode import decode_video;"
        "print(time.process_time() < 0.5);"
        f"decode_video(Path({str(clips / 'base.mp4')!r}), frames=2);"
        "heavy = {'torch', 'dask', 'distributed', 'h5py', 'ffmpeg', 'imageio_ffmpeg', 'click'};"
        "print(heavy & set(sys.modules))"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert finished.stdout.splitlines() == ["True", "set()"]


# The binary


def a_binary(folder, version):
    folder.mkdir()
    (folder / "ffmpeg").write_text(f"#!/bin/sh\necho ffmpeg version {version} Copyright\n")
    (folder / "ffmpeg").chmod(0o755)
    return folder / "ffmpeg"


@pytest.mark.parametrize("version", ["5.1.9-0+deb12u1", "n9.0.2-17-g2a571b6068", "N-118-gabc"])
def test_a_new_enough_ffmpeg_on_the_path_is_taken(tmp_path, monkeypatch, version):
    binary = a_binary(tmp_path / "bin", version)
    monkeypatch.setenv("PATH", str(binary.parent))
    assert ffmpeg_binary() == binary
    assert decoder_version("ffmpeg") == f"ffmpeg {version}"


@pytest.mark.parametrize("version", ["4.4.2-0ubuntu0.22.04.1", "n5.0"])
def test_an_old_ffmpeg_on_the_path_is_passed_over(tmp_path, monkeypatch, version):
    monkeypatch.setenv("PATH", str(a_binary(tmp_path / "bin", version).parent))
    assert "imageio_ffmpeg" in str(ffmpeg_binary())


def test_no_ffmpeg_at_all_is_missing_and_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "gone"))
    with pytest.raises(MissingError, match="gone does not run as ffmpeg: unset IMAGEIO_FFMPEG_EXE"):
        ffmpeg_binary()


def test_the_version_of_av_names_the_library_inside():
    assert decoder_version("av").startswith("av ")
    assert ", libavcodec " in decoder_version("av")


def _is_soon_gone(process: int) -> bool:
    deadline = time.monotonic() + 5
    while _is_running(process) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not _is_running(process)


def _is_running(process: int) -> bool:
    """Whether it is; the dead whom nobody has fetched yet are not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
