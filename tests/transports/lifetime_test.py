"""The end of a transport as `AsyncHTTPClient`: with its loop, or when dropped."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.support import MakePeer, RunPython, response
from turbo_tornado import HTTPClient
from turbo_tornado.request.build import build_request
from turbo_tornado.request.keywords import resolve
from turbo_tornado.request.tls import TLS
from turbo_tornado.transports.simple import SimpleTransport

GOOD = response(b"good")


def kinds() -> list[Any]:
    try:
        from turbo_tornado.transports.curl import CurlTransport
    except ImportError:
        return [SimpleTransport]
    return [SimpleTransport, CurlTransport]


@pytest.fixture(params=kinds(), ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def no_gc() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@on_linux
async def test_dropped_transport_is_closed_at_once(
    kind: Any, raw_peer: MakePeer, no_gc: None
) -> None:
    peer = await raw_peer(GOOD)
    handlers: Any = IOLoop.current().handlers  # type: ignore[attr-defined]
    registered = len(handlers)
    transport = kind(force_instance=True)
    await transport.fetch(peer.url())
    dropped = weakref.ref(transport)
    del transport
    await asyncio.sleep(0)
    assert dropped() is None
    assert len(handlers) == registered
    # The server receives the end of the connection.
    while any(not task.done() for task in peer._tasks):
        await asyncio.sleep(0.001)


@on_linux
async def test_new_transport_for_each_request(kind: Any, raw_peer: MakePeer, no_gc: None) -> None:
    peer = await raw_peer(GOOD)
    await kind(force_instance=True).fetch(peer.url())
    before = descriptors()
    for _ in range(50):
        await kind(force_instance=True).fetch(peer.url())
    # The server closes its side of the last connections a little later.
    assert descriptors() < before + 30


async def test_transport_in_use_is_not_closed(kind: Any, raw_peer: MakePeer) -> None:
    peer = await raw_peer(GOOD)
    future = kind(force_instance=True).fetch(peer.url())
    gc.collect()
    assert (await asyncio.wait_for(future, 10)).body == b"good"
    request = build_request(peer.url(), resolve(None, {}), TLS(), 1000)
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    kind(force_instance=True).send(request, done.set_result)
    gc.collect()
    assert (await asyncio.wait_for(done, 10)).body == b"good"


async def test_client_is_dropped_during_a_fetch(kind: Any, raw_peer: MakePeer) -> None:
    peer = await raw_peer(GOOD)
    future = HTTPClient(transport=kind(force_instance=True)).fetch(peer.url())
    gc.collect()
    assert (await asyncio.wait_for(future, 10)).body == b"good"


@on_linux
@pytest.mark.parametrize("force", [False, True])
async def test_closed_with_its_loop(
    kind: Any, force: bool, raw_peer: MakePeer, run_python: RunPython
) -> None:
    peer = await raw_peer(GOOD)
    program = f"""
import asyncio, os, sys
from tornado.httpclient import AsyncHTTPClient

AsyncHTTPClient.configure("{kind.__module__}.{kind.__name__}")
transports = []

async def main():
    transport = AsyncHTTPClient(force_instance={force})
    transports.append(transport)
    assert (await transport.fetch(sys.argv[1])).body == b"good"

asyncio.run(main())
before = len(os.listdir("/proc/self/fd"))
for _ in range(10):
    asyncio.run(main())
assert len(os.listdir("/proc/self/fd")) == before
assert all(transport._closed for transport in transports)
"""
    await run_python(program, peer.url())


async def test_requests_end_with_the_loop(
    kind: Any, raw_peer: MakePeer, run_python: RunPython
) -> None:
    async def stay_silent(conn: Any) -> None:
        await conn.read_request()

    peer = await raw_peer(stay_silent)
    program = f"""
import asyncio, sys
from tornado.httpclient import AsyncHTTPClient

async def main():
    client = AsyncHTTPClient()
    future = client.fetch(sys.argv[1])
    await asyncio.sleep(0.05)
    return future

AsyncHTTPClient.configure("{kind.__module__}.{kind.__name__}")
loop = asyncio.new_event_loop()
future = loop.run_until_complete(main())
loop.close()
assert future.done()
assert future.exception() is not None
"""
    await run_python(program, peer.url())
