"""`HopHandle`: a hop on libcurl, which is told to add nothing of its own.

This module needs ``_curl_create`` of Tornado's client, which makes a handle.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import pycurl
from tornado.curl_httpclient import CurlError
from tornado.httpclient import HTTPRequest, HTTPResponse

from ..tls import TLS
from . import libcurl
from .body import Body, body_of
from .curl_engine import CLOSED, Address
from .failures import (
    BodyError,
    BrokenConnection,
    ConnectTimeout,
    HandshakeFailed,
    HeadTooLarge,
    MalformedResponse,
    NoResponse,
    RequestTimeout,
    client_closed,
)
from .future import FetchFuture
from .hop import IDEMPOTENT_METHODS, Hop
from .http1 import MAX_INTERIM_RESPONSES, Head, check_partial_head, check_trailer, parse_head

if TYPE_CHECKING:
    from .curl import CurlTransport

# libcurl takes milliseconds as a C long, which has 32 bits on Windows.
_LONGEST = 2**31 - 1
_HTTP_VERSIONS = {
    "HTTP/1.0": pycurl.CURL_HTTP_VERSION_1_0,
    "HTTP/1.1": pycurl.CURL_HTTP_VERSION_1_1,
    "HTTP/2": pycurl.CURL_HTTP_VERSION_2TLS,
}
_GO_ON, _STOP = 0, 1
_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")
# How libcurl reports a connection that ended within a response head, or when it has been
# told not to send again.
_CUT = (pycurl.E_ABORTED_BY_CALLBACK, pycurl.E_GOT_NOTHING, pycurl.E_PARTIAL_FILE)
# How it reports a field that is none, and fields without end; after the head, trailers.
_BAD_FIELD = (8, 100)  # WEIRD_SERVER_REPLY, TOO_LARGE
# Less than libcurl's own limit of 300 KB, which it reports as a broken connection.
_MAX_HEAD_SIZE = 262144
_ORIGIN = re.compile(r"https?://[^/?]*")
# What libcurl adds to a request unless it is told not to, by a line with the name alone.
_ADDED_BY_CURL = (b"Host:", b"Accept:", b"User-Agent:")
_ADDED_TO_BODY = (*_ADDED_BY_CURL, b"Content-Type:", b"Expect:", b"Transfer-Encoding:")
# What it must not see in order to send it like any other field: it puts the one last, waits
# for an answer to the other, and after a 417 sends the request again without it.
_HIDDEN = (b"connection:", b"expect:")
# The reason is in the lowest 12 bits; 0 is that of the system's errors.
_OPENSSL_ERROR = re.compile(r"\berror:([0-9A-F]{8}):")
_UNEXPECTED_EOF = 294
_EMPTY_FIELD = re.compile(rb"([^:]+):[ \t]*$")
#: Phases of a hop, in libcurl's terms. Not all that there are: to ask for one costs as much as a
#: hundredth of a request.
_PHASES_OF_CONNECTING = (
    ("namelookup", pycurl.NAMELOOKUP_TIME),
    ("connect", pycurl.CONNECT_TIME),
    ("appconnect", pycurl.APPCONNECT_TIME),
)
_NO_CONNECTING = {name: 0.0 for name, _ in _PHASES_OF_CONNECTING}
_PHASES = (
    ("starttransfer", pycurl.STARTTRANSFER_TIME),
    ("total", pycurl.TOTAL_TIME),
)


class HopHandle:
    """A curl handle for hops: what it is set to, and the hop that it carries."""

    hop: Hop
    future: FetchFuture[HTTPResponse]

    def __init__(self, transport: CurlTransport) -> None:
        self.transport = transport
        self.curl = transport._curl_create()
        self._settings: tuple[object, ...] | None = None
        self._lines: list[bytes] = []

    def start(self, hop: Hop, future: FetchFuture[HTTPResponse], created: float) -> None:
        """Begins; the request timeout counts from ``created``."""
        self.hop = hop
        self.future = future
        self._created = created
        self._queued = self.transport.io_loop.time() - created
        self._start_time = time.time()
        self._head: Head | None = None
        self._body: Body | None = None
        self._lines.clear()
        self._size = 0
        self._interim = 0
        self._failure: Exception | None = None
        self._address: Address | None = None
        self._complete = self._kept = False
        self._refused = self._reset = self._began = self._resent = False
        try:
            self._set_up(hop)
        except OSError as error:
            self._resolve(HandshakeFailed(f"TLS settings: {error}"))
        except Exception as error:
            self._settings = None
            self._resolve(error)
        else:
            self.transport._engine.add(self.curl, self._done)

    def abort(self) -> None:
        """Stops at once: the connection is closed and nothing is reported."""
        if self.transport._engine.acting:
            # Called by a signal handler, within a call of libcurl's.
            self.transport._engine.loop.call_soon(self._abort_late, self.future)
            return
        if self._address is not None:
            self.transport._engine.sockets.disclaim(self._address)
        self.transport._engine.remove(self.curl)
        self._release(sound=False)

    def on_ending(self, reset: bool, began: bool) -> None:
        """Called when the peer ends the connection."""
        self._reset = reset
        # What comes over TLS need not be of the response.
        self._began = began and self.hop.tls is None

    def may_keep(self) -> bool:
        """Returns whether what has come allows for another request on the connection."""
        # libcurl takes a head that is cut for a whole response. Over TLS nobody else knows
        # that the peer has said its last word: TCP may go on.
        return self._head is not None and self._head.keep_alive

    def _abort_late(self, future: FetchFuture[HTTPResponse]) -> None:
        # The transfer may have ended by itself, and the handle carry another one.
        if getattr(self, "future", None) is future:
            self.abort()

    def _set_up(self, hop: Hop) -> None:
        curl = self.curl
        settings = (
            hop.method,
            hop.version,
            hop.body is None,
            hop.keep_alive,
            hop.connect_timeout,
            hop.tls,
            hop.tls and hop.tls.trust,
        )
        if settings != self._settings:
            self._settings = None
            curl.reset()
            self._configure(hop)
            self._settings = settings
            self._url = self._target = self._fields = self._timeout = self._fresh = None
        match = _ORIGIN.match(hop.url)
        assert match is not None
        if match[0] != self._url:
            curl.setopt(pycurl.URL, match[0])
            self._url = match[0]
        if hop.target != self._target:
            curl.setopt(pycurl.REQUEST_TARGET, hop.target)
            self._target = hop.target
        if hop.fields != self._fields:
            curl.setopt(pycurl.HTTPHEADER, _lines(hop.fields, hop.body is not None))
            self._fields = hop.fields
        if hop.body is not None:
            curl.setopt(pycurl.POSTFIELDS, hop.body)
        timeout = self._milliseconds_left()
        if timeout != self._timeout:
            curl.setopt(pycurl.TIMEOUT_MS, timeout)
            self._timeout = timeout
        fresh = not self._may_reuse(hop)
        if fresh != self._fresh:
            curl.setopt(pycurl.FRESH_CONNECT, fresh)
            self._fresh = fresh

    def _may_reuse(self, hop: Hop) -> bool:
        if not hop.keep_alive:
            return False
        if not libcurl.CAN_STOP and not (libcurl.LOOKS_ITSELF and hop.method in IDEMPOTENT_METHODS):
            return False
        # Connections of HTTP/2 need not be idle.
        return hop.version == "HTTP/2" or self.transport._engine.may_reuse()

    def _configure(self, hop: Hop) -> None:
        set_option = self.curl.setopt
        set_option(pycurl.NOSIGNAL, 1)
        set_option(pycurl.BUFFERSIZE, libcurl.BUFFER_SIZE)
        set_option(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        # Not even a proxy of the environment.
        set_option(pycurl.PROXY, "")
        set_option(pycurl.NOPROXY, "*")
        set_option(pycurl.HTTP_VERSION, _HTTP_VERSIONS[hop.version])
        if hasattr(pycurl, "HTTP09_ALLOWED"):
            set_option(pycurl.HTTP09_ALLOWED, 0)
        set_option(pycurl.HEADERFUNCTION, self._on_header)
        set_option(pycurl.WRITEFUNCTION, self._on_body)
        # 0 would be libcurl's own limit of 300 seconds.
        set_option(pycurl.CONNECTTIMEOUT_MS, _milliseconds(hop.connect_timeout) or _LONGEST)
        if hasattr(pycurl, "MAXAGE_CONN"):
            set_option(pycurl.MAXAGE_CONN, max(1, math.ceil(self.transport.idle_timeout)))
        if libcurl.CAN_STOP:
            set_option(pycurl.PREREQFUNCTION, self._on_sending)
        set_option(
            pycurl.FORBID_REUSE, not (hop.keep_alive and (libcurl.CAN_STOP or libcurl.LOOKS_ITSELF))
        )
        if hop.method == "HEAD" and hop.body is None:
            set_option(pycurl.NOBODY, 1)
        elif hop.method != "GET" or hop.body is not None:
            # With a body, libcurl takes it for a POST by another name.
            set_option(pycurl.CUSTOMREQUEST, hop.method)
        if hop.tls is not None:
            if hop.version == "HTTP/2":
                set_option(pycurl.PIPEWAIT, 1)
            self._configure_tls(hop.tls)

    def _configure_tls(self, tls: TLS) -> None:
        # For the errors: a missing or bad file fails as it does on the other transport.
        tls.context()
        curl = self.curl
        for option, path in zip((pycurl.CAINFO, pycurl.CAPATH), _trust(tls), strict=True):
            if path is None:
                curl.unsetopt(option)
            else:
                curl.setopt(option, path)
        curl.setopt(pycurl.SSL_VERIFYPEER, int(tls.verify_ca))
        curl.setopt(pycurl.SSL_VERIFYHOST, 2 if tls.verify_ca else 0)
        curl.setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2)
        if tls.cert_file is not None:
            curl.setopt(pycurl.SSLCERT, tls.cert_file)
            curl.setopt(pycurl.SSLKEY, tls.priv_file or tls.cert_file)

    def _milliseconds_left(self) -> int:
        limit = self.hop.request_timeout
        if not limit:
            return 0
        elapsed = self.transport.io_loop.time() - self._created
        return max(_milliseconds(limit - elapsed), 1)

    # What libcurl calls. An exception would be printed and end up nowhere: it is kept,
    # and 0 tells libcurl to stop.

    def _on_sending(self, peer: str, host: str, peer_port: int, port: int) -> int:
        if self._address is not None:
            # Once more, because the connection was closed: libcurl would do so up to five
            # times, whatever the method, on any connection that it has.
            return _STOP
        address = (host, port, peer, peer_port)
        tls = self.hop.tls is not None
        kept = self.transport._engine.sockets.claim(address, self, tls)
        if kept is None:
            self._refused = True
            return _STOP
        self._kept = kept
        self._address = address
        return _GO_ON

    def _on_header(self, line: bytes) -> int | None:
        self._size += len(line)
        if self._head is not None:
            return self._on_trailer(line)
        self._lines.append(line)
        if len(line) > 2 and self._size <= _MAX_HEAD_SIZE:
            return None
        try:
            if self._size > _MAX_HEAD_SIZE:
                raise HeadTooLarge(f"response head is over {_MAX_HEAD_SIZE} bytes")
            if line in (b"\r\n", b"\n"):
                self._end_head()
        except (MalformedResponse, BodyError, BrokenConnection) as error:
            self._failure = error
            return 0
        return 0 if self._complete else None

    def _on_trailer(self, line: bytes) -> int | None:
        # Nobody looks at it, and yet there is an end to what a response may have of them.
        try:
            if self._size > _MAX_HEAD_SIZE:
                raise BodyError(f"head and trailers are over {_MAX_HEAD_SIZE} bytes")
            check_trailer(line)
        except BodyError as error:
            self._failure = error
            return 0
        return None

    def _end_head(self) -> None:
        if self._address is not None and self.transport._engine.sockets.is_early(self._address):
            raise BrokenConnection("the kept connection had an answer before the request")
        head = parse_head(b"".join(self._lines))
        if head.version[5] != "1" and (self.hop.version != "HTTP/2" or self.hop.tls is None):
            raise MalformedResponse(f"{head.version} on a connection of HTTP/1")
        self._lines.clear()
        if head.code < 200:
            self._interim += 1
            if self._interim > MAX_INTERIM_RESPONSES:
                raise MalformedResponse("Too many 1xx responses")
            return
        hop = self.hop
        body = body_of(head, hop.method, hop.max_body_size, hop.decompress)
        self._head, self._body = head, body
        if hop.method == "HEAD" and hop.body is not None and head.content_length != 0:
            # libcurl would wait for a body: this is the end, and that of the connection.
            self._complete = True

    def _on_body(self, chunk: bytes) -> int | None:
        try:
            if self._body is None:
                raise MalformedResponse("not HTTP: a body without a head")
            self._body.write(chunk)
        except (MalformedResponse, BodyError) as error:
            self._failure = error
            return 0
        return None

    def _done(self, code: int, message: str) -> None:
        self.transport._engine.multi.remove_handle(self.curl)
        if self._address is not None:
            head = self._head
            self.transport._engine.sockets.disclaim(
                self._address,
                spoilt=not self.may_keep(),
                shared=head is not None and head.version == "HTTP/2",
            )
        if code == CLOSED:
            self._resolve(client_closed())
        elif self._refused:
            # The connection was no good, and is closed by now, unless it is one of HTTP/2.
            self._refused = False
            self._start_again(fresh=self.hop.version == "HTTP/2")
        elif self._may_send_again(code):
            self._resent = True
            self._start_again(fresh=True)
        elif self._failure is not None:
            self._resolve(self._failure)
        elif code and not self._complete:
            self._resolve(self._error(code, message))
        else:
            self._resolve(self._response())

    def _may_send_again(self, code: int) -> bool:
        """Whether a kept connection turned out to be no good, and nothing speaks against
        another one."""
        return (
            (code == pycurl.E_ABORTED_BY_CALLBACK or isinstance(self._failure, BrokenConnection))
            and self.hop.method in IDEMPOTENT_METHODS
            and not (self._began or self._resent)
        )

    def _start_again(self, fresh: bool) -> None:
        if fresh:
            self._fresh = True
            self.curl.setopt(pycurl.FRESH_CONNECT, 1)
        self._address = self._failure = None
        self._reset = self._began = False
        self._lines.clear()
        self._size = 0
        self._timeout = self._milliseconds_left()
        self.curl.setopt(pycurl.TIMEOUT_MS, self._timeout)
        self.transport._engine.add(self.curl, self._done)

    def _response(self) -> HTTPResponse | Exception:
        head, body = self._head, self._body
        if head is None or body is None:
            return self._cut()
        try:
            buffer = body.finish()
        except BodyError as error:
            return error
        hop = self.hop
        return HTTPResponse(
            cast(HTTPRequest, hop),
            head.code,
            headers=head.headers,
            buffer=buffer,
            effective_url=hop.url,
            request_time=self.transport.io_loop.time() - self._created,
            time_info=self._time_info(),
            reason=head.reason,
            start_time=self._start_time,
        )

    def _time_info(self) -> dict[str, float]:
        getinfo = self.curl.getinfo
        if self._kept:
            info = _NO_CONNECTING.copy()
        else:
            info = {name: getinfo(phase) for name, phase in _PHASES_OF_CONNECTING}
        for name, phase in _PHASES:
            info[name] = getinfo(phase)
        info["queue"] = self._queued
        return info

    def _bad_line(self) -> Exception | None:
        # What libcurl takes for a line of a head need not be one.
        if self._head is None and self._lines:
            try:
                check_partial_head(b"".join(self._lines))
            except MalformedResponse as error:
                return error
        return None

    def _cut(self) -> Exception:
        if bad_line := self._bad_line():
            return bad_line
        if self._lines or self._interim or self._began:
            return BrokenConnection("connection closed within the response head")
        if self._reset:
            return BrokenConnection("connection reset before any byte of a response")
        return NoResponse("connection closed before any byte of a response")

    def _error(self, code: int, message: str) -> Exception:
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return self._timed_out(message)
        if self._head is None and code in _CUT:
            return self._cut()
        if code == pycurl.E_BAD_CONTENT_ENCODING:
            # Of a Transfer-Encoding: what encodes the content is not libcurl's to know.
            return MalformedResponse(message)
        if self._head is not None and code in _BAD_FIELD:
            return BodyError(message)
        if bad_line := self._bad_line():
            return bad_line
        if code == pycurl.E_RECV_ERROR and _is_of_tls(message):
            # With TLS 1.3 the handshake is over before the peer has seen our certificate.
            return HandshakeFailed(message)
        if code == pycurl.E_OUT_OF_MEMORY and self._head is None:
            # How libcurl called a line over its limit, before it had a number for that.
            return HeadTooLarge(message)
        if code == pycurl.E_COULDNT_CONNECT:
            number = self.curl.getinfo(pycurl.OS_ERRNO)
            if number:
                message = f"{message}: {os.strerror(number)}"
        return CurlError(code, message)

    def _timed_out(self, message: str) -> Exception:
        # libcurl has one number for both: the limit that is the shorter one, while there
        # is no connection, has run out first.
        limit = _milliseconds(self.hop.connect_timeout)
        connecting = (
            self._address is None
            if libcurl.CAN_STOP
            else not self.curl.getinfo(pycurl.PRETRANSFER_TIME)
        )
        if connecting and limit and (not self._timeout or limit < self._timeout):
            return ConnectTimeout(message)
        return RequestTimeout(message)

    def _resolve(self, outcome: HTTPResponse | Exception) -> None:
        future = self.future
        self._release(sound=not isinstance(outcome, Exception) and not self._complete)
        if future.done():
            return
        future.abort = None
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def _release(self, sound: bool) -> None:
        body = self.hop.body
        del self.hop, self.future
        self._head = self._body = self._failure = None
        self.transport._release(self, self.transport._spare_for_hops, sound, body)


def _lines(fields: bytes, has_body: bool) -> list[bytes]:
    """Returns the field lines of a hop in libcurl's terms, with nothing for it to add."""
    lines = fields.split(b"\r\n")[:-1]
    if b":\r\n" in fields or b": \r\n" in fields:
        # "Name:" would mean to leave the field out.
        lines = [_EMPTY_FIELD.sub(rb"\1;", line) for line in lines]
    present = b"\n" + fields.lower()
    if any(b"\n" + name in present for name in _HIDDEN):
        # There must be a line to hide behind, as with a body there always is.
        first = next((i for i, line in enumerate(lines) if not _is_hidden(line)), 0)
        lines.insert(0, lines.pop(first))
        for i in range(len(lines) - 1, 0, -1):
            if _is_hidden(lines[i]):
                lines[i - 1] += b"\r\n" + lines.pop(i)
        present = present.replace(b"\nexpect:", b"\n")
    added = _ADDED_TO_BODY if has_body else _ADDED_BY_CURL
    return lines + [line for line in added if b"\n" + line.lower() not in present]


