"""Pictures of the synthetic world, drawn with numpy: a place, a coloured shape, small things."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidret.data.synth.world import Scene

HEIGHT, WIDTH = 96, 128
Plane = NDArray[np.floating[Any]]
Picture = NDArray[np.float32]
Colour = tuple[int, int, int]

RGB: dict[str, Colour] = {
    "red": (220, 30, 35),
    "orange": (250, 135, 20),
    "yellow": (250, 225, 40),
    "green": (35, 165, 60),
    "turquoise": (50, 205, 200),
    "blue": (35, 70, 220),
    "purple": (125, 45, 180),
    "pink": (255, 150, 190),
    "white": (250, 250, 250),
    "black": (15, 15, 15),
    "brown": (125, 75, 35),
    "grey": (140, 140, 145),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Where a thing is (0 to 1 across the middle square), how large and how it is turned."""

    x: float
    y: float
    size: float
    turn: float = 0.0


COMPANION = Pose(x=0.15, y=0.15, size=0.13)  # far from the lower corners, where things turn up


def paint(
    scene: Scene,
    pose: Pose,
    moment: float,
    noise: np.random.Generator,
    *,
    prop: tuple[str, Pose] | None = None,
) -> NDArray[np.uint8]:
    """One frame; `moment` (seconds) moves the background, `noise` is the camera's grain."""
    picture = PLACES[scene.place](moment)
    _draw_shape(picture, scene, pose)
    if scene.companion is not None:
        _draw_prop(picture, scene.companion, COMPANION)
    if prop is not None:
        _draw_prop(picture, *prop)
    picture += noise.normal(0, 3, (HEIGHT, WIDTH, 1)).astype(np.float32)
    return picture.clip(0, 255).astype(np.uint8)


def _draw_shape(picture: Picture, scene: Scene, pose: Pose) -> None:
    x, y = _local(pose)
    body = SHAPES[scene.shape]
    outline: Colour = (245, 245, 245) if sum(RGB[scene.colour]) < 240 else (20, 20, 20)
    edge = 3.0 / (pose.size * HEIGHT)
    _blend(picture, body(x, y) - edge, outline, pose)
    _blend(picture, body(x, y), RGB[scene.colour], pose)


def _draw_prop(picture: Picture, prop: str, pose: Pose) -> None:
    x, y = _local(pose)
    for region, colour in PROPS[prop](x, y):
        _blend(picture, region - 0.08, (10, 10, 10), pose)
        _blend(picture, region, colour, pose)


def _blend(picture: Picture, distance: Plane, colour: Colour, pose: Pose) -> None:
    """Cover with a colour where the distance to a shape is negative, half-way at its edge."""
    cover = np.clip(0.5 - distance * pose.size * HEIGHT, 0, 1)[..., None]
    picture += cover * (np.array(colour, np.float32) - picture)


def _local(pose: Pose) -> tuple[Plane, Plane]:
    """Coordinates in which the thing fills -1 to 1."""
    rows, columns = _grid()
    x = (columns - (WIDTH - HEIGHT) / 2) / HEIGHT - pose.x
    y = rows / HEIGHT - pose.y
    cos, sin = np.cos(pose.turn), np.sin(pose.turn)
    return (
        ((cos * x + sin * y) / pose.size).astype(np.float32),
        ((cos * y - sin * x) / pose.size).astype(np.float32),
    )


@cache
def _grid() -> tuple[Plane, Plane]:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    return rows, columns


# Shapes: the (roughly Euclidean) distance to the edge, negative inside.


def _disc(x: Plane, y: Plane, r: float = 0.9) -> Plane:
    return np.hypot(x, y) - r


def _box(x: Plane, y: Plane, w: float, h: float) -> Plane:
    return np.maximum(np.abs(x) - w, np.abs(y) - h)


def _polygon(x: Plane, y: Plane, sides: int, r: float) -> Plane:
    angles = 2 * np.pi * np.arange(sides) / sides - np.pi / 2
    return np.max([x * np.cos(a) + y * np.sin(a) for a in angles], axis=0) - r


