"""`Connection`: one connected socket, owned by an exchange or by the pool."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections import deque
from collections.abc import Hashable
from typing import Any, Protocol

from tornado.ioloop import IOLoop
from tornado.iostream import StreamClosedError

from .watcher import Watcher

#: Bytes that one `Connection.receive` returns at most. With a larger buffer, malloc maps and
#: unmaps memory for every call.
READ_SIZE = 65536
# Bytes that one system call sends at most, so that a fast peer does not stop the loop.
_WRITE_SIZE = 262144

_WANT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def is_cut_tls(error: Exception) -> bool:
    """Return whether a TLS connection has ended without close_notify."""
    # Python 3.12 also raises the base class with the same reason.
    return isinstance(error, ssl.SSLEOFError) or (
        isinstance(error, ssl.SSLError) and error.reason == "UNEXPECTED_EOF_WHILE_READING"
    )


class Owner(Protocol):
    """The receiver of the events of a connection."""

    def on_readable(self, connection: Connection) -> None:
        """Called when there is something to receive: data, the end, or an error."""


class Connection:
    """A connected socket, watched from creation to `close`.

    The registration stays when the owner changes between exchanges and the pool. A request
    therefore needs only the system calls `send` and `recv`.

    :arg sock: a connected, non-blocking socket; for TLS an `ssl.SSLSocket` whose handshake
        is done.
    :arg key: equal for connections that can carry each other's requests.
    """

    __slots__ = (
        "_blocked",
        "_drains",
        "_events",
        "_outgoing",
        "_poll",
        "_recv",
        "_sock",
        "_watcher",
        "idle_since",
        "is_closed",
        "is_written",
        "key",
        "owner",
        "write_error",
    )

    def __init__(self, watcher: Watcher, sock: socket.socket, key: Hashable, owner: Owner) -> None:
        self._watcher = watcher
        self._sock = sock
        #: Whether `close` has been called.
        self.is_closed = False
        self._outgoing: deque[memoryview] = deque()
        self._drains: list[asyncio.Future[None]] = []
        # The direction that TLS continues with when the other one is ready.
        self._blocked = 0
        # `SSLSocket.recv` only calls `read`. The direct call saves a Python frame.
        self._recv = sock.read if isinstance(sock, ssl.SSLSocket) else sock.recv
        self._poll: Any = None
        self.key = key
        #: When the connection became idle, on the clock of the deadlines.
        self.idle_since = 0.0
        self.owner = owner
        #: Whether any byte of the current request has been sent.
        self.is_written = False
        #: The error of a write.
        self.write_error: OSError | None = None
        self._events = IOLoop.READ
        watcher.add(sock, self._events, self._on_events)

    @property
    def is_sent(self) -> bool:
        """Whether everything that was written has been sent."""
        return not self._outgoing and self.write_error is None

    @property
    def is_broken(self) -> bool:
        """Whether nothing can be sent any more."""
        return self.is_closed or self.write_error is not None

    def write(self, data: bytes) -> None:
        """Send ``data``: what the socket accepts now, and the rest later.

        A write error is not raised: the peer may have sent a response or an alert before.
        It is in ``write_error``, and receiving ends with the same error or with the end.
        """
        sent = 0
        if not self._outgoing and len(data) <= _WRITE_SIZE:
            sent = self._send_once(data)
            if sent == len(data):
                return
        view = memoryview(data)[sent:]
        if not self._outgoing:
            view = view[self._send(view[:_WRITE_SIZE]) :]
        if view and self.write_error is None:
            self._outgoing.append(view)
            self._watch_outgoing()

    def drain(self) -> asyncio.Future[None]:
        """Return a future that is done when everything that was written has been sent.

        Its exception is a `StreamClosedError` when the connection breaks or is closed.
        """
        # One future for each call, because the caller can cancel it.
        drain: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # The caller may ignore the exception.
        drain.add_done_callback(_retrieve)
        self._drains.append(drain)
        if not self._outgoing or self.is_closed:
            self._end_drains()
        return drain

    def receive(self) -> bytes | None:
        """Return the next bytes, ``b""`` at the end, ``None`` if there is nothing yet.

        :raises OSError: when the connection is broken.
        """
        try:
            return self._recv(READ_SIZE)
        except _WANT as want:
            self._on_want(want)
            return None

    def receive_into(self, buffer: memoryview) -> int | None:
        """Receive into ``buffer`` and return the number of bytes, as `receive`.

        :raises OSError: when the connection is broken.
        """
        try:
            return self._sock.recv_into(buffer)
        except _WANT as want:
            self._on_want(want)
            return None

    def is_quiet(self) -> bool:
        """Return whether the peer has neither closed nor sent anything.

        The kernel can have events that the loop has not polled yet.
        """
        sock = self._sock
        if self._poll is None and hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(sock, select.POLLIN)
        # Cheaper than a `recv` that raises.
        if self._poll is not None and not self._poll.poll(0):
            # OpenSSL can hold decrypted data of a record.
            return not (isinstance(sock, ssl.SSLSocket) and sock.pending())
        try:
            sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        return False

    @property
    def is_reading(self) -> bool:
        """Whether reading is not paused."""
        return bool(self._events & IOLoop.READ)

    def pause_reading(self) -> None:
        """Stop calling the owner, so that the peer must wait."""
        self._watch(self._events & ~IOLoop.READ)

    def resume_reading(self) -> None:
        """Undo `pause_reading`."""
        self._watch(self._events | IOLoop.READ)

    def close(self) -> None:
        """Close the socket. Does nothing on a closed connection."""
        if self.is_closed:
            return
        self.is_closed = True
        if self._events:
            self._watcher.remove(self._sock)
        self._outgoing.clear()
        self._sock.close()
        self._end_drains()

    def _on_events(self, events: int) -> None:
        if self._blocked:
            # TLS waited for the other direction.
            events |= self._blocked
            self._blocked = 0
        if events & IOLoop.WRITE:
            self._flush()
        # An error or the end is reported whether reading is paused or not.
        if events != IOLoop.WRITE and self._events & IOLoop.READ and not self.is_closed:
            self.owner.on_readable(self)

    def _on_want(self, want: OSError) -> None:
        # A TLS record that is received can require one to be sent, as a key update does.
        if isinstance(want, ssl.SSLWantWriteError):
            self._blocked = IOLoop.READ
            self._watch(self._events | IOLoop.WRITE)

    def _send(self, view: memoryview) -> int:
        """Send what the socket accepts and return the number of bytes."""
        # TLS takes one record at a time.
        sent = 0
        while sent < len(view):
            count = self._send_once(view[sent:])
            if not count:
                break
            sent += count
        return sent

    def _send_once(self, data: bytes | memoryview) -> int:
        try:
            count = self._sock.send(data)
        except _WANT as want:
            if isinstance(want, ssl.SSLWantReadError):
                self._blocked = IOLoop.WRITE
            return 0
        except OSError as error:
            # The first one has the cause: after a reset, others are only EPIPE.
            if self.write_error is None:
                self.write_error = error
            return 0
        self.is_written = True
        return count

    def _flush(self) -> None:
        if self._outgoing:
            view = self._outgoing[0]
            view = view[self._send(view[:_WRITE_SIZE]) :]
            if view:
                self._outgoing[0] = view
            else:
                self._outgoing.popleft()
        if self.write_error is not None:
            self._outgoing.clear()
        self._watch_outgoing()
        if not self._outgoing:
            self._end_drains()

    def _watch_outgoing(self) -> None:
        if self._outgoing and self._blocked != IOLoop.WRITE:
            self._watch(self._events | IOLoop.WRITE)
        else:
            self._watch(self._events & ~IOLoop.WRITE)

    def _end_drains(self) -> None:
        drains, self._drains = self._drains, []
        for drain in drains:
            if drain.done():
                continue
            if self.is_broken:
                drain.set_exception(StreamClosedError(self.write_error))
            else:
                drain.set_result(None)

    def _watch(self, events: int) -> None:
        if events == self._events or self.is_closed:
            return
        if not self._events:
            self._watcher.add(self._sock, events, self._on_events)
        elif not events:
            # epoll reports the end of a watched connection again and again.
            self._watcher.remove(self._sock)
        else:
            self._watcher.modify(self._sock, events, self._on_events)
        self._events = events


def _retrieve(drain: asyncio.Future[None]) -> None:
    if not drain.cancelled():
        drain.exception()
