"""`RequestAttempt`: one attempt to carry out a `Request`, and its response."""

from __future__ import annotations

import enum
from collections.abc import Callable

from ...failures import BodyError, BrokenConnection, HeadTooLarge, MalformedResponse
from ...http1.body import Body, body_of
from ...http1.head import (
    MAX_HEAD_SIZE,
    MAX_INTERIM_RESPONSES,
    Head,
    check_trailer,
    parse_head,
)
from ...request.request import Request
from .connections import UNUSABLE, Attempt, Connections
from .delivery import Delivery
from .socket_state import Address

#: Results of libcurl's callbacks. A callback that returns ``None`` has succeeded.
GO_ON, STOP = 0, 1
FAILED = 0

# To receive a longer body and discard it costs more than a new connection.
_MAX_DISCARDED = 262144


class Phase(enum.Enum):
    """The progress of an attempt."""

    #: There is no connection yet.
    CONNECTING = enum.auto()
    #: The request is sent, and the final head has not arrived.
    AWAITING_HEAD = enum.auto()
    #: The final head has arrived.
    RECEIVING_BODY = enum.auto()
    #: The response is complete, although libcurl waits for more of the body.
    COMPLETE = enum.auto()


class RequestAttempt(Attempt):
    """One attempt to carry out a request, on one connection.

    The methods ``on_...`` are callbacks of libcurl. They store an exception in ``failure`` and
    make libcurl stop, because pycurl would only print the exception.
    """

    #: Whether the proxy has opened a tunnel.
    is_past_proxy = False
    #: Creates the delivery of a body; set for a request with a ``streaming_callback``.
    create_delivery: Callable[[Body], Delivery] | None = None
    #: The receiver of the body instead of ``body``.
    delivery: Delivery | None = None

    def __init__(self, request: Request, connections: Connections) -> None:
        is_tls = request.url.scheme == "https"
        super().__init__(is_tls, is_tls and request.version == "HTTP/2")
        self.proxy = request.proxy
        self.phase = Phase.CONNECTING
        #: The final head.
        self.head: Head | None = None
        #: ``None`` before the head, and for a body that is discarded.
        self.body: Body | None = None
        self.interim_count = 0
        self.failure: Exception | None = None
        self._request = request
        self._connections = connections
        self._size = 0

    def clear(self) -> None:
        """Drop the response, because the handle refers to its last attempt."""
        self.head = self.body = self.failure = self.delivery = self.create_delivery = None

    def allows_reuse(self) -> bool:
        return (
            self.head is not None
            and self.head.keep_alive
            and self.failure is None
            and self.phase is Phase.RECEIVING_BODY
        )

    @property
    def is_discarding(self) -> bool:
        """Whether the body of the response is discarded."""
        return self.head is not None and self.body is None

    def on_sending(self, address: Address) -> int:
        if self.phase is not Phase.CONNECTING:
            # libcurl repeats a request on a connection that was closed, up to five times,
            # with any method. `Transfer` decides that instead.
            self._connections.add_unused(address, self, self.may_share)
            return STOP
        if self._connections.claim(address, self, self.may_share) in UNUSABLE:
            return STOP
        self.phase = Phase.AWAITING_HEAD
        return GO_ON

    def on_header(self, line: bytes) -> int | None:
        lines = self.lines
        self._size += len(line)
        # Called for each line. The first case applies to most lines.
        if lines and len(line) > 2 and self._size <= MAX_HEAD_SIZE and self.head is None:
            lines.append(line)
            return None
        try:
            if self._size > MAX_HEAD_SIZE:
                raise self._too_large()
            if self.head is not None:
                check_trailer(line)
                return None
            if not lines and self._connections.is_early(self):
                self.is_early = True
                raise BrokenConnection("a response arrived before the request was sent")
            if not lines:
                self.has_response = True
                self.is_http2 = line.startswith(b"HTTP/2")
            lines.append(line)
            if len(line) > 2 or line not in (b"\r\n", b"\n"):
                return None
            self._end_head()
        except Exception as error:
            self.failure = error
            return FAILED
        return FAILED if self.phase is Phase.COMPLETE else None

    def _too_large(self) -> Exception:
        if self.head is None:
            return HeadTooLarge(f"response head is over {MAX_HEAD_SIZE} bytes")
        return BodyError(f"head and trailers are over {MAX_HEAD_SIZE} bytes")

    def _end_head(self) -> None:
        request = self._request
        head = parse_head(b"".join(self.lines))
        if head.version[5] != "1" and not self.may_share:
            raise MalformedResponse(f"{head.version} on an HTTP/1 connection")
        self.lines.clear()
        if head.code < 200:
            self.interim_count += 1
            if self.interim_count > MAX_INTERIM_RESPONSES:
                raise MalformedResponse("Too many 1xx responses")
            return
        if head.code == 407:
            request.check_proxy_response(head.code, head.reason)
        if request.on_head is None or request.on_head(head):
            self.body = body_of(head, request.method, request.max_body_size, request.decompress)
            if self.create_delivery is not None:
                self.delivery = self.create_delivery(self.body)
        self.head = head
        self.phase = Phase.RECEIVING_BODY
        if request.method == "HEAD" and request.has_body and head.content_length != 0:
            self.phase = Phase.COMPLETE

    def on_body(self, chunk: bytes) -> int | None:
        try:
            if self.delivery is not None:
                return self.delivery.write(chunk)
            if self.body is not None:
                self.body.write(chunk)
            elif self.head is None:
                raise MalformedResponse("not HTTP: a body without a head")
            else:
                self._size += len(chunk)
                if self._size > _MAX_DISCARDED:
                    self.phase = Phase.COMPLETE
                    return FAILED
        except Exception as error:
            self.failure = error
            return FAILED
        return None
