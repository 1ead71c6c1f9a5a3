"""The table of faults: the misbehaviour of a peer, and the expected result.

A row is one kind of misbehaviour. Its plays are variants of it, with one connection for each.
`runner` checks the requirements that hold for every row.
"""

from __future__ import annotations

import functools
import gzip
import os
import zlib
from typing import Any

from tests.support import response
from turbo_tornado import errors

from .acts import (
    CLOSE,
    FREEZE,
    RESET,
    TRUNCATE,
    UNREAD,
    Endless,
    Handshake,
    Play,
    Raw,
    cuts,
)
from .proxies import PROXIES
from .row import LIMIT, SHORT, Fine, Row

# Valid responses.

STATUS = b"HTTP/1.1 200 OK\r\n"
TYPE = b"Content-Type: text/plain\r\n"
LENGTH = b"Content-Length: 20\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
GZIP = b"Content-Encoding: gzip\r\n"
END = b"\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\nX-Interim: 1\r\n\r\n"
TEXT = b"twenty bytes of body"
PACKED = gzip.compress(b"compressed " * 50, mtime=0)
OF_LENGTH = STATUS + LENGTH + END
OF_CHUNKS = STATUS + CHUNKED + END
OF_GZIP = STATUS + GZIP + b"Content-Length: %d\r\n" % len(PACKED) + END
GOOD = response(b"fine")
LAST = response(b"fine", "Connection: close")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def gzipped(data: bytes) -> bytes:
    """Return a response with the header Content-Encoding: gzip."""
    return STATUS + GZIP + b"Content-Length: %d\r\n\r\n" % len(data) + data


WHOLE_LENGTH = OF_LENGTH + TEXT
WHOLE_CHUNKED = (
    STATUS + TYPE + CHUNKED + END + b"14;x=y\r\n" + TEXT + b"\r\n0\r\nX-Trailer: 1\r\n\r\n"
)

#: The places of an incomplete response: the data before, and the part that ends at each byte.
PARTS: dict[str, tuple[bytes, bytes]] = {
    "the status line": (b"", STATUS),
    "an interim response": (b"", CONTINUE),
    "the head after an interim response": (CONTINUE, STATUS + LENGTH + END),
    "a header": (STATUS, TYPE),
    "`Content-Length`": (STATUS + TYPE, LENGTH),
    "the empty line after the head": (STATUS + LENGTH, END),
    "a body with a length": (OF_LENGTH, TEXT),
    "the size of a chunk": (OF_CHUNKS, b"14\r\n"),
    "the extension of a chunk": (OF_CHUNKS + b"14", b';name="value"\r\n'),
    "a chunk": (OF_CHUNKS + b"14\r\n", TEXT),
    "the end of a chunk": (OF_CHUNKS + b"14\r\n" + TEXT, b"\r\n"),
    "the size of a later chunk": (OF_CHUNKS + chunk(TEXT), b"14\r\n"),
    "the last chunk": (OF_CHUNKS + chunk(TEXT), b"0\r\n"),
    "a trailer": (OF_CHUNKS + chunk(TEXT) + b"0\r\n", b"X-Trailer: 1\r\n"),
    "the empty line after trailers": (OF_CHUNKS + chunk(TEXT) + b"0\r\nX-Trailer: 1\r\n", END),
    "a gzip body with a length": (OF_GZIP, PACKED),
    "a gzip body in chunks": (OF_CHUNKS.replace(END + END, END + GZIP + END), chunk(PACKED)),
}


def within(part: str, *then: Any) -> tuple[Play, ...]:
    before, piece = PARTS[part]
    return tuple(cuts(before, piece, then, first=0 if before else 1))


def each(*data: bytes) -> tuple[Play, ...]:
    return tuple((piece,) for piece in data)


BROKEN = errors.SOCKET_ERROR
BAD_HEAD = errors.PARSE_ERROR_HEADERS

