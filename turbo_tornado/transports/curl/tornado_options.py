"""`TornadoHandle`: a curl handle, and the options to send an ``HTTPRequest``.

Tornado's code sets the options once. Requests that differ in URL, headers and body only are
then sent by setting these. Requests with callbacks or credentials need Tornado's code each
time: `TornadoCallbacks`.

This module uses private names of Tornado: ``_RequestProxy``, which adds the defaults of a
client to a request, and ``_curl_setup_request`` of the client, which sets the options.
"""

from __future__ import annotations

import contextvars
import copy
import functools
import logging
import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pycurl
from tornado import httputil
from tornado.curl_httpclient import CurlAsyncHTTPClient
from tornado.escape import native_str, utf8
from tornado.httpclient import HTTPRequest, _RequestProxy

from ...messages import quoted
from ...request.request import IDEMPOTENT_METHODS
from .attempt import FAILED, GO_ON, STOP
from .connections import UNUSABLE, Attempt, Claim, Connections
from .delivery import Delivery
from .options import BUFFER_SIZE, is_refusal
from .socket_state import COUNTS_RECEIVED, Address

_curl_log = logging.getLogger("tornado.curl_httpclient")
_CR_OR_LF = re.compile(rb"[\r\n]")
_CLOSE = re.compile(r"(?:^|,)[ \t]*close[ \t]*(?:,|$)", re.IGNORECASE)
# Attributes of an HTTPRequest that are set for each request.
_PER_REQUEST = ("url", "_headers", "_body", "start_time")
_CALLBACKS = ("header_callback", "prepare_curl_callback")
STREAMED = ("body_producer", "streaming_callback")
_NEED_TORNADO = (
    *_CALLBACKS,
    *STREAMED,
    "auth_username",
    "proxy_username",
    "ssl_options",
)


class TornadoAttempt(Attempt):
    """One attempt to carry out a request and the redirects that libcurl follows."""

    def __init__(self, is_tls: bool, connections: Connections, max_body_size: int) -> None:
        # Over TLS, libcurl offers HTTP/2.
        super().__init__(is_tls, may_share=is_tls)
        self._connections = connections
        self._max_body_size = max_body_size
        self.buffer = BytesIO()
        self._size = 0
        #: Whether the last head is complete.
        self.has_head = False
        #: Whether the first request has had no response yet.
        self.is_first_request = True
        self._is_awaiting_head = False
        #: The receiver of the body instead of ``buffer``.
        self.delivery: Delivery | None = None
        #: Whether the body is over its limit.
        self.is_too_large = False

    def allows_reuse(self) -> bool:
        # libcurl itself closes a connection if the head requires it.
        return self.has_head and not self.is_early

    def on_sending(self, address: Address) -> int:
        if self.claim is None:
            refused: tuple[Claim, ...] = UNUSABLE
        elif self._is_awaiting_head and self.is_first_request:
            # libcurl repeats a request on a connection that was closed, with any method.
            self._connections.add_unused(address, self)
            return STOP
        else:
            # The request of a redirect. libcurl repeats it if the connection is closed.
            self.is_first_request = False
            self.is_tls = COUNTS_RECEIVED
            refused = (Claim.REFUSED,)
        if self._connections.claim(address, self) in refused:
            return STOP
        self._is_awaiting_head = True
        return GO_ON

    def on_header(self, line: bytes) -> int | None:
        lines = self.lines
        # Called for each line. The first case applies to most lines.
        if lines and not self.has_head:
            lines.append(line)
            if len(line) <= 2 and line in (b"\r\n", b"\n"):
                self.has_head = True
            return None
        if self._is_awaiting_head:
            self._is_awaiting_head = False
            if self._connections.is_early(self):
                self.is_early = True
                return FAILED
        if line.startswith(b"HTTP/"):
            # Otherwise a trailer.
            lines.clear()
            self.has_head = False
            self.has_response = True
            self.is_http2 = line.startswith(b"HTTP/2")
        lines.append(line)
        return None

    def on_body(self, chunk: bytes) -> int | None:
        if self._size + len(chunk) > self._max_body_size:
            self.is_too_large = True
            return FAILED
        if self.delivery is None:
            self.buffer.write(chunk)
        elif (result := self.delivery.write(chunk)) is not None:
            return result
        self._size += len(chunk)
        return None


