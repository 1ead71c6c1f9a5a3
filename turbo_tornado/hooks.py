"""The hooks ``on_request`` and ``on_response``, and their `RequestEvent`."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable
from typing import Any

from .headers import HTTPHeaders
from .log import logger
from .request.build import apply_changes
from .request.checks import check_function
from .request.request import Request
from .transports.base import Response


class RequestEvent:
    """One request of a fetch: the argument of ``on_request`` and ``on_response``.

    A fetch has one event for its first request and one for each redirect that it follows. Both
    hooks receive the same object.

    .. attribute:: method

       str: the method.

    .. attribute:: url

       str: the URL without user info and fragment. The query can be secret.

    .. attribute:: headers

       `HTTPHeaders`: the headers of the request. The changes of ``on_request`` are sent, but
       not after a redirect. In ``on_response``, the headers that were sent.

    .. attribute:: redirects

       int: the number of redirects before this request; 0 for the first request.

    .. attribute:: start_time

       float: the time of ``on_request``, in seconds since the epoch.

    .. attribute:: duration

       float: seconds from ``on_request`` to the end of the request. ``None`` in ``on_request``.

    .. attribute:: code

       int: the status code. ``None`` without a response.

    .. attribute:: reason

       str: the reason phrase. ``None`` without a response.

    .. attribute:: response_headers

       `HTTPHeaders`: the headers of the response. ``None`` without a response.

    .. attribute:: time_info

       dict: the phases of the request, as in `HTTPResponse`. ``None`` without a response.

    .. attribute:: error

       The reason why the fetch ended without a result: a `FetchError`, an
       `asyncio.CancelledError` for a cancelled fetch, or the exception that `HTTPClient.fetch`
       or its future raises. ``None`` for a response and for a redirect that is followed. With a
       redirect that is not followed, such as ``REDIRECT_MAX``, ``code`` is set too.

    .. attribute:: state

       dict: empty at first, for the values that your hooks keep until ``on_response``.

    Turbo has no equivalent.
    """

    __slots__ = (
        "_request",
        "_started",
        "code",
        "duration",
        "error",
        "headers",
        "method",
        "reason",
        "redirects",
        "response_headers",
        "start_time",
        "state",
        "time_info",
        "url",
    )

    def __init__(self, request: Request, redirects: int) -> None:
        self._request = request
        self.method = request.method
        self.url = request.url.url
        self.headers = request.headers()
        self.redirects = redirects
        self.start_time = time.time()
        self._started = time.monotonic()
        self.duration: float | None = None
        self.code: int | None = None
        self.reason: str | None = None
        self.response_headers: HTTPHeaders | None = None
        self.time_info: dict[str, float] | None = None
        self.error: BaseException | None = None
        self.state: dict[Any, Any] = {}

    def __repr__(self) -> str:
        # The query can be secret.
        outcome = self.code if self.error is None else type(self.error).__name__
        return f"<RequestEvent {self.method} {self.url.partition('?')[0]} {outcome}>"


Hook = Callable[[RequestEvent], object]


class Hooks:
    """Functions to call before and after each request."""

    __slots__ = ("on_request", "on_response")

    def __init__(
        self, on_request: tuple[Hook, ...] = (), on_response: tuple[Hook, ...] = ()
    ) -> None:
        self.on_request = on_request
        self.on_response = on_response

    def __add__(self, other: Hooks) -> Hooks:
        """Return the hooks of both; a function that is in both is called once."""
        return Hooks(
            tuple(dict.fromkeys(self.on_request + other.on_request)),
            tuple(dict.fromkeys(self.on_response + other.on_response)),
        )


def check_hooks(on_request: Hook | None, on_response: Hook | None) -> Hooks | None:
    """Return the hooks of a caller, or ``None`` if there are none.

    :raises TypeError: for a value that is not callable, and for a coroutine function.
    """
    if on_request is None and on_response is None:
        return None
    return Hooks(
        () if on_request is None else (check_function("on_request", on_request),),
        () if on_response is None else (check_function("on_response", on_response),),
    )


# Separate, because `reset` removes the hooks of `configure` only.
_instrumentation: Hooks | None = None
_configured: Hooks | None = None
_all: Hooks | None = None


def set_instrumentation(hooks: Hooks | None) -> None:
    """Set or remove the hooks of an instrumentor. They are called before all others."""
    global _instrumentation
    _instrumentation = hooks
    _combine()


def add(hooks: Hooks | None) -> None:
    """Add hooks for the fetches of all clients."""
    global _configured
    if hooks is not None:
        _configured = hooks if _configured is None else _configured + hooks
        _combine()


def clear() -> None:
    """Remove the hooks that `add` has added."""
    global _configured
    _configured = None
    _combine()


def _combine() -> None:
    global _all
    parts = [hooks for hooks in (_instrumentation, _configured) if hooks is not None]
    _all = sum(parts, Hooks()) if parts else None


def observer(client_hooks: Hooks | None) -> RequestObserver | None:
    """Return the observer of a fetch, or ``None`` if there are no hooks.

    :arg client_hooks: the hooks of the client, which are called after those of all clients.
    """
    if client_hooks is None:
        return None if _all is None else RequestObserver(_all)
    return RequestObserver(client_hooks if _all is None else _all + client_hooks)


class RequestObserver:
    """The hooks of one fetch, called for each of its requests.

    The methods log the exceptions of a hook. They raise only those that end the program.
    """

    __slots__ = ("_context", "_event", "_hooks", "_redirects", "_unchanged")

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._context = contextvars.copy_context()
        self._redirects = -1
        self._event: RequestEvent | None = None
        self._unchanged = (b"", True)

    def on_request(self, request: Request) -> None:
        """Call ``on_request``, and apply its changes to ``request``."""
        self._redirects += 1
        event = RequestEvent(request, self._redirects)
        self._unchanged = (request.header_block, request.keep_alive)
        context = self._context.copy()
        for hook in self._hooks.on_request:
            event.headers = request.headers()
            try:
                context.run(hook, event)
                apply_changes("on_request", request, event.headers)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException:
                _log(hook)
        event.headers = request.headers()
        self._event = event

    def on_result(self, response: Response) -> None:
        """Record the response to the request."""
        event = self._event
        if event is not None:
            event.code, event.reason = response.code, response.reason
            event.response_headers, event.time_info = response.headers, response.time_info

    def undo(self, request: Request) -> None:
        """Remove the changes of the hooks before a redirect uses the request."""
        request.header_block, request.keep_alive = self._unchanged

    def on_end(self, error: BaseException | None, ended: float) -> None:
        """Call ``on_response``, once for each call of `on_request`.

        :arg float ended: the time of the end, by `time.monotonic`.
        """
        event, self._event = self._event, None
        if event is None:
            return
        event.duration = ended - event._started
        event.error = error
        context = self._context.copy()
        for hook in self._hooks.on_response:
            try:
                context.run(hook, event)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException:
                _log(hook)


def _log(hook: Hook) -> None:
    name = getattr(hook, "__qualname__", type(hook).__qualname__)
    logger.error("Exception in the hook %s", name, exc_info=True)
