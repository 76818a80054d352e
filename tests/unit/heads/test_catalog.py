import pytest
import torch
from making.heads import draw_texts, draw_videos

from vidret.data.errors import ConfigError
from vidret.heads.catalog import build_retriever, head_names, options_of
from vidret.heads.clip2video import CLIP2Video
from vidret.heads.mean import MeanPooling
from vidret.heads.mgfi import MGFI
from vidret.heads.options import HeadOptions
from vidret.heads.pooling import PooledFrames
from vidret.heads.tight import TightTransformer
from vidret.heads.tokenwise import TokenWise
from vidret.heads.xpool import XPool

KINDS = {
    "mean": MeanPooling,
    "seq-transf": PooledFrames,
    "seq-lstm": PooledFrames,
    "tight-transf": TightTransformer,
    "xpool": XPool,
    "wti": TokenWise,
    "clip2video": CLIP2Video,
    "adaclip": PooledFrames,
    "ea-clip4clip": PooledFrames,
}
SIZES = {"dim": 8, "audio_dim": 5, "logit_scale": 100.0}


def test_the_names_begin_with_the_rows_of_the_ablation():
    assert head_names()[:5] == ["mean", "mean-ff", "s-f", "w-f", "mgfi"]


def test_every_head_of_the_frames_goes_with_the_sound():
    names = head_names()
    plain = [name for name in names if not name.endswith("+cmfi")]
    assert names == [*plain, *(f"{name}+cmfi" for name in plain)]


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
        ("seq-transf+cmfi", ["frames", "audio"]),
        ("seq-lstm", ["frames"]),
        ("tight-transf+cmfi", ["pair", "audio"]),
        ("xpool", ["sentence"]),
        ("wti+cmfi", ["words", "frames", "audio"]),
        ("clip2video", ["frames", "aligned"]),
        ("adaclip", ["frames"]),
        ("ea-clip4clip+cmfi", ["frames", "audio"]),
    ],
)
def test_a_name_builds_what_it_says(name, parts):
    retriever = build_retriever(name, **SIZES)
    texts = draw_texts([2, 3], 8, dtype=torch.float32)
    videos = draw_videos([1, 2], 8, 5, dtype=torch.float32)
    assert list(retriever.parts(texts, videos)) == parts
    assert isinstance(retriever.video_head, KINDS.get(name.partition("+")[0], MGFI))


def test_a_name_with_a_slip_gets_a_hint():
    with pytest.raises(ConfigError, match=r"no head 'mfgi': did you mean 'mgfi'\?.*mean-ff"):
        build_retriever("mfgi", **SIZES)


def test_a_name_like_none_gets_the_list():
    with pytest.raises(ConfigError, match="no head 'zebra': The heads are mean, mean-ff"):
        build_retriever("zebra", **SIZES)


def test_a_head_names_the_options_that_it_reads():
    assert options_of("mean") == frozenset()
    assert options_of("xpool") == {"dropout", "start"}
    assert options_of("xpool+cmfi") == {"dropout", "start", "missing_audio"}
    with pytest.raises(ConfigError, match="no head 'x-pool': did you mean 'xpool'"):
        options_of("x-pool")


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
