"""Requests by Tornado's API on `CurlTransport`, compared with Tornado's client."""

from __future__ import annotations

import asyncio
import contextvars
import gzip
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from tornado import httputil
from tornado.httpclient import AsyncHTTPClient, HTTPError, HTTPRequest, HTTPResponse

from tests.support import Connection, MakePeer, response

pycurl = pytest.importorskip("pycurl")

from tornado.curl_httpclient import CurlAsyncHTTPClient, CurlError

from turbo_tornado.transports.curl import CurlTransport

from .curl import GOOD, MakeTransport, fails_with, half_a_body

# Tornado 6.4 with pycurl 7.46 and newer.
pytestmark = pytest.mark.filterwarnings("ignore:IOCTLFUNCTION is deprecated:DeprecationWarning")


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
    "header_block": {"headers": {"X-Field": "value", "Accept": "text/html", "X-Latin": "\xe4"}},
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
            # Tornado's client prints a message for an invalid header, and fails.
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


async def test_invalid_request_is_reported(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    transport = make_transport()
    peer = await raw_peer(GOOD)
    await fails_with(transport.fetch(peer.url(), method="POST"), ValueError)
    await fails_with(transport.fetch(peer.url(), method="UNKNOWN"), KeyError)
    await fails_with(transport.fetch(peer.url(), network_interface=5), TypeError)
    # Newer versions of Tornado reject such a header earlier.
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


async def test_callback_that_raises(
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


# pycurl 7.45.7.
@pytest.mark.filterwarnings("ignore:debug_callback failed to acquire thread:RuntimeWarning")
async def test_debug_log(
    make_transport: MakeTransport, raw_peer: MakePeer, caplog: pytest.LogCaptureFixture
) -> None:
    transport = make_transport()
    peer = await raw_peer(GOOD)
    with caplog.at_level(logging.DEBUG, "tornado.curl_httpclient"):
        await transport.fetch(peer.url())
    assert any("GET / HTTP/1.1" in message for message in caplog.messages)


async def test_changed_defaults_apply_to_the_next_request(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    transport = make_transport(defaults={"user_agent": "one"})
    peer = await raw_peer(GOOD)
    await transport.fetch(peer.url())
    transport.defaults["user_agent"] = "two"
    await transport.fetch(peer.url())
    assert [request.field("User-Agent") for request in peer.requests] == ["one", "two"]


async def test_cancel_of_a_deferred_request_does_not_abort_others(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    class Deferring(CurlTransport):
        def fetch_impl(self, request: HTTPRequest, callback: Any) -> None:
            self.io_loop.add_callback(super().fetch_impl, request, callback)

    async def script(conn: Connection) -> None:
        request = await conn.read_request()
        if request.target == "/first":
            await cancelled.wait()
        if request.target != "/second":
            await conn.send(GOOD)

    cancelled = asyncio.Event()
    transport = make_transport(Deferring)
    peer = await raw_peer(script)
    first, second = transport.fetch(peer.url("/first")), transport.fetch(peer.url("/second"))
    await asyncio.wait_for(peer.received(2), 10)
    second.cancel()
    await asyncio.sleep(0)
    cancelled.set()
    assert (await asyncio.wait_for(first, 10)).body == b"good"


async def test_callbacks_run_in_the_context_of_their_fetch(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
    peer = await raw_peer(GOOD)
    transport = make_transport()
    seen: list[int] = []

    def note(argument: Any) -> None:
        seen.append(variable.get())

    for number in (1, 2):
        variable.set(number)
        seen.clear()
        await transport.fetch(
            peer.url(), streaming_callback=note, header_callback=note, prepare_curl_callback=note
        )
        assert len(seen) >= 5 and {*seen} == {number}
        seen.clear()
        request = HTTPRequest(peer.url(), **transport.defaults)
        answered = asyncio.Event()
        transport.fetch_impl(request, lambda res, done=answered: (note(res), done.set()))  # type: ignore[misc]
        await asyncio.wait_for(answered.wait(), 10)
        assert seen == [number]
