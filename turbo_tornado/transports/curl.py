"""`CurlTransport`: Tornado's curl client with the waste taken out.

It answers to the same calls as `tornado.curl_httpclient.CurlAsyncHTTPClient`, and can
be used in its place without anything else of this package::

    AsyncHTTPClient.configure("turbo_tornado.transports.curl.CurlTransport")

A `Hop` and any other request take different ways to the same engine: `HopHandle` and
`PlainHandle`.

This module needs private names of Tornado's client: ``_multi``, ``_handle_socket``,
``_set_timeout``, ``_force_timeout_callback``, ``_closed`` and ``_curl_setup_request``,
because they are how it is put together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from io import BytesIO
from typing import Any, TypeVar

import pycurl
from tornado import httputil
from tornado.concurrent import Future
from tornado.curl_httpclient import CurlAsyncHTTPClient
from tornado.httpclient import HTTPRequest, HTTPResponse
from tornado.ioloop import IOLoop

from . import libcurl
from .curl_engine import CurlEngine
from .curl_hop import HopHandle
from .curl_plain import PlainHandle
from .failures import RequestTimeout, client_closed
from .future import Abort, FetchFuture
from .hop import Hop

AnyHandle = TypeVar("AnyHandle", HopHandle, PlainHandle)

# A body over this many bytes is not kept by a spare handle.
_LARGE_BODY = 65536


class CurlTransport(CurlAsyncHTTPClient):
    """An `AsyncHTTPClient` on libcurl that does little besides.

    :arg int max_clients: how many requests may be in progress at once, the others wait
        in a queue; ``None``, the default, is any number.
    :arg max_body_size: bytes that a response body may have, decoded; default 100 MiB.
        A `Hop` brings its own limit.
    :arg int max_idle: how many idle connections are kept; default 512.
    :arg float idle_timeout: seconds after which an idle connection is not used again;
        default 60.
    :arg int max_spare: how many curl handles are kept for later; default 256.

    ``defaults`` is as in Tornado. Handles are made when they are needed.

    After an error, a cancelled fetch, or ``Connection: close``, no connection is kept. A
    request that finds its kept connection closed before any byte of the response is
    sent again, once and on a new connection, when it is idempotent.

    For a `Hop` this takes pycurl 7.45.7. With an older one, connections are kept only by
    libcurl 7.87 to 8.21, used again only for what is idempotent, and it is libcurl that
    sends again, up to five times.
    """

    #: Whether `fetch` takes a `Hop`.
    accepts_hops = True

    def initialize(  # type: ignore[override]
        self,
        max_clients: int | None = None,
        defaults: dict[str, Any] | None = None,
        max_body_size: int = 104857600,
        max_idle: int = 512,
        idle_timeout: float = 60.0,
        max_spare: int = 256,
    ) -> None:
        self._engine = CurlEngine(IOLoop.current(), max_idle)
        # Given to libcurl by Tornado in the place of its own methods of these names. Its
        # streaming buffer calls the second one to have a transfer go on.
        self._handle_socket = self._engine.on_socket  # type: ignore[assignment, method-assign]
        self._set_timeout = self._engine.on_timer  # type: ignore[assignment, method-assign]
        super().initialize(max_clients=0, defaults=defaults)
        self._engine.multi = self._multi
        # Tornado 6.4 looks at every transfer once a second, as the engine does where
        # libcurl needs it.
        forced = getattr(self, "_force_timeout_callback", None)
        if forced is not None:
            forced.stop()
        self.max_body_size = max_body_size
        self.max_clients = max_clients
        self.max_spare = max_spare
        self.idle_timeout = idle_timeout
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        self._spare_for_hops: list[HopHandle] = []
        self._spare: list[PlainHandle] = []
        self._waiting: deque[Waiting] = deque()
        self._starting = False
        self._abort_last: Abort | None = None

    def close(self) -> None:
        """Fails the requests that are in progress and closes all connections."""
        if self._closed:
            return
        self._engine.close()
        while self._waiting:
            self._waiting[0].fail(client_closed())
        for spare in (self._spare_for_hops, self._spare):
            for handle in spare:
                handle.curl.close()
        super().close()

    def fetch(
        self, request: str | HTTPRequest, raise_error: bool = True, **kwargs: Any
    ) -> Future[HTTPResponse]:
        """Executes a request, as `AsyncHTTPClient.fetch`.

        Cancelling the future stops the request and closes its connection.

        :arg request: a URL, an ``HTTPRequest`` of Tornado's, or a `Hop`.
        :arg bool raise_error: whether a failure, or a status of 400 and more, is the
            exception of the future; default true. Of a `Hop`, a failure always is, and a
            status never.
        :arg kwargs: arguments of an ``HTTPRequest``, when ``request`` is a URL.
        :rtype: Future of Tornado's ``HTTPResponse``
        :raises RuntimeError: when the transport has been closed.
        :raises ValueError: for a `Hop` in HTTP/2 where libcurl does not speak it.
        """
        if isinstance(request, Hop):
            return self._fetch_hop(request)
        future = super().fetch(request, raise_error, **kwargs)
        abort, self._abort_last = self._abort_last, None
        if abort is not None:
            future.add_done_callback(lambda f: abort() if f.cancelled() else None)
        return future

    def fetch_impl(self, request: HTTPRequest, callback: Callable[[HTTPResponse], None]) -> None:
        created = self.io_loop.time()
        if self._has_room():
            self._abort_last = self._start(request, callback, created)
            return

        def fail(error: Exception) -> None:
            callback(HTTPResponse(request, 599, error=error))

        waiting = Waiting(self, lambda: self._start(request, callback, created), fail)
        self._abort_last = waiting.abort

    def _fetch_hop(self, hop: Hop) -> Future[HTTPResponse]:
        if self._closed:
            raise RuntimeError("fetch() called on closed AsyncHTTPClient")
        if hop.version == "HTTP/2" and not libcurl.HAS_HTTP2:
            raise ValueError("http_version: the libcurl of this installation does not speak HTTP/2")
        created = self.io_loop.time()
        future: FetchFuture[HTTPResponse] = FetchFuture(
            loop=self.io_loop.asyncio_loop  # type: ignore[attr-defined]
        )
        if self._has_room():
            self._start_hop(hop, future, created)
            return future
        waiting = Waiting(
            self,
            lambda: self._start_hop(hop, future, created),
            future.set_exception,
        )
        if hop.request_timeout:
            waiting.fail_at(
                created + hop.request_timeout, RequestTimeout("Timeout in request queue")
            )
        future.abort = waiting.abort
        return future

    def _has_room(self) -> bool:
        return self.max_clients is None or len(self._engine) < self.max_clients

    def _start(
        self, request: HTTPRequest, callback: Callable[[HTTPResponse], None], created: float
    ) -> Abort | None:
        handle = self._spare.pop() if self._spare else PlainHandle(self)
        return handle.start(request, callback, created)

    def _start_hop(self, hop: Hop, future: FetchFuture[HTTPResponse], created: float) -> Abort:
        handle = self._spare_for_hops.pop() if self._spare_for_hops else HopHandle(self)
        future.abort = handle.abort
        handle.start(hop, future, created)
        return handle.abort

    def _release(
        self, handle: AnyHandle, spare: list[AnyHandle], sound: bool, body: bytes | None
    ) -> None:
        """Puts a handle away, and lets the next request begin.

        :arg bool sound: whether its transfer has ended well. libcurl 8.23 goes on, with
            the next head, after the last line of one that was cut when that line had
            begun to look like one that is folded: not even a reset makes it forget.
        :arg bytes body: what was sent, which the handle would keep until its next body.
        """
        large = body is not None and len(body) > _LARGE_BODY
        if sound and not large and len(spare) < self.max_spare and not self._engine.closed:
            spare.append(handle)
        else:
            handle.curl.close()
        self._start_waiting()

    def _start_waiting(self) -> None:
        # A request that fails as it begins comes here again: the one after it begins in the
        # loop below, not within that call, and that one's within its own.
        if self._starting:
            return
        self._starting = True
        try:
            while self._waiting and self._has_room() and not self._engine.closed:
                self._waiting[0].start()
        finally:
            self._starting = False

    def _curl_setup_request(
        self,
        curl: pycurl.Curl,
        request: HTTPRequest,
        buffer: BytesIO,
        headers: httputil.HTTPHeaders,
    ) -> None:
        # Tornado sets this when there are threads at the moment; others may come.
        curl.setopt(pycurl.NOSIGNAL, 1)
        super()._curl_setup_request(curl, request, buffer, headers)


class Waiting:
    """A request in the queue of a transport that has `max_clients` in progress."""

    def __init__(
        self,
        transport: CurlTransport,
        start: Callable[[], Abort | None],
        fail: Callable[[Exception], None],
    ) -> None:
        self._transport = transport
        self._start = start
        self._fail = fail
        self._timer: object | None = None
        self._abort: Abort | None = self._leave
        transport._waiting.append(self)

    def fail_at(self, when: float, error: Exception) -> None:
        self._timer = self._transport.io_loop.call_at(when, self.fail, error)

    def start(self) -> None:
        self._leave()
        self._abort = self._start()

    def abort(self) -> None:
        if self._abort is not None:
            self._abort()

    def fail(self, error: Exception) -> None:
        self._leave()
        self._fail(error)

    def _leave(self) -> None:
        self._transport._waiting.remove(self)
        if self._timer is not None:
            self._transport.io_loop.remove_timeout(self._timer)
