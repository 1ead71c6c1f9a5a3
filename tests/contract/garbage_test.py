"""Fetches do not create reference cycles."""

from __future__ import annotations

import asyncio
import gc
import io
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.support import MakeClient, StartProgram
from tests.support.certificates import Certificates
from turbo_tornado import errors

#: In a separate process, so that only the client's objects are counted.
SERVER = """
import asyncio, ssl, sys

ANSWERS = {
    "ok": b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok",
    "chunked": b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n"
    b"2\\r\\nok\\r\\n0\\r\\n\\r\\n",
    "missing": b"HTTP/1.1 404 Not Found\\r\\nContent-Length: 4\\r\\n\\r\\ngone",
    "failed": b"HTTP/1.1 500 Oh\\r\\nContent-Length: 4\\r\\n\\r\\noops",
    "moved": b"HTTP/1.1 302 Found\\r\\nContent-Length: 4\\r\\nLocation: /ok\\r\\n\\r\\nover",
    "moved-body": b"HTTP/1.1 307 X\\r\\nContent-Length: 0\\r\\nLocation: /ok\\r\\n\\r\\n",
    "loop": b"HTTP/1.1 302 Found\\r\\nContent-Length: 0\\r\\nLocation: /loop\\r\\n\\r\\n",
    "nowhere": b"HTTP/1.1 302 Found\\r\\nContent-Length: 0\\r\\nLocation: http://:1/\\r\\n\\r\\n",
    "garbage": b"garbage\\r\\n\\r\\n",
    "cut": b"HTTP/1.1 200 OK\\r\\nContent-Length: 10\\r\\n\\r\\nabc",
    "no-gzip": b"HTTP/1.1 200 OK\\r\\nContent-Encoding: gzip\\r\\nContent-Length: 2\\r\\n\\r\\nok",
    "large": b"HTTP/1.1 200 OK\\r\\nContent-Length: 100000\\r\\n\\r\\n" + bytes(100000),
}

async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            name = head.split()[1][1:].decode()
            fields = head.decode("latin-1").split("\\r\\n")
            for field in fields:
                if field.startswith("Content-Length: "):
                    await reader.readexactly(int(field[16:]))
            if "Transfer-Encoding: chunked" in fields:
                await reader.readuntil(b"0\\r\\n\\r\\n")
            if name == "silent":
                await reader.read()
            writer.write(ANSWERS.get(name, b""))
            if name in ("closed", "garbage", "cut"):
                break
    except (asyncio.IncompleteReadError, OSError):
        pass
    writer.close()

async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    for options in ({}, {"ssl": context}):
        server = await asyncio.start_server(serve, "127.0.0.1", 0, **options)
        print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""

WARM_UP, FETCHES = 20, 60


async def callback(chunk: bytes) -> None:
    await asyncio.sleep(0)


def failing_callback(chunk: bytes) -> None:
    raise KeyError


async def failing_later(chunk: bytes) -> None:
    await asyncio.sleep(0)
    raise KeyError


async def blocks() -> AsyncIterator[bytes]:
    yield b"one"
    yield b"two"


async def failing_blocks() -> AsyncIterator[bytes]:
    yield b"one"
    raise KeyError


KINDS: dict[str, tuple[str, dict[str, Any], errors | None]] = {
    "ok": ("http:/ok", {}, None),
    "over TLS": ("https:/ok", {}, None),
    "new connection": ("http:/ok", {"keep_alive": False}, None),
    "new connection over TLS": ("https:/ok", {"keep_alive": False}, None),
    "head": ("http:/head", {"method": "HEAD", "request_timeout": 0.005}, errors.REQUEST_TIMEOUT),
    "chunked": ("http:/chunked", {}, None),
    "missing": ("http:/missing", {}, None),
    "failed": ("http:/failed", {}, None),
    "redirect": ("http:/moved", {}, None),
    "redirect not followed": ("http:/moved", {"allow_redirects": False}, None),
    "too many redirects": ("http:/loop", {}, errors.REDIRECT_MAX),
    "redirect to an invalid URL": ("http:/nowhere", {}, errors.INVALID_URL),
    "not HTTP": ("http:/garbage", {}, errors.PARSE_ERROR_HEADERS),
    "cut": ("http:/cut", {}, errors.SOCKET_ERROR),
    "closed": ("http:/closed", {}, errors.NO_HEADERS),
    "bad gzip": ("http:/no-gzip", {}, errors.SOCKET_ERROR),
    "too large": ("http:/large", {}, errors.SOCKET_ERROR),
    "request timeout": ("http:/silent", {"request_timeout": 0.005}, errors.REQUEST_TIMEOUT),
    "bad URL": ("x y", {}, errors.INVALID_URL),
    "refused": ("refused", {}, errors.COULD_NOT_CONNECT),
    "untrusted": ("https:/ok", {"untrusted": True}, errors.SSL_ERROR),
    "cancelled": ("http:/silent", {"cancel": True}, None),
    "streamed": ("http:/chunked", {"streaming_callback": len}, None),
    "streamed with waiting": ("http:/large", {"streaming_callback": callback}, None),
    "streamed and cut": ("http:/cut", {"streaming_callback": callback}, errors.SOCKET_ERROR),
    "failing callback": ("http:/ok", {"streaming_callback": failing_callback}, None),
    "failing callback with waiting": ("http:/ok", {"streaming_callback": failing_later}, None),
    "file": ("http:/ok", {"body": lambda: io.BytesIO(b"file")}, None),
    "file and redirect": ("http:/moved-body", {"body": lambda: io.BytesIO(b"file")}, None),
    "form with a file": ("http:/ok", {"files": {"f": b"content"}}, None),
    "iterable": ("http:/ok", {"body": [b"one", b"two"]}, None),
    "async iterable": ("http:/ok", {"body": blocks}, None),
    "iterable and redirect": ("http:/moved-body", {"body": blocks}, errors.INVALID_BODY),
    "invalid iterable": ("http:/ok", {"body": lambda: iter([5])}, errors.INVALID_BODY),
    "failing iterable": ("http:/ok", {"body": failing_blocks}, None),
    "cancelled upload": ("http:/silent", {"body": blocks, "cancel": True}, None),
}


@pytest.fixture
async def ports(
    start_program: StartProgram, certificates: Certificates, closed_port: int
) -> AsyncIterator[dict[str, str]]:
    process = await start_program(sys.executable, "-c", SERVER, certificates.server_file("valid"))
    assert process.stdout is not None
    plain, tls = [int(await process.stdout.readline()) for _ in range(2)]
    yield {
        "http:": f"http://127.0.0.1:{plain}",
        "https:": f"https://127.0.0.1:{tls}",
        "refused": f"http://127.0.0.1:{closed_port}/",
    }


@pytest.fixture
def no_collector() -> Iterator[None]:
    yield
    gc.enable()


def fetcher(
    kind: str, make_client: MakeClient, certificates: Certificates, ports: dict[str, str]
) -> Callable[[], Awaitable[None]]:
    target, options, expected = KINDS[kind]
    options = dict(options)
    trusted = certificates.other_ca if options.pop("untrusted", False) else certificates.ca
    cancels = options.pop("cancel", False)
    if "body" in options or "files" in options:
        options["method"] = "PUT"
    body = options.pop("body", None)
    scheme, slash, path = target.partition("/")
    url = ports.get(scheme, scheme) + slash + path

    async def fetch() -> None:
        client = make_client({"ca_path": trusted}, None, 50_000)
        if body is not None:
            options["body"] = body() if callable(body) else body
        future = client.fetch(url, **options)
        if cancels:
            await asyncio.sleep(0)
            future.cancel()
            return
        # If the exception were raised here, its traceback would be in a cycle with this frame.
        await asyncio.wait([future])
        if isinstance(future.exception(), KeyError):
            return
        res = future.result()
        assert (res.error.code if res.error else None) is expected, res.error
        assert res.headers is None or res.headers.get("x") is None

    return fetch


@pytest.mark.parametrize("kind", KINDS)
async def test_fetch_leaves_no_reference_cycle(
    kind: str,
    make_client: MakeClient,
    certificates: Certificates,
    ports: dict[str, str],
    no_collector: None,
) -> None:
    fetch = fetcher(kind, make_client, certificates, ports)
    for _ in range(WARM_UP):
        await fetch()
    gc.collect()
    gc.disable()
    for _ in range(FETCHES):
        await fetch()
    await asyncio.sleep(0.01)
    found = gc.collect()
    # One cycle for each fetch would exceed this.
    assert found < FETCHES, f"{found} objects were garbage after {FETCHES} fetches"
