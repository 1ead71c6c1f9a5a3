"""Requests of Tornado's own kind, carried out as Tornado's simple client does.

What `HTTPRequest` promises (default fields, redirects, callbacks) is kept here, apart
from the exchange itself, which knows none of it.
"""

from __future__ import annotations

import base64
import copy
import inspect
import socket
import ssl
import time
import urllib.parse
from typing import Any

from tornado import httputil, version
from tornado.escape import native_str
from tornado.httpclient import HTTPRequest, HTTPResponse
from tornado.netutil import is_valid_ip, ssl_options_to_context

from ..tls import TLS
from ..urls import DEFAULT_PORTS, URL, parse_url
from .exchange import Plan
from .hop import BODY_FIELDS, CREDENTIALS, REDIRECT_CODES, becomes_get
from .http1 import Head

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
_METHODS_WITH_BODY = frozenset({"POST", "PATCH", "PUT"})
_UNSUPPORTED = ("proxy_host", "proxy_port", "proxy_username", "proxy_password", "proxy_auth_mode")
_NOT_GIVEN = dict.fromkeys(inspect.signature(HTTPRequest).parameters)


class Effective:
    """An `HTTPRequest` with the defaults of its client, as plain attributes.

    The proxy that a client gets looks up both at each of some thirty accesses, which
    would be a third of the cost of a request.
    """

    def __init__(self, proxy: Any) -> None:
        request = proxy.request
        given = {name: value for name, value in vars(request).items() if value is not None}
        self.__dict__: dict[str, Any] = {**_NOT_GIVEN, **proxy.defaults, **given}
        self.request: HTTPRequest = request
        self.headers = request.headers
        self.body = request.body


def plan_request(request: Any, max_body_size: int) -> Plan:
    """Makes a `Plan` of an `Effective` request.

    :raises ValueError, KeyError, NotImplementedError: as Tornado's simple client does,
        for what it does not support.
    """
    url = _parse(request.url)
    _check(request)
    headers = request.headers
    keep_alive = "close" not in headers.get("Connection", "").lower()
    _add_default_fields(request, url, headers)
    lines = [f"{request.method} {url.target} HTTP/1.1"]
    lines += [f"{native_str(name)}: {native_str(value)}" for name, value in headers.get_all()]
    for line in lines:
        if "\r" in line or "\n" in line or "\0" in line:
            raise ValueError(f"Illegal characters (CR, LF or NUL) in header: {line!r}")
    plan = Plan(
        request.request,
        url,
        "\r\n".join([*lines, "", ""]).encode("latin-1"),
        request.body,
        keep_alive=keep_alive,
        decompress=bool(request.decompress_response),
        max_body_size=max_body_size,
        context=_context(request) if url.scheme == "https" else None,
        connect_timeout=request.connect_timeout,
        request_timeout=request.request_timeout,
    )
    plan.start_time = time.time()
    plan.expect_continue = request.expect_100_continue
    plan.body_producer = request.body_producer
    plan.streaming_callback = request.streaming_callback
    if "Content-Length" in headers:
        plan.content_length = int(headers["Content-Length"])
    if request.allow_ipv6 is False:
        plan.family = socket.AF_INET
    plan.source_ip = request.network_interface
    plan.on_head = lambda head: _on_head(request, plan, head)
    return plan


def _parse(url: str) -> URL:
    if urllib.parse.urlsplit(url).scheme not in DEFAULT_PORTS:
        raise ValueError(f"Unsupported url scheme: {url}")
    return parse_url(url)


def _check(request: Any) -> None:
    if not request.allow_nonstandard_methods:
        if request.method not in _METHODS:
            raise KeyError(f"unknown method {request.method}")
        expected = request.method in _METHODS_WITH_BODY
        if expected != (request.body is not None or request.body_producer is not None):
            must = "must not" if expected else "must"
            raise ValueError(
                f"Body {must} be None for method {request.method} "
                "(unless allow_nonstandard_methods is true)"
            )
    for name in _UNSUPPORTED:
        if getattr(request, name, None):
            raise NotImplementedError(f"{name} not supported")
    interface = request.network_interface
    if interface and not is_valid_ip(interface):
        raise ValueError(
            f"Unrecognized IPv4 or IPv6 address for network_interface, got {interface!r}"
        )
    if request.auth_mode not in (None, "basic"):
        raise ValueError(f"unsupported auth_mode {request.auth_mode}")


def _add_default_fields(request: Any, url: URL, headers: httputil.HTTPHeaders) -> None:
    if "Host" not in headers:
        headers["Host"] = url.netloc
    username, password = url.username, url.password
    if username is None and request.auth_username is not None:
        username, password = request.auth_username, request.auth_password or ""
    if username is not None:
        credentials = base64.b64encode(httputil.encode_username_password(username, password or ""))
        headers["Authorization"] = f"Basic {credentials.decode('ascii')}"
    if request.user_agent:
        headers["User-Agent"] = request.user_agent
    elif "User-Agent" not in headers:
        headers["User-Agent"] = f"Tornado/{version}"
    if request.expect_100_continue:
        headers["Expect"] = "100-continue"
    if request.body is not None:
        headers["Content-Length"] = str(len(request.body))
    elif request.method in _METHODS_WITH_BODY and "Content-Length" not in headers:
        if request.body_producer is None:
            headers["Content-Length"] = "0"
        else:
            headers["Transfer-Encoding"] = "chunked"
    if request.method == "POST" and "Content-Type" not in headers:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    if request.decompress_response:
        headers["Accept-Encoding"] = "gzip"


def _context(request: Any) -> ssl.SSLContext:
    if request.ssl_options is not None:
        return ssl_options_to_context(request.ssl_options, server_side=False)
    return TLS(
        request.client_cert, request.client_key, request.ca_certs, bool(request.validate_cert)
    ).context()


def follows_redirect(request: Any, code: int, headers: httputil.HTTPHeaders) -> bool:
    """Whether the response with this head is a redirect that ``request`` follows."""
    return bool(
        code in REDIRECT_CODES
        and request.follow_redirects
        and request.max_redirects > 0
        and headers.get("Location") is not None
    )


def _on_head(request: Any, plan: Plan, head: Head) -> bool:
    if head.gzip and plan.decompress:
        # Those who read the body see no encoding any more.
        head.headers.add("X-Consumed-Content-Encoding", head.headers["Content-Encoding"])
        del head.headers["Content-Encoding"]
    if follows_redirect(request, head.code, head.headers):
        return False
    if request.header_callback is not None:
        request.header_callback(f"{head.version} {head.code} {head.reason}\r\n")
        for name, value in head.headers.get_all():
            request.header_callback(f"{name}: {value}\r\n")
        request.header_callback("\r\n")
    return True


def redirected(request: Any, response: HTTPResponse) -> HTTPRequest:
    """Returns the request that a redirect response asks for.

    Credentials stay at their origin, as with Tornado 6.5.7 and newer.
    """
    new: Any = copy.copy(request.request)
    new.url = urllib.parse.urljoin(request.url, response.headers["Location"])
    new.headers = request.headers.copy()
    new.max_redirects = request.max_redirects - 1
    new.headers.pop("Host", None)
    target = _parse(new.url)
    if parse_url(request.url).origin != target.origin:
        new.auth_username = new.auth_password = None
        new.url = target.url
        for name in CREDENTIALS:
            new.headers.pop(name, None)
    if becomes_get(response.code, request.method):
        new.method = "GET"
        new.body = None
        for name in BODY_FIELDS:
            new.headers.pop(name, None)
    new.original_request = getattr(request, "original_request", request.request)
    return new  # type: ignore[no-any-return]
