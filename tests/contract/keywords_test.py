"""Every keyword of ``fetch``: its default, its limits and its invalid values."""

from __future__ import annotations

import asyncio
import base64
import copy
import gzip
import logging
import math
import re
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

import pytest
from tornado.httpclient import HTTPRequest

import turbo_tornado
from tests.support import (
    Connection,
    Fetch,
    MakeClient,
    MakePeer,
    RawPeer,
    Refused,
    Sent,
    response,
    watched,
)
from turbo_tornado import HTTPClient, HTTPHeaders, HTTPResponse, configure, errors, reset
from turbo_tornado.request.keywords import KEYWORDS
from turbo_tornado.request.other_clients import ADVICE


def basic(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode("utf-8", "surrogateescape")).decode()


def assert_error(res: HTTPResponse, code: errors) -> None:
    assert res.error is not None, res.code
    assert res.error.code is code, res.error.message
    assert isinstance(res.error.message, str) and res.error.message
    for name in ("request", "code", "reason", "headers", "body", "url"):
        assert getattr(res, name) is None, name
    assert isinstance(res.request_time, float)


# method


@pytest.mark.parametrize(
    ("given", "wire"),
    [
        (None, "GET"),
        ("GET", "GET"),
        ("get", "GET"),
        ("Delete", "DELETE"),
        ("OPTIONS", "OPTIONS"),
        ("TRACE", "TRACE"),
        ("purge", "PURGE"),
        ("M-SEARCH", "M-SEARCH"),
        ("!#$%&'*+-.^_`|~09", "!#$%&'*+-.^_`|~09"),
    ],
)
async def test_method(sent: Sent, given: str | None, wire: str) -> None:
    assert (await sent(method=given)).method == wire


async def test_method_defaults_to_get(sent: Sent) -> None:
    assert (await sent()).method == "GET"


@pytest.mark.parametrize("method", ["post", "Put", "PATCH"])
async def test_methods_with_a_body(sent: Sent, method: str) -> None:
    request = await sent(method=method, body=b"data")
    assert request.method == method.upper()
    assert request.body == b"data"


async def test_head(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    assert (await fetch(peer.url(), method="head")).code == 200
    assert peer.requests[0].method == "HEAD"


@pytest.mark.parametrize(
    "method", ["", " ", "GE T", "GET ", "GET\r\n", "G\0T", "G\tT", "GET/", "G(T)", "GÉT", "GET:"]
)
async def test_method_is_a_token(refused: Refused, method: str) -> None:
    await refused(ValueError, method=method)


@pytest.mark.parametrize("method", ["CONNECT", "connect"])
async def test_method_connect_raises(refused: Refused, method: str) -> None:
    raised = await refused(ValueError, method=method)
    assert "unsupported" in str(raised)
    await refused(ValueError, on_headers=lambda headers: headers.set_method(method))


# params

QUERY_PARAMS = [
    ({"a": "1"}, "a=1"),
    ({"a": 1, "b": -2, "c": 1.5}, "a=1&b=-2&c=1.5"),
    ({"yes": True, "no": False}, "yes=true&no=false"),
    ({"a": [1, "two", True]}, "a=1&a=two&a=true"),
    ({"a": ("x", "y"), "b": "z"}, "a=x&a=y&b=z"),
    ({"a": []}, ""),
    ({"a": ""}, "a="),
    ([("b", 1), ("a", 2), ("b", 3)], "b=1&a=2&b=3"),
    ((("a", "1"), ["b", "2"]), "a=1&b=2"),
    ({"a b": "c d"}, "a%20b=c%20d"),
    ({"a": "1+1=2&3#4%5/6?7:8"}, "a=1%2B1%3D2%263%234%255%2F6%3F7%3A8"),
    ({"ü": "€"}, "%C3%BC=%E2%82%AC"),
    ({"a": "line\r\n\0end"}, "a=line%0D%0A%00end"),
    ({"a": "AZaz09-._~"}, "a=AZaz09-._~"),
]


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "PURGE"])
async def test_params_are_the_query(sent: Sent, method: str) -> None:
    for params, query in QUERY_PARAMS:
        request = await sent("/p", method=method, params=params)
        assert request.target == (f"/p?{query}" if query else "/p")
        assert request.body == b""
        assert request.field("Content-Type") is None


async def test_no_params(sent: Sent) -> None:
    assert (await sent("/p", params={})).target == "/p"


async def test_params_of_head(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response())
    await fetch(peer.url(), method="HEAD", params={"a": 1})
    assert peer.requests[0].line == "HEAD /?a=1 HTTP/1.1"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/?a=1"),
        ("/", "/?a=1"),
        ("/p?x=y", "/p?x=y&a=1"),
        ("?x=y", "/?x=y&a=1"),
        ("/p?", "/p?a=1"),
        ("/p#fragment", "/p?a=1"),
        ("/p?x=y#fragment?", "/p?x=y&a=1"),
        ("/p?a=0", "/p?a=0&a=1"),
    ],
)
async def test_params_are_appended_to_a_query(sent: Sent, path: str, target: str) -> None:
    assert (await sent(path, params={"a": 1})).target == target


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_params_are_a_form(sent: Sent, method: str) -> None:
    for params, query in QUERY_PARAMS:
        request = await sent("/p?x=y", method=method, params=params)
        assert request.target == "/p?x=y"
        assert request.body == query.encode()
        assert request.field("Content-Type") == "application/x-www-form-urlencoded"
        assert request.field("Content-Length") == str(len(query))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET"])
