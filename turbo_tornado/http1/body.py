"""`Body`: limits and decodes the body of one response while it arrives."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from ..failures import BodyError
from .head import CODES_WITHOUT_BODY, METHODS_WITHOUT_BODY, Head

# Bytes that one step of decoding returns at most. A compression bomb needs this much memory
# beyond the limit of the body.
_DECODE_STEP = 65536
# A body may have this many encoded bytes, and `_MAX_OVERHEAD` more for each decoded byte. Without
# the limit, empty gzip members of 20 bytes could follow each other endlessly.
_FREE_OVERHEAD = 262144
_MAX_OVERHEAD = 64
# Bytes by which the buffer of a large body grows. It grows as data arrives, because the
# announced length can be wrong.
_GROWTH = 1048576
_GZIP = 16 + zlib.MAX_WBITS


def body_of(head: Head, method: str, limit: int, decompress: bool) -> Body:
    """Return the `Body` for the response with this head.

    :arg str method: the method of the request.
    :raises BodyError: for an announced length over the limit.
    """
    gzip = head.gzip and decompress
    length = head.content_length or 0
    has_no_body = method in METHODS_WITHOUT_BODY or head.code in CODES_WITHOUT_BODY
    if length > limit and not (gzip or has_no_body):
        raise BodyError(f"Content-Length too long: over the limit of {limit} bytes")
    return Body(limit, gzip)


class Body:
    """The decoded bytes of a body, which are collected or yielded in pieces.

    :arg int limit: bytes of decoded body that are allowed.
    :arg bool gzip: the data is gzip, with one or more members.

    A single piece is returned without a copy. Several pieces are collected in a `BytesIO`,
    whose ``getvalue`` returns its buffer without a copy.
    """

    # Class attributes, because only some bodies change them.
    size = 0
    _first = b""
    _buffer: BytesIO | None = None
    _capacity = 0
    _decoder: Any = None
    _is_started = False
    _encoded = 0
    #: Whether zeros may follow the last gzip member, as padding to the size of a block.
    allows_padding = True

    def __init__(self, limit: int, gzip: bool = False) -> None:
        self.limit = limit
        if gzip:
            self._decoder = zlib.decompressobj(_GZIP)

    @property
    def is_direct(self) -> bool:
        """Whether the data is not encoded, so that `get_buffer` can be used."""
        return self._decoder is None

    def write(self, chunk: bytes) -> None:
        """Append the next bytes.

        :raises BodyError: for a body over its limit or invalid gzip.
        """
        if self._decoder is None:
            self._append(chunk)
        else:
            for piece in self._decoded(chunk):
                self._append(piece)

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the decoded bytes of ``chunk`` in pieces of limited size.

        :raises BodyError: for a body over its limit or invalid gzip.
        """
        for piece in (chunk,) if self._decoder is None else self._decoded(chunk):
            self._count(len(piece))
            yield piece

    def get_buffer(self, size: int) -> memoryview:
        """Return a buffer for the next bytes, at most ``size``."""
        if self._buffer is None:
            self._buffer = BytesIO(self._first)
        if self.size >= self._capacity:
            self._capacity = self.size + _GROWTH
            self._buffer.seek(self._capacity - 1)
            self._buffer.write(b"\0")
        end = min(self._capacity, self.size + size)
        return self._buffer.getbuffer()[self.size : end]

    def buffer_updated(self, size: int) -> None:
        """Append the first ``size`` bytes of the buffer.

        :raises BodyError: for a body over its limit.
        """
        self._count(size)

    def finish(self) -> bytes:
        """Return the complete body.

        :raises BodyError: for incomplete gzip data.
        """
        if self._is_started and not self._decoder.eof:
            raise BodyError(f"invalid gzip data: it ends early, after {self.size} decoded bytes")
        if self._buffer is None:
            return self._first
        if self._capacity:
            self._buffer.truncate(self.size)
        return self._buffer.getvalue()

    def _append(self, piece: bytes) -> None:
        if self._buffer is None:
            if not self.size:
                self._count(len(piece))
                self._first = piece
                return
            self._buffer = BytesIO(self._first)
        self._buffer.seek(self.size)
        self._count(len(piece))
        self._buffer.write(piece)

    def _decoded(self, chunk: bytes) -> Iterator[bytes]:
        self._encoded += len(chunk)
        while chunk:
            if self._decoder.eof:
                if self.allows_padding:
                    chunk = chunk.lstrip(b"\0")
                    if not chunk:
                        break
                # RFC 1952, section 2.2: a file is a sequence of members.
                self._decoder = zlib.decompressobj(_GZIP)
            self._is_started = True
            try:
                decoded = self._decoder.decompress(chunk, _DECODE_STEP)
            except zlib.error as error:
                raise BodyError(f"invalid gzip data: {error}") from None
            if decoded:
                yield decoded
            chunk = self._decoder.unconsumed_tail or self._decoder.unused_data
        if self._encoded > _FREE_OVERHEAD + _MAX_OVERHEAD * self.size:
            raise BodyError("invalid gzip data: almost all of it decodes to nothing")

    def _count(self, size: int) -> None:
        self.size += size
        if self.size > self.limit:
            problem = "Body too long" if self._decoder is None else "decompressed body too large"
            raise BodyError(f"{problem}: over the limit of {self.limit} bytes")
