"""Every attribute of a response, and the framings of a body."""

from __future__ import annotations

import asyncio
import gzip
import time
import zlib
from typing import Any

import pytest
from tornado import gen

from tests.support import Connection, Fetch, MakeClient, MakePeer, Script, response
from turbo_tornado import FetchError, HTTPHeaders, HTTPResponse, errors

ALL_BYTES = bytes(range(256))
TEXT = b"compressed " * 1000


def gzipped(data: bytes, level: int = 9) -> bytes:
    # Without a timestamp, because the parameters must be the same in every process.
    return gzip.compress(data, level, mtime=0)


def head(*fields: str, status: str = "200 OK", version: str = "HTTP/1.1") -> bytes:
    return "\r\n".join([f"{version} {status}", *fields, "", ""]).encode("latin-1")


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


def until_close(data: bytes) -> Any:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(data)
        conn.close()

    return script


def byte_by_byte(data: bytes) -> Any:
    async def script(conn: Connection) -> None:
        while True:
            await conn.read_request()
            for position in range(len(data)):
                await conn.send(data[position : position + 1])
                # a turn of the loop in which the client reads it
                await asyncio.sleep(0)

    return script


# attributes


async def test_attributes_of_a_response(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"body", "X-Field: value", status="201 Made"))
    before = time.monotonic()
    res = await fetch(peer.url("/p?x=y#fragment"))
    elapsed = (time.monotonic() - before) * 1000
    assert type(res) is HTTPResponse
    assert res.error is None
    assert type(res.request) is HTTPHeaders
    assert res.request.stringify_as_request().encode() == peer.requests[0].raw
    assert type(res.code) is int and res.code == 201
    assert type(res.reason) is str and res.reason == "Made"
    assert type(res.headers) is HTTPHeaders
    assert list(res.headers.get_all()) == [("X-Field", "value"), ("Content-Length", "4")]
    assert res.headers.get_status_code() == 201
    assert type(res.body) is bytes and res.body == b"body"
    assert res.url == peer.url("/p?x=y")
    assert type(res.request_time) is float and 0 < res.request_time <= elapsed


async def test_attributes_of_an_error(fetch: Fetch, closed_port: int) -> None:
    before = time.monotonic()
    res = await fetch(f"http://127.0.0.1:{closed_port}/")
    elapsed = (time.monotonic() - before) * 1000
    assert type(res) is HTTPResponse
    assert res.error.code is errors.COULD_NOT_CONNECT
    assert res.error.code == -3
    assert type(res.error.message) is str
    assert "127.0.0.1" in res.error.message and str(closed_port) in res.error.message
    for name in ("request", "code", "reason", "headers", "body", "url"):
        assert getattr(res, name) is None, name
    assert type(res.request_time) is float and 0 < res.request_time <= elapsed


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("", {}),
        ("ftp://host/", {}),
        ("http://127.0.0.1/", {"method": "POST"}),
        ("http://127.0.0.1/", {"body": 1}),
    ],
)
async def test_request_time_of_an_unsent_request(
    fetch: Fetch, url: str, options: dict[str, Any]
) -> None:
    res = await fetch(url, **options)
    assert res.error is not None
    assert type(res.request_time) is float and 0 <= res.request_time < 10_000


async def test_request_time_includes_waiting(fetch: Fetch, server: Any) -> None:
    before = time.monotonic()
    res = await fetch(server.url("/slow/0.2"))
    assert 200 <= res.request_time <= (time.monotonic() - before) * 1000


