import importlib
import importlib.util
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from making.clips import draw_clip, draw_picture

from vidret.extract.clip import ClipEncoder
from vidret.extract.decoding.sampling import uniform_indices
from vidret.extract.models.pictures import Pixels

ROOT = Path(__file__).parents[2]
SECONDS, FPS, SIZE = 2.0, 25, (96, 64)
NEEDS = {  # what a way needs that is not installed with vidret
    "XPOOL": "cv2",
    "XPOOL_SILENT": "cv2",
    "GRABBING": "cv2",
    "DECORD": "decord",
    "TORCHCODEC": "torchcodec",
}
WAYS = (
    "AV",
    "AV_IN_PROCESS",
    "FFMPEG",
    "LOOP",
    "STATIC_LOOP",
    "ALL_WITH_AV",
    *NEEDS,
)


@pytest.fixture
def load(monkeypatch):
    """Import a module as the scripts find it, from the folder that they lie in."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return draw_clip(
        tmp_path_factory.mktemp("clips") / "a.mp4", seconds=SECONDS, fps=FPS, size=SIZE
    )


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")  # ffmpeg's output
@pytest.mark.parametrize("way", WAYS)
def test_every_contender_reads_the_same_frames_and_the_sound(way, load, clip):
    package = NEEDS.get(way)
    if package is not None and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is installed by make bench alone")
    if way == "LOOP" and shutil.which("ffprobe") is None:
        pytest.skip("this loop asks ffprobe, which is not here")
    contenders = load("contenders")
    pictures = contenders.native_pictures(getattr(contenders, way), clip)
    taken = contenders.take(getattr(contenders, way), clip)
    wanted = uniform_indices(round(SECONDS * FPS), 12).tolist()
    assert len(pictures) == len(taken.crops) == 12
    for picture, number in zip(pictures, wanted, strict=True):
        mine = np.abs(picture - draw_picture(number, SIZE).astype(float)).mean()
        others = [
            np.abs(picture - draw_picture(other, SIZE).astype(float)).mean()
            for other in (number - 1, number + 1)
        ]
        assert mine < min(others)
    assert len(taken.sound) / 32_000 == pytest.approx(0 if "SILENT" in way else SECONDS, abs=0.1)


def test_a_crop_is_the_one_that_extract_makes(load):
    picture = draw_picture(3, (320, 240))
    pixels = Pixels(size=224, mean=(0.5,) * 3, std=(0.5,) * 3)
    theirs = ClipEncoder.prepare(SimpleNamespace(pixels=pixels), picture)
    assert torch.equal(load("contenders").crop(picture), theirs)


def test_ways_take_turns_and_the_first_round_does_not_count(load):
    timing, calls = load("timing"), []
    ways = {"quick": lambda: calls.append("quick"), "slow": lambda: time.sleep(0.01)}
    seconds = timing.take_turns(ways, 5)
    assert len(calls) == 6
    assert [len(taken) for taken in seconds.values()] == [5, 5]
    assert timing.times_slower(seconds, "slow", "quick") > 10
    assert timing.times_slower(seconds, "quick", "quick") == 1


def test_a_section_takes_the_place_of_the_older_one(load):
    run = load("run")
    page = run.with_section(run.with_section("# Page\n", "a", "one"), "b", "two")
    changed = run.with_section(page, "a", "## three\n\nand\\1 more")
    assert changed == page.replace("one", "## three\n\nand\\1 more")
    assert changed.index("three") < changed.index("two")


def test_ranks_are_measured_whole_mapped_as_a_command_and_on_the_fly(load, monkeypatch, capsys):
    sizes = ["--matrix", "60x9", "--embeddings", "3000x400", "--width", "4"]
    monkeypatch.setattr(sys, "argv", ["ranks.py", *sizes])
    load("ranks").main()
    told = capsys.readouterr().out
    assert told.startswith("## Ranks")
    assert "60 x 9 " in told
    assert "3,000 captions x 400 videos, embeddings of 4 numbers" in told
    rows = [line.split(" | ") for line in told.splitlines() if line.startswith("| ")]
    ways = [row for row in rows if row[-1].endswith("MiB |")]
    assert [row[0][2:15] for row in ways] == ["the whole mat", "in blocks, fr", "`vidret evalu"]
    assert rows[-1][-1] == "held |"


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")  # torch's workers fork
def test_training_is_measured_beside_a_loader(load, monkeypatch, capsys):
    train = load("train")
    for name, value in {"DIM": 16, "VIDEOS": 10, "BATCHES": (4,)}.items():
        monkeypatch.setattr(train, name, value)
    sizes = ["--captions", "60", "--steps", "3", "--rounds", "1", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["train.py", *sizes])
    train.main()
    told = capsys.readouterr().out
    assert told.startswith("## Training of MGFI")
    assert "60 captions of 7 words on average" in told
    rows = [line.split(" | ") for line in told.splitlines() if line.startswith("| ")]
    ways = [row[0] for row in rows if "batch 4" in row[0]]
    assert [way[2:10] for way in ways] == ["vidret, ", "a DataLo", "batch 4"]
    assert rows[-1][2] == "below 10%"
    assert rows[-1][-1].endswith("MiB |")


@pytest.mark.slow
def test_a_step_of_fine_tuning_is_measured_in_every_way(load, monkeypatch, capsys):
    sizes = ["--device", "cpu", "--backbone", "tiny", "--steps", "1"]
    monkeypatch.setattr(sys, "argv", ["finetune.py", *sizes])
    load("finetune").main()
    told = capsys.readouterr().out
    assert told.startswith("## Fine-tuning end to end")
    rows = [line[2:-2].split(" | ") for line in told.splitlines() if line.startswith("| ")][2:]
    ways = ["plain", "--chunk 2", "--checkpointing", "--checkpointing --chunk 2"]
    assert [row[:3] for row in rows] == [
        [stage, "4", way] for stage in ("video-text", "audio") for way in ways
    ]
    assert all(float(row[3]) > 0 and row[4].endswith("MiB") for row in rows)


def test_the_command_stands_under_the_heading(load):
    printed = load("run").with_command("## Title\n\nText\n", "make bench")
    assert printed.splitlines()[:5] == ["## Title", "", "```", "make bench", "```"]
    assert printed.endswith("Text")


def test_a_search_is_measured_alone_with_many_and_against_all(load, monkeypatch, capsys, tmp_path):
    search = load("search")
    monkeypatch.setattr(search, "BUILD", tmp_path)
    monkeypatch.setattr(search, "PER_SHARD", 128)
    sizes = ["--videos", "400", "--dim", "16", "--queries", "12", "--truth", "4"]
    crowd = ["--clients", "3", "--seconds", "0.1", "--shortlist", "150", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", ["search.py", *sizes, *crowd])
    search.main()
    told = capsys.readouterr().out
    assert told.startswith("## Search among 400 videos")
    rows = dict(line[2:-2].split(" | ") for line in told.splitlines() if line.startswith("| "))
    assert rows["recall@1 against an exhaustive search"] == "100.0%"
    assert rows["questions answered by them"].endswith(", 0 errors")
    assert all(float(rows[f"both, p{share}"].removesuffix(" ms")) > 0 for share in (50, 99))
