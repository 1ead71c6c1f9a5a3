"""`close` and `fail_requests` of the built-in transports."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.simple_httpclient import HTTPStreamClosedError

from tests.support import Connection, MakePeer, RawPeer, response
from turbo_tornado import HTTPClient
from turbo_tornado.transports.base import CancellableFetch

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="nothing to count by")


class Slow:
    """A peer that responds with the target when it is allowed to."""

    def __init__(self) -> None:
        self.may_respond = asyncio.Event()
        self.peer: RawPeer

    async def __call__(self, conn: Connection) -> None:
        while True:
            request = await conn.read_request()
            await self.may_respond.wait()
            await conn.send(response(request.target.encode()))


@pytest.fixture
async def slow(raw_peer: MakePeer) -> Slow:
    slow = Slow()
    slow.peer = await raw_peer(slow)
    return slow


async def bodies(fetches: list[Any]) -> list[bytes]:
    return [res.body for res in await asyncio.wait_for(asyncio.gather(*fetches), 10)]


@pytest.mark.parametrize("max_clients", [None, 2])
async def test_requests_in_progress_finish(
    transport_class: type[CancellableFetch], max_clients: int | None, slow: Slow
) -> None:
    transport = transport_class(force_instance=True, max_clients=max_clients)
    url = slow.peer.url
    fetches = [
        transport.fetch(url("/1")),
        HTTPClient(transport=transport).fetch(url("/2")),
        transport.fetch(url("/3"), header_callback=lambda line: None),
    ]
    await asyncio.wait_for(slow.peer.received(max_clients or 3), 10)
    transport.close()
    transport.close()
    with pytest.raises(RuntimeError, match="closed"):
        transport.fetch(url())
    with pytest.raises(RuntimeError, match="closed"):
        HTTPClient(transport=transport).fetch(url())
    slow.may_respond.set()
    assert await bodies(fetches) == [b"/1", b"/2", b"/3"]


async def test_shared_client_is_replaced_after_close(
    transport_class: type[CancellableFetch], slow: Slow
) -> None:
    AsyncHTTPClient.configure(transport_class)
    try:
        fetch = AsyncHTTPClient().fetch(slow.peer.url("/shared"))
        await asyncio.wait_for(slow.peer.received(1), 10)
        closed = AsyncHTTPClient()
        closed.close()
        assert AsyncHTTPClient() is not closed
        AsyncHTTPClient().close()
    finally:
        AsyncHTTPClient.configure(None)  # type: ignore[arg-type]
    slow.may_respond.set()
    assert await bodies([fetch]) == [b"/shared"]


async def cancel(fetch: asyncio.Future[Any], slow: Slow) -> None:
    fetch.cancel()


async def respond(fetch: asyncio.Future[Any], slow: Slow) -> None:
    slow.may_respond.set()
    await asyncio.wait_for(fetch, 10)


@needs_proc
@pytest.mark.parametrize("end", [respond, cancel])
async def test_close_releases_everything_after_the_last_request(
    transport_class: type[CancellableFetch],
    end: Callable[[asyncio.Future[Any], Slow], Awaitable[None]],
    slow: Slow,
) -> None:
    # The sockets of the loop and of the peer.
    first = HTTPClient(transport=transport_class).fetch(slow.peer.url())
    await asyncio.wait_for(slow.peer.received(1), 10)
    first.cancel()
    before = set(os.listdir("/proc/self/fd"))
    transport = transport_class(force_instance=True)
    fetch = transport.fetch(slow.peer.url())
    await asyncio.wait_for(slow.peer.received(2), 10)
    transport.close()
    await end(fetch, slow)
    for _ in range(3):
        await asyncio.sleep(0)
    await slow.peer.close()
    assert set(os.listdir("/proc/self/fd")) <= before
    reference = weakref.ref(transport)
    del transport, fetch
    gc.collect()
    assert reference() is None


async def test_fail_requests_reports_each_request(
    transport_class: type[CancellableFetch], slow: Slow
) -> None:
    transport = transport_class(force_instance=True, max_clients=2)
    fetches = [transport.fetch(slow.peer.url()) for _ in range(3)]
    await asyncio.wait_for(slow.peer.received(2), 10)
    transport.close()
    transport.fail_requests()
    transport.fail_requests()
    for fetch in fetches:
        assert fetch.done()
        with pytest.raises(HTTPStreamClosedError, match="client closed"):
            fetch.result()
