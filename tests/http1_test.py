"""Valid and invalid responses, in pieces of every size."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turbo_tornado.failures import (
    BodyError,
    BrokenConnection,
    HeadTooLarge,
    MalformedResponse,
    NoResponse,
)
from turbo_tornado.http1 import parser as http1_parser
from turbo_tornado.http1.body import Body
from turbo_tornado.http1.head import (
    MAX_HEAD_SIZE,
    MAX_INTERIM_RESPONSES,
    Head,
    check_partial_head,
    parse_head,
)
from turbo_tornado.http1.parser import ResponseParser

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Sink:
    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def write(self, chunk: bytes) -> None:
        self.chunks.append(chunk)


class Fed(NamedTuple):
    """The result of feeding a parser."""

    head: Head | None
    body: bytes
    interim: list[int]
    complete: bool
    #: The data beyond the response, whether the parser received it or not.
    beyond: bytes


def feed(pieces: Iterable[bytes], bodiless: bool = False, ended: bool = False) -> Fed:
    """Feed a parser until the response is complete or the input ends."""
    sink = Sink()
    heads: list[Head] = []
    interim: list[int] = []

    def on_head(head: Head) -> Sink:
        heads.append(head)
        return sink

    parser = ResponseParser(bodiless, on_head, lambda head: interim.append(head.code))
    left = iter(pieces)
    for piece in left:
        if parser.feed(piece):
            break
        assert not parser.complete
    if ended and not parser.complete:
        parser.end()
    assert heads == ([] if parser.head is None else [parser.head])
    assert all(sink.chunks), "an empty piece of a body"
    beyond = parser.leftover + b"".join(left)
    return Fed(parser.head, b"".join(sink.chunks), interim, parser.complete, beyond)


def splits(data: bytes) -> Iterable[Sequence[bytes]]:
    """Yield ``data`` whole, in two pieces at every position, and byte by byte."""
    yield [data]
    for position in range(1, len(data)):
        yield [data[:position], data[position:]]
    yield [data[position : position + 1] for position in range(len(data))]


# Heads


def head(*fields: str, line: str = "HTTP/1.1 200 OK") -> Head:
    return parse_head("\r\n".join([line, *fields, "", ""]).encode("latin-1"))


@pytest.mark.parametrize(
    ("line", "version", "code", "reason"),
    [
        ("HTTP/1.1 200 OK", "HTTP/1.1", 200, "OK"),
        ("HTTP/1.0 404 Not Found", "HTTP/1.0", 404, "Not Found"),
        ("HTTP/1.9 200 OK", "HTTP/1.9", 200, "OK"),
        ("HTTP/2 200", "HTTP/2", 200, "OK"),
        ("HTTP/3 404 ", "HTTP/3", 404, "Not Found"),
        # The standard phrase replaces a missing one.
        ("HTTP/1.1 200", "HTTP/1.1", 200, "OK"),
        ("HTTP/1.1 200 ", "HTTP/1.1", 200, "OK"),
        ("HTTP/1.1 503  ", "HTTP/1.1", 503, "Service Unavailable"),
        ("HTTP/1.1 299", "HTTP/1.1", 299, "Unknown"),
        ("HTTP/1.1 999 Own Words", "HTTP/1.1", 999, "Own Words"),
        ("HTTP/1.1 200  padded\t", "HTTP/1.1", 200, "padded"),
        ("HTTP/1.1 200 Gr\xfc\xdfe", "HTTP/1.1", 200, "Gr\xfc\xdfe"),
        ("HTTP/1.1 200 200 200", "HTTP/1.1", 200, "200 200"),
    ],
)
def test_status_line(line: str, version: str, code: int, reason: str) -> None:
    for end in ("\r\n\r\n", "\n\n", "\r\n\n", "\n\r\n"):
        parsed = parse_head((line + end).encode("latin-1"))
        assert (parsed.version, parsed.code, parsed.reason) == (version, code, reason)
        assert parsed.headers.get_version() == version
        assert parsed.headers.get_status_code() == code
        assert list(parsed.headers.get_all()) == []


BAD_STATUS_LINES = [
    b"",
    b"OK",
    b"http/1.1 200 OK",
    b"HTTP/1.1",
    b"HTTP/1.1 ",
    b"HTTP/1.1 OK",
    b"HTTP/1.1 20 OK",
    b"HTTP/1.1 2000 OK",
    b"HTTP/1.1 099 OK",
    b"HTTP/1.1 000 OK",
    b"HTTP/1.1 -20 OK",
    b"HTTP/1.1 +20 OK",
    b"HTTP/1.1 2 0 OK",
    b"HTTP/1.1 200OK",
    b"HTTP/1.1  200 OK",
    b"HTTP/1.1\t200 OK",
    b"HTTP/1.1 200\tOK",
    b" HTTP/1.1 200 OK",
    b"HTTP/1 200 OK",
    b"HTTP/1.10 200 OK",
    b"HTTP/0.9 200 OK",
    b"HTTP/2.0 200 OK",
    b"HTTP/4 200 OK",
    b"HTTP/1.x 200 OK",
    b"HTTPS/1.1 200 OK",
    b"HTTP 1.1 200 OK",
    b"ICY 200 OK",
    b"RTSP/1.0 200 OK",
    b"SSH-2.0-OpenSSH_9.6",
    b"HTTP/1.1 200 O\0K",
    b"HTTP/1.1 200 O\rK",
    b"HTTP/1.1 200 O\x07K",
    b"HTTP/1.1 200 O\x7fK",
    b"HTTP/1.1 200 OK\r",
    b"HTTP/1.1 \xd9\xa2\xd9\xa0\xd9\xa0 OK",
    b"<html>",
    b"\x15\x03\x01\x00\x02\x02F",
    b"\r\nHTTP/1.1 200 OK",
]


@pytest.mark.parametrize("line", BAD_STATUS_LINES)
def test_invalid_status_line(line: bytes) -> None:
    for data in (line + b"\r\n\r\n", line + b"\r\nContent-Length: 0\r\n\r\n"):
        with pytest.raises(MalformedResponse):
            parse_head(data)
        for pieces in splits(data):
            with pytest.raises(MalformedResponse):
                feed(pieces)


def test_header_lines() -> None:
    fields = head(
        "A: 1", "b:2", "C:\t 3 \t", "a: 4", "D:", "E: \xfc", "!#$%&'*+-.^_`|~9z: 5"
    ).headers
    assert list(fields.get_all()) == [
        ("A", "1"),
        ("A", "4"),
        ("B", "2"),
        ("C", "3"),
        ("D", ""),
        ("E", "\xfc"),
        ("!#$%&'*+-.^_`|~9z", "5"),
    ]


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        (b"A: one\r\n two\r\n", "one two"),
        (b"A: one\r\n\ttwo\r\n", "one two"),
        (b"A: one\r\n \t  two\r\n", "one two"),
        (b"A: one\n two\n three\n", "one two three"),
        (b"A:\r\n one\r\n", "one"),
        (b"A: one\r\n two\r\nB: 1\r\n", "one two"),
        (b"B: 1\r\nA: one\r\n Content-Length: 9\r\n", "one Content-Length: 9"),
    ],
)
def test_folded_header(lines: bytes, value: str) -> None:
    parsed = parse_head(OK + lines + b"\r\n")
    assert parsed.headers["A"] == value
    assert parsed.content_length is None


BAD_FIELDS = [
    b"no colon",
    b": no name",
    b"A : space before colon",
    b"A\t: tab before colon",
    b"A B: space in name",
    b" A: folded first line",
    b"\tA: folded first line",
    b"A\xfc: name is not ASCII",
    b"A(: not a token",
    b'"A": not a token',
    b"A\0: NUL",
    b"A: \0",
    b"A: b\rc",
    b"A: b\r\r",
    b"A: \x01",
    b"A: \x1f",
    b"A: \x7f",
    b"A: b\r\n \0",
    b"A: b\r\nno colon",
    b"A: b\r\n c\r\nno colon",
    b"HTTP/1.1 200 OK",
]


@pytest.mark.parametrize("line", BAD_FIELDS)
def test_invalid_header_line(line: bytes) -> None:
    for before, after in ((b"", b""), (b"X: y\r\n", b""), (b"", b"X: y\r\n")):
        if before and line[:1] in (b" ", b"\t"):
            continue
        data = OK + before + line + b"\r\n" + after + b"\r\n"
        with pytest.raises(MalformedResponse):
            parse_head(data)
        for pieces in splits(data):
            with pytest.raises(MalformedResponse):
                feed(pieces)


@pytest.mark.parametrize(
    ("values", "length"),
    [
        (["0"], 0),
        (["5"], 5),
        (["5 "], 5),
        (["005"], 5),
        (["123456789012345678"], 123456789012345678),
        (["9" * 1000], 10**1000 - 1),
        (["5", "5"], 5),
        (["5, 5"], 5),
        (["5,5,5", "5"], 5),
        (["5", "05"], 5),
    ],
)
def test_content_length(values: list[str], length: int) -> None:
    for name in ("Content-Length", "content-length", "CONTENT-LENGTH"):
        assert head(*[f"{name}: {value}" for value in values]).content_length == length


BAD_LENGTHS = [
    [""],
    [" "],
    ["-1"],
    ["+5"],
    ["5.0"],
    ["0x5"],
    ["five"],
    ["5 5"],
    ["5_0"],
    ["\xb2"],
    ["1" * 1001],
    ["1" * 5000],
    ["5,"],
    [",5"],
    ["5,6"],
    ["5;5"],
    ["5", "6"],
    ["5", ""],
    ["5", "-5"],
    ["0", "5"],
]


@pytest.mark.parametrize("values", BAD_LENGTHS, ids=lambda values: ascii(values)[:20])
def test_invalid_content_length(values: list[str]) -> None:
    with pytest.raises(MalformedResponse, match="Content-Length"):
        head(*[f"Content-Length: {value}" for value in values])


def test_locations() -> None:
    for values in (["/a", "/A"], ["/a", "", "/b"]):
        with pytest.raises(MalformedResponse, match="Location"):
            head(*[f"Location: {value}" for value in values])
    for values in (["/a"], ["/a", "/a"], ["", "/a"], ["/a", ""]):
        assert (
            head(*[f"location:{value}" for value in values]).headers.get_list("Location") == values
        )


def test_folded_content_length() -> None:
    assert head("Content-Length:", " 5").content_length == 5
    with pytest.raises(MalformedResponse):
        head("Content-Length: 5", " 6")


@pytest.mark.parametrize("value", ["chunked", "Chunked", "CHUNKED", " chunked\t"])
def test_chunked_coding(value: str) -> None:
    assert head(f"Transfer-Encoding: {value}").chunked
    assert not head().chunked


@pytest.mark.parametrize(
    "fields",
    [
        ["Transfer-Encoding: gzip"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: chunked, gzip"],
        ["Transfer-Encoding: chunked, chunked"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: identity"],
        ["Transfer-Encoding: identity", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding:"],
        ["Transfer-Encoding: xchunked"],
        ["Transfer-Encoding: chunked;q=1"],
        ["Transfer-Encoding: \x0bchunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 5"],
        ["Content-Length: 0", "Transfer-Encoding: chunked"],
        ["Content-Length: 5", "transfer-encoding: Chunked"],
    ],
    ids=str,
)
def test_invalid_framing(fields: list[str]) -> None:
    with pytest.raises(MalformedResponse):
        head(*fields)


@pytest.mark.parametrize(
    ("fields", "decoded"),
    [
        ([], False),
        (["Content-Encoding: gzip"], True),
        (["content-encoding: GZIP"], True),
        (["Content-Encoding: x-gzip"], True),
        (["Content-Encoding: identity"], False),
        (["Content-Encoding: br"], False),
        (["Content-Encoding: gzip, br"], False),
        (["Content-Encoding:"], False),
        (["X-Content-Encoding: gzip"], False),
    ],
    ids=str,
)
def test_gzip(fields: list[str], decoded: bool) -> None:
    assert head(*fields).gzip is decoded


@pytest.mark.parametrize(
    ("version", "fields", "kept"),
    [
        ("1.1", [], True),
        ("1.1", ["Connection: keep-alive"], True),
        ("1.1", ["Connection: close"], False),
        ("1.1", ["connection: Close"], False),
        ("1.1", ["Connection: foo, close"], False),
        ("1.1", ["Connection: close, keep-alive"], False),
        ("1.1", ["Connection: keep-alive, close"], False),
        ("1.1", ["Connection: keep-alive", "Connection: close"], False),
        ("1.1", ["Connection: close", "Connection: keep-alive"], False),
        ("1.1", ["Connection: closed"], True),
        ("1.1", ["X-Connection: close"], True),
        ("1.0", [], False),
        ("1.0", ["Connection: close"], False),
        ("1.0", ["Connection: Keep-Alive"], True),
        ("1.0", ["Connection: foo,keep-alive"], True),
        ("1.0", ["Connection: foo", "Connection: keep-alive"], True),
        ("1.0", ["Connection: close", "Connection: keep-alive"], False),
        ("1.0", ["Connection: keep-alive", "Transfer-Encoding: chunked"], False),
        ("1.1", ["Connection: keep-alive", "Transfer-Encoding: chunked"], True),
    ],
    ids=str,
)
def test_keep_alive(version: str, fields: list[str], kept: bool) -> None:
    assert head(*fields, line=f"HTTP/{version} 200 OK").keep_alive is kept


@pytest.mark.parametrize("field", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_interim_response_with_a_body(field: str) -> None:
    with pytest.raises(MalformedResponse):
        head(field, line="HTTP/1.1 100 Go on")
    assert head("Content-Length: 0", line="HTTP/1.1 100 Go on").content_length == 0


@pytest.mark.parametrize("field", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_response_204_has_no_body(field: str) -> None:
    parsed = head(field, line="HTTP/1.1 204 No Content")
    assert (parsed.content_length, parsed.chunked, parsed.keep_alive) == (None, False, False)
    assert head("Content-Length: 0", line="HTTP/1.1 204 No Content").keep_alive


@pytest.mark.parametrize(
    ("fields", "gzip"),
    [
        (["gzip"], True),
        (["X-GZip"], True),
        ([",gzip, "], True),
        (["identity, gzip"], True),
        (["gzip", "identity"], True),
        (["", "gzip"], True),
        ([""], False),
        (["identity"], False),
        (["gzip, gzip"], False),
        (["gzip", "gzip"], False),
        (["br, gzip"], False),
        (["gzip", "br"], False),
        (["gzip;q=1"], False),
    ],
)
def test_content_encoding(fields: list[str], gzip: bool) -> None:
    assert head(*(f"Content-Encoding: {field}" for field in fields)).gzip is gzip


@pytest.mark.parametrize("fields", [[], ["Connection: Upgrade", "Upgrade: websocket"]])
def test_switch_to_another_protocol_is_malformed(fields: list[str]) -> None:
    with pytest.raises(MalformedResponse, match="protocol"):
        head(*fields, line="HTTP/1.1 101 Switching Protocols")


@pytest.mark.parametrize("version", [b"HTTP/2", b"HTTP/3"])
def test_version_http_2_or_3_is_malformed(version: bytes) -> None:
    # libcurl passes on such heads for HTTP/2, but in HTTP/1 they are invalid.
    with pytest.raises(MalformedResponse, match=version.decode()):
        feed([version + b" 200\r\nContent-Length: 0\r\n\r\n"])


@settings(deadline=None)
@given(st.binary())
def test_any_head(data: bytes) -> None:
    for block in (data, OK + data + b"\r\n\r\n", OK + b"A: " + data + b"\r\n\r\n"):
        try:
            parsed = parse_head(block)
        except MalformedResponse:
            continue
        assert 100 <= parsed.code <= 999
        for name, value in parsed.headers.get_all():
            assert not set("\r\n\0") & set(name + value)


def test_messages_are_short() -> None:
    with pytest.raises(MalformedResponse) as raised:
        parse_head(b"x" * 10000 + b"\r\n\r\n")
    assert len(str(raised.value)) < 200
    with pytest.raises(MalformedResponse) as raised:
        parse_head(OK + b"\xff" * 10000 + b"\r\n\r\n")
    assert len(str(raised.value)) < 500


# Responses


class Case(NamedTuple):
    data: bytes
    code: int = 200
    body: bytes = b""
    bodiless: bool = False
    ended: bool = False
    interim: Sequence[int] = ()


RESPONSES = {
    "length": Case(OK + b"Content-Length: 4\r\n\r\nbody", body=b"body"),
    "length 0": Case(OK + b"Content-Length: 0\r\n\r\n"),
    "length repeated": Case(
        OK + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody", body=b"body"
    ),
    "bare LF": Case(b"HTTP/1.1 200 OK\nContent-Length: 4\n\nbody", body=b"body"),
    "a body like a head": Case(
        OK + b"Content-Length: 19\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", body=OK + b"\r\n"
    ),
    "chunked": Case(CHUNKED + b"4\r\nbody\r\n0\r\n\r\n", body=b"body"),
    "chunks": Case(CHUNKED + b"2\r\nbo\r\n1\r\nd\r\n1\r\ny\r\n0\r\n\r\n", body=b"body"),
    "no chunk": Case(CHUNKED + b"0\r\n\r\n"),
    "hexadecimal": Case(
        CHUNKED + b"0B\r\nhello world\r\nb\r\nhello world\r\n000\r\n\r\n", body=b"hello world" * 2
    ),
    "15 digits": Case(CHUNKED + b"000000000000004\r\nbody\r\n0\r\n\r\n", body=b"body"),
    "leading zeros": Case(
        CHUNKED + b"0" * 30 + b"4\r\nbody\r\n" + b"0" * 30 + b"\r\n\r\n", body=b"body"
    ),
    "extensions": Case(
        CHUNKED + b'4;a=b\r\nbody\r\n4 ; a="b;c";d\r\nbody\r\n0;last\r\n\r\n', body=b"bodybody"
    ),
    "space after size": Case(CHUNKED + b"4 \t\r\nbody\r\n0 \r\n\r\n", body=b"body"),
    "trailers": Case(CHUNKED + b"4\r\nbody\r\n0\r\nA: b\r\nC: d\r\n\r\n", body=b"body"),
    "chunks like framing": Case(
        CHUNKED + b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", body=b"\r\n0\r\n\r\n"
    ),
    "until close": Case(OK + b"\r\nbody", body=b"body", ended=True),
    "until close, nothing": Case(OK + b"\r\n", ended=True),
    "HTTP/1.0": Case(b"HTTP/1.0 200 OK\r\n\r\nbody\r\n", body=b"body\r\n", ended=True),
    "HEAD with length": Case(OK + b"Content-Length: 4\r\n\r\n", bodiless=True),
    "HEAD chunked": Case(CHUNKED, bodiless=True),
    "HEAD with neither": Case(OK + b"\r\n", bodiless=True),
    "204": Case(b"HTTP/1.1 204 No Content\r\n\r\n", 204),
    "204 with length 4": Case(b"HTTP/1.1 204 x\r\nContent-Length: 4\r\n\r\n", 204),
    "204 in chunks": Case(b"HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n", 204),
    "204 with length 0": Case(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204),
    "304": Case(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", 304),
    "304 with length": Case(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n", 304),
    "304 chunked": Case(b"HTTP/1.1 304 x\r\nTransfer-Encoding: chunked\r\n\r\n", 304),
    "folded": Case(OK + b"A: b\r\n c\r\n\td\r\nContent-Length: 4\r\n\r\nbody", body=b"body"),
    "folded to nothing": Case(OK + b"A: b\r\n \r\nContent-Length: 4\r\n\r\nbody", body=b"body"),
    "100 first": Case(
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 4\r\n\r\nbody",
        body=b"body",
        interim=[100],
    ),
    "many first": Case(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nA: b\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + CHUNKED + b"4\r\nbody\r\n0\r\n\r\n",
        body=b"body",
        interim=[100, 102, 103],
    ),
    "100 before HEAD": Case(
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 4\r\n\r\n",
        bodiless=True,
        interim=[100],
    ),
    "100 before 204": Case(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 204, interim=[100]
    ),
}


def assert_fed(fed: Fed, case: Case, beyond: bytes = b"") -> None:
    assert fed.complete
    assert fed.head is not None
    assert (fed.head.code, fed.body) == (case.code, case.body)
    assert fed.interim == list(case.interim)
    assert fed.beyond == beyond


@pytest.mark.parametrize("case", RESPONSES.values(), ids=RESPONSES)
def test_every_split(case: Case) -> None:
    for pieces in splits(case.data):
        assert_fed(feed(pieces, case.bodiless, case.ended), case)


@pytest.mark.parametrize("case", RESPONSES.values(), ids=RESPONSES)
def test_response_is_complete_at_its_last_byte(case: Case) -> None:
    # The response is complete with its last byte, and not earlier.
    fed = feed([case.data[:-1]], case.bodiless)
    assert not fed.complete
    if case.ended:
        assert not feed([case.data], case.bodiless).complete


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=name) for name, case in RESPONSES.items() if not case.ended],
)
@pytest.mark.parametrize("beyond", [b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"\0"])
def test_bytes_after_the_response(case: Case, beyond: bytes) -> None:
    for pieces in splits(case.data + beyond):
        assert_fed(feed(pieces, case.bodiless), case, beyond)
    parser = ResponseParser(case.bodiless, lambda head: Sink())
    assert parser.feed(case.data + beyond)
    assert parser.leftover == beyond


@pytest.mark.parametrize("case", RESPONSES.values(), ids=RESPONSES)
def test_end_of_input_within_the_response(case: Case) -> None:
    head_ends = case.data.rindex(b"\n\r\n" if b"\n\r\n" in case.data else b"\n\n")
    with pytest.raises(NoResponse):
        feed([], case.bodiless, ended=True)
    for length in range(1, len(case.data)):
        pieces = [case.data[:length]]
        if case.ended and length > head_ends:
            continue
        with pytest.raises(BrokenConnection):
            feed(pieces, case.bodiless, ended=True)


def test_message_for_end_of_input() -> None:
    with pytest.raises(BrokenConnection, match="3 bytes"):
        feed([OK + b"Content-Length: 4\r\n\r\nb"], ended=True)
    with pytest.raises(BrokenConnection, match="chunked"):
        feed([CHUNKED + b"4\r\nb"], ended=True)
    with pytest.raises(BrokenConnection, match="head"):
        feed([OK], ended=True)
    with pytest.raises(BrokenConnection, match="head"):
        feed([b"HTTP/1.1 100 Continue\r\n\r\n"], ended=True)


def test_flag_for_the_first_byte() -> None:
    parser = ResponseParser(False, lambda head: Sink())
    assert not parser.begun
    parser.feed(b"H")
    assert parser.begun


def test_interim_responses_can_be_ignored() -> None:
    parser = ResponseParser(False, lambda head: Sink())
    assert parser.feed(RESPONSES["100 first"].data)
    assert parser.head is not None
    assert parser.head.code == 200


def test_body_is_passed_on_as_it_arrives() -> None:
    sink = Sink()
    parser = ResponseParser(False, lambda head: sink)
    for piece in (OK + b"Content-Length: 4\r\n\r\nb", b"od", b"y"):
        parser.feed(piece)
    assert sink.chunks == [b"b", b"od", b"y"]


@st.composite
def cut(draw: st.DrawFn, data: bytes) -> list[bytes]:
    positions = draw(st.sets(st.integers(1, max(1, len(data) - 1))))
    places = [0, *sorted(positions), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(places)]
    return [piece for piece in pieces if piece]


def receive(data: bytes, size: int, case: Case) -> tuple[ResponseParser, Body, bytes, int]:
    """Feed a parser as a connection does, ``size`` bytes at a time.

    :returns: the parser, the body, what was not received, and how often a buffer was used.
    """
    body = Body(len(case.body))
    parser = ResponseParser(case.bodiless, lambda head: body)
    buffered = 0
    while data and not parser.complete:
        buffer = parser.get_buffer()
        if buffer is None:
            chunk, data = data[:size], data[size:]
            assert parser.feed(chunk) == parser.complete
            continue
        count = min(size, len(buffer), len(data))
        assert count
        buffer[:count] = data[:count]
        buffer.release()
        data = data[count:]
        buffered += 1
        assert parser.buffer_updated(count) == parser.complete
    if case.ended and not parser.complete:
        parser.end()
    return parser, body, data, buffered


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize("case", RESPONSES.values(), ids=RESPONSES)
def test_body_received_into_a_buffer(
    case: Case, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http1_parser, "_MIN_BUFFER", 1)
    beyond = b"" if case.ended else OK
    parser, body, left, _ = receive(case.data + beyond, size, case)
    assert parser.complete
    assert parser.head is not None
    assert (parser.head.code, body.finish()) == (case.code, case.body)
    assert parser.leftover + left == beyond


@pytest.mark.parametrize("chunked", [False, True])
def test_large_body_is_received_into_its_buffer(chunked: bool) -> None:
    content = bytes(range(256)) * 12_000
    data = OK + b"Content-Length: %d\r\n\r\n%b" % (len(content), content)
    if chunked:
        data = CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
    parser, body, left, buffered = receive(data, 65536, Case(data, body=content))
    assert parser.complete
    assert (body.finish(), left, parser.leftover) == (content, b"", b"")
    assert buffered >= len(content) // 65536 - 2


def test_buffer_does_not_change_the_limit() -> None:
    content = b"x" * 300_000
    data = CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
    with pytest.raises(BodyError, match="over the limit of 200000 bytes"):
        receive(data, 65536, Case(data, body=content[:200_000]))


@settings(deadline=None)
@given(st.data())
def test_any_split(data: Any) -> None:
    case = data.draw(st.sampled_from(list(RESPONSES.values())))
    beyond = b"" if case.ended else data.draw(st.binary(max_size=5))
    pieces = data.draw(cut(case.data + beyond))
    assert_fed(feed(pieces, case.bodiless, case.ended), case, beyond)


TOKENS = st.text("abcXYZ-09", min_size=1, max_size=9)
VALUES = st.text("abc XYZ\t,;=\"'09", max_size=9)


@settings(deadline=None)
@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40)),
    extension=st.one_of(st.just(""), VALUES.map(";{}".format)),
    trailers=st.lists(st.tuples(TOKENS, VALUES), max_size=3),
    width=st.integers(1, 8),
    data=st.data(),
)
def test_any_chunks(
    chunks: list[bytes],
    extension: str,
    trailers: list[tuple[str, str]],
    width: int,
    data: Any,
) -> None:
    sent = CHUNKED
    for chunk in [*chunks, b""]:
        sent += f"{len(chunk):0{width}x}{extension}\r\n".encode()
        sent += chunk + b"\r\n" if chunk else b""
    sent += "".join(f"{name}: {value}\r\n" for name, value in trailers).encode() + b"\r\n"
    beyond = data.draw(st.binary(max_size=5))
    fed = feed(data.draw(cut(sent + beyond)))
    assert_fed(fed, Case(sent, body=b"".join(chunks)), beyond)


# Invalid responses

REFUSED = {
    "chunk size is not hexadecimal": (CHUNKED + b"g\r\n", BodyError),
    "chunk size is missing": (CHUNKED + b"\r\n", BodyError),
    "chunk size is negative": (CHUNKED + b"-4\r\nbody\r\n", BodyError),
    "chunk size has a sign": (CHUNKED + b"+4\r\nbody\r\n", BodyError),
    "chunk size has a prefix": (CHUNKED + b"0x4\r\nbody\r\n", BodyError),
    "chunk size has a space before": (CHUNKED + b" 4\r\nbody\r\n", BodyError),
    "chunk size has a space within": (CHUNKED + b"1 0\r\nbody\r\n", BodyError),
    "chunk size has a line in it": (CHUNKED + b"1_0\r\nbody\r\n", BodyError),
    "chunk size is huge": (CHUNKED + b"f" * 16 + b"\r\n", BodyError),
    "chunk size ends with LF": (CHUNKED + b"4\nbody\n0\n\n", BodyError),
    "chunk size ends with CR": (CHUNKED + b"4\rbody\r0\r\r\n", BodyError),
    "chunk size after LF": (CHUNKED + b"4;a\nb\r\nbody\r\n", BodyError),
    "extension with NUL": (CHUNKED + b"4;\0\r\nbody\r\n", BodyError),
    "extension with CR": (CHUNKED + b"4;a\rb\r\nbody\r\n", BodyError),
    "chunk is too short": (CHUNKED + b"5\r\nbody\r\n0\r\n\r\n", BodyError),
    "chunk is too long": (CHUNKED + b"3\r\nbody\r\n0\r\n\r\n", BodyError),
    "chunk ends with LF": (CHUNKED + b"4\r\nbody\n0\n\n", BodyError),
    "chunk has no end": (CHUNKED + b"4\r\nbody0\r\n\r\n", BodyError),
    "later chunk": (CHUNKED + b"4\r\nbody\r\nz\r\n", BodyError),
    "no line after the last chunk": (CHUNKED + b"0\r\nHTTP/1.1 200 OK\r\n", BodyError),
    "bad trailer": (CHUNKED + b"0\r\nA: b\r\nno colon\r\n\r\n", BodyError),
    "trailer with space": (CHUNKED + b"0\r\nA : b\r\n\r\n", BodyError),
    "trailer with NUL": (CHUNKED + b"0\r\nA: \0\r\n\r\n", BodyError),
    "folded trailer": (CHUNKED + b"0\r\nA: b\r\n c\r\n\r\n", BodyError),
    "not chunked at all": (CHUNKED + b"hello world", BodyError),
    "both framings": (
        OK + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
        MalformedResponse,
    ),
    "two lengths": (OK + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n", MalformedResponse),
    "bad length": (OK + b"Content-Length: four\r\n\r\n", MalformedResponse),
    "other coding": (OK + b"Transfer-Encoding: gzip\r\n\r\n", MalformedResponse),
    "100 with a body": (b"HTTP/1.1 100 x\r\nContent-Length: 4\r\n\r\n", MalformedResponse),
    "bad head after 100": (b"HTTP/1.1 100 Continue\r\n\r\nbody", MalformedResponse),
    "HTTP/0.9": (b"<html></html>", MalformedResponse),
}


@pytest.mark.parametrize(("data", "kind"), REFUSED.values(), ids=REFUSED)
def test_malformed_response_is_rejected(data: bytes, kind: type[Exception]) -> None:
    for bodiless in (False, True) if kind is MalformedResponse else (False,):
        for pieces in splits(data):
            with pytest.raises(kind) as raised:
                feed(pieces, bodiless)
            assert type(raised.value) is kind


PROMPTLY = {
    # At the first invalid byte, or at the latest at the end of its line.
    "not HTTP": (b"S", MalformedResponse),
    "almost HTTP": (b"HTTQ", MalformedResponse),
    "status line": (b"HTTP/1.1 abc\r\n", MalformedResponse),
    "status line with LF": (b"HTTP/1.1 abc\n", MalformedResponse),
    "field": (OK + b"no colon\r\n", MalformedResponse),
    "later field": (OK + b"A: b\r\n C\r\nno colon\r\n", MalformedResponse),
    "folded first field": (OK + b" A: b\r\n", MalformedResponse),
    "chunk size": (CHUNKED + b"x", BodyError),
    "chunk size of a text": (CHUNKED + b"body", BodyError),
    "chunk size and something": (CHUNKED + b"4x", BodyError),
    "CR in a chunk size": (CHUNKED + b"4\rx", BodyError),
    "end of a chunk": (CHUNKED + b"4\r\nbodyx", BodyError),
    "trailer": (CHUNKED + b"0\r\nno colon\r\n", BodyError),
}


@pytest.mark.parametrize(("data", "kind"), PROMPTLY.values(), ids=PROMPTLY)
def test_malformed_response_is_rejected_at_once(data: bytes, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        feed([data])
    with pytest.raises(kind):
        feed([data[:-1], data[-1:]])


@pytest.mark.parametrize(
    "data",
    [
        b"H",
        b"HTTP/",
        b"HTTP/1.1 20",
        b"HTTP/1.1 200 OK\r",
        OK,
        OK + b"A",
        OK + b"A:",
        OK + b"A: b\r",
        OK + b"A: b\r\n",
        OK + b"A: b\r\n ",
        OK + b"A: b\r\n c",
        OK + b"A: b\r\n c\r\n",
        OK + b"A: b\r\n\r",
    ],
)
def test_possible_beginning_of_a_head_is_not_rejected(data: bytes) -> None:
    check_partial_head(data)
    assert check_partial_head(b"before" + data, 6) == check_partial_head(data)
    assert not feed([data]).complete


@settings(deadline=None)
@given(st.data())
def test_any_changed_byte(data: Any) -> None:
    # The size of the pieces does not change the result.
    case = data.draw(st.sampled_from(list(RESPONSES.values())))
    changed = bytearray(case.data)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(changed)))
        new = data.draw(st.sampled_from([b"\r", b"\n", b" ", b"\0", b":", b"0", b"x", b",", b""]))
        changed[place : place + data.draw(st.integers(0, 2))] = new

    def outcome(pieces: Iterable[bytes]) -> object:
        try:
            fed = feed(pieces, case.bodiless, ended=True)
        except (MalformedResponse, BodyError, BrokenConnection, NoResponse) as error:
            return type(error)
        assert fed.head is not None
        fields = list(fed.head.headers.get_all())
        return (fed.head._replace(headers=fields), *fed[1:])  # type: ignore[arg-type]

    whole = bytes(changed)
    assert outcome([whole] if whole else []) == outcome(data.draw(cut(whole)))


# Sizes


def head_of(size: int) -> bytes:
    start = OK + b"Content-Length: 0\r\nA: "
    return start + b"x" * (size - len(start) - 4) + b"\r\n\r\n"


@pytest.mark.parametrize("limit", [100, 1000, MAX_HEAD_SIZE])
def test_head_size(limit: int) -> None:
    for data in (head_of(limit), head_of(limit)[: limit - 4]):
        parser = ResponseParser(False, lambda head: Sink(), max_head_size=limit)
        parser.feed(data[:50])
        parser.feed(data[50:])
    for data in (head_of(limit + 1), head_of(2 * limit)[: limit + 1]):
        parser = ResponseParser(False, lambda head: Sink(), max_head_size=limit)
        parser.feed(data[:50])
        with pytest.raises(HeadTooLarge, match=str(limit)):
            parser.feed(data[50:])


def test_head_size_excludes_body_and_interim_responses() -> None:
    data = head_of(100).replace(b"Length: 0", b"Length: 9") + b"x" * 9
    parser = ResponseParser(False, lambda head: Sink(), max_head_size=100)
    assert parser.feed(data)
    # Each interim response has a separate head.
    parser = ResponseParser(False, lambda head: Sink(), max_head_size=100)
    assert parser.feed(b"HTTP/1.1 100 Continue\r\n\r\n" * 10 + head_of(100))


def test_default_head_size() -> None:
    assert feed([head_of(MAX_HEAD_SIZE)]).complete
    with pytest.raises(HeadTooLarge):
        feed([head_of(MAX_HEAD_SIZE + 1)])


def test_number_of_interim_responses() -> None:
    interim = b"HTTP/1.1 102 Processing\r\n\r\n"
    last = OK + b"Content-Length: 0\r\n\r\n"
    assert feed([interim * MAX_INTERIM_RESPONSES + last]).complete
    with pytest.raises(MalformedResponse, match="1xx"):
        feed([interim * (MAX_INTERIM_RESPONSES + 1) + last])
    with pytest.raises(MalformedResponse, match="1xx"):
        feed([interim] * (MAX_INTERIM_RESPONSES + 1))


def test_size_of_a_chunk_extension() -> None:
    assert feed([CHUNKED, b"4;" + b"x" * 4000 + b"\r\nbody\r\n0\r\n\r\n"]).body == b"body"
    long = b"4;" + b"x" * 5000
    for pieces in ([CHUNKED, long + b"\r\n"], [CHUNKED, long], [CHUNKED, long[:3000], long[3000:]]):
        with pytest.raises(BodyError):
            feed(pieces)


def test_size_of_trailers() -> None:
    last = CHUNKED + b"0\r\n"
    trailer = b"A: " + b"x" * 995 + b"\r\n"
    assert feed([last + trailer * 60 + b"\r\n"]).complete
    for pieces in ([last + trailer * 70 + b"\r\n"], [last, *[trailer] * 70], [last, b"A" * 70000]):
        with pytest.raises(BodyError, match=str(MAX_HEAD_SIZE)):
            feed(pieces)


LONG_LINES = {
    "status line": b"HTTP/1.1 200 ",
    "header": OK + b"A: ",
    "later header": OK + b"A: b\r\n" * 100 + b"B: ",
    "chunk extension": CHUNKED + b"4;",
    "trailer": CHUNKED + b"0\r\nA: ",
}


@pytest.mark.parametrize("start", LONG_LINES.values(), ids=LONG_LINES)
def test_long_line_in_single_bytes_takes_linear_time(
    start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = 0

    def counting(state: Any) -> Any:
        def feed(parser: ResponseParser, data: bytes | bytearray, start: int) -> Any:
            nonlocal searched
            searched += len(data) - start
            return state(parser, data, start)

        return feed

    for name in ("_feed_head", "_feed_chunk_line", "_feed_trailers"):
        monkeypatch.setattr(ResponseParser, name, counting(getattr(ResponseParser, name)))
    line = b"x" * 4000
    parser = ResponseParser(False, lambda head: Sink())
    parser.feed(start)
    for byte in line:
        parser.feed(bytes([byte]))
    assert searched < 5 * len(start + line) + 64**2
    limit = 4096 if b";" in start else MAX_HEAD_SIZE
    with pytest.raises((BodyError, HeadTooLarge)):
        for _ in range(limit):
            parser.feed(b"x")


def test_invalid_line_without_line_end_is_rejected_at_the_end() -> None:
    with pytest.raises(BodyError):
        feed([CHUNKED, b"4;" + b"x" * 100, b"\0"], ended=True)
