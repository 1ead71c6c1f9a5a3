"""aiohttp's server as the peer, on the loop of the client."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import Fetch, MakeClient
from tests.support.certificates import Certificates
from tests.support.exchange import assert_body, setting
from tests.support.missing import import_peer
from tests.support.ports import reserved_port
from turbo_tornado import errors

import_peer("aiohttp")
from aiohttp import web

LARGE = bytes(range(256)) * 65536
TEXT = b"some text " * 1000


class Peer:
    def __init__(self, runner: web.AppRunner, port: int, scheme: str) -> None:
        self.runner = runner
        self.port = port
        self.scheme = scheme
        # The connection of each request, in order.
        self.carriers: list[Any] = []

    def url(self, path: str = "/") -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    @property
    def connections(self) -> int:
        """The number of connections that carried a request."""
        return len(set(self.carriers))

    async def closed_all(self) -> None:
        """Return when all connections are closed."""
        assert self.runner.server is not None
        while self.runner.server.connections:
            await asyncio.sleep(0.005)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MakePeer = Callable[..., Awaitable[Peer]]


@pytest.fixture
async def serve() -> AsyncIterator[MakePeer]:
    """Start a server of one handler, for every path and method."""
    runners: list[web.AppRunner] = []

    async def start(
        handler: Handler,
        *,
        ssl_context: Any = None,
        port: int = 0,
        expect_handler: Any = None,
        client_max_size: int = 64 * 1024 * 1024,
        **options: Any,
    ) -> Peer:
        @web.middleware
        async def noted(request: web.Request, handler: Any) -> web.StreamResponse:
            peer.carriers.append(request.protocol)
            response: web.StreamResponse = await handler(request)
            return response

        application = web.Application(client_max_size=client_max_size, middlewares=[noted])
        application.router.add_route("*", "/{path:.*}", handler, expect_handler=expect_handler)
        # How long the server reads a rejected body, even if the client has disconnected.
        options.setdefault("lingering_time", 0.5)
        runner = web.AppRunner(application, access_log=None, **options)
        runners.append(runner)
        await runner.setup()
        # A test opens more connections at once than the default backlog of 128.
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=ssl_context, backlog=1024)
        await site.start()
        peer = Peer(runner, runner.addresses[0][1], "https" if ssl_context else "http")
        return peer

    yield start
    for runner in runners:
        await runner.cleanup()


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


@pytest.mark.kept
async def test_keep_alive(serve: MakePeer, fetch: Fetch) -> None:
    peer = await serve(echo)
    for body in (b"data", b"", LARGE[:1_000_000]):
        for method in ("POST", "PUT", "PATCH", "DELETE", "REPORT"):
            assert_body(await fetch(peer.url(), method=method, body=body), body)
    assert (len(peer.carriers), peer.connections) == (15, 1)


async def test_received_request(serve: MakePeer, fetch: Fetch) -> None:
    async def describe(request: web.Request) -> web.Response:
        return web.json_response(
            {
                "method": request.method,
                "path": request.path,
                "query": dict(request.query),
                "cookies": dict(request.cookies),
                "form": dict(await request.post()),
                "version": list(request.version),
            }
        )

    peer = await serve(describe)
    res = await fetch(
        peer.url("/ünï?q=ß"),
        method="POST",
        params={"ключ": "☃ & ="},
        cookie={"a": "1", "b": "2"},
    )
    assert json.loads(res.body) == {
        "method": "POST",
        "path": "/ünï",
        "query": {"q": "ß"},
        "cookies": {"a": "1", "b": "2"},
        "form": {"ключ": "☃ & ="},
        "version": [1, 1],
    }


@pytest.mark.kept
async def test_chunked(serve: MakePeer, fetch: Fetch) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for start in range(0, len(LARGE), 100_000):
            await response.write(LARGE[start : start + 100_000])
        return response

    peer = await serve(stream)
    for _ in range(2):
        res = await fetch(peer.url())
        assert_body(res, LARGE)
        assert res.headers["Transfer-Encoding"] == "chunked"
    assert peer.connections == 1


async def test_body_up_to_the_end_of_the_connection(serve: MakePeer, fetch: Fetch) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(LARGE)
        return response

    peer = await serve(stream)
    res = await fetch(peer.url(), http_version="HTTP/1.0")
    assert_body(res, LARGE)
    assert "Content-Length" not in res.headers
    assert "Transfer-Encoding" not in res.headers


async def test_compression(serve: MakePeer, fetch: Fetch) -> None:
    async def compressed(request: web.Request) -> web.Response:
        response = web.Response(body=TEXT)
        if request.path == "/deflate":
            response.enable_compression(web.ContentCoding.deflate)
        else:
            response.enable_compression()
        return response

    peer = await serve(compressed)
    res = await fetch(peer.url())
    assert_body(res, TEXT)
    res = await fetch(peer.url(), use_gzip=False)
    assert_body(res, TEXT)
    assert "Content-Encoding" not in res.headers
    # The server uses an encoding that was not offered. The body is not decoded.
    res = await fetch(peer.url("/deflate"))
    assert res.headers["Content-Encoding"] == "deflate"
    assert zlib.decompress(res.body) == TEXT


async def test_compressed_request(serve: MakePeer, fetch: Fetch) -> None:
    peer = await serve(echo)
    res = await fetch(
        peer.url(),
        method="POST",
        body=gzip.compress(TEXT),
        on_headers=setting(Content_Encoding="gzip"),
    )
    assert_body(res, TEXT)


async def test_files(serve: MakePeer, fetch: Fetch, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(LARGE)

    async def send(request: web.Request) -> web.FileResponse:
        return web.FileResponse(tmp_path / "large")

    peer = await serve(send)
    res = await fetch(peer.url())
    assert_body(res, LARGE)
    assert_body(await fetch(peer.url(), on_headers=setting(Range="bytes=10-19")), LARGE[10:20], 206)
    same = setting(If_None_Match=res.headers["ETag"])
    assert_body(await fetch(peer.url(), on_headers=same), b"", 304)
    res = await fetch(peer.url(), method="HEAD")
    assert_body(res, b"")
    assert res.headers["Content-Length"] == str(len(LARGE))


async def test_redirects_and_statuses(serve: MakePeer, fetch: Fetch) -> None:
    async def raising(request: web.Request) -> web.Response:
        await request.read()
        if request.path == "/moved":
            raise web.HTTPPermanentRedirect("/here")
        if request.path == "/found":
            raise web.HTTPFound("/here")
        if request.path == "/broken":
            raise RuntimeError("a mistake of the handler")
        if request.path == "/nowhere":
            raise web.HTTPNotFound()
        return web.Response(text=request.method)

    peer = await serve(raising)
    posted: dict[str, Any] = {"method": "POST", "body": LARGE}
    assert_body(await fetch(peer.url("/moved"), posted), b"POST")
    assert_body(await fetch(peer.url("/found"), posted), b"GET")
    res = await fetch(peer.url("/broken"))
    assert (res.error, res.code, res.reason) == (None, 500, "Internal Server Error")
    assert_body(await fetch(peer.url("/nowhere")), b"404: Not Found", 404)


async def test_over_tls(
    serve: MakePeer, make_client: MakeClient, certificates: Certificates
) -> None:
    peer = await serve(echo, ssl_context=certificates.server_context())
    client = make_client({"ca_path": certificates.ca})
    assert_body(await client.fetch(peer.url(), method="POST", body=LARGE), LARGE)


async def test_many_at_once(serve: MakePeer, make_client: MakeClient) -> None:
    peer = await serve(echo)
    bodies = [str(number).encode() * 100 for number in range(300)]
    fetches = [make_client().fetch(peer.url(), method="POST", body=body) for body in bodies]
    for body, res in zip(bodies, await asyncio.gather(*fetches), strict=True):
        assert_body(res, body)


# Requests that the server rejects


async def test_body_over_the_limit(serve: MakePeer, fetch: Fetch) -> None:
    peer = await serve(echo, client_max_size=1000)
    assert_body(await fetch(peer.url(), method="POST", body=b"x" * 1000), b"x" * 1000)
    for body in (b"x" * 1001, LARGE):
        res = await fetch(peer.url(), method="POST", body=body)
        assert res.error is None, res.error
        assert res.code == 413
        assert res.body.startswith(b"Maximum request body size 1000 exceeded")
    assert_body(await fetch(peer.url(), method="POST", body=b"x" * 1000), b"x" * 1000)


async def test_response_before_the_request_body(serve: MakePeer, fetch: Fetch) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=403, body=b"not that")

    peer = await serve(refuse)
    for body in (b"data", LARGE):
        res = await fetch(peer.url(), method="POST", body=body)
        assert_body(res, b"not that", 403)


async def test_head_over_the_limit(serve: MakePeer, fetch: Fetch) -> None:
    peer = await serve(echo)
    res = await fetch(peer.url(), cookie={"long": "x" * 20_000})
    assert (res.error, res.code, res.reason) == (None, 400, "Bad Request")
    res = await fetch(peer.url("/" + "x" * 20_000))
    assert (res.error, res.code, res.reason) == (None, 400, "Bad Request")


async def test_expect(serve: MakePeer, fetch: Fetch) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=417, body=b"not expected")

    expecting = setting(Expect="100-continue")
    peer = await serve(echo)
    # The client does not wait for the 100, which is not a response.
    for body in (b"data", LARGE):
        res = await fetch(peer.url(), method="POST", body=body, on_headers=expecting)
        assert_body(res, body)
    peer = await serve(echo, expect_handler=refuse)
    for body in (b"data", LARGE):
        res = await fetch(peer.url(), method="POST", body=body, on_headers=expecting)
        assert_body(res, b"not expected", 417)


async def test_upgrade_to_websocket(serve: MakePeer, fetch: Fetch) -> None:
    async def talk(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    peer = await serve(talk)
    res = await fetch(peer.url())
    assert (res.error, res.code) == (None, 400)
    upgrading = setting(
        Connection="Upgrade",
        Upgrade="websocket",
        Sec_WebSocket_Version="13",
        Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
    )
    # The connection is not HTTP after a 101.
    res = await fetch(peer.url(), on_headers=upgrading)
    assert res.error is not None
    assert res.error.code == errors.PARSE_ERROR_HEADERS
    await peer.closed_all()


# Stopping the server


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.kept
async def test_idle_connections_expire(method: str, serve: MakePeer, fetch: Fetch) -> None:
    peer = await serve(echo, keepalive_timeout=0.05)
    body = b"data" if method == "POST" else None
    for number in range(1, 4):
        assert (await fetch(peer.url(), method=method, body=body)).code == 200
        await peer.closed_all()
        assert peer.connections == number


async def test_stop_with_idle_connections(
    serve: MakePeer, fetch: Fetch, make_client: MakeClient
) -> None:
    options: dict[str, Any] = {"method": "POST", "body": b"data"}
    with reserved_port() as port:
        peer = await serve(echo, port=port)
        fetches = [make_client().fetch(peer.url(), options) for _ in range(5)]
        assert {res.code for res in await asyncio.gather(*fetches)} == {200}
        await peer.runner.cleanup()
        res = await fetch(peer.url(), options)
        assert res.error is not None
        assert res.error.code == errors.COULD_NOT_CONNECT
        again = await serve(echo, port=port)
        assert_body(await fetch(again.url(), options), b"data")


@pytest.mark.parametrize("started", [False, True])
async def test_server_closes_within_a_response(
    started: bool, serve: MakePeer, fetch: Fetch
) -> None:
    async def close(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        if started:
            await response.prepare(request)
            await response.write(b"a beginning")
        assert request.transport is not None
        request.transport.close()
        return response

    peer = await serve(close)
    res = await fetch(peer.url())
    assert res.error is not None
    assert res.error.code == (errors.SOCKET_ERROR if started else errors.NO_HEADERS)


async def test_client_that_disconnects(serve: MakePeer, make_client: MakeClient) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def wait(request: web.Request) -> web.Response:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        return web.Response()

    peer = await serve(wait, handler_cancellation=True)
    fetch = make_client().fetch(peer.url())
    await asked.wait()
    fetch.cancel()
    await gone.wait()
