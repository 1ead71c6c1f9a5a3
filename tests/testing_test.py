"""The stub transport, and the pytest plugin, as users of the package have them."""

from __future__ import annotations

import ast
import asyncio
import concurrent.futures
import gc
import gzip
import importlib.metadata
import inspect
import io
import math
import os
import re
import ssl
import subprocess
import sys
import textwrap
import time
import unittest
import weakref
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import tornado.testing
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.httputil import HTTPHeaders as TornadoHeaders
from tornado.ioloop import IOLoop
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from tornado.testing import ExpectLog
from tornado.util import import_object
from tornado.web import Application, RequestHandler

from tests.support import MakePeer, response
from turbo_tornado import HTTPClient, HTTPResponse, configure, errors, failures, reset
from turbo_tornado.testing import Answer, StubRequest, StubTransport, UnexpectedRequest
from turbo_tornado.transports.classify import SIMULATED, classify
from turbo_tornado.transports.registry import registry

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "testing_handlers"
URL = "https://api.test/latest"


async def fetch(url: str = URL, **options: Any) -> HTTPResponse:
    return await HTTPClient().fetch(url, options)


def error_of(res: HTTPResponse) -> errors:
    assert res.error is not None
    return res.error.code


# Matching

MATCHES = [
    (URL, URL),
    (URL, URL + "?page=2"),
    (URL + "?a=1&b=2", URL + "?b=2&a=1"),
    (URL + "?a=x%20y&a=", URL + "?a=x+y&a="),
    (URL + "?", URL),
    ("http://API.test:80/", "http://api.test"),
    ("http://api.test", "http://api.test/?a=1"),
    ("https://api.test/ü", "https://api.test/%C3%BC"),
    ("https://user:pass@api.test/latest#top", URL),
    ("/latest", URL),
    ("/latest?a=1", "http://other.test:8080/latest?a=1"),
    (re.compile(r"/items/\d+$"), "https://api.test/items/15"),
    (re.compile(r"a=1"), URL + "?a=1"),
    (lambda request: request.query["a"] == ["1"], URL + "?a=1"),
]
NO_MATCHES = [
    (URL, "http://api.test/latest"),
    (URL, "https://api.test:444/latest"),
    (URL, "https://www.api.test/latest"),
    (URL, "https://api.test/latest/"),
    (URL, "https://api.test/Latest"),
    (URL + "?a=1", URL),
    (URL + "?a=1", URL + "?a=1&b=2"),
    (URL + "?a=1", URL + "?a=1&a=1"),
    (URL + "?", URL + "?a=1"),
    ("/latest", "https://api.test/v1/latest"),
    (re.compile(r"/items/\d+$"), "https://api.test/items/x"),
    (lambda request: False, URL),
]


@pytest.mark.parametrize(("pattern", "url"), MATCHES)
async def test_pattern_matches(pattern: Any, url: str, turbo_stub: StubTransport) -> None:
    turbo_stub.get(pattern, status=299)
    assert (await fetch(url)).code == 299


@pytest.mark.parametrize("pattern", ["latest", "api.test/latest", "", "ftp://api.test/", "/a b"])
def test_pattern_that_cannot_match_raises(pattern: str, turbo_stub: StubTransport) -> None:
    with pytest.raises(
        ValueError, match=f"^'{pattern}' is neither a valid URL nor a path that begins with /"
    ):
        turbo_stub.get(pattern)


@pytest.mark.parametrize(("pattern", "url"), NO_MATCHES)
async def test_pattern_does_not_match(pattern: Any, url: str, turbo_stub: StubTransport) -> None:
    turbo_stub.get(re.compile(""), status=200)
    turbo_stub.get(pattern, status=299)
    assert (await fetch(url)).code == 200


@pytest.mark.parametrize("method", ["get", "head", "post", "put", "patch", "delete"])
async def test_methods(method: str, turbo_stub: StubTransport) -> None:
    turbo_stub.on(None, URL, status=200)
    getattr(turbo_stub, method)(URL, status=299)
    turbo_stub.on("purge", URL, status=298)
    assert (await fetch(method=method.upper(), body="x")).code == 299
    assert (await fetch(method="PURGE")).code == 298
    assert (await fetch(method="OPTIONS")).code == 200


async def test_last_matching_route_answers(turbo_stub: StubTransport) -> None:
    first, last = turbo_stub.get(URL, body="first"), turbo_stub.get("/latest", body="last")
    turbo_stub.get("/other")
    assert (await fetch()).body == b"last"
    assert (len(first.requests), len(last.requests)) == (0, 1)


