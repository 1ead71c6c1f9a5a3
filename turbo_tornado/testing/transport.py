"""The transport of a stub, which needs no socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..failures import RequestTimeout
from ..request.request import Request
from ..transports.base import Abort, OnDone, Response
from ..transports.classify import SIMULATED
from ..transports.registry import check_supported
from ..transports.simple import SimpleTransport
from ..transports.simple.active_request import ActiveRequest
from ..transports.simple.connection import Connection
from .request import StubRequest

if TYPE_CHECKING:
    from .stub import StubTransport


class StubConnection(Connection):
    """A connection without a socket, from which an exchange receives an answer."""

    __slots__ = ("_answer",)

    def __init__(self) -> None:
        self._answer = [b""]
        self.key = ()
        self.is_written = False
        self.write_error = None
        # The pool does not store a closed connection.
        self.is_closed = True

    @property
    def is_sent(self) -> bool:
        return True

    def write(self, data: bytes) -> None:
        """Do nothing, because the stub reads the `Request` instead."""

    def answer(self, *data: bytes) -> None:
        """Make the exchange receive these bytes and then the end of the connection."""
        self._answer = [*data, b""]

    def receive(self) -> bytes | None:
        data = self._answer[0]
        if data or len(self._answer) > 1:
            del self._answer[0]
        return data

    def receive_into(self, buffer: memoryview) -> int | None:
        data = self._answer[0]
        size = min(len(data), len(buffer))
        buffer[:size] = data[:size]
        self._answer[0] = data[size:]
        return size

    def pause_reading(self) -> None:
        """Do nothing, because there are no events."""

    def resume_reading(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing, because there is no socket."""


class Transport(SimpleTransport):
    """A transport whose answers come from a stub."""

    stub: StubTransport

    @classmethod
    def check_request(cls, request: Request) -> None:
        # A client whose transport is the stub has the features of ``auto``.
        check_supported("auto", request)

    def send(self, request: Request, on_done: OnDone) -> Abort:
        def on_response(outcome: Response | BaseException) -> None:
            if isinstance(outcome, Response) and request.version == "HTTP/2":
                outcome.headers.set_version(request.version)
            on_done(outcome)

        return super().send(request, on_response)

    def connect(self, exchange: ActiveRequest) -> None:
        request = StubRequest(exchange)
        self.stub.requests.append(request)
        exchange.spawn(self._answer(exchange, request))

    async def _answer(self, exchange: ActiveRequest, request: StubRequest) -> None:
        if exchange.request.body_producer is not None:
            await _receive_body(exchange, request)
        answer = await self.stub._answer(request)
        timeout = exchange.request.request_timeout
        if timeout and answer.delay >= timeout - exchange.elapsed:
            raise RequestTimeout(f"the stub answers after {answer.delay:g} s")
        await asyncio.sleep(answer.delay)
        if answer.error is not None:
            raise SIMULATED[answer.error]("simulated by a stub")
        connection = StubConnection()
        connection.answer(*answer.data)
        exchange.on_connected(connection)
        exchange.on_readable(connection)


async def _receive_body(exchange: ActiveRequest, request: StubRequest) -> None:
    producer, received = exchange.request.body_producer, bytearray()

    async def write(chunk: bytes) -> None:
        received.extend(chunk)

    assert producer is not None
    producing = producer(write)
    if producing is not None:
        await producing
    request.body = bytes(received)
    # The exchange must not read the body a second time, but a redirect may.
    sent = Request.__new__(Request)
    vars(sent).update(vars(exchange.request))
    sent.drop_body()
    sent.body = request.body
    exchange.request = sent
