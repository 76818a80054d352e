import tracemalloc

import numpy as np
import pytest
from making.hubs import banks_of, draw, planted_hubs, without_hubs
from oracles import rerankers as papers

from vidret.data.errors import ConfigError, DamagedError, MismatchError, MissingError
from vidret.heads.metrics import summarize, text_to_video_ranks, video_to_text_ranks
from vidret.heads.reranking.options import DEFAULT_RERANK, RERANKERS, RerankOptions
from vidret.heads.reranking.pairs import Pairs, pairs_of
from vidret.heads.reranking.ranking import Banks, rerank
from vidret.heads.similarities import Owners

TRAIN_BANK = [name for name, one in RERANKERS.items() if one.tag == "train-bank"]
TRANSDUCTIVE = [name for name, one in RERANKERS.items() if one.tag == "transductive"]
WAYS = ("t2v", "v2t")
OTHERS = RerankOptions(
    qb_beta=7.0,
    qb_top=3,
    nnn_weight=0.4,
    nnn_neighbours=5,
    dsl_scale=9.0,
    sinkhorn_temperature=0.1,
    sinkhorn_iterations=3,
)


def ranked(name, world, owners: Owners, *, memory=2**24, options=DEFAULT_RERANK, by="group"):
    scores, texts, videos = world
    banks = banks_of(texts, videos, memory=memory)
    pairs = pairs_of(scores, memory=memory)
    return rerank(name, pairs, owners, banks=banks, options=options, by=by)


def of_the_paper(name, s, bank, options):
    """What a paper's equation makes of queries in rows."""
    if name == "qb-norm":
        return papers.qb_norm(s, bank, options.qb_beta, options.qb_top)
    if name == "nnn":
        return papers.nnn(s, bank, options.nnn_weight, options.nnn_neighbours)
    if name == "dsl":
        return papers.dsl(s, options.dsl_scale)
    balancing = options.sinkhorn_temperature, options.sinkhorn_iterations
    if name == "sinkhorn-bank":
        return papers.sinkhorn_bank(s, bank, *balancing)
    return papers.sinkhorn_plan(s, *balancing)


def ranks_of_the_paper(name, world, owners, options, by):
    scores, texts, videos = world
    t2v = of_the_paper(name, scores, texts, options)
    one_plan = name == "sinkhorn-full"  # read either way
    v2t = t2v if one_plan else of_the_paper(name, scores.T, videos.T, options).T
    return text_to_video_ranks(t2v, owners), video_to_text_ranks(v2t, owners, by)


def assert_same(found, wanted):
    np.testing.assert_array_equal(found.better, wanted.better)
    np.testing.assert_array_equal(found.tied, wanted.tied)


@pytest.mark.parametrize("name", RERANKERS)
@pytest.mark.parametrize(
    ("options", "by"),
    [(DEFAULT_RERANK, "group"), (OTHERS, "caption")],
    ids=["published", "others"],
)
@pytest.mark.parametrize("size", [(25, 9), (9, 25), (12, 12), (7, 2), (2, 7), (1, 1)])
def test_the_ranks_are_those_of_the_papers_equations(name, options, by, size):
    scores, owners, texts, videos = draw(*size)
    world = scores, texts, videos
    found = ranked(name, world, owners, options=options, by=by)
    t2v, v2t = ranks_of_the_paper(name, world, owners, options, by)
    assert_same(found.t2v, t2v)
    assert_same(found.v2t, v2t)


@pytest.mark.parametrize("name", RERANKERS)
@pytest.mark.parametrize("memory", [200, 2_000, 20_000])
@pytest.mark.parametrize("levels", [4, None], ids=["ties", "no ties"])
def test_blocks_of_any_size_give_the_ranks_of_one(name, memory, levels):
    scores, owners, texts, videos = draw(23, 11, levels=levels)
    scores[5], owners[5] = scores[4], owners[4]  # a sentence twice
    scores[:, 7] = scores[:, 3]  # and a video
    texts[:, 7], videos[5] = texts[:, 3], videos[4]
    world = scores, texts, videos
    whole = ranked(name, world, owners)
    found = ranked(name, world, owners, memory=memory)
    assert_same(found.t2v, whole.t2v)
    assert_same(found.v2t, whole.v2t)
    assert whole.t2v.ties


