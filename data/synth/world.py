"""What exists in the synthetic world, what it is called, and which split each scene belongs to."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

Names = dict[str, tuple[str, ...]]

COLOURS: Names = {
    "red": ("red", "scarlet", "crimson"),
    "orange": ("orange", "tangerine"),
    "yellow": ("yellow", "golden"),
    "green": ("green", "emerald"),
    "turquoise": ("turquoise", "teal"),
    "blue": ("blue", "azure"),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rosy"),
    "white": ("white", "snow-white"),
    "black": ("black", "jet-black"),
    "brown": ("brown", "chocolate-coloured"),
    "grey": ("grey", "gray", "silver"),
}

SHAPES: Names = {
    "circle": ("circle", "disc", "ball"),
    "square": ("square", "box", "block"),
    "triangle": ("triangle", "wedge"),
    "star": ("star",),
    "cross": ("cross", "plus sign"),
    "ring": ("ring", "hoop"),
    "diamond": ("diamond", "rhombus"),
    "heart": ("heart",),
    "arrow": ("arrow", "pointer"),
    "crescent": ("crescent", "half moon"),
    "hexagon": ("hexagon", "honeycomb cell"),
    "bar": ("bar", "stick", "rod"),
}

PLACES: Names = {
    "meadow": ("in a meadow", "on the grass", "in a grassy field"),
    "desert": ("in the desert", "among the dunes", "over the sand"),
    "sea": ("at sea", "over the ocean", "above the waves"),
    "night": ("under the stars", "in the night sky", "at night"),
    "snow": ("in the snow", "on a snowy day", "in a snowfield"),
    "wall": ("in front of a brick wall", "by the bricks", "before a brick wall"),
    "forest": ("in the forest", "among the trees", "in the woods"),
    "road": ("on the road", "in the street", "on the asphalt"),
    "kitchen": ("on the kitchen tiles", "in the kitchen", "on a tiled floor"),
    "sunset": ("at sunset", "against the evening sky", "at dusk"),
}

PROPS: Names = {
    "bell": ("bell",),
    "drum": ("drum",),
    "whistle": ("whistle",),
    "siren": ("siren", "warning light"),
    "bee": ("bee", "bumblebee"),
    "clock": ("clock", "watch"),
    "bird": ("bird", "sparrow"),
    "phone": ("phone", "telephone"),
    "car": ("car", "automobile"),
    "trumpet": ("trumpet", "bugle"),
    "frog": ("frog", "toad"),
    "rain": ("rain cloud", "shower of rain"),
}

SPLITS = {"tiny": 0.30, "train": 0.40, "val": 0.10, "test": 0.20}  # shares of all scenes


@dataclass(frozen=True, slots=True, order=True)
class Scene:
    """One coloured shape in one place, sometimes with a companion that stays beside it."""

    colour: str
    shape: str
    place: str
    companion: str | None = None


def split_of(scene: Scene) -> str:
    """The one split that may show this colour, shape and place together, for every seed."""
    position = _SHUFFLED[scene.colour, scene.shape, scene.place] / len(_SHUFFLED)
    for split, share in SPLITS.items():
        position -= share
        if position < 0:
            return split
    return "test"


def scenes_of(split: str, rng: np.random.Generator) -> Iterator[Scene]:
    """Every scene of a split once, in random order; those with a companion after all others."""
    own = [
        Scene(*names)
        for names in product(COLOURS, SHAPES, PLACES)
        if split_of(Scene(*names)) == split
    ]
    for companion in (None, *PROPS):
        for row in rng.permutation(len(own)):
            scene = own[row]
            yield Scene(scene.colour, scene.shape, scene.place, companion)


def _shuffle_scenes() -> dict[tuple[str, str, str], int]:
    """A fixed order of all scenes: it belongs to the world, not to a seed of the generator."""
    names = list(product(COLOURS, SHAPES, PLACES))
    order = np.random.default_rng(20240712).permutation(len(names))
    return {names[row]: position for position, row in enumerate(order)}


_SHUFFLED = _shuffle_scenes()
