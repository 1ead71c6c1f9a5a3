"""The load on a Python client, the checks of its responses and the measurement."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from itertools import cycle, islice
from typing import Any

from .usage import cpu_seconds, peak_bytes
from .workloads import Job

#: One request: takes a URL, returns the status code and the length of the body.
Fetch = Callable[[str], Awaitable[tuple[int, int]]]
#: A client, open as long as the context is.
Client = Callable[[Job], AbstractAsyncContextManager[Fetch]]
#: Makes requests until the seconds or the number of requests are used up.
Load = Callable[[float, int], "Tally"]


class Counter:
    """The number of bytes of a streamed body."""

    def __init__(self) -> None:
        self.size = 0

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)


class Tally:
    """The number of right responses and of failures, and the first error."""

    def __init__(self, job: Job) -> None:
        self.expected = (200, job.length)
        self.done = 0
        self.failed = 0
        self.error: str | None = None

    def answer(self, status: int, length: int) -> None:
        if (status, length) == self.expected:
            self.done += 1
        else:
            self.fail(f"status {status}, {length} bytes")

    def fail(self, error: object) -> None:
        self.failed += 1
        self.error = self.error or str(error) or repr(error)


def measure(job: Job, load: Load) -> dict[str, Any]:
    """Run ``load`` to warm up, then again, and return the costs of the second run."""
    load(*job.warm_up)
    cpu, wall = cpu_seconds(), time.perf_counter()
    tally = load(*job.window)
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    return {
        "done": tally.done,
        "failed": tally.failed,
        "error": tally.error,
        "wall": wall,
        "cpu": cpu,
        "peak": peak_bytes(),
    }


def run_in_loop(client: Client, job: Job) -> dict[str, Any]:
    """Measure a client that runs in an asyncio loop."""
    new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if job.loop == "uvloop":
        import uvloop

        new_event_loop = uvloop.new_event_loop
    loop = new_event_loop()
    asyncio.set_event_loop(loop)
    stack = AsyncExitStack()
    fetch = loop.run_until_complete(stack.enter_async_context(client(job)))
    try:
        return measure(
            job,
            lambda seconds, requests: loop.run_until_complete(_load(fetch, job, seconds, requests)),
        )
    finally:
        loop.run_until_complete(stack.aclose())
        loop.close()


async def _load(fetch: Fetch, job: Job, seconds: float, requests: int) -> Tally:
    tally = Tally(job)
    end = time.perf_counter() + seconds
    left = requests

    async def one_after_the_other(url: str) -> None:
        nonlocal left
        while left and time.perf_counter() < end:
            left -= 1
            try:
                status, length = await fetch(url)
            except Exception as error:
                tally.fail(error)
            else:
                tally.answer(status, length)

    urls = islice(cycle(job.urls), min(job.in_flight, requests))
    await asyncio.gather(*map(one_after_the_other, urls))
    return tally
