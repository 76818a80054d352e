import math

import pytest
import torch
from torch import nn

from vidret.pipelines.training.optimizing import (
    AdamW,
    learning_weights,
    limit_gradient,
    rate_schedule,
    share_of_rate,
    weight_groups,
)


def a_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def take_steps(net, count, *, decay_to, lr=0.05, weight_decay=0.3):
    groups = weight_groups(net, lr=lr, weight_decay=weight_decay)
    optimizer = AdamW(groups, lr=lr, decay_to=decay_to)
    generator = torch.Generator().manual_seed(1)
    gradients = []
    for _ in range(count):
        gradients.append([torch.randn(w.shape, generator=generator) for w in net.parameters()])
        for weight, gradient in zip(net.parameters(), gradients[-1], strict=True):
            weight.grad = gradient.clone()
        optimizer.pull_to_start()
        optimizer.step()
    return gradients


def by_the_book(start, gradients, *, lr, weight_decay, target):
    """AdamW in double precision, a weight at a time, with its decay towards `target`."""
    weight, mean, square = start.double(), 0.0, 0.0
    for step, gradient in enumerate(gradients, 1):
        weight = weight - lr * weight_decay * (weight - target.double())
        mean = 0.9 * mean + 0.1 * gradient.double()
        square = 0.999 * square + 0.001 * gradient.double() ** 2
        corrected = mean / (1 - 0.9**step), square / (1 - 0.999**step)
        weight = weight - lr * corrected[0] / (corrected[1].sqrt() + 1e-8)
    return weight


@pytest.mark.parametrize("decay_to", ["start", "zero"])
def test_matrices_decay_to_what_was_asked_for_and_nothing_else_decays(decay_to):
    net = a_net()
    starts = [weight.detach().clone() for weight in net.parameters()]
    gradients = take_steps(net, 12, decay_to=decay_to)
    for place, (weight, start) in enumerate(zip(net.parameters(), starts, strict=True)):
        expected = by_the_book(
            start,
            [drawn[place] for drawn in gradients],
            lr=0.05,
            weight_decay=0.3 if weight.ndim > 1 else 0.0,
            target=start if decay_to == "start" else torch.zeros_like(start),
        )
        torch.testing.assert_close(weight.detach().double(), expected, rtol=1e-5, atol=1e-6)


def test_the_matrices_of_an_lstm_decay_and_its_biases_do_not():
    lstm = nn.LSTM(3, 3)
    decaying, others = weight_groups(lstm, lr=1.0, weight_decay=0.1)
    assert {id(weight) for weight in decaying["params"]} == {
        id(lstm.weight_ih_l0),
        id(lstm.weight_hh_l0),
    }
    assert others["weight_decay"] == 0
    assert len(others["params"]) == 2


def test_decay_to_zero_is_torchs_own_to_the_bit():
    mine, theirs = a_net(), a_net()
    gradients = take_steps(mine, 5, decay_to="zero")
    optimizer = torch.optim.AdamW(weight_groups(theirs, lr=0.05, weight_decay=0.3), lr=0.05)
    for drawn in gradients:
        for weight, gradient in zip(theirs.parameters(), drawn, strict=True):
            weight.grad = gradient
        optimizer.step()
    pairs = zip(mine.parameters(), theirs.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_a_weight_that_does_not_move_stays_to_the_bit():
    net = a_net()
    before = [weight.detach().clone() for weight in net.parameters()]
    optimizer = AdamW(weight_groups(net, lr=0.1, weight_decay=0.7), lr=0.1, decay_to="start")
    optimizer.pull_to_start()
    assert all(torch.equal(w, b) for w, b in zip(net.parameters(), before, strict=True))


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("warm_up", [0.0, 0.25])
def test_the_rate_rises_then_falls_as_it_is_named(kind, warm_up):
    shares = [share_of_rate(step, kind=kind, steps=40, warm_up=warm_up) for step in range(40)]
    rising = round(40 * warm_up)
    assert shares[:rising] == pytest.approx([(step + 1) / 10 for step in range(rising)])
    half = rising + (40 - rising) // 2
    ends = {"cosine": (0.5, 0.0), "linear": (0.5, 0.0), "constant": (1.0, 1.0)}
    assert shares[rising] == 1
    assert shares[half] == pytest.approx(ends[kind][0])
    assert shares[-1] == pytest.approx(ends[kind][1], abs=0.04)
    quarter = shares[rising + (40 - rising) // 4] if warm_up == 0 else None
    curve = {"cosine": 0.5 * (1 + math.sqrt(0.5)), "linear": 0.75, "constant": 1.0}
    assert quarter in (None, pytest.approx(curve[kind]))


def test_the_first_step_of_a_very_short_stage_has_the_whole_rate():
    assert share_of_rate(0, kind="cosine", steps=3, warm_up=0.1) == 1


def test_every_group_follows_the_schedule_from_its_own_rate():
    net = a_net()
    groups = weight_groups(net, lr=0.2, weight_decay=0)
    groups[1]["lr"] = 0.02
    optimizer = AdamW(groups, lr=1.0, decay_to="zero")
    schedule = rate_schedule(optimizer, kind="linear", steps=4, warm_up=0)
    optimizer.step()
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.15, 0.015])


@pytest.mark.parametrize(("largest", "expected"), [(0.0, 5.0), (1.0, 1.0), (10.0, 5.0)])
def test_a_gradient_is_cut_to_the_largest_norm_and_its_own_is_told(largest, expected):
    weights = [
        nn.Parameter(torch.zeros(2)),
        nn.Parameter(torch.zeros(1)),
        nn.Parameter(torch.ones(1)),
    ]
    weights[0].grad, weights[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert limit_gradient(weights, largest).item() == pytest.approx(5.0)
    left = math.hypot(*(w.grad.norm().item() for w in weights if w.grad is not None))
    assert left == pytest.approx(expected, rel=1e-5)


def test_the_weights_that_learn_are_those_of_the_groups():
    net = a_net()
    net[0].requires_grad_(False)
    learning = learning_weights(weight_groups(net, lr=1, weight_decay=1))
    assert {id(w) for w in learning} == {
        id(w) for w in [*net[1].parameters(), *net[2].parameters()]
    }
