"""`IdlePool`: the connections that wait for their next request.

A connection is in the pool only while nothing is going on on it. While it waits, a
read is pending: it resolves when the peer closes or says something out of turn,
either of which ends the connection, and it becomes the first read of the next
response when the connection is taken.
"""

from __future__ import annotations

import functools
import socket
from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple, cast

from tornado.concurrent import Future
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream

#: How much one read of a response takes at most, in bytes.
READ_SIZE = 262144


class IdleConnection(NamedTuple):
    """A stream with nothing going on, and the read that watches it."""

    key: Hashable
    stream: IOStream
    read: Future[bytes]
    since: float


class IdlePool:
    """Idle connections by key, the one that was used last first.

    :arg int max_idle: how many may wait in all; the one that waited longest goes.
    :arg int max_idle_per_key: how many may wait for one key.
    :arg float idle_timeout: seconds after which a waiting connection is closed.

    The key is everything that makes two connections different: host, port, address
    family, source address and TLS context.
    """

    def __init__(self, max_idle: int, max_idle_per_key: int, idle_timeout: float) -> None:
        self.io_loop = IOLoop.current()
        self.max_idle = max_idle
        self.max_idle_per_key = max_idle_per_key
        self.idle_timeout = idle_timeout
        # Oldest first, both in all and for one key.
        self._all: OrderedDict[IOStream, IdleConnection] = OrderedDict()
        self._by_key: dict[Hashable, OrderedDict[IOStream, IdleConnection]] = {}
        self._timer: object | None = None

    def __len__(self) -> int:
        return len(self._all)

    def take(self, key: Hashable) -> IdleConnection | None:
        """Returns the connection of ``key`` that was used last, if any is in order."""
        while waiting := self._by_key.get(key):
            connection = next(reversed(waiting.values()))
            self._forget(connection)
            if not connection.read.done() and _is_silent(connection.stream):
                return connection
            connection.stream.close()
        return None

    def put(self, key: Hashable, stream: IOStream) -> None:
        """Shelves a stream on which a response has just ended."""
        waiting = self._by_key.get(key, ())
        if stream.closed() or self.max_idle < 1 or len(waiting) >= self.max_idle_per_key:
            stream.close()
            return
        try:
            read = cast("Future[bytes]", stream.read_bytes(READ_SIZE, partial=True))
        except OSError:
            # What it found at once was the end, or no TLS.
            stream.close()
            return
        connection = IdleConnection(key, stream, read, self.io_loop.time())
        self._all[stream] = connection
        self._by_key.setdefault(key, OrderedDict())[stream] = connection
        read.add_done_callback(functools.partial(self._on_read, connection))
        if len(self._all) > self.max_idle:
            self._drop(next(iter(self._all.values())))
        if self._timer is None:
            self._set_timer()

    def close(self) -> None:
        """Closes every connection."""
        if self._timer is not None:
            self.io_loop.remove_timeout(self._timer)
            self._timer = None
        while self._all:
            self._drop(next(iter(self._all.values())))

    def _on_read(self, connection: IdleConnection, read: Future[bytes]) -> None:
        if self._all.get(connection.stream) is connection:
            self._drop(connection)

    def _drop(self, connection: IdleConnection) -> None:
        self._forget(connection)
        connection.stream.close()

    def _forget(self, connection: IdleConnection) -> None:
        del self._all[connection.stream]
        waiting = self._by_key[connection.key]
        del waiting[connection.stream]
        if not waiting:
            del self._by_key[connection.key]

    def _set_timer(self) -> None:
        oldest = next(iter(self._all.values()), None)
        if oldest is None:
            self._timer = None
        else:
            self._timer = self.io_loop.call_at(oldest.since + self.idle_timeout, self._expire)

    def _expire(self) -> None:
        limit = self.io_loop.time() - self.idle_timeout
        while self._all:
            oldest = next(iter(self._all.values()))
            if oldest.since > limit:
                break
            self._drop(oldest)
        self._set_timer()


def _is_silent(stream: IOStream) -> bool:
    # The loop may not have seen yet what the kernel knows: a close, or bytes that
    # nobody asked for. One system call is cheaper than a request sent into the void.
    # The method of the base class, because an SSLSocket refuses to peek.
    try:
        socket.socket.recv(stream.socket, 1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
