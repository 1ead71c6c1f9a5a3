"""The findings of ``python -m turbo_tornado.migrate check``."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.missing import import_peer
from turbo_tornado.migrate import __main__ as command
from turbo_tornado.migrate.findings import Finding, check, check_file
from turbo_tornado.migrate.lua import LuaSyntaxError
from turbo_tornado.migrate.names.index import ENTRIES, find
from turbo_tornado.migrate.patterns import LUA_PATTERN, PAGE

import_peer("luaparser")

ROOT = Path(__file__).parent.parent
PROGRAMS = sorted((ROOT / "examples" / "migration").glob("*.lua"))
TURBO_LUA = os.environ.get("TURBO_LUA")

needs_turbo = pytest.mark.skipif(
    TURBO_LUA is None, reason="TURBO_LUA names no checkout of Turbo.lua"
)

HEAD = 'local turbo = require "turbo"\n'
FETCH = "coroutine.yield(turbo.async.HTTPClient():fetch(url, {allow_redirects = true}))\n"


def names(source: str) -> list[str]:
    """Return the names of Turbo in a program, in the order of its lines."""
    return [finding.name for finding in check(HEAD + source)]


def patterns(source: str) -> list[tuple[int, str]]:
    """Return the lines and names of the patterns in a program."""
    found = check(HEAD + source)
    return [(item.line, item.name) for item in found if item.anchor.startswith(PAGE)]


# Names


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("turbo.escape.json_encode(t)", ["turbo.escape.json_encode"]),
        ("local escape = turbo.escape\nescape.trim(s)", ["turbo.escape.trim"]),
        ('local log = require("turbo.log")\nlog.notice("a")', ["turbo.log.notice"]),
        ('turbo["log"]["notice"]("a")', ["turbo.log.notice"]),
        ("_G.TURBO_SSL = true", ["TURBO_SSL"]),
        ("TURBO_SSL = true", ["TURBO_SSL"]),
        ("local y = coroutine.yield", ["coroutine.yield"]),
        ("turbo.signal.SIGINT()", ["turbo.signal.SIGINT"]),
        ("print(turbo.async.errors.BUSY)", ["turbo.async.errors"]),
        ("turbo.web.nothing()", ["turbo.web.nothing"]),
        ("local function turbo() end\nturbo.log.error()", []),
        ("x = 'turbo.log.error'  -- turbo.log.error()", []),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_names(source: str, expected: list[str]) -> None:
    assert names(source) == expected


@pytest.mark.parametrize(
    ("source", "method"),
    [
        ("turbo.ioloop.instance():add_callback(f)", "turbo.ioloop.IOLoop:add_callback"),
        ("turbo.ioloop.instance():add_callback(f):start()", "turbo.ioloop.IOLoop:start"),
        ("local io = turbo.ioloop.instance()\nio:close()", "turbo.ioloop.IOLoop:close"),
        ("turbo.web.Application:new({}):listen(1)", "turbo.web.Application:listen"),
        (f"local r = {FETCH}print(r.body)", "turbo.async.HTTPResponse.body"),
        (f"local r\nr = {FETCH}print(r.headers:get('A'))", "turbo.httputil.HTTPParser:get"),
        (
            "local function f() return turbo.structs.deque() end\nf():popleft()",
            "turbo.structs.deque:popleft",
        ),
        (
            'local A = class("A", turbo.web.RequestHandler)\nfunction A:get() self:write(1) end',
            "turbo.web.RequestHandler:write",
        ),
        (
            'local A = class("A", turbo.web.RequestHandler)\nlocal B = class("B", A)\n'
            "function B:get() self.request.headers:get('A') end",
            "turbo.httputil.HTTPParser:get",
        ),
        (
            'local A = class("A", turbo.tcpserver.TCPServer)\n'
            "function A:handle_stream(stream) stream:write(1) end",
            "turbo.iostream.IOStream:write",
        ),
        (
            'local A = class("A")\nfunction A:initialize() self.q = turbo.structs.deque() end\n'
            "function A:b() self.q:size() end",
            "turbo.structs.deque:size",
        ),
        (
            "local A = class('A', turbo.web.RequestHandler)\n"
            "A.get = {main = function(self) self:finish() end}",
            "turbo.web.RequestHandler:finish",
        ),
        (
            "local A = class('A', require('base').Handler)\nfunction A:get() self:write(1) end",
            "turbo.web.RequestHandler:write",
        ),
        (
            "turbo.async.HTTPClient():fetch(u, {on_headers = function(h) h:add(a, b) end})",
            "turbo.httputil.HTTPHeaders:add",
        ),
        (
            "function f(x) x:get_secure_cookie('a') end",
            "turbo.web.RequestHandler:get_secure_cookie",
        ),
        (
            "turbo.websocket.WebSocketClient(u, {on_message = function(self, m) self:ping() end})",
            "turbo.websocket.WebSocketStream:ping",
        ),
    ],
)
def test_methods_of_values_that_are_known(source: str, method: str) -> None:
    assert method in names(source)


@pytest.mark.parametrize(
    "source",
    [
        "file:write('a')",
        "local log = {}\nlog.error('a')",
        "local turbo = {}\nturbo.log.error('a')",
        "local A = class('A')\nfunction A:get() self:write(1) end",
        "data.error.message = 1",
        "for turbo in pairs(t) do turbo.log.error() end",
        "for turbo = 1, 2 do print(turbo.log.error) end",
    ],
)
def test_names_that_are_not_of_turbo(source: str) -> None:
    assert names(source) == []


def test_repeated_name_on_a_line_is_one_finding() -> None:
    assert names("f(turbo.log.error, turbo.log.error)") == ["turbo.log.error"]


def test_finding_has_line_replacement_and_section() -> None:
    (finding,) = check(HEAD + "\n\nturbo.util.gettimeofday()")
    assert finding.written("app.lua") == (
        "app.lua:4: turbo.util.gettimeofday -> time.time(); Seconds, not milliseconds "
        "(migration/names-tools.md#utilities)"
    )


def test_numbers_of_luajit() -> None:
    assert names("local a = 0xffULL + 1LL + 2.5i\nturbo.log.error()") == ["turbo.log.error"]


@pytest.mark.parametrize("text", [b"\xff", "ü".encode(), b""])
def test_source_that_is_not_utf_8(text: bytes, tmp_path: Path) -> None:
    file = tmp_path / "app.lua"
    file.write_bytes(b"x = '" + text + b"'\nturbo.log.error()")
    assert [finding.name for finding in check_file(file)] == ["turbo.log.error"]


@pytest.mark.parametrize(
    ("source", "line"),
    [("x = = 1", 1), ("\n\nfunction f(", 3), ("a = " + "(" * 400 + "1" + ")" * 400, 1)],
    ids=["operator", "end", "depth"],
)
def test_syntax_error(source: str, line: int) -> None:
    with pytest.raises(LuaSyntaxError) as caught:
        check(source)
    assert caught.value.line == line


def test_every_entry_has_a_replacement() -> None:
    assert all(entry.replacement for entry in ENTRIES.values())
    assert find("turbo.nothing") is None


# Patterns


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (f"local res = {FETCH}if res.error then error(res.error) end", "error(res.error)"),
        ("client = turbo.async.HTTPClient()\nclient:fetch(u)", "fetch without allow_redirects"),
        (
            "turbo.async.HTTPClient():fetch(u, {method = 'POST', allow_redirects = false})",
            "POST without body and params",
        ),
        (
            "local kw = {allow_redirects = true}\nkw.method = 'put'\n"
            "turbo.async.HTTPClient():fetch(u, kw)",
            "PUT without body and params",
        ),
        (
            "app = {{pattern, turbo.web.StaticFileHandler, 'www/index.html'}}",
            "StaticFileHandler with www/index.html",
        ),
        (
            "app:add_handler(pattern, turbo.web.StaticFileHandler, 'index.html')",
            "StaticFileHandler with index.html",
        ),
        ("local sqlite = require 'lsqlite3'", 'require "lsqlite3"'),
        ("local f = io.popen('ls')", "io.popen"),
        ("os.execute('make')", "os.execute"),
        ("os.execute('sleep 1')", 'os.execute "sleep 1"'),
        ("socket.sleep(1)", "socket.sleep"),
        ("ffi.C.usleep(1)", "ffi.C.usleep"),
        ("turbo.async.task(io.add_timeout, io, 1)", "task with add_timeout"),
        ("error(turbo.web.HTTPError(400, 'text'))", "HTTPError with a message"),
        ("error(turbo.web.HTTPError:new(400, 'text'))", "HTTPError with a message"),
        ("self:send_error(400, 'text')", "send_error with a message"),
        (
            "turbo.async.HTTPClient():fetch(u, {allow_redirects = true, timeout = 5})",
            "fetch with timeout",
        ),
    ],
    ids=lambda value: value if "\n" not in value else "",
)
def test_patterns(source: str, expected: str) -> None:
    line = 1 + len(source.splitlines())
    assert patterns(source) == [(line, expected)]


@pytest.mark.parametrize(
    "source",
    [
        "error('text')",
        "error(turbo.web.HTTPError(500))",
        "turbo.async.HTTPClient():fetch(u, {allow_redirects = true, method = 'POST', body = ''})",
        "turbo.async.HTTPClient():fetch(u, {allow_redirects = true, method = 'POST', params = {}})",
        # The keywords are computed, or are those of another function.
        "local kw = {}\nfor k, v in pairs(t) do kw[k] = v end\n"
        "turbo.async.HTTPClient():fetch(u, kw)",
        "function f(kw) turbo.async.HTTPClient():fetch(u, kw) end",
        "git:fetch('origin')",
        "app = {{pattern, turbo.web.StaticFileHandler, 'www/'}}",
        "app = {{pattern, turbo.web.StaticFileHandler, directory}}",
        "error(turbo.web.HTTPError(404))",
        "self:send_error(404)",
        "turbo.async.task(f, io)",
        "text:find('%', 1, true)",
        "text:match(pattern)",
        "text:gsub('ab', 'c')",
        "files = {{'*.lua', 'a'}, {'/tmp', load}}",
        "local json = require 'cjson'",
    ],
)
def test_code_without_a_pattern(source: str) -> None:
    assert patterns(source) == []


HANDLER = "local A = class('A', turbo.web.RequestHandler)\n"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("text:match('^%d+$')", r're.search(r"^[0-9]+\Z", text)'),
        ("string.match(text, '%d')", 're.search(r"[0-9]", text)'),
        ("string.gsub(text, '%s+', ' ')", r're.subn(r"\s+", replacement, text)'),
        ("for k in text:gmatch('[^,]+') do end", 're.finditer(r"[^,]+", text)'),
        ("f():find('a.b')", 're.search(r"a.b", text)'),
        ("text:match('%b()')", LUA_PATTERN.replacement),
        ("text:match('[\\128-\\191]')", LUA_PATTERN.replacement),
        (HANDLER + "x = {{'^/item/(%d+)$', A}}", 'r"/item/([0-9]+)"'),
        (HANDLER + "x = {{'/item/', A}}", 'r".*?/item/.*"'),
        (HANDLER + "app:add_handler('^/$', A)", 'r"/"'),
        ("x = {{'^/$', turbo.web.RedirectHandler, '/a'}}", 'r"/"'),
        ("x = {{'^/$', require('home').Home}}", 'r"/"'),
    ],
    ids=lambda value: value if "\n" not in value else "",
)
def test_lua_patterns_are_translated(source: str, expected: str) -> None:
    found = [item for item in check(HEAD + source) if item.anchor == LUA_PATTERN.anchor]
    assert [item.replacement for item in found] == [expected]


# Programs

#: Program -> the names of its patterns, without those of routes.
EXPECTED = {
    "callback_api": {"fetch without allow_redirects"},
    "captcha": {"fetch without allow_redirects"},
    "chat_bot": {"fetch without allow_redirects"},
    "cookies": {"fetch without allow_redirects", 'match "^([^=]+)=([^;]*)"'},
    "parallel": {"fetch without allow_redirects"},
    "polling": {"fetch without allow_redirects", "task with add_timeout"},
    "reader": {r'gsub "[^\128-\191]"'},
}


def without_routes(findings: list[Finding]) -> set[tuple[int, str]]:
    """Return the lines and names of the patterns, without those of routes."""
    return {
        (item.line, item.name)
        for item in findings
        if item.anchor.startswith(PAGE) and not item.name.startswith('route "')
    }


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_programs_of_the_guide(program: Path) -> None:
    found = check(program.read_text(encoding="utf-8"))
    names = {finding.name for finding in found}
    assert {"turbo.ioloop.instance", "turbo.async.HTTPClient:fetch"} <= names
    assert "turbo.ioloop.IOLoop:start" in names
    assert {name for _, name in without_routes(found)} == EXPECTED.get(program.stem, set())
    # Each name that is written out in the program is found.
    written = re.findall(r"(?<!\.)\bturbo(?:\.\w+){2}", program.read_text(encoding="utf-8"))
    assert set(written) <= names


@needs_turbo
def test_examples_of_turbo() -> None:
    examples = sorted((Path(str(TURBO_LUA)) / "examples").rglob("*.lua"))
    assert len(examples) > 20
    found_patterns = set()
    for example in examples:
        found = check(example.read_text(encoding="utf-8"))
        assert found, example
        assert all(find(item.name) or item.anchor.startswith(PAGE) for item in found), example
        found_patterns |= {(example.stem, name) for _, name in without_routes(found)}
    assert found_patterns == {
        ("chatapp", "StaticFileHandler with assets/index.html"),
        ("githubfeed", "HTTPError with a message"),
        ("githubfeed", "fetch without allow_redirects"),
        ("static", "StaticFileHandler with /var/www/index.html"),
    }


# The command line


def test_program_without_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "app.lua").write_text("print(1)")
    assert command.main(["check", str(tmp_path / "app.lua")]) == 0
    assert capsys.readouterr() == ("", "")


def test_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "below").mkdir()
    file = tmp_path / "below" / "app.lua"
    file.write_text("turbo.log.error('a')")
    assert command.main(["check", str(tmp_path)]) == 1
    expected = (
        f"{file}:1: turbo.log.error -> app_log.error(text) (migration/names-tools.md#logging)\n"
    )
    assert capsys.readouterr() == (expected, "")


def test_invalid_file_does_not_hide_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.lua").write_text("\nx = = 1")
    (tmp_path / "b.lua").write_text("turbo.log.error('a')")
    paths = [str(tmp_path / name) for name in ("a.lua", "missing.lua", "b.lua")]
    assert command.main(["check", *paths]) == 2
    out, err = capsys.readouterr()
    assert out.startswith(f"{paths[2]}:1: turbo.log.error -> ")
    assert f"{paths[0]}:2: syntax error: " in err
    assert f"{paths[1]}: No such file or directory" in err


@pytest.mark.parametrize("arguments", [[], ["check"], ["port", "a.lua"]])
def test_invalid_command_line(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2


def test_without_luaparser(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as caught:
        command.main(["check", "a.lua"])
    assert caught.value.code == 2
    assert "turbo_tornado[migrate]" in capsys.readouterr().err


def test_output_in_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    page = (ROOT / "docs" / "migration" / "steps.md").read_text("utf-8")
    blocks = re.findall(r"^```(?:lua|text)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    program, output = blocks
    (tmp_path / "feed.lua").write_text(program)
    monkeypatch.chdir(tmp_path)
    assert command.main(["check", "feed.lua"]) == 1
    assert capsys.readouterr().out == output


def test_module_runs_as_a_program() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "turbo_tornado.migrate", "check", *map(str, PROGRAMS)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )
    assert (ended.returncode, ended.stderr) == (1, "")
    assert {line.partition(":")[0] for line in ended.stdout.splitlines()} == set(map(str, PROGRAMS))