@pytest.mark.parametrize("name", RERANKERS)
@pytest.mark.parametrize("way", WAYS)
def test_planted_hubs_are_repaired(name, way):
    owners, plain, hubbed = planted_hubs(way)
    rank = text_to_video_ranks if way == "t2v" else video_to_text_ranks
    assert summarize(rank(plain[0], owners))["R@1"] == 100
    assert summarize(rank(hubbed[0], owners))["R@1"] < 50
    assert summarize(getattr(ranked(name, hubbed, owners), way))["R@1"] == 100


@pytest.mark.parametrize("name", RERANKERS)
def test_without_hubs_no_rank_changes(name):
    owners, *world = without_hubs()
    found = ranked(name, world, owners)
    assert_same(found.t2v, text_to_video_ranks(world[0], owners))
    assert_same(found.v2t, video_to_text_ranks(world[0], owners))
    assert found.t2v.better.any()


def test_the_dual_softmax_orders_what_is_far_below_zero_anew_even_without_hubs():
    """s exp(c s) rises with s above -1/c alone: that is the formula, and the docs say so."""
    owners, *world = without_hubs(lowest=-0.9)
    found = ranked("dsl", world, owners, options=RerankOptions(dsl_scale=10.0))
    wanted, _ = ranks_of_the_paper("dsl", world, owners, RerankOptions(dsl_scale=10.0), "group")
    assert_same(found.t2v, wanted)
    assert (found.t2v.better != text_to_video_ranks(world[0], owners).better).any()


@pytest.mark.parametrize("name", RERANKERS)
def test_a_query_alone_comes_where_it_did_unless_the_others_are_looked_at(name):
    """What the tags promise: with a bank, the other test queries may be anything."""
    scores, owners, texts, videos = draw(30, 12)
    whole = ranked(name, (scores, texts, videos), owners)
    alone = [
        ranked(name, (scores[[row]], texts, None), owners[[row]]).t2v.better[0] for row in range(30)
    ]
    is_alike = (whole.t2v.better == alone).all()
    assert is_alike == (RERANKERS[name].tag == "train-bank")


@pytest.mark.parametrize("name", RERANKERS)
def test_the_order_of_texts_videos_and_bank_changes_no_rank(name):
    scores, owners, texts, videos = draw(30, 12)
    whole = ranked(name, (scores, texts, videos), owners)
    numbers = np.random.default_rng(5)
    rows, columns = numbers.permutation(30), numbers.permutation(12)
    place = columns.argsort()
    bank, others = numbers.permutation(len(texts)), numbers.permutation(videos.shape[1])
    world = scores[rows][:, columns], texts[bank][:, columns], videos[rows][:, others]
    found = ranked(name, world, place[owners[rows]])
    np.testing.assert_array_equal(found.t2v.better, whole.t2v.better[rows])
    asking = np.unique(owners)
    order = place[asking].argsort()
    np.testing.assert_array_equal(found.v2t.better, whole.v2t.better[order])


@pytest.mark.parametrize("name", TRAIN_BANK)
def test_a_video_alone_finds_what_it_did(name):
    scores, owners, texts, videos = draw(30, 12)
    whole = ranked(name, (scores, texts, videos), owners)
    one = ranked(name, (scores[:, :1], None, videos), np.zeros(30, np.int64))
    assert one.t2v is None
    shifted = scores.copy()
    shifted[:, 1:] = scores[:, :0:-1]  # the other videos change places among themselves
    other = ranked(name, (shifted, texts, videos), owners)
    assert other.v2t.better[0] == whole.v2t.better[0]


@pytest.mark.parametrize("name", ["sinkhorn-bank", "sinkhorn-full"])
def test_what_a_video_has_more_for_all_queries_changes_nothing_once_balanced(name):
    scores, owners, texts, videos = draw(30, 12)
    more = np.random.default_rng(3).uniform(-0.3, 0.3, size=12)
    options = RerankOptions(sinkhorn_iterations=200, sinkhorn_temperature=0.05)
    plain = ranked(name, (scores, texts, videos), owners, options=options)
    shifted = ranked(name, (scores + more, texts + more, videos), owners, options=options)
    assert_same(shifted.t2v, plain.t2v)


