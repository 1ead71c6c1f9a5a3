"""`TornadoStreams`: the streamed bodies of one ``HTTPRequest`` of Tornado."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import Any

import pycurl
from tornado.httpclient import HTTPRequest
from tornado.log import app_log

from ...request.callbacks import ChunkHandler, PendingCall, StreamingCallback
from ..produced_body import ProducedBody
from .streams import Streams
from .tornado_options import TornadoHandle


class TornadoStreams(Streams):
    """The ``streaming_callback`` and the ``body_producer`` of an ``HTTPRequest``.

    They are added to a handle that Tornado's code has set up. Tornado's client has no
    ``body_producer``, and does not await a ``streaming_callback``.
    """

    def attach(self, handle: TornadoHandle, request: HTTPRequest) -> None:
        """Set the options of a handle that Tornado's code has set up."""
        curl = handle.curl
        if request.streaming_callback is not None:
            self.deliver(curl, _logging_handler(request.streaming_callback), _unchanged)
            self.attach_attempt(handle)
        producer: Any = request.body_producer
        if producer is not None:
            length = request.headers.get("Content-Length")
            size = None if length is None else int(length)
            # libcurl frames the chunks.
            upload = self.upload(curl, producer, ProducedBody(size, is_framed=False))
            curl.setopt(pycurl.READFUNCTION, upload.read)
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
