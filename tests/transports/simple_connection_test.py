"""`Connection`, `Deadlines` and `Connector` of the simple transport, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop
from tornado.iostream import StreamClosedError

from tests.support import MakePeer, response
from turbo_tornado.failures import ConnectFailed
from turbo_tornado.request.build import build_request
from turbo_tornado.request.keywords import resolve
from turbo_tornado.request.tls import TLS
from turbo_tornado.transports.simple.connect import Connector
from turbo_tornado.transports.simple.connection import Connection
from turbo_tornado.transports.simple.deadlines import Deadlines
from turbo_tornado.transports.simple.watcher import EpollWatcher, LoopWatcher, Watcher

#: More than the buffers of a connection hold.
LARGE = bytes(range(256)) * 65536

WATCHERS: list[Any] = [LoopWatcher]
if hasattr(select, "epoll"):
    WATCHERS.append(EpollWatcher)


class Recorder:
    """An owner that counts its events and stores the received data."""

    def __init__(self) -> None:
        self.events = 0
        self.received = b""
        self.ended = asyncio.Event()

    def on_readable(self, connection: Connection) -> None:
        self.events += 1
        # An exchange also receives until there is no more data.
        while not connection.is_closed:
            try:
                data = connection.receive()
            except OSError:
                data = b""
            if data is None:
                return
            self.received += data
            if not data:
                connection.close()
                self.ended.set()


@pytest.fixture(params=WATCHERS, ids=lambda kind: kind.__name__)
async def watcher(request: pytest.FixtureRequest) -> AsyncIterator[Watcher]:
    watcher = request.param(IOLoop.current())
    yield watcher
    watcher.close()


Pair = tuple[Connection, socket.socket]


@pytest.fixture
async def pair(watcher: Watcher) -> AsyncIterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        own = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
    own.setblocking(False)
    peer.setblocking(False)
    connection = Connection(watcher, own, "key", Recorder())
    yield connection, peer
    connection.close()
    peer.close()


def recorder_of(connection: Connection) -> Recorder:
    assert isinstance(connection.owner, Recorder)
    return connection.owner


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


async def read(peer: socket.socket, size: int) -> bytes:
    loop, data = asyncio.get_running_loop(), b""
    while len(data) < size:
        data += await loop.sock_recv(peer, 1 << 20)
    return data


async def test_writes_unsent_data_in_order(pair: Pair) -> None:
    connection, peer = pair
    connection.write(LARGE)
    assert connection.is_written
    assert not connection.is_sent
    connection.write(b"end")
    waiting = [connection.drain(), connection.drain()]
    assert await asyncio.wait_for(read(peer, len(LARGE) + 3), 30) == LARGE + b"end"
    await asyncio.wait_for(asyncio.gather(*waiting), 10)
    assert connection.is_sent
    assert await connection.drain() is None


@pytest.mark.parametrize("end", [socket.socket.close, reset])
async def test_drain_fails_when_the_peer_ends(
    pair: Pair, end: Callable[[socket.socket], None]
) -> None:
    connection, peer = pair
    connection.write(LARGE)
    draining = connection.drain()
    end(peer)
    with pytest.raises(StreamClosedError):
        await asyncio.wait_for(draining, 10)
    await asyncio.wait_for(recorder_of(connection).ended.wait(), 10)


async def test_drain_fails_when_the_connection_is_closed(pair: Pair) -> None:
    connection, _ = pair
    connection.write(LARGE)
    draining = connection.drain()
    connection.close()
    with pytest.raises(StreamClosedError):
        await draining
    with pytest.raises(StreamClosedError):
        await connection.drain()


async def test_data_is_received_after_a_write_error(pair: Pair) -> None:
    connection, peer = pair
    # The peer sends data and closes, without having read the data of the client.
    connection.write(b"unread")
    peer.send(b"too large")
    peer.close()
    connection.write(b"x")
    connection.write(b"x")
    await asyncio.wait_for(recorder_of(connection).ended.wait(), 10)
    assert recorder_of(connection).received == b"too large"
    assert not connection.is_sent


@pytest.mark.parametrize("end", [socket.socket.close, reset])
async def test_paused_connection_does_not_report_events(
    pair: Pair, end: Callable[[socket.socket], None]
) -> None:
    connection, peer = pair
    recorder = recorder_of(connection)
    connection.pause_reading()
    peer.send(b"data")
    end(peer)
    for _ in range(10):
        await asyncio.sleep(0)
    # Neither data nor an error calls the owner, or wakes the loop repeatedly.
    assert recorder.events == 0
    connection.resume_reading()
    await asyncio.wait_for(recorder.ended.wait(), 10)


async def test_event_of_a_closed_connection_is_ignored(watcher: Watcher) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    connections: list[Connection] = []

    class Closer(Recorder):
        def on_readable(self, connection: Connection) -> None:
            super().on_readable(connection)
            for other in connections:
                other.close()

    for own, _ in pairs:
        own.setblocking(False)
        connections.append(Connection(watcher, own, "key", Closer()))
    for _, peer in pairs:
        peer.send(b"data")
    await asyncio.sleep(0.05)
    assert sum(recorder_of(connection).events for connection in connections) == 1
    for _, peer in pairs:
        peer.close()


# Deadlines


@pytest.fixture
async def deadlines() -> AsyncIterator[Deadlines]:
    deadlines = Deadlines(asyncio.get_running_loop())
    yield deadlines
    deadlines.close()


@contextlib.contextmanager
def stopped_clock(deadlines: Deadlines) -> Iterator[None]:
    """Stop the clock, so that a pause of the process does not change the order of deadlines."""
    clock, now = deadlines.time, deadlines.time()
    deadlines.time = lambda: now
    yield
    deadlines.time = clock


async def test_deadlines_expire_in_order(deadlines: Deadlines) -> None:
    expired: list[str] = []
    done = asyncio.Event()
    with stopped_clock(deadlines):
        deadlines.add("last", 0.09, lambda item: (expired.append(item), done.set()))
        for item, seconds in (("b", 0.05), ("a", 0.02), ("c", 0.05), ("dropped", 0.02)):
            deadlines.add(item, seconds, expired.append)
    deadlines.discard("dropped", 0.02)
    deadlines.discard("never added", 0.02)
    deadlines.discard("never added", 7)
    await asyncio.wait_for(done.wait(), 10)
    assert expired == ["a", "b", "c", "last"]


async def test_order_of_deadlines_in_a_late_loop(deadlines: Deadlines) -> None:
    expired: list[str] = []
    with stopped_clock(deadlines):
        for item, seconds in (("c", 0.03), ("b", 0.02), ("a", 0.01)):
            deadlines.add(item, seconds, expired.append)
    time.sleep(0.04)
    while len(expired) < 3:
        await asyncio.sleep(0)
    assert expired == ["a", "b", "c"]


async def test_a_deadline_can_end_and_add_others(deadlines: Deadlines) -> None:
    expired: list[str] = []
    done = asyncio.Event()

    def first(item: str) -> None:
        expired.append(item)
        deadlines.discard("second", 1000)
        deadlines.add("again", 0.03, lambda item: (expired.append(item), done.set()))

    deadlines.add("first", 0.01, first)
    # Not soon after the first one: if the loop is late, both expire in the same moment.
    deadlines.add("second", 1000, expired.append)
    await asyncio.wait_for(done.wait(), 10)
    assert expired == ["first", "again"]
    assert list(deadlines._groups) == []


async def test_later_deadline_does_not_postpone_the_others(deadlines: Deadlines) -> None:
    done = asyncio.Event()
    deadlines.add("first", 0.01, lambda item: deadlines.add("late", 1000, print))
    deadlines.add("second", 0.02, lambda item: done.set())
    await asyncio.wait_for(done.wait(), 10)


async def test_exception_of_a_callback_does_not_stop_other_deadlines(deadlines: Deadlines) -> None:
    loop, done, reported = asyncio.get_running_loop(), asyncio.Event(), []
    loop.set_exception_handler(lambda loop, context: reported.append(context))

    def fail(item: str) -> None:
        raise ArithmeticError(item)

    for item in ("first", "second"):
        deadlines.add(item, 0.01, fail)
    deadlines.add("third", 0.01, lambda item: done.set())
    await asyncio.wait_for(done.wait(), 10)
    assert [str(context["exception"]) for context in reported] == ["first", "second"]


async def test_timer_is_cancelled_with_the_last_deadline(deadlines: Deadlines) -> None:
    loop: Any = asyncio.get_running_loop()
    if not hasattr(loop, "_scheduled"):
        pytest.skip("uvloop does not show its timers")
    before = set(loop._scheduled)
    for seconds in (10, 20):
        deadlines.add("item", seconds, print)
    for seconds in (10, 20):
        deadlines.discard("item", seconds)
    assert all(timer.cancelled() for timer in set(loop._scheduled) - before)


# Connecting


def connector(watcher: Watcher, url: str) -> Connector:
    request = build_request(url, resolve({}, {}), TLS.from_options(None), 1000)
    return Connector(watcher, None, request)


async def test_connects_at_once_on_loopback(watcher: Watcher, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"fine"))
    sock = connector(watcher, peer.url()).connect_at_once()
    assert sock is not None
    with sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not sock.getblocking()


async def test_connect_reports_a_refused_connection(watcher: Watcher, closed_port: int) -> None:
    connecting = connector(watcher, f"http://127.0.0.1:{closed_port}/")
    assert connecting.connect_at_once() is None
    with pytest.raises(ConnectFailed, match="refused"):
        await connecting.connect(None)


@pytest.fixture
def full_backlog() -> Iterator[int]:
    """A port that accepts connections only when its queue is emptied."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        clients = [socket.socket() for _ in range(4)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        yield port
        for client in clients:
            client.close()


async def test_waiting_attempt_can_be_closed(watcher: Watcher, full_backlog: int) -> None:
    connecting = connector(watcher, f"http://127.0.0.1:{full_backlog}/")
    assert connecting.connect_at_once() is None
    assert connecting.phase == f"while connecting to 127.0.0.1:{full_backlog}"
    # A ResourceWarning would fail the test.
    connecting.close()


async def test_waiting_attempt_can_be_cancelled(watcher: Watcher, full_backlog: int) -> None:
    connecting = connector(watcher, f"http://127.0.0.1:{full_backlog}/")
    assert connecting.connect_at_once() is None
    task = asyncio.ensure_future(connecting.connect(None))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
