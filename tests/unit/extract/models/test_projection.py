import open_clip
import pytest
import torch
from making.backbones import random_model
from torch import nn

from vidret.data.errors import ConfigError
from vidret.extract.models.projection import visual_projection, without_projection
from vidret.extract.weights.backbones import registered
from vidret.extract.weights.fitting import shape_of_clip


def test_a_tower_without_its_projection_shares_its_weights_and_leaves_it_whole():
    visual = random_model("small-eva").visual
    before = list(visual.state_dict())
    bare = without_projection(visual)
    assert list(visual.state_dict()) == before
    shared = dict(visual.named_parameters())
    assert all(weight is shared[name] for name, weight in bare.named_parameters())
    assert shared.keys() - dict(bare.named_parameters()).keys() == {
        "trunk.head.weight",
        "trunk.head.bias",
    }


def test_a_tower_that_ends_in_its_pooling_is_given_back_as_it_is():
    visual = random_model("small-siglip").visual
    assert without_projection(visual) is visual
    assert visual_projection(visual) is None


def test_a_tower_of_another_make_is_refused_by_its_name():
    with pytest.raises(ConfigError, match="what enters the last projection of Sequential: use"):
        visual_projection(nn.Sequential(nn.Linear(2, 2)))


@pytest.mark.slow
@pytest.mark.parametrize("name", open_clip.list_models())
def test_the_last_map_of_every_model_of_open_clip_gives_its_width(name):
    architecture = registered(name)
    if "hf_model_name" in architecture["text_cfg"] or "multimodal_cfg" in architecture:
        pytest.skip("its words cannot be told, so it is refused")
    projection = visual_projection(shape_of_clip(architecture).visual)
    if isinstance(projection, nn.Linear):
        assert projection.out_features == architecture["embed_dim"]
    elif projection is not None:
        assert isinstance(projection, torch.Tensor)
        assert projection.shape[1] == architecture["embed_dim"]
