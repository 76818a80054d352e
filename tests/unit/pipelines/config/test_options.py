import os
import re
from dataclasses import fields
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from vidret.data.errors import ConfigError
from vidret.pipelines.cli import cli
from vidret.pipelines.config.declaring import option_of, variable_of
from vidret.pipelines.config.fitting import AblateConfig
from vidret.pipelines.config.options import Session, default_text, session_options, settings
from vidret.pipelines.config.searching import SearchConfig
from vidret.pipelines.config.settings import CONFIGS, ExtractConfig


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder without settings; variables that the code sets are taken back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    for name in ("DASK_CONFIG", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "NO_COLOR", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "set")
        monkeypatch.delenv(name)
    return tmp_path


def run(config_class, *arguments, only=()):
    """The config and the session that a command with these options gets to see."""
    seen = []

    @click.command()
    @settings(config_class, only=only)
    @session_options
    def command(config):
        seen.append(config)

    session = Session()
    CliRunner().invoke(command, arguments, obj=session, catch_exceptions=False)
    return seen[0], session


@pytest.mark.parametrize("table", CONFIGS)
def test_every_setting_is_an_option_that_shows_its_default_and_its_variable(table):
    @click.command()
    @settings(CONFIGS[table])
    def command(config):
        raise AssertionError(config)

    text = "".join(CliRunner().invoke(command, ["--help"]).output.split())
    for one in fields(CONFIGS[table]):
        if not one.metadata["argument"]:
            assert option_of(one.name) in text
            note = f"[default: {default_text(one)}; {variable_of(CONFIGS[table], one)}]"
            assert note.replace(" ", "") in text


def test_an_option_may_be_given_once_for_each_of_its_values_where_these_hold_commas():
    config = run(AblateConfig, "--vary", "epochs=1,2", "--vary", "lr=0.1", "--out", "a.md")[0]
    assert config.vary == ("epochs=1,2", "lr=0.1")
    assert config.out == (Path("a.md"),)
    assert run(AblateConfig)[0].vary is None


def test_without_options_the_built_in_values_hold():
    assert run(ExtractConfig)[0] == ExtractConfig()


def test_options_reach_the_config_in_its_types():
    config, _ = run(AblateConfig, "--seeds", "4,5", "--lr", "1e-4", "--cache", "c", "--json")
    assert (config.seeds, config.lr, config.cache, config.json) == ((4, 5), 1e-4, Path("c"), True)


def test_arguments_stand_without_a_name():
    config, _ = run(SearchConfig, "a dog barks", "clips", "--top", "3")
    assert (config.query, config.path, config.top) == ("a dog barks", Path("clips"), 3)


def test_a_switch_has_a_way_back(monkeypatch):
    monkeypatch.setenv("VIDRET_EXTRACT_DRY_RUN", "1")
    assert run(ExtractConfig)[0].dry_run is True
    assert run(ExtractConfig, "--no-dry-run")[0].dry_run is False


def test_options_that_are_not_offered_still_follow_variables(monkeypatch):
    monkeypatch.setenv("VIDRET_EXTRACT_FRAMES", "7")
    config, _ = run(ExtractConfig, "--dataset", "msvd", only=("dataset",))
    assert (config.dataset, config.frames) == ("msvd", 7)


def test_the_file_in_this_folder_and_the_users_file_are_read(here):
    (here / "home" / "vidret").mkdir(parents=True)
    (here / "home" / "vidret" / "vidret.toml").write_text("[extract]\nframes = 2\nseed = 2")
    (here / "vidret.toml").write_text("[extract]\nframes = 3")
    config, _ = run(ExtractConfig)
    assert (config.frames, config.seed) == (3, 2)


def test_the_last_file_that_is_named_wins(here):
    for name, frames in (("a", 4), ("b", 5)):
        (here / f"{name}.toml").write_text(f"[extract]\nframes = {frames}")
    assert run(ExtractConfig, "-c", "a.toml", "-c", "b.toml")[0].frames == 5


def test_a_wrong_value_is_an_error_of_the_option():
    with pytest.raises(ConfigError, match=r"^--frames is 'many': expected a whole number$"):
        run(ExtractConfig, "--frames", "many")


def test_the_session_knows_how_loud_to_be_and_where_the_work_is():
    _, session = run(ExtractConfig, "-vv", "-q", "--work", "there")
    assert (session.verbosity, session.work) == (1, Path("there"))


def test_the_libraries_write_below_the_work_folder(here):
    run(ExtractConfig, "--work", "there")

    assert os.environ["DASK_CONFIG"] == str(here / "there" / "tools" / "dask")
    assert not (here / "there").exists(), "nothing is made before it is needed"


def test_offline_reaches_the_hub_library():

    run(ExtractConfig)
    assert "HF_HUB_OFFLINE" not in os.environ
    run(ExtractConfig, "--offline")
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_no_color_reaches_all_that_draw():

    run(ExtractConfig, "--no-color")
    assert os.environ["NO_COLOR"] == "1"


def test_a_commands_own_options_come_first_and_those_of_every_command_last():
    printed = CliRunner().invoke(cli, ["train-heads", "--help"]).output
    headings = [line for line in printed.splitlines() if re.match(r"\w.*:$", line)]
    assert headings == [
        "Options:",
        "What the paper leaves open about its heads:",
        "HCMI, a reconstruction:",
        "Training:",
        "For every command:",
    ]
    own, heads, hcmi, training, every = re.split("|".join(headings), printed)[1:]
    assert "--head " in own
    assert "--word-weight-scale " in heads
    assert "--hcmi-clips " in hcmi
    assert "--batch-size " in training
    assert "--work " in every
    assert "--help" in every
