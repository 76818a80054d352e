import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from vidret.data.errors import ConfigError, DamagedError, MismatchError, MissingError
from vidret.heads.metrics import Ranks, summarize, text_to_video_ranks, video_to_text_ranks
from vidret.heads.similarities import Names

# Texts 0 and 1 belong to video 0, text 2 to video 1, text 3 to video 2; video 3 has none.
OWNERS = [0, 0, 1, 2]
SCORES = np.array(
    [
        [0.9, 0.1, 0.2, 0.3],
        [0.4, 0.5, 0.6, 0.1],
        [0.7, 0.3, 0.2, 0.8],
        [0.1, 0.2, 0.5, 0.5],
    ]
)


def test_a_text_ranks_its_video_among_all_videos():
    assert text_to_video_ranks(SCORES, OWNERS).values.tolist() == [1, 3, 3, 1.5]


def test_a_video_ranks_its_captions_among_the_groups():
    # Video 1: its group has 0.3, the others' best are 0.5 and 0.2. Video 2: 0.5, against 0.6, 0.2.
    assert video_to_text_ranks(SCORES, OWNERS).values.tolist() == [1, 2, 2]


def test_a_video_ranks_its_best_caption_among_the_captions_of_others():
    scores = np.array([[0.5, 0.6], [0.4, 0.7], [0.9, 0.65], [0.8, 0.1]])
    owners = [0, 0, 1, 1]
    assert video_to_text_ranks(scores, owners).values.tolist() == [2, 2]
    assert video_to_text_ranks(scores, owners, by="caption").values.tolist() == [3, 2]


def test_a_videos_own_captions_never_push_it_down():
    scores = np.array([[0.5], [0.5], [0.4]])
    for by in ("group", "caption"):
        assert video_to_text_ranks(scores, [0, 0, 0], by=by).values.tolist() == [1]


def test_both_conventions_agree_on_the_first_place():
    draw = np.random.default_rng(0)
    scores, owners = draw.normal(size=(60, 9)), draw.integers(9, size=60)
    groups, captions = (
        summarize(video_to_text_ranks(scores, owners, by=by)) for by in ("group", "caption")
    )
    assert groups["R@1"] == captions["R@1"]
    assert groups["MnR"] < captions["MnR"]


@pytest.mark.parametrize("levels", [3, 50, 10**9])
def test_text_to_video_ranks_are_scipys_average_ranks(levels):
    draw = np.random.default_rng(1)
    scores, owners = draw.integers(levels, size=(40, 12)).astype(float), draw.integers(12, size=40)
    expected = rankdata(-scores, method="average", axis=1)[np.arange(40), owners]
    np.testing.assert_array_equal(text_to_video_ranks(scores, owners).values, expected)


@pytest.mark.parametrize("levels", [3, 50, 10**9])
def test_ranks_of_groups_are_scipys_average_ranks(levels):
    draw = np.random.default_rng(2)
    scores, owners = draw.integers(levels, size=(40, 6)).astype(float), np.arange(40) % 6
    best = np.array([scores[owners == video].max(0) for video in range(6)])
    expected = rankdata(-best, method="average", axis=0).diagonal()
    np.testing.assert_array_equal(video_to_text_ranks(scores, owners).values, expected)


@pytest.mark.parametrize("levels", [3, 50, 10**9])
def test_ranks_of_captions_are_scipys_average_ranks_once_the_other_own_are_out(levels):
    draw = np.random.default_rng(3)
    scores, owners = draw.integers(levels, size=(40, 6)).astype(float), np.arange(40) % 6
    for video, rank in enumerate(video_to_text_ranks(scores, owners, by="caption").values):
        own = scores[owners == video, video].max()
        candidates = np.append(own, scores[owners != video, video])
        assert rank == rankdata(-candidates, method="average")[0]


@pytest.mark.parametrize("k", [1, 2, 5, 10])
def test_the_recall_of_ties_is_what_random_orders_give(k):
    better, tied = 1, 4
    places = better + 1 + np.arange(tied + 1)  # where the right one may come, all as likely
    ranks = Ranks(better=np.array([better]), tied=np.array([tied]))
    assert ranks.hits(k)[0] == pytest.approx((places <= k).mean())
    assert ranks.values[0] == places.mean()


