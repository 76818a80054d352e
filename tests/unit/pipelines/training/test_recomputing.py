import pytest
import torch
from making.backbones import MODELS
from making.towers import pictures_for, some_encoders

from vidret.extract.panns import SHORTEST, SoundEncoder, cnn14
from vidret.pipelines.training.recomputing import recompute_blocks
from vidret.pipelines.training.unfreezing import SOUND, TEXT, VISUAL, tower_of

PARTS = (VISUAL, TEXT, SOUND)
WAVEFORM = torch.randn(2 * SHORTEST, generator=torch.Generator().manual_seed(0)) / 10


def encode(encoders, part):
    """What an encoder makes of something, as one number."""
    if part == VISUAL:
        return encoders.clip.encode_frames(pictures_for(encoders.clip)).sin().sum()
    if part == TEXT:
        sentence, words = encoders.clip.encode_tokens(encoders.clip.mark_tokens([[5, 6], [7]]))
        return sentence.sin().sum() + words.sin().sum()
    return encoders.sound.encode(WAVEFORM).sin().sum()


def gradients(encoders, part):
    """The gradient of that number in every weight that it reaches."""
    network = encoders.sound if part == SOUND else encoders.clip
    encode(encoders, part).backward()
    return {name: w.grad for name, w in network.named_parameters() if w.grad is not None}


def kept_bytes(encoders, part):
    """What a forward pass keeps for the way back, weights aside."""
    sizes = []

    def keep(tensor):
        if not isinstance(tensor, torch.nn.Parameter) and tensor.grad_fn is not None:
            sizes.append(tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        encode(encoders, part)
    return sum(sizes)


def require_same_gradients(encoders, other, part):
    recompute_blocks(tower_of(other, part))
    expected, found = gradients(encoders, part), gradients(other, part)
    assert found.keys() == expected.keys()
    assert len(found) > 5
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-6, msg=name)


@pytest.mark.parametrize("part", [VISUAL, TEXT])
@pytest.mark.parametrize("name", MODELS)
def test_blocks_that_are_computed_twice_give_the_same_gradients(name, part):
    require_same_gradients(some_encoders(name), some_encoders(name), part)


def test_so_do_those_of_the_small_sound_network():
    require_same_gradients(some_encoders(), some_encoders(), SOUND)


@pytest.mark.slow
def test_so_do_the_convolutions_of_cnn14():
    torch.manual_seed(0)
    first, second = cnn14(), cnn14()
    second.load_state_dict(first.state_dict())
    both = []
    for network in (first, second):
        encoders = some_encoders()
        sound = SoundEncoder("Cnn14", network, 2048, "random")
        both.append(type(encoders)(clip=encoders.clip, sound=sound, device=encoders.device))
    require_same_gradients(*both, SOUND)
    assert len(tower_of(both[0], SOUND).blocks) == 6


@pytest.mark.parametrize("part", PARTS)
def test_nothing_from_inside_a_block_is_kept(part):
    encoders = some_encoders(layers=4) if part != SOUND else some_encoders()
    before = kept_bytes(encoders, part)
    recompute_blocks(tower_of(encoders, part))
    assert kept_bytes(encoders, part) < 0.5 * before


@pytest.mark.parametrize("part", PARTS)
def test_without_gradients_each_block_is_computed_once(part):
    encoders, calls = some_encoders(), []
    tower = tower_of(encoders, part)
    for block in tower.blocks:
        forward = block[0].forward

        def counted(*args, forward=forward, **options):
            calls.append(1)
            return forward(*args, **options)

        block[0].forward = counted
    recompute_blocks(tower)
    with torch.no_grad():
        alone = encode(encoders, part)
    assert len(calls) == len(tower.blocks)
    torch.testing.assert_close(encode(encoders, part), alone, rtol=1e-5, atol=1e-5)
