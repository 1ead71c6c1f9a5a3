"""`Connections`: decides which connections are reused.

libcurl chooses the connection of a transfer. Before the request is sent, the transfer claims
the connection here, and the claim can be refused:

1. libcurl opens a socket for a transfer: `Attempt.on_socket` records its descriptor.
2. libcurl is about to send the request: `Connections.claim` decides.
3. The peer closes the connection meanwhile: `Connections.on_end`.
4. The first line of the response has arrived: `Connections.is_early` finds a response that
   was there before the request.
5. The transfer ends: `Connections.release`.

A reused connection must be open, with nothing unread in the kernel, and its last response
must allow another request. libcurl would read unsolicited data as the response to the next
request. Such data can also be in the buffer of OpenSSL, which cannot be inspected. It is
detected when libcurl reports a response without having read from the kernel.

These rules are for HTTP/1. Each response of an HTTP/2 connection belongs to a stream. A stream
that ends without a response does not affect the next request, and unread data is normal.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from .socket_state import Address, SocketState, has_address, read_state

# Data that arrives between two system calls makes `is_early` look at the socket again.
_MAX_READINGS = 5


class Claim(enum.Enum):
    """The decision on the connection that libcurl has chosen for a request."""

    #: The connection has been opened for this transfer.
    FRESH = enum.auto()
    #: The connection has carried other requests, and can carry this one.
    REUSED = enum.auto()
    #: The peer has closed the connection.
    CLOSED = enum.auto()
    #: The connection must not be used.
    REFUSED = enum.auto()


#: The claims without a connection that the request may be sent on.
UNUSABLE = (Claim.CLOSED, Claim.REFUSED)


class Ending(NamedTuple):
    """How the peer ended a connection that a request was using."""

    is_reset: bool
    #: Whether the peer has sent anything since the request was sent.
    has_data: bool


class Attempt:
    """One attempt to carry out a request.

    :arg bool is_tls: the connection can be a TLS connection.
    :arg bool may_share: other transfers can use the connection at the same time (HTTP/2).
    """

    def __init__(self, is_tls: bool, may_share: bool) -> None:
        self.is_tls = is_tls
        self.may_share = may_share
        #: The proxy of the request, with its credentials.
        self.proxy: object = None
        self.claim: Claim | None = None
        self.connection: Connection | None = None
        self.ending: Ending | None = None
        #: Whether the response was there before the request.
        self.is_early = False
        #: Whether the peer of an HTTP/2 connection has reported that it did not process the
        #: request, by REFUSED_STREAM or GOAWAY.
        self.is_unprocessed = False
        #: Whether a line of a response has arrived, also of an interim response.
        self.has_response = False
        #: Whether the last response came over HTTP/2.
        self.is_http2 = False
        #: The lines of a head that is not complete, or of the last head.
        self.lines: list[bytes] = []
        #: Whether libcurl closes the connection after this attempt, unless others use it.
        self.closes_connection = False
        #: The sockets that libcurl has opened since the last claim.
        self.new_sockets: list[int] = []

    def allows_reuse(self) -> bool:
        """Return whether the response is complete and allows another request."""
        raise NotImplementedError


class Connection:
    """A connection of libcurl, from its first request until its descriptor is reused."""

    __slots__ = (
        "address",
        "fd",
        "identity",
        "is_for_http2",
        "is_idle",
        "is_refused",
        "is_shared",
        "is_unfinished",
        "proxy",
        "received",
        "user",
    )

    def __init__(self, fd: int, address: Address, state: SocketState | None) -> None:
        self.fd = fd
        self.address = address
        self.identity = None if state is None else state.identity
        #: Bytes that had arrived when the connection was claimed.
        self.received = None if state is None else state.received
        #: The last attempt that claimed the connection, until it ends.
        self.user: Attempt | None = None
        self.is_idle = False
        #: Whether the connection must not be reused.
        self.is_refused = state is None
        #: Whether a request on it has ended without a response that allows another request. The
        #: next response of an HTTP/1 connection can belong to that request.
        self.is_unfinished = False
        #: Whether it is an HTTP/2 connection, on which the peer can send at any time.
        self.is_shared = False
        #: Whether HTTP/2 was offered when it was opened.
        self.is_for_http2 = False
        #: The proxy that it was opened for, with its credentials.
        self.proxy: object = None


class Connections:
    """The connections of one `pycurl.CurlMulti`."""

    def __init__(self) -> None:
        #: Upper limit of the number of idle connections. libcurl closes them without notice.
        self.idle_count = 0
        self._by_fd: dict[int, Connection] = {}
        self._by_address: dict[Address, Connection] = {}

    def on_socket(self, fd: int) -> None:
        """Record that libcurl has opened a socket."""
        connection = self._by_fd.pop(fd, None)
        if connection is not None:
            self._set_idle(connection, False)
            if self._by_address.get(connection.address) is connection:
                del self._by_address[connection.address]

    def claim(self, address: Address, attempt: Attempt, is_http2: bool = False) -> Claim:
        """Decide whether a request may be sent on the connection with this address.

        :arg is_http2: the request asks for HTTP/2.
        """
        if attempt.new_sockets:
            connection = self._add(address, attempt, is_http2)
            attempt.claim = Claim.FRESH
        else:
            known = self._by_address.get(address)
            if known is None:
                attempt.claim = Claim.REFUSED
                return Claim.REFUSED
            attempt.claim = self._judge(known, attempt, is_http2)
            if attempt.claim is Claim.REFUSED:
                return Claim.REFUSED
            connection = known
        if attempt.connection not in (None, connection):
            # The request before a redirect used another connection.
            self.release(attempt)
        connection.user = attempt
        if connection.is_idle:
            self._set_idle(connection, False)
        attempt.connection = connection
        return attempt.claim

    def add_unused(self, address: Address, attempt: Attempt, is_http2: bool = False) -> None:
        """Record a connection that libcurl has opened for a request that is not sent.

        :arg is_http2: the request asks for HTTP/2.
        """
        # libcurl closes it now, unless it is HTTP/2.
        if attempt.may_share and attempt.new_sockets:
            self._add(address, attempt, is_http2).is_shared = True

    def _add(self, address: Address, attempt: Attempt, is_http2: bool) -> Connection:
        # libcurl can try several addresses of a host at once.
        sockets = attempt.new_sockets
        fd = sockets[-1]
        if len(sockets) > 1:
            fd = next((fd for fd in reversed(sockets) if has_address(fd, address)), fd)
        sockets.clear()
        connection = Connection(fd, address, read_state(fd))
        connection.is_for_http2 = is_http2
        connection.proxy = attempt.proxy
        other = self._by_address.get(address)
        if other is not None and other.fd != fd and self._is_same_socket(other):
            # An address of two open sockets does not identify a connection.
            connection.is_refused = True
        self._by_fd[fd] = self._by_address[address] = connection
        return connection

    def _is_same_socket(self, connection: Connection) -> bool:
        state = read_state(connection.fd)
        return state is not None and state.identity == connection.identity

    def _judge(self, connection: Connection, attempt: Attempt, is_http2: bool) -> Claim:
        if is_http2 and not (connection.is_for_http2 or connection.is_shared):
            # The peer may support HTTP/2, which was not offered.
            return Claim.REFUSED
        if connection.proxy != attempt.proxy:
            # libcurl does not compare credentials that are set as headers.
            return Claim.REFUSED
        is_shared = connection.is_shared
        user = connection.user
        if user is not None and not user.allows_reuse():
            # libcurl gives a connection to two transfers at once only if it is HTTP/2. Otherwise,
            # it treats the incomplete response of the other one as complete.
            is_shared = user.is_http2 or (user.may_share and not user.has_response)
            if is_shared and attempt.may_share:
                connection.is_shared = True
            else:
                connection.is_refused = True
        if connection.is_refused or (connection.is_unfinished and not is_shared):
            return Claim.REFUSED
        state = read_state(connection.fd)
        if state is None or state.identity != connection.identity:
            connection.is_refused = True
            return Claim.REFUSED
        if not is_shared:
            if state.unread or (attempt.is_tls and state.received is None):
                connection.is_refused = True
                return Claim.REFUSED
            connection.received = state.received
        return Claim.REUSED if state.is_open else Claim.CLOSED

    def is_early(self, attempt: Attempt) -> bool:
        """Return whether a response was there before the request was sent.

        Call it when the first line of a response has arrived.
        """
        connection = attempt.connection
        if (
            connection is None
            or attempt.claim is Claim.FRESH
            or not attempt.is_tls
            or connection.is_shared
            or connection.received is None
        ):
            return False
        for _ in range(_MAX_READINGS):
            state = read_state(connection.fd)
            if state is None or state.received is None:
                return True
            if state.received - state.unread > connection.received:
                return False
        return True

    def on_end(self, fd: int, is_reset: bool) -> None:
        """Record that the peer has closed a connection, before libcurl processes it."""
        connection = self._by_fd.get(fd)
        if connection is None:
            return
        state = read_state(fd)
        if state is not None and (state.identity != connection.identity or state.is_open):
            return
        if connection.user is not None:
            has_data = state is not None and (
                state.unread > 0
                or state.received is None
                or state.received > (connection.received or 0)
            )
            connection.user.ending = Ending(is_reset, has_data)

    def release(self, attempt: Attempt, is_shared: bool = False) -> None:
        """Record that an attempt has ended.

        :arg bool is_shared: the connection is an HTTP/2 connection.
        """
        connection, attempt.connection = attempt.connection, None
        if connection is None:
            return
        connection.is_shared |= is_shared
        if connection.user is not attempt:
            # Another attempt has claimed the connection in the same call of libcurl.
            return
        connection.user = None
        connection.is_unfinished |= not attempt.allows_reuse()
        is_unusable = connection.is_refused or connection.is_unfinished
        self._set_idle(connection, not (is_unusable or connection.is_shared))

    def _set_idle(self, connection: Connection, is_idle: bool) -> None:
        self.idle_count += is_idle - connection.is_idle
        connection.is_idle = is_idle
