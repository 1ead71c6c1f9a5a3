"""Connection reuse of `CurlTransport`, and unsolicited responses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any

import pytest

from tests.support import Connection, MakePeer, response
from tests.support.certificates import Certificates
from turbo_tornado.failures import BrokenConnection, NoResponse
from turbo_tornado.request.tls import TLS

pycurl = pytest.importorskip("pycurl")

from tornado.curl_httpclient import CurlError

from turbo_tornado.transports.curl.connections import Attempt, Claim, Connections
from turbo_tornado.transports.curl.socket_state import COUNTS_RECEIVED, read_state

from .curl import GOOD, MakeTransport, fails_with, has_epoll, request_to, send

# Tornado 6.4 with pycurl 7.46 and newer.
pytestmark = pytest.mark.filterwarnings("ignore:IOCTLFUNCTION is deprecated:DeprecationWarning")

STALE = response(b"stale")
LARGE = b"b" * 300_000


class Echo:
    """Responds with the target. The test writes to the connections of other targets."""

    def __init__(self) -> None:
        self.by_target: dict[str, Connection] = {}

    async def __call__(self, conn: Connection) -> None:
        while True:
            target = (await conn.read_request()).target
            self.by_target[target] = conn
            if not target.startswith("/held"):
                await conn.send(response(target.encode()))


async def test_unsolicited_response_in_the_same_iteration(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    echo = Echo()
    peer = await raw_peer(echo)
    transport = make_transport()
    for _ in range(5):
        held = send(transport, request_to(peer, "/held"))
        idle = send(transport, request_to(peer, "/idle"))
        assert (await idle).body == b"/idle"
        count = len(peer.requests)
        while "/held" not in echo.by_target:
            await peer.received(count + 1)
        # libcurl handles the first of these events, and starts the request on the idle
        # connection, before it handles the second one.
        echo.by_target.pop("/held").writer.write(response(b"/held")[:-1])
        echo.by_target["/idle"].writer.write(STALE)
        mine = send(transport, request_to(peer, "/mine"))
        assert (await asyncio.wait_for(mine, 10)).body == b"/mine"
        held.cancel()


@pytest.mark.parametrize("is_tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("api", ["send", "tornado"])
async def test_response_that_follows_another_one(
    is_tls: bool,
    api: str,
    make_transport: MakeTransport,
    raw_peer: MakePeer,
    certificates: Certificates,
) -> None:
    async def script(conn: Connection) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while True:
                target = (await conn.read_request()).target
                if target != "/first":
                    await conn.send(response(target.encode()))
                    continue
                conn.writer.write(response(LARGE)[:-1000])
                await conn.writer.drain()
                await go_on.wait()
                # libcurl reads the body and starts the next request in one call.
                pending.append(fetch("/mine"))
                conn.writer.write(response(LARGE)[-1000:] + STALE)

    def fetch(path: str) -> Any:
        if api == "send":
            return send(transport, request_to(peer, path, tls=tls))
        return transport.fetch(peer.url(path), ca_certs=str(certificates.ca))

    go_on = asyncio.Event()
    pending: list[Any] = []
    tls = TLS(ca_path=str(certificates.ca))
    peer = await raw_peer(script, certificates.server_context() if is_tls else None)
    transport = make_transport()
    first = fetch("/first")
    await asyncio.wait_for(peer.received(), 10)
    go_on.set()
    assert (await asyncio.wait_for(first, 10)).body == LARGE
    assert (await asyncio.wait_for(pending[0], 10)).body == b"/mine"


class TwoRecords:
    """Sends two responses in one segment, each in a separate TLS record."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context

    async def __call__(self, conn: Connection) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.context.wrap_bio(incoming, outgoing, server_side=True)

        async def done(step: Any) -> Any:
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    await conn.send(outgoing.read())
                    data = await conn.reader.read(65536)
                    if not data:
                        raise EOFError from None
                    incoming.write(data)

        await done(tls.do_handshake)
        while True:
            head = await done(lambda: tls.read(65536))
            target = head.split()[1]
            tls.write(response(target))
            if target == b"/first":
                tls.write(STALE)
            await conn.send(outgoing.read())


