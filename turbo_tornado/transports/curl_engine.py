"""`CurlEngine`: drives a `pycurl.CurlMulti` from an IOLoop.

libcurl says which sockets it waits for and when it wants to be called; the engine sees
to it and hands on what has ended. It does the least that this takes:

* The sockets are in an epoll set of the engine's own, and the loop watches that set. A
  change of interest is one system call and no work for the loop; one wake-up of the
  loop serves all sockets that are ready.
* The interest in a socket is one-shot. An idle connection needs no call to be left
  alone and one to be taken up again, and nothing that happens to it meanwhile wakes the
  loop. A socket that libcurl closed leaves the set by itself: its number may be opened
  again by anybody without the loop ever having known it.
* A timer is moved only to an earlier time. One that comes too early looks at the
  deadline and sleeps again.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any, Protocol

import pycurl
from tornado.ioloop import IOLoop

#: Called with libcurl's result code and message: 0 and "" for success.
Done = Callable[[int, str], None]
#: The code for a transfer that `CurlEngine.close` has ended.
CLOSED = -1


class CurlEngine:
    """Carries transfers from `add` to their ``done`` callback.

    :arg multi: what carries them; the handle that ``done`` is called for is still in it.
    """

    def __init__(self, multi: pycurl.CurlMulti, io_loop: IOLoop) -> None:
        self._multi = multi
        self._loop = io_loop.asyncio_loop  # type: ignore[attr-defined]
        self._transfers: dict[pycurl.Curl, Done] = {}
        self._alive = 0
        self._wakeup: Any = None
        self._held = False
        self._deadline: float | None = None
        self._timer: Any = None
        self._timer_at = 0.0
        #: Whether `close` has been called.
        self.closed = False
        kind = EpollSockets if hasattr(select, "epoll") else LoopSockets
        self._sockets: Sockets = kind(io_loop, self._act, self._settle)
        multi.setopt(pycurl.M_SOCKETFUNCTION, self._sockets.watch)
        multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)

    def __len__(self) -> int:
        return len(self._transfers)

    def add(self, curl: pycurl.Curl, done: Done) -> None:
        """Starts a transfer; ``done`` may be called before this returns."""
        self._transfers[curl] = done
        if len(self._transfers) > 1:
            # Begins in the next iteration of the loop, with all that are added until then.
            self._multi.add_handle(curl)
            return
        self._held = True
        try:
            self._multi.add_handle(curl)
        finally:
            self._held = False
        self._expire()

    def adopt(self, curl: pycurl.Curl, done: Done) -> None:
        """Takes over a transfer that somebody else has put into the multi."""
        self._transfers[curl] = done

    def remove(self, curl: pycurl.Curl) -> None:
        """Stops a transfer: its connection is closed, its ``done`` is not called."""
        del self._transfers[curl]
        self._multi.remove_handle(curl)

    def wake(self) -> None:
        """Lets libcurl look after its transfers in the next iteration of the loop."""
        if self._wakeup is None and not self._held and not self.closed:
            self._wakeup = self._loop.call_soon(self._on_wakeup)

    def close(self) -> None:
        """Stops everything; every ``done`` is called with `CLOSED`."""
        self.closed = True
        for curl in list(self._transfers):
            self._end(curl, CLOSED, "")
        for handle in (self._wakeup, self._timer):
            if handle is not None:
                handle.cancel()
        self._sockets.close()

    def _on_timer(self, milliseconds: int) -> None:
        # Called by libcurl, often from within a call of ours: nothing may happen here.
        if milliseconds == 0:
            self._deadline = None
            self.wake()
        elif milliseconds < 0:
            self._deadline = None
        else:
            self._deadline = self._loop.time() + milliseconds / 1000
            if self._timer is None or self._deadline < self._timer_at:
                self._set_timer(self._deadline)

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._on_time)
        self._timer_at = when

    def _on_time(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._deadline > self._loop.time():
            self._set_timer(self._deadline)
            return
        self._deadline = None
        self._expire()
        if self._deadline is None and not self.closed:
            # libcurl's clock may be behind the loop's: nothing had run out, and it does
            # not repeat what it has said.
            self._on_timer(self._multi.timeout())

    def _on_wakeup(self) -> None:
        self._wakeup = None
        self._expire()

    def _expire(self) -> None:
        self._act(pycurl.SOCKET_TIMEOUT, 0)
        self._settle()

    def _act(self, fd: int, events: int) -> None:
        try:
            self._alive = self._multi.socket_action(fd, events)[1]
        except pycurl.error:
            # Whatever it is, it ends the transfers that it concerns.
            self._alive = -1

    def _settle(self) -> None:
        if self._alive >= len(self._transfers):
            return
        queued = -1
        while queued and not self.closed:
            queued, succeeded, failed = self._multi.info_read()
            for curl in succeeded:
                self._end(curl, 0, "")
            for curl, code, message in failed:
                self._end(curl, code, message)

    def _end(self, curl: pycurl.Curl, code: int, message: str) -> None:
        # What was done for one transfer may have stopped another.
        done = self._transfers.pop(curl, None)
        if done is not None:
            done(code, message)


class Sockets(Protocol):
    """Watches sockets for libcurl."""

    def watch(self, what: int, fd: int, multi: pycurl.CurlMulti, data: Any) -> None: ...

    def close(self) -> None: ...


class EpollSockets:
    """Watches sockets in an epoll set of its own.

    :arg act: called for each socket that is ready, with libcurl's event bits.
    :arg settle: called after all that were ready at once.
    """

    def __init__(
        self, io_loop: IOLoop, act: Callable[[int, int], None], settle: Callable[[], None]
    ) -> None:
        self._io_loop = io_loop
        self._act = act
        self._settle = settle
        self._wanted: dict[int, int] = {}
        self._epoll = select.epoll()
        io_loop.add_handler(self._epoll, self._on_ready, IOLoop.READ)

    def watch(self, what: int, fd: int, multi: pycurl.CurlMulti, data: Any) -> None:
        """Called by libcurl when it changes what it waits for."""
        if what in _EPOLL_EVENTS:
            self._wanted[fd] = _EPOLL_EVENTS[what]
            self._arm(fd, _EPOLL_EVENTS[what])
        else:
            self._wanted.pop(fd, None)

    def _arm(self, fd: int, events: int) -> None:
        try:
            self._epoll.modify(fd, events)
        except FileNotFoundError:
            # A new socket, perhaps with the number of one that was closed.
            self._epoll.register(fd, events)

    def _on_ready(self, epoll: select.epoll, _events: int) -> None:
        wanted = self._wanted
        for fd, events in epoll.poll(0):
            if fd not in wanted:
                continue
            self._act(
                fd,
                (pycurl.CSELECT_IN if events & ~select.EPOLLOUT else 0)
                | (pycurl.CSELECT_OUT if events & ~select.EPOLLIN else 0),
            )
            if fd in wanted:
                self._arm(fd, wanted[fd])
        self._settle()

    def close(self) -> None:
        _remove_handler(self._io_loop, self._epoll)
        self._epoll.close()


if hasattr(select, "epoll"):
    _EPOLL_EVENTS = {
        pycurl.POLL_IN: select.EPOLLIN | select.EPOLLONESHOT,
        pycurl.POLL_OUT: select.EPOLLOUT | select.EPOLLONESHOT,
        pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT | select.EPOLLONESHOT,
    }


class LoopSockets:
    """Watches sockets with the loop itself, as Tornado's client does, where there is no epoll."""

    def __init__(
        self, io_loop: IOLoop, act: Callable[[int, int], None], settle: Callable[[], None]
    ) -> None:
        self._io_loop = io_loop
        self._act = act
        self._settle = settle
        self._watched: set[int] = set()

    def watch(self, what: int, fd: int, multi: pycurl.CurlMulti, data: Any) -> None:
        """Called by libcurl when it changes what it waits for."""
        # Removed and added again, never updated: libcurl may have closed the socket and
        # opened another one with its number.
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

    def close(self) -> None:
        for fd in self._watched:
            _remove_handler(self._io_loop, fd)


_LOOP_EVENTS = {
    pycurl.POLL_IN: IOLoop.READ,
    pycurl.POLL_OUT: IOLoop.WRITE,
    pycurl.POLL_INOUT: IOLoop.READ | IOLoop.WRITE,
}


def _remove_handler(io_loop: IOLoop, fd: Any) -> None:
    # A loop that was closed first has forgotten its handlers.
    if not io_loop.asyncio_loop.isclosed():  # type: ignore[attr-defined]
        io_loop.remove_handler(fd)
