from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream

from tests.support.certificates import Certificates
from tests.support.phases import in_phase, require_phase
from turbo_tornado.transports.simple.connection import Connection
from turbo_tornado.transports.simple.deadlines import Deadlines
from turbo_tornado.transports.simple.pool import IdlePool
from turbo_tornado.transports.simple.watcher import LoopWatcher

#: Longer than any test.
LONG = 1000.0


class Reader:
    """An owner that receives the data of its connection."""

    def __init__(self) -> None:
        self._received: asyncio.Queue[bytes | None] = asyncio.Queue()

    def on_readable(self, connection: Connection) -> None:
        self._received.put_nowait(connection.receive())

    async def read(self) -> bytes | None:
        return await asyncio.wait_for(self._received.get(), 10)


class Watched(Connection):
    """A connection that reports its end."""

    __slots__ = ("closing",)

    def __init__(self, sock: socket.socket, key: Hashable) -> None:
        self.closing = asyncio.Event()
        sock.setblocking(False)
        super().__init__(LoopWatcher(IOLoop.current()), sock, key, Reader())

    def close(self) -> None:
        super().close()
        self.closing.set()


class Pair:
    """A connection and the socket of its peer."""

    def __init__(self, own: socket.socket, peer: socket.socket, key: Hashable) -> None:
        self.connection = Watched(own, key)
        self.peer = peer
        peer.setblocking(False)

    async def closed(self) -> None:
        """Return when the connection is closed."""
        await asyncio.wait_for(self.connection.closing.wait(), 10)

    def is_open(self) -> bool:
        """Whether the connection is open, from the side of the peer."""
        try:
            return self.peer.recv(1) != b""
        except BlockingIOError:
            return not self.connection.is_closed


def make_pool(max_idle: int, max_idle_per_key: int, idle_timeout: float) -> IdlePool:
    deadlines = Deadlines(asyncio.get_running_loop())
    return IdlePool(deadlines, max_idle, max_idle_per_key, idle_timeout)


MakePair = Callable[..., Pair]


@pytest.fixture
def pair() -> Iterator[MakePair]:
    pairs: list[Pair] = []

    def make(key: Hashable = "key") -> Pair:
        pairs.append(Pair(*socket.socketpair(), key))
        return pairs[-1]

    yield make
    for made in pairs:
        made.connection.close()
        made.peer.close()


def tcp_pair() -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
    return Pair(ours, peer, "key")


# Put and take


async def test_take_from_an_empty_pool() -> None:
    pool = make_pool(10, 10, LONG)
    assert pool.take("key") is None
    assert len(pool) == 0


async def test_take_returns_what_was_put(pair: MakePair) -> None:
    pool = make_pool(10, 10, LONG)
    one = pair()
    pool.put(one.connection)
    assert len(pool) == 1
    assert pool.take("key") is one.connection
    assert one.is_open()
    # Once.
    assert pool.take("key") is None
    assert len(pool) == 0


async def test_connection_is_returned_only_for_its_key(pair: MakePair) -> None:
    pool = make_pool(10, 10, LONG)
    context = ssl.create_default_context()
    keys: list[Hashable] = [
        ("host", 80, socket.AF_UNSPEC, None, None),
        ("other", 80, socket.AF_UNSPEC, None, None),
        ("host", 81, socket.AF_UNSPEC, None, None),
        ("host", 80, socket.AF_INET, None, None),
        ("host", 80, socket.AF_UNSPEC, "127.0.0.1", None),
        ("host", 80, socket.AF_UNSPEC, None, context),
    ]
    pairs = {key: pair(key) for key in keys[1:]}
    for one in pairs.values():
        pool.put(one.connection)
    assert pool.take(keys[0]) is None
    for key, one in pairs.items():
        assert pool.take(key) is one.connection
        assert pool.take(key) is None


async def test_most_recently_used_connection_is_first(pair: MakePair) -> None:
    pool = make_pool(10, 10, LONG)
    first, second, third = pair(), pair(), pair()
    for one in (first, second, third):
        pool.put(one.connection)
    assert pool.take("key") is third.connection
    assert pool.take("key") is second.connection
    pool.put(second.connection)
    assert pool.take("key") is second.connection
    assert pool.take("key") is first.connection


