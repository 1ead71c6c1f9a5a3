"""The hosts of the documentation on loopback, with one port for each host."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from .certificates import Certificates

#: https?://, user info, a host of the documentation, a port.
_ORIGIN = re.compile(
    r"\b(https?)://([^\s/@'\"]+@)?((?:[\w-]+\.)*(?:example\.(?:com|org)|domain\.com)|localhost)"
    r"(:\d+)?(?![\w.-]*\.)"
)


class Anything(RequestHandler):
    """Responds with 200 and the received request as JSON."""

    SUPPORTED_METHODS = (*RequestHandler.SUPPORTED_METHODS, "PURGE")  # type: ignore[assignment]

    async def prepare(self) -> None:
        request = self.request
        self.set_header("Set-Cookie", "visited=1")
        self.finish(
            {
                "method": request.method,
                "uri": request.uri,
                "headers": dict(request.headers.get_all()),
                "body": request.body.decode("utf-8", "replace"),
            }
        )


class Latest(RequestHandler):
    def prepare(self) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"version": 3}))


class Missing(RequestHandler):
    def prepare(self) -> None:
        self.set_status(404)
        self.finish("no such thing")


class Moved(RequestHandler):
    def prepare(self) -> None:
        self.redirect("/latest")


class Loop(RequestHandler):
    def prepare(self) -> None:
        self.redirect("/loop")


class Slow(RequestHandler):
    """Never responds."""

    async def prepare(self) -> None:
        await self.settings["end"].wait()


class Large(RequestHandler):
    def prepare(self) -> None:
        self.finish(b"x" * 2_000_000)


class Private(RequestHandler):
    def prepare(self) -> None:
        self.set_status(200 if "Authorization" in self.request.headers else 401)
        self.finish()


class Cut(RequestHandler):
    """Closes within the body."""

    async def prepare(self) -> None:
        stream = self.detach()
        await stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        stream.close()


_ROUTES = [
    ("/latest", Latest),
    ("/missing", Missing),
    ("/moved", Moved),
    ("/loop", Loop),
    ("/slow", Slow),
    ("/large", Large),
    ("/private", Private),
    ("/cut", Cut),
    ("/.*", Anything),
]


class World:
    """Replaces names by loopback addresses and back."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates
        self._ports: dict[tuple[str, str], int] = {}
        self._servers: list[HTTPServer] = []
        self._closed: list[socket.socket] = []
        self._end = asyncio.Event()
        self._application = Application(_ROUTES, end=self._end)  # type: ignore[arg-type]

    def localized(self, text: str) -> str:
        """Return ``text`` with loopback addresses instead of the documented origins."""

        def address(match: re.Match[str]) -> str:
            scheme, user_info, host, port = match.groups()
            authority = host + (port or {"http": ":80", "https": ":443"}[scheme])
            return f"{scheme}://{user_info or ''}127.0.0.1:{self._port(scheme, authority)}"

        return _ORIGIN.sub(address, text)

    def named(self, text: str) -> str:
        """Return ``text`` with the names instead of the addresses."""
        for (scheme, authority), port in self._ports.items():
            default = {"http": ":80", "https": ":443"}[scheme]
            origin = f"{scheme}://{authority.removesuffix(default)}"
            text = text.replace(f"{scheme}://127.0.0.1:{port}", origin)
            text = text.replace(
                f"Host: 127.0.0.1:{port}", f"Host: {authority.removesuffix(default)}"
            )
            text = text.replace(f"127.0.0.1:{port}", authority)
        return text

    def _port(self, scheme: str, authority: str) -> int:
        if (scheme, authority) not in self._ports:
            self._ports[scheme, authority] = self._open(scheme, authority.split(".", maxsplit=1)[0])
        return self._ports[scheme, authority]

    def _open(self, scheme: str, label: str) -> int:
        if label == "nowhere":
            self._closed.append(socket.socket())
            self._closed[-1].bind(("127.0.0.1", 0))
            return int(self._closed[-1].getsockname()[1])
        sockets = bind_sockets(0, "127.0.0.1")
        server = HTTPServer(
            self._application, ssl_options=self._context(label) if scheme == "https" else None
        )
        server.add_sockets(sockets)
        self._servers.append(server)
        return int(sockets[0].getsockname()[1])

    def _context(self, label: str) -> ssl.SSLContext:
        kind = label if label in ("expired", "self-signed", "wrong-host") else "valid"
        wanted = self._certificates.ca if label == "mutual" else None
        return self._certificates.server_context(kind, wanted)

    async def close(self) -> None:
        self._end.set()
        for bound in self._closed:
            bound.close()
        for server in self._servers:
            server.stop()
            await server.close_all_connections()
