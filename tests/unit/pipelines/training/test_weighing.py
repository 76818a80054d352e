import numpy as np
import pytest
import torch
from making.planted import AUDIO_DIM, DIM, load_split, write_planted_cache

from vidret.heads.catalog import build_retriever
from vidret.pipelines.training.learners import measure
from vidret.pipelines.training.weighing import GRID, choose_audio_weight


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_planted_cache(tmp_path_factory.mktemp("planted"), splits={"val": 24})


@pytest.fixture
def val(folder):
    return load_split(folder, "val")


def a_head(seed=0):
    return build_retriever(
        "mgfi+cmfi", dim=DIM, audio_dim=AUDIO_DIM, logit_scale=20.0, seed=seed
    ).eval()


def numbers_of(retriever, split, weight):
    """R@1 and mean rank of one weight, by a plain sum of the two halves; a tie of two is half."""
    with torch.inference_mode():
        parts = retriever.parts(split.texts[:], split.videos)
    sound = parts.pop("audio").double().numpy()
    scores = sum(part.double().numpy() for part in parts.values()) + weight * sound
    ranks, hits = [], []
    for row, own in zip(scores, split.owners.tolist(), strict=True):
        better, alike = (row > row[own] + 1e-6).sum(), (abs(row - row[own]) <= 1e-6).sum()
        ranks.append(1 + better + (alike - 1) / 2)
        hits.append(0 if better else 1 / alike)
    return 100 * np.mean(hits), np.mean(ranks)


@pytest.mark.parametrize("seed", range(4))
def test_the_weight_with_the_highest_recall_then_the_lowest_rank_is_chosen(val, seed):
    retriever = a_head(seed)
    found = choose_audio_weight(retriever, val)
    assert [one["weight"] for one in found.tried] == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2]
    retriever.audio_weight.fill_(1.0)
    expected = {weight: numbers_of(retriever, val, weight) for weight in GRID}
    for one in found.tried:
        assert (one["R@1"], one["MnR"]) == pytest.approx(expected[one["weight"]])
    best = max(expected, key=lambda one: (expected[one][0], -expected[one][1], -abs(one - 1)))
    assert found.chosen == best


def test_the_chosen_weight_is_what_is_scored_with_from_then_on(val):
    retriever = a_head()
    found = choose_audio_weight(retriever, val)
    (its,) = [one for one in found.tried if one["weight"] == found.chosen]
    assert retriever.audio_weight.item() == found.chosen
    assert measure(retriever, val).items() >= {"R@1": its["R@1"], "MnR": its["MnR"]}.items()


def test_weights_that_do_the_same_leave_the_papers(val):
    retriever = a_head()
    retriever.audio_weight.fill_(0.5)
    with torch.no_grad():  # every video sounds alike, so no weight changes a rank
        retriever.audio_head.linear.weight.zero_()
        retriever.audio_head.linear.bias.copy_(retriever.audio_head.null)
    assert choose_audio_weight(retriever, val).chosen == 1.0
