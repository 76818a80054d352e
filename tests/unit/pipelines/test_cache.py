import json
from dataclasses import replace

import pytest
from making.caches import a_failure, flip_a_bit
from making.planted import write_planted_cache

from vidret.data.cache import FeatureCache
from vidret.data.errors import DamagedError, MissingError
from vidret.data.manifest import MANIFEST, read_manifest, write_manifest
from vidret.data.samples import AudioState
from vidret.pipelines.cache import run_cache_info, run_cache_repair, run_cache_verify
from vidret.pipelines.config.settings import CacheConfig

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
