"""`errors`: what can go wrong, as Turbo's codes, and how an exception becomes one."""

from __future__ import annotations

import asyncio
import enum
import errno
import socket
import ssl
from collections.abc import Callable
from typing import NamedTuple, cast

from tornado.httpclient import HTTPClientError
from tornado.httputil import HTTPInputError
from tornado.iostream import StreamClosedError, UnsatisfiableReadError
from tornado.simple_httpclient import HTTPTimeoutError

from .transports import failures
from .urls import InvalidSchema, InvalidURL


class errors(enum.IntEnum):
    """Codes of ``response.error.code``.

    >>> errors.COULD_NOT_CONNECT
    <errors.COULD_NOT_CONNECT: -3>
    >>> errors(-3).name
    'COULD_NOT_CONNECT'

    Answers to ``turbo.async.errors``; the numbers are Turbo.lua's.
    """

    #: Not a str, empty, no host, a bad port, a space or control character.
    INVALID_URL = -1
    #: A well-formed URL that is not http or https.
    INVALID_SCHEMA = -2
    #: The look-up failed, or the connection was refused or found no way.
    COULD_NOT_CONNECT = -3
    #: The response is not HTTP, or its head is not a proper one.
    PARSE_ERROR_HEADERS = -4
    #: ``connect_timeout`` ran out in DNS, TCP or TLS.
    CONNECT_TIMEOUT = -5
    #: ``request_timeout`` ran out, in whatever phase.
    REQUEST_TIMEOUT = -6
    #: The connection was closed in order before any byte of a response.
    NO_HEADERS = -7
    #: POST, PUT or PATCH with neither body nor params.
    REQUIRES_BODY = -8
    #: The body is neither bytes-like nor text.
    INVALID_BODY = -9
    #: The connection broke within the exchange, or the body is corrupt or too large.
    SOCKET_ERROR = -10
    #: TLS failed: settings, handshake or verification.
    SSL_ERROR = -11
    #: The client has a fetch in progress.
    BUSY = -12
    #: One more redirect than allowed.
    REDIRECT_MAX = -13


class FetchError(NamedTuple):
    """``response.error``: what went wrong.

    Answers to the ``error`` table of ``turbo.async.HTTPResponse``.
    """

    #: Which of the known ways it was.
    code: errors
    #: What failed, for a person: host and port, the limit, the words of the system.
    message: str


class Refused(Exception):
    """A fetch that ends with an error before anything is sent."""

    def __init__(self, code: errors, message: str) -> None:
        super().__init__(message)
        self.code = code


_BY_TYPE: dict[type[BaseException], errors] = {
    InvalidURL: errors.INVALID_URL,
    InvalidSchema: errors.INVALID_SCHEMA,
    failures.ConnectFailed: errors.COULD_NOT_CONNECT,
    failures.HandshakeFailed: errors.SSL_ERROR,
    failures.ConnectTimeout: errors.CONNECT_TIMEOUT,
    failures.RequestTimeout: errors.REQUEST_TIMEOUT,
    failures.NoResponse: errors.NO_HEADERS,
    failures.MalformedResponse: errors.PARSE_ERROR_HEADERS,
    failures.BrokenConnection: errors.SOCKET_ERROR,
    failures.BodyError: errors.SOCKET_ERROR,
    # What transports that are not ours raise.
    HTTPInputError: errors.PARSE_ERROR_HEADERS,
    UnsatisfiableReadError: errors.PARSE_ERROR_HEADERS,
    StreamClosedError: errors.SOCKET_ERROR,
    HTTPClientError: errors.SOCKET_ERROR,
    ssl.SSLError: errors.SSL_ERROR,
    socket.gaierror: errors.COULD_NOT_CONNECT,
    ConnectionRefusedError: errors.COULD_NOT_CONNECT,
    UnicodeError: errors.COULD_NOT_CONNECT,
    EOFError: errors.SOCKET_ERROR,
    OSError: errors.SOCKET_ERROR,
}

#: What a transport of ours raises so that it becomes a code; the codes that the client
#: makes by itself are not here.
FAILURES: dict[errors, Callable[[str], HTTPClientError]] = {}
for _kind, _meaning in _BY_TYPE.items():
    if _kind.__module__ == failures.__name__:
        FAILURES.setdefault(_meaning, cast("Callable[[str], HTTPClientError]", _kind))

#: Numbers of an `OSError` that a connection being made gives, and no other.
_UNREACHABLE = frozenset(
    {
        errno.EADDRNOTAVAIL,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EMFILE,
        errno.ENFILE,
    }
)

