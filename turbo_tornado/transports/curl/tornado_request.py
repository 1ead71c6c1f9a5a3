"""`TornadoTransfer`: one ``HTTPRequest`` of Tornado on libcurl.

This module uses private names of Tornado's client: ``_free_list``, ``_requests``,
``_process_queue`` and ``_finish`` make Tornado's code carry out a request.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import time
from collections.abc import Callable
from typing import Any, Protocol

import pycurl
from tornado import httputil
from tornado.curl_httpclient import CurlAsyncHTTPClient, CurlError
from tornado.httpclient import HTTPRequest, HTTPResponse

from ...request.request import IDEMPOTENT_METHODS
from ..request_queue import RequestQueue
from ..request_tasks import without_cancellation
from ..tornado_framing import check_framing
from .codes import HTTP2_STREAM, allows_retry
from .connections import UNUSABLE
from .engine import CurlEngine
from .tornado_head import received_headers
from .tornado_options import (
    STREAMED,
    PreparedRequest,
    TornadoAttempt,
    TornadoHandle,
    forbids_reuse,
    needs_refusals,
    raw_request,
)
from .tornado_streams import TornadoStreams

_TIMES = {
    "namelookup": pycurl.NAMELOOKUP_TIME,
    "connect": pycurl.CONNECT_TIME,
    "appconnect": pycurl.APPCONNECT_TIME,
    "pretransfer": pycurl.PRETRANSFER_TIME,
    "starttransfer": pycurl.STARTTRANSFER_TIME,
    "total": pycurl.TOTAL_TIME,
    "redirect": pycurl.REDIRECT_TIME,
}


class TornadoHandles(Protocol):
    """The source of the handle of a transfer."""

    def take(self) -> TornadoHandle: ...

    def give_back(self, handle: TornadoHandle, is_clean: bool, body: bytes | None) -> None: ...


class TornadoTransfer:
    """One ``HTTPRequest`` on libcurl, including its redirects."""

    def __init__(
        self,
        client: CurlAsyncHTTPClient,
        engine: CurlEngine,
        handles: TornadoHandles,
        queue: RequestQueue,
        request: HTTPRequest,
        callback: Callable[[HTTPResponse], None],
        all_tasks: set[asyncio.Task[Any]],
    ) -> None:
        self._client = client
        self._engine = engine
        self._handles = handles
        self._queue = queue
        self._request = request
        self._callback: Callable[[HTTPResponse], None] | None = callback
        self._context = contextvars.copy_context()
        self._created = time.monotonic()
        self._start_time = time.time()
        self._started = self._created
        self._handle: TornadoHandle | None = None
        # Whether Tornado's code carries out the request.
        self._is_tornados = False
        self._is_retry = False
        self._streams: TornadoStreams | None = None
        if any(getattr(request, name) is not None for name in STREAMED):
            self._streams = TornadoStreams(engine, self._context, self.fail, all_tasks)

    def start(self) -> None:
        """Start the first attempt; called by the queue."""
        request = self._request
        self._started = time.monotonic()
        self._handle = handle = self._handles.take()
        try:
            raw = raw_request(request)
            check_framing(raw.headers, raw.body, request.body_producer is not None)
            self._is_tornados = not handle.set_up(request)
        except Exception as error:
            self._respond(HTTPResponse(request, 599, error=error))
            return
        if self._is_tornados:
            self._start_tornado()
            return
        # Over TLS, libcurl may use HTTP/2 connections, which need not be idle.
        may_reuse = not raw_request(request).url.startswith("http:") or self._engine.may_reuse()
        handle.set_attempt(self._new_attempt(), not may_reuse)
        self._engine.add(handle.curl, self._on_end)

    def _new_attempt(self) -> TornadoAttempt:
        return TornadoAttempt(
            not raw_request(self._request).url.startswith("http:"),
            self._engine.connections,
            self._client.max_body_size,
        )

    def _start_tornado(self) -> None:
        handle = self._handle
        assert handle is not None
        client = self._client
        # Tornado 6.4 sets up a new handle for debugging, which a reset would undo.
        handle.curl.close()
        handle.curl = client._curl_create()
        # Before Tornado's code, so that a prepare_curl_callback can override it.
        handle.set_connection_callbacks()
        handle.attempt = self._new_attempt()
        prepared: Any = PreparedRequest(raw_request(self._request), handle, self._context)
        client._free_list.append(handle.curl)
        client._requests.append((prepared, self._on_tornados_response, self._created))
        # A prepare_curl_callback can end the request or the client. Both wait until Tornado's code
        # has returned, as they wait for libcurl.
        is_acting, self._engine.is_acting = self._engine.is_acting, True
        try:
            client._process_queue()
        finally:
            self._engine.is_acting = is_acting
        if handle.curl in client._free_list:
            # The request has failed.
            self._end_tornados()
            return
        if needs_refusals(raw_request(self._request)):
            handle.curl.setopt(pycurl.VERBOSE, 1)
        if self._streams is not None:
            self._streams.attach(handle, self._request)
        self._engine.adopt(handle.curl, self._on_end)

    def abort(self) -> None:
        """Abort the transfer: its connection or stream is closed and nothing is reported."""
        if self._callback is not None:
            self._callback = None
            self._stop()

    def fail(self, error: BaseException) -> None:
        """Stop the transfer and report ``error``."""
        callback, self._callback = self._callback, None
        if callback is not None:
            self._stop()
            error = without_cancellation(error)
            self._call(callback, HTTPResponse(self._request, 599, error=error))

    def _stop(self) -> None:
        handle = self._handle
        if handle is not None:
            if self._engine.is_acting:
                # Called by a signal handler, while libcurl is running.
                self._engine.loop.call_soon(self._stop)
                return
            if self._engine.remove(handle.curl):
                self._engine.connections.release(handle.attempt, handle.attempt.is_http2)
            elif self._streams is not None and self._streams.is_waiting:
                self._engine.multi.remove_handle(handle.curl)
        self._release(is_clean=False)

    def _on_end(self, code: int, message: str) -> None:
        """Called when libcurl has ended an attempt."""
        handle = self._handle
        assert handle is not None
        attempt, curl = handle.attempt, handle.curl
        is_http2 = attempt.is_http2 or code == HTTP2_STREAM
        self._engine.connections.release(attempt, is_http2)
        if self._callback is None or self._can_restart(attempt, code):
            must_discard = attempt.claim in UNUSABLE and self._engine.has_connection(curl)
            self._engine.multi.remove_handle(curl)
            if self._callback is None:
                # Aborted while libcurl was running.
                self._release(is_clean=False)
            else:
                # libcurl chooses the refused connection again, and closes it this time.
                self._restart(handle, must_discard and not attempt.closes_connection)
            return
        if attempt.is_early:
            code, message = pycurl.E_RECV_ERROR, "a response arrived before the request was sent"
        elif code == pycurl.E_ABORTED_BY_CALLBACK:
            code, message = pycurl.E_GOT_NOTHING, "the reused connection was closed"
        if not self._is_tornados:
            self._engine.multi.remove_handle(curl)
            self._finish(code, message)
        elif attempt.delivery is not None and code != pycurl.E_OPERATION_TIMEDOUT:
            assert self._streams is not None
            timeout = self._request.request_timeout
            finish, late = self._finish_tornados, "Timeout in streaming_callback"
            self._streams.wait(
                timeout - (time.monotonic() - self._started) if timeout else None,
                functools.partial(finish, pycurl.E_OPERATION_TIMEDOUT, late),
                functools.partial(finish, code, message),
            )
        else:
            self._finish_tornados(code, message)

    def _restart(self, handle: TornadoHandle, closes_connection: bool) -> None:
        """Start another attempt.

        :arg bool closes_connection: libcurl closes the connection after it. ``False``: the
            attempt opens a new connection.
        """
        if closes_connection:
            handle.set_closes(True)
        elif handle.attempt.closes_connection:
            handle.set_closes(forbids_reuse(raw_request(self._request)))
        attempt = self._new_attempt()
        attempt.closes_connection = closes_connection
        is_fresh = not closes_connection
        if self._is_tornados:
            handle.attempt = attempt
            handle.curl.setopt(pycurl.FRESH_CONNECT, is_fresh)
            if self._streams is not None:
                self._streams.attach_attempt(handle)
        else:
            handle.set_attempt(attempt, is_fresh)
        self._engine.add(handle.curl, self._on_end)

    def _finish_tornados(self, code: int, message: str) -> None:
        handle = self._handle
        if handle is not None:
            if handle.attempt.is_too_large:
                message = self._too_large()
            self._client._finish(handle.curl, code or None, message)
            self._end_tornados()

    def _too_large(self) -> str:
        return f"body exceeded max_body_size of {self._client.max_body_size} bytes"

    def _can_restart(self, attempt: TornadoAttempt, code: int) -> bool:
        """Return whether the request can be sent on another connection."""
        if not attempt.is_first_request:
            return False
        if self._streams is not None and self._streams.has_read_body:
            return False
        if attempt.claim in UNUSABLE:
            return True
        if self._is_retry or attempt.lines:
            return False
        self._is_retry = allows_retry(attempt, code, self._request.method in IDEMPOTENT_METHODS)
        return self._is_retry

    def _finish(self, code: int, message: str) -> None:
        handle = self._handle
        assert handle is not None
        attempt, curl = handle.attempt, handle.curl
        error: Exception | None = None
        if code:
            if attempt.is_too_large:
                message = self._too_large()
            error = CurlError(code, message)
        headers, reason = httputil.HTTPHeaders(), None
        if attempt.lines:
            try:
                headers, reason = received_headers(attempt.lines)
            except Exception as bad_line:
                if error is None:
                    error = CurlError(pycurl.E_WRITE_ERROR, str(bad_line))
        time_info = {"queue": self._started - self._created}
        for name, phase in _TIMES.items():
            time_info[name] = curl.getinfo(phase)
        if error is None:
            attempt.buffer.seek(0)
        self._respond(
            HTTPResponse(
                self._request,
                599 if error else curl.getinfo(pycurl.HTTP_CODE),
                headers=headers,
                buffer=None if error else attempt.buffer,
                effective_url=None if error else curl.getinfo(pycurl.EFFECTIVE_URL),
                error=error,
                reason=reason,
                request_time=time.monotonic() - self._started,
                start_time=self._start_time,
                time_info=time_info,
            )
        )

    def _respond(self, response: HTTPResponse) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            self._call(callback, response)
        handle = self._handle
        # libcurl treats an incomplete head as complete.
        is_clean = response.error is None and handle is not None and handle.attempt.has_head
        self._release(is_clean)

    def _call(self, callback: Callable[[HTTPResponse], None], response: HTTPResponse) -> None:
        try:
            # In a copy, because a `header_callback` that fails the request runs in the context.
            self._context.copy().run(callback, response)
        except Exception:
            self._client.handle_callback_exception(callback)

    def _on_tornados_response(self, response: HTTPResponse) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            self._call(callback, response)

    def _end_tornados(self) -> None:
        handle = self._handle
        if handle is not None:
            self._client._free_list.remove(handle.curl)
        # Only Tornado's code has the result of the transfer.
        self._release(is_clean=False)

    def _release(self, is_clean: bool) -> None:
        handle, self._handle = self._handle, None
        if self._streams is not None:
            self._streams.close()
            self._streams = None
        if handle is not None:
            self._handles.give_back(handle, is_clean, raw_request(self._request).body)
        self._queue.remove(self)
