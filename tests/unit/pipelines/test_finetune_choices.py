"""What learns, from what it learns, and what is written: the choices of `vidret finetune --e2e`."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from making.filmed import write_filmed_cache
from making.planted import write_planted_cache
from making.tuned import (
    FOUR_EPOCHS,
    INIT,
    batch_of,
    files,
    finetune,
    make_work,
    stage_of,
    start,
    stop_after,
    train_heads,
)
from safetensors.torch import load_file

from vidret.data.cache import FeatureCache
from vidret.data.errors import ConfigError, DamagedError, MismatchError
from vidret.data.manifest import read_manifest
from vidret.extract.clip import load_clip
from vidret.extract.panns import load_sound
from vidret.extract.weights.deltas import base_of_file
from vidret.pipelines.config.searching import SearchConfig
from vidret.pipelines.config.settings import EvaluateConfig, ExtractConfig
from vidret.pipelines.doctor import run_doctor
from vidret.pipelines.evaluate import run_evaluate
from vidret.pipelines.search import run_search
from vidret.pipelines.training.checkpoints import load_state
from vidret.pipelines.training.loop import AUDIO, VIDEO_TEXT
from vidret.pipelines.training.runs import (
    CLIP_WEIGHTS,
    SOUND_WEIGHTS,
    WEIGHTS,
    encoders_of_run,
    find_run,
    read_run,
)
from vidret.pipelines.training.tuning import make_learner

LORA = {"lora": 2, "lr_lora": 1e-2}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Videos, their cache with pixels, and a run on it: only to look at."""
    return make_work(tmp_path_factory.mktemp("filmed"), pixels=True)


@pytest.fixture
def work(tmp_path, made):
    """A work folder of one's own with that cache and that run."""
    return shutil.copytree(made, tmp_path / "work")


@pytest.fixture(scope="module")
def hidden(tmp_path_factory):
    """The same with features from before the projections, and a run that trained these."""
    train = {"train_projection": True, "projection_lr": 1e-3, "epochs": 2, "audio_epochs": 1}
    return make_work(tmp_path_factory.mktemp("hidden"), features="hidden", train=train)


def encode_with(work, name):
    """What the command does that the report of a run prints."""
    backbone, audio = encoders_of_run(work, name)
    facts = FeatureCache.open(read_run(work / "runs" / name).cache)
    videos = Path(facts.manifest.settings["root"])
    features = facts.fingerprint.features
    return write_filmed_cache(work, videos, backbone=backbone, audio=audio, features=features)


def scores_of(work, name):
    config = EvaluateConfig(work=work, run=name, split="train", device="cpu")
    return run_evaluate(config).scores.t2v


def require_reported(report, work, name):
    """The numbers of a run on features made anew are those that it reported."""
    found = scores_of(work, name)
    assert {one: report.after[one] for one in found} == pytest.approx(found, abs=1e-9)


def learning_names(work, stage=VIDEO_TEXT, **changes):
    """The tensors of the encoders that one step changes, and the groups they are in."""
    run, tuning = start(work, **changes)
    learner = make_learner(run, stage_of(run, stage), tuning)
    encoders = tuning.encoders
    network = encoders.sound.model if stage == AUDIO else encoders.clip.model
    before = {name: one.clone() for name, one in network.state_dict().items()}
    optimizer = torch.optim.AdamW(learner.groups, lr=1e-3, weight_decay=0.0)
    learner.loss(batch_of(learner)).backward()
    with_gradient = {name for name, one in network.named_parameters() if one.grad is not None}
    optimizer.step()
    changed = {
        name for name, one in network.state_dict().items() if not torch.equal(one, before[name])
    }
    assert changed == with_gradient
    return changed, learner


