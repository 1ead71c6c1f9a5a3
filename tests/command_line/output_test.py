"""The option ``-o``: where the body goes, and what remains after a failure."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support import Connection, StartProgram, response
from turbo_tornado._command_line.arguments import argument_parser
from turbo_tornado._command_line.request import fetch_keywords

from .conftest import Run

CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50000
needs_dev_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that the file is in, and nothing else."""
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def cut(conn: Connection) -> None:
    """Close within the body."""
    await conn.read_request()
    await conn.send(CUT)
    conn.close()


async def stall(conn: Connection) -> None:
    """Send half a body, and nothing more."""
    await conn.read_request()
    await conn.send(CUT)


async def test_the_body_goes_to_the_file(
    run: Run, server: Any, transport: str, folder: Path
) -> None:
    url = server.url("/bytes/300000")
    ended = await run("--transport", transport, "-o", str(folder / "file"), url)
    assert ended == (0, b"", "")
    assert contents(folder) == {"file": b"x" * 300_000}


async def test_an_empty_body_is_an_empty_file(
    run: Run, raw_peer: Any, transport: str, folder: Path
) -> None:
    peer = await raw_peer(response())
    await run("--transport", transport, "-o", str(folder / "file"), peer.url())
    assert contents(folder) == {"file": b""}


async def test_the_file_has_the_decoded_body(run: Run, server: Any, folder: Path) -> None:
    await run("-o", str(folder / "file"), server.url("/gzip"))
    assert contents(folder) == {"file": b"compressed " * 100}


async def test_the_file_has_only_the_body_after_the_redirects(
    run: Run, raw_peer: Any, transport: str, folder: Path
) -> None:
    peer = await raw_peer(response())
    answers = iter([response(b"moved", "Location: /to", status="302 Found"), response(b"final")])

    async def script(conn: Connection) -> None:
        while True:
            await conn.read_request()
            await conn.send(next(answers))

    peer = await raw_peer(script)
    await run("--transport", transport, "-o", str(folder / "file"), peer.url())
    assert contents(folder) == {"file": b"final"}


async def test_a_new_file_has_the_usual_permissions(run: Run, server: Any, folder: Path) -> None:
    (folder / "usual").touch()
    await run("-o", str(folder / "file"), server.url("/bytes/1"))
    assert (folder / "file").stat().st_mode == (folder / "usual").stat().st_mode


async def test_an_existing_file_is_replaced_and_has_its_permissions(
    run: Run, server: Any, folder: Path
) -> None:
    (folder / "file").write_bytes(b"a longer body")
    (folder / "file").chmod(0o640)
    await run("-o", str(folder / "file"), server.url("/bytes/1"))
    assert contents(folder) == {"file": b"x"}
    assert stat.S_IMODE((folder / "file").stat().st_mode) == 0o640


@pytest.mark.parametrize("is_dangling", [False, True])
async def test_a_symbolic_link_stays(
    run: Run, server: Any, folder: Path, tmp_path: Path, is_dangling: bool
) -> None:
    target = tmp_path / "target"
    if not is_dangling:
        target.write_bytes(b"old")
    (folder / "link").symlink_to(target)
    await run("-o", str(folder / "link"), server.url("/bytes/1"))
    assert (folder / "link").is_symlink()
    assert target.read_bytes() == b"x"


async def test_a_name_of_the_maximum_length(run: Run, server: Any, folder: Path) -> None:
    name = "n" * os.pathconf(folder, "PC_NAME_MAX")
    await run("-o", str(folder / name), server.url("/bytes/1"))
    assert contents(folder) == {name: b"x"}


@pytest.mark.parametrize("is_existing", [False, True])
async def test_an_error_leaves_the_file_unchanged(
    run: Run, raw_peer: Any, transport: str, folder: Path, is_existing: bool
) -> None:
    if is_existing:
        (folder / "file").write_bytes(b"old")
    before = contents(folder)
    peer = await raw_peer(cut)
    ended = await run("--transport", transport, "-o", str(folder / "file"), peer.url())
    assert (ended.code, ended.out) == (1, b"")
    assert ended.err.startswith("SOCKET_ERROR: ")
    assert contents(folder) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_leaves_no_temporary_file(
    start: Any, raw_peer: Any, transport: str, folder: Path, number: signal.Signals
) -> None:
    peer = await raw_peer(stall)
    process = await start("--transport", transport, "-o", str(folder / "file"), peer.url())
    await peer.received()
    assert len(contents(folder)) == 1
    process.send_signal(number)
    assert await process.communicate() == (b"", b"")
    assert process.returncode == -number
    assert contents(folder) == {}


async def test_an_ignored_signal_stays_ignored(
    start_program: StartProgram, raw_peer: Any, folder: Path
) -> None:
    peer = await raw_peer(stall)
    process = await start_program(
        *("sh", "-c", 'trap "" HUP && exec "$@"', "sh", sys.executable, "-m", "turbo_tornado"),
        *("-o", str(folder / "file"), peer.url()),
    )
    await peer.received()
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/file", "No such file or directory"),
        ("", "Is a directory"),
        ("new/", "Is a directory"),
        (".", "Is a directory"),
        ("protected", "Permission denied"),
    ],
)
async def test_an_unwritable_file_is_reported_before_the_request(
    run: Run, raw_peer: Any, folder: Path, name: str, reason: str
) -> None:
    (folder / "protected").write_bytes(b"old")
    (folder / "protected").chmod(0o444)
    if name == "protected" and os.access(folder / "protected", os.W_OK):
        pytest.skip("this user can write every file")
    peer = await raw_peer(response(b"body"))
    path = os.path.join(folder, name)
    ended = await run("-o", path, peer.url())
    assert ended == (2, b"", f"python -m turbo_tornado: error: {path}: {reason}\n")
    assert peer.connections == 0
    assert contents(folder) == {"protected": b"old"}


