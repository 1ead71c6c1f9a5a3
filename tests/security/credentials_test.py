"""Credentials: they are sent to their origin only, and are never shown or stored."""

from __future__ import annotations

import asyncio
import base64
import functools
import logging
from asyncio import BaseEventLoop
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from tornado.httpclient import HTTPRequest
from tornado.httputil import HTTPHeaders as TornadoHeaders

from tests.support import Connection, Fetch, MakeClient, MakePeer, response
from tests.support.phases import in_phase, require_phase
from tests.support.server import Server
from turbo_tornado import HTTPClient, HTTPHeaders, HTTPResponse, errors
from turbo_tornado.__main__ import main
from turbo_tornado.request.build import build_request
from turbo_tornado.request.keywords import resolve
from turbo_tornado.request.redirect import redirect
from turbo_tornado.request.request import Request
from turbo_tornado.request.tls import TLS
from turbo_tornado.request.url import parse_url
from turbo_tornado.transports.base import CancellableFetch
from turbo_tornado.transports.simple import SimpleTransport

PASSWORD, COOKIE, TOKEN, PROXY, QUERY, PEERS = (
    f"{name}-5ecret" for name in ("password", "cookie", "token", "proxy", "query", "peers")
)
BASIC = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
SECRETS = (PASSWORD, BASIC, COOKIE, TOKEN, PROXY, QUERY, PEERS)
CREDENTIALS = ("Authorization", "Cookie", "Proxy-Authorization")


def assert_no_secret(text: str, *but: str) -> None:
    shown = [secret for secret in SECRETS if secret in text and secret not in but]
    assert not shown, f"{shown} in {text}"


def with_user_info(url: str) -> str:
    return url.replace("://", f"://user:{PASSWORD}@")


def add_tokens(headers: HTTPHeaders) -> None:
    headers.set("Proxy-Authorization", f"Basic {PROXY}")
    headers.add("X-Token", TOKEN)


GIVEN: dict[str, Any] = {"cookie": {"session": COOKIE}, "on_headers": add_tokens}


def build(url: str) -> Request:
    return build_request(url, resolve(GIVEN, {}), TLS(), 1000)


# Recipients

Outcome = tuple[str, str, bool]
SAME, OTHER = True, False
ORIGINS: list[Outcome] = [
    ("http://host/", "/path", SAME),
    ("http://host/", "//host/path", SAME),
    ("http://host/", "http://host:80/", SAME),
    ("http://host:80/", "http://host/", SAME),
    ("https://host/", "https://host:443/", SAME),
    ("https://host:443/", "HTTPS://HOST", SAME),
    ("http://bücher.test/", "http://xn--bcher-kva.test/", SAME),
    ("http://xn--bcher-kva.test/", "http://b\xc3\xbccher.test/", SAME),
    ("http://BÜCHER.test/", "http://B\xc3\x9cCHER.TEST/", SAME),
    ("http://host。test/", "http://host.test/", SAME),
    ("http://[::1]/", "http://[::1]:80/", SAME),
    ("http://[::A]/", "http://[::a]/", SAME),
    ("http://host/", "http://other/", OTHER),
    ("http://host/", "//other/", OTHER),
    ("http://host/", "http://host.test/", OTHER),
    ("http://host.test/", "http://sub.host.test/", OTHER),
    ("http://sub.host.test/", "http://host.test/", OTHER),
    ("http://host/", "http://host./", OTHER),
    ("http://host/", "http://host:81/", OTHER),
    ("http://host:8080/", "http://host/", OTHER),
    ("http://host/", "http://host:443/", OTHER),
    ("http://host/", "https://host/", OTHER),
    ("https://host/", "http://host/", OTHER),
    ("http://host:443/", "https://host:443/", OTHER),
    ("https://host:80/", "http://host:80/", OTHER),
    ("http://127.0.0.1/", "http://localhost/", OTHER),
    ("http://127.0.0.1/", "http://127.1/", OTHER),
    ("http://127.0.0.1/", "http://[::ffff:127.0.0.1]/", OTHER),
    ("http://host/", "http://host@other/", OTHER),
    ("http://host/", "http://host:80@other/", OTHER),
    ("http://host/", "http://user:pass@other/", OTHER),
    ("http://[fe80::1%25a]/", "http://[fe80::1%25b]/", OTHER),
]


@pytest.mark.parametrize("code", [301, 307])
def test_origins(code: int) -> None:
    for url, location, same in ORIGINS:
        first = build(with_user_info(url))
        assert all(name in first.headers() for name in CREDENTIALS)
        second = redirect(first, code, location, 0)
        left = [name for name in CREDENTIALS if name in second.headers()]
        assert left == (list(CREDENTIALS) if same else []), (url, location)
        assert PASSWORD not in second.url.url
        # A redirect back to the origin does not restore them.
        third = redirect(second, code, url.encode().decode("latin-1"), 0)
        assert [name for name in CREDENTIALS if name in third.headers()] == left


