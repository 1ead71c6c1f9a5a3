"""`HTTPClient`, `configure` and `reset`."""

from __future__ import annotations

import asyncio
import inspect
import ssl
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from tornado.concurrent import Future
from tornado.ioloop import IOLoop

from . import hooks, log
from ._fetch import ActiveFetch
from .errors import FetchError
from .failures import ClientBusy
from .hooks import Hook
from .request import keywords
from .request.build import build_request
from .request.keywords import FetchKeywords
from .request.tls import CONTEXT_ON_CURL, DEFAULT_TLS, TLS, SSLOptions, check_ssl_options
from .response import HTTPResponse
from .transports.classify import REFUSED, classify
from .transports.loop_end import asyncio_loop
from .transports.registry import TransportChoice, check_transport, registry

if sys.version_info >= (3, 11):
    from typing import Unpack
elif TYPE_CHECKING:
    from typing_extensions import Unpack

_F = TypeVar("_F", bound=Callable[..., Any])

#: Bytes of decoded body that a response may have if ``max_buffer_size`` is omitted.
DEFAULT_MAX_BUFFER_SIZE = 128 * 1024 * 1024


def _lists_keywords(function: _F) -> _F:
    """Add the keywords of `FetchKeywords` to the runtime signature of ``function``.

    IPython and jedi complete by the runtime signature, which does not show a ``TypedDict``.
    """
    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=keyword.default)
        for name, keyword in keywords.KEYWORDS.items()
    ]
    function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return function


@_lists_keywords
def configure(
    transport: TransportChoice | None = None,
    *,
    on_request: Hook | None = None,
    on_response: Hook | None = None,
    **fetch_defaults: Unpack[FetchKeywords],
) -> None:
    """Set the transport and the default keywords of every fetch, and add hooks.

    An omitted argument stays as it is. `reset` restores the built-in defaults.

    :arg transport: ``"auto"`` (simple, and curl for HTTP/2), ``"simple"``, ``"curl"``, a
        subclass of `AsyncHTTPClient`, or an instance. The built-in default is ``"auto"``.
        ``None`` has the same effect as omitting it.
    :arg on_request: a function to call with the `RequestEvent` of each request before it is
        sent. Each call of `configure` adds its hooks. A hook that was added before is not
        added again.
    :arg on_response: a function to call with the same event when the request has ended.
    :arg fetch_defaults: keywords of `HTTPClient.fetch`, such as ``keep_alive=False``.
        ``None`` as a value restores the built-in default of this keyword.
    :raises ImportError: for ``"curl"`` without pycurl.
    :raises TypeError: for an invalid transport, an unknown keyword, or a value of the wrong
        type.
    :raises ValueError: for an unknown transport name, an instance with ``defaults`` that a fetch
        would ignore, or an invalid value.

    After any of these exceptions, nothing is changed.

    Turbo has no equivalent.
    """
    choice = registry.default if transport is None else check_transport(transport)
    added = hooks.check_hooks(on_request, on_response)
    keywords.set_defaults(fetch_defaults)
    registry.default = choice
    hooks.add(added)


def reset() -> None:
    """Restore the built-in transport and default keywords, and remove hooks.

    Only the hooks of `configure` are removed. Those of a client or an instrumentor stay.

    Turbo has no equivalent.
    """
    keywords.reset_defaults()
    hooks.clear()
    registry.default = "auto"


