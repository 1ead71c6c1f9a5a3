"""httpbin under waitress, as a separate process on a separate port."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVER = """
import socket, sys
import httpbin, waitress
waitress.serve(httpbin.app, sockets=[socket.socket(fileno=int(sys.argv[1]))], threads=8)
"""


@contextmanager
def httpbin(folder: Path) -> Iterator[str]:
    """Run httpbin with its output in a file in ``folder``, and yield its URL."""
    with socket.socket() as listener, open(folder / "httpbin.log", "w") as log:
        listener.bind(("127.0.0.1", 0))
        # Connections now wait until they are accepted.
        listener.listen(128)
        descriptor = listener.fileno()
        child = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(descriptor)],
            cwd=folder,
            pass_fds=[descriptor],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        port = listener.getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait(20)
        print((folder / "httpbin.log").read_text(), end="")
