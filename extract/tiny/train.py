"""Train the bundled encoders on scenes that no other split shows.

`python -m vidret.extract.tiny.train`, or `make tiny`, writes `clip.safetensors`,
`sound.safetensors`, `weights.json` and `train.log` into this folder (or `--out`). Half an hour on
two cores.
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
import xxhash
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as pixels

from vidret.data.synth.language import (
    describe_detail,
    describe_event,
    describe_scene,
    describe_sound,
)
from vidret.data.synth.paint import paint
from vidret.data.synth.script import random_motion, random_prop_motion
from vidret.data.synth.sounds import make_ambience, make_sound
from vidret.data.synth.world import PROPS, Scene, scenes_of
from vidret.extract.tiny.sound import SAMPLE_RATE, TinySound

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
SEED = 7_000_001  # the generator's own seeds are small numbers
SIZE = 64
FAMILY = 4


@dataclass(frozen=True, slots=True)
class Picture:
    """What a training picture shows."""

    scene: Scene
    prop: str | None


def main() -> None:
    """Train both encoders and write them."""
    options = _parse(sys.argv[1:])
    options.out.mkdir(parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [
        logging.StreamHandler(),
        logging.FileHandler(options.out / "train.log", mode="w", encoding="utf-8"),
    ]
    logging.basicConfig(format="%(message)s", handlers=handlers)
    log.setLevel(logging.INFO)  # open_clip talks at this level too
    torch.manual_seed(SEED)
    started = time.monotonic()
    sound = train_sound(options.sound_steps)
    _save(sound, options.out / "sound.safetensors")
    log.info("sound done after %.0f s", time.monotonic() - started)
    clip = train_clip(options.pictures, options.steps, options.batch)
    _save(clip, options.out / "clip.safetensors")
    log.info("all done after %.0f s", time.monotonic() - started)
    _write_checksums(options.out)


def train_clip(num_pictures: int, steps: int, batch: int) -> open_clip.CLIP:
    """A CLIP of our own small config on pictures and captions of the `tiny` scenes."""
    open_clip.add_model_config(HERE / "vidret-tiny.json")
    model = open_clip.create_model("vidret-tiny").train()
    tokenizer = open_clip.get_tokenizer("vidret-tiny")
    rng = np.random.default_rng(SEED)
    pictures, images = draw_pictures(num_pictures, rng)
    log.info("clip: %d pictures drawn, %d steps of %d", num_pictures, steps, batch)
    optimizer, schedule = _optimizer(model, steps, lr=1e-3)
    families = np.arange(num_pictures).reshape(-1, FAMILY)
    for step in range(steps):
        rows = families[rng.choice(len(families), batch // FAMILY, replace=False)].ravel()
        shown = [pictures[row] for row in rows]
        tokens = tokenizer([write_caption(picture, rng) for picture in shown])
        with torch.autocast("cpu", torch.bfloat16):
            image, text, scale = model(normalize(images[rows]), tokens)
        loss, correct = contrast(scale.float() * image.float() @ text.float().T, shown)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        model.logit_scale.data.clamp_(max=np.log(100))
        if step % 50 == 49 or step == 0:
            log.info("clip step %5d  loss %.3f  right %.3f", step + 1, loss.item(), correct.item())
    _forget_unseen_tokens(model, tokenizer)
    return model.eval()


def draw_pictures(count: int, rng: np.random.Generator) -> tuple[list[Picture], Tensor]:
    """Pictures in families that share all but one thing, as uint8 `(picture, 3, 64, 64)`."""
    scenes = [scene for scene in scenes_of("tiny", rng) if scene.companion is None]
    pictures = [picture for _ in range(count // FAMILY) for picture in _family(scenes, rng)]
    images = torch.empty(count, 3, SIZE, SIZE, dtype=torch.uint8)
    for row, picture in enumerate(pictures):
        moment = rng.uniform(0, 7)
        prop = picture.prop and (picture.prop, random_prop_motion(rng).at(moment))
        frame = paint(picture.scene, random_motion(rng).at(moment), moment, rng, prop=prop or None)
        images[row] = shrink(torch.from_numpy(frame).permute(2, 0, 1))
    return pictures, images


def shrink(image: Tensor) -> Tensor:
    """The preprocessing of the extraction: bicubic on uint8 with antialias, then the middle."""
    small = pixels.resize(
        image, [SIZE], interpolation=pixels.InterpolationMode.BICUBIC, antialias=True
    )
    return pixels.center_crop(small, [SIZE, SIZE])


def normalize(images: Tensor) -> Tensor:
    """uint8 pixels as the model wants them."""
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN)[:, None, None]
    std = torch.tensor(open_clip.OPENAI_DATASET_STD)[:, None, None]
    return (images.float() / 255 - mean) / std


def write_caption(picture: Picture, rng: np.random.Generator) -> str:
    """A caption of everything in the picture; a small thing is named by itself or by its sound."""
    if picture.prop is None:
        describe: Callable[[Scene, np.random.Generator], str] = (
            describe_event if rng.random() < 0.5 else describe_scene
        )
        return describe(picture.scene, rng)
    about = describe_sound if rng.random() < 0.35 else describe_detail
    return about(picture.scene, picture.prop, rng)


def contrast(logits: Tensor, shown: list[Picture]) -> tuple[Tensor, Tensor]:
    """Symmetric InfoNCE; two pictures of the same content are no negatives of each other."""
    numbers = {picture: number for number, picture in enumerate(dict.fromkeys(shown))}
    content = torch.tensor([numbers[picture] for picture in shown])
    same = (content[:, None] == content) & ~torch.eye(len(shown), dtype=torch.bool)
    logits = logits.masked_fill(same, float("-inf"))
    target = torch.arange(len(shown))
    loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    return loss, (logits.argmax(0) == target).float().mean()


def train_sound(steps: int, batch: int = 32) -> TinySound:
    """A tagger of the world's sounds, one or none at a time."""
    rng = np.random.default_rng(SEED + 1)
    model = TinySound(len(PROPS)).train()
    optimizer, schedule = _optimizer(model, steps, lr=2e-3)
    for step in range(steps):
        waves, tags = _draw_sounds(batch, rng)
        output = model(waves)["clipwise_output"]
        loss = F.binary_cross_entropy(output.clamp(1e-6, 1 - 1e-6), tags)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 49 or step == 0:
            right = (output.round() == tags).all(-1).float().mean()
            log.info("sound step %4d  loss %.4f  right %.3f", step + 1, loss.item(), right.item())
    return model.eval()


