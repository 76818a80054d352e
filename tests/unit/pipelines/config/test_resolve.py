from dataclasses import fields
from pathlib import Path

import pytest

from vidret.data.errors import ConfigError
from vidret.pipelines.config.fitting import AblateConfig, TrainConfig
from vidret.pipelines.config.resolve import did_you_mean, resolve, unknown_variables
from vidret.pipelines.config.searching import SearchConfig
from vidret.pipelines.config.settings import DemoConfig, EvaluateConfig, ExtractConfig


@pytest.fixture
def settle(tmp_path):
    """Resolve in a folder of its own; every place a setting can come from is an argument."""

    def settle(config_class=ExtractConfig, *, here="", user="", files=(), environ=None, **options):
        cwd, user_file = tmp_path / "here", tmp_path / "home" / "vidret.toml"
        cwd.mkdir()
        user_file.parent.mkdir()
        (cwd / "vidret.toml").write_text(here)
        user_file.write_text(user)
        paths = [Path(f"{place}.toml") for place in range(len(files))]
        for path, text in zip(paths, files, strict=True):
            (cwd / path).write_text(text)
        return resolve(
            config_class,
            options,
            config_files=paths,
            environ=environ or {},
            cwd=cwd,
            user_file=user_file,
        )

    return settle


LEVELS = [
    ("user", "[extract]\nframes = 2"),
    ("here", "[extract]\nframes = 3"),
    ("files", ("[extract]\nframes = 4", "")),
    ("files", ("[extract]\nframes = 4", "[extract]\nframes = 5")),
    ("environ", {"VIDRET_EXTRACT_FRAMES": "6"}),
    ("frames", "7"),
]
ORIGINS = [
    "built-in",
    "home/vidret.toml [extract] frames",
    "vidret.toml [extract] frames",
    "0.toml [extract] frames",
    "1.toml [extract] frames",
    "VIDRET_EXTRACT_FRAMES",
    "--frames",
]


@pytest.mark.parametrize("level", range(len(LEVELS) + 1))
def test_each_place_beats_all_places_below_it(settle, level):
    resolved = settle(**dict(LEVELS[:level]))
    assert resolved.config.frames == (12, 2, 3, 4, 5, 6, 7)[level]
    assert resolved.origins["frames"].endswith(ORIGINS[level])


@pytest.mark.parametrize("level", range(len(LEVELS)))
def test_each_place_is_enough_by_itself(settle, level):
    assert settle(**dict([LEVELS[level]])).config.frames == level + 2


def test_every_setting_has_an_origin(settle):
    resolved = settle(TrainConfig, seed="3")
    assert resolved.origins["seed"] == "--seed"
    assert {place for name, place in resolved.origins.items() if name != "seed"} == {"built-in"}
    assert set(resolved.origins) == {one.name for one in fields(TrainConfig)}


def test_a_table_beats_the_shared_value_of_its_file(settle):
    text = 'device = "cuda"\n[extract]\ndevice = "cpu"'
    assert settle(here=text).config.device == "cpu"


def test_a_shared_value_reaches_every_command(settle):
    assert settle(TrainConfig, here='work = "elsewhere"').config.work == Path("elsewhere")


def test_a_shared_value_of_a_stronger_file_beats_the_table_of_a_weaker_one(settle):
    resolved = settle(user='[extract]\ndevice = "cpu"', here='device = "cuda:1"')
    assert resolved.config.device == "cuda:1"


def test_a_shared_variable_has_no_table_in_its_name(settle):
    resolved = settle(environ={"VIDRET_WORK": "there", "VIDRET_OFFLINE": "yes"})
    assert (resolved.config.work, resolved.config.offline) == (Path("there"), True)
    assert resolved.origins["work"] == "VIDRET_WORK"


def test_the_demo_does_not_follow_the_shared_work_folder(settle):
    resolved = settle(DemoConfig, here='work = "precious"', environ={"VIDRET_WORK": "precious"})
    assert resolved.config.work == Path("vidret-demo")


