"""`vidret ablate`: the rows of the paper's Table 1, each over several seeds."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from vidret.data.cache import FeatureCache, newest_cache
from vidret.data.errors import VidretError
from vidret.extract.encoders import pick_device
from vidret.pipelines.config.fitting import AblateConfig
from vidret.pipelines.display.progress import OnProgress, Progress
from vidret.pipelines.evaluate import Scores, Setting, describe_setting, score_split
from vidret.pipelines.training.fitting import (
    UNTRAINED,
    Data,
    as_split,
    fit_run,
    hears,
    load_data,
    new_run,
    selection_of,
)
from vidret.pipelines.training.runs import SOUND, Run, load_weights

log = logging.getLogger(__name__)

TABLE_1 = ("mean", "mean-ff", "s-f", "w-f", "mgfi", "w-f+cmfi", "s-f+cmfi", "mgfi+cmfi")
PAPER_NAMES = {
    "mean": "base",
    "mean-ff": "base + FF (control)",
    "s-f": "s-f",
    "w-f": "w-f",
    "mgfi": "s-f + w-f",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One head and its numbers, one for each seed."""

    head: str
    scores: tuple[Scores, ...]

    @property
    def label(self) -> str:
        """What the paper's table calls it."""
        plain = self.head.removesuffix(SOUND)
        name = PAPER_NAMES.get(plain, plain)
        return f"{name} + a-s" if self.head.endswith(SOUND) else name

    def values(self, direction: str, metric: str) -> list[float]:
        """One metric of every seed."""
        return [getattr(scores, direction)[metric] for scores in self.scores]


@dataclass(frozen=True, slots=True, kw_only=True)
class AblateReport:
    """The table."""

    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    setting: Setting

    @property
    def verdict(self) -> VidretError | None:
        """A table has no verdict."""
        return None

    def as_json(self) -> dict[str, Any]:
        """The report for machines, with mean and spread worked out."""
        return {
            "setting": asdict(self.setting) | {"chance": self.setting.chance},
            "seeds": list(self.seeds),
            "rows": [
                {
                    "head": row.head,
                    "label": row.label,
                    **{way: _spread(row, way) for way in ("t2v", "v2t", "kinds")},
                    "seeds": [asdict(scores) for scores in row.scores],
                }
                for row in self.rows
            ],
        }


def run_ablate(config: AblateConfig, *, on_progress: OnProgress) -> AblateReport:
    """Fit and score every row with every seed; what was fitted before is only scored."""
    cache = FeatureCache.open(config.cache or newest_cache(config.work))
    device = pick_device(config.device)
    select_on = selection_of(cache, config.select_on)
    data = load_data(cache, select_on, device)
    features = cache.load("test")
    test = as_split(features, device)
    heads = config.heads or _rows_of_the_paper(cache)
    for head in heads:
        new_run(cache, head, config.seeds[0], config)  # refuses now what would fail hours later
    scores: dict[str, list[Scores]] = {head: [] for head in heads}
    total, done = len(heads) * len(config.seeds), 0
    on_progress(Progress(total=total))
    for seed in config.seeds:
        for head in heads:
            folder, head_run = fit_row(config, cache, data, head, seed)
            retriever = load_weights(folder, head_run).to(device)
            scores[head].append(score_split(retriever, test, features))
            done += 1
            on_progress(Progress(done=done, total=total, note=f"{head}, seed {seed}"))
    return AblateReport(
        rows=tuple(Row(head=head, scores=tuple(scores[head])) for head in heads),
        seeds=config.seeds,
        setting=describe_setting(cache, features, select_on),
    )


def fit_row(
    config: AblateConfig, cache: FeatureCache, data: Data, head: str, seed: int
) -> tuple[Path, Run]:
    """Fit one head with one seed; the sound's stage starts from the run of the head without it."""
    run = new_run(cache, head, seed, config)
    folder = config.work / "runs" / run.name
    plain = head.removesuffix(SOUND)
    if plain in (head, UNTRAINED):
        return folder, fit_run(folder, run, data)
    first_stage, _ = fit_row(config, cache, data, plain, seed)
    return folder, fit_run(folder, run, data, after=first_stage)


def _rows_of_the_paper(cache: FeatureCache) -> tuple[str, ...]:
    """Table 1 and our control row; without the rows of the sound where there is none."""
    if hears(cache):
        return TABLE_1
    log.info("No video of the train split has sound: the rows with a-s are left out")
    return tuple(head for head in TABLE_1 if not head.endswith(SOUND))


def _spread(row: Row, way: str) -> dict[str, dict[str, float]]:
    """Mean and sample standard deviation of each number over the seeds."""
    table = [getattr(scores, way) for scores in row.scores]
    return {
        metric: {
            "mean": mean(numbers[metric] for numbers in table),
            "std": stdev(numbers[metric] for numbers in table) if len(table) > 1 else 0.0,
        }
        for metric in table[0]
    }
