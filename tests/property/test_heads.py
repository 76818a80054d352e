"""Laws of the heads and of the ranks, on batches of any shape."""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from making.heads import draw_texts, draw_videos, noisy, shake
from torch.testing import assert_close

from vidret.heads.catalog import build_retriever, head_names
from vidret.heads.metrics import text_to_video_ranks, video_to_text_ranks
from vidret.heads.options import HeadOptions
from vidret.heads.scoring import score_in_blocks

DIM, AUDIO_DIM = 6, 4
FEW = settings(max_examples=25, deadline=None)

RETRIEVERS = {
    name: shake(
        build_retriever(
            name, dim=DIM, audio_dim=AUDIO_DIM, logit_scale=100.0, options=HeadOptions(hidden=5)
        ).double()
    ).eval()
    for name in head_names()
}

NO_COSINE = ("tight-transf", "tight-transf+cmfi")  # their score is read off a layer
IN_ORDER = ("seq-transf", "seq-lstm", "tight-transf", "clip2video", "ea-clip4clip", "hcmi")
names = st.sampled_from(head_names())
orderless_names = st.sampled_from(
    [name for name in head_names() if name.partition("+")[0] not in IN_ORDER]
)
seeds = st.integers(0, 2**31)
batches_of_texts = st.builds(
    lambda lengths, seed: draw_texts(lengths, DIM, seed=seed),
    st.lists(st.integers(0, 6), min_size=1, max_size=5),
    seeds,
)
batches_of_videos = st.builds(
    lambda videos, seed: draw_videos(
        [frames for frames, _ in videos],
        DIM,
        AUDIO_DIM,
        heard=[heard for _, heard in videos],
        seed=seed,
    ),
    st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=5),
    seeds,
)


@FEW
@given(names, batches_of_texts, batches_of_videos)
def test_parts_sum_to_the_similarity_and_each_cosine_keeps_its_bounds(name, texts, videos):
    parts = RETRIEVERS[name].parts(texts, videos)
    similarity = RETRIEVERS[name](texts, videos)
    assert_close(sum(parts.values()), similarity, rtol=0, atol=1e-12)
    audio = parts.pop("audio", torch.zeros_like(similarity))
    assert audio.abs().max() <= 1 + 1e-9
    if name not in NO_COSINE:
        assert (similarity - audio).abs().max() <= 1 + 1e-9


@FEW
@given(names, batches_of_texts, batches_of_videos, st.integers(1, 3), st.floats(-1e6, 1e6))
def test_padding_changes_no_score(name, texts, videos, more, noise):
    longer_texts = replace(
        texts,
        words=torch.nn.functional.pad(texts.words, (0, 0, 0, more), value=noise),
        word_mask=torch.nn.functional.pad(texts.word_mask, (0, more)),
    )
    longer_videos = replace(
        videos,
        frames=torch.nn.functional.pad(videos.frames, (0, 0, 0, more), value=noise),
        frame_mask=torch.nn.functional.pad(videos.frame_mask, (0, more)),
        audio=noisy(videos.audio, videos.audio_mask),
    )
    assert_close(RETRIEVERS[name](longer_texts, longer_videos), RETRIEVERS[name](texts, videos))


@FEW
@given(names, batches_of_texts, batches_of_videos, seeds)
def test_where_padding_stands_changes_only_where_the_weights_stand(name, texts, videos, seed):
    retriever, (spread, columns) = RETRIEVERS[name], among_padding(videos, seed)
    assert_close(retriever(texts, spread), retriever(texts, videos))
    weights = retriever.frame_weights(texts, videos)
    moved = retriever.frame_weights(texts, spread)
    for video, (mask, own) in enumerate(zip(videos.frame_mask, columns, strict=True)):
        assert_close(moved[:, video, own], weights[:, video, mask])
    assert_close(moved.sum(-1), weights.sum(-1))


def among_padding(videos, seed):
    """The same frames in the same order, with padding between them, and the columns they got."""
    draw = torch.Generator().manual_seed(seed)
    wide = videos.frames.shape[1] + 2
    frames = torch.randn(len(videos), wide, DIM, generator=draw, dtype=torch.float64)
    mask, columns = torch.zeros(len(videos), wide, dtype=torch.bool), []
    for row, real in enumerate(videos.frame_mask):
        own = torch.randperm(wide, generator=draw)[: int(real.sum())].sort().values
        frames[row, own], mask[row, own] = videos.frames[row, real], True
        columns.append(own)
    return replace(videos, frames=frames, frame_mask=mask), columns


