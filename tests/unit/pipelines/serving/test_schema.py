"""Whatever is asked, the answer is one that the schema names, in the form that it promises."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ODD = st.one_of(
    st.text(max_size=60),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["", "null", "true", "..", "%00", "1e309", "0x10", "2024-13-01", "[]", "**"]),
)
NAMES = ("q", "top", "head", "audio_weight", "where", "since", "only_with_sound", "exhaustive")


@pytest.fixture(scope="module")
def schema(ask):
    return ask("/openapi.json").json()


def parameters_of(schema, path):
    return [one["name"] for one in schema["paths"][path]["get"].get("parameters", [])]


def test_the_schema_names_every_address_and_what_it_takes(schema):
    assert set(schema["paths"]) == {
        "/api/status",
        "/api/search",
        "/api/truth",
        "/api/videos/{video}/explain",
        "/api/videos/{video}/neighbours",
        "/api/videos/{video}/thumb",
        "/api/videos/{video}/media",
        "/api/videos/{video}/preview",
        "/api/videos/{video}/preview/media",
        "/api/videos/{video}/clip",
    }
    assert set(parameters_of(schema, "/api/search")) == set(NAMES)


def matches(schema, form, value):
    """Whether a value is as a form of the schema says: names, kinds, nothing beside them."""
    if "$ref" in form:
        form = schema["components"]["schemas"][form["$ref"].rpartition("/")[2]]
    if "anyOf" in form:
        return any(matches(schema, one, value) for one in form["anyOf"])
    kind = form.get("type")
    if kind == "object" and "properties" in form:
        known = form["properties"]
        return set(value) == set(known) and all(
            matches(schema, known[name], value[name]) for name in known
        )
    if kind == "object":
        return isinstance(value, dict)
    if kind == "array":
        return all(matches(schema, form["items"], one) for one in value)
    kinds = {"string": str, "integer": int, "number": (int, float), "boolean": bool}
    return value is None if kind == "null" else isinstance(value, kinds[kind])


def check(schema, path, method, response):
    told = schema["paths"][path][method]["responses"]
    assert str(response.status_code) in told, response.text
    content = told[str(response.status_code)].get("content", {})
    if "application/json" in content:
        assert matches(schema, content["application/json"]["schema"], response.json())


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(asked=st.dictionaries(st.sampled_from(NAMES), ODD, max_size=5), text=st.text(max_size=40))
def test_any_question_gets_an_answer_of_the_schema(ask, schema, asked, text):
    wanted = {"q": text, "top": "3"} | asked
    sendable = {name: value.encode("utf-8", "replace").decode() for name, value in wanted.items()}
    check(schema, "/api/search", "get", ask("/api/search", params=sendable))


@settings(max_examples=40, deadline=None)
@given(
    what=st.sampled_from(["explain", "neighbours", "thumb", "clip", "preview", "media"]),
    known=st.booleans(),
    asked=st.dictionaries(
        st.sampled_from(["q", "t", "width", "start", "end", "pad", "top", "head"]), ODD, max_size=5
    ),
)
def test_any_question_about_a_video_gets_an_answer_of_the_schema(
    ask, schema, id_of, what, known, asked
):
    path = f"/api/videos/{{video}}/{what}"
    sendable = {
        name: value.encode("utf-8", "replace").decode()
        for name, value in asked.items()
        if name in parameters_of(schema, path)
    }
    video = id_of(0) if known else "0" * 32
    response = ask(path.format(video=video), params=sendable)
    check(schema, path, "get", response)