async def test_taken_connection_reports_to_its_owner(pair: MakePair) -> None:
    pool = make_pool(10, 10, LONG)
    one, reader = pair(), Reader()
    pool.put(one.connection)
    connection = pool.take("key")
    assert connection is one.connection
    connection.owner = reader
    one.peer.send(b"response")
    assert await reader.read() == b"response"
    # The pool does not refer to it.
    assert not connection.is_closed
    pool.put(connection)
    assert pool.take("key") is connection


# Limits


async def test_max_idle(pair: MakePair) -> None:
    pool = make_pool(2, 10, LONG)
    first, second, third = (pair(number) for number in range(3))
    for one in (first, second, third):
        pool.put(one.connection)
        assert len(pool) <= 2
    # The connection that was idle for the longest time is closed, with any key.
    assert not first.is_open()
    assert pool.take(0) is None
    assert pool.take(1) is second.connection
    assert pool.take(2) is third.connection


async def test_max_idle_counts_idle_connections_only(pair: MakePair) -> None:
    pool = make_pool(2, 10, LONG)
    first, second, third = pair(), pair(), pair()
    pool.put(first.connection)
    pool.put(second.connection)
    assert pool.take("key") is second.connection
    pool.put(third.connection)
    assert len(pool) == 2
    assert first.is_open()
    # It was used last, so it is the first.
    assert pool.take("key") is third.connection
    assert pool.take("key") is first.connection


async def test_max_idle_per_key(pair: MakePair) -> None:
    pool = make_pool(10, 2, LONG)
    pairs = [pair() for _ in range(4)]
    for one in pairs:
        pool.put(one.connection)
    assert len(pool) == 2
    assert sum(one.is_open() for one in pairs) == 2
    other = pair("other")
    pool.put(other.connection)
    assert len(pool) == 3
    while (connection := pool.take("key")) is not None:
        assert not connection.is_closed
    assert pool.take("other") is other.connection


@pytest.mark.parametrize(("max_idle", "max_idle_per_key"), [(0, 10), (10, 0), (0, 0)])
async def test_pool_with_max_idle_0(pair: MakePair, max_idle: int, max_idle_per_key: int) -> None:
    pool = make_pool(max_idle, max_idle_per_key, LONG)
    one = pair()
    pool.put(one.connection)
    assert not one.is_open()
    assert len(pool) == 0
    assert pool.take("key") is None


# Timeouts


async def test_idle_timeout(pair: MakePair) -> None:
    pool = make_pool(10, 10, 0.05)
    one = pair()
    started = time.monotonic()
    pool.put(one.connection)
    await one.closed()
    assert time.monotonic() - started >= 0.045
    assert not one.is_open()
    assert len(pool) == 0
    assert pool.take("key") is None


async def test_idle_timeout_of_each_connection(pair: MakePair) -> None:
    pool = make_pool(10, 10, 0.05)
    pairs = [pair(number % 2) for number in range(3)]
    starts: list[float] = []
    for one in pairs:
        starts.append(time.monotonic())
        pool.put(one.connection)
        await asyncio.sleep(0.02)
    for position, one in enumerate(pairs):
        await one.closed()
        assert time.monotonic() - starts[position] >= 0.045
        # In the order in which they became idle.
        assert len(pool) <= len(pairs) - position - 1
    assert len(pool) == 0


async def test_idle_timeout_does_not_apply_to_connections_in_use(pair: MakePair) -> None:
    pool = make_pool(10, 10, 0.02)
    used, idle = pair(), pair("other")
    pool.put(used.connection)
    pool.put(idle.connection)
    assert pool.take("key") is used.connection
    await idle.closed()
    assert used.is_open()