def test_a_variable_of_another_command_is_not_taken(settle):
    assert settle(environ={"VIDRET_TRAIN_HEADS_SEED": "9"}).config.seed == 0


def test_an_empty_variable_is_not_set(settle):
    assert settle(environ={"VIDRET_EXTRACT_FRAMES": ""}).config.frames == 12


def test_an_option_can_switch_off_what_a_file_switches_on(settle):
    assert settle(here="offline = true", offline=False).config.offline is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[extract]\nframe = 3", '[extract] has an unknown key "frame": did you mean "frames"?'),
        ("[extrakt]\nframes = 3", 'reads the table "extrakt": did you mean "extract"?'),
        ("[evaluate]\nfail-under = 1", 'unknown key "fail-under": did you mean "fail_under"?'),
        ('wrok = "x"', 'unknown key "wrok" above all tables: did you mean "work"?'),
        ("epochs = 3", 'unknown key "epochs" above all tables: it belongs below [train-heads]'),
        ('[search]\nquery = "dog"', '[search] has an unknown key "query"'),
        ('[datasets.msvd]\nroots = "x"', '[datasets.msvd] has an unknown key "roots": did you'),
        ('[datasets]\nmsvd = "x"', "write [datasets.msvd] and below it root = ..."),
    ],
)
def test_what_nothing_reads_is_refused_by_file_and_key(settle, text, message):
    with pytest.raises(ConfigError) as caught:
        settle(here=text)
    assert str(caught.value).startswith("vidret.toml: ")
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_typo_in_the_table_of_another_command_is_seen_too(settle):
    with pytest.raises(ConfigError, match="has an unknown key"):
        settle(ExtractConfig, here="[train-heads]\nepoch = 3")


