"""The hooks ``on_request`` and ``on_response``."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import Connection, MakePeer, RunPython, Script, response
from tests.support.server import Server
from turbo_tornado import (
    FetchError,
    HTTPClient,
    HTTPHeaders,
    RequestEvent,
    configure,
    errors,
    reset,
)

Hook = Callable[[RequestEvent], object]

user = contextvars.ContextVar("user", default="nobody")


@pytest.fixture(autouse=True)
def configuration() -> Iterator[None]:
    yield
    reset()


class Recorder:
    """Stores the events, and the text of each call."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.events: list[RequestEvent] = []
        # An assertion in a hook would only be logged.
        self.is_right = True

    def on_request(self, event: RequestEvent) -> None:
        outcome = (event.duration, event.code, event.error)
        self.is_right &= outcome == (None, None, None)
        self.calls.append("request")
        self.events.append(event)

    def on_response(self, event: RequestEvent) -> None:
        self.is_right &= event is self.events[-1] and (event.duration or 0) > 0
        self.calls.append("response")

    def client(self, transport: Any) -> HTTPClient:
        return HTTPClient(
            transport=transport, on_request=self.on_request, on_response=self.on_response
        )


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    assert recorder.is_right


def log_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    records = [record for record in caplog.records if record.name == "turbo_tornado"]
    assert all(record.exc_info for record in records)
    return [f"{record.getMessage()}: {record.exc_info[1]}" for record in records]  # type: ignore[index]


def redirect(location: str) -> bytes:
    return response(b"", f"Location: {location}", status="302 Found")


def by_path(**answers: bytes) -> Script:
    async def script(conn: Connection) -> None:
        while True:
            request = await conn.read_request()
            await conn.send(answers.get(request.target[1:], response(b"end")))

    return script


# The attributes of an event


async def test_attributes_of_a_response(
    transport: str, recorder: Recorder, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(response(b"body", "X-A: b", status="404 Gone"))
    url = peer.url("/a?b=c")
    res = await recorder.client(transport).fetch(
        url.replace("//", "//u:p@") + "#f", method="put", body="x"
    )
    assert recorder.calls == ["request", "response"]
    [event] = recorder.events
    assert (event.method, event.url, event.redirects) == ("PUT", url, 0)
    assert event.headers["Authorization"].startswith("Basic ")
    assert (event.code, event.reason, event.error) == (404, "Gone", None)
    assert event.response_headers is res.headers
    assert event.time_info is res.time_info
    assert event.duration is not None and event.duration * 1000 <= res.request_time
    assert repr(event) == f"<RequestEvent PUT {peer.url('/a')} 404>"


async def test_duration_is_a_part_of_request_time(
    transport: str, recorder: Recorder, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            time.sleep(0.1)

    handler, log = Slow(), logging.getLogger("turbo_tornado")
    log.addHandler(handler)
    try:
        with caplog.at_level(logging.INFO, log.name):
            res = await recorder.client(transport).fetch(server.url("/echo"))
    finally:
        log.removeHandler(handler)
    [event] = recorder.events
    assert event.duration is not None and event.duration * 1000 <= res.request_time


async def test_each_redirect(transport: str, recorder: Recorder, server: Server) -> None:
    res = await recorder.client(transport).fetch(server.url("/redirect/2"))
    assert res.code == 200
    assert recorder.calls == ["request", "response"] * 3
    assert [(event.url, event.redirects, event.code) for event in recorder.events] == [
        (server.url("/redirect/2"), 0, 302),
        (server.url("/redirect/1?code=302"), 1, 302),
        (server.url("/echo"), 2, 200),
    ]
    assert all(event.error is None for event in recorder.events)


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("/again", errors.REDIRECT_MAX),
        ("ftp://a/", errors.INVALID_SCHEMA),
        ("http://a:0/", errors.INVALID_URL),
    ],
)
async def test_redirect_that_is_not_followed(
    transport: str, recorder: Recorder, raw_peer: MakePeer, location: str, code: errors
) -> None:
    peer = await raw_peer(redirect(location))
    res = await recorder.client(transport).fetch(peer.url("/again"), max_redirects=1)
    event = recorder.events[-1]
    assert event.code == 302
    assert event.error == res.error and isinstance(event.error, FetchError)
    assert event.error.code is code
    assert len(recorder.calls) == 2 * len(recorder.events)


