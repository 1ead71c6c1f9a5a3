"""The ways in which a request fails, one exception type for each.

A transport reports a failed request as one of these, so that the type alone says what
happened. They derive from Tornado's exceptions, with the code 599, for users of a transport
as a plain `AsyncHTTPClient`.
"""

from __future__ import annotations

from tornado.iostream import UnsatisfiableReadError
from tornado.simple_httpclient import HTTPStreamClosedError, HTTPTimeoutError


class InvalidURL(ValueError):
    """The text is not a URL that a request can be sent to."""


class InvalidSchema(ValueError):
    """A well-formed URL whose scheme is not http or https."""


class BodyRequired(Exception):
    """A method that needs a body has neither a body nor params."""


class InvalidBody(Exception):
    """The body has an unsupported type."""


class ClientBusy(Exception):
    """The client has a fetch in progress."""


class TooManyRedirects(Exception):
    """The response redirects once more than allowed."""


class ConnectFailed(HTTPStreamClosedError):
    """DNS has no address for the host, or no address accepts a connection."""


class HandshakeFailed(HTTPStreamClosedError):
    """The TLS settings are unusable, or the handshake or the verification failed."""


class ConnectTimeout(HTTPTimeoutError):
    """``connect_timeout`` expired in DNS, TCP or TLS."""


class RequestTimeout(HTTPTimeoutError):
    """``request_timeout`` expired."""


class NoResponse(HTTPStreamClosedError):
    """The connection was closed in order before any byte of a response."""


class MalformedResponse(HTTPStreamClosedError):
    """The peer did not send a valid HTTP response head."""


class HeadTooLarge(MalformedResponse, UnsatisfiableReadError):
    """The response head is over its limit."""


class BrokenConnection(HTTPStreamClosedError):
    """The connection was reset, or closed within a response."""


class BodyError(HTTPStreamClosedError):
    """The response body is over its limit, badly chunked, or invalid gzip."""


def client_closed() -> HTTPStreamClosedError:
    """Returns the failure of a request in progress when its transport is closed."""
    return HTTPStreamClosedError("client closed")
