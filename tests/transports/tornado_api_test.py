"""Tornado's API on both transports: valid and invalid ``HTTPRequest`` objects."""

from __future__ import annotations

import asyncio
import copy
import pickle
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httputil import HTTPOutputError
from tornado.netutil import Resolver
from tornado.simple_httpclient import HTTPStreamClosedError, HTTPTimeoutError
from tornado.util import import_object

from tests.support import Connection, MakePeer, response
from turbo_tornado import HTTPClient, failures
from turbo_tornado.transports.simple import SimpleTransport

GOOD = response(b"good")


@pytest.fixture(params=["simple", "curl"])
def transport(request: pytest.FixtureRequest, make_transport: Callable[..., Any]) -> Any:
    if request.param == "curl":
        pytest.importorskip("pycurl")
    kind = f"turbo_tornado.transports.{request.param}.{request.param.title()}Transport"
    return make_transport(import_object(kind))


@pytest.fixture(params=[False, True], ids=["", "streaming"])
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The arguments that make the curl transport use a handle of Tornado's client."""
    return {"streaming_callback": lambda chunk: None} if request.param else {}


@pytest.mark.parametrize("headers", [{"Content-Length": "5"}, {"Transfer-Encoding": "chunked"}])
async def test_headers_that_announce_a_body(
    transport: AsyncHTTPClient,
    raw_peer: MakePeer,
    headers: dict[str, str],
    options: dict[str, Any],
) -> None:
    peer = await raw_peer(GOOD)
    with pytest.raises((ValueError, HTTPOutputError)):
        await transport.fetch(peer.url(), headers=headers, **options)
    assert not peer.requests
    headers = {"Content-Length": "4"}
    await transport.fetch(peer.url(), method="POST", body=b"four", headers=headers, **options)
    assert peer.requests[0].body == b"four"


@pytest.mark.parametrize("field", ["Content-Length: 0", "Content-Length: 10", "X-Field: x"])
async def test_response_to_connect_ends_with_its_head_and_closes(
    transport: AsyncHTTPClient, raw_peer: MakePeer, field: str, options: dict[str, Any]
) -> None:
    peer = await raw_peer(f"HTTP/1.1 200 Connection established\r\n{field}\r\n\r\n".encode())
    for _ in range(2):
        fetch = transport.fetch(
            peer.url(), method="CONNECT", allow_nonstandard_methods=True, **options
        )
        assert (await asyncio.wait_for(fetch, 10)).code == 200
    assert [(request.method, request.connection) for request in peer.requests] == [
        ("CONNECT", 1),
        ("CONNECT", 2),
    ]


async def test_headers_of_the_caller_are_not_changed(
    transport: AsyncHTTPClient, raw_peer: MakePeer, options: dict[str, Any]
) -> None:
    peer, other = await raw_peer(GOOD), await raw_peer(GOOD)
    request = HTTPRequest(
        peer.url(),
        "POST",
        {"X-Field": "value"},
        b"body",
        auth_username="user",
        auth_password="password",
        **options,
    )
    assert (await transport.fetch(request)).request is request
    assert list(request.headers.get_all()) == [("X-Field", "value")]
    request.url, request.body, request.method = other.url(), None, "GET"
    request.auth_username = request.auth_password = None
    await transport.fetch(request)
    (sent,) = other.requests
    assert sent.field("Host") == f"127.0.0.1:{other.port}"
    assert not {name for name, _ in sent.fields} & {"Authorization", "Content-Length"}


