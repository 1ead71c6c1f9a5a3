"""`SimpleTransport`: Tornado's simple client with the connections kept.

It answers to the same calls as `tornado.simple_httpclient.SimpleAsyncHTTPClient`, and
can be used in its place without anything else of this package::

    AsyncHTTPClient.configure("turbo_tornado.transports.simple.SimpleTransport")
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from tornado.concurrent import Future, future_set_exception_unless_cancelled
from tornado.httpclient import HTTPRequest, HTTPResponse
from tornado.ioloop import IOLoop
from tornado.log import gen_log
from tornado.netutil import Resolver
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from ..urls import parse_url
from .exchange import Exchange, Plan
from .failures import (
    BodyError,
    ConnectTimeout,
    HandshakeFailed,
    HeadTooLarge,
    MalformedResponse,
    RequestTimeout,
    client_closed,
)
from .future import FetchFuture
from .hop import Hop
from .plain import Effective, follows_redirect, plan_request, redirected
from .pool import READ_SIZE, IdlePool


class SimpleTransport(SimpleAsyncHTTPClient):
    """An `AsyncHTTPClient` in pure Python that keeps connections.

    :arg int max_clients: how many requests may be in progress at once, the others wait
        in a queue; ``None``, the default, is any number.
    :arg int max_idle: how many idle connections are kept in all; default 512.
    :arg int max_idle_per_key: how many idle connections are kept for one host, port,
        address family, source address and TLS context; default 128.
    :arg float idle_timeout: seconds for which an idle connection is kept; default 60.
    :arg max_buffer_size: bytes that one read may take; default 100 MiB.
    :arg max_body_size: bytes that a response body may have, decoded; default
        ``max_buffer_size``. A `Hop` brings its own limit.
    :arg max_header_size: bytes that a response head may have; default 64 KiB.

    ``hostname_mapping``, ``resolver`` and ``defaults`` are as in Tornado; without a
    ``resolver``, an IP address in a URL is used without a look-up.

    An idle connection is dropped when the peer closes it or sends anything on it. After
    an error, a cancelled fetch, ``Connection: close``, or a body that was not read to
    its end, no connection is kept. A request that finds its kept connection closed
    before any byte of the response is sent again, once and on a new connection, when it
    is idempotent or was not written.
    """

    #: Whether `fetch` takes a `Hop`.
    accepts_hops = True
    #: The versions in which a `Hop` can be sent.
    versions = frozenset({"HTTP/1.0", "HTTP/1.1"})
    #: What carries out a request.
    exchange_class = Exchange

    def initialize(  # type: ignore[override]
        self,
        max_clients: int | None = None,
        hostname_mapping: dict[str, str] | None = None,
        max_buffer_size: int = 104857600,
        resolver: Resolver | None = None,
        defaults: dict[str, Any] | None = None,
        max_header_size: int | None = None,
        max_body_size: int | None = None,
        max_idle: int = 512,
        max_idle_per_key: int = 128,
        idle_timeout: float = 60.0,
    ) -> None:
        #: Whether an IP address in a URL is used as it is; a resolver may see it otherwise.
        self.trusts_literals = resolver is None and hostname_mapping is None
        self.loop: asyncio.AbstractEventLoop = IOLoop.current().asyncio_loop  # type: ignore[attr-defined]
        super().initialize(
            max_clients=sys.maxsize if max_clients is None else max_clients,
            hostname_mapping=hostname_mapping,
            max_buffer_size=max_buffer_size,
            resolver=resolver,
            defaults=defaults,
            max_header_size=max_header_size,
            max_body_size=max_body_size,
        )
        self.pool = IdlePool(max_idle, max_idle_per_key, idle_timeout)
        #: Bytes that one read takes at most: less than would overrun the stream's buffer.
        self.read_size = min(READ_SIZE, max_buffer_size // 2)
        # In the place of the base class's bookkeeping; the queue with its timers.
        self.queue: dict[Exchange, asyncio.TimerHandle | None] = {}  # type: ignore[assignment]
        self.active: set[Exchange] = set()  # type: ignore[assignment]

    def close(self) -> None:
        """Closes the idle connections and fails the requests that are in progress."""
        if self._closed:
            return
        super().close()
        for exchange in [*self.active, *self.queue]:
            exchange.fail(client_closed())
        self.pool.close()

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
        :raises ValueError: for a `Hop` in HTTP/2, which this transport does not speak.
        """
        if isinstance(request, Hop):
            return self._fetch_hop(request)
        self._last: Exchange | None = None
        future = super().fetch(request, raise_error, **kwargs)
        exchange, self._last = self._last, None
        if exchange is not None:
            future.add_done_callback(lambda f: self._abort(exchange) if f.cancelled() else None)
        return future

    def _fetch_hop(self, hop: Hop) -> Future[HTTPResponse]:
        if self._closed:
            raise RuntimeError("fetch() called on closed AsyncHTTPClient")
        if hop.version not in self.versions:
            raise ValueError(
                f"http_version: the simple transport does not speak {hop.version}; "
                "use transport='curl'"
            )
        future: FetchFuture[HTTPResponse] = FetchFuture(loop=self.loop)
        try:
            plan = plan_hop(hop)
        except OSError as error:
            future.set_exception(HandshakeFailed(f"TLS settings: {error}"))
            return future

        def on_done(exchange: Exchange, outcome: HTTPResponse | BaseException) -> None:
            self._release(exchange)
            future.abort = None
            if isinstance(outcome, BaseException):
                future_set_exception_unless_cancelled(future, outcome)
            elif not future.done():
                future.set_result(outcome)

        exchange = self.exchange_class(self, plan, on_done)
        future.abort = lambda: self._abort(exchange)
        self._begin(exchange, hop.request_timeout, RequestTimeout)
        return future

    def fetch_impl(self, request: HTTPRequest, callback: Callable[[HTTPResponse], None]) -> None:
        def respond(outcome: HTTPResponse | BaseException, request_time: float = 0) -> None:
            if isinstance(outcome, BaseException):
                outcome = HTTPResponse(request, 599, error=outcome, request_time=request_time)
            callback(outcome)

        def on_done(exchange: Exchange, outcome: HTTPResponse | BaseException) -> None:
            self._release(exchange)
            if isinstance(outcome, BaseException):
                _log_malformed(outcome)
                outcome = _as_tornado_raises(outcome)
            elif follows_redirect(effective, outcome.code, outcome.headers):
                try:
                    redirect = self.fetch(redirected(effective, outcome), raise_error=False)
                except Exception as error:
                    outcome = error
                else:
                    exchange.successor = redirect
                    redirect.add_done_callback(
                        lambda f: None if f.cancelled() else respond(f.exception() or f.result())
                    )
                    return
            else:
                outcome.request = getattr(effective, "original_request", effective.request)
            respond(outcome, exchange.elapsed)

        effective = Effective(request)
        limit = self.max_buffer_size if self.max_body_size is None else self.max_body_size
        try:
            plan = plan_request(effective, limit)
        except Exception as error:
            self.io_loop.add_callback(respond, error)
            return
        self._last = self.exchange_class(self, plan, on_done)
        # In Tornado's client the shorter one, be it that of the connect, limits the wait.
        shorter = min(filter(None, (plan.connect_timeout, plan.request_timeout)), default=0)
        self._begin(self._last, shorter, ConnectTimeout)

    def _begin(self, exchange: Exchange, longest_wait: float, late: type[Exception]) -> None:
        if len(self.active) < self.max_clients:
            self.active.add(exchange)
            exchange.start()
            return
        timer = None
        if longest_wait:
            error = late("Timeout in request queue")
            timer = self.loop.call_later(longest_wait, exchange.fail, error)
        self.queue[exchange] = timer

    def _abort(self, exchange: Exchange) -> None:
        exchange.abort()
        self._release(exchange)

    def _release(self, exchange: Exchange) -> None:
        self.active.discard(exchange)
        self._leave_queue(exchange)
        while self.queue and len(self.active) < self.max_clients and not self._closed:
            following = next(iter(self.queue))
            self._leave_queue(following)
            self.active.add(following)
            following.queued = following.elapsed
            following.start()

    def _leave_queue(self, exchange: Exchange) -> None:
        timer = self.queue.pop(exchange, None)
        if timer is not None:
            timer.cancel()


def plan_hop(hop: Hop) -> Plan:
    """Makes a `Plan` of a `Hop`.

    :raises OSError: when its TLS settings name a missing or bad file.
    """
    return Plan(
        hop,
        parse_url(hop.url),
        b"%b %b %b\r\n%b\r\n"
        % (hop.method.encode(), hop.target.encode(), hop.version.encode(), hop.fields),
        hop.body,
        keep_alive=hop.keep_alive,
        decompress=hop.decompress,
        max_body_size=hop.max_body_size,
        context=hop.tls.context() if hop.tls is not None else None,
        connect_timeout=hop.connect_timeout,
        request_timeout=hop.request_timeout,
    )


def _log_malformed(error: BaseException) -> None:
    if isinstance(error, HeadTooLarge):
        gen_log.info("Unsatisfiable read, closing connection: %s", error)
    elif isinstance(error, (MalformedResponse, BodyError)):
        gen_log.info("Malformed HTTP message from %s: %s", None, error)


def _as_tornado_raises(error: BaseException) -> BaseException:
    # Tornado's client gives the exception of the system where there is one.
    return error.__cause__ if isinstance(error.__cause__, OSError) else error
