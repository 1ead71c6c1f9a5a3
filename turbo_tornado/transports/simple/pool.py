"""`IdlePool`: the connections that wait for their next request."""

from __future__ import annotations

from collections.abc import Hashable

from .connection import Connection
from .deadlines import Deadlines


class IdlePool:
    """Idle connections by key, the most recently used first.

    An event on an idle connection means that the peer has closed it or has sent unsolicited
    data. The pool closes the connection in both cases.

    :arg deadlines: the timers of the idle timeouts.
    :arg int max_idle: limit of idle connections in all; the oldest one is closed.
    :arg int max_idle_per_key: limit of idle connections for one key.
    :arg float idle_timeout: seconds after which an idle connection is closed.
    """

    def __init__(
        self, deadlines: Deadlines, max_idle: int, max_idle_per_key: int, idle_timeout: float
    ) -> None:
        self._deadlines = deadlines
        self.max_idle = max_idle
        self.max_idle_per_key = max_idle_per_key
        self.idle_timeout = idle_timeout
        # Both are in the order in which the connections became idle.
        self._all: dict[Connection, None] = {}
        self._by_key: dict[Hashable, list[Connection]] = {}
        # One deadline for all connections: the next check of the oldest one.
        self._seconds: float | None = None

    def __len__(self) -> int:
        return len(self._all)

    def take(self, key: Hashable) -> Connection | None:
        """Return the most recently used connection of ``key`` that is usable, if any."""
        idle = self._by_key.get(key)
        if idle is None:
            return None
        taken = None
        while idle and taken is None:
            connection = idle.pop()
            del self._all[connection]
            if not connection.is_closed and connection.is_quiet():
                taken = connection
            else:
                connection.close()
        if not idle:
            del self._by_key[key]
        return taken

    def put(self, connection: Connection) -> None:
        """Add a connection whose exchange has ended in order."""
        idle = self._by_key.get(connection.key)
        if connection.is_closed or self.max_idle < 1 or len(idle or ()) >= self.max_idle_per_key:
            connection.close()
            return
        if idle is None:
            idle = self._by_key[connection.key] = []
        connection.owner = self
        connection.idle_since = self._deadlines.time()
        self._all[connection] = None
        if self._seconds is None:
            self._expire_in(self.idle_timeout)
        idle.append(connection)
        if len(self._all) > self.max_idle:
            self._drop(next(iter(self._all)))

    def close(self) -> None:
        """Close every connection, including those that are added later."""
        self.max_idle = 0
        if self._seconds is not None:
            self._deadlines.discard(self, self._seconds)
            self._seconds = None
        while self._all:
            self._drop(next(iter(self._all)))

    def on_readable(self, connection: Connection) -> None:
        """Close a connection that the peer has closed or has sent data on."""
        # Over TLS, the data can be a session ticket, which OpenSSL processes.
        if not connection.is_quiet():
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self._remove(connection)
        connection.close()

    def _remove(self, connection: Connection) -> None:
        del self._all[connection]
        idle = self._by_key[connection.key]
        idle.remove(connection)
        if not idle:
            del self._by_key[connection.key]

    def _expire_in(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadlines.add(self, seconds, IdlePool._expire)

    def _expire(self) -> None:
        if self._seconds is None:
            return  # Closed at the same time.
        self._seconds = None
        limit = self._deadlines.time() - self.idle_timeout
        while self._all:
            oldest = next(iter(self._all))
            if oldest.idle_since > limit:
                self._expire_in(oldest.idle_since - limit)
                return
            self._drop(oldest)
