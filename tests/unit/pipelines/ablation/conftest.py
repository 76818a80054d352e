import pytest
from making.ablated import small_cache, small_config

from vidret.pipelines.ablate import run_ablate


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A small cache: only to look at."""
    return small_cache(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="session")
def fitted(tmp_path_factory, cache):
    """A work folder with one finished row of one seed, and its config: only to look at."""
    config = small_config(tmp_path_factory.mktemp("work"), cache, heads=("s-f",), seeds=(0,))
    run_ablate(config, on_progress=lambda _: None)
    return config
