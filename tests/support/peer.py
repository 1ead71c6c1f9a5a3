"""A server that sends chosen bytes, and records all received bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


def response(
    body: bytes = b"", *fields: str, status: str = "200 OK", version: str = "HTTP/1.1"
) -> bytes:
    """Return a well-formed response with a Content-Length."""
    head = [f"{version} {status}", *fields, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(head).encode("latin-1") + body


@dataclass
class Request:
    """One request as received; ``raw`` is its head, byte for byte."""

    raw: bytes
    body: bytes
    connection: int

    @property
    def line(self) -> str:
        return self.raw.split(b"\r\n", 1)[0].decode("latin-1")

    @property
    def method(self) -> str:
        return self.line.split(" ")[0]

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    @property
    def version(self) -> str:
        return self.line.split(" ")[2]

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Names and values in order, names as sent."""
        lines = self.raw.decode("latin-1").split("\r\n")[1:-2]
        pairs = [line.partition(":") for line in lines]
        return [(name, value.strip(" \t")) for name, _, value in pairs]

    def field(self, name: str) -> str | None:
        """Return the value of the first header with this name."""
        for field, value in self.fields:
            if field.lower() == name.lower():
                return value
        return None


class Connection:
    """One accepted connection of a `RawPeer`."""

    def __init__(
        self,
        peer: RawPeer,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.peer = peer
        self.number = number
        self.reader = reader
        self.writer = writer

    async def read_request(self) -> Request:
        """Read one request with its body; raise EOFError at the end of input."""
        raw = await self.reader.readuntil(b"\r\n\r\n")
        request = Request(raw, b"", self.number)
        length = request.field("Content-Length")
        if length is not None:
            request.body = await self.reader.readexactly(int(length))
        elif (request.field("Transfer-Encoding") or "").lower() == "chunked":
            request.body = await self._read_chunks()
        await self.peer._note(request)
        return request

    async def _read_chunks(self) -> bytes:
        body = b""
        while True:
            size = int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16)
            body += (await self.reader.readexactly(size + 2))[:-2]
            if size == 0:
                return body

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def close(self) -> None:
        """End the connection in order: the sent data arrives, and then FIN.

        A socket that is closed with unread input sends RST. The peer therefore continues to
        read the input.
        """
        if self.writer.can_write_eof():
            with contextlib.suppress(OSError):
                self.writer.write_eof()
        else:
            self.writer.close()

    def reset(self) -> None:
        """End the connection with RST, which can lose sent data."""
        sock = self.writer.get_extra_info("socket")
        if sock is None:
            return  # uvloop raises it for a closed connection.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def wait_closed_by_client(self) -> None:
        """Wait until the client has closed or reset its side."""
        # Including SSLError, and the ENOTCONN that uvloop raises for a reset.
        with contextlib.suppress(OSError):
            while await self.reader.read(65536):
                pass


Script = Callable[[Connection], Awaitable[None]]


class RawPeer:
    """Listens on loopback and runs a script for each connection.

    After its script a connection stays open until the client closes it.
    """

    def __init__(self, script: Script | bytes, host: str) -> None:
        self.host = host
        self.port = 0
        self.scheme = "http"
        self.requests: list[Request] = []
        self.connections = 0
        self.failures: list[BaseException] = []
        self._script: Script = self._answering(script) if isinstance(script, bytes) else script
        self._tasks: set[asyncio.Task[None]] = set()
        self._noted = asyncio.Condition()
        self._server: asyncio.Server

    @staticmethod
    def _answering(data: bytes) -> Script:
        async def script(conn: Connection) -> None:
            while True:
                await conn.read_request()
                await conn.send(data)

        return script

    async def listen(self, ssl_context: ssl.SSLContext | None) -> None:
        self.scheme = "https" if ssl_context else "http"
        self._server = await asyncio.start_server(
            self._accept, self.host, 0, ssl=ssl_context, limit=262144, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def url(self, path: str = "/") -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{path}"

    async def received(self, count: int = 1) -> None:
        """Wait until ``count`` requests in total have been read."""
        async with self._noted:
            await self._noted.wait_for(lambda: len(self.requests) >= count)

    async def connected(self, count: int = 1) -> None:
        """Wait until ``count`` connections in total have been accepted."""
        async with self._noted:
            await self._noted.wait_for(lambda: self.connections >= count)

    async def _note(self, request: Request | None = None) -> None:
        async with self._noted:
            if request is not None:
                self.requests.append(request)
            self._noted.notify_all()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        conn = Connection(self, self.connections, reader, writer)
        task = asyncio.create_task(self._serve(conn))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A task that is cancelled before its first step does not run `finally`.
        task.add_done_callback(lambda task: writer.transport.abort())

    async def _serve(self, conn: Connection) -> None:
        try:
            await self._note()
            with contextlib.suppress(EOFError, OSError):
                await self._script(conn)
            await conn.wait_closed_by_client()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.failures.append(error)
        finally:
            conn.writer.transport.abort()
            # Retrieve the exception of the connection. Otherwise, asyncio would report it if the
            # collector finalizes the future before the protocol.
            with contextlib.suppress(OSError):
                await conn.writer.wait_closed()

    async def close(self) -> None:
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for failure in self.failures:
            raise failure
