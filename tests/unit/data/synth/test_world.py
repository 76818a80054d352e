from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np

from vidret.data.synth.world import (
    COLOURS,
    PLACES,
    PROPS,
    SHAPES,
    SPLITS,
    Scene,
    scenes_of,
    split_of,
)

ALL = [Scene(*names) for names in product(COLOURS, SHAPES, PLACES)]


def test_every_scene_belongs_to_one_split_and_each_split_gets_its_share():
    counts = Counter(split_of(scene) for scene in ALL)
    assert counts.keys() == SPLITS.keys()
    for split, share in SPLITS.items():
        assert abs(counts[split] - share * len(ALL)) <= 1


def test_the_splits_are_those_that_the_bundled_weights_were_trained_on():
    # Written down once: another division of the scenes would show the tiny encoders the test set.
    shown = [
        Scene("red", "circle", "meadow"),
        Scene("blue", "star", "sea"),
        Scene("grey", "bar", "sunset"),
        Scene("pink", "heart", "night"),
        Scene("black", "ring", "snow"),
    ]
    assert [split_of(scene) for scene in shown] == ["train", "test", "tiny", "test", "test"]


def test_a_companion_changes_no_split():
    scene = ALL[7]
    assert {split_of(replace(scene, companion=prop)) for prop in PROPS} == {split_of(scene)}


def test_the_scenes_of_a_split_come_once_each_and_the_plain_ones_first():
    scenes = list(scenes_of("val", np.random.default_rng(3)))
    plain = [scene for scene in ALL if split_of(scene) == "val"]
    assert len(set(scenes)) == len(scenes) == len(plain) * (1 + len(PROPS))
    assert set(scenes[: len(plain)]) == set(plain)
    assert all(scene.companion is not None for scene in scenes[len(plain) :])


def test_the_order_of_scenes_follows_the_generator():
    def first(seed):
        return [next(scenes) for scenes in [scenes_of("test", np.random.default_rng(seed))]]

    assert first(1) == first(1)
    assert first(1) != first(2)


def test_no_two_things_share_a_name():
    for names in (COLOURS, SHAPES, PLACES, PROPS):
        said = [word for synonyms in names.values() for word in synonyms]
        assert len(said) == len(set(said))
