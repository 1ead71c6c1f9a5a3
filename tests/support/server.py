"""A Tornado server with routes that respond with the received request."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import ssl
from typing import Any
from urllib.parse import urlencode

from tornado import web
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets

CUSTOM_METHODS = ("PROPFIND", "PURGE", "QUERY", "TRACE")


class Handler(web.RequestHandler):
    SUPPORTED_METHODS = (*web.RequestHandler.SUPPORTED_METHODS, *CUSTOM_METHODS)  # type: ignore

    def prepare(self) -> None:
        request = self.request
        self.settings["server"].requests.append(
            {
                "method": request.method,
                "uri": request.uri,
                "version": request.version,
                "headers": list(request.headers.get_all()),
                "body": request.body,
            }
        )

    def compute_etag(self) -> None:
        return None

    async def answer(self, *args: str) -> None:
        raise NotImplementedError

    get = head = post = put = patch = delete = options = lambda self, *args: self.answer(*args)
    propfind = purge = query = trace = get


class Echo(Handler):
    async def answer(self) -> None:
        seen = self.settings["server"].requests[-1]
        self.set_header("Content-Type", "application/json")
        self.write(json.dumps({**seen, "body": base64.b64encode(seen["body"]).decode()}))


class Status(Handler):
    async def answer(self, code: str) -> None:
        self.set_status(int(code))
        if code not in ("204", "304"):
            self.write(code)


class Redirect(Handler):
    async def answer(self, hops: str) -> None:
        code = self.get_query_argument("code", "302")
        query = urlencode({"code": code})
        left = int(hops) - 1
        self.set_status(int(code))
        self.set_header("Location", f"/redirect/{left}?{query}" if left else "/echo")


class RedirectTo(Handler):
    async def answer(self) -> None:
        self.set_status(int(self.get_query_argument("code", "302")))
        self.set_header("Location", self.get_query_argument("url"))


class Gzip(Handler):
    async def answer(self) -> None:
        body = b"compressed " * 100
        if "gzip" in self.request.headers.get("Accept-Encoding", ""):
            self.set_header("Content-Encoding", "gzip")
            body = gzip.compress(body)
        self.write(body)


class Auth(Handler):
    async def answer(self) -> None:
        expected = "Basic " + base64.b64encode(b"user:pass").decode()
        if self.request.headers.get("Authorization") == expected:
            self.write(b"welcome")
        else:
            self.set_status(401)
            self.set_header("WWW-Authenticate", 'Basic realm="test"')


class SetCookie(Handler):
    async def answer(self) -> None:
        self.add_header("Set-Cookie", "a=1; Path=/")
        self.add_header("Set-Cookie", "b=2; Path=/; HttpOnly")


class Bytes(Handler):
    async def answer(self, count: str) -> None:
        self.write(b"x" * int(count))


class Chunked(Handler):
    async def answer(self) -> None:
        for piece in (b"one ", b"two ", b"three"):
            self.write(piece)
            await self.flush()


class Slow(Handler):
    def initialize(self) -> None:
        self.gone = asyncio.Event()

    def on_connection_close(self) -> None:
        self.gone.set()

    async def answer(self, seconds: str) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.gone.wait(), float(seconds))
        if not self.gone.is_set():
            self.write(b"late")


class ManyHeaders(Handler):
    async def answer(self, count: str) -> None:
        for number in range(int(count)):
            self.set_header(f"X-Field-{number}", str(number))


ROUTES = [
    (r"/echo", Echo),
    (r"/status/(\d+)", Status),
    (r"/redirect/(\d+)", Redirect),
    (r"/redirect-to", RedirectTo),
    (r"/gzip", Gzip),
    (r"/auth", Auth),
    (r"/set-cookie", SetCookie),
    (r"/bytes/(\d+)", Bytes),
    (r"/chunked", Chunked),
    (r"/slow/([\d.]+)", Slow),
    (r"/many-headers/(\d+)", ManyHeaders),
]


class _CountingServer(HTTPServer):
    connections: int

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        super().initialize(*args, **kwargs)
        self.connections = 0

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        self.connections += 1
        super().handle_stream(stream, address)


class Server:
    """The received requests are in ``requests``, in order, each as a dict with method, uri,
    version, headers (list of pairs) and body (bytes)."""

    def __init__(self, ssl_context: ssl.SSLContext | None = None) -> None:
        self.requests: list[dict[str, Any]] = []
        self.scheme = "https" if ssl_context else "http"
        # Only a certificate needs a host name, and thus DNS resolution.
        self.host = "localhost" if ssl_context else "127.0.0.1"
        application = web.Application(ROUTES, server=self)  # type: ignore[arg-type]
        self._server = _CountingServer(application, ssl_options=ssl_context)
        sockets = bind_sockets(0, "127.0.0.1")
        self.port: int = sockets[0].getsockname()[1]
        self._server.add_sockets(sockets)

    @property
    def connections(self) -> int:
        """The number of accepted connections."""
        return self._server.connections

    def url(self, path: str = "/echo", host: str | None = None) -> str:
        return f"{self.scheme}://{host or self.host}:{self.port}{path}"

    async def close(self) -> None:
        self._server.stop()
        await self._server.close_all_connections()
