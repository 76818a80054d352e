"""`vidret datasets` and `vidret weights`: what is extracted from, and with."""

import click

from vidret.pipelines.commands.program import (
    Command,
    Program,
    examples,
    json_progress_option,
    publish,
)
from vidret.pipelines.commands.root import cli
from vidret.pipelines.config.options import session_options, settings
from vidret.pipelines.config.settings import ConvertConfig, DatasetsConfig, WeightsConfig


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

    publish(run_datasets_list(), render_datasets, as_json=as_json)


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

    publish(run_datasets_show(name), render_dataset, as_json=as_json)


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
    publish(report, render_holdings, as_json=config.json)


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

    publish(run_weights_verify(config), render_weights_verify, as_json=config.json)


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

    publish(run_weights_convert(config), render_weights_convert, as_json=config.json)
