"""An nginx with all of its files in one folder, for the benchmark and the tests."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from pathlib import Path

CONFIGURATION = """
daemon off;
user {user};
worker_processes 1;
worker_rlimit_nofile 16384;
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    default_type text/plain;
    sendfile on;
    tcp_nodelay on;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {http}
}}
"""


def find() -> str | None:
    """Return the path of nginx, which is often not in the PATH of a user."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def command(folder: Path, http: str) -> list[str]:
    """Return the command line of an nginx that stays in the foreground.

    :arg folder: where its configuration is written, and all of its files will be.
    :arg http: what stands in the part of HTTP: the servers.
    :raises FileNotFoundError: without nginx.
    """
    binary = find()
    if binary is None:
        raise FileNotFoundError("nginx is not installed")
    user = pwd.getpwuid(os.getuid()).pw_name
    (folder / "nginx.conf").write_text(CONFIGURATION.format(folder=folder, user=user, http=http))
    return [binary, "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"]


def wait_for(child: subprocess.Popen[str], port: int, folder: Path) -> None:
    """Wait until nginx listens on a port of 127.0.0.1.

    :raises RuntimeError: with its error log, when it has ended or takes too long.
    """
    for _ in range(400):
        if child.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise RuntimeError(f"nginx does not listen: {(folder / 'error.log').read_text()}")