def _is_hidden(line: bytes) -> bool:
    return line.lower().startswith(_HIDDEN)


def _trust(tls: TLS) -> tuple[str | None, str | None]:
    """Returns the trusted file and directory such that libcurl trusts no others."""
    cafile, capath = tls.trust
    if not libcurl.FILLS_IN_TRUST:
        return cafile, capath
    if cafile is None and capath is not None:
        # One of those in the directory, which are found there by these names.
        cafile = next(_hashed_files(capath), os.devnull)
    return cafile, capath or os.devnull


def _hashed_files(capath: str) -> Iterator[str]:
    for directory in capath.split(os.pathsep):
        for name in os.listdir(directory):
            if _HASHED_NAME.fullmatch(name):
                yield os.path.join(directory, name)


def _milliseconds(seconds: float) -> int:
    # In this order, since what a float can be may be infinite a thousand times.
    return math.ceil(min(seconds * 1000, _LONGEST))


def _is_of_tls(message: str) -> bool:
    """Whether OpenSSL refuses what came, or reports an alert: libcurl has no number for it.

    TCP that ends without a close_notify is a broken connection.
    """
    match = _OPENSSL_ERROR.search(message)
    return match is not None and int(match[1], 16) & 0xFFF not in (0, _UNEXPECTED_EOF)
