"""The notes of the name tables about handlers and templates: the same handlers on both sides.

With the environment variable TURBO_LUA, a checkout of Turbo.lua where ``make all`` was run, the
handlers of Turbo run as well.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import urllib.parse
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tornado.escape import json_decode
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.template import DictLoader, Template
from tornado.web import Application, HTTPError, RedirectHandler, RequestHandler

from tests.support import StartProgram
from tests.support.ports import reserved_port
from turbo_tornado import FetchKeywords, HTTPClient, HTTPResponse

PAGES = Path(__file__).parent.parent / "docs" / "migration"
LUAJIT = shutil.which("luajit")
TURBO_LUA = os.environ.get("TURBO_LUA")

needs_turbo = pytest.mark.skipif(
    LUAJIT is None or TURBO_LUA is None, reason="TURBO_LUA names no built checkout of Turbo.lua"
)


class ValuesHandler(RequestHandler):
    def get(self, group: str) -> None:
        values = {"group": group, "argument": self.get_argument("q", "")}
        self.write({**values, "cookie": self.get_cookie("c", "")})

    post = get


class SetCookieHandler(RequestHandler):
    def get(self) -> None:
        with pytest.raises(ValueError, match="Invalid cookie"):
            self.set_cookie("c", "a b")
        self.set_cookie("c", urllib.parse.quote("a b", safe=""))


def base_handler() -> type[RequestHandler]:
    """Return the class that the guide shows for error pages."""
    page = (PAGES / "pitfalls.md").read_text("utf-8")
    found = re.search(r"^class BaseHandler.*?\n\n\n", page, re.MULTILINE | re.DOTALL)
    assert found is not None
    namespace: dict[str, Any] = {"RequestHandler": RequestHandler}
    exec(found[0], namespace)
    handler: type[RequestHandler] = namespace["BaseHandler"]
    return handler


class ErrorHandler(base_handler()):  # type: ignore[misc]
    def get(self) -> None:
        raise HTTPError(400, "50% of <b>")


class MissingHandler(base_handler()):  # type: ignore[misc]
    def get(self) -> None:
        raise HTTPError(404)


ROUTES = [
    ("/values/(.*)", ValuesHandler),
    ("/set", SetCookieHandler),
    ("/error", ErrorHandler),
    ("/missing", MissingHandler),
    ("/old", RedirectHandler, {"url": "/new"}),
]

LUA = """
local turbo = require "turbo"
local handlers = {}
for _, name in ipairs {"Values", "SetCookie", "Error", "Missing"} do
    handlers[name] = class(name, turbo.web.RequestHandler)
end
function handlers.Values:get(group)
    local argument, cookie = self:get_argument("q", ""), self:get_cookie("c", "")
    self:write({group = group, argument = argument, cookie = cookie})
end
handlers.Values.post = handlers.Values.get
function handlers.SetCookie:get() self:set_cookie("c", "a b") end
function handlers.Error:get() error(turbo.web.HTTPError(400, "50% of <b>")) end
function handlers.Missing:get() self:send_error(404) end
turbo.web.Application({
    {"^/values/(.*)$", handlers.Values},
    {"^/set$", handlers.SetCookie},
    {"^/error$", handlers.Error},
    {"^/missing$", handlers.Missing},
    {"^/old$", turbo.web.RedirectHandler, "/new"},
}):listen(tonumber(os.getenv("PORT")), "127.0.0.1")
turbo.ioloop.instance():start()
"""


class Case(NamedTuple):
    """A request, and a part of the response of each side."""

    path: str
    python: str
    #: Default: the same.
    turbo: str | None = None
    #: A JSON key, a response header, or the body and the status.
    part: str = ""
    options: FetchKeywords | None = None


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
POST: FetchKeywords = {"method": "POST", "headers": FORM, "body": "q=body"}

CASES = [
    Case("/values/a%20b", "a b", "a%20b", "group"),
    Case("/values/x?q=%20a%20", "a", " a ", "argument"),
    Case("/values/x?q=1&q=2", "2", "1", "argument"),
    Case("/values/x?q=query", "body", "query", "argument", POST),
    Case("/values/x", "a%20b", "a b", "cookie", {"cookie": "c=a%20b"}),
    Case("/set", "c=a%20b", None, "Set-Cookie"),
    Case("/error", "400 50% of <b>"),
    Case("/missing", "404 Not Found"),
    Case("/old?a=1", "/new?a=1", "/new", "Location"),
]


def part_of(res: HTTPResponse, part: str) -> str:
    assert not res.error
    if not part:
        return f"{res.code} {res.text}"
    if part[0].isupper():
        return res.headers[part].partition(";")[0]
    return str(json_decode(res.body)[part])


async def ask(port: int, case: Case) -> HTTPResponse:
    options: FetchKeywords = {"allow_redirects": False, **(case.options or {})}
    return await HTTPClient().fetch(f"http://127.0.0.1:{port}{case.path}", options)


@pytest.fixture
async def tornado_port() -> AsyncIterator[int]:
    (bound,) = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(Application(ROUTES))  # type: ignore[arg-type]
    server.add_socket(bound)
    yield bound.getsockname()[1]
    server.stop()
    await server.close_all_connections()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.path)
async def test_tornado(case: Case, tornado_port: int) -> None:
    assert part_of(await ask(tornado_port, case), case.part) == case.python


@needs_turbo
@pytest.mark.timeout(120)
async def test_turbo(start_program: StartProgram, tmp_path: Path) -> None:
    (tmp_path / "app.lua").write_text(LUA)
    with reserved_port() as port:
        process = await start_program(
            *(str(LUAJIT), str(tmp_path / "app.lua")),
            env={
                **os.environ,
                "LUA_PATH": f"{TURBO_LUA}/?.lua;{TURBO_LUA}/?/init.lua;;",
                "TURBO_LIBTFFI": f"{TURBO_LUA}/libtffi_wrap.so",
                "LD_LIBRARY_PATH": str(TURBO_LUA),
                "PORT": str(port),
            },
        )
        while (await ask(port, CASES[0])).error:
            assert process.returncode is None
            await asyncio.sleep(0.05)
    for case in CASES:
        expected = case.python if case.turbo is None else case.turbo
        assert part_of(await ask(port, case), case.part) == expected, case


#: Template of Tornado in the table -> what it renders.
TEMPLATES = {
    "{{ name }}": b"&lt;b&gt;",
    "{% raw name %}": b"<b>",
    '{% for item in items %}{{ item["price"] }}{% end %}': b"12",
    "{% if user %}...{% end %}": b"...",
    "{% if not items %}...{% end %}": b"",
    "{% include header.html %}": b"header",
    "{# text #}": b"",
}


def test_the_templates_of_the_table() -> None:
    page = (PAGES / "names-server.md").read_text("utf-8")
    table = page.partition("### Mustache and Tornado")[2].partition("\n## ")[0]
    assert re.findall(r"\| `([^`]+)` \|$", table, re.MULTILINE) == list(TEMPLATES)
    loader = DictLoader({"header.html": "header"})
    for template, expected in TEMPLATES.items():
        values = {"name": "<b>", "items": [{"price": 1}, {"price": 2}], "user": "ada"}
        assert Template(template, loader=loader).generate(**values) == expected