async def test_attributes_of_an_error(transport: str, recorder: Recorder, closed_port: int) -> None:
    res = await recorder.client(transport).fetch(f"http://127.0.0.1:{closed_port}/")
    assert recorder.calls == ["request", "response"]
    [event] = recorder.events
    assert event.error == res.error and res.error is not None
    assert res.error.code is errors.COULD_NOT_CONNECT
    assert (event.code, event.reason, event.response_headers, event.time_info) == (None,) * 4


async def test_error_before_the_transport_sends(
    transport: str, recorder: Recorder, server: Server
) -> None:
    client = HTTPClient(
        {"ca_path": "/nonexistent"},
        transport=transport,
        on_request=recorder.on_request,
        on_response=recorder.on_response,
    )
    res = await client.fetch(server.url().replace("http", "https"))
    assert recorder.calls == ["request", "response"]
    assert recorder.events[0].error == res.error and res.error is not None
    assert res.error.code is errors.SSL_ERROR


async def test_request_that_the_transport_does_not_support(
    recorder: Recorder, server: Server
) -> None:
    with pytest.raises(ValueError) as raised:
        recorder.client("simple").fetch(server.url(), http_version="HTTP/2")
    assert recorder.calls == ["request", "response"]
    assert recorder.events[0].error is raised.value


async def test_cancelled_fetch(transport: str, recorder: Recorder, raw_peer: MakePeer) -> None:
    peer = await raw_peer(b"")
    future = recorder.client(transport).fetch(peer.url())
    await peer.received()
    future.cancel()
    assert recorder.calls == ["request", "response"]
    assert isinstance(recorder.events[0].error, asyncio.CancelledError)


async def test_no_event_without_a_request(
    transport: str, recorder: Recorder, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(b"")
    client = recorder.client(transport)
    for url, options in [("ftp://a/", {}), ("", {}), (peer.url(), {"method": "POST"})]:
        assert (await client.fetch(url, **options)).error is not None  # type: ignore[arg-type]
    first = client.fetch(peer.url())
    assert (await client.fetch(peer.url())).error == FetchError(
        errors.BUSY, "this client has a fetch in progress"
    )
    assert recorder.calls == ["request"]
    first.cancel()


async def test_state(transport: str, server: Server) -> None:
    values = []

    def on_request(event: RequestEvent) -> None:
        event.state["span"] = event.redirects

    client = HTTPClient(
        transport=transport,
        on_request=on_request,
        on_response=lambda event: values.append(event.state["span"]),
    )
    await client.fetch(server.url("/redirect/1"))
    assert values == [0, 1]


# Headers


def adding(name: str, value: Any) -> Hook:
    return lambda event: event.headers.add(name, value)


async def test_changed_headers_are_sent(transport: str, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b""))

    def change(event: RequestEvent) -> None:
        event.headers["X-A"] = "1"
        event.headers["user-agent"] = "mine"
        event.headers.remove("Accept-Encoding")

    seen: list[HTTPHeaders] = []
    client = HTTPClient(
        transport=transport,
        on_request=change,
        on_response=lambda event: seen.append(event.headers),
    )
    res = await client.fetch(peer.url(), on_headers=lambda headers: headers.set("X-A", "0"))
    [request] = peer.requests
    assert (request.field("X-A"), request.field("User-Agent")) == ("1", "mine")
    assert request.field("Accept-Encoding") is None
    assert list(seen[0].get_all()) == list(res.request.get_all()) == request.fields


@pytest.mark.kept
async def test_changed_headers_are_not_sent_after_a_redirect(
    transport: str, raw_peer: MakePeer
) -> None:
    """A header that a hook sets for one host is not sent to another host."""
    peer = await raw_peer(by_path(first=redirect("/second")))

    def change(event: RequestEvent) -> None:
        if event.redirects:
            event.headers.add("X-Second", "2")
        else:
            event.headers.add("X-First", "1")
            event.headers.remove("User-Agent")
            event.headers["Connection"] = "close"

    await HTTPClient(transport=transport, on_request=change).fetch(peer.url("/first"))
    first, second = peer.requests
    assert (first.field("X-First"), first.field("User-Agent")) == ("1", None)
    assert (second.field("X-First"), second.field("X-Second")) == (None, "2")
    assert second.field("User-Agent") is not None and second.field("Connection") is None


async def test_hook_without_changes(transport: str, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b""))
    given = {"x-lower": "1", "User-Agent": "a"}
    await HTTPClient(transport=transport).fetch(peer.url(), headers=given)
    client = HTTPClient(transport=transport, on_request=lambda event: dict(event.headers))
    await client.fetch(peer.url(), headers=given)
    assert peer.requests[0].raw == peer.requests[1].raw


