"""Header injection: an argument of a fetch cannot end a line of the request."""

from __future__ import annotations

import copy
import enum
import logging
import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from tornado import httputil

from tests.support import Fetch, MakeClient, MakePeer, RawPeer, response
from turbo_tornado import HTTPHeaders, errors
from turbo_tornado.transports.simple import SimpleTransport

Change = Callable[[HTTPHeaders, Any], object]

MARK = "X-Injected"
ENDINGS = ["\r\n", "\n", "\r", "\0", "\r\n\r\n", "\n ", "\r\n\t"]
#: Characters that other parsers may treat as a line end, also when cut to a byte.
NEAR_ENDINGS = [*"\x0b\x0c\x1c\x85\u2028\u2029\u010a\u010d\u560a\uff0a"]
TEXTS = [f"a{end}{MARK}: 1" for end in ENDINGS + NEAR_ENDINGS] + ["a\r\n", "\na", "a\0"]

#: Every argument that contains text.
PLACES: dict[str, Callable[[str, str], tuple[str, dict[str, Any]]]] = {
    "URL, whole": lambda url, text: (text, {}),
    "URL, scheme": lambda url, text: (f"http{text}:{url[5:]}", {}),
    "URL, user": lambda url, text: (url.replace("//", f"//{text}@"), {}),
    "URL, password": lambda url, text: (url.replace("//", f"//user:{text}@"), {}),
    "URL, host": lambda url, text: (url.replace("127", f"{text}127"), {}),
    "URL, port": lambda url, text: (f"{url[:-1]}{text}/", {}),
    "URL, path": lambda url, text: (f"{url}{text}", {}),
    "URL, query": lambda url, text: (f"{url}?q={text}", {}),
    "URL, fragment": lambda url, text: (f"{url}#{text}", {}),
    "method": lambda url, text: (url, {"method": text}),
    "params, key": lambda url, text: (url, {"params": {text: "1"}}),
    "params, value": lambda url, text: (url, {"params": [("a", text)]}),
    "params, bytes": lambda url, text: (url, {"params": [("a", text.encode())]}),
    "params, list": lambda url, text: (url, {"params": {"a": ["b", text]}}),
    "form": lambda url, text: (url, {"params": {text: text}, "method": "POST"}),
    "cookie": lambda url, text: (url, {"cookie": text}),
    "cookie, name": lambda url, text: (url, {"cookie": {text: "1"}}),
    "cookie, value": lambda url, text: (url, {"cookie": {"a": text}}),
    "http_version": lambda url, text: (url, {"http_version": text}),
    "user_agent": lambda url, text: (url, {"user_agent": text}),
    "auth_username": lambda url, text: (url, {"auth_username": text}),
    "auth_password": lambda url, text: (url, {"auth_password": text}),
    "headers, name": lambda url, text: (url, {"headers": {text: "1"}}),
    "headers, value": lambda url, text: (url, {"headers": [("X-Field", text)]}),
    "json": lambda url, text: (url, {"json": {text: text}}),
    "files, name": lambda url, text: (url, {"files": {text: b""}}),
    "files, filename": lambda url, text: (url, {"files": {"a": (text, b"")}}),
    "files, type": lambda url, text: (url, {"files": {"a": ("a", b"", text)}}),
    "files, params": lambda url, text: (url, {"files": {"a": b""}, "params": {text: text}}),
}


async def assert_harmless(
    make_client: MakeClient, peer: RawPeer, url: str, options: Mapping[str, Any]
) -> None:
    """Check that a fetch raises before it sends anything, or sends one valid request."""
    before = peer.connections
    client = make_client()
    try:
        future = client.fetch(url, options)
    except (TypeError, ValueError):
        assert peer.connections == before
    else:
        res = await future
        if res.error is not None:
            refusals = (errors.INVALID_URL, errors.INVALID_SCHEMA, errors.COULD_NOT_CONNECT)
            assert res.error.code in refusals
            assert peer.connections == before
    await make_client().fetch(peer.url("/last"), keep_alive=False)
    # Data smuggled into a body, or after one, would be a separate request.
    assert [request.target for request in peer.requests].count("/last") == 1
    assert len(peer.requests) <= 2
    for request in peer.requests:
        lines = request.raw.split(b"\r\n")
        assert not any(byte in b"\r\n\0" for line in lines for byte in line)
        assert lines[0].count(b" ") == 2
        assert not any(MARK.lower() in name.lower() for name, _ in request.fields)
    peer.requests.clear()


