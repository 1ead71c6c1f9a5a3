"""`TornadoStreams`: the streamed bodies of one ``HTTPRequest`` of Tornado."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pycurl
from tornado.httpclient import HTTPRequest
from tornado.log import app_log

from ...request.callbacks import ChunkHandler, PendingCall, StreamingCallback
from ..produced_body import ProducedBody
from ..request_tasks import RequestTasks
from .delivery import Delivery
from .engine import CurlEngine
from .tornado_options import TornadoHandle
from .upload import Upload


class TornadoStreams:
    """The ``streaming_callback`` and the ``body_producer`` of a request.

    They are added to a handle that Tornado's code has set up.

    Tornado's client has no ``body_producer``, and does not await a ``streaming_callback``.

    :arg engine: runs the transfer.
    :arg request: the request, with the defaults of the client.
    :arg variables: the context variables that the callbacks see.
    :arg on_failure: called with an exception that ends the request.
    :arg all_tasks: the tasks of all requests.
    """

    def __init__(
        self,
        engine: CurlEngine,
        request: HTTPRequest,
        variables: contextvars.Context,
        on_failure: Callable[[BaseException], None],
        all_tasks: set[asyncio.Task[Any]],
    ) -> None:
        self._engine = engine
        self._request = request
        self._tasks = RequestTasks(engine.loop, variables, on_failure, all_tasks)
        self._upload: Upload | None = None
        self.delivery: Delivery | None = None

    def attach(self, handle: TornadoHandle) -> None:
        """Set the options of a handle that Tornado's code has set up."""
        curl, request = handle.curl, self._request
        resume = functools.partial(self._engine.resume, curl)
        if request.streaming_callback is not None:
            handle_chunk = _logging_handler(request.streaming_callback)
            self.delivery = Delivery(handle_chunk, _unchanged, self._tasks.spawn, resume)
            self.attach_attempt(handle)
        producer: Any = request.body_producer
        if producer is not None:
            length = request.headers.get("Content-Length")
            size = None if length is None else int(length)
            # libcurl frames the chunks.
            body = ProducedBody(size, is_framed=False)
            self._upload = Upload(producer, body, self._tasks.spawn, resume)
            curl.setopt(pycurl.READFUNCTION, self._upload.read)
            curl.setopt(pycurl.SEEKFUNCTION, _cannot_seek)
            option = pycurl.INFILESIZE_LARGE
            if request.method == "POST":
                option = pycurl.POSTFIELDSIZE_LARGE
            curl.setopt(option, -1 if size is None else size)

    def attach_attempt(self, handle: TornadoHandle) -> None:
        """Set the options for one attempt."""
        if self.delivery is not None:
            handle.attempt.delivery = self.delivery
            handle.curl.setopt(pycurl.WRITEFUNCTION, handle.attempt.on_body)

    @property
    def may_restart(self) -> bool:
        """Whether no part of the request body has been read."""
        return self._upload is None or not self._upload.is_started

    def close(self) -> None:
        """End the callbacks."""
        if self.delivery is not None:
            self.delivery.close()
        if self._upload is not None:
            self._upload.close()
        self._tasks.cancel()


def _unchanged(chunk: bytes) -> tuple[bytes]:
    return (chunk,)


def _cannot_seek(offset: int, origin: int) -> int:
    return pycurl.SEEKFUNC_CANTSEEK  # type: ignore[no-any-return]


def _logging_handler(callback: StreamingCallback) -> ChunkHandler:
    """Return a wrapper of ``callback`` that logs its exceptions, as Tornado does."""

    def handle(chunk: bytes) -> PendingCall | None:
        try:
            result = callback(chunk)
        except Exception:
            _log(callback)
            return None
        return _LoggedCall(callback, result) if inspect.isawaitable(result) else None

    return handle


class _LoggedCall(PendingCall):
    def __init__(self, callback: StreamingCallback, result: Awaitable[Any]) -> None:
        super().__init__(result)
        self._callback = callback

    async def _wait(self, result: Awaitable[Any]) -> None:
        try:
            await result
        except Exception:
            _log(self._callback)


def _log(callback: StreamingCallback) -> None:
    app_log.error("Exception in callback %r", callback, exc_info=True)
