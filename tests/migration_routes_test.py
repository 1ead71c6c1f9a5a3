"""Turbo.lua and Tornado behind one nginx, with the files of examples/migration/routes.

With the environment variable TURBO_LUA, a checkout of Turbo.lua where ``make all`` was run, the
Turbo side is Turbo. Otherwise it is a stand-in, which signs as Turbo does.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import ModuleType
from urllib.parse import quote, unquote

import pytest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from benchmarks import nginx
from tests.support import StartProgram
from tests.support.missing import missing
from tests.support.ports import reserved_port
from turbo_tornado import HTTPClient, HTTPResponse

ROUTES = Path(__file__).parent.parent / "examples" / "migration" / "routes"
LUAJIT = shutil.which("luajit")
TURBO_LUA = os.environ.get("TURBO_LUA")

SECRET = "an old secret"
#: The Set-Cookie of Turbo.lua 2.1.5 for ``set_secure_cookie("user", value)``.
COOKIE = "030ac54b08ba3859414e172c80a6547b72a55d83%7c3%7c1795856798303%7cada"
OTHER_COOKIE = (
    "9c0306dea75c664e45376ca16fe765a497663b45%7c15%7c1795856798333%7c"
    "Zo%c3%ab%20%7c%2050%25%3b%20%22x%22"
)
SIGNED_AT = 1795856798.303


@pytest.fixture
def cookies(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of the guide, which its application imports as a reader would."""
    monkeypatch.syspath_prepend(str(ROUTES))
    yield importlib.import_module("turbo_cookies")
    for name in ("turbo_cookies", "app", "app_without_turbo"):
        sys.modules.pop(name, None)


Serve = Callable[[Application, int], None]

# Signed cookies


@pytest.mark.parametrize(("cookie", "value"), [(COOKIE, "ada"), (OTHER_COOKIE, 'Zoë | 50%; "x"')])
def test_cookies_signed_by_turbo_are_accepted(cookies: ModuleType, cookie: str, value: str) -> None:
    assert cookies.verify_turbo_cookie(SECRET, "user", unquote(cookie)) == value
    assert cookies._escape(unquote(cookie)) == cookie


@pytest.mark.parametrize("signed_at, value", [(1795856798.303, "ada"), (1795856798.333, "Zoë")])
def test_signature_is_the_same_as_in_turbo(
    cookies: ModuleType, monkeypatch: pytest.MonkeyPatch, signed_at: float, value: str
) -> None:
    monkeypatch.setattr(cookies.time, "time", lambda: signed_at)
    signed = cookies.sign_turbo_cookie(SECRET, "user", value)
    assert cookies.verify_turbo_cookie(SECRET, "user", signed) == value
    if value == "ada":
        assert signed == unquote(COOKIE)


@pytest.mark.parametrize(
    ("secret", "name", "cookie"),
    [
        ("another secret", "user", COOKIE),
        (SECRET, "admin", COOKIE),
        (SECRET, "user", COOKIE.replace("ada", "eve")),
        (SECRET, "user", COOKIE.replace("%7c3%7c", "%7c4%7c")),
        (SECRET, "user", COOKIE.replace("1795856798303", "1795856798304")),
        (SECRET, "user", COOKIE[1:]),
        (SECRET, "user", "%7c3%7c1795856798303%7cada"),
        (SECRET, "user", ""),
        (SECRET, "user", "2|1:0|10:1795856798|4:user|4:YWRh|" + "0" * 64),
    ],
)
def test_invalid_cookies(cookies: ModuleType, secret: str, name: str, cookie: str) -> None:
    assert cookies.verify_turbo_cookie(secret, name, unquote(cookie)) is None


@pytest.mark.parametrize(("age", "value"), [(59, "ada"), (60, None)])
def test_max_age(
    cookies: ModuleType, monkeypatch: pytest.MonkeyPatch, age: int, value: str | None
) -> None:
    monkeypatch.setattr(cookies.time, "time", lambda: SIGNED_AT + age)
    assert cookies.verify_turbo_cookie(SECRET, "user", unquote(COOKIE), 60) == value


# Both behind one nginx


@pytest.fixture
def ports() -> Iterator[dict[str, int]]:
    """A free port for each port of the configuration."""
    with contextlib.ExitStack() as stack:
        yield {port: stack.enter_context(reserved_port()) for port in ("8080", "8887", "8888")}


