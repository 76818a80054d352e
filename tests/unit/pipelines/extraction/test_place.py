from pathlib import Path

import pytest

from vidret.data.errors import ConfigError, MissingError
from vidret.extract.encoders import EncoderSpec, load_encoders
from vidret.extract.schedule import Place, core_count
from vidret.pipelines.config.settings import ExtractConfig
from vidret.pipelines.extraction import place as module
from vidret.pipelines.extraction.place import (
    ROOM_TO_WORK,
    gpus_of,
    lanes_of,
    place_of,
    shard_size_of,
    spec_on_workers,
)

SPEC = EncoderSpec(backbone="tiny", audio="tiny", device="cpu", offline=True)


@pytest.fixture
def four_gpus(monkeypatch):
    """A machine with four of them, as torch would see it."""

    def visible(wanted):
        if wanted is not None and max(wanted) > 3:
            raise MissingError("not there")
        return tuple(range(4) if wanted is None else wanted)

    monkeypatch.setattr(module, "visible_gpus", visible)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (0, 1, 2, 3)),
        ({"gpus": (0, 2)}, (0, 2)),
        ({"device": "cpu"}, ()),
        ({"device": "cuda"}, (0,)),
        ({"device": "cuda:3"}, (3,)),
        ({"scheduler": "tcp://there:8786"}, ()),
    ],
)
def test_each_gpu_that_is_asked_for_gets_a_worker(four_gpus, given, expected):  # noqa: ARG001
    assert gpus_of(ExtractConfig(**given)) == expected


def test_a_gpu_that_is_not_there_is_missing(four_gpus):  # noqa: ARG001
    with pytest.raises(MissingError):
        gpus_of(ExtractConfig(gpus=(7,)))


def test_cpu_workers_stand_beside_gpus_only_where_there_is_work_for_them(four_gpus):  # noqa: ARG001
    assert place_of(ExtractConfig(dataset="folder:x")).workers == 0
    assert place_of(ExtractConfig(dataset="folder:x", pixels=True)).workers == core_count()
    assert place_of(ExtractConfig(dataset="folder:x", pixels=True, workers=3)).workers == 3


def test_a_gpu_is_fed_by_its_share_of_the_cores():
    config = ExtractConfig()
    share = max(1, core_count() // 2)
    assert lanes_of(config, Place(gpus=(0, 1))) == share
    assert lanes_of(config, Place()) == 1
    assert lanes_of(ExtractConfig(decoders=5), Place(gpus=(0,))) == 5
    assert lanes_of(config, Place(scheduler="tcp://there:8786")) == 0


def test_shards_are_larger_where_encoding_is_quick_and_as_asked():
    assert shard_size_of(ExtractConfig(), on_gpu=False) == 16
    assert shard_size_of(ExtractConfig(), on_gpu=True) == 256
    assert shard_size_of(ExtractConfig(shard_size=5), on_gpu=True) == 5


def test_a_process_takes_its_weights_and_room_to_work():
    encoders = load_encoders(SPEC)
    weights = sum(
        weight.numel() * weight.element_size()
        for model in (encoders.clip, encoders.sound)
        for weight in model.parameters()
    )
    footprint = place_of(ExtractConfig(device="cpu"), encoders).footprint
    assert footprint == ROOM_TO_WORK + weights


def test_a_worker_of_ours_uses_what_it_is_shown():
    assert spec_on_workers(SPEC, Place()).device == "auto"
    assert spec_on_workers(SPEC, Place(scheduler="tcp://there:8786")).device == "cpu"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"scheduler": "tcp://a:1", "scheduler_file": Path("f")}, "both given"),
        ({"scheduler": "tcp://a:1", "workers": 2}, "has its own workers"),
        ({"scheduler_file": Path("f"), "gpus": (0,)}, "has its own workers"),
        ({"gpus": (0, 0)}, "more than once"),
        ({"gpus": (-1,)}, "from 0 on"),
        ({"gpus": (0,), "device": "cpu"}, "one of them"),
        ({"only": "pixels"}, "add --pixels"),
        ({"only": "frames", "pixels": True}, "the one step to stop at"),
        ({"sampling": "fps:0"}, "fps:N"),
        ({"sampling": "fps:61"}, "up to 60"),
        ({"sampling": "every"}, "uniform"),
        ({"timeout": 0.0}, "above 0"),
        ({"decoders": -1}, "0 \\(fitting\\) or more"),
    ],
)
def test_settings_that_make_no_sense_together_are_refused(given, words):
    with pytest.raises(ConfigError, match=words):
        ExtractConfig(**given)
