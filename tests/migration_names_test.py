"""The name tables of the migration guide: they are complete, and the names exist.

With the environment variable TURBO_LUA, a checkout of Turbo.lua where ``make all`` was run, the
tables are compared with its source and its documentation.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import collections
import inspect
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tornado.httputil import HTTPServerRequest, RequestStartLine

import turbo_tornado
from tests.support import name_tables
from turbo_tornado.migrate.names import SECTIONS, Section
from turbo_tornado.migrate.names.index import ENTRIES, MODULES, find, full_name
from turbo_tornado.migrate.patterns import KEYWORDS, PATTERNS
from turbo_tornado.migrate.scopes import UNKNOWN
from turbo_tornado.migrate.types import BASES, PARAMETERS, RESULTS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
LUAJIT = shutil.which("luajit")
TURBO_LUA = os.environ.get("TURBO_LUA")

needs_turbo = pytest.mark.skipif(
    LUAJIT is None or TURBO_LUA is None, reason="TURBO_LUA names no built checkout of Turbo.lua"
)


# The guide


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.title)
def test_the_guide_has_the_table(section: Section) -> None:
    command = "python -m tests.support.name_tables"
    page = DOCS / section.page
    assert name_tables.part(section).read(page) == name_tables.table(section), f"run {command}"


def anchors_of(page: str) -> set[str]:
    """Return the anchors of the headings of a page."""
    text = re.sub(r"^```.*?^```", "", (DOCS / page).read_text("utf-8"), flags=re.M | re.S)
    return {
        re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    } | set(re.findall(r'<a id="([^"]+)">', text))


@pytest.mark.parametrize(
    "anchor",
    sorted({*(item.anchor for item in (*SECTIONS, *PATTERNS)), UNKNOWN[1]}),
)
def test_the_section_that_the_checker_names_exists(anchor: str) -> None:
    page, _, heading = anchor.partition("#")
    assert heading in anchors_of(page)


def test_titles_have_the_same_anchor_in_every_renderer() -> None:
    for item in (*SECTIONS, *PATTERNS):
        assert re.fullmatch(r"[A-Za-z]+( [A-Za-z]+)*", item.title)


def test_the_keywords_are_named() -> None:
    page = (DOCS / "migration" / "names-client.md").read_text("utf-8")
    sentence = re.search(r"The fifteen keywords of `fetch` (.+?)\. ", page, re.DOTALL)
    assert sentence is not None
    own = {"headers", "json", "files", "streaming_callback", "proxy"}
    assert set(turbo_tornado.FetchKeywords.__annotations__) - own == KEYWORDS
    named = set(re.findall(r"`([^`]+)`", sentence[1]))
    assert named == KEYWORDS


# The Python side


def stands_for() -> dict[str, Any]:
    """Return the namespace of the Python column: the imports of the page, and values."""
    namespace: dict[str, Any] = {}
    page = (DOCS / "migration" / "names-client.md").read_text("utf-8")
    imports = re.search(r"```python\n(import .+?)```", page, re.DOTALL)
    assert imports is not None
    exec(imports[1], namespace)

    class Handler(namespace["WebSocketHandler"]):  # type: ignore[misc]
        request = HTTPServerRequest(
            start_line=RequestStartLine("GET", "/", "HTTP/1.1"),
            headers=turbo_tornado.HTTPHeaders({"Host": "localhost"}),
        )
        # Attributes of an instance.
        application = ws_connection = None

    namespace.update(
        {
            "self": Handler,
            "io_loop": namespace["IOLoop"],
            "client": turbo_tornado.HTTPClient(),
            "headers": turbo_tornado.HTTPHeaders(),
            "future": asyncio.Future,
            "res": turbo_tornado.HTTPResponse(
                0.0, turbo_tornado.FetchError(turbo_tornado.errors.BUSY, "message")
            ),
            "stream": namespace["IOStream"],
            "server": namespace["TCPServer"],
            "sock": namespace["socket"].socket,
            "items": collections.deque(),
            "buffer": bytearray(),
            "value": {},
            "data": b"",
            "key_bytes": b"",
            "func": lambda arg: None,
            "main": lambda: None,
        }
    )
    free = (
        "arg chunk code content_type context default error fd host kwargs key max_buffer_size "
        "message method msec name number other path pattern port address ref secret sep sockets "
        "ssl_options text uri url values version"
    )
    return dict.fromkeys(free.split(), "") | namespace


#: The return types of calls whose attributes are used.
RETURNS = {asyncio.get_running_loop: asyncio.AbstractEventLoop}


def resolve(node: ast.AST, namespace: dict[str, Any]) -> Any:
    """Return the object that an expression names, and check the arguments of a call."""
    if isinstance(node, ast.Name):
        return namespace[node.id] if node.id in namespace else getattr(builtins, node.id)
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Attribute):
        return getattr(resolve(node.value, namespace), node.attr)
    if isinstance(node, ast.Call):
        function = resolve(node.func, namespace)
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            resolve(argument, namespace)
        check_arguments(function, node)
        if getattr(function, "__module__", "") in ("_hashlib", "hmac"):
            return namespace["hashlib"].sha1()
        return RETURNS.get(function, function)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            resolve(child, namespace)
    return None


def check_arguments(function: Any, call: ast.Call) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:
        return
    if any(isinstance(argument, ast.Starred) for argument in call.args):
        return
    # `self` of a method that was taken from its class.
    of_class = "self" in signature.parameters
    positional = [None] * (len(call.args) + of_class)
    signature.bind(*positional, **{str(keyword.arg): None for keyword in call.keywords})


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.title)
def test_every_python_name_exists(section: Section) -> None:
    namespace = stands_for()
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    wrong = []
    for row in section.rows:
        for expression in row.replacements:
            try:
                resolve(compile(expression, expression, "eval", flags).body, namespace)
            except (AttributeError, KeyError, SyntaxError, TypeError) as error:
                wrong.append(f"{expression}: {error}")
    assert not wrong


# The Turbo side


def turbo_environment() -> dict[str, str]:
    return {
        **os.environ,
        "LUA_PATH": f"{TURBO_LUA}/?.lua;{TURBO_LUA}/?/init.lua;;",
        "TURBO_LIBTFFI": f"{TURBO_LUA}/libtffi_wrap.so",
        "LD_LIBRARY_PATH": str(TURBO_LUA),
    }


#: Where Turbo's documentation has another name than its source.
ONLY_DOCUMENTED = {"turbo.structs.Buffer", "turbo.hash.SHA1:final"}
#: Attributes that an instance gets from the constructor, or keys of a table of the program.
OF_INSTANCES = re.compile(
    r"turbo\.(async\.HTTPResponse|httpserver\.HTTPRequest|httpserver\.HTTPConnection"
    r"|websocket\.WebSocketClient)\.|turbo\.web\.RequestHandler\.(request|options|application)$"
)


@needs_turbo
def test_every_turbo_name_exists() -> None:
    names = [
        name.replace(":", ".")
        for name in ENTRIES
        if name.startswith("turbo.") and not name.endswith("*")
        if name not in ONLY_DOCUMENTED and not OF_INSTANCES.match(name)
    ]
    assert len(names) > 250
    script = "_G.TURBO_SSL = true\nlocal turbo = require('turbo')\n" + "".join(
        f"if {name} == nil then print('{name}') end\n" for name in names
    )
    assert LUAJIT is not None
    ended = subprocess.run(
        [LUAJIT, "-"],
        input=script.encode(),
        env=turbo_environment(),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (ended.stdout, ended.stderr) == (b"", b"")


#: Lists the functions and methods of the modules of Turbo.
LIST_FUNCTIONS = """
_G.TURBO_SSL = true
local turbo = require('turbo')
for module, members in pairs(turbo) do
    for name, value in pairs(type(members) == 'table' and members or {}) do
        local path = 'turbo.' .. module .. '.' .. name
        if type(value) == 'function' then
            print(path)
        elseif type(value) == 'table' and rawget(value, '__instanceDict') then
            print(path)
            for method, member in pairs(value.__declaredMethods or value.__instanceDict) do
                if type(member) == 'function' then print(path .. ':' .. method) end
            end
        end
    end
