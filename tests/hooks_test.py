"""Tools that hook into Tornado's clients: mocks, tracers and wrappers."""

from __future__ import annotations

import asyncio
import gc
import io
import weakref
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpclient import HTTPResponse as TornadoResponse
from tornado.httputil import HTTPHeaders

from tests.support import Connection, MakePeer, RunPython, response
from tests.support.server import Server
from turbo_tornado import HTTPClient, configure, errors, reset

Callback = Callable[[TornadoResponse], None]


def canned(*args: Any, **kwargs: Any) -> TornadoResponse:
    return TornadoResponse(HTTPRequest("http://mock/"), 201, buffer=io.BytesIO(b"canned"))


@pytest.fixture
def kind(transport: str) -> Any:
    """The class of the transport."""
    if transport == "simple":
        from turbo_tornado.transports.simple import SimpleTransport

        return SimpleTransport
    from turbo_tornado.transports.curl import CurlTransport

    return CurlTransport


@pytest.fixture
def client(kind: Any) -> Iterator[AsyncHTTPClient]:
    client = kind(force_instance=True)
    yield client
    client.close()


def named(value: object) -> str:
    return getattr(value, "__name__", "")


# Mocks of the Tornado API


async def test_mock_of_fetch_receives_the_arguments(client: AsyncHTTPClient) -> None:
    with mock.patch.object(AsyncHTTPClient, "fetch", mock.AsyncMock(side_effect=canned)) as fetch:
        assert (await client.fetch("http://host/")).body == b"canned"
        fetch.assert_called_once_with("http://host/")
        await client.fetch(request="http://host/", raise_error=False, method="PUT")
        fetch.assert_called_with(request="http://host/", raise_error=False, method="PUT")


async def test_function_instead_of_fetch(client: AsyncHTTPClient) -> None:
    async def fetch(self: AsyncHTTPClient, request: str) -> TornadoResponse:
        return canned()

    with mock.patch.object(AsyncHTTPClient, "fetch", fetch):
        assert (await client.fetch("http://host/")).body == b"canned"


async def test_autospec_of_fetch(client: AsyncHTTPClient) -> None:
    with mock.patch.object(type(client), "fetch", autospec=True) as fetch:
        fetch.side_effect = canned
        client.fetch("http://host/", raise_error=False)
        fetch.assert_called_once_with(client, "http://host/", raise_error=False)
        with pytest.raises(TypeError):
            client.fetch()  # type: ignore[call-arg]


# Mocks and `HTTPClient`


def fetch_impl(self: object, request: HTTPRequest, callback: Callback) -> None:
    assert request.headers["User-Agent"].startswith("Turbo Client")
    callback(canned())


def of_tornado(kind: Any) -> Any:
    return mock.patch.object(kind.stock, "fetch_impl", fetch_impl)


def of_the_transport(kind: Any) -> Any:
    return mock.patch.object(kind, "fetch_impl", fetch_impl)


def of_fetch(kind: Any) -> Any:
    return mock.patch.object(AsyncHTTPClient, "fetch", mock.AsyncMock(side_effect=canned))


def of_fetch_of_tornado(kind: Any) -> Any:
    return mock.patch.object(kind.stock, "fetch", mock.AsyncMock(side_effect=canned), create=True)


PATCHES = [of_tornado, of_the_transport, of_fetch, of_fetch_of_tornado]


@pytest.mark.parametrize("patch", PATCHES, ids=named)
async def test_mock_of_a_class_responds_to_the_client(
    patch: Callable[[Any], Any], kind: Any, transport: str, server: Server
) -> None:
    with patch(kind):
        res = await HTTPClient(transport=transport).fetch(server.url())
        assert (res.code, res.body) == (201, b"canned")
        assert not server.requests
    assert (await HTTPClient(transport=transport).fetch(server.url())).code == 200


@pytest.mark.parametrize("name", ["fetch", "fetch_impl"])
async def test_mock_of_an_instance_responds_to_the_client(
    name: str, client: AsyncHTTPClient, server: Server
) -> None:
    def impl(request: HTTPRequest, callback: Callback) -> None:
        callback(canned())

    replacement = impl if name == "fetch_impl" else mock.AsyncMock(side_effect=canned)
    with mock.patch.object(client, name, replacement):
        assert (await HTTPClient(transport=client).fetch(server.url())).body == b"canned"
    assert (await HTTPClient(transport=client).fetch(server.url())).code == 200
    assert len(server.requests) == 1


