"""The script of every clip: what is seen and heard when, what the captions say, what decides.

Three kinds of clips, a third each:

- `event`: four coloured shapes take turns in one place; the captions speak of one of them.
- `detail`: groups of clips that show the same all the time and differ in one small thing that turns
  up for a quarter of the clip; the captions name it.
- `sound`: groups of clips with the same picture that only their sound tells apart.

Every scene that a caption describes belongs to one clip of a split, or to one group of such clips.
Sounds go with the other two kinds as well, but no caption speaks of them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from vidret.data.errors import ConfigError
from vidret.data.synth.language import describe_detail, describe_event, describe_sound
from vidret.data.synth.paint import Pose
from vidret.data.synth.world import PLACES, PROPS, Scene, scenes_of

KINDS = ("event", "detail", "sound")
FEWEST_CLIPS = 54  # six in the smallest split: two of each kind, so that a group has a twin
CAPTIONS_PER_CLIP = 4
GROUP = 3
SEGMENTS = 4
SILENCE, AMBIENCE = "silence", "ambience"


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """How a thing sways about its place."""

    x: float
    y: float
    size: float
    sway: float
    pace: float
    turn: float

    def at(self, moment: float) -> Pose:
        """The pose at a moment (seconds)."""
        swing = self.sway * np.sin(self.pace * moment)
        return Pose(
            x=self.x + swing, y=self.y + 0.5 * swing, size=self.size, turn=self.turn * moment
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """A scene, from one moment to another."""

    scene: Scene
    start: float
    end: float
    motion: Motion


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A small thing beside the scene, from one moment to another."""

    prop: str
    start: float
    end: float
    motion: Motion


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """Everything that the camera, the microphone and the writer of the captions need."""

    id: str
    split: str
    kind: str
    seed: int
    seconds: float
    shots: tuple[Shot, ...]
    visit: Visit | None
    sound: str | None
    rate: int
    channels: int
    captions: tuple[str, ...]


def write_script(clips: int, seed: int) -> list[Clip]:
    """The scripts of a set: train (5 ninths), val (1), test (3); equal arguments, equal scripts."""
    if clips < FEWEST_CLIPS:
        raise ConfigError(
            f"synth cannot be drawn with {clips} clips: every split needs twins of each kind, "
            f"ask for {FEWEST_CLIPS} or more"
        )
    ninth = clips // 9
    counts = {"train": clips - 4 * ninth, "val": ninth, "test": 3 * ninth}
    scripts: list[Clip] = []
    for number, (split, count) in enumerate(counts.items()):
        rng = np.random.default_rng([seed, number])
        scripts += _write_split(split, count, rng, first=len(scripts))
    return scripts


def random_motion(rng: np.random.Generator) -> Motion:
    """A large thing about the middle."""
    return Motion(
        x=rng.uniform(0.35, 0.65),
        y=rng.uniform(0.35, 0.55),
        size=rng.uniform(0.22, 0.32),
        sway=rng.uniform(0.02, 0.08),
        pace=rng.uniform(1, 3),
        turn=rng.uniform(-0.12, 0.12),
    )


def random_prop_motion(rng: np.random.Generator) -> Motion:
    """A small thing in a lower corner."""
    return Motion(
        x=rng.choice([0.18, 0.82]) + rng.uniform(-0.04, 0.04),
        y=rng.uniform(0.76, 0.84),
        size=rng.uniform(0.13, 0.16),
        sway=rng.uniform(0.0, 0.02),
        pace=rng.uniform(1, 3),
        turn=0.0,
    )


def _write_split(split: str, count: int, rng: np.random.Generator, *, first: int) -> list[Clip]:
    fillers, described = _divide_scenes(split, rng)
    third = count // 3
    drafts = [_event(next(described), fillers, rng) for _ in range(count - 2 * third)]
    for size in _group_sizes(third):
        drafts += _detail_group(next(described), size, rng)
    for size in _group_sizes(third):
        drafts += _sound_group(next(described), size, rng)
    order = rng.permutation(len(drafts))  # a clip's number says nothing about its kind
    return [
        replace(drafts[row], id=f"clip_{first + place:05d}", split=split)
        for place, row in enumerate(order)
    ]


