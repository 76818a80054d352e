from pathlib import Path

import pytest

from vidret.data.errors import MismatchError, MissingError
from vidret.pipelines.display.progress import Progress
from vidret.pipelines.serving import opening
from vidret.pipelines.serving.opening import Opening


class Changing:
    """A searcher over another one, whose refresh does what a test wants."""

    def __init__(self, searcher, outcome):
        self._searcher, self.outcome = searcher, outcome

    def __getattr__(self, name):
        return getattr(self._searcher, name)

    def refresh(self):
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture(autouse=True)
def always_looks(monkeypatch):
    monkeypatch.setattr(opening, "REFRESH_SECONDS", 0.0)


def test_while_the_index_is_made_the_status_counts(serve):
    def make(on_progress):
        on_progress(Progress(done=3, failed=1, total=9, note="decode-bound"))
        raise MissingError("not yet")

    ask = serve(make, opened=False)
    with pytest.raises(MissingError):
        ask.library.opening.open()
    status = ask("/api/status").json()
    assert status["state"] == "building"
    assert status["progress"] == {
        "done": 3, "failed": 1, "skipped": 0, "total": 9, "note": "decode-bound"
    }  # fmt: skip


def test_a_question_before_the_index_is_there_is_asked_to_wait(serve):
    response = serve(opened=False)("/api/search", params={"q": "dog"})
    assert response.status_code == 503
    assert response.headers["retry-after"] == "2"


def test_what_does_not_fit_any_more_is_refused_with_its_field(serve, searcher):
    error = MismatchError("/home/me/cache was made with frames=4, but the run wants frames=12")
    made = Changing(searcher, error)
    ask = serve(lambda _: made)
    response = ask("/api/search", params={"q": "dog"})
    assert response.status_code == 409
    assert "frames=4" in response.json()["error"]
    assert "/home" not in response.text
    assert ask("/api/status").json()["state"] == "refused"
    made.outcome = False
    assert ask("/api/search", params={"q": "dog"}).status_code == 200
    assert ask("/api/status").json()["state"] == "ready"


@pytest.mark.parametrize("work", ["W2", "./my films/W2"])
def test_a_refusal_names_no_folder(serve, searcher, work):
    """The usual work folder is below the one that the server was started in."""
    error = MismatchError(
        f"{Path(work) / 'cache' / 'folder-12'} was made with frames=4: see cache/other/failures.md"
    )
    ask = serve(lambda _: Changing(searcher, error), places=[Path(work)])
    for address in ("/api/search?q=dog", "/api/status"):
        text = ask(address).text
        assert "folder-12 was made with frames=4: see failures.md" in text
        assert "W2" not in text
        assert "cache" not in text.replace('"cache":', "")


def test_an_index_that_is_being_written_goes_on_serving(serve, searcher):
    ask = serve(lambda _: Changing(searcher, MissingError("no manifest")))
    assert ask("/api/search", params={"q": "dog"}).status_code == 200


def test_a_status_is_kept_until_the_index_changes(searcher):
    counted = []

    class Counting(Changing):
        def status(self):
            counted.append(1)
            return self._searcher.status()

    made = Counting(searcher, False)
    one = Opening(lambda _: made)
    one.open()
    one.status()
    one.status()
    assert len(counted) == 1
    made.outcome = True
    one.status()
    assert len(counted) == 2


def test_a_refusal_says_what_to_build_without_naming_it(serve, searcher):
    error = MismatchError("the index was made for other weights: run `vidret index build`")
    ask = serve(lambda _: Changing(searcher, error))
    assert "`vidret index build FOLDER`" in ask("/api/search?q=dog").json()["error"]
