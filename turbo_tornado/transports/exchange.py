"""`Exchange`: one request and its response over one stream, or two.

A `Plan` says everything about the request; it is made from a `Hop` or from any other
`HTTPRequest`, so that there is one way through here for both. The second stream is
for the one case in which a request is sent again: its reused connection turned out to
be closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, cast

from tornado.concurrent import Future
from tornado.httpclient import HTTPRequest, HTTPResponse
from tornado.httputil import HTTPOutputError
from tornado.iostream import IOStream, StreamClosedError
from tornado.log import app_log
from tornado.simple_httpclient import HTTPStreamClosedError

from ..urls import URL
from .body import Body, body_of
from .connect import Opener
from .failures import (
    BrokenConnection,
    ConnectFailed,
    ConnectTimeout,
    HandshakeFailed,
    HTTPTimeoutError,
    RequestTimeout,
)
from .hop import IDEMPOTENT_METHODS, Hop
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
        request: HTTPRequest | Hop,
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

    def key(self) -> tuple[object, ...]:
        """Returns what a connection must agree in to carry this request."""
        url = self.url
        return (url.host, url.port, self.family, self.source_ip, self.context)


class Exchange:
    """Carries out a `Plan` and reports once: a response or an exception.

    Driven by callbacks of the stream, because a coroutine per request would cost as
    much as the rest; coroutines do what only few requests need, connecting among it.
    """

    def __init__(
        self,
        transport: SimpleTransport,
        plan: Plan,
        on_done: Callable[[Exchange, HTTPResponse | BaseException], None],
    ) -> None:
        self.transport = transport
        self.plan = plan
        self.loop: asyncio.AbstractEventLoop = transport.loop
        self.created = self.loop.time()
        # That of the loop may count whole milliseconds, as uvloop's does.
        self._clock = time.monotonic()
        #: Seconds that it waited for its turn.
        self.queued = 0.0
        # Seconds from then on to the end of the connect, and from when it was made to the
        # first byte of the response.
        self._connected = self._heard = 0.0
        self.finished = False
        self._on_done: Callable[[Exchange, HTTPResponse | BaseException], None] | None = on_done
        #: What goes on in the place of this exchange, which was redirected.
        self.successor: Future[HTTPResponse] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._opener: Opener | None = None
        self._stream: IOStream | None = None
        self._key: tuple[object, ...] = ()
        self._reused = False
        self._sent: Future[Any] | _Write | None = None
        self._parser: ResponseParser | None = None
        self._body: Body | None = None
        self._undelivered: list[bytes] = []
        self._may_continue: asyncio.Event | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the exchange was made."""
        return time.monotonic() - self._clock

    def start(self) -> None:
        """Begins; the request timeout counts from when the exchange was made."""
        plan = self.plan
        if plan.request_timeout:
            self._timer = self.loop.call_at(
                self.created + plan.request_timeout,
                self._on_timeout,
                RequestTimeout,
                "during request",
            )
        idle = None
        if plan.keep_alive:
            self._key = plan.key()
            idle = self.transport.pool.take(self._key)
        if idle is None:
            self._connect()
        else:
            self._reused = True
            self._converse(idle.stream, idle.read)

    def abort(self) -> None:
        """Stops at once: the connection is closed and nothing is reported."""
        if not self.finished:
            self._end()
            self._stop()
            self._forget()
        if self.successor is not None:
            self.successor.cancel()

    def fail(self, error: BaseException) -> None:
        """Stops at once and reports ``error``."""
        if not self.finished:
            self._end()
            self._stop()
            self._report(error)

    def _report(self, outcome: HTTPResponse | BaseException) -> None:
        on_done = self._on_done
        self._forget()
        assert on_done is not None
        on_done(self, outcome)

    def _forget(self) -> None:
        # An exception keeps, by its traceback, what the exchange has: no future that has
        # the exception, and no body.
        self._on_done = self._parser = self._body = self._stream = None

    def _end(self) -> None:
        self.finished = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop(self) -> None:
        # Streams first: Tornado 6.4 cannot close one that has a cancelled future.
        if self._opener is not None:
            self._opener.abort()
        if self._stream is not None:
            self._stream.close()
        for task in self._tasks:
            task.cancel()

    def _on_timeout(self, kind: type[HTTPTimeoutError], phase: str) -> None:
        if self._opener is not None:
            phase = self._opener.phase
        self.fail(kind(f"Timeout {phase}"))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    def _connect(self) -> None:
        self._reused = False
        self._spawn(self._open())

    async def _open(self) -> None:
        plan, url = self.plan, self.plan.url
        opener = self._opener = Opener(
            self.transport.resolver,
            url.host,
            url.port,
            literal=url.literal and self.transport.trusts_literals,
            context=plan.context,
        )
        timer = None
        if plan.connect_timeout:
            timer = self.loop.call_later(plan.connect_timeout, self._on_timeout, ConnectTimeout, "")
        try:
            stream = await opener.open(plan.family, plan.source_ip, self.transport.max_buffer_size)
        except (OSError, StreamClosedError, UnicodeError) as error:
            raise self._cannot_open(error) from getattr(error, "real_error", None) or error
        finally:
            self._opener = None
            if timer is not None:
                timer.cancel()
        self._connected = self.elapsed - self.queued
        if not stream.closed():
            stream.set_nodelay(True)
        self._converse(stream, None)

    def _converse(self, stream: IOStream, read: Future[bytes] | None) -> None:
        self._stream = stream
        self._parser = ResponseParser(
            self.plan.method == "HEAD",
            self._on_head,
            self._on_interim if self.plan.expect_continue else None,
            self.transport.max_header_size or MAX_HEAD_SIZE,
        )
        try:
            self._sent = self._send(stream)
        except StreamClosedError as error:
            self._on_closed(error)
            return
        if read is None:
            self._read()
        else:
            read.add_done_callback(self._on_read)

    def _read(self) -> None:
        assert self._stream is not None
        try:
            read = self._stream.read_bytes(self.transport.read_size, partial=True)
        except StreamClosedError as error:
            self._on_closed(error)
        except OSError as error:
            # Found by the read itself, such as a TLS record that is none.
            self._on_closed(StreamClosedError(real_error=error))
        else:
            cast("Future[bytes]", read).add_done_callback(self._on_read)

    def _on_read(self, read: Future[bytes]) -> None:
        if self.finished:
            return
        assert self._parser is not None
        if not self._parser.begun:
            self._heard = time.monotonic() - self._clock
        try:
            complete = self._parser.feed(read.result())
        except StreamClosedError as error:
            self._on_closed(error)
        except Exception as error:
            self.fail(error)
        else:
            if self._undelivered:
                self._spawn(self._deliver(complete))
            else:
                self._proceed(complete)

    def _proceed(self, complete: bool) -> None:
        if not complete:
            self._read()
            return
        try:
            self._respond()
        except HTTPStreamClosedError as error:
            self.fail(error)

    def _on_closed(self, closed: StreamClosedError) -> None:
        parser, plan, cause = self._parser, self.plan, closed.real_error
        assert parser is not None
        again = self._sent is None or plan.method in IDEMPOTENT_METHODS
        if self._reused and not parser.begun and not plan.body_producer and again:
            # The peer closed the connection while it was idle, and that has been found
            # out too late. Nothing of an answer has come.
            self._connect()
            return
        try:
            if cause is not None:
                raise self._broken(cause) from cause
            parser.end()
            self._respond()
        except HTTPStreamClosedError as error:
            self.fail(error)

    def _respond(self) -> None:
        plan, parser = self.plan, self._parser
        assert parser is not None
        head = parser.head
        assert head is not None and self._body is not None
        buffer = self._body.finish()
        self._end()
        self._leave(head, parser.leftover)
        elapsed, queued = self.elapsed, self.queued
        response = HTTPResponse(
            cast(HTTPRequest, plan.request),
            head.code,
            headers=head.headers,
            buffer=buffer,
            effective_url=plan.request.url,
            request_time=elapsed,
            time_info={
                "queue": queued,
                # libcurl's names: known is when the last of look-up, TCP and TLS was done.
                "connect" if plan.context is None else "appconnect": self._connected,
                "starttransfer": self._heard - queued,
                "total": elapsed - queued,
            },
            reason=head.reason,
            start_time=plan.start_time,
        )
        self._report(response)

    def _leave(self, head: Head, leftover: bytes) -> None:
        assert self._stream is not None and self._sent is not None
        # Nothing may be left to say or to hear on a stream that is used again.
        if self.plan.keep_alive and head.keep_alive and self._sent.done() and not leftover:
            self.transport.pool.put(self._key, self._stream)
        else:
            self._stop()

    def _send(self, stream: IOStream) -> Future[Any] | _Write:
        plan = self.plan
        if plan.expect_continue or plan.body_producer:
            return self._spawn(self._send_in_steps(stream))
        if not plan.body:
            return _write(stream, plan.head)
        if len(plan.body) < _COPY_BELOW:
            return _write(stream, plan.head + plan.body)
        stream.write(plan.head)
        return stream.write(plan.body)

    async def _send_in_steps(self, stream: IOStream) -> None:
        plan = self.plan
        with contextlib.suppress(StreamClosedError):  # for the reading side to explain
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

    def _on_interim(self, head: Head) -> None:
        if head.code == 100 and self._may_continue is not None:
            self._may_continue.set()

    def _on_head(self, head: Head) -> BodySink:
        plan = self.plan
        wanted = True
        if plan.on_head is not None:
            with _logging_errors(self):
                wanted = plan.on_head(head)
        self._body = body_of(head, plan.method, plan.max_body_size, plan.decompress)
        if not wanted:
            return _Discarded()
        return self._body if plan.streaming_callback is None else self

    def write(self, chunk: bytes) -> None:
        """Keeps a chunk for the ``streaming_callback``, which may have to be awaited."""
        self._undelivered.append(chunk)

    async def _deliver(self, complete: bool) -> None:
        callback, body = self.plan.streaming_callback, self._body
        assert callback is not None and body is not None
        chunks, self._undelivered = self._undelivered, []
        for chunk in chunks:
            for piece in body.pieces(chunk):
                with _logging_errors(self):
                    pending = callback(piece)
                    if pending is not None:
                        await pending
        self._proceed(complete)

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


class _Write(enum.Enum):
    """Stands for the future of a write that the kernel has answered at once."""

    TAKEN = True
    REFUSED = False

    def done(self) -> bool:
        return self.value


def _write(stream: IOStream, data: bytes) -> Future[Any] | _Write:
    # Nothing is buffered on a stream whose turn it is, so the socket may be tried first.
    # What it does not take, or says against it, is for the stream to deal with, whose
    # own way costs as much again as the system call.
    if stream.closed():
        raise StreamClosedError(real_error=stream.error)
    try:
        count = stream.socket.send(data)
    except (BrokenPipeError, ConnectionResetError):
        # The stream would close. There may be an alert to read, or a response.
        return _Write.REFUSED
    except OSError:
        count = 0
    return _Write.TAKEN if count == len(data) else stream.write(data[count:])


def _is_unreachable(error: BaseException | None) -> bool:
    # OSErrors of look-up and TCP; what else can happen to a connection that is being
    # made happens in the TLS handshake.
    return isinstance(error, (OSError, UnicodeError)) and not isinstance(
        error, (ssl.SSLError, ConnectionResetError, BrokenPipeError)
    )


class _Discarded:
    def write(self, chunk: bytes) -> None:
        """Takes the body of a redirect that is followed."""
