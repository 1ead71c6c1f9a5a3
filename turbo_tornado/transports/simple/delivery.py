"""`Delivery`: the body of a response, handed to a ``streaming_callback``."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from typing import TYPE_CHECKING

from ...failures import BodyError
from ...http1.body import Body
from ...request.callbacks import ChunkHandler

if TYPE_CHECKING:
    from .exchange import Exchange


class Delivery:
    """Receives the body from the parser and calls the ``streaming_callback``.

    While the caller awaits something in an asynchronous callback, nothing is received: the
    peer has to wait.
    """

    def __init__(
        self,
        exchange: Exchange,
        body: Body,
        callback: ChunkHandler,
    ) -> None:
        self._exchange = exchange
        self._body = body
        self._callback = callback
        self._received: list[bytes] = []

    def write(self, chunk: bytes) -> None:
        """Take the next bytes of the body from the parser."""
        self._received.append(chunk)

    def deliver(self, complete: bool) -> bool:
        """Call the callback; return whether there may be more to receive now.

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
        await pending
        if self._deliver(pieces, complete):
            self._exchange.resume_reading()


class Discard:
    """Drops a body that is not needed, such as that of a redirect that is followed."""

    # Receiving the rest is cheaper than a new connection, up to a point.
    _LIMIT = 262144

    def __init__(self) -> None:
        self._size = 0

    def write(self, chunk: bytes) -> None:
        """Count the bytes.

        :raises BodyError: for more than a new connection would cost.
        """
        self._size += len(chunk)
        if self._size > self._LIMIT:
            raise BodyError(f"the discarded body is over {self._LIMIT} bytes")
