import pytest

from vidret.data.errors import ConfigError
from vidret.pipelines.config.fitting import FIT_SETTINGS, AblateConfig
from vidret.pipelines.config.varying import change_text, variations_of, varied


def variations(*vary, **settings):
    return variations_of(AblateConfig(vary=vary or None, **settings))


def test_nothing_varied_is_one_variation_without_changes():
    assert variations() == [()]


def test_several_settings_are_combined_the_last_one_quickest():
    assert variations("epochs=1,2", "activation=gelu,relu") == [
        (("epochs", 1), ("activation", "gelu")),
        (("epochs", 1), ("activation", "relu")),
        (("epochs", 2), ("activation", "gelu")),
        (("epochs", 2), ("activation", "relu")),
    ]


def test_one_text_may_name_several_settings_as_a_variable_of_the_shell_has_them():
    assert variations("epochs=1,2,lr=0.1") == variations("epochs=1,2", "lr=0.1")


def test_values_have_the_types_that_their_options_have():
    assert variations("hidden=unset,8", "jitter=yes", "audio_weight=val,0.5", "lr=1") == [
        (("hidden", hidden), ("jitter", True), ("audio_weight", weight), ("lr", 1.0))
        for hidden in (None, 8)
        for weight in ("val", 0.5)
    ]


def test_a_name_may_be_written_as_its_option():
    assert variations("word-weight-scale=sqrt_c", "--batch-size=4") == [
        (("word_weight_scale", "sqrt_c"), ("batch_size", 4))
    ]


@pytest.mark.parametrize("name", FIT_SETTINGS)
def test_every_setting_of_a_run_can_vary(name):
    default = getattr(AblateConfig(), name)
    text = change_text(name, default)
    assert variations(text) == [((name, default),)]


def test_the_settings_change_in_nothing_else():
    config = AblateConfig(epochs=3, lr=0.1)
    assert varied(config, (("epochs", 9),)) == AblateConfig(epochs=9, lr=0.1)


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ("epoch=1", 'vary names an unknown setting "epoch": did you mean "epochs"'),
        ("seed=1,2", "vary names seed: rows have --seeds for that"),
        ("heads=s-f", "vary names heads: rows have --heads for that"),
        ("cache=a,b", "vary names cache, which is the same for all rows: .* --cache once"),
        ("epochs=many", "--vary epochs is 'many': expected a whole number"),
        ("epochs=", "--vary epochs is '': expected a whole number"),
        ("epochs=unset", "--vary epochs is 'unset': expected a whole number"),
        ("epochs=-1", r"epochs is -1: give 0 or more \(set by --vary\)"),
        ("lr=0.1,0", r"lr is 0.0: a learning rate is above 0 \(set by --vary\)"),
        ("activation=geluu", "--vary activation is 'geluu': did you mean \"gelu\""),
        ("epochs=1,1", "vary epochs has 1 more than once"),
        ("epochs=1,epochs=2", "vary names epochs more than once: list its values together"),
        ("epochs", "vary is 'epochs': give NAME=V1,V2"),
    ],
)
def test_what_cannot_vary_is_refused_in_the_words_of_its_option(vary, message):
    with pytest.raises(ConfigError, match=message):
        variations(vary)
