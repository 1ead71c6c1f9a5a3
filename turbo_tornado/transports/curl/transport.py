"""`CurlTransport`: an `AsyncHTTPClient` on libcurl, through pycurl.

A `Request` and an ``HTTPRequest`` of Tornado share the engine, the connections and the queue:
`Transfer` and `TornadoTransfer`.

This module uses private names of Tornado's client: ``_multi``, ``_handle_socket``,
``_set_timeout``, ``_force_timeout_callback``, ``_closed``, ``_curl_create``,
``_curl_setup_request`` and ``_curl_header_callback``.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from io import BytesIO
from typing import Any, Generic, Protocol, TypeVar

from . import libcurl  # isort: skip

import pycurl
from tornado import curl_httpclient, httputil
from tornado.curl_httpclient import CurlAsyncHTTPClient
from tornado.httpclient import HTTPRequest, HTTPResponse
from tornado.ioloop import IOLoop

from ...failures import RequestTimeout
from ...request.request import Request
from ...request.tls import CONTEXT_ON_CURL, TLS
from ..base import Abort, CancellableFetch, OnDone
from ..request_queue import RequestQueue
from .engine import CurlEngine
from .options import RequestHandle
from .tornado_options import HeaderCallback, TornadoHandle, forbids_reuse
from .tornado_request import TornadoTransfer
from .transfer import Transfer

# A handle whose last body was larger is not reused, because it would keep the body.
_LARGE_BODY = 65536


class CurlTransport(CancellableFetch, CurlAsyncHTTPClient):
    """An `AsyncHTTPClient` on libcurl.

    It has the interface of `tornado.curl_httpclient.CurlAsyncHTTPClient`. To use it instead
    of that class, without anything else of this package::

        AsyncHTTPClient.configure("turbo_tornado.transports.curl.CurlTransport")

    :arg int max_clients: limit of requests in progress; further requests wait in a queue.
        Default: ``None``, no limit.
    :arg int max_body_size: bytes of decoded body that a response may have. Default: 100 MiB.
        `turbo_tornado.HTTPClient` has a separate limit.
    :arg int max_idle: limit of idle connections. Default: 512.
    :arg float idle_timeout: seconds after which an idle connection is not reused. Default:
        60.
    :arg int max_spare: limit of unused curl handles. Default: 256.

    ``defaults`` is that of Tornado. Handles are created when they are needed.

    A connection is not reused after an error, a cancelled request, or ``Connection: close``
    in either message, nor if the peer has sent anything on it since. HTTP/2 connections are
    reused after an error or a cancelled request, because each request has its own stream. A
    request that finds its reused connection closed before any byte of the response is retried
    once on a new connection if it is idempotent or was not processed.
    """

    stock = CurlAsyncHTTPClient
    stock_module = vars(curl_httpclient)

    def initialize(  # type: ignore[override]
        self,
        max_clients: int | None = None,
        defaults: dict[str, Any] | None = None,
        max_body_size: int = 104857600,
        max_idle: int = 512,
        idle_timeout: float = 60.0,
        max_spare: int = 256,
    ) -> None:
        self._engine = engine = CurlEngine(IOLoop.current(), max_idle)
        # Tornado passes these to libcurl instead of its methods. Its streaming buffer
        # calls the second one to resume a transfer.
        self._handle_socket = engine.on_socket  # type: ignore[assignment, method-assign]
        self._set_timeout = engine.on_timer  # type: ignore[assignment, method-assign]
        super().initialize(max_clients=0, defaults=defaults)
        engine.multi = self._multi
        # Tornado 6.4 checks every transfer once a second.
        forced = getattr(self, "_force_timeout_callback", None)
        if forced is not None:
            forced.stop()
            # It refers to the transport.
            forced.callback = None
        self.max_body_size = max_body_size
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        self.requests = RequestQueue(max_clients)
        # A reference cycle would leave a dropped transport to the garbage collector.
        proxy = weakref.proxy(self)
        self._handles: SpareHandles[RequestHandle] = SpareHandles(
            lambda: RequestHandle(proxy._curl_create(), engine.connections, idle_timeout),
            max_spare,
        )
        self._tornado_handles: SpareHandles[TornadoHandle] = SpareHandles(
            lambda: TornadoHandle(proxy, engine.connections), max_spare
        )
        # None of these refers to the transport while no request is in progress.
        handles = (self._handles, self._tornado_handles)
        weakref.finalize(self, _release, engine, self._multi, handles).atexit = False

    def release(self) -> None:
        if self._engine.is_closed:
            return
        if self._engine.is_acting:
            # Called by a signal handler, while libcurl is running.
            self._engine.loop.call_soon(self.release)
            return
        self._handles.close()
        self._tornado_handles.close()
        self._engine.close()
        CurlAsyncHTTPClient.close(self)

    def send(self, request: Request, on_done: OnDone) -> Abort:
        """Send a `Request` of `turbo_tornado.HTTPClient`.

        `AsyncHTTPClient` has no equivalent.

        :arg Request request: the request, which is sent unchanged.
        :arg on_done: called later with the response or the failure, once.
        :returns: a function that aborts the request.
        :raises HandshakeFailed: for unusable TLS settings.
        :raises ValueError: for HTTP/2 without support in libcurl, or an ``SSLContext``.
        :raises RuntimeError: for a new fetch when the transport is closed.
        :raises ClientClosed: for a redirect after `fail_requests`.
        """
        if self._closed:
            self.check_accepted(request)
        self.check_request(request)
        # Missing and invalid files are the same failure on both transports.
        request.ssl_context()
        transfer = Transfer(
            self._engine, self._handles, self.requests, request, on_done, self.tasks
        )
        transfer.transport = self
        if self.requests.max_clients is None:
            self.requests.add(transfer)
        else:
            late = RequestTimeout("Timeout in request queue")
            self.requests.add(transfer, request.request_timeout, late)
        return transfer.abort

    @classmethod
    def check_request(cls, request: Request) -> None:
        """Check that this transport supports a `Request`.

        :raises ValueError: if it does not; see `send`.
        """
        if request.version == "HTTP/2" and not libcurl.HAS_HTTP2:
            raise ValueError("http_version: the installed libcurl does not support HTTP/2")
        # Also for an http URL, because the server can redirect it to https.
        if not isinstance(request.tls, TLS):
            raise ValueError(CONTEXT_ON_CURL)

    def start_fetch(self, request: HTTPRequest, callback: Callable[[HTTPResponse], None]) -> None:
        transfer = TornadoTransfer(
            self,
            self._engine,
            self._tornado_handles,
            self.requests,
            request,
            callback,
            self.tasks,
        )
        self.requests.add(transfer)
        self.set_abort(transfer.abort)

    def _curl_setup_request(
        self,
        curl: pycurl.Curl,
        request: HTTPRequest,
        buffer: BytesIO,
        headers: httputil.HTTPHeaders,
    ) -> None:
        # Tornado sets this only if other threads run at this moment.
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.FORBID_REUSE, forbids_reuse(request))
        super()._curl_setup_request(curl, request, buffer, headers)
        if request.method == "CONNECT":
            # The response ends with its head.
            curl.setopt(pycurl.NOBODY, 1)
            curl.setopt(pycurl.CUSTOMREQUEST, "CONNECT")

    def _curl_header_callback(  # type: ignore[override]
        self, headers: httputil.HTTPHeaders, header_callback: Any, line: bytes
    ) -> int | None:
        if isinstance(header_callback, HeaderCallback):
            result = header_callback.handle.attempt.on_header(line)
            if result is not None:
                return result
            header_callback = header_callback.callback
        super()._curl_header_callback(headers, header_callback, line)
        return None


def _release(
    engine: CurlEngine, multi: pycurl.CurlMulti, handles: tuple[SpareHandles[Any], ...]
) -> None:
    """Close the resources of a transport that was dropped without being closed."""
    if engine.is_closed:
        return
    if engine.is_acting:
        # Dropped by a callback of libcurl.
        engine.loop.call_soon(_release, engine, multi, handles)
        return
    for spare in handles:
        spare.close()
    engine.close()
    multi.close()


class Handle(Protocol):
    """The attributes of a handle that `SpareHandles` uses."""

    curl: pycurl.Curl


AnyHandle = TypeVar("AnyHandle", bound=Handle)


class SpareHandles(Generic[AnyHandle]):
    """Curl handles for the next transfers.

    :arg create: returns a new handle.
    :arg int max_spare: limit of unused handles.
    """

    def __init__(self, create: Callable[[], AnyHandle], max_spare: int) -> None:
        self._create = create
        self._max_spare = max_spare
        self.spare: list[AnyHandle] = []

    def take(self) -> AnyHandle:
        """Return a handle that no transfer uses."""
        return self.spare.pop() if self.spare else self._create()

    def give_back(self, handle: AnyHandle, is_clean: bool, body: bytes | None) -> None:
        """Take a handle back when its transfer has ended.

        :arg bool is_clean: the transfer has ended with a response. After a head that was cut
            within a folded line, libcurl 8.23 continues that line with the next head, even
            after a reset.
        :arg body: the request body, which the handle refers to until its next one.
        """
        is_large = body is not None and len(body) > _LARGE_BODY
        if is_clean and not is_large and len(self.spare) < self._max_spare:
            self.spare.append(handle)
        else:
            handle.curl.close()

    def close(self) -> None:
        """Close the unused handles and all handles that are given back later."""
        self._max_spare = 0
        while self.spare:
            self.spare.pop().curl.close()
