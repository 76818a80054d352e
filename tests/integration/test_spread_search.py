"""A real Dask cluster that extracts, indexes and searches; one of its workers dies."""

import json

import pytest
from making.cluster import started_cluster
from making.processes import run_vidret, succeed

pytestmark = [pytest.mark.xdist_group("cluster"), pytest.mark.slow]

WORKERS = 3
CLIPS = ("extract", "--clips", "54", "--shard-size", "8", "--backbone", "tiny", "--audio", "tiny")


def searched(*options, cwd):
    printed = succeed("search", "a red star", "--json", "--top", "54", *options, cwd=cwd)
    answer = json.loads(printed)
    hits = [(hit["id"], hit["start"], hit["end"], hit["sound"]) for hit in answer["hits"]]
    return hits, [hit["score"] for hit in answer["hits"]], (answer["searched"], answer["matches"])


def test_the_cluster_that_extracted_answers_as_one_machine_does(tmp_path):
    with started_cluster(tmp_path / "cluster", WORKERS) as cluster:
        there = ("--scheduler-file", str(cluster.file))
        succeed(*CLIPS, *there, cwd=tmp_path)
        built = json.loads(succeed("index", "build", "--json", *there, cwd=tmp_path))
        assert (built["shares"], built["header"]["videos"]) == (WORKERS, 54)
        alone, scores, counts = searched(cwd=tmp_path)
        for worker_dies in (False, True):
            if worker_dies:
                cluster.nodes[-1].kill()
            found, found_scores, found_counts = searched(*there, cwd=tmp_path)
            assert (found, found_counts) == (alone, counts)
            assert found_scores == pytest.approx(scores, abs=1e-5)
        status = json.loads(succeed("index", "status", "--json", *there, cwd=tmp_path))
        assert status["shares"] == WORKERS  # as they were indexed, with one worker less
        checked = succeed("index", "check", "--questions", "2", *there, cwd=tmp_path)
        told = f"each of {WORKERS} shares searched by itself, with {2 * WORKERS} captions in all"
        assert told in " ".join(checked.split())


def test_a_cluster_that_cannot_be_reached_is_named(tmp_path):
    succeed(*CLIPS, cwd=tmp_path)
    result = run_vidret("search", "x", "--scheduler-file", "none.json", cwd=tmp_path)
    assert result.returncode == 4
    assert "there is no scheduler file none.json" in result.stderr
