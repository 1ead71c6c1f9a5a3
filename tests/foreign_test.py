"""Third-party transports: Tornado's stock clients, and a custom one."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gzip
import importlib.util
import io
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.httpclient import HTTPResponse as TornadoResponse
from tornado.httputil import HTTPHeaders as TornadoHeaders
from tornado.httputil import HTTPInputError
from tornado.ioloop import IOLoop
from tornado.iostream import StreamClosedError, UnsatisfiableReadError
from tornado.simple_httpclient import (
    HTTPStreamClosedError,
    HTTPTimeoutError,
    SimpleAsyncHTTPClient,
)

from tests.support import Connection, MakePeer, Request, response
from tests.support.certificates import Certificates
from tests.support.server import Server
from turbo_tornado import HTTPClient, HTTPHeaders, HTTPResponse, configure, errors, reset

MakeServer = Callable[..., Awaitable[Server]]
Fetch = Callable[..., Awaitable[HTTPResponse]]

HAS_PYCURL = importlib.util.find_spec("pycurl") is not None
MOVED = response(b"", "Location: /next", status="302 Found")


class TinyAsyncHTTPClient(AsyncHTTPClient):
    """The minimal implementation of an `AsyncHTTPClient`: one method that calls back."""

    def initialize(self, defaults: dict[str, Any] | None = None) -> None:
        super().initialize(defaults)
        self.tasks: set[asyncio.Task[None]] = set()

    def fetch_impl(self, request: HTTPRequest, callback: Callable[[TornadoResponse], None]) -> None:
        task = asyncio.ensure_future(self.carry(request, callback))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def carry(self, request: Any, callback: Callable[[TornadoResponse], None]) -> None:
        try:
            timeout = request.request_timeout or None
            answer = await asyncio.wait_for(self.exchange(request), timeout)
        except Exception as error:
            answer = TornadoResponse(request, 599, error=error)
        callback(answer)

    async def exchange(self, request: Any) -> TornadoResponse:
        parts = urlsplit(request.url)
        assert parts.hostname is not None
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
        with contextlib.closing(writer):
            target = parts.path or "/"
            if parts.query:
                target += f"?{parts.query}"
            head = [f"{request.method} {target} HTTP/1.1"]
            head += [f"{name}: {value}" for name, value in request.headers.get_all()]
            if request.body is not None:
                head.append(f"Content-Length: {len(request.body)}")
            writer.write("\r\n".join([*head, "", ""]).encode() + (request.body or b""))
            line, _, fields = (await reader.readuntil(b"\r\n\r\n")).decode().partition("\r\n")
            headers = TornadoHeaders.parse(fields)
            body = await reader.readexactly(int(headers.get("Content-Length", "0")))
            _, code, reason = line.split(" ", 2)
            return TornadoResponse(
                request, int(code), headers, io.BytesIO(body), request.url, reason=reason
            )


def curl_class() -> type[AsyncHTTPClient]:
    from tornado.curl_httpclient import CurlAsyncHTTPClient

    return CurlAsyncHTTPClient


CLASSES: dict[str, Callable[[], type[AsyncHTTPClient]]] = {
    "stock-simple": lambda: SimpleAsyncHTTPClient,
    "stock-curl": curl_class,
    "tiny": lambda: TinyAsyncHTTPClient,
}


@pytest.fixture(params=CLASSES)
def kind(request: pytest.FixtureRequest) -> type[AsyncHTTPClient]:
    if request.param == "stock-curl" and not HAS_PYCURL:
        pytest.skip("pycurl is not installed")
    return CLASSES[request.param]()


@pytest.fixture
def stock(kind: type[AsyncHTTPClient]) -> type[AsyncHTTPClient]:
    """A stock client of Tornado."""
    if kind is TinyAsyncHTTPClient:
        pytest.skip("does no more than it has to")
    return kind


@pytest.fixture
def fetch(kind: type[AsyncHTTPClient]) -> Fetch:
    async def fetch(url: str, *args: Any, **options: Any) -> HTTPResponse:
        return await HTTPClient(*args, transport=kind).fetch(url, **options)

    return fetch


def assert_error(res: HTTPResponse, code: errors, *words: str) -> None:
    assert res.error is not None, f"no error, but {res!r}"
    assert res.error.code is code, f"{res.error.code!r}: {res.error.message}"
    for word in words:
        assert word in res.error.message
    assert (res.code, res.body, res.headers, res.request, res.url) == (None,) * 5


# Selection of the transport


@pytest.fixture
async def instance(kind: type[AsyncHTTPClient]) -> AsyncIterator[AsyncHTTPClient]:
    instance = kind(force_instance=True)
    yield instance
    instance.close()


async def test_fetch_by_instance(instance: AsyncHTTPClient, server: Server) -> None:
    for _ in range(2):
        assert (await HTTPClient(transport=instance).fetch(server.url())).code == 200
    configure(instance)
    try:
        assert (await HTTPClient().fetch(server.url())).code == 200
    finally:
        reset()
    assert len(server.requests) == 3


async def test_fetch_by_configured_class(kind: type[AsyncHTTPClient], server: Server) -> None:
    configure(kind, user_agent="Configured")
    try:
        res = await HTTPClient().fetch(server.url())
    finally:
        reset()
    assert res.code == 200
    assert ("User-Agent", "Configured") in server.requests[0]["headers"]


async def test_shared_instance_of_a_loop_is_not_closed(
    kind: type[AsyncHTTPClient], server: Server
) -> None:
    shared = kind()
    assert (await HTTPClient(transport=kind).fetch(server.url())).code == 200
    shared.close()
    assert (await HTTPClient(transport=kind).fetch(server.url())).code == 200


async def test_defaults_of_tornado_are_not_used(
    kind: type[AsyncHTTPClient], raw_peer: MakePeer
) -> None:
    # A default of the transport must not add a redirect or a limit to the call.
    peer = await raw_peer(MOVED)
    instance = kind(force_instance=True, defaults={"follow_redirects": True})
    res = await HTTPClient(transport=instance).fetch(peer.url(), allow_redirects=False)
    assert res.code == 302
    assert len(peer.requests) == 1
    instance.close()


@pytest.mark.parametrize("name", ["user_agent", "auth_username", "request_timeout"])
def test_other_defaults_raise(kind: type[AsyncHTTPClient], name: str) -> None:
    async def main() -> None:
        instance = kind(force_instance=True, defaults={name: 5})
        with pytest.raises(ValueError, match=f"{name}.*{kind.__name__}"):
            HTTPClient(transport=instance)
        instance.close()

    asyncio.run(main())


async def test_default_network_interface_is_used(
    kind: type[AsyncHTTPClient], raw_peer: MakePeer
) -> None:
    peer = await raw_peer(response(b"body"))
    instance = kind(force_instance=True, defaults={"network_interface": "127.0.0.1"})
    assert (await HTTPClient(transport=instance).fetch(peer.url())).body == b"body"
    instance.close()


async def test_mock_of_fetch(kind: type[AsyncHTTPClient]) -> None:
    def canned(request: HTTPRequest, **kwargs: Any) -> TornadoResponse:
        return TornadoResponse(request, 200, buffer=io.BytesIO(b"canned"))

    with mock.patch.object(kind, "fetch", mock.AsyncMock(side_effect=canned)):
        res = await HTTPClient(transport=kind).fetch("http://host/")
    assert (res.code, res.body) == (200, b"canned")


# Requests


async def test_method_get(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"body", "X-Field: a", "X-Field: b", status="201 Made"))
    res = await fetch(peer.url("/path?query"))
    assert res.error is None
    assert (res.code, res.reason, res.body) == (201, "Made", b"body")
    assert res.url == peer.url("/path?query")
    assert res.headers.get_list("X-Field") == ["a", "b"]
    assert res.headers.get("x-field", True) == "a,b"
    assert res.headers.get_status_code() == 201
    assert res.request_time > 0
    [request] = peer.requests
    assert request.line == "GET /path?query HTTP/1.1"
    assert (request.body, request.field("Content-Length")) == (b"", None)
    assert request.field("Host") == f"127.0.0.1:{peer.port}"


async def test_headers_are_not_duplicated(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"body"))
    assert (await fetch(peer.url(), method="POST", body=b"x", user_agent="A/1")).code == 200
    names = [name.lower() for name, _ in peer.requests[0].fields]
    assert sorted(names) == sorted(set(names))


async def test_request_headers_of_the_response_were_sent(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"body"))
    res = await fetch(
        peer.url(),
        method="POST",
        body="text",
        cookie={"a": 1},
        auth_username="user",
        auth_password="pass",
        on_headers=lambda headers: headers.add("X-Field", "value"),
    )
    assert res.error is None
    [request] = peer.requests
    for name, value in res.request.get_all():
        assert request.field(name) == value
    assert res.request["X-Field"] == "value"
    assert (res.request.get_method(), res.request.get_uri()) == ("POST", "/")
    # A third-party transport may add headers, but not the Content-Type of the body or
    # Expect.
    assert request.field("Expect") is None


async def test_custom_method(fetch: Fetch, server: Server) -> None:
    assert (await fetch(server.url(), method="purge")).code == 200
    assert server.requests[0]["method"] == "PURGE"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET"])
async def test_body(method: str, fetch: Fetch, server: Server, kind: type[AsyncHTTPClient]) -> None:
    if method == "GET" and kind not in (SimpleAsyncHTTPClient, TinyAsyncHTTPClient):
        pytest.skip("refuses it, see below")
    assert (await fetch(server.url(), method=method, body=b"\x00bytes\xff")).code == 200
    [request] = server.requests
    assert (request["method"], request["body"]) == (method, b"\x00bytes\xff")


async def test_empty_body(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"body"))
    assert (await fetch(peer.url(), method="POST", body="")).code == 200
    assert peer.requests[0].field("Content-Length") == "0"


async def test_params_in_the_query(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"body"))
    res = await fetch(peer.url("/?a=b"), params={"k": ["v", "ü"], "n": 1})
    assert res.url == peer.url("/?a=b&k=v&k=%C3%BC&n=1")
    assert peer.requests[0].target == "/?a=b&k=v&k=%C3%BC&n=1"


async def test_params_as_a_form(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"body"))
    assert (await fetch(peer.url(), method="POST", params={"k": "a b"})).code == 200
    [request] = peer.requests
    assert request.body == b"k=a%20b"
    assert request.field("Content-Type") == "application/x-www-form-urlencoded"


async def test_on_headers(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"body"))

    def on_headers(headers: HTTPHeaders) -> None:
        headers.set("User-Agent", "Changed")
        headers.set("Host", "elsewhere.test")
        headers.set_method("OPTIONS")

    assert (await fetch(peer.url(), on_headers=on_headers)).code == 200
    [request] = peer.requests
    assert request.method == "OPTIONS"
    assert request.field("Host") == "elsewhere.test"
    assert request.field("User-Agent") == "Changed"


async def test_without_keep_alive(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"body"))
    for keep_alive in (True, False, True, False, True):
        assert (await fetch(peer.url(), keep_alive=keep_alive)).body == b"body"
    # With keep_alive=False, a connection carries one request.
    used = [request.connection for request in peer.requests]
    for number in (1, 3):
        assert used.count(used[number]) == 1


# Responses


async def test_head(fetch: Fetch, server: Server, kind: type[AsyncHTTPClient]) -> None:
    if kind is TinyAsyncHTTPClient:
        pytest.skip("takes every response to have a body")
    res = await fetch(server.url("/bytes/5"), method="HEAD")
    assert (res.code, res.body) == (200, b"")


async def test_no_body(fetch: Fetch, server: Server) -> None:
    res = await fetch(server.url("/status/204"))
    assert (res.code, res.body) == (204, b"")


@pytest.mark.parametrize("code", [404, 500, 599])
async def test_status_code_is_not_an_error(code: int, fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"body", status=f"{code} Whatever"))
    res = await fetch(peer.url())
    assert res.error is None
    assert (res.code, res.body) == (code, b"body")


async def test_gzip(stock: type[AsyncHTTPClient], raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(gzip.compress(b"body"), "Content-Encoding: gzip"))
    client = HTTPClient(transport=stock)
    assert (await client.fetch(peer.url())).body == b"body"
    assert "gzip" in (peer.requests[0].field("Accept-Encoding") or "")
    res = await client.fetch(peer.url(), use_gzip=False)
    assert gzip.decompress(res.body) == b"body"
    assert peer.requests[1].field("Accept-Encoding") is None


# Redirects


async def test_redirects(fetch: Fetch, server: Server) -> None:
    res = await fetch(server.url("/redirect/3"))
    assert (res.code, res.url) == (200, server.url("/echo"))
    assert len(server.requests) == 4


async def test_redirect_of_a_post(fetch: Fetch, server: Server) -> None:
    res = await fetch(server.url("/redirect/1?code=303"), method="POST", body=b"body")
    assert res.code == 200
    assert [request["method"] for request in server.requests] == ["POST", "GET"]
    res = await fetch(server.url("/redirect/1?code=307"), method="POST", body=b"body")
    assert res.code == 200
    assert [request["method"] for request in server.requests[2:]] == ["POST", "POST"]
    assert server.requests[3]["body"] == b"body"


async def test_redirect_max(fetch: Fetch, server: Server) -> None:
    assert_error(await fetch(server.url("/redirect/5")), errors.REDIRECT_MAX, "4")
    assert len(server.requests) == 5


async def test_redirect_to_another_origin(fetch: Fetch, raw_peer: MakePeer) -> None:
    target = await raw_peer(response(b"body"))
    peer = await raw_peer(response(b"", f"Location: {target.url()}", status="302 Found"))
    res = await fetch(peer.url(), cookie="a=1", auth_username="user", auth_password="pass")
    assert res.body == b"body"
    assert peer.requests[0].field("Authorization") is not None
    assert target.requests[0].field("Authorization") is None
    assert target.requests[0].field("Cookie") is None


# Errors


async def test_connection_refused(fetch: Fetch, closed_port: int) -> None:
    res = await fetch(f"http://127.0.0.1:{closed_port}/")
    assert_error(res, errors.COULD_NOT_CONNECT, "127.0.0.1", str(closed_port))


async def test_closed_within_the_body(fetch: Fetch, raw_peer: MakePeer) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(response(b"body")[:-1])
        conn.close()

    peer = await raw_peer(script)
    assert_error(await fetch(peer.url()), errors.SOCKET_ERROR)


async def test_exceptions_of_the_call(fetch: Fetch) -> None:
    assert_error(await fetch("http://"), errors.INVALID_URL)
    assert_error(await fetch("ftp://127.0.0.1/"), errors.INVALID_SCHEMA)
    assert_error(await fetch("http://127.0.0.1/", method="POST"), errors.REQUIRES_BODY)
    assert_error(await fetch("http://127.0.0.1/", body=5), errors.INVALID_BODY)


async def test_malformed_head(stock: type[AsyncHTTPClient], raw_peer: MakePeer) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n")
        conn.close()

    peer = await raw_peer(script)
    res = await HTTPClient(transport=stock).fetch(peer.url())
    # Stock clients report some of these as a broken connection.
    assert res.error is not None
    assert res.error.code in (errors.PARSE_ERROR_HEADERS, errors.SOCKET_ERROR)


async def test_request_timeout(fetch: Fetch, server: Server) -> None:
    res = await fetch(server.url("/slow/30"), request_timeout=0.05)
    assert_error(res, errors.REQUEST_TIMEOUT, "0.05")


async def test_connect_timeout(stock: type[AsyncHTTPClient], blackhole: str) -> None:
    client = HTTPClient(transport=stock)
    res = await client.fetch(blackhole, connect_timeout=0.05)
    assert_error(res, errors.CONNECT_TIMEOUT, "0.05")


@pytest.mark.parametrize(
    "options",
    [
        {"request_timeout": 0, "connect_timeout": 0},
        {"request_timeout": 0},
        {"connect_timeout": 0},
    ],
    ids=str,
)
async def test_no_timeout(options: dict[str, Any], fetch: Fetch, server: Server) -> None:
    assert (await fetch(server.url("/slow/0.05"), **options)).body == b"late"


async def test_request_timeout_includes_redirects(fetch: Fetch, raw_peer: MakePeer) -> None:
    async def script(conn: Connection) -> None:
        while True:
            await conn.read_request()
            await asyncio.sleep(0.04)
            await conn.send(MOVED)

    peer = await raw_peer(script)
    res = await fetch(peer.url(), request_timeout=0.1, max_redirects=1000)
    assert_error(res, errors.REQUEST_TIMEOUT, "0.1")
    assert res.request_time >= 95
    assert len(peer.requests) <= 3


async def test_max_buffer_size(fetch: Fetch, server: Server) -> None:
    assert (await fetch(server.url("/bytes/1000"), None, None, 1000)).body == b"x" * 1000
    res = await fetch(server.url("/bytes/1001"), None, None, 1000)
    assert_error(res, errors.SOCKET_ERROR, "1000")


async def test_max_buffer_size_of_a_compression_bomb(
    stock: type[AsyncHTTPClient], raw_peer: MakePeer
) -> None:
    bomb = gzip.compress(b"\0" * 1_000_000)
    peer = await raw_peer(response(bomb, "Content-Encoding: gzip"))
    res = await HTTPClient(None, None, 10_000, transport=stock).fetch(peer.url())
    assert_error(res, errors.SOCKET_ERROR, "10000")


async def test_busy(kind: type[AsyncHTTPClient], raw_peer: MakePeer) -> None:
    go_on = asyncio.Event()

    async def script(conn: Connection) -> None:
        await conn.read_request()
        await go_on.wait()
        await conn.send(response(b"body"))

    peer = await raw_peer(script)
    client = HTTPClient(transport=kind)
    first = client.fetch(peer.url())
    await peer.received()
    assert_error(await client.fetch(peer.url()), errors.BUSY)
    go_on.set()
    assert (await first).body == b"body"
    assert len(peer.requests) == 1


async def test_cancel_frees_the_client(kind: type[AsyncHTTPClient], raw_peer: MakePeer) -> None:
    # The transfer continues, because these transports cannot abort one.
    go_on = asyncio.Event()

    async def script(conn: Connection) -> None:
        while True:
            request: Request = await conn.read_request()
            if request.target == "/stalled":
                await go_on.wait()
            await conn.send(response(b"body"))

    peer = await raw_peer(script)
    client = HTTPClient(transport=kind)
    stalled = client.fetch(peer.url("/stalled"))
    await peer.received()
    stalled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stalled
    assert (await client.fetch(peer.url())).body == b"body"
    go_on.set()
    assert (await client.fetch(peer.url())).body == b"body"


async def test_closing_the_loop_during_a_fetch(
    kind: type[AsyncHTTPClient], raw_peer: MakePeer
) -> None:
    # The result of that fetch is dropped, and nothing is logged about it.
    if kind is SimpleAsyncHTTPClient:
        pytest.skip("leaves its socket to the garbage collector, with a warning")

    async def script(conn: Connection) -> None:
        if (await conn.read_request()).target == "/":
            await conn.send(response(b"body"))

    peer = await raw_peer(script)

    async def main() -> None:
        HTTPClient(transport=kind).fetch(peer.url("/stalled"))
        await asyncio.sleep(0.01)

    await asyncio.to_thread(asyncio.run, main())
    assert (await HTTPClient(transport=kind).fetch(peer.url())).body == b"body"


# Exceptions and codes


class CurlError(HTTPClientError):
    """The exception of Tornado's curl client, without importing pycurl."""

    def __init__(self, errno: int, message: str) -> None:
        super().__init__(599, message)
        self.errno = errno


