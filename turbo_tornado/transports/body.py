"""`Body`: the body of one response, limited and decoded while it arrives."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from .failures import BodyError
from .http1 import CODES_WITHOUT_BODY, Head

# How much a step of decoding may yield: bounds the memory that a compression bomb gets
# beyond the limit of the body.
_DECODE_STEP = 65536
_GZIP = 16 + zlib.MAX_WBITS


def body_of(head: Head, method: str, limit: int, decompress: bool) -> Body:
    """Returns what takes the body that ``head`` speaks of.

    :arg str method: of the request.
    :raises BodyError: when it will be over its limit.
    """
    gzip = head.gzip and decompress
    length = head.content_length or 0
    bodiless = method == "HEAD" or head.code in CODES_WITHOUT_BODY
    if length > limit and not (gzip or bodiless):
        raise BodyError(f"Content-Length too long: {length} is over {limit} bytes")
    return Body(limit, gzip)


class Body:
    """Keeps the bytes of a body as they arrive, decoded, or hands them on in pieces.

    :arg int limit: bytes of decoded body that are allowed.
    :arg bool gzip: whether what arrives is gzip (one member or several).

    What is kept goes into a `BytesIO`, whose ``getvalue`` gives its buffer away without
    a copy: a body is in memory once.
    """

    def __init__(self, limit: int, gzip: bool = False) -> None:
        self.limit = limit
        self.size = 0
        self.buffer = BytesIO()
        self._decoder: Any = zlib.decompressobj(_GZIP) if gzip else None
        self._begun = False

    def write(self, chunk: bytes) -> None:
        """Keeps the next bytes.

        :raises BodyError: when the body is over its limit or is no gzip.
        """
        if self._decoder is None:
            self._count(chunk)
            self.buffer.write(chunk)
        else:
            for piece in self.pieces(chunk):
                self.buffer.write(piece)

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """Yields what the next bytes are when decoded, a bounded piece at a time.

        :raises BodyError: when the body is over its limit or is no gzip.
        """
        if self._decoder is None:
            self._count(chunk)
            yield chunk
            return
        while chunk:
            if self._decoder.eof:
                # RFC 1952, section 2.2: members simply follow one another.
                self._decoder = zlib.decompressobj(_GZIP)
            self._begun = True
            try:
                decoded = self._decoder.decompress(chunk, _DECODE_STEP)
            except zlib.error as error:
                raise BodyError(f"invalid gzip data: {error}") from None
            if decoded:
                self._count(decoded)
                yield decoded
            chunk = self._decoder.unconsumed_tail or self._decoder.unused_data

    def finish(self) -> BytesIO:
        """Ends the body and returns the buffer with it, at its start.

        :raises BodyError: when gzip ends before its end.
        """
        if self._begun and not self._decoder.eof:
            raise BodyError(f"invalid gzip data: it ends early, after {self.size} decoded bytes")
        self.buffer.seek(0)
        return self.buffer

    def _count(self, piece: bytes) -> None:
        self.size += len(piece)
        if self.size > self.limit:
            what = "Body too long" if self._decoder is None else "decompressed body too large"
            raise BodyError(f"{what}: over the limit of {self.limit} bytes")
