"""The addresses of the API: each reads its question, asks the library, and answers in a form."""

import mimetypes
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Response
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from vidret.data.errors import ConfigError
from vidret.data.printable import printable
from vidret.extract.backends import installed
from vidret.pipelines.searching.answers import Question
from vidret.pipelines.serving.asking import (
    MOST_CLIP,
    Few,
    Globs,
    HeadName,
    Pad,
    Second,
    Since,
    Text,
    Video,
    Weight,
    Width,
    WithSound,
    as_question,
    only_known,
)
from vidret.pipelines.serving.forms import (
    AnswerForm,
    ExplanationForm,
    NeighboursForm,
    PreviewForm,
    ProblemForm,
    StatusForm,
    TruthForm,
    form_of_answer,
    form_of_explanation,
    form_of_neighbour,
    form_of_preview,
    form_of_status,
    form_of_truth,
)
from vidret.pipelines.serving.library import CLIP_SECONDS, Library, gone
from vidret.pipelines.serving.opening import RefusedError
from vidret.pipelines.serving.previews import Preview
from vidret.pipelines.serving.sending import SentFile

KEEP_PICTURES = {"cache-control": "private, max-age=3600"}
KEEP_FILES = {"cache-control": "private, no-cache"}
ANY_FILE = "application/octet-stream"

SENTENCES = {
    401: "A token is needed.",
    403: "Another site may not ask here.",
    404: "No video has this id.",
    409: "Cache and head do not fit together any more.",
    410: "The video is no longer on the disk.",
    413: "The request is too long.",
    414: "The address is too long.",
    416: "The file has no such bytes.",
    421: "This server is not reached by that name.",
    422: "A value is missing or makes no sense.",
    429: "Wrong tokens came from this address too often.",
    431: "The headers are too long.",
    500: "A bug of vidret; the server's log says more.",
    503: "The index is being made, or too much is asked at once.",
}


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """What else an address may answer, for the schema."""
    always = (401, 403, 413, 414, 421, 422, 429, 431, 500, 503)
    return {
        code: {"model": ProblemForm, "description": SENTENCES[code]}
        for code in sorted({*always, *codes})
    }


def build_router(library: Library) -> APIRouter:
    """All addresses below /api."""
    api = APIRouter(prefix="/api", dependencies=[Depends(only_known)])
    _add_answers(api, library)
    _add_pictures(api, library)
    _add_files(api, library)
    return api


def _add_answers(api: APIRouter, library: Library) -> None:
    """Search, truth, explain, neighbours, status."""

    @api.get("/status", response_model=StatusForm, responses=problems())
    async def status() -> StatusForm:
        """What is searched, and whether it can be."""
        return await library.run("look", lambda: _status(library))

    @api.get("/search", response_model=AnswerForm, responses=problems(409))
    async def search(question: Question = Depends(as_question)) -> AnswerForm:  # noqa: B008 - FastAPI's form
        """The videos that fit a query best, the best first, each with its moment."""
        return form_of_answer(await library.search(question))

    @api.get("/truth", response_model=TruthForm, responses=problems(409))
    async def truth(
        *,
        q: Text,
        top: Few = 10,
        head: HeadName = None,
        audio_weight: Weight = 1.0,
        where: Globs = [],  # noqa: B006 - the framework copies it
        since: Since = None,
        only_with_sound: WithSound = False,
    ) -> TruthForm:
        """Where the videos stand whose caption the query is, however far down."""
        question = as_question(
            q=q,
            top=top,
            head=head,
            audio_weight=audio_weight,
            where=where,
            since=since,
            only_with_sound=only_with_sound,
        )

        def look() -> TruthForm:
            return form_of_truth(library.opening.searcher().truth(question))

        return await library.run("look", look)

    @api.get(
        "/videos/{video}/explain", response_model=ExplanationForm, responses=problems(404, 409, 410)
    )
    async def explain(
        video: Video, q: Text, head: HeadName = None, audio_weight: Weight = 1.0
    ) -> ExplanationForm:
        """Why a video answers a query: words, frames, and what the sound has of it."""
        question = replace(as_question(q=q), head=head or None, audio_weight=audio_weight)

        def look() -> ExplanationForm:
            return form_of_explanation(library.opening.searcher().explain(question, video))

        return await library.run("look", look)

    @api.get(
        "/videos/{video}/neighbours",
        response_model=NeighboursForm,
        responses=problems(404, 409, 410),
    )
    async def neighbours(video: Video, top: Few = 6) -> NeighboursForm:
        """The videos that look most like one, the most like first."""

        def look() -> NeighboursForm:
            found = library.opening.searcher().neighbours(video, top)
            return NeighboursForm(neighbours=[form_of_neighbour(one) for one in found])

        return await library.run("look", look)


