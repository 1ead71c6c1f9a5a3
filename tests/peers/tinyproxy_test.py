"""The keyword ``proxy`` with tinyproxy."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.support import MakeClient, MakePeer, response
from tests.support.certificates import Certificates
from tests.support.missing import missing
from tests.support.proxy import find_tinyproxy, tinyproxy
from turbo_tornado import errors

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="elsewhere a port cannot be reserved for tinyproxy"
)


@pytest.fixture(scope="module")
def open_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    if find_tinyproxy() is None:
        missing("tinyproxy")
    with tinyproxy(tmp_path_factory.mktemp("tinyproxy")) as port:
        yield port


@pytest.fixture(scope="module")
def private_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    if find_tinyproxy() is None:
        missing("tinyproxy")
    with tinyproxy(tmp_path_factory.mktemp("tinyproxy"), "BasicAuth user password") as port:
        yield port


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.kept
async def test_open_proxy(
    scheme: str,
    make_client: MakeClient,
    raw_peer: MakePeer,
    certificates: Certificates,
    open_proxy: int,
) -> None:
    context = certificates.server_context() if scheme == "https" else None
    origin = await raw_peer(response(b"ok"), ssl_context=context)
    client = make_client({"ca_path": certificates.ca})
    for _ in range(2):
        res = await client.fetch(origin.url("/a?b"), proxy=f"http://127.0.0.1:{open_proxy}")
        assert res.body == b"ok", res.error
        assert origin.requests[-1].target == "/a?b"
    if scheme == "https":
        # The tunnel is reused.
        assert origin.connections == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_private_proxy(
    scheme: str,
    make_client: MakeClient,
    raw_peer: MakePeer,
    certificates: Certificates,
    private_proxy: int,
) -> None:
    context = certificates.server_context() if scheme == "https" else None
    origin = await raw_peer(response(b"ok"), ssl_context=context)
    client = make_client({"ca_path": certificates.ca})
    where = f"127.0.0.1:{private_proxy}"
    res = await client.fetch(origin.url(), proxy=f"http://user:password@{where}")
    assert res.body == b"ok", res.error
    assert origin.requests[0].field("Proxy-Authorization") is None
    # For http, tinyproxy 1.11 responds with 401, like an origin.
    for user_info in ("", "user:wrong@") if scheme == "https" else ():
        res = await client.fetch(origin.url(), proxy=f"http://{user_info}{where}")
        assert res.error is not None
        assert res.error.code == errors.COULD_NOT_CONNECT
        assert where in res.error.message
    assert len(origin.requests) == 1


async def test_unreachable_origin(
    make_client: MakeClient, open_proxy: int, closed_port: int
) -> None:
    res = await make_client().fetch(
        f"https://127.0.0.1:{closed_port}/", proxy=f"http://127.0.0.1:{open_proxy}"
    )
    assert res.error is not None
    assert res.error.code == errors.COULD_NOT_CONNECT