end
"""


@needs_turbo
def test_no_function_of_turbo_is_missing() -> None:
    assert LUAJIT is not None
    ended = subprocess.run(
        [LUAJIT, "-"],
        input=LIST_FUNCTIONS,
        env=turbo_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    functions = {
        name
        for name in ended.stdout.splitlines()
        if not re.search(r"[.:](_|initialize$|new$)|^turbo\.\w+\.(class|name|static|super)", name)
    }
    assert len(functions) > 250
    assert {name for name in functions if not is_known(name)} == set()


def is_known(name: str) -> bool:
    """Whether a name, or the name in a base class, has a row."""
    owner, separator, member = name.partition(":")
    owners = (owner, *BASES.get(owner, ()))
    return any(find(f"{base}{separator}{member}") is not None for base in owners)


@needs_turbo
def test_no_function_of_the_documentation_of_turbo_is_missing() -> None:
    missing = []
    count = 0
    for page in sorted((Path(str(TURBO_LUA)) / "doc").glob("*.rst")):
        for name in re.findall(
            r"^\s*\.\. (?:function|attribute) ?::\s*(?:turbo\.)?([\w.:]+)",
            page.read_text("utf-8"),
            re.MULTILINE,
        ):
            count += 1
            module = f"turbo.{page.stem}"
            candidates = [
                f"{module}.{name}",
                f"turbo.{name}",
                # The callbacks of a WebSocket client.
                f"{module}.WebSocketClient.{name}",
                # The page of threads has a method under another class.
                f"{module}.Thread:{name.rpartition(':')[2]}",
                # The documentation of structs omits the module.
                f"turbo.structs.{name[:1].lower()}{name[1:]}",
            ]
            if not any(map(is_known, candidates)):
                missing.append(f"{page.name}: {name}")
    assert count > 200
    assert not missing


# The types of the checker


def test_the_classes_that_the_checker_knows_are_in_the_tables() -> None:
    classes = {*BASES, *RESULTS.values(), *(name for bases in BASES.values() for name in bases)}
    for name in classes | {name for names in PARAMETERS.values() for name in names}:
        assert name in ENTRIES or any(entry.startswith(f"{name}:") for entry in ENTRIES), name
    for name in RESULTS:
        assert name in ENTRIES, name


def test_full_names() -> None:
    client, headers = SECTIONS[:2]
    assert full_name(client, "HTTPClient:fetch(url, kwargs)") == "turbo.async.HTTPClient:fetch"
    assert full_name(headers, "turbo.httputil.UF") == "turbo.httputil.UF"
    assert {"turbo", "turbo.web", "turbo.web.Mustache", "turbo.structs"} <= MODULES
    assert "turbo.web.RequestHandler" not in MODULES
