"""The steps of a fine-tuning as its settings change them; its epochs are in test_finetune.py."""

import json
import shutil

import pytest
import torch
from making.tuned import batch_of, finetune, make_work, stage_of, start

from vidret.data.errors import ConfigError, DamagedError, MissingError
from vidret.extract.clip import ClipEncoder
from vidret.extract.panns import SHORTEST, cnn14
from vidret.extract.tiny.sound import TinySound
from vidret.pipelines.config.fitting import FinetuneConfig
from vidret.pipelines.finetune import run_finetune
from vidret.pipelines.training.footage import Footage
from vidret.pipelines.training.journal import BOARD, LOG
from vidret.pipelines.training.loop import AUDIO, VIDEO_TEXT, backward
from vidret.pipelines.training.optimizing import learning_weights
from vidret.pipelines.training.tuning import make_learner

STAGES = (VIDEO_TEXT, AUDIO)
CLOSE = {"rtol": 1e-4, "atol": 1e-6}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run to start from: only to look at."""
    return make_work(tmp_path_factory.mktemp("tuned"))


@pytest.fixture(scope="module")
def plain(made):
    """Loss and gradients of a step of each stage as it is without any setting."""
    return {stage: step(made, stage) for stage in STAGES}


@pytest.fixture
def work(tmp_path, made):
    """A work folder of one's own with it."""
    return shutil.copytree(made, tmp_path / "work")


def learner_of(work, stage, **changes):
    """What a stage trains, before its first step."""
    run, tuning = start(work, **changes)
    return make_learner(run, stage_of(run, stage), tuning)


def step(work, stage, **changes):
    """Loss and gradients of one step with dropout on."""
    learner = learner_of(work, stage, **changes)
    torch.manual_seed(0)
    learner.retriever.train()
    loss = backward(learner, batch_of(learner))
    return loss.detach(), [weight.grad for weight in learning_weights(learner.groups)]


def relative(gradient, expected):
    return ((gradient - expected).norm() / expected.norm().clamp_min(1e-12)).item()


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    "changes",
    [{"chunk": 3}, {"checkpointing": True}, {"chunk": 5, "checkpointing": True}],
    ids=["chunk", "checkpointing", "both"],
)
def test_less_memory_gives_the_same_loss_and_gradients(made, plain, stage, changes):
    loss, expected = plain[stage]
    same_loss, found = step(made, stage, **changes)
    torch.testing.assert_close(same_loss, loss, **CLOSE)
    whole, same = (torch.cat([one.flatten() for one in own]) for own in (expected, found))
    assert relative(same, whole) < 1e-5
    assert max(relative(one, other) for one, other in zip(found, expected, strict=True)) < 1e-3


@pytest.mark.parametrize("changes", [{}, {"lora": 2}, {"unfreeze": ("last:1",)}], ids=str)
def test_checkpointing_alone_changes_gradients_by_less_than_a_millionth(made, changes):
    _, expected = step(made, VIDEO_TEXT, **changes)
    _, found = step(made, VIDEO_TEXT, checkpointing=True, **changes)
    assert max(relative(one, other) for one, other in zip(found, expected, strict=True)) < 1e-6


@pytest.mark.parametrize("stage", STAGES)
def test_bfloat16_is_near_float32_whole_or_in_parts(made, plain, stage):
    loss, expected = plain[stage]
    rough, whole = step(made, stage, precision="bfloat16")
    parts, same = step(made, stage, precision="bfloat16", chunk=5, checkpointing=True)
    assert 0 < abs(rough - loss) < 0.1 * loss
    torch.testing.assert_close(parts, rough, rtol=1e-2, atol=1e-3)
    exact, *others = (torch.cat([one.flatten() for one in own]) for own in (expected, whole, same))
    assert all(torch.cosine_similarity(other, exact, dim=0) > 0.9 for other in others)
    assert all(gradient.dtype == torch.float32 for gradient in whole)


def test_in_bfloat16_the_heads_compute_in_float32(made):
    learner = learner_of(made, VIDEO_TEXT, precision="bfloat16")
    seen = []
    head = learner.retriever.video_head
    head.register_forward_pre_hook(lambda _, given: seen.append(given))
    head.value.register_forward_hook(lambda *given: seen.append(given[2].dtype))
    learner.loss(batch_of(learner, 6))
    assert seen
    assert seen[-1] == torch.float32


