"""`TLSServer`: a Tornado server that has its port before it listens."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.web import Application


class TLSServer:
    """A server with TLS on loopback, which does not listen until `listen`.

    :arg options: arguments of `tornado.httpserver.HTTPServer`.
    """

    def __init__(self, application: Application, context: ssl.SSLContext, **options: Any) -> None:
        self._server = HTTPServer(application, ssl_options=context, **options)
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.origin = f"https://127.0.0.1:{self._socket.getsockname()[1]}"

    def listen(self) -> None:
        self._socket.setblocking(False)
        self._socket.listen(128)
        self._server.add_socket(self._socket)

    async def close(self) -> None:
        self._server.stop()
        self._socket.close()
        await self._server.close_all_connections()
