"""The rows of the table about proxies. The peer is the proxy."""

from __future__ import annotations

from typing import Any

from tests.support import response
from turbo_tornado import errors

from .acts import CLOSE, FREEZE, RESET, Endless, Play, cuts
from .row import SHORT, Expected, Fine, Row

_FAILS = errors.COULD_NOT_CONNECT
_OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_STATUSES = ("301 Moved", "403 Forbidden", "407 Authentication Required", "502 Bad Gateway")


def _row(name: str, expected: Expected, plays: tuple[Play, ...], url: str, **options: Any) -> Row:
    options = {"proxy": "http://127.0.0.1:{port}", **options}
    return Row("Proxies", name, plays, expected, url=url, options=options, at="proxy")


def tunnel(name: str, expected: Expected, *plays: Play, **options: Any) -> Row:
    return _row(name, expected, plays, "https://turbo.test/", **options)


def forward(name: str, expected: Expected, *plays: Play, **options: Any) -> Row:
    return _row(name, expected, plays, "http://turbo.test/", **options)


PROXIES = [
    tunnel("no proxy on the port", _FAILS, (), proxy="http://127.0.0.1:{closed}"),
    tunnel(
        "CONNECT is refused",
        _FAILS,
        *((response(b"no", status=status),) for status in _STATUSES),
    ),
    tunnel("closed at each byte of the response to CONNECT", _FAILS, *cuts(b"", _OPENED)),
    tunnel("reset at each byte of the response to CONNECT", _FAILS, *cuts(b"", _OPENED, (RESET,))),
    tunnel("the response to CONNECT is not HTTP", _FAILS, (b"SSH-2.0-OpenSSH_9.2\r\n\r\n",)),
    tunnel(
        "endless headers in the response to CONNECT",
        _FAILS,
        (b"HTTP/1.1 200 OK\r\n", Endless(b"X-More: and more\r\n" * 500)),
    ),
    tunnel(
        "endless interim responses to CONNECT",
        _FAILS,
        (Endless(b"HTTP/1.1 100 Continue\r\n\r\n"),),
    ),
    tunnel("data after the response to CONNECT", _FAILS, (_OPENED + b"more",)),
    tunnel(
        "no response to CONNECT: `connect_timeout`",
        errors.CONNECT_TIMEOUT,
        (FREEZE,),
        connect_timeout=SHORT,
    ),
    tunnel(
        "no response to CONNECT: `request_timeout`",
        errors.REQUEST_TIMEOUT,
        (FREEZE,),
        request_timeout=SHORT,
    ),
    tunnel("closed after the tunnel was opened", errors.SSL_ERROR, (_OPENED, CLOSE)),
    forward("no proxy on the port, for http", _FAILS, (), proxy="http://127.0.0.1:{closed}"),
    forward(
        "status 407 for http", _FAILS, (response(b"no", status="407 Authentication Required"),)
    ),
    forward(
        "status 502 for http is a response",
        Fine(502, b"no"),
        (response(b"no", status="502 Bad Gateway"),),
    ),
    forward("closed before any byte, for http", errors.NO_HEADERS, (CLOSE,)),
]
