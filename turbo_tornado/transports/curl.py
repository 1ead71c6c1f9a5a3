"""`CurlTransport`: Tornado's curl client with the waste taken out.

It answers to the same calls as `tornado.curl_httpclient.CurlAsyncHTTPClient`, and can
be used in its place without anything else of this package::

    AsyncHTTPClient.configure("turbo_tornado.transports.curl.CurlTransport")

A `Hop` and any other request take different ways to the same engine. A hop says itself
what goes on the wire, and libcurl is told to add nothing. For any other request,
Tornado's own code sets the handle up, once: as long as requests differ only in URL,
fields and body, a handle is set to the next one by these alone. What is rarely asked
for (callbacks, credentials) is left to Tornado's code altogether.

This module needs private names of Tornado's: ``_multi``, ``_handle_socket``,
``_set_timeout``, ``_force_timeout_callback``, ``_closed``, ``_curl_create`` and
``_curl_setup_request``, because they are how the client is put together; ``_free_list``,
``_requests``, ``_process_queue`` and ``_finish``, to have a request carried out by
Tornado's code of whatever version; and ``_RequestProxy``, which adds the defaults of a
client to a request.
"""

from __future__ import annotations

import copy
import functools
import logging
import math
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any, TypeVar, cast

import pycurl
from tornado import httputil
from tornado.concurrent import Future
from tornado.curl_httpclient import CurlAsyncHTTPClient, CurlError
from tornado.escape import native_str, utf8
from tornado.httpclient import HTTPRequest, HTTPResponse, _RequestProxy
from tornado.ioloop import IOLoop
from tornado.simple_httpclient import HTTPStreamClosedError

from ..headers import HTTPHeaders
from ..tls import TLS
from .body import Body, body_of
from .curl_engine import CLOSED, Address, CurlEngine
from .failures import (
    BodyError,
    BrokenConnection,
    ConnectTimeout,
    HandshakeFailed,
    HeadTooLarge,
    MalformedResponse,
    NoResponse,
    RequestTimeout,
)
from .future import FetchFuture
from .hop import IDEMPOTENT_METHODS, Hop
from .http1 import (
    FIELD,
    MAX_INTERIM_RESPONSES,
    Head,
    check_partial_head,
    check_trailer,
    parse_head,
)

#: What stops a request.
Abort = Callable[[], None]
AnyHandle = TypeVar("AnyHandle", "HopHandle", "PlainHandle")

# libcurl takes milliseconds as a C long, which has 32 bits on Windows.
_LONGEST = 2**31 - 1
_HTTP_VERSIONS = {
    "HTTP/1.0": pycurl.CURL_HTTP_VERSION_1_0,
    "HTTP/1.1": pycurl.CURL_HTTP_VERSION_1_1,
    "HTTP/2": pycurl.CURL_HTTP_VERSION_2TLS,
}
_HAS_HTTP2 = bool(pycurl.version_info()[4] & pycurl.VERSION_HTTP2)
# From pycurl 7.45.7 on, a transfer can be stopped before libcurl sends it once more.
_CAN_STOP = hasattr(pycurl, "PREREQFUNCTION")
_GO_ON, _STOP = 0, 1
# Otherwise it is for libcurl alone to see that an idle connection is not what it was. It
# began to look for unread input with 7.87, and to look only once a second with 8.22.
_LOOKS_ITSELF = 0x075700 <= pycurl.version_info()[2] < 0x081600
# From 8.17 on, it puts the files that were compiled in into the place of one that is not set.
_FILLS_IN_TRUST = pycurl.version_info()[2] >= 0x081100
_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")
# Several times libcurl's own 16 KB saves a fifth of what a large body costs. From 8.7 on,
# there is one such buffer for all transfers, not one for each.
_BUFFER_SIZE = 131072 if pycurl.version_info()[2] >= 0x080700 else 16384
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
# A body over this many bytes is not kept by a spare handle.
_LARGE_BODY = 65536

_curl_log = logging.getLogger("tornado.curl_httpclient")
_CR_OR_LF = re.compile(rb"[\r\n]")
_CLEAN_FIELDS = re.compile(rb"(?:%b\r\n)*" % FIELD)
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


