from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import logging
import os
import signal
import socket
import ssl
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tornado.ioloop import IOLoop

from tests.support import Fetch, MakeClient, MakePeer, RawPeer, RunPython, Script, StartProgram
from tests.support.blackhole import blackhole
from tests.support.certificates import Certificates
from tests.support.leaks import ErrorRecords, close_transports, pending_tasks
from tests.support.server import Server
from turbo_tornado import HTTPClient, HTTPResponse, configure, reset
from turbo_tornado.transports.base import CancellableFetch
from turbo_tornado.transports.simple import SimpleTransport

ROOT = Path(__file__).parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-keep-alive",
        action="store_true",
        help="run the contract suite with keep_alive=False as the default of every fetch",
    )
    parser.addoption("--uvloop", action="store_true", help="run every loop of the tests on uvloop")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        # ``nohup`` ignores SIGHUP, which programs inherit as well.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # The background jobs of a shell ignore SIGINT, and the programs that a test starts would
        # inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Seconds of Tornado's test cases, also in programs that a test starts. The default is 5.
    os.environ.setdefault("ASYNC_TEST_TIMEOUT", "50")
    if config.getoption("uvloop"):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


@pytest.fixture(autouse=True)
def default_of_keep_alive(request: pytest.FixtureRequest) -> Iterator[None]:
    if not request.config.getoption("no_keep_alive"):
        yield
        return
    if request.node.get_closest_marker("kept") is not None:
        pytest.skip("counts on a kept connection, or on the fields of a request that keeps one")
    configure(keep_alive=False)
    yield
    reset()


@settings(max_examples=1, database=None, deadline=None)
@given(st.none())
def first_example(_: None) -> None:
    """Let Hypothesis register its random number generator."""


def pytest_collection_finish() -> None:
    # When it registers the generator, Hypothesis looks for a referrer that the garbage
    # collector tracks, and warns without one. From Python 3.14 on, gc.freeze() hides it.
    first_example()
    # The collection after each test then skips the objects of the imports.
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report once which peers are not installed, so that their tests were skipped."""
    skipped = terminalreporter.stats.get("skipped", ())
    reasons = {str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped}
    for reason in sorted(reason for reason in reasons if "is not installed" in reason):
        terminalreporter.write_line(reason, yellow=True)


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    """Fail a test that leaves a task pending or an error in the log."""
    before = asyncio.all_tasks()
    errors = ErrorRecords()
    logging.getLogger().addHandler(errors)
    try:
        yield
        close_transports()
        pending = await pending_tasks(before)
    finally:
        logging.getLogger().removeHandler(errors)
    assert not pending, f"tasks left pending: {pending}"
    assert not errors.records, f"errors logged: {errors.texts()}"


@pytest.fixture(
    params=[
        "simple",
        pytest.param(
            "curl",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("pycurl") is None, reason="pycurl is not installed"
            ),
        ),
    ]
)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def transport_class(transport: str) -> type[CancellableFetch]:
    if transport == "curl":
        from turbo_tornado.transports.curl import CurlTransport

        return CurlTransport
    return SimpleTransport


@pytest.fixture
def make_client(transport: str) -> MakeClient:
    def make(
        ssl_options: Mapping[str, Any] | None = None,
        io_loop: IOLoop | None = None,
        max_buffer_size: int | None = None,
    ) -> HTTPClient:
        return HTTPClient(ssl_options, io_loop, max_buffer_size, transport=transport)

    return make


@pytest.fixture
def fetch(make_client: MakeClient) -> Fetch:
    async def fetch(
        url: str,
        kwargs: Mapping[str, Any] | None = None,
        *,
        client: HTTPClient | None = None,
        **options: Any,
    ) -> HTTPResponse:
        return await (client or make_client()).fetch(url, kwargs, **options)

    return fetch


@pytest.fixture
async def raw_peer() -> AsyncIterator[MakePeer]:
    peers: list[RawPeer] = []

    async def listen(
        script: Script | bytes,
        ssl_context: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> RawPeer:
        peer = RawPeer(script, host)
        await peer.listen(ssl_context)
        peers.append(peer)
        return peer

    yield listen
    for peer in peers:
        await peer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    yield server
    await server.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def tls_server(certificates: Certificates) -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    servers: list[Server] = []

    async def serve(certificate: str = "valid", client_ca: str | None = None) -> Server:
        servers.append(Server(certificates.server_context(certificate, client_ca)))
        return servers[-1]

    yield serve
    for server in servers:
        await server.close()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A reserved port without a listener."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
async def start_program() -> AsyncIterator[StartProgram]:
    """Start programs that can import the package, and end them with the test."""
    processes: list[Process] = []

    async def start(*argv: str, **options: Any) -> Process:
        options = {"cwd": ROOT, "stdout": PIPE, "stderr": PIPE, **options}
        process = await asyncio.create_subprocess_exec(*argv, start_new_session=True, **options)
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.returncode is None:
            # A forked child also has the pipes, and reading them would wait for it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


@pytest.fixture
def run_python(start_program: StartProgram) -> RunPython:
    """Run a Python program. A warning or an error of it fails the test."""

    async def run(program: str, *arguments: str) -> None:
        # A forked child does not close the loop of its parent, which causes a warning.
        options = ("-W", "error", "-W", "ignore::ResourceWarning")
        process = await start_program(sys.executable, *options, "-c", program, *arguments)
        _, err = await process.communicate()
        assert (process.returncode, err.decode()) == (0, "")

    return run


@pytest.fixture(name="blackhole")
def blackhole_url() -> Iterator[str]:
    with blackhole() as url:
        yield url