@pytest.mark.parametrize(
    "make", [lambda: TinySound(4), pytest.param(cnn14, marks=pytest.mark.slow)]
)
def test_the_spectrogram_of_a_sound_is_float32_in_any_precision(make):
    """Beside a loud tone a soft one would be lost in bfloat16, and a logarithm tells both."""
    network = make().eval()
    seconds = torch.arange(2 * SHORTEST) / 32_000
    loud, soft = (torch.sin(seconds * hertz * 6.2832) for hertz in (400.0, 5000.0))
    entering = []
    first = network.blocks[0] if isinstance(network, TinySound) else network.bn0
    first.register_forward_pre_hook(lambda _, given: entering.append(given[0]))
    with torch.no_grad():
        network((loud + 1e-3 * soft)[None])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            network((loud + 1e-3 * soft)[None])
    exact, found = entering
    assert found.dtype == torch.float32
    assert torch.equal(found, exact)


def test_batchnorm_by_the_batch_needs_it_whole_when_a_run_goes_on_too(work):
    def stop(progress):
        if not progress.note:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(work, name="mine", epochs=0, batchnorm="train", on_progress=stop)
    config = FinetuneConfig(work=work, resume="mine", chunk=4, device="cpu")
    with pytest.raises(ConfigError, match=r"--batchnorm train shows .* leave out --chunk"):
        run_finetune(config, on_progress=stop)


@pytest.mark.parametrize("pixel_memory", [0, 4096])
def test_a_step_in_parts_reads_each_video_once(made, monkeypatch, pixel_memory):
    learner = learner_of(made, VIDEO_TEXT, chunk=2, pixel_memory=pixel_memory)
    epoch, rows = batch_of(learner)
    footage, read = epoch.source.footage, []
    decode = footage._decode
    monkeypatch.setattr(
        footage, "_decode", lambda features, row: read.append(row) or decode(features, row)
    )
    backward(learner, (epoch, rows))
    assert sorted(read) == sorted(set(epoch.cached.owners.tolist()))
    assert footage.held == {}


@pytest.fixture
def silenced(monkeypatch):
    """The third video of the training split, whose sound is no number from here on."""
    fetch, names = Footage.fetch, []

    def fetch_with_nan(self, features, rows):
        rows = list(rows)
        shots = fetch(self, features, rows)
        if features.split == "train":
            names[:] = [features.video_ids[2]]
            for row, shot in zip(rows, shots, strict=True):
                if row == 2:
                    shot.waveform.fill_(torch.nan)
        return shots

    monkeypatch.setattr(Footage, "fetch", fetch_with_nan)
    return names


@pytest.mark.parametrize("chunk", [0, 3])
def test_a_video_that_gives_no_number_is_named(work, silenced, chunk):
    with pytest.raises(DamagedError) as error:
        finetune(work, name="mine", epochs=0, chunk=chunk, select_on="val")
    told = str(error.value)
    assert "the loss of stage audio is nan in epoch 1, step " in told
    assert f"where the features of {silenced[0]} are not finite: look at the videos with" in told
    assert "--lr-audio; the epochs before this one are kept" in told
    last = json.loads((work / "runs" / "mine" / LOG).read_text().splitlines()[-1])
    assert (last["kind"], last["astray"]) == ("stopped", silenced)
    assert set(silenced) < set(last["videos"])
    assert len(last["captions"]) == 8


def test_a_video_that_gives_no_number_is_named_when_it_is_measured_too(work, silenced):
    with pytest.raises(DamagedError, match=r"now give video \S+ features up to nan") as error:
        finetune(work, name="mine", epochs=0)
    assert silenced[0] in str(error.value)


