import pytest
import torch
from making.backbones import MODELS
from making.towers import pictures_for, some_encoders
from torch import nn

from vidret.data.errors import ConfigError
from vidret.extract.models.adapters import add_adapters
from vidret.pipelines.config.unfreezing import read_unfreeze
from vidret.pipelines.training.unfreezing import (
    LearnedWeights,
    adaptable,
    chosen_weights,
    encoder_groups,
    unfreeze,
    weights_of,
)

LAST_BLOCK = {"visual": "visual.transformer.resblocks.2.", "text": "transformer.resblocks.2."}
TAIL = {"visual": ("visual.ln_post.", "visual.proj"), "text": ("ln_final.", "text_projection")}


@pytest.fixture
def deep():
    """Encoders with three blocks in each tower."""
    return some_encoders(layers=3)


def names_of(network, weights):
    found = {id(weight) for weight in weights}
    return {name for name, weight in network.named_parameters() if id(weight) in found}


def chosen(encoders, part, *words):
    network = encoders.sound.model if part == "audio" else encoders.clip.model
    return names_of(network, chosen_weights(encoders, part, read_unfreeze(words)))


@pytest.mark.parametrize("part", ["visual", "text"])
def test_the_last_block_comes_with_all_that_follows_it_and_with_nothing_else(deep, part):
    every = chosen(deep, part, "all")
    expected = {name for name in every if name.startswith((LAST_BLOCK[part], *TAIL[part]))}
    assert chosen(deep, part, "last:1") == expected
    assert len(expected) == 12 + 3


@pytest.mark.parametrize("part", ["visual", "text"])
def test_none_of_the_blocks_leaves_what_follows_them(deep, part):
    assert all(name.startswith(TAIL[part]) for name in chosen(deep, part, "last:0"))
    assert len(chosen(deep, part, "last:0")) == 3


def test_all_blocks_are_less_than_all_weights(deep):
    left_out = chosen(deep, "text", "all") - chosen(deep, "text", "last:3")
    assert left_out == {"token_embedding.weight", "positional_embedding"}


def test_of_the_sound_network_the_last_blocks_and_what_embeds_them(deep):
    learned = ("blocks.2.", "blocks.3.", "embed.")  # and never its tags
    every = {name for name, _ in deep.sound.model.named_parameters()}
    assert chosen(deep, "audio", "last:2") == {name for name in every if name.startswith(learned)}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("part", ["visual", "text"])
def test_norms_are_the_norms_of_their_tower_alone(name, part):
    encoders = some_encoders(name)
    found = chosen(encoders, part, "norms")
    modules = dict(encoders.clip.model.named_modules())
    assert found
    for one in found:
        owner = type(modules[one.rpartition(".")[0]]).__name__
        assert "Norm" in owner
        assert one.startswith("visual.") == (part == "visual")


def test_words_of_weights_add_up(deep):
    both = chosen(deep, "visual", "norms", "last:1")
    assert both == chosen(deep, "visual", "norms") | chosen(deep, "visual", "last:1")


def test_more_blocks_than_there_are_is_refused_with_their_number(deep):
    with pytest.raises(ConfigError, match=r"last:4, and visual has 3 blocks: give last:3 or less"):
        chosen(deep, "visual", "last:4")


@pytest.mark.parametrize("name", MODELS)
def test_what_is_chosen_gets_gradients_and_nothing_else(name):
    encoders = some_encoders(name)
    weights = chosen_weights(encoders, "visual", read_unfreeze(["visual", "last:1"]))
    unfreeze(encoders, weights)
    encoders.clip.encode_frames(pictures_for(encoders.clip)).square().sum().backward()
    reached = {id(one) for one in encoders.clip.parameters() if one.grad is not None}
    assert reached == {id(weight) for weight in weights}


def test_each_layer_has_the_rate_of_the_one_above_times_the_decay(deep):
    """The list, written down by hand."""
    weights = weights_of(deep, "visual")
    groups = encoder_groups(deep, "visual", weights, lr=1e-4, weight_decay=0.2, layer_decay=0.75)
    top, third, second, first, stem = 1e-4, 7.5e-5, 5.625e-5, 4.21875e-5, 3.1640625e-5
    expected = [
        ("visual, before the blocks", stem, 0.2, 1),
        ("visual, before the blocks", stem, 0.0, 4),
        ("visual, block 1 of 3", first, 0.2, 4),
        ("visual, block 1 of 3", first, 0.0, 8),
        ("visual, block 2 of 3", second, 0.2, 4),
        ("visual, block 2 of 3", second, 0.0, 8),
        ("visual, block 3 of 3", third, 0.2, 4),
        ("visual, block 3 of 3", third, 0.0, 8),
        ("visual, after the blocks", top, 0.2, 1),
        ("visual, after the blocks", top, 0.0, 2),
    ]
    found = [
        (group["name"], group["lr"], group["weight_decay"], len(group["params"]))
        for group in groups
    ]
    assert [(name, decay, count) for name, _, decay, count in found] == [
        (name, decay, count) for name, _, decay, count in expected
    ]
    assert [rate for _, rate, _, _ in found] == pytest.approx([rate for _, rate, _, _ in expected])


