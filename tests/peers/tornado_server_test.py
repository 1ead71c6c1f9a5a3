"""Tornado's server as the peer, with its options, and when it stops."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tornado import web, websocket
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets

from tests.support import Fetch, MakeClient
from tests.support.exchange import assert_body, setting
from tests.support.ports import reserved_port
from turbo_tornado import errors

LARGE = bytes(range(256)) * 65536


class Peer(HTTPServer):
    """Counts its connections, and records which are open."""

    connections: int
    streams: set[IOStream]

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        super().initialize(*args, **kwargs)
        self.connections = 0
        self.streams = set()

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        self.connections += 1
        self.streams.add(stream)
        super().handle_stream(stream, address)

    def listens(self, port: int) -> None:
        sockets = bind_sockets(port, "127.0.0.1")
        self.port: int = sockets[0].getsockname()[1]
        self.add_sockets(sockets)

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def closed_all(self) -> None:
        """Return when all connections are closed."""
        while not all(stream.closed() for stream in self.streams):
            await asyncio.sleep(0.005)


MakePeer = Callable[..., Peer]


@pytest.fixture
async def serve() -> AsyncIterator[MakePeer]:
    """Start a server of the handlers, with options of `HTTPServer`."""
    peers: list[Peer] = []

    def start(
        *routes: Any, settings: dict[str, Any] | None = None, port: int = 0, **options: Any
    ) -> Peer:
        application = web.Application(list(routes), **(settings or {}))
        peer = Peer(application, **options)
        peer.listens(port)
        peers.append(peer)
        return peer

    yield start
    for peer in peers:
        peer.stop()
        await peer.close_all_connections()


class Echo(web.RequestHandler):
    """Responds with the body, or with the requested data."""

    def get(self) -> None:
        self.write({"ip": self.request.remote_ip, "protocol": self.request.protocol})

    def post(self) -> None:
        self.write(self.request.body)


class Flushing(web.RequestHandler):
    async def get(self) -> None:
        for start in range(0, len(LARGE), 100_000):
            self.write(LARGE[start : start + 100_000])
            await self.flush()


@pytest.mark.kept
async def test_keep_alive(serve: MakePeer, fetch: Fetch) -> None:
    peer = serve(("/", Echo))
    for _ in range(5):
        assert (await fetch(peer.url())).code == 200
        assert_body(await fetch(peer.url(), method="POST", body=b"data"), b"data")
    assert peer.connections == 1


async def test_server_without_keep_alive(serve: MakePeer, fetch: Fetch) -> None:
    peer = serve(("/", Echo), no_keep_alive=True)
    for _ in range(5):
        assert_body(await fetch(peer.url(), method="POST", body=b"data"), b"data")
    assert peer.connections == 5


async def test_http10(serve: MakePeer, fetch: Fetch) -> None:
    peer = serve(("/", Flushing))
    res = await fetch(peer.url(), http_version="HTTP/1.0")
    assert_body(res, LARGE)
    assert "Transfer-Encoding" not in res.headers


@pytest.mark.parametrize("compressing", [False, True])
@pytest.mark.kept
async def test_chunked(compressing: bool, serve: MakePeer, fetch: Fetch) -> None:
    peer = serve(("/", Flushing), settings={"compress_response": compressing})
    for _ in range(2):
        res = await fetch(peer.url())
        assert_body(res, LARGE)
        assert res.headers["Transfer-Encoding"] == "chunked"
    assert peer.connections == 1


async def test_compressed(serve: MakePeer, fetch: Fetch) -> None:
    class Text(web.RequestHandler):
        def get(self) -> None:
            self.set_header("Content-Type", "text/plain")
            self.write("text " * 1000)

    peer = serve(("/", Text), settings={"compress_response": True})
    assert_body(await fetch(peer.url()), b"text " * 1000)
    res = await fetch(peer.url(), use_gzip=False)
    assert_body(res, b"text " * 1000)
    assert "Content-Encoding" not in res.headers


async def test_compressed_request(serve: MakePeer, fetch: Fetch) -> None:
    peer = serve(("/", Echo), decompress_request=True)
    res = await fetch(
        peer.url(),
        method="POST",
        body=gzip.compress(LARGE),
        on_headers=setting(Content_Encoding="gzip"),
    )
    assert_body(res, LARGE)


async def test_forwarded(serve: MakePeer, fetch: Fetch) -> None:
    peer = serve(("/", Echo), xheaders=True)
    forwarded = setting(X_Real_Ip="192.0.2.1", X_Forwarded_Proto="https")
    res = await fetch(peer.url(), on_headers=forwarded)
    assert json.loads(res.body) == {"ip": "192.0.2.1", "protocol": "https"}


@pytest.mark.kept
async def test_etag(serve: MakePeer, fetch: Fetch) -> None:
    peer = serve(("/", Echo))
    res = await fetch(peer.url())
    same = setting(If_None_Match=res.headers["ETag"])
    assert_body(await fetch(peer.url(), on_headers=same), b"", 304)
    assert_body(await fetch(peer.url()), res.body)
    assert peer.connections == 1


async def test_files(serve: MakePeer, fetch: Fetch, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(LARGE)
    peer = serve(("/(.*)", web.StaticFileHandler, {"path": tmp_path}))
    assert_body(await fetch(peer.url("/large")), LARGE)
    res = await fetch(peer.url("/large"), on_headers=setting(Range="bytes=10-19"))
    assert_body(res, LARGE[10:20], 206)
    res = await fetch(peer.url("/large"), method="HEAD")
    assert_body(res, b"")
    assert res.headers["Content-Length"] == str(len(LARGE))


async def test_websocket_handler_without_upgrade(serve: MakePeer, fetch: Fetch) -> None:
    peer = serve(("/", websocket.WebSocketHandler))
    res = await fetch(peer.url())
    assert_body(res, b'Can "Upgrade" only to "WebSocket".', 400)


async def test_many_at_once(serve: MakePeer, make_client: MakeClient) -> None:
    peer = serve(("/", Echo))
    bodies = [str(number).encode() * 100 for number in range(300)]
    fetches = [make_client().fetch(peer.url(), method="POST", body=body) for body in bodies]
    for body, res in zip(bodies, await asyncio.gather(*fetches), strict=True):
        assert_body(res, body)


async def test_gateway(serve: MakePeer, make_client: MakeClient) -> None:
    # A handler that fetches on the loop of its server.
    data = LARGE[:1_000_000]

    class Gateway(web.RequestHandler):
        async def get(self) -> None:
            res = await make_client().fetch(
                peer.url("/upstream"), method="POST", body=LARGE[:1_000_000]
            )
            self.write(res.body)

    peer = serve(("/", Gateway), ("/upstream", Echo))
    fetches = [make_client().fetch(peer.url()) for _ in range(5)]
    for res in await asyncio.gather(*fetches):
        assert_body(res, data)


# Bodies that the server rejects


async def test_body_is_received_as_it_arrives(serve: MakePeer, fetch: Fetch) -> None:
    @web.stream_request_body
    class Counting(web.RequestHandler):
        pieces = 0
        length = 0

        async def data_received(self, chunk: bytes) -> None:
            self.pieces += 1
            self.length += len(chunk)
            await asyncio.sleep(0)

        def put(self) -> None:
            self.write({"several": self.pieces > 1, "length": self.length})

    peer = serve(("/", Counting))
    res = await fetch(peer.url(), method="PUT", body=LARGE)
    assert json.loads(res.body) == {"several": True, "length": len(LARGE)}


async def test_response_before_the_request_body(serve: MakePeer, fetch: Fetch) -> None:
    @web.stream_request_body
    class Refusing(web.RequestHandler):
        def prepare(self) -> None:
            self.set_status(403)
            self.finish(b"not that")

        def data_received(self, chunk: bytes) -> None:
            pass

    peer = serve(("/", Refusing))
    for body in (b"data", LARGE):
        res = await fetch(peer.url(), method="POST", body=body)
        assert_body(res, b"not that", 403)


async def test_body_over_the_limit(serve: MakePeer, fetch: Fetch) -> None:
    peer = serve(("/", Echo), max_body_size=1000)
    assert_body(await fetch(peer.url(), method="POST", body=b"x" * 1000), b"x" * 1000)
    res = await fetch(peer.url(), method="POST", body=b"x" * 1001)
    assert_body(res, b"", 400)
    # The response has no length, and ends with a reset.
    res = await fetch(peer.url(), method="POST", body=LARGE)
    assert res.error is not None
    assert res.error.code == errors.SOCKET_ERROR
    assert_body(await fetch(peer.url(), method="POST", body=b"x" * 1000), b"x" * 1000)


async def test_head_over_the_limit(serve: MakePeer, fetch: Fetch) -> None:
    peer = serve(("/", Echo), max_header_size=1000)
    assert (await fetch(peer.url())).code == 200
    res = await fetch(peer.url(), cookie={"long": "x" * 1000})
    assert res.error is not None
    assert res.error.code == errors.NO_HEADERS


# Stopping the server


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.kept
async def test_idle_connections_expire(method: str, serve: MakePeer, fetch: Fetch) -> None:
    peer = serve(("/", Echo), idle_connection_timeout=0.05)
    body = b"data" if method == "POST" else None
    for number in range(1, 4):
        assert (await fetch(peer.url(), method=method, body=body)).code == 200
        assert peer.connections == number
        await peer.closed_all()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_stop_with_idle_connections(
    method: str, serve: MakePeer, fetch: Fetch, make_client: MakeClient
) -> None:
    options: dict[str, Any] = {"method": method, "body": b"data" if method == "POST" else None}
    with reserved_port() as port:
        peer = serve(("/", Echo), port=port)
        fetches = [make_client().fetch(peer.url(), options) for _ in range(5)]
        assert {res.code for res in await asyncio.gather(*fetches)} == {200}
        peer.stop()
        await peer.close_all_connections()
        res = await fetch(peer.url(), options)
        assert res.error is not None
        assert res.error.code == errors.COULD_NOT_CONNECT
        peer.listens(port)
        assert (await fetch(peer.url(), options)).code == 200


async def test_stop_within_a_response(serve: MakePeer, make_client: MakeClient) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    class Slow(web.RequestHandler):
        async def get(self) -> None:
            asked.set()
            await answer.wait()
            self.write("at last")

    peer = serve(("/", Slow))
    fetch = make_client().fetch(peer.url())
    await asked.wait()
    # The server responds to accepted requests.
    peer.stop()
    answer.set()
    assert_body(await fetch, b"at last")


class Waiting(web.RequestHandler):
    """Does not respond until the client has disconnected."""

    def initialize(self, asked: asyncio.Event, gone: asyncio.Event) -> None:
        self.asked, self.gone = asked, gone

    async def get(self) -> None:
        self.asked.set()
        await self.gone.wait()

    def on_connection_close(self) -> None:
        self.gone.set()


async def test_server_closes_within_a_response(serve: MakePeer, make_client: MakeClient) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()
    peer = serve(("/", Waiting, {"asked": asked, "gone": gone}))
    fetch = make_client().fetch(peer.url(), method="GET")
    await asked.wait()
    await peer.close_all_connections()
    res = await fetch
    assert res.error is not None
    assert res.error.code == errors.NO_HEADERS


async def test_client_that_disconnects(serve: MakePeer, make_client: MakeClient) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()
    peer = serve(("/", Waiting, {"asked": asked, "gone": gone}))
    fetch = make_client().fetch(peer.url())
    await asked.wait()
    fetch.cancel()
    await gone.wait()
    await peer.closed_all()
