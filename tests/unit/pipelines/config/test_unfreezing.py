import pytest

from vidret.data.errors import ConfigError
from vidret.pipelines.config.fitting import FinetuneConfig
from vidret.pipelines.config.unfreezing import Unfrozen, read_unfreeze

EVERY = ("visual", "text", "audio")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("all",), Unfrozen(encoders=EVERY)),
        (("none",), Unfrozen(encoders=())),
        (("audio", "visual"), Unfrozen(encoders=("visual", "audio"))),
        (("last:2",), Unfrozen(encoders=EVERY, last=2)),
        (("all", "last:0"), Unfrozen(encoders=EVERY, last=0)),
        (("visual", "last:12"), Unfrozen(encoders=("visual",), last=12)),
        (("norms", "text"), Unfrozen(encoders=("text",), norms=True)),
        (("norms", "last:1"), Unfrozen(encoders=EVERY, last=1, norms=True)),
    ],
)
def test_words_of_encoders_and_of_weights_are_mixed_freely(words, expected):
    assert read_unfreeze(words) == expected


@pytest.mark.parametrize("words", [("all",), ("visual", "last:2"), ("text", "last:0", "norms")])
def test_what_is_written_of_a_choice_reads_as_the_same(words):
    found = read_unfreeze(words)
    assert read_unfreeze([*found.encoders, *found.words]) == found


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("vision",), "unfreeze is vision: give all, none, or some of visual, text, audio, last:N"),
        (("last:-1",), "unfreeze is last:-1: give"),
        (("last:two",), "last:N, norms"),
        (("last:1", "last:2"), "give one last:N"),
        (("all", "text"), "unfreeze is all,text: name encoders, or all of them"),
        (("none", "text"), "none stands alone"),
        ((), "unfreeze is empty"),
        (("text", "text"), "more than once"),
    ],
)
def test_words_that_mean_nothing_are_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        FinetuneConfig(e2e=True, unfreeze=words)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unfreeze": ("text",)}, "unfreeze text would change nothing.*add --e2e"),
        ({"lora": 4}, "lora 4 would change nothing.*add --e2e"),
        ({"augment": ("crop",), "save": "delta"}, "augment crop and save delta would change"),
        ({"layer_decay": 0.5}, r"layer_decay 0\.5 would change nothing"),
        ({"batchnorm": "train"}, "batchnorm train would change nothing"),
        ({"e2e": True, "lora": -1}, "lora is -1"),
        ({"e2e": True, "layer_decay": 0.0}, r"layer_decay is 0\.0"),
        ({"e2e": True, "layer_decay": 1.5}, r"layer_decay is 1\.5"),
        ({"e2e": True, "augment": ("blur",)}, "augment is blur: give crop or flip, or both"),
        ({"e2e": True, "augment": ()}, "augment is empty"),
        ({"e2e": True, "save": "half"}, "save is 'half': give full or delta"),
        ({"e2e": True, "batchnorm": "train", "unfreeze": ("text",)}, "unfreeze audio"),
        ({"e2e": True, "batchnorm": "train", "lora": 2}, "without --lora"),
        ({"e2e": True, "batchnorm": "train", "chunk": 4}, "chunk and checkpointing"),
        ({"e2e": True, "lora": 2, "unfreeze": ("norms",)}, "lora adds to matrices"),
        ({"e2e": True, "lr_lora": 0.0}, r"lr_lora is 0\.0"),
    ],
)
def test_settings_that_no_encoder_would_follow_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        FinetuneConfig(**settings)


def test_without_e2e_nothing_of_the_encoders_learns():
    assert FinetuneConfig().unfrozen == Unfrozen(encoders=())
    assert FinetuneConfig(e2e=True).unfrozen.encoders == EVERY
