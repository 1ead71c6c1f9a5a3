"""Clients on asyncio's transports and streams."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from ..measure import Client, Fetch
from ..workloads import Job
from .entry import Entry, in_loop


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

        async def stream(url: str) -> tuple[int, int]:
            size = 0
            async with session.request(job.method, url) as response:
                async for chunk in response.content.iter_chunked(65536):
                    size += len(chunk)
                return response.status, size

        yield stream if job.streamed else fetch


def _httpx(module: str) -> Client:
    """Return httpx or its successor httpx2, which have the same API."""

    @asynccontextmanager
    async def client(job: Job) -> AsyncIterator[Fetch]:
        httpx: Any = import_module(module)
        body = job.body
        limits = httpx.Limits(
            max_connections=None, max_keepalive_connections=None if job.kept else 0
        )
        async with httpx.AsyncClient(limits=limits, timeout=job.timeout) as http:

            async def fetch(url: str) -> tuple[int, int]:
                response = await http.request(job.method, url, content=body)
                return response.status_code, len(response.content)

            async def stream(url: str) -> tuple[int, int]:
                size = 0
                async with http.stream(job.method, url) as response:
                    async for chunk in response.aiter_bytes():
                        size += len(chunk)
                    return response.status_code, size

            yield stream if job.streamed else fetch

    return client


@asynccontextmanager
async def _niquests(job: Job) -> AsyncIterator[Fetch]:
    import niquests

    body = job.body
    async with niquests.AsyncSession(
        pool_maxsize=job.in_flight, timeout=job.timeout, verify=job.ca
    ) as session:
        if not job.kept:
            session.headers["Connection"] = "close"

        async def fetch(url: str) -> tuple[int, int]:
            response = await session.request(job.method, url, data=body)
            return response.status_code or 0, len(response.content or b"")

        yield fetch


@asynccontextmanager
async def _aiosonic(job: Job) -> AsyncIterator[Fetch]:
    import aiosonic
    from aiosonic.connectors import TCPConnector
    from aiosonic.pools import PoolConfig
    from aiosonic.timeout import Timeouts

    options: dict[str, Any] = {} if job.body is None else {"data": job.body}
    if not job.kept:
        options["headers"] = {"Connection": "close"}
    connector = TCPConnector(
        # After max_conn_requests, aiosonic 1.3 opens a connection for every request.
        pool_configs={":default": PoolConfig(size=job.in_flight, max_conn_requests=None)},
        timeouts=Timeouts(
            sock_connect=job.timeout, sock_read=job.timeout, request_timeout=job.timeout
        ),
    )
    async with aiosonic.HTTPClient(connector) as client:

        async def fetch(url: str) -> tuple[int, int]:
            response = await client.request(url, job.method, **options)
            return response.status_code, len(await response.content())

        yield fetch
    await connector.cleanup()


@asynccontextmanager
async def _zapros(job: Job) -> AsyncIterator[Fetch]:
    from zapros import AsyncClient, AsyncStdNetworkHandler

    options: dict[str, Any] = {} if job.body is None else {"body": job.body}
    handler = AsyncStdNetworkHandler(
        total_timeout=job.timeout,
        http1={
            "max_connections_per_host": job.in_flight,
            "max_idle_connections_per_host": job.in_flight if job.kept else 0,
        },
    )
    async with AsyncClient(handler) as client:

        async def fetch(url: str) -> tuple[int, int]:
            response = await client.request(job.method, url, **options)
            return response.status, len(await response.aread())

        yield fetch


ENTRIES = (
    Entry("aiohttp", "aiohttp", ("aiohttp",), in_loop(_aiohttp), streams=True),
    Entry("aiosonic", "aiosonic", ("aiosonic",), in_loop(_aiosonic)),
    Entry(
        "zapros",
        "zapros",
        ("zapros",),
        in_loop(_zapros),
        # zapros passes it to uvloop, which does not have it, if there is a timeout.
        unsupported={"uvloop": "a connect with a timeout fails: no happy_eyeballs_delay in uvloop"},
    ),
    Entry("httpx", "httpx", ("httpx",), in_loop(_httpx("httpx")), streams=True),
    Entry("httpx2", "httpx2", ("httpx2",), in_loop(_httpx("httpx2")), streams=True),
    Entry("niquests", "niquests", ("niquests",), in_loop(_niquests)),
)
