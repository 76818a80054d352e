"""What Dask takes for each of very many tasks, and what vidret itself takes for as many shards.

python benchmarks/scheduler.py --tasks 100000
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from report import mebibytes, number, show, show_machine, table
from stub import finish_at_once

from vidret.data.catalog import dataset_hash
from vidret.data.fingerprint import Fingerprint
from vidret.data.manifest import MANIFEST, Manifest, SplitCount, read_manifest, write_manifest
from vidret.data.samples import (
    AudioState,
    Caption,
    Dataset,
    TextEmbeddings,
    Video,
    VideoEmbeddings,
)
from vidret.data.shards import write_caption_shard, write_video_shard
from vidret.data.storage.hdf5 import ShardEntry
from vidret.extract.encoders import EncoderSpec
from vidret.extract.plan import CAPTIONS_PER_SHARD, VideoShard, plan_shards
from vidret.extract.schedule import Job, Place, dask_client, run_jobs
from vidret.extract.task import TaskSettings

WORKERS = 2
SHARD = 16  # videos
LOOKS = 50  # at memory, over a run
WARM = LOOKS // 2  # from here growth counts: the logs that Dask keeps are full by then
FRAMES, DIM, AUDIO_DIM, WORDS = 12, 512, 2048, 10  # ViT-B/32 and Cnn14, captions of ten words
WRITTEN = 200  # shards, to see how large they are and how long it takes to look through them
CORPUS = 10_000_000  # videos
DIGEST = "0123456789ab"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How things stood after some tasks."""

    done: int
    scheduler: int  # bytes of its process
    client: int
    tasks: int  # that the scheduler knows


@dataclass(slots=True, kw_only=True)
class Run:
    """Very many tasks through one cluster."""

    name: str
    tasks: int
    seconds: float = 0.0
    cpu: float = 0.0  # of the scheduler's process
    apart: bool = False  # the scheduler has a process of its own
    looks: list[Look] = field(default_factory=list)

    def growth(self, of: Callable[[Look], int]) -> float:
        """Bytes a task, once everything is warm."""
        first, last = self.looks[WARM], self.looks[-1]
        return (of(last) - of(first)) / (last.done - first.done)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What a dataset of very many videos takes in vidret's own process."""

    videos: int
    shards: int
    dataset: int  # bytes in memory
    plan: int
    peak: int
    hash_seconds: float
    plan_seconds: float
    write_seconds: float
    read_seconds: float
    manifest: int  # bytes on disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What a shard of real width takes: on disk, and to look through when a run begins again."""

    videos: int  # bytes of a video shard
    captions: int  # bytes of a caption
    seconds: float  # a video shard


def main() -> None:
    """Run the tasks, plan the shards, and work out what a much larger corpus takes."""
    options = _parse()
    runs = [_run(name, way, options.tasks) for name, way in CLUSTERS.items()]
    with get_context("spawn").Pool(1) as fresh:  # its memory holds nothing else
        planned = fresh.apply(_plan, (options.tasks * SHARD,))
    looked = _look_through()
    show("## Scheduler")
    _show_runs(runs)
    _show_plan(planned, looked)
    _show_corpus(runs, planned, looked)
    show_machine()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000, help="shards of 16 videos")
    return parser.parse_args()


# Tasks


@contextmanager
def _own_cluster() -> Iterator[tuple[Place, int]]:
    """The cluster that vidret starts by itself: the scheduler is a part of its process."""
    yield Place(workers=WORKERS), os.getpid()