def _star(x: Plane, y: Plane) -> Plane:
    fifth, inner = 2 * np.pi / 5, 0.42
    from_tip = np.abs((np.arctan2(x, -y) + fifth / 2) % fifth - fifth / 2)
    along, across = np.hypot(x, y) * np.cos(from_tip), np.hypot(x, y) * np.sin(from_tip)
    slope = (inner * np.sin(fifth / 2), 1 - inner * np.cos(fifth / 2))
    return ((along - 1) * slope[0] + across * slope[1]) / np.hypot(*slope)


def _heart(x: Plane, y: Plane) -> Plane:
    lobe = np.hypot(np.abs(x) - 0.4, y + 0.3) - 0.45
    point = np.maximum(0.78 * np.abs(x) + 0.62 * y - 0.56, -0.05 - y)
    return np.minimum(lobe, point)


def _arrow(x: Plane, y: Plane) -> Plane:
    shaft = _box(x + 0.35, y, 0.6, 0.25)
    tip = np.maximum(-x + 0.1, 0.62 * (x - 0.95) + 0.78 * np.abs(y))
    return np.minimum(shaft, tip)


SHAPES: dict[str, Callable[[Plane, Plane], Plane]] = {
    "circle": _disc,
    "square": lambda x, y: _box(x, y, 0.75, 0.75),
    "triangle": lambda x, y: _polygon(x, -y - 0.15, 3, 0.5),
    "star": _star,
    "cross": lambda x, y: np.minimum(_box(x, y, 0.9, 0.28), _box(x, y, 0.28, 0.9)),
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.7) - 0.2,
    "diamond": lambda x, y: (np.abs(x) * 1.4 + np.abs(y) - 0.95) * 0.6,
    "heart": _heart,
    "arrow": _arrow,
    "crescent": lambda x, y: np.maximum(_disc(x, y), -_disc(x - 0.45, y, 0.75)),
    "hexagon": lambda x, y: _polygon(x, y, 6, 0.8),
    "bar": lambda x, y: _box(x, y, 0.95, 0.22),
}


# Small things: regions from back to front, each with its colour.

Regions = list[tuple[Plane, Colour]]


def _bell(x: Plane, y: Plane) -> Regions:
    cup = np.maximum(np.abs(x) - 0.45 - 0.35 * (y + 0.2), np.abs(y) - 0.6)
    return [(_disc(x, y - 0.7, 0.2), (120, 80, 10)), (cup, (235, 190, 40))]


def _drum(x: Plane, y: Plane) -> Regions:
    return [
        (_box(x, y - 0.1, 0.8, 0.55), (200, 30, 40)),
        (np.hypot(x, (y + 0.45) * 2.5) - 0.8, (245, 240, 220)),
    ]


def _whistle(x: Plane, y: Plane) -> Regions:
    return [
        (np.minimum(_disc(x + 0.3, y, 0.55), _box(x - 0.4, y + 0.35, 0.55, 0.2)), (60, 190, 220)),
        (_disc(x + 0.3, y, 0.2), (20, 30, 60)),
    ]


def _siren(x: Plane, y: Plane) -> Regions:
    return [
        (np.maximum(_disc(x, y - 0.3, 0.7), y - 0.3), (60, 90, 255)),
        (_box(x, y - 0.55, 0.85, 0.25), (230, 230, 235)),
        (_box(x, y + 0.7, 0.1, 0.2), (255, 60, 60)),
    ]


def _bee(x: Plane, y: Plane) -> Regions:
    body = np.hypot(x * 0.75, y * 1.3) - 0.62
    stripes = np.maximum(body, np.minimum(np.abs(x) - 0.1, np.abs(np.abs(x) - 0.45) - 0.1))
    wings = np.hypot((np.abs(x) - 0.3) * 1.5, y + 0.6) - 0.4
    return [(wings, (220, 235, 255)), (body, (250, 205, 30)), (stripes, (20, 20, 20))]


