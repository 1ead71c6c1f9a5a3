"""A cancelled fetch stops at once, in any phase, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support import Connection, MakeClient, MakePeer, RawPeer, response
from tests.support.certificates import Certificates
from tests.support.server import Server
from turbo_tornado import HTTPClient, HTTPResponse, errors

OK = b"HTTP/1.1 200 OK\r\n"
# More than all the buffers between peer and client hold.
MUCH = 20_000_000


@pytest.fixture(autouse=True)
def silent(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test in which an error is logged."""
    yield
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


class Peer:
    """A peer that lets a fetch reach a phase, and detects the disconnect of the client.

    It responds on its second and later connections.
    """

    def __init__(self, phase: str) -> None:
        self.phase = phase
        self.reached = asyncio.Event()
        self.left = asyncio.Event()
        self.raw: RawPeer
        self.scheme = "https" if "TLS" in phase else "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.raw.port}/"

    async def script(self, conn: Connection) -> None:
        if conn.number > 1:
            await conn.read_request()
            await conn.send(response(b"second"))
            return
        try:
            await self._come_to_phase(conn)
        finally:
            await conn.wait_closed_by_client()
            self.left.set()

    async def _come_to_phase(self, conn: Connection) -> None:
        if self.phase == "TLS handshake":
            await conn.reader.read(1)
            self.reached.set()
            return
        if self.phase == "sending":
            await conn.reader.readuntil(b"\r\n\r\n")
            self.reached.set()
            return
        await conn.read_request()
        if self.phase == "second hop":
            await conn.send(response(b"", "Location: /next", status="302 Found"))
            await conn.read_request()
        elif self.phase == "headers begun":
            await conn.send(OK + b"X-A: ")
        elif "body" in self.phase:
            await self._send_much(conn)
        self.reached.set()

    async def _send_much(self, conn: Connection) -> None:
        if self.phase == "chunked body":
            head = OK + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % (2 * MUCH)
        elif self.phase == "body until close":
            head = OK + b"\r\n"
        else:
            head = OK + b"Content-Length: %d\r\n\r\n" % (2 * MUCH)
        await conn.send(head)
        # The peer has sent everything only when the client has read most of it.
        await conn.send(bytes(MUCH))

    async def was_left(self) -> None:
        await asyncio.wait_for(self.left.wait(), 10)


@pytest.fixture
async def peer(
    request: pytest.FixtureRequest, raw_peer: MakePeer, certificates: Certificates
) -> Peer:
    made = Peer(request.param)
    context = certificates.server_context() if request.param == "response over TLS" else None
    made.raw = await raw_peer(made.script, context)
    return made


def options(peer: Peer) -> dict[str, Any]:
    if peer.phase == "sending":
        return {"method": "POST", "body": bytes(MUCH)}
    return {}


PHASES = [
    "TLS handshake",
    "sending",
    "headers",
    "headers begun",
    "body",
    "chunked body",
    "body until close",
    "second hop",
    "response over TLS",
]
each_phase = pytest.mark.parametrize("peer", PHASES, indirect=True)


async def by_future(fetching: asyncio.Future[HTTPResponse], reached: Awaitable[Any]) -> None:
    await asyncio.wait_for(reached, 10)
    assert fetching.cancel()
    assert fetching.cancelled()
    with pytest.raises(asyncio.CancelledError):
        await fetching


async def by_wait_for(fetching: asyncio.Future[HTTPResponse], reached: Awaitable[Any]) -> None:
    await asyncio.wait_for(reached, 10)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(fetching, 0.01)
    assert fetching.cancelled()


