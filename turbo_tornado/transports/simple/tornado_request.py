"""An ``HTTPRequest`` as a `Request`: default headers, callbacks and redirects."""

from __future__ import annotations

import base64
import collections
import contextlib
import contextvars
import copy
import functools
import inspect
import socket
import ssl
from collections.abc import Iterator
from typing import Any

from tornado import httputil, version
from tornado.escape import native_str
from tornado.httpclient import HTTPRequest
from tornado.netutil import is_valid_ip

from ...failures import InvalidSchema
from ...http1.head import Head, allows_keep_alive
from ...messages import quoted
from ...request.callbacks import caller_errors, handler_of
from ...request.credentials import basic_credentials
from ...request.redirect import (
    BODY_HEADERS,
    CREDENTIAL_HEADERS,
    REDIRECT_CODES,
    becomes_get,
    location_of,
)
from ...request.request import Request
from ...request.tls import TLS, context_of
from ...request.url import URL, parse_any_host
from ..base import Response
from ..tornado_framing import check_framing

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
_METHODS_WITH_BODY = frozenset({"POST", "PATCH", "PUT"})
_UNSUPPORTED = ("proxy_host", "proxy_port", "proxy_username", "proxy_password", "proxy_auth_mode")
_NOT_GIVEN = dict.fromkeys(inspect.signature(HTTPRequest).parameters)


class Effective:
    """An `HTTPRequest` with the defaults of its client, as plain attributes.

    Tornado's proxy searches both objects at each of some thirty accesses, which would be a
    third of the cost of a request.
    """

    def __init__(self, proxy: Any) -> None:
        request = proxy.request
        given = {name: value for name, value in vars(request).items() if value is not None}
        self.__dict__: dict[str, Any] = {**_NOT_GIVEN, **proxy.defaults, **given}
        self.request: HTTPRequest = request
        if vars(request).get("has_left_origin"):
            self.auth_username = self.auth_password = None
        self.headers = request.headers
        self.body = request.body


def build_request(request: Any, max_body_size: int) -> Request:
    """Return the `Request` of an `Effective` request.

    :raises ValueError, KeyError, NotImplementedError: for an unsupported request, as
        Tornado's simple client does.
    """
    # The peer has chosen the URL of a redirect.
    is_from_peer = getattr(request, "original_request", None) is not None
    with _tornados_schema_error(request.url):
        url = parse_any_host(request.url, is_from_peer)
    _check(request)
    given = request.headers
    connection = given.get("Connection", "").lower().encode("latin-1")
    request.own_headers = own = _own_headers(request, url)
    headers = collections.ChainMap(own, given)
    check_framing(headers, request.body, request.body_producer is not None)
    # Without changes to the headers of the caller, who can use them for another request.
    fields = [field for field in given.get_all() if field[0] not in own]
    lines = [f"{native_str(name)}: {native_str(value)}" for name, value in (*fields, *own.items())]
    for line in (request.method, *lines):
        if "\r" in line or "\n" in line or "\0" in line:
            # Without the value, which can be secret.
            name = quoted(line.partition(":")[0])
            raise ValueError(f"Illegal characters (CR, LF or NUL) in header: {name}")
    built = Request(
        url,
        request.method,
        url.target,
        "HTTP/1.1",
        "".join(f"{line}\r\n" for line in lines).encode("latin-1"),
        request.body,
        # The connection of a successful CONNECT is a tunnel.
        keep_alive=request.method != "CONNECT" and allows_keep_alive("HTTP/1.1", connection),
        decompress=bool(request.decompress_response),
        max_body_size=max_body_size,
        tls=_tls(request),
        connect_timeout=request.connect_timeout,
        request_timeout=request.request_timeout,
    )
    # As in Tornado.
    built.suppress_ragged_eofs = True
    built.allows_padding = False
    built.expect_continue = request.expect_100_continue
    built.body_producer = request.body_producer
    if request.streaming_callback is not None:
        built.streaming_callback = handler_of(request.streaming_callback)
    if "Content-Length" in headers:
        built.content_length = int(headers["Content-Length"])
    if request.allow_ipv6 is False:
        built.family = int(socket.AF_INET)
    built.source_ip = request.network_interface
    built.on_head = functools.partial(_on_head, request, contextvars.copy_context())
    return built


@contextlib.contextmanager
def _tornados_schema_error(url: str) -> Iterator[None]:
    try:
        yield
    except InvalidSchema:
        # Without the rest of the URL, which can contain user info.
        scheme = quoted(url.partition(":")[0])
        raise ValueError(f"Unsupported url scheme: {scheme}") from None