async def test_connection_close_closes_the_connection(transport: str, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b""))
    client = HTTPClient(transport=transport, on_request=adding("Connection", "close"))
    for _ in range(2):
        await client.fetch(peer.url())
    assert [request.connection for request in peer.requests] == [1, 2]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "1\r\nX-B: 2"),
        ("X-A", "1\0"),
        ("X A", "1"),
        ("X-A", None),
        ("Content-Length", "5"),
        ("Transfer-Encoding", "chunked"),
        ("Host", "two"),
        ("X-Big", "x" * 1_000_000),
    ],
)
async def test_invalid_headers(
    transport: str,
    raw_peer: MakePeer,
    caplog: pytest.LogCaptureFixture,
    name: str,
    value: Any,
) -> None:
    peer = await raw_peer(response(b"body"))

    def change(event: RequestEvent) -> None:
        event.headers["X-Good"] = "1"
        event.headers.add(name, value)

    await HTTPClient(transport=transport).fetch(peer.url(), method="POST", body="1")
    seen: list[HTTPHeaders] = []
    client = HTTPClient(
        transport=transport,
        on_request=change,
        on_response=lambda event: seen.append(event.headers),
    )
    res = await client.fetch(peer.url(), method="POST", body="1")
    assert res.body == b"body"
    assert "X-Good" not in seen[0]
    assert peer.requests[0].raw == peer.requests[1].raw
    [line] = log_of(caplog)
    assert line.startswith("Exception in the hook test_invalid_headers.<locals>.change: ")


async def test_credentials_for_a_proxy(
    transport: str, raw_peer: MakePeer, caplog: pytest.LogCaptureFixture
) -> None:
    def change(event: RequestEvent) -> None:
        event.headers["Proxy-Authorization"] = "Basic c2VjcmV0"

    proxy = await raw_peer(response(b"body"))
    client = HTTPClient(transport=transport, on_request=change)
    res = await client.fetch("http://example.com/", proxy=f"http://127.0.0.1:{proxy.port}")
    assert res.body == b"body"
    assert proxy.requests[0].field("Proxy-Authorization") is None
    [line] = log_of(caplog)
    assert "Proxy-Authorization" in line


async def test_header_that_bypasses_the_checks(
    transport: str, raw_peer: MakePeer, caplog: pytest.LogCaptureFixture
) -> None:
    peer = await raw_peer(response(b""))

    def change(event: RequestEvent) -> None:
        event.headers.get_list("user-agent")
        event.headers._as_list["User-Agent"] = ["a\r\nX-B: 2"]
        event.headers._dict["User-Agent"] = "a\r\nX-B: 2"

    await HTTPClient(transport=transport, on_request=change).fetch(peer.url())
    assert peer.requests[0].field("X-B") is None
    assert len(log_of(caplog)) == 1


# Which hooks are called, where, and when


async def test_hooks_are_called_in_order(transport: str, server: Server) -> None:
    calls: list[str] = []

    def noting(name: str) -> Hook:
        return lambda event: calls.append(name)

    again = noting("a")
    configure(on_request=again)
    configure(on_request=noting("b"), on_response=noting("c"))
    configure(on_request=again, keep_alive=True)
    client = HTTPClient(transport=transport, on_request=noting("d"), on_response=noting("e"))
    await client.fetch(server.url(), on_headers=lambda headers: calls.append("on_headers"))
    assert calls == ["on_headers", "a", "b", "d", "c", "e"]
    calls.clear()
    await HTTPClient(transport=transport).fetch(server.url())
    assert calls == ["a", "b", "c"]
    calls.clear()
    reset()
    await client.fetch(server.url())
    assert calls == ["d", "e"]


@pytest.mark.parametrize("name", ["on_request", "on_response"])
def test_invalid_hooks(name: str) -> None:
    async def coroutine(event: RequestEvent) -> None: ...

    for value in ("text", coroutine):
        with pytest.raises(TypeError, match=name):
            HTTPClient(**{name: value})  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=name):
            configure(user_agent="not set", **{name: value})  # type: ignore[arg-type]


async def test_configure_with_an_invalid_keyword_does_not_add_hooks(server: Server) -> None:
    calls: list[RequestEvent] = []
    with pytest.raises(TypeError):
        configure(on_request=calls.append, keep_alive="no")  # type: ignore[arg-type]
    await HTTPClient().fetch(server.url())
    assert not calls