@pytest.mark.parametrize(
    "code", [200, 201, 202, 206, 226, 299, 400, 401, 403, 404, 418, 429, 451, 500, 503, 599, 999]
)
@pytest.mark.kept
async def test_every_status_code_is_a_response(fetch: Fetch, raw_peer: MakePeer, code: int) -> None:
    peer = await raw_peer(response(b"body", status=f"{code} Words"))
    for _ in range(2):
        res = await fetch(peer.url())
        assert res.error is None, res.error
        assert (res.code, res.reason, res.body) == (code, "Words", b"body")
    assert peer.connections == 1


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("200 OK", "OK"),
        ("200 Fine Thanks", "Fine Thanks"),
        ("200 x", "x"),
        ("404 Nicht gefunden: \xe9", "Nicht gefunden: \xe9"),
        # the standard ones
        ("200 ", "OK"),
        ("200", "OK"),
        ("404 ", "Not Found"),
        ("503", "Service Unavailable"),
    ],
)
async def test_reason(fetch: Fetch, raw_peer: MakePeer, status: str, reason: str) -> None:
    peer = await raw_peer(response(b"body", status=status))
    res = await fetch(peer.url())
    assert res.error is None, res.error
    assert res.code == int(status[:3])
    assert res.reason == reason
    assert res.body == b"body"


@pytest.mark.parametrize("status", ["299 ", "799"])
async def test_unknown_status_code_without_reason(
    fetch: Fetch, raw_peer: MakePeer, status: str
) -> None:
    peer = await raw_peer(response(status=status))
    res = await fetch(peer.url())
    assert res.code == int(status)
    assert type(res.reason) is str


@pytest.mark.parametrize(
    ("given", "final"),
    [
        ("http://127.0.0.1:{port}", "http://127.0.0.1:{port}"),
        ("http://127.0.0.1:{port}/", "http://127.0.0.1:{port}/"),
        ("http://127.0.0.1:{port}?q", "http://127.0.0.1:{port}?q"),
        ("HTTP://127.0.0.1:{port}/P", "http://127.0.0.1:{port}/P"),
        ("http://LocalHost:{port}/P", "http://localhost:{port}/P"),
        ("http://127.0.0.1:0{port}/", "http://127.0.0.1:{port}/"),
        ("http://user:pass@127.0.0.1:{port}/p", "http://127.0.0.1:{port}/p"),
        ("http://127.0.0.1:{port}/p#fragment", "http://127.0.0.1:{port}/p"),
        ("http://127.0.0.1:{port}/ü?€", "http://127.0.0.1:{port}/%C3%BC?%E2%82%AC"),
        ("http://127.0.0.1:{port}/a/../b//c", "http://127.0.0.1:{port}/a/../b//c"),
    ],
)
async def test_url(fetch: Fetch, raw_peer: MakePeer, given: str, final: str) -> None:
    peer = await raw_peer(response())
    if ":0{port}" in given and peer.port > 9999:
        given = given.replace(":0", ":")
    res = await fetch(given.format(port=peer.port))
    assert res.error is None, res.error
    assert res.url == final.format(port=peer.port)


async def test_url_includes_params(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response())
    assert (await fetch(peer.url("/p?x=y"), params={"a": "b c"})).url == peer.url("/p?x=y&a=b%20c")
    res = await fetch(peer.url("/p"), method="POST", params={"a": 1})
    assert res.url == peer.url("/p")


async def test_headers_as_received(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(
        head(
            "Set-Cookie: a=1; Path=/",
            "x-lower:no space",
            "X-Padded: \t padded \t ",
            "X-Empty:",
            "X-Latin: \xe9",
            "set-cookie: b=2",
            "X-Colons: a:b: c",
            "content-length: 0",
        )
    )
    headers = (await fetch(peer.url())).headers
    assert headers.get_list("Set-Cookie") == ["a=1; Path=/", "b=2"]
    assert headers.get("SET-COOKIE", True) == "a=1; Path=/,b=2"
    assert headers["X-Lower"] == "no space"
    assert headers["X-Padded"] == "padded"
    assert headers["X-Empty"] == ""
    assert headers["X-Latin"] == "\xe9"
    assert headers["X-Colons"] == "a:b: c"
    assert headers.get("X-Missing") is None


@pytest.mark.parametrize("path", ["/many-headers/0", "/many-headers/100", "/many-headers/500"])
async def test_many_headers(fetch: Fetch, server: Any, path: str) -> None:
    res = await fetch(server.url(path))
    count = int(path.rpartition("/")[2])
    assert sum(name.startswith("X-Field-") for name in res.headers) == count


# the future


async def test_fetch_returns_a_future_at_once(make_client: MakeClient, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"ok"))
    future = make_client().fetch(peer.url())
    assert asyncio.isfuture(future)
    assert not future.done() and peer.connections == 0
    called: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.add_done_callback(called.set_result)
    assert (await called) is future
    assert future.result().body == b"ok"
    assert future.exception() is None
    assert (await future) is future.result()


