"""``streaming_callback`` and ``body_producer`` of Tornado's API, on both transports."""

from __future__ import annotations

import asyncio
import contextvars
import gzip
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tornado import gen
from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.httputil import HTTPOutputError
from tornado.iostream import StreamClosedError
from tornado.util import import_object

from tests.support import Connection, MakePeer, response
from tests.support.phases import in_phase, require_phase
from tests.support.scripts import answers_only_get
from tests.support.streaming import WaitingCallback, steady
from turbo_tornado.failures import ClientClosed

DATA = os.urandom(500_000)
Write = Callable[[bytes], Awaitable[None]]


def class_of(name: str) -> Any:
    if name == "curl":
        pytest.importorskip("pycurl")
    return import_object(f"turbo_tornado.transports.{name}.{name.title()}Transport")


@pytest.fixture
def client(transport: str, make_transport: Callable[..., Any]) -> Any:
    return make_transport(class_of(transport))


@gen.coroutine
def decorated(chunk: bytes) -> Any:
    yield gen.moment


async def coroutine(chunk: bytes) -> None:
    await asyncio.sleep(0)


def kinds(chunks: list[bytes]) -> dict[str, Callable[[bytes], Any]]:
    def returns_a_future(chunk: bytes) -> Any:
        chunks.append(chunk)
        return decorated(chunk)

    async def appends(chunk: bytes) -> None:
        await asyncio.sleep(0)
        chunks.append(chunk)

    def returns_a_number(chunk: bytes) -> int:
        chunks.append(chunk)
        return len(chunk)

    return {
        "plain": chunks.append,
        "async": appends,
        "gen.coroutine": returns_a_future,
        "number": returns_a_number,
    }


@pytest.mark.parametrize("kind", kinds([]))
@pytest.mark.parametrize("is_gzip", [False, True], ids=["", "gzip"])
async def test_streaming_callback(
    client: AsyncHTTPClient, raw_peer: MakePeer, kind: str, is_gzip: bool
) -> None:
    chunks: list[bytes] = []
    body = gzip.compress(DATA) if is_gzip else DATA
    peer = await raw_peer(response(body, *["Content-Encoding: gzip"] * is_gzip))
    for _ in range(3):
        chunks.clear()
        res = await client.fetch(peer.url(), streaming_callback=kinds(chunks)[kind])
        assert (res.code, res.body) == (200, b"")
        assert b"".join(chunks) == DATA
    assert (await client.fetch(peer.url())).body == DATA
    assert peer.connections == 1


async def test_response_follows_the_last_chunk(client: Any, raw_peer: MakePeer) -> None:
    async def callback(chunk: bytes) -> None:
        order.append("chunk")
        await asyncio.sleep(0.05)
        order.append("handled")

    order: list[str] = []
    peer = await raw_peer(response(b"body"))
    await client.fetch(peer.url(), streaming_callback=callback)
    assert order == ["chunk", "handled"]


@in_phase
async def test_timeout_in_the_callback(client: Any, raw_peer: MakePeer) -> None:
    callback = WaitingCallback()
    peer = await raw_peer(response(b"body"))
    with pytest.raises(HTTPClientError) as raised:
        await client.fetch(peer.url(), streaming_callback=callback, request_timeout=1.0)
    assert raised.value.code == 599
    require_phase(callback.begun.is_set())
    await callback.ended.wait()
    assert (await client.fetch(peer.url())).body == b"body"


async def test_cancel_in_the_callback(client: Any, raw_peer: MakePeer) -> None:
    callback = WaitingCallback()
    peer = await raw_peer(response(b"body"))
    future = client.fetch(peer.url(), streaming_callback=callback)
    await callback.begun.wait()
    future.cancel()
    await callback.ended.wait()
    assert (await client.fetch(peer.url())).body == b"body"


async def test_close_in_the_callback(client: Any, raw_peer: MakePeer) -> None:
    callback = WaitingCallback()
    peer = await raw_peer(response(b"body"))
    future = client.fetch(peer.url(), streaming_callback=callback)
    await callback.begun.wait()
    client.fail_requests()
    with pytest.raises(ClientClosed):
        await future


@pytest.mark.parametrize("callback", [decorated, coroutine])
async def test_only_the_final_response(client: Any, raw_peer: MakePeer, callback: Any) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(response(b"moved", "Location: /final", status="302 Found"))
        await conn.read_request()
        await conn.send(response(b"final"))

    def note(chunk: bytes) -> Any:
        chunks.append(chunk)
        return callback(chunk)

    chunks: list[bytes] = []
    peer = await raw_peer(script)
    await client.fetch(peer.url(), streaming_callback=note)
    assert chunks == [b"final"]


async def test_limit_of_a_streamed_body(
    transport: str, make_transport: Any, raw_peer: MakePeer
) -> None:
    client = make_transport(class_of(transport), max_body_size=1000)
    peer = await raw_peer(b"HTTP/1.1 200 OK\r\n\r\n" + DATA)
    with pytest.raises(Exception, match=r"(?i)body"):
        await client.fetch(peer.url(), streaming_callback=coroutine)


