"""The application of docs/guide/handler.md, on both transports, with real peers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import tenacity
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler, stream_request_body

import turbo_tornado
from tests.docs_test import ROOT
from tests.support import StartProgram
from tests.support.certificates import Certificates
from tests.support.missing import missing
from tests.support.proxy import find_tinyproxy, tinyproxy
from tests.support.recipes import Recipe, run_blocks, sections_of
from tests.support.tls_server import TLSServer
from turbo_tornado import HTTPClient, RequestEvent

PAGE = "docs/guide/handler.md"
MIB = 2**20
BLOCK = bytes(range(256)) * (MIB // 256)
#: Megabytes of the build of a project.
SIZES = {"lamp": 300, "desk": 4}

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="elsewhere a port cannot be reserved for tinyproxy"
)


def checksum(size: int) -> int:
    crc = 0
    for _ in range(size):
        crc = zlib.crc32(BLOCK, crc)
    return crc


class Services(TLSServer):
    """The services that the application uses, on one port."""

    def __init__(self, certificates: Certificates) -> None:
        self.records: list[Any] = []
        #: The uploaded body: its multipart head, its checksum and its end.
        self.uploads: list[tuple[str, int, bytes]] = []
        #: Status codes by path.
        self.failing: dict[str, int] = {}
        self.via_proxy: list[bool] = []
        #: Holds a download after its first megabyte, if it is cleared.
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.download_closed = asyncio.Event()
        routes = [
            (r"/owners/\w+", Owner),
            (r"/latest/(\w+)", Latest),
            (r"/mirror", Mirror),
            (r"/files/(\d+)", Build),
            (r"/upload", Upload),
            (r"/records", Records),
        ]
        application = Application(routes, services=self)  # type: ignore[arg-type]
        super().__init__(application, certificates.server_context(), max_body_size=1000 * MIB)


class Service(RequestHandler):
    def initialize(self) -> None:
        self.services: Services = self.settings["services"]

    def prepare(self) -> None:
        if code := self.services.failing.get(self.request.path):
            self.set_status(code)
            self.finish()


class Owner(Service):
    def get(self) -> None:
        self.write({"email": "owner@example.com"})


class Latest(Service):
    def get(self, project: str) -> None:
        size = SIZES[project]
        url = f"{self.services.origin}/files/{size}"
        self.write({"name": f"{project}.tar", "size": size * MIB, "url": url})


class Mirror(Service):
    def get(self) -> None:
        self.write({"url": f"{self.services.origin}/upload"})


class Build(Service):
    async def get(self, size: str) -> None:
        self.set_header("Content-Length", int(size) * MIB)
        # The client can close the connection.
        with contextlib.suppress(StreamClosedError):
            for _ in range(int(size)):
                self.write(BLOCK)
                await self.flush()
                await self.services.flowing.wait()

    def on_connection_close(self) -> None:
        self.services.download_closed.set()


@stream_request_body
class Upload(Service):
    #: Bytes of the end of a multipart body: a boundary of 32 digits between dashes.
    END = len("\r\n--") + 32 + len("--\r\n")

    def prepare(self) -> None:
        super().prepare()
        self.request.connection.set_max_body_size(1000 * MIB)  # type: ignore[union-attr]
        self.head, self.pending, self.crc = "", b"", 0

    def data_received(self, chunk: bytes) -> None:
        self.pending += chunk
        if not self.head and b"lamp.tar" not in self.pending and b"desk.tar" not in self.pending:
            return
        if not self.head:
            head, mark, self.pending = self.pending.partition(b'.tar"\r\nContent-Type: ')
            kind, _, self.pending = self.pending.partition(b"\r\n\r\n")
            self.head = (head + mark + kind).decode()
        data, self.pending = self.pending[: -self.END], self.pending[-self.END :]
        self.crc = zlib.crc32(data, self.crc)

    def post(self) -> None:
        self.services.uploads.append((self.head, self.crc, self.pending))
        self.write({"id": f"b-{len(self.services.uploads)}"})


class Records(Service):
    def post(self) -> None:
        self.services.records.append(json.loads(self.request.body))


@pytest.fixture
async def silent_services(certificates: Certificates) -> AsyncIterator[Services]:
    services = Services(certificates)
    yield services
    await services.close()


@pytest.fixture
def services(silent_services: Services) -> Services:
    silent_services.listen()
    return silent_services


@pytest.fixture
def addresses(silent_services: Services, tmp_path: Path) -> Iterator[dict[str, str]]:
    if find_tinyproxy() is None:
        missing("tinyproxy")
    with tinyproxy(tmp_path, "BasicAuth user password") as port:
        yield {
            "proxy.example.com:3128": f"127.0.0.1:{port}",
            **{
                f"https://{name}.example.com": silent_services.origin
                for name in ("accounts", "builds", "config", "audit")
            },
        }


@pytest.fixture(autouse=True)
def environment(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", certificates.ca)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))


@pytest.fixture
async def handler(addresses: dict[str, str], transport: str) -> AsyncIterator[Recipe]:
    """The names of the page; ``url`` is where its application listens."""
    turbo_tornado.configure(transport)
    [recipe] = run_blocks(PAGE, "test_one_handler", addresses)
    recipe.send.retry.wait = tenacity.wait_none()
    [bound] = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(recipe.make_app())
    server.add_socket(bound)
    recipe["url"] = f"http://127.0.0.1:{bound.getsockname()[1]}/releases"
    yield recipe
    server.stop()
    await server.close_all_connections()
    turbo_tornado.reset()


async def publish(url: str) -> tuple[int, list[dict[str, Any]]]:
    """Return the status code and the lines of the response."""
    res = await HTTPClient(transport="simple").fetch(
        url, method="POST", body="", request_timeout=300
    )
    return res.raise_for_error().code, [json.loads(line) for line in res.body.splitlines()]


def assert_published(services: Services, project: str, lines: list[dict[str, Any]]) -> None:
    record = {"project": project, "owner": "owner@example.com", "stored": "b-1"}
    assert lines[-1] == record == services.records[0]
    assert [line["downloaded"] for line in lines[:-1]] == sorted(
        {line["downloaded"] for line in lines[:-1]}
    )
    assert lines[-2] == {"downloaded": 100}
    [(head, crc, end)] = services.uploads
    assert f'name="project"\r\n\r\n{project}\r\n' in head
    assert f'name="build"; filename="{project}.tar"' in head
    assert re.fullmatch(rb"\r\n--[0-9a-f]{32}--\r\n", end)
    assert crc == checksum(SIZES[project])


def memory_of(pid: int, name: str) -> int:
    """Return a line of /proc/pid/status, in bytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


