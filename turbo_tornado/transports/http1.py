"""HTTP/1 responses: what is a proper head, and where a response ends.

`parse_head` is the one judge of a response head, for every transport. `ResponseParser`
is fed with bytes as they come, does no I/O, and knows after each piece whether the
response is complete. Both are strict: what two readers could take differently is
refused, since a connection is shared by one response after another.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable
from typing import NamedTuple, Protocol

from ..headers import TOKEN, HTTPHeaders
from .failures import BodyError, BrokenConnection, HeadTooLarge, MalformedResponse, NoResponse

#: Bytes that a response head, or the trailers of a body, may have.
MAX_HEAD_SIZE = 65536
#: Interim (1xx) responses before the final one.
MAX_INTERIM_RESPONSES = 10
#: Status codes of responses that end with their head.
CODES_WITHOUT_BODY = frozenset({204, 304})
# The longest line that can introduce a chunk: a size and any extension of it.
_MAX_CHUNK_LINE = 4096

_NAME = TOKEN.encode()
_TEXT = rb"[\t\x20-\x7e\x80-\xff]*"
#: A field line without its end, as a regular expression.
FIELD = rb"%b:%b" % (_NAME, _TEXT)

_STATUS_LINE = re.compile(rb"HTTP/(1\.[0-9]|[23]) ([1-9][0-9]{2})(?: (%b))?\r?\n" % _TEXT)
_FIELD_LINES = re.compile(rb"(?:%b\r?\n)*" % FIELD)
# The same, with the lines that continue the one before them.
_FOLDED_LINES = re.compile(rb"(?:(?:%b:|[ \t])%b\r?\n)*" % (_NAME, _TEXT))
_FOLD = re.compile(rb"\r?\n[ \t]+")
_END_OF_HEAD = re.compile(rb"\n\r?\n")
# The fields that say how a message ends, and where to go then; sought in a lower-cased head.
_FRAMING = re.compile(
    rb"\n(content-length|transfer-encoding|connection|content-encoding|location):[ \t]*([^\r\n]*)"
)
# Python would not make an int of several thousand digits.
_LENGTH = re.compile(rb"[0-9]{1,1000}")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00\r\n]*)?\r\n")
_PARTIAL_CHUNK_LINE = re.compile(rb"[0-9A-Fa-f]{1,15}[ \t]*(?:;[^\x00\r\n]*)?\r?")


class Head(NamedTuple):
    """A response head, with what it says about the body and the connection."""

    version: str
    code: int
    reason: str
    headers: HTTPHeaders
    content_length: int | None
    chunked: bool
    gzip: bool
    keep_alive: bool


def parse_head(block: bytes) -> Head:
    """Parses a response head.

    :arg bytes block: status line, field lines and the empty line that ends them.
    :raises MalformedResponse: when it is not a proper one.
    """
    start = _STATUS_LINE.match(block)
    if start is None:
        raise MalformedResponse(f"bad status line {_shown(block)}")
    version, code, phrase = start.groups()
    fields = block[start.end() :]
    matched = _FIELD_LINES.match(fields)
    assert matched is not None
    if fields[matched.end() :] not in (b"\r\n", b"\n"):
        # RFC 9112, section 5.2: a user agent replaces folding by a space. Only here,
        # because hardly any head has it.
        fields = _FOLD.sub(b" ", fields)
        matched = _FIELD_LINES.match(fields)
        assert matched is not None
        rest = fields[matched.end() :]
        if rest not in (b"\r\n", b"\n"):
            raise MalformedResponse(f"bad header line {_shown(rest)}")
    status = int(code)
    if status == 101:
        raise MalformedResponse("the peer has switched to another protocol")
    content_length: int | None = None
    chunked = gzip = False
    locations = 0
    connection: list[bytes] = []
    for name, value in _FRAMING.findall(b"\n" + fields.lower()):
        if name == b"content-length":
            content_length = _length(value, content_length)
        elif name == b"connection":
            connection += [option.strip() for option in value.split(b",")]
        elif name == b"content-encoding":
            gzip = value.strip() in (b"gzip", b"x-gzip")
        elif name == b"location":
            locations += 1
        elif value.strip() != b"chunked" or chunked:
            raise MalformedResponse(f"unsupported Transfer-Encoding {_shown(value)}")
        else:
            chunked = True
    if chunked and content_length is not None:
        raise MalformedResponse("Message with both Transfer-Encoding and Content-Length")
    if (chunked or content_length) and (status < 200 or status == 204):
        raise MalformedResponse(f"Response with code {status} should not have body")
    # RFC 9112, section 6.1: chunks in a 1.0 response are read, and not trusted.
    keep_alive = b"close" not in connection and (
        version != b"1.0" or (b"keep-alive" in connection and not chunked)
    )
    headers = HTTPHeaders.deferred(fields)
    headers._version = text_version = f"HTTP/{version.decode()}"
    headers._status_code = status
    if locations > 1 and len({*headers.get_list("Location")} - {""}) > 1:
        # As browsers do, and libcurl from 8.17 on.
        raise MalformedResponse("Multiple unequal Locations")
    reason = phrase.strip().decode("latin-1") if phrase else ""
    return Head(
        text_version,
        status,
        reason or http.client.responses.get(status, "Unknown"),
        headers,
        content_length,
        chunked,
        gzip,
        keep_alive,
    )


def _length(value: bytes, before: int | None) -> int:
    # RFC 9110, section 8.6: the same value, repeated, is one value.
    for piece in value.split(b","):
        digits = piece.strip()
        if not _LENGTH.fullmatch(digits):
            raise MalformedResponse(f"Only integer Content-Length is allowed: {_shown(value)}")
        if before is not None and before != int(digits):
            raise MalformedResponse(
                f"Multiple unequal Content-Lengths: {before} and {_shown(digits)}"
            )
        before = int(digits)
    assert before is not None
    return before


def check_partial_head(data: bytes, checked: int = 0) -> int:
    """Refuses what can no longer become a proper head, without waiting for its end.

    :arg int checked: what the call before this one returned.
    :returns: how many bytes need not be looked at again: a peer that sends byte after
        byte would otherwise have the whole head looked at for each.
    :raises MalformedResponse: when a line that has arrived is not one of a head.
    """
    start = checked
    if not checked:
        start = data.find(b"\n") + 1
        if not start:
            if not data.startswith(b"HTTP/"[: len(data)]):
                raise MalformedResponse(f"not HTTP: {_shown(data)}")
            return 0
        if not _STATUS_LINE.fullmatch(data, 0, start):
            raise MalformedResponse(f"bad status line {_shown(data)}")
    complete = data.rfind(b"\n", start) + 1
    if not complete:
        return checked
    # There is nothing that the first field line could continue.
    folded = not checked and data.startswith((b" ", b"\t"), start)
    if folded or not _FOLDED_LINES.fullmatch(data, start, complete):
        raise MalformedResponse("bad header line in the response head")
    return complete


def check_trailer(line: bytes) -> None:
    """Checks a line of the trailers of a chunked body.

    :raises BodyError: when it is no field line.
    """
    if not _FIELD_LINES.fullmatch(line):
        raise BodyError(f"bad trailer {_shown(line)}")


def _shown(data: bytes) -> str:
    line = data.partition(b"\n")[0][:60].rstrip(b"\r")
    return repr(line.decode("latin-1"))


class BodySink(Protocol):
    """Where a parser puts the bytes of a body; it may refuse them by raising."""

    def write(self, chunk: bytes) -> None: ...


class ResponseParser:
    """One response: its head, its body, its end.

    :arg bool bodiless: whether the response has no body whatever its head says, as
        the response to HEAD.
    :arg on_head: called with the final `Head`; returns where the body goes.
    :arg on_interim: called for an interim response.
    :arg int max_head_size: bytes that the head may have.
    """

    def __init__(
        self,
        bodiless: bool,
        on_head: Callable[[Head], BodySink],
        on_interim: Callable[[Head], None] | None = None,
        max_head_size: int = MAX_HEAD_SIZE,
    ) -> None:
        self.bodiless = bodiless
        self.on_head = on_head
        self.on_interim = on_interim
        self.max_head_size = max_head_size
        self.head: Head | None = None
        #: Whether the response is complete.
        self.complete = False
        #: Whether any byte has come.
        self.begun = False
        #: What came after the response: nothing, on a connection that can be trusted.
        self.leftover = b""
        self._interim = 0
        self._buffer = b""
        # How much of the head, or the trailers, in the buffer is known to be good.
        self._checked = 0
        self._remaining = 0
        self._body: BodySink | None = None
        # Unbound, so that a parser is no cycle of references.
        self._state: _State = ResponseParser._feed_head

    def feed(self, data: bytes) -> bool:
        """Takes the next bytes; returns whether the response is complete.

        :raises MalformedResponse: for a bad head.
        :raises BodyError: for a bad body.
        """
        self.begun = True
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        # A state takes what it can and says where it stopped, or that it waits for more.
        position, size = 0, len(data)
        while position < size and not self.complete:
            reached = self._state(self, data, position)
            if reached is None:
                self._buffer = data[position:]
                return False
            position = reached
        if position < size:
            self.leftover = data[position:]
        return self.complete

    def end(self) -> None:
        """Says that the peer has closed the connection in order.

        :raises NoResponse: when nothing had come.
        :raises BrokenConnection: when the response was not complete.
        """
        if self._state is ResponseParser._feed_until_close:
            self.complete = True
        elif not self.begun:
            raise NoResponse("connection closed before any byte of a response")
        elif self.head is None:
            raise BrokenConnection("connection closed within the response head")
        elif self._remaining and not self.head.chunked:
            raise BrokenConnection(
                f"connection closed with {self._remaining} bytes of the body missing"
            )
        else:
            raise BrokenConnection("connection closed within the chunked body")

    def _feed_head(self, data: bytes, start: int) -> int | None:
        end_of_head = _END_OF_HEAD.search(data, start + max(self._checked - 1, 0))
        end = end_of_head.end() if end_of_head else len(data)
        if end - start > self.max_head_size:
            raise HeadTooLarge(f"response head is over {self.max_head_size} bytes")
        if end_of_head is None:
            self._checked = check_partial_head(data[start:], self._checked)
            return None
        self._checked = 0
        head = parse_head(data[start:end])
        if not head.version.startswith("HTTP/1."):
            raise MalformedResponse(f"{head.version} on a connection of HTTP/1")
        if head.code < 200:
            self._interim += 1
            if self._interim > MAX_INTERIM_RESPONSES:
                raise MalformedResponse("Too many 1xx responses")
            if self.on_interim is not None:
                self.on_interim(head)
            return end
        self.head = head
        self._body = self.on_head(head)
        if self.bodiless or head.code in CODES_WITHOUT_BODY or head.content_length == 0:
            self.complete = True
        elif head.chunked:
            self._state = ResponseParser._feed_chunk_line
        elif head.content_length is not None:
            self._remaining = head.content_length
            self._state = ResponseParser._feed_length
        else:
            self._state = ResponseParser._feed_until_close
        return end

    def _feed_length(self, data: bytes, start: int) -> int:
        end = self._take(data, start)
        self.complete = not self._remaining
        return end

    def _feed_until_close(self, data: bytes, start: int) -> int:
        assert self._body is not None
        self._body.write(data[start:])
        return len(data)

    def _feed_chunk_line(self, data: bytes, start: int) -> int | None:
        line = _CHUNK_LINE.match(data, start, start + _MAX_CHUNK_LINE)
        if line is None:
            waiting = len(data) - start < _MAX_CHUNK_LINE
            if waiting and _PARTIAL_CHUNK_LINE.fullmatch(data, start):
                return None
            raise BodyError(f"invalid chunk size {_shown(data[start : start + 60])}")
        self._remaining = int(line[1], 16)
        self._state = (
            ResponseParser._feed_chunk if self._remaining else ResponseParser._feed_trailers
        )
        return line.end()

    def _feed_chunk(self, data: bytes, start: int) -> int:
        end = self._take(data, start)
        if not self._remaining:
            self._state = ResponseParser._feed_chunk_end
        return end

    def _feed_chunk_end(self, data: bytes, start: int) -> int | None:
        end = data[start : start + 2]
        if not b"\r\n".startswith(end):
            raise BodyError(f"improperly terminated chunk: {_shown(end)}")
        if len(end) < 2:
            return None
        self._state = ResponseParser._feed_chunk_line
        return start + 2

    def _feed_trailers(self, data: bytes, start: int) -> int | None:
        if data.startswith(b"\r\n", start):
            self.complete = True
            return start + 2
        last = _END_OF_HEAD.search(data, start + max(self._checked - 1, 0))
        if (last.end() if last else len(data)) - start > self.max_head_size:
            raise BodyError(f"trailers are over {self.max_head_size} bytes")
        checked = start + self._checked
        complete = last.start() + 1 if last else max(data.rfind(b"\n", checked) + 1, checked)
        check_trailer(data[checked:complete])
        if last is None:
            self._checked = complete - start
            return None
        self.complete = True
        return last.end()

    def _take(self, data: bytes, start: int) -> int:
        assert self._body is not None
        end = min(start + self._remaining, len(data))
        self._remaining -= end - start
        # The whole of what was read, as most often, needs no copy.
        self._body.write(data if end - start == len(data) else data[start:end])
        return end


_State = Callable[[ResponseParser, bytes, int], "int | None"]
