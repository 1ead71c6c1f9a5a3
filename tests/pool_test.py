from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator
from typing import Any

import pytest
from tornado.iostream import IOStream, StreamClosedError

from tests.support.certificates import Certificates
from turbo_tornado.transports.pool import IdlePool

#: Longer than any test.
LONG = 1000.0


class Pair:
    """A connection: our stream, and the socket of the peer."""

    def __init__(self, ours: socket.socket, peer: socket.socket) -> None:
        self.stream = IOStream(ours)
        self.peer = peer
        peer.setblocking(False)

    async def closed(self) -> None:
        """Returns when our side has been closed."""
        closed = asyncio.Event()
        self.stream.set_close_callback(closed.set)
        await asyncio.wait_for(closed.wait(), 10)

    def is_open(self) -> bool:
        """Whether it is open, as far as the peer can tell."""
        try:
            return self.peer.recv(1) != b""
        except BlockingIOError:
            return not self.stream.closed()


MakePair = Callable[[], Pair]


@pytest.fixture
def pair() -> Iterator[MakePair]:
    pairs: list[Pair] = []

    def make() -> Pair:
        pairs.append(Pair(*socket.socketpair()))
        return pairs[-1]

    yield make
    for made in pairs:
        made.stream.close()
        made.peer.close()


def tcp_pair() -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
    return Pair(ours, peer)


def taken(pool: IdlePool, key: Hashable) -> IOStream | None:
    connection = pool.take(key)
    return None if connection is None else connection.stream


# Put and taken


async def test_nothing_to_take() -> None:
    pool = IdlePool(10, 10, LONG)
    assert pool.take("key") is None
    assert len(pool) == 0


async def test_what_was_put_is_taken(pair: MakePair) -> None:
    pool = IdlePool(10, 10, LONG)
    one = pair()
    pool.put("key", one.stream)
    assert len(pool) == 1
    assert taken(pool, "key") is one.stream
    assert one.is_open()
    # Once.
    assert pool.take("key") is None
    assert len(pool) == 0


async def test_only_for_its_key(pair: MakePair) -> None:
    pool = IdlePool(10, 10, LONG)
    context = ssl.create_default_context()
    keys: list[Hashable] = [
        ("host", 80, socket.AF_UNSPEC, None, None),
        ("other", 80, socket.AF_UNSPEC, None, None),
        ("host", 81, socket.AF_UNSPEC, None, None),
        ("host", 80, socket.AF_INET, None, None),
        ("host", 80, socket.AF_UNSPEC, "127.0.0.1", None),
        ("host", 80, socket.AF_UNSPEC, None, context),
    ]
    pairs = {key: pair() for key in keys[1:]}
    for key, one in pairs.items():
        pool.put(key, one.stream)
    assert pool.take(keys[0]) is None
    for key, one in pairs.items():
        assert taken(pool, key) is one.stream
        assert pool.take(key) is None


async def test_last_in_first_out(pair: MakePair) -> None:
    pool = IdlePool(10, 10, LONG)
    first, second, third = pair(), pair(), pair()
    for one in (first, second, third):
        pool.put("key", one.stream)
    assert taken(pool, "key") is third.stream
    connection = pool.take("key")
    assert connection is not None
    assert connection.stream is second.stream
    second.peer.send(b"response")
    await connection.read
    pool.put("key", second.stream)
    assert taken(pool, "key") is second.stream
    assert taken(pool, "key") is first.stream


async def test_the_read_that_waits_is_the_first_of_the_response(pair: MakePair) -> None:
    pool = IdlePool(10, 10, LONG)
    one = pair()
    pool.put("key", one.stream)
    connection = pool.take("key")
    assert connection is not None
    assert not connection.read.done()
    one.peer.send(b"response")
    assert await connection.read == b"response"
    # It is nothing that the pool would take offence at.
    await asyncio.sleep(0)
    assert not one.stream.closed()
    pool.put("key", one.stream)
    assert taken(pool, "key") is one.stream


# Bounds


async def test_max_idle(pair: MakePair) -> None:
    pool = IdlePool(2, 10, LONG)
    first, second, third = pair(), pair(), pair()
    for number, one in enumerate((first, second, third)):
        pool.put(number, one.stream)
        assert len(pool) <= 2
    # The one that waited longest went, whatever its key.
    assert not first.is_open()
    assert pool.take(0) is None
    assert taken(pool, 1) is second.stream
    assert taken(pool, 2) is third.stream


async def test_max_idle_counts_who_waits(pair: MakePair) -> None:
    pool = IdlePool(2, 10, LONG)
    first, second, third = pair(), pair(), pair()
    pool.put("key", first.stream)
    pool.put("key", second.stream)
    assert taken(pool, "key") is second.stream
    pool.put("key", third.stream)
    assert len(pool) == 2
    assert first.is_open()
    # Having been used, it is the youngest.
    assert taken(pool, "key") is third.stream
    assert taken(pool, "key") is first.stream


