"""`Exchange`: one request and its response over one stream, or two.

A `Plan` says everything about the request; it is made from a `Hop` or from any other
`HTTPRequest`, so that there is one way through here for both. The second stream is
for the one case in which a request is sent again: its reused connection turned out to
be closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

from tornado.concurrent import Future
from tornado.httpclient import HTTPRequest, HTTPResponse
from tornado.httputil import HTTPOutputError
from tornado.iostream import IOStream, StreamClosedError
from tornado.log import app_log
from tornado.simple_httpclient import HTTPStreamClosedError

from ..urls import URL
from .body import Body
from .connect import Opener
from .failures import (
    BodyError,
    BrokenConnection,
    ConnectFailed,
    ConnectTimeout,
    HandshakeFailed,
    HTTPTimeoutError,
    NoResponse,
    RequestTimeout,
)
from .hop import IDEMPOTENT_METHODS
from .http1 import MAX_HEAD_SIZE, BodySink, Head, ResponseParser

if TYPE_CHECKING:
    from .simple import SimpleTransport

# A body below this many bytes goes out in one write with the head.
_COPY_BELOW = 65536


class CallbackFailed(HTTPStreamClosedError):
    """A callback of the caller's raised, which has been logged."""


class Plan:
    """What an `Exchange` is to do: a request in the form in which it is carried out."""

    # Defaults for what only few requests ask for.
    family: socket.AddressFamily = socket.AF_UNSPEC
    source_ip: str | None = None
    expect_continue = False
    body_producer: Callable[[Callable[[bytes], Awaitable[None]]], Awaitable[None] | None] | None
    body_producer = None
    #: Of what ``body_producer`` makes; ``None`` makes it chunked.
    content_length: int | None = None
    #: Called with the final head; says whether the body is wanted.
    on_head: Callable[[Head], bool] | None = None
    streaming_callback: Callable[[bytes], Awaitable[None] | None] | None = None
    start_time: float | None = None

    def __init__(
        self,
        request: HTTPRequest,
        url: URL,
        head: bytes,
        body: bytes | None,
        *,
        keep_alive: bool,
        decompress: bool,
        max_body_size: int,
        context: ssl.SSLContext | None,
        connect_timeout: float,
        request_timeout: float,
    ) -> None:
        self.request = request
        self.url = url
        self.method = request.method
        self.head = head
        self.body = body
        self.keep_alive = keep_alive
        self.decompress = decompress
        self.max_body_size = max_body_size
        self.context = context
        self.connect_timeout = connect_timeout
        self.request_timeout = request_timeout

    @property
    def key(self) -> tuple[object, ...]:
        """What a connection must agree in to carry this request."""
        url = self.url
        return (url.host, url.port, self.family, self.source_ip, self.context)


