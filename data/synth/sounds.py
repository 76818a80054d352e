"""The sounds of the synthetic world, each synthesised from a few sines, sweeps and noise."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float64]


def make_sound(source: str, seconds: float, rate: int, rng: np.random.Generator) -> Wave:
    """One source heard over faint noise, in its own pitch and loudness each time."""
    t = np.arange(round(seconds * rate)) / rate
    wave = SOURCES[source](t, rng)
    wave = wave / max(float(np.abs(wave).max()), 1e-9)
    return wave * rng.uniform(0.3, 0.8) + rng.normal(0, rng.uniform(0.001, 0.01), len(t))


def make_ambience(seconds: float, rate: int, rng: np.random.Generator) -> Wave:
    """The faint noise of a room in which nothing happens."""
    return rng.normal(0, rng.uniform(0.005, 0.02), round(seconds * rate))


def _bell(t: Wave, rng: np.random.Generator) -> Wave:
    pitch = rng.uniform(500, 900)
    partials = ((1.0, 1.0), (2.76, 0.6), (5.4, 0.4), (8.9, 0.2))
    return _repeat(
        t,
        rng.uniform(1.0, 1.6),
        rng,
        lambda s: sum(a * np.sin(2 * np.pi * pitch * f * s) for f, a in partials) * np.exp(-3 * s),
    )


def _drum(t: Wave, rng: np.random.Generator) -> Wave:
    pitch = rng.uniform(70, 110)
    noise = rng.normal(0, 0.15, len(t))

    def beat(s: Wave) -> Wave:
        return np.sin(2 * np.pi * pitch * (s + 0.05 * np.exp(-30 * s))) * np.exp(-12 * s)

    beats = _repeat(t, rng.uniform(0.35, 0.55), rng, beat)
    return beats + noise * np.abs(beats)


def _whistle(t: Wave, rng: np.random.Generator) -> Wave:
    pitch = rng.uniform(2200, 3000)
    trill = 1 + 0.03 * np.sin(2 * np.pi * rng.uniform(20, 30) * t)
    return _sing(t, pitch * trill) * _gate(t, rng.uniform(0.8, 1.2), 0.6, rng)


def _siren(t: Wave, rng: np.random.Generator) -> Wave:
    low, span = rng.uniform(450, 600), rng.uniform(500, 700)
    swing = 0.5 + 0.5 * np.sin(2 * np.pi * t / rng.uniform(1.5, 2.5))
    wave = _sing(t, low + span * swing)
    return wave + 0.3 * wave**3


def _bee(t: Wave, rng: np.random.Generator) -> Wave:
    pitch = rng.uniform(180, 240) * (1 + 0.04 * np.sin(2 * np.pi * rng.uniform(0.5, 1.5) * t))
    return _saw(t, pitch) * (0.7 + 0.3 * np.sin(2 * np.pi * rng.uniform(3, 6) * t))


def _clock(t: Wave, rng: np.random.Generator) -> Wave:
    pitch = rng.uniform(1800, 2600)
    return _repeat(
        t, rng.uniform(0.4, 0.55), rng, lambda s: np.sin(2 * np.pi * pitch * s) * np.exp(-150 * s)
    )


def _bird(t: Wave, rng: np.random.Generator) -> Wave:
    pitch = rng.uniform(3500, 4800)

    def chirp(s: Wave) -> Wave:
        return (
            np.sin(2 * np.pi * (pitch * s - 4000 * s**2))
            * (s < 0.12)
            * np.sin(np.pi * np.minimum(s / 0.12, 1))
        )

    return _repeat(t, rng.uniform(0.16, 0.24), rng, chirp) * _gate(t, 1.2, 0.6, rng)


def _phone(t: Wave, rng: np.random.Generator) -> Wave:
    low = rng.uniform(420, 460)
    tone = np.sin(2 * np.pi * low * t) + np.sin(2 * np.pi * (low + 40) * t)
    return tone * _gate(t, 0.08, 0.5, rng) * _gate(t, rng.uniform(1.4, 2.0), 0.5, rng)


def _car(t: Wave, rng: np.random.Generator) -> Wave:
    pitch = rng.uniform(45, 70) * (1 + 0.1 * np.sin(2 * np.pi * t / rng.uniform(2, 4)))
    return _saw(t, pitch) + 0.4 * _smooth(rng.normal(0, 1, len(t)), 40)


def _trumpet(t: Wave, rng: np.random.Generator) -> Wave:
    notes = rng.choice([1.0, 1.26, 1.5, 2.0], size=int(t[-1] / 0.5) + 1)
    pitch = rng.uniform(280, 360) * notes[(t / 0.5).astype(int)]
    vibrato = 1 + 0.005 * np.sin(2 * np.pi * 6 * t)
    wave = sum(_sing(t, pitch * vibrato * k) / k for k in range(1, 7))
    return wave * _gate(t, 0.5, 0.85, rng, phase=0.0)


def _frog(t: Wave, rng: np.random.Generator) -> Wave:
    pitch, rate = rng.uniform(500, 700), rng.uniform(25, 40)
    pulses = np.maximum(np.sin(2 * np.pi * rate * t), 0) ** 3
    return np.sin(2 * np.pi * pitch * t) * pulses * _gate(t, rng.uniform(0.6, 0.9), 0.5, rng)


def _rain(t: Wave, rng: np.random.Generator) -> Wave:
    drops = rng.normal(0, 1, len(t)) * (rng.random(len(t)) < 0.02)
    return _smooth(rng.normal(0, 1, len(t)), 3) + 2 * drops


SOURCES: dict[str, Callable[[Wave, np.random.Generator], Wave]] = {
    "bell": _bell,
    "drum": _drum,
    "whistle": _whistle,
    "siren": _siren,
    "bee": _bee,
    "clock": _clock,
    "bird": _bird,
    "phone": _phone,
    "car": _car,
    "trumpet": _trumpet,
    "frog": _frog,
    "rain": _rain,
}


def _repeat(
    t: Wave, period: float, rng: np.random.Generator, strike: Callable[[Wave], Wave]
) -> Wave:
    """The same strike every `period` seconds, starting anywhere in the first."""
    return strike((t + rng.uniform(0, period)) % period)


def _gate(
    t: Wave, period: float, share: float, rng: np.random.Generator, *, phase: float | None = None
) -> Wave:
    """1 for a share of every period, else 0, with soft edges."""
    phase = rng.uniform(0, period) if phase is None else phase
    position = ((t + phase) % period) / period
    return np.clip(20 * np.minimum(position, share - position), 0, 1)


def _sing(t: Wave, pitch: Wave) -> Wave:
    """A sine whose pitch may change at every sample."""
    step = t[1] - t[0]
    return np.sin(2 * np.pi * np.cumsum(np.broadcast_to(pitch, t.shape)) * step)


def _saw(t: Wave, pitch: Wave) -> Wave:
    step = t[1] - t[0]
    return 2 * (np.cumsum(np.broadcast_to(pitch, t.shape)) * step % 1) - 1


def _smooth(noise: Wave, width: int) -> Wave:
    return np.convolve(noise, np.ones(width) / width, mode="same")
