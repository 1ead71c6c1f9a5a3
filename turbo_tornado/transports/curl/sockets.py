"""`EpollSockets` and `LoopSockets`: wait for the sockets of libcurl."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any, Protocol

import pycurl
from tornado.ioloop import IOLoop

from ..loop_end import asyncio_loop

#: Lets libcurl handle events of a socket.
Act = Callable[[int, int], None]
#: Called with a socket that the peer has closed, and whether it has been reset.
OnEnd = Callable[[int, bool], None]


class Sockets(Protocol):
    """Waits for the events of libcurl's sockets."""

    def watch(self, what: int, fd: int, multi: pycurl.CurlMulti, data: Any) -> None:
        """Change the events of a socket: libcurl's socket callback."""

    def poll(self) -> None:
        """Handle the events of this moment."""

    def close(self) -> None: ...


class EpollSockets:
    """Waits in an epoll set, which the loop watches.

    A change of the events of a socket is one system call and no work for the loop, and one
    iteration of the loop handles all ready sockets.

    The events are one-shot, so that an idle connection wakes the loop once at most. A closed
    socket leaves the set by itself.
    """

    def __init__(
        self, io_loop: IOLoop, act: Act, settle: Callable[[], None], on_end: OnEnd
    ) -> None:
        self._io_loop = io_loop
        self._act = act
        self._settle = settle
        self._on_end = on_end
        self._events: dict[int, int] = {}
        # The socket whose events libcurl handles, unless its events have been set again.
        self._acting_fd = -1
        self._epoll = select.epoll()
        io_loop.add_handler(self._epoll, self._on_ready, IOLoop.READ)

    def watch(self, what: int, fd: int, multi: pycurl.CurlMulti, data: Any) -> None:
        if self._epoll.closed:
            return
        events = _EPOLL_EVENTS.get(what)
        if events is None:
            # The connection becomes idle, or is closed.
            self._events.pop(fd, None)
            return
        self._events[fd] = events
        self._arm(fd, events)
        if fd == self._acting_fd:
            self._acting_fd = -1

    def _arm(self, fd: int, events: int) -> None:
        try:
            self._epoll.modify(fd, events)
        except FileNotFoundError:
            self._epoll.register(fd, events)

    def _on_ready(self, fd: Any, events: int) -> None:
        self.poll()
        self._settle()

    def poll(self) -> None:
        watched = self._events
        for fd, events in self._epoll.poll(0):
            if fd not in watched:
                # An idle connection, or closed by the handling of another event.
                continue
            if events & _ENDED:
                self._on_end(fd, bool(events & select.EPOLLERR))
            self._acting_fd = fd
            self._act(
                fd,
                (pycurl.CSELECT_IN if events & ~select.EPOLLOUT else 0)
                | (pycurl.CSELECT_OUT if events & ~select.EPOLLIN else 0),
            )
            if self._acting_fd == fd and fd in watched:
                self._arm(fd, watched[fd])
        self._acting_fd = -1

    def close(self) -> None:
        # A loop that closes all its files has closed the epoll set.
        if not self._epoll.closed:
            _remove_handler(self._io_loop, self._epoll)
            self._epoll.close()


if hasattr(select, "epoll"):
    _ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
    _READ = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLONESHOT
    _EPOLL_EVENTS = {
        pycurl.POLL_IN: _READ,
        pycurl.POLL_OUT: select.EPOLLOUT | select.EPOLLONESHOT,
        pycurl.POLL_INOUT: _READ | select.EPOLLOUT,
    }


class LoopSockets:
    """Waits with the loop itself, on systems without epoll."""

    def __init__(
        self, io_loop: IOLoop, act: Act, settle: Callable[[], None], on_end: OnEnd
    ) -> None:
        self._io_loop = io_loop
        self._act = act
        self._settle = settle
        self._watched: set[int] = set()

    def watch(self, what: int, fd: int, multi: pycurl.CurlMulti, data: Any) -> None:
        # Removed and added, not updated: libcurl may have closed the socket and opened
        # another one with the same descriptor.
        if fd in self._watched:
            self._watched.discard(fd)
            self._io_loop.remove_handler(fd)
        if what in _LOOP_EVENTS:
            self._watched.add(fd)
            self._io_loop.add_handler(fd, self._on_ready, _LOOP_EVENTS[what])

    def _on_ready(self, fd: int, events: int) -> None:
        self._act(
            fd,
            (pycurl.CSELECT_IN if events & IOLoop.READ else 0)
            | (pycurl.CSELECT_OUT if events & IOLoop.WRITE else 0),
        )
        self._settle()

    def poll(self) -> None:
        pass

    def close(self) -> None:
        for fd in self._watched:
            _remove_handler(self._io_loop, fd)
        self._watched.clear()


_LOOP_EVENTS = {
    pycurl.POLL_IN: IOLoop.READ,
    pycurl.POLL_OUT: IOLoop.WRITE,
    pycurl.POLL_INOUT: IOLoop.READ | IOLoop.WRITE,
}


def _remove_handler(io_loop: IOLoop, fd: Any) -> None:
    # A loop that was closed first has removed its handlers.
    if not asyncio_loop(io_loop).is_closed():
        io_loop.remove_handler(fd)