@pytest.mark.parametrize(
    ("head", "seed", "epochs"), [("mgfi", 0, 3), ("mgfi", 3, 2), ("mgfi+cmfi", 1, 3)]
)
def test_freezing_everything_reproduces_train_heads_to_the_bit(work, head, seed, epochs):
    """Both begin with heads that have learned nothing, and see the same batches."""
    cache = read_run(work / "runs" / INIT).cache
    same = {"lr": 1e-3, "batch_size": 8, "weight_decay": 0.02}
    same |= {"epochs": epochs, "audio_epochs": epochs, "select_on": "train", "seed": seed}
    trained = train_heads(work, cache=cache, name="trained", head=head, audio_lr=1e-3, **same)
    fresh = {"epochs": 0, "audio_epochs": 0, "seed": seed}
    train_heads(work, cache=cache, name="fresh", head=head, **fresh)
    tuned = finetune(work, init="fresh", name="frozen", unfreeze=("none",), **same)
    assert all(tuned.kept.values())  # or the start would be compared
    expected = load_file(trained.folder / WEIGHTS)
    found = load_file(tuned.folder / WEIGHTS)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], one) for name, one in expected.items())
    last = list(trained.run.history)[-1]
    assert tuned.run.history[last][1:] == trained.run.history[last]
    assert not (tuned.folder / CLIP_WEIGHTS).exists()


def test_the_last_block_learns_and_what_lies_below_keeps_still(work):
    changed, _ = learning_names(work, unfreeze=("visual", "last:1"))
    layers = len(load_clip("tiny").model.visual.transformer.resblocks)
    allowed = (f"visual.transformer.resblocks.{layers - 1}.", "visual.ln_post", "visual.proj")
    assert len(changed) == 15
    assert all(name.startswith(allowed) for name in changed)


def test_norms_alone_learn_in_both_stages(work):
    changed, learner = learning_names(work, unfreeze=("norms",))
    assert changed
    assert all(".ln_" in f".{name}" for name in changed)
    assert {group["weight_decay"] for group in learner.groups[2:]} == {0.0}
    changed, _ = learning_names(work, AUDIO, unfreeze=("norms",))
    assert changed == {
        f"blocks.{block}.1.{kind}" for block in range(4) for kind in ("weight", "bias")
    }


def test_rates_of_the_blocks_are_those_that_were_asked_for(work):
    _, learner = learning_names(work, unfreeze=("text",), layer_decay=0.5, lr_clip=1e-4)
    rates = {group["name"]: group["lr"] for group in learner.groups if "name" in group}
    layers = len(load_clip("tiny").model.transformer.resblocks)
    expected = {
        "text, after the blocks": 1e-4,
        "text, before the blocks": 1e-4 * 0.5 ** (layers + 1),
    }
    expected |= {
        f"text, block {number} of {layers}": 1e-4 * 0.5 ** (layers + 1 - number)
        for number in range(1, layers + 1)
    }
    assert rates == pytest.approx(expected)


def test_a_checkpoint_holds_the_heads_and_what_learns(work):
    with pytest.raises(KeyboardInterrupt):
        finetune(work, unfreeze=("visual", "last:0"), name="few", on_progress=stop_after(1))
    weights = load_state(work / "runs" / "few")["weights"]
    kept = {name for name in weights if not name.startswith("heads.")}
    assert kept == {f"encoder.visual/{one}" for one in ("proj", "ln_post/weight", "ln_post/bias")}


def test_adapters_change_nothing_before_the_first_step(work):
    """To the bit, on features and so on numbers."""
    _, plain = start(work)
    run, adapted = start(work, lora=2)
    learner = make_learner(run, stage_of(run, VIDEO_TEXT), adapted)
    assert len(learner.groups) > 2
    plain.encoders.clip.requires_grad_(False)
    pictures = plain.train.source.footage.fetch(plain.train.source.features, [0])[0].pictures
    with torch.no_grad():
        expected = plain.encoders.clip.encode_frames(pictures)
        assert torch.equal(adapted.encoders.clip.encode_frames(pictures), expected)


def test_only_adapters_and_heads_learn_and_are_kept(work):
    run, tuning = start(work, **LORA)
    learner = make_learner(run, stage_of(run, VIDEO_TEXT), tuning)
    learner.loss(batch_of(learner)).backward()
    named = tuning.encoders.clip.model.named_parameters()
    reached = {name for name, one in named if one.grad is not None}
    assert reached
    assert all(name.endswith((".0.down", ".0.up")) for name in reached)
    assert {group["lr"] for group in learner.groups[2:]} == {1e-2}
    kept = {name for name in learner.model.state_dict() if not name.startswith("heads.")}
    assert {name.removeprefix("encoder.").replace("/", ".") for name in kept} == reached


