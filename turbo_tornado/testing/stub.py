"""`StubTransport`: answers every fetch of the process without a network."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

from ..transports.registry import registry
from ..transports.simple import SimpleTransport
from .answers import Answer, AnswerKeywords
from .request import StubRequest
from .routes import AnswerFunction, Route, URLPattern, describe_unexpected
from .transport import Transport

if sys.version_info >= (3, 11):
    from typing import Self, Unpack
elif TYPE_CHECKING:
    from typing_extensions import Self, Unpack


class UnexpectedRequest(AssertionError):
    """A request that no registered answer matches.

    The fetch raises it. A server turns that into a status of 500, so the stub raises it again
    when it is uninstalled. The message lists the registered answers.
    """


class StubTransport:
    """A stub that answers every `turbo_tornado.HTTPClient` in the process.

    Use it as a context manager. In a test case, call `install` and ``addCleanup(stub.uninstall)``.
    Under pytest, use the fixture ``turbo_stub``, which is an installed stub. A stub can be
    created without a running loop and serves any number of loops.

    An installed stub takes precedence over `turbo_tornado.configure` and over the
    ``transport`` of a client, and changes neither. If several stubs are installed, the last one
    answers.

    .. attribute:: requests

       list of `StubRequest`: all requests in order, including unexpected ones.

    .. attribute:: transport

       The `AsyncHTTPClient` class of this stub, for code that uses Tornado's interface:
       ``AsyncHTTPClient.configure(stub.transport)``.
    """

    def __init__(self) -> None:
        self.requests: list[StubRequest] = []
        self.transport: type[SimpleTransport] = type("Stub", (Transport,), {"stub": self})
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
        """Register answers for some requests.

        :arg method: such as ``"GET"``; ``None`` for any method.
        :arg url: an absolute URL, or a path on any host. With a query, the request must have
            the same parameters in any order; without one, the query is ignored. Or a compiled
            regular expression, which is searched for in the URL. Or a function that is called
            with the `StubRequest` and returns whether it matches.
        :arg answers: the answers for successive requests; the last one is repeated. Each is an
            `Answer`, or a plain or async function that is called with the `StubRequest` and
            returns an `Answer`.
        :arg answer: the keywords of a single `Answer`, instead of ``answers``. Default: an
            empty response with status 200.
        :raises TypeError, ValueError: as `Answer`, or for an invalid ``url``.

        If several routes match, the one that was registered last answers. A test can thus
        override the routes of its set-up.
        """
        if answers and answer:
            raise TypeError("pass either answers or the keywords of an answer, not both")
        for one in answers:
            if not isinstance(one, Answer) and not callable(one):
                raise TypeError(
                    "an answer must be an Answer or a function that returns one, "
                    f"not {type(one).__name__}"
                )
        route = Route(method, url, answers or (Answer(**answer),))
        self._routes.append(route)
        return route

    def get(
        self,
        url: URLPattern,
        *answers: Answer | AnswerFunction,
        **answer: Unpack[AnswerKeywords],
    ) -> Route:
        """Register answers for GET requests, as `on`."""
        return self.on("GET", url, *answers, **answer)

    def head(
        self,
        url: URLPattern,
        *answers: Answer | AnswerFunction,
        **answer: Unpack[AnswerKeywords],
    ) -> Route:
        """Register answers for HEAD requests, as `on`. The body is omitted."""
        return self.on("HEAD", url, *answers, **answer)

    def post(
        self,
        url: URLPattern,
        *answers: Answer | AnswerFunction,
        **answer: Unpack[AnswerKeywords],
    ) -> Route:
        """Register answers for POST requests, as `on`."""
        return self.on("POST", url, *answers, **answer)

    def put(
        self,
        url: URLPattern,
        *answers: Answer | AnswerFunction,
        **answer: Unpack[AnswerKeywords],
    ) -> Route:
        """Register answers for PUT requests, as `on`."""
        return self.on("PUT", url, *answers, **answer)

    def patch(
        self,
        url: URLPattern,
        *answers: Answer | AnswerFunction,
        **answer: Unpack[AnswerKeywords],
    ) -> Route:
        """Register answers for PATCH requests, as `on`."""
        return self.on("PATCH", url, *answers, **answer)

    def delete(
        self,
        url: URLPattern,
        *answers: Answer | AnswerFunction,
        **answer: Unpack[AnswerKeywords],
    ) -> Route:
        """Register answers for DELETE requests, as `on`."""
        return self.on("DELETE", url, *answers, **answer)

    def install(self) -> Self:
        """Replace every transport by the stub, and return the stub.

        :raises RuntimeError: if the stub is already installed.
        """
        if self._installed:
            raise RuntimeError("this StubTransport is already installed")
        registry.add_stub(self.transport)
        self._installed = True
        return self

    def uninstall(self) -> None:
        """Restore the transports, and raise as `check` does."""
        self._remove()
        self.check()

    def check(self) -> None:
        """Fail the test if a request has failed in the stub since the last check.

        :raises UnexpectedRequest: for a request that no registered answer matches.
        :raises Exception: the exception that a function of the test has raised.
        """
        mistakes, self._mistakes = self._mistakes, []
        if not mistakes:
            return
        if len(mistakes) == 1 or not all(isinstance(m, UnexpectedRequest) for m in mistakes):
            raise next((m for m in mistakes if not isinstance(m, UnexpectedRequest)), mistakes[0])
        raise UnexpectedRequest("\n\n".join(map(str, mistakes)))

    def assert_all_requested(self) -> None:
        """Fail the test if a route has received no request.

        :raises AssertionError: with the list of these routes.
        """
        missing = [f"  {route}" for route in self._routes if not route.requests]
        if missing:
            raise AssertionError("\n".join(["never requested:", *missing]))

    def __enter__(self) -> Self:
        return self.install()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._remove()
        # The mistake usually explains the exception of the test.
        if error is None or isinstance(error, Exception):
            self.check()

    def _remove(self) -> None:
        if self._installed:
            registry.remove_stub(self.transport)
            self._installed = False

    async def _answer(self, request: StubRequest) -> Answer:
        try:
            for route in reversed(self._routes):
                if route._takes(request):
                    return await route._answer(request)
            raise UnexpectedRequest(describe_unexpected(request, self._routes))
        except Exception as error:
            self._mistakes.append(error)
            raise
