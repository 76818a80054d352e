"""What a request may say: every value has its limits, and its words for the schema."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import Path, Query, Request
from pydantic import BeforeValidator

from vidret.data.errors import ConfigError
from vidret.data.printable import printable
from vidret.pipelines.config.searching import MOST_AUDIO
from vidret.pipelines.searching.answers import Question
from vidret.pipelines.searching.asking import SAYS_SOMETHING

MOST_TEXT = 2_000
MOST_TOP, MOST_FEW = 1_000, 50
MOST_GLOBS = 8
MOST_GLOB = 200
MOST_NAME = 100
MOST_WEIGHT = MOST_AUDIO
MOST_SECOND = 1e6
MOST_CLIP = 120.0
DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _a_day(text: str | None) -> str | None:
    """A day as it is written; a mere number would be taken for seconds since 1970."""
    if text is not None and not DAY.fullmatch(text):
        raise ValueError("give a day as in 2026-01-31")
    return text


Text = Annotated[
    str,
    Query(
        max_length=MOST_TEXT,
        description="What to look for.",
        json_schema_extra={
            "minLength": 1,
            "pattern": SAYS_SOMETHING,
        },  # `as_question` says it in words
    ),
]
Top = Annotated[int, Query(ge=1, le=MOST_TOP, description="How many hits to give.")]
HeadName = Annotated[str | None, Query(max_length=MOST_NAME, description="What ranks.")]
Weight = Annotated[
    float,
    Query(ge=0, le=MOST_WEIGHT, allow_inf_nan=False, description="What the sound counts."),
]
Globs = Annotated[
    list[Annotated[str, Query(max_length=MOST_GLOB)]],
    Query(max_length=MOST_GLOBS, description="Globs on the path, any of which may match."),
]
Since = Annotated[
    date | None,
    BeforeValidator(_a_day),
    Query(description="Only files modified on this day or later."),
]
WithSound = Annotated[bool, Query(description="Only videos whose sound is known.")]
Exhaustive = Annotated[bool, Query(description="Score every video, without a shortlist.")]
Second = Annotated[float, Query(ge=0, le=MOST_SECOND, allow_inf_nan=False)]
Pad = Annotated[float, Query(ge=0, le=30, allow_inf_nan=False, description="Seconds around it.")]
Width = Annotated[int, Query(ge=16, le=1280, description="Pixels, at most.")]
Few = Annotated[int, Query(ge=1, le=MOST_FEW, description="How many to give.")]
Video = Annotated[
    str, Path(max_length=MOST_NAME, pattern=r"^[A-Za-z0-9_-]+$", description="A hit's `id`.")
]


ADVICE = {
    "q": f"say what to look for, in {MOST_TEXT:,} signs or fewer",
    "top": "give a whole number from 1 to {most}",
    "head": f"give the name of a head, which has {MOST_NAME} signs at most",
    "audio_weight": f"give a number from 0 to {MOST_WEIGHT:g}",
    "where": f"give {MOST_GLOBS} globs at most, of {MOST_GLOB} signs each",
    "since": "give a day as in 2026-01-31",
    "only_with_sound": "give true or false",
    "exhaustive": "give true or false",
    "t": "give seconds from the beginning, 0 or more",
    "start": "give seconds from the beginning, 0 or more",
    "end": "give seconds from the beginning, 0 or more",
    "pad": "give a number of seconds from 0 to 30",
    "width": "give a whole number of pixels from 16 to 1280",
}


def advice_on(error: Mapping[str, Any], address: str) -> str:
    """What to say of a value that makes no sense, or of one that is missing.

    Args:
        error: the first that pydantic found.
        address: what was asked.
    """
    place = error["loc"]
    name = str(place[1] if len(place) > 1 else place[0])
    what = "is missing" if error["type"] == "missing" else "makes no sense"
    most = MOST_TOP if address.endswith("/search") else MOST_FEW
    advice = ADVICE.get(name, "see /openapi.json for what is taken").format(most=f"{most:,}")
    return f"{name} {what}: {advice}"


def only_known(request: Request) -> None:
    """Refuse what an address does not take: a typing error must not pass for an answer.

    Raises:
        ConfigError: a parameter is not known, stands twice where one value is taken, or holds
            bytes that are no text.
    """
    try:
        unquote_to_bytes(request.scope["query_string"]).decode()
    except UnicodeDecodeError as error:
        raise ConfigError("the address is no UTF-8: write its signs as those of UTF-8") from error
    told = request.app.openapi()["paths"][request.scope["route"].path][request.method.lower()]
    taken = {
        one["name"]: one["schema"].get("type") == "array"
        for one in told.get("parameters", [])
        if one["in"] == "query"
    }
    for name in request.query_params:
        if name not in taken:
            known = f"it takes {', '.join(taken)}" if taken else "it takes no parameter"
            raise ConfigError(
                f"{printable(name[:MOST_NAME])} is not known at this address: {known}"
            )
        if not taken[name] and len(request.query_params.getlist(name)) > 1:
            raise ConfigError(f"{name} is given twice: give it once")


def as_question(
    *,
    q: Text,
    top: Top = 20,
    head: HeadName = None,
    audio_weight: Weight = 1.0,
    where: Globs = [],  # noqa: B006 - the framework copies it
    since: Since = None,
    only_with_sound: WithSound = False,
    exhaustive: Exhaustive = False,
) -> Question:
    """The question of an address.

    Raises:
        ConfigError: it asks for nothing.
    """
    if not re.search(SAYS_SOMETHING, q):
        raise ConfigError("the query is empty: say what to look for")
    return Question(
        text=q.strip(),
        top=top,
        head=head or None,
        audio_weight=audio_weight,
        where=tuple(glob for glob in where if glob.strip()),
        since=since,
        only_with_sound=only_with_sound,
        exhaustive=exhaustive,
    )
