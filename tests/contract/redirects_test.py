"""Redirects, which the client follows by the same rules on every transport."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from tests.support import (
    Connection,
    Fetch,
    MakeClient,
    MakePeer,
    RawPeer,
    Script,
    response,
    watched,
)
from tests.support.phases import in_phase, require_phase
from turbo_tornado import HTTPClient, HTTPHeaders, HTTPResponse, errors

FORM = "application/x-www-form-urlencoded"
BODY_FIELDS = ("Content-Length", "Content-Type", "Transfer-Encoding")


def redirect(location: str | None, code: int = 302, body: bytes = b"") -> bytes:
    fields = [] if location is None else [f"Location: {location}"]
    return response(body, *fields, status=f"{code} Redirect")


def site(answers: Mapping[str, bytes]) -> Script:
    """Respond by path, with the body b"end" for other paths."""

    async def script(conn: Connection) -> None:
        while True:
            request = await conn.read_request()
            answer = answers.get(request.target, response(b"end"))
            if request.method == "HEAD":
                answer = answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            await conn.send(answer)

    return script


def assert_error(res: HTTPResponse, code: errors) -> None:
    assert res.error is not None, res.code
    assert res.error.code is code, res.error.message
    assert res.code is None and res.url is None and res.request is None


def basic(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


# status codes, methods and bodies


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"]
)
async def test_method_and_body_after_a_redirect(
    fetch: Fetch, raw_peer: MakePeer, code: int, method: str
) -> None:
    peer = await raw_peer(site({"/start": redirect("/end", code)}))
    with_body = method not in ("GET", "HEAD", "OPTIONS")
    options = {"body": b"data"} if with_body else {}
    res = await fetch(
        peer.url("/start"),
        method=method,
        on_headers=lambda h: h.set("Content-Type", "text/plain") if with_body else None,
        **options,
    )
    assert res.error is None, res.error
    assert res.code == 200
    assert res.body == (b"" if method == "HEAD" and res.request.get_method() == "HEAD" else b"end")

    to_get = (code == 303 and method != "HEAD") or (code in (301, 302) and method == "POST")
    first, second = peer.requests
    assert first.line == f"{method} /start HTTP/1.1"
    assert second.line == f"{'GET' if to_get else method} /end HTTP/1.1"
    if with_body and not to_get:
        assert second.body == b"data"
        assert second.field("Content-Type") == "text/plain"
        assert second.fields == first.fields
    else:
        assert second.body == b""
        assert [second.field(name) for name in BODY_FIELDS] == [None, None, None]


@pytest.mark.parametrize("code", [301, 302, 303])
async def test_form_is_dropped_with_its_headers(
    fetch: Fetch, raw_peer: MakePeer, code: int
) -> None:
    peer = await raw_peer(site({"/start": redirect("/end", code)}))
    await fetch(peer.url("/start"), method="POST", params={"a": 1})
    second = peer.requests[1]
    assert second.line == "GET /end HTTP/1.1"
    assert second.body == b""
    assert [second.field(name) for name in BODY_FIELDS] == [None, None, None]


@pytest.mark.parametrize("code", [307, 308])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_form_is_repeated_with_its_headers(
    fetch: Fetch, raw_peer: MakePeer, method: str, code: int
) -> None:
    peer = await raw_peer(site({"/start": redirect("/end", code)}))
    await fetch(peer.url("/start"), method=method, params={"a": 1})
    first, second = peer.requests
    assert second.line == f"{method} /end HTTP/1.1"
    assert second.body == first.body == b"a=1"
    assert second.field("Content-Type") == FORM
    assert second.fields == first.fields


async def test_params_are_not_added_after_a_redirect(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(site({"/start?a=1": redirect("/end?b=2")}))
    res = await fetch(peer.url("/start"), params={"a": 1})
    assert peer.requests[1].target == "/end?b=2"
    assert res.url == peer.url("/end?b=2")


async def test_large_body_is_repeated(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(site({"/start": redirect("/end", 307)}))
    body = bytes(range(256)) * 8192
    res = await fetch(peer.url("/start"), method="PUT", body=body)
    assert res.body == b"end"
    assert [request.body == body for request in peer.requests] == [True, True]
    assert peer.requests[1].field("Expect") is None


@pytest.mark.parametrize("code", [200, 201, 300, 304, 305, 306, 309, 399, 401, 404, 500])
async def test_other_status_codes_are_not_followed(
    fetch: Fetch, raw_peer: MakePeer, code: int
) -> None:
    peer = await raw_peer(site({"/start": redirect("/end", code)}))
    res = await fetch(peer.url("/start"))
    assert res.code == code
    assert res.headers["Location"] == "/end"
    assert res.url == peer.url("/start")
    assert len(peer.requests) == 1


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_redirect_without_location_is_the_response(
    fetch: Fetch, raw_peer: MakePeer, method: str, code: int
) -> None:
    peer = await raw_peer(site({"/start": redirect(None, code, b"nowhere")}))
    body = b"data" if method == "POST" else None
    res = await fetch(peer.url("/start"), method=method, body=body, max_redirects=0)
    assert res.error is None, res.error
    assert res.code == code
    assert res.reason == "Redirect"
    assert res.body == (b"" if method == "HEAD" else b"nowhere")
    assert len(peer.requests) == 1


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_redirect_is_the_response_without_allow_redirects(
    fetch: Fetch, raw_peer: MakePeer, code: int
) -> None:
    answers: dict[str, bytes] = {}
    peer = await raw_peer(site(answers))
    for location in ("/end", "ftp://host/", "http://", "http://host:bad/"):
        answers["/start"] = redirect(location, code, b"moved")
        for limit in (0, 4):
            peer.requests.clear()
            res = await fetch(peer.url("/start"), allow_redirects=False, max_redirects=limit)
            assert res.error is None, res.error
            assert res.code == code
            assert res.headers["Location"] == location
            assert res.body == b"moved"
            assert res.url == peer.url("/start")
            assert len(peer.requests) == 1


async def test_response_has_the_attributes_of_the_last_request(
    fetch: Fetch, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(
        site(
            {
                "/start": response(b"x", "Location: /next", "X-Hop: 1", status="301 Moved"),
                "/next": response(b"y", "Location: /end#part", "X-Hop: 2", status="302 Found"),
                "/end": response(b"z", "X-Last: 3", status="404 Gone Away"),
            }
        )
    )
    res = await fetch(peer.url("/start#begin"))
    assert (res.error, res.code, res.reason, res.body) == (None, 404, "Gone Away", b"z")
    assert res.url == peer.url("/end")
    assert list(res.headers.get_all()) == [("X-Last", "3"), ("Content-Length", "1")]
    assert res.headers.get_status_code() == 404
    assert res.request.stringify_as_request().encode("latin-1") == peer.requests[2].raw
    assert [request.target for request in peer.requests] == ["/start", "/next", "/end"]


# locations


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/abs", "/abs"),
        ("/abs?q=1", "/abs?q=1"),
        ("rel", "/dir/rel"),
        ("./rel", "/dir/rel"),
        ("../up", "/up"),
        ("../../../up", "/up"),
        ("sub/rel?q=1", "/dir/sub/rel?q=1"),
        ("?q=2", "/dir/start?q=2"),
        ("/abs#fragment", "/abs"),
        ("rel?q=1#a?b", "/dir/rel?q=1"),
        (".", "/dir/"),
        ("..", "/"),
        ("/a:b", "/a:b"),
        ("/%C3%BC", "/%C3%BC"),
        # UTF-8, which is invalid but common
        ("/\xc3\xbc", "/%C3%BC"),
        ("{origin}/abs", "/abs"),
        ("{origin}", "/"),
        ("{origin}?q=1", "/?q=1"),
        ("//{host}/abs", "/abs"),
        ("//{host}", "/"),
        ("HTTP://{host}/abs", "/abs"),
        ("http://user:pass@{host}/abs", "/abs"),
    ],
)
async def test_location_is_resolved(
    fetch: Fetch, raw_peer: MakePeer, location: str, target: str
) -> None:
    answers: dict[str, bytes] = {}
    peer = await raw_peer(site(answers))
    location = location.format(origin=peer.url(""), host=f"127.0.0.1:{peer.port}")
    answers["/dir/start?x=y"] = redirect(location)
    res = await fetch(peer.url("/dir/start?x=y"))
    assert res.error is None, res.error
    assert res.body == b"end"
    assert peer.requests[1].target == target
    assert peer.requests[1].field("Host") == f"127.0.0.1:{peer.port}"
    assert res.url.startswith(peer.url(""))
    assert "#" not in res.url and "@" not in res.url


@pytest.mark.parametrize(
    "location",
    [
        "ftp://host/",
        "FTP://host/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "mailto:a@b",
        "ws://127.0.0.1/",
        "data:,text",
    ],
)
async def test_location_with_another_scheme(
    make_client: MakeClient, raw_peer: MakePeer, location: str
) -> None:
    peer = await raw_peer(site({"/start": redirect(location)}))
    client = make_client()
    assert_error(await client.fetch(peer.url("/start")), errors.INVALID_SCHEMA)
    assert len(peer.requests) == 1
    assert (await client.fetch(peer.url("/free"))).body == b"end"


@pytest.mark.parametrize(
    "location",
    [
        "http://",
        "http:///path",
        "http:path",
        "https://",
        "//",
        "http://:80/",
        "http://host:bad/",
        "http://host:65536/",
        "http://[::1/",
        "//[zz]/",
        "http://ho st/",
        "/a\tb",
        "http://user@/",
    ],
)
async def test_invalid_location(make_client: MakeClient, raw_peer: MakePeer, location: str) -> None:
    peer = await raw_peer(site({"/start": redirect(location)}))
    client = make_client()
    assert_error(await client.fetch(peer.url("/start")), errors.INVALID_URL)
    assert len(peer.requests) == 1
    assert (await client.fetch(peer.url("/free"))).body == b"end"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        (b"/caf\xe9?\xe9", "/caf%E9?%E9"),
        (b"/caf\xc3\xa9", "/caf%C3%A9"),
        (b"/a b", "/a%20b"),
        (b"//HOST//b//", "//b//"),
        (b"x//./..//y?", "/start/x//y?"),
        (b"/%7e%2e%2E/", "/%7e%2e%2E/"),
    ],
)
async def test_bytes_of_a_location(
    fetch: Fetch, raw_peer: MakePeer, location: bytes, target: str
) -> None:
    async def script(conn: Connection) -> None:
        host = f"127.0.0.1:{peer.port}".encode()
        moved = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %b\r\n\r\n" % (
            location.replace(b"HOST", host)
        )
        while True:
            request = await conn.read_request()
            await conn.send(moved if request.target == "/start/here" else response(b"end"))

    peer = await raw_peer(script)
    res = await fetch(peer.url("/start/here"))
    assert peer.requests[-1].target == target
    assert res.url == peer.url(target)


async def test_failure_after_a_redirect(fetch: Fetch, raw_peer: MakePeer, closed_port: int) -> None:
    peer = await raw_peer(site({"/start": redirect(f"http://127.0.0.1:{closed_port}/")}))
    res = await fetch(peer.url("/start"))
    assert_error(res, errors.COULD_NOT_CONNECT)
    assert str(closed_port) in res.error.message


# headers and credentials


def credentials_of(peer: RawPeer, number: int = -1) -> list[str | None]:
    request = peer.requests[number]
    return [request.field("Authorization"), request.field("Cookie")]


Go = Callable[..., Awaitable[HTTPResponse]]

GIVEN: dict[str, tuple[str, dict[str, Any], list[str | None]]] = {
    "keywords": (
        "",
        {"auth_username": "user", "auth_password": "pass", "cookie": "c=1"},
        [basic("user:pass"), "c=1"],
    ),
    "user-info": ("user:pass@", {"cookie": {"c": "1"}}, [basic("user:pass"), "c=1"]),
    "on_headers": (
        "",
        {
            "on_headers": lambda headers: headers.update(
                {"authorization": "Bearer token", "cookie": "c=2"}
            )
        },
        ["Bearer token", "c=2"],
    ),
}


@pytest.fixture(params=GIVEN)
def go(fetch: Fetch, request: pytest.FixtureRequest) -> Go:
    """Fetch with credentials, and with other headers."""
    user_info, options, _ = GIVEN[request.param]

    async def go(url: str, **more: Any) -> HTTPResponse:
        scheme, rest = url.split("//", 1)
        own = options.get("on_headers")

        def on_headers(headers: HTTPHeaders) -> None:
            headers.add("X-Added", "1")
            if own is not None:
                own(headers)

        return await fetch(
            f"{scheme}//{user_info}{rest}",
            user_agent="agent",
            **{**options, "on_headers": on_headers},
            **more,
        )

    go.expected = GIVEN[request.param][2]  # type: ignore[attr-defined]
    return go


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_credentials_are_sent_to_the_same_origin(
    go: Any, raw_peer: MakePeer, code: int
) -> None:
    answers: dict[str, bytes] = {}
    peer = await raw_peer(site(answers))
    for location in ("/end", peer.url("/end"), f"//127.0.0.1:{peer.port}/end"):
        answers["/start"] = redirect(location, code)
        res = await go(peer.url("/start"))
        assert res.error is None, res.error
        assert credentials_of(peer, -2) == credentials_of(peer, -1) == go.expected
        assert peer.requests[-1].field("X-Added") == "1"
        assert peer.requests[-1].field("User-Agent") == "agent"


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_credentials_are_not_sent_to_another_port(
    go: Any, raw_peer: MakePeer, code: int
) -> None:
    other = await raw_peer(site({}))
    peer = await raw_peer(site({"/start": redirect(other.url("/end"), code)}))
    res = await go(peer.url("/start"))
    assert res.body == b"end"
    assert credentials_of(peer) == go.expected
    assert credentials_of(other) == [None, None]
    assert other.requests[0].field("Host") == f"127.0.0.1:{other.port}"
    assert other.requests[0].field("X-Added") == "1"
    assert other.requests[0].field("User-Agent") == "agent"
    assert res.request.stringify_as_request().encode("latin-1") == other.requests[0].raw


async def test_credentials_are_not_sent_to_another_host(go: Any, raw_peer: MakePeer) -> None:
    answers: dict[str, bytes] = {}
    peer = await raw_peer(site(answers))
    answers["/start"] = redirect(f"http://localhost:{peer.port}/end")
    assert (await go(peer.url("/start"))).body == b"end"
    assert credentials_of(peer, 0) == go.expected
    assert credentials_of(peer, 1) == [None, None]
    assert peer.requests[1].field("Host") == f"localhost:{peer.port}"


async def test_case_of_a_host_does_not_change_the_origin(go: Any, raw_peer: MakePeer) -> None:
    answers: dict[str, bytes] = {}
    peer = await raw_peer(site(answers))
    answers["/start"] = redirect(f"HTTP://LOCALHOST:{peer.port}/end")
    await go(f"http://localhost:{peer.port}/start")
    assert credentials_of(peer, 0) == credentials_of(peer, 1) == go.expected


async def test_credentials_are_not_restored_by_a_redirect_back(go: Any, raw_peer: MakePeer) -> None:
    answers: dict[str, bytes] = {}
    other = await raw_peer(site(answers))
    peer = await raw_peer(site({"/start": redirect(other.url("/back"), 307)}))
    answers["/back"] = redirect(peer.url("/end"), 307)
    assert (await go(peer.url("/start"))).body == b"end"
    assert credentials_of(peer, 0) == go.expected
    assert credentials_of(other) == [None, None]
    assert credentials_of(peer, 1) == [None, None]


@pytest.mark.parametrize("down", [False, True])
async def test_credentials_are_not_sent_to_another_scheme(
    make_client: MakeClient, raw_peer: MakePeer, certificates: Any, down: bool
) -> None:
    context = certificates.server_context()
    last = await raw_peer(site({}), ssl_context=None if down else context)
    first = await raw_peer(
        site({"/start": redirect(last.url("/end"))}), ssl_context=context if down else None
    )
    res = await make_client({"ca_path": certificates.ca}).fetch(
        first.url("/start"), auth_username="user", auth_password="pass", cookie="c=1"
    )
    assert res.body == b"end"
    assert res.url == last.url("/end")
    assert credentials_of(first) == [basic("user:pass"), "c=1"]
    assert credentials_of(last) == [None, None]


async def test_credentials_are_sent_to_the_same_tls_origin(
    make_client: MakeClient, raw_peer: MakePeer, certificates: Any
) -> None:
    peer = await raw_peer(
        site({"/start": redirect("/end")}), ssl_context=certificates.server_context()
    )
    await make_client({"ca_path": certificates.ca}).fetch(
        peer.url("/start"), auth_username="user", auth_password="pass", cookie="c=1"
    )
    assert credentials_of(peer, 0) == credentials_of(peer, 1) == [basic("user:pass"), "c=1"]


async def test_host_header_of_on_headers_is_sent_to_the_same_origin(
    fetch: Fetch, raw_peer: MakePeer
) -> None:
    other = await raw_peer(site({}))
    peer = await raw_peer(site({"/start": redirect(other.url("/end"))}))
    await fetch(peer.url("/start"), on_headers=lambda h: h.set("Host", "example.test"))
    assert peer.requests[0].field("Host") == "example.test"
    assert other.requests[0].field("Host") == f"127.0.0.1:{other.port}"


async def test_cookies_of_a_redirect_are_not_stored(fetch: Fetch, raw_peer: MakePeer) -> None:
    first = response(b"", "Location: /end", "Set-Cookie: c=1; Path=/", status="302 Found")
    peer = await raw_peer(site({"/start": first}))
    await fetch(peer.url("/start"))
    assert peer.requests[1].field("Cookie") is None


# the number of redirects


@pytest.mark.parametrize(("limit", "given"), [(0, True), (1, True), (4, True), (4, False)])
async def test_one_redirect_over_max_redirects(
    make_client: MakeClient, server: Any, limit: int, given: bool
) -> None:
    client = make_client()
    options = {"max_redirects": limit} if given else {}
    res = await client.fetch(server.url(f"/redirect/{limit + 1}"), **options)
    assert_error(res, errors.REDIRECT_MAX)
    assert str(limit) in res.error.message
    assert len(server.requests) == limit + 1
    # The client is free, and the count starts again.
    if limit:
        res = await client.fetch(server.url(f"/redirect/{limit}"), **options)
        assert res.url == server.url("/echo")
        assert len(server.requests) == limit + 1 + limit + 1


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_every_status_code_counts_as_a_redirect(fetch: Fetch, server: Any, code: int) -> None:
    assert (await fetch(server.url(f"/redirect/4?code={code}"))).code == 200
    assert_error(await fetch(server.url(f"/redirect/5?code={code}")), errors.REDIRECT_MAX)


async def test_redirect_loop(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(redirect("/again"))
    assert_error(await fetch(peer.url("/start")), errors.REDIRECT_MAX)
    assert [request.target for request in peer.requests] == ["/start", *["/again"] * 4]


# connections and timeouts


@pytest.mark.kept
async def test_redirect_reuses_the_connection(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(
        site({"/a": redirect("/b", body=b"x" * 100_000), "/b": redirect("/c", 307, b"moved")})
    )
    assert (await fetch(peer.url("/a"))).body == b"end"
    assert [request.connection for request in peer.requests] == [1, 1, 1]


async def test_redirect_without_keep_alive(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(site({"/a": redirect("/b"), "/b": redirect("/c")}))
    assert (await fetch(peer.url("/a"), keep_alive=False)).body == b"end"
    assert [request.connection for request in peer.requests] == [1, 2, 3]
    assert [request.field("Connection") for request in peer.requests] == ["close"] * 3


@pytest.mark.parametrize(
    "head",
    [
        "HTTP/1.1 302 Found\r\nLocation: /end\r\n\r\nuntil close",
        "HTTP/1.0 302 Found\r\nLocation: /end\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: /end\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_redirect_that_closes_its_connection(
    fetch: Fetch, raw_peer: MakePeer, head: str
) -> None:
    async def script(conn: Connection) -> None:
        if conn.number == 1:
            await conn.read_request()
            await conn.send(head.encode())
            conn.close()
        else:
            await site({})(conn)

    peer = await raw_peer(script)
    assert (await fetch(peer.url("/start"))).body == b"end"
    assert [request.connection for request in peer.requests] == [1, 2]


@pytest.mark.kept
async def test_chunked_redirect(fetch: Fetch, raw_peer: MakePeer) -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: /end\r\nTransfer-Encoding: chunked\r\n\r\n"
    peer = await raw_peer(site({"/start": head + b"5\r\nmoved\r\n0\r\n\r\n"}))
    assert (await fetch(peer.url("/start"))).body == b"end"
    assert [request.connection for request in peer.requests] == [1, 1]


@in_phase
async def test_request_timeout_applies_to_all_redirects(fetch: Fetch, raw_peer: MakePeer) -> None:
    async def script(conn: Connection) -> None:
        while True:
            await conn.read_request()
            await asyncio.sleep(0.05)
            await conn.send(redirect("/again"))

    peer = await raw_peer(script)
    # One redirect would be in time. All allowed redirects take ten times as long.
    res = await fetch(peer.url("/start"), request_timeout=0.3, max_redirects=60)
    assert_error(res, errors.REQUEST_TIMEOUT)
    assert res.request_time >= 270
    require_phase(peer.requests)
    assert len(peer.requests) < 60


async def in_two_slow_hops(conn: Connection) -> None:
    while True:
        request = await conn.read_request()
        await asyncio.sleep(0.1)
        await conn.send(redirect("/end") if request.target == "/start" else response())


async def test_request_after_a_redirect_has_the_remaining_timeout(
    raw_peer: MakePeer, transport: str
) -> None:
    peer = await raw_peer(in_two_slow_hops)
    Watched, hops = watched(transport)
    res = await HTTPClient(transport=Watched).fetch(peer.url("/start"), request_timeout=30)
    assert res.code == 200
    first, second = hops
    assert first.request_timeout == 30
    assert 0 < second.request_timeout <= 29.95
    assert first.connect_timeout == second.connect_timeout == 20


async def test_request_time_includes_redirects(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(in_two_slow_hops)
    assert (await fetch(peer.url("/start"))).request_time >= 200


@pytest.mark.kept
async def test_busy_during_a_redirect(make_client: MakeClient, raw_peer: MakePeer) -> None:
    go_on = asyncio.Event()

    async def script(conn: Connection) -> None:
        request = await conn.read_request()
        await conn.send(redirect("/end"))
        request = await conn.read_request()
        assert request.target == "/end"
        await go_on.wait()
        await conn.send(response(b"end"))

    peer = await raw_peer(script)
    client = make_client()
    first = client.fetch(peer.url("/start"))
    await peer.received(2)
    assert_error(await client.fetch(peer.url("/second")), errors.BUSY)
    go_on.set()
    assert (await first).body == b"end"
