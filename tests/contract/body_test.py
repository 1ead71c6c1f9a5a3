"""The keyword ``body`` as an open file or an iterable, and files on disk."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tests.support import (
    Connection,
    Fetch,
    MakeClient,
    MakePeer,
    RawPeer,
    Refused,
    Request,
    Sent,
    response,
)
from tests.support.phases import in_phase, wait_for_phase
from tests.support.scripts import answers_only_get, closes_at_second_request, redirecting
from tests.support.streaming import steady
from turbo_tornado import errors
from turbo_tornado.failures import BrokenConnection

DATA = os.urandom(300_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def file(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as file:
        yield file


async def blocks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
        await asyncio.sleep(0)


# Files


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET"])
async def test_file(sent: Sent, file: BinaryIO, method: str) -> None:
    request = await sent(method=method, body=file)
    assert request.body == DATA
    assert request.field("Content-Length") == str(len(DATA))
    assert request.field("Transfer-Encoding") is None
    assert request.field("Content-Type") is None


def unbuffered(path: Path) -> Any:
    return path.open("rb", buffering=0)


def spooled(path: Path) -> Any:
    file = tempfile.SpooledTemporaryFile()  # noqa: SIM115
    file.write(path.read_bytes())
    file.seek(0)
    return file


def compressed(path: Path) -> Any:
    packed = path.with_suffix(".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    return gzip.open(packed)


@pytest.mark.parametrize("opened", [unbuffered, spooled, compressed])
async def test_kinds_of_files(sent: Sent, path: Path, opened: Callable[[Path], Any]) -> None:
    with opened(path) as file:
        assert (await sent(method="POST", body=file)).body == DATA


async def test_file_from_its_position(sent: Sent, file: BinaryIO) -> None:
    file.seek(100_000)
    request = await sent(method="POST", body=file)
    assert request.body == DATA[100_000:]
    file.seek(len(DATA))
    request = await sent(method="POST", body=file)
    assert (request.body, request.field("Content-Length")) == (b"", "0")


async def test_file_is_sent_like_bytes(sent: Sent, file: BinaryIO) -> None:
    options: dict[str, Any] = {"method": "POST", "headers": {"Content-Type": "a/b", "X-A": "1"}}
    from_file, from_memory = await sent(body=file, **options), await sent(body=DATA, **options)
    assert from_file.raw == from_memory.raw


async def test_one_file_for_two_fetches_at_once(
    make_client: MakeClient, peer: RawPeer, file: BinaryIO
) -> None:
    fetches = [make_client().fetch(peer.url(), method="POST", body=file) for _ in range(4)]
    assert [res.error for res in await asyncio.gather(*fetches)] == [None] * 4
    assert {request.body for request in peer.requests} == {DATA}


async def test_position_of_a_file_does_not_change(
    fetch: Fetch, peer: RawPeer, file: BinaryIO
) -> None:
    file.seek(1000)
    options: list[dict[str, Any]] = [{"body": file}, {"files": {"f": file}}]
    for option in options * 2:
        assert (await fetch(peer.url(), method="POST", **option)).error is None
        assert DATA[1000:] in peer.requests[-1].body
    assert file.tell() == 1000


class Growing(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        self.seek(0, os.SEEK_END)
        self.write(b"more")
        self.seek(0)
        return super().read(size)


async def test_growing_file_is_sent_up_to_its_size(sent: Sent) -> None:
    assert (await sent(method="POST", body=Growing(b"data"))).body == b"data"


# Iterables


def generator() -> Iterator[bytes]:
    yield b"one"
    yield b""
    yield bytearray(b"two")  # type: ignore[misc]
    yield memoryview(DATA)  # type: ignore[misc]


class Reiterable:
    def __iter__(self) -> Iterator[bytes]:
        return generator()


class AsyncReiterable:
    def __aiter__(self) -> AsyncIterator[bytes]:
        return blocks(*generator())


ITERABLES: dict[str, Callable[[], Any]] = {
    "generator": generator,
    "list": lambda: list(generator()),
    "tuple": lambda: tuple(generator()),
    "iterator": lambda: map(bytes, generator()),
    "iterable": Reiterable,
    "async generator": lambda: blocks(*generator()),
    "async iterable": AsyncReiterable,
}


@pytest.mark.parametrize("iterable", ITERABLES.values(), ids=ITERABLES)
async def test_iterable(fetch: Fetch, peer: RawPeer, iterable: Callable[[], Any]) -> None:
    res = await fetch(peer.url(), method="POST", body=iterable())
    assert res.error is None
    request = peer.requests[-1]
    assert request.body == b"onetwo" + DATA
    assert request.field("Transfer-Encoding") == "chunked"
    assert request.field("Content-Length") is None
    assert res.request.stringify_as_request().encode("latin-1") == request.raw


@pytest.mark.parametrize("iterable", [[], [b""], ()])
async def test_empty_iterable(sent: Sent, iterable: Any) -> None:
    request = await sent(method="POST", body=iterable)
    assert (request.body, request.field("Transfer-Encoding")) == (b"", "chunked")


async def test_chunks_on_the_wire(fetch: Fetch, raw_peer: MakePeer) -> None:
    async def script(conn: Connection) -> None:
        await conn.reader.readuntil(b"\r\n\r\n")
        received.append(await conn.reader.readuntil(b"0\r\n\r\n"))
        await conn.send(response(b"ok"))

    received: list[bytes] = []
    peer = await raw_peer(script)
    assert (await fetch(peer.url(), method="POST", body=[b"one", b"", b"x" * 17])).error is None
    assert received == [b"3\r\none\r\n11\r\n" + b"x" * 17 + b"\r\n0\r\n\r\n"]


async def test_blocks_are_sent_immediately(fetch: Fetch, raw_peer: MakePeer) -> None:
    async def script(conn: Connection) -> None:
        await conn.reader.readuntil(b"first\r\n")
        arrived.set()
        await conn.reader.readuntil(b"0\r\n\r\n")
        await conn.send(response(b"ok"))

    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        await arrived.wait()
        yield b"second"

    arrived = asyncio.Event()
    peer = await raw_peer(script)
    assert (await fetch(peer.url(), method="POST", body=body())).body == b"ok"


async def test_slow_peer_stops_the_iterable(fetch: Fetch, raw_peer: MakePeer) -> None:
    async def script(conn: Connection) -> None:
        await conn.reader.readuntil(b"\r\n\r\n")
        await go_on.wait()
        end = b""
        while end != b"\r\n0\r\n\r\n":
            end = (end + await conn.reader.read(65536))[-7:]
        await conn.send(response(b"ok"))

    def body() -> Iterator[bytes]:
        nonlocal produced
        for _ in range(500):
            produced += 100_000
            yield bytes(100_000)

    produced = 0
    go_on = asyncio.Event()
    peer = await raw_peer(script)
    future = asyncio.ensure_future(fetch(peer.url(), method="POST", body=body()))
    await steady(lambda: produced)
    assert produced < 25_000_000
    go_on.set()
    assert (await future).error is None
    assert produced == 50_000_000


async def test_headers_do_not_change_the_framing(refused: Refused, sent: Sent) -> None:
    request = await sent(method="POST", body=[b"data"], headers={"Content-Length": "99"})
    assert request.field("Content-Length") is None
    assert request.body == b"data"
    for value in ("gzip", "chunked"):
        await refused(ValueError, method="POST", body=[b"a"], headers={"Transfer-Encoding": value})


async def test_on_headers_sees_the_framing(sent: Sent, file: BinaryIO) -> None:
    def on_headers(headers: Any) -> None:
        seen.append((headers.get("Content-Length"), headers.get("Transfer-Encoding")))
        headers.remove("Content-Length")
        headers.set("X-Field", "1")

    seen: list[Any] = []
    assert (await sent(method="POST", body=file, on_headers=on_headers)).body == DATA
    request = await sent(method="POST", body=[b"data"], on_headers=on_headers)
    assert request.body == b"data"
    assert request.field("X-Field") == "1"
    assert seen == [(str(len(DATA)), None), (None, "chunked")]


@pytest.mark.parametrize(
    "change",
    [
        lambda headers: headers.remove("Transfer-Encoding"),
        lambda headers: headers.set("Transfer-Encoding", "gzip"),
    ],
)
async def test_on_headers_cannot_change_transfer_encoding(refused: Refused, change: Any) -> None:
    error = await refused(ValueError, method="POST", body=[b"a"], on_headers=change)
    assert "Transfer-Encoding" in str(error)


async def test_http_1_0(refused: Refused, sent: Sent, file: BinaryIO) -> None:
    options: dict[str, Any] = {"method": "POST", "http_version": "HTTP/1.0"}
    assert "HTTP/1.0" in str(await refused(ValueError, body=[b"a"], **options))

    def on_headers(headers: Any) -> None:
        headers.set_version("HTTP/1.0")

    await refused(ValueError, method="POST", body=[b"a"], on_headers=on_headers)
    assert (await sent(body=file, **options)).body == DATA


# Invalid bodies


def text_file(path: Path) -> Any:
    return path.open("r", encoding="latin-1")


def pipe(path: Path) -> Any:
    reading, writing = os.pipe()
    os.close(writing)
    return os.fdopen(reading, "rb")


def closed_file(path: Path) -> Any:
    with path.open("rb") as file:
        return contextlib.nullcontext(file)


def text_in_memory(path: Path) -> Any:
    return io.StringIO("text")


def write_only(path: Path) -> Any:
    return path.open("wb")


def endless(path: Path) -> Any:
    return open("/dev/zero", "rb")


INVALID_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "text": (text_file, "binary mode"),
    "StringIO": (text_in_memory, "binary mode"),
    "pipe": (pipe, "seekable"),
    "closed": (closed_file, "closed file"),
    "write only": (write_only, "not open for reading"),
    "without a size": (endless, "has no size"),
}


@pytest.mark.parametrize(("opened", "words"), INVALID_FILES.values(), ids=INVALID_FILES)
async def test_invalid_file(
    make_client: MakeClient, peer: RawPeer, path: Path, opened: Callable[[Path], Any], words: str
) -> None:
    client = make_client()
    with opened(path) as file:
        error = (await client.fetch(peer.url(), method="POST", body=file)).error
    assert error is not None and error.code is errors.INVALID_BODY
    assert words in error.message
    assert peer.connections == 0
    assert (await client.fetch(peer.url())).body == b"ok"


async def test_released_memoryview(make_client: MakeClient, peer: RawPeer) -> None:
    body = memoryview(b"data")
    body.release()
    error = (await make_client().fetch(peer.url(), method="POST", body=body)).error
    assert error is not None and error.code is errors.INVALID_BODY
    assert peer.connections == 0


async def test_exhausted_generator(make_client: MakeClient, peer: RawPeer) -> None:
    async_body, body = blocks(b"a"), generator()
    for iterable in (async_body, body):
        client = make_client()
        assert (await client.fetch(peer.url(), method="POST", body=iterable)).error is None
        error = (await client.fetch(peer.url(), method="POST", body=iterable)).error
        assert error is not None and error.code is errors.INVALID_BODY
        assert "exhausted" in error.message


class Shrinking(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.truncate(len(data))
        return data


class Failing(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise OSError(5, "Input/output error")


class WrongType(io.BytesIO):
    def read(self, size: int | None = -1) -> Any:
        return "text"


def yields_text() -> Iterator[Any]:
    yield b"first"
    yield "text"


async def yields_number() -> AsyncIterator[Any]:
    yield b"first"
    yield 5


INVALID_BODIES: dict[str, tuple[Callable[[], Any], str]] = {
    "shrinks": (lambda: Shrinking(DATA), "shorter"),
    "fails": (lambda: Failing(DATA), "Input/output error"),
    "file of text": (lambda: WrongType(DATA), "bytes"),
    "text": (yields_text, "yields str"),
    "number": (yields_number, "yields int"),
}


@pytest.mark.parametrize(("body", "words"), INVALID_BODIES.values(), ids=INVALID_BODIES)
async def test_body_that_becomes_invalid(
    make_client: MakeClient, raw_peer: MakePeer, body: Callable[[], Any], words: str
) -> None:
    closed = asyncio.Event()
    peer = await raw_peer(answers_only_get(closed))
    client = make_client()
    error = (await client.fetch(peer.url(), method="POST", body=body())).error
    assert error is not None and error.code is errors.INVALID_BODY
    assert words in error.message
    await closed.wait()
    assert (await client.fetch(peer.url())).body == b"ok"


async def test_exception_of_a_file(make_client: MakeClient, peer: RawPeer) -> None:
    class File(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise error

    client = make_client()
    # One of the transport itself, which would be a failure of the network.
    error = BrokenConnection("of the file")
    with pytest.raises(BrokenConnection) as raised:
        await client.fetch(peer.url(), method="POST", body=File(DATA))
    assert raised.value is error
    assert (await client.fetch(peer.url())).body == b"ok"


async def test_file_that_vanishes(make_client: MakeClient, peer: RawPeer, path: Path) -> None:
    def on_headers(headers: Any) -> None:
        path.unlink()

    client = make_client()
    options: dict[str, Any] = {"method": "POST", "on_headers": on_headers}
    error = (await client.fetch(peer.url(), files={"f": path}, **options)).error
    assert error is not None and error.code is errors.INVALID_BODY
    assert "No such file" in error.message
    assert (await client.fetch(peer.url())).body == b"ok"


class Mistake(Exception):
    pass


def raising(error: BaseException) -> Iterator[bytes]:
    yield b"first"
    raise error


async def async_raising(error: BaseException) -> AsyncIterator[bytes]:
    yield b"first"
    await asyncio.sleep(0)
    raise error


class FailsToIterate:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        raise self._error


@pytest.mark.parametrize("body", [raising, async_raising, FailsToIterate])
@pytest.mark.parametrize("error", [Mistake(), ConnectionResetError(), TimeoutError()], ids=repr)
async def test_exception_of_the_iterable(
    make_client: MakeClient, raw_peer: MakePeer, body: Callable[[Any], Any], error: Exception
) -> None:
    closed = asyncio.Event()
    peer = await raw_peer(answers_only_get(closed))
    client = make_client()
    with pytest.raises(type(error)) as raised:
        await client.fetch(peer.url(), method="POST", body=body(error))
    assert raised.value is error
    await closed.wait()
    assert (await client.fetch(peer.url())).body == b"ok"


async def test_stop_iteration_of_the_iterable(make_client: MakeClient, peer: RawPeer) -> None:
    client = make_client()
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        await client.fetch(peer.url(), method="POST", body=FailsToIterate(StopIteration()))
    assert (await client.fetch(peer.url())).body == b"ok"


@pytest.mark.parametrize("is_async", [False, True], ids=["generator", "async generator"])
@pytest.mark.parametrize("by", ["cancel", "timeout", "answer"])
@in_phase
async def test_generator_is_closed(
    make_client: MakeClient, raw_peer: MakePeer, is_async: bool, by: str
) -> None:
    async def script(conn: Connection) -> None:
        head = await conn.reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET"):
            await conn.send(response(b"ok"))
            return
        await conn.reader.readuntil(b"\r\n")
        if by == "answer":
            await conn.send(response(b"no", "Connection: close", status="413 Too Large"))
        arrived.set()
        await conn.wait_closed_by_client()

    def body() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(100_000)
        finally:
            closed.set()

    async def async_body() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(100_000)
        finally:
            await asyncio.sleep(0)
            closed.set()

    arrived, closed = asyncio.Event(), asyncio.Event()
    peer = await raw_peer(script)
    client = make_client()
    future = client.fetch(
        peer.url(),
        method="POST",
        body=async_body() if is_async else body(),
        request_timeout=1.0 if by == "timeout" else 0,
    )
    await wait_for_phase(arrived, future)
    if by == "cancel":
        future.cancel()
    else:
        res = await future
        code = None if res.error is None else res.error.code
        if by == "timeout":
            assert code is errors.REQUEST_TIMEOUT
        else:
            # A peer that closes while it is written to can reset the connection.
            assert code is errors.SOCKET_ERROR or res.code == 413
    await closed.wait()
    assert (await client.fetch(peer.url())).body == b"ok"


# Redirects and retries


@pytest.mark.parametrize("code", [307, 308])
async def test_redirect_repeats_a_file(
    fetch: Fetch, raw_peer: MakePeer, file: BinaryIO, code: int
) -> None:
    peer = await raw_peer(redirecting(code))
    file.seek(1000)
    assert (await fetch(peer.url(), method="POST", body=file)).body == b"final"
    assert [request.body for request in peer.requests] == [DATA[1000:]] * 2


@pytest.mark.parametrize("code", [307, 308])
@pytest.mark.parametrize("iterable", ITERABLES.values(), ids=ITERABLES)
async def test_redirect_of_an_iterable(
    make_client: MakeClient, raw_peer: MakePeer, code: int, iterable: Callable[[], Any]
) -> None:
    peer = await raw_peer(redirecting(code))
    client = make_client()
    error = (await client.fetch(peer.url(), method="POST", body=iterable())).error
    assert error is not None and error.code is errors.INVALID_BODY
    assert str(code) in error.message
    assert len(peer.requests) == 1
    assert (await client.fetch(peer.url("/final"))).body == b"final"


@pytest.mark.parametrize("code", [301, 302, 303])
async def test_redirect_to_get_drops_the_body(
    fetch: Fetch, raw_peer: MakePeer, code: int, file: BinaryIO
) -> None:
    peer = await raw_peer(redirecting(code))
    for body in (file, [b"data"]):
        peer.requests.clear()
        assert (await fetch(peer.url(), method="POST", body=body)).body == b"final"
        request = peer.requests[-1]
        assert (request.method, request.body) == ("GET", b"")
        assert request.field("Content-Length") is None
        assert request.field("Transfer-Encoding") is None


@pytest.mark.kept
async def test_connection_is_reused(fetch: Fetch, peer: RawPeer, file: BinaryIO) -> None:
    for _ in range(3):
        for body in (file, [b"data"], blocks(b"data")):
            assert (await fetch(peer.url(), method="POST", body=body)).error is None
        file.seek(0)
    assert peer.connections == 1


@pytest.mark.kept
async def test_closed_idle_connection(fetch: Fetch, raw_peer: MakePeer, path: Path) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(response(b"ok"))
        if conn.number == 1:
            # Closes when the next request has begun.
            await conn.reader.readuntil(b"\r\n\r\n")
            conn.close()

    peer = await raw_peer(script)
    await fetch(peer.url())
    with path.open("rb") as file:
        res = await fetch(peer.url(), method="PUT", body=file)
    assert res.error is None
    requests: list[Request] = peer.requests
    assert [request.body for request in requests] == [b"", DATA]


@pytest.mark.kept
async def test_request_with_an_iterable_is_not_retried(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(closes_at_second_request)
    await fetch(peer.url())
    error = (await fetch(peer.url(), method="PUT", body=[b"data"])).error
    assert error is not None and error.code in (errors.NO_HEADERS, errors.SOCKET_ERROR)
    assert peer.connections == 1


async def test_file_is_sent_in_blocks(fetch: Fetch, peer: RawPeer) -> None:
    class Counting(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            sizes.append(size)
            return super().read(size)

    sizes: list[int | None] = []
    assert (await fetch(peer.url(), method="POST", body=Counting(DATA))).error is None
    assert max(size or 0 for size in sizes) <= 65536
    assert min(size or 0 for size in sizes) > 0


async def test_async_file_object(sent: Sent, path: Path) -> None:
    class AsyncFile:
        """Like the files of aiofiles and anyio."""

        async def read(self, size: int = -1) -> bytes:
            return b""

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield path.read_bytes()

    assert (await sent(method="POST", body=AsyncFile())).body == DATA


async def test_output_of_a_process(sent: Sent) -> None:
    async def output() -> AsyncIterator[bytes]:
        process = await asyncio.create_subprocess_exec("echo", "text", stdout=subprocess.PIPE)
        assert process.stdout is not None
        async for line in process.stdout:
            yield line
        await process.wait()

    assert (await sent(method="POST", body=output())).body == b"text\n"
