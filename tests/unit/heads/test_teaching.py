import numpy as np
import pytest
import torch
from making.heads import draw_texts, draw_videos
from oracles.of_heads import inputs_of
from oracles.paper import cosine
from torch.testing import assert_close

from vidret.heads.mean import MeanPooling
from vidret.heads.teaching import ask_teacher

TEXTS = draw_texts([3, 0, 1, 5], 6)
VIDEOS = draw_videos([4, 1, 6, 2], 6, 5)


def asked(by, **changes):
    return ask_teacher(TEXTS, VIDEOS, **{"by": by, "share": 0.2, "scale": 20.0} | changes)


def test_nobody_is_asked_for_no_share():
    assert asked("videos", share=0.0) is None


def test_the_videos_say_how_alike_the_means_of_their_frames_are():
    means = MeanPooling().prepare_videos(VIDEOS)
    found = asked("videos")
    assert_close(found.of_texts, (means @ means.T).float())
    assert_close(found.of_videos, found.of_texts)


def test_the_texts_say_how_alike_their_sentences_are():
    found = asked("texts").of_texts
    expected = [[cosine(one, other) for other in TEXTS.sentence] for one in TEXTS.sentence]
    np.testing.assert_allclose(found, np.array(expected), atol=1e-6)


@pytest.mark.parametrize("row", range(4))
def test_the_tokens_say_how_well_words_find_frames_and_frames_words(row):
    given, found = inputs_of(TEXTS, VIDEOS), asked("tokens")
    for other in range(4):
        words, frames = given.words[row], given.frames[other]
        best = [max(cosine(word, frame) for frame in frames) for word in words]
        assert found.of_texts[row, other].item() == pytest.approx(np.mean(best), abs=1e-6)
        words, frames = given.words[other], given.frames[row]
        best = [max(cosine(word, frame) for word in words) for frame in frames]
        assert found.of_videos[row, other].item() == pytest.approx(np.mean(best), abs=1e-6)


@pytest.mark.parametrize("by", ["videos", "texts", "tokens"])
def test_no_gradient_passes_a_teacher(by):
    frames = VIDEOS.frames.clone().requires_grad_()
    videos = type(VIDEOS)(
        frames=frames,
        frame_mask=VIDEOS.frame_mask,
        audio=VIDEOS.audio,
        audio_mask=VIDEOS.audio_mask,
    )
    teacher = ask_teacher(TEXTS, videos, by=by, share=1.0, scale=1.0)
    assert not teacher.of_texts.requires_grad
    assert not teacher.of_videos.requires_grad


def test_a_teacher_is_as_fine_as_a_loss_and_stays_where_the_features_are():
    assert asked("tokens").of_texts.dtype == torch.float32
