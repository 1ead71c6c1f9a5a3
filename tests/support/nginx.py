"""An nginx of the tests: in the foreground, on separate ports, ended by its process id."""

from __future__ import annotations

import asyncio
import http.client
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks import nginx

#: Every server answers with what it knows of the request.
ABOUT = """
location = /about {
    default_type application/json;
    return 200 '{
        "connection": $connection, "pid": $pid, "method": "$request_method", "uri": "$request_uri",
        "protocol": "$server_protocol", "tls": "$ssl_protocol", "subject": "$ssl_client_s_dn",
        "cookie": "$http_cookie", "user": "$remote_user", "host": "$http_host"
    }';
}
"""
STATUS = ("", "location = /status { stub_status; }")


class Nginx:
    """
    :arg folder: the directory that relative paths of the configuration start from.
    :arg servers: name -> what stands behind the address in ``listen``, and what stands in
        the server.
    """

    def __init__(self, folder: Path, servers: Mapping[str, tuple[str, str]]) -> None:
        self.folder = folder
        self._reserved: dict[str, socket.socket] = {}
        self._schemes: dict[str, str] = {}
        http = ""
        for name, (options, content) in {**servers, "status": STATUS}.items():
            # A port that is bound, and not listened on, stays reserved, and can
            # be bound once more by a process that reuses the address.
            reserved = self._reserved[name] = socket.socket()
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserved.bind(("127.0.0.1", 0))
            self._schemes[name] = "https" if "ssl" in options.split() else "http"
            http += f"server {{ listen 127.0.0.1:{self.port(name)} {options};{ABOUT}{content} }}\n"
        self._command = nginx.command(folder, http)
        self._child: subprocess.Popen[str] | None = None

    def port(self, server: str) -> int:
        return int(self._reserved[server].getsockname()[1])

    def url(self, server: str, path: str = "/about") -> str:
        return f"{self._schemes[server]}://127.0.0.1:{self.port(server)}{path}"

    def start(self) -> None:
        """Start it; return when it listens.

        :raises RuntimeError: with its error log, when it does not.
        """
        self._child = subprocess.Popen(self._command, text=True, stderr=subprocess.DEVNULL)
        nginx.wait_for(self._child, self.port("status"), self.folder)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it; return when it has ended. SIGQUIT is the graceful way."""
        if self._child is not None:
            self._child.send_signal(how)
            self._child.wait(20)
            self._child = None

    def reload(self) -> None:
        """As ``nginx -s reload``: returns at once."""
        assert self._child is not None
        self._child.send_signal(signal.SIGHUP)

    def close(self) -> None:
        try:
            self.stop()
        finally:
            for reserved in self._reserved.values():
                reserved.close()

    def connections(self) -> int:
        """Return how many connections are open."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port("status"), timeout=20)
        try:
            connection.request("GET", "/status")
            status = connection.getresponse().read().decode()
        finally:
            connection.close()
        found = re.search(r"Active connections: (\d+)", status)
        assert found
        # This one does not count.
        return int(found[1]) - 1

    async def closed_all(self) -> None:
        """Return when it has closed all of its connections."""
        await asyncio.to_thread(self.wait_closed_all)

    def wait_closed_all(self) -> None:
        """The same, while the loop of the caller stands still."""
        while self.connections():
            time.sleep(0.02)

    @contextmanager
    def log_shown(self) -> Iterator[None]:
        """Print what its error log has got meanwhile: to be seen where a test fails."""
        with open(self.folder / "error.log") as log:
            log.seek(0, 2)
            try:
                yield
            finally:
                print(log.read(), end="")
