"""Connections: used again when they can be, and never when they must not be.

The peer counts them, and the requests on each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import Connection, Fetch, MakeClient, MakePeer, RawPeer, response
from tests.support.certificates import Certificates
from turbo_tornado import HTTPResponse, errors

OK = b"HTTP/1.1 200 OK\r\n"
TIMEOUTS: dict[str, Any] = {"request_timeout": 30, "connect_timeout": 30}

GOOD = response(b"good")
EVIL = response(b"evil")


def on_each(*answers: bytes) -> Callable[[Connection], Any]:
    """Return the script of a peer that gives ``answers`` in turn, on any connection,
    and then always `GOOD`."""
    left = list(answers)

    async def script(conn: Connection) -> None:
        while True:
            await conn.read_request()
            await conn.send(left.pop(0) if left else GOOD)

    return script


def by_connection(peer: RawPeer) -> list[int]:
    """Return the connection of each request, counted among those that carried one."""
    carriers = list(dict.fromkeys(request.connection for request in peer.requests))
    return [carriers.index(request.connection) + 1 for request in peer.requests]


def assert_body(res: HTTPResponse, body: bytes) -> None:
    assert res.error is None
    assert res.body == body


# Used again

REUSABLE: dict[str, tuple[bytes, str]] = {
    "length": (response(b"body"), "GET"),
    "no body": (response(b""), "GET"),
    "chunked": (OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", "GET"),
    "trailers": (OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nA: b\r\n\r\n", "GET"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", "GET"),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", "GET"),
    "after 100": (b"HTTP/1.1 100 Continue\r\n\r\n" + response(b"body"), "GET"),
    "not found": (response(b"body", status="404 Not Found"), "GET"),
    "server error": (response(b"body", status="500 Internal Server Error"), "GET"),
    "head": (OK + b"Content-Length: 10\r\n\r\n", "HEAD"),
    "post": (response(b"body"), "POST"),
    "delete": (response(b"body"), "DELETE"),
    "keep-alive said": (response(b"body", "Connection: keep-alive"), "GET"),
    "HTTP/1.0 with keep-alive": (
        response(b"body", "Connection: Keep-Alive", version="HTTP/1.0"),
        "GET",
    ),
}


@pytest.mark.parametrize(("answer", "method"), REUSABLE.values(), ids=REUSABLE)
@pytest.mark.kept
async def test_reused(
    answer: bytes, method: str, transport: str, fetch: Fetch, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(on_each(answer, answer))
    body = b"request" if method == "POST" else None
    for _ in range(2):
        res = await fetch(peer.url(), method=method, body=body)
        assert res.error is None
    assert_body(await fetch(peer.url()), b"good")
    assert by_connection(peer) == [1, 1, 1]
    # Nothing stands between two requests.
    assert all(request.raw.startswith(request.method.encode()) for request in peer.requests)
    assert peer.requests[2].method == "GET"


@pytest.mark.kept
async def test_reused_by_one_client(
    make_client: MakeClient, fetch: Fetch, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(GOOD)
    client = make_client()
    for _ in range(10):
        assert_body(await fetch(peer.url(), client=client), b"good")
    assert peer.connections == 1


@pytest.mark.kept
async def test_reused_by_the_hops_of_a_fetch(fetch: Fetch, raw_peer: MakePeer) -> None:
    moved = response(b"moved", "Location: /next", status="302 Found")
    peer = await raw_peer(on_each(moved, moved, moved))
    assert_body(await fetch(peer.url()), b"good")
    assert by_connection(peer) == [1, 1, 1, 1]


@pytest.mark.kept
async def test_as_many_connections_as_at_once(make_client: MakeClient, raw_peer: MakePeer) -> None:
    together = asyncio.Event()

    async def script(conn: Connection) -> None:
        while True:
            await conn.read_request()
            await together.wait()
            await conn.send(GOOD)

    peer = await raw_peer(script)
    fetches = [make_client().fetch(peer.url()) for _ in range(5)]
    await asyncio.wait_for(peer.received(5), 10)
    together.set()
    for res in await asyncio.gather(*fetches):
        assert_body(res, b"good")
    for res in await asyncio.gather(*(make_client().fetch(peer.url()) for _ in range(5))):
        assert_body(res, b"good")
    assert peer.connections == 5


@pytest.mark.kept
async def test_reused_over_tls(
    make_client: MakeClient, raw_peer: MakePeer, certificates: Certificates
) -> None:
    peer = await raw_peer(GOOD, certificates.server_context())
    for _ in range(3):
        # The same options, not the same mapping.
        client = make_client({"ca_path": certificates.ca})
        assert_body(await client.fetch(peer.url()), b"good")
    assert peer.connections == 1


# Not used again

CLOSING: dict[str, dict[str, Any]] = {
    "HTTP/1.0": {"http_version": "HTTP/1.0"},
    "HTTP/1.0 in on_headers": {"on_headers": lambda headers: headers.set_version("HTTP/1.0")},
    "close": {"on_headers": lambda headers: headers.set("Connection", "close")},
    "close among others": {"on_headers": lambda headers: headers.set("Connection", "x, Close")},
}


@pytest.mark.parametrize("options", CLOSING.values(), ids=CLOSING)
@pytest.mark.kept
async def test_a_request_that_closes_has_a_connection_of_its_own(
    options: dict[str, Any], fetch: Fetch, raw_peer: MakePeer
) -> None:
    # The peer ignores what the request asks for.
    peer = await raw_peer(GOOD)
    for more in ({}, options, {}):
        assert_body(await fetch(peer.url(), **more), b"good")
    assert by_connection(peer) == [1, 2, 1]


UNFIT: dict[str, tuple[bytes, str]] = {
    "close said": (response(b"last", "Connection: close"), "GET"),
    "Close said in capitals": (response(b"last", "Connection: CLOSE"), "GET"),
    "close said among others": (response(b"last", "Connection: x-other, close"), "GET"),
    "close said in a second field": (
        response(b"last", "Connection: x-other", "Connection: close"),
        "GET",
    ),
    "close said, and keep-alive": (response(b"last", "Connection: keep-alive, close"), "GET"),
    "close said with a 302": (
        response(b"last", "Connection: close", "Location: /next", status="302 Found"),
        "GET",
    ),
    "HTTP/1.0": (response(b"last", version="HTTP/1.0"), "GET"),
    "HTTP/1.0 with something else": (
        response(b"last", "Connection: x-other", version="HTTP/1.0"),
        "GET",
    ),
    "bytes beyond the body": (response(b"last") + b"!", "GET"),
    "a response beyond the body": (response(b"last") + EVIL, "GET"),
    "a response beyond the last chunk": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nlast\r\n0\r\n\r\n" + EVIL,
        "GET",
    ),
    "a response beyond no body": (response(b"") + EVIL, "GET"),
    "a body beyond 204": (b"HTTP/1.1 204 No Content\r\n\r\n" + EVIL, "GET"),
    "a body beyond 304": (
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: %d\r\n\r\n" % len(EVIL) + EVIL,
        "GET",
    ),
    "a body to HEAD": (OK + b"Content-Length: %d\r\n\r\n" % len(EVIL) + EVIL, "HEAD"),
    "CR LF beyond the body": (response(b"last") + b"\r\n", "GET"),
}


@pytest.mark.parametrize(("answer", "method"), UNFIT.values(), ids=UNFIT)
async def test_not_reused(
    answer: bytes, method: str, transport: str, fetch: Fetch, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(on_each(answer))
    res = await fetch(peer.url(), method=method, allow_redirects=False)
    assert res.error is None
    assert res.body in (b"last", b"")
    assert_body(await fetch(peer.url()), b"good")
    if transport == "curl" and answer is UNFIT["a response beyond the last chunk"][0]:
        # libcurl drops what comes in one read with the last chunk, and does not tell.
        assert by_connection(peer) in ([1, 1], [1, 2])
    else:
        assert by_connection(peer) == [1, 2]


FAILURES: dict[str, tuple[bytes, errors]] = {
    "bad head": (OK + b"no field\r\n\r\n", errors.PARSE_ERROR_HEADERS),
    "bad length": (OK + b"Content-Length: -1\r\n\r\n", errors.PARSE_ERROR_HEADERS),
    "length and chunked": (
        OK + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + b"4\r\nbody\r\n0\r\n\r\n",
        errors.PARSE_ERROR_HEADERS,
    ),
    "bad chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", errors.SOCKET_ERROR),
    "bad gzip": (response(b"no gzip", "Content-Encoding: gzip"), errors.SOCKET_ERROR),
    "over the limit": (response(b"x" * 101), errors.SOCKET_ERROR),
    "far over the limit": (response(b"x" * 1_000_000), errors.SOCKET_ERROR),
    "over the limit, chunked": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n",
        errors.SOCKET_ERROR,
    ),
    "timeout": (OK + b"Content-Length: 10\r\n\r\n12345", errors.REQUEST_TIMEOUT),
}


@pytest.mark.parametrize(("answer", "code"), FAILURES.values(), ids=FAILURES)
async def test_not_reused_after_an_error(
    answer: bytes, code: errors, make_client: MakeClient, fetch: Fetch, raw_peer: MakePeer
) -> None:
    closed = asyncio.Event()

    async def script(conn: Connection) -> None:
        await conn.read_request()
        if conn.number > 1:
            await conn.send(GOOD)
            return
        try:
            await conn.send(answer)
            await conn.wait_closed_by_client()
        finally:
            closed.set()

    peer = await raw_peer(script)
    client = make_client(max_buffer_size=100)
    timeout = 0.2 if code is errors.REQUEST_TIMEOUT else 30
    res = await fetch(peer.url(), client=client, request_timeout=timeout)
    assert res.error is not None
    assert res.error.code is code
    await asyncio.wait_for(closed.wait(), 10)
    assert_body(await fetch(peer.url(), client=client), b"good")
    assert by_connection(peer) == [1, 2]


async def test_not_reused_after_cancel(
    make_client: MakeClient, fetch: Fetch, raw_peer: MakePeer
) -> None:
    late = asyncio.Event()

    async def script(conn: Connection) -> None:
        await conn.read_request()
        if conn.number == 1:
            await late.wait()
            await conn.send(EVIL)
        else:
            await conn.send(GOOD)

    peer = await raw_peer(script)
    client = make_client()
    fetching = client.fetch(peer.url())
    await asyncio.wait_for(peer.received(), 10)
    fetching.cancel()
    late.set()
    assert_body(await fetch(peer.url(), client=client), b"good")
    assert by_connection(peer) == [1, 2]


async def test_not_reused_when_the_request_was_not_taken(fetch: Fetch, raw_peer: MakePeer) -> None:
    async def script(conn: Connection) -> None:
        if conn.number > 1:
            await conn.read_request()
            await conn.send(GOOD)
            return
        await conn.reader.readuntil(b"\r\n\r\n")
        await conn.send(response(b"too large", status="413 Content Too Large"))
        # The reader is full of the body by now: nothing more of it is taken.
        await left.wait()

    left = asyncio.Event()
    peer = await raw_peer(script)
    res = await fetch(peer.url(), method="POST", body=bytes(20_000_000), **TIMEOUTS)
    assert (res.error, res.code, res.body) == (None, 413, b"too large")
    assert_body(await fetch(peer.url()), b"good")
    assert peer.connections == 2
    left.set()


async def test_not_reused_after_a_body_until_close(fetch: Fetch, raw_peer: MakePeer) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(OK + b"\r\nuntil close")
        conn.close()

    peer = await raw_peer(script)
    for _ in range(2):
        assert_body(await fetch(peer.url()), b"until close")
    assert by_connection(peer) == [1, 2]


@pytest.mark.kept
async def test_not_reused_with_other_tls_settings(
    make_client: MakeClient, raw_peer: MakePeer, certificates: Certificates
) -> None:
    peer = await raw_peer(GOOD, certificates.server_context())
    settings: list[dict[str, Any]] = [
        {"verify_ca": False},
        {"ca_path": certificates.ca},
        {"ca_path": certificates.ca_directory},
        {"ca_path": certificates.ca, "cert_file": certificates.client_pem},
        {"ca_path": certificates.ca, "verify_ca": False},
    ]
    for _ in range(2):
        for ssl_options in settings:
            assert_body(await make_client(ssl_options).fetch(peer.url()), b"good")
    assert by_connection(peer) == [1, 2, 3, 4, 5] * 2


async def test_no_trust_from_a_kept_connection(
    make_client: MakeClient, raw_peer: MakePeer, certificates: Certificates
) -> None:
    peer = await raw_peer(GOOD, certificates.server_context())
    assert_body(await make_client({"verify_ca": False}).fetch(peer.url()), b"good")
    res = await make_client().fetch(peer.url(), **TIMEOUTS)
    assert res.error is not None
    assert res.error.code is errors.SSL_ERROR
    assert len(peer.requests) == 1


@pytest.mark.kept
async def test_not_reused_for_another_host(fetch: Fetch, raw_peer: MakePeer) -> None:
    first, second = await raw_peer(GOOD), await raw_peer(response(b"other"))
    for _ in range(2):
        assert_body(await fetch(first.url()), b"good")
        assert_body(await fetch(second.url()), b"other")
    assert (first.connections, second.connections) == (1, 1)


# keep_alive=False


@pytest.mark.kept
async def test_keep_alive_off(fetch: Fetch, raw_peer: MakePeer) -> None:
    left: asyncio.Queue[int] = asyncio.Queue()

    async def script(conn: Connection) -> None:
        try:
            while True:
                await conn.read_request()
                await conn.send(GOOD)
        finally:
            await left.put(conn.number)

    peer = await raw_peer(script)
    assert_body(await fetch(peer.url(), keep_alive=False), b"good")
    assert await asyncio.wait_for(left.get(), 10) == 1
    assert_body(await fetch(peer.url()), b"good")
    # An idle connection is not taken, and stays what it is.
    assert_body(await fetch(peer.url(), keep_alive=False), b"good")
    assert await asyncio.wait_for(left.get(), 10) == 3
    assert_body(await fetch(peer.url()), b"good")
    assert by_connection(peer) == [1, 2, 3, 2]
    said = [request.field("Connection") for request in peer.requests]
    assert said == ["close", None, "close", None]


async def test_keep_alive_off_for_each_hop(fetch: Fetch, raw_peer: MakePeer) -> None:
    moved = response(b"", "Location: /next", status="302 Found")
    peer = await raw_peer(on_each(moved, moved))
    assert_body(await fetch(peer.url(), keep_alive=False), b"good")
    assert by_connection(peer) == [1, 2, 3]


# A peer that sends something without a request


class Poisoner:
    """Answers properly, and when told to, speaks out of turn on its first connection."""

    def __init__(self, words: bytes) -> None:
        self.words = words
        self.speak = asyncio.Event()
        self.spoken = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, conn: Connection) -> None:
        if conn.number > 1:
            while True:
                await conn.read_request()
                await conn.send(GOOD)
        try:
            await conn.read_request()
            await conn.send(response(b"first"))
            await self.speak.wait()
            await conn.send(self.words)
            self.spoken.set()
            await conn.wait_closed_by_client()
        finally:
            self.left.set()


each_scheme = pytest.mark.parametrize("scheme", ["http", "https"])


@each_scheme
@pytest.mark.parametrize("noticed", [True, False], ids=["noticed", "unnoticed"])
@pytest.mark.parametrize("words", [EVIL, b"H", b"\r\n"], ids=["response", "byte", "CR LF"])
@pytest.mark.kept
async def test_poisoned_while_idle(
    words: bytes,
    noticed: bool,
    scheme: str,
    make_client: MakeClient,
    raw_peer: MakePeer,
    certificates: Certificates,
) -> None:
    script = Poisoner(words)
    context = certificates.server_context() if scheme == "https" else None
    peer = await raw_peer(script, context)
    client = make_client({"ca_path": certificates.ca})
    assert_body(await client.fetch(peer.url(), **TIMEOUTS), b"first")
    script.speak.set()
    await asyncio.wait_for(script.spoken.wait(), 10)
    if noticed:
        # Turns of the loop in which the client may see what has come.
        for _ in range(5):
            await asyncio.sleep(0)
    assert_body(await client.fetch(peer.url(), **TIMEOUTS), b"good")
    assert_body(await client.fetch(peer.url(), **TIMEOUTS), b"good")
    assert by_connection(peer) == [1, 2, 2]
    await asyncio.wait_for(script.left.wait(), 10)


@pytest.mark.parametrize("together", [True, False], ids=["one record", "two records"])
async def test_poisoned_at_once_over_tls(
    together: bool, make_client: MakeClient, raw_peer: MakePeer, certificates: Certificates
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        if conn.number > 1:
            await conn.send(GOOD)
        elif together:
            await conn.send(response(b"first") + EVIL)
        else:
            conn.writer.write(response(b"first"))
            await conn.send(EVIL)

    peer = await raw_peer(script, certificates.server_context())
    client = make_client({"ca_path": certificates.ca})
    assert_body(await client.fetch(peer.url(), **TIMEOUTS), b"first")
    assert_body(await client.fetch(peer.url(), **TIMEOUTS), b"good")
    assert by_connection(peer) == [1, 2]


async def test_poisoned_by_an_interim_response(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(on_each(response(b"first") + b"HTTP/1.1 100 Continue\r\n\r\n"))
    assert_body(await fetch(peer.url()), b"first")
    assert_body(await fetch(peer.url()), b"good")
    assert by_connection(peer) == [1, 2]


# Closed while idle


@each_scheme
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.kept
async def test_closed_while_idle(
    end: str,
    method: str,
    scheme: str,
    make_client: MakeClient,
    raw_peer: MakePeer,
    certificates: Certificates,
) -> None:
    ended = asyncio.Event()

    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(GOOD)
        if conn.number == 1:
            await end_now.wait()
            getattr(conn, end)()
            ended.set()

    end_now = asyncio.Event()
    context = certificates.server_context() if scheme == "https" else None
    peer = await raw_peer(script, context)
    client = make_client({"ca_path": certificates.ca})
    assert_body(await client.fetch(peer.url()), b"good")
    end_now.set()
    await asyncio.wait_for(ended.wait(), 10)
    # Nothing was written on the closed connection, so that even a POST can be sent.
    body = None if method == "GET" else b"body"
    res = await client.fetch(peer.url(), method=method, body=body, **TIMEOUTS)
    assert_body(res, b"good")
    assert by_connection(peer) == [1, 2]


async def test_idle_connection_is_closed_when_the_peer_closes(
    transport: str, fetch: Fetch, raw_peer: MakePeer
) -> None:
    left = asyncio.Event()

    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(GOOD)
        conn.close()
        await conn.wait_closed_by_client()
        left.set()

    peer = await raw_peer(script)
    assert_body(await fetch(peer.url()), b"good")
    if transport == "curl":
        # libcurl looks at its idle connections when it wants one.
        assert_body(await fetch(peer.url()), b"good")
    await asyncio.wait_for(left.wait(), 10)


# Closed when the request was on its way


class Leaving:
    """A peer whose first connections each answer once and leave upon the second request."""

    def __init__(self, leave: Callable[[Connection], Any], connections: int = 1) -> None:
        self.leave = leave
        self.connections = connections

    async def __call__(self, conn: Connection) -> None:
        if conn.number <= self.connections:
            await conn.read_request()
            await conn.send(GOOD)
            await conn.read_request()
            await self.leave(conn)
            return
        while True:
            await conn.read_request()
            await conn.send(response(b"again"))


async def closing(conn: Connection) -> None:
    conn.close()


async def resetting(conn: Connection) -> None:
    conn.reset()


def beginning(data: bytes) -> Callable[[Connection], Any]:
    async def leave(conn: Connection) -> None:
        await conn.send(data)
        conn.close()

    return leave


@pytest.mark.parametrize("leave", [closing, resetting])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"])
@pytest.mark.kept
async def test_idempotent_request_is_sent_again(
    method: str, leave: Any, fetch: Fetch, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(Leaving(leave))
    body = b"request" if method == "PUT" else None
    assert_body(await fetch(peer.url()), b"good")
    res = await fetch(peer.url(), method=method, body=body, **TIMEOUTS)
    assert_body(res, b"" if method == "HEAD" else b"again")
    assert by_connection(peer) == [1, 1, 2]
    assert [request.method for request in peer.requests] == ["GET", method, method]
    assert peer.requests[2].body == peer.requests[1].body == (body or b"")
    assert peer.requests[2].raw == peer.requests[1].raw


@pytest.mark.parametrize(
    ("leave", "code"), [(closing, errors.NO_HEADERS), (resetting, errors.SOCKET_ERROR)]
)
@pytest.mark.parametrize("method", ["POST", "PATCH", "CUSTOM"])
@pytest.mark.kept
async def test_other_request_is_not_sent_again(
    method: str, leave: Any, code: errors, fetch: Fetch, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(Leaving(leave))
    assert_body(await fetch(peer.url()), b"good")
    res = await fetch(peer.url(), method=method, body=b"request", **TIMEOUTS)
    assert res.error is not None
    assert res.error.code is code
    assert res.request_time < 10_000
    assert [request.method for request in peer.requests] == ["GET", method]
    assert by_connection(peer) == [1, 1]
    assert_body(await fetch(peer.url()), b"again")


@pytest.mark.parametrize(
    "data",
    [b"H", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"],
    ids=["byte", "status line", "head", "interim response"],
)
@pytest.mark.kept
async def test_not_sent_again_after_a_byte_of_the_response(
    data: bytes, fetch: Fetch, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(Leaving(beginning(data)))
    assert_body(await fetch(peer.url()), b"good")
    res = await fetch(peer.url(), **TIMEOUTS)
    assert res.error is not None
    assert res.error.code is errors.SOCKET_ERROR
    assert by_connection(peer) == [1, 1]


@pytest.mark.kept
async def test_sent_again_only_once(fetch: Fetch, raw_peer: MakePeer) -> None:
    async def script(conn: Connection) -> None:
        if conn.number == 1:
            await conn.read_request()
            await conn.send(GOOD)
        await conn.read_request()
        conn.close()

    peer = await raw_peer(script)
    assert_body(await fetch(peer.url()), b"good")
    res = await fetch(peer.url(), **TIMEOUTS)
    assert res.error is not None
    assert res.error.code is errors.NO_HEADERS
    assert by_connection(peer) == [1, 1, 2]


@pytest.mark.kept
async def test_sent_again_on_a_fresh_connection(
    make_client: MakeClient, fetch: Fetch, raw_peer: MakePeer
) -> None:
    # Three idle connections, each as bad as the others.
    together = asyncio.Event()

    async def script(conn: Connection) -> None:
        await conn.read_request()
        await together.wait()
        await conn.send(GOOD)
        await conn.read_request()
        if conn.number > 3:
            await conn.send(GOOD)
        else:
            conn.close()

    peer = await raw_peer(script)
    fetches = [make_client().fetch(peer.url()) for _ in range(3)]
    await asyncio.wait_for(peer.received(3), 10)
    together.set()
    for res in await asyncio.gather(*fetches):
        assert_body(res, b"good")
    assert_body(await fetch(peer.url(), **TIMEOUTS), b"good")
    *_, kept, fresh = by_connection(peer)
    assert len(peer.requests) == 5
    assert kept in (1, 2, 3)
    assert fresh == 4


@pytest.mark.kept
async def test_request_timeout_holds_for_what_is_sent_again(
    fetch: Fetch, raw_peer: MakePeer
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        if conn.number == 1:
            await conn.send(GOOD)
            await conn.read_request()
            conn.close()

    peer = await raw_peer(script)
    assert_body(await fetch(peer.url()), b"good")
    res = await fetch(peer.url(), request_timeout=0.3)
    assert res.error is not None
    assert res.error.code is errors.REQUEST_TIMEOUT
    assert by_connection(peer) == [1, 1, 2]
