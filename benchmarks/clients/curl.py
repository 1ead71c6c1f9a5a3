"""Other clients on libcurl."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ..measure import Fetch
from ..workloads import Job
from .entry import Entry, in_loop


@asynccontextmanager
async def _curl_cffi(job: Job) -> AsyncIterator[Fetch]:
    from curl_cffi import AsyncSession, CurlOpt

    body = job.body
    options = {} if job.kept else {CurlOpt.FORBID_REUSE: 1}
    async with AsyncSession(
        max_clients=job.in_flight, timeout=job.timeout, curl_options=options
    ) as session:

        async def fetch(url: str) -> tuple[int, int]:
            response = await session.request(job.method, url, data=body)
            return response.status_code, len(response.content)

        yield fetch


def _pycurl(job: Job) -> dict[str, Any]:
    from .. import floor

    return floor.run(job)


ENTRIES = (
    Entry("curl_cffi", "curl_cffi", ("curl_cffi",), in_loop(_curl_cffi)),
    Entry("pycurl", "raw pycurl", ("pycurl",), _pycurl, loops=False),
)
