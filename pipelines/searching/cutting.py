"""How caches are cut into parts, and what the parts must know of each other."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vidret.data.errors import MismatchError
from vidret.data.manifest import read_manifest
from vidret.pipelines.indexing.places import shares_indexed
from vidret.pipelines.searching.parts import Look
from vidret.pipelines.searching.scene import Part
from vidret.pipelines.searching.shortlist import EXHAUSTIVE_BELOW


def parts_of(
    work: Path,
    caches: Sequence[Path],
    runs: Mapping[str, Path | None],
    *,
    workers: int,
    shares: int | None = None,
    device: str = "auto",
    exhaustive_below: int = EXHAUSTIVE_BELOW,
) -> list[Part]:
    """The parts that caches are cut into.

    Args:
        work: the work folder.
        caches: their folders.
        runs: of the heads; an index of the first one decides how many shares there are.
        workers: where there is none, a share for each of them.
        shares: of each cache; None leaves it to the index.
        device: where heads compute.
        exhaustive_below: so many videos of a part or fewer are all scored.

    Raises:
        MissingError: there is no cache.
        MismatchError: the caches hold features of different kinds.
    """
    found, first = [], read_manifest(caches[0]).fingerprint.features_digest
    for folder in caches:
        manifest = read_manifest(folder)  # whether all shards are there, those see who open them
        if manifest.fingerprint.features_digest != first:
            raise MismatchError(
                f"{folder.name} has other features than {caches[0].name}: search caches together "
                "that were extracted with the same settings"
            )
        shards = sum(entry.kind == "video" for entry in manifest.shards)
        wanted = shares or shares_indexed(work, folder, next(iter(runs)))
        of = min(max(1, shards), wanted or -(-workers // len(caches)))
        found += [
            Part(
                work=work.absolute(),
                cache=folder.absolute(),
                runs=tuple(
                    (name, None if run is None else run.absolute()) for name, run in runs.items()
                ),
                device=device,
                exhaustive_below=exhaustive_below,
                number=number,
                of=of,
            )
            for number in range(of)
        ]
    return found


def parts_that_know_each_other(bare: Sequence[Part], looks: Sequence[Look]) -> list[Part]:
    """Parts that compete: silent videos of all get the same in the place of a sound."""
    unlearned = dict.fromkeys(name for look in looks for name in look.heard)
    stand_ins = tuple((name, _mean_heard(name, looks)) for name in unlearned)
    return [replace(part, stand_ins=stand_ins) for part in bare]


def _mean_heard(name: str, looks: Sequence[Look]) -> tuple[float, ...]:
    """What stands in for no sound where all parts compete."""
    heard = [look.heard[name] for look in looks if name in look.heard]
    videos = sum(count for _, count in heard)
    return tuple((np.array([total for total, _ in heard]).sum(0) / max(1, videos)).tolist())
