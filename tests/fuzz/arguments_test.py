"""Arguments of every type: the call raises, or the fetch sends one request."""

from __future__ import annotations

import asyncio
import datetime
import enum
import io
import math
from collections import OrderedDict, UserDict
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support import Connection, RawPeer
from turbo_tornado import HTTPClient, HTTPResponse, errors
from turbo_tornado.failures import InvalidSchema, InvalidURL
from turbo_tornado.request.checks import check_headers
from turbo_tornado.request.keywords import KEYWORDS
from turbo_tornado.request.tls import _TYPES as TLS_KEYS
from turbo_tornado.request.url import parse_url

from .bench import TRANSPORTS, Bench, make_transport, profile, turns
from .checks import check_response


class Text(str):
    """A str whose methods return other text."""

    __slots__ = ()

    def __str__(self) -> str:
        return "other\r\nInjected: yes"

    def __format__(self, spec: str) -> str:
        return "other\r\nInjected: yes"


class Word(str, enum.Enum):
    GET = "GET"
    VERSION = "HTTP/1.0"
    WORD = "word"


class Number(int):
    def __str__(self) -> str:
        return "1\r\nInjected: yes"


class Level(enum.IntEnum):
    NONE = 0
    ONE = 1


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Odd(Mapping[Any, Any]):
    """A mapping whose length exceeds its number of items."""

    def __init__(self, pairs: dict[Any, Any]) -> None:
        self._pairs = pairs

    def __getitem__(self, key: Any) -> Any:
        return self._pairs[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return 1 << 30


NASTY = st.sampled_from(
    [
        "", " ", "\r\nInjected: yes", "a\r\nInjected: yes", "a\nb", "a\rb", "a\0b", "\x7f", "\x80",
        "\ud800", "a\udfffb", "ü", "\u0130", "€", "\U0001f600", "a:b", "a;b", "a,b", '"', "%0d%0a",
        "GET", "get", "HEAD", "POST", "PUT", "CONNECT", "PRI", "GET ", "G\tT", "HTTP/1.0",
        "HTTP/1.1", "http/1.1", "HTTP/3", "identity", "a" * 3000, "\u2028",
    ]
)  # fmt: skip
TEXTS = st.one_of(
    NASTY,
    st.text(max_size=12),
    NASTY.map(Text),
    st.sampled_from(list(Word)),
    st.characters().map(str),
)
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.integers(),
    st.sampled_from([10**400, -(10**400), 1 << 31, 1 << 63, 1 << 64]),
    st.floats(),
    st.sampled_from([0.0, -0.0, 5e-324, 1e-9, 1e300, math.inf, -math.inf, math.nan, 1e10]),
    st.integers(-3, 3).map(Number),
    st.sampled_from(list(Level)),
    st.decimals(),
    st.fractions(),
    st.complex_numbers(),
)
BYTES = st.one_of(
    st.binary(max_size=8),
    st.binary(max_size=8).map(bytearray),
    st.binary(max_size=8).map(memoryview),
    st.just(memoryview(b"abcdef")[::2]),
)
OBJECTS = st.sampled_from(
    [
        None, True, False, ..., NotImplemented, object(), Unprintable(), int, print, len,
        lambda *a: None, datetime.timedelta(seconds=1), range(3), {1, 2}, type,
    ]
)  # fmt: skip
LEAVES = st.one_of(TEXTS, NUMBERS, BYTES, OBJECTS)
MAPPINGS = st.sampled_from([dict, OrderedDict, UserDict, Odd])


def mappings(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.one_of(
        TEXTS, st.integers(), st.floats(), BYTES.map(bytes), st.just(Unprintable()), st.none()
    )
    return st.builds(
        lambda kind, pairs: kind(pairs), MAPPINGS, st.dictionaries(keys, values, max_size=3)
    )


ANYTHING = st.recursive(
    LEAVES,
    lambda values: st.one_of(
        st.lists(values, max_size=3),
        st.lists(values, max_size=3).map(tuple),
        st.lists(st.tuples(TEXTS, values), max_size=3),
        mappings(values),
    ),
    max_leaves=6,
)
#: Values that a keyword is likely to accept, so that many calls send a request.
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "method": TEXTS,
    "params": st.one_of(mappings(LEAVES), st.lists(st.tuples(TEXTS, LEAVES), max_size=3)),
    "keep_alive": st.booleans(),
    "cookie": st.one_of(TEXTS, mappings(st.one_of(TEXTS, NUMBERS))),
    "http_version": st.sampled_from(["HTTP/1.0", "HTTP/1.1", "HTTP/2", Word.VERSION]),
    "use_gzip": st.booleans(),
    "allow_redirects": st.booleans(),
    "max_redirects": NUMBERS,
    "on_headers": st.sampled_from([lambda headers: None, lambda headers: headers.add("A", "b")]),
    "body": st.one_of(TEXTS, BYTES, st.binary().map(io.BytesIO), st.lists(BYTES, max_size=3)),
    "request_timeout": NUMBERS,
    "connect_timeout": NUMBERS,
    "auth_username": TEXTS,
    "auth_password": TEXTS,
    "user_agent": TEXTS,
    "headers": st.lists(
        st.tuples(
            st.sampled_from(["A", "host", "Connection", "Content-Length", "Transfer-Encoding"]),
            st.one_of(TEXTS, NUMBERS),
        ),
        max_size=3,
    ),
    "files": st.dictionaries(TEXTS, st.one_of(BYTES, st.tuples(TEXTS, BYTES)), max_size=2),
    "streaming_callback": st.sampled_from([bytes, len, lambda chunk: None]),
    # The port of a proxy of the test has no listener.
    "proxy": st.sampled_from(["environment", "http://127.0.0.1:9"]),
    "json": st.one_of(TEXTS, NUMBERS, st.dictionaries(TEXTS, NUMBERS, max_size=2)),
}
assert LIKELY.keys() == KEYWORDS.keys()


