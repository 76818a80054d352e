import json
import os
from dataclasses import replace

import numpy as np
import pytest
from making.caches import a_failure, flip_a_bit
from making.planted import planted_fingerprint, write_planted_cache

from vidret.data.cache import FeatureCache
from vidret.data.errors import ConfigError, DamagedError, MissingError
from vidret.data.manifest import MANIFEST, Removed, read_manifest, write_manifest
from vidret.data.samples import AudioState
from vidret.pipelines.cache import (
    run_cache_export,
    run_cache_gc,
    run_cache_info,
    run_cache_repair,
    run_cache_verify,
)
from vidret.pipelines.config.settings import CacheConfig, CacheExportConfig, CacheGcConfig
from vidret.pipelines.display.render import (
    render_cache_export,
    render_cache_gc,
    render_cache_info,
)
from vidret.pipelines.training.runs import FIT_SETTINGS, RUN, Run, write_run

SPLITS = {"train": 8, "test": 4}
SHARD = "videos-00000.h5"


@pytest.fixture
def folder(tmp_path):
    return write_planted_cache(
        tmp_path / "cache" / "planted", splits=SPLITS, failures=[a_failure(1)]
    )


def settle(folder):
    return CacheConfig(cache=folder)


def test_info_shows_what_a_cache_holds(folder):
    report = run_cache_info(settle(folder))
    assert (report.folder, report.failures, report.verdict) == (folder, 1, None)
    assert report.manifest == read_manifest(folder)
    train = report.coverage["train"]
    assert (train.expected, train.found, train.failed) == (9, 8, 1)
    assert train.sound[AudioState.SILENT] == 1


def test_info_shows_a_cache_that_is_not_finished(folder):
    write_manifest(folder, replace(read_manifest(folder), complete=False))
    assert not run_cache_info(settle(folder)).manifest.complete


def test_info_is_json(folder):
    told = json.loads(json.dumps(run_cache_info(settle(folder)).as_json(), default=str))
    assert told["coverage"]["test"]["found"] == 4
    assert told["manifest"]["fingerprint"]["dataset"] == "planted"


def test_without_a_named_cache_the_newest_is_shown(folder, tmp_path):
    assert run_cache_info(CacheConfig(work=tmp_path)).folder == folder


@pytest.mark.parametrize("run", [run_cache_info, run_cache_verify, run_cache_repair])
def test_a_folder_that_is_no_cache_is_named(run, tmp_path):
    with pytest.raises(MissingError, match=str(tmp_path / "nothing")):
        run(settle(tmp_path / "nothing"))


def test_a_whole_cache_has_no_problems(folder):
    report = run_cache_verify(settle(folder))
    assert (report.problems, report.verdict) == ((), None)


def test_one_flipped_bit_is_found_and_ends_with_5(folder):
    flip_a_bit(folder / SHARD, 1000)
    report = run_cache_verify(settle(folder))
    assert [problem.file for problem in report.problems] == [SHARD]
    assert isinstance(report.verdict, DamagedError)
    assert f"vidret cache repair --cache {folder}" in str(report.verdict)


def test_looking_for_damage_changes_nothing(folder):
    flip_a_bit(folder / SHARD, 1000)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    run_cache_verify(settle(folder))
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_repair_removes_the_damage_alone(folder):
    flip_a_bit(folder / SHARD, 1000)
    before = {path.name for path in folder.glob("*.h5")}
    report = run_cache_repair(settle(folder))
    assert (report.repaired, report.verdict) == (True, None)
    assert {path.name for path in folder.glob("*.h5")} == before - {SHARD}
    assert run_cache_verify(settle(folder)).problems == ()


def test_a_repaired_cache_is_not_taken_for_a_complete_one(folder):
    flip_a_bit(folder / SHARD, 1000)
    run_cache_repair(settle(folder))
    with pytest.raises(MissingError, match="give the same `vidret extract` again"):
        FeatureCache.open(folder)


def test_a_damaged_manifest_is_removed_and_the_shards_stay(folder):
    shards = sorted(folder.glob("*.h5"))
    (folder / MANIFEST).write_text("{")
    assert run_cache_verify(settle(folder)).verdict is not None
    run_cache_repair(settle(folder))
    assert not (folder / MANIFEST).exists()
    assert sorted(folder.glob("*.h5")) == shards


def test_a_repair_of_a_whole_cache_leaves_it_complete(folder):
    assert run_cache_repair(settle(folder)).problems == ()
    assert FeatureCache.open(folder).manifest.complete


