"""The cells in the table of docs/limitations.md that a test can check."""

from __future__ import annotations

import asyncio
import inspect
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import tornado
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from tests.docs_test import rows_of
from tests.support import MakePeer, response
from tests.support.certificates import Certificates
from tests.support.missing import import_peer
from tests.support.scripts import closes_at_second_request
from turbo_tornado import HTTPClient
from turbo_tornado.client import DEFAULT_MAX_BUFFER_SIZE
from turbo_tornado.request.keywords import KEYWORDS

TABLE = {
    row[0]: dict(zip(("turbo", "simple", "curl", "aiohttp", "httpx"), row[1:], strict=True))
    for row in rows_of("docs/limitations.md", "| | turbo_tornado |")
}

#: Fetches a URL, and raises for a failure of the network.
Get = Callable[..., Awaitable[None]]

pytestmark = pytest.mark.skipif(
    tornado.version_info < (6, 6), reason="the page is about Tornado 6.6"
)


def stock_curl() -> Any:
    pytest.importorskip("pycurl")
    from tornado.curl_httpclient import CurlAsyncHTTPClient

    return CurlAsyncHTTPClient


@pytest.fixture(params=["turbo-simple", "turbo-curl", "simple", "curl", "aiohttp"])
async def column(request: pytest.FixtureRequest) -> Any:
    """The name of a column, and a function that fetches by its client."""
    name = request.param
    if name.startswith("turbo"):
        transport = name.partition("-")[2]
        if transport == "curl":
            pytest.importorskip("pycurl")

        async def get(url: str, ca: str | None = None) -> None:
            options = {"ca_path": ca} if ca else None
            client = HTTPClient(options, transport=transport)  # type: ignore[arg-type]
            (await client.fetch(url)).raise_for_error()

        yield "turbo", get
    elif name == "aiohttp":
        aiohttp = import_peer("aiohttp")
        async with aiohttp.ClientSession() as session:

            async def get(url: str, ca: str | None = None) -> None:
                context = ssl.create_default_context(cafile=ca) if ca else True
                async with session.get(url, ssl=context) as answer:
                    await answer.read()

            yield "aiohttp", get
    else:
        kind = SimpleAsyncHTTPClient if name == "simple" else stock_curl()
        stock: AsyncHTTPClient = kind(force_instance=True)

        async def get(url: str, ca: str | None = None) -> None:
            await stock.fetch(url, ca_certs=ca)

        yield name, get
        stock.close()


async def test_http2_is_not_offered_without_request(
    column: tuple[str, Get], certificates: Certificates
) -> None:
    name, get = column
    chosen: list[str | None] = []
    context = certificates.server_context()
    context.set_alpn_protocols(["h2", "http/1.1"])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chosen.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        if chosen[-1] != "h2":
            await reader.readuntil(b"\r\n\r\n")
            writer.write(response(b"ok"))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    try:
        await get(url, certificates.ca)
    except Exception:
        assert "h2" in chosen
    server.close()
    assert ("h2" in chosen) is (TABLE["HTTP/2"][name] == "yes, with TLS")


async def test_connection_reuse(column: tuple[str, Get], raw_peer: MakePeer) -> None:
    name, get = column
    peer = await raw_peer(response(b"ok"))
    await get(peer.url())
    await get(peer.url())
    assert (peer.connections == 1) is (TABLE["connection reuse"][name] == "yes")


async def test_accept_encoding(column: tuple[str, Get], raw_peer: MakePeer) -> None:
    name, get = column
    peer = await raw_peer(response(b"ok"))
    await get(peer.url())
    offered = (peer.requests[0].field("Accept-Encoding") or "").replace(" ", "").split(",")
    named = TABLE["`Accept-Encoding`"][name].partition(";")[0].split(", ")
    assert [encoding for encoding in offered if encoding not in ("br", "zstd")] == named


async def test_proxy_of_the_environment(
    column: tuple[str, Get], raw_peer: MakePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, get = column
    proxy, peer = await raw_peer(response(b"ok")), await raw_peer(response(b"ok"))
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("http_proxy", proxy.url(""))
    await get(peer.url())
    by_default = TABLE["proxy of the environment"][name] == "by default"
    assert (len(proxy.requests), len(peer.requests)) == ((1, 0) if by_default else (0, 1))


async def test_retry_after_a_reused_connection_was_closed(
    column: tuple[str, Get], raw_peer: MakePeer
) -> None:
    name, get = column
    peer = await raw_peer(closes_at_second_request)
    await get(peer.url())
    if TABLE["retry after a reused connection was closed"][name] != "no":
        await get(peer.url())
        # libcurl can open a connection to repeat a request, which the transport then prevents.
        assert peer.connections in (2, 3)


def test_default_keywords() -> None:
    assert TABLE["redirects by default"]["turbo"] == str(KEYWORDS["max_redirects"].default)
    seconds = f"{KEYWORDS['request_timeout'].default:g} s"
    assert TABLE["timeout of the whole request by default"]["turbo"] == seconds
    size = f"{DEFAULT_MAX_BUFFER_SIZE >> 20} MiB"
    assert TABLE["largest body in memory by default"]["turbo"] == size


@pytest.mark.parametrize("name", ["simple", "curl"])
def test_defaults_of_tornado(name: str) -> None:
    kind = SimpleAsyncHTTPClient if name == "simple" else stock_curl()
    defaults = {
        parameter.name: parameter.default
        for parameter in inspect.signature(kind.initialize).parameters.values()
    }
    assert TABLE["concurrent requests by default"][name] == str(defaults["max_clients"])
    size = defaults["max_body_size"] or defaults["max_buffer_size"]
    assert TABLE["largest body in memory by default"][name] == f"{size >> 20} MiB"
    options = HTTPRequest._DEFAULTS
    assert TABLE["redirects by default"][name] == str(options["max_redirects"])
    assert TABLE["timeout of the whole request by default"][name] == (
        f"{options['request_timeout']:g} s"
    )


def test_defaults_of_aiohttp() -> None:
    aiohttp = import_peer("aiohttp")
    limit = inspect.signature(aiohttp.BaseConnector).parameters["limit"].default
    assert TABLE["concurrent requests by default"]["aiohttp"] == str(limit)
    request = inspect.signature(aiohttp.ClientSession._request).parameters
    assert TABLE["redirects by default"]["aiohttp"] == str(request["max_redirects"].default)
    timeout = aiohttp.client.DEFAULT_TIMEOUT
    assert TABLE["timeout of the whole request by default"]["aiohttp"] == f"{timeout.total:g} s"
    assert timeout.sock_read is None
