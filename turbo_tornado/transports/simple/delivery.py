"""`Delivery`: the body of a response, handed to a ``streaming_callback``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

from tornado.log import app_log
from tornado.simple_httpclient import HTTPStreamClosedError

from ...failures import BodyError, Picklable
from ...http1.body import Body

if TYPE_CHECKING:
    from .exchange import Exchange


class CallbackFailed(Picklable, HTTPStreamClosedError):
    """A callback of the caller raised an exception, which has been logged."""


@contextlib.contextmanager
def logging_errors(exchange: Exchange | None = None) -> Iterator[None]:
    """Logs an exception of the caller's callback, and ends the request, as Tornado does."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, (Exception, asyncio.CancelledError)):
            raise
        if exchange is not None and exchange.is_done:
            raise
        app_log.error("Uncaught exception", exc_info=True)
        raise CallbackFailed("Connection closed") from None


class Delivery:
    """Receives the body from the parser and calls the ``streaming_callback``.

    While the caller awaits something in an asynchronous callback, nothing is received: the
    peer has to wait.
    """

    def __init__(
        self,
        exchange: Exchange,
        body: Body,
        callback: Callable[[bytes], Awaitable[None] | None],
    ) -> None:
        self._exchange = exchange
        self._body = body
        self._callback = callback
        self._received: list[bytes] = []

    def write(self, chunk: bytes) -> None:
        """Takes the next bytes of the body from the parser."""
        self._received.append(chunk)

    def deliver(self, complete: bool) -> bool:
        """Calls the callback; returns whether there may be more to receive now.

        :arg bool complete: whether the response is complete.
        :raises BodyError: for a body over its limit or invalid gzip.
        """
        return self._deliver(self._pieces(), complete)

    def _pieces(self) -> Iterator[bytes]:
        received, self._received = self._received, []
        for chunk in received:
            yield from self._body.pieces(chunk)

    def _deliver(self, pieces: Iterator[bytes], complete: bool) -> bool:
        exchange = self._exchange
        for piece in pieces:
            with logging_errors(exchange):
                pending = exchange.call(self._callback, piece)
            if exchange.is_done:
                return False
            if pending is not None:
                exchange.pause_reading()
                exchange.spawn(self._await(pending, pieces, complete))
                return False
        if complete:
            exchange.on_complete()
        return not complete

    async def _await(
        self, pending: Awaitable[None], pieces: Iterator[bytes], complete: bool
    ) -> None:
        with logging_errors(self._exchange):
            await pending
        if self._deliver(pieces, complete):
            self._exchange.resume_reading()


class Discard:
    """Drops a body that nobody needs, such as that of a redirect that is followed."""

    # Receiving the rest is cheaper than a new connection, up to a point.
    _LIMIT = 262144

    def __init__(self) -> None:
        self._size = 0

    def write(self, chunk: bytes) -> None:
        """Counts the bytes.

        :raises BodyError: for more than a new connection would cost.
        """
        self._size += len(chunk)
        if self._size > self._LIMIT:
            raise BodyError(f"the discarded body is over {self._LIMIT} bytes")