@pytest.mark.parametrize(
    ("url", "kind"),
    [("latest", ValueError), ("ftp://api.test/", ValueError), ("", ValueError), (5, TypeError)],
)
def test_invalid_url_pattern(url: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        StubTransport().get(url)


def test_invalid_method() -> None:
    with pytest.raises(ValueError, match="method"):
        StubTransport().on("GET it", URL)


# Answers


async def test_default_answer_is_an_empty_200(turbo_stub: StubTransport) -> None:
    turbo_stub.get(URL)
    res = await fetch()
    assert (res.error, res.code, res.reason, res.body, res.url) == (None, 200, "OK", b"", URL)
    assert list(res.headers.get_all()) == [("Content-Length", "0")]
    assert res.headers.get_status_code() == 200
    assert {"queue", "starttransfer", "total"} < res.time_info.keys()
    assert res.request["User-Agent"].startswith("Turbo Client")


async def test_response(turbo_stub: StubTransport) -> None:
    turbo_stub.get(URL, status=HTTPStatus.NOT_FOUND, body="ü", headers={"Server": "x"})
    res = await fetch()
    assert (res.code, res.reason, res.body) == (404, "Not Found", "ü".encode())
    assert res.headers["Server"] == "x"
    assert res.headers["Content-Length"] == "2"


def tornado_headers() -> TornadoHeaders:
    headers = TornadoHeaders()
    headers.add("Set-Cookie", "a=1")
    headers.add("Set-Cookie", "b=2")
    return headers


@pytest.mark.parametrize(
    "headers", [tornado_headers(), [("Set-Cookie", "a=1"), ("set-cookie", "b=2")]]
)
async def test_repeated_headers(headers: Any, turbo_stub: StubTransport) -> None:
    turbo_stub.get(URL, headers=headers)
    assert (await fetch()).headers.get_list("Set-Cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize(
    ("value", "body"), [({"a": "ü"}, b'{"a": "\\u00fc"}'), (None, b"null"), ([], b"[]")]
)
async def test_json(value: Any, body: bytes, turbo_stub: StubTransport) -> None:
    turbo_stub.get(URL, json=value)
    turbo_stub.get("/problem", json=value, headers={"content-type": "application/problem+json"})
    res = await fetch()
    assert (res.body, res.headers["Content-Type"]) == (body, "application/json")
    res = await fetch("https://api.test/problem")
    assert res.headers.get_list("Content-Type") == ["application/problem+json"]


@pytest.mark.parametrize("status", [204, 304])
async def test_without_body(status: int, turbo_stub: StubTransport) -> None:
    turbo_stub.get(URL, status=status)
    res = await fetch()
    assert (res.code, res.body) == (status, b"")
    assert "Content-Length" not in res.headers


async def test_head(turbo_stub: StubTransport) -> None:
    turbo_stub.head(URL, body="12345")
    res = await fetch(method="HEAD")
    assert (res.body, res.headers["Content-Length"]) == (b"", "5")


async def test_successive_answers(turbo_stub: StubTransport) -> None:
    turbo_stub.get(URL, Answer(503), Answer(error=errors.NO_HEADERS), lambda _: Answer(201))
    assert (await fetch()).code == 503
    assert error_of(await fetch()) is errors.NO_HEADERS
    assert [(await fetch()).code for _ in range(3)] == [201] * 3


async def test_successive_answers_to_concurrent_requests(turbo_stub: StubTransport) -> None:
    turbo_stub.get(URL, *map(Answer, range(201, 211)))
    responses = await asyncio.gather(*(fetch() for _ in range(10)))
    assert sorted(res.code for res in responses) == list(range(201, 211))


async def test_answer_by_a_function(turbo_stub: StubTransport) -> None:
    turbo_stub.post(URL, lambda request: Answer(json=request.json() * 2))
    assert (await fetch(method="POST", body="21")).body == b"42"


async def test_answer_by_an_async_function(turbo_stub: StubTransport) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def hold(request: StubRequest) -> Answer:
        arrived.set()
        await go_on.wait()
        return Answer(body=request.path)

    turbo_stub.get(URL, hold)
    future = HTTPClient().fetch(URL)
    await arrived.wait()
    assert not future.done()
    go_on.set()
    assert (await future).body == b"/latest"


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ({"status": "200"}, TypeError, "status must be an int"),
        ({"status": errors.NO_HEADERS}, ValueError, "from 200"),
        ({"status": 101}, ValueError, "from 200"),
        ({"status": 1000}, ValueError, "to 999"),
        ({"status": 204, "body": "x"}, ValueError, "has no body"),
        ({"body": {"a": 1}}, TypeError, "json="),
        ({"body": "x", "json": {}}, TypeError, "either body or json"),
        ({"json": {1}}, TypeError, "JSON"),
        ({"headers": {"A": "b\r\nC: d"}}, ValueError, "invalid in a header"),
        ({"headers": {"a b": "c"}}, ValueError, "a b"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, ValueError, "Transfer-Encoding"),
        ({"error": -3}, TypeError, "member of errors"),
        ({"error": errors.NO_HEADERS, "status": 500}, TypeError, "either an error or"),
        ({"error": errors.NO_HEADERS, "json": {}}, TypeError, "either an error or"),
        ({"error": errors.NO_HEADERS, "headers": {"a": "b"}}, TypeError, "either an error or"),
        ({"delay": -1}, ValueError, "negative"),
        ({"delay": math.nan}, ValueError, "NaN"),
        ({"delay": "1"}, TypeError, "seconds"),
        ({"stauts": 200}, TypeError, "stauts"),
    ],
    ids=str,
)
def test_invalid_keywords_of_an_answer(
    answer: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        StubTransport().get(URL, **answer)


def test_invalid_answers() -> None:
    stub: Any = StubTransport()
    with pytest.raises(TypeError, match="not both"):
        stub.get(URL, Answer(), status=404)
    with pytest.raises(TypeError, match="function that returns one, not int"):
        stub.get(URL, 404)


# Streamed bodies


async def test_streaming_callback(turbo_stub: StubTransport) -> None:
    async def callback(chunk: bytes) -> None:
        await asyncio.sleep(0)
        chunks.append(chunk)

    chunks: list[bytes] = []
    turbo_stub.get(URL, body="body")
    for kind in (callback, chunks.append):
        chunks.clear()
        res = await fetch(streaming_callback=kind)
        assert (res.error, res.body, chunks) == (None, b"", [b"body"])


async def test_streamed_request_bodies(turbo_stub: StubTransport) -> None:
    async def blocks() -> Any:
        yield b"one"
        await asyncio.sleep(0)
        yield b"two"

    turbo_stub.post(URL)
    for body, sent in (
        (io.BytesIO(b"file"), b"file"),
        ([b"one", b"two"], b"onetwo"),
        (blocks(), b"onetwo"),
    ):
        assert (await fetch(method="POST", body=body)).error is None
        assert turbo_stub.requests[-1].body == sent
    await fetch(method="POST", files={"f": b"content"})
    assert b"content" in turbo_stub.requests[-1].body
    assert error_of(await fetch(method="POST", body=map(str, [1]))) is errors.INVALID_BODY


async def test_redirect_of_a_streamed_body(turbo_stub: StubTransport) -> None:
    turbo_stub.post(URL, status=307, headers={"Location": "/new"})
    turbo_stub.post("/new")
    assert (await fetch(method="POST", body=io.BytesIO(b"file"))).error is None
    assert [request.body for request in turbo_stub.requests] == [b"file"] * 2
    res = await fetch(method="POST", body=[b"data"])
    assert error_of(res) is errors.INVALID_BODY


# Errors


def test_every_code_can_be_simulated() -> None:
    from turbo_tornado.testing.answers import _HOW_TO_CAUSE

    assert {*SIMULATED} | {*_HOW_TO_CAUSE} == set(errors)
    assert not {*SIMULATED} & {*_HOW_TO_CAUSE}
    # More than one failure has this code.
    assert SIMULATED[errors.SOCKET_ERROR] is failures.BrokenConnection


@pytest.mark.parametrize("code", SIMULATED)
async def test_simulated_error(code: errors, turbo_stub: StubTransport) -> None:
    turbo_stub.get(URL, error=code)
    res = await fetch(connect_timeout=3, request_timeout=5)
    assert res.error is not None
    assert res.error.code is code
    assert res.error.message.startswith("api.test:443: ")
    assert (res.code, res.headers, res.body) == (None, None, None)
    limit = {"CONNECT_TIMEOUT": "of 3 s", "REQUEST_TIMEOUT": "of 5 s"}.get(code.name, "")
    assert limit in res.error.message


@pytest.mark.parametrize("code", SIMULATED)
def test_simulated_error_is_classified(code: errors) -> None:
    failure = SIMULATED[code]("words")
    classified = classify(failure, "", 1, 2)
    assert classified is not None
    assert classified.code is code


@pytest.mark.parametrize("code", sorted(set(errors) - {*SIMULATED}))
def test_client_error_cannot_be_simulated(code: errors) -> None:
    with pytest.raises(ValueError, match=f"^{code.name} .*; to cause it, "):
        Answer(error=code)


async def test_client_errors_as_the_message_explains(turbo_stub: StubTransport) -> None:
    client = HTTPClient()
    turbo_stub.get(URL, status=302, headers={"Location": URL})
    turbo_stub.get("/url", status=302, headers={"Location": "http://a b/"})
    turbo_stub.get("/schema", status=302, headers={"Location": "ftp://api.test/"})
    first = client.fetch(URL)
    assert error_of(await client.fetch(URL)) is errors.BUSY
    assert error_of(await first) is errors.REDIRECT_MAX
    assert len(turbo_stub.requests) == 5
    assert error_of(await fetch("https://api.test/url")) is errors.INVALID_URL
    assert error_of(await fetch("https://api.test/schema")) is errors.INVALID_SCHEMA
    assert error_of(await fetch(method="POST")) is errors.REQUIRES_BODY
    assert error_of(await fetch(method="POST", body=5)) is errors.INVALID_BODY
    assert len(turbo_stub.requests) == 7


async def test_missing_tls_files_are_an_error(turbo_stub: StubTransport) -> None:
    turbo_stub.get("/latest")
    client = HTTPClient({"ca_path": "/nowhere/ca.pem"})
    assert error_of(await client.fetch(URL)) is errors.SSL_ERROR
    assert (await client.fetch("http://api.test/latest")).code == 200


# The body


async def test_gzip(turbo_stub: StubTransport) -> None:
    zipped = gzip.compress(b"text")
    turbo_stub.get(URL, body=zipped, headers={"Content-Encoding": "gzip"})
    assert (await fetch()).body == b"text"
    assert (await fetch(use_gzip=False)).body == zipped


@pytest.mark.parametrize("body", [b"text", gzip.compress(b"text")[:-1]], ids=["none", "cut"])
async def test_broken_gzip(body: bytes, turbo_stub: StubTransport) -> None:
    turbo_stub.get(URL, body=body, headers={"Content-Encoding": "gzip"})
    res = await fetch()
    assert res.error is not None
    assert res.error.code is errors.SOCKET_ERROR
    assert "gzip" in res.error.message


@pytest.mark.parametrize("zipped", [False, True])
async def test_max_buffer_size(zipped: bool, turbo_stub: StubTransport) -> None:
    body, headers = b"x" * 1001, {"X": "y"}
    if zipped:
        body, headers = gzip.compress(body), {"Content-Encoding": "gzip"}
    turbo_stub.get(URL, body=body, headers=headers)
    res = await HTTPClient(max_buffer_size=1000).fetch(URL)
    assert error_of(res) is errors.SOCKET_ERROR
    assert len((await HTTPClient(max_buffer_size=1001).fetch(URL)).body) == 1001


async def test_incomplete_body(turbo_stub: StubTransport) -> None:
    turbo_stub.get(URL, body="1234", headers={"Content-Length": "5"})
    res = await fetch()
    assert error_of(res) is errors.SOCKET_ERROR


# Recorded requests


async def test_request(turbo_stub: StubTransport) -> None:
    route = turbo_stub.post("/form")
    res = await fetch(
        "https://user:pass@api.test/form?a=1&a=2&b=#top",
        method="post",
        params={"k": ["x y", "ü"], "empty": ""},
        cookie={"c": 1},
        request_timeout=7,
        connect_timeout=0,
    )
    [request] = route.requests
    assert turbo_stub.requests == [request]
    assert (request.method, request.path) == ("POST", "/form")
    assert request.url == "https://api.test/form?a=1&a=2&b="
    assert request.query == {"a": ["1", "2"], "b": [""]}
    assert request.body == b"k=x%20y&k=%C3%BC&empty="
    assert request.form() == {"k": ["x y", "ü"], "empty": [""]}
    assert list(request.headers.get_all()) == list(res.request.get_all())
    assert request.headers["Cookie"] == "c=1"
    assert request.headers.stringify_as_request() == res.request.stringify_as_request()
    assert request.request_timeout == 7
    assert (request.connect_timeout, request.cancelled) == (0, False)
    assert repr(request) == f"<StubRequest POST {request.url}>"


async def test_request_without_body_or_query(turbo_stub: StubTransport) -> None:
    turbo_stub.get("/")
    await fetch("http://api.test")
    [request] = turbo_stub.requests
    assert (request.path, request.query, request.form()) == ("/", {}, {})
    assert request.body == b""
    with pytest.raises(ValueError):
        request.json()


async def test_each_redirect_is_recorded(turbo_stub: StubTransport) -> None:
    turbo_stub.post("http://api.test/old", status=303, headers={"Location": "//other.test/new"})
    turbo_stub.get("http://other.test/new", body="moved")
    res = await fetch("http://u:p@api.test/old", method="POST", params={"a": 1})
    assert (res.body, res.url) == (b"moved", "http://other.test/new")
    first, second = turbo_stub.requests
    assert "Authorization" in first.headers
    assert (second.method, second.body) == ("GET", b"")
    assert "Authorization" not in second.headers


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1", "HTTP/2"])
async def test_version(version: str, turbo_stub: StubTransport) -> None:
    if version == "HTTP/2":
        pytest.importorskip("pycurl")
    turbo_stub.get(URL)
    res = await fetch(http_version=version)
    [request] = turbo_stub.requests
    assert request.headers.get_version() == version
    assert res.headers.get_version() == ("HTTP/2" if version == "HTTP/2" else "HTTP/1.1")


# Requests that the transports refuse


class Foreign(AsyncHTTPClient):
    """A client that has only Tornado's interface."""

    def initialize(self, **arguments: Any) -> None:
        raise AssertionError("a test with a stub creates no other transport")


def refusals() -> dict[str, tuple[Any, dict[str, Any], Any]]:
    """A transport, arguments of `fetch` and ``ssl_options`` that are incompatible."""
    context = ssl.create_default_context()
    curl = "turbo_tornado.transports.curl.CurlTransport"
    stock = "tornado.curl_httpclient.CurlAsyncHTTPClient"
    return {
        "HTTP/2 on simple": ("simple", {"http_version": "HTTP/2"}, None),
        "HTTP/2 on stock simple": (SimpleAsyncHTTPClient, {"http_version": "HTTP/2"}, None),
        "HTTP/1.0 on stock simple": (SimpleAsyncHTTPClient, {"http_version": "HTTP/1.0"}, None),
        "HTTP/1.0 on the base class": (AsyncHTTPClient, {"http_version": "HTTP/1.0"}, None),
        "HTTP/1.0 on another client": (Foreign, {"http_version": "HTTP/1.0"}, None),
        "a directory on another client": (Foreign, {}, {"ca_path": str(ROOT)}),
        "an SSLContext on curl": (curl, {}, context),
        "an SSLContext with HTTP/2": ("auto", {"http_version": "HTTP/2"}, context),
        "an SSLContext on stock curl": (stock, {}, context),
        "GET with a body on stock curl": (stock, {"body": b"body"}, None),
    }


@pytest.mark.parametrize("what", refusals())
async def test_stub_rejects_the_same_requests_as_the_transport(
    what: str, turbo_stub: StubTransport
) -> None:
    transport, options, ssl_options = refusals()[what]
    if "curl" in str(transport) or transport == "auto":
        pytest.importorskip("pycurl")
    if isinstance(transport, str) and "." in transport:
        transport = import_object(transport)
    turbo_stub.get(URL)
    client = HTTPClient(ssl_options, transport=transport)
    with pytest.raises(ValueError) as refused:
        client.fetch(URL, options)
    assert not turbo_stub.requests
    # The client is free, and the transport as the default refuses the same.
    with pytest.raises(ValueError, match=re.escape(str(refused.value))):
        client.fetch(URL, options)
    configure(transport)
    with pytest.raises(ValueError, match=re.escape(str(refused.value))):
        HTTPClient(ssl_options).fetch(URL, options)
    reset()
    if transport is not Foreign:
        # The same as without the stub.
        turbo_stub.uninstall()
        with pytest.raises(ValueError, match=re.escape(str(refused.value))):
            client.fetch(URL, options)
        turbo_stub.install()


async def test_stub_instead_of_a_foreign_transport(turbo_stub: StubTransport) -> None:
    turbo_stub.get(URL)
    for transport in (Foreign, SimpleAsyncHTTPClient, AsyncHTTPClient, "simple"):
        res = await HTTPClient(transport=transport).fetch(URL, body=b"body")
        assert res.code == 200


@pytest.mark.parametrize("installed", [True, False])
async def test_http2_without_pycurl(
    installed: bool, turbo_stub: StubTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "turbo_tornado.transports.curl", None)
    client = HTTPClient(transport=None if installed else turbo_stub.transport)
    if not installed:
        turbo_stub.uninstall()
    with pytest.raises(ValueError, match="pycurl"):
        client.fetch(URL, http_version="HTTP/2")


async def test_missing_tls_files(turbo_stub: StubTransport) -> None:
    for transport in ("simple", SimpleAsyncHTTPClient, Foreign):
        client = HTTPClient({"ca_path": "/missing"}, transport=transport)
        assert error_of(await client.fetch(URL)) is errors.SSL_ERROR


def test_transport_instance_of_another_loop(turbo_stub: StubTransport) -> None:
    async def create() -> AsyncHTTPClient:
        return SimpleAsyncHTTPClient(force_instance=True)

    async def use(transport: AsyncHTTPClient) -> None:
        with pytest.raises(RuntimeError, match="another IOLoop"):
            HTTPClient(transport=transport).fetch(URL)

    transport = asyncio.run(create())
    asyncio.run(use(transport))


async def test_closed_transport_instance(turbo_stub: StubTransport) -> None:
    transport = SimpleAsyncHTTPClient(force_instance=True)
    transport.close()
    with pytest.raises(RuntimeError, match="closed"):
        HTTPClient(transport=transport).fetch(URL)


# Delays and timeouts


@pytest.mark.parametrize("delay", [3600, math.inf])
async def test_delay_over_the_timeout_fails_at_once(
    delay: float, turbo_stub: StubTransport
) -> None:
    turbo_stub.get(URL, delay=delay)
    turbo_stub.get("/late", error=errors.NO_HEADERS, delay=delay)
    res = await fetch(request_timeout=3600)
    assert res.error is not None
    assert res.error.code is errors.REQUEST_TIMEOUT
    assert "request_timeout of 3600 s" in res.error.message
    late = await fetch("https://api.test/late", request_timeout=3600)
    assert error_of(late) is errors.REQUEST_TIMEOUT


async def test_delay_within_the_timeout(turbo_stub: StubTransport) -> None:
    turbo_stub.get(URL, body="late", delay=0.02)
    started = IOLoop.current().time()
    assert (await fetch()).body == b"late"
    assert (await fetch(request_timeout=0)).body == b"late"
    assert IOLoop.current().time() - started >= 0.039


async def test_delay_of_each_redirect(turbo_stub: StubTransport) -> None:
    turbo_stub.get("/old", status=302, headers={"Location": "/new"}, delay=0.05)
    turbo_stub.get("/new", delay=59.96)
    assert error_of(await fetch("https://api.test/old")) is errors.REQUEST_TIMEOUT
    assert len(turbo_stub.requests) == 2


async def never(request: StubRequest) -> Answer:
    await asyncio.Event().wait()
    raise AssertionError


async def test_request_timeout_during_an_async_function(turbo_stub: StubTransport) -> None:
    turbo_stub.get(URL, never)
    assert error_of(await fetch(request_timeout=0.05)) is errors.REQUEST_TIMEOUT
    assert not turbo_stub.requests[0].cancelled


async def test_cancel(turbo_stub: StubTransport) -> None:
    arrived, stopped = asyncio.Event(), asyncio.Event()

    async def hold(request: StubRequest) -> Answer:
        arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        raise AssertionError

    turbo_stub.get(URL, hold)
    turbo_stub.get("/next")
    client = HTTPClient()
    future = client.fetch(URL)
    await arrived.wait()
    future.cancel()
    [request] = turbo_stub.requests
    assert request.cancelled
    await stopped.wait()
    assert (await client.fetch("https://api.test/next")).code == 200
    assert [request.cancelled for request in turbo_stub.requests] == [True, False]


async def test_cancel_in_a_delay(turbo_stub: StubTransport) -> None:
    turbo_stub.get(URL, delay=math.inf)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(HTTPClient().fetch(URL, request_timeout=0), 0.05)
    assert turbo_stub.requests[0].cancelled


async def test_cancel_after_the_end(turbo_stub: StubTransport) -> None:
    turbo_stub.get(URL)
    future = HTTPClient().fetch(URL)
    await future
    assert not future.cancel()
    assert not turbo_stub.requests[0].cancelled


# Unexpected requests


async def test_unexpected_request() -> None:
    stub = StubTransport().install()
    stub.get(URL)
    client = HTTPClient()
    with pytest.raises(UnexpectedRequest) as raised:
        await client.fetch("https://api.test/lastest")
    # The client is free.
    assert (await client.fetch(URL)).code == 200
    with pytest.raises(UnexpectedRequest) as again:
        stub.uninstall()
    assert again.value is raised.value
    assert isinstance(again.value, AssertionError)
    # Reported once.
    stub.uninstall()
    stub.check()


@pytest.mark.parametrize(
    ("register", "request_line", "words"),
    [
        (lambda stub: None, ("GET", URL), "no answers are registered"),
        (
            lambda stub: stub.post("/latest"),
            ("GET", URL),
            "  POST /latest (never requested) <- only the method differs",
        ),
        (
            lambda stub: stub.get(URL + "?a=1"),
            ("GET", URL + "?a=2"),
            f"  GET {URL}?a=1 (never requested) <- only the query differs",
        ),
        (
            lambda stub: stub.on(None, URL),
            ("GET", URL + "s"),
            f"  any method {URL} (never requested) <- did you mean this?",
        ),
        (
            lambda stub: stub.get(re.compile(r"/\d+$")),
            ("GET", URL),
            "  GET re.compile('/\\\\d+$') (never requested)",
        ),
        (
            lambda stub: stub.get(never_it),
            ("GET", URL),
            "  GET never_it (never requested)",
        ),
        (
            lambda stub: stub.get("/"),
            ("GET", "http://127.0.0.1:8888/latest"),
            "use Tornado's AsyncHTTPClient",
        ),
    ],
)
async def test_message_lists_the_routes(
    register: Callable[[StubTransport], object], request_line: tuple[str, str], words: str
) -> None:
    method, url = request_line
    with pytest.raises(UnexpectedRequest) as raised, StubTransport() as stub:
        register(stub)
        await fetch(url, method=method)
    lines = str(raised.value).splitlines()
    assert lines[0] == f"unexpected request: {method} {url}"
    assert any(words in line for line in lines)


def never_it(request: StubRequest) -> bool:
    return False


async def test_message_counts_the_requests() -> None:
    with pytest.raises(UnexpectedRequest) as raised, StubTransport() as stub:
        for name, times in (("/never", 0), ("/once", 1), ("/twice", 2)):
            stub.get(name)
            for _ in range(times):
                await fetch(f"https://api.test{name}")
        await fetch()
    assert re.findall(r"GET (/\w+) \((.+?)\)", str(raised.value)) == [
        ("/never", "never requested"),
        ("/once", "requested once"),
        ("/twice", "requested 2 times"),
    ]


async def test_several_unexpected_requests() -> None:
    with pytest.raises(UnexpectedRequest) as raised, StubTransport():
        await asyncio.gather(fetch(), fetch(URL + "/2"), return_exceptions=True)
    assert re.findall("request: (.+)", str(raised.value)) == [f"GET {URL}", f"GET {URL}/2"]


async def test_exception_of_the_test_has_the_mistake_as_context() -> None:
    with pytest.raises(UnexpectedRequest) as raised, StubTransport():
        await asyncio.gather(fetch(), return_exceptions=True)
        raise KeyError("what the test failed with")
    assert isinstance(raised.value.__context__, KeyError)


@pytest.mark.parametrize("leave", [KeyboardInterrupt, pytest.skip.Exception])
async def test_base_exception_of_the_test_is_not_replaced(leave: type[BaseException]) -> None:
    with pytest.raises(leave), StubTransport():
        await asyncio.gather(fetch(), return_exceptions=True)
        raise leave("now")


@pytest.mark.parametrize("where", ["answer", "async answer", "pattern"])
async def test_function_that_raises(where: str) -> None:
    # An OSError, which would be SOCKET_ERROR for the handler and nothing for the test.
    def fails(request: StubRequest) -> Any:
        raise FileNotFoundError("fixture.json")

    async def fails_later(request: StubRequest) -> Answer:
        await asyncio.sleep(0)
        fails(request)
        raise AssertionError

    with pytest.raises(FileNotFoundError), StubTransport() as stub:
        if where == "pattern":
            stub.get(fails)
        else:
            stub.get(URL, fails_later if where == "async answer" else fails)
        await asyncio.gather(fetch(), return_exceptions=True)


async def test_exception_of_a_function_is_raised_first() -> None:
    with pytest.raises(ZeroDivisionError), StubTransport() as stub:
        stub.get(URL, lambda request: Answer(1 // 0))
        await asyncio.gather(fetch(URL + "/2"), fetch(), return_exceptions=True)


async def test_function_that_returns_another_type() -> None:
    says = "the function of GET /latest must return an Answer, not int"
    with pytest.raises(TypeError, match=says), StubTransport() as stub:
        stub.get("/latest", lambda request: 404)  # type: ignore[arg-type,return-value]
        await asyncio.gather(fetch(), return_exceptions=True)


async def test_assert_all_requested(turbo_stub: StubTransport) -> None:
    turbo_stub.get(URL)
    missing = turbo_stub.post("/other")
    await fetch()
    with pytest.raises(AssertionError) as raised:
        turbo_stub.assert_all_requested()
    assert str(raised.value) == "never requested:\n  POST /other"
    assert repr(missing) == "<Route POST /other>"
    await fetch("https://api.test/other", method="POST", body="")
    turbo_stub.assert_all_requested()


# Installation


async def test_stub_does_not_change_the_configuration(raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"real"))
    configure("simple", user_agent="Configured")
    try:
        with StubTransport() as stub:
            stub.get("/", body="stub")
            assert (await fetch(peer.url())).request["User-Agent"] == "Configured"
            # The application may do so while the test runs.
            configure("simple", user_agent="Again")
            assert (await fetch(peer.url())).body == b"stub"
        res = await fetch(peer.url())
        assert (res.body, res.request["User-Agent"]) == (b"real", "Again")
    finally:
        reset()
    assert len(peer.requests) == 1


@pytest.mark.parametrize("given", ["name", "class", "instance"])
async def test_client_with_a_transport_uses_the_stub(given: str, turbo_stub: StubTransport) -> None:
    turbo_stub.get(URL, body="stub")
    instance = SimpleAsyncHTTPClient(force_instance=True)
    choice: Any = {"name": "simple", "class": SimpleAsyncHTTPClient, "instance": instance}[given]
    assert (await HTTPClient(transport=choice).fetch(URL)).body == b"stub"
    instance.close()


async def test_stub_for_one_client(raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"real"))
    stub = StubTransport()
    stub.get("/", body="stub")
    for _ in range(2):
        assert (await HTTPClient(transport=stub.transport).fetch(peer.url())).body == b"stub"
    assert (await fetch(peer.url())).body == b"real"
    with pytest.raises(UnexpectedRequest):
        await HTTPClient(transport=stub.transport).fetch(URL)
    with pytest.raises(UnexpectedRequest):
        stub.check()


async def test_last_installed_stub_answers(turbo_stub: StubTransport) -> None:
    turbo_stub.get(URL, body="outer")
    with StubTransport() as inner:
        inner.get(URL, body="inner")
        assert (await fetch()).body == b"inner"
    assert (await fetch()).body == b"outer"
    # Uninstalled in another order.
    last = StubTransport()
    with StubTransport():
        last.install()
        last.get(URL, body="last")
    assert (await fetch()).body == b"last"
    last.uninstall()
    assert (await fetch()).body == b"outer"


def test_installing_twice_raises() -> None:
    with StubTransport() as stub, pytest.raises(RuntimeError, match="already installed"):
        stub.install()
    with stub:
        pass
    assert registry._stubs == []


def test_stub_created_without_a_loop() -> None:
    def in_a_thread() -> list[bytes]:
        with StubTransport() as stub:
            stub.get(URL, *(Answer(body=str(number)) for number in range(3)))
            return [asyncio.run(fetch()).body for _ in range(3)]

    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        assert executor.submit(in_a_thread).result() == [b"0", b"1", b"2"]


async def test_loops_in_threads(turbo_stub: StubTransport) -> None:
    class Requests(list[StubRequest]):
        def __len__(self) -> int:
            length = super().__len__()
            # Another thread runs before the request is added.
            time.sleep(0.001)
            return length

    turbo_stub.get(URL, *map(Answer, range(201, 221))).requests = Requests()

    async def five() -> list[int]:
        return [(await fetch()).code for _ in range(5)]

    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        codes = [
            code
            for future in [executor.submit(asyncio.run, five()) for _ in range(4)]
            for code in await asyncio.wrap_future(future)
        ]
    assert sorted(codes) == list(range(201, 221))


async def test_uninstalled_stub_is_collected() -> None:
    with StubTransport() as stub:
        stub.get(URL)
        await fetch()
        [transport] = [
            client
            for client in registry.clients_of(IOLoop.current())
            if type(client) is stub.transport
        ]
    assert all(stub.transport not in of_loop for of_loop in registry._clients.values())
    # Its loop closes it.
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="closed"):
        transport.fetch(URL)
    gone = weakref.ref(stub)
    del stub, transport
    await asyncio.sleep(0)
    gc.collect()
    assert gone() is None


