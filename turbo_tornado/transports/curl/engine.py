"""`CurlEngine`: runs the transfers of a `pycurl.CurlMulti` on an IOLoop."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

import pycurl
from tornado.ioloop import IOLoop

from ..loop_end import asyncio_loop
from .connections import Connections
from .sockets import EpollSockets, LoopSockets, Sockets

#: Called with libcurl's result code and message, 0 and "" for success.
TransferDone = Callable[[int, str], None]

# With at least this number of transfers, a transfer does not search for an idle connection if
# there cannot be one.
_MANY_TRANSFERS = 256
# libcurl's limit of connections is changed in steps, because each change costs a search.
_LIMIT_STEP = 32


class CurlEngine:
    """The event loop of libcurl: runs each transfer until its callback is called.

    :arg int max_idle: limit of idle connections.

    The timer of the loop is moved only to an earlier time. A timer that expires too early
    finds the deadline in the future and is set again.
    """

    #: Its M_SOCKETFUNCTION and M_TIMERFUNCTION are `on_socket` and `on_timer`.
    multi: pycurl.CurlMulti

    def __init__(self, io_loop: IOLoop, max_idle: int) -> None:
        self.loop = asyncio_loop(io_loop)
        self.connections = Connections()
        kind = EpollSockets if hasattr(select, "epoll") else LoopSockets
        self.sockets: Sockets = kind(io_loop, self._act, self._settle, self.connections.on_end)
        self.on_socket = self.sockets.watch
        #: Whether libcurl is running. Transfers cannot be removed then.
        self.is_acting = False
        self.is_closed = False
        self._max_idle = max_idle
        # The number of transfers for which libcurl's limit of connections was set.
        self._limit_base = -_LIMIT_STEP
        self._transfers: dict[pycurl.Curl, TransferDone] = {}
        # The number of transfers in progress, as libcurl reports it.
        self._running = 0
        # The number of transfers that were added since libcurl ran.
        self._added = 0
        self._wakeup: asyncio.Handle | None = None
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def may_reuse(self) -> bool:
        """Return whether there can be an idle connection for one more transfer.

        libcurl searches all connections for an idle one. If many transfers start at once,
        that search is most of their cost.
        """
        if len(self._transfers) < _MANY_TRANSFERS:
            return True
        self._added += 1
        return self._added <= min(self.connections.idle_count, self._max_idle + _LIMIT_STEP)

    def add(self, curl: pycurl.Curl, done: TransferDone) -> None:
        """Start a transfer in the next iteration of the loop."""
        self._transfers[curl] = done
        self.multi.add_handle(curl)

    def adopt(self, curl: pycurl.Curl, done: TransferDone) -> None:
        """Take over a transfer that Tornado has added to the multi."""
        self._transfers[curl] = done

    def remove(self, curl: pycurl.Curl) -> bool:
        """Abort a transfer: libcurl closes its connection or stream, without a callback.

        :returns: whether there was such a transfer.
        """
        if self._transfers.pop(curl, None) is None:
            return False
        self.multi.remove_handle(curl)
        return True

    def has_connection(self, curl: pycurl.Curl) -> bool:
        """Return whether libcurl still has the connection of a transfer that has ended.

        Call it before the handle is removed. After a failure, libcurl has closed the
        connection, unless it is HTTP/2.
        """
        return bool(curl.getinfo(pycurl.LASTSOCKET) != -1)

    def resume(self, curl: pycurl.Curl) -> None:
        """Resume a paused transfer."""
        if curl not in self._transfers:
            return
        if self.is_acting:
            self.loop.call_soon(self.resume, curl)
            return
        self.is_acting = True
        try:
            # Calls the write function. A direction that must stay paused is paused again.
            curl.pause(pycurl.PAUSE_CONT)
        except pycurl.error:
            # The transfer ends with the same error.
            pass
        finally:
            self.is_acting = False
        self.on_timer(0)

    def on_timer(self, milliseconds: int) -> None:
        """Set the time at which libcurl must run: the timer callback of libcurl."""
        # Often called while libcurl is running.
        if self.is_closed:
            return
        if milliseconds == 0:
            self._deadline = None
            if self._wakeup is None:
                self._wakeup = self.loop.call_soon(self._on_wakeup)
        elif milliseconds < 0:
            self._deadline = None
        else:
            self._deadline = self.loop.time() + milliseconds / 1000
            if self._timer is None or self._deadline < self._timer_at:
                self._set_timer(self._deadline)

    def close(self) -> None:
        """Stop the engine. All transfers must have ended."""
        self.is_closed = True
        for handle in (self._wakeup, self._timer):
            if handle is not None:
                handle.cancel()
        self.sockets.close()
        # pycurl before 7.46 hides its references from the garbage collector.
        del self.multi

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(when, self._on_time)
        self._timer_at = when

    def _on_time(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._deadline > self.loop.time():
            self._set_timer(self._deadline)
            return
        self._deadline = None
        self._run()
        if self._deadline is None and not self.is_closed:
            # libcurl's clock can be behind the clock of the loop. Then nothing has expired,
            # and libcurl does not report the same time a second time.
            self.on_timer(self.multi.timeout())

    def _on_wakeup(self) -> None:
        self._wakeup = None
        self._run()

    def _run(self) -> None:
        self._added = 0
        # First, because arrived responses make connections idle for the transfers that start.
        self.sockets.poll()
        self._act(pycurl.SOCKET_TIMEOUT, 0)
        self._settle()

    def _act(self, fd: int, events: int) -> None:
        self.is_acting = True
        try:
            self._running = self.multi.socket_action(fd, events)[1]
        except pycurl.error:
            # libcurl also reports the error to the affected transfers.
            self._running = -1
        finally:
            self.is_acting = False
        if not -_LIMIT_STEP < self._running - self._limit_base < _LIMIT_STEP:
            # libcurl's limit includes the connections in use.
            self._limit_base = self._running
            self.multi.setopt(pycurl.M_MAXCONNECTS, self._max_idle + self._limit_base)

    def _settle(self) -> None:
        """Call the callbacks of the transfers that have ended."""
        if self._running >= len(self._transfers):
            return
        queued = -1
        while queued and not self.is_closed:
            queued, succeeded, failed = self.multi.info_read()
            for curl in succeeded:
                self._end(curl, 0, "")
            for curl, code, message in failed:
                self._end(curl, code, message)

    def _end(self, curl: pycurl.Curl, code: int, message: str) -> None:
        # The callback of one transfer can have aborted another one.
        done = self._transfers.pop(curl, None)
        if done is not None:
            done(code, message)