@pytest.mark.parametrize("kind", [asyncio.CancelledError, GeneratorExit])
async def test_exception_of_a_hook_is_logged(
    transport: str,
    server: Server,
    recorder: Recorder,
    caplog: pytest.LogCaptureFixture,
    kind: type[BaseException],
) -> None:
    def bad_request(event: RequestEvent) -> None:
        event.headers["X-Lost"] = "1"
        raise LookupError("first")

    def bad_response(event: RequestEvent) -> None:
        raise kind("second")

    configure(on_request=bad_request, on_response=bad_response)
    client = recorder.client(transport)
    res = await client.fetch(server.url("/redirect/1"))
    assert res.code == 200 and res.request.get("X-Lost") is None
    assert recorder.calls == ["request", "response"] * 2
    where = "Exception in the hook test_exception_of_a_hook_is_logged.<locals>."
    assert log_of(caplog) == [f"{where}bad_request: first", f"{where}bad_response: second"] * 2
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


@pytest.mark.parametrize("hook", ["on_request", "on_response"])
async def test_hook_that_ends_the_program(
    hook: str, transport: str, server: Server, run_python: RunPython
) -> None:
    program = """
import asyncio, sys
from turbo_tornado import HTTPClient

url, transport, name = sys.argv[1:]
calls = []

def hook(event):
    calls.append(event)
    # In the second call, the first request has been sent.
    if len(calls) == (2 if name == "on_request" else 1):
        sys.exit()

client = HTTPClient(transport=transport, **{name: hook})

futures = []

async def fetch():
    futures.append(client.fetch(url, request_timeout=0))
    await asyncio.wait(futures)

loop = asyncio.new_event_loop()
task = loop.create_task(fetch())
try:
    loop.run_until_complete(task)
except SystemExit:
    calls += range(10)
assert len(calls) > 10
loop.run_until_complete(task)
assert type(futures.pop().exception()) is SystemExit
loop.run_until_complete(fetch())
assert futures[0].result().code == 200
loop.close()
"""
    await run_python(program, server.url("/redirect/1"), transport, hook)


@pytest.mark.parametrize("outcome", ["response", "cancel"])
async def test_context_variables_of_a_hook(transport: str, server: Server, outcome: str) -> None:
    seen: list[str] = []

    def note(event: RequestEvent) -> None:
        seen.append(user.get())
        # The caller does not receive this change.
        user.set("hook")

    async def fetch(name: str) -> None:
        user.set(name)
        client = HTTPClient(transport=transport, on_request=note, on_response=note)
        if outcome == "response":
            await client.fetch(server.url("/redirect/1"))
        else:
            future = client.fetch(server.url())
            contextvars.Context().run(future.cancel)
        assert user.get() == name

    for name in ("one", "two"):
        await asyncio.create_task(fetch(name))
    calls = 4 if outcome == "response" else 2
    assert seen == ["one"] * calls + ["two"] * calls


@pytest.mark.parametrize("when", ["on_request", "on_response"])
async def test_hook_that_cancels_the_fetch(
    transport: str, raw_peer: MakePeer, recorder: Recorder, when: str
) -> None:
    peer = await raw_peer(by_path(first=redirect("/second"), second=redirect("/third")))
    futures: list[asyncio.Future[Any]] = []

    def cancel(event: RequestEvent) -> None:
        if event.redirects == 1:
            futures[0].cancel()

    configure(**{when: cancel})  # type: ignore[arg-type]
    futures.append(recorder.client(transport).fetch(peer.url("/first")))
    with pytest.raises(asyncio.CancelledError):
        await futures[0]
    assert recorder.calls == ["request", "response"] * 2
    expected = ["/first"] if when == "on_request" else ["/first", "/second"]
    assert [request.target for request in peer.requests] == expected
    error = recorder.events[1].error
    assert isinstance(error, asyncio.CancelledError) == (when == "on_request")


async def test_hook_that_cancels_the_caller_after_the_end(transport: str, server: Server) -> None:
    tasks: list[asyncio.Task[int]] = []
    client = HTTPClient(transport=transport, on_response=lambda event: tasks[0].cancel())

    async def fetch() -> int:
        return (await client.fetch(server.url())).code

    tasks.append(asyncio.create_task(fetch()))
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]


async def test_hook_that_fetches(transport: str, server: Server) -> None:
    inner: list[asyncio.Future[Any]] = []

    def refresh(event: RequestEvent) -> None:
        if not inner:
            inner.append(client.fetch(server.url("/status/201")))

    client = HTTPClient(transport=transport, on_response=refresh)
    assert (await client.fetch(server.url())).code == 200
    assert (await inner[0]).code == 201
