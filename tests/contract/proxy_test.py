"""The keyword ``proxy``, with loopback proxies that send chosen bytes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import re
from typing import Any

import pytest
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from tests.support import Connection, Fetch, MakeClient, MakePeer, RawPeer, Refused, response
from tests.support.certificates import Certificates
from tests.support.proxy import ESTABLISHED, relay, tunnel
from turbo_tornado import HTTPClient, HTTPResponse, errors
from turbo_tornado.testing import StubTransport

SECRET = "pa%3Ass%E9w"
BASIC = "Basic " + base64.b64encode(b"user:pa:ss\xe9w").decode()
REQUIRED = response(b"who?", 'Proxy-Authenticate: Basic realm="x"', status="407 Who Are You")


@pytest.fixture
async def origin(raw_peer: MakePeer, certificates: Certificates) -> RawPeer:
    """An https server."""
    return await raw_peer(response(b"ok"), ssl_context=certificates.server_context())


@pytest.fixture
def client(make_client: MakeClient, certificates: Certificates) -> HTTPClient:
    return make_client({"ca_path": certificates.ca})


def at(proxy: RawPeer, user_info: str = "") -> str:
    return proxy.url("").replace("http://", f"http://{user_info}")


def assert_not_connected(res: HTTPResponse, proxy: RawPeer, words: str = "") -> None:
    assert res.error is not None
    assert res.error.code == errors.COULD_NOT_CONNECT, res.error
    assert f"the proxy 127.0.0.1:{proxy.port}" in res.error.message
    assert re.search(words, res.error.message), res.error.message


# The wire


@pytest.mark.parametrize("user_info", ["", f"user:{SECRET}@"])
@pytest.mark.kept
async def test_forwarded_http_request(fetch: Fetch, raw_peer: MakePeer, user_info: str) -> None:
    proxy = await raw_peer(response(b"forwarded"))
    for host in ("one.test", "two.test:81"):
        res = await fetch(f"http://{host}/p?a=b", proxy=at(proxy, user_info))
        assert res.body == b"forwarded"
        request = proxy.requests[-1]
        assert request.line == f"GET http://{host}/p?a=b HTTP/1.1"
        own = f"Proxy-Authorization: {BASIC}\r\n" if user_info else ""
        sent = res.request.stringify_as_request()
        assert request.raw.decode() == f"{sent[:-2]}{own}\r\n"
        assert request.field("Host") == host
    # The proxy opens the connection to each host.
    assert proxy.connections == 1


@pytest.mark.parametrize("user_info", ["", f"user:{SECRET}@"])
@pytest.mark.kept
async def test_https_request_through_a_tunnel(
    client: HTTPClient, origin: RawPeer, raw_peer: MakePeer, user_info: str
) -> None:
    proxy = await raw_peer(relay)
    for path in ("/one", "/two"):
        res = await client.fetch(origin.url(path), proxy=at(proxy, user_info))
        assert res.body == b"ok"
        request = origin.requests[-1]
        assert request.raw.decode() == res.request.stringify_as_request()
        assert request.target == path
        assert request.field("Proxy-Authorization") is None
    authority = f"127.0.0.1:{origin.port}"
    own = f"Proxy-Authorization: {BASIC}\r\n" if user_info else ""
    head = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{own}\r\n"
    assert [request.raw.decode() for request in proxy.requests] == [head]


@pytest.mark.parametrize(
    "options",
    [{"method": "POST", "body": b"x" * 300000}, {"method": "HEAD"}, {"http_version": "HTTP/1.0"}],
)
async def test_requests_through_a_tunnel(
    client: HTTPClient, origin: RawPeer, raw_peer: MakePeer, options: dict[str, Any]
) -> None:
    proxy = await raw_peer(relay)
    res = await client.fetch(origin.url(), proxy=at(proxy), **options)
    assert res.error is None, res.error
    assert origin.requests[0].body == options.get("body", b"")
    assert proxy.requests[0].version == "HTTP/1.1"


async def test_ipv6_proxy(fetch: Fetch, raw_peer: MakePeer) -> None:
    proxy = await raw_peer(response(b"ok"), host="::1")
    res = await fetch("http://one.test/", proxy=f"http://[::1]:{proxy.port}")
    assert res.body == b"ok"


async def test_server_name_is_the_origin(
    client: HTTPClient, raw_peer: MakePeer, certificates: Certificates
) -> None:
    origin = await raw_peer(response(b"ok"), ssl_context=certificates.server_context("wrong-host"))
    proxy = await raw_peer(relay)
    res = await client.fetch(origin.url(), proxy=at(proxy))
    assert res.error is not None
    assert res.error.code == errors.SSL_ERROR


async def test_on_headers_changes_the_target(fetch: Fetch, raw_peer: MakePeer) -> None:
    proxy = await raw_peer(response(b"ok"))
    await fetch("http://one.test/a", proxy=at(proxy), on_headers=lambda h: h.set_uri("/b"))
    await fetch(
        "http://one.test/a", proxy=at(proxy), method="OPTIONS", on_headers=lambda h: h.set_uri("*")
    )
    targets = [request.target for request in proxy.requests]
    assert targets == ["http://one.test/b", "http://one.test"]


# Reuse


@pytest.mark.kept
async def test_credentials_do_not_share_connections(
    client: HTTPClient, origin: RawPeer, raw_peer: MakePeer
) -> None:
    proxy = await raw_peer(relay)
    for user in ("a", "b"):
        res = await client.fetch(origin.url(), proxy=at(proxy, f"{user}:x@"))
        assert res.body == b"ok"
    credentials = [request.field("Proxy-Authorization") for request in proxy.requests]
    assert len(set(credentials)) == 2
    assert (await client.fetch(origin.url())).body == b"ok"
    assert proxy.connections == 2


@pytest.mark.kept
async def test_closed_tunnel_is_replaced(
    client: HTTPClient, origin: RawPeer, raw_peer: MakePeer
) -> None:
    closing, closed = asyncio.Event(), asyncio.Event()

    async def script(conn: Connection) -> None:
        if conn.number > 1:
            await relay(conn)
            return
        task = asyncio.create_task(relay(conn))
        await closing.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        conn.writer.transport.abort()
        with contextlib.suppress(OSError):
            await conn.writer.wait_closed()
        closed.set()

    proxy = await raw_peer(script)
    assert (await client.fetch(origin.url(), proxy=at(proxy))).body == b"ok"
    closing.set()
    await closed.wait()
    assert (await client.fetch(origin.url(), proxy=at(proxy))).body == b"ok"
    # libcurl can open a tunnel to repeat a request, which the transport then prevents.
    assert proxy.connections in (2, 3)
    assert len(origin.requests) == 2


# Failures


async def test_refused_tunnel(
    client: HTTPClient, raw_peer: MakePeer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for answer, words in ((REQUIRED, "407 Who Are You"), (response(status="502 No"), "502 No")):
        proxy = await raw_peer(answer)
        res = await client.fetch("https://one.test/", proxy=at(proxy, f"user:{SECRET}@"))
        assert_not_connected(res, proxy, words)
        for text in (repr(res.error), str(res.error), caplog.text):
            assert SECRET not in text
            assert BASIC not in text


@pytest.mark.parametrize("options", [{}, {"allow_redirects": False}])
async def test_407_to_a_forwarded_request(
    fetch: Fetch, raw_peer: MakePeer, options: dict[str, Any]
) -> None:
    proxy = await raw_peer(REQUIRED)
    res = await fetch("http://one.test/", proxy=at(proxy), **options)
    assert_not_connected(res, proxy, "407 Who Are You")


async def test_407_of_the_origin(
    client: HTTPClient, raw_peer: MakePeer, certificates: Certificates
) -> None:
    origin = await raw_peer(REQUIRED, ssl_context=certificates.server_context())
    proxy = await raw_peer(relay)
    assert (await client.fetch(origin.url(), proxy=at(proxy))).code == 407


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_proxy_that_does_not_listen(fetch: Fetch, scheme: str, closed_port: int) -> None:
    res = await fetch(f"{scheme}://one.test/", proxy=f"http://u:{SECRET}@127.0.0.1:{closed_port}")
    assert res.error is not None
    assert res.error.code == errors.COULD_NOT_CONNECT
    assert f"the proxy 127.0.0.1:{closed_port}" in res.error.message
    assert SECRET not in res.error.message


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nA",
        b"not HTTP at all\r\n",
        b"HTTP/1.1 200 OK\r\nbad line\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: " + b"x" * 70000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20000 + b"\r\n",
        ESTABLISHED + b"early",
    ],
    ids=range(8),
)
async def test_invalid_response_of_a_proxy(
    client: HTTPClient, raw_peer: MakePeer, answer: bytes
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(answer)
        if not answer.startswith(b"HTTP/") or answer.endswith(b"A"):
            # libcurl waits for the end of a response without a status line.
            conn.close()

    proxy = await raw_peer(script)
    res = await client.fetch("https://one.test/", proxy=at(proxy), request_timeout=20)
    assert_not_connected(res, proxy)


async def test_response_to_connect_in_pieces(
    client: HTTPClient, origin: RawPeer, raw_peer: MakePeer
) -> None:
    async def script(conn: Connection) -> None:
        request = await conn.read_request()
        for byte in ESTABLISHED[:-1]:
            await conn.send(bytes([byte]))
            await asyncio.sleep(0)
        await tunnel(conn, request.target, ESTABLISHED[-1:])

    proxy = await raw_peer(script)
    assert (await client.fetch(origin.url(), proxy=at(proxy))).body == b"ok"


async def test_interim_response_to_connect(
    client: HTTPClient, origin: RawPeer, raw_peer: MakePeer, transport: str
) -> None:
    async def script(conn: Connection) -> None:
        request = await conn.read_request()
        await tunnel(
            conn, request.target, b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" + ESTABLISHED
        )

    proxy = await raw_peer(script)
    res = await client.fetch(origin.url(), proxy=at(proxy), request_timeout=20)
    if transport == "curl":
        # libcurl does not support it.
        assert_not_connected(res, proxy, "103")
    else:
        assert res.body == b"ok", res.error


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"connect_timeout": 0.2}, errors.CONNECT_TIMEOUT),
        ({"request_timeout": 0.2}, errors.REQUEST_TIMEOUT),
    ],
)
async def test_silent_proxy(
    client: HTTPClient, raw_peer: MakePeer, options: dict[str, Any], code: errors
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()

    proxy = await raw_peer(script)
    res = await client.fetch("https://one.test/", proxy=at(proxy), **options)
    assert res.error is not None
    assert res.error.code == code


async def test_cancel_during_connect(client: HTTPClient, raw_peer: MakePeer) -> None:
    closed = asyncio.Event()

    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.wait_closed_by_client()
        closed.set()

    proxy = await raw_peer(script)
    future = client.fetch("https://one.test/", proxy=at(proxy))
    await proxy.received()
    future.cancel()
    await asyncio.wait_for(closed.wait(), 20)


# The environment, and redirects


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("upper", [False, True])
async def test_environment(
    fetch: Fetch, raw_peer: MakePeer, environment: pytest.MonkeyPatch, upper: bool
) -> None:
    proxy = await raw_peer(response(b"from the proxy"))
    direct = await raw_peer(response(b"direct"))
    assert (await fetch(direct.url(), proxy="environment")).body == b"direct"
    environment.setenv("HTTP_PROXY" if upper else "http_proxy", f"127.0.0.1:{proxy.port}")
    assert (await fetch(direct.url(), proxy="environment")).body == b"from the proxy"
    assert (await fetch(direct.url())).body == b"direct"
    for exempt in ("127.0.0.1", f"a.test, 127.0.0.1:{direct.port}", "*"):
        environment.setenv("no_proxy", exempt)
        assert (await fetch(direct.url(), proxy="environment")).body == b"direct"
    environment.setenv("no_proxy", "a.test,::1")
    assert (await fetch(direct.url(), proxy="environment")).body == b"from the proxy"


async def test_no_proxy_ipv6(
    fetch: Fetch, raw_peer: MakePeer, environment: pytest.MonkeyPatch
) -> None:
    proxy = await raw_peer(response(b"from the proxy"))
    direct = await raw_peer(response(b"direct"), host="::1")
    environment.setenv("http_proxy", at(proxy))
    environment.setenv("no_proxy", "::1")
    assert (await fetch(direct.url(), proxy="environment")).body == b"direct"


async def test_redirect_chooses_the_proxy_again(
    fetch: Fetch, raw_peer: MakePeer, environment: pytest.MonkeyPatch
) -> None:
    direct = await raw_peer(REQUIRED)
    proxy = await raw_peer(response(b"", f"Location: {direct.url('/to')}", status="302 Found"))
    environment.setenv("http_proxy", at(proxy, f"user:{SECRET}@"))
    environment.setenv("no_proxy", "127.0.0.1")
    res = await fetch("http://one.test/", proxy="environment")
    # The response is from the origin, not from a proxy.
    assert res.code == 407
    request = direct.requests[0]
    assert (request.target, request.field("Proxy-Authorization")) == ("/to", None)


@pytest.mark.kept
async def test_redirect_through_the_proxy(fetch: Fetch, raw_peer: MakePeer) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(response(b"", "Location: http://two.test/b", status="302 Found"))
        await conn.read_request()
        await conn.send(response(b"end"))

    proxy = await raw_peer(script)
    res = await fetch("http://one.test/", proxy=at(proxy, f"user:{SECRET}@"))
    assert res.body == b"end"
    assert proxy.requests[1].target == "http://two.test/b"
    assert proxy.requests[1].field("Proxy-Authorization") == BASIC


async def test_redirect_to_an_invalid_proxy(
    fetch: Fetch, raw_peer: MakePeer, environment: pytest.MonkeyPatch
) -> None:
    peer = await raw_peer(response(b"", "Location: https://two.test/", status="302 Found"))
    environment.setenv("https_proxy", "socks5://u:secret@127.0.0.1:1")
    res = await fetch(peer.url(), proxy="environment")
    assert res.error is not None
    assert res.error.code == errors.COULD_NOT_CONNECT
    assert "https_proxy" in res.error.message
    assert "secret" not in res.error.message


# Invalid values


@pytest.mark.parametrize(
    "value",
    [
        "",
        "none",
        "https://u:secret@h:1",
        "socks5://u:secret@h:1",
        "u:secret@h:1",
        "http://u:secret@h",
        "http://u:secret@h:0",
        "http://u:secret@h:1/path",
        "http://u:secret@h:1?q",
        "http://u:secret%0a@h:1",
        "http://u:secret@h h:1",
        "http://:1",
    ],
)
async def test_invalid_proxy(refused: Refused, value: str) -> None:
    message = str(await refused(ValueError, proxy=value))
    assert message.startswith("proxy must be http://[user:password@]host:port")
    assert "secret" not in message


async def test_proxy_of_another_type(refused: Refused) -> None:
    await refused(TypeError, proxy=8080)


@pytest.mark.parametrize("name", ["headers", "on_headers"])
async def test_proxy_authorization_as_a_header(refused: Refused, name: str) -> None:
    field = {"Proxy-Authorization": "Basic x"}
    value: Any = field if name == "headers" else lambda headers: headers.update(field)
    message = str(await refused(ValueError, proxy="http://h:1", **{name: value}))
    assert "'proxy'" in message


async def test_foreign_transport(raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"ok"))
    client = HTTPClient(transport=SimpleAsyncHTTPClient)
    with pytest.raises(ValueError, match=r"^proxy: SimpleAsyncHTTPClient does not support it"):
        client.fetch(peer.url(), proxy="environment")
    assert (await client.fetch(peer.url())).body == b"ok"


async def test_stub_ignores_the_proxy() -> None:
    with StubTransport() as stub:
        stub.get("http://one.test/p", body="ok")
        res = await HTTPClient().fetch("http://one.test/p", proxy="http://127.0.0.1:1")
    assert res.body == b"ok"
