"""New connections: look-up, TCP and TLS, given up at any moment without a leak."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from tornado.iostream import IOStream, SSLIOStream
from tornado.netutil import Resolver
from tornado.tcpclient import TCPClient


class Opener(TCPClient):
    """Opens one connection; what it has begun can be closed while it is under way.

    `TCPClient.connect` knows its streams only when they are connected, and gives up
    a TLS handshake by forgetting about it (before Tornado 6.6). ``_create_stream``
    is the one private name that is needed to know them from the start.

    :arg resolver: asked for the addresses of ``host``.
    :arg bool literal: whether ``host`` is an address that needs no look-up. Tornado's
        default resolver sends an address, too, through a thread pool: most of what a
        connection costs.
    :arg context: for TLS, else ``None``.
    """

    def __init__(
        self,
        resolver: Resolver,
        host: str,
        port: int,
        *,
        literal: bool,
        context: ssl.SSLContext | None,
    ) -> None:
        super().__init__(resolver=resolver)
        self._host = host
        self._port = port
        self._literal = literal
        self._context = context
        self._streams: list[IOStream] = []

    async def open(
        self, family: socket.AddressFamily, source_ip: str | None, max_buffer_size: int
    ) -> IOStream:
        """Returns a connected stream, its TLS handshake done.

        :raises OSError: when there is no address, or none takes the connection.
        :raises ssl.SSLError: when the handshake failed.
        :raises StreamClosedError: when the peer closed in the handshake.
        """
        stream: IOStream
        try:
            if self._literal:
                kind = socket.AF_INET6 if ":" in self._host else socket.AF_INET
                if family not in (socket.AF_UNSPEC, kind):
                    raise OSError(f"{self._host} is no address of the family asked for")
                address = (self._host, self._port)
                _, connected = self._create_stream(max_buffer_size, kind, address, source_ip)
                stream = await connected
            else:
                stream = await self.connect(
                    self._host,
                    self._port,
                    family,
                    max_buffer_size=max_buffer_size,
                    source_ip=source_ip,
                )
        except BaseException:
            self.abort()
            raise
        self._streams.clear()
        return stream

    @property
    def phase(self) -> str:
        """What it is at, in the words of Tornado's timeouts."""
        if not self._streams:
            return f"while resolving {self._host}"
        peer = f"[{self._host}]" if ":" in self._host else self._host
        if any(isinstance(stream.socket, ssl.SSLSocket) for stream in self._streams):
            return f"during TLS handshake with {peer}:{self._port}"
        return f"while connecting to {peer}:{self._port}"

    def abort(self) -> None:
        """Closes whatever is open."""
        for stream in self._streams:
            stream.close()
        self._streams.clear()

    def _create_stream(
        self,
        max_buffer_size: int | None,
        af: socket.AddressFamily,
        addr: tuple[Any, ...],
        source_ip: str | None = None,
        source_port: int | None = None,
    ) -> tuple[IOStream, Any]:
        sock = socket.socket(af)
        stream: IOStream
        try:
            if source_ip:
                sock.bind((source_ip, 0))
            if self._context is None:
                stream = IOStream(sock, max_buffer_size=max_buffer_size)
            else:
                stream = SSLIOStream(
                    sock, ssl_options=self._context, max_buffer_size=max_buffer_size
                )
        except BaseException:
            sock.close()
            raise
        self._streams.append(stream)
        return stream, stream.connect(addr, server_hostname=self._host)
