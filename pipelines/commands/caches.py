"""`vidret cache`: what was extracted."""

import click

from vidret.pipelines.commands.program import Command, Program, examples, publish
from vidret.pipelines.commands.root import cli
from vidret.pipelines.config.options import session_options, settings
from vidret.pipelines.config.settings import CacheConfig, CacheExportConfig, CacheGcConfig


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

    publish(run_cache_info(config), render_cache_info, as_json=config.json)


@cache.command(
    cls=Command, epilog=examples("vidret cache verify", "vidret cache verify --work vidret-demo")
)
@settings(CacheConfig)
@session_options
def verify(config: CacheConfig) -> None:
    """Compare every shard of a cache with its checksum."""
    from vidret.pipelines.cache import run_cache_verify
    from vidret.pipelines.display.render import render_cache_verify

    publish(run_cache_verify(config), render_cache_verify, as_json=config.json)


@cache.command(
    cls=Command, epilog=examples("vidret cache repair", "vidret cache repair && vidret extract")
)
@settings(CacheConfig)
@session_options
def repair(config: CacheConfig) -> None:
    """Set videos of damaged shards back, for the next extract."""
    from vidret.pipelines.cache import run_cache_repair
    from vidret.pipelines.display.render import render_cache_repair

    publish(run_cache_repair(config), render_cache_repair, as_json=config.json)


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

    publish(run_cache_export(config), render_cache_export, as_json=config.json)


@cache.command(
    cls=Command, epilog=examples("vidret cache gc --dry-run", "vidret cache gc --all --unused")
)
@settings(CacheGcConfig)
@session_options
def gc(config: CacheGcConfig) -> None:
    """Remove what lies in a cache without use."""
    from vidret.pipelines.cache import run_cache_gc
    from vidret.pipelines.display.render import render_cache_gc

    publish(run_cache_gc(config), render_cache_gc, as_json=config.json)