def test_one_iteration_over_a_bank_is_the_inverted_softmax():
    scores, owners, texts, videos = draw(30, 12)
    options = RerankOptions(sinkhorn_iterations=1, sinkhorn_temperature=0.05)
    found = ranked("sinkhorn-bank", (scores, texts, videos), owners, options=options)
    wanted = papers.inverted_softmax(scores, texts, beta=20.0)
    assert_same(found.t2v, text_to_video_ranks(wanted, owners))


def test_a_bank_without_a_query_like_it_leaves_a_query_as_it_is_in_qb_norm():
    scores = np.array([[0.5, 0.4, 0.0], [0.3, 0.4, 0.1]])
    bank = np.array([[0.9, 0.2, 0.1], [0.8, 0.1, 0.2]])  # only video 0 is ever the first
    found = ranked("qb-norm", (scores, bank, None), [1, 1])
    assert found.t2v.better.tolist() == [0, 0]  # the first gives way to video 1, the second had it
    found = ranked("qb-norm", (scores, bank, None), [0, 0])
    assert found.t2v.better.tolist() == [2, 1]  # as it was for the second, though video 0 is a hub


@pytest.mark.parametrize("name", [name for name in RERANKERS if name != "sinkhorn-full"])
def test_one_text_or_one_video_is_ranked_as_the_equations_say(name):
    for size in [(1, 7), (7, 1)]:
        scores, owners, *banks = draw(*size)
        found = ranked(name, (scores, *banks), owners)
        t2v, v2t = ranks_of_the_paper(name, (scores, *banks), owners, DEFAULT_RERANK, "caption")
        assert_same(found.t2v, t2v)
        assert_same(found.v2t, v2t)


def test_one_query_alone_has_nothing_to_be_balanced_against():
    """A plan of one row gives every column its share, so all of them tie."""
    scores, owners, *_ = draw(1, 7)
    found = ranked("sinkhorn-full", (scores, None, None), owners)
    assert found.t2v.values.tolist() == [4]
    found = ranked("sinkhorn-full", (scores.T, None, None), [0] * 7)
    assert found.v2t.values.tolist() == [1]
    assert found.t2v.values.tolist() == [1] * 7


def test_where_all_are_equal_all_tie():
    for name in RERANKERS:
        found = ranked(
            name, (np.ones((6, 4)), np.ones((5, 4)), np.ones((6, 3))), [0, 0, 1, 1, 2, 3]
        )
        assert found.t2v.values.tolist() == [2.5] * 6
        assert found.v2t.values.tolist() == [2.5] * 4


@pytest.mark.parametrize("name", RERANKERS)
@pytest.mark.parametrize("factor", [1e3, 1e-6])
def test_similarities_of_any_size_are_told_apart(name, factor):
    """No softmax falls to zero, and makes ties that are not there."""
    scores, owners, texts, videos = draw(20, 15)
    found = ranked(name, (factor * scores, factor * texts, factor * videos), owners)
    assert not found.t2v.ties
    assert not found.v2t.ties


def test_the_dual_softmax_of_large_scores_keeps_the_order_of_its_products():
    """In logs, where the products of the equation are less than a float holds."""
    scores, owners, *_ = draw(20, 15)
    scores = 30 * np.abs(scores)
    exponents = 100 * scores
    sums = np.array([np.logaddexp.reduce(column) for column in exponents.T])
    found = ranked("dsl", (scores, None, None), owners)
    assert_same(found.t2v, text_to_video_ranks(np.log(scores) + exponents - sums, owners))
    sums = np.array([np.logaddexp.reduce(row) for row in exponents])[:, None]
    assert_same(found.v2t, video_to_text_ranks(np.log(scores) + exponents - sums, owners))


def test_nearest_neighbours_are_no_more_than_the_bank_has():
    scores, owners, texts, _ = draw(20, 9, bank=6)
    found = ranked("nnn", (scores, texts, None), owners)
    wanted = text_to_video_ranks(scores - 0.75 * texts.mean(0), owners)
    assert_same(found.t2v, wanted)


@pytest.mark.parametrize("name", TRAIN_BANK)
def test_a_direction_without_its_bank_is_not_ranked(name):
    scores, owners, texts, videos = draw(20, 9)
    assert ranked(name, (scores, texts, None), owners).v2t is None
    assert ranked(name, (scores, None, videos), owners).t2v is None
    with pytest.raises(ConfigError, match=f"{name} needs a bank of training queries"):
        ranked(name, (scores, None, None), owners)


