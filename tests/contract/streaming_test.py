"""The keyword ``streaming_callback``."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import gzip
import io
import itertools
import os
import socket
import sys
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import (
    Connection,
    Fetch,
    MakeClient,
    MakePeer,
    RawPeer,
    Refused,
    RunPython,
    StartProgram,
    response,
)
from tests.support.phases import in_phase, wait_for_phase
from tests.support.scripts import redirecting
from tests.support.streaming import WaitingCallback, collector, steady
from turbo_tornado import errors

BODY = os.urandom(300_000)


def chunked(*chunks: bytes) -> bytes:
    lines = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + lines + b"0\r\n\r\n"


RESPONSES = {
    "length": response(BODY),
    "chunked": chunked(BODY[:1], BODY[1:200_000], BODY[200_000:]),
    "close": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY,
    "gzip": response(gzip.compress(BODY), "Content-Encoding: gzip"),
    "not found": response(BODY, status="404 Not Found"),
}


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("data", RESPONSES.values(), ids=RESPONSES)
async def test_chunks_of_the_body(
    fetch: Fetch, raw_peer: MakePeer, data: bytes, is_async: bool
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(data)
        if b"Connection: close" in data[:100]:
            conn.close()

    chunks: list[bytes] = []
    peer = await raw_peer(script)
    res = await fetch(peer.url(), streaming_callback=collector(chunks, is_async))
    assert res.error is None
    assert b"".join(chunks) == BODY
    assert {type(chunk) for chunk in chunks} == {bytes}
    assert all(chunks)
    assert res.body == b""
    assert res.code == (404 if b"404" in data[:20] else 200)


@pytest.mark.parametrize("data", [response(), b"HTTP/1.1 204 No Content\r\n\r\n"])
async def test_callback_is_not_called_without_a_body(
    fetch: Fetch, raw_peer: MakePeer, data: bytes
) -> None:
    chunks: list[bytes] = []
    peer = await raw_peer(data)
    res = await fetch(peer.url(), streaming_callback=chunks.append)
    assert (res.error, res.body, chunks) == (None, b"", [])


async def test_chunks_arrive_before_the_end(fetch: Fetch, raw_peer: MakePeer) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
        await arrived.wait()
        await conn.send(b"later")

    def callback(chunk: bytes) -> None:
        chunks.append(chunk)
        arrived.set()

    arrived, chunks = asyncio.Event(), []
    peer = await raw_peer(script)
    res = await fetch(peer.url(), streaming_callback=callback)
    assert (res.error, chunks) == (None, [b"first", b"later"])


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_only_the_final_response(fetch: Fetch, raw_peer: MakePeer, code: int) -> None:
    chunks: list[bytes] = []
    peer = await raw_peer(redirecting(code, b"moved"))
    res = await fetch(peer.url(), streaming_callback=chunks.append)
    assert (res.code, chunks) == (200, [b"final"])
    chunks.clear()
    res = await fetch(peer.url(), streaming_callback=chunks.append, allow_redirects=False)
    assert (res.code, chunks) == (code, [b"moved"])


async def test_streamed_body_is_not_limited_by_max_buffer_size(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    client = make_client(max_buffer_size=1000)
    for data in (RESPONSES["length"], RESPONSES["chunked"], RESPONSES["gzip"]):
        chunks: list[bytes] = []
        peer = await raw_peer(data)
        res = await client.fetch(peer.url(), streaming_callback=chunks.append)
        assert (res.error, b"".join(chunks)) == (None, BODY)
        # The limit applies to a body in memory.
        res = await client.fetch(peer.url())
        assert res.error is not None and res.error.code is errors.SOCKET_ERROR


async def test_small_pieces_of_a_compression_bomb(fetch: Fetch, raw_peer: MakePeer) -> None:
    sizes: list[int] = []
    peer = await raw_peer(response(gzip.compress(bytes(20_000_000)), "Content-Encoding: gzip"))
    res = await fetch(peer.url(), streaming_callback=lambda chunk: sizes.append(len(chunk)))
    assert (res.error, sum(sizes)) == (None, 20_000_000)
    assert max(sizes) <= 65536


class Callable_:
    def __init__(self) -> None:
        self.file = io.BytesIO()

    async def __call__(self, chunk: bytes) -> int:
        await asyncio.sleep(0)
        return self.file.write(chunk)


async def test_kinds_of_callbacks(fetch: Fetch, raw_peer: MakePeer) -> None:
    async def with_prefix(prefix: str, chunk: bytes) -> None:
        file.write(chunk)

    def future(chunk: bytes) -> asyncio.Future[None]:
        done = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(done.set_result, file.write(chunk))
        return done

    peer = await raw_peer(response(BODY))
    file = io.BytesIO()
    instance = Callable_()
    for callback, target in (
        # The result of the function is a number.
        (file.write, file),
        (functools.partial(with_prefix, "prefix"), file),
        (lambda chunk: with_prefix("prefix", chunk), file),
        (future, file),
        (instance, instance.file),
    ):
        file.seek(0)
        file.truncate()
        res = await fetch(peer.url(), streaming_callback=callback)
        assert (res.error, target.getvalue() == BODY) == (None, True)


async def test_invalid_callback(refused: Refused) -> None:
    assert "callable" in str(await refused(TypeError, streaming_callback=b"file"))


async def test_slow_callback_stops_the_peer(fetch: Fetch, raw_peer: MakePeer) -> None:
    sent = 0
    size = 50_000_000

    async def script(conn: Connection) -> None:
        nonlocal sent
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 100_000):
            await conn.send(bytes(100_000))
            sent += 100_000

    async def callback(chunk: bytes) -> None:
        nonlocal received
        received += len(chunk)
        if not is_waiting.is_set():
            is_waiting.set()
            await go_on.wait()

    received = 0
    is_waiting, go_on = asyncio.Event(), asyncio.Event()
    peer = await raw_peer(script)
    future = asyncio.ensure_future(fetch(peer.url(), streaming_callback=callback))
    await is_waiting.wait()
    # The peer has time to send everything.
    await steady(lambda: sent)
    assert sent < size / 2
    assert received < 300_000
    go_on.set()
    assert (await future).error is None
    assert received == size


@pytest.mark.kept
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_connection_is_reused(fetch: Fetch, raw_peer: MakePeer, is_async: bool) -> None:
    async def async_callback(chunk: bytes) -> None:
        await asyncio.sleep(0)

    peer = await raw_peer(RESPONSES["chunked"])
    callback = async_callback if is_async else bytes
    for _ in range(3):
        assert (await fetch(peer.url(), streaming_callback=callback)).error is None
        assert (await fetch(peer.url())).body == BODY
    assert peer.connections == 1


class Mistake(Exception):
    pass


def failing(kind: str, error: BaseException) -> Callable[[bytes], Any]:
    def plain(chunk: bytes) -> None:
        raise error

    async def at_once(chunk: bytes) -> None:
        raise error

    async def later(chunk: bytes) -> None:
        await asyncio.sleep(0)
        raise error

    return {"plain": plain, "at once": at_once, "later": later}[kind]


@pytest.mark.parametrize("kind", ["plain", "at once", "later"])
@pytest.mark.parametrize(
    "error",
    # Also those that a connection could have failed with.
    [
        *(Mistake(), OSError(28, "No space left on device"), ConnectionResetError()),
        *(TimeoutError(), GeneratorExit()),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_exception_passes_through(
    make_client: MakeClient, raw_peer: MakePeer, kind: str, error: BaseException
) -> None:
    closed = asyncio.Event()

    async def script(conn: Connection) -> None:
        request = await conn.read_request()
        if request.target == "/after":
            await conn.send(response(b"ok"))
            return
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
        await conn.wait_closed_by_client()
        closed.set()

    client = make_client()
    peer = await raw_peer(script)
    with pytest.raises(type(error)) as raised:
        await client.fetch(peer.url(), streaming_callback=failing(kind, error))
    assert raised.value is error
    await closed.wait()
    assert (await client.fetch(peer.url("/after"))).body == b"ok"


@pytest.mark.parametrize("kind", ["plain", "at once", "later"])
async def test_stop_iteration_of_the_callback(
    make_client: MakeClient, raw_peer: MakePeer, kind: str
) -> None:
    client = make_client()
    peer = await raw_peer(response(b"body"))
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        await client.fetch(peer.url(), streaming_callback=failing(kind, StopIteration()))
    assert (await client.fetch(peer.url())).body == b"body"


@pytest.mark.parametrize("kind", ["plain", "later"])
async def test_exit_in_the_callback(
    raw_peer: MakePeer, start_program: StartProgram, transport: str, kind: str
) -> None:
    program = """