class FailingAsyncHTTPClient(AsyncHTTPClient):
    """Fails every request after ``delay`` seconds. Negative: in ``fetch``."""

    def initialize(self, error: BaseException, delay: float = 0.0) -> None:  # type: ignore[override]
        super().initialize()
        self.error, self.delay = error, delay

    def fetch_impl(self, request: HTTPRequest, callback: Callable[[TornadoResponse], None]) -> None:
        if self.delay < 0:
            raise self.error
        answer = TornadoResponse(request, 599, error=self.error)
        self.io_loop.call_later(self.delay, callback, answer)


def failing(error: BaseException, delay: float = 0.0) -> HTTPClient:
    return HTTPClient(
        transport=FailingAsyncHTTPClient(force_instance=True, error=error, delay=delay)
    )


FAILURES = [
    (HTTPInputError("malformed"), errors.PARSE_ERROR_HEADERS),
    (UnsatisfiableReadError("too large"), errors.PARSE_ERROR_HEADERS),
    (HTTPStreamClosedError("closed"), errors.SOCKET_ERROR),
    (HTTPClientError(599, "other"), errors.SOCKET_ERROR),
    (StreamClosedError(), errors.SOCKET_ERROR),
    (ssl.SSLError(1, "handshake"), errors.SSL_ERROR),
    (ssl.SSLCertVerificationError(1, "verify"), errors.SSL_ERROR),
    (socket.gaierror(socket.EAI_NONAME, "unknown"), errors.COULD_NOT_CONNECT),
    (UnicodeError("label too long"), errors.COULD_NOT_CONNECT),
    (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), errors.COULD_NOT_CONNECT),
    (OSError(errno.EADDRNOTAVAIL, "no address"), errors.COULD_NOT_CONNECT),
    (OSError(errno.EHOSTDOWN, "down"), errors.COULD_NOT_CONNECT),
    (OSError(errno.EHOSTUNREACH, "unreachable"), errors.COULD_NOT_CONNECT),
    (OSError(errno.ENETDOWN, "down"), errors.COULD_NOT_CONNECT),
    (OSError(errno.ENETUNREACH, "unreachable"), errors.COULD_NOT_CONNECT),
    (OSError(errno.EMFILE, "files"), errors.COULD_NOT_CONNECT),
    (OSError(errno.ENFILE, "files"), errors.COULD_NOT_CONNECT),
    (OSError(errno.EIO, "other"), errors.SOCKET_ERROR),
    (ConnectionResetError(errno.ECONNRESET, "reset"), errors.SOCKET_ERROR),
    (BrokenPipeError(errno.EPIPE, "pipe"), errors.SOCKET_ERROR),
    (TimeoutError(errno.ETIMEDOUT, "the system's"), errors.SOCKET_ERROR),
    (asyncio.IncompleteReadError(b"", 1), errors.SOCKET_ERROR),
    (EOFError("end"), errors.SOCKET_ERROR),
]
CURL_CODES = {
    1: errors.PARSE_ERROR_HEADERS,
    3: errors.INVALID_URL,
    5: errors.COULD_NOT_CONNECT,
    6: errors.COULD_NOT_CONNECT,
    7: errors.COULD_NOT_CONNECT,
    8: errors.PARSE_ERROR_HEADERS,
    18: errors.SOCKET_ERROR,
    35: errors.SSL_ERROR,
    45: errors.COULD_NOT_CONNECT,
    52: errors.NO_HEADERS,
    55: errors.SOCKET_ERROR,
    56: errors.SOCKET_ERROR,
    58: errors.SSL_ERROR,
    60: errors.SSL_ERROR,
    61: errors.SOCKET_ERROR,
    77: errors.SSL_ERROR,
    92: errors.SOCKET_ERROR,
    100: errors.PARSE_ERROR_HEADERS,
    599: errors.SOCKET_ERROR,
}
FAILURES += [(CurlError(number, f"code {number}"), code) for number, code in CURL_CODES.items()]