@pytest.mark.parametrize("name", TRANSDUCTIVE)
def test_no_bank_is_needed_where_the_test_queries_are_looked_at(name):
    scores, owners, texts, videos = draw(20, 9)
    with_banks = ranked(name, (scores, texts, videos), owners)
    without = ranked(name, (scores, None, None), owners)
    assert_same(without.t2v, with_banks.t2v)
    assert_same(without.v2t, with_banks.v2t)


@pytest.mark.parametrize("dtype", [np.float32, ">f4", np.float64])
def test_every_float_that_is_fine_enough_is_taken(dtype):
    scores, owners, texts, videos = draw(20, 9)
    world = [one.astype(dtype) for one in (scores, texts, videos)]
    for name in RERANKERS:
        found = ranked(name, world, owners)
        assert_same(found.t2v, ranked(name, (scores, texts, videos), owners).t2v)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", RERANKERS)
def test_what_is_no_number_is_refused_by_its_place(name, value):
    scores, owners, texts, videos = draw(20, 9)
    scores[13, 4] = value
    words = rf"row 13 \(text\) and column 4 \(video\) of the similarities hold {value}"
    with pytest.raises(DamagedError, match=words):
        ranked(name, (scores, texts, videos), owners, memory=900)


@pytest.mark.parametrize("name", TRAIN_BANK)
def test_what_is_no_number_in_a_bank_is_refused_by_the_name_of_the_bank(name):
    scores, owners, texts, videos = draw(20, 9)
    texts[17, 8] = np.nan
    with pytest.raises(DamagedError, match=r"row 17 .* column 8 \(video\) of the text bank hold"):
        ranked(name, (scores, texts, None), owners, memory=900)
    videos[3, 2] = np.nan
    with pytest.raises(DamagedError, match=r"row 3 .* column 2 \(video\) of the video bank hold"):
        ranked(name, (scores, None, videos), owners, memory=900)


def test_banks_of_other_videos_or_texts_are_refused():
    scores, owners, texts, videos = draw(20, 9)
    words = "the text bank has 8 videos in its columns, and 9 videos are ranked"
    with pytest.raises(MismatchError, match=words):
        ranked("nnn", (scores, texts[:, 1:], None), owners)
    words = "the video bank has 19 texts in its rows, and 20 texts are ranked"
    with pytest.raises(MismatchError, match=words):
        ranked("nnn", (scores, None, videos[1:]), owners)


def test_what_cannot_be_ranked_is_refused():
    scores, owners, *_ = draw(20, 9)
    with pytest.raises(ConfigError, match="score in float32"):
        ranked("dsl", (scores.astype(np.float16), None, None), owners)
    with pytest.raises(MismatchError, match="19 owners for 20 texts"):
        ranked("dsl", (scores, None, None), owners[1:])
    with pytest.raises(MissingError, match="nothing to rank"):
        ranked("nnn", (scores, np.zeros((0, 9)), None), owners)


def test_a_scorer_of_other_texts_is_refused():
    pairs = Pairs(score=lambda _rows, _columns: np.zeros((4, 3)), num_texts=3, num_videos=3)
    with pytest.raises(MismatchError, match=r"shape \(4, 3\), and \(3, 3\) was asked for"):
        rerank("dsl", pairs, [0, 1, 2])


@pytest.mark.parametrize("name", RERANKERS)
def test_neither_matrix_nor_bank_need_fit_the_memory(name):
    memory, texts, videos = 2**20, 4_000, 400
    numbers = np.random.default_rng(0)
    left, right = (numbers.normal(size=(n, 2)).astype(np.float32) / 4 for n in (texts, videos))

    def scored(a, b, what):
        score = lambda rows, columns: a[rows] @ b[columns].T  # noqa: E731 - one line is enough
        return Pairs(score=score, num_texts=len(a), num_videos=len(b), what=what, memory=memory)

    banks = Banks(
        texts=scored(left[::-1], right, "the text bank"),
        videos=scored(left, right[::-1], "the video bank"),
    )
    options = RerankOptions(sinkhorn_iterations=1, nnn_neighbours=3, sinkhorn_temperature=0.5)
    owners = np.arange(texts) % videos
    tracemalloc.start()
    try:
        rerank(name, scored(left, right, "all"), owners, banks=banks, options=options)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < memory + 200 * (texts + videos)
    assert peak < left.itemsize * texts * videos / 3
