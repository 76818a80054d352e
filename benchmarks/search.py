"""How long a search takes among very many videos: the index, its shortlist, the head behind it.

python benchmarks/search.py --videos 1000000

The videos are drawn: directions with a falling spectrum in a few thousand groups, and frames that
stray from them, so that neither lists nor means have it easy. They lie in a cache as `vidret
extract` writes it, and are searched by the code that searches any other.
"""

import argparse
import os
import shutil
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from report import BUILD, mebibytes, number, show, show_machine, table

from vidret.data.batches import Texts
from vidret.data.fingerprint import Fingerprint
from vidret.data.index.store import open_index
from vidret.data.manifest import Manifest, SplitCount, write_manifest
from vidret.data.samples import AudioState, VideoEmbeddings
from vidret.data.shards import write_video_shard
from vidret.data.storage.hdf5 import ShardEntry
from vidret.heads.catalog import build_retriever
from vidret.heads.scoring import scoring
from vidret.pipelines.indexing.building import build_index
from vidret.pipelines.searching.answering import order_of, score_rows
from vidret.pipelines.searching.corpus import Corpus, open_corpus
from vidret.pipelines.searching.ranker import Ranker, digest_of
from vidret.pipelines.searching.shortlist import Shortlister

FRAMES, WORDS, PER_SHARD = 12, 9, 4096
GROUPS, STRAY, GAP = 4_000, 0.7, 1.2  # how far frames stray from their video, and captions from it
SHAKEN = 0.02  # of the head's weights, which so are none that any shortcut could know
AT_ONCE = 1024
P50, RECALL = 20.0, 0.99  # asked of a million on two cores
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What directions of videos are drawn from."""

    dim: int
    spectrum: NDArray[np.float32]
    groups: NDArray[np.float32]

    def videos(self, first: int, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Directions of videos, and their frames; the same numbers give the same videos."""
        rng = np.random.default_rng([1, first])
        own = self.groups[rng.integers(len(self.groups), size=count)]
        own = _unit(own + _unit(rng.normal(size=own.shape) * self.spectrum))
        stray = _unit(rng.normal(size=(count, FRAMES, self.dim)) * self.spectrum)
        return own.astype(np.float32), _unit(own[:, None] + STRAY * stray).astype(np.float32)


def main() -> None:
    """Draw, build, search alone and with many clients, compare with an exhaustive search."""
    options = _parse()
    torch.set_num_threads(options.threads)
    folder = BUILD / f"search-{options.videos}x{options.dim}"
    world = draw_world(options.dim)
    if not (folder / "manifest.json").exists():
        write_cache(folder, world, options.videos)
    began = time.perf_counter()
    corpus = open_corpus(folder)
    opened = time.perf_counter() - began
    ranker = make_ranker(corpus)
    place = folder.with_name(f"{folder.name}-index")
    shutil.rmtree(place, ignore_errors=True)
    began, before = time.perf_counter(), _own()
    with _watched() as most:
        header = build_index(place, ranker, every_frame=options.every_frame)
    built, grown = time.perf_counter() - began, most[0] - before
    stored = open_index(place)
    lister = Shortlister(index=stored, ranker=ranker, unknown=np.zeros(0, np.int64), below=0)
    questions = draw_questions(corpus, world, options.queries)
    began = time.perf_counter()
    reader = None if options.on_disk else corpus.keep_in_memory()  # as `vidret serve` does
    if reader is not None:
        reader.join()
    took = time.perf_counter() - began
    shares = recall(lister, questions[: options.truth], options.shortlist)
    alone = [measure(lister, texts, options.shortlist) for texts in questions]
    crowd, errors = clients(
        lister, questions, options.shortlist, threads=options.clients, seconds=options.seconds
    )
    held = _own()
    size = sum(int(one["bytes"]) for one in header.files.values())
    show(f"## Search among {options.videos:,} videos")
    show(
        f"{options.dim} numbers a frame, {FRAMES} frames a video, head mgfi, a shortlist of "
        f"{options.shortlist}, {stored.vectors['pooled'].looks_into}; {options.threads} threads."
    )
    rows = [
        ["opening the cache", f"{number(opened)} s"],
        ["building the index", f"{number(built)} s, {mebibytes(grown)} of memory at the peak"],
        ["the process then, without the pages of files", mebibytes(held)],
        ["the index on the disk", mebibytes(size)],
        ["nearest vectors found by the lists", f"{header.found:.1%}"],
        ["reading all frames into memory", "-" if reader is None else f"{number(took)} s"],
        *_timed("shortlist", [one[0] for one in alone]),
        *_timed("re-ranking", [one[1] for one in alone]),
        *_timed("both", [sum(one) for one in alone]),
        *(
            [f"recall@{depth} against an exhaustive search", f"{share:.1%}"]
            for depth, share in shares.items()
        ),
        *_timed(f"both, {options.clients} clients at once", crowd),
        ["questions answered by them", f"{len(crowd):,}, {errors} errors"],
    ]
    show(table(["", ""], rows))
    middle = 1000 * statistics.median(sum(one) for one in alone)
    show(
        f"Asked of a million on two cores: p50 under {P50:g} ms, "
        f"{'held' if middle < P50 else '**missed**'} here; recall@10 of {RECALL:.0%} or more, "
        f"{'held' if shares[10] >= RECALL else '**missed**'} here; no error, "
        f"{'held' if not errors else '**missed**'}."
    )
    show_machine()


