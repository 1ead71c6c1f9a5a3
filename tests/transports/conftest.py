from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient

from turbo_tornado.transports.base import CancellableFetch


@pytest.fixture
async def make_transport() -> AsyncIterator[Callable[..., Any]]:
    """Create a `CurlTransport`, or another kind, that is closed after the test."""
    made: list[AsyncHTTPClient] = []

    def make(kind: type[AsyncHTTPClient] | None = None, **arguments: Any) -> Any:
        if kind is None:
            from turbo_tornado.transports.curl import CurlTransport

            kind = CurlTransport
        made.append(kind(force_instance=True, **arguments))
        return made[-1]

    yield make
    for transport in made:
        if isinstance(transport, CancellableFetch):
            transport.fail_requests()
        else:
            transport.close()
