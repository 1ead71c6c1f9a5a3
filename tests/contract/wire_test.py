"""The bytes of a request on the wire, and ``response.request``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import turbo_tornado
from tests.support import Connection, Fetch, MakeClient, MakePeer, RawPeer, Request, response
from turbo_tornado import HTTPHeaders, HTTPResponse

USER_AGENT = f"Turbo Client v{turbo_tornado.__version__}"
FORM = "application/x-www-form-urlencoded"
MEGABYTES = bytes(range(256)) * 8192


@pytest.fixture
async def peer(raw_peer: MakePeer) -> RawPeer:
    return await raw_peer(response(b"ok"))


def assert_is_what_arrived(res: HTTPResponse, request: Request) -> None:
    assert res.request.get_method() == request.method
    assert res.request.get_uri() == request.target
    assert res.request.get_version() == request.version
    assert list(res.request.get_all()) == request.fields
    # libcurl does not send a space after the colon of an empty header.
    raw = request.raw.replace(b":\r\n", b": \r\n")
    assert res.request.stringify_as_request().encode("latin-1") == raw


# line, body, headers except for Host, User-Agent and Accept-Encoding
REQUESTS: list[tuple[dict[str, Any], str, bytes, list[tuple[str, str]]]] = [
    ({}, "GET /p?x=y HTTP/1.1", b"", []),
    ({"params": {"a": 1}}, "GET /p?x=y&a=1 HTTP/1.1", b"", []),
    ({"method": "head"}, "HEAD /p?x=y HTTP/1.1", b"", []),
    ({"method": "DELETE"}, "DELETE /p?x=y HTTP/1.1", b"", []),
    ({"method": "OPTIONS"}, "OPTIONS /p?x=y HTTP/1.1", b"", []),
    ({"method": "TRACE"}, "TRACE /p?x=y HTTP/1.1", b"", []),
    ({"method": "purge"}, "PURGE /p?x=y HTTP/1.1", b"", []),
    (
        {"method": "POST", "body": b"data"},
        "POST /p?x=y HTTP/1.1",
        b"data",
        [("Content-Length", "4")],
    ),
    (
        {"method": "POST", "body": ""},
        "POST /p?x=y HTTP/1.1",
        b"",
        [("Content-Length", "0")],
    ),
    (
        {"method": "POST", "params": {"a": "b c"}},
        "POST /p?x=y HTTP/1.1",
        b"a=b%20c",
        [("Content-Type", FORM), ("Content-Length", "7")],
    ),
    (
        {"method": "PUT", "body": MEGABYTES},
        "PUT /p?x=y HTTP/1.1",
        MEGABYTES,
        [("Content-Length", str(len(MEGABYTES)))],
    ),
    (
        {"method": "POST", "body": MEGABYTES},
        "POST /p?x=y HTTP/1.1",
        MEGABYTES,
        [("Content-Length", str(len(MEGABYTES)))],
    ),
    (
        {"method": "PATCH", "body": "é"},
        "PATCH /p?x=y HTTP/1.1",
        "é".encode(),
        [("Content-Length", "2")],
    ),
    (
        {"method": "DELETE", "body": b"data"},
        "DELETE /p?x=y HTTP/1.1",
        b"data",
        [("Content-Length", "4")],
    ),
    (
        {"method": "GET", "body": b"data"},
        "GET /p?x=y HTTP/1.1",
        b"data",
        [("Content-Length", "4")],
    ),
    (
        {"method": "HEAD", "body": b"data"},
        "HEAD /p?x=y HTTP/1.1",
        b"data",
        [("Content-Length", "4")],
    ),
    (
        {"method": "OPTIONS", "body": MEGABYTES},
        "OPTIONS /p?x=y HTTP/1.1",
        MEGABYTES,
        [("Content-Length", str(len(MEGABYTES)))],
    ),
    (
        {"method": "PROPFIND", "body": b"<x/>"},
        "PROPFIND /p?x=y HTTP/1.1",
        b"<x/>",
        [("Content-Length", "4")],
    ),
    (
        {"method": "POST", "body": b"data", "http_version": "HTTP/1.0"},
        "POST /p?x=y HTTP/1.0",
        b"data",
        [("Content-Length", "4")],
    ),
    ({"keep_alive": False}, "GET /p?x=y HTTP/1.1", b"", [("Connection", "close")]),
    (
        {
            "method": "DELETE",
            "params": [("a", 1)],
            "cookie": {"c": "1"},
            "auth_username": "user",
            "auth_password": "pass",
            "keep_alive": False,
        },
        "DELETE /p?x=y HTTP/1.1",
        b"a=1",
        [
            ("Authorization", "Basic dXNlcjpwYXNz"),
            ("Cookie", "c=1"),
            ("Content-Type", FORM),
            ("Content-Length", "3"),
            ("Connection", "close"),
        ],
    ),
]


@pytest.mark.parametrize(("options", "line", "body", "fields"), REQUESTS)
@pytest.mark.kept
async def test_bytes_of_a_request(
    fetch: Fetch,
    raw_peer: MakePeer,
    options: dict[str, Any],
    line: str,
    body: bytes,
    fields: list[tuple[str, str]],
) -> None:
    peer = await raw_peer(response())
    res = await fetch(peer.url("/p?x=y"), **options)
    assert res.error is None, res.error
    (request,) = peer.requests
    assert request.line == line
    assert request.fields == [
        ("Host", f"127.0.0.1:{peer.port}"),
        ("User-Agent", USER_AGENT),
        ("Accept-Encoding", "gzip"),
        *fields,
    ]
    assert request.body == body
    assert_is_what_arrived(res, request)


@pytest.mark.parametrize("options", [row[0] for row in REQUESTS])
@pytest.mark.kept
async def test_same_bytes_on_a_reused_connection(
    fetch: Fetch, raw_peer: MakePeer, options: dict[str, Any]
) -> None:
    peer = await raw_peer(response())
    for _ in range(3):
        assert_is_what_arrived(await fetch(peer.url(), **options), peer.requests[-1])
    first, second, third = peer.requests
    assert first.raw == second.raw == third.raw
    assert first.body == second.body == third.body
    if options.get("keep_alive", True) and first.method in ("GET", "HEAD", "PUT", "DELETE"):
        assert peer.connections == 1


@pytest.mark.parametrize(
    "on_headers",
    [
        lambda h: h.add("X-Added", "1"),
        lambda h: [h.add("X-Twice", "1"), h.add("X-Other", "é"), h.add("x-twice", "2")],
        lambda h: h.set("Host", "example.test"),
        lambda h: h.set("User-Agent", "mine"),
        lambda h: h.remove("User-Agent"),
        lambda h: h.remove("Accept-Encoding"),
        lambda h: h.remove("Host"),
        lambda h: [h.set("Accept", "*/*"), h.set("Content-Type", "text/plain")],
        lambda h: h.set("X-Empty", ""),
        lambda h: h.set("Connection", ""),
        lambda h: h.set("Host", ""),
        lambda h: h.set("Content-Length", 999),
        lambda h: h.set("Connection", "close"),
        lambda h: h.set_method("PURGE"),
        lambda h: h.set_uri("/other/../path//?x=y"),
        lambda h: h.set_version("HTTP/1.0"),
        lambda h: h.set("X-Long", "v" * 10_000),
        lambda h: [h.set(f"X-Field-{number}", str(number)) for number in range(100)],
    ],
)
async def test_bytes_after_on_headers(
    fetch: Fetch, peer: RawPeer, on_headers: Callable[[HTTPHeaders], None]
) -> None:
    for method, body in (("GET", None), ("POST", b"data"), ("GET", b"data")):
        res = await fetch(peer.url("/p"), method=method, body=body, on_headers=on_headers)
        assert res.error is None, res.error
        assert_is_what_arrived(res, peer.requests[-1])
        assert peer.requests[-1].body == (body or b"")


@pytest.mark.parametrize(
    ("fields", "lines"),
    [
        (
            [("X-Empty", ""), ("Connection", "a"), ("X-A", "1")],
            ["X-A: 1", "X-Empty: ", "Connection: a"],
        ),
        ([("Expect", "100-continue"), ("X-A", "1")], ["X-A: 1", "Expect: 100-continue"]),
        ([("X-A", "1"), ("Host", "h"), ("Expect", "x")], ["X-A: 1", "Host: h", "Expect: x"]),
        ([("Connection", "a"), ("X-Empty", "")], ["X-Empty:", "Connection: a"]),
        ([("Expect", "100-continue")], ["Expect: 100-continue"]),
        ([], []),
    ],
)
async def test_bytes_without_host_as_the_first_header(
    fetch: Fetch, raw_peer: MakePeer, fields: list[tuple[str, str]], lines: list[str]
) -> None:
    def on_headers(headers: HTTPHeaders) -> None:
        for name in list(headers):
            headers.remove(name)
        for name, value in fields:
            headers.add(name, value)

    async def script(conn: Connection) -> None:
        heads.append(await conn.reader.readuntil(b"\r\n\r\n"))
        # A response to Expect: 100-continue, after which the body is not sent.
        await conn.send(response(b"no", "Connection: close", status="417 Expectation Failed"))

    heads: list[bytes] = []
    peer = await raw_peer(script)
    for method, body, more in (
        ("GET", None, []),
        ("POST", b"body", ["Content-Length: 4"]),
    ):
        res = await fetch(peer.url("/"), method=method, body=body, on_headers=on_headers)
        assert (res.error, res.code) == (None, 417)
        expected = [f"{method} / HTTP/1.1", *lines, *more, "", ""]
        if more and lines in (["X-Empty:", "Connection: a"], ["Expect: 100-continue"]):
            # One of the headers can be the first.
            expected = [expected[0], *more, *(f"{name}: {value}" for name, value in fields), "", ""]
        assert heads.pop().decode() == "\r\n".join(expected)
        assert not heads


@pytest.mark.parametrize("white", [" ", "\t", "  \t "])
async def test_white_space_is_not_part_of_a_value(
    fetch: Fetch, raw_peer: MakePeer, white: str
) -> None:
    def on_headers(headers: HTTPHeaders) -> None:
        headers.set("X-White", white)
        headers.set("X-Listed", "")
        # Bypasses the checks of the mapping.
        headers._as_list["X-Listed"][0] = white

    peer = await raw_peer(response())
    for options in (
        {"cookie": white},
        {"user_agent": white},
        {"cookie": f"a=b{white}", "user_agent": f"{white}agent{white}"},
        {"on_headers": on_headers},
    ):
        res = await fetch(peer.url(), **options)
        [request] = peer.requests
        assert_is_what_arrived(res, request)
        assert white + "\r\n" not in request.raw.decode().replace(": \r\n", ":\r\n")
        peer.requests.clear()


async def test_head_over_the_limit(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response())
    limit = 960 * 1024
    for options in (
        {"cookie": "c" * limit},
        {"on_headers": lambda headers: headers.set("X-Long", "v" * limit)},
        {"params": {"p": "v" * limit}},
    ):
        with pytest.raises(ValueError, match=f"exceed {limit} bytes"):
            await fetch(peer.url(), **options)
    assert not peer.requests


@pytest.mark.kept
async def test_head_at_the_limit(fetch: Fetch, raw_peer: MakePeer) -> None:
    async def script(conn: Connection) -> None:
        for answer in (moved, response()):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                data = await conn.reader.read(2**20)
                assert data
                head += data
            heads.append(head)
            await conn.send(answer)

    # The target of a redirect exceeds the limit.
    path = "/" + "p" * 60_000
    moved = response(b"", f"Location: {path}", status="302 Found")
    heads: list[bytes] = []
    peer = await raw_peer(script)
    res = await fetch(peer.url(), cookie="c" * (960 * 1024 - 200))
    assert res.code == 200
    assert [len(head) // 100_000 for head in heads] == [9, 10]


async def test_headers_are_latin_1(fetch: Fetch, peer: RawPeer) -> None:
    await fetch(peer.url(), user_agent="é")
    assert b"\r\nUser-Agent: \xe9\r\n" in peer.requests[0].raw


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_bytes_after_the_request(fetch: Fetch, raw_peer: MakePeer, method: str) -> None:
    left: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(response())
        left.set_result(await conn.reader.read())

    peer = await raw_peer(script)
    body = b"data" if method == "POST" else None
    res = await fetch(peer.url(), method=method, body=body, keep_alive=False)
    assert res.code == 200
    assert await left == b""


@pytest.mark.parametrize("size", [1024 * 1024, 1024 * 1024 + 1, 5_000_000])
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_large_body_does_not_wait_for_100_continue(
    fetch: Fetch, peer: RawPeer, method: str, size: int
) -> None:
    body = b"0123456789" * (size // 10 + 1)
    res = await fetch(peer.url(), method=method, body=body[:size])
    assert res.code == 200
    (request,) = peer.requests
    assert request.field("Expect") is None
    assert request.field("Transfer-Encoding") is None
    assert request.body == body[:size]


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("body", [b"data", MEGABYTES], ids=["small", "large"])
async def test_expect_is_sent_like_any_header(
    fetch: Fetch, raw_peer: MakePeer, early: bool, body: bytes
) -> None:
    async def script(conn: Connection) -> None:
        if early:
            await conn.reader.readuntil(b"\r\n\r\n")
            await conn.send(response(b"no", status="417 Expectation Failed"))
        else:
            await conn.read_request()
            await conn.send(response(b"no", status="417 Expectation Failed"))

    peer = await raw_peer(script)
    res = await fetch(
        peer.url(),
        method="POST",
        body=body,
        on_headers=lambda headers: headers.set("Expect", "100-continue"),
    )
    assert (res.error, res.code, res.body) == (None, 417, b"no")
    # The request is not retried without the header.
    assert peer.connections == 1
    for request in peer.requests:
        assert_is_what_arrived(res, request)
        assert request.body == body


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/"),
        ("/", "/"),
        ("?q", "/?q"),
        ("/?", "/?"),
        ("#fragment", "/"),
        ("/#fragment", "/"),
        ("/a?b#c?d", "/a?b"),
        ("/a/../b", "/a/../b"),
        ("/a/./b/..", "/a/./b/.."),
        ("/..", "/.."),
        ("/%2e%2E/", "/%2e%2E/"),
        ("//x", "//x"),
        ("//", "//"),
        ("//example.test/x", "//example.test/x"),
        ("/a//b", "/a//b"),
        ("/a;b=c:d@e!$&'()*+,", "/a;b=c:d@e!$&'()*+,"),
        ("/?a=1&&b=http://example.test/?c", "/?a=1&&b=http://example.test/?c"),
        ("/%00%0a%20", "/%00%0a%20"),
        ("/" + "a" * 8000, "/" + "a" * 8000),
    ],
)
async def test_path_is_sent_unchanged(fetch: Fetch, peer: RawPeer, path: str, target: str) -> None:
    for method, body in (("GET", None), ("POST", b"data")):
        res = await fetch(peer.url(path), method=method, body=body)
        assert peer.requests[-1].target == target
        assert res.request.get_uri() == target
        assert res.url == peer.url(path.partition("#")[0])


class Enough(Exception):
    pass


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://example.test/", "example.test"),
        ("http://example.test:80/", "example.test"),
        ("http://example.test:/", "example.test"),
        ("https://example.test/", "example.test"),
        ("https://example.test:443/", "example.test"),
        ("http://example.test:443/", "example.test:443"),
        ("https://example.test:80/", "example.test:80"),
        ("http://example.test:0080/", "example.test"),
        ("http://example.test:8080/", "example.test:8080"),
        ("HTTP://Example.TEST:8080/", "example.test:8080"),
        ("http://user:pass@example.test:8080/", "example.test:8080"),
        ("http://[::1]/", "[::1]"),
        ("http://[::1]:80/", "[::1]"),
        ("http://[::1]:8080/", "[::1]:8080"),
        ("http://[2001:DB8::1]:8080/", "[2001:db8::1]:8080"),
        ("http://[fe80::1%25eth0]:8080/", "[fe80::1]:8080"),
        ("http://[fe80::1%25eth0]/", "[fe80::1]"),
        ("http://127.0.0.1/", "127.0.0.1"),
    ],
)
async def test_host_has_a_port_other_than_the_default(
    make_client: MakeClient, url: str, host: str
) -> None:
    seen = []

    def on_headers(headers: HTTPHeaders) -> None:
        seen.append(headers["Host"])
        # nothing listens there
        raise Enough

    with pytest.raises(Enough):
        make_client().fetch(url, on_headers=on_headers)
    assert seen == [host]


@pytest.mark.parametrize("options", [{}, {"method": "POST", "body": b"data"}])
@pytest.mark.kept
async def test_http_1_0(fetch: Fetch, raw_peer: MakePeer, options: dict[str, Any]) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")
        conn.close()

    peer = await raw_peer(script)
    for number in (1, 2):
        res = await fetch(peer.url("/p"), http_version="HTTP/1.0", **options)
        assert res.body == b"until the end"
        assert peer.connections == number
    request = peer.requests[0]
    assert request.version == "HTTP/1.0"
    assert request.field("Host") == f"127.0.0.1:{peer.port}"
    assert request.field("Connection") is None
    assert_is_what_arrived(res, request)


@pytest.mark.parametrize(
    "variables",
    [
        ("http_proxy", "HTTP_PROXY"),
        ("all_proxy", "ALL_PROXY"),
        ("https_proxy", "HTTPS_PROXY"),
    ],
)
async def test_proxy_variables_do_not_apply(
    fetch: Fetch,
    peer: RawPeer,
    raw_peer: MakePeer,
    monkeypatch: pytest.MonkeyPatch,
    variables: tuple[str, str],
) -> None:
    proxy = await raw_peer(response(b"from the proxy"))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in variables:
        monkeypatch.setenv(name, proxy.url(""))
    # By name as well, because a client can exempt loopback addresses.
    for host in ("127.0.0.1", "localhost"):
        assert (await fetch(f"http://{host}:{peer.port}/p")).body == b"ok"
    assert [request.target for request in peer.requests] == ["/p", "/p"]
    assert proxy.connections == 0


async def test_proxy_variables_do_not_apply_to_tls(
    make_client: MakeClient,
    raw_peer: MakePeer,
    certificates: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy = await raw_peer(response(b"from the proxy"))
    peer = await raw_peer(response(b"ok"), ssl_context=certificates.server_context())
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url(""))
    res = await make_client({"ca_path": certificates.ca}).fetch(peer.url())
    assert res.body == b"ok"
    assert proxy.connections == 0
    assert_is_what_arrived(res, peer.requests[0])


async def test_netrc_does_not_apply(
    fetch: Fetch, peer: RawPeer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in (".netrc", "_netrc"):
        (tmp_path / name).write_text("default login user password pass\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    await fetch(peer.url())
    assert peer.requests[0].field("Authorization") is None


async def test_transports_send_the_same_bytes(fetch: Fetch, peer: RawPeer) -> None:
    await fetch(
        f"http://user:pass@127.0.0.1:{peer.port}/ü?a=b#c",
        method="put",
        params={"x": [1, True]},
        cookie={"c": "1", "d": "2"},
        body="data",
        user_agent="agent",
        on_headers=lambda headers: headers.add("X-Added", "1"),
        keep_alive=False,
    )
    (request,) = peer.requests
    assert request.raw == (
        b"PUT /%C3%BC?a=b&x=1&x=true HTTP/1.1\r\n"
        b"Host: 127.0.0.1:" + str(peer.port).encode() + b"\r\n"
        b"User-Agent: agent\r\n"
        b"Accept-Encoding: gzip\r\n"
        b"Authorization: Basic dXNlcjpwYXNz\r\n"
        b"Cookie: c=1; d=2\r\n"
        b"Content-Length: 4\r\n"
        b"Connection: close\r\n"
        b"X-Added: 1\r\n"
        b"\r\n"
    )
    assert request.body == b"data"