@contextmanager
def _other_cluster() -> Iterator[tuple[Place, int]]:
    """A scheduler and workers that somebody has started."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vidret-")))
        file = folder / "scheduler.json"
        local = ["--host", "127.0.0.1", "--scheduler-file", str(file)]
        port = ["--port", "0", "--dashboard-address", "127.0.0.1:0"]
        scheduler = stack.enter_context(_dask("scheduler", *local, *port))
        while not file.exists():
            time.sleep(0.1)
        alone = ["--no-nanny", "--no-dashboard", "--nthreads", "1", "--memory-limit", "0"]
        for _ in range(WORKERS):
            stack.enter_context(_dask("worker", *local, *alone, "--local-directory", str(folder)))
        yield Place(scheduler_file=file), scheduler.pid


CLUSTERS = {"started by vidret": _own_cluster, "`dask scheduler`, apart": _other_cluster}


@contextmanager
def _dask(*arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    here = {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("dask")), *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **here},
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _run(name: str, way: Callable[[], Any], tasks: int) -> Run:
    settings = _settings()
    with way() as (place, pid), dask_client(place) as client:
        client.wait_for_workers(WORKERS)
        scheduler, own = psutil.Process(pid), psutil.Process()
        run = Run(name=name, tasks=tasks, apart=pid != own.pid)
        cpu, began = _cpu_seconds(scheduler), time.monotonic()
        results = []
        for done, (_, result) in enumerate(run_jobs(client, _jobs(tasks, settings)), start=1):
            results.append(result)  # as the pipeline does
            if done % max(1, tasks // LOOKS) == 0:
                run.looks.append(
                    Look(
                        done=done,
                        scheduler=scheduler.memory_info().rss,
                        client=own.memory_info().rss,
                        tasks=client.run_on_scheduler(_count_tasks),
                    )
                )
        run.seconds = time.monotonic() - began
        run.cpu = _cpu_seconds(scheduler) - cpu
    assert len({result.entry.file for result in results}) == tasks
    return run


def _jobs(tasks: int, settings: TaskSettings) -> Iterator[Job[Any]]:
    for place in range(tasks):
        videos = tuple(_video(place * SHARD + row) for row in range(SHARD))
        shard = VideoShard(file=f"videos-{place:05d}.h5", videos=videos)
        yield Job(finish_at_once, (shard, settings, ()))


def _video(place: int) -> Video:
    name = f"{place // 1000:05d}/video-{place:08d}.mp4"
    return Video(id=name, path=Path("/shared/corpus/videos") / name, split="test")


def _settings() -> TaskSettings:
    return TaskSettings(
        folder=Path("/shared/vidret/cache/folder-f12-0123456789ab"),
        root=Path("/shared/corpus/videos"),
        frames=FRAMES,
        decoder="av",
        encoders=EncoderSpec(backbone="tiny", audio="tiny", device="auto", offline=True),
        features_digest=DIGEST,
    )


def _count_tasks(dask_scheduler: Any) -> int:  # noqa: ANN401 - Dask's scheduler
    return len(dask_scheduler.tasks)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


# Plans


def _plan(videos: int) -> Planned:
    before = _resident()
    dataset = Dataset(
        name="folder",
        root=Path("/shared/corpus/videos"),
        videos=tuple(_video(place) for place in range(videos)),
        captions=tuple(
            Caption(
                id=f"caption-{place:08d}",
                video_id=f"{place // 1000:05d}/video-{place:08d}.mp4",
                text=f"caption {place} says in ten words what there is to see",
            )
            for place in range(videos)
        ),
        protocol="pairs",
    )
    in_memory = _resident()
    hashed = time.monotonic()
    hash_of_it = dataset_hash(dataset)
    began = time.monotonic()
    plan = plan_shards(dataset, Path("/nowhere/cache"), shard_size=SHARD, features_digest=DIGEST)
    planned, with_plan = time.monotonic(), _resident()
    entries = [_entry(shard.file, "video", SHARD) for shard in plan.videos]
    entries += [_entry(shard.file, "caption", CAPTIONS_PER_SHARD) for shard in plan.captions]
    manifest = Manifest(
        fingerprint=_fingerprint(hash_of_it),
        settings={},
        splits={"test": SplitCount(videos=videos, captions=videos)},
        shards=tuple(entries),
        complete=True,
    )
    with tempfile.TemporaryDirectory(prefix="vidret-") as place:
        writing = time.monotonic()
        write_manifest(Path(place), manifest)
        reading = time.monotonic()
        assert len(read_manifest(Path(place)).shards) == len(entries)
        read = time.monotonic()
        size = (Path(place) / MANIFEST).stat().st_size
    return Planned(
        videos=videos,
        shards=len(entries),
        dataset=in_memory - before,
        plan=with_plan - in_memory,
        peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        hash_seconds=began - hashed,
        plan_seconds=planned - began,
        write_seconds=reading - writing,
        read_seconds=read - reading,
        manifest=size,
    )


def _entry(file: str, kind: Any, items: int) -> ShardEntry:  # noqa: ANN401 - a literal
    return ShardEntry(
        file=file,
        kind=kind,
        items=items,
        failed=0,
        bytes=262_144,
        checksum="0123456789abcdef0123456789abcdef",
        fingerprint=DIGEST,
    )


def _fingerprint(hash_of_it: str) -> Fingerprint:
    return Fingerprint(
        vidret="0",
        dataset="folder",
        dataset_hash=hash_of_it,
        frame_policy="uniform",
        frames=FRAMES,
        decoder="av",
        preprocess="224",
        backbone="ViT-B-32-quickgelu",
        backbone_config="{}",
        backbone_weights="",
        audio_model="Cnn14",
        audio_weights="",
        audio_policy="",
        dtype="float16",
        dim=DIM,
        audio_dim=AUDIO_DIM,
        logit_scale=100.0,
    )


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)


# Shards


def _look_through() -> Looked:
    """Write some shards as wide as real ones, and plan over them as a run that continues does."""
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="vidret-") as place:
        folder = Path(place) / "cache"
        folder.mkdir()
        entries = [
            write_video_shard(
                folder / f"videos-{shard:05d}.h5",
                [_embedded(shard * SHARD + row, random) for row in range(SHARD)],
                [],
                DIGEST,
            )
            for shard in range(WRITTEN)
        ]
        texts = [_encoded(row, random) for row in range(CAPTIONS_PER_SHARD)]
        captions = write_caption_shard(folder / "captions-00000.h5", texts, DIGEST)
        videos = tuple(_video(number) for number in range(WRITTEN * SHARD))
        dataset = Dataset(
            name="folder",
            root=Path("/shared/corpus/videos"),
            videos=videos,
            captions=(),
            protocol="pairs",
        )
        (folder / "captions-00000.h5").unlink()
        began = time.monotonic()
        plan = plan_shards(dataset, folder, shard_size=SHARD, features_digest=DIGEST)
        seconds = time.monotonic() - began
    assert not plan.videos
    return Looked(
        videos=sum(entry.bytes for entry in entries) // WRITTEN,
        captions=captions.bytes // CAPTIONS_PER_SHARD,
        seconds=seconds / WRITTEN,
    )


def _embedded(place: int, random: np.random.Generator) -> VideoEmbeddings:
    video = _video(place)
    return VideoEmbeddings(
        id=video.id,
        split=video.split,
        path=video.id,
        size=1_000_000 + place,
        content_hash=f"{place:032x}",
        duration=10.0,
        frames=random.standard_normal((FRAMES, DIM), np.float32),
        times=np.arange(FRAMES) / 2,
        indices=np.arange(FRAMES) * 12,
        audio=random.standard_normal(AUDIO_DIM, np.float32),
        audio_state=AudioState.OK,
        num_frames=250,
        width=320,
        height=240,
        codec="h264",
    )


def _encoded(place: int, random: np.random.Generator) -> TextEmbeddings:
    return TextEmbeddings(
        id=f"caption-{place:08d}",
        video_id=_video(place).id,
        text=f"caption {place} says in ten words what there is to see",
        kind="",
        sentence=random.standard_normal(DIM, np.float32),
        words=random.standard_normal((WORDS, DIM), np.float32),
        tokens=np.arange(WORDS),
    )


# The tables


def _show_runs(runs: Sequence[Run]) -> None:
    show(
        f"{runs[0].tasks:,} tasks that have nothing to do, each with a shard of {SHARD} videos as"
        f" vidret hands it out and a result as it comes back, through {WORKERS} workers. Memory is"
        " what the process holds (RSS). Where vidret starts the cluster, the scheduler is a part of"
        " its own process. Growth is that of the second half: by then the logs that Dask keeps are"
        " full."
    )
    columns: dict[str, Callable[[Run], str]] = {
        "cluster": lambda run: run.name,
        "took": lambda run: f"{run.seconds:.0f} s",
        "a task": lambda run: f"{1000 * run.seconds / run.tasks:.2f} ms",
        "of the processor, in the scheduler's process": lambda run: (
            f"{1000 * run.cpu / run.tasks:.2f} ms"
        ),
        "most tasks with the scheduler": lambda run: str(max(look.tasks for look in run.looks)),
        "scheduler: first look, last look": lambda run: _from_to(run, lambda look: look.scheduler),
        "growth a task": lambda run: _bytes(run.growth(lambda look: look.scheduler)),
        "vidret: first look, last look": lambda run: _from_to(run, lambda look: look.client),
        "growth a task ": lambda run: _bytes(run.growth(lambda look: look.client)),
    }
    show(table(list(columns), [[cell(run) for cell in columns.values()] for run in runs]))


def _from_to(run: Run, of: Callable[[Look], int]) -> str:
    return f"{mebibytes(of(run.looks[0]))}, {mebibytes(of(run.looks[-1]))}"


def _bytes(size: float) -> str:
    return f"{size:,.0f} bytes"


def _show_plan(planned: Planned, looked: Looked) -> None:
    show(
        f"A dataset of {planned.videos:,} videos with one caption each, which is {planned.shards:,}"
        " shards, in a process of its own:"
    )
    rows = [
        ["the dataset in memory", mebibytes(planned.dataset)],
        ["the plan beside it", mebibytes(planned.plan)],
        ["peak of the process", mebibytes(planned.peak)],
        ["hash of the dataset", f"{planned.hash_seconds:.1f} s"],
        ["plan of an empty cache", f"{planned.plan_seconds:.1f} s"],
        ["manifest on disk", f"{mebibytes(planned.manifest)}"],
        ["a shard in the manifest", _bytes(planned.manifest / planned.shards)],
        ["writing it, reading it", f"{planned.write_seconds:.1f} s, {planned.read_seconds:.1f} s"],
        ["looking through a finished shard", f"{1000 * looked.seconds:.1f} ms"],
        [f"a video shard on disk ({FRAMES} x {DIM} and {AUDIO_DIM})", _bytes(looked.videos)],
        [f"a caption on disk ({WORDS} words of {DIM})", _bytes(looked.captions)],
    ]
    show(table(["", ""], rows))


def _show_corpus(runs: Sequence[Run], planned: Planned, looked: Looked) -> None:
    apart = next(run for run in runs if run.apart)
    shards, times = CORPUS / SHARD, CORPUS / planned.videos
    grown = apart.looks[-1].scheduler + apart.growth(lambda look: look.scheduler) * shards
    disk = shards * looked.videos + CORPUS * looked.captions
    show(f"Worked out from it, for {CORPUS:,} videos with a caption each:")
    rows = [
        ["tasks", f"{shards:,.0f}"],
        [
            "Dask's own time for them",
            f"{number(shards * apart.seconds / apart.tasks / 60)} minutes",
        ],
        ["memory of the scheduler at the end", mebibytes(grown)],
        ["memory of vidret: dataset and plan", mebibytes(times * (planned.dataset + planned.plan))],
        ["the same at its highest, while it hashes", mebibytes(times * planned.peak)],
        ["planning", f"{times * (planned.hash_seconds + planned.plan_seconds) / 60:.1f} minutes"],
        [
            "looking through all shards when a run continues",
            f"{shards * looked.seconds / 60:.0f} minutes",
        ],
        ["manifest", mebibytes(times * planned.manifest)],
        ["cache on disk", f"{disk / 1e9:,.0f} GB"],
    ]
    show(table(["", ""], rows))


if __name__ == "__main__":
    main()
