"""The tasks of an extraction, in order, and what the progress line says of them."""

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from vidret.data.samples import Dataset
from vidret.data.storage.locks import folder_lock
from vidret.data.synth.dataset import CAPTIONS_FILE, draw_clips, write_captions
from vidret.data.synth.script import Clip
from vidret.extract.plan import Plan, VideoShard
from vidret.extract.planning.pixel_plan import PixelPlan
from vidret.extract.schedule import CPU, Job, run_jobs
from vidret.extract.task import (
    TaskResult,
    TaskSettings,
    extract_captions,
    extract_videos,
    store_pixels,
)
from vidret.extract.telling import hearing
from vidret.pipelines.display.progress import OnProgress, Progress

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

CLIPS_PER_TASK = 8
LATEST = 16  # results that say where the time goes now
TELLING = 5.0  # seconds of work below which nothing is said

ENCODE_BOUND = {False: "encode-bound: a GPU would help", True: "encode-bound: add a GPU"}
DECODE_BOUND = {
    False: "decode-bound: more cores would help",
    True: "decode-bound: raise --decoders",
}


@dataclass(slots=True)
class Pace:
    """Which of the two is the slower one: decoding or encoding."""

    on_gpu: bool
    latest: deque[TaskResult] = field(default_factory=lambda: deque(maxlen=LATEST))

    def note(self) -> str:
        """What to change, in a few words; nothing while there is little to tell from."""
        waited = sum(result.waited for result in self.latest)
        busy = sum(result.busy for result in self.latest)
        if waited + busy < TELLING:
            return ""
        return (DECODE_BOUND if waited > busy else ENCODE_BOUND)[self.on_gpu]


def draw(
    client: "Client", dataset: Dataset, clips: Sequence[Clip], on_progress: OnProgress
) -> None:
    """Draw the clips of the synthetic set that are not there yet."""
    folder = dataset.root
    if not clips and (folder / CAPTIONS_FILE).exists():
        return
    portions = [
        clips[start : start + CLIPS_PER_TASK] for start in range(0, len(clips), CLIPS_PER_TASK)
    ]
    total, drawn = len(dataset.videos), len(dataset.videos) - len(clips)
    on_progress(Progress(done=drawn, total=total, note="drawing the clips"))
    with folder_lock(folder), folder_lock(folder / "videos"):  # other frame counts share the clips
        jobs = (Job(draw_clips, (portion, folder), wants=CPU) for portion in portions)
        for _, number in run_jobs(client, jobs):
            drawn += number
            on_progress(Progress(done=drawn, total=total, note="drawing the clips"))
        write_captions(folder, dataset)


def run_tasks(
    client: "Client",
    plan: Plan,
    pixels: PixelPlan,
    settings: TaskSettings,
    *,
    progress: Progress,
    pace: Pace,
    only_pixels: bool,
    on_progress: OnProgress,
) -> Iterator[TaskResult]:
    """Make what is planned; results come as they are ready.

    Pixels come first where they are to be kept, and each shard of them is followed by the encoding
    of its videos, so that the two kinds of work go on side by side.
    """
    encodings = {} if only_pixels else {shard.file: shard for shard in plan.videos}
    after = {pixels.video_file(shard): shard for shard in pixels.todo}

    def encoding(shard: VideoShard) -> Job[TaskResult]:
        return Job(extract_videos, (shard, settings, pixels.sources(shard)))

    def jobs() -> Iterator[Job[TaskResult]]:
        for shard in pixels.todo:
            yield Job(store_pixels, (shard, settings, pixels.sources_to_store(shard)), wants=CPU)
        yield from (encoding(shard) for name, shard in encodings.items() if name not in after)
        if not only_pixels:
            yield from (Job(extract_captions, (shard, settings)) for shard in plan.captions)

    def then(job: Job[TaskResult], _result: TaskResult) -> Job[TaskResult] | None:
        if job.task is not store_pixels:
            return None
        shard = encodings.get(pixels.video_file(job.arguments[0]))
        return None if shard is None else encoding(shard)

    on_progress(progress)

    def show() -> None:
        on_progress(replace(progress, done=progress.done + heard.videos))

    made = {settings.folder / name for name in encodings}
    with hearing(client, made, show) as heard:
        for _, result in run_jobs(client, jobs(), then=then):
            before = progress
            ended = result.entry.kind == "video" or (
                result.entry.kind == "pixel" and pixels.video_file(result.entry) not in encodings
            )
            with heard.lock:
                heard.close(settings.folder / result.entry.file)
                progress = _advance(progress, result, pace, ended=ended)
                if progress != before:
                    show()
            yield result


def _advance(progress: Progress, result: TaskResult, pace: Pace, *, ended: bool) -> Progress:
    """Count the videos of a result, if nothing more is to be done with them."""
    if result.entry.kind == "video":
        pace.latest.append(result)
    if not ended:
        return replace(progress, note=pace.note())
    return replace(
        progress,
        done=progress.done + result.videos - result.entry.failed,
        failed=progress.failed + result.entry.failed,
        note=pace.note(),
    )
