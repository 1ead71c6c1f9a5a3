"""`ResponseParser`: parses one HTTP/1 response from bytes as they arrive."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

from ..failures import BodyError, BrokenConnection, HeadTooLarge, MalformedResponse, NoResponse
from .body import Body
from .head import (
    CODES_WITHOUT_BODY,
    END_OF_HEAD,
    MAX_HEAD_SIZE,
    MAX_INTERIM_RESPONSES,
    Head,
    check_partial_head,
    check_trailer,
    parse_head,
    quoted_line,
)

# Bytes that the line before a chunk may have, with the size and its extension.
_MAX_CHUNK_LINE = 4096
_CHUNK_LINE = re.compile(rb"(0*[0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00\r\n]*)?\r\n")
_PARTIAL_CHUNK_LINE = re.compile(rb"0*[0-9A-Fa-f]{1,15}[ \t]*(?:;[^\x00\r\n]*)?\r?")
# An incomplete line of fewer bytes is checked again with each byte that arrives.
_MIN_SKIP = 64
# For fewer remaining bytes, a copy is cheaper than a buffer.
_MIN_BUFFER = 65536


class BodySink(Protocol):
    """The receiver of the body from a parser."""

    def write(self, chunk: bytes) -> None:
        """Receive the next bytes. An exception ends the response."""


class ResponseParser:
    """A parser of one response.

    :arg bool bodiless: the response has no body, even if its head announces one, like the
        response to HEAD.
    :arg on_head: called with the final `Head`; returns the `BodySink`.
    :arg on_interim: called with the head of each interim (1xx) response.
    :arg int max_head_size: bytes that the head may have. Default: 64 KiB.
    """

    # Class attributes, because only some responses change them.
    #: The final head.
    head: Head | None = None
    #: Whether the response is complete.
    complete = False
    #: Whether any byte has arrived.
    begun = False
    #: Data after the response. Such a connection is not reused.
    leftover = b""
    _interim = 0
    # An incomplete line or head, and the size from which it is parsed even without a line end.
    _buffer: bytearray | None = None
    _parse_from = 0
    # Length of the valid part of the head, or of the trailers, in the buffer.
    _checked = 0
    _remaining = 0
    _body: BodySink | None = None

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
        # A function, because a bound method would create a reference cycle.
        self._state: _State = ResponseParser._feed_head

    def feed(self, data: bytes) -> bool:
        """Parse the next bytes, and return whether the response is complete.

        :raises MalformedResponse: for an invalid head.
        :raises BodyError: for an invalid body.
        """
        self.begun = True
        position = 0
        if self._buffer is not None:
            resumed = self._resume(data)
            if resumed is None:
                return False
            data, position = resumed
        # A state returns the position where it stopped, or None if it needs more data.
        size = len(data)
        while position < size and not self.complete:
            reached = self._state(self, data, position)
            if reached is None:
                self._wait(bytearray(data[position:]))
                return False
            position = reached
        if position < size:
            self.leftover = data[position:]
        return self.complete

    def _resume(self, data: bytes) -> tuple[bytes, int] | None:
        """Parse ``data`` after the buffer.

        :returns: the remaining data and the position in it, or ``None`` if the buffer is still
            incomplete.
        """
        buffer = self._buffer
        assert buffer is not None
        start = len(buffer)
        buffer += data
        # Otherwise, a peer that sends single bytes would cause a search of the whole line for
        # each byte.
        if len(buffer) < self._parse_from and b"\n" not in data:
            return None
        reached = self._state(self, buffer, 0)
        if reached is None:
            self._wait(buffer)
            return None
        self._buffer = None
        return (data, reached - start) if reached >= start else (bytes(buffer[reached:]), 0)

    def _wait(self, buffer: bytearray) -> None:
        self._buffer = buffer
        size = len(buffer)
        limit = self.max_head_size
        if self._state is ResponseParser._feed_chunk_line:
            limit = _MAX_CHUNK_LINE
        self._parse_from = min(2 * size, limit + 1) if size >= _MIN_SKIP else 0

    def get_buffer(self) -> memoryview | None:
        """Return a buffer to receive into, or ``None`` if the caller must use `feed`.

        The caller must release the buffer before it calls `buffer_updated`.
        """
        if (
            self._remaining < _MIN_BUFFER
            or self._buffer is not None
            or not isinstance(self._body, Body)
            or not self._body.is_direct
        ):
            return None
        return self._body.get_buffer(self._remaining)

    def buffer_updated(self, size: int) -> bool:
        """Parse ``size`` bytes of the buffer, and return whether the response is complete.

        :raises BodyError: for a body over its limit.
        """
        assert isinstance(self._body, Body)
        self._body.buffer_updated(size)
        self._remaining -= size
        if not self._remaining:
            if self._state is ResponseParser._feed_length:
                self.complete = True
            else:
                self._state = ResponseParser._feed_chunk_end
        return self.complete

    def end(self) -> None:
        """End the response: the peer has closed the connection in order.

        :raises NoResponse: if no byte has arrived.
        :raises BrokenConnection: if the response is incomplete.
        """
        if self._buffer is not None:
            # `_resume` may not have checked the buffer.
            self._state(self, self._buffer, 0)
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

    def _feed_head(self, data: bytes | bytearray, start: int) -> int | None:
        end_of_head = END_OF_HEAD.search(data, start + max(self._checked - 1, 0))
        end = end_of_head.end() if end_of_head else len(data)
        if end - start > self.max_head_size:
            raise HeadTooLarge(f"response head is over {self.max_head_size} bytes")
        if end_of_head is None:
            self._checked = check_partial_head(data, start, self._checked)
            return None
        self._checked = 0
        head = parse_head(bytes(data[start:end]))
        if head.version[5] != "1":
            raise MalformedResponse(f"{head.version} on an HTTP/1 connection")
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

    def _feed_chunk_line(self, data: bytes | bytearray, start: int) -> int | None:
        line = _CHUNK_LINE.match(data, start, start + _MAX_CHUNK_LINE)
        if line is None:
            waiting = len(data) - start < _MAX_CHUNK_LINE
            if waiting and _PARTIAL_CHUNK_LINE.fullmatch(data, start):
                return None
            raise BodyError(f"invalid chunk size {quoted_line(data[start : start + 60])}")
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

    def _feed_chunk_end(self, data: bytes | bytearray, start: int) -> int | None:
        end = bytes(data[start : start + 2])
        if not b"\r\n".startswith(end):
            raise BodyError(f"improperly terminated chunk: {quoted_line(end)}")
        if len(end) < 2:
            return None
        self._state = ResponseParser._feed_chunk_line
        return start + 2

    def _feed_trailers(self, data: bytes | bytearray, start: int) -> int | None:
        if data.startswith(b"\r\n", start):
            self.complete = True
            return start + 2
        last = END_OF_HEAD.search(data, start + max(self._checked - 1, 0))
        if (last.end() if last else len(data)) - start > self.max_head_size:
            raise BodyError(f"trailers are over {self.max_head_size} bytes")
        checked = start + self._checked
        complete = last.start() + 1 if last else max(data.rfind(b"\n", checked) + 1, checked)
        check_trailer(bytes(data[checked:complete]))
        if last is None:
            self._checked = complete - start
            return None
        self.complete = True
        return last.end()

    def _take(self, data: bytes, start: int) -> int:
        assert self._body is not None
        end = min(start + self._remaining, len(data))
        self._remaining -= end - start
        # Usually the data contains nothing but the body, and needs no copy.
        self._body.write(data if end - start == len(data) else data[start:end])
        return end


# A state is called with a `bytearray` only if it has returned None before.
_State = Callable[[ResponseParser, Any, int], "int | None"]
