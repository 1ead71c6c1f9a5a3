"""`CurlEngine`: drives a `pycurl.CurlMulti` from an IOLoop.

libcurl says which sockets it waits for and when it wants to be called; the engine sees
to it and hands on what has ended. It does the least that this takes:

* The sockets are in an epoll set of the engine's own, and the loop watches that set. A
  change of interest is one system call and no work for the loop; one wake-up of the
  loop serves all sockets that are ready.
* The interest in a socket is one-shot, so that a socket that nobody cares for wakes the
  loop once at most. One that libcurl closed leaves the set by itself, and its number may
  be opened again by anybody without the loop ever having known it.
* An idle connection stays in the set. When the peer closes it, or says something on it
  that was not asked for, it is not used again: libcurl itself looks at it no more than
  once a second, and would take those words for the answer to the next request. Over TLS
  they may be in libcurl's hands already: then an answer comes before its question, while
  the kernel has received nothing.
* A timer is moved only to an earlier time. One that comes too early looks at the
  deadline and sleeps again.
"""

from __future__ import annotations

import select
import socket
import sys
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import pycurl
from tornado.ioloop import IOLoop

from . import libcurl

if sys.platform != "win32":
    import fcntl
    import termios

#: Host and port of both sides of a connection, this one first: what libcurl tells of the
#: connection that it takes for a transfer. Connections to different peers may have the same
#: port on this side.
Address = tuple[str, int, str, int]
#: Called with libcurl's result code and message: 0 and "" for success.
Done = Callable[[int, str], None]
Answer = TypeVar("Answer")
#: The code for a transfer that `CurlEngine.close` has ended.
CLOSED = -1

# Of what libcurl may have forgotten.
_CHECK_INTERVAL = 1.0

# So many transfers at once make it worthwhile to spare libcurl a search.
_MANY = 256
# How exact the limit of idle connections is.
_STEP = 32


