import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from vidret.data.cache import FeatureCache
from vidret.heads.metrics import Ranks
from vidret.heads.streaming import BothRanks
from vidret.pipelines.ablation.ranks import keep_ranks, kept_ranks
from vidret.pipelines.evaluate import rank_split
from vidret.pipelines.training.fitting import as_split
from vidret.pipelines.training.runs import WEIGHTS, load_weights, read_run

FILE = "ranks-test.npz"


@pytest.fixture
def run_folder(tmp_path, fitted):
    """A finished run with its kept ranks, to change."""
    (folder,) = (fitted.work / "runs").iterdir()
    return shutil.copytree(folder, tmp_path / folder.name)


@pytest.fixture
def features(cache):
    return FeatureCache.open(cache)


def kept(folder, features, split="test", v2t_by="group", **changes):
    return kept_ranks(folder, replace(read_run(folder), **changes), features, split, v2t_by)


def same(one, other):
    return all(
        np.array_equal(getattr(getattr(one, way), count), getattr(getattr(other, way), count))
        for way in ("t2v", "v2t")
        for count in ("better", "tied")
    )


def test_kept_ranks_are_those_that_the_weights_give(run_folder, features):
    test = features.load("test")
    split = as_split(test, load_weights(run_folder, read_run(run_folder)).tau.device)
    ranks = rank_split(load_weights(run_folder, read_run(run_folder)), split, test)
    assert same(kept(run_folder, features), ranks)


def test_what_is_read_is_what_was_written(run_folder, features):
    ranks = BothRanks(
        t2v=Ranks(better=np.array([3, 0]), tied=np.array([0, 1])),
        v2t=Ranks(better=np.array([2]), tied=np.array([0])),
    )
    keep_ranks(run_folder, read_run(run_folder), features, "test", "group", ranks)
    assert same(kept(run_folder, features), ranks)
    assert kept(run_folder, features).t2v.better.dtype == np.int64


def test_other_weights_make_kept_ranks_stale(run_folder, features):
    weights = load_file(run_folder / WEIGHTS)
    save_file({name: value + 1e-7 for name, value in weights.items()}, run_folder / WEIGHTS)
    assert kept(run_folder, features) is None


def test_other_projections_beside_the_weights_make_them_stale(run_folder, features):
    shutil.copy(run_folder / WEIGHTS, run_folder / "projections.safetensors")
    assert kept(run_folder, features) is None


def test_other_settings_of_the_head_make_them_stale(run_folder, features):
    settings = read_run(run_folder).settings | {"activation": "relu"}
    assert kept(run_folder, features, settings=settings) is None


def test_another_content_of_the_cache_makes_them_stale(run_folder, features):
    manifest = features.manifest
    shards = (replace(manifest.shards[0], checksum="0" * 16), *manifest.shards[1:])
    other = replace(features, manifest=replace(manifest, shards=shards))
    assert kept(run_folder, other) is None
    gone = replace(manifest.removed, videos=("test-0",))
    other = replace(features, manifest=replace(manifest, removed=gone))
    assert kept(run_folder, other) is None


def test_another_competition_or_split_has_ranks_of_its_own(run_folder, features):
    assert kept(run_folder, features, v2t_by="caption") is None
    assert kept(run_folder, features, split="val") is None
    assert kept(run_folder, features) is not None


@pytest.mark.parametrize("damage", [b"", b"PK", b"nonsense"])
def test_damaged_ranks_are_no_ranks(run_folder, features, damage):
    (run_folder / FILE).write_bytes(damage)
    assert kept(run_folder, features) is None


def test_ranks_that_were_cut_short_are_no_ranks(run_folder, features):
    content = (run_folder / FILE).read_bytes()
    (run_folder / FILE).write_bytes(content[: len(content) // 2])
    assert kept(run_folder, features) is None


def test_ranks_without_weights_are_no_ranks(run_folder, features):
    run = read_run(run_folder)
    (run_folder / WEIGHTS).unlink()
    assert kept_ranks(run_folder, run, features, "test", "group") is None
