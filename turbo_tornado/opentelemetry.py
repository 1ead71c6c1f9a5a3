"""`TurboTornadoInstrumentor`: spans and metrics of OpenTelemetry for every fetch.

It follows the stable semantic conventions for HTTP clients. It needs the extra ``opentelemetry``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from typing import Any

from opentelemetry import metrics, propagate, trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled

from . import hooks
from ._version import __version__
from .errors import FetchError
from .hooks import Hooks, RequestEvent

__all__ = ["TurboTornadoInstrumentor"]

_SCHEMA_URL = "https://opentelemetry.io/schemas/1.23.1"
_KNOWN_METHODS = "CONNECT,DELETE,GET,HEAD,OPTIONS,PATCH,POST,PUT,TRACE"
#: The boundaries that the conventions advise, in seconds.
_BOUNDARIES = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
#: The parameters whose values the conventions redact: signatures of cloud storage.
_SIGNATURE = re.compile(r"(?<=[?&])(AWSAccessKeyId|Signature|sig|X-Goog-Signature)=[^&]*")
_METRIC_ATTRIBUTES = (
    *("http.request.method", "server.address", "server.port", "http.response.status_code"),
    *("error.type", "network.protocol.version"),
)


class TurboTornadoInstrumentor(BaseInstrumentor):
    """The OpenTelemetry instrumentor for `turbo_tornado.HTTPClient`.

    ``opentelemetry-instrument`` applies it automatically. In a program, call::

        TurboTornadoInstrumentor().instrument()

    Keyword arguments of ``instrument``, both optional:

    :arg tracer_provider: the provider of the spans. Default: the global one.
    :arg meter_provider: the provider of the metrics. Default: the global one.

    ``uninstrument()`` removes it. Requests in progress still end their spans.

    Turbo has no equivalent.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the requirement of the instrumented package.

        Turbo has no equivalent.
        """
        return ("turbo_tornado",)

    def _instrument(self, **kwargs: Any) -> None:
        tracing = _Tracing(kwargs.get("tracer_provider"), kwargs.get("meter_provider"))
        hooks.set_instrumentation(Hooks((tracing.on_request,), (tracing.on_response,)))

    def _uninstrument(self, **kwargs: Any) -> None:
        hooks.set_instrumentation(None)


class _Tracing:
    """The hooks, which create the spans and record the metrics."""

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None,
        meter_provider: metrics.MeterProvider | None,
    ) -> None:
        self._tracer = trace.get_tracer(__name__, __version__, tracer_provider, _SCHEMA_URL)
        meter = metrics.get_meter(__name__, __version__, meter_provider, _SCHEMA_URL)
        self._duration = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )
        # The conventions define this variable. It replaces the whole list.
        known = os.environ.get("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS") or _KNOWN_METHODS
        self._known_methods = frozenset(known.split(","))

    def on_request(self, event: RequestEvent) -> None:
        if not is_http_instrumentation_enabled():
            return
        attributes = self._attributes(event)
        method = event.method if event.method in self._known_methods else "HTTP"
        span = self._tracer.start_span(
            method,
            kind=trace.SpanKind.CLIENT,
            attributes=attributes,
            start_time=int(event.start_time * 1e9),
        )
        event.state[self] = (span, attributes)
        event._request.is_traced = True
        # Without an SDK, older versions return an invalid span. The caller's span is then sent.
        is_valid = span.get_span_context().is_valid
        propagate.inject(event.headers, trace.set_span_in_context(span) if is_valid else None)

    def on_response(self, event: RequestEvent) -> None:
        # Missing if the instrumentation was disabled.
        span, attributes = event.state.pop(self, (None, {}))
        if span is None:
            return
        outcome = _outcome(event)
        if span.is_recording():
            span.set_attributes(outcome)
            if "error.type" in outcome:
                span.set_status(trace.StatusCode.ERROR, _description(event.error))
        end_time = int((event.start_time + (event.duration or 0.0)) * 1e9)
        span.end(end_time)
        everything = {**attributes, **outcome}
        self._duration.record(
            event.duration or 0.0,
            {name: everything[name] for name in _METRIC_ATTRIBUTES if name in everything},
            # For exemplars.
            context=trace.set_span_in_context(span),
        )

    def _attributes(self, event: RequestEvent) -> dict[str, str | int]:
        """Return the attributes that a sampler receives."""
        url = event._request.url
        attributes: dict[str, str | int] = {
            "http.request.method": event.method,
            "server.address": url.host,
            "server.port": url.port,
            "url.full": _redacted(event),
        }
        if event.method not in self._known_methods:
            attributes["http.request.method"] = "_OTHER"
            attributes["http.request.method_original"] = event.method
        if event.redirects:
            attributes["http.request.resend_count"] = event.redirects
        return attributes


def _redacted(event: RequestEvent) -> str:
    url = _SIGNATURE.sub(r"\1=REDACTED", event.url)
    if event._request.url.username is None:
        return url
    return url.replace("://", "://REDACTED:REDACTED@", 1)


def _outcome(event: RequestEvent) -> Mapping[str, str | int]:
    outcome: dict[str, str | int] = {}
    if event.code is not None:
        outcome["http.response.status_code"] = event.code
        if event.code >= 400:
            outcome["error.type"] = str(event.code)
    if isinstance(event.error, FetchError):
        outcome["error.type"] = event.error.code.name
    elif event.error is not None:
        kind = type(event.error)
        outcome["error.type"] = f"{kind.__module__}.{kind.__qualname__}"
    if event.response_headers is not None and (version := event.response_headers.get_version()):
        outcome["network.protocol.version"] = version.removeprefix("HTTP/")
    return outcome


def _description(error: BaseException | None) -> str | None:
    # The conventions do not allow a description for a status code.
    if error is None:
        return None
    return error.message if isinstance(error, FetchError) else str(error)
