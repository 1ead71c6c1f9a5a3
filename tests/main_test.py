from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import Connection, StartProgram, response
from turbo_tornado.__main__ import main
from turbo_tornado._version import __version__


class Ended(NamedTuple):
    code: int
    out: bytes
    err: str


Run = Callable[..., Awaitable[Ended]]


@pytest.fixture
def run(capsysbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Runs the command line in a thread, where it has a separate loop."""

    def call(argv: tuple[str, ...]) -> int:
        try:
            return main(argv)
        except SystemExit as end:
            return int(end.code or 0)

    async def run(*argv: str) -> Ended:
        code = await asyncio.to_thread(call, argv)
        captured = capsysbinary.readouterr()
        return Ended(code, captured.out, captured.err.decode())

    return run


@pytest.fixture
def start(start_program: StartProgram) -> StartProgram:
    """Starts the command line as a process."""
    return partial(start_program, sys.executable, "-m", "turbo_tornado", stdin=PIPE)


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


async def test_params_are_the_query_of_a_get(run: Run, server: Any) -> None:
    await run("--param", "a=1 2", "--param", "a=3", "--param", "b==", server.url("/echo"))
    assert server.requests[0]["uri"] == "/echo?a=1%202&a=3&b=%3D"


async def test_params_are_the_form_of_a_post(run: Run, server: Any) -> None:
    await run("--method", "post", "--param", "a=1", server.url("/echo"))
    seen = server.requests[0]
    assert (seen["method"], seen["uri"], seen["body"]) == ("POST", "/echo", b"a=1")


async def test_header_takes_the_place_of_the_one_of_that_name(run: Run, raw_peer: Any) -> None:
    peer = await raw_peer(response())
    await run(
        *("--header", "user-agent: mine", "--header", "X-A:1", "--header", "X-A: 2"),
        peer.url(),
    )
    fields = [(name.lower(), value) for name, value in peer.requests[0].fields]
    assert [value for name, value in fields if name == "user-agent"] == ["mine"]
    assert [value for name, value in fields if name == "x-a"] == ["1", "2"]


async def test_cookies(run: Run, raw_peer: Any) -> None:
    peer = await raw_peer(response())
    await run("--cookie", "a=1", "--cookie", "b=2", peer.url())
    assert peer.requests[0].field("Cookie") == "a=1; b=2"


async def test_auth(run: Run, raw_peer: Any) -> None:
    peer = await raw_peer(response())
    await run("--auth", "user:pass:word", peer.url())
    credentials = base64.b64encode(b"user:pass:word").decode()
    assert peer.requests[0].field("Authorization") == f"Basic {credentials}"


async def test_body_makes_it_a_post(run: Run, raw_peer: Any) -> None:
    peer = await raw_peer(response())
    await run("--body", "text", peer.url())
    request = peer.requests[0]
    assert (request.method, request.body) == ("POST", b"text")
    assert request.field("Content-Type") is None


async def test_method_with_body(run: Run, raw_peer: Any) -> None:
    peer = await raw_peer(response())
    await run("--method", "PUT", "--body", "", peer.url())
    assert (peer.requests[0].method, peer.requests[0].field("Content-Length")) == ("PUT", "0")


async def test_body_of_a_file(run: Run, raw_peer: Any, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"\x00\xff")
    peer = await raw_peer(response())
    await run("--body", f"@{tmp_path / 'body'}", peer.url())
    assert peer.requests[0].body == b"\x00\xff"


async def test_body_of_a_file_that_is_missing(run: Run, tmp_path: Path) -> None:
    ended = await run("--body", f"@{tmp_path / 'none'}", "http://127.0.0.1/")
    assert ended.code == 2
    assert "none: No such file or directory" in ended.err


async def test_body_of_standard_input(start: Any, raw_peer: Any) -> None:
    peer = await raw_peer(response(b"\xfe"))
    process = await start("--body", "@-", peer.url())
    assert await process.communicate(b"\x00\xff") == (b"\xfe", b"")
    assert process.returncode == 0
    assert peer.requests[0].body == b"\x00\xff"


async def test_json(run: Run, raw_peer: Any) -> None:
    peer = await raw_peer(response())
    await run("--json", '{"a": 1}', peer.url())
    request = peer.requests[0]
    assert (request.method, json.loads(request.body)) == ("POST", {"a": 1})
    assert request.field("Content-Type") == "application/json"


async def test_json_with_a_content_type_of_ones_own(run: Run, raw_peer: Any) -> None:
    peer = await raw_peer(response())
    await run("--json", "{}", "--header", "Content-Type: application/ld+json", peer.url())
    fields = [value for name, value in peer.requests[0].fields if name == "Content-Type"]
    assert fields == ["application/ld+json"]


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
        ("--timeout", "soon", "http://127.0.0.1/"),
        ("--body", "a", "--json", "{}", "http://127.0.0.1/"),
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


async def test_nobody_reads_the_output(start: Any, server: Any) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = await start(server.url("/bytes/100000"), stdout=writer)
    os.close(writer)
    _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


async def test_interrupt_is_quiet(start: Any, raw_peer: Any, transport: str) -> None:
    async def never_answer(conn: Connection) -> None:
        await conn.read_request()

    peer = await raw_peer(never_answer)
    process = await start("--transport", transport, peer.url())
    await peer.received()
    process.send_signal(signal.SIGINT)
    assert await process.communicate() == (b"", b"")
    assert process.returncode == -signal.SIGINT