class CurlTransport(CurlAsyncHTTPClient):
    """An `AsyncHTTPClient` on libcurl that does little besides.

    :arg int max_clients: how many requests may be in progress at once, the others wait
        in a queue; ``None``, the default, is any number.
    :arg max_body_size: bytes that a response body may have, decoded; default 100 MiB.
        A `Hop` brings its own limit.
    :arg int max_idle: how many idle connections are kept; default 512.
    :arg float idle_timeout: seconds after which an idle connection is not used again;
        default 60.
    :arg int max_spare: how many curl handles are kept for later; default 256.

    ``defaults`` is as in Tornado. Handles are made when they are needed.

    After an error, a cancelled fetch, or ``Connection: close``, no connection is kept. A
    request that finds its kept connection closed before any byte of the response is
    sent again, once and on a new connection, when it is idempotent.

    For a `Hop` this takes pycurl 7.45.7. With an older one, connections are kept only by
    libcurl 7.87 to 8.21, used again only for what is idempotent, and it is libcurl that
    sends again, up to five times.
    """

    #: Whether `fetch` takes a `Hop`.
    accepts_hops = True

    def initialize(  # type: ignore[override]
        self,
        max_clients: int | None = None,
        defaults: dict[str, Any] | None = None,
        max_body_size: int = 104857600,
        max_idle: int = 512,
        idle_timeout: float = 60.0,
        max_spare: int = 256,
    ) -> None:
        self._engine = CurlEngine(IOLoop.current(), max_idle)
        # Given to libcurl by Tornado in the place of its own methods of these names. Its
        # streaming buffer calls the second one to have a transfer go on.
        self._handle_socket = self._engine.on_socket  # type: ignore[assignment, method-assign]
        self._set_timeout = self._engine.on_timer  # type: ignore[assignment, method-assign]
        super().initialize(max_clients=0, defaults=defaults)
        self._engine.multi = self._multi
        # Tornado 6.4 looks at every transfer once a second, which its successors found
        # not to be needed.
        forced = getattr(self, "_force_timeout_callback", None)
        if forced is not None:
            forced.stop()
        self.max_body_size = max_body_size
        self.max_clients = max_clients
        self.max_spare = max_spare
        self.idle_timeout = idle_timeout
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        self._spare_for_hops: list[HopHandle] = []
        self._spare: list[PlainHandle] = []
        self._waiting: deque[Waiting] = deque()
        self._starting = False
        self._abort_last: Abort | None = None

    def close(self) -> None:
        """Fails the requests that are in progress and closes all connections."""
        if self._closed:
            return
        self._engine.close()
        while self._waiting:
            self._waiting[0].fail(_client_closed())
        for spare in (self._spare_for_hops, self._spare):
            for handle in spare:
                handle.curl.close()
        super().close()

    def fetch(
        self, request: str | HTTPRequest, raise_error: bool = True, **kwargs: Any
    ) -> Future[HTTPResponse]:
        """Executes a request, as `AsyncHTTPClient.fetch`.

        Cancelling the future stops the request and closes its connection.

        :arg request: a URL, an ``HTTPRequest`` of Tornado's, or a `Hop`.
        :arg bool raise_error: whether a failure, or a status of 400 and more, is the
            exception of the future; default true. Of a `Hop`, a failure always is, and a
            status never.
        :arg kwargs: arguments of an ``HTTPRequest``, when ``request`` is a URL.
        :rtype: Future of Tornado's ``HTTPResponse``
        :raises RuntimeError: when the transport has been closed.
        :raises ValueError: for a `Hop` in HTTP/2 where libcurl does not speak it.
        """
        if isinstance(request, Hop):
            return self._fetch_hop(request)
        future = super().fetch(request, raise_error, **kwargs)
        abort, self._abort_last = self._abort_last, None
        if abort is not None:
            future.add_done_callback(lambda f: abort() if f.cancelled() else None)
        return future

    def fetch_impl(self, request: HTTPRequest, callback: Callable[[HTTPResponse], None]) -> None:
        created = self.io_loop.time()
        if self._has_room():
            self._abort_last = self._start(request, callback, created)
            return

        def fail(error: Exception) -> None:
            callback(HTTPResponse(request, 599, error=error))

        waiting = Waiting(self, lambda: self._start(request, callback, created), fail)
        self._abort_last = waiting.abort

    def _fetch_hop(self, hop: Hop) -> Future[HTTPResponse]:
        if self._closed:
            raise RuntimeError("fetch() called on closed AsyncHTTPClient")
        if hop.version == "HTTP/2" and not _HAS_HTTP2:
            raise ValueError("http_version: the libcurl of this installation does not speak HTTP/2")
        created = self.io_loop.time()
        future: FetchFuture[HTTPResponse] = FetchFuture(
            loop=self.io_loop.asyncio_loop  # type: ignore[attr-defined]
        )
        if self._has_room():
            self._start_hop(hop, future, created)
            return future
        waiting = Waiting(
            self,
            lambda: self._start_hop(hop, future, created),
            future.set_exception,
        )
        if hop.request_timeout:
            waiting.fail_at(
                created + hop.request_timeout, RequestTimeout("Timeout in request queue")
            )
        future.abort = waiting.abort
        return future

    def _has_room(self) -> bool:
        return self.max_clients is None or len(self._engine) < self.max_clients

    def _start(
        self, request: HTTPRequest, callback: Callable[[HTTPResponse], None], created: float
    ) -> Abort | None:
        handle = self._spare.pop() if self._spare else PlainHandle(self)
        return handle.start(request, callback, created)

    def _start_hop(self, hop: Hop, future: FetchFuture[HTTPResponse], created: float) -> Abort:
        handle = self._spare_for_hops.pop() if self._spare_for_hops else HopHandle(self)
        future.abort = handle.abort
        handle.start(hop, future, created)
        return handle.abort

    def _release(self, handle: AnyHandle, spare: list[AnyHandle], sound: bool) -> None:
        """Puts a handle away, and lets the next request begin.

        :arg bool sound: whether its transfer has ended well. libcurl 8.23 goes on, with
            the next head, after the last line of one that was cut when that line had
            begun to look like one that is folded: not even a reset makes it forget.
        """
        if sound and len(spare) < self.max_spare and not self._engine.closed:
            spare.append(handle)
        else:
            handle.curl.close()
        self._start_waiting()

    def _start_waiting(self) -> None:
        # A request that fails as it begins comes here again: the one after it begins in the
        # loop below, not within that call, and that one's within its own.
        if self._starting:
            return
        self._starting = True
        try:
            while self._waiting and self._has_room() and not self._engine.closed:
                self._waiting[0].start()
        finally:
            self._starting = False

    def _curl_setup_request(
        self,
        curl: pycurl.Curl,
        request: HTTPRequest,
        buffer: BytesIO,
        headers: httputil.HTTPHeaders,
    ) -> None:
        # Tornado sets this when there are threads at the moment; others may come.
        curl.setopt(pycurl.NOSIGNAL, 1)
        super()._curl_setup_request(curl, request, buffer, headers)


