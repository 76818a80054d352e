"""Time and memory of ranks: a matrix of MSVD's size, and one that no memory holds.

python benchmarks/ranks.py
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from report import mebibytes, number, show, show_machine, table, verdict

from vidret.heads.metrics import summarize, text_to_video_ranks, video_to_text_ranks
from vidret.heads.protocols import score_protocol
from vidret.heads.streaming import DEFAULT_MEMORY, BothRanks, ranks_in_blocks

MSVD = "27763x670"
LARGE = "1000000x100000"
WIDTH = 64  # of the embeddings
NEAR = 3.0  # noise of a text about its video, in spreads of the videos: some are found, some not
AT_ONCE = 2**14  # texts that are drawn together
COMMAND = """
import atexit, sys
from pathlib import Path
def tell():
    lines = Path("/proc/self/status").read_text().splitlines()
    sys.stderr.write(next(line for line in lines if line.startswith("VmHWM")).split()[1])
atexit.register(tell)
from vidret.pipelines.program import main
main()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one ranking took: `memory` is the peak above what was there before it."""

    seconds: float
    memory: int
    t2v: dict[str, float]
    v2t: dict[str, float]


def main() -> None:
    """Rank a matrix in three ways and embeddings in one, each in a process of its own."""
    options = _parse()
    show("## Ranks")
    with tempfile.TemporaryDirectory(prefix="vidret-") as folder:
        _show_matrix(*_size(options.matrix), options.width, Path(folder))
    _show_embeddings(*_size(options.embeddings), options.width)
    show_machine()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--matrix", default=MSVD, help="TEXTSxVIDEOS in a file")
    parser.add_argument("--embeddings", default=LARGE, help="TEXTSxVIDEOS scored on the fly")
    parser.add_argument("--width", type=int, default=WIDTH, help="of an embedding")
    return parser.parse_args()


def _size(text: str) -> tuple[int, int]:
    texts, videos = text.split("x")
    return int(texts), int(videos)


# A matrix in a file


def _show_matrix(texts: int, videos: int, width: int, folder: Path) -> None:
    sims, owners = folder / "sims.npy", folder / "owners.npy"
    _write_matrix(texts, videos, width, sims, owners)
    ways = {
        "the whole matrix (`heads/metrics.py`)": _in_fresh_process(_rank_whole, sims, owners),
        "in blocks, from the mapped file (`score_protocol`)": _in_fresh_process(
            _rank_mapped, sims, owners
        ),
    }
    first, *others = ways.values()
    assert all((other.t2v, other.v2t) == (first.t2v, first.v2t) for other in others)
    seconds, peak = _run_command(sims, owners)
    show(
        f"{texts:,} x {videos:,} (MSVD's test has 27,763 x 670), float32,"
        f" {mebibytes(4 * texts * videos)} in a file, both directions, video to text by group. The"
        " memory of the first two is what ranking adds to a process, the file's own pages included"
        " where it is mapped; the whole matrix is read before. That of the command is all it takes."
    )
    rows = [[name, f"{one.seconds:.2f} s", mebibytes(one.memory)] for name, one in ways.items()]
    rows.append(["`vidret evaluate --sims`, start included", f"{seconds:.2f} s", mebibytes(peak)])
    show(table(["", "time", "peak of memory"], rows))


def _write_matrix(texts: int, videos: int, width: int, sims: Path, owners: Path) -> None:
    of_texts, of_videos, columns = _draw(texts, videos, width)
    np.save(sims, of_texts @ of_videos.T)
    np.save(owners, columns)


def _rank_whole(sims: Path, owners: Path) -> Measured:
    similarity, columns = np.load(sims), np.load(owners)
    return _measure(
        lambda: BothRanks(
            t2v=text_to_video_ranks(similarity, columns),
            v2t=video_to_text_ranks(similarity, columns),
        )
    )


def _rank_mapped(sims: Path, owners: Path) -> Measured:
    similarity, columns = np.load(sims, mmap_mode="r"), np.load(owners)
    before, began = _settled(), time.perf_counter()
    found = score_protocol(similarity, columns, "multi-group")
    seconds = time.perf_counter() - began
    return Measured(seconds=seconds, memory=_status("VmHWM") - before, t2v=found.t2v, v2t=found.v2t)


def _run_command(sims: Path, owners: Path) -> tuple[float, int]:
    """The command as it is typed: its time and the peak of its memory."""
    line = ["--sims", str(sims), "--owners", str(owners), "--protocol", "msvd-multi", "--json"]
    began = time.perf_counter()
    finished = subprocess.run(
        [sys.executable, "-c", COMMAND, "evaluate", *line],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    return time.perf_counter() - began, int(finished.stderr.split()[-1]) << 10


# Embeddings


def _show_embeddings(texts: int, videos: int, width: int) -> None:
    found = _in_fresh_process(_rank_embeddings, texts, videos, width)
    bound = DEFAULT_MEMORY + 72 * texts + 64 * videos
    show(
        f"{texts:,} captions x {videos:,} videos, embeddings of {width} numbers, scored block by"
        f" block as they are needed, both directions, video to text by group. As a whole the"
        f" similarities would be {mebibytes(4 * texts * videos)}. The bound is the formula of"
        " `heads/streaming.py`: memory above the embeddings, as the kernel saw it."
    )
    pairs = texts * videos / found.seconds
    row = [
        f"{found.seconds:,.1f} s",
        number(pairs / 1e6),
        mebibytes(found.memory),
        mebibytes(bound),
        verdict(bound, found.memory),
    ]
    show(table(["time", "million pairs a second", "peak of memory", "bound", ""], [row]))
    show(
        f"Text to video R@1 {found.t2v['R@1']:.1f}, MnR {found.t2v['MnR']:,.1f}; video to text R@1"
        f" {found.v2t['R@1']:.1f}, MnR {found.v2t['MnR']:,.1f}: texts are drawn about their videos."
    )


def _rank_embeddings(texts: int, videos: int, width: int) -> Measured:
    of_texts, of_videos, owners = _draw(texts, videos, width)
    of_texts[:2] @ of_videos[:2].T  # what the library of matrix products sets up once

    def score(rows: Any, columns: slice) -> NDArray[np.float32]:  # noqa: ANN401 - slice or numbers
        return of_texts[rows] @ of_videos[columns].T

    return _measure(lambda: ranks_in_blocks(score, owners, videos))


def _draw(
    texts: int, videos: int, width: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Texts about their videos, whose captions lie scattered, and the videos themselves."""
    draw = np.random.default_rng(0)
    of_videos = draw.standard_normal((videos, width), np.float32)
    of_texts = draw.standard_normal((texts, width), np.float32)
    owners = draw.integers(videos, size=texts)
    for start in range(0, texts, AT_ONCE):
        some = slice(start, start + AT_ONCE)
        of_texts[some] = NEAR * of_texts[some] + of_videos[owners[some]]
    return of_texts, of_videos, owners


# Measuring


def _in_fresh_process(way: Callable[..., Measured], *arguments: object) -> Measured:
    with get_context("spawn").Pool(1) as fresh:  # its memory holds nothing else
        return fresh.apply(way, arguments)


def _measure(rank: Callable[[], BothRanks]) -> Measured:
    before, began = _settled(), time.perf_counter()
    ranks = rank()
    seconds = time.perf_counter() - began
    return Measured(
        seconds=seconds,
        memory=_status("VmHWM") - before,
        t2v=summarize(ranks.t2v),
        v2t=summarize(ranks.v2t),
    )


def _settled() -> int:
    """Bytes that this process holds now; the kernel forgets that it ever held more."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) << 10


if __name__ == "__main__":
    main()
