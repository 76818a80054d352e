import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from making.filmed import CLIPS, FRAMES, write_filmed_cache
from making.tuned import (
    FOUR_EPOCHS,
    INIT,
    QUIET,
    batch_of,
    files,
    finetune,
    make_work,
    quiet,
    settle,
    stage_of,
    start,
    stop_after,
    whole_epochs,
)
from safetensors.torch import load_file

from vidret.data.cache import FeatureCache
from vidret.data.errors import ConfigError, DamagedError, MismatchError, MissingError
from vidret.data.storage.locks import folder_lock
from vidret.extract.clip import load_clip
from vidret.extract.panns import load_sound
from vidret.extract.weights.files import hash_file
from vidret.pipelines.config.fitting import FinetuneConfig, TrainConfig
from vidret.pipelines.config.settings import EvaluateConfig, ExtractConfig
from vidret.pipelines.display.render import render_finetune
from vidret.pipelines.evaluate import run_evaluate
from vidret.pipelines.extract import run_extract
from vidret.pipelines.extraction.again import dataset_options
from vidret.pipelines.finetune import run_finetune
from vidret.pipelines.train_heads import run_train
from vidret.pipelines.training import tuning
from vidret.pipelines.training.checkpoints import STATE
from vidret.pipelines.training.journal import LOG, read_log
from vidret.pipelines.training.learners import fit_stage
from vidret.pipelines.training.loop import AUDIO, VIDEO_TEXT, fit_learner
from vidret.pipelines.training.preparing import _load_encoders, prepare
from vidret.pipelines.training.runs import (
    CLIP_WEIGHTS,
    LAST,
    RUN,
    SOUND_WEIGHTS,
    WEIGHTS,
    encoders_of_run,
    load_weights,
    read_run,
)
from vidret.pipelines.training.tuning import make_learner