async def test_max_idle_per_key(pair: MakePair) -> None:
    pool = IdlePool(10, 2, LONG)
    pairs = [pair() for _ in range(4)]
    for one in pairs:
        pool.put("key", one.stream)
    assert len(pool) == 2
    assert sum(one.is_open() for one in pairs) == 2
    other = pair()
    pool.put("other", other.stream)
    assert len(pool) == 3
    while (stream := taken(pool, "key")) is not None:
        assert not stream.closed()
    assert taken(pool, "other") is other.stream


@pytest.mark.parametrize(("max_idle", "max_idle_per_key"), [(0, 10), (10, 0), (0, 0)])
async def test_nothing_is_kept(pair: MakePair, max_idle: int, max_idle_per_key: int) -> None:
    pool = IdlePool(max_idle, max_idle_per_key, LONG)
    one = pair()
    pool.put("key", one.stream)
    assert not one.is_open()
    assert len(pool) == 0
    assert pool.take("key") is None


# Time


async def test_idle_timeout(pair: MakePair) -> None:
    pool = IdlePool(10, 10, 0.05)
    one = pair()
    pool.put("key", one.stream)
    started = time.monotonic()
    await one.closed()
    assert time.monotonic() - started >= 0.045
    assert not one.is_open()
    assert len(pool) == 0
    assert pool.take("key") is None


async def test_idle_timeout_of_each(pair: MakePair) -> None:
    pool = IdlePool(10, 10, 0.05)
    ends: list[tuple[int, float]] = []
    starts: list[float] = []
    pairs = [pair() for _ in range(3)]
    ended = asyncio.Event()

    def note(number: int) -> None:
        ends.append((number, time.monotonic()))
        if len(ends) == len(pairs):
            ended.set()

    for number, one in enumerate(pairs):
        one.stream.set_close_callback(lambda number=number: note(number))
        pool.put(number % 2, one.stream)
        starts.append(time.monotonic())
        await asyncio.sleep(0.02)
    await asyncio.wait_for(ended.wait(), 10)
    assert [number for number, _ in ends] == [0, 1, 2]
    for (_, end), start in zip(ends, starts, strict=True):
        assert end - start >= 0.045
    assert len(pool) == 0


async def test_idle_timeout_is_not_for_what_is_in_use(pair: MakePair) -> None:
    pool = IdlePool(10, 10, 0.02)
    used, idle = pair(), pair()
    pool.put("key", used.stream)
    pool.put("other", idle.stream)
    assert taken(pool, "key") is used.stream
    await idle.closed()
    assert used.is_open()


async def test_idle_timeout_begins_again_after_use(pair: MakePair) -> None:
    pool = IdlePool(10, 10, 0.1)
    used, idle = pair(), pair()
    pool.put("key", used.stream)
    pool.put("other", idle.stream)
    await asyncio.sleep(0.05)
    connection = pool.take("key")
    assert connection is not None
    used.peer.send(b"response")
    await connection.read
    started = time.monotonic()
    pool.put("key", used.stream)
    await idle.closed()
    # On a busy machine both times may be over by now.
    if time.monotonic() - started < 0.09:
        assert used.is_open()
    if not used.stream.closed():
        await used.closed()
    assert time.monotonic() - started >= 0.095
    assert len(pool) == 0


async def test_idle_timeout_works_again_when_all_were_gone(pair: MakePair) -> None:
    pool = IdlePool(10, 10, 0.02)
    for _ in range(2):
        one = pair()
        pool.put("key", one.stream)
        await one.closed()
        assert len(pool) == 0
    # And when the timer found nobody.
    one, other = pair(), pair()
    pool.put("key", one.stream)
    pool.take("key")
    await asyncio.sleep(0.04)
    pool.put("key", other.stream)
    await other.closed()


# Close


async def test_close(pair: MakePair) -> None:
    pool = IdlePool(10, 10, LONG)
    pairs = [pair() for _ in range(4)]
    for number, one in enumerate(pairs):
        pool.put(number % 2, one.stream)
    in_use = taken(pool, 0)
    assert in_use is pairs[2].stream
    pool.close()
    assert len(pool) == 0
    assert [one.is_open() for one in pairs] == [False, False, True, False]
    assert pool.take(1) is None
    pool.close()


async def test_close_leaves_no_timer(pair: MakePair) -> None:
    loop: Any = asyncio.get_running_loop()
    if not hasattr(loop, "_scheduled"):
        pytest.skip("uvloop does not show its timers")
    pool = IdlePool(10, 10, 0.02)
    timers = set(loop._scheduled)
    pool.put("key", pair().stream)
    pool.close()
    left = set(loop._scheduled) - timers
    assert all(timer.cancelled() for timer in left)


# Connections that are over


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
async def test_dropped_when_it_is_over(pair: MakePair, end: Callable[[Pair], None]) -> None:
    pool = IdlePool(10, 10, LONG)
    one, other = pair(), pair()
    pool.put("key", one.stream)
    pool.put("key", other.stream)
    end(one)
    # Nobody has to ask.
    await one.closed()
    assert len(pool) == 1
    assert taken(pool, "key") is other.stream
    assert pool.take("key") is None