@pytest.mark.parametrize(("error", "code"), FAILURES, ids=repr)
async def test_code_of_an_exception(error: Exception, code: errors) -> None:
    res = await failing(error).fetch("http://host.test/")
    assert_error(res, code, "host.test:80")


TIMEOUTS = [
    HTTPTimeoutError("Timeout"),
    asyncio.TimeoutError(),
    TimeoutError(),
    CurlError(28, "Timeout"),
]


@pytest.mark.parametrize("error", TIMEOUTS, ids=repr)
@pytest.mark.parametrize(
    ("options", "code"),
    [
        # Only connect_timeout can expire. Otherwise, the peer has ended the connection.
        ({"request_timeout": 0, "connect_timeout": 3}, errors.CONNECT_TIMEOUT),
        ({"request_timeout": 0, "connect_timeout": 0}, errors.CONNECT_TIMEOUT),
        # request_timeout has not expired.
        ({"request_timeout": 30, "connect_timeout": 3}, errors.CONNECT_TIMEOUT),
        ({"request_timeout": 30, "connect_timeout": 0}, errors.REQUEST_TIMEOUT),
        # request_timeout has expired.
        ({"request_timeout": 0.001, "connect_timeout": 3}, errors.REQUEST_TIMEOUT),
    ],
    ids=str,
)
async def test_code_of_a_timeout(error: Exception, options: dict[str, Any], code: errors) -> None:
    res = await failing(error, delay=0.003).fetch("http://host.test/", **options)
    name = "connect_timeout" if code is errors.CONNECT_TIMEOUT else "request_timeout"
    assert_error(res, code, f"{name} of {options[name]:g} s expired: T")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.EIO, "other"), errors.SOCKET_ERROR),
        (FileNotFoundError(errno.ENOENT, "missing"), errors.SOCKET_ERROR),
        (ssl.SSLError(1, "no context"), errors.SSL_ERROR),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), errors.COULD_NOT_CONNECT),
        (HTTPStreamClosedError("closed"), errors.SOCKET_ERROR),
    ],
    ids=repr,
)
async def test_fetch_of_a_client_raises(error: Exception, code: errors) -> None:
    client = failing(error, delay=-1)
    for _ in range(2):
        assert_error(await client.fetch("http://host.test/"), code)


