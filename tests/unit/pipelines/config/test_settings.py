import re
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from vidret.data.errors import ConfigError
from vidret.pipelines.config.declaring import (
    named_settings,
    option_of,
    required_arguments,
    variable_of,
)
from vidret.pipelines.config.fitting import FIT_SETTINGS, AblateConfig, TrainConfig
from vidret.pipelines.config.reporting import PageConfig
from vidret.pipelines.config.searching import SearchConfig
from vidret.pipelines.config.settings import (
    CONFIGS,
    SYNTH_CLIPS,
    DemoConfig,
    EvaluateConfig,
    ExtractConfig,
)

BAD = [
    (ExtractConfig, {"frames": 0}),
    (ExtractConfig, {"shard_size": 0}),
    (ExtractConfig, {"workers": -1}),
    (ExtractConfig, {"clips": 0}),
    (ExtractConfig, {"clips": 8, "dataset": "msvd"}),
    (ExtractConfig, {"decoder": "decord"}),
    (ExtractConfig, {"device": "gpu"}),
    (ExtractConfig, {"allow_failures": "half"}),
    (ExtractConfig, {"allow_failures": "101%"}),
    (ExtractConfig, {"allow_failures": -1}),
    (TrainConfig, {"epochs": -1}),
    (TrainConfig, {"audio_epochs": -1}),
    (TrainConfig, {"batch_size": 1}),
    (TrainConfig, {"lr": 0.0}),
    (TrainConfig, {"audio_lr": -1e-3}),
    (TrainConfig, {"weight_decay": -0.1}),
    (TrainConfig, {"dropout": 1.0}),
    (TrainConfig, {"hidden": 0}),
    (TrainConfig, {"word_weight_scale": "loud"}),
    (TrainConfig, {"hcmi_clips": 0}),
    (TrainConfig, {"hcmi_margin": -0.1}),
    (AblateConfig, {"hcmi_clustering": "k-means"}),
    (TrainConfig, {"resume": "a", "name": "b"}),
    (AblateConfig, {"seeds": ()}),
    (AblateConfig, {"seeds": (1, 2, 1)}),
    (AblateConfig, {"heads": ()}),
    (AblateConfig, {"heads": ("mean", "mean")}),
    (EvaluateConfig, {"fail_under": "R@1"}),
    (EvaluateConfig, {"fail_under": "MnR=3"}),
    (EvaluateConfig, {"fail_under": "R@1=130"}),
    (EvaluateConfig, {"mem_budget": 0}),
    (EvaluateConfig, {"audio_weight": -1.0}),
    (EvaluateConfig, {"precision": "float8"}),
    (PageConfig, {"hardest": 21}),
    (PageConfig, {"random": -1}),
    (PageConfig, {"run": "mine", "against": "mine"}),
    (PageConfig, {"device": "gpu"}),
    (SearchConfig, {"query": "  "}),
    (SearchConfig, {"query": "a dog", "top": 0}),
    (SearchConfig, {"query": "a dog", "path": Path("a"), "cache": Path("b")}),
    (DemoConfig, {"seeds": ()}),
    (DemoConfig, {"seeds": (0, 0)}),
    (DemoConfig, {"clips": 0}),
]


@pytest.mark.parametrize(("config_class", "values"), BAD)
def test_a_value_that_makes_no_sense_is_refused_by_the_name_of_its_setting(config_class, values):
    with pytest.raises(ConfigError) as caught:
        config_class(**values)
    name = str(caught.value).partition(" ")[0]
    assert name in values
    assert ": " in str(caught.value), "the message says what to do next"


@pytest.mark.parametrize("name", FIT_SETTINGS)
def test_every_setting_of_a_run_is_explained_in_the_docs(name):
    docs = Path(__file__).parents[4] / "docs"
    pages = [docs / page for page in ("heads.md", "training.md", "hcmi.md")]
    told = " ".join(page.read_text(encoding="utf-8") for page in pages)
    assert re.search(rf"`(--)?{option_of(name)[2:]}[ `]|`{name}`", told)


@pytest.mark.parametrize("table", CONFIGS)
def test_the_built_in_values_make_sense(table):
    config = CONFIGS[table](**dict.fromkeys(required_arguments(CONFIGS[table]), "a dog"))
    assert config.table == table


@pytest.mark.parametrize("table", CONFIGS)
def test_every_setting_is_explained_in_one_short_sentence(table):
    for one in fields(CONFIGS[table]):
        assert one.metadata["help"].endswith(".")
        assert len(one.metadata["help"]) <= 80


def test_no_two_settings_share_a_variable_unless_they_are_one():
    homes = {}
    for config_class in CONFIGS.values():
        for one in named_settings(config_class):
            home = one.name if one.metadata["shared"] else (config_class.table, one.name)
            homes.setdefault(variable_of(config_class, one), set()).add(home)
    assert all(len(settings) == 1 for settings in homes.values())


