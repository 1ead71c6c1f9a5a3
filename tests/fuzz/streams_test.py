"""Valid and invalid streams of bytes: both transports return the same results.

A peer sends one stream to each transport. The result is a response or an error. The next
request, on any connection, must receive its own response.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from tornado.simple_httpclient import HTTPStreamClosedError

from tests.support import Connection, RawPeer, response
from turbo_tornado import HTTPClient, HTTPResponse
from turbo_tornado.failures import MalformedResponse
from turbo_tornado.http1.body import Body
from turbo_tornado.http1.head import check_partial_head
from turbo_tornado.http1.parser import ResponseParser

from .bench import LONG, TRANSPORTS, Bench, make_transport, profile, turns
from .checks import check_response
from .strategies import Stream, streams

#: Bytes of body: less than a mutated gzip may have.
MAX_BODY = 100_000


class Outcome(NamedTuple):
    """The result of a stream. All attributes are empty if the client waits for more data."""

    error: str = ""
    code: int = 0
    reason: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    @classmethod
    def of(cls, res: HTTPResponse) -> Outcome:
        check_response(res)
        if res.error is not None:
            return cls(error=res.error.code.name)
        return cls("", res.code, res.reason, tuple(res.headers.get_all()), res.body)


WAITS = Outcome()


class Stage:
    """A peer that sends one stream once, and responds with the target to other requests."""

    def __init__(self, bench: Bench) -> None:
        self.peer: RawPeer = bench.peer(self._script)
        self.stream: Stream
        self.played = asyncio.Event()

    async def _script(self, conn: Connection) -> None:
        while True:
            request = await conn.read_request()
            if request.target == "/stream":
                try:
                    await self._play(conn)
                finally:
                    self.played.set()
            else:
                await conn.send(response(request.target.encode()))

    async def _play(self, conn: Connection) -> None:
        # The client may have closed it, for which uvloop has a separate error.
        with contextlib.suppress(OSError, RuntimeError):
            for piece in self.stream.pieces:
                conn.writer.write(piece)
                await turns(2)
            if self.stream.ending == "close":
                conn.close()
            elif self.stream.ending == "reset":
                await turns(4)
                conn.reset()

    async def outcome(self, transport: str, stream: Stream, patience: float) -> Outcome:
        """Return the result of ``stream`` on ``transport``, and check the next request."""
        self.stream = stream
        self.played.clear()
        self.peer.requests.clear()
        carrier = make_transport(transport)
        client = HTTPClient(transport=carrier, max_buffer_size=MAX_BODY)
        try:
            future = client.fetch(
                self.peer.url("/stream"),
                method=stream.method,
                use_gzip=stream.use_gzip,
                keep_alive=stream.keep_alive,
                allow_redirects=False,
                request_timeout=0,
            )
            await self.played.wait()
            await turns(20)
            limit = patience if stream.ending == "open" else LONG
            if not future.done() and limit:
                await asyncio.wait([future], timeout=limit)
            if future.done():
                outcome = Outcome.of(future.result())
            else:
                assert stream.ending == "open", "the connection has ended, the fetch has not"
                assert future.cancel()
                outcome = WAITS
            following = await client.fetch(self.peer.url("/following"))
            check_response(following)
            assert following.error is None, following
            assert following.body == b"/following"
            assert [request.target for request in self.peer.requests] == ["/stream", "/following"]
            return outcome
        finally:
            carrier.close()


def said_of(stream: Stream) -> str:
    """Return the error of the parser for ``stream`` in one piece."""
    body = Body(MAX_BODY)
    parser = ResponseParser(stream.method == "HEAD", lambda head: body)
    try:
        parser.feed(stream.data)
    except HTTPStreamClosedError as error:
        return str(error)
    return ""


def cut_head(stream: Stream) -> bytes | None:
    """Return the incomplete final head, or ``None`` if it is complete."""
    data = stream.data
    while end := re.search(rb"\n\r?\n", data):
        if not re.match(rb"HTTP/1.[0-9] 1", data):
            return None
        data = data[end.end() :]
    return data


#: The last complete line of a head with its folded lines, and the data after it.
LAST_LINE = re.compile(rb"^[^ \t][^\n]*\n(?:[ \t][^\n]*\n)*[^\n]*\Z", re.M)


def is_cut_with_bad_line(stream: Stream, simple: Outcome, curl: Outcome) -> bool:
    head = cut_head(stream)
    if head is None or not {simple.error, curl.error} <= {
        "",
        "PARSE_ERROR_HEADERS",
        "SOCKET_ERROR",
    }:
        return False
    if stream.ending == "open" or curl.error == "PARSE_ERROR_HEADERS":
        return True
    try:
        check_partial_head(LAST_LINE.sub(b"", head))
    except MalformedResponse:
        return False
    return True


class Difference(NamedTuple):
    """A known difference between the transports, which docs/transports.md lists."""

    reason: str
    applies: Callable[[Stream, Outcome, Outcome], bool]


#: Errors of the parser for chunks that libcurl accepts.
INEXACT = ("invalid chunk size", "improperly terminated chunk:", "bad trailer ''")

KNOWN = [
    Difference(
        "libcurl knows no HTTP/1.2 and no other one that RFC 9110 would have read as 1.1",
        lambda stream, simple, curl: (
            curl.error == "PARSE_ERROR_HEADERS"
            and re.search(rb"HTTP/1\.[2-9] ", stream.data) is not None
        ),
    ),
    Difference(
        "libcurl keeps the last line of a head until it knows that it is not folded, and "
        "what a line says is judged when the head is complete",
        is_cut_with_bad_line,
    ),
    Difference(
        "libcurl does not mind what is behind the size of a chunk, or behind the chunk, as "
        "long as an LF comes",
        lambda stream, simple, curl: (
            simple.error == "SOCKET_ERROR" and said_of(stream).startswith(INEXACT)
        ),
    ),
    Difference(
        "libcurl does not wait for the end of a trailer with a CR in it",
        lambda stream, simple, curl: (
            (simple, curl.error) == (WAITS, "SOCKET_ERROR")
            and re.search(rb"\r[^\n]+\Z", stream.data) is not None
        ),
    ),
]


@pytest.fixture(scope="module")
def stage(bench: Bench) -> Iterator[Stage]:
    return Stage(bench)


def get(data: bytes, ending: str = "close", **options: Any) -> Stream:
    return Stream((data,), ending, **options)


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

FOUND = {
    "bad name, cut": get(OK + b"A\xcf: b\r\nC: d\r\n"),
    "bad name, reset": get(OK + b"A\xcf: b\r\nC: d\r\n", "reset"),
    "bad code, cut": get(b"HTTP/1.1 2299\r\nA: b\r\nC: d\r\n"),
    "bad code, reset": get(b"HTTP/1.1 2299\r\nA: b\r\nC: d\r\n", "reset"),
    # libcurl has a separate error for these two.
    "two colons": get(OK + b"Transfer-Encoding:: chunked\r\n\r\n0\r\n\r\n", "open"),
    "unknown coding": get(OK + b"Transfer-Encoding: br\r\n\r\n", "open"),
    "name of a trailer": get(CHUNKED + b"0\r\nA\x08: b\r\n\r\n"),
    "value of a trailer": get(CHUNKED + b"0\r\nA: \x08b\r\n\r\n"),
    "trailer without colon": get(CHUNKED + b"0\r\nA\r\n\r\n", "open"),
    "NUL in a trailer": get(CHUNKED + b"0\r\n\x00\r\n0\r\n\r\n", "open"),
    "empty name of a trailer": get(CHUNKED + b"0\r\n:\n", "open"),
    # The following data must not become a part of it.
    "folded, cut": get(OK + b"A: b\r\n ", "open"),
    "folded, closed": get(OK + b"A: b\r\n "),
    "folded, reset": get(OK + b"A: b\r\n\t", "reset"),
    "folded bad line, cut": get(OK + b"A b\r\n c\r\n"),
    "CR in a trailer": get(CHUNKED + b"0\r\nA: b\rc", "open"),
    "folded trailer, cut": get(CHUNKED + b"0\r\nA: b\r\n ", "open"),
    "LF after the last chunk": get(CHUNKED + b"0\r\n\n\r\n", "open"),
    "LF after a chunk": get(CHUNKED + b"1\r\nA\n0\r\n\r\n", "open"),
    "CR and more after a chunk": get(CHUNKED + b"1\r\nA\r\r\n0\r\n\r\n", "open"),
    "HTTP/2": get(b"HTTP/2 200\r\nContent-Length: 0\r\n\r\n", "open"),
    "HTTP/2 after 100": get(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/2 200\r\n\r\nHTTP/1.1 302 OK\r\n\r\n\x85", "open"
    ),
    "HTTP/1.9": get(b"HTTP/1.9 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "two places": get(OK + b"Location: /a\r\nLocation: /A\r\nContent-Length: 0\r\n\r\n"),
    "the same place twice": get(OK + b"Location: /a\r\nLocation: /a\r\nContent-Length: 0\r\n\r\n"),
    "a place and none": get(OK + b"Location: /a\r\nLocation:\r\nContent-Length: 0\r\n\r\n"),
}


def alike(stage: Stage, bench: Bench, stream: Stream) -> None:
    simple, curl = (bench.run(stage.outcome(name, stream, 0)) for name in TRANSPORTS)
    if simple != curl and WAITS in (simple, curl):
        # The machine may have been slow.
        simple, curl = (bench.run(stage.outcome(name, stream, 1)) for name in TRANSPORTS)
    if not any(known.applies(stream, simple, curl) for known in KNOWN):
        assert simple == curl


def same_libcurl() -> bool:
    """Whether the differences of this libcurl are known. Older versions have many others."""
    if "curl" not in TRANSPORTS:
        return False
    import pycurl

    return bool(pycurl.version_info()[2] >= 0x081100)


compared = pytest.mark.skipif(not same_libcurl(), reason="there is no libcurl, or an old one")


@pytest.mark.parametrize("transport", TRANSPORTS)
@profile(60)
@given(stream=streams())
def test_transport_works_after_any_response(
    transport: str, stage: Stage, bench: Bench, stream: Stream
) -> None:
    bench.run(stage.outcome(transport, stream, 0))


@compared
@profile(200)
@given(stream=streams())
def test_transports_return_the_same_result(stage: Stage, bench: Bench, stream: Stream) -> None:
    alike(stage, bench, stream)


@compared
@pytest.mark.parametrize("stream", FOUND.values(), ids=FOUND)
def test_transports_return_the_same_result_for_found_streams(
    stage: Stage, bench: Bench, stream: Stream
) -> None:
    alike(stage, bench, stream)
