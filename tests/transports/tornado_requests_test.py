"""Requests by Tornado's API, on both transports."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from tests.support import Connection, MakePeer, RawPeer, response
from tests.support.phases import in_phase, require_phase
from turbo_tornado.transports.simple import SimpleTransport, upload

GOOD = response(b"good")
Write = Callable[[bytes], Awaitable[None]]


def kinds() -> list[Any]:
    try:
        from turbo_tornado.transports.curl import CurlTransport
    except ImportError:
        return [SimpleTransport]
    return [SimpleTransport, CurlTransport]


@pytest.fixture(params=kinds(), ids=lambda kind: kind.__name__)
def client(request: pytest.FixtureRequest, make_transport: Callable[..., Any]) -> Any:
    return make_transport(request.param)


@pytest.fixture
def simple(make_transport: Callable[..., Any]) -> Any:
    return make_transport(SimpleTransport)


async def within(seconds: float, awaitable: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(awaitable, seconds)


FRAMING = {
    "length": {"headers": {"Content-Length": "5"}},
    "length of 0 digits": {"headers": {"Content-Length": ""}},
    "negative length": {"headers": {"Content-Length": "-5"}},
    "two lengths": {"headers": {"Content-Length": "0, 5"}},
    "chunks": {"headers": {"Transfer-Encoding": "chunked"}},
    "length of DELETE": {"method": "DELETE", "headers": {"Content-Length": "5"}},
    "another coding": {"headers": {"Transfer-Encoding": "identity"}},
    "length and chunks": {
        "method": "POST",
        "body": b"body",
        "headers": {"Content-Length": "4", "Transfer-Encoding": "chunked"},
    },
}


@pytest.mark.parametrize("options", FRAMING.values(), ids=FRAMING)
async def test_headers_that_announce_another_body(
    options: dict[str, Any], client: AsyncHTTPClient, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(GOOD)
    with pytest.raises(ValueError, match=r"Content-Length|Transfer-Encoding"):
        await within(10, client.fetch(peer.url(), **options))
    assert not peer.requests


PRODUCED: dict[str, dict[str, Any]] = {
    "chunks": {"method": "POST"},
    "chunks of any method": {"method": "GET", "allow_nonstandard_methods": True},
    "named chunks": {"method": "POST", "headers": {"Transfer-Encoding": "Chunked"}},
    "length": {"method": "POST", "headers": {"Content-Length": "4"}},
}


@pytest.mark.parametrize("options", PRODUCED.values(), ids=PRODUCED)
async def test_headers_that_announce_a_produced_body(
    options: dict[str, Any], simple: SimpleTransport, raw_peer: MakePeer
) -> None:
    async def producer(write: Write) -> None:
        await write(b"body")

    peer = await raw_peer(GOOD)
    await within(10, simple.fetch(peer.url(), body_producer=producer, **options))
    await within(10, simple.fetch(peer.url()))
    assert [request.body for request in peer.requests] == [b"body", b""]
    assert peer.connections == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Transfer-Encoding": "chunked", "Content-Length": "4"},
        {"Content-Length": "four"},
        {"Content-Length": "-4"},
    ],
    ids=str,
)
async def test_headers_that_cannot_announce_a_produced_body(
    headers: dict[str, str], simple: SimpleTransport, raw_peer: MakePeer
) -> None:
    async def producer(write: Write) -> None:
        await write(b"body")

    peer = await raw_peer(GOOD)
    with pytest.raises(ValueError, match=r"Content-Length|Transfer-Encoding"):
        await simple.fetch(peer.url(), method="POST", body_producer=producer, headers=headers)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 Connected\r\n\r\n", GOOD])
async def test_response_to_connect_ends_with_its_head(
    answer: bytes, client: AsyncHTTPClient, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(answer)
    url = peer.url()
    connect: dict[str, Any] = {"method": "CONNECT", "allow_nonstandard_methods": True}
    res = await within(10, client.fetch(url, **connect))
    assert (res.code, res.body) == (200, b"")
    await within(10, client.fetch(peer.url(), method="HEAD"))
    assert [request.connection for request in peer.requests] == [1, 2]


async def test_request_object_is_reused(client: AsyncHTTPClient, raw_peer: MakePeer) -> None:
    one, other = await raw_peer(GOOD), await raw_peer(GOOD)
    request = HTTPRequest(
        one.url(), "POST", {"X-Field": "value"}, b"body", auth_username="u", auth_password="p"
    )
    await within(10, client.fetch(request))
    again = HTTPRequest(other.url(), headers=request.headers)
    await within(10, client.fetch(again))
    assert dict(request.headers) == dict(again.headers) == {"X-Field": "value"}
    received = other.requests[0]
    assert received.field("Host") == f"127.0.0.1:{other.port}"
    assert received.field("X-Field") == "value"
    for name in ("Authorization", "Content-Length", "Content-Type"):
        assert one.requests[0].field(name) is not None
        assert received.field(name) is None


async def put(client: SimpleTransport, peer: RawPeer) -> Any:
    fetching = client.fetch(peer.url(), method="PUT", body=b"abc", expect_100_continue=True)
    return await within(10, fetching)


async def test_100_continue_after_a_retry(simple: SimpleTransport, raw_peer: MakePeer) -> None:
    heads: list[bytes] = []

    async def script(conn: Connection) -> None:
        while True:
            heads.append(await conn.reader.readuntil(b"\r\n\r\n"))
            if len(heads) == 2:
                conn.close()
                return
            if b"100-continue" in heads[-1]:
                await conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                await conn.reader.readexactly(3)
            await conn.send(GOOD)

    peer = await raw_peer(script)
    await simple.fetch(peer.url())
    assert (await put(simple, peer)).body == b"good"
    assert [head.split()[0] for head in heads] == [b"GET", b"PUT", b"PUT"]
    await simple.wait_closed()
    assert not simple.tasks


async def test_missing_100_continue(
    simple: SimpleTransport, raw_peer: MakePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "_CONTINUE_TIMEOUT", 0.05)

    # `read_request` reads the body as well.
    peer = await raw_peer(GOOD)
    assert (await put(simple, peer)).body == b"good"
    assert peer.requests[0].body == b"abc"
    await simple.fetch(peer.url())
    assert peer.connections == 1


@in_phase
async def test_final_response_instead_of_100_continue(
    simple: SimpleTransport, raw_peer: MakePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "_CONTINUE_TIMEOUT", 0.05)
    received = b""

    async def script(conn: Connection) -> None:
        nonlocal received
        await conn.reader.readuntil(b"\r\n\r\n")
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        with contextlib.suppress(asyncio.TimeoutError):
            received = await asyncio.wait_for(conn.reader.read(10), 0.2)
        await conn.send(b"good")

    peer = await raw_peer(script)
    assert (await put(simple, peer)).body == b"good"
    # The body is sent if the client does not run for the time in which it waits.
    require_phase(received == b"")