CUTS = [
    Row(
        "Closed connections",
        "closed before the request is read",
        ((CLOSE,),),
        errors.NO_HEADERS,
        at="accept",
    ),
    Row("Closed connections", "closed before any byte", ((CLOSE,),), errors.NO_HEADERS),
    *(
        Row(
            "Closed connections",
            f"closed at each byte of {part}",
            within(part, CLOSE),
            BROKEN,
        )
        for part in PARTS
    ),
    Row(
        "Closed connections",
        "closed at each byte of a gzip body without a length",
        tuple(cuts(STATUS + GZIP + END, PACKED, (CLOSE,), first=1)),
        BROKEN,
    ),
    Row(
        "Closed connections",
        "over TLS: closed at each byte of the status line",
        within("the status line", CLOSE),
        {"simple": BROKEN, "curl": errors.NO_HEADERS},
        "libcurl reports an incomplete status line as an empty response, and over TLS there is no "
        "other way to detect it",
        tls=True,
    ),
    Row(
        "Closed connections",
        "over TLS: closed at each later byte of a response with a length",
        tuple(cuts(b"", WHOLE_LENGTH, (CLOSE,), first=len(STATUS))),
        BROKEN,
        tls=True,
    ),
    Row(
        "Closed connections",
        "over TLS: closed at each later byte of a chunked response",
        tuple(cuts(b"", WHOLE_CHUNKED, (CLOSE,), first=len(STATUS))),
        BROKEN,
        tls=True,
    ),
    Row(
        "Closed connections",
        "over TLS: TCP closed without close_notify, at each byte of a response with a length",
        tuple(cuts(b"", WHOLE_LENGTH, (TRUNCATE,), first=1)),
        BROKEN,
        tls=True,
    ),
    Row(
        "Closed connections",
        "over TLS: TCP closed without close_notify, in a body without a length",
        ((STATUS + END + b"fine", TRUNCATE),),
        BROKEN,
        tls=True,
    ),
    Row(
        "Closed connections",
        "a reused connection closed at each byte of the head",
        tuple(cuts(b"", OF_LENGTH, (CLOSE,), first=1)),
        BROKEN,
        at="kept",
    ),
    Row(
        "Closed connections",
        "a reused connection closed before any byte: a GET is retried",
        ((CLOSE,),),
        Fine(),
        at="kept",
    ),
    Row(
        "Closed connections",
        "a reused connection closed before any byte: a POST is not retried",
        ((CLOSE,),),
        errors.NO_HEADERS,
        options={"method": "POST", "body": b"once"},
        at="kept",
    ),
    Row(
        "Closed connections",
        "closed after a response without `Connection: close`",
        ((GOOD, CLOSE),),
        Fine(),
    ),
]

RESETS = [
    Row("Resets", "reset at the accept", ((RESET,),), BROKEN, at="accept"),
    Row("Resets", "reset before any byte", ((RESET,),), BROKEN),
    Row(
        "Resets",
        "reset while the request is sent",
        ((UNREAD, RESET),),
        BROKEN,
        options={"method": "POST", "body": bytes(8_000_000)},
    ),
    *(
        Row("Resets", f"reset at each byte of {part}", within(part, RESET), BROKEN)
        for part in PARTS
    ),
    Row("Resets", "reset in a body without a length", ((STATUS + END, b"some", RESET),), BROKEN),
    Row(
        "Resets",
        "over TLS: reset at each byte of a response with a length",
        tuple(cuts(b"", WHOLE_LENGTH, (RESET,), first=1)),
        BROKEN,
        tls=True,
    ),
    Row(
        "Resets",
        "a reused connection reset before any byte: a GET is retried",
        ((RESET,),),
        Fine(),
        at="kept",
    ),
    Row(
        "Resets",
        "a reused connection reset before any byte: a POST is not retried",
        ((RESET,),),
        BROKEN,
        options={"method": "POST", "body": b"once"},
        at="kept",
    ),
]


@functools.cache
def bomb(size: int) -> bytes:
    """Return gzip data of ``size`` zeros (whole MiB), with a thousandth of their size."""
    piece = bytes(2**20)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    # Each block is independent, so that one block can be repeated.
    block = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    count = size // len(piece)
    checksum = 0
    for _ in range(count):
        checksum = zlib.crc32(piece, checksum)
    end = zlib.compressobj(9, zlib.DEFLATED, -15).flush()
    lengths = checksum.to_bytes(4, "little") + (size % 2**32).to_bytes(4, "little")
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + block * count + end + lengths


GIB = 2**30
PIECE = b"x" * 65536
NOISE = os.urandom(65536)