class HTTPClient:
    """An HTTP client that carries out one fetch at a time.

    A client is cheap to create, with or without a running loop. It owns no socket:
    connections belong to the transport of the IOLoop. Create several clients to fetch
    concurrently.

    :arg ssl_options: mapping, see `SSLOptions`, or an `ssl.SSLContext`, which only the simple
        transport supports. Default: verify against the system's trust store.
    :arg IOLoop io_loop: the loop to fetch on. Default: the current loop at `fetch`.
    :arg int max_buffer_size: bytes of decoded body that one response may have. Default:
        128 MiB.
    :arg transport: a transport for this client, as for `configure`. Default: the configured
        one.
    :arg on_request: a hook for the requests of this client, as for `configure`. It is called
        after the configured hooks.
    :arg on_response: a hook for the requests of this client, as for `configure`.
    :raises TypeError: for an unknown key of ``ssl_options`` or a wrong type.
    :raises ValueError: for a ``max_buffer_size`` below 1, ``priv_file`` without ``cert_file``,
        an ``SSLContext`` of a server or with ``transport="curl"``, or a transport with
        ``defaults`` that a fetch would ignore.
    :raises ImportError: for ``transport="curl"`` without pycurl.

    Equivalent to ``turbo.async.HTTPClient(ssl_options, io_loop, max_buffer_size)``.
    """

    __slots__ = (
        "__weakref__",
        "_busy",
        "_hooks",
        "_io_loop",
        "_max_buffer_size",
        "_tls",
        "_transport",
    )

    def __init__(
        self,
        ssl_options: SSLOptions | ssl.SSLContext | None = None,
        io_loop: IOLoop | None = None,
        max_buffer_size: int | None = None,
        *,
        transport: TransportChoice | None = None,
        on_request: Hook | None = None,
        on_response: Hook | None = None,
    ) -> None:
        if io_loop is not None and not isinstance(io_loop, IOLoop):
            raise TypeError(f"io_loop must be an IOLoop, not {type(io_loop).__name__}")
        if max_buffer_size is None:
            max_buffer_size = DEFAULT_MAX_BUFFER_SIZE
        elif isinstance(max_buffer_size, bool) or not isinstance(max_buffer_size, int):
            raise TypeError(f"max_buffer_size must be an int, not {type(max_buffer_size).__name__}")
        elif max_buffer_size < 1:
            raise ValueError("max_buffer_size must be at least 1 byte")
        self._tls = DEFAULT_TLS if ssl_options is None else check_ssl_options(ssl_options)
        self._io_loop = io_loop
        self._max_buffer_size = max_buffer_size
        self._transport = None if transport is None else check_transport(transport)
        if ssl_options is not None and transport == "curl" and not isinstance(self._tls, TLS):
            raise ValueError(CONTEXT_ON_CURL)
        self._hooks = None
        if on_request is not None or on_response is not None:
            self._hooks = hooks.check_hooks(on_request, on_response)
        self._busy = False

    @_lists_keywords
    def fetch(
        self, url: str, kwargs: FetchKeywords | None = None, **options: Unpack[FetchKeywords]
    ) -> Future[HTTPResponse]:
        """Fetch ``url``.

        Network failures do not raise. The response has either an ``error`` or a status,
        headers and a body. Cancelling the future aborts the transfer and closes its
        connection; over HTTP/2, it ends the stream.

        :arg str url: an http or https URL.
        :arg kwargs: mapping of keywords, like Turbo's table. It is never changed.
        :arg options: the same keywords as keyword arguments, which take precedence over
            ``kwargs``. `FetchKeywords` lists the keywords, and the guide has a table with
            their types, units and defaults. ``None`` has the same effect as omitting the
            keyword.
        :rtype: Future of an `HTTPResponse`
        :raises TypeError: for an unknown keyword, a value of the wrong type, more than one of
            ``body``, ``json`` and ``files``, or an ``HTTPRequest`` as ``url``.
        :raises ValueError: for an invalid value: a CR, LF or NUL in a header, an invalid
            method, a negative timeout, an invalid ``proxy``, an unknown ``http_version``, or
            an ``http_version`` or ``proxy`` that the transport does not support.
        :raises RuntimeError: when called in a thread other than the thread of the loop, for a
            closed loop or transport, or for a transport instance of another loop.

        An exception of ``on_headers`` is raised unchanged. After any exception, the client can
        fetch again.

        Equivalent to ``turbo.async.HTTPClient:fetch(url, kwargs)``.
        """
        started = time.monotonic()
        fetch_options = keywords.resolve(kwargs, options)
        io_loop = self._loop()
        try:
            if self._busy:
                raise ClientBusy("this client has a fetch in progress")
            # Set first, because `on_headers` can fetch as well.
            self._busy = True
            try:
                request = build_request(url, fetch_options, self._tls, self._max_buffer_size)
                transport = registry.transport_for(io_loop, self._transport, request.version)
            except BaseException:
                self._busy = False
                raise
        except REFUSED as refusal:
            error = classify(refusal)
            assert error is not None
            return _resolved(io_loop, error)
        observer = hooks.observer(self._hooks)
        fetch = ActiveFetch(
            io_loop, transport, fetch_options, request, started, self._free, observer
        )
        fetch.start()
        return fetch.future

    def _free(self) -> None:
        self._busy = False

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
        loop = asyncio_loop(self._io_loop)
        if loop.is_closed():
            raise RuntimeError("the io_loop of this HTTPClient is closed; create another client")
        if running is not loop and (running is not None or loop.is_running()):
            raise RuntimeError(
                "fetch() was called outside its IOLoop; use io_loop.add_callback(...) to "
                "call it there, or create the HTTPClient without io_loop"
            )
        return self._io_loop


def _has_loop() -> bool:
    # In the main thread asyncio creates a loop on demand.
    main = threading.current_thread() is threading.main_thread()
    return main or IOLoop.current(instance=False) is not None


def _resolved(io_loop: IOLoop, error: FetchError) -> Future[HTTPResponse]:
    future: Future[HTTPResponse] = Future(loop=asyncio_loop(io_loop))
    response = HTTPResponse(0.0, error)
    log.fetched(None, response)
    future.set_result(response)
    return future
