"""`Exchange`: one request and its response over a connection.

The connection is an idle one of the pool or a new one. The exchange retries on a second
connection in one case: the reused connection is closed, and the retry is safe.
"""

from __future__ import annotations

import ssl
import time

from tornado.simple_httpclient import HTTPStreamClosedError

from ...failures import BrokenConnection, HandshakeFailed
from ...http1.body import Body, body_of
from ...http1.head import MAX_HEAD_SIZE, METHODS_WITHOUT_BODY, Head
from ...http1.parser import BodySink, ResponseParser
from ...request.request import IDEMPOTENT_METHODS
from ..base import OnDone, Response
from .active_request import ActiveRequest, Phase
from .connection import Connection, is_cut_tls
from .delivery import Delivery, Discard
from .upload import Upload

# Limit of receive calls for one event.
_MAX_RECEIVES = 32
# A smaller body is appended to the head, which saves a system call.
_COPY_BELOW = 65536


class Exchange(ActiveRequest):
    """One `Request` and its response.

    Callbacks of the connection drive the exchange. It creates tasks only for rare steps, such
    as connecting, because a task costs as much as the rest of the request.
    """

    # Class attributes, because only some exchanges set them.
    _first_byte_time = 0.0
    _is_reused = False
    _is_receiving_more = False
    _parser: ResponseParser | None = None
    _body: Body | None = None
    _delivery: Delivery | None = None
    _discard: Discard | None = None
    _upload: Upload | None = None

    def start(self) -> None:
        """Begin with an idle connection, or connects."""
        transport = self._transport
        if transport.requests.max_clients is not None:
            self.queued = self.elapsed
        connection = transport.pool.take(self.key) if self.request.keep_alive else None
        if connection is None:
            self.connect()
        else:
            self._is_reused = True
            self.send_on(connection)

    # Sending

    def send_on(self, connection: Connection) -> None:
        request = self.request
        self.phase = Phase.CONNECTED
        self._connection = connection
        connection.owner = self
        connection.is_written = False
        self._parser = ResponseParser(
            request.method in METHODS_WITHOUT_BODY,
            self._on_head,
            self._on_interim if request.expect_continue else None,
            self._transport.max_header_size or MAX_HEAD_SIZE,
        )
        head, body = request.head(), request.body
        if request.expect_continue or request.body_producer is not None:
            self._upload = Upload(request, connection, self._parser)
            connection.write(head)
            self.spawn(self._upload.run())
        elif not body:
            connection.write(head)
        elif len(body) < _COPY_BELOW:
            connection.write(head + body)
        else:
            connection.write(head)
            connection.write(body)

    def _is_sent(self, connection: Connection) -> bool:
        return connection.is_sent and (self._upload is None or self._upload.is_complete)

    # Receiving

    def on_readable(self, connection: Connection) -> None:
        """Receive the available bytes, up to the end of the response."""
        # Until there is nothing more: a record in the buffer of OpenSSL does not cause an event,
        # and uvloop does not report a further event after a reset.
        for _ in range(_MAX_RECEIVES):
            if not self._receive(connection):
                return
        # Other connections have their turn first. One call at most waits, or each event of a fast
        # peer would add one, and the loop would do nothing else.
        if not self._is_receiving_more:
            self._is_receiving_more = True
            self._transport.loop.call_soon(self._receive_more, connection)

    def _receive_more(self, connection: Connection) -> None:
        self._is_receiving_more = False
        # An event in between can have paused reading.
        if self._connection is connection and connection.is_reading:
            self.on_readable(connection)

    def _receive(self, connection: Connection) -> bool:
        """Receive once, and return whether there may be more to receive now."""
        parser = self._parser
        assert parser is not None
        try:
            # Most bodies arrive together with the head.
            buffer = parser.get_buffer() if parser.begun else None
            if buffer is None:
                data = connection.receive()
                if data is None:
                    return False
                if not data:
                    self._on_end()
                    return False
                if not parser.begun:
                    self._first_byte_time = time.monotonic() - self._created
                complete = parser.feed(data)
                if self.is_done:
                    # A callback of the caller has aborted the request.
                    return False
            else:
                with buffer:
                    count = connection.receive_into(buffer)
                if count is None:
                    return False
                if not count:
                    self._on_end()
                    return False
                complete = parser.buffer_updated(count)
            if self._delivery is not None:
                return self._delivery.deliver(complete)
        except OSError as error:
            if self.request.suppress_ragged_eofs and is_cut_tls(error):
                self._on_end()
            else:
                self._on_broken(error)
            return False
        except Exception as error:
            self._on_bad_response(error)
            return False
        except BaseException as error:
            self.fail(error)
            # As in a task.
            if isinstance(error, (SystemExit, KeyboardInterrupt)):
                raise
            return False
        if complete:
            self.on_complete()
        return not complete

    def pause_reading(self) -> None:
        """Stop receiving, so that the peer must wait."""
        assert self._connection is not None
        self._connection.pause_reading()

    def resume_reading(self) -> None:
        """Continue receiving."""
        connection = self._connection
        assert connection is not None
        connection.resume_reading()
        self.on_readable(connection)

    def _on_interim(self, head: Head) -> None:
        if head.code == 100 and self._upload is not None:
            self._upload.may_continue.set()

    def _on_head(self, head: Head) -> BodySink:
        request = self.request
        if head.code == 407:
            request.check_proxy_response(head.code, head.reason)
        if request.on_head is not None and not request.on_head(head):
            self._discard = Discard()
            self._body = Body(0)
            return self._discard
        self._body = body = body_of(head, request.method, request.max_body_size, request.decompress)
        body.allows_padding = request.allows_padding
        if request.streaming_callback is None:
            return body
        self._delivery = Delivery(self, body, request.streaming_callback)
        return self._delivery

    def _on_end(self) -> None:
        """End the response: the peer has closed the connection in order."""
        if self._retry():
            return
        parser, connection = self._parser, self._connection
        assert parser is not None and connection is not None
        if isinstance(connection.write_error, ConnectionResetError) or (
            connection.write_error is not None and parser.head is not None
        ):
            # The kernel reports a reset once, here to the write, and then only an end. The
            # response may be incomplete.
            self._on_broken(connection.write_error)
            return
        try:
            parser.end()
        except HTTPStreamClosedError as error:
            self._on_bad_response(error)
        else:
            self.on_complete()

    def _on_bad_response(self, error: Exception) -> None:
        if self._discard is None:
            self.fail(error)
        else:
            self.on_complete(is_reusable=False)

    def _on_broken(self, error: OSError) -> None:
        if self._retry():
            return
        where = self.request.url.host_and_port
        if isinstance(error, ssl.SSLError) and not is_cut_tls(error):
            # With TLS 1.3, the peer rejects a missing or invalid client certificate only now.
            failure: HTTPStreamClosedError = HandshakeFailed(f"TLS with {where} failed: {error}")
        else:
            failure = BrokenConnection(f"Connection to {where} broke: {error}")
        failure.__cause__ = error
        self._on_bad_response(failure)

    def _retry(self) -> bool:
        """Retry the request if the peer had closed the idle connection before it."""
        request, connection, parser = self.request, self._connection, self._parser
        assert connection is not None and parser is not None
        if not self._is_reused or parser.begun or not request.is_replayable:
            return False
        if connection.is_written and request.method not in IDEMPOTENT_METHODS:
            return False
        self._stop()
        self._upload = None
        self._is_reused = False
        self.connect()
        return True

    def on_complete(self, is_reusable: bool = True) -> None:
        """Report the response and return the connection to the pool, if possible."""
        parser, connection = self._parser, self._connection
        assert parser is not None and parser.head is not None and connection is not None
        assert self._body is not None
        head = parser.head
        try:
            body = self._body.finish()
        except HTTPStreamClosedError as error:
            self.fail(error)
            return
        total, queued = time.monotonic() - self._created - self.queued, self.queued
        response = Response(
            head.code,
            head.reason,
            head.headers,
            body,
            {
                "queue": queued,
                # Named as in libcurl: only the end of DNS, TCP and TLS together is known.
                "connect" if self.context is None else "appconnect": self.connect_time,
                "starttransfer": self._first_byte_time - queued,
                "total": total,
            },
        )
        if is_reusable and self._is_reusable(connection, head, parser.leftover):
            self._connection = None
            if self._delivery is not None:
                # The last call of an asynchronous `streaming_callback` has paused reading.
                connection.resume_reading()
            self._transport.pool.put(connection)
        on_done = self._end(Phase.DONE)
        if self._connection is not None or self._tasks is not None:
            self._stop()
        try:
            on_done(response)
        finally:
            self._transport.requests.remove(self)

    def _end(self, phase: Phase) -> OnDone:
        # The traceback of an exception refers to the exchange, which must refer neither to the
        # future that has the exception nor to the body. Parser, delivery and upload refer to the
        # exchange.
        self._parser = self._body = self._delivery = self._upload = None
        return ActiveRequest._end(self, phase)

    def _is_reusable(self, connection: Connection, head: Head, leftover: bytes) -> bool:
        """Return whether both messages are complete and allow another request."""
        return (
            self.request.keep_alive
            and head.keep_alive
            and not leftover
            and self._is_sent(connection)
        )