class CurlEngine:
    """Carries transfers from `add` to their ``done`` callback.

    A handle is still in the multi when its ``done`` is called.
    """

    #: What carries the transfers. Its M_SOCKETFUNCTION and M_TIMERFUNCTION are `on_socket`
    #: and `on_timer`.
    multi: pycurl.CurlMulti

    def __init__(self, io_loop: IOLoop, max_idle: int) -> None:
        self.loop = io_loop.asyncio_loop  # type: ignore[attr-defined]
        self._max_idle = max_idle
        # How many transfers the limit that libcurl has been told allows for.
        self._room = -_STEP
        self._transfers: dict[pycurl.Curl, Done] = {}
        self._alive = 0
        self._begun = 0
        self._wakeup: Any = None
        self._deadline: float | None = None
        self._timer: Any = None
        self._timer_at = 0.0
        self._check: Any = None
        if libcurl.FORGETS_TIMEOUTS:
            self._check = self.loop.call_later(_CHECK_INTERVAL, self._check_all)
        #: Whether `close` has been called.
        self.closed = False
        #: Whether a call of libcurl's is under way, in which nothing can be removed.
        self.acting = False
        kind = EpollSockets if hasattr(select, "epoll") else LoopSockets
        self.sockets: Sockets = kind(self, io_loop)
        self.on_socket = self.sockets.watch

    def __len__(self) -> int:
        return len(self._transfers)

    def may_reuse(self) -> bool:
        """Returns whether there may be an idle connection for one more transfer.

        To look for one, libcurl goes through all connections, busy or not: with many
        that begin at the same time, that is most of what they cost.
        """
        if len(self._transfers) < _MANY:
            return True
        self._begun += 1
        return self._begun <= min(self.sockets.idle, self._max_idle + _STEP)

    def add(self, curl: pycurl.Curl, done: Done) -> None:
        """Starts a transfer, in the next iteration of the loop."""
        self._transfers[curl] = done
        self.multi.add_handle(curl)

    def adopt(self, curl: pycurl.Curl, done: Done) -> None:
        """Takes over a transfer that somebody else has put into the multi."""
        self._transfers[curl] = done

    def remove(self, curl: pycurl.Curl) -> None:
        """Stops a transfer: its connection is closed, its ``done`` is not called."""
        del self._transfers[curl]
        self.multi.remove_handle(curl)

    def on_timer(self, milliseconds: int) -> None:
        """Called by libcurl to say when it wants to be called."""
        # Often from within a call of ours: nothing may happen here.
        if self.closed:
            return
        if milliseconds == 0:
            self._deadline = None
            self._wake()
        elif milliseconds < 0:
            self._deadline = None
        else:
            self._deadline = self.loop.time() + milliseconds / 1000
            if self._timer is None or self._deadline < self._timer_at:
                self._set_timer(self._deadline)

    def _wake(self) -> None:
        if self._wakeup is None:
            self._wakeup = self.loop.call_soon(self._on_wakeup)

    def close(self) -> None:
        """Stops everything; every ``done`` is called with `CLOSED`."""
        self.closed = True
        for curl in list(self._transfers):
            self._end(curl, CLOSED, "")
        for handle in (self._wakeup, self._timer, self._check):
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
        self._expire()
        if self._deadline is None and not self.closed:
            # libcurl's clock may be behind the loop's: nothing had run out, and it does
            # not repeat what it has said.
            self.on_timer(self.multi.timeout())

    def _on_wakeup(self) -> None:
        self._wakeup = None
        self._expire()

    def _expire(self) -> None:
        self._begun = 0
        # What has happened to an idle connection must be known before it is used again.
        self.sockets.poll()
        self.act(pycurl.SOCKET_TIMEOUT, 0)
        self.settle()

    def _check_all(self) -> None:
        self._check = self.loop.call_later(_CHECK_INTERVAL, self._check_all)
        if not self._transfers:
            return
        # What has happened to an idle connection must be known before it is used again.
        self.sockets.poll()
        self.acting = True
        try:
            self.multi.socket_all()
        except pycurl.error:
            # Whatever it is, it ends the transfers that it concerns.
            pass
        finally:
            self.acting = False
        self._alive = -1
        self.settle()

    def act(self, fd: int, events: int) -> None:
        """Lets libcurl do what a socket is ready for."""
        self.acting = True
        try:
            self._alive = self.multi.socket_action(fd, events)[1]
        except pycurl.error:
            # Whatever it is, it ends the transfers that it concerns.
            self._alive = -1
        finally:
            self.acting = False
        if not -_STEP < self._alive - self._room < _STEP:
            # libcurl's limit is one of all connections, busy ones included.
            self._room = self._alive
            self.multi.setopt(pycurl.M_MAXCONNECTS, self._max_idle + self._room)

    def settle(self) -> None:
        """Hands on what has ended."""
        if self._alive >= len(self._transfers):
            return
        queued = -1
        while queued and not self.closed:
            queued, succeeded, failed = self.multi.info_read()
            for curl in succeeded:
                self._end(curl, 0, "")
            for curl, code, message in failed:
                self._end(curl, code, message)

    def _end(self, curl: pycurl.Curl, code: int, message: str) -> None:
        # What was done for one transfer may have stopped another.
        done = self._transfers.pop(curl, None)
        if done is not None:
            done(code, message)


class Claimant(Protocol):
    """A transfer that has a connection of HTTP/1 for itself."""

    def on_ending(self, reset: bool, began: bool) -> None:
        """Called when the peer ends the connection.

        :arg bool reset: whether it was a reset.
        :arg bool began: whether anything had come from the peer.
        """

    def may_keep(self) -> bool:
        """Returns whether what has come allows for another request on the connection."""


class Sockets(Protocol):
    """Watches sockets for libcurl, and knows what it should know about its connections."""

    #: How many connections may be idle: libcurl does not tell when it closes one.
    idle: int

    def watch(self, what: int, fd: int, multi: pycurl.CurlMulti, data: Any) -> None:
        """Called by libcurl when it changes what it waits for."""

    def poll(self) -> None:
        """Acts on what the sockets are ready for at this moment."""

    def claim(self, address: Address, claimant: Claimant, tls: bool) -> bool | None:
        """Says that a request is about to be sent on the connection at ``address``.

        :returns: whether the connection is known to be one that was kept; ``None`` when it
            must not be used.
        """

    def disclaim(self, address: Address, spoilt: bool = False, shared: bool = False) -> None:
        """Says that a transfer has done with the connection at ``address``.

        :arg bool spoilt: whether the connection must not be used again.
        :arg bool shared: whether it is one of HTTP/2, on which the peer may speak at any
            time.
        """

    def is_early(self, address: Address) -> bool:
        """Returns whether what libcurl reads from a TLS connection had come before the claim."""

    def close(self) -> None: ...


