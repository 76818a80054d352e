"""Twelve frames and the sound of a file on one core: vidret's decoders beside those of others.

python benchmarks/decode.py
"""

import argparse
import gc
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from clips import Form, draw, source_of
from contenders import (
    ALL_WITH_AV,
    AV,
    LOOP,
    OTHERS,
    OURS,
    TORCHCODEC,
    XPOOL,
    XPOOL_SILENT,
    Contender,
    native_pictures,
    take,
)
from report import CLIPS, number, show, show_machine, table, verdict
from timing import Seconds, busy_seconds, median, take_turns, times_slower

SMALL = Form(name="240p", width=320, height=240, rate=25, seconds=10, film="bikes.mp4")
MIDDLE = Form(name="720p", width=1280, height=720, rate=30, seconds=20, film="bikes.mp4")
LARGE = Form(name="1080p", width=1920, height=1080, rate=30, seconds=60, film="bigbuckbunny.mp4")
GOPS = 48, 250
ROUNDS = {"240p": 11, "720p": 5, "1080p": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """At least so many times as fast as each of some others, on files of some sizes."""

    text: str
    forms: frozenset[str]
    others: Sequence[Contender]
    asked: float


BEST_OF = tuple(one for one in OTHERS if one not in (TORCHCODEC, XPOOL_SILENT))
CLAIMS = (
    Claim(text="X-Pool's loader", forms=frozenset({"240p"}), others=(XPOOL,), asked=2),
    Claim(text="the ffmpeg-python loop", forms=frozenset({"240p"}), others=(LOOP,), asked=2),
    Claim(
        text="the best of all others but torchcodec",
        forms=frozenset({"720p", "1080p"}),
        others=BEST_OF,
        asked=1.4,
    ),
    Claim(
        text="torchcodec's exact mode",
        forms=frozenset({"240p", "720p", "1080p"}),
        others=(TORCHCODEC,),
        asked=1,
    ),
)
LIMITS = (
    "The files are H.264, as most videos are: there vidret leaves out the pictures that nothing"
    " else builds on. On HEVC, VP9 and AV1 it does not, and gains by the choice of key frames"
    " alone. vidret's `ffmpeg` goes over each file twice and starts a process for each step: it is"
    " there to compare with. The loaders of others do less than this: X-Pool's and"
    " clip-video-encode have no sound, so an ffmpeg pipe brings it here, and none of them checks"
    " that a frame is the one that was asked for. decord has seen no release since 2021."
)


def main() -> None:
    """Draw the files, check that all read the same frames, then time them in turns."""
    options = _parse()
    _use_one_core(options.core)
    forms = [replace(form, gop=gop) for form in (SMALL, MIDDLE, LARGE) for gop in GOPS]
    forms = [form for form in forms if form.name in options.forms]
    seconds: dict[Form, Seconds] = {}
    same: dict[Form, Mapping[str, str]] = {}
    for form in forms:
        path = draw(form, options.clips)
        same[form] = _compare_pictures(path)
        ways = {one.name: partial(take, one, path) for one in (*OURS, *OTHERS)}
        rounds = options.rounds or ROUNDS[form.name]
        seconds[form] = take_turns(ways, rounds, clock=busy_seconds)
    _show(forms, seconds, same)
    show_machine()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, default=CLIPS, help="where the files are drawn")
    parser.add_argument("--forms", nargs="+", choices=list(ROUNDS), default=list(ROUNDS))
    parser.add_argument("--rounds", type=int, default=0, help="instead of 11, 5 and 3")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    return parser.parse_args()


def _use_one_core(core: int) -> None:
    os.sched_setaffinity(0, {core})
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    cv2.setNumThreads(1)


def _compare_pictures(path: Path) -> dict[str, str]:
    """How the pictures that each way reads differ from those of a full decode by PyAV."""
    truth = native_pictures(ALL_WITH_AV, path)
    compared = {}
    for one in (*OURS, *OTHERS):
        pictures = native_pictures(one, path)
        if len(pictures) != len(truth):
            raise SystemExit(f"{one.name} read {len(pictures)} frames of {path.name}")
        differences = [
            float(np.abs(mine.astype(np.int16) - other).mean())
            for mine, other in zip(pictures, truth, strict=True)
        ]
        compared[one.name] = "same bytes" if not max(differences) else f"{max(differences):.2f}"
    gc.collect()
    return compared


def _show(
    forms: Sequence[Form],
    seconds: Mapping[Form, Seconds],
    same: Mapping[Form, Mapping[str, str]],
) -> None:
    show("## Decoding: 12 frames and the sound, one core")
    show(
        "Milliseconds that one core works for one file, for the process and all that it starts, one"
        " thread each: the median of several rounds in which all took turns. In brackets, how many"
        " times as long as vidret's `av` (the median over the rounds). All read the same twelve"
        " frames (X-Pool's sampling) and shrink them to 224 x 224 in their own way."
    )
    heads = ["", *(f"{form.width}x{form.height}, GOP {form.gop}" for form in forms)]
    show(
        table(
            heads,
            [
                [one.name, *(_cell(seconds[form], one) for form in forms)]
                for one in (*OURS, *OTHERS)
            ],
        )
    )
    _show_frames(forms, same)
    _show_claims(forms, seconds)
    show(LIMITS)
    show(
        "\n".join(f"- {form.title}, stereo AAC 44.1 kHz, x264: {source_of(form)}" for form in forms)
    )


def _cell(seconds: Seconds, one: Contender) -> str:
    ratio = times_slower(seconds, one.name, AV.name)
    return f"{number(1000 * median(seconds, one.name))} ({ratio:.2f})"


def _show_frames(forms: Sequence[Form], same: Mapping[Form, Mapping[str, str]]) -> None:
    odd = {
        f"{name}: {', '.join(sorted({same[form][name] for form in forms} - {'same bytes'}))}"
        for name in same[forms[0]]
        if any(same[form][name] != "same bytes" for form in forms)
    }
    told = "All ways gave the same twelve pictures at native size, to the byte."
    if odd:
        told = (
            "At native size all ways gave the same bytes, except (largest mean difference of a"
            f" picture, in grey levels): {'; '.join(sorted(odd))}."
        )
    show(told)


def _show_claims(forms: Sequence[Form], seconds: Mapping[Form, Seconds]) -> None:
    rows = []
    for claim in CLAIMS:
        for form in forms:
            if form.name in claim.forms:
                ratio, who = min(
                    (times_slower(seconds[form], one.name, AV.name), one.name)
                    for one in claim.others
                )
                rows.append(
                    [
                        claim.text,
                        f"{form.width}x{form.height}, GOP {form.gop}",
                        who if len(claim.others) > 1 else "",
                        f"{claim.asked:g}",
                        f"{ratio:.2f}",
                        verdict(ratio, claim.asked),
                    ]
                )
    show("vidret's `av` is so many times as fast as")
    show(table(["", "file", "the best of them", "asked for", "measured", ""], rows))


if __name__ == "__main__":
    main()
