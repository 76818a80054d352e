"""`vidret evaluate`, `ablate` and `report`."""

import logging

from vidret.pipelines.commands.program import Command, examples, json_progress_option, publish
from vidret.pipelines.commands.root import cli
from vidret.pipelines.config.fitting import AblateConfig
from vidret.pipelines.config.options import session_options, settings
from vidret.pipelines.config.reporting import PageConfig
from vidret.pipelines.config.settings import EvaluateConfig
from vidret.pipelines.config.varying import variations_of

log = logging.getLogger(__name__)


@cli.command(
    cls=Command,
    epilog=examples(
        "vidret evaluate --split test --fail-under R@1=30",
        "vidret evaluate --sims scores.npy --owners owners.npy --protocol msvd-multi --json",
    ),
)
@settings(EvaluateConfig)
@session_options
def evaluate(config: EvaluateConfig) -> None:
    """Score a run, or a matrix, under a named protocol."""
    if config.sims is not None:
        from vidret.pipelines.display.ranked import render_sims
        from vidret.pipelines.evaluate_sims import run_evaluate_sims

        publish(run_evaluate_sims(config), render_sims, as_json=config.json)
        return
    from vidret.pipelines.display.render import render_evaluate
    from vidret.pipelines.evaluate import run_evaluate

    publish(run_evaluate(config), render_evaluate, as_json=config.json)


@cli.command(
    cls=Command,
    epilog=examples(
        "vidret ablate --heads mean,xpool,mgfi --seeds 0,1 --cost --out table.md --plot table.svg",
        "vidret ablate --heads mean,w-f --vary word_weight_scale=literal,sqrt_c --dry-run",
    ),
)
@json_progress_option
@settings(AblateConfig)
@session_options
def ablate(config: AblateConfig, *, json_progress: bool) -> None:
    """Train every head with every seed, and print one table."""
    variations_of(config)  # what cannot be varied is refused before torch is imported
    from vidret.pipelines.ablate import plan_ablate, run_ablate
    from vidret.pipelines.display.ablated import render_ablate, render_plan
    from vidret.pipelines.display.ablation_files import write_ablation
    from vidret.pipelines.display.progress import progress_display

    as_json = config.json or config.format == "json"
    if config.dry_run:
        publish(plan_ablate(config), render_plan, as_json=as_json)
        return
    with progress_display("ablate", unit="runs", json_lines=json_progress) as on_progress:
        report = run_ablate(config, on_progress=on_progress)
    files = {"out": config.out, "plot": config.plot, "plot_cost": config.plot_cost}
    for path in write_ablation(report, **files):
        log.info("Wrote %s", path)
    publish(report, lambda report: render_ablate(report, config.format), as_json=as_json)


@cli.command(
    cls=Command,
    epilog=examples(
        "vidret report --against paper",
        "vidret report --run mine --against yours --out comparison.html",
    ),
)
@settings(PageConfig)
@session_options
def report(config: PageConfig) -> None:
    """Write one page on a run: numbers, curves, hardest queries."""
    from vidret.pipelines.display.reported import render_page
    from vidret.pipelines.report import run_report

    publish(run_report(config), render_page, as_json=config.json)
