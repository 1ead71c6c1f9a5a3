"""Clients in Rust, which run their connections in separate threads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from ..measure import Fetch
from ..workloads import Job
from .entry import Entry, in_loop


@asynccontextmanager
async def _wreq(job: Job) -> AsyncIterator[Fetch]:
    import wreq

    method = getattr(wreq.Method, job.method)
    body: dict[str, Any] = {} if job.body is None else {"body": job.body}
    pool: dict[str, Any] = {} if job.kept else {"pool_max_idle_per_host": 0}
    async with wreq.Client(
        timeout=timedelta(seconds=job.timeout), tls_verify=Path(job.ca), **pool
    ) as client:

        async def fetch(url: str) -> tuple[int, int]:
            async with client.request(method, url, **body) as response:
                return response.status.as_int(), len(await response.bytes())

        yield fetch


@asynccontextmanager
async def _pyreqwest(job: Job) -> AsyncIterator[Fetch]:
    from pyreqwest.client import ClientBuilder

    builder = ClientBuilder().timeout(timedelta(seconds=job.timeout))
    builder = builder.add_root_certificate_pem(Path(job.ca).read_bytes())
    if not job.kept:
        builder = builder.pool_max_idle_per_host(0)
    body = job.body
    async with builder.build() as client:

        async def fetch(url: str) -> tuple[int, int]:
            request = client.request(job.method, url)
            if body is not None:
                request = request.body_bytes(body)
            response = await request.build().send()
            return response.status, len(await response.bytes())

        yield fetch


ENTRIES = (
    Entry("wreq", "wreq", ("wreq",), in_loop(_wreq)),
    Entry("pyreqwest", "pyreqwest", ("pyreqwest",), in_loop(_pyreqwest)),
)
