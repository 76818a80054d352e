"""One cache folder: what is in it, and how to find it."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vidret.data.errors import ConfigError, DamagedError, MissingError
from vidret.data.features import Part, SplitFeatures, gather_split
from vidret.data.fingerprint import Fingerprint
from vidret.data.manifest import MANIFEST, Manifest, SplitCount, read_manifest
from vidret.data.samples import AudioState, Failure
from vidret.data.shards import read_caption_table, read_failures, read_video_table
from vidret.data.storage.hdf5 import ShardKind, how_to_repair
from vidret.data.storage.moved import encoder_found_again, found_again
from vidret.data.storage.projections import Projections, read_projections
from vidret.data.storage.rows import View
from vidret.data.upkeep.check import wrong_size

EVERY_SPLIT = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of a split is in a cache; `failed` holds all that is not, once it is complete.

    Args:
        expected: videos that the dataset has in this split.
        found: those of them that the cache holds.
        failed: the others.
        sound: how many of those found there are of each state.
        partial: those of which something could not be decoded, and was left out.
    """

    expected: int
    found: int
    failed: int
    sound: dict[AudioState, int]
    partial: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureCache:
    """The features in one folder; holds no open file."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path, *, partial: bool = False) -> "FeatureCache":
        """Look at a cache without reading its features.

        Args:
            folder: the cache.
            partial: take it before its extraction has finished, too.

        Raises:
            MissingError: the folder is no cache, or not complete.
            MismatchError: a newer vidret wrote it.
            DamagedError: a shard is not there, or not as long as it was.
        """
        manifest = read_manifest(folder)
        if not (manifest.complete or partial):
            raise MissingError(
                f"the extraction into {folder} has not finished: "
                "give the same `vidret extract` again, and it goes on"
            )
        for entry in manifest.shards:
            if what := wrong_size(folder, entry):
                raise DamagedError(f"{folder / entry.file} {what}: {how_to_repair(folder)}")
        return cls(folder=folder, manifest=_with_paths_of_today(manifest, folder.parent.parent))

    @property
    def fingerprint(self) -> Fingerprint:
        """What made the cache."""
        return self.manifest.fingerprint

    @property
    def splits(self) -> Mapping[str, SplitCount]:
        """The splits of the dataset, and how much each should hold."""
        return self.manifest.splits

    def failures(self) -> list[Failure]:
        """Every video of the dataset that could not be processed."""
        gone = set(self.manifest.removed.videos)
        return [
            failure
            for path in self._shards("video")
            for failure in read_failures(path)
            if failure.id not in gone
        ]

    def coverage(self, split: str) -> Coverage:
        """How many videos of a split are there, and how many of them have sound."""
        expected, gone = self._expected(split).videos, set(self.manifest.removed.videos)
        kept = [
            (state, partial)
            for table in map(read_video_table, self._shards("video"))
            for id_, its_split, state, partial in zip(
                table.ids, table.split, table.audio_state, table.partial.tolist(), strict=True
            )
            if its_split == split and id_ not in gone
        ]
        states = Counter(state for state, _ in kept)
        return Coverage(
            expected=expected,
            found=len(kept),
            failed=expected - len(kept),
            sound={state: states[state] for state in AudioState},
            partial=sum(partial for _, partial in kept),
        )

    def load(self, split: str, *, view: View = "ram", part: Part = "all") -> SplitFeatures:
        """The features of one split.

        Args:
            split: one of `splits`.
            view: `ram` reads it all now; `mapped` and `lazy` leave the embeddings on disk.
            part: `held-out` is a twentieth of its videos, and `rest` is the others.

        Raises:
            ConfigError: the dataset has no such split.
            DamagedError: a shard or the projections cannot be read, or an id is there twice.
        """
        expected = self._expected(split)
        return gather_split(
            self.folder,
            split,
            [read_video_table(path) for path in self._shards("video")],
            [read_caption_table(path) for path in self._shards("caption")],
            fingerprint=self.fingerprint,
            num_captions=expected.captions,
            view=view,
            removed=self.manifest.removed,
            projections=self._projections(),
            part=part,
        )

    def load_videos(self, *, view: View = "ram") -> SplitFeatures:
        """The videos of all splits in one, without any caption.

        Args:
            view: as in `load`.

        Raises:
            DamagedError: a shard or the projections cannot be read, or an id is there twice.
        """
        tables = map(read_video_table, self._shards("video"))
        return gather_split(
            self.folder,
            EVERY_SPLIT,
            [replace(table, split=[EVERY_SPLIT] * len(table.ids)) for table in tables],
            [],
            fingerprint=self.fingerprint,
            num_captions=0,
            view=view,
            removed=self.manifest.removed,
            projections=self._projections(),
        )

    def share(self, number: int, of: int) -> "FeatureCache":
        """Every `of`-th shard of videos, from `number` on, as if there were no other.

        The captions stay, as far as their videos are there.
        """
        videos = [entry for entry in self.manifest.shards if entry.kind == "video"][number::of]
        others = [entry for entry in self.manifest.shards if entry.kind != "video"]
        return replace(self, manifest=replace(self.manifest, shards=(*videos, *others)))

    def without_videos(self) -> "FeatureCache":
        """The cache as if it held no video yet."""
        return self.share(len(self.manifest.shards), 1)

    def _projections(self) -> Projections | None:
        """What is still to be applied to the features, where they were stored before it."""
        if self.fingerprint.features != "hidden":
            return None
        return read_projections(self.folder, self.manifest.files)

    def _shards(self, kind: ShardKind) -> list[Path]:
        return [self.folder / entry.file for entry in self.manifest.shards if entry.kind == kind]

    def _expected(self, split: str) -> SplitCount:
        if split not in self.splits:
            known = f"{self.folder} has no split {split!r}: choose one of {', '.join(self.splits)}"
            hint = (
                '; the lines of captions.jsonl give a folder its splits: "split": "train"'
                if list(self.splits) == ["all"]
                else ""
            )
            raise ConfigError(known + hint)
        return self.splits[split]


def find_caches(work: Path) -> list[Path]:
    """The cache folders of a work folder, the one written last first.

    Raises:
        MissingError: they cannot be listed.
    """
    place = work / "cache"
    try:
        os.scandir(place).close()  # a glob would find nothing, and say nothing
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise MissingError(
            f"cannot list {place}: {error.strerror}; get the right to read it, or choose another "
            "folder with --work"
        ) from error
    manifests = place.glob(f"*/{MANIFEST}")
    dated = sorted(manifests, key=lambda path: (-path.stat().st_mtime_ns, path))
    return [path.parent for path in dated]


def newest_cache(work: Path) -> Path:
    """The cache that was written last.

    Raises:
        MissingError: there is none.
    """
    caches = find_caches(work)
    if not caches:
        raise MissingError(
            f"no cache below {work / 'cache'}: make one with `vidret extract --dataset NAME`, "
            "or name another folder with --work"
        )
    return caches[0]


def _with_paths_of_today(manifest: Manifest, work: Path) -> Manifest:
    """What a moved or copied work folder took along is found in it again."""
    settings = dict(manifest.settings)
    for name in ("backbone", "audio"):
        if name in settings:
            settings[name] = encoder_found_again(settings[name], work)
    if "root" in settings:
        settings["root"] = str(found_again(Path(settings["root"]), work))
    return replace(manifest, settings=settings)
