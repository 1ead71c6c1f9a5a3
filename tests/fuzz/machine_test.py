"""Fetch, respond, cancel and close in any order on one transport, compared with a model.

The model has the state of every connection from the side of the peers: idle, or carrying a
request. The state determines which events are allowed next.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import struct
import termios
import time
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tornado.concurrent import Future
from tornado.ioloop import IOLoop

from tests.support import Connection, RawPeer, Request, response
from turbo_tornado import HTTPClient, HTTPResponse, errors

from .bench import LONG, TRANSPORTS, Bench, make_transport, profile, turns
from .checks import check_response

ORIGINS = 2
#: Seconds by the clock of the loop, which a rule advances by `STEP`. Two steps exceed the
#: timeout of an idle connection, and three steps that of a request with a timeout. The real
#: time that passes meanwhile is not relevant.
STEP, IDLE_TIMEOUT, REQUEST_TIMEOUT = 60_000.0, 100_000.0, 150_000.0


class SteppingLoop(asyncio.SelectorEventLoop):
    """A loop whose clock can be advanced."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


class Line:
    """A connection from the side of the peer."""

    def __init__(self, origin: int, conn: Connection) -> None:
        self.origin = origin
        self.conn = conn
        #: The fetch that it carries.
        self.fetch: Fetch | None = None
        #: The number of requests on it.
        self.requests = 0
        #: Whether the client may send a request on it.
        self.idle = False
        self.idle_since = 0.0
        #: Whether the client may have closed it, although nothing is wrong with it.
        self.may_go = False
        self.gone = asyncio.Event()


class Fetch:
    """A fetch in progress."""

    def __init__(self, number: int, method: str, keep_alive: bool, limit: float) -> None:
        self.number = number
        self.method = method
        self.keep_alive = keep_alive
        self.limit = limit
        self.client: HTTPClient
        self.future: Future[HTTPResponse]
        self.line: Line
        self.began = 0.0
        self.partial = False

    @property
    def body(self) -> bytes:
        return b"answer %d" % self.number