async def moved(conn: Connection, location: str) -> None:
    while True:
        await conn.read_request()
        await conn.send(response(b"", f"Location: {location}", status="307 Moved"))


async def test_headers_sent_to_another_origin(fetch: Fetch, raw_peer: MakePeer) -> None:
    other = await raw_peer(response(b"end"))
    peer = await raw_peer(functools.partial(moved, location=other.url("/end")))
    res = await fetch(with_user_info(peer.url(f"/start?q={QUERY}")), GIVEN)
    assert res.body == b"end"
    assert all(peer.requests[0].field(name) for name in CREDENTIALS)
    (request,) = other.requests
    # A custom header is sent as well, because the client cannot recognize that it is secret.
    assert_no_secret(request.raw.decode("latin-1"), TOKEN)
    assert {name for name, _ in request.fields} == {
        *(name for name, _ in peer.requests[0].fields)
    } - {*CREDENTIALS}
    assert request.field("Referer") is None


async def test_user_info_of_a_location_is_not_sent(fetch: Fetch, raw_peer: MakePeer) -> None:
    other = await raw_peer(response(b"end"))
    location = other.url("/end").replace("//", f"//user:{PEERS}@")
    peer = await raw_peer(functools.partial(moved, location=location))
    res = await fetch(peer.url())
    assert res.url == other.url("/end")
    assert other.requests[0].field("Authorization") is None


@pytest.mark.parametrize("method", ["GET", "PURGE"])
async def test_credentials_are_not_sent_by_the_next_fetch(
    method: str, make_client: MakeClient, raw_peer: MakePeer
) -> None:
    peers = [await raw_peer(response(b"ok")) for _ in range(2)]
    for peer in peers * 2:
        await make_client().fetch(with_user_info(peer.url()), GIVEN, method=method)
        for bare in peers:
            await make_client().fetch(bare.url("/bare"), method=method)
    for peer in peers:
        for request in peer.requests:
            assert all(bool(request.field(name)) == (request.target == "/") for name in CREDENTIALS)


async def test_redirects_of_tornado_requests(raw_peer: MakePeer) -> None:
    other = await raw_peer(response(b"end"))
    peer = await raw_peer(functools.partial(moved, location=other.url("/end")))
    transport = SimpleTransport(force_instance=True)
    headers = TornadoHeaders({"Proxy-Authorization": PROXY, "Cookie": COOKIE})
    request = HTTPRequest(with_user_info(peer.url()), headers=headers)
    assert (await transport.fetch(request)).body == b"end"
    transport.close()
    assert all(peer.requests[0].field(name) for name in CREDENTIALS)
    assert_no_secret(other.requests[0].raw.decode("latin-1"))


@pytest.mark.parametrize("is_default", [True, False])
async def test_credentials_of_a_transport(
    is_default: bool, transport_class: type[CancellableFetch], raw_peer: MakePeer
) -> None:
    async def moved_once(conn: Connection) -> None:
        while True:
            is_moved = (await conn.read_request()).target == "/"
            moved = response(b"", "Location: /end", status="307 Moved")
            await conn.send(moved if is_moved else response(b"end"))

    other = await raw_peer(moved_once)
    peer = await raw_peer(functools.partial(moved, location=other.url("/")))
    credentials = {"auth_username": "user", "auth_password": PASSWORD}
    transport = transport_class(
        force_instance=True, defaults=credentials if is_default else {"max_redirects": 5}
    )
    options: dict[str, Any] = {} if is_default else credentials
    headers = {"Cookie": COOKIE}
    for _ in range(2):
        assert (await transport.fetch(peer.url(), headers=headers, **options)).body == b"end"
    transport.close()
    assert [request.field("Authorization") for request in peer.requests] == [f"Basic {BASIC}"] * 2
    assert [request.target for request in other.requests] == ["/", "/end"] * 2
    for request in other.requests:
        assert_no_secret(request.raw.decode("latin-1"))


