"""Every error code, with every cause in the documentation."""

from __future__ import annotations

import asyncio
import enum
import errno
import gzip
import os
import socket
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support import Connection, Fetch, MakeClient, MakePeer, Script, response
from tests.support.certificates import Certificates
from tests.support.server import Server
from turbo_tornado import HTTPClient, HTTPResponse, errors

# Much longer than any failure here takes, and much shorter than the timeouts. A failure that
# is reported only when a timeout expires fails the test.
TIMEOUTS: dict[str, Any] = {"request_timeout": 30, "connect_timeout": 30}
PROMPT = 10_000.0


class Act(enum.Enum):
    """The acts of a peer other than sending bytes."""

    CLOSE = "close"
    RESET = "reset"


CLOSE, RESET = Act.CLOSE, Act.RESET


def peer_that(*acts: bytes | Act) -> Script:
    """Return the script of a peer that reads a request and then does ``acts``.

    Where the last act is neither a close nor a reset, the peer stalls.
    """

    async def script(conn: Connection) -> None:
        await conn.read_request()
        for act in acts:
            if act is CLOSE:
                conn.close()
            elif act is RESET:
                conn.reset()
            else:
                assert isinstance(act, bytes)
                await conn.send(act)

    return script


def assert_failed(res: HTTPResponse, code: errors, *words: str) -> None:
    assert res.error is not None, f"no error, but {res.code} {res.body!r}"
    assert res.error.code is code, f"{res.error.code!r}: {res.error.message}"
    assert res.error.message
    for word in words:
        assert word in res.error.message
    others: tuple[Any, ...] = (res.request, res.code, res.reason, res.headers, res.body, res.url)
    assert others == (None,) * len(others)
    assert isinstance(res.request_time, float)
    assert 0 <= res.request_time < PROMPT


def type_name(value: object) -> str:
    return type(value).__name__


async def assert_free(client: HTTPClient, server: Server) -> None:
    before = len(server.requests)
    res = await client.fetch(server.url("/echo"))
    assert (res.error, res.code) == (None, 200)
    assert len(server.requests) == before + 1


AssertFails = Callable[..., Awaitable[None]]


@pytest.fixture
def assert_fails(make_client: MakeClient, fetch: Fetch, server: Server) -> AssertFails:
    """Expect an error with a code and words, and a free client afterwards."""

    async def assert_fails(url: Any, code: errors, *words: str, **options: Any) -> None:
        client = make_client()
        assert_failed(await fetch(url, client=client, **TIMEOUTS, **options), code, *words)
        await assert_free(client, server)

    return assert_fails


def test_values_of_the_codes() -> None:
    assert {member.name: member.value for member in errors} == {
        "INVALID_URL": -1,
        "INVALID_SCHEMA": -2,
        "COULD_NOT_CONNECT": -3,
        "PARSE_ERROR_HEADERS": -4,
        "CONNECT_TIMEOUT": -5,
        "REQUEST_TIMEOUT": -6,
        "NO_HEADERS": -7,
        "REQUIRES_BODY": -8,
        "INVALID_BODY": -9,
        "SOCKET_ERROR": -10,
        "SSL_ERROR": -11,
        "BUSY": -12,
        "REDIRECT_MAX": -13,
    }
    assert issubclass(errors, enum.IntEnum)


# The URL


@pytest.mark.parametrize(
    "url",
    [
        None,
        5,
        b"http://127.0.0.1/",
        ["http://127.0.0.1/"],
        "",
        "nonsense",
        "/path",
        "//127.0.0.1/",
        "localhost:8080/x",
        "http:",
        "http://",
        "http:///path",
        "http://?query",
        "http://#fragment",
        "http://:80/",
        "http://user@/",
        "http://127.0.0.1:port/",
        "http://127.0.0.1:65536/",
        "http://127.0.0.1:-1/",
        "http://127.0.0.1:8o/",
        "http://[::1/",
        "http://[no-address]/",
        " http://127.0.0.1/",
        "http://127.0.0.1/ ",
        "http://127.0.0.1/a b",
        "http://127.0.0.1 /",
        "http://127.0.0.1/\r\nX: y",
        "http://127.0.0.1/\ta",
        "http://127.0.0.1/\0",
        "http://127.0.0.1/\x7f",
        "http://127.0.0.1/?q=a b",
    ],
    ids=ascii,
)
async def test_invalid_url(url: Any, assert_fails: AssertFails) -> None:
    await assert_fails(url, errors.INVALID_URL)