async def test_fetch_of_a_client_raises_after_a_redirect(raw_peer: MakePeer) -> None:
    class Broken(SimpleAsyncHTTPClient):
        def fetch_impl(self, request: Any, callback: Any) -> None:
            if request.url.endswith("/next"):
                raise OSError(errno.EIO, "other")
            super().fetch_impl(request, callback)

    peer = await raw_peer(MOVED)
    res = await HTTPClient(transport=Broken).fetch(peer.url())
    assert_error(res, errors.SOCKET_ERROR, "other")


@pytest.mark.parametrize("delay", [0.0, -1])
async def test_other_exceptions_pass_through(delay: float) -> None:
    client = failing(ZeroDivisionError("a defect"), delay)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await client.fetch("http://host.test/")


# TLS


@pytest.mark.parametrize("verify_ca", [True, False])
async def test_tls(
    verify_ca: bool,
    stock: type[AsyncHTTPClient],
    tls_server: MakeServer,
    certificates: Certificates,
) -> None:
    server = await tls_server()
    options = {"ca_path": certificates.ca, "verify_ca": verify_ca}
    assert (await HTTPClient(options, transport=stock).fetch(server.url())).code == 200


@pytest.mark.parametrize("certificate", ["wrong-host", "expired", "self-signed"])
async def test_tls_verification(
    certificate: str,
    stock: type[AsyncHTTPClient],
    tls_server: MakeServer,
    certificates: Certificates,
) -> None:
    server = await tls_server(certificate)
    res = await HTTPClient({"ca_path": certificates.ca}, transport=stock).fetch(server.url())
    assert_error(res, errors.SSL_ERROR, server.host)
    assert server.requests == []
    client = HTTPClient({"ca_path": certificates.ca, "verify_ca": False}, transport=stock)
    assert (await client.fetch(server.url())).code == 200


