"""`RequestQueue`: the limit of requests in progress."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from tornado.ioloop import IOLoop

from ..failures import ClientClosed
from .loop_end import asyncio_loop


class QueuedRequest(Protocol):
    """A request that a `RequestQueue` starts."""

    def start(self) -> None: ...

    def fail(self, error: Exception) -> None:
        """Stop the request at once and report ``error``."""


class RequestQueue:
    """The requests in progress, up to a limit, and the others, which wait in order.

    :arg max_clients: limit of requests in progress; ``None`` for no limit.
    """

    def __init__(self, max_clients: int | None) -> None:
        self._loop: asyncio.AbstractEventLoop = asyncio_loop(IOLoop.current())
        self.max_clients = max_clients
        self.active: set[QueuedRequest] = set()
        self.waiting: dict[QueuedRequest, asyncio.TimerHandle | None] = {}
        self._is_starting = False
        # One for each fetch that can add another request.
        self._holds: set[object] = set()
        self._on_empty: Callable[[], None] | None = None

    def add(
        self, request: QueuedRequest, max_wait: float = 0.0, late: Exception | None = None
    ) -> None:
        """Start a request, or let it wait.

        :arg float max_wait: seconds after which a waiting request fails with ``late``; 0
            for no limit. Default: 0.
        """
        if self.max_clients is None or len(self.active) < self.max_clients:
            self.active.add(request)
            request.start()
            return
        timer = None
        if max_wait and late is not None:
            timer = self._loop.call_later(max_wait, request.fail, late)
        self.waiting[request] = timer

    def remove(self, request: QueuedRequest) -> None:
        """Remove a request that has ended, and start the next one.

        Call it when the response has been reported. A redirect then adds its next request
        before this one is removed, and the queue does not become empty in between.
        """
        self.active.discard(request)
        if self.waiting:
            self._leave(request)
            self._start_next()
        if self._on_empty is not None:
            self._end_if_empty()

    def hold(self) -> Callable[[], None]:
        """Treat the queue as not empty until the returned function is called."""
        token = object()
        self._holds.add(token)

        def drop() -> None:
            self._holds.discard(token)
            if self._on_empty is not None:
                self._end_if_empty()

        return drop

    def close(self, on_empty: Callable[[], None]) -> None:
        """Call ``on_empty`` when all requests have ended, or now if there are none."""
        self._on_empty = on_empty
        if self._is_empty():
            self._end()

    def _is_empty(self) -> bool:
        return not (self.active or self.waiting or self._holds)

    def _end_if_empty(self) -> None:
        if not self._is_empty():
            return
        if self._loop.is_closed():
            # It rejects callbacks.
            self._on_empty = None
        else:
            # Later, because the request is still ending.
            self._loop.call_soon(self._end)

    def _end(self) -> None:
        on_empty = self._on_empty
        if on_empty is not None and self._is_empty():
            self._on_empty = None
            on_empty()

    def fail_all(self) -> None:
        """Fail all requests. After that, the function of `close` is not called."""
        self._on_empty = None
        # In this order, because the end of an active request starts a waiting one.
        for request in [*self.waiting, *self.active]:
            try:
                request.fail(ClientClosed())
            except RuntimeError:
                # A closed loop rejects callbacks.
                if not self._loop.is_closed():
                    raise

    def _leave(self, request: QueuedRequest) -> None:
        timer = self.waiting.pop(request, None)
        if timer is not None:
            timer.cancel()

    def _start_next(self) -> None:
        # A request that fails in `start` calls this method. The outer call continues instead,
        # which avoids recursion.
        if self._is_starting:
            return
        self._is_starting = True
        try:
            while self.waiting and len(self.active) < (self.max_clients or 0):
                request = next(iter(self.waiting))
                self._leave(request)
                self.active.add(request)
                request.start()
        finally:
            self._is_starting = False