@in_phase
async def test_idle_timeout_begins_again_after_use(pair: MakePair) -> None:
    pool = make_pool(10, 10, 0.1)
    used, idle = pair(), pair("other")
    pool.put(used.connection)
    pool.put(idle.connection)
    await asyncio.sleep(0.05)
    taken = pool.take("key")
    require_phase(taken)
    assert taken is used.connection
    started = time.monotonic()
    pool.put(used.connection)
    await idle.closed()
    # On a busy machine, both timeouts may have expired.
    if time.monotonic() - started < 0.09:
        assert used.is_open()
    if not used.connection.is_closed:
        await used.closed()
    assert time.monotonic() - started >= 0.095
    assert len(pool) == 0


async def test_idle_timeout_after_the_pool_was_empty(pair: MakePair) -> None:
    pool = make_pool(10, 10, 0.02)
    for _ in range(2):
        one = pair()
        pool.put(one.connection)
        await one.closed()
        assert len(pool) == 0
    # Also after the timer expired with an empty pool.
    one, other = pair(), pair()
    pool.put(one.connection)
    pool.take("key")
    await asyncio.sleep(0.04)
    pool.put(other.connection)
    await other.closed()


# Close


async def test_close(pair: MakePair) -> None:
    pool = make_pool(10, 10, LONG)
    pairs = [pair(number % 2) for number in range(4)]
    for one in pairs:
        pool.put(one.connection)
    in_use = pool.take(0)
    assert in_use is pairs[2].connection
    pool.close()
    assert len(pool) == 0
    assert [one.is_open() for one in pairs] == [False, False, True, False]
    assert pool.take(1) is None
    pool.close()


async def test_close_leaves_no_timer(pair: MakePair) -> None:
    loop: Any = asyncio.get_running_loop()
    if not hasattr(loop, "_scheduled"):
        pytest.skip("uvloop does not show its timers")
    pool = make_pool(10, 10, 0.02)
    timers = set(loop._scheduled)
    pool.put(pair().connection)
    pool.close()
    left = set(loop._scheduled) - timers
    assert all(timer.cancelled() for timer in left)


# Connections that the peer has ended


def close(one: Pair) -> None:
    one.peer.close()


def shut_down(one: Pair) -> None:
    one.peer.shutdown(socket.SHUT_WR)


def send(one: Pair) -> None:
    one.peer.send(b"x")


def send_and_close(one: Pair) -> None:
    one.peer.send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    one.peer.close()


def reset(one: Pair) -> None:
    linger = struct.pack("ii", 1, 0)
    one.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    one.peer.close()


OVER = [close, shut_down, send, send_and_close]


@pytest.mark.parametrize("end", OVER)
async def test_closed_connection_is_dropped(pair: MakePair, end: Callable[[Pair], None]) -> None:
    pool = make_pool(10, 10, LONG)
    one, other = pair(), pair()
    pool.put(one.connection)
    pool.put(other.connection)
    end(one)
    # The pool drops it without a call.
    await one.closed()
    assert len(pool) == 1
    assert pool.take("key") is other.connection
    assert pool.take("key") is None


@pytest.mark.parametrize("end", OVER)
async def test_take_detects_events_that_the_loop_has_not_processed(
    pair: MakePair, end: Callable[[Pair], None]
) -> None:
    pool = make_pool(10, 10, LONG)
    one = pair()
    pool.put(one.connection)
    end(one)
    assert pool.take("key") is None
    assert one.connection.is_closed
    assert len(pool) == 0


@pytest.mark.parametrize("end", OVER)
async def test_take_skips_unusable_connections(pair: MakePair, end: Callable[[Pair], None]) -> None:
    pool = make_pool(10, 10, LONG)
    pairs = [pair() for _ in range(4)]
    for one in pairs:
        pool.put(one.connection)
    end(pairs[3])
    end(pairs[2])
    assert pool.take("key") is pairs[1].connection
    assert pairs[2].connection.is_closed and pairs[3].connection.is_closed
    assert len(pool) == 1