def test_the_names_of_a_setting_follow_from_its_field():
    batch_size = next(one for one in fields(TrainConfig) if one.name == "batch_size")
    work = next(one for one in fields(TrainConfig) if one.name == "work")
    assert option_of("batch_size") == "--batch-size"
    assert variable_of(TrainConfig, batch_size) == "VIDRET_TRAIN_HEADS_BATCH_SIZE"
    assert variable_of(TrainConfig, work) == "VIDRET_WORK"


def test_the_demo_keeps_away_from_the_work_folder_of_the_other_commands():
    work = next(one for one in fields(DemoConfig) if one.name == "work")
    assert variable_of(DemoConfig, work) == "VIDRET_DEMO_WORK"
    assert DemoConfig().work != ExtractConfig().work


def test_a_config_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        ExtractConfig().frames = 3


@pytest.mark.parametrize(
    ("values", "backbone", "audio"),
    [
        ({}, "tiny", "tiny"),
        ({"dataset": "msvd"}, "ViT-B-32-quickgelu@openai", "Cnn14"),
        ({"dataset": "folder:clips"}, "ViT-B-32-quickgelu@openai", "Cnn14"),
        ({"dataset": "msvd", "backbone": "tiny", "audio": "none"}, "tiny", "none"),
        ({"backbone": "RN50@/w/rn50.pt"}, "RN50@/w/rn50.pt", "tiny"),
    ],
)
def test_encoders_follow_the_dataset_until_they_are_named(values, backbone, audio):
    config = ExtractConfig(**values)
    assert (config.backbone_name, config.audio_name) == (backbone, audio)


def test_the_home_folder_is_written_out_behind_the_at_sign(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    config = ExtractConfig(backbone="RN50@~/rn50.pt", audio="Cnn14@~/cnn14.pth")
    assert config.backbone_name == "RN50@/home/ada/rn50.pt"
    assert config.audio_name == "Cnn14@/home/ada/cnn14.pth"


@pytest.mark.parametrize(
    ("given", "total", "allowed"),
    [(0, 1970, 0), (4, 1970, 4), ("4", 1970, 4), ("5%", 200, 10), ("0.5%", 199, 0), ("100%", 7, 7)],
)
def test_failures_are_allowed_by_number_or_by_percentage(given, total, allowed):
    assert ExtractConfig(allow_failures=given).failures_allowed(total) == allowed


@pytest.mark.parametrize(
    ("given", "threshold"),
    [
        (None, None),
        ("R@1=30", ("R@1", 30.0)),
        ("R10=72.5", ("R@10", 72.5)),
        ("R@5 = 50%", ("R@5", 50.0)),
    ],
)
def test_a_threshold_is_a_recall_and_a_percentage(given, threshold):
    assert EvaluateConfig(fail_under=given).threshold == threshold


def test_ablate_trains_with_the_settings_that_train_heads_has():
    own = {"head", "heads", "seed", "seeds", "resume", "name"}
    own |= {"vary", "base", "jobs", "resamples", "format", "out", "plot", "dry_run"}
    own |= {"cost", "remeasure", "plot_cost", "rerank", "rerank_tune", "bank_size"}
    shared = {one.name: one.default for one in fields(TrainConfig) if one.name not in own}
    assert shared == {one.name: one.default for one in fields(AblateConfig) if one.name not in own}


def test_synth_is_drawn_with_as_many_clips_as_asked_for():
    assert ExtractConfig(clips=30).num_clips == 30
    assert ExtractConfig().num_clips == SYNTH_CLIPS


def test_help_names_the_number_of_clips_drawn_by_default():
    helps = [one.metadata["help"] for table in (ExtractConfig, DemoConfig) for one in fields(table)]
    assert sum(f"unset draws {ExtractConfig().num_clips}." in text for text in helps) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"jobs": -1}, "jobs is -1: give 0 or more"),
        ({"resamples": 10}, "resamples is 10: give 100 or more"),
        ({"plot_cost": (Path("a.txt"),)}, "plot_cost is a.txt: end its name in .svg, .png or .pdf"),
        ({"out": (Path("a.doc"),)}, "out is a.doc: end its name in .md, .tex, .json, .csv or .txt"),
        ({"out": (Path("a.md"), Path("a.md"))}, "out has .* more than once"),
        ({"plot": (Path("a.gif"),)}, "plot is a.gif: end its name in .svg, .png or .pdf"),
        ({"vary": ()}, "vary is empty"),
        ({"format": "html"}, "format is 'html'"),
        ({"format": "csv", "json": True}, "json and format csv are two forms of one table"),
    ],
)
def test_what_a_table_cannot_do_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        AblateConfig(**settings)
