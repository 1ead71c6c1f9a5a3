"""The pairs of the migration guide do what they say, and its tables are true.

With the environment variable TURBO_LUA, a checkout of Turbo.lua where ``make all`` was
run, the Lua halves run as well, against the same server.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
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
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets
from tornado.web import Application

import turbo_tornado
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
    #: When Turbo.lua differs; the guide says why.
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
    #: What they print when there is nothing to fetch from.
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
    """A URL where nobody listens."""
    return f"http://127.0.0.1:{closed_port}"


@pytest.fixture
def default_transport(transport: str) -> Iterator[None]:
    turbo_tornado.configure(transport)
    yield
    turbo_tornado.configure()


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


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Any]]:
    """Starts the Lua half of a pair on Turbo.lua."""
    processes: list[Process] = []

    async def start(pair: str, upstream: str, port: int = 0, output: int = PIPE) -> Process:
        assert LUAJIT is not None and TURBO_LUA is not None
        environment = {
            **os.environ,
            "LUA_PATH": f"{TURBO_LUA}/?.lua;{TURBO_LUA}/?/init.lua;;",
            "TURBO_LIBTFFI": f"{TURBO_LUA}/libtffi_wrap.so",
            "LD_LIBRARY_PATH": TURBO_LUA,
            "UPSTREAM": upstream,
            "PORT": str(port),
        }
        process = await asyncio.create_subprocess_exec(
            LUAJIT, str(EXAMPLES / f"{pair}.lua"), stdout=output, stderr=output, env=environment
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@needs_turbo
@pytest.mark.timeout(120)
@pytest.mark.parametrize("case", CASES, ids=case_id)
async def test_lua_server(case: Case, start: Any, upstream: Server, nothing: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    # Nobody reads its log, which is long when a body is over max_buffer_size.
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