@pytest.mark.parametrize("save", [pytest.param("full", marks=pytest.mark.slow), "delta"])
def test_what_adapters_learned_is_in_the_encoder_that_is_written(work, save):
    report = finetune(work, name="light", save=save, audio_epochs=0, **LORA)
    assert report.kept[VIDEO_TEXT] > 0
    clip, base = load_clip(f"tiny@{report.folder / CLIP_WEIGHTS}"), load_clip("tiny")
    moved = {
        name
        for name, one in clip.model.state_dict().items()
        if not torch.equal(one, base.model.state_dict()[name])
    }
    assert moved
    assert all("resblocks" in name and name.endswith("weight") for name in moved)
    size = (report.folder / CLIP_WEIGHTS).stat().st_size
    assert (size < 400_000) == (save == "delta")
    encode_with(work, "light")
    require_reported(report, work, "light")


@pytest.mark.slow
def test_a_difference_is_the_same_encoder_as_all_weights(work):
    whole = finetune(work, name="whole", unfreeze=("last:1",))
    part = finetune(work, name="part", unfreeze=("last:1",), save="delta")
    assert whole.run.history == part.run.history
    for file, load in ((CLIP_WEIGHTS, load_clip), (SOUND_WEIGHTS, load_sound)):
        both = [load(f"tiny@{one.folder / file}").model.state_dict() for one in (whole, part)]
        assert all(torch.equal(one, both[1][name]) for name, one in both[0].items())
        sizes = [(one.folder / file).stat().st_size for one in (whole, part)]
        assert sizes[1] < sizes[0]
        assert base_of_file(part.folder / file).spec == "tiny"
    assert part.run.fingerprint != whole.run.fingerprint


def test_a_difference_is_a_backbone_like_any_other(work):
    little = {"save": "delta", "audio_epochs": 0}  # leaves something to learn
    report = finetune(work, name="mine", unfreeze=("text",), lr_clip=1e-5, **little)
    encode_with(work, "mine")
    require_reported(report, work, "mine")
    doctor = run_doctor(ExtractConfig(work=work, backbone="run:mine", dataset="synth-mini"))
    found = {check.what: check for check in doctor.checks}["backbone weights"]
    assert (found.state, "run:mine" in found.found) == ("ok", True)
    again = finetune(work, init="mine", name="more", unfreeze=("visual",), lr_clip=3e-5, **little)
    assert base_of_file(again.folder / CLIP_WEIGHTS).spec == f"tiny@{report.folder / CLIP_WEIGHTS}"
    encode_with(work, "more")
    require_reported(again, work, "more")


@pytest.mark.slow
def test_a_search_in_a_folder_takes_the_encoders_of_the_run(work):
    """Also where nothing has been cached with them yet."""
    report = finetune(work, name="mine", audio_epochs=0)
    videos = Path(FeatureCache.open(report.run.cache).manifest.settings["root"])
    config = SearchConfig(work=work, run="mine", query="a bell rings", path=videos, device="cpu")
    found = run_search(config)
    facts = FeatureCache.open(found.cache).fingerprint
    assert facts.backbone_weights == report.run.fingerprint.backbone_weights
    assert len(found.hits) == 10
    before = FeatureCache.open(report.run.cache).folder
    with pytest.raises(MismatchError, match="backbone_weights is") as error:
        run_search(SearchConfig(work=work, run="mine", query="a bell", cache=before, device="cpu"))
    assert error.value.exit_code == 5


@pytest.mark.parametrize(
    "choices",
    [
        {"augment": ("crop", "flip"), "unfreeze": ("visual", "last:1")},
        {"batchnorm": "train", "epochs": 0, "lr_audio": 1e-5, "lr": 3e-3},
        pytest.param(LORA, marks=pytest.mark.slow),
        pytest.param({"unfreeze": ("norms",), "save": "delta"}, marks=pytest.mark.slow),
    ],
)
def test_one_that_was_stopped_goes_on_to_the_same_bits(work, choices):
    epochs = FOUR_EPOCHS | choices
    whole = finetune(work, name="whole", **epochs)
    with pytest.raises(KeyboardInterrupt):
        finetune(work, name="parts", on_progress=stop_after(1), **epochs)
    resumed = finetune(work, name="parts", **epochs)
    assert whole.kept != {VIDEO_TEXT: 0, AUDIO: 0}
    assert files(resumed.folder) == files(whole.folder)
    assert resumed.run.history == whole.run.history


