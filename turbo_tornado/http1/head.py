"""`parse_head`: the parser of response heads, for all transports.

It is strict. It rejects a head that two parsers can interpret differently, because a connection
carries several responses, and both sides must agree where each one ends.
"""

from __future__ import annotations

import functools
import http.client
import re
import sys
from typing import NamedTuple

from ..failures import BodyError, MalformedResponse
from ..headers import TOKEN, HTTPHeaders

#: Bytes that a response head, or the trailers of a body, may have.
MAX_HEAD_SIZE = 65536
#: Interim (1xx) responses before the final one.
MAX_INTERIM_RESPONSES = 10
#: Status codes of responses that end with their head.
CODES_WITHOUT_BODY = frozenset({204, 304})
#: Methods whose responses end with their head.
METHODS_WITHOUT_BODY = frozenset({"HEAD", "CONNECT"})

_NAME = TOKEN.encode()
_TEXT = rb"[\t\x20-\x7e\x80-\xff]*"
#: A regular expression for a header line without its line end.
HEADER_LINE = rb"%b:%b" % (_NAME, _TEXT)

_STATUS_LINE = re.compile(rb"HTTP/(1\.[0-9]|[23]) ([1-9][0-9]{2})(?: (%b))?\r?\n" % _TEXT)
_HEADER_LINES = re.compile(rb"(?:%b\r?\n)*" % HEADER_LINE)
# Possessive quantifiers, which Python 3.11 added, save a third of the time.
_HEADER_BLOCK = re.compile(
    rb"(?:%b+:%b+\r?\n)*+\r?\n" % (_NAME, _TEXT)
    if sys.version_info >= (3, 11)
    else rb"(?:%b:%b\r?\n)*\r?\n" % (_NAME, _TEXT)
)
# `_HEADER_LINES` with folded lines, which continue the line before.
_FOLDED_LINES = re.compile(rb"(?:(?:%b:|[ \t])%b\r?\n)*" % (_NAME, _TEXT))
_FOLD = re.compile(rb"\r?\n[ \t]+")
END_OF_HEAD = re.compile(rb"\n\r?\n")
# The headers that determine the end of the message and the next request, in lower case.
_FRAMING = re.compile(
    rb"\n(content-length|transfer-encoding|connection|content-encoding|location):[ \t]*([^\r\n]*)"
)
# Python does not convert several thousand digits to an int.
_LENGTH = re.compile(rb"[0-9]{1,1000}")


class Head(NamedTuple):
    """A response head, with its framing and whether it allows connection reuse."""

    version: str
    code: int
    reason: str
    headers: HTTPHeaders
    content_length: int | None
    chunked: bool
    gzip: bool
    keep_alive: bool


def parse_head(block: bytes) -> Head:
    """Parse a response head.

    :arg bytes block: status line, header lines and the empty line.
    :raises MalformedResponse: for an invalid head.
    """
    start = block.find(b"\n") + 1
    version, status, reason = _parse_status_line(block[:start])
    lines = block[start:]
    if not _HEADER_BLOCK.fullmatch(lines):
        # RFC 9112, section 5.2: a user agent replaces folding with a space. Folding is rare,
        # so only an otherwise invalid head is searched for it.
        lines = _FOLD.sub(b" ", lines)
        if not _HEADER_BLOCK.fullmatch(lines):
            matched = _HEADER_LINES.match(lines)
            assert matched is not None
            raise MalformedResponse(f"bad header line {quoted_line(lines[matched.end() :])}")
    content_length: int | None = None
    chunked = False
    locations = 0
    connection = encoding = b""
    for name, value in _FRAMING.findall(b"\n" + lines.lower()):
        if name == b"content-length":
            content_length = _parse_length(value, content_length)
        elif name == b"connection":
            connection = b"%b,%b" % (connection, value) if connection else value
        elif name == b"content-encoding":
            encoding = b"%b,%b" % (encoding, value) if encoding else value
        elif name == b"location":
            locations += 1
        elif value.strip() != b"chunked" or chunked:
            raise MalformedResponse(f"unsupported Transfer-Encoding {quoted_line(value)}")
        else:
            chunked = True
    if chunked and content_length is not None:
        raise MalformedResponse("Message with both Transfer-Encoding and Content-Length")
    is_clean = True
    if (chunked or content_length) and (status < 200 or status == 204):
        if status < 200:
            raise MalformedResponse(f"Response with code {status} should not have body")
        # RFC 9112, section 6.3: the response ends with its head. The peer may send a body.
        chunked, content_length, is_clean = False, None, False
    headers = HTTPHeaders.deferred(lines)
    headers._version = version
    headers._status_code = status
    if locations > 1 and len({*headers.get_list("Location")} - {""}) > 1:
        # As in browsers, and in libcurl since 8.17.
        raise MalformedResponse("Multiple unequal Locations")
    return Head(
        version,
        status,
        reason,
        headers,
        content_length,
        chunked,
        bool(encoding) and _is_gzip(encoding),
        is_clean and allows_keep_alive(version, connection, chunked),
    )


