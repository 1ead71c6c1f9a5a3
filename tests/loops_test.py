"""Transports and loops: each loop has a separate transport until the loop is closed."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import importlib.util
import os
import resource
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest
from tornado.ioloop import IOLoop

from tests.support import Connection, MakeClient, MakePeer, RunPython, response
from tests.support.certificates import Certificates
from turbo_tornado import HTTPClient, HTTPResponse, errors

T = TypeVar("T")

GOOD = response(b"good")


def assert_good(res: HTTPResponse) -> None:
    assert res.error is None
    assert res.body == b"good"


async def in_thread(func: Callable[[], T]) -> T:
    """Return the result of ``func`` in a new thread without a loop."""
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        return await asyncio.wrap_future(executor.submit(func))


async def stalling(conn: Connection) -> None:
    """Respond to ``/`` only."""
    while True:
        if (await conn.read_request()).target == "/":
            await conn.send(GOOD)


# Where a client is created


async def test_client_created_without_a_loop(make_client: MakeClient, raw_peer: MakePeer) -> None:
    peer = await raw_peer(GOOD)

    def thread() -> HTTPResponse:
        client = make_client()
        assert IOLoop.current(instance=False) is None

        async def main() -> HTTPResponse:
            return await client.fetch(peer.url())

        return asyncio.run(main())

    assert_good(await in_thread(thread))


async def test_client_created_in_another_thread(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(GOOD)
    client = await in_thread(make_client)
    assert_good(await client.fetch(peer.url()))


BEFORE_ANY_LOOP = """
import asyncio, sys
from tornado.ioloop import IOLoop
from turbo_tornado import HTTPClient

name, url = sys.argv[1:]
client = HTTPClient(transport=name)

async def main():
    return (await client.fetch(url)).body

