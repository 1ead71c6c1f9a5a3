"""A process with a separate name server, for failures of DNS resolution.

/etc/resolv.conf selects the name server. A mount namespace replaces this file. A network
namespace has only loopback, where port 53 is free.
"""

from __future__ import annotations

import fcntl
import functools
import json
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[2]

# The resolver sends a question once, and waits for the answer longer than any test.
_RESOLV_CONF = "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n"
_ENTER = ["unshare", "--map-root-user", "--net", "--mount", "sh", "-ec"]
_HIDE = 'mount --bind "$1" /etc/resolv.conf; shift; exec "$@"'
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
# RCODE (RFC 1035, section 4.1.1) of a response that has nothing else.
_RCODES = {"empty": 0, "servfail": 2, "nxdomain": 3, "refused": 5}


@functools.cache
def reason_against() -> str:
    """Return why such a process is impossible here, or an empty string."""
    if shutil.which("unshare") is None:
        return "there is no unshare(1)"
    tried = _run([sys.executable, "-c", ""])
    return "" if tried.returncode == 0 else f"no namespaces: {tried.stderr.strip()}"


def outcomes(transport: str) -> dict[str, dict[str, Any]]:
    """Return the outcomes of the rows that need a name server, by their names."""
    ran = _run([sys.executable, "-m", "tests.faults", "--dns", "--transport", transport])
    assert ran.returncode == 0, ran.stderr
    found: dict[str, dict[str, Any]] = json.loads(ran.stdout)
    return found


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as resolv_conf:
        resolv_conf.write(_RESOLV_CONF)
        resolv_conf.flush()
        return subprocess.run(
            [*_ENTER, _HIDE, "sh", resolv_conf.name, *command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )


def bring_up_loopback() -> None:
    """Make the network of a new namespace usable."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        fcntl.ioctl(asking, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


class NameServer:
    """Answers every question by ``behaviour``. ``"silent"``: at the end."""

    def __init__(self, behaviour: str) -> None:
        self._behaviour = behaviour
        self._held: list[tuple[bytes, Any]] = []

    def __enter__(self) -> None:
        if self._behaviour == "absent":
            return
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            question, address = self._socket.recvfrom(4096)
            if not question:
                break
            if self._behaviour == "silent":
                self._held.append((question, address))
            else:
                self._answer(question, address, _RCODES[self._behaviour])
        for question, address in self._held:
            self._answer(question, address, _RCODES["nxdomain"])

    def _answer(self, question: bytes, address: Any, code: int) -> None:
        # The question, its flags those of an answer, no records: RFC 1035, section 4.1.
        flags = bytes([0x81, 0x80 | code])
        self._socket.sendto(
            question[:2] + flags + question[4:6] + bytes(6) + question[12:], address
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._behaviour == "absent":
            return
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ending:
            ending.sendto(b"", ("127.0.0.1", 53))
        self._thread.join()
        self._socket.close()