@pytest.mark.parametrize(
    "url",
    ["ftp://127.0.0.1/", "mailto:a@b", "file:///etc/hosts", "ws://127.0.0.1/", "x-y+z.1://h/"],
)
async def test_invalid_schema(url: str, assert_fails: AssertFails) -> None:
    await assert_fails(url, errors.INVALID_SCHEMA, url.partition(":")[0])


@pytest.mark.parametrize("path", ["a b", "/", ":99999/"])
async def test_message_has_no_user_info(path: str, fetch: Fetch, closed_port: int) -> None:
    res = await fetch(f"http://user:secret@127.0.0.1:{closed_port}{path}")
    assert res.error is not None
    assert "secret" not in res.error.message
    assert "user" not in res.error.message


# Connecting


async def test_connection_refused(assert_fails: AssertFails, closed_port: int) -> None:
    words = ("127.0.0.1", str(closed_port), os.strerror(errno.ECONNREFUSED))
    await assert_fails(f"http://127.0.0.1:{closed_port}/", errors.COULD_NOT_CONNECT, *words)


async def test_connection_refused_by_each_address(fetch: Fetch, closed_port: int) -> None:
    res = await fetch(f"http://localhost:{closed_port}/", **TIMEOUTS)
    assert_failed(res, errors.COULD_NOT_CONNECT, "localhost", str(closed_port))


async def test_connection_refused_with_tls(fetch: Fetch, closed_port: int) -> None:
    res = await fetch(f"https://127.0.0.1:{closed_port}/", **TIMEOUTS)
    assert_failed(res, errors.COULD_NOT_CONNECT, "127.0.0.1", str(closed_port))


async def test_connection_refused_on_ipv6(fetch: Fetch) -> None:
    try:
        bound = socket.socket(socket.AF_INET6)
        bound.bind(("::1", 0))
    except OSError as error:
        pytest.skip(f"no IPv6 loopback here: {error}")
    with bound:
        port = bound.getsockname()[1]
        res = await fetch(f"http://[::1]:{port}/", **TIMEOUTS)
    assert_failed(res, errors.COULD_NOT_CONNECT, "::1", str(port))


async def test_unreachable_host(assert_fails: AssertFails) -> None:
    # The kernel refuses TCP to the broadcast address without sending anything.
    words = ("255.255.255.255", "9", os.strerror(errno.ENETUNREACH))
    await assert_fails("http://255.255.255.255:9/", errors.COULD_NOT_CONNECT, *words)


async def test_unknown_host(assert_fails: AssertFails) -> None:
    name = "no-such-host.invalid"
    await assert_fails(f"http://{name}/", errors.COULD_NOT_CONNECT, name)


# The head of the response

OK = b"HTTP/1.1 200 OK\r\n"

