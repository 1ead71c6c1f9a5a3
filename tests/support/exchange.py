"""Requests of many tests, and the expected responses."""

from __future__ import annotations

from collections.abc import Callable

from turbo_tornado import HTTPHeaders, HTTPResponse


def assert_body(res: HTTPResponse, body: bytes, code: int = 200) -> None:
    """Fail unless ``res`` is a response with this code and body."""
    assert res.error is None
    assert (res.code, res.body) == (code, body)


def setting(**fields: str) -> Callable[[HTTPHeaders], None]:
    """Return an ``on_headers`` that sets headers; ``_`` in a name stands for ``-``."""

    def set_fields(headers: HTTPHeaders) -> None:
        for name, value in fields.items():
            headers.set(name.replace("_", "-"), value)

    return set_fields