@has_epoll
@pytest.mark.parametrize("api", ["send", "tornado", "streaming"])
async def test_response_in_the_buffer_of_openssl(
    api: str, make_transport: MakeTransport, raw_peer: MakePeer, certificates: Certificates
) -> None:
    peer = await raw_peer(TwoRecords(certificates.server_context()))
    peer.scheme = "https"
    transport = make_transport()
    tls = TLS(ca_path=str(certificates.ca))
    bodies: dict[str, bytes] = {}

    async def fetch(path: str) -> bytes:
        if api == "send":
            return (await send(transport, request_to(peer, path, tls=tls))).body
        arguments: dict[str, Any] = {"ca_certs": str(certificates.ca)}
        if api == "tornado":
            return (await transport.fetch(peer.url(path), **arguments)).body
        chunks: list[bytes] = []
        await transport.fetch(peer.url(path), streaming_callback=chunks.append, **arguments)
        return b"".join(chunks)

    for _ in range(10):
        assert await fetch("/first") == b"/first"
        paths = [f"/mine{number}" for number in range(5)]
        bodies = dict(zip(paths, await asyncio.gather(*map(fetch, paths)), strict=True))
        assert bodies == {path: path.encode() for path in paths}


@has_epoll
async def test_response_to_post_is_not_from_the_buffer_of_openssl(
    make_transport: MakeTransport, raw_peer: MakePeer, certificates: Certificates
) -> None:
    peer = await raw_peer(TwoRecords(certificates.server_context()))
    peer.scheme = "https"
    transport = make_transport()
    tls = TLS(ca_path=str(certificates.ca))
    await send(transport, request_to(peer, "/first", tls=tls))
    post = send(transport, request_to(peer, "/mine", method="POST", body=b"", tls=tls))
    # The request has been sent, and is not retried.
    error = await fails_with(post, BrokenConnection)
    assert "before the request" in str(error)
    # The same on the interface of Tornado.
    await send(transport, request_to(peer, "/first", tls=tls))
    url, ca = peer.url("/mine"), str(certificates.ca)
    await transport.fetch(peer.url("/first"), ca_certs=ca)
    error = await fails_with(transport.fetch(url, method="POST", body=b"", ca_certs=ca), CurlError)
    assert "before the request" in str(error)


