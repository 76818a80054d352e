import json
from urllib.parse import quote

import pytest
from click.testing import CliRunner

from vidret.pipelines.cli import cli
from vidret.pipelines.searching.answers import Question


def search(ask, **parameters):
    response = ask("/api/search", params={"q": "a red star"} | parameters)
    assert response.status_code == 200, response.text
    return response.json()


def test_hits_come_in_the_order_of_the_searcher(ask, searcher):
    question = Question(text="a blue cross", top=20)
    (answer,) = searcher.search([question])
    hits = search(ask, q="a blue cross", top=20)["hits"]
    assert [hit["id"] for hit in hits] == [hit.id for hit in answer.hits]
    assert [hit["rank"] for hit in hits] == list(range(1, 21))


@pytest.mark.parametrize("weight", [0, 0.5, 1])
@pytest.mark.parametrize("where", ["**", "**/1?.mp4"])
def test_hits_come_in_the_order_of_the_command_with_its_scores(ask, world, weight, where):
    asked = ["--audio-weight", str(weight), "--where", where, "--top", "20", "--json"]
    told = CliRunner().invoke(cli, ["search", "a green ring", "--work", str(world.work), *asked])
    assert told.exit_code == 0, told.output
    found = {hit["id"]: hit["score"] for hit in json.loads(told.stdout)["hits"]}
    hits = search(ask, q="a green ring", top=20, audio_weight=weight, where=where)["hits"]
    assert [f"v{world_number(world, hit)}" for hit in hits] == list(found)
    assert [hit["score"] for hit in hits] == pytest.approx(list(found.values()), abs=5e-6)


def world_number(world, hit):
    return next(n for n in range(20) if world.file(n).name == unspelt(hit["name"]))


def unspelt(name):
    return name.replace("\\u202e", "\u202e")


@pytest.mark.parametrize("head", ["run", "mean"])
def test_the_parts_add_up_to_the_score(ask, head):
    for hit in search(ask, head=head)["hits"]:
        assert sum(hit["parts"].values()) == pytest.approx(hit["score"])


def test_without_weight_the_sound_adds_nothing(ask):
    hits = search(ask, audio_weight=0, top=20)["hits"]
    assert all(hit["parts"]["audio"] == 0 for hit in hits)
    assert [hit["rank_without_sound"] for hit in hits] == [hit["rank"] for hit in hits]
    assert any(hit["sound_alone"] != 0 for hit in hits)


def test_what_is_known_at_one_weight_ranks_for_another(ask):
    """The page re-ranks from this while the slider moves."""
    moved = [
        (sum(v for k, v in hit["parts"].items() if k != "audio") + 0.5 * hit["sound_alone"], hit)
        for hit in search(ask, top=20)["hits"]
    ]
    again = [hit["id"] for _, hit in sorted(moved, key=lambda one: -one[0])]
    assert again == [hit["id"] for hit in search(ask, audio_weight=0.5, top=20)["hits"]]


def test_an_explanation_has_a_weight_for_every_word_and_frame(ask, id_of):
    found = ask(f"/api/videos/{id_of(0)}/explain", params={"q": "a red star"}).json()
    assert found["words"] == ["a", "red", "star"]
    assert [len(row) for row in found["grid"]] == [4, 4, 4]
    assert sum(found["word_shares"]) == pytest.approx(1)
    assert sum(found["parts"].values()) == pytest.approx(found["hit"]["score"])


def test_neighbours_leave_the_video_itself_out(ask, id_of):
    found = ask(f"/api/videos/{id_of(0)}/neighbours", params={"top": 3}).json()["neighbours"]
    assert len(found) == 3
    assert id_of(0) not in [one["id"] for one in found]


def test_the_status_says_what_is_searched(ask, world):
    status = ask("/api/status").json()
    assert (status["state"], status["videos"], status["with_sound"]) == ("ready", 20, 16)
    assert status["heads"] == ["run", "mean"]
    assert set(status["examples"]) <= set(world.sentences)
    assert status["examples"]


def test_filters_are_taken_from_the_address(ask):
    hits = search(ask, where="**/*.webm", top=20)["hits"]
    assert [hit["name"] for hit in hits] == ["näme with space.webm"]
    assert all(hit["sound"] == "ok" for hit in search(ask, only_with_sound=True)["hits"])
    assert search(ask, since="2999-01-01")["hits"] == []


# -- files


