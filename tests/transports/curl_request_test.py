"""A `Request` on libcurl."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tornado.simple_httpclient import HTTPStreamClosedError

from tests.support import Connection, MakePeer, response
from tests.support.certificates import Certificates
from turbo_tornado.failures import (
    BrokenConnection,
    HandshakeFailed,
    MalformedResponse,
)
from turbo_tornado.request.request import Request
from turbo_tornado.request.tls import TLS
from turbo_tornado.transports.base import Response

pycurl = pytest.importorskip("pycurl")

from turbo_tornado.transports.curl.attempt import RequestAttempt
from turbo_tornado.transports.curl.options import RequestHandle, header_entries, trusted_files

from .curl import (
    GOOD,
    MakeTransport,
    fails_with,
    half_a_body,
    has_epoll,
    request_to,
    send,
    stalling,
)

# Tornado 6.4 with pycurl 7.46 and newer.
pytestmark = pytest.mark.filterwarnings("ignore:IOCTLFUNCTION is deprecated:DeprecationWarning")


async def test_position_of_the_connection_header(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(GOOD)
    fields = b"Host: here\r\nX-One: 1\r\nConnection: x-two\r\nX-Two:\r\nX-Three: \r\n"
    await send(make_transport(), request_to(peer, header_block=fields))
    assert peer.requests[0].fields == [
        ("Host", "here"),
        ("X-One", "1"),
        ("Connection", "x-two"),
        ("X-Two", ""),
        ("X-Three", ""),
    ]


async def test_only_http_is_allowed(
    make_transport: MakeTransport, raw_peer: MakePeer, tmp_path: Any
) -> None:
    transport = make_transport()
    await send(transport, request_to(await raw_peer(GOOD)))
    # No request has such a URL.
    [handle] = transport._handles.spare
    (tmp_path / "secret").write_text("secret")
    handle.curl.setopt(pycurl.URL, (tmp_path / "secret").as_uri())
    with pytest.raises(pycurl.error) as caught:
        handle.curl.perform()
    assert caught.value.args[0] == pycurl.E_UNSUPPORTED_PROTOCOL


async def test_libcurl_adds_no_header(make_transport: MakeTransport, raw_peer: MakePeer) -> None:
    peer = await raw_peer(GOOD)
    transport = make_transport()
    await send(transport, request_to(peer, header_block=b""))
    await send(
        transport,
        request_to(peer, method="POST", header_block=b"Content-Length: 4\r\n", body=b"body"),
    )
    assert [request.fields for request in peer.requests] == [[], [("Content-Length", "4")]]


async def test_endless_interim_responses(make_transport: MakeTransport, raw_peer: MakePeer) -> None:
    peer = await raw_peer(b"HTTP/1.1 102 Processing\r\n\r\n" * 11)
    await fails_with(send(make_transport(), request_to(peer)), MalformedResponse)


async def test_head_with_a_body(make_transport: MakeTransport, raw_peer: MakePeer) -> None:
    peer = await raw_peer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
    transport = make_transport()
    for _ in range(2):
        res = await send(transport, request_to(peer, method="HEAD", body=b"body"))
        assert (res.code, res.body, res.headers["Content-Length"]) == (200, b"", "10")
    assert [request.body for request in peer.requests] == [b"body", b"body"]


async def test_data_after_the_last_chunk_is_not_a_response(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    # libcurl discards the data and considers the connection reusable.
    peer = await raw_peer(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
        + response(b"evil")
    )
    transport = make_transport()
    for _ in range(3):
        assert (await send(transport, request_to(peer))).body == b"body"


async def test_response_before_its_request(
    make_transport: MakeTransport, raw_peer: MakePeer, certificates: Certificates
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        conn.writer.write(GOOD)
        await conn.send(response(b"evil"))
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await conn.read_request()

    peer = await raw_peer(script, certificates.server_context())
    transport = make_transport()
    tls = TLS(ca_path=str(certificates.ca))
    for method in ("GET", "GET", "POST"):
        body = b"" if method == "POST" else None
        fetch = send(transport, request_to(peer, method=method, body=body, tls=tls))
        try:
            assert (await fetch).body == b"good"
        except HTTPStreamClosedError as error:
            # The request may be sent before the data is detected, and is then not retried.
            assert method == "POST" and "before the request" in str(error)


@has_epoll
async def test_connections_with_the_same_local_port(
    make_transport: MakeTransport, raw_peer: MakePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The kernel gives a port of this side to connections to different peers.
    over = asyncio.Event()

    async def closing(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(GOOD)
        if conn.number == 1:
            await over.wait()
            conn.close()
        else:
            await stalling(conn)

    first, second = await raw_peer(closing), await raw_peer(GOOD)
    transport = make_transport()
    original = RequestHandle._configure
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))

        def configure(handle: RequestHandle, request: Request) -> None:
            def before_bind(fd: int, purpose: int) -> int:
                opened = socket.socket(fileno=fd)
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                opened.detach()
                return handle._on_socket(fd, purpose)

            original(handle, request)
            handle.curl.setopt(pycurl.SOCKOPTFUNCTION, before_bind)
            handle.curl.setopt(pycurl.LOCALPORT, bound.getsockname()[1])

        monkeypatch.setattr(RequestHandle, "_configure", configure)
        for peer in (first, second):
            assert (await send(transport, request_to(peer))).body == b"good"
        monkeypatch.undo()
    over.set()
    await asyncio.sleep(0)
    # The state of one connection must not affect the decision on the other.
    for peer in (first, second):
        fetch = send(transport, request_to(peer, method="POST", body=b""))
        assert (await asyncio.wait_for(fetch, 10)).body == b"good"
    assert (first.connections, second.connections) == (2, 1)


@has_epoll
async def test_close_within_the_head_during_another_request(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    # libcurl treats such a head as a complete response, and considers the connection reusable.
    transport = make_transport()
    posts: list[Awaitable[Response]] = []

    async def script(conn: Connection) -> None:
        while (await conn.read_request()).target != "/cut":
            await conn.send(GOOD)
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-")
        conn.close()
        # The next call of libcurl handles both.
        posts.append(send(transport, request_to(peer, method="POST", body=b"")))

    peer = await raw_peer(script)
    assert (await send(transport, request_to(peer))).body == b"good"
    await fails_with(send(transport, request_to(peer, "/cut")), BrokenConnection)
    [post] = posts
    assert (await asyncio.wait_for(post, 10)).body == b"good"
    assert peer.connections == 2


class FarewellOverTLS:
    """A peer that has its own TLS, sends close_notify with its first answer, and keeps
    TCP open. Data that it sends together arrives together.
    """

    def __init__(self, context: ssl.SSLContext, answer: bytes) -> None:
        self.context = context
        self.answer = answer
        #: Called before the first answer.
        self.before: Callable[[], None] = lambda: None

    async def __call__(self, conn: Connection) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.context.wrap_bio(incoming, outgoing, server_side=True)

        async def done(step: Callable[[], Any]) -> Any:
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    await conn.send(outgoing.read())
                    data = await conn.reader.read(65536)
                    if not data:
                        raise EOFError from None
                    incoming.write(data)

        await done(tls.do_handshake)
        # A session ticket of TLS 1.3 would arrive with the response.
        await conn.send(outgoing.read())
        first = conn.number == 1
        while True:
            await done(lambda: tls.read(65536))
            tls.write(self.answer if first else GOOD)
            if first:
                with contextlib.suppress(ssl.SSLWantReadError):
                    tls.unwrap()
                self.before()
            await conn.send(outgoing.read())
            if first:
                return


CUT_HEADS = {
    "a status line": b"HTTP/1.1 200 OK\r\n",
    "a field": b"HTTP/1.1 200 OK\r\nContent-Le",
    "no empty line": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n",
    "an interim response": b"HTTP/1.1 100 Continue\r\n\r\n",
}


@has_epoll
@pytest.mark.parametrize("head", CUT_HEADS.values(), ids=CUT_HEADS)
async def test_close_notify_within_the_head(
    head: bytes, make_transport: MakeTransport, raw_peer: MakePeer, certificates: Certificates
) -> None:
    # A request on this connection would wait for a response until TCP ends.
    script = FarewellOverTLS(certificates.server_context(), head)
    peer = await raw_peer(script)
    peer.scheme = "https"
    transport = make_transport()
    tls = TLS(ca_path=str(certificates.ca))
    await fails_with(send(transport, request_to(peer, tls=tls)), BrokenConnection)
    for method in ("POST", "GET"):
        body = b"" if method == "POST" else None
        fetch = send(transport, request_to(peer, method=method, body=body, tls=tls))
        assert (await asyncio.wait_for(fetch, 10)).body == b"good"
    assert peer.connections == 2


@has_epoll
async def test_close_notify_within_the_head_during_another_request(
    make_transport: MakeTransport, raw_peer: MakePeer, certificates: Certificates
) -> None:
    script = FarewellOverTLS(certificates.server_context(), CUT_HEADS["a field"])
    peer = await raw_peer(script)
    peer.scheme = "https"
    transport = make_transport()
    tls = TLS(ca_path=str(certificates.ca))
    posts: list[Awaitable[Response]] = []
    # The call of libcurl that reads the response also starts this transfer.
    script.before = lambda: posts.append(
        send(transport, request_to(peer, method="POST", body=b"", tls=tls))
    )
    await fails_with(send(transport, request_to(peer, tls=tls)), BrokenConnection)
    [post] = posts
    assert (await asyncio.wait_for(post, 10)).body == b"good"
    assert peer.connections == 2


@has_epoll
async def test_close_notify_after_a_response(
    make_transport: MakeTransport, raw_peer: MakePeer, certificates: Certificates
) -> None:
    peer = await raw_peer(FarewellOverTLS(certificates.server_context(), GOOD))
    peer.scheme = "https"
    transport = make_transport()
    tls = TLS(ca_path=str(certificates.ca))
    for _ in range(3):
        fetch = send(transport, request_to(peer, tls=tls))
        assert (await asyncio.wait_for(fetch, 10)).body == b"good"


async def test_only_ca_path_is_trusted(
    make_transport: MakeTransport, raw_peer: MakePeer, certificates: Certificates
) -> None:
    peer = await raw_peer(GOOD, certificates.server_context())
    transport = make_transport()
    for path in (certificates.ca, certificates.ca_directory):
        tls = TLS(ca_path=str(path))
        assert (await send(transport, request_to(peer, tls=tls, keep_alive=False))).body == b"good"
    for tls in (TLS(), TLS(ca_path=str(certificates.other_ca))):
        await fails_with(send(transport, request_to(peer, tls=tls)), HandshakeFailed)


def test_empty_directory_trusts_nothing(tmp_path: Any) -> None:
    assert trusted_files(TLS(ca_path=str(tmp_path))) == (os.devnull, str(tmp_path))


async def test_cancel_within_a_callback_of_libcurl(
    make_transport: MakeTransport, raw_peer: MakePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The signal handler of asyncio.run() does the same on Ctrl-C.
    left = asyncio.Event()
    on_body = RequestAttempt.on_body
    # An exception within the call would only be printed.
    cancels: list[object] = []

    def interrupted(attempt: RequestAttempt, chunk: bytes) -> int | None:
        if chunk == b"12345":
            try:
                cancels.append(fetch.cancel())
            except pycurl.error as error:
                cancels.append(error)
        return on_body(attempt, chunk)

    monkeypatch.setattr(RequestAttempt, "on_body", interrupted)
    transport = make_transport()
    peer = await raw_peer(half_a_body(left))
    fetch = send(transport, request_to(peer))
    await asyncio.wait_for(left.wait(), 10)
    assert cancels == [True]
    assert fetch.cancelled()
    assert (await send(transport, request_to(peer, "/good"))).body == b"good"


@pytest.mark.parametrize(
    "begun", [b"HTTP/1.1 200 OK\r\nA: b\r\n ", b"HTTP/1.1 200 OK\r\nA: b\r\n\t"]
)
async def test_incomplete_head_does_not_affect_the_next_response(
    begun: bytes, make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    async def script(conn: Connection) -> None:
        request = await conn.read_request()
        if request.target == "/cut":
            await conn.send(begun)
            conn.close()
            return
        await conn.send(GOOD)
        conn.close()

    peer = await raw_peer(script)
    transport = make_transport()
    for _ in range(2):
        await fails_with(send(transport, request_to(peer, target="/cut")), Exception)
        assert (await send(transport, request_to(peer))).body == b"good"
        # As in Tornado.
        await transport.fetch(peer.url("/cut"), raise_error=False)
        assert (await transport.fetch(peer.url())).body == b"good"


HEADER_BLOCKS = {
    "value that ends in a colon": b"Host: h\r\nX-Note: remark:\r\nCookie: a=b:\r\n",
    "headers without a value": b"Host: h\r\nX-Empty:\r\nConnection: close\r\nX-Empty: \r\n",
    "empty Connection": b"Host: h\r\nConnection: \r\nX-One: 1\r\n",
    "value of spaces": b"Host: h\r\nX-Spaces:   \r\nX-Tab:\t\r\n",
    "two Hosts": b"Host: one\r\nHost: two\r\n",
    "Host without a value": b"Host: \r\nX-One: 1\r\n",
    "Host that is not first": b"X-One: 1\r\nHost: h\r\n",
    "no Host": b"X-One: 1\r\nX-Empty:\r\nExpect: x\r\n",
    "one header without a value": b"X-Empty:\r\n",
    "only Connection": b"Connection: close\r\n",
    "what libcurl adds": b"Host: h\r\nAccept: a\r\nUser-Agent: b\r\nContent-Type: c\r\n",
    "no headers": b"",
}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("block", HEADER_BLOCKS.values(), ids=HEADER_BLOCKS)
async def test_headers_are_sent_unchanged(
    block: bytes, method: str, make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(GOOD)
    body = None
    if method == "POST":
        block, body = block + b"Content-Length: 4\r\n", b"body"
    await send(make_transport(), request_to(peer, method=method, header_block=block, body=body))
    line, _, received = peer.requests[0].raw.partition(b"\r\n")
    assert line == f"{method} / HTTP/1.1".encode()
    if block.startswith((b"X-Empty", b"Connection")):
        # libcurl cannot send these first, so that the order changes.
        assert sorted(received.splitlines()) == sorted([*block.splitlines(), b""])
    else:
        assert received == block + b"\r\n"
    assert peer.requests[0].body == (body or b"")


def test_headers_are_prepared_in_linear_time() -> None:
    block = b"X-Empty: \r\nHost: h\r\nCookie: " + b"a" * 1_000_000 + b"\r\n"
    started = time.process_time()
    header_entries(block, has_body=False)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nbad",
        b"Content-Length: 3000000\r\n\r\ncut",
        b"Transfer-Encoding: chunked\r\n\r\nbad",
        b"\r\n" + bytes(400_000),
    ],
    ids=["gzip", "cut", "chunks", "large"],
)
async def test_discarded_body(
    rest: bytes, make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    async def script(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(b"HTTP/1.1 302 Found\r\nX-Field: value\r\n" + rest)
        if len(rest) > 1000:
            # The end of the body does not arrive.
            await conn.wait_closed_by_client()
        else:
            conn.close()

    def on_head(head: Any) -> bool:
        heads.append(head)
        return False

    heads: list[Any] = []
    peer = await raw_peer(script)
    future = send(make_transport(), request_to(peer, on_head=on_head, max_body_size=10))
    res = await asyncio.wait_for(future, 10)
    assert (res.code, res.body, res.headers["X-Field"]) == (302, b"", "value")
    assert [head.code for head in heads] == [302]


async def test_exception_of_on_head(make_transport: MakeTransport, raw_peer: MakePeer) -> None:
    def on_head(head: Any) -> bool:
        raise ZeroDivisionError

    peer = await raw_peer(GOOD)
    await fails_with(send(make_transport(), request_to(peer, on_head=on_head)), ZeroDivisionError)


async def test_spare_handle_does_not_refer_to_the_response(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(GOOD)
    transport = make_transport()
    res = await send(transport, request_to(peer))
    headers = weakref.ref(res.headers)
    assert len(transport._handles.spare) == 1
    del res
    await asyncio.sleep(0)
    assert headers() is None