async def test_an_invalid_value_leaves_no_temporary_file(run: Run, folder: Path) -> None:
    path = str(folder / "file")
    ended = await run("-o", path, "--timeout", "-1", "http://127.0.0.1/")
    assert ended.code == 2
    assert contents(folder) == {}


# The first body fits into the buffer of the file, and is written when the file is closed. After
# the second one, the buffer has data that cannot be written.
@pytest.mark.parametrize("chunks", [2, 10, 1000])
async def test_a_full_disk(
    start_program: StartProgram,
    raw_peer: Any,
    transport: str,
    folder: Path,
    chunks: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The limit would hold for the data of coverage, too.
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    chunk = b"bb8\r\n" + b"x" * 3000 + b"\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    peer = await raw_peer(head + chunk * chunks + b"0\r\n\r\n")
    path = str(folder / "file")
    process = await start_program(
        *("sh", "-c", 'ulimit -f 8 && exec "$@"', "sh", sys.executable, "-B"),
        *("-m", "turbo_tornado", "--transport", transport, "-o", path),
        peer.url(),
    )
    out, err = await process.communicate()
    assert (out, err.decode()) == (b"", f"python -m turbo_tornado: error: {path}: File too large\n")
    assert process.returncode == 3
    assert contents(folder) == {}


async def test_a_pipe_is_written_directly(run: Run, server: Any, folder: Path) -> None:
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    reading = asyncio.create_task(asyncio.to_thread(pipe.read_bytes))
    await run("-o", str(pipe), server.url("/bytes/300000"))
    assert await reading == b"x" * 300_000
    assert os.listdir(folder) == ["pipe"]


async def test_a_pipe_whose_reader_closes_it(
    run: Run, server: Any, transport: str, folder: Path
) -> None:
    def read_a_byte() -> None:
        with open(pipe, "rb", buffering=0) as file:
            file.read(1)

    pipe = folder / "pipe"
    os.mkfifo(pipe)
    reading = asyncio.create_task(asyncio.to_thread(read_a_byte))
    ended = await run("--transport", transport, "-o", str(pipe), server.url("/bytes/300000"))
    await reading
    assert ended == (3, b"", f"python -m turbo_tornado: error: {pipe}: Broken pipe\n")
    assert os.listdir(folder) == ["pipe"]


async def test_include_writes_the_head_to_standard_output(
    run: Run, raw_peer: Any, folder: Path
) -> None:
    peer = await raw_peer(response(b"body", "X-A: 1"))
    ended = await run("-i", "-o", str(folder / "file"), peer.url())
    assert ended.out == b"HTTP/1.1 200 OK\nX-A: 1\nContent-Length: 4\n\n"
    assert contents(folder) == {"file": b"body"}


async def test_an_error_writes_no_head(run: Run, raw_peer: Any, folder: Path) -> None:
    peer = await raw_peer(cut)
    ended = await run("-i", "-o", str(folder / "file"), peer.url())
    assert (ended.code, ended.out) == (1, b"")


async def test_standard_output_has_the_body_while_it_arrives(
    start: Any, raw_peer: Any, transport: str
) -> None:
    is_read = asyncio.Event()

    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none")
        await is_read.wait()
        await conn.send(b"two")

    peer = await raw_peer(script)
    process = await start("--transport", transport, "-i", "-o", "-", peer.url())
    head = b"HTTP/1.1 200 OK\nContent-Length: 6\n\n"
    assert await process.stdout.readexactly(len(head) + 3) == head + b"one"
    is_read.set()
    assert await process.communicate() == (b"two", b"")
    assert process.returncode == 0


async def test_include_of_a_streamed_response_without_a_body(run: Run, raw_peer: Any) -> None:
    peer = await raw_peer(response())
    ended = await run("-i", "-o", "-", peer.url())
    assert ended == (0, b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "")


async def test_nobody_reads_the_streamed_output(start: Any, raw_peer: Any, transport: str) -> None:
    peer = await raw_peer(stall)
    reader, writer = os.pipe()
    os.close(reader)
    process = await start("--transport", transport, "-o", "-", peer.url(), stdout=writer)
    os.close(writer)
    # The rest of the body never arrives.
    _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


@needs_dev_full
async def test_streamed_output_that_cannot_be_written(
    start: Any, raw_peer: Any, transport: str
) -> None:
    peer = await raw_peer(stall)
    with open("/dev/full", "wb") as full:
        process = await start("--transport", transport, "-o", "-", peer.url(), stdout=full)
    _, err = await process.communicate()
    expected = "python -m turbo_tornado: error: standard output: No space left on device\n"
    assert (process.returncode, err.decode()) == (3, expected)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [((), None), (("-o", "file"), 0), (("-o", "file", "--timeout", "5"), 5)],
)
def test_a_download_has_no_timeout_by_default(
    argv: tuple[str, ...], expected: float | None
) -> None:
    args = argument_parser().parse_args([*argv, "http://127.0.0.1/"])
    assert fetch_keywords(args, ExitStack())["request_timeout"] == expected
