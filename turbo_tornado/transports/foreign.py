"""Hops for transports that are not ours: stock Tornado's clients and any other.

They get an `HTTPRequest` that says as much as one can say. What such a request cannot
say is refused here.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from ..headers import HTTPHeaders
from .hop import Hop


def foreign_request(transport: AsyncHTTPClient, hop: Hop) -> HTTPRequest:
    """Returns the request that makes ``transport`` do as much of ``hop`` as it can.

    :raises ValueError: when the hop asks for what no `HTTPRequest` can say: another
        version than HTTP/1.1, or trust in a directory of certificates where the
        transport takes no `ssl.SSLContext`; or for a body with GET or HEAD, of which
        Tornado's curl client makes another method.
    """
    name = type(transport).__name__
    if hop.version != "HTTP/1.1":
        raise ValueError(f"{name} cannot be asked for {hop.version}; use transport='curl'")
    headers = HTTPHeaders.deferred(hop.fields)
    headers.remove("Content-Length")
    request = HTTPRequest(
        hop.url,
        hop.method,
        headers,
        hop.body,
        connect_timeout=hop.connect_timeout,
        request_timeout=hop.request_timeout,
        follow_redirects=False,
        user_agent=headers.get("User-Agent"),
        decompress_response=hop.decompress,
        allow_nonstandard_methods=True,
    )
    if _is_stock_curl(transport):
        if hop.body is not None and hop.method in ("GET", "HEAD"):
            raise ValueError(f"{name} sends no body with {hop.method}; use transport='curl'")
        request.prepare_curl_callback = functools.partial(_set_reuse, reuse=hop.keep_alive)
    tls = hop.tls
    if tls is None:
        return request
    if isinstance(transport, SimpleAsyncHTTPClient):
        request.ssl_options = tls.context()
        return request
    cafile, capath = tls.trust
    if cafile is None and capath is not None:
        raise ValueError(
            f"{name} takes no directory as ca_path; give a PEM file or use transport='curl'"
        )
    request.ca_certs = cafile
    request.validate_cert = tls.verify_ca
    request.client_cert, request.client_key = tls.cert_file, tls.priv_file
    return request


def _is_stock_curl(transport: AsyncHTTPClient) -> bool:
    # Where there is an instance, the module has been imported.
    module = sys.modules.get("tornado.curl_httpclient")
    return module is not None and isinstance(transport, module.CurlAsyncHTTPClient)


def _set_reuse(curl: Any, reuse: bool) -> None:
    # Tornado uses a handle again as it was left.
    curl.setopt(curl.FRESH_CONNECT, not reuse)
    curl.setopt(curl.FORBID_REUSE, not reuse)
