"""The line of a fetch in the log ``turbo_tornado``."""

from __future__ import annotations

import asyncio
import logging
import re

import pytest

from tests.support import Fetch, MakeClient, MakePeer, response
from tests.support.server import Server
from turbo_tornado import errors, log


@pytest.fixture(autouse=True)
def at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "turbo_tornado")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines, which must all be at INFO, with 0 for each duration."""
    records = [record for record in caplog.records if record.name == "turbo_tornado"]
    assert {record.levelno for record in records} <= {logging.INFO}
    return [re.sub(r"\b\d+ms\b", "0ms", record.getMessage()) for record in records]


async def test_response(fetch: Fetch, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    await fetch(server.url("/status/404"), method="delete")
    where = f"127.0.0.1:{server.port}"
    assert lines(caplog) == [f"DELETE {where}/status/404 => 404 Not Found 0ms"]


async def test_error(fetch: Fetch, closed_port: int, caplog: pytest.LogCaptureFixture) -> None:
    res = await fetch(f"http://127.0.0.1:{closed_port}")
    assert res.error is not None
    where = f"127.0.0.1:{closed_port}"
    assert lines(caplog) == [f"GET {where}/ => Error code -3 0ms: {res.error.message}"]


async def test_request_that_cannot_be_sent(fetch: Fetch, caplog: pytest.LogCaptureFixture) -> None:
    res = await fetch("ftp://user:secret@127.0.0.1/")
    assert res.error is not None
    assert lines(caplog) == [f"Error code -2 0ms: {res.error.message}"]


async def test_busy(
    make_client: MakeClient, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client()
    first = client.fetch(server.url())
    second = await client.fetch(server.url())
    assert second.error is not None
    assert second.error.code is errors.BUSY
    assert lines(caplog) == [f"Error code -12 0ms: {second.error.message}"]
    await first


async def test_redirected_fetch_is_one_line(
    fetch: Fetch, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    await fetch(server.url("/redirect/3"), method="POST", body="x")
    assert lines(caplog) == [f"GET 127.0.0.1:{server.port}/echo => 200 OK 0ms"]


async def test_cancelled(
    make_client: MakeClient, raw_peer: MakePeer, caplog: pytest.LogCaptureFixture
) -> None:
    peer = await raw_peer(b"")
    future = make_client().fetch(peer.url("/slow"))
    await peer.received()
    future.cancel()
    with pytest.raises(asyncio.CancelledError):
        await future
    assert lines(caplog) == [f"GET 127.0.0.1:{peer.port}/slow => cancelled 0ms"]


async def test_log_contains_no_secrets(
    fetch: Fetch, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    url = server.url("/echo?token=hidden").replace("//", "//name:hidden@")
    await fetch(url, params={"key": "hidden"}, cookie={"session": "hidden"})
    assert lines(caplog) == [f"GET 127.0.0.1:{server.port}/echo => 200 OK 0ms"]


async def test_control_characters_of_the_reason_are_escaped(
    fetch: Fetch, raw_peer: MakePeer, caplog: pytest.LogCaptureFixture
) -> None:
    peer = await raw_peer(response(status="299 As You Like"))
    await fetch(peer.url())
    assert lines(caplog) == [f"GET 127.0.0.1:{peer.port}/ => 299 As You Like 0ms"]


async def test_disabled_logger_formats_nothing(
    fetch: Fetch,
    server: Server,
    closed_port: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def asked(request: object) -> str:
        raise AssertionError("a line was made that nobody reads")

    caplog.set_level(logging.WARNING, "turbo_tornado")
    monkeypatch.setattr(log, "_where", asked)
    assert (await fetch(server.url())).error is None
    assert (await fetch(f"http://127.0.0.1:{closed_port}/")).error is not None
    assert lines(caplog) == []