async def test_fetch_in_a_tornado_coroutine(make_client: MakeClient, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"ok"))

    @gen.coroutine
    def both() -> Any:
        one = yield make_client().fetch(peer.url())
        two = yield [make_client().fetch(peer.url()), make_client().fetch(peer.url())]
        return [one, *two]

    assert [res.body for res in await both()] == [b"ok"] * 3


# bodies


@pytest.mark.parametrize("body", [b"", b"\0", b"text", ALL_BYTES, ALL_BYTES * 8192, b"\r\n" * 9])
@pytest.mark.kept
async def test_body_with_content_length(fetch: Fetch, raw_peer: MakePeer, body: bytes) -> None:
    peer = await raw_peer(response(body))
    for _ in range(2):
        res = await fetch(peer.url())
        assert type(res.body) is bytes
        assert res.body == body
    assert peer.connections == 1


@pytest.mark.parametrize("field", ["Content-Length: 10", "Transfer-Encoding: chunked"])
async def test_response_204_has_no_body(fetch: Fetch, raw_peer: MakePeer, field: str) -> None:
    peer = await raw_peer(head(field, status="204 No Content"))
    for connections in (1, 2):
        res = await fetch(peer.url())
        assert (res.code, res.body) == (204, b"")
        # The peer may send the body that it has announced.
        assert peer.connections == connections


@pytest.mark.parametrize(
    "data",
    [
        head(status="204 No Content"),
        head("Content-Length: 0", status="204 No Content"),
        head("Transfer-Encoding: chunked", status="304 Not Modified"),
        head(status="304 Not Modified"),
        head("Content-Length: 10", status="304 Not Modified"),
        head("Content-Encoding: gzip", "Content-Length: 10", status="304 Not Modified"),
        head("Content-Encoding: gzip", status="204 No Content"),
    ],
)
@pytest.mark.kept
async def test_status_codes_without_a_body(fetch: Fetch, raw_peer: MakePeer, data: bytes) -> None:
    peer = await raw_peer(data)
    for _ in range(2):
        res = await fetch(peer.url())
        assert res.error is None, res.error
        assert res.code in (204, 304)
        assert res.body == b""
    assert peer.connections == 1


@pytest.mark.parametrize(
    "data",
    [
        head(),
        head("Content-Length: 0"),
        head("Content-Length: 1000"),
        head("Transfer-Encoding: chunked"),
        head("Content-Encoding: gzip", "Content-Length: 1000"),
        head("Content-Encoding: gzip", "Transfer-Encoding: chunked"),
        head("Content-Length: 1000", status="404 Not Found"),
        head("Content-Length: 99999999999", status="500 No"),
    ],
)
@pytest.mark.kept
async def test_response_to_head_has_no_body(fetch: Fetch, raw_peer: MakePeer, data: bytes) -> None:
    peer = await raw_peer(data)
    for _ in range(2):
        res = await fetch(peer.url(), method="HEAD")
        assert res.error is None, res.error
        assert res.body == b""
    assert res.headers.get("Content-Length") == (
        dict(line.split(": ") for line in data.decode().split("\r\n")[1:-2]).get("Content-Length")
    )
    assert peer.connections == 1


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PURGE"])
async def test_response_body_of_every_method(fetch: Fetch, raw_peer: MakePeer, method: str) -> None:
    peer = await raw_peer(response(b"body"))
    body = b"data" if method == "POST" else None
    assert (await fetch(peer.url(), method=method, body=body)).body == b"body"


