"""`ActiveFetch`: one fetch from its first request to its response."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from tornado.ioloop import IOLoop

from . import log
from .errors import FetchError
from .failures import CallerError, RequestTimeout, TooManyRedirects
from .hooks import RequestObserver
from .request.keywords import FetchOptions
from .request.redirect import location_of, redirect
from .request.request import Request
from .response import HTTPResponse
from .transports.base import Abort, FetchFuture, Response, Transport
from .transports.classify import classify
from .transports.loop_end import asyncio_loop


class ActiveFetch:
    """A fetch in progress, which follows redirects until its response or error.

    :arg on_end: called when the fetch ends, before its future is resolved.
    :arg observer: calls the hooks. It is called when the future is done: a hook can then fetch
        with the same client, and cannot cancel the future.
    """

    __slots__ = (
        "_abort_request",
        "_observer",
        "_on_end",
        "_options",
        "_redirects",
        "_request",
        "_started",
        "_transport",
        "future",
    )

    def __init__(
        self,
        io_loop: IOLoop,
        transport: Transport,
        options: FetchOptions,
        request: Request,
        started: float,
        on_end: Callable[[], None],
        observer: RequestObserver | None = None,
    ) -> None:
        self._transport = transport
        self._options = options
        self._request = request
        self._started = started
        self._on_end = on_end
        self._observer = observer
        self._redirects = 0
        self._abort_request: Abort | None = None
        self.future: FetchFuture[HTTPResponse] = FetchFuture(loop=asyncio_loop(io_loop))
        self.future.abort = self.abort

    def start(self) -> None:
        """Send the first request.

        :raises ValueError: for a request that the transport does not support.
        """
        try:
            self._send()
        except BaseException as error:
            if not self._fail(error):
                self._end()
                self._observe_end(error)
                raise

    def _send(self) -> None:
        if self._observer is not None:
            self._observer.on_request(self._request)
            if self.future.done():
                # A hook has cancelled the fetch.
                self._observe_end(asyncio.CancelledError())
                return
        self._abort_request = self._transport.send(self._request, self._on_done)

    def abort(self) -> None:
        """Abort the request after the future was cancelled."""
        log.cancelled(self._request, (time.monotonic() - self._started) * 1000)
        self._end()
        if self._abort_request is not None:
            self._abort_request()
        self._observe_end(asyncio.CancelledError())

    def _on_done(self, outcome: Response | BaseException) -> None:
        # It can refer to this method, which would be a reference cycle.
        self._abort_request = None
        if self.future.done():
            return
        if isinstance(outcome, BaseException):
            self._fail_or_raise(outcome)
            return
        if self._observer is not None:
            self._observer.on_result(outcome)
        location = location_of(outcome) if self._options.allow_redirects else ""
        if location:
            try:
                self._follow(outcome.code, location)
            except BaseException as error:
                self._fail_or_raise(error)
                if not isinstance(error, Exception):
                    # A hook ends the program.
                    raise
            return
        request = self._request
        if request.version == "HTTP/2" and outcome.headers.get_version() != "HTTP/2":
            request.fall_back()
        # The response refers to the request. Without this, it would keep the body in memory.
        request.body = None
        if request.body_producer is not None:
            request.drop_body()
        self._finish(None, outcome)

    def _follow(self, code: int, location: str) -> None:
        options, where = self._options, self._request.url.host_and_port
        if self._redirects >= options.max_redirects:
            raise TooManyRedirects(
                f"{where} redirects again after {options.max_redirects} redirects"
            )
        self._redirects += 1
        remaining = 0.0
        if options.request_timeout:
            remaining = self._started + options.request_timeout - time.monotonic()
            if remaining <= 0:
                raise RequestTimeout("in a redirect")
        if self._observer is not None:
            self._observer.undo(self._request)
        self._request = redirect(self._request, code, location, remaining)
        self._observe_end(None)
        if not self.future.done():
            self._send()

    def _fail(self, error: BaseException) -> bool:
        """End the fetch with a failure. Return false for any other exception."""
        options = self._options
        fetch_error = classify(
            error,
            self._request.url.host_and_port,
            options.connect_timeout,
            options.request_timeout,
        )
        if fetch_error is None:
            return False
        self._finish(fetch_error)
        return True

    def _fail_or_raise(self, error: BaseException) -> None:
        if isinstance(error, CallerError):
            # Not classified: its type can be that of a failure.
            error = error.error
        elif self._fail(error):
            return
        self._end()
        if isinstance(error, asyncio.CancelledError):
            self.future.cancel()
        else:
            self.future.set_exception(error)
        self._observe_end(error)

    def _finish(self, error: FetchError | None, response: Response | None = None) -> None:
        ended = time.monotonic()
        request = None if response is None else self._request
        result = HTTPResponse((ended - self._started) * 1000, error, request, response)
        self._end()
        log.fetched(self._request, result)
        self.future.set_result(result)
        if self._observer is not None:
            self._observer.on_end(result.error, ended)

    def _end(self) -> None:
        self.future.abort = None
        self._on_end()

    def _observe_end(self, error: BaseException | None) -> None:
        if self._observer is not None:
            self._observer.on_end(error, time.monotonic())