class Exchange:
    """Carries out a `Plan` and reports once: a response or an exception."""

    def __init__(
        self,
        transport: SimpleTransport,
        plan: Plan,
        on_done: Callable[[Exchange, HTTPResponse | BaseException], None],
    ) -> None:
        self.transport = transport
        self.plan = plan
        self.io_loop = transport.io_loop
        self.created = self.io_loop.time()
        self.finished = False
        self._on_done = on_done
        self._task: asyncio.Task[None] | None = None
        self._timer: object | None = None
        self._opener: Opener | None = None
        self._stream: IOStream | None = None
        self._body: Body | None = None
        self._undelivered: list[bytes] = []
        self._may_continue: asyncio.Event | None = None

    def start(self) -> None:
        """Begins; the request timeout counts from when the exchange was made."""
        limit = self.plan.request_timeout
        if limit:
            self._timer = self.io_loop.call_at(
                self.created + limit, self._on_timeout, RequestTimeout, "during request"
            )
        self._task = self.io_loop.asyncio_loop.create_task(self._run())  # type: ignore[attr-defined]

    def abort(self) -> None:
        """Stops at once: the connection is closed and nothing is reported."""
        if not self.finished:
            self._end()
            self._stop()

    def fail(self, error: BaseException) -> None:
        """Stops at once and reports ``error``."""
        if not self.finished:
            self._end()
            self._stop()
            self._on_done(self, error)

    def _end(self) -> None:
        self.finished = True
        if self._timer is not None:
            self.io_loop.remove_timeout(self._timer)
            self._timer = None

    def _stop(self) -> None:
        # Cancelled before anything is closed, so that the task sees no closed stream.
        if self._task is not None:
            self._task.cancel()
        if self._opener is not None:
            self._opener.abort()
        if self._stream is not None:
            self._stream.close()

    def _on_timeout(self, kind: type[HTTPTimeoutError], phase: str) -> None:
        self._timer = None
        if self._opener is not None:
            phase = self._opener.phase
        self.fail(kind(f"Timeout {phase}"))

    async def _run(self) -> None:
        outcome: HTTPResponse | BaseException
        try:
            outcome = await self._perform()
        except Exception as error:
            outcome = error
            if self._stream is not None:
                self._stream.close()
        if not self.finished:
            self._end()
            self._on_done(self, outcome)

    async def _perform(self) -> HTTPResponse:
        plan = self.plan
        idle = self.transport.pool.take(plan.key) if plan.keep_alive else None
        if idle is not None:
            parser = self._parser()
            try:
                return await self._converse(idle.stream, parser, idle.read)
            except (NoResponse, BrokenConnection):
                # The peer closed the connection while it was idle, and that was
                # found out too late. Nothing of an answer has come.
                if parser.begun or plan.body_producer or plan.method not in IDEMPOTENT_METHODS:
                    raise
        return await self._converse(await self._open(), self._parser(), None)

    async def _open(self) -> IOStream:
        plan = self.plan
        opener = self._opener = Opener(
            self.transport.resolver, plan.url.host, plan.url.port, plan.context
        )
        timer = None
        if plan.connect_timeout:
            timer = self.io_loop.call_later(
                plan.connect_timeout, self._on_timeout, ConnectTimeout, ""
            )
        try:
            stream = await opener.open(plan.family, plan.source_ip, self.transport.max_buffer_size)
        except (OSError, StreamClosedError, UnicodeError) as error:
            raise self._cannot_open(error) from getattr(error, "real_error", None) or error
        finally:
            self._opener = None
            if timer is not None:
                self.io_loop.remove_timeout(timer)
        stream.set_nodelay(True)
        return stream

    def _parser(self) -> ResponseParser:
        return ResponseParser(
            self.plan.method == "HEAD",
            self._on_head,
            self._on_interim if self.plan.expect_continue else None,
            self.transport.max_header_size or MAX_HEAD_SIZE,
        )

    async def _converse(
        self, stream: IOStream, parser: ResponseParser, read: Awaitable[bytes] | None
    ) -> HTTPResponse:
        plan = self.plan
        self._stream = stream
        self._body = None
        sent = self._send(stream)
        size = self.transport.read_size
        try:
            while True:
                try:
                    data = await (read or stream.read_bytes(size, partial=True))
                except StreamClosedError as error:
                    if error.real_error is not None:
                        raise self._broken(error.real_error) from error.real_error
                    parser.end()
                    break
                read = None
                done = parser.feed(data)
                if self._undelivered:
                    await self._deliver()
                if done:
                    break
        finally:
            all_sent = sent.done()
            if not all_sent:
                sent.cancel()
        head = parser.head
        assert head is not None and self._body is not None
        buffer = self._body.finish()
        # Nothing may be left to say or to hear on a stream that is used again.
        if plan.keep_alive and head.keep_alive and all_sent and not parser.leftover:
            self.transport.pool.put(plan.key, stream)
        else:
            stream.close()
        return HTTPResponse(
            plan.request,
            head.code,
            headers=head.headers,
            buffer=buffer,
            effective_url=plan.request.url,
            request_time=self.io_loop.time() - self.created,
            reason=head.reason,
            start_time=plan.start_time,
        )

    def _send(self, stream: IOStream) -> Future[Any]:
        plan = self.plan
        if plan.expect_continue or plan.body_producer:
            sending = asyncio.ensure_future(self._send_in_steps(stream))
            sending.add_done_callback(self._on_sent)
            return sending
        if not plan.body:
            return stream.write(plan.head)
        if len(plan.body) < _COPY_BELOW:
            return stream.write(plan.head + plan.body)
        stream.write(plan.head)
        return stream.write(plan.body)

    async def _send_in_steps(self, stream: IOStream) -> None:
        plan = self.plan
        await stream.write(plan.head)
        if plan.expect_continue:
            self._may_continue = asyncio.Event()
            await self._may_continue.wait()
        if plan.body is not None:
            await stream.write(plan.body)
        elif plan.body_producer is not None:
            writer = BodyWriter(stream, plan.content_length)
            producing = plan.body_producer(writer.write)
            if producing is not None:
                await producing
            await writer.finish()

    def _on_sent(self, sending: asyncio.Future[None]) -> None:
        if not sending.cancelled():
            error = sending.exception()
            # A closed stream is for the reading side to explain.
            if error is not None and not isinstance(error, StreamClosedError):
                self.fail(error)

    def _on_interim(self, head: Head) -> None:
        if head.code == 100 and self._may_continue is not None:
            self._may_continue.set()

    def _on_head(self, head: Head) -> BodySink:
        plan = self.plan
        wanted = True
        if plan.on_head is not None:
            with _logging_errors(self):
                wanted = plan.on_head(head)
        gzip = head.gzip and plan.decompress
        length = head.content_length or 0
        if length > plan.max_body_size and not gzip and not self._has_no_body(head):
            raise BodyError(f"Content-Length too long: {length} is over {plan.max_body_size} bytes")
        self._body = Body(plan.max_body_size, gzip)
        if not wanted:
            return _Discarded()
        return self._body if plan.streaming_callback is None else self

    def _has_no_body(self, head: Head) -> bool:
        return self.plan.method == "HEAD" or head.code in (204, 304)

    def write(self, chunk: bytes) -> None:
        """Keeps a chunk for the ``streaming_callback``, which may have to be awaited."""
        self._undelivered.append(chunk)

    async def _deliver(self) -> None:
        callback, body = self.plan.streaming_callback, self._body
        assert callback is not None and body is not None
        chunks, self._undelivered = self._undelivered, []
        for chunk in chunks:
            for piece in body.pieces(chunk):
                with _logging_errors(self):
                    pending = callback(piece)
                    if pending is not None:
                        await pending

    def _cannot_open(self, error: Exception) -> HTTPStreamClosedError:
        where = self.plan.url.host_and_port
        real = error.real_error if isinstance(error, StreamClosedError) else error
        if self.plan.context is not None and not _is_unreachable(real):
            said = real or "the peer closed the connection"
            return HandshakeFailed(f"TLS handshake with {where} failed: {said}")
        return ConnectFailed(f"Could not connect to {where}: {real}")

    def _broken(self, error: BaseException) -> HTTPStreamClosedError:
        where = self.plan.url.host_and_port
        if isinstance(error, ssl.SSLError):
            # With TLS 1.3 the peer rejects our certificate, or its absence, only now.
            return HandshakeFailed(f"TLS with {where} failed: {error}")
        return BrokenConnection(f"Connection to {where} broke: {error}")


