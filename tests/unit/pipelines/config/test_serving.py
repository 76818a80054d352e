import pytest

from vidret.data.errors import ConfigError
from vidret.pipelines.config.serving import ServeConfig

TOKEN = "sixteen-signs-ok"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.1"])
def test_this_machine_alone_needs_no_token(host):
    assert ServeConfig(host=host).is_local


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "films.example.org"])
def test_others_reach_it_only_with_a_token(host):
    with pytest.raises(ConfigError, match="add --token"):
        ServeConfig(host=host)
    assert not ServeConfig(host=host, token=TOKEN).is_local


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"token": "short"}, "give 16"),
        ({"token": "é" * 20}, "plain letters"),
        ({"port": 70_000}, "from 0 to 65535"),
        ({"preview_space": 0}, "1 MiB or more"),
        ({"heads": ("a", "a")}, "name each run once"),
        ({"path": "films", "cache": "cache"}, "serve one or the other"),
        ({"device": "gpu"}, "device is 'gpu'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        ServeConfig(**settings)


def test_a_refused_token_is_not_repeated():
    with pytest.raises(ConfigError) as told:
        ServeConfig(token="secret")
    assert "secret" not in str(told.value)
