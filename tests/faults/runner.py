"""Runs a row of the table on a transport, and checks the result."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from tornado.httpclient import AsyncHTTPClient
from tornado.netutil import Resolver

from tests.support import Connection, RawPeer, Request, response
from tests.support.certificates import Certificates
from tests.support.leaks import ErrorRecords, close_transports
from turbo_tornado import HTTPClient, HTTPResponse, errors

from . import namespace
from .acts import CLOSE, UNREAD, Play, perform
from .leftovers import PeakMemory, Snapshot, can_measure, connections_to
from .row import LIMIT, LONG, SHORT, TIMEOUTS, Fine, Row
from .table import GOOD, LAST

#: Milliseconds within which a fetch must end that does not wait for a timeout. This is far
#: below `LONG`, and far above the usual duration.
PROMPT = 10_000.0
#: Bytes that the process may grow by, in addition to ``max_buffer_size``, for the buffers of
#: the client and of the peer.
CONSTANT = 24 * 1024 * 1024
# The number of plays at the same time. A TLS connection of asyncio has a buffer of 256 KiB,
# and another play could use a reused connection.
_AT_ONCE, _AT_ONCE_OVER_TLS = 64, 16
# Names in the repr of timers of asyncio: of TLS connections of the peer, and of a sleep.
_EXPECTED_TIMERS = ("SSLProtocol", "_set_result_unless_cancelled")
# Seconds within which closed resources must disappear.
_PATIENCE = 10.0


@dataclass
class Outcome:
    """The outcome of a row, which is correct if ``violations`` is empty."""

    connections: int
    #: Milliseconds of the fetch that took longest.
    slowest: float
    #: Bytes, where the system tells.
    growth: int | None
    violations: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def reason_against(row: Row) -> str:
    """Return why a row cannot be tried here, or an empty string."""
    return namespace.reason_against() if row.dns else ""


async def run(row: Row, transport: str, certificates: Certificates) -> Outcome:
    """Try every play of a row, in the current loop."""
    violations: list[str] = []
    plays = row.all_plays()
    # libuv opens some descriptors once, with the first server.
    first = RawPeer(GOOD, "127.0.0.1")
    await first.listen(None)
    await first.close()
    gc.collect()
    before = Snapshot.take() if can_measure() else None
    with _nothing_logged(violations):
        async with _Scene(row, transport, plays, certificates) as scene:
            await scene.free(HTTPClient(None, None, LIMIT, transport=scene.transport))
            memory = PeakMemory() if before else None
            at_once = _AT_ONCE_OVER_TLS if row.tls else _AT_ONCE
            turn = asyncio.Semaphore(1 if row.at == "kept" else at_once)
            results = await asyncio.gather(*(scene.attempt(n, turn) for n in range(len(plays))))
            growth = memory.growth() if memory else None
            if before:
                # The timer of idle connections, or libcurl's own.
                timers = Snapshot.take().left_since(before).get("timer", [])
                timers = [t for t in timers if not any(word in t for word in _EXPECTED_TIMERS)]
                if len(timers) > 1:
                    violations.append(f"timers: {timers}")
            scene.close()
            if before:
                violations += await _still(scene.connections)
        if before:
            violations += await _still(lambda: _left_since(before))
        for number, (res, free) in enumerate(results):
            violations += [f"play {number}: {words}" for words in _judge(row, transport, res)]
            if free:
                violations.append(f"play {number}: the client is not free: {free}")
        if growth is not None and growth > LIMIT + CONSTANT:
            violations.append(f"the process grew by {growth} bytes")
        violations += [*scene.violations, *scene.unlike_table()]
        gc.collect()
    slowest = max(res.request_time for res, _ in results)
    return Outcome(len(plays), slowest, growth, violations)


def _judge(row: Row, transport: str, res: HTTPResponse) -> Iterator[str]:
    expected = row.expected_of(transport)
    if isinstance(expected, Fine):
        if res.error is not None:
            yield f"{res.error.code.name}: {res.error.message}"
        elif (res.code, res.body) != (expected.code, expected.body):
            yield f"{res.code} {res.body[:60]!r}"
    elif res.error is None:
        yield f"no error, but {res.code} {res.body[:60]!r}"
    elif res.error.code is not expected:
        yield f"{res.error.code.name}: {res.error.message}"
    # libcurl counts whole milliseconds.
    at_least = SHORT * 1000 - 20 if expected in TIMEOUTS else 0
    if not at_least <= res.request_time < PROMPT:
        yield f"it took {res.request_time:.0f} ms"


def _left_since(before: Snapshot) -> list[str]:
    gc.collect()
    left = Snapshot.take().left_since(before)
    return [f"{kind} {thing}" for kind, things in left.items() for thing in things]


async def _still(look: Callable[[], list[str]]) -> list[str]:
    """Return the resources that do not disappear."""
    until = time.monotonic() + _PATIENCE
    while True:
        # Closed transports of asyncio end in the next iterations of the loop. A thread for DNS
        # ends with its answer.
        await asyncio.sleep(0.001)
        left = look()
        if not left or time.monotonic() > until:
            return [f"left: {thing}" for thing in left]


@contextlib.contextmanager
def _nothing_logged(violations: list[str]) -> Iterator[None]:
    """Add logged errors and printed exceptions to ``violations``."""
    records = ErrorRecords()
    hooks = sys.excepthook, sys.unraisablehook

    def printed(kind: type[BaseException], error: BaseException, *_: Any) -> None:
        # Also what pycurl does with an exception of a callback.
        violations.append(f"printed: {kind.__name__}: {error}")

    logging.getLogger().addHandler(records)
    sys.excepthook = printed
    sys.unraisablehook = lambda event: violations.append(f"unraisable: {event.exc_value!r}")
    try:
        yield
    finally:
        sys.excepthook, sys.unraisablehook = hooks
        logging.getLogger().removeHandler(records)
        violations += [f"logged: {text}" for text in records.texts()]


class _Scene:
    """The peers and the clients of a row."""

    def __init__(
        self, row: Row, transport: str, plays: list[Play], certificates: Certificates
    ) -> None:
        self.row = row
        self.plays = plays
        self._expected = row.expected_of(transport)
        self.violations: list[str] = []
        self.transport: str | AsyncHTTPClient = transport
        self._certificates = certificates
        self._context = certificates.server_context(row.certificate)
        self._ssl_options = {"ca_path": certificates.ca} if row.tls else None
        #: How often each play has been performed.
        self._performed: Counter[int] = Counter()
        self._stack = contextlib.AsyncExitStack()
        self._names = self._stack.enter_context(contextlib.ExitStack())
        if row.resolver:
            from turbo_tornado.transports.simple import SimpleTransport

            self.transport = SimpleTransport(
                resolver=_RESOLVERS[row.resolver](), force_instance=True
            )

    async def __aenter__(self) -> _Scene:
        row, context = self.row, None
        closed = self._stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))
        if row.tls and row.at != "accept":
            context = self._context
        self._peer = await self._listen(self._act, context)
        self._sane = await self._listen(_answer, None)
        self._ports = {
            b"port": self._peer.port,
            b"sane": self._sane.port,
            b"closed": closed.getsockname()[1],
            b"blackhole": self._stack.enter_context(_blackhole()),
        }
        if row.dns:
            self._names.enter_context(namespace.NameServer(row.dns))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    def unlike_table(self) -> Iterator[str]:
        """Yield the plays that were not performed exactly once."""
        row = self.row
        unreached = row.at != "proxy" and (row.url != Row.url or row.certificate != "valid")
        unreached |= "{closed}" in str(row.options.get("proxy"))
        if unreached or row.expected is errors.REDIRECT_MAX:
            return
        # A short timeout may expire before the peer acts.
        allowed = (0, 1) if self._expected in TIMEOUTS else (1,)
        for number in range(len(self.plays)):
            if self._performed[number] not in allowed:
                yield f"play {number} was performed {self._performed[number]} times"

    def connections(self) -> list[str]:
        """Return the connections to the peers."""
        return connections_to((self._peer.port, self._sane.port))

    def close(self) -> None:
        """Close the transport: until then, it may keep idle connections."""
        # libcurl would wait for the resolver of the system.
        self._names.close()
        if isinstance(self.transport, AsyncHTTPClient):
            self.transport.close()
        close_transports()

    async def _listen(self, script: Callable[[Connection], Any], context: Any) -> RawPeer:
        peer = RawPeer(script, "127.0.0.1")
        await peer.listen(context)
        self._stack.push_async_callback(self._end, peer)
        return peer

    async def _end(self, peer: RawPeer) -> None:
        # An error of the system for a connection that the client has ended is not a failure.
        peer.failures = [error for error in peer.failures if not isinstance(error, OSError)]
        try:
            await peer.close()
        except BaseException as error:
            self.violations.append(f"the peer: {error!r}")

    async def _act(self, conn: Connection) -> None:
        plays, at = self.plays, self.row.at
        if at == "accept":
            # The next play.
            number = self._performed.total() % len(plays)
            self._performed[number] += 1
            if await perform(conn, plays[number], self._ports, self._context):
                await conn.wait_closed_by_client()
            return
        if at == "proxy":
            await self._act_as_proxy(conn)
            return
        first = True
        while True:
            request = Request(await conn.reader.readuntil(b"\r\n\r\n"), b"", conn.number)
            asked = request.target[1:].partition("?")[0]
            # Another play would use an open connection.
            play: Play = (GOOD,) if at == "kept" else (LAST, CLOSE)
            if asked.isdigit() and not (first and at == "kept"):
                self._performed[int(asked)] += 1
                play = plays[int(asked)]
            length = int(request.field("Content-Length") or 0)
            if play[:1] != (UNREAD,):
                await conn.reader.readexactly(length)
            if not await perform(conn, play, self._ports, self._context):
                return
            while play[:1] == (UNREAD,) and length > 0:
                length -= len(await conn.reader.readexactly(min(length, 65536)))
            first = False

    async def _act_as_proxy(self, conn: Connection) -> None:
        await conn.reader.readuntil(b"\r\n\r\n")
        number = self._performed.total() % len(self.plays)
        self._performed[number] += 1
        if await perform(conn, self.plays[number], self._ports, self._context):
            await conn.wait_closed_by_client()

    async def free(self, client: HTTPClient) -> str:
        """Return the violation of a client that should be free, or an empty string."""
        same = not self.row.tls and self.row.at not in ("accept", "proxy")
        peer = self._peer if same else self._sane
        res = await client.fetch(peer.url("/free"), request_timeout=LONG)
        if res.error is not None:
            return f"{res.error.code.name}: {res.error.message}"
        return "" if (res.code, res.body) == (200, b"fine") else f"{res.code} {res.body!r}"

    async def attempt(self, number: int, turn: asyncio.Semaphore) -> tuple[HTTPResponse, str]:
        async with turn:
            return await self._attempt(number)

    async def _attempt(self, number: int) -> tuple[HTTPResponse, str]:
        row = self.row
        client = HTTPClient(self._ssl_options, None, LIMIT, transport=self.transport)
        if row.at == "kept":
            await client.fetch(self._peer.url("/free"))
        ports = {name.decode(): port for name, port in self._ports.items()}
        url = row.url.format(scheme="https" if row.tls else "http", number=number, **ports)
        limits = {"request_timeout": LONG, "connect_timeout": LONG, **row.options}
        if self._expected not in TIMEOUTS:
            # A short timeout of the row is for the other transport.
            limits |= {"request_timeout": LONG, "connect_timeout": LONG}
        if "proxy" in limits:
            limits["proxy"] = limits["proxy"].format(**ports)
        res = await client.fetch(url, **limits)
        return res, await self.free(client)


async def _answer(conn: Connection) -> None:
    if await conn.reader.readexactly(1) == b"\x16":
        # A TLS record of the handshake, which is not a request.
        await conn.send(response(status="400 Bad Request"))
        conn.close()
        return
    while True:
        await conn.read_request()
        await conn.send(GOOD)


@contextlib.contextmanager
def _blackhole() -> Iterator[int]:
    """A port where a connect neither succeeds nor fails: the backlog is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


class _Failing(Resolver):
    async def resolve(self, host: str, port: int, family: Any = 0) -> list[Any]:
        if host == "turbo.test":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, (host, port))]


class _Hanging(Resolver):
    async def resolve(self, host: str, port: int, family: Any = 0) -> list[Any]:
        if host == "turbo.test":
            await asyncio.Event().wait()
        return [(socket.AF_INET, (host, port))]


_RESOLVERS = {"fails": _Failing, "hangs": _Hanging}