@pytest.mark.parametrize(
    "interim",
    [
        head(status="100 Continue"),
        head(status="100 Continue") * 5,
        head(status="102 Processing"),
        head("Link: </style.css>; rel=preload", "X-Interim: 1", status="103 Early Hints"),
        head(status="100 Continue") + head("X-Interim: 1", status="103 Early Hints"),
        head(status="199 Whatever"),
        head(status="100"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
@pytest.mark.kept
async def test_interim_responses(
    fetch: Fetch, raw_peer: MakePeer, method: str, interim: bytes
) -> None:
    peer = await raw_peer(interim + response(b"" if method == "HEAD" else b"body", "X-Last: 1"))
    for _ in range(2):
        res = await fetch(peer.url(), method=method, body=b"data" if method == "POST" else None)
        assert res.error is None, res.error
        assert (res.code, res.reason) == (200, "OK")
        assert list(res.headers) == ["X-Last", "Content-Length"]
        assert res.body == (b"" if method == "HEAD" else b"body")
    if method != "POST":
        assert peer.connections == 1


async def test_interim_responses_before_a_delayed_response(
    fetch: Fetch, raw_peer: MakePeer
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        for _ in range(3):
            await conn.send(head(status="102 Processing"))
            await asyncio.sleep(0.05)
        await conn.send(response(b"body"))

    peer = await raw_peer(script)
    assert (await fetch(peer.url())).body == b"body"


CHUNKED = head("Transfer-Encoding: chunked")


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (chunked(), b""),
        (chunked(b"body"), b"body"),
        (chunked(b"one ", b"two ", b"three"), b"one two three"),
        (chunked(*(bytes([byte]) for byte in ALL_BYTES)), ALL_BYTES),
        (chunked(ALL_BYTES * 4096), ALL_BYTES * 4096),
        (chunked(b"\r\n0\r\n\r\n"), b"\r\n0\r\n\r\n"),
        # digits
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"000004\r\nbody\r\n0000\r\n\r\n", b"body"),
        # extensions
        (b"4;name=value\r\nbody\r\n0\r\n\r\n", b"body"),
        (b'4;a="b;c";d\r\nbody\r\n0;last\r\n\r\n', b"body"),
        (b"4 ;name\r\nbody\r\n0\r\n\r\n", b"body"),
        # trailers
        (b"4\r\nbody\r\n0\r\nX-Trailer: 1\r\n\r\n", b"body"),
        (b"4\r\nbody\r\n0\r\nX-Trailer: 1\r\nX-Other: 2\r\n\r\n", b"body"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.kept
async def test_chunked(
    fetch: Fetch, raw_peer: MakePeer, method: str, data: bytes, body: bytes
) -> None:
    peer = await raw_peer(CHUNKED + data)
    for _ in range(2):
        res = await fetch(peer.url(), method=method, body=b"data" if method == "POST" else None)
        assert res.error is None, res.error
        assert res.body == body
        assert list(res.headers) == ["Transfer-Encoding"]
    if method != "POST":
        assert peer.connections == 1


@pytest.mark.parametrize("coding", ["chunked", "Chunked", "CHUNKED"])
async def test_coding_is_case_insensitive(fetch: Fetch, raw_peer: MakePeer, coding: str) -> None:
    peer = await raw_peer(head(f"transfer-encoding: {coding}") + chunked(b"body"))
    assert (await fetch(peer.url())).body == b"body"


@pytest.mark.parametrize(
    "data",
    [
        response(b"body", "X-Field: value"),
        head(status="100 Continue") + response(b"body"),
        CHUNKED + b"2;ext\r\nbo\r\n2\r\ndy\r\n0\r\nX-Trailer: 1\r\n\r\n",
        response(gzipped(b"body"), "Content-Encoding: gzip"),
    ],
)
@pytest.mark.kept
async def test_response_in_single_bytes(fetch: Fetch, raw_peer: MakePeer, data: bytes) -> None:
    peer = await raw_peer(byte_by_byte(data))
    for _ in range(2):
        res = await fetch(peer.url())
        assert res.error is None, res.error
        assert res.body == b"body"
    assert peer.connections == 1


@pytest.mark.parametrize("body", [b"", b"body", ALL_BYTES * 8192])
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
@pytest.mark.parametrize("fields", [(), ("Connection: close",)])
async def test_body_without_length_ends_with_the_connection(
    fetch: Fetch, raw_peer: MakePeer, version: str, body: bytes, fields: tuple[str, ...]
) -> None:
    peer = await raw_peer(until_close(head(*fields, version=version) + body))
    for number in (1, 2):
        res = await fetch(peer.url())
        assert res.error is None, res.error
        assert res.code == 200
        assert res.body == body
        assert peer.connections == number


async def test_http_1_0_response_with_content_length(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"body", version="HTTP/1.0"))
    for number in (1, 2):
        assert (await fetch(peer.url())).body == b"body"
        # HTTP/1.0 without the header Connection: keep-alive
        assert peer.connections == number


async def test_http_1_0_response_with_keep_alive(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"body", "Connection: keep-alive", version="HTTP/1.0"))
    for _ in range(2):
        assert (await fetch(peer.url())).body == b"body"


# gzip


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (gzipped(TEXT), TEXT),
        (gzipped(b""), b""),
        (gzipped(ALL_BYTES, 0), ALL_BYTES),
        # several members
        (
            gzipped(b"one ") + gzipped(b"two ") + gzipped(b"three"),
            b"one two three",
        ),
        (gzipped(TEXT) + gzipped(b""), TEXT),
        (gzipped(b"") + gzipped(TEXT), TEXT),
        # an empty body
        (b"", b""),
        # far more than arrived
        (gzipped(b"\0" * 3_000_000), b"\0" * 3_000_000),
    ],
)
@pytest.mark.parametrize("way", ["length", "chunked", "small-chunks", "until-close"])
@pytest.mark.kept
async def test_gzip(fetch: Fetch, raw_peer: MakePeer, way: str, data: bytes, body: bytes) -> None:
    encoding = "Content-Encoding: gzip"
    script: Any
    if way == "length":
        script = response(data, encoding)
    elif way == "chunked":
        script = head(encoding, "Transfer-Encoding: chunked") + chunked(*([data] if data else []))
    elif way == "small-chunks":
        pieces = [data[at : at + 100] for at in range(0, len(data), 100)]
        script = head(encoding, "Transfer-Encoding: chunked") + chunked(*pieces)
    else:
        script = until_close(head(encoding) + data)
    peer = await raw_peer(script)
    for _ in range(2):
        res = await fetch(peer.url())
        assert res.error is None, res.error
        assert res.body == body
        # as received
        assert res.headers["Content-Encoding"] == "gzip"
    assert peer.connections == (2 if way == "until-close" else 1)


