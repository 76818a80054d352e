import math

import numpy as np
import pytest
import torch
from making.heads import draw_texts, draw_videos, shake
from torch.testing import assert_close

from vidret.heads import scoring as module
from vidret.heads.catalog import VIDEO_HEADS, build_retriever, head_names
from vidret.heads.folded import FoldedMGFI
from vidret.heads.metrics import text_to_video_ranks, video_to_text_ranks
from vidret.heads.options import HeadOptions
from vidret.heads.retriever import Retriever
from vidret.heads.scoring import (
    CPU_MEMORY,
    block_scorer,
    block_sizes,
    parts_in_blocks,
    score_in_blocks,
    scoring,
)
from vidret.heads.streaming import BlockShape, ranks_in_blocks

TEXTS = draw_texts([3, 5, 1, 2, 9, 4, 4], 8, dtype=torch.float32)
FILLING = ("mgfi", "w-f", "s-f", "mean-ff", "wti", "tight-transf")  # what a pair takes is much
SLOW = ("tight-transf",)
VIDEOS = draw_videos(
    [4, 1, 6, 3, 2], 8, 5, heard=[True, False, True, True, False], dtype=torch.float32
)


def shaken(name: str = "mgfi+cmfi", **options) -> Retriever:
    retriever = build_retriever(
        name, dim=8, audio_dim=5, logit_scale=100.0, options=HeadOptions(**options)
    )
    return shake(retriever).eval()


@pytest.mark.parametrize("name", head_names())
@pytest.mark.parametrize("memory", [1, 20_000, 2**29])
def test_blocks_change_nothing(name, memory):
    retriever = shaken(name)
    scores = score_in_blocks(retriever, TEXTS, VIDEOS, memory=memory)
    assert_close(scores, retriever(TEXTS, VIDEOS).detach(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", head_names())
@pytest.mark.parametrize("rows", [slice(0, 7), slice(2, 5), np.array([6, 0, 3])])
@pytest.mark.parametrize("columns", [slice(0, 5), slice(1, 2)])
def test_a_block_alone_has_the_scores_of_the_whole_and_always_the_same(name, rows, columns):
    score = block_scorer(shaken(name), TEXTS, VIDEOS, memory=20_000)
    whole = score_in_blocks(shaken(name), TEXTS, VIDEOS)
    assert_close(score(rows, columns), whole[rows, columns], rtol=0, atol=1e-5)
    assert torch.equal(score(rows, columns), score(rows, columns))


@pytest.mark.parametrize("name", head_names())
@pytest.mark.parametrize("by", ["group", "caption"])
def test_ranks_from_blocks_of_a_head_are_those_of_its_whole_matrix(name, by):
    owners, shape = torch.tensor([4, 0, 2, 0, 4, 4, 1]), BlockShape(texts=2, videos=2)
    found = ranks_in_blocks(
        block_scorer(shaken(name), TEXTS, VIDEOS), owners, 5, by=by, shape=shape
    )
    whole = score_in_blocks(shaken(name), TEXTS, VIDEOS)
    assert found.t2v.values.tolist() == text_to_video_ranks(whole, owners).values.tolist()
    assert found.v2t.values.tolist() == video_to_text_ranks(whole, owners, by).values.tolist()


@pytest.mark.parametrize("name", head_names())
@pytest.mark.parametrize("memory", [1, 20_000, 2**29])
def test_the_parts_in_blocks_sum_to_the_scores(name, memory):
    retriever = shaken(name)
    parts = parts_in_blocks(retriever, TEXTS, VIDEOS, memory=memory)
    assert parts.keys() == retriever.parts(TEXTS, VIDEOS).keys()
    assert_close(sum(parts.values()), score_in_blocks(retriever, TEXTS, VIDEOS), rtol=0, atol=1e-5)


def test_the_smallest_memory_meets_one_text_and_one_video():
    sizes = block_sizes(shaken().video_head, TEXTS, VIDEOS, memory=1)
    assert (sizes.texts, sizes.videos, sizes.panel) == (1, 1, 1)


@pytest.mark.parametrize("name", FILLING)
def test_scoring_stays_within_its_memory_and_uses_it(name, memory_peak):
    assert 2**20 / 8 < memory_taken(name, memory_peak, memory=2**20) < 2**20


@pytest.mark.parametrize("name", sorted(VIDEO_HEADS.keys() - set(FILLING)))
def test_no_head_takes_more_than_it_may(name, memory_peak):
    assert memory_taken(name, memory_peak, memory=2**20) < 2**20


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(VIDEO_HEADS.keys() - {"mean-ff", "s-f", "w-f", "mgfi"}))
def test_a_thousand_by_a_thousand_stay_within_the_usual_memory(name, memory_peak):
    """Captions of twelve words, videos of twelve frames, width 512; MGFI has a benchmark for it."""
    retriever = build_retriever(name, dim=512, audio_dim=5, logit_scale=100.0).eval()
    texts = draw_texts([12] * (20 if name in SLOW else 1000), 512, dtype=torch.float32)
    videos = draw_videos([12] * (100 if name in SLOW else 1000), 512, 5, dtype=torch.float32)
    with memory_peak() as peak:
        score_in_blocks(retriever, texts, videos)
    assert peak.bytes - 4 * len(texts) * len(videos) < CPU_MEMORY


def memory_taken(name, memory_peak, *, memory):
    """Bytes that scoring takes at most besides its result."""
    retriever = build_retriever(
        name, dim=32, audio_dim=5, logit_scale=100.0, options=HeadOptions(layers=2)
    ).eval()
    many = name not in (*SLOW, "hcmi")  # whose many small blocks would take long to record
    texts = draw_texts([6] * (300 if many else 40), 32, dtype=torch.float32)
    videos = draw_videos([4] * (200 if many else 30), 32, 5, dtype=torch.float32)
    with memory_peak() as peak:
        score_in_blocks(retriever, texts, videos, memory=memory)
    return peak.bytes - 4 * len(texts) * len(videos)


def test_each_side_is_prepared_as_rarely_as_the_panels_allow(monkeypatch):
    retriever, counts = shaken(), {"prepare_texts": 0, "prepare_videos": 0}
    for name in counts:
        prepare = getattr(FoldedMGFI, name)

        def count(self, batch, name=name, prepare=prepare):
            counts[name] += len(batch)
            return prepare(self, batch)

        monkeypatch.setattr(FoldedMGFI, name, count)
    monkeypatch.setattr(module, "quicker_is_exact", lambda _: False)  # it tries a block
    memory = 20_000
    sizes = block_sizes(FoldedMGFI(retriever.video_head), TEXTS, VIDEOS, memory=memory)
    score_in_blocks(retriever, TEXTS, VIDEOS, memory=memory)
    assert sizes.texts < len(TEXTS)
    assert sizes.videos < sizes.panel < len(VIDEOS)
    assert counts == {
        "prepare_texts": len(TEXTS) * math.ceil(len(VIDEOS) / sizes.panel),
        "prepare_videos": len(VIDEOS),
    }


def test_no_texts_give_no_rows():
    assert score_in_blocks(shaken(), TEXTS[:0], VIDEOS).shape == (0, 5)


def test_scoring_drops_nothing_and_gives_every_module_its_own_mode_back():
    retriever = shaken(dropout=0.9)
    expected = retriever(TEXTS, VIDEOS).detach()
    retriever.train()
    retriever.video_head.eval()
    modes = [module.training for module in retriever.modules()]
    assert_close(score_in_blocks(retriever, TEXTS, VIDEOS), expected)
    assert [module.training for module in retriever.modules()] == modes


def test_a_failed_scoring_gives_the_modes_back_too():
    retriever = shaken().train()
    with pytest.raises(KeyError), scoring(retriever):
        raise KeyError
    assert all(module.training for module in retriever.modules())


def test_scores_from_blocks_can_enter_a_loss():
    scores = score_in_blocks(shaken(), TEXTS, VIDEOS)
    weight = torch.ones(5, requires_grad=True)
    (scores * weight).sum().backward()
    assert_close(weight.grad, scores.sum(0))


@pytest.mark.parametrize("memory", [1, 20_000, 2**29])
def test_videos_without_sound_share_one_mean_over_all_blocks(memory):
    retriever = shaken(missing_audio="text-mean")
    scores = score_in_blocks(retriever, TEXTS, VIDEOS, memory=memory)
    assert_close(scores, retriever(TEXTS, VIDEOS).detach(), rtol=0, atol=1e-5)
    alone = block_scorer(retriever, TEXTS, VIDEOS, memory=memory)(slice(0, 7), slice(1, 2))
    assert_close(alone, scores[:, 1:2], rtol=0, atol=1e-5)
    parts = parts_in_blocks(retriever, TEXTS, VIDEOS, memory=memory)["audio"]
    heard = VIDEOS.audio_mask
    means = parts[:, heard].mean(1, keepdim=True).expand(-1, int((~heard).sum()))
    assert_close(parts[:, ~heard], means)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["mgfi", "w-f", "mean-ff"])
