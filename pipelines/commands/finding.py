"""`vidret index`, `search`, `explain` and `serve`."""

import json
import logging
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from vidret.data.errors import ConfigError, ItemsFailedError
from vidret.data.printable import printable
from vidret.data.words import counted
from vidret.pipelines.commands.program import (
    Command,
    Program,
    examples,
    json_progress_option,
    publish,
    typed_lines,
)
from vidret.pipelines.commands.root import cli
from vidret.pipelines.config.options import (
    Session,
    options_of,
    resolve_here,
    session_options,
    settings,
)
from vidret.pipelines.config.searching import (
    ExplainConfig,
    IndexConfig,
    SearchConfig,
)
from vidret.pipelines.config.serving import ServeConfig
from vidret.pipelines.config.settings import ExtractConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from vidret.pipelines.search import SearchReport

log = logging.getLogger(__name__)

INDEXED = (
    *("work", "offline", "json", "path", "run", "head", "cache", "device"),
    *("scheduler", "scheduler_file"),
)
ENCODERS = ("backbone", "audio")


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
@settings(IndexConfig, only=(*INDEXED, "every_frame", "shares"))
@options_of(ExtractConfig, *ENCODERS)
@session_options
@click.pass_context
def build_index(
    context: click.Context, /, config: IndexConfig, *, json_progress: bool, **encoders: str | None
) -> None:
    """Make the index of a cache or of a folder anew."""
    extract = _extract_settings(context, config, encoders)

    from vidret.pipelines.display.indexed import render_index
    from vidret.pipelines.display.progress import progress_display
    from vidret.pipelines.index import run_index_build

    with progress_display("index", unit="videos", json_lines=json_progress) as on_progress:
        report = run_index_build(config, extract=extract, on_progress=on_progress)
    publish(report, render_index, as_json=config.json)


@index_group.command(
    "update",
    cls=Command,
    epilog=examples("vidret index update", "vidret index update ~/Videos --json"),
)
@json_progress_option
@settings(IndexConfig, only=(*INDEXED, "every_frame"))
@options_of(ExtractConfig, *ENCODERS)
@session_options
@click.pass_context
def update_index(
    context: click.Context, /, config: IndexConfig, *, json_progress: bool, **encoders: str | None
) -> None:
    """Take in what is new, and forget what is gone."""
    extract = _extract_settings(context, config, encoders)

    from vidret.pipelines.display.indexed import render_index
    from vidret.pipelines.display.progress import progress_display
    from vidret.pipelines.index import run_index_update

    with progress_display("index", unit="videos", json_lines=json_progress) as on_progress:
        report = run_index_update(config, extract=extract, on_progress=on_progress)
    publish(report, render_index, as_json=config.json)


@index_group.command(
    "status",
    cls=Command,
    epilog=examples("vidret index status", "vidret index status ~/Videos --json"),
)
@settings(IndexConfig, only=INDEXED)
@session_options
def index_status(config: IndexConfig) -> None:
    """Say what is indexed, and what is not yet."""
    from vidret.pipelines.display.indexed import render_index_status
    from vidret.pipelines.index import run_index_status

    publish(run_index_status(config), render_index_status, as_json=config.json)


@index_group.command(
    "check",
    cls=Command,
    epilog=examples(
        "vidret index check ~/Videos", "vidret index check --questions 20 --shortlist 50"
    ),
)
@json_progress_option
@settings(IndexConfig, only=(*INDEXED, "questions", "shortlist"))
@session_options
def check_index(config: IndexConfig, *, json_progress: bool) -> None:
    """Compare searches by the index with exhaustive ones."""
    from vidret.pipelines.display.indexed import render_index_check
    from vidret.pipelines.display.progress import progress_display
    from vidret.pipelines.index import run_index_check

    with progress_display("check", unit="questions", json_lines=json_progress) as on_progress:
        report = run_index_check(config, on_progress=on_progress)
    publish(report, render_index_check, as_json=config.json)


