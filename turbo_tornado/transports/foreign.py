"""`ForeignTransport`: the `Transport` on any `AsyncHTTPClient`."""

from __future__ import annotations

import asyncio
import copy
import errno
import functools
import os
import socket
import ssl
import sys
import time
from typing import Any, cast

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse
from tornado.httputil import HTTPInputError
from tornado.iostream import StreamClosedError, UnsatisfiableReadError
from tornado.simple_httpclient import HTTPTimeoutError, SimpleAsyncHTTPClient

from ..failures import (
    BodyError,
    BrokenConnection,
    ClientClosed,
    ConnectFailed,
    ConnectTimeout,
    HandshakeFailed,
    MalformedResponse,
    RequestTimeout,
)
from ..headers import HTTPHeaders
from ..request.callbacks import ChunkHandler
from ..request.request import Request
from ..request.tls import TLS
from .base import Abort, OnDone, Response
from .hooks import CarriedResponse
from .libcurl_codes import TIMED_OUT, failure_of_code
from .loop_end import asyncio_loop

#: The ``defaults`` of a client that apply to the requests of `HTTPClient`.
SUPPORTED_DEFAULTS = frozenset(
    {
        "allow_ipv6",
        "network_interface",
        "proxy_auth_mode",
        "proxy_host",
        "proxy_password",
        "proxy_port",
        "proxy_username",
    }
)

# Errors of an `OSError` that only a connection attempt raises.
_UNREACHABLE = frozenset(
    {
        errno.EADDRNOTAVAIL,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EMFILE,
        errno.ENFILE,
    }
)
# A `TimeoutError` of asyncio has no errno; one of the system has.
_TIMEOUTS = (HTTPTimeoutError, asyncio.TimeoutError, TimeoutError)
_FAILURES: dict[type, type[Exception]] = {
    HTTPInputError: MalformedResponse,
    UnsatisfiableReadError: MalformedResponse,
    ssl.SSLError: HandshakeFailed,
    socket.gaierror: ConnectFailed,
    ConnectionRefusedError: ConnectFailed,
    UnicodeError: ConnectFailed,
    StreamClosedError: BrokenConnection,
    EOFError: BrokenConnection,
    OSError: BrokenConnection,
}


class ForeignTransport:
    """A transport on an `AsyncHTTPClient` that has only Tornado's interface."""

    #: Its ``fetch`` is called in any case.
    is_hooked = False

    def __init__(self, client: AsyncHTTPClient) -> None:
        self._client = client

    def send(self, request: Request, on_done: OnDone) -> Abort:
        """Send a request; see `Transport.send`."""
        started = time.monotonic()
        http_request = self.http_request(request)
        if request.is_traced:
            _mark_as_traced(http_request)
        try:
            result = self._fetch(request, http_request)
        except (OSError, HTTPClientError) as error:
            failure = _failure(error, request, time.monotonic() - started)
            if failure is error:
                raise
            raise failure from error
        loop = asyncio_loop(self._client.io_loop)
        # A mock can return a coroutine.
        fetched: asyncio.Future[Any] = asyncio.ensure_future(result, loop=loop)
        future = fetched
        if request.streaming_callback is not None:
            delivered = _delivered(fetched, request, request.streaming_callback)
            future = asyncio.ensure_future(delivered, loop=loop)

        def on_future(future: asyncio.Future[Any]) -> None:
            if future.cancelled():
                on_done(asyncio.CancelledError())
                return
            error = future.exception()
            if error is not None:
                on_done(_failure(error, request, time.monotonic() - started))
            elif future is fetched:
                on_done(_outcome(future.result(), request))
            else:
                on_done(future.result())

        def abort() -> None:
            future.remove_done_callback(on_future)
            # Both, because a task that has not begun would leave the fetch alone.
            for each in (fetched, future):
                if not each.cancel() and not each.cancelled():
                    # asyncio logs an exception that is not retrieved.
                    each.exception()

        future.add_done_callback(on_future)
        return abort

    def http_request(self, request: Request) -> HTTPRequest:
        """Return the ``HTTPRequest`` for a request; see `foreign_request`."""
        return foreign_request(self._client, request)

    def _fetch(self, request: Request, http_request: HTTPRequest) -> Any:
        if request.is_accepted and getattr(self._client, "_closed", False):
            # Not a mistake in the call, which came before.
            raise ClientClosed()
        return self._client.fetch(http_request, raise_error=False)


