"""What every Python client has in common: the load, the checks, the costs."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from itertools import cycle, islice
from typing import Any

from .workloads import Job

#: One request: gets a URL, returns the status and the length of the body.
Fetch = Callable[[str], Awaitable[tuple[int, int]]]
#: A client, open as long as the context is.
Client = Callable[[Job], AbstractAsyncContextManager[Fetch]]
#: Makes requests for so many seconds, or so many of them.
Load = Callable[[float, int], "Tally"]


class Tally:
    """Counts right and wrong answers, and remembers the first thing that went wrong."""

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
    """Runs ``load`` to get warm, then again, and returns what the second time cost."""
    load(*job.warm_up)
    cpu, wall = _cpu(), time.perf_counter()
    tally = load(*job.window)
    wall, cpu = time.perf_counter() - wall, _cpu() - cpu
    return {
        "done": tally.done,
        "failed": tally.failed,
        "error": tally.error,
        "wall": wall,
        "cpu": cpu,
        "peak": _peak(),
    }


def run_in_loop(client: Client, job: Job) -> dict[str, Any]:
    """Measures a client that runs in an asyncio loop."""
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


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _peak() -> int:
    # Not ru_maxrss: on Linux that starts with the peak of the process that started this one.
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError("no VmHWM in /proc/self/status")
