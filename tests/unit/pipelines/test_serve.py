import json
import shutil
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
from click.testing import CliRunner
from making.clips import draw_clip
from making.crowded import write_crowded_cache
from making.served import World, make_world, serving

from vidret.data.errors import MismatchError, MissingError
from vidret.data.manifest import read_manifest, write_manifest
from vidret.pipelines.cli import cli
from vidret.pipelines.config.serving import ServeConfig
from vidret.pipelines.config.settings import ExtractConfig
from vidret.pipelines.serve import run_serve
from vidret.pipelines.serving import opening


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("served"))


def get(address, **options):
    with urlopen(Request(address, **options), timeout=20) as response:
        return response.status, response.read()


def get_json(address):
    return json.loads(get(address)[1])


def wait_until_ready(address):
    ends = time.monotonic() + 30
    while get_json(f"{address}/api/status")["state"] != "ready":
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_a_server_answers_on_its_port_and_stops(world):
    with serving(world) as address:
        wait_until_ready(address)
        hits = get_json(f"{address}/api/search?q=a+red+star&top=3")["hits"]
        assert [hit["rank"] for hit in hits] == [1, 2, 3]
        assert b"<title>vidret</title>" in get(f"{address}/")[1]
    with pytest.raises(OSError, match="refused"):
        get(f"{address}/")


def test_many_clients_at_once_get_what_one_gets(world):
    with serving(world) as address, ThreadPoolExecutor(16) as clients:
        wait_until_ready(address)
        asked = [f"{address}/api/search?q={quote(text)}&top=20" for text in world.sentences]
        alone = [[hit["id"] for hit in get_json(one)["hits"]] for one in asked]
        found = list(clients.map(get_json, asked * 4))
    assert [[hit["id"] for hit in one["hits"]] for one in found] == alone * 4


def test_a_path_that_climbs_finds_nothing(world):
    with serving(world) as address:
        host, port = address.removeprefix("http://").split(":")
        for path in (
            "/../../etc/passwd",
            "/api/videos/../../../etc/passwd/media",
            "/%2e%2e/%2e%2e/x",
        ):
            with socket.create_connection((host, int(port)), 10) as line:
                line.sendall(
                    f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
                )
                answer = b"".join(iter(lambda: line.recv(65536), b""))
            assert answer.startswith(b"HTTP/1.1 404")
            assert b"root:" not in answer


def test_headers_that_are_too_long_are_refused(world):
    with serving(world) as address:
        with pytest.raises(HTTPError) as told:
            get(f"{address}/", headers={"x-long": "a" * 30_000})
        assert told.value.code == 431
        assert get(f"{address}/")[0] == 200


def test_a_head_for_other_features_ends_the_start(world, tmp_path):
    work = tmp_path / "work"
    shutil.copytree(world.work, work)
    cache = work / "cache" / "served"
    manifest = read_manifest(cache)
    changed = replace(manifest, fingerprint=replace(manifest.fingerprint, frames=12))
    write_manifest(cache, changed)
    config = ServeConfig(work=work, port=0, cache=cache, heads=("run",), device="cpu", offline=True)
    with pytest.raises(MismatchError, match="frames") as told:
        run_serve(config)
    assert told.value.exit_code == 5


def test_a_port_that_is_taken_is_named(world):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(MissingError, match=f"port {port} .*--port"):
            run_serve(ServeConfig(work=world.work, port=port))


@pytest.mark.parametrize(
    "asked", [[], ["/nope"], ["--heads", "nope"], ["--cache", "nope"], ["--host", "nohost.invalid"]]
)
def test_what_cannot_be_served_is_told_before_an_address_is(world, tmp_path, asked):
    work = world.work if "--host" in asked or "--cache" in asked else tmp_path
    asked = [*asked, "--token", "a-token-of-good-length"]
    told = CliRunner().invoke(cli, ["serve", "--work", str(work), "--port", "0", *asked])
    assert told.exit_code == 4
    assert "Open http" not in told.output


def test_a_folder_without_videos_is_told_before_an_address_is(tmp_path):
    (tmp_path / "films").mkdir()
    config = ServeConfig(work=tmp_path / "work", path=tmp_path / "films", port=0)
    with pytest.raises(MissingError, match="films holds no file"):
        run_serve(config, on_ready=lambda _: pytest.fail("an address was told"))


def test_a_folder_that_nothing_can_look_at_is_told_before_an_address_is(tmp_path):
    (tmp_path / "films").mkdir()
    draw_clip(tmp_path / "films" / "a.mp4", seconds=1.0, fps=10)
    config = ServeConfig(work=tmp_path / "work", path=tmp_path / "films", port=0)
    with pytest.raises(MissingError, match=r"no weights are known .* add --backbone"):
        run_serve(config, on_ready=lambda _: pytest.fail("an address was told"))


def test_read_only_a_folder_that_was_never_cached_is_refused_and_not_cached(world, tmp_path):
    (tmp_path / "films").mkdir()
    draw_clip(tmp_path / "films" / "a.mp4", seconds=1.0, fps=10)
    config = ServeConfig(
        work=world.work, path=tmp_path / "films", heads=("run",), port=0, read_only=True
    )
    before = sorted(world.work.rglob("*"))
    with pytest.raises(MissingError, match="was never cached"):
        run_serve(config, on_ready=lambda _: pytest.fail("an address was told"))
    assert sorted(world.work.rglob("*")) == before