async def _delivered(
    fetched: asyncio.Future[Any], request: Request, handle_chunk: ChunkHandler
) -> Response | BaseException:
    """Return the outcome after a ``streaming_callback`` has had the body.

    Only the response of a tool has a body here. A built-in transport has delivered its own.
    """
    response = await fetched
    outcome = _outcome(response, request)
    if isinstance(response, CarriedResponse) or not isinstance(outcome, Response):
        return outcome
    if outcome.body and (request.on_head is None or request.on_head(outcome)):
        pending = handle_chunk(outcome.body)
        if pending is not None:
            await pending
    outcome.body = b""
    return outcome


def _outcome(response: HTTPResponse, request: Request) -> Response | BaseException:
    if isinstance(response, CarriedResponse):
        return cast("Response | BaseException", response.outcome)
    if not isinstance(response, HTTPResponse):
        kind = type(response).__name__
        return TypeError(f"fetch() must return a response of Tornado, not {kind}")
    try:
        headers = HTTPHeaders(response.headers)
    except ValueError as error:
        # A foreign client can accept characters that are invalid in a header.
        return MalformedResponse(str(error))
    headers.set_status_code(response.code)
    body, limit = response.body, request.max_body_size
    result = Response(response.code, response.reason, headers, body, response.time_info)
    if len(body) > limit and (request.on_head is None or request.on_head(result)):
        return BodyError(f"Body too long: over the limit of {limit} bytes")
    return result


def check_request(kind: type[AsyncHTTPClient], request: Request) -> None:
    """Check that a class with only Tornado's interface supports a request.

    :raises ValueError: for a version other than HTTP/1.1, for a proxy, for a
        ``streaming_callback``, for an iterable as body, for a directory as
        ``ca_path`` if the client does not take an `ssl.SSLContext`, and for a body with GET or
        HEAD or an ``SSLContext`` on Tornado's curl client.
    :raises HandshakeFailed: for a missing or invalid file in the TLS settings, and for a system
        whose trust store is a directory only if the client needs a file.
    """
    name, tls = kind.__name__, request.tls
    if request.version != "HTTP/1.1":
        raise ValueError(f"{name} does not support {request.version}; use transport='curl'")
    if request.proxy_setting is not None:
        raise ValueError(f"proxy: {name} does not support it; use the simple or curl transport")
    if request.streaming_callback is not None:
        raise ValueError(
            f"streaming_callback: {name} does not support it; use the simple or curl transport"
        )
    if not request.is_replayable:
        raise ValueError(
            f"body: {name} does not support an iterable; use the simple or curl transport"
        )
    if request.has_body and request.method in ("GET", "HEAD") and _is_stock_curl(kind):
        raise ValueError(f"{name} does not send a body with {request.method}; use transport='curl'")
    # Also for an http URL, because the server can redirect it to https.
    if not isinstance(tls, TLS):
        if _is_stock_curl(kind):
            raise ValueError(f"ssl_options: {name} does not support an SSLContext")
        return
    needs_file = not issubclass(kind, SimpleAsyncHTTPClient)
    if needs_file and tls.ca_path is not None and os.path.isdir(tls.ca_path):
        raise ValueError(
            f"{name} does not support a directory as ca_path; use a PEM file or transport='curl'"
        )
    if request.ssl_context() is not None and needs_file and tls.trust[0] is None:
        # Not a mistake in the call: the trust store of the system is a directory.
        raise HandshakeFailed(
            f"TLS settings: {name} needs a PEM file of trusted certificates, which the system "
            "does not have; use ca_path or transport='curl'"
        )


