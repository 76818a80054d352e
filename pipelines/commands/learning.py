"""`vidret train-heads` and `vidret finetune`."""

from vidret.pipelines.commands.program import Command, examples, json_progress_option, publish
from vidret.pipelines.commands.root import cli
from vidret.pipelines.config.fitting import FinetuneConfig, TrainConfig
from vidret.pipelines.config.options import session_options, settings
from vidret.pipelines.launched import launched


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
    publish(report, render_train, as_json=config.json)


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
        publish(report, render_finetune, as_json=config.json)
