"""The clients: how each of them makes the request of a job.

Each is used as its own documentation says, with the limits on connections and on time
taken off. ``python -m benchmarks.clients JOB`` runs one of them and prints its costs.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from .measure import Client, Fetch, run_in_loop
from .workloads import Job


def _turbo(transport: str) -> Client:
    @asynccontextmanager
    async def client(job: Job) -> AsyncIterator[Fetch]:
        from turbo_tornado import HTTPClient

        options: dict[str, Any] = {
            "method": job.method,
            "keep_alive": job.kept,
            "connect_timeout": job.timeout,
            "request_timeout": job.timeout,
        }
        if job.body is not None:
            options["body"] = job.body

        async def fetch(url: str) -> tuple[int, int]:
            response = await HTTPClient(transport=transport).fetch(url, options)
            if response.error:
                raise RuntimeError(response.error.message)
            return response.code, len(response.body)

        yield fetch

    return client


def _tornado(make: Callable[[Job], Any]) -> Client:
    """A client with Tornado's API."""

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
        http = make(job)
        if "curl" in type(http).__name__.lower():
            # libcurl does not know SSL_CERT_FILE, where the others find the authority.
            options["ca_certs"] = job.ca

        async def fetch(url: str) -> tuple[int, int]:
            response = await http.fetch(HTTPRequest(url, **options))
            return response.code, len(response.body)

        yield fetch
        http.close()

    return client


def _simple(job: Job) -> Any:
    from turbo_tornado.transports.simple import SimpleTransport

    return SimpleTransport(force_instance=True)


def _curl(job: Job) -> Any:
    from turbo_tornado.transports.curl import CurlTransport

    return CurlTransport(force_instance=True)


def _stock_simple(job: Job) -> Any:
    from tornado.simple_httpclient import SimpleAsyncHTTPClient

    return SimpleAsyncHTTPClient(force_instance=True, max_clients=max(10, job.in_flight))


def _stock_curl(job: Job) -> Any:
    from tornado.curl_httpclient import CurlAsyncHTTPClient

    return CurlAsyncHTTPClient(force_instance=True, max_clients=max(10, job.in_flight))


@asynccontextmanager
async def _aiohttp(job: Job) -> AsyncIterator[Fetch]:
    import aiohttp

    body = job.body
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=not job.kept),
        timeout=aiohttp.ClientTimeout(total=job.timeout),
    ) as session:

        async def fetch(url: str) -> tuple[int, int]:
            async with session.request(job.method, url, data=body) as response:
                return response.status, len(await response.read())

        yield fetch


@asynccontextmanager
async def _httpx(job: Job) -> AsyncIterator[Fetch]:
    import httpx

    body = job.body
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None if job.kept else 0)
    async with httpx.AsyncClient(limits=limits, timeout=job.timeout) as client:

        async def fetch(url: str) -> tuple[int, int]:
            response = await client.request(job.method, url, content=body)
            return response.status_code, len(response.content)

        yield fetch


def _pycurl(job: Job) -> dict[str, Any]:
    from . import floor

    return floor.run(job)


def _in_loop(client: Client) -> Callable[[Job], dict[str, Any]]:
    return lambda job: run_in_loop(client, job)


@dataclass(frozen=True)
class Entry:
    """A client of the benchmark.

    :arg needs: modules that must be installed.
    :arg run: measures the client on a job; ``None`` for one that is not in Python.
    :arg loops: whether it runs in an asyncio loop, or in one of its own.
    :arg tls: whether it can do TLS.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    run: Callable[[Job], dict[str, Any]] | None
    loops: bool = True
    tls: bool = True


CLIENTS = {
    entry.name: entry
    for entry in (
        Entry(
            "turbo-curl",
            "Turbo client on curl",
            ("turbo_tornado", "pycurl"),
            _in_loop(_turbo("curl")),
        ),
        Entry("curl", "CurlTransport", ("turbo_tornado", "pycurl"), _in_loop(_tornado(_curl))),
        Entry("stock-curl", "Tornado curl", ("tornado", "pycurl"), _in_loop(_tornado(_stock_curl))),
        Entry(
            "turbo-simple",
            "Turbo client on simple",
            ("turbo_tornado",),
            _in_loop(_turbo("simple")),
        ),
        Entry("simple", "SimpleTransport", ("turbo_tornado",), _in_loop(_tornado(_simple))),
        Entry("stock-simple", "Tornado simple", ("tornado",), _in_loop(_tornado(_stock_simple))),
        Entry("aiohttp", "aiohttp", ("aiohttp",), _in_loop(_aiohttp)),
        Entry("httpx", "httpx", ("httpx",), _in_loop(_httpx)),
        Entry("pycurl", "raw pycurl", ("pycurl",), _pycurl, loops=False),
        # Its TLS needs an older OpenSSL than any distribution still has.
        Entry("turbo-lua", "Turbo.lua", (), None, loops=False, tls=False),
    )
}


def main() -> None:
    job = Job.load(sys.argv[1])
    run = CLIENTS[job.client].run
    assert run is not None
    # Read by OpenSSL when the clients make their default contexts.
    os.environ["SSL_CERT_FILE"] = job.ca
    print(json.dumps(run(job)))


if __name__ == "__main__":
    main()
