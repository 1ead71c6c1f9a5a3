"""Testing without a network: a stub in the place of the transport.

Everything above the transport is the real client: keywords, redirects, limits, codes.
The stub answers what the test registered, and fails the test for anything else::

    with StubTransport() as stub:
        stub.get("https://api.example.com/latest", json={"version": 3})
        response = await HTTPClient().fetch("https://api.example.com/latest")
"""

from __future__ import annotations

import asyncio
import difflib
import inspect
import json as _json
import math
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import parse_qs, parse_qsl, urlsplit

from tornado import httputil
from tornado.escape import json_decode

from . import transports
from .errors import FAILURES, errors
from .headers import HTTPHeaders, field_lines
from .options import HTTP_VERSIONS, token
from .transports.exchange import Exchange, Plan
from .transports.failures import RequestTimeout
from .transports.http1 import CODES_WITHOUT_BODY, BodySink, Head, ResponseParser
from .transports.simple import SimpleTransport
from .urls import InvalidSchema, InvalidURL, parse_url

if sys.version_info >= (3, 11):
    from typing import Self, Unpack
elif TYPE_CHECKING:
    from typing_extensions import Self, Unpack

__all__ = [
    "Answer",
    "AnswerKeywords",
    "Route",
    "StubRequest",
    "StubTransport",
    "UnexpectedRequest",
]

_HOW_TO_CAUSE = {
    errors.INVALID_URL: "fetch such a URL, or answer with a redirect to one",
    errors.INVALID_SCHEMA: "fetch such a URL, or answer with a redirect to one",
    errors.REQUIRES_BODY: "fetch with POST and neither body nor params",
    errors.INVALID_BODY: "fetch with a body that is neither bytes nor str",
    errors.BUSY: "fetch twice with one client and without waiting for the first",
    errors.REDIRECT_MAX: "answer with status=302 and a Location that is answered so again",
}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ANY_ORIGIN = "http://any"
_NOT_GIVEN: Any = object()


class UnexpectedRequest(AssertionError):
    """A request for which nothing is registered.

    The fetch ends with it, and since a server makes a mere 500 of that, the stub raises
    it again at its end. The message lists what is registered.
    """


class StubRequest:
    """A request that has reached the stub: one hop of a fetch.

    .. attribute:: method

       str: upper-case.

    .. attribute:: url

       str: the whole URL, without user info and fragment.

    .. attribute:: headers

       `turbo_tornado.HTTPHeaders`: as they would have been sent.

    .. attribute:: body

       bytes: ``b""`` when there is none.

    .. attribute:: request_timeout

       float: seconds that the fetch had left; 0 for no limit.

    .. attribute:: connect_timeout

       float: seconds; 0 for no limit.

    .. attribute:: cancelled

       bool: whether the fetch was cancelled before it had its answer.
    """

    def __init__(self, plan: Plan) -> None:
        line, _, fields = plan.head.partition(b"\r\n")
        method, target, version = line.decode("ascii").split(" ")
        self.method = method
        self.url = plan.url.url
        self.headers = HTTPHeaders.deferred(fields.removesuffix(b"\r\n"))
        self.headers.set_method(method)
        self.headers.set_uri(target)
        self.headers.set_version(version)
        self.body = plan.body or b""
        self.request_timeout = plan.request_timeout or 0.0
        self.connect_timeout = plan.connect_timeout or 0.0
        self.cancelled = False

    @property
    def path(self) -> str:
        """The path of the URL, at least ``"/"``."""
        return urlsplit(self.url).path or "/"

    @property
    def query(self) -> dict[str, list[str]]:
        """The parameters in the URL: name -> values, decoded."""
        return parse_qs(urlsplit(self.url).query, keep_blank_values=True)

    def form(self) -> dict[str, list[str]]:
        """Returns the parameters in a form body: name -> values, decoded."""
        return parse_qs(self.body.decode(), keep_blank_values=True)

    def json(self) -> Any:
        """Returns what the body is as JSON.

        :raises ValueError: when it is none.
        """
        return json_decode(self.body)

    def __str__(self) -> str:
        return f"{self.method} {self.url}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"


