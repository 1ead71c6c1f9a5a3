"""``response.time_info``: the phases of a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.support import Fetch, MakePeer, response
from tests.support.certificates import Certificates
from tests.support.server import Server
from turbo_tornado import HTTPClient

PHASES = {
    ("simple", "http"): ["queue", "connect", "starttransfer", "total"],
    ("simple", "https"): ["queue", "appconnect", "starttransfer", "total"],
    ("curl", "http"): ["queue", "namelookup", "connect", "appconnect", "starttransfer", "total"],
}
PHASES["curl", "https"] = PHASES["curl", "http"]


async def test_time_info_of_http(fetch: Fetch, server: Server, transport: str) -> None:
    info = (await fetch(server.url())).time_info
    assert set(info) == set(PHASES[transport, "http"])
    assert 0 < info["connect"] <= info["starttransfer"] <= info["total"]


async def test_time_info_of_tls(
    tls_server: Callable[..., Awaitable[Server]], certificates: Certificates, transport: str
) -> None:
    server = await tls_server()
    client = HTTPClient({"ca_path": certificates.ca}, transport=transport)
    info = (await client.fetch(server.url())).time_info
    assert set(info) == set(PHASES[transport, "https"])
    assert 0 < info["appconnect"] <= info["starttransfer"] <= info["total"]


@pytest.mark.kept
async def test_time_info_of_a_reused_connection(fetch: Fetch, server: Server) -> None:
    await fetch(server.url())
    info = (await fetch(server.url())).time_info
    assert server.connections == 1
    assert info["connect"] == 0 <= info["starttransfer"]


async def test_time_info_after_a_redirect(fetch: Fetch, server: Server) -> None:
    res = await fetch(server.url("/redirect/2"))
    assert res.time_info["total"] * 1000 < res.request_time


async def test_time_info_with_a_queue(server: Server, transport: str) -> None:
    if transport == "curl":
        from turbo_tornado.transports.curl import CurlTransport as Transport
    else:
        from turbo_tornado.transports.simple import SimpleTransport as Transport
    one_at_a_time = Transport(force_instance=True, max_clients=1)
    futures = [HTTPClient(transport=one_at_a_time).fetch(server.url("/bytes/10")) for _ in range(2)]
    first, second = [await future for future in futures]
    assert 0 <= first.time_info["queue"] < second.time_info["queue"]
    waited_and_took = second.time_info["queue"] + second.time_info["total"]
    # The clock of libcurl is not that of Python. NTP adjusts the rate of only one of them.
    tolerance = 1 if transport == "curl" else 0
    assert waited_and_took * 1000 <= second.request_time + tolerance
    one_at_a_time.close()


async def test_time_info_of_an_error(fetch: Fetch, closed_port: int) -> None:
    assert (await fetch(f"http://127.0.0.1:{closed_port}/")).time_info is None


async def test_time_info_is_not_shared(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"x"))
    first, second = [(await fetch(peer.url())).time_info for _ in range(2)]
    assert first is not second