def _parse_status_line(line: bytes) -> tuple[str, int, str]:
    # Only short lines are cached: they repeat, and they limit the memory of the cache.
    return _match_status_line(line) if len(line) > 64 else _cached_status_line(line)


def _match_status_line(line: bytes) -> tuple[str, int, str]:
    start = _STATUS_LINE.fullmatch(line)
    if start is None:
        raise MalformedResponse(f"bad status line {quoted_line(line)}")
    version, code, phrase = start.groups()
    status = int(code)
    if status == 101:
        raise MalformedResponse("the peer has switched to another protocol")
    reason = phrase.strip().decode("latin-1") if phrase else ""
    return (
        f"HTTP/{version.decode()}",
        status,
        reason or http.client.responses.get(status, "Unknown"),
    )


_cached_status_line = functools.lru_cache(maxsize=256)(_match_status_line)


def allows_keep_alive(version: str, connection: bytes, chunked: bool = False) -> bool:
    """Return whether a message allows another one on its connection.

    RFC 9112, section 9.3, has the rules.

    :arg bytes connection: the value of the Connection header in lower case.
    """
    if not connection or connection == b"keep-alive":
        return version != "HTTP/1.0" or bool(connection and not chunked)
    options = [option.strip() for option in connection.split(b",")]
    if version != "HTTP/1.0":
        return b"close" not in options
    # RFC 9112, section 6.1: the framing of a chunked HTTP/1.0 response is not reliable, so its
    # connection is not reused.
    return b"keep-alive" in options and b"close" not in options and not chunked


def _is_gzip(encoding: bytes) -> bool:
    # RFC 9110, section 8.4: a list of codings. A body with several codings stays encoded.
    codings = [coding.strip() for coding in encoding.split(b",")]
    applied = [coding for coding in codings if coding not in (b"", b"identity")]
    return applied in ([b"gzip"], [b"x-gzip"])


def _parse_length(value: bytes, before: int | None) -> int:
    if before is None and value.isdigit() and len(value) < 19:
        return int(value)
    # RFC 9110, section 8.6: a repeated identical value counts as one value.
    for piece in value.split(b","):
        digits = piece.strip()
        if not _LENGTH.fullmatch(digits):
            raise MalformedResponse(f"Only integer Content-Length is allowed: {quoted_line(value)}")
        if before is not None and before != int(digits):
            raise MalformedResponse(
                f"Multiple unequal Content-Lengths: {before} and {quoted_line(digits)}"
            )
        before = int(digits)
    assert before is not None
    return before


def check_partial_head(data: bytes | bytearray, begin: int = 0, checked: int = 0) -> int:
    """Check the complete lines of a head whose end has not arrived.

    :arg int begin: the position of the head in ``data``. Default: 0.
    :arg int checked: result of the previous call for this head. Default: 0.
    :returns: the number of bytes that have been checked. Without it, a peer that sends single
        bytes would cause a check of the whole head for each byte.
    :raises MalformedResponse: for a line that is invalid in a head.
    """
    start = begin + checked
    if not checked:
        start = data.find(b"\n", begin) + 1
        if not start:
            if not data.startswith(b"HTTP/"[: len(data) - begin], begin):
                raise MalformedResponse(f"not HTTP: {quoted_line(data[begin:])}")
            return 0
        if not _STATUS_LINE.fullmatch(data, begin, start):
            raise MalformedResponse(f"bad status line {quoted_line(data[begin:])}")
    complete = data.rfind(b"\n", start) + 1
    if not complete:
        return checked
    # The first header line cannot continue a line.
    folded = not checked and data.startswith((b" ", b"\t"), start)
    if folded or not _FOLDED_LINES.fullmatch(data, start, complete):
        raise MalformedResponse("bad header line in the response head")
    return complete - begin


def check_trailer(line: bytes) -> None:
    """Check the trailer lines of a chunked body.

    :raises BodyError: for a line that is not a header line.
    """
    if not _HEADER_LINES.fullmatch(line):
        raise BodyError(f"bad trailer {quoted_line(line)}")


def quoted_line(data: bytes | bytearray) -> str:
    """Return the first line of ``data`` in quotes, cut to 60 bytes."""
    line = data.partition(b"\n")[0][:60].rstrip(b"\r")
    return repr(line.decode("latin-1"))
