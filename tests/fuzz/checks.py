"""Checks of every response, after any event."""

from __future__ import annotations

import math
import re

from turbo_tornado import HTTPHeaders, HTTPResponse, errors
from turbo_tornado.errors import FetchError

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_URL = re.compile(r"https?://(\[[0-9a-f:.]+(%25[\w.~-]+)?\]|[a-z0-9._~-]+)(:[0-9]+)?[!-\"$-~]*")


def check_response(res: HTTPResponse) -> None:
    """Fail if an attribute of ``res`` violates the documentation."""
    assert type(res) is HTTPResponse
    assert repr(res)
    assert type(res.request_time) is float
    assert res.request_time >= 0
    assert math.isfinite(res.request_time)
    if res.error is not None:
        assert type(res.error) is FetchError
        assert type(res.error.code) is errors
        assert type(res.error.message) is str
        assert res.error.message
        fields = (res.request, res.code, res.reason, res.headers, res.body, res.url)
        assert fields == (None,) * 6
        return
    assert type(res.code) is int
    assert 200 <= res.code <= 999
    assert type(res.reason) is str
    assert res.reason
    assert _VALUE.fullmatch(res.reason)
    assert type(res.body) is bytes
    assert type(res.url) is str
    # Without user info and fragment: a host does not contain "@", and the URL does not contain "#".
    assert _URL.fullmatch(res.url)
    _check_headers(res.headers)
    assert res.headers.get_status_code() == res.code
    _check_headers(res.request)
    method, target, version = (
        res.request.get_method(),
        res.request.get_uri(),
        res.request.get_version(),
    )
    assert method is not None
    assert _TOKEN.fullmatch(method)
    assert target is not None
    assert version in ("HTTP/1.0", "HTTP/1.1", "HTTP/2")
    assert res.request.stringify_as_request().startswith(f"{method} {target} {version}\r\n")


def _check_headers(headers: HTTPHeaders) -> None:
    assert type(headers) is HTTPHeaders
    for name, value in headers.get_all():
        assert type(name) is str
        assert _TOKEN.fullmatch(name)
        assert type(value) is str
        assert _VALUE.fullmatch(value)
