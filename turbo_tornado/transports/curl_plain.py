"""`PlainHandle`: a request of Tornado's own kind on libcurl.

Tornado's own code sets the handle up, once: as long as requests differ only in URL,
fields and body, a handle is set to the next one by these alone. What is rarely asked
for (callbacks, credentials) is left to Tornado's code altogether.

This module needs private names of Tornado's: ``_RequestProxy``, which adds the defaults
of a client to a request; and of its client ``_curl_create`` and ``_curl_setup_request``,
which make a handle and set it up, and ``_free_list``, ``_requests``, ``_process_queue``
and ``_finish``, to have a request carried out by Tornado's code of whatever version.
"""

from __future__ import annotations

import copy
import functools
import logging
import re
import time
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pycurl
from tornado import httputil
from tornado.curl_httpclient import CurlError
from tornado.escape import native_str, utf8
from tornado.httpclient import HTTPRequest, HTTPResponse, _RequestProxy

from ..headers import HTTPHeaders
from . import libcurl
from .curl_engine import CLOSED
from .failures import client_closed
from .future import Abort
from .http1 import FIELD

if TYPE_CHECKING:
    from .curl import CurlTransport

_curl_log = logging.getLogger("tornado.curl_httpclient")
_CR_OR_LF = re.compile(rb"[\r\n]")
_CLEAN_FIELDS = re.compile(rb"(?:%b\r\n)*" % FIELD)
# Attributes of an HTTPRequest that its handle is set to each time.
_PER_REQUEST = ("url", "_headers", "_body", "start_time")
_LEFT_TO_TORNADO = (
    "streaming_callback",
    "header_callback",
    "prepare_curl_callback",
    "body_producer",
    "auth_username",
    "proxy_username",
    "ssl_options",
)


class PlainHandle:
    """A curl handle for other requests: what it is set to, and what it carries."""

    request: HTTPRequest
    callback: Callable[[HTTPResponse], None]

    def __init__(self, transport: CurlTransport) -> None:
        self.transport = transport
        self.curl = transport._curl_create()
        self._settings: tuple[object, ...] | None = None
        self._lines: list[bytes] = []

    def start(
        self, request: HTTPRequest, callback: Callable[[HTTPResponse], None], created: float
    ) -> Abort | None:
        """Begins; returns what stops it, or ``None`` when it has failed already."""
        self.request = request
        self.callback = callback
        self._created = created
        self._started = self.transport.io_loop.time()
        self._start_time = time.time()
        self._lines.clear()
        self._buffer = BytesIO()
        self._size = 0
        try:
            if not self._set_up(request):
                return self._start_tornado()
        except Exception as error:
            self._settings = None
            self._respond(HTTPResponse(request, 599, error=error))
            return None
        self.transport._engine.add(self.curl, self._done)
        return self._abort

    def _set_up(self, request: HTTPRequest) -> bool:
        """Sets the handle up; returns whether this could be done here."""
        # A proxy that adds the defaults of the client, which makes every look slow.
        raw: HTTPRequest = getattr(request, "request", request)
        curl = self.curl
        body = raw.body
        attributes = vars(raw).copy()
        for name in _PER_REQUEST:
            attributes.pop(name, None)
        settings = (body is None, attributes, *self.transport.defaults.values())
        if settings != self._settings:
            self._settings = None
            curl.reset()
            if not self._is_plain(request):
                return False
            self._configure(raw)
            self._settings = settings
        # Over TLS it may be one of HTTP/2, which need not be idle.
        fresh = raw.url.startswith("http:") and not self.transport._engine.may_reuse()
        curl.setopt(pycurl.FRESH_CONNECT, fresh)
        curl.setopt(pycurl.URL, native_str(raw.url))
        curl.setopt(pycurl.HTTPHEADER, _encoded(request.headers))
        if body is not None:
            curl.setopt(pycurl.POSTFIELDS, utf8(body))
        return True

    def _is_plain(self, request: HTTPRequest) -> bool:
        return (
            (request.body is not None) == (request.method == "POST")
            and all(getattr(request, name, None) is None for name in _LEFT_TO_TORNADO)
            and not _curl_log.isEnabledFor(logging.DEBUG)
        )

    def _configure(self, raw: HTTPRequest) -> None:
        transport = self.transport
        template = copy.copy(raw)
        template.headers = httputil.HTTPHeaders()
        if template.body is not None:
            template.body = b""
        request: Any = _RequestProxy(template, transport.defaults)
        transport._curl_setup_request(self.curl, request, BytesIO(), template.headers)
        self.curl.setopt(pycurl.BUFFERSIZE, libcurl.BUFFER_SIZE)
        self.curl.setopt(pycurl.HEADERFUNCTION, self._on_header)
        self.curl.setopt(pycurl.WRITEFUNCTION, self._on_body)

    def _on_header(self, line: bytes) -> None:
        if line.startswith(b"HTTP/"):
            # Of another response: one before it was interim, or a redirect.
            self._lines.clear()
        self._lines.append(line)

    def _on_body(self, chunk: bytes) -> int | None:
        self._size += len(chunk)
        if self._size > self.transport.max_body_size:
            return 0
        self._buffer.write(chunk)
        return None

    def _done(self, code: int, message: str) -> None:
        transport = self.transport
        curl = self.curl
        transport._engine.multi.remove_handle(curl)
        headers = httputil.HTTPHeaders()
        reason = effective_url = None
        error: Exception | None = None
        if code == CLOSED:
            error = client_closed()
        elif code:
            if self._size > transport.max_body_size:
                message = f"body exceeded max_body_size of {transport.max_body_size} bytes"
            error = CurlError(code, message)
        if self._lines:
            try:
                headers, reason = _received(self._lines)
            except Exception as bad_line:
                if error is None:
                    error = CurlError(pycurl.E_WRITE_ERROR, str(bad_line))
        status = 599
        buffer: BytesIO | None = None
        if error is None:
            status = curl.getinfo(pycurl.HTTP_CODE)
            effective_url = curl.getinfo(pycurl.EFFECTIVE_URL)
            buffer = self._buffer
            buffer.seek(0)
        self._respond(
            HTTPResponse(
                self.request,
                status,
                headers=headers,
                buffer=buffer,
                effective_url=effective_url,
                error=error,
                reason=reason,
                request_time=transport.io_loop.time() - self._started,
                start_time=self._start_time,
                time_info={
                    "queue": self._started - self._created,
                    "namelookup": curl.getinfo(pycurl.NAMELOOKUP_TIME),
                    "connect": curl.getinfo(pycurl.CONNECT_TIME),
                    "appconnect": curl.getinfo(pycurl.APPCONNECT_TIME),
                    "pretransfer": curl.getinfo(pycurl.PRETRANSFER_TIME),
                    "starttransfer": curl.getinfo(pycurl.STARTTRANSFER_TIME),
                    "total": curl.getinfo(pycurl.TOTAL_TIME),
                    "redirect": curl.getinfo(pycurl.REDIRECT_TIME),
                },
            )
        )

    def _respond(self, response: HTTPResponse) -> None:
        callback = self.callback
        try:
            callback(response)
        except Exception:
            self.transport.handle_callback_exception(callback)
        # libcurl takes a head that is cut for a whole one.
        whole = b"\r\n" in self._lines or b"\n" in self._lines
        self._release(sound=whole and response.code != 599)

    def _abort(self) -> None:
        self.transport._engine.remove(self.curl)
        self._release(sound=False)

    def _release(self, sound: bool) -> None:
        body = self.request.body
        del self.request, self.callback, self._buffer
        self.transport._release(self, self.transport._spare, sound, body)

    # What Tornado's code carries out from here to the response.

    def _start_tornado(self) -> Abort | None:
        transport = self.transport
        # Not one that has been reset: Tornado 6.4 sets it up for debugging when it is made.
        self.curl.close()
        self.curl = transport._curl_create()
        transport._free_list.append(self.curl)
        transport._requests.append((self.request, self.callback, self._created))
        transport._process_queue()
        if self.curl in transport._free_list:
            self._end_tornado()
            return None
        transport._engine.adopt(self.curl, self._done_tornado)
        return self._abort_tornado

    def _done_tornado(self, code: int, message: str) -> None:
        transport = self.transport
        if code == CLOSED:
            transport._engine.multi.remove_handle(self.curl)
            self._respond(HTTPResponse(self.request, 599, error=client_closed()))
        else:
            transport._finish(self.curl, code or None, message)
            self._end_tornado()

    def _end_tornado(self) -> None:
        # How the transfer has ended, Tornado's code alone knows.
        self.transport._free_list.remove(self.curl)
        self._release(sound=False)

    def _abort_tornado(self) -> None:
        # Tornado's streaming buffer may still want to resume this transfer: it finds a
        # closed handle, not one that carries another transfer.
        self.transport._engine.remove(self.curl)
        self.curl.close()
        self.curl = self.transport._curl_create()
        self._release(sound=True)


