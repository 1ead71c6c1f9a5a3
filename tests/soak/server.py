"""The peer of the soak test, in a separate process with separate resources.

``python -m tests.soak.server PLAIN TLS SILENT CERTIFICATE ADDRESS...`` listens on the three
ports of each address, prints a line, and ends with its standard input. A request has its
number in a cookie. A valid response has that number as its body.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from tests.support import response

from .held import raise_limit_of_files

ROOT = Path(__file__).parent.parent.parent
#: Connections to one address at the same time: the limit of the backlog in Linux.
PER_ADDRESS = 4000

_NUMBER = re.compile(rb"\r\nCookie: number=(\d+)")
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)")
_COUNT = re.compile(rb"count=(\d+)")
_RESET = struct.pack("ii", 1, 0)
_BOMB = gzip.compress(bytes(4_000_000))
_CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def _chunked(*chunks: bytes) -> bytes:
    return _CHUNKED.encode() + b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks)


def _half(number: bytes) -> bytes:
    whole = response(number.rjust(1000))
    return whole[:-500]


#: The response for a path, by the number and the body of the request.
ANSWERS: dict[bytes, Callable[[bytes, bytes], bytes]] = {
    b"/number": lambda number, body: response(number),
    b"/body": lambda number, body: response(body),
    b"/gzip": lambda number, body: response(gzip.compress(number), "Content-Encoding: gzip"),
    b"/chunked": lambda number, body: _chunked(number[:3], number[3:], b""),
    b"/redirect": lambda number, body: response(b"", "Location: /number", status="302 Found"),
    b"/last": lambda number, body: response(number, "Connection: close"),
    b"/redirect-loop": lambda number, body: response(
        b"", "Location: /redirect-loop", status="302 Found"
    ),
    b"/bad-head": lambda number, body: b"this is no HTTP\r\n\r\n",
    b"/empty-close": lambda number, body: b"",
    b"/reset": lambda number, body: b"",
    b"/cut-head": lambda number, body: b"HTTP/1.1 200 OK\r\nContent-",
    b"/cut-body": lambda number, body: _half(number),
    b"/reset-body": lambda number, body: _half(number),
    b"/bad-chunk": lambda number, body: _chunked(number) + b"no number\r\n",
    b"/too-large": lambda number, body: response(bytes(100_000)),
    b"/too-large-chunked": lambda number, body: _chunked(bytes(100_000), b""),
    b"/bomb": lambda number, body: response(_BOMB, "Content-Encoding: gzip"),
    b"/bad-gzip": lambda number, body: response(b"no gzip", "Content-Encoding: gzip"),
    b"/cut-gzip": lambda number, body: response(
        gzip.compress(number)[:-4], "Content-Encoding: gzip"
    ),
    b"/stall": lambda number, body: b"",
    b"/stall-in-body": lambda number, body: _half(number),
}
CLOSED = {b"/last", b"/empty-close", b"/cut-head", b"/cut-body"}
RESET = {b"/reset", b"/reset-body"}
STALLING = {b"/stall", b"/stall-in-body"}


class Silent(asyncio.Protocol):
    """Accepts connections, and never sends anything."""


class Peer(asyncio.Protocol):
    """Responds by `ANSWERS`, and to three more paths.

    A request to ``/together?count=`` waits for one to ``/answer?count=``. ``/arrived`` waits
    for the request to a stalling path with the same number, or for that many requests.
    """

    transport: asyncio.Transport
    arrived: ClassVar[set[bytes]] = set()
    awaited: ClassVar[dict[bytes, Peer]] = {}
    together: ClassVar[defaultdict[bytes, list[tuple[Peer, bytes]]]] = defaultdict(list)

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.startswith(b"\x16"):
            # A TLS handshake, on a port that has no TLS.
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            self.transport.close()
            return
        head, end, rest = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        size = int(length[1]) if length else 0
        if end and len(rest) >= size:
            self._received = b""
            number = _NUMBER.search(head)
            self._answer(head.split(b" ", 2)[1], number[1] if number else b"", rest)

    def _answer(self, target: bytes, number: bytes, body: bytes) -> None:
        path, _, query = target.partition(b"?")
        count = _COUNT.search(query)
        if path == b"/together":
            assert count
            waiting = self.together[count[1]]
            waiting.append((self, number))
            if len(waiting) == int(count[1]):
                self._arrive(count[1])
        elif path == b"/answer":
            assert count
            for peer, its_number in [*self.together.pop(count[1]), (self, number)]:
                peer.transport.write(response(its_number))
        elif path == b"/arrived":
            if number in self.arrived:
                self._tell(number)
            else:
                self.awaited[number] = self
        else:
            self.transport.write(ANSWERS[path](number, body))
            if path in CLOSED:
                self.transport.close()
            elif path in RESET:
                sock = self.transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self.transport.abort()
            elif path in STALLING:
                self._arrive(number)

    def _arrive(self, number: bytes) -> None:
        self.arrived.add(number)
        if number in self.awaited:
            self.awaited.pop(number)._tell(number)

    def _tell(self, number: bytes) -> None:
        self.arrived.discard(number)
        self.transport.write(response(number))


async def main(plain: int, tls: int, silent: int, certificate: str, addresses: list[str]) -> None:
    raise_limit_of_files()
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    await loop.create_server(Peer, addresses, plain, backlog=4096)
    await loop.create_server(Peer, addresses, tls, backlog=4096, ssl=context)
    await loop.create_server(Silent, addresses, silent, backlog=4096)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    print("listening", flush=True)
    await ended.wait()
    # The kernel closes the thousands of connections.
    os._exit(0)


class Server:
    """The process of the peer, whose ports stay the same after a restart."""

    def __init__(self, certificate: str, addresses: int = 1) -> None:
        self.addresses = [f"127.0.0.{number + 1}" for number in range(addresses)]
        self._certificate = certificate
        # Bound here as well, so that they stay reserved while the process does not run.
        self._bound = [socket.socket() for _ in range(4)]
        for sock in self._bound:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((self.addresses[0], 0))
        #: The last one has no listener.
        self.plain, self.tls, self.silent, self.closed = (
            sock.getsockname()[1] for sock in self._bound
        )
        self.start()

    def start(self) -> None:
        """Wait until the ports have listeners."""
        ports = map(str, (self.plain, self.tls, self.silent))
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, *ports, self._certificate, *self.addresses],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout
        if self._process.stdout.readline() != b"listening\n":
            raise RuntimeError("the server of the soak did not start")

    def kill(self) -> None:
        """Kill the process, as the kernel does when memory is short."""
        self._process.kill()
        self._process.communicate()

    def close(self) -> None:
        self._process.communicate(timeout=10)
        for sock in self._bound:
            sock.close()


if __name__ == "__main__":
    first, second, third, pem, *hosts = sys.argv[1:]
    asyncio.run(main(int(first), int(second), int(third), pem, hosts))