async def test_uninstall_fails_the_fetches_in_progress() -> None:
    arrived = asyncio.Event()

    async def hold(request: StubRequest) -> Answer:
        arrived.set()
        return await never(request)

    with StubTransport() as stub:
        stub.get(URL, hold)
        future = HTTPClient().fetch(URL)
        await arrived.wait()
    assert error_of(await future) is errors.SOCKET_ERROR


# Tornado's interface


async def test_async_http_client_with_the_stub(turbo_stub: StubTransport) -> None:
    turbo_stub.post("/old", status=303, headers={"Location": "/new"})
    turbo_stub.get("/new", body="body", headers={"X-Field": "value"})
    turbo_stub.get("/refused", error=errors.COULD_NOT_CONNECT)
    turbo_stub.get("/slow", delay=3600)
    AsyncHTTPClient.configure(turbo_stub.transport)
    try:
        client = AsyncHTTPClient()
        request = HTTPRequest("http://api.test/old", method="POST", body="a=1")
        res = await client.fetch(request)
        assert (res.code, res.body, res.effective_url) == (200, b"body", "http://api.test/new")
        assert res.request is request
        assert turbo_stub.requests[0].form() == {"a": ["1"]}
        chunks: list[bytes] = []
        await client.fetch("http://api.test/new", streaming_callback=chunks.append)
        assert b"".join(chunks) == b"body"
        with pytest.raises(HTTPClientError, match="simulated"):
            await client.fetch("http://api.test/refused")
        with pytest.raises(HTTPClientError, match="after 3600 s"):
            await client.fetch("http://api.test/slow")
        await client.fetch(
            "http://api.test/old", method="POST", body_producer=lambda write: write(b"b=2")
        )
        assert turbo_stub.requests[-2].form() == {"b": ["2"]}
    finally:
        AsyncHTTPClient.configure(None)
        client.close()


