"""Peak memory of extract: a film of an hour, and ten thousand short files.

    python benchmarks/memory.py
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from clips import Form, draw, repeat
from models import TINY, real_encoders
from report import BUILD, CLIPS, mebibytes, show, table
from tree import Peaks, run_watched

from vidret.extract.decoding.sampling import Sampling, parse_sampling
from vidret.extract.encoders import EncoderSpec, load_encoders
from vidret.extract.lanes import BUFFER

MINUTE = Form(
    name="minute", width=1920, height=1080, rate=25, seconds=60, film="bigbuckbunny.mp4", gop=250
)
SHORT = Form(name="short", width=64, height=48, rate=25, seconds=0.2, film="bikes.mp4")
HOUR = 60  # minutes
DRAWN = 8  # short files; the others are links to them

LIBRARIES = 1 << 30  # Python, torch and what it needs, and the batches in the encoders
DECODER = 100 << 20  # a decoding process without pictures
PICTURES = 24  # that one holds at the same time, of 3 bytes a pixel


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One extraction, and what decides how much memory it may take."""

    name: str
    folder: Path
    encoders: EncoderSpec
    sampling: str
    pixels: int
    frames: int  # of a shard


def main() -> None:
    """Draw the files, run the command on them, and hold its peak against the formula."""
    options = _parse()
    with tempfile.TemporaryDirectory(prefix="vidret-") as place:
        cases = [
            *_cases_of_an_hour(Path(place), options),
            _case_of_many(Path(place), options),
        ]
        cases = [cases[number] for number in options.cases]
        peaks = [_run(case, Path(place)) for case in cases]
    _show(cases, peaks)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, default=CLIPS, help="where the files are drawn")
    parser.add_argument("--minutes", type=int, default=HOUR, help="of the long film")
    parser.add_argument("--files", type=int, default=10_000, help="short ones")
    parser.add_argument("--cases", type=int, nargs="+", default=[0, 1, 2])
    return parser.parse_args()


def _cases_of_an_hour(place: Path, options: argparse.Namespace) -> list[Case]:
    folder = place / "hour"
    folder.mkdir()
    film = repeat(draw(MINUTE, options.clips), options.clips / "hour.mp4", options.minutes)
    (folder / "hour.mp4").symlink_to(film.absolute())
    of_hour = partial(Case, folder=folder, pixels=MINUTE.width * MINUTE.height)
    real = real_encoders(BUILD / "models")
    return [
        of_hour(
            name="1 hour of 1920x1080 with sound, 12 frames, ViT-B-32 and Cnn14",
            encoders=real,
            sampling="uniform",
            frames=12,
        ),
        of_hour(
            name="the same, a frame a second, the bundled encoders",
            encoders=TINY,
            sampling="fps:1",
            frames=60 * options.minutes,
        ),
    ]


def _case_of_many(place: Path, options: argparse.Namespace) -> Case:
    folder = place / "many"
    folder.mkdir()
    drawn = [draw(SHORT, options.clips, number) for number in range(DRAWN)]
    for number in range(options.files):
        os.link(drawn[number % DRAWN], folder / f"{number:05}.mp4") if _same_disk(
            drawn[0], folder
        ) else (folder / f"{number:05}.mp4").write_bytes(drawn[number % DRAWN].read_bytes())
    return Case(
        name=f"{options.files:,} files of 0.2 s with sound, the bundled encoders",
        folder=folder,
        encoders=TINY,
        sampling="uniform",
        pixels=SHORT.width * SHORT.height,
        frames=16 * 12,
    )
