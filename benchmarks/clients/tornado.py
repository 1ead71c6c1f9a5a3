"""Clients with Tornado's API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from ..measure import Client, Counter, Fetch
from ..workloads import HUGE, Job
from .entry import Entry, in_loop


def tornado_client(create: Callable[[Job], Any]) -> Client:
    """Return the client for an ``AsyncHTTPClient`` that ``create`` returns."""

    @asynccontextmanager
    async def client(job: Job) -> AsyncIterator[Fetch]:
        from tornado.httpclient import HTTPRequest

        options: dict[str, Any] = {
            "method": job.method,
            "body": job.body,
            "connect_timeout": job.timeout,
            "request_timeout": job.timeout,
        }
        if not job.kept:
            options["headers"] = {"Connection": "close"}
        http = create(job)
        if "curl" in type(http).__name__.lower():
            # libcurl ignores SSL_CERT_FILE.
            options["ca_certs"] = job.ca

        async def fetch(url: str) -> tuple[int, int]:
            response = await http.fetch(HTTPRequest(url, **options))
            return response.code, len(response.body)

        async def stream(url: str) -> tuple[int, int]:
            counter = Counter()
            request = HTTPRequest(url, **options, streaming_callback=counter.add)
            return (await http.fetch(request)).code, counter.size

        yield stream if job.streamed else fetch
        http.close()

    return client


def _stock_simple(job: Job) -> Any:
    from tornado.simple_httpclient import SimpleAsyncHTTPClient

    return SimpleAsyncHTTPClient(
        force_instance=True, max_clients=max(10, job.in_flight), max_body_size=2 * HUGE
    )


def _stock_curl(job: Job) -> Any:
    from tornado.curl_httpclient import CurlAsyncHTTPClient

    return CurlAsyncHTTPClient(force_instance=True, max_clients=max(10, job.in_flight))


ENTRIES = (
    Entry(
        "stock-simple",
        "Tornado simple",
        ("tornado",),
        in_loop(tornado_client(_stock_simple)),
        streams=True,
    ),
    Entry(
        "stock-curl", "Tornado curl", ("tornado", "pycurl"), in_loop(tornado_client(_stock_curl))
    ),
)
