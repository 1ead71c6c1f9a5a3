"""What is `CurlTransport`'s own: its engine, its handles, and requests of Tornado's kind."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gzip
import logging
import os
import select
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, ClassVar

import pytest
from tornado import httputil
from tornado.httpclient import AsyncHTTPClient, HTTPError, HTTPRequest, HTTPResponse
from tornado.simple_httpclient import HTTPStreamClosedError

from tests.support import Connection, MakePeer, RawPeer, Script, response
from tests.support.certificates import Certificates
from turbo_tornado.tls import TLS
from turbo_tornado.transports.failures import (
    BrokenConnection,
    HandshakeFailed,
    MalformedResponse,
    RequestTimeout,
)
from turbo_tornado.transports.hop import Hop

pycurl = pytest.importorskip("pycurl")

from tornado.curl_httpclient import CurlAsyncHTTPClient, CurlError

from turbo_tornado.transports import curl_hop, libcurl
from turbo_tornado.transports.curl import CurlTransport
from turbo_tornado.transports.curl_engine import EpollSockets, LoopSockets
from turbo_tornado.transports.curl_hop import HopHandle

# Of Tornado 6.4 with pycurl 7.46 and newer.
pytestmark = pytest.mark.filterwarnings("ignore:IOCTLFUNCTION is deprecated:DeprecationWarning")

keeps = pytest.mark.skipif(
    not libcurl.CAN_STOP, reason="this pycurl cannot look at a connection before its use"
)
has_epoll = pytest.mark.skipif(not hasattr(select, "epoll"), reason="there is no epoll")

GOOD = response(b"good")
MakeTransport = Callable[..., CurlTransport]


@pytest.fixture
async def make_transport() -> AsyncIterator[MakeTransport]:
    made: list[AsyncHTTPClient] = []

    def make(kind: type[AsyncHTTPClient] = CurlTransport, **arguments: Any) -> Any:
        made.append(kind(force_instance=True, **arguments))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


def hop(peer: RawPeer, path: str = "/", **changes: Any) -> Any:
    body = changes.get("body")
    fields = f"Host: 127.0.0.1:{peer.port}\r\n"
    if body is not None:
        fields += f"Content-Length: {len(body)}\r\n"
    settings: dict[str, Any] = {
        "method": "GET",
        "target": path,
        "version": "HTTP/1.1",
        "fields": fields.encode(),
        "body": None,
        "connect_timeout": 60.0,
        "request_timeout": 60.0,
        "keep_alive": True,
        "decompress": True,
        "max_body_size": 1_000_000,
        "tls": None,
    }
    return Hop(peer.url(path), **{**settings, **changes})


async def stalling(conn: Connection) -> None:
    """Reads requests and answers those for ``/good``."""
    while True:
        if (await conn.read_request()).target == "/good":
            await conn.send(GOOD)


async def fails_with(future: Awaitable[Any], kind: type[BaseException]) -> BaseException:
    with pytest.raises(kind) as caught:
        await asyncio.wait_for(future, 10)
    return caught.value


# Handles and the queue


async def test_any_number_at_once(make_transport: MakeTransport, raw_peer: MakePeer) -> None:
    transport = make_transport(max_spare=10)
    together = asyncio.Event()

    async def script(conn: Connection) -> None:
        await conn.read_request()
        await together.wait()
        await conn.send(GOOD)

    peer = await raw_peer(script)
    fetches = [transport.fetch(hop(peer)) for _ in range(300)]
    await asyncio.wait_for(peer.received(300), 20)
    together.set()
    assert {(await fetch).body for fetch in fetches} == {b"good"}
    assert len(transport._spare_for_hops) == 10


@pytest.mark.parametrize("kind", ["hop", "plain", "streaming"])
async def test_max_clients(kind: str, make_transport: MakeTransport, raw_peer: MakePeer) -> None:
    transport = make_transport(max_clients=2)
    let_go = [asyncio.Event() for _ in range(5)]

    async def script(conn: Connection) -> None:
        while True:
            number = int((await conn.read_request()).target[1:])
            await let_go[number].wait()
            await conn.send(GOOD)

    peer = await raw_peer(script)
    got = bytearray()

    def fetch(number: int) -> Any:
        if kind == "hop":
            return transport.fetch(hop(peer, f"/{number}"))
        callback = got.extend if kind == "streaming" else None
        return transport.fetch(peer.url(f"/{number}"), streaming_callback=callback)

    fetches = [fetch(number) for number in range(5)]
    await asyncio.wait_for(peer.received(2), 10)
    for number in range(4):
        assert len(peer.requests) == number + 2
        let_go[number].set()
        assert (await fetches[number]).code == 200
        await asyncio.wait_for(peer.received(min(number + 3, 5)), 10)
    let_go[4].set()
    last = await fetches[4]
    assert last.body == (b"" if kind == "streaming" else b"good")
    assert [request.target for request in peer.requests] == ["/0", "/1", "/2", "/3", "/4"]
    if kind != "hop":
        assert last.time_info["queue"] > 0
    assert bytes(got) == (b"good" * 5 if kind == "streaming" else b"")


async def test_cancel_in_the_queue(make_transport: MakeTransport, raw_peer: MakePeer) -> None:
    transport = make_transport(max_clients=1)
    peer = await raw_peer(stalling)
    first = transport.fetch(hop(peer, "/first"))
    hops = [transport.fetch(hop(peer, "/never")), transport.fetch(hop(peer, "/good"))]
    plain = [transport.fetch(peer.url("/never")), transport.fetch(peer.url("/good"))]
    await asyncio.wait_for(peer.received(), 10)
    hops[0].cancel()
    plain[0].cancel()
    # A callback hears of the second one in the next iteration of the loop.
    await asyncio.sleep(0)
    first.cancel()
    assert (await hops[1]).body == (await plain[1]).body == b"good"
    assert [request.target for request in peer.requests] == ["/first", "/good", "/good"]


@pytest.mark.parametrize("plain", [False, True])
async def test_cancel_after_the_queue(
    plain: bool, make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    transport = make_transport(max_clients=1)
    left = asyncio.Event()

    async def script(conn: Connection) -> None:
        if (await conn.read_request()).target == "/good":
            await conn.send(GOOD)
            await conn.read_request()
        await conn.wait_closed_by_client()
        left.set()

    peer = await raw_peer(script)
    first = transport.fetch(hop(peer, "/good"))
    second = transport.fetch(peer.url("/slow") if plain else hop(peer, "/slow"))
    assert (await first).body == b"good"
    await asyncio.wait_for(peer.received(2), 10)
    second.cancel()
    await asyncio.wait_for(left.wait(), 10)


async def test_timeout_in_the_queue(make_transport: MakeTransport, raw_peer: MakePeer) -> None:
    transport = make_transport(max_clients=1)
    peer = await raw_peer(stalling)
    first = transport.fetch(hop(peer, "/first"))
    second = transport.fetch(hop(peer, "/second", request_timeout=0.05))
    assert str(await fails_with(second, RequestTimeout)).endswith("Timeout in request queue")
    third = transport.fetch(hop(peer, "/third", request_timeout=0.2))
    first.cancel()
    # What it waited for counts.
    await fails_with(third, RequestTimeout)
    assert [request.target for request in peer.requests] == ["/first", "/third"]


async def test_many_in_the_queue_fail_as_they_begin(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    transport = make_transport(max_clients=1)
    peer = await raw_peer(GOOD)
    first = transport.fetch(hop(peer))
    bad = hop(peer, tls=TLS(ca_path=f"{__file__}/missing"))
    others = [transport.fetch(bad) for _ in range(1000)]
    last = transport.fetch(hop(peer))
    assert [(await future).code for future in (first, last)] == [200, 200]
    for future in others:
        await fails_with(future, HandshakeFailed)


async def test_a_setting_is_not_left_to_the_next_request(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    transport = make_transport(max_spare=1)
    peer = await raw_peer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    for changes in (
        {"method": "PUT", "body": b"one"},
        {"method": "HEAD"},
        {"fields": b"Host: other\r\nX-Field: two\r\n"},
        {"version": "HTTP/1.0"},
        {"method": "PURGE"},
        {"method": "POST", "body": b""},
        {"method": "GET", "body": b"three"},
        {},
    ):
        await transport.fetch(hop(peer, **changes))
        assert len(transport._spare_for_hops) == 1
    assert [
        (request.line, request.field("Host") == "other", request.body) for request in peer.requests
    ] == [
        ("PUT / HTTP/1.1", False, b"one"),
        ("HEAD / HTTP/1.1", False, b""),
        ("GET / HTTP/1.1", True, b""),
        ("GET / HTTP/1.0", False, b""),
        ("PURGE / HTTP/1.1", False, b""),
        ("POST / HTTP/1.1", False, b""),
        ("GET / HTTP/1.1", False, b"three"),
        ("GET / HTTP/1.1", False, b""),
    ]


@pytest.mark.parametrize("plain", [False, True])
async def test_a_spare_handle_keeps_no_large_body(
    plain: bool, make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    transport = make_transport()
    peer = await raw_peer(GOOD)
    body = os.urandom(200_000)
    references = sys.getrefcount(body)
    if plain:
        await transport.fetch(peer.url(), method="POST", body=body)
    else:
        await transport.fetch(hop(peer, method="POST", body=body))
    assert peer.requests[0].body == body
    # The loop still has the future that has woken us.
    await asyncio.sleep(0)
    assert sys.getrefcount(body) == references


async def test_what_pycurl_refuses(make_transport: MakeTransport, raw_peer: MakePeer) -> None:
    transport = make_transport()
    peer = await raw_peer(GOOD)
    await fails_with(transport.fetch(hop(peer, target="/\0")), Exception)
    assert (await transport.fetch(hop(peer))).body == b"good"


async def test_http2_without_http2(
    make_transport: MakeTransport, raw_peer: MakePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libcurl, "HAS_HTTP2", False)
    transport = make_transport()
    peer = await raw_peer(GOOD)
    with pytest.raises(ValueError, match="HTTP/2"):
        transport.fetch(hop(peer, version="HTTP/2"))


# Sockets


@pytest.fixture(params=["asyncio", "uvloop"])
def new_loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    if request.param == "uvloop":
        return pytest.importorskip("uvloop").new_event_loop  # type: ignore[no-any-return]
    return asyncio.new_event_loop


async def run_in(
    new_loop: Callable[[], asyncio.AbstractEventLoop], main: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Runs ``main`` in a thread with a loop of its own."""

    def run() -> None:
        loop = new_loop()
        try:
            loop.run_until_complete(asyncio.wait_for(main(), 15))
        finally:
            loop.close()

    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        await asyncio.wrap_future(executor.submit(run))