class Machine(RuleBasedStateMachine):
    transport: str
    bench: Bench
    peers: list[Desk]

    def __init__(self) -> None:
        super().__init__()
        self.loop: Any = self.bench.loop
        self.numbers = itertools.count(1)
        self.fetches: list[Fetch] = []
        #: Connections that neither side has closed.
        self.lines: list[Line] = []
        #: How often the request of each fetch has arrived.
        self.sent: dict[int, int] = {}
        for desk in self.peers:
            desk.machine = self
        self.carrier = self.bench.run(self._make())

    async def _make(self) -> Any:
        loop = self.loop
        IOLoop.current().time = lambda: time.time() + loop.ahead  # type: ignore[method-assign]
        return make_transport(self.transport, idle_timeout=IDLE_TIMEOUT)

    # Reports of the peers

    def arrived(self, line: Line, request: Request) -> None:
        number = int(request.target[1:])
        self.sent[number] = self.sent.get(number, 0) + 1
        (fetch,) = [fetch for fetch in self.fetches if fetch.number == number]
        assert request.method == fetch.method
        assert line.fetch is None, "two requests at once on a connection"
        if line.requests:
            assert line.idle, "a request on a connection that must not be used again"
            assert fetch.keep_alive, "a kept connection for keep_alive=False"
        line.requests += 1
        line.idle = line.may_go = False
        line.fetch = fetch
        fetch.line = line

    # Rules

    @initialize()
    def first(self) -> None:
        """Start with an idle connection, because most events require one."""
        self.fetch(0, "GET", True, False)
        self.answer(0, "well")

    # Few at once, so that some connections become idle.
    @precondition(lambda self: len(self.fetches) < 3)
    @rule(
        origin=st.sampled_from([0, 0, *range(ORIGINS)]),
        method=st.sampled_from(["POST", "GET"]),
        keep_alive=st.sampled_from([True, True, True, False]),
        limited=st.booleans(),
    )
    def fetch(self, origin: int, method: str, keep_alive: bool, limited: bool) -> None:
        limit = REQUEST_TIMEOUT if limited and self.steps else 0
        self.bench.run(self._fetch(origin, method, keep_alive, limit))

    async def _fetch(self, origin: int, method: str, keep_alive: bool, limit: float) -> None:
        fetch = Fetch(next(self.numbers), method, keep_alive, limit)
        peer = self.peers[origin]
        idle = [
            line for line in self.lines if line.origin == origin and line.idle and not line.may_go
        ]
        self.fetches.append(fetch)
        fetch.client = HTTPClient(transport=self.carrier)
        fetch.began = self.loop.time()
        before = peer.arrivals
        fetch.future = fetch.client.fetch(
            peer.url(f"/{fetch.number}"),
            method=method,
            body=b"body" if method == "POST" else None,
            keep_alive=keep_alive,
            request_timeout=limit,
            connect_timeout=0,
        )
        await peer.wait_for(lambda: peer.arrivals > before)
        assert not fetch.future.done()
        if idle and keep_alive:
            assert fetch.line in idle, "an idle connection was not used"

    @rule(origin=st.integers(0, ORIGINS - 1), method=st.sampled_from(["POST", "GET"]))
    def whole(self, origin: int, method: str) -> None:
        self.fetch(origin, method, True, False)
        self.answer(len(self.fetches) - 1, "well")

    @property
    def steps(self) -> bool:
        # libcurl has a separate clock.
        return self.transport == "simple"

    @precondition(lambda self: self.fetches)
    @rule(which=st.integers(0, 100))
    def busy(self, which: int) -> None:
        fetch = self.fetches[which % len(self.fetches)]

        async def again() -> None:
            res = await fetch.client.fetch(self.peers[0].url("/0"))
            check_response(res)
            assert res.error is not None
            assert res.error.code is errors.BUSY
            await turns(5)

        self.bench.run(again())

    @precondition(lambda self: self.fetches)
    @rule(
        which=st.integers(0, 100),
        how=st.sampled_from(
            ["well", "well", "well", "chunked", "Connection: close", "extra", "late extra"]
        ),
    )
    def answer(self, which: int, how: str) -> None:
        self.bench.run(self._answer(self.fetches[which % len(self.fetches)], how))

    async def _answer(self, fetch: Fetch, how: str) -> None:
        line = fetch.line
        if fetch.partial:
            data = fetch.body[1:]
        elif how == "chunked":
            data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
                len(fetch.body), fetch.body,
            )  # fmt: skip
        else:
            data = response(fetch.body, *[how] * how.startswith("Connection"))
        stays = fetch.keep_alive and (fetch.partial or not how.startswith("Connection"))
        line.conn.writer.write(data + b"extra" * (how == "extra"))
        if how == "late extra":
            # The client can read it with the response, or when the connection is idle.
            line.conn.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nextra")
        res = await self._ended(fetch)
        assert res.error is None, res
        assert res.body == fetch.body
        if stays and "extra" not in how:
            line.idle = True
            line.idle_since = self.loop.time()
        else:
            await self._left(line)

    async def _ended(self, fetch: Fetch) -> HTTPResponse:
        res = await fetch.future
        check_response(res)
        self.fetches.remove(fetch)
        fetch.line.fetch = None
        return res

    async def _left(self, line: Line) -> None:
        """Wait until the client has closed its side, or fail."""
        line.idle = False
        if not line.gone.is_set() and self.transport == "curl":
            # libcurl closes an unusable connection when it needs a connection the next time.
            pass
        else:
            await line.gone.wait()
        if line in self.lines:
            self.lines.remove(line)

    @precondition(lambda self: any(not fetch.partial for fetch in self.fetches))
    @rule(which=st.integers(0, 100))
    def begin_answer(self, which: int) -> None:
        waiting = [fetch for fetch in self.fetches if not fetch.partial]
        fetch = waiting[which % len(waiting)]
        fetch.partial = True
        fetch.line.conn.writer.write(response(fetch.body)[: 1 - len(fetch.body)])
        self.bench.run(turns(5))
        assert not fetch.future.done()

    @precondition(lambda self: self.fetches)
    @rule(which=st.integers(0, 100))
    def cancel(self, which: int) -> None:
        self.bench.run(self._cancel(self.fetches[which % len(self.fetches)]))

    async def _cancel(self, fetch: Fetch) -> None:
        assert fetch.future.cancel()
        self.fetches.remove(fetch)
        fetch.line.fetch = None
        await fetch.line.gone.wait()
        self.lines.remove(fetch.line)
        assert fetch.future.cancelled()
        # The client is free.
        res = await fetch.client.fetch("")
        assert res.error is not None
        assert res.error.code is errors.INVALID_URL

    @precondition(lambda self: self.fetches)
    @rule(which=st.integers(0, 100), reset=st.booleans())
    def close_in_flight(self, which: int, reset: bool) -> None:
        self.bench.run(self._close(self.fetches[which % len(self.fetches)], reset))

    @precondition(lambda self: any(line.idle for line in self.lines))
    @rule(method=st.sampled_from(["POST", "GET"]), reset=st.booleans())
    def close_kept(self, method: str, reset: bool) -> None:
        origin = next(line.origin for line in self.lines if line.idle)
        self.fetch(origin, method, True, False)
        self.bench.run(self._close(self.fetches[-1], reset))

    async def _close(self, fetch: Fetch, reset: bool) -> None:
        line, peer = fetch.line, self.peers[fetch.line.origin]
        reused, before = line.requests > 1, peer.arrivals
        line.fetch = None
        self.lines.remove(line)
        if reused and self.transport == "curl":
            # libcurl uses another connection for a retry. It closes that connection if the
            # transport prevents the retry.
            for other in self.lines:
                other.may_go |= other.idle and other.origin == line.origin
        if reset:
            line.conn.reset()
        else:
            line.conn.close()
        if reused and fetch.method == "GET" and not fetch.partial:
            await peer.wait_for(lambda: peer.arrivals > before)
            assert fetch.line.requests == 1, "sent again on a kept connection"
            assert self.sent[fetch.number] == 2
            return
        res = await self._ended(fetch)
        assert res.error is not None
        in_order = not reset and not fetch.partial
        assert res.error.code is (errors.NO_HEADERS if in_order else errors.SOCKET_ERROR)

    @precondition(lambda self: any(line.idle and not line.may_go for line in self.lines))
    @rule(
        which=st.integers(0, 100),
        how=st.sampled_from(["close", "reset", "speak"]),
        then=st.sampled_from([None, "GET", "POST"]),
    )
    def touch_idle(self, which: int, how: str, then: str | None) -> None:
        idle = [line for line in self.lines if line.idle and not line.may_go]
        line = idle[which % len(idle)]
        line.idle = False
        self.lines.remove(line)
        self.bench.run(self._touch(line, how, then))

    async def _touch(self, line: Line, how: str, then: str | None) -> None:
        if how == "reset":
            line.conn.reset()
            # It takes effect in the next iteration of the loop.
            await turns(1)
        elif how == "close":
            line.conn.close()
            delivered(line.conn)
        else:
            line.conn.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
            delivered(line.conn)
        if then is not None:
            # At once, before the loop has processed the event.
            await self._fetch(line.origin, then, True, 0)

    @precondition(lambda self: self.steps)
    @rule()
    def advance(self) -> None:
        # While the loop is blocked. The bench has a separate limit.
        self.loop.ahead += STEP
        self.bench.run(self._advance())

    async def _advance(self) -> None:
        now = self.loop.time()
        await turns(3)
        for fetch in list(self.fetches):
            if fetch.limit and now - fetch.began >= REQUEST_TIMEOUT:
                line = fetch.line
                res = await self._ended(fetch)
                assert res.error is not None
                assert res.error.code is errors.REQUEST_TIMEOUT
                await self._left(line)
        for line in list(self.lines):
            if line.idle and now - line.idle_since >= IDLE_TIMEOUT:
                await self._left(line)

    # Invariants

    @invariant()
    def nothing_else_has_happened(self) -> None:
        for desk in self.peers:
            assert not desk.peer.failures, desk.peer.failures
        for fetch in self.fetches:
            assert not fetch.future.done()
            assert fetch.line.fetch is fetch
            limit = 2 if fetch.method == "GET" else 1
            assert self.sent[fetch.number] <= limit
        for line in list(self.lines):
            if line.may_go and line.gone.is_set():
                self.lines.remove(line)
                continue
            assert line.idle or line.fetch, "a connection for nothing"
            assert not line.gone.is_set(), "a connection that was to be kept was closed"
        if self.transport == "simple":
            assert len(self.carrier.pool) >= sum(line.idle for line in self.lines)
            assert len(self.carrier.requests.active) == len(self.fetches)

    def teardown(self) -> None:
        self.bench.run(self._end())

    async def _end(self) -> None:
        for fetch in list(self.fetches):
            await self._answer(fetch, "well")
        self.carrier.close()
        for desk in self.peers:
            await asyncio.wait_for(desk.empty(), LONG)


