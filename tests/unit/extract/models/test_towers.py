import re
from types import SimpleNamespace

import open_clip
import pytest
from making.backbones import MODELS
from making.towers import a_clip, a_sound
from torch import nn

from vidret.data.errors import ConfigError
from vidret.extract.models.towers import (
    norm_weights,
    sound_tower,
    text_tower,
    visual_tower,
    weights_in,
)
from vidret.extract.panns import SoundEncoder, cnn14
from vidret.extract.weights.backbones import registered
from vidret.extract.weights.fitting import shape_of_clip

BLOCKS = {  # by the architectures alone
    "small": 1,
    "small-quickgelu": 1,
    "small-resnet": 4,
    "small-tower": 1,
    "small-eva": 6,
    "small-convnext": 9,
    "small-siglip": 6,
    "small-unprojected": 1,
}
BLOCK_NAMES = re.compile(
    r"transformer\.resblocks\.\d+|layer\d\.\d+|trunk\.blocks\.\d+|trunk\.stages\.\d+"
)


def names_in(model, layers):
    found = {id(weight) for weight in weights_in(layers)}
    return [name for name, weight in model.named_parameters() if id(weight) in found]


@pytest.mark.parametrize("name", MODELS)
def test_every_tower_of_every_class_has_its_blocks(name):
    clip = a_clip(name)
    for tower in (visual_tower(clip), text_tower(clip)):
        assert len(tower.blocks) == (BLOCKS[name] if tower.name == "visual" else 1)
        own = [weight for block in tower.blocks for weight in weights_in(block)]
        own += list(weights_in(tower.tail))
        assert len(own) == len({id(weight) for weight in own})  # none of them twice
        for block in tower.blocks:
            assert all(BLOCK_NAMES.search(one) for one in names_in(clip.model, block))
        assert not any(BLOCK_NAMES.search(one) for one in names_in(clip.model, tower.tail))


@pytest.mark.parametrize("name", MODELS)
def test_no_block_is_left_out(name):
    clip = a_clip(name)
    layers = [layer for tower in (visual_tower(clip), text_tower(clip)) for layer in tower.blocks]
    found = {name for layer in layers for name in names_in(clip.model, layer)}
    in_blocks = {name for name, _ in clip.model.named_parameters() if BLOCK_NAMES.search(name)}
    assert found == in_blocks


def test_the_depth_of_a_weight_counts_from_the_input():
    clip = a_clip("small", layers=3)
    visual, depths = clip.model.visual, visual_tower(clip).depths()
    blocks = visual.transformer.resblocks
    assert [depths[block.ln_1.weight] for block in blocks] == [1, 2, 3]
    assert depths[visual.ln_post.weight] == depths[visual.proj] == 4
    assert visual.conv1.weight not in depths
    assert text_tower(clip).depths()[clip.model.ln_final.weight] == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", open_clip.list_models())
def test_every_model_of_open_clip_has_blocks(name):
    architecture = registered(name)
    if "hf_model_name" in architecture["text_cfg"] or "multimodal_cfg" in architecture:
        pytest.skip("its words cannot be told, so it is refused")
    clip = SimpleNamespace(name=name, model=shape_of_clip(architecture))
    for tower in (visual_tower(clip), text_tower(clip)):
        assert len(tower.blocks) > 5
        assert tower.tail


def test_what_joins_two_stages_belongs_to_the_block_behind_it():
    clip = a_clip("small-convnext")
    names = [names_in(clip.model, block) for block in visual_tower(clip).blocks]
    with_joint = [number for number, own in enumerate(names) if any("downsample" in n for n in own)]
    assert len(with_joint) == 3
    assert all(any(".blocks.0." in n for n in names[number]) for number in with_joint)


@pytest.mark.parametrize(
    ("make", "blocks", "tail"),
    [
        (a_sound, 4, ["embed.weight", "embed.bias"]),
        pytest.param(
            lambda: SoundEncoder("Cnn14", cnn14(), 2048, ""),
            6,
            ["fc1.weight", "fc1.bias"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_networks_for_sound_end_before_their_tags(make, blocks, tail):
    sound = make()
    tower = sound_tower(sound)
    assert len(tower.blocks) == blocks
    assert names_in(sound.model, tower.tail) == tail


def test_norms_are_found_by_their_class_and_not_by_their_name():
    clip = a_clip("small-resnet")
    names = {id(weight): name for name, weight in clip.model.visual.named_parameters()}
    found = {names[id(weight)] for weight in norm_weights(clip.model.visual)}
    assert {"bn1.weight", "layer1.0.downsample.1.bias"} <= found  # a norm without a name
    assert not any("conv" in name or "attnpool" in name for name in found)


def test_a_network_without_blocks_is_refused_by_name():
    odd = SimpleNamespace(name="odd", model=SimpleNamespace(visual=nn.Linear(2, 2)))
    with pytest.raises(ConfigError, match=r"cannot tell the blocks of odd \(Linear\).*leave them"):
        visual_tower(odd)
