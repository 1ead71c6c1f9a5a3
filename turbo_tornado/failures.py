"""The failures of a request: one exception type for each kind.

A transport reports a failed request as one of these, and the type alone identifies the kind.
They derive from Tornado's exceptions, with the code 599, for users of a transport as a plain
`AsyncHTTPClient`.
"""

from __future__ import annotations

import copyreg
from typing import Any

from tornado.iostream import UnsatisfiableReadError
from tornado.simple_httpclient import HTTPStreamClosedError, HTTPTimeoutError


class Picklable(Exception):
    """A Tornado exception that can be copied and pickled.

    Tornado's exceptions pass arguments to `Exception` that their constructors do not accept.
    """

    message: str

    def __reduce__(self) -> tuple[Any, ...]:
        return _reduce(self)


def _reduce(error: Any) -> tuple[Any, ...]:
    return type(error), (error.message,), error.__dict__


# The transports raise these two as well, and so do Tornado's own clients.
copyreg.pickle(HTTPStreamClosedError, _reduce)
copyreg.pickle(HTTPTimeoutError, _reduce)


class InvalidURL(ValueError):
    """The text is not the URL of an HTTP server."""


class InvalidSchema(ValueError):
    """A well-formed URL whose scheme is not http or https."""


class BodyRequired(Exception):
    """A method that requires a body has neither a body nor params."""


class InvalidBody(Exception):
    """The body has an unsupported type or cannot be read."""


class CallerError(Exception):
    """An exception of the caller's code, such as a callback, raised unchanged.

    It can have any type, including the type of a network failure.

    .. attribute:: error

       The exception.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class ClientBusy(Exception):
    """The client has a fetch in progress."""


class TooManyRedirects(Exception):
    """The response redirects once more than allowed."""


class ConnectFailed(Picklable, HTTPStreamClosedError):
    """DNS has no address for the host, or no address accepts a connection."""


class HandshakeFailed(Picklable, HTTPStreamClosedError):
    """The TLS settings are unusable, or the handshake or the verification failed."""


class ConnectTimeout(Picklable, HTTPTimeoutError):
    """``connect_timeout`` expired in DNS, TCP or TLS."""


class RequestTimeout(Picklable, HTTPTimeoutError):
    """``request_timeout`` expired."""


class NoResponse(Picklable, HTTPStreamClosedError):
    """The server closed the connection, without a reset, before any byte."""


class MalformedResponse(Picklable, HTTPStreamClosedError):
    """The peer did not send a valid HTTP response head."""


class HeadTooLarge(MalformedResponse, UnsatisfiableReadError):
    """The response head is over its limit."""


class BrokenConnection(Picklable, HTTPStreamClosedError):
    """The connection was reset, or closed within a response."""


class BodyError(Picklable, HTTPStreamClosedError):
    """The response body is over its limit, or its chunks or gzip data are invalid."""


class ClientClosed(Picklable, HTTPStreamClosedError):
    """The transport was closed while the request was in progress."""

    def __init__(self, message: str = "client closed") -> None:
        super().__init__(message)