def foreign_request(client: AsyncHTTPClient, request: Request) -> HTTPRequest:
    """Return the ``HTTPRequest`` that makes ``client`` send ``request``.

    A file is read into memory.

    :raises ValueError, HandshakeFailed: as `check_request`.
    :raises InvalidBody: for a file that cannot be read.
    """
    check_request(type(client), request)
    headers = HTTPHeaders.deferred(request.header_block)
    headers.remove("Content-Length")
    http_request = HTTPRequest(
        request.url.url,
        request.method,
        headers,
        request.body if request.blocks is None else b"".join(request.blocks),
        connect_timeout=request.connect_timeout,
        request_timeout=request.request_timeout,
        follow_redirects=False,
        user_agent=headers.get("User-Agent"),
        decompress_response=request.decompress,
        allow_nonstandard_methods=True,
    )
    if _is_stock_curl(type(client)):
        http_request.prepare_curl_callback = functools.partial(_set_reuse, reuse=request.keep_alive)
    context = request.ssl_context()
    tls = request.tls
    if context is None:
        return http_request
    if isinstance(client, SimpleAsyncHTTPClient) or not isinstance(tls, TLS):
        http_request.ssl_options = context
        return http_request
    http_request.ca_certs = tls.trust[0]
    http_request.validate_cert = tls.verify_ca
    http_request.client_cert, http_request.client_key = tls.cert_file, tls.priv_file
    return http_request


def _mark_as_traced(request: HTTPRequest) -> None:
    """Prevent the Tornado instrumentor of OpenTelemetry from creating a span.

    It ignores requests with this attribute, which Tornado's simple client sets on the request
    that follows a redirect. The client itself uses it only to follow redirects.
    """
    # A copy, because a reference to itself would be a cycle.
    request.original_request = copy.copy(request)  # type: ignore[attr-defined]


def _is_stock_curl(kind: type[AsyncHTTPClient]) -> bool:
    # An instance of the class exists only if its module is imported.
    module = sys.modules.get("tornado.curl_httpclient")
    return module is not None and issubclass(kind, module.CurlAsyncHTTPClient)


def _set_reuse(curl: Any, reuse: bool) -> None:
    # Tornado does not reset these options before the next request.
    curl.setopt(curl.FRESH_CONNECT, not reuse)
    curl.setopt(curl.FORBID_REUSE, not reuse)


def _failure(error: BaseException, request: Request, elapsed: float) -> BaseException:
    """Return the failure for an exception of a foreign client.

    A failure of a built-in transport, and an exception that is not a failure of the network,
    are returned unchanged.
    """
    if isinstance(error, (ConnectTimeout, RequestTimeout)):
        return error
    number = getattr(error, "errno", None)
    message = str(getattr(error, "message", None) or error) or type(error).__name__
    if isinstance(error, HTTPClientError) and isinstance(number, int):
        # Tornado's CurlError, with the code of libcurl.
        if number == TIMED_OUT:
            return _timeout(message, request, elapsed)
        return failure_of_code(number, message)
    if isinstance(error, OSError) and number in _UNREACHABLE:
        return ConnectFailed(message)
    for kind in type(error).__mro__:
        if kind in _TIMEOUTS and number is None:
            return _timeout(message, request, elapsed)
        if kind in _FAILURES:
            return _FAILURES[kind](message)
    return error


def _timeout(message: str, request: Request, elapsed: float) -> Exception:
    if not request.request_timeout:
        return ConnectTimeout(message)
    # libcurl counts in whole milliseconds and rounds down.
    if request.connect_timeout and elapsed + 0.002 < request.request_timeout:
        return ConnectTimeout(message)
    return RequestTimeout(message)