#: CURLcode: https://curl.se/libcurl/c/libcurl-errors.html. What is not here is
#: SOCKET_ERROR; 28 depends on the limit that ran out.
_BY_CURL_CODE: dict[int, errors] = {
    1: errors.PARSE_ERROR_HEADERS,  # UNSUPPORTED_PROTOCOL: HTTP/0.9, that is, not HTTP
    3: errors.INVALID_URL,  # URL_MALFORMAT
    5: errors.COULD_NOT_CONNECT,  # COULDNT_RESOLVE_PROXY
    6: errors.COULD_NOT_CONNECT,  # COULDNT_RESOLVE_HOST
    7: errors.COULD_NOT_CONNECT,  # COULDNT_CONNECT
    8: errors.PARSE_ERROR_HEADERS,  # WEIRD_SERVER_REPLY
    35: errors.SSL_ERROR,  # SSL_CONNECT_ERROR
    45: errors.COULD_NOT_CONNECT,  # INTERFACE_FAILED
    51: errors.SSL_ERROR,  # PEER_FAILED_VERIFICATION before libcurl 7.62
    52: errors.NO_HEADERS,  # GOT_NOTHING
    53: errors.SSL_ERROR,  # SSL_ENGINE_NOTFOUND
    54: errors.SSL_ERROR,  # SSL_ENGINE_SETFAILED
    58: errors.SSL_ERROR,  # SSL_CERTPROBLEM
    59: errors.SSL_ERROR,  # SSL_CIPHER
    60: errors.SSL_ERROR,  # PEER_FAILED_VERIFICATION
    64: errors.SSL_ERROR,  # USE_SSL_FAILED
    66: errors.SSL_ERROR,  # SSL_ENGINE_INITFAILED
    77: errors.SSL_ERROR,  # SSL_CACERT_BADFILE
    80: errors.SSL_ERROR,  # SSL_SHUTDOWN_FAILED
    82: errors.SSL_ERROR,  # SSL_CRL_BADFILE
    83: errors.SSL_ERROR,  # SSL_ISSUER_ERROR
    90: errors.SSL_ERROR,  # SSL_PINNEDPUBKEYNOTMATCH
    91: errors.SSL_ERROR,  # SSL_INVALIDCERTSTATUS
    98: errors.SSL_ERROR,  # SSL_CLIENTCERT
    100: errors.PARSE_ERROR_HEADERS,  # TOO_LARGE: the head
}
_CURL_TIMEOUT = 28
#: Those of asyncio, which have no ``errno`` as the system's have, among them.
_TIMEOUTS = (HTTPTimeoutError, asyncio.TimeoutError, TimeoutError)


class Limits(NamedTuple):
    """What a hop was allowed, and what it took: seconds, 0 for no limit."""

    connect_timeout: float
    #: For the whole fetch.
    request_timeout: float
    #: What was left of it for the hop.
    remaining: float
    #: How long the hop took.
    elapsed: float


def classify(error: BaseException, where: str, limits: Limits) -> FetchError | None:
    """Returns what an exception means, or ``None`` when it is no failure of a fetch.

    :arg error: what a transport, or the making of a request, raised.
    :arg str where: host and port, for the message.
    :arg limits: tells the two timeouts apart where the type does not.
    """
    code = _code(error, limits)
    if code is None:
        return None
    words = printable(str(getattr(error, "message", None) or error))
    if code is errors.CONNECT_TIMEOUT:
        words = f"connect_timeout of {limits.connect_timeout:g} s ran out: {words}"
    elif code is errors.REQUEST_TIMEOUT:
        words = f"request_timeout of {limits.request_timeout:g} s ran out: {words}"
    return FetchError(code, words if not where or where in words else f"{where}: {words}")


def printable(text: str) -> str:
    """Returns ``text`` with its control characters spelled out.

    Where words of the peer are in it, as in what libcurl says of a field, some readers of a
    log would make a line of their own of them.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _code(error: BaseException, limits: Limits) -> errors | None:
    if isinstance(error, Refused):
        return error.code
    # `CurlError` has libcurl's number where an OSError has the system's.
    number = getattr(error, "errno", None)
    if isinstance(error, HTTPClientError) and isinstance(number, int):
        if number == _CURL_TIMEOUT:
            return _timeout_code(limits)
        return _BY_CURL_CODE.get(number, errors.SOCKET_ERROR)
    if isinstance(error, OSError) and number in _UNREACHABLE:
        return errors.COULD_NOT_CONNECT
    for kind in type(error).__mro__:
        if kind in _TIMEOUTS and number is None:
            return _timeout_code(limits)
        if kind in _BY_TYPE:
            return _BY_TYPE[kind]
    return None


def _timeout_code(limits: Limits) -> errors:
    if not limits.remaining:
        return errors.CONNECT_TIMEOUT
    # libcurl counts in milliseconds, and cuts what is left to whole ones.
    if limits.connect_timeout and limits.elapsed + 0.002 < limits.remaining:
        return errors.CONNECT_TIMEOUT
    return errors.REQUEST_TIMEOUT
