import re

import numpy as np
import pytest

from vidret.data.synth.language import (
    SOUND_NAMES,
    SOUNDING,
    describe_detail,
    describe_event,
    describe_scene,
    describe_sound,
)
from vidret.data.synth.world import COLOURS, PLACES, PROPS, SHAPES, Scene

SCENE = Scene("orange", "arrow", "kitchen")
DESCRIBE = {
    "scene": lambda scene, rng: describe_scene(scene, rng),
    "event": lambda scene, rng: describe_event(scene, rng),
    "detail": lambda scene, rng: describe_detail(scene, "bee", rng),
    "sound": lambda scene, rng: describe_sound(scene, "frog", rng),
}


def sentences(kind, scene=SCENE, count=400):
    rng = np.random.default_rng(11)
    return [DESCRIBE[kind](scene, rng) for _ in range(count)]


def says(text, words):
    return any(re.search(rf"\b{re.escape(word)}\b", text) for word in words)


@pytest.mark.parametrize("kind", DESCRIBE)
def test_a_sentence_names_colour_shape_and_place_in_some_of_their_words(kind):
    for text in sentences(kind):
        assert says(text, COLOURS["orange"]), text
        assert says(text, SHAPES["arrow"]), text
        assert says(text, PLACES["kitchen"]), text


def test_a_detail_is_named_by_its_own_name():
    assert all(says(text, PROPS["bee"]) for text in sentences("detail"))


def test_a_sound_is_named_by_what_is_heard():
    assert all(says(text, SOUNDING["frog"] + SOUND_NAMES["frog"]) for text in sentences("sound"))


def test_a_companion_is_named_too():
    scene = Scene("red", "circle", "sea", "drum")
    assert all(says(text, ["with a drum"]) for text in sentences("event", scene))


@pytest.mark.parametrize("kind", DESCRIBE)
@pytest.mark.parametrize("colour", ["orange", "green", "blue", "white"])
def test_a_and_an_fit_the_word_that_follows(kind, colour):
    scene = Scene(colour, "hexagon", "sea", "car")
    for text in sentences(kind, scene):
        for article, letter in re.findall(r"\b(an?) (\w)", text):
            assert article == ("an" if letter in "aeiou" else "a"), text


@pytest.mark.parametrize("kind", DESCRIBE)
def test_a_sentence_is_one_clean_line(kind):
    for text in sentences(kind):
        assert re.fullmatch(r"[a-z][a-z', -]*[a-z]", text), text
        assert "  " not in text, text


@pytest.mark.parametrize("kind", DESCRIBE)
def test_the_sentences_on_one_thing_are_varied(kind):
    texts = sentences(kind)
    openings = {" ".join(text.split()[:3]) for text in texts}
    assert len(set(texts)) > 250
    assert len(openings) > 15


def test_every_thing_that_makes_a_sound_has_words_for_it():
    assert SOUNDING.keys() == SOUND_NAMES.keys() == PROPS.keys()


def test_no_two_sounds_are_described_in_the_same_words():
    for names in (SOUNDING, SOUND_NAMES):
        said = [words for phrases in names.values() for words in phrases]
        assert len(said) == len(set(said))
