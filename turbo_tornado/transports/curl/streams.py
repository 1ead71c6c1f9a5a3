"""`Streams`: the streamed bodies of one request."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable, Iterable
from typing import Any

import pycurl

from ...request.callbacks import ChunkHandler
from ...request.request import BodyProducer
from ..produced_body import ProducedBody
from ..request_tasks import RequestTasks
from .delivery import Delivery
from .engine import CurlEngine
from .upload import Upload


class Streams:
    """The streamed bodies of a request, and the tasks that run the code of the caller.

    :arg engine: runs the transfer.
    :arg variables: the context variables that the callbacks see.
    :arg on_failure: called with an exception that ends the request.
    :arg all_tasks: the tasks of all requests.
    """

    def __init__(
        self,
        engine: CurlEngine,
        variables: contextvars.Context,
        on_failure: Callable[[BaseException], None],
        all_tasks: set[asyncio.Task[Any]],
    ) -> None:
        self._engine = engine
        self._tasks = RequestTasks(engine.loop, variables, on_failure, all_tasks)
        self._upload: Upload | None = None
        self._timer: asyncio.TimerHandle | None = None
        #: The receiver of the response body.
        self.delivery: Delivery | None = None
        #: Whether libcurl has ended the transfer, and the callback has not had the whole body.
        self.is_waiting = False

    def deliver(
        self,
        curl: pycurl.Curl,
        handle_chunk: ChunkHandler,
        decode: Callable[[bytes], Iterable[bytes]],
    ) -> Delivery:
        """Return the receiver of the response body."""
        resume = functools.partial(self._engine.resume, curl)
        self.delivery = Delivery(handle_chunk, decode, self._tasks.spawn, resume)
        return self.delivery

    def upload(self, curl: pycurl.Curl, producer: BodyProducer, body: ProducedBody) -> Upload:
        """Return the source of the request body."""
        resume = functools.partial(self._engine.resume, curl)
        self._upload = Upload(producer, body, self._tasks.spawn, resume)
        return self._upload

    @property
    def has_read_body(self) -> bool:
        """Whether a part of the request body has been read."""
        return self._upload is not None and self._upload.is_started

    def wait(
        self, seconds: float | None, on_late: Callable[[], None], on_end: Callable[[], None]
    ) -> None:
        """Call ``on_end`` when the callback has had the whole body.

        :arg seconds: call ``on_late`` after this time. libcurl's timeout has ended with its part
            of the request. ``None``: no limit.
        """
        assert self.delivery is not None
        self.is_waiting = True
        if seconds is not None:
            self._timer = self._engine.loop.call_later(max(seconds, 0), on_late)
        self.delivery.when_idle(on_end)

    def close(self) -> None:
        """End the callbacks. Another attempt can begin after that."""
        if self._timer is not None:
            self._timer.cancel()
        if self.delivery is not None:
            self.delivery.close()
        if self._upload is not None:
            self._upload.close()
        self._tasks.cancel()
