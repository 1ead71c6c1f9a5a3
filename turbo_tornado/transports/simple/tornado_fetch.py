"""`TornadoFetch`: one ``HTTPRequest``, sent as by Tornado's simple client."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any

from tornado.concurrent import Future
from tornado.httpclient import HTTPRequest, HTTPResponse
from tornado.log import app_log, gen_log
from tornado.simple_httpclient import HTTPStreamClosedError

from ...failures import (
    BodyError,
    CallerError,
    ConnectTimeout,
    HeadTooLarge,
    MalformedResponse,
    Picklable,
)
from ..base import Abort, Response
from .exchange import Exchange
from .tornado_request import Effective, build_request, follows_redirect, redirected

if TYPE_CHECKING:
    from .transport import SimpleTransport


class CallbackFailed(Picklable, HTTPStreamClosedError):
    """A callback of the caller raised an exception, which has been logged."""


class TornadoFetch:
    """One call of ``fetch_impl``: a request, and the ``fetch`` after its redirect."""

    def __init__(
        self,
        transport: SimpleTransport,
        request: HTTPRequest,
        callback: Callable[[HTTPResponse], None],
    ) -> None:
        self._transport = transport
        self._request: Any = Effective(request)
        self._callback = callback
        self._start_time = time.time()
        self._variables = contextvars.copy_context()
        self._exchange: Exchange | None = None
        self._abort: Abort | None = None

    def start(self) -> None:
        """Send the request."""
        transport = self._transport
        limit = transport.max_buffer_size
        if transport.max_body_size is not None:
            limit = transport.max_body_size
        try:
            request = build_request(self._request, limit)
            context = request.ssl_context()
        except Exception as error:
            transport.io_loop.add_callback(self._fail, error)
            return
        self._exchange = Exchange(transport, request, context, self._on_done)
        self._abort = self._exchange.abort
        # As in Tornado, the shorter one of the two limits the time in the queue.
        timeouts = filter(None, (request.connect_timeout, request.request_timeout))
        late = ConnectTimeout("Timeout in request queue")
        transport.requests.add(self._exchange, min(timeouts, default=0), late)

    def abort(self) -> None:
        """Abort the request, or the ``fetch`` that follows its redirect."""
        if self._abort is not None:
            self._abort()

    def _on_done(self, outcome: Response | BaseException) -> None:
        if isinstance(outcome, (CallerError, asyncio.CancelledError)):
            # As in Tornado, this ends the request.
            error = outcome.error if isinstance(outcome, CallerError) else outcome
            app_log.error("Uncaught exception", exc_info=error)
            self._fail(CallbackFailed("Connection closed"))
        elif isinstance(outcome, BaseException):
            _log_malformed(outcome)
            # Tornado's client reports the original exception if there is one. A test tool
            # that disables the network raises a RuntimeError.
            cause = outcome.__cause__
            self._fail(cause if isinstance(cause, (OSError, RuntimeError)) else outcome)
        elif follows_redirect(self._request, outcome):
            self._redirect(outcome)
        else:
            self._respond(outcome)

    def _redirect(self, response: Response) -> None:
        try:
            request = redirected(self._request, response)
            # A tool can return a coroutine.
            future = asyncio.ensure_future(
                self._variables.run(self._transport.fetch_redirect, request)
            )
        except Exception as error:
            self._fail(error)
            return
        self._abort = future.cancel
        future.add_done_callback(self._on_redirected)

    def _on_redirected(self, future: Future[HTTPResponse]) -> None:
        if future.cancelled():
            return
        # `raise_error` concerns status codes. Any other failure is an exception.
        error = future.exception()
        if error is None:
            self._callback(future.result())
        else:
            self._fail(error)

    def _respond(self, response: Response) -> None:
        request = self._request
        self._callback(
            HTTPResponse(
                getattr(request, "original_request", request.request),
                response.code,
                headers=response.headers,
                buffer=BytesIO(response.body),
                effective_url=request.url,
                request_time=self._elapsed(),
                time_info=response.time_info,
                reason=response.reason,
                start_time=self._start_time,
            )
        )

    def _fail(self, error: BaseException) -> None:
        request = self._request.request
        self._callback(HTTPResponse(request, 599, error=error, request_time=self._elapsed()))

    def _elapsed(self) -> float:
        return 0.0 if self._exchange is None else self._exchange.elapsed


def _log_malformed(error: BaseException) -> None:
    if isinstance(error, HeadTooLarge):
        gen_log.info("Unsatisfiable read, closing connection: %s", error)
    elif isinstance(error, (MalformedResponse, BodyError)):
        gen_log.info("Malformed HTTP message from %s: %s", None, error)