def _draw_sounds(batch: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    names, seconds = list(PROPS), rng.uniform(2, 5)
    tags = torch.zeros(batch, len(names))
    waves = []
    for row in range(batch):
        number = rng.integers(len(names) + 1)
        if number == len(names):
            waves.append(make_ambience(seconds, SAMPLE_RATE, rng))
        else:
            tags[row, number] = 1
            waves.append(make_sound(names[number], seconds, SAMPLE_RATE, rng))
    return torch.from_numpy(np.stack(waves)).float(), tags


def _family(scenes: list[Scene], rng: np.random.Generator) -> list[Picture]:
    """Four pictures that differ in one thing: colour, shape, place, or the small thing."""
    scene = scenes[rng.integers(len(scenes))]
    varied = ("prop", "colour", "shape", "place")[rng.integers(4)]
    props = [str(name) for name in rng.permutation(list(PROPS))]
    if varied == "prop":
        return [Picture(scene, prop) for prop in (None, *props[: FAMILY - 1])]
    fixed = [name for name in ("colour", "shape", "place") if name != varied]
    alike = [s for s in scenes if all(getattr(s, n) == getattr(scene, n) for n in fixed)]
    members = [alike[row % len(alike)] for row in rng.permutation(max(FAMILY, len(alike)))]
    prop = props[0] if rng.random() < 0.6 else None
    return [Picture(member, prop) for member in members[:FAMILY]]


def _optimizer(
    model: nn.Module, steps: int, *, lr: float
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=lr, total_steps=steps, pct_start=max(0.1, min(2 / steps, 0.9))
    )
    return optimizer, schedule


def _forget_unseen_tokens(model: open_clip.CLIP, tokenizer: open_clip.SimpleTokenizer) -> None:
    """Zero the vectors of tokens that no caption holds: they are noise, and noise packs badly."""
    rng = np.random.default_rng(SEED + 2)
    scenes = list(scenes_of("tiny", rng))
    seen = torch.zeros(model.token_embedding.num_embeddings, dtype=torch.bool)
    for prop in (None, *PROPS):
        captions = [write_caption(Picture(scene, prop), rng) for scene in scenes]
        seen[tokenizer(captions).unique()] = True
    with torch.no_grad():
        model.token_embedding.weight[~seen] = 0
    log.info("clip: %d of %d tokens seen", int(seen.sum()), len(seen))


def _save(model: nn.Module, path: Path) -> None:
    half = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    save_file({name: tensor.contiguous() for name, tensor in half.items()}, path)


def _write_checksums(folder: Path) -> None:
    sums = {
        path.name: xxhash.xxh3_128_hexdigest(path.read_bytes())
        for path in sorted(folder.glob("*.safetensors"))
    }
    (folder / "weights.json").write_text(json.dumps(sums, indent=4) + "\n", encoding="utf-8")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the bundled encoders.")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--pictures", type=int, default=40_000)
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--sound-steps", type=int, default=400)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