async def test_tls_of_another_ca(
    stock: type[AsyncHTTPClient], tls_server: MakeServer, certificates: Certificates
) -> None:
    server = await tls_server()
    client = HTTPClient({"ca_path": certificates.other_ca}, transport=stock)
    assert_error(await client.fetch(server.url()), errors.SSL_ERROR)


async def test_tls_with_the_trust_store_of_the_system(
    stock: type[AsyncHTTPClient],
    tls_server: MakeServer,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = await tls_server()
    assert_error(await HTTPClient(transport=stock).fetch(server.url()), errors.SSL_ERROR)
    monkeypatch.setenv("SSL_CERT_FILE", certificates.ca)
    assert (await HTTPClient(transport=stock).fetch(server.url())).code == 200


@pytest.mark.parametrize("one_file", [True, False])
async def test_tls_client_certificate(
    one_file: bool,
    stock: type[AsyncHTTPClient],
    tls_server: MakeServer,
    certificates: Certificates,
) -> None:
    server = await tls_server(client_ca=certificates.ca)
    options = {"ca_path": certificates.ca}
    res = await HTTPClient(options, transport=stock).fetch(server.url())
    assert res.error is not None
    if one_file:
        options |= {"cert_file": certificates.client_pem}
    else:
        options |= {"cert_file": certificates.client_cert, "priv_file": certificates.client_key}
    assert (await HTTPClient(options, transport=stock).fetch(server.url())).code == 200


@pytest.mark.parametrize("name", ["ca_path", "cert_file"])
@pytest.mark.parametrize("what", ["missing", "garbage"])
async def test_tls_with_an_invalid_file(
    name: str,
    what: str,
    stock: type[AsyncHTTPClient],
    tls_server: MakeServer,
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    path = tmp_path / "bad.pem"
    if what == "garbage":
        path.write_text("garbage")
    server = await tls_server()
    options = {"ca_path": certificates.ca, name: str(path)}
    client = HTTPClient(options, transport=stock)
    assert_error(await client.fetch(server.url()), errors.SSL_ERROR)
    assert server.requests == []


async def test_redirect_to_tls_with_an_invalid_file(
    stock: type[AsyncHTTPClient],
    raw_peer: MakePeer,
    tls_server: MakeServer,
    tmp_path: Path,
) -> None:
    secure = await tls_server()
    peer = await raw_peer(response(b"", f"Location: {secure.url()}", status="302 Found"))
    client = HTTPClient({"ca_path": str(tmp_path / "missing.pem")}, transport=stock)
    assert_error(await client.fetch(peer.url()), errors.SSL_ERROR)


# Unsupported requests


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/2"])
async def test_other_versions(version: str, kind: type[AsyncHTTPClient], server: Server) -> None:
    client = HTTPClient(transport=kind)
    for _ in range(2):
        with pytest.raises(ValueError, match=f"{kind.__name__}.*{version}"):
            client.fetch(server.url(), http_version=version)
    assert server.requests == []
    # The client is free.
    assert (await client.fetch(server.url())).code == 200


async def test_other_versions_by_on_headers(kind: type[AsyncHTTPClient], server: Server) -> None:
    client = HTTPClient(transport=kind)
    with pytest.raises(ValueError, match=r"HTTP/1\.0"):
        client.fetch(server.url(), on_headers=lambda headers: headers.set_version("HTTP/1.0"))
    assert (await client.fetch(server.url())).code == 200


@pytest.mark.parametrize(
    "options",
    [
        {"streaming_callback": print},
        {"method": "POST", "body": [b"data"]},
    ],
    ids=["streaming_callback", "body"],
)
async def test_streaming(
    options: dict[str, Any], kind: type[AsyncHTTPClient], server: Server
) -> None:
    client = HTTPClient(transport=kind)
    with pytest.raises(ValueError, match=f"{[*options][-1]}: {kind.__name__}"):
        client.fetch(server.url(), options)
    assert server.requests == []
    assert (await client.fetch(server.url())).code == 200


async def test_files_are_sent_from_memory(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"ok"))
    file = io.BytesIO(b"0123456789")
    file.seek(2)
    assert (await fetch(peer.url(), method="POST", body=file)).error is None
    assert (await fetch(peer.url(), method="POST", files={"f": file})).error is None
    assert peer.requests[0].body == b"23456789"
    assert b"\r\n\r\n23456789\r\n" in peer.requests[1].body
    res = await fetch(peer.url(), method="POST", files={"f": Path("/missing")})
    assert_error(res, errors.INVALID_BODY, "/missing")


@pytest.mark.skipif(not HAS_PYCURL, reason="pycurl is not installed")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("body", [b"body", b""])
async def test_body_with_a_method_that_curl_changes(
    method: str, body: bytes, server: Server
) -> None:
    client = HTTPClient(transport=curl_class())
    for _ in range(2):
        with pytest.raises(ValueError, match=f"body with {method}"):
            client.fetch(server.url(), method=method, body=body)
    assert server.requests == []
    assert (await client.fetch(server.url(), method=method)).code == 200


async def test_directory_as_ca_path(
    stock: type[AsyncHTTPClient], tls_server: MakeServer, certificates: Certificates, server: Server
) -> None:
    secure = await tls_server()
    client = HTTPClient({"ca_path": certificates.ca_directory}, transport=stock)
    if stock is SimpleAsyncHTTPClient:
        assert (await client.fetch(secure.url())).code == 200
        assert (await client.fetch(server.url())).code == 200
        return
    # Also for http, which the server can redirect to https.
    for url in (secure.url(), server.url()):
        for _ in range(2):
            with pytest.raises(ValueError, match=r"ca_path"):
                client.fetch(url)
    assert secure.requests == server.requests == []


async def test_directory_as_ca_path_after_a_redirect(
    tls_server: MakeServer, certificates: Certificates, raw_peer: MakePeer
) -> None:
    secure = await tls_server()
    peer = await raw_peer(response(b"", f"Location: {secure.url()}", status="302 Found"))
    client = HTTPClient({"ca_path": certificates.ca_directory}, transport=SimpleAsyncHTTPClient)
    assert (await client.fetch(peer.url())).code == 200


@pytest.mark.parametrize("is_redirect", [False, True], ids=["", "redirect"])
async def test_trust_store_of_the_system_without_a_file(
    stock: type[AsyncHTTPClient],
    is_redirect: bool,
    tls_server: MakeServer,
    certificates: Certificates,
    raw_peer: MakePeer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", certificates.ca + ".missing")
    monkeypatch.setenv("SSL_CERT_DIR", certificates.ca_directory)
    secure = await tls_server()
    peer = await raw_peer(response(b"", f"Location: {secure.url()}", status="302 Found"))
    res = await HTTPClient(transport=stock).fetch(peer.url() if is_redirect else secure.url())
    if stock is SimpleAsyncHTTPClient:
        assert res.code == 200
        return
    # The settings of the machine are not a mistake in the call.
    assert res.error is not None
    assert res.error.code is errors.SSL_ERROR
    assert "needs a PEM file" in res.error.message
    assert secure.requests == []


async def test_closed_transport(kind: type[AsyncHTTPClient], server: Server) -> None:
    instance = kind(force_instance=True)
    instance.close()
    client = HTTPClient(transport=instance)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="closed"):
            client.fetch(server.url())
    assert IOLoop.current() is instance.io_loop


async def test_ssl_context(
    stock: type[AsyncHTTPClient], tls_server: MakeServer, certificates: Certificates, server: Server
) -> None:
    secure = await tls_server()
    context = ssl.create_default_context(cafile=certificates.ca)
    client = HTTPClient(context, transport=stock)
    if stock is SimpleAsyncHTTPClient:
        assert (await client.fetch(secure.url())).code == 200
        return
    # Also for http, which the server can redirect to https.
    for url in (secure.url(), server.url()):
        with pytest.raises(ValueError, match="does not support an SSLContext"):
            client.fetch(url)
    assert secure.requests == server.requests == []
