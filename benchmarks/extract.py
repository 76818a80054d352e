"""The whole of extract on two cores, beside decoding alone, encoding alone, and other ways.

python benchmarks/extract.py
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from clips import FRAMES, Form, draw, source_of
from contenders import GRABBING, LOOP, XPOOL, Contender
from halves import decode_alone, encode_alone, one_after_another, warm_up
from models import real_encoders
from report import BUILD, CLIPS, number, show, show_machine, table, verdict
from timing import Seconds, busy_seconds, median, take_turns, times_slower

from vidret.data.samples import Video
from vidret.extract.plan import VideoShard
from vidret.extract.schedule import Job, Place, dask_client, run_jobs
from vidret.extract.task import TaskSettings, extract_videos

if TYPE_CHECKING:
    from distributed import Client

CORES = 2
ASKED = 0.9
WHOLE, DECODE, ENCODE = "whole", "decoding alone", "encoding alone"
ONE_BY_ONE: Sequence[Contender] = (GRABBING, XPOOL, LOOP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """So many files of one form."""

    form: Form
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What came out for one folder.

    Args:
        seconds: that each way took.
        work: that cores were busy with it, which other work on the machine does not change.
        side_by_side: that the halves and the whole took with one worker, whose encoders have one
            core, and whose decoding runs ahead on the other.
        command: seconds of the command as it is typed, with its start-up.
    """

    folder: Folder
    seconds: Seconds
    work: Seconds
    side_by_side: Seconds
    command: float


SMALL = Form(name="240p", width=320, height=240, rate=25, seconds=10, film="bikes.mp4")
LARGE = Form(name="720p", width=1280, height=720, rate=30, seconds=20, film="bikes.mp4")
FOLDERS = (Folder(form=SMALL, files=24), Folder(form=LARGE, files=8))


def main() -> None:
    """Draw the folders, warm two workers up, and let all ways take turns in them."""
    options = _parse()
    encoders = real_encoders(BUILD / "models")
    measured = []
    for folder in FOLDERS[: options.folders]:
        videos = _draw_all(folder, options.clips)
        with tempfile.TemporaryDirectory(prefix="vidret-") as work:
            settings = TaskSettings(
                folder=Path(work),
                root=options.clips,
                frames=FRAMES,
                decoder="av",
                encoders=encoders,
                features_digest="benchmark",
                lanes=1,
            )
            seconds, work_done = _measure(videos, settings, options.rounds, ONE_BY_ONE)
            side_by_side, _ = _measure(videos, settings, options.rounds, workers=1)
            command = _time_command(folder, videos, settings, Path(work))
        measured.append(
            Measured(
                folder=folder,
                seconds=seconds,
                work=work_done,
                side_by_side=side_by_side,
                command=command,
            )
        )
    _show(measured)
    show_machine()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, default=CLIPS, help="where the files are drawn")
    parser.add_argument("--folders", type=int, default=len(FOLDERS), help="only the first so many")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _draw_all(folder: Folder, clips: Path) -> list[Video]:
    paths = [draw(folder.form, clips, one) for one in range(folder.files)]
    return [Video(id=path.stem, path=path, split="all") for path in paths]


def _measure(
    videos: Sequence[Video],
    settings: TaskSettings,
    rounds: int,
    others: Sequence[Contender] = (),
    *,
    workers: int = CORES,
) -> tuple[Seconds, Seconds]:
    portions = [videos[start::workers] for start in range(workers)]
    with dask_client(Place(workers=workers)) as client:
        client.wait_for_workers(workers)
        on_each = partial(_on_each_worker, client)
        on_each(warm_up, [(portion, settings) for portion in portions])
        ways: dict[str, Callable[[], object]] = {
            WHOLE: partial(_run_whole, client, portions, settings, count()),
            DECODE: partial(on_each, decode_alone, [(part, settings) for part in portions]),
            ENCODE: partial(on_each, encode_alone, [(settings,) for _ in portions]),
        }
        for other in others:
            told = [(portion, settings, other.name) for portion in portions]
            ways[other.name] = partial(on_each, one_after_another, told)
        work: dict[str, list[float]] = {name: [] for name in ways}
        counted = {name: partial(_count_work, way, work[name]) for name, way in ways.items()}
        return take_turns(counted, rounds, warm=True), work


def _count_work(way: Callable[[], object], work: list[float]) -> None:
    began = busy_seconds()
    way()
    work.append(busy_seconds() - began)


def _on_each_worker(
    client: "Client", task: Callable[..., int], arguments: Sequence[tuple[object, ...]]
) -> None:
    """One call on each worker at the same time."""
    workers = sorted(client.nthreads())
    futures = [
        client.submit(task, *told, workers=[worker], pure=False)
        for told, worker in zip(arguments, workers, strict=True)
    ]
    client.gather(futures)


def _run_whole(
    client: "Client",
    portions: Sequence[Sequence[Video]],
    settings: TaskSettings,
    numbers: "count[int]",
) -> None:
    """The tasks of `vidret extract`, as it hands them out: one shard for each worker."""
    jobs = [
        Job(
            extract_videos,
            (VideoShard(file=f"video-{next(numbers):05}.h5", videos=tuple(part)), settings),
        )
        for part in portions
    ]
    for _, result in run_jobs(client, jobs):
        if result.entry.failed:
            raise RuntimeError(f"{result.entry.failed} videos failed")


