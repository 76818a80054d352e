"""The command line: parse, call one pipeline, print its report, turn errors into exit codes."""

import io
import json
import logging
import os
import platform
import re
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from vidret.data.errors import VidretError
from vidret.extract.backends import installed
from vidret.pipelines.config.fitting import AblateConfig, FinetuneConfig, TrainConfig
from vidret.pipelines.config.options import (
    Session,
    grouped,
    resolve_here,
    session_options,
    settings,
)
from vidret.pipelines.config.reporting import PageConfig
from vidret.pipelines.config.resolve import did_you_mean, unknown_variables
from vidret.pipelines.config.searching import (
    ExplainConfig,
    IndexConfig,
    IndexUpdateConfig,
    SearchConfig,
)
from vidret.pipelines.config.serving import ServeConfig
from vidret.pipelines.config.settings import (
    CONFIGS,
    CacheConfig,
    CacheExportConfig,
    CacheGcConfig,
    ConvertConfig,
    DatasetsConfig,
    DemoConfig,
    EvaluateConfig,
    ExtractConfig,
    ProbeConfig,
    WeightsConfig,
)
from vidret.pipelines.config.varying import variations_of
from vidret.pipelines.launched import command_line, launched
from vidret.pipelines.program import INTERRUPTED

if TYPE_CHECKING:
    from vidret.pipelines.display.tables import Rendered

log = logging.getLogger(__name__)

BUG = 1
RANKED_BY = ("work", "offline", "json", "run", "head", "cache", "device")
DOCTOR_SETTINGS = (
    "work",
    "offline",
    "json",
    "dataset",
    "root",
    "decoder",
    "backbone",
    "audio",
    "device",
)


class Report(Protocol):
    """What every reporting pipeline returns."""

    @property
    def verdict(self) -> VidretError | None:
        """The error to end with once the report is printed, or None when all is well."""

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""


R = TypeVar("R", bound=Report)


class Program(click.Group):
    """A group of commands whose errors are one sentence and an exit code of their own."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 - click's signature
        **extra: Any,  # noqa: ANN401 - click's signature
    ) -> Any:  # noqa: ANN401 - click's signature
        """Run a command line and exit; without `standalone_mode` errors go to the caller."""
        arguments = list(sys.argv[1:] if args is None else args)
        session = extra.setdefault("obj", Session())
        try:
            result = super().main(
                arguments, prog_name, complete_var, standalone_mode=False, **extra
            )
        except (KeyboardInterrupt, click.Abort):
            if not standalone_mode:
                raise
            sys.exit(_report_interrupt(arguments))
        except Exception as error:
            if not standalone_mode:
                raise
            sys.exit(_report_error(error, arguments, session))
        return sys.exit(result or 0) if standalone_mode else result

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's signature
        """Run a command; a reader that closes the pipe early has had what it wanted."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # the interpreter flushes stdout once more at exit, and that must find an open door
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        return result

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one was meant."""
        if args[0] not in self.commands:
            guess = did_you_mean(args[0], list(self.commands))
            raise click.UsageError(f'no command "{args[0]}": {guess}', ctx)
        return super().resolve_command(ctx, args)


class Command(click.Command):
    """A command that prepares its talk only once the whole line has been understood."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's signature
        """Run the body with log messages going to stderr."""
        with _log_on_stderr(ctx.find_root().ensure_object(Session).verbosity):
            for name, meant in unknown_variables(os.environ).items():
                guess = f": did you mean {meant}?" if meant else ""
                log.warning("The variable %s sets nothing%s", name, guess)
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the options under their headings."""
        for heading, parameters in grouped(self.get_params(ctx)).items():
            records = [record for one in parameters if (record := one.get_help_record(ctx))]
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def examples(*lines: str) -> str:
    """The end of a help text: commands to copy."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def json_progress_option(body: Callable[..., None]) -> Callable[..., None]:
    """Let machines follow a long run."""
    return click.option(
        "--json-progress", is_flag=True, help="Show progress as JSON lines on stderr."
    )(body)


