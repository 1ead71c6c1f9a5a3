"""`HTTPResponse`: the result of a fetch."""

from __future__ import annotations

import encodings
import json
import re
import sys
from encodings.aliases import aliases
from typing import TYPE_CHECKING, Any

from .errors import FetchError
from .headers import HTTPHeaders
from .request.request import Request
from .transports.base import Response

if sys.version_info >= (3, 11):
    from typing import Self
elif TYPE_CHECKING:
    from typing_extensions import Self

# Other codecs are unsafe: idna and punycode take quadratic time. Python also caches the name of
# each unknown codec.
_CHARSETS = frozenset({*aliases, *aliases.values(), "koi8_u"})
_CHARSET = re.compile(r";\s*charset\s*=\s*[\"']?([\w.:+-]{1,40})", re.ASCII | re.IGNORECASE)


class HTTPResponse:
    """The result of a fetch: a response or an error.

    Check ``error`` first. If it is set, all other attributes except ``request_time`` are
    ``None``. A 4xx or 5xx status is a response, not an error.

    .. attribute:: error

       `FetchError` with ``code`` (a member of `errors`) and ``message``, or ``None``. It is an
       exception. Each access returns another object.

    .. attribute:: request

       `HTTPHeaders`: the request as it was sent. After redirects, the last request.

    .. attribute:: code

       int: the status code.

    .. attribute:: reason

       str: the reason phrase as received. If it is empty, the standard phrase.

    .. attribute:: headers

       `HTTPHeaders`: the headers as received.

    .. attribute:: body

       bytes: the decoded body; ``b""`` for a response without a body.

    .. attribute:: text

       str: the body, decoded by the charset of the Content-Type header. Default: UTF-8, also
       for an unknown charset. Invalid bytes become U+FFFD. Raises ``error`` if it is set. Turbo
       has no equivalent.

    .. attribute:: url

       str: the URL of the last request, without user info and fragment.

    .. attribute:: request_time

       float: duration of the whole fetch in milliseconds. Always set.

    .. attribute:: time_info

       dict: the phases of the last request, in seconds, with the keys of Tornado's curl
       client. ``queue`` is the time in the queue of the transport. The others start at its
       end: ``namelookup`` (DNS), ``connect`` (TCP) and ``appconnect`` (TLS) end with that
       phase and are about 0 on a reused connection; ``starttransfer`` ends with the first
       byte of the response; ``total`` ends with the last one. A transport omits the phases
       that it does not measure. Turbo has no equivalent.

    Equivalent to ``turbo.async.HTTPResponse``.
    """

    __slots__ = (
        "_error",
        "_request",
        "_request_headers",
        "body",
        "code",
        "headers",
        "reason",
        "request_time",
        "time_info",
    )

    # Not typed as optional: they are set for a caller that has checked `error`.
    code: int
    reason: str
    headers: HTTPHeaders
    body: bytes
    request_time: float
    time_info: dict[str, float]

    def __init__(
        self,
        request_time: float,
        error: FetchError | None = None,
        request: Request | None = None,
        response: Response | None = None,
    ) -> None:
        self.request_time = request_time
        self._error = error
        self._request = request
        self._request_headers: HTTPHeaders | None = None
        if response is None:
            self.code = self.reason = self.headers = None  # type: ignore[assignment]
            self.body = self.time_info = None  # type: ignore[assignment]
        else:
            self.code = response.code
            self.reason = response.reason
            self.headers = response.headers
            self.body = response.body
            self.time_info = response.time_info

    @property
    def error(self) -> FetchError | None:
        if self._error is None:
            return None
        # A raised error refers to the frames that it has passed, and their variables refer to
        # the response. A reference back to the raised error would be a cycle.
        return FetchError(*self._error.args)

    # Computed on demand, because most callers use neither.

    @property
    def request(self) -> HTTPHeaders:
        if self._request_headers is None and self._request is not None:
            self._request_headers = self._request.headers()
        return self._request_headers  # type: ignore[return-value]

    @property
    def url(self) -> str:
        return None if self._request is None else self._request.url.url  # type: ignore[return-value]

    @property
    def text(self) -> str:
        self.raise_for_error()
        charset = _charset_of(self.headers.get("Content-Type", ""))
        try:
            return self.body.decode(charset, "replace")
        except (LookupError, UnicodeError):
            # Some codecs of Python are not text encodings, such as hex.
            return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the value of a JSON body, in UTF-8, UTF-16 or UTF-32.

        The status code and the Content-Type are not checked.

        :rtype: object
        :raises FetchError: ``error``, if it is set.
        :raises ValueError: for invalid JSON, or JSON that is nested too deeply.

        Turbo has no equivalent.
        """
        self.raise_for_error()
        try:
            return json.loads(self.body)
        except RecursionError:
            raise ValueError("the JSON body is nested too deeply") from None

    def raise_for_error(self) -> Self:
        """Raise ``error`` if it is set, and return the response otherwise.

        A status code of 400 or above is not an error.

        :rtype: HTTPResponse
        :raises FetchError: ``error``, if it is set.

        Turbo has no equivalent.
        """
        if self._error is not None:
            # A local variable would be a reference cycle with the traceback.
            raise FetchError(*self._error.args)
        return self

    def __repr__(self) -> str:
        if self._error is not None:
            return f"<HTTPResponse {self._error}>"
        return f"<HTTPResponse {self.code} {self.reason}, {len(self.body)} bytes>"


def _charset_of(content_type: str) -> str:
    match = _CHARSET.search(content_type)
    if match is None:
        return "utf-8"
    name = encodings.normalize_encoding(match[1]).lower()
    return name if name in _CHARSETS else "utf-8"
