"""`vidret serve`: the page and its API, for as long as nobody stops them."""

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass

import uvicorn

from vidret.data.errors import MissingError, VidretError
from vidret.pipelines.config.serving import ServeConfig
from vidret.pipelines.config.settings import ExtractConfig
from vidret.pipelines.display.progress import OnProgress
from vidret.pipelines.searching.anywhere import AnySearcher, searching
from vidret.pipelines.serving.app import build_app
from vidret.pipelines.serving.connections import PromptProtocol
from vidret.pipelines.serving.guarding import LOOPBACK
from vidret.pipelines.serving.library import Library
from vidret.pipelines.serving.opening import Opening

log = logging.getLogger(__name__)

PREVIEWS = "previews"  # in the work folder
MOST_CONNECTIONS = 512
MOST_HEADERS = 48 << 10  # bytes, all lines of a request together
IDLE_SECONDS = 10
LAST_SECONDS = 5  # for what is still answered when the server stops


@dataclass(frozen=True, slots=True)
class Served:
    """Where a server is reached."""

    address: str
    needs_token: bool


def run_serve(
    config: ServeConfig,
    *,
    extract: ExtractConfig | None = None,
    on_ready: Callable[[Served], None] = lambda _: None,
) -> None:
    """Serve until Ctrl-C; the page is there at once and says how far the index is.

    Args:
        config: what to serve, and where.
        extract: how to cache a folder where there is no run that says it.
        on_ready: told once the page can be opened.

    Raises:
        MismatchError: the cache and a head do not fit.
        MissingError: something is not there, or the port is taken.
    """
    held = ExitStack()
    opening = Opening(lambda on_progress: held.enter_context(_make(config, extract, on_progress)))
    library = Library(
        opening,
        previews=config.work / PREVIEWS,
        preview_bytes=config.preview_space << 20,
        read_only=config.read_only,
    )
    with held, _listen(config) as place:
        hosts = None if config.token is not None else {*LOOPBACK, config.host}
        server = _server(library, config, hosts)
        port = place.getsockname()[1]
        shown = f"[{config.host}]" if ":" in config.host else config.host
        on_ready(Served(f"http://{shown}:{port}/", config.token is not None))
        failures: list[VidretError] = []
        maker = threading.Thread(target=_open, args=(opening, server, failures), daemon=True)
        maker.start()
        try:
            server.run([place])
        finally:
            library.close()
    if failures:
        raise failures[0]


def _open(opening: Opening, server: uvicorn.Server, failures: list[VidretError]) -> None:
    """Make the searcher; where that fails the server stops, and the error is the command's."""
    try:
        opening.open()
    except VidretError as error:
        failures.append(error)
        server.should_exit = True
    except Exception:
        log.exception("The index could not be opened")
        failures.append(VidretError("the index could not be opened: the message above says why"))
        server.should_exit = True


def _server(library: Library, config: ServeConfig, hosts: set[str] | None) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            build_app(library, token=config.token, hosts=hosts),
            log_config=None,
            access_log=False,  # addresses hold what people look for
            server_header=False,
            date_header=True,
            limit_concurrency=MOST_CONNECTIONS,
            h11_max_incomplete_event_size=MOST_HEADERS,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=LAST_SECONDS,
            http=PromptProtocol,
            ws="none",
            lifespan="off",
        )
    )


def _listen(config: ServeConfig) -> socket.socket:
    """The port, taken before anything slow is begun."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    place = socket.socket(family, socket.SOCK_STREAM)
    try:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind((config.host, config.port))
        place.listen(MOST_CONNECTIONS)
    except OSError as error:
        with suppress(OSError):
            place.close()
        raise MissingError(
            f"cannot be reached at {config.host}, port {config.port} "
            f"({error.strerror or error}): name another with --port, or --port 0"
        ) from error
    return place


def _make(
    config: ServeConfig, extract: ExtractConfig | None, on_progress: OnProgress
) -> AbstractContextManager[AnySearcher]:
    return searching(
        work=config.work,
        path=config.path,
        cache=config.cache,
        runs=config.heads,
        device=config.device,
        offline=config.offline,
        place=config.place,
        also=config.also,
        extract=extract,
        on_progress=on_progress,
    )
