import pytest
from making.caches import a_fingerprint
from making.contents import USUAL, a_run, a_setting

from vidret.data.cache import Coverage
from vidret.data.samples import AudioState
from vidret.pipelines.reporting.deviations import Subject, find_deviations
from vidret.pipelines.training.runs import AudioWeight, Origin

PAPER_LIKE = {
    "backbone": "ViT-B-32-quickgelu",
    "frames": 12,
    "dim": 512,
    "audio_dim": 512,
    "audio_model": "Cnn14",
    "dataset": "msrvtt-9k",
}
RECIPE = {"epochs": 5, "audio_epochs": 5, "batch_size": 32, "directions": "sum"}
COVERED = Coverage(expected=1000, found=1000, failed=0, sound=dict.fromkeys(AudioState, 0))


def an_origin(**changes):
    values = {
        "run": "before",
        "heads": "abc",
        "fingerprint": a_fingerprint(**PAPER_LIKE, backbone_weights="before"),
        "backbone": "ViT-B-32-quickgelu@openai",
        "audio": "Cnn14",
        "e2e": True,
        "unfreeze": ["visual", "text", "audio"],
        "lr_clip": 1e-6,
        "lr_audio": 5e-5,
    }
    return Origin(**values | changes)


def as_in_the_paper(*, settings=None, facts=None, setting=None, backbone="@openai", **changes):
    fingerprint = a_fingerprint(**PAPER_LIKE | (facts or {}))
    told = {"dataset": "msrvtt-9k", "protocol": "msrvtt-1ka", "videos": 1000, "coverage": COVERED}
    run = a_run(
        fingerprint=fingerprint,
        settings=RECIPE | (settings or {}),
        **{"origin": an_origin()} | changes,
    )
    return Subject(
        run=run,
        fingerprint=fingerprint,
        backbone=f"{fingerprint.backbone}{backbone}",
        setting=a_setting(**told | (setting or {})),
    )


def differing(subject):
    return {one.point: one for one in find_deviations(subject) if one.kind == "differs"}


def test_a_run_made_as_the_paper_says_differs_in_nothing():
    assert differing(as_in_the_paper()) == {}


def test_what_the_paper_leaves_open_is_told_as_open():
    found = {one.point: one for one in find_deviations(as_in_the_paper()) if one.kind == "open"}
    assert found["dropout behind the feed-forward"].here == f"{USUAL['dropout']:g}"
    assert found["split that picks the epoch"].here == USUAL["select_on"]
    assert found["temperature of the loss"].here == USUAL["temperature"]
    assert {one.paper for one in found.values()} == {"not stated"}


def test_frozen_encoders_are_the_first_thing_to_know():
    subject = as_in_the_paper(origin=None)
    (one,) = differing(subject).values()
    assert one == find_deviations(subject)[0]
    assert one.point == "encoders"
    assert one.here.startswith("frozen")


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        ({"unfreeze": ["visual"]}, "fine-tuned: visual"),
        ({"lr_clip": 1e-5}, "lr 1e-05"),
        ({"lr_audio": 1e-4}, "lr 0.0001"),
        ({"limits": ["last:2"]}, "fine-tuned: visual, text, audio, last:2 (CLIP's lr"),
        ({"lora": 8}, "adapters of rank 8, lr 0.0001"),
        ({"layer_decay": 0.75}, "layer decay 0.75"),
        ({"batchnorm": "train"}, "BatchNorm trained"),
        ({"augment": ["crop", "flip"]}, "other pictures by crop and flip"),
    ],
)
def test_encoders_that_learned_otherwise_are_told(origin, told):
    (one,) = differing(as_in_the_paper(origin=an_origin(**origin))).values()
    assert one.point == "encoders"
    assert told in one.here


def test_a_fine_tuning_that_kept_its_start_counts_as_frozen():
    origin = an_origin(fingerprint=a_fingerprint(**PAPER_LIKE))
    (one,) = differing(as_in_the_paper(origin=origin)).values()
    assert one.here == "frozen: no epoch of fine-tuning was better"


def test_a_head_without_sound_needs_no_tuned_sound_network():
    origin = an_origin(unfreeze=["visual", "text"], lr_audio=1.0)
    assert differing(as_in_the_paper(head="mgfi", origin=origin)) == {}