async def test_cancel_of_async_http_client(turbo_stub: StubTransport) -> None:
    arrived = asyncio.Event()

    async def hold(request: StubRequest) -> Answer:
        arrived.set()
        return await never(request)

    turbo_stub.get("/old", status=302, headers={"Location": "/new"})
    turbo_stub.get("/new", hold)
    client = turbo_stub.transport(force_instance=True)
    future = client.fetch("http://api.test/old")
    await arrived.wait()
    future.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [request.cancelled for request in turbo_stub.requests] == [False, True]
    client.close()


# Test cases and pytest


class FetchingHandler(RequestHandler):
    async def get(self) -> None:
        self.write((await HTTPClient().fetch(URL)).body)


class HandlerTest(tornado.testing.AsyncHTTPTestCase):
    """Run by the tests below, one method at a time."""

    def get_app(self) -> Application:
        return Application([("/", FetchingHandler)])

    def setUp(self) -> None:
        self.stub = StubTransport().install()
        self.addCleanup(self.stub.uninstall)
        super().setUp()

    def runTest(self) -> None:
        """Tornado 6.4.0 makes one of this name."""

    def passing(self) -> None:
        self.stub.get(URL, body="stub")
        self.assertEqual(self.fetch("/").body, b"stub")

    def unexpected(self) -> None:
        with ExpectLog("tornado.application", "Uncaught exception"):
            self.fetch("/")

    def unexpected_and_failing(self) -> None:
        with ExpectLog("tornado.application", "Uncaught exception"):
            self.assertEqual(self.fetch("/").code, 200)


