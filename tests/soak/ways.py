"""The kinds of fetches in the soak test, with their expected results."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from turbo_tornado import HTTPClient, HTTPResponse, errors

from .server import Server

#: A timeout that must expire, and is short enough for thousands of fetches.
SHORT = 0.1

#: A name that the resolver refuses without a query.
TOO_LONG = ".".join(["x" * 60] * 5)


class Wrong(Exception):
    """A fetch with an unexpected result."""


class Site:
    """The origins and the clients of the soak test."""

    def __init__(self, transport: str, server: Server, ca: str, blackhole: str) -> None:
        self.transport = transport
        self.origins = {
            "plain": f"http://127.0.0.1:{server.plain}",
            "tls": f"https://127.0.0.1:{server.tls}",
            "by name": f"http://localhost:{server.plain}",
            "no TLS": f"https://127.0.0.1:{server.plain}",
            "silent": f"http://127.0.0.1:{server.silent}",
            "silent TLS": f"https://127.0.0.1:{server.silent}",
            "full": blackhole.rstrip("/"),
            "refused": f"http://127.0.0.1:{server.closed}",
            "unreachable": "http://255.255.255.255:9",
            "no name": f"http://{TOO_LONG}",
        }
        self._tls = {"ca_path": ca}

    def client(self, trusting: bool = True, max_buffer_size: int | None = None) -> HTTPClient:
        tls = self._tls if trusting else None
        return HTTPClient(tls, None, max_buffer_size, transport=self.transport)

    def fetch(
        self, client: HTTPClient, origin: str, path: str, number: int, **options: Any
    ) -> asyncio.Future[HTTPResponse]:
        return client.fetch(self.origins[origin] + path, cookie=f"number={number}", **options)

    async def arrived(self, number: int) -> None:
        """Wait until the request with this number has arrived at a stalling path."""
        check(await self.fetch(self.client(), "plain", "/arrived", number), number)


def check(res: HTTPResponse, number: int, code: errors | None = None) -> None:
    """Raise `Wrong` unless a response is that of ``number``, or has the error ``code``."""
    if code is not None:
        if res.error is None or res.error.code is not code:
            raise Wrong(f"{number}: not {code!r} but {res!r}")
    elif res.error is not None:
        raise Wrong(f"{number}: {res.error}")
    elif res.code != 200 or res.body.strip() != str(number).encode():
        raise Wrong(f"{number}: {res.code} {res.body[:80]!r}")


class Fetch(NamedTuple):
    """A fetch that receives its number, or fails with ``code``."""

    origin: str
    path: str
    code: errors | None = None
    #: Keywords of `HTTPClient.fetch`.
    options: Mapping[str, Any] = MappingProxyType({})
    trusting: bool = True
    max_buffer_size: int | None = None

    async def go(self, site: Site, number: int) -> None:
        options = self.options
        if self.path == "/body":
            options = {**options, "body": str(number).rjust(2000)}
        client = site.client(self.trusting, self.max_buffer_size)
        res = await site.fetch(client, self.origin, self.path, number, **options)
        check(res, number, self.code)


class Cancel(NamedTuple):
    """A fetch that is cancelled after ``moment``, which must free its client."""

    origin: str
    path: str
    moment: Callable[[Site, int], Awaitable[None]]

    async def go(self, site: Site, number: int) -> None:
        client = site.client()
        future = site.fetch(client, self.origin, self.path, number)
        await self.moment(site, number)
        if not future.cancel():
            raise Wrong(f"{number}: ended before it was cancelled: {future.result()!r}")
        check(await site.fetch(client, "plain", "/number", number), number)


class WaitFor(NamedTuple):
    """A fetch for which `asyncio.wait_for` does not wait."""

    origin: str
    path: str

    async def go(self, site: Site, number: int) -> None:
        client = site.client()
        future = site.fetch(client, self.origin, self.path, number)
        try:
            res = await asyncio.wait_for(future, SHORT)
        except asyncio.TimeoutError:
            check(await site.fetch(client, "plain", "/number", number), number)
        else:
            raise Wrong(f"{number}: ended by itself: {res!r}")


class Busy(NamedTuple):
    """A second fetch on a client with a fetch in progress."""

    async def go(self, site: Site, number: int) -> None:
        client = site.client()
        first = site.fetch(client, "plain", "/number", number)
        check(await site.fetch(client, "plain", "/number", 0), number, errors.BUSY)
        check(await first, number)


class Streamed(NamedTuple):
    """A fetch with a file as its body and an async ``streaming_callback``."""

    origin: str

    async def go(self, site: Site, number: int) -> None:
        received = bytearray()

        async def callback(chunk: bytes) -> None:
            await asyncio.sleep(0)
            received.extend(chunk)

        body = io.BytesIO(str(number).rjust(2000).encode())
        res = await site.fetch(
            site.client(),
            self.origin,
            "/body",
            number,
            method="POST",
            body=body,
            streaming_callback=callback,
        )
        if res.error is not None or received.strip() != str(number).encode():
            raise Wrong(f"{number}: {res!r} {received[:80]!r}")


class Mistake(NamedTuple):
    """A fetch that raises an exception of its callback, or of its body."""

    name: str

    async def go(self, site: Site, number: int) -> None:
        async def raises(chunk: bytes) -> None:
            await asyncio.sleep(0)
            raise LookupError(number)

        async def blocks() -> AsyncIterator[bytes]:
            yield b"first"
            raise LookupError(number)

        client, origin = site.client(), "plain"
        options: dict[str, Any] = {"streaming_callback": raises}
        if self.name == "body":
            # A response could end the fetch before the exception.
            origin, options = "silent", {"method": "POST", "body": blocks()}
        try:
            res = await site.fetch(client, origin, "/number", number, **options)
        except LookupError:
            check(await site.fetch(client, "plain", "/number", number), number)
        else:
            raise Wrong(f"{number}: {res!r}")


async def at_once(site: Site, number: int) -> None:
    """Before the loop has processed the fetch."""


async def soon(site: Site, number: int) -> None:
    """When the connection attempt has begun, which does not continue."""
    for _ in range(5):
        await asyncio.sleep(0)


async def arrived(site: Site, number: int) -> None:
    """When the peer has received the request and has sent its data."""
    await site.arrived(number)


async def in_the_body(site: Site, number: int) -> None:
    """When the data of the peer has arrived at the client."""
    await arrived(site, number)
    await soon(site, number)


Way = Fetch | Cancel | WaitFor | Busy | Streamed | Mistake

#: In these proportions.
SUCCESSES = [
    *[Fetch("plain", "/number")] * 8,
    *[Fetch("tls", "/number")] * 4,
    Fetch("plain", "/body", options={"method": "POST"}),
    Fetch("tls", "/body", options={"method": "PUT"}),
    Streamed("plain"),
    Streamed("tls"),
    Fetch("plain", "/gzip"),
    Fetch("plain", "/chunked"),
    Fetch("plain", "/redirect"),
    Fetch("plain", "/last"),
    Fetch("plain", "/number", options={"keep_alive": False}),
    Fetch("by name", "/number", options={"keep_alive": False}),
]

FAILURES: dict[str, Way] = {
    "refused": Fetch("refused", "/", errors.COULD_NOT_CONNECT),
    "unreachable": Fetch("unreachable", "/", errors.COULD_NOT_CONNECT),
    "no such host": Fetch("no name", "/", errors.COULD_NOT_CONNECT),
    "certificate not trusted": Fetch("tls", "/number", errors.SSL_ERROR, trusting=False),
    "not TLS": Fetch("no TLS", "/number", errors.SSL_ERROR),
    "bad head": Fetch("plain", "/bad-head", errors.PARSE_ERROR_HEADERS),
    "connect timeout in TCP": Fetch(
        "full", "/", errors.CONNECT_TIMEOUT, {"connect_timeout": SHORT}
    ),
    "connect timeout in TLS": Fetch(
        "silent TLS", "/", errors.CONNECT_TIMEOUT, {"connect_timeout": SHORT}
    ),
    "request timeout": Fetch("silent", "/", errors.REQUEST_TIMEOUT, {"request_timeout": SHORT}),
    "request timeout in the body": Fetch(
        "tls", "/stall-in-body", errors.REQUEST_TIMEOUT, {"request_timeout": SHORT}
    ),
    "empty close": Fetch("plain", "/empty-close", errors.NO_HEADERS),
    "empty close, TLS": Fetch("tls", "/empty-close", errors.NO_HEADERS),
    "reset": Fetch("plain", "/reset", errors.SOCKET_ERROR),
    "cut in the head": Fetch("plain", "/cut-head", errors.SOCKET_ERROR),
    "cut in the body": Fetch("plain", "/cut-body", errors.SOCKET_ERROR),
    "reset in the body": Fetch("plain", "/reset-body", errors.SOCKET_ERROR),
    "reset in the body, TLS": Fetch("tls", "/reset-body", errors.SOCKET_ERROR),
    "bad chunk": Fetch("plain", "/bad-chunk", errors.SOCKET_ERROR),
    "body too large": Fetch("plain", "/too-large", errors.SOCKET_ERROR, max_buffer_size=1000),
    "body too large, chunked": Fetch(
        "plain", "/too-large-chunked", errors.SOCKET_ERROR, max_buffer_size=1000
    ),
    "compression bomb": Fetch("plain", "/bomb", errors.SOCKET_ERROR, max_buffer_size=1000),
    "corrupt gzip": Fetch("plain", "/bad-gzip", errors.SOCKET_ERROR),
    "cut gzip": Fetch("plain", "/cut-gzip", errors.SOCKET_ERROR),
    "redirect loop": Fetch("plain", "/redirect-loop", errors.REDIRECT_MAX),
    "busy": Busy(),
    "exception of streaming_callback": Mistake("streaming_callback"),
    "exception of the body": Mistake("body"),
    "cancel at once": Cancel("plain", "/number", at_once),
    "cancel in the look-up": Cancel("no name", "/", at_once),
    "cancel in the connect": Cancel("full", "/", soon),
    "cancel in the handshake": Cancel("silent TLS", "/", soon),
    "cancel before the response": Cancel("plain", "/stall", arrived),
    "cancel before the response, TLS": Cancel("tls", "/stall", arrived),
    "cancel in the body": Cancel("plain", "/stall-in-body", in_the_body),
    "cancel in the body, TLS": Cancel("tls", "/stall-in-body", in_the_body),
    "wait_for, connecting": WaitFor("full", "/"),
    "wait_for, before the response": WaitFor("silent", "/"),
    "wait_for, in the body": WaitFor("plain", "/stall-in-body"),
}