def _print_version(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:  # noqa: FBT001 - click calls it
    if asked and not context.resilient_parsing:
        click.echo(
            f"vidret {installed('vidret')}, python {platform.python_version()}, "
            f"torch {installed('torch')}"
        )
        context.exit()


@click.group(
    cls=Program,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples("vidret demo", "vidret extract --help"),
)
@click.option("--work", metavar="PATH", help="Folder of caches and runs, for any command.")
@click.option("--offline", is_flag=True, default=None, help="Never use the network.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the versions of vidret, python and torch.",
)
@session_options
@click.pass_context
def cli(context: click.Context, *, work: str | None, offline: bool | None) -> None:
    """Find videos by what they show, what is said of them, and how they sound."""
    context.ensure_object(Session).options.update(work=work, offline=offline)
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command(cls=Command, epilog=examples("vidret demo", "vidret demo --clips 60 --seeds 0,1,2"))
@settings(DemoConfig)
@session_options
def demo(config: DemoConfig) -> None:
    """Run the whole pipeline on the built-in set."""
    from vidret.pipelines.demo import run_demo

    run_demo(config)


@cli.command(
    cls=Command,
    epilog=examples("vidret doctor", "vidret doctor --dataset msvd --root /data/msvd --json"),
)
@settings(ExtractConfig, only=DOCTOR_SETTINGS)
@session_options
def doctor(config: ExtractConfig) -> None:
    """Check all that extract needs; say how to get the rest."""
    from vidret.pipelines.display.tables import render_doctor
    from vidret.pipelines.doctor import run_doctor

    _publish(run_doctor(config), render_doctor, as_json=config.json)


@cli.command(
    cls=Command,
    epilog=examples(
        "vidret extract --frames 12",
        "vidret extract --dataset msvd --root /data/msvd --audio none --dry-run",
    ),
)
@json_progress_option
@settings(ExtractConfig)
@session_options
def extract(config: ExtractConfig, *, json_progress: bool) -> None:
    """Cache frame, word, sentence and sound embeddings as HDF5."""
    from vidret.pipelines.display.progress import progress_display
    from vidret.pipelines.display.render import render_extract
    from vidret.pipelines.extract import run_extract

    with progress_display("extract", unit="videos", json_lines=json_progress) as on_progress:
        report = run_extract(config, on_progress=on_progress)
    _publish(report, render_extract, as_json=config.json)


@cli.command(
    cls=Command,
    epilog=examples(
        "vidret probe clip.mp4",
        "vidret probe clip.mp4 --frames 30 --decoder ffmpeg --json",
    ),
)
@settings(ProbeConfig)
@session_options
def probe(config: ProbeConfig) -> None:
    """Decode one file as extract would, and say what came."""
    from vidret.pipelines.display.probed import render_probe
    from vidret.pipelines.probe import run_probe

    _publish(run_probe(config), render_probe, as_json=config.json)


@cli.group(
    cls=Program,
    invoke_without_command=True,
    epilog=examples("vidret cache info", "vidret cache verify"),
)
@click.pass_context
def cache(context: click.Context) -> None:
    """Look at a cache, check, repair, export or clear it."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cache.command(cls=Command, epilog=examples("vidret cache info", "vidret cache info --json"))
@settings(CacheConfig)
@session_options
def info(config: CacheConfig) -> None:
    """Show what a cache holds and what it was made with."""
    from vidret.pipelines.cache import run_cache_info
    from vidret.pipelines.display.render import render_cache_info

    _publish(run_cache_info(config), render_cache_info, as_json=config.json)


@cache.command(
    cls=Command, epilog=examples("vidret cache verify", "vidret cache verify --work vidret-demo")
)
@settings(CacheConfig)
@session_options
def verify(config: CacheConfig) -> None:
    """Compare every shard of a cache with its checksum."""
    from vidret.pipelines.cache import run_cache_verify
    from vidret.pipelines.display.render import render_cache_verify

    _publish(run_cache_verify(config), render_cache_verify, as_json=config.json)


@cache.command(
    cls=Command, epilog=examples("vidret cache repair", "vidret cache repair && vidret extract")
)
@settings(CacheConfig)
@session_options
def repair(config: CacheConfig) -> None:
    """Set videos of damaged shards back, for the next extract."""
    from vidret.pipelines.cache import run_cache_repair
    from vidret.pipelines.display.render import render_cache_repair

    _publish(run_cache_repair(config), render_cache_repair, as_json=config.json)


@cache.command(
    cls=Command,
    epilog=examples(
        "vidret cache export --to features",
        "vidret cache export --to test-features --split test --format parquet",
    ),
)
@settings(CacheExportConfig)
@session_options
def export(config: CacheExportConfig) -> None:
    """Write the features in files that need no vidret."""
    from vidret.pipelines.cache import run_cache_export
    from vidret.pipelines.display.render import render_cache_export

    _publish(run_cache_export(config), render_cache_export, as_json=config.json)


@cache.command(
    cls=Command,
    epilog=examples("vidret cache gc --dry-run", "vidret cache gc --all --unused"),
)
@settings(CacheGcConfig)
@session_options
def gc(config: CacheGcConfig) -> None:
    """Remove what lies in a cache without use."""
    from vidret.pipelines.cache import run_cache_gc
    from vidret.pipelines.display.render import render_cache_gc

    _publish(run_cache_gc(config), render_cache_gc, as_json=config.json)


@cli.group(
    cls=Program,
    invoke_without_command=True,
    epilog=examples("vidret datasets list", "vidret datasets verify msrvtt-9k --root /data/msrvtt"),
)
@click.pass_context
def datasets(context: click.Context) -> None:
    """List the datasets, say what they are, check what is there."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@datasets.command(
    "list", cls=Command, epilog=examples("vidret datasets list", "vidret datasets list --json")
)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@session_options
def list_datasets(*, as_json: bool) -> None:
    """List every dataset that has a name."""
    from vidret.pipelines.datasets import run_datasets_list
    from vidret.pipelines.display.holdings import render_datasets

    _publish(run_datasets_list(), render_datasets, as_json=as_json)


