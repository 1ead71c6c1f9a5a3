"""Features of the simple transport only, through Tornado's API and on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import select
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.httputil import HTTPOutputError
from tornado.ioloop import IOLoop
from tornado.iostream import StreamClosedError
from tornado.netutil import Resolver
from tornado.tcpclient import TCPClient

from tests.support import Connection, MakePeer, response
from tests.support.certificates import Certificates
from turbo_tornado import HTTPClient, errors
from turbo_tornado.transports.simple import SimpleTransport, connect

GOOD = response(b"good")
LARGE = b"x" * 20_000_000
Write = Callable[[bytes], Awaitable[None]]


@pytest.fixture
async def transport() -> AsyncIterator[SimpleTransport]:
    transport = SimpleTransport(force_instance=True)
    yield transport
    transport.close()


async def within(seconds: float, awaitable: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(awaitable, seconds)


@pytest.mark.parametrize("raise_error", [True, False])
async def test_redirect_to_a_host_that_fails(
    transport: SimpleTransport, raw_peer: MakePeer, closed_port: int, raise_error: bool
) -> None:
    location = f"Location: http://127.0.0.1:{closed_port}/"
    peer = await raw_peer(response(b"", location, status="302 Found"))
    with pytest.raises(ConnectionRefusedError):
        await within(10, transport.fetch(peer.url(), raise_error=raise_error))


async def test_a_redirect_to_get_drops_the_producer(
    transport: SimpleTransport, raw_peer: MakePeer
) -> None:
    methods: list[str] = []

    async def script(conn: Connection) -> None:
        while True:
            head = await conn.reader.readuntil(b"\r\n\r\n")
            methods.append(head.split()[0].decode())
            if methods[-1] == "GET":
                await conn.send(GOOD)
            else:
                await conn.reader.readuntil(b"0\r\n\r\n")
                await conn.send(response(b"", "Location: /next", status="303 See Other"))

    async def producer(write: Write) -> None:
        await write(b"body")

    peer = await raw_peer(script)
    res = await within(10, transport.fetch(peer.url(), method="POST", body_producer=producer))
    assert (res.code, res.body, methods) == (200, b"good", ["POST", "GET"])


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nobody")


async def test_callbacks_run_in_the_context_of_their_fetch(
    transport: SimpleTransport, raw_peer: MakePeer
) -> None:
    moved = response(b"", "Location: /next", status="302 Found")

    async def script(conn: Connection) -> None:
        while True:
            target = (await conn.read_request()).target
            await conn.send(moved if target == "/moved" else GOOD)

    peer = await raw_peer(script)
    variable.set("creator")
    await transport.fetch(peer.url("/first"))
    seen: set[str] = set()

    async def fetch(name: str, path: str) -> None:
        variable.set(name)

        def note(_: object) -> None:
            seen.add(f"{name} {variable.get()}")

        await transport.fetch(peer.url(path), header_callback=note, streaming_callback=note)

    await asyncio.gather(fetch("a", "/"), fetch("b", "/moved"))
    assert seen == {"a a", "b b"}


async def test_cancelled_write_does_not_stop_other_writes(
    transport: SimpleTransport, raw_peer: MakePeer
) -> None:
    read = asyncio.Event()
    received = bytearray()

    async def script(conn: Connection) -> None:
        await conn.reader.readuntil(b"\r\n\r\n")
        await read.wait()
        while not received.endswith(b"0\r\n\r\n"):
            received.extend(await conn.reader.read(1 << 20))
        await conn.send(GOOD)

    async def producer(write: Write) -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(write(LARGE), 0.05)
        read.set()
        await write(b"end")

    peer = await raw_peer(script)
    await within(30, transport.fetch(peer.url(), method="POST", body_producer=producer))
    assert len(received) > len(LARGE)
    assert b"end" in received[-20:]


async def test_producer_cannot_write_after_its_end(
    transport: SimpleTransport, raw_peer: MakePeer
) -> None:
    writes: list[Write] = []

    async def producer(write: Write) -> None:
        writes.append(write)
        await write(b"body")

    async def script(conn: Connection) -> None:
        await conn.reader.readuntil(b"0\r\n\r\n")
        await conn.send(GOOD)

    peer = await raw_peer(script)
    await transport.fetch(peer.url(), method="POST", body_producer=producer)
    assert len(transport.pool) == 1
    with pytest.raises(HTTPOutputError, match="after its end"):
        await writes[0](b"GET / HTTP/1.1\r\n\r\n")


async def test_chunks_are_delivered_one_after_the_other(
    transport: SimpleTransport, raw_peer: MakePeer
) -> None:
    size = 16 << 20

    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(16):
            await conn.send(b"z" * (1 << 20))
        await conn.wait_closed_by_client()

    peer = await raw_peer(script)
    received, calls, pending = 0, 0, False

    async def slowly(count: int) -> None:
        nonlocal received, pending
        await asyncio.sleep(0.001)
        received += count
        pending = False

    def callback(chunk: bytes) -> Awaitable[None] | None:
        nonlocal received, calls, pending
        assert not pending, "called while the previous call is pending"
        calls += 1
        # Only some of the writes must wait.
        if calls % 33 == 0:
            pending = True
            return slowly(len(chunk))
        received += len(chunk)
        return None

    await within(30, transport.fetch(peer.url(), streaming_callback=callback))
    assert received == size


async def test_reset_is_reported_despite_later_writes(
    transport: SimpleTransport, raw_peer: MakePeer
) -> None:
    gone = asyncio.Event()

    async def script(conn: Connection) -> None:
        await conn.reader.readuntil(b"\r\n\r\n")
        conn.reset()
        gone.set()

    async def producer(write: Write) -> None:
        await gone.wait()
        await asyncio.sleep(0.05)
        for _ in range(3):
            write(b"x")

    peer = await raw_peer(script)
    with pytest.raises(ConnectionResetError):
        await within(10, transport.fetch(peer.url(), method="POST", body_producer=producer))


async def test_tls_connection_closed_while_a_body_is_sent(
    transport: SimpleTransport, raw_peer: MakePeer, certificates: Certificates
) -> None:
    cut = asyncio.Event()

    async def script(conn: Connection) -> None:
        await conn.reader.readuntil(b"\r\n\r\n")
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        # Without a close_notify.
        conn.writer.transport.abort()
        cut.set()

    async def producer(write: Write) -> None:
        await cut.wait()
        for _ in range(50):
            # Not awaited, so that the writes continue after the first failure.
            write(b"x" * 65536)
            await asyncio.sleep(0.001)

    peer = await raw_peer(script, certificates.server_context())
    # The write and the end of the connection must not report each other endlessly.
    with pytest.raises((OSError, StreamClosedError)):
        await within(
            10,
            transport.fetch(
                peer.url(), method="POST", body_producer=producer, ca_certs=certificates.ca
            ),
        )


async def test_cancelled_task_of_a_request(raw_peer: MakePeer) -> None:
    class Stuck(Resolver):
        async def resolve(self, host: str, port: int, family: Any = 0) -> Any:
            await asyncio.Event().wait()

    transport = SimpleTransport(force_instance=True, resolver=Stuck())
    future = transport.fetch("http://nowhere.example/", connect_timeout=0, request_timeout=0)
    for task in transport.tasks:
        task.cancel()
    with pytest.raises(Exception, match="cancelled"):
        await within(10, future)
    assert not transport.requests.active
    transport.close()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_eager_task_factory(raw_peer: MakePeer, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.BaseEventLoop):
        pytest.skip("uvloop passes the factory an argument that it does not take")
    path = str(tmp_path / "socket")
    server = await asyncio.start_unix_server(answer_once, path)

    class ToUnix(Resolver):
        async def resolve(self, host: str, port: int, family: Any = 0) -> Any:
            return [(socket.AF_UNIX, path)]

    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    transport = SimpleTransport(force_instance=True, resolver=ToUnix())
    chunks: list[bytes] = []

    async def callback(chunk: bytes) -> None:
        chunks.append(chunk)

    await transport.fetch("http://name/", streaming_callback=callback, connect_timeout=0.2)
    assert b"".join(chunks) == b"good"
    transport.close()
    server.close()
    loop.set_task_factory(None)


async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(0.3)
    writer.write(GOOD)
    await reader.read()
    writer.close()


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="there is no epoll")
async def test_dropped_transport_closes_its_resources(raw_peer: MakePeer) -> None:
    peer = await raw_peer(GOOD)
    transport = SimpleTransport(force_instance=True)
    await transport.fetch(peer.url())
    handlers: Any = IOLoop.current().handlers  # type: ignore[attr-defined]
    before = len(handlers)
    # A failed assertion would refer to it by the frame.
    del transport
    gc.collect()
    assert len(handlers) == before - 1


async def test_equal_ssl_options_share_a_connection(
    transport: SimpleTransport, raw_peer: MakePeer, certificates: Certificates
) -> None:
    peer = await raw_peer(GOOD, certificates.server_context())
    for _ in range(3):
        options = {"ca_certs": certificates.ca, "cert_reqs": ssl.CERT_REQUIRED}
        await transport.fetch(peer.url(), ssl_options=options)
    assert peer.connections == 1


class Both(Resolver):
    """Resolves every name to two addresses."""

    def initialize(self, *ports: int) -> None:
        self.addresses = [(socket.AF_INET, ("127.0.0.1", port)) for port in ports]

    async def resolve(self, host: str, port: int, family: Any = 0) -> Any:
        return self.addresses


@pytest.mark.parametrize("fault", ["another name", "silence"])
async def test_failed_handshake_does_not_try_the_next_address(
    fault: str, raw_peer: MakePeer, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "_HAPPY_EYEBALLS_DELAY", 0.01)

    async def close_late(conn: Connection) -> None:
        await asyncio.sleep(0.1)
        conn.close()

    if fault == "silence":
        first = await raw_peer(close_late)
    else:
        first = await raw_peer(GOOD, certificates.server_context("wrong-host"))
    second = await raw_peer(GOOD, certificates.server_context())
    transport = SimpleTransport(force_instance=True, resolver=Both(first.port, second.port))
    with pytest.raises(ssl.SSLError):
        await within(10, transport.fetch("https://localhost/", ca_certs=certificates.ca))
    assert second.connections == 0
    transport.close()


@pytest.mark.parametrize("size", [200_000, 4_000_000])
@pytest.mark.parametrize("end", ["close", "reset"])
async def test_early_response_to_a_large_upload(
    size: int, end: str, transport: SimpleTransport, raw_peer: MakePeer
) -> None:
    answer = response(b"too large", "Connection: close", status="413 Content Too Large")

    async def script(conn: Connection) -> None:
        await conn.reader.readuntil(b"\r\n\r\n")
        await conn.send(answer)
        # With unread data, so that both end with a reset.
        conn.writer.transport.abort() if end == "close" else conn.reset()

    peer = await raw_peer(script)
    for _ in range(20):
        upload = transport.fetch(peer.url(), method="POST", body=bytes(size), raise_error=False)
        res = await within(10, upload)
        assert (res.code, res.body) == (413, b"too large")


class ToSocket(Resolver):
    """Resolves every host to a unix socket, or to the path that the host encodes."""

    def initialize(self, path: str | None = None) -> None:
        self.path = path
        self.asked: list[tuple[str, int]] = []

    async def resolve(self, host: str, port: int, family: Any = 0) -> Any:
        self.asked.append((host, port))
        return [(socket.AF_UNIX, self.path or unquote(host))]


@pytest.fixture
async def unix_peer(tmp_path: Path) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server on a unix socket: its path and the heads that it has received."""
    path, heads = str(tmp_path / "Server.sock"), []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(GOOD)
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    yield path, heads
    server.close()


