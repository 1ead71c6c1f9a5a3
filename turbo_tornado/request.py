"""`Outgoing`: a request, from the checked keywords to the bytes of each hop."""

from __future__ import annotations

import re
from typing import NamedTuple

from .errors import Refused, errors
from .headers import HTTPHeaders, field_lines
from .options import FetchOptions, basic_credentials, token, version
from .transports.hop import BODY_FIELDS, CREDENTIALS, becomes_get
from .urls import URL, InvalidURL, parse_url

_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_METHODS_WITH_FORM = _METHODS_WITH_BODY | {"DELETE"}


class Outgoing(NamedTuple):
    """One request of a fetch: every byte of it."""

    url: URL
    method: str
    target: str
    version: str
    fields: bytes
    body: bytes | None

    def __repr__(self) -> str:
        # Of a traceback with the values of its variables; the fields are not for a log.
        return f"<Outgoing {self.method} {self.url!r}>"

    def headers(self) -> HTTPHeaders:
        """Returns what is sent, as `HTTPHeaders`."""
        headers = HTTPHeaders.deferred(self.fields)
        headers._method, headers._uri, headers._version = self.method, self.target, self.version
        return headers

    def redirected(self, code: int, location: str) -> Outgoing:
        """Returns the request that a redirect response asks for.

        :raises InvalidURL, InvalidSchema: when ``location`` is not what it can be.
        """
        url = self.url.join(location)
        method, body = self.method, self.body
        headers = HTTPHeaders.deferred(self.fields)
        if becomes_get(code, method):
            method, body = "GET", None
            for name in BODY_FIELDS:
                headers.remove(name)
        if url.origin != self.url.origin:
            for name in CREDENTIALS:
                headers.remove(name)
            if "Host" in headers:
                headers.set("Host", url.netloc)
        fields = field_lines(headers).encode("latin-1")
        return Outgoing(url, method, url.target, self.version, fields, body)


def prepare(url: object, options: FetchOptions) -> Outgoing:
    """Makes the first request of a fetch.

    :raises InvalidURL, InvalidSchema, Refused: for what becomes ``response.error``.
    :raises TypeError, ValueError: for what ``on_headers`` made of the headers; an
        exception of ``on_headers`` itself passes through.
    """
    if not isinstance(url, str):
        raise InvalidURL(f"the URL must be a str, not {type(url).__name__}")
    address = parse_url(str.__str__(url))
    method = options.method
    body = None if options.body is None else _as_bytes(options.body)
    form = False
    if options.params is not None:
        form = body is None and method in _METHODS_WITH_FORM
        if form:
            body = options.params.encode("ascii")
        else:
            address = address.with_query(options.params)
    if body is None:
        _require_body(method)
    outgoing = Outgoing(
        address,
        method,
        address.target,
        options.http_version,
        _fields(address, options, body, form),
        body,
    )
    return outgoing if options.on_headers is None else _changed(outgoing, options)


def _require_body(method: str) -> None:
    if method in _METHODS_WITH_BODY:
        raise Refused(errors.REQUIRES_BODY, f"{method} needs a body or params, and has neither")


def _as_bytes(body: object) -> bytes:
    if type(body) is bytes:
        return body
    try:
        # What a subclass says of its length would be believed by the peer.
        if isinstance(body, str):
            return str.encode(body, "utf-8")
        return bytes(memoryview(body))  # type: ignore[arg-type]
    except (TypeError, ValueError, BufferError):
        kind = type(body).__name__
        raise Refused(
            errors.INVALID_BODY, f"the body must be bytes-like or UTF-8 text, not this {kind}"
        ) from None


def _fields(url: URL, options: FetchOptions, body: bytes | None, form: bool) -> bytes:
    lines = [f"Host: {url.netloc}\r\n"]
    if options.user_agent:
        lines.append(f"User-Agent: {options.user_agent}\r\n")
    if options.use_gzip:
        lines.append("Accept-Encoding: gzip\r\n")
    username, password = options.auth_username, options.auth_password
    if username is None or username == url.username:
        username = url.username
        password = url.password if password is None else password
    if username is not None or password is not None:
        credentials = basic_credentials(username or "", password or "")
        lines.append(f"Authorization: {credentials}\r\n")
    if options.cookie is not None:
        lines.append(f"Cookie: {options.cookie}\r\n")
    if form:
        lines.append("Content-Type: application/x-www-form-urlencoded\r\n")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}\r\n")
    if not options.keep_alive:
        lines.append("Connection: close\r\n")
    return "".join(lines).encode("latin-1")


def _changed(outgoing: Outgoing, options: FetchOptions) -> Outgoing:
    headers = outgoing.headers()
    assert options.on_headers is not None
    options.on_headers(headers)
    if "Transfer-Encoding" in headers:
        raise ValueError("on_headers set Transfer-Encoding; the whole body is sent at once")
    if outgoing.body is None:
        headers.remove("Content-Length")
    else:
        headers.set("Content-Length", len(outgoing.body))
    method = token("method", headers.get_method())
    if outgoing.body is None:
        _require_body(method)
    target = headers.get_uri()
    url = outgoing.url
    if target != outgoing.target:
        target = _checked_target(target)
        url = url._replace(path=target if target.startswith("/") else "")
    return Outgoing(
        url,
        method,
        target,
        version("http_version", headers.get_version()),
        field_lines(headers).encode("latin-1"),
        outgoing.body,
    )


_TARGET = re.compile(r"[!-\"$-~]+")


def _checked_target(target: str | None) -> str:
    if not isinstance(target, str):
        raise TypeError(f"uri must be a str, not {type(target).__name__}")
    if not _TARGET.fullmatch(target):
        raise ValueError("uri must be printable ASCII without spaces and '#'")
    return target