import asyncio, sys
from turbo_tornado import HTTPClient

def plain(chunk):
    sys.exit(42)

async def later(chunk):
    await asyncio.sleep(0)
    sys.exit(42)

async def main(url, transport, kind):
    await HTTPClient(transport=transport).fetch(url, streaming_callback=globals()[kind])

asyncio.run(main(*sys.argv[1:]))
"""
    peer = await raw_peer(response(b"body"))
    arguments = ("-W", "error", "-c", program, peer.url(), transport, kind)
    process = await start_program(sys.executable, *arguments)
    _, err = await process.communicate()
    assert (process.returncode, err) == (42, b"")


@pytest.mark.parametrize("kind", ["plain", "at once", "later"])
async def test_cancelled_error_of_the_callback(
    make_client: MakeClient, raw_peer: MakePeer, kind: str
) -> None:
    client = make_client()
    peer = await raw_peer(response(b"body"))
    future = client.fetch(peer.url(), streaming_callback=failing(kind, asyncio.CancelledError()))
    await asyncio.wait([future])
    assert future.cancelled()
    assert (await client.fetch(peer.url())).body == b"body"


@pytest.mark.parametrize("kind", ["callback", "body"])
async def test_end_of_the_program(
    raw_peer: MakePeer, run_python: RunPython, transport: str, kind: str
) -> None:
    async def script(conn: Connection) -> None:
        await conn.reader.readuntil(b"\r\n\r\n")
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")

    program = """