@pytest.mark.parametrize("body", [b"data", ""])
async def test_params_with_a_body_are_the_query(sent: Sent, method: str, body: bytes | str) -> None:
    request = await sent("/p", method=method, params={"a": 1}, body=body)
    assert request.target == "/p?a=1"
    assert request.body == (b"data" if body else b"")
    assert request.field("Content-Type") is None


async def test_many_params(sent: Sent) -> None:
    params = {f"key {number}": "v" * number for number in range(100)}
    request = await sent("/p", method="POST", params=params)
    assert dict(parse_qsl(request.body.decode(), keep_blank_values=True)) == params


# keep_alive


@pytest.mark.parametrize("options", [{}, {"keep_alive": True}, {"keep_alive": None}])
@pytest.mark.kept
async def test_keep_alive(sent: Sent, peer: RawPeer, options: dict[str, Any]) -> None:
    for _ in range(3):
        assert (await sent(**options)).field("Connection") is None
    assert peer.connections == 1


async def test_no_keep_alive(sent: Sent, peer: RawPeer) -> None:
    for number in (1, 2, 3):
        assert (await sent(keep_alive=False)).field("Connection") == "close"
        assert peer.connections == number


@pytest.fixture
def configured() -> Iterator[Callable[..., None]]:
    yield configure
    reset()


@pytest.mark.kept
async def test_package_default_of_keep_alive(
    sent: Sent, peer: RawPeer, configured: Callable[..., None]
) -> None:
    configured(keep_alive=False)
    await sent()
    assert (await sent()).field("Connection") == "close"
    assert peer.connections == 2
    for _ in range(2):
        assert (await sent(keep_alive=True)).field("Connection") is None
    assert peer.connections == 3


# cookie


@pytest.mark.parametrize(
    ("cookie", "field"),
    [
        (None, None),
        ("a=1; b=2", "a=1; b=2"),
        ("not even a pair", "not even a pair"),
        ({"a": "1"}, "a=1"),
        ({"a": "1", "b": "2"}, "a=1; b=2"),
        ({"a": 1, "b": ""}, "a=1; b="),
        ({"a": "x=y"}, "a=x=y"),
        ({}, None),
    ],
)
async def test_cookie(sent: Sent, cookie: Any, field: str | None) -> None:
    assert (await sent(cookie=cookie)).field("Cookie") == field


async def test_cookies_are_not_stored(
    fetch: Fetch, raw_peer: MakePeer, make_client: MakeClient
) -> None:
    peer = await raw_peer(response(b"", "Set-Cookie: a=1; Path=/"))
    client = make_client()
    for _ in range(2):
        await fetch(peer.url(), client=client)
        assert peer.requests[-1].field("Cookie") is None


# http_version


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
async def test_http_version(sent: Sent, version: str) -> None:
    request = await sent("/path", http_version=version)
    assert request.line == f"GET /path {version}"
    assert request.field("Host") is not None


async def test_http_version_default(sent: Sent) -> None:
    assert (await sent()).version == "HTTP/1.1"


@pytest.mark.parametrize("version", ["", "HTTP/0.9", "HTTP/1.2", "HTTP/3", "1.1", "HTTP/1.1\r\n"])
async def test_unknown_http_version(refused: Refused, version: str) -> None:
    await refused(ValueError, http_version=version)


async def test_http_2_raises_if_the_transport_does_not_support_it(
    refused: Refused, transport: str
) -> None:
    if transport == "curl":
        pytest.skip("libcurl can")
    raised = await refused(ValueError, http_version="HTTP/2")
    assert "HTTP/2" in str(raised)


# use_gzip

PLAIN = b"compressed " * 100


async def gzip_peer(raw_peer: MakePeer) -> RawPeer:
    return await raw_peer(response(gzip.compress(PLAIN), "Content-Encoding: gzip"))


@pytest.mark.parametrize("options", [{}, {"use_gzip": True}, {"use_gzip": None}])
async def test_use_gzip(fetch: Fetch, raw_peer: MakePeer, options: dict[str, Any]) -> None:
    peer = await gzip_peer(raw_peer)
    res = await fetch(peer.url(), **options)
    assert peer.requests[0].field("Accept-Encoding") == "gzip"
    assert res.body == PLAIN


async def test_no_gzip(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await gzip_peer(raw_peer)
    res = await fetch(peer.url(), use_gzip=False)
    assert peer.requests[0].field("Accept-Encoding") is None
    assert gzip.decompress(res.body) == PLAIN


# allow_redirects, max_redirects


@pytest.mark.parametrize("options", [{}, {"allow_redirects": True}, {"allow_redirects": None}])
async def test_redirects_are_followed(fetch: Fetch, server: Any, options: dict[str, Any]) -> None:
    res = await fetch(server.url("/redirect/1"), **options)
    assert res.code == 200
    assert res.url == server.url("/echo")


async def test_redirects_are_not_followed(fetch: Fetch, server: Any) -> None:
    res = await fetch(server.url("/redirect/1"), allow_redirects=False)
    assert res.error is None
    assert res.code == 302
    assert res.headers["Location"] == "/echo"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("options", "hops"),
    [({}, 4), ({"max_redirects": None}, 4), *(({"max_redirects": n}, n) for n in (0, 1, 4, 20))],
)
async def test_max_redirects(fetch: Fetch, server: Any, options: dict[str, Any], hops: int) -> None:
    if hops:
        assert (await fetch(server.url(f"/redirect/{hops}"), **options)).code == 200
        assert len(server.requests) == hops + 1
    server.requests.clear()
    assert_error(await fetch(server.url(f"/redirect/{hops + 1}"), **options), errors.REDIRECT_MAX)
    assert len(server.requests) == hops + 1


