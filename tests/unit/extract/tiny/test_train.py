import json
import math
import subprocess
import sys

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from vidret.data.synth.world import PROPS, Scene, split_of
from vidret.extract.clip import load_clip
from vidret.extract.tiny import train
from vidret.extract.tiny.train import (
    FAMILY,
    Picture,
    contrast,
    draw_pictures,
    normalize,
    shrink,
    train_clip,
    train_sound,
    write_caption,
)
from vidret.extract.tiny.weights import TINY_FOLDER, verify_weights


@pytest.fixture(scope="module", autouse=True)
def config():
    open_clip.add_model_config(TINY_FOLDER / "vidret-tiny.json")


@pytest.fixture(scope="module")
def drawn():
    return draw_pictures(40, np.random.default_rng(0))


def said_losses(caplog):
    return [float(record.args[1]) for record in caplog.records if "loss" in record.msg]


def test_every_training_picture_is_of_the_split_tiny(drawn):
    pictures, images = drawn
    assert {split_of(picture.scene) for picture in pictures} == {"tiny"}
    assert images.shape == (40, 3, 64, 64)
    assert images.dtype == torch.uint8
    assert len({image.numpy().tobytes() for image in images}) == 40


def test_a_family_differs_in_one_thing_alone(drawn):
    pictures, _ = drawn
    varied = set()
    for start in range(0, 40, FAMILY):
        family = pictures[start : start + FAMILY]
        values = {
            "colour": {p.scene.colour for p in family},
            "shape": {p.scene.shape for p in family},
            "place": {p.scene.place for p in family},
            "prop": {p.prop for p in family},
        }
        different = [name for name, seen in values.items() if len(seen) > 1]
        assert len(different) <= 1
        varied |= set(different)
    assert len(varied) >= 3


def test_a_caption_names_the_small_thing_or_its_sound(drawn):
    rng = np.random.default_rng(0)
    scene = drawn[0][0].scene
    texts = [write_caption(Picture(scene, "bee"), rng) for _ in range(50)]
    assert all("bee" in text or "buzz" in text for text in texts)
    plain = [write_caption(Picture(scene, None), rng) for _ in range(50)]
    assert not any(prop in text.split() for text in plain for prop in PROPS)


def test_pictures_are_prepared_as_in_the_extraction():
    encoder = load_clip("tiny")
    frame = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    small = shrink(torch.from_numpy(frame).permute(2, 0, 1))
    assert torch.equal(small, encoder.prepare(frame))
    with torch.inference_mode():
        own = encoder.model.encode_image(normalize(small[None]))
        torch.testing.assert_close(own, encoder.encode_frames(small[None]), rtol=1e-4, atol=1e-4)


def test_pictures_are_normalized_as_open_clip_does():
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    expected = open_clip.image_transform(64, is_train=False)(Image.fromarray(picture))
    found = normalize(torch.from_numpy(picture).permute(2, 0, 1))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_loss_is_the_symmetric_one_of_a_matrix_by_hand():
    shown = [Picture(Scene("red", shape, "sea"), None) for shape in ("star", "ring")]
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0]])
    loss, right = contrast(logits, shown)
    rows = math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-3))
    columns = math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-2))
    assert float(loss) == pytest.approx((rows + columns) / 4)
    assert float(right) == 1


def test_two_pictures_of_the_same_content_are_no_negatives_of_each_other():
    star, ring = (Picture(Scene("red", shape, "sea"), None) for shape in ("star", "ring"))
    logits = torch.tensor([[1.0, 9.0, 0.0], [9.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    loss, _ = contrast(logits, [star, star, ring])
    raised = logits.clone()
    raised[0, 1] = raised[1, 0] = 50.0
    assert contrast(raised, [star, star, ring])[0] == loss
    assert contrast(logits, [star, ring, Picture(star.scene, "bee")])[0] > loss


def test_the_sound_network_learns(caplog, monkeypatch):
    torch.manual_seed(0)
    waves, tags = train._draw_sounds(6, np.random.default_rng(1))
    short = waves[:, :10_000], tags
    monkeypatch.setattr(train, "_draw_sounds", lambda *_: short)  # to draw is the slow part
    with caplog.at_level("INFO", "vidret.extract.tiny.train"):
        model = train_sound(50, batch=6)
    first, last = said_losses(caplog)
    assert last < 0.5 * first
    assert not model.training


def test_a_few_steps_lower_the_loss_of_the_clip(drawn):
    torch.manual_seed(0)
    pictures, images = drawn
    model, tokenizer = open_clip.create_model("vidret-tiny"), open_clip.get_tokenizer("vidret-tiny")
    tokens = tokenizer([write_caption(p, np.random.default_rng(0)) for p in pictures[:16]])
    optimizer, schedule = train._optimizer(model, 12, lr=1e-3)
    losses = []
    for _ in range(12):
        image, text, scale = model(normalize(images[:16]), tokens)
        loss, _ = contrast(scale * image @ text.T, pictures[:16])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.slow
def test_the_clip_learns_and_forgets_the_tokens_that_no_caption_holds(caplog):
    torch.manual_seed(0)
    with caplog.at_level("INFO", "vidret.extract.tiny.train"):
        model = train_clip(num_pictures=64, steps=50, batch=16)
    first, last = said_losses(caplog)
    assert last < first
    assert not model.training
    assert float(model.logit_scale.detach()) <= math.log(100) + 1e-6
    tokenizer = open_clip.get_tokenizer("vidret-tiny")
    weights = model.token_embedding.weight.detach()
    assert weights[tokenizer.encode("red circle bell")].abs().sum(-1).min() > 0
    assert not weights[tokenizer.encode("archaeology")[0]].any()


@pytest.mark.slow
def test_the_script_writes_weights_that_can_be_verified_and_a_log(tmp_path):
    folder = tmp_path / "new"
    sizes = ["--pictures", "64", "--steps", "2", "--batch", "16", "--sound-steps", "2"]
    command = [sys.executable, "-m", "vidret.extract.tiny.train", "--out", folder, *sizes]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    verify_weights(folder)
    assert set(json.loads((folder / "weights.json").read_text())) == {
        "clip.safetensors",
        "sound.safetensors",
    }
    assert "all done after" in (folder / "train.log").read_text()
    stored = load_file(folder / "clip.safetensors")
    assert {t.dtype for t in stored.values() if t.is_floating_point()} == {torch.float16}