class Socket:
    """A socket of libcurl's, from when it is opened until its number is opened again."""

    __slots__ = ("address", "events", "fd", "heard", "idle", "received", "shared", "spoilt")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        #: What libcurl waits for; nothing on an idle connection.
        self.events = 0
        #: Whether this may be a connection that can be used again.
        self.idle = False
        #: Whether libcurl has read anything since the connection was last idle.
        self.heard = False
        #: Known from when libcurl waits for input for the first time; a connection that has
        #: been reset has none any more.
        self.address: Address | None = None
        self.spoilt = False
        self.shared = False
        #: Bytes that had come when the connection was claimed.
        self.received: int | None = None


class EpollSockets:
    """Watches sockets in an epoll set of its own, idle connections included."""

    def __init__(self, engine: CurlEngine, io_loop: IOLoop) -> None:
        self.idle = 0
        self._engine = engine
        self._io_loop = io_loop
        self._sockets: dict[int, Socket] = {}
        # Of those that are idle, or have been.
        self._by_address: dict[Address, Socket] = {}
        self._claims: dict[Address, Claimant] = {}
        self._acting = -1
        self._epoll = select.epoll()
        io_loop.add_handler(self._epoll, self._on_ready, IOLoop.READ)

    def watch(self, what: int, fd: int, multi: pycurl.CurlMulti, data: Any) -> None:
        if self._epoll.closed:
            return
        events = _EPOLL_EVENTS.get(what, 0)
        if events:
            sock = self._arm(fd, events)
            sock.events = events
            self._not_idle(sock)
            if sock.address is None and events & select.EPOLLIN:
                sock.address = _asked(fd, _addresses, None)
            return
        known = self._sockets.get(fd)
        if known is not None and known.events:
            known.events = 0
            known.heard = False
            if known.address is not None:
                self._by_address[known.address] = known
            try:
                self._arm(fd, _IDLE)
            except OSError:
                # Closed already, as some versions of libcurl do with what a look-up needed.
                self._forget(fd)
            else:
                known.idle = True
                self.idle += 1

    def _not_idle(self, sock: Socket) -> None:
        if sock.idle:
            sock.idle = False
            self.idle -= 1

    def _arm(self, fd: int, events: int) -> Socket:
        try:
            self._epoll.modify(fd, events)
        except FileNotFoundError:
            # A new socket, perhaps with the number of one that was closed.
            self._epoll.register(fd, events)
            self._forget(fd)
            self._sockets[fd] = Socket(fd)
        return self._sockets[fd]

    def _forget(self, fd: int) -> None:
        known = self._sockets.pop(fd, None)
        if known is not None:
            self._not_idle(known)
            # Its address may be that of yet another one by now.
            if known.address is not None and self._by_address.get(known.address) is known:
                del self._by_address[known.address]

    def _on_ready(self, fd: Any, events: int) -> None:
        self.poll()
        self._engine.settle()

    def poll(self) -> None:
        for fd, events in self._epoll.poll(0):
            sock = self._sockets.get(fd)
            if sock is None:
                continue  # Closed by what was done for the one before it.
            if not sock.events:
                # The peer has closed the connection, or speaks out of turn.
                sock.spoilt = True
                self._not_idle(sock)
                continue
            if events & _ENDED:
                # libcurl may take what has come for a whole response, and keep the connection.
                sock.spoilt = True
                claimant = self._claims.get(sock.address) if sock.address else None
                if claimant is not None:
                    began = sock.heard or _unread(fd) > 0
                    claimant.on_ending(bool(events & select.EPOLLERR), began)
            self._acting = fd
            self._engine.act(
                fd,
                (pycurl.CSELECT_IN if events & ~select.EPOLLOUT else 0)
                | (pycurl.CSELECT_OUT if events & ~select.EPOLLIN else 0),
            )
            if sock.events:
                self._arm(fd, sock.events)
                if events & select.EPOLLIN:
                    sock.heard = True
        self._acting = -1

    def claim(self, address: Address, claimant: Claimant, tls: bool) -> bool | None:
        sock = self._by_address.get(address)
        if sock is not None and not sock.shared:
            # Of a transfer that has ended in this very call of libcurl's.
            last = self._claims.get(address)
            if last is not None and not last.may_keep():
                sock.spoilt = True
            # It may have been closed, and its address be another one's by now.
            if sock.spoilt and _asked(sock.fd, _own_address, None) == address[:2]:
                return None
            if tls:
                own, received = _asked(sock.fd, _own_address_and_bytes, _UNKNOWN)
                sock.received = received if own == address[:2] else None
        self._claims[address] = claimant
        # One that is spoilt has been closed, and this is another one.
        return sock is not None and not sock.spoilt

    def disclaim(self, address: Address, spoilt: bool = False, shared: bool = False) -> None:
        self._claims.pop(address, None)
        sock = self._by_address.get(address)
        if sock is not None:
            sock.received = None
            sock.spoilt |= spoilt
            sock.shared |= shared

    def is_early(self, address: Address) -> bool:
        sock = self._by_address.get(address)
        return (
            sock is not None
            and sock.received is not None
            and sock.fd != self._acting
            and sock.received == _received(sock.fd)
        )

    def close(self) -> None:
        # A loop that closes all its files has done so already.
        if not self._epoll.closed:
            _remove_handler(self._io_loop, self._epoll)
            self._epoll.close()


