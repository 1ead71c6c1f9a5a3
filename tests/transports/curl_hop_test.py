"""What libcurl needs to be told of a hop, and what it does otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tornado.httpclient import HTTPResponse
from tornado.simple_httpclient import HTTPStreamClosedError

from tests.support import Connection, MakePeer, response
from tests.support.certificates import Certificates
from turbo_tornado.tls import TLS
from turbo_tornado.transports.failures import (
    BrokenConnection,
    MalformedResponse,
)
from turbo_tornado.transports.hop import Hop

pycurl = pytest.importorskip("pycurl")

from tornado.curl_httpclient import CurlError

from turbo_tornado.transports import curl_hop
from turbo_tornado.transports.curl_hop import HopHandle

from .curl import GOOD, MakeTransport, fails_with, half_a_body, has_epoll, hop, stalling

# Of Tornado 6.4 with pycurl 7.46 and newer.
pytestmark = pytest.mark.filterwarnings("ignore:IOCTLFUNCTION is deprecated:DeprecationWarning")


async def test_connection_field_in_its_place(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(GOOD)
    fields = b"Host: here\r\nX-One: 1\r\nConnection: x-two\r\nX-Two:\r\nX-Three: \r\n"
    await make_transport().fetch(hop(peer, fields=fields))
    assert peer.requests[0].fields == [
        ("Host", "here"),
        ("X-One", "1"),
        ("Connection", "x-two"),
        ("X-Two", ""),
        ("X-Three", ""),
    ]


@pytest.mark.parametrize("others", [b"", b"Connection: x\r\n"])
async def test_expect_as_the_first_field(
    others: bytes, make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    async def script(conn: Connection) -> None:
        heads.append(await conn.reader.readuntil(b"\r\n\r\n"))
        await conn.send(response(b"no", status="417 Expectation Failed"))

    heads: list[bytes] = []
    peer = await raw_peer(script)
    fields = b"Expect: 100-continue\r\n" + others + b"Content-Length: 4\r\n"
    res = await make_transport().fetch(hop(peer, method="POST", fields=fields, body=b"body"))
    assert res.code == 417
    [head] = heads
    assert sorted(head.splitlines()[1:-1]) == sorted(fields.splitlines())


async def test_no_other_protocol(
    make_transport: MakeTransport, raw_peer: MakePeer, tmp_path: Any
) -> None:
    transport = make_transport()
    await transport.fetch(hop(await raw_peer(GOOD)))
    # No hop has such a URL; what libcurl would say of one is asked of its handle.
    [handle] = transport._spare_for_hops
    (tmp_path / "secret").write_text("secret")
    handle.curl.setopt(pycurl.URL, (tmp_path / "secret").as_uri())
    with pytest.raises(pycurl.error) as caught:
        handle.curl.perform()
    assert caught.value.args[0] == pycurl.E_UNSUPPORTED_PROTOCOL


async def test_no_field_is_added(make_transport: MakeTransport, raw_peer: MakePeer) -> None:
    peer = await raw_peer(GOOD)
    transport = make_transport()
    await transport.fetch(hop(peer, fields=b""))
    await transport.fetch(hop(peer, method="POST", fields=b"Content-Length: 4\r\n", body=b"body"))
    assert [request.fields for request in peer.requests] == [[], [("Content-Length", "4")]]


async def test_interim_responses_without_end(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(b"HTTP/1.1 102 Processing\r\n\r\n" * 11)
    await fails_with(make_transport().fetch(hop(peer)), MalformedResponse)


async def test_head_with_a_body(make_transport: MakeTransport, raw_peer: MakePeer) -> None:
    peer = await raw_peer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
    transport = make_transport()
    for _ in range(2):
        res = await transport.fetch(hop(peer, method="HEAD", body=b"body"))
        assert (res.code, res.body, res.headers["Content-Length"]) == (200, b"", "10")
    assert [request.body for request in peer.requests] == [b"body", b"body"]


async def test_what_comes_with_the_last_chunk_is_no_answer(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    # libcurl throws it away, and takes the connection for a good one.
    peer = await raw_peer(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
        + response(b"evil")
    )
    transport = make_transport()
    for _ in range(3):
        assert (await transport.fetch(hop(peer))).body == b"body"


async def test_an_answer_that_was_there_before_its_question(
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
        fetch = transport.fetch(hop(peer, method=method, body=body, tls=tls))
        try:
            assert (await fetch).body == b"good"
        except HTTPStreamClosedError as error:
            # The request may be under way before it is seen, and is not sent again then.
            assert method == "POST" and "before the request" in str(error)


@has_epoll
async def test_connections_from_one_port(
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
    original = HopHandle._configure
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))

        def before_bind(fd: int, purpose: int) -> int:
            opened = socket.socket(fileno=fd)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.detach()
            return 0

        def configure(handle: HopHandle, hop: Hop) -> None:
            original(handle, hop)
            handle.curl.setopt(pycurl.SOCKOPTFUNCTION, before_bind)
            handle.curl.setopt(pycurl.LOCALPORT, bound.getsockname()[1])

        monkeypatch.setattr(HopHandle, "_configure", configure)
        for peer in (first, second):
            assert (await transport.fetch(hop(peer))).body == b"good"
        monkeypatch.undo()
    over.set()
    await asyncio.sleep(0)
    # One of them has been closed: that is no reason to use it, or not to use the other.
    for peer in (first, second):
        fetch = transport.fetch(hop(peer, method="POST", body=b""))
        assert (await asyncio.wait_for(fetch, 10)).body == b"good"
    assert (first.connections, second.connections) == (2, 1)


@has_epoll
async def test_closed_within_the_head_when_another_begins(
    make_transport: MakeTransport, raw_peer: MakePeer
) -> None:
    # libcurl takes such a head for a whole response, and the connection for a good one.
    transport = make_transport()
    posts: list[Awaitable[HTTPResponse]] = []

    async def script(conn: Connection) -> None:
        while (await conn.read_request()).target != "/cut":
            await conn.send(GOOD)
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-")
        conn.close()
        # The next call of libcurl's is for both.
        posts.append(transport.fetch(hop(peer, method="POST", body=b"")))

    peer = await raw_peer(script)
    assert (await transport.fetch(hop(peer))).body == b"good"
    await fails_with(transport.fetch(hop(peer, "/cut")), BrokenConnection)
    [post] = posts
    assert (await asyncio.wait_for(post, 10)).body == b"good"
    assert peer.connections == 2


class FarewellOverTLS:
    """A peer that speaks TLS by itself, says goodbye in it with its first answer, and keeps
    TCP open. What it says together comes together.
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
        # A ticket of TLS 1.3 would come with the answer.
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
async def test_farewell_over_tls_within_the_head(
    head: bytes, make_transport: MakeTransport, raw_peer: MakePeer, certificates: Certificates
) -> None:
    # Whoever used the connection again would wait for an answer until TCP ends.
    script = FarewellOverTLS(certificates.server_context(), head)
    peer = await raw_peer(script)
    peer.scheme = "https"
    transport = make_transport()
    tls = TLS(ca_path=str(certificates.ca))
    await fails_with(transport.fetch(hop(peer, tls=tls)), BrokenConnection)
    for method in ("POST", "GET"):
        body = b"" if method == "POST" else None
        fetch = transport.fetch(hop(peer, method=method, body=body, tls=tls))
        assert (await asyncio.wait_for(fetch, 10)).body == b"good"
    assert peer.connections == 2