# on_headers


async def test_on_headers_is_called_once_before_anything_is_sent(
    make_client: MakeClient, peer: RawPeer
) -> None:
    calls: list[HTTPHeaders] = []

    def on_headers(headers: HTTPHeaders) -> None:
        assert not peer.requests and not peer.connections
        calls.append(headers.copy())

    res = await make_client().fetch(
        peer.url("/p?x=y"),
        method="post",
        body=b"data",
        cookie="c=1",
        auth_username="user",
        auth_password="pass",
        user_agent="agent",
        on_headers=on_headers,
        keep_alive=False,
    )
    assert res.error is None
    (headers,) = calls
    assert type(headers) is HTTPHeaders
    assert headers.get_method() == "POST"
    assert headers.get_uri() == "/p?x=y"
    assert headers.get_version() == "HTTP/1.1"
    # The peer has received the headers that the function has received.
    (request,) = peer.requests
    assert list(headers.get_all()) == request.fields
    assert {name for name, _ in request.fields} == {
        "Host",
        "User-Agent",
        "Accept-Encoding",
        "Authorization",
        "Cookie",
        "Content-Length",
        "Connection",
    }


async def test_on_headers_is_called_once_in_a_chain_of_redirects(fetch: Fetch, server: Any) -> None:
    calls = []

    def on_headers(headers: HTTPHeaders) -> None:
        calls.append(headers.get_uri())
        headers.add("X-Added", "1")

    res = await fetch(server.url("/redirect/3"), on_headers=on_headers)
    assert res.code == 200
    assert calls == ["/redirect/3"]
    assert [dict(seen["headers"]).get("X-Added") for seen in server.requests] == ["1"] * 4


async def test_on_headers_shows_the_form(sent: Sent) -> None:
    seen = {}

    def on_headers(headers: HTTPHeaders) -> None:
        seen.update(headers)

    await sent(method="POST", params={"a": 1}, on_headers=on_headers)
    assert seen["Content-Type"] == "application/x-www-form-urlencoded"
    assert seen["Content-Length"] == "3"


@pytest.mark.parametrize(
    ("change", "name", "value"),
    [
        (lambda h: h.add("X-Added", "1"), "X-Added", "1"),
        (lambda h: h.add("X-Number", 42), "X-Number", "42"),
        (lambda h: h.set("Accept", "text/html"), "Accept", "text/html"),
        (lambda h: h.set("Content-Type", "text/plain"), "Content-Type", "text/plain"),
        (lambda h: h.update({"X-Mapping": "1"}), "X-Mapping", "1"),
        (lambda h: h.set("Host", "example.test"), "Host", "example.test"),
        (lambda h: h.__setitem__("host", "example.test:1"), "Host", "example.test:1"),
        (lambda h: h.set("User-Agent", "mine"), "User-Agent", "mine"),
        (lambda h: h.remove("User-Agent"), "User-Agent", None),
        (lambda h: h.remove("Accept-Encoding"), "Accept-Encoding", None),
        (lambda h: h.set("Expect", "nothing"), "Expect", "nothing"),
        (lambda h: h.set("Pragma", "no-cache"), "Pragma", "no-cache"),
        (lambda h: h.set("X-Empty", ""), "X-Empty", ""),
        (lambda h: h.set("X-Latin", "é"), "X-Latin", "é"),
        (lambda h: h.set("Referer", "http://example.test/"), "Referer", "http://example.test/"),
    ],
)
async def test_changes_of_on_headers_are_sent(
    sent: Sent, change: Callable[[HTTPHeaders], None], name: str, value: str | None
) -> None:
    request = await sent(on_headers=change)
    assert [v for n, v in request.fields if n.lower() == name.lower()] == (
        [] if value is None else [value]
    )


async def test_on_headers_repeats_a_header(sent: Sent) -> None:
    def on_headers(headers: HTTPHeaders) -> None:
        headers.add("X-Twice", "1")
        headers.add("X-Twice", "2")

    request = await sent(on_headers=on_headers)
    assert [value for name, value in request.fields if name == "X-Twice"] == ["1", "2"]


async def test_on_headers_changes_the_request_line(sent: Sent) -> None:
    def on_headers(headers: HTTPHeaders) -> None:
        headers.set_method("PURGE")
        headers.set_uri("/other?x=y")
        headers.set_version("HTTP/1.0")

    assert (await sent(on_headers=on_headers)).line == "PURGE /other?x=y HTTP/1.0"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.set("Content-Length", "999"),
        lambda h: h.set("content-length", 0),
        lambda h: h.add("CONTENT-LENGTH", "1"),
        lambda h: h.__setitem__("Content-length", "-1"),
        lambda h: h.remove("Content-Length"),
    ],
)
async def test_content_length_is_set_by_the_client(
    sent: Sent, peer: RawPeer, method: str, change: Callable[[HTTPHeaders], None]
) -> None:
    body = b"data" if method == "POST" else None
    request = await sent(method=method, body=body, on_headers=change)
    lengths = [value for name, value in request.fields if name.lower() == "content-length"]
    assert lengths == (["4"] if body else [])
    assert request.body == (body or b"")
    # The connection can be reused.
    assert (await sent("/next")).target == "/next"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("value", ["chunked", "identity", ""])