@pytest.mark.parametrize(
    ("netloc", "asked"),
    [
        ("localhost", ("localhost", 80)),
        ("localhost:0", ("localhost", 0)),
        ("LocalHost:08080", ("LocalHost", 8080)),
        ("127.0.0.1", ("127.0.0.1", 80)),
        ("a,b;c=d:1", ("a,b;c=d", 1)),
    ],
)
async def test_resolver_can_return_a_unix_socket(
    netloc: str, asked: tuple[str, int], unix_peer: tuple[str, list[bytes]]
) -> None:
    path, heads = unix_peer
    resolver = ToSocket(path)
    transport = SimpleTransport(force_instance=True, resolver=resolver)
    for _ in range(2):
        assert (await transport.fetch(f"http://{netloc}/")).body == b"good"
    # The connection is reused.
    assert resolver.asked == [asked]
    host = asked[0] if asked[1] == 80 else f"{asked[0]}:{asked[1]}"
    assert f"Host: {host}\r\n".encode() in heads[0]
    res = await HTTPClient(transport=transport).fetch("http://localhost/")
    assert res.body == b"good"
    transport.close()


async def test_path_of_a_unix_socket_as_the_host(
    unix_peer: tuple[str, list[bytes]],
) -> None:
    path, _ = unix_peer
    AsyncHTTPClient.configure(SimpleTransport, resolver=ToSocket())
    client = AsyncHTTPClient()
    try:
        assert (await client.fetch(f"http://{quote(path, safe='')}/")).body == b"good"
        # The resolver returns the path of a missing socket.
        with pytest.raises(FileNotFoundError):
            await client.fetch("http://%2Fmissing/")
    finally:
        client.close()
        AsyncHTTPClient.configure(None)


