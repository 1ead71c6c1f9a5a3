"""Measurements of the pages of a site in Chromium, at several widths."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--window-size=1500,1000"),
)

_SCRIPT = Path(__file__).with_suffix(".js")


class Measured(NamedTuple):
    """A page at a width in pixels."""

    page: str
    width: int
    #: Pixels by which the page is wider than its window.
    excess: int
    #: Tables and code that are wider than their space.
    cut: list[str]
    #: Pairs of programs of which one is below the other.
    stacked: list[str]
    #: Code without a copy button.
    uncopied: list[str]
    #: Output without a label.
    unlabelled: list[str]


class _Handler(SimpleHTTPRequestHandler):
    """Serves a folder and one script, and receives the measurements."""

    def __init__(
        self, *args: Any, script: bytes, received: queue.Queue[Any], **kwargs: Any
    ) -> None:
        self._script = script
        self._received = received
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        if self.path != "/measure":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(b"<!doctype html><body><script>%s</script>" % self._script)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        self._received.put(json.loads(body))

    def log_message(self, format: str, *args: Any) -> None:
        pass


def measure(site: Path, pages: list[str], widths: list[int], profile: Path) -> list[Measured]:
    """Return each page of a built site at each width.

    :arg profile: a new folder for Chromium.
    """
    received: queue.Queue[Any] = queue.Queue()
    constants = f"const PAGES = {json.dumps(pages)}, WIDTHS = {json.dumps(widths)};\n"
    script = constants + _SCRIPT.read_text("utf-8")
    handler = partial(_Handler, directory=str(site), script=script.encode(), received=received)
    with _serving(handler) as port, _browsing(f"http://127.0.0.1:{port}/measure", profile):
        return [Measured(**page) for page in received.get(timeout=120)]


@contextmanager
def _serving(handler: Any) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def _browsing(url: str, profile: Path) -> Iterator[None]:
    assert CHROMIUM is not None
    browser = subprocess.Popen(
        [CHROMIUM, *_OPTIONS, f"--user-data-dir={profile}", url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        browser.terminate()
        browser.wait()
