"""What the tests of `CurlTransport` share. It takes pycurl to import this."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support import Connection, RawPeer, Script, response
from turbo_tornado.transports.curl import CurlTransport
from turbo_tornado.transports.hop import Hop

has_epoll = pytest.mark.skipif(not hasattr(select, "epoll"), reason="there is no epoll")

GOOD = response(b"good")
MakeTransport = Callable[..., CurlTransport]


def hop(peer: RawPeer, path: str = "/", **changes: Any) -> Any:
    body = changes.get("body")
    fields = f"Host: 127.0.0.1:{peer.port}\r\n"
    if body is not None:
        fields += f"Content-Length: {len(body)}\r\n"
    settings: dict[str, Any] = {
        "method": "GET",
        "target": path,
        "version": "HTTP/1.1",
        "fields": fields.encode(),
        "body": None,
        "connect_timeout": 60.0,
        "request_timeout": 60.0,
        "keep_alive": True,
        "decompress": True,
        "max_body_size": 1_000_000,
        "tls": None,
    }
    return Hop(peer.url(path), **{**settings, **changes})


async def stalling(conn: Connection) -> None:
    """Reads requests and answers those for ``/good``."""
    while True:
        if (await conn.read_request()).target == "/good":
            await conn.send(GOOD)


async def fails_with(future: Awaitable[Any], kind: type[BaseException]) -> BaseException:
    with pytest.raises(kind) as caught:
        await asyncio.wait_for(future, 10)
    return caught.value


def half_a_body(left: asyncio.Event) -> Script:
    """Returns the script of a peer that waits until it is left with half a body sent."""

    async def script(conn: Connection) -> None:
        if (await conn.read_request()).target == "/good":
            await conn.send(GOOD)
            return
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        await conn.wait_closed_by_client()
        left.set()

    return script
