import numpy as np
import pytest
import torch
from scipy import signal

from vidret.extract.tiny.sound import EMBEDDING, HOP, MELS, SAMPLE_RATE, WINDOW, TinySound


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return TinySound(12).eval()


def mel(hertz):
    return 1127 * np.log1p(hertz / 700)


def test_each_filter_is_a_triangle_between_the_middles_of_its_neighbours(model):
    edges = 700 * np.expm1(np.linspace(mel(50), mel(14_000), MELS + 2) / 1127)
    bins = np.arange(WINDOW // 2 + 1) * SAMPLE_RATE / WINDOW
    for number in range(MELS):
        expected = np.interp(bins, edges[number : number + 3], [0, 1, 0])
        np.testing.assert_allclose(model.mel[:, number], expected, atol=1e-3)


def test_the_spectrum_is_scipys(model):
    wave = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE // 4)
    found = torch.stft(
        torch.from_numpy(wave).float(), WINDOW, HOP, window=model.window, return_complex=True
    )
    window = signal.get_window("hann", WINDOW)
    padded = np.pad(wave, WINDOW // 2, mode="reflect")
    starts = range(0, len(padded) - WINDOW + 1, HOP)
    expected = np.stack([np.fft.rfft(padded[s : s + WINDOW] * window) for s in starts], axis=1)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-3)


def test_a_tone_lights_the_filters_around_its_pitch(model):
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    for hertz in (300.0, 1000.0, 5000.0):
        spectrum = np.abs(
            np.fft.rfft(np.sin(2 * np.pi * hertz * time)[:WINDOW] * np.hanning(WINDOW))
        )
        bands = spectrum**2 @ model.mel.numpy()
        middles = 700 * np.expm1(np.linspace(mel(50), mel(14_000), MELS + 2)[1:-1] / 1127)
        assert abs(mel(middles[bands.argmax()]) - mel(hertz)) < 2 * (mel(14_000) - mel(50)) / MELS


@pytest.mark.parametrize("samples", [9_920, 32_000, 100_001])
def test_the_outputs_are_named_as_cnn14_names_them(model, samples):
    with torch.inference_mode():
        output = model(torch.randn(3, samples, generator=torch.Generator().manual_seed(0)))
    assert output["embedding"].shape == (3, EMBEDDING)
    assert output["clipwise_output"].shape == (3, 12)
    assert (output["embedding"] >= 0).all()
    assert ((output["clipwise_output"] > 0) & (output["clipwise_output"] < 1)).all()


def test_a_sound_is_embedded_alone_as_among_others(model):
    waves = torch.randn(4, 20_000, generator=torch.Generator().manual_seed(1)) / 10
    with torch.inference_mode():
        together = model(waves)["embedding"]
        alone = torch.cat([model(wave[None])["embedding"] for wave in waves])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_silence_gives_finite_numbers(model):
    with torch.inference_mode():
        assert torch.isfinite(model(torch.zeros(1, 32_000))["embedding"]).all()


def test_the_filters_are_computed_and_not_stored(model):
    assert not {"window", "mel"} & model.state_dict().keys()