@FEW
@given(orderless_names, batches_of_texts, batches_of_videos, seeds)
def test_the_order_of_frames_changes_only_the_order_of_their_weights(name, texts, videos, seed):
    order = torch.randperm(videos.frames.shape[1], generator=torch.Generator().manual_seed(seed))
    turned = replace(videos, frames=videos.frames[:, order], frame_mask=videos.frame_mask[:, order])
    retriever = RETRIEVERS[name]
    assert_close(retriever(texts, turned), retriever(texts, videos))
    assert_close(
        retriever.frame_weights(texts, turned), retriever.frame_weights(texts, videos)[..., order]
    )


@FEW
@given(names, batches_of_texts, batches_of_videos, seeds)
def test_the_order_of_words_changes_nothing(name, texts, videos, seed):
    order = torch.randperm(texts.words.shape[1], generator=torch.Generator().manual_seed(seed))
    turned = replace(texts, words=texts.words[:, order], word_mask=texts.word_mask[:, order])
    assert_close(RETRIEVERS[name](turned, videos), RETRIEVERS[name](texts, videos))


@FEW
@given(names, batches_of_texts, batches_of_videos, st.integers(1, 2**22))
def test_any_memory_gives_the_same_scores(name, texts, videos, memory):
    scores = score_in_blocks(RETRIEVERS[name], texts, videos, memory=memory)
    assert_close(scores, RETRIEVERS[name](texts, videos).detach())


@FEW
@given(names, batches_of_texts, batches_of_videos, st.data())
def test_a_pair_scores_the_same_alone_as_in_a_batch(name, texts, videos, data):
    text = data.draw(st.integers(0, len(texts) - 1))
    video = data.draw(st.integers(0, len(videos) - 1))
    alone = RETRIEVERS[name](texts[text : text + 1], videos[video : video + 1])
    assert_close(alone[0, 0], RETRIEVERS[name](texts, videos)[text, video])


@st.composite
def rankings(draw):
    texts, videos = draw(st.integers(1, 8)), draw(st.integers(1, 5))
    levels = st.integers(0, draw(st.sampled_from([2, 1000])))
    scores = draw(
        st.lists(st.lists(levels, min_size=videos, max_size=videos), min_size=texts, max_size=texts)
    )
    owners = draw(st.lists(st.integers(0, videos - 1), min_size=texts, max_size=texts))
    return np.array(scores, dtype=np.float64), np.array(owners)


@FEW
@given(rankings(), st.randoms(use_true_random=False))
def test_shuffling_texts_and_videos_leaves_the_ranks_alone(ranking, random):
    scores, owners = ranking
    rows, columns = (random.sample(range(n), n) for n in scores.shape)
    shuffled, place = scores[rows][:, columns], np.argsort(columns)
    turned_owners = place[owners[rows]]
    np.testing.assert_array_equal(
        text_to_video_ranks(shuffled, turned_owners).values,
        text_to_video_ranks(scores, owners).values[rows],
    )
    for by in ("group", "caption"):
        np.testing.assert_array_equal(
            np.sort(video_to_text_ranks(shuffled, turned_owners, by=by).values),
            np.sort(video_to_text_ranks(scores, owners, by=by).values),
        )


@FEW
@given(rankings())
def test_only_the_order_of_scores_matters(ranking):
    scores, owners = ranking
    bent = np.sqrt(scores) * 3 - 7
    for rank in (text_to_video_ranks, video_to_text_ranks):
        np.testing.assert_array_equal(rank(bent, owners).values, rank(scores, owners).values)


@FEW
@given(rankings())
def test_one_caption_a_video_makes_both_conventions_one(ranking):
    scores, owners = ranking
    _, first = np.unique(owners, return_index=True)
    scores, owners = scores[first], owners[first]
    np.testing.assert_array_equal(
        video_to_text_ranks(scores, owners, by="group").values,
        video_to_text_ranks(scores, owners, by="caption").values,
    )


@FEW
@given(rankings(), st.integers(1, 12))
def test_expected_hits_grow_with_k_up_to_certainty(ranking, k):
    scores, owners = ranking
    ranks = text_to_video_ranks(scores, owners)
    assert (ranks.hits(k) <= ranks.hits(k + 1)).all()
    assert (ranks.hits(scores.shape[1]) == 1).all()
