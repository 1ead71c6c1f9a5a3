"""Limits of the memory and the time that a peer can make a fetch use."""

from __future__ import annotations

import gzip
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import Connection, Fetch, MakeClient, MakePeer, response
from turbo_tornado import HTTPResponse, errors
from turbo_tornado.http1.body import Body
from turbo_tornado.http1.parser import ResponseParser

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
# The most that a peer sends before it gives up.
ENDLESS = 60_000_000
BUFFERED = 40_000_000
#: Bytes that a fetch may take in addition to its body.
WORKING_MEMORY = 16_000_000


def assert_stopped(res: HTTPResponse, *codes: errors) -> None:
    assert res.error is not None, f"no error, but {res.code} and {len(res.body)} bytes"
    assert res.error.code in codes, res.error.message


@pytest.fixture
def peak() -> Iterator[Any]:
    """Return the peak of the memory in use since the test began."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    yield lambda: tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()


class Endless:
    """Sends a beginning, and then a piece repeatedly for as long as the client reads."""

    def __init__(self, beginning: bytes, piece: bytes) -> None:
        self.beginning = beginning
        self.piece = piece * (65536 // len(piece) or 1)
        self.sent = 0

    async def __call__(self, conn: Connection) -> None:
        await conn.read_request()
        await conn.send(self.beginning)
        while self.sent < ENDLESS:
            await conn.send(self.piece)
            self.sent += len(self.piece)
        conn.close()


HEADS = {
    "of one line": (b"HTTP/1.1 200 ", b"x"),
    "of one field": (OK + b"X-A: ", b"x"),
    "of one name": (OK, b"x"),
    "of fields": (OK, b"X-A: b\r\n"),
    "of the smallest fields": (OK, b"a:\n"),
    "of folded lines": (OK + b"X-A: b\r\n", b" c\r\n"),
    "of interim responses": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "of large interim responses": (
        b"",
        b"HTTP/1.1 103 Early Hints\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
    ),
}


@pytest.mark.parametrize("what", HEADS)
async def test_head_without_end(what: str, fetch: Fetch, raw_peer: MakePeer, peak: Any) -> None:
    script = Endless(*HEADS[what])
    peer = await raw_peer(script)
    res = await fetch(peer.url())
    assert_stopped(res, errors.PARSE_ERROR_HEADERS, errors.SOCKET_ERROR)
    assert script.sent < BUFFERED
    assert peak() < WORKING_MEMORY


@pytest.mark.parametrize("piece", [b"X-T: u\r\n", b"X-T: " + b"u" * 5000 + b"\r\n", b"X"])
async def test_trailers_without_end(
    piece: bytes, transport: str, fetch: Fetch, raw_peer: MakePeer, peak: Any
) -> None:
    script = Endless(CHUNKED + b"4\r\nbody\r\n0\r\n", piece)
    peer = await raw_peer(script)
    res = await fetch(peer.url())
    assert_stopped(res, errors.SOCKET_ERROR, errors.PARSE_ERROR_HEADERS)
    assert script.sent < BUFFERED
    assert peak() < WORKING_MEMORY


async def test_trailers_over_their_limit(fetch: Fetch, raw_peer: MakePeer) -> None:
    # libcurl would accept this: the lines are short and few, and have less than 300 KB in total.
    trailers = (b"X-T: " + b"u" * 3900 + b"\r\n") * 70
    peer = await raw_peer(CHUNKED + b"4\r\nbody\r\n0\r\n" + trailers + b"\r\n")
    res = await fetch(peer.url())
    assert_stopped(res, errors.SOCKET_ERROR)
    assert "trailers" in res.error.message


@pytest.mark.parametrize("beginning", [b"1;", b"1 ", b"0" * 15 + b"1;a=b;"])
async def test_chunk_line_without_end(
    beginning: bytes, fetch: Fetch, raw_peer: MakePeer, peak: Any
) -> None:
    peer = await raw_peer(Endless(CHUNKED + beginning, b" " if beginning == b"1 " else b"x"))
    # libcurl discards it until the timeout expires or the connection ends.
    res = await fetch(peer.url())
    assert_stopped(res, errors.SOCKET_ERROR)
    assert peak() < WORKING_MEMORY


async def test_many_small_chunks(make_client: MakeClient, raw_peer: MakePeer) -> None:
    count = 20_000
    peer = await raw_peer(CHUNKED + b"1;a=b\r\nx\r\n" * count + b"0\r\n\r\n")
    res = await make_client(max_buffer_size=count).fetch(peer.url())
    assert res.body == b"x" * count
    res = await make_client(max_buffer_size=count - 1).fetch(peer.url())
    assert_stopped(res, errors.SOCKET_ERROR)


def test_small_pieces_use_little_memory(peak: Any) -> None:
    count = 100_000
    body = Body(count * 2)
    for number in range(count):
        body.write(b"%02d" % (number % 100))
    assert body.finish() == b"".join(b"%02d" % n for n in range(100)) * (count // 100)
    # As separate objects, they would be 35 bytes each, and a reference.
    assert peak() < 10 * count


@pytest.mark.parametrize("step", [20, 65_536])
async def test_compression_bomb_in_pieces(
    step: int, make_client: MakeClient, raw_peer: MakePeer, peak: Any
) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join([*(packer.compress(bytes(1_000_000)) for _ in range(30)), packer.flush()])

    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(OK + b"Content-Encoding: gzip\r\n\r\n")
        for start in range(0, len(bomb), step):
            await conn.send(bomb[start : start + step])

    peer = await raw_peer(script)
    res = await make_client(max_buffer_size=1_000_000).fetch(peer.url())
    assert_stopped(res, errors.SOCKET_ERROR)
    assert peak() < WORKING_MEMORY


@pytest.mark.parametrize("inner", [b"", b"x"])
async def test_compression_bomb_of_many_members(
    inner: bytes, make_client: MakeClient, raw_peer: MakePeer, peak: Any
) -> None:
    count = 10_000
    packed = gzip.compress(inner) * count
    peer = await raw_peer(response(packed, "Content-Encoding: gzip"))
    res = await make_client(max_buffer_size=count).fetch(peer.url())
    assert (res.error, res.body) == (None, inner * count)
    assert peak() < WORKING_MEMORY


@pytest.mark.parametrize(
    ("head", "piece"),
    [(OK, b"A: b\r\n"), (OK + b"A: b\r\n", b" c\r\n"), (CHUNKED + b"0\r\n", b"A: b\r\n")],
    ids=["fields", "folded", "trailers"],
)
def test_response_in_single_bytes_takes_linear_time(head: bytes, piece: bytes) -> None:
    """Each byte is parsed once. Otherwise, this would take minutes."""

    class Sink:
        def write(self, chunk: bytes) -> None: ...

    parser = ResponseParser(False, lambda head: Sink())
    parser.feed(head)
    began = time.process_time()
    for byte in piece * (40_000 // len(piece)):
        parser.feed(bytes([byte]))
        assert time.process_time() - began < 8
    assert not parser.complete


async def test_limit_applies_to_each_redirect_body(fetch: Fetch, raw_peer: MakePeer) -> None:
    # Each body is within the limit, and their sum is not.
    peer = await raw_peer(response(b"x" * 900, "Location: /again", status="302 Found"))
    res = await fetch(peer.url(), max_redirects=30)
    assert_stopped(res, errors.REDIRECT_MAX)
    assert len(peer.requests) == 31