@st.composite
def options(draw: Any) -> dict[str, Any]:
    """Keywords of a fetch, most of them with a valid value."""
    names = draw(st.lists(st.sampled_from(sorted(KEYWORDS)), max_size=4, unique=True))
    likely = draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names)))
    return {
        name: draw(LIKELY[name] if is_likely else ANYTHING)
        for name, is_likely in zip(names, likely, strict=True)
    }


class Recorder:
    """A peer that responds to every request, and records all received bytes."""

    def __init__(self, bench: Bench) -> None:
        self.received: list[bytearray] = []
        #: The names in the keyword ``headers``, in lower case.
        self.given: set[bytes] = set()
        self.peer: RawPeer = bench.peer(self._script)

    async def _script(self, conn: Connection) -> None:
        received = bytearray()
        self.received.append(received)
        answered = False
        while data := await conn.reader.read(65536):
            if data.startswith(b"\x16"):
                conn.close()  # The client sends TLS, which the peer does not support.
                return
            received += data
            if not answered and is_one_request(bytes(received), self.given):
                answered = True
                await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")

    def check(self) -> int:
        """Check that each connection carried at most one request, and return their number."""
        count = 0
        for data in self.received:
            if data:
                assert is_one_request(bytes(data), self.given), bytes(data)
                count += 1
        self.received.clear()
        return count


def names_of(given: Any) -> set[bytes]:
    """Return the names in the keyword ``headers``, if it is valid."""
    headers = given.get("headers") if isinstance(given, Mapping) else None
    try:
        return {name.lower().encode("ascii") for name in check_headers("headers", headers)}
    except (TypeError, ValueError):
        return set()


def is_one_request(data: bytes, given: set[bytes]) -> bool:
    """Whether ``data`` is exactly one request by the rules of a strict server.

    :arg given: names of headers that are allowed in addition to those of the client.
    """
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return False
    line, *fields = head.split(b"\r\n")
    assert len(line.split(b" ")) == 3, line
    assert line.split(b" ")[2] in (b"HTTP/1.0", b"HTTP/1.1"), line
    assert not any(bad in head.replace(b"\r\n", b"") for bad in (b"\r", b"\n", b"\0")), head
    names = [field.partition(b":")[0].lower() for field in fields]
    assert all(b":" in field for field in fields), fields
    assert set(names) <= {
        b"host", b"user-agent", b"accept-encoding", b"authorization", b"cookie", b"content-type",
        b"content-length", b"transfer-encoding", b"connection", b"a",
    } | given, names  # fmt: skip
    once = [name for name in names if name not in (b"a", b"connection", *given)]
    assert len(once) == len(set(once)), names
    lengths = [
        field.partition(b":")[2] for field in fields if field.lower().startswith(b"content-l")
    ]
    if b"transfer-encoding" in names:
        assert not lengths, head
        return are_chunks(body)
    length = int(lengths[0]) if lengths else 0
    assert len(body) <= length, (head, body)
    return len(body) == length


def are_chunks(data: bytes) -> bool:
    """Whether ``data`` is exactly one complete chunked body."""
    while data:
        line, end, rest = data.partition(b"\r\n")
        if not end:
            return False
        size = int(line, 16)
        assert rest[size : size + 2] in (b"\r\n", b"\r", b""), data
        data = rest[size + 2 :]
        if not size:
            assert not data, data
            return len(rest) == 2
    return False


@pytest.fixture(scope="module")
def recorder(bench: Bench) -> Recorder:
    return Recorder(bench)