@pytest.fixture
async def peer(raw_peer: MakePeer) -> RawPeer:
    return await raw_peer(response(b"ok"))


@pytest.mark.parametrize("place", PLACES)
async def test_control_characters_in_every_argument(
    place: str, make_client: MakeClient, peer: RawPeer
) -> None:
    for text in TEXTS:
        url, options = PLACES[place](peer.url(), text)
        await assert_harmless(make_client, peer, url, options)


# Every character that `str.splitlines` splits at, and that a header value may contain.
LINE_ENDS = ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85"]


@pytest.mark.parametrize("end", LINE_ENDS, ids=ascii)
@pytest.mark.parametrize("name", ["Connection", "X-Value"])
async def test_headers_without_host_in_first_place(
    name: str, end: str, make_client: MakeClient, peer: RawPeer
) -> None:
    def change(headers: HTTPHeaders) -> None:
        host = headers["Host"]
        for known in list(headers):
            headers.remove(known)
        headers["Connection"] = "close"
        headers[name] = f"close{end}{MARK}: 1"
        headers["Host"] = host

    await assert_harmless(make_client, peer, peer.url(), {"on_headers": change})


# The headers in on_headers, including methods without checks


def _by_folding(headers: HTTPHeaders, text: str) -> None:
    headers.parse_line("X-Field: a")
    headers.parse_line(f" {text}")


def _by_another_mapping(headers: HTTPHeaders, text: str) -> None:
    other = httputil.HTTPHeaders({"X-Field": "a"})
    other.get_list("X-Field").append(text)
    headers.update(other)


def _by_a_copy_of_the_storage(headers: HTTPHeaders, text: str) -> None:
    other = HTTPHeaders({"X-Field": "a"})
    other.get_list("X-Field").append(text)
    headers.__dict__.update(pickle.loads(pickle.dumps(other)).__dict__)


CHANGES: dict[str, Change] = {
    "add": lambda h, text: h.add("X-Field", text),
    "add, name": lambda h, text: h.add(text, "1"),
    "set": lambda h, text: h.set("X-Field", text),
    "set, name": lambda h, text: h.set(text, "1"),
    "item": lambda h, text: h.__setitem__("X-Field", text),
    "setdefault": lambda h, text: h.setdefault("X-Field", text),
    "setdefault, name": lambda h, text: h.setdefault(text, "1"),
    "update": lambda h, text: h.update({"X-Field": text}),
    "update, pairs": lambda h, text: h.update([(text, "1")]),
    "update, keywords": lambda h, text: h.update(**{text: "1"}),
    "update, mapping": _by_another_mapping,
    "__init__": lambda h, text: h.__init__({"X-Field": text}),  # type: ignore[misc]
    "parse_line": lambda h, text: h.parse_line(f"X-Field: {text}"),
    "parse_line, folding": _by_folding,
    "get_list": lambda h, text: h.get_list("User-Agent").append(text),
    "get_list of another": lambda h, text: h.get_list("Host").__setitem__(0, text),
    "storage": _by_a_copy_of_the_storage,
    "set_method": lambda h, text: h.set_method(text),
    "set_uri": lambda h, text: h.set_uri(f"/{text}"),
    "set_version": lambda h, text: h.set_version(text),
    "set_version, after": lambda h, text: h.set_version(f"HTTP/1.1{text}"),
}


@pytest.mark.parametrize("way", CHANGES)
async def test_control_characters_in_every_method_of_headers(
    way: str, make_client: MakeClient, peer: RawPeer
) -> None:
    for text in TEXTS:

        def on_headers(headers: HTTPHeaders, text: str = text) -> None:
            try:
                CHANGES[way](headers, text)
            except httputil.HTTPInputError as error:
                raise ValueError from error

        await assert_harmless(make_client, peer, peer.url(), {"on_headers": on_headers})


