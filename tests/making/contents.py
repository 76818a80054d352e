"""What a report says, made up: nothing is scored and no run is needed."""

from pathlib import Path

from making.caches import a_fingerprint

from vidret.data.cache import Coverage
from vidret.data.samples import AudioState
from vidret.pipelines.config.fitting import FIT_SETTINGS, FitConfig
from vidret.pipelines.evaluate import Setting
from vidret.pipelines.reporting.contents import Contents, Numbers, StageHistory
from vidret.pipelines.reporting.distributions import RankBin, RecallPoint
from vidret.pipelines.reporting.queries import Candidate, Query
from vidret.pipelines.training.runs import Run

USUAL = {name: getattr(FitConfig(), name) for name in FIT_SETTINGS}


def a_run(head="mgfi+cmfi", **changes) -> Run:
    values = {
        "name": "mine",
        "head": head,
        "seed": 3,
        "cache": Path("work/cache/toy"),
        "fingerprint": a_fingerprint(),
        "settings": USUAL | changes.pop("settings", {}),
        "history": {"video-text": [an_epoch(1), an_epoch(2)]},
        "complete": True,
    }
    return Run(**values | changes)


def an_epoch(number, **changes):
    values = {"epoch": number, "loss": 1.0 / number, "tau": 3.0, "R@1": 10.0 * number, "MnR": 4.0}
    return values | changes


def a_setting(**changes) -> Setting:
    sound = dict.fromkeys(AudioState, 0) | {AudioState.OK: 3}
    values = {
        "dataset": "toy",
        "split": "test",
        "protocol": "pairs",
        "videos": 3,
        "captions": 3,
        "dropped_captions": 0,
        "coverage": Coverage(expected=3, found=3, failed=0, sound=sound),
        "select_on": "val",
        "notes": (),
    }
    return Setting(**values | changes)


def some_numbers(**changes) -> dict[str, float]:
    values = {"R@1": 40.0, "R@5": 70.0, "R@10": 80.0, "R@50": 99.0, "geometric mean": 61.0}
    return values | {"MdR": 2.0, "MnR": 9.5, "ties": 0, "queries": 3} | changes


def a_candidate(row=0, **changes) -> Candidate:
    values = {
        "row": row,
        "video": f"v{row}",
        "path": f"clips/v{row}.mp4",
        "score": 0.75,
        "parts": {"sentence": 0.5, "audio": 0.25},
        "sound": "ok",
    }
    return Candidate(**values | changes)


def a_query(**changes) -> Query:
    values = {
        "caption": "v0#0",
        "text": "a dog barks",
        "kind": "",
        "rank": 3.0,
        "tied": 0,
        "right": a_candidate(0),
        "rival": a_candidate(1),
    }
    return Query(**values | changes)


def some_contents(**changes) -> Contents:
    values = {
        "run": "mine",
        "head": "mgfi",
        "encoders": "frozen",
        "seed": 3,
        "trained": "2026-01-01 10:00 UTC",
        "written": "2026-01-02 10:00 UTC",
        "cache": "toy-f3",
        "setting": a_setting(),
        "warnings": (),
        "numbers": Numbers(t2v=some_numbers(), v2t=some_numbers(), kinds={}),
        "stages": (StageHistory(name="video-text", kept=2, epochs=(an_epoch(1), an_epoch(2))),),
        "histogram": (RankBin(first=1, last=1, t2v=40.0, v2t=60.0),),
        "recall": (RecallPoint(k=1, t2v=40.0, v2t=60.0), RecallPoint(k=3, t2v=100.0, v2t=100.0)),
        "hardest": (a_query(),),
        "random": (),
        "failures": (),
        "num_failures": 0,
        "settings": USUAL,
        "audio_weight": None,
        "origin": {},
        "fingerprint": a_fingerprint(),
        "versions": {"vidret": "0.1.0"},
        "paper": None,
        "other": None,
        "absent": {},
    }
    return Contents(**values | changes)
