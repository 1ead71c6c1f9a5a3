"""The engine, the sockets, the handles and the queue of `CurlTransport`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import select
import ssl
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tornado.simple_httpclient import HTTPStreamClosedError

from tests.support import Connection, MakePeer, RawPeer
from tests.support.phases import in_phase, require_phase
from turbo_tornado.failures import (
    HandshakeFailed,
    RequestTimeout,
)
from turbo_tornado.request.tls import TLS

pycurl = pytest.importorskip("pycurl")


from turbo_tornado.transports.curl import CurlTransport, libcurl
from turbo_tornado.transports.curl.sockets import EpollSockets, LoopSockets

from .curl import GOOD, MakeTransport, fails_with, has_epoll, request_to, send, stalling

# Tornado 6.4 with pycurl 7.46 and newer.
pytestmark = pytest.mark.filterwarnings("ignore:IOCTLFUNCTION is deprecated:DeprecationWarning")

# Handles and the queue


async def test_number_of_requests_is_not_limited(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    transport = make_transport(max_spare=10)
    together = asyncio.Event()

    async def script(conn: Connection) -> None:
        await conn.read_request()
        await together.wait()
        await conn.send(GOOD)

    peer = await raw_peer(script)
    fetches = [send(transport, request_to(peer)) for _ in range(300)]
    await asyncio.wait_for(peer.received(300), 20)
    together.set()
    assert {(await fetch).body for fetch in fetches} == {b"good"}
    assert len(transport._handles.spare) == 10


@pytest.mark.parametrize("kind", ["request", "tornado", "streaming"])
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
        if kind == "request":
            return send(transport, request_to(peer, f"/{number}"))
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
    if kind != "request":
        assert last.time_info["queue"] > 0
    assert bytes(got) == (b"good" * 5 if kind == "streaming" else b"")


async def test_cancel_in_the_queue(make_transport: MakeTransport, raw_peer: MakePeer) -> None:
    transport = make_transport(max_clients=1)
    peer = await raw_peer(stalling)
    first = send(transport, request_to(peer, "/first"))
    sent = [send(transport, request_to(peer, "/never")), send(transport, request_to(peer, "/good"))]
    tornado = [transport.fetch(peer.url("/never")), transport.fetch(peer.url("/good"))]
    await asyncio.wait_for(peer.received(), 10)
    sent[0].cancel()
    tornado[0].cancel()
    # A callback is called for the second one in the next iteration of the loop.
    await asyncio.sleep(0)
    first.cancel()
    assert (await sent[1]).body == (await tornado[1]).body == b"good"
    assert [request.target for request in peer.requests] == ["/first", "/good", "/good"]


@pytest.mark.parametrize("tornado", [False, True])
async def test_cancel_after_the_queue(
    tornado: bool, make_transport: MakeTransport, raw_peer: MakePeer
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
    first = send(transport, request_to(peer, "/good"))
    second: Any
    if tornado:
        second = transport.fetch(peer.url("/slow"))
    else:
        second = send(transport, request_to(peer, "/slow"))
    assert (await first).body == b"good"
    await asyncio.wait_for(peer.received(2), 10)
    second.cancel()
    await asyncio.wait_for(left.wait(), 10)


@in_phase
async def test_timeout_in_the_queue(make_transport: MakeTransport, raw_peer: MakePeer) -> None:
    transport = make_transport(max_clients=1)
    peer = await raw_peer(stalling)
    first = send(transport, request_to(peer, "/first"))
    await asyncio.wait_for(peer.received(), 10)
    second = send(transport, request_to(peer, "/second", request_timeout=0.05))
    assert str(await fails_with(second, RequestTimeout)).endswith("Timeout in request queue")
    third = send(transport, request_to(peer, "/third", request_timeout=0.2))
    first.cancel()
    # The timeout includes the time in the queue.
    await fails_with(third, RequestTimeout)
    require_phase(len(peer.requests) > 1)
    assert [request.target for request in peer.requests] == ["/first", "/third"]


async def test_queued_requests_that_fail_at_start(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    transport = make_transport(max_clients=1)
    peer = await raw_peer(GOOD)
    first = send(transport, request_to(peer))
    bad = request_to(peer, target="/\0")
    others = [send(transport, bad) for _ in range(1000)]
    last = send(transport, request_to(peer))
    assert [(await future).code for future in (first, last)] == [200, 200]
    for future in others:
        await fails_with(future, ValueError)


async def test_unusable_tls_settings(make_transport: MakeTransport, raw_peer: MakePeer) -> None:
    transport = make_transport(max_clients=1)
    peer = await raw_peer(GOOD)
    peer.scheme = "https"
    with pytest.raises(HandshakeFailed):
        send(transport, request_to(peer, tls=TLS(ca_path=f"{__file__}/missing")))
    with pytest.raises(ValueError, match="SSLContext"):
        send(transport, request_to(peer, tls=ssl.create_default_context()))


async def test_options_do_not_affect_the_next_request(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    transport = make_transport(max_spare=1)
    peer = await raw_peer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    for changes in (
        {"method": "PUT", "body": b"one"},
        {"method": "HEAD"},
        {"header_block": b"Host: other\r\nX-Field: two\r\n"},
        {"version": "HTTP/1.0"},
        {"method": "PURGE"},
        {"method": "POST", "body": b""},
        {"method": "GET", "body": b"three"},
        {},
    ):
        await send(transport, request_to(peer, **changes))
        assert len(transport._handles.spare) == 1
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


@pytest.mark.parametrize("tornado", [False, True])
async def test_spare_handle_does_not_refer_to_a_large_body(
    tornado: bool, make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    transport = make_transport()
    peer = await raw_peer(GOOD)
    body = os.urandom(200_000)
    references = sys.getrefcount(body)
    if tornado:
        await transport.fetch(peer.url(), method="POST", body=body)
    else:
        await send(transport, request_to(peer, method="POST", body=body))
    assert peer.requests[0].body == body
    # The loop still refers to the future that has resumed this task.
    await asyncio.sleep(0)
    assert sys.getrefcount(body) == references


async def test_error_of_pycurl_is_reported(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    transport = make_transport()
    peer = await raw_peer(GOOD)
    await fails_with(send(transport, request_to(peer, target="/\0")), Exception)
    assert (await send(transport, request_to(peer))).body == b"good"


async def test_http2_without_support_in_libcurl(
    make_transport: MakeTransport, raw_peer: MakePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libcurl, "HAS_HTTP2", False)
    transport = make_transport()
    peer = await raw_peer(GOOD)
    with pytest.raises(ValueError, match="HTTP/2"):
        send(transport, request_to(peer, version="HTTP/2"))


# Sockets


@pytest.fixture(params=["asyncio", "uvloop"])
def new_loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    if request.param == "uvloop":
        return pytest.importorskip("uvloop").new_event_loop  # type: ignore[no-any-return]
    return asyncio.new_event_loop


async def run_in(
    new_loop: Callable[[], asyncio.AbstractEventLoop], main: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Run ``main`` in a thread with a separate loop."""

    def run() -> None:
        loop = new_loop()
        try:
            loop.run_until_complete(asyncio.wait_for(main(), 15))
        finally:
            loop.close()

    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        await asyncio.wrap_future(executor.submit(run))


