"""The limit ``max_buffer_size``, which is enforced while the body arrives."""

from __future__ import annotations

import gzip
import os
import tracemalloc
import zlib
from typing import Any

import pytest

from tests.support import Connection, Fetch, MakeClient, MakePeer, response
from tests.support.server import Server
from turbo_tornado import HTTPClient, HTTPResponse, errors

TIMEOUTS: dict[str, Any] = {"request_timeout": 30, "connect_timeout": 30}
PROMPT = 10_000.0
LIMIT = 1000
OK = b"HTTP/1.1 200 OK\r\n"

# A peer sends this until the client stops reading. The limit covers the buffers of both sides
# and one read of the client.
ENDLESS = 400_000_000
BUFFERED = 80_000_000


def assert_over(res: HTTPResponse, limit: int) -> None:
    assert res.error is not None, f"no error, but {res.code} and {len(res.body)} bytes"
    assert res.error.code is errors.SOCKET_ERROR, f"{res.error.code!r}: {res.error.message}"
    assert str(limit) in res.error.message
    assert res.request_time < PROMPT
    others: tuple[Any, ...] = (res.request, res.code, res.reason, res.headers, res.body, res.url)
    assert others == (None,) * len(others)


def framed(body: bytes, framing: str, *fields: bytes) -> bytes:
    """Return a response with ``body``, whose end is marked by ``framing``."""
    head = b"".join([OK, *(field + b"\r\n" for field in fields)])
    if framing == "length":
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    if framing == "until close":
        return head + b"\r\n" + body
    size = len(body) if framing == "one chunk" else 7
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    chunks = b"".join(b"%x;extension=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nX-Trailer: 1\r\n\r\n"


FRAMINGS = ["length", "one chunk", "small chunks", "until close"]
each_framing = pytest.mark.parametrize("framing", FRAMINGS)


def peer_with(data: bytes) -> Any:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(data)
        conn.close()

    return script


@each_framing
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("more", [-1, 0, 1, 500])
async def test_body_at_the_limit(
    more: int,
    zipped: bool,
    framing: str,
    make_client: MakeClient,
    fetch: Fetch,
    raw_peer: MakePeer,
    server: Server,
) -> None:
    # Random bytes become longer when compressed, and the limit counts decoded bytes.
    body = os.urandom(LIMIT + more)
    fields = (b"Content-Encoding: gzip",) if zipped else ()
    data = framed(gzip.compress(body) if zipped else body, framing, *fields)
    peer = await raw_peer(peer_with(data))
    client = make_client(max_buffer_size=LIMIT)
    res = await fetch(peer.url(), client=client, **TIMEOUTS)
    if more <= 0:
        assert (res.error, res.body) == (None, body)
    else:
        assert_over(res, LIMIT)
    assert (await client.fetch(server.url("/bytes/10"))).body == b"x" * 10


@pytest.mark.parametrize("use_gzip", [True, False])
async def test_undecoded_body_counts_encoded_bytes(
    use_gzip: bool, make_client: MakeClient, raw_peer: MakePeer
) -> None:
    body = b"a" * 100_000
    packed = gzip.compress(body)
    assert len(packed) < LIMIT
    peer = await raw_peer(response(packed, "Content-Encoding: gzip"))
    res = await make_client(max_buffer_size=LIMIT).fetch(peer.url(), use_gzip=use_gzip)
    if use_gzip:
        assert_over(res, LIMIT)
    else:
        assert (res.error, res.body) == (None, packed)


async def test_length_over_the_limit_fails_before_the_body(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(OK + b"Content-Length: %d\r\n\r\n" % (LIMIT + 1))
    res = await make_client(max_buffer_size=LIMIT).fetch(peer.url(), **TIMEOUTS)
    assert_over(res, LIMIT)


async def test_default_limit(make_client: MakeClient, raw_peer: MakePeer) -> None:
    default = 128 * 1024 * 1024
    peer = await raw_peer(OK + b"Content-Length: %d\r\n\r\n" % (default + 1))
    assert_over(await make_client().fetch(peer.url(), **TIMEOUTS), default)


async def test_length_at_the_default_limit_is_accepted(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(OK + b"Content-Length: %d\r\n\r\n" % (128 * 1024 * 1024))
    res = await make_client().fetch(peer.url(), request_timeout=0.3)
    assert res.error is not None
    assert res.error.code is errors.REQUEST_TIMEOUT


async def test_length_with_thousands_of_digits(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(OK + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nhello")
    res = await fetch(peer.url(), **TIMEOUTS)
    assert res.error is not None
    assert res.error.code is errors.SOCKET_ERROR
    assert res.request_time < PROMPT


async def test_length_of_a_response_without_body_is_not_limited(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(OK + b"Content-Length: 1000000000\r\n\r\n")
    res = await make_client(max_buffer_size=LIMIT).fetch(peer.url(), method="HEAD")
    assert (res.error, res.code, res.body) == (None, 200, b"")
    assert res.headers["Content-Length"] == "1000000000"


# Bodies over the limit are stopped at once


class Endless:
    """A peer that sends until the client stops reading, and counts the bytes."""

    def __init__(self, head: bytes, piece: bytes) -> None:
        self.head = head
        self.piece = piece
        self.sent = 0

    async def __call__(self, conn: Connection) -> None:
        await conn.read_request()
        await conn.send(self.head)
        while self.sent < ENDLESS:
            await conn.send(self.piece)
            self.sent += len(self.piece)


PIECE = bytes(65536)


@pytest.mark.parametrize("limit", [LIMIT, 5_000_000])
@pytest.mark.parametrize(
    ("fields", "piece"),
    [
        (b"", PIECE),
        (b"Content-Length: %d\r\n" % ENDLESS, PIECE),
        (b"Transfer-Encoding: chunked\r\n", b"10000\r\n" + PIECE + b"\r\n"),
        (b"Content-Encoding: gzip\r\n", gzip.compress(os.urandom(65536))),
    ],
    ids=["until close", "length", "chunked", "gzip"],
)
async def test_endless_body(
    fields: bytes,
    piece: bytes,
    limit: int,
    make_client: MakeClient,
    raw_peer: MakePeer,
    server: Server,
) -> None:
    script = Endless(OK + fields + b"\r\n", piece)
    peer = await raw_peer(script)
    client = make_client(max_buffer_size=limit)
    assert_over(await client.fetch(peer.url(), **TIMEOUTS), limit)
    assert script.sent < BUFFERED
    assert (await client.fetch(server.url("/bytes/10"))).body == b"x" * 10


async def test_endless_chunk(make_client: MakeClient, raw_peer: MakePeer) -> None:
    script = Endless(OK + b"Transfer-Encoding: chunked\r\n\r\n7fffffff\r\n", PIECE)
    peer = await raw_peer(script)
    res = await make_client(max_buffer_size=5_000_000).fetch(peer.url(), **TIMEOUTS)
    assert_over(res, 5_000_000)
    assert script.sent < BUFFERED


def bomb(size: int) -> bytes:
    """Return the gzip data of many zeros, a thousandth of their size."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1_000_000)
    return b"".join([*(packer.compress(zeros) for _ in range(size // len(zeros))), packer.flush()])


@each_framing
async def test_compression_bomb(
    framing: str, make_client: MakeClient, raw_peer: MakePeer, server: Server
) -> None:
    limit = 1_000_000
    packed = bomb(50_000_000)
    assert len(packed) < 100_000
    peer = await raw_peer(peer_with(framed(packed, framing, b"Content-Encoding: gzip")))
    client = make_client(max_buffer_size=limit)
    await client.fetch(server.url("/bytes/10"))
    tracemalloc.start()
    try:
        res = await client.fetch(peer.url(), **TIMEOUTS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert_over(res, limit)
    assert peak < 10_000_000


async def test_compression_bomb_of_many_members(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    packed = gzip.compress(bytes(1000)) * 50_000
    peer = await raw_peer(response(packed, "Content-Encoding: gzip"))
    res = await make_client(max_buffer_size=LIMIT).fetch(peer.url(), **TIMEOUTS)
    assert_over(res, LIMIT)


# The limit of a client


async def test_limit_belongs_to_the_client(make_client: MakeClient, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"x" * 100))
    small, large = make_client(max_buffer_size=10), make_client()
    for _ in range(2):
        assert (await large.fetch(peer.url())).body == b"x" * 100
        assert_over(await small.fetch(peer.url(), **TIMEOUTS), 10)


@pytest.mark.kept
async def test_limit_is_for_one_response(make_client: MakeClient, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"x" * LIMIT))
    client = make_client(max_buffer_size=LIMIT)
    for _ in range(3):
        assert (await client.fetch(peer.url())).body == b"x" * LIMIT
    assert peer.connections == 1


async def test_limit_of_an_error_response(make_client: MakeClient, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"x" * (LIMIT + 1), status="500 Internal Server Error"))
    assert_over(await make_client(max_buffer_size=LIMIT).fetch(peer.url(), **TIMEOUTS), LIMIT)


async def test_limit_does_not_apply_to_the_request(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(response(b"ok"))
    client = make_client(max_buffer_size=10)
    res = await client.fetch(peer.url(), method="POST", body=bytes(1_000_000))
    assert (res.error, res.body) == (None, b"ok")
    assert len(peer.requests[0].body) == 1_000_000


async def test_limit_does_not_apply_to_the_head(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(response(b"ok", "X-Long: " + "x" * 5000))
    res = await make_client(max_buffer_size=10).fetch(peer.url())
    assert (res.error, res.body) == (None, b"ok")


@pytest.mark.parametrize("limit", [0, -1])
def test_invalid_limit(limit: int) -> None:
    with pytest.raises(ValueError, match="max_buffer_size"):
        HTTPClient(max_buffer_size=limit)


@pytest.mark.parametrize("limit", ["1000", 1000.5, True])
def test_limit_of_the_wrong_type(limit: Any) -> None:
    with pytest.raises(TypeError, match="max_buffer_size"):
        HTTPClient(max_buffer_size=limit)
