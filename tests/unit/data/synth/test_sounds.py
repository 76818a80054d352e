import numpy as np
import pytest

from vidret.data.synth.sounds import SOURCES, make_ambience, make_sound
from vidret.data.synth.world import PROPS

RATE = 32_000
BANDS = np.geomspace(40, 16_000, 25)


def sound(source, seed=0, seconds=5.0, rate=RATE):
    return make_sound(source, seconds, rate, np.random.default_rng(seed))


def listen(wave):
    """Decibels below the loudest band of frequency, and how much the loudness varies in time."""
    power = np.abs(np.fft.rfft(wave)) ** 2
    band = np.digitize(np.fft.rfftfreq(len(wave), 1 / RATE), BANDS)
    levels = np.array([10 * np.log10(power[band == b].mean()) for b in range(1, len(BANDS))])
    pieces = wave[: len(wave) // 640 * 640].reshape(-1, 640)
    energy = np.sqrt((pieces**2).mean(-1))
    return (levels - levels.max()).clip(min=-30), energy.std() / energy.mean()


def test_every_small_thing_has_a_sound():
    assert SOURCES.keys() == PROPS.keys()


@pytest.mark.parametrize("rate", [32_000, 44_100, 48_000])
@pytest.mark.parametrize("source", SOURCES)
def test_a_sound_is_as_long_as_asked_finite_in_range_and_loud_enough(source, rate):
    for seed in range(5):
        wave = sound(source, seed, seconds=5.03, rate=rate)
        assert len(wave) == round(5.03 * rate)
        assert np.isfinite(wave).all()
        assert 0.2 < np.abs(wave).max() < 1


@pytest.mark.parametrize("source", SOURCES)
def test_a_sound_follows_its_generator(source):
    assert np.array_equal(sound(source, 3), sound(source, 3))
    assert not np.array_equal(sound(source, 3), sound(source, 4))


def test_a_simple_ear_tells_all_sources_apart():
    heard = [(source, *listen(sound(source, seed))) for source in SOURCES for seed in range(6)]
    for number, (source, spectrum, beat) in enumerate(heard):
        others = [
            (np.abs(spectrum - other).mean() + 3 * abs(beat - pulse), name)
            for row, (name, other, pulse) in enumerate(heard)
            if row != number
        ]
        assert min(others)[1] == source


def test_ambience_is_faint_noise_but_not_silence():
    wave = make_ambience(2.0, RATE, np.random.default_rng(0))
    assert len(wave) == 2 * RATE
    assert 0.004 < wave.std() < 0.021
    assert np.abs(wave).max() < 0.15
