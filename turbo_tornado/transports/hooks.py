"""Support for tools that hook into a transport: tracers, mocks, and vcrpy.

They replace ``fetch`` or ``fetch_impl`` of a transport, or of the Tornado class that the
transport replaces.

This module uses private names of Tornado's clients: ``_process_queue``, ``_requests`` and
``_set_timeout`` are those that Tornado's ``fetch_impl`` uses.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable
from io import BytesIO
from types import FunctionType
from typing import Any, TypeVar, cast

from tornado import httputil
from tornado.httpclient import HTTPRequest, HTTPResponse

from ..headers import HTTPHeaders
from ..request.build import apply_changes
from ..request.request import Request

AnyMethod = TypeVar("AnyMethod", bound=Callable[..., Any])


def with_signature_of(method: AnyMethod) -> Callable[[Callable[..., Any]], AnyMethod]:
    """Return a decorator that gives a method the signature of ``method``."""
    return cast(
        "Callable[[Callable[..., Any]], AnyMethod]",
        functools.wraps(method, assigned=(), updated=()),
    )


def is_replaced(function: Any, module: dict[str, Any]) -> bool:
    """Return whether ``function`` is not the one that a module defines.

    A comparison with the function itself would be wrong if this package is imported while the
    function is replaced. `functools.wraps` copies the name of a function, but not its globals.

    :arg module: the namespace of the module.
    """
    return type(function) is not FunctionType or function.__globals__ is not module


class StandIn:
    """A stand-in for a transport in the ``fetch_impl`` of Tornado's class.

    A tool that has replaced that method calls the original one, which is not the method of the
    transport. The original one queues the request here, and the stand-in starts it on the
    transport. The tool can use any other attribute of the transport.

    :arg start: starts a request on the transport.
    """

    #: The queue is never full.
    max_clients = 1

    def __init__(self, client: Any, start: Callable[[Any, Any], None]) -> None:
        self._client = client
        self._start = start
        self.queue: collections.deque[Any] = collections.deque()
        self.active: dict[Any, Any] = {}
        self.waiting: dict[Any, Any] = {}
        self._requests: collections.deque[Any] = collections.deque()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._client)

    def _process_queue(self) -> None:
        if self.queue:
            key, request, callback = self.queue.popleft()
            del self.waiting[key]
        else:
            request, callback, _ = self._requests.popleft()
        self._start(request, callback)

    def _set_timeout(self, milliseconds: int) -> None:
        """Do nothing, because the transport has a separate timer."""


class CarriedRequest(HTTPRequest):
    """A `Request` as an ``HTTPRequest``, whose headers a tool can read and change."""

    def __init__(self, request: Request) -> None:
        super().__init__(
            request.url.url,
            request.method,
            httputil.HTTPHeaders(HTTPHeaders.deferred(request.header_block)),
            request.body,
            connect_timeout=request.connect_timeout,
            request_timeout=request.request_timeout,
            follow_redirects=False,
            decompress_response=request.decompress,
            allow_nonstandard_methods=True,
            streaming_callback=request.streaming_callback,
            body_producer=cast(Any, request.body_producer),
        )
        self.carried = request
        self._headers_before = self.headers.copy()

    def request_to_send(self) -> Request:
        """Return the request with its headers as they are now.

        :raises ValueError: for an invalid header, and for a header that the client sets.
        """
        if self.headers != self._headers_before:
            apply_changes("a tool", self.carried, HTTPHeaders(self.headers))
        return self.carried


class CarriedResponse(HTTPResponse):
    """The outcome of a `CarriedRequest`: a `Response` or an exception."""

    def __init__(self, request: HTTPRequest, outcome: Any, request_time: float) -> None:
        self.outcome = outcome
        if isinstance(outcome, BaseException):
            super().__init__(request, 599, error=outcome, request_time=request_time)
        else:
            super().__init__(
                request,
                outcome.code,
                outcome.headers,
                BytesIO(outcome.body),
                reason=outcome.reason,
                request_time=request_time,
                time_info=outcome.time_info,
            )
