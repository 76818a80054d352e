"""From samples to 32 kHz mono."""

import logging
from pathlib import Path

import numpy as np
import pytest

from vidret.data.samples import AudioState
from vidret.extract.decoding.sound import SoundBlock, mono, sound_of

CLIP = Path("clip.mp4")


def a_tone(rate, seconds=0.5, level=0.5):
    time = np.arange(round(rate * seconds)) / rate
    return (level * np.sin(2 * np.pi * 440 * time)).astype(np.float32)


def test_mono_is_the_mean_of_the_channels():
    heard = mono(np.array([[1.0, 0.5], [0.0, -0.5]], np.float32))
    assert heard.tolist() == [0.5, 0.0]
    assert heard.dtype == np.float32


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (np.array([[0, 64, 128, 255]], np.uint8), [-1.0, -0.5, 0.0, 127 / 128]),
        (np.array([[-(2**15), 0, 2**14]], np.int16), [-1.0, 0.0, 0.5]),
        (np.array([[-(2**31), 0, 2**30]], np.int32), [-1.0, 0.0, 0.5]),
        (np.array([[-0.25, 1.5]], np.float64), [-0.25, 1.5]),
    ],
)
def test_whole_numbers_become_parts_of_full_scale(samples, expected):
    assert mono(samples).tolist() == expected


def test_sound_at_32_khz_is_left_as_it_is():
    tone = a_tone(32_000)
    sound = sound_of(
        CLIP, [SoundBlock(32_000, tone[:99]), SoundBlock(32_000, tone[99:])], complaint=""
    )
    assert np.array_equal(sound.waveform, tone)


def test_a_tone_keeps_its_level_and_its_length_at_another_rate():
    sound = sound_of(CLIP, [SoundBlock(48_000, a_tone(48_000))], complaint="")
    assert sound.seconds == 0.5
    expected = a_tone(32_000)
    assert np.abs(sound.waveform - expected)[500:-500].max() < 1e-3


def test_a_stream_that_changes_its_rate_is_joined_at_32_khz():
    blocks = [SoundBlock(48_000, a_tone(48_000)), SoundBlock(16_000, a_tone(16_000, level=0.25))]
    sound = sound_of(CLIP, blocks, complaint="")
    assert len(sound.waveform) == 32_000
    assert np.abs(sound.waveform[1000:15_000]).max() == pytest.approx(0.5, abs=1e-3)
    assert np.abs(sound.waveform[17_000:31_000]).max() == pytest.approx(0.25, abs=1e-3)


@pytest.mark.parametrize(("level", "state"), [(9e-5, AudioState.SILENT), (2e-4, AudioState.OK)])
def test_silence_ends_at_minus_80_decibels(level, state):
    sound = sound_of(CLIP, [SoundBlock(32_000, a_tone(32_000, level=level))], complaint="")
    assert sound.state is state
    assert (sound.waveform is None) == (state is AudioState.SILENT)
    assert sound.seconds == 0.5


def test_a_stream_without_samples_is_silent():
    assert sound_of(CLIP, [], complaint="").state is AudioState.SILENT


def test_a_stream_without_samples_but_with_trouble_has_failed(caplog):
    with caplog.at_level(logging.WARNING):
        sound = sound_of(CLIP, [], complaint="Invalid data found")
    assert sound.state is AudioState.FAILED
    assert "clip.mp4: the sound cannot be decoded (Invalid data found)" in caplog.text


def test_trouble_in_part_of_the_sound_keeps_the_rest():
    sound = sound_of(CLIP, [SoundBlock(32_000, a_tone(32_000))], complaint="Invalid data found")
    assert sound.state is AudioState.OK


def test_samples_that_are_not_numbers_have_failed():
    samples = np.array([0.1, np.nan], np.float32)
    assert sound_of(CLIP, [SoundBlock(32_000, samples)], complaint="").state is AudioState.FAILED
