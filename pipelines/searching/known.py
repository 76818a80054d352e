"""Caches of a folder that are there already, and the commands that bring them up to date."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vidret.data.cache import find_caches
from vidret.data.errors import MissingError, VidretError
from vidret.data.folder import FOLDER_NAME, root_of
from vidret.data.manifest import Manifest, read_manifest
from vidret.data.printable import printable
from vidret.data.shards import read_sources
from vidret.data.words import counted
from vidret.pipelines.config.declaring import Config
from vidret.pipelines.extraction.again import extract_again
from vidret.pipelines.extraction.report import shell_word
from vidret.pipelines.searching.choosing import usual_runs
from vidret.pipelines.searching.ranker import ZERO_SHOT
from vidret.pipelines.training.runs import read_run

BUILD = "vidret index build"  # as errors of the data layer say it, which know no folder
Versions = dict[str, str]


def caches_of_folder(path: Path, work: Path) -> Iterator[tuple[Path, Manifest]]:
    """The caches of a folder in a work folder, the one written last first; no video is read."""
    root = root_of(path)
    for cache in find_caches(work):
        try:
            manifest = read_manifest(cache)
        except VidretError:
            continue
        if _root(manifest) == root:
            yield cache, manifest


def folders_cached(work: Path) -> list[Path]:
    """The folders of one's own that a work folder has caches of."""
    found: dict[Path, None] = {}
    for cache in find_caches(work):
        with suppress(VidretError):
            root = _root(read_manifest(cache))
            found |= {} if root is None else {root: None}
    return list(found)


def known_cache(path: Path, *, work: Path, head: str, run_folder: Path | None) -> Path:
    """The cache of a folder as it is, without looking for what is new.

    Args:
        path: the folder.
        work: the work folder.
        head: name of the run that is to rank it, or `mean`.
        run_folder: of the run; None takes the cache that was written last.

    Raises:
        MissingError: it was never cached, or not for this run.
    """
    run = None if run_folder is None else read_run(run_folder)
    found = [
        cache
        for cache, manifest in caches_of_folder(path, work)
        if run is None or manifest.fingerprint.features_digest == run.fingerprint.features_digest
    ]
    if found:
        return found[0]
    root = root_of(path)
    if not root.is_dir():
        raise MissingError(f"{printable(root)} is no folder: give one that holds videos")
    command = _index("build", shell_word(str(root)), work=work, head=head)
    whose = "" if run is None else f" with the encoders of run {head}"
    raise MissingError(f"{printable(root)} was never cached{whose}: `{command}` does it")


def index_command(verb: str, *, cache: Path, work: Path, head: str) -> str:
    """A `vidret index` as one would type it for a cache and a head.

    Args:
        verb: build, update, status or check.
        cache: folder of the cache.
        work: the work folder that the index lies in.
        head: name of the run, or `mean`.
    """
    root = _root(read_manifest(cache))
    if root is None or cache.absolute().parent.parent != work.absolute():
        return _index(verb, f"--cache {shell_word(str(cache))}", work=work, head=head)
    return _index(verb, shell_word(str(root)), work=work, head=head)


def update_command(*, cache: Path, work: Path, head: str) -> str:
    """What takes up files that changed: `vidret index update`, where that is for a folder.

    Of another dataset it reads the cache alone, and `vidret extract` has to come first.
    """
    update = index_command("update", cache=cache, work=work, head=head)
    manifest = read_manifest(cache)
    return update if _root(manifest) else f"{extract_again(cache, manifest)} && {update}"


@contextmanager
def naming_what_to_build(*, cache: Path, work: Path, head: str) -> Iterator[None]:
    """Say in full how to make an index, where an error names the bare command.

    Raises:
        VidretError: what the block raises, of the same class.
    """
    try:
        yield
    except VidretError as error:
        told = str(error)
        if f"`{BUILD}`" not in told:
            raise
        command = index_command("build", cache=cache, work=work, head=head)
        raise type(error)(told.replace(f"`{BUILD}`", f"`{command}`")) from error


def held_by(cache: Path) -> Versions | None:
    """What the file of each video of a cache held, by its id; None where it cannot be read."""
    try:
        manifest = read_manifest(cache)
        gone = set(manifest.removed.videos)
        return {
            name: hash_
            for entry in manifest.shards
            if entry.kind == "video"
            for table in [read_sources(cache / entry.file)]
            for name, hash_ in zip(table.ids, table.content_hash, strict=True)
            if name not in gone
        }
    except VidretError:
        return None


def changes_text(before: Versions | None, after: Versions | None) -> str:
    """`12 videos (3 new, 1 changed, 2 gone)`; empty where nothing changed, or nobody knows."""
    if after is None:
        return ""
    videos = counted(len(after), "video")
    if before is None:
        return f"{videos} cached"
    counts = {
        "new": len(after.keys() - before.keys()),
        "changed": sum(before[name] != after[name] for name in after.keys() & before.keys()),
        "gone": len(before.keys() - after.keys()),
    }
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    return told and f"{videos} ({told})"


def _root(manifest: Manifest) -> Path | None:
    """The folder of one's own that a cache is of; None for any other dataset."""
    if manifest.fingerprint.dataset != FOLDER_NAME:
        return None
    return root_of(Path(manifest.settings["root"]))


def _index(verb: str, what: str, *, work: Path, head: str) -> str:
    return " ".join(["vidret index", verb, what, *_work_option(work), *_head_option(work, head)])


def _work_option(work: Path) -> list[str]:
    usual = Config().work
    return [] if work.absolute() == usual.absolute() else ["--work", shell_word(str(work))]


def _head_option(work: Path, head: str) -> list[str]:
    """What names a head, unless it is the one that is taken when none is named."""
    if head == usual_runs(work)[0]:
        return []
    return ["--head", ZERO_SHOT] if head == ZERO_SHOT else ["--run", shlex.quote(head)]
