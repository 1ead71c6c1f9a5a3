"""Responses as byte streams: valid ones by a grammar, and their mutations."""

from __future__ import annotations

import gzip
import itertools
from typing import Any, NamedTuple

from hypothesis import strategies as st

CODES = [200, 200, 200, 201, 204, 206, 299, 301, 302, 304, 404, 500, 599, 999]
BODIES = st.one_of(st.sampled_from([b"", b"x", b"hello", b"0\r\n\r\n"]), st.binary(max_size=40))
FIELDS = st.lists(
    st.sampled_from(
        [
            "A: b",
            "a:",
            "Set-Cookie: a=1; Path=/",
            "Connection: close",
            "Connection: keep-alive",
            "Connection: Upgrade, close",
            "Date: Tue, 15 Nov 1994 08:12:31 GMT",
            "Location: /elsewhere",
            "Folded: one\r\n two",
            "Latin: \xfc\xff",
            "Trailer: A",
            "Upgrade: h2c",
            "Keep-Alive: timeout=5",
            "Proxy-Connection: close",
            "WWW-Authenticate: Basic",
        ]
    ),
    max_size=3,
)
INTERIM = st.lists(
    st.sampled_from(
        [
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
            b"HTTP/1.1 102 Processing\r\n\r\n",
        ]
    ),
    max_size=2,
)


@st.composite
def chunks(draw: Any, body: bytes) -> bytes:
    """``body`` in chunks, with extensions and trailers."""
    out = b""
    while body:
        size = draw(st.integers(1, len(body)))
        digits = draw(st.sampled_from([b"%x", b"%X", b"0%x", b"%x ", b'%x;a="b"', b"%x ; a"]))
        out += digits % size + b"\r\n" + body[:size] + b"\r\n"
        body = body[size:]
    trailers = draw(st.sampled_from([b"", b"", b"A: b\r\n", b"A: b\r\nDigest: c\r\n"]))
    return out + draw(st.sampled_from([b"0\r\n", b"000\r\n", b"0;a\r\n"])) + trailers + b"\r\n"


@st.composite
def responses(draw: Any) -> bytes:
    """A valid response, to a GET or to a HEAD."""
    code = draw(st.sampled_from(CODES))
    version = draw(st.sampled_from(["1.1", "1.1", "1.1", "1.0"]))
    reason = draw(st.sampled_from([" OK", " OK", " ", "", " Not \xfcnusual", " 200"]))
    fields = draw(FIELDS)
    body: bytes = draw(BODIES)
    if draw(st.sampled_from([False, False, True])):
        fields = [*fields, f"Content-Encoding: {draw(st.sampled_from(['gzip', 'x-gzip']))}"]
        body = gzip.compress(body, mtime=0)
    framing = draw(st.sampled_from(["length", "length", "chunked", "close"]))
    if code in (204, 304):
        body, framing = b"", "close"
    if framing == "length":
        fields = [*fields, f"Content-Length: {len(body)}"]
    elif framing == "chunked":
        fields = [*fields, "Transfer-Encoding: chunked"]
        body = draw(chunks(body))
    if len(fields) > 1:
        fields = draw(st.permutations(fields))
    head = "\r\n".join([f"HTTP/{version} {code}{reason}", *fields, "", ""]).encode("latin-1")
    if draw(st.integers(0, 9)) == 9:
        head = head.replace(b"\r\n", b"\n")
    return b"".join(draw(INTERIM)) + head + body


#: Text that is likely to have a meaning in the wrong place.
TELLING = [
    b"\0", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b":", b",", b";", b"-", b"+", b"0",
    b"9", b"f", b"x", b"\xff", b"\x7f", b"\x1f\x8b\x08", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 ",
    b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 101 Switching\r\n\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: 5, 5\r\n",
    b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999\r\n",
    b"Content-Length : 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding: identity\r\n",
    b"Content-Encoding: gzip\r\n", b"Content-Encoding: br\r\n", b"Connection: close\r\n",
    b"0\r\n\r\n", b"5\r\nhello\r\n", b"ffffffffffffffff\r\n", b"<html>", b"A" * 5000,
]  # fmt: skip
PLACE = st.integers(0, 1 << 16)
PIECE = st.one_of(st.sampled_from(TELLING), st.binary(min_size=1, max_size=4))
MUTATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("delete"), PLACE, st.integers(1, 8)),
        st.tuples(st.just("duplicate"), PLACE, st.integers(1, 40)),
        st.tuples(st.just("replace"), PLACE, PIECE),
        st.tuples(st.just("insert"), PLACE, PIECE),
        st.tuples(st.just("insert line"), PLACE, PIECE),
        st.tuples(st.just("swap lines"), PLACE, PLACE),
        st.tuples(st.just("truncate"), PLACE, st.none()),
    ),
    max_size=3,
)


def mutated(data: bytes, how: str, place: int, what: Any) -> bytes:
    """Return ``data`` after one mutation."""
    lines = data.split(b"\n")
    if how == "swap lines":
        one, other = place % len(lines), what % len(lines)
        lines[one], lines[other] = lines[other], lines[one]
        return b"\n".join(lines)
    if how == "insert line":
        at = place % len(lines)
        return b"\n".join([*lines[:at], what + lines[at], *lines[at + 1 :]])
    at = place % (len(data) + 1)
    if how == "truncate":
        return data[:at]
    if how == "delete":
        return data[:at] + data[at + what :]
    if how == "duplicate":
        return data[:at] + data[at : at + what] * 2 + data[at + what :]
    if how == "replace":
        return data[:at] + what + data[at + len(what) :]
    return data[:at] + what + data[at:]


class Stream(NamedTuple):
    """The data in response to one request, each piece in a separate write."""

    pieces: tuple[bytes, ...]
    #: ``"open"``, ``"close"`` or ``"reset"``: the end of the connection.
    ending: str
    method: str = "GET"
    use_gzip: bool = True
    keep_alive: bool = True

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


@st.composite
def streams(draw: Any) -> Stream:
    """A stream of a mutated response, split at random."""
    data = draw(responses())
    for how, place, what in draw(MUTATIONS):
        data = mutated(data, how, place, what)
    cuts = draw(st.lists(PLACE, max_size=4))
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = tuple(data[a:b] for a, b in itertools.pairwise(places))
    ending = draw(st.sampled_from(["open", "close", "reset"]))
    method = draw(st.sampled_from(["GET", "GET", "GET", "HEAD"]))
    return Stream(pieces, ending, method, draw(st.booleans()), draw(st.booleans()))
