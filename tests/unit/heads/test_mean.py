import numpy as np
import pytest
import torch
from making.heads import draw_texts, draw_videos
from torch.testing import assert_close

from vidret.data.batches import Texts, Videos
from vidret.data.errors import DamagedError
from vidret.heads.mean import MeanPooling

TEXTS = draw_texts([3, 5], 8)
VIDEOS = draw_videos([4, 1, 6], 8, 2)


def one_pair(sentence: list[float], frames: list[list[float]]) -> float:
    texts = Texts(
        sentence=torch.tensor([sentence]),
        words=torch.zeros(1, 1, len(sentence)),
        word_mask=torch.ones(1, 1, dtype=torch.bool),
    )
    videos = Videos(
        frames=torch.tensor([frames]),
        frame_mask=torch.ones(1, len(frames), dtype=torch.bool),
        audio=torch.zeros(1, 1),
        audio_mask=torch.ones(1, dtype=torch.bool),
    )
    return MeanPooling()(texts, videos).item()


def test_a_frame_counts_by_its_direction_not_its_length():
    assert one_pair([1.0, 0.0], [[100.0, 0.0], [0.0, 1.0]]) == pytest.approx(0.5**0.5)


def test_the_similarity_is_a_cosine():
    assert one_pair([3.0, 4.0], [[6.0, 8.0]]) == pytest.approx(1.0)
    assert one_pair([3.0, 4.0], [[-4.0, 3.0]]) == pytest.approx(0.0)


def test_padding_does_not_count():
    video = VIDEOS.frames[0, :4].numpy()
    mean = np.mean(video / np.linalg.norm(video, axis=1, keepdims=True), axis=0)
    text = TEXTS.sentence[1].numpy()
    expected = mean @ text / np.linalg.norm(mean) / np.linalg.norm(text)
    assert MeanPooling()(TEXTS, VIDEOS)[1, 0].item() == pytest.approx(expected, abs=1e-12)


def test_its_one_part_is_the_similarity():
    assert_close(MeanPooling().parts(TEXTS, VIDEOS), {"frames": MeanPooling()(TEXTS, VIDEOS)})


def test_every_real_frame_weighs_the_same():
    expected = torch.tensor([0.25, 0.25, 0.25, 0.25, 0, 0], dtype=torch.float64)
    assert_close(MeanPooling().frame_weights(TEXTS, VIDEOS)[1, 0], expected)


def test_there_is_nothing_to_learn():
    assert list(MeanPooling().parameters()) == []


def test_a_video_without_frames_is_refused_by_its_row():
    with pytest.raises(DamagedError, match="row 1 of a batch of 2 videos has no frames"):
        MeanPooling()(TEXTS, draw_videos([2, 0], 8, 2))
