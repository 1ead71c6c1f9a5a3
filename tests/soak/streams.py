"""``python -m tests.soak.streams``: the memory of large bodies in both directions.

The server runs in a separate process.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler, stream_request_body

from turbo_tornado import HTTPClient

MIB = 1 << 20


def memory(name: str) -> int:
    """Return a value of /proc/self/status in bytes, such as the resident memory."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) * 1024


def reset_peak() -> None:
    """Make the peak of the resident memory, ``VmHWM``, start again."""
    Path("/proc/self/clear_refs").write_text("5")


def blocks(size: int) -> Iterator[bytes]:
    for _ in range(size // 65536):
        yield bytes(65536)


async def async_blocks(size: int) -> AsyncIterator[bytes]:
    for block in blocks(size):
        yield block


async def download(client: HTTPClient, url: str, size: int, is_async: bool) -> None:
    received = 0

    def callback(chunk: bytes) -> None:
        nonlocal received
        received += len(chunk)

    async def async_callback(chunk: bytes) -> None:
        callback(chunk)
        if received % 64 == 0:
            await asyncio.sleep(0)

    target = f"{url}/{size}"
    res = await client.fetch(target, streaming_callback=async_callback if is_async else callback)
    res.raise_for_error()
    assert (res.code, received) == (200, size), (res.code, received)


async def upload(client: HTTPClient, url: str, **body: Any) -> None:
    res = await client.fetch(f"{url}/upload", method="POST", request_timeout=0, **body)
    res.raise_for_error()
    assert res.code == 204, res.code


async def run(transport: str, url: str, folder: Path, size: int) -> bool:
    """Return whether each way needs less than 2 MiB."""
    client = HTTPClient(transport=transport)
    is_good = True
    for name, way in {
        "streaming_callback": lambda size: download(client, url, size, False),
        "async streaming_callback": lambda size: download(client, url, size, True),
        "body, a file": lambda size: upload_file(client, url, folder, size),
        "body, an iterable": lambda size: upload(client, url, body=blocks(size)),
        "body, an async iterable": lambda size: upload(client, url, body=async_blocks(size)),
        "files": lambda size: upload(client, url, files={"file": folder / str(size)}),
    }.items():
        for _ in range(3):
            await way(16 * MIB)
        reset_peak()
        before = memory("VmRSS")
        await way(size)
        more = (memory("VmHWM") - before) / MIB
        is_good &= more < 2
        print(f"| {transport} | {name} | {size // MIB} | {more:.1f} |", flush=True)
    return is_good


async def upload_file(client: HTTPClient, url: str, folder: Path, size: int) -> None:
    with open(folder / str(size), "rb") as file:
        await upload(client, url, body=file)


@stream_request_body
class Handler(RequestHandler):
    """Sends as many bytes as the path requests, and discards what it receives."""

    def prepare(self) -> None:
        self.request.connection.set_max_body_size(1 << 50)  # type: ignore[union-attr]

    def data_received(self, chunk: bytes) -> None: ...

    async def get(self, size: str) -> None:
        self.set_header("Content-Length", size)
        for _ in range(int(size) // 65536):
            self.write(bytes(65536))
            await self.flush()

    def post(self, size: str) -> None:
        self.set_status(204)


async def serve(connection: Connection) -> None:
    server = HTTPServer(Application([(r"/(\w+)", Handler)]))
    sock, port = bind_unused_port()
    server.add_socket(sock)
    connection.send(port)
    # Until the other process ends.
    await asyncio.to_thread(connection.poll, None)


def run_server(connection: Connection) -> None:
    asyncio.run(serve(connection))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transport", choices=["simple", "curl"], default="simple")
    parser.add_argument("--size", type=int, default=1024, metavar="MIB", help="default: 1024")
    args = parser.parse_args()
    size = args.size * MIB
    spawn = multiprocessing.get_context("spawn")
    connection, other = spawn.Pipe()
    server = spawn.Process(target=run_server, args=(other,), daemon=True)
    server.start()
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        for length in (16 * MIB, size):
            with open(folder / str(length), "wb") as file:
                # Without blocks on the disk.
                file.truncate(length)
        print("| transport | keyword | MiB | MiB of memory |\n|---|---|---|---|")
        url = f"http://127.0.0.1:{connection.recv()}"
        is_good = asyncio.run(run(args.transport, url, folder, size))
    connection.send(None)
    server.join()
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
