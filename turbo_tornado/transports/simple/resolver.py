"""`ThreadResolver`: DNS resolution in threads of the transport."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from tornado.ioloop import IOLoop
from tornado.netutil import Resolver

from ..loop_end import asyncio_loop

# A thread of `socket.getaddrinfo` cannot be stopped. It ends when the name server responds, or
# after several timeouts of the system.
_MAX_THREADS = 256

_Key = tuple[str, int, int]
_Addresses = list[tuple[int, Any]]


class ThreadResolver(Resolver):
    """A resolver that calls `socket.getaddrinfo` in separate threads.

    Tornado's default resolver uses the executor of the loop, which has few threads. If a name
    server did not respond, it would block other names and other users of the executor, and
    `asyncio.run` would wait for it.
    """

    def initialize(self) -> None:
        self._loop = asyncio_loop(IOLoop.current())
        self._threads = 0
        # Names that wait for a thread.
        self._queue: deque[_Key] = deque()
        # The callers of each name that is queued or being resolved.
        self._callers: dict[_Key, list[asyncio.Future[_Addresses]]] = {}

    async def resolve(
        self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> _Addresses:
        key = (host, port, int(family))
        callers = self._callers.get(key)
        future: asyncio.Future[_Addresses] = self._loop.create_future()
        if callers is None:
            self._callers[key] = [future]
            self._queue.append(key)
            self._start_next()
        else:
            callers.append(future)
        try:
            return await future
        finally:
            # The traceback refers to this frame, and the future to the exception.
            del future, callers

    def _start_next(self) -> None:
        while self._queue and self._threads < _MAX_THREADS:
            key = self._queue.popleft()
            if all(future.done() for future in self._callers[key]):
                # The caller has cancelled it in the queue.
                del self._callers[key]
                continue
            arguments = (self._loop, key, self._on_resolved)
            self._threads += 1
            try:
                threading.Thread(target=_resolve, args=arguments, daemon=True).start()
            except RuntimeError as error:
                self._on_resolved(key, None, OSError(errno.EAGAIN, str(error)))

    def _on_resolved(
        self, key: _Key, addresses: _Addresses | None, error: BaseException | None
    ) -> None:
        self._threads -= 1
        for future in self._callers.pop(key):
            if future.done():
                continue
            if addresses is not None:
                future.set_result(addresses)
            elif error is not None:
                future.set_exception(error)
        self._start_next()


def _resolve(loop: asyncio.AbstractEventLoop, key: _Key, on_resolved: Callable[..., None]) -> None:
    host, port, family = key
    try:
        found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        report = functools.partial(on_resolved, key, [(info[0], info[4]) for info in found], None)
    except BaseException as error:
        report = functools.partial(on_resolved, key, None, error.with_traceback(None))
    # The loop may be closed.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(report)


def default_resolver() -> Resolver | None:
    """Return a `ThreadResolver`, or ``None`` if another class is configured."""
    is_configured = Resolver.configured_class() is not Resolver.configurable_default()
    return None if is_configured else ThreadResolver()