MALFORMED_HEADS = {
    "garbage": b"\x00\x01\x02 this is no HTTP at all\r\n\r\n",
    "garbage without end of line": b"\xff\xfe\xfd\xfc no end of line",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "body without head": b"<html><body>hello</body></html>\r\n\r\n",
    "misspelt protocol": b"HTPP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status line without code": b"HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "code with letters": b"HTTP/1.1 2xx OK\r\nContent-Length: 0\r\n\r\n",
    "code of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "code of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "negative code": b"HTTP/1.1 -200 OK\r\nContent-Length: 0\r\n\r\n",
    "version with letters": b"HTTP/one 200 OK\r\nContent-Length: 0\r\n\r\n",
    "version without minor": b"HTTP/1. 200 OK\r\nContent-Length: 0\r\n\r\n",
    "version that nobody knows": b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "field without colon": OK + b"this is no field\r\nContent-Length: 0\r\n\r\n",
    "field without name": OK + b": value\r\nContent-Length: 0\r\n\r\n",
    "field name with space": OK + b"Bad Name: value\r\nContent-Length: 0\r\n\r\n",
    "space before the colon": OK + b"Content-Length : 0\r\n\r\n",
    "NUL in a field": OK + b"X-A: a\0b\r\nContent-Length: 0\r\n\r\n",
    "unequal lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "unequal lengths in one field": OK + b"Content-Length: 5, 6\r\n\r\nhello",
    "negative length": OK + b"Content-Length: -1\r\n\r\nhello",
    "length with letters": OK + b"Content-Length: five\r\n\r\nhello",
    "length with a sign": OK + b"Content-Length: +5\r\n\r\nhello",
    "hexadecimal length": OK + b"Content-Length: 0x5\r\n\r\nhello",
    "length with a space": OK + b"Content-Length: 5 5\r\n\r\nhello",
    "length with a fraction": OK + b"Content-Length: 5.0\r\n\r\nhello",
    "empty length": OK + b"Content-Length:\r\n\r\nhello",
    "length and chunked": OK
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "chunked and length": OK
    + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("then", [(CLOSE,), ()], ids=["closes", "stalls"])
@pytest.mark.parametrize("head", MALFORMED_HEADS.values(), ids=MALFORMED_HEADS)
async def test_malformed_head(
    head: bytes, then: tuple[Act, ...], raw_peer: MakePeer, assert_fails: AssertFails
) -> None:
    peer = await raw_peer(peer_that(head, *then))
    await assert_fails(peer.url(), errors.PARSE_ERROR_HEADERS)
    assert len(peer.requests) == 1


async def test_malformed_head_in_pieces(fetch: Fetch, raw_peer: MakePeer) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        for byte in MALFORMED_HEADS["negative length"]:
            await conn.send(bytes([byte]))

    peer = await raw_peer(script)
    assert_failed(await fetch(peer.url(), **TIMEOUTS), errors.PARSE_ERROR_HEADERS)


async def test_malformed_head_after_100(fetch: Fetch, raw_peer: MakePeer) -> None:
    head = b"HTTP/1.1 100 Continue\r\n\r\n" + MALFORMED_HEADS["code with letters"]
    peer = await raw_peer(peer_that(head))
    assert_failed(await fetch(peer.url(), **TIMEOUTS), errors.PARSE_ERROR_HEADERS)


# Over the limit of each transport: 64 KiB of simple, 300 KB (100 KB a line) of libcurl.
TOO_LARGE = {"simple": 66_000, "curl": 400_000}


@pytest.mark.parametrize("line", [1_000, None], ids=["many lines", "one line"])
async def test_head_over_its_limit(
    line: int | None, transport: str, raw_peer: MakePeer, assert_fails: AssertFails
) -> None:
    size = TOO_LARGE[transport]
    width = line or size
    field = b"X-Long: " + b"x" * (width - 10) + b"\r\n"
    peer = await raw_peer(peer_that(OK, field * (size // width), b"\r\n"))
    words = ("65536",) if transport == "simple" else ()
    await assert_fails(peer.url(), errors.PARSE_ERROR_HEADERS, *words)


async def test_head_without_end(fetch: Fetch, raw_peer: MakePeer) -> None:
    sent = 0

    async def script(conn: Connection) -> None:
        nonlocal sent
        await conn.read_request()
        await conn.send(OK)
        while sent < 100_000_000:
            await conn.send(b"X-More: and more\r\n" * 100)
            sent += 1800

    peer = await raw_peer(script)
    assert_failed(await fetch(peer.url(), **TIMEOUTS), errors.PARSE_ERROR_HEADERS)
    assert sent < 50_000_000


async def test_head_under_its_limit(fetch: Fetch, raw_peer: MakePeer) -> None:
    fields = [f"X-{number}: " + "x" * 990 for number in range(60)]
    peer = await raw_peer(response(b"fine", *fields))
    res = await fetch(peer.url())
    assert (res.error, res.body) == (None, b"fine")
    assert res.headers["X-59"] == "x" * 990


# No response


async def test_closed_before_any_byte(raw_peer: MakePeer, assert_fails: AssertFails) -> None:
    peer = await raw_peer(peer_that(CLOSE))
    await assert_fails(peer.url(), errors.NO_HEADERS, "127.0.0.1", str(peer.port))
    # A request on a fresh connection is not retried.
    assert len(peer.requests) == peer.connections == 1


async def test_closed_before_the_request_is_read(fetch: Fetch, raw_peer: MakePeer) -> None:
    async def script(conn: Connection) -> None:
        conn.close()

    peer = await raw_peer(script)
    assert_failed(await fetch(peer.url(), **TIMEOUTS), errors.NO_HEADERS)
    assert peer.connections == 1


# The body of the request


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "post"])
async def test_requires_body(
    method: str, make_client: MakeClient, fetch: Fetch, server: Server
) -> None:
    client = make_client()
    res = await fetch(server.url("/echo"), client=client, method=method, **TIMEOUTS)
    assert_failed(res, errors.REQUIRES_BODY, method.upper())
    assert server.connections == 0
    await assert_free(client, server)


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("body", [5, 5.0, True, {"a": 1}, ["a"], object()], ids=type_name)
async def test_invalid_body(
    body: Any, method: str, make_client: MakeClient, fetch: Fetch, server: Server
) -> None:
    client = make_client()
    res = await fetch(server.url("/echo"), client=client, method=method, body=body, **TIMEOUTS)
    assert_failed(res, errors.INVALID_BODY, type_name(body))
    assert server.connections == 0
    await assert_free(client, server)


# The socket

LENGTH = OK + b"Content-Length: 10\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
GZIP = OK + b"Content-Encoding: gzip\r\n"
COMPRESSED = gzip.compress(b"compressed " * 50)

CUT = {
    "status line": b"HTTP/1.1 2",
    "status line, all but its end": b"HTTP/1.1 200 OK",
    "head, after the status line": OK,
    "field name": OK + b"Content-Le",
    "field value": OK + b"Content-Length: 10",
    "head, before the empty line": OK + b"Content-Length: 10\r\n",
    "head after 100": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-A: ",
    "body, before its first byte": LENGTH,
    "body": LENGTH + b"123456789",
    "chunked body, before its first byte": CHUNKED,
    "chunk size": CHUNKED + b"5\r\nhello\r\n1",
    "chunk": CHUNKED + b"a\r\nhello",
    "end of a chunk": CHUNKED + b"5\r\nhello\r",
    "chunked body, before the last chunk": CHUNKED + b"5\r\nhello\r\n",
    "last chunk": CHUNKED + b"5\r\nhello\r\n0\r\n",
    "trailers": CHUNKED + b"5\r\nhello\r\n0\r\nX-Trailer: a",
    "gzip with a length": GZIP + b"Content-Length: %d\r\n\r\n" % len(COMPRESSED) + COMPRESSED[:-10],
}


@pytest.mark.parametrize("act", [CLOSE, RESET])
@pytest.mark.parametrize("data", CUT.values(), ids=CUT)
async def test_connection_closed_within_the_response(
    data: bytes, act: Act, transport: str, raw_peer: MakePeer, assert_fails: AssertFails
) -> None:
    peer = await raw_peer(peer_that(data, act))
    await assert_fails(peer.url(), errors.SOCKET_ERROR)
    assert len(peer.requests) == peer.connections == 1


async def test_reset_before_any_byte(raw_peer: MakePeer, assert_fails: AssertFails) -> None:
    peer = await raw_peer(peer_that(RESET))
    words = ("127.0.0.1", str(peer.port), os.strerror(errno.ECONNRESET))
    await assert_fails(peer.url(), errors.SOCKET_ERROR, *words)
    assert len(peer.requests) == peer.connections == 1


async def test_reset_in_a_body_until_close(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(peer_that(OK + b"\r\n", b"some", RESET))
    assert_failed(await fetch(peer.url(), **TIMEOUTS), errors.SOCKET_ERROR)


async def test_reset_while_the_request_is_sent(
    raw_peer: MakePeer, assert_fails: AssertFails
) -> None:
    async def script(conn: Connection) -> None:
        await conn.reader.readuntil(b"\r\n\r\n")
        conn.reset()

    peer = await raw_peer(script)
    body = bytes(20_000_000)
    await assert_fails(peer.url(), errors.SOCKET_ERROR, method="POST", body=body)


BAD_BODIES = {
    "chunk size with letters": CHUNKED + b"xyz\r\nhello\r\n0\r\n\r\n",
    "negative chunk size": CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "empty chunk size": CHUNKED + b"\r\nhello\r\n0\r\n\r\n",
    "chunk size beyond measure": CHUNKED + b"f" * 40 + b"\r\nhello\r\n0\r\n\r\n",
    "chunk longer than it says": CHUNKED + b"3\r\nhello\r\n0\r\n\r\n",
    "no gzip": GZIP + b"Content-Length: 11\r\n\r\nnot gzipped",
    "no gzip, chunked": GZIP + b"Transfer-Encoding: chunked\r\n\r\nb\r\nnot gzipped\r\n0\r\n\r\n",
    "corrupt gzip": GZIP
    + b"Content-Length: %d\r\n\r\n" % len(COMPRESSED)
    + COMPRESSED[:12]
    + b"\xff" * (len(COMPRESSED) - 12),
    "gzip with a wrong checksum": GZIP
    + b"Content-Length: %d\r\n\r\n" % len(COMPRESSED)
    + COMPRESSED[:-8]
    + b"\0\0\0\0"
    + COMPRESSED[-4:],
    "cut gzip in a whole body": GZIP
    + b"Content-Length: %d\r\n\r\n" % (len(COMPRESSED) - 10)
    + COMPRESSED[:-10],
    "cut gzip in a whole chunked body": GZIP
    + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % (len(COMPRESSED) - 10)
    + COMPRESSED[:-10]
    + b"\r\n0\r\n\r\n",
    "gzip cut within its header": GZIP + b"Content-Length: 4\r\n\r\n" + COMPRESSED[:4],
    "zlib that claims to be gzip": GZIP
    + b"Content-Length: %d\r\n\r\n" % len(zlib.compress(b"zlib"))
    + zlib.compress(b"zlib"),
}


@pytest.mark.parametrize("data", BAD_BODIES.values(), ids=BAD_BODIES)
async def test_invalid_body_of_a_response(
    data: bytes, raw_peer: MakePeer, assert_fails: AssertFails
) -> None:
    # The peer keeps the connection open, so that only the bytes show the error.
    peer = await raw_peer(peer_that(data))
    await assert_fails(peer.url(), errors.SOCKET_ERROR)
    assert len(peer.requests) == 1


async def test_cut_gzip_until_close(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(peer_that(GZIP + b"\r\n" + COMPRESSED[:-10], CLOSE))
    assert_failed(await fetch(peer.url(), **TIMEOUTS), errors.SOCKET_ERROR)


async def test_invalid_gzip_without_use_gzip_is_returned(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(peer_that(BAD_BODIES["no gzip"]))
    res = await fetch(peer.url(), use_gzip=False)
    assert (res.error, res.body) == (None, b"not gzipped")


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_gzip_without_a_body(method: str, fetch: Fetch, raw_peer: MakePeer) -> None:
    length = 100 if method == "HEAD" else 0
    peer = await raw_peer(peer_that(GZIP + b"Content-Length: %d\r\n\r\n" % length))
    res = await fetch(peer.url(), method=method, **TIMEOUTS)
    assert (res.error, res.code, res.body) == (None, 200, b"")


# The client


async def test_busy(make_client: MakeClient, fetch: Fetch, raw_peer: MakePeer) -> None:
    answer = asyncio.Event()

    async def script(conn: Connection) -> None:
        while True:
            await conn.read_request()
            await answer.wait()
            await conn.send(response(b"first"))

    peer = await raw_peer(script)
    client = make_client()
    first = client.fetch(peer.url("/1"))
    await peer.received()
    assert_failed(await fetch(peer.url("/2"), client=client), errors.BUSY)
    assert_failed(await fetch("", client=client), errors.BUSY)
    assert_failed(await fetch(peer.url("/2"), client=client, method="POST"), errors.BUSY)
    assert not first.done()
    answer.set()
    res = await first
    assert (res.error, res.body) == (None, b"first")
    assert [request.target for request in peer.requests] == ["/1"]
    res = await fetch(peer.url("/3"), client=client)
    assert (res.error, res.body) == (None, b"first")


async def test_busy_in_the_same_turn_of_the_loop(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(response(b"x"))
    client = make_client()
    outcomes = await asyncio.gather(*(client.fetch(peer.url()) for _ in range(10)))
    assert outcomes[0].body == b"x"
    for res in outcomes[1:]:
        assert_failed(res, errors.BUSY)
    assert len(peer.requests) == 1


@pytest.mark.parametrize(
    ("hops", "limit"), [(5, None), (1, 0), (3, 2)], ids=["default", "none", "two"]
)
async def test_redirect_max(
    hops: int, limit: int | None, make_client: MakeClient, fetch: Fetch, server: Server
) -> None:
    client = make_client()
    res = await fetch(
        server.url(f"/redirect/{hops}"), client=client, max_redirects=limit, **TIMEOUTS
    )
    assert_failed(res, errors.REDIRECT_MAX, str(hops - 1))
    assert len(server.requests) == hops
    await assert_free(client, server)


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("ftp://127.0.0.1/", errors.INVALID_SCHEMA),
        ("http://127.0.0.1:port/", errors.INVALID_URL),
        ("http://", errors.INVALID_URL),
        ("http://[::1/", errors.INVALID_URL),
        ("/a\tb", errors.INVALID_URL),
    ],
)
async def test_redirect_to_an_unknown_host(
    location: str, code: errors, raw_peer: MakePeer, assert_fails: AssertFails
) -> None:
    peer = await raw_peer(response(b"", f"Location: {location}", status="302 Found"))
    await assert_fails(peer.url(), code)
    assert len(peer.requests) == 1


async def test_failure_after_a_redirect(
    assert_fails: AssertFails, server: Server, closed_port: int
) -> None:
    url = server.url(f"/redirect-to?url=http://127.0.0.1:{closed_port}/")
    await assert_fails(url, errors.COULD_NOT_CONNECT, str(closed_port))


@pytest.mark.parametrize("code", [400, 404, 500, 503, 599])
async def test_status_code_is_not_an_error(code: int, fetch: Fetch, server: Server) -> None:
    res = await fetch(server.url(f"/status/{code}"))
    assert (res.error, res.code, res.body) == (None, code, str(code).encode())


async def test_reset_over_tls_while_a_body_is_sent(
    make_client: MakeClient, raw_peer: MakePeer, certificates: Certificates
) -> None:
    async def script(conn: Connection) -> None:
        await conn.reader.readuntil(b"\r\n\r\n")
        conn.reset()

    peer = await raw_peer(script, certificates.server_context())
    client = make_client({"ca_path": certificates.ca})
    for _ in range(5):
        res = await client.fetch(peer.url(), method="POST", body=bytes(3_000_000), **TIMEOUTS)
        assert_failed(res, errors.SOCKET_ERROR)