# Messages and logs


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """All log messages, including those of the loop's debug mode."""
    loggers = [logging.getLogger(name) for name in (*logging.root.manager.loggerDict, None)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    caplog.handler.setLevel(logging.DEBUG)
    caplog.handler.setFormatter(logging.Formatter("%(name)s %(args)r %(message)s"))
    yield lambda: caplog.text
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
async def debug() -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    before = loop.get_debug(), loop.slow_callback_duration
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    yield
    loop.set_debug(before[0])
    loop.slow_callback_duration = before[1]


Run = Callable[[HTTPClient, Callable[..., Any]], Any]


def answering(*acts: bytes | str) -> Callable[[Connection], Any]:
    async def script(conn: Connection) -> None:
        while True:
            await conn.read_request()
            for act in acts:
                if isinstance(act, bytes):
                    await conn.send(act)
                else:
                    getattr(conn, act)()

    return script


OK = b"HTTP/1.1 200 OK\r\n"
LOCATIONS = [
    f"http://user:{PEERS}@127.0.0.1:bad/",
    f"http://user:{PEERS}@/",
    f"http://user:{PEERS}@host:80:80/",
    f"http://user:{PEERS}/@host/",
    f"http://user:{PEERS}@[::1/",
    f"http://user:{PEERS}\\@host/",
    f"http://user:{PEERS} @host/",
    f"ftp://user:{PEERS}@host/",
    f"user:{PEERS}@host/",
]
OUTCOMES: dict[str, tuple[tuple[bytes | str, ...], errors | None]] = {
    "a response": ((response(b"ok", f"Set-Cookie: a={PEERS}"),), None),
    "an error of the server": ((response(b"", status="500 Broken"),), None),
    "no response": (("close",), errors.NO_HEADERS),
    "reset": (("reset",), errors.SOCKET_ERROR),
    "no HTTP": ((b"SSH-2.0\r\n", "close"), errors.PARSE_ERROR_HEADERS),
    "bad field": ((OK + b"no field\r\n\r\n",), errors.PARSE_ERROR_HEADERS),
    "cut": ((OK + b"Content-Length: 9\r\n\r\n", "close"), errors.SOCKET_ERROR),
    "too long": ((OK + b"Content-Length: 999999999\r\n\r\n",), errors.SOCKET_ERROR),
    "no gzip": ((response(b"no", "Content-Encoding: gzip"),), errors.SOCKET_ERROR),
    "nothing": ((), errors.REQUEST_TIMEOUT),
    "a circle": (
        (response(b"", f"Location: /?{PEERS}", status="302 Found"),),
        errors.REDIRECT_MAX,
    ),
    **{
        f"redirect to {number}": (
            (response(b"", f"Location: {location}", status="302 Found"),),
            errors.INVALID_SCHEMA if location[0] in "fu" else errors.INVALID_URL,
        )
        for number, location in enumerate(LOCATIONS)
    },
}


def assert_shows_nothing(res: HTTPResponse, *others: object) -> None:
    shown = [repr(res), str(res), *map(repr, others), *map(str, others)]
    if res.error is not None:
        shown += [res.error.message, repr(res.error)]
    else:
        # The URL contains the query of the caller, but not the user info.
        assert_no_secret(res.url, QUERY)
        shown += [repr(res.headers), repr(res.request)]
    for text in shown:
        assert_no_secret(text)


@pytest.mark.parametrize("what", OUTCOMES)
@in_phase
async def test_no_secret_is_shown_for_any_response(
    what: str, make_client: MakeClient, raw_peer: MakePeer, log: Callable[[], str], debug: None
) -> None:
    acts, code = OUTCOMES[what]
    peer = await raw_peer(answering(*acts))
    client = make_client(max_buffer_size=1000)
    url = with_user_info(peer.url(f"/?q={QUERY}"))
    timeout = {"request_timeout": 0.2} if code is errors.REQUEST_TIMEOUT else {}
    future = client.fetch(url, GIVEN, **timeout)
    pending = repr(future)
    res = await future
    assert (res.error and res.error.code) == code
    require_phase(peer.requests)
    assert all(peer.requests[0].field(name) for name in CREDENTIALS)
    assert_shows_nothing(res, client, future, pending)
    # uvloop does not log its steps.
    assert "Executing" in log() or not isinstance(asyncio.get_running_loop(), BaseEventLoop)
    assert_no_secret(log())


async def test_no_secret_is_shown_for_a_failed_connection(
    make_client: MakeClient,
    tls_server: Callable[..., Awaitable[Server]],
    closed_port: int,
    blackhole: str,
    log: Callable[[], str],
    debug: None,
) -> None:
    secure = await tls_server()
    for url, options, code in (
        (f"http://127.0.0.1:{closed_port}/", {}, errors.COULD_NOT_CONNECT),
        ("http://no-such-host.invalid/", {}, errors.COULD_NOT_CONNECT),
        (secure.url(), {}, errors.SSL_ERROR),
        (blackhole, {"connect_timeout": 0.05}, errors.CONNECT_TIMEOUT),
        (blackhole, {"request_timeout": 0.05}, errors.REQUEST_TIMEOUT),
        ("http://127.0.0.1:0/", {}, errors.INVALID_URL),
        ("ftp://127.0.0.1/", {}, errors.INVALID_SCHEMA),
        (secure.url(), {"method": "POST"}, errors.REQUIRES_BODY),
        (secure.url(), {"body": 5}, errors.INVALID_BODY),
    ):
        client = make_client()
        future = client.fetch(f"{with_user_info(url)}?q={QUERY}", GIVEN, **options)
        res = await future
        assert res.error is not None
        assert res.error.code is code, res.error.message
        assert_shows_nothing(res, client, future)
    assert_no_secret(log())


async def test_no_secret_is_shown_for_a_busy_or_cancelled_fetch(
    make_client: MakeClient, raw_peer: MakePeer, log: Callable[[], str], debug: None
) -> None:
    peer = await raw_peer(answering())
    client = make_client()
    first = client.fetch(with_user_info(peer.url()), GIVEN)
    assert_shows_nothing(await client.fetch(with_user_info(peer.url()), GIVEN), client)
    await peer.received()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert_no_secret(repr(first) + log())


MISTAKES: list[dict[str, Any]] = [
    {"auth_password": f"{PASSWORD}\n"},
    {"auth_password": PASSWORD.encode()},
    {"auth_username": f"user:{PASSWORD}"},
    {"cookie": f"a={COOKIE}\0"},
    {"cookie": {"a": f"{COOKIE}; b=1"}},
    {"cookie": {"a": COOKIE.encode()}},
    {"cookie": [f"a={COOKIE}"]},
    {"params": [f"a={QUERY}"]},
    {"params": [(QUERY,)]},
    {"params": {"a": {QUERY: QUERY}}},
    {"params": f"a={QUERY}"},
    {"on_headers": lambda h: h.add("Authorization", f"Bearer {TOKEN}\n")},
    {"on_headers": lambda h: h.add("Authorization", f"Bearer {TOKEN}\x7f")},
    {"on_headers": lambda h: h.add("Authorization", f"Bearer {TOKEN}€")},
    {"on_headers": lambda h: h.add("Authorization", TOKEN.encode())},
    {"on_headers": lambda h: h.set("Authorization", [TOKEN])},
    {"on_headers": lambda h: h.add(f"Authorization: Bearer {TOKEN}", "")},
    {"on_headers": lambda h: h.parse_line(f"Authorization: Bearer {TOKEN}\0")},
    {"on_headers": lambda h: h.get_list("Host").append(f"{TOKEN}\n")},
]


async def test_message_of_an_exception_has_no_secret(make_client: MakeClient) -> None:
    for options in MISTAKES:
        with pytest.raises((TypeError, ValueError)) as raised:
            make_client().fetch("http://127.0.0.1/", **options)
        assert_no_secret(str(raised.value) + repr(raised.value))


async def test_message_for_an_invalid_url_has_no_secret(fetch: Fetch) -> None:
    for url in LOCATIONS:
        res = await fetch(url)
        assert res.error is not None
        assert_no_secret(res.error.message)


def test_repr_of_local_variables_has_no_secret() -> None:
    # A tool that reports crashes shows the variables of a traceback.
    url = f"{with_user_info('http://host/path')}?q={QUERY}"
    request = build(url)
    for value in (request, request.url, parse_url(url), resolve(GIVEN, {}), request.headers()):
        assert_no_secret(repr(value))
    assert "http://host/path" in repr(request)


# The command line


@pytest.mark.parametrize("outcome", ["response", "error", "refused", "usage"])
async def test_command_line_shows_no_secret(
    outcome: str,
    raw_peer: MakePeer,
    transport: str,
    capfd: pytest.CaptureFixture[str],
    log: Callable[[], str],
) -> None:
    peer = await raw_peer(response(b"ok") if outcome == "response" else answering("close"))
    argv = ["-i", "--transport", transport, "--auth", f"user:{PASSWORD}"]
    argv += ["--header", f"X-Token: {TOKEN}", "--cookie", f"a={COOKIE}", "--param", f"q={QUERY}"]
    if outcome == "refused":
        argv += ["--header", f"Authorization: {TOKEN}\n.", "--cookie", f"a={COOKIE};"]
    wrong: list[list[str]] = [[]]
    if outcome == "usage":
        wrong = [["--cookie", COOKIE], ["--param", QUERY], ["--header", f"Bearer {TOKEN}"]]
    for more in wrong:
        try:
            code = await asyncio.to_thread(main, [*argv, *more, with_user_info(peer.url())])
        except SystemExit as end:
            code = int(end.code or 0)
        assert code == {"response": 0, "error": 1}.get(outcome, 2)
    shown = capfd.readouterr()
    assert shown.out or shown.err
    assert_no_secret(shown.out + shown.err + log())
