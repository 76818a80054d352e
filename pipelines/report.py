"""`vidret report`: a run and a split in, one HTML page that says all there is to know out."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vidret.data.cache import FeatureCache
from vidret.data.errors import MissingError, VidretError
from vidret.data.features import SplitFeatures
from vidret.data.printable import printable
from vidret.data.storage.publish import publish
from vidret.extract.backends import installed
from vidret.extract.encoders import pick_device
from vidret.heads.metrics import summarize
from vidret.heads.protocols import PROTOCOLS
from vidret.heads.retriever import Retriever
from vidret.heads.streaming import BothRanks
from vidret.pipelines.config.reporting import PAPER, PageConfig
from vidret.pipelines.evaluate import (
    Setting,
    describe_setting,
    rank_split,
    require_same_features,
)
from vidret.pipelines.reporting.against_paper import PaperComparison, compare_with_paper
from vidret.pipelines.reporting.against_run import (
    RunComparison,
    compare_runs,
    in_order_of,
    require_same_queries,
)
from vidret.pipelines.reporting.contents import (
    Contents,
    count_numbers,
    find_warnings,
    stages_of_history,
)
from vidret.pipelines.reporting.deviations import Subject, encoders_of
from vidret.pipelines.reporting.distributions import bin_ranks, trace_recall
from vidret.pipelines.reporting.filmstrips import Strip, draw_strips
from vidret.pipelines.reporting.page import draw_page
from vidret.pipelines.reporting.queries import (
    Query,
    look_at_queries,
    random_rows,
    shown_videos,
    worst_rows,
)
from vidret.pipelines.training.fitting import as_split
from vidret.pipelines.training.projecting import features_of_run
from vidret.pipelines.training.runs import (
    WEIGHTS,
    Run,
    cache_of_run,
    find_run,
    load_weights,
    read_run,
)
from vidret.pipelines.training.splits import Split

LISTED_FAILURES = 50
PACKAGES = ("vidret", "torch", "open_clip_torch", "numpy", "h5py", "av")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageReport:
    """Where a page lies, and what it says."""

    page: Path
    bytes: int
    contents: Contents

    @property
    def verdict(self) -> VidretError | None:
        """A page that is written has no more to ask."""
        return None

    def as_json(self) -> dict[str, Any]:
        """The report for machines: all but the pictures."""
        return {"page": str(self.page), "bytes": self.bytes, **self.contents.as_json()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A run on a split: what was loaded, and where every right answer came."""

    run: Run
    folder: Path
    cache: FeatureCache
    features: SplitFeatures
    retriever: Retriever
    split: Split
    ranks: BothRanks
    setting: Setting


def run_report(config: PageConfig) -> PageReport:
    """Score a run, look at single queries, compare, and write it all down."""
    folder = find_run(config.work, config.run)
    out = config.out or folder / f"report-{config.split}.html"
    _require_place(out)
    scored = _score(config, folder, config.cache)
    hardest, drawn = _queries(config, scored)
    strips = _strips(scored, [*hardest, *drawn]) if config.pictures else {}
    paper = _against_paper(scored) if config.against == PAPER else None
    other = None
    if config.against not in (None, PAPER):
        other = _against_run(config, scored, find_run(config.work, config.against))
    contents = _contents(scored, hardest, drawn, strips, paper, other)
    page = draw_page(contents, strips, seed=config.seed, wants_hardest=config.hardest > 0)
    return PageReport(page=out, bytes=_write(out, page), contents=contents)


def _score(config: PageConfig, folder: Path, cache_folder: Path | None) -> Scored:
    """Rank the split with a run, on its own cache or on the one given."""
    run = read_run(folder)
    device = pick_device(config.device)
    retriever = load_weights(folder, run).to(device)
    cache = FeatureCache.open(cache_folder or cache_of_run(config.work, run))
    require_same_features(cache.fingerprint, run.fingerprint, str(cache.folder))
    features = features_of_run(folder, run, cache.load(config.split))
    split = as_split(features, device)
    protocol = PROTOCOLS.get(cache.manifest.settings["protocol"])
    v2t_by = config.competition or (protocol.v2t if protocol else "group")
    return Scored(
        run=run,
        folder=folder,
        cache=cache,
        features=features,
        retriever=retriever,
        split=split,
        ranks=rank_split(retriever, split, features, v2t_by=v2t_by),
        setting=describe_setting(
            cache, features, run.settings["select_on"], v2t_by=v2t_by, runs=[run]
        ),
    )