def test_a_range_is_answered_with_its_bytes(ask, id_of, world):
    whole = world.file(0).read_bytes()
    response = ask(f"/api/videos/{id_of(0)}/media", headers={"range": "bytes=100-199"})
    assert (response.status_code, response.content) == (206, whole[100:200])
    assert response.headers["content-range"] == f"bytes 100-199/{len(whole)}"
    assert response.headers["content-type"] == "video/mp4"


def test_without_a_range_the_whole_file_comes(ask, id_of, world):
    response = ask(f"/api/videos/{id_of(0)}/media")
    assert (response.status_code, response.content) == (200, world.file(0).read_bytes())
    assert response.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("wanted", ["bytes=99999999-", "bytes=-0", "bytes=99999999-,-0"])
def test_a_range_past_the_end_is_refused(ask, id_of, world, wanted):
    response = ask(f"/api/videos/{id_of(0)}/media", headers={"range": wanted})
    assert response.status_code == 416
    assert response.headers["content-range"] == f"bytes */{world.file(0).stat().st_size}"
    assert response.json() == {"error": "the file has no such bytes: ask for some before its end"}


@pytest.mark.parametrize(
    "wanted", ["bytes=9-0", "bytes=abc", "items=0-1", "bytes=0-1,x", "bytes=-", "bytes="]
)
def test_a_range_that_makes_no_sense_is_as_good_as_none(ask, id_of, world, wanted):
    response = ask(f"/api/videos/{id_of(0)}/media", headers={"range": wanted})
    assert (response.status_code, response.content) == (200, world.file(0).read_bytes())


def test_of_several_ranges_those_come_that_are_there(ask, id_of, world):
    headers = {"range": "bytes=0-1, 99999999-"}
    response = ask(f"/api/videos/{id_of(0)}/media", headers=headers)
    assert (response.status_code, response.content) == (206, world.file(0).read_bytes()[:2])


def test_a_file_that_is_known_is_not_sent_again(ask, id_of):
    address = f"/api/videos/{id_of(0)}/media"
    tag = ask(address).headers["etag"]
    for known in ("*", tag, f'"other", W/{tag}'):
        response = ask(address, headers={"if-none-match": known})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == tag
    assert ask(address, headers={"if-none-match": '"other"'}).status_code == 200


def test_a_file_may_be_asked_about_alone(ask, id_of, world):
    response = ask(f"/api/videos/{id_of(0)}/media", "HEAD")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == str(world.file(0).stat().st_size)
    assert ask(f"/api/videos/{id_of(2)}/preview/media", "HEAD").status_code == 404


@pytest.mark.parametrize("number", range(7))
def test_every_clip_has_a_picture_of_every_moment(ask, id_of, number):
    for second in (0, 2.5, 4):
        response = ask(f"/api/videos/{id_of(number)}/thumb", params={"t": second, "width": 96})
        assert response.status_code == 200, response.text
        assert response.content[:3] == b"\xff\xd8\xff"


@pytest.mark.parametrize("what", ["thumb?t=999", "clip?start=100&end=110", "clip?start=5&end=6"])
@pytest.mark.parametrize("number", [0, 1])
def test_what_lies_behind_the_end_is_told_so(ask, id_of, world, what, number):
    response = ask(f"/api/videos/{id_of(number)}/{what}")
    assert response.status_code == 422
    assert response.json()["error"].startswith("this video shows nothing")
    assert world.file(number).stem not in response.text


def test_a_clip_is_cut_out_with_its_pad(ask, id_of, tmp_path):
    import av

    response = ask(f"/api/videos/{id_of(1)}/clip", params={"start": 1, "end": 2, "pad": 0.5})
    assert response.status_code == 200
    assert response.headers["content-disposition"].startswith("attachment")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(response.content)
    with av.open(str(cut)) as container:
        assert container.duration / av.time_base == pytest.approx(2.0, abs=0.15)


# -- hostile questions


