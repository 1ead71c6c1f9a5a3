"""HTTPHeaders: Tornado's mapping with Turbo's methods."""

from __future__ import annotations

import concurrent.futures
import copy
import pickle
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tornado import httputil

from tests.support import Fetch, MakePeer, response
from turbo_tornado import HTTPHeaders


@pytest.fixture
def headers() -> HTTPHeaders:
    headers = HTTPHeaders({"Content-Type": "text/plain"})
    headers.add("Set-Cookie", "a=1")
    headers.add("Set-Cookie", "b=2")
    return headers


def test_read_in_several_threads() -> None:
    block = b"".join(b"X-%d: %d\r\n" % (number, number) for number in range(200))

    def read(headers: HTTPHeaders, barrier: threading.Barrier) -> list[tuple[str, str]]:
        barrier.wait()
        return list(headers.get_all())

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for _ in range(200):
                headers, barrier = HTTPHeaders.deferred(block), threading.Barrier(4)
                results = [pool.submit(read, headers, barrier) for _ in range(4)]
                assert {len(result.result()) for result in results} == {200}
    finally:
        sys.setswitchinterval(interval)


def test_is_a_tornado_mapping() -> None:
    assert issubclass(HTTPHeaders, httputil.HTTPHeaders)


@pytest.mark.parametrize("key", ["Content-Type", "content-type", "CONTENT-TYPE"])
@pytest.mark.parametrize("flag", [(), (True,), (False,), ("other",), (None,)])
def test_get_ignores_case(headers: HTTPHeaders, key: str, flag: tuple[Any, ...]) -> None:
    assert headers.get(key, *flag) == "text/plain"


@pytest.mark.parametrize(
    ("second", "result"),
    [
        ((), None),
        # Turbo's caseinsensitive flag
        ((True,), None),
        ((False,), None),
        # the mapping's default
        ((None,), None),
        (("text/html",), "text/html"),
        (("",), ""),
        ((0,), 0),
        ((1,), 1),
    ],
)
def test_get_of_a_missing_header(
    headers: HTTPHeaders, second: tuple[Any, ...], result: object
) -> None:
    found = headers.get("X-Missing", *second)
    assert found == result
    assert type(found) is type(result)


def test_get_joins_repeated_headers(headers: HTTPHeaders) -> None:
    assert headers.get("set-cookie", True) == "a=1,b=2"
    assert headers.get_list("set-cookie") == ["a=1", "b=2"]


def test_add_keeps_existing_values(headers: HTTPHeaders) -> None:
    headers.add("content-type", "text/html")
    assert headers.get_list("Content-Type") == ["text/plain", "text/html"]


@pytest.mark.parametrize("flag", [(), (True,), (False,)])
def test_set_replaces_all_values(headers: HTTPHeaders, flag: tuple[bool, ...]) -> None:
    headers.set("set-COOKIE", "c=3", *flag)
    assert headers.get_list("Set-Cookie") == ["c=3"]


def test_set_of_a_new_header(headers: HTTPHeaders) -> None:
    headers.set("X-New", "1")
    assert headers["x-new"] == "1"


@pytest.mark.parametrize("flag", [(), (True,), (False,)])
def test_remove_removes_all_values(headers: HTTPHeaders, flag: tuple[bool, ...]) -> None:
    headers.remove("set-cookie", *flag)
    assert "Set-Cookie" not in headers
    assert headers.get_list("Set-Cookie") == []
    assert list(headers.get_all()) == [("Content-Type", "text/plain")]


def test_remove_of_a_missing_header_does_nothing(headers: HTTPHeaders) -> None:
    headers.remove("X-Missing")
    assert len(headers) == 2


@pytest.mark.parametrize("method", ["add", "set"])
@pytest.mark.parametrize(("number", "text"), [(0, "0"), (42, "42"), (-1, "-1"), (1.5, "1.5")])
def test_number_becomes_text(method: str, number: float, text: str) -> None:
    headers = HTTPHeaders()
    getattr(headers, method)("X-Number", number)
    assert headers["X-Number"] == text
    assert list(headers.get_all()) == [("X-Number", text)]


