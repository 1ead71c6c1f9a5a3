"""The SDK of OpenTelemetry, alone and together with its instrumentor for Tornado."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient

from tests.support import Fetch, MakeClient, MakePeer, StartProgram, response
from tests.support.missing import import_peer
from tests.support.server import Server
from turbo_tornado import HTTPClient, RequestEvent, configure, errors, reset

for name in ("opentelemetry.sdk", "opentelemetry.instrumentation.tornado", "opentelemetry.distro"):
    import_peer(name)

from opentelemetry import baggage, context, propagate, trace
from opentelemetry.instrumentation.tornado import TornadoInstrumentor
from opentelemetry.instrumentation.utils import (
    suppress_http_instrumentation,
    suppress_instrumentation,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from turbo_tornado.opentelemetry import TurboTornadoInstrumentor


class SDK:
    """The providers and their records."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meter_provider = MeterProvider([self._reader])
        self.tracer = self.tracer_provider.get_tracer("test")

    def instrument(self, *instrumentors: Any) -> None:
        for instrumentor in instrumentors:
            instrumentor.instrument(
                tracer_provider=self.tracer_provider, meter_provider=self.meter_provider
            )

    def spans(self) -> list[ReadableSpan]:
        """Return the spans of clients."""
        finished = self._exporter.get_finished_spans()
        return [span for span in finished if span.kind is trace.SpanKind.CLIENT]

    def points(self, name: str) -> list[Any]:
        """Return the data points of a metric."""
        data = self._reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def bare_sdk() -> Iterator[SDK]:
    sdk = SDK()
    yield sdk
    for instrumentor in (TurboTornadoInstrumentor(), TornadoInstrumentor()):
        if instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.uninstrument()
    sdk.tracer_provider.shutdown()
    sdk.meter_provider.shutdown()


@pytest.fixture
def sdk(bare_sdk: SDK) -> SDK:
    bare_sdk.instrument(TurboTornadoInstrumentor())
    return bare_sdk


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def traceparent(span: ReadableSpan) -> str:
    own = span.get_span_context()
    return f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags:02x}"


# Spans


async def test_span_of_a_response(sdk: SDK, fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b"body"))
    with sdk.tracer.start_as_current_span("outer") as outer:
        await fetch(peer.url("/a?b=c"), method="put", body="x")
    [span] = sdk.spans()
    assert span.name == "PUT"
    assert attributes_of(span) == {
        "http.request.method": "PUT",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "server.address": "127.0.0.1",
        "server.port": peer.port,
        "url.full": peer.url("/a?b=c"),
    }
    assert span.status.status_code is trace.StatusCode.UNSET
    assert span.parent == outer.get_span_context()
    assert span.instrumentation_scope.name == "turbo_tornado.opentelemetry"
    assert span.instrumentation_scope.schema_url == "https://opentelemetry.io/schemas/1.23.1"
    assert [request.field("traceparent") for request in peer.requests] == [traceparent(span)]
    assert span.start_time is not None and span.end_time is not None
    assert outer.start_time <= span.start_time < span.end_time  # type: ignore[attr-defined]


async def test_each_redirect_is_a_span(sdk: SDK, fetch: Fetch, server: Server) -> None:
    with sdk.tracer.start_as_current_span("outer") as outer:
        await fetch(server.url("/redirect/2"))
    spans = sdk.spans()
    assert [span.parent for span in spans] == [outer.get_span_context()] * 3
    assert [
        (
            attributes_of(span)["http.response.status_code"],
            attributes_of(span).get("http.request.resend_count"),
            span.status.status_code,
        )
        for span in spans
    ] == [
        (302, None, trace.StatusCode.UNSET),
        (302, 1, trace.StatusCode.UNSET),
        (200, 2, trace.StatusCode.UNSET),
    ]
    sent = [dict(request["headers"])["Traceparent"] for request in server.requests]
    assert sent == [traceparent(span) for span in spans]


@pytest.mark.parametrize("code", [400, 404, 503])
async def test_span_of_an_error_status(sdk: SDK, fetch: Fetch, server: Server, code: int) -> None:
    await fetch(server.url(f"/status/{code}"))
    [span] = sdk.spans()
    attributes = attributes_of(span)
    assert attributes["http.response.status_code"] == code
    assert attributes["error.type"] == str(code)
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.status.description is None


async def test_span_of_a_failure(sdk: SDK, fetch: Fetch, closed_port: int) -> None:
    res = await fetch(f"http://127.0.0.1:{closed_port}/")
    [span] = sdk.spans()
    assert res.error is not None
    assert attributes_of(span) == {
        "error.type": "COULD_NOT_CONNECT",
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": closed_port,
        "url.full": f"http://127.0.0.1:{closed_port}/",
    }
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.status.description == res.error.message


async def test_span_of_one_redirect_over_max_redirects(
    sdk: SDK, fetch: Fetch, server: Server
) -> None:
    res = await fetch(server.url("/redirect/1"), max_redirects=0)
    assert res.error is not None and res.error.code is errors.REDIRECT_MAX
    [span] = sdk.spans()
    attributes = attributes_of(span)
    assert attributes["http.response.status_code"] == 302
    assert attributes["error.type"] == "REDIRECT_MAX"
    assert span.status.status_code is trace.StatusCode.ERROR