@pytest.mark.parametrize(
    ("config_class", "text", "message"),
    [
        (ExtractConfig, '[extract]\nframes = "many"', "frames is 'many': expected a whole number"),
        (ExtractConfig, "[extract]\nframes = 2.5", "frames is 2.5: expected a whole number"),
        (ExtractConfig, "[extract]\nframes = true", "frames is True: expected a whole number"),
        (ExtractConfig, '[extract]\ndry_run = "yes"', "dry_run is 'yes': expected true or false"),
        (ExtractConfig, "[extract]\ndry_run = 1", "dry_run is 1: expected true or false"),
        (ExtractConfig, "[extract]\nbackbone = 3", "backbone is 3: expected text"),
        (ExtractConfig, "[extract]\nroot = 3", "root is 3: expected a path"),
        (ExtractConfig, "work = 3", "work is 3: expected a path"),
        (TrainConfig, '[train-heads]\nlr = "1"', "lr is '1': expected a number"),
        (TrainConfig, "[train-heads]\nlr = nan", "lr is nan: expected a number"),
        (AblateConfig, '[ablate]\nseeds = [0, "1"]', "expected numbers such as 0,1,2"),
        (AblateConfig, "[ablate]\nseeds = 3", "seeds is 3: expected numbers such as 0,1,2"),
        (AblateConfig, "[ablate]\nheads = [1]", "heads is [1]: expected words such as a,b"),
        (ExtractConfig, '[extract]\ndecoder = "avi"', "decoder is 'avi': did you mean \"av\"?"),
        (
            ExtractConfig,
            "[datasets.synth]\nroot = 1",
            "[datasets.synth] root is 1: expected a path",
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_what_was_expected(
    settle, config_class, text, message
):
    with pytest.raises(ConfigError) as caught:
        settle(config_class, here=text)
    assert str(caught.value).startswith("vidret.toml ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("config_class", "environ", "field", "value"),
    [
        (TrainConfig, {"VIDRET_TRAIN_HEADS_LR": "3e-4"}, "lr", 3e-4),
        (TrainConfig, {"VIDRET_TRAIN_HEADS_LR": "1"}, "lr", 1.0),
        (TrainConfig, {"VIDRET_TRAIN_HEADS_HIDDEN": "256"}, "hidden", 256),
        (
            TrainConfig,
            {"VIDRET_TRAIN_HEADS_WORD_WEIGHT_SCALE": "sqrt_c"},
            "word_weight_scale",
            "sqrt_c",
        ),
        (AblateConfig, {"VIDRET_ABLATE_SEEDS": "3, 4,5"}, "seeds", (3, 4, 5)),
        (AblateConfig, {"VIDRET_ABLATE_HEADS": "mean,mgfi+cmfi"}, "heads", ("mean", "mgfi+cmfi")),
        (ExtractConfig, {"VIDRET_EXTRACT_ALLOW_FAILURES": "3"}, "allow_failures", 3),
        (ExtractConfig, {"VIDRET_EXTRACT_ALLOW_FAILURES": "3%"}, "allow_failures", "3%"),
        (ExtractConfig, {"VIDRET_EXTRACT_RETRY_FAILED": "On"}, "retry_failed", True),
        (ExtractConfig, {"VIDRET_OFFLINE": "0"}, "offline", False),
    ],
)
def test_text_becomes_the_type_of_its_setting(settle, config_class, environ, field, value):
    found = getattr(settle(config_class, environ=environ).config, field)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [("FRAMES", "many"), ("FRAMES", "2.5"), ("RETRY_FAILED", "maybe"), ("DECODER", "decord")],
)
def test_text_that_does_not_fit_is_refused_by_the_name_of_its_variable(settle, name, text):
    with pytest.raises(ConfigError, match=f"^VIDRET_EXTRACT_{name} is '{text}': "):
        settle(environ={f"VIDRET_EXTRACT_{name}": text})


@pytest.mark.parametrize("text", ["[0, 1]", '"0,1"'])
def test_a_file_may_write_a_list_either_way(settle, text):
    assert settle(AblateConfig, here=f"[ablate]\nseeds = {text}").config.seeds == (0, 1)


def test_a_whole_number_will_do_where_a_fraction_may_stand(settle):
    assert settle(TrainConfig, here="[train-heads]\nweight_decay = 0").config.weight_decay == 0.0


def test_a_value_that_makes_no_sense_is_refused_with_the_place_it_came_from(settle):
    message = r"^frames is 0: .* \(set by VIDRET_EXTRACT_FRAMES\)$"
    with pytest.raises(ConfigError, match=message):
        settle(environ={"VIDRET_EXTRACT_FRAMES": "0"})


def test_a_relative_path_starts_at_the_folder_of_its_file(settle, tmp_path):
    resolved = settle(user='[extract]\nroot = "clips"', here='work = "results"')
    assert resolved.config.root == tmp_path / "home" / "clips"
    assert resolved.config.work == Path("results")


def test_each_path_of_a_list_starts_at_the_folder_of_its_file(settle, tmp_path):
    config = settle(AblateConfig, user='[ablate]\nout = ["a.md", "/b.tex"]').config
    assert config.out == (tmp_path / "home" / "a.md", Path("/b.tex"))


def test_what_may_be_repeated_keeps_the_commas_of_each_value(settle):
    given = {"vary": ("epochs=1,2", "lr=0.1"), "out": ("a,b.md",)}
    config = settle(AblateConfig, **given).config
    assert config.vary == ("epochs=1,2", "lr=0.1")
    assert config.out == (Path("a,b.md"),)


def test_a_path_may_start_with_the_home_folder(settle, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert settle(here='work = "~/vidret"').config.work == Path("/home/ada/vidret")


def test_the_folder_of_a_dataset_is_found_by_its_name(settle):
    resolved = settle(dataset="msvd", here='[datasets.msvd]\nroot = "/data/msvd"')
    assert resolved.config.root == Path("/data/msvd")
    assert resolved.origins["root"] == "vidret.toml [datasets.msvd] root"
    assert resolved.dataset_root("msvd") == Path("/data/msvd")
    assert resolved.dataset_root("msrvtt-9k") is None


@pytest.mark.parametrize(
    ("dataset", "table"), [("msrvtt-9k", "msrvtt"), ("msrvtt-7k", "msrvtt-7k")]
)
def test_the_splits_of_one_dataset_share_a_folder_unless_they_have_their_own(
    settle, dataset, table
):
    text = '[datasets.msrvtt]\nroot = "/msrvtt"\n[datasets.msrvtt-7k]\nroot = "/msrvtt-7k"'
    resolved = settle(dataset=dataset, here=text)
    assert resolved.config.root == Path(f"/{table}")
    assert resolved.origins["root"] == f"vidret.toml [datasets.{table}] root"


def test_the_folder_of_another_dataset_is_not_taken(settle):
    assert settle(here='[datasets.msvd]\nroot = "/data/msvd"').config.root is None


def test_the_folder_of_a_dataset_in_a_stronger_file_wins(settle):
    text = '[datasets.msvd]\nroot = "/{}"'
    resolved = settle(dataset="msvd", user=text.format("user"), here=text.format("here"))
    assert resolved.config.root == Path("/here")


def test_a_root_that_is_given_beats_the_folder_of_the_dataset(settle):
    text = '[datasets.msvd]\nroot = "/data/msvd"'
    assert settle(dataset="msvd", root="copy", here=text).config.root == Path("copy")


def test_broken_toml_is_refused_with_file_and_line(settle):
    with pytest.raises(ConfigError, match=r"^vidret\.toml is not valid TOML: .*line 2"):
        settle(here="[extract]\nframes = = 3")


def test_text_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "latin.toml").write_bytes(b'work = "caf\xe9"')
    with pytest.raises(ConfigError, match=r"latin\.toml is not UTF-8 text"):
        resolve(
            ExtractConfig,
            {},
            config_files=[Path("latin.toml")],
            environ={},
            cwd=tmp_path,
            user_file=None,
        )


def test_a_file_that_was_named_must_be_there(tmp_path):
    with pytest.raises(ConfigError, match=r"^gone\.toml cannot be read: no such file"):
        resolve(
            ExtractConfig,
            {},
            config_files=[Path("gone.toml")],
            environ={},
            cwd=tmp_path,
            user_file=None,
        )


def test_files_that_stand_by_themselves_need_not_be_there(tmp_path):
    resolved = resolve(
        ExtractConfig,
        {},
        config_files=[],
        environ={},
        cwd=tmp_path,
        user_file=tmp_path / "none.toml",
    )
    assert resolved.config == ExtractConfig()


def test_arguments_come_from_the_command_line_alone(settle):
    environ = {"VIDRET_SEARCH_QUERY": "a cat", "VIDRET_SEARCH_PATH": "cats"}
    resolved = settle(SearchConfig, query="a dog", environ=environ)
    assert (resolved.config.query, resolved.config.path) == ("a dog", None)
    assert resolved.origins["query"] == "QUERY"


def test_an_option_that_was_not_given_leaves_room(settle):
    resolved = settle(EvaluateConfig, split=None, here='[evaluate]\nsplit = "val"')
    assert resolved.config.split == "val"


def test_variables_that_set_nothing_are_found_with_what_was_meant():
    environ = {"VIDRET_EXTRACT_FRAME": "3", "VIDRET_WORK": "x", "PATH": "/bin", "VIDRET_ZZ": ""}
    assert unknown_variables(environ) == {
        "VIDRET_EXTRACT_FRAME": "VIDRET_EXTRACT_FRAMES",
        "VIDRET_ZZ": "",
    }


def test_a_word_like_no_other_gets_the_list_of_all():
    assert did_you_mean("zzz", ["frames", "root"]) == "known are frames, root"


def test_an_empty_path_is_not_this_folder(settle):
    """An unset variable of a script gives one."""
    with pytest.raises(ConfigError, match=r"''.*expected a path"):
        settle(SearchConfig, query="a dog", path="")