class Answer:
    """What the stub answers with: a response or an error.

    :arg int status: the status code, 200 to 999; default 200.
    :arg body: bytes, or str that is sent as UTF-8; default empty.
    :arg json: anything that can be JSON, in the place of ``body``; the Content-Type is
        then ``application/json`` unless ``headers`` has one.
    :arg headers: a mapping, or pairs where a field is repeated. Content-Length is added
        when it is not there. With ``Content-Encoding: gzip``, ``body`` is what
        `gzip.compress` returned.
    :arg error: a member of `turbo_tornado.errors`: the fetch ends with it, and without a response.
    :arg float delay: seconds before the answer comes; default 0. A delay that the
        ``request_timeout`` of the fetch does not allow gives ``REQUEST_TIMEOUT`` at
        once, so that no test waits for a timeout. ``math.inf`` never comes.
    :raises TypeError: for a value of the wrong type, or ``error`` beside a response.
    :raises ValueError: for a value that cannot be, or an ``error`` that the client
        makes by itself, such as ``BUSY``; the message says how to cause it.
    """

    __slots__ = ("_body", "_head", "delay", "error")

    def __init__(
        self,
        status: int = 200,
        *,
        body: bytes | str = b"",
        json: Any = _NOT_GIVEN,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        error: errors | None = None,
        delay: float = 0,
    ) -> None:
        fields = _fields(headers)
        if json is not _NOT_GIVEN:
            if body:
                raise TypeError("an answer has either body or json, not both")
            body = _json.dumps(json)
            fields.setdefault("Content-Type", "application/json")
        elif not isinstance(body, (bytes, str)):
            raise TypeError(f"body must be bytes or str, not {type(body).__name__}; see json=")
        if isinstance(body, str):
            body = body.encode()
        if error is not None:
            if status != 200 or body or len(fields):
                raise TypeError("an answer is either an error or a response, not both")
            _check_error(error)
        self.error = error
        self.delay = _seconds(delay)
        self._head = _head(status, fields, body)
        self._body = body


def _check_error(error: object) -> None:
    if not isinstance(error, errors):
        raise TypeError(f"error must be a member of errors, not {error!r}")
    if error not in FAILURES:
        raise ValueError(
            f"{error.name} comes from the client, not from the network; to cause it, "
            f"{_HOW_TO_CAUSE[error]}"
        )


def _seconds(delay: object) -> float:
    if isinstance(delay, bool) or not isinstance(delay, (int, float)):
        raise TypeError(f"delay must be a number of seconds, not {type(delay).__name__}")
    if math.isnan(delay) or delay < 0:
        raise ValueError("delay must not be negative or NaN")
    return float(delay)