@pytest.mark.parametrize("method", ["add", "set"])
@pytest.mark.parametrize("value", [None, True, b"bytes", ["list"], {}])
def test_value_of_the_wrong_type(headers: HTTPHeaders, method: str, value: object) -> None:
    with pytest.raises(TypeError):
        getattr(headers, method)("X-Value", value)
    assert "X-Value" not in headers


@pytest.mark.parametrize("method", ["add", "set"])
@pytest.mark.parametrize("name", [None, 1, b"X-Name"])
def test_name_of_the_wrong_type(headers: HTTPHeaders, method: str, name: object) -> None:
    with pytest.raises(TypeError):
        getattr(headers, method)(name, "value")


@pytest.mark.parametrize("method", ["add", "set"])
@pytest.mark.parametrize("value", ["a\r\nX-B: 1", "a\n", "\ra", "a\0b"])
def test_value_with_a_control_character_raises(
    headers: HTTPHeaders, method: str, value: str
) -> None:
    with pytest.raises(ValueError):
        getattr(headers, method)("X-Value", value)
    assert "X-Value" not in headers


@pytest.mark.parametrize("name", ["", "X Y", "X\r\nY", "X:Y", "X\0", "Ü"])
def test_name_that_is_not_a_token_raises(headers: HTTPHeaders, name: str) -> None:
    with pytest.raises(ValueError):
        headers.add(name, "value")


@pytest.mark.parametrize(
    ("what", "value"),
    [("method", "PUT"), ("uri", "/a?b=c"), ("version", "HTTP/1.0"), ("status_code", 404)],
)
def test_line_accessors(headers: HTTPHeaders, what: str, value: object) -> None:
    assert getattr(headers, f"get_{what}")() is None
    getattr(headers, f"set_{what}")(value)
    assert getattr(headers, f"get_{what}")() == value
    # not a field
    assert len(headers) == 2


@pytest.mark.parametrize("what", ["method", "uri", "version"])
@pytest.mark.parametrize("value", [None, 1, b"GET"])
def test_line_setters_require_a_str(headers: HTTPHeaders, what: str, value: object) -> None:
    with pytest.raises(TypeError):
        getattr(headers, f"set_{what}")(value)


@pytest.mark.parametrize("value", [None, "200", 200.0, True])
def test_status_code_is_an_int(headers: HTTPHeaders, value: object) -> None:
    with pytest.raises(TypeError):
        headers.set_status_code(value)  # type: ignore[arg-type]


def test_stringify_as_request(headers: HTTPHeaders) -> None:
    headers.set_method("GET")
    headers.set_uri("/a?b=c")
    headers.set_version("HTTP/1.1")
    assert headers.stringify_as_request() == (
        "GET /a?b=c HTTP/1.1\r\n"
        "Content-Type: text/plain\r\n"
        "Set-Cookie: a=1\r\n"
        "Set-Cookie: b=2\r\n"
        "\r\n"
    )


def test_stringify_as_request_without_headers() -> None:
    headers = HTTPHeaders()
    headers.set_method("OPTIONS")
    headers.set_uri("*")
    headers.set_version("HTTP/1.0")
    assert headers.stringify_as_request() == "OPTIONS * HTTP/1.0\r\n\r\n"


@pytest.mark.parametrize("missing", ["method", "uri", "version"])
def test_stringify_as_request_with_an_invalid_request_line(missing: str) -> None:
    headers = HTTPHeaders()
    for what, value in {"method": "GET", "uri": "/", "version": "HTTP/1.1"}.items():
        if what != missing:
            getattr(headers, f"set_{what}")(value)
    with pytest.raises(ValueError):
        headers.stringify_as_request()


