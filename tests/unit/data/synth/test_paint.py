from itertools import combinations

import numpy as np
import pytest

from vidret.data.synth import world
from vidret.data.synth.paint import HEIGHT, PLACES, PROPS, RGB, SHAPES, WIDTH, Pose, paint
from vidret.data.synth.script import random_motion, random_prop_motion
from vidret.data.synth.world import COLOURS, Scene

MIDDLE = Pose(x=0.5, y=0.45, size=0.3)
SMALLEST = Pose(x=0.5, y=0.45, size=0.22)
CORNER = Pose(x=0.18, y=0.8, size=0.13)
AWAY = Pose(x=9.0, y=9.0, size=0.22)


def frame(scene=None, pose=MIDDLE, moment=1.0, seed=0, prop=None):
    scene = scene or Scene("red", "circle", "meadow")
    picture = paint(scene, pose, moment, np.random.default_rng(seed), prop=prop)
    return picture.astype(int)


def changed(one, other, by=20):
    """How many pixels differ clearly."""
    return int((np.abs(one - other).max(axis=-1) > by).sum())


def middle(picture):
    """The square that is left by the models' crop."""
    side = (WIDTH - HEIGHT) // 2
    return picture[:, side : WIDTH - side]


def test_everything_in_the_world_can_be_drawn():
    assert RGB.keys() == COLOURS.keys()
    assert SHAPES.keys() == world.SHAPES.keys()
    assert PLACES.keys() == world.PLACES.keys()
    assert PROPS.keys() == world.PROPS.keys()


def test_a_frame_has_the_size_of_the_clips():
    picture = paint(Scene("red", "star", "sea"), MIDDLE, 0.0, np.random.default_rng(0))
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert picture.dtype == np.uint8
    assert HEIGHT % 2 == WIDTH % 2 == 0  # yuv420p


def test_the_same_noise_gives_the_same_frame():
    assert changed(frame(seed=4), frame(seed=4), by=0) == 0
    assert changed(frame(seed=4), frame(seed=5), by=0) > 1000


@pytest.mark.parametrize("place", PLACES)
def test_every_colour_shows_in_every_place(place):
    nothing = frame(Scene("red", "bar", place), AWAY)
    for colour in RGB:
        assert changed(frame(Scene(colour, "bar", place), SMALLEST), nothing) > 100, colour


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_fills_a_good_part_of_the_middle_square(shape):
    here = middle(frame(Scene("red", shape, "sea"), SMALLEST))
    away = middle(frame(Scene("red", shape, "sea"), AWAY))
    red = np.abs(here - RGB["red"]).max(axis=-1) < 30
    assert 100 < red.sum() < 0.25 * HEIGHT**2
    assert changed(here, away) < 0.3 * HEIGHT**2


def test_no_two_shapes_look_the_same():
    pictures = {shape: frame(Scene("red", shape, "sea"), SMALLEST) for shape in SHAPES}
    for one, other in combinations(SHAPES, 2):
        assert changed(pictures[one], pictures[other], by=60) > 40, (one, other)


def test_no_two_places_look_the_same():
    pictures = {place: frame(Scene("red", "circle", place)) for place in PLACES}
    for one, other in combinations(PLACES, 2):
        assert changed(pictures[one], pictures[other]) > 0.25 * HEIGHT * WIDTH, (one, other)


@pytest.mark.parametrize("place", PLACES)
def test_every_small_thing_shows_in_every_place(place):
    scene = Scene("red", "circle", place)
    for prop in PROPS:
        with_prop = middle(frame(scene, prop=(prop, CORNER)))
        assert changed(middle(frame(scene)), with_prop) > 60, prop


def test_no_two_small_things_look_the_same():
    pictures = {prop: frame(prop=(prop, CORNER)) for prop in PROPS}
    for one, other in combinations(PROPS, 2):
        assert changed(pictures[one], pictures[other], by=40) > 40, (one, other)


@pytest.mark.parametrize("place", PLACES)
def test_every_place_moves_with_time(place):
    scene = Scene("red", "circle", place)
    assert changed(frame(scene, AWAY, 0.0), frame(scene, AWAY, 2.1), by=5) > 50


def test_a_shape_can_be_turned():
    scene = Scene("red", "arrow", "sea")
    turned = Pose(x=0.5, y=0.45, size=0.3, turn=0.8)
    assert changed(frame(scene), frame(scene, turned)) > 200


@pytest.mark.parametrize("prop", PROPS)
def test_a_companion_stays_whole_and_in_its_place_wherever_the_shape_goes(prop):
    for x in (0.3, 0.49, 0.51, 0.7):
        pose = Pose(x=x, y=0.6, size=0.22)
        alone = middle(frame(Scene("red", "circle", "sea"), pose))
        together = middle(frame(Scene("red", "circle", "sea", prop), pose))
        rows, columns = np.nonzero(np.abs(alone - together).max(axis=-1))
        assert len(rows) > 60
        assert rows.max() < 0.35 * HEIGHT
        assert columns.max() < 0.35 * HEIGHT


def test_shapes_and_small_things_stay_inside_the_middle_square():
    rng = np.random.default_rng(0)
    for _ in range(200):
        large, small = random_motion(rng), random_prop_motion(rng)
        for moment in np.linspace(0, 7, 15):
            for pose, most in ((large.at(moment), 0.05), (small.at(moment), 0.03)):
                assert pose.x - pose.size > -most
                assert pose.x + pose.size < 1 + most
                assert pose.y + pose.size < 1 + most