async def test_content_length_of_gzip_is_unchanged(fetch: Fetch, raw_peer: MakePeer) -> None:
    data = gzipped(TEXT)
    peer = await raw_peer(response(data, "Content-Encoding: gzip"))
    assert (await fetch(peer.url())).headers["Content-Length"] == str(len(data))


@pytest.mark.parametrize("name", ["GZIP", "Gzip", "x-gzip", ",gzip", "identity, gzip", "gzip,"])
async def test_content_codings_of_gzip(fetch: Fetch, raw_peer: MakePeer, name: str) -> None:
    peer = await raw_peer(response(gzipped(TEXT), f"Content-Encoding: {name}"))
    assert (await fetch(peer.url())).body == TEXT


async def test_several_codings_are_not_decoded(fetch: Fetch, raw_peer: MakePeer) -> None:
    data = gzipped(gzipped(TEXT))
    fields = ["Content-Encoding: gzip", "Content-Encoding:", "Content-Encoding: gzip"]
    peer = await raw_peer(response(data, *fields))
    assert (await fetch(peer.url())).body == data


@pytest.mark.parametrize("name", ["identity", "br", "deflate", "zstd", "unheard-of", "br, gzip"])
async def test_unoffered_codings_are_not_decoded(
    fetch: Fetch, raw_peer: MakePeer, name: str
) -> None:
    peer = await raw_peer(response(ALL_BYTES, f"Content-Encoding: {name}"))
    res = await fetch(peer.url())
    assert res.error is None, res.error
    assert res.body == ALL_BYTES


