"""The servers: nginx and the delay server, started here, on a separate core."""

from __future__ import annotations

import ctypes
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

import trustme

from . import nginx
from .workloads import DELAY, HUGE, LARGE, Workload

#: Each run uses the next address. The previous run has left many ports of its address in
#: TIME_WAIT.
ADDRESSES = [f"127.0.0.{number}" for number in range(1, 17)]
#: Connections of one burst to one address: the limit of the backlog in Linux. Linux drops the SYN
#: of further connections, and the client repeats it after a second.
PER_ADDRESS = 4000
ROOT = Path(__file__).resolve().parent.parent

NGINX = """
keepalive_timeout 600s;
keepalive_requests 1000000000;
server {{
    {listen}
    ssl_certificate {folder}/server.pem;
    ssl_certificate_key {folder}/server.pem;
    location = /small {{ return 200 "Hello world!"; }}
    location = /large {{ root {folder}; }}
    location = /huge {{ root {folder}; }}
    location = /status {{ stub_status; }}
}}
"""


def cores() -> tuple[int, int]:
    """Return the core of the clients and that of the servers, which can be the same."""
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[min(1, len(available) - 1)]


def start(command: list[str], core: int, **options: Any) -> subprocess.Popen[str]:
    """Start a child on a core, in a session that ends with this process."""
    # This process has one thread, so that running Python in the fork is safe.
    return subprocess.Popen(
        command,
        text=True,
        start_new_session=True,
        preexec_fn=_prepare(core),  # noqa: PLW1509
        **options,
    )


def _prepare(core: int) -> Callable[[], None]:
    libc = ctypes.CDLL(None)
    set_parent_death_signal = 1

    def prepare() -> None:
        libc.prctl(set_parent_death_signal, signal.SIGTERM)
        os.sched_setaffinity(0, {core})

    return prepare


def stop(child: subprocess.Popen[str]) -> None:
    """End a child of `start` with its own children, and wait for it."""
    if child.poll() is not None:
        return
    os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


class Servers:
    """The ports of the running servers, and what nginx counted."""

    def __init__(self, plain: int, tls: int, delay: int, ca: str) -> None:
        self.plain, self.tls, self.delay, self.ca = plain, tls, delay, ca

    def urls(self, workload: Workload, run: int) -> list[str]:
        """Return the URLs of a workload for the ``run``-th run."""
        scheme, port = ("https", self.tls) if workload.tls else ("http", self.plain)
        if workload.burst:
            port = self.delay
        several = ceil(workload.in_flight / PER_ADDRESS)
        addresses = [ADDRESSES[(run + i) % len(ADDRESSES)] for i in range(several)]
        return [f"{scheme}://{address}:{port}{workload.path}" for address in addresses]

    def counted(self) -> tuple[int, int]:
        """Return the number of connections and of requests that nginx had until now."""
        connection = http.client.HTTPConnection(ADDRESSES[0], self.plain)
        connection.request("GET", "/status")
        found = re.search(r"(\d+) \d+ (\d+)", connection.getresponse().read().decode())
        connection.close()
        assert found
        return int(found[1]), int(found[2])


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Run both servers, with their files in ``folder``."""
    core = cores()[1]
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert(*ADDRESSES).private_key_and_cert_chain_pem.write_to_path(
        str(folder / "server.pem")
    )
    for name, length in (("large", LARGE), ("huge", HUGE)):
        with open(folder / name, "wb") as file:
            file.truncate(length)
    reserved = [_reserve_port() for _ in range(2)]
    plain, tls = (sock.getsockname()[1] for sock in reserved)
    listen = [f"listen {address}:{plain} backlog=4096;" for address in ADDRESSES]
    listen += [f"listen {address}:{tls} ssl backlog=4096;" for address in ADDRESSES]
    children = []
    try:
        children.append(
            start(
                nginx.command(folder, NGINX.format(folder=folder, listen="\n".join(listen))),
                core,
                stderr=subprocess.DEVNULL,
            )
        )
        delay = start(
            [sys.executable, "-m", "benchmarks.delay", str(DELAY), *ADDRESSES],
            core,
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        children.append(delay)
        assert delay.stdout
        port = int(delay.stdout.readline())
        nginx.wait_for(children[0], plain, folder)
        yield Servers(plain, tls, port, str(folder / "ca.pem"))
    finally:
        for child in children:
            stop(child)
        for sock in reserved:
            sock.close()


def _reserve_port() -> socket.socket:
    """Bind a port that nginx, which reuses the address, can bind too."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((ADDRESSES[0], 0))
    return reserved
