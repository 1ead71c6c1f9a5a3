"""`ProducedBody`: the chunks of a ``body_producer``, as they go on the wire."""

from __future__ import annotations

from tornado.httputil import HTTPOutputError


class ProducedBody:
    """The bytes to send for the chunks of a ``body_producer``.

    :arg length: the number of bytes; ``None`` if it is unknown.
    :arg bool is_framed: frame a body of unknown length as HTTP/1.1 chunks. Default: true.
    """

    def __init__(self, length: int | None, is_framed: bool = True) -> None:
        self._remaining = length
        self._is_framed = is_framed and length is None
        self._is_open = True

    def frame(self, chunk: bytes) -> bytes:
        """Return the bytes to send for a chunk.

        :raises HTTPOutputError: for more than the known length, and after `end`.
        """
        if not self._is_open:
            # Another request may already use the connection.
            raise HTTPOutputError("body_producer wrote after its end")
        if self._remaining is not None:
            self._remaining -= len(chunk)
            if self._remaining < 0:
                raise HTTPOutputError("Tried to write more data than Content-Length")
        elif chunk and self._is_framed:
            return b"%x\r\n%b\r\n" % (len(chunk), chunk)
        return chunk

    def end(self) -> bytes:
        """Return the bytes to send at the end.

        :raises HTTPOutputError: for less than the known length.
        """
        self._is_open = False
        if self._remaining:
            raise HTTPOutputError(
                f"Tried to write {self._remaining} bytes less than Content-Length"
            )
        return b"0\r\n\r\n" if self._is_framed else b""