@pytest.mark.parametrize("way", ["get_list", "storage"])
@pytest.mark.parametrize("end", ENDINGS)
def test_stringify_as_request_checks_stored_values(way: str, end: str) -> None:
    headers = HTTPHeaders({"User-Agent": "a"})
    headers.set_method("GET")
    headers.set_uri("/")
    headers.set_version("HTTP/1.1")
    with pytest.raises(ValueError):
        CHANGES[way](headers, f"a{end}{MARK}: 1")
        headers.stringify_as_request()


def test_copy_checks_stored_values() -> None:
    headers = HTTPHeaders({"X-Field": "a"})
    headers.get_list("X-Field").append(f"a\r\n{MARK}: 1")
    for duplicate in (HTTPHeaders.copy, copy.copy, HTTPHeaders):
        with pytest.raises(ValueError):
            duplicate(headers)


async def test_headers_of_a_response_in_a_request(fetch: Fetch, raw_peer: MakePeer) -> None:
    characters = [9, *range(0x20, 0x7F), *range(0x80, 256)]
    fields = [f"X-{byte:02x}: a\\{chr(byte)}b" for byte in characters]
    peer = await raw_peer(
        response(b"ok", *fields, "X-Folded: a\r\n b: c\r\n\td", status="200 \x85 \xff reason")
    )
    first = await fetch(peer.url())
    assert first.error is None, first.error

    def on_headers(headers: HTTPHeaders) -> None:
        for name, value in first.headers.get_all():
            headers.add(name, value)
        headers.set("X-Reason", first.reason)

    assert (await fetch(peer.url(), on_headers=on_headers)).error is None
    own = [name for name, _ in peer.requests[0].fields]
    names = [name for name, _ in peer.requests[1].fields if name not in own]
    assert sorted(map(str.lower, names)) == sorted(
        [*(field.partition(":")[0].lower() for field in fields), "x-folded", "x-reason"]
    )
    assert peer.requests[1].raw.count(b"\n") == peer.requests[1].raw.count(b"\r\n")


# Values that change: subclasses, and mappings

EVIL = f"/ HTTP/1.1\r\n{MARK}: 1\r\n\r\n"


def _two_faced(base: type, texts: str, flags: str, **more: Any) -> Any:
    evil: Any = EVIL.encode() if base is bytes else EVIL
    answers = {name: lambda self, *args, **kwargs: evil for name in texts.split()}
    answers |= {name: lambda self, *args: True for name in flags.split()}
    return type(f"TwoFaced{base.__name__}", (base,), {**answers, "__hash__": base.__hash__, **more})


_SLICES = "__getitem__ __add__ lower upper strip lstrip rstrip replace capitalize"
TwoFacedStr = _two_faced(
    str,
    f"{_SLICES} __str__ __repr__ __format__ join casefold translate title",
    "__eq__ startswith endswith isascii isdigit isprintable",
    __ne__=lambda self, other: False,
    __contains__=lambda self, item: False,
    __len__=lambda self: 1,
    __iter__=lambda self: iter(EVIL),
    encode=lambda self, *args: EVIL.encode(),
    split=lambda self, *args: [EVIL],
    partition=lambda self, *args: (EVIL, EVIL, EVIL),
    rpartition=lambda self, *args: (EVIL, EVIL, EVIL),
)
TwoFacedBytes = _two_faced(
    bytes,
    f"{_SLICES} __bytes__",
    "__eq__ startswith endswith isascii",
    __len__=lambda self: 1,
    __iter__=lambda self: iter(EVIL.encode()),
    decode=lambda self, *args: EVIL,
)
TwoFacedInt = _two_faced(int, "__str__ __repr__ __format__", "__eq__")
TwoFacedFloat = _two_faced(float, "__str__ __repr__ __format__", "__eq__")


class Word(str, enum.Enum):
    PUT = "put"
    VERSION = "HTTP/1.0"
    TEXT = "text"