SLOW = pytest.mark.slow
FEW = {"audio": "tiny", "frames": FRAMES, "device": "cpu", "precision": "float32"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Videos, their cache, and a run on it: only to look at."""
    return make_work(tmp_path_factory.mktemp("filmed"))


@pytest.fixture(scope="module")
def tuned(made, tmp_path_factory):
    """A work folder of its own and the report of a fine-tuning in it: only to look at."""
    work = shutil.copytree(made, tmp_path_factory.mktemp("tuned") / "work")
    return work, finetune(work, **FOUR_EPOCHS)


@pytest.fixture
def work(tmp_path, made):
    """A work folder of one's own with that cache and that run."""
    shutil.copytree(made, tmp_path / "work")
    return tmp_path / "work"


def tensors(tuning):
    """Every tensor that could change, copied, by the part it belongs to."""
    clip, sound = tuning.encoders.clip.model, tuning.encoders.sound.model
    parts = {"heads": tuning.retriever, "clip": clip, "sound": sound}
    return {
        f"{part}.{name}": tensor.clone()
        for part, module in parts.items()
        for name, tensor in module.state_dict().items()
    }


def part_of(name):
    """What a tensor belongs to, by its name alone: apart from how the code tells it."""
    if ".running_" in name or name.endswith(
        ("num_batches_tracked", "word_log_scale", "audio_weight")
    ):
        return "fixed numbers"
    if name.startswith("heads.audio_head."):
        return "sound head"
    if name.startswith("heads."):
        return "video head"
    if name == "clip.logit_scale" or name.startswith("sound.tag."):
        return "nothing that counts"
    if name.startswith("clip."):
        return "visual" if name.startswith("clip.visual.") else "text"
    return "audio"


@pytest.mark.parametrize(
    ("unfreeze", "stage", "expected"),
    [
        (("all",), VIDEO_TEXT, {"video head", "visual", "text"}),
        (("visual", "audio"), VIDEO_TEXT, {"video head", "visual"}),
        (("text", "audio"), VIDEO_TEXT, {"video head", "text"}),
        (("all",), AUDIO, {"sound head", "audio"}),
    ],
)
def test_a_stage_changes_the_unfrozen_tensors_and_no_other(work, unfreeze, stage, expected):
    run, tuning = start(work, unfreeze=unfreeze, lr_clip=1e-3)
    learner = make_learner(run, stage_of(run, stage), tuning)
    before = tensors(tuning)
    optimizer = torch.optim.AdamW(learner.groups)
    learner.loss(batch_of(learner)).backward()
    optimizer.step()
    changed = {name for name, now in tensors(tuning).items() if not torch.equal(now, before[name])}
    assert changed == {name for name in before if part_of(name) in expected}


@pytest.mark.parametrize("stage", [VIDEO_TEXT, AUDIO])
def test_gradients_reach_every_weight_that_learns_and_no_other(work, stage):
    run, tuning = start(work)
    learner = make_learner(run, stage_of(run, stage), tuning)
    learner.loss(batch_of(learner)).backward()
    learning = {id(weight) for group in learner.groups for weight in group["params"]}
    clip, sound = tuning.encoders.clip, tuning.encoders.sound
    weights = [weight for one in (tuning.retriever, clip, sound) for weight in one.parameters()]
    assert len(learning) > 50 if stage == VIDEO_TEXT else len(learning) > 10
    assert {id(weight) for weight in weights if weight.grad is not None} == learning


def test_each_part_learns_at_its_own_rate(work):
    run, tuning = start(work, lr=1e-4, lr_clip=1e-6, lr_audio=5e-5)

    def rates(stage):
        learner = make_learner(run, stage_of(run, stage), tuning)
        names = {id(w): f"heads.{name}" for name, w in tuning.retriever.named_parameters()}
        names |= {
            id(w): f"clip.{name}" for name, w in tuning.encoders.clip.model.named_parameters()
        }
        names |= {
            id(w): f"sound.{name}" for name, w in tuning.encoders.sound.model.named_parameters()
        }
        return {
            (part_of(names[id(weight)]), group["lr"])
            for group in learner.groups
            for weight in group["params"]
        }

    assert rates(VIDEO_TEXT) == {("video head", 1e-4), ("visual", 1e-6), ("text", 1e-6)}
    assert rates(AUDIO) == {("sound head", 1e-4), ("audio", 5e-5)}


def test_matrices_of_the_towers_decay_and_norms_and_embeddings_do_not(work):
    run, tuning = start(work)
    learner = make_learner(run, stage_of(run, VIDEO_TEXT), tuning)
    decay = {id(w): group["weight_decay"] for group in learner.groups for w in group["params"]}
    clip = tuning.encoders.clip.model
    block = clip.visual.transformer.resblocks[0]
    decayed = (clip.visual.conv1.weight, block.attn.in_proj_weight, block.mlp.c_fc.weight)
    spared = (block.ln_1.weight, block.mlp.c_fc.bias, clip.token_embedding.weight)
    assert [decay[id(weight)] for weight in decayed] == [0.01] * 3
    assert [decay[id(weight)] for weight in spared] == [0.0] * 3


def test_untouched_encoders_give_what_the_cache_holds(work):
    _, tuning = start(work)
    live = replace(tuning.train, live=frozenset(("visual", "text", "audio")))
    cached, anew = live.cached, live.encode()
    assert cached.videos.audio_mask.any()
    close = {"rtol": 2e-3, "atol": 2e-3}  # float16 may round the other way
    torch.testing.assert_close(anew.texts.sentence, cached.texts.sentence, **close)
    torch.testing.assert_close(anew.texts.values, cached.texts.values, **close)
    torch.testing.assert_close(anew.videos.frames, cached.videos.frames, **close)
    heard = cached.videos.audio_mask
    torch.testing.assert_close(anew.videos.audio[heard], cached.videos.audio[heard], **close)


def test_a_batch_pairs_each_caption_with_its_own_video(work):
    _, tuning = start(work)
    rows = torch.tensor([9, 0, 1, 40, 0])  # some of one video, one of them twice
    live = replace(tuning.train, live=frozenset(("visual", "text", "audio")))
    texts, videos = live.batch(rows)
    close = {"rtol": 2e-3, "atol": 2e-3}
    cached = tuning.train.cached
    torch.testing.assert_close(videos.frames, cached.videos[cached.owners[rows]].frames, **close)
    torch.testing.assert_close(texts.sentence, cached.texts.sentence[rows], **close)
    assert videos.frames.requires_grad
    assert texts.words.requires_grad


def test_frozen_encoders_leave_nothing_but_the_training_of_the_heads(work):
    """The bits of the loop that train-heads runs on the cache, from the same weights."""
    finished = finetune(work, e2e=True, unfreeze=("none",), epochs=3)
    heads = finetune(work, e2e=False, epochs=3)
    assert files(finished.folder) == files(heads.folder)
    assert finished.kept[VIDEO_TEXT] > 0
    run, tuning = start(work, e2e=False, epochs=3)
    stage, kept, retriever = stage_of(run, VIDEO_TEXT), [], tuning.retriever
    retriever.audio_head = None
    fit_stage(
        retriever,
        stage,
        tuning.train.cached,
        tuning.train.cached,
        seed=run.seed,
        on_epoch=lambda _, state: kept.append({n: w.clone() for n, w in state["weights"].items()}),
    )
    expected = kept[finished.kept[VIDEO_TEXT] - 1]
    weights = load_file(finished.folder / WEIGHTS)
    assert all(torch.equal(weights[name], weight) for name, weight in expected.items())


def test_a_fine_tuning_leaves_a_run_with_the_weights_that_changed(tuned):
    work, report = tuned
    names = {path.name for path in report.folder.glob("[!.]*")}
    lasts = {f"{LAST}{VIDEO_TEXT}", f"{LAST}{AUDIO}"}
    assert names == {WEIGHTS, RUN, LOG, CLIP_WEIGHTS, SOUND_WEIGHTS} | lasts
    assert (report.kept[VIDEO_TEXT] > 0, report.kept[AUDIO] > 0) == (True, True)
    run = read_run(report.folder)
    assert (run, run.complete) == (report.run, True)
    assert run.fingerprint.backbone_weights == hash_file(report.folder / CLIP_WEIGHTS)
    assert run.fingerprint.audio_weights == hash_file(report.folder / SOUND_WEIGHTS)
    assert run.origin.run == INIT
    assert run.origin.fingerprint == FeatureCache.open(run.cache).fingerprint
    assert run.origin.heads == hash_file(work / "runs" / INIT / WEIGHTS)


@pytest.mark.slow
def test_weights_are_kept_in_float32(work):
    """In float16 a step of 1e-6 would vanish."""
    report = finetune(work, lr_clip=1e-6, audio_epochs=0)
    now = load_file(report.folder / CLIP_WEIGHTS)["visual.conv1.weight"]
    moved = now - load_clip("tiny").model.visual.conv1.weight
    assert (now.dtype, bool(moved.any())) == (torch.float32, True)
    assert moved.abs().max() < 2e-5


def test_the_result_is_never_worse_than_the_start(work):
    report = finetune(work, lr=0.1, lr_clip=1e-3, lr_audio=1e-2, select_on="val")
    assert report.kept == {VIDEO_TEXT: 0, AUDIO: 0}
    assert report.before == report.after
    assert files(report.folder) == files(work / "runs" / INIT)
    assert not report.run.has_own_encoders
    before = EvaluateConfig(work=work, run=INIT, split="val", device="cpu")
    assert report.before["R@1"] == run_evaluate(before).scores.t2v["R@1"]


@pytest.mark.parametrize(
    "stopped_after", [3, *(pytest.param(epochs, marks=SLOW) for epochs in (1, 2, 4))]
)
def test_one_that_was_stopped_goes_on_to_the_same_bits(work, tuned, stopped_after):
    whole = tuned[1]
    with pytest.raises(KeyboardInterrupt):
        finetune(work, on_progress=stop_after(stopped_after), **FOUR_EPOCHS)
    assert (work / "runs" / whole.run.name / STATE).exists()
    epochs = []
    resumed = finetune(work, on_progress=whole_epochs(epochs), **FOUR_EPOCHS)
    assert epochs == list(range(stopped_after + 1, 5))
    assert files(resumed.folder) == files(whole.folder)
    assert len(files(whole.folder)) == 3
    assert resumed.run.history == whole.run.history


def test_encoders_that_go_astray_are_said_to(work):
    with pytest.raises(DamagedError, match=r"float16 cannot hold.*--lr-audio"):
        finetune(work, lr_audio=1.0, epochs=0)


def test_one_that_was_stopped_goes_on_by_its_name(work):
    with pytest.raises(KeyboardInterrupt):
        finetune(work, e2e=False, name="mine", on_progress=stop_after(1))
    with pytest.raises(MissingError, match="finetune --resume mine"):
        load_weights(work / "runs" / "mine", read_run(work / "runs" / "mine"))
    config = FinetuneConfig(work=work, resume="mine", device="cpu")
    assert run_finetune(config, on_progress=quiet).run.complete


def test_one_that_goes_on_keeps_its_settings_and_refuses_others(work):
    with pytest.raises(KeyboardInterrupt):
        finetune(work, unfreeze=("text", "last:1"), name="mine", on_progress=stop_after(1))
    before = (work / "runs" / "mine" / RUN).read_bytes()
    others = {
        "lr is 0.5, and run mine has 0.001": {"lr": 0.5},
        "lr_clip is 0.5, and run mine has 0.0001": {"lr_clip": 0.5},
        "epochs is 9, and run mine has 1": {"epochs": 9},
        "seed is 7, and run mine has 0": {"seed": 7},
        "augment is flip, and run mine has none": {"e2e": True, "augment": ("flip",)},
        "unfreeze is text, and run mine has text,last:1": {"e2e": True, "unfreeze": ("text",)},
        "precision is bfloat16, and run mine has float32": {"precision": "bfloat16"},
    }
    for told, settings in others.items():
        config = FinetuneConfig(work=work, resume="mine", device="cpu", **settings)
        with pytest.raises(ConfigError, match=f"^{told}: leave it out to continue"):
            run_finetune(config, on_progress=quiet)
    assert (work / "runs" / "mine" / RUN).read_bytes() == before
    same = {"e2e": True, "lr": 1e-3, "unfreeze": ("last:1", "text"), "chunk": 4, "save_every": 0}
    config = FinetuneConfig(work=work, resume="mine", device="cpu", **same)
    assert run_finetune(config, on_progress=quiet).run.complete


def test_a_run_that_another_process_fits_is_left_alone(work):
    folder = work / "runs" / "mine"
    with folder_lock(folder), pytest.raises(MissingError, match="is being written by process"):
        finetune(work, e2e=False, name="mine")
    assert finetune(work, e2e=False, name="mine").run.complete


@pytest.mark.parametrize("changes", [{}, {"lora": 2, "augment": ("crop", "flip")}])
def test_one_that_was_stopped_amid_an_epoch_goes_on_to_the_same_bits(work, monkeypatch, changes):
    whole = finetune(work, name="whole", audio_epochs=0, **changes)
    stops, save = [], tuning.save_state

    def save_and_stop(folder, state):
        save(folder, state)
        stops.append(state.get("amid"))
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "save_state", save_and_stop)
    changes |= {"save_every": 1e-9, "name": "mine", "audio_epochs": 0}
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            finetune(work, **changes)
    monkeypatch.undo()
    assert [amid["batches"] for amid in stops] == [1, 2, 3]
    resumed = finetune(work, **changes)
    assert files(resumed.folder) == files(whole.folder)
    assert resumed.run.history == whole.run.history
    assert [line["step"] for line in read_log(resumed.folder)] == [
        line["step"] for line in read_log(whole.folder)
    ]