async def by_task(fetching: asyncio.Future[HTTPResponse], reached: Awaitable[Any]) -> None:
    async def handler() -> HTTPResponse:
        return await fetching

    task = asyncio.create_task(handler())
    # A task that is cancelled before its first step does not reach the fetch.
    await asyncio.sleep(0)
    await asyncio.wait_for(reached, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert fetching.cancelled()


Cancel = Callable[["asyncio.Future[HTTPResponse]", Awaitable[Any]], Awaitable[None]]
each_way = pytest.mark.parametrize("cancel", [by_future, by_wait_for, by_task])


async def tasks_beyond(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Return the tasks that are not in ``before`` and do not end."""
    for _ in range(1000):
        beyond = {task for task in asyncio.all_tasks() - before if not task.done()}
        if not beyond:
            break
        await asyncio.sleep(0.005)
    return beyond


async def assert_works(client: HTTPClient, server: Server) -> None:
    res = await client.fetch(server.url("/echo"))
    assert (res.error, res.code) == (None, 200)


@each_way
@each_phase
@pytest.mark.kept
async def test_cancel(peer: Peer, cancel: Cancel, make_client: MakeClient, server: Server) -> None:
    client = make_client({"verify_ca": False})
    await cancel(client.fetch(peer.url, **options(peer)), peer.reached.wait())
    # The client is free in the same iteration of the loop.
    again = client.fetch(server.url("/echo"))
    await peer.was_left()
    res = await again
    assert (res.error, res.code) == (None, 200)


@pytest.mark.parametrize("peer", sorted({*PHASES} - {"TLS handshake"}), indirect=True)
@pytest.mark.kept
async def test_connection_is_not_pooled(peer: Peer, make_client: MakeClient) -> None:
    client = make_client({"verify_ca": False})
    await by_future(client.fetch(peer.url, **options(peer)), peer.reached.wait())
    res = await client.fetch(peer.url)
    assert (res.error, res.body) == (None, b"second")
    assert peer.raw.connections == 2
    await peer.was_left()


@each_phase
@pytest.mark.kept
async def test_cancel_leaves_no_task(peer: Peer, make_client: MakeClient) -> None:
    before = asyncio.all_tasks()
    client = make_client({"verify_ca": False})
    await by_future(client.fetch(peer.url, **options(peer)), peer.reached.wait())
    await peer.was_left()
    assert await tasks_beyond(before) == set()


def connecting_to(port: int) -> set[str]:
    """Return the connections of this process to ``port`` that are in SYN-SENT."""
    # Connections of another process can have the same port, if it was closed and reused.
    own = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            own.add(os.readlink(descriptor))
    lines = map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
    # A set, because the listing is not atomic and can repeat a connection.
    connecting = {
        f"socket:[{fields[9]}]"
        for fields in lines
        if fields[2].endswith(f":{port:04X}") and fields[3] == "02"
    }
    return connecting & own


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="sees connections in /proc")
@each_way
async def test_cancel_while_connecting(
    cancel: Cancel, make_client: MakeClient, server: Server, blackhole: str
) -> None:
    port = urlsplit(blackhole).port
    assert port is not None
    before = connecting_to(port)

    async def until(is_connecting: bool) -> None:
        # The kernel has no event for this, so poll. Connections of another test may end.
        while bool(connecting_to(port) - before) != is_connecting:
            await asyncio.sleep(0.005)

    client = make_client()
    fetching = client.fetch(blackhole)
    await cancel(fetching, until(True))
    again = client.fetch(server.url("/echo"))
    await asyncio.wait_for(until(False), 10)
    assert (await again).code == 200


async def test_cancel_in_the_same_turn_of_the_loop(make_client: MakeClient, server: Server) -> None:
    client = make_client()
    fetching = client.fetch(server.url("/echo?first"))
    assert fetching.cancel()
    await assert_works(client, server)
    # The first request may have been sent, but then its connection is not reused.
    *first, last = [request["uri"] for request in server.requests]
    assert (first, last) in (([], "/echo"), (["/echo?first"], "/echo"))
    assert not first or server.connections == 2


async def test_cancel_one_of_many(make_client: MakeClient, server: Server) -> None:
    fetches = [make_client().fetch(server.url("/slow/0.2")) for _ in range(20)]
    for fetching in fetches[::2]:
        fetching.cancel()
    outcomes = await asyncio.gather(*fetches, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[::2])
    for outcome in outcomes[1::2]:
        assert isinstance(outcome, HTTPResponse)
        assert (outcome.error, outcome.body) == (None, b"late")


async def test_cancelled_gather_cancels_each_fetch(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    left = 0
    all_left = asyncio.Event()

    async def script(conn: Connection) -> None:
        nonlocal left
        await conn.read_request()
        await conn.wait_closed_by_client()
        left += 1
        if left == 10:
            all_left.set()

    peer = await raw_peer(script)
    gathered = asyncio.gather(*(make_client().fetch(peer.url()) for _ in range(10)))
    await asyncio.wait_for(peer.received(10), 10)
    gathered.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gathered
    await asyncio.wait_for(all_left.wait(), 10)


async def test_cancel_of_a_busy_fetch_does_not_affect_the_first(
    make_client: MakeClient, server: Server
) -> None:
    client = make_client()
    first = client.fetch(server.url("/slow/0.1"))
    second = client.fetch(server.url("/echo"))
    second.cancel()
    res = await first
    assert (res.error, res.body) == (None, b"late")


@pytest.mark.kept
async def test_cancel_after_the_end_has_no_effect(make_client: MakeClient, server: Server) -> None:
    client = make_client()
    fetching = client.fetch(server.url("/echo"))
    res = await fetching
    assert not fetching.cancel()
    assert fetching.result() is res
    res = await client.fetch(server.url("/echo"))
    assert res.error is None
    # The client has not closed the idle connection instead of the cancelled one.
    assert server.connections == 1


async def test_cancel_in_a_callback_of_another_fetch(
    make_client: MakeClient, server: Server
) -> None:
    slow = make_client().fetch(server.url("/slow/60"))
    quick = make_client().fetch(server.url("/echo"))
    quick.add_done_callback(lambda _: slow.cancel())
    assert (await quick).error is None
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(slow, 10)


async def test_cancelled_then_failing_peer(make_client: MakeClient, raw_peer: MakePeer) -> None:
    done = asyncio.Event()
    go = asyncio.Event()

    async def script(conn: Connection) -> None:
        await conn.read_request()
        await go.wait()
        conn.reset()
        done.set()

    peer = await raw_peer(script)
    client = make_client()
    fetching = client.fetch(peer.url())
    await asyncio.wait_for(peer.received(), 10)
    go.set()
    fetching.cancel()
    await asyncio.wait_for(done.wait(), 10)
    res = await client.fetch("nonsense")
    assert res.error is not None
    assert res.error.code is errors.INVALID_URL
    assert fetching.cancelled()


async def test_abandoned_client(make_client: MakeClient, raw_peer: MakePeer) -> None:
    # The caller drops the client of `HTTPClient().fetch(url)`: the fetch itself must hold it.
    peer = await raw_peer(response(b"kept"))
    res = await make_client().fetch(peer.url())
    assert (res.error, res.body) == (None, b"kept")
