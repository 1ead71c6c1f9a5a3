"""The programs of the migration guide, and the tests of its differences.

With the environment variable TURBO_LUA, a checkout of Turbo.lua where ``make all`` was
run, the Lua halves run as well, against the same server.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import shutil
import subprocess
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets
from tornado.web import Application

import turbo_tornado
from tests.contract.turbo_observed_test import DIFFERENCES
from tests.support import StartProgram
from tests.support.ports import reserved_port
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
    """A request to a pair of servers, and the response of each half."""

    pair: str
    path: str
    python: Answer
    #: When Turbo.lua differs; the guide has the reason.
    lua: Answer | None = None
    params: dict[str, str] | None = None
    #: Whether the upstream server runs.
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
    """A pair of programs, and the output of both halves."""

    pair: str
    output: str
    #: Their output without an upstream server.
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
    """Counts its connections, and records the requested paths."""

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
    if not case.path.startswith("/files/slow"):
        example.TIMEOUT = 30
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
    example.UPSTREAM, example.TIMEOUT = upstream.url, 30
    res = await HTTPClient().fetch(serve(example.make_app()).url + "/files/report.csv")
    assert res.headers["Content-Type"] == "text/csv"
    assert res.headers["Content-Disposition"] == "attachment"


async def test_reader_does_not_change_its_table(upstream: Server, default_transport: None) -> None:
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
    """Start the Lua half of a pair on Turbo.lua."""

    async def start(pair: str, upstream: str, port: int = 0, output: int = PIPE) -> Process:
        assert LUAJIT is not None
        environment = {**turbo_environment(), "UPSTREAM": upstream, "PORT": str(port)}
        # Turbo names a socket in /tmp by a random number, and does not seed the generator: two
        # processes would use the same name.
        seed = f"math.randomseed({int.from_bytes(os.urandom(4), 'big')})"
        return await start_program(
            *(LUAJIT, "-e", seed, str(EXAMPLES / f"{pair}.lua")),
            stdout=output,
            stderr=output,
            env=environment,
        )

    return start


@needs_turbo
@pytest.mark.timeout(120)
@pytest.mark.parametrize("case", CASES, ids=case_id)
async def test_lua_server(case: Case, start: Any, upstream: Server, nothing: str) -> None:
    with reserved_port() as port:
        # The log is discarded: it is long when a body is over max_buffer_size.
        process = await start(case.pair, upstream.url if case.upstream else nothing, port, DEVNULL)
        while (res := await ask(f"http://127.0.0.1:{port}", case)).error:
            assert process.returncode is None
            await asyncio.sleep(0.05)
    body = res.body.decode()
    if body.startswith("{"):
        # The order of a table in Lua is undefined.
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


def test_every_pair_is_tested() -> None:
    assert {case.pair for case in CASES} | {program.pair for program in PROGRAMS} == set(PAIRS)
    halves = {path.stem for path in EXAMPLES.glob("*.py")} - {"upstream"}
    assert halves == set(PAIRS)
    assert len(PAIRS) == 10


# Where Turbo.lua differs

DIFFERENCES_PAGE = (ROOT / "docs" / "migration" / "differences.md").read_text(encoding="utf-8")


def rows() -> list[list[str]]:
    """Return the cells of the tables of differences, without their headings."""
    found: list[list[str]] = []
    for line in DIFFERENCES_PAGE.splitlines():
        if line.startswith("|---"):
            found.pop()
        elif line.startswith("|"):
            found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found


#: Line of the differences -> its evidence: scenarios that Turbo.lua was observed in, and
#: tests of this package.
EVIDENCE: dict[str, tuple[str, ...]] = {
    "`allow_redirects`": ("redirect-default",),
    "Status codes": ("redirect-303", "redirect-307", "redirect-308"),
    "Too many redirects": ("redirect-5", "redirect-max-2"),
    "POST with a 301 or 302 response": ("redirect-post",),
    "Relative `Location`": ("contract/redirects_test.py::test_location_is_resolved",),
    "HEAD with a redirect": ("redirect-head",),
    "3xx without `Location`": (
        "contract/redirects_test.py::test_redirect_without_location_is_the_response",
    ),
    "`on_headers` and redirects": (
        "contract/keywords_test.py::test_on_headers_is_called_once_in_a_chain_of_redirects",
    ),
    "Credentials and other origins": (
        "contract/redirects_test.py::test_credentials_are_not_sent_to_another_host",
    ),
    "`use_gzip`": ("gzip-default",),
    "`auth_username`, `auth_password`": ("auth", "auth-echo"),
    "`Host`": ("contract/wire_test.py::test_host_has_a_port_other_than_the_default",),
    "`User-Agent`": ("contract/keywords_test.py::test_user_agent",),
    "Request bodies": ("contract/wire_test.py::test_no_bytes_after_the_request",),
    "`Content-Length` from `on_headers`": ("on-headers-content-length",),
    "POST, PUT, PATCH with neither `body` nor `params`": ("post-none",),
    "`params` and a query in the URL": ("get-params-with-query",),
    "`params` with PATCH": ("contract/keywords_test.py::test_params_are_a_form",),
    "`body` and `params` together": ("body-and-params",),
    "Lists and booleans in `params`": ("contract/keywords_test.py::test_params_are_the_query",),
    "A method in lower case": ("contract/keywords_test.py::test_method",),
    "A cookie as a string": ("contract/keywords_test.py::test_cookie",),
    "A cookie table": ("cookie-table", "cookie-two"),
    "A misspelled keyword": ("contract/keywords_test.py::test_unknown_keyword",),
    "A value of a wrong type": ("contract/keywords_test.py::test_wrong_type",),
    "The table of keywords": ("contract/keywords_test.py::test_table_is_not_changed",),
    "`request_timeout`": ("contract/timeouts_test.py::test_connect_timeout_in_tcp",),
    "`request_timeout` of 0": ("contract/timeouts_test.py::test_no_timeout",),
    "`connect_timeout`": ("contract/keywords_test.py::test_defaults_of_the_timeouts",),
    "An expired `connect_timeout`": ("connect-timeout",),
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
    "`request_time` with an error": ("contract/response_test.py::test_attributes_of_an_error",),
    "`res.request`": ("contract/response_test.py::test_attributes_of_a_response",),
    "`res.url` with `params`": ("get-params", "get-params-number"),
    "`res.reason`": ("contract/response_test.py::test_reason",),
    "`res.body` of a response without a body": (
        "contract/response_test.py::test_status_codes_without_a_body",
    ),
    "A body without `Content-Length`": ("no-length",),
    "A chunk extension": ("contract/response_test.py::test_chunked",),
    "Bytes after a response, with `keep_alive`": (
        "contract/response_test.py::test_bytes_after_the_response_are_not_the_next_response",
    ),
    "A response after `request_timeout`, with `keep_alive`": (
        "contract/reuse_test.py::test_connection_is_not_reused_after_an_error",
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
    "Trusted certificates": ("contract/tls_test.py::test_trust_store_of_the_environment",),
    "`task()` and a callback that is called at once": (
        "task_test.py::test_callback_before_return",
    ),
    "`keep_alive`": ("reuse-instance",),
    "`keep_alive = false`": ("keep-alive-false",),
    "`request_time`": ("contract/response_test.py::test_attributes_of_a_response",),
    "Address families": ("contract/keywords_test.py::test_ipv6_literal",),
}


def test_every_difference_has_a_test() -> None:
    table = rows()
    assert [cells[0] for cells in table] == list(EVIDENCE)
    assert all(len(cells) == 4 and all(cells) for cells in table)


def test_test_of_a_difference_exists() -> None:
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


# The pages


def test_every_pair_is_on_the_page() -> None:
    page = (ROOT / "docs" / "migration" / "programs.md").read_text(encoding="utf-8")
    included = re.findall(
        r"^```{literalinclude} \.\./\.\./examples/migration/(\w+)\.(lua|py)$", page, re.MULTILINE
    )
    assert sorted(included) == sorted((pair, half) for pair in PAIRS for half in ("lua", "py"))


#: The anchors of docs/migration.md before it was split, in GitHub and in Sphinx.
OLD_ANCHORS = """
how-to-go-about-it names turboasync turbo-async turbohttputilhttpheaders
turbo-httputil-httpheaders turboioloop turbo-ioloop coroutines-and-turbococtx
coroutines-and-turbo-coctx turboweb turbo-web turboescape turbo-escape turbolog turbo-log
turboutil turbo-util lua-and-python ten-pairs a-captcha-check a-download-with-limits
a-json-call-with-headers-of-its-own a-table-of-keywords-that-is-kept a-loop-over-one-connection
fetches-at-the-same-time sleeping-with-taskadd_timeout sleeping-with-task-add-timeout
a-callback-api-awaited cookies-there-and-back a-file-and-what-became-of-it differences redirects
what-is-sent time-and-size what-comes-back by-choice
"""


@pytest.mark.parametrize("anchor", OLD_ANCHORS.split())
def test_old_links_still_resolve(anchor: str) -> None:
    page = (ROOT / "docs" / "migration.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    by_heading = [heading.lower().replace(" ", "-") for heading in headings]
    assert by_heading.count(anchor) + page.count(f'<a id="{anchor}"></a>') == 1
