"""The keywords of ``fetch`` that Turbo lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tornado import httputil

from tests.support import Connection, Fetch, MakePeer, RawPeer, Refused, Sent, response
from turbo_tornado import HTTPHeaders, configure, errors, reset

# headers


def fields(peer: RawPeer) -> list[str]:
    return [line for line in peer.requests[-1].raw.decode("latin-1").split("\r\n")[1:] if line]


REPEATED = HTTPHeaders([("X-A", "1")])
REPEATED.add("X-A", "2")
OF_TORNADO = httputil.HTTPHeaders({"X-A": "1"})
OF_TORNADO.add("X-A", "2")


@pytest.mark.parametrize(
    ("headers", "lines"),
    [
        ({}, []),
        ({"X-A": "1"}, ["X-A: 1"]),
        ({"x-a": "1", "X-b": 2, "X-C": 1.5}, ["X-A: 1", "X-B: 2", "X-C: 1.5"]),
        ({"X-A": ""}, ["X-A: "]),
        ({"X-A": " é\t"}, ["X-A: é"]),
        ([("X-A", "1"), ("X-B", "2"), ["x-a", "3"]], ["X-A: 1", "X-A: 3", "X-B: 2"]),
        ({"X-A": "1"}.items(), ["X-A: 1"]),
        (REPEATED, ["X-A: 1", "X-A: 2"]),
        (OF_TORNADO, ["X-A: 1", "X-A: 2"]),
        ({"Accept": "*/*", "Pragma": "no-cache"}, ["Accept: */*", "Pragma: no-cache"]),
    ],
    ids=range(10),
)
async def test_headers(fetch: Fetch, peer: RawPeer, headers: Any, lines: list[str]) -> None:
    await fetch(peer.url())
    own = fields(peer)
    res = await fetch(peer.url(), headers=headers)
    assert fields(peer) == [*own, *lines]
    assert res.request.stringify_as_request().encode("latin-1") == peer.requests[-1].raw


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Host", {}),
        ("User-Agent", {}),
        ("Accept-Encoding", {}),
        ("Cookie", {"cookie": "a=1"}),
        ("Authorization", {"auth_username": "user"}),
        ("Content-Type", {"method": "POST", "params": {"a": 1}}),
    ],
)
async def test_headers_replace_the_default_headers(
    fetch: Fetch, peer: RawPeer, name: str, options: dict[str, Any]
) -> None:
    await fetch(peer.url(), **options)
    own = fields(peer)
    await fetch(peer.url(), headers={name.upper(): "replaced"}, **options)
    replaced = [f"{name}: replaced" if line.startswith(f"{name}:") else line for line in own]
    assert replaced != own
    assert fields(peer) == replaced


@pytest.mark.parametrize(
    ("options", "length"),
    [({}, None), ({"method": "POST", "body": "abc"}, "3"), ({"method": "POST", "body": ""}, "0")],
)
async def test_content_length_in_headers_is_replaced(
    sent: Sent, options: dict[str, Any], length: str | None
) -> None:
    request = await sent(headers={"Content-Length": 77}, **options)
    assert request.field("Content-Length") == length
    assert request.raw.count(b"Content-Length") == (length is not None)


@pytest.mark.parametrize("value", ["close", "Close", "x, close"])
async def test_connection_close_in_headers(sent: Sent, peer: RawPeer, value: str) -> None:
    for number in (1, 2):
        assert (await sent(headers={"connection": value})).field("Connection") == value
        assert peer.connections == number


@pytest.mark.kept
async def test_keep_alive_in_headers(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"ok", "Connection: keep-alive", version="HTTP/1.0"))
    for headers, connections in (({"Connection": "keep-alive"}, 1), ({}, 2), (None, 3)):
        for _ in range(2):
            await fetch(peer.url(), headers=headers, http_version="HTTP/1.0")
            if headers:
                assert peer.connections == connections
    assert peer.connections == 5


async def test_headers_are_set_before_on_headers(sent: Sent) -> None:
    seen = []

    def on_headers(headers: HTTPHeaders) -> None:
        seen.append(headers["X-A"])
        headers.set("X-A", "2")

    assert (await sent(headers={"X-A": "1"}, on_headers=on_headers)).field("X-A") == "2"
    assert seen == ["1"]


@pytest.mark.parametrize(
    ("headers", "error", "words"),
    [
        ({"X-A": "1\r\nX-B: 2"}, ValueError, "X-A"),
        ({"X-A": "1\n"}, ValueError, "X-A"),
        ({"X-A": "1\0"}, ValueError, "X-A"),
        ({"X-A": "€"}, ValueError, "X-A"),
        ({"X-A\r\nX-B": "1"}, ValueError, "not a valid header name"),
        ({"X A": "1"}, ValueError, "not a valid header name"),
        ({"": "1"}, ValueError, "not a valid header name"),
        ({":authority": "1"}, ValueError, "not a valid header name"),
        ({"Transfer-Encoding": "chunked"}, ValueError, "Transfer-Encoding"),
        ([("transfer-encoding", "identity")], ValueError, "Transfer-Encoding"),
        ([("Host", "a"), ("host", "b")], ValueError, "only one Host"),
        ({"X-A": None}, TypeError, "X-A"),
        ({"X-A": True}, TypeError, "X-A"),
        ({"X-A": b"1"}, TypeError, "X-A"),
        ({"X-A": ["1", "2"]}, TypeError, "X-A"),
        ({1: "1"}, TypeError, "header name"),
        ("X-A: 1", TypeError, "headers must be a mapping or pairs"),
        (b"X-A: 1", TypeError, "headers must be a mapping or pairs"),
        (["X-A: 1"], TypeError, "headers must be a mapping or pairs"),
        (5, TypeError, "headers must be a mapping or pairs"),
    ],
    ids=str,
)
async def test_invalid_headers(
    refused: Refused, headers: Any, error: type[Exception], words: str
) -> None:
    assert words in str(await refused(error, headers=headers))


async def test_default_headers(sent: Sent) -> None:
    configure(headers={"X-A": "1"})
    try:
        assert (await sent()).field("X-A") == "1"
        request = await sent(headers={"X-B": "2"})
        assert (request.field("X-A"), request.field("X-B")) == (None, "2")
    finally:
        reset()


async def test_on_headers_cannot_add_a_second_host(refused: Refused) -> None:
    raised = await refused(ValueError, on_headers=lambda headers: headers.add("Host", "b"))
    assert "on_headers can have only one Host" in str(raised)


def redirecting(code: int, location: Callable[[], str]) -> Any:
    async def script(conn: Connection) -> None:
        while True:
            request = await conn.read_request()
            if request.target == "/start":
                await conn.send(response(b"", f"Location: {location()}", status=f"{code} Moved"))
            else:
                await conn.send(response(b"ok"))

    return script


GIVEN_HEADERS = {
    "Authorization": "Bearer secret",
    "Cookie": "a=1",
    "Content-Type": "text/plain",
    "Content-Language": "en",
    "Host": "example.com",
    "X-A": "1",
}


@pytest.mark.parametrize("code", [301, 303, 307])
async def test_headers_after_a_redirect(fetch: Fetch, raw_peer: MakePeer, code: int) -> None:
    other = await raw_peer(response(b"ok"))
    where = "/end"
    peer = await raw_peer(redirecting(code, lambda: where))
    options: dict[str, Any] = {"method": "POST", "body": "x", "headers": GIVEN_HEADERS}
    await fetch(peer.url("/start"), **options)
    same = peer.requests[-1]
    where = other.url("/end")
    await fetch(peer.url("/start"), **options)
    [elsewhere] = other.requests
    for request in (same, elsewhere):
        assert request.target == "/end"
        assert request.field("X-A") == "1"
        expected = "text/plain" if code == 307 else None
        assert request.field("Content-Type") == expected
        assert request.field("Content-Language") == ("en" if code == 307 else None)
    assert same.field("Authorization") == "Bearer secret"
    assert same.field("Cookie") == "a=1"
    assert same.field("Host") == "example.com"
    assert elsewhere.field("Authorization") is None
    assert elsewhere.field("Cookie") is None
    assert elsewhere.field("Host") == f"127.0.0.1:{other.port}"


# json


@pytest.mark.parametrize(
    ("value", "body"),
    [
        ({"a": [1, 2.5, None, True]}, b'{"a":[1,2.5,null,true]}'),
        ([], b"[]"),
        ({}, b"{}"),
        ("", b'""'),
        ("é€\u2028", '"é€\u2028"'.encode()),
        (0, b"0"),
        (False, b"false"),
        ((1, 2), b"[1,2]"),
        ({1: "a"}, b'{"1":"a"}'),
    ],
    ids=str,
)
async def test_json(sent: Sent, value: Any, body: bytes) -> None:
    request = await sent(method="POST", json=value)
    assert request.body == body
    assert request.field("Content-Type") == "application/json"
    assert request.field("Content-Length") == str(len(body))


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_json_with_every_method(sent: Sent, method: str) -> None:
    request = await sent("/p", method=method, json={}, params={"a": 1})
    assert (request.method, request.target, request.body) == (method, "/p?a=1", b"{}")


async def test_json_with_a_content_type_of_headers(sent: Sent) -> None:
    headers = {"content-type": "application/problem+json"}
    request = await sent(method="POST", json={}, headers=headers)
    assert request.field("Content-Type") == "application/problem+json"
    assert request.raw.count(b"Content-Type") == 1


async def test_json_none_means_no_body(sent: Sent, fetch: Fetch, peer: RawPeer) -> None:
    request = await sent(json=None)
    assert (request.body, request.field("Content-Type")) == (b"", None)
    res = await fetch(peer.url(), method="POST", json=None)
    assert res.error is not None
    assert res.error.code is errors.REQUIRES_BODY
    assert "json" in res.error.message
    assert (await sent(method="POST", json=None, body="null")).body == b"null"


@pytest.mark.parametrize("body", ["", b"x", object()])
async def test_json_with_a_body(refused: Refused, body: Any) -> None:
    assert "only one of body, json and files" in str(await refused(TypeError, json={}, body=body))
    assert "only one of body, json and files" in str(
        await refused(TypeError, {"body": body}, json={})
    )


CYCLE: list[Any] = []
CYCLE.append(CYCLE)
DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({"a": object()}, TypeError),
        (b"bytes", TypeError),
        ({1, 2}, TypeError),
        ({(1, 2): 1}, TypeError),
        (float("nan"), ValueError),
        ([float("-inf")], ValueError),
        ("\ud800", ValueError),
        (CYCLE, ValueError),
        (DEEP, ValueError),
        (10**5000, ValueError),
    ],
    ids=range(10),
)
async def test_json_that_cannot_be_encoded(
    refused: Refused, value: Any, error: type[Exception]
) -> None:
    assert str(await refused(error, method="POST", json=value)).startswith("json")


@pytest.mark.parametrize("code", [303, 308])
async def test_json_after_a_redirect(fetch: Fetch, raw_peer: MakePeer, code: int) -> None:
    peer = await raw_peer(redirecting(code, lambda: "/end"))
    await fetch(peer.url("/start"), method="POST", json={"a": 1})
    kept = code == 308
    assert peer.requests[1].body == (b'{"a":1}' if kept else b"")
    assert peer.requests[1].field("Content-Type") == ("application/json" if kept else None)


@pytest.mark.kept
async def test_json_repeated_on_a_new_connection(fetch: Fetch, raw_peer: MakePeer) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(response(b"ok"))
        await conn.read_request()
        conn.close()

    peer = await raw_peer(script)
    for _ in range(2):
        await fetch(peer.url(), method="PUT", json={"a": 1})
    assert [request.body for request in peer.requests] == [b'{"a":1}'] * 3