async def test_on_headers_cannot_set_transfer_encoding(
    refused: Refused, method: str, value: str
) -> None:
    raised = await refused(
        ValueError,
        method=method,
        body=b"data" if method == "POST" else None,
        on_headers=lambda headers: headers.set("transfer-encoding", value),
    )
    assert "Transfer-Encoding" in str(raised)


class OwnError(Exception):
    pass


@pytest.mark.parametrize("error", [OwnError, ValueError, KeyError, OSError])
async def test_exception_of_on_headers_is_raised_unchanged(
    refused: Refused, error: type[Exception]
) -> None:
    mine = error("mine")

    def on_headers(headers: HTTPHeaders) -> None:
        raise mine

    assert await refused(error, on_headers=on_headers) is mine


INJECTIONS = ["a\r\nX-Injected: 1", "a\nb", "a\rb", "a\0b", "a\r\n"]


@pytest.mark.parametrize(
    "change",
    [
        lambda h, text: h.add("X-Field", text),
        lambda h, text: h.set("X-Field", text),
        lambda h, text: h.__setitem__("X-Field", text),
        lambda h, text: h.update({"User-Agent": text}),
        lambda h, text: h.set("Host", text),
        lambda h, text: h.__setitem__(text, "value"),
        lambda h, text: h.add(text, "value"),
        lambda h, text: h.set(text, "value"),
        lambda h, text: h.set_method(text),
        lambda h, text: h.set_uri(text),
        lambda h, text: h.set_version(text),
    ],
    ids=[
        "add",
        "set",
        "item",
        "update",
        "host",
        "name",
        "add-name",
        "set-name",
        "method",
        "uri",
        "version",
    ],
)
async def test_injection_through_on_headers(
    refused: Refused, change: Callable[[HTTPHeaders, str], None]
) -> None:
    for text in INJECTIONS:
        await refused(ValueError, on_headers=partial(change, text=text))


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.set_method("GE T"),
        lambda h: h.set_method(""),
        lambda h: h.set_uri("/a b"),
        lambda h: h.set_uri(""),
        lambda h: h.set_version("HTTP/3"),
        lambda h: h.__setitem__("", "value"),
        lambda h: h.__setitem__("X Y", "value"),
        lambda h: h.__setitem__("X:Y", "value"),
        lambda h: h.__setitem__("X-Field", "€"),
    ],
)
async def test_on_headers_with_an_invalid_request_line_raises(
    refused: Refused, change: Callable[[HTTPHeaders], None]
) -> None:
    await refused(ValueError, on_headers=change)


# body


@pytest.mark.parametrize(
    ("body", "wire"),
    [
        (b"bytes", b"bytes"),
        (bytearray(b"bytearray"), b"bytearray"),
        (memoryview(b"a memoryview")[2:], b"memoryview"),
        ("text", b"text"),
        ("ü €", "ü €".encode()),
        (b"", b""),
        ("", b""),
        (bytes(range(256)), bytes(range(256))),
        (b"x" * 100_000, b"x" * 100_000),
    ],
)
async def test_body(sent: Sent, body: Any, wire: bytes) -> None:
    for method in ("POST", "PUT", "GET", "DELETE", "PURGE"):
        request = await sent(method=method, body=body)
        assert request.method == method
        assert request.body == wire
        assert request.field("Content-Length") == str(len(wire))
        assert request.field("Content-Type") is None


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "TRACE", "PURGE"])
async def test_no_body(sent: Sent, method: str) -> None:
    request = await sent(method=method)
    assert request.field("Content-Length") is None
    assert request.field("Transfer-Encoding") is None


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "post"])
@pytest.mark.parametrize("options", [{}, {"body": None}, {"params": None}])
async def test_requires_body(
    make_client: MakeClient, peer: RawPeer, method: str, options: dict[str, Any]
) -> None:
    client = make_client()
    assert_error(await client.fetch(peer.url(), method=method, **options), errors.REQUIRES_BODY)
    assert peer.connections == 0
    assert (await client.fetch(peer.url())).code == 200


@pytest.mark.parametrize("body", [0, 1, 1.5, True, False, ["a"], (b"", 1), {}, {"a": 1}, object()])
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_invalid_body(
    make_client: MakeClient, peer: RawPeer, method: str, body: object
) -> None:
    client = make_client()
    assert_error(await client.fetch(peer.url(), method=method, body=body), errors.INVALID_BODY)
    assert peer.connections == 0
    assert (await client.fetch(peer.url())).code == 200


async def test_text_that_is_not_utf_8(make_client: MakeClient, peer: RawPeer) -> None:
    client = make_client()
    res = await client.fetch(peer.url(), method="POST", body="\ud800")
    assert_error(res, errors.INVALID_BODY)
    assert peer.connections == 0


# request_timeout, connect_timeout


async def silent(conn: Connection) -> None:
    await conn.read_request()


@pytest.mark.parametrize("seconds", [0.2, 1e-5])
async def test_request_timeout(make_client: MakeClient, raw_peer: MakePeer, seconds: float) -> None:
    peer = await raw_peer(silent)
    client = make_client()
    res = await client.fetch(peer.url(), request_timeout=seconds)
    assert_error(res, errors.REQUEST_TIMEOUT)
    assert seconds * 900 <= res.request_time < 10_000