@pytest.mark.parametrize(
    ("facts", "point", "here"),
    [
        ({"backbone": "ViT-L-14"}, "backbone", "ViT-L-14"),
        ({"frames": 8}, "frames of a video", "8"),
        ({"dim": 768}, "width of frames and words", "768"),
        ({"audio_dim": 2048}, "width of the sound", "2048 (Cnn14)"),
    ],
)
def test_other_features_are_told(facts, point, here):
    assert differing(as_in_the_paper(facts=facts))[point].here == here


def test_weights_from_a_file_may_or_may_not_be_those_of_the_paper():
    found = {one.point: one for one in find_deviations(as_in_the_paper(backbone="@/a/file.pt"))}
    assert found["weights of the backbone"].kind == "open"
    assert "aaaa" in found["weights of the backbone"].here


def test_thirty_frames_are_the_papers_on_didemo():
    setting = {"dataset": "didemo", "protocol": "pairs"}
    facts = {"dataset": "didemo"}
    assert "frames of a video" not in differing(
        as_in_the_paper(facts=facts | {"frames": 30}, setting=setting)
    )
    found = differing(as_in_the_paper(facts=facts, setting=setting))
    assert found["frames of a video"].paper == "30"


@pytest.mark.parametrize(
    ("settings", "point", "here"),
    [
        ({"batch_size": 128}, "batch size", "128"),
        ({"audio_batch_size": 64}, "batch size of the sound head", "64"),
        ({"epochs": 20}, "epochs", "20 and then 5"),
        ({"word_weight_scale": "sqrt_c"}, "scale of the softmax over words (7)", "sqrt_c"),
        ({"feed_forward": "own"}, "feed-forward of both branches (3, 8)", "own"),
        ({"directions": "mean"}, "both directions of the loss (14)", "mean"),
        ({"audio_weight": 0.5}, "weight of the sound in a score (12, 13)", "0.5"),
        ({"projection_bias": True}, "bias of the projections (1, 4)", "yes"),
    ],
)
def test_another_setting_is_told_beside_the_printed_one(settings, point, here):
    found = differing(as_in_the_paper(settings=settings))
    assert {name: one.here for name, one in found.items()} == {point: here}


def test_a_weight_of_the_sound_that_was_found_is_told_as_found():
    weight = AudioWeight(chosen=0.25, tried=[])
    subject = as_in_the_paper(settings={"audio_weight": "val"}, audio_weight=weight)
    (one,) = differing(subject).values()
    assert (one.paper, one.here) == ("1", "0.25, found on val")


def test_a_setting_that_cannot_matter_to_a_head_is_not_told():
    settings = {"word_weight_scale": "sqrt_c", "audio_weight": 0.5, "audio_batch_size": 64}
    assert differing(as_in_the_paper(head="s-f", settings=settings)) == {}
    untrained = as_in_the_paper(head="mean", history={}, settings=settings | {"epochs": 1})
    assert [one.point for one in find_deviations(untrained)] == []


def test_videos_that_are_gone_are_told():
    gone = Coverage(expected=1000, found=930, failed=70, sound=dict.fromkeys(AudioState, 0))
    found = differing(as_in_the_paper(setting={"coverage": gone, "videos": 930}))
    assert {name: one.here for name, one in found.items()} == {
        "videos of the split": "930 of 1,000 videos found"
    }


def test_a_list_of_another_length_is_told():
    short = Coverage(expected=40, found=40, failed=0, sound=dict.fromkeys(AudioState, 0))
    found = differing(as_in_the_paper(setting={"coverage": short}))
    assert found["videos of the list"].paper == "1,000 as published"


def test_a_head_trained_on_another_set_is_told():
    found = differing(as_in_the_paper(setting={"dataset": "msvd", "protocol": "pairs"}))
    assert found["training set"].here == "msrvtt-9k"


@pytest.mark.parametrize(
    ("head", "told"),
    [("xpool", "xpool: docs/baselines.md"), ("hcmi+cmfi", "hcmi+cmfi (reconstruction): docs/hcmi")],
)
def test_another_papers_head_is_told_before_all_else(head, told):
    first = find_deviations(as_in_the_paper(head=head))[0]
    assert first.point == "method"
    assert first.here.startswith(told)


def test_the_paper_s_own_heads_are_no_other_method():
    assert "method" not in differing(as_in_the_paper(head="s-f+cmfi"))