def _clock(x: Plane, y: Plane) -> Regions:
    hands = np.minimum(_box(x, y + 0.25, 0.09, 0.32), _box(x - 0.2, y, 0.25, 0.09))
    return [
        (_disc(x, y, 0.9), (90, 60, 40)),
        (_disc(x, y, 0.68), (250, 250, 240)),
        (hands, (10, 10, 10)),
    ]


def _bird(x: Plane, y: Plane) -> Regions:
    return [
        (_polygon(x - 0.65, y, 3, 0.2), (250, 160, 20)),
        (np.hypot(x * 0.9, y * 1.4) - 0.6, (90, 140, 230)),
        (_disc(x - 0.4, y + 0.35, 0.34), (90, 140, 230)),
        (_box(x + 0.75, y + 0.1, 0.22, 0.16), (60, 90, 170)),
        (_disc(x - 0.48, y + 0.4, 0.1), (0, 0, 0)),
    ]


def _phone(x: Plane, y: Plane) -> Regions:
    return [
        (_box(x, y, 0.5, 0.92), (30, 30, 35)),
        (_box(x, y + 0.1, 0.36, 0.6), (150, 220, 255)),
    ]


def _car(x: Plane, y: Plane) -> Regions:
    body = np.minimum(_box(x, y - 0.15, 0.95, 0.28), _box(x, y + 0.3, 0.5, 0.3))
    wheels = np.hypot(np.abs(x) - 0.5, y - 0.5) - 0.24
    return [(body, (215, 40, 140)), (wheels, (15, 15, 15))]


def _trumpet(x: Plane, y: Plane) -> Regions:
    horn = np.maximum(np.abs(y) - 0.12 - 0.55 * np.maximum(x - 0.3, 0), np.abs(x) - 0.9)
    return [(horn, (240, 200, 90)), (_box(x + 0.2, y - 0.3, 0.25, 0.25), (200, 150, 40))]


def _frog(x: Plane, y: Plane) -> Regions:
    eyes = np.hypot(np.abs(x) - 0.4, y + 0.5) - 0.28
    return [
        (np.hypot(x * 0.8, (y - 0.2) * 1.1) - 0.68, (80, 200, 60)),
        (eyes, (80, 200, 60)),
        (np.hypot(np.abs(x) - 0.4, y + 0.5) - 0.13, (0, 0, 0)),
        (_box(x, y - 0.35, 0.4, 0.06), (30, 80, 20)),
    ]


def _rain(x: Plane, y: Plane) -> Regions:
    cloud = np.min(
        [
            _disc(x + 0.4, y + 0.3, 0.38),
            _disc(x - 0.4, y + 0.3, 0.38),
            _disc(x, y + 0.45, 0.45),
        ],
        axis=0,
    )
    drops = _box((x + 0.75) % 0.5 - 0.25, y - 0.5, 0.08, 0.35) + 10 * (np.abs(x) > 0.75)
    return [(drops, (90, 150, 255)), (cloud, (235, 240, 250))]


PROPS: dict[str, Callable[[Plane, Plane], Regions]] = {
    "bell": _bell,
    "drum": _drum,
    "whistle": _whistle,
    "siren": _siren,
    "bee": _bee,
    "clock": _clock,
    "bird": _bird,
    "phone": _phone,
    "car": _car,
    "trumpet": _trumpet,
    "frog": _frog,
    "rain": _rain,
}


# Places: a whole picture that drifts with the moment.


def _meadow(moment: float) -> Picture:
    rows, columns = _grid()
    blades = np.sin(columns * 1.9 + 2 * np.sin(rows * 0.7 + moment)) * 18
    return _mix((90, 170, 60), (150, 215, 240), np.clip((30 - rows) / 6, 0, 1)) + _grey(
        blades * (rows > 30)
    )