assert asyncio.run(main()) == b"good"
assert asyncio.run(main()) == b"good"
asyncio.set_event_loop(asyncio.new_event_loop())
assert IOLoop.current().run_sync(main) == b"good"
# The future may be made before its loop runs.
future = client.fetch(url)
assert IOLoop.current().run_sync(lambda: future).body == b"good"
IOLoop.current().close(all_fds=True)
"""


async def test_client_created_at_import(
    transport: str, raw_peer: MakePeer, run_python: RunPython
) -> None:
    peer = await raw_peer(GOOD)
    await run_python(BEFORE_ANY_LOOP, transport, peer.url())
    # The last two clients belong to one loop.
    assert [request.connection for request in peer.requests] == [1, 2, 3, 3]


async def test_one_client_in_successive_loops(make_client: MakeClient, raw_peer: MakePeer) -> None:
    peer = await raw_peer(GOOD)
    client = make_client()

    async def main() -> HTTPResponse:
        return await client.fetch(peer.url())

    for _ in range(3):
        assert_good(await in_thread(lambda: asyncio.run(main())))
    assert peer.connections == 3


# The argument io_loop


async def test_client_with_io_loop(make_client: MakeClient, raw_peer: MakePeer) -> None:
    peer = await raw_peer(GOOD)
    client = make_client(io_loop=IOLoop.current())
    future = client.fetch(peer.url())
    assert future.get_loop() is asyncio.get_running_loop()
    assert_good(await future)


async def test_client_with_a_loop_that_has_not_started(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(GOOD)

    def thread() -> list[HTTPResponse]:
        loop = IOLoop(make_current=False)
        clients = [make_client(io_loop=loop) for _ in range(2)]
        futures = [client.fetch(peer.url()) for client in clients]
        # The fetch has not changed the current loop.
        assert IOLoop.current(instance=False) is None

        async def main() -> list[HTTPResponse]:
            return [*await asyncio.gather(*futures), await clients[0].fetch(peer.url())]

        results: list[HTTPResponse] = loop.run_sync(main)
        loop.close()
        return results

    for res in await in_thread(thread):
        assert_good(res)


async def test_client_with_another_loop_than_the_current_one(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(GOOD)

    def thread() -> None:
        current, given = IOLoop(), IOLoop(make_current=False)
        future = make_client(io_loop=given).fetch(peer.url())
        assert IOLoop.current() is current
        assert_good(given.run_sync(lambda: future))
        current.close()
        given.close()

    await in_thread(thread)


async def test_current_loop_that_has_not_started(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(GOOD)

    def thread() -> None:
        loop = IOLoop()
        future = make_client().fetch(peer.url())
        assert_good(loop.run_sync(lambda: future))
        loop.close()

    await in_thread(thread)


async def test_client_with_a_closed_loop(make_client: MakeClient, raw_peer: MakePeer) -> None:
    peer = await raw_peer(GOOD)

    def thread() -> IOLoop:
        loop = IOLoop(make_current=False)
        client = make_client(io_loop=loop)
        loop.close()
        for _ in range(2):
            with pytest.raises(RuntimeError, match="closed"):
                client.fetch(peer.url())
        return loop

    loop = await in_thread(thread)
    with pytest.raises(RuntimeError, match="closed"):
        make_client(io_loop=loop).fetch(peer.url())


@pytest.mark.parametrize("io_loop", [asyncio.new_event_loop, object, lambda: "loop"])
def test_invalid_io_loop(io_loop: Callable[[], Any]) -> None:
    given = io_loop()
    with pytest.raises(TypeError, match="io_loop"):
        HTTPClient(None, given)
    if isinstance(given, asyncio.AbstractEventLoop):
        given.close()


# Threads


async def test_fetch_from_another_thread(make_client: MakeClient, raw_peer: MakePeer) -> None:
    peer = await raw_peer(GOOD)
    client = make_client(io_loop=IOLoop.current())

    def thread() -> None:
        with pytest.raises(RuntimeError, match="add_callback"):
            client.fetch(peer.url())

    await in_thread(thread)
    # The client is free, and nothing was sent.
    assert_good(await client.fetch(peer.url()))
    assert len(peer.requests) == 1


async def test_fetch_from_the_loop_of_another_thread(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(GOOD)
    client = make_client(io_loop=IOLoop.current())

    async def main() -> None:
        with pytest.raises(RuntimeError, match="add_callback"):
            client.fetch(peer.url())

    await in_thread(lambda: asyncio.run(main()))
    assert_good(await client.fetch(peer.url()))


async def test_fetch_from_a_thread_without_a_loop(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(GOOD)
    client = make_client()

    def thread() -> None:
        with pytest.raises(RuntimeError, match="add_callback"):
            client.fetch(peer.url())

    await in_thread(thread)
    assert_good(await client.fetch(peer.url()))


async def test_fetch_by_add_callback_from_another_thread(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(GOOD)
    loop = IOLoop.current()
    results: asyncio.Queue[HTTPResponse] = asyncio.Queue()

    async def fetch() -> None:
        results.put_nowait(await make_client().fetch(peer.url()))

    await in_thread(lambda: loop.add_callback(fetch))
    assert_good(await results.get())


async def test_loops_in_threads(make_client: MakeClient, raw_peer: MakePeer) -> None:
    peer = await raw_peer(GOOD)
    together = threading.Barrier(4, timeout=10)

    async def main() -> None:
        for _ in range(5):
            assert_good(await make_client().fetch(peer.url()))
            # Every loop has a connection, and does not use the connection of another loop.
            together.wait()

    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        futures = [executor.submit(asyncio.run, main()) for _ in range(4)]
        await asyncio.gather(*map(asyncio.wrap_future, futures))
    assert peer.connections == 4
    used = [request.connection for request in peer.requests]
    assert sorted(used) == sorted([1, 2, 3, 4] * 5)


# One transport


async def test_clients_of_a_loop_share_connections(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(GOOD)
    clients = [
        make_client(),
        make_client(io_loop=IOLoop.current()),
        make_client({}),
        make_client(max_buffer_size=5),
    ]
    for client in clients:
        assert_good(await client.fetch(peer.url()))
    assert peer.connections == 1


async def test_transport_by_name_and_by_class_is_the_same(
    transport: str, make_client: MakeClient, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(GOOD)
    client = make_client()
    assert_good(await client.fetch(peer.url()))
    kind: Any
    if transport == "simple":
        from turbo_tornado.transports.simple import SimpleTransport as kind
    else:
        from turbo_tornado.transports.curl import CurlTransport as kind
    assert_good(await HTTPClient(transport=kind).fetch(peer.url()))
    assert peer.connections == 1


async def test_transport_is_not_the_shared_client_of_tornado(
    transport: str, make_client: MakeClient, raw_peer: MakePeer
) -> None:
    # Tornado also has one instance for each loop. Closing one does not affect the other.
    peer = await raw_peer(GOOD)
    assert_good(await make_client().fetch(peer.url()))
    kind: Any
    if transport == "simple":
        from turbo_tornado.transports.simple import SimpleTransport as kind
    else:
        from turbo_tornado.transports.curl import CurlTransport as kind
    tornados = kind()
    assert (await tornados.fetch(peer.url())).body == b"good"
    assert peer.connections == 2
    tornados.close()
    assert_good(await make_client().fetch(peer.url()))
    assert peer.connections == 2


async def test_client_is_collected_during_a_fetch(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    collected = asyncio.Event()

    async def script(conn: Connection) -> None:
        await conn.read_request()
        await collected.wait()
        await conn.send(GOOD)

    peer = await raw_peer(script)
    future = make_client().fetch(peer.url())
    await peer.received()
    gc.collect()
    collected.set()
    assert_good(await asyncio.wait_for(future, 10))


async def test_client_and_future_are_collected_during_a_fetch(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    collected = asyncio.Event()

    async def script(conn: Connection) -> None:
        while True:
            await conn.read_request()
            await collected.wait()
            await conn.send(GOOD)

    peer = await raw_peer(script)
    ended = asyncio.Event()
    make_client().fetch(peer.url()).add_done_callback(lambda future: ended.set())
    await peer.received()
    gc.collect()
    collected.set()
    await asyncio.wait_for(ended.wait(), 10)
    # The fetch has ended successfully, because its connection is idle.
    assert_good(await make_client().fetch(peer.url()))
    assert peer.connections == 1


@pytest.fixture
def thousands_of_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    if wanted < 2200:
        pytest.skip(f"a process may have {hard} files, which is not enough for both ends")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("thousands_of_files")
async def test_thousand_fetches_at_once(make_client: MakeClient, raw_peer: MakePeer) -> None:
    together = asyncio.Event()

    async def script(conn: Connection) -> None:
        await conn.read_request()
        await together.wait()
        await conn.send(GOOD)

    peer = await raw_peer(script)
    fetches = [make_client().fetch(peer.url()) for _ in range(1000)]
    await asyncio.wait_for(peer.received(1000), 50)
    together.set()
    for res in await asyncio.gather(*fetches):
        assert_good(res)
    assert peer.connections == 1000


# The end of a loop


def run_asyncio(main: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(main())  # type: ignore[arg-type]


def run_tornado(main: Callable[[], Awaitable[None]]) -> None:
    loop = IOLoop(make_current=False)
    loop.run_sync(main)
    loop.close()


def run_tornado_all_fds(main: Callable[[], Awaitable[None]]) -> None:
    loop = IOLoop(make_current=False)
    loop.run_sync(main)
    loop.close(all_fds=True)


def run_uvloop(main: Callable[[], Awaitable[None]]) -> None:
    import uvloop

    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(main())
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def gone(files: set[tuple[str, str]]) -> None:
    """Return when all ``files`` are closed."""
    deadline = asyncio.get_running_loop().time() + 10
    while still_open := files & open_files():
        # The peer closes its end of a connection in a later iteration of the loop.
        assert asyncio.get_running_loop().time() < deadline, still_open
        await asyncio.sleep(0)


RUNNERS = [
    run_asyncio,
    run_tornado,
    run_tornado_all_fds,
    pytest.param(
        run_uvloop,
        marks=pytest.mark.skipif(
            importlib.util.find_spec("uvloop") is None, reason="uvloop is not installed"
        ),
    ),
]
Runner = Callable[[Callable[[], Awaitable[None]]], None]


def open_files() -> set[tuple[str, str]]:
    files = set()
    for number in os.listdir("/proc/self/fd"):
        # The directory itself was open.
        with contextlib.suppress(FileNotFoundError):
            files.add((number, os.readlink(f"/proc/self/fd/{number}")))
    return files


needs_proc = pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="nothing to count open files by"
)


async def files_left_by(run: Runner, main: Callable[[], Awaitable[None]]) -> set[Any]:
    """Return the files that a loop in another thread leaves open."""

    async def nothing() -> None: ...

    def thread() -> set[tuple[str, str]]:
        # Without the descriptors that a loop opens once, such as uvloop's pipe for signals.
        run(nothing)
        before = open_files()
        run(main)
        return open_files() - before

    return await in_thread(thread)


@needs_proc
@pytest.mark.parametrize("run", RUNNERS)
async def test_closed_with_the_loop(
    run: Runner, make_client: MakeClient, raw_peer: MakePeer
) -> None:
    closed = asyncio.Event()

    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(GOOD)
        await conn.wait_closed_by_client()
        closed.set()

    peer = await raw_peer(script)
    inside = 0

    async def main() -> None:
        nonlocal inside
        before = len(open_files())
        assert_good(await make_client().fetch(peer.url()))
        inside = len(open_files()) - before

    left = await files_left_by(run, main)
    # The other end of the connection is also in this process.
    await asyncio.wait_for(closed.wait(), 10)
    await peer.close()
    assert inside >= 2
    await gone(left)


@needs_proc
@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("phase", ["connecting", "stalled", "in the body"])
async def test_closing_the_loop_fails_its_fetches(
    run: Runner,
    phase: str,
    make_client: MakeClient,
    raw_peer: MakePeer,
    blackhole: str,
) -> None:
    arrived, closed = threading.Event(), asyncio.Event()

    async def script(conn: Connection) -> None:
        await conn.read_request()
        if phase == "in the body":
            await conn.send(GOOD[:-1])
        arrived.set()
        await conn.wait_closed_by_client()
        closed.set()

    peer = await raw_peer(script)
    url = blackhole if phase == "connecting" else peer.url()
    client = make_client()
    futures = []

    async def main() -> None:
        futures.append(client.fetch(url))
        if phase != "connecting":
            await asyncio.get_running_loop().run_in_executor(None, arrived.wait, 10)
        else:
            await asyncio.sleep(0.01)

    left = await files_left_by(run, main)
    if phase != "connecting":
        await asyncio.wait_for(closed.wait(), 10)
    await peer.close()
    await gone(left)
    # The future has the error.
    [future] = futures
    error = future.result().error
    assert error is not None
    assert error.code is errors.SOCKET_ERROR
    # The client can fetch on the next loop.
    other = await raw_peer(GOOD)
    assert_good(await client.fetch(other.url()))


async def test_cancelling_a_task_cancels_its_fetch(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    # asyncio.run() cancels what is still running; then the loop is closed.
    peer = await raw_peer(stalling)
    client = make_client()

    async def main() -> asyncio.Task[Any]:
        async def fetch() -> HTTPResponse:
            return await client.fetch(peer.url("/never"))

        task = asyncio.create_task(fetch())
        await asyncio.sleep(0.01)
        return task

    task = await in_thread(lambda: asyncio.run(main()))
    assert task.cancelled()
    assert_good(await client.fetch(peer.url()))


async def test_running_loop_cannot_be_closed(make_client: MakeClient, raw_peer: MakePeer) -> None:
    peer = await raw_peer(GOOD)
    assert_good(await make_client().fetch(peer.url()))
    with pytest.raises(RuntimeError, match="running"):
        asyncio.get_running_loop().close()
    assert_good(await make_client().fetch(peer.url()))
    assert peer.connections == 1


async def test_loop_can_be_closed_twice(make_client: MakeClient, raw_peer: MakePeer) -> None:
    peer = await raw_peer(GOOD)

    def thread() -> None:
        loop = asyncio.new_event_loop()

        async def main() -> None:
            assert_good(await make_client().fetch(peer.url()))

        loop.run_until_complete(main())
        loop.close()
        loop.close()
        assert loop.is_closed()

    await in_thread(thread)


async def test_loop_can_be_closed_within_another_loop(
    make_client: MakeClient, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(stalling)

    def thread() -> None:
        loop = asyncio.new_event_loop()

        async def main() -> None:
            assert_good(await make_client().fetch(peer.url()))

        async def other() -> None:
            loop.close()

        loop.run_until_complete(main())
        asyncio.run(other())
        assert loop.is_closed()

    await in_thread(thread)


LEFT_OPEN = """
import asyncio, sys
from turbo_tornado import HTTPClient