def test_what_the_run_has_learned_is_not_judged_by_the_words_beside_resume(work):
    with pytest.raises(KeyboardInterrupt):
        finetune(work, unfreeze=("text",), name="mine", on_progress=stop_after(1))
    config = FinetuneConfig(work=work, resume="mine", device="cpu", lora=4)
    with pytest.raises(ConfigError, match=r"^lora is 4, and run mine has 0: leave it out"):
        run_finetune(config, on_progress=quiet)


@pytest.mark.slow
def test_a_fine_tuned_work_folder_may_be_moved_and_gone_on_with(tmp_path, made):
    old, new = tmp_path / "old" / "work", tmp_path / "new" / "work"
    shutil.copytree(made, old)
    finetune(old, name="once", unfreeze=("text",), audio_epochs=0)
    extract = ExtractConfig(
        work=old, dataset=f"folder:{made.parent / 'clips'}", backbone="run:once", **FEW
    )
    run_extract(extract, on_progress=quiet)
    new.parent.mkdir()
    old.rename(new)
    again = finetune(new, init="once", unfreeze=("text",), save="delta", audio_epochs=0)
    newer = tmp_path / "newer"
    new.rename(newer)
    backbone, _ = encoders_of_run(newer, again.run.name)
    assert load_clip(backbone).weights == again.run.fingerprint.backbone_weights
    shutil.rmtree(newer / "runs" / "once")
    with pytest.raises(MissingError, match=r"holds only what .*once.* is not there, where"):
        load_clip(backbone)