async def test_gzip_without_content_encoding_is_not_decoded(
    fetch: Fetch, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(response(gzipped(TEXT)))
    assert gzip.decompress((await fetch(peer.url())).body) == TEXT


# text and JSON


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        (None, "é€".encode(), "é€"),
        ("text/plain", "é€".encode(), "é€"),
        ("text/plain; charset=utf-8", "é€".encode(), "é€"),
        ("text/plain; charset=ISO-8859-1", b"\xe9", "é"),
        ('text/plain; x=y ;Charset = "windows-1252"', b"\x80", "€"),
        ("text/plain; charset=utf-16", "é".encode("utf-16"), "é"),
        ("text/plain; charset=koi8-u", "ї".encode("koi8-u"), "ї"),
        ("text/plain; charset=unheard-of", "é".encode(), "é"),
        ("text/plain; charset=", "é".encode(), "é"),
        ("text/plain; charset=os.path", b"a", "a"),
        # Codecs of Python that are not charsets.
        ("text/plain; charset=hex", b"6162", "6162"),
        ("text/plain; charset=rot13", b"abc", "abc"),
        ("text/plain; charset=idna", b"xn--mnchen-3ya", "xn--mnchen-3ya"),
        ("text/plain; charset=punycode", b"mnchen-3ya", "mnchen-3ya"),
        ("text/plain; charset=unicode_escape", b"\\u20ac", "\\u20ac"),
        (None, b"a\xffb", "a\ufffdb"),
        (None, b"", ""),
    ],
)
async def test_text(
    fetch: Fetch, raw_peer: MakePeer, content_type: str | None, body: bytes, text: str
) -> None:
    fields = [] if content_type is None else [f"Content-Type: {content_type}"]
    peer = await raw_peer(response(body, *fields))
    assert (await fetch(peer.url())).text == text


async def test_json(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response('{"é": [1, null]}'.encode(), "Content-Type: text/plain"))
    assert (await fetch(peer.url())).raise_for_error().json() == {"é": [1, None]}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"[" * 200_000, b"1" * 10_000 + b"]"], ids=range(5)
)
async def test_invalid_json(fetch: Fetch, raw_peer: MakePeer, body: bytes) -> None:
    peer = await raw_peer(response(body))
    res = await fetch(peer.url())
    with pytest.raises(ValueError):
        res.json()


async def test_raise_for_error_ignores_status_codes(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"{}", status="500 Oh"))
    res = await fetch(peer.url())
    assert res.raise_for_error() is res
    assert (res.json(), res.text) == ({}, "{}")


async def test_text_and_json_raise_the_error(fetch: Fetch, closed_port: int) -> None:
    res = await fetch(f"http://127.0.0.1:{closed_port}/")
    for use in (res.raise_for_error, res.json, lambda: res.text):
        with pytest.raises(FetchError) as info:
            use()
        assert info.value == res.error
        assert info.value.code is errors.COULD_NOT_CONNECT


# a real server


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/gzip", b"compressed " * 100),
        ("/chunked", b"one two three"),
        ("/bytes/0", b""),
        ("/bytes/3000000", b"x" * 3_000_000),
        ("/status/204", b""),
        ("/status/404", b"404"),
    ],
)
@pytest.mark.kept
async def test_response_of_a_tornado_server(
    fetch: Fetch, server: Any, path: str, body: bytes
) -> None:
    for _ in range(2):
        res = await fetch(server.url(path))
        assert res.error is None, res.error
        assert res.body == body
    assert server.connections == 1


async def test_repeated_set_cookie_headers(fetch: Fetch, server: Any) -> None:
    res = await fetch(server.url("/set-cookie"))
    assert res.headers.get_list("Set-Cookie") == ["a=1; Path=/", "b=2; Path=/; HttpOnly"]


# connections


@pytest.mark.kept
async def test_idle_connection_is_reused(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"ok"))
    for _ in range(5):
        # A new client for each fetch, because connections belong to the loop.
        assert (await fetch(peer.url())).body == b"ok"
    assert [request.connection for request in peer.requests] == [1] * 5


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"])
@pytest.mark.kept
async def test_idle_connection_is_reused_by_every_method(
    fetch: Fetch, raw_peer: MakePeer, method: str
) -> None:
    peer = await raw_peer(response())
    body = b"data" if method in ("POST", "PUT", "PATCH") else None
    for _ in range(3):
        assert (await fetch(peer.url(), method=method, body=body)).code == 200
    assert [request.connection for request in peer.requests] == [1, 1, 1]


