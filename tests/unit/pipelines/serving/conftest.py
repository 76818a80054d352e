import asyncio

import httpx2
import pytest
from making.served import make_world

from vidret.pipelines.searching.searcher import open_searcher
from vidret.pipelines.serving.app import build_app
from vidret.pipelines.serving.library import Library
from vidret.pipelines.serving.opening import Opening


class Asking:
    """Asks an application without a network, one request or several at once."""

    def __init__(self, app, library=None):
        self.app, self.library = app, library

    def __call__(self, path, method="GET", *, client="127.0.0.1", **options):
        return self.all([(path, options)], method, client=client)[0]

    def all(self, requests, method="GET", *, client="127.0.0.1"):
        address = (client, 40_000)

        async def ask():
            transport = httpx2.ASGITransport(app=self.app, client=address)
            base = "http://127.0.0.1:8765"
            async with httpx2.AsyncClient(transport=transport, base_url=base) as client:
                asked = [client.request(method, path, **options) for path, options in requests]
                return await asyncio.gather(*asked)

        return asyncio.run(ask())


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="session")
def searcher(world):
    return open_searcher(work=world.work, runs=("run", "mean"), device="cpu", offline=True)


@pytest.fixture(scope="module")
def serve(searcher, tmp_path_factory):
    """Make an application of a searcher, or of what makes one."""
    made = []

    def make(make_searcher=None, *, opened=True, token=None, hosts=("127.0.0.1",), **settings):
        opening = Opening(make_searcher or (lambda _: searcher))
        if opened:
            opening.open()
        previews = tmp_path_factory.mktemp("previews")
        library = Library(opening, previews=previews, preview_bytes=1 << 30, **settings)
        made.append(library)
        return Asking(build_app(library, token=token, hosts=hosts), library)

    yield make
    for library in made:
        library.close()


@pytest.fixture(scope="module")
def ask(serve):
    return serve()


@pytest.fixture(scope="session")
def id_of(searcher):
    """The opaque id of a video of the dataset."""
    from vidret.pipelines.searching.answers import Question

    (answer,) = searcher.search([Question(text="a red star", top=100)])
    found = {hit.video_id: hit.id for hit in answer.hits}
    return lambda number: found[f"v{number}"]