@datasets.command(
    "show",
    cls=Command,
    epilog=examples("vidret datasets show didemo", "vidret datasets show msvd --json"),
)
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@session_options
def show_dataset(name: str, *, as_json: bool) -> None:
    """Say what a dataset is, and whom to ask for it."""
    from vidret.pipelines.datasets import run_datasets_show
    from vidret.pipelines.display.holdings import render_dataset

    _publish(run_datasets_show(name), render_dataset, as_json=as_json)


@datasets.command(
    "verify",
    cls=Command,
    epilog=examples(
        "vidret datasets verify msvd --root /data/msvd",
        "vidret datasets verify activitynet --allow-missing 10% --json",
    ),
)
@json_progress_option
@settings(DatasetsConfig)
@session_options
def verify_dataset(config: DatasetsConfig, *, json_progress: bool) -> None:
    """Check which files of a dataset are there."""
    from vidret.pipelines.datasets import run_datasets_verify
    from vidret.pipelines.display.holdings import render_holdings
    from vidret.pipelines.display.progress import progress_display

    with progress_display("verify", unit="videos", json_lines=json_progress) as on_progress:
        report = run_datasets_verify(config, on_progress=on_progress)
    _publish(report, render_holdings, as_json=config.json)


@cli.group(
    cls=Program,
    invoke_without_command=True,
    epilog=examples(
        "vidret weights verify ViT-B-32.pt",
        "vidret weights convert ViT-B-32.pt vit-b-32-openai.safetensors",
    ),
)
@click.pass_context
def weights(context: click.Context) -> None:
    """Say what a file of weights is, or make it safetensors."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@weights.command(
    "verify",
    cls=Command,
    epilog=examples(
        "vidret weights verify ViT-B-32.pt",
        "vidret weights verify Cnn14_mAP=0.431.pth --model Cnn14 --json",
    ),
)
@settings(WeightsConfig)
@session_options
def verify_weights(config: WeightsConfig) -> None:
    """Say what a file of weights is, and whether it is whole."""
    from vidret.pipelines.display.render import render_weights_verify
    from vidret.pipelines.weights import run_weights_verify

    _publish(run_weights_verify(config), render_weights_verify, as_json=config.json)


@weights.command(
    "convert",
    cls=Command,
    epilog=examples(
        "vidret weights convert ViT-B-32.pt vit-b-32-openai.safetensors",
        "vidret weights convert epoch_9.pt mine.safetensors --model ViT-B-32-quickgelu",
    ),
)
@settings(ConvertConfig)
@session_options
def convert_weights(config: ConvertConfig) -> None:
    """Write weights as safetensors that say what they are."""
    from vidret.pipelines.display.render import render_weights_convert
    from vidret.pipelines.weights import run_weights_convert

    _publish(run_weights_convert(config), render_weights_convert, as_json=config.json)


@cli.command(
    "train-heads",
    cls=Command,
    epilog=examples(
        "vidret train-heads", "vidret train-heads --head s-f+cmfi --seed 1 --epochs 20"
    ),
)
@json_progress_option
@settings(TrainConfig)
@session_options
def train_heads(config: TrainConfig, *, json_progress: bool) -> None:
    """Fit heads on a cache: first the picture, then the sound."""
    from vidret.pipelines.display.progress import progress_display
    from vidret.pipelines.display.render import render_train
    from vidret.pipelines.train_heads import run_train

    with progress_display("train", unit="epochs", json_lines=json_progress) as on_progress:
        report = run_train(config, on_progress=on_progress)
    _publish(report, render_train, as_json=config.json)


@cli.command(
    cls=Command,
    epilog=examples(
        "vidret finetune --e2e --unfreeze visual,text,last:2 --layer-decay 0.75",
        "vidret finetune --e2e --lora 8 --save delta --augment crop,flip",
    ),
)
@json_progress_option
@settings(FinetuneConfig)
@session_options
def finetune(config: FinetuneConfig, *, json_progress: bool) -> None:
    """Go on from a run: its heads, or the encoders too."""
    from vidret.pipelines.display.progress import progress_display
    from vidret.pipelines.display.render import render_finetune
    from vidret.pipelines.finetune import run_finetune

    with progress_display("finetune", unit="epochs", json_lines=json_progress) as on_progress:
        report = run_finetune(config, on_progress=on_progress)
    if launched().rank == 0:
        _publish(report, render_finetune, as_json=config.json)


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

        _publish(run_evaluate_sims(config), render_sims, as_json=config.json)
        return
    from vidret.pipelines.display.render import render_evaluate
    from vidret.pipelines.evaluate import run_evaluate

    _publish(run_evaluate(config), render_evaluate, as_json=config.json)


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
        _publish(plan_ablate(config), render_plan, as_json=as_json)
        return
    with progress_display("ablate", unit="runs", json_lines=json_progress) as on_progress:
        report = run_ablate(config, on_progress=on_progress)
    files = {"out": config.out, "plot": config.plot, "plot_cost": config.plot_cost}
    for path in write_ablation(report, **files):
        log.info("Wrote %s", path)
    _publish(report, lambda report: render_ablate(report, config.format), as_json=as_json)


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

    _publish(run_report(config), render_page, as_json=config.json)


@cli.group(
    "index",
    cls=Program,
    invoke_without_command=True,
    epilog=examples("vidret index update", "vidret index check"),
)
@click.pass_context
def index_group(context: click.Context) -> None:
    """Make searches in many videos quick, and keep them right."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@index_group.command(
    "build",
    cls=Command,
    epilog=examples("vidret index build", "vidret index build ~/Videos --every-frame"),
)
@json_progress_option
@settings(IndexUpdateConfig)
@session_options
@click.pass_context
def build_index(context: click.Context, config: IndexUpdateConfig, *, json_progress: bool) -> None:
    """Make the index of a cache or of a folder anew."""
    from vidret.pipelines.display.indexed import render_index
    from vidret.pipelines.display.progress import progress_display
    from vidret.pipelines.index import run_index_build

    extract = _extract_settings(context, config.work)
    with progress_display("index", unit="videos", json_lines=json_progress) as on_progress:
        report = run_index_build(config, extract=extract, on_progress=on_progress)
    _publish(report, render_index, as_json=config.json)