async def test_mock_that_returns_another_type(client: AsyncHTTPClient) -> None:
    fetch = mock.AsyncMock(return_value="text")
    with (
        mock.patch.object(client, "fetch", fetch),
        pytest.raises(TypeError, match="a response of Tornado, not str"),
    ):
        await HTTPClient(transport=client).fetch("http://host/")


async def test_mock_that_raises(client: AsyncHTTPClient) -> None:
    fetch = mock.AsyncMock(side_effect=LookupError("mock"))
    with mock.patch.object(client, "fetch", fetch), pytest.raises(LookupError, match="mock"):
        await HTTPClient(transport=client).fetch("http://host/")


# Wrappers, which call the original


def traced(seen: list[str]) -> Callable[..., Any]:
    """Return a wrapper of ``fetch`` that sets a header, as a tracer does."""
    original = AsyncHTTPClient.fetch

    def fetch(self: AsyncHTTPClient, request: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(request.url)
        request.headers["Traceparent"] = f"trace-{len(seen)}"
        return original(self, request, *args, **kwargs)

    return fetch


@pytest.fixture
def seen() -> Iterator[list[str]]:
    seen: list[str] = []
    with mock.patch.object(AsyncHTTPClient, "fetch", traced(seen)):
        yield seen


async def test_tracer_receives_each_request_and_sets_headers(
    seen: list[str], transport: str, server: Server
) -> None:
    res = await HTTPClient(transport=transport).fetch(server.url("/redirect/1"))
    assert res.error is None
    assert seen == [server.url("/redirect/1"), server.url("/echo")]
    sent = [dict(request["headers"]).get("Traceparent") for request in server.requests]
    assert sent == ["trace-1", "trace-2"]
    assert res.request["Traceparent"] == "trace-2"


@pytest.fixture
def wrapped(kind: Any) -> Iterator[list[str]]:
    """Wrap ``fetch_impl`` of Tornado's class, and call the original one later."""
    original = kind.stock.fetch_impl
    calls: list[str] = []

    def fetch_impl(self: AsyncHTTPClient, request: HTTPRequest, callback: Callback) -> None:
        assert isinstance(self, kind)
        calls.append(request.url)
        self.io_loop.call_later(0, original, self, request, callback)

    with mock.patch.object(kind.stock, "fetch_impl", fetch_impl):
        yield calls


@pytest.mark.kept
async def test_original_method_uses_the_transport(
    wrapped: list[str], client: AsyncHTTPClient, server: Server
) -> None:
    # Tornado's own simple client does not reuse a connection.
    for _ in range(2):
        assert (await client.fetch(server.url())).code == 200
        assert (await HTTPClient(transport=client).fetch(server.url())).error is None
    assert len(server.requests) == len(wrapped) == 4
    assert server.connections == 1


async def test_hooked_transport_that_is_dropped(kind: Any, server: Server) -> None:
    def wrapped(self: Any, *args: Any, **options: Any) -> Any:
        return original(self, *args, **options)

    original = kind.fetch
    with mock.patch.object(kind, "fetch", wrapped):
        transport = kind(force_instance=True)
        assert (await HTTPClient(transport=transport).fetch(server.url())).code == 200
    reference = weakref.ref(transport)
    gc.disable()
    try:
        del transport
        # The last callbacks of the fetch refer to it.
        for _ in range(3):
            await asyncio.sleep(0)
        assert reference() is None
    finally:
        gc.enable()


async def test_subclass_with_fetch_impl(kind: Any, server: Server) -> None:
    class Custom(kind):  # type: ignore[misc]
        def fetch_impl(self, request: HTTPRequest, callback: Callback) -> None:
            request.headers["X-Custom"] = "yes"
            super().fetch_impl(request, callback)

    res = await HTTPClient(transport=Custom).fetch(server.url())
    assert res.request["X-Custom"] == "yes"
    assert ("X-Custom", "yes") in server.requests[0]["headers"]


async def test_invalid_header_of_a_subclass(kind: Any, server: Server) -> None:
    class Custom(kind):  # type: ignore[misc]
        def fetch_impl(self, request: HTTPRequest, callback: Callback) -> None:
            request.headers["X-Bad"] = "good"
            request.headers.get_list("X-Bad")[0] = "a\r\nb: c"
            super().fetch_impl(request, callback)

    with pytest.raises(ValueError, match="X-Bad"):
        await HTTPClient(transport=Custom).fetch(server.url())
    assert not server.requests


@pytest.mark.kept
async def test_connection_header_of_a_tool(transport: str, raw_peer: MakePeer) -> None:
    fetch = AsyncHTTPClient.fetch

    def closing(self: Any, request: Any, *args: Any, **options: Any) -> Any:
        request.headers["Connection"] = "close"
        return fetch(self, request, *args, **options)

    # The server does not obey the header.
    peer = await raw_peer(response(b"body"))
    with mock.patch.object(AsyncHTTPClient, "fetch", closing):
        for _ in range(2):
            assert (await HTTPClient(transport=transport).fetch(peer.url())).body == b"body"
    assert [request.connection for request in peer.requests] == [1, 2]


@pytest.mark.parametrize(
    ("name", "value"),
    [("Content-Length", "1"), ("Transfer-Encoding", "chunked"), ("Host", "a,b"), ("X-Big", "x")],
)
async def test_header_that_a_tool_must_not_change(
    transport: str, raw_peer: MakePeer, name: str, value: str
) -> None:
    fetch = AsyncHTTPClient.fetch

    def changing(self: Any, request: Any, *args: Any, **options: Any) -> Any:
        if name == "Host":
            request.headers.add("Host", "other")
        else:
            request.headers[name] = value * (1_000_000 if name == "X-Big" else 1)
        return fetch(self, request, *args, **options)

    peer = await raw_peer(response(b"body"))
    with (
        mock.patch.object(AsyncHTTPClient, "fetch", changing),
        pytest.raises(ValueError, match="must not exceed" if name == "X-Big" else name),
    ):
        await HTTPClient(transport=transport).fetch(peer.url())
    assert not peer.requests


# A hooked client has all features


@pytest.fixture(params=["tracer", "wrapper"])
def hooked(request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("seen" if request.param == "tracer" else "wrapped")


@pytest.mark.usefixtures("hooked")
async def test_hooked_request_has_the_same_bytes(transport: str, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"", "X-a: 1", "X-A: 2", status="404 Nothing Here"))
    res = await HTTPClient(transport=transport).fetch(
        peer.url("/path?a=%20"), method="POST", body=b"\x00", http_version="HTTP/1.0"
    )
    assert (res.code, res.reason, res.headers.get_list("x-a")) == (404, "Nothing Here", ["1", "2"])
    [request] = peer.requests
    assert (request.line, request.body) == ("POST /path?a=%20 HTTP/1.0", b"\x00")
    assert request.field("Content-Length") == "1"


@pytest.mark.usefixtures("hooked")
async def test_streaming_of_a_hooked_client(transport: str, raw_peer: MakePeer) -> None:
    async def callback(chunk: bytes) -> None:
        await asyncio.sleep(0)
        chunks.append(chunk)

    chunks: list[bytes] = []
    peer = await raw_peer(response(b"body"))
    client = HTTPClient(transport=transport)
    for body, sent in ((io.BytesIO(b"file"), b"file"), ([b"one", b"two"], b"onetwo")):
        chunks.clear()
        res = await client.fetch(peer.url(), method="POST", body=body, streaming_callback=callback)
        assert (res.error, res.body, chunks) == (None, b"", [b"body"])
        assert peer.requests[-1].body == sent

    def failing(chunk: bytes) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await client.fetch(peer.url(), streaming_callback=failing)


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_body_of_a_mock_is_streamed(kind: Any, is_async: bool) -> None:
    async def async_callback(chunk: bytes) -> None:
        await asyncio.sleep(0)
        chunks.append(chunk)

    def fetch_impl(self: Any, request: HTTPRequest, callback: Callback) -> None:
        if request.url.endswith("/moved"):
            headers = HTTPHeaders({"Location": "/final"})
            callback(TornadoResponse(request, 302, headers, io.BytesIO(b"moved")))
        else:
            callback(TornadoResponse(request, 200, buffer=io.BytesIO(b"canned")))

    chunks: list[bytes] = []
    callback = async_callback if is_async else chunks.append
    with mock.patch.object(kind.stock, "fetch_impl", fetch_impl):
        res = await HTTPClient(transport=kind).fetch(
            "http://host/moved", streaming_callback=callback
        )
    assert (res.error, res.body, chunks) == (None, b"", [b"canned"])


@pytest.mark.usefixtures("hooked")
async def test_failures_of_a_hooked_client(
    transport: str, server: Server, closed_port: int, raw_peer: MakePeer
) -> None:
    def code(res: Any) -> errors:
        assert res.error is not None
        return res.error.code  # type: ignore[no-any-return]

    client = HTTPClient(transport=transport)
    res = await client.fetch(f"http://127.0.0.1:{closed_port}/")
    assert code(res) is errors.COULD_NOT_CONNECT
    res = await client.fetch(server.url("/slow/30"), request_timeout=0.2)
    assert code(res) is errors.REQUEST_TIMEOUT
    res = await client.fetch("http://%2F/")
    assert code(res) is errors.INVALID_URL
    peer = await raw_peer(b"nonsense\r\n\r\n")
    assert code(await client.fetch(peer.url())) is errors.PARSE_ERROR_HEADERS
    peer = await raw_peer(response(b"long"))
    res = await HTTPClient(None, None, 3, transport=transport).fetch(peer.url())
    assert code(res) is errors.SOCKET_ERROR
    res = await HTTPClient({"ca_path": "/missing"}, transport=transport).fetch("https://host/")
    assert code(res) is errors.SSL_ERROR


@pytest.mark.usefixtures("hooked")
async def test_cancel_of_a_hooked_fetch(transport: str, raw_peer: MakePeer) -> None:
    begun, closed = asyncio.Event(), asyncio.Event()

    async def script(conn: Connection) -> None:
        await conn.read_request()
        begun.set()
        await conn.wait_closed_by_client()
        closed.set()

    peer = await raw_peer(script)
    client = HTTPClient(transport=transport)
    future = client.fetch(peer.url())
    await begun.wait()
    future.cancel()
    await asyncio.wait_for(closed.wait(), 10)
    with pytest.raises(asyncio.CancelledError):
        await future


@pytest.mark.usefixtures("hooked")
@pytest.mark.parametrize("turns", range(5))
@pytest.mark.parametrize("is_streamed", [False, True], ids=["", "streamed"])
async def test_cancelling_a_hooked_fetch_at_any_time(
    client: Any, raw_peer: MakePeer, turns: int, is_streamed: bool
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\n\r\nfirst")

    peer = await raw_peer(script)
    options: dict[str, Any] = {"streaming_callback": len} if is_streamed else {}
    for begin in (
        lambda: HTTPClient(transport=client).fetch(peer.url(), request_timeout=0, **options),
        lambda: client.fetch(HTTPRequest(peer.url(), request_timeout=0, **options)),
    ):
        future = begin()
        for _ in range(turns):
            await asyncio.sleep(0)
        future.cancel()
        # A wrapper can start the request later.
        await asyncio.sleep(0.01)
        assert not client.requests.active
        assert not client.tasks


async def test_an_import_within_a_patch(run_python: RunPython, transport: str) -> None:
    # A first fetch within a mock or a cassette imports the transport.
    await run_python(
        """
import asyncio, io, sys
from unittest import mock
from tornado import httpclient
import turbo_tornado
name = sys.argv[1]
if name == "simple":
    from tornado.simple_httpclient import SimpleAsyncHTTPClient as stock
else:
    from tornado.curl_httpclient import CurlAsyncHTTPClient as stock

def fetch_impl(self, request, callback):
    callback(httpclient.HTTPResponse(request, 200, buffer=io.BytesIO(b"canned")))

async def main():
    client = turbo_tornado.HTTPClient(transport=name)
    with mock.patch.object(stock, "fetch_impl", fetch_impl):
        assert (await client.fetch("http://host/")).body == b"canned"
    res = await client.fetch("http://127.0.0.1:1/")
    assert res.error.code is turbo_tornado.errors.COULD_NOT_CONNECT, res.error

asyncio.run(main())
""",
        transport,
    )


async def test_stub_can_be_hooked(seen: list[str], turbo_stub: Any) -> None:
    turbo_stub.get("http://host/", body="body")
    assert (await HTTPClient().fetch("http://host/")).body == b"body"
    assert seen == ["http://host/"]
    assert turbo_stub.requests[0].headers["Traceparent"] == "trace-1"


async def test_configured_class(kind: Any, server: Server) -> None:
    configure(kind)
    try:
        with of_tornado(kind):
            assert (await HTTPClient().fetch(server.url())).body == b"canned"
    finally:
        reset()
