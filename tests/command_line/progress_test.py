"""The progress of ``-o``, on a pseudo-terminal."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import struct
import termios
from pathlib import Path
from typing import Any

import pytest

from tests.support import Connection, response
from tests.support.missing import import_peer

SIZE = 300_000


async def read_terminal(descriptor: int) -> str:
    """Return all that a terminal has received, when its last program has closed it."""

    def read() -> bytes:
        data = b""
        # At its end, Linux reports EIO, and other systems an empty read.
        with contextlib.suppress(OSError):
            while chunk := os.read(descriptor, 65536):
                data += chunk
        return data

    try:
        return (await asyncio.to_thread(read)).decode()
    finally:
        os.close(descriptor)


@pytest.fixture
def without_tqdm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide tqdm from the programs that the test starts."""
    folder = tmp_path / "hidden"
    folder.mkdir()
    (folder / "tqdm.py").write_text("raise ImportError")
    path = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *([path] if path else [])]))


@pytest.fixture
def terminal() -> Any:
    """The two ends of a terminal."""
    reader, writer = pty.openpty()
    # tqdm shows nothing on a terminal without a size.
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    return reader, writer


async def test_plain_progress(
    start: Any, server: Any, tmp_path: Path, terminal: Any, without_tqdm: None
) -> None:
    reader, writer = terminal
    process = await start("-o", str(tmp_path / "file"), server.url(f"/bytes/{SIZE}"), stderr=writer)
    os.close(writer)
    shown = await read_terminal(reader)
    await process.communicate()
    assert re.fullmatch(r"(\r[\d,]+ of 300,000 bytes, \d+ %)+\r\n", shown)
    assert shown.endswith("\r300,000 of 300,000 bytes, 100 %\r\n")


async def test_plain_progress_of_an_encoded_body(
    start: Any, server: Any, tmp_path: Path, terminal: Any, without_tqdm: None
) -> None:
    reader, writer = terminal
    process = await start("-o", str(tmp_path / "file"), server.url("/gzip"), stderr=writer)
    os.close(writer)
    shown = await read_terminal(reader)
    await process.communicate()
    assert shown.endswith("\r1,100 bytes\r\n")
    assert "%" not in shown


async def test_progress_bar(start: Any, server: Any, tmp_path: Path, terminal: Any) -> None:
    import_peer("tqdm")
    reader, writer = terminal
    process = await start("-o", str(tmp_path / "file"), server.url(f"/bytes/{SIZE}"), stderr=writer)
    os.close(writer)
    shown = await read_terminal(reader)
    await process.communicate()
    assert "100%" in shown
    assert "293k/293k" in shown
    assert shown.endswith("\r\n")


async def test_an_error_is_on_a_line_of_its_own(
    start: Any, raw_peer: Any, tmp_path: Path, terminal: Any, without_tqdm: None
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(response(b"x" * 100)[:-50])
        conn.close()

    reader, writer = terminal
    peer = await raw_peer(script)
    process = await start("-o", str(tmp_path / "file"), peer.url(), stderr=writer)
    os.close(writer)
    *progress, error, end = (await read_terminal(reader)).split("\r\n")
    await process.communicate()
    assert progress[-1].endswith("\r50 of 100 bytes, 50 %")
    assert error.startswith("SOCKET_ERROR: ")
    assert end == ""


async def test_the_head_is_below_the_progress(
    start: Any, raw_peer: Any, tmp_path: Path, terminal: Any, without_tqdm: None
) -> None:
    reader, writer = terminal
    peer = await raw_peer(response(b"body"))
    arguments = ("-i", "-o", str(tmp_path / "file"), peer.url())
    process = await start(*arguments, stdout=writer, stderr=writer)
    os.close(writer)
    shown = await read_terminal(reader)
    await process.communicate()
    assert shown.endswith("bytes, 100 %\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")


async def test_there_is_no_progress_on_the_terminal_of_the_body(
    start: Any, raw_peer: Any, terminal: Any
) -> None:
    reader, writer = terminal
    peer = await raw_peer(response(b"body"))
    process = await start("-o", "-", peer.url(), stdout=writer, stderr=writer)
    os.close(writer)
    assert await read_terminal(reader) == "body"
    await process.communicate()


async def test_progress_of_streamed_standard_output(
    start: Any, raw_peer: Any, terminal: Any, without_tqdm: None
) -> None:
    reader, writer = terminal
    peer = await raw_peer(response(b"body"))
    process = await start("-o", "-", peer.url(), stderr=writer)
    os.close(writer)
    shown = await read_terminal(reader)
    assert shown.endswith("\r4 of 4 bytes, 100 %\r\n")
    assert await process.stdout.read() == b"body"
