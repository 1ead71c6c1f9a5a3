"""`errors` and `FetchError`: the error of a response, with Turbo's codes."""

from __future__ import annotations

import enum
from typing import Any, ClassVar


class errors(enum.IntEnum):
    """Codes of ``response.error.code``.

    >>> errors.COULD_NOT_CONNECT
    <errors.COULD_NOT_CONNECT: -3>
    >>> errors(-3).name
    'COULD_NOT_CONNECT'

    ``errors.TIMEOUTS`` is the frozenset of the codes of an expired timeout.

    ``errors.NOT_SENT`` is the frozenset of the codes of a request that was not sent. After a
    redirect, this is the last request of the fetch, and the earlier ones were sent. After a retry
    of an idempotent request, it is the second attempt. With ``allow_redirects=False``, the server
    has not received a POST or a PATCH. Other codes, such as ``SSL_ERROR`` and ``INVALID_BODY``, can
    be the result of a request that was sent in part.

    Equivalent to ``turbo.async.errors``; the numbers are Turbo.lua's.
    """

    # Annotations alone, because an assignment would create a member.
    NOT_SENT: ClassVar[frozenset[errors]]
    TIMEOUTS: ClassVar[frozenset[errors]]

    #: The URL is not a str, is empty, has no host, an invalid port, or an invalid character.
    INVALID_URL = -1
    #: A well-formed URL that is not http or https.
    INVALID_SCHEMA = -2
    #: DNS failed, the connection or the proxy refused, or the host is unreachable.
    COULD_NOT_CONNECT = -3
    #: The response is not HTTP, or its head is invalid.
    PARSE_ERROR_HEADERS = -4
    #: ``connect_timeout`` expired in DNS, TCP or TLS.
    CONNECT_TIMEOUT = -5
    #: ``request_timeout`` expired, in any phase.
    REQUEST_TIMEOUT = -6
    #: The server closed the connection, without a reset, before any byte of a response.
    NO_HEADERS = -7
    #: POST, PUT or PATCH without body, json, files and params.
    REQUIRES_BODY = -8
    #: The body has an unsupported type, or a file cannot be read.
    INVALID_BODY = -9
    #: The connection broke during the exchange, or the body is corrupt or too large.
    SOCKET_ERROR = -10
    #: TLS failed: settings, handshake or verification.
    SSL_ERROR = -11
    #: The client has a fetch in progress.
    BUSY = -12
    #: The response is one more redirect than ``max_redirects``.
    REDIRECT_MAX = -13


errors.NOT_SENT = frozenset(
    {
        errors.INVALID_URL,
        errors.INVALID_SCHEMA,
        errors.COULD_NOT_CONNECT,
        errors.CONNECT_TIMEOUT,
        errors.REQUIRES_BODY,
        errors.BUSY,
    }
)
errors.TIMEOUTS = frozenset({errors.CONNECT_TIMEOUT, errors.REQUEST_TIMEOUT})


class FetchError(Exception):
    """The reason why a fetch has no response: ``response.error``.

    You can raise, copy and pickle this exception. Two errors with the same code and message
    are equal.

    :arg errors code: the kind of failure.
    :arg str message: a description for people.

    Equivalent to the ``error`` table of ``turbo.async.HTTPResponse``.
    """

    #: The kind of failure.
    code: errors
    #: A description for people: host and port, the limit, the message of the system.
    message: str

    def __init__(self, code: errors, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, FetchError):
            return NotImplemented
        return self.args == other.args

    def __hash__(self) -> int:
        return hash(self.args)
