import pytest
import torch
from torch import nn

from vidret.pipelines.training.averaging import Averages


def averaged(path, decay):
    """A slow loop over the values that a weight took."""
    value = path[0]
    for step, at in enumerate(path[1:], 1):
        kept = min(decay, (1 + step) / (10 + step))
        value = kept * value + (1 - kept) * at
    return value


@pytest.mark.parametrize("decay", [0.3, 0.9, 0.999])
def test_an_average_is_what_a_loop_over_the_steps_gives(decay):
    path = [1.0, 2.0, -1.0, 0.5, 4.0]
    weight = nn.Parameter(torch.tensor([path[0]], dtype=torch.float64))
    averages = Averages([weight], decay)
    for step, value in enumerate(path[1:], 1):
        with torch.no_grad():
            weight.fill_(value)
        averages.update(step)
    assert averages.values[0].item() == pytest.approx(averaged(path, decay))


def test_the_first_steps_move_the_average_however_slow_it_is():
    weight = nn.Parameter(torch.zeros(1))
    averages = Averages([weight], 0.9999)
    with torch.no_grad():
        weight.fill_(1.0)
    for step in range(1, 21):
        averages.update(step)
    assert averages.values[0].item() > 0.8


def test_averages_stand_in_and_give_the_weights_their_own_back():
    weight = nn.Parameter(torch.tensor([3.0]))
    averages = Averages([weight], 0.5)
    with torch.no_grad():
        weight.fill_(7.0)
    seen = []

    def stopped_inside():
        with averages.in_place():
            seen.append(weight.item())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_inside()
    assert (seen, weight.item()) == ([3.0], 7.0)


def test_a_weight_that_stands_still_has_itself_as_its_average_to_the_bit():
    weight = nn.Parameter(torch.tensor([0.1, 1 / 3]))
    averages = Averages([weight], 0.9)
    for step in range(1, 50):
        averages.update(step)
    assert torch.equal(averages.values[0], weight)
