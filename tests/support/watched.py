"""Transports that record their requests, for tests of long timeouts and large limits."""

from __future__ import annotations

from tornado.httpclient import AsyncHTTPClient

from turbo_tornado.request.request import Request
from turbo_tornado.transports.base import Abort, OnDone


def watched(transport: str) -> tuple[type[AsyncHTTPClient], list[Request]]:
    """Return the transport of this name, and the list of its requests."""
    base: type[AsyncHTTPClient]
    if transport == "curl":
        from turbo_tornado.transports.curl import CurlTransport as base
    else:
        from turbo_tornado.transports.simple import SimpleTransport as base
    requests: list[Request] = []

    class Watched(base):  # type: ignore[misc, valid-type]
        def send(self, request: Request, on_done: OnDone) -> Abort:
            requests.append(request)
            return super().send(request, on_done)  # type: ignore[no-any-return]

    return Watched, requests
