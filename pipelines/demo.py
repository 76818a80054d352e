"""`vidret demo`: the whole way on the bundled set, from drawing the clips to an answered query."""

import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from vidret.data.cache import FeatureCache
from vidret.pipelines.ablate import run_ablate
from vidret.pipelines.config.fitting import AblateConfig
from vidret.pipelines.config.searching import SearchConfig
from vidret.pipelines.config.settings import DemoConfig, ExtractConfig
from vidret.pipelines.display.ablated import render_ablate
from vidret.pipelines.display.found import render_search
from vidret.pipelines.display.progress import OnProgress, progress_display
from vidret.pipelines.display.render import render_extract
from vidret.pipelines.display.tables import Rendered, show
from vidret.pipelines.extract import run_extract
from vidret.pipelines.search import run_search
from vidret.pipelines.training.fitting import new_run

HEAD = "mgfi+cmfi"
Report = TypeVar("Report")


def run_demo(config: DemoConfig) -> None:
    """Extract, train, tabulate, search: each step is a command that could be typed as well."""
    started = time.monotonic()
    work, place = config.work, ["--work", str(config.work)]
    drawn = [] if config.clips is None else ["--clips", str(config.clips)]
    seeds = ["--seeds", ",".join(map(str, config.seeds))]
    extract = ExtractConfig(work=work, offline=True, clips=config.clips)
    extracted = _step(
        "1/3  " + shlex.join(["vidret", "extract", *place, *drawn]),
        "videos",
        lambda on_progress: run_extract(extract, on_progress=on_progress),
        render_extract,
    )
    ablate = AblateConfig(work=work, offline=True, cache=extracted.folder, seeds=config.seeds)
    _step(
        "2/3  " + shlex.join(["vidret", "ablate", *place, *seeds]),
        "runs",
        lambda on_progress: run_ablate(ablate, on_progress=on_progress),
        render_ablate,
    )
    cache = FeatureCache.open(extracted.folder)
    query, answer = _a_query(cache)
    run = new_run(cache, HEAD, config.seeds[0], ablate).name
    search = SearchConfig(work=work, offline=True, run=run, query=query, top=5)
    found = _step(
        "3/3  " + shlex.join(["vidret", "search", query, *place, "--run", run, "--top", "5"]),
        "videos",
        lambda on_progress: run_search(search, on_progress=on_progress),
        render_search,
    )
    rank = next((f"number {hit.rank}" for hit in found.hits if hit.id == answer), "not among them")
    show(
        f"The sentence was written for {answer}, here {rank}: only its sound tells that clip from "
        "its twins."
    )
    seconds = time.monotonic() - started
    program = "vidret" if shutil.which("vidret") else shlex.quote(os.path.relpath(sys.argv[0]))
    show(f'Done in {seconds:.0f} s. Ask for something else: {program} search "..." --work {work}')


def _step(
    title: str,
    unit: str,
    run: Callable[[OnProgress], Report],
    render: Callable[[Report], Rendered],
) -> Report:
    """Run one command, and show its report as the command would."""
    show(f"{title}\n")
    sys.stdout.flush()
    with progress_display(title.split()[2], unit=unit) as on_progress:
        report = run(on_progress)
    show(render(report))
    show("")
    return report


def _a_query(cache: FeatureCache) -> tuple[str, str]:
    """The first caption of the test split that only sound decides, and the clip it is about."""
    features = cache.load("test")
    row = features.kind.index("sound")
    return features.text[row], features.video_ids[features.owners[row]]
