"""The ways in which a hop fails, as exception types.

A transport of ours raises one of these, or Tornado's `CurlError`, so that a failure
can be told by its type. All are Tornado `HTTPError`s with code 599 for those who use
a transport without the Turbo client.
"""

from __future__ import annotations

from tornado.iostream import UnsatisfiableReadError
from tornado.simple_httpclient import HTTPStreamClosedError, HTTPTimeoutError

__all__ = [
    "BodyError",
    "BrokenConnection",
    "ConnectFailed",
    "ConnectTimeout",
    "HandshakeFailed",
    "HTTPTimeoutError",
    "HeadTooLarge",
    "MalformedResponse",
    "NoResponse",
    "RequestTimeout",
    "client_closed",
]


class ConnectFailed(HTTPStreamClosedError):
    """The host has no address, or no address of it takes the connection."""


class HandshakeFailed(HTTPStreamClosedError):
    """The TLS handshake failed, the certificate of the peer included."""


class ConnectTimeout(HTTPTimeoutError):
    """``connect_timeout`` ran out in DNS, TCP or TLS."""


class RequestTimeout(HTTPTimeoutError):
    """``request_timeout`` ran out."""


class NoResponse(HTTPStreamClosedError):
    """The connection was closed in order before any byte of a response."""


class MalformedResponse(HTTPStreamClosedError):
    """What came is not an HTTP response, or its head says something impossible."""


class HeadTooLarge(MalformedResponse, UnsatisfiableReadError):
    """The head of the response is over its limit."""


class BrokenConnection(HTTPStreamClosedError):
    """The connection was reset, or closed within a response."""


class BodyError(HTTPStreamClosedError):
    """The body is over its limit, badly chunked, or not the gzip that it claims to be."""


def client_closed() -> HTTPStreamClosedError:
    """Returns the failure of what was under way when its transport was closed."""
    return HTTPStreamClosedError("client closed")
