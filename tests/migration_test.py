"""The pairs of the migration guide do what it describes, and its tables are true.

With the environment variable TURBO_LUA, a checkout of Turbo.lua where ``make all`` was
run, the Lua halves run as well, against the same server.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import importlib.util
import inspect
import os
import re
import shutil
import socket
import subprocess
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest, RequestStartLine
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets
from tornado.web import Application

import turbo_tornado
from tests.contract.turbo_observed_test import DIFFERENCES
from tests.support import StartProgram
from turbo_tornado import HTTPClient, HTTPResponse

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples" / "migration"
PAIRS = sorted(path.stem for path in EXAMPLES.glob("*.lua"))

LUAJIT = shutil.which("luajit")
TURBO_LUA = os.environ.get("TURBO_LUA")

needs_luajit = pytest.mark.skipif(LUAJIT is None, reason="luajit is not installed")
needs_turbo = pytest.mark.skipif(
    LUAJIT is None or TURBO_LUA is None, reason="TURBO_LUA names no built checkout of Turbo.lua"
)


class Answer(NamedTuple):
    status: int
    body: str


class Case(NamedTuple):
    """A request to a pair that is a server, and what each half answers."""

    pair: str
    path: str
    python: Answer
    #: When Turbo.lua differs; the guide has the reason.
    lua: Answer | None = None
    params: dict[str, str] | None = None
    #: Whether there is anything to fetch from.
    upstream: bool = True


CASES = [
    Case("captcha", "/comment", Answer(200, "Thank you"), params={"captcha": "human"}),
    Case("captcha", "/comment", Answer(403, "Robots stay outside"), params={"captcha": "robot"}),
    Case(
        "captcha",
        "/comment",
        Answer(503, "The captcha cannot be checked now"),
        params={"captcha": "human"},
        upstream=False,
    ),
    Case("image_scaler", "/size/logo.png", Answer(200, '{"width": 640, "height": 480}')),
    Case("image_scaler", "/size/moved/2/logo.png", Answer(200, '{"width": 640, "height": 480}')),
    Case(
        "image_scaler",
        "/size/moved/3/logo.png",
        Answer(502, "No image: error -13"),
        lua=Answer(502, "No image: status 302"),
    ),
    Case("image_scaler", "/size/notes.txt", Answer(415, "Only PNG is understood")),
    Case("image_scaler", "/size/none.png", Answer(502, "No image: status 404")),
    Case(
        "image_scaler",
        "/size/huge.png",
        Answer(502, "No image: error -10"),
        lua=Answer(502, "No image: error -6"),
    ),
    Case("image_scaler", "/size/logo.png", Answer(502, "No image: error -3"), upstream=False),
    Case("parallel", "/cheapest/corner,market,mill", Answer(200, '{"shop": "market", "price": 3}')),
    Case("parallel", "/cheapest/nowhere,mill", Answer(200, '{"shop": "mill", "price": 5}')),
    Case("parallel", "/cheapest/nowhere", Answer(502, "No shop has answered")),
    Case("parallel", "/cheapest/mill", Answer(502, "No shop has answered"), upstream=False),
    Case("callback_api", "/hello/ada", Answer(200, "Hello, Ada Lovelace")),
    Case("callback_api", "/hello/alan", Answer(200, "Nobody is called alan")),
    Case("callback_api", "/hello/ada", Answer(200, "The directory is closed"), upstream=False),
    Case("download", "/files/report.csv", Answer(200, "year,sold\n2025,12\n")),
    Case("download", "/files/none.csv", Answer(404, "No file")),
    Case("download", "/files/slow.csv", Answer(504, "No file: error -6")),
    Case(
        "download",
        "/files/broken.csv",
        Answer(502, "No file: error -10"),
        lua=Answer(504, "No file: error -6"),
    ),
    Case("download", "/files/report.csv", Answer(502, "No file: error -3"), upstream=False),
]


class Program(NamedTuple):
    """A pair that is a program, and what both halves print."""

    pair: str
    output: str
    #: Their output when there is nothing to fetch from.
    alone: str
    exit_code: int = 0


PROGRAMS = [
    Program(
        "chat_bot",
        "sent: message 17\nsent: 401: who are you?\n",
        "sent: error -3\nsent: error -3\n",
    ),
    Program(
        "cookies",
        "Signed in, language en\nnot signed in\n",
        "error -3\nerror -3\n",
    ),
    Program(
        "keep_alive",
        "".join(f"{number}: tick\n" for number in range(1, 11)),
        "stopped at 1\n",
    ),
    Program(
        "polling",
        "report: done, asked 3 times\nendless: given up\n",
        "report: refused\nendless: refused\n",
    ),
    Program(
        "reader",
        "Emma: 42 bytes, 42 characters\nDie Räuber: 4 bytes, 3 characters\nfound: 1\n",
        "no catalogue\n",
        exit_code=1,
    ),
]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"migration_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Server(HTTPServer):
    """Counts its connections, and keeps the paths that it was asked for."""

    connections: int
    paths: list[str]

    def initialize(self, application: Application, **kwargs: Any) -> None:
        super().initialize(application, **kwargs)
        self.connections = 0
        self.paths = []
        application.settings["log_function"] = lambda handler: self.paths.append(
            handler.request.path
        )
        sockets = bind_sockets(0, "127.0.0.1")
        self.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
        self.add_sockets(sockets)

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        self.connections += 1
        super().handle_stream(stream, address)


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Application], Server]]:
    servers = []

    def serve(application: Application) -> Server:
        servers.append(Server(application))
        return servers[-1]

    yield serve
    for server in servers:
        server.stop()
        await server.close_all_connections()


@pytest.fixture
def upstream(serve: Callable[[Application], Server]) -> Server:
    return serve(load("upstream").make_app())


@pytest.fixture
def nothing(closed_port: int) -> str:
    """A URL whose port has no listener."""
    return f"http://127.0.0.1:{closed_port}"


@pytest.fixture
def default_transport(transport: str) -> Iterator[None]:
    turbo_tornado.configure(transport)
    yield
    turbo_tornado.reset()


async def ask(url: str, case: Case) -> HTTPResponse:
    method = "POST" if case.params else "GET"
    return await HTTPClient().fetch(
        url + case.path, method=method, params=case.params, request_timeout=30
    )


def case_id(case: Case) -> str:
    query = "".join(f"-{value}" for value in (case.params or {}).values())
    return case.pair + case.path + query + ("" if case.upstream else "-alone")


# The Python halves


@pytest.mark.parametrize("case", CASES, ids=case_id)
async def test_server(
    case: Case, serve: Any, upstream: Server, nothing: str, default_transport: None
) -> None:
    example = load(case.pair)
    example.UPSTREAM = upstream.url if case.upstream else nothing
    res = await ask(serve(example.make_app()).url, case)
    assert Answer(res.code, res.body.decode()) == case.python


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.pair)
@pytest.mark.parametrize("alone", [False, True], ids=["", "alone"])
async def test_program(
    program: Program,
    alone: bool,
    upstream: Server,
    nothing: str,
    default_transport: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    example = load(program.pair)
    example.UPSTREAM = nothing if alone else upstream.url
    if alone and program.exit_code:
        with pytest.raises(SystemExit, match=program.alone.strip()):
            await example.main()
    else:
        await example.main()
        assert capsys.readouterr().out == (program.alone if alone else program.output)


@pytest.mark.kept
async def test_keep_alive_needs_one_connection(upstream: Server, default_transport: None) -> None:
    example = load("keep_alive")
    example.UPSTREAM = upstream.url
    await example.main()
    assert (len(upstream.paths), upstream.connections) == (10, 1)


async def test_parallel_is_parallel(
    serve: Any, default_transport: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = load("upstream")
    arrived: set[str] = set()
    all_arrived = asyncio.Event()

    class PriceHandler(services.PriceHandler):  # type: ignore[name-defined,misc]
        async def get(self, shop: str) -> None:
            arrived.add(shop)
            if len(arrived) == 3:
                all_arrived.set()
            await all_arrived.wait()
            super().get(shop)

    example = load("parallel")
    example.UPSTREAM = serve(Application([(r"/prices/(\w+)", PriceHandler)])).url
    res = await HTTPClient().fetch(serve(example.make_app()).url + "/cheapest/corner,market,mill")
    assert (res.code, arrived) == (200, {"corner", "market", "mill"})


async def test_callback_api_asks_once(
    serve: Any, upstream: Server, default_transport: None
) -> None:
    example = load("callback_api")
    example.UPSTREAM = upstream.url
    url = serve(example.make_app()).url + "/hello/ada"
    answers = [(await HTTPClient().fetch(url)).body for _ in range(2)]
    assert answers == [b"Hello, Ada Lovelace"] * 2
    assert upstream.paths == ["/staff/ada"]


async def test_download_has_the_type_of_the_file(
    serve: Any, upstream: Server, default_transport: None
) -> None:
    example = load("download")
    example.UPSTREAM = upstream.url
    res = await HTTPClient().fetch(serve(example.make_app()).url + "/files/report.csv")
    assert res.headers["Content-Type"] == "text/csv"
    assert res.headers["Content-Disposition"] == "attachment"


async def test_reader_leaves_its_table_alone(upstream: Server, default_transport: None) -> None:
    example = load("reader")
    example.UPSTREAM = upstream.url
    before = dict(example.REQUEST)
    await example.main()
    assert before == example.REQUEST


# Both halves


@needs_luajit
@pytest.mark.parametrize("pair", PAIRS)
def test_lua_half_parses(pair: str) -> None:
    assert LUAJIT is not None
    command = [LUAJIT, "-bl", str(EXAMPLES / f"{pair}.lua")]
    ended = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


def turbo_environment() -> dict[str, str]:
    assert TURBO_LUA is not None
    return {
        **os.environ,
        "LUA_PATH": f"{TURBO_LUA}/?.lua;{TURBO_LUA}/?/init.lua;;",
        "TURBO_LIBTFFI": f"{TURBO_LUA}/libtffi_wrap.so",
        "LD_LIBRARY_PATH": TURBO_LUA,
    }


@pytest.fixture
def start(start_program: StartProgram) -> StartProgram:
    """Starts the Lua half of a pair on Turbo.lua."""

    async def start(pair: str, upstream: str, port: int = 0, output: int = PIPE) -> Process:
        assert LUAJIT is not None
        environment = {**turbo_environment(), "UPSTREAM": upstream, "PORT": str(port)}
        return await start_program(
            LUAJIT, str(EXAMPLES / f"{pair}.lua"), stdout=output, stderr=output, env=environment
        )

    return start


@needs_turbo
@pytest.mark.timeout(120)
@pytest.mark.parametrize("case", CASES, ids=case_id)
async def test_lua_server(case: Case, start: Any, upstream: Server, nothing: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    # The log is discarded: it is long when a body is over max_buffer_size.
    process = await start(case.pair, upstream.url if case.upstream else nothing, port, DEVNULL)
    while (res := await ask(f"http://127.0.0.1:{port}", case)).error:
        assert process.returncode is None
        await asyncio.sleep(0.05)
    body = res.body.decode()
    if body.startswith("{"):
        # The order of a table is Lua's secret.
        expected = case.python
        assert sorted(re.findall(r"\w+", body)) == sorted(re.findall(r"\w+", expected.body))
        assert res.code == expected.status
    else:
        assert Answer(res.code, body) == (case.lua or case.python)


@needs_turbo
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.pair)
@pytest.mark.parametrize("alone", [False, True], ids=["", "alone"])
async def test_lua_program(
    program: Program, alone: bool, start: Any, upstream: Server, nothing: str
) -> None:
    process = await start(program.pair, nothing if alone else upstream.url)
    out, err = await process.communicate()
    if alone:
        assert (process.returncode, (out + err).decode()) == (program.exit_code, program.alone)
    else:
        assert (process.returncode, out.decode(), err) == (0, program.output, b"")


def test_each_pair_is_tested() -> None:
    assert {case.pair for case in CASES} | {program.pair for program in PROGRAMS} == set(PAIRS)
    halves = {path.stem for path in EXAMPLES.glob("*.py")} - {"upstream"}
    assert halves == set(PAIRS)
    assert len(PAIRS) == 10


# The page

PAGE = (ROOT / "docs" / "migration.md").read_text(encoding="utf-8")


class Row(NamedTuple):
    section: str
    cells: list[str]


def section(title: str) -> str:
    """Returns what is below a heading of the page, up to the next of its level."""
    found = re.search(rf"^## {title}\n(.+?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def rows(text: str) -> list[Row]:
    """Returns the rows of the tables in ``text``, without their headings."""
    found: list[Row] = []
    heading = ""
    for line in text.splitlines():
        if line.startswith("### "):
            heading = line[4:]
        elif line.startswith("|---"):
            found.pop()
        elif line.startswith("|"):
            found.append(Row(heading, [cell.strip() for cell in split_cells(line)]))
    return found


def split_cells(line: str) -> list[str]:
    return [cell.replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def stands_for() -> dict[str, Any]:
    """Returns what the names in the Python column are: the imports of the page, and values."""
    namespace: dict[str, Any] = {}
    imports = re.search(r"```python\n(import .+?)```", section("Names"), re.DOTALL)
    assert imports is not None
    exec(imports[1], namespace)

    class Handler(namespace["RequestHandler"]):  # type: ignore[misc]
        request = HTTPServerRequest(
            start_line=RequestStartLine("GET", "/", "HTTP/1.1"),
            headers=turbo_tornado.HTTPHeaders({"Host": "localhost"}),
        )

    namespace.update(
        {
            "self": Handler,
            "io_loop": namespace["IOLoop"],
            "client": HTTPClient(),
            "headers": turbo_tornado.HTTPHeaders(),
            "future": asyncio.Future,
            "res": HTTPResponse(
                0.0, turbo_tornado.FetchError(turbo_tornado.errors.BUSY, "message")
            ),
            "value": {},
            "data": b"",
            "func": lambda arg: None,
            "main": lambda: None,
        }
    )
    free = (
        "arg chunk code default error fd kwargs key max_buffer_size message method msec "
        "name number other path pattern ref secret ssl_options text uri url values version"
    )
    return dict.fromkeys(free.split(), "") | namespace


#: The return types of calls whose attributes are used.
RETURNS = {asyncio.get_running_loop: asyncio.AbstractEventLoop}


def resolve(node: ast.AST, namespace: dict[str, Any]) -> Any:
    """Returns what an expression names, having checked that it is there and can be called so."""
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
    # `self` of a method that was taken from its class.
    of_class = "self" in signature.parameters
    positional = [None] * (len(call.args) + of_class)
    signature.bind(*positional, **{str(keyword.arg): None for keyword in call.keywords})


SECTIONS = (
    "turbo.async",
    "turbo.httputil.HTTPHeaders",
    "turbo.ioloop",
    "Coroutines and turbo.coctx",
    "turbo.web",
    "turbo.escape",
    "turbo.log",
    "turbo.util",
)


def test_the_tables_of_names_are_there() -> None:
    assert tuple(dict.fromkeys(row.section for row in rows(section("Names")))) == SECTIONS


@pytest.mark.parametrize("title", SECTIONS)
def test_every_python_name_exists(title: str) -> None:
    namespace = stands_for()
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    wrong = []
    for row in rows(section("Names")):
        for expression in code(row.cells[1]) if row.section == title else ():
            try:
                resolve(compile(expression, expression, "eval", flags).body, namespace)
            except (AttributeError, KeyError, SyntaxError, TypeError) as error:
                wrong.append(f"{expression}: {error}")
    assert not wrong


def test_the_keywords_are_named() -> None:
    sentence = re.search(r"The fifteen keywords of `fetch` (.+?)\. ", PAGE, re.DOTALL)
    assert sentence is not None
    own = {"headers", "json", "files", "streaming_callback", "proxy"}
    assert set(code(sentence[1])) == set(turbo_tornado.FetchKeywords.__annotations__) - own


@needs_turbo
def test_every_turbo_name_exists() -> None:
    classes = {
        "client": "turbo.async.HTTPClient",
        "headers": "turbo.httputil.HTTPHeaders",
        "HTTPHeaders": "turbo.httputil.HTTPHeaders",
        "HTTPParser": "turbo.httputil.HTTPParser",
        "io_loop": "turbo.ioloop.IOLoop",
        "context": "turbo.coctx.CoroutineContext",
        "application": "turbo.web.Application",
        "handler": "turbo.web.RequestHandler",
    }
    names = []
    for row in rows(section("Names")):
        for expression in code(row.cells[0]):
            path = expression.partition("(")[0].replace(":", ".")
            root, _, rest = path.partition(".")
            if root in classes and rest != "request":
                names.append(f"{classes[root]}.{rest}" if rest else classes[root])
            elif root == "turbo":
                names.append(path)
    assert len(names) > 100
    script = "local turbo = require('turbo')\n" + "".join(
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


@needs_turbo
@pytest.mark.parametrize(
    ("module", "owner"),
    [
        ("async", "async"),
        ("async", "async.HTTPClient"),
        ("httputil", "httputil.HTTPHeaders"),
        ("ioloop", "ioloop"),
        ("ioloop", "ioloop.IOLoop"),
        ("coctx", "coctx.CoroutineContext"),
        ("web", "web.RequestHandler"),
        ("web", "web.Application"),
        ("escape", "escape"),
        ("log", "log"),
    ],
)
def test_no_turbo_name_is_left_out(module: str, owner: str) -> None:
    source = (Path(str(TURBO_LUA)) / "turbo" / f"{module}.lua").read_text(encoding="utf-8")
    functions = set(re.findall(rf"function {re.escape(owner)}[.:]([a-z]\w*)\(", source))
    known = {
        re.split(r"[.:]", expression.partition("(")[0])[-1]
        for row in rows(section("Names"))
        for expression in code(row.cells[0])
    }
    assert functions - {"initialize"} - known == set()
    assert functions


# Where Turbo.lua differs

#: Line of the differences -> its evidence: scenarios that Turbo.lua was observed in, and
#: tests of this package.
EVIDENCE: dict[str, tuple[str, ...]] = {
    "`allow_redirects`": ("redirect-default",),
    "Which redirects": ("redirect-303", "redirect-307", "redirect-308"),
    "One redirect too many": ("redirect-5", "redirect-max-2"),
    "POST answered with 301 or 302": ("redirect-post",),
    "Relative `Location`": ("contract/redirects_test.py::test_location",),
    "HEAD that is redirected": ("redirect-head",),
    "3xx without `Location`": (
        "contract/redirects_test.py::test_without_location_the_3xx_is_the_response",
    ),
    "`on_headers` and redirects": (
        "contract/keywords_test.py::test_on_headers_is_called_once_in_a_chain_of_redirects",
    ),
    "Credentials on another origin": (
        "contract/redirects_test.py::test_credentials_do_not_go_to_another_host",
    ),
    "`use_gzip`": ("gzip-default",),
    "`auth_username`, `auth_password`": ("auth", "auth-echo"),
    "`Host`": ("contract/wire_test.py::test_host_has_a_port_that_is_not_the_default",),
    "`User-Agent`": ("contract/keywords_test.py::test_user_agent",),
    "Request bodies": ("contract/wire_test.py::test_nothing_follows_the_request",),
    "`Content-Length` from `on_headers`": ("on-headers-content-length",),
    "POST, PUT, PATCH with neither `body` nor `params`": ("post-none",),
    "`params` with a query in the URL": ("get-params-with-query",),
    "`params` with PATCH": ("contract/keywords_test.py::test_params_are_a_form",),
    "`body` and `params` together": ("body-and-params",),
    "Lists and booleans in `params`": ("contract/keywords_test.py::test_params_are_the_query",),
    "A method in lower case": ("contract/keywords_test.py::test_method",),
    "A cookie as a string": ("contract/keywords_test.py::test_cookie",),
    "A cookie table": ("cookie-table", "cookie-two"),
    "A misspelt keyword": ("contract/keywords_test.py::test_unknown_keyword",),
    "A value of a wrong type": ("contract/keywords_test.py::test_wrong_type",),
    "The table of keywords": (
        "contract/keywords_test.py::test_the_table_is_not_changed_and_can_be_used_again",
    ),
    "`request_timeout`": ("contract/timeouts_test.py::test_timeout_in_tcp",),
    "`request_timeout` 0": ("contract/timeouts_test.py::test_no_timeout",),
    "`connect_timeout`": ("contract/keywords_test.py::test_defaults_of_the_timeouts",),
    "`connect_timeout` that runs out": ("connect-timeout",),
    "`max_buffer_size`": ("too-big", "contract/limits_test.py::test_endless_body"),
    "A second fetch on a busy client": ("busy",),
    "`PARSE_ERROR_HEADERS`, `NO_HEADERS`, `SOCKET_ERROR`": (
        "garbage",
        "bad-status",
        "bad-header",
        "close-now",
        "close-mid-headers",
        "close-mid-body",
    ),
    "`request_time` with an error": ("contract/response_test.py::test_every_field_of_an_error",),
    "`res.request`": ("contract/response_test.py::test_every_field",),
    "`res.url` with `params`": ("get-params", "get-params-number"),
    "`res.reason`": ("contract/response_test.py::test_reason",),
    "`res.body` of a response without one": (
        "contract/response_test.py::test_codes_without_a_body",
    ),
    "A body without `Content-Length`": ("no-length",),
    "A chunk extension": ("contract/response_test.py::test_chunked",),
    "Bytes after a response, with `keep_alive`": (
        "contract/response_test.py::test_bytes_beyond_the_response_are_not_the_next_one",
    ),
    "A response that comes after `request_timeout`, with `keep_alive`": (
        "contract/reuse_test.py::test_not_reused_after_an_error",
    ),
    "An empty URL": ("invalid-url-empty",),
    "HTTPS with OpenSSL 3": (
        "tls-ok",
        "tls-localhost",
        "tls-untrusted",
        "tls-noverify",
        "tls-selfsigned",
        "tls-wronghost",
        "tls-expired",
        "tls-bad-capath",
        "tls-clientcert",
        "tls-on-plain",
    ),
    "Certificates that are trusted": ("contract/tls_test.py::test_trust_store_of_the_environment",),
    "`task()` when the callback is called at once": ("task_test.py::test_callback_before_return",),
    "`keep_alive`": ("reuse-instance",),
    "`keep_alive = false`": ("keep-alive-false",),
    "`request_time`": ("contract/response_test.py::test_every_field",),
    "Address families": ("contract/keywords_test.py::test_ipv6_literal",),
}


def test_every_difference_has_its_evidence() -> None:
    table = rows(section("Differences"))
    assert [row.cells[0] for row in table] == list(EVIDENCE)
    assert all(len(row.cells) == 4 and all(row.cells) for row in table)


def test_the_evidence_is_there() -> None:
    for item in (item for items in EVIDENCE.values() for item in items):
        file, is_test, name = item.partition("::")
        if is_test:
            source = (ROOT / "tests" / file).read_text(encoding="utf-8")
            assert re.search(rf"^(async )?def {name}\(", source, re.MULTILINE), item
        else:
            assert item in DIFFERENCES


def test_every_difference_that_was_observed_is_on_the_page() -> None:
    observed = {item for items in EVIDENCE.values() for item in items if "::" not in item}
    assert observed == set(DIFFERENCES)


def test_each_pair_is_on_the_page() -> None:
    included = re.findall(
        r"^```{literalinclude} \.\./examples/migration/(\w+)\.(lua|py)$", PAGE, re.MULTILINE
    )
    assert sorted(included) == sorted((pair, half) for pair in PAIRS for half in ("lua", "py"))
