"""The whole application: the API, the page, and one sentence for everything that goes wrong."""

import logging
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from vidret.data.errors import (
    ConfigError,
    DamagedError,
    DecodeError,
    MismatchError,
    MissingError,
    VidretError,
)
from vidret.extract.backends import installed
from vidret.extract.decoding.beginnings import NothingThereError
from vidret.extract.schedule import SchedulerGoneError
from vidret.pipelines.searching.answers import UnknownVideoError
from vidret.pipelines.serving.api import NoPreviewError, build_router
from vidret.pipelines.serving.asking import advice_on
from vidret.pipelines.serving.gathering import BusyError
from vidret.pipelines.serving.guarding import Guard
from vidret.pipelines.serving.library import GoneError, Library, gone
from vidret.pipelines.serving.opening import NotReadyError, RefusedError
from vidret.pipelines.serving.wording import Wording

log = logging.getLogger(__name__)

PAGE = Path(str(files("vidret.pipelines.serving") / "page"))
KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
CODES: tuple[tuple[type[Exception], int], ...] = (  # the first that fits
    (UnknownVideoError, 404),
    (NoPreviewError, 404),
    (GoneError, 410),
    (NotReadyError, 503),
    (BusyError, 503),
    (SchedulerGoneError, 503),
    (RefusedError, 409),
    (MismatchError, 409),
    (DamagedError, 409),
    (ConfigError, 422),
    (NothingThereError, 422),
    (DecodeError, 404),
    (MissingError, 410),
)
WAYS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
UNKNOWN = "no video has this id: search again"
NO_CLUSTER = (
    "the cluster that answers is gone: start its scheduler and its workers again, then vidret serve"
)
WORDS = {404: "nothing is found at this address", 405: "this address is not asked in that way"}


def build_app(
    library: Library, *, token: str | None = None, hosts: Iterable[str] | None = None
) -> FastAPI:
    """The application of a library.

    Args:
        library: what it answers with.
        token: what every request must bring, if any.
        hosts: names that it may be called by; None is any.
    """
    app = FastAPI(
        title="vidret",
        version=installed("vidret"),
        summary="Find videos by what they show, what is said of them, and how they sound.",
        docs_url=None,  # they would load from another host
        redoc_url=None,
    )
    app.include_router(build_router(library))
    _add_page(app)
    _add_problems(app, library.wording)
    app.add_middleware(Guard, token=token, hosts=hosts)
    return app


def _add_page(app: FastAPI) -> None:
    """Each file of the page has an address of its own: nothing else can be asked for."""
    for file in sorted(PAGE.iterdir()):
        kind = KINDS.get(file.suffix)
        if kind is not None:
            address = "/" if file.name == "index.html" else f"/{file.name}"
            app.add_api_route(
                address, _sends(file, kind), methods=["GET", "HEAD"], include_in_schema=False
            )


def _sends(file: Path, kind: str) -> Any:  # noqa: ANN401 - an endpoint
    async def send() -> FileResponse:
        return FileResponse(file, media_type=kind, headers={"cache-control": "no-cache"})

    return send


def _add_problems(app: FastAPI, wording: Wording) -> None:
    """Turn errors into a status and a sentence."""

    async def of_vidret(_: Request, error: Exception) -> JSONResponse:
        code = next((code for kind, code in CODES if isinstance(error, kind)), 500)
        if code == 500:
            log.error("A request failed: %s", error)
        if isinstance(error, UnknownVideoError):
            return _problem(code, UNKNOWN)
        if isinstance(error, SchedulerGoneError):
            log.error("%s", error)
            return _problem(code, NO_CLUSTER)
        headers = {"retry-after": "2"} if code == 503 else None
        told = wording.plain if isinstance(error, ConfigError) else wording.bare
        return _problem(code, told(str(error)), headers)

    async def of_files(_: Request, error: Exception) -> JSONResponse:
        log.warning("A file could not be read: %s", error)
        return _problem(410, str(gone()))

    async def of_validation(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        if first["loc"][:2] == ("path", "video"):
            return _problem(404, UNKNOWN)
        return _problem(422, advice_on(first, request.url.path))

    async def of_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        words = WORDS.get(error.status_code, "the request makes no sense")
        allowed = {"allow": _methods_of(request)} if error.status_code == 405 else error.headers
        return _problem(error.status_code, words, allowed)

    app.add_exception_handler(VidretError, of_vidret)
    app.add_exception_handler(NoPreviewError, of_vidret)
    app.add_exception_handler(OSError, of_files)
    app.add_exception_handler(RequestValidationError, of_validation)
    app.add_exception_handler(HTTPException, of_http)


def _methods_of(request: Request) -> str:
    """How an address may be asked; each way is a route of its own."""

    def fits(way: str) -> bool:
        asked = {**request.scope, "method": way}
        return any(route.matches(asked)[0] is Match.FULL for route in request.app.routes)

    return ", ".join(way for way in WAYS if fits(way))


def _problem(code: int, sentence: str, headers: Any = None) -> JSONResponse:  # noqa: ANN401 - a mapping
    return JSONResponse({"error": sentence}, status_code=code, headers=headers)
