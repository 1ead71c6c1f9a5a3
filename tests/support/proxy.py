"""Proxies of the tests: scripts of a `RawPeer`, and tinyproxy."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from .peer import Connection

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


async def relay(conn: Connection) -> None:
    """Open a tunnel to the target of the first request."""
    request = await conn.read_request()
    await tunnel(conn, request.target, ESTABLISHED)


async def tunnel(conn: Connection, target: str, head: bytes) -> None:
    """Send ``head`` and relay between the client and ``target``."""
    host, _, port = target.rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    try:
        await conn.send(head)
        up = asyncio.create_task(_copy(conn.reader, writer))
        down = asyncio.create_task(_copy(reader, conn.writer))
        try:
            await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
        conn.close()
    finally:
        writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


def find_tinyproxy() -> str | None:
    """Return the path of tinyproxy."""
    return shutil.which("tinyproxy") or shutil.which("tinyproxy", path="/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def tinyproxy(folder: Path, *lines: str) -> Iterator[int]:
    """Run a tinyproxy on loopback; yield its port.

    :arg lines: lines of its configuration.
    """
    binary = find_tinyproxy()
    assert binary is not None
    with socket.socket() as reserved:
        # A bound port without a listener stays reserved.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        port = int(reserved.getsockname()[1])
        own = ("Listen 127.0.0.1", f"Port {port}", "Timeout 60", "MaxClients 50", "StartServers 5")
        log = folder / "tinyproxy.log"
        (folder / "tinyproxy.conf").write_text("\n".join([*own, f'LogFile "{log}"', *lines, ""]))
        command = [binary, "-d", "-c", str(folder / "tinyproxy.conf")]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait_for(child, port)
            yield port
        finally:
            child.terminate()
            try:
                child.wait(2)
            except subprocess.TimeoutExpired:
                # It waits for its connections to end.
                child.kill()
                child.wait(20)


def _wait_for(child: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(400):
        if child.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise RuntimeError("tinyproxy does not listen")
