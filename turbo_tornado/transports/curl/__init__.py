"""The curl transport: `CurlTransport`, on libcurl."""

from .transport import CurlTransport

__all__ = ["CurlTransport"]
