"""`RequestHandle`: a curl handle, and the options that make it send a `Request`."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator

import pycurl

from ...request.request import IDEMPOTENT_METHODS, Request
from ...request.tls import TLS
from .attempt import GO_ON, RequestAttempt
from .connections import Connections
from .socket_state import COUNTS_RECEIVED
from .tunnel import configure_proxy
from .upload import Upload

# libcurl takes milliseconds as a C long, which has 32 bits on Windows.
_LONGEST = 2**31 - 1
# libcurl's default is 16 KB. A larger buffer saves a fifth of the cost of a large body. All
# transfers share one buffer.
BUFFER_SIZE = 131072

_HTTP_VERSIONS = {
    "HTTP/1.0": pycurl.CURL_HTTP_VERSION_1_0,
    "HTTP/1.1": pycurl.CURL_HTTP_VERSION_1_1,
    "HTTP/2": pycurl.CURL_HTTP_VERSION_2TLS,
}
# The first one since libcurl 8.20. The other one is on a connection that was not reused.
_REFUSED = re.compile(rb"^HTTP/2 stream \d+ refused by server|^REFUSED_STREAM")
_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")
# An entry without a value prevents libcurl from adding the header.
_NOT_ADDED = [b"Accept:", b"User-Agent:"]
_NOT_ADDED_TO_BODY = [
    *_NOT_ADDED,
    b"Content-Length:",
    b"Content-Type:",
    b"Expect:",
    b"Transfer-Encoding:",
]


class RequestHandle:
    """A curl handle that sends one `Request` after another.

    :arg connections: decides on the connections of the handle.
    :arg float idle_timeout: seconds after which an idle connection is not reused.
    """

    #: The attempt in progress.
    attempt: RequestAttempt

    def __init__(self, curl: pycurl.Curl, connections: Connections, idle_timeout: float) -> None:
        self.curl = curl
        self._connections = connections
        self._idle_timeout = idle_timeout
        self._settings: tuple[object, ...] | None = None
        # The options that are set for each request, as they are now.
        self._origin: tuple[str, str, int] | None = None
        self._target: str | None = None
        self._header_block: bytes | None = None
        self._timeout: int | None = None
        self._is_fresh: bool | None = None
        self._may_reuse = True
        self._closes: bool | None = None

    def set_up(self, request: Request) -> None:
        """Set the options for a request, except those that differ between attempts.

        :raises ValueError, pycurl.error: for values that libcurl does not accept.
        """
        tls = request.tls if request.url.scheme == "https" else None
        settings = (
            request.method,
            request.version,
            request.body is None,
            request.body_producer,
            request.keep_alive,
            request.connect_timeout,
            tls,
            tls.trust if isinstance(tls, TLS) else None,
            request.proxy,
        )
        if settings != self._settings:
            self._settings = None
            self.curl.reset()
            self._configure(request)
            self._origin = self._target = self._header_block = None
            self._timeout = self._is_fresh = self._closes = None
        set_option = self.curl.setopt
        # An exception below leaves options that do not match `_settings`.
        self._settings = None
        url = request.url
        if url.origin != self._origin:
            host = f"[{url.host.replace('%', '%25')}]" if ":" in url.host else url.host
            set_option(pycurl.URL, f"{url.scheme}://{host}:{url.port}")
            self._origin = url.origin
        if request.target != self._target:
            set_option(pycurl.REQUEST_TARGET, request.target)
            self._target = request.target
        if request.header_block != self._header_block:
            # libcurl decides on the framing if the server chooses the version of HTTP.
            is_framed = request.content_length is not None or request.version != "HTTP/2"
            set_option(
                pycurl.HTTPHEADER,
                header_entries(request.header_block, request.has_body, is_framed),
            )
            self._header_block = request.header_block
        if request.body is not None:
            set_option(pycurl.POSTFIELDS, request.body)
        self._settings = settings

    def set_upload(self, upload: Upload) -> None:
        """Set the source of the body for one attempt."""
        self.curl.setopt(pycurl.READFUNCTION, upload.read)

    def set_attempt(self, attempt: RequestAttempt, timeout: int, is_fresh: bool) -> None:
        """Set the options for one attempt.

        :arg int timeout: milliseconds, 0 for no limit.
        :arg bool is_fresh: open a new connection.
        """
        self.attempt = attempt
        self.curl.setopt(pycurl.HEADERFUNCTION, attempt.on_header)
        self.curl.setopt(pycurl.WRITEFUNCTION, attempt.on_body)
        if timeout != self._timeout:
            self.curl.setopt(pycurl.TIMEOUT_MS, timeout)
            self._timeout = timeout
        if is_fresh != self._is_fresh:
            self.curl.setopt(pycurl.FRESH_CONNECT, is_fresh)
            self._is_fresh = is_fresh
        closes = attempt.closes_connection or not self._may_reuse
        if closes != self._closes:
            self.curl.setopt(pycurl.FORBID_REUSE, closes)
            self._closes = closes

    def _configure(self, request: Request) -> None:
        set_option = self.curl.setopt
        set_option(pycurl.NOSIGNAL, 1)
        set_option(pycurl.BUFFERSIZE, BUFFER_SIZE)
        set_option(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        if request.proxy is None:
            # Not even a proxy of the environment.
            set_option(pycurl.PROXY, "")
            set_option(pycurl.NOPROXY, "*")
        else:
            configure_proxy(self.curl, request.proxy, not request.is_forwarded)
        set_option(pycurl.HTTP_VERSION, _HTTP_VERSIONS[request.version])
        set_option(pycurl.HTTP09_ALLOWED, 0)
        set_option(pycurl.SOCKOPTFUNCTION, self._on_socket)
        set_option(pycurl.PREREQFUNCTION, self._on_sending)
        # 0 is libcurl's own limit of 300 seconds.
        set_option(pycurl.CONNECTTIMEOUT_MS, milliseconds(request.connect_timeout) or _LONGEST)
        set_option(pycurl.MAXAGE_CONN, max(1, math.ceil(self._idle_timeout)))
        may_reuse = request.keep_alive
        if request.url.scheme == "https":
            # Without the count, `Connections.is_early` cannot detect anything.
            may_reuse = may_reuse and (COUNTS_RECEIVED or request.version == "HTTP/2")
            self._configure_tls(request)
        self._may_reuse = may_reuse
        if request.body_producer is not None:
            set_option(pycurl.POST, 1)
            length = request.content_length
            set_option(pycurl.POSTFIELDSIZE_LARGE, -1 if length is None else length)
        if request.method == "HEAD" and not request.has_body:
            set_option(pycurl.NOBODY, 1)
        elif request.method != "GET" or request.has_body:
            # A request with a body is a POST to libcurl, with any method.
            set_option(pycurl.CUSTOMREQUEST, request.method)

    def _configure_tls(self, request: Request) -> None:
        tls = request.tls
        assert isinstance(tls, TLS)
        curl = self.curl
        if request.version == "HTTP/2":
            curl.setopt(pycurl.PIPEWAIT, 1)
        cafile, capath = trusted_files(tls)
        curl.setopt(pycurl.CAINFO, cafile)
        curl.setopt(pycurl.CAPATH, capath)
        curl.setopt(pycurl.SSL_VERIFYPEER, int(tls.verify_ca))
        curl.setopt(pycurl.SSL_VERIFYHOST, 2 if tls.verify_ca else 0)
        curl.setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2)
        if tls.cert_file is not None:
            curl.setopt(pycurl.SSLCERT, tls.cert_file)
            curl.setopt(pycurl.SSLKEY, tls.priv_file or tls.cert_file)
        if request.version == "HTTP/2" and request.method not in IDEMPOTENT_METHODS:
            curl.setopt(pycurl.DEBUGFUNCTION, self._on_debug)
            # After SSL_VERIFYHOST: pycurl 7.45 cannot process a message while options are set.
            curl.setopt(pycurl.VERBOSE, 1)

    def _on_debug(self, kind: int, text: bytes) -> None:
        if is_refusal(kind, text):
            self.attempt.is_unprocessed = True

    def _on_socket(self, fd: int, purpose: int) -> int:
        self._connections.on_socket(fd)
        self.attempt.new_sockets.append(fd)
        return GO_ON

    def _on_sending(self, peer: str, host: str, peer_port: int, port: int) -> int:
        return self.attempt.on_sending((host, port, peer, peer_port))


def is_refusal(kind: int, text: bytes) -> bool:
    """Return whether a debug message reports that the peer refused the request.

    libcurl has no code for it. It repeats such a request, and also one whose connection was
    closed. The peer may have processed the latter.
    """
    return kind == pycurl.INFOTYPE_TEXT and _REFUSED.search(text) is not None


def header_entries(block: bytes, has_body: bool, is_framed: bool = True) -> list[bytes]:
    """Return the entries of HTTPHEADER that make libcurl send ``block`` unchanged.

    The first entry contains all lines. libcurl parses only the first of them, which
    `header_block` has chosen. The other entries prevent libcurl from adding headers.
    """
    not_added = _NOT_ADDED_TO_BODY if has_body else _NOT_ADDED
    if not is_framed:
        not_added = [entry for entry in not_added if entry != b"Transfer-Encoding:"]
    if block[:5].lower() == b"host:":
        return [block[:-2], *not_added]
    first, _, _ = block.partition(b"\r\n")
    if first.endswith((b":", b": ")) or first[:11].lower() == b"connection:":
        # libcurl does not send any of the headers unchanged.
        entries = [_separate_entry(line) for line in block.split(b"\r\n")[:-1]]
    else:
        entries = [block[:-2]] if block else []
    return [*entries, b"Host:", *not_added]


def _separate_entry(line: bytes) -> bytes:
    name, _, value = line.partition(b":")
    # libcurl omits a header with the entry "Name:".
    return line if value.strip() else name + b";"


def trusted_files(tls: TLS) -> tuple[str, str]:
    """Return the trusted file and directory such that libcurl trusts no others.

    libcurl 8.17 and newer replaces an unset one by its compiled-in default.
    """
    cafile, capath = tls.trust
    if cafile is None:
        # OpenSSL finds certificates in a directory by these names.
        cafile = next(_hashed_files(capath or ""), os.devnull)
    return cafile, capath or os.devnull


def _hashed_files(capath: str) -> Iterator[str]:
    for directory in filter(None, capath.split(os.pathsep)):
        for name in os.listdir(directory):
            if _HASHED_NAME.fullmatch(name):
                yield os.path.join(directory, name)


def milliseconds(seconds: float) -> int:
    # In this order, because the product of a large float can be infinite.
    return math.ceil(min(seconds * 1000, _LONGEST))
