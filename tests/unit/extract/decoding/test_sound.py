"""From samples to 32 kHz mono."""

import logging
from pathlib import Path

import numpy as np
import pytest
import soxr

from vidret.data.samples import AudioState
from vidret.extract.decoding import sound
from vidret.extract.decoding.sound import PART_SECONDS, Listener, mono

CLIP = Path("clip.mp4")


def a_tone(rate, seconds=0.5, level=0.5):
    time = np.arange(round(rate * seconds)) / rate
    return (level * np.sin(2 * np.pi * 440 * time)).astype(np.float32)


def listen(*blocks, complaint="", lost=False):
    """What is heard of some (samples of one channel, rate), in parts, and what it is worth."""
    listener = Listener(CLIP)
    parts = [part.samples for block, rate in blocks for part in listener.hear([block], rate)]
    parts += [part.samples for part in listener.rest()]
    listener.complaint = complaint
    return parts, listener.verdict(lost=lost)


def test_mono_is_the_mean_of_the_channels():
    heard = mono([np.array([1.0, 0.5], np.float32), np.array([0.0, -0.5], np.float32)])
    assert heard.tolist() == [0.5, 0.0]
    assert heard.dtype == np.float32


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (np.array([0, 64, 128, 255], np.uint8), [-1.0, -0.5, 0.0, 127 / 128]),
        (np.array([-(2**15), 0, 2**14], np.int16), [-1.0, 0.0, 0.5]),
        (np.array([-(2**31), 0, 2**30], np.int32), [-1.0, 0.0, 0.5]),
        (np.array([-0.25, 1.5], np.float64), [-0.25, 1.5]),
    ],
)
def test_whole_numbers_become_parts_of_full_scale(samples, expected):
    assert mono([samples]).tolist() == expected


def test_sound_at_32_khz_is_left_as_it_is():
    tone = a_tone(32_000)
    parts, _ = listen((tone[:99], 32_000), (tone[99:], 32_000))
    assert np.array_equal(np.concatenate(parts), tone)


def test_a_tone_keeps_its_level_and_its_length_at_another_rate():
    parts, verdict = listen((a_tone(48_000), 48_000))
    assert verdict.seconds == 0.5
    expected = a_tone(32_000)
    assert np.abs(np.concatenate(parts) - expected)[500:-500].max() < 1e-3


@pytest.mark.parametrize("rate", [8000, 44_100, 96_000])
def test_the_parts_are_what_one_call_for_the_whole_sound_gives(rate):
    whole = np.random.default_rng(rate).uniform(-1, 1, 25 * rate + 17).astype(np.float32)
    parts, _ = listen(*((block, rate) for block in np.array_split(whole, 999)))
    expected = soxr.resample(whole, rate, 32_000, quality="HQ")
    assert len(parts) == 3
    np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_a_part_is_no_longer_than_some_seconds():
    block = a_tone(44_100, seconds=0.1)
    parts, verdict = listen(*[(block, 44_100)] * 350)
    assert verdict.seconds == pytest.approx(35)
    assert max(map(len, parts)) <= (PART_SECONDS + 0.1) * 32_000


def test_a_part_of_many_channels_is_shorter(monkeypatch):
    monkeypatch.setattr(sound, "PART_VALUES", 6 * 1000)
    listener = Listener(CLIP)
    block = np.zeros(100, np.float32)
    parts = [part for _ in range(30) for part in listener.hear([block] * 6, 32_000)]
    assert [len(part.samples) for part in parts] == [1000, 1000, 1000]


def test_a_stream_that_changes_its_rate_is_joined_at_32_khz():
    parts, _ = listen((a_tone(48_000), 48_000), (a_tone(16_000, level=0.25), 16_000))
    heard = np.concatenate(parts)
    assert len(heard) == 32_000
    assert np.abs(heard[1000:15_000]).max() == pytest.approx(0.5, abs=1e-3)
    assert np.abs(heard[17_000:31_000]).max() == pytest.approx(0.25, abs=1e-3)


def test_a_stream_that_changes_its_channels_is_joined():
    listener = Listener(CLIP)
    tone = a_tone(32_000)
    parts = [*listener.hear([tone, np.zeros_like(tone)], 32_000), *listener.hear([tone], 32_000)]
    parts += listener.rest()
    heard = np.concatenate([part.samples for part in parts])
    np.testing.assert_array_equal(heard, np.concatenate([tone / 2, tone]))


@pytest.mark.parametrize(("level", "state"), [(9e-5, AudioState.SILENT), (2e-4, AudioState.OK)])
def test_silence_ends_at_minus_80_decibels(level, state):
    _, verdict = listen((a_tone(32_000, level=level), 32_000))
    assert (verdict.state, verdict.seconds) == (state, 0.5)


def test_one_loud_part_makes_a_file_heard():
    quiet, loud = np.zeros(32_000 * PART_SECONDS, np.float32), a_tone(32_000)
    _, verdict = listen((quiet, 32_000), (loud, 32_000), (quiet, 32_000))
    assert verdict.state is AudioState.OK


def test_a_stream_without_samples_is_silent():
    assert listen()[1].state is AudioState.SILENT


def test_a_stream_without_samples_but_with_trouble_has_failed(caplog):
    with caplog.at_level(logging.WARNING):
        _, verdict = listen(complaint="Invalid data found")
    assert verdict.state is AudioState.FAILED
    assert "clip.mp4: the sound cannot be decoded (Invalid data found)" in caplog.text


def test_trouble_in_part_of_the_sound_keeps_the_rest():
    _, verdict = listen((a_tone(32_000), 32_000), complaint="Invalid data found")
    assert (verdict.state, verdict.damaged) == (AudioState.OK, True)


def test_sound_without_trouble_is_not_damaged():
    _, verdict = listen((a_tone(32_000), 32_000))
    assert not verdict.damaged


def test_a_decoder_that_was_stopped_midway_has_failed():
    _, verdict = listen((a_tone(32_000), 32_000), complaint="no end after 30 s", lost=True)
    assert (verdict.state, verdict.seconds) == (AudioState.FAILED, 0.0)


@pytest.mark.parametrize("rate", [32_000, 48_000])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_samples_that_are_not_numbers_have_failed(rate, number, caplog):
    samples = np.array([0.1, number], np.float32)
    parts, verdict = listen((a_tone(rate), rate), (samples, rate), (a_tone(rate), rate))
    assert verdict.state is AudioState.FAILED
    assert all(np.isfinite(part).all() for part in parts)
    assert "samples that are not numbers" in caplog.text