class BodyWriter:
    """Writes what a ``body_producer`` makes, chunked when its length was not given."""

    def __init__(self, stream: IOStream, content_length: int | None) -> None:
        self._stream = stream
        self._remaining = content_length

    def write(self, chunk: bytes) -> Awaitable[None]:
        if self._remaining is None:
            if not chunk:
                return self._stream.write(b"")
            return self._stream.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        self._remaining -= len(chunk)
        if self._remaining < 0:
            raise HTTPOutputError("Tried to write more data than Content-Length")
        return self._stream.write(chunk)

    async def finish(self) -> None:
        if self._remaining is None:
            await self._stream.write(b"0\r\n\r\n")
        elif self._remaining:
            raise HTTPOutputError(
                f"Tried to write {self._remaining} bytes less than Content-Length"
            )


@contextlib.contextmanager
def _logging_errors(exchange: Exchange) -> Iterator[None]:
    # As stock Tornado does: an exception of the caller's callback is logged as its own,
    # and ends the request as a closed connection.
    try:
        yield
    except BaseException as error:
        if exchange.finished or not isinstance(error, (Exception, asyncio.CancelledError)):
            raise
        app_log.error("Uncaught exception", exc_info=True)
        raise CallbackFailed("Connection closed") from None


def _is_unreachable(error: BaseException | None) -> bool:
    # OSErrors of look-up and TCP; what else can happen to a connection that is being
    # made happens in the TLS handshake.
    return isinstance(error, (OSError, UnicodeError)) and not isinstance(
        error, (ssl.SSLError, ConnectionResetError, BrokenPipeError)
    )


class _Discarded:
    def write(self, chunk: bytes) -> None:
        """Takes the body of a redirect that is followed."""