def test_batch_norm_keeps_still_unless_asked(work):
    def numbers(**choices):
        report = finetune(work, epochs=0, lr_audio=1e-5, lr=3e-3, audio_epochs=2, **choices)
        own = load_file(report.folder / SOUND_WEIGHTS)
        return {name: one for name, one in own.items() if ".running_" in name}

    bundled = load_sound("tiny").model.state_dict()
    assert all(torch.equal(one, bundled[name]) for name, one in numbers(name="eval").items())
    moved = numbers(name="train", batchnorm="train")
    assert not any(torch.equal(one, bundled[name]) for name, one in moved.items())


def test_norms_of_frozen_blocks_keep_still_even_in_training(work):
    run, tuning = start(work, unfreeze=("audio", "last:1"), batchnorm="train")
    learner = make_learner(run, stage_of(run, AUDIO), tuning)
    network = tuning.encoders.sound.model
    before = {name: one.clone() for name, one in network.named_buffers() if "running" in name}
    learner.loss(batch_of(learner))
    moved = {
        name
        for name, one in network.named_buffers()
        if name in before and (one != before[name]).any()
    }
    assert moved == {"blocks.3.1.running_mean", "blocks.3.1.running_var"}
    assert not any(module.training for module in network.modules())  # outside of a step


def test_pictures_differ_from_epoch_to_epoch_in_training_alone(work):
    run, tuning = start(work, augment=("crop", "flip"))
    learner = make_learner(run, stage_of(run, VIDEO_TEXT), tuning)
    draws = torch.Generator().manual_seed(0)
    rows = torch.arange(4)

    def frames(batch):
        split, own = batch
        with torch.no_grad():
            return split.batch(own)[1].frames

    first, second = learner.begin_epoch(draws), learner.begin_epoch(draws)
    one, other, again = frames(first(rows)), frames(second(rows)), frames(first(rows))
    assert torch.equal(one, again)
    assert not torch.allclose(one, other, atol=1e-2)
    plain = tuning.train.cached.videos[tuning.train.cached.owners[rows]].frames
    assert not torch.allclose(one, plain, atol=1e-2)
    assert learner.measure() == learner.measure()
    _, without = start(work)
    expected = make_learner(run, stage_of(run, VIDEO_TEXT), without).measure()
    assert learner.measure()["MnR"] == expected["MnR"]


def test_a_frozen_tower_sees_the_augmented_pictures_too(work):
    run, tuning = start(work, augment=("crop",), unfreeze=("none",))
    learner = make_learner(run, stage_of(run, VIDEO_TEXT), tuning)
    split, rows = batch_of(learner, 4)
    _, videos = split.batch(rows)
    assert not videos.frames.requires_grad
    plain = tuning.train.cached.videos[tuning.train.cached.owners[rows]].frames
    assert not torch.allclose(videos.frames, plain, atol=1e-2)


def test_the_second_stage_sees_pictures_as_they_are(work):
    run, tuning = start(work, augment=("crop",))
    learner = make_learner(run, stage_of(run, AUDIO), tuning)
    split, rows = batch_of(learner, 4)
    with torch.no_grad():
        _, videos = split.batch(rows)
    expected = tuning.train.cached.videos[tuning.train.cached.owners[rows]].frames
    assert torch.equal(videos.frames, expected)


def test_a_pixel_shard_with_a_flipped_byte_is_refused(work):
    manifest = read_manifest(read_run(work / "runs" / INIT).cache)
    cache = work / "cache" / read_run(work / "runs" / INIT).cache.name
    path = cache / next(one.file for one in manifest.shards if one.kind == "pixel")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        DamagedError, match=r"pixels-.*damaged: make it again with .*--pixels"
    ) as it:
        finetune(work, name="mine")
    assert it.value.exit_code == 5


