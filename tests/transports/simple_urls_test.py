"""The URLs that Tornado's simple client accepts, on the simple transport."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.netutil import Resolver
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from tests.support import Connection, MakePeer, response
from turbo_tornado.request import url as url_module
from turbo_tornado.transports.simple import SimpleTransport

GOOD = response(b"good")

# "<peer>" stands for the host and port of the peer.
URLS = [
    "http://<peer>",
    "http://<peer>?q=1",
    "http://<peer>/a b?c d",
    "http://<peer>/a b#c d",
    "http://<peer>/\u00e4?\u00f6=\u00fc",
    "http://<peer>/a\x7fb",
    "http://<peer>/\u2028",
    "http://<peer>/%zz",
    'http://<peer>/[x]{y}|z^`"<>\\',
    "http://<peer>/\ttab",
    "http://<peer>/../x/./y//z",
    " http://<peer>/",
    "HTTP://<peer>/",
    "http://user:p%40ss@<peer>/",
    "http://us er:pass word@<peer>/",
    "http://us%3Aer:%E9@<peer>/",
]
# URLs that need a resolver.
RESOLVED = [
    "http://localhost:0/",
    "http://LocalHost:00080/",
    "http://127.0.0.1:0/",
    "http://[::1]:0/",
    "http://[fe80::1%eth0]/",
    "http://%2Ftmp%2FServer.sock/path",
    "http://" + "long" * 80 + "/",
    "http://a_b,c;d=e!f$g&h'(i)*+~/",
    "http://*.example/",
    "http://-a-/",
    "http://.a../",
]


class ToPeer(Resolver):
    """Resolves every host to one address."""

    def initialize(self, family: int, address: Any) -> None:
        self.answer = [(family, address)]
        self.hosts: list[str] = []

    async def resolve(self, host: str, port: int, family: Any = 0) -> Any:
        self.hosts.append(host)
        return self.answer


@pytest.mark.parametrize("url", [*URLS, *RESOLVED], ids=ascii)
async def test_urls_of_tornado(
    url: str, raw_peer: MakePeer, make_transport: Callable[..., Any]
) -> None:
    peer = await raw_peer(GOOD)
    url = url.replace("<peer>", f"127.0.0.1:{peer.port}")
    lines = []
    for kind in (SimpleAsyncHTTPClient, SimpleTransport):
        resolver = ToPeer(socket.AF_INET, ("127.0.0.1", peer.port)) if url in RESOLVED else None
        client: AsyncHTTPClient = make_transport(kind, resolver=resolver)
        res = await asyncio.wait_for(client.fetch(url), 10)
        assert (res.body, res.effective_url) == (b"good", url)
        request = peer.requests[-1]
        lines.append((request.field("Authorization"), resolver and resolver.hosts))
    stock, ours = lines
    # Tornado's client sends the user info of a URL with its percent-encodings.
    if "@" not in url:
        assert ours == stock
    # The request line has no white space in its target, unlike Tornado's.
    assert len(request.line.split(" ")) == 3
    assert request.line.isascii()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
@pytest.mark.parametrize("is_absolute", [False, True])
async def test_redirect_on_a_unix_socket(
    is_absolute: bool, tmp_path: Path, make_transport: Callable[..., Any]
) -> None:
    class FromHost(Resolver):
        async def resolve(self, host: str, port: int, family: Any = 0) -> Any:
            return [(socket.AF_UNIX, unquote(host))]

    path = str(tmp_path / "Server.sock")
    base = f"http://{quote(path, safe='')}"
    location = f"{base}/end" if is_absolute else "end"
    heads = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (response(b"", f"Location: {location}", status="302 Found"), GOOD):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_unix_server(serve, path)
    transport = make_transport(SimpleTransport, resolver=FromHost())
    res = await asyncio.wait_for(transport.fetch(f"{base}/start"), 10)
    assert (res.body, res.effective_url) == (b"good", f"{base}/end")
    assert heads[1].startswith(b"GET /end HTTP/1.1\r\n")
    server.close()


async def test_redirects_do_not_enter_the_cache(
    raw_peer: MakePeer, make_transport: Callable[..., Any]
) -> None:
    async def script(conn: Connection) -> None:
        while True:
            request = await conn.read_request()
            number = int(request.target[1:])
            await conn.send(response(b"", f"Location: /{number + 1}", status="302 Found"))

    peer = await raw_peer(script)
    transport = make_transport(SimpleTransport)
    url_module._cached_any_host.cache_clear()
    res = await transport.fetch(peer.url("/0"), max_redirects=20, raise_error=False)
    assert res.effective_url == peer.url("/20")
    assert url_module._cached_any_host.cache_info().currsize == 1
