import pickle
from dataclasses import replace

import pytest
import torch

from vidret.data.errors import MissingError
from vidret.extract.encoders import EncoderSpec, load_encoders, pick_device

SPEC = EncoderSpec(backbone="tiny", audio="tiny", device="cpu", offline=True)


def test_a_process_loads_its_encoders_once():
    assert load_encoders(SPEC) is load_encoders(replace(SPEC))


def test_sound_can_be_left_out():
    encoders = load_encoders(replace(SPEC, audio="none"))
    assert encoders.sound is None
    assert encoders.clip.dim == 128


def test_encoders_lie_on_their_device_and_are_not_in_training():
    encoders = load_encoders(SPEC)
    assert encoders.device == torch.device("cpu")
    for module in (encoders.clip, encoders.sound):
        assert not module.training
        assert {parameter.device.type for parameter in module.parameters()} == {"cpu"}


def test_a_spec_travels_with_every_task_and_is_small():
    packed = pickle.dumps(SPEC)
    assert pickle.loads(packed) == SPEC
    assert len(packed) < 500


def test_auto_takes_what_is_there():
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["cuda:99", "cuda"])
def test_a_gpu_that_is_not_there_is_missing(name):
    if name == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(MissingError, match=rf"device is {name}, and torch finds .*--device cpu"):
        pick_device(name)