MAIN = """

async def main():
    import turbo_tornado

    turbo_tornado.configure({transport!r})
    server = make_app().listen(0, "127.0.0.1")
    print(next(iter(server._sockets.values())).getsockname()[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
"""


@pytest.mark.timeout(300)
async def test_one_handler(
    services: Services,
    addresses: dict[str, str],
    transport: str,
    tmp_path: Path,
    start_program: StartProgram,
) -> None:
    [[(_, code)]] = sections_of(PAGE).values()
    for address, local in addresses.items():
        code = code.replace(address, local)
    program = tmp_path / "program.py"
    program.write_text(code + MAIN.format(transport=transport))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = await start_program(sys.executable, "-W", "error", str(program), env=environment)
    assert process.stdout is not None
    url = f"http://127.0.0.1:{int(await process.stdout.readline())}/releases"
    code_of_desk, lines = await publish(f"{url}/desk")
    assert code_of_desk == 200
    assert_published(services, "desk", lines)
    services.uploads.clear()
    services.records.clear()
    before = memory_of(process.pid, "VmHWM")
    code_of_lamp, lines = await publish(f"{url}/lamp")
    assert code_of_lamp == 200
    assert_published(services, "lamp", lines)
    assert memory_of(process.pid, "VmHWM") - before < 16 * MIB
    assert not [*(tmp_path / "temporary").iterdir()]


async def test_retries(handler: Recipe, silent_services: Services) -> None:
    failures = []

    def listen_after_failures(event: RequestEvent) -> None:
        if event.error is not None:
            failures.append(event.error)
            if len(failures) == 3:
                silent_services.listen()

    turbo_tornado.configure(on_response=listen_after_failures)
    code, lines = await publish(f"{handler.url}/desk")
    assert code == 200
    assert_published(silent_services, "desk", lines)
    # Each of the three services received a retry.
    assert len(failures) == 3


async def test_unreachable_services(handler: Recipe) -> None:
    code, lines = await publish(f"{handler.url}/desk")
    assert code == 502
    assert lines[0]["error"].startswith("COULD_NOT_CONNECT: ")


@pytest.mark.parametrize("path", ["/owners/desk", "/latest/desk", "/mirror", "/files/4"])
async def test_failure_before_the_response(handler: Recipe, services: Services, path: str) -> None:
    services.failing[path] = 500
    code, lines = await publish(f"{handler.url}/desk")
    assert (code, lines) == (502, [{"error": f"{services.origin}{path} answered 500"}])


@pytest.mark.parametrize("path", ["/upload", "/records"])
async def test_failure_within_the_response(handler: Recipe, services: Services, path: str) -> None:
    services.failing[path] = 500
    code, lines = await publish(f"{handler.url}/desk")
    assert (code, lines[-2]) == (200, {"downloaded": 100})
    assert list(lines[-1]) == ["error"]
    assert not services.records


async def test_browser_that_disconnects(
    handler: Recipe, services: Services, tmp_path: Path
) -> None:
    services.flowing.clear()
    arrived, ended = asyncio.Event(), asyncio.Event()
    handler.ReleaseHandler.on_finish = lambda self: ended.set()
    fetch = HTTPClient(transport="simple").fetch(
        f"{handler.url}/desk",
        method="POST",
        body="",
        streaming_callback=lambda chunk: arrived.set(),
    )
    await arrived.wait()
    fetch.cancel()
    await services.download_closed.wait()
    services.flowing.set()
    await ended.wait()
    assert not services.uploads
    assert not [*(tmp_path / "temporary").iterdir()]
