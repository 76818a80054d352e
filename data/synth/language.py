"""Captions: varied English with synonyms on what a clip shows, briefly or always, and its sound."""

import numpy as np

from vidret.data.synth.world import COLOURS, PLACES, PROPS, SHAPES, Scene

ADJECTIVES = ("", "", "", "big ", "large ", "bright ", "slowly turning ")
SMALL = ("", "small ", "little ", "tiny ")
VERBS = ("floats", "drifts", "hovers", "moves around", "sways", "glides")
ARRIVALS = ("appears", "shows up", "comes into view", "turns up", "can be seen")

SCENES = (
    "{thing} {verb} {place}",
    "{place}, {thing} {verb}",
    "there is {thing} {place}",
    "we see {thing} {place}",
    "{thing} {place}",
    "somebody films {thing} {place}",
    "a clip of {thing} that {verb} {place}",
)
EVENTS = (
    "{thing} {arrives} {place}",
    "{place}, {thing} {arrives} for a moment",
    "at some point {thing} {arrives} {place}",
    "for a while there is {thing} {place}",
    "{thing} {verb} {place} and is gone again",
    "part of the clip shows {thing} {place}",
)
DETAILS = (
    "{scene} with {prop}",
    "{scene} next to {prop}",
    "{prop} {arrives} beside {thing} {place}",
    "{scene}, and for a moment {prop} {arrives}",
    "{thing} {place}, and then {prop}",
    "{prop} briefly joins {thing} {place}",
)
SOUNDS = (
    "{scene} while {sounding}",
    "{scene} and {sounding}",
    "{sounding} as {thing} {verb} {place}",
    "{scene}, and you can hear {sound}",
    "{thing} {place} to the sound of {sound}",
    "you hear {sound} while {thing} {verb} {place}",
)

SOUNDING = {
    "bell": ("a bell rings", "bells are chiming", "a bell tolls"),
    "drum": ("someone beats a drum", "a drum is played", "drums are pounding"),
    "whistle": ("someone blows a whistle", "a whistle shrieks", "a whistle is blown"),
    "siren": ("a siren wails", "a siren howls", "an emergency siren goes by"),
    "bee": ("a bee buzzes", "bees are humming", "a bumblebee buzzes"),
    "clock": ("a clock ticks", "a watch is ticking", "a clock goes tick tock"),
    "bird": ("a bird sings", "birds are chirping", "a sparrow twitters"),
    "phone": ("a phone rings", "a telephone is ringing", "nobody answers the phone"),
    "car": ("a car engine runs", "a car rumbles", "the motor of an automobile runs"),
    "trumpet": ("someone plays the trumpet", "a trumpet blares", "a bugle sounds"),
    "frog": ("a frog croaks", "frogs are croaking", "a toad croaks"),
    "rain": ("rain is falling", "it rains heavily", "the rain pours down"),
}
SOUND_NAMES = {
    "bell": ("a ringing bell", "church bells"),
    "drum": ("drums", "the beat of a drum"),
    "whistle": ("a whistle", "a shrill whistle"),
    "siren": ("a siren", "the wail of a siren"),
    "bee": ("a buzzing bee", "the hum of bees"),
    "clock": ("a ticking clock", "the ticking of a watch"),
    "bird": ("birdsong", "a chirping bird"),
    "phone": ("a ringing phone", "a telephone"),
    "car": ("a running engine", "a car"),
    "trumpet": ("a trumpet", "a bugle call"),
    "frog": ("a croaking frog", "frogs"),
    "rain": ("pouring rain", "heavy rain"),
}


def describe_scene(scene: Scene, rng: np.random.Generator) -> str:
    """A sentence on what a scene shows all the time."""
    return _fill(_pick(SCENES, rng), scene, rng)


def describe_event(scene: Scene, rng: np.random.Generator) -> str:
    """A sentence on a scene that fills only a part of a clip."""
    return _fill(_pick(EVENTS, rng), scene, rng)


def describe_detail(scene: Scene, prop: str, rng: np.random.Generator) -> str:
    """A sentence on a scene in which a small thing turns up."""
    return _fill(_pick(DETAILS, rng), scene, rng, prop=prop)


def describe_sound(scene: Scene, source: str, rng: np.random.Generator) -> str:
    """A sentence on a scene and a sound whose source is not in the picture."""
    return _fill(_pick(SOUNDS, rng), scene, rng, source=source)


def _fill(
    pattern: str,
    scene: Scene,
    rng: np.random.Generator,
    *,
    prop: str | None = None,
    source: str | None = None,
) -> str:
    words = {
        "thing": _thing(scene, rng),
        "place": _pick(PLACES[scene.place], rng),
        "verb": _pick(VERBS, rng),
        "arrives": _pick(ARRIVALS, rng),
        "scene": _pick(SCENES[:4], rng) if "{scene}" in pattern else "",
        "prop": _with_article(_pick(SMALL, rng) + _pick(PROPS[prop], rng)) if prop else "",
        "sounding": _pick(SOUNDING[source], rng) if source else "",
        "sound": _pick(SOUND_NAMES[source], rng) if source else "",
    }
    return pattern.replace("{scene}", words["scene"]).format(**words)


def _thing(scene: Scene, rng: np.random.Generator) -> str:
    colour, shape = _pick(COLOURS[scene.colour], rng), _pick(SHAPES[scene.shape], rng)
    thing = _with_article(f"{_pick(ADJECTIVES, rng)}{colour} {shape}")
    if scene.companion is None:
        return thing
    return f"{thing} with {_with_article(_pick(PROPS[scene.companion], rng))}"


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _pick(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[rng.integers(len(choices))]