def _fields(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> HTTPHeaders:
    fields = HTTPHeaders()
    if isinstance(headers, httputil.HTTPHeaders):
        pairs: Iterable[tuple[str, str]] = headers.get_all()
    else:
        pairs = headers.items() if isinstance(headers, Mapping) else headers
    for name, value in pairs:
        fields.add(name, value)
    if "Transfer-Encoding" in fields:
        raise ValueError("the body is given as a whole: leave out Transfer-Encoding")
    return fields


def _head(status: int, fields: HTTPHeaders, body: bytes) -> bytes:
    if isinstance(status, bool) or not isinstance(status, int):
        raise TypeError(f"status must be an int, not {type(status).__name__}; see error=")
    if not 200 <= status <= 999:
        raise ValueError(f"status must be from 200 to 999, not {status}")
    if status in CODES_WITHOUT_BODY:
        if body:
            raise ValueError(f"a response with status {status} has no body")
    else:
        fields.setdefault("Content-Length", str(len(body)))
    return f"HTTP/1.1 {status:d} \r\n{field_lines(fields)}\r\n".encode("latin-1")


class AnswerKeywords(TypedDict, total=False):
    """The keywords of `Answer`."""

    status: int
    body: bytes | str
    json: Any
    headers: Mapping[str, str] | Iterable[tuple[str, str]]
    error: errors | None
    delay: float


#: Called with the request, returns the `Answer` or something to await it from.
AnswerFunction = Callable[[StubRequest], Answer | Awaitable[Answer]]
#: An absolute URL or a path; a regular expression; or what says whether it is the one.
URLPattern = str | re.Pattern[str] | Callable[[StubRequest], object]


class Route:
    """What is registered for requests of a kind; `StubTransport.on` returns it.

    .. attribute:: requests

       list of `StubRequest`: those that this answered, in order.
    """

    def __init__(
        self,
        method: str | None,
        url: URLPattern,
        answers: tuple[Answer | AnswerFunction, ...],
    ) -> None:
        self.requests: list[StubRequest] = []
        self._method = None if method is None else token("method", method)
        self._url = url
        self._answers = answers
        self._matches_url, self._matches_path = _matchers(url)

    def _takes(self, request: StubRequest) -> bool:
        return self._method in (None, request.method) and bool(self._matches_url(request))

    async def _answer(self, request: StubRequest) -> Answer:
        # The last answer is there for good.
        answer = self._answers[min(len(self.requests), len(self._answers) - 1)]
        self.requests.append(request)
        if isinstance(answer, Answer):
            return answer
        given = answer(request)
        if inspect.isawaitable(given):
            given = await given
        if not isinstance(given, Answer):
            raise TypeError(
                f"what answers {self} must return an Answer, not {type(given).__name__}"
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
    # The second one looks away from the query.
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
            f"{pattern!r} is neither a URL nor a path that begins with /: {error}"
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


class StubTransport:
    """Answers every `turbo_tornado.HTTPClient` of the process in the place of the network.

    A context manager; in a test case ``install`` and ``addCleanup(stub.uninstall)`` do
    the same, and under pytest the fixture ``turbo_stub`` is one that is installed. It
    can be made where there is no loop, and serves any number of loops. What
    `turbo_tornado.configure` was told is untouched; while the stub is installed it also
    stands in for the ``transport`` of a client that was given one. Of several that are
    installed the last one answers.

    .. attribute:: requests

       list of `StubRequest`: all that came, in order, unexpected ones too.

    .. attribute:: transport

       The `AsyncHTTPClient` class that answers from this stub, for code that uses
       Tornado's own interface: ``AsyncHTTPClient.configure(stub.transport)``.
    """

    def __init__(self) -> None:
        self.requests: list[StubRequest] = []
        self.transport: type[SimpleTransport] = type("Stub", (_Transport,), {"stub": self})
        self._routes: list[Route] = []
        self._mistakes: list[Exception] = []
        self._installed = False

    def on(
        self,
        method: str | None,
        url: URLPattern,
        *answers: Answer | AnswerFunction,
        **answer: Unpack[AnswerKeywords],
    ) -> Route:
        """Registers what is answered to a request.

        :arg method: such as ``"GET"``; ``None`` for any.
        :arg url: an absolute URL, or a path, which is that of any host. With a query
            it asks for the same parameters in any order; without one the query does not
            matter. Or a compiled regular expression that is searched for in the URL. Or a
            function that is called with the `StubRequest` and says whether it is the one.
        :arg answers: `Answer` after `Answer` for successive requests, of which the last
            one stays. In the place of each a function can stand, plain or async, that
            is called with the `StubRequest` and returns the `Answer`.
        :arg answer: the keywords of one `Answer`, instead of ``answers``; nothing at all
            is an empty 200.
        :raises TypeError, ValueError: as `Answer`, or for a URL that cannot be.

        Where several fit, the one that was registered last answers: a test can override
        what its set-up said.
        """
        if answers and answer:
            raise TypeError("give either answers or the keywords of one, not both")
        for one in answers:
            if not isinstance(one, Answer) and not callable(one):
                raise TypeError(f"{one!r} is neither an Answer nor a function that returns one")
        route = Route(method, url, answers or (Answer(**answer),))
        self._routes.append(route)
        return route

    def get(
        self,
        url: URLPattern,
        *answers: Answer | AnswerFunction,
        **answer: Unpack[AnswerKeywords],
    ) -> Route:
        """Registers what is answered to a GET, as `on`."""
        return self.on("GET", url, *answers, **answer)

    def head(
        self,
        url: URLPattern,
        *answers: Answer | AnswerFunction,
        **answer: Unpack[AnswerKeywords],
    ) -> Route:
        """Registers what is answered to a HEAD, as `on`; the body is left out."""
        return self.on("HEAD", url, *answers, **answer)

    def post(
        self,
        url: URLPattern,
        *answers: Answer | AnswerFunction,
        **answer: Unpack[AnswerKeywords],
    ) -> Route:
        """Registers what is answered to a POST, as `on`."""
        return self.on("POST", url, *answers, **answer)

    def put(
        self,
        url: URLPattern,
        *answers: Answer | AnswerFunction,
        **answer: Unpack[AnswerKeywords],
    ) -> Route:
        """Registers what is answered to a PUT, as `on`."""
        return self.on("PUT", url, *answers, **answer)

    def patch(
        self,
        url: URLPattern,
        *answers: Answer | AnswerFunction,
        **answer: Unpack[AnswerKeywords],
    ) -> Route:
        """Registers what is answered to a PATCH, as `on`."""
        return self.on("PATCH", url, *answers, **answer)

    def delete(
        self,
        url: URLPattern,
        *answers: Answer | AnswerFunction,
        **answer: Unpack[AnswerKeywords],
    ) -> Route:
        """Registers what is answered to a DELETE, as `on`."""
        return self.on("DELETE", url, *answers, **answer)

    def install(self) -> Self:
        """Puts the stub in the place of every transport, and returns it.

        :raises RuntimeError: when it is installed already.
        """
        if self._installed:
            raise RuntimeError("this StubTransport is installed already")
        transports.put_stub(self.transport)
        self._installed = True
        return self

    def uninstall(self) -> None:
        """Takes the stub away, and raises as `check` does."""
        self._remove()
        self.check()

    def check(self) -> None:
        """Fails the test for what went wrong since the last time.

        :raises UnexpectedRequest: when a request came for which nothing is registered.
        :raises Exception: whatever a function of the test raised while it answered.
        """
        mistakes, self._mistakes = self._mistakes, []
        if not mistakes:
            return
        if len(mistakes) == 1 or not all(isinstance(m, UnexpectedRequest) for m in mistakes):
            raise next((m for m in mistakes if not isinstance(m, UnexpectedRequest)), mistakes[0])
        raise UnexpectedRequest("\n\n".join(map(str, mistakes)))

    def assert_all_requested(self) -> None:
        """Fails the test when something is registered that nobody asked for.

        :raises AssertionError: with all of it.
        """
        missing = [f"  {route}" for route in self._routes if not route.requests]
        if missing:
            raise AssertionError("\n".join(["nobody asked for", *missing]))

    def __enter__(self) -> Self:
        return self.install()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._remove()
        # What a test fails with is mostly a consequence of the mistake, which says why.
        if error is None or isinstance(error, Exception):
            self.check()

    def _remove(self) -> None:
        if self._installed:
            transports.take_stub(self.transport)
            self._installed = False

    async def _answer(self, request: StubRequest) -> Answer:
        try:
            for route in reversed(self._routes):
                if route._takes(request):
                    return await route._answer(request)
            raise UnexpectedRequest(_unexpected(request, self._routes))
        except Exception as error:
            self._mistakes.append(error)
            raise


def _unexpected(request: StubRequest, routes: list[Route]) -> str:
    lines = [f"unexpected request: {request}"]
    if urlsplit(request.url).hostname in _LOOPBACK:
        lines.append(
            "(the stub answers every HTTPClient; to call a server of the test itself, use "
            "Tornado's AsyncHTTPClient, as self.fetch of AsyncHTTPTestCase does)"
        )
    if not routes:
        return "\n".join([*lines, "nothing is registered"])
    nearest, why = _nearest(request, routes)
    lines.append("registered:")
    for route in routes:
        times = len(route.requests)
        asked = {0: "never asked for", 1: "asked for once"}.get(times, f"asked for {times} times")
        lines.append(f"  {route} ({asked})" + (f" <- {why}" if route is nearest else ""))
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


class _Exchange(Exchange):
    """An exchange with a stub in the place of a connection."""

    transport: _Transport
    _request: StubRequest | None = None

    def abort(self) -> None:
        if self._request is not None and not self.finished:
            self._request.cancelled = True
        super().abort()

    def _connect(self) -> None:
        self._request = StubRequest(self.plan)
        self.transport.stub.requests.append(self._request)
        self._spawn(self._play(self._request))

    async def _play(self, request: StubRequest) -> None:
        if self.plan.body_producer is not None:
            raise NotImplementedError("a stub takes no body_producer")
        answer = await self.transport.stub._answer(request)
        left = self.plan.request_timeout and self.plan.request_timeout - self.elapsed
        if left and answer.delay >= left:
            raise RequestTimeout(f"a stub answers after {answer.delay:g} s")
        await asyncio.sleep(answer.delay)
        if answer.error is not None:
            raise FAILURES[answer.error]("simulated by a stub")
        self._heard = self.elapsed
        parser = self._parser = ResponseParser(request.method == "HEAD", self._on_head)
        if not parser.feed(answer._head + answer._body):
            parser.end()
        if self._undelivered:
            await self._deliver(complete=True)
        else:
            self._respond()

    def _on_head(self, head: Head) -> BodySink:
        assert self._request is not None
        version = self._request.headers.get_version()
        if version == "HTTP/2":
            head.headers.set_version(version)
        return super()._on_head(head)

    def _leave(self, head: Head, leftover: bytes) -> None:
        """There is no stream to leave."""


class _Transport(SimpleTransport):
    """A transport whose answers come from a stub."""

    stub: StubTransport
    versions = frozenset(HTTP_VERSIONS)
    exchange_class = _Exchange
