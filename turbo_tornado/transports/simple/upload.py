"""`Upload`: a request body that is not sent together with the head."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable

from tornado.iostream import StreamClosedError

from ...http1.parser import ResponseParser
from ...request.request import Request
from ..produced_body import ProducedBody
from .connection import Connection

# Seconds to wait for ``100 Continue``, as in libcurl. RFC 9110, section 10.1.1: a server that does
# not support it does not respond to it.
_CONTINUE_TIMEOUT = 1.0


class Upload:
    """A body that is sent after ``100 Continue``, or by a ``body_producer``."""

    def __init__(self, request: Request, connection: Connection, parser: ResponseParser) -> None:
        self._request = request
        self._connection = connection
        self._parser = parser
        self._body = ProducedBody(request.content_length)
        #: Set when the peer has sent ``100 Continue``.
        self.may_continue = asyncio.Event()
        #: Whether the whole body has been sent.
        self.is_complete = False

    async def run(self) -> None:
        """Send the body.

        :raises HTTPOutputError: when the producer does not send as many bytes as Content-Length.
        """
        request, connection = self._request, self._connection
        try:
            if request.expect_continue:
                await self._wait_to_continue()
            if request.body is not None:
                connection.write(request.body)
            elif request.body_producer is not None:
                producing = request.body_producer(self._write)
                if producing is not None:
                    await producing
                if end := self._body.end():
                    connection.write(end)
            await connection.drain()
        except StreamClosedError:
            if not connection.is_broken:
                # The error is from another stream, which the producer reads.
                raise
            # The receiving side reports a closed connection, with the response of the peer.
        else:
            self.is_complete = True

    async def _wait_to_continue(self) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.may_continue.wait(), _CONTINUE_TIMEOUT)
        if self._parser.head is not None:
            # The server does not need the body. The task ends with the response.
            await self.may_continue.wait()

    def _write(self, chunk: bytes) -> Awaitable[None]:
        self._connection.write(self._body.frame(chunk))
        return self._connection.drain()
