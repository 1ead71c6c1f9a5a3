"""`Request`: one HTTP request, exactly as it goes on the wire."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from ..failures import HandshakeFailed
from ..headers import HTTPHeaders, header_lines
from .callbacks import ChunkHandler
from .proxy import Proxy, absolute_form, choose_proxy
from .streamed import StreamedBody
from .tls import TLS
from .url import URL

#: Methods whose repetition has the same effect as a single request (RFC 9110, section 9.2.2).
IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})

# Attributes that only the transport of a request needs.
_UNPICKLABLE = frozenset({"blocks", "body_producer", "on_head", "streaming_callback", "tls"})
# libcurl chooses the position of the first, and waits for the response to the second.
_NOT_FIRST = ("connection", "expect")

BodyProducer = Callable[[Callable[[bytes], Awaitable[None]]], "Awaitable[None] | None"]


class Request:
    """A complete HTTP request, which a transport sends unchanged.

    :arg URL url: the URL to connect to.
    :arg str method: an upper-case token.
    :arg str target: the request target of the request line.
    :arg str version: ``"HTTP/1.0"``, ``"HTTP/1.1"`` or ``"HTTP/2"``.
    :arg bytes header_block: the header lines, each ended by CR LF, Host and Content-Length
        included.
    :arg body: bytes, or ``None`` for no body.
    :arg bool keep_alive: reuse an idle connection and return it to the pool.
    :arg bool decompress: decode a gzip body.
    :arg int max_body_size: bytes of decoded body that the response may have.
    :arg tls: TLS settings, used for an https URL.
    :arg float connect_timeout: seconds for DNS, TCP and TLS together; 0 for no limit.
    :arg float request_timeout: seconds for this request; 0 for no limit.

    The attributes below are class attributes because few requests set them.
    """

    #: The keyword ``proxy``, which a redirect passes on.
    proxy_setting: Proxy | str | None = None
    #: The proxy to connect to.
    proxy: Proxy | None = None

    #: Address family to connect with. Not the enum, whose hash is slow.
    family = int(socket.AF_UNSPEC)
    #: Local IP address to connect from.
    source_ip: str | None = None
    #: Wait for ``100 Continue`` before sending the body.
    expect_continue = False
    #: Called with a function that sends one chunk of the body.
    body_producer: BodyProducer | None = None
    #: The blocks that ``body_producer`` sends, if they can be read more than once.
    blocks: Iterable[bytes] | None = None
    #: Accept the end of a TLS connection without close_notify as the end of a body.
    suppress_ragged_eofs = False
    #: Ignore zeros after a gzip body.
    allows_padding = True
    #: Bytes that ``body_producer`` sends; ``None`` for a chunked body.
    content_length: int | None = None
    #: Whether it belongs to a fetch in progress, as after a redirect. A transport that has been
    #: closed in the meantime still sends it.
    is_accepted = False
    #: Called with the final `Head`; returns whether to keep the body.
    on_head: Callable[[Any], bool] | None = None
    #: Whether a hook has created the span of this request. Tracers that wrap the ``fetch`` of
    #: `AsyncHTTPClient` must not create another one.
    is_traced = False
    #: Called with each decoded chunk of the body.
    streaming_callback: ChunkHandler | None = None

    def __init__(
        self,
        url: URL,
        method: str,
        target: str,
        version: str,
        header_block: bytes,
        body: bytes | None,
        *,
        keep_alive: bool,
        decompress: bool,
        max_body_size: int,
        tls: TLS | ssl.SSLContext,
        connect_timeout: float,
        request_timeout: float,
    ) -> None:
        self.url = url
        self.method = method
        self.target = target
        self.version = version
        self.header_block = header_block
        self.body = body
        self.keep_alive = keep_alive
        self.decompress = decompress
        self.max_body_size = max_body_size
        self.tls = tls
        self.connect_timeout = connect_timeout
        self.request_timeout = request_timeout

    def __repr__(self) -> str:
        # A traceback can show local variables, and the headers can be secret.
        return f"<Request {self.method} {self.url!r}>"

    def __getstate__(self) -> dict[str, Any]:
        # A response refers to its request, and can be copied and pickled. An SSLContext and most
        # callbacks cannot.
        return {name: value for name, value in vars(self).items() if name not in _UNPICKLABLE}

    @property
    def has_body(self) -> bool:
        """Whether the request has a body, which can be empty."""
        return self.body is not None or self.body_producer is not None

    @property
    def is_replayable(self) -> bool:
        """Whether the body can be sent more than once."""
        return self.body_producer is None or self.blocks is not None

    @property
    def is_chunked(self) -> bool:
        """Whether the body is sent with ``Transfer-Encoding: chunked``."""
        return (
            self.body_producer is not None
            and self.content_length is None
            and self.version == "HTTP/1.1"
        )

    def use_body(self, body: StreamedBody) -> None:
        """Set a body that is read while it is sent."""
        self.body_producer = body.produce
        self.blocks = body.blocks
        self.content_length = body.length

    def fall_back(self) -> None:
        """Describe the request as sent after a server has not accepted HTTP/2."""
        self.version = "HTTP/1.1"
        if self.is_chunked:
            # libcurl adds this header itself.
            self.header_block += b"Transfer-Encoding: chunked\r\n"

    def drop_body(self) -> None:
        """Remove the body, so that the memory can be freed."""
        self.body = self.body_producer = self.blocks = self.content_length = None

    def use_proxy(self, setting: Proxy | str) -> None:
        """Set the proxy for the URL.

        :raises ValueError: for an invalid value in the environment.
        """
        self.proxy_setting = setting
        self.proxy = choose_proxy(setting, self.url)
        if self.is_forwarded:
            self.target = absolute_form(self.url, self.target)

    @property
    def is_forwarded(self) -> bool:
        """Whether a proxy receives the request itself, and not through a tunnel."""
        return self.proxy is not None and self.url.scheme == "http"

    def head(self) -> bytes:
        """Return the request line, the headers and the empty line."""
        line = f"{self.method} {self.target} {self.version}\r\n".encode("latin-1")
        if self.proxy is not None and self.is_forwarded:
            return b"%b%b%b\r\n" % (line, self.header_block, self.proxy.header_block)
        return b"%b%b\r\n" % (line, self.header_block)

    def check_proxy_response(self, code: int, reason: str) -> None:
        """Check the status of a response.

        :raises ConnectFailed: for 407 from the proxy. Through a tunnel, it is from the origin.
        """
        if code == 407 and self.proxy is not None and self.is_forwarded:
            raise self.proxy.refused(self.url, code, reason)

    def headers(self) -> HTTPHeaders:
        """Return the head as `HTTPHeaders`, without the headers that are for a proxy."""
        headers = HTTPHeaders.deferred(self.header_block)
        headers._method, headers._uri, headers._version = self.method, self.target, self.version
        return headers

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the context of the connection, ``None`` for an http URL.

        :raises HandshakeFailed: when the TLS settings name a missing or invalid file.
        """
        if self.url.scheme != "https":
            return None
        if not isinstance(self.tls, TLS):
            return self.tls
        try:
            return self.tls.context()
        except OSError as error:
            raise HandshakeFailed(f"TLS settings: {error}") from error


def header_block(headers: HTTPHeaders) -> bytes:
    """Return header lines in an order in which each built-in transport can send them.

    The first one has a value that libcurl sends unchanged. It is nearly always Host.

    :raises ValueError: for an invalid name or value.
    """
    block = header_lines(headers)
    if block[:5].lower() != "host:":
        # Not `splitlines`, which also splits at characters that a value may contain.
        lines = [f"{line}\r\n" for line in block.split("\r\n")[:-1]]
        first = next((i for i, line in enumerate(lines) if _can_be_first(line)), None)
        if first is None:
            # libcurl sends Connection last, and an empty value without a space.
            lines.sort(key=lambda line: line.lower().startswith("connection:"))
            lines = [line.replace(": \r\n", ":\r\n") for line in lines]
        else:
            lines.insert(0, lines.pop(first))
        block = "".join(lines)
    return block.encode("latin-1")


def _can_be_first(line: str) -> bool:
    name, _, value = line.partition(":")
    return value != " \r\n" and name.lower() not in _NOT_FIRST