@pytest.mark.parametrize("seconds", [0.2, 1e-5])
async def test_connect_timeout(fetch: Fetch, blackhole: str, seconds: float) -> None:
    res = await fetch(blackhole, connect_timeout=seconds)
    assert_error(res, errors.CONNECT_TIMEOUT)
    assert seconds * 900 <= res.request_time < 10_000


async def test_defaults_of_the_timeouts(peer: RawPeer, transport: str) -> None:
    Watched, hops = watched(transport)
    assert (await HTTPClient(transport=Watched).fetch(peer.url())).code == 200
    assert [(hop.request_timeout, hop.connect_timeout) for hop in hops] == [(60, 20)]


@pytest.mark.parametrize("name", ["request_timeout", "connect_timeout"])
@pytest.mark.parametrize("seconds", [0, 0.0, None, 30, 30.5, 10**9, 1e308])
async def test_timeouts_that_do_not_expire(sent: Sent, name: str, seconds: float) -> None:
    await sent(**{name: seconds})


async def test_zero_disables_a_timeout(fetch: Fetch, server: Any) -> None:
    res = await fetch(server.url("/slow/0.3"), request_timeout=0, connect_timeout=0)
    assert res.body == b"late"


async def test_connect_timeout_ends_with_the_connection(fetch: Fetch, server: Any) -> None:
    res = await fetch(server.url("/slow/1.2"), connect_timeout=1)
    assert res.body == b"late"


@pytest.mark.parametrize("name", ["request_timeout", "connect_timeout"])
@pytest.mark.parametrize("seconds", [-1, -0.001, -math.inf, math.nan])
async def test_invalid_timeouts(refused: Refused, name: str, seconds: float) -> None:
    raised = await refused(ValueError, **{name: seconds})
    assert name in str(raised)


# auth_username, auth_password, user info


@pytest.mark.parametrize(
    ("options", "credentials"),
    [
        ({"auth_username": "user", "auth_password": "pass"}, "user:pass"),
        ({"auth_username": "user", "auth_password": ""}, "user:"),
        ({"auth_username": "user"}, "user:"),
        ({"auth_username": "ü", "auth_password": "ß€"}, "ü:ß€"),
        ({"auth_username": "u", "auth_password": "p:a:s:s"}, "u:p:a:s:s"),
        ({"auth_username": "u" * 200, "auth_password": "p" * 200}, "u" * 200 + ":" + "p" * 200),
    ],
)
async def test_auth_is_sent_with_the_first_request(
    sent: Sent, peer: RawPeer, options: dict[str, str], credentials: str
) -> None:
    assert (await sent(**options)).field("Authorization") == basic(credentials)
    assert len(peer.requests) == 1


async def test_no_auth(sent: Sent) -> None:
    assert (await sent()).field("Authorization") is None


async def test_auth_at_a_server(fetch: Fetch, server: Any) -> None:
    res = await fetch(server.url("/auth"), auth_username="user", auth_password="pass")
    assert res.body == b"welcome"
    res = await fetch(server.url("/auth"), auth_username="user", auth_password="wrong")
    assert res.code == 401


@pytest.mark.parametrize(
    ("user_info", "credentials"),
    [
        ("user:pass", "user:pass"),
        ("user", "user:"),
        ("user:", "user:"),
        ("us%40er:p%3Aa%2Fss", "us@er:p:a/ss"),
        ("caf%E9:%FF", "caf\udce9:\udcff"),
        ("us%C3%BCr:p", "usür:p"),
        ("üser:€", "üser:€"),
        ("a@b:c", "a@b:c"),
    ],
)
async def test_user_info_is_auth(
    make_client: MakeClient, peer: RawPeer, user_info: str, credentials: str
) -> None:
    url = f"http://{user_info}@127.0.0.1:{peer.port}/p"
    res = await make_client().fetch(url)
    assert res.error is None, res.error
    (request,) = peer.requests
    assert request.field("Authorization") == basic(credentials)
    assert request.field("Host") == f"127.0.0.1:{peer.port}"
    assert request.target == "/p"
    assert res.url == peer.url("/p")