@index_group.command(
    "update",
    cls=Command,
    epilog=examples("vidret index update", "vidret index update ~/Videos --json"),
)
@json_progress_option
@settings(IndexUpdateConfig)
@session_options
@click.pass_context
def update_index(context: click.Context, config: IndexUpdateConfig, *, json_progress: bool) -> None:
    """Take in what is new, and forget what is gone."""
    from vidret.pipelines.display.indexed import render_index
    from vidret.pipelines.display.progress import progress_display
    from vidret.pipelines.index import run_index_update

    extract = _extract_settings(context, config.work)
    with progress_display("index", unit="videos", json_lines=json_progress) as on_progress:
        report = run_index_update(config, extract=extract, on_progress=on_progress)
    _publish(report, render_index, as_json=config.json)


@index_group.command(
    "status",
    cls=Command,
    epilog=examples("vidret index status", "vidret index status --json"),
)
@settings(IndexConfig, only=RANKED_BY)
@session_options
def index_status(config: IndexConfig) -> None:
    """Say what is indexed, and what is not yet."""
    from vidret.pipelines.display.indexed import render_index_status
    from vidret.pipelines.index import run_index_status

    _publish(run_index_status(config), render_index_status, as_json=config.json)


@index_group.command(
    "check",
    cls=Command,
    epilog=examples("vidret index check", "vidret index check --questions 20 --shortlist 50"),
)
@json_progress_option
@settings(IndexConfig)
@session_options
def check_index(config: IndexConfig, *, json_progress: bool) -> None:
    """Compare searches by the index with exhaustive ones."""
    from vidret.pipelines.display.indexed import render_index_check
    from vidret.pipelines.display.progress import progress_display
    from vidret.pipelines.index import run_index_check

    with progress_display("check", unit="questions", json_lines=json_progress) as on_progress:
        report = run_index_check(config, on_progress=on_progress)
    _publish(report, render_index_check, as_json=config.json)