async def test_context_variables(client: Any, raw_peer: MakePeer) -> None:
    async def callback(chunk: bytes) -> None:
        await asyncio.sleep(0)
        seen.append(variable.get())

    async def producer(write: Write) -> None:
        seen.append(variable.get())
        await write(b"body")

    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="default")
    seen: list[str] = []
    peer = await raw_peer(response(b"body"))
    variable.set("of the caller")
    future = client.fetch(
        peer.url(), method="POST", streaming_callback=callback, body_producer=producer
    )
    variable.set("later")
    await future
    assert seen == ["of the caller"] * 2


# body_producer


async def produce(write: Write) -> None:
    await write(b"one")
    await write(b"")
    await write(DATA)


@gen.coroutine
def produce_decorated(write: Write) -> Any:
    yield write(b"one")
    yield write(DATA)


def produce_at_once(write: Write) -> None:
    write(b"one")
    write(DATA)


@pytest.mark.parametrize("producer", [produce, produce_decorated, produce_at_once])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("has_length", [False, True], ids=["chunked", "length"])
async def test_body_producer(
    client: Any, raw_peer: MakePeer, producer: Any, method: str, has_length: bool
) -> None:
    peer = await raw_peer(response(b"ok"))
    length = str(len(DATA) + 3)
    for _ in range(2):
        res = await client.fetch(
            peer.url(),
            method=method,
            body_producer=producer,
            headers={"Content-Length": length} if has_length else {},
            allow_nonstandard_methods=True,
        )
        assert res.body == b"ok"
        request = peer.requests[-1]
        assert (request.method, request.body) == (method, b"one" + DATA)
        expected = (length, None) if has_length else (None, "chunked")
        assert (request.field("Content-Length"), request.field("Transfer-Encoding")) == expected
    assert peer.connections == 1


class Mistake(Exception):
    pass


async def raises(write: Write) -> None:
    await write(b"one")
    raise Mistake


async def writes_too_little(write: Write) -> None:
    await write(b"one")


async def writes_too_much(write: Write) -> None:
    await write(b"x" * 2000)


@pytest.mark.parametrize(
    ("producer", "error"),
    [(raises, Mistake), (writes_too_little, HTTPOutputError), (writes_too_much, HTTPOutputError)],
)
async def test_errors_of_a_producer(
    client: Any, raw_peer: MakePeer, producer: Any, error: type[Exception]
) -> None:
    closed = asyncio.Event()
    peer = await raw_peer(answers_only_get(closed))
    with pytest.raises(error):
        await client.fetch(
            peer.url(),
            method="POST",
            body_producer=producer,
            headers={"Content-Length": "1000"},
        )
    await closed.wait()
    assert (await client.fetch(peer.url())).body == b"ok"


async def test_producer_whose_own_stream_is_closed(client: Any, raw_peer: MakePeer) -> None:
    async def producer(write: Write) -> None:
        await write(b"one")
        raise StreamClosedError

    peer = await raw_peer(response(b"ok"))
    with pytest.raises(StreamClosedError):
        await client.fetch(peer.url(), method="POST", body_producer=producer, request_timeout=0)
    assert (await client.fetch(peer.url())).body == b"ok"


async def test_producer_that_ignores_the_cancellation(client: Any, raw_peer: MakePeer) -> None:
    async def script(conn: Connection) -> None:
        if (await conn.reader.readuntil(b"\r\n\r\n")).startswith(b"GET"):
            await conn.send(response(b"ok"))

    async def producer(write: Write) -> None:
        started.set()
        for _ in range(10):
            try:
                await write(bytes(50_000_000))
            except (asyncio.CancelledError, StreamClosedError) as error:
                raised.append(type(error))
        ended.set()

    raised: list[Any] = []
    started, ended = asyncio.Event(), asyncio.Event()
    peer = await raw_peer(script)
    future = client.fetch(peer.url(), method="POST", body_producer=producer)
    await started.wait()
    future.cancel()
    await ended.wait()
    assert raised == [asyncio.CancelledError, *[StreamClosedError] * 9]
    assert (await client.fetch(peer.url())).body == b"ok"


async def test_slow_peer_stops_the_producer(client: Any, raw_peer: MakePeer) -> None:
    async def script(conn: Connection) -> None:
        await conn.reader.readuntil(b"\r\n\r\n")
        await go_on.wait()
        await conn.reader.readexactly(50_000_000)
        await conn.send(response(b"ok"))

    async def producer(write: Write) -> None:
        nonlocal produced
        for _ in range(500):
            produced += 100_000
            await write(bytes(100_000))

    produced = 0
    go_on = asyncio.Event()
    peer = await raw_peer(script)
    future = client.fetch(
        peer.url(),
        method="POST",
        body_producer=producer,
        headers={"Content-Length": "50000000"},
    )
    await steady(lambda: produced)
    assert produced < 25_000_000
    go_on.set()
    assert (await future).body == b"ok"
    assert produced == 50_000_000