class _ReceivedHeaders(HTTPHeaders):
    """Tornado's header mapping, parsed when it is first used."""

    get = httputil.HTTPHeaders.get  # type: ignore[assignment]


def _received(lines: list[bytes]) -> tuple[httputil.HTTPHeaders, str | None]:
    """Returns the headers and the reason as Tornado's curl client gives them."""
    reason = _reason(lines[0])
    block = b"".join(lines[1:-1])
    if reason is not None and lines[-1] == b"\r\n" and _CLEAN_FIELDS.fullmatch(block):
        first = b"X-Http-Reason: %b\r\n" % reason.encode("latin-1")
        return _ReceivedHeaders.deferred(first + block), reason
    # Folded lines, trailers, and what is not proper: line by line as Tornado does.
    headers = httputil.HTTPHeaders()
    if reason is not None:
        headers.parse_line(f"X-Http-Reason: {reason}")
    for line in lines[1:]:
        text = line.decode("latin-1").rstrip()
        if text:
            headers.parse_line(text)
    return headers, headers.get("X-Http-Reason")


@functools.lru_cache(maxsize=256)
def _reason(status_line: bytes) -> str | None:
    try:
        line = httputil.parse_response_start_line(status_line.decode("latin-1").rstrip())
    except httputil.HTTPInputError:
        return None
    return line.reason


def _encoded(headers: httputil.HTTPHeaders) -> list[bytes]:
    """Returns the fields of a request as Tornado's curl client gives them to libcurl."""
    lines = []
    for name, value in headers.get_all():
        line = b"%b: %b" % (native_str(name).encode("ascii"), native_str(value).encode("latin-1"))
        if _CR_OR_LF.search(line):
            raise ValueError(f"Illegal characters in header (CR or LF): {line!r}")
        lines.append(line)
    for field in ("Expect", "Pragma"):
        if field not in headers:
            lines.append(b"%b:" % field.encode("ascii"))
    return lines
