"""What a search over the workers of a cluster costs beside one in a single process.

python benchmarks/spread.py --videos 200000

The videos are those of `search.py`. First their number is kept and the workers answer for more and
more shares, then there are hardly any videos, so that what is left is the price of asking.
"""

import argparse
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import search
import torch
from report import BUILD, mebibytes, number, show, show_machine, table

from vidret.extract.clip import EncodedText
from vidret.extract.schedule import Place, dask_client
from vidret.pipelines.indexing.shares import SharedIndex
from vidret.pipelines.indexing.upkeep import make_anew
from vidret.pipelines.searching import parts as tasks
from vidret.pipelines.searching.answering import best_hits, score_question
from vidret.pipelines.searching.answers import Question
from vidret.pipelines.searching.asking import Read
from vidret.pipelines.searching.corpus import open_corpus
from vidret.pipelines.searching.crew import Crew
from vidret.pipelines.searching.parts import Asked
from vidret.pipelines.searching.scene import Part, open_scene

if TYPE_CHECKING:
    from distributed import Client

HEAD, TOP = "mean", 10
FEW, SHARES, FEW_QUESTIONS = 2_000, (1, 8, 32, 128), 25


def main() -> None:
    """One process, then workers, then nothing but asking."""
    options = _parse()
    torch.set_num_threads(1)
    world = search.draw_world(options.dim)
    folder = _drawn(world, options.videos, search.PER_SHARD)
    asked = _questions(world, folder, options.queries)
    work = BUILD / "spread-work"
    shutil.rmtree(work, ignore_errors=True)
    one, hits = _alone(work, folder, asked)
    rows = [["one process", *one]]
    with _workers(options.workers, work) as client:
        began = time.perf_counter()
        shared = SharedIndex(
            client, work=work, cache=folder, head=HEAD, run_folder=None, device="cpu"
        )
        opened = time.perf_counter() - began
        began = time.perf_counter()
        shared.build(every_frame=False)
        built = time.perf_counter() - began
        taken, found = _asked(Crew(client), shared.parts, asked)
        memory = max(client.run(_memory).values())
        alike = np.mean([first == second for first, second in zip(hits, found, strict=True)])
        several = f"{options.workers} workers, a share each"
        rows.append([several, *_row(opened, built, taken, memory)])
        small = _drawn(world, FEW, FEW // max(SHARES))
        prices = [_price(client, work, small, count, asked[:FEW_QUESTIONS]) for count in SHARES]
    show(f"## Search over workers, {options.videos:,} videos")
    show(
        f"{options.dim} numbers a frame, head {HEAD}, a shortlist of 200 of each share, one thread "
        f"a process; {alike:.1%} of {len(asked)} questions have the same ten answers in the same "
        "order both ways."
    )
    show(table(["", "opening", "index", "p50", "p99", "memory of a process"], rows))
    show(
        f"The price of asking, {FEW:,} videos, {min(len(asked), FEW_QUESTIONS)} questions: "
        f"{options.workers} workers, the scheduler in the process that asks."
    )
    columns = ["nothing to do, p50", "p99", "a question, p50", "p99"]
    show(table(["shares", *columns], prices))
    show_machine()


def _alone(work: Path, folder: Path, asked: list[Asked]) -> tuple[list[str], list[list[str]]]:
    part = Part(work=work, cache=folder, runs=((HEAD, None),), device="cpu")
    began = time.perf_counter()
    scene = open_scene(part)
    opened = time.perf_counter() - began
    began = time.perf_counter()
    make_anew(work, scene.ranker(None), every_frame=False)
    built = time.perf_counter() - began
    scene, taken, found = open_scene(part, scene), [], []
    for one in asked:
        began = time.perf_counter()
        ranker = scene.ranker(None)
        texts = ranker.texts(one.read.encoded)
        scored = score_question(ranker, one.question, texts, scene.shortlisters[ranker.name])
        hits = best_hits(ranker, texts, scored, TOP, None)
        taken.append(time.perf_counter() - began)
        found.append([hit.video_id for hit in hits])
    return _row(opened, built, taken, _memory()), found


def _asked(
    crew: Crew, parts: list[Part], asked: list[Asked]
) -> tuple[list[float], list[list[str]]]:
    taken, found = [], []
    for one in asked:
        began = time.perf_counter()
        answers = crew.ask(parts, tasks.candidates, [one])
        hits = sorted(
            (hit for (answer,) in answers for hit in answer.hits),
            key=lambda hit: (-hit.score, hit.video_id),
        )
        taken.append(time.perf_counter() - began)
        found.append([hit.video_id for hit in hits[:TOP]])
    return taken, found


def _price(client: "Client", work: Path, cache: Path, of: int, asked: list[Asked]) -> list[str]:
    crew = Crew(client)
    runs = ((HEAD, None),)
    parts = [
        Part(work=work, cache=cache, runs=runs, device="cpu", number=number, of=of)
        for number in range(of)
    ]
    crew.ask(parts, tasks.look)
    empty = []
    for _ in asked:
        began = time.perf_counter()
        crew.ask(parts, tasks.mean_of, "no video")
        empty.append(time.perf_counter() - began)
    taken, _ = _asked(crew, parts, asked)
    return [str(of), *_percentiles(empty), *_percentiles(taken)]


def _questions(world: search.World, folder: Path, count: int) -> list[Asked]:
    asked = []
    for place, texts in enumerate(search.draw_questions(open_corpus(folder), world, count)):
        encoded = EncodedText(
            sentence=texts.sentence[0].numpy(),
            words=texts.words[0].numpy(),
            tokens=np.zeros(search.WORDS, np.int64),
            truncated=False,
        )
        question = Question(text=f"question {place}", top=TOP)
        read = Read(encoded=encoded, tokens=(), truncated=False)
        asked.append(Asked(question=question, head=HEAD, read=read))
    return asked


def _drawn(world: search.World, videos: int, per_shard: int) -> Path:
    folder = BUILD / f"spread-{videos}x{world.dim}"
    if not (folder / "manifest.json").exists():
        search.write_cache(folder, world, videos, per_shard=per_shard)
    return folder


@contextmanager
def _workers(count: int, work: Path) -> Iterator["Client"]:
    os.environ["OMP_NUM_THREADS"] = "1"
    with dask_client(Place(workers=count, tools=work / "tools")) as client:
        yield client


def _row(opened: float, built: float, taken: list[float], memory: int) -> list[str]:
    return [
        f"{number(opened)} s",
        f"{number(built)} s",
        *_percentiles(taken),
        mebibytes(memory),
    ]


def _percentiles(taken: list[float]) -> list[str]:
    return [f"{number(1000 * float(np.percentile(taken, share)))} ms" for share in (50, 99)]


def _memory() -> int:
    """What the process has of its own, without the pages of files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) << 10
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
