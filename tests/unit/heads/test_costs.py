import pytest
import torch

from vidret.heads.catalog import build_retriever
from vidret.heads.costs import Shape, measure_cost, random_texts, random_videos
from vidret.heads.scoring import TEXTS_PER_BLOCK, VIDEOS_PER_CPU_BLOCK

SHAPE = Shape(words=5, frames=4, dim=32, audio_dim=8)


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch):
    monkeypatch.setattr("vidret.heads.costs.LONG_ENOUGH", 0.002)
    monkeypatch.setattr("vidret.heads.costs.ROUNDS", 1)


def cost_of(head, shape=SHAPE):
    retriever = build_retriever(
        head, dim=shape.dim, audio_dim=shape.audio_dim, logit_scale=100.0, seed=0
    )
    return measure_cost(retriever, shape)


def test_the_mean_takes_one_product_of_two_vectors_a_pair():
    assert cost_of("mean").flops == 2 * SHAPE.dim


@pytest.mark.parametrize("head", ["mean", "s-f", "hcmi"])
def test_sound_adds_one_product_of_two_vectors(head):
    assert cost_of(f"{head}+cmfi").flops - cost_of(head).flops == 2 * SHAPE.dim


@pytest.mark.parametrize("words", [1, 3, 20])
def test_mgfi_takes_the_products_that_its_scoring_path_is_said_to_take(words):
    frames, dim = 4, 32
    rows, hidden = frames + 1, dim
    scores = (words + 1) * frames * dim  # equations 1, 2, 4 and 5
    variances = 2 * frames * frames  # of both branches, inside LN
    tables = rows * rows + rows * dim  # w (U U^T) w and U x
    layers = 2 * rows * hidden + hidden * rows  # of both branches, and back
    second = hidden * hidden  # one block: a triangle of 32 has no room for more
    cost = cost_of("mgfi", Shape(words=words, frames=frames, dim=dim, audio_dim=8))
    assert cost.flops == 2 * (scores + variances + tables + layers + second)


def test_what_one_side_decides_alone_is_no_cost_of_a_pair():
    assert cost_of("seq-transf").flops == cost_of("mean").flops
    assert cost_of("seq-transf").video_seconds > 0


def test_words_against_frames_grow_with_both():
    few, many = (
        cost_of("wti", Shape(words=words, frames=4, dim=32, audio_dim=8)) for words in (5, 10)
    )
    assert many.flops == pytest.approx(2 * few.flops, rel=0.1)


def test_blocks_grow_until_the_clock_can_tell_or_scoring_takes_no_larger_ones(monkeypatch):
    monkeypatch.setattr("vidret.heads.costs.LONG_ENOUGH", 1e9)
    cost = cost_of("mean")
    assert (cost.texts, cost.videos) == (TEXTS_PER_BLOCK, VIDEOS_PER_CPU_BLOCK)
    monkeypatch.setattr("vidret.heads.costs.LONG_ENOUGH", 0.0)
    assert cost_of("mean").texts < TEXTS_PER_BLOCK


def test_a_small_budget_is_kept_while_measuring():
    retriever = build_retriever("mgfi", dim=32, audio_dim=8, logit_scale=100.0)
    cost = measure_cost(retriever, SHAPE, memory=200_000)
    assert cost.texts * cost.videos < TEXTS_PER_BLOCK * VIDEOS_PER_CPU_BLOCK


def test_measuring_leaves_the_head_as_it_was():
    retriever = build_retriever("xpool", dim=32, audio_dim=8, logit_scale=100.0).train()
    before = {name: value.clone() for name, value in retriever.state_dict().items()}
    measure_cost(retriever, SHAPE)
    assert retriever.training
    assert all(torch.equal(before[name], value) for name, value in retriever.state_dict().items())


def test_the_same_shape_is_the_same_texts_and_videos():
    cpu = torch.device("cpu")
    assert torch.equal(random_texts(3, SHAPE, cpu).words, random_texts(3, SHAPE, cpu).words)
    assert random_videos(3, SHAPE, cpu).frames.shape == (3, SHAPE.frames, SHAPE.dim)
