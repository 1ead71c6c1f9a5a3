"""`build_request`: from the checked keywords to the first `Request` of a fetch."""

from __future__ import annotations

import functools
import re
import ssl
import sys
from collections.abc import Iterator
from typing import Any

from tornado.httpclient import HTTPRequest

from ..failures import BodyRequired, InvalidBody, InvalidURL
from ..headers import HTTPHeaders
from ..http1.head import allows_keep_alive
from .callbacks import handler_of
from .checks import check_method, check_one_host, check_version
from .credentials import basic_credentials
from .keywords import FetchOptions
from .multipart import Multipart
from .redirect import keeps_body
from .request import Request, header_block
from .streamed import StreamedBody, streamed_body
from .tls import TLS
from .url import URL, parse_url

_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_METHODS_WITH_FORM = _METHODS_WITH_BODY | {"DELETE"}
# The client computes them from the body.
_FRAMING = ("Content-Length", "Transfer-Encoding")
# libcurl sends a request head of at most 1 MiB. The rest is for the target of a redirect.
_MAX_HEAD_SIZE = 960 * 1024
_TARGET = re.compile(r"[!-\"$-~]+")


def build_request(
    url: object, options: FetchOptions, tls: TLS | ssl.SSLContext, max_body_size: int
) -> Request:
    """Build the first request of a fetch.

    :raises InvalidURL, InvalidSchema, BodyRequired, InvalidBody: for a request that ends as
        ``response.error``.
    :raises TypeError: for an ``HTTPRequest`` as ``url``.
    :raises TypeError, ValueError: for invalid changes by ``on_headers``. An exception of
        ``on_headers`` is raised unchanged.
    """
    if not isinstance(url, str):
        if isinstance(url, HTTPRequest):
            raise TypeError(
                "url must be a str, not an HTTPRequest; pass its URL and keywords to fetch(), or "
                "pass the HTTPRequest to the fetch() of an AsyncHTTPClient"
            )
        raise InvalidURL(f"the URL must be a str, not {type(url).__name__}")
    # The exact str: a subclass can override comparison and hash.
    address = parse_url(str.__str__(url))
    method = options.method
    content_type, body = "", options.body
    if not options.is_plain:
        address, body, content_type = _encoded(address, options)
    is_streamed = False
    if body is None:
        if method in _METHODS_WITH_BODY:
            raise _body_required(method)
    elif type(body) is not bytes:
        body = _bytes_or_streamed(body)
        is_streamed = type(body) is not bytes
    request = Request(
        address,
        method,
        address.target,
        options.http_version,
        b"",
        None if is_streamed else body,
        keep_alive=options.keep_alive,
        decompress=options.use_gzip,
        max_body_size=max_body_size,
        tls=tls,
        connect_timeout=options.connect_timeout,
        request_timeout=options.request_timeout,
    )
    if is_streamed:
        request.use_body(body)
    request.header_block = _header_block(request, options, content_type)
    if options.allow_redirects:
        request.on_head = keeps_body
    if not options.is_plain:
        _apply_rare(request, options)
    elif request.version == "HTTP/1.0":
        request.keep_alive = False
    if is_streamed and request.content_length is None and request.version == "HTTP/1.0":
        raise ValueError("http_version: HTTP/1.0 needs a body of known length: bytes or a file")
    if len(request.header_block) + len(request.target) > _MAX_HEAD_SIZE:
        raise _head_too_large()
    return request


def _encoded(url: URL, options: FetchOptions) -> tuple[URL, Any, str]:
    """Return the URL, the body and its content type."""
    if options.files is not None:
        multipart = Multipart(options.params, options.files)
        return url, multipart, multipart.content_type
    body, content_type = options.body, ""
    if options.json is not None:
        body, content_type = options.json, "application/json"
    if options.params is not None:
        if body is None and options.method in _METHODS_WITH_FORM:
            return url, options.params.encode("ascii"), "application/x-www-form-urlencoded"
        url = url.with_query(options.params)
    return url, body, content_type


def _apply_rare(request: Request, options: FetchOptions) -> None:
    if options.streaming_callback is not None:
        request.streaming_callback = handler_of(options.streaming_callback)
        # It is not stored in memory.
        request.max_body_size = sys.maxsize
    if options.on_headers is not None:
        _apply_on_headers(request, options)
    elif options.headers is not None and "connection" in options.headers:
        apply_connection(request, request.headers())
    elif request.version == "HTTP/1.0":
        request.keep_alive = False
    if options.proxy is not None:
        _check_proxy_headers(request.header_block)
        request.use_proxy(options.proxy)


def _check_proxy_headers(block: bytes) -> None:
    if b"\nproxy-authorization:" in b"\n" + block.lower():
        # In a tunnel, the origin would receive this header.
        raise ValueError("Proxy-Authorization is unsupported; put the user info into 'proxy'")


def _head_too_large() -> ValueError:
    return ValueError(
        f"the request line and the headers must not exceed {_MAX_HEAD_SIZE} bytes together"
    )