@pytest.mark.parametrize("options", [{}, {"feed_forward": "own"}], ids=["shared", "own"])
def test_coarser_products_change_scores_a_little_and_keep_their_sums_fine(name, precision, options):
    retriever = shaken(name, **options)
    exact = score_in_blocks(retriever, TEXTS, VIDEOS)
    coarse = score_in_blocks(retriever, TEXTS, VIDEOS, precision=precision)
    assert coarse.dtype == torch.float32
    assert 0 < (coarse - exact).abs().max() < 2e-2


def test_a_head_without_hidden_layers_has_no_coarser_scores():
    retriever = shaken("mean+cmfi")
    coarse = score_in_blocks(retriever, TEXTS, VIDEOS, precision="bfloat16")
    assert torch.equal(coarse, score_in_blocks(retriever, TEXTS, VIDEOS))


def test_the_weight_of_the_sound_counts_in_scores_and_not_in_training():
    retriever = shaken()
    parts = retriever.parts(TEXTS, VIDEOS)
    retriever.audio_weight.fill_(0.5)
    wanted = parts["sentence"] + parts["words"] + parts["audio"] / 2
    assert_close(retriever(TEXTS, VIDEOS), wanted)
    assert_close(score_in_blocks(retriever, TEXTS, VIDEOS), wanted.detach(), rtol=0, atol=1e-5)
    assert_close(retriever.parts(TEXTS, VIDEOS)["audio"], parts["audio"] / 2)
    retriever.train()
    retriever.video_head.eval()
    assert_close(retriever(TEXTS, VIDEOS), sum(parts.values()))


def test_without_the_weight_of_the_sound_only_the_picture_ranks():
    retriever = shaken()
    retriever.audio_weight.fill_(0)
    picture = Retriever(retriever.video_head, None, logit_scale=100.0)
    scores = score_in_blocks(retriever, TEXTS, VIDEOS)
    assert_close(scores, score_in_blocks(picture, TEXTS, VIDEOS), rtol=0, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("name", head_names())
def test_a_gpu_scores_as_a_cpu_does(name):
    retriever = shaken(name)
    on_cpu = score_in_blocks(retriever, TEXTS, VIDEOS)
    device = torch.device("cuda")
    scores = score_in_blocks(retriever.to(device), TEXTS.to(device), VIDEOS.to(device))
    assert_close(scores.cpu(), on_cpu, rtol=0, atol=1e-5)
