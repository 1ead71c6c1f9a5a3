"""The targets of a fetch: only http and https, and only the host of its URL."""

from __future__ import annotations

import functools
import importlib.util

import pytest

from tests.support import Connection, Fetch, MakeClient, MakePeer, response
from turbo_tornado import HTTPClient, errors

NEITHER = [
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "file://localhost/etc/passwd",
    "file:/etc/passwd",
    "ftp://127.0.0.1:{port}/",
    "ftps://127.0.0.1:{port}/",
    "sftp://127.0.0.1:{port}/",
    "scp://127.0.0.1:{port}/",
    "gopher://127.0.0.1:{port}/_GET%20/",
    "dict://127.0.0.1:{port}/d:a",
    "ldap://127.0.0.1:{port}/",
    "smb://127.0.0.1:{port}/",
    "smtp://127.0.0.1:{port}/",
    "imap://127.0.0.1:{port}/",
    "pop3://127.0.0.1:{port}/",
    "rtsp://127.0.0.1:{port}/",
    "telnet://127.0.0.1:{port}/",
    "tftp://127.0.0.1:{port}/",
    "mqtt://127.0.0.1:{port}/",
    "ws://127.0.0.1:{port}/",
    "wss://127.0.0.1:{port}/",
    "unix:///var/run/docker.sock",
    "unix:/var/run/docker.sock:/x",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
    "javascript:alert(1)",
    "data:text/html,x",
    "blob:http://127.0.0.1:{port}/",
    "view-source:http://127.0.0.1:{port}/",
    "jar:http://127.0.0.1:{port}/!/",
    "feed:http://127.0.0.1:{port}/",
    "about:blank",
    "mailto:a@b",
    "urn:a:b",
    "httpx://127.0.0.1:{port}/",
    "h2c://127.0.0.1:{port}/",
]
#: URLs whose host parsers interpret differently.
DOUBTFUL = [
    "http:127.0.0.1:{port}/",
    "http:/127.0.0.1:{port}/",
    "http:///127.0.0.1:{port}/",
    "http:////127.0.0.1:{port}/",
    "http:\\\\127.0.0.1:{port}\\",
    "http:/\\127.0.0.1:{port}/",
    "http://\\127.0.0.1:{port}/",
    "///127.0.0.1:{port}/",
    "////127.0.0.1:{port}/",
    "http://host\\@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@host/",
    "//host\\@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}%2f@host:bad/",
    "http://127.0.0.1:{port}%00.host/",
    "http://127.0.0.1%00:{port}/",
    "http://%31%32%37.0.0.1:{port}/",
    "http://127.0.0.1:{port}:80/",
    "http://127.0.0.1:80:{port}/",
    "http://127.0.0.1 :{port}/",
    "http://127.0.0.1:{port};@/",
    "http://[127.0.0.1]:{port}/",
    "http://[::1]127.0.0.1:{port}/",
    "http://127.0.0.1[::1]:{port}/",
    "http://[::ffff:127.0.0.1%00]:{port}/",
    "http://127.0.0.1,host:{port}/",
    "http://<127.0.0.1>:{port}/",
    "http://127。。0.1:{port}/",
    "http://127.0.0.1\uff0f:{port}/",
    "http://127.0.0.1\u2100:{port}/",
    "http://127.0.0.1\uff1a{port}/",
    "http://host\uff20127.0.0.1:{port}/",
    "http://host\uff03@127.0.0.1:{port}\uff1f/",
    "\x01http://127.0.0.1:{port}/",
    "ht\ttp://127.0.0.1:{port}/",
    "http://127.0.\t0.1:{port}/",
    "{{http://127.0.0.1:{port}/",
    "<http://127.0.0.1:{port}/>",
    '"http://127.0.0.1:{port}/"',
]
#: References to a path at the origin, in which a browser may find a host.
PATHS = [
    "/\\127.0.0.1:{port}/",
    "\\\\127.0.0.1:{port}/",
    "\\/127.0.0.1:{port}/",
    "/..//127.0.0.1:{port}/",
    ".//127.0.0.1:{port}/",
    "/%2f%2f127.0.0.1:{port}/",
    ";//127.0.0.1:{port}/",
    "?//127.0.0.1:{port}/",
    "/@127.0.0.1:{port}/",
]


async def moved(conn: Connection, location: str) -> None:
    while True:
        request = await conn.read_request()
        if request.target.endswith("/start"):
            await conn.send(response(b"", f"Location: {location}", status="302 Found"))
        else:
            await conn.send(response(f"at the origin: {request.target}".encode()))


def as_bytes_are_read(text: str) -> str:
    return text.encode().decode("latin-1")


