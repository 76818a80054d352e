"""Peak memory of extract: a film of an hour, and ten thousand short files.

python benchmarks/memory.py
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from clips import FRAMES, Form, draw, repeat, source_of
from models import TINY, real_encoders
from report import BUILD, CLIPS, mebibytes, show, show_machine, table, verdict
from tree import Peaks, run_watched

from vidret.extract.encoders import EncoderSpec, load_encoders
from vidret.extract.lanes import BUFFER

MINUTE = Form(
    name="minute", width=1920, height=1080, rate=25, seconds=60, film="bigbuckbunny.mp4", gop=250
)
SHORT = Form(name="short", width=64, height=48, rate=25, seconds=0.2, film="bikes.mp4")
HOUR = 60  # minutes
DRAWN = 8  # short files; the others are copies of them
SHARD = 16  # videos

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
    show_machine()


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
            frames=FRAMES,
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
        (folder / f"{number:05}.mp4").write_bytes(drawn[number % DRAWN].read_bytes())
    return Case(
        name=f"{options.files:,} files of 0.2 s with sound, the bundled encoders",
        folder=folder,
        encoders=TINY,
        sampling="uniform",
        pixels=SHORT.width * SHORT.height,
        frames=SHARD * FRAMES,
    )


def _run(case: Case, place: Path) -> Peaks:
    work = place / f"work-{len(list(place.iterdir()))}"
    command = [sys.executable, "-m", "vidret.pipelines.cli", "extract", "--offline"]
    command += ["--dataset", f"folder:{case.folder}", "--work", str(work)]
    command += ["--sampling", case.sampling, "--shard-size", str(SHARD)]
    command += ["--backbone", case.encoders.backbone, "--audio", case.encoders.audio]
    return run_watched(command, place / f"{work.name}.log")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The most that the processes may take, from the formula."""

    worker: int
    command: int


def _bound(case: Case) -> Bound:
    encoders = load_encoders(case.encoders)
    models = [encoders.clip, *([] if encoders.sound is None else [encoders.sound])]
    weights = sum(weight.nbytes for model in models for weight in model.parameters())
    decoder = DECODER + PICTURES * 3 * case.pixels
    embeddings = 3 * 4 * case.frames * encoders.clip.dim
    return Bound(
        worker=LIBRARIES + 2 * weights + BUFFER + decoder + embeddings,
        command=LIBRARIES + 2 * weights,
    )


def _show(cases: Sequence[Case], peaks: Sequence[Peaks]) -> None:
    show("## Memory")
    show(
        "`vidret extract` with two workers. The peak of a worker is that of its own process and of"
        " its decoding process, each at its own highest moment as the kernel saw it (VmHWM), so it"
        " is never less than what they took at the same time. The bound is the formula of"
        " [extraction.md](extraction.md#memory)."
    )
    rows = []
    for case, peak in zip(cases, peaks, strict=True):
        bound = _bound(case)
        rows.append(
            [
                case.name,
                mebibytes(peak.worker.resident),
                mebibytes(bound.worker),
                verdict(bound.worker, peak.worker.resident),
                mebibytes(peak.decoder.resident),
                mebibytes(peak.command.resident),
                mebibytes(bound.command),
                verdict(bound.command, peak.command.resident),
                mebibytes(peak.total.shared_out),
                f"{peak.seconds:.0f} s",
            ]
        )
    heads = [
        "",
        "worker and decoder",
        "bound",
        "",
        "decoder alone",
        "the command itself",
        "bound",
        "",
        "all processes at one moment",
        "took",
    ]
    show(table(heads, rows))
    show(
        "The last but one column counts memory that processes share only once (PSS), at the worst"
        " of the moments that were looked at, four a second. Neither the length of a film nor the"
        " number of files is in the bound, except by the embeddings that a shard keeps: 4 bytes a"
        " number, three times over while it is written. The table does not cover a GPU, whose"
        " batches are larger, nor films of more pixels."
    )
    show(f"- {MINUTE.title} in a row to an hour, the same packets again: {source_of(MINUTE)}")
    show(f"- {SHORT.title}: {source_of(SHORT)}")


if __name__ == "__main__":
    main()