FLOODS = [
    Row("Floods", "endless bytes before a line ends", ((Endless(b"\0" * 1000),),), BAD_HEAD),
    Row("Floods", "an endless status line", ((STATUS[:-2], Endless(b"K" * 10_000)),), BAD_HEAD),
    Row("Floods", "endless headers", ((STATUS, Endless(b"X-More: and more\r\n" * 500)),), BAD_HEAD),
    Row("Floods", "an endless header value", ((STATUS + b"X-A: ", Endless(PIECE)),), BAD_HEAD),
    Row("Floods", "an endless header name", ((STATUS, Endless(PIECE)),), BAD_HEAD),
    Row(
        "Floods",
        "an endless folded header",
        ((STATUS + b"X-A: b\r\n", Endless(b" and more\r\n" * 500)),),
        BAD_HEAD,
    ),
    Row("Floods", "endless empty lines", ((Endless(b"\r\n" * 1000),),), BAD_HEAD),
    Row("Floods", "endless responses with status 100", ((Endless(CONTINUE),),), BAD_HEAD),
    Row(
        "Floods",
        "endless responses with status 103 and large headers",
        ((Endless(b"HTTP/1.1 103 Early Hints\r\nLink: " + b"x" * 30_000 + b"\r\n\r\n"),),),
        BAD_HEAD,
    ),
    Row(
        "Floods",
        "an endless body with a length",
        ((STATUS + b"Content-Length: 999999999999\r\n\r\n", Endless(PIECE)),),
        BROKEN,
    ),
    Row("Floods", "an endless body without a length", ((STATUS + END, Endless(PIECE)),), BROKEN),
    Row("Floods", "endless chunks", ((OF_CHUNKS, Endless(chunk(PIECE))),), BROKEN),
    Row("Floods", "endless small chunks", ((OF_CHUNKS, Endless(chunk(b"x" * 20) * 500)),), BROKEN),
    Row("Floods", "one endless chunk", ((OF_CHUNKS + b"7fffffff\r\n", Endless(PIECE)),), BROKEN),
    Row("Floods", "an endless chunk size", ((OF_CHUNKS, Endless(b"0" * 10_000)),), BROKEN),
    Row(
        "Floods",
        "an endless chunk extension",
        ((OF_CHUNKS + b"5;x=", Endless(b"y" * 10_000)),),
        {"simple": BROKEN, "curl": errors.REQUEST_TIMEOUT},
        "libcurl skips an extension of any length and does not report it",
        options={"request_timeout": SHORT},
    ),
    Row(
        "Floods",
        "endless trailers",
        ((OF_CHUNKS + b"0\r\n", Endless(b"X-More: and more\r\n" * 500)),),
        BROKEN,
    ),
    Row(
        "Floods",
        "an endless trailer",
        ((OF_CHUNKS + b"0\r\nX-A: ", Endless(PIECE)),),
        BROKEN,
    ),
    Row(
        "Floods",
        "over TLS: an endless body",
        ((STATUS + END, Endless(PIECE)),),
        BROKEN,
        tls=True,
    ),
    Row(
        "Floods",
        "an endless body of a 500 response",
        ((b"HTTP/1.1 500 Oh No\r\n\r\n", Endless(PIECE)),),
        BROKEN,
    ),
    Row(
        "Floods",
        "an endless body of a redirect",
        ((b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", Endless(PIECE)),),
        Fine(),
    ),
    Row("Floods", "endless bytes after the body", ((GOOD, Endless(PIECE)),), Fine()),
    Row(
        "Floods",
        "an endless body in a response to HEAD",
        ((STATUS + END, Endless(PIECE)),),
        Fine(body=b""),
        options={"method": "HEAD"},
    ),
    Row(
        "Floods",
        "an endless body after 204",
        ((b"HTTP/1.1 204 No Content\r\n\r\n", Endless(PIECE)),),
        Fine(204, b""),
    ),
    Row(
        "Floods",
        "gzip that decodes to 1 GiB, with a length",
        lambda: [(gzipped(bomb(GIB)),)],
        BROKEN,
    ),
    Row(
        "Floods",
        "gzip that decodes to 1 GiB, in one chunk",
        lambda: [(STATUS + GZIP + CHUNKED + END + chunk(bomb(GIB)) + b"0\r\n\r\n",)],
        BROKEN,
    ),
    Row(
        "Floods",
        "gzip that decodes to 1 GiB, until the connection closes",
        lambda: [(STATUS + GZIP + END + bomb(GIB), CLOSE)],
        BROKEN,
    ),
    Row(
        "Floods",
        "endless small gzip members",
        ((STATUS + GZIP + END, Endless(gzip.compress(bytes(1000), mtime=0) * 1000)),),
        BROKEN,
    ),
    Row(
        "Floods",
        "endless gzip that is longer than its content",
        ((STATUS + GZIP + END, Endless(gzip.compress(NOISE, mtime=0))),),
        BROKEN,
    ),
    Row(
        "Floods",
        "endless empty gzip members",
        ((STATUS + GZIP + END, Endless(gzip.compress(b"", mtime=0) * 500)),),
        BROKEN,
    ),
    Row(
        "Floods",
        "an endless file name in gzip",
        ((STATUS + GZIP + END + b"\x1f\x8b\x08\x08\0\0\0\0\0\xff", Endless(PIECE)),),
        BROKEN,
    ),
    Row(
        "Floods",
        "endless redirects",
        ((response(b"", "Location: /0", status="302 Found"),),),
        errors.REDIRECT_MAX,
    ),
]

REQUEST_SHORT = {"request_timeout": SHORT}
CONNECT_SHORT = {"connect_timeout": SHORT}
SPEAKS_TLS: dict[str, Any] = {"tls": True, "at": "accept"}
EIGHTHS = [number / 8 for number in range(8)]

STALLS = [
    Row(
        "Stalls",
        "TCP is not accepted: `connect_timeout`",
        ((),),
        errors.CONNECT_TIMEOUT,
        options=CONNECT_SHORT,
        url="http://127.0.0.1:{blackhole}/",
    ),
    Row(
        "Stalls",
        "TCP is not accepted: `request_timeout`",
        ((),),
        errors.REQUEST_TIMEOUT,
        options=REQUEST_SHORT,
        url="http://127.0.0.1:{blackhole}/",
    ),
    Row(
        "Stalls",
        "a redirect to a port where TCP is not accepted",
        ((response(b"", "Location: http://127.0.0.1:<blackhole>/", status="302 Found"),),),
        errors.CONNECT_TIMEOUT,
        options=CONNECT_SHORT,
    ),
    Row(
        "Stalls",
        "within the handshake of the server: `connect_timeout`",
        tuple((Handshake(part),) for part in EIGHTHS),
        errors.CONNECT_TIMEOUT,
        options=CONNECT_SHORT,
        **SPEAKS_TLS,
    ),
    Row(
        "Stalls",
        "within the handshake of the server: `request_timeout`",
        tuple((Handshake(part),) for part in EIGHTHS),
        errors.REQUEST_TIMEOUT,
        options=REQUEST_SHORT,
        **SPEAKS_TLS,
    ),
    Row(
        "Stalls",
        "the request is not read",
        ((UNREAD, FREEZE),),
        errors.REQUEST_TIMEOUT,
        options={"method": "POST", "body": bytes(8_000_000), **REQUEST_SHORT},
    ),
    Row("Stalls", "before any byte", ((FREEZE,),), errors.REQUEST_TIMEOUT, options=REQUEST_SHORT),
    *(
        Row(
            "Stalls",
            f"at each byte of {part}",
            within(part, FREEZE),
            errors.REQUEST_TIMEOUT,
            options=REQUEST_SHORT,
        )
        for part in PARTS
    ),
    Row(
        "Stalls",
        "in a body without a length",
        ((STATUS + END + b"some", FREEZE),),
        errors.REQUEST_TIMEOUT,
        options=REQUEST_SHORT,
    ),
    Row(
        "Stalls",
        "over TLS: at each byte of a response with a length",
        tuple(cuts(b"", WHOLE_LENGTH, (FREEZE,))),
        errors.REQUEST_TIMEOUT,
        options=REQUEST_SHORT,
        tls=True,
    ),
    Row(
        "Stalls",
        "single bytes with pauses, in each part",
        (
            (STATUS + b"X-A: ", Endless(b"b", 0.02)),
            (STATUS + END, Endless(b"b", 0.02)),
            (OF_CHUNKS, Endless(chunk(b"b"), 0.02)),
            (OF_CHUNKS + b"5;", Endless(b"b", 0.02)),
            (OF_CHUNKS + b"0\r\nX-A: ", Endless(b"b", 0.02)),
        ),
        errors.REQUEST_TIMEOUT,
        options=REQUEST_SHORT,
    ),
    Row(
        "Stalls",
        "on a reused connection, before any byte",
        ((FREEZE,),),
        errors.REQUEST_TIMEOUT,
        options=REQUEST_SHORT,
        at="kept",
    ),
    Row(
        "Stalls",
        "a length, or a chunk size, that is too large, on a connection that stays open",
        (
            (STATUS + b"Content-Length: 21\r\n\r\n" + TEXT,),
            (OF_CHUNKS + b"15\r\n" + TEXT,),
            (OF_CHUNKS + b"ffffffff\r\n" + TEXT,),
            (OF_CHUNKS + b"fffffffffffffff\r\n" + TEXT,),
        ),
        errors.REQUEST_TIMEOUT,
        options=REQUEST_SHORT,
    ),
]


def head(*fields: bytes, body: bytes = TEXT, status: bytes = STATUS) -> bytes:
    return status + b"".join(line + b"\r\n" for line in fields) + END + body


def length(*values: bytes) -> bytes:
    return head(*(b"Content-Length: " + value for value in values))


def chunks(data: bytes) -> bytes:
    return OF_CHUNKS + data


def lie(name: str, expected: Any, *data: bytes, **more: Any) -> Row:
    return Row("Invalid responses", name, each(*data), expected, **more)


def status(line: bytes) -> bytes:
    return line + b"\r\nContent-Length: 0\r\n\r\n"


LIES = [
    lie(
        "another protocol",
        BAD_HEAD,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"220 mail.example ESMTP\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"<html>hello</html>\r\n\r\n",
        b"\x15\x03\x03\0\x02\x02\x28",
        b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x01\0\0\0\x05\0\xff\xff",
        b"fine",
    ),
    lie(
        "an invalid status line",
        BAD_HEAD,
        status(b"HTPP/1.1 200 OK"),
        status(b"HTTP/1.1"),
        status(b"HTTP/1.1 OK"),
        status(b"HTTP/1.1 2xx OK"),
        status(b"HTTP/1.1 20 OK"),
        status(b"HTTP/1.1 2000 OK"),
        status(b"HTTP/1.1 -200 OK"),
        status(b"HTTP/1.1 000 OK"),
        status(b"HTTP/1. 200 OK"),
        status(b"HTTP/one 200 OK"),
        status(b"http/1.1 200 OK"),
        status(b" HTTP/1.1 200 OK"),
        status(b"HTTP/1.1 200 \0OK"),
    ),
    lie(
        "an unsupported HTTP version",
        BAD_HEAD,
        status(b"HTTP/2 200"),
        status(b"HTTP/3 200 OK"),
        status(b"HTTP/9.9 200 OK"),
        status(b"HTTP/0.9 200 OK"),
    ),
    lie(
        "a switch to another protocol (101)",
        BAD_HEAD,
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
    ),
    lie(
        "an invalid header",
        BAD_HEAD,
        head(b"this is no field", b"Content-Length: 20"),
        head(b": value", b"Content-Length: 20"),
        head(b"Bad Name: value", b"Content-Length: 20"),
        head(b"Content-Length : 20"),
        head(b" folded: before any field", b"Content-Length: 20"),
        head(b"X-A: a\0b", b"Content-Length: 20"),
        head(b"X-A: a\rb", b"Content-Length: 20"),
        head(b"X\x7f: a", b"Content-Length: 20"),
        head(b"X-\xc3\xa4: a", b"Content-Length: 20"),
    ),
    lie(
        "two values of `Content-Length`",
        BAD_HEAD,
        length(b"20", b"19"),
        length(b"19", b"20"),
        length(b"20, 19"),
    ),
    lie("a negative length", BAD_HEAD, length(b"-1"), length(b"-20"), length(b"-0")),
    lie(
        "a length that is not a number",
        BAD_HEAD,
        *map(length, (b"", b"twenty", b"+20", b"0x14", b"2 0", b"20.0", b"1e1", b"20;", b"\xb2")),
    ),
    lie("a length of thousands of digits", BAD_HEAD, length(b"9" * 2000)),
    lie(
        "a length beyond `max_buffer_size`",
        BROKEN,
        *map(length, (b"%d" % (LIMIT + 1), b"%d" % 2**31, b"%d" % 2**40, b"%d" % (2**63 - 1))),
    ),
    lie(
        "a length beyond 64 bits",
        BROKEN,
        length(b"%d" % 2**63),
        length(b"%d" % 2**64),
        length(b"9" * 30),
    ),
    lie(
        "a length and chunks",
        BAD_HEAD,
        head(b"Content-Length: 20", b"Transfer-Encoding: chunked", body=chunk(TEXT)),
        head(b"Transfer-Encoding: chunked", b"Content-Length: 20", body=chunk(TEXT)),
    ),
    lie(
        "an unsupported `Transfer-Encoding`",
        BAD_HEAD,
        head(b"Transfer-Encoding: gzip, chunked"),
        head(b"Transfer-Encoding: chunked, chunked"),
        head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        head(b"Transfer-Encoding: xchunked"),
        head(b"Transfer-Encoding: identity"),
        head(b"Transfer-Encoding:"),
    ),
    lie(
        "a body announced for 204",
        Fine(204, b""),
        head(b"Content-Length: 20", status=b"HTTP/1.1 204 No Content\r\n"),
        head(b"Transfer-Encoding: chunked", status=b"HTTP/1.1 204 No Content\r\n"),
    ),
    lie(
        "a body announced for an interim response",
        BAD_HEAD,
        head(b"Content-Length: 20", status=b"HTTP/1.1 100 Continue\r\n"),
        head(b"Transfer-Encoding: chunked", status=b"HTTP/1.1 103 Early Hints\r\n"),
    ),
    lie(
        "an invalid head after an interim response", BAD_HEAD, CONTINUE + status(b"HTTP/1.1 2xx OK")
    ),
    lie("more than ten interim responses", BAD_HEAD, CONTINUE * 100 + GOOD),
    lie("some interim responses", Fine(), CONTINUE * 5 + GOOD),
    lie("a length that is too small", Fine(), head(b"Content-Length: 4", body=b"fine and more")),
    lie("an additional response", Fine(), GOOD + response(b"evil")),
    lie("bytes after a body in chunks", Fine(), chunks(chunk(b"fine") + b"0\r\n\r\nmore")),
    lie(
        "an additional response after chunks",
        Fine(),
        chunks(chunk(b"fine") + b"0\r\n\r\n") + response(b"evil"),
    ),
    lie(
        "a body after 304",
        Fine(304, b""),
        head(b"Content-Length: 20", status=b"HTTP/1.1 304 Not Modified\r\n"),
    ),
    lie(
        "a body in a response to HEAD",
        Fine(body=b""),
        WHOLE_LENGTH,
        WHOLE_CHUNKED,
        options={"method": "HEAD"},
    ),
    lie(
        "a chunk size that is not a number",
        BROKEN,
        *(
            chunks(size + b"\r\n" + TEXT + b"\r\n0\r\n\r\n")
            for size in (b"xyz", b"", b"-14", b"+14", b"0x14", b" 14", b"g", b"\x0014", b";x=y")
        ),
    ),
    lie(
        "a chunk size beyond 64 bits",
        BROKEN,
        *(chunks(b"f" * digits + b"\r\n" + TEXT) for digits in (16, 17, 40)),
    ),
    lie(
        "a chunk longer than its size",
        BROKEN,
        chunks(b"13\r\n" + TEXT + b"\r\n0\r\n\r\n"),
        chunks(b"1\r\n" + TEXT + b"\r\n0\r\n\r\n"),
    ),
    lie(
        "a chunk shorter than its size",
        BROKEN,
        chunks(b"16\r\n" + TEXT + b"\r\n0\r\n\r\n"),
        chunks(b"17\r\n" + TEXT + b"\r\n0\r\n\r\n"),
        chunks(b"19\r\n" + TEXT + b"\r\n0\r\n\r\nxyz\r\n"),
    ),
    lie(
        "a chunk that ends in LF alone",
        {"simple": BROKEN, "curl": Fine(body=TEXT)},
        chunks(b"14\r\n" + TEXT + b"\n0\r\n\r\n"),
        why="libcurl accepts it as the end of the chunk",
    ),
    lie("invalid trailers", BROKEN, chunks(b"0\r\nthis is no field\r\n\r\n")),
    lie(
        "a body that is declared as gzip and is not gzip",
        BROKEN,
        gzipped(TEXT),
        gzipped(zlib.compress(TEXT)),
        gzipped(zlib.compress(TEXT)[2:-4]),
        gzipped(b"\x1f\x8b\x09" + PACKED[3:]),
        gzipped(b"\x1f"),
    ),
    lie(
        "gzip with any of its bytes changed",
        BROKEN,
        # The flags, the time and the system in its header are not relevant.
        *(
            gzipped(PACKED[:at] + bytes([PACKED[at] ^ 0xFF]) + PACKED[at + 1 :])
            for at in (0, 1, 2, *range(10, len(PACKED)))
        ),
    ),
    lie(
        "gzip cut at each byte, in a whole body",
        BROKEN,
        *(gzipped(PACKED[:end]) for end in range(1, len(PACKED))),
    ),
    lie("data after gzip", BROKEN, gzipped(PACKED + b"more"), gzipped(PACKED + PACKED[:9])),
    lie(
        "an unsupported `Content-Encoding`",
        Fine(),
        head(b"Content-Encoding: br", b"Content-Length: 4", body=b"fine"),
        head(b"Content-Encoding: x", b"Content-Length: 4", body=b"fine"),
    ),
    Row(
        "Invalid responses",
        "a response before the request is complete",
        ((UNREAD, GOOD),),
        Fine(),
        options={"method": "POST", "body": bytes(8_000_000)},
    ),
]


def redirect(name: str, expected: Any, *locations: bytes, **more: Any) -> Row:
    heads = (
        head(b"Location: " + to, b"Content-Length: 0", body=b"", status=b"HTTP/1.1 302 Found\r\n")
        for to in locations
    )
    return Row("Redirects", name, each(*heads), expected, **more)


SCHEMES = (
    b"file:///etc/passwd",
    b"ftp://127.0.0.1:<port>/",
    b"ftps://127.0.0.1:<port>/",
    b"sftp://127.0.0.1:<port>/",
    b"scp://127.0.0.1:<port>/x",
    b"tftp://127.0.0.1:<port>/x",
    b"gopher://127.0.0.1:<port>/_GET%20/",
    b"dict://127.0.0.1:<port>/d:x",
    b"ldap://127.0.0.1:<port>/",
    b"imap://127.0.0.1:<port>/",
    b"smtp://127.0.0.1:<port>/",
    b"smb://127.0.0.1/x/y",
    b"telnet://127.0.0.1:<port>/",
    b"rtsp://127.0.0.1:<port>/",
    b"mqtt://127.0.0.1:<port>/x",
    b"ws://127.0.0.1:<port>/",
    b"wss://127.0.0.1:<port>/",
    b"javascript:alert(1)",
    b"data:text/plain,fine",
    b"mailto:somebody@example.com",
    b"about:blank",
    b"blob:null/0",
    b"view-source:http://127.0.0.1:<port>/",
    b"jar:http://127.0.0.1:<port>/!/",
    b"unix:///run/some.sock",
    b"HTTPX://127.0.0.1:<port>/",
    b"x-y+z.1://127.0.0.1:<port>/",
)

REDIRECTS = [
    redirect("to each scheme that is not http", errors.INVALID_SCHEMA, *SCHEMES),
    redirect(
        "to an invalid URL",
        errors.INVALID_URL,
        b"http://",
        b"http:",
        b"http:///path",
        b"//",
        b"http://[::1/",
        b"http://[nobody]/",
        b"http://127.0.0.1:port/",
        b"http://127.0.0.1:65536/",
        b"http://127.0.0.1:-1/",
        b"http://user@/",
        b"/a\tb",
        b"http://127.0.0.1:<port>\\@other/",
    ),
    redirect("to https on a port without TLS", errors.SSL_ERROR, b"https://127.0.0.1:<sane>/"),
    redirect(
        "to a port without a listener", errors.COULD_NOT_CONNECT, b"http://127.0.0.1:<closed>/"
    ),
    redirect(
        "to an unreachable network",
        errors.COULD_NOT_CONNECT,
        b"http://255.255.255.255:9/",
    ),
    redirect(
        "to itself", errors.REDIRECT_MAX, b"#fragment", b"?", b"/0", b"http://127.0.0.1:<port>/0"
    ),
    redirect("to a URL of 60 KB, and again", errors.REDIRECT_MAX, b"/0?" + b"x" * 60_000),
    redirect(
        "with an invalid header in addition",
        BAD_HEAD,
        b"/\0",
        b"/free\r\nbad",
        b"/free\r\nContent-Length: 1",
    ),
]


def tls(name: str, expected: Any, *plays: Play, **more: Any) -> Row:
    return Row("TLS", name, plays, expected, tls=True, **more)


SIXTEENTHS = [number / 16 for number in range(16)]

TLS = [
    tls(
        "not TLS",
        errors.SSL_ERROR,
        (GOOD,),
        (b"\0" * 100,),
        (b"SSH-2.0-OpenSSH_9.2\r\n",),
        (b"\x16\x03\x03\xff\xff" + b"\0" * 70_000,),
        at="accept",
    ),
    tls(
        "an alert instead of a response",
        errors.SSL_ERROR,
        (b"\x15\x03\x03\0\x02\x02\x28",),
        at="accept",
    ),
    tls(
        "closed within the handshake of the server",
        errors.SSL_ERROR,
        *((Handshake(part), CLOSE) for part in SIXTEENTHS),
        at="accept",
    ),
    tls(
        "reset within the handshake of the server",
        errors.SSL_ERROR,
        *((Handshake(part), RESET) for part in SIXTEENTHS),
        at="accept",
    ),
    tls(
        "a changed byte in the handshake of the server",
        errors.SSL_ERROR,
        *((Handshake(part, spoilt=True), CLOSE) for part in SIXTEENTHS),
        at="accept",
    ),
    *(
        tls(name, errors.SSL_ERROR, (GOOD,), certificate=certificate)
        for name, certificate in {
            "an expired certificate": "expired",
            "a certificate of another host": "wrong-host",
            "a self-signed certificate": "self-signed",
        }.items()
    ),
    tls(
        "data within the body that is not a TLS record",
        errors.SSL_ERROR,
        (OF_LENGTH, Raw(b"HTTP/1.1 200 OK\r\n")),
        (OF_LENGTH, Raw(b"\x17\x03\x03\0\x20" + bytes(32))),
    ),
]


def dns(name: str, expected: Any, behaviour: str, **more: Any) -> Row:
    return Row("DNS", name, ((),), expected, url="http://turbo.test/", dns=behaviour, **more)


def resolver(name: str, expected: Any, behaviour: str, **more: Any) -> Row:
    return Row(
        "DNS",
        name,
        ((),),
        expected,
        "libcurl does not support a `Resolver`",
        url="http://turbo.test/",
        resolver=behaviour,
        transports=("simple",),
        **more,
    )


FAILS = errors.COULD_NOT_CONNECT

DNS = [
    dns("an unknown host name", FAILS, "nxdomain"),
    dns("a name without an address", FAILS, "empty"),
    dns("SERVFAIL from the name server", FAILS, "servfail"),
    dns("REFUSED from the name server", FAILS, "refused"),
    dns("no name server", FAILS, "absent"),
    dns(
        "no response of the name server: `connect_timeout`",
        errors.CONNECT_TIMEOUT,
        "silent",
        options=CONNECT_SHORT,
    ),
    dns(
        "no response of the name server: `request_timeout`",
        errors.REQUEST_TIMEOUT,
        "silent",
        options=REQUEST_SHORT,
    ),
    resolver("a `Resolver` that fails", FAILS, "fails"),
    resolver(
        "a `Resolver` without a result: `connect_timeout`",
        errors.CONNECT_TIMEOUT,
        "hangs",
        options=CONNECT_SHORT,
    ),
    resolver(
        "a `Resolver` without a result: `request_timeout`",
        errors.REQUEST_TIMEOUT,
        "hangs",
        options=REQUEST_SHORT,
    ),
]

CONNECTS = [
    Row("Connecting", "a port without a listener", ((),), FAILS, url="http://127.0.0.1:{closed}/"),
    Row(
        "Connecting",
        "a port without a listener, with TLS",
        ((),),
        FAILS,
        url="https://127.0.0.1:{closed}/",
    ),
    Row("Connecting", "an unreachable network", ((),), FAILS, url="http://255.255.255.255:9/"),
]

TABLE: list[Row] = [
    *CONNECTS,
    *DNS,
    *TLS,
    *CUTS,
    *RESETS,
    *STALLS,
    *FLOODS,
    *LIES,
    *REDIRECTS,
    *PROXIES,
]
