"""How long the commands take to read annotation files, with their start, and how much memory.

python benchmarks/annotations.py
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
from report import BUILD, mebibytes, show, show_machine, table, verdict

VIDEOS, TEST, CAPTIONS = 10_000, 1_000, 20
WORDS = 10  # of a caption, 7 letters each with the blank: the real file has 23 MB, too
ASKED_SECONDS, ASKED_BYTES = 2.0, 500e6


def main() -> None:
    """Write files in the form and size of MSR-VTT's, and read them a few times."""
    options = _parse()
    root = options.root or _write_files(BUILD / "msrvtt")
    found = [_verify(root) for _ in range(options.rounds)]
    seconds = float(np.median([seconds for seconds, _ in found]))
    peak = max(peak for _, peak in found)
    size = sum(path.stat().st_size for path in root.glob("MSRVTT_data.json*"))
    show("## Reading annotation files")
    show(
        f"`vidret datasets verify msrvtt-9k --no-look --json` as it is typed, start included: "
        f"{VIDEOS * CAPTIONS:,} captions of {VIDEOS:,} videos ({size / 1e6:.0f} MB of JSON in the "
        "form of MSR-VTT's, words drawn at random), none of the videos there. The median of "
        f"{options.rounds} runs, and the largest peak of memory."
    )
    rows = [
        ["time", f"{seconds:.2f} s", f"{ASKED_SECONDS:g} s", verdict(ASKED_SECONDS, seconds)],
        ["memory", mebibytes(peak), mebibytes(ASKED_BYTES), verdict(ASKED_BYTES, peak)],
    ]
    show(table(["", "measured", "asked for, at most", ""], rows))
    show_machine()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="real files instead")
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args()


def _write_files(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    letters = rng.integers(ord("a"), ord("z") + 1, (2_000, 6), dtype=np.uint8)
    words = np.array([bytes(row).decode() for row in letters])
    drawn = rng.integers(0, len(words), (VIDEOS * CAPTIONS, WORDS))
    order = rng.permutation(VIDEOS)
    ids = [f"video{number}" for number in range(VIDEOS)]
    values = {
        "info": {},
        "videos": [
            {"id": number, "video_id": id_, "category": 0, "url": "", "split": "train"}
            for number, id_ in enumerate(ids)
        ],
        "sentences": [
            {"caption": " ".join(words[row]), "video_id": ids[order[n // CAPTIONS]], "sen_id": n}
            for n, row in enumerate(drawn)
        ],
    }
    (root / "MSRVTT_data.json").write_text(json.dumps(values))
    train = "\n".join(["video_id", *ids[TEST:]])
    (root / "MSRVTT_train.9k.csv").write_text(train)
    test = [f"ret{n},msr{n},{id_},a dog barks" for n, id_ in enumerate(ids[:TEST])]
    lines = "\n".join(["key,vid_key,video_id,sentence", *test])
    (root / "MSRVTT_JSFUSION_test.csv").write_text(lines)
    return root


def _verify(root: Path) -> tuple[float, int]:
    """Seconds of one run, and the most memory that it took."""
    command = [sys.executable, "-m", "vidret.pipelines.cli", "datasets", "verify", "msrvtt-9k"]
    command += ["--no-look", "--json", "--allow-missing", "100%", "--root", str(root)]
    began, peak = time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peak = max(peak, watched.memory_info().rss)
            except psutil.Error:
                break
            time.sleep(0.005)
        said = process.stderr.read() if process.stderr else b""
    if process.returncode:
        raise RuntimeError(said.decode())
    return time.perf_counter() - began, peak


if __name__ == "__main__":
    main()