@pytest.fixture
async def turbo(
    ports: dict[str, int], cookies: ModuleType, start_program: StartProgram, serve: Serve
) -> None:
    """Turbo with app.lua, or a stand-in."""
    port = ports["8887"]
    if TURBO_LUA is not None and LUAJIT is not None:
        environment = {
            **os.environ,
            "LUA_PATH": f"{TURBO_LUA}/?.lua;{TURBO_LUA}/?/init.lua;;",
            "TURBO_LIBTFFI": f"{TURBO_LUA}/libtffi_wrap.so",
            "PORT": str(port),
        }
        await start_program(LUAJIT, str(ROUTES / "app.lua"), env=environment)
        while (await HTTPClient().fetch(f"http://127.0.0.1:{port}/who")).error:
            await asyncio.sleep(0.05)
        return

    class SignInHandler(cookies.TurboCookies):  # type: ignore[name-defined,misc]
        def post(self) -> None:
            self.set_header("Set-Cookie", f"user={COOKIE}; path=/")
            self.write("Signed in")

    class WhoHandler(cookies.TurboCookies):  # type: ignore[name-defined,misc]
        def get(self) -> None:
            self.write(f"Turbo: {self.get_turbo_cookie('user') or 'nobody'}")

    class NothingHandler(RequestHandler):
        def get(self) -> None:
            self.set_status(404)
            self.write("Not Found")

    routes = [("/sign-in", SignInHandler), ("/who", WhoHandler), ("/.*", NothingHandler)]
    serve(Application(routes, turbo_secret=SECRET), port)


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers = []

    def serve(application: Application, port: int) -> None:
        servers.append(HTTPServer(application, xheaders=True))
        servers[-1].add_sockets(bind_sockets(port, "127.0.0.1"))

    yield serve
    for server in servers:
        server.stop()
        await server.close_all_connections()


@pytest.fixture
def tornado(ports: dict[str, int], cookies: ModuleType, serve: Serve) -> None:
    serve(importlib.import_module("app").make_app(), ports["8888"])


@pytest.fixture
def proxy(ports: dict[str, int], turbo: None, tornado: None, tmp_path: Path) -> Iterator[str]:
    """The URL of an nginx with the configuration of the guide."""
    if nginx.find() is None:
        missing("nginx")
    text = (ROUTES / "nginx.conf").read_text(encoding="utf-8")
    text = re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda port: str(ports[port[0]]), text)
    child = subprocess.Popen(nginx.command(tmp_path, text), stderr=subprocess.DEVNULL)
    try:
        nginx.wait_for(child, ports["8080"], tmp_path)
        yield f"http://127.0.0.1:{ports['8080']}"
    finally:
        child.terminate()
        child.wait(20)


async def post(url: str, cookie: str = "") -> HTTPResponse:
    return await HTTPClient().fetch(url, method="POST", params={"user": "ada"}, cookie=cookie)


def cookie_of(res: HTTPResponse) -> str:
    return str(res.headers["Set-Cookie"]).partition(";")[0]


async def test_cookie_of_turbo_is_valid_on_tornado(proxy: str) -> None:
    signed_in = await post(f"{proxy}/sign-in")
    assert signed_in.text == "Signed in"
    for path, text in {"/profile": "Tornado: ada", "/who": "Turbo: ada"}.items():
        res = await HTTPClient().fetch(proxy + path, cookie=cookie_of(signed_in))
        assert (res.code, res.text) == (200, text)


async def test_cookie_of_tornado_is_valid_on_turbo(proxy: str) -> None:
    renamed = await HTTPClient().fetch(
        f"{proxy}/profile", method="POST", params={"user": 'Zoë | 50%; "x"'}
    )
    res = await HTTPClient().fetch(f"{proxy}/who", cookie=cookie_of(renamed))
    assert (res.code, res.text) == (200, 'Turbo: Zoë | 50%; "x"')


async def test_without_a_valid_cookie(proxy: str) -> None:
    for cookie in ("", "user=%ff", "user=ada", f"user={quote('a|b|c|d')}"):
        for path, text in {"/profile": "Tornado: nobody", "/who": "Turbo: nobody"}.items():
            res = await HTTPClient().fetch(proxy + path, cookie=cookie)
            assert (res.code, res.text) == (200, text)


async def test_only_moved_routes_are_served_by_tornado(proxy: str) -> None:
    for path, is_tornado in {"/elsewhere": False, "/files/none": True}.items():
        res = await HTTPClient().fetch(proxy + path)
        assert (res.code, "<title>404" in res.text) == (404, is_tornado)


async def test_without_turbo_both_cookies_are_valid(
    cookies: ModuleType, serve: Serve, ports: dict[str, int]
) -> None:
    serve(importlib.import_module("app_without_turbo").make_app(), ports["8888"])
    url = f"http://127.0.0.1:{ports['8888']}/profile"
    value = cookies._escape(cookies.sign_turbo_cookie(SECRET, "user", "ada"))
    first = await HTTPClient().fetch(url, cookie=f"user={value}")
    own = cookie_of(first)
    assert (first.text, "2|" in own) == ("Tornado: ada", True)
    assert (await HTTPClient().fetch(url, cookie=own)).text == "Tornado: ada"
    for invalid in ("user=ada", f"user={value[1:]}"):
        res = await HTTPClient().fetch(url, cookie=invalid)
        assert (res.text, "Set-Cookie" in res.headers) == ("Tornado: nobody", False)