@cli.command(
    cls=Command,
    epilog=examples(
        "vidret search 'a dog barks at night' ~/Videos",
        "vidret search 'a bell rings' --top 3 --format paths",
    ),
)
@settings(SearchConfig)
@session_options
@click.pass_context
def search(context: click.Context, config: SearchConfig) -> None:
    """Rank the clips of a folder or a cache by a sentence."""
    from vidret.pipelines.display.found import render_search
    from vidret.pipelines.display.progress import progress_display
    from vidret.pipelines.search import run_search

    extract = _extract_settings(context, config.work)
    with progress_display("extract", unit="videos") as on_progress:  # of a folder not cached yet
        report = run_search(config, extract=extract, on_progress=on_progress)
    _publish(
        report,
        lambda report: render_search(report, config.format),
        as_json=config.json or config.format == "json",
    )


@cli.command(
    cls=Command,
    epilog=examples(
        "vidret explain 'a bell rings' clip_017.mp4",
        "vidret explain 'a bell rings' clip_017.mp4 --format svg --out why.svg",
    ),
)
@settings(ExplainConfig)
@session_options
def explain(config: ExplainConfig) -> None:
    """Say which words, frames and parts speak for a clip."""
    from vidret.pipelines.display.explained import render_explanation
    from vidret.pipelines.explain import run_explain, write_explanation

    report, as_json = run_explain(config), config.json or config.format == "json"
    if config.out is None:
        _publish(report, lambda report: render_explanation(report, config.format), as_json=as_json)
        return
    text = json.dumps(report.as_json(), indent=2, default=str)
    write_explanation(
        text if as_json else str(render_explanation(report, config.format)), config.out
    )
    log.info("Wrote %s", config.out)


@cli.command(
    cls=Command,
    epilog=examples("vidret serve ~/Videos", "vidret serve --port 0 --read-only"),
)
@settings(ServeConfig)
@session_options
@click.pass_context
def serve(context: click.Context, config: ServeConfig) -> None:
    """Open a web page to search in, and the JSON API behind it."""
    from vidret.pipelines.serve import Served, run_serve

    def say(served: Served) -> None:
        needs = ", with the token" if served.needs_token else ""
        click.echo(f"Open {served.address}{needs}. Ctrl-C stops it.")
        sys.stdout.flush()

    session = context.find_root().ensure_object(Session)
    extract = resolve_here(ExtractConfig, {"work": str(config.work)}, session)
    run_serve(config, extract=extract, on_ready=say)


