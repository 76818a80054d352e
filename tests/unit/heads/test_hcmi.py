from dataclasses import replace

import pytest
import torch
from making.heads import draw_texts, draw_videos, shake
from torch.testing import assert_close

from vidret.data.errors import ConfigError, DamagedError
from vidret.heads.catalog import build_retriever
from vidret.heads.hcmi import HCMI
from vidret.heads.hierarchy import HierarchyOptions, named_levels
from vidret.heads.mean import MeanPooling
from vidret.heads.options import HeadOptions
from vidret.heads.retriever import VideoHead
from vidret.heads.scoring import score_in_blocks
from vidret.heads.tokenwise import TokenWise

DIM = 8
TEXTS = draw_texts([3, 5, 1, 0], DIM)
VIDEOS = draw_videos([4, 1, 6, 3, 9], DIM, 2)
WAYS = ("density", "soft", "even")
LEVELS = ("all", "frame", "clip", "video", "frame+clip", "frame+video", "clip+video")


def head_of(*, shaken=True, **options) -> HCMI:
    torch.manual_seed(0)
    head = HCMI(DIM, options=HeadOptions(**{"layers": 2} | options)).double().eval()
    return shake(head) if shaken else head


def test_it_is_a_head_as_all_others_are():
    assert isinstance(head_of(), VideoHead)


@pytest.mark.parametrize("way", WAYS)
def test_the_untrained_level_of_whole_videos_is_clip_alone(way):
    head = head_of(shaken=False, hcmi_clustering=way, hcmi_levels="video")
    assert_close(head(TEXTS, VIDEOS), MeanPooling()(TEXTS, VIDEOS), rtol=0, atol=1e-12)


def test_the_untrained_level_of_frames_is_drls_interaction_of_clips_own():
    untrained = TokenWise(DIM, HeadOptions()).double()
    head = head_of(shaken=False, hcmi_levels="frame")
    assert_close(head(TEXTS, VIDEOS), untrained(TEXTS, VIDEOS), rtol=0, atol=1e-12)


def test_without_attention_the_level_of_frames_is_drls_interaction():
    head = head_of(hcmi_levels="frame", hcmi_frame_attention=False, hcmi_word_layers=0)
    same = TokenWise(DIM, HeadOptions()).double()
    same.of_words.load_state_dict(head.words.weights.state_dict())
    same.of_frames.load_state_dict(head.frames.weights.state_dict())
    assert_close(head(TEXTS, VIDEOS), same(TEXTS, VIDEOS), rtol=0, atol=1e-12)


@pytest.mark.parametrize("levels", LEVELS)
def test_the_parts_are_the_levels_and_sum_to_the_score(levels):
    head = head_of(hcmi_levels=levels)
    parts = head.parts(TEXTS, VIDEOS)
    assert tuple(parts) == named_levels(levels) == head.levels
    assert_close(sum(parts.values()), head(TEXTS, VIDEOS), rtol=0, atol=1e-12)


@pytest.mark.parametrize("levels", LEVELS[1:])
def test_a_level_that_is_off_leaves_nothing_that_could_learn(levels):
    head = head_of(hcmi_levels=levels)
    head(draw_texts([7, 9, 8], DIM), draw_videos([9, 8, 12], DIM, 2)).square().sum().backward()
    unused = {name for name, weight in head.named_parameters() if weight.grad is None}
    assert unused == set()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("levels", ["all", "frame", "clip", "video"])
def test_frame_weights_sum_to_one_and_leave_padding_out(way, levels):
    weights = head_of(hcmi_clustering=way, hcmi_levels=levels).frame_weights(TEXTS, VIDEOS)
    assert_close(weights.sum(-1), torch.ones(4, 5, dtype=torch.float64))
    assert not weights[:, ~VIDEOS.frame_mask].any()


def test_the_frame_that_the_only_word_is_like_counts_most():
    head = head_of(shaken=False)
    texts = replace(draw_texts([1], DIM), words=VIDEOS.frames[4:, 5:6])
    weights = head.frame_weights(texts, VIDEOS[4:])[0, 0]
    assert int(weights.argmax()) == 5


def test_frames_that_look_at_one_another_know_their_places():
    turned = replace(VIDEOS, frames=VIDEOS.frames.flip(1), frame_mask=VIDEOS.frame_mask.flip(1))
    assert (head_of()(TEXTS, turned) - head_of()(TEXTS, VIDEOS)).abs().max() > 1e-4


