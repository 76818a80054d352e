import pytest
from making.crowded import open_crowd, write_crowded_cache

from vidret.pipelines.indexing.building import build_index
from vidret.pipelines.indexing.places import index_folder


@pytest.fixture(scope="session")
def crowd(tmp_path_factory):
    """A work folder with many videos: only to look at."""
    work = tmp_path_factory.mktemp("crowd")
    write_crowded_cache(work / "cache" / "crowd")
    return work


@pytest.fixture(scope="session")
def everyone(crowd):
    """A searcher that scores every video."""
    return open_crowd(crowd)


@pytest.fixture(scope="session")
def indexed(crowd, everyone):
    """A searcher that looks up even so few videos in an index."""
    ranker = everyone.ranker()
    build_index(index_folder(crowd, ranker), ranker, every_frame=True)
    return open_crowd(crowd, exhaustive_below=0)