import asyncio, sys
from turbo_tornado import HTTPClient

url, transport, kind = sys.argv[1:]

async def wait(chunk=None):
    waiting.set()
    await asyncio.Event().wait()

async def body():
    yield b"block"
    await wait()

async def main():
    global future, waiting
    waiting = asyncio.Event()
    if kind == "callback":
        options = {"streaming_callback": wait}
    else:
        options = {"body": body(), "method": "POST"}
    future = HTTPClient(transport=transport).fetch(url, request_timeout=0, **options)
    await waiting.wait()

# It cancels the tasks of the request, and reports those that fail.
asyncio.run(main())
assert future.cancelled()
"""
    peer = await raw_peer(script)
    await run_python(program, peer.url(), transport, kind)


@pytest.mark.parametrize("is_complete", [False, True], ids=["within the body", "at its end"])
@pytest.mark.parametrize("by", ["cancel", "timeout"])
@in_phase
async def test_end_while_the_callback_waits(
    make_client: MakeClient, raw_peer: MakePeer, is_complete: bool, by: str
) -> None:
    async def script(conn: Connection) -> None:
        while True:
            request = await conn.read_request()
            if request.target == "/after" or is_complete:
                await conn.send(response(b"body"))
            else:
                await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")

    callback = WaitingCallback()
    client = make_client()
    peer = await raw_peer(script)
    timeout = 1.0 if by == "timeout" else 0
    future = client.fetch(peer.url(), streaming_callback=callback, request_timeout=timeout)
    await wait_for_phase(callback.begun, future)
    if by == "cancel":
        future.cancel()
    else:
        error = (await future).error
        assert error is not None and error.code is errors.REQUEST_TIMEOUT
    await callback.ended.wait()
    assert (await client.fetch(peer.url("/after"))).body == b"body"


@pytest.mark.parametrize("data", RESPONSES.values(), ids=RESPONSES)
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_cancel_by_the_callback(
    make_client: MakeClient, raw_peer: MakePeer, data: bytes, is_async: bool
) -> None:
    async def async_callback(chunk: bytes) -> None:
        callback(chunk)

    def callback(chunk: bytes) -> None:
        calls.append(chunk)
        future.cancel()

    calls: list[bytes] = []
    client = make_client()
    peer = await raw_peer(data)
    future = client.fetch(peer.url(), streaming_callback=async_callback if is_async else callback)
    await asyncio.wait([future])
    assert future.cancelled()
    peer = await raw_peer(response(b"ok"))
    assert (await client.fetch(peer.url())).body == b"ok"
    assert len(calls) == 1


@pytest.mark.parametrize("is_later", [False, True], ids=["at once", "later"])
async def test_cancel_before_the_callback_begins(
    make_client: MakeClient, raw_peer: MakePeer, is_later: bool
) -> None:
    async def coroutine() -> None:
        await asyncio.Event().wait()

    def callback(chunk: bytes) -> Any:
        if is_later:
            asyncio.get_running_loop().call_soon(future.cancel)
        else:
            future.cancel()
        return coroutine() if chunk == b"body" else results[0]

    client = make_client()
    results: list[Any] = [asyncio.get_running_loop().create_future()]
    for body in (b"body", b"other"):
        peer = await raw_peer(response(body))
        future = client.fetch(peer.url(), streaming_callback=callback)
        await asyncio.wait([future])
        assert future.cancelled()
        assert (await client.fetch(peer.url())).body == body
    assert results[0].cancelled()


@pytest.mark.parametrize("data", RESPONSES.values(), ids=RESPONSES)
async def test_callback_that_ignores_the_cancellation(
    make_client: MakeClient, raw_peer: MakePeer, data: bytes
) -> None:
    async def callback(chunk: bytes) -> None:
        calls.append(chunk)
        is_waiting.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        ended.set()

    calls: list[bytes] = []
    is_waiting, ended = asyncio.Event(), asyncio.Event()
    client = make_client()
    peer = await raw_peer(data)
    future = client.fetch(peer.url(), streaming_callback=callback)
    await is_waiting.wait()
    future.cancel()
    await ended.wait()
    peer = await raw_peer(response(b"ok"))
    assert (await client.fetch(peer.url())).body == b"ok"
    assert len(calls) == 1


BROKEN = {
    "cut": (b"Content-Length: 10\r\n\r\nfirst", errors.SOCKET_ERROR),
    "bad chunk": (b"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\nx\r\n", errors.SOCKET_ERROR),
    "bad gzip": (
        b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"first")[:-8] + bytes(8),
        errors.SOCKET_ERROR,
    ),
}


@pytest.mark.parametrize(("data", "code"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_broken_body(
    fetch: Fetch, raw_peer: MakePeer, data: bytes, code: errors, is_async: bool
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\n" + data)
        conn.close()

    chunks: list[bytes] = []
    peer = await raw_peer(script)
    res = await fetch(peer.url(), streaming_callback=collector(chunks, is_async))
    assert res.error is not None and res.error.code is code
    assert b"first".startswith(b"".join(chunks))
    if b"Content-Length" in data:
        assert b"".join(chunks) == b"first"


async def test_context_variables(fetch: Fetch, raw_peer: MakePeer) -> None:
    async def async_callback(chunk: bytes) -> None:
        await asyncio.sleep(0)
        seen.append(variable.get())

    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="default")
    seen: list[str] = []
    peer = await raw_peer(response(b"body"))
    for callback in (async_callback, lambda chunk: seen.append(variable.get())):
        variable.set("of the caller")
        future = asyncio.ensure_future(fetch(peer.url(), streaming_callback=callback))
        variable.set("later")
        await future
    assert seen == ["of the caller"] * 2


async def test_client_is_busy_within_the_callback(make_client: MakeClient, peer: RawPeer) -> None:
    async def callback(chunk: bytes) -> None:
        busy.append((await client.fetch(peer.url())).error.code)
        other.append((await make_client().fetch(peer.url())).body)

    busy: list[errors] = []
    other: list[bytes] = []
    client = make_client()
    assert (await client.fetch(peer.url(), streaming_callback=callback)).error is None
    assert (busy, other) == ([errors.BUSY], [b"ok"])


async def test_many_streams_at_once(make_client: MakeClient, raw_peer: MakePeer) -> None:
    async def fetch_checksum() -> int:
        checksum = 0

        async def callback(chunk: bytes) -> None:
            nonlocal checksum
            await asyncio.sleep(0)
            checksum = zlib.crc32(chunk, checksum)

        assert (await make_client().fetch(peer.url(), streaming_callback=callback)).error is None
        return checksum

    peer = await raw_peer(RESPONSES["chunked"])
    checksums = await asyncio.gather(*(fetch_checksum() for _ in range(20)))
    assert {*checksums} == {zlib.crc32(BODY)}


async def test_fast_peer_does_not_stop_the_loop(make_client: MakeClient) -> None:
    def callback(chunk: bytes) -> None:
        calls.append(len(calls))
        # The next chunk is there before this one has been handled.
        with contextlib.suppress(BlockingIOError):
            conn.send(bytes(65536))
        if len(calls) == 5000:
            future.cancel()

    def turn() -> None:
        turns.append(len(calls))
        if not future.done():
            loop.call_soon(turn)

    loop = asyncio.get_running_loop()
    calls: list[int] = []
    turns: list[int] = [0]
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        future = make_client().fetch(url, streaming_callback=callback)
        conn, _ = await loop.sock_accept(server)
        with conn:
            await loop.sock_recv(conn, 65536)
            await loop.sock_sendall(conn, b"HTTP/1.1 200 OK\r\n\r\n" + bytes(300_000))
            turn()
            await asyncio.wait([future])
    assert len(calls) == 5000
    assert max(after - before for before, after in itertools.pairwise(turns)) < 200