async def test_span_of_a_cancelled_fetch(
    sdk: SDK, make_client: MakeClient, raw_peer: MakePeer
) -> None:
    peer = await raw_peer(b"")
    future = make_client().fetch(peer.url())
    await peer.received()
    assert sdk.spans() == []
    future.cancel()
    [span] = sdk.spans()
    assert attributes_of(span)["error.type"] == "asyncio.exceptions.CancelledError"
    assert span.status.status_code is trace.StatusCode.ERROR


async def test_unsent_request_has_no_span(sdk: SDK, fetch: Fetch) -> None:
    assert (await fetch("ftp://a/")).error is not None
    assert sdk.spans() == []


async def test_span_of_an_unknown_method(sdk: SDK, fetch: Fetch, server: Server) -> None:
    await fetch(server.url(), method="PROPFIND")
    [span] = sdk.spans()
    assert span.name == "HTTP"
    attributes = attributes_of(span)
    assert attributes["http.request.method"] == "_OTHER"
    assert attributes["http.request.method_original"] == "PROPFIND"
    [point] = sdk.points("http.client.request.duration")
    assert point.attributes["http.request.method"] == "_OTHER"


async def test_known_methods_of_the_environment(
    bare_sdk: SDK, fetch: Fetch, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "PROPFIND,GET")
    bare_sdk.instrument(TurboTornadoInstrumentor())
    await fetch(server.url(), method="PROPFIND")
    await fetch(server.url(), method="DELETE")
    assert [span.name for span in bare_sdk.spans()] == ["PROPFIND", "HTTP"]


async def test_secrets_are_redacted(sdk: SDK, fetch: Fetch, server: Server) -> None:
    query = "X-Goog-Signature=secret&a=sig&sig=secret&Signature=&AWSAccessKeyId=secret"
    url = server.url(f"/redirect/1?{query}")
    await fetch(url.replace("//", "//secret:secret@"))
    first, second = (attributes_of(span)["url.full"] for span in sdk.spans())
    where = f"127.0.0.1:{server.port}"
    redacted = query.replace("=secret", "=REDACTED").replace("Signature=&", "Signature=REDACTED&")
    assert first == f"http://REDACTED:REDACTED@{where}/redirect/1?{redacted}"
    assert second == f"http://{where}/echo"
    assert not [span for span in sdk.spans() if "secret" in span.to_json()]


async def test_baggage_is_sent(sdk: SDK, fetch: Fetch, raw_peer: MakePeer) -> None:
    peer = await raw_peer(response(b""))
    token = context.attach(baggage.set_baggage("tenant", "a\r\nX-B: c"))
    try:
        await fetch(peer.url())
    finally:
        context.detach(token)
    assert peer.requests[0].field("baggage") == "tenant=a%0D%0AX-B%3A+c"


async def test_spans_of_concurrent_fetches_have_their_parents(
    sdk: SDK, make_client: MakeClient, server: Server
) -> None:
    async def one(name: str) -> None:
        with sdk.tracer.start_as_current_span(name):
            await make_client().fetch(server.url("/redirect/1"), params={"name": name})

    await asyncio.gather(*map(one, "abcd"))
    parents = {span.parent.span_id for span in sdk.spans() if span.parent is not None}
    assert len(sdk.spans()) == 8 and len(parents) == 4


# Metrics


async def test_duration_metric(sdk: SDK, fetch: Fetch, server: Server, closed_port: int) -> None:
    await fetch(server.url())
    await fetch(server.url("/echo?a=b"))
    await fetch(server.url("/status/404"))
    await fetch(f"http://127.0.0.1:{closed_port}/")
    points = sdk.points("http.client.request.duration")
    common = {"http.request.method": "GET", "server.address": "127.0.0.1"}
    response = {**common, "server.port": server.port, "network.protocol.version": "1.1"}
    assert {point.count: dict(point.attributes) for point in points if point.count > 1} == {
        2: {**response, "http.response.status_code": 200}
    }
    rest = [dict(point.attributes) for point in points if point.count == 1]
    assert sorted(rest, key=len) == [
        {**common, "server.port": closed_port, "error.type": "COULD_NOT_CONNECT"},
        {**response, "http.response.status_code": 404, "error.type": "404"},
    ]
    for point in points:
        assert tuple(point.explicit_bounds) == (
            *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
        )
        assert 0 < point.sum < 10


# Instrument and uninstrument


@pytest.mark.parametrize("suppress", [suppress_instrumentation, suppress_http_instrumentation])
async def test_suppressed_instrumentation(
    sdk: SDK, fetch: Fetch, raw_peer: MakePeer, suppress: Callable[[], Any]
) -> None:
    peer = await raw_peer(response(b""))
    with suppress():
        await fetch(peer.url())
    assert peer.requests[0].field("traceparent") is None
    assert sdk.spans() == sdk.points("http.client.request.duration") == []