def test_info_tells_what_left_the_dataset_and_what_the_features_are(folder):
    removed = Removed(videos=("train-0",), captions=("train-1#0",))
    write_manifest(folder, replace(read_manifest(folder), removed=removed))
    report = run_cache_info(settle(folder))
    assert report.coverage["train"].found == 7
    head, _, facts = render_cache_info(report)
    assert "complete" in head
    assert "no longer in the dataset: 1 video and 1 caption" in facts
    assert "features         projected" in facts
    assert "precision        float32" in facts


@pytest.mark.parametrize("split", [None, "test"])
def test_an_export_writes_the_splits_that_are_asked_for(folder, tmp_path, split):
    config = CacheExportConfig(cache=folder, to=tmp_path / "out", split=split)
    report = run_cache_export(config)
    splits = [split] if split else sorted(SPLITS)
    names = [f"{kind}-{name}.npz" for name in splits for kind in ("videos", "captions")]
    assert [path.name for path in report.files] == [*names, "fingerprint.json"]
    with np.load(tmp_path / "out" / "videos-test.npz") as file:
        expected = FeatureCache.open(folder).load("test")
        np.testing.assert_array_equal(file["frames"], expected.frames)
    assert str(tmp_path / "out") in render_cache_export(report)
    assert json.loads(json.dumps(report.as_json(), default=str))["to"] == str(tmp_path / "out")


def test_an_export_to_nowhere_is_refused(folder):
    with pytest.raises(ConfigError, match="with --to"):
        run_cache_export(CacheExportConfig(cache=folder))


def test_an_unfinished_cache_is_not_exported(folder, tmp_path):
    write_manifest(folder, replace(read_manifest(folder), complete=False))
    with pytest.raises(MissingError, match="has not finished"):
        run_cache_export(CacheExportConfig(cache=folder, to=tmp_path / "out"))


@pytest.fixture
def work(tmp_path):
    """Five caches, from the oldest to the newest: only one is used by a run by its name."""
    for number, name in enumerate(("used", "scored", "unused", "swept", "newest")):
        changes = {"backbone_weights": name}
        folder = write_planted_cache(tmp_path / "cache" / name, splits=SPLITS, **changes)
        os.utime(folder / MANIFEST, (number, number))
    made = Run(
        name="mine",
        head="mean",
        seed=0,
        cache=tmp_path / "cache" / "used",
        fingerprint=planted_fingerprint(backbone_weights="scored"),
        settings=dict.fromkeys(FIT_SETTINGS, 1),
        history={},
        complete=True,
    )
    write_run(tmp_path / "runs" / "table" / "mine", made)
    return tmp_path


def caches(work):
    return sorted(path.name for path in (work / "cache").iterdir())


def test_gc_leaves_whole_caches_alone_unless_asked(work):
    report = run_cache_gc(CacheGcConfig(work=work))
    assert (report.folders, report.garbage) == ((work / "cache" / "newest",), ())
    assert "nothing to remove" in render_cache_gc(report)
    assert len(caches(work)) == 5


def test_gc_of_unused_caches_keeps_those_of_runs_and_the_newest(work):
    config = CacheGcConfig(work=work, unused=True)
    looked = run_cache_gc(replace(config, dry_run=True))
    assert [one.path.name for one in looked.garbage] == ["swept", "unused"]
    assert len(caches(work)) == 5
    report = run_cache_gc(config)
    assert caches(work) == ["newest", "scored", "used"]
    assert report.bytes == looked.bytes == sum(one.bytes for one in report.garbage) > 0
    assert "would be freed" in render_cache_gc(looked)
    assert "\nfreed: " in render_cache_gc(report)


def test_gc_of_all_goes_through_every_cache(work):
    for name in ("used", "swept"):
        (work / "cache" / name / "videos-00001.h5.ab.part").write_bytes(b"half")
    report = run_cache_gc(CacheGcConfig(work=work, all=True))
    assert sorted(one.path.parent.name for one in report.garbage) == ["swept", "used"]
    assert report.bytes == 8
    assert json.loads(json.dumps(report.as_json(), default=str))["bytes"] == 8


def test_gc_of_one_cache_touches_no_other(work):
    for name in ("used", "swept"):
        (work / "cache" / name / "videos-00001.h5.ab.part").write_bytes(b"half")
    run_cache_gc(CacheGcConfig(work=work, cache=work / "cache" / "used"))
    assert not list((work / "cache" / "used").glob("*.part"))
    assert list((work / "cache" / "swept").glob("*.part"))


def test_a_run_that_cannot_be_read_might_use_any_cache(work):
    (work / "runs" / "table" / "mine" / RUN).write_text("{")
    with pytest.raises(DamagedError, match="cannot be read"):
        run_cache_gc(CacheGcConfig(work=work, unused=True))
    assert len(caches(work)) == 5