class Desk:
    """A peer that reports its events to a machine, which chooses the responses."""

    def __init__(self, bench: Bench, origin: int) -> None:
        self.origin = origin
        self.peer: RawPeer = bench.peer(self._script)
        self.url = self.peer.url
        self.machine: Machine
        self.arrivals = 0
        self._open: set[Line] = set()
        self._changed = asyncio.Condition()

    async def _script(self, conn: Connection) -> None:
        machine = self.machine
        line = Line(self.origin, conn)
        self._open.add(line)
        try:
            while True:
                request = await conn.read_request()
                if not line.requests:
                    machine.lines.append(line)
                machine.arrived(line, request)
                self.arrivals += 1
                async with self._changed:
                    self._changed.notify_all()
        finally:
            line.gone.set()
            self._open.discard(line)
            async with self._changed:
                self._changed.notify_all()

    async def wait_for(self, condition: Any) -> None:
        async with self._changed:
            await self._changed.wait_for(condition)

    async def empty(self) -> None:
        """Return when the client has closed all connections."""
        await self.wait_for(lambda: not self._open)


def delivered(conn: Connection) -> None:
    """Wait until the kernel of the client has received the sent data and the end."""
    sock = conn.writer.get_extra_info("socket")
    until = time.monotonic() + LONG
    while struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0]:
        assert time.monotonic() < until
        time.sleep(0)


@pytest.mark.parametrize("name", TRANSPORTS)
def test_any_order(name: str) -> None:
    # With any policy: uvloop sends the data of an iteration at its end, and has a separate clock.
    bench = Bench(SteppingLoop)
    desks = [Desk(bench, origin) for origin in range(ORIGINS)]
    kind = type("Machine", (Machine,), {"transport": name, "bench": bench, "peers": desks})
    try:
        run_state_machine_as_test(kind, settings=profile(40, stateful_step_count=30))
    finally:
        bench.close()