def _queries(config: PageConfig, scored: Scored) -> tuple[list[Query], list[Query]]:
    """The hardest queries, and some at random."""
    ranks = scored.ranks.t2v
    chosen = (
        worst_rows(ranks, config.hardest),
        random_rows(ranks, config.random, config.seed),
    )
    hardest, drawn = (
        look_at_queries(scored.retriever, scored.split, scored.features, ranks, rows)
        for rows in chosen
    )
    return hardest, drawn


def _strips(scored: Scored, queries: list[Query]) -> dict[int, Strip]:
    """The pictures of all videos that are shown, by their rows."""
    rows = shown_videos(queries)
    return dict(zip(rows, draw_strips(scored.cache, scored.features, rows), strict=True))


def _against_paper(scored: Scored) -> PaperComparison:
    subject = Subject(
        run=scored.run,
        fingerprint=scored.cache.fingerprint,
        backbone=scored.cache.manifest.settings["backbone"],
        setting=scored.setting,
    )
    return compare_with_paper(subject, summarize(scored.ranks.t2v))


def _against_run(config: PageConfig, scored: Scored, folder: Path) -> RunComparison:
    """Another run on the same queries; it may be made for other features than this one."""
    run = read_run(folder)
    facts = scored.cache.fingerprint
    fits = facts.features_digest == run.fingerprint.features_digest
    other = _score(config, folder, scored.cache.folder if fits else None)
    require_same_queries(scored.features, other.features, run.name)
    ranks = in_order_of(scored.features, other.features, other.ranks)
    return compare_runs((scored.run, scored.ranks), (run, ranks), scored.features.owners)


def _contents(
    scored: Scored,
    hardest: list[Query],
    drawn: list[Query],
    strips: dict[int, Strip],
    paper: PaperComparison | None,
    other: RunComparison | None,
) -> Contents:
    run, features, failures = scored.run, scored.features, scored.cache.failures()
    return Contents(
        run=run.name,
        head=run.head,
        encoders=encoders_of(run),
        seed=run.seed,
        trained=_time(datetime.fromtimestamp((scored.folder / WEIGHTS).stat().st_mtime, UTC)),
        written=_time(datetime.now(UTC)),
        cache=scored.cache.folder.name,
        setting=scored.setting,
        warnings=find_warnings(run, scored.setting),
        numbers=count_numbers(scored.ranks.t2v, scored.ranks.v2t, features),
        stages=stages_of_history(run),
        histogram=bin_ranks(scored.ranks),
        recall=trace_recall(scored.ranks, len(features.video_ids)),
        hardest=tuple(hardest),
        random=tuple(drawn),
        failures=tuple(failures[:LISTED_FAILURES]),
        num_failures=len(failures),
        settings=run.settings,
        audio_weight=run.audio_weight,
        origin={} if run.origin is None else _plain_origin(run),
        fingerprint=scored.cache.fingerprint,
        versions={name: installed(name) for name in PACKAGES},
        paper=paper,
        other=other,
        absent={features.video_ids[row]: one.absent for row, one in strips.items() if one.absent},
    )


def _plain_origin(run: Run) -> dict[str, Any]:
    """What a fine-tuning started from; its fingerprint stands elsewhere."""
    values = {} if run.origin is None else asdict(run.origin)
    return {name: value for name, value in values.items() if name != "fingerprint"}


def _require_place(out: Path) -> None:
    """Refuse a place that cannot hold the page, before anything is scored.

    Raises:
        MissingError: it is a folder, or lies in none.
    """
    if out.is_dir():
        raise MissingError(f"cannot write to {printable(out)}, a folder: name a file with --out")
    if not out.absolute().parent.is_dir():
        raise MissingError(
            f"cannot write to {printable(out)}: there is no folder {printable(out.parent)}, make "
            "it, or name another file with --out"
        )


def _write(out: Path, page: str) -> int:
    """Write the page whole or not at all, and say how long it is."""
    data = page.encode("utf-8")
    with publish(out, "name another file with --out") as part:
        part.write_bytes(data)
    return len(data)


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
