"""The simple transport: HTTP/1 in pure Python on non-blocking sockets."""

from .transport import SimpleTransport

__all__ = ["SimpleTransport"]
