"""The tables of docs/guide/coming-from-asynchttpclient.md."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import tornado
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.httpclient import HTTPResponse as TornadoResponse
from tornado.httputil import format_timestamp
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from tests.docs_test import rows_of
from tests.support import Connection, MakePeer, Request, Script, response
from tests.support.certificates import Certificates
from turbo_tornado import HTTPClient
from turbo_tornado.request.keywords import KEYWORDS
from turbo_tornado.request.other_clients import ADVICE

PAGE = "docs/guide/coming-from-asynchttpclient.md"
KEYWORD_ROWS = {row[0].strip("`"): row[1:] for row in rows_of(PAGE, "| `HTTPRequest` |")}
CASE_ROWS = {row[0]: row[1:] for row in rows_of(PAGE, "| case |")}


# Keywords


def test_every_argument_of_a_request_has_a_row() -> None:
    assert [*KEYWORD_ROWS] == [*inspect.signature(HTTPRequest).parameters]


@pytest.mark.parametrize("name", KEYWORD_ROWS)
def test_a_row_agrees_with_the_client(name: str) -> None:
    replacement, difference = KEYWORD_ROWS[name]
    if name in KEYWORDS or name == "url":
        assert replacement == f"`{name}`"
        return
    # The names of code in the advice: keywords, keys, classes and headers.
    code = r"'(\w+)'|\"(\w+)\"|(\w+Transport|response\.headers|ssl_options)"
    named = re.findall(code, ADVICE[name])
    assert named or name == "allow_nonstandard_methods"
    for names in named:
        assert "".join(names) in f"{replacement} {difference}", ADVICE[name]


def test_every_attribute_of_a_response_has_a_row() -> None:
    rows = rows_of(PAGE, "| `tornado.httpclient.HTTPResponse` |")
    named = {re.findall(r"\w+", row[0])[0] for row in rows}
    attributes = set(vars(TornadoResponse(HTTPRequest("http://a.test/"), 200)))
    public = {name for name in attributes | set(vars(TornadoResponse)) if not name.startswith("_")}
    assert named == public


#: Arguments of an ``HTTPRequest``, and what sends the same with `HTTPClient`.
SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"method": "DELETE"}, {"method": "DELETE"}),
    ({"headers": {"X-A": "b"}}, {"headers": {"X-A": "b"}}),
    ({"method": "PUT", "body": "x"}, {"method": "PUT", "body": "x"}),
    (
        {"auth_username": "u", "auth_password": "p", "auth_mode": "basic"},
        {"auth_username": "u", "auth_password": "p"},
    ),
    ({"if_modified_since": 0}, {}),
    (
        {"if_modified_since": 1e9},
        {"headers": {"If-Modified-Since": format_timestamp(1e9)}},
    ),
    ({"follow_redirects": False}, {"allow_redirects": False}),
    ({"user_agent": "agent"}, {"user_agent": "agent"}),
    ({"use_gzip": False}, {"use_gzip": False}),
    ({"decompress_response": False}, {"use_gzip": False}),
    ({"decompress_response": True}, {}),
    ({"method": "PURGE", "allow_nonstandard_methods": True}, {"method": "PURGE"}),
    ({"body": "x", "allow_nonstandard_methods": True}, {"body": "x"}),
    (
        {"method": "POST", "body": "a=b%20c"},
        {"method": "POST", "params": {"a": "b c"}},
    ),
]


def _without_names_of_clients(request: Request) -> list[tuple[str, str]]:
    own = {"connection"}
    if (agent := request.field("User-Agent")) and agent != "agent":
        own.add("user-agent")
    return sorted((name, value) for name, value in request.fields if name.lower() not in own)


@pytest.mark.parametrize(("theirs", "ours"), SAME, ids=[str([*theirs]) for theirs, _ in SAME])
async def test_replacement_sends_the_same_request(
    raw_peer: MakePeer, theirs: dict[str, Any], ours: dict[str, Any]
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(response(b"", "Location: /next", status="302 Found"))
        await conn.read_request()
        await conn.send(response(b"ok"))

    peer = await raw_peer(response(b"ok"))
    if theirs.get("follow_redirects") is False:
        peer = await raw_peer(script)
    client = SimpleAsyncHTTPClient(force_instance=True)
    await client.fetch(peer.url("/a"), raise_error=False, **theirs)
    client.close()
    await HTTPClient().fetch(peer.url("/a"), ours)
    first, second = peer.requests
    assert (first.line, first.body) == (second.line, second.body)
    assert _without_names_of_clients(first) == _without_names_of_clients(second)


# Exceptions


async def _close(conn: Connection) -> None:
    await conn.read_request()
    conn.close()


async def _close_within_body(conn: Connection) -> None:
    await conn.read_request()
    await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    conn.close()


async def _reset(conn: Connection) -> None:
    await conn.read_request()
    conn.reset()


async def _no_response(conn: Connection) -> None:
    await conn.read_request()


async def _no_tls(conn: Connection) -> None:
    await conn.send(b"220 mail.example.com ready\r\n")


OK = response(b"ok")
PACKED = gzip.compress(b"x" * 1000)


def _packed(data: bytes) -> bytes:
    return response(data, "Content-Encoding: gzip")


class Case(NamedTuple):
    """A row of the table: a peer or a URL, and keywords of both clients."""

    peer: bytes | Script | str
    tornado: Mapping[str, Any] = MappingProxyType({})
    turbo: Mapping[str, Any] = MappingProxyType({})


_SHORT = {"request_timeout": 0.2}
CASES = {
    "a status of 400 or above": Case(response(b"no", status="404 Not Found")),
    "304": Case(response(b"", status="304 Not Modified")),
    "a redirect that is not followed": Case(
        response(b"", "Location: /", status="302 Found"),
        {"follow_redirects": False},
        {"allow_redirects": False},
    ),
    "too many redirects": Case(response(b"", "Location: /", status="302 Found")),
    "`connect_timeout` expired": Case(
        "{blackhole}", {"connect_timeout": 0.2}, {"connect_timeout": 0.2}
    ),
    "`request_timeout` expired": Case(_no_response, _SHORT, _SHORT),
    "connection refused": Case("http://127.0.0.1:{closed}/"),
    "no such host": Case("http://nowhere.invalid/"),
    "closed before a response": Case(_close),
    "closed within the body": Case(_close_within_body),
    "reset before a response": Case(_reset),
    "body too large": Case(response(b"x" * 2000)),
    "invalid chunk": Case(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\na"),
    "invalid gzip": Case(_packed(b"x" * 20)),
    "incomplete gzip": Case(_packed(PACKED[:20])),
    "certificate not trusted": Case("{tls}"),
    "the server does not use TLS": Case(_no_tls),
    "not HTTP": Case(b"garbage\r\n\r\n"),
    "invalid Content-Length": Case(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
    "another scheme": Case("ftp://127.0.0.1/"),
    "invalid port": Case("http://nowhere.invalid:port/"),
    "POST without a body": Case(OK, {"method": "POST"}, {"method": "POST"}),
    "GET with a body": Case(OK, {"body": "x"}, {"body": "x"}),
    "unknown method": Case(OK, {"method": "PURGE"}, {"method": "PURGE"}),
    "unknown keyword": Case(OK, {"metod": "GET"}, {"metod": "GET"}),
}


def test_every_case_of_the_table_is_tested() -> None:
    assert [*CASE_ROWS] == [*CASES]


@pytest.fixture(params=CASES)
async def case(
    request: pytest.FixtureRequest,
    raw_peer: MakePeer,
    certificates: Certificates,
    closed_port: int,
    blackhole: str,
) -> tuple[str, str]:
    """The name of a case, and its URL."""
    peer = CASES[request.param].peer
    if isinstance(peer, str):
        tls = await raw_peer(OK, ssl_context=certificates.server_context("self-signed"))
        return request.param, peer.format(blackhole=blackhole, closed=closed_port, tls=tls.url())
    url = (await raw_peer(peer)).url()
    return request.param, url.replace("http:", "https:") if peer is _no_tls else url


async def test_result_of_each_row(case: tuple[str, str], transport: str) -> None:
    name, url = case
    client = HTTPClient(max_buffer_size=1000, transport=transport)
    try:
        res = await client.fetch(url, **CASES[name].turbo)
    except TypeError:
        result = "`TypeError`"
    else:
        result = f"`{res.error.code.name}`" if res.error else f"status {res.code}"
    assert result == CASE_ROWS[name][2]


@pytest.mark.skipif(tornado.version_info < (6, 6), reason="the page is about Tornado 6.6")
@pytest.mark.parametrize("column", [0, 1])
async def test_the_exception_of_tornado(case: tuple[str, str], column: int) -> None:
    name, url = case
    kind: Any = SimpleAsyncHTTPClient
    if column == 1:
        pytest.importorskip("pycurl")
        from tornado.curl_httpclient import CurlAsyncHTTPClient as kind
    client: AsyncHTTPClient = kind(force_instance=True, max_body_size=1000)
    try:
        result = f"status {(await client.fetch(url, **CASES[name].tornado)).code}"
    except Exception as error:
        number = getattr(error, "errno", None) if kind is not SimpleAsyncHTTPClient else None
        if type(error) is HTTPClientError:
            number = error.code
        result = f"`{type(error).__name__}`" + (f" {number}" if number else "")
    # The client runs its scheduled callbacks.
    await asyncio.sleep(0)
    client.close()
    assert result == CASE_ROWS[name][column]