@has_epoll
async def test_farewell_over_tls_within_the_head_when_another_begins(
    make_transport: MakeTransport, raw_peer: MakePeer, certificates: Certificates
) -> None:
    script = FarewellOverTLS(certificates.server_context(), CUT_HEADS["a field"])
    peer = await raw_peer(script)
    peer.scheme = "https"
    transport = make_transport()
    tls = TLS(ca_path=str(certificates.ca))
    posts: list[Awaitable[HTTPResponse]] = []
    # The call of libcurl's that reads the answer begins this one, too.
    script.before = lambda: posts.append(
        transport.fetch(hop(peer, method="POST", body=b"", tls=tls))
    )
    await fails_with(transport.fetch(hop(peer, tls=tls)), BrokenConnection)
    [post] = posts
    assert (await asyncio.wait_for(post, 10)).body == b"good"
    assert peer.connections == 2


@has_epoll
async def test_farewell_over_tls_after_a_response(
    make_transport: MakeTransport, raw_peer: MakePeer, certificates: Certificates
) -> None:
    peer = await raw_peer(FarewellOverTLS(certificates.server_context(), GOOD))
    peer.scheme = "https"
    transport = make_transport()
    tls = TLS(ca_path=str(certificates.ca))
    for _ in range(3):
        fetch = transport.fetch(hop(peer, tls=tls))
        assert (await asyncio.wait_for(fetch, 10)).body == b"good"


async def test_trust_is_what_was_said(
    make_transport: MakeTransport, raw_peer: MakePeer, certificates: Certificates
) -> None:
    peer = await raw_peer(GOOD, certificates.server_context())
    transport = make_transport()
    for path in (certificates.ca, certificates.ca_directory):
        tls = TLS(ca_path=str(path))
        assert (await transport.fetch(hop(peer, tls=tls, keep_alive=False))).body == b"good"
    for tls in (TLS(), TLS(ca_path=str(certificates.other_ca))):
        error = await fails_with(transport.fetch(hop(peer, tls=tls)), CurlError)
        assert error.errno in (pycurl.E_SSL_CACERT, 51)  # type: ignore[attr-defined]


def test_trust_in_an_empty_directory(tmp_path: Any) -> None:
    cafile, capath = curl_hop._trust(TLS(ca_path=str(tmp_path)))
    assert capath == str(tmp_path)
    assert cafile in (None, os.devnull)


async def test_cancel_within_a_call_of_libcurl(
    make_transport: MakeTransport, raw_peer: MakePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As the signal handler of asyncio.run() does it on Ctrl-C.
    left = asyncio.Event()
    on_body = HopHandle._on_body
    # What is raised within the call would only be printed.
    cancels: list[object] = []

    def interrupted(handle: HopHandle, chunk: bytes) -> int | None:
        if chunk == b"12345":
            try:
                cancels.append(fetch.cancel())
            except pycurl.error as error:
                cancels.append(error)
        return on_body(handle, chunk)

    monkeypatch.setattr(HopHandle, "_on_body", interrupted)
    transport = make_transport()
    peer = await raw_peer(half_a_body(left))
    fetch = transport.fetch(hop(peer), raise_error=False)
    await asyncio.wait_for(left.wait(), 10)
    assert cancels == [True]
    assert fetch.cancelled()
    assert (await transport.fetch(hop(peer, "/good"), raise_error=False)).body == b"good"


@pytest.mark.parametrize(
    "begun", [b"HTTP/1.1 200 OK\r\nA: b\r\n ", b"HTTP/1.1 200 OK\r\nA: b\r\n\t"]
)
async def test_nothing_of_a_head_that_was_cut_is_left(
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
        await fails_with(transport.fetch(hop(peer, target="/cut")), Exception)
        assert (await transport.fetch(hop(peer))).body == b"good"
        # Tornado's way.
        await transport.fetch(peer.url("/cut"), raise_error=False)
        assert (await transport.fetch(peer.url())).body == b"good"
