"""The ranks are those of scipy and of trec_eval, on matrices of every kind."""

import numpy as np
import pytest
from pytrec_eval import RelevanceEvaluator
from scipy.stats import rankdata

from vidret.heads.metrics import RECALLS, summarize, text_to_video_ranks, video_to_text_ranks
from vidret.heads.streaming import BlockShape, matrix_blocks, ranks_in_blocks

KINDS = {  # texts, videos, videos that have captions, levels of scores (few make ties)
    "square": (30, 30, None, 10**6),
    "square with ties": (30, 30, None, 4),
    "ragged": (60, 12, 12, 10**6),
    "ragged with ties": (60, 12, 12, 5),
    "several captions among distractors": (40, 25, 9, 10**6),
    "several captions among distractors, with ties": (40, 25, 9, 6),
    "more videos than captions": (7, 30, 30, 6),
    "one video with several captions": (9, 1, 1, 3),
    "all the same": (20, 8, 8, 1),
}


@pytest.fixture(params=KINDS)
def matrix(request):
    """Whole numbers, which every library holds exactly, and owners that lie scattered."""
    texts, videos, owning, levels = KINDS[request.param]
    draw = np.random.default_rng(len(request.param))
    scores = draw.integers(levels, size=(texts, videos)).astype(np.float32)
    if owning is None:
        return scores, draw.permutation(videos)
    owners = draw.choice(draw.permutation(videos)[:owning], size=texts)
    return scores, owners


def streamed(scores, owners, by="group"):
    shape = BlockShape(texts=max(1, len(scores) // 4), videos=max(1, scores.shape[1] // 3))
    return ranks_in_blocks(matrix_blocks(scores), owners, scores.shape[1], by=by, shape=shape)


def candidates_of_videos(scores, owners, by):
    """For each video that has captions: the scores of its competitors, and its own best."""
    for video in np.unique(owners):
        mine, others = scores[owners == video, video], owners != video
        if by == "caption":
            yield scores[others, video], mine.max()
        else:
            groups = [scores[owners == other, video].max() for other in np.unique(owners[others])]
            yield np.array(groups), mine.max()


def ranks_by_scipy(competitors, own):
    return rankdata(-np.append(competitors, own), method="average")[-1]


def places_by_trec_eval(competitors, own):
    """The first and last place that the right answer may have: trec_eval breaks ties by name."""
    places = []
    for right, wrong in (("a", "z"), ("z", "a")):
        run = {f"{wrong}{number:06d}": float(one) for number, one in enumerate(competitors)}
        evaluator = RelevanceEvaluator({"query": {right: 1}}, {"recip_rank"})
        found = evaluator.evaluate({"query": run | {right: float(own)}})
        places.append(round(1 / found["query"]["recip_rank"]))
    return min(places), max(places)


def assert_agrees(ranks, cases):
    cases = list(cases)
    np.testing.assert_array_equal(ranks.values, [ranks_by_scipy(*case) for case in cases])
    places = [places_by_trec_eval(*case) for case in cases]
    np.testing.assert_array_equal(ranks.better + 1, [first for first, _ in places])
    np.testing.assert_array_equal(ranks.better + ranks.tied + 1, [last for _, last in places])


def cases_of_texts(scores, owners):
    for row, own in zip(scores, owners, strict=True):
        yield np.delete(row, own), row[own]


def test_text_to_video_agrees(matrix):
    cases = list(cases_of_texts(*matrix))
    assert_agrees(text_to_video_ranks(*matrix), cases)
    assert_agrees(streamed(*matrix).t2v, cases)


@pytest.mark.parametrize("by", ["group", "caption"])
def test_video_to_text_agrees(matrix, by):
    cases = list(candidates_of_videos(*matrix, by))
    assert_agrees(video_to_text_ranks(*matrix, by), cases)
    assert_agrees(streamed(*matrix, by).v2t, cases)


def test_recalls_without_ties_are_trec_evals_success():
    draw = np.random.default_rng(5)
    scores, owners = draw.permuted(np.arange(80 * 70.0).reshape(80, 70)), draw.integers(70, size=80)
    relevant = {f"{text}": {f"{own}": 1} for text, own in enumerate(owners)}
    run = {
        f"{text}": {f"{video}": float(one) for video, one in enumerate(row)}
        for text, row in enumerate(scores)
    }
    wanted = ",".join(map(str, RECALLS))
    found = RelevanceEvaluator(relevant, {f"success.{wanted}"}).evaluate(run).values()
    summary = summarize(text_to_video_ranks(scores, owners))
    for k in RECALLS:
        assert summary[f"R@{k}"] == pytest.approx(
            100 * np.mean([one[f"success_{k}"] for one in found])
        )


def test_the_first_of_a_videos_own_captions_is_what_trec_eval_finds_first():
    """All captions in one list, several of them right: Collaborative Experts' convention."""
    draw = np.random.default_rng(6)
    scores, owners = draw.permuted(np.arange(60 * 9.0).reshape(60, 9)), draw.integers(9, size=60)
    relevant = {
        f"{video}": {f"{text}": 1 for text in np.flatnonzero(owners == video)} for video in range(9)
    }
    run = {
        f"{video}": {f"{text}": float(scores[text, video]) for text in range(60)}
        for video in range(9)
    }
    found = RelevanceEvaluator(relevant, {"recip_rank"}).evaluate(run)
    places = [round(1 / found[f"{video}"]["recip_rank"]) for video in range(9)]
    assert video_to_text_ranks(scores, owners, by="caption").values.tolist() == places