def test_without_a_decay_of_layers_a_tower_is_two_groups(deep):
    weights = weights_of(deep, "text")
    groups = encoder_groups(deep, "text", weights, lr=1e-6, weight_decay=0.2)
    assert [(group["name"], group["lr"], group["weight_decay"]) for group in groups] == [
        ("text", 1e-6, 0.2),
        ("text", 1e-6, 0.0),
    ]
    together = [weight for group in groups for weight in group["params"]]
    assert {id(one) for one in together} == {id(one) for one in weights}
    assert len(together) == len(weights)


@pytest.mark.parametrize("name", MODELS)
def test_matrices_decay_and_norms_biases_and_embeddings_do_not(name):
    encoders = some_encoders(name)
    for part in ("visual", "text", "audio"):
        weights = weights_of(encoders, part)
        groups = encoder_groups(encoders, part, weights, lr=1.0, weight_decay=0.2)
        network = encoders.sound.model if part == "audio" else encoders.clip.model
        decay = {id(one): group["weight_decay"] for group in groups for one in group["params"]}
        for one, weight in network.named_parameters():
            if id(weight) in decay:
                embeds = any(word in one for word in ("embedding", "pos_embed", "_token", "latent"))
                spared = weight.ndim < 2 or embeds
                assert decay[id(weight)] == (0.0 if spared else 0.2), one


@pytest.mark.parametrize("name", MODELS)
def test_adapters_stand_for_the_matrices_of_blocks_and_not_for_the_last_projection(name):
    encoders = some_encoders(name)
    for part in ("visual", "text", "audio"):
        found = adaptable(encoders, part, weights_of(encoders, part))
        network = encoders.sound.model if part == "audio" else encoders.clip.model
        names = names_of(network, found)
        assert names
        assert not any("embed" in one for one in names - {"embed.weight"})
        last = encoders.clip.projections()
        own = {tuple(last[f"{part}.weight"].shape)} if f"{part}.weight" in last else set()
        assert not any(
            one.endswith(("proj", "projection.weight", "attnpool.c_proj.weight"))
            and tuple(weight.T.shape) in own
            for one, weight in network.named_parameters()
            if one in names
        )


def test_adapters_of_thin_convolutions_are_left_out():
    encoders = some_encoders("small-convnext")
    found = adaptable(encoders, "visual", weights_of(encoders, "visual"))
    grouped = [
        module.weight
        for module in encoders.clip.model.visual.modules()
        if isinstance(module, nn.Conv2d) and module.groups > 1
    ]
    assert grouped
    assert not {id(one) for one in grouped} & {id(one) for one in found}


def test_adapters_without_a_matrix_are_refused(deep):
    norms = chosen_weights(deep, "text", read_unfreeze(["norms"]))
    with pytest.raises(ConfigError, match=r"--lora finds no matrix among the weights of text"):
        adaptable(deep, "text", norms)


def test_adapters_have_the_rate_of_their_layer(deep):
    weights = adaptable(deep, "visual", weights_of(deep, "visual"))
    adapters = add_adapters(deep.clip.model, weights, rank=2, seed=0)
    factors = [factor for one in adapters for factor in one.factors.parameters()]
    groups = encoder_groups(deep, "visual", factors, lr=1.0, weight_decay=0.2, layer_decay=0.5)
    assert [(group["name"], group["lr"]) for group in groups] == [
        ("visual, block 1 of 3", 0.125),
        ("visual, block 2 of 3", 0.25),
        ("visual, block 3 of 3", 0.5),
    ]
    assert [len(group["params"]) for group in groups] == [8, 8, 8]


def test_what_is_kept_of_a_network_is_what_learns_and_goes_back_into_it(deep):
    network = deep.clip.model
    weights = chosen_weights(deep, "visual", read_unfreeze(["last:0"]))
    kept = LearnedWeights(network, weights)
    names = {"visual/ln_post/weight", "visual/ln_post/bias", "visual/proj"}
    assert set(kept.state_dict()) == names
    before = network.visual.conv1.weight.clone()
    kept.load_state_dict(
        {name: torch.full_like(one, 3.0) for name, one in kept.state_dict().items()}
    )
    assert (network.visual.proj == 3).all()
    assert torch.equal(network.visual.conv1.weight, before)


def test_running_numbers_are_kept_where_they_move(deep):
    norm = deep.sound.model.blocks[0][1]
    kept = LearnedWeights(deep.sound.model, [norm.weight], norm.buffers())
    norm.train()
    norm(torch.randn(2, 16, 4, 4))
    assert torch.equal(kept.state_dict()["blocks/0/1/running_mean"], norm.running_mean)
    assert norm.running_mean.any()
    assert int(kept.state_dict()["blocks/0/1/num_batches_tracked"]) == 1
