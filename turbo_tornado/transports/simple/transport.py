"""`SimpleTransport`: an `AsyncHTTPClient` in pure Python that reuses connections."""

from __future__ import annotations

import socket
import weakref
from collections.abc import Callable
from typing import Any

from tornado import simple_httpclient
from tornado.httpclient import HTTPRequest, HTTPResponse
from tornado.ioloop import IOLoop
from tornado.netutil import Resolver
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from ...failures import ConnectFailed
from ...request.request import Request
from ..base import Abort, CancellableFetch, OnDone
from ..loop_end import asyncio_loop
from ..request_queue import RequestQueue
from .active_request import ActiveRequest
from .connect import Connector
from .connection import Connection
from .deadlines import Deadlines
from .exchange import Exchange
from .pool import IdlePool
from .resolver import ThreadResolver, default_resolver
from .tornado_fetch import TornadoFetch
from .watcher import Watcher, create_watcher


class SimpleTransport(CancellableFetch, SimpleAsyncHTTPClient):
    """An `AsyncHTTPClient` in pure Python that reuses connections.

    It has the interface of `tornado.simple_httpclient.SimpleAsyncHTTPClient`. To use it
    instead of that class, without anything else of this package::

        AsyncHTTPClient.configure("turbo_tornado.transports.simple.SimpleTransport")

    :arg int max_clients: limit of requests in progress; further requests wait in a queue.
        Default: ``None``, no limit.
    :arg int max_idle: limit of idle connections in all. Default: 512.
    :arg int max_idle_per_key: limit of idle connections for one host, port, address family,
        source address, TLS context and proxy. Default: 128.
    :arg float idle_timeout: seconds after which an idle connection is closed. Default: 60.
    :arg int max_buffer_size: default of ``max_body_size``, in bytes. Default: 100 MiB.
    :arg int max_body_size: bytes of decoded body that a response may have. Default:
        ``max_buffer_size``. `turbo_tornado.HTTPClient` has a separate limit.
    :arg int max_header_size: bytes that a response head may have. Default: 64 KiB.

    ``hostname_mapping``, ``resolver`` and ``defaults`` are those of Tornado. Without a
    ``resolver``, an IP address in a URL is used without DNS.

    A connection is closed, and not returned to the pool, after an error, a cancelled
    request, ``Connection: close`` in either message, or an incomplete body. An idle
    connection is closed when the peer closes it or sends anything. A request that finds its
    reused connection closed before any byte of the response is retried once on a new
    connection if it is idempotent or was never written.
    """

    stock = SimpleAsyncHTTPClient
    stock_module = vars(simple_httpclient)
    #: The versions that `send` supports.
    versions = frozenset({"HTTP/1.0", "HTTP/1.1"})

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
        super().initialize(
            max_clients=max_clients,
            hostname_mapping=hostname_mapping,
            max_buffer_size=max_buffer_size,
            resolver=resolver or default_resolver(),
            defaults=defaults,
            max_header_size=max_header_size,
            max_body_size=max_body_size,
        )
        self.loop = asyncio_loop(IOLoop.current())
        # Any other resolver can map an IP address to another one.
        is_plain = isinstance(self.resolver, ThreadResolver)
        self._plain_resolver = self.resolver if is_plain else None
        self.requests = RequestQueue(max_clients)
        # Tornado's names, for code that looks at their lengths.
        self.queue = self.requests.waiting  # type: ignore[assignment]
        self.active = self.requests.active  # type: ignore[assignment]
        self.deadlines = Deadlines(self.loop)
        self.pool = IdlePool(self.deadlines, max_idle, max_idle_per_key, idle_timeout)
        self.watcher = create_watcher(self.io_loop)
        # These refer to the transport only while a request is in progress.
        weakref.finalize(self, _release, self.pool, self.deadlines, self.watcher).atexit = False
        self._is_released = False

    def close(self) -> None:
        """Close the transport and its idle connections. Requests in progress finish."""
        self.pool.close()
        super().close()

    def release(self) -> None:
        if not self._is_released:
            self._is_released = True
            SimpleAsyncHTTPClient.close(self)
            _release(self.pool, self.deadlines, self.watcher)

    def send(self, request: Request, on_done: OnDone) -> Abort:
        """Send a `Request`; see `turbo_tornado.transports.base.Transport`."""
        if self._closed:
            self.check_accepted(request)
        self.check_request(request)
        exchange = Exchange(self, request, request.ssl_context(), on_done)
        # The deadline of the exchange covers the time in the queue.
        self.requests.add(exchange)
        return exchange.abort

    @classmethod
    def check_request(cls, request: Request) -> None:
        """Check that this transport supports a `Request`.

        :raises ValueError: if it does not.
        """
        if request.version not in cls.versions:
            raise ValueError(
                f"http_version: the simple transport does not support {request.version}; "
                "use transport='curl'"
            )

    def start_fetch(self, request: HTTPRequest, callback: Callable[[HTTPResponse], None]) -> None:
        fetch = TornadoFetch(self, request, callback)
        fetch.start()
        self.set_abort(fetch.abort)

    def connect(self, exchange: ActiveRequest) -> Connector | None:
        """Connect for ``exchange`` and call its ``on_connected`` or ``fail``.

        :returns: the connector, or ``None`` if the exchange is connected already.
        """
        request = exchange.request
        # As in Tornado, the resolver is that of the TCP client, which can be replaced.
        resolver: Resolver | None = self.tcp_client.resolver
        if (request.proxy or request.url).is_ip and resolver is self._plain_resolver:
            resolver = None
        connector = Connector(self.watcher, resolver, request)
        sock = connector.connect_at_once() if exchange.context is None else None
        if sock is None:
            exchange.spawn(self._connect(connector, exchange))
            return connector
        try:
            self._adopt(sock, exchange)
        except ConnectFailed as error:
            self.loop.call_soon(exchange.fail, error)
        return None

    async def _connect(self, connector: Connector, exchange: ActiveRequest) -> None:
        self._adopt(await connector.connect(exchange.context), exchange)

    def _adopt(self, sock: socket.socket, exchange: ActiveRequest) -> None:
        try:
            connection = Connection(self.watcher, sock, exchange.key, exchange)
        except OSError as error:
            # The limit of watched sockets.
            sock.close()
            where = exchange.request.url.host_and_port
            raise ConnectFailed(f"Could not connect to {where}: {error}") from error
        exchange.on_connected(connection)


def _release(pool: IdlePool, deadlines: Deadlines, watcher: Watcher) -> None:
    pool.close()
    deadlines.close()
    watcher.close()