class TornadoHandler(RequestHandler):
    async def get(self) -> None:
        self.write((await AsyncHTTPClient().fetch(URL)).body)


class TornadoHandlerTest(HandlerTest):
    """The handler also uses Tornado's interface."""

    def get_app(self) -> Application:
        AsyncHTTPClient.configure(self.stub.transport)
        self.addCleanup(AsyncHTTPClient.configure, None)
        return Application([("/", TornadoHandler)])

    def get_http_client(self) -> AsyncHTTPClient:
        return SimpleAsyncHTTPClient(force_instance=True)


# Not for pytest to collect.
HandlerTest.__test__ = False  # type: ignore[attr-defined]


def run_case(*names: str, case: type[HandlerTest] = HandlerTest) -> unittest.TestResult:
    def run() -> unittest.TestResult:
        suite = unittest.TestSuite(case(name) for name in names)
        return unittest.TextTestRunner(io.StringIO()).run(suite)

    # In a thread, because the case sets the loop of its thread.
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        return executor.submit(run).result()


def test_stub_in_a_test_case() -> None:
    result = run_case("passing", "passing")
    assert (result.testsRun, result.failures, result.errors) == (2, [], [])


def test_handler_with_async_http_client() -> None:
    result = run_case("passing", "passing", case=TornadoHandlerTest)
    assert (result.testsRun, result.failures, result.errors) == (2, [], [])
    assert len(run_case("unexpected", case=TornadoHandlerTest).failures) == 1


