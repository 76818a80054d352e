import io
import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from making.planted import AUDIO_DIM, DIM, load_split, write_planted_cache

from vidret.data.cache import FeatureCache
from vidret.data.errors import DamagedError
from vidret.heads.catalog import build_retriever
from vidret.heads.options import HeadOptions
from vidret.pipelines.training.fitting import as_split
from vidret.pipelines.training.learners import batch_loss, fit_stage, head_learner, measure
from vidret.pipelines.training.loop import AUDIO, VIDEO_TEXT, Stage, fit_learner

PICTURE = Stage(name=VIDEO_TEXT, epochs=3, batch_size=16, lr=1e-2, weight_decay=0.1)
SOUND = replace(PICTURE, name=AUDIO)
VARIED = {
    "decay to zero": {"decay_to": "zero"},
    "linear": {"schedule": "linear", "warm_up": 0.3},
    "constant": {"schedule": "constant", "warm_up": 0.0},
    "unclipped": {"clip_norm": 0.0},
    "average": {"ema": 0.9},
    "distinct": {"pairs": "distinct"},
    "one each": {"pairs": "one-each"},
    "positive": {"same_video": "positive", "directions": "sum"},
    "late": {"temperature": "late"},
    "fixed": {"temperature": "fixed"},
    "dual softmax": {"loss_dual_softmax": 0.1},
    "distilled": {"loss_distillation": 0.3},
    "distilled by tokens": {"loss_distillation": 0.3, "loss_distillation_by": "tokens"},
    "bfloat16": {"precision": "bfloat16"},
    "patient": {"patience": 1},
    "together": {
        "ema": 0.8,
        "pairs": "distinct",
        "temperature": "late",
        "precision": "bfloat16",
        "schedule": "linear",
        "patience": 2,
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    splits = {"train": 32, "val": 12}
    return write_planted_cache(tmp_path_factory.mktemp("planted"), splits=splits, dense=True)


@pytest.fixture(scope="module")
def train(folder):
    return load_split(folder, "train")


@pytest.fixture(scope="module")
def jittered(folder):
    features = FeatureCache.open(folder).load("train")
    return as_split(features, torch.device("cpu"), jitter=True)


@pytest.fixture(scope="module")
def val(folder):
    return load_split(folder, "val")


def head(stage=PICTURE, *, dropout=0.2):
    return build_retriever(
        "mgfi+cmfi" if stage.name == AUDIO else "mgfi",
        dim=DIM,
        audio_dim=AUDIO_DIM,
        logit_scale=20.0,
        options=HeadOptions(dropout=dropout),
    )


def nothing(*_):
    """Neither saves nor stops."""


def fit(stage, train, val, *, resume=None, on_epoch=nothing, retriever=None):
    retriever = retriever or head(stage)
    progress = fit_stage(retriever, stage, train, val, seed=0, on_epoch=on_epoch, resume=resume)
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


def keep_in(states):
    """An on_epoch that keeps every state."""
    return lambda _, state: states.append(through_a_file(state))


def states_of(stage, train, val):
    """The state after each epoch."""
    states = []
    fit(stage, train, val, on_epoch=keep_in(states))
    return states


@pytest.mark.parametrize("stage", [PICTURE, SOUND], ids=[VIDEO_TEXT, AUDIO])
@pytest.mark.parametrize("change", VARIED.values(), ids=VARIED)
def test_a_fit_stopped_after_any_epoch_goes_on_to_the_same_bits(stage, change, train, val):
    stage = replace(stage, **change)
    whole, expected = fit(stage, train, val)
    for state in states_of(stage, train, val):
        resumed, progress = fit(stage, train, val, resume=state)
        assert same_bits(weights(resumed), weights(whole))
        assert progress.history == expected.history


def test_a_fit_with_jitter_goes_on_to_the_same_bits(jittered, val):
    whole, expected = fit(PICTURE, jittered, val)
    for state in states_of(PICTURE, jittered, val):
        resumed, progress = fit(PICTURE, jittered, val, resume=state)
        assert same_bits(weights(resumed), weights(whole))
        assert progress.history == expected.history


@pytest.mark.gpu
def test_a_fit_on_a_gpu_takes_every_setting_and_goes_on(folder):
    features, device = FeatureCache.open(folder).load("train"), torch.device("cuda")
    split = as_split(features, device, jitter=True)
    stage = replace(PICTURE, **VARIED["together"])
    states = []
    fit(stage, split, split, retriever=head(stage).to(device), on_epoch=keep_in(states))
    _, progress = fit(stage, split, split, retriever=head(stage).to(device), resume=states[0])
    assert progress.history[-1]["loss"] < progress.history[0]["loss"]


def test_jitter_trains_on_other_frames_and_evaluation_keeps_its_own(jittered, train, val):
    first, _ = fit(replace(PICTURE, epochs=1), train, val)
    second, _ = fit(replace(PICTURE, epochs=1), jittered, val)
    assert not same_bits(weights(first), weights(second))
    assert measure(first, jittered) == measure(first, train)


@pytest.fixture(scope="module")
def usual(train, val):
    """The weights that an epoch of the usual settings gives."""
    return weights(fit(replace(PICTURE, epochs=1), train, val)[0])


@pytest.mark.parametrize("name", sorted(VARIED.keys() - {"patient"}))  # it only stops
def test_every_setting_changes_what_is_learned(name, usual, train, val):
    other, _ = fit(replace(PICTURE, epochs=1, **VARIED[name]), train, val)
    assert not same_bits(usual, weights(other))


@pytest.mark.parametrize("change", VARIED.values(), ids=VARIED)
def test_the_second_stage_leaves_every_bit_of_the_first(change, train, val):
    stage = replace(SOUND, **change)
    retriever = head(stage)
    before = weights(retriever)
    fit(stage, train, val, retriever=retriever)
    after = weights(retriever)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("audio_head.") for name in changed)


def averages_by_hand(train, val, decay):
    """The average over the steps of a fit without one, from the weights after each step."""
    stage = replace(PICTURE, epochs=1)
    retriever = head()
    learner = head_learner(retriever, stage, train, val)
    path = [weights(retriever)]

    def loss(batch):
        if path[-1] is not None:
            path.append(weights(retriever))
        return batch_loss(retriever, stage, batch.texts, batch.videos, batch.owners)

    fit_learner(replace(learner, loss=loss), stage, seed=0, on_epoch=nothing)
    path = [path[0], *path[2:], weights(retriever)]  # the first call saw the start once more
    average = {name: weight.double() for name, weight in path[0].items()}
    for step, at in enumerate(path[1:], 1):
        kept = min(decay, (1 + step) / (10 + step))
        average = {name: kept * average[name] + (1 - kept) * at[name].double() for name in at}
    return average


def test_the_average_is_what_is_measured_and_kept(train, val):
    seen = []
    retriever, progress = fit(
        replace(PICTURE, epochs=1, ema=0.9),
        train,
        val,
        on_epoch=keep_in(seen),
    )
    expected = averages_by_hand(train, val, 0.9)
    for name, weight in weights(retriever).items():
        torch.testing.assert_close(weight.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert progress.history[0].items() >= measure(retriever, val).items()
    assert progress.history[0]["tau"] == retriever.tau.item()
    assert not same_bits(seen[0]["weights"], weights(retriever)), "it goes on from its own weights"


def numbers_of(scores):
    """A measurement that says what it is told, one epoch after the other."""
    left = iter(scores)
    return lambda: {"R@1": next(left), "MnR": 1.0}


@pytest.mark.parametrize(
    ("scores", "patience", "epochs"),
    [
        ([1, 2, 2, 2, 9, 9], 2, 4),
        ([1, 2, 2, 3, 3, 3], 2, 6),
        ([5, 1, 1, 1, 1, 1], 1, 2),
        ([5, 1, 1, 1, 1, 1], 0, 6),
    ],
)
def test_a_stage_stops_when_its_patience_ends(scores, patience, epochs, train, val):
    stage = replace(PICTURE, epochs=6, patience=patience, lr=1e-4)
    learner = replace(head_learner(head(), stage, train, val), measure=numbers_of(scores))
    progress = fit_learner(learner, stage, seed=0, on_epoch=nothing)
    assert len(progress.history) == epochs
    assert progress.best_epoch == scores.index(max(scores[:epochs])) + 1


def test_a_stage_that_had_stopped_trains_no_more_when_it_goes_on(train, val):
    stage = replace(PICTURE, epochs=6, patience=1)
    states, scores = [], [5, 1, 1, 1, 1, 1]
    learner = replace(head_learner(head(), stage, train, val), measure=numbers_of(scores))
    fit_learner(learner, stage, seed=0, on_epoch=keep_in(states))
    progress = fit_learner(learner, stage, seed=0, on_epoch=nothing, resume=states[-1])
    assert len(progress.history) == 2


@pytest.mark.parametrize(
    ("temperature", "moves"), [("learned", [1, 1]), ("late", [0, 1]), ("fixed", [0, 0])]
)
def test_the_temperature_moves_when_it_may(temperature, moves, train, val):
    stage = replace(PICTURE, epochs=2, temperature=temperature)
    _, progress = fit(stage, train, val)
    taus = [math.log(20.0), *(one["tau"] for one in progress.history)]
    moved = [one != pytest.approx(other, abs=1e-6) for one, other in pairwise(taus)]
    assert moved == [bool(one) for one in moves]


def test_bfloat16_is_near_float32_and_its_loss_is_float32(train):
    retriever = head(dropout=0.0).eval()
    rows = torch.arange(16)
    parts = train.texts[rows], train.videos[train.owners[rows]], train.owners[rows]
    full = batch_loss(retriever, PICTURE, *parts)
    half = batch_loss(retriever, replace(PICTURE, precision="bfloat16"), *parts)
    assert half.dtype == torch.float32
    assert half.item() != full.item()
    assert half.item() == pytest.approx(full.item(), rel=0.05)


def poisoned(train, value):
    """The split with one caption that no number can be made of."""
    sentence = train.texts.sentence.clone()
    sentence[7] = value
    return replace(train, texts=replace(train.texts, sentence=sentence))


def test_a_loss_that_is_not_finite_names_its_place_its_captions_and_videos(train, val):
    place, captions = "in epoch 1, step 1", rf"train-\d+#\d, .*and {len(train) - 5} more"
    videos = rf"videos train-\d+, .*and {len(train.videos) - 5} more"
    told = f"the loss of stage video-text is nan {place}, on captions {captions} of {videos}: "
    told += r".*vidret cache verify.*lower --lr;"
    with pytest.raises(DamagedError, match=told):
        fit(replace(PICTURE, batch_size=len(train)), poisoned(train, torch.inf), val)


def test_a_gradient_that_is_not_finite_stops_before_the_weights_change(train, val):
    retriever = head()
    learner = head_learner(retriever, PICTURE, train, val)
    before = weights(retriever)

    def loss(_):
        return (retriever.tau - retriever.tau.detach()).abs().sqrt()  # 0, and no slope there

    with pytest.raises(DamagedError, match=r"norm of the gradient of stage video-text is nan"):
        fit_learner(replace(learner, loss=loss), PICTURE, seed=0, on_epoch=nothing)
    assert same_bits(weights(retriever), before)


def test_what_was_finished_before_stays_and_can_be_gone_on_from(train, val):
    states, retriever = [], head()
    learner = head_learner(retriever, PICTURE, train, val)
    calls = []

    def loss(batch):
        calls.append(batch)
        made = learner.loss(batch)
        return made * torch.nan if len(calls) == 7 else made

    with pytest.raises(DamagedError, match="in epoch 2, step 7"):
        fit_learner(
            replace(learner, loss=loss),
            PICTURE,
            seed=0,
            on_epoch=keep_in(states),
        )
    whole, expected = fit(PICTURE, train, val)
    resumed, progress = fit(PICTURE, train, val, resume=states[-1])
    assert same_bits(weights(resumed), weights(whole))
    assert progress.history == expected.history


def test_captions_without_ids_are_named_by_their_numbers(train, val):
    nameless = replace(poisoned(train, torch.nan), caption_ids=())
    with pytest.raises(DamagedError, match=r"on captions \d+, \d+, "):
        fit(replace(PICTURE, batch_size=len(train)), nameless, val)
