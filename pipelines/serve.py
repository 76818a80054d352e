"""`vidret serve`: the page and its API, for as long as nobody stops them."""

import errno
import logging
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, replace

import uvicorn

from vidret.data.errors import MissingError, VidretError
from vidret.data.manifest import read_manifest
from vidret.pipelines.config.serving import ServeConfig
from vidret.pipelines.config.settings import ExtractConfig
from vidret.pipelines.display.progress import OnProgress
from vidret.pipelines.searching.anywhere import AnySearcher, searching
from vidret.pipelines.searching.choosing import usual_runs
from vidret.pipelines.searching.folders import how_to_cache
from vidret.pipelines.searching.known import known_cache
from vidret.pipelines.searching.ranker import ZERO_SHOT
from vidret.pipelines.searching.searcher import what_to_search
from vidret.pipelines.serving.app import build_app
from vidret.pipelines.serving.connections import PromptProtocol
from vidret.pipelines.serving.guarding import LOOPBACK
from vidret.pipelines.serving.library import Library
from vidret.pipelines.serving.opening import Opening
from vidret.pipelines.training.runs import find_run

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
    config = _with_what_is_there(config)
    check_can_open(config, extract)
    held = ExitStack()
    opening = Opening(lambda on_progress: held.enter_context(_make(config, extract, on_progress)))
    library = Library(
        opening,
        previews=config.work / PREVIEWS,
        preview_bytes=config.preview_space << 20,
        read_only=config.read_only,
        places=[place for place in (config.path, config.cache, config.work) if place is not None],
    )
    with held, _listen(config) as place:
        hosts = None if config.token is not None else {*LOOPBACK, config.host}
        server = _server(library, config, hosts)
        port = place.getsockname()[1]
        on_ready(Served(f"http://{_shown(config.host)}:{port}/", config.token is not None))
        failures: list[VidretError] = []
        maker = threading.Thread(target=_open, args=(opening, server, failures), daemon=True)
        maker.start()
        try:
            server.run([place])
        finally:
            library.close()
    if failures:
        raise failures[0]


def _with_what_is_there(config: ServeConfig) -> ServeConfig:
    """The same, where nothing may be written, with the cache of its folder as it is.

    Raises:
        MissingError: the folder was never cached.
    """
    if not config.read_only or config.path is None:
        return config
    name = (config.heads or usual_runs(config.work))[0]
    folder = None if name == ZERO_SHOT else find_run(config.work, name)
    cache = known_cache(config.path, work=config.work, head=name, run_folder=folder)
    return replace(config, path=None, cache=cache)


def check_can_open(config: ServeConfig, extract: ExtractConfig | None = None) -> None:
    """Look at what can be known to fail before anything is made or promised.

    Raises:
        MissingError: there is no such folder, run or cache, or no weights to cache a folder with.
        DamagedError: the cache cannot be read.
    """
    runs, cache = what_to_search(
        work=config.work,
        path=None,  # nothing is cached here
        cache=config.path or config.cache,
        runs=config.heads,
        device=config.device,
        offline=config.offline,
        extract=None,
        on_progress=lambda _: None,
    )
    if config.path is None:
        read_manifest(cache)
        return
    how_to_cache(
        config.path,
        work=config.work,
        run_folder=next((folder for folder in runs.values() if folder is not None), None),
        extract=extract or ExtractConfig(),
        offline=config.offline,
    )


def _shown(host: str) -> str:
    """A host as an address names it: where every one of this machine is meant, by its name."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


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
            f"({error.strerror or error}): {_way_out(error)}"
        ) from error
    return place


def _way_out(error: OSError) -> str:
    """What to change where a server cannot be reached as it should be."""
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "name an address of this machine with --host, or leave it at 127.0.0.1"
    return "name another with --port, or --port 0"


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
        in_memory=not config.on_disk,
        extract=extract,
        on_progress=on_progress,
    )