def test_a_log_says_how_many_videos_and_frames_were_encoded_a_second(work):
    finetune(work, name="mine", log_every=2)
    lines = [json.loads(line) for line in (work / "runs" / "mine" / LOG).read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    assert {line["stage"] for line in steps} == {VIDEO_TEXT, AUDIO}
    for line in steps:
        assert line["step"] % 2 == 0
        assert line["frames_per_second"] == pytest.approx(
            2 * line["videos_per_second"], abs=0.1, rel=0.01
        )
    epochs = [line for line in lines if line["kind"] == "epoch"]
    assert all(line["frames_per_second"] > line["videos_per_second"] > 0 for line in epochs)


def test_a_log_says_the_rate_of_each_encoder(work):
    few = {"epochs": 1, "audio_epochs": 1, "log_every": 1, "layer_decay": 0.5}
    finetune(work, name="mine", lr=1e-3, lr_clip=1e-4, lr_audio=1e-5, **few)
    lines = [json.loads(line) for line in (work / "runs" / "mine" / LOG).read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    for line in (line for line in steps if line["lr"]):  # a schedule ends at 0
        own = {"visual", "text"} if line["stage"] == VIDEO_TEXT else {"audio"}
        rates = {name.removeprefix("lr_") for name in line if name.startswith("lr_")}
        assert rates == own | {f"{part}_lowest" for part in own}
        for part in own:
            share = 1e-2 if part == "audio" else 0.1
            assert line[f"lr_{part}"] == pytest.approx(share * line["lr"])
            assert line[f"lr_{part}_lowest"] < line[f"lr_{part}"] / 2


def test_what_a_kill_left_half_written_is_removed(work):
    for folder in ("", "last-audio"):
        left = work / "runs" / "mine" / folder / "state.pt.0123.part"
        left.parent.mkdir(parents=True, exist_ok=True)
        left.touch()
    finetune(work, name="mine", e2e=False, unfreeze=("all",))
    assert not list((work / "runs" / "mine").rglob("*.part"))


def test_heads_alone_encode_no_videos(work):
    finetune(work, name="mine", e2e=False, unfreeze=("all",), log_every=2)
    lines = (work / "runs" / "mine" / LOG).read_text().splitlines()
    assert not any("videos_per_second" in line for line in lines)


@pytest.mark.slow  # imports TensorBoard
def test_the_log_goes_to_tensorboard_too(work):
    finetune(work, name="mine", e2e=False, unfreeze=("all",), tensorboard=True)
    assert list((work / "runs" / "mine" / BOARD).iterdir())


class Starving(torch.nn.Module):
    """Asks for more memory than any machine has."""

    def forward(self, values):
        return values + torch.empty(2**46, dtype=torch.uint8).sum()


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({}, "go on with --checkpointing or --chunk 2, or begin anew with a lower --batch-size"),
        ({"checkpointing": True, "chunk": 1}, "begin anew with a lower --batch-size than 8"),
    ],
)
def test_too_little_memory_is_said_with_what_takes_less(work, monkeypatch, changes, remedy):
    encode = ClipEncoder.encode_frames

    def encode_or_starve(self, pictures, *, hidden=False):
        frames = encode(self, pictures, hidden=hidden)
        return Starving()(frames) if torch.is_grad_enabled() and len(pictures) > 1 else frames

    monkeypatch.setattr(ClipEncoder, "encode_frames", encode_or_starve)
    with pytest.raises(MissingError) as error:
        finetune(work, name="mine", **changes)
    told = str(error.value)
    assert error.value.exit_code == 4
    assert told.startswith(
        "there is not enough memory (another 67,108,864 MiB were asked for) in stage video-text: "
    )
    assert remedy in told
    assert told.endswith("--precision bfloat16; the epochs before are kept")


def test_a_gpu_that_is_full_is_said_too(work, monkeypatch):
    words = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 2 GiB"

    def encode(*_, **__):
        raise torch.OutOfMemoryError(words)

    monkeypatch.setattr(ClipEncoder, "encode_frames", encode)
    asked = r"on the GPU \(another 20\.00 MiB were asked for\)"
    with pytest.raises(MissingError, match=f"{asked} in stage video-text: go on with"):
        finetune(work, name="mine", unfreeze=("audio",), augment=("flip",))
    with pytest.raises(MissingError, match=f"{asked} to load the encoders: "):
        finetune(work, name="yours")


@pytest.mark.parametrize("setting", ["chunk", "log_every"])
def test_numbers_below_zero_are_refused(made, setting):
    with pytest.raises(ConfigError, match=f"{setting} is -1"):
        learner_of(made, AUDIO, **{setting: -1})


@pytest.mark.gpu
@pytest.mark.parametrize("changes", [{"chunk": 3}, {"checkpointing": True}], ids=str)
def test_on_a_gpu_less_memory_is_taken_and_logged(work, changes):
    on_gpu = {"device": "cuda", "batch_size": 22}
    plain, less = (
        finetune(work, name=name, **on_gpu, **more)
        for name, more in (("plain", {}), ("less", changes))
    )
    assert plain.run.settings["precision"] == "bfloat16"
    peaks = []
    for report in (plain, less):
        lines = [json.loads(line) for line in (report.folder / LOG).read_text().splitlines()]
        epochs = [line for line in lines if line["kind"] == "epoch"]
        peaks.append(max(line["gpu_peak_mib"] for line in epochs))
    assert peaks[1] < peaks[0]