Made = Callable[[type, type, type, type], dict[str, Any]]
TWO_FACED: dict[str, Made] = {
    "URL": lambda s, b, i, f: {},
    "method": lambda s, b, i, f: {"method": s("PURGE")},
    "params": lambda s, b, i, f: {
        "params": {s("a"): s("b"), "c": i(5), "d": f(0.5), "e": [b(b"x y"), s("y")]}
    },
    "form": lambda s, b, i, f: {
        "params": [(s("a"), s("b")), (b(b"c"), b(b"/"))],
        "method": s("POST"),
    },
    "cookie": lambda s, b, i, f: {"cookie": s("a=1")},
    "cookies": lambda s, b, i, f: {"cookie": {s("a"): s("1"), "b": i(5), "c": f(0.5)}},
    "http_version": lambda s, b, i, f: {"http_version": s("HTTP/1.0")},
    "user_agent": lambda s, b, i, f: {"user_agent": s("agent")},
    "auth": lambda s, b, i, f: {"auth_username": s("user"), "auth_password": s("pass")},
    "body": lambda s, b, i, f: {"method": "PUT", "body": b(b"bytes")},
    "text body": lambda s, b, i, f: {"method": "PUT", "body": s("text")},
    "fields": lambda s, b, i, f: {
        "on_headers": lambda h: [
            h.add(s("X-A"), s("1")),
            h.set(s("X-B"), i(2)),
            h.add("X-C", f(0.5)),
            h.update({s("X-D"): s("4")}),
        ]
    },
    "line": lambda s, b, i, f: {
        "on_headers": lambda h: [
            h.set_method(s("PURGE")),
            h.set_uri(s("/uri?a=b")),
            h.set_version(s("HTTP/1.0")),
        ]
    },
    "same line": lambda s, b, i, f: {
        "on_headers": lambda h: [
            h.set_method(s("GET")),
            h.set_uri(s("/p")),
            h.set_version(s("HTTP/1.1")),
        ]
    },
}


@pytest.mark.parametrize("what", TWO_FACED)
async def test_overridden_methods_of_str_are_ignored(
    what: str, fetch: Fetch, peer: RawPeer
) -> None:
    make = TWO_FACED[what]
    kinds = (TwoFacedStr, TwoFacedBytes, TwoFacedInt, TwoFacedFloat)
    await fetch(peer.url("/p"), make(str, bytes, int, float))
    res = await fetch(TwoFacedStr(peer.url("/p")), make(*kinds))
    assert res.error is None, res.error
    plain, two_faced = peer.requests
    assert two_faced.raw == plain.raw
    assert two_faced.body == plain.body


async def test_enum_member_is_sent_as_its_value(fetch: Fetch, peer: RawPeer) -> None:
    await fetch(
        peer.url(),
        method=Word.PUT,
        body=Word.TEXT,
        http_version=Word.VERSION,
        user_agent=Word.TEXT,
        cookie={Word.TEXT: Word.TEXT},
    )
    (request,) = peer.requests
    assert request.line == "PUT / HTTP/1.0"
    assert request.body == b"text"
    assert (request.field("User-Agent"), request.field("Cookie")) == ("text", "text=text")


class Fickle(Mapping[str, Any]):
    """A mapping that returns other values after the first access."""

    def __init__(self, first: Mapping[str, Any], later: Mapping[str, Any]) -> None:
        self._first, self._later = first, later
        self._seen: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        found = (self._later if name in self._seen else self._first)[name]
        self._seen.add(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._first)

    def __len__(self) -> int:
        return len(self._first)


@pytest.mark.parametrize("keywords", [{}, {"keep_alive": True}])
async def test_keyword_values_are_read_once(
    keywords: dict[str, Any], fetch: Fetch, peer: RawPeer
) -> None:
    first = {"method": "PURGE", "user_agent": "agent", "cookie": "a=1", "http_version": "HTTP/1.1"}
    later = dict.fromkeys(first, EVIL)
    await fetch(peer.url(), first, **keywords)
    await fetch(peer.url(), Fickle(first, later), **keywords)
    await fetch(peer.url(), {**first, "cookie": Fickle({"a": "1"}, {"a": EVIL})}, **keywords)
    assert [request.raw for request in peer.requests] == [peer.requests[0].raw] * 3