def test_read_only_a_folder_is_served_as_it_was_cached(world, monkeypatch):
    cache = world.work / "cache" / "served"
    monkeypatch.setattr("vidret.pipelines.serve.known_cache", lambda *_, **__: cache)
    monkeypatch.setattr(
        "vidret.pipelines.searching.searcher.cache_of_folder",
        lambda *_, **__: pytest.fail("cached"),
    )
    with serving(world, path=world.root, cache=None, read_only=True) as address:
        wait_until_ready(address)
        assert len(get_json(f"{address}/api/search?q=a+red+star&top=3")["hits"]) == 3


def test_a_host_that_is_not_of_this_machine_is_no_matter_of_the_port(world):
    config = ServeConfig(work=world.work, host="nohost.invalid", token="a-token-of-good-length")
    with pytest.raises(MissingError, match="address of this machine with --host") as told:
        run_serve(config)
    assert "--port" not in str(told.value)


def test_where_all_addresses_are_meant_this_machine_is_named(world):
    with serving(world, host="0.0.0.0", token="a-token-of-good-length") as address:
        assert address.startswith(f"http://{socket.gethostname()}:")


def test_a_token_is_neither_shown_nor_kept(tmp_path, monkeypatch):
    token = "a-token-of-good-length"
    (tmp_path / "work").mkdir()
    shown = CliRunner(env={"VIDRET_SERVE_TOKEN": token}).invoke(cli, ["config", "show", "serve"])
    assert shown.exit_code == 0
    assert "token is set" in shown.output
    assert token not in shown.output
    for error in (KeyboardInterrupt(), ZeroDivisionError("a bug")):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr("vidret.pipelines.serve.run_serve", fail)
        for way in (["--token", token], [f"--token={token}"]):
            told = CliRunner().invoke(cli, ["serve", "--work", str(tmp_path / "work"), *way])
            assert told.exit_code in (1, 130)
            assert token not in told.output
    kept = [file.read_text() for file in (tmp_path / "work").glob("error-*.log")]
    assert kept
    assert token not in "".join(kept)


def test_what_changes_in_the_cache_is_searched_without_a_new_start(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "REFRESH_SECONDS", 0.0)
    fewer = make_world(tmp_path / "fewer", videos=8, train=False)
    more = make_world(tmp_path / "more", videos=12, train=False)
    work = tmp_path / "work"
    shutil.copytree(fewer.work, work)
    with serving(World(work=work, root=fewer.root, sentences=fewer.sentences)) as address:
        wait_until_ready(address)
        assert get_json(f"{address}/api/search?q=a+red+star")["searched"] == 8
        made = work / "cache" / "served"
        for file in sorted((more.work / "cache" / "served").iterdir(), key=lambda one: one.suffix):
            shutil.copy(file, made / f"{file.name}.part")
            (made / f"{file.name}.part").rename(made / file.name)
        found = get_json(f"{address}/api/search?q=a+red+star")
    assert found["searched"] == 12


def test_who_asks_while_the_cache_changes_gets_the_old_answer_or_the_new_one(tmp_path, monkeypatch):
    """With `index update` as a process of its own this is in tests/integration, and slow."""
    monkeypatch.setattr(opening, "REFRESH_SECONDS", 0.05)
    cache, found, stop = tmp_path / "work" / "cache" / "crowd", [], threading.Event()
    write_crowded_cache(cache, dict.fromkeys(range(12), 0))

    def names(address):
        hits = get_json(f"{address}/api/search?q=a+red+star&top=50")["hits"]
        return frozenset(hit["name"] for hit in hits)

    def ask_on(address):
        while not stop.is_set():
            found.append(names(address))

    served = World(work=tmp_path / "work", root=tmp_path, sentences=())
    with serving(served, heads=("mean",)) as address, ThreadPoolExecutor(3) as clients:
        wait_until_ready(address)
        first = names(address)
        asking = [clients.submit(ask_on, address) for _ in range(3)]
        try:
            write_crowded_cache(cache, dict.fromkeys(range(3, 20), 0))
            ends = time.monotonic() + 20
            while "v0019.mp4" not in names(address) and time.monotonic() < ends:
                time.sleep(0.02)
        finally:
            stop.set()
        for one in asking:
            one.result(20)
        last = names(address)
    assert first == {f"v{number:04}.mp4" for number in range(12)}
    assert last == {f"v{number:04}.mp4" for number in range(3, 20)}
    assert set(found) == {first, last}


@pytest.mark.slow
def test_a_folder_is_indexed_before_it_is_served(tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    for name in ("one.mp4", "zwei und ß.mp4"):
        draw_clip(films / name, seconds=1.0, fps=10)
    world = World(work=tmp_path / "work", root=films, sentences=())
    with serving(world, ExtractConfig(backbone="tiny", audio="tiny"), path=films) as address:
        ends = time.monotonic() + 60
        while get_json(f"{address}/api/status")["state"] != "ready":
            assert time.monotonic() < ends
            time.sleep(0.2)
        hits = get_json(f"{address}/api/search?q=anything")["hits"]
    assert sorted(hit["path"] for hit in hits) == ["one.mp4", "zwei und ß.mp4"]