async def test_uninstrument(sdk: SDK, make_client: MakeClient, raw_peer: MakePeer) -> None:
    peer = await raw_peer(b"")
    begun = make_client().fetch(peer.url())
    await peer.received()
    TurboTornadoInstrumentor().uninstrument()
    later = make_client().fetch(peer.url())
    await peer.received(2)
    begun.cancel()
    later.cancel()
    assert peer.requests[1].field("traceparent") is None
    assert len(sdk.spans()) == 1


async def test_together_with_hooks(sdk: SDK, fetch: Fetch, server: Server) -> None:
    seen: list[str | None] = []

    def note(event: RequestEvent) -> None:
        seen.append(event.headers.get("traceparent"))

    configure(on_request=note)
    await fetch(server.url())
    reset()
    await fetch(server.url())
    spans = sdk.spans()
    assert seen == [traceparent(spans[0])]
    assert len(spans) == 2


async def test_without_a_provider(fetch: Fetch, raw_peer: MakePeer) -> None:
    """Without a provider, the trace of the caller is propagated."""
    peer = await raw_peer(response(b""))
    TurboTornadoInstrumentor().instrument(tracer_provider=trace.NoOpTracerProvider())
    caller = f"00-{'1' * 32}-{'2' * 16}-01"
    token = context.attach(propagate.extract({"traceparent": caller}))
    try:
        assert (await fetch(peer.url())).error is None
    finally:
        context.detach(token)
        TurboTornadoInstrumentor().uninstrument()
    assert peer.requests[0].field("traceparent") == caller


# Together with the instrumentor of Tornado

TRANSPORTS = [
    "turbo_tornado.transports.simple.SimpleTransport",
    "turbo_tornado.transports.curl.CurlTransport",
    "tornado.simple_httpclient.SimpleAsyncHTTPClient",
    "tornado.curl_httpclient.CurlAsyncHTTPClient",
]


@pytest.fixture(params=TRANSPORTS)
def kind(request: pytest.FixtureRequest) -> Any:
    module, _, name = str(request.param).rpartition(".")
    return getattr(pytest.importorskip(module), name)


@pytest.mark.parametrize("order", [1, -1])
async def test_one_span_with_both(bare_sdk: SDK, kind: Any, server: Server, order: int) -> None:
    bare_sdk.instrument(*[TurboTornadoInstrumentor(), TornadoInstrumentor()][::order])
    res = await HTTPClient(transport=kind).fetch(server.url())
    assert res.code == 200
    [span] = bare_sdk.spans()
    assert span.instrumentation_scope.name == "turbo_tornado.opentelemetry"
    [request] = server.requests
    sent = [value for name, value in request["headers"] if name == "Traceparent"]
    assert sent == [traceparent(span)]
    assert bare_sdk.points("http.client.duration") == []


async def test_each_redirect_is_one_span_with_both(
    bare_sdk: SDK, kind: Any, server: Server
) -> None:
    bare_sdk.instrument(TurboTornadoInstrumentor(), TornadoInstrumentor())
    assert (await HTTPClient(transport=kind).fetch(server.url("/redirect/2"))).code == 200
    assert len(bare_sdk.spans()) == 3


async def test_tornado_api_with_both(bare_sdk: SDK, kind: Any, server: Server) -> None:
    bare_sdk.instrument(TurboTornadoInstrumentor(), TornadoInstrumentor())
    client: AsyncHTTPClient = kind(force_instance=True)
    try:
        assert (await client.fetch(server.url())).code == 200
        await asyncio.sleep(0)
    finally:
        client.close()
    [span] = bare_sdk.spans()
    assert span.instrumentation_scope.name == "opentelemetry.instrumentation.tornado"


# The command

PROGRAM = """
import asyncio
import sys

from turbo_tornado import HTTPClient


async def main():
    response = await HTTPClient(transport=sys.argv[2]).fetch(sys.argv[1])
    print(response.code)


asyncio.run(main())
"""


async def test_opentelemetry_instrument(
    transport: str, server: Server, start_program: StartProgram, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(PROGRAM)
    root = str(Path(__file__).parents[2])
    command = Path(sys.executable).parent / "opentelemetry-instrument"
    process = await start_program(
        *(str(command), sys.executable, "app.py", server.url(), transport),
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": root,
            "OTEL_TRACES_EXPORTER": "console",
            "OTEL_METRICS_EXPORTER": "console",
            "OTEL_LOGS_EXPORTER": "none",
            # Milliseconds. The spans are exported at the end of the program.
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
        },
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    code, _, rest = out.decode().partition("\n")
    assert code == "200", err.decode()
    exported = []
    while rest := rest.strip():
        document, end = json.JSONDecoder().raw_decode(rest)
        exported.append(document)
        rest = rest[end:]
    [span] = [document for document in exported if "kind" in document]
    assert (span["name"], span["kind"]) == ("GET", "SpanKind.CLIENT")
    assert span["attributes"]["url.full"] == server.url()
    [request] = server.requests
    sent = dict(request["headers"])["Traceparent"]
    assert sent.split("-")[2] == span["context"]["span_id"].removeprefix("0x")
    assert '"name": "http.client.request.duration"' in out.decode()
