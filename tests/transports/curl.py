"""Helpers for the tests of `CurlTransport`. Importing this module needs pycurl."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support import Connection, RawPeer, Script, response
from turbo_tornado.request.request import Request
from turbo_tornado.request.tls import TLS
from turbo_tornado.request.url import parse_url
from turbo_tornado.transports.base import FetchFuture, Response, Transport
from turbo_tornado.transports.curl import CurlTransport

has_epoll = pytest.mark.skipif(not hasattr(select, "epoll"), reason="there is no epoll")

GOOD = response(b"good")
MakeTransport = Callable[..., CurlTransport]


def request_to(peer: RawPeer, path: str = "/", **changes: Any) -> Request:
    """Return a request as `HTTPClient` builds it, with ``changes``."""
    body = changes.get("body")
    header_block = f"Host: 127.0.0.1:{peer.port}\r\n"
    if body is not None:
        header_block += f"Content-Length: {len(body)}\r\n"
    settings: dict[str, Any] = {
        "method": "GET",
        "target": path,
        "version": "HTTP/1.1",
        "header_block": header_block.encode(),
        "body": None,
        "connect_timeout": 60.0,
        "request_timeout": 60.0,
        "keep_alive": True,
        "decompress": True,
        "max_body_size": 1_000_000,
        "tls": TLS(),
    }
    on_head = changes.pop("on_head", None)
    request = Request(parse_url(peer.url(path)), **{**settings, **changes})
    request.on_head = on_head
    return request


def send(transport: Transport, request: Request) -> FetchFuture[Response]:
    """Send a request; return a future of the response."""
    future: FetchFuture[Response] = FetchFuture()

    def on_done(outcome: Response | BaseException) -> None:
        # Raises if the request has been aborted.
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
        future.abort = None

    abort = transport.send(request, on_done)
    assert not future.done()
    future.abort = abort
    return future


async def stalling(conn: Connection) -> None:
    """Read requests and respond to those for ``/good``."""
    while True:
        if (await conn.read_request()).target == "/good":
            await conn.send(GOOD)


async def fails_with(future: Awaitable[Any], kind: type[BaseException]) -> BaseException:
    with pytest.raises(kind) as caught:
        await asyncio.wait_for(future, 10)
    return caught.value


def half_a_body(left: asyncio.Event) -> Script:
    """Return the script of a peer that sends half a body until the client closes."""

    async def script(conn: Connection) -> None:
        if (await conn.read_request()).target == "/good":
            await conn.send(GOOD)
            return
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        await conn.wait_closed_by_client()
        left.set()

    return script