@pytest.mark.parametrize("callback", [None, lambda chunk: None], ids=["buffered", "streaming"])
async def test_unsolicited_response_is_not_for_tornado(
    callback: Any, make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    echo = Echo()
    peer = await raw_peer(echo)
    transport = make_transport()
    for method in ("GET", "POST"):
        body = b"" if method == "POST" else None
        options = {"method": method, "body": body, "streaming_callback": callback}
        assert (await transport.fetch(peer.url("/idle"), **options)).code == 200
        echo.by_target["/idle"].writer.write(STALE)
        pieces: list[bytes] = []
        if callback is not None:
            options["streaming_callback"] = pieces.append
        res = await asyncio.wait_for(transport.fetch(peer.url("/mine"), **options), 10)
        assert (res.body or b"".join(pieces)) == b"/mine"


async def test_unsolicited_response_before_a_redirect(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    async def script(conn: Connection) -> None:
        while True:
            target = (await conn.read_request()).target
            if target == "/redirect":
                redirect = response(LARGE, "Location: /mine", status="302 Found")
                conn.writer.write(redirect[:-1000])
                await conn.writer.drain()
                await asyncio.sleep(0.05)
                conn.writer.write(redirect[-1000:] + STALE)
            else:
                await conn.send(response(target.encode()))

    peer = await raw_peer(script)
    transport = make_transport()
    # libcurl follows the redirect on the same connection.
    try:
        res = await asyncio.wait_for(transport.fetch(peer.url("/redirect")), 10)
    except CurlError:
        pass
    else:
        assert res.body == b"/mine"
    assert (await transport.fetch(peer.url("/other"))).body == b"/other"


async def test_redirect_on_a_connection_that_the_peer_closes(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        if conn.number == 1:
            await conn.send(response(b"", "Location: /mine", status="303 See Other"))
            conn.close()
        else:
            await conn.send(GOOD)

    peer = await raw_peer(script)
    res = await make_transport().fetch(peer.url("/"), method="POST", body=b"")
    assert res.body == b"good"
    assert [request.method for request in peer.requests] == ["POST", "GET"]


@pytest.mark.parametrize("streaming", [False, True])
async def test_tornado_request_on_a_connection_that_the_peer_closes(
    streaming: bool, make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(GOOD)
        await conn.read_request()
        conn.close()

    peer = await raw_peer(script)
    transport = make_transport()
    options: dict[str, Any] = {"streaming_callback": lambda chunk: None} if streaming else {}
    for _ in range(2):
        assert (await transport.fetch(peer.url(), **options)).code == 200
    # The second request is retried.
    assert len(peer.requests) == 3
    transport = make_transport()
    await transport.fetch(peer.url(), **options)
    fetch = transport.fetch(peer.url(), method="POST", body=b"", **options)
    error = await fails_with(fetch, CurlError)
    assert error.errno == pycurl.E_GOT_NOTHING  # type: ignore[attr-defined]
    assert [request.method for request in peer.requests[3:]] == ["GET", "POST"]


@pytest.mark.parametrize("api", ["send", "tornado"])
async def test_closed_and_then_reset(
    api: str, make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(GOOD)
        if conn.number == 1:
            await conn.read_request()
            # The kernel counts the FIN as a byte of the response.
            conn.writer.write_eof()
            conn.reset()

    peer = await raw_peer(script)
    transport = make_transport()
    for _ in range(2):
        if api == "send":
            assert (await send(transport, request_to(peer))).body == b"good"
        else:
            assert (await transport.fetch(peer.url())).body == b"good"
    assert len(peer.requests) == 3


async def test_request_that_asks_to_close(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(GOOD)
    transport = make_transport()
    for value in ("close", "x, Close"):
        await transport.fetch(peer.url(), headers={"Connection": value})
        options = {"header_callback": lambda line: None, "headers": {"Connection": value}}
        await transport.fetch(peer.url(), **options)
    assert [request.connection for request in peer.requests] == [1, 2, 3, 4]
    await transport.fetch(peer.url())
    await transport.fetch(peer.url(), headers={"Connection": "closed"})
    assert [request.connection for request in peer.requests[4:]] == [5, 5]


@has_epoll
async def test_http2_is_requested_despite_an_idle_connection(
    make_transport: MakeTransport, raw_peer: MakePeer, certificates: Certificates
) -> None:
    peer = await raw_peer(GOOD, certificates.server_context())
    transport = make_transport()
    tls = TLS(ca_path=str(certificates.ca))
    for version in ("HTTP/1.1", "HTTP/2", "HTTP/2"):
        await send(transport, request_to(peer, version=version, tls=tls))
    # The peer does not offer HTTP/2, and the second connection is reused.
    assert [request.connection for request in peer.requests] == [1, 2, 2]


@has_epoll
@pytest.mark.parametrize("has_notified", [False, True])
async def test_tls_close_before_any_byte(
    has_notified: bool,
    make_transport: MakeTransport,
    raw_peer: MakePeer,
    certificates: Certificates,
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(GOOD)
        await conn.read_request()
        if has_notified:
            conn.writer.close()
        else:
            # FIN without close_notify, which the TLS of asyncio cannot send.
            sock = socket.socket(fileno=conn.writer.get_extra_info("socket").fileno())
            sock.shutdown(socket.SHUT_WR)
            sock.detach()

    peer = await raw_peer(script, certificates.server_context())
    transport = make_transport()
    tls = TLS(ca_path=str(certificates.ca))
    await send(transport, request_to(peer, tls=tls))
    post = send(transport, request_to(peer, method="POST", body=b"", tls=tls))
    await fails_with(post, NoResponse if has_notified else BrokenConnection)
    assert len(peer.requests) == 2


# `Connections` without libcurl


class FakeAttempt(Attempt):
    is_complete = True

    def allows_reuse(self) -> bool:
        return self.is_complete


async def test_descriptor_of_another_socket(raw_peer: MakePeer) -> None:
    peer = await raw_peer(GOOD)
    connections = Connections()
    _, writer = await asyncio.open_connection("127.0.0.1", peer.port)
    sock = writer.get_extra_info("socket")
    fd = sock.fileno()
    address = (*sock.getsockname(), *sock.getpeername())
    first = FakeAttempt(is_tls=False, may_share=False)
    first.new_sockets.append(fd)
    assert connections.claim(address, first) is Claim.FRESH
    connections.release(first)
    assert connections.idle_count == 1
    second = FakeAttempt(is_tls=COUNTS_RECEIVED, may_share=False)
    assert connections.claim(address, second) is Claim.REUSED
    assert connections.idle_count == 0
    connections.release(second)
    # libcurl closes the connection, and another socket gets its descriptor.
    connection = connections._by_address[address]
    _, other_writer = await asyncio.open_connection("127.0.0.1", peer.port)
    connection.fd = other_writer.get_extra_info("socket").fileno()
    assert connections.claim(address, FakeAttempt(False, False)) is Claim.REFUSED
    assert connections.idle_count in (0, 1)
    for each in (writer, other_writer):
        each.close()


async def test_state_of_a_descriptor_that_is_not_a_socket(tmp_path: Any) -> None:
    with open(tmp_path / "file", "w") as file:
        assert read_state(file.fileno()) is None
    assert read_state(-1) is None