class TornadoHandle:
    """A curl handle for requests of Tornado.

    :arg client: Tornado's client, which sets the options.
    :arg connections: decides on the connections of the handle.
    """

    #: The attempt in progress.
    attempt: TornadoAttempt

    def __init__(self, client: CurlAsyncHTTPClient, connections: Connections) -> None:
        self.client = client
        self.curl = client._curl_create()
        self._connections = connections
        self._settings: tuple[object, ...] | None = None
        self._closes: bool | None = None
        self._is_verbose: bool | None = None

    def set_up(self, request: HTTPRequest) -> bool:
        """Set the options for a request, and return whether that was possible."""
        raw = raw_request(request)
        curl = self.curl
        body = raw.body
        attributes = vars(raw).copy()
        for name in _PER_REQUEST:
            attributes.pop(name, None)
        settings = (body is None, attributes, *self.client.defaults.values())
        if settings != self._settings:
            self._settings = None
            curl.reset()
            self._closes = self._is_verbose = None
            if _needs_tornado(request):
                return False
            self._configure(raw)
        # An exception below leaves options that do not match `_settings`.
        self._settings = None
        curl.setopt(pycurl.URL, native_str(raw.url))
        curl.setopt(pycurl.HTTPHEADER, _encoded(request.headers))
        self.set_closes(forbids_reuse(raw))
        is_verbose = needs_refusals(raw)
        if is_verbose != self._is_verbose:
            curl.setopt(pycurl.VERBOSE, is_verbose)
            self._is_verbose = is_verbose
        if body is not None:
            curl.setopt(pycurl.POSTFIELDS, utf8(body))
        self._settings = settings
        return True

    def _configure(self, raw: HTTPRequest) -> None:
        template = copy.copy(raw)
        template.headers = httputil.HTTPHeaders()
        if template.body is not None:
            template.body = b""
        request: Any = _RequestProxy(template, self.client.defaults)
        self.client._curl_setup_request(self.curl, request, BytesIO(), template.headers)
        self.curl.setopt(pycurl.BUFFERSIZE, BUFFER_SIZE)
        self.set_connection_callbacks()

    def set_connection_callbacks(self) -> None:
        """Make libcurl report which connections it opens and uses."""
        self.curl.setopt(pycurl.SOCKOPTFUNCTION, self._on_socket)
        self.curl.setopt(pycurl.PREREQFUNCTION, self._on_sending)
        if not _curl_log.isEnabledFor(logging.DEBUG):
            self.curl.setopt(pycurl.DEBUGFUNCTION, self._on_debug)

    def set_attempt(self, attempt: TornadoAttempt, is_fresh: bool) -> None:
        """Set the options for one attempt.

        :arg bool is_fresh: open a new connection.
        """
        self.attempt = attempt
        self.curl.setopt(pycurl.HEADERFUNCTION, attempt.on_header)
        self.curl.setopt(pycurl.WRITEFUNCTION, attempt.on_body)
        self.curl.setopt(pycurl.FRESH_CONNECT, is_fresh)

    def set_closes(self, closes: bool) -> None:
        """Set whether libcurl closes the connection after the attempt."""
        if closes != self._closes:
            self.curl.setopt(pycurl.FORBID_REUSE, closes)
            self._closes = closes

    def _on_debug(self, kind: int, text: bytes) -> None:
        if is_refusal(kind, text):
            self.attempt.is_unprocessed = True

    def _on_socket(self, fd: int, purpose: int) -> int:
        self._connections.on_socket(fd)
        self.attempt.new_sockets.append(fd)
        return GO_ON

    def _on_sending(self, peer: str, host: str, peer_port: int, port: int) -> int:
        return self.attempt.on_sending((host, port, peer, peer_port))


class HeaderCallback:
    """The ``header_callback`` of a request that Tornado's code carries out.

    `CurlTransport` gives each line to ``handle``, and then to the callback of the user.
    """

    def __init__(self, handle: TornadoHandle, callback: Callable[[str], None] | None) -> None:
        self.handle = handle
        self.callback = callback


class PreparedRequest(_RequestProxy):
    """A copy of a request for Tornado's code, which changes the headers.

    The callbacks run in the context of ``fetch``.
    """

    def __init__(
        self, raw: HTTPRequest, handle: TornadoHandle, context: contextvars.Context
    ) -> None:
        super().__init__(raw, handle.client.defaults)
        self.headers = raw.headers.copy()
        wrapped = {name: _in_context(context, getattr(self, name)) for name in _CALLBACKS}
        self.__dict__.update(wrapped)
        self.header_callback = HeaderCallback(handle, wrapped["header_callback"])
        producer = super().__getattr__("body_producer")
        # `TornadoStreams` adds them.
        self.__dict__.update(dict.fromkeys(STREAMED))
        if producer is not None:
            self.body = b""
            if "Content-Length" not in self.headers:
                self.headers["Transfer-Encoding"] = "chunked"


def _in_context(context: contextvars.Context, callback: Any) -> Any:
    return None if callback is None else functools.partial(context.run, callback)


def raw_request(request: HTTPRequest) -> HTTPRequest:
    """Return the request of the user without the defaults of the client."""
    raw: HTTPRequest = getattr(request, "request", request)
    return raw


def forbids_reuse(request: HTTPRequest) -> bool:
    """Return whether the connection must not be reused after ``request``."""
    if request.method == "CONNECT":
        return True
    headers = request.headers
    return bool(headers and _CLOSE.search(headers.get("Connection", "")))


def needs_refusals(request: HTTPRequest) -> bool:
    """Return whether it matters that an HTTP/2 peer has refused ``request``."""
    return request.method not in IDEMPOTENT_METHODS and not request.url.startswith("http:")


def _needs_tornado(request: HTTPRequest) -> bool:
    return (
        (request.body is not None) != (request.method == "POST")
        or any(getattr(request, name, None) is not None for name in _NEED_TORNADO)
        or _curl_log.isEnabledFor(logging.DEBUG)
    )


def _encoded(headers: httputil.HTTPHeaders) -> list[bytes]:
    """Return the entries of HTTPHEADER that Tornado's curl client sets."""
    lines = []
    for name, value in headers.get_all():
        line = b"%b: %b" % (native_str(name).encode("ascii"), native_str(value).encode("latin-1"))
        if _CR_OR_LF.search(line):
            # Without the value, which can be secret.
            shown = quoted(native_str(name))
            raise ValueError(f"Illegal characters in header (CR or LF): {shown}")
        lines.append(line)
    for field in ("Expect", "Pragma"):
        if field not in headers:
            lines.append(b"%b:" % field.encode("ascii"))
    return lines