name, url, ca = sys.argv[1:]
stalled = HTTPClient({"ca_path": ca}, transport=name)

async def main():
    assert (await HTTPClient({"ca_path": ca}, transport=name).fetch(url)).body == b"good"
    stalled.fetch(url + "never")
    await asyncio.sleep(0.01)

loop = asyncio.new_event_loop()
loop.run_until_complete(main())
"""


async def test_process_ends_without_closing_the_loop(
    transport: str, raw_peer: MakePeer, run_python: RunPython, certificates: Certificates
) -> None:
    # A server that is stopped by a signal does the same.
    peer = await raw_peer(stalling, certificates.server_context())
    await run_python(LEFT_OPEN, transport, peer.url(), certificates.ca)


WITHOUT_FORK = """
import asyncio, os, sys

# As on Windows.
del os.fork, os.register_at_fork

from turbo_tornado import HTTPClient

async def main():
    name, url, ca = sys.argv[1:]
    return await HTTPClient({"ca_path": ca}, transport=name).fetch(url)

assert asyncio.run(main()).body == b"good"
"""


async def test_platform_without_fork(
    transport: str, raw_peer: MakePeer, run_python: RunPython, certificates: Certificates
) -> None:
    peer = await raw_peer(response(b"good"), certificates.server_context())
    await run_python(WITHOUT_FORK, transport, peer.url(), certificates.ca)


# Forks

FORK = """
import asyncio, os, sys
from tornado.ioloop import IOLoop
from tornado.process import fork_processes
from turbo_tornado import HTTPClient

