"""DNS resolution of the simple transport: threads, limits and cancellation."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from tornado.netutil import Resolver, ThreadedResolver

from tests.support import MakePeer, RunPython, response
from turbo_tornado import HTTPClient, errors
from turbo_tornado.transports.simple import SimpleTransport, resolver
from turbo_tornado.transports.simple.resolver import ThreadResolver

GOOD = response(b"good")


class SilentNames:
    """A `socket.getaddrinfo` that does not respond for names that end in ``.silent``."""

    def __init__(self) -> None:
        self.end = threading.Event()
        self.names: list[str] = []
        self._original = socket.getaddrinfo

    def __call__(self, host: Any, *arguments: Any, **options: Any) -> Any:
        name = str(host)
        if name.endswith((".silent", ".loopback")):
            self.names.append(name)
            if name.endswith(".silent"):
                self.end.wait(30)
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            host = "127.0.0.1"
        return self._original(host, *arguments, **options)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[SilentNames]:
    names = SilentNames()
    monkeypatch.setattr(socket, "getaddrinfo", names)
    yield names
    names.end.set()


async def within(seconds: float, awaitable: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(awaitable, seconds)


def client() -> HTTPClient:
    return HTTPClient(transport="simple")


async def test_unresponsive_names_do_not_block_others(
    silent: SilentNames, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(GOOD)
    urls = [f"http://{number}.silent/" for number in range(100)]
    late = await asyncio.gather(*(client().fetch(url, request_timeout=0.2) for url in urls))
    assert {res.error and res.error.code for res in late} == {errors.REQUEST_TIMEOUT}
    url = f"http://name.loopback:{peer.port}/"
    assert (await within(30, client().fetch(url))).body == b"good"
    # The executor of the program does not wait either.
    await within(30, asyncio.get_running_loop().run_in_executor(None, time.time))


@pytest.fixture
async def names(silent: SilentNames, monkeypatch: pytest.MonkeyPatch) -> ThreadResolver:
    monkeypatch.setattr(resolver, "_MAX_THREADS", 2)
    made = ThreadResolver()
    assert isinstance(made, ThreadResolver)
    return made


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def test_number_of_threads_is_limited(names: ThreadResolver, silent: SilentNames) -> None:
    waiting = [asyncio.ensure_future(names.resolve(f"{n}.silent", 80)) for n in range(5)]
    await within(30, until(lambda: len(silent.names) == 2))
    # Cancelled in the queue, so that it is not resolved.
    waiting[3].cancel()
    silent.end.set()
    results = await within(30, asyncio.gather(*waiting, return_exceptions=True))
    assert [type(result) for result in results].count(socket.gaierror) == 4
    assert sorted(silent.names) == ["0.silent", "1.silent", "2.silent", "4.silent"]
    assert await within(30, names.resolve("name.loopback", 80)) == [
        (socket.AF_INET, ("127.0.0.1", 80))
    ]


async def test_concurrent_requests_for_a_name_share_its_resolution(
    names: ThreadResolver, silent: SilentNames
) -> None:
    waiting = [asyncio.ensure_future(names.resolve("one.silent", 80)) for _ in range(5)]
    await within(30, until(lambda: bool(silent.names)))
    waiting[0].cancel()
    silent.end.set()
    results = await within(30, asyncio.gather(*waiting, return_exceptions=True))
    assert [type(result) for result in results[1:]] == [socket.gaierror] * 4
    assert silent.names == ["one.silent"]


async def test_thread_that_cannot_be_started(
    names: ThreadResolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(OSError, match="can't start new thread"):
            await within(30, names.resolve("name.loopback", 80))
    assert await within(30, names.resolve("name.loopback", 80))


async def test_patched_getaddrinfo_is_used(
    monkeypatch: pytest.MonkeyPatch, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(GOOD)
    answer = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", peer.port))
    # Without the flags, as usual in such functions.
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: [answer])
    res = await within(30, client().fetch("http://name.example/"))
    assert (res.error, res.body) == (None, b"good")


async def test_configured_resolver_is_used(raw_peer: MakePeer) -> None:
    class ToLoopback(Resolver):
        async def resolve(self, host: str, port: int, family: Any = 0) -> Any:
            return [(socket.AF_INET, ("127.0.0.1", port))]

    peer = await raw_peer(GOOD)
    saved = Resolver._save_configuration()
    try:
        for kind in (ToLoopback, ThreadedResolver):
            Resolver.configure(kind)
            transport = SimpleTransport(force_instance=True)
            assert type(transport.resolver) is kind
            if kind is ToLoopback:
                res = await within(30, transport.fetch(f"http://any.name:{peer.port}/"))
                assert res.body == b"good"
            transport.close()
    finally:
        Resolver._restore_configuration(saved)


async def test_loop_does_not_wait_for_an_unresponsive_name(run_python: RunPython) -> None:
    program = """
import asyncio, socket, sys, threading, time
from turbo_tornado import HTTPClient, errors

socket.getaddrinfo = lambda *arguments, **options: time.sleep(60)

async def main():
    res = await HTTPClient(transport="simple").fetch("http://silent.example/", request_timeout=0.1)
    assert res.error.code is errors.REQUEST_TIMEOUT, res.error

started = time.monotonic()
asyncio.run(main())
assert time.monotonic() - started < 30
"""
    await within(30, run_python(program))
