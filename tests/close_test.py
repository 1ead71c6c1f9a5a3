"""`close` and `fail_requests` of the built-in transports."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from unittest import mock

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.simple_httpclient import HTTPStreamClosedError, SimpleAsyncHTTPClient

from tests.support import Connection, MakePeer, RawPeer, response
from turbo_tornado import HTTPClient, errors
from turbo_tornado.hooks import RequestEvent
from turbo_tornado.testing import StubTransport
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


# A callback closes the client


class Calls:
    """A call of a method of the transport in a callback of a request."""

    def __init__(self, transport: CancellableFetch, method: str) -> None:
        self._method = getattr(transport, method)
        self.count = 0

    def __call__(self, argument: object) -> None:
        self.count += 1
        self._method()

    async def as_coroutine(self, argument: object) -> None:
        self(argument)

    async def produce(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        self(None)
        await write(b"body")


CALLBACKS: dict[str, Callable[[Calls], dict[str, Any]]] = {
    "header_callback": lambda calls: {"header_callback": calls},
    "streaming_callback": lambda calls: {"streaming_callback": calls},
    "async streaming_callback": lambda calls: {"streaming_callback": calls.as_coroutine},
    "body_producer": lambda calls: {"method": "POST", "body_producer": calls.produce},
    "prepare_curl_callback": lambda calls: {"prepare_curl_callback": calls},
}


@pytest.mark.parametrize("callback", CALLBACKS)
@pytest.mark.parametrize("method", ["close", "fail_requests"])
async def test_callback_closes_the_client(
    transport_class: type[CancellableFetch], method: str, callback: str, raw_peer: MakePeer
) -> None:
    if callback == "prepare_curl_callback" and transport_class.stock is SimpleAsyncHTTPClient:
        pytest.skip("only curl has this callback")
    may_end, ends = asyncio.Event(), method == "close"

    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        await may_end.wait()
        await conn.send(b"def")

    peer = await raw_peer(script)
    transport = transport_class(force_instance=True)
    calls = Calls(transport, method)
    if ends:
        may_end.set()
    fetch = transport.fetch(peer.url(), request_timeout=0, **CALLBACKS[callback](calls))
    if ends:
        assert (await asyncio.wait_for(fetch, 10)).code == 200
    else:
        with pytest.raises(HTTPStreamClosedError, match="client closed"):
            await asyncio.wait_for(fetch, 10)
    assert calls.count
    for _ in range(3):
        await asyncio.sleep(0)
    assert not transport.requests.active
    assert transport._closed


# Redirects after `close`


class Redirecting(Slow):
    """A peer that redirects ``/2`` to ``/1`` and so on to ``/0``, when it is allowed to."""

    #: The targets of the requests that need no permission.
    free: tuple[str, ...] = ()

    async def __call__(self, conn: Connection) -> None:
        while True:
            target = (await conn.read_request()).target
            if target not in self.free:
                await self.may_respond.wait()
            if target == "/0":
                await conn.send(response(b"the end"))
            else:
                location = f"Location: /{int(target[1:]) - 1}"
                await conn.send(response(b"redirect", location, status="302 Found"))


@pytest.fixture
async def redirecting(raw_peer: MakePeer) -> Redirecting:
    redirecting = Redirecting()
    redirecting.peer = await raw_peer(redirecting)
    return redirecting


def fetch_of_the_client(transport: AsyncHTTPClient, url: str) -> asyncio.Future[Any]:
    return HTTPClient(transport=transport).fetch(url)


def fetch_of_tornado(transport: AsyncHTTPClient, url: str) -> asyncio.Future[Any]:
    return transport.fetch(url)


BOTH_APIS = pytest.mark.parametrize("fetch", [fetch_of_the_client, fetch_of_tornado])
BeginFetch = Callable[[AsyncHTTPClient, str], "asyncio.Future[Any]"]


@BOTH_APIS
@pytest.mark.parametrize("max_clients", [None, 1])
async def test_requests_in_progress_follow_redirects(
    transport_class: type[CancellableFetch],
    fetch: BeginFetch,
    max_clients: int | None,
    redirecting: Redirecting,
) -> None:
    transport = transport_class(force_instance=True, max_clients=max_clients)
    fetches = [fetch(transport, redirecting.peer.url("/2")) for _ in range(2)]
    await asyncio.wait_for(redirecting.peer.received(max_clients or 2), 10)
    transport.close()
    redirecting.may_respond.set()
    assert await bodies(fetches) == [b"the end"] * 2
    assert len(redirecting.peer.requests) == 6
    for new in (fetch_of_the_client, fetch_of_tornado):
        with pytest.raises(RuntimeError, match="closed"):
            new(transport, redirecting.peer.url("/0"))


@needs_proc
@BOTH_APIS
async def test_close_releases_everything_after_the_last_redirect(
    transport_class: type[CancellableFetch], fetch: BeginFetch, redirecting: Redirecting
) -> None:
    # The sockets of the loop and of the peer.
    first = fetch(transport_class(force_instance=True), redirecting.peer.url("/0"))
    redirecting.may_respond.set()
    await asyncio.wait_for(first, 10)
    del first
    gc.collect()
    redirecting.may_respond.clear()
    before = set(os.listdir("/proc/self/fd"))
    transport = transport_class(force_instance=True)
    future = fetch(transport, redirecting.peer.url("/2"))
    await asyncio.wait_for(redirecting.peer.received(2), 10)
    transport.close()
    redirecting.may_respond.set()
    assert (await asyncio.wait_for(future, 10)).body == b"the end"
    for _ in range(3):
        await asyncio.sleep(0)
    await redirecting.peer.close()
    assert set(os.listdir("/proc/self/fd")) <= before
    reference = weakref.ref(transport)
    del transport, future
    gc.collect()
    assert reference() is None


def failure_of(outcome: Any) -> Any:
    """Return the error of a finished fetch of either API."""
    return outcome if isinstance(outcome, BaseException) else outcome.error


@BOTH_APIS
async def test_fail_requests_after_a_redirect(
    transport_class: type[CancellableFetch], fetch: BeginFetch, redirecting: Redirecting
) -> None:
    transport = transport_class(force_instance=True)
    redirecting.free = ("/2",)
    future = fetch(transport, redirecting.peer.url("/2"))
    transport.close()
    await asyncio.wait_for(redirecting.peer.received(2), 10)
    transport.fail_requests()
    [outcome] = await asyncio.wait_for(asyncio.gather(future, return_exceptions=True), 10)
    assert "client closed" in str(failure_of(outcome))
    assert not transport.requests.active


@BOTH_APIS
async def test_cancel_after_close_and_a_redirect(
    transport_class: type[CancellableFetch], fetch: BeginFetch, redirecting: Redirecting
) -> None:
    transport = transport_class(force_instance=True)
    redirecting.free = ("/2",)
    future = fetch(transport, redirecting.peer.url("/2"))
    transport.close()
    await asyncio.wait_for(redirecting.peer.received(2), 10)
    future.cancel()
    with pytest.raises(asyncio.CancelledError):
        await future
    # Tornado's API has a future for each redirect.
    for _ in range(5):
        await asyncio.sleep(0)
    assert not transport.requests.active


@BOTH_APIS
async def test_loop_ends_a_redirect_of_a_closed_transport(
    transport_class: type[CancellableFetch], fetch: BeginFetch, redirecting: Redirecting
) -> None:
    redirecting.free = ("/4", "/3", "/2", "/1")
    has_last_request = threading.Event()

    async def begin() -> asyncio.Future[Any]:
        transport = transport_class(force_instance=True)
        future = fetch(transport, redirecting.peer.url("/4"))
        transport.close()
        await asyncio.get_running_loop().run_in_executor(None, has_last_request.wait)
        assert not future.done()
        return future

    def run() -> Any:
        loop = asyncio.new_event_loop()
        future = loop.run_until_complete(begin())
        loop.close()
        return future.exception() or future.result()

    ended = asyncio.create_task(asyncio.to_thread(run))
    try:
        await asyncio.wait_for(redirecting.peer.received(5), 10)
    finally:
        has_last_request.set()
    assert "client closed" in str(failure_of(await asyncio.wait_for(ended, 10)))


@pytest.mark.parametrize("method", ["close", "fail_requests"])
@pytest.mark.parametrize("hook", ["on_request", "on_response"])
async def test_hook_closes_the_transport_before_a_redirect(
    transport_class: type[CancellableFetch], hook: str, method: str, redirecting: Redirecting
) -> None:
    transport = transport_class(force_instance=True)

    def close(event: RequestEvent) -> None:
        if hook == "on_response" or event.redirects:
            getattr(transport, method)()

    redirecting.may_respond.set()
    client = HTTPClient(transport=transport, **{hook: close})  # type: ignore[arg-type]
    res = await asyncio.wait_for(client.fetch(redirecting.peer.url("/2")), 10)
    if method == "close":
        assert res.body == b"the end"
    else:
        assert res.error is not None
        assert res.error.code is errors.SOCKET_ERROR
        assert "client closed" in res.error.message


def traced(original: Any) -> Any:
    def fetch(self: AsyncHTTPClient, *args: Any, **kwargs: Any) -> Any:
        return original(self, *args, **kwargs)

    return fetch


def deferred(original: Any) -> Any:
    def fetch_impl(self: AsyncHTTPClient, *args: Any, **kwargs: Any) -> None:
        asyncio.get_running_loop().call_soon(lambda: original(self, *args, **kwargs))

    return fetch_impl


@pytest.fixture(params=["fetch", "fetch_impl"])
def tool(request: pytest.FixtureRequest, transport_class: type[CancellableFetch]) -> Iterator[None]:
    """A tool that wraps ``fetch``, or calls ``fetch_impl`` later."""
    if request.param == "fetch":
        patch = mock.patch.object(AsyncHTTPClient, "fetch", traced(AsyncHTTPClient.fetch))
    else:
        stock = transport_class.stock
        patch = mock.patch.object(stock, "fetch_impl", deferred(stock.fetch_impl))
    with patch:
        yield


@pytest.mark.usefixtures("tool")
@pytest.mark.parametrize("is_streamed", [False, True], ids=["", "streamed"])
async def test_hooked_fetch_follows_redirects_after_close(
    transport_class: type[CancellableFetch], is_streamed: bool, redirecting: Redirecting
) -> None:
    transport = transport_class(force_instance=True)
    received: list[bytes] = []
    options: Any = {"streaming_callback": received.append} if is_streamed else {}
    fetch = HTTPClient(transport=transport).fetch(redirecting.peer.url("/2"), **options)
    await asyncio.wait_for(redirecting.peer.received(1), 10)
    transport.close()
    redirecting.may_respond.set()
    res = await asyncio.wait_for(fetch, 10)
    assert (res.error, res.code) == (None, 200)
    assert b"".join(received) + (res.body or b"") == b"the end"


@pytest.mark.usefixtures("tool")
async def test_hook_ends_a_hooked_fetch_before_a_redirect(
    transport_class: type[CancellableFetch], redirecting: Redirecting
) -> None:
    transport = transport_class(force_instance=True)
    redirecting.may_respond.set()
    client = HTTPClient(transport=transport, on_response=lambda event: transport.fail_requests())
    res = await asyncio.wait_for(client.fetch(redirecting.peer.url("/2")), 10)
    assert res.error is not None
    assert res.error.code is errors.SOCKET_ERROR
    assert len(redirecting.peer.requests) == 1


async def test_close_after_a_tool_has_raised(transport_class: type[CancellableFetch]) -> None:
    transport = transport_class(force_instance=True)
    with (
        mock.patch.object(AsyncHTTPClient, "fetch", mock.Mock(side_effect=KeyError("tool"))),
        pytest.raises(KeyError, match="tool"),
    ):
        HTTPClient(transport=transport).fetch("http://host/")
    with mock.patch.object(transport, "release", wraps=transport.release) as release:
        transport.close()
        release.assert_called_once_with()


@pytest.mark.usefixtures("tool")
async def test_hooked_fetch_ends_with_fail_requests(
    transport_class: type[CancellableFetch], redirecting: Redirecting
) -> None:
    transport = transport_class(force_instance=True)
    fetch = HTTPClient(transport=transport).fetch(redirecting.peer.url("/2"))
    await asyncio.wait_for(redirecting.peer.received(1), 10)
    transport.close()
    transport.fail_requests()
    res = await asyncio.wait_for(fetch, 10)
    assert res.error is not None
    assert res.error.code is errors.SOCKET_ERROR


def awaited(original: Any) -> Any:
    async def fetch(self: AsyncHTTPClient, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return await original(self, *args, **kwargs)

    return fetch


async def test_tool_calls_fetch_after_close(
    transport_class: type[CancellableFetch], redirecting: Redirecting
) -> None:
    transport = transport_class(force_instance=True)
    with mock.patch.object(AsyncHTTPClient, "fetch", awaited(AsyncHTTPClient.fetch)):
        fetch = HTTPClient(transport=transport).fetch(redirecting.peer.url("/2"))
        await asyncio.wait_for(redirecting.peer.received(1), 10)
        transport.close()
        redirecting.may_respond.set()
        res = await asyncio.wait_for(fetch, 10)
    assert res.error is not None
    assert res.error.code is errors.SOCKET_ERROR


@BOTH_APIS
async def test_tool_starts_a_request_after_fail_requests(
    transport_class: type[CancellableFetch], fetch: BeginFetch, slow: Slow
) -> None:
    transport, stock = transport_class(force_instance=True), transport_class.stock
    with mock.patch.object(stock, "fetch_impl", deferred(stock.fetch_impl)):
        future = fetch(transport, slow.peer.url())
        transport.fail_requests()
        [outcome] = await asyncio.wait_for(asyncio.gather(future, return_exceptions=True), 10)
    assert "client closed" in str(failure_of(outcome))
    assert slow.peer.requests == []


async def test_stock_client_is_closed_before_a_redirect(redirecting: Redirecting) -> None:
    stock = SimpleAsyncHTTPClient(force_instance=True)
    fetch = HTTPClient(transport=stock).fetch(redirecting.peer.url("/1"))
    await asyncio.wait_for(redirecting.peer.received(1), 10)
    stock.close()
    redirecting.may_respond.set()
    res = await asyncio.wait_for(fetch, 10)
    assert res.error is not None
    assert res.error.code is errors.SOCKET_ERROR
    assert "client closed" in res.error.message


async def test_stub_follows_redirects_after_close(
    transport_class: type[CancellableFetch], turbo_stub: StubTransport
) -> None:
    turbo_stub.get("http://host/", status=302, headers={"Location": "/end"})
    turbo_stub.get("http://host/end", body=b"the end")
    transport = transport_class(force_instance=True)
    fetch = HTTPClient(transport=transport).fetch("http://host/")
    transport.close()
    assert (await asyncio.wait_for(fetch, 10)).body == b"the end"
    with pytest.raises(RuntimeError, match="closed"):
        HTTPClient(transport=transport).fetch("http://host/")
