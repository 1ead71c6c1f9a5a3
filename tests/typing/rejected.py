"""Code that type checkers must reject. Never run.

Each line has the error in its ``ignore``. mypy reports an unused ``ignore``, and therefore each
line that it accepts.
"""

from __future__ import annotations

import io

from turbo_tornado import FetchKeywords, HTTPClient, HTTPHeaders, HTTPResponse, configure, errors
from turbo_tornado.testing import Answer, StubTransport

client = HTTPClient()


def keywords() -> None:
    client.fetch("http://localhost/", allow_redirect=True)  # type: ignore[call-arg]
    client.fetch("http://localhost/", method=1)  # type: ignore[arg-type]
    client.fetch("http://localhost/", request_timeout="15")  # type: ignore[arg-type]
    client.fetch("http://localhost/", http_version="HTTP/3")  # type: ignore[arg-type]
    client.fetch("http://localhost/", body={"a": 1})  # type: ignore[dict-item]
    client.fetch("http://localhost/", body=["a"])  # type: ignore[list-item]
    client.fetch("http://localhost/", body=io.StringIO())  # type: ignore[arg-type]
    client.fetch("http://localhost/", streaming_callback=b"a")  # type: ignore[arg-type]
    client.fetch("http://localhost/", streaming_callback=lambda: None)  # type: ignore[misc, arg-type]
    client.fetch("http://localhost/", params="a=1")  # type: ignore[arg-type]
    client.fetch("http://localhost/", cookie=["a"])  # type: ignore[arg-type]
    client.fetch("http://localhost/", on_headers=lambda: None)  # type: ignore[misc, arg-type]
    client.fetch("http://localhost/", headers="A: b")  # type: ignore[arg-type]
    client.fetch("http://localhost/", headers={"A": None})  # type: ignore[dict-item]
    client.fetch("http://localhost/", files={"a": "x.txt"})  # type: ignore[dict-item]
    client.fetch(b"http://localhost/")  # type: ignore[arg-type]
    client.fetch()  # type: ignore[call-arg]


def tables() -> None:
    client.fetch("http://localhost/", {"max_redirect": 2})  # type: ignore[arg-type]
    client.fetch("http://localhost/", {"keep_alive": "no"})  # type: ignore[arg-type]
    table: FetchKeywords = {"timeout": 5}  # type: ignore[typeddict-unknown-key]
    client.fetch("http://localhost/", table)


def clients() -> None:
    HTTPClient({"verify": False})  # type: ignore[arg-type]
    HTTPClient({"verify_ca": "no"})  # type: ignore[arg-type]
    HTTPClient(max_buffer_size="1")  # type: ignore[arg-type]
    HTTPClient(transport=5)  # type: ignore[arg-type]
    HTTPClient(transport="urllib")  # type: ignore[arg-type]
    configure("urllib")  # type: ignore[arg-type]
    configure("auto", timeout=5)  # type: ignore[call-arg]


def responses(res: HTTPResponse, headers: HTTPHeaders) -> None:
    print(res.error.code)  # type: ignore[union-attr]
    print(res.status)  # type: ignore[attr-defined]
    headers.set("A", None)  # type: ignore[arg-type]
    print(errors.TIMEOUT)  # type: ignore[attr-defined]


def stubs(stub: StubTransport) -> None:
    stub.get("/", stauts=404)  # type: ignore[call-arg]
    stub.get("/", status="404")  # type: ignore[arg-type]
    stub.get("/", error=-3)  # type: ignore[arg-type]
    stub.get("/", 404)  # type: ignore[arg-type]
    stub.get("/", lambda request: 404)  # type: ignore[arg-type, return-value]
    stub.get("/", lambda: Answer(404))  # type: ignore[arg-type, misc]
    stub.get(b"/")  # type: ignore[arg-type]


async def without_await() -> None:
    print(client.fetch("http://localhost/").body)  # type: ignore[attr-defined]