def test_unexpected_request_of_a_handler_fails_the_test() -> None:
    [(_, said)] = run_case("unexpected").failures
    assert f"unexpected request: GET {URL}" in said
    assert "no answers are registered" in said
    # Where in the handler.
    assert "(await HTTPClient().fetch(URL)).body" in said


def test_failure_and_mistake_are_reported() -> None:
    failures = [said for _, said in run_case("unexpected_and_failing", "passing").failures]
    assert len(failures) == 2
    assert "500 != 200" in failures[0]
    assert "unexpected request" in failures[1]


def run_python(*argv: str | Path, cwd: Path) -> tuple[int, str]:
    process = subprocess.run(
        [sys.executable, *map(str, argv)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=50,
        check=False,
    )
    return process.returncode, process.stdout


def run_pytest(*argv: str | Path, cwd: Path) -> tuple[int, str]:
    # Without the configuration and the options of this repository.
    settings = ["asyncio_mode=auto", "asyncio_default_fixture_loop_scope=function"]
    options = ["-c", os.devnull, "--rootdir", cwd, "-p", "no:cacheprovider", "-W", "error"]
    options += [option for setting in settings for option in ("-o", setting)]
    return run_python("-m", "pytest", *options, *argv, cwd=cwd)


def test_plugin_is_registered() -> None:
    points = importlib.metadata.entry_points(group="pytest11", name="turbo_tornado")
    assert {point.value for point in points} == {"_turbo_tornado_pytest"}


def test_plugin_does_not_import_the_package(tmp_path: Path) -> None:
    # The import would slow down every run of pytest, and coverage would not measure it.
    (tmp_path / "test_it.py").write_text(
        textwrap.dedent("""
            import sys

            def test_without():
                assert "turbo_tornado" not in sys.modules
                assert "tornado" not in sys.modules

            def test_with(turbo_stub):
                assert "turbo_tornado.testing" in sys.modules
        """)
    )
    code, said = run_pytest("-p", "no:randomly", "test_it.py", cwd=tmp_path)
    assert code == 0, said
    assert "2 passed" in said


def test_fixture_fails_the_test(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        textwrap.dedent("""
            import asyncio
            import pytest
            from turbo_tornado import HTTPClient

            @pytest.mark.parametrize("number", [1, 2])
            async def test_swallows(turbo_stub, number):
                turbo_stub.get(f"http://api.test/{number}")
                fetched = HTTPClient().fetch("http://api.test/2")
                await asyncio.gather(fetched, return_exceptions=True)
        """)
    )
    code, said = run_pytest("test_it.py", cwd=tmp_path)
    assert code == 1, said
    assert "2 passed, 1 error" in said
    assert "unexpected request: GET http://api.test/2" in said
    assert "GET http://api.test/1 (never requested) <- did you mean this?" in said


def test_example_under_pytest() -> None:
    # pytest cannot make an instance of a test case of Tornado 6.4.0.
    case = ["test_case.py"] if tornado.version_info >= (6, 4, 1) else []
    code, said = run_pytest("test_functions.py", *case, cwd=EXAMPLE)
    assert code == 0, said
    assert f"{6 + 5 * len(case)} passed" in said


def test_example_under_unittest() -> None:
    code, said = run_python("-W", "error", "-m", "unittest", "test_case", cwd=EXAMPLE)
    assert code == 0, said
    assert "Ran 5 tests" in said


# The page of the documentation

PAGE = (ROOT / "docs" / "guide" / "testing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
async def test_examples_of_the_page(block: str, turbo_stub: StubTransport) -> None:
    names: dict[str, Any] = {
        "AsyncHTTPClient": AsyncHTTPClient,
        "Answer": Answer,
        "HTTPClient": HTTPClient,
        "asyncio": asyncio,
        "errors": errors,
        "re": re,
        "stub": turbo_stub,
    }
    code = compile(block, "testing.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    awaitable = eval(code, names)
    if inspect.isawaitable(awaitable):
        await awaitable