def _divide_scenes(
    split: str, rng: np.random.Generator
) -> tuple[dict[str, list[Scene]], Iterator[Scene]]:
    """A few scenes of every place that fill clips and are never described; all others."""
    fillers: dict[str, list[Scene]] = {place: [] for place in PLACES}
    hidden: set[tuple[str, str, str]] = set()
    described = []
    for scene in scenes_of(split, rng):
        look = (scene.colour, scene.shape, scene.place)
        if scene.companion is None and len(fillers[scene.place]) < SEGMENTS:
            fillers[scene.place].append(scene)
            hidden.add(look)
        elif look not in hidden:
            described.append(scene)
    return fillers, iter(described)


def _event(scene: Scene, fillers: dict[str, list[Scene]], rng: np.random.Generator) -> Clip:
    others = rng.permutation(len(fillers[scene.place]))[: SEGMENTS - 1]
    turns = [scene, *(fillers[scene.place][row] for row in others)]
    lengths = rng.uniform(1.2, 1.8, SEGMENTS)
    ends = np.cumsum(lengths)
    shots = tuple(
        Shot(scene=turns[row], start=float(end - length), end=float(end), motion=random_motion(rng))
        for row, end, length in zip(rng.permutation(SEGMENTS), ends, lengths, strict=True)
    )
    captions = _captions(partial(describe_event, scene, rng))
    return _clip("event", shots, captions, _unmentioned_sound(rng), rng)


def _detail_group(scene: Scene, size: int, rng: np.random.Generator) -> list[Clip]:
    """Twins that differ in which small thing turns up."""
    clips = []
    for prop in _different(size, scene, rng):
        seconds = rng.uniform(5, 7)
        start = rng.uniform(0, 0.75) * seconds
        visit = Visit(
            prop=prop, start=start, end=start + seconds / 4, motion=random_prop_motion(rng)
        )
        whole = Shot(scene=scene, start=0.0, end=seconds, motion=random_motion(rng))
        captions = _captions(partial(describe_detail, scene, prop, rng))
        clips.append(_clip("detail", (whole,), captions, _unmentioned_sound(rng), rng, visit=visit))
    return clips


def _sound_group(scene: Scene, size: int, rng: np.random.Generator) -> list[Clip]:
    """Twins that differ in what is heard; its source is never in the picture."""
    clips = []
    for source in _different(size, scene, rng):
        whole = Shot(scene=scene, start=0.0, end=rng.uniform(5, 7), motion=random_motion(rng))
        captions = _captions(partial(describe_sound, scene, source, rng))
        clips.append(_clip("sound", (whole,), captions, source, rng))
    return clips


def _clip(
    kind: str,
    shots: tuple[Shot, ...],
    captions: tuple[str, ...],
    sound: str | None,
    rng: np.random.Generator,
    *,
    visit: Visit | None = None,
) -> Clip:
    """A clip that has yet to get its number and split."""
    return Clip(
        id="",
        split="",
        kind=kind,
        seed=int(rng.integers(2**32)),
        seconds=shots[-1].end,
        shots=shots,
        visit=visit,
        sound=sound,
        rate=int(rng.choice([32_000, 44_100, 48_000])),
        channels=int(rng.choice([1, 2])),
        captions=captions,
    )


def _group_sizes(clips: int) -> list[int]:
    """Groups of three, the first ones larger where the number asks for it."""
    groups = max(1, clips // GROUP)
    return [clips // groups + (number < clips % groups) for number in range(groups)]


def _different(size: int, scene: Scene, rng: np.random.Generator) -> list[str]:
    names = [prop for prop in PROPS if prop != scene.companion]
    return [str(name) for name in rng.permutation(names)[:size]]


def _unmentioned_sound(rng: np.random.Generator) -> str | None:
    """A sound of which no caption speaks, or faint noise, digital silence, no sound stream."""
    choices = [str(rng.choice(list(PROPS))), AMBIENCE, SILENCE, None]
    return choices[rng.choice(len(choices), p=[0.6, 0.16, 0.12, 0.12])]


def _captions(describe: Callable[[], str]) -> tuple[str, ...]:
    """Captions in different words."""
    texts: dict[str, None] = {}
    while len(texts) < CAPTIONS_PER_CLIP:
        texts[describe()] = None
    return tuple(texts)