def _body_required(method: str) -> BodyRequired:
    return BodyRequired(f"{method} requires a body; pass body, json, files or params")


def _bytes_or_streamed(body: Any) -> bytes | StreamedBody:
    if isinstance(body, Multipart):
        return body
    try:
        # The methods of the base types: a subclass can override ``__len__``.
        if isinstance(body, str):
            return str.encode(body, "utf-8")
        return bytes(memoryview(body))
    except (TypeError, ValueError, BufferError):
        # A memoryview that was released is an iterable too.
        streamed = None if isinstance(body, (str, memoryview)) else streamed_body(body)
        if streamed is None:
            kind = type(body).__name__
            raise InvalidBody(
                "the body must be bytes-like, UTF-8 text, a binary file or an iterable of bytes, "
                f"not this {kind}"
            ) from None
        return streamed


@functools.lru_cache(maxsize=256)
def _default_lines(host: str, user_agent: str, use_gzip: bool) -> str:
    lines = f"Host: {host}\r\n"
    if user_agent:
        lines += f"User-Agent: {user_agent}\r\n"
    return f"{lines}Accept-Encoding: gzip\r\n" if use_gzip else lines


def _header_block(request: Request, options: FetchOptions, content_type: str) -> bytes:
    url = request.url
    lines = [_default_lines(url.host_header, options.user_agent, options.use_gzip)]
    username, password = options.auth_username, options.auth_password
    if username is None or username == url.username:
        username = url.username
        password = url.password if password is None else password
    if username is not None or password is not None:
        credentials = basic_credentials(username or "", password or "")
        lines.append(f"Authorization: {credentials}\r\n")
    if options.cookie is not None:
        lines.append(f"Cookie: {options.cookie}\r\n")
    if content_type:
        lines.append(f"Content-Type: {content_type}\r\n")
    if request.body is not None:
        lines.append(f"Content-Length: {len(request.body)}\r\n")
    elif request.body_producer is not None:
        lines += (f"{name}: {value}\r\n" for name, value in _framing(request))
    if not options.keep_alive:
        lines.append("Connection: close\r\n")
    block = "".join(lines)
    if options.headers is not None:
        own = {line.partition(":")[0].lower(): f"{line}\r\n" for line in block.split("\r\n")[:-1]}
        block = "".join((own | options.headers).values())
    return block.encode("latin-1")


def _framing(request: Request) -> Iterator[tuple[str, str]]:
    """Yield the header that determines the end of the body, if any."""
    length = request.content_length if request.body is None else len(request.body)
    if length is not None:
        yield "Content-Length", str(length)
    elif request.is_chunked:
        yield "Transfer-Encoding", "chunked"


def _apply_on_headers(request: Request, options: FetchOptions) -> None:
    headers = request.headers()
    before = headers.get_list("Transfer-Encoding")
    assert options.on_headers is not None
    options.on_headers(headers)
    if headers.get_list("Transfer-Encoding") != before:
        raise ValueError("on_headers cannot change Transfer-Encoding, which the client sets")
    check_one_host("on_headers", headers)
    request.method = check_method("method", headers.get_method())
    if not request.has_body and request.method in _METHODS_WITH_BODY:
        raise _body_required(request.method)
    target = headers.get_uri()
    if target != request.target:
        request.target = _check_target(target)
        path = request.target if request.target.startswith("/") else ""
        request.url = request.url._replace(path=path)
    request.version = check_version("http_version", headers.get_version())
    framing = dict(_framing(request))
    for name in _FRAMING:
        # In place, because the caller has chosen its position in the head.
        if name in framing:
            headers.set(name, framing[name])
        else:
            headers.remove(name)
    request.header_block = header_block(headers)
    apply_connection(request, headers)


def apply_changes(where: str, request: Request, headers: HTTPHeaders) -> None:
    """Send ``headers`` with ``request``, after a hook or a tool has changed them.

    :arg str where: the hook or tool, for a message.
    :raises ValueError: for an invalid header, and for a header that the client sets. The request
        is then unchanged.
    """
    unchanged = request.headers()
    if headers == unchanged:
        return
    for name in _FRAMING:
        if headers.get_list(name) != unchanged.get_list(name):
            raise ValueError(f"{where} cannot change {name}, which the client sets")
    check_one_host(where, headers)
    block = header_block(headers)
    if len(block) + len(request.target) > _MAX_HEAD_SIZE:
        raise _head_too_large()
    if request.proxy is not None:
        _check_proxy_headers(block)
    apply_connection(request, headers)
    request.header_block = block


def apply_connection(request: Request, headers: HTTPHeaders) -> None:
    """Turn ``request.keep_alive`` off if ``headers`` ask for it."""
    connection = headers.get("Connection", "").lower().encode("latin-1")
    if not allows_keep_alive(request.version, connection):
        request.keep_alive = False


def _check_target(target: str | None) -> str:
    if not isinstance(target, str):
        raise TypeError(f"uri must be a str, not {type(target).__name__}")
    if not _TARGET.fullmatch(target):
        raise ValueError("uri must be printable ASCII without spaces and '#'")
    return target
