"""What type checkers must accept, and what type they must see. Never run."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path

from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop
from typing_extensions import assert_type

from turbo_tornado import (
    FetchError,
    FetchKeywords,
    HTTPClient,
    HTTPHeaders,
    HTTPResponse,
    RequestEvent,
    SSLOptions,
    configure,
    errors,
    task,
)
from turbo_tornado.testing import Answer, Route, StubRequest, StubTransport

TABLE: FetchKeywords = {
    "method": "POST",
    "params": {"secret": "s", "ids": [1, 2], "raw": b"\xff", "yes": True},
    "cookie": {"session": "abc", "visits": 3},
    "request_timeout": 15,
    "user_agent": None,
}
TRUST: SSLOptions = {"ca_path": Path("ca.pem"), "cert_file": "c.pem", "priv_file": "k.pem"}


def add_fields(headers: HTTPHeaders) -> None:
    headers.add("X-Token", "abc")
    headers.set("X-Count", 3)
    headers.remove("Accept-Encoding", True)


def trace(event: RequestEvent) -> None:
    event.headers["X-Request-Id"] = "1"
    event.state["span"] = event.start_time
    assert_type(event.duration, float | None)
    assert_type(event.code, int | None)
    assert_type(event.error, BaseException | None)


def add_hooks() -> HTTPClient:
    configure(on_request=trace, on_response=lambda event: event.state.pop("span"))
    configure("simple", on_response=trace, keep_alive=False)
    return HTTPClient(on_request=trace, on_response=trace)


async def note(chunk: bytes) -> None: ...


async def blocks() -> AsyncIterator[bytes]:
    yield b"a"


async def fetches() -> None:
    client = HTTPClient(TRUST, IOLoop.current(), 2 * 1024 * 1024)
    assert_type(client.fetch("http://localhost/"), asyncio.Future[HTTPResponse])
    res = await client.fetch("http://localhost/", TABLE, keep_alive=False)
    assert_type(res, HTTPResponse)
    await client.fetch("http://localhost/", {"max_redirects": 2, "http_version": "HTTP/2"})
    await client.fetch("http://localhost/", params=[("a", 1), ("a", "2"), ("b", (1.5, True))])
    await client.fetch("http://localhost/", body=bytearray(b"x"), on_headers=add_fields)
    await client.fetch("http://localhost/", on_headers=lambda headers: headers.add("A", "b"))
    await client.fetch("http://localhost/", headers={"A": "b", "C": 1})
    await client.fetch("http://localhost/", headers=[("A", "b"), ("A", 1)])
    await client.fetch("http://localhost/", headers=HTTPHeaders({"A": "b"}))
    await client.fetch("http://localhost/", json={"a": [1, None]})
    await client.fetch("http://localhost/", files={"a": b"x", "b": Path("x"), "c": ("n", b"x")})
    with open("x", "rb") as file:
        await client.fetch("http://localhost/", files=[("a", file), ("a", ("n", file, "a/b"))])
    with open("x", "wb") as file, open("y", "rb") as body:
        await client.fetch("http://localhost/", streaming_callback=file.write, body=body)
    await client.fetch("http://localhost/", streaming_callback=note, body=[b"a", b"b"])
    await client.fetch("http://localhost/", method="POST", body=blocks())
    await client.fetch("http://localhost/", auth_username="u", auth_password=None, cookie="a=1")


def responses(res: HTTPResponse) -> None:
    assert_type(res.error, FetchError | None)
    if res.error:
        assert_type(res.error.code, errors)
        assert_type(res.error.message, str)
        return
    assert_type(res.code, int)
    assert_type(res.reason, str)
    assert_type(res.body, bytes)
    assert_type(res.url, str)
    assert_type(res.headers, HTTPHeaders)
    assert_type(res.request, HTTPHeaders)
    assert_type(res.request_time, float)
    assert_type(res.time_info, dict[str, float])
    assert_type(res.headers.get_status_code(), int | None)
    assert res.code == HTTPStatus.OK
    assert_type(res.text, str)
    assert_type(res.raise_for_error(), HTTPResponse)
    assert_type(errors.NOT_SENT, frozenset[errors])


def raised(res: HTTPResponse) -> None:
    try:
        print(res.raise_for_error().json()["key"])
    except FetchError as error:
        assert_type(error.code, errors)
    if res.error:
        raise res.error


async def tasks(io_loop: IOLoop) -> None:
    await task(io_loop.add_timeout, io_loop.time() + 1)
    await task(lambda callback: callback(1), convention="keyword")


class OwnTransport(AsyncHTTPClient):
    pass


def configurations() -> None:
    configure()
    configure("curl", keep_alive=False, request_timeout=15.5)
    configure(OwnTransport)
    HTTPClient(transport="simple")
    HTTPClient(ssl.create_default_context())
    HTTPClient(transport=OwnTransport())


def stubs(stub: StubTransport) -> None:
    async def later(request: StubRequest) -> Answer:
        return Answer(json=request.json(), headers=[("Set-Cookie", "a=1")])

    assert_type(stub.get("/", Answer(503), later, lambda request: Answer(body=request.body)), Route)
    stub.post(re.compile("/"), status=HTTPStatus.CREATED, headers={"A": "b"}, delay=1)
    stub.on(None, lambda request: request.query["a"] == ["1"], error=errors.SSL_ERROR)
    with StubTransport() as installed:
        assert_type(installed.requests, list[StubRequest])
    assert_type(StubTransport().install(), StubTransport)
    assert_type(HTTPClient(transport=stub.transport), HTTPClient)