if hasattr(select, "epoll"):
    _ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
    _IDLE = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLONESHOT
    _EPOLL_EVENTS = {
        pycurl.POLL_IN: _IDLE,
        pycurl.POLL_OUT: select.EPOLLOUT | select.EPOLLONESHOT,
        pycurl.POLL_INOUT: _IDLE | select.EPOLLOUT,
    }
    # tcpi_bytes_received of struct tcp_info (linux/tcp.h).
    _BYTES_RECEIVED = slice(128, 136)


def _asked(fd: int, question: Callable[[socket.socket], Answer], default: Answer) -> Answer:
    # libcurl has other descriptors, too, than those of connections.
    try:
        asking = socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=fd)
        try:
            return question(asking)
        finally:
            # The socket object is only to ask by: the descriptor is libcurl's to close.
            asking.detach()
    except (OSError, ValueError):
        return default


def _addresses(asking: socket.socket) -> Address:
    return _host_and_port(asking.getsockname()) + _host_and_port(asking.getpeername())


def _own_address(asking: socket.socket) -> tuple[str, int]:
    return _host_and_port(asking.getsockname())


def _host_and_port(name: tuple[Any, ...]) -> tuple[str, int]:
    host, port = name[:2]
    return host.partition("%")[0], port


def _received(fd: int) -> int | None:
    return _asked(fd, _bytes_received, None)


def _bytes_received(asking: socket.socket) -> int | None:
    info = asking.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED.stop)
    return int.from_bytes(info[_BYTES_RECEIVED], sys.byteorder) or None


_UNKNOWN: tuple[tuple[str, int] | None, int | None] = (None, None)


def _own_address_and_bytes(asking: socket.socket) -> tuple[tuple[str, int] | None, int | None]:
    return _own_address(asking), _bytes_received(asking)


def _unread(fd: int) -> int:
    try:
        size = fcntl.ioctl(fd, termios.FIONREAD, bytes(4))
    except OSError:
        return 0
    return int.from_bytes(size, sys.byteorder)


class LoopSockets:
    """Watches sockets with the loop itself, as Tornado's client does, where there is no epoll."""

    idle = sys.maxsize

    def __init__(self, engine: CurlEngine, io_loop: IOLoop) -> None:
        self._engine = engine
        self._io_loop = io_loop
        self._watched: set[int] = set()

    def watch(self, what: int, fd: int, multi: pycurl.CurlMulti, data: Any) -> None:
        # Removed and added again, never updated: libcurl may have closed the socket and
        # opened another one with its number.
        if fd in self._watched:
            self._watched.discard(fd)
            self._io_loop.remove_handler(fd)
        if what in _LOOP_EVENTS:
            self._watched.add(fd)
            self._io_loop.add_handler(fd, self._on_ready, _LOOP_EVENTS[what])

    def _on_ready(self, fd: int, events: int) -> None:
        self._engine.act(
            fd,
            (pycurl.CSELECT_IN if events & IOLoop.READ else 0)
            | (pycurl.CSELECT_OUT if events & IOLoop.WRITE else 0),
        )
        self._engine.settle()

    def poll(self) -> None:
        pass

    def claim(self, address: Address, claimant: Claimant, tls: bool) -> bool | None:
        return False

    def disclaim(self, address: Address, spoilt: bool = False, shared: bool = False) -> None:
        pass

    def is_early(self, address: Address) -> bool:
        return False

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
    if not io_loop.asyncio_loop.is_closed():  # type: ignore[attr-defined]
        io_loop.remove_handler(fd)