name, url, ca, way = sys.argv[1:]
client = HTTPClient({"ca_path": ca}, transport=name)

async def fetch(who):
    res = await client.fetch(url, cookie=who)
    assert res.error is None, (who, res)
    assert res.body == b"good", (who, res)

def child(loop, task):
    asyncio.run(fetch("child"))
    if loop is not None and asyncio.current_task(loop) is None:
        # Python 3.14 clears the running loop and the current task of a forked child.
        # Without them, SystemExit cannot leave the inherited loop, which then runs forever.
        asyncio._set_running_loop(loop)
        asyncio._enter_task(loop, task)
    # An orderly exit runs every finalizer, as os._exit() does not.
    sys.exit(0)

def fork():
    loop = asyncio._get_running_loop()
    task = asyncio.current_task() if loop is not None else None
    if way == "fork_processes":
        try:
            fork_processes(2, max_restarts=0)
        except SystemExit as end:
            # The parent comes here when all children have ended.
            assert end.code == 0, "a child failed"
        else:
            child(loop, task)
    else:
        pid = os.fork()
        if not pid:
            child(loop, task)
        assert os.waitpid(pid, 0)[1] == 0, "the child failed"

async def fork_here():
    fork()

async def main():
    if way == "in the loop":
        fork()
    await fetch("parent")
    if way == "in the loop":
        fork()
        await fetch("parent")

if way == "in the loop":
    asyncio.run(main())
else:
    # Before the first fetch, and after it.
    fork()
    loop = IOLoop(make_current=False)
    loop.run_sync(main)
    fork()
    loop.run_sync(main)
    loop.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize(
    ("way", "children", "scheme"),
    [
        ("fork", 1, "http"),
        ("fork", 1, "https"),
        ("in the loop", 1, "https"),
        ("fork_processes", 2, "http"),
    ],
)
async def test_fork(
    way: str,
    children: int,
    scheme: str,
    transport: str,
    raw_peer: MakePeer,
    run_python: RunPython,
    certificates: Certificates,
) -> None:
    peer = await raw_peer(GOOD, certificates.server_context() if scheme == "https" else None)
    await run_python(FORK, transport, peer.url(), certificates.ca, way)
    by_connection: dict[int, list[str | None]] = {}
    for request in peer.requests:
        by_connection.setdefault(request.connection, []).append(request.field("Cookie"))
    # The child has separate connections, and the connection of the parent still works.
    assert sorted(map(str, by_connection.values())) == sorted(
        map(str, [["parent", "parent"], *[["child"]] * children * 2])
    )
