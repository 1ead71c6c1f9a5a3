"""Messages of `TypeError` and `ValueError`: they name the mistake and cut long values."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import HTTPRequest

from turbo_tornado import HTTPClient, HTTPHeaders, configure, task
from turbo_tornado.messages import MAX_LENGTH, quoted, shortened
from turbo_tornado.request.url import parse_url
from turbo_tornado.testing import Answer, StubTransport
from turbo_tornado.transports.simple import SimpleTransport

PACKAGE = Path(__file__).parents[1] / "turbo_tornado"
LONG = "x" * 1000
URL = "http://127.0.0.1:9/"

Call = Callable[[], Any]


def fetch(**keywords: Any) -> Call:
    return lambda: HTTPClient().fetch(URL, keywords)


def set_header(name: Any, value: Any) -> Call:
    return lambda: HTTPHeaders().set(name, value)


CALLS: dict[str, tuple[Call, type[Exception]]] = {
    "keyword": (fetch(**{LONG: 1}), TypeError),
    "key of ssl_options": (lambda: HTTPClient({LONG: 1}), TypeError),  # type: ignore[dict-item]
    "transport": (lambda: configure(LONG), ValueError),  # type: ignore[arg-type]
    "convention": (lambda: task(print, convention=LONG), ValueError),  # type: ignore[call-overload]
    "method": (fetch(method=f"{LONG} "), ValueError),
    "http_version": (fetch(http_version=LONG), ValueError),
    "user_agent": (fetch(user_agent=f"{LONG}\n"), ValueError),
    "cookie": (fetch(cookie={LONG: ";"}), ValueError),
    "name of a cookie": (fetch(cookie={f"{LONG}=": "a"}), ValueError),
    "params": (fetch(params={LONG: [LONG, f"{LONG}\ud800"]}), ValueError),
    "json": (fetch(json={LONG: {1, 2}}), TypeError),
    "auth_username": (fetch(auth_username=f"{LONG}:"), ValueError),
    "auth_password": (fetch(auth_password=f"{LONG}\n"), ValueError),
    "proxy": (fetch(proxy=f"http://{LONG}"), ValueError),
    "host of a proxy": (fetch(proxy=f"http://{LONG}!:80"), ValueError),
    "header name in fetch": (fetch(headers={f"{LONG} ": "a"}), ValueError),
    "header value in fetch": (fetch(headers={LONG: f"{LONG}\n"}), ValueError),
    "header name": (set_header(f"{LONG} ", "a"), ValueError),
    "header value": (set_header(LONG, f"{LONG}\n"), ValueError),
    "header value of another type": (set_header(LONG, b""), TypeError),
    "content type of a file": (fetch(files={LONG: ("a", b"", "\n")}), ValueError),
    "name of a file": (fetch(files={"a": (f"{LONG}\n", b"")}), ValueError),
    "path of a file": (fetch(files={LONG: LONG}), TypeError),
    "method of a stub": (lambda: StubTransport().on(f"{LONG} ", "/"), ValueError),
    "URL of a stub": (lambda: StubTransport().get(LONG), ValueError),
    "answer of a stub": (lambda: StubTransport().get("/", LONG), TypeError),
    "error of a stub": (lambda: Answer(error=LONG), TypeError),  # type: ignore[arg-type]
    "status of a stub": (lambda: Answer(10**500), ValueError),
    "host": (lambda: parse_url(f"http://{LONG}!/"), ValueError),
    "IPv6 address": (lambda: parse_url(f"http://[{LONG}]/"), ValueError),
    "port": (lambda: parse_url(f"http://host:{LONG}/"), ValueError),
    "scheme": (lambda: parse_url(f"{LONG}://host/"), ValueError),
}


@pytest.mark.parametrize("what", CALLS)
async def test_a_long_value_is_cut(what: str) -> None:
    call, kind = CALLS[what]
    with pytest.raises(kind) as raised:
        call()
    message = str(raised.value)
    assert message
    assert not re.search(rf"x{{{MAX_LENGTH + 1}}}|0{{{MAX_LENGTH + 1}}}", message)
    # A hint can list the names of all keywords.
    assert len(message) < 5 * MAX_LENGTH


TORNADO_REQUESTS: dict[str, dict[str, Any]] = {
    "Content-Length": {"headers": {"Content-Length": LONG}},
    "header": {"headers": {LONG: f"{LONG}\n"}},
    "network_interface": {"network_interface": LONG},
    "auth_mode": {"auth_mode": LONG},
    "method": {"method": f"{LONG}\n", "allow_nonstandard_methods": True},
}


@pytest.mark.parametrize("what", TORNADO_REQUESTS)
async def test_a_long_value_in_a_request_of_tornado_is_cut(what: str) -> None:
    transport = SimpleTransport(force_instance=True)
    with pytest.raises(ValueError) as raised:
        await transport.fetch(HTTPRequest(URL, **TORNADO_REQUESTS[what]))
    transport.close()
    assert len(str(raised.value)) < 3 * MAX_LENGTH


async def test_a_message_for_an_unsupported_scheme_has_no_user_info() -> None:
    transport = SimpleTransport(force_instance=True)
    with pytest.raises(ValueError, match="'ftp'") as raised:
        await transport.fetch("ftp://user:secret@host/?secret")
    transport.close()
    assert "secret" not in str(raised.value)


async def test_a_message_for_an_invalid_header_has_no_value() -> None:
    transport = SimpleTransport(force_instance=True)
    with pytest.raises(ValueError, match="'X-Token'") as raised:
        await transport.fetch(HTTPRequest(URL, headers={"X-Token": "secret\n"}))
    transport.close()
    assert "secret" not in str(raised.value)


#: Expressions in messages that contain a type, a name, or one character of a value.
SAFE = {
    # The name of an argument, keyword or header of the package, and texts of the package.
    *("name", "name!r", "what", "where", "part", "expected", "hint", "must", "scheme", "shown"),
    *("ADVICE[name]", "_HOW_TO_CAUSE[error]", "error.name", "_MAX_HEAD_SIZE"),
    *("', '.join(HTTP_VERSIONS)", "kind", "kind.__name__", "_name(func)"),
    # The message of a check with a shortened value.
    "error",
    # One invalid character.
    *("bad!r", "bad[0]!r", "delimiter!r", "control[0]!r", "unprintable[0]!r"),
    # One of a few values that the package has checked.
    *("status", "request.version", "request.method"),
}
_SHORT = re.compile(r"(quoted|shortened)\(.+\)|type\(\w+\)\.__name__")


def raised_values() -> Iterator[tuple[str, str]]:
    """Yield the expressions in the messages of `TypeError` and `ValueError`, with their lines."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            if node.func.id not in ("TypeError", "ValueError", "InvalidURL", "InvalidSchema"):
                continue
            for part in (part for argument in node.args for part in ast.walk(argument)):
                if isinstance(part, ast.FormattedValue):
                    text = ast.unparse(part.value) + "!r" * (part.conversion == ord("r"))
                    yield f"{path.relative_to(PACKAGE)}:{node.lineno}", text


def test_a_message_has_no_other_value() -> None:
    others = [
        f"{where}: {text}"
        for where, text in raised_values()
        if text not in SAFE and not _SHORT.fullmatch(text)
    ]
    assert not others, "\n".join(others)


class Text(str):
    def __repr__(self) -> str:
        return "secret"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "'a'"),
        ("x" * MAX_LENGTH, repr("x" * MAX_LENGTH)),
        (LONG, repr("x" * MAX_LENGTH) + "..."),
        (b"x" * 1000, "b'" + "x" * (MAX_LENGTH - 2) + "..."),
        (Text("a"), "'a'"),
        ("a\r\n", r"'a\r\n'"),
        (5, "5"),
    ],
    ids=lambda value: str(value)[:10],
)
def test_quoted(value: object, text: str) -> None:
    assert quoted(value) == text


def test_shortened() -> None:
    assert shortened("a" * MAX_LENGTH) == "a" * MAX_LENGTH
    assert shortened("a" * (MAX_LENGTH + 1)) == "a" * MAX_LENGTH + "..."
