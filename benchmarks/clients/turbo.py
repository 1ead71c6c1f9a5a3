"""This package: the client, its transports, and both of an older version."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ..measure import Client, Counter, Fetch
from ..workloads import HUGE, Job
from .entry import Entry, in_loop
from .tornado import tornado_client


def turbo_client(transport: str) -> Client:
    """Return `HTTPClient` on a transport, created for each fetch as in the documentation."""

    @asynccontextmanager
    async def client(job: Job) -> AsyncIterator[Fetch]:
        from turbo_tornado import HTTPClient

        options: Any = {
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

        async def stream(url: str) -> tuple[int, int]:
            counter = Counter()
            response = await HTTPClient(transport=transport).fetch(
                url, options, streaming_callback=counter.add
            )
            if response.error:
                raise RuntimeError(response.error.message)
            return response.code, counter.size

        yield stream if job.streamed else fetch

    return client


def _simple(job: Job) -> Any:
    from turbo_tornado.transports.simple import SimpleTransport

    return SimpleTransport(force_instance=True, max_body_size=2 * HUGE)


def _curl(job: Job) -> Any:
    from turbo_tornado.transports.curl import CurlTransport

    return CurlTransport(force_instance=True, max_body_size=2 * HUGE)


@asynccontextmanager
async def _send(job: Job) -> AsyncIterator[Fetch]:
    """Call `SimpleTransport.send` with one request that was built before."""
    import asyncio

    from turbo_tornado.request.build import build_request
    from turbo_tornado.request.keywords import resolve
    from turbo_tornado.request.request import Request
    from turbo_tornado.request.tls import TLS
    from turbo_tornado.transports.base import Response

    transport = _simple(job)
    loop = asyncio.get_running_loop()
    options: Any = {"method": job.method, "keep_alive": job.kept, "body": job.body}
    requests: dict[str, Request] = {}

    async def fetch(url: str) -> tuple[int, int]:
        request = requests.get(url)
        if request is None:
            request = build_request(url, resolve(options, {}), TLS.from_options(None), 2**30)
            requests[url] = request
        done: asyncio.Future[Response] = loop.create_future()
        transport.send(request, done.set_result)
        response = await done
        return response.code, len(response.body)

    yield fetch
    transport.close()


def _before(client: Client) -> Callable[[Job], dict[str, Any]]:
    """Return the ``run`` of a client of the checkout in ``job.before``."""

    @asynccontextmanager
    async def checked(job: Job) -> AsyncIterator[Fetch]:
        async with client(job) as fetch:
            import turbo_tornado

            if not Path(turbo_tornado.__file__).is_relative_to(job.before):
                raise ImportError(f"turbo_tornado was not imported from {job.before}")
            yield fetch

    def run(job: Job) -> dict[str, Any]:
        # Python puts the current directory, which has this version, before PYTHONPATH.
        sys.path.insert(0, job.before)
        return in_loop(checked)(job)

    return run


ENTRIES = (
    Entry("send", "SimpleTransport.send", ("turbo_tornado",), in_loop(_send)),
    Entry(
        "turbo-simple",
        "Turbo client on simple",
        ("turbo_tornado",),
        in_loop(turbo_client("simple")),
        streams=True,
    ),
    Entry(
        "turbo-curl",
        "Turbo client on curl",
        ("turbo_tornado", "pycurl"),
        in_loop(turbo_client("curl")),
        streams=True,
    ),
    Entry(
        "simple",
        "SimpleTransport",
        ("turbo_tornado",),
        in_loop(tornado_client(_simple)),
        streams=True,
    ),
    Entry(
        "curl",
        "CurlTransport",
        ("turbo_tornado", "pycurl"),
        in_loop(tornado_client(_curl)),
        streams=True,
    ),
    Entry(
        "before-simple",
        "Turbo client on simple, before",
        (),
        _before(turbo_client("simple")),
        before=True,
    ),
    Entry(
        "before-curl",
        "Turbo client on curl, before",
        ("pycurl",),
        _before(turbo_client("curl")),
        before=True,
    ),
)