@pytest.mark.parametrize("waits", [False, True])
async def test_reset_connection_is_dropped(waits: bool) -> None:
    pool = make_pool(10, 10, LONG)
    one = tcp_pair()
    pool.put(one.connection)
    reset(one)
    if waits:
        await one.closed()
        assert len(pool) == 0
    assert pool.take("key") is None
    assert one.connection.is_closed


@pytest.mark.parametrize("end", OVER)
async def test_put_of_a_connection_that_the_peer_closed(
    pair: MakePair, end: Callable[[Pair], None]
) -> None:
    pool = make_pool(10, 10, LONG)
    one = pair()
    end(one)
    pool.put(one.connection)
    assert pool.take("key") is None
    assert one.connection.is_closed
    assert len(pool) == 0
    # The pool does not return it later either.
    other = pair()
    end(other)
    pool.put(other.connection)
    if not other.connection.is_closed:
        await other.closed()
    await asyncio.sleep(0)
    assert len(pool) == 0


async def test_put_of_a_closed_connection(pair: MakePair) -> None:
    pool = make_pool(10, 10, LONG)
    one = pair()
    one.connection.close()
    pool.put(one.connection)
    assert len(pool) == 0
    assert pool.take("key") is None


async def test_connection_closed_outside_the_pool(pair: MakePair) -> None:
    pool = make_pool(10, 10, LONG)
    one = pair()
    pool.put(one.connection)
    one.connection.close()
    assert pool.take("key") is None
    await asyncio.sleep(0)
    assert len(pool) == 0


# TLS


MakeTLS = Callable[[], Awaitable[tuple[Watched, IOStream]]]


@pytest.fixture
async def tls_pair(certificates: Certificates) -> AsyncIterator[MakeTLS]:
    """Create a TLS connection, and the stream of its peer."""
    context = ssl.create_default_context(cafile=certificates.ca)
    made: list[Watched | IOStream] = []

    async def make() -> tuple[Watched, IOStream]:
        own, other = socket.socketpair()
        peer = IOStream(other)
        accepting = peer.start_tls(True, certificates.server_context())
        connected = await asyncio.to_thread(
            context.wrap_socket, own, server_hostname="localhost", suppress_ragged_eofs=False
        )
        connection, stream = Watched(connected, "key"), await accepting
        made.extend((connection, stream))
        return connection, stream

    yield make
    for one in made:
        one.close()


async def test_tls_connection(tls_pair: MakeTLS) -> None:
    pool = make_pool(10, 10, LONG)
    connection, peer = await tls_pair()
    reader = Reader()
    # OpenSSL processes the tickets that the peer sends after the handshake.
    for _ in range(3):
        pool.put(connection)
        await asyncio.sleep(0)
        assert pool.take("key") is connection
        connection.owner = reader
        await peer.write(b"response")
        received = None
        while received is None:
            received = await reader.read()
        assert received == b"response"


@pytest.mark.parametrize("act", ["close", "send"])
@pytest.mark.parametrize("waits", [False, True])
async def test_tls_connection_that_the_peer_closed(
    tls_pair: MakeTLS, act: str, waits: bool
) -> None:
    pool = make_pool(10, 10, LONG)
    connection, peer = await tls_pair()
    pool.put(connection)
    await asyncio.sleep(0)
    if act == "close":
        peer.close()
    else:
        # The socket has all data when this returns.
        peer.write(b"x")
    if waits:
        await asyncio.wait_for(connection.closing.wait(), 10)
        assert len(pool) == 0
    assert pool.take("key") is None
    assert connection.is_closed


@pytest.mark.parametrize("before", ["put", "wait", "take"])
async def test_tls_connection_with_invalid_data(tls_pair: MakeTLS, before: str) -> None:
    pool = make_pool(10, 10, LONG)
    connection, peer = await tls_pair()
    if before != "put":
        pool.put(connection)
        await asyncio.sleep(0)
    # Bypasses the TLS of the peer.
    socket.socket.send(peer.socket, b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    if before == "put":
        pool.put(connection)
    if before == "wait":
        await asyncio.wait_for(connection.closing.wait(), 10)
    assert pool.take("key") is None
    assert connection.is_closed
    assert len(pool) == 0
