"""The command that makes a cache, or something more of it, again."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from vidret.data.manifest import Manifest
from vidret.pipelines.config.settings import SYNTH_CLIPS, ExtractConfig


def extract_again(
    folder: Path,
    manifest: Manifest,
    *more: str,
    encoders: Sequence[str] = (),
    work: Path | None = None,
) -> str:
    """The `vidret extract` that made a cache, with more options behind.

    Args:
        folder: the cache.
        manifest: of it.
        more: options.
        encoders: the options that name other encoders than its own.
        work: the work folder, where it is not the one that the cache lies in.
    """
    facts, settings, usual = manifest.fingerprint, manifest.settings, ExtractConfig()
    work = folder.parent.parent if work is None else work
    options = [] if work.absolute() == usual.work.absolute() else ["--work", str(work)]
    options += dataset_options(facts.dataset, settings["root"])
    options += [] if facts.frames == usual.frames else ["--frames", str(facts.frames)]
    for name in ("sampling", "decoder", "features", "precision"):
        value = settings.get(name, getattr(usual, name))
        options += [] if value == getattr(usual, name) else [f"--{name}", value]
    own = [] if encoders else ["--backbone", settings["backbone"], "--audio", settings["audio"]]
    return shlex.join(["vidret", "extract", *encoders, *options, *own, *more])


def dataset_options(dataset: str, root: str) -> Sequence[str]:
    """What names a dataset on the command line."""
    if drawn := re.fullmatch(r"synth-(\d+)-(\d+)", dataset):
        clips, seed = map(int, drawn.groups())
        options = [] if clips == SYNTH_CLIPS else ["--clips", str(clips)]
        return options + ([] if seed == 0 else ["--seed", str(seed)])
    if dataset == "folder":
        return ["--dataset", f"folder:{root}"]
    return ["--dataset", dataset, "--root", root]
