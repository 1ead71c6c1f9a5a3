"""The simple transport: HTTP/1 in pure Python on sockets of its own."""

from .transport import SimpleTransport

__all__ = ["SimpleTransport"]
