import pytest
import torch
from making.heads import draw_texts, draw_videos

from vidret.data.errors import ConfigError
from vidret.heads.catalog import build_retriever, head_names
from vidret.heads.mean import MeanPooling
from vidret.heads.mgfi import MGFI
from vidret.heads.options import HeadOptions

SIZES = {"dim": 8, "audio_dim": 5, "logit_scale": 100.0}


def test_the_names_are_the_rows_of_the_ablation():
    assert head_names() == [
        "mean", "mean-ff", "s-f", "w-f", "mgfi",
        "mean+cmfi", "mean-ff+cmfi", "s-f+cmfi", "w-f+cmfi", "mgfi+cmfi",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("mean", ["frames"]),
        ("mean-ff", ["frames"]),
        ("s-f", ["sentence"]),
        ("w-f", ["words"]),
        ("mgfi", ["sentence", "words"]),
        ("mean+cmfi", ["frames", "audio"]),
        ("mean-ff+cmfi", ["frames", "audio"]),
        ("s-f+cmfi", ["sentence", "audio"]),
        ("w-f+cmfi", ["words", "audio"]),
        ("mgfi+cmfi", ["sentence", "words", "audio"]),
    ],
)
def test_a_name_builds_what_it_says(name, parts):
    retriever = build_retriever(name, **SIZES)
    texts = draw_texts([2, 3], 8, dtype=torch.float32)
    videos = draw_videos([1, 2], 8, 5, dtype=torch.float32)
    assert list(retriever.parts(texts, videos)) == parts
    pooling = MeanPooling if name.split("+")[0] == "mean" else MGFI
    assert isinstance(retriever.video_head, pooling)


def test_a_name_with_a_slip_gets_a_hint():
    with pytest.raises(ConfigError, match=r"no head 'mfgi': did you mean 'mgfi'\?.*mean-ff"):
        build_retriever("mfgi", **SIZES)


def test_a_name_like_none_gets_the_list():
    with pytest.raises(ConfigError, match="no head 'zebra': The heads are mean, mean-ff"):
        build_retriever("zebra", **SIZES)


def test_the_settings_reach_the_head():
    retriever = build_retriever(
        "mgfi", **SIZES, options=HeadOptions(dropout=0.1, hidden=3, word_weight_scale="sqrt_c")
    )
    head = retriever.video_head
    assert head.dropout.p == 0.1
    assert head.feed_forward.first.out_features == 3
    assert head.word_log_scale.exp().item() == pytest.approx(8**-0.5)


def test_the_paper_decides_what_is_not_said():
    head = build_retriever("mgfi", **SIZES).video_head
    assert head.word_log_scale.exp().item() == 1
    assert head.feed_forward.first.out_features == 8
    assert head.dropout.p == 0.3


def test_a_seed_decides_the_weights_and_disturbs_no_other_draw():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (build_retriever("mgfi+cmfi", **SIZES, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.audio_head.null, same.audio_head.null)
    assert torch.equal(
        one.video_head.feed_forward.first.weight, same.video_head.feed_forward.first.weight
    )
    assert not torch.equal(one.audio_head.null, other.audio_head.null)
