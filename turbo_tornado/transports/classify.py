"""`classify`: the one place where a failure becomes a code of `errors`."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from tornado.httpclient import HTTPClientError

from .. import failures
from ..errors import FetchError, errors
from ..messages import printable

_CODES: dict[type, errors] = {
    failures.InvalidURL: errors.INVALID_URL,
    failures.InvalidSchema: errors.INVALID_SCHEMA,
    failures.ConnectFailed: errors.COULD_NOT_CONNECT,
    failures.MalformedResponse: errors.PARSE_ERROR_HEADERS,
    failures.ConnectTimeout: errors.CONNECT_TIMEOUT,
    failures.RequestTimeout: errors.REQUEST_TIMEOUT,
    failures.NoResponse: errors.NO_HEADERS,
    failures.BodyRequired: errors.REQUIRES_BODY,
    failures.InvalidBody: errors.INVALID_BODY,
    failures.BrokenConnection: errors.SOCKET_ERROR,
    failures.BodyError: errors.SOCKET_ERROR,
    failures.HandshakeFailed: errors.SSL_ERROR,
    failures.ClientBusy: errors.BUSY,
    failures.TooManyRedirects: errors.REDIRECT_MAX,
    # Any other failure of a transport, such as the end of the transport itself.
    HTTPClientError: errors.SOCKET_ERROR,
}

#: The failures that a transport reports, by code: a stub simulates them.
SIMULATED: dict[errors, Callable[[str], HTTPClientError]] = {}
for _failure, _code in _CODES.items():
    if issubclass(_failure, HTTPClientError):
        SIMULATED.setdefault(_code, cast("Callable[[str], HTTPClientError]", _failure))

#: Raised before a request is sent; `HTTPClient.fetch` returns them as ``response.error``.
REFUSED = (
    failures.InvalidURL,
    failures.InvalidSchema,
    failures.BodyRequired,
    failures.InvalidBody,
    failures.ClientBusy,
    failures.ConnectFailed,
)


def classify(
    error: BaseException,
    where: str = "",
    connect_timeout: float = 0.0,
    request_timeout: float = 0.0,
) -> FetchError | None:
    """Return the `FetchError` of a failure, or ``None`` for any other exception.

    :arg error: the exception that a transport reported or that building a request raised.
    :arg str where: host and port, for the message.
    :arg float connect_timeout: seconds, for the message.
    :arg float request_timeout: seconds for the whole fetch, for the message.
    """
    code = next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), None)
    if code is None:
        return None
    text = printable(str(getattr(error, "message", None) or error))
    if code is errors.CONNECT_TIMEOUT:
        text = f"connect_timeout of {connect_timeout:g} s expired: {text}"
    elif code is errors.REQUEST_TIMEOUT:
        text = f"request_timeout of {request_timeout:g} s expired: {text}"
    return FetchError(code, text if where in text else f"{where}: {text}")
