"""Connection reuse: connections are reused if both messages allow it.

The peer counts the connections, and the requests on each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import Connection, Fetch, MakeClient, MakePeer, RawPeer, response
from tests.support.certificates import Certificates
from tests.support.phases import in_phase, require_phase
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


# Reused

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
async def test_connection_is_reused(
    answer: bytes, method: str, transport: str, fetch: Fetch, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(on_each(answer, answer))
    body = b"request" if method == "POST" else None
    for _ in range(2):
        res = await fetch(peer.url(), method=method, body=body)
        assert res.error is None
    assert_body(await fetch(peer.url()), b"good")
    assert by_connection(peer) == [1, 1, 1]
    # There is no other data between two requests.
    assert all(request.raw.startswith(request.method.encode()) for request in peer.requests)
    assert peer.requests[2].method == "GET"


@pytest.mark.kept
async def test_connection_is_reused_by_one_client(
    make_client: MakeClient, fetch: Fetch, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(GOOD)
    client = make_client()
    for _ in range(10):
        assert_body(await fetch(peer.url(), client=client), b"good")
    assert peer.connections == 1


@pytest.mark.kept
async def test_connection_is_reused_after_a_redirect(fetch: Fetch, raw_peer: MakePeer) -> None:
    moved = response(b"moved", "Location: /next", status="302 Found")
    peer = await raw_peer(on_each(moved, moved, moved))
    assert_body(await fetch(peer.url()), b"good")
    assert by_connection(peer) == [1, 1, 1, 1]


@pytest.mark.kept
async def test_one_connection_for_each_concurrent_fetch(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
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
async def test_tls_connection_is_reused(
    make_client: MakeClient, raw_peer: MakePeer, certificates: Certificates
) -> None:
    peer = await raw_peer(GOOD, certificates.server_context())
    for _ in range(3):
        # The same options, not the same mapping.
        client = make_client({"ca_path": certificates.ca})
        assert_body(await client.fetch(peer.url()), b"good")
    assert peer.connections == 1


# Not reused

CLOSING: dict[str, dict[str, Any]] = {
    "HTTP/1.0": {"http_version": "HTTP/1.0"},
    "HTTP/1.0 in on_headers": {"on_headers": lambda headers: headers.set_version("HTTP/1.0")},
    "close": {"on_headers": lambda headers: headers.set("Connection", "close")},
    "close among others": {"on_headers": lambda headers: headers.set("Connection", "x, Close")},
}


@pytest.mark.parametrize("options", CLOSING.values(), ids=CLOSING)
@pytest.mark.kept
async def test_request_with_connection_close_does_not_use_the_pool(
    options: dict[str, Any], fetch: Fetch, raw_peer: MakePeer
) -> None:
    # The peer ignores the header of the request.
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
async def test_connection_is_not_reused(
    answer: bytes, method: str, transport: str, fetch: Fetch, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(on_each(answer))
    res = await fetch(peer.url(), method=method, allow_redirects=False)
    assert res.error is None
    assert res.body in (b"last", b"")
    assert_body(await fetch(peer.url()), b"good")
    if transport == "curl" and answer is UNFIT["a response beyond the last chunk"][0]:
        # libcurl silently drops data that it reads together with the last chunk.
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
@in_phase
async def test_connection_is_not_reused_after_an_error(
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
    require_phase(peer.requests)
    await asyncio.wait_for(closed.wait(), 10)
    assert_body(await fetch(peer.url(), client=client), b"good")
    assert by_connection(peer) == [1, 2]


async def test_connection_is_not_reused_after_cancel(
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


async def test_connection_is_not_reused_with_unsent_data(fetch: Fetch, raw_peer: MakePeer) -> None:
    async def script(conn: Connection) -> None:
        if conn.number > 1:
            await conn.read_request()
            await conn.send(GOOD)
            return
        await conn.reader.readuntil(b"\r\n\r\n")
        await conn.send(response(b"too large", status="413 Content Too Large"))
        # The buffer of the reader is full, so that the peer receives no further data.
        await left.wait()

    left = asyncio.Event()
    peer = await raw_peer(script)
    res = await fetch(peer.url(), method="POST", body=bytes(20_000_000), **TIMEOUTS)
    assert (res.error, res.code, res.body) == (None, 413, b"too large")
    assert_body(await fetch(peer.url()), b"good")
    assert peer.connections == 2
    left.set()


async def test_connection_is_not_reused_after_a_body_until_close(
    fetch: Fetch, raw_peer: MakePeer
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(OK + b"\r\nuntil close")
        conn.close()

    peer = await raw_peer(script)
    for _ in range(2):
        assert_body(await fetch(peer.url()), b"until close")
    assert by_connection(peer) == [1, 2]


@pytest.mark.kept
async def test_connection_is_not_reused_with_other_tls_settings(
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


async def test_idle_connection_does_not_bypass_verification(
    make_client: MakeClient, raw_peer: MakePeer, certificates: Certificates
) -> None:
    peer = await raw_peer(GOOD, certificates.server_context())
    assert_body(await make_client({"verify_ca": False}).fetch(peer.url()), b"good")
    res = await make_client().fetch(peer.url(), **TIMEOUTS)
    assert res.error is not None
    assert res.error.code is errors.SSL_ERROR
    assert len(peer.requests) == 1


@pytest.mark.kept
async def test_connection_is_not_reused_for_another_host(fetch: Fetch, raw_peer: MakePeer) -> None:
    first, second = await raw_peer(GOOD), await raw_peer(response(b"other"))
    for _ in range(2):
        assert_body(await fetch(first.url()), b"good")
        assert_body(await fetch(second.url()), b"other")
    assert (first.connections, second.connections) == (1, 1)


# keep_alive=False


@pytest.mark.kept
async def test_connection_is_not_reused_without_keep_alive(
    fetch: Fetch, raw_peer: MakePeer
) -> None:
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
    # The idle connection is not used, and stays idle.
    assert_body(await fetch(peer.url(), keep_alive=False), b"good")
    assert await asyncio.wait_for(left.get(), 10) == 3
    assert_body(await fetch(peer.url()), b"good")
    assert by_connection(peer) == [1, 2, 3, 2]
    said = [request.field("Connection") for request in peer.requests]
    assert said == ["close", None, "close", None]


async def test_connection_is_not_reused_after_a_redirect_without_keep_alive(
    fetch: Fetch, raw_peer: MakePeer
) -> None:
    moved = response(b"", "Location: /next", status="302 Found")
    peer = await raw_peer(on_each(moved, moved))
    assert_body(await fetch(peer.url(), keep_alive=False), b"good")
    assert by_connection(peer) == [1, 2, 3]


# A peer that sends unsolicited data


class Poisoner:
    """Responds, and sends unsolicited data on its first connection on demand."""

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
async def test_unsolicited_data_on_an_idle_connection(
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
        # Iterations of the loop in which the client can receive the data.
        for _ in range(5):
            await asyncio.sleep(0)
    assert_body(await client.fetch(peer.url(), **TIMEOUTS), b"good")
    assert_body(await client.fetch(peer.url(), **TIMEOUTS), b"good")
    assert by_connection(peer) == [1, 2, 2]
    await asyncio.wait_for(script.left.wait(), 10)


@pytest.mark.parametrize("together", [True, False], ids=["one record", "two records"])
async def test_unsolicited_data_after_a_response_over_tls(
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


async def test_unsolicited_interim_response(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(on_each(response(b"first") + b"HTTP/1.1 100 Continue\r\n\r\n"))
    assert_body(await fetch(peer.url()), b"first")
    assert_body(await fetch(peer.url()), b"good")
    assert by_connection(peer) == [1, 2]


# Closed while idle


@each_scheme
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.kept
async def test_connection_closed_while_idle(
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
    # The request was not written on the closed connection, so that a POST can be retried.
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
        # libcurl checks its idle connections when it needs one.
        assert_body(await fetch(peer.url()), b"good")
    await asyncio.wait_for(left.wait(), 10)


# Closed after the request was sent


class Leaving:
    """A peer whose first connections respond once, and close at the second request."""

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
async def test_idempotent_request_is_retried(
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
async def test_other_request_is_not_retried(
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
async def test_request_is_not_retried_after_a_byte_of_the_response(
    data: bytes, fetch: Fetch, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(Leaving(beginning(data)))
    assert_body(await fetch(peer.url()), b"good")
    res = await fetch(peer.url(), **TIMEOUTS)
    assert res.error is not None
    assert res.error.code is errors.SOCKET_ERROR
    assert by_connection(peer) == [1, 1]


@pytest.mark.kept
async def test_request_is_retried_only_once(fetch: Fetch, raw_peer: MakePeer) -> None:
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
async def test_request_is_retried_on_a_new_connection(
    make_client: MakeClient, fetch: Fetch, raw_peer: MakePeer
) -> None:
    # Three idle connections, which are all closed.
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
@in_phase
async def test_request_timeout_includes_the_retry(fetch: Fetch, raw_peer: MakePeer) -> None:
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
    require_phase(len(peer.requests) == 3)
    assert by_connection(peer) == [1, 1, 2]
