import copy

import pytest
import torch
from making.towers import a_clip, a_sound, pictures_for
from torch import nn

from vidret.data.errors import ConfigError
from vidret.extract.models.adapters import (
    add_adapters,
    factors_of,
    merge_adapters,
    merge_factors,
    merged_state,
)

KINDS = (nn.Linear, nn.MultiheadAttention, nn.Conv2d)
SOME = ("small", "small-resnet", "small-eva", "small-convnext", "small-siglip", "small-tower")


def matrices_of(network):
    """Every matrix of a network, found apart from how the code finds them."""
    return [
        weight
        for module in network.modules()
        if isinstance(module, KINDS)
        for weight in module.parameters(recurse=False)
        if weight.ndim > 1
    ]


def outputs_of(clip):
    with torch.no_grad():
        words = clip.encode_texts(["a bell rings", "two dogs"], "cpu")
        return clip.encode_frames(pictures_for(clip)), torch.tensor(words[1].sentence)


def stir(adapters, seed=5):
    """What learning would do to the factors that begin at zero."""
    draw = torch.Generator().manual_seed(seed)
    for adapter in adapters:
        up = adapter.factors.up
        with torch.no_grad():
            up.copy_(torch.randn(up.shape, generator=draw) * 0.1)


@pytest.mark.parametrize("name", SOME)
def test_before_the_first_step_nothing_changes_to_the_bit(name):
    clip = a_clip(name)
    # As they are where adapters learn: torch's attention rounds otherwise if it may learn itself.
    clip.model.requires_grad_(False)
    before = outputs_of(clip)
    adapters = add_adapters(clip.model, matrices_of(clip.model), rank=1, seed=0)
    assert len(adapters) > 5
    for was, now in zip(before, outputs_of(clip), strict=True):
        assert torch.equal(was, now)


@pytest.mark.parametrize("name", SOME)
def test_what_is_merged_computes_what_was_learned(name):
    clip = a_clip(name)
    before, names = outputs_of(clip), list(clip.model.state_dict())
    adapters = add_adapters(clip.model, matrices_of(clip.model), rank=1, seed=0)
    stir(adapters)
    learned = outputs_of(clip)
    merge_adapters(adapters)
    assert sorted(clip.model.state_dict()) == sorted(names)
    for was, apart, merged in zip(before, learned, outputs_of(clip), strict=True):
        assert not torch.allclose(was, apart, atol=1e-3)
        torch.testing.assert_close(merged, apart, rtol=0, atol=1e-5)


def test_the_sum_is_the_matrix_plus_the_product_of_its_factors():
    """In numpy, apart from the code; a convolution counts as a matrix of its patches."""
    sound = a_sound()
    matrices = {name: weight for name, weight in sound.model.named_parameters() if weight.ndim > 1}
    before = {name: weight.detach().double().numpy() for name, weight in matrices.items()}
    adapters = add_adapters(sound.model, matrices.values(), rank=2, seed=0)
    stir(adapters)
    factors = {name: one.double().numpy() for name, one in factors_of(adapters).items()}
    merge_adapters(adapters)
    for name, weight in sound.model.named_parameters():
        if weight.ndim > 1:
            product = factors[f"{name}.lora_up"] @ factors[f"{name}.lora_down"]
            expected = torch.from_numpy(before[name] + product.reshape(before[name].shape))
            torch.testing.assert_close(weight.detach().double(), expected, rtol=0, atol=1e-6)


def test_factors_from_a_file_give_the_same_bits_as_the_network_that_learned_them():
    clip = a_clip()
    before = {name: one.clone() for name, one in clip.model.state_dict().items()}
    adapters = add_adapters(clip.model, matrices_of(clip.model), rank=2, seed=0)
    stir(adapters)
    factors = {name: one.clone() for name, one in factors_of(adapters).items()}
    merge_adapters(adapters)
    again = merge_factors(before, factors)
    assert again.keys() == before.keys()
    assert all(torch.equal(one, again[name]) for name, one in clip.model.state_dict().items())


@pytest.mark.parametrize("make", [a_clip, a_sound])
def test_the_merged_tensors_are_known_without_merging(make):
    network = make().model
    adapters = add_adapters(network, matrices_of(network), rank=2, seed=0)
    stir(adapters)
    known = {name: one.clone() for name, one in merged_state(network, adapters).items()}
    merge_adapters(adapters)
    assert known.keys() == network.state_dict().keys()
    assert all(torch.equal(known[name], one) for name, one in network.state_dict().items())


def test_gradients_reach_the_factors_below_torchs_own_attention():
    clip = a_clip()
    attention = clip.model.visual.transformer.resblocks[0].attn
    clip.model.requires_grad_(False)
    adapters = add_adapters(
        clip.model, [attention.in_proj_weight, attention.out_proj.weight], rank=2, seed=0
    )
    stir(adapters)
    clip.encode_frames(pictures_for(clip)).square().sum().backward()
    for adapter in adapters:
        assert adapter.factors.up.grad.abs().sum() > 0
        assert adapter.factors.down.grad.abs().sum() > 0
    reached = {id(weight) for weight in clip.model.parameters() if weight.grad is not None}
    assert reached == {id(factor) for one in adapters for factor in one.factors.parameters()}


def test_the_same_seed_draws_the_same_factors():
    def drawn(seed):
        clip = a_clip()
        return factors_of(add_adapters(clip.model, matrices_of(clip.model), rank=2, seed=seed))

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert all(torch.equal(one, again[name]) for name, one in first.items())
    downs = [name for name in first if name.endswith("down")]
    assert not any(torch.equal(first[name], other[name]) for name in downs)


def test_adapters_that_are_copied_learn_by_themselves():
    sound = a_sound()
    adapters = add_adapters(sound.model, matrices_of(sound.model), rank=1, seed=0)
    twin = copy.deepcopy(sound)
    stir(adapters)
    assert not any(name.endswith(".up") and one.any() for name, one in twin.named_parameters())


def test_a_rank_that_a_matrix_has_not_is_refused_with_its_name():
    clip = a_clip()
    matrix = clip.model.visual.transformer.resblocks[0].attn.out_proj.weight
    with pytest.raises(ConfigError, match=r"lora is 33, and visual.*out_proj\.weight has rank 32"):
        add_adapters(clip.model, [matrix], rank=33, seed=0)
