"""``python -m tests.soak.stale``: unsolicited responses.

A server in a separate process adds a second response to one in fifty. It sends the second
response in one write with the first one, or up to 2 ms later. A fetch must not return it. The
program prints the number of fetches that did, and ends with 1 if a client could have detected it.

A client cannot detect a response that arrives after the next request was written. The server
checks for that request immediately before it sends, and sends nothing if it has arrived. "Later"
is therefore the time between these two system calls.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import socket
import ssl
import sys
import tempfile
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.certificates import Certificates
from turbo_tornado import HTTPClient
from turbo_tornado.transports.base import CancellableFetch

BODY = b"b" * 40_000
STALE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nSTALE"
ONE_IN = 50


class Way(NamedTuple):
    """A line of the result."""

    transport: str
    #: ``HTTPClient`` or ``AsyncHTTPClient``.
    api: str
    is_tls: bool
    is_later: bool


class Count(NamedTuple):
    stale: int
    failed: int
    sent: int


def serve(ports: Queue[int], sent: Any, certificate: str | None, is_later: bool) -> None:
    """Run the server. ``sent`` counts the unsolicited responses."""
    chance = random.Random(1)

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        peek = socket.socket(fileno=socket.dup(sock.fileno()))
        try:
            while True:
                path = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1]
                body = path + b"|" + BODY
                head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
                is_chosen = not chance.randrange(ONE_IN)
                if not is_chosen or is_later:
                    writer.write(head + body)
                else:
                    sent.value += 1
                    # One system call. With two, the client can write the next request between.
                    writer.write(head + body + STALE)
                if is_chosen and is_later:
                    await asyncio.sleep(0.002 * chance.random())
                    if not reader._buffer and not has_data(peek):  # type: ignore[attr-defined]
                        sent.value += 1
                        writer.write(STALE)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            peek.close()
            writer.close()

    async def main() -> None:
        context = None
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
        server = await asyncio.start_server(respond, "127.0.0.1", 0, ssl=context, backlog=512)
        ports.put(server.sockets[0].getsockname()[1])
        await asyncio.Event().wait()

    asyncio.run(main())


def has_data(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return False


async def fetch_all(way: Way, port: int, ca: str, fetches: int, at_once: int) -> tuple[int, int]:
    """Return the number of fetches with a wrong response, and of failed fetches."""
    stale = failed = 0
    numbers = iter(range(fetches))
    base = f"{'https' if way.is_tls else 'http'}://127.0.0.1:{port}"
    client = transport_class(way.transport)(force_instance=True)

    async def fetch(path: str) -> bytes | None:
        if way.api == "HTTPClient":
            turbo = HTTPClient({"ca_path": ca}, transport=client)
            return (await turbo.fetch(base + path)).body
        try:
            return (await client.fetch(base + path, ca_certs=ca)).body
        except Exception:
            return None

    async def worker() -> None:
        nonlocal stale, failed
        for number in numbers:
            path = f"/{number}"
            body = await fetch(path)
            if body is None:
                failed += 1
            elif body.partition(b"|")[0] != path.encode():
                stale += 1

    await asyncio.gather(*(worker() for _ in range(at_once)))
    client.close()
    return stale, failed


def transport_class(name: str) -> type[CancellableFetch]:
    if name == "curl":
        from turbo_tornado.transports.curl import CurlTransport

        return CurlTransport
    from turbo_tornado.transports.simple import SimpleTransport

    return SimpleTransport


def run(way: Way, certificates: Certificates, fetches: int, at_once: int) -> Count:
    context = multiprocessing.get_context("spawn")
    ports: Queue[int] = context.Queue()
    sent = context.Value("i", 0)
    certificate = certificates.server_file("valid") if way.is_tls else None
    process = context.Process(
        target=serve, args=(ports, sent, certificate, way.is_later), daemon=True
    )
    process.start()
    try:
        port = ports.get(timeout=60)
        stale, failed = asyncio.run(fetch_all(way, port, certificates.ca, fetches, at_once))
    finally:
        process.kill()
        process.join()
    return Count(stale, failed, sent.value)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.stale", description=__doc__)
    parser.add_argument("--transport", choices=("simple", "curl"), help="default: both")
    parser.add_argument("--fetches", type=int, default=20_000, help="default: 20 000")
    parser.add_argument("--at-once", type=int, default=32, help="default: 32")
    args = parser.parse_args(argv)
    transports = (args.transport,) if args.transport else ("simple", "curl")
    ways = [
        Way(transport, api, is_tls, is_later)
        for is_later in (False, True)
        for is_tls in (False, True)
        for api in ("HTTPClient", "AsyncHTTPClient")
        for transport in transports
    ]
    is_wrong = False
    print("| transport | API | connection | second response | sent | taken | failed fetches |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        certificates = Certificates(Path(directory))
        for way in ways:
            count = run(way, certificates, args.fetches, args.at_once)
            is_wrong |= count.stale > 0 and not way.is_later
            print(
                f"| {way.transport} | `{way.api}` | {'TLS' if way.is_tls else 'TCP'} "
                f"| {'later' if way.is_later else 'together'} "
                f"| {count.sent} | {count.stale} | {count.failed} |",
                flush=True,
            )
    return int(is_wrong)


if __name__ == "__main__":
    sys.exit(main())
