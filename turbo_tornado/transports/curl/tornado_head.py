"""`received_headers`: the headers of a response, as in Tornado's curl client."""

from __future__ import annotations

import functools
import re

from tornado import httputil

from ...headers import HTTPHeaders
from ...http1.head import HEADER_LINE

_CLEAN_LINES = re.compile(rb"(?:%b\r\n)*" % HEADER_LINE)


class _ReceivedHeaders(HTTPHeaders):
    """Tornado's header mapping, parsed on first use."""

    get = httputil.HTTPHeaders.get  # type: ignore[assignment]


def received_headers(lines: list[bytes]) -> tuple[httputil.HTTPHeaders, str | None]:
    """Return the headers and the reason as Tornado's curl client does."""
    reason = _reason(lines[0])
    block = b"".join(lines[1:-1])
    if reason is not None and lines[-1] == b"\r\n" and _CLEAN_LINES.fullmatch(block):
        first = b"X-Http-Reason: %b\r\n" % reason.encode("latin-1")
        return _ReceivedHeaders.deferred(first + block), reason
    # Tornado parses folded lines, trailers and invalid lines one by one.
    headers = httputil.HTTPHeaders()
    if reason is not None:
        headers.parse_line(f"X-Http-Reason: {reason}")
    for line in lines[1:]:
        text = line.decode("latin-1").rstrip()
        if text:
            headers.parse_line(text)
    return headers, headers.get("X-Http-Reason")


def _reason(status_line: bytes) -> str | None:
    # Only short lines are cached: they repeat, and they limit the memory of the cache.
    parse = _parse_reason if len(status_line) > 64 else _cached_reason
    return parse(status_line)


def _parse_reason(status_line: bytes) -> str | None:
    try:
        line = httputil.parse_response_start_line(status_line.decode("latin-1").rstrip())
    except httputil.HTTPInputError:
        return None
    return line.reason


_cached_reason = functools.lru_cache(maxsize=256)(_parse_reason)
