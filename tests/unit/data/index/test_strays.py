import numpy as np
import pytest
from scipy.special import softmax

from vidret.data.index.strays import (
    SHARPNESS,
    empty_strays,
    find_basis,
    load_strays,
    make_strays,
)

DIM, FRAMES = 12, 5
NO_WORDS = np.zeros((0, DIM))


def drawn(count=40, seed=0):
    """Frames of any length, and which of them there are: at least one a video."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(count, 1, DIM))
    frames = (own + 0.8 * rng.normal(size=(count, FRAMES, DIM))).astype(np.float32)
    return frames, np.arange(FRAMES) < rng.integers(1, FRAMES + 1, size=(count, 1))


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def strays_of(frames, shown):
    return make_strays(find_basis(frames, shown), frames, shown)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_the_guess_is_the_product_with_the_frames_weighed_by_how_they_fit(number):
    """Video by video in float64; the part of the frames' sum along the mean is taken as it was."""
    frames, shown = drawn()
    sentence, *words = unit(np.random.default_rng(1).normal(size=(1 + number, DIM)))
    products, expected = [], []
    for own, there in zip(frames.astype(np.float64), shown, strict=True):
        units = unit(own[there])
        mean = units.mean(0)
        weights = softmax(SHARPNESS * DIM**0.5 * units @ sentence)
        if words:
            by_words = softmax(SHARPNESS * DIM**0.5 * units @ (sum(words) / number))
            weights = (weights + by_words) / 2
        moved = weights @ units - mean
        products.append(mean @ sentence / np.linalg.norm(mean))
        length = np.hypot(np.linalg.norm(mean), np.linalg.norm(moved))
        expected.append((mean + moved) @ sentence / length)
    guessed = strays_of(frames, shown).sharpened(
        np.array(products), sentence, np.array(words).reshape(-1, DIM)
    )
    np.testing.assert_allclose(guessed, expected, atol=0.015)  # places are told in whole steps
    assert np.abs(guessed - products).max() > 0.06


def test_a_video_of_one_frame_keeps_its_product():
    frames, _ = drawn()
    shown = np.arange(FRAMES) < np.ones((len(frames), 1))
    products = np.linspace(-1, 1, len(frames))
    guessed = strays_of(frames, shown).sharpened(products, unit(np.ones(DIM)), NO_WORDS)
    np.testing.assert_allclose(guessed, products, atol=1e-5)


def test_what_lies_behind_the_frames_of_a_video_does_not_matter():
    frames, shown = drawn()
    other = np.where(shown[..., None], frames, 1e4 * np.ones_like(frames))
    basis, sentence = find_basis(frames, shown), unit(np.ones(DIM))
    first, second = make_strays(basis, frames, shown), make_strays(basis, other, shown)
    products = np.zeros(len(frames))
    assert np.array_equal(
        first.sharpened(products, sentence, NO_WORDS),
        second.sharpened(products, sentence, NO_WORDS),
    )


def test_a_video_that_shows_it_once_comes_before_one_that_half_fits():
    """Their means fit alike; one has a frame that is the sentence itself."""
    sentence, beside = np.eye(2, DIM)
    once = np.stack([sentence, beside, beside, beside, beside])
    half = unit(np.stack([0.25 * sentence + beside] * FRAMES))
    frames = np.stack([once, half]).astype(np.float32)
    frames = np.concatenate([frames, drawn()[0]])
    shown = np.ones(frames.shape[:2], bool)
    first, second = strays_of(frames, shown)[np.array([0, 1])].sharpened(
        np.array([0.2425, 0.2425]), sentence, NO_WORDS
    )
    assert first > second + 0.1
    assert second == pytest.approx(0.2425, abs=0.02)


def test_a_sentence_that_no_frame_strays_towards_moves_nothing_far():
    frames, shown = drawn()
    basis = find_basis(frames, shown)
    calm = make_strays(basis, np.repeat(frames[:, :1], FRAMES, 1), np.ones_like(shown))
    products = np.linspace(-1, 1, len(frames))
    np.testing.assert_allclose(
        calm.sharpened(products, unit(np.ones(DIM)), NO_WORDS), products, atol=1e-5
    )


def test_a_file_gives_back_what_was_saved(tmp_path):
    strays = strays_of(*drawn())
    strays.save(tmp_path / "strays.npz")
    again = load_strays(tmp_path / "strays.npz", videos=40)
    products, sentence = np.zeros(40), unit(np.ones(DIM))
    assert np.array_equal(
        again.sharpened(products, sentence, NO_WORDS),
        strays.sharpened(products, sentence, NO_WORDS),
    )


def test_a_file_of_other_videos_is_refused(tmp_path):
    strays_of(*drawn()).save(tmp_path / "strays.npz")
    with pytest.raises(ValueError, match="40 strays of 41 videos"):
        load_strays(tmp_path / "strays.npz", videos=41)


def test_what_is_put_in_is_there():
    frames, shown = drawn()
    strays = strays_of(frames, shown)
    room = empty_strays(strays.basis, len(frames), FRAMES)
    room.put(np.arange(20, 40), strays[np.arange(20)])
    room.put(np.arange(20), strays[np.arange(20, 40)])
    turned = np.roll(np.arange(40), 20)
    assert np.array_equal(room.places, strays.places[turned])
    assert np.array_equal(room.shown, strays.shown[turned])
    assert np.array_equal(room.lengths, strays.lengths[turned])