@pytest.mark.parametrize("no_epoll", [pytest.param(False, marks=has_epoll), True])
async def test_reused_descriptors(
    no_epoll: bool,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # libcurl closes connections without notice, and other sockets get their descriptors.
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
            # Other sockets of the loop get the free descriptors.
            streams = [await asyncio.open_connection("127.0.0.1", peer.port) for _ in range(3)]
            got = await asyncio.gather(
                *(send(transport, request_to(peer)) for _ in range(number + 1))
            )
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
async def test_idle_connection_wakes_the_loop_once_at_most(
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
    await send(transport, request_to(peer))
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
    assert (await send(transport, request_to(peer, method="POST", body=b""))).body == b"good"


async def test_many_requests_start_at_once_repeatedly(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    # So many that the engine disables the search for idle connections if there are none.
    transport = make_transport(max_idle=20)
    peer = await raw_peer(GOOD)
    for _ in range(3):
        fetches = [send(transport, request_to(peer)) for _ in range(150)]
        fetches += [transport.fetch(peer.url()) for _ in range(150)]
        assert {res.body for res in await asyncio.gather(*fetches)} == {b"good"}
    before = peer.connections
    for _ in range(20):
        await send(transport, request_to(peer, method="POST", body=b""))
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
    fetches = [send(transport, request_to(peer)) for _ in range(120)]
    await asyncio.wait_for(peer.received(120), 10)
    together.set()
    await asyncio.gather(*fetches)
    for _ in range(3):
        await send(transport, request_to(peer))
    # The limit of libcurl changes in steps.
    assert open_connections <= 3 + 2 * 32


# Time


@in_phase
async def test_timer_is_moved_to_an_earlier_time_only(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    transport = make_transport()
    peer = await raw_peer(stalling)
    long = send(transport, request_to(peer, request_timeout=60))
    await asyncio.wait_for(peer.received(), 10)
    short = send(transport, request_to(peer, request_timeout=0.1))
    await fails_with(short, RequestTimeout)
    assert not long.done()
    # A deadline that was removed, with a timer that is still set for it.
    last = send(transport, request_to(peer, request_timeout=0.1))
    good = send(transport, request_to(peer, "/good", request_timeout=0.05))
    await asyncio.wait({good})
    await fails_with(last, RequestTimeout)
    long.cancel()
    require_phase(not isinstance(good.exception(), RequestTimeout))
    assert good.result().body == b"good"


# The end


@pytest.mark.parametrize("max_clients", [None, 3])
async def test_fail_requests(
    max_clients: int | None, make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    transport = make_transport(max_clients=max_clients)
    peer = await raw_peer(stalling)
    await send(transport, request_to(peer, "/good"))
    fetches = [
        send(transport, request_to(peer)),
        transport.fetch(peer.url()),
        transport.fetch(peer.url(), streaming_callback=print),
        send(transport, request_to(peer)),
        transport.fetch(peer.url()),
    ]
    await asyncio.wait_for(peer.received(4 if max_clients else 6), 10)
    transport.fail_requests()
    for fetch in fetches:
        assert fetch.done()
        with pytest.raises(HTTPStreamClosedError, match="client closed"):
            fetch.result()
    transport.fail_requests()
    transport.close()
    with pytest.raises(RuntimeError, match="closed"):
        transport.fetch(peer.url())
    with pytest.raises(RuntimeError, match="closed"):
        send(transport, request_to(peer))


async def test_close_after_the_loop(raw_peer: MakePeer) -> None:
    peer = await raw_peer(stalling)
    fetches: list[Any] = []

    def run() -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        loop.close()
        transports[0].fail_requests()

    async def main() -> None:
        transports.append(CurlTransport(force_instance=True))
        fetches.append(send(transports[0], request_to(peer)))
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(peer.received(), ours))

    transports: list[CurlTransport] = []
    ours = asyncio.get_running_loop()
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        await asyncio.wrap_future(executor.submit(run))
    assert isinstance(fetches[0].exception(), HTTPStreamClosedError)
