"""`Answer`: a response or an error of a stub."""

from __future__ import annotations

import json as _json
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from tornado import httputil

from ..errors import errors
from ..headers import HTTPHeaders, header_lines
from ..http1.head import CODES_WITHOUT_BODY
from ..messages import quoted
from ..transports.classify import SIMULATED

_HOW_TO_CAUSE = {
    errors.INVALID_URL: "fetch such a URL, or redirect to one",
    errors.INVALID_SCHEMA: "fetch such a URL, or redirect to one",
    errors.REQUIRES_BODY: "fetch with POST and neither body nor params",
    errors.INVALID_BODY: "fetch with a body of an unsupported type, such as an int",
    errors.BUSY: "fetch twice with one client without awaiting the first fetch",
    errors.REDIRECT_MAX: "answer with status=302 and a Location that redirects again",
}
_NOT_GIVEN: Any = object()


class Answer:
    """A response or an error that a stub returns for a request.

    :arg int status: status code, 200 to 999. Default: 200.
    :arg body: bytes, or a str that is sent as UTF-8. Default: empty.
    :arg json: a JSON value, instead of ``body``. The Content-Type is ``application/json``
        unless ``headers`` has one.
    :arg headers: a mapping, or pairs to repeat a header. A missing Content-Length is added.
        With ``Content-Encoding: gzip``, ``body`` must be a result of `gzip.compress`.
    :arg error: a member of `turbo_tornado.errors`. The fetch ends with this error and without
        a response.
    :arg float delay: seconds before the answer. Default: 0. A delay that is longer than the
        ``request_timeout`` of the fetch ends it with ``REQUEST_TIMEOUT`` at once, so that a
        test does not wait for a timeout. ``math.inf``: the stub never answers.
    :raises TypeError: for a value of the wrong type, or for ``error`` together with a response.
    :raises ValueError: for an invalid value, or an ``error`` that only the client reports, such
        as ``BUSY``. The message explains how to cause it.
    """

    __slots__ = ("data", "delay", "error")

    def __init__(
        self,
        status: int = 200,
        *,
        body: bytes | str = b"",
        json: Any = _NOT_GIVEN,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        error: errors | None = None,
        delay: float = 0,
    ) -> None:
        all_headers = _headers(headers)
        if json is not _NOT_GIVEN:
            if body:
                raise TypeError("an answer has either body or json, not both")
            body = _json.dumps(json)
            all_headers.setdefault("Content-Type", "application/json")
        elif not isinstance(body, (bytes, str)):
            raise TypeError(f"body must be bytes or str, not {type(body).__name__}; see json=")
        if isinstance(body, str):
            body = body.encode()
        if error is not None:
            if status != 200 or body or len(all_headers):
                raise TypeError("an answer is either an error or a response, not both")
            _check_error(error)
        self.error = error
        self.delay = _seconds(delay)
        #: The head and the body of the response.
        self.data = (_head(status, all_headers, body), body)


def _check_error(error: object) -> None:
    if not isinstance(error, errors):
        raise TypeError(f"error must be a member of errors, not {type(error).__name__}")
    if error not in SIMULATED:
        raise ValueError(
            f"{error.name} is an error of the client, not of the network; to cause it, "
            f"{_HOW_TO_CAUSE[error]}"
        )


def _seconds(delay: object) -> float:
    if isinstance(delay, bool) or not isinstance(delay, (int, float)):
        raise TypeError(f"delay must be a number of seconds, not {type(delay).__name__}")
    if math.isnan(delay) or delay < 0:
        raise ValueError("delay must not be negative or NaN")
    return float(delay)


def _headers(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> HTTPHeaders:
    all_headers = HTTPHeaders()
    if isinstance(headers, httputil.HTTPHeaders):
        pairs: Iterable[tuple[str, str]] = headers.get_all()
    else:
        pairs = headers.items() if isinstance(headers, Mapping) else headers
    for name, value in pairs:
        all_headers.add(name, value)
    if "Transfer-Encoding" in all_headers:
        raise ValueError("Transfer-Encoding is unsupported: the whole body is sent at once")
    return all_headers


def _head(status: int, all_headers: HTTPHeaders, body: bytes) -> bytes:
    if isinstance(status, bool) or not isinstance(status, int):
        raise TypeError(f"status must be an int, not {type(status).__name__}; see error=")
    if not 200 <= status <= 999:
        raise ValueError(f"status must be from 200 to 999, not {quoted(status)}")
    if status in CODES_WITHOUT_BODY:
        if body:
            raise ValueError(f"a response with status {status} has no body")
    else:
        all_headers.setdefault("Content-Length", str(len(body)))
    return f"HTTP/1.1 {status:d} \r\n{header_lines(all_headers)}\r\n".encode("latin-1")


class AnswerKeywords(TypedDict, total=False):
    """The keywords of `Answer`."""

    status: int
    body: bytes | str
    json: Any
    headers: Mapping[str, str] | Iterable[tuple[str, str]]
    error: errors | None
    delay: float
