from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import Connection, StartProgram, response
from turbo_tornado._version import __version__

from .conftest import Run


async def test_writes_the_body(run: Run, server: Any, transport: str) -> None:
    ended = await run("--transport", transport, server.url("/bytes/5"))
    assert ended == (0, b"xxxxx", "")


async def test_writes_bytes_that_are_no_text(run: Run, raw_peer: Any) -> None:
    peer = await raw_peer(response(b"\xff\x00\r\n\xfe"))
    assert (await run(peer.url())).out == b"\xff\x00\r\n\xfe"


async def test_include_writes_status_and_headers(run: Run, raw_peer: Any, transport: str) -> None:
    peer = await raw_peer(response(b"body", "X-A: 1", "X-A: 2", status="404 Gone Fishing"))
    ended = await run("-i", "--transport", transport, peer.url())
    status, *fields, empty, body = ended.out.decode().split("\n")
    assert (status, empty, body) == ("HTTP/1.1 404 Gone Fishing", "", "body")
    assert [field for field in fields if field.startswith("X-A")] == ["X-A: 1", "X-A: 2"]
    assert ended.code == 0


async def test_redirects_are_followed_or_not(run: Run, server: Any) -> None:
    url = server.url("/redirect/1")
    assert json.loads((await run(url)).out)["uri"] == "/echo"
    ended = await run("-i", "--no-redirects", url)
    assert ended.code == 0
    assert ended.out.startswith(b"HTTP/1.1 302 Found\n")


async def test_certificates(run: Run, tls_server: Any, certificates: Any, transport: str) -> None:
    server = await tls_server()
    url = server.url("/echo")
    unknown = await run("--transport", transport, url)
    assert unknown.code == 1
    assert unknown.err.startswith("SSL_ERROR: ")
    assert (await run("--transport", transport, "--insecure", url)).code == 0
    assert (await run("--transport", transport, "--ca", str(certificates.ca), url)).code == 0


async def test_a_status_of_500_is_a_response(run: Run, server: Any) -> None:
    assert await run(server.url("/status/500")) == (0, b"500", "")


async def test_an_error_is_named_on_stderr(run: Run, closed_port: int, transport: str) -> None:
    ended = await run("--transport", transport, f"http://127.0.0.1:{closed_port}/")
    assert (ended.code, ended.out) == (1, b"")
    assert ended.err.startswith("COULD_NOT_CONNECT: ")
    assert ended.err.count("\n") == 1


async def test_timeout(run: Run, server: Any) -> None:
    ended = await run("--timeout", "0.05", server.url("/slow/30"))
    assert ended.code == 1
    assert ended.err.startswith("REQUEST_TIMEOUT: ")


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("--param", "novalue", "http://127.0.0.1/"),
        ("--cookie", "novalue", "http://127.0.0.1/"),
        ("--header", "novalue", "http://127.0.0.1/"),
        ("--form", "novalue", "http://127.0.0.1/"),
        ("--timeout", "soon", "http://127.0.0.1/"),
        ("--body", "a", "--json", "{}", "http://127.0.0.1/"),
        ("--body", "a", "--form", "b=c", "http://127.0.0.1/"),
        ("--transport", "pigeon", "http://127.0.0.1/"),
    ],
)
async def test_a_command_line_that_is_wrong(run: Run, argv: tuple[str, ...]) -> None:
    ended = await run(*argv)
    assert (ended.code, ended.out) == (2, b"")
    assert ended.err.startswith("usage: ")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--method", "BAD METHOD"), "method"),
        (("--timeout", "-1"), "request_timeout"),
        (("--header", "X-A: a\nb"), "X-A"),
        (("--header", "bad name: a"), "bad name"),
        (("--cookie", "a=b\r"), "cookie"),
    ],
)
async def test_a_value_that_the_client_refuses_is_one_line(
    run: Run, raw_peer: Any, argv: tuple[str, ...], said: str
) -> None:
    peer = await raw_peer(response())
    ended = await run(*argv, peer.url())
    assert (ended.code, ended.out) == (2, b"")
    assert ended.err.startswith("python -m turbo_tornado: error: ")
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert not peer.requests


@pytest.mark.skipif(importlib.util.find_spec("pycurl") is not None, reason="pycurl is installed")
async def test_curl_that_is_missing(run: Run) -> None:
    ended = await run("--transport", "curl", "http://127.0.0.1/")
    assert ended.code == 2
    assert "turbo_tornado[curl]" in ended.err


async def test_help_documents_the_exit_codes(run: Run) -> None:
    ended = await run("--help")
    assert ended.code == 0
    assert b"exit codes:" in ended.out


async def test_version(run: Run) -> None:
    assert (await run("--version")).out.decode() == f"turbo_tornado {__version__}\n"


# A short body fits into the buffer of standard output.
@pytest.mark.parametrize("size", [5, 100_000])
async def test_nobody_reads_the_output(start: Any, server: Any, size: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = await start(server.url(f"/bytes/{size}"), stdout=writer)
    os.close(writer)
    _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("size", [5, 100_000])
async def test_output_that_cannot_be_written(start: Any, server: Any, size: int) -> None:
    with open("/dev/full", "wb") as full:
        process = await start(server.url(f"/bytes/{size}"), stdout=full)
    _, err = await process.communicate()
    expected = "python -m turbo_tornado: error: standard output: No space left on device\n"
    assert (process.returncode, err.decode()) == (3, expected)


async def test_unbuffered_output_that_is_written_in_part(
    start_program: StartProgram, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The limit would hold for the data of coverage, too.
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    with open(tmp_path / "file", "wb") as file:
        process = await start_program(
            *("sh", "-c", 'ulimit -f 8 && exec "$@"', "sh", sys.executable, "-u", "-B"),
            *("-m", "turbo_tornado", server.url("/bytes/100000")),
            stdout=file,
        )
    _, err = await process.communicate()
    expected = "python -m turbo_tornado: error: standard output: File too large\n"
    assert (process.returncode, err.decode()) == (3, expected)


async def test_interrupt_is_quiet(start: Any, raw_peer: Any, transport: str) -> None:
    async def never_answer(conn: Connection) -> None:
        await conn.read_request()

    peer = await raw_peer(never_answer)
    process = await start("--transport", transport, peer.url())
    await peer.received()
    process.send_signal(signal.SIGINT)
    assert await process.communicate() == (b"", b"")
    assert process.returncode == -signal.SIGINT