@pytest.mark.parametrize(
    ("location", "target"),
    [
        (b"/caf\xe9", "/caf%E9"),
        (b"/caf\xc3\xa9", "/caf%C3%A9"),
        (b"/a b", "/a%20b"),
    ],
)
async def test_bytes_of_a_location(
    transport: AsyncHTTPClient, raw_peer: MakePeer, location: bytes, target: str
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %b\r\n\r\n" % location
        await conn.send(head)
        await conn.read_request()
        await conn.send(GOOD)

    peer = await raw_peer(script)
    res = await asyncio.wait_for(transport.fetch(peer.url("/start/here")), 10)
    assert peer.requests[-1].target.lower() == target.lower()
    assert res.body == b"good"


async def test_a_relative_redirect_keeps_the_credentials_of_the_url(
    transport: AsyncHTTPClient, raw_peer: MakePeer
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(response(b"", "Location: /next", status="302 Found"))
        await conn.read_request()
        await conn.send(GOOD)

    peer = await raw_peer(script)
    url = peer.url().replace("http://", "http://user:password@")
    await asyncio.wait_for(transport.fetch(url), 10)
    first, second = peer.requests
    assert first.field("Authorization") == second.field("Authorization")


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("g", "/b/c/g"),
        ("?y", "/b/c/d;p?y"),
        ("?", "/b/c/d;p?"),
        ("g?", "/b/c/g?"),
        (";x", "/b/c/;x"),
        ("../../../g", "/g"),
        ("g/./h/../i", "/b/c/g/i"),
        ("/a//b/", "/a//b/"),
        ("//<peer>//x", "//x"),
        ("g?y/../x#s", "/b/c/g?y/../x"),
        ("/a b?c d", "/a%20b?c%20d"),
        ("/caf\xc3\xa9?%e9%zz", "/caf%C3%A9?%e9%zz"),
    ],
    ids=ascii,
)
async def test_location(
    make_transport: Callable[..., Any], raw_peer: MakePeer, location: str, target: str
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        field = f"Location: {location.replace('<peer>', netloc)}"
        await conn.send(response(b"", field, status="302 Found"))
        await conn.read_request()
        await conn.send(GOOD)

    peer = await raw_peer(script)
    netloc = f"127.0.0.1:{peer.port}"
    # On curl, libcurl follows the redirect by its own rules.
    transport = make_transport(SimpleTransport)
    res = await asyncio.wait_for(transport.fetch(peer.url("/b/c/d;p?q")), 10)
    assert res.body == b"good"
    assert peer.requests[1].target == target


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        b"Content-Length: 5000\r\n\r\n" + b"x" * 5000,
        b"Content-Length: 9\r\n\r\ncut",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["gzip", "large", "cut", "chunks"],
)
async def test_the_body_of_a_redirect_is_discarded(
    make_transport: Callable[..., Any], raw_peer: MakePeer, rest: bytes, options: dict[str, Any]
) -> None:
    async def script(conn: Connection) -> None:
        while (await conn.read_request()).target != "/end":
            await conn.send(b"HTTP/1.1 302 Found\r\nLocation: /end\r\n" + rest)
            if rest.endswith(b"cut"):
                return conn.close()
        await conn.send(GOOD)

    # On curl, libcurl follows the redirect by its own rules.
    transport = make_transport(SimpleTransport, max_body_size=1000)
    peer = await raw_peer(script)
    res = await asyncio.wait_for(transport.fetch(peer.url("/start"), **options), 10)
    assert (res.code, res.effective_url) == (200, peer.url("/end"))


async def test_exceptions_can_be_copied_and_pickled(
    transport: AsyncHTTPClient, raw_peer: MakePeer, closed_port: int, options: dict[str, Any]
) -> None:
    peer = await raw_peer(b"no HTTP at all\r\n\r\n")
    silent = await raw_peer(b"")
    for url in (peer.url(), silent.url(), f"http://127.0.0.1:{closed_port}/"):
        with pytest.raises(Exception) as caught:
            await transport.fetch(url, request_timeout=0.2, **options)
        error = caught.value
        for copied in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
            assert type(copied) is type(error)
            assert (str(copied), copied.args) == (str(error), error.args)
            assert getattr(copied, "errno", None) == getattr(error, "errno", None)


async def test_the_exception_of_a_cancelled_task_can_be_pickled(
    make_transport: Callable[..., Any],
) -> None:
    class Silent(Resolver):
        async def resolve(self, host: str, port: int, family: Any = 0) -> Any:
            await asyncio.Event().wait()

    transport = make_transport(SimpleTransport, resolver=Silent())
    future = transport.fetch("http://host/")
    while not transport.tasks:
        await asyncio.sleep(0)
    for task in transport.tasks:
        task.cancel()
    with pytest.raises(HTTPStreamClosedError) as caught:
        await asyncio.wait_for(future, 10)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
    "kind",
    [
        *(HTTPStreamClosedError, HTTPTimeoutError),
        *(
            kind
            for kind in vars(failures).values()
            if isinstance(kind, type) and kind.__module__ == failures.__name__
        ),
    ],
)
def test_failures_can_be_copied_and_pickled(kind: Any) -> None:
    if kind is failures.Picklable:
        return
    error = kind("message")
    error.detail = "an attribute of the user"
    for copied in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert type(copied) is kind
        assert (str(copied), copied.args) == (str(error), error.args)
        assert copied.detail == error.detail


@pytest.mark.parametrize("options", [None, {"verify_ca": False}, ssl.create_default_context()])
async def test_a_response_can_be_copied_and_pickled(
    raw_peer: MakePeer, closed_port: int, options: Any
) -> None:
    peer = await raw_peer(response(b"body", "X-Field: value"))
    for url in (peer.url("/path"), f"http://127.0.0.1:{closed_port}/"):
        res = await HTTPClient(options).fetch(url, on_headers=lambda headers: None)
        for copied in (copy.copy(res), copy.deepcopy(res), pickle.loads(pickle.dumps(res))):
            assert (copied.code, copied.body, copied.url) == (res.code, res.body, res.url)
            assert (copied.error, copied.time_info) == (res.error, res.time_info)
            if res.error is None:
                assert [*copied.headers.get_all()] == [*res.headers.get_all()]
                assert copied.request.stringify_as_request() == res.request.stringify_as_request()