@pytest.mark.parametrize("urls", [NEITHER, DOUBTFUL], ids=["neither", "doubtful"])
async def test_fetch_of_other_schemes_fails(
    urls: list[str], fetch: Fetch, raw_peer: MakePeer
) -> None:
    trap = await raw_peer(response(b"trap"))
    for url in (url.format(port=trap.port) for url in urls):
        res = await fetch(url)
        assert res.error is not None, url
        assert res.error.code in (errors.INVALID_SCHEMA, errors.INVALID_URL), (url, res.error)
    assert trap.connections == 0


@pytest.mark.parametrize("urls", [NEITHER, DOUBTFUL], ids=["neither", "doubtful"])
async def test_redirect_to_other_schemes_fails(
    urls: list[str], fetch: Fetch, raw_peer: MakePeer
) -> None:
    trap = await raw_peer(response(b"trap"))
    for url in (url.format(port=trap.port) for url in urls):
        peer = await raw_peer(functools.partial(moved, location=as_bytes_are_read(url)))
        res = await fetch(peer.url("/start"))
        if res.error is None:
            # A text without a scheme is a path.
            assert res.body.startswith(b"at the origin: "), url
        else:
            refusals = (errors.INVALID_SCHEMA, errors.INVALID_URL, errors.PARSE_ERROR_HEADERS)
            assert res.error.code in refusals, (url, res.error)
    assert trap.connections == 0


async def test_path_like_a_host(fetch: Fetch, raw_peer: MakePeer) -> None:
    trap = await raw_peer(response(b"trap"))
    for location in (path.format(port=trap.port) for path in PATHS):
        peer = await raw_peer(functools.partial(moved, location=location))
        res = await fetch(peer.url("/dir/start"))
        assert res.error is None, (location, res.error)
        assert res.body.startswith(b"at the origin: /")
        assert res.url.startswith(peer.url(""))
    assert trap.connections == 0


async def test_ignored_headers(make_client: MakeClient, raw_peer: MakePeer) -> None:
    trap = await raw_peer(response(b"trap"))
    fields = [
        f"Refresh: 0; url={trap.url()}",
        f"Content-Location: {trap.url()}",
        f"Link: <{trap.url()}>; rel=canonical",
        f'Alt-Svc: h2="127.0.0.1:{trap.port}", http/1.1="127.0.0.1:{trap.port}"; persist=1',
        "Strict-Transport-Security: max-age=31536000; includeSubDomains",
        "Set-Cookie: a=1",
        "WWW-Authenticate: Basic realm=a",
        "Upgrade: h2c",
    ]
    peer = await raw_peer(response(b"ok", *fields))
    for _ in range(2):
        res = await make_client().fetch(f"http://localhost:{peer.port}/")
        assert res.body == b"ok"
    assert peer.requests[0].raw == peer.requests[1].raw
    assert trap.connections == 0


async def test_ignored_status_codes(fetch: Fetch, raw_peer: MakePeer) -> None:
    trap = await raw_peer(response(b"trap"))
    asks = ["WWW-Authenticate: Basic realm=a", "Proxy-Authenticate: Basic realm=a"]
    for code in (300, 304, 305, 306, 401, 407, 421):
        peer = await raw_peer(
            response(b"", f"Location: {trap.url()}", *asks, status=f"{code} Somewhere")
        )
        res = await fetch(peer.url(), auth_username="user", auth_password="pass")
        assert (res.error, res.code) == (None, code)
        assert len(peer.requests) == 1
    assert trap.connections == 0


HOSTS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "0x7f.0.0.1",
    "0X7F000001",
    "0177.0.0.1",
    "017700000001",
    "2130706433",
    "0x7f.1",
    "00000177.0.0.01",
    "127.0.0.0x1",
    "0",
    "127.0.0.08",
    "127.0.0.256",
    "4294967297",
    "127.0.0.1.0",
    "１２７.0.0.1",
    "127。0。0。1",
    "[::ffff:127.0.0.1]",
    "[::FFFF:7f00:1]",
    "user@127.0.0.1",
    "host@127.0.0.1",
    "host:80@127.0.0.1",
    "a@host@127.0.0.1",
    "localhost",
    "LOCALHOST",
    "ⓛocalhost",
    "127.0.0.1/@host",
    "127.0.0.1#@host",
    "127.0.0.1?@host",
]


@pytest.mark.skipif(importlib.util.find_spec("pycurl") is None, reason="pycurl is not installed")
async def test_transports_agree_about_a_host(raw_peer: MakePeer) -> None:
    for host in HOSTS:
        peer = await raw_peer(response(b"ok"))
        name, end, rest = host, "/", ""
        for mark in "/#?":
            if mark in host:
                name, end, rest = host.partition(mark)
        url = f"http://{name}:{peer.port}{end}{rest}"
        outcomes = []
        for transport in ("simple", "curl"):
            res = await HTTPClient(transport=transport).fetch(url)
            outcomes.append((res.error and res.error.code, res.code, res.body, res.url))
        assert outcomes[0] == outcomes[1], host
        assert len({request.raw for request in peer.requests}) <= 1
