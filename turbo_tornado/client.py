"""`HTTPClient`: one fetch at a time, its hops, its deadline, and how to stop it."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from typing import TYPE_CHECKING, cast

import tornado.httpclient
from tornado.concurrent import Future
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.ioloop import IOLoop

from . import log, transports
from . import options as _options
from .errors import FetchError, Limits, Refused, classify, errors
from .headers import HTTPHeaders
from .options import FetchKeywords, FetchOptions
from .request import Outgoing, prepare
from .response import HTTPResponse
from .tls import TLS, SSLOptions
from .transports.failures import HandshakeFailed
from .transports.foreign import foreign_request
from .transports.future import FetchFuture
from .transports.hop import REDIRECT_CODES, Hop
from .urls import InvalidSchema, InvalidURL

if sys.version_info >= (3, 11):
    from typing import Unpack
elif TYPE_CHECKING:
    from typing_extensions import Unpack

#: Bytes of decoded body that a response may have when ``max_buffer_size`` is not given.
DEFAULT_MAX_BUFFER_SIZE = 128 * 1024 * 1024

_transport: transports.TransportChoice = transports.check("auto")
_refusals = (InvalidURL, InvalidSchema, Refused)


def configure(
    transport: transports.TransportChoice = "auto", **fetch_defaults: Unpack[FetchKeywords]
) -> None:
    """Sets the transport and the defaults of every fetch that does not give its own.

    :arg transport: ``"simple"``, ``"curl"``, ``"auto"`` (curl where pycurl can be
        imported, else simple), a class that is an `AsyncHTTPClient`, or an instance.
    :arg fetch_defaults: keywords of `HTTPClient.fetch`, such as ``keep_alive=False``.
        What is not given is as it is built in, whatever an earlier call said.
    :raises ImportError: for ``"curl"`` without pycurl.
    :raises TypeError: for what is no transport, an unknown keyword, or a value of the
        wrong type.
    :raises ValueError: for an unknown name of a transport, or a value that cannot be.

    Turbo has no such thing.
    """
    global _transport
    choice = transports.check(transport)
    _options.set_defaults(fetch_defaults)
    _transport = choice


class HTTPClient:
    """An HTTP client that carries out one fetch at a time.

    Cheap to make, anywhere, with or without a loop running: it owns no socket, since
    connections belong to the transport of the IOLoop. For requests at the same time,
    make several.

    :arg ssl_options: mapping, see `SSLOptions`; default none of them, which is to verify
        against the system's trust store.
    :arg IOLoop io_loop: the loop to fetch on; default the one that is current at `fetch`.
    :arg int max_buffer_size: bytes of decoded body that one response may have; default
        128 MiB.
    :arg transport: as for `configure`, for this client only; default what that says.
    :raises TypeError: for an unknown key of ``ssl_options`` or a wrong type.
    :raises ValueError: for a ``max_buffer_size`` below 1, or ``priv_file`` without
        ``cert_file``.
    :raises ImportError: for ``transport="curl"`` without pycurl.

    Answers to ``turbo.async.HTTPClient(ssl_options, io_loop, max_buffer_size)``.
    """

    __slots__ = ("__weakref__", "_busy", "_io_loop", "_max_buffer_size", "_tls", "_transport")

    def __init__(
        self,
        ssl_options: SSLOptions | None = None,
        io_loop: IOLoop | None = None,
        max_buffer_size: int | None = None,
        *,
        transport: transports.TransportChoice | None = None,
    ) -> None:
        if io_loop is not None and not isinstance(io_loop, IOLoop):
            raise TypeError(f"io_loop must be an IOLoop, not {type(io_loop).__name__}")
        if max_buffer_size is None:
            max_buffer_size = DEFAULT_MAX_BUFFER_SIZE
        elif isinstance(max_buffer_size, bool) or not isinstance(max_buffer_size, int):
            raise TypeError(f"max_buffer_size must be an int, not {type(max_buffer_size).__name__}")
        elif max_buffer_size < 1:
            raise ValueError("max_buffer_size must be at least 1")
        self._tls = TLS.from_options(ssl_options)
        self._io_loop = io_loop
        self._max_buffer_size = max_buffer_size
        self._transport = None if transport is None else transports.check(transport)
        self._busy = False

    def fetch(
        self, url: str, kwargs: FetchKeywords | None = None, **options: Unpack[FetchKeywords]
    ) -> Future[HTTPResponse]:
        """Fetches ``url``; returns at once a future of the `HTTPResponse`.

        The future never fails for anything that the network, the peer or the data did:
        look at ``response.error``. Cancelling it stops the transfer and closes its
        connection.

        :arg str url: an http or https URL.
        :arg kwargs: mapping of the keywords below, as Turbo's table; never changed.
        :arg options: the same as keyword arguments, which win over ``kwargs``. ``None``
            says that a keyword is not given; `configure` sets other defaults.
        :arg str method: any token; default ``"GET"``.
        :arg params: mapping or pairs of text and numbers, a list for a key that is
            repeated. The form of a POST, PUT, PATCH or DELETE without ``body``, else the
            query; default none.
        :arg bool keep_alive: take an idle connection and leave one; default true.
        :arg cookie: mapping, or str that is sent as it is; default none.
        :arg str http_version: ``"HTTP/1.0"``, ``"HTTP/1.1"`` (the default), or
            ``"HTTP/2"`` where the transport can.
        :arg bool use_gzip: offer gzip and decode it; default true.
        :arg bool allow_redirects: follow 301, 302, 303, 307 and 308; default true.
        :arg int max_redirects: how many are followed; default 4.
        :arg on_headers: called once with the `HTTPHeaders` of the request, complete,
            before anything is sent; what it changes is sent. Default none.
        :arg body: bytes-like, or str that is sent as UTF-8; default none.
        :arg float request_timeout: seconds for the whole fetch, redirects included; 0 is
            no limit. Default 60.
        :arg float connect_timeout: seconds for DNS, TCP and TLS of one connection; 0 is no
            limit. Default 20.
        :arg str auth_username: for HTTP Basic, sent at once; default none.
        :arg str auth_password: for HTTP Basic; default none.
        :arg str user_agent: default ``"Turbo Client v<version>"``.
        :rtype: Future of an `HTTPResponse`
        :raises TypeError: for an unknown keyword or a value of the wrong type.
        :raises ValueError: for a value that cannot be: a CR, LF or NUL in a header, a
            bad method, a negative timeout, an ``http_version`` that is unknown or that
            the transport does not speak.
        :raises RuntimeError: when called in another thread than that of the loop.

        What ``on_headers`` raises passes through. After any of these the client is free.

        Answers to ``turbo.async.HTTPClient:fetch(url, kwargs)``.
        """
        started = time.monotonic()
        settings = _options.resolve(kwargs, options)
        io_loop = self._loop()
        if self._busy:
            return _resolved(io_loop, errors.BUSY, "this client has a fetch in progress")
        # Before `on_headers` is called, which may fetch as well.
        self._busy = True
        try:
            outgoing = prepare(url, settings)
            transport = transports.transport_for(io_loop, self._transport or _transport)
        except _refusals as refusal:
            self._busy = False
            refused = classify(refusal, "", _NO_LIMITS)
            assert refused is not None
            return _resolved(io_loop, *refused)
        except BaseException:
            self._busy = False
            raise
        fetch = _Fetch(self, io_loop, transport, settings, outgoing, started)
        fetch.send()
        return fetch.future

    def _loop(self) -> IOLoop:
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if self._io_loop is None:
            if running is None and not _has_loop():
                raise RuntimeError(
                    "fetch() needs an IOLoop in its thread; from another thread, use "
                    "io_loop.add_callback(...) to call it on the loop"
                )
            return IOLoop.current()
        loop = self._io_loop.asyncio_loop  # type: ignore[attr-defined]
        if loop.is_closed():
            raise RuntimeError("the io_loop of this HTTPClient is closed; make another client")
        if running is not loop and (running is not None or loop.is_running()):
            raise RuntimeError(
                "fetch() was called outside its IOLoop; use io_loop.add_callback(...) to "
                "call it there, or make the HTTPClient without io_loop"
            )
        return self._io_loop


class _Fetch:
    """A fetch in progress: sends hop after hop until there is something to resolve with."""

    def __init__(
        self,
        client: HTTPClient,
        io_loop: IOLoop,
        transport: AsyncHTTPClient,
        options: FetchOptions,
        outgoing: Outgoing,
        started: float,
    ) -> None:
        self.client = client
        self.transport = transport
        self.options = options
        self.outgoing = outgoing
        self.started = started
        self.redirects = 0
        self.hop_started = started
        self.remaining = options.request_timeout
        self.pending: Future[tornado.httpclient.HTTPResponse] | None = None
        self.future: FetchFuture[HTTPResponse] = FetchFuture(
            loop=io_loop.asyncio_loop  # type: ignore[attr-defined]
        )
        self.future.abort = self.abort

    def send(self) -> None:
        """Sends the next hop; an exception is a mistake of the calling code."""
        try:
            self.pending = self.transport.fetch(self._request(), raise_error=False)
        except OSError as error:
            # A transport that is not ours gets its TLS settings here.
            self._fail(HandshakeFailed(f"TLS settings: {error}"))
            return
        except BaseException:
            self._release()
            raise
        self.pending.add_done_callback(self._on_hop)

    def abort(self) -> None:
        """Stops the hop that is under way; the future has been cancelled."""
        log.cancelled(self.outgoing, self._milliseconds())
        self._release()
        if self.pending is not None:
            self.pending.cancel()

    def _request(self) -> HTTPRequest:
        outgoing, options = self.outgoing, self.options
        hop = Hop(
            outgoing.url.url,
            method=outgoing.method,
            target=outgoing.target,
            version=outgoing.version,
            fields=outgoing.fields,
            body=outgoing.body,
            connect_timeout=options.connect_timeout,
            request_timeout=self.remaining,
            keep_alive=options.keep_alive,
            decompress=options.use_gzip,
            max_body_size=self.client._max_buffer_size,
            tls=self.client._tls if outgoing.url.scheme == "https" else None,
        )
        if getattr(self.transport, "accepts_hops", False):
            return cast(HTTPRequest, hop)
        return foreign_request(self.transport, hop)

    def _on_hop(self, pending: Future[tornado.httpclient.HTTPResponse]) -> None:
        if self.future.done():
            if not pending.cancelled():
                pending.exception()
            return
        if pending.cancelled():
            self._release()
            self.future.cancel()
            return
        error = pending.exception()
        if error is not None:
            self._fail(error)
            return
        response = pending.result()
        if self.options.allow_redirects and response.code in REDIRECT_CODES:
            location = next(iter(response.headers.get_list("Location")), "")
            if location:
                self._redirect(response.code, location)
                return
        body = response.body
        if len(body) > self.client._max_buffer_size:
            limit = self.client._max_buffer_size
            self._finish_with(
                errors.SOCKET_ERROR, f"Body too long: over the limit of {limit} bytes"
            )
            return
        try:
            headers = _received(response)
        except ValueError as error:
            self._finish_with(errors.PARSE_ERROR_HEADERS, f"{self._where}: {error}")
            return
        self._finish(
            HTTPResponse(
                self._milliseconds(),
                request=self.outgoing.headers(),
                code=response.code,
                reason=response.reason,
                headers=headers,
                body=body,
                url=self.outgoing.url.url,
                time_info=response.time_info,
            )
        )

    def _redirect(self, code: int, location: str) -> None:
        if self.redirects >= self.options.max_redirects:
            limit = self.options.max_redirects
            self._finish_with(
                errors.REDIRECT_MAX, f"{self._where} redirects again after {limit} redirects"
            )
            return
        self.redirects += 1
        self.hop_started = time.monotonic()
        timeout = self.options.request_timeout
        if timeout:
            self.remaining = self.started + timeout - self.hop_started
            if self.remaining <= 0:
                self._finish_with(
                    errors.REQUEST_TIMEOUT,
                    f"{self._where}: request_timeout of {timeout:g} s ran out in a redirect",
                )
                return
        try:
            self.outgoing = self.outgoing.redirected(code, location)
            self.send()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        limits = Limits(
            self.options.connect_timeout,
            self.options.request_timeout,
            self.remaining,
            time.monotonic() - self.hop_started,
        )
        classified = classify(error, self._where, limits)
        if classified is not None:
            self._finish_with(*classified)
        else:
            self._release()
            self.future.set_exception(error)

    @property
    def _where(self) -> str:
        return self.outgoing.url.host_and_port

    def _milliseconds(self) -> float:
        return (time.monotonic() - self.started) * 1000

    def _finish_with(self, code: errors, message: str) -> None:
        self._finish(HTTPResponse(self._milliseconds(), FetchError(code, message)))

    def _finish(self, response: HTTPResponse) -> None:
        self._release()
        log.fetched(self.outgoing, response)
        self.future.set_result(response)

    def _release(self) -> None:
        self.client._busy = False
        self.future.abort = None


def _received(response: tornado.httpclient.HTTPResponse) -> HTTPHeaders:
    if isinstance(response.headers, HTTPHeaders):
        return response.headers
    # Of a transport that is not ours, which may take more than a field can have.
    headers = HTTPHeaders(response.headers)
    headers.set_status_code(response.code)
    return headers


def _has_loop() -> bool:
    # In the main thread asyncio makes one when it is asked for.
    main = threading.current_thread() is threading.main_thread()
    return main or IOLoop.current(instance=False) is not None


_NO_LIMITS = Limits(0.0, 0.0, 0.0, 0.0)


def _resolved(io_loop: IOLoop, code: errors, message: str) -> Future[HTTPResponse]:
    future: Future[HTTPResponse] = Future(loop=io_loop.asyncio_loop)  # type: ignore[attr-defined]
    response = HTTPResponse(0.0, FetchError(code, message))
    log.fetched(None, response)
    future.set_result(response)
    return future