async def test_each_fetch_without_keep_alive_opens_a_connection(
    fetch: Fetch, raw_peer: MakePeer, make_client: MakeClient
) -> None:
    peer = await raw_peer(response(b"ok"))
    client = make_client()
    for _ in range(3):
        assert (await fetch(peer.url(), client=client, keep_alive=False)).body == b"ok"
    assert [request.connection for request in peer.requests] == [1, 2, 3]


@pytest.mark.kept
async def test_fetch_without_keep_alive_does_not_use_the_pool(
    fetch: Fetch, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(response(b"ok"))
    for keep_alive in (True, False, True, False, True):
        await fetch(peer.url(), keep_alive=keep_alive)
    assert [request.connection for request in peer.requests] == [1, 2, 1, 3, 1]


async def test_connection_is_closed_without_keep_alive(fetch: Fetch, raw_peer: MakePeer) -> None:
    closed = asyncio.Event()

    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(response(b"ok"))
        await conn.wait_closed_by_client()
        closed.set()

    peer = await raw_peer(script)
    assert (await fetch(peer.url(), keep_alive=False)).body == b"ok"
    await closed.wait()


@pytest.mark.parametrize("fields", [("Connection: close",), ("connection: CLOSE",)])
async def test_connection_is_not_reused_after_connection_close(
    fetch: Fetch, raw_peer: MakePeer, fields: tuple[str, ...]
) -> None:
    peer = await raw_peer(response(b"ok", *fields))
    for number in (1, 2):
        assert (await fetch(peer.url())).body == b"ok"
        assert peer.connections == number


async def test_bytes_after_the_response_are_not_the_next_response(
    fetch: Fetch, raw_peer: MakePeer
) -> None:
    async def script(conn: Connection) -> None:
        while True:
            request = await conn.read_request()
            poison = response(b"poison") if request.target == "/first" else b""
            await conn.send(response(b"ok") + poison)

    peer = await raw_peer(script)
    for path in ("/first", "/second", "/first", "/third"):
        assert (await fetch(peer.url(path))).body == b"ok"


@pytest.mark.kept
async def test_origins_do_not_share_connections(fetch: Fetch, raw_peer: MakePeer) -> None:
    one, two = await raw_peer(response(b"one")), await raw_peer(response(b"two"))
    for _ in range(2):
        assert (await fetch(one.url())).body == b"one"
        assert (await fetch(two.url())).body == b"two"
    assert (one.connections, two.connections) == (1, 1)


@pytest.mark.kept
async def test_concurrent_fetches_do_not_share_a_connection(
    fetch: Fetch, raw_peer: MakePeer
) -> None:
    arrived = asyncio.Event()

    async def script(conn: Connection) -> None:
        while True:
            await conn.read_request()
            if len(conn.peer.requests) == 3:
                arrived.set()
            await arrived.wait()
            await conn.send(response(b"ok"))

    peer = await raw_peer(script)
    results = await asyncio.gather(*(fetch(peer.url()) for _ in range(3)))
    assert [res.body for res in results] == [b"ok"] * 3
    assert peer.connections == 3
    results = await asyncio.gather(*(fetch(peer.url()) for _ in range(3)))
    assert [res.body for res in results] == [b"ok"] * 3
    assert peer.connections == 3


async def test_connection_closed_by_the_peer_is_not_reused(
    fetch: Fetch, raw_peer: MakePeer
) -> None:
    closed = asyncio.Event()

    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(response(b"ok"))
        conn.close()
        closed.set()

    peer = await raw_peer(script)
    for method in ("GET", "POST", "GET"):
        closed.clear()
        body = b"data" if method == "POST" else None
        assert (await fetch(peer.url(), method=method, body=body)).body == b"ok"
        await closed.wait()
        # On loopback, the kernel has the FIN at once, before the loop of the client has polled.
        for _ in range(5):
            await asyncio.sleep(0)
    assert [request.connection for request in peer.requests] == [1, 2, 3]


def ending_at_the_second_request(end: str) -> Script:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(response())
        await conn.read_request()
        getattr(conn, end)()

    return script


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"])
@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.kept
async def test_request_on_a_closed_connection_is_retried(
    fetch: Fetch, raw_peer: MakePeer, method: str, end: str
) -> None:
    peer = await raw_peer(ending_at_the_second_request(end))
    await fetch(peer.url("/first"))
    body = b"data" if method == "PUT" else None
    res = await fetch(peer.url("/second"), method=method, body=body)
    assert res.code == 200, res.error
    assert [request.target for request in peer.requests] == ["/first", "/second", "/second"]
    assert [request.connection == 1 for request in peer.requests] == [True, True, False]
    assert peer.requests[1].raw == peer.requests[2].raw
    assert peer.requests[1].body == peer.requests[2].body


@pytest.mark.kept
async def test_request_is_retried_only_once(fetch: Fetch, raw_peer: MakePeer) -> None:
    async def script(conn: Connection) -> None:
        if (await conn.read_request()).target == "/first":
            await conn.send(response())
            await conn.read_request()
        conn.close()

    peer = await raw_peer(script)
    await fetch(peer.url("/first"))
    res = await fetch(peer.url("/second"))
    assert res.error is not None and res.error.code is errors.NO_HEADERS, res
    assert [request.target for request in peer.requests] == ["/first", "/second", "/second"]


@pytest.mark.parametrize("method", ["POST", "PATCH", "PURGE"])
@pytest.mark.parametrize(
    ("end", "code"), [("close", errors.NO_HEADERS), ("reset", errors.SOCKET_ERROR)]
)
@pytest.mark.kept
async def test_request_that_is_not_idempotent_is_not_retried(
    fetch: Fetch, raw_peer: MakePeer, method: str, end: str, code: errors
) -> None:
    peer = await raw_peer(ending_at_the_second_request(end))
    await fetch(peer.url("/first"))
    res = await fetch(peer.url("/second"), method=method, body=b"data")
    assert res.error.code is code, res.error
    assert [request.target for request in peer.requests] == ["/first", "/second"]


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_request_on_a_new_connection_is_not_retried(
    fetch: Fetch, raw_peer: MakePeer, method: str
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        conn.close()

    peer = await raw_peer(script)
    res = await fetch(peer.url(), method=method, body=b"data" if method == "PUT" else None)
    assert res.error.code is errors.NO_HEADERS
    assert len(peer.requests) == 1


@pytest.mark.kept
async def test_request_is_not_retried_after_the_first_byte_of_a_response(
    fetch: Fetch, raw_peer: MakePeer
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(response())
        await conn.read_request()
        await conn.send(b"HTTP/1.1 2")
        conn.close()

    peer = await raw_peer(script)
    await fetch(peer.url("/first"))
    res = await fetch(peer.url("/second"))
    assert res.error is not None and res.error.code is errors.SOCKET_ERROR, res
    assert [request.target for request in peer.requests] == ["/first", "/second"]


@pytest.mark.parametrize("padding", [1, 8, 100_000])
async def test_zeros_after_gzip_are_ignored(fetch: Fetch, raw_peer: MakePeer, padding: int) -> None:
    packed = gzip.compress(b"first") + bytes(padding) + gzip.compress(b"second") + bytes(padding)
    peer = await raw_peer(response(packed, "Content-Encoding: gzip"))
    res = await fetch(peer.url())
    assert (res.error, res.body) == (None, b"firstsecond")


async def test_gzip_of_short_pieces(fetch: Fetch, raw_peer: MakePeer) -> None:
    # A server that sends events one by one compresses like this.
    packed = gzip.compress(b"x") * 5_000
    packer = zlib.compressobj(wbits=31)
    packed += b"".join(
        packer.compress(b"y") + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(5_000)
    )
    peer = await raw_peer(response(packed + packer.flush(), "Content-Encoding: gzip"))
    res = await fetch(peer.url())
    assert (res.error, res.body) == (None, b"x" * 5_000 + b"y" * 5_000)
