"""An nginx of the tests, in the foreground and on separate ports."""

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

#: Every server responds with its variables of the request.
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
            # A bound port without a listener stays reserved, and a process that reuses the address
            # can bind it.
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
        """Start nginx, and wait until it listens.

        :raises RuntimeError: with its error log, if it does not listen.
        """
        self._child = subprocess.Popen(self._command, text=True, stderr=subprocess.DEVNULL)
        nginx.wait_for(self._child, self.port("status"), self.folder)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End nginx, and wait for its end. SIGQUIT ends it gracefully."""
        if self._child is not None:
            self._child.send_signal(how)
            self._child.wait(20)
            self._child = None

    def reload(self) -> None:
        """Reload the configuration like ``nginx -s reload``, without waiting."""
        assert self._child is not None
        self._child.send_signal(signal.SIGHUP)

    def close(self) -> None:
        try:
            self.stop()
        finally:
            for reserved in self._reserved.values():
                reserved.close()

    def connections(self) -> int:
        """Return the number of open connections."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port("status"), timeout=20)
        try:
            connection.request("GET", "/status")
            status = connection.getresponse().read().decode()
        finally:
            connection.close()
        found = re.search(r"Active connections: (\d+)", status)
        assert found
        # Without the connection of this request.
        return int(found[1]) - 1

    async def closed_all(self) -> None:
        """Wait until nginx has closed all of its connections."""
        await asyncio.to_thread(self.wait_closed_all)

    def wait_closed_all(self) -> None:
        """Do the same, while the loop of the caller is blocked."""
        while self.connections():
            time.sleep(0.02)

    @contextmanager
    def log_shown(self) -> Iterator[None]:
        """Print the new lines of the error log, which pytest shows for a failed test."""
        with open(self.folder / "error.log") as log:
            log.seek(0, 2)
            try:
                yield
            finally:
                print(log.read(), end="")