async def test_messages_do_not_contain_user_info(
    fetch: Fetch, closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    res = await fetch(f"http://user:s3cret@127.0.0.1:{closed_port}/")
    assert_error(res, errors.COULD_NOT_CONNECT)
    assert "s3cret" not in res.error.message
    res = await fetch("http://user:s3cret@:80/")
    assert_error(res, errors.INVALID_URL)
    assert "s3cret" not in res.error.message
    res = await fetch("ftp://user:s3cret@host/")
    assert_error(res, errors.INVALID_SCHEMA)
    assert "s3cret" not in res.error.message
    assert "s3cret" not in caplog.text


# user_agent


async def test_user_agent(sent: Sent) -> None:
    assert (await sent()).field("User-Agent") == f"Turbo Client v{turbo_tornado.__version__}"
    assert (await sent(user_agent="mine/1.0 (é)")).field("User-Agent") == "mine/1.0 (é)"


# mistakes of the caller


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("metod", "method"),
        ("Method", "method"),
        ("param", "params"),
        ("keepalive", "keep_alive"),
        ("cookies", "cookie"),
        ("http_versions", "http_version"),
        ("gzip", "use_gzip"),
        ("follow_redirects", "allow_redirects"),
        ("maxredirects", "max_redirects"),
        ("on_header", "on_headers"),
        ("Body", "body"),
        ("request_timout", "request_timeout"),
        ("connection_timeout", "connect_timeout"),
        ("auth_user", "auth_username"),
        ("auth_pasword", "auth_password"),
        ("useragent", "user_agent"),
    ],
)
async def test_unknown_keyword(refused: Refused, name: str, nearest: str) -> None:
    raised = await refused(TypeError, **{name: "value"})
    assert name in str(raised) and repr(nearest) in str(raised)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timeout", "'request_timeout' for the whole fetch and 'connect_timeout'"),
        ("follow_redirects", "'allow_redirects'"),
        ("allow_redirect", "'allow_redirects'"),
        ("verify", '{"verify_ca": False}'),
        ("validate_cert", '{"verify_ca": False}'),
        ("ssl", "HTTPClient(ssl_options)"),
        ("ca_certs", '{"ca_path": ...}'),
        ("client_key", '{"cert_file": ..., "priv_file": ...}'),
        ("client_cert", '{"cert_file": ..., "priv_file": ...}'),
        ("cert", '{"cert_file": ..., "priv_file": ...}'),
        ("data", "'params' for a form, or 'body'"),
        ("content", "'body'"),
        ("json_", "'json'"),
        ("stream", "'streaming_callback'"),
        ("header_callback", "response.headers"),
        ("body_producer", "'body'"),
        ("raise_error", "raise_for_error()"),
        ("auth", "'auth_username' and 'auth_password'"),
        ("proxies", "'proxy'"),
        ("proxy_host", "'proxy'"),
        ("cookies", "'cookie'"),
        ("decompress_response", "'use_gzip'"),
        ("expect_100_continue", "SimpleTransport"),
        ("network_interface", "SimpleTransport"),
        ("if_modified_since", "'headers'"),
    ],
)
async def test_keyword_of_another_client(refused: Refused, name: str, words: str) -> None:
    for arguments in ({"kwargs": {name: 1}}, {name: 1}):
        message = str(await refused(TypeError, **arguments))
        assert message.startswith(f"fetch() has no {name!r}; ")
        assert words in message
    with pytest.raises(TypeError, match=f"configure.*has no {name!r}; "):
        configure(**{name: 1})


def test_advice_names_keywords() -> None:
    for name, advice in ADVICE.items():
        assert name not in KEYWORDS
        assert set(re.findall(r"'(\w+)'", advice)) <= {*KEYWORDS}


@pytest.mark.parametrize("options", [{}, {"method": "POST", "body": ""}])
async def test_http_request_as_url_raises(
    make_client: MakeClient, peer: RawPeer, options: dict[str, Any]
) -> None:
    client = make_client()
    with pytest.raises(TypeError, match="not an HTTPRequest; pass its URL and keywords"):
        client.fetch(HTTPRequest(peer.url()), **options)  # type: ignore[arg-type]
    assert (await client.fetch(peer.url())).body == b"ok"
    assert len(peer.requests) == 1


@pytest.mark.parametrize("value", ["value", None])
async def test_unknown_key_of_the_table(refused: Refused, value: object) -> None:
    raised = await refused(TypeError, {"metod": value})
    assert "method" in str(raised)


@pytest.mark.parametrize("name", ["", "xyzzy", 1, None])
async def test_unknown_key_without_a_similar_name(refused: Refused, name: object) -> None:
    await refused(TypeError, {name: "value"})


@pytest.mark.parametrize("kwargs", [1, "method", [("method", "GET")], {"method"}, object()])
async def test_table_must_be_a_mapping(refused: Refused, kwargs: object) -> None:
    await refused(TypeError, kwargs)


WRONG_TYPES = [
    ("method", [1, True, b"GET", ["GET"]]),
    ("params", [1, True, "a=1", b"a=1", object(), {"a": {"b": 1}}, {"a": object()}, [("a",)]]),
    ("keep_alive", [0, 1, "true", []]),
    ("cookie", [1, True, b"a=1", ["a=1"], {"a": object()}, {"a": ["b"]}]),
    ("http_version", [1.1, 1, b"HTTP/1.1", ("HTTP", 1)]),
    ("use_gzip", [0, 1, "gzip", []]),
    ("allow_redirects", [0, 1, "true", 4]),
    ("max_redirects", ["4", 4.0, [], True]),
    ("on_headers", [1, "callback", {"X-Field": "1"}, True]),
    ("request_timeout", ["5", b"5", [], True, 1j]),
    ("connect_timeout", ["5", b"5", [], True, 1j]),
    ("auth_username", [1, b"user", True, ("user", "pass")]),
    ("auth_password", [1, b"pass", True]),
    ("user_agent", [1, b"agent", True, ["agent"]]),
]


@pytest.mark.parametrize(("name", "values"), WRONG_TYPES)
async def test_wrong_type(refused: Refused, name: str, values: list[Any]) -> None:
    for value in values:
        assert name in str(await refused(TypeError, **{name: value}))
        assert name in str(await refused(TypeError, {name: value}))


@pytest.mark.parametrize(
    "options",
    [
        lambda text: {"method": text},
        lambda text: {"cookie": text},
        lambda text: {"cookie": {"name": text}},
        lambda text: {"cookie": {text: "value"}},
        lambda text: {"user_agent": text},
        lambda text: {"auth_username": text, "auth_password": "pass"},
        lambda text: {"auth_username": "user", "auth_password": text},
        lambda text: {"http_version": text},
    ],
    ids=["method", "cookie", "value", "name", "agent", "username", "password", "version"],
)
async def test_injection(refused: Refused, options: Callable[[str], dict[str, Any]]) -> None:
    for text in INJECTIONS:
        await refused(ValueError, **options(text))