@pytest.mark.parametrize(
    "text",
    [
        "🐕‍🦺🔔",
        "كلب ينبح",
        "\u202eevil",
        "'; DROP TABLE videos; --",
        "<script>alert(1)</script>",
        "a\x00b",
        "%s%n{0}${7*7}",
        "x" * 2000,
        "🐕" * 2000,
    ],
)
def test_any_text_is_a_query(ask, text):
    response = ask(f"/api/search?q={quote(text)}&top=3")
    assert response.status_code == 200, response.text
    assert response.json()["query"] == text.strip()
    assert len(response.json()["hits"]) == 3


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, "q is missing: say what to look for"),
        ({"q": ""}, "say what to look for"),
        ({"q": "  \t "}, "say what to look for"),
        ({"q": "\x00\x07"}, "say what to look for"),
        ({"q": "\u200b\ufeff\u202e"}, "say what to look for"),
        ({"q": "x" * 10_000}, "2,000 signs or fewer"),
        ({"q": "dog", "top": 0}, "top makes no sense: give a whole number from 1 to 1,000"),
        ({"q": "dog", "top": 10**30}, "from 1 to 1,000"),
        ({"q": "dog", "top": "many"}, "from 1 to 1,000"),
        ({"q": "dog", "audio_weight": "nan"}, "give a number from 0 to 10"),
        ({"q": "dog", "audio_weight": "-1"}, "give a number from 0 to 10"),
        ({"q": "dog", "since": "yesterday"}, "give a day as in 2026-01-31"),
        ({"q": "dog", "since": "0"}, "give a day as in 2026-01-31"),
        ({"q": "dog", "since": "20240131"}, "give a day as in 2026-01-31"),
        ({"q": "dog", "since": "2024-02-31"}, "give a day"),
        ({"q": "dog", "head": "nobody"}, "nobody"),
        ({"q": "dog", "where": "*" * 500}, "give 8 globs at most"),
        ({"q": "dog", "exhaustive": "perhaps"}, "give true or false"),
        ({"q": "dog", "wehre": "a/**"}, "wehre is not known at this address: it takes q, top"),
        ({"q": ["dog", "cat"]}, "q is given twice: give it once"),
    ],
)
def test_a_question_that_makes_no_sense_is_told_so(ask, parameters, words):
    response = ask("/api/search", params=parameters)
    assert response.status_code == 422
    assert list(response.json()) == ["error"]
    assert words in response.json()["error"]


@pytest.mark.parametrize("query", ["q=%ff%fe", "q=dog&where=%c3"])
def test_bytes_that_are_no_text_are_told_so(ask, query):
    response = ask(f"/api/search?{query}")
    assert response.status_code == 422
    assert "no UTF-8" in response.json()["error"]


@pytest.mark.parametrize("path", ["/api/status", "/api/videos/{}/media", "/api/videos/{}/preview"])
def test_an_address_without_parameters_says_so(ask, id_of, path):
    response = ask(path.format(id_of(0)), params={"v": "2"})
    assert response.status_code == 422
    assert response.json() == {"error": "v is not known at this address: it takes no parameter"}


@pytest.mark.parametrize(
    "video",
    [
        "..",
        "%2e%2e",
        "..%2f..%2fetc%2fpasswd",
        "%252e%252e%252f",
        "a%00b",
        "/etc/passwd",
        "x" * 90,
        "é",
    ],
)
@pytest.mark.parametrize(
    "what", ["media", "thumb", "explain?q=dog", "preview", "clip?start=0&end=1"]
)
def test_an_id_that_is_none_finds_nothing(ask, video, what):
    response = ask(f"/api/videos/{video}/{what}")
    assert response.status_code == 404
    assert "root:" not in response.text


def test_an_address_of_the_page_holds_no_way_out(ask):
    for path in ("/..%2f..%2fpyproject.toml", "/page/../app.py", "/%2e%2e/app.py", "/app.py"):
        assert ask(path).status_code == 404


@pytest.mark.parametrize(
    ("start", "end"), [(5, 1), (0, 0), (0, 100_000), (-1, 2), ("nan", 2), (0, "inf")]
)
def test_a_clip_that_makes_no_sense_is_refused(ask, id_of, start, end):
    response = ask(f"/api/videos/{id_of(0)}/clip", params={"start": start, "end": end})
    assert response.status_code == 422


def test_a_video_that_went_while_it_was_listed_is_gone(ask, id_of, world):
    place, aside = world.file(12), world.root / "aside.mp4"
    place.rename(aside)
    try:
        for what in ("media", "thumb", "preview", "clip?start=0&end=1"):
            response = ask(f"/api/videos/{id_of(12)}/{what}")
            assert response.status_code == 410, what
            assert "no longer on the disk" in response.json()["error"]
            assert str(world.root) not in response.text
        assert search(ask)["hits"]
    finally:
        aside.rename(place)


def test_no_answer_tells_where_things_lie(ask, id_of, world):
    paths = ["/api/status", "/api/search?q=a+red+star&top=20", f"/api/videos/{id_of(0)}/preview"]
    for path in paths:
        assert str(world.root.parent) not in ask(path).text