async def called(transport: str, recorder: Recorder, url: Any, given: Any) -> str:
    """Call fetch, and return the message of an exception, or an empty string."""
    carrier = make_transport(transport)
    client = HTTPClient(transport=carrier)
    recorder.given = names_of(given)
    try:
        try:
            future = client.fetch(url, given)
        except (TypeError, ValueError) as error:
            assert str(error)
            assert not client._busy
            recorder.check()
            return str(error)
        assert isinstance(future, asyncio.Future)
        res = await future
        check_response(res)
        assert type(res) is HTTPResponse
        assert not client._busy
        await turns(2)
        count = recorder.check()
        if res.error is None:
            assert count == 1
            has_body = res.request.get_method() != "HEAD" and not (given or {}).get(
                "streaming_callback"
            )
            assert res.body == (b"OK" if has_body else b"")
        return ""
    finally:
        carrier.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
@profile(150)
@given(given=options())
@example({"request_timeout": 10**400})
@example({"params": {"a": "\ud800"}})
@example({"auth_username": "\ud800"})
@example({"auth_password": Text("secret")})
@example({"auth_username": Word.WORD})
@example({"http_version": Word.VERSION})
def test_keywords(transport: str, recorder: Recorder, bench: Bench, given: dict[str, Any]) -> None:
    said = bench.run(called(transport, recorder, recorder.peer.url("/a?b=c"), given))
    assert not said or any(name in said for name in given), said


class Mute:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


#: Values whose ``repr`` raises, which Hypothesis cannot handle.
MUTE: dict[str, Any] = {"object": Mute(), "digits": -(10**5000)}


@pytest.mark.parametrize("value", MUTE.values(), ids=MUTE)
@pytest.mark.parametrize("name", [*KEYWORDS, None])
def test_message_for_a_value_without_repr(
    name: str | None, value: Any, recorder: Recorder, bench: Bench
) -> None:
    for table in ({name or value: value}, {name: [value]}, {name: {value: value}}):
        said = bench.run(called("simple", recorder, recorder.peer.url(), table))
        assert not said or (name or "fetch()") in said


@pytest.mark.parametrize("value", MUTE.values(), ids=MUTE)
@pytest.mark.parametrize("name", ["ssl_options", "io_loop", "max_buffer_size", "transport"])
def test_message_for_an_argument_without_repr(name: str, value: Any) -> None:
    for argument in (value, {value: value}, [value]):
        with pytest.raises((TypeError, ValueError), match=name):
            HTTPClient(**{name: argument})


@profile(80)
@given(given=st.one_of(ANYTHING, mappings(LEAVES)))
def test_any_table(recorder: Recorder, bench: Bench, given: Any) -> None:
    said = bench.run(called("simple", recorder, recorder.peer.url(), given))
    assert not said or "kwargs" in said or "fetch()" in said or any(k in said for k in KEYWORDS)


URLS = st.one_of(
    ANYTHING,
    TEXTS.map("http://{}".format),
    st.tuples(TEXTS, st.just("@HERE/"), TEXTS).map("http://{0[0]}{0[1]}{0[2]}".format),
    TEXTS.map("http://HERE{}".format),
    TEXTS.map("http://HERE/{}".format),
    TEXTS.map("http://HERE/?{}#".format),
    TEXTS.map("{}://HERE/".format),
)


@pytest.mark.parametrize("transport", TRANSPORTS)
@profile(80)
@given(url=URLS)
@example(Text("http://HERE/"))
def test_any_url(transport: str, recorder: Recorder, bench: Bench, url: Any) -> None:
    if isinstance(url, str):
        address = f"127.0.0.1:{recorder.peer.port}"
        url = type(url)(str.replace(url, "HERE", address)) if "HERE" in url else url
        try:
            parsed = parse_url(url)
        except (InvalidURL, InvalidSchema):
            pass
        else:
            if (parsed.host, parsed.port) != ("127.0.0.1", recorder.peer.port):
                return  # Only addresses of this machine.
    assert not bench.run(called(transport, recorder, url, {}))


@profile(60)
@given(
    given=st.fixed_dictionaries(
        {},
        optional={
            "ssl_options": st.one_of(
                ANYTHING,
                st.dictionaries(st.sampled_from(sorted(TLS_KEYS)), ANYTHING, max_size=3),
                mappings(LEAVES),
            ),
            "io_loop": ANYTHING,
            "max_buffer_size": st.one_of(NUMBERS, ANYTHING),
            "transport": st.one_of(ANYTHING, st.sampled_from(["auto", "simple"])),
        },
    )
)
def test_client(recorder: Recorder, bench: Bench, given: dict[str, Any]) -> None:
    async def use() -> None:
        try:
            client = HTTPClient(**given)
        except (TypeError, ValueError) as error:
            assert any(name in str(error) for name in given), str(error)
            return
        url = recorder.peer.url()
        res = await client.fetch(url, keep_alive=False)
        check_response(res)
        # Two bytes may be too many.
        assert res.error is None or given["max_buffer_size"] == 1
        # A fetch that reads `ssl_options`. The peer does not support TLS.
        res = await client.fetch(url.replace("http:", "https:"), keep_alive=False)
        check_response(res)
        assert res.error is not None
        assert res.error.code is errors.SSL_ERROR

    bench.run(use())
    recorder.received.clear()
