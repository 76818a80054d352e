"""Ground truth over the API: for a caption of the cache, where its video stands."""

import pytest

from vidret.pipelines.searching.answers import Question


def truth(ask, **parameters):
    response = ask("/api/truth", params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("head", ["run", "mean"])
def test_the_right_video_has_the_rank_of_a_search_for_all(ask, searcher, world, head):
    for number, text in enumerate(world.sentences[:6]):
        (answer,) = searcher.search([Question(text=text, top=20, head=head, exhaustive=True)])
        rank = next(hit.rank for hit in answer.hits if hit.video_id == f"v{number}")
        found = truth(ask, q=text, head=head)
        assert [hit["rank"] for hit in found["hits"]] == [rank]
        assert (found["videos"], found["left_out"], found["searched"]) == (1, 0, 20)
        assert found["head"] == head


def test_a_query_that_is_no_caption_has_none(ask):
    found = truth(ask, q="nothing of the kind")
    assert (found["videos"], found["hits"]) == (0, [])


def test_a_caption_is_known_in_capitals(ask, id_of):
    (hit,) = truth(ask, q=" A  RED star ")["hits"]
    assert hit["id"] == id_of(0)


def test_what_the_filters_keep_out_is_counted(ask):
    found = truth(ask, q="a red star", where="**/*.webm")
    assert (found["videos"], found["left_out"], found["hits"]) == (1, 1, [])
    assert found["searched"] == 1


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"q": ""}, "say what to look for"),
        ({"q": "x" * 2001}, "2,000 signs or fewer"),
        ({"q": "dog", "top": 51}, "a whole number from 1 to 50"),
        ({"q": "dog", "head": "nobody"}, "nobody"),
        ({"q": "dog", "audio_weight": "nan"}, "a number from 0 to 10"),
        ({"q": "dog", "where": ["*"] * 9}, "8 globs at most"),
    ],
)
def test_what_makes_no_sense_is_told_so(ask, parameters, words):
    response = ask("/api/truth", params=parameters)
    assert response.status_code == 422
    assert words in response.json()["error"]
