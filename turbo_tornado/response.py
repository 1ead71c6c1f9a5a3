"""`HTTPResponse`: what a fetch resolves with, whatever happened."""

from __future__ import annotations

from .errors import FetchError
from .headers import HTTPHeaders


class HTTPResponse:
    """The response to a fetch, or the error that it ended with.

    Look at ``error`` first: when it is set, everything else but ``request_time`` is
    ``None``. A 4xx or 5xx is a response, not an error.

    .. attribute:: error

       `FetchError` with ``code`` (a member of `errors`) and ``message``, or ``None``.

    .. attribute:: request

       `HTTPHeaders`: the request as it was sent, the last one of a redirect.

    .. attribute:: code

       int: the status code.

    .. attribute:: reason

       str: the reason phrase as received, the standard one where there is none.

    .. attribute:: headers

       `HTTPHeaders`: the header fields as received.

    .. attribute:: body

       bytes: the body, decoded; ``b""`` when there is none.

    .. attribute:: url

       str: the URL of the last request, without user info and fragment.

    .. attribute:: request_time

       float: milliseconds that the whole fetch took.

    .. attribute:: time_info

       dict: the phases of the last request, in seconds, under the names that Tornado's curl
       client gives them. ``queue`` is how long it waited for its turn; from then on count
       ``namelookup``, ``connect`` and ``appconnect`` (TLS), when these were done, about 0
       on a connection that was kept, ``starttransfer``, the first byte of the response, and
       ``total``. What the transport does not know is not in it. Turbo has no such thing.

    Answers to ``turbo.async.HTTPResponse``.
    """

    __slots__ = (
        "body",
        "code",
        "error",
        "headers",
        "reason",
        "request",
        "request_time",
        "time_info",
        "url",
    )

    error: FetchError | None
    # Typed as present, because code that has looked at `error` first may rely on it.
    request: HTTPHeaders
    code: int
    reason: str
    headers: HTTPHeaders
    body: bytes
    url: str
    request_time: float
    time_info: dict[str, float]

    def __init__(
        self,
        request_time: float,
        error: FetchError | None = None,
        *,
        request: HTTPHeaders | None = None,
        code: int | None = None,
        reason: str | None = None,
        headers: HTTPHeaders | None = None,
        body: bytes | None = None,
        url: str | None = None,
        time_info: dict[str, float] | None = None,
    ) -> None:
        self.request_time = request_time
        self.error = error
        self.request = request  # type: ignore[assignment]
        self.code = code  # type: ignore[assignment]
        self.reason = reason  # type: ignore[assignment]
        self.headers = headers  # type: ignore[assignment]
        self.body = body  # type: ignore[assignment]
        self.url = url  # type: ignore[assignment]
        self.time_info = time_info  # type: ignore[assignment]

    def __repr__(self) -> str:
        if self.error is not None:
            return f"<HTTPResponse {self.error.code.name}: {self.error.message}>"
        return f"<HTTPResponse {self.code} {self.reason}, {len(self.body)} bytes>"