@pytest.mark.parametrize(
    "options", [{"user_agent": "€"}, {"cookie": "a=€"}, {"cookie": {"a": "€"}}]
)
async def test_header_is_latin_1(refused: Refused, options: dict[str, Any]) -> None:
    await refused(ValueError, **options)


# the table and the keywords


async def test_keywords_take_precedence_over_the_table(sent: Sent) -> None:
    request = await sent(
        "/p",
        {"method": "PUT", "body": b"table", "user_agent": "table", "cookie": "a=table"},
        body=b"keyword",
        cookie="a=keyword",
    )
    assert request.method == "PUT"
    assert request.body == b"keyword"
    assert request.field("Cookie") == "a=keyword"
    assert request.field("User-Agent") == "table"


async def test_none_means_the_default(sent: Sent) -> None:
    request = await sent("/", {"user_agent": "table", "cookie": None}, user_agent=None)
    assert request.field("User-Agent") == "table"
    assert request.field("Cookie") is None


async def test_table_is_not_changed(sent: Sent, peer: RawPeer) -> None:
    table = {
        "method": "post",
        "params": {"a": [1, 2]},
        "cookie": {"c": "1"},
        "auth_username": "user",
        "auth_password": "pass",
        "on_headers": lambda headers: headers.add("X-Added", "1"),
    }
    before = copy.deepcopy(table)
    first = await sent("/p", table)
    second = await sent("/p", table, user_agent="other")
    third = await sent("/p", table)
    assert table == before
    assert first.raw == third.raw != second.raw
    assert first.body == second.body == third.body == b"a=1&a=2"


async def test_table_can_be_any_mapping(sent: Sent) -> None:
    request = await sent("/", MappingProxyType({"user_agent": "mine"}))
    assert request.field("User-Agent") == "mine"


async def test_positional_table(make_client: MakeClient, peer: RawPeer) -> None:
    await make_client().fetch(peer.url(), {"cookie": "a=1"})
    await make_client().fetch(peer.url(), kwargs={"cookie": "a=1"})
    assert [request.field("Cookie") for request in peer.requests] == ["a=1", "a=1"]


# one fetch at a time


async def test_busy(make_client: MakeClient, raw_peer: MakePeer) -> None:
    go_on = asyncio.Event()

    async def script(conn: Connection) -> None:
        while True:
            await conn.read_request()
            await go_on.wait()
            await conn.send(response(b"answer"))

    peer = await raw_peer(script)
    client = make_client()
    first = client.fetch(peer.url("/first"))
    await peer.received()
    for _ in range(2):
        assert_error(await client.fetch(peer.url("/second")), errors.BUSY)
    assert not first.done()
    go_on.set()
    assert (await first).body == b"answer"
    assert [request.target for request in peer.requests] == ["/first"]
    assert peer.connections == 1
    assert (await client.fetch(peer.url("/third"))).body == b"answer"


async def test_busy_as_soon_as_fetch_is_called(make_client: MakeClient, peer: RawPeer) -> None:
    client = make_client()
    first, second = client.fetch(peer.url("/first")), client.fetch(peer.url("/second"))
    assert_error(await second, errors.BUSY)
    assert (await first).code == 200
    assert [request.target for request in peer.requests] == ["/first"]


async def test_other_clients_are_not_busy(make_client: MakeClient, peer: RawPeer) -> None:
    fetches = [make_client().fetch(peer.url()) for _ in range(30)]
    assert [res.code for res in await asyncio.gather(*fetches)] == [200] * 30


async def test_order_of_busy_and_other_checks(make_client: MakeClient, peer: RawPeer) -> None:
    client = make_client()
    first = client.fetch(peer.url())
    with pytest.raises(TypeError):
        client.fetch(peer.url(), metod="GET")
    with pytest.raises(ValueError):
        client.fetch(peer.url(), request_timeout=-1)
    assert_error(await client.fetch(""), errors.BUSY)
    assert_error(await client.fetch("ftp://host/"), errors.BUSY)
    assert_error(await client.fetch(peer.url(), method="POST"), errors.BUSY)
    assert (await first).code == 200
    assert_error(await client.fetch("", method="POST"), errors.INVALID_URL)
    assert_error(await client.fetch("ftp://host/", method="POST", body=5), errors.INVALID_SCHEMA)


async def test_free_when_the_future_is_done(make_client: MakeClient, peer: RawPeer) -> None:
    client = make_client()
    next_fetch: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    client.fetch(peer.url("/first")).add_done_callback(
        lambda done: next_fetch.set_result(client.fetch(peer.url("/second")))
    )
    assert (await (await next_fetch)).code == 200
    assert [request.target for request in peer.requests] == ["/first", "/second"]


# URLs

