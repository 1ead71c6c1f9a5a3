"""`Hop`: one request, exactly as it goes on the wire.

The client decides every byte of a request head; a transport of ours sends it as it
is. That is what makes the wire the same on both, and ``response.request`` true.
"""

from __future__ import annotations

from ..tls import TLS

#: Methods of which a repetition does no more than the first (RFC 9110, section 9.2.2).
IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})

#: Status codes that send a client elsewhere.
REDIRECT_CODES = frozenset({301, 302, 303, 307, 308})

#: Fields that a redirect to another origin does not take along.
CREDENTIALS = ("Authorization", "Proxy-Authorization", "Cookie")

#: Fields that go with a body, and are left out where a redirect leaves it out.
BODY_FIELDS = (
    *("Content-Length", "Content-Type", "Content-Encoding", "Content-Language"),
    "Transfer-Encoding",
)


def becomes_get(code: int, method: str) -> bool:
    """Whether a redirect makes a GET without a body of a request (RFC 9110, section 15.4)."""
    return (code == 303 and method != "HEAD") or (code in (301, 302) and method == "POST")


class Hop:
    """One request of a fetch, complete: a transport adds no field and follows no redirect.

    :arg str url: absolute URL without user info and fragment, ASCII only.
    :arg str method: upper-case token.
    :arg str target: request target, as it goes into the request line.
    :arg str version: ``"HTTP/1.0"``, ``"HTTP/1.1"`` or ``"HTTP/2"``.
    :arg bytes fields: the field lines, each ended by CR LF, Host and
        Content-Length among them.
    :arg body: bytes, or ``None`` for no body.
    :arg float connect_timeout: seconds for DNS, TCP and TLS together; 0 is none.
    :arg float request_timeout: seconds for this hop; 0 is none.
    :arg bool keep_alive: whether to take an idle connection and leave one.
    :arg bool decompress: whether to decode a gzip body.
    :arg int max_body_size: bytes of decoded body that the response may have.
    :arg tls: the `.TLS` settings of an https URL, else ``None``.

    No `HTTPRequest`, whose thirty attributes would be a good part of what a request
    costs.
    """

    __slots__ = (
        "body",
        "connect_timeout",
        "decompress",
        "fields",
        "keep_alive",
        "max_body_size",
        "method",
        "request_timeout",
        "target",
        "tls",
        "url",
        "version",
    )

    def __init__(
        self,
        url: str,
        *,
        method: str,
        target: str,
        version: str,
        fields: bytes,
        body: bytes | None,
        connect_timeout: float,
        request_timeout: float,
        keep_alive: bool,
        decompress: bool,
        max_body_size: int,
        tls: TLS | None,
    ) -> None:
        self.url = url
        self.method = method
        self.target = target
        self.version = version
        self.fields = fields
        self.body = body
        self.connect_timeout = connect_timeout
        self.request_timeout = request_timeout
        self.keep_alive = keep_alive
        self.decompress = decompress
        self.max_body_size = max_body_size
        self.tls = tls
