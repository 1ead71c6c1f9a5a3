"""Concurrency: loops in threads, forked servers, and shared transports."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from typing import Any

import pytest

from tests.support import Connection, MakeClient, MakePeer, RunPython, response
from tests.support.certificates import Certificates
from turbo_tornado import HTTPClient, HTTPResponse, errors
from turbo_tornado.transports.base import CancellableFetch


async def echoing(conn: Connection) -> None:
    """Respond with the path. Do not respond to ``/stall``, and close for ``/cut``."""
    while True:
        target = (await conn.read_request()).target
        if target == "/cut":
            return conn.close()
        if target != "/stall":
            await conn.send(response(target.encode()))


def assert_body(res: HTTPResponse, body: str) -> None:
    assert res.error is None, res
    assert res.body == body.encode()


def new_transport(name: str) -> CancellableFetch:
    kind: Any
    if name == "simple":
        from turbo_tornado.transports.simple import SimpleTransport as kind
    else:
        from turbo_tornado.transports.curl import CurlTransport as kind
    return kind(force_instance=True)  # type: ignore[no-any-return]


async def many(make_client: MakeClient, base: str, who: str) -> None:
    """Fetch, have fetches fail, and cancel some, all at the same time."""

    async def good(number: int) -> None:
        path = f"/{who}/{number}"
        assert_body(await make_client().fetch(base + path), path)

    async def failing() -> None:
        res = await make_client().fetch(base + "/cut")
        assert res.error is not None and res.error.code is errors.NO_HEADERS, res

    async def cancelled() -> None:
        client = make_client()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.fetch(base + "/stall"), 0.01)
        assert_body(await client.fetch(base + "/after"), "/after")

    await asyncio.gather(
        *(good(number) for number in range(20)),
        *(failing() for _ in range(3)),
        *(cancelled() for _ in range(3)),
    )


# Threads


async def test_many_fetches_on_loops_in_threads(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(echoing)
    base = peer.url("")
    together = threading.Barrier(4, timeout=30)

    async def main(who: str) -> None:
        together.wait()
        for turn in range(3):
            await many(make_client, base, f"{who}/{turn}")

    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        runs = [executor.submit(asyncio.run, main(f"thread-{i}")) for i in range(4)]
        await asyncio.gather(*map(asyncio.wrap_future, runs))


async def test_short_lived_loops_do_not_affect_another_loop(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(echoing)
    base = peer.url("")

    def thread(who: int) -> None:
        async def main() -> None:
            assert_body(await make_client().fetch(f"{base}/{who}"), f"/{who}")
            # The loop is closed while this fetch is in progress.
            make_client().fetch(base + "/stall")

        for _ in range(10):
            asyncio.run(main())

    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        runs = [asyncio.wrap_future(executor.submit(thread, who)) for who in range(4)]
        ended = asyncio.gather(*runs)
        while not ended.done():
            assert_body(await make_client().fetch(base + "/stays"), "/stays")
        await ended
    assert_body(await make_client().fetch(base + "/stays"), "/stays")


# One transport for many clients


async def test_clients_share_a_transport_instance(transport: str, raw_peer: MakePeer) -> None:
    peer = await raw_peer(echoing)
    instance = new_transport(transport)
    base = peer.url("")
    clients = [HTTPClient(transport=instance) for _ in range(50)]
    stalled = HTTPClient(transport=instance).fetch(base + "/stall")
    fetches = [client.fetch(f"{base}/{i}") for i, client in enumerate(clients)]
    # An action on one of them does not affect the others.
    fetches[0].cancel()
    for number, res in enumerate(await asyncio.gather(*fetches[1:]), 1):
        assert_body(res, f"/{number}")
    # The caller has created the instance and must close it.
    instance.fail_requests()
    error = (await asyncio.wait_for(stalled, 10)).error
    assert error is not None and error.code is errors.SOCKET_ERROR
    with pytest.raises(RuntimeError, match="closed"):
        clients[0].fetch(base + "/closed")


async def test_each_client_of_an_instance_has_its_busy_state(
    transport: str, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(echoing)
    instance = new_transport(transport)
    one, other = HTTPClient(transport=instance), HTTPClient(transport=instance)
    stalled = one.fetch(peer.url("/stall"))
    error = (await one.fetch(peer.url("/one"))).error
    assert error is not None and error.code is errors.BUSY
    assert_body(await other.fetch(peer.url("/other")), "/other")
    stalled.cancel()
    assert_body(await one.fetch(peer.url("/one")), "/one")
    instance.close()


# Forked servers

FORKED_SERVERS = """
import asyncio, os, sys, threading
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.process import fork_processes
from tornado.web import Application, RequestHandler
from turbo_tornado import HTTPClient, configure

name, url, ca, fetched = sys.argv[1:]
configure(name, user_agent="configured")
tls = {"ca_path": ca}

async def fetch(who):
    res = await HTTPClient(tls).fetch(url, cookie=who)
    assert res.error is None, (who, res)
    assert res.body == b"good", (who, res)

class Handler(RequestHandler):
    async def get(self):
        await asyncio.gather(*(fetch(f"child-{os.getpid()}") for _ in range(5)))
        self.write(b"served")

loop = None
if fetched == "fetched":
    # The connection of this one is kept, in a loop that is still there.
    loop = asyncio.new_event_loop()
    loop.run_until_complete(fetch("parent"))
threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1
# From Python 3.12 on, a fork beside a thread is a warning, which is an error here.
assert threads == 1 == threading.active_count(), threads

async def serve():
    # A port of its own, so that no child ends with the request of another.
    sockets = bind_sockets(0, "127.0.0.1")
    port = sockets[0].getsockname()[1]
    server = HTTPServer(Application([("/", Handler)]))
    server.add_sockets(sockets)
    res = await HTTPClient().fetch(f"http://127.0.0.1:{port}/", keep_alive=False)
    assert res.error is None and res.body == b"served", res
    server.stop()
    await server.close_all_connections()

try:
    fork_processes(3, max_restarts=0)
except SystemExit as end:
    # The parent comes here when all children have ended.
    assert end.code == 0, "a child failed"
    if loop is not None:
        loop.run_until_complete(fetch("parent"))
        loop.close()
else:
    asyncio.run(serve())
"""


@pytest.mark.kept
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("fetched", ["configured", "fetched"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_fetch_in_forked_server_processes(
    scheme: str,
    fetched: str,
    transport: str,
    raw_peer: MakePeer,
    run_python: RunPython,
    certificates: Certificates,
) -> None:
    peer = await raw_peer(
        response(b"good"), certificates.server_context() if scheme == "https" else None
    )
    await run_python(FORKED_SERVERS, transport, peer.url(), certificates.ca, fetched)
    assert {request.field("User-Agent") for request in peer.requests} == {"configured"}
    used: dict[str | None, set[int]] = {}
    for request in peer.requests:
        used.setdefault(request.field("Cookie"), set()).add(request.connection)
    # The processes do not share a connection.
    assert sum(map(len, used.values())) == len(set().union(*used.values()))
    parents = [used.pop("parent")] if "parent" in used else []
    # The parent still uses its connection.
    assert [len(connections) for connections in parents] == [1] * (fetched == "fetched")
    assert len(peer.requests) == 15 + 2 * len(parents)