@pytest.mark.parametrize("way", ["density", "soft"])
def test_frames_that_do_not_have_no_order(way):
    head = head_of(hcmi_frame_attention=False, hcmi_clustering=way)
    turned = replace(VIDEOS, frames=VIDEOS.frames.flip(1), frame_mask=VIDEOS.frame_mask.flip(1))
    assert_close(head(TEXTS, turned), head(TEXTS, VIDEOS), rtol=0, atol=1e-12)


def test_equal_stretches_have_an_order_even_so():
    head = head_of(hcmi_frame_attention=False, hcmi_clustering="even")
    turned = replace(VIDEOS, frames=VIDEOS.frames[:, [3, 0, 5, 1, 2, 4, 8, 6, 7]])
    whole = VIDEOS.frame_mask.all(1)
    assert (head(TEXTS, turned) - head(TEXTS, VIDEOS))[:, whole].abs().max() > 1e-4


def test_more_frames_than_the_table_has_places_are_no_trouble():
    videos = draw_videos([100, 3], DIM, 2)
    assert head_of()(TEXTS, videos).isfinite().all()


def test_a_video_without_frames_is_refused():
    mask = VIDEOS.frame_mask.clone()
    mask[1] = False
    with pytest.raises(DamagedError, match=r"row 1 of a batch of 5 videos has no frames"):
        head_of()(TEXTS, replace(VIDEOS, frame_mask=mask))


@pytest.mark.parametrize("way", WAYS)
def test_dropout_touches_training_alone(way):
    head = head_of(dropout=0.5, hcmi_clustering=way)
    scores = head(TEXTS, VIDEOS)
    assert_close(head(TEXTS, VIDEOS), scores)
    head.train()
    assert not torch.equal(head(TEXTS, VIDEOS), scores)


def test_the_sound_is_added_to_the_levels():
    retriever = build_retriever("hcmi+cmfi", dim=DIM, audio_dim=2, logit_scale=10.0)
    shake(retriever.double()).eval()
    parts = retriever.parts(TEXTS, VIDEOS)
    assert list(parts) == ["frame-word", "clip-phrase", "video-sentence", "audio"]
    expected = retriever.video_head(TEXTS, VIDEOS) + retriever.audio_head(TEXTS, VIDEOS)
    assert_close(score_in_blocks(retriever, TEXTS, VIDEOS), expected.detach())


@pytest.mark.parametrize(("words", "frames"), [(1, 1), (9, 3), (4, 40), (30, 12)])
def test_what_scoring_holds_for_a_pair_is_no_more_than_it_says(words, frames, memory_peak):
    head = head_of().float()
    number = 30
    texts = head.prepare_texts(draw_texts([words] * number, DIM, dtype=torch.float32))
    videos = head.prepare_videos(draw_videos([frames] * number, DIM, 2, dtype=torch.float32))
    with torch.inference_mode(), memory_peak() as peak:
        head.score(texts, videos)
    assert peak.bytes <= 4 * head.floats_per_pair(words, frames) * number**2


@pytest.mark.parametrize(("words", "frames"), [(1, 1), (9, 3), (4, 40), (30, 12)])
@pytest.mark.parametrize("hidden", [None, 3, 200])
def test_what_preparing_holds_is_no_more_than_it_says(words, frames, hidden, memory_peak):
    head = head_of(hidden=hidden).float()
    number = 20
    texts = draw_texts([words] * number, DIM, dtype=torch.float32)
    videos = draw_videos([frames] * number, DIM, 2, dtype=torch.float32)
    with torch.inference_mode(), memory_peak() as peak:
        head.prepare_texts(texts)
    assert peak.bytes <= 4 * head.floats_per_text(words, DIM) * number
    with torch.inference_mode(), memory_peak() as peak:
        head.prepare_videos(videos)
    assert peak.bytes <= 4 * head.floats_per_video(frames, DIM) * number


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [("hcmi_clips", 0, 1), ("hcmi_phrases", -2, 1), ("hcmi_positives", -1, 0)],
)
def test_numbers_that_make_no_sense_are_refused(name, value, least):
    with pytest.raises(ConfigError, match=f"{name} is {value}: give {least} or more"):
        HierarchyOptions(**{name: value})


@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_a_margin_that_is_no_lead_is_refused(value):
    with pytest.raises(ConfigError, match=r"hcmi_margin is .*: give 0 or more"):
        HeadOptions(hcmi_margin=value)
