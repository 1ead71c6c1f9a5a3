from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tornado.escape import json_decode
from tornado.web import Application, RequestHandler

import turbo_tornado
from tests.support import StartProgram
from turbo_tornado import HTTPClient, HTTPResponse

ROOT = Path(__file__).parent.parent
GATEWAY = ROOT / "examples" / "gateway.py"

Get = Callable[[str], Awaitable[HTTPResponse]]


@pytest.fixture(scope="module")
def gateway() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gateway", GATEWAY)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def default_transport(transport: str) -> Iterator[None]:
    turbo_tornado.configure(transport)
    yield
    turbo_tornado.reset()


@pytest.fixture
async def serve(gateway: ModuleType) -> AsyncIterator[Callable[[Application], str]]:
    servers = []

    def serve(application: Application) -> str:
        server, url = gateway.serve(application, 0)
        servers.append(server)
        return str(url)

    yield serve
    for server in servers:
        server.stop()
        await server.close_all_connections()


@pytest.fixture
def get(gateway: ModuleType, serve: Any, closed_port: int, default_transport: None) -> Get:
    """Fetch a path of the gateway."""
    refused = f"http://127.0.0.1:{closed_port}"
    url = serve(gateway.make_gateway(serve(gateway.make_upstream()), refused))

    async def get(path: str) -> HTTPResponse:
        return await HTTPClient().fetch(url + path)

    return get


@pytest.fixture
def start(start_program: StartProgram) -> StartProgram:
    """Start the example as a process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return partial(start_program, sys.executable, str(GATEWAY), env=environment)


async def test_index_lists_the_routes(get: Get, gateway: ModuleType) -> None:
    page = (await get("/")).body.decode()
    assert all(f'href="{path}"' in page for path in gateway.ROUTES)


async def test_latest(get: Get) -> None:
    res = await get("/latest")
    assert res.code == 200
    assert "latest" in json_decode(res.body)


async def test_latest_without_upstream(
    gateway: ModuleType, serve: Any, closed_port: int, default_transport: None
) -> None:
    refused = f"http://127.0.0.1:{closed_port}"
    url = serve(gateway.make_gateway(refused, refused))
    assert (await HTTPClient().fetch(url + "/latest")).body == b"Could not get latest"
    assert (await HTTPClient().fetch(url + "/fanout")).code == 502
    assert (await HTTPClient().fetch(url + "/captcha")).code == 502


async def test_fanout_is_parallel(gateway: ModuleType, serve: Any, default_transport: None) -> None:
    arrived: set[int] = set()
    all_arrived = asyncio.Event()

    class ItemHandler(RequestHandler):
        async def get(self, number: str) -> None:
            arrived.add(int(number))
            if len(arrived) == 20:
                all_arrived.set()
            await all_arrived.wait()
            self.write({"item": int(number)})

    upstream = serve(Application([(r"/items/(\d+)", ItemHandler)]))
    res = await HTTPClient().fetch(serve(gateway.make_gateway(upstream, upstream)) + "/fanout")
    assert json_decode(res.body) == {"items": [{"item": number} for number in range(20)]}


async def test_captcha(get: Get) -> None:
    assert ((await get("/captcha")).code) == 200
    assert ((await get("/captcha?response=robot")).code) == 403


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [("/slow", 504, "REQUEST_TIMEOUT"), ("/refused", 502, "COULD_NOT_CONNECT")],
)
async def test_failure_of_the_upstream(get: Get, path: str, status: int, error: str) -> None:
    res = await get(path)
    assert (res.code, res.headers["Upstream-Error"]) == (status, error)
    assert json_decode(res.body)["error"] == error


async def test_task(get: Get) -> None:
    assert (await get("/task")).body == (await get("/latest")).body


async def test_once_prints_a_table_and_exits(start: Any, gateway: ModuleType) -> None:
    process = await start("--once", "--port", "0")
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    heading, *rows = out.decode().splitlines()
    assert heading.split() == ["route", "status", "upstream", "error", "time"]
    assert [tuple(row.split()[:3]) for row in rows] == [
        ("/", "200", "-"),
        ("/latest", "200", "-"),
        ("/fanout", "200", "-"),
        ("/captcha", "200", "-"),
        ("/slow", "504", "REQUEST_TIMEOUT"),
        ("/refused", "502", "COULD_NOT_CONNECT"),
        ("/task", "200", "-"),
    ]


async def test_keeps_serving_until_interrupted(start: Any) -> None:
    process = await start("--port", "0")
    url = ""
    while not url:
        line = (await process.stdout.readline()).decode()
        assert line, (await process.stderr.read()).decode()
        if line.startswith("serving on "):
            url = line.split()[2].rstrip(",")
    assert (await HTTPClient().fetch(url + "/latest")).code == 200
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 0
    assert b"Traceback" not in err


async def test_port_in_use(start: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = await start("--once", "--port", port)
        _, err = await process.communicate()
    assert process.returncode == 1
    assert f"cannot listen on port {port}".encode() in err
    assert b"Traceback" not in err
