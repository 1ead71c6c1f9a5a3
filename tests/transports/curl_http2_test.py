"""HTTP/2 on `CurlTransport`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, ClassVar

import pytest

from tests.support import MakePeer, RawPeer
from tests.support.certificates import Certificates
from tests.support.proxy import relay
from turbo_tornado.failures import HeadTooLarge
from turbo_tornado.request.proxy import check_proxy
from turbo_tornado.request.tls import TLS

pycurl = pytest.importorskip("pycurl")


from turbo_tornado.transports.curl import libcurl

from .curl import MakeTransport, fails_with, request_to, send

# Tornado 6.4 with pycurl 7.46 and newer.
pytestmark = pytest.mark.filterwarnings("ignore:IOCTLFUNCTION is deprecated:DeprecationWarning")


class HTTP2Peer(asyncio.Protocol):
    """Responds with the path, and to ``/slow`` when another request has arrived.

    It does not respond to ``/hang``, resets the streams of ``/reset``, sends a head of 70 kB to
    ``/large-head``, and closes after an interim response to ``/interim``.
    It refuses the streams of ``/refused`` without processing them. The first request for a path
    of `UNPROCESSED` or `CLOSING` is refused, or ends the connection.
    """

    connections = 0
    accepted: ClassVar[set[HTTP2Peer]] = set()
    #: Set when a connection has ended.
    lost: asyncio.Event

    def __init__(self) -> None:
        import h2.config
        import h2.connection

        type(self).connections += 1
        config = h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
        self.h2 = h2.connection.H2Connection(config)
        self.slow: list[int] = []
        self.has_gone_away = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.accepted.add(self)
        self.h2.initiate_connection()
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()

    def flush(self) -> None:
        self.transport.write(self.h2.data_to_send())

    def go_away(self) -> None:
        """Accept no further requests on this connection."""
        from hyperframe.frame import GoAwayFrame

        self.has_gone_away = True
        last = self.h2.highest_inbound_stream_id
        self.transport.write(GoAwayFrame(0, last).serialize())

    def end(self, path: str, stream: int) -> None:
        import h2.errors
        from hyperframe.frame import GoAwayFrame

        if path == "/refused-once":
            self.h2.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
        if path.startswith("/goaway"):
            last = stream if path == "/goaway-after" else stream - 2
            self.transport.write(GoAwayFrame(0, last).serialize())
        if path == "/abort":
            self.transport.abort()
        elif path in ("/goaway-and-close", *CLOSING):
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        import h2.errors
        import h2.events

        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.RequestReceived) and not self.has_gone_away:
                headers = dict(event.headers)
                requests.append(headers)
                if headers[":path"] == "/ping":
                    self.h2.ping(b"12345678")
                if headers[":path"] == "/refused":
                    self.h2.reset_stream(event.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
                    continue
                is_first = sum(seen[":path"] == headers[":path"] for seen in requests) == 1
                if is_first and headers[":path"] in (*UNPROCESSED, *CLOSING):
                    self.end(headers[":path"], event.stream_id)
                    continue
                if headers[":path"] == "/hang":
                    continue
                if headers[":path"] == "/interim":
                    self.h2.send_headers(event.stream_id, [(":status", "103")])
                    self.flush()
                    self.transport.close()
                    continue
                if headers[":path"] == "/reset":
                    self.h2.reset_stream(event.stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
                    continue
                if headers[":path"] == "/large-head":
                    large = [(f"x-{number}", "v" * 1000) for number in range(70)]
                    self.h2.send_headers(event.stream_id, [(":status", "200"), *large])
                    continue
                if headers[":path"] == "/slow":
                    self.slow.append(event.stream_id)
                    continue
                for stream in [*self.slow, event.stream_id]:
                    self.h2.send_headers(stream, [(":status", "200"), ("x-field", "value")])
                    self.h2.send_data(stream, headers[":path"].encode(), end_stream=True)
                self.slow.clear()
        self.flush()


UNPROCESSED = ("/refused-once", "/goaway", "/goaway-and-close")
CLOSING = ("/goaway-after", "/close", "/abort")

requests: list[dict[str, str]] = []


@pytest.fixture
async def http2_peer(certificates: Certificates) -> AsyncIterator[Any]:
    pytest.importorskip("h2")
    if not libcurl.HAS_HTTP2:
        pytest.skip("this libcurl does not support HTTP/2")
    requests.clear()
    HTTP2Peer.connections = 0
    HTTP2Peer.lost = asyncio.Event()
    context = certificates.server_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(HTTP2Peer, "127.0.0.1", 0, ssl=context)
    peer = RawPeer(b"", "127.0.0.1")
    peer.port = server.sockets[0].getsockname()[1]
    peer.scheme = "https"
    yield peer
    server.close()
    while HTTP2Peer.accepted:
        HTTP2Peer.accepted.pop().transport.abort()


async def test_http2(
    make_transport: MakeTransport, http2_peer: RawPeer, certificates: Certificates
) -> None:
    transport = make_transport()
    common: dict[str, Any] = {"version": "HTTP/2", "tls": TLS(ca_path=str(certificates.ca))}
    host = f"127.0.0.1:{http2_peer.port}"
    fields = f"Host: {host}\r\nUser-Agent: agent\r\nX-Field: Value\r\n".encode()
    res = await send(transport, request_to(http2_peer, "/a/../b?c", header_block=fields, **common))
    assert (res.code, res.reason, res.body) == (200, "OK", b"/a/../b?c")
    assert res.headers.get_version() == "HTTP/2"
    assert res.headers["X-Field"] == "value"
    assert requests == [
        {
            ":method": "GET",
            ":scheme": "https",
            ":authority": host,
            ":path": "/a/../b?c",
            "user-agent": "agent",
            "x-field": "Value",
        }
    ]
    res = await send(transport, request_to(http2_peer, method="POST", body=b"body", **common))
    assert res.code == 200
    assert requests[1]["content-length"] == "4"


async def test_http2_shares_a_connection(
    make_transport: MakeTransport, http2_peer: RawPeer, certificates: Certificates
) -> None:
    transport = make_transport()
    common: dict[str, Any] = {"version": "HTTP/2", "tls": TLS(ca_path=str(certificates.ca))}
    assert (await send(transport, request_to(http2_peer, "/ping", **common))).body == b"/ping"
    # A peer may send something on an idle connection of HTTP/2.
    for _ in range(5):
        await asyncio.sleep(0)
    slow = [send(transport, request_to(http2_peer, "/slow", **common)) for _ in range(3)]
    await asyncio.sleep(0)
    assert (await send(transport, request_to(http2_peer, "/fast", **common))).body == b"/fast"
    assert {(await fetch).body for fetch in slow} == {b"/fast"}
    assert HTTP2Peer.connections == 1
    fresh = request_to(http2_peer, "/fresh", keep_alive=False, **common)
    assert (await send(transport, fresh)).body == b"/fresh"
    assert HTTP2Peer.connections == 2


async def test_http2_through_a_tunnel(
    make_transport: MakeTransport,
    http2_peer: RawPeer,
    raw_peer: MakePeer,
    certificates: Certificates,
) -> None:
    transport = make_transport()
    proxy = await raw_peer(relay)
    setting = check_proxy("proxy", proxy.url("").replace("http://", "http://user:secret@"))
    for path in ("/one", "/two"):
        tls = TLS(ca_path=str(certificates.ca))
        request = request_to(http2_peer, path, version="HTTP/2", tls=tls)
        request.use_proxy(setting)
        res = await send(transport, request)
        assert (res.headers.get_version(), res.body) == ("HTTP/2", path.encode())
    assert "proxy-authorization" not in requests[0]
    assert [request.method for request in proxy.requests] == ["CONNECT"]
    assert HTTP2Peer.connections == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_http2_peer_that_refuses_each_stream(
    method: str,
    make_transport: MakeTransport,
    http2_peer: RawPeer,
    certificates: Certificates,
) -> None:
    fields = f"Host: 127.0.0.1:{http2_peer.port}\r\n".encode()
    tls = TLS(ca_path=str(certificates.ca))
    request = request_to(
        http2_peer, "/refused", method=method, header_block=fields, version="HTTP/2", tls=tls
    )
    await fails_with(send(make_transport(), request), Exception)
    assert [headers[":path"] for headers in requests] == ["/refused"] * 2


@pytest.fixture(params=["send", "fetch", "callbacks"])
def fetch_over_http2(
    request: pytest.FixtureRequest,
    make_transport: MakeTransport,
    http2_peer: RawPeer,
    certificates: Certificates,
) -> Callable[..., Awaitable[bytes]]:
    transport = make_transport()
    tls = TLS(ca_path=str(certificates.ca))

    async def send_request(path: str, method: str, **options: Any) -> bytes:
        options.update(method=method, body=b"body" if method == "POST" else None)
        request = request_to(http2_peer, path, version="HTTP/2", tls=tls, **options)
        return (await asyncio.wait_for(send(transport, request), 10)).body

    async def fetch(path: str, method: str, **options: Any) -> bytes:
        options.update(method=method, body=b"body" if method == "POST" else None)
        url = http2_peer.url(path)
        return (await transport.fetch(url, ca_certs=str(certificates.ca), **options)).body  # type: ignore[no-any-return]

    async def fetch_by_tornado(path: str, method: str, **options: Any) -> bytes:
        options.update(method=method, body=b"body" if method == "POST" else None)
        options.update(ca_certs=str(certificates.ca), header_callback=lambda line: None)
        return (await transport.fetch(http2_peer.url(path), **options)).body  # type: ignore[no-any-return]

    return {"send": send_request, "fetch": fetch, "callbacks": fetch_by_tornado}[request.param]


# Before libcurl 8.20, a refused stream of a reused connection looks like a closed connection.
reports_refusals = pytest.mark.skipif(
    pycurl.version_info()[2] < 0x081400, reason="libcurl does not report it"
)


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("path", UNPROCESSED)
@pytest.mark.parametrize("method", ["GET", pytest.param("POST", marks=reports_refusals)])
async def test_http2_request_that_was_not_processed(
    method: str, path: str, is_shared: bool, fetch_over_http2: Callable[..., Awaitable[bytes]]
) -> None:
    await fetch_over_http2("/first", "GET")
    slow = asyncio.ensure_future(fetch_over_http2("/slow", "GET")) if is_shared else None
    while slow and requests[-1][":path"] != "/slow":
        await asyncio.sleep(0)
    assert await fetch_over_http2(path, method) == path.encode()
    sent = [headers for headers in requests if headers[":path"] == path]
    assert [headers[":method"] for headers in sent] == [method] * 2
    assert HTTP2Peer.connections >= 2
    if slow:
        slow.cancel()


@pytest.mark.parametrize("path", CLOSING)
async def test_http2_request_that_may_have_been_processed(
    path: str, fetch_over_http2: Callable[..., Awaitable[bytes]]
) -> None:
    await fetch_over_http2("/first", "GET")
    slow = asyncio.ensure_future(fetch_over_http2("/slow", "GET"))
    while requests[-1][":path"] != "/slow":
        await asyncio.sleep(0)
    await fails_with(fetch_over_http2(path, "POST"), Exception)
    assert [headers[":path"] for headers in requests].count(path) == 1
    slow.cancel()
    await asyncio.wait([slow])


@pytest.mark.parametrize("path", CLOSING)
async def test_http2_connection_that_is_closed(
    path: str, make_transport: MakeTransport, http2_peer: RawPeer, certificates: Certificates
) -> None:
    common: dict[str, Any] = {"version": "HTTP/2", "tls": TLS(ca_path=str(certificates.ca))}
    # A GET is retried if its connection had carried another request.
    await fails_with(send(make_transport(), request_to(http2_peer, path, **common)), Exception)
    requests.clear()
    transport = make_transport()
    await send(transport, request_to(http2_peer, "/first", **common))
    res = await send(transport, request_to(http2_peer, path, **common))
    assert res.body == path.encode()
    assert [headers[":path"] for headers in requests] == ["/first", path, path]


async def stop_by(ending: str, fetch: Callable[..., Awaitable[bytes]]) -> None:
    """Send a request that ends without a response, while its connection stays open."""
    if ending == "cancel":
        future = asyncio.ensure_future(fetch("/hang", "GET"))
        while not requests or requests[-1][":path"] != "/hang":
            await asyncio.sleep(0)
        future.cancel()
        await asyncio.wait([future])
    elif ending == "timeout":
        await fails_with(fetch("/hang", "GET", request_timeout=0.2), Exception)
    else:
        await fails_with(fetch(ending, "GET"), Exception)


ENDINGS = ("cancel", "timeout", "/reset")


@pytest.mark.parametrize("ending", ENDINGS)
async def test_http2_connection_is_reused_after_a_request_without_a_response(
    ending: str, fetch_over_http2: Callable[..., Awaitable[bytes]]
) -> None:
    await fetch_over_http2("/first", "GET")
    for _ in range(2):
        await stop_by(ending, fetch_over_http2)
        for _ in range(3):
            await fetch_over_http2("/next", "GET")
    assert HTTP2Peer.connections == 1


@pytest.mark.parametrize("ending", ENDINGS)
async def test_first_request_of_an_http2_connection_ends_without_a_response(
    ending: str, fetch_over_http2: Callable[..., Awaitable[bytes]]
) -> None:
    await stop_by(ending, fetch_over_http2)
    for _ in range(5):
        await fetch_over_http2("/next", "GET")
    # Without a response, the first connection can be an HTTP/1 connection.
    assert HTTP2Peer.connections <= 2
    if HTTP2Peer.connections == 2:
        await asyncio.wait_for(HTTP2Peer.lost.wait(), 10)


async def test_one_of_the_first_requests_of_an_http2_connection_is_cancelled(
    make_transport: MakeTransport, http2_peer: RawPeer, certificates: Certificates
) -> None:
    transport = make_transport()
    common: dict[str, Any] = {"version": "HTTP/2", "tls": TLS(ca_path=str(certificates.ca))}
    hanging = [send(transport, request_to(http2_peer, "/hang", **common)) for _ in range(3)]
    while len(requests) < 3:
        await asyncio.sleep(0)
    hanging[2].cancel()
    for _ in range(3):
        await send(transport, request_to(http2_peer, "/next", **common))
    assert HTTP2Peer.connections == 1
    for fetch in hanging:
        fetch.cancel()


async def test_http2_connection_is_reused_after_a_head_that_is_too_large(
    make_transport: MakeTransport, http2_peer: RawPeer, certificates: Certificates
) -> None:
    transport = make_transport()
    common: dict[str, Any] = {"version": "HTTP/2", "tls": TLS(ca_path=str(certificates.ca))}
    for _ in range(2):
        await fails_with(
            send(transport, request_to(http2_peer, "/large-head", **common)), HeadTooLarge
        )
        await send(transport, request_to(http2_peer, "/next", **common))
    assert HTTP2Peer.connections == 1


@pytest.mark.parametrize("method", ["GET", pytest.param("POST", marks=reports_refusals)])
async def test_http2_peer_that_ends_an_idle_connection_by_goaway(
    method: str, fetch_over_http2: Callable[..., Awaitable[bytes]]
) -> None:
    await fetch_over_http2("/first", "GET")
    for peer in HTTP2Peer.accepted:
        peer.go_away()
    assert await fetch_over_http2("/next", method) == b"/next"
    count = HTTP2Peer.connections
    for _ in range(5):
        assert await fetch_over_http2("/next", method) == b"/next"
    assert HTTP2Peer.connections == count
    assert [headers[":path"] for headers in requests] == ["/first", *["/next"] * 6]


async def test_http2_request_is_not_retried_after_an_interim_response(
    fetch_over_http2: Callable[..., Awaitable[bytes]],
) -> None:
    await fetch_over_http2("/first", "GET")
    await fails_with(fetch_over_http2("/interim", "GET"), Exception)
    assert [headers[":path"] for headers in requests] == ["/first", "/interim"]


async def end_connections() -> None:
    """Close all connections of the peer in order, with a close_notify and a FIN."""
    for peer in HTTP2Peer.accepted:
        peer.transport.close()
        # The close_notify is written. Without `abort`, asyncio waits for that of the client.
        await asyncio.sleep(0)
        peer.transport.abort()
    await asyncio.wait_for(HTTP2Peer.lost.wait(), 10)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_http2_peer_that_closes_an_idle_connection(
    method: str, fetch_over_http2: Callable[..., Awaitable[bytes]]
) -> None:
    await fetch_over_http2("/first", "GET")
    await end_connections()
    for _ in range(3):
        assert await fetch_over_http2("/next", method) == b"/next"
    assert HTTP2Peer.connections == 2
    assert [headers[":path"] for headers in requests] == ["/first", *["/next"] * 3]


@pytest.mark.parametrize("path", CLOSING)
async def test_http2_peer_that_closes_a_reused_connection_after_a_get(
    path: str, fetch_over_http2: Callable[..., Awaitable[bytes]]
) -> None:
    await fetch_over_http2("/first", "GET")
    assert await fetch_over_http2(path, "GET") == path.encode()
    assert [headers[":path"] for headers in requests] == ["/first", path, path]
