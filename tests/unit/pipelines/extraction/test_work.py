import pytest
from making.caches import a_fingerprint, a_video

from vidret.data.shards import write_video_shard
from vidret.extract.task import TaskResult
from vidret.pipelines.extraction.work import LATEST, Pace


@pytest.fixture
def entry(tmp_path):
    path = tmp_path / "videos-00000.h5"
    return write_video_shard(path, [a_video(0)], [], a_fingerprint().features_digest)


def pace_of(entry, *seconds, on_gpu=False):
    pace = Pace(on_gpu=on_gpu)
    pace.latest.extend(TaskResult(entry=entry, waited=w, busy=b) for w, b in seconds)
    return pace


@pytest.mark.parametrize(
    ("waited", "busy", "on_gpu", "words"),
    [
        (9, 1, False, "decode-bound: more cores would help"),
        (9, 1, True, "decode-bound: raise --decoders"),
        (1, 9, False, "encode-bound: a GPU would help"),
        (1, 9, True, "encode-bound: add a GPU"),
        (2, 1, False, ""),
    ],
)
def test_the_slower_one_is_named_with_what_helps(entry, waited, busy, on_gpu, words):
    assert pace_of(entry, (waited, busy), on_gpu=on_gpu).note() == words


def test_only_the_latest_shards_count(entry):
    pace = pace_of(entry, *[(9, 1)] * 50, *[(1, 9)] * LATEST)
    assert pace.note().startswith("encode-bound")