INVALID_URLS = [
    None,
    5,
    b"http://127.0.0.1/",
    ["http://127.0.0.1/"],
    "",
    " ",
    "127.0.0.1",
    "nohost/path",
    "/relative",
    "//127.0.0.1/path",
    "?query",
    "localhost:8080/x",
    "127.0.0.1:8080",
    "http",
    "http:",
    "http:/",
    "http://",
    "http:///path",
    "http://?query",
    "http://#fragment",
    "http:127.0.0.1",
    "http:/127.0.0.1/",
    "https://",
    "http://:80/",
    "http://user@/",
    "http://user:pass@:80/",
    "http://127.0.0.1:65536/",
    "http://127.0.0.1:99999999999999999999/",
    "http://127.0.0.1:-1/",
    "http://127.0.0.1:+80/",
    "http://127.0.0.1:8o/",
    "http://127.0.0.1:８０/",
    "http://127.0.0.1:80:80/",
    "http://[::1/",
    "http://::1/",
    "http://[]/",
    "http://[zz]/",
    "http://[::1]80/",
    "http://[127.0.0.1]/",
    "http://a b/",
    "http://a<b>/",
    "http://a%00b/",
    "http://" + "a" * 64 + ".test/",
    "http://a..test/",
    " http://127.0.0.1/",
    "http://127.0.0.1/ ",
    "http://127.0.0.1/a b",
    "http://127.0.0.1/?a=b c",
    "http://127.0.0.1/#a b",
    "http://127.0.0.1/\t",
    "http://127.0.0.1/\r\nX-Injected: 1",
    "http://127.0.0.1/\n",
    "http://127.0.0.1/\0",
    "http://127.0.0.1/\x1f",
    "http://127.0.0.1/\x7f",
    "http://127.0.0.1/\ud800",
    "http://user\n:pass@127.0.0.1/",
    "ftp://host/a b",
]


@pytest.mark.parametrize("url", INVALID_URLS, ids=ascii)
async def test_invalid_url(make_client: MakeClient, url: Any, peer: RawPeer) -> None:
    client = make_client()
    assert_error(await client.fetch(url), errors.INVALID_URL)
    assert (await client.fetch(peer.url())).code == 200


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/",
        "ftp://user:pass@host:21/file",
        "file:///etc/passwd",
        "ws://host/",
        "gopher://host/",
        "httpx://host/",
        "HTTP2://host/",
        "h-t.t+p://host/",
        "mailto:a@b",
        "javascript:alert(1)",
        "urn:isbn:0451450523",
        "data:,text",
    ],
)
async def test_invalid_schema(make_client: MakeClient, url: str, peer: RawPeer) -> None:
    client = make_client()
    assert_error(await client.fetch(url), errors.INVALID_SCHEMA)
    assert (await client.fetch(peer.url())).code == 200


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://bücher.test/", "bücher.test".encode("idna").decode()),
        ("http://BÜCHER.test/", "xn--bcher-kva.test"),
        ("http://xn--bcher-kva.test:81/", "xn--bcher-kva.test:81"),
        ("http://例え.test:8080/", "xn--r8jz45g.test:8080"),
        ("http://user:pass@bücher.test/", "xn--bcher-kva.test"),
    ],
)
async def test_host_is_idna(make_client: MakeClient, url: str, host: str) -> None:
    seen = []

    def on_headers(headers: HTTPHeaders) -> None:
        seen.append(headers["Host"])
        # Such a host would need DNS.
        raise OwnError

    with pytest.raises(OwnError):
        make_client().fetch(url, on_headers=on_headers)
    assert seen == [host]


@pytest.mark.parametrize("host", ["１２７.0.0.1", "127。0。0。1", "ＬＯＣＡＬＨＯＳＴ"])
async def test_idna_host_is_connected_to(fetch: Fetch, peer: RawPeer, host: str) -> None:
    res = await fetch(f"http://{host}:{peer.port}/")
    assert res.error is None, res.error
    expected = "localhost" if "Ｌ" in host else "127.0.0.1"
    assert peer.requests[0].field("Host") == f"{expected}:{peer.port}"
    assert res.url == f"http://{expected}:{peer.port}/"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/ü", "/%C3%BC"),
        ("/€?q=ü&x=%20", "/%E2%82%AC?q=%C3%BC&x=%20"),
        ("/𝄞", "/%F0%9D%84%9E"),
        ("/%C3%BC%2f%7E", "/%C3%BC%2f%7E"),
        ("/100%", "/100%"),
        ("/a#ü", "/a"),
        ("?ü", "/?%C3%BC"),
    ],
)
async def test_path_is_percent_encoded(sent: Sent, path: str, target: str) -> None:
    assert (await sent(path)).target == target


@pytest.mark.skipif(sys.platform != "linux", reason="the interface has another name")
@pytest.mark.parametrize("zone", ["1", "lo"])
async def test_zone_of_an_ipv6_address(fetch: Fetch, raw_peer: MakePeer, zone: str) -> None:
    if not has_ipv6():
        pytest.skip("there is no IPv6")
    peer = await raw_peer(response(b"ok"), host="::1")
    res = await fetch(f"http://[::1%25{zone}]:{peer.port}/")
    assert res.body == b"ok"
    assert peer.requests[0].field("Host") == f"[::1]:{peer.port}"


@pytest.mark.parametrize("zone", ["4294967297", "1" * 5000, "none"])
async def test_unknown_zone_of_an_ipv6_address(
    fetch: Fetch, raw_peer: MakePeer, transport: str, zone: str
) -> None:
    if transport == "curl":
        pytest.skip("libcurl ignores an unknown zone")
    url = f"http://[fe80::1%25{zone}]:80/"
    peer = await raw_peer(response(b"", f"Location: {url}", status="302 Found"))
    for start in (url, peer.url()):
        res = await fetch(start)
        assert res.error is not None and res.error.code is errors.COULD_NOT_CONNECT


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on loopback")
async def test_ipv6_literal(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"ok"), host="::1")
    res = await fetch(peer.url("/p"))
    assert res.body == b"ok"
    assert peer.requests[0].field("Host") == f"[::1]:{peer.port}"
    assert res.url == f"http://[::1]:{peer.port}/p"