def _add_pictures(api: APIRouter, library: Library) -> None:
    """Thumbnails."""

    @api.get(
        "/videos/{video}/thumb",
        response_class=Response,
        responses=problems(404, 409, 410) | {200: {"content": {"image/jpeg": {}}}},
    )
    async def thumb(video: Video, t: Second = 0.0, width: Width = 320) -> Response:
        """A picture of a moment; 422 where the video has ended before."""
        jpeg = await library.run("draw", lambda: library.draw(video, t, width))
        return Response(jpeg, media_type="image/jpeg", headers=KEEP_PICTURES)


def _add_files(api: APIRouter, library: Library) -> None:
    """The video itself, its preview, and clips of it."""
    of_file = problems(404, 409, 410, 416) | {
        200: {"content": {"video/*": {}}, "description": "The whole file."},
        304: {"description": "It is as the header If-None-Match has it."},
        206: {"content": {"video/*": {}}, "description": "The bytes of the Range header."},
    }

    async def media(video: Video) -> FileResponse:
        """The file as it lies on the disk; takes the header Range."""
        path = await library.run("look", lambda: library.file_of(video))
        return _as_file(path, _kind_of(path))

    async def preview_media(video: Video) -> FileResponse:
        """The preview that was made of a file; takes the header Range."""
        path = await library.run("look", lambda: library.previews.file(library.file_of(video)))
        if path is None:
            raise NoPreviewError("there is no preview of this video yet: ask for one with POST")
        return _as_file(path, "video/mp4")

    for place, sends in (("media", media), ("preview/media", preview_media)):
        for way in ("GET", "HEAD"):
            api.add_api_route(
                f"/videos/{{video}}/{place}",
                sends,
                methods=[way],
                response_class=FileResponse,
                responses=of_file,
                operation_id=f"{way.lower()}_{sends.__name__}",
            )

    @api.get(
        "/videos/{video}/preview", response_model=PreviewForm, responses=problems(404, 409, 410)
    )
    async def preview(video: Video) -> PreviewForm:
        """How a browser can play a video, and how far its preview is."""
        return await _preview(library, video, library.previews.look)

    @api.post(
        "/videos/{video}/preview", response_model=PreviewForm, responses=problems(404, 409, 410)
    )
    async def prepare(video: Video) -> PreviewForm:
        """Have a preview made, where a browser cannot play the file."""
        return await _preview(library, video, library.previews.ask)

    @api.get(
        "/videos/{video}/clip",
        response_class=FileResponse,
        responses=problems(404, 409, 410)
        | {200: {"content": {"video/mp4": {}}, "description": "The clip as a file of its own."}},
    )
    async def clip(video: Video, start: Second, end: Second, pad: Pad = 0.0) -> FileResponse:
        """A stretch of a video as MP4, to keep; 422 where the video shows nothing there."""
        if not 0 < end - start <= MOST_CLIP:
            raise ConfigError(
                f"a clip from {start:g} to {end:g} s: give an end after the start, "
                f"{MOST_CLIP:g} s later at most"
            )
        begin = max(start - pad, 0.0)

        def work() -> tuple[Path, str]:
            path = library.file_of(video)
            name = f"{printable(path.stem)}-{begin:.0f}s.mp4"
            return library.cut(path, begin, end + pad), name

        path, name = await library.run("cut", work, CLIP_SECONDS)
        return FileResponse(
            path,
            media_type="video/mp4",
            headers={"content-disposition": f"attachment; filename*=utf-8''{quote(name, safe='')}"},
            background=BackgroundTask(partial(path.unlink, missing_ok=True)),
        )


class NoPreviewError(Exception):
    """A preview is asked for that was not made."""


def _status(library: Library) -> StatusForm:
    standing, status = library.opening.standing, None
    if standing.state != "building":
        with suppress(RefusedError):  # the form says why
            status = library.opening.status()
        standing = library.opening.standing
    return form_of_status(
        standing,
        status,
        bare=library.wording.bare,
        version=installed("vidret"),
        read_only=library.read_only,
    )


async def _preview(library: Library, video: str, ask: Any) -> PreviewForm:  # noqa: ANN401 - look or ask
    found: Preview = await library.run("look", lambda: ask(library.file_of(video)))
    return form_of_preview(video, found)


def _as_file(path: Path, kind: str) -> FileResponse:
    try:
        status = path.stat()
    except OSError:
        raise gone() from None
    return SentFile(path, kind=kind, headers=KEEP_FILES, facts=status)


def _kind_of(path: Path) -> str:
    """What a browser is told that it is; nothing but a video ever counts as something to show."""
    kind = mimetypes.guess_type(path.name)[0] or ANY_FILE
    return kind if kind.startswith("video/") else ANY_FILE