def test_a_run_with_encoders_of_its_own_says_how_its_features_are_made(work):
    finetune(work, name="mine", unfreeze=("text",), audio_epochs=0)
    for use in (
        lambda: run_evaluate(EvaluateConfig(work=work, run="mine", device="cpu")),
        lambda: finetune(work, init="mine"),
    ):
        with pytest.raises(
            MissingError, match=r"nothing is encoded .* extract --backbone run:mine"
        ):
            use()


def test_weights_may_be_read_by_whoever_may_read_the_run(tuned):
    folder = tuned[1].folder
    assert {path.stat().st_mode for path in folder.glob("*.safetensors")} == {
        (folder / RUN).stat().st_mode
    }


def test_the_same_command_again_reports_and_trains_nothing(work):
    first = finetune(work, e2e=False)
    epochs = []
    assert finetune(work, e2e=False, on_progress=epochs.append) == first
    assert epochs == []


@pytest.mark.slow
def test_decoding_for_every_batch_gives_the_same_bits(work, tuned):
    assert files(finetune(work, pixel_memory=0, **FOUR_EPOCHS).folder) == files(tuned[1].folder)


def test_footage_keeps_no_more_than_it_may(work):
    _, tuning = start(work)
    footage, features = tuning.train.source.footage, tuning.train.source.features
    shot = footage.fetch(features, [0])[0]
    assert footage.fetch(features, [0])[0] is shot
    footage.room = 0
    others = footage.fetch(features, [1, 0, 1])
    assert others[1] is shot
    assert len(footage.kept) == 1
    assert torch.equal(others[0].pictures, others[2].pictures)