def _time_command(
    folder: Folder, videos: Sequence[Video], settings: TaskSettings, work: Path
) -> float:
    """`vidret extract` as it is typed, from its start to its end."""
    place = work / "videos"
    place.mkdir()
    for video in videos:
        (place / video.path.name).symlink_to(video.path.absolute())
    command = [sys.executable, "-m", "vidret.pipelines.cli", "extract", "--offline"]
    command += ["--dataset", f"folder:{place}", "--work", str(work / "work")]
    command += ["--backbone", settings.encoders.backbone, "--audio", settings.encoders.audio]
    command += ["--workers", str(CORES), "--shard-size", str(folder.files // CORES)]
    began = time.perf_counter()
    finished = subprocess.run(command, check=False, capture_output=True, text=True)
    if finished.returncode:
        raise RuntimeError(finished.stdout + finished.stderr)
    return time.perf_counter() - began


def _show(measured: Sequence[Measured]) -> None:
    show("## The whole of extract on two cores")
    show(
        "Videos a second with ViT-B-32 and Cnn14 (true architectures, random weights, float32), two"
        " workers that are warm, all ways in turns on the same files, medians. `whole` is the tasks"
        " of `vidret extract`, shards written; `decoding alone` is their lanes with nothing behind"
        " them; `encoding alone` has the same crops and waveforms ready in memory. The other ways"
        " read one video after the other as the named one does, with the same encoders."
    )
    heads = ["", *(_title(one.folder) for one in measured)]
    names = [WHOLE, DECODE, ENCODE, *(other.name for other in ONE_BY_ONE)]
    rows = [[name, *(_rate(one, name) for one in measured)] for name in names]
    rows.append(
        [
            "the command, with start-up",
            *(number(one.folder.files / one.command) for one in measured),
        ]
    )
    show(table(heads, rows))
    _show_side_by_side(measured)
    _show_shares(measured)
    for one in measured:
        show(f"- {one.folder.form.title}: {source_of(one.folder.form)}")


def _show_side_by_side(measured: Sequence[Measured]) -> None:
    rows = []
    for one in measured:
        took = {name: median(one.side_by_side, name) for name in (WHOLE, DECODE, ENCODE)}
        share = max(took[DECODE], took[ENCODE]) / took[WHOLE]
        rates = [number(one.folder.files / seconds) for seconds in took.values()]
        told = [f"{share:.0%}", f"{ASKED:.0%}", verdict(share, ASKED)]
        rows.append([_title(one.folder), *rates, *told])
    show("### One core decodes, the other encodes")
    show(
        "One worker on the two cores: its encoders have one of them, and its decoding runs ahead on"
        " the other. So it is beside a GPU, too. The whole should take hardly longer than the"
        " slower half. Videos a second:"
    )
    heads = ["", WHOLE, DECODE, ENCODE, "whole, of the slower half", "asked for", ""]
    show(table(heads, rows))


def _work_of_halves(measured: Measured) -> float:
    """What decoding and encoding cost alone, of what the whole costs: the rest is its overhead."""
    halves = median(measured.work, DECODE) + median(measured.work, ENCODE)
    return halves / median(measured.work, WHOLE)


def _title(folder: Folder) -> str:
    form = folder.form
    return f"{folder.files} files of {form.width}x{form.height}, {form.seconds:g} s"


def _rate(measured: Measured, name: str) -> str:
    rate = measured.folder.files / median(measured.seconds, name)
    ratio = times_slower(measured.seconds, name, WHOLE)
    return number(rate) if name == WHOLE else f"{number(rate)} (whole is {ratio:.2f} times as fast)"


def _show_shares(measured: Sequence[Measured]) -> None:
    rows = []
    for one in measured:
        whole, decode, encode = (median(one.seconds, name) for name in (WHOLE, DECODE, ENCODE))
        slower = max(decode, encode) / whole
        possible = max(decode, encode) / (decode + encode)
        rows.append(
            [
                _title(one.folder),
                f"{slower:.0%}",
                f"{possible:.0%}",
                f"{(decode + encode) / whole:.0%}",
                f"{_work_of_halves(one):.0%}",
            ]
        )
    heads = [
        "",
        "whole, of the slower half",
        "the most that two cores can do",
        "whole, of that",
        "work of both halves, of the whole's",
    ]
    show("### Both cores do both")
    show(
        "Two workers, as the command starts them, do more than one. Here both halves have both"
        " cores, and so share them when they come together: the best possible is the sum of both,"
        " 1 / (1 / decoding + 1 / encoding) videos a second; where decoding is more than a ninth of"
        " the work, that is less than 90 % of the slower half. The last column counts seconds that"
        " cores were busy, which other work on the machine does not change: what is missing there"
        " is writing shards, passing tasks on, and waiting for one another."
    )
    show(table(heads, rows))


if __name__ == "__main__":
    main()
