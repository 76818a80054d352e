"""What an extraction did, or would do: its report, and the lists of what failed."""

import json
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidret.data.errors import ItemsFailedError, VidretError
from vidret.data.manifest import Removed
from vidret.data.pixels.reader import read_pixel_table
from vidret.data.printable import printable
from vidret.data.samples import AudioState, Dataset, Failure
from vidret.data.shards import read_failures, read_video_table
from vidret.data.storage.hdf5 import ShardEntry
from vidret.data.storage.publish import publish
from vidret.data.words import counted
from vidret.pipelines.config.settings import ExtractConfig
from vidret.pipelines.extraction.estimate import Estimate

FAILURES = ("failures.jsonl", "failures.md")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractReport:
    """What an extraction did, or would do.

    Args:
        to_do: videos that were not in the cache before, or may have changed.
        looked_at: those of them, in a dry run, whose content may be in the cache already.
        encoded: videos that this run decoded and encoded; others were recognised as they are.
        failures: of the whole cache, not only of this run.
        partial: videos of which something could not be decoded.
        removed: how many videos and captions are in the shards that the dataset no longer has.
        estimate: of a dry run.
        advice: which of decoding and encoding was the slower one, and what to change.
    """

    folder: Path
    dataset: str
    videos: int
    captions: int
    to_do: int
    encoded: int
    failures: tuple[Failure, ...]
    allowed: int
    sound: dict[str, int]
    partial: tuple[str, ...]
    removed: dict[str, int]
    bytes: int
    dry_run: bool
    notes: tuple[str, ...]
    estimate: Estimate | None = None
    advice: str = ""
    only: str | None = None
    looked_at: int = 0

    @property
    def verdict(self) -> VidretError | None:
        """More videos failed than were allowed."""
        if len(self.failures) <= self.allowed:
            return None
        return ItemsFailedError(
            f"{len(self.failures)} of {counted(self.videos, 'video')} failed, "
            f"{self.allowed} allowed: "
            f"see {self.folder / 'failures.md'}, or accept them with "
            f"--allow-failures {len(self.failures)}"
        )

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return asdict(self)


def make_report(
    config: ExtractConfig,
    dataset: Dataset,
    folder: Path,
    entries: Iterable[ShardEntry],
    *,
    to_do: int,
    encoded: int = 0,
    removed: Removed | None = None,
    estimate: Estimate | None = None,
    advice: str = "",
    looked_at: int = 0,
) -> ExtractReport:
    """Look through the shards of a cache for what became of each video."""
    entries, present = list(entries), {video.id for video in dataset.videos}
    kind = "video" if config.only is None else "pixel"
    shards = [folder / entry.file for entry in entries if entry.kind == kind]
    rows = [row for path in shards for row in _rows(path, kind) if row[0] in present]
    sound = Counter(state for _, state, _ in rows)
    return ExtractReport(
        folder=folder,
        dataset=dataset.name,
        videos=len(dataset.videos),
        captions=len(dataset.captions),
        to_do=to_do,
        encoded=encoded,
        failures=tuple(
            failure for path in shards for failure in read_failures(path) if failure.id in present
        ),
        allowed=config.failures_allowed(len(dataset.videos)),
        sound={str(state): sound[state] for state in AudioState},
        partial=tuple(id_ for id_, _, part in rows if part),
        removed={name: len(ids) for name, ids in asdict(removed or Removed()).items()},
        bytes=sum(entry.bytes for entry in entries),
        dry_run=config.dry_run,
        notes=dataset.notes,
        estimate=estimate,
        advice=advice,
        only=config.only,
        looked_at=looked_at,
    )


def _rows(path: Path, kind: str) -> Iterator[tuple[str, AudioState, bool]]:
    """Id, state of the sound, and whether something was left out, of every video of a shard."""
    if kind == "pixel":
        table = read_pixel_table(path)
        for id_, facts in zip(table.ids, table.facts, strict=True):
            yield id_, facts.audio_state, facts.partial
        return
    videos = read_video_table(path)
    yield from zip(videos.ids, videos.audio_state, map(bool, videos.partial), strict=True)


def write_failures(report: ExtractReport, dataset: Dataset, config: ExtractConfig) -> None:
    """The list for machines and the list for people; neither is there when nothing failed."""
    rows = [
        {**asdict(failure), "reproduce": how_to_reproduce(failure, dataset.root, config)}
        for failure in report.failures
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    for name, text in zip(FAILURES, (lines, _readable(rows, dataset.name)), strict=True):
        if not rows:
            (report.folder / name).unlink(missing_ok=True)
            continue
        with publish(report.folder / name) as part:
            part.write_text(text, encoding="utf-8", errors="backslashreplace")


def how_to_reproduce(failure: Failure, root: Path, config: ExtractConfig) -> str:
    """A command that shows the same failure again, alone."""
    given = ["--frames", str(config.frames), "--decoder", config.decoder]
    if config.sampling != "uniform":
        given += ["--sampling", config.sampling]
    return f"vidret probe {shell_word(str(root / failure.path))} {shlex.join(given)}"


def shell_word(text: str) -> str:
    """A name as bash takes it, also one with bytes that are no text or that no screen shows."""
    if not text.isprintable():
        return f"$'{''.join(map(_escaped, os.fsencode(text)))}'"
    word = shlex.quote(text)
    return f"./{word}" if text.startswith("-") else word


def _escaped(byte: int) -> str:
    if byte in b"'\\":
        return f"\\{byte:c}"
    return f"{byte:c}" if 32 <= byte < 127 else f"\\x{byte:02x}"


def _readable(rows: Sequence[dict[str, Any]], dataset: str) -> str:
    sections = [
        f"\n## {printable(row['id'])}\n\n- file: `{printable(row['path'])}`\n"
        f"- stage: {row['stage']}\n"
        f"- reason: {row['reason']}\n- reproduce: `{row['reproduce']}`\n"
        for row in rows
    ]
    title = f"# {counted(len(rows), 'video')} of {dataset} failed\n\n"
    again = (
        "Repair or replace the files, then give the same command again: files that changed are "
        "tried again, and with `--retry-failed` the others too.\n"
    )
    return title + again + "".join(sections)