@pytest.mark.parametrize("no_epoll", [pytest.param(False, marks=has_epoll), True])
async def test_numbers_of_sockets_are_used_again(
    no_epoll: bool,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # libcurl closes connections without a word, and their numbers go to others at once.
    async def main() -> None:
        async def script(conn: Connection) -> None:
            await conn.read_request()
            await conn.send(GOOD)
            if conn.number % 2:
                conn.close()
                return
            while True:
                await conn.read_request()
                await conn.send(GOOD)

        peer = RawPeer(script, "127.0.0.1")
        await peer.listen(None)
        with monkeypatch.context() as patch:
            if no_epoll:
                patch.delattr(select, "epoll", raising=False)
            transport = CurlTransport(force_instance=True)
        assert isinstance(transport._engine.sockets, LoopSockets if no_epoll else EpollSockets)
        for number in range(10):
            # Other sockets of the loop take the numbers that come free.
            streams = [await asyncio.open_connection("127.0.0.1", peer.port) for _ in range(3)]
            got = await asyncio.gather(*(transport.fetch(hop(peer)) for _ in range(number + 1)))
            assert {res.body for res in got} == {b"good"}
            for reader, writer in streams:
                writer.write(b"GET / HTTP/1.1\r\n\r\n")
                assert await reader.readuntil(b"good") == GOOD
                writer.close()
                await writer.wait_closed()
        transport.close()
        await peer.close()

    await run_in(new_loop, main)


@has_epoll
@pytest.mark.parametrize("words", [b"", b"words"], ids=["closes", "speaks"])
async def test_an_idle_connection_wakes_the_loop_once_at_most(
    words: bytes, make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    idle, done = asyncio.Event(), asyncio.Event()

    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(GOOD)
        await idle.wait()
        if words:
            await conn.send(words)
        else:
            conn.close()
        done.set()

    peer = await raw_peer(script)
    transport = make_transport()
    await transport.fetch(hop(peer))
    sockets: Any = transport._engine.sockets
    polls = 0
    poll = sockets.poll

    def counting() -> None:
        nonlocal polls
        polls += 1
        poll()

    sockets.poll = counting
    idle.set()
    await asyncio.wait_for(done.wait(), 10)
    for _ in range(20):
        await asyncio.sleep(0)
    assert polls <= 1
    assert (await transport.fetch(hop(peer, method="POST", body=b""))).body == b"good"


async def test_many_begin_at_once_and_again(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    # So many that libcurl is spared the search where there is nothing to be found.
    transport = make_transport(max_idle=20)
    peer = await raw_peer(GOOD)
    for _ in range(3):
        fetches = [transport.fetch(hop(peer)) for _ in range(150)]
        fetches += [transport.fetch(peer.url()) for _ in range(150)]
        assert {res.body for res in await asyncio.gather(*fetches)} == {b"good"}
    before = peer.connections
    for _ in range(20):
        await transport.fetch(hop(peer, method="POST", body=b""))
    if libcurl.CAN_STOP:
        assert peer.connections == before


async def test_max_idle(make_transport: MakeTransport, raw_peer: MakePeer) -> None:
    transport = make_transport(max_idle=3)
    open_connections = 0
    together = asyncio.Event()

    async def script(conn: Connection) -> None:
        nonlocal open_connections
        open_connections += 1
        try:
            await conn.read_request()
            await together.wait()
            while True:
                await conn.send(GOOD)
                await conn.read_request()
        finally:
            open_connections -= 1

    peer = await raw_peer(script)
    fetches = [transport.fetch(hop(peer)) for _ in range(120)]
    await asyncio.wait_for(peer.received(120), 10)
    together.set()
    await asyncio.gather(*fetches)
    for _ in range(3):
        await transport.fetch(hop(peer))
    # The limit of libcurl's is moved in steps.
    assert open_connections <= 3 + 2 * 32


# Time


async def test_the_timer_is_moved_to_an_earlier_time_only(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    transport = make_transport()
    peer = await raw_peer(stalling)
    long = transport.fetch(hop(peer, request_timeout=60))
    await asyncio.wait_for(peer.received(), 10)
    short = transport.fetch(hop(peer, request_timeout=0.1))
    await fails_with(short, RequestTimeout)
    assert not long.done()
    # A deadline that has gone, with a timer that is still set for it.
    last = transport.fetch(hop(peer, request_timeout=0.1))
    assert (await transport.fetch(hop(peer, "/good", request_timeout=0.05))).body == b"good"
    await fails_with(last, RequestTimeout)
    long.cancel()


# The end


@pytest.mark.parametrize("max_clients", [None, 3])
async def test_close(
    max_clients: int | None, make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    transport = make_transport(max_clients=max_clients)
    peer = await raw_peer(stalling)
    await transport.fetch(hop(peer, "/good"))
    fetches = [
        transport.fetch(hop(peer)),
        transport.fetch(peer.url()),
        transport.fetch(peer.url(), streaming_callback=print),
        transport.fetch(hop(peer)),
        transport.fetch(peer.url()),
    ]
    await asyncio.wait_for(peer.received(4 if max_clients else 6), 10)
    transport.close()
    for fetch in fetches:
        assert fetch.done()
        with pytest.raises(HTTPStreamClosedError, match="client closed"):
            fetch.result()
    transport.close()
    for request in (peer.url(), hop(peer)):
        with pytest.raises(RuntimeError, match="closed"):
            transport.fetch(request)


async def test_close_after_the_loop(raw_peer: MakePeer) -> None:
    peer = await raw_peer(stalling)
    fetches: list[Any] = []

    def run() -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        loop.close()
        transports[0].close()

    async def main() -> None:
        transports.append(CurlTransport(force_instance=True))
        fetches.append(transports[0].fetch(hop(peer)))
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(peer.received(), ours))

    transports: list[CurlTransport] = []
    ours = asyncio.get_running_loop()
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        await asyncio.wrap_future(executor.submit(run))
    assert isinstance(fetches[0].exception(), HTTPStreamClosedError)


# Requests of Tornado's own kind, compared with its client


PLAIN: dict[str, dict[str, Any]] = {
    "get": {},
    "head": {"method": "HEAD"},
    "delete": {"method": "DELETE"},
    "options": {"method": "OPTIONS"},
    "custom": {"method": "CUSTOM", "allow_nonstandard_methods": True},
    "post": {"method": "POST", "body": b"body"},
    "post text": {"method": "POST", "body": "b\xf6dy"},
    "post nothing": {"method": "POST", "body": b""},
    "post with a type": {
        "method": "POST",
        "body": b"{}",
        "headers": {"Content-Type": "application/json"},
    },
    "put": {"method": "PUT", "body": b"body"},
    "patch": {"method": "PATCH", "body": b"body"},
    "fields": {"headers": {"X-Field": "value", "Accept": "text/html", "X-Latin": "\xe4"}},
    "host": {"headers": {"Host": "other"}},
    "field without a value": {"headers": {"X-Field": ""}},
    "pragma and expect": {"headers": {"Pragma": "no-cache", "Expect": "100-continue"}},
    "user agent": {"user_agent": "agent"},
    "user agent as a field": {"headers": {"User-Agent": "agent"}},
    "no decompression": {"decompress_response": False},
    "since": {"if_modified_since": 0},
    "basic": {"auth_username": "user", "auth_password": "password"},
    "prepared": {"prepare_curl_callback": lambda curl: curl.setopt(pycurl.REFERER, "me")},
}


@pytest.mark.parametrize("options", PLAIN.values(), ids=PLAIN)
async def test_same_bytes_as_stock(
    options: dict[str, Any], make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    stock, ours = make_transport(CurlAsyncHTTPClient), make_transport()
    await stock.fetch(peer.url("/path?query"), **options)
    # The second time with a handle that is set up already.
    for _ in range(2):
        await ours.fetch(peer.url("/path?query"), **options)
    expected = peer.requests[0]
    for request in peer.requests[1:]:
        assert (request.raw, request.body) == (expected.raw, expected.body)


OK = b"HTTP/1.1 200 OK\r\n"
ANSWERS: dict[str, bytes] = {
    "length": response(b"body", "X-Field: value", "X-Field: other", "Content-Type: text/plain"),
    "empty": response(b""),
    "not found": response(b"gone", status="404 Nowhere"),
    "no phrase": response(b"body", status="200 "),
    "odd phrase": response(b"body", status="200 \xe4ll right"),
    "odd code": response(b"body", status="599 Own"),
    "folded": response(b"body", "X-Field: one\r\n two"),
    "latin-1": response(b"body", "X-Field: \xe4"),
    "odd name": response(b"body", "X Field: value"),
    "trailers": OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Trailer: a\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\nX-Interim: a\r\n\r\n" + response(b"body"),
    "gzip": response(gzip.compress(b"body" * 1000), "Content-Encoding: gzip"),
    "no body": b"HTTP/1.1 304 Not Modified\r\nX-Field: value\r\n\r\n",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_same_response_as_stock(
    answer: bytes, make_transport: MakeTransport, raw_peer: MakePeer, capfd: Any
) -> None:
    peer = await raw_peer(answer)

    async def told(transport: AsyncHTTPClient) -> Any:
        try:
            res = await transport.fetch(peer.url("/path"), raise_error=False)
        except HTTPError as error:
            # Where stock cannot make sense of a field it prints that, and fails so.
            return type(error), error.code
        assert res.start_time is not None and res.request_time > 0
        return (
            res.code,
            res.reason,
            list(res.headers.get_all()),
            res.body,
            res.effective_url,
            list(res.time_info),
            repr(res.error),
        )

    expected = await told(make_transport(CurlAsyncHTTPClient))
    ours = make_transport()
    assert await told(ours) == expected
    assert await told(ours) == expected


async def test_headers_are_those_of_tornado(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(GOOD)
    headers = (await make_transport().fetch(peer.url())).headers
    # Not a flag, as it would be for the headers of a Turbo response.
    assert headers.get("X-Missing", False) is False
    assert headers.get("content-length", True) == "4"


async def test_max_body_size(make_transport: MakeTransport, raw_peer: MakePeer) -> None:
    transport = make_transport(max_body_size=1000)
    peer = await raw_peer(response(gzip.compress(bytes(2000)), "Content-Encoding: gzip"))
    error = await fails_with(transport.fetch(peer.url()), CurlError)
    assert "max_body_size of 1000 bytes" in str(error)
    assert len((await transport.fetch(peer.url(), decompress_response=False)).body) < 100


async def test_a_mistake_in_a_request_is_its_error(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    transport = make_transport()
    peer = await raw_peer(GOOD)
    await fails_with(transport.fetch(peer.url(), method="POST"), ValueError)
    await fails_with(transport.fetch(peer.url(), method="UNKNOWN"), KeyError)
    await fails_with(transport.fetch(peer.url(), network_interface=5), TypeError)
    # Newer versions of Tornado refuse such a field before it gets here.
    bad = HTTPRequest(peer.url(), **transport.defaults)
    bad.headers = BadHeaders()
    failed: list[HTTPResponse] = []
    transport.fetch_impl(bad, failed.append)
    assert isinstance(failed[0].error, ValueError)
    assert (await transport.fetch(peer.url())).body == b"good"
    assert len(peer.requests) == 1


class BadHeaders(httputil.HTTPHeaders):
    def get_all(self) -> Iterator[tuple[str, str]]:
        yield "X-Field", "one\r\ntwo"


async def test_a_callback_that_raises(
    make_transport: MakeTransport, raw_peer: MakePeer, caplog: pytest.LogCaptureFixture
) -> None:
    transport = make_transport()
    handled = []
    transport.handle_callback_exception = handled.append  # type: ignore[method-assign]
    peer = await raw_peer(GOOD)
    request = HTTPRequest(peer.url(), **transport.defaults)
    called = asyncio.Event()

    def callback(response: HTTPResponse) -> None:
        called.set()
        raise ZeroDivisionError

    transport.fetch_impl(request, callback)
    await asyncio.wait_for(called.wait(), 10)
    assert handled == [callback]
    assert (await transport.fetch(peer.url())).body == b"good"


def half_a_body(left: asyncio.Event) -> Script:
    """Returns the script of a peer that waits until it is left with half a body sent."""

    async def script(conn: Connection) -> None:
        if (await conn.read_request()).target == "/good":
            await conn.send(GOOD)
            return
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        await conn.wait_closed_by_client()
        left.set()

    return script


async def test_cancel_within_a_call_of_libcurl(
    make_transport: MakeTransport, raw_peer: MakePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As the signal handler of asyncio.run() does it on Ctrl-C.
    left = asyncio.Event()
    on_body = HopHandle._on_body
    # What is raised within the call would only be printed.
    cancels: list[object] = []

    def interrupted(handle: HopHandle, chunk: bytes) -> int | None:
        if chunk == b"12345":
            try:
                cancels.append(fetch.cancel())
            except pycurl.error as error:
                cancels.append(error)
        return on_body(handle, chunk)

    monkeypatch.setattr(HopHandle, "_on_body", interrupted)
    transport = make_transport()
    peer = await raw_peer(half_a_body(left))
    fetch = transport.fetch(hop(peer), raise_error=False)
    await asyncio.wait_for(left.wait(), 10)
    assert cancels == [True]
    assert fetch.cancelled()
    assert (await transport.fetch(hop(peer, "/good"), raise_error=False)).body == b"good"


@pytest.mark.parametrize("streaming", [False, True])
async def test_cancel_plain(
    streaming: bool, make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    left = asyncio.Event()
    transport = make_transport()
    peer = await raw_peer(half_a_body(left))
    arrived = asyncio.Event()
    callback = (lambda chunk: arrived.set()) if streaming else None
    fetch = transport.fetch(peer.url(), streaming_callback=callback)
    await asyncio.wait_for(arrived.wait() if streaming else peer.received(), 10)
    fetch.cancel()
    await asyncio.wait_for(left.wait(), 10)
    assert (await transport.fetch(peer.url("/good"))).body == b"good"


# Of pycurl 7.45.7.
@pytest.mark.filterwarnings("ignore:debug_callback failed to acquire thread:RuntimeWarning")
async def test_debug_log(
    make_transport: MakeTransport, raw_peer: MakePeer, caplog: pytest.LogCaptureFixture
) -> None:
    transport = make_transport()
    peer = await raw_peer(GOOD)
    with caplog.at_level(logging.DEBUG, "tornado.curl_httpclient"):
        await transport.fetch(peer.url())
    assert any("GET / HTTP/1.1" in message for message in caplog.messages)


async def test_defaults_are_looked_at_each_time(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    transport = make_transport(defaults={"user_agent": "one"})
    peer = await raw_peer(GOOD)
    await transport.fetch(peer.url())
    transport.defaults["user_agent"] = "two"
    await transport.fetch(peer.url())
    assert [request.field("User-Agent") for request in peer.requests] == ["one", "two"]


# What libcurl needs to be told


async def test_connection_field_in_its_place(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(GOOD)
    fields = b"Host: here\r\nX-One: 1\r\nConnection: x-two\r\nX-Two:\r\nX-Three: \r\n"
    await make_transport().fetch(hop(peer, fields=fields))
    assert peer.requests[0].fields == [
        ("Host", "here"),
        ("X-One", "1"),
        ("Connection", "x-two"),
        ("X-Two", ""),
        ("X-Three", ""),
    ]


@pytest.mark.parametrize("others", [b"", b"Connection: x\r\n"])
async def test_expect_as_the_first_field(
    others: bytes, make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    async def script(conn: Connection) -> None:
        heads.append(await conn.reader.readuntil(b"\r\n\r\n"))
        await conn.send(response(b"no", status="417 Expectation Failed"))

    heads: list[bytes] = []
    peer = await raw_peer(script)
    fields = b"Expect: 100-continue\r\n" + others + b"Content-Length: 4\r\n"
    res = await make_transport().fetch(hop(peer, method="POST", fields=fields, body=b"body"))
    assert res.code == 417
    [head] = heads
    assert sorted(head.splitlines()[1:-1]) == sorted(fields.splitlines())


async def test_no_other_protocol(
    make_transport: MakeTransport, raw_peer: MakePeer, tmp_path: Any
) -> None:
    transport = make_transport()
    await transport.fetch(hop(await raw_peer(GOOD)))
    # No hop has such a URL; what libcurl would say of one is asked of its handle.
    [handle] = transport._spare_for_hops
    (tmp_path / "secret").write_text("secret")
    handle.curl.setopt(pycurl.URL, (tmp_path / "secret").as_uri())
    with pytest.raises(pycurl.error) as caught:
        handle.curl.perform()
    assert caught.value.args[0] == pycurl.E_UNSUPPORTED_PROTOCOL


async def test_no_field_is_added(make_transport: MakeTransport, raw_peer: MakePeer) -> None:
    peer = await raw_peer(GOOD)
    transport = make_transport()
    await transport.fetch(hop(peer, fields=b""))
    await transport.fetch(hop(peer, method="POST", fields=b"Content-Length: 4\r\n", body=b"body"))
    assert [request.fields for request in peer.requests] == [[], [("Content-Length", "4")]]


async def test_interim_responses_without_end(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(b"HTTP/1.1 102 Processing\r\n\r\n" * 11)
    await fails_with(make_transport().fetch(hop(peer)), MalformedResponse)


async def test_head_with_a_body(make_transport: MakeTransport, raw_peer: MakePeer) -> None:
    peer = await raw_peer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
    transport = make_transport()
    for _ in range(2):
        res = await transport.fetch(hop(peer, method="HEAD", body=b"body"))
        assert (res.code, res.body, res.headers["Content-Length"]) == (200, b"", "10")
    assert [request.body for request in peer.requests] == [b"body", b"body"]


@keeps
async def test_what_comes_with_the_last_chunk_is_no_answer(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    # libcurl throws it away, and takes the connection for a good one.
    peer = await raw_peer(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
        + response(b"evil")
    )
    transport = make_transport()
    for _ in range(3):
        assert (await transport.fetch(hop(peer))).body == b"body"


@keeps
async def test_an_answer_that_was_there_before_its_question(
    make_transport: MakeTransport, raw_peer: MakePeer, certificates: Certificates
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        conn.writer.write(GOOD)
        await conn.send(response(b"evil"))
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await conn.read_request()

    peer = await raw_peer(script, certificates.server_context())
    transport = make_transport()
    tls = TLS(ca_path=str(certificates.ca))
    for method in ("GET", "GET", "POST"):
        body = b"" if method == "POST" else None
        fetch = transport.fetch(hop(peer, method=method, body=body, tls=tls))
        try:
            assert (await fetch).body == b"good"
        except HTTPStreamClosedError as error:
            # The request may be under way before it is seen, and is not sent again then.
            assert method == "POST" and "before the request" in str(error)


@keeps
@has_epoll
async def test_connections_from_one_port(
    make_transport: MakeTransport, raw_peer: MakePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The kernel gives a port of this side to connections to different peers.
    over = asyncio.Event()

    async def closing(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(GOOD)
        if conn.number == 1:
            await over.wait()
            conn.close()
        else:
            await stalling(conn)

    first, second = await raw_peer(closing), await raw_peer(GOOD)
    transport = make_transport()
    original = HopHandle._configure
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))

        def before_bind(fd: int, purpose: int) -> int:
            opened = socket.socket(fileno=fd)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.detach()
            return 0

        def configure(handle: HopHandle, hop: Hop) -> None:
            original(handle, hop)
            handle.curl.setopt(pycurl.SOCKOPTFUNCTION, before_bind)
            handle.curl.setopt(pycurl.LOCALPORT, bound.getsockname()[1])

        monkeypatch.setattr(HopHandle, "_configure", configure)
        for peer in (first, second):
            assert (await transport.fetch(hop(peer))).body == b"good"
        monkeypatch.undo()
    over.set()
    await asyncio.sleep(0)
    # One of them has been closed: that is no reason to use it, or not to use the other.
    for peer in (first, second):
        fetch = transport.fetch(hop(peer, method="POST", body=b""))
        assert (await asyncio.wait_for(fetch, 10)).body == b"good"
    assert (first.connections, second.connections) == (2, 1)


@keeps
@has_epoll
async def test_closed_within_the_head_when_another_begins(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    # libcurl takes such a head for a whole response, and the connection for a good one.
    transport = make_transport()
    posts: list[Awaitable[HTTPResponse]] = []

    async def script(conn: Connection) -> None:
        while (await conn.read_request()).target != "/cut":
            await conn.send(GOOD)
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-")
        conn.close()
        # The next call of libcurl's is for both.
        posts.append(transport.fetch(hop(peer, method="POST", body=b"")))

    peer = await raw_peer(script)
    assert (await transport.fetch(hop(peer))).body == b"good"
    await fails_with(transport.fetch(hop(peer, "/cut")), BrokenConnection)
    [post] = posts
    assert (await asyncio.wait_for(post, 10)).body == b"good"
    assert peer.connections == 2


class FarewellOverTLS:
    """A peer that speaks TLS by itself, says goodbye in it with its first answer, and keeps
    TCP open. What it says together comes together.
    """

    def __init__(self, context: ssl.SSLContext, answer: bytes) -> None:
        self.context = context
        self.answer = answer
        #: Called before the first answer.
        self.before: Callable[[], None] = lambda: None

    async def __call__(self, conn: Connection) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.context.wrap_bio(incoming, outgoing, server_side=True)

        async def done(step: Callable[[], Any]) -> Any:
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    await conn.send(outgoing.read())
                    data = await conn.reader.read(65536)
                    if not data:
                        raise EOFError from None
                    incoming.write(data)

        await done(tls.do_handshake)
        # A ticket of TLS 1.3 would come with the answer.
        await conn.send(outgoing.read())
        first = conn.number == 1
        while True:
            await done(lambda: tls.read(65536))
            tls.write(self.answer if first else GOOD)
            if first:
                with contextlib.suppress(ssl.SSLWantReadError):
                    tls.unwrap()
                self.before()
            await conn.send(outgoing.read())
            if first:
                return


CUT_HEADS = {
    "a status line": b"HTTP/1.1 200 OK\r\n",
    "a field": b"HTTP/1.1 200 OK\r\nContent-Le",
    "no empty line": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n",
    "an interim response": b"HTTP/1.1 100 Continue\r\n\r\n",
}


@keeps
@has_epoll
@pytest.mark.parametrize("head", CUT_HEADS.values(), ids=CUT_HEADS)
async def test_farewell_over_tls_within_the_head(
    head: bytes, make_transport: MakeTransport, raw_peer: MakePeer, certificates: Certificates
) -> None:
    # Whoever used the connection again would wait for an answer until TCP ends.
    script = FarewellOverTLS(certificates.server_context(), head)
    peer = await raw_peer(script)
    peer.scheme = "https"
    transport = make_transport()
    tls = TLS(ca_path=str(certificates.ca))
    await fails_with(transport.fetch(hop(peer, tls=tls)), BrokenConnection)
    for method in ("POST", "GET"):
        body = b"" if method == "POST" else None
        fetch = transport.fetch(hop(peer, method=method, body=body, tls=tls))
        assert (await asyncio.wait_for(fetch, 10)).body == b"good"
    assert peer.connections == 2


@keeps
@has_epoll
async def test_farewell_over_tls_within_the_head_when_another_begins(
    make_transport: MakeTransport, raw_peer: MakePeer, certificates: Certificates
) -> None:
    script = FarewellOverTLS(certificates.server_context(), CUT_HEADS["a field"])
    peer = await raw_peer(script)
    peer.scheme = "https"
    transport = make_transport()
    tls = TLS(ca_path=str(certificates.ca))
    posts: list[Awaitable[HTTPResponse]] = []
    # The call of libcurl's that reads the answer begins this one, too.
    script.before = lambda: posts.append(
        transport.fetch(hop(peer, method="POST", body=b"", tls=tls))
    )
    await fails_with(transport.fetch(hop(peer, tls=tls)), BrokenConnection)
    [post] = posts
    assert (await asyncio.wait_for(post, 10)).body == b"good"
    assert peer.connections == 2


@keeps
@has_epoll
async def test_farewell_over_tls_after_a_response(
    make_transport: MakeTransport, raw_peer: MakePeer, certificates: Certificates
) -> None:
    peer = await raw_peer(FarewellOverTLS(certificates.server_context(), GOOD))
    peer.scheme = "https"
    transport = make_transport()
    tls = TLS(ca_path=str(certificates.ca))
    for _ in range(3):
        fetch = transport.fetch(hop(peer, tls=tls))
        assert (await asyncio.wait_for(fetch, 10)).body == b"good"


async def test_trust_is_what_was_said(
    make_transport: MakeTransport, raw_peer: MakePeer, certificates: Certificates
) -> None:
    peer = await raw_peer(GOOD, certificates.server_context())
    transport = make_transport()
    for path in (certificates.ca, certificates.ca_directory):
        tls = TLS(ca_path=str(path))
        assert (await transport.fetch(hop(peer, tls=tls, keep_alive=False))).body == b"good"
    for tls in (TLS(), TLS(ca_path=str(certificates.other_ca))):
        error = await fails_with(transport.fetch(hop(peer, tls=tls)), CurlError)
        assert error.errno in (pycurl.E_SSL_CACERT, 51)  # type: ignore[attr-defined]


def test_trust_in_an_empty_directory(tmp_path: Any) -> None:
    cafile, capath = curl_hop._trust(TLS(ca_path=str(tmp_path)))
    assert capath == str(tmp_path)
    assert cafile in (None, os.devnull)


# Old pycurl, of which the newest does the same when its additions are not there


@pytest.mark.parametrize("looks_itself", [True, False])
async def test_without_a_look_before_use(
    looks_itself: bool,
    make_transport: MakeTransport,
    raw_peer: MakePeer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(libcurl, "CAN_STOP", False)
    monkeypatch.setattr(libcurl, "LOOKS_ITSELF", looks_itself)
    monkeypatch.setattr(libcurl, "FILLS_IN_TRUST", False)
    transport = make_transport()
    peer = await raw_peer(GOOD)
    for method in ("GET", "GET", "POST", "GET"):
        body = b"" if method == "POST" else None
        assert (await transport.fetch(hop(peer, method=method, body=body))).body == b"good"
    connections = [request.connection for request in peer.requests]
    # What is not idempotent has a connection of its own.
    assert connections in ([[1, 1, 2, 1], [1, 1, 2, 2]] if looks_itself else [[1, 2, 3, 4]])


async def test_timeouts_without_a_look_before_use(
    make_transport: MakeTransport,
    raw_peer: MakePeer,
    blackhole: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(libcurl, "CAN_STOP", False)
    transport = make_transport()
    peer = await raw_peer(stalling)
    await fails_with(transport.fetch(hop(peer, request_timeout=0.05)), RequestTimeout)


# HTTP/2


class HTTP2Peer(asyncio.Protocol):
    """Answers with its path, and ``/slow`` not before another request has come.

    Refuses the streams of ``/refused``, which have then not been looked at.
    """

    connections = 0
    accepted: ClassVar[set[HTTP2Peer]] = set()

    def __init__(self) -> None:
        import h2.config
        import h2.connection

        type(self).connections += 1
        self.accepted.add(self)
        config = h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
        self.h2 = h2.connection.H2Connection(config)
        self.slow: list[int] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.transport.write(self.h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        import h2.errors
        import h2.events

        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                headers = dict(event.headers)
                requests.append(headers)
                if headers[":path"] == "/ping":
                    self.h2.ping(b"12345678")
                if headers[":path"] == "/refused":
                    self.h2.reset_stream(event.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
                    continue
                if headers[":path"] == "/slow":
                    self.slow.append(event.stream_id)
                    continue
                for stream in [*self.slow, event.stream_id]:
                    self.h2.send_headers(stream, [(":status", "200"), ("x-field", "value")])
                    self.h2.send_data(stream, headers[":path"].encode(), end_stream=True)
                self.slow.clear()
        self.flush()


requests: list[dict[str, str]] = []


@pytest.fixture
async def http2_peer(certificates: Certificates) -> AsyncIterator[Any]:
    pytest.importorskip("h2")
    if not libcurl.HAS_HTTP2:
        pytest.skip("this libcurl does not speak HTTP/2")
    requests.clear()
    HTTP2Peer.connections = 0
    context = certificates.server_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(HTTP2Peer, "127.0.0.1", 0, ssl=context)
    peer = RawPeer(b"", "127.0.0.1")
    peer.port = server.sockets[0].getsockname()[1]
    peer.scheme = "https"
    yield peer
    server.close()
    while HTTP2Peer.accepted:
        HTTP2Peer.accepted.pop().transport.abort()


async def test_http2(
    make_transport: MakeTransport, http2_peer: RawPeer, certificates: Certificates
) -> None:
    transport = make_transport()
    common: dict[str, Any] = {"version": "HTTP/2", "tls": TLS(ca_path=str(certificates.ca))}
    host = f"127.0.0.1:{http2_peer.port}"
    fields = f"Host: {host}\r\nUser-Agent: agent\r\nX-Field: Value\r\n".encode()
    res = await transport.fetch(hop(http2_peer, "/a/../b?c", fields=fields, **common))
    assert (res.code, res.reason, res.body) == (200, "OK", b"/a/../b?c")
    assert res.headers.get_version() == "HTTP/2"
    assert res.headers["X-Field"] == "value"
    assert requests == [
        {
            ":method": "GET",
            ":scheme": "https",
            ":authority": host,
            ":path": "/a/../b?c",
            "user-agent": "agent",
            "x-field": "Value",
        }
    ]
    res = await transport.fetch(hop(http2_peer, method="POST", body=b"body", **common))
    assert res.code == 200
    assert requests[1]["content-length"] == "4"


@pytest.mark.skipif(
    not libcurl.CAN_STOP and not libcurl.LOOKS_ITSELF,
    reason="no connection is kept with this libcurl",
)
async def test_http2_shares_a_connection(
    make_transport: MakeTransport, http2_peer: RawPeer, certificates: Certificates
) -> None:
    transport = make_transport()
    common: dict[str, Any] = {"version": "HTTP/2", "tls": TLS(ca_path=str(certificates.ca))}
    assert (await transport.fetch(hop(http2_peer, "/ping", **common))).body == b"/ping"
    # A peer may say something on an idle connection of HTTP/2.
    for _ in range(5):
        await asyncio.sleep(0)
    slow = [transport.fetch(hop(http2_peer, "/slow", **common)) for _ in range(3)]
    await asyncio.sleep(0)
    assert (await transport.fetch(hop(http2_peer, "/fast", **common))).body == b"/fast"
    assert {(await fetch).body for fetch in slow} == {b"/fast"}
    assert HTTP2Peer.connections == 1
    fresh = hop(http2_peer, "/fresh", keep_alive=False, **common)
    assert (await transport.fetch(fresh)).body == b"/fresh"
    assert HTTP2Peer.connections == 2


# Handles


@keeps
@pytest.mark.parametrize(("method", "times"), [("GET", 2), ("POST", 1)])
async def test_http2_refuses_each_stream(
    method: str,
    times: int,
    make_transport: MakeTransport,
    http2_peer: RawPeer,
    certificates: Certificates,
) -> None:
    fields = f"Host: 127.0.0.1:{http2_peer.port}\r\n".encode()
    tls = TLS(ca_path=str(certificates.ca))
    request = hop(http2_peer, "/refused", method=method, fields=fields, version="HTTP/2", tls=tls)
    await fails_with(make_transport().fetch(request), Exception)
    assert [headers[":path"] for headers in requests] == ["/refused"] * times


@pytest.mark.parametrize(
    "begun", [b"HTTP/1.1 200 OK\r\nA: b\r\n ", b"HTTP/1.1 200 OK\r\nA: b\r\n\t"]
)
async def test_nothing_of_a_head_that_was_cut_is_left(
    begun: bytes, make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    async def script(conn: Connection) -> None:
        request = await conn.read_request()
        if request.target == "/cut":
            await conn.send(begun)
            conn.close()
            return
        await conn.send(GOOD)
        conn.close()

    peer = await raw_peer(script)
    transport = make_transport()
    for _ in range(2):
        await fails_with(transport.fetch(hop(peer, target="/cut")), Exception)
        assert (await transport.fetch(hop(peer))).body == b"good"
        # Tornado's way.
        await transport.fetch(peer.url("/cut"), raise_error=False)
        assert (await transport.fetch(peer.url())).body == b"good"