def test_a_missing_video_is_named_with_the_folder_it_belongs_to(work):
    config = settle(work)
    run = start(work)[0]
    cache = FeatureCache.open(run.cache)
    cache.manifest.settings["root"] = "/elsewhere"
    train = cache.load("train")
    with pytest.raises(MissingError, match=rf"/elsewhere/{train.paths[0]} is not there.*--e2e"):
        prepare(config, run, cache, train, train)


def test_a_video_that_is_another_one_now_is_refused(work):
    _, tuning = start(work)
    source = tuning.train.source
    source.features.indices[0] += 1
    with pytest.raises(MismatchError, match="other frames or sound than when it was cached"):
        source.footage.fetch(source.features, [0])


def test_text_alone_learns_without_the_videos(work):
    config = settle(work, unfreeze=("text",))
    run = start(work, unfreeze=("text",))[0]
    cache = FeatureCache.open(run.cache)
    cache.manifest.settings["root"] = "/elsewhere"
    tuning = prepare(config, run, cache, cache.load("train"), cache.load("val"))
    stage = stage_of(run, VIDEO_TEXT)
    fit = fit_learner(
        make_learner(run, stage, tuning), stage, seed=0, on_epoch=lambda *_: None, from_start=True
    )
    assert [epoch["epoch"] for epoch in fit.history] == [0, 1]


def test_a_cache_of_another_decoder_is_refused(work):
    cache = FeatureCache.open(start(work)[0].cache)
    older = replace(cache.fingerprint, decoder="av 0")
    cache = replace(cache, manifest=replace(cache.manifest, fingerprint=older))
    with pytest.raises(MismatchError, match="decoder is av 0 there"):
        _load_encoders(settle(work), cache, sound=True)


def test_without_a_finished_run_the_command_that_makes_one_is_named(tmp_path):
    with pytest.raises(MissingError, match="vidret train-heads") as error:
        finetune(tmp_path)
    assert error.value.exit_code == 4


def test_a_run_to_start_from_must_be_there(work):
    with pytest.raises(MissingError, match=r"no run 'yours'.*heads"):
        finetune(work, init="yours")


def test_without_init_the_newest_run_that_is_not_fine_tuned_is_taken(work):
    first = finetune(work, e2e=False)
    assert (first.run.origin.run, finetune(work, e2e=False, seed=1).run.origin.run) == (INIT, INIT)
    again = finetune(work, e2e=False, init=first.run.name)
    assert again.run.origin.run == first.run.name
    assert again.before["MnR"] == first.after["MnR"]


def test_a_name_that_other_settings_have_is_refused(work):
    finetune(work, e2e=False, name="mine")
    with pytest.raises(MismatchError, match=r"run mine was begun with other settings.*--name"):
        finetune(work, e2e=False, name="mine", epochs=2)
    with pytest.raises(MismatchError, match="run heads was begun with other settings"):
        finetune(work, e2e=False, name=INIT)


def test_each_command_resumes_its_own_runs_alone(work):
    finetune(work, e2e=False, name="mine")
    with pytest.raises(MismatchError, match="vidret finetune --resume mine"):
        run_train(TrainConfig(work=work, resume="mine"), on_progress=quiet)
    with pytest.raises(MismatchError, match=r"vidret train-heads --resume heads.*--init heads"):
        run_finetune(FinetuneConfig(work=work, resume=INIT), on_progress=quiet)