@pytest.mark.parametrize(
    "duplicate",
    [
        HTTPHeaders.copy,
        copy.copy,
        copy.deepcopy,
        lambda headers: pickle.loads(pickle.dumps(headers)),
    ],
    ids=["method", "copy", "deepcopy", "pickle"],
)
def test_copy(headers: HTTPHeaders, duplicate: Callable[[HTTPHeaders], HTTPHeaders]) -> None:
    headers.set_method("GET")
    headers.set_uri("/")
    headers.set_version("HTTP/1.1")
    headers.set_status_code(200)
    copied = duplicate(headers)
    assert type(copied) is HTTPHeaders
    assert copied == headers
    assert copied.stringify_as_request() == headers.stringify_as_request()
    assert copied.get_status_code() == 200

    copied.add("Set-Cookie", "c=3")
    copied.set_method("PUT")
    assert headers.get_list("Set-Cookie") == ["a=1", "b=2"]
    assert headers.get_method() == "GET"
    headers.remove("Content-Type")
    assert copied["Content-Type"] == "text/plain"


@pytest.mark.parametrize(
    "made",
    [
        HTTPHeaders({"a": "1", "B": "2"}),
        HTTPHeaders([("A", "1"), ("B", "2")]),
        HTTPHeaders(A="1", b="2"),
        HTTPHeaders(httputil.HTTPHeaders({"A": "1", "B": "2"})),
        HTTPHeaders.parse("A: 1\r\nB: 2\r\n"),
    ],
    ids=["mapping", "pairs", "keywords", "tornado", "text"],
)
def test_constructor_accepts_the_arguments_of_tornado(made: HTTPHeaders) -> None:
    assert type(made) is HTTPHeaders
    assert list(made.get_all()) == [("A", "1"), ("B", "2")]


RECEIVED = [("Content-Type", "text/plain"), ("X-A", "1"), ("X-A", "2"), ("Content-Length", "2")]


@pytest.mark.parametrize(
    ("first_use", "result"),
    [
        (len, 3),
        (bool, True),
        (list, ["Content-Type", "X-A", "Content-Length"]),
        (lambda h: list(h.get_all()), RECEIVED),
        (lambda h: list(h.items()), [("Content-Type", "text/plain"), ("X-A", "1,2"), RECEIVED[3]]),
        (lambda h: "x-a" in h, True),
        (lambda h: "X-B" in h, False),
        (lambda h: h["x-a"], "1,2"),
        (lambda h: h.get("X-A"), "1,2"),
        (lambda h: h.get("Content-Type", True), "text/plain"),
        (lambda h: h.get_list("x-a"), ["1", "2"]),
        (lambda h: h.pop("X-A"), "1,2"),
        (lambda h: dict(h)["X-A"], "1,2"),
        (lambda h: list(h.copy().get_all()), RECEIVED),
        (lambda h: list(copy.deepcopy(h).get_all()), RECEIVED),
        (lambda h: list(pickle.loads(pickle.dumps(h)).get_all()), RECEIVED),
        (lambda h: list(HTTPHeaders(h).get_all()), RECEIVED),
        (lambda h: list(httputil.HTTPHeaders(h).get_all()), RECEIVED),
        (lambda h: h == h.copy(), True),
        (lambda h: h == HTTPHeaders(), False),
        (str, "Content-Type: text/plain\nX-A: 1\nX-A: 2\nContent-Length: 2\n"),
        (lambda h: "text/plain" in repr(h) or "HTTPHeaders" in repr(h), True),
        (lambda h: h.add("X-A", "3") or h["X-A"], "1,2,3"),
        (lambda h: h.set("X-A", "3") or h["X-A"], "3"),
        (lambda h: h.remove("X-A") or len(h), 2),
        (lambda h: h.update({"X-A": "3"}) or h["X-A"], "3"),
        (lambda h: h.setdefault("X-A", "3"), "1,2"),
        (lambda h: h.clear() or len(h), 0),
        (lambda h: hasattr(h, "no_such_attribute"), False),
    ],
)
async def test_received_headers_are_parsed_on_first_use(
    fetch: Fetch, raw_peer: MakePeer, first_use: Callable[[Any], object], result: object
) -> None:
    peer = await raw_peer(response(b"ok", "Content-Type: text/plain", "X-A: 1", "x-a: 2"))
    res = await fetch(peer.url())
    assert first_use(res.headers) == result


async def test_received_headers_have_the_status_line(fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(status="404 Not Found"))
    res = await fetch(peer.url())
    assert res.headers.get_status_code() == 404
    assert res.headers.get_method() is None
    assert res.headers.get_uri() is None
    assert res.headers.copy().get_status_code() == 404
