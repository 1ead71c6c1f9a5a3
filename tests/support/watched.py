"""The transports with what they are asked to do on record: for limits too long to wait for."""

from __future__ import annotations

from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPRequest


def watched(transport: str) -> tuple[type[AsyncHTTPClient], list[HTTPRequest]]:
    """Returns the transport of this name, and the list of the requests that it will get."""
    base: type[AsyncHTTPClient]
    if transport == "curl":
        from turbo_tornado.transports.curl import CurlTransport as base
    else:
        from turbo_tornado.transports.simple import SimpleTransport as base
    requests: list[HTTPRequest] = []

    class Watched(base):  # type: ignore[misc, valid-type]
        def fetch(self, request: HTTPRequest, *args: Any, **kwargs: Any) -> Any:
            requests.append(request)
            return super().fetch(request, *args, **kwargs)

    return Watched, requests
