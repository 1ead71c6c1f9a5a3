from __future__ import annotations

from typing import Any

import pytest

from tests.support import Fetch, MakeClient, MakePeer, RawPeer, Refused, Request, Sent, response


@pytest.fixture
async def peer(raw_peer: MakePeer) -> RawPeer:
    return await raw_peer(response(b"ok"))


@pytest.fixture
def sent(fetch: Fetch, peer: RawPeer) -> Sent:
    """Fetch from the peer; return the request that arrived."""

    async def sent(path: str = "/", kwargs: Any = None, **options: Any) -> Request:
        res = await fetch(peer.url(path), kwargs, **options)
        assert res.error is None, res.error
        assert res.code == 200
        return peer.requests[-1]

    return sent


@pytest.fixture
def refused(make_client: MakeClient, peer: RawPeer) -> Refused:
    """Expect that a call of fetch raises, sends nothing and frees the client."""

    async def refused(
        error: type[BaseException], kwargs: Any = None, **options: Any
    ) -> BaseException:
        client = make_client()
        try:
            client.fetch(peer.url(), kwargs, **options)
        except error as raised:
            refusal = raised
        else:
            pytest.fail(f"{kwargs or options} was not refused with {error.__name__}")
        peer.requests.clear()
        res = await client.fetch(peer.url("/after"))
        assert res.error is None, res.error
        assert [request.target for request in peer.requests] == ["/after"]
        return refusal

    return refused