@cli.command(
    cls=Command,
    epilog=examples(
        "vidret search 'a dog barks at night' ~/Videos",
        "vidret search - ~/Videos --top 3 --json",
    ),
)
@settings(SearchConfig)
@options_of(ExtractConfig, *ENCODERS)
@session_options
@click.pass_context
def search(context: click.Context, /, config: SearchConfig, **encoders: str | None) -> None:
    """Rank the clips of a folder or a cache by a sentence."""
    extract = _extract_settings(context, config, encoders)

    from vidret.pipelines.display.found import render_search
    from vidret.pipelines.display.progress import progress_display
    from vidret.pipelines.search import open_search

    as_json = config.json or config.format == "json"
    with ExitStack() as stack:
        with progress_display("extract", unit="videos") as on_progress:  # of what is not cached yet
            answer = stack.enter_context(
                open_search(config, extract=extract, on_progress=on_progress)
            )
        if config.reads_queries:
            _answer_lines(answer, as_json=as_json)
        else:
            report = answer(config.query)
            publish(
                report,
                lambda report: render_search(report, config.format, rate=config.rate),
                as_json=as_json,
            )


def _answer_lines(answer: "Callable[[str], SearchReport]", *, as_json: bool) -> None:
    """Answer each line as it comes; one that makes no sense stops no other.

    Raises:
        ItemsFailedError: there was such a line.
    """
    from vidret.pipelines.display.found import render_search
    from vidret.pipelines.display.tables import show

    refused: list[str] = []
    for number, query in typed_lines("look for"):
        try:
            report = answer(_as_text(query))
        except ConfigError as error:
            refused.append(f'line {number}, "{printable(query)}": {error}')
            log.error("%s", refused[-1])  # noqa: TRY400 - the sentence says it all
            continue
        if as_json:  # a line an answer
            click.echo(json.dumps({"line": number} | report.as_json(), default=str))
        else:
            show(render_search(report))
        sys.stdout.flush()
    if refused:
        queries = counted(len(refused), "query", "queries")
        raise ItemsFailedError(f"{queries} could not be answered: {refused[0]}")


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
        publish(report, lambda report: render_explanation(report, config.format), as_json=as_json)
        return
    text = json.dumps(report.as_json(), indent=2, default=str)
    write_explanation(
        text if as_json else str(render_explanation(report, config.format)), config.out
    )
    log.info("Wrote %s", config.out)


@cli.command(
    cls=Command, epilog=examples("vidret serve ~/Videos", "vidret serve --port 0 --read-only")
)
@settings(ServeConfig)
@options_of(ExtractConfig, *ENCODERS)
@session_options
@click.pass_context
def serve(context: click.Context, /, config: ServeConfig, **encoders: str | None) -> None:
    """Open a web page to search in, and the JSON API behind it."""
    extract = _extract_settings(context, config, encoders)

    from vidret.pipelines.serve import Served, run_serve

    def say(served: Served) -> None:
        needs = ", with the token" if served.needs_token else ""
        click.echo(f"Open {served.address}{needs}. Ctrl-C stops it.")
        sys.stdout.flush()

    run_serve(config, extract=extract, on_ready=say)


def _as_text(line: str) -> str:
    """A line as somebody meant it.

    Raises:
        ConfigError: it is no UTF-8.
    """
    try:
        line.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConfigError("the line is no UTF-8: save the queries as UTF-8") from error
    return line.removeprefix("\ufeff")


def _extract_settings(
    context: click.Context,
    config: IndexConfig | SearchConfig | ServeConfig,
    encoders: dict[str, str | None],
) -> ExtractConfig:
    """How a folder is cached that a command meets for the first time.

    Raises:
        ConfigError: encoders are named where nothing is to be cached, or where a run has its own.
    """
    if any(encoders.values()):
        if config.path is None:
            raise ConfigError("--backbone and --audio say how a folder is cached: name the folder")
        from vidret.pipelines.searching.choosing import refuse_encoders

        refuse_encoders(config)
    session = context.find_root().ensure_object(Session)
    return resolve_here(ExtractConfig, {"work": str(config.work), **encoders}, session)