@pytest.mark.parametrize("end", OVER)
async def test_take_sees_what_the_loop_has_not_seen(
    pair: MakePair, end: Callable[[Pair], None]
) -> None:
    pool = IdlePool(10, 10, LONG)
    one = pair()
    pool.put("key", one.stream)
    end(one)
    assert pool.take("key") is None
    assert one.stream.closed()
    assert len(pool) == 0


@pytest.mark.parametrize("end", OVER)
async def test_take_goes_on_to_the_next(pair: MakePair, end: Callable[[Pair], None]) -> None:
    pool = IdlePool(10, 10, LONG)
    pairs = [pair() for _ in range(4)]
    for one in pairs:
        pool.put("key", one.stream)
    end(pairs[3])
    end(pairs[2])
    assert taken(pool, "key") is pairs[1].stream
    assert pairs[2].stream.closed() and pairs[3].stream.closed()
    assert len(pool) == 1


@pytest.mark.parametrize("waits", [False, True])
async def test_reset(waits: bool) -> None:
    pool = IdlePool(10, 10, LONG)
    one = tcp_pair()
    pool.put("key", one.stream)
    reset(one)
    if waits:
        await one.closed()
        assert len(pool) == 0
    assert pool.take("key") is None
    assert one.stream.closed()


@pytest.mark.parametrize("end", OVER)
async def test_put_of_what_is_over(pair: MakePair, end: Callable[[Pair], None]) -> None:
    pool = IdlePool(10, 10, LONG)
    one = pair()
    end(one)
    pool.put("key", one.stream)
    assert pool.take("key") is None
    assert one.stream.closed()
    assert len(pool) == 0
    # Nor is it there if somebody asks later.
    other = pair()
    end(other)
    pool.put("key", other.stream)
    if not other.stream.closed():
        await other.closed()
    await asyncio.sleep(0)
    assert len(pool) == 0


async def test_put_of_a_closed_stream(pair: MakePair) -> None:
    pool = IdlePool(10, 10, LONG)
    one = pair()
    one.stream.close()
    pool.put("key", one.stream)
    assert len(pool) == 0
    assert pool.take("key") is None


async def test_closed_by_somebody_else(pair: MakePair) -> None:
    pool = IdlePool(10, 10, LONG)
    one = pair()
    pool.put("key", one.stream)
    one.stream.close()
    assert pool.take("key") is None
    await asyncio.sleep(0)
    assert len(pool) == 0


# TLS


MakeTLS = Callable[[], Awaitable[tuple[IOStream, IOStream]]]


@pytest.fixture
async def tls_pair(certificates: Certificates) -> AsyncIterator[MakeTLS]:
    """Makes two ends of a connection with TLS, ours and that of the peer."""
    context = ssl.create_default_context(cafile=certificates.ca)
    streams: list[IOStream] = []

    async def make() -> tuple[IOStream, IOStream]:
        ours, peer = map(IOStream, socket.socketpair())
        streams[:] = await asyncio.gather(
            ours.start_tls(False, context, server_hostname="localhost"),
            peer.start_tls(True, certificates.server_context()),
        )
        return streams[0], streams[1]

    yield make
    for stream in streams:
        stream.close()


async def test_tls(tls_pair: MakeTLS) -> None:
    pool = IdlePool(10, 10, LONG)
    ours, peer = await tls_pair()
    # The tickets that the peer sends after the handshake are not for us.
    for _ in range(3):
        pool.put("key", ours)
        await asyncio.sleep(0)
        connection = pool.take("key")
        assert connection is not None
        assert connection.stream is ours
        await peer.write(b"response")
        assert await asyncio.wait_for(connection.read, 10) == b"response"


@pytest.mark.parametrize("act", ["close", "send"])
@pytest.mark.parametrize("waits", [False, True])
async def test_tls_that_is_over(tls_pair: MakeTLS, act: str, waits: bool) -> None:
    pool = IdlePool(10, 10, LONG)
    ours, peer = await tls_pair()
    pool.put("key", ours)
    await asyncio.sleep(0)
    closed = asyncio.Event()
    ours.set_close_callback(closed.set)
    if act == "close":
        peer.close()
    else:
        # All of it is in the socket when this returns.
        peer.write(b"x")
    if waits:
        await asyncio.wait_for(closed.wait(), 10)
        assert len(pool) == 0
    assert pool.take("key") is None
    assert ours.closed()
    with pytest.raises(StreamClosedError):
        await ours.write(b"request")


@pytest.mark.parametrize("before", ["put", "wait", "take"])
async def test_tls_that_is_no_tls_any_more(tls_pair: MakeTLS, before: str) -> None:
    pool = IdlePool(10, 10, LONG)
    ours, peer = await tls_pair()
    if before != "put":
        pool.put("key", ours)
        await asyncio.sleep(0)
    closed = asyncio.Event()
    ours.set_close_callback(closed.set)
    # Past the TLS of the peer.
    socket.socket.send(peer.socket, b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    if before == "put":
        pool.put("key", ours)
    if before == "wait":
        await asyncio.wait_for(closed.wait(), 10)
    assert pool.take("key") is None
    assert ours.closed()
    assert len(pool) == 0
