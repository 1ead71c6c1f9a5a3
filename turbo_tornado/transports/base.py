"""The interface of client and transports: `Transport`, `Response` and futures."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from tornado import httpclient
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse

from ..failures import ClientClosed
from ..headers import HTTPHeaders
from ..request.request import Request
from .hooks import CarriedRequest, CarriedResponse, StandIn, is_replaced, with_signature_of
from .loop_end import asyncio_loop, close_with_loop
from .request_queue import RequestQueue

T = TypeVar("T")

#: Tornado's message for a new request of a closed client.
CLOSED = "fetch() called on closed AsyncHTTPClient"
#: Aborts a request: its connection or HTTP/2 stream is closed and nothing is reported.
Abort = Callable[[], None]


class Response:
    """The response to one `Request`.

    It is not Tornado's ``HTTPResponse``, which creates a reference cycle for each status
    other than 2xx.
    """

    __slots__ = ("body", "code", "headers", "reason", "time_info")

    def __init__(
        self,
        code: int,
        reason: str,
        headers: HTTPHeaders,
        body: bytes,
        time_info: dict[str, float],
    ) -> None:
        self.code = code
        self.reason = reason
        self.headers = headers
        self.body = body
        self.time_info = time_info


#: Called once with the response, or with the exception that the request failed with.
OnDone = Callable[[Response | BaseException], None]


class Transport(Protocol):
    """The interface of a transport, which carries requests."""

    @property
    def is_hooked(self) -> bool:
        """Whether a request has to go through ``fetch`` of the transport, for a tool."""

    def send(self, request: Request, on_done: OnDone) -> Abort:
        """Send ``request`` and return at once.

        :arg on_done: called later, unless the returned function is called first.
        :returns: a function that aborts the request. It does nothing after the end of the
            request.
        :raises HandshakeFailed: for unusable TLS settings.
        :raises ValueError: for a request that the transport does not support.
        :raises RuntimeError: for a new fetch when the transport is closed.
        :raises ClientClosed: for a redirect when the transport is closed, if it does not let
            the fetches in progress finish.
        """


class FetchFuture(asyncio.Future[T]):
    """The future of a request, which aborts the request when it is cancelled.

    A done callback would run one iteration of the loop later. Until then the aborted
    connection could still be used.
    """

    __slots__ = ("abort",)

    #: Called by `cancel`. Set by the creator of the future, and to ``None`` when the request
    #: ends.
    abort: Abort | None

    def cancel(self, msg: Any | None = None) -> bool:
        if not super().cancel(msg):
            return False
        abort, self.abort = self.abort, None
        if abort is not None:
            abort()
        return True


class _Abortable:
    """The link between a future of `AsyncHTTPClient.fetch` and the request behind it."""

    __slots__ = ("_abort", "_is_cancelled")

    def __init__(self) -> None:
        self._abort: Abort | None = None
        self._is_cancelled = False

    def set_abort(self, abort: Abort) -> None:
        if self._is_cancelled:
            abort()
        else:
            self._abort = abort

    def on_done(self, future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            self._is_cancelled = True
            if self._abort is not None:
                self._abort()
        self._abort = None


# A context variable links a call of `fetch_impl` to its `fetch` even where a tool that wraps
# `fetch_impl` calls it later.
_abortable: contextvars.ContextVar[_Abortable | None] = contextvars.ContextVar(
    "_abortable", default=None
)


class CancellableFetch(AsyncHTTPClient):
    """An `AsyncHTTPClient` whose requests are aborted when their future is cancelled.

    It is closed with its loop.
    """

    def initialize(self, *arguments: Any, **options: Any) -> None:
        super().initialize(*arguments, **options)
        #: The tasks of all requests.
        self.tasks: set[asyncio.Task[Any]] = set()
        self._redirects: set[asyncio.Future[Any]] = set()
        close_with_loop(asyncio_loop(self.io_loop), self)

    #: The requests of the client.
    requests: RequestQueue
    #: Whether the requests in progress have ended too.
    _is_finished = False

    #: The Tornado class that this class replaces, and the namespace of its module.
    stock: type[AsyncHTTPClient]
    stock_module: dict[str, Any]

    @with_signature_of(AsyncHTTPClient.fetch)
    def fetch(self, *args: Any, **kwargs: Any) -> Any:
        """Send a request, as `tornado.httpclient.AsyncHTTPClient.fetch` does.

        Cancelling the future aborts the request and closes its connection, or its HTTP/2 stream.

        :arg request: a URL or a ``tornado.httpclient.HTTPRequest``.
        :arg bool raise_error: raise failures and status codes of 400 and above. Default:
            true.
        :arg kwargs: arguments of an ``HTTPRequest``, if ``request`` is a URL.
        :rtype: Future of Tornado's ``HTTPResponse``
        :raises RuntimeError: when the transport is closed.
        """
        # The arguments are passed on as they are, and a result of another type is returned as
        # it is, because a mock can have replaced the method.
        abortable = _Abortable()
        token = _abortable.set(abortable)
        try:
            future = super().fetch(*args, **kwargs)
        finally:
            _abortable.reset(token)
        if isinstance(future, asyncio.Future):
            future.add_done_callback(abortable.on_done)
        return future

    def close(self) -> None:
        """Close the client, which refuses further requests. Those in progress finish.

        They can follow redirects, except for a tool that calls ``fetch`` later than it is called
        itself. The connections are closed when the last request has ended.
        """
        if not self._closed:
            AsyncHTTPClient.close(self)
            self.requests.close(self._finish_close)

    def _finish_close(self) -> None:
        self._is_finished = True
        self.release()

    def fail_requests(self) -> None:
        """Fail the requests in progress, and close the client and its connections."""
        self.close()
        self._is_finished = True
        self.requests.fail_all()
        self.release()

    def check_accepted(self, request: Request) -> None:
        """Check that this closed client can send a request.

        :raises RuntimeError: for a new fetch.
        :raises ClientClosed: for a redirect after `fail_requests`.
        """
        if not request.is_accepted:
            raise RuntimeError(CLOSED)
        if self._is_finished:
            raise ClientClosed()

    def fetch_redirect(self, request: HTTPRequest) -> Any:
        """Call ``fetch`` for a redirect, which a closed client can still follow.

        :raises ClientClosed: after `fail_requests`.
        """
        if self._is_finished:
            raise ClientClosed()
        # Tornado's method refuses every request of a closed client.
        is_closed, self._closed = self._closed, False
        try:
            future = self.fetch(request, raise_error=False)
        finally:
            self._closed = self._closed or is_closed
        # A mock can return a coroutine.
        if isinstance(future, asyncio.Future):
            self._redirects.add(future)
            future.add_done_callback(self._redirects.discard)
        return future

    def release(self) -> None:
        """Close the connections of a client without requests. Do nothing if called again."""
        raise NotImplementedError

    def fetch_impl(self, request: HTTPRequest, callback: Callable[[HTTPResponse], None]) -> None:
        fetch_impl: Any = self.stock.fetch_impl
        if is_replaced(fetch_impl, self.stock_module):
            fetch_impl(StandIn(self, self._start), request, callback)
        else:
            self._start(request, callback)

    def _start(self, request: HTTPRequest, callback: Callable[[HTTPResponse], None]) -> None:
        carried = getattr(request, "request", request)
        if type(carried) is CarriedRequest:
            self._send_carried(carried, callback)
        elif self._is_finished:
            # A tool calls this later than `fetch`.
            callback(HTTPResponse(request, 599, error=ClientClosed()))
        else:
            self.start_fetch(request, callback)

    def start_fetch(self, request: HTTPRequest, callback: Callable[[HTTPResponse], None]) -> None:
        """Send a request of Tornado; see ``fetch_impl`` of `AsyncHTTPClient`."""
        raise NotImplementedError

    def send(self, request: Request, on_done: OnDone) -> Abort:
        """Send a `Request`; see `Transport.send`."""
        raise NotImplementedError

    def _send_carried(
        self, request: CarriedRequest, callback: Callable[[HTTPResponse], None]
    ) -> None:
        started = time.monotonic()

        def on_done(outcome: Response | BaseException) -> None:
            callback(CarriedResponse(request, outcome, time.monotonic() - started))

        # `fetch` has checked whether the client was closed.
        request.carried.is_accepted = True
        try:
            self.set_abort(self.send(request.request_to_send(), on_done))
        except Exception as error:
            # A tool can have called this later, where the exception would not be caught.
            on_done(error)

    #: The methods that carried out a fetch when none of them was replaced.
    _unhooked: tuple[Any, ...] = ()

    @property
    def is_hooked(self) -> bool:
        """Whether a tool or a subclass has replaced a method that carries out a fetch."""
        own: Any = self
        kind = type(self)
        stock = kind.stock
        try:
            # The functions of the class, unless the instance has others.
            methods = (own.fetch.__func__, own.fetch_impl.__func__, stock.fetch, stock.fetch_impl)
        except AttributeError:
            return True
        # Each fetch evaluates this property, and the comparison is the cheapest test.
        if methods == kind._unhooked:
            return False
        if (
            methods[:2] != (_FETCH, _FETCH_IMPL)
            or is_replaced(stock.fetch, _TORNADO)
            or is_replaced(stock.fetch_impl, kind.stock_module)
        ):
            return True
        kind._unhooked = methods
        return False

    async def wait_closed(self) -> None:
        """Wait until the requests that `fail_requests` has failed have been reported."""
        # Limited, because a callback can ignore its cancellation. The loop could then not close.
        # Each redirect is reported one iteration of the loop later than the next one.
        for _ in range(10 + len(self._redirects)):
            await asyncio.sleep(0)
            if not self.tasks and not self._redirects:
                return

    @staticmethod
    def set_abort(abort: Abort) -> None:
        """Make cancelling the future of the current `fetch` call ``abort``.

        A tool can start the request after that, which calls it at once.
        """
        abortable = _abortable.get()
        if abortable is not None:
            abortable.set_abort(abort)


# For `CancellableFetch.is_hooked`.
_FETCH, _FETCH_IMPL = CancellableFetch.fetch, CancellableFetch.fetch_impl
_TORNADO = vars(httpclient)
