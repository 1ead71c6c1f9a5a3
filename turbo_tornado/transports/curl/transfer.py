"""`Transfer`: one `Request` on libcurl."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import time
from typing import Any, Protocol

import pycurl

from ...failures import ConnectTimeout, RequestTimeout
from ...request.request import IDEMPOTENT_METHODS, Request
from ..base import OnDone, Response
from ..produced_body import ProducedBody
from ..request_queue import RequestQueue
from .attempt import Phase, RequestAttempt
from .codes import HTTP2_STREAM, allows_retry, failure, truncated_head
from .connections import UNUSABLE, Claim
from .engine import CurlEngine
from .options import RequestHandle, milliseconds
from .streams import Streams
from .tunnel import create_attempt

# Not all phases, because to read one of them costs a hundredth of a request.
_CONNECT_PHASES = (
    ("namelookup", pycurl.NAMELOOKUP_TIME),
    ("connect", pycurl.CONNECT_TIME),
    ("appconnect", pycurl.APPCONNECT_TIME),
)
_NO_CONNECT_PHASES = {name: 0.0 for name, _ in _CONNECT_PHASES}


class RequestHandles(Protocol):
    """The source of the handle of a transfer."""

    def take(self) -> RequestHandle: ...

    def give_back(self, handle: RequestHandle, is_clean: bool, body: bytes | None) -> None: ...


class Transfer:
    """One request on libcurl: attempts, until there is a response or a failure."""

    #: Keeps the transport alive, which closes its connections when it is dropped.
    transport: object
    _attempt: RequestAttempt
    # A class attribute, because only requests with a streamed body set it.
    _streams: Streams | None = None

    def __init__(
        self,
        engine: CurlEngine,
        handles: RequestHandles,
        queue: RequestQueue,
        request: Request,
        on_done: OnDone,
        all_tasks: set[asyncio.Task[Any]],
    ) -> None:
        self._engine = engine
        self._handles = handles
        self._queue = queue
        self._request = request
        self._on_done: OnDone | None = on_done
        # uvloop caches its time for an iteration.
        self._created = time.monotonic()
        self._queued = 0.0
        self._handle: RequestHandle | None = None
        self._timeout = 0
        self._is_retry = False
        if request.streaming_callback is not None or request.body_producer is not None:
            variables = contextvars.copy_context()
            self._streams = Streams(engine, variables, self.fail, all_tasks)

    def start(self) -> None:
        """Start the first attempt; called by the queue."""
        request = self._request
        self._queued = time.monotonic() - self._created
        handle = self._handles.take()
        try:
            handle.set_up(request)
        except Exception as error:
            self._handles.give_back(handle, False, None)
            # `send` must not call `on_done`.
            self._engine.loop.call_soon(self._finish, error)
            return
        self._handle = handle
        # HTTP/2 connections need not be idle.
        may_reuse = request.keep_alive and (request.version == "HTTP/2" or self._engine.may_reuse())
        self._start_attempt(not may_reuse)

    def _start_attempt(self, is_fresh: bool, closes_connection: bool = False) -> None:
        assert self._handle is not None
        request = self._request
        remaining = self._remaining
        self._timeout = 0 if remaining is None else max(milliseconds(remaining), 1)
        self._attempt = create_attempt(request, self._engine.connections)
        if self._streams is not None:
            self._stream(self._streams)
        self._attempt.closes_connection = closes_connection
        self._handle.set_attempt(self._attempt, self._timeout, is_fresh)
        self._engine.add(self._handle.curl, self._on_end)

    @property
    def _remaining(self) -> float | None:
        """Seconds until ``request_timeout`` expires, ``None`` for no limit."""
        timeout = self._request.request_timeout
        return timeout - (time.monotonic() - self._created) if timeout else None

    def _stream(self, streams: Streams) -> None:
        """Prepare the streamed bodies of an attempt."""
        assert self._handle is not None
        request, curl = self._request, self._handle.curl
        # The attempt before has not ended its upload.
        streams.close()
        callback = request.streaming_callback
        if callback is not None:
            self._attempt.create_delivery = lambda body: streams.deliver(
                curl, callback, body.pieces
            )
        if request.body_producer is not None:
            framed = ProducedBody(request.content_length, is_framed=request.is_chunked)
            self._handle.set_upload(streams.upload(curl, request.body_producer, framed))

    def abort(self) -> None:
        """Abort the transfer: its connection or stream is closed and nothing is reported."""
        if self._on_done is None:
            return
        self._on_done = None
        self._stop()

    def fail(self, error: BaseException) -> None:
        """Stop the transfer and report ``error``."""
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            self._stop()
            on_done(error)

    def _stop(self) -> None:
        handle = self._handle
        if handle is not None:
            if self._engine.is_acting:
                # Called by a signal handler, while libcurl is running.
                self._engine.loop.call_soon(self._stop)
                return
            if self._engine.remove(handle.curl):
                self._engine.connections.release(self._attempt, self._attempt.is_http2)
        self._release(is_clean=False)

    def _on_end(self, code: int, message: str) -> None:
        """Called when libcurl has ended an attempt."""
        assert self._handle is not None
        attempt = self._attempt
        must_discard = attempt.claim in UNUSABLE and self._engine.has_connection(self._handle.curl)
        self._engine.multi.remove_handle(self._handle.curl)
        is_http2 = attempt.is_http2 or code == HTTP2_STREAM
        self._engine.connections.release(attempt, is_http2)
        if self._on_done is None:
            # Aborted while libcurl was running.
            self._release(is_clean=False)
        elif attempt.claim in UNUSABLE:
            if must_discard and not attempt.closes_connection:
                # libcurl chooses that connection again, and closes it this time.
                self._start_attempt(is_fresh=False, closes_connection=True)
            else:
                # libcurl has closed that connection, unless others use it.
                self._start_attempt(is_fresh=self._request.version == "HTTP/2")
        elif self._can_retry(code):
            self._is_retry = True
            self._start_attempt(is_fresh=True)
        elif attempt.delivery is not None and code != pycurl.E_OPERATION_TIMEDOUT:
            assert self._streams is not None
            late = RequestTimeout("Timeout in streaming_callback")
            self._streams.wait(
                self._remaining,
                functools.partial(self.fail, late),
                functools.partial(self._end, code, message),
            )
        else:
            self._end(code, message)

    def _end(self, code: int, message: str) -> None:
        if self._on_done is not None:
            outcome = self._outcome(code, message)
            self._finish(outcome, not code and isinstance(outcome, Response))

    def _can_retry(self, code: int) -> bool:
        """Return whether the request can be retried on another connection.

        Its connection was closed before any byte of the response, or had a response
        already. A request that is not idempotent may have been processed.
        """
        attempt = self._attempt
        if self._is_retry or attempt.head is not None:
            return False
        has_read_body = self._streams is not None and self._streams.has_read_body
        if has_read_body and not self._request.is_replayable:
            return False
        return allows_retry(attempt, code, self._request.method in IDEMPOTENT_METHODS)

    def _outcome(self, code: int, message: str) -> Response | Exception:
        attempt = self._attempt
        has_failed = attempt.failure is not None or code != 0
        if has_failed and attempt.phase is not Phase.COMPLETE:
            is_late = code == pycurl.E_OPERATION_TIMEDOUT
            if is_late or not attempt.is_discarding:
                return attempt.failure or self._failure(code, message)
        if attempt.head is None:
            # libcurl treats an incomplete head as a complete response.
            return truncated_head(attempt)
        head, body = attempt.head, b""
        if attempt.body is not None:
            try:
                body = attempt.body.finish()
            except Exception as error:
                return error
        return Response(head.code, head.reason, head.headers, body, self._time_info())

    def _failure(self, code: int, message: str) -> Exception:
        assert self._handle is not None
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return self._timeout_failure(message)
        if code == pycurl.E_COULDNT_CONNECT:
            number = self._handle.curl.getinfo(pycurl.OS_ERRNO)
            if number:
                message = f"{message}: {os.strerror(number)}"
        proxy, attempt = self._request.proxy, self._attempt
        if proxy is not None and attempt.phase is Phase.CONNECTING and not attempt.is_past_proxy:
            return proxy.failed(self._request.url, message)
        return failure(attempt, code, message)

    def _timeout_failure(self, message: str) -> Exception:
        # libcurl has one code for both timeouts. While there is no connection, the shorter
        # one has expired.
        limit = milliseconds(self._request.connect_timeout)
        is_connecting = self._attempt.phase is Phase.CONNECTING
        if is_connecting and limit and (not self._timeout or limit < self._timeout):
            return ConnectTimeout(message)
        return RequestTimeout(message)

    def _time_info(self) -> dict[str, float]:
        assert self._handle is not None
        get = self._handle.curl.getinfo
        if self._attempt.claim is Claim.REUSED:
            info = _NO_CONNECT_PHASES.copy()
        else:
            info = {name: get(phase) for name, phase in _CONNECT_PHASES}
        info["starttransfer"] = get(pycurl.STARTTRANSFER_TIME)
        info["total"] = get(pycurl.TOTAL_TIME)
        info["queue"] = self._queued
        return info

    def _finish(self, outcome: Response | BaseException, is_clean: bool = False) -> None:
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            self._give_back(is_clean)
            try:
                on_done(outcome)
            finally:
                self._queue.remove(self)

    def _release(self, is_clean: bool) -> None:
        self._give_back(is_clean)
        self._queue.remove(self)

    def _give_back(self, is_clean: bool) -> None:
        handle, self._handle = self._handle, None
        if self._streams is not None:
            self._streams.close()
            # It refers to the transfer, and the handle refers to the callbacks.
            self._streams = None
            is_clean = False
        if handle is not None:
            handle.attempt.clear()
            self._handles.give_back(handle, is_clean, self._request.body)