async def test_replaced_tcp_client(unix_peer: tuple[str, list[bytes]]) -> None:
    class Custom(SimpleTransport):
        def initialize(self, path: str, **arguments: Any) -> None:  # type: ignore[override]
            super().initialize(**arguments)
            self.tcp_client = TCPClient(resolver=ToSocket(path))

    transport = Custom(force_instance=True, path=unix_peer[0])
    assert (await transport.fetch("http://127.0.0.1:0/")).body == b"good"
    transport.close()


async def test_hostname_mapping(raw_peer: MakePeer) -> None:
    peer = await raw_peer(GOOD)
    mapping = {"Name": "127.0.0.1", "192.0.2.1": "127.0.0.1"}
    transport = SimpleTransport(force_instance=True, hostname_mapping=mapping)
    for host in mapping:
        assert (await transport.fetch(f"http://{host}:{peer.port}/")).body == b"good"
    assert peer.requests[0].field("Host") == f"Name:{peer.port}"
    transport.close()


async def test_space_in_a_url(transport: SimpleTransport, raw_peer: MakePeer) -> None:
    peer = await raw_peer(GOOD)
    res = await transport.fetch(f" {peer.url('/a b?c d')} ")
    assert peer.requests[0].line == "GET /a%20b?c%20d HTTP/1.1"
    assert res.body == b"good"


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1.example"])
async def test_replaced_getaddrinfo(
    host: str, transport: SimpleTransport, raw_peer: MakePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop):
        pytest.skip("uvloop does not call the function, with Tornado's client either")
    peer = await raw_peer(GOOD)

    def getaddrinfo(*args: Any, **kwargs: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", peer.port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    url = f"http://{host}:{peer.port}/"
    assert (await transport.fetch(url)).body == b"good"
    res = await HTTPClient(transport="simple").fetch(url, keep_alive=False)
    assert (res.error, res.body) == (None, b"good")


async def test_disabled_network(
    transport: SimpleTransport, raw_peer: MakePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest-recording and pytest-socket do the same.
    def refuse(self: socket.socket, *args: Any) -> None:
        raise RuntimeError("Network is disabled")

    peer = await raw_peer(GOOD)
    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse, raising=False)
        patch.setattr(socket.socket, "connect_ex", refuse, raising=False)
        with pytest.raises(RuntimeError, match="Network is disabled"):
            await transport.fetch(peer.url())
        res = await HTTPClient(transport="simple").fetch(peer.url(), keep_alive=False)
        assert res.error is not None
        assert res.error.code is errors.COULD_NOT_CONNECT
        assert "Network is disabled" in res.error.message
    assert not transport.requests.active
    assert (await transport.fetch(peer.url())).body == b"good"
