"""The keywords ``connect_timeout`` and ``request_timeout`` in each phase."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support import Connection, Fetch, MakeClient, MakePeer, RawPeer, response
from tests.support.phases import in_phase, require_phase
from tests.support.server import Server
from turbo_tornado import HTTPClient, HTTPResponse, errors

SHORT = 0.2
LONG = 30


def assert_timeout(res: HTTPResponse, code: errors, *words: str) -> None:
    assert res.error is not None, f"no error, but {res.code} {res.body!r}"
    assert res.error.code is code, f"{res.error.code!r}: {res.error.message}"
    for word in (*words, str(SHORT)):
        assert word in res.error.message
    # The timeout must not expire early, and not as late as the other timeout.
    assert SHORT * 1000 - 20 <= res.request_time < LONG * 1000 / 2
    others: tuple[Any, ...] = (res.request, res.code, res.reason, res.headers, res.body, res.url)
    assert others == (None,) * len(others)


async def assert_free(client: HTTPClient, server: Server) -> None:
    res = await client.fetch(server.url("/echo"))
    assert (res.error, res.code) == (None, 200)


class Stalling:
    """A peer that sends some data and then waits until the client disconnects."""

    def __init__(self, *data: bytes, read: bool = True) -> None:
        self.data = data
        self.read = read
        self.left = asyncio.Event()

    async def __call__(self, conn: Connection) -> None:
        try:
            if self.read:
                await conn.read_request()
            for piece in self.data:
                await conn.send(piece)
        finally:
            await conn.wait_closed_by_client()
            self.left.set()

    async def was_left(self) -> None:
        await asyncio.wait_for(self.left.wait(), 10)


# Connecting

#: The timeout that expires, with and without the other.
either_timeout = pytest.mark.parametrize(
    ("connect_timeout", "request_timeout", "code"),
    [
        (SHORT, LONG, errors.CONNECT_TIMEOUT),
        (SHORT, 0, errors.CONNECT_TIMEOUT),
        (LONG, SHORT, errors.REQUEST_TIMEOUT),
        (0, SHORT, errors.REQUEST_TIMEOUT),
    ],
)


@either_timeout
async def test_connect_timeout_in_tcp(
    connect_timeout: float,
    request_timeout: float,
    code: errors,
    make_client: MakeClient,
    fetch: Fetch,
    blackhole: str,
    server: Server,
) -> None:
    client = make_client()
    timeouts = {"connect_timeout": connect_timeout, "request_timeout": request_timeout}
    res = await fetch(blackhole, client=client, **timeouts)
    assert_timeout(res, code, "127.0.0.1", str(urlsplit(blackhole).port))
    await assert_free(client, server)


@either_timeout
async def test_connect_timeout_in_tls(
    connect_timeout: float,
    request_timeout: float,
    code: errors,
    make_client: MakeClient,
    fetch: Fetch,
    raw_peer: MakePeer,
    server: Server,
) -> None:
    script = Stalling(read=False)
    peer = await raw_peer(script)
    client = make_client()
    timeouts = {"connect_timeout": connect_timeout, "request_timeout": request_timeout}
    res = await fetch(peer.url().replace("http:", "https:"), client=client, **timeouts)
    assert_timeout(res, code, "127.0.0.1", str(peer.port))
    await script.was_left()
    await assert_free(client, server)


@in_phase
async def test_connect_timeout_ends_with_the_connection(fetch: Fetch, server: Server) -> None:
    res = await fetch(server.url("/slow/0.6"), connect_timeout=SHORT, request_timeout=LONG)
    require_phase(server.requests)
    assert (res.error, res.body) == (None, b"late")


@in_phase
async def test_connect_timeout_after_a_redirect(
    fetch: Fetch, server: Server, blackhole: str
) -> None:
    url = server.url(f"/redirect-to?url={blackhole}")
    res = await fetch(url, connect_timeout=SHORT, request_timeout=LONG)
    require_phase(server.requests)
    assert_timeout(res, errors.CONNECT_TIMEOUT, str(urlsplit(blackhole).port))


# Waiting for the response

OK = b"HTTP/1.1 200 OK\r\n"

STALLS = {
    "before headers": (),
    "after 100": (b"HTTP/1.1 100 Continue\r\n\r\n",),
    "in status line": (b"HTTP/1.1 20",),
    "in headers": (OK + b"X-A: b\r\n",),
    "before body": (OK + b"Content-Length: 5\r\n\r\n",),
    "in body": (OK + b"Content-Length: 5\r\n\r\n", b"he"),
    "in chunked body": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n"),
    "in trailers": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n0\r\n"),
    "in body until close": (OK + b"\r\n", b"hello"),
}


@pytest.mark.parametrize("data", STALLS.values(), ids=STALLS)
@in_phase
async def test_request_timeout_of_a_stalled_response(
    data: tuple[bytes, ...],
    make_client: MakeClient,
    fetch: Fetch,
    raw_peer: MakePeer,
    server: Server,
) -> None:
    script = Stalling(*data)
    peer = await raw_peer(script)
    client = make_client()
    res = await fetch(peer.url(), client=client, request_timeout=SHORT, connect_timeout=LONG)
    assert_timeout(res, errors.REQUEST_TIMEOUT, "127.0.0.1", str(peer.port))
    await script.was_left()
    await assert_free(client, server)
    require_phase(peer.requests)
    assert len(peer.requests) == peer.connections == 1


@pytest.mark.parametrize("connect_timeout", [0, SHORT / 2, LONG])
@in_phase
async def test_request_timeout_shorter_than_connect_timeout(
    connect_timeout: float, fetch: Fetch, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(Stalling())
    res = await fetch(peer.url(), request_timeout=SHORT, connect_timeout=connect_timeout)
    require_phase(peer.requests)
    assert_timeout(res, errors.REQUEST_TIMEOUT)


@pytest.mark.kept
async def test_request_timeout_on_a_reused_connection(
    make_client: MakeClient, fetch: Fetch, raw_peer: MakePeer
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(response(b"first"))
        await conn.read_request()

    peer = await raw_peer(script)
    client = make_client()
    assert (await fetch(peer.url(), client=client)).body == b"first"
    res = await fetch(peer.url(), client=client, request_timeout=SHORT, connect_timeout=LONG)
    assert_timeout(res, errors.REQUEST_TIMEOUT)
    # The connection is slow and not closed, so that the request is not retried.
    assert (len(peer.requests), peer.connections) == (2, 1)


@pytest.mark.parametrize("drip", [b"x", b"1\r\nx\r\n"], ids=["until close", "chunked"])
async def test_request_timeout_is_not_an_idle_timeout(
    drip: bytes, fetch: Fetch, raw_peer: MakePeer
) -> None:
    fields = b"Transfer-Encoding: chunked\r\n" if len(drip) > 1 else b""

    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(OK + fields + b"\r\n")
        while True:
            await conn.send(drip)
            await asyncio.sleep(SHORT / 10)

    peer = await raw_peer(script)
    res = await fetch(peer.url(), request_timeout=SHORT, connect_timeout=LONG)
    assert_timeout(res, errors.REQUEST_TIMEOUT)


async def test_request_timeout_while_the_request_is_sent(
    make_client: MakeClient, fetch: Fetch, raw_peer: MakePeer, server: Server
) -> None:
    async def script(conn: Connection) -> None:
        # The peer reads only the beginning of the body.
        await conn.reader.readuntil(b"\r\n\r\n")
        await asyncio.Event().wait()

    peer = await raw_peer(script)
    client = make_client()
    res = await fetch(
        peer.url(),
        client=client,
        method="POST",
        body=bytes(20_000_000),
        request_timeout=SHORT,
        connect_timeout=LONG,
    )
    assert_timeout(res, errors.REQUEST_TIMEOUT)
    await assert_free(client, server)


# Redirects


async def redirecting(raw_peer: MakePeer, delay: float) -> RawPeer:
    """Return a peer that redirects to itself, ``delay`` seconds after each request."""

    async def script(conn: Connection) -> None:
        while True:
            await conn.read_request()
            await asyncio.sleep(delay)
            await conn.send(response(b"", "Location: /next", status="302 Found"))

    peer: RawPeer = await raw_peer(script)
    return peer


@pytest.mark.parametrize("keep_alive", [True, False])
@in_phase
async def test_request_timeout_includes_redirects(
    keep_alive: bool, make_client: MakeClient, fetch: Fetch, raw_peer: MakePeer, server: Server
) -> None:
    peer = await redirecting(raw_peer, SHORT / 2.5)
    client = make_client()
    res = await fetch(
        peer.url(),
        client=client,
        request_timeout=SHORT,
        connect_timeout=LONG,
        max_redirects=100,
        keep_alive=keep_alive,
    )
    # No single request takes as long as the timeout.
    assert_timeout(res, errors.REQUEST_TIMEOUT)
    require_phase(peer.requests)
    assert len(peer.requests) <= 3
    await assert_free(client, server)


async def test_redirects_within_the_request_timeout(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await redirecting(raw_peer, 0)
    res = await fetch(peer.url(), request_timeout=LONG, max_redirects=50)
    assert res.error is not None
    assert res.error.code is errors.REDIRECT_MAX
    assert len(peer.requests) == 51


# None


@pytest.mark.parametrize(
    "options",
    [
        {"request_timeout": 0},
        {"connect_timeout": 0},
        {"request_timeout": 0, "connect_timeout": 0},
        {"request_timeout": 0.0, "connect_timeout": 0.0},
        {"request_timeout": LONG, "connect_timeout": LONG},
        {"request_timeout": 1e9, "connect_timeout": 1e9},
        {"request_timeout": float("inf"), "connect_timeout": float("inf")},
        {"request_timeout": None, "connect_timeout": None},
    ],
    ids=repr,
)
async def test_no_timeout(options: dict[str, Any], fetch: Fetch, server: Server) -> None:
    res = await fetch(server.url("/slow/0.1"), **options)
    assert (res.error, res.body) == (None, b"late")
    assert 80 <= res.request_time < LONG * 1000


async def test_request_time_includes_redirects(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await redirecting(raw_peer, 0.1)
    res = await fetch(peer.url(), max_redirects=2)
    assert res.error is not None
    assert 290 <= res.request_time < LONG * 1000


# In the queue of a transport with max_clients


@pytest.mark.parametrize("connect_timeout", [SHORT / 2, LONG, 0])
async def test_only_request_timeout_limits_the_queue(
    raw_peer: MakePeer, transport: str, connect_timeout: float
) -> None:
    if transport == "curl":
        from turbo_tornado.transports.curl import CurlTransport as Transport
    else:
        from turbo_tornado.transports.simple import SimpleTransport as Transport
    stalling = Stalling()
    peer = await raw_peer(stalling)
    one_at_a_time = Transport(force_instance=True, max_clients=1)
    first = HTTPClient(transport=one_at_a_time).fetch(peer.url("/first"))
    await peer.received()
    res = await HTTPClient(transport=one_at_a_time).fetch(
        peer.url("/second"), connect_timeout=connect_timeout, request_timeout=SHORT
    )
    assert_timeout(res, errors.REQUEST_TIMEOUT, "queue")
    first.cancel()
    await stalling.was_left()
    assert [request.target for request in peer.requests] == ["/first"]
    one_at_a_time.close()