def test_a_constant_matrix_is_worth_what_guessing_is():
    summary = summarize(text_to_video_ranks(np.zeros((4, 20)), [0, 5, 7, 19]))
    assert summary == {
        "R@1": 5, "R@5": 25, "R@10": 50, "R@50": 100, "MdR": 10.5, "MnR": 10.5,
        "geometric mean": pytest.approx((5 * 25 * 50) ** (1 / 3)), "ties": 4, "queries": 4,
    }  # fmt: skip


def test_the_summary_of_a_hand_made_matrix():
    summary = summarize(text_to_video_ranks(SCORES, OWNERS))
    assert summary == {
        "R@1": 37.5, "R@5": 100, "R@10": 100, "R@50": 100, "MdR": 2.25, "MnR": 2.125,
        "geometric mean": pytest.approx(375_000 ** (1 / 3)), "ties": 1, "queries": 4,
    }  # fmt: skip


def test_rank_50_is_the_last_that_counts_for_recall_at_50():
    ranks = Ranks(better=np.array([49, 50, 9, 10]), tied=np.zeros(4, dtype=np.int64))
    assert (summarize(ranks)["R@10"], summarize(ranks)["R@50"]) == (25, 75)


def test_without_any_first_place_the_geometric_mean_is_nothing():
    ranks = Ranks(better=np.array([1, 2]), tied=np.array([0, 0]))
    assert summarize(ranks)["geometric mean"] == 0


def test_where_all_are_first_every_recall_and_their_mean_are_whole():
    summary = summarize(Ranks(better=np.zeros(7, np.int64), tied=np.zeros(7, np.int64)))
    assert {summary[name] for name in ("R@1", "R@50", "geometric mean")} == {100}


def test_the_median_of_an_even_number_lies_in_the_middle():
    ranks = Ranks(better=np.array([0, 3]), tied=np.array([0, 0]))
    assert summarize(ranks)["MdR"] == 2.5


def test_videos_without_captions_distract_but_do_not_ask():
    assert len(video_to_text_ranks(SCORES, OWNERS)) == 3
    without = text_to_video_ranks(SCORES[:, :3], OWNERS).values
    assert without.tolist() == [1, 3, 2, 1]


@pytest.mark.parametrize("by", ["group", "caption"])
def test_tensors_and_arrays_rank_alike(by):
    scores = torch.from_numpy(SCORES).float().requires_grad_()
    owners = torch.tensor(OWNERS)
    for rank, arguments in [(text_to_video_ranks, {}), (video_to_text_ranks, {"by": by})]:
        np.testing.assert_array_equal(
            rank(scores, owners, **arguments).values, rank(SCORES, OWNERS, **arguments).values
        )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rank", [text_to_video_ranks, video_to_text_ranks])
def test_what_is_not_finite_is_refused_by_its_place(rank, value):
    scores = SCORES.copy()
    scores[2, 3] = scores[3, 0] = value
    with pytest.raises(DamagedError, match=rf"row 2 .* column 3 .* is {value}, and 2 in all"):
        rank(scores, OWNERS)


@pytest.mark.parametrize("rank", [text_to_video_ranks, video_to_text_ranks])
def test_what_is_not_finite_is_called_by_its_names(rank):
    scores = SCORES.copy()
    scores[2, 3] = np.nan
    names = Names(texts=["a", "b", "c\x1b", "d"], videos=["v", "w", "x", "y.mp4"])
    with pytest.raises(DamagedError, match=r"text c\\x1b and video y\.mp4 is nan, and 1 in all"):
        rank(scores, OWNERS, names=names)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_coarse_tensors_are_refused(dtype):
    with pytest.raises(ConfigError, match="score in float32"):
        text_to_video_ranks(torch.zeros(4, 4, dtype=dtype), OWNERS)


def test_coarse_arrays_are_refused():
    with pytest.raises(ConfigError, match="float16"):
        video_to_text_ranks(SCORES.astype(np.float16), OWNERS)


def test_an_owner_outside_the_gallery_is_refused():
    with pytest.raises(MismatchError, match=r"text 1 belongs to video 4, but .* videos 0 to 3"):
        text_to_video_ranks(SCORES, [0, 4, 1, 2])


@pytest.mark.parametrize("owners", [[0, 0, 1], [0, 0, 1, 2, 3]])
def test_owners_for_other_texts_are_refused(owners):
    with pytest.raises(MismatchError, match="owners for 4 texts"):
        text_to_video_ranks(SCORES, owners)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
def test_nothing_to_rank_is_refused(shape):
    with pytest.raises(MissingError, match="nothing to rank"):
        text_to_video_ranks(np.zeros(shape), [0] * shape[0])
