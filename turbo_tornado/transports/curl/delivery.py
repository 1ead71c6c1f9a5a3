"""`Delivery`: the body of a response, handed to a ``streaming_callback``."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import pycurl

from ...request.callbacks import ChunkHandler
from ..request_tasks import Spawn

# Bytes that may wait for the callback before libcurl stops receiving.
_MAX_WAITING = 131072


class Delivery:
    """The delivery of the received body to a ``streaming_callback``.

    It calls the callback in a task. libcurl cannot be used within the callbacks of libcurl, and
    an asynchronous callback makes the peer wait.

    :arg handle_chunk: the callback.
    :arg decode: returns the decoded pieces of the bytes that have arrived.
    :arg spawn: runs a coroutine as a task of the request, whose exception ends the request.
    :arg resume: makes libcurl continue receiving.
    """

    def __init__(
        self,
        handle_chunk: ChunkHandler,
        decode: Callable[[bytes], Iterable[bytes]],
        spawn: Spawn,
        resume: Callable[[], None],
    ) -> None:
        self._handle_chunk = handle_chunk
        self._decode = decode
        self._spawn = spawn
        self._resume = resume
        self._received: deque[bytes] = deque()
        self._size = 0
        self._is_paused = False
        self._is_running = False
        self._is_closed = False
        self._on_idle: Callable[[], None] | None = None

    def write(self, chunk: bytes) -> int | None:
        """Receive bytes of the body: the write function of libcurl."""
        if self._size >= _MAX_WAITING:
            # libcurl passes the same bytes again later.
            self._is_paused = True
            return pycurl.WRITEFUNC_PAUSE  # type: ignore[no-any-return]
        self._received.append(chunk)
        self._size += len(chunk)
        if not self._is_running:
            self._is_running = True
            self._spawn(self._deliver())
        return None

    def when_idle(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when everything that was received has been handled."""
        if self._is_running:
            self._on_idle = callback
        else:
            callback()

    def close(self) -> None:
        """End the calls, also if the callback ignores that its task is cancelled."""
        self._is_closed = True
        self._received.clear()

    async def _deliver(self) -> None:
        received = self._received
        while received:
            chunk = received.popleft()
            self._size -= len(chunk)
            for piece in self._decode(chunk):
                pending = self._handle_chunk(piece)
                if pending is not None:
                    await pending
                if self._is_closed:
                    return
            if self._is_paused and not received:
                self._is_paused = False
                self._resume()
        self._is_running = False
        if self._on_idle is not None:
            self._on_idle()