def _desert(moment: float) -> Picture:
    rows, columns = _grid()
    dune = 45 + 10 * np.sin(columns / 20 + moment / 4)
    ripples = 8 * np.sin(rows / 2 + columns / 9)
    return _mix((225, 185, 120), (170, 205, 235), np.clip((dune - rows) / 3, 0, 1)) + _grey(ripples)


def _sea(moment: float) -> Picture:
    rows, columns = _grid()
    waves = 25 * np.sin(rows / 3.5 + 1.5 * np.sin(columns / 14 + moment * 1.5))
    return _mix((25, 90, 150), (180, 225, 250), np.clip((26 - rows) / 4, 0, 1)) + _grey(
        waves * (rows > 26)
    )


def _night(moment: float) -> Picture:
    twinkle = 0.75 + 0.25 * np.sin(moment * 4 + np.arange(len(_stars())))
    picture = _plain((14, 16, 44))
    for (row, column), light in zip(_stars(), twinkle, strict=True):
        picture[row : row + 2, column : column + 2] = 235 * light
    return picture


@cache
def _stars() -> list[tuple[int, int]]:
    rng = np.random.default_rng(5)
    return [(int(rng.integers(HEIGHT - 2)), int(rng.integers(WIDTH - 2))) for _ in range(70)]


def _snow(moment: float) -> Picture:
    rows, columns = _grid()
    flakes = np.sin(columns * 0.55 + np.sin(rows * 0.3)) * np.sin(rows * 0.5 - moment * 5) > 0.86
    return _mix((225, 232, 242), (175, 190, 210), rows / HEIGHT) + _grey(60.0 * flakes)


def _wall(moment: float) -> Picture:
    rows, columns = _grid()
    course = np.floor(rows / 12)
    joints = (rows % 12 < 2) | ((columns + 12 * (course % 2) + 3 * moment) % 24 < 2)
    return _mix((165, 75, 55), (205, 195, 180), joints.astype(np.float32))


def _forest(moment: float) -> Picture:
    rows, columns = _grid()
    trunks = (np.abs((columns + 2 * moment) % 26 - 13) < 4).astype(np.float32)
    leaves = 15 * np.sin(rows / 3 + np.sin(columns / 4))
    return _mix((25, 70, 35), (75, 50, 30), trunks) + _grey(leaves)


def _road(moment: float) -> Picture:
    rows, columns = _grid()
    dashes = (np.abs(rows - 70) < 3) & ((columns + 20 * moment) % 32 < 18)
    kerb = np.clip((22 - rows) / 2, 0, 1)
    return _mix((85, 85, 90), (120, 160, 100), kerb) + _grey(150.0 * dashes)


def _kitchen(moment: float) -> Picture:
    rows, columns = _grid()
    tiles = (np.floor((rows + moment) / 16) + np.floor((columns + moment) / 16)) % 2
    return _mix((245, 225, 190), (110, 160, 175), tiles)


def _sunset(moment: float) -> Picture:
    rows, columns = _grid()
    sun = np.clip((14 - np.hypot(rows - 60, columns - 64 - 2 * moment)) / 2, 0, 1)
    return _mix((95, 35, 105), (250, 120, 60), rows / HEIGHT) + _grey(90 * sun)


PLACES: dict[str, Callable[[float], Picture]] = {
    "meadow": _meadow,
    "desert": _desert,
    "sea": _sea,
    "night": _night,
    "snow": _snow,
    "wall": _wall,
    "forest": _forest,
    "road": _road,
    "kitchen": _kitchen,
    "sunset": _sunset,
}


def _plain(colour: Colour) -> Picture:
    return np.tile(np.array(colour, np.float32), (HEIGHT, WIDTH, 1))


def _mix(near: Colour, far: Colour, share: Plane) -> Picture:
    """From one colour to another as the share goes from 0 to 1."""
    first, second = np.array(near, np.float32), np.array(far, np.float32)
    return first + share[..., None].astype(np.float32) * (second - first)


def _grey(light: Plane) -> Picture:
    return light[..., None].astype(np.float32)
