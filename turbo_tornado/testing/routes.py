"""`Route`: which requests a stub answers, and its answers."""

from __future__ import annotations

import difflib
import inspect
import re
import threading
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ..failures import InvalidSchema, InvalidURL
from ..messages import quoted, shortened
from ..request.checks import check_method
from ..request.url import parse_url
from .answers import Answer
from .request import StubRequest

_ANY_ORIGIN = "http://any"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

#: Called with the request; returns an `Answer` or an awaitable of one.
AnswerFunction = Callable[[StubRequest], Answer | Awaitable[Answer]]
#: An absolute URL, a path, a regular expression, or a function that decides for a request.
URLPattern = str | re.Pattern[str] | Callable[[StubRequest], object]


class Route:
    """The registered answers for some requests; `StubTransport.on` returns it.

    .. attribute:: requests

       list of `StubRequest`: the requests that this route has answered, in order.
    """

    def __init__(
        self,
        method: str | None,
        url: URLPattern,
        answers: tuple[Answer | AnswerFunction, ...],
    ) -> None:
        self.requests: list[StubRequest] = []
        self._method = None if method is None else check_method("method", method)
        self._url = url
        self._answers = answers
        # Several threads with one loop each can share a stub.
        self._lock = threading.Lock()
        self._matches_url, self._matches_path = _matchers(url)

    def _takes(self, request: StubRequest) -> bool:
        return self._method in (None, request.method) and bool(self._matches_url(request))

    async def _answer(self, request: StubRequest) -> Answer:
        with self._lock:
            # The last answer is repeated.
            answer = self._answers[min(len(self.requests), len(self._answers) - 1)]
            self.requests.append(request)
        if isinstance(answer, Answer):
            return answer
        given = answer(request)
        if inspect.isawaitable(given):
            given = await given
        if not isinstance(given, Answer):
            raise TypeError(
                f"the function of {shortened(str(self))} must return an Answer, "
                f"not {type(given).__name__}"
            )
        return given

    def __str__(self) -> str:
        url: Any = self._url
        if isinstance(url, re.Pattern):
            url = f"re.compile({url.pattern!r})"
        elif not isinstance(url, str):
            url = getattr(url, "__qualname__", repr(url))
        return f"{self._method or 'any method'} {url}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"


_Matcher = Callable[[StubRequest], object]


def _matchers(pattern: URLPattern) -> tuple[_Matcher, _Matcher]:
    # The second matcher ignores the query.
    if isinstance(pattern, re.Pattern):
        return (lambda request: pattern.search(request.url),) * 2
    if not isinstance(pattern, str):
        if not callable(pattern):
            raise TypeError(
                f"the URL must be a str, a re.Pattern or callable, not {type(pattern).__name__}"
            )
        return pattern, pattern
    anywhere = pattern.startswith("/")
    try:
        wanted = parse_url(_ANY_ORIGIN + pattern if anywhere else pattern)
    except (InvalidURL, InvalidSchema) as error:
        raise ValueError(
            f"{quoted(pattern)} is neither a valid URL nor a path that begins with /: {error}"
        ) from None
    path, question_mark, query = wanted.target.partition("?")
    parameters = _parameters(query)

    def matches_path(request: StubRequest) -> bool:
        url = parse_url(request.url)
        return (anywhere or url.origin == wanted.origin) and request.path == path

    def matches_url(request: StubRequest) -> bool:
        if not matches_path(request):
            return False
        return not question_mark or _parameters(urlsplit(request.url).query) == parameters

    return matches_url, matches_path


def _parameters(query: str) -> list[tuple[str, str]]:
    return sorted(parse_qsl(query, keep_blank_values=True))


def describe_unexpected(request: StubRequest, routes: list[Route]) -> str:
    """Return the message for a request that no route answers."""
    lines = [f"unexpected request: {request}"]
    if urlsplit(request.url).hostname in _LOOPBACK:
        lines.append(
            "(the stub answers every HTTPClient; to call a server of the test, use Tornado's "
            "AsyncHTTPClient, like self.fetch of AsyncHTTPTestCase)"
        )
    if not routes:
        return "\n".join([*lines, "no answers are registered"])
    nearest, why = _nearest(request, routes)
    lines.append("registered:")
    for route in routes:
        times = len(route.requests)
        count = {0: "never requested", 1: "requested once"}.get(times, f"requested {times} times")
        lines.append(f"  {route} ({count})" + (f" <- {why}" if route is nearest else ""))
    return "\n".join(lines)


def _nearest(request: StubRequest, routes: list[Route]) -> tuple[Route | None, str]:
    for route in routes:
        if route._matches_url(request):
            return route, "only the method differs"
    for route in routes:
        if route._method in (None, request.method) and route._matches_path(request):
            return route, "only the query differs"
    by_text = {str(route): route for route in routes}
    near = difflib.get_close_matches(str(request), by_text, n=1)
    return (by_text[near[0]], "did you mean this?") if near else (None, "")
