import shlex
from pathlib import Path

from making.caches import a_fingerprint

from vidret.data.manifest import Manifest
from vidret.pipelines.config.settings import ExtractConfig
from vidret.pipelines.extraction.again import extract_again


def a_manifest(dataset, settings, frames=12):
    return Manifest(
        fingerprint=a_fingerprint(dataset=dataset, frames=frames),
        settings={"root": "/my clips", "decoder": "av", "backbone": "tiny", "audio": "none"}
        | settings,
        splits={},
        shards=(),
        complete=True,
    )


def test_what_is_as_usual_is_left_out():
    folder = ExtractConfig().work.absolute() / "cache" / "synth"
    command = extract_again(folder, a_manifest("synth-540-0", {}))
    assert command == "vidret extract --backbone tiny --audio none"


def test_what_is_not_as_usual_is_an_option():
    settings = {"decoder": "ffmpeg", "sampling": "fps:1", "features": "hidden"}
    command = extract_again(
        Path("/w/cache/mine"), a_manifest("folder", settings, frames=4), "--pixels"
    )
    assert shlex.split(command) == [
        *("vidret", "extract", "--work", "/w", "--dataset", "folder:/my clips", "--frames", "4"),
        *("--sampling", "fps:1", "--decoder", "ffmpeg", "--features", "hidden"),
        *("--backbone", "tiny", "--audio", "none", "--pixels"),
    ]