def test_one_whose_start_was_trained_again_is_refused(work):
    with pytest.raises(KeyboardInterrupt):
        finetune(work, e2e=False, name="mine", on_progress=stop_after(1))
    shutil.rmtree(work / "runs" / INIT)
    cache = read_run(work / "runs" / "mine").cache
    config = TrainConfig(work=work, cache=cache, name=INIT, epochs=1, audio_epochs=1, **QUIET)
    run_train(config, on_progress=quiet)
    with pytest.raises(MismatchError, match="heads was trained again since mine began"):
        run_finetune(FinetuneConfig(work=work, resume="mine", device="cpu"), on_progress=quiet)


def test_clip_learns_below_a_head_that_cannot(work):
    cache = read_run(work / "runs" / INIT).cache
    run_train(TrainConfig(work=work, cache=cache, head="mean", name="mean"), on_progress=quiet)
    report = finetune(work, init="mean")
    assert list(report.run.history) == [VIDEO_TEXT]
    assert report.after["MnR"] <= report.before["MnR"]
    assert finetune(work, init="mean", e2e=False).run.history == {}


def test_the_old_cache_is_refused_and_a_new_one_gives_the_numbers_that_were_reported(work):
    report = finetune(work, select_on="train", name="mine")
    config = EvaluateConfig(work=work, run="mine", split="train", device="cpu")
    assert report.run.has_own_encoders
    with pytest.raises(MismatchError, match="backbone_weights") as error:
        run_evaluate(replace(config, cache=report.run.cache))
    assert error.value.exit_code == 5
    backbone, audio = encoders_of_run(work, "mine")
    videos = Path(FeatureCache.open(report.run.cache).manifest.settings["root"])
    made = write_filmed_cache(work, videos, backbone=backbone, audio=audio)
    assert FeatureCache.open(made).fingerprint == report.run.fingerprint
    found = run_evaluate(config).scores.t2v  # finds the new cache by itself
    assert {name: report.after[name] for name in found} == pytest.approx(found, abs=1e-9)


def test_only_a_run_that_changed_an_encoder_is_a_backbone(work):
    finetune(work, e2e=False, name="mine")
    for name in (INIT, "mine"):
        with pytest.raises(MissingError, match=f"run {name} changed no encoder"):
            encoders_of_run(work, name)


def test_a_sound_network_with_weights_of_its_own_is_told_from_the_bundled_one(tuned, tmp_path):
    path = tuned[1].folder / SOUND_WEIGHTS
    own, bundled = load_sound(f"tiny@{path}"), load_sound("tiny")
    assert (own.name, own.dim, own.weights) == ("tiny", bundled.dim, hash_file(path))
    assert own.weights != bundled.weights
    (tmp_path / "cut.safetensors").write_bytes(path.read_bytes()[:100])
    with pytest.raises(MissingError, match="cannot be loaded as weights of the sound encoder tiny"):
        load_sound(f"tiny@{tmp_path / 'cut.safetensors'}")


def test_the_report_says_what_learned_and_what_it_gave(tuned):
    _, report = tuned
    told = render_finetune(report)
    assert f"from run {INIT}, seed 0: 44 captions of {len(CLIPS['train'])} videos" in told
    assert "CLIP's image tower (lr 0.0001), CLIP's text tower (lr 0.0001)" in told
    assert "the sound head (lr 0.001), the sound network (lr 0.001)" in told
    numbers = f"{report.before['R@1']:.1f} before, {report.after['R@1']:.1f} after"
    assert f"R@1 on train: {numbers} (text to video, 44 queries)" in told
    assert f"vidret extract --backbone run:{report.run.name}" in told
    assert json.loads(json.dumps(report.as_json()))["after"] == report.after


@pytest.mark.parametrize(
    ("dataset", "options"),
    [
        ("synth-540-0", []),
        ("synth-54-3", ["--clips", "54", "--seed", "3"]),
        ("folder", ["--dataset", "folder:/clips"]),
        ("msvd", ["--dataset", "msvd", "--root", "/clips"]),
    ],
)
def test_the_command_that_encodes_anew_names_the_dataset(dataset, options):
    assert dataset_options(dataset, "/clips") == options


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"unfreeze": ("text",)}, "add --e2e"),
        ({"lr_clip": 0.0}, r"lr_clip is 0\.0"),
        ({"batch_size": 1}, "negatives"),
        ({"pixel_memory": -1}, "pixel_memory is -1"),
        ({"resume": "a", "init": "b"}, "--init"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        FinetuneConfig(**settings)