async def test_changes_after_on_headers_are_not_sent(
    make_client: MakeClient, peer: RawPeer
) -> None:
    kept: list[HTTPHeaders] = []
    future = make_client().fetch(peer.url(), on_headers=kept.append)
    kept[0].set("X-Late", "1")
    res = await future
    assert "X-Late" not in res.request
    assert peer.requests[0].field("X-Late") is None


async def test_fetch_is_one_line_of_the_log(
    fetch: Fetch, raw_peer: MakePeer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for answer in (
        response(b"", status="200 OK\x85GET host:80/ => 200 OK"),
        response(b"", status="200 \x9b2J\xa0\x1b"),
        b"HTTP/1.1 200 OK\r\nno\x85field\x1b[2J\r\n\r\n",
        b"HTTP/1.1 2\x85\r\n\r\n",
        response(b"", "Location: http://ho\x85st/\x1b", status="302 Found"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\x85\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0b\rchunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\x1b\r\n",
    ):
        peer = await raw_peer(answer)
        await fetch(peer.url("/a?b=c"))
    lines = [record.getMessage() for record in caplog.records if record.name == "turbo_tornado"]
    assert len(lines) == 8
    assert all(line.isprintable() for line in lines), lines


# One item of a mapping is one cookie


@pytest.mark.parametrize(
    "cookie", [{"a": "1; admin=1"}, {"a; admin": "1"}, {"a=1": "2"}, {"a": ";"}, {"=": "1"}]
)
async def test_cookie_mapping_cannot_add_another_cookie(
    cookie: dict[str, str], make_client: MakeClient, peer: RawPeer
) -> None:
    with pytest.raises(ValueError, match="cookie"):
        make_client().fetch(peer.url(), cookie=cookie)
    assert peer.connections == 0


# URLs of the peer


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/a\x0bb", None),
        ("/a\x7fb", None),
        ("/a\xa0b", "/a%A0b"),
        ("/\xc2\xa0", "/%C2%A0"),
        ("/\xc2\x85", "/%C2%85"),
        ("/\xe2\x80\xa8", "/%E2%80%A8"),
        ("/\xc4\x8a" + MARK, "/%C4%8A" + MARK),
        ("/%0d%0a" + MARK + ":1", "/%0d%0a" + MARK + ":1"),
        ("/\r" + MARK + ": 1", None),
        ("/\0", None),
        ("/a\r\n " + MARK + ": 1", "/a%20" + MARK + ":%201"),
    ],
    ids=ascii,
)
async def test_control_characters_in_location(
    location: str, target: str | None, fetch: Fetch, raw_peer: MakePeer
) -> None:
    async def script(conn: Any) -> None:
        while True:
            request = await conn.read_request()
            if request.target == "/start":
                await conn.send(response(b"", f"Location: {location}", status="302 Found"))
            else:
                await conn.send(response(request.target.encode()))

    peer = await raw_peer(script)
    res = await fetch(peer.url("/start"))
    if target is None:
        assert res.error is not None
        assert res.error.code in (errors.INVALID_URL, errors.PARSE_ERROR_HEADERS)
        assert len(peer.requests) == 1
    else:
        assert res.body == target.encode()
        assert all(MARK not in name for name, _ in peer.requests[1].fields)


@pytest.mark.parametrize("text", ["a\r\nX-Injected: 1", "a\nb", "a\rb", "a\0b"])
@pytest.mark.parametrize("where", ["method", "name", "value", "user_agent"])
async def test_control_characters_in_a_tornado_request(
    where: str, text: str, peer: RawPeer
) -> None:
    # Only newer versions of Tornado check the values in the mapping.
    options: dict[str, Any] = {
        "method": {"method": text, "allow_nonstandard_methods": True},
        "name": {"headers": {text: "value"}},
        "value": {"headers": {"X-Field": text}},
        "user_agent": {"user_agent": text},
    }[where]
    transport = SimpleTransport(force_instance=True)
    try:
        with pytest.raises(ValueError):
            await transport.fetch(peer.url(), **options)
    finally:
        transport.close()
    assert not peer.requests