def _check(request: Any) -> None:
    if not request.allow_nonstandard_methods:
        if request.method not in _METHODS:
            raise KeyError(f"unknown method {quoted(request.method)}")
        expected = request.method in _METHODS_WITH_BODY
        if expected != (request.body is not None or request.body_producer is not None):
            must = "must not" if expected else "must"
            raise ValueError(
                f"Body {must} be None for method {quoted(request.method)} "
                "(unless allow_nonstandard_methods is true)"
            )
    for name in _UNSUPPORTED:
        if getattr(request, name, None):
            raise NotImplementedError(f"{name} not supported")
    interface = request.network_interface
    if interface and not is_valid_ip(interface):
        raise ValueError(
            f"Unrecognized IPv4 or IPv6 address for network_interface, got {quoted(interface)}"
        )
    if request.auth_mode not in (None, "basic"):
        raise ValueError(f"unsupported auth_mode {quoted(request.auth_mode)}")


def _own_headers(request: Any, url: URL) -> dict[str, str]:
    """Return the headers that the client adds or replaces, by their normalized name."""
    given, headers = request.headers, {}
    if "Host" not in given:
        headers["Host"] = url.host_header
    if url.username is not None:
        headers["Authorization"] = basic_credentials(url.username, url.password or "")
    elif request.auth_username is not None:
        pair = httputil.encode_username_password(request.auth_username, request.auth_password or "")
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode('ascii')}"
    if request.user_agent:
        headers["User-Agent"] = request.user_agent
    elif "User-Agent" not in given:
        headers["User-Agent"] = f"Tornado/{version}"
    if request.expect_100_continue:
        headers["Expect"] = "100-continue"
    if request.body is not None:
        headers["Content-Length"] = str(len(request.body))
    elif "Content-Length" not in given:
        if request.body_producer is not None:
            headers["Transfer-Encoding"] = "chunked"
        elif request.method in _METHODS_WITH_BODY:
            headers["Content-Length"] = "0"
    if request.method == "POST" and "Content-Type" not in given:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    if request.decompress_response:
        headers["Accept-Encoding"] = "gzip"
    return headers


def _tls(request: Any) -> TLS | ssl.SSLContext:
    if request.ssl_options is not None:
        return context_of(request.ssl_options)
    return TLS(
        request.client_cert, request.client_key, request.ca_certs, bool(request.validate_cert)
    )


def follows_redirect(request: Any, head: Head | Response) -> bool:
    """Return whether the response is a redirect that ``request`` follows."""
    return bool(
        head.code in REDIRECT_CODES
        and request.follow_redirects
        and request.max_redirects > 0
        and head.headers.get("Location") is not None
    )


def _on_head(request: Any, variables: contextvars.Context, head: Head) -> bool:
    if head.gzip and request.decompress_response:
        # The caller receives a decoded body.
        head.headers.add("X-Consumed-Content-Encoding", head.headers["Content-Encoding"])
        del head.headers["Content-Encoding"]
    if follows_redirect(request, head):
        return False
    if request.header_callback is not None:
        with caller_errors():
            for line in _header_lines(head):
                variables.run(request.header_callback, line)
    return True


def _header_lines(head: Head) -> Iterator[str]:
    yield f"{head.version} {head.code} {head.reason}\r\n"
    for name, value in head.headers.get_all():
        yield f"{name}: {value}\r\n"
    yield "\r\n"


def redirected(request: Any, response: Response) -> HTTPRequest:
    """Return the request that a redirect response asks for.

    A redirect to another origin drops the credentials, as in Tornado 6.5.7 and newer.
    """
    new: Any = copy.copy(request.request)
    url, location = parse_any_host(request.url, is_from_peer=True), location_of(response)
    with _tornados_schema_error(location):
        target = url.join(location, any_host=True)
    new.url = target.url
    if fragment := location.partition("#")[2]:
        new.url += f"#{fragment}"
    new.headers = request.headers.copy()
    new.headers.update(request.own_headers)
    new.max_redirects = request.max_redirects - 1
    new.headers.pop("Host", None)
    if url.origin != target.origin:
        # The credentials of the request, and those in the defaults of the client.
        new.has_left_origin = True
        for name in CREDENTIAL_HEADERS:
            new.headers.pop(name, None)
    if becomes_get(response.code, request.method):
        new.method = "GET"
        new.body = new.body_producer = None
        for name in BODY_HEADERS:
            new.headers.pop(name, None)
    new.original_request = getattr(request, "original_request", request.request)
    return new  # type: ignore[no-any-return]
