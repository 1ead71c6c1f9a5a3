"""`Delivery`: the body of a response, handed to a ``streaming_callback``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...failures import BodyError
from ...http1.body import Body
from ...request.callbacks import ChunkHandler, PendingCall

if TYPE_CHECKING:
    from .exchange import Exchange


class Delivery:
    """The receiver of the body, which calls the ``streaming_callback``.

    While an asynchronous callback waits, the transport does not receive, and the peer must
    wait.
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
        """Store the next bytes of the body."""
        self._received.append(chunk)

    def deliver(self, complete: bool) -> bool:
        """Call the callback, and return whether there may be more to receive now.

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
                if pending is not None:
                    pending.close()
                return False
            if pending is not None:
                exchange.pause_reading()
                task = exchange.spawn(self._await(pending, pieces, complete))
                task.add_done_callback(pending.close)
                return False
        if complete:
            exchange.on_complete()
        return not complete

    async def _await(self, pending: PendingCall, pieces: Iterator[bytes], complete: bool) -> None:
        await pending
        # The callback can ignore that its task is cancelled.
        if not self._exchange.is_done and self._deliver(pieces, complete):
            self._exchange.resume_reading()


class Discard:
    """The receiver of a body that is not needed, such as that of a followed redirect."""

    # Up to this limit, receiving the body is cheaper than a new connection.
    _LIMIT = 262144

    def __init__(self) -> None:
        self._size = 0

    def write(self, chunk: bytes) -> None:
        """Count the bytes.

        :raises BodyError: for more bytes than the limit.
        """
        self._size += len(chunk)
        if self._size > self._LIMIT:
            raise BodyError(f"the discarded body is over {self._LIMIT} bytes")