@cli.group(
    "config",
    cls=Program,
    invoke_without_command=True,
    epilog=examples("vidret config show --origin", "vidret config check"),
)
@click.pass_context
def config_group(context: click.Context) -> None:
    """Show which settings hold and why, or check their files."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@config_group.command(
    "show",
    cls=Command,
    epilog=examples("vidret config show --origin", "vidret config show extract"),
)
@click.argument("command", type=click.Choice(list(CONFIGS)), required=False)
@click.option("--origin", is_flag=True, help="Name the place that each value comes from.")
@session_options
@click.pass_context
def show_config(context: click.Context, *, command: str | None, origin: bool) -> None:
    """Print the settings that hold here, as a file that sets them."""
    from vidret.pipelines.config.show import settings_text

    session = context.find_root().ensure_object(Session)
    tables = (command,) if command else tuple(CONFIGS)
    click.echo(settings_text(tables, session.config_files, session.options, show_origin=origin))


@config_group.command(
    "check",
    cls=Command,
    epilog=examples("vidret config check", "vidret config check vidret.toml"),
)
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path))
@session_options
@click.pass_context
def check_config(context: click.Context, *, files: tuple[Path, ...]) -> None:
    """Check the named files of settings, or all that hold here."""
    from vidret.pipelines.config.show import check_settings

    session = context.find_root().ensure_object(Session)
    for line in check_settings(files, session.config_files):
        click.echo(line)


def main() -> None:
    """The program `vidret`; a queue or a container that ends it is answered like Ctrl-C."""
    signal.signal(signal.SIGTERM, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show
    cli(prog_name="vidret")


def _extract_settings(context: click.Context, work: Path) -> ExtractConfig:
    """How a folder is cached that a search or an index meets for the first time."""
    session = context.find_root().ensure_object(Session)
    return resolve_here(ExtractConfig, {"work": str(work)}, session)


def _publish(report: R, render: Callable[[R], "Rendered"], *, as_json: bool) -> None:
    """Print a report on stdout, then raise the error it ends in, if any."""
    from vidret.pipelines.display.tables import show

    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2, default=str))
    else:
        show(render(report))
    if report.verdict is not None:
        raise report.verdict


@contextmanager
def _log_on_stderr(verbosity: int) -> Iterator[None]:
    """Send the talk of all vidret modules to stderr for as long as the command runs."""
    levels = {-1: logging.WARNING, 0: logging.INFO, 1: logging.DEBUG}
    logger = logging.getLogger("vidret")
    before, handler = (logger.level, logger.propagate), _log_handler()
    logger.setLevel(levels[max(-1, min(verbosity, 1))])
    logger.propagate = False  # open_clip gives the root logger a handler, which would say it twice
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def _log_handler() -> logging.Handler:
    if not sys.stderr.isatty():
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        return handler
    from rich.console import Console
    from rich.logging import RichHandler

    return RichHandler(console=Console(stderr=True), show_time=False, show_path=False)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _report_interrupt(arguments: Sequence[str]) -> int:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # we are leaving already
    command = command_line(_without_secrets(arguments))
    if launched().size > 1:
        click.echo("If nobody stopped it, torchrun says below which process ended.", err=True)
    click.echo(f"Stopped. What is done is kept. Continue with: {command}", err=True)
    return INTERRUPTED


def _without_secrets(arguments: Sequence[str]) -> list[str]:
    """A command line that may be shown and kept."""
    shown = [re.sub(r"^--token=.*", "--token=...", argument) for argument in arguments]
    for place, argument in enumerate(shown[:-1]):
        if argument == "--token":
            shown[place + 1] = "..."
    return shown


def _report_error(error: Exception, arguments: Sequence[str], session: Session) -> int:
    """Say what went wrong in one sentence, and return the exit code."""
    if isinstance(error, click.ClickException):
        click.echo(f"vidret: {_usage_sentence(error)}", err=True)
        return error.exit_code
    if not isinstance(error, VidretError):
        return _report_bug(error, arguments, session)
    if session.verbosity > 0:
        click.echo(_traceback_text(error), err=True)
    click.echo(f"vidret: {error}", err=True)
    return error.exit_code


def _usage_sentence(error: click.ClickException) -> str:
    """Click's message in our words, and where to read on."""
    if isinstance(error, click.NoSuchOption):
        close = error.possibilities or []
        guess = f': did you mean "{close[0]}"?' if close else ""
        sentence = f'no option "{error.option_name}"{guess}'
    else:
        message = error.format_message().strip().removesuffix(".")
        sentence = message[:1].lower() + message[1:]
    context = getattr(error, "ctx", None)
    return f"{sentence} (see {context.command_path} --help)" if context else sentence


def _report_bug(error: Exception, arguments: Sequence[str], session: Session) -> int:
    """Keep the traceback where it can be sent from, and do not frighten with it."""
    text = _traceback_text(error)
    kept = _write_error_log(
        f"{shlex.join(['vidret', *_without_secrets(arguments)])}\n\n{text}", session.work
    )
    if kept is None or session.verbosity > 0:
        click.echo(text, err=True)
    reason = (str(error).strip() or "no message").splitlines()[0]
    place = f"the traceback is in {kept}" if kept else "the traceback is above"
    click.echo(f"vidret: unexpected {type(error).__name__}: {reason}: {place}", err=True)
    return BUG


def _write_error_log(text: str, work: Path | None) -> Path | None:
    """Write into the work folder, if there is one that can be written to."""
    if work is None or not work.is_dir():
        return None
    path = work / f"error-{datetime.now():%Y%m%d-%H%M%S}.log"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError:
        return None
    return path


def _traceback_text(error: Exception) -> str:
    return "".join(traceback.format_exception(error))


if __name__ == "__main__":
    main()
