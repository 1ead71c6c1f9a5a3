"""Redirects: the rules, and the request that follows a redirect response.

The rules hold for `HTTPClient` on every transport, and for Tornado's own requests on the
simple transport.
"""

from __future__ import annotations

from typing import Protocol

from ..failures import ConnectFailed, InvalidBody
from ..headers import HTTPHeaders
from .request import Request, header_block

#: Status codes of a redirect that is followed.
REDIRECT_CODES = frozenset({301, 302, 303, 307, 308})

#: Headers that a redirect to another origin drops.
CREDENTIAL_HEADERS = ("Authorization", "Proxy-Authorization", "Cookie")

#: Headers that a redirect drops together with the body.
BODY_HEADERS = (
    *("Content-Length", "Content-Type", "Content-Encoding", "Content-Language"),
    "Transfer-Encoding",
)


def becomes_get(code: int, method: str) -> bool:
    """Return whether a redirect changes the method to GET (RFC 9110, section 15.4)."""
    return (code == 303 and method != "HEAD") or (code in (301, 302) and method == "POST")


class ResponseHead(Protocol):
    @property
    def code(self) -> int: ...
    @property
    def headers(self) -> HTTPHeaders: ...


def keeps_body(head: ResponseHead) -> bool:
    """Return whether the body is part of the result, and not of a followed redirect."""
    return head.code not in REDIRECT_CODES or not location_of(head)


def location_of(head: ResponseHead) -> str:
    """Return the Location of a redirect response, or an empty string."""
    if head.code not in REDIRECT_CODES:
        return ""
    return next(iter(head.headers.get_list("Location")), "")


def redirect(request: Request, code: int, location: str, request_timeout: float) -> Request:
    """Return the request that a redirect response asks for.

    :arg int code: status code of the response.
    :arg str location: its Location header.
    :arg float request_timeout: seconds that are left for the fetch; 0 for no limit.
    :raises InvalidURL, InvalidSchema: for an invalid ``location``.
    :raises InvalidBody: for a body that would have to be repeated and cannot be.
    :raises ConnectFailed: for an invalid proxy in the environment.
    """
    url = request.url.join(location)
    method = request.method
    headers = HTTPHeaders.deferred(request.header_block)
    drops_body = becomes_get(code, method)
    if drops_body:
        method = "GET"
        for name in BODY_HEADERS:
            headers.remove(name)
    elif not request.is_replayable:
        raise InvalidBody(
            f"a redirect with status code {code} repeats the body; an iterable is not repeatable"
        )
    if url.origin != request.url.origin:
        for name in CREDENTIAL_HEADERS:
            headers.remove(name)
        if "Host" in headers:
            headers.set("Host", url.host_header)
    redirected = Request(
        url,
        method,
        url.target,
        request.version,
        header_block(headers),
        None if drops_body else request.body,
        keep_alive=request.keep_alive,
        decompress=request.decompress,
        max_body_size=request.max_body_size,
        tls=request.tls,
        connect_timeout=request.connect_timeout,
        request_timeout=request_timeout,
    )
    redirected.is_accepted = True
    redirected.on_head = request.on_head
    redirected.streaming_callback = request.streaming_callback
    if not drops_body:
        redirected.body_producer, redirected.blocks = request.body_producer, request.blocks
        redirected.content_length = request.content_length
    if request.proxy_setting is not None:
        try:
            redirected.use_proxy(request.proxy_setting)
        except ValueError as error:
            # Not an exception of the call: the server has chosen the URL.
            raise ConnectFailed(str(error)) from None
    return redirected
