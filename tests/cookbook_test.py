"""The examples of docs/guide/cookbook.md, on both transports, with real peers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import tenacity
from tornado.web import RequestHandler

import turbo_tornado
from tests.support.certificates import Certificates
from tests.support.missing import import_peer, missing
from tests.support.proxy import find_tinyproxy, tinyproxy
from tests.support.recipes import Recipe, Site, run_blocks, sections_of
from turbo_tornado import FetchError, RequestEvent, errors

PAGE = "docs/guide/cookbook.md"
LARGE = 5_000_000
PEERS = {"test_opentelemetry": "opentelemetry.sdk", "test_vcrpy": "vcr"}


@pytest.fixture
async def silent_site(certificates: Certificates) -> AsyncIterator[Site]:
    """A server that does not listen yet."""
    site = Site(certificates.server_context())
    yield site
    await site.close()


@pytest.fixture
def site(silent_site: Site) -> Site:
    silent_site.listen()
    return silent_site


@pytest.fixture
def proxy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if "proxy" not in request.function.__name__:
        yield ""
        return
    if not sys.platform.startswith("linux"):
        pytest.skip("elsewhere a port cannot be reserved for tinyproxy")
    if find_tinyproxy() is None:
        missing("tinyproxy")
    with tinyproxy(tmp_path, "BasicAuth user password") as port:
        yield f"user:password@127.0.0.1:{port}"


@pytest.fixture
def recipes(
    request: pytest.FixtureRequest,
    silent_site: Site,
    proxy: str,
    transport: str,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[list[Recipe]]:
    """The examples of the section that the test is named after."""
    name = request.function.__name__
    if name in PEERS:
        import_peer(PEERS[name])
    monkeypatch.setenv("SSL_CERT_FILE", certificates.ca)
    turbo_tornado.configure(transport)
    addresses = {
        "https://api.example.com": silent_site.origin,
        "user:password@proxy.example.com:3128": proxy,
    }
    yield run_blocks(PAGE, name, addresses)
    turbo_tornado.reset()


def test_every_section_has_a_test() -> None:
    assert sections_of(PAGE).keys() <= globals().keys()


async def test_bearer_token(recipes: list[Recipe], site: Site) -> None:
    def profile(handler: RequestHandler) -> None:
        if handler.request.headers.get("Authorization") != "Bearer s3cret":
            handler.set_status(401)
        handler.write({"name": "turbo"})

    [recipe] = recipes
    site.answers["/profile"] = profile
    assert await recipe.fetch_profile("s3cret") == {"name": "turbo"}
    with pytest.raises(RuntimeError, match="401"):
        await recipe.fetch_profile("wrong")


async def test_token_that_expires(recipes: list[Recipe], site: Site) -> None:
    issued: list[str] = []

    def token(handler: RequestHandler) -> None:
        basic = "Basic " + base64.b64encode(b"app:s3cret").decode()
        assert handler.request.headers["Authorization"] == basic
        assert handler.get_body_argument("grant_type") == "client_credentials"
        issued.append(f"token-{len(issued)}")
        handler.write({"access_token": issued[-1]})

    def items(handler: RequestHandler) -> None:
        if handler.request.headers["Authorization"] != "Bearer token-1":
            handler.set_status(401)
        handler.write({"page": handler.get_query_argument("page")})

    [recipe] = recipes
    site.answers.update({"/token": token, "/items": items})
    service = recipe.Service("app", "s3cret")
    fetches = [service.fetch(f"{site.origin}/items", params={"page": n}) for n in range(5)]
    responses = await asyncio.gather(*fetches)
    assert [res.json()["page"] for res in responses] == [str(n) for n in range(5)]
    assert len(issued) == 2


async def test_json(recipes: list[Recipe], site: Site) -> None:
    def items(handler: RequestHandler) -> None:
        name = json.loads(handler.request.body)["name"]
        assert handler.request.headers["Content-Type"] == "application/json"
        if name == "taken":
            handler.set_status(422)
            handler.write({"reason": "the name is taken"})
        elif name == "html":
            handler.set_status(502)
            handler.write("<html>")
        elif name == "closed":
            handler.detach().close()
        else:
            handler.write({"id": 7})

    [recipe] = recipes
    site.answers["/items"] = items
    assert await recipe.create_item("lamp") == 7
    assert await recipe.create_item("taken") == "rejected: the name is taken"
    assert await recipe.create_item("html") == "no JSON: 502 <html>"
    assert (await recipe.create_item("closed")).startswith("no response: ")


async def test_multipart(recipes: list[Recipe], site: Site, tmp_path: Path) -> None:
    def reports(handler: RequestHandler) -> None:
        files = handler.request.files
        assert handler.get_body_argument("title") == "may"
        [report], [summary] = files["report"], files["summary"]
        assert (report["filename"], report["body"]) == ("may.pdf", b"%PDF-" * 1000)
        assert report["content_type"] == "application/pdf"
        assert (summary["filename"], summary["body"]) == ("summary.txt", "gut, ø".encode())
        handler.set_status(201)

    [recipe] = recipes
    site.answers["/reports"] = reports
    path = tmp_path / "may.pdf"
    path.write_bytes(b"%PDF-" * 1000)
    assert await recipe.send_report(path, "gut, ø") == 201


async def test_download_with_progress(recipes: list[Recipe], site: Site, tmp_path: Path) -> None:
    async def large(handler: RequestHandler) -> None:
        handler.set_header("Content-Length", LARGE)
        if handler.request.method == "GET":
            for _ in range(50):
                handler.write(b"x" * (LARGE // 50))
                await handler.flush()

    def gone(handler: RequestHandler) -> None:
        handler.set_status(404)
        handler.write("gone")

    [recipe] = recipes
    site.answers.update({"/large": large, "/gone": gone})
    progress: list[tuple[int, int]] = []
    path = tmp_path / "large"
    await recipe.download(f"{site.origin}/large", path, lambda *numbers: progress.append(numbers))
    assert path.read_bytes() == b"x" * LARGE
    assert len(progress) > 10
    assert progress == sorted(progress)
    assert progress[-1] == (LARGE, LARGE)
    with pytest.raises(RuntimeError, match="404"):
        await recipe.download(f"{site.origin}/gone", tmp_path / "gone", lambda *numbers: None)
    assert [*tmp_path.iterdir()] == [path]


async def test_upload_of_a_large_file(recipes: list[Recipe], site: Site, tmp_path: Path) -> None:
    content = b"0123456789" * (LARGE // 10)

    def put(handler: RequestHandler) -> None:
        assert handler.request.headers["Content-Length"] == str(LARGE)
        received = hashlib.sha256(handler.request.body).digest()
        handler.set_status(201 if received == hashlib.sha256(content).digest() else 400)

    [recipe] = recipes
    site.answers["/disk"] = put
    path = tmp_path / "disk.img"
    path.write_bytes(content)
    assert await recipe.upload(f"{site.origin}/disk", path) == 201


async def test_upload_from_an_async_iterable(recipes: list[Recipe], site: Site) -> None:
    received: list[Any] = []

    def receive(handler: RequestHandler) -> None:
        assert handler.request.headers["Transfer-Encoding"] == "chunked"
        received.extend(json.loads(line) for line in handler.request.body.splitlines())

    async def rows() -> AsyncIterator[dict[str, int]]:
        for number in range(1000):
            await asyncio.sleep(0)
            yield {"number": number}

    [recipe] = recipes
    site.answers["/import"] = receive
    assert await recipe.export(rows()) == 200
    assert received == [{"number": number} for number in range(1000)]


async def test_retry_with_tenacity(recipes: list[Recipe], silent_site: Site) -> None:
    site, outcomes = silent_site, []

    def listen_after_the_first(event: RequestEvent) -> None:
        outcomes.append(event.error.code if isinstance(event.error, FetchError) else event.code)
        if len(outcomes) == 1:
            site.listen()

    def orders(handler: RequestHandler) -> None:
        if len(site.requests) > 1:
            handler.detach().close()

    def patient(handler: RequestHandler) -> None:
        handler.set_status(503 if len(site.requests) in (1, 2) else 200)

    order, patiently = recipes
    for function in (order.create_order, patiently.fetch_patiently):
        function.retry.wait = tenacity.wait_none()
    turbo_tornado.configure(on_response=listen_after_the_first)
    site.answers.update({"/orders": orders, "/patient": patient})
    assert (await order.create_order({"item": 7})).code == 200
    assert outcomes == [errors.COULD_NOT_CONNECT, 200]
    # The server received this one.
    with pytest.raises(FetchError):
        await order.create_order({"item": 8})
    assert len(site.requests) == 2

    site.requests.clear()
    assert (await patiently.fetch_patiently(f"{site.origin}/patient")).code == 200
    assert len(site.requests) == 3
    site.answers["/patient"] = lambda handler: handler.set_status(503)
    assert (await patiently.fetch_patiently(f"{site.origin}/patient")).code == 503
    assert len(site.requests) == 7


async def test_proxy(
    recipes: list[Recipe], site: Site, closed_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    [recipe] = recipes
    site.answers["/latest"] = lambda handler: handler.write({"version": 3})
    assert (await recipe.fetch_outside(f"{site.origin}/latest")).json() == {"version": 3}
    assert "Proxy-Authorization" not in site.requests[0].headers
    recipe["PROXY"] = f"http://user:password@127.0.0.1:{closed_port}"
    assert (await recipe.fetch_outside(f"{site.origin}/latest")).error is not None
    assert f"the proxy 127.0.0.1:{closed_port}" in capsys.readouterr().out


async def test_fan_out_with_a_limit(recipes: list[Recipe], site: Site) -> None:
    active, most, full = 0, 0, asyncio.Event()

    async def item(handler: RequestHandler) -> None:
        nonlocal active, most
        active += 1
        most = max(most, active)
        if active == 10:
            full.set()
        await full.wait()
        active -= 1
        handler.write({"path": handler.request.path})

    def missing(handler: RequestHandler) -> None:
        handler.set_status(404)

    urls = [f"{site.origin}/{number}" for number in range(30)]
    site.answers.update({f"/{number}": item for number in range(30)})
    semaphore, queue = recipes
    responses = await queue.fetch_through_queue(urls)
    assert [res.json()["path"] for res in responses] == [f"/{number}" for number in range(30)]
    assert most == 10
    most = 0
    full.clear()
    site.answers["/29"] = missing
    found, failed = await semaphore.fetch_all(urls)
    assert {url: value["path"] for url, value in found.items()} == {
        f"{site.origin}/{number}": f"/{number}" for number in range(29)
    }
    assert failed == {f"{site.origin}/29": 404}
    assert most == 10


async def test_server_sent_events(recipes: list[Recipe], site: Site) -> None:
    stream = (
        "\ufeff: a comment\r\n\r\nid: 1\r\ndata: gr\u00fcn\r\n\r\n"
        "event: price\ndata:1\ndata: 2\n\nid: 3\revent: end\rdata\r\rdata: incomplete\n"
    ).encode()

    async def events(handler: RequestHandler) -> None:
        handler.set_header("Content-Type", "text/event-stream")
        for index in range(len(stream)):
            handler.write(stream[index : index + 1])
            await handler.flush()

    async def note(*event: Any) -> None:
        await asyncio.sleep(0)
        received.append(event)

    [recipe] = recipes
    received: list[Any] = []
    site.answers["/events"] = events
    res, last_id = await recipe.receive_events(f"{site.origin}/events", note)
    assert (res.error, res.code, last_id) == (None, 200, "3")
    assert received == [("message", "grün", "1"), ("price", "1\n2", "1"), ("end", "", "3")]
    assert "Last-Event-ID" not in site.requests[0].headers
    await recipe.receive_events(f"{site.origin}/events", note, last_id)
    assert site.requests[1].headers["Last-Event-ID"] == "3"


async def test_opentelemetry(recipes: list[Recipe], site: Site) -> None:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    [recipe] = recipes
    site.answers["/latest"] = lambda handler: handler.write({"version": 3})
    exporter = InMemorySpanExporter()
    provider = recipe.start_tracing(exporter)
    try:
        await recipe.fetch_in_span(provider, f"{site.origin}/latest")
        provider.force_flush()
    finally:
        recipe.TurboTornadoInstrumentor().uninstrument()
        provider.shutdown()
    client, own = exporter.get_finished_spans()
    assert (client.name, own.name) == ("GET", "checkout")
    assert client.parent == own.get_span_context()
    trace_id = f"{own.get_span_context().trace_id:032x}"
    assert trace_id in site.requests[0].headers["traceparent"]


async def test_vcrpy(
    recipes: list[Recipe], site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    [recipe] = recipes
    site.answers["/latest"] = lambda handler: handler.write({"version": 3})
    await recipe.test_latest()
    await recipe.test_latest()
    assert len(site.requests) == 1
    assert "s3cret" not in Path("cassettes/latest.yaml").read_text()
