import copy
import io
import math
from dataclasses import replace

import pytest
import torch
from making.planted import AUDIO_DIM, DIM, load_split, write_planted_cache

from vidret.data.cache import FeatureCache
from vidret.data.errors import ConfigError
from vidret.heads.catalog import build_retriever
from vidret.heads.metrics import summarize, text_to_video_ranks
from vidret.heads.options import HeadOptions
from vidret.heads.scoring import score_in_blocks
from vidret.pipelines.training.drawing import ALL, DISTINCT, ONE_EACH, count_batches
from vidret.pipelines.training.learners import fit_stage, head_learner, measure
from vidret.pipelines.training.loop import AUDIO, VIDEO_TEXT, Saves, Stage, fit_learner

PICTURE = Stage(name=VIDEO_TEXT, epochs=4, batch_size=16, lr=1e-2, weight_decay=0.01)
SOUND = Stage(name=AUDIO, epochs=4, batch_size=16, lr=1e-2, weight_decay=0.01)
STAGES = {VIDEO_TEXT: PICTURE, AUDIO: SOUND}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return write_planted_cache(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def train(cache):
    return load_split(cache, "train")


@pytest.fixture(scope="module")
def val(cache):
    return load_split(cache, "val")


def head(name="mgfi", *, seed=0, dropout=0.2):
    return build_retriever(
        name,
        dim=DIM,
        audio_dim=AUDIO_DIM,
        logit_scale=20.0,
        options=HeadOptions(dropout=dropout),
        seed=seed,
    )


def head_for(stage):
    return head("mgfi+cmfi" if stage.name == AUDIO else "mgfi")


def fit(stage, train, select, *, retriever=None, seed=0, resume=None, on_epoch=None):
    retriever = retriever or head_for(stage)
    progress = fit_stage(
        retriever,
        stage,
        train,
        select,
        seed=seed,
        on_epoch=on_epoch or (lambda *_: None),
        resume=resume,
    )
    return retriever, progress


def weights(retriever):
    return {name: weight.clone() for name, weight in retriever.state_dict().items()}


def same_bits(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def through_a_file(state):
    """The state as the next process would read it."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def states_of(stage, train, select, *, until):
    """The states that a fit saved until it was stopped, and its head as it stood then."""
    kept = []

    def keep(_, state):
        kept.append(through_a_file(state))
        if len(kept) == until:
            raise KeyboardInterrupt

    try:
        fit(stage, train, select, on_epoch=keep)
    except KeyboardInterrupt:
        assert until <= stage.epochs
    return kept


@pytest.mark.parametrize("stage", STAGES)
def test_the_same_seed_gives_the_same_bits(stage, train, val):
    (first, one), (second, two) = (fit(STAGES[stage], train, val) for _ in range(2))
    assert same_bits(weights(first), weights(second))
    assert one.history == two.history


def test_another_seed_gives_other_weights(train, val):
    first, _ = fit(PICTURE, train, val, seed=0)
    second, _ = fit(PICTURE, train, val, seed=1)
    assert not same_bits(weights(first), weights(second))


@pytest.mark.parametrize("stopped_after", range(1, PICTURE.epochs + 1))
@pytest.mark.parametrize("stage", STAGES)
def test_a_fit_stopped_after_any_epoch_goes_on_to_the_same_bits(stage, stopped_after, train, val):
    whole, expected = fit(STAGES[stage], train, val)
    state = states_of(STAGES[stage], train, val, until=stopped_after)[-1]
    resumed, progress = fit(STAGES[stage], train, val, resume=state)
    assert same_bits(weights(resumed), weights(whole))
    assert progress.history == expected.history


@pytest.mark.parametrize("pairs", [ALL, DISTINCT, ONE_EACH])
@pytest.mark.parametrize("stage", STAGES)
def test_a_fit_stopped_after_any_step_goes_on_to_the_same_bits(stage, pairs, train, val):
    stage = replace(STAGES[stage], epochs=2, pairs=pairs, ema=0.9)
    retriever, states = head_for(stage), []
    saves = Saves(every=0, keep=lambda state: states.append(through_a_file(state)))
    learner = head_learner(retriever, stage, train, val)
    expected = fit_learner(learner, stage, seed=0, on_epoch=lambda *_: None, saves=saves)
    steps = count_batches(learner.owners, size=stage.batch_size, pairs=pairs) * stage.epochs
    assert [state["schedule"]["last_epoch"] for state in states] == list(range(1, steps + 1))
    assert [state["epoch"] for state in states] == [0] * (steps // 2) + [1] * (steps // 2)
    for state in states:
        resumed, progress = fit(stage, train, val, resume=state)
        assert same_bits(weights(resumed), weights(retriever))
        assert progress.history == expected.history


def test_a_fit_hands_out_its_state_no_more_often_than_asked(train, val):
    states = []
    saves = Saves(every=3600, keep=states.append)
    learner = head_learner(head(), PICTURE, train, val)
    fit_learner(learner, PICTURE, seed=0, on_epoch=lambda *_: None, saves=saves)
    assert states == []


def test_a_fit_that_goes_on_trains_only_the_epochs_that_are_left(train, val):
    state = states_of(PICTURE, train, val, until=3)[-1]
    seen = []
    fit(PICTURE, train, val, resume=state, on_epoch=lambda progress, _: seen.append(progress.epoch))
    assert seen == [4]


def test_the_second_stage_leaves_every_weight_of_the_first_as_it_was(train, val):
    retriever = head("mgfi+cmfi")
    before = weights(retriever)
    fit(SOUND, train, val, retriever=retriever)
    after = weights(retriever)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("audio_head.") for name in changed)


def test_the_first_stage_trains_every_weight_of_its_head(train):
    retriever = head()
    before = weights(retriever)
    fit(replace(PICTURE, epochs=2), train, train, retriever=retriever)
    after = weights(retriever)
    fixed = {name for name, _ in retriever.named_buffers()}
    assert {name for name in before if torch.equal(before[name], after[name])} == fixed


def test_the_best_epoch_is_what_is_kept(train, val):
    seen = []
    retriever, progress = fit(
        replace(PICTURE, epochs=6),
        train,
        val,
        on_epoch=lambda _, state: seen.append(copy.deepcopy(state["weights"])),
    )
    scores = [(one["R@1"], -one["MnR"]) for one in progress.history]
    assert len(set(scores)) > 1
    best = scores.index(max(scores))
    assert best < len(scores) - 1, "make an epoch before the last one the best"
    assert same_bits(weights(retriever), seen[best])


def test_of_two_equal_epochs_the_first_is_kept(train, val):
    kept = []
    stage = replace(PICTURE, lr=1e-30)  # nothing changes from epoch to epoch
    _, progress = fit(stage, train, val, on_epoch=lambda one, _: kept.append(one.best_weights))
    assert len({tuple(one[name] for name in ("R@1", "MnR")) for one in progress.history}) == 1
    assert all(one is kept[0] for one in kept)


def test_no_epochs_leave_the_head_as_it_was(train, val):
    retriever, progress = fit(replace(PICTURE, epochs=0), train, val)
    assert same_bits(weights(retriever), weights(head()))
    assert progress.history == []


def test_the_history_says_what_a_measurement_would(train, val):
    retriever, progress = fit(replace(PICTURE, epochs=1), train, val)
    similarity = score_in_blocks(retriever, val.texts, val.videos)
    expected = summarize(text_to_video_ranks(similarity, val.owners))
    assert expected.items() <= progress.history[0].items()
    assert measure(retriever, val) == expected
    assert progress.history[0]["tau"] == retriever.tau.item()


def test_the_loss_falls(train, val):
    _, progress = fit(replace(PICTURE, epochs=8), train, val)
    losses = [one["loss"] for one in progress.history]
    assert losses[-1] < 0.6 * losses[0]


def test_a_trained_head_finds_events_that_the_mean_of_the_frames_blurs(cache, train, val):
    test = FeatureCache.open(cache).load("test")
    split = load_split(cache, "test")
    events = torch.tensor([kind == "event" for kind in test.kind])

    def recall(retriever):
        similarity = score_in_blocks(retriever, split.texts, split.videos)
        return text_to_video_ranks(similarity, split.owners).hits(1)[events].mean()

    trained, _ = fit(replace(PICTURE, epochs=8), train, val, retriever=head(dropout=0.0))
    assert recall(trained) > recall(head("mean")) + 0.2


def test_sound_finds_twins_that_look_the_same(cache, train, val):
    test = FeatureCache.open(cache).load("test")
    split = load_split(cache, "test")
    twins = torch.tensor([kind == "sound" for kind in test.kind])

    def recall(retriever):
        similarity = score_in_blocks(retriever, split.texts, split.videos)
        return text_to_video_ranks(similarity, split.owners).hits(1)[twins].mean()

    seen, _ = fit(replace(PICTURE, epochs=6), train, val, retriever=head(dropout=0.0))
    before = recall(seen)
    retriever = head("mgfi+cmfi", dropout=0.0)
    retriever.load_state_dict(seen.state_dict(), strict=False)
    fit(replace(SOUND, epochs=10), train, val, retriever=retriever)
    assert recall(retriever) > before + 0.15


def test_the_callers_random_numbers_are_left_alone(train, val):
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    fit(PICTURE, train, val)
    assert torch.equal(torch.randn(3), expected)


def test_the_callers_random_numbers_decide_nothing(train, val):
    torch.manual_seed(5)
    first, _ = fit(PICTURE, train, val)
    torch.manual_seed(6)
    second, _ = fit(PICTURE, train, val)
    assert same_bits(weights(first), weights(second))


def test_dropout_is_on_while_training_and_off_in_what_is_kept(train, val):
    dropped, _ = fit(PICTURE, train, val, retriever=head(dropout=0.5))
    plain, _ = fit(PICTURE, train, val, retriever=head(dropout=0.0))
    assert not same_bits(weights(dropped), weights(plain))
    first, second = (score_in_blocks(dropped, val.texts, val.videos) for _ in range(2))
    assert torch.equal(first, second)


def test_the_temperature_stays_below_its_ceiling(train, val):
    retriever = head()
    with torch.no_grad():
        retriever.tau.fill_(math.log(100.0))
    _, progress = fit(replace(PICTURE, lr=0.5), train, val, retriever=retriever)
    assert max(one["tau"] for one in progress.history) <= math.log(100.0) + 1e-6


def test_a_last_batch_of_one_caption_is_left_out_of_the_loss(train, val):
    rows = torch.zeros(17, dtype=torch.long)
    alike = replace(
        train, texts=train.texts[rows], videos=train.videos[rows], owners=torch.arange(17)
    )
    _, progress = fit(replace(PICTURE, epochs=1), alike, val, retriever=head(dropout=0.0))
    assert progress.history[0]["loss"] == pytest.approx(math.log(16))


def test_a_head_without_sound_has_no_second_stage(train, val):
    with pytest.raises(ConfigError, match="hears no sound"):
        fit(SOUND, train, val, retriever=head("mgfi"))
