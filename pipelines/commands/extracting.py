"""`vidret demo`, `doctor`, `extract` and `probe`."""

from vidret.pipelines.commands.program import Command, examples, json_progress_option, publish
from vidret.pipelines.commands.root import cli
from vidret.pipelines.config.options import session_options, settings
from vidret.pipelines.config.settings import DemoConfig, ExtractConfig, ProbeConfig

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

    publish(run_doctor(config), render_doctor, as_json=config.json)


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
    publish(report, render_extract, as_json=config.json)


@cli.command(
    cls=Command,
    epilog=examples(
        "vidret probe clip.mp4", "vidret probe clip.mp4 --frames 30 --decoder ffmpeg --json"
    ),
)
@settings(ProbeConfig)
@session_options
def probe(config: ProbeConfig) -> None:
    """Decode one file as extract would, and say what came."""
    from vidret.pipelines.display.probed import render_probe
    from vidret.pipelines.probe import run_probe

    publish(run_probe(config), render_probe, as_json=config.json)