def test_trained_projections_become_those_of_clip(hidden, tmp_path):
    """They are the same matrices, so the numbers of the start are those of the run it is from."""
    work = shutil.copytree(hidden, tmp_path / "work")
    _, tuning = start(work)
    trained = load_file(work / "runs" / INIT / "projections.safetensors")
    now = tuning.encoders.clip.projections()
    assert all(torch.equal(now[name], one) for name, one in trained.items())
    bundled = load_clip("tiny").projections()
    assert not torch.equal(bundled["visual.weight"], now["visual.weight"])
    report = finetune(work, name="mine")
    assert report.before["MnR"] == scores_of(work, INIT)["MnR"]
    assert not report.run.settings["train_projection"]
    assert "--features hidden" in report.extract
    encode_with(work, "mine")
    require_reported(report, work, "mine")


def test_projections_are_written_though_nothing_else_became_better(hidden, tmp_path):
    work = shutil.copytree(hidden, tmp_path / "work")
    report = finetune(work, name="mine", epochs=0, audio_epochs=0, save="delta")
    assert set(load_file(report.folder / CLIP_WEIGHTS)) == {"visual.proj", "text_projection"}
    encode_with(work, "mine")
    require_reported(report, work, "mine")


@pytest.mark.parametrize("choices", [{"e2e": False}, {"unfreeze": ("audio",)}])
def test_projections_stay_those_of_the_run_where_clip_keeps_still(hidden, tmp_path, choices):
    work = shutil.copytree(hidden, tmp_path / "work")
    report = finetune(work, name="mine", **choices)
    assert report.run.settings["train_projection"]
    assert "projections.safetensors" in files(report.folder)
    if report.run.has_own_encoders:
        encode_with(work, "mine")
    require_reported(report, work, "mine")


def test_heads_alone_go_on_with_the_settings_of_their_run(work):
    cache = read_run(work / "runs" / INIT).cache
    own = {"pairs": "distinct", "same_video": "positive", "temperature": "fixed", "ema": 0.5}
    train_heads(work, cache=cache, name="own", audio_weight="val", **own)
    settings = finetune(work, init="own", e2e=False, name="more").run.settings
    assert {name: settings[name] for name in own} == own
    assert settings["audio_weight"] == "val"


def test_other_frames_every_epoch_go_on_where_no_picture_is_encoded(tmp_path):
    cache = write_planted_cache(
        tmp_path / "cache" / "planted", splits={"train": 12, "val": 4}, dense=True
    )
    train_heads(tmp_path, cache=cache, jitter=True)
    runs = {
        seed: finetune(tmp_path, e2e=False, seed=seed, name=f"more-{seed}", audio_epochs=0).run
        for seed in (0, 1)
    }
    assert all(run.settings["jitter"] for run in runs.values())
    losses = {run.history[VIDEO_TEXT][1]["loss"] for run in runs.values()}
    assert len(losses) == 2


@pytest.mark.parametrize("choices", [{"unfreeze": ("audio",)}, {"batchnorm": "train"}])
def test_a_head_without_sound_has_no_use_for_a_sound_network(work, choices):
    train_heads(work, cache=read_run(work / "runs" / INIT).cache, name="deaf", head="mgfi")
    with pytest.raises(ConfigError, match=r"run deaf has no head for sound \(mgfi\).*mgfi\+cmfi"):
        finetune(work, init="deaf", **choices)


@pytest.mark.slow
def test_a_cache_from_before_the_projections_serves_a_run_that_trained_none(hidden, tmp_path):
    work = shutil.copytree(hidden, tmp_path / "work")
    train_heads(work, cache=read_run(work / "runs" / INIT).cache, name="plain", epochs=0)
    report = finetune(work, init="plain", name="mine")
    assert report.kept[VIDEO_TEXT] > 0
    encode_with(work, "mine")
    require_reported(report, work, "mine")


def test_more_blocks_than_a_tower_has_are_refused_before_anything_is_written(work):
    with pytest.raises(ConfigError, match=r"last:99, and visual has \d+ blocks"):
        finetune(work, unfreeze=("last:99",), name="mine")
    assert not (work / "runs" / "mine").exists()


def test_the_choices_stand_in_the_run_and_in_the_report(work):
    report = finetune(work, name="mine", unfreeze=("visual", "last:1"), lora=1, epochs=0)
    origin = json.loads((find_run(work, "mine") / "run.json").read_text())["origin"]
    assert (origin["unfreeze"], origin["limits"], origin["lora"]) == (["visual"], ["last:1"], 1)
    assert report.as_json()["origin"]["limits"] == ["last:1"]
