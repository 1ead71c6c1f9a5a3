"""Watchers: they call back when a socket is ready."""

from __future__ import annotations

import contextlib
import contextvars
import os
import select
import socket
from collections.abc import Callable
from typing import Protocol

from tornado.ioloop import IOLoop

from ..loop_end import asyncio_loop

#: Called with `IOLoop.READ` or `IOLoop.WRITE`, or both, possibly with `IOLoop.ERROR`.
OnEvents = Callable[[int], None]


class Watcher(Protocol):
    """The interface of a watcher, which calls back while a socket is ready."""

    def add(self, sock: socket.socket, events: int, on_events: OnEvents) -> None: ...

    def modify(self, sock: socket.socket, events: int, on_events: OnEvents) -> None: ...

    def remove(self, sock: socket.socket) -> None: ...

    def close(self) -> None: ...


class EpollWatcher:
    """A watcher with a separate epoll set, which the loop watches.

    One wake-up of the loop handles all ready sockets, and a change of the events is one system
    call. The selector of asyncio needs more time for one event than the client needs for a
    response.
    """

    def __init__(self, io_loop: IOLoop) -> None:
        self._io_loop = io_loop
        self._epoll = select.epoll()
        self._callbacks: dict[int, OnEvents] = {}
        # A forked child shares the set, and must not remove the sockets of its parent.
        self._process = os.getpid()
        # In an empty context. Otherwise, all events would use the context of the first fetch.
        contextvars.Context().run(io_loop.add_handler, self._epoll, self._on_ready, IOLoop.READ)

    def add(self, sock: socket.socket, events: int, on_events: OnEvents) -> None:
        """Start watching ``sock``."""
        fd = sock.fileno()
        # The numbers of Tornado's events are those of epoll.
        self._epoll.register(fd, events)
        self._callbacks[fd] = on_events

    def modify(self, sock: socket.socket, events: int, on_events: OnEvents) -> None:
        """Change the events or the callback of a socket."""
        fd = sock.fileno()
        self._epoll.modify(fd, events)
        self._callbacks[fd] = on_events

    def remove(self, sock: socket.socket) -> None:
        """Stop watching ``sock``, which is still open."""
        fd = sock.fileno()
        del self._callbacks[fd]
        # Closing the socket would not remove it if a forked child has it as well.
        # `IOLoop.close` with `all_fds` has closed the epoll set.
        if not self._epoll.closed and os.getpid() == self._process:
            with contextlib.suppress(OSError):
                self._epoll.unregister(fd)

    def close(self) -> None:
        """Close the epoll set."""
        if not self._epoll.closed:
            if not asyncio_loop(self._io_loop).is_closed():
                self._io_loop.remove_handler(self._epoll)
            self._epoll.close()

    def _on_ready(self, epoll: select.epoll, events: int) -> None:
        callbacks = self._callbacks
        for fd, ready in epoll.poll(0):
            # An earlier callback can have closed the socket.
            on_events = callbacks.get(fd)
            if on_events is not None:
                on_events(ready)


class LoopWatcher:
    """A watcher that uses the loop, for systems without epoll."""

    def __init__(self, io_loop: IOLoop) -> None:
        self._io_loop = io_loop
        self._callbacks: dict[socket.socket, OnEvents] = {}

    def add(self, sock: socket.socket, events: int, on_events: OnEvents) -> None:
        """Start watching ``sock``."""
        self._callbacks[sock] = on_events
        # The socket and not its number, so that `IOLoop.close(all_fds=True)` closes the object.
        self._io_loop.add_handler(sock, self._on_ready, events)

    def modify(self, sock: socket.socket, events: int, on_events: OnEvents) -> None:
        """Change the events or the callback of a socket."""
        self._callbacks[sock] = on_events
        self._io_loop.update_handler(sock, events)

    def remove(self, sock: socket.socket) -> None:
        """Stop watching ``sock``, which is still open."""
        del self._callbacks[sock]
        if not asyncio_loop(self._io_loop).is_closed():
            self._io_loop.remove_handler(sock)

    def close(self) -> None:
        """Do nothing, because the sockets are the only resources."""

    def _on_ready(self, sock: socket.socket, events: int) -> None:
        self._callbacks[sock](events)


def create_watcher(io_loop: IOLoop) -> Watcher:
    """Return the best watcher of this platform."""
    return EpollWatcher(io_loop) if hasattr(select, "epoll") else LoopWatcher(io_loop)
