"""vcrpy and pytest-recording: recording, replaying, and blocking the network."""

from __future__ import annotations

import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient

from tests.support import StartProgram
from tests.support.missing import import_peer
from tests.support.server import Server
from turbo_tornado import HTTPClient

# In this order, because the plugin marks modules of vcrpy whose assertions are rewritten.
import_peer("pytest_recording")
vcr = import_peer("vcr")

Refused: Any = vcr.errors.CannotOverwriteExistingCassetteException
Ask = Callable[[str], Awaitable[Any]]


@pytest.fixture(params=["AsyncHTTPClient", "HTTPClient"])
def ask(request: pytest.FixtureRequest, transport: str) -> Ask:
    """Fetch a URL by one of the two APIs, on each transport."""
    if request.param == "HTTPClient":
        return lambda url: HTTPClient(transport=transport).fetch(url)
    title = transport.title()

    async def ask(url: str) -> Any:
        AsyncHTTPClient.configure(f"turbo_tornado.transports.{transport}.{title}Transport")
        client = AsyncHTTPClient()
        try:
            return await client.fetch(url)
        finally:
            client.close()
            AsyncHTTPClient.configure(None)

    return ask


async def test_records_and_replays(ask: Ask, server: Server, tmp_path: Path) -> None:
    cassette = str(tmp_path / "cassette.yaml")
    url = server.url("/gzip")
    with vcr.use_cassette(cassette) as recorded:
        first = await ask(url)
    assert len(recorded) == 1
    assert len(server.requests) == 1
    await server.close()
    with vcr.use_cassette(cassette, record_mode="none") as replayed:
        again = await ask(url)
    assert replayed.play_count == 1
    assert (again.code, again.reason, again.body) == (200, "OK", b"compressed " * 100)
    assert list(again.headers.get_all()) == list(first.headers.get_all())


async def test_replays_a_redirect(transport: str, server: Server, tmp_path: Path) -> None:
    cassette = str(tmp_path / "cassette.yaml")
    for mode in ("once", "none"):
        with vcr.use_cassette(cassette, record_mode=mode) as tape:
            res = await HTTPClient(transport=transport).fetch(server.url("/redirect/1"))
        assert (res.error, res.code, res.url) == (None, 200, server.url("/echo"))
        assert len(tape) == 2
    assert len(server.requests) == 2


async def test_blocks_the_network(ask: Ask, server: Server, tmp_path: Path) -> None:
    cassette = str(tmp_path / "cassette.yaml")
    with vcr.use_cassette(cassette, record_mode="none"), pytest.raises(Refused):
        await ask(server.url())
    assert not server.requests
    assert (await ask(server.url())).code == 200


PROGRAM = """
import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop
from turbo_tornado import HTTPClient

def ask(kind):
    async def ask():
        if kind in ("simple", "curl"):
            return await HTTPClient(transport=kind).fetch(URL)
        AsyncHTTPClient.configure(kind)
        return await AsyncHTTPClient().fetch(URL)

    return IOLoop(make_current=False).run_sync(ask)

@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.vcr
def test_recorded(kind):
    assert ask(kind).code == 200
"""


async def test_pytest_recording(
    transport: str, server: Server, tmp_path: Path, start_program: StartProgram
) -> None:
    title = transport.title()
    kinds = [transport, f"turbo_tornado.transports.{transport}.{title}Transport"]
    # The plugin replaces pycurl for all later imports, which Tornado's curl client does not
    # support.
    conftest = tmp_path / "conftest.py"
    conftest.write_text(f"import turbo_tornado.transports.{transport}\n")
    program = tmp_path / "recording_test.py"
    program.write_text(f"URL = {server.url()!r}\nKINDS = {kinds!r}\n{PROGRAM}")
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:asyncio")
    for mode in ("once", "none"):
        process = await start_program(
            sys.executable,
            "-m",
            "pytest",
            *options,
            "--record-mode",
            mode,
            str(program),
            cwd=tmp_path,
            stdout=PIPE,
        )
        out, _ = await process.communicate()
        assert b"2 passed" in out, out.decode()
    assert len(server.requests) == 2
