"""`Upload`: a request body that a ``body_producer`` sends."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import pycurl
from tornado.iostream import StreamClosedError

from ...request.request import BodyProducer
from ..produced_body import ProducedBody
from ..request_tasks import Spawn

# Bytes that may wait for libcurl before the producer waits.
_MAX_WAITING = 131072


class Upload:
    """A body that libcurl reads while a producer, which runs as a task, writes it.

    :arg producer: sends the body.
    :arg body: frames the chunks.
    :arg spawn: runs a coroutine as a task of the request, whose exception ends the request.
    :arg resume: makes libcurl continue sending.
    """

    def __init__(
        self,
        producer: BodyProducer,
        body: ProducedBody,
        spawn: Spawn,
        resume: Callable[[], None],
    ) -> None:
        self._producer = producer
        self._body = body
        self._spawn = spawn
        self._resume = resume
        self._waiting: deque[memoryview] = deque()
        self._size = 0
        self._is_paused = False
        self._is_complete = False
        self._is_closed = False
        self._drains: list[asyncio.Future[None]] = []
        #: Whether the producer has been called.
        self.is_started = False

    def read(self, size: int) -> bytes | int:
        """Return the next bytes: the read function of libcurl."""
        if not self.is_started:
            self.is_started = True
            self._spawn(self._run())
        if not self._waiting:
            if self._is_complete:
                return b""
            self._is_paused = True
            return pycurl.READFUNC_PAUSE  # type: ignore[no-any-return]
        view = self._waiting[0]
        if len(view) > size:
            self._waiting[0] = view[size:]
            view = view[:size]
        else:
            self._waiting.popleft()
        self._size -= len(view)
        if self._drains:
            self._end_drains()
        return bytes(view)

    def close(self) -> None:
        """End the upload. A producer that goes on to write gets a `StreamClosedError`."""
        self._is_closed = True
        self._waiting.clear()
        self._end_drains()

    async def _run(self) -> None:
        producing = self._producer(self._write)
        if producing is not None:
            await producing
        self._append(self._body.end())
        self._is_complete = True
        self._go_on()

    def _write(self, chunk: bytes) -> Awaitable[None]:
        if not self._is_closed:
            self._append(self._body.frame(chunk))
            self._go_on()
        # One for each caller, who can cancel it.
        drain = asyncio.get_running_loop().create_future()
        self._drains.append(drain)
        self._end_drains()
        return drain

    def _end_drains(self) -> None:
        if self._size >= _MAX_WAITING and not self._is_closed:
            return
        drains, self._drains = self._drains, []
        for drain in drains:
            if drain.done():
                continue
            if self._is_closed:
                drain.set_exception(StreamClosedError())
                # The producer need not look at it.
                drain.exception()
            else:
                drain.set_result(None)

    def _append(self, data: bytes) -> None:
        if data:
            self._waiting.append(memoryview(data))
            self._size += len(data)

    def _go_on(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._resume()