def draw_world(dim: int) -> World:
    """Groups of directions whose variance falls with the square root of its place."""
    rng = np.random.default_rng(0)
    spectrum = (1 + np.arange(dim, dtype=np.float32)) ** -0.5
    groups = _unit(rng.normal(size=(GROUPS, dim)) * spectrum)
    return World(dim=dim, spectrum=spectrum, groups=groups.astype(np.float32))


def write_cache(folder: Path, world: World, videos: int, *, per_shard: int = PER_SHARD) -> None:
    """The drawn videos as a cache, in shards."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    fingerprint = Fingerprint(
        vidret="0", dataset="drawn", dataset_hash=str(videos), frame_policy="uniform",
        frames=FRAMES, decoder="none", preprocess="none", backbone="drawn", backbone_config="{}",
        backbone_weights="", audio_model="none", audio_weights="", audio_policy="", dtype="float16",
        dim=world.dim, audio_dim=0, logit_scale=100.0,
    )  # fmt: skip
    entries = [
        _write_shard(
            folder / f"videos-{number:05d}.h5",
            world,
            start,
            min(per_shard, videos - start),
            fingerprint,
        )
        for number, start in enumerate(range(0, videos, per_shard))
    ]
    names = ("root", "protocol", "backbone", "audio", "decoder")
    manifest = Manifest(
        fingerprint=fingerprint,
        settings={**dict.fromkeys(names, "drawn"), "notes": [], "shard_size": per_shard},
        splits={"all": SplitCount(videos=videos, captions=0)},
        shards=tuple(entries),
        complete=True,
    )
    write_manifest(folder, manifest)


def make_ranker(corpus: Corpus) -> Ranker:
    """MGFI with weights of its own, as after some training."""
    facts = corpus.cache.fingerprint
    retriever = build_retriever("mgfi", dim=facts.dim, audio_dim=0, logit_scale=100.0).eval()
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in retriever.video_head.parameters():
            scale = SHAKEN if weight.ndim > 1 else SHAKEN / 4
            weight.add_(scale * torch.randn(weight.shape, generator=draw))
    return Ranker(
        name="drawn",
        head="mgfi",
        digest=digest_of("mgfi", retriever, None),
        retriever=retriever,
        run=None,
        projections=None,
        corpus=corpus,
        device=CPU,
        stand_in=None,
    )


def draw_questions(corpus: Corpus, world: World, count: int) -> list[Texts]:
    """Captions of some of the videos: one frame of each is what they are about."""
    rng, questions = np.random.default_rng(2), []
    for row in rng.permutation(len(corpus))[:count].tolist():
        about = corpus.features.frames[row][rng.integers(FRAMES)].astype(np.float32)
        noise = _unit(rng.normal(size=(WORDS + 1, world.dim)) * world.spectrum)
        both = torch.from_numpy(_unit(_unit(about) + GAP * noise).astype(np.float32))
        questions.append(
            Texts(
                sentence=both[:1],
                words=both[None, 1:],
                word_mask=torch.ones(1, WORDS, dtype=torch.bool),
            )
        )
    return questions


def measure(lister: Shortlister, texts: Texts, shortlist: int) -> tuple[float, float]:
    """Seconds of the shortlist, and of the head that ranks it."""
    everyone = np.arange(len(lister.ranker.corpus))
    began = time.perf_counter()
    rows = lister.likely(texts, 1.0, everyone, shortlist)
    between = time.perf_counter()
    _ranked(lister.ranker, texts, rows)
    return between - began, time.perf_counter() - between


def recall(lister: Shortlister, questions: list[Texts], shortlist: int) -> dict[int, float]:
    """Shares of the best videos of an exhaustive search that a search by the index gives."""
    ranker = lister.ranker
    everyone = np.arange(len(ranker.corpus))
    scores = _all_scores(ranker, questions)
    shares: dict[int, list[float]] = {1: [], 10: [], 100: []}
    for texts, own in zip(questions, scores, strict=True):
        found = _ranked(ranker, texts, lister.likely(texts, 1.0, everyone, shortlist))
        truth = order_of(ranker.corpus, everyone, own)
        for depth, told in shares.items():
            told.append(float(np.isin(truth[:depth], found[:depth]).mean()))
    return {depth: float(np.mean(told)) for depth, told in shares.items()}


def clients(
    lister: Shortlister, questions: list[Texts], shortlist: int, *, threads: int, seconds: float
) -> tuple[list[float], int]:
    """Many who ask at once, each anew as soon as it has its answer: seconds, and errors."""
    until = time.monotonic() + seconds

    def one(first: int) -> tuple[list[float], int]:
        taken, errors, place = [], 0, first
        while time.monotonic() < until or not taken:
            began = time.perf_counter()
            try:
                measure(lister, questions[place % len(questions)], shortlist)
            except RuntimeError:
                errors += 1
            taken.append(time.perf_counter() - began)
            place += threads
        return taken, errors

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(one, range(threads)))
    return [second for taken, _ in found for second in taken], sum(errors for _, errors in found)


def _ranked(ranker: Ranker, texts: Texts, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    scored = score_rows(ranker, texts, rows, audio_weight=1.0, searched=len(rows))
    return rows[order_of(ranker.corpus, rows, scored.scores)]


def _all_scores(ranker: Ranker, questions: list[Texts]) -> NDArray[np.float64]:
    """Every score of some questions, by videos prepared once for all of them."""
    texts = Texts(
        sentence=torch.cat([one.sentence for one in questions]),
        words=torch.cat([one.words for one in questions]),
        word_mask=torch.cat([one.word_mask for one in questions]),
    )
    scores = np.empty((len(questions), len(ranker.corpus)))
    with scoring(ranker.retriever):
        ready = ranker.retriever.prepare_texts(texts)
        for start in range(0, len(ranker.corpus), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            videos = ranker.retriever.prepare_videos(ranker.corpus.videos(some))
            parts = ranker.retriever.score_parts(ready, videos)
            scores[:, some] = sum(part.double().numpy() for part in parts.values())
    return scores


def _write_shard(
    path: Path, world: World, start: int, count: int, fingerprint: Fingerprint
) -> ShardEntry:
    _, frames = world.videos(start, count)
    embeddings = [
        VideoEmbeddings(
            id=f"v{start + row:08d}",
            split="all",
            path=f"v{start + row:08d}.mp4",
            size=1,
            content_hash=str(start + row),
            duration=2.0 * FRAMES,
            frames=own,
            times=np.arange(FRAMES) * 2.0,
            indices=np.arange(FRAMES) * 50,
            audio=None,
            audio_state=AudioState.NO_STREAM,
        )
        for row, own in enumerate(frames)
    ]
    return write_video_shard(path, embeddings, [], fingerprint.features_digest)


def _timed(what: str, seconds: list[float]) -> Iterator[list[str]]:
    taken = 1000 * np.array(seconds)
    for share in (50, 99):
        yield [f"{what}, p{share}", f"{number(float(np.percentile(taken, share)))} ms"]


def _unit(values: NDArray[np.floating]) -> NDArray[np.floating]:
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


@contextmanager
def _watched() -> Iterator[list[int]]:
    """The most memory of its own that the process takes meanwhile, without the pages of files."""
    most, over = [_own()], Event()

    def watch() -> None:
        while not over.wait(0.05):
            most[0] = max(most[0], _own())

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()


def _own() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) << 10
    return int(psutil.Process().memory_info().rss)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--truth", type=int, default=40, help="questions compared with all scores")
    parser.add_argument("--shortlist", type=int, default=200)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--on-disk", action="store_true", help="leave frames where they are")
    parser.add_argument("--every-frame", action="store_true")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