class Waiting:
    """A request in the queue of a transport that has `max_clients` in progress."""

    def __init__(
        self,
        transport: CurlTransport,
        start: Callable[[], Abort | None],
        fail: Callable[[Exception], None],
    ) -> None:
        self._transport = transport
        self._start = start
        self._fail = fail
        self._timer: object | None = None
        self._abort: Abort | None = self._leave
        transport._waiting.append(self)

    def fail_at(self, when: float, error: Exception) -> None:
        self._timer = self._transport.io_loop.call_at(when, self.fail, error)

    def start(self) -> None:
        self._leave()
        self._abort = self._start()

    def abort(self) -> None:
        if self._abort is not None:
            self._abort()

    def fail(self, error: Exception) -> None:
        self._leave()
        self._fail(error)

    def _leave(self) -> None:
        self._transport._waiting.remove(self)
        if self._timer is not None:
            self._transport.io_loop.remove_timeout(self._timer)


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
        if not _CAN_STOP and not (_LOOKS_ITSELF and hop.method in IDEMPOTENT_METHODS):
            return False
        # Connections of HTTP/2 need not be idle.
        return hop.version == "HTTP/2" or self.transport._engine.may_reuse()

    def _configure(self, hop: Hop) -> None:
        set_option = self.curl.setopt
        set_option(pycurl.NOSIGNAL, 1)
        set_option(pycurl.BUFFERSIZE, _BUFFER_SIZE)
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
        if _CAN_STOP:
            set_option(pycurl.PREREQFUNCTION, self._on_sending)
        set_option(pycurl.FORBID_REUSE, not (hop.keep_alive and (_CAN_STOP or _LOOKS_ITSELF)))
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
        self.transport._multi.remove_handle(self.curl)
        if self._address is not None:
            head = self._head
            self.transport._engine.sockets.disclaim(
                self._address,
                spoilt=not self.may_keep(),
                shared=head is not None and head.version == "HTTP/2",
            )
        if code == CLOSED:
            self._resolve(_client_closed())
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
            self._address is None if _CAN_STOP else not self.curl.getinfo(pycurl.PRETRANSFER_TIME)
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
        if self.hop.body is not None and len(self.hop.body) > _LARGE_BODY:
            # The handle would keep it until its next body.
            self._settings = None
            self.curl.reset()
        del self.hop, self.future
        self._head = self._body = self._failure = None
        self.transport._release(self, self.transport._spare_for_hops, sound)


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
        self.curl.setopt(pycurl.BUFFERSIZE, _BUFFER_SIZE)
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
        transport._multi.remove_handle(curl)
        headers = httputil.HTTPHeaders()
        reason = effective_url = None
        error: Exception | None = None
        if code == CLOSED:
            error = _client_closed()
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
        if body is not None and len(body) > _LARGE_BODY:
            self._settings = None
            self.curl.reset()
        del self.request, self.callback, self._buffer
        self.transport._release(self, self.transport._spare, sound)

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
            transport._multi.remove_handle(self.curl)
            self._respond(HTTPResponse(self.request, 599, error=_client_closed()))
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
    if not _FILLS_IN_TRUST:
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


def _client_closed() -> HTTPStreamClosedError:
    return HTTPStreamClosedError("client closed")
